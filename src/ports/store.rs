//! What the flow engine needs from the place where history is kept. Every call that writes is one transaction, durable
//! when it returns; what an old epoch writes changes nothing. Runs, stages and checkpoints come and go as the plain
//! types of [`record`](crate::domain::flow::record).

use std::time::Duration;

pub use crate::domain::flow::change::{
    Change, ItemRecord, Judgement, NewCheckpoint, NewRun, NewStage, RecipeRecord, What,
};
use crate::domain::flow::ids::{BranchName, CheckpointId, FlowName, Hash, RunId, StageName};
use crate::domain::flow::record::{Branch, Checkpoint, HookRecord, RunFilter, RunRecord, StageRecord};
use crate::domain::flow::refusal::builders;
pub use crate::domain::flow::stats::{FailingStage, Stats};
use crate::domain::flow::status::{RunStatus, StageStatus};

/// The most that the outputs of one checkpoint or one item, the inputs of one run, or a definition may be, as JSON.
pub const MAX_STATE_BYTES: usize = 64 << 20;

pub trait Store: Send {
    /// Numbers the run, takes the lock of its lineage and branch where its status holds one (`RunStatus::holds_lock`),
    /// and writes it down with all its stages. Where its key was used before, or the lock is held, nothing is written.
    fn begin(&mut self, new: &NewRun) -> Result<Begun, StoreError>;

    /// All of them or none; several runs may share a transaction. The answers are in the order of the changes: the
    /// checkpoint that one made. [`StoreError::Fenced`], [`StoreError::Ended`] and [`StoreError::Held`] name the run that
    /// is the reason: without its changes the rest may be committed. So does [`StoreError::Stale`], with its checkpoint.
    fn commit(&mut self, changes: &[Change]) -> Result<Vec<Option<CheckpointId>>, StoreError>;

    /// A checkpoint that no run makes: an edit. Its version is the next of its stage in the lineage, and these runs name
    /// it as theirs from then on: who has died between the one and the other would have lost the edit. They are fenced as
    /// in [`commit`](Self::commit).
    fn add_checkpoint(
        &mut self,
        root: &RunId,
        run: &RunId,
        new: &NewCheckpoint,
        adopters: &[Adopter],
    ) -> Result<CheckpointId, StoreError>;

    /// Sets the approval of a checkpoint that no run under way is concerned with. False: its bytes are not `hash`, or
    /// its approval is not `from`; nothing was written.
    fn judge(&mut self, root: &RunId, judgement: &Judgement) -> Result<bool, StoreError>;

    /// False: the lineage has a branch of that name; it always has `main`.
    fn add_branch(&mut self, root: &RunId, branch: &Branch) -> Result<bool, StoreError>;

    /// Whoever does that writes from now on; the epoch is a new one.
    fn take_over(&mut self, run: &RunId, holder: &str) -> Result<u64, StoreError>;

    /// With its stages and attempts.
    fn run(&mut self, run: &RunId) -> Result<Option<StoredRun>, StoreError>;
    /// A key is of its flow alone.
    fn run_of_key(&mut self, flow: &FlowName, key: &str) -> Result<Option<RunId>, StoreError>;
    /// Those that began last come first, without stages.
    fn runs(&mut self, filter: &RunFilter) -> Result<Vec<RunRecord>, StoreError>;
    /// Queued, running, waiting; the oldest first.
    fn unfinished(&mut self) -> Result<Vec<RunId>, StoreError>;
    /// Runs with a command after them that has not ended; the oldest first.
    fn open_hooks(&mut self) -> Result<Vec<RunId>, StoreError>;
    /// What became of the command after a run, or that it is executed once more.
    fn set_hook(&mut self, run: &RunId, hook: &HookRecord) -> Result<(), StoreError>;
    /// The text of a definition: the flow as it was when the run began.
    fn definition(&mut self, hash: &Hash) -> Result<Option<String>, StoreError>;
    /// One that is there and cannot be read is an error.
    fn checkpoint(&mut self, root: &RunId, id: &CheckpointId) -> Result<Option<Checkpoint>, StoreError>;
    /// Of a whole lineage, the oldest first. One that cannot be read is left out and told in the second list.
    fn checkpoints(&mut self, root: &RunId) -> Result<(Vec<Checkpoint>, Vec<String>), StoreError>;
    /// `main` comes first. None where no run of the lineage is there.
    fn branches(&mut self, root: &RunId) -> Result<Vec<Branch>, StoreError>;
    /// What is done of a stage that fans out, by item.
    fn items(&mut self, run: &RunId, stage: &StageName) -> Result<Vec<ItemRecord>, StoreError>;
    /// Who holds the lock of a lineage and branch.
    fn lock(&mut self, root: &RunId, branch: &BranchName) -> Result<Option<Held>, StoreError>;
    /// The retries on a branch that reuse it, the oldest first.
    fn retries_of(
        &mut self,
        root: &RunId,
        branch: &BranchName,
        checkpoint: &CheckpointId,
    ) -> Result<Vec<RunId>, StoreError>;
    /// What a stage was made by in a run, where that was noted.
    fn recipe_of(&mut self, run: &RunId, stage: &StageName) -> Result<Option<RecipeRecord>, StoreError>;
    /// How far a stage of a run is.
    fn stage_status(&mut self, run: &RunId, stage: &StageName) -> Result<Option<StageStatus>, StoreError>;
    /// Every artifact that a checkpoint or an item names, once.
    fn objects(&mut self) -> Result<Vec<Hash>, StoreError>;
    fn stats(&mut self, flow: Option<&FlowName>) -> Result<Stats, StoreError>;
    /// All of them or none. Refused while another run reuses their checkpoints, or another branch of a lineage that lives on
    /// leaves from one of these or stands on it, unless these runs and branches go, too; and where one of them is under way. The runs that are gone, the oldest first; what there is not is passed over.
    fn delete(&mut self, runs: &[RunId], cascade: bool) -> Result<Vec<RunId>, StoreError>;

    /// For a moment when nothing else is to be done: what would otherwise hold up a later write.
    fn maintain(&mut self) {}

    /// The last call of all: what would otherwise hold up whoever opens it next.
    fn close(&mut self) {}
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

/// A run that takes over an edit, as its holder of `epoch`.
#[derive(Debug, Clone, PartialEq)]
pub struct Adopter {
    pub run: RunId,
    pub epoch: u64,
    /// What else happens to it by that.
    pub also: Vec<What>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub run: RunId,
    pub holder: String,
}

/// A run as the store has it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRun {
    /// With stages, in order.
    pub record: RunRecord,
    pub epoch: u64,
    pub holder: String,
    pub approve_all: bool,
    /// What it might yet take when its clock was set going, or came to stand still: then it has no deadline.
    pub time_left: Option<Duration>,
    /// What of it cannot be read: something else stands there instead, which is good enough to look at it and to end it.
    pub unreadable: Option<String>,
}

/// Of a run that is damaged.
pub fn unread(why: &str) -> String {
    format!("its record cannot be read: {why}")
}

impl StoredRun {
    pub fn stages(&self) -> &[StageRecord] {
        self.record.stages.as_deref().unwrap_or_default()
    }
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
    /// What ended never changes.
    #[error("{run} has ended")]
    Ended { run: RunId },
    #[error("{run} cannot go on: {} is under way on its branch (held by {})", by.run, by.holder)]
    Held { run: RunId, by: Held },
    #[error("{checkpoint} is not what was judged")]
    Stale { checkpoint: CheckpointId },
    #[error("{run} is {status}; cancel it first")]
    UnderWay { run: RunId, status: RunStatus },
    #[error("{run} is reused by {}", builders(by, branches))]
    Reused { run: RunId, by: Vec<RunId>, branches: Vec<BranchName> },
    /// Written by a newer restage.
    #[error(
        "open the store {path}: it was written by a newer restage (version {found}, this one knows {known})"
    )]
    Newer { path: String, found: i64, known: i64 },
}
