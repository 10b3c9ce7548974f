//! The command line: what was typed, what it does, what the shell is told. The only room where concrete parts meet.
//!
//! Reading order: [`args`] (what was typed), [`commands`] (one file a verb), [`link`] (how a verb finds its supervisor),
//! [`brain`] (how one is put together), [`attend`] (what is around it), [`background`] (one without a terminal),
//! [`exit`] and [`failure`].

pub mod args;
pub mod attend;
pub mod background;
pub mod brain;
pub mod commands;
pub mod doctor;
pub mod exit;
pub mod failure;
pub mod link;
pub mod output;
pub mod own_log;
pub mod process;
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
    check, completions, dashboard, doctor as doctor_verb, down, logs, order, status, up, wait, why,
};
use exit::Exit;
use failure::{Failure, Outcome};
use workspace::Workspace;

use crate::control::client::{Client, Updates};
use crate::domain::ids::RunnerName;

/// The whole program, but for the keeper's roles.
pub fn main() -> ExitCode {
    if env::args_os().nth(1).is_some_and(|first| first == background::SUPERVISE) {
        return up::in_background();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(told) => {
            // Help and version come this way, too; a reader that is gone does not need them.
            told.print().ok();
            return if told.use_stderr() { Exit::Usage } else { Exit::Completed }.into();
        }
    };
    match run(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output::remark(&failure.to_string());
            failure.exit.into()
        }
    }
}

fn run(cli: Cli) -> Outcome {
    let Cli { global, mode, verb } = cli;
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
        Verb::Logs { name, follow, lines, attempt } => {
            let workspace = Workspace::find(global)?;
            let name = RunnerName::trusted(name);
            let (log, known) = settings::log_of(&workspace, &name);
            let options = logs::Options { name, known, attempt, lines, follow, no_color };
            block_on(logs::run(log, options))?
        }
        Verb::Down { kill } => {
            talk.with(async |workspace, client, updates| down::run(&workspace, client, updates, kill).await)
        }
        Verb::Status { json: also, watch } => talk.with(async |_, client, updates| {
            status::run(client, updates, status::Options { json: json || also, watch, no_color }).await
        }),
        Verb::Start(names) => {
            talk.with(async |_, client, updates| order::run(client, updates, Order::Start, &names).await)
        }
        Verb::Stop(names) => {
            talk.with(async |_, client, updates| order::run(client, updates, Order::Stop, &names).await)
        }
        Verb::Restart(names) => {
            talk.with(async |_, client, updates| order::run(client, updates, Order::Restart, &names).await)
        }
        Verb::Kill(names) => {
            talk.with(async |_, client, updates| order::run(client, updates, Order::Kill, &names).await)
        }
        Verb::Why { name } => talk.with(async |_, client, _| why::run(client, &name).await),
        Verb::Wait { names, goal, timeout } => {
            talk.with(async |_, client, updates| wait::run(client, updates, &names, goal, timeout).await)
        }
    }
}

/// Verbs that ask a supervisor.
struct Talk<'a> {
    global: &'a Global,
}

impl Talk<'_> {
    /// Connects first. Children that nobody looks after get a supervisor, whatever the verb is.
    fn with(&self, verb: impl AsyncFnOnce(Workspace, Client, Updates) -> Outcome) -> Outcome {
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
                None => return Err(link::nothing_runs(&workspace)),
            };
            verb(workspace, client, updates).await
        })?
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
