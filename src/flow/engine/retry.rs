//! A retry: what is known is gathered, the plan is made, and the very plan that was made is what runs.

use std::collections::BTreeMap;

use super::Engine;
use super::desk::{Desk, Prepared};
use super::load::{fresh_row, store};
use crate::domain::flow::ask::{FlowReply, FlowRequest, Plan, Planned, RetryWish};
use crate::domain::flow::change::{NewCheckpoint, NewRun, NewStage};
use crate::domain::flow::hashes;
use crate::domain::flow::ids::{BranchName, CheckpointId, Hash, RunId, StageName};
use crate::domain::flow::plan::{Left, Start, queued};
use crate::domain::flow::proceed;
use crate::domain::flow::record::{Artifact, Checkpoint, CheckpointRef, RunRecord, StageRecord};
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::run::RestoredStage;
use crate::domain::flow::sent_back;
use crate::domain::flow::status::{Approval, Cause, Decision, StageStatus};
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
    pub(super) cause: Cause,
    /// Another branch than the parent's.
    pub(super) branch: Option<BranchName>,
    /// These stand in for what the parent left.
    pub(super) instead: Vec<CheckpointId>,
    /// Is approved before the run begins.
    pub(super) takes_on: Option<CheckpointId>,
    pub(super) who: Option<String>,
    /// The plan that somebody looked at; another one is not carried out.
    pub(super) seen: Option<Hash>,
}

impl From<&proceed::Again> for Wanted {
    fn from(again: &proceed::Again) -> Self {
        Self {
            start: again.start.clone(),
            cause: again.cause,
            branch: Some(again.branch.clone()),
            instead: again.instead.iter().cloned().collect(),
            takes_on: again.approve.as_ref().map(|(checkpoint, _)| checkpoint.clone()),
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
            cause: Cause::Retry,
            branch: None,
            instead: Vec::new(),
            takes_on: None,
            who: None,
            seen: None,
        }
    }
}

impl Desk<'_> {
    /// What a retry would do.
    pub fn plan(&mut self, wish: RetryWish) -> Result<Plan, Refusal> {
        let again = self.wanted(wish)?;
        Ok(self.plan_again(&again, true)?.plan)
    }

    /// Why nothing would come of what sets something going.
    pub fn refuse(&mut self, request: &FlowRequest, thorough: bool) -> Result<(), Refusal> {
        if let FlowRequest::Retry(wish) = request {
            let again = self.wanted(wish.clone())?;
            self.plan_again(&again, thorough)?;
        } else if let FlowRequest::Continue(wish) = request {
            self.continuation(wish, thorough)?;
        }
        Ok(())
    }

    fn wanted(&mut self, wish: RetryWish) -> Result<Wanted, Refusal> {
        let run = match &wish.branch {
            Some(branch) => {
                let record = self.now(&wish.run)?;
                let whole = self.whole(&record)?;
                proceed::run_of(&whole.lineage(), &record, branch, &mut self.ahead(false))?
            }
            None => wish.run,
        };
        Ok(Wanted {
            start: wish.from.map_or(Start::FirstFailure, Start::At),
            set: wish.set,
            force: wish.force,
            queue: wish.queue,
            approve_all: wish.approve_all,
            who: wish.who,
            seen: wish.seen,
            ..Wanted::of(run)
        })
    }
}

impl Desk<'_> {
    /// One that waits its turn to do the very same is enough.
    pub(super) fn not_queued_already(
        &mut self,
        prepared: &Prepared,
        lineage: &[RunRecord],
    ) -> Result<(), Refusal> {
        let Prepared { parent, flow, inputs, sent_back, plan, .. } = prepared;
        let alike: Vec<&RunId> = lineage
            .iter()
            .filter(|run| queued::may_be_same(parent, inputs, plan, run))
            .map(|run| &run.run_id)
            .collect();
        if alike.is_empty() {
            return Ok(());
        }
        // What cannot be written down as a definition is told when it is to be.
        let Ok((_, definition)) = hashes::definition(flow) else { return Ok(()) };
        let once = queued::Once { parent, inputs, plan, definition: &definition, sent_back };
        for id in alike {
            if queued::is_same(&once, &self.now(id)?) {
                let (run, from) = (parent.run_id.clone(), plan.from.clone());
                return Err(Refusal::QueuedAlready { run, queued: id.clone(), from });
            }
        }
        Ok(())
    }
}

impl Engine {
    pub(super) fn retry(&mut self, wish: RetryWish) -> Result<FlowReply, Refusal> {
        if wish.dry_run {
            return Ok(FlowReply::Plan(self.desk().plan(wish)?));
        }
        let again = self.desk().wanted(wish)?;
        self.run_again(&again)
    }

    pub(super) fn run_again(&mut self, again: &Wanted) -> Result<FlowReply, Refusal> {
        let prepared = self.plan_again(again, true)?;
        self.has_read()?;
        self.reads.all_here();
        if again.seen.as_ref().is_some_and(|seen| *seen != prepared.plan.hash()) {
            return Ok(FlowReply::Plan(prepared.plan));
        }
        let Prepared { parent, flow, graph, inputs, left, sent_back, plan, status } = prepared;
        let mut planned: BTreeMap<StageName, Planned> =
            plan.stages.into_iter().map(|one| (one.stage.clone(), one)).collect();
        let parent_rows: BTreeMap<&StageName, &StageRecord> =
            parent.stages.iter().flatten().map(|row| (&row.name, row)).collect();
        let (mut stages, mut rows) = (Vec::new(), Vec::new());
        for (order, spec) in flow.stages.iter().enumerate() {
            let Some(planned) = planned.remove(&spec.name) else { continue };
            let place = graph.index(&spec.name);
            let left = place.and_then(|place| left.get(place));
            let before = parent_rows.get(&spec.name).copied();
            let feedback = sent_back::feedback(&sent_back, &spec.name, before);
            let mut row = self.row_of(order, planned, before, left, &parent, again)?;
            if row.record.decision == Decision::Execute {
                row.record.feedback = feedback;
            }
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
        let new = self.new_run(&flow, status, again.cause, inputs)?;
        let new = NewRun {
            trigger: parent.trigger,
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
                self.take_on(checkpoint, parent, again)?
            }
            Some(checkpoint) => checkpoint.status,
            None => before.map_or(StageStatus::Skipped, |before| before.status),
        };
        record.checkpoint = checkpoint.as_ref().map(reference);
        Ok(RestoredStage { record, checkpoint })
    }

    /// A retry takes edits on, as its plan says; what nobody has looked at asks again. So does everything but what was
    /// named where somebody goes on behind a checkpoint.
    fn take_on(
        &mut self,
        checkpoint: &Checkpoint,
        parent: &RunRecord,
        again: &Wanted,
    ) -> Result<StageStatus, Refusal> {
        let goes_on_behind = matches!(again.start, Start::After(_) | Start::Fork(_));
        if (checkpoint.edited_from.is_none() || goes_on_behind) && !again.approve_all {
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
            note: Some(format!("taken on by a retry of {}", again.run)),
            rewind_to: None,
        };
        self.take_on_checkpoint(parent, judgement)?;
        self.write_now()?;
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
        let id = self
            .scribe
            .store()
            .add_checkpoint(root, &parent.run_id, &new, &[])
            .map_err(|error| store(&error))?;
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
