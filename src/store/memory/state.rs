//! What the history in memory consists of.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::domain::flow::change::{ItemRecord, Judgement, NewCheckpoint, NewRun, RecipeRecord};
use crate::domain::flow::ids::{BranchName, CheckpointId, FlowName, Hash, RunId, StageName};
use crate::domain::flow::record::{
    AttemptRecord, Branch, Checkpoint, CheckpointRef, ItemCount, RunRecord, StageRecord,
};
use crate::domain::flow::status::{Cause, Decision, Reason, StageStatus};
use crate::domain::json::JsonMap;
use crate::domain::time::Timestamp;
use crate::ports::store::{Begun, Held, MAX_STATE_BYTES, StoreError, StoredRun};

#[derive(Debug, Clone, Default)]
pub(super) struct State {
    /// By the order in which they began.
    pub(super) runs: BTreeMap<u64, Arc<Run>>,
    ids: Arc<HashMap<RunId, u64>>,
    last_id: u64,
    numbers: BTreeMap<FlowName, u64>,
    pub(super) definitions: BTreeMap<Hash, Arc<str>>,
    pub(super) lineages: BTreeMap<RunId, Arc<Lineage>>,
}

#[derive(Debug, Clone)]
pub(super) struct Run {
    /// Without stages.
    pub(super) record: RunRecord,
    pub(super) epoch: u64,
    pub(super) holder: String,
    pub(super) approve_all: bool,
    pub(super) time_left: Option<Duration>,
    pub(super) stages: Vec<Arc<Stage>>,
}

#[derive(Debug, Clone)]
pub(super) struct Stage {
    pub(super) name: StageName,
    order: u32,
    pub(super) status: StageStatus,
    pub(super) decision: Decision,
    pub(super) reason: Option<Reason>,
    pub(super) source: Option<RunId>,
    pub(super) error: Option<String>,
    pub(super) started_at: Option<Timestamp>,
    pub(super) ended_at: Option<Timestamp>,
    pub(super) retry_at: Option<Timestamp>,
    pub(super) checkpoint: Option<CheckpointId>,
    pub(super) attempts: BTreeMap<(Option<u32>, u32), AttemptRecord>,
    pub(super) items: BTreeMap<u32, ItemRecord>,
    pub(super) all_items: Option<u32>,
    pub(super) recipe: Option<RecipeRecord>,
    pub(super) feedback: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Lineage {
    /// The oldest first.
    pub(super) checkpoints: Vec<Arc<Checkpoint>>,
    versions: BTreeMap<StageName, u32>,
    pub(super) branches: Vec<Branch>,
    pub(super) locks: BTreeMap<BranchName, RunId>,
}

impl State {
    pub(super) fn run(&self, run: &RunId) -> Option<&Run> {
        self.runs.get(self.ids.get(run)?).map(AsRef::as_ref)
    }

    /// A run that has to be there, to be changed.
    pub(super) fn found(&mut self, run: &RunId) -> Result<&mut Run, StoreError> {
        let id = self.ids.get(run);
        let found = id.and_then(|id| self.runs.get_mut(id)).map(Arc::make_mut);
        found.ok_or_else(|| broken(format!("look for {run}"), "there is no such run in the history"))
    }

    pub(super) fn lineage(&mut self, root: &RunId) -> &mut Lineage {
        Arc::make_mut(self.lineages.entry(root.clone()).or_default())
    }

    pub(super) fn begin(&mut self, new: &NewRun) -> Result<Begun, StoreError> {
        if let Some(run) = new.key.as_deref().and_then(|key| self.of_key(&new.flow, key)) {
            return Ok(Begun::Existing(run));
        }
        if let Some(root) = &new.root
            && new.status.holds_lock()
            && let Some(held) = self.held(root, &new.branch)
        {
            return Ok(Begun::Held(held));
        }
        let number = self.numbers.entry(new.flow.clone()).or_default();
        *number += 1;
        let number = *number;
        let run = RunId::new(&new.flow, number);
        let root = new.root.clone().unwrap_or_else(|| run.clone());
        for checkpoint in new.stages.iter().filter_map(|stage| stage.checkpoint.as_ref()) {
            self.there(&root, checkpoint)?;
        }
        if new.status.holds_lock() {
            self.lineage(&root).locks.insert(new.branch.clone(), run.clone());
        }
        self.definitions.entry(new.def_hash.clone()).or_insert_with(|| new.definition.as_str().into());
        self.last_id += 1;
        Arc::make_mut(&mut self.ids).insert(run.clone(), self.last_id);
        let mut begun = Run::new(new, run.clone(), root, number);
        begun.record.retry_number = self.retry_number(&begun.record);
        self.runs.insert(self.last_id, Arc::new(begun));
        Ok(Begun::New { run, number, epoch: 1 })
    }

    fn retry_number(&self, new: &RunRecord) -> Option<u32> {
        let of_lineage = self.runs.values().filter(|run| run.record.root_run_id == new.root_run_id);
        let last = of_lineage.filter_map(|run| run.record.retry_number).max();
        (new.cause == Cause::Retry).then(|| last.unwrap_or(0) + 1)
    }

    pub(super) fn of_key(&self, flow: &FlowName, key: &str) -> Option<RunId> {
        let mut runs = self.runs.values().map(|run| &run.record);
        runs.find(|run| run.flow == *flow && run.idempotency_key.as_deref() == Some(key))
            .map(|run| run.run_id.clone())
    }

    pub(super) fn held(&self, root: &RunId, branch: &BranchName) -> Option<Held> {
        let run = self.run(self.lineages.get(root)?.locks.get(branch)?)?;
        Some(Held { run: run.record.run_id.clone(), holder: run.holder.clone() })
    }

    pub(super) fn checkpoint(&self, root: &RunId, id: &CheckpointId) -> Option<&Checkpoint> {
        let all = &self.lineages.get(root)?.checkpoints;
        all.iter().find(|one| one.id == *id).map(AsRef::as_ref)
    }

    /// A checkpoint that has to be there.
    pub(super) fn there(&self, root: &RunId, id: &CheckpointId) -> Result<(), StoreError> {
        let found = self.checkpoint(root, id).map(|_| ());
        found.ok_or_else(|| broken(format!("look for {id} of {root}"), "there is no such checkpoint"))
    }

    pub(super) fn add_checkpoint(
        &mut self,
        root: &RunId,
        run: &RunId,
        new: &NewCheckpoint,
    ) -> Result<CheckpointId, StoreError> {
        fits(&new.outputs, &format!("the outputs of {}", new.stage))?;
        let lineage = self.lineage(root);
        let version = lineage.versions.entry(new.stage.clone()).or_default();
        *version += 1;
        let id = CheckpointId { stage: new.stage.clone(), version: *version };
        lineage.checkpoints.push(Arc::new(new.clone().named(id.clone(), root.clone(), run.clone())));
        Ok(id)
    }

    pub(super) fn judge(&mut self, root: &RunId, judgement: &Judgement) -> bool {
        let expected = |one: &&mut Arc<Checkpoint>| {
            one.id == judgement.checkpoint && one.hash == judgement.hash && one.approval == judgement.from
        };
        let Some(found) = self.lineage(root).checkpoints.iter_mut().find(expected) else { return false };
        let found = Arc::make_mut(found);
        found.approval = judgement.to;
        found.approved_by = Some(judgement.who.clone());
        found.approved_at = Some(judgement.at);
        found.note.clone_from(&judgement.note);
        found.rewind_to.clone_from(&judgement.rewind_to);
        true
    }

    pub(super) fn add_branch(&mut self, root: &RunId, branch: &Branch) -> Result<bool, StoreError> {
        if branch.branch_name == BranchName::main() {
            return Ok(false);
        }
        if let Some(from) = &branch.forked_from {
            self.there(root, from)?;
        }
        let branches = &mut self.lineage(root).branches;
        if branches.iter().any(|one| one.branch_name == branch.branch_name) {
            return Ok(false);
        }
        branches.push(branch.clone());
        Ok(true)
    }

    pub(super) fn stored(&self, run: &Run) -> StoredRun {
        let root = &run.record.root_run_id;
        let stages = run.stages.iter().map(|stage| self.stage(root, stage)).collect();
        StoredRun {
            record: RunRecord { stages: Some(stages), ..run.record.clone() },
            epoch: run.epoch,
            holder: run.holder.clone(),
            approve_all: run.approve_all,
            time_left: run.time_left,
            unreadable: None,
        }
    }

    fn stage(&self, root: &RunId, stage: &Stage) -> StageRecord {
        let checkpoint = stage.checkpoint.as_ref().and_then(|id| self.checkpoint(root, id));
        StageRecord {
            name: stage.name.clone(),
            order: stage.order,
            status: stage.status,
            decision: stage.decision,
            reason: stage.reason,
            source_run_id: stage.source.clone(),
            error: stage.error.clone(),
            started_at: stage.started_at,
            ended_at: stage.ended_at,
            outputs: checkpoint.map(|one| one.outputs.clone()),
            artifacts: checkpoint.map(|one| one.artifacts.clone()).unwrap_or_default(),
            checkpoint: checkpoint.map(|one| CheckpointRef {
                id: one.id.clone(),
                parent: one.parent.clone(),
                version: one.id.version,
                branch: one.branch.clone(),
                approval: one.approval,
            }),
            attempts: stage.attempts.values().cloned().collect(),
            retry_at: stage.retry_at,
            items: stage
                .all_items
                .map(|all| ItemCount { done: u32::try_from(stage.items.len()).unwrap_or(u32::MAX), all }),
            feedback: stage.feedback.clone(),
        }
    }

    /// The other branches that leave from a checkpoint of this run, or have one of their own there.
    pub(super) fn branches_on(&self, id: u64) -> Vec<BranchName> {
        let run = &self.runs[&id].record;
        let Some(lineage) = self.lineages.get(&run.root_run_id) else { return Vec::new() };
        let made = || lineage.checkpoints.iter().filter(|one| one.run_id == run.run_id);
        let builds = |branch: &&Branch| {
            let name = &branch.branch_name;
            let leaves = made().any(|one| Some(&one.id) == branch.forked_from.as_ref());
            *name != run.branch && (leaves || made().any(|one| one.branch == *name))
        };
        lineage.branches.iter().filter(builds).map(|branch| branch.branch_name.clone()).collect()
    }

    /// The other runs that name a checkpoint of this one.
    pub(super) fn users(&self, id: u64) -> BTreeSet<u64> {
        let run = &self.runs[&id].record;
        let Some(lineage) = self.lineages.get(&run.root_run_id) else { return BTreeSet::new() };
        let made: BTreeSet<_> =
            lineage.checkpoints.iter().filter(|one| one.run_id == run.run_id).map(|one| &one.id).collect();
        let names = |other: &Run| {
            other.record.root_run_id == run.root_run_id
                && other
                    .stages
                    .iter()
                    .any(|stage| stage.checkpoint.as_ref().is_some_and(|one| made.contains(one)))
        };
        let others = self.runs.iter().filter(|(other, run)| **other != id && names(run));
        others.map(|(other, _)| *other).collect()
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<RunId> {
        let gone = self.runs.remove(&id)?;
        let RunRecord { run_id, root_run_id, def_hash, .. } = &gone.record;
        Arc::make_mut(&mut self.ids).remove(run_id);
        let lineage = self.lineage(root_run_id);
        lineage.checkpoints.retain(|one| one.run_id != *run_id);
        lineage.locks.retain(|_, run| run != run_id);
        if !self.runs.values().any(|run| run.record.root_run_id == *root_run_id) {
            self.lineages.remove(root_run_id);
        }
        if !self.runs.values().any(|run| run.record.def_hash == *def_hash) {
            self.definitions.remove(def_hash);
        }
        Some(run_id.clone())
    }
}

impl Run {
    fn new(new: &NewRun, run: RunId, root: RunId, number: u64) -> Self {
        let stage = |(order, stage): (u32, &crate::domain::flow::change::NewStage)| {
            Arc::new(Stage {
                name: stage.name.clone(),
                order,
                status: stage.status,
                decision: stage.decision,
                reason: stage.reason,
                source: stage.source.clone(),
                error: None,
                started_at: None,
                ended_at: None,
                retry_at: None,
                checkpoint: stage.checkpoint.clone(),
                attempts: BTreeMap::new(),
                items: BTreeMap::new(),
                recipe: None,
                all_items: None,
                feedback: stage.feedback.clone(),
            })
        };
        Self {
            stages: (0..).zip(&new.stages).map(stage).collect(),
            epoch: 1,
            holder: new.holder.clone(),
            approve_all: new.approve_all,
            time_left: None,
            record: RunRecord {
                run_id: run,
                run_number: number,
                flow: new.flow.clone(),
                def_hash: new.def_hash.clone(),
                status: new.status,
                cause: new.cause,
                trigger: new.trigger,
                inputs: new.inputs.clone(),
                error: None,
                started_at: None,
                ended_at: None,
                duration_seconds: None,
                cost: None,
                parent_run_id: new.parent.clone(),
                root_run_id: root,
                caller_run_id: new.caller.clone(),
                retry_from_stage: new.retry_from.clone(),
                retry_depth: new.retry_depth,
                retry_number: None,
                idempotency_key: new.key.clone(),
                deadline: new.deadline,
                branch: new.branch.clone(),
                created_at: new.created_at,
                stages: None,
                left: false,
                held: None,
                hook: None,
            },
        }
    }
}

pub(super) fn fits(map: &JsonMap, thing: &str) -> Result<(), StoreError> {
    let size: usize = map.iter().map(|(key, value)| key.len() + value.text().len() + 4).sum();
    if size <= MAX_STATE_BYTES {
        return Ok(());
    }
    Err(broken(format!("store {thing}"), format!("{} MiB is the most", MAX_STATE_BYTES >> 20)))
}

pub(super) fn broken(act: String, cause: impl Into<String>) -> StoreError {
    StoreError::Broken { act, cause: cause.into() }
}
