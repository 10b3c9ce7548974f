//! All runners of the workspace, found by name at the same cost however many there are.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use tokio::task::AbortHandle;

use super::super::activity::Watch;
use super::super::timers::Ticket;
use crate::domain::ids::{Attempt, RunnerName};
use crate::domain::runner::Runner;
use crate::domain::spec::RunnerSpec;
use crate::domain::time::Mono;
use crate::domain::view::RunnerStatus;

/// A place in the roster; never used again for another runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id(usize);

/// One runner with what the actor keeps beside it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) spec: RunnerSpec,
    pub(super) runner: Runner,
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
        Self {
            spec,
            runner,
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
    /// Boxed, so that the list may grow without copying and without room for what is not there.
    entries: Vec<Option<Box<Entry>>>,
    names: HashMap<RunnerName, Id>,
    /// As the config file has them; those that are no longer in it come last.
    order: Vec<Id>,
    /// How many have a process, may have one, or will be started by themselves.
    pub(super) live: usize,
    /// How many of these have processes that do not die.
    pub(super) stuck: usize,
}

impl Roster {
    /// Keeps count when a runner goes from one status to another.
    pub(super) fn count(&mut self, before: RunnerStatus, after: RunnerStatus) {
        let stuck = |status| usize::from(status == RunnerStatus::Stuck);
        self.live = self.live + usize::from(after.is_live()) - usize::from(before.is_live());
        self.stuck = self.stuck + stuck(after) - stuck(before);
    }

    pub(super) fn insert(&mut self, spec: RunnerSpec, runner: Runner) -> Id {
        let id = Id(self.entries.len());
        self.names.insert(spec.name.clone(), id);
        self.order.push(id);
        self.count(RunnerStatus::Idle, runner.status());
        self.entries.push(Some(Box::new(Entry::new(spec, runner))));
        id
    }

    pub(super) fn remove(&mut self, id: Id) -> Option<Entry> {
        let entry = *self.entries.get_mut(id.0)?.take()?;
        self.names.remove(&entry.spec.name);
        self.order.retain(|other| *other != id);
        self.count(entry.runner.status(), RunnerStatus::Idle);
        Some(entry)
    }

    pub(super) fn find(&self, name: &RunnerName) -> Option<Id> {
        self.names.get(name).copied()
    }

    pub(super) fn get(&self, id: Id) -> Option<&Entry> {
        self.entries.get(id.0)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Entry> {
        self.entries.get_mut(id.0)?.as_deref_mut()
    }

    pub(super) fn ids(&self) -> Vec<Id> {
        self.order.clone()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.order.iter().filter_map(|id| self.get(*id))
    }

    /// Puts these first, in this order.
    pub(super) fn reorder(&mut self, first: Vec<Id>) {
        let leads: BTreeSet<Id> = first.iter().copied().collect();
        let rest = std::mem::replace(&mut self.order, first);
        self.order.extend(rest.into_iter().filter(|id| !leads.contains(id)));
    }
}
