//! What there was no descriptor for, near the limit of open files, or no room: it is looked at again now and then, so that
//! nobody who lives is called dead, nobody who knocks is left outside, no end is missed, and the journal tells all.

use std::rc::Rc;

use super::proc;
use super::serve::Keeper;
use super::tree::{Main, Tree};
use super::wire::ExitKind;

/// Between two looks.
const LOOK: u64 = 1_000_000_000;

impl Keeper {
    pub(super) fn look_soon(&mut self) {
        self.looks_at.get_or_insert(proc::monotonic() + LOOK);
    }

    /// Watches a main process that is not our child, where there is a descriptor to spare.
    pub(super) fn watch_main(&mut self, tree: &mut Tree) {
        if let Main::Foreign(pidfd) = &tree.main
            && !self.watch_foreign(tree.pid, pidfd)
        {
            tree.main = Main::Unwatched;
        }
        if matches!(tree.main, Main::Unwatched) {
            self.look_soon();
        }
    }

    pub(super) fn look_again(&mut self, now: u64) {
        if self.looks_at.take_if(|at| *at <= now).is_none() {
            return;
        }
        self.accept();
        if self.journal.is_behind() {
            self.compact();
        }
        if let Some((pid, None)) = self.supervisor {
            self.watch_supervisor(pid);
        }
        let is_unwatched = |tree: &Tree| matches!(tree.main, Main::Unwatched);
        let unwatched: Vec<Rc<str>> =
            self.trees.iter().filter(|(_, tree)| is_unwatched(tree)).map(|(key, _)| Rc::clone(key)).collect();
        for key in unwatched {
            let Some(mut tree) = self.trees.remove(&key) else { continue };
            tree.main = Main::find(tree.pid, tree.start);
            tree.foreign = !matches!(tree.main, Main::Child);
            self.watch_main(&mut tree);
            let has_ended = !tree.main_lives();
            self.trees.insert(Rc::clone(&key), tree);
            if has_ended {
                self.main_ended(&key, ExitKind::Unknown, 0, 0);
            }
        }
        self.carry_out();
    }
}
