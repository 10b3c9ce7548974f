//! What was typed of the verbs that read runs and judge them, as it was typed.

use std::path::PathBuf;

use clap::Args;

use super::args::{ApproveMode, Follow};

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct RunsArgs {
    /// Only of this flow
    #[arg(value_name = "FLOW")]
    pub flow: Option<String>,
    /// Only these; several with commas between them, or again
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    pub status: Vec<String>,
    /// Begun since then: a time, or how long ago, as in 2h or 7d
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// Found in the name, the error or the inputs
    #[arg(long, value_name = "TEXT")]
    pub search: Option<String>,
    /// At most so many [default: all with --json, else 50]
    #[arg(long, value_name = "N")]
    pub limit: Option<u32>,
    /// An array of run records, the newest first
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct RunArg {
    #[arg(value_name = "RUN")]
    pub run: String,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ShowArgs {
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Follow it as `run` does, and end as it ends
    #[arg(short, long)]
    pub watch: bool,
    /// A degraded run is a good one
    #[arg(long, requires = "watch")]
    pub allow_degraded: bool,
    /// As JSON; one event a line where it is followed
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct CheckpointsArgs {
    #[command(flatten)]
    pub of: RunArg,
    /// Of each also its hash, when it was made, who judged it and when, and the note
    #[arg(long, short)]
    pub verbose: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct GraphArgs {
    #[arg(value_name = "FLOW")]
    pub flow: String,
    /// For Graphviz
    #[arg(long, conflicts_with = "mermaid")]
    pub dot: bool,
    /// For Mermaid
    #[arg(long)]
    pub mermaid: bool,
    /// The stages, each with what it waits for
    #[arg(long, conflicts_with_all = ["dot", "mermaid"])]
    pub json: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct StateArgs {
    #[arg(value_name = "RUN")]
    pub run: String,
    /// What this stage saw, or what this checkpoint of the lineage holds, as in board@2 [default: all of it]
    #[arg(value_name = "STAGE|CHECKPOINT")]
    pub stage: Option<String>,
    /// On one line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ArtifactsArgs {
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Only of this stage, or of this checkpoint of the lineage, as in board@2
    #[arg(value_name = "STAGE|CHECKPOINT")]
    pub stage: Option<String>,
    /// Copy this one
    #[arg(long, value_name = "NAME", requires = "to")]
    pub get: Option<String>,
    /// Where to; `-` is stdout
    #[arg(long, value_name = "FILE", requires = "get")]
    pub to: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct StatsArgs {
    /// Only of this flow
    #[arg(value_name = "FLOW")]
    pub flow: Option<String>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct DeleteArgs {
    /// The runs, as video-12
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<String>,
    /// Also the runs that reuse what these left
    #[arg(long)]
    pub cascade: bool,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct GcArgs {
    /// Only say what would be deleted
    #[arg(long)]
    pub dry_run: bool,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct DiffArgs {
    /// RUN and two checkpoints, or with --run only these
    #[arg(value_name = "RUN|STAGE@VERSION", num_args = 2..=3, required = true)]
    pub what: Vec<String>,
    /// The run whose lineage they belong to
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// What is done once a run goes on again.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct GoOn {
    /// Follow the run to its end; so it is without saying where no supervisor runs and there is no terminal
    #[arg(short, long)]
    pub watch: bool,
    /// It goes on in the background
    #[arg(short, long, conflicts_with = "watch")]
    pub detach: bool,
    /// What the next checkpoint does that asks a person [default: wait on a terminal, else exit]
    #[arg(long, value_enum)]
    pub approve: Option<ApproveMode>,
    /// A degraded run is a good one
    #[arg(long)]
    pub allow_degraded: bool,
    /// As JSON: the run, or one event a line where it is followed
    #[arg(long)]
    pub json: bool,
}

impl GoOn {
    pub fn follow(&self) -> Follow {
        Follow {
            detach: self.detach,
            watch: self.watch,
            approve: self.approve,
            allow_degraded: self.allow_degraded,
            json: self.json,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ApproveArgs {
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Also with its version, as in board@2 [default: the only one that waits]
    #[arg(value_name = "STAGE")]
    pub stage: Option<String>,
    /// Kept with the approval
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// The hash that was looked at, or its first 12 digits; other bytes are refused
    #[arg(long, value_name = "HASH")]
    pub hash: Option<String>,
    #[command(flatten)]
    pub go_on: GoOn,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct RejectArgs {
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Also with its version, as in board@2
    #[arg(value_name = "STAGE")]
    pub stage: String,
    /// The stage to begin again with [default: the rejected one]
    #[arg(long, value_name = "STAGE")]
    pub rewind_to: Option<String>,
    /// What to do better: the stage reads it in `RESTAGE_FEEDBACK`; the name of a file, or @FILE, is what that says, @- stdin
    #[arg(long, value_name = "TEXT|FILE")]
    pub feedback: String,
    /// The hash that was looked at, or its first 12 digits; other bytes are refused
    #[arg(long, value_name = "HASH")]
    pub hash: Option<String>,
    #[command(flatten)]
    pub go_on: GoOn,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct EditArgs {
    #[arg(value_name = "RUN")]
    pub run: String,
    #[arg(value_name = "STAGE")]
    pub stage: String,
    /// The branch on which it is another version [default: that of the run]
    #[arg(long, value_name = "NAME")]
    pub branch: Option<String>,
    /// Another value for an output; again for each
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Another file for an artifact; again for each
    #[arg(long, value_name = "NAME=FILE")]
    pub artifact: Vec<String>,
    /// Change the outputs in $VISUAL or $EDITOR
    #[arg(long, conflicts_with = "set")]
    pub editor: bool,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ForkArgs {
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Where it leaves
    #[arg(long, value_name = "STAGE@VERSION")]
    pub at: String,
    #[arg(long, value_name = "NAME")]
    pub branch: String,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}
