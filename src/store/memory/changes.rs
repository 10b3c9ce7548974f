//! What happens to runs, in memory.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::state::{Run, Stage, State, broken, fits};
use crate::domain::flow::change::{Change, What};
use crate::domain::flow::ids::{CheckpointId, RunId, StageName};
use crate::domain::flow::record::HookRecord;
use crate::domain::flow::status::{Decision, RunStatus, StageStatus};
use crate::ports::store::StoreError;
use crate::store::total_cost;

pub(super) fn commit(state: &mut State, changes: &[Change]) -> Result<Vec<Option<CheckpointId>>, StoreError> {
    let mut seen: BTreeSet<&RunId> = BTreeSet::new();
    let mut made = Vec::with_capacity(changes.len());
    for Change { run, epoch, what } in changes {
        let found = state.found(run)?;
        if found.epoch != *epoch {
            return Err(StoreError::Fenced { run: run.clone() });
        }
        // Its end may be followed by more of the same batch.
        if seen.insert(run) && found.record.status.is_final() {
            return Err(StoreError::Ended { run: run.clone() });
        }
        made.push(apply(state, run, what)?);
    }
    Ok(made)
}

fn apply(state: &mut State, run: &RunId, what: &What) -> Result<Option<CheckpointId>, StoreError> {
    let root = state.found(run)?.record.root_run_id.clone();
    match what {
        What::Run { status, error, started_at, ended_at, duration_seconds } => {
            set_lock(state, run, *status)?;
            let record = &mut state.found(run)?.record;
            record.status = *status;
            record.error.clone_from(error);
            (record.started_at, record.ended_at) = (*started_at, *ended_at);
            record.duration_seconds = *duration_seconds;
        }
        What::Hook(hook) => state.found(run)?.record.hook = Some(HookRecord::of(*hook)),
        What::Stage { stage, status, reason, error, started_at, ended_at, retry_at } => {
            let stage = find(state.found(run)?, stage)?;
            (stage.status, stage.reason) = (*status, *reason);
            stage.error.clone_from(error);
            (stage.started_at, stage.ended_at) = (*started_at, *ended_at);
            stage.retry_at = *retry_at;
        }
        What::Attempt { stage, attempt } => {
            let run = state.found(run)?;
            let key = (attempt.item, attempt.number);
            let before = find(run, stage)?.attempts.insert(key, attempt.clone());
            run.record.cost =
                total_cost(run.record.cost, before.and_then(|attempt| attempt.cost), attempt.cost);
        }
        What::Item { stage, item, all } => {
            fits(&item.outputs, &format!("the outputs of {stage}, item {}", item.item))?;
            let stage = find(state.found(run)?, stage)?;
            stage.all_items = Some(*all);
            stage.items.insert(item.item, item.clone());
        }
        What::Checkpoint { stage, new } => {
            let made = state.add_checkpoint(&root, run, new)?;
            find(state.found(run)?, stage)?.checkpoint = Some(made.clone());
            return Ok(Some(made));
        }
        What::Adopt { stage, checkpoint } => {
            state.there(&root, checkpoint)?;
            find(state.found(run)?, stage)?.checkpoint = Some(checkpoint.clone());
        }
        What::Judge(judgement) => {
            if !state.judge(&root, judgement) {
                return Err(StoreError::Stale { checkpoint: judgement.checkpoint.clone() });
            }
        }
        What::Recipe { stage, recipe } => {
            find(state.found(run)?, stage)?.recipe = Some(recipe.clone());
        }
        What::Limit { deadline, left } => {
            let run = state.found(run)?;
            (run.record.deadline, run.time_left) = (*deadline, *left);
        }
        What::AskNobody => state.found(run)?.approve_all = true,
        What::Reset { stage, reason, feedback } => {
            let stage = find(state.found(run)?, stage)?;
            stage.status = StageStatus::Pending;
            stage.decision = Decision::Execute;
            stage.reason = Some(*reason);
            stage.feedback.clone_from(feedback);
            (stage.source, stage.checkpoint, stage.error) = (None, None, None);
            (stage.started_at, stage.ended_at, stage.retry_at) = (None, None, None);
            stage.all_items = None;
            stage.items.clear();
        }
    }
    Ok(None)
}

fn set_lock(state: &mut State, run: &RunId, status: RunStatus) -> Result<(), StoreError> {
    let record = &state.found(run)?.record;
    let (root, branch) = (record.root_run_id.clone(), record.branch.clone());
    if status.holds_lock() {
        if let Some(by) = state.held(&root, &branch).filter(|held| held.run != *run) {
            return Err(StoreError::Held { run: run.clone(), by });
        }
        state.lineage(&root).locks.insert(branch, run.clone());
    } else {
        state.lineage(&root).locks.retain(|_, holder| holder != run);
    }
    Ok(())
}

fn find<'a>(run: &'a mut Run, name: &StageName) -> Result<&'a mut Stage, StoreError> {
    let id = run.record.run_id.clone();
    let found = run.stages.iter_mut().find(|stage| stage.name == *name).map(Arc::make_mut);
    found.ok_or_else(|| broken(format!("write what became of {id}/{name}"), "the run has no such stage"))
}
