//! The seams: what supervision needs from the world, in plain types. Adapters implement these; tests fake them.

pub mod store;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::ids::{AttemptId, Process};
use crate::domain::spec::{CommandSpec, Limit, LimitValue, StdinSpec, Stdio};
use crate::domain::time::{Mono, Now};
use crate::domain::verdict::ExitStatus;

/// The only source of time.
pub trait Clock: Send + Sync {
    fn now(&self) -> Now;
}

/// Where attempts run. Every call returns at once; what comes of it is told by [`ExecEvent`]s on the channel that was
/// handed over when the executor was made. A spawn is idempotent by attempt id; one that failed leaves nothing behind,
/// so that the same id may be spawned again.
pub trait Executor: Send {
    fn spawn(&mut self, launch: Launch);
    fn stop(&mut self, attempt: &AttemptId, stop: StopTree);
    /// What a person typed into the terminal of an attempt. An executor without terminals leaves it out.
    fn input(&mut self, _attempt: &AttemptId, _text: &str) {}
    /// The size of that terminal.
    fn resize(&mut self, _attempt: &AttemptId, _size: TerminalSize) {}
    /// The exit `seq` and all before it are in the supervisor's own records.
    fn ack(&mut self, seq: u64);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    pub rows: u16,
    pub cols: u16,
}

/// Everything that one new process is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    pub id: AttemptId,
    pub command: CommandSpec,
    pub cwd: PathBuf,
    /// On top of the environment of restage itself; `None` unsets.
    pub env: BTreeMap<String, Option<String>>,
    pub stdin: StdinSpec,
    pub stdio: Stdio,
    pub umask: Option<u32>,
    pub limits: BTreeMap<Limit, LimitValue>,
    pub log: PathBuf,
    pub log_max_bytes: Option<u64>,
    /// How the tree ends where nobody is there to say so.
    pub stop: StopTree,
    pub keep_leftovers: bool,
}

/// How a whole tree is ended: the signal (or nothing, where a stop command does that part), then the sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopTree {
    pub signal: Option<i32>,
    pub grace: Duration,
}

impl StopTree {
    pub const KILL: Self = Self { signal: None, grace: Duration::ZERO };
}

#[derive(Debug, Clone, PartialEq)]
pub enum ExecEvent {
    /// The executor is there (again): all that lives, all exits not acknowledged. Whatever is not in it is not alive.
    Connected(Inventory),
    /// It is gone for now; it comes back by itself with [`ExecEvent::Connected`].
    Disconnected {
        why: String,
    },
    Spawned {
        id: AttemptId,
        process: Process,
    },
    SpawnFailed {
        id: AttemptId,
        failure: SpawnFailure,
    },
    /// The main process ended.
    Exited(ExecExit),
    /// Nothing of the attempt lives any more, and its log is complete.
    Gone {
        id: AttemptId,
    },
    Stuck {
        id: AttemptId,
        pids: Vec<i32>,
    },
    Warning {
        id: Option<AttemptId>,
        text: String,
    },
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Inventory {
    pub live: Vec<LiveAttempt>,
    pub exits: Vec<ExecExit>,
    /// False: the executor has lost its own safety net; said once, aloud.
    pub guarded: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct LiveAttempt {
    pub id: AttemptId,
    pub process: Process,
    /// The main process has ended, something of its tree lives.
    pub main_ended: bool,
    pub stuck: Vec<i32>,
    pub log: PathBuf,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ExecExit {
    pub id: AttemptId,
    /// To be acknowledged once it is recorded.
    pub seq: u64,
    pub status: ExitStatus,
    pub at: Mono,
    pub usage: Usage,
    /// The executor ended it because the supervisor had died: it says nothing about the command.
    pub cut: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    pub cpu: Duration,
    pub max_rss_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpawnFailure {
    /// For a person: the act, the thing and the cause.
    pub message: String,
    pub kind: SpawnFailureKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpawnFailureKind {
    /// No room, no descriptors, no processes left: it will work later, and spends no retry.
    Resource,
    /// What is left of an earlier attempt still lives.
    Busy,
    /// It will fail the same way until somebody changes something.
    Broken,
}
