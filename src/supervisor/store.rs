//! What the actor needs from the place where runner states are kept: absolute states in, absolute states out. The
//! actor persists first and acts afterwards; how a record reaches the disk is none of its business.

use std::io;

use crate::domain::ids::RunnerName;
use crate::domain::runner::state::RunnerState;
use crate::domain::time::Mono;

/// Where runner states are kept. A state that was recorded survives `kill -9` of every process of ours.
pub trait StateStore: Send {
    /// Keeps this as the state of its runner, at a cost that does not grow with the number of runners.
    fn record(&mut self, state: &RunnerState) -> io::Result<()>;

    /// Forgets a runner.
    fn remove(&mut self, name: &RunnerName) -> io::Result<()>;

    /// A clean end: nothing lives that has to be found again.
    fn finish(&mut self) -> io::Result<()>;

    /// When it wants to be called with [`StateStore::compact_if_due`] next.
    fn due(&self) -> Option<Mono>;

    /// Housekeeping off the path of a restart.
    fn compact_if_due(&mut self, now: Mono);
}

/// What was found on disk when the supervisor started.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Recovered {
    pub states: Vec<RunnerState>,
    /// The last supervisor ended cleanly.
    pub clean_end: bool,
    /// Recorded within this boot, on this machine, in this pid namespace: pids and monotonic times mean something.
    pub same_boot: bool,
    /// Counts the supervisors of this workspace; this one's number.
    pub epoch: u64,
    /// What a person should know: a torn tail, a file that was set aside.
    pub notes: Vec<String>,
}
