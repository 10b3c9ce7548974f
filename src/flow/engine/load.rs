//! Runs from the records: those that lay unfinished when a supervisor began, those that a person sets going again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Active, Engine, MAX_PARALLEL};
use crate::domain::flow::graph::Graph;
use crate::domain::flow::ids::{CheckpointId, RunId, parse_guest};
use crate::domain::flow::record::{Checkpoint, RunRecord, StageRecord};
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::run::{Restored, RestoredStage, Run, UnitKey};
use crate::domain::flow::spec::FlowSpec;
use crate::domain::flow::status::{Decision, RunStatus, StageStatus};
use crate::domain::ids::RunnerName;
use crate::flow::recipe::Recipes;
use crate::ports::store::{StoreError, StoredRun};

/// From so many checkpoints on, all of the lineage are read at once.
const MANY: usize = 20;

impl Engine {
    /// Goes on with a run that lay unfinished.
    pub(super) fn resume(&mut self, id: &RunId, claims: &[(RunnerName, u32)]) {
        let at = self.moment();
        match self.load(id, claims) {
            Ok(active) => {
                let status = active.run.status;
                self.active.insert(id.clone(), active);
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
            }
            Err(refusal) => tracing::error!(run = %id, error = %refusal, "go on with a run"),
        }
    }

    /// The run as its records have it, written by us from here on.
    pub(super) fn load(&mut self, id: &RunId, claims: &[(RunnerName, u32)]) -> Result<Active, Refusal> {
        let stored = self.stored(id)?;
        let epoch = self.store.take_over(id, &self.holder).map_err(|error| store(&error))?;
        self.assemble(stored, epoch, claims)
    }

    fn assemble(
        &mut self,
        stored: StoredRun,
        epoch: u64,
        claims: &[(RunnerName, u32)],
    ) -> Result<Active, Refusal> {
        let now = self.clock.now();
        let StoredRun { mut record, approve_all, .. } = stored;
        let rows = record.stages.take().unwrap_or_default();
        let spec = Arc::new(self.definition(&record)?);
        let graph = Graph::of(&spec).map_err(|error| unusable(&record.run_id, &error.to_string()))?;
        let mut checkpoints = self.checkpoints_of(&record, &rows)?;
        let mut by_name: BTreeMap<_, StageRecord> =
            rows.into_iter().map(|row| (row.name.clone(), row)).collect();
        let stages = spec
            .stages
            .iter()
            .map(|stage| {
                let record = by_name.remove(&stage.name);
                let record =
                    record.ok_or_else(|| unusable(&record_id(&stage.name), "its records lack a stage"))?;
                let named = record.checkpoint.as_ref().map(|checkpoint| &checkpoint.id);
                let checkpoint = named.and_then(|id| checkpoints.remove(id));
                Ok(RestoredStage { record, checkpoint })
            })
            .collect::<Result<Vec<_>, Refusal>>()?;
        let claims = claims
            .iter()
            .filter_map(|(name, attempt)| {
                let (_, stage, item) = parse_guest(name)?;
                Some((UnitKey { stage: graph.index(&stage)?, item }, *attempt))
            })
            .collect();
        let restored = Restored {
            record: record.clone(),
            spec,
            graph: Arc::new(graph),
            stages,
            approve_all,
            max_parallel: MAX_PARALLEL,
            claims,
        };
        Ok(Active {
            run: Run::restore(restored, now),
            epoch,
            record,
            live: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            busy: None,
            recipes: Recipes::new(&self.root),
        })
    }

    fn checkpoints_of(
        &mut self,
        record: &RunRecord,
        rows: &[StageRecord],
    ) -> Result<BTreeMap<CheckpointId, Checkpoint>, Refusal> {
        let named: Vec<&CheckpointId> =
            rows.iter().filter_map(|row| row.checkpoint.as_ref()).map(|checkpoint| &checkpoint.id).collect();
        let root = &record.root_run_id;
        if named.len() > MANY {
            let (all, unreadable) = self.store.checkpoints(root).map_err(|error| store(&error))?;
            if let Some(why) = unreadable.into_iter().next() {
                tracing::warn!(run = %record.run_id, %why, "read the checkpoints of a lineage");
            }
            return Ok(all.into_iter().map(|one| (one.id.clone(), one)).collect());
        }
        let mut found = BTreeMap::new();
        for id in named {
            if let Some(checkpoint) = self.store.checkpoint(root, id).map_err(|error| store(&error))? {
                found.insert(id.clone(), checkpoint);
            }
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
            max_parallel: MAX_PARALLEL,
            claims: BTreeMap::new(),
        };
        let active = Active {
            run: Run::restore(restored, self.clock.now()),
            epoch,
            live: BTreeMap::new(),
            unsettled: BTreeMap::new(),
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

pub(super) fn unusable(run: &RunId, why: &str) -> Refusal {
    Refusal::Unusable {
        message: format!("go on with {run}: {why}"),
        hint: Some("start anew with `restage run`; what it did stays on record".into()),
    }
}

fn record_id(stage: &crate::domain::flow::ids::StageName) -> RunId {
    RunId::trusted(stage.as_str())
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
