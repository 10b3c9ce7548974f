//! What can happen to a runner, and what the machine asks for in answer. Plain words: the actor translates from and
//! to the ports.

use std::path::PathBuf;
use std::time::Duration;

use crate::domain::ids::{Attempt, Process};
use crate::domain::retry::OutputMatch;
use crate::domain::time::Mono;
use crate::domain::verdict::ExitStatus;
use crate::domain::view::NoticeKind;

#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    // A person asks.
    Start,
    Stop,
    Restart,
    Kill,

    // The executor tells.
    Spawned {
        attempt: Attempt,
        process: Process,
    },
    SpawnFailed {
        attempt: Attempt,
        failure: Failure,
        message: String,
    },
    Exited {
        attempt: Attempt,
        seq: u64,
        status: ExitStatus,
        /// When the kernel's word was seen.
        at: Mono,
        /// The disk that the log lies on was full.
        disk_full: bool,
    },
    Gone {
        attempt: Attempt,
        output: OutputMatch,
    },
    Stuck {
        attempt: Attempt,
        pids: Vec<i32>,
    },

    // Time and signs of life.
    Timer {
        kind: TimerKind,
        epoch: u64,
    },
    Silent {
        attempt: Attempt,
        quiet: Duration,
    },
    HealthPassed {
        attempt: Attempt,
    },
    HealthFailed {
        attempt: Attempt,
        detail: String,
    },

    // The world around.
    /// The spawn that was just asked for may not be done now: it could not be recorded, or there is no room for it.
    Blocked {
        reason: String,
    },
    /// The spec that comes with this step is a new one, or belongs to a runner that had been removed.
    SpecChanged {
        launch: LaunchChange,
    },
    Removed,
    /// The executor is connected, and this is what it has of the runner.
    Inventory {
        found: Option<Found>,
        /// This supervisor has not seen the runner's processes before.
        first: bool,
        /// Of the last attempt, for the case that it ended unseen.
        output: OutputMatch,
    },
    /// What was recorded belongs to another boot: nothing of it lives.
    Rebooted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It will work later.
    Resource,
    /// Something of an earlier attempt lives.
    Busy,
    /// It will fail the same way again.
    Broken,
}

/// Whether the process that runs was made from what the config says now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaunchChange {
    Same,
    Differs,
}

/// What the executor has of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub attempt: Attempt,
    pub process: Process,
    pub main_ended: bool,
    pub stuck: Vec<i32>,
    pub log: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TimerKind {
    /// The next start is due.
    Due,
    /// The hard limit of the attempt.
    Timeout,
    /// Healthy long enough for the retry count to go back to 0.
    Steady,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Start the attempt of the phase `Starting`.
    Spawn,
    /// End the whole tree: the signal, where there is one, then the grace, then the sweep.
    Stop {
        attempt: Attempt,
        signal: Option<i32>,
        grace: Duration,
    },
    /// Run the configured command that makes the attempt end.
    RunStopCommand {
        attempt: Attempt,
    },
    ArmTimer {
        kind: TimerKind,
        at: Mono,
        epoch: u64,
    },
    Notice(NoticeKind),
    /// The exit is in the record.
    Ack(u64),
    SpendBudget,
    /// Watch for silence, as the spec says now; what is watched already goes on.
    Watch {
        attempt: Attempt,
    },
    Unwatch,
    StartHealth {
        attempt: Attempt,
    },
    StopHealth,
    /// Forget the runner.
    Remove,
}
