//! Verbs that set runs going or judge them need the engine of a supervisor: the one that is there, or one that is
//! hosted for them: in the background from a terminal, else in this process, for as long as the verb takes.

use std::io::IsTerminal;

use super::args::Global;
use super::background;
use super::commands::up;
use super::failure::Outcome;
use super::link;
use super::workspace::Workspace;
use super::{block_on, output, settings};
use crate::config::Missing;
use crate::control::client::{Client, Updates};

/// Who lives longer, where nobody supervises yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// The verb waits for what it has set going.
    Verb,
    /// What it has set going goes on without it.
    Background,
}

pub fn with(
    global: &Global,
    workspace: &Workspace,
    host: Host,
    verb: impl AsyncFnOnce(Client, Updates) -> Outcome,
) -> Outcome {
    let there = block_on(async { link::connect(workspace).await.map(|found| found.is_some()) })??;
    let background = host == Host::Background || std::io::stdout().is_terminal();
    if !there && !background && !background::is_needed(workspace) {
        let spec = settings::load(workspace, Missing::Error)?;
        return up::host(workspace, spec, global.debug, async || {
            let (client, updates) = link::require(workspace).await?;
            verb(client, updates).await
        });
    }
    if !there {
        let pid = background::start_for_runs(workspace, global.debug)?;
        output::remark(&format!("restage: supervisor {pid} works in the background"));
    }
    block_on(async {
        let (client, updates) = link::require(workspace).await?;
        verb(client, updates).await
    })?
}

/// Whoever judges, by name.
pub fn who() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten();
    user.map(|user| user.name)
        .or_else(|| std::env::var("USER").ok())
        .unwrap_or_else(|| nix::unistd::getuid().to_string())
}
