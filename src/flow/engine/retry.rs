//! A retry: what is known is gathered, the plan is made, and the very plan that was made is what runs.

use std::collections::BTreeMap;

use super::Engine;
use super::load::{fresh_row, store};
use crate::domain::flow::ask::{FlowReply, Plan, Planned, RetryWish};
use crate::domain::flow::change::{NewCheckpoint, NewRun, NewStage};
use crate::domain::flow::graph::Graph;
use crate::domain::flow::ids::{BranchName, CheckpointId, Hash, RunId, StageName};
use crate::domain::flow::plan::{self, Facts, Left, Oracle, Start, Wish};
use crate::domain::flow::proceed;
use crate::domain::flow::record::{Artifact, Checkpoint, CheckpointRef, RunFilter, RunRecord, StageRecord};
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::run::RestoredStage;
use crate::domain::flow::spec::FlowSpec;
use crate::domain::flow::status::{Approval, Decision, RunStatus, StageStatus, Trigger};
use crate::domain::flow::{hashes, inputs};
use crate::domain::json::JsonMap;
use crate::flow::objects::Objects;
use crate::flow::recipe::Recipes;
use crate::ports::store::{Judgement, Store};

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

/// Everything that a plan is made from, and the plan.
pub(super) struct Prepared {
    parent: RunRecord,
    flow: std::sync::Arc<FlowSpec>,
    graph: Graph,
    inputs: JsonMap,
    left: Vec<Left>,
    plan: Plan,
    held: bool,
}

impl Engine {
    pub(super) fn retry(&mut self, wish: RetryWish) -> Result<FlowReply, Refusal> {
        let again = Wanted {
            start: wish.from.map_or(Start::FirstFailure, Start::At),
            set: wish.set,
            force: wish.force,
            queue: wish.queue,
            approve_all: wish.approve_all,
            ..Wanted::of(wish.run)
        };
        if wish.dry_run {
            return Ok(FlowReply::Plan(self.plan_again(&again, true)?.plan));
        }
        self.run_again(again)
    }

    /// `thorough`: the bytes of artifacts are looked at, not only whether they are there.
    pub(super) fn plan_again(&mut self, again: &Wanted, thorough: bool) -> Result<Prepared, Refusal> {
        let mut parent = self.now(&again.run)?;
        let flow = self.flow(&parent.flow)?;
        let graph = Graph::of(&flow).map_err(|error| Refusal::Unusable {
            message: format!("retry {}: {error}", again.run),
            hint: Some("`restage check` shows where".into()),
        })?;
        if let Some(branch) = &again.branch {
            parent.branch = branch.clone();
        }
        let inputs = inputs::of_retry(&flow, &parent.inputs, &again.set)?;
        let root = parent.root_run_id.clone();
        let left = self.left(&parent, &graph, &again.instead)?;
        let filter = RunFilter { root: Some(root.clone()), ..RunFilter::default() };
        let lineage = self.store.runs(&filter).map_err(|error| store(&error))?;
        let held = self.store.lock(&root, &parent.branch).map_err(|error| store(&error))?;
        let holder = held.map(|held| held.run).filter(|holder| *holder != parent.run_id);
        let facts = Facts {
            flow: &flow,
            graph: &graph,
            parent: &parent,
            inputs: &inputs,
            left: &left,
            lineage: &lineage,
            holder: holder.as_ref().filter(|_| !again.queue),
        };
        let wish = Wish { start: again.start.clone(), force: again.force };
        let mut oracle = Sight {
            flow: &flow,
            recipes: Recipes::new(&self.root),
            objects: &self.objects,
            store: self.store.as_mut(),
            root: &root,
            thorough,
        };
        let plan = plan::plan(&facts, &wish, &mut oracle)?;
        Ok(Prepared { held: holder.is_some(), plan, left, inputs, graph, flow, parent })
    }

    pub(super) fn run_again(&mut self, again: Wanted) -> Result<FlowReply, Refusal> {
        let prepared = self.plan_again(&again, true)?;
        let Prepared { parent, flow, graph, inputs, left, plan, held } = prepared;
        let status = if held { RunStatus::Queued } else { RunStatus::Running };
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
                self.row_of(order, planned, parent_rows.get(&spec.name).copied(), left, &parent, &again)?;
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
            input: Hash::of(["rebuilt"]),
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
        let id = self.store.add_checkpoint(root, &parent.run_id, &new).map_err(|error| store(&error))?;
        let made = self.store.checkpoint(root, &id).map_err(|error| store(&error))?;
        made.ok_or_else(|| Refusal::Store(format!("{id} was written and is not there")))
    }

    /// What the parent left of each of today's stages: what its row names, or the newest edit of that.
    fn left(
        &mut self,
        parent: &RunRecord,
        graph: &Graph,
        instead: &[CheckpointId],
    ) -> Result<Vec<Left>, Refusal> {
        let root = &parent.root_run_id;
        let (all, _) = self.store.checkpoints(root).map_err(|error| store(&error))?;
        let by_id: BTreeMap<&CheckpointId, &Checkpoint> = all.iter().map(|one| (&one.id, one)).collect();
        let mut edits: BTreeMap<&CheckpointId, &Checkpoint> = BTreeMap::new();
        for one in all.iter().filter(|one| one.branch == parent.branch) {
            if let Some(from) = &one.edited_from {
                edits.insert(from, one);
            }
        }
        let mut left = vec![Left::Nothing; graph.len()];
        for row in parent.stages.iter().flatten() {
            let Some(place) = graph.index(&row.name) else { continue };
            let named = row.checkpoint.as_ref().map(|checkpoint| &checkpoint.id);
            let named = instead.iter().find(|id| id.stage == row.name).or(named);
            left[place] = match named {
                None => match &row.outputs {
                    Some(outputs) if row.status.is_good() => {
                        Left::Outputs { outputs: outputs.clone(), artifacts: row.artifacts.clone() }
                    }
                    Some(_) | None => Left::Nothing,
                },
                Some(id) => {
                    let mut newest = id;
                    while let Some(edit) = edits.get(newest) {
                        newest = &edit.id;
                    }
                    match by_id.get(newest) {
                        Some(found) if found.approval == Approval::Rejected => Left::Nothing,
                        Some(found) => Left::Checkpoint(Box::new(Checkpoint::clone(found))),
                        None => Left::Unreadable {
                            id: newest.clone(),
                            why: self.why_unreadable(root, newest),
                            previous: previous(&all, newest).map(Box::new),
                        },
                    }
                }
            };
        }
        Ok(left)
    }

    fn why_unreadable(&mut self, root: &RunId, id: &CheckpointId) -> String {
        match self.store.checkpoint(root, id) {
            Ok(_) => "it is not there".into(),
            Err(error) => error.to_string(),
        }
    }
}

/// The newest version before one that cannot be read.
fn previous(all: &[Checkpoint], id: &CheckpointId) -> Option<Checkpoint> {
    let earlier = all.iter().filter(|one| one.id.stage == id.stage && one.id.version < id.version);
    earlier.max_by_key(|one| one.id.version).cloned()
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

/// The world, as far as a plan has to look at it.
struct Sight<'a> {
    flow: &'a FlowSpec,
    recipes: Recipes,
    objects: &'a Objects,
    store: &'a mut dyn Store,
    root: &'a RunId,
    thorough: bool,
}

impl Oracle for Sight<'_> {
    fn recipe(&mut self, stage: usize) -> Hash {
        self.recipes.of(&self.flow.stages[stage]).hash()
    }

    fn verify(&mut self, _stage: usize, artifacts: &[Artifact]) -> Result<(), String> {
        artifacts.iter().try_for_each(|artifact| {
            if self.thorough {
                return self.objects.verify(artifact).map_err(|error| error.to_string());
            }
            let found = std::fs::metadata(self.objects.path(&artifact.hash));
            let whole = found.is_ok_and(|found| found.len() == artifact.size);
            if whole { Ok(()) } else { Err(format!("{} is not there", artifact.name)) }
        })
    }

    fn retries(&mut self, checkpoint: &CheckpointId) -> u32 {
        self.store.retries_of(self.root, checkpoint).unwrap_or_else(|error| {
            tracing::warn!(%checkpoint, %error, "count the retries of a checkpoint");
            0
        })
    }
}
