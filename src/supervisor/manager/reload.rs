//! Another config while everything runs: a valid one applies to what it changes and to nothing else, a broken one is
//! shown and changes nothing.

use std::collections::BTreeSet;

use super::roster::Id;
use super::{Key, RunnerManager, SETTLED, StartPlan};
use crate::domain::retry::RetryBudgetWindow;
use crate::domain::runner::event::LaunchChange;
use crate::domain::runner::{Event, Runner};
use crate::domain::spec::{RunnerSpec, WorkspaceSpec};
use crate::supervisor::handle::RequestError;
use crate::supervisor::launch::fingerprint;

impl RunnerManager {
    pub(super) fn on_config_touched(&mut self) {
        let now = self.clock.now().mono;
        if let Some(ticket) = self.reload_timer.take() {
            self.timers.cancel(ticket);
        }
        self.reload_timer = Some(self.timers.arm(now, now.plus(SETTLED), Key::Reload));
    }

    pub(super) fn reload(&mut self) -> Result<(), RequestError> {
        if self.shutdown.is_some() {
            return Err(RequestError::Ending);
        }
        self.begin_all();
        let running = self.running_config();
        match self.config.load(&running) {
            Ok(loaded) => {
                for change in loaded.changes {
                    self.info(change);
                }
                if loaded.workspace != running {
                    self.apply_config(loaded.workspace);
                }
                if self.config_error.take().is_some() {
                    self.info("the config is valid again".into());
                    self.publish_fleet();
                }
                Ok(())
            }
            Err(message) => {
                if self.config_error.as_ref() != Some(&message) {
                    self.warn(
                        None,
                        format!("the config was edited and is not valid; the old one stays: {message}"),
                    );
                    self.config_error = Some(message.clone());
                    self.publish_fleet();
                }
                let path = self.workspace.config_path.display().to_string();
                Err(RequestError::Config { path, message })
            }
        }
    }

    /// The config that is in force.
    fn running_config(&self) -> WorkspaceSpec {
        let runners = self.roster.iter().filter(|entry| !entry.runner.removed);
        WorkspaceSpec { runners: runners.map(|entry| entry.spec.clone()).collect(), ..self.workspace.clone() }
    }

    fn apply_config(&mut self, mut workspace: WorkspaceSpec) {
        let specs = std::mem::take(&mut workspace.runners);
        self.budget = match (self.budget.take(), workspace.retry_budget) {
            (_, None) => None,
            (None, Some(budget)) => Some(RetryBudgetWindow::new(budget)),
            (Some(mut window), Some(budget)) => {
                window.set_budget(budget);
                Some(window)
            }
        };
        let another_retry_log = self.workspace.retry_log_dir != workspace.retry_log_dir;
        self.workspace = workspace;
        if another_retry_log {
            self.open_retry_log();
        }
        let before = self.roster.ids();
        let mut order = Vec::with_capacity(specs.len());
        for spec in specs {
            order.push(match self.roster.find(&spec.name) {
                Some(id) => self.change(id, spec),
                None => self.add(spec),
            });
        }
        let known: BTreeSet<Id> = order.iter().copied().collect();
        for id in before.into_iter().filter(|id| !known.contains(id)) {
            if self.roster.get(id).is_some_and(|entry| !entry.runner.removed) {
                self.apply(id, Event::Removed);
            }
        }
        self.roster.reorder(order);
        self.publish_fleet();
    }

    fn change(&mut self, id: Id, spec: RunnerSpec) -> Id {
        if let Some(entry) = self.roster.get_mut(id)
            && (entry.spec != spec || entry.runner.removed)
        {
            entry.spec = spec;
            let launch = launch_change(&entry.runner, &entry.spec);
            self.apply(id, Event::SpecChanged { launch });
            let now = self.clock.now();
            self.publish_runner(id, &now);
        }
        id
    }

    fn add(&mut self, spec: RunnerSpec) -> Id {
        let starts = spec.autostart && self.options.start == StartPlan::Autostart;
        let runner = Runner { attempt: self.retention.last(&spec.name), ..Runner::default() };
        let id = self.roster.insert(spec, runner);
        if starts {
            self.apply(id, Event::Start);
        } else {
            self.record_new(&[id]);
            let now = self.clock.now();
            self.publish_runner(id, &now);
        }
        id
    }
}

/// Against what the last attempt was made from; a record that does not say is taken to agree.
pub(super) fn launch_change(runner: &Runner, spec: &RunnerSpec) -> LaunchChange {
    match runner.launch {
        Some(made_from) if made_from != fingerprint(&spec.launch) => LaunchChange::Differs,
        Some(_) | None => LaunchChange::Same,
    }
}
