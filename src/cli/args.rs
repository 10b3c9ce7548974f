//! What was typed, as it was typed. What it means is decided by the commands.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

use super::flow_args::{
    ApproveArgs, ArtifactsArgs, CheckpointsArgs, DeleteArgs, DiffArgs, EditArgs, ForkArgs, GcArgs, GraphArgs,
    RejectArgs, RunArg, RunsArgs, ShowArgs, StateArgs, StatsArgs,
};

/// Keeps long unattended work alive, and goes on from where it failed.
///
/// Without a verb: `up`.
#[derive(Debug, Parser)]
#[command(name = "restage", version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(flatten)]
    pub mode: Mode,
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

impl Cli {
    /// What is written is read by a program, errors included.
    pub fn wants_json(&self) -> bool {
        let of_verb = self.verb.as_ref().is_some_and(Verb::wants_json);
        self.global.output == Output::Json || of_verb
    }
}

#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The config file [default: config.json here, or in the nearest folder above that has one]
    #[arg(short, long, global = true, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// How data and events are written
    #[arg(long, global = true, value_enum, default_value_t = Output::Human)]
    pub output: Output,
    /// Write more into .restage/logs/restage.log
    #[arg(long, global = true)]
    pub debug: bool,
    /// No colours, whatever the terminal can do
    #[arg(long, global = true)]
    pub no_color: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Human,
    Json,
}

/// Where the supervisor runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Args)]
pub struct Mode {
    /// Supervise here, one line an event; ends when nothing is left to run
    #[arg(long)]
    pub no_tui: bool,
    /// Supervise in the background
    #[arg(short, long, conflicts_with = "no_tui")]
    pub detach: bool,
}

#[derive(Debug, Clone, PartialEq, Subcommand)]
pub enum Verb {
    /// Supervise the runners of the config
    Up {
        #[command(flatten)]
        mode: Mode,
        /// Only these [default: all with autostart]
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Stop every runner and the supervisor
    Down {
        /// Kill at once, without stop signals and graces
        #[arg(long)]
        kill: bool,
    },
    /// What every runner does
    Status {
        /// A bare array of objects
        #[arg(long)]
        json: bool,
        /// Again whenever something changes
        #[arg(short, long)]
        watch: bool,
    },
    /// Start now, with no retries used
    Start(Names),
    /// Stop, and do not retry; waits until they have ended
    Stop(Names),
    /// Stop where needed, then start with no retries used
    Restart(Names),
    /// Stop without signal and grace; waits until they have ended
    Kill(Names),
    /// What a runner or a stage has printed, also when nothing runs
    Logs {
        #[arg(value_name = "NAME|RUN/STAGE")]
        name: String,
        /// Go on with what comes, also into the next attempt
        #[arg(short, long)]
        follow: bool,
        /// This many of the last lines, or `all`
        #[arg(short = 'n', long, value_name = "N", default_value = "100")]
        lines: Lines,
        /// Of this attempt [default: the last one]
        #[arg(long, value_name = "N")]
        attempt: Option<u32>,
        /// Of this item, from 0, of a stage that fans out
        #[arg(long, value_name = "N")]
        item: Option<u32>,
        /// One object a line
        #[arg(long)]
        json: bool,
    },
    /// Why a runner is, or is not, running
    Why {
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Wait for runners; exit 124 when it takes too long, 1 when it cannot come any more
    Wait {
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
        #[arg(long = "for", value_enum, default_value_t = Goal::Ended, value_name = "STATE")]
        goal: Goal,
        /// In seconds [default: for ever]
        #[arg(long, value_name = "S", value_parser = seconds)]
        timeout: Option<f64>,
    },
    /// Run a flow, and follow it; exit 1 when it failed, 4 degraded, 75 when it waits for you, 124 timed out
    Run(RunArgs),
    /// Run again from the stage that failed, with nothing done twice
    Retry(RetryArgs),
    /// Go on with a run that waits, was interrupted, or stands at a checkpoint
    Continue(ContinueArgs),
    /// End a run, with everything that it has started
    Cancel(RunArg),
    /// Approve what a stage left, and let its run go on
    Approve(ApproveArgs),
    /// Send a run back, with a word on what to do better
    Reject(RejectArgs),
    /// Make another version of what a stage left
    Edit(EditArgs),
    /// Begin a branch at a checkpoint; `continue` works on it
    Fork(ForkArgs),
    /// Runs of flows, the newest first
    Runs(RunsArgs),
    /// One run: its stages, what was decided of each and why, its attempts and errors
    Show(ShowArgs),
    /// The retries of a run, as a tree
    Lineage(RunArg),
    /// What a run carries, as JSON
    State(StateArgs),
    /// The files that stages left
    Artifacts(ArtifactsArgs),
    /// What stages left, version by version, as a tree with its branches
    Checkpoints(CheckpointsArgs),
    /// What differs between two checkpoints
    Diff(DiffArgs),
    /// The stages of a flow, drawn
    Graph(GraphArgs),
    /// How retries went, and which stages fail
    Stats(StatsArgs),
    /// Free a run that a dead supervisor holds
    Unlock(RunArg),
    /// Delete runs, with their files
    Delete(DeleteArgs),
    /// Delete files that nobody needs any more
    Gc(GcArgs),
    /// Everything that is wrong with the config
    Check {
        /// An array of problems
        #[arg(long)]
        json: bool,
    },
    /// What this machine lacks
    Doctor,
    /// A completion script for a shell
    Completions {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

impl Verb {
    /// By an option of its own.
    fn wants_json(&self) -> bool {
        match self {
            Self::Status { json, .. } | Self::Check { json } | Self::Logs { json, .. } => *json,
            Self::Run(args) => args.follow.json,
            Self::Retry(args) => args.follow.json,
            Self::Continue(args) => args.follow.json,
            Self::Approve(args) => args.go_on.json,
            Self::Reject(args) => args.go_on.json,
            Self::Edit(args) => args.json,
            Self::Fork(args) => args.json,
            Self::Runs(args) => args.json,
            Self::Show(args) => args.json,
            Self::Cancel(args) | Self::Lineage(args) | Self::Unlock(args) => args.json,
            Self::Checkpoints(args) => args.of.json,
            Self::State(args) => args.json,
            Self::Artifacts(args) => args.json,
            Self::Diff(args) => args.json,
            Self::Graph(args) => args.json,
            Self::Stats(args) => args.json,
            Self::Delete(args) => args.json,
            Self::Gc(args) => args.json,
            Self::Up { .. }
            | Self::Down { .. }
            | Self::Start(_)
            | Self::Stop(_)
            | Self::Restart(_)
            | Self::Kill(_)
            | Self::Why { .. }
            | Self::Wait { .. }
            | Self::Doctor
            | Self::Completions { .. } => false,
        }
    }
}

/// What is done once a run is under way.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct Follow {
    /// Only say its name; it goes on in the background
    #[arg(short, long, conflicts_with = "watch")]
    pub detach: bool,
    /// Follow it to its end (the default)
    #[arg(short, long)]
    pub watch: bool,
    /// What a checkpoint does that asks a person [default: wait on a terminal, else exit]
    #[arg(long, value_enum)]
    pub approve: Option<ApproveMode>,
    /// A degraded run is a good one
    #[arg(long)]
    pub allow_degraded: bool,
    /// As JSON: one event a line where it is followed, else the run, or the plan
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ApproveMode {
    /// Everything is approved unseen
    Auto,
    /// The run waits, and the verb ends with 75
    Exit,
    /// The verb waits with the run
    Wait,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct RunArgs {
    #[arg(value_name = "FLOW")]
    pub flow: String,
    /// An input of the flow; again for each
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub input: Vec<String>,
    /// A JSON object with inputs, from a file, or `-` from stdin
    #[arg(long, value_name = "FILE")]
    pub inputs: Option<String>,
    /// The same key again returns the first run
    #[arg(long, value_name = "KEY", value_parser = NonEmptyStringValueParser::new())]
    pub key: Option<String>,
    #[command(flatten)]
    pub follow: Follow,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct RetryArgs {
    #[arg(value_name = "RUN")]
    pub run: String,
    /// The newest run of this branch [default: RUN itself]
    #[arg(long, value_name = "NAME")]
    pub branch: Option<String>,
    /// The stage to begin with [default: the one that failed first]
    #[arg(long, value_name = "STAGE")]
    pub from: Option<String>,
    /// Another value for an input; again for each
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Also what has succeeded
    #[arg(long)]
    pub force: bool,
    /// Where another retry is under way: wait for it, and run only if it fails
    #[arg(long)]
    pub queue: bool,
    /// Only say what would be executed and what reused, and why
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub follow: Follow,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ContinueArgs {
    #[arg(value_name = "RUN")]
    pub run: String,
    /// The branch to go on with [default: that of the checkpoint, or of the run]
    #[arg(long, value_name = "NAME")]
    pub branch: Option<String>,
    /// Take this one on [default: where the branch stands]
    #[arg(long, value_name = "STAGE@VERSION")]
    pub checkpoint: Option<String>,
    /// Run again behind a checkpoint that is approved already
    #[arg(long)]
    pub force_retry: bool,
    #[command(flatten)]
    pub follow: Follow,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Names {
    #[arg(value_name = "NAME", required_unless_present = "all", conflicts_with = "all")]
    pub names: Vec<String>,
    /// Every runner
    #[arg(long)]
    pub all: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Goal {
    /// A process of it runs
    Running,
    /// Its health check passes; the same as running where it has none
    Ready,
    /// It has ended and will not start by itself
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    All,
    Last(usize),
}

impl std::str::FromStr for Lines {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "all" => Ok(Self::All),
            number => number.parse().map(Self::Last).map_err(|_| "expected a number of lines, or all".into()),
        }
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=1e9).contains(&seconds) => Ok(seconds),
        Ok(_) | Err(_) => Err("expected seconds, 0 or more".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_go_before_and_after_the_verb() {
        for line in ["restage -c x.json status --json", "restage status --json --config x.json"] {
            let cli = parse(line).unwrap();
            assert_eq!(cli.global.config.as_deref(), Some(std::path::Path::new("x.json")));
            assert_eq!(cli.verb, Some(Verb::Status { json: true, watch: false }));
        }
    }

    #[test]
    fn up_is_the_default() {
        assert_eq!(parse("restage").unwrap().verb, None);
        assert!(parse("restage --no-tui").unwrap().mode.no_tui);
        assert!(parse("restage --no-tui --detach").is_err());
        let names = vec!["a".to_owned(), "b".to_owned()];
        let mode = Mode { no_tui: true, detach: false };
        assert_eq!(parse("restage up --no-tui a b").unwrap().verb, Some(Verb::Up { mode, names }));
    }

    #[test]
    fn nothing_is_stopped_by_a_slip() {
        assert!(parse("restage stop").is_err());
        assert!(parse("restage stop --all a").is_err());
        assert!(parse("restage stop --all").is_ok());
        assert!(parse("restage wait").is_err());
        assert!(parse("restage wait a --timeout -1").is_err());
        assert!(parse("restage wait a --timeout 0.5 --for ready").is_ok());
        assert!(parse("restage logs a -n all").is_ok());
        assert!(parse("restage logs a -n some").is_err());
    }
}
