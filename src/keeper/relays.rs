//! Looking after relays: starting one anew where it died, taking over those of an earlier keeper, cutting off one that
//! has nothing left to wait for.

use std::rc::Rc;

use super::journal::Record;
use super::proc;
use super::relay::{self, Source};
use super::serve::Keeper;
use super::tree::{Ending, Relay, Tree};
use super::wire::{Report, StdioKind};

/// Between two attempts to start a relay.
const AGAIN: u64 = 1_000_000_000;

impl Keeper {
    /// Somebody whom we do not know holds the other side of the pipe: what was in it is in the log.
    pub(super) fn cut_relay(&mut self, key: &str) {
        let Some(tree) = self.trees.get_mut(key) else { return };
        if let Some(relay) = tree.relay.take() {
            self.relays.remove(&relay.pid);
            self.loose_relays.insert(relay.pid);
            if proc::is_alive(relay.pid, relay.start) {
                // SAFETY: plain numbers; the relay was just seen to be that very process.
                unsafe { libc::kill(relay.pid, libc::SIGKILL) };
            }
        } else if tree.source.is_some() {
            let text =
                "the last of its output is lost: no relay could be started to write it down".to_owned();
            self.send(&Report::Warning { key: Some(key.to_owned()), text });
        }
        self.gone(key);
    }

    pub(super) fn relay_ended(&mut self, pid: i32, at_the_end: bool) {
        let Some(key) = self.relays.remove(&pid) else { return };
        let Some(tree) = self.trees.get_mut(&key) else { return };
        tree.relay = None;
        if at_the_end {
            // Nobody holds the other side any more.
            tree.source = None;
        } else if let Some(mut tree) = self.trees.remove(&key) {
            self.start_relay(&mut tree);
            self.trees.insert(key.clone(), tree);
        }
        let Some(tree) = self.trees.get(&key) else { return };
        // One that could not be started anew is tried again until the time for that is over.
        if matches!(tree.ending, Ending::Drain { .. }) && tree.relay.is_none() && tree.source.is_none() {
            self.gone(&key);
        }
    }

    /// Those that could not be started, once more.
    pub(super) fn retry_relays(&mut self, now: u64) {
        let is_due = |tree: &Tree| tree.relay_due.is_some_and(|at| at <= now);
        let due: Vec<Rc<str>> =
            self.trees.iter().filter(|(_, tree)| is_due(tree)).map(|(key, _)| Rc::clone(key)).collect();
        for key in due {
            if let Some(mut tree) = self.trees.remove(&key) {
                self.start_relay(&mut tree);
                self.trees.insert(key, tree);
            }
        }
    }

    /// Another relay for a source that we hold.
    fn start_relay(&mut self, tree: &mut Tree) {
        let Some(source) = &tree.source else { return };
        match relay::start(source, &tree.intent.log) {
            Ok(pid) => {
                let start = proc::stat(pid).map_or(0, |stat| stat.start);
                tree.relay = Some(Relay { pid, start, _pidfd: None });
                tree.relay_due = None;
                tree.intent.relay = Some((pid, start));
                self.relays.insert(pid, Rc::clone(&tree.intent.key));
                self.record(&Record::Relay { key: tree.key().to_owned(), relay: (pid, start) });
            }
            Err(error) => {
                if tree.relay_due.is_none() {
                    let text = format!(
                        "start a relay for its output anew: {error}; it is tried again, and until then the output waits"
                    );
                    self.send(&Report::Warning { key: Some(tree.key().to_owned()), text });
                }
                tree.relay_due = Some(proc::monotonic() + AGAIN);
            }
        }
    }

    /// For a tree of an earlier keeper: its relay, if it lives; otherwise a new one on what the child still holds.
    pub(super) fn revive_relay(&mut self, tree: &mut Tree) {
        if tree.intent.stdio == StdioKind::File {
            return;
        }
        if let Some((pid, start)) = tree.intent.relay.filter(|(pid, start)| proc::is_alive(*pid, *start)) {
            let pidfd = if is_our_child(pid) { None } else { proc::pidfd_open(pid).ok() };
            let pidfd = pidfd.filter(|pidfd| self.watch_foreign(pid, pidfd));
            tree.relay = Some(Relay { pid, start, _pidfd: pidfd });
            let may_keep = |source: &Source| self.inheritance.may_keep(source.highest());
            tree.source = relay::source_of(pid).ok().filter(may_keep);
            return;
        }
        if tree.intent.stdio == StdioKind::Pipe && tree.main_lives() {
            tree.source = relay::source_in(tree.pid).ok();
            self.start_relay(tree);
            let may_keep = |source: &Source| self.inheritance.may_keep(source.highest());
            if tree.relay.is_some() && !tree.source.as_ref().is_some_and(may_keep) {
                tree.source = None;
            }
        }
    }
}

fn is_our_child(pid: i32) -> bool {
    proc::stat(pid).is_some_and(|stat| stat.ppid.cast_unsigned() == std::process::id())
}
