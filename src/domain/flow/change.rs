//! What happens to a run, in the form in which it is written down: each is one small thing, so that what a transition
//! writes does not grow with the run.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::{BranchName, CheckpointId, FlowName, Hash, RunId, StageName};
use super::record::{Artifact, AttemptRecord, Checkpoint};
use super::status::{Approval, Cause, Decision, Hook, Reason, RunStatus, StageStatus};
use crate::domain::json::JsonMap;
use crate::domain::time::Timestamp;

#[derive(Debug, Clone, PartialEq)]
pub struct NewRun {
    pub flow: FlowName,
    /// Content-addressed: the same definition is kept once.
    pub def_hash: Hash,
    pub definition: String,
    pub status: RunStatus,
    pub cause: Cause,
    /// That of the first of its lineage.
    pub trigger: Cause,
    pub inputs: JsonMap,
    pub parent: Option<RunId>,
    /// `None`: it begins a lineage of its own.
    pub root: Option<RunId>,
    pub caller: Option<RunId>,
    pub retry_from: Option<StageName>,
    pub retry_depth: u32,
    pub key: Option<String>,
    pub deadline: Option<Timestamp>,
    pub branch: BranchName,
    pub created_at: Timestamp,
    pub approve_all: bool,
    /// Whose process writes it, in words that the caller understands.
    pub holder: String,
    pub stages: Vec<NewStage>,
}

/// One row, in the order of the list.
#[derive(Debug, Clone, PartialEq)]
pub struct NewStage {
    pub name: StageName,
    pub decision: Decision,
    pub reason: Option<Reason>,
    /// Pending, or what it ended as in the run that it is reused from.
    pub status: StageStatus,
    pub source: Option<RunId>,
    /// Of the same lineage.
    pub checkpoint: Option<CheckpointId>,
    /// For the stage that a rejection sends back to.
    pub feedback: Option<String>,
}

/// One thing that happened to a run, as its holder of `epoch` saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub run: RunId,
    pub epoch: u64,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// Absolute: what is `None` becomes null. Takes the lock of its lineage and branch where the status holds it, gives it
    /// back where it does not.
    Run {
        status: RunStatus,
        error: Option<String>,
        started_at: Option<Timestamp>,
        ended_at: Option<Timestamp>,
        duration_seconds: Option<f64>,
    },
    /// The run has ended, and this command is to be executed after it.
    Hook(Hook),
    /// Absolute: what is `None` becomes null.
    Stage {
        stage: StageName,
        status: StageStatus,
        reason: Option<Reason>,
        error: Option<String>,
        started_at: Option<Timestamp>,
        ended_at: Option<Timestamp>,
        retry_at: Option<Timestamp>,
    },
    /// The one with this item and number, new or again.
    Attempt { stage: StageName, attempt: AttemptRecord },
    /// One item of a stage that fans out is done.
    Item { stage: StageName, item: ItemRecord, all: u32 },
    /// The stage left this behind; its row names it.
    Checkpoint { stage: StageName, new: Box<NewCheckpoint> },
    /// The row of the stage names this one of the lineage from now on: after an edit.
    Adopt { stage: StageName, checkpoint: CheckpointId },
    /// Refused, with the whole transaction, where the bytes or the approval are not as expected.
    Judge(Judgement),
    /// What the stage is made by in this run, part by part, so that a change of it can be told.
    Recipe { stage: StageName, recipe: RecipeRecord },
    /// Until when the run may take, while its clock goes on, and how long it might yet when that was set going or came to
    /// stand still. Absolute.
    Limit { deadline: Option<Timestamp>, left: Option<Duration> },
    /// From here on nobody is asked in this run.
    AskNobody,
    /// The stage is to be executed again: pending, without checkpoint, items and times. Attempts stay.
    Reset { stage: StageName, reason: Reason, feedback: Option<String> },
}

/// Of a recipe, what no definition of a flow tells: the files that count, as the command names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipeRecord {
    pub hash: Hash,
    pub files: BTreeMap<String, Hash>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct NewCheckpoint {
    pub stage: StageName,
    pub branch: BranchName,
    pub parent: Option<CheckpointId>,
    pub status: StageStatus,
    pub approval: Approval,
    pub hash: Hash,
    pub recipe: Option<Hash>,
    pub input: Hash,
    pub outputs: JsonMap,
    pub artifacts: Vec<Artifact>,
    pub created_at: Timestamp,
    pub created_by: Option<String>,
    pub edited_from: Option<CheckpointId>,
    pub approved_by: Option<String>,
    pub approved_at: Option<Timestamp>,
    pub note: Option<String>,
}

impl NewCheckpoint {
    /// As it is once it has its place in the lineage.
    pub fn named(self, id: CheckpointId, root: RunId, run: RunId) -> Checkpoint {
        Checkpoint {
            id,
            root_run_id: root,
            run_id: run,
            branch: self.branch,
            parent: self.parent,
            status: self.status,
            approval: self.approval,
            hash: self.hash,
            recipe: self.recipe,
            input: self.input,
            outputs: self.outputs,
            artifacts: self.artifacts,
            created_at: self.created_at,
            created_by: self.created_by,
            edited_from: self.edited_from,
            approved_by: self.approved_by,
            approved_at: self.approved_at,
            note: self.note,
            rewind_to: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    pub checkpoint: CheckpointId,
    pub hash: Hash,
    pub from: Approval,
    pub to: Approval,
    pub who: String,
    pub at: Timestamp,
    pub note: Option<String>,
    /// Of a rejection: the stage to begin again with, where that is another one.
    pub rewind_to: Option<StageName>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ItemRecord {
    pub item: u32,
    /// Of the item's value: one that is another today is not reused.
    pub input: Hash,
    pub status: StageStatus,
    pub outputs: JsonMap,
    pub artifacts: Vec<Artifact>,
}
