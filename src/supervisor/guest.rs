//! How the flow engine and the actor speak: stages run as guests among the runners of the config.

use std::path::PathBuf;

use super::handle::Shutdown;
use crate::domain::ids::{Attempt, Process, RunnerName};
use crate::domain::spec::RunnerSpec;
use crate::domain::time::Timestamp;
use crate::domain::verdict::Outcome;
use crate::ports::Usage;

/// Runners that are not in the config: stages of flows. Whoever runs these decides about retries and backoff, so the
/// actor starts each attempt once and keeps its end until it is told to forget it.
#[derive(Debug)]
pub enum GuestOrder {
    /// Starts this attempt. Where it lives already, or has ended, it is claimed instead: the spec is its spec from now
    /// on, and what became of it is told (again).
    Launch { spec: Box<RunnerSpec>, attempt: Attempt },
    /// Ends its whole tree; its verdict is `stopped`.
    Stop { name: RunnerName, how: Shutdown },
    /// Its end is on record elsewhere. What lives of it is killed.
    Forget { name: RunnerName },
}

/// What becomes of guests.
#[derive(Debug, Clone, PartialEq)]
pub enum GuestEvent {
    /// Once, when the executor is there: all guests that records or processes tell of, with their last attempt.
    /// Nothing is started before, and the ends of those that lived are told after it.
    Inventory(Vec<(RunnerName, Attempt)>),
    Started {
        name: RunnerName,
        attempt: Attempt,
        process: Process,
        at: Timestamp,
        log: PathBuf,
    },
    /// Nothing of it lives any more, and its log is complete.
    Ended(Box<GuestEnd>),
    /// It cannot be started for now, and spends nothing: a full disk, no processes left.
    Waiting {
        name: RunnerName,
        reason: String,
    },
    /// It has processes that do not die.
    Stuck {
        name: RunnerName,
        pids: Vec<i32>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct GuestEnd {
    pub name: RunnerName,
    pub attempt: Attempt,
    pub outcome: Outcome,
    pub started_at: Option<Timestamp>,
    pub ended_at: Timestamp,
    pub usage: Usage,
    pub log: Option<PathBuf>,
    /// It ended because restage or the machine did: it says nothing about the command, and spends no retry.
    pub cut: bool,
    /// Its disk was full.
    pub disk_full: bool,
}
