//! The command line: what was typed, what it does, what the shell is told. The only room where concrete parts meet.
//!
//! Reading order: [`args`] (what was typed), [`commands`] (one file a verb), [`link`] (how a verb finds its supervisor),
//! [`recorded`] (what is known without one), [`brain`] (how one is put together), [`attend`] (what is around it), [`background`] (one without a terminal),
//! [`exit`] and [`failure`].

pub mod args;
pub mod attend;
pub mod background;
pub mod brain;
pub mod commands;
pub mod doctor;
pub mod editor;
pub mod engine;
pub mod exit;
pub mod failure;
pub mod flow_args;
pub mod flows;
pub mod history;
pub mod link;
pub mod output;
pub mod own_log;
pub mod process;
pub mod recorded;
pub mod settings;
pub mod signals;
pub mod terminal;
pub mod workspace;

use std::env;
use std::future::Future;
use std::process::ExitCode;

use clap::Parser;
use tokio::runtime::{Builder, Runtime};

use args::{Cli, Global, Mode, Output, Verb};
use commands::order::Order;
use commands::{
    check, completions, dashboard, doctor as doctor_verb, down, flow_edit, flow_judge, flow_read, flow_run,
    flow_tree, logs, order, stage_logs, status, up, wait, why,
};
use exit::Exit;
use failure::{Failure, Outcome};
use workspace::Workspace;

use crate::control::client::{Client, Updates};
use crate::domain::ids::RunnerName;
use crate::frontend::status::Source;
use crate::ports::Clock;
use crate::supervisor::clock::SystemClock;

/// The whole program, but for the keeper's roles.
pub fn main() -> ExitCode {
    if env::args_os().nth(1).is_some_and(|first| first == background::SUPERVISE) {
        return up::in_background();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(told) if told.use_stderr() && json_was_typed() => {
            let text = told.render().to_string();
            let cause = text.trim().strip_prefix("error: ").unwrap_or(text.trim()).to_owned();
            return fail(&Failure::new(Exit::Usage, "read the command line", cause), true);
        }
        Err(told) => {
            // Help and version come this way, too; a reader that is gone does not need them.
            told.print().ok();
            return if told.use_stderr() { Exit::Usage } else { Exit::Completed }.into();
        }
    };
    let json = cli.wants_json();
    match run(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => fail(&failure, json),
    }
}

fn fail(failure: &Failure, json: bool) -> ExitCode {
    failure.tell(json);
    failure.exit.into()
}

/// Before the command line could be understood.
fn json_was_typed() -> bool {
    // What is no UTF-8 is none of these words.
    let words: Vec<String> = env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    words.iter().any(|word| word == "--output=json" || word == "--json")
        || words.windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json")
}

fn run(cli: Cli) -> Outcome {
    let output = if cli.wants_json() { Output::Json } else { cli.global.output };
    let Cli { global, mode, verb } = cli;
    let global = Global { output, ..global };
    let verb = match verb {
        None => Verb::Up { mode, names: Vec::new() },
        Some(Verb::Up { mode: inner, names }) => {
            let mode = Mode { no_tui: mode.no_tui || inner.no_tui, detach: mode.detach || inner.detach };
            Verb::Up { mode, names }
        }
        Some(_) if mode != Mode::default() => {
            let cause = "--no-tui and --detach belong to `up`";
            return Err(Failure::new(Exit::Usage, "read the command line", cause)
                .hint("`restage --help` lists what each verb takes"));
        }
        Some(verb) => verb,
    };
    perform(&global, verb)
}

fn perform(global: &Global, verb: Verb) -> Outcome {
    let json = global.output == Output::Json;
    let no_color = global.no_color;
    let talk = Talk { global };
    match verb {
        Verb::Completions { shell } => completions::run(shell),
        Verb::Doctor => {
            // The machine can be looked at from anywhere.
            let workspace = Workspace::find(global).or_else(|_| Workspace::here())?;
            let state_dir = settings::state_dir(&workspace);
            doctor_verb::run(&workspace.places(state_dir.as_deref()), json, no_color)
        }
        Verb::Check { json: also } => check::run(&Workspace::find(global)?, json || also),
        Verb::Up { mode, names } if mode == Mode::default() && !json && terminal::is_there() => {
            dashboard::run(&Workspace::find(global)?, global, &names)
        }
        Verb::Up { mode, names } => up::run(&Workspace::find(global)?, global, mode, &names),
        // No runner has a name with a slash.
        Verb::Logs { name, follow, lines, attempt, item, json: _ } if name.contains('/') => {
            let wanted = stage_logs::Wanted { name: &name, item, attempt, lines, follow };
            stage_logs::run(global, &Workspace::find(global)?, wanted)
        }
        Verb::Logs { item: Some(_), .. } => {
            Err(Failure::new(Exit::Usage, "read the command line", "--item belongs to the log of a stage")
                .hint("as in restage logs video-12/render --item 3"))
        }
        Verb::Logs { name, follow, lines, attempt, item: None, json: _ } => {
            let workspace = Workspace::find(global)?;
            let name = RunnerName::trusted(name);
            let (log, known) = settings::log_of(&workspace, &name);
            let json = json.then(|| name.to_string());
            let of = logs::Whose::Runner;
            let typed = name.clone();
            let options = logs::Options { name, known, of, attempt, lines, follow, no_color, json };
            let outcome = block_on(logs::run(&workspace, log, options))?;
            outcome.map_err(|failure| {
                let may_be_run = failure.exit == Exit::Nothing && !known;
                let of_run = may_be_run.then(|| stage_logs::of_whole_run(&workspace, typed.as_str()));
                of_run.flatten().unwrap_or(failure)
            })
        }
        Verb::Down { kill } => {
            let options = down::Options { kill, json };
            talk.with(async |workspace, client, updates| down::run(workspace, client, updates, options).await)
        }
        Verb::Status { json: also, watch } => {
            let options = status::Options { json: json || also, watch, no_color };
            let asked = async |workspace: &Workspace, client, updates| {
                status::run(workspace, client, updates, options).await
            };
            talk.with_or(asked, |workspace| {
                if watch { None } else { status::show_recorded(workspace, SystemClock.now().wall, options) }
            })
        }
        Verb::Start(names) => talk.order(Order::Start, &names),
        Verb::Stop(names) => talk.order(Order::Stop, &names),
        Verb::Restart(names) => talk.order(Order::Restart, &names),
        Verb::Kill(names) => talk.order(Order::Kill, &names),
        Verb::Run(args) => flow_run::run(global, &Workspace::find(global)?, args),
        Verb::Retry(args) => flow_run::retry(global, &Workspace::find(global)?, &args),
        Verb::Continue(args) => flow_run::proceed(global, &Workspace::find(global)?, &args),
        Verb::Cancel(args) => flow_run::cancel(global, &Workspace::find(global)?, &args),
        Verb::Approve(args) => flow_judge::approve(global, &Workspace::find(global)?, &args),
        Verb::Reject(args) => flow_judge::reject(global, &Workspace::find(global)?, &args),
        Verb::Edit(args) => flow_edit::edit(global, &Workspace::find(global)?, &args),
        Verb::Fork(args) => flow_judge::fork(global, &Workspace::find(global)?, &args),
        Verb::Unlock(args) => flow_judge::unlock(global, &Workspace::find(global)?, &args),
        Verb::Delete(args) => flow_judge::delete(global, &Workspace::find(global)?, &args),
        Verb::Gc(args) => flow_judge::gc(global, &Workspace::find(global)?, &args),
        Verb::Runs(args) => flow_read::runs(global, &Workspace::find(global)?, &args),
        Verb::Show(args) => flow_read::show(global, &Workspace::find(global)?, &args),
        Verb::Lineage(args) => flow_read::lineage(global, &Workspace::find(global)?, &args),
        Verb::State(args) => flow_read::state(global, &Workspace::find(global)?, &args),
        Verb::Artifacts(args) => flow_read::artifacts(global, &Workspace::find(global)?, &args),
        Verb::Checkpoints(args) => flow_tree::checkpoints(global, &Workspace::find(global)?, &args),
        Verb::Diff(args) => flow_tree::diff(global, &Workspace::find(global)?, &args),
        Verb::Graph(args) => flow_read::graph(global, &Workspace::find(global)?, &args),
        Verb::Stats(args) => flow_read::stats(global, &Workspace::find(global)?, &args),
        Verb::Why { name } => talk.with_or(
            async |_, client, _| why::run(client, &name, json).await,
            |workspace| {
                let runners = recorded::read(workspace)?;
                Some(why::explain(&runners, &name, SystemClock.now().wall, Source::Record, json))
            },
        ),
        Verb::Wait { names, goal, timeout } => {
            let options = wait::Options { names, goal, timeout, json };
            talk.with(async |workspace, client, updates| wait::run(workspace, client, updates, options).await)
        }
    }
}

/// Verbs that ask a supervisor.
struct Talk<'a> {
    global: &'a Global,
}

impl Talk<'_> {
    /// Connects first. Children that nobody looks after get a supervisor, whatever the verb is.
    fn with(&self, verb: impl AsyncFnOnce(&Workspace, Client, Updates) -> Outcome) -> Outcome {
        self.with_or(verb, |_| None)
    }

    /// The same for a verb that has an answer where nobody supervises, too.
    fn with_or(
        &self,
        verb: impl AsyncFnOnce(&Workspace, Client, Updates) -> Outcome,
        alone: impl FnOnce(&Workspace) -> Option<Outcome>,
    ) -> Outcome {
        let workspace = Workspace::find(self.global)?;
        block_on(async {
            let (client, updates) = match link::connect(&workspace).await? {
                Some(connected) => connected,
                None if background::is_needed(&workspace) => {
                    let pid = background::start(&workspace, self.global.debug, &[])?;
                    output::remark(&format!(
                        "restage: supervisor {pid} has taken over what was left running"
                    ));
                    link::require(&workspace).await?
                }
                None => return alone(&workspace).unwrap_or_else(|| Err(link::nothing_runs(&workspace))),
            };
            verb(&workspace, client, updates).await
        })?
    }

    fn order(&self, order: Order, names: &args::Names) -> Outcome {
        let json = self.global.output == Output::Json;
        self.with(async |_, client, updates| order::run(client, updates, order, names, json).await)
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    Ok(runtime()?.block_on(future))
}

/// One thread is enough for everything here.
fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("start the runtime", &error))
}
