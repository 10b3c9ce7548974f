//! What is known of runs, looked at: their records, what is under way of them, the plan that a retry would make, and
//! where branches stand. The engine decides by it; a verb that only looks uses it where no engine lives, too, so that both
//! say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::Engine;
use super::ahead::AT_A_GLANCE;
use super::begin::{Unfinished, beside_others};
use super::load::{store, unreadable, unusable};
use super::reading::Reads;
use super::retry::{Wanted, reference};
use crate::domain::flow::ask::{BranchView, FlowReply, Plan, Shown};
use crate::domain::flow::graph::Graph;
use crate::domain::flow::ids::{BranchName, CheckpointId, FlowName, Hash, RunId};
use crate::domain::flow::plan::{self, Facts, Left, Start, Wish};
use crate::domain::flow::proceed;
use crate::domain::flow::record::{Branch, Checkpoint, RunFilter, RunRecord};
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::sent_back::{self, SentBack};
use crate::domain::flow::spec::{EnvValue, FlowSpec};
use crate::domain::flow::status::{Approval, RunStatus};
use crate::domain::flow::tree::{Lineage, newest};
use crate::domain::flow::{hashes, inputs};
use crate::domain::json::JsonMap;
use crate::flow::objects::Objects;
use crate::flow::recipe::Recipes;
use crate::ports::store::{Store, StoredRun, unread};

mod sight;

use sight::Sight;

/// Where somebody looks from.
pub struct Desk<'a> {
    store: &'a mut dyn Store,
    pub(super) objects: &'a Objects,
    root: &'a Path,
    /// Those of today's config.
    flows: &'a BTreeMap<FlowName, Arc<FlowSpec>>,
    /// None where no engine lives.
    unfinished: Option<Unfinished<'a>>,
    /// Nobody carries out what is under way by the records.
    lies: bool,
    pub(super) reads: Option<&'a mut Reads>,
    /// A run that was read a moment ago, for whoever asks for it first.
    ahead: Option<StoredRun>,
}

impl std::fmt::Debug for Desk<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("root", &self.root).finish_non_exhaustive()
    }
}

/// All that a lineage has, as it is now.
#[derive(Debug)]
pub struct Whole {
    checkpoints: Vec<Checkpoint>,
    branches: Vec<Branch>,
    runs: Vec<RunRecord>,
}

impl Whole {
    pub fn lineage(&self) -> Lineage<'_> {
        Lineage { checkpoints: &self.checkpoints, branches: &self.branches, runs: &self.runs }
    }

    pub(super) fn runs(&self) -> &[RunRecord] {
        &self.runs
    }
}

/// Everything that a plan is made from, and the plan.
pub(super) struct Prepared {
    pub(super) parent: RunRecord,
    pub(super) flow: Arc<FlowSpec>,
    pub(super) graph: Graph,
    pub(super) inputs: JsonMap,
    pub(super) left: Vec<Left>,
    pub(super) sent_back: Vec<SentBack>,
    pub(super) plan: Plan,
    /// Running, or queued where it waits for another.
    pub(super) status: RunStatus,
}

impl<'a> Desk<'a> {
    /// From the records only. `lies`: nobody supervises.
    pub fn alone(
        store: &'a mut dyn Store,
        objects: &'a Objects,
        root: &'a Path,
        flows: &'a BTreeMap<FlowName, Arc<FlowSpec>>,
        lies: bool,
    ) -> Self {
        Self { store, objects, root, flows, unfinished: None, lies, reads: None, ahead: None }
    }

    #[must_use]
    pub fn with(self, ahead: Option<StoredRun>) -> Self {
        Self { ahead, ..self }
    }

    pub fn show(&mut self, id: &RunId) -> Result<Shown, Refusal> {
        let run = self.now(id)?;
        let branches = self.branch_views(&run)?;
        Ok(Shown { run, branches })
    }

    /// All checkpoints of the lineage.
    pub fn checkpoints(&mut self, id: &RunId) -> Result<FlowReply, Refusal> {
        let record = self.now(id)?;
        let branches = self.branch_views(&record)?;
        let (checkpoints, _) = self.store.checkpoints(&record.root_run_id).map_err(|error| store(&error))?;
        Ok(FlowReply::Checkpoints { checkpoints, branches })
    }

    /// A run as it is at this moment.
    pub fn now(&mut self, id: &RunId) -> Result<RunRecord, Refusal> {
        self.look(id).map(|stored| stored.record)
    }

    fn look(&mut self, id: &RunId) -> Result<StoredRun, Refusal> {
        let mut stored = self.stored(id)?;
        if let Some(active) = self.unfinished.and_then(|runs| runs.active.get(id)) {
            active.overlay_all(&mut stored.record);
        }
        stored.record.left = self.lies && stored.record.status.is_under_way();
        Ok(stored)
    }

    fn stored(&mut self, id: &RunId) -> Result<StoredRun, Refusal> {
        if let Some(stored) = self.ahead.take_if(|stored| stored.record.run_id == *id) {
            return Ok(stored);
        }
        self.store
            .run(id)
            .map_err(|error| store(&error))?
            .ok_or_else(|| Refusal::UnknownRun { run: id.to_string(), near: self.near(id) })
    }

    /// The flow as it was when the run began, with the secrets of today where they are the same.
    pub fn definition(&mut self, record: &RunRecord) -> Result<FlowSpec, Refusal> {
        read_definition(self.store, self.flows.get(&record.flow).map(AsRef::as_ref), record)
    }

    /// The newest run of each branch, and this one, with their stages.
    pub fn whole(&mut self, of: &RunRecord) -> Result<Whole, Refusal> {
        let root = &of.root_run_id;
        let failed = |error| store(&error);
        let (checkpoints, _) = self.store.checkpoints(root).map_err(failed)?;
        let branches = self.store.branches(root).map_err(failed)?;
        let filter = RunFilter { root: Some(root.clone()), ..RunFilter::default() };
        let mut runs = self.store.runs(&filter).map_err(failed)?;
        let mut seen = BTreeSet::new();
        let shown: Vec<RunId> = {
            let mut sorted: Vec<&RunRecord> = runs.iter().collect();
            sorted.sort_by_key(|run| std::cmp::Reverse(newest(run)));
            let first = sorted.into_iter().filter(|run| seen.insert(run.branch.clone()));
            first.map(|run| run.run_id.clone()).collect()
        };
        for run in &mut runs {
            if shown.contains(&run.run_id) || run.run_id == of.run_id {
                *run = self.now(&run.run_id)?;
            }
        }
        Ok(Whole { checkpoints, branches, runs })
    }

    pub(super) fn branch_views(&mut self, record: &RunRecord) -> Result<Vec<BranchView>, Refusal> {
        let whole = self.whole(record)?;
        Ok(proceed::branch_views(&whole.lineage(), &mut self.ahead(false)))
    }

    /// `thorough`: the bytes of artifacts are read whatever they are; else as far as that takes no time.
    pub(super) fn plan_again(&mut self, again: &Wanted, thorough: bool) -> Result<Prepared, Refusal> {
        let StoredRun { record: mut parent, unreadable, .. } = self.look(&again.run)?;
        if let Some(why) = unreadable.filter(|_| parent.status.is_final()) {
            return Err(Refusal::Unusable {
                message: unread(&why),
                hint: Some(format!("what it did stays on record; begin anew: restage run {}", parent.flow)),
            });
        }
        let flow = flow(self.flows, &parent.flow)?;
        let graph = Graph::of(&flow).map_err(|error| Refusal::Unusable {
            message: error.to_string(),
            hint: Some("`restage check` shows where".into()),
        })?;
        if let Some(branch) = &again.branch {
            parent.branch = branch.clone();
        }
        let inputs = inputs::of_retry(&flow, &parent.run_id, &parent.inputs, &again.set)?;
        let root = parent.root_run_id.clone();
        let (all, _) = self.store.checkpoints(&root).map_err(|error| store(&error))?;
        let lineage = Lineage { checkpoints: &all, branches: &[], runs: &[] };
        let forks = matches!(again.start, Start::Fork(_));
        let at = again.instead.first().filter(|_| forks).and_then(|id| lineage.checkpoint(id));
        if let Some(at) = at {
            stand_at(&mut parent, &lineage, at);
        }
        // Where somebody goes on behind a checkpoint, nothing is begun anew.
        let sent_back = match again.start {
            Start::FirstFailure | Start::At(_) | Start::Rejected(_) => sent_back::of(&lineage, &parent),
            Start::After(_) | Start::Fork(_) => Vec::new(),
        };
        let left = self.left(&parent, &graph, &again.instead, &all);
        let filter = RunFilter { root: Some(root.clone()), ..RunFilter::default() };
        let lineage = self.store.runs(&filter).map_err(|error| store(&error))?;
        let held = self.store.lock(&root, &parent.branch).map_err(|error| store(&error))?;
        let is_other = |run: &RunId| *run != parent.run_id;
        // One that waits for its turn beside other runs of the flow has the branch as much as one that is under way.
        let waits = |run: &&RunRecord| run.status == RunStatus::Queued && run.branch == parent.branch;
        let waiting = lineage.iter().filter(waits).map(|run| run.run_id.clone()).find(is_other);
        let holder = held.map(|held| held.run).filter(is_other).or(waiting);
        let facts = Facts {
            flow: &flow,
            graph: &graph,
            parent: &parent,
            inputs: &inputs,
            left: &left,
            sent_back: &sent_back,
            lineage: &lineage,
            takes_on: again.takes_on.as_ref(),
            holder: holder.as_ref().filter(|_| !again.queue),
        };
        let wish = Wish { start: again.start.clone(), force: again.force };
        let mut oracle = Sight {
            flow: &flow,
            recipes: Recipes::new(self.root),
            objects: self.objects,
            store: &mut *self.store,
            root: &root,
            branch: &parent.branch,
            folder: self.root,
            parent: &parent,
            lineage: &lineage,
            definitions: BTreeMap::new(),
            thorough,
            reads: self.reads.as_deref_mut(),
            may_read: AT_A_GLANCE,
        };
        let plan = plan::plan(&facts, &wish, &mut oracle)?;
        // Who waits for another of the lineage begins after that, and not beside it.
        let status = match holder {
            Some(_) => RunStatus::Queued,
            None => beside_others(self.unfinished, &flow)?,
        };
        let prepared = Prepared { parent, flow, graph, inputs, left, sent_back, plan, status };
        self.not_queued_already(&prepared, &lineage)?;
        Ok(prepared)
    }

    /// What a stage would be made from on a branch that has not run yet and stands on this. `None`: there is no telling.
    pub(super) fn input_on(&mut self, fork: &BranchName, at: &Checkpoint) -> Option<Hash> {
        let mut parent = self.now(&at.run_id).ok()?;
        let flow = flow(self.flows, &parent.flow).ok()?;
        let graph = Graph::of(&flow).ok()?;
        parent.branch = fork.clone();
        let inputs = inputs::of_retry(&flow, &parent.run_id, &parent.inputs, &JsonMap::new()).ok()?;
        let (all, _) = self.store.checkpoints(&parent.root_run_id).ok()?;
        stand_at(&mut parent, &Lineage { checkpoints: &all, branches: &[], runs: &[] }, at);
        let left = self.left(&parent, &graph, &[], &all);
        let facts = Facts {
            flow: &flow,
            graph: &graph,
            parent: &parent,
            inputs: &inputs,
            left: &left,
            sent_back: &[],
            lineage: &[],
            takes_on: None,
            holder: None,
        };
        plan::standing::input(&facts, &at.id.stage)
    }

    /// What the parent left of each of today's stages: what its row names, or the newest edit of that.
    fn left(
        &mut self,
        parent: &RunRecord,
        graph: &Graph,
        instead: &[CheckpointId],
        all: &[Checkpoint],
    ) -> Vec<Left> {
        let root = &parent.root_run_id;
        let (all, damaged): (Vec<_>, Vec<_>) = all.iter().cloned().partition(Checkpoint::is_whole);
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
            let exact = instead.iter().find(|id| id.stage == row.name);
            let named = exact.or(named);
            left[place] = match named {
                None => match &row.outputs {
                    Some(outputs) if row.status.is_good() => {
                        Left::Outputs { outputs: outputs.clone(), artifacts: row.artifacts.clone() }
                    }
                    Some(_) | None => Left::Nothing,
                },
                Some(id) => {
                    let mut newest = id;
                    while let Some(edit) = edits.get(newest).filter(|_| exact.is_none()) {
                        newest = &edit.id;
                    }
                    match by_id.get(newest) {
                        Some(found) if found.approval == Approval::Rejected => Left::Nothing,
                        Some(found) => Left::Checkpoint(Box::new(Checkpoint::clone(found))),
                        None => Left::Unreadable {
                            id: newest.clone(),
                            why: if damaged.iter().any(|one| one.id == *newest) {
                                "what it holds is not what was written".into()
                            } else {
                                self.why_unreadable(root, newest)
                            },
                            previous: self.previous(parent, &all, newest),
                        },
                    }
                }
            };
        }
        left
    }

    fn why_unreadable(&mut self, root: &RunId, id: &CheckpointId) -> String {
        match self.store.checkpoint(root, id) {
            Ok(_) => "it is not there".into(),
            Err(error) => error.to_string(),
        }
    }

    fn previous(
        &mut self,
        parent: &RunRecord,
        all: &[Checkpoint],
        id: &CheckpointId,
    ) -> Option<Box<Checkpoint>> {
        let branches = self.store.branches(&parent.root_run_id).unwrap_or_default();
        let lineage = Lineage { checkpoints: all, branches: &branches, runs: &[] };
        lineage.before(&parent.branch, id).cloned().map(Box::new)
    }

    fn near(&mut self, id: &RunId) -> Vec<RunId> {
        let flow = id.as_str().rsplit_once('-').map_or(id.as_str(), |(flow, _)| flow);
        let filter = RunFilter { flow: Some(FlowName::trusted(flow)), limit: Some(3), ..Default::default() };
        let runs = self.store.runs(&filter).unwrap_or_default();
        runs.into_iter().map(|run| run.run_id).collect()
    }
}

fn read_definition(
    from: &mut dyn Store,
    today: Option<&FlowSpec>,
    record: &RunRecord,
) -> Result<FlowSpec, Refusal> {
    let text = from.definition(&record.def_hash).map_err(|error| unreadable(record, &error))?;
    let text = text.ok_or_else(|| unusable(record, "its definition is not on record"))?;
    let mut spec: FlowSpec = serde_json::from_str(&text)
        .map_err(|error| unusable(record, &format!("its definition cannot be read: {error}")))?;
    if let Some(today) = today {
        fill_in(&mut spec.env, &today.env);
        for stage in &mut spec.stages {
            if let Some(same) = today.stages.iter().find(|one| one.name == stage.name) {
                fill_in(&mut stage.env, &same.env);
            }
        }
    }
    Ok(spec)
}

/// The secrets of today where they are those whose hashes are on record.
fn fill_in(env: &mut BTreeMap<String, EnvValue>, today: &BTreeMap<String, EnvValue>) {
    for (name, value) in env {
        if let Some(secret) = today.get(name)
            && hashes::recorded(secret) == *value
        {
            *value = secret.clone();
        }
    }
}

/// A branch leaves a run where that stood when the checkpoint was made, however it may have gone on since.
fn stand_at(parent: &mut RunRecord, lineage: &Lineage<'_>, at: &Checkpoint) {
    let Some(at) = lineage.checkpoint(&at.id) else { return };
    for (place, one) in lineage.stood_at(at).into_iter().enumerate() {
        let row = parent.stages.iter_mut().flatten().find(|row| row.name == one.id.stage);
        let Some(row) = row else { continue };
        // What came to be since then is no longer of this branch; of what was there already, the run knows best.
        let is_known = |seen: &CheckpointId| seen.version <= one.id.version;
        if place > 0 && row.checkpoint.as_ref().is_some_and(|seen| is_known(&seen.id)) {
            continue;
        }
        row.status = one.status;
        row.checkpoint = Some(reference(one));
    }
}

impl Engine {
    pub(super) fn desk(&mut self) -> Desk<'_> {
        Desk {
            store: self.scribe.store(),
            objects: &self.objects,
            root: &self.root,
            flows: &self.flows,
            unfinished: Some(Unfinished { active: &self.active, unresumed: &self.unresumed }),
            lies: self.lying.is_some(),
            reads: Some(&mut self.reads),
            ahead: None,
        }
    }

    pub(super) fn show(&mut self, id: &RunId) -> Result<FlowReply, Refusal> {
        let Shown { run, branches } = self.desk().show(id)?;
        Ok(FlowReply::Shown(Box::new(Shown { run: self.with_held(run), branches })))
    }

    pub(super) fn checkpoints(&mut self, id: &RunId) -> Result<FlowReply, Refusal> {
        self.desk().checkpoints(id)
    }

    pub(super) fn now(&mut self, id: &RunId) -> Result<RunRecord, Refusal> {
        self.desk().now(id)
    }

    pub(super) fn stored(&mut self, id: &RunId) -> Result<StoredRun, Refusal> {
        self.desk().stored(id)
    }

    pub(super) fn definition(&mut self, record: &RunRecord) -> Result<FlowSpec, Refusal> {
        self.desk().definition(record)
    }

    pub(super) fn flow(&self, name: &FlowName) -> Result<Arc<FlowSpec>, Refusal> {
        flow(&self.flows, name)
    }

    pub(super) fn whole(&mut self, of: &RunRecord) -> Result<Whole, Refusal> {
        self.desk().whole(of)
    }

    pub(super) fn plan_again(&mut self, again: &Wanted, thorough: bool) -> Result<Prepared, Refusal> {
        self.desk().plan_again(again, thorough)
    }
}

fn flow(flows: &BTreeMap<FlowName, Arc<FlowSpec>>, name: &FlowName) -> Result<Arc<FlowSpec>, Refusal> {
    flows.get(name).cloned().ok_or_else(|| Refusal::UnknownFlow {
        flow: name.to_string(),
        known: flows.keys().map(ToString::to_string).collect(),
    })
}
