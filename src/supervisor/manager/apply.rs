//! The course of one event: step, persist, act, publish.
//!
//! A spawn is asked for only after the intent is on record. Where it cannot be recorded, or where there is no room for
//! a log, the runner waits, visibly, and no retry is spent; stops and kills wait for nothing.

use std::io;
use std::path::Path;

use super::super::launch::{self, Turn};
use super::roster::Id;
use super::{Key, Link, RunnerManager};
use crate::domain::retry::OutputMatch;
use crate::domain::runner::event::Failure;
use crate::domain::runner::{Context, Effect, Event, Next, POLL, Phase, Runner, step};
use crate::domain::spec::{RunnerSpec, Stdio};
use crate::domain::time::Now;
use crate::domain::verdict::ExitStatus;
use crate::logs::{names, output_match};
use crate::ports::{ExecExit, Launch};

/// Why a spawn is not asked for.
enum Obstacle {
    /// It will go later.
    NoRoom(String),
    /// It will fail the same way again.
    Broken(String),
}

impl RunnerManager {
    pub(super) fn apply(&mut self, id: Id, event: Event) {
        self.queue.push_back((id, event));
        while let Some((id, event)) = self.queue.pop_front() {
            self.apply_one(id, event);
        }
    }

    fn apply_one(&mut self, id: Id, event: Event) {
        let now = self.clock.now();
        let Some(entry) = self.roster.get(id) else { return };
        let mut before = entry.runner.clone();
        let mut effects = self.advance(id, event, now);
        let mut launch = self.take_spawn(id, &mut effects, now);
        if launch.is_some() || self.differs(id, &mut before) {
            // Nothing but a spawn waits for the record.
            if let Err(reason) = self.record(id, &now)
                && launch.take().is_some()
            {
                effects.extend(self.advance(id, Event::Blocked { reason }, now));
            }
        }
        let changed = self.differs(id, &mut before);
        if let Some(entry) = self.roster.get_mut(id) {
            let status = entry.runner.status();
            entry.took_part |= status.is_live();
            self.roster.count(before.status(), status);
        }
        self.perform(id, effects, launch, now);
        self.bound_log(id);
        if changed {
            self.publish_runner(id, &now);
        }
    }

    /// Whether there is anything to record and to show. An epoch alone is nothing that anybody has to know.
    fn differs(&self, id: Id, before: &mut Runner) -> bool {
        self.roster.get(id).is_some_and(|entry| {
            before.epoch = entry.runner.epoch;
            *before != entry.runner
        })
    }

    fn advance(&mut self, id: Id, event: Event, now: Now) -> Vec<Effect> {
        let budget_free_at = self.budget.as_ref().and_then(|budget| budget.free_at(now.mono));
        let ctx = Context { now, random: self.dice.roll(), budget_free_at };
        let Some(entry) = self.roster.get_mut(id) else { return Vec::new() };
        let (runner, effects) = step(&entry.spec, std::mem::take(&mut entry.runner), event, &ctx);
        entry.runner = runner;
        effects
    }

    /// Takes a spawn out of the effects and prepares it. While the executor is away nothing is asked for: the
    /// inventory that comes with its return makes the machine ask again.
    fn take_spawn(&mut self, id: Id, effects: &mut Vec<Effect>, now: Now) -> Option<Launch> {
        let before = effects.len();
        effects.retain(|effect| *effect != Effect::Spawn);
        if effects.len() == before || self.link != Link::Connected {
            return None;
        }
        match self.prepare(id) {
            Ok(launch) => Some(launch),
            Err(Obstacle::NoRoom(reason)) => {
                effects.extend(self.advance(id, Event::Blocked { reason }, now));
                None
            }
            Err(Obstacle::Broken(message)) => {
                let attempt = self.roster.get(id)?.runner.wants_spawn()?;
                let event = Event::SpawnFailed { attempt, failure: Failure::Broken, message };
                effects.extend(self.advance(id, event, now));
                None
            }
        }
    }

    fn prepare(&mut self, id: Id) -> Result<Launch, Obstacle> {
        let nobody = || Obstacle::NoRoom("the runner is gone".into());
        let entry = self.roster.get_mut(id).ok_or_else(nobody)?;
        let wanted = entry.runner.wants_spawn().ok_or_else(nobody)?;
        let room = self.probe.no_room(&entry.spec.log.dir).or_else(|| self.probe.no_room(&self.state_dir));
        if let Some(reason) = room {
            return Err(Obstacle::NoRoom(reason));
        }
        prepare_log_dir(&entry.spec.log.dir)?;
        // No log is ever shared: a number whose log holds anything is passed over.
        let mut attempt = wanted;
        let mut log = names::attempt_log(&entry.spec.log, &entry.spec.name, attempt);
        while std::fs::metadata(&log).is_ok_and(|found| found.len() > 0) {
            attempt = attempt.next();
            log = names::attempt_log(&entry.spec.log, &entry.spec.name, attempt);
        }
        entry.runner.place(attempt, log.clone(), launch::fingerprint(&entry.spec.launch));
        let turn = Turn { attempt, retry: entry.runner.retry_count, log };
        let mut launch = launch::launch(&entry.spec, turn).map_err(Obstacle::Broken)?;
        if entry.log_was_cut && launch.stdio != Stdio::Tty {
            launch.stdio = Stdio::Pipe;
        }
        Ok(launch)
    }

    /// Writes the state down. The error is why not, for a person.
    fn record(&mut self, id: Id, now: &Now) -> Result<(), String> {
        let Some(entry) = self.roster.get(id) else { return Ok(()) };
        match self.store.record(&entry.runner.to_state(&entry.spec, now)) {
            Ok(()) => {
                self.unrecorded.remove(&id);
                Ok(())
            }
            Err(error) => {
                let reason = format!("the state of the runners cannot be written down: {error}");
                if self.unrecorded.is_empty() {
                    self.warn(None, format!("{reason}; nothing new is started before that is over"));
                    self.timers.arm(now.mono, now.mono.plus(POLL), Key::Rewrite);
                }
                self.unrecorded.insert(id);
                Err(reason)
            }
        }
    }

    /// Everything is on record that was there before the exit `seq`.
    pub(super) fn acknowledge(&mut self, id: Id, seq: u64) {
        // An acknowledgement covers all earlier exits, so none may pass one that is not on record.
        if self.unrecorded.contains(&id) || self.held_ack.is_some() {
            self.held_ack = self.held_ack.max(Some(seq));
        } else {
            self.executor.ack(seq);
        }
    }

    pub(super) fn rewrite(&mut self) {
        let now = self.clock.now();
        let waiting: Vec<Id> = self.unrecorded.iter().copied().collect();
        for id in waiting {
            if self.roster.get(id).is_none() {
                self.unrecorded.remove(&id);
            } else if self.record(id, &now).is_err() {
                self.timers.arm(now.mono, now.mono.plus(POLL), Key::Rewrite);
                return;
            }
        }
        if let Some(seq) = self.held_ack.take() {
            self.executor.ack(seq);
        }
        self.info("the state of the runners is written down again".into());
    }

    /// Records the runners of which there is no record yet.
    pub(super) fn record_new(&mut self, ids: &[Id]) {
        let now = self.clock.now();
        for id in ids {
            // A failure is kept in mind and told there.
            self.record(*id, &now).ok();
        }
    }

    pub(super) fn on_exit(&mut self, exit: &ExecExit) {
        let Some(id) = self.roster.find(&exit.id.runner) else {
            // It belongs to nobody we know, so there is nothing to record.
            if self.held_ack.is_none() {
                self.executor.ack(exit.seq);
            }
            return;
        };
        let lived = self.roster.get(id).and_then(|entry| entry.runner.live_attempt());
        if exit.cut && lived == Some(exit.id.attempt) {
            // Nothing of it lives, and it is not to blame: as after a reboot, it goes on as it was.
            self.apply(id, Event::Rebooted);
            return self.acknowledge(id, exit.seq);
        }
        let disk_full = match (exit.status, self.roster.get(id)) {
            (ExitStatus::Code(0), _) | (_, None) => false,
            (_, Some(entry)) => [&entry.spec.log.dir, &self.state_dir]
                .into_iter()
                .any(|dir| self.probe.no_room(dir).is_some()),
        };
        self.apply(
            id,
            Event::Exited {
                attempt: exit.id.attempt,
                seq: exit.seq,
                status: exit.status,
                at: exit.at,
                disk_full,
            },
        );
    }

    /// What the patterns find in the last output, where the machine is about to ask.
    pub(super) fn output_of(&self, id: Id) -> OutputMatch {
        let Some(entry) = self.roster.get(id) else { return OutputMatch::None };
        let asked = match &entry.runner.phase {
            Phase::Sweeping(sweeping) => matches!(sweeping.next, Next::Decide { .. }),
            Phase::Running(_) | Phase::Ending(_) => true,
            Phase::Idle | Phase::Starting(_) | Phase::Pending(_) | Phase::Resting(_) => false,
        };
        match &entry.runner.log {
            Some(log) if asked => read_output(log, &entry.spec),
            Some(_) | None => OutputMatch::None,
        }
    }
}

fn prepare_log_dir(dir: &Path) -> Result<(), Obstacle> {
    if dir.is_dir() {
        return Ok(());
    }
    names::prepare_dir(dir).map_err(|error| {
        let message = format!("make the log folder {}: {error}", dir.display());
        if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            Obstacle::NoRoom(message)
        } else {
            Obstacle::Broken(message)
        }
    })
}

fn read_output(log: &Path, spec: &RunnerSpec) -> OutputMatch {
    output_match::match_log(log, &spec.retry).unwrap_or_else(|error| {
        tracing::warn!(runner = %spec.name, log = %log.display(), %error, "look for patterns in the log");
        OutputMatch::None
    })
}
