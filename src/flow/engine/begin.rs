//! New runs, the queue in front of them, and what follows when one rests.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::load::{NewRunParts, fresh_row, store};
use super::{Active, Engine, Unresumed};
use crate::domain::flow::ask::{FlowReply, RunWish};
use crate::domain::flow::change::{NewRun, NewStage};
use crate::domain::flow::graph::Graph;
use crate::domain::flow::hashes;
use crate::domain::flow::ids::{BranchName, RunId, StageName};
use crate::domain::flow::inputs;
use crate::domain::flow::record::{RunFilter, RunRecord};
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::run::RestoredStage;
use crate::domain::flow::spec::{Concurrency, FlowSpec};
use crate::domain::flow::status::{Cause, Decision, Reason, RunStatus, StageStatus};
use crate::ports::store::Begun;

impl Engine {
    pub(super) fn begin_run(&mut self, wish: RunWish) -> Result<FlowReply, Refusal> {
        if let Some(key) = &wish.key
            && let Some(run) =
                self.scribe.store().run_of_key(&wish.flow, key).map_err(|error| store(&error))?
        {
            return self.first_of_key(run, key, &wish);
        }
        let spec = self.flow(&wish.flow)?;
        let inputs = inputs::of_new(&spec, &wish.inputs)?;
        let status = beside_others(Some(self.unfinished()), &spec)?;
        let cause = if wish.caller.is_some() { Cause::Flow } else { Cause::Manual };
        let stage = |name: &StageName| NewStage {
            name: name.clone(),
            decision: Decision::Execute,
            reason: Some(Reason::First),
            status: StageStatus::Pending,
            source: None,
            checkpoint: None,
            feedback: None,
        };
        let stages = spec.stages.iter().map(|one| stage(&one.name)).collect();
        let new = self.new_run(&spec, status, cause, inputs)?;
        let new = NewRun { key: wish.key, caller: wish.caller, approve_all: wish.approve_all, stages, ..new };
        let rows = (0..).zip(&spec.stages);
        let rows = rows
            .map(|(order, one)| {
                let mut record = fresh_row(one.name.clone(), order, Decision::Execute);
                record.reason = Some(Reason::First);
                RestoredStage { record, checkpoint: None }
            })
            .collect();
        self.start(new, &spec, rows)
    }

    /// The run that was given this key. A key stands for one piece of work, so that with other inputs it is a mistake.
    fn first_of_key(&mut self, run: RunId, key: &str, wish: &RunWish) -> Result<FlowReply, Refusal> {
        let recorded = self.stored(&run)?.record.inputs;
        let spec = self.flow(&wish.flow).ok();
        let others = inputs::that_differ(spec.as_deref(), &recorded, &wish.inputs);
        if others.is_empty() {
            return Ok(FlowReply::Run { run, existing: true });
        }
        Err(Refusal::Unusable {
            message: format!("{run} has the key {key}, and another value of {}", others.join(", ")),
            hint: Some(format!("look at it: restage show {run}; for other work take another --key")),
        })
    }

    /// What every new run of a flow has, to be completed.
    pub(super) fn new_run(
        &self,
        spec: &FlowSpec,
        status: RunStatus,
        cause: Cause,
        inputs: crate::domain::json::JsonMap,
    ) -> Result<NewRun, Refusal> {
        let now = self.clock.now();
        let (definition, def_hash) = hashes::definition(spec).map_err(|error| Refusal::Unusable {
            message: format!("write down the definition of {}: {error}", spec.name),
            hint: Some("its paths must be text".into()),
        })?;
        let deadline = spec.timeout.filter(|_| status == RunStatus::Running);
        Ok(NewRun {
            flow: spec.name.clone(),
            def_hash,
            definition,
            status,
            cause,
            trigger: cause,
            inputs,
            parent: None,
            root: None,
            caller: None,
            retry_from: None,
            retry_depth: 0,
            key: None,
            deadline: deadline.map(|timeout| now.wall_at(now.mono.plus(timeout))),
            branch: BranchName::main(),
            created_at: now.wall,
            approve_all: false,
            holder: self.holder.clone(),
            stages: Vec::new(),
        })
    }

    /// Writes a new run down, and sets it going where nothing is before it.
    pub(super) fn start(
        &mut self,
        new: NewRun,
        spec: &Arc<FlowSpec>,
        stages: Vec<RestoredStage>,
    ) -> Result<FlowReply, Refusal> {
        let graph = Graph::of(spec).map_err(|error| Refusal::Unusable {
            message: format!("run {}: {error}", spec.name),
            hint: Some("`restage check` shows where".into()),
        })?;
        let (id, number, epoch) = match self.scribe.store().begin(&new).map_err(|error| store(&error))? {
            Begun::New { run, number, epoch } => (run, number, epoch),
            Begun::Existing(run) => return Ok(FlowReply::Run { run, existing: true }),
            Begun::Held(held) => {
                return Err(Refusal::RetryLives {
                    run: new.parent.unwrap_or_else(|| held.run.clone()),
                    holder: held.run,
                    branch: new.branch,
                });
            }
        };
        let status = new.status;
        let approve_all = new.approve_all;
        let record = record_of(new, &id, number);
        let parts = NewRunParts { spec: Arc::clone(spec), graph: Arc::new(graph), stages, approve_all };
        self.adopt_new(record, epoch, parts);
        if status == RunStatus::Running {
            self.hold(&id);
            let at = self.moment();
            self.step(&id, |run| run.begin(at));
        }
        self.publish_run(&id);
        self.let_go(&id);
        Ok(FlowReply::Run { run: id, existing: false })
    }

    /// It has come to rest: it lets the supervisor go, and what waited for it has its turn.
    pub(super) fn rested(&mut self, id: &RunId, status: RunStatus) {
        let Some(active) = self.active.get_mut(id) else { return };
        active.busy = None;
        if status == RunStatus::Waiting || status == RunStatus::Interrupted {
            return;
        }
        self.run_hook(id, status);
        self.start_queued();
    }

    /// Something is out of the way.
    pub(super) fn start_queued(&mut self) {
        let queued = self.active.values().filter(|other| other.run.status == RunStatus::Queued);
        let mut queued: Vec<(u64, RunId)> =
            queued.map(|other| (other.record.run_number, other.run.id.clone())).collect();
        queued.sort_unstable();
        for (_, other) in queued {
            self.start_if_free(&other);
        }
    }

    /// A queued run whose time has come is set going; one that waited for a failure that did not come is cancelled.
    pub(super) fn start_if_free(&mut self, id: &RunId) {
        let at = self.moment();
        let Some(active) = self.active.get(id) else { return };
        let (flow, root, branch) =
            (active.record.flow.clone(), active.record.root_run_id.clone(), active.record.branch.clone());
        let is_retry = active.record.parent_run_id.is_some();
        let alone = active.run.spec.concurrency != Concurrency::Allow;
        let in_the_way = self.unfinished().each().any(|(other, status, _)| {
            let under_way = matches!(status, RunStatus::Running | RunStatus::Waiting);
            let same_line = other.root_run_id == root && other.branch == branch;
            let same = is_retry && same_line || alone && other.flow == flow;
            under_way && same && other.run_id != *id
        });
        if in_the_way {
            return;
        }
        if is_retry && let Some((by, status)) = self.did_not_fail(id) {
            return self.step(id, |run| run.not_needed(&by, status, at));
        }
        self.hold(id);
        self.step(id, |run| run.begin(at));
    }

    /// The run before a queued retry that was to fail for it, and did not.
    fn did_not_fail(&mut self, id: &RunId) -> Option<(RunId, RunStatus)> {
        let active = self.active.get(id)?;
        let own = active.record.clone();
        let filter = RunFilter { root: Some(own.root_run_id), ..RunFilter::default() };
        let runs = self.scribe.store().runs(&filter).ok()?;
        let parent = runs.iter().find(|run| Some(&run.run_id) == own.parent_run_id.as_ref())?.run_number;
        let between = |number: u64| parent < number && number < own.run_number;
        let did_not = |run: &RunRecord| match run.status {
            RunStatus::Succeeded | RunStatus::Degraded => true,
            // One that never began was not waited for.
            RunStatus::Cancelled => run.started_at.is_some(),
            RunStatus::Queued
            | RunStatus::Running
            | RunStatus::Waiting
            | RunStatus::Failed
            | RunStatus::Interrupted => false,
        };
        // What had succeeded before was known to whoever wished for this one.
        let meanwhile = |run: &RunRecord| run.ended_at.is_none_or(|ended| ended >= own.created_at);
        let found = runs.into_iter().find(|run| {
            run.branch == own.branch && between(run.run_number) && did_not(run) && meanwhile(run)
        })?;
        Some((found.run_id, found.status))
    }
}

/// The runs that have not ended.
#[derive(Clone, Copy)]
pub(super) struct Unfinished<'a> {
    pub(super) active: &'a BTreeMap<RunId, Active>,
    pub(super) unresumed: &'a BTreeMap<RunId, Unresumed>,
}

impl<'a> Unfinished<'a> {
    /// As each began, how it stands, and whether nobody has to wait for it any more.
    fn each(self) -> impl Iterator<Item = (&'a RunRecord, RunStatus, bool)> {
        let active = self.active.values().map(|one| (&one.record, one.run.status, one.is_over()));
        let unresumed = self.unresumed.values().filter_map(|one| one.record.as_deref());
        // Behind one that had not begun, and cannot, others would wait for good.
        active.chain(unresumed.map(|record| (record, record.status, record.status == RunStatus::Queued)))
    }
}

impl Engine {
    const fn unfinished(&self) -> Unfinished<'_> {
        Unfinished { active: &self.active, unresumed: &self.unresumed }
    }
}

/// Whether a new run of a flow may begin beside those that have not ended, as the flow has it.
pub(super) fn beside_others(
    unfinished: Option<Unfinished<'_>>,
    spec: &FlowSpec,
) -> Result<RunStatus, Refusal> {
    let mut each = unfinished.into_iter().flat_map(Unfinished::each);
    let other = each.find(|(record, status, over)| {
        record.flow == spec.name && !over && *status != RunStatus::Interrupted
    });
    let other = other.map(|(record, ..)| record.run_id.clone());
    match (spec.concurrency, other) {
        (Concurrency::Refuse, Some(other)) => Err(Refusal::Concurrent { other }),
        (Concurrency::Queue, Some(_)) => Ok(RunStatus::Queued),
        (Concurrency::Allow, _) | (Concurrency::Refuse | Concurrency::Queue, None) => Ok(RunStatus::Running),
    }
}

fn record_of(new: NewRun, id: &RunId, number: u64) -> RunRecord {
    RunRecord {
        run_id: id.clone(),
        run_number: number,
        flow: new.flow,
        def_hash: new.def_hash,
        status: new.status,
        trigger: new.trigger,
        cause: new.cause,
        inputs: new.inputs,
        error: None,
        started_at: None,
        ended_at: None,
        duration_seconds: None,
        cost: None,
        parent_run_id: new.parent,
        root_run_id: new.root.unwrap_or_else(|| id.clone()),
        caller_run_id: new.caller,
        retry_from_stage: new.retry_from,
        retry_depth: new.retry_depth,
        retry_number: None,
        idempotency_key: new.key,
        deadline: new.deadline,
        branch: new.branch,
        created_at: new.created_at,
        stages: None,
        left: false,
        held: None,
        hook: None,
    }
}
