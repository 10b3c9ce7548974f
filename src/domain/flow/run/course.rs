//! From a stage whose turn has come to a process that is asked for.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Deadline, Effect, Index, Launch, Limit, Moment, Run, Turn, Unit, UnitKey, UnitPhase};
use crate::domain::flow::change::{ItemRecord, What};
use crate::domain::flow::ids::Hash;
use crate::domain::flow::news::News;
use crate::domain::flow::state;
use crate::domain::flow::status::{RunStatus, StageStatus};
use crate::domain::json::Json;
use crate::domain::time::Timestamp;

/// Whether a launch has to wait for what this turn writes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Now,
    After,
}

impl Run {
    /// Sets the run going: a new one, one that was queued, or one that goes on.
    pub fn begin(&mut self, at: Moment) -> Turn {
        let mut turn = Turn::default();
        let resumed = self.started.is_some();
        self.set_going(at, &mut turn);
        turn.news.push(News::RunStarted { run: self.id.clone(), resumed });
        let due = self.due_now();
        self.open_all(due, at, &mut turn);
        self.fill(When::After, at, &mut turn);
        self.rest(at, &mut turn);
        turn
    }

    /// Stages whose turn has come and that have not begun.
    pub(super) fn due_now(&self) -> Vec<Index> {
        let due = |index: &Index| {
            let stage = &self.stages[*index];
            stage.status == StageStatus::Pending && stage.left == 0 && !stage.opened
        };
        self.graph.order().iter().copied().filter(due).collect()
    }

    /// From here on it is running, by the clock of this supervisor.
    pub(super) fn set_going(&mut self, at: Moment, turn: &mut Turn) {
        self.status = RunStatus::Running;
        self.ending = None;
        self.ended_at = None;
        let left = match self.limit {
            _ if self.started.is_none() => self.spec.timeout,
            Some(Limit::Left(left)) => Some(left),
            Some(Limit::Until(_)) | None => None,
        };
        self.started.get_or_insert(at.now);
        if let Some(left) = left {
            let deadline = at.now.mono.plus(left);
            let wall = at.now.wall_at(deadline);
            self.limit = Some(Limit::Until(Deadline { at: deadline, wall }));
            turn.changes.push(What::Limit { deadline: Some(wall), left: Some(left) });
        }
        if let Some(deadline) = self.deadline() {
            turn.after.push(Effect::Deadline { at: deadline.at });
        }
        turn.changes.push(self.change(None, None));
    }

    /// Nothing of it runs any more, and it has not ended.
    pub(super) fn stop_clock(&mut self, at: Moment, turn: &mut Turn) {
        let left = match self.limit {
            Some(Limit::Until(deadline)) => deadline.at.since(at.now.mono),
            Some(Limit::Left(left)) => left,
            None => return,
        };
        self.limit = Some(Limit::Left(left));
        turn.changes.push(What::Limit { deadline: None, left: Some(left) });
    }

    pub(super) fn change(&self, ended_at: Option<Timestamp>, duration_seconds: Option<f64>) -> What {
        What::Run {
            status: self.status,
            error: self.error.clone(),
            started_at: self.started.map(|started| started.wall),
            ended_at,
            duration_seconds,
        }
    }

    /// Opens stages whose turn has come, and those whose turn comes by that: a skip passes on at once.
    pub(super) fn open_all(&mut self, mut due: Vec<Index>, at: Moment, turn: &mut Turn) {
        while let Some(index) = due.pop() {
            if self.open(index, at, turn) {
                due.extend(self.pass_on(index));
            }
        }
    }

    /// One that has ended: the stages whose turn has come by that.
    pub(super) fn pass_on(&mut self, index: Index) -> Vec<Index> {
        let mut due = Vec::new();
        for other in Arc::clone(&self.graph).downstream(index) {
            let stage = &mut self.stages[*other];
            stage.left = stage.left.saturating_sub(1);
            if stage.left == 0 && stage.status == StageStatus::Pending {
                due.push(*other);
            }
        }
        due
    }

    /// True where it has ended by that.
    fn open(&mut self, index: Index, at: Moment, turn: &mut Turn) -> bool {
        if let Some((status, error)) = self.ruled_out(index) {
            self.end_stage(index, status, error, at, turn);
            return true;
        }
        self.active += 1;
        self.stages[index].opened = true;
        let Some(foreach) = &self.stage(index).foreach else {
            let unit = self.new_unit(UnitKey { stage: index, item: None }, None);
            self.stages[index].units = vec![unit];
            self.line_up(UnitKey { stage: index, item: None }, at, turn);
            return false;
        };
        let (key, seats) = (foreach.key.clone(), foreach.max_parallel.unwrap_or(u32::MAX));
        let values = match state::items(&key, self.state.get(index, &key)) {
            Ok(values) => values,
            Err(error) => return self.end_opened(index, error, at, turn),
        };
        self.fanning.insert(index, seats.min(u32::try_from(values.len()).unwrap_or(u32::MAX)));
        turn.after.push(Effect::FanOut { stage: index, values });
        false
    }

    fn end_opened(&mut self, index: Index, error: String, at: Moment, turn: &mut Turn) -> bool {
        self.end_stage(index, StageStatus::Failed, Some(error), at, turn);
        true
    }

    /// Why it is not executed, as far as that can be said before it is.
    fn ruled_out(&self, index: Index) -> Option<(StageStatus, Option<String>)> {
        let mut skipped = None;
        for other in self.graph.upstream(index) {
            let (status, name) = (self.stages[*other].status, &self.spec.stages[*other].name);
            match status {
                StageStatus::Failed | StageStatus::NotRun | StageStatus::Cancelled => {
                    let why = format!("needs {name}, which is {status}");
                    return Some((StageStatus::NotRun, Some(why)));
                }
                StageStatus::Skipped if self.skip_passes(*other, index) => {
                    skipped = Some(format!("needs {name}, which is skipped"));
                }
                StageStatus::Skipped
                | StageStatus::Pending
                | StageStatus::Running
                | StageStatus::Backoff
                | StageStatus::Waiting
                | StageStatus::Succeeded
                | StageStatus::Degraded => {}
            }
        }
        if let Some(why) = skipped {
            return Some((StageStatus::Skipped, Some(why)));
        }
        let when = self.stage(index).when.as_ref()?;
        match when.eval(&self.state.some(index, when.keys())) {
            Ok(true) => None,
            Ok(false) => Some((StageStatus::Skipped, Some(format!("when: {when}")))),
            Err(error) => Some((StageStatus::Failed, Some(format!("when: {when}: {error}")))),
        }
    }

    /// Whether what skips a stage skips the one that waits for it. A validator that was skipped has nothing to say.
    fn skip_passes(&self, from: Index, to: Index) -> bool {
        let (name, stage) = (&self.spec.stages[from].name, self.stage(to));
        stage.needs.contains(name) || stage.validates.as_ref() == Some(name)
    }

    /// The items of a stage that fans out, with what is done of them already.
    pub fn fan_out(
        &mut self,
        index: Index,
        values: Vec<Json>,
        mut done: Vec<Option<(ItemRecord, super::Made)>>,
        recipe: Hash,
        at: Moment,
    ) -> Turn {
        let mut turn = Turn::default();
        if !self.stages[index].is_fanning(self.stage(index)) {
            return turn;
        }
        self.stages[index].recipe = Some(recipe);
        done.resize(values.len(), None);
        let all = u32::try_from(values.len()).unwrap_or(u32::MAX);
        let mut waiting = VecDeque::new();
        for (item, (value, before)) in (0..).zip(values.into_iter().zip(done)) {
            let key = UnitKey { stage: index, item: Some(item) };
            let mut unit = self.new_unit(key, Some(value));
            match before {
                Some((record, made)) => {
                    unit.phase = UnitPhase::Done;
                    unit.result = Some(made);
                    let stage = self.stage(index).name.clone();
                    turn.changes.push(What::Item { stage, item: record, all });
                }
                None if unit.phase == UnitPhase::Failed => {}
                None => waiting.push_back(item),
            }
            self.stages[index].units.push(unit);
        }
        // What lives already has its seat.
        let claimed = |item: &u32| self.claims.contains_key(&UnitKey { stage: index, item: Some(*item) });
        let (lives, waiting): (VecDeque<u32>, VecDeque<u32>) = waiting.into_iter().partition(claimed);
        self.stages[index].items = Some(waiting);
        for item in lives {
            self.stages[index].seated += 1;
            self.line_up(UnitKey { stage: index, item: Some(item) }, at, &mut turn);
        }
        self.next_items(index, at, &mut turn);
        self.conclude(index, at, &mut turn);
        self.fill(When::After, at, &mut turn);
        self.rest(at, &mut turn);
        turn
    }

    /// As many items as may be under way at once have a seat; a backoff keeps it.
    pub(super) fn next_items(&mut self, index: Index, at: Moment, turn: &mut Turn) {
        let seats = self.stage(index).foreach.as_ref().and_then(|foreach| foreach.max_parallel);
        loop {
            let stage = &mut self.stages[index];
            let Some(waiting) = &mut stage.items else { return };
            if seats.is_some_and(|seats| stage.seated >= seats) {
                return;
            }
            let Some(item) = waiting.pop_front() else { return };
            stage.seated += 1;
            self.line_up(UnitKey { stage: index, item: Some(item) }, at, turn);
        }
    }

    fn new_unit(&mut self, key: UnitKey, value: Option<Json>) -> Unit {
        let past = self.stages[key.stage].past.remove(&key.item).unwrap_or_default();
        Unit {
            item: key.item,
            value,
            attempt: past.attempt,
            used: past.used,
            phase: if past.exhausted { UnitPhase::Failed } else { UnitPhase::Ready },
            failures: past.failures,
            result: None,
            due: past.due,
        }
    }

    /// Gives it a place among those that wait for a slot. What lives already has one; what waits for its backoff gets
    /// one when that is over.
    fn line_up(&mut self, key: UnitKey, at: Moment, turn: &mut Turn) {
        if let Some(attempt) = self.claims.remove(&key) {
            if let Some(unit) = self.unit_mut(key) {
                unit.attempt = attempt.saturating_sub(1);
            }
            return self.launch(key, When::After, at, turn);
        }
        let due = self.unit(key).and_then(|unit| unit.due).filter(|due| *due > at.now.mono);
        match due {
            Some(until) => {
                if let Some(unit) = self.unit_mut(key) {
                    unit.phase = UnitPhase::Backoff { until };
                }
                if key.item.is_none() {
                    self.stages[key.stage].status = StageStatus::Backoff;
                }
                turn.after.push(Effect::Timer { unit: key, at: until });
            }
            // An item builds on nothing that has ended after its stage began.
            None if key.item.is_some() => {
                self.ready.insert(key);
            }
            None => {
                self.fresh.insert(key);
                turn.fresh.push(key);
            }
        }
    }

    /// A turn is on record.
    pub fn recorded(&mut self, turn: &Turn) {
        for key in &turn.fresh {
            if self.fresh.remove(key) {
                self.ready.insert(*key);
            }
        }
    }

    /// Its backoff is over.
    pub fn due(&mut self, key: UnitKey, at: Moment) -> Turn {
        let mut turn = Turn::default();
        let Some(unit) = self.unit_mut(key) else { return turn };
        // A timer of an older backoff comes before its time.
        if !matches!(unit.phase, UnitPhase::Backoff { until } if until <= at.now.mono) {
            return turn;
        }
        unit.phase = UnitPhase::Ready;
        self.ready.insert(key);
        self.fill(When::Now, at, &mut turn);
        turn
    }

    /// Launches what is ready, as far as there are slots. Those for items that are still looked up are not given to what
    /// stands in the file behind their stage.
    pub(super) fn fill(&mut self, when: When, at: Moment, turn: &mut Turn) {
        while self.ending.is_none() && self.live < self.max_parallel {
            let (ready, fresh) = (self.ready.first(), self.fresh.first().filter(|_| when == When::After));
            let Some(key) = ready.into_iter().chain(fresh).min().copied() else { return };
            let kept = self.kept_before(key.stage);
            if kept > 0 && self.live.saturating_add(kept) >= self.max_parallel {
                return;
            }
            if !self.ready.remove(&key) {
                self.fresh.remove(&key);
            }
            self.launch(key, when, at, turn);
        }
    }

    /// Slots for items of stages before this one that are still looked up.
    fn kept_before(&mut self, index: Index) -> u32 {
        let (stages, spec) = (&self.stages, &self.spec);
        self.fanning.retain(|stage, _| stages[*stage].is_fanning(&spec.stages[*stage]));
        self.fanning.range(..index).fold(0, |sum, (_, items)| sum.saturating_add(*items))
    }

    fn launch(&mut self, key: UnitKey, when: When, at: Moment, turn: &mut Turn) {
        self.live += 1;
        let run = self.id.clone();
        let name = self.stage(key.stage).name.clone();
        let stage = &mut self.stages[key.stage];
        stage.status = StageStatus::Running;
        stage.started_at.get_or_insert(at.now.wall);
        let Some(unit) = stage.units.get_mut(key.place()) else { return };
        unit.phase = UnitPhase::Live { stopping: false };
        unit.attempt += 1;
        let attempt = unit.attempt;
        let previous = unit.failures.last().map(|(number, _)| *number);
        let effect = Effect::Launch(Launch { unit: key, attempt, previous });
        match when {
            When::Now => turn.now.push(effect),
            When::After => turn.after.push(effect),
        }
        turn.news.push(News::StageStarted { run, stage: name, item: key.item, attempt });
        turn.touched.push(key.stage);
    }
}
