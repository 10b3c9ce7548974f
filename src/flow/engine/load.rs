//! Runs from the records: those that lay unfinished when a supervisor began, those that a person sets going again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{AGAIN, Active, Engine, Key, Live, MAX_PARALLEL, Unresumed};
use crate::domain::flow::graph::Graph;
use crate::domain::flow::ids::{CheckpointId, RunId, parse_guest};
use crate::domain::flow::record::{Checkpoint, RunRecord, StageRecord};
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::run::{Claim, Restored, RestoredStage, Run, UnitKey};
use crate::domain::flow::spec::FlowSpec;
use crate::domain::flow::status::{Decision, RunStatus, StageStatus};
use crate::domain::ids::Attempt;
use crate::flow::recipe::Recipes;
use crate::ports::store::{StoreError, StoredRun, unread};
use crate::supervisor::guest::KnownGuest;

/// From so many checkpoints on, all of the lineage are read at once.
const MANY: usize = 20;

impl Engine {
    /// Goes on with a run that lay unfinished.
    pub(super) fn resume(&mut self, id: &RunId, claims: &[KnownGuest]) {
        let at = self.moment();
        match self.load(id, claims) {
            Ok(active) => {
                let status = active.run.status;
                self.unresumed.remove(id);
                self.active.insert(id.clone(), active);
                if status != RunStatus::Waiting {
                    self.resumed.insert(id.clone());
                }
                match status {
                    RunStatus::Running => {
                        self.hold(id);
                        self.step(id, |run| run.begin(at));
                    }
                    RunStatus::Queued => self.start_if_free(id),
                    RunStatus::Waiting
                    | RunStatus::Succeeded
                    | RunStatus::Degraded
                    | RunStatus::Failed
                    | RunStatus::Cancelled
                    | RunStatus::Interrupted => {}
                }
                self.hear_approvals(id);
            }
            Err(refusal) => {
                let record = self.stored(id).ok().map(|stored| Box::new(stored.record));
                let unresumed = Unresumed { record, claims: claims.to_vec(), why: Some(refusal) };
                let (why, passes) = (unresumed.told(), unresumed.passes());
                let before = self.unresumed.insert(id.clone(), unresumed).and_then(|before| before.told());
                if let Some(why) = why.filter(|why| before.as_ref() != Some(why)) {
                    self.tell_held(id, why);
                }
                if passes {
                    self.try_later();
                }
            }
        }
    }

    /// Runs that lay unfinished are looked at again before long; the supervisor does not end before.
    pub(super) fn try_later(&mut self) {
        if self.kept.is_none() {
            self.kept = Some(self.handle.busy());
        }
        let at = self.clock.now().mono.plus(AGAIN);
        self.arm(at, Key::Resume);
    }

    pub(super) fn resume_waiting(&mut self) {
        if let Some(claims) = self.unlooked.take() {
            self.resume_unfinished(claims);
        }
        let again = self.unresumed.iter().filter(|(_, one)| one.passes());
        let again: Vec<_> = again.map(|(id, one)| (id.clone(), one.claims.clone())).collect();
        for (id, claims) in again {
            self.resume(&id, &claims);
            if self.active.contains_key(&id) {
                self.unresumed.remove(&id);
            }
        }
        if self.unlooked.is_none() && !self.unresumed.values().any(Unresumed::passes) {
            self.kept = None;
        }
    }

    /// What we know of a run is not what is on record: it is taken up anew from there, with what lives of it.
    pub(super) fn take_up_anew(&mut self, id: &RunId) {
        let Some(active) = self.active.remove(id) else { return };
        let ordered = active.live.iter().filter(|(_, live)| live.ordered);
        // They live, or have ended just now.
        let claim = |(unit, live): (&UnitKey, &Live)| {
            let name = id.guest(&active.run.stage(unit.stage).name, unit.item);
            Some(KnownGuest { name, attempt: Attempt::new(live.attempt)?, last_seen: None })
        };
        let claims: Vec<KnownGuest> = ordered.filter_map(claim).collect();
        let known = claims.iter().map(|claim| (claim.name.clone(), claim.attempt.get()));
        self.inventory.get_or_insert_default().extend(known);
        let record = Some(Box::new(RunRecord { status: active.run.status, ..active.record }));
        self.unresumed.insert(id.clone(), Unresumed { record, claims, why: None });
        self.try_later();
    }

    /// The run as its records have it, written by us from here on.
    pub(super) fn load(&mut self, id: &RunId, claims: &[KnownGuest]) -> Result<Active, Refusal> {
        let stored = self.stored(id)?;
        let epoch = self.scribe.store().take_over(id, &self.holder).map_err(|error| store(&error))?;
        self.assemble(stored, epoch, claims)
    }

    fn assemble(&mut self, stored: StoredRun, epoch: u64, claims: &[KnownGuest]) -> Result<Active, Refusal> {
        let now = self.clock.now();
        let StoredRun { mut record, approve_all, time_left, unreadable, .. } = stored;
        if let Some(why) = unreadable {
            return Err(Refusal::Unusable {
                message: format!("go on with {}: {}", record.run_id, unread(&why)),
                hint: Some(format!(
                    "end it: restage cancel {}; then begin anew: restage run {}",
                    record.run_id, record.flow
                )),
            });
        }
        let rows = record.stages.take().unwrap_or_default();
        let spec = Arc::new(self.definition(&record)?);
        let graph = Graph::of(&spec).map_err(|error| unusable(&record, &error.to_string()))?;
        let mut checkpoints = self.checkpoints_of(&record, &rows)?;
        let mut by_name: BTreeMap<_, StageRecord> =
            rows.into_iter().map(|row| (row.name.clone(), row)).collect();
        let stages = spec
            .stages
            .iter()
            .map(|stage| {
                let row = by_name.remove(&stage.name);
                let row =
                    row.ok_or_else(|| unusable(&record, &format!("its records lack {}", stage.name)))?;
                let named = row.checkpoint.as_ref().map(|checkpoint| &checkpoint.id);
                let checkpoint = named.and_then(|id| checkpoints.remove(id));
                let builds_on_it = row.status.is_good() || row.status == StageStatus::Waiting;
                if builds_on_it && checkpoint.is_none() {
                    return Err(unusable(&record, &format!("what {} left is not on record", stage.name)));
                }
                Ok(RestoredStage { record: row, checkpoint })
            })
            .collect::<Result<Vec<_>, Refusal>>()?;
        let claims = self.open_claims(claims, &graph, &stages);
        let restored = Restored {
            record: record.clone(),
            spec,
            graph: Arc::new(graph),
            stages,
            approve_all,
            time_left,
            max_parallel: MAX_PARALLEL,
            claims,
        };
        Ok(Active {
            run: Run::restore(restored, now),
            epoch,
            record,
            live: BTreeMap::new(),
            noted: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            told_unsettled: None,
            of_parent: None,
            busy: None,
            recipes: Recipes::new(&self.root),
        })
    }

    /// Of the processes of a run, those whose end is yet to be recorded. Where it was, and we died before we said so, they
    /// are forgotten now: to be told of it again would spend another retry.
    fn open_claims(
        &mut self,
        claims: &[KnownGuest],
        graph: &Graph,
        stages: &[RestoredStage],
    ) -> BTreeMap<UnitKey, Claim> {
        let mut open = BTreeMap::new();
        for KnownGuest { name, attempt, last_seen } in claims {
            let Some((_, stage, item)) = parse_guest(name) else { continue };
            let place = graph.index(&stage);
            let on_record = |place: usize| {
                let record = &stages[place].record;
                let mut attempts = record.attempts.iter();
                attempts.any(|one| one.item == item && one.number >= attempt.get())
                    || record.status.is_final()
            };
            if let Some(stage) = place.filter(|place| !on_record(*place)) {
                let claim = Claim { attempt: attempt.get(), last_seen: *last_seen };
                open.insert(UnitKey { stage, item }, claim);
                continue;
            }
            self.forget_guest(name.clone());
        }
        open
    }

    /// What the rows name, whole: a stage never runs on less than it should see.
    fn checkpoints_of(
        &mut self,
        record: &RunRecord,
        rows: &[StageRecord],
    ) -> Result<BTreeMap<CheckpointId, Checkpoint>, Refusal> {
        let named: Vec<&CheckpointId> =
            rows.iter().filter_map(|row| row.checkpoint.as_ref()).map(|checkpoint| &checkpoint.id).collect();
        let root = &record.root_run_id;
        let mut all = BTreeMap::new();
        if named.len() > MANY {
            let (readable, _) = self.scribe.store().checkpoints(root).map_err(|error| store(&error))?;
            all.extend(readable.into_iter().map(|one| (one.id.clone(), one)));
        }
        let mut found = BTreeMap::new();
        for id in named {
            let one = match all.remove(id) {
                Some(one) => Some(one),
                None => {
                    self.scribe.store().checkpoint(root, id).map_err(|error| unreadable(record, &error))?
                }
            };
            let one = one.ok_or_else(|| unusable(record, &format!("{id} is not on record")))?;
            if !one.is_whole() {
                return Err(unusable(record, &format!("what {id} holds is not what was written")));
            }
            found.insert(id.clone(), one);
        }
        Ok(found)
    }

    /// A run that has just been written down, without asking the store for it again.
    pub(super) fn adopt_new(&mut self, record: RunRecord, epoch: u64, new: NewRunParts) {
        let NewRunParts { spec, graph, stages, approve_all } = new;
        let restored = Restored {
            record: record.clone(),
            spec,
            graph,
            stages,
            approve_all,
            time_left: None,
            max_parallel: MAX_PARALLEL,
            claims: BTreeMap::new(),
        };
        let active = Active {
            run: Run::restore(restored, self.clock.now()),
            epoch,
            live: BTreeMap::new(),
            noted: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            told_unsettled: None,
            of_parent: None,
            busy: None,
            recipes: Recipes::new(&self.root),
            record,
        };
        self.active.insert(active.run.id.clone(), active);
    }

    /// The supervisor does not end for want of work while the run is under way.
    pub(super) fn hold(&mut self, id: &RunId) {
        let busy = self.handle.busy();
        if let Some(active) = self.active.get_mut(id) {
            active.busy = Some(busy);
        }
    }
}

/// What a new run has beside its record.
#[derive(Debug)]
pub(super) struct NewRunParts {
    pub(super) spec: Arc<FlowSpec>,
    pub(super) graph: Arc<Graph>,
    pub(super) stages: Vec<RestoredStage>,
    pub(super) approve_all: bool,
}

pub(super) fn store(error: &StoreError) -> Refusal {
    Refusal::Store(error.to_string())
}

/// What cannot be read for now may be read later; what is damaged stays so.
pub(super) fn unreadable(run: &RunRecord, error: &StoreError) -> Refusal {
    match error {
        StoreError::Later { .. } => store(error),
        StoreError::Broken { .. }
        | StoreError::Fenced { .. }
        | StoreError::Ended { .. }
        | StoreError::Held { .. }
        | StoreError::Stale { .. }
        | StoreError::Reused { .. }
        | StoreError::UnderWay { .. }
        | StoreError::Newer { .. } => unusable(run, &error.to_string()),
    }
}

pub(super) fn unusable(run: &RunRecord, why: &str) -> Refusal {
    let id = &run.run_id;
    let hint = if run.status.is_final() {
        "start anew with `restage run`; what it did stays on record".to_owned()
    } else {
        format!("end it: restage cancel {id}; then start again: restage retry {id}")
    };
    Refusal::Unusable { message: format!("go on with {id}: {why}"), hint: Some(hint) }
}

/// A row of a stage that has not begun.
pub(super) fn fresh_row(
    name: crate::domain::flow::ids::StageName,
    order: usize,
    decision: Decision,
) -> StageRecord {
    StageRecord {
        name,
        order: u32::try_from(order).unwrap_or(u32::MAX),
        status: StageStatus::Pending,
        decision,
        reason: None,
        source_run_id: None,
        error: None,
        started_at: None,
        ended_at: None,
        outputs: None,
        artifacts: Vec::new(),
        checkpoint: None,
        attempts: Vec::new(),
        retry_at: None,
        items: None,
        feedback: None,
    }
}
