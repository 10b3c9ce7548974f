//! What the flow engine needs from the place where history is kept. Every call that writes is one transaction, durable
//! when it returns; what an old epoch writes changes nothing. Runs, stages and checkpoints come and go as the plain
//! types of [`record`](crate::domain::flow::record).

use crate::domain::flow::ids::{BranchName, CheckpointId, FlowName, Hash, RunId, StageName};
use crate::domain::flow::record::{
    Artifact, AttemptRecord, Branch, Checkpoint, RunFilter, RunRecord, StageRecord,
};
use crate::domain::flow::status::{Approval, Decision, Reason, RunStatus, StageStatus, Trigger};
use crate::domain::json::JsonMap;
use crate::domain::time::Timestamp;

pub trait Store: Send {
    /// Numbers the run, takes the lock of its lineage and branch where it is to run, and writes it down with all its
    /// stages. Where its key was used before, or the lock is held, nothing is written.
    fn begin(&mut self, new: &NewRun) -> Result<Begun, StoreError>;

    /// All of them or none; several runs may share a transaction. The answers are in the order of the changes: the
    /// checkpoint that one made.
    fn commit(&mut self, changes: &[Change]) -> Result<Vec<Option<CheckpointId>>, StoreError>;

    /// A checkpoint that no run makes: an edit. Its version is the next of its stage in the lineage.
    fn add_checkpoint(
        &mut self,
        root: &RunId,
        run: &RunId,
        new: &NewCheckpoint,
    ) -> Result<CheckpointId, StoreError>;

    /// Sets the approval of a checkpoint that no run under way is concerned with. False: its bytes are not `hash`, or
    /// its approval is not `from`; nothing was written.
    fn judge(&mut self, root: &RunId, judgement: &Judgement) -> Result<bool, StoreError>;

    /// False: the lineage has a branch of that name.
    fn add_branch(&mut self, root: &RunId, branch: &Branch) -> Result<bool, StoreError>;

    /// Whoever does that writes from now on; the epoch is a new one.
    fn take_over(&mut self, run: &RunId, holder: &str) -> Result<u64, StoreError>;

    /// With its stages and attempts.
    fn run(&mut self, run: &RunId) -> Result<Option<StoredRun>, StoreError>;
    fn run_of_key(&mut self, key: &str) -> Result<Option<RunId>, StoreError>;
    /// The newest first, without stages.
    fn runs(&mut self, filter: &RunFilter) -> Result<Vec<RunRecord>, StoreError>;
    /// Queued, running, waiting; the oldest first.
    fn unfinished(&mut self) -> Result<Vec<RunId>, StoreError>;
    /// The text of a definition: the flow as it was when the run began.
    fn definition(&mut self, hash: &Hash) -> Result<Option<String>, StoreError>;
    fn checkpoint(&mut self, root: &RunId, id: &CheckpointId) -> Result<Option<Checkpoint>, StoreError>;
    /// Of a whole lineage, the oldest first. One that cannot be read is left out and told in the second list.
    fn checkpoints(&mut self, root: &RunId) -> Result<(Vec<Checkpoint>, Vec<String>), StoreError>;
    /// `main` comes first, whether or not it was added.
    fn branches(&mut self, root: &RunId) -> Result<Vec<Branch>, StoreError>;
    /// What is done of a stage that fans out, by item.
    fn items(&mut self, run: &RunId, stage: &StageName) -> Result<Vec<ItemRecord>, StoreError>;
    /// Who holds the lock of a lineage and branch.
    fn lock(&mut self, root: &RunId, branch: &BranchName) -> Result<Option<Held>, StoreError>;
    /// How often a retry executed something from the checkpoint's successor on: retries that reuse it.
    fn retries_of(&mut self, root: &RunId, checkpoint: &CheckpointId) -> Result<u32, StoreError>;
    /// Every artifact that a checkpoint or an item names, once.
    fn objects(&mut self) -> Result<Vec<Hash>, StoreError>;
    fn stats(&mut self, flow: Option<&FlowName>) -> Result<Stats, StoreError>;
    /// Refused while another run reuses its checkpoints, unless these go, too. The runs that are gone.
    fn delete(&mut self, run: &RunId, cascade: bool) -> Result<Vec<RunId>, StoreError>;
}

#[derive(Debug, Clone, PartialEq)]
pub struct NewRun {
    pub flow: FlowName,
    /// Content-addressed: the same definition is kept once.
    pub def_hash: Hash,
    pub definition: String,
    pub status: RunStatus,
    pub trigger: Trigger,
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

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    New {
        run: RunId,
        number: u64,
        epoch: u64,
    },
    /// A run with this key is there.
    Existing(RunId),
    /// Another run of the lineage is under way on the branch.
    Held(Held),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub run: RunId,
    pub holder: String,
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
    /// A final or an interrupted one gives the lock back; any other takes it.
    Run {
        status: RunStatus,
        error: Option<String>,
        started_at: Option<Timestamp>,
        ended_at: Option<Timestamp>,
        duration_seconds: Option<f64>,
    },
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
    /// The stage is to be executed again: pending, without checkpoint, items and times. Attempts stay.
    Reset { stage: StageName, reason: Reason, feedback: Option<String> },
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

#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    pub checkpoint: CheckpointId,
    pub hash: Hash,
    pub from: Approval,
    pub to: Approval,
    pub who: String,
    pub at: Timestamp,
    pub note: Option<String>,
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

/// A run as the store has it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRun {
    /// With stages, in order.
    pub record: RunRecord,
    pub epoch: u64,
    pub holder: String,
    pub approve_all: bool,
}

impl StoredRun {
    pub fn stages(&self) -> &[StageRecord] {
        self.record.stages.as_deref().unwrap_or_default()
    }
}

/// What history says about retries.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Stats {
    pub runs: u64,
    pub succeeded: u64,
    pub failed: u64,
    /// Runs that are retries, and those of them that ended well.
    pub retries: u64,
    pub retries_succeeded: u64,
    /// In attempts that ended badly.
    pub seconds_lost: f64,
    /// Stages by how often they failed, the most first.
    pub failing: Vec<FailingStage>,
    /// How many stages ended well at their nth attempt, from the first on.
    pub recovered_after: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct FailingStage {
    pub flow: FlowName,
    pub stage: StageName,
    pub failures: u64,
    pub last_error: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full, or something else that passes; nothing was written, and it may be tried again.
    #[error("{act}: {cause}")]
    Later { act: String, cause: String },
    #[error("{act}: {cause}")]
    Broken { act: String, cause: String },
    /// Somebody else writes this run now.
    #[error("{run} has been taken over by another supervisor")]
    Fenced { run: RunId },
    #[error("{checkpoint} is not what was judged")]
    Stale { checkpoint: CheckpointId },
    #[error("{run} is reused by {}", by.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Reused { run: RunId, by: Vec<RunId> },
    /// Written by a newer restage.
    #[error(
        "open the store {path}: it was written by a newer restage (version {found}, this one knows {known})"
    )]
    Newer { path: String, found: i64, known: i64 },
}
