//! What clients see of runs while they go: enough for a list and a bar; the rest is asked for.

use serde::{Deserialize, Serialize};

use super::ids::{BranchName, CheckpointId, FlowName, RunId, StageName};
use super::news::News;
use super::record::{ItemCount, RunRecord, StageRecord};
use super::status::{Decision, Reason, RunStatus, StageStatus};
use crate::domain::time::Timestamp;

/// What changed of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowUpdate {
    Run(RunView),
    Stage(StageView),
    News(FlowNotice),
}

impl FlowUpdate {
    /// As of [`Update`](crate::domain::view::Update::is_word).
    pub const fn is_word(&self) -> bool {
        match self {
            Self::Run(view) => view.status.rests(),
            Self::Stage(_) => false,
            Self::News(_) => true,
        }
    }
}

/// One run, on a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    pub run_id: RunId,
    pub flow: FlowName,
    pub status: RunStatus,
    pub branch: BranchName,
    pub parent_run_id: Option<RunId>,
    pub retry_from_stage: Option<StageName>,
    pub retry_depth: u32,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub deadline: Option<Timestamp>,
    pub error: Option<String>,
    /// Why it does not go on for now.
    pub held: Option<String>,
    /// Stages that have ended, reused ones too, of all.
    pub done: u32,
    pub all: u32,
    /// The stages that run, or the one at which it failed; a few at most.
    pub at: Vec<StageName>,
    /// The checkpoints that wait for a person.
    pub asks: Vec<CheckpointId>,
}

impl RunView {
    /// As far as records tell.
    pub fn of(record: &RunRecord) -> Self {
        let stages = || record.stages.iter().flatten();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let names = |status: StageStatus| {
            stages().filter(move |stage| stage.status == status).map(|stage| stage.name.clone())
        };
        let waiting = |stage: &StageRecord| {
            let waits = stage.status == StageStatus::Waiting;
            stage.checkpoint.as_ref().filter(|_| waits).map(|checkpoint| checkpoint.id.clone())
        };
        let mut at: Vec<_> = names(StageStatus::Running).take(3).collect();
        if at.is_empty() && record.status == RunStatus::Failed {
            at.extend(names(StageStatus::Failed).take(1));
        }
        Self {
            run_id: record.run_id.clone(),
            flow: record.flow.clone(),
            status: record.status,
            branch: record.branch.clone(),
            parent_run_id: record.parent_run_id.clone(),
            retry_from_stage: record.retry_from_stage.clone(),
            retry_depth: record.retry_depth,
            created_at: record.created_at,
            started_at: record.started_at,
            ended_at: record.ended_at,
            deadline: record.deadline,
            error: record.error.clone(),
            held: record.held.clone(),
            done: count(stages().filter(|stage| stage.status.counts_as_done()).count()),
            all: count(stages().count()),
            at,
            asks: stages().filter_map(waiting).collect(),
        }
    }
}

/// One stage of a run that is under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageView {
    pub run_id: RunId,
    pub name: StageName,
    pub order: u32,
    pub status: StageStatus,
    pub decision: Decision,
    pub reason: Option<Reason>,
    pub error: Option<String>,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// The number of the last attempt; 0 before the first.
    pub attempt: u32,
    pub retries: u32,
    pub max_retries: u32,
    pub retry_at: Option<Timestamp>,
    pub items: Option<ItemCount>,
}

/// Something that a person may want to read a line about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowNotice {
    pub at: Timestamp,
    #[serde(flatten)]
    pub what: News,
}
