//! A retry: what is known is gathered, the plan is made, and the very plan that was made is what runs.

use std::collections::BTreeMap;

use super::Engine;
use super::desk::Prepared;
use super::load::{fresh_row, store};
use crate::domain::flow::ask::{FlowReply, Planned, RetryWish};
use crate::domain::flow::change::{NewCheckpoint, NewRun, NewStage};
use crate::domain::flow::hashes;
use crate::domain::flow::ids::{BranchName, CheckpointId, Hash, RunId, StageName};
use crate::domain::flow::plan::{Left, Start};
use crate::domain::flow::proceed;
use crate::domain::flow::record::{Artifact, Checkpoint, CheckpointRef, RunRecord, StageRecord};
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::run::RestoredStage;
use crate::domain::flow::status::{Approval, Decision, StageStatus, Trigger};
use crate::domain::json::JsonMap;
use crate::ports::store::Judgement;

/// A retry as the engine carries it out, whoever wished for it.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) run: RunId,
    pub(super) start: Start,
    pub(super) set: JsonMap,
    pub(super) force: bool,
    pub(super) queue: bool,
    pub(super) approve_all: bool,
    pub(super) trigger: Trigger,
    /// Another branch than the parent's.
    pub(super) branch: Option<BranchName>,
    /// These stand in for what the parent left.
    pub(super) instead: Vec<CheckpointId>,
    pub(super) feedback: Option<(StageName, String)>,
    pub(super) who: Option<String>,
}

impl From<&proceed::Again> for Wanted {
    fn from(again: &proceed::Again) -> Self {
        Self {
            start: again.start.clone(),
            trigger: again.trigger,
            branch: Some(again.branch.clone()),
            instead: again.instead.iter().cloned().collect(),
            ..Self::of(again.run.clone())
        }
    }
}

impl Wanted {
    pub(super) fn of(run: RunId) -> Self {
        Self {
            run,
            start: Start::FirstFailure,
            set: JsonMap::new(),
            force: false,
            queue: false,
            approve_all: false,
            trigger: Trigger::Retry,
            branch: None,
            instead: Vec::new(),
            feedback: None,
            who: None,
        }
    }
}

impl Engine {
    pub(super) fn retry(&mut self, wish: RetryWish) -> Result<FlowReply, Refusal> {
        let run = match &wish.branch {
            Some(branch) => {
                let record = self.now(&wish.run)?;
                proceed::run_of(&self.whole(&record)?.lineage(), &record, branch)?
            }
            None => wish.run,
        };
        let again = Wanted {
            start: wish.from.map_or(Start::FirstFailure, Start::At),
            set: wish.set,
            force: wish.force,
            queue: wish.queue,
            approve_all: wish.approve_all,
            ..Wanted::of(run)
        };
        if wish.dry_run {
            return Ok(FlowReply::Plan(self.plan_again(&again, true)?.plan));
        }
        self.run_again(&again)
    }

    pub(super) fn run_again(&mut self, again: &Wanted) -> Result<FlowReply, Refusal> {
        let prepared = self.plan_again(again, true)?;
        let Prepared { parent, flow, graph, inputs, left, plan, status } = prepared;
        let mut planned: BTreeMap<StageName, Planned> =
            plan.stages.into_iter().map(|one| (one.stage.clone(), one)).collect();
        let parent_rows: BTreeMap<&StageName, &StageRecord> =
            parent.stages.iter().flatten().map(|row| (&row.name, row)).collect();
        let (mut stages, mut rows) = (Vec::new(), Vec::new());
        for (order, spec) in flow.stages.iter().enumerate() {
            let Some(planned) = planned.remove(&spec.name) else { continue };
            let place = graph.index(&spec.name);
            let left = place.and_then(|place| left.get(place));
            let row =
                self.row_of(order, planned, parent_rows.get(&spec.name).copied(), left, &parent, again)?;
            stages.push(NewStage {
                name: row.record.name.clone(),
                decision: row.record.decision,
                reason: row.record.reason,
                status: row.record.status,
                source: row.record.source_run_id.clone(),
                checkpoint: row.checkpoint.as_ref().map(|checkpoint| checkpoint.id.clone()),
                feedback: row.record.feedback.clone(),
            });
            rows.push(row);
        }
        let new = self.new_run(&flow, status, again.trigger, inputs)?;
        let new = NewRun {
            parent: Some(parent.run_id.clone()),
            root: Some(parent.root_run_id.clone()),
            retry_from: Some(plan.from),
            retry_depth: plan.retry_depth,
            branch: parent.branch.clone(),
            approve_all: again.approve_all,
            stages,
            ..new
        };
        self.start(new, &flow, rows)
    }

    /// What the new run has of a stage before it begins.
    fn row_of(
        &mut self,
        order: usize,
        planned: Planned,
        before: Option<&StageRecord>,
        left: Option<&Left>,
        parent: &RunRecord,
        again: &Wanted,
    ) -> Result<RestoredStage, Refusal> {
        let mut record = fresh_row(planned.stage.clone(), order, planned.decision);
        record.reason = Some(planned.reason);
        if planned.decision == Decision::Execute {
            let feedback = again.feedback.as_ref().filter(|(stage, _)| *stage == planned.stage);
            record.feedback = feedback.map(|(_, text)| text.clone());
            return Ok(RestoredStage { record, checkpoint: None });
        }
        let checkpoint = match left {
            Some(Left::Checkpoint(checkpoint)) => Some(Checkpoint::clone(checkpoint)),
            Some(Left::Unreadable { previous, .. }) => previous.as_deref().cloned(),
            Some(Left::Outputs { outputs, artifacts }) => {
                Some(self.rebuild(parent, &planned, outputs, artifacts)?)
            }
            Some(Left::Nothing) | None => None,
        };
        record.source_run_id = planned.source_run_id.or_else(|| Some(parent.run_id.clone()));
        record.status = match &checkpoint {
            Some(checkpoint) if checkpoint.approval == Approval::Pending => {
                self.take_on(checkpoint, again)?
            }
            Some(checkpoint) => checkpoint.status,
            None => before.map_or(StageStatus::Skipped, |before| before.status),
        };
        record.checkpoint = checkpoint.as_ref().map(reference);
        Ok(RestoredStage { record, checkpoint })
    }

    /// Somebody who edits a stage and retries has approved the edit; what nobody has looked at asks again.
    fn take_on(&mut self, checkpoint: &Checkpoint, again: &Wanted) -> Result<StageStatus, Refusal> {
        if checkpoint.edited_from.is_none() && !again.approve_all {
            return Ok(StageStatus::Waiting);
        }
        let who = again.who.clone().or_else(|| checkpoint.created_by.clone());
        let judgement = Judgement {
            checkpoint: checkpoint.id.clone(),
            hash: checkpoint.hash.clone(),
            from: Approval::Pending,
            to: Approval::Approved,
            who: who.unwrap_or_else(|| "retry".into()),
            at: self.clock.now().wall,
            note: Some("by a retry".into()),
        };
        self.store.judge(&checkpoint.root_run_id, &judgement).map_err(|error| store(&error))?;
        Ok(checkpoint.status)
    }

    /// A checkpoint for what ran before checkpoints were kept.
    fn rebuild(
        &mut self,
        parent: &RunRecord,
        planned: &Planned,
        outputs: &JsonMap,
        artifacts: &[Artifact],
    ) -> Result<Checkpoint, Refusal> {
        let new = NewCheckpoint {
            stage: planned.stage.clone(),
            branch: parent.branch.clone(),
            parent: None,
            status: StageStatus::Succeeded,
            approval: Approval::Approved,
            hash: hashes::checkpoint(outputs, artifacts),
            recipe: None,
            // What it was made from was not recorded: it is taken for made from what the run has, and later retries can
            // tell whether that has changed.
            input: planned.input.clone().unwrap_or_else(|| Hash::of(["rebuilt"])),
            outputs: outputs.clone(),
            artifacts: artifacts.to_vec(),
            created_at: self.clock.now().wall,
            created_by: None,
            edited_from: None,
            approved_by: None,
            approved_at: None,
            note: Some("rebuilt from the outputs on record".into()),
        };
        let root = &parent.root_run_id;
        let id = self.store.add_checkpoint(root, &parent.run_id, &new, &[]).map_err(|error| store(&error))?;
        Ok(new.named(id, root.clone(), parent.run_id.clone()))
    }
}

pub(super) fn reference(checkpoint: &Checkpoint) -> CheckpointRef {
    CheckpointRef {
        id: checkpoint.id.clone(),
        parent: checkpoint.parent.clone(),
        version: checkpoint.id.version,
        branch: checkpoint.branch.clone(),
        approval: checkpoint.approval,
    }
}
