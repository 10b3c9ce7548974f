//! Where a keeper stands: whether somebody is behind it, and when it may go.

use std::fs::File;

use super::launch::Inheritance;
use super::proc;
use super::serve::Keeper;

/// Nanoseconds after which somebody who could not be forked is tried again.
const ALONE: u64 = 10_000_000_000;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Post {
    /// Our parent, which takes over when we die.
    pub(crate) guard: Option<i32>,
    /// It takes the place of one that has just died or given way: whoever that one had to watch is ours to watch. Without
    /// a guard its children are ours, too.
    pub(crate) follows: bool,
    /// There was no getting a guard; until then it is not tried again.
    pub(super) alone_until: Option<u64>,
}

impl Post {
    pub(crate) fn guarded_by(guard: i32, follows: bool) -> Self {
        Self { guard: Some(guard), follows, alone_until: None }
    }

    /// After a keeper that has died; we were its guard.
    pub(crate) const fn taken_over() -> Self {
        Self { guard: None, follows: true, alone_until: None }
    }

    pub(crate) fn alone() -> Self {
        Self { alone_until: Some(proc::monotonic() + ALONE), ..Self::taken_over() }
    }
}

pub(crate) enum End {
    Done,
    /// There is nobody behind us, and nothing that would be lost by a change. With what is needed for it: the lock may be
    /// another one by now.
    GivesWay((Inheritance, File)),
}

impl Keeper {
    /// Whether somebody takes over when we die. An orphan's new parent may be anybody, not only the first process.
    pub(super) fn is_guarded(&self) -> bool {
        self.post.guard == Some(nix::unistd::getppid().as_raw())
    }

    /// Ends when a goodbye was said, or everything had to be stopped, or nobody comes; and nothing lives. Ends that nobody
    /// has heard of are in the journal, for the next one.
    pub(super) fn is_done(&self) -> bool {
        let nobody_came = self.supervisor.is_none() && self.successor.gave_up();
        self.trees.is_empty() && (self.goodbye || self.ending || nobody_came)
    }

    /// Without a guard nobody would inherit what it starts: while it looks after nothing, it had better get one. All that
    /// the next one has to know must be on record, and nobody be on his way who is known to us alone.
    pub(super) fn gives_way(&self) -> bool {
        self.wants_a_guard() && self.successor.child.is_none() && !self.journal.is_behind()
    }

    fn wants_a_guard(&self) -> bool {
        self.trees.is_empty() && self.post.alone_until.is_none() && !self.is_guarded()
    }

    /// Looks again now and then for what stands in the way of that.
    pub(super) fn look_for_a_guard(&mut self, now: u64) {
        self.post.alone_until.take_if(|until| *until <= now);
        if self.journal.is_behind() && self.wants_a_guard() {
            self.look_soon();
        }
    }

    /// Before we go: a goodbye that nobody has read would have a successor started.
    pub(super) fn hear_out(&mut self) {
        if let Some(conn) = &self.conn {
            conn.hear_no_more();
        }
        while self.conn.is_some() {
            self.on_conn();
        }
        self.keep_journal();
        self.write_down();
    }
}
