//! How attempts end: reaping, stopping, sweeping, draining, and what the keeper does when nobody tells it what to do.

use std::cell::Cell;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use super::cgroup;
use super::journal::Record;
use super::pidfd_info;
use super::proc;
use super::serve::Keeper;
use super::sweep::{self, Census};
use super::tree::{Ending, Main, Sweep, Tree};
use super::wire::{Exit, ExitKind, Policy, Report, StdioKind};

const MILLI: u64 = 1_000_000;
/// How long a relay may go on reading once nothing of its attempt lives.
const DRAIN: u64 = 2_000 * MILLI;
/// Between two passes of a sweep that still finds somebody.
const PASS: u64 = MILLI / 2;
/// Between two attempts to kill what does not die.
const STUCK_PASS: u64 = 1_000 * MILLI;
/// How long tidying up waits for the spawn that often follows an end.
const TIDY: u64 = 20 * MILLI;
/// Between two looks for the orphans of a tree that is not descended from us.
const LOOK: u64 = 50 * MILLI;

impl Keeper {
    /// Records every end of a main process before the kernel forgets it, then reaps; orphans likewise.
    pub(super) fn reap(&mut self) {
        while let Some(ended) = next_ended() {
            if let Some(key) = self.mains.get(&ended.pid).cloned() {
                self.main_ended(&key, ended.status, ended.cpu_ms, ended.max_rss_kb);
                self.write_down();
                reap_one(ended.pid);
            } else if self.relays.contains_key(&ended.pid) {
                reap_one(ended.pid);
                self.relay_ended(ended.pid, ended.status == ExitKind::Code(0));
            } else {
                reap_one(ended.pid);
                self.loose_relays.remove(&ended.pid);
                if self.successor.child == Some(ended.pid) {
                    // It died before it said hello.
                    self.successor.child = None;
                    self.successor.wanted(proc::monotonic());
                }
                self.orphan_ended = true;
            }
        }
        if std::mem::take(&mut self.orphan_ended) {
            self.look_after_orphans();
        }
    }

    /// An orphan has ended: trees that wait for their last process may be empty now.
    fn look_after_orphans(&mut self) {
        let now = proc::monotonic();
        let mut waiting = Vec::new();
        for (key, tree) in &mut self.trees {
            let main_lives = tree.main_lives();
            match &mut tree.ending {
                Ending::Grace { .. } if !main_lives => waiting.push(key.clone()),
                Ending::Sweep(sweep) if sweep.stuck.is_empty() => sweep.next_pass = now,
                Ending::Not | Ending::Grace { .. } | Ending::Sweep(_) | Ending::Drain { .. } => {}
            }
        }
        for key in waiting {
            if self.is_empty(&key) {
                self.finish(&key);
            }
        }
    }

    pub(super) fn main_ended(&mut self, key: &str, status: ExitKind, cpu_ms: u64, max_rss_kb: u64) {
        let Some(tree) = self.trees.get_mut(key) else { return };
        tree.main = Main::Ended;
        let pid = tree.pid;
        self.mains.remove(&pid);
        let seq = self.head.next_seq.max(1);
        self.head.next_seq = seq + 1;
        let exit = Exit {
            seq,
            key: key.to_owned(),
            pid,
            status,
            at_mono: proc::monotonic(),
            cpu_ms,
            max_rss_kb,
            cut: self.ending,
        };
        self.record(&Record::Exit(exit.clone()));
        self.send(&Report::Exit(exit.clone()));
        self.exits.insert(seq, exit);
        self.after_main_end(key);
    }

    /// The main process is gone: what it left behind goes, too, or is let go.
    pub(super) fn after_main_end(&mut self, key: &str) {
        let Some(tree) = self.trees.get_mut(key) else { return };
        if tree.intent.keep_leftovers {
            if let Some(relay) = tree.relay.take() {
                self.relays.remove(&relay.pid);
                self.loose_relays.insert(relay.pid);
            }
            return self.gone(key);
        }
        if matches!(tree.ending, Ending::Sweep(_) | Ending::Drain { .. }) {
            return;
        }
        if self.is_empty(key) {
            return self.finish(key);
        }
        let Some(tree) = self.trees.get_mut(key) else { return };
        if let Ending::Grace { look, .. } = &mut tree.ending {
            // The grace belongs to the tree: its other processes have the rest of it.
            *look = tree.foreign.then(|| proc::monotonic() + LOOK);
        } else {
            self.begin_sweep(key);
        }
    }

    /// Ends a whole tree. A second order can only make it faster.
    pub(super) fn stop(&mut self, key: &str, signal: Option<i32>, grace_ms: u64) {
        let now = proc::monotonic();
        let Some(tree) = self.trees.get_mut(key) else {
            // Gone already; whoever asks waits for this.
            return self.send(&Report::Gone { key: key.to_owned() });
        };
        let end = now.saturating_add(grace_ms.saturating_mul(MILLI));
        match &mut tree.ending {
            Ending::Sweep(_) | Ending::Drain { .. } => return,
            Ending::Grace { until, .. } => *until = end.min(*until),
            ending @ Ending::Not => *ending = Ending::Grace { until: end, look: None },
        }
        if grace_ms == 0 {
            return self.begin_sweep(key);
        }
        if let Some(signal) = signal {
            self.signal_groups(key, signal);
        }
    }

    pub(super) fn stop_everything(&mut self) {
        self.ending = true;
        let all: Vec<_> = self
            .trees
            .values()
            .map(|tree| (tree.key().to_owned(), tree.intent.stop_signal, tree.intent.grace_ms))
            .collect();
        for (key, signal, grace_ms) in all {
            self.stop(&key, Some(signal), grace_ms);
        }
    }

    /// The stop signal goes to every session of the tree; one that is stopped is woken, so that it can obey.
    fn signal_groups(&self, key: &str, signal: i32) {
        let Some(tree) = self.trees.get(key) else { return };
        let (census, index) = self.census_of(key, tree.foreign);
        let mut groups: Vec<i32> = census.of(index).map(|member| member.stat.pgid).collect();
        groups.sort_unstable();
        groups.dedup();
        for group in groups {
            let ours = census
                .of(index)
                .any(|member| member.stat.pgid == group && is_whole(tree, &census, index, member));
            if ours {
                // SAFETY: plain numbers; the group's members were just seen to be of this tree.
                unsafe {
                    libc::killpg(group, signal);
                    libc::killpg(group, libc::SIGCONT);
                }
            }
        }
    }

    fn census_of(&self, key: &str, full: bool) -> (Census, usize) {
        let trees: Vec<&Tree> = self.trees.values().map(|tree| &**tree).collect();
        let index = trees.iter().position(|tree| tree.key() == key).unwrap_or(usize::MAX);
        (sweep::census(&trees, &|tree| tree.key() == key, &self.spared(), full), index)
    }

    /// Our own processes, which no sweep may touch.
    fn spared(&self) -> Vec<i32> {
        let mut spared = vec![std::process::id().cast_signed(), nix::unistd::getppid().as_raw()];
        spared.extend(self.relays.keys());
        spared.extend(self.trees.values().filter_map(|tree| tree.holder).map(|(pid, _)| pid));
        spared.extend(&self.loose_relays);
        spared.extend(self.supervisor.as_ref().map(|(pid, _)| *pid));
        spared.extend(self.successor.child);
        spared
    }

    /// Whether nothing of a tree whose main process has ended lives any more, as far as that is cheap to know.
    fn is_empty(&self, key: &str) -> bool {
        let Some(tree) = self.trees.get(key) else { return true };
        if tree.main_lives() {
            return false;
        }
        if let Some(dir) = tree.cgroup() {
            return !cgroup::is_populated(&dir);
        }
        if tree.foreign {
            return !self.census_of(key, true).0.has_any();
        }
        let trees: Vec<&Tree> = self.trees.values().map(|tree| &**tree).collect();
        let index = trees.iter().position(|other| other.key() == key).unwrap_or(usize::MAX);
        !sweep::has_orphans(&trees, index, &self.spared())
    }

    fn begin_sweep(&mut self, key: &str) {
        // It may take a while; what is known by now need not wait for it.
        self.flush();
        let now = proc::monotonic();
        if let Some(tree) = self.trees.get_mut(key) {
            tree.ending = Ending::Sweep(Sweep::from(now));
        }
        self.sweep(now);
    }

    /// Everything whose time has come.
    pub(super) fn on_time(&mut self, now: u64) {
        let mut over = Vec::new();
        for (key, tree) in &mut self.trees {
            match &mut tree.ending {
                Ending::Grace { until, .. } if *until <= now => {
                    tree.ending = Ending::Sweep(Sweep::from(now));
                }
                Ending::Grace { look: Some(look), .. } if *look <= now => {
                    *look = now + LOOK;
                    over.push(key.clone());
                }
                Ending::Drain { until } if *until <= now => over.push(key.clone()),
                Ending::Not | Ending::Grace { .. } | Ending::Sweep(_) | Ending::Drain { .. } => {}
            }
        }
        for key in over {
            let drained =
                self.trees.get(&key).is_some_and(|tree| matches!(tree.ending, Ending::Drain { .. }));
            if drained {
                self.cut_relay(&key);
            } else if self.is_empty(&key) {
                self.finish(&key);
            }
        }
        self.sweep(now);
        if self.successor.take_due(now) {
            self.start_successor(now);
        }
    }

    /// One pass over all trees that are due: simultaneous ends share the look at the processes.
    fn sweep(&mut self, now: u64) {
        let is_due = |tree: &Tree| matches!(&tree.ending, Ending::Sweep(sweep) if sweep.next_pass <= now);
        if !self.trees.values().any(|tree| is_due(tree)) {
            return;
        }
        for tree in self.trees.values().filter(|tree| is_due(tree)) {
            if let Some(dir) = tree.cgroup() {
                // Where this fails, the passes below do the same one by one.
                cgroup::kill(&dir).ok();
            }
        }
        let full = self.trees.values().filter(|tree| is_due(tree)).any(|tree| match &tree.ending {
            Ending::Sweep(sweep) => {
                tree.foreign || (tree.intent.cgroups.is_none() && sweep.passes.is_multiple_of(8))
            }
            Ending::Not | Ending::Grace { .. } | Ending::Drain { .. } => false,
        });
        let trees: Vec<&Tree> = self.trees.values().map(|tree| &**tree).collect();
        let census = sweep::census(&trees, &is_due, &self.spared(), full);
        let mut found: Vec<(String, Vec<i32>)> = Vec::new();
        for (index, tree) in trees.iter().enumerate().filter(|(_, tree)| is_due(tree)) {
            let mut alive = Vec::new();
            for member in census.of(index) {
                // The kernel may refuse (another user's process): it counts as alive until it is gone.
                member.kill(is_whole(tree, &census, index, member)).ok();
                alive.push(member.stat.pid);
            }
            if alive.is_empty() && tree.cgroup().is_some_and(|dir| cgroup::is_populated(&dir)) {
                alive.push(0);
            }
            found.push((tree.key().to_owned(), alive));
        }
        for (key, alive) in found {
            self.after_pass(&key, alive, now);
        }
    }

    fn after_pass(&mut self, key: &str, alive: Vec<i32>, now: u64) {
        let Some(tree) = self.trees.get_mut(key) else { return };
        let main_lives = tree.main_lives();
        let exact = tree.intent.cgroups.is_some() && !tree.foreign;
        let Ending::Sweep(sweep) = &mut tree.ending else { return };
        sweep.passes += 1;
        if alive.is_empty() && !main_lives {
            sweep.empty += 1;
            sweep.next_pass = now;
            let enough = if exact { 1 } else { 3 };
            if sweep.empty >= enough {
                return self.finish(key);
            }
            return;
        }
        sweep.empty = 0;
        sweep.next_pass = now + PASS;
        if now > sweep.deadline {
            sweep.next_pass = now + STUCK_PASS;
            let pids: Vec<i32> = alive.into_iter().filter(|pid| *pid != 0).collect();
            if pids != sweep.stuck {
                sweep.stuck.clone_from(&pids);
                self.send(&Report::Stuck { key: key.to_owned(), pids });
            }
        }
    }

    /// Nothing of it lives; its relay may still have something to carry.
    fn finish(&mut self, key: &str) {
        let Some(tree) = self.trees.get_mut(key) else { return };
        if matches!(tree.ending, Ending::Sweep(_))
            && tree.intent.stdio == StdioKind::File
            && has_writer(&tree.intent.log)
        {
            let text = "somebody still writes into the log of an attempt that is over".to_owned();
            self.send(&Report::Warning { key: Some(key.to_owned()), text });
        }
        let Some(tree) = self.trees.get_mut(key) else { return };
        if tree.relay.is_some() {
            tree.ending = Ending::Drain { until: proc::monotonic() + DRAIN };
        } else {
            self.gone(key);
        }
    }

    pub(super) fn gone(&mut self, key: &str) {
        let Some(tree) = self.trees.remove(key) else { return };
        self.mains.remove(&tree.pid);
        // Most attempts go with the exit of their main process: both records are one write, both reports one message.
        self.record(&Record::Gone { key: key.to_owned() });
        self.send(&Report::Gone { key: key.to_owned() });
        if let Some((pid, _)) = tree.holder.filter(|(pid, start)| proc::is_alive(*pid, *start)) {
            // SAFETY: plain numbers; that very process was just seen alive.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        // After the report is out, and after the next spawn that it may bring: somebody waits for these.
        self.empty_cgroups.extend(tree.cgroup());
        self.tidies_at.get_or_insert(proc::monotonic() + TIDY);
    }

    /// A main process or a relay that is not our child has ended.
    pub(super) fn on_foreign_end(&mut self, pid: i32) {
        if self.relays.contains_key(&pid) {
            return self.relay_ended(pid, false);
        }
        let Some(key) = self.mains.get(&pid).cloned() else { return };
        let status = match self.trees.get(&key).map(|tree| &tree.main) {
            Some(Main::Foreign(pidfd)) => pidfd_info::exit_of(pidfd.as_raw_fd(), pid),
            Some(Main::Child | Main::Ended) | None => ExitKind::Unknown,
        };
        self.main_ended(&key, status, 0, 0);
    }

    fn start_successor(&mut self, now: u64) {
        if self.policy == Policy::Stop {
            // Headless, and nobody is there any more.
            return self.stop_everything_and_end();
        }
        if self.head.successor.is_empty() {
            return self.successor.give_up();
        }
        match self.inheritance.launch_supervisor(&self.head.successor) {
            Ok(pid) => self.successor.child = Some(pid),
            Err(_) => self.successor.wanted(now),
        }
    }

    fn stop_everything_and_end(&mut self) {
        if self.supervisor.is_none() {
            self.stop_everything();
        }
    }
}

/// A group lies within one session; it is wholly of the tree if the session's leader is, or is dead.
fn is_whole(tree: &Tree, census: &Census, index: usize, member: &sweep::Member) -> bool {
    let leader = member.stat.sid;
    leader == tree.leader().0
        || census.of(index).any(|other| other.stat.pid == leader)
        || proc::stat(leader).is_none_or(|stat| stat.is_dead())
}

/// Whether anybody has the file open for writing: a read lease is refused then.
fn has_writer(log: &Path) -> bool {
    let Ok(file) = std::fs::File::open(log) else { return false };
    // SAFETY: the descriptor is open; a lease that was given ends with it.
    let refused = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) } != 0;
    refused && io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN)
}

struct Ended {
    pid: i32,
    status: ExitKind,
    cpu_ms: u64,
    max_rss_kb: u64,
}

/// A child that has ended and was not reaped; it stays so.
fn next_ended() -> Option<Ended> {
    // SAFETY: zeroed structs are valid, the kernel fills them; the raw call is the one that also tells the usage.
    let (info, usage, done) = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let mut usage: libc::rusage = std::mem::zeroed();
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        let done = libc::syscall(libc::SYS_waitid, libc::P_ALL, 0, &raw mut info, flags, &raw mut usage);
        (info, usage, done)
    };
    // SAFETY: after a successful waitid these fields of the union are the valid ones.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if done != 0 || pid == 0 {
        return None;
    }
    let status =
        if info.si_code == libc::CLD_EXITED { ExitKind::Code(status) } else { ExitKind::Signal(status) };
    let millis =
        |time: libc::timeval| time.tv_sec.cast_unsigned() * 1000 + time.tv_usec.cast_unsigned() / 1000;
    Some(Ended {
        pid,
        status,
        cpu_ms: millis(usage.ru_utime) + millis(usage.ru_stime),
        max_rss_kb: of_its_own(usage.ru_maxrss.cast_unsigned()),
    })
}

/// What the kernel may add up late, of ours.
const RSS_MARGIN_KB: u64 = 1024;

/// The most memory that a child had, where that is known. Until it executed it shared ours, and the kernel counts the most
/// that we ever had as its own: up to there nothing can be said, and the answer is 0.
fn of_its_own(max_rss_kb: u64) -> u64 {
    thread_local! {
        /// It only grows.
        static OURS: Cell<u64> = const { Cell::new(0) };
    }
    OURS.with(|ours| {
        if max_rss_kb > ours.get() + RSS_MARGIN_KB {
            // More than we had when we looked last; we may have grown since.
            ours.set(own_peak_kb().unwrap_or(0).max(ours.get()));
        }
        if max_rss_kb > ours.get() + RSS_MARGIN_KB { max_rss_kb } else { 0 }
    })
}

fn own_peak_kb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().strip_suffix("kB")?.trim().parse().ok()
}

fn reap_one(pid: i32) {
    // SAFETY: a null status is allowed; the child has ended, so this does not wait.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) };
}
