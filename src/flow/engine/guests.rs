//! What the supervisor tells of the processes of stages.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::{Claims, Engine, Left};
use crate::domain::flow::ids::{RunId, parse_guest};
use crate::domain::flow::record::RunRecord;
use crate::domain::flow::run::{AttemptEnd, UnitKey, UnitPhase};
use crate::domain::flow::status::RunStatus;
use crate::domain::ids::RunnerName;
use crate::domain::verdict::Verdict;
use crate::flow::attempt_dir::AttemptKey;
use crate::flow::settle;
use crate::logs::sanitize::{self, Keep};
use crate::supervisor::guest::{GuestEnd, GuestEvent, KnownGuest};

/// Where the last line of a log is looked for.
const TAIL: u64 = 4096;
/// What of a last line stands in an error.
const MOST_CHARS: usize = 300;

impl Engine {
    pub(super) fn on_guest(&mut self, event: GuestEvent) {
        match event {
            GuestEvent::Inventory(guests) => self.on_inventory(guests),
            GuestEvent::Started { name, attempt, at, log, .. } => {
                let Some((run, unit)) = self.place_of(&name) else { return };
                let Some(active) = self.active.get_mut(&run) else { return };
                let mut was_held = false;
                if let Some(live) = active.live.get_mut(&unit) {
                    was_held = live.waiting.take().is_some();
                    live.started_at = Some(at);
                    live.log = Some(log);
                    if attempt.get() != live.attempt {
                        tracing::info!(%name, wanted = live.attempt, %attempt, "a log of that number was there");
                    }
                }
                self.publish_stage(&run, unit.stage);
                // Nothing else of the run as a whole has changed by that.
                if was_held {
                    self.publish_run(&run);
                }
            }
            GuestEvent::Ended(end) => self.on_guest_ended(*end),
            GuestEvent::Waiting { name, reason } => {
                self.guest_held(&name, format!("{name} cannot be started: {reason}"));
            }
            GuestEvent::Stuck { name, pids } => {
                self.guest_held(&name, format!("{name} has processes that do not die: {pids:?}"));
            }
        }
    }

    fn guest_held(&mut self, name: &RunnerName, why: String) {
        let Some((run, unit)) = self.place_of(name) else { return };
        if let Some(live) = self.active.get_mut(&run).and_then(|active| active.live.get_mut(&unit)) {
            live.waiting = Some(why.clone());
        }
        self.tell_held(&run, why);
    }

    /// The run under way and its unit that a guest belongs to.
    fn place_of(&self, name: &RunnerName) -> Option<(RunId, UnitKey)> {
        let (run, stage, item) = parse_guest(name)?;
        let stage = self.active.get(&run)?.run.find(&stage)?;
        Some((run, UnitKey { stage, item }))
    }

    fn on_guest_ended(&mut self, end: GuestEnd) {
        let at = self.moment();
        let known = self
            .place_of(&end.name)
            .filter(|(run, unit)| self.active.get(run).is_some_and(|active| active.live.contains_key(unit)));
        let Some((run, unit)) = known else {
            let place = self.place_of(&end.name);
            // It is forgotten when it is on record. Who claims it once the run stands there again is told it then.
            let awaited = |(run, unit): (RunId, UnitKey)| {
                self.active
                    .get(&run)
                    .is_some_and(|active| active.is_settling(unit) || active.run.awaits(unit))
            };
            if place.is_some_and(awaited) {
                return;
            }
            if parse_guest(&end.name).is_some_and(|(run, ..)| self.hook_ended(&run, &end)) {
                return;
            }
            let is_to_come = parse_guest(&end.name).is_some_and(|(run, ..)| {
                self.unresumed.contains_key(&run) || self.set_aside.contains_key(&run)
            });
            if self.inventory.is_none() || self.lying.is_some() || self.unlooked.is_some() || is_to_come {
                // Whoever goes on with its run wants to know.
                return;
            }
            // Of a run that is over: nobody waits for it.
            self.forget_guest(end.name);
            return;
        };
        let Some(live) = self.active.get_mut(&run).and_then(|active| active.live.get_mut(&unit)) else {
            return;
        };
        // The one before it has ended; nobody waits for that.
        if !live.ordered || end.attempt.get() < live.attempt {
            return;
        }
        let (stopping, started_at) = (live.stopping, live.started_at);
        let blameless = if end.cut {
            Some("restage or the machine ended while it ran".to_owned())
        } else if end.disk_full {
            Some("its disk was full".to_owned())
        } else if end.outcome.verdict == Verdict::Stopped && !stopping {
            Some("it was stopped from outside of the run".to_owned())
        } else {
            None
        };
        let log = end.log.or_else(|| live.log.clone());
        let good = end.outcome.verdict == Verdict::Completed;
        let attempt = live.attempt;
        let cost = if good { None } else { self.cost_of(&run, unit, attempt) };
        let end = AttemptEnd {
            attempt,
            last_line: log.as_deref().filter(|_| !good).and_then(last_line),
            outcome: end.outcome,
            started_at: end.started_at.or(started_at),
            ended_at: end.ended_at,
            cpu_seconds: end.usage.cpu.as_secs_f64(),
            peak_rss_bytes: (end.usage.max_rss_bytes > 0).then_some(end.usage.max_rss_bytes),
            cost,
            log: log.map(|log| log.display().to_string()),
            blameless,
        };
        let attempt = end.attempt;
        let awaited =
            self.active.get(&run).and_then(|active| active.run.unit(unit)).is_some_and(|unit| {
                unit.attempt == end.attempt && matches!(unit.phase, UnitPhase::Live { .. })
            });
        self.step(&run, |run| run.ended(unit, end, at));
        if let Some(active) = self.active.get_mut(&run)
            && !active.is_settling(unit)
            && active.live.get(&unit).is_some_and(|live| live.ordered)
        {
            active.live.remove(&unit);
            self.leave_inputs(&run, unit, attempt);
            if !awaited {
                // The run was sent back over it; nothing more is to come of it.
                self.forget(&run, unit);
            }
        }
    }

    /// What one that did not end well says it has cost counts all the same.
    fn cost_of(&self, run: &RunId, unit: UnitKey, attempt: u32) -> Option<f64> {
        let spec = &self.active.get(run)?.run.spec.stages[unit.stage];
        let key = AttemptKey { run: run.clone(), stage: spec.name.clone(), item: unit.item, attempt };
        settle::cost(&self.dirs, &key, spec)
    }

    /// The supervisor is there: what lay unfinished goes on, and what belongs to nothing is forgotten.
    fn on_inventory(&mut self, guests: Vec<KnownGuest>) {
        let inventory: HashMap<RunnerName, u32> =
            guests.iter().map(|guest| (guest.name.clone(), guest.attempt.get())).collect();
        let mut claims = Claims::new();
        for guest in guests {
            if let Some((run, ..)) = parse_guest(&guest.name) {
                claims.entry(run).or_default().push(guest);
            }
        }
        self.inventory = Some(inventory);
        match self.left {
            Left::GoesOn => self.resume_unfinished(claims),
            Left::Stays => {
                if let Err(error) = self.disown_copied() {
                    tracing::error!(%error, "end the runs that were copied");
                }
                self.lying = Some(claims);
            }
        }
        for ask in std::mem::take(&mut self.early) {
            self.on_ask(ask);
        }
    }

    /// Somebody sets something going: from here on nothing lies.
    pub(super) fn go_on(&mut self) {
        if let Some(claims) = self.lying.take() {
            self.resume_unfinished(claims);
        }
    }

    pub(super) fn resume_unfinished(&mut self, mut claims: Claims) {
        let open = self
            .disown_copied()
            .and_then(|()| Ok((self.scribe.store().unfinished()?, self.scribe.store().open_hooks()?)));
        match open {
            Ok((unfinished, hooks)) => {
                for run in unfinished {
                    let claimed = claims.remove(&run).unwrap_or_default();
                    self.resume(&run, &claimed);
                }
                for run in &hooks {
                    self.resume_hook(run);
                }
                for (run, guests) in claims {
                    let is_interrupted = |record: RunRecord| record.status == RunStatus::Interrupted;
                    let goes_on_later = self.now(&run).is_ok_and(is_interrupted);
                    for guest in guests {
                        // What lives must not run on beside another run of the lineage.
                        if goes_on_later && guest.last_seen.is_some() {
                            self.set_aside.entry(run.clone()).or_default().push(guest);
                            continue;
                        }
                        let name = guest.name;
                        if !self.is_open_hook(&run, &name) {
                            self.forget_guest(name);
                        }
                    }
                }
            }
            Err(error) => {
                tracing::error!(%error, "look for runs that lay unfinished");
                self.unlooked = Some(claims);
                self.try_later();
            }
        }
    }
}

/// The last line with anything on it, safe to be shown.
fn last_line(log: &Path) -> Option<String> {
    let mut file = File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).ok()?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail).ok()?;
    let line = tail
        .split(|byte| matches!(byte, b'\n' | b'\r'))
        .rfind(|line| line.iter().any(|byte| !byte.is_ascii_whitespace()))?;
    let plain = sanitize::sanitize(sanitize::last_drawn(line), Keep::Nothing);
    let plain = plain.trim();
    let mut cut: String = plain.chars().take(MOST_CHARS).collect();
    if cut.len() < plain.len() {
        cut.push('…');
    }
    (!cut.is_empty()).then_some(cut)
}
