//! All runners of the workspace, found by name at the same cost however many there are: those of the config, which
//! clients see, and guests, which come and go.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use tokio::task::AbortHandle;

use super::super::activity::Watch;
use super::super::timers::Ticket;
use super::guests::Guest;
use crate::domain::ids::{Attempt, RunnerName};
use crate::domain::runner::Runner;
use crate::domain::spec::RunnerSpec;
use crate::domain::time::Mono;
use crate::domain::view::RunnerStatus;

/// One runner, for good: its place may be used again, but by another turn of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    place: u32,
    turn: u32,
}

/// One runner with what the actor keeps beside it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) spec: RunnerSpec,
    pub(super) runner: Runner,
    /// `None`: it is a runner of the config, or was.
    pub(super) guest: Option<Box<Guest>>,
    /// Of the runner's own timers; those of an older epoch are taken out.
    pub(super) timers: Vec<Ticket>,
    pub(super) armed_epoch: u64,
    pub(super) watch: Option<Box<Watching>>,
    pub(super) health: Option<Box<Checking>>,
    /// What the bounds of logs watch for it.
    pub(super) bounded: Option<(PathBuf, u64)>,
    /// Somebody truncated a log of it: from now on it prints through a pipe.
    pub(super) log_was_cut: bool,
    /// It was live under this supervisor, so its end counts.
    pub(super) took_part: bool,
}

#[derive(Debug)]
pub(super) struct Watching {
    pub(super) watch: Watch,
    pub(super) due: Option<Ticket>,
}

#[derive(Debug)]
pub(super) struct Checking {
    pub(super) attempt: Attempt,
    pub(super) due: Option<Ticket>,
    /// When the check that is under way began, or the last one.
    pub(super) begun: Mono,
    pub(super) task: Option<AbortHandle>,
}

impl Entry {
    pub(super) fn new(spec: RunnerSpec, runner: Runner) -> Self {
        let timers = Vec::new();
        let guest = spec.name.is_guest().then(Box::default);
        Self {
            spec,
            runner,
            guest,
            timers,
            armed_epoch: 0,
            watch: None,
            health: None,
            bounded: None,
            log_was_cut: false,
            took_part: false,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Roster {
    places: Vec<Place>,
    /// Places without anybody.
    free: Vec<u32>,
    names: HashMap<RunnerName, Id>,
    /// As the config file has them; those that are no longer in it come last. No guests.
    order: Vec<Id>,
    guests: BTreeSet<Id>,
    /// How many have a process, may have one, or will be started by themselves.
    pub(super) live: usize,
    /// How many of these have processes that do not die.
    pub(super) stuck: usize,
}

#[derive(Debug)]
struct Place {
    turn: u32,
    /// Boxed, so that the list may grow without copying and without room for what is not there.
    entry: Option<Box<Entry>>,
}

impl Roster {
    /// Keeps count when a runner goes from one status to another.
    pub(super) fn count(&mut self, before: RunnerStatus, after: RunnerStatus) {
        let stuck = |status| usize::from(status == RunnerStatus::Stuck);
        self.live = self.live + usize::from(after.is_live()) - usize::from(before.is_live());
        self.stuck = self.stuck + stuck(after) - stuck(before);
    }

    pub(super) fn insert(&mut self, spec: RunnerSpec, runner: Runner) -> Id {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { turn: 0, entry: None });
            // Each holds a whole runner, so memory ends long before the numbers do.
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        });
        let entry = Entry::new(spec, runner);
        let slot = &mut self.places[place as usize];
        let id = Id { place, turn: slot.turn };
        self.names.insert(entry.spec.name.clone(), id);
        if entry.guest.is_some() {
            self.guests.insert(id);
        } else {
            self.order.push(id);
        }
        let status = entry.runner.status();
        slot.entry = Some(Box::new(entry));
        self.count(RunnerStatus::Idle, status);
        id
    }

    pub(super) fn remove(&mut self, id: Id) -> Option<Entry> {
        let slot = self.places.get_mut(id.place as usize).filter(|slot| slot.turn == id.turn)?;
        let entry = *slot.entry.take()?;
        slot.turn = slot.turn.wrapping_add(1);
        self.free.push(id.place);
        self.names.remove(&entry.spec.name);
        if !self.guests.remove(&id) {
            self.order.retain(|other| *other != id);
        }
        self.count(entry.runner.status(), RunnerStatus::Idle);
        Some(entry)
    }

    pub(super) fn find(&self, name: &RunnerName) -> Option<Id> {
        self.names.get(name).copied()
    }

    pub(super) fn get(&self, id: Id) -> Option<&Entry> {
        let slot = self.places.get(id.place as usize).filter(|slot| slot.turn == id.turn)?;
        slot.entry.as_deref()
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Entry> {
        let slot = self.places.get_mut(id.place as usize).filter(|slot| slot.turn == id.turn)?;
        slot.entry.as_deref_mut()
    }

    /// Of the config, in its order.
    pub(super) fn ids(&self) -> Vec<Id> {
        self.order.clone()
    }

    pub(super) fn guest_ids(&self) -> Vec<Id> {
        self.guests.iter().copied().collect()
    }

    /// Those of the config, then the guests.
    pub(super) fn all_ids(&self) -> Vec<Id> {
        self.order.iter().chain(&self.guests).copied().collect()
    }

    /// Of the config, in its order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.order.iter().filter_map(|id| self.get(*id))
    }

    pub(super) fn guests(&self) -> impl Iterator<Item = &Entry> {
        self.guests.iter().filter_map(|id| self.get(*id))
    }

    /// Puts these first, in this order.
    pub(super) fn reorder(&mut self, first: Vec<Id>) {
        let leads: BTreeSet<Id> = first.iter().copied().collect();
        let rest = std::mem::replace(&mut self.order, first);
        self.order.extend(rest.into_iter().filter(|id| !leads.contains(id)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::runner::fixture::spec;

    fn guest(number: u32) -> RunnerSpec {
        RunnerSpec { name: RunnerName::trusted(format!("video-{number}/render")), ..spec("a") }
    }

    #[test]
    fn places_are_used_again_and_who_left_is_not_found_in_them() {
        let mut roster = Roster::default();
        let a = roster.insert(spec("a"), Runner::default());
        let mut gone = Vec::new();
        for number in 0..10_000 {
            let id = roster.insert(guest(number), Runner::default());
            assert!(roster.remove(id).is_some() && roster.remove(id).is_none());
            gone.push(id);
        }
        assert_eq!((roster.places.len(), roster.free.len(), roster.names.len()), (2, 1, 1));
        let last = roster.insert(guest(1), Runner::default());
        assert!(gone.iter().all(|id| roster.get(*id).is_none() && *id != last));
        assert_eq!(
            (roster.ids(), roster.guest_ids(), roster.all_ids()),
            (vec![a], vec![last], vec![a, last])
        );
    }
}
