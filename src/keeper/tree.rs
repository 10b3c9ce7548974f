//! One attempt as the keeper sees it: a main process and everything that came of it.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::journal::{Intent, Known};
use super::proc;
use super::relay::Source;
use super::sweep::marker;
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
    Ended,
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
            source: None,
            log_file,
            ending: Ending::Not,
            typed: None,
            intent,
        }
    }

    /// A tree that another keeper started, as far as it can be found again: by its recorded process, or, where that
    /// keeper died in the very moment of the spawn, by the token that the child sets before anything else.
    pub(crate) fn found(known: &Known) -> Self {
        let (pid, start) = known.process.or_else(|| find_by_token(known.intent.token)).unwrap_or((0, 0));
        let main = if known.main_ended || proc::stat(pid).is_none_or(|stat| stat.start != start) {
            Main::Ended
        } else if proc::stat(pid).is_some_and(|stat| stat.ppid.cast_unsigned() == std::process::id()) {
            Main::Child
        } else {
            proc::pidfd_open(pid).map_or(Main::Ended, Main::Foreign)
        };
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
        self.intent.cgroups.as_ref().map(|base| Path::new(&**base).join(marker(self.intent.token)))
    }

    pub(crate) fn key(&self) -> &str {
        &self.intent.key
    }

    pub(crate) fn main_lives(&self) -> bool {
        matches!(self.main, Main::Child | Main::Foreign(_))
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

/// The eldest process with this token: the main process.
fn find_by_token(token: u64) -> Option<(i32, u64)> {
    proc::all_pids()
        .into_iter()
        .filter_map(|pid| {
            let dir = proc::ProcDir::open(pid).ok()?;
            let stat = dir.stat().ok()?;
            (!stat.is_dead() && dir.token() == Some(token)).then_some((pid, stat.start))
        })
        .min_by_key(|(_, start)| *start)
}
