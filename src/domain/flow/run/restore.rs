//! A run from what is on record of it: a new one, one that goes on after a crash, one that a person sets going again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::{Deadline, Limit, Past, Run, Stage, UnitKey};
use crate::domain::flow::graph::Graph;
use crate::domain::flow::hashes::{Chain, Ended};
use crate::domain::flow::record::{AttemptRecord, Checkpoint, RunRecord, StageRecord};
use crate::domain::flow::spec::{FlowSpec, StageRetry};
use crate::domain::flow::state::State;
use crate::domain::flow::status::{RunStatus, StageStatus};
use crate::domain::retry;
use crate::domain::time::{Mono, Now, Timestamp};

/// Everything that a run is put together from.
#[derive(Debug)]
pub struct Restored {
    /// Without its stages.
    pub record: RunRecord,
    pub spec: Arc<FlowSpec>,
    pub graph: Arc<Graph>,
    /// In the order of the flow.
    pub stages: Vec<RestoredStage>,
    pub approve_all: bool,
    pub time_left: Option<Duration>,
    /// Where the flow does not say.
    pub max_parallel: u32,
    /// Attempts that live, or ended while nobody looked.
    pub claims: BTreeMap<UnitKey, Claim>,
}

/// An attempt that is not on record, or not its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    pub attempt: u32,
    /// When there was last a sign of it. `None`: it lives.
    pub last_seen: Option<Timestamp>,
}

#[derive(Debug)]
pub struct RestoredStage {
    pub record: StageRecord,
    /// What its record names.
    pub checkpoint: Option<Checkpoint>,
}

impl Run {
    pub fn restore(from: Restored, now: Now) -> Self {
        let Restored { record, spec, graph, stages, approve_all, time_left, max_parallel, claims } = from;
        let limit = limit(&record, time_left, &stages, &claims, now);
        let mut made = HashMap::new();
        let restore = |(index, stage): (usize, RestoredStage)| {
            let restored = restore(&stage, &spec.stages[index].retry, now);
            made.extend(stage.checkpoint.map(|checkpoint| (index, checkpoint)));
            restored
        };
        let stages: Vec<Stage> = stages.into_iter().enumerate().map(restore).collect();
        let started = record.started_at.map(|wall| Now { mono: mono_of(wall, now), wall });
        let mut run = Self {
            max_parallel: spec.max_parallel.unwrap_or(max_parallel).max(1),
            id: record.run_id,
            root: record.root_run_id,
            parent: record.parent_run_id,
            retry_from: record.retry_from_stage,
            branch: record.branch,
            state: State::new(&graph, record.inputs.clone()),
            chain: Chain::new(&graph, &record.inputs),
            status: record.status,
            error: record.error.filter(|_| record.status != RunStatus::Interrupted),
            started,
            ended_at: record.ended_at,
            limit,
            approve_all,
            with_artifacts: BTreeSet::new(),
            ready: BTreeSet::new(),
            fresh: BTreeSet::new(),
            fanning: BTreeMap::new(),
            live: 0,
            open: 0,
            waiting: 0,
            active: 0,
            ending: None,
            claims: claims.into_iter().map(|(unit, claim)| (unit, claim.attempt)).collect(),
            spec,
            graph,
            stages,
        };
        run.recount(made);
        run
    }

    /// What follows from the stages as they are.
    fn recount(&mut self, mut made: HashMap<usize, Checkpoint>) {
        let graph = Arc::clone(&self.graph);
        for index in graph.order() {
            let left =
                graph.upstream(*index).iter().filter(|other| !self.stages[**other].status.is_final()).count();
            self.stages[*index].left = u32::try_from(left).unwrap_or(u32::MAX);
            match self.stages[*index].status {
                StageStatus::Skipped => {
                    self.chain.fill(&graph, *index, Ended::Skipped);
                }
                StageStatus::Succeeded | StageStatus::Degraded | StageStatus::Waiting => {
                    if let Some(checkpoint) = made.remove(index) {
                        self.left_behind(*index, checkpoint.outputs, checkpoint.artifacts);
                    }
                }
                StageStatus::Pending
                | StageStatus::Running
                | StageStatus::Backoff
                | StageStatus::Failed
                | StageStatus::NotRun
                | StageStatus::Cancelled => {}
            }
        }
        self.open = self.stages.iter().filter(|stage| !stage.status.is_final()).count();
        self.waiting = self.stages.iter().filter(|stage| stage.status == StageStatus::Waiting).count();
    }
}

/// Where something of the run has lived on, so has its clock. Else nobody carried it out since the last that is known of
/// it, and its clock stood still.
fn limit(
    record: &RunRecord,
    time_left: Option<Duration>,
    stages: &[RestoredStage],
    claims: &BTreeMap<UnitKey, Claim>,
    now: Now,
) -> Option<Limit> {
    let Some(wall) = record.deadline else { return time_left.map(Limit::Left) };
    let lives = claims.values().any(|claim| claim.last_seen.is_none());
    let set_going = match time_left {
        Some(left) => wall.checked_sub(left).ok(),
        None => record.started_at,
    };
    let Some(set_going) = set_going.filter(|_| !lives) else {
        return Some(Limit::Until(Deadline { at: mono_of(wall, now), wall }));
    };
    let ends = claims.values().filter_map(|claim| claim.last_seen);
    let seen =
        stages.iter().flat_map(|stage| times(&stage.record)).chain(ends).fold(set_going, Timestamp::max);
    // What was seen later was written by a clock that somebody has set.
    let seen = seen.min(now.wall);
    Some(Limit::Left(Duration::try_from(wall.duration_since(seen)).unwrap_or_default()))
}

/// When something of it is known to have happened.
fn times(stage: &StageRecord) -> impl Iterator<Item = Timestamp> {
    let attempts = stage.attempts.iter().flat_map(|attempt| [attempt.started_at, attempt.ended_at]);
    attempts.chain([stage.started_at, stage.ended_at]).flatten()
}

fn restore(from: &RestoredStage, retry: &StageRetry, now: Now) -> Stage {
    let RestoredStage { record, checkpoint } = from;
    let under_way = matches!(record.status, StageStatus::Running | StageStatus::Backoff);
    Stage {
        // Whether it really lives is the inventory's affair.
        status: if under_way { StageStatus::Pending } else { record.status },
        decision: record.decision,
        reason: record.reason,
        error: record.error.clone(),
        feedback: record.feedback.clone(),
        started_at: record.started_at,
        ended_at: record.ended_at,
        artifacts: Arc::default(),
        checkpoint: checkpoint.as_ref().map(|checkpoint| checkpoint.id.clone()),
        recipe: None,
        left: 0,
        opened: false,
        units: Vec::new(),
        items: None,
        seated: 0,
        good: checkpoint.as_ref().map_or(StageStatus::Succeeded, |checkpoint| checkpoint.status),
        past: past(record, retry, now),
    }
}

fn past(record: &StageRecord, retry: &StageRetry, now: Now) -> BTreeMap<Option<u32>, Past> {
    let mut past: BTreeMap<Option<u32>, Past> = BTreeMap::new();
    // After a rejection the count begins anew, the numbers go on.
    let since = if record.status == StageStatus::Pending { None } else { record.started_at };
    for attempt in &record.attempts {
        let unit = past.entry(attempt.item).or_default();
        unit.attempt = unit.attempt.max(attempt.number);
        if counts(attempt, since) {
            let waits = retry::delay(&retry.backoff, unit.used, 1.0);
            unit.due = attempt.ended_at.map(|ended| mono_of(ended, now).plus(waits));
            unit.used += 1;
            unit.exhausted = unit.used > retry.count;
            unit.failures.push((attempt.number, bare(attempt.error.as_deref().unwrap_or_default())));
        }
    }
    // The row tells when a stage without items is due, also after an attempt that was not to blame.
    if let Some(unit) = past.get_mut(&None) {
        unit.due = record.retry_at.map(|wall| mono_of(wall, now));
    }
    past
}

/// The error of an attempt, without what came of it.
fn bare(error: &str) -> String {
    let error = error.split(" (will retry ").next().unwrap_or_default();
    let listed = error.find(" attempts failed; ").and_then(|at| error[..at].rfind(" ("));
    listed.map_or(error, |at| &error[..at]).to_owned()
}

fn counts(attempt: &AttemptRecord, since: Option<Timestamp>) -> bool {
    !attempt.blameless
        && attempt.error.is_some()
        && since.is_some_and(|since| attempt.started_at.or(attempt.ended_at) >= Some(since))
}

/// When the monotonic clock shows what the wall clock calls `wall`; what lies before this boot is its beginning.
fn mono_of(wall: Timestamp, now: Now) -> Mono {
    let ahead = wall.duration_since(now.wall).as_nanos();
    let nanos = i128::from(now.mono.as_nanos()) + ahead;
    Mono::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
}
