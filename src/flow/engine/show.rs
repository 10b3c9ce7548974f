//! What a run looks like now: its records, and over them what is under way.

use super::{Active, Engine};
use crate::domain::flow::ask::{FlowReply, Shown, StageLinks};
use crate::domain::flow::ids::RunId;
use crate::domain::flow::record::{AttemptRecord, ItemCount, RunRecord, StageRecord};
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::run::{Index, UnitPhase};
use crate::domain::flow::status::StageStatus;
use crate::domain::flow::view::{RunView, StageView};

/// So many stages at most are named on a line.
const NAMED: usize = 3;

impl Engine {
    pub(super) fn glance(&mut self, id: &RunId) -> Result<FlowReply, Refusal> {
        let run = self.now(id)?;
        let mut run = self.with_held(run);
        run.inputs.clear();
        for row in run.stages.iter_mut().flatten() {
            row.outputs = None;
            row.artifacts.clear();
        }
        Ok(FlowReply::Shown(Box::new(Shown { run, branches: Vec::new() })))
    }

    pub(super) fn links(&mut self, id: &RunId) -> Result<FlowReply, Refusal> {
        if let Some(active) = self.active.get(id) {
            return Ok(FlowReply::Links(StageLinks::of(&active.run.spec)));
        }
        let record = self.stored(id)?.record;
        Ok(FlowReply::Links(StageLinks::of(&self.definition(&record)?)))
    }
}

impl Active {
    pub(super) fn overlay_all(&self, record: &mut RunRecord) {
        record.status = self.run.status;
        for row in record.stages.iter_mut().flatten() {
            if let Some(index) = self.run.find(&row.name) {
                self.overlay(index, row);
            }
        }
    }

    /// What lives is not on record.
    fn overlay(&self, index: Index, row: &mut StageRecord) {
        let stage = &self.run.stages[index];
        row.status = stage.status;
        row.started_at = row.started_at.or(stage.started_at);
        row.items = self.items(index).or(row.items);
        for (unit, live) in self.live.range(unit_range(index)).map(|(unit, live)| (unit.item, live)) {
            if row.attempts.iter().any(|one| one.item == unit && one.number == live.attempt) {
                continue;
            }
            row.attempts.push(AttemptRecord {
                number: live.attempt,
                item: unit,
                verdict: None,
                exit_code: None,
                signal: None,
                error: None,
                started_at: live.started_at,
                ended_at: None,
                cpu_seconds: None,
                peak_rss_bytes: None,
                cost: None,
                log: live.log.as_ref().map(|log| log.display().to_string()),
                blameless: false,
            });
        }
    }

    fn items(&self, index: Index) -> Option<ItemCount> {
        self.run.stage(index).foreach.as_ref()?;
        let units = &self.run.stages[index].units;
        let done = units.iter().filter(|unit| unit.phase == UnitPhase::Done).count();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        (!units.is_empty()).then(|| ItemCount { done: count(done), all: count(units.len()) })
    }

    pub(super) fn stage_view(&self, index: Index) -> StageView {
        let (spec, stage) = (self.run.stage(index), &self.run.stages[index]);
        let unit = stage.units.iter().max_by_key(|unit| unit.attempt);
        let backoff = unit.and_then(|unit| match unit.phase {
            UnitPhase::Backoff { until } => self.run.started.map(|started| started.wall_at(until)),
            UnitPhase::Ready
            | UnitPhase::Live { .. }
            | UnitPhase::Settling
            | UnitPhase::Done
            | UnitPhase::Failed => None,
        });
        StageView {
            run_id: self.run.id.clone(),
            name: spec.name.clone(),
            order: u32::try_from(index).unwrap_or(u32::MAX),
            status: stage.status,
            decision: stage.decision,
            reason: stage.reason,
            error: stage.error.clone(),
            started_at: stage.started_at,
            ended_at: stage.ended_at,
            attempt: unit.map_or(0, |unit| unit.attempt),
            retries: unit.map_or(0, |unit| unit.used),
            max_retries: spec.retry.count,
            retry_at: backoff,
            items: self.items(index),
        }
    }

    pub(super) fn view(&self, held: Option<String>) -> RunView {
        let (run, record) = (&self.run, &self.record);
        let all = run.stages.len();
        let mut at: Vec<_> =
            self.live.keys().take(NAMED).map(|unit| run.stage(unit.stage).name.clone()).collect();
        at.dedup();
        let asks = if run.is_waiting() {
            let waits = run.stages.iter().filter(|stage| stage.status == StageStatus::Waiting);
            waits.filter_map(|stage| stage.checkpoint.clone()).collect()
        } else {
            Vec::new()
        };
        if at.is_empty() && run.error.is_some() {
            let failed = run.stages.iter().position(|stage| stage.status == StageStatus::Failed);
            at.extend(failed.map(|index| run.stage(index).name.clone()));
        }
        // What failed or never ran has ended, too, but is not done. Only a run that is over has reason to look at all of
        // its stages.
        let done = if run.status.is_final() {
            run.stages.iter().filter(|stage| stage.status.counts_as_done()).count()
        } else {
            all - run.open
        };
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        RunView {
            run_id: run.id.clone(),
            flow: record.flow.clone(),
            status: run.status,
            branch: run.branch.clone(),
            parent_run_id: run.parent.clone(),
            retry_from_stage: run.retry_from.clone(),
            retry_depth: record.retry_depth,
            created_at: record.created_at,
            started_at: run.started.map(|started| started.wall),
            ended_at: run.ended_at,
            deadline: run.deadline().map(|deadline| deadline.wall),
            error: run.error.clone(),
            held,
            done: count(done),
            all: count(all),
            at,
            asks,
        }
    }
}

fn unit_range(index: Index) -> std::ops::RangeInclusive<crate::domain::flow::run::UnitKey> {
    use crate::domain::flow::run::UnitKey;
    UnitKey { stage: index, item: None }..=UnitKey { stage: index, item: Some(u32::MAX) }
}
