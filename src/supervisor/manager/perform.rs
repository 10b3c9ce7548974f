//! Performing effects: the only place where the actor acts on the world.

use std::path::PathBuf;
use std::time::Duration;

use super::super::helper::{HelperCommand, HelperEnd, Purpose};
use super::super::launch::{self, Turn};
use super::roster::{Entry, Id};
use super::{Input, Key, RunnerManager};
use crate::domain::ids::{Attempt, AttemptId};
use crate::domain::runner::{Effect, Phase};
use crate::domain::spec::CommandSpec;
use crate::domain::time::Now;
use crate::logs::retention;
use crate::ports::{Launch, StopTree};

/// Logs beyond what is kept are deleted this long after the first of them is one too many, together: a runner that
/// restarts without pause costs a wake-up now and then, not one each time, and making new logs is slow on some file
/// systems just after others were deleted.
const OLD_LOGS: Duration = Duration::from_secs(5);

/// At most so much sooner than the grace a stop command has to be done.
const SOONER: Duration = Duration::from_millis(250);

impl RunnerManager {
    /// Stops go first, so that nothing is started beside what is to be ended, and acknowledgements, which travel with
    /// the next order; the spawn comes then, because somebody waits for it.
    pub(super) fn perform(&mut self, id: Id, effects: Vec<Effect>, launch: Option<Launch>, now: Now) {
        let goes_first = |effect: &Effect| matches!(effect, Effect::Stop { .. } | Effect::Ack(_));
        let (first, others): (Vec<Effect>, Vec<Effect>) = effects.into_iter().partition(goes_first);
        for effect in first {
            self.perform_one(id, effect, now);
        }
        if let Some(launch) = launch {
            self.spawn(id, launch);
        }
        for effect in others {
            self.perform_one(id, effect, now);
        }
    }

    fn spawn(&mut self, id: Id, launch: Launch) {
        let attempt = launch.id.attempt;
        self.executor.spawn(launch);
        let Some(entry) = self.roster.get(id) else { return };
        let mut surplus = self.retention.started(&entry.spec.name, &entry.spec.log, attempt);
        if self.old_logs.is_empty() && !surplus.is_empty() {
            let now = self.clock.now().mono;
            self.timers.arm(now, now.plus(OLD_LOGS), Key::OldLogs);
        }
        self.old_logs.append(&mut surplus);
    }

    /// Deletes what has piled up, away from this thread.
    pub(super) fn delete_old_logs(&mut self) {
        let logs = std::mem::take(&mut self.old_logs);
        tokio::task::spawn_blocking(move || delete(&logs));
    }

    /// The same for the end, when nobody waits for this thread any more.
    pub(super) fn delete_last_logs(&mut self) {
        delete(&std::mem::take(&mut self.old_logs));
    }

    fn perform_one(&mut self, id: Id, effect: Effect, now: Now) {
        match effect {
            // Taken out and prepared before; while the executor is away there is nobody to ask.
            Effect::Spawn => {}
            Effect::Stop { attempt, signal, grace } => {
                if let Some(entry) = self.roster.get(id) {
                    let attempt = AttemptId { runner: entry.spec.name.clone(), attempt };
                    self.executor.stop(&attempt, StopTree { signal, grace });
                }
            }
            Effect::RunStopCommand { attempt } => self.run_stop_command(id, attempt),
            Effect::ArmTimer { kind, at, epoch } => {
                let Some(entry) = self.roster.get_mut(id) else { return };
                if entry.armed_epoch != epoch {
                    entry.armed_epoch = epoch;
                    for ticket in std::mem::take(&mut entry.timers) {
                        self.timers.cancel(ticket);
                    }
                }
                let ticket = self.timers.arm(now.mono, at, Key::Runner { id, kind, epoch });
                entry.timers.push(ticket);
            }
            Effect::Notice(what) if self.is_guest(id) => self.tell_notice(id, &what),
            Effect::Notice(what) => {
                self.log_retry(id, &what);
                let name = self.roster.get(id).map(|entry| entry.spec.name.clone());
                self.notice(name, what);
            }
            Effect::Ack(seq) => self.acknowledge(id, seq),
            Effect::SpendBudget => {
                if let Some(budget) = &mut self.budget {
                    budget.spend(now.mono);
                }
            }
            Effect::Watch { attempt } => self.watch(id, attempt, now),
            Effect::Unwatch => self.unwatch(id),
            Effect::StartHealth { attempt } => self.start_health(id, attempt, now),
            Effect::StopHealth => self.stop_health(id),
            Effect::Remove => self.remove(id),
        }
    }

    pub(super) fn remove(&mut self, id: Id) {
        self.unwatch(id);
        self.stop_health(id);
        let Some(entry) = self.roster.remove(id) else { return };
        for ticket in entry.timers {
            self.timers.cancel(ticket);
        }
        let name = entry.spec.name;
        if let Err(error) = self.store.remove(&name) {
            // A runner that is neither in the config nor alive is dropped by the next supervisor anyway.
            tracing::warn!(runner = %name, %error, "forget the state of a removed runner");
        }
        self.unrecorded.remove(&id);
        self.retention.forget(&name);
        if let Some(bounds) = &self.bounds {
            bounds.forget(name.clone());
        }
        self.shares.forget(&name);
        self.publish_removed(name);
    }

    fn run_stop_command(&mut self, id: Id, attempt: Attempt) {
        let Some(entry) = self.roster.get(id) else { return };
        let Some(command) = &entry.spec.stop.command else { return };
        // One that hangs is told before the grace ends what it was to end.
        let grace = entry.spec.stop.grace;
        let deadline = grace.saturating_sub((grace / 10).min(SOONER));
        match helper(entry, attempt, Purpose::Stop, command, deadline) {
            Ok(helper) => {
                let (run, own) = (self.helpers.run(helper), self.own.clone());
                tokio::spawn(async move {
                    let end = run.await;
                    // The receiver is gone only during shutdown.
                    own.send(Input::StopCommandEnded { id, attempt, end }).ok();
                });
            }
            Err(problem) => self.on_stop_command_ended(id, attempt, Err(problem)),
        }
    }

    /// What is left at the end of the grace is killed all the same, so a failure is only told.
    pub(super) fn on_stop_command_ended(&mut self, id: Id, attempt: Attempt, end: HelperEnd) {
        let (Err(problem), Some(entry)) = (end, self.roster.get(id)) else { return };
        let lives = matches!(&entry.runner.phase, Phase::Ending(ending) if ending.attempt == attempt);
        let rest = if lives { "is killed at the end of its grace" } else { "has ended meanwhile" };
        let name = entry.spec.name.clone();
        self.warn(
            Some(name),
            format!("the stop command of attempt {attempt}, which {rest}, failed: {problem}"),
        );
    }
}

fn delete(logs: &[PathBuf]) {
    for (log, error) in retention::delete(logs) {
        tracing::warn!(log = %log.display(), %error, "delete an old log");
    }
}

/// A command beside an attempt, in the same surroundings.
pub(super) fn helper(
    entry: &Entry,
    attempt: Attempt,
    purpose: Purpose,
    command: &CommandSpec,
    deadline: Duration,
) -> Result<HelperCommand, String> {
    let log = entry.runner.log.clone().unwrap_or_default();
    let turn = Turn { attempt, retry: entry.runner.retry_count, log };
    let mut env = launch::environment(&entry.spec, &turn)?;
    if let Some(pid) = entry.runner.pid() {
        env.insert("RESTAGE_PID".into(), Some(pid.to_string()));
    }
    Ok(HelperCommand { purpose, command: command.clone(), cwd: entry.spec.launch.cwd.clone(), env, deadline })
}
