//! The course of one event: step, persist, act, publish. What follows from it in the same moment, with nothing to wait
//! for, takes the same course: a crash whose retry is due at once is one record and one spawn.
//!
//! A spawn is asked for only after the intent is on record. Where it cannot be recorded, or where there is no room for
//! a log, the runner waits, visibly, and no retry is spent; stops and kills wait for nothing.

use std::io;
use std::path::Path;

use super::super::launch::{self, Turn};
use super::roster::Id;
use super::{Key, Link, RunnerManager};
use crate::domain::ids::Attempt;
use crate::domain::retry::OutputMatch;
use crate::domain::runner::event::Failure;
use crate::domain::runner::{Context, Effect, Event, Next, POLL, Phase, Runner, step};
use crate::domain::spec::{RunnerSpec, Stdio};
use crate::domain::time::{Mono, Now};
use crate::domain::verdict::ExitStatus;
use crate::logs::{names, output_match};
use crate::ports::{ExecExit, Launch};

/// How long the answer that there is room on a disk counts for what is started, nanoseconds. Where it is wrong, the
/// record or the log fails, which makes the runner wait as well.
const ROOM_LASTS: u64 = 50_000_000;

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
        self.apply_queued();
    }

    fn apply_queued(&mut self) {
        while let Some((id, event)) = self.queue.pop_front() {
            self.apply_one(id, event, None);
        }
    }

    /// `gone`: with the end of its main process nothing of that attempt was left.
    fn apply_one(&mut self, id: Id, event: Event, gone: Option<Attempt>) {
        let now = self.clock.now();
        let Some(entry) = self.roster.get(id) else { return };
        let mut before = entry.runner.clone();
        let mut effects = self.advance(id, event, now);
        if let Some(attempt) = gone {
            let output = self.output_of(id);
            effects.extend(self.advance(id, Event::Gone { attempt, output }, now));
        }
        if let Some(due) = self.take_due(id, &mut effects, now) {
            effects.extend(self.advance(id, due, now));
        }
        self.note_wait_ended(id, &before, &now);
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
            self.after_guest_step(id, &before);
        }
    }

    /// The timer among the effects that need not be armed, because its time has come.
    fn take_due(&self, id: Id, effects: &mut Vec<Effect>, now: Now) -> Option<Event> {
        let current = self.roster.get(id)?.runner.epoch;
        let (place, due) = effects.iter().enumerate().find_map(|(place, effect)| {
            let Effect::ArmTimer { kind, at, epoch } = *effect else { return None };
            (at <= now.mono && epoch == current).then_some((place, Event::Timer { kind, epoch }))
        })?;
        effects.remove(place);
        Some(due)
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
        match self.prepare(id, now) {
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

    /// Why nothing can be written for this runner, neither its log nor its state. An answer that is older than `since`
    /// does not count.
    fn no_room_for(&mut self, id: Id, since: Option<Mono>) -> Option<String> {
        let entry = self.roster.get(id)?;
        let now = self.clock.now().mono;
        if let (Some(since), Some((at, dir))) = (since, &self.room)
            && *at >= since
            && *dir == entry.spec.log.dir
        {
            return None;
        }
        let dir = &entry.spec.log.dir;
        let reason = self.probe.no_room(dir).or_else(|| self.probe.no_room(&self.state_dir));
        self.room = reason.is_none().then(|| (now, dir.clone()));
        reason
    }

    fn prepare(&mut self, id: Id, now: Now) -> Result<Launch, Obstacle> {
        let nobody = || Obstacle::NoRoom("the runner is gone".into());
        let recent = Mono::from_nanos(now.mono.as_nanos().saturating_sub(ROOM_LASTS));
        if let Some(reason) = self.no_room_for(id, Some(recent)) {
            return Err(Obstacle::NoRoom(reason));
        }
        let entry = self.roster.get_mut(id).ok_or_else(nobody)?;
        let wanted = entry.runner.wants_spawn().ok_or_else(nobody)?;
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
        match self.store.record(&entry.to_state(now)) {
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

    /// `gone`: nothing else of the attempt lives either.
    pub(super) fn on_exit(&mut self, exit: &ExecExit, gone: bool) {
        let Some(id) = self.roster.find(&exit.id.runner) else {
            // It belongs to nobody we know, so there is nothing to record.
            if self.held_ack.is_none() {
                self.executor.ack(exit.seq);
            }
            return;
        };
        let lived = self.roster.get(id).and_then(|entry| entry.runner.live_attempt());
        if exit.cut && lived == Some(exit.id.attempt) && !exit.id.runner.is_guest() {
            // Nothing of it lives, and it is not to blame: as after a reboot, it goes on as it was.
            self.apply(id, Event::Rebooted);
            return self.acknowledge(id, exit.seq);
        }
        let disk_full = exit.status != ExitStatus::Code(0) && self.no_room_for(id, None).is_some();
        let status = self.note_exit(id, exit, disk_full);
        let event = Event::Exited { attempt: exit.id.attempt, seq: exit.seq, status, at: exit.at, disk_full };
        self.apply_one(id, event, gone.then_some(exit.id.attempt));
        self.apply_queued();
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
