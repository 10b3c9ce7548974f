//! What the actor is put together from, what it is told to do, and what it says in the end.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::super::guest::GuestLine;
use super::super::handle::Shutdown;
use super::super::helper::Helpers;
use super::super::probe::Probe;
use super::super::store::StateStore;
use crate::domain::ids::RunnerName;
use crate::domain::runner::event::Failure;
use crate::domain::spec::WorkspaceSpec;
use crate::ports::{Clock, ExecEvent, Executor, SpawnFailureKind};

/// The world of one actor.
pub struct Parts {
    pub clock: Arc<dyn Clock>,
    pub executor: Box<dyn Executor>,
    /// What the executor tells.
    pub exec_events: mpsc::UnboundedReceiver<ExecEvent>,
    pub store: Box<dyn StateStore>,
    /// Where the store lies: with no room there, nothing new is started.
    pub state_dir: PathBuf,
    pub config: Box<dyn ConfigSource>,
    /// A token for each time that the config file may have changed; closed: nobody watches it.
    pub config_touched: mpsc::UnboundedReceiver<()>,
    pub probe: Arc<dyn Probe>,
    pub helpers: Arc<dyn Helpers>,
    /// `None`: there are no flows. Guests of an earlier time are kept all the same.
    pub guests: Option<GuestLine>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

/// Reads the config again.
pub trait ConfigSource: Send {
    /// The config as it is now, with what it changes against the one that runs. The error is the whole list of what is
    /// wrong with it, for a person.
    fn load(&mut self, running: &WorkspaceSpec) -> Result<Reloaded, String>;
}

#[derive(Debug, Clone, PartialEq)]
pub struct Reloaded {
    pub workspace: WorkspaceSpec,
    /// A sentence a change.
    pub changes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    pub mode: Mode,
    pub start: StartPlan,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In the foreground: ends when nothing is left to run.
    Headless,
    /// Ends after a minute with nothing live, pending or attached.
    Background,
}

/// What is started in the beginning. After an unclean end everything goes on as it was, whatever stands here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartPlan {
    /// Every runner with `autostart` that is new, or whose last supervisor ended cleanly.
    Autostart,
    /// These and no others.
    Only(Vec<RunnerName>),
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    pub why: EndReason,
    /// The runners that took part, by how they ended.
    pub completed: Vec<RunnerName>,
    pub failed: Vec<RunnerName>,
    pub stopped: Vec<RunnerName>,
    /// What could not be ended.
    pub alive: Vec<RunnerName>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    NothingLeft,
    /// Nothing was begun: nobody was there to start it.
    NoKeeper,
    Idle,
    Shutdown(Shutdown),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    AllCompleted,
    SomeFailed,
    /// By somebody's wish, with nothing that failed.
    Stopped,
}

impl End {
    pub fn exit(&self) -> Exit {
        let begun = self.why != EndReason::NoKeeper;
        if !begun || !self.failed.is_empty() || !self.alive.is_empty() {
            Exit::SomeFailed
        } else if !self.stopped.is_empty() || matches!(self.why, EndReason::Shutdown(_)) {
            Exit::Stopped
        } else {
            Exit::AllCompleted
        }
    }
}

pub(super) const fn failure(kind: SpawnFailureKind) -> Failure {
    match kind {
        SpawnFailureKind::Resource => Failure::Resource,
        SpawnFailureKind::Busy => Failure::Busy,
        SpawnFailureKind::Broken => Failure::Broken,
    }
}
