//! What follows the end of an attempt, of a stage, of the run.

use std::collections::VecDeque;
use std::time::Duration;

use super::checkpoint::small_enough;
use super::course::When;
use super::{AttemptEnd, Effect, Ending, Index, Made, Moment, Run, Turn, UnitKey, UnitPhase};
use crate::domain::flow::change::{ItemRecord, What};
use crate::domain::flow::hashes::Ended;
use crate::domain::flow::ids::CheckpointId;
use crate::domain::flow::news::News;
use crate::domain::flow::record::AttemptRecord;
use crate::domain::flow::spec::Approve;
use crate::domain::flow::status::{RunStatus, StageStatus};
use crate::domain::retry;
use crate::domain::runner::ADVICE;
use crate::domain::verdict::Verdict;

/// How long an attempt waits that was not to blame, where no event tells that the obstacle is gone.
const OBSTACLE: Duration = Duration::from_secs(2);

/// So many items that failed are told of, with all that was tried.
const ITEMS_TOLD: usize = 5;

impl Run {
    /// The process of a unit has ended, with everything that it had started.
    pub fn ended(&mut self, key: UnitKey, end: AttemptEnd, at: Moment) -> Turn {
        let mut turn = Turn::default();
        let stopping = match self.unit(key) {
            Some(unit) if unit.attempt == end.attempt => match unit.phase {
                UnitPhase::Live { stopping } => stopping,
                UnitPhase::Ready
                | UnitPhase::Settling
                | UnitPhase::Backoff { .. }
                | UnitPhase::Done
                | UnitPhase::Failed => return turn,
            },
            Some(_) | None => return turn,
        };
        self.live -= 1;
        turn.touched.push(key.stage);
        // It may have begun under a supervisor before this one: its attempts are told by that from those before a rejection.
        let stage = &mut self.stages[key.stage];
        stage.started_at = stage.started_at.min(Some(end.started_at.unwrap_or(end.ended_at)));
        if self.ending == Some(Ending::Interrupted) {
            // What it did is found out when the run goes on: its runner is not forgotten.
            self.set_phase(key, UnitPhase::Ready);
            return turn;
        }
        // One that ended well had done so before it was told to stop.
        let good = self.ended_well(key.stage, &end);
        if stopping && !good {
            let mut record = record(&end, key.item);
            record.error = Some(end.outcome.to_string());
            self.note(key, record, &mut turn);
            self.set_phase(key, UnitPhase::Failed);
        } else if let Some(why) = &end.blameless {
            self.try_again_later(key, &end, why, at, &mut turn);
        } else if good {
            self.set_phase(key, UnitPhase::Settling);
            turn.now.push(Effect::Settle { unit: key, end: Box::new(end) });
        } else {
            let error = match (&end.outcome.detail, &end.last_line) {
                (Some(detail), _) => format!("{}: {detail}", end.outcome),
                (None, Some(line)) => format!("{}: {line}", end.outcome),
                (None, None) => end.outcome.to_string(),
            };
            self.failed(key, &end, &error, at, &mut turn);
        }
        // The slot is free, and what was ready before does not wait for the record.
        self.fill(When::Now, at, &mut turn);
        self.conclude(key.stage, at, &mut turn);
        self.fill(When::After, at, &mut turn);
        self.rest(at, &mut turn);
        turn
    }

    /// What it left behind has been taken in, or cannot be.
    pub fn settled(
        &mut self,
        key: UnitKey,
        end: &AttemptEnd,
        result: Result<Made, String>,
        at: Moment,
    ) -> Turn {
        let mut turn = Turn::default();
        match self.unit(key) {
            Some(unit) if unit.attempt == end.attempt && unit.phase == UnitPhase::Settling => {}
            Some(_) | None => return turn,
        }
        turn.touched.push(key.stage);
        match result.and_then(small_enough) {
            Ok(made) => {
                let mut record = record(end, key.item);
                record.cost = made.cost;
                self.note(key, record, &mut turn);
                if let Some(item) = key.item {
                    let all = u32::try_from(self.stages[key.stage].units.len()).unwrap_or(u32::MAX);
                    let item = ItemRecord {
                        item,
                        input: made.input.clone(),
                        status: made.status,
                        outputs: made.outputs.clone(),
                        artifacts: made.artifacts.clone(),
                    };
                    turn.changes.push(What::Item { stage: self.stage(key.stage).name.clone(), item, all });
                }
                if let Some(unit) = self.unit_mut(key) {
                    unit.result = Some(made);
                    unit.phase = UnitPhase::Done;
                }
                self.leave_seat(key, at, &mut turn);
            }
            Err(error) => self.failed(key, end, &error, at, &mut turn),
        }
        self.conclude(key.stage, at, &mut turn);
        self.fill(When::After, at, &mut turn);
        self.rest(at, &mut turn);
        turn
    }

    fn ended_well(&self, stage: Index, end: &AttemptEnd) -> bool {
        let degraded = &self.stage(stage).degraded_exit_codes;
        match end.outcome.verdict {
            Verdict::Completed => true,
            Verdict::Exit => end.outcome.exit_code.is_some_and(|code| degraded.contains(&code)),
            Verdict::Signal
            | Verdict::Inactive
            | Verdict::TimedOut
            | Verdict::Unhealthy
            | Verdict::Stopped
            | Verdict::SpawnFailed
            | Verdict::Lost => false,
        }
    }

    pub(super) fn set_phase(&mut self, key: UnitKey, phase: UnitPhase) {
        if let Some(unit) = self.unit_mut(key) {
            unit.phase = phase;
        }
    }

    fn note(&self, key: UnitKey, attempt: AttemptRecord, turn: &mut Turn) {
        turn.changes.push(What::Attempt { stage: self.stage(key.stage).name.clone(), attempt });
        turn.after.push(Effect::Forget(key));
    }

    fn leave_seat(&mut self, key: UnitKey, at: Moment, turn: &mut Turn) {
        let stage = &mut self.stages[key.stage];
        stage.seated = stage.seated.saturating_sub(1);
        self.next_items(key.stage, at, turn);
    }

    /// A bad end: again, where retries are left.
    fn failed(&mut self, key: UnitKey, end: &AttemptEnd, error: &str, at: Moment, turn: &mut Turn) {
        let policy = self.stage(key.stage).retry.clone();
        let mut record = record(end, key.item);
        let ending = self.ending.is_some();
        let Some(unit) = self.unit_mut(key) else { return };
        unit.failures.push((end.attempt, error.to_owned()));
        let left = policy.count.saturating_sub(unit.used);
        if left == 0 || ending {
            unit.phase = UnitPhase::Failed;
            record.error = Some(all_attempts(error, &unit.failures));
            self.note(key, record, turn);
            if key.item.is_some() {
                // Its attempts count from the start of the stage, which is to be on record while other items go on.
                let stage = &self.stages[key.stage];
                turn.changes.push(stage.change(&self.stage(key.stage).name, None));
            }
            self.leave_seat(key, at, turn);
            return;
        }
        let delay = retry::delay(&policy.backoff, unit.used, at.random);
        unit.used += 1;
        let times = if left == 1 { "time" } else { "times" };
        let told = format!("{error} (will retry {left} more {times})");
        record.error = Some(told.clone());
        self.note(key, record, turn);
        turn.news.push(News::StageRetrying {
            run: self.id.clone(),
            stage: self.stage(key.stage).name.clone(),
            item: key.item,
            error: told.clone(),
            delay_seconds: delay.as_secs_f64(),
        });
        self.back_off(key, delay, Some(told), at, turn);
    }

    fn try_again_later(&mut self, key: UnitKey, end: &AttemptEnd, why: &str, at: Moment, turn: &mut Turn) {
        let mut record = record(end, key.item);
        record.error = Some(format!("{}: {why} (not its fault; no retry is spent)", end.outcome));
        record.blameless = true;
        self.note(key, record, turn);
        self.back_off(key, OBSTACLE, Some(why.to_owned()), at, turn);
    }

    fn back_off(
        &mut self,
        key: UnitKey,
        delay: Duration,
        error: Option<String>,
        at: Moment,
        turn: &mut Turn,
    ) {
        let until = at.now.mono.plus(delay);
        self.set_phase(key, UnitPhase::Backoff { until });
        let stage = &mut self.stages[key.stage];
        if key.item.is_none() {
            stage.status = StageStatus::Backoff;
        }
        stage.error.clone_from(&error);
        turn.changes.push(What::Stage {
            stage: self.spec.stages[key.stage].name.clone(),
            status: stage.status,
            reason: stage.reason,
            error,
            started_at: stage.started_at,
            ended_at: None,
            retry_at: Some(at.now.wall_at(until)),
        });
        turn.after.push(Effect::Timer { unit: key, at: until });
    }

    /// Whether the stage has ended with this, and what follows.
    pub(super) fn conclude(&mut self, index: Index, at: Moment, turn: &mut Turn) {
        let stage = &self.stages[index];
        let ended = |unit: &super::Unit| matches!(unit.phase, UnitPhase::Done | UnitPhase::Failed);
        let over = stage.units.iter().all(ended) && stage.items.as_ref().is_none_or(VecDeque::is_empty);
        if !stage.opened || stage.is_fanning(self.stage(index)) || !over {
            return;
        }
        if let Some(status) = self.cut_short(index) {
            let error = self.error.clone();
            self.end_stage(index, status, error, at, turn);
        } else if let Some(error) = self.failure(index) {
            self.end_stage(index, StageStatus::Failed, Some(error), at, turn);
        } else {
            self.ended_good(index, at, turn);
        }
        if self.stages[index].status.is_final() {
            let due = self.pass_on(index);
            self.open_all(due, at, turn);
        }
    }

    /// What was done by the time that its run was ended is done.
    fn cut_short(&self, index: Index) -> Option<StageStatus> {
        let done = self.stages[index].units.iter().all(|unit| unit.phase == UnitPhase::Done);
        match self.ending {
            Some(_) if done && !self.asks(index) => None,
            Some(Ending::Cancelled | Ending::TimedOut) => Some(StageStatus::Cancelled),
            Some(Ending::Interrupted) | None => None,
        }
    }

    /// All attempts of what failed; of a stage that fans out, of the first items that did.
    fn failure(&self, index: Index) -> Option<String> {
        let failed = self.stages[index].units.iter().filter(|unit| unit.phase == UnitPhase::Failed);
        let mut told = Vec::new();
        for unit in failed.clone().take(ITEMS_TOLD) {
            let error = unit.failures.last().map(|(_, error)| error.as_str()).unwrap_or_default();
            let error = all_attempts(error, &unit.failures);
            told.push(match unit.item {
                None => error,
                Some(item) => format!("item {item}: {error}"),
            });
        }
        if told.is_empty() {
            return None;
        }
        match failed.count() - told.len() {
            0 => {}
            1 => told.push("and 1 more item".into()),
            more => told.push(format!("and {more} more items")),
        }
        Some(told.join("; "))
    }

    pub(super) fn asks(&self, index: Index) -> bool {
        self.stage(index).approve == Approve::Manual && !self.approve_all
    }

    pub(super) fn end_stage(
        &mut self,
        index: Index,
        status: StageStatus,
        error: Option<String>,
        at: Moment,
        turn: &mut Turn,
    ) {
        self.open = self.open.saturating_sub(1);
        self.close(index);
        let name = self.spec.stages[index].name.clone();
        if status == StageStatus::Skipped {
            self.chain.fill(&self.graph, index, Ended::Skipped);
        }
        let stage = &mut self.stages[index];
        stage.status = status;
        stage.error = error;
        let began = stage.started_at;
        // One may fail before it begins, and that may be what failed first.
        stage.ended_at = (began.is_some() || status == StageStatus::Failed).then_some(at.now.wall);
        turn.changes.push(stage.change(&name, None));
        turn.touched.push(index);
        turn.news.push(News::StageEnded {
            run: self.id.clone(),
            stage: name,
            status,
            seconds: began.map(|began| seconds_between(began, at.now.wall)),
            error: self.stages[index].error.clone(),
        });
    }

    pub(super) fn close(&mut self, index: Index) {
        self.active -= usize::from(std::mem::take(&mut self.stages[index].opened));
        self.stages[index].retire();
    }

    /// Where nothing moves by itself any more: the run has ended, or waits for a person.
    pub(super) fn rest(&mut self, at: Moment, turn: &mut Turn) {
        if self.active > 0 || self.status != RunStatus::Running {
            return;
        }
        if self.waiting > 0 {
            self.status = RunStatus::Waiting;
            self.stop_clock(at, turn);
            turn.changes.push(self.change(None, None));
            turn.after.push(Effect::Rested(self.status));
            return;
        }
        self.finish(at, turn);
    }

    pub(super) fn finish(&mut self, at: Moment, turn: &mut Turn) {
        let has = |status| self.stages.iter().any(|stage| stage.status == status);
        self.status = match self.ending {
            Some(Ending::Cancelled) => RunStatus::Cancelled,
            Some(Ending::TimedOut) => RunStatus::Failed,
            Some(Ending::Interrupted) => RunStatus::Interrupted,
            None if has(StageStatus::Failed) || has(StageStatus::NotRun) || has(StageStatus::Cancelled) => {
                RunStatus::Failed
            }
            None if has(StageStatus::Degraded) => RunStatus::Degraded,
            None => RunStatus::Succeeded,
        };
        if self.status == RunStatus::Failed && self.error.is_none() {
            self.error = self.what_failed_first();
        }
        if self.status == RunStatus::Interrupted {
            self.stop_clock(at, turn);
        }
        self.ended_at = Some(at.now.wall);
        let took = self.started.map(|started| seconds_between(started.wall, at.now.wall));
        turn.changes.push(self.change(Some(at.now.wall), took));
        turn.changes.extend(self.spec.hook(self.status).map(What::Hook));
        turn.news.push(News::RunEnded {
            run: self.id.clone(),
            status: self.status,
            seconds: took,
            error: self.error.clone(),
        });
        turn.after.push(Effect::Rested(self.status));
    }

    /// By the clock, as a retry finds its target.
    fn what_failed_first(&self) -> Option<String> {
        let failed = |index: &Index| self.stages[*index].status == StageStatus::Failed;
        let ended = |index: &Index| (self.stages[*index].ended_at.is_none(), self.stages[*index].ended_at);
        let first = self.graph.order().iter().copied().filter(failed).min_by_key(ended)?;
        let error = self.stages[first].error.as_deref().unwrap_or("it failed");
        Some(format!("{}: {error}", self.stage(first).name))
    }

    /// The store has named the checkpoint that a stage left.
    pub fn named(&mut self, index: Index, id: CheckpointId) -> Option<News> {
        let stage = &mut self.stages[index];
        stage.checkpoint = Some(id.clone());
        (stage.status == StageStatus::Waiting).then(|| News::Asks { run: self.id.clone(), checkpoint: id })
    }
}

impl super::Stage {
    pub(super) fn change(
        &self,
        name: &crate::domain::flow::ids::StageName,
        retry_at: Option<crate::domain::time::Timestamp>,
    ) -> What {
        What::Stage {
            stage: name.clone(),
            status: self.status,
            reason: self.reason,
            error: self.error.clone(),
            started_at: self.started_at,
            ended_at: self.ended_at,
            retry_at,
        }
    }
}

/// What the record of an attempt says before anybody has judged it.
fn record(end: &AttemptEnd, item: Option<u32>) -> AttemptRecord {
    AttemptRecord {
        number: end.attempt,
        item,
        verdict: Some(end.outcome.verdict),
        exit_code: end.outcome.exit_code,
        signal: end.outcome.signal,
        error: None,
        started_at: end.started_at,
        ended_at: Some(end.ended_at),
        cpu_seconds: Some(end.cpu_seconds),
        peak_rss_bytes: end.peak_rss_bytes,
        cost: end.cost,
        log: end.log.clone(),
        blameless: false,
    }
}

/// The error of the last attempt, with all of them where there were several. Advice is given once.
fn all_attempts(error: &str, failures: &[(u32, String)]) -> String {
    if failures.len() < 2 {
        return error.to_owned();
    }
    let short = |error: &str| error.split(ADVICE).next().unwrap_or_default().to_owned();
    let list: Vec<String> =
        failures.iter().map(|(number, error)| format!("{number}: {}", short(error))).collect();
    format!("{error} ({} attempts failed; {})", failures.len(), list.join("; "))
}

fn seconds_between(from: crate::domain::time::Timestamp, to: crate::domain::time::Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}
