//! The runner as a machine: [`step`] takes its state, an [`Event`] and the [`Context`] of the moment and gives the
//! new state and the [`Effect`]s to be performed. No I/O, no clock, no async; the matrix in `matrix.rs` prints every
//! state × event and is the documentation of supervision.
//!
//! The course of one attempt:
//!
//! ```text
//!            spawned            exit                    gone
//! Starting ──────────► Running ──────► Sweeping{next} ──────► next: rest, start, or Pending until it is due
//!     ▲                   │ stop, timeout, silence, health       │
//!     │                   ▼               ▲                      │
//!     │                Ending ────────────┘ exit                 │
//!     └──────────────────────────────────────────────────────────┘
//! ```
//!
//! Two attempts never live at once, because only states in which nothing of the last attempt lives lead to
//! `Starting`. A backoff runs while the leftovers are being swept; the start follows the later of the two. An end
//! that we decide on fixes its verdict in `Ending`; an exit that the kernel saw earlier wins.
//!
//! Reading order: the types here, [`event`], then the moves by kind of event: `command`, `process`, `signs` (timers,
//! silence, health), `world` (config, records, adoption), and `moves`, which they share. [`state`], `record` and
//! `history` are the form on disk, `view` is the form for clients.

pub mod event;
pub mod state;

mod command;
mod history;
mod moves;
mod process;
mod record;
mod signs;
mod view;
mod world;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod matrix;
#[cfg(test)]
mod random;
#[cfg(test)]
mod takeover_tests;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use super::ids::{Attempt, Process};
use super::spec::RunnerSpec;
use super::time::{Mono, Now, Timestamp};
use super::verdict::Outcome;
use super::view::AttemptView;
pub use event::{Effect, Event, Found, TimerKind};
use moves::Machine;
pub use signs::ADVICE;

/// How long new work waits before it is tried again, where no event can tell that the obstacle is gone: a full disk,
/// descriptors, processes.
pub const POLL: Duration = Duration::from_secs(2);

/// Why a retry waits longer than its backoff.
const OVER_BUDGET: &str = "the retry budget of all runners is used up";
/// Why a start is due after a good end.
const ALWAYS: &str = "it completed, and `restart` is `always`";

/// Everything that is known of one runner.
#[derive(Debug, Clone, PartialEq)]
pub struct Runner {
    /// The last attempt that was started.
    pub attempt: Option<Attempt>,
    /// Retries since the last fresh start; rises when a backoff is scheduled.
    pub retry_count: u32,
    pub last_retry_at: Option<Timestamp>,
    /// The highest exit that was taken.
    pub exit_seq: u64,
    /// When the last attempt started.
    pub started: Option<Now>,
    /// The log of the last attempt.
    pub log: Option<PathBuf>,
    /// What the last attempt was made from, as a fingerprint.
    pub launch: Option<u64>,
    /// The last attempt that ended.
    pub last: Option<Ended>,
    /// The newest last, bounded.
    pub history: Vec<AttemptView>,
    /// It is no longer in the config: never started again, forgotten once it has ended.
    pub removed: bool,
    pub note: Option<String>,
    /// A timer of an older epoch is stale.
    pub epoch: u64,
    pub phase: Phase,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    pub outcome: Outcome,
    pub at: Timestamp,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// Never started.
    Idle,
    Starting(Starting),
    Running(Running),
    Ending(Ending),
    Sweeping(Sweeping),
    /// Nothing lives; the next start is due at a known time.
    Pending(Due),
    Resting(Rest),
}

/// The spawn was asked for, and its answer has not come.
#[derive(Debug, Clone, PartialEq)]
pub struct Starting {
    pub attempt: Attempt,
    /// Why it waited before, so that an obstacle that persists is told only once.
    pub waited: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Running {
    pub attempt: Attempt,
    pub process: Process,
    /// `None` where no health check is configured.
    pub health: Option<Health>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Health {
    /// Since when the checks pass; `None` while they do not.
    pub ready_since: Option<Mono>,
    /// Failed checks in a row.
    pub failures: u32,
}

/// restage has decided to end this attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    pub attempt: Attempt,
    /// `None` while the answer to its spawn is still to come.
    pub process: Option<Process>,
    pub since: Mono,
    /// The verdict, whatever the process makes of it from here on.
    pub outcome: Outcome,
    pub after: After,
    /// Killed, with neither signal nor grace.
    pub kill: bool,
    pub stuck: Vec<i32>,
}

/// What an attempt that is being ended is followed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    Stop,
    Start,
    /// What the retry policy says.
    Policy,
}

/// The main process has ended; what it left behind is being ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Sweeping {
    pub attempt: Attempt,
    pub next: Next,
    pub stuck: Vec<i32>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    Rest(Rest),
    /// A start that was asked for.
    Start,
    At(Due),
    /// The retry policy wants to see the output, which is complete only when nothing lives that could write it.
    Decide {
        ended: Mono,
        disk_full: bool,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Due {
    pub until: Mono,
    pub why: Why,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Why {
    /// A retry, which was counted when it was scheduled.
    Retry { over_budget: bool },
    /// A start after a good end, under `restart: always`.
    Again,
    /// An obstacle that is not the runner's fault.
    Wait { reason: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    Stopped,
    Crashed { exhausted: bool },
    Completed,
}

/// What the machine may know of the moment.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    pub now: Now,
    /// In `[0, 1)`, for the jitter.
    pub random: f64,
    /// When the budget of all runners allows the next retry; `None`: now.
    pub budget_free_at: Option<Mono>,
}

/// One step. The effects are to be performed after the new state has been recorded.
#[must_use]
pub fn step(spec: &RunnerSpec, runner: Runner, event: Event, ctx: &Context) -> (Runner, Vec<Effect>) {
    Machine::new(spec, runner, ctx).step(event)
}

impl Default for Runner {
    fn default() -> Self {
        Self {
            attempt: None,
            retry_count: 0,
            last_retry_at: None,
            exit_seq: 0,
            started: None,
            log: None,
            launch: None,
            last: None,
            history: Vec::new(),
            removed: false,
            note: None,
            epoch: 0,
            phase: Phase::Idle,
        }
    }
}

impl Runner {
    /// The attempt whose spawn is to be asked for.
    pub fn wants_spawn(&self) -> Option<Attempt> {
        match &self.phase {
            Phase::Starting(starting) => Some(starting.attempt),
            Phase::Idle
            | Phase::Running(_)
            | Phase::Ending(_)
            | Phase::Sweeping(_)
            | Phase::Pending(_)
            | Phase::Resting(_) => None,
        }
    }

    /// The attempt of which something lives or may live.
    pub fn live_attempt(&self) -> Option<Attempt> {
        match &self.phase {
            Phase::Starting(Starting { attempt, .. })
            | Phase::Running(Running { attempt, .. })
            | Phase::Ending(Ending { attempt, .. })
            | Phase::Sweeping(Sweeping { attempt, .. }) => Some(*attempt),
            Phase::Idle | Phase::Pending(_) | Phase::Resting(_) => None,
        }
    }

    /// Gives the attempt that is about to be spawned its log, and with it its final number: a number whose log is
    /// already there is skipped, so that no log is ever shared.
    pub fn place(&mut self, number: Attempt, log: PathBuf, launch: u64) {
        if let Phase::Starting(starting) = &mut self.phase {
            starting.attempt = number;
            self.log = Some(log);
            self.launch = Some(launch);
        }
    }
}
