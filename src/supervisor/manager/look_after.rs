//! Signs of life and health checks of what runs: when they are due, and what their answers become.

use std::sync::Arc;
use std::time::Duration;

use super::super::activity::{self, Finding, Target, Watch};
use super::super::helper::{HelperEnd, Purpose};
use super::perform::helper;
use super::roster::{Checking, Id, Watching};
use super::{Input, Key, LogTrouble, RunnerManager};
use crate::domain::ids::Attempt;
use crate::domain::runner::{Event, Phase};
use crate::domain::time::Now;

/// The first check comes soon, so that a runner with a long interval is ready early.
const FIRST_CHECK: Duration = Duration::from_secs(1);

impl RunnerManager {
    /// Watches for silence. What is watched already goes on, with the timeout of today.
    pub(super) fn watch(&mut self, id: Id, attempt: Attempt, now: Now) {
        let Some(entry) = self.roster.get_mut(id) else { return };
        let Some(spec) = entry.spec.activity.clone() else { return };
        let Phase::Running(running) = &entry.runner.phase else { return };
        let (watch, due) = match entry.watch.take().map(|watching| *watching) {
            Some(Watching { mut watch, due }) if watch.attempt == attempt => {
                if let Some(ticket) = due {
                    self.timers.cancel(ticket);
                }
                let due = watch.respec(&spec, now);
                (watch, due)
            }
            Some(_) | None => {
                let log = entry.runner.log.clone().unwrap_or_default();
                let cwd = entry.spec.launch.cwd.clone();
                Watch::new(attempt, spec, Target { process: running.process, log, cwd }, now)
            }
        };
        let due = self.timers.arm(now.mono, due, Key::Look { id, attempt });
        entry.watch = Some(Box::new(Watching { watch, due: Some(due) }));
    }

    pub(super) fn unwatch(&mut self, id: Id) {
        let watching = self.roster.get_mut(id).and_then(|entry| entry.watch.take());
        if let Some(ticket) = watching.and_then(|watching| watching.due) {
            self.timers.cancel(ticket);
        }
    }

    /// A look is due; it is taken away from this thread, because files may be slow.
    pub(super) fn look(&mut self, id: Id, attempt: Attempt, late: bool) {
        let now = self.clock.now();
        let watching = self.roster.get_mut(id).and_then(|entry| entry.watch.as_mut());
        let Some(watching) = watching.filter(|watching| watching.watch.attempt == attempt) else { return };
        watching.due = None;
        let question = watching.watch.question(now, late);
        let (probe, own) = (Arc::clone(&self.probe), self.own.clone());
        tokio::task::spawn_blocking(move || {
            let answer = activity::look(probe.as_ref(), &question);
            // The receiver is gone only during shutdown.
            own.send(Input::Looked { id, attempt, answer }).ok();
        });
    }

    pub(super) fn on_looked(&mut self, id: Id, attempt: Attempt, answer: &activity::Answer) {
        let now = self.clock.now();
        let watching = self.roster.get_mut(id).and_then(|entry| entry.watch.as_mut());
        let Some(watching) = watching.filter(|watching| watching.watch.attempt == attempt) else { return };
        let shrunk = watching.watch.shrunk(answer);
        match watching.watch.answer(answer, now) {
            Finding::LookAgain(at) => {
                if let Some(ticket) = watching.due.take() {
                    self.timers.cancel(ticket);
                }
                watching.due = Some(self.timers.arm(now.mono, at, Key::Look { id, attempt }));
            }
            Finding::Silent { quiet } => self.apply(id, Event::Silent { attempt, quiet }),
        }
        if let (Some((from, to)), Some(entry)) = (shrunk, self.roster.get(id)) {
            self.on_log_trouble(entry.spec.name.clone(), &LogTrouble::Shrunk { from, to });
        }
    }

    /// Checks the health of an attempt. Checks that go on already do so, with the spec of today.
    pub(super) fn start_health(&mut self, id: Id, attempt: Attempt, now: Now) {
        let Some(entry) = self.roster.get_mut(id) else { return };
        let Some(spec) = &entry.spec.health else { return };
        if entry.health.as_ref().is_some_and(|health| health.attempt == attempt) {
            return;
        }
        let first = now.mono.plus(spec.interval.min(FIRST_CHECK));
        self.stop_health(id);
        let due = Some(self.timers.arm(now.mono, first, Key::Check { id, attempt }));
        if let Some(entry) = self.roster.get_mut(id) {
            entry.health = Some(Box::new(Checking { attempt, due, begun: now.mono, task: None }));
        }
    }

    pub(super) fn stop_health(&mut self, id: Id) {
        let Some(health) = self.roster.get_mut(id).and_then(|entry| entry.health.take()) else { return };
        if let Some(ticket) = health.due {
            self.timers.cancel(ticket);
        }
        if let Some(task) = health.task {
            // Its command is killed when the task is dropped.
            task.abort();
        }
    }

    pub(super) fn check(&mut self, id: Id, attempt: Attempt) {
        let now = self.clock.now();
        let Some(entry) = self.roster.get(id) else { return };
        let Some(spec) = &entry.spec.health else { return };
        let helper = helper(entry, attempt, Purpose::Health, &spec.command, spec.timeout);
        let (helpers, own) = (Arc::clone(&self.helpers), self.own.clone());
        let Some(health) = self.roster.get_mut(id).and_then(|entry| entry.health.as_mut()) else { return };
        if health.attempt != attempt {
            return;
        }
        health.due = None;
        health.begun = now.mono;
        let task = tokio::spawn(async move {
            let end = match helper {
                Ok(helper) => helpers.run(helper).await,
                Err(problem) => Err(problem),
            };
            // The receiver is gone only during shutdown.
            own.send(Input::Checked { id, attempt, end }).ok();
        });
        health.task = Some(task.abort_handle());
    }

    /// The next check is set only now, so that no two ever overlap.
    pub(super) fn on_checked(&mut self, id: Id, attempt: Attempt, end: HelperEnd) {
        let now = self.clock.now();
        let Some(entry) = self.roster.get_mut(id) else { return };
        let interval = entry.spec.health.as_ref().map(|spec| spec.interval);
        let Some(health) = entry.health.as_mut().filter(|health| health.attempt == attempt) else { return };
        health.task = None;
        if let Some(interval) = interval {
            let next = health.begun.plus(interval).max(now.mono);
            health.due = Some(self.timers.arm(now.mono, next, Key::Check { id, attempt }));
        }
        self.apply(
            id,
            match end {
                Ok(()) => Event::HealthPassed { attempt },
                Err(detail) => Event::HealthFailed { attempt, detail },
            },
        );
    }
}
