//! How the flow engine and the actor speak: stages run as guests among the runners of the config.

use std::path::PathBuf;

use tokio::sync::mpsc;

use super::handle::Shutdown;
use crate::domain::ids::{Attempt, Process, RunnerName};
use crate::domain::spec::RunnerSpec;
use crate::domain::time::Timestamp;
use crate::domain::verdict::Outcome;
use crate::ports::Usage;

/// The actor's end of the line to the flow engine. Orders may come at any time; those that come before the inventory
/// are carried out after it, in their order.
pub struct GuestLine {
    pub orders: mpsc::UnboundedReceiver<GuestOrder>,
    /// Called on the actor's thread, so it must not wait.
    pub tell: Box<dyn FnMut(GuestEvent) + Send>,
}

impl std::fmt::Debug for GuestLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuestLine").finish_non_exhaustive()
    }
}

/// Runners that are not in the config: stages of flows, known by the `/` in their name. Whoever runs these decides about
/// retries and backoff, so the actor starts each attempt once and keeps its end until it is told to forget it, over the
/// ends of supervisors, too. What concerns whether anything is started again is set by the actor, whatever the spec says.
#[derive(Debug)]
pub enum GuestOrder {
    /// Starts this attempt. Numbers rise; where a log of this one is there already, the process gets a higher one, which
    /// [`GuestEvent::Started`] and [`GuestEvent::Ended`] tell, and goes on being known by this one. Where it, or a later
    /// one, lives already or has ended, that is claimed instead: the spec is its spec from now on, and what became of it
    /// is told (again). An earlier attempt that lives is killed first, and its end told. While the supervisor is ending
    /// nothing is started, and the answer is [`GuestEvent::Waiting`].
    Launch { spec: Box<RunnerSpec>, attempt: Attempt },
    /// Ends its whole tree; its verdict is `stopped`. One that has ended, or that nobody knows, is left as it is.
    Stop { name: RunnerName, how: Shutdown },
    /// Its end is on record elsewhere, and nothing is told of it any more. What lives of it is killed.
    Forget { name: RunnerName },
}

/// What becomes of guests.
#[derive(Debug, Clone, PartialEq)]
pub enum GuestEvent {
    /// Once, when the executor is there: all guests that records or processes tell of, by name. One that was to be
    /// started, and was not, is not among them. Nothing is started or told
    /// before. From here on the ends of those that live are told; what has ended already is told when it is claimed.
    Inventory(Vec<KnownGuest>),
    Started {
        name: RunnerName,
        attempt: Attempt,
        process: Process,
        at: Timestamp,
        log: PathBuf,
    },
    /// Nothing of it lives any more, and its log is complete. It may come without [`GuestEvent::Started`].
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

/// A guest from before this supervisor.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KnownGuest {
    pub name: RunnerName,
    /// The number under which its last attempt was ordered.
    pub attempt: Attempt,
    /// When there was last a sign of it. `None`: something of it lives.
    pub last_seen: Option<Timestamp>,
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
    /// It ended because restage or the machine did: it says nothing about the command, and spends no retry. The verdict
    /// is `lost`, or `stopped` where the supervisor was told to end.
    pub cut: bool,
    /// Its disk was full.
    pub disk_full: bool,
}
