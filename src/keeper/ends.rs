//! How attempts end: reaping, stopping, sweeping, draining, and what the keeper does when nobody tells it what to do.

use std::collections::{HashMap, HashSet};
use std::os::fd::AsRawFd;
use std::rc::Rc;

use super::NOT_NEEDED;
use super::cgroup;
use super::journal::Record;
use super::log;
use super::pidfd_info;
use super::proc;
use super::reaping::{next_ended, reap_one};
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

/// Ends that come together share their looks at the processes, so that a thousand cost not much more than one.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// Trees whose main process has ended.
    pub(super) ended: Vec<Rc<str>>,
    /// Trees with the signal that asks them to end.
    signals: Vec<(Rc<str>, i32)>,
    /// Some trees are to be swept at once.
    sweep: bool,
}

/// So many trees are signalled after one look: each of their processes takes a descriptor.
const SIGNALLED: usize = 128;

impl Keeper {
    /// Records every end of a main process before the kernel forgets it, then reaps; orphans likewise.
    pub(super) fn reap(&mut self) {
        let mut first = true;
        while let Some(ended) = next_ended() {
            if let Some(key) = self.mains.get(&ended.pid).cloned() {
                self.main_ended(&key, ended.status, ended.cpu_ms, ended.max_rss_kb);
                if std::mem::take(&mut first) {
                    // Mostly there is but one: its end and that of its tree are one write.
                    self.after_main_ends();
                }
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
                    let is_needed = ended.status != ExitKind::Code(i32::from(NOT_NEEDED));
                    if is_needed || !self.trees.is_empty() || !self.successor.was_patient() {
                        self.successor.wanted(proc::monotonic());
                    } else {
                        self.successor.give_up();
                    }
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
        for key in self.empty_ones(&waiting) {
            self.finish(&key);
        }
    }

    /// What the events of a round have led to.
    pub(super) fn carry_out(&mut self) {
        self.after_main_ends();
        let signals = std::mem::take(&mut self.due.signals);
        for some in signals.chunks(SIGNALLED) {
            self.signal_groups(some);
        }
        if std::mem::take(&mut self.due.sweep) {
            // It may take a while; what is known by now need not wait for it.
            self.flush();
            self.sweep(proc::monotonic());
        }
    }

    pub(super) fn main_ended(&mut self, key: &str, status: ExitKind, cpu_ms: u64, max_rss_kb: u64) {
        let Some(tree) = self.trees.get_mut(key) else { return };
        tree.main = Main::Ended;
        let pid = tree.pid;
        self.forget_main(key, pid);
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
        self.due.ended.push(key.into());
    }

    fn after_main_ends(&mut self) {
        let ended = std::mem::take(&mut self.due.ended);
        let empty: HashSet<Rc<str>> = self.empty_ones(&ended).into_iter().collect();
        for key in ended {
            self.after_main_end(&key, empty.contains(&key));
        }
    }

    /// The main process is gone: what it left behind goes, too, or is let go.
    fn after_main_end(&mut self, key: &str, is_empty: bool) {
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
        if is_empty {
            return self.finish(key);
        }
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
            self.due.signals.push((key.into(), signal));
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
        self.carry_out();
    }

    /// The stop signal goes to every session of a tree; one that is stopped is woken, so that it can obey.
    fn signal_groups(&self, signals: &[(Rc<str>, i32)]) {
        let asked: HashMap<&str, i32> = signals.iter().map(|(key, signal)| (&**key, *signal)).collect();
        let wanted = |tree: &Tree| asked.contains_key(tree.key());
        let trees: Vec<&Tree> = self.trees.values().map(|tree| &**tree).collect();
        let full = trees.iter().any(|tree| tree.foreign && wanted(tree));
        let census = sweep::census(&trees, &wanted, &self.spared(), full);
        if census.blind && signals.len() > 1 {
            drop(census);
            let (some, others) = signals.split_at(signals.len() / 2);
            self.signal_groups(some);
            return self.signal_groups(others);
        }
        for (index, tree) in trees.iter().enumerate() {
            let Some(signal) = asked.get(tree.key()) else { continue };
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
                        libc::killpg(group, *signal);
                        libc::killpg(group, libc::SIGCONT);
                    }
                }
            }
        }
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

    /// Of trees whose main process has ended, those of which nothing lives any more, as far as that is cheap to know.
    fn empty_ones(&self, keys: &[Rc<str>]) -> Vec<Rc<str>> {
        let (mut empty, mut near, mut far) = (Vec::new(), HashSet::new(), HashSet::new());
        for key in keys {
            let Some(tree) = self.trees.get(key) else {
                empty.push(Rc::clone(key));
                continue;
            };
            match tree.cgroup() {
                _ if tree.main_lives() => {}
                Some(dir) if cgroup::is_populated(&dir) => {}
                Some(_) => empty.push(Rc::clone(key)),
                None if tree.foreign => _ = far.insert(&**key),
                None => _ = near.insert(&**key),
            }
        }
        if near.is_empty() && far.is_empty() {
            return empty;
        }
        let (trees, spared) = (self.trees.values().map(|tree| &**tree).collect::<Vec<_>>(), self.spared());
        let mut add = |asked: &HashSet<&str>, census: &Census| {
            let none = |(index, tree): &(usize, &&Tree)| {
                asked.contains(tree.key()) && !census.has(*index) && !census.blind
            };
            empty.extend(trees.iter().enumerate().filter(none).map(|(_, tree)| Rc::clone(&tree.intent.key)));
        };
        if !near.is_empty() {
            add(&near, &sweep::orphans(&trees, &spared));
        }
        if !far.is_empty() {
            add(&far, &sweep::census(&trees, &|tree| far.contains(tree.key()), &spared, true));
        }
        empty
    }

    fn begin_sweep(&mut self, key: &str) {
        if let Some(tree) = self.trees.get_mut(key) {
            tree.ending = Ending::Sweep(Sweep::from(proc::monotonic()));
            self.due.sweep = true;
        }
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
        let drained = |key: &Rc<str>| {
            self.trees.get(key).is_some_and(|tree| matches!(tree.ending, Ending::Drain { .. }))
        };
        let (drained, looked_at): (Vec<_>, Vec<_>) = over.into_iter().partition(drained);
        for key in drained {
            self.cut_relay(&key);
        }
        for key in self.empty_ones(&looked_at) {
            self.finish(&key);
        }
        self.sweep(now);
        self.retry_relays(now);
        self.look_again(now);
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
            // A look at the whole machine may well take more descriptors than there are.
            let unseen =
                (census.blind && !full) || tree.cgroup().is_some_and(|dir| cgroup::is_populated(&dir));
            if alive.is_empty() && unseen {
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
        if alive.is_empty() && matches!(tree.main, Main::Unwatched) {
            self.looks_at = Some(now);
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
            && log::has_writer(&tree.intent.log)
        {
            let text = "somebody still writes into the log of an attempt that is over".to_owned();
            self.send(&Report::Warning { key: Some(key.to_owned()), text });
        }
        let Some(tree) = self.trees.get_mut(key) else { return };
        if tree.relay.is_some() || tree.source.is_some() {
            let now = proc::monotonic();
            tree.ending = Ending::Drain { until: now + DRAIN };
            // Where there is none, there is no better time to try again.
            tree.relay_due = tree.relay_due.map(|_| now);
        } else {
            self.gone(key);
        }
    }

    pub(super) fn gone(&mut self, key: &str) {
        let Some(tree) = self.trees.remove(key) else { return };
        self.forget_main(key, tree.pid);
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

    /// A tree may outlast its main process by far, and the pid be that of another main process by then.
    fn forget_main(&mut self, key: &str, pid: i32) {
        if self.mains.get(&pid).is_some_and(|of| **of == *key) {
            self.mains.remove(&pid);
        }
    }

    /// A main process or a relay that is not our child has ended.
    pub(super) fn on_foreign_end(&mut self, pid: i32) {
        if self.relays.contains_key(&pid) {
            return self.relay_ended(pid, false);
        }
        let Some(key) = self.mains.get(&pid).cloned() else { return };
        let status = match self.trees.get(&key).map(|tree| &tree.main) {
            Some(Main::Foreign(pidfd)) => pidfd_info::exit_of(pidfd.as_raw_fd(), pid),
            Some(Main::Child | Main::Unwatched | Main::Ended) | None => ExitKind::Unknown,
        };
        self.main_ended(&key, status, 0, 0);
    }

    fn start_successor(&mut self, now: u64) {
        if self.goodbye {
            // It was heard after the death of whoever said it.
            return;
        }
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
