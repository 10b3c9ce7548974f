//! What is kept of runs, in the form that people and programs read: `restage show --json` prints these as they are.
//! Absent values are null.

use serde::{Deserialize, Serialize};

use super::hashes;
use super::ids::{BranchName, CheckpointId, FlowName, Hash, RunId, StageName};
use super::status::{Approval, Cause, Decision, Hook, Reason, RunStatus, StageStatus};
use crate::domain::json::JsonMap;
use crate::domain::time::Timestamp;
use crate::domain::verdict::Verdict;

/// The end of the error of a retry that waited for the failure of another, which succeeded.
pub const NOT_NEEDED: &str = "so this retry was not needed";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    pub run_id: RunId,
    pub run_number: u64,
    pub flow: FlowName,
    pub def_hash: Hash,
    pub status: RunStatus,
    /// What began the first of its lineage.
    pub trigger: Cause,
    /// What began this one.
    #[serde(default = "by_hand")]
    pub cause: Cause,
    pub inputs: JsonMap,
    pub error: Option<String>,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub duration_seconds: Option<f64>,
    /// What its stages reported, summed up; null where none did.
    pub cost: Option<f64>,
    pub parent_run_id: Option<RunId>,
    /// Its own id where it is no retry: the name of its lineage.
    pub root_run_id: RunId,
    /// The run whose stage started this one.
    pub caller_run_id: Option<RunId>,
    pub retry_from_stage: Option<StageName>,
    pub retry_depth: u32,
    /// Which retry of its lineage it is, in order of time; null for what is none. The store counts them.
    #[serde(default)]
    pub retry_number: Option<u32>,
    pub idempotency_key: Option<String>,
    pub deadline: Option<Timestamp>,
    pub branch: BranchName,
    pub created_at: Timestamp,
    /// It is under way by its record, and nobody supervises: whoever does next goes on with it.
    #[serde(default)]
    pub left: bool,
    /// Why it does not go on for now, though nothing of it has failed; it does when that is over. Known of a run that is
    /// carried out, and not recorded.
    #[serde(default)]
    pub held: Option<String>,
    /// The command after it, where its end has one.
    pub hook: Option<HookRecord>,
    /// Left out of lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stages: Option<Vec<StageRecord>>,
}

/// As told by a supervisor of the version before.
const fn by_hand() -> Cause {
    Cause::Manual
}

impl RunRecord {
    /// It was cancelled because what it was to make good was good already.
    pub fn was_not_needed(&self) -> bool {
        self.status == RunStatus::Cancelled
            && self.error.as_ref().is_some_and(|error| error.ends_with(NOT_NEEDED))
    }
}

/// The command after a run: it is on record with the end of the run, and executed until its own end is, too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HookRecord {
    pub name: Hook,
    /// Of its last attempt: one that was cut short, because restage or the machine ended, is followed by another.
    pub number: u32,
    pub verdict: Option<Verdict>,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    pub error: Option<String>,
    pub started_at: Option<Timestamp>,
    /// Null while it is still to end.
    pub ended_at: Option<Timestamp>,
    pub log: Option<String>,
}

impl HookRecord {
    pub const fn of(name: Hook) -> Self {
        Self {
            name,
            number: 1,
            verdict: None,
            exit_code: None,
            signal: None,
            error: None,
            started_at: None,
            ended_at: None,
            log: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    pub name: StageName,
    pub order: u32,
    pub status: StageStatus,
    pub decision: Decision,
    pub reason: Option<Reason>,
    /// The run that executed it, where it is reused.
    pub source_run_id: Option<RunId>,
    pub error: Option<String>,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub outputs: Option<JsonMap>,
    pub artifacts: Vec<Artifact>,
    pub checkpoint: Option<CheckpointRef>,
    pub attempts: Vec<AttemptRecord>,
    /// When the next attempt is due, in backoff.
    pub retry_at: Option<Timestamp>,
    /// How many items there are, and how many of them are done, of one that fans out.
    pub items: Option<ItemCount>,
    /// What a person said who sent it back; its next attempts read it.
    pub feedback: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemCount {
    pub done: u32,
    pub all: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Its path within the artifact folder.
    pub name: String,
    pub hash: Hash,
    pub size: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub executable: bool,
}

/// A checkpoint, as a stage or a branch names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointRef {
    pub id: CheckpointId,
    pub parent: Option<CheckpointId>,
    pub version: u32,
    pub branch: BranchName,
    pub approval: Approval,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptRecord {
    pub number: u32,
    /// Which item, of a stage that fans out; from 0.
    pub item: Option<u32>,
    pub verdict: Option<Verdict>,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    /// With what comes next: `exit 1: Connection refused (will retry 2 more times)`.
    pub error: Option<String>,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub cpu_seconds: Option<f64>,
    pub peak_rss_bytes: Option<u64>,
    pub cost: Option<f64>,
    pub log: Option<String>,
    /// It was cut short through no fault of its own, and spent no retry.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub blameless: bool,
}

/// What a stage left behind, whole. It never changes, but for its approval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub id: CheckpointId,
    /// The lineage that it belongs to.
    pub root_run_id: RunId,
    /// The run that made it; for an edit, the run whose checkpoint was edited.
    pub run_id: RunId,
    pub branch: BranchName,
    /// The checkpoint that the tree draws it under: of what it needs, the one that comes last in the graph.
    pub parent: Option<CheckpointId>,
    /// Succeeded or degraded.
    pub status: StageStatus,
    pub approval: Approval,
    /// Over outputs and artifacts: what is approved is these bytes.
    pub hash: Hash,
    /// What it was made by; none for an edit, which stands for whatever recipe made the original.
    pub recipe: Option<Hash>,
    /// What it was made from.
    pub input: Hash,
    pub outputs: JsonMap,
    pub artifacts: Vec<Artifact>,
    pub created_at: Timestamp,
    /// The user who made it by an edit; none where a stage did.
    pub created_by: Option<String>,
    pub edited_from: Option<CheckpointId>,
    /// Who judged it and when: its approval says how.
    pub approved_by: Option<String>,
    pub approved_at: Option<Timestamp>,
    pub note: Option<String>,
    /// Of a rejection: the stage to begin again with, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewind_to: Option<StageName>,
}

impl Checkpoint {
    /// What it holds has the hash that it had when it was written.
    pub fn is_whole(&self) -> bool {
        hashes::checkpoint(&self.outputs, &self.artifacts) == self.hash
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Branch {
    pub branch_name: BranchName,
    /// What it was forked from; none for main.
    pub forked_from: Option<CheckpointId>,
    pub created_at: Timestamp,
    pub created_by: Option<String>,
}

/// Which runs are listed. Everything that is given must hold.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RunFilter {
    pub flow: Option<FlowName>,
    pub status: Vec<RunStatus>,
    pub since: Option<Timestamp>,
    /// Found in the id, the error, or the inputs.
    pub search: Option<String>,
    pub root: Option<RunId>,
    pub limit: Option<u32>,
}
