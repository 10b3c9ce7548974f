//! One attempt as the keeper sees it: a main process and everything that came of it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::guard;
use super::journal::{Intent, Known};
use super::proc;
use super::relay::Source;
use super::terminal::Typed;
use super::wire::LiveAttempt;

#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) intent: Intent,
    pub(crate) pid: i32,
    pub(crate) start: u64,
    pub(crate) main: Main,
    /// Its processes do not descend from us: only a look at every process of the machine finds them all.
    pub(crate) foreign: bool,
    /// Who leads the session of its terminal; elsewhere the main process does.
    pub(crate) holder: Option<(i32, u64)>,
    pub(crate) relay: Option<Relay>,
    /// When one is tried again that could not be started.
    pub(crate) relay_due: Option<u64>,
    /// A descriptor of the reading end, so that a dead relay takes nothing with it.
    pub(crate) source: Option<Source>,
    /// Device and inode of the log: who has it as output is of this attempt.
    pub(crate) log_file: Option<(u64, u64)>,
    pub(crate) ending: Ending,
    /// What was typed for its terminal and found no room there yet.
    pub(crate) typed: Option<Typed>,
}

#[derive(Debug)]
pub(crate) enum Main {
    /// Our child: its end is a SIGCHLD.
    Child,
    /// Somebody else's child by now: its end is told by the pidfd.
    Foreign(OwnedFd),
    /// There was no descriptor to see whose child it is, or to watch it: it is looked at now and then.
    Unwatched,
    Ended,
}

impl Main {
    /// Only where the kernel says that there is no such process has it ended.
    pub(crate) fn find(pid: i32, start: u64) -> Self {
        match proc::look(pid) {
            Ok(Some(stat)) if stat.start != start => Self::Ended,
            Ok(Some(stat)) if stat.ppid.cast_unsigned() == std::process::id() => Self::Child,
            // Whose child it is has not asked for its status, and need never do so.
            Ok(Some(stat)) if stat.is_dead() => Self::Ended,
            Ok(Some(_)) => match proc::pidfd_open(pid) {
                Ok(pidfd) => Self::Foreign(pidfd),
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Self::Ended,
                Err(_) => Self::Unwatched,
            },
            Ok(None) => Self::Ended,
            Err(_) => Self::Unwatched,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) pid: i32,
    pub(crate) start: u64,
    /// Watched where it is not our child; open for as long as it is looked after.
    pub(crate) _pidfd: Option<OwnedFd>,
}

/// How far the end of a tree has come. Times are nanoseconds on the monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    Not,
    /// The signal was sent; what lives at `until` is killed.
    Grace {
        until: u64,
        /// Where its orphans are not ours, their end is not told to us: when to look again.
        look: Option<u64>,
    },
    Sweep(Sweep),
    /// Nothing of it lives; its relay empties the pipe until then at most.
    Drain {
        until: u64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sweep {
    /// From here on it is told as stuck.
    pub(crate) deadline: u64,
    pub(crate) next_pass: u64,
    pub(crate) passes: u32,
    /// Passes in a row that found nothing.
    pub(crate) empty: u32,
    pub(crate) stuck: Vec<i32>,
}

impl Sweep {
    const PATIENCE: u64 = 5_000_000_000;

    pub(crate) fn from(now: u64) -> Self {
        Self { deadline: now + Self::PATIENCE, next_pass: now, passes: 0, empty: 0, stuck: Vec::new() }
    }
}

impl Tree {
    pub(crate) fn new(
        intent: Intent,
        pid: i32,
        start: u64,
        main: Main,
        log_file: Option<(u64, u64)>,
    ) -> Self {
        let foreign = !matches!(main, Main::Child);
        Self {
            pid,
            start,
            main,
            foreign,
            holder: None,
            relay: None,
            relay_due: None,
            source: None,
            log_file,
            ending: Ending::Not,
            typed: None,
            intent,
        }
    }

    /// A tree that another keeper started, as far as its main process can be found again.
    pub(crate) fn found(known: &Known, main: Option<(i32, u64)>) -> Self {
        let (pid, start) = main.unwrap_or((0, 0));
        let main = if known.main_ended { Main::Ended } else { Main::find(pid, start) };
        let intent = known.intent.clone();
        let log_file = fs::metadata(&intent.log).ok().map(|meta| (meta.dev(), meta.ino()));
        Self { holder: known.holder, ..Self::new(intent, pid, start, main, log_file) }
    }

    /// The leader of the session that its processes are born into.
    pub(crate) fn leader(&self) -> (i32, u64) {
        self.holder.unwrap_or((self.pid, self.start))
    }

    /// The cgroup of the attempt, where it has one of its own.
    pub(crate) fn cgroup(&self) -> Option<PathBuf> {
        self.intent.cgroup()
    }

    pub(crate) fn key(&self) -> &str {
        &self.intent.key
    }

    pub(crate) fn main_lives(&self) -> bool {
        !matches!(self.main, Main::Ended)
    }

    pub(crate) fn view(&self) -> LiveAttempt {
        LiveAttempt {
            key: self.key().to_owned(),
            pid: self.pid,
            start: self.start,
            main_ended: !self.main_lives(),
            stuck: match &self.ending {
                Ending::Sweep(sweep) => sweep.stuck.clone(),
                Ending::Not | Ending::Grace { .. } | Ending::Drain { .. } => Vec::new(),
            },
            log: self.intent.log.to_path_buf(),
        }
    }
}

/// The part before the last `#`.
pub(crate) fn runner_of(key: &str) -> &str {
    key.rsplit_once('#').map_or(key, |(runner, _)| runner)
}

/// Processes that were started in the very moment in which their keeper died.
#[derive(Debug, Default)]
pub(crate) struct Unseen {
    /// The main process of each attempt, by its token: the eldest that has it, which it has before it is anything else. It
    /// may have ended meanwhile, as long as nobody has reaped it.
    pub(crate) mains: HashMap<u64, (i32, u64)>,
    /// All of our children were looked at: whose token none of them has is not among them.
    pub(crate) all_children: bool,
}

pub(crate) fn born_unseen(known: &[Known]) -> Unseen {
    let unseen = |known: &&Known| known.process.is_none() && !known.main_ended;
    let tokens: HashSet<u64> = known.iter().filter(unseen).map(|known| known.intent.token).collect();
    let mut told = Unseen::default();
    if tokens.is_empty() {
        return told;
    }
    let are_born = wait_for_births();
    let mut looked_at = HashSet::new();
    for pid in proc::all_pids() {
        let looked = proc::ProcDir::open(pid).and_then(|dir| Ok((dir.told_token()?, dir.stat()?)));
        let Ok((token, stat)) = looked else { continue };
        looked_at.insert(pid);
        let Some(token) = token.filter(|token| tokens.contains(token)) else { continue };
        let found = told.mains.entry(token).or_insert((pid, stat.start));
        if (stat.start, pid) < (found.1, found.0) {
            *found = (pid, stat.start);
        }
    }
    // Without a descriptor neither the processes nor the children are told; we ourselves are among the processes.
    let could_look = looked_at.contains(&std::process::id().cast_signed());
    told.all_children =
        are_born && could_look && proc::own_children().iter().all(|pid| looked_at.contains(pid));
    told
}

/// Until it has executed, a child has the name of the keeper that died, and perhaps not yet its token. False: one takes
/// too long.
fn wait_for_births() -> bool {
    const PATIENCE: u64 = 1_000_000_000;
    let deadline = proc::monotonic() + PATIENCE;
    let unborn = || proc::own_children().into_iter().any(|pid| proc::is_called(pid, guard::NAME));
    while unborn() && proc::monotonic() < deadline {
        // SAFETY: no entries: only a millisecond.
        unsafe { libc::poll(std::ptr::null_mut(), 0, 1) };
    }
    !unborn()
}
