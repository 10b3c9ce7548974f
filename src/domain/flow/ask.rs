//! What can be asked of the flow engine, and what it answers: plain data, the same in the process and on the socket.

use serde::{Deserialize, Serialize};

use super::graph::Links;
use super::ids::{BranchName, CheckpointId, FlowName, Hash, RunId, StageName};
use super::record::{Branch, Checkpoint, RunFilter, RunRecord};
use super::refusal::Refusal;
use super::spec::{FlowSpec, StageSpec};
use super::status::{Decision, Reason, StageStatus};
use crate::domain::ids::Process;
use crate::domain::json::JsonMap;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowRequest {
    Run(RunWish),
    Retry(RetryWish),
    Cancel {
        run: RunId,
    },
    /// Gives the lock of a lineage and branch back whose holder is dead.
    Unlock {
        run: RunId,
    },
    Approve(ApproveWish),
    Reject(RejectWish),
    Continue(ContinueWish),
    Edit(EditWish),
    Fork(ForkWish),
    /// One run with its stages and attempts, and its branches.
    Show {
        run: RunId,
    },
    /// The same without what its stages left: as large as its state may be, that is told where somebody wants it.
    Glance {
        run: RunId,
    },
    Runs(RunFilter),
    /// Which stages of the run wait for which: as its own definition has it, whatever the config says by now.
    Links {
        run: RunId,
    },
    /// All checkpoints of the run's lineage.
    Checkpoints {
        run: RunId,
    },
    /// Who may retry, approve, …: what a screen offers.
    Can {
        run: RunId,
        stage: Option<StageName>,
    },
    /// Takes runs out of history, with their files: all of these or none.
    Delete {
        runs: Vec<RunId>,
        /// Also those that reuse their checkpoints.
        cascade: bool,
    },
    /// Deletes what no checkpoint names and what is old enough.
    Gc {
        dry_run: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunWish {
    pub flow: FlowName,
    pub inputs: JsonMap,
    pub key: Option<String>,
    pub caller: Option<RunId>,
    /// Approve every manual checkpoint by itself.
    #[serde(default)]
    pub approve_all: bool,
}

#[expect(clippy::struct_excessive_bools, reason = "each is an option of the verb, named where it is set")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetryWish {
    pub run: RunId,
    /// The newest run of this branch of the lineage instead, where that is another.
    pub branch: Option<BranchName>,
    /// `None`: what failed first.
    pub from: Option<StageName>,
    pub set: JsonMap,
    #[serde(default)]
    pub force: bool,
    /// Where another retry lives: wait for it, and run only if it fails.
    #[serde(default)]
    pub queue: bool,
    /// Only the plan.
    #[serde(default)]
    pub dry_run: bool,
    /// The plan that was looked at: where it has become another, that one is the answer, and nothing is begun.
    #[serde(default)]
    pub seen: Option<Hash>,
    #[serde(default)]
    pub approve_all: bool,
    /// Edits that wait are taken on in this name.
    #[serde(default)]
    pub who: Option<String>,
    /// Whoever asks; a queued wish of a dead one is dropped.
    #[serde(default)]
    pub asker: Option<Process>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApproveWish {
    pub run: RunId,
    /// `None`: the only one that waits.
    pub stage: Option<StageName>,
    /// The version that was looked at, on whatever branch of the lineage it stands; `None`: the one of the run.
    #[serde(default)]
    pub checkpoint: Option<CheckpointId>,
    /// The bytes that were looked at; others are refused.
    pub hash: Option<Hash>,
    pub who: String,
    pub note: Option<String>,
    /// From here on nobody is asked in this run.
    #[serde(default)]
    pub approve_all: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RejectWish {
    pub run: RunId,
    pub stage: StageName,
    /// As in [`ApproveWish`].
    #[serde(default)]
    pub checkpoint: Option<CheckpointId>,
    /// `None`: the rejected stage itself.
    pub rewind_to: Option<StageName>,
    /// The bytes that were looked at; others are refused.
    pub hash: Option<Hash>,
    pub feedback: String,
    pub who: String,
    /// From here on nobody is asked in this run.
    #[serde(default)]
    pub approve_all: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContinueWish {
    pub run: RunId,
    /// `None`: that of the checkpoint, or of the run.
    pub branch: Option<BranchName>,
    pub checkpoint: Option<CheckpointId>,
    #[serde(default)]
    pub force_retry: bool,
    pub who: String,
    #[serde(default)]
    pub approve_all: bool,
    /// Nobody supervised when it was wished for, and this run lay unfinished, so that all there was to do was to take it
    /// up again. Whoever supervises now has done that.
    #[serde(default)]
    pub lay: Option<RunId>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EditWish {
    pub run: RunId,
    /// `None`: that of the run.
    #[serde(default)]
    pub branch: Option<BranchName>,
    pub stage: StageName,
    /// The bytes that were edited; `None` edits whatever is the newest.
    pub hash: Option<Hash>,
    pub set: JsonMap,
    /// Artifacts by name, each with the file that replaces it.
    pub artifacts: Vec<(String, std::path::PathBuf)>,
    pub who: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForkWish {
    pub run: RunId,
    pub at: CheckpointId,
    pub branch: BranchName,
    pub who: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowReply {
    /// The run that does it; `existing` where it was there before, by its key.
    Run {
        run: RunId,
        existing: bool,
    },
    Plan(Plan),
    Shown(Box<Shown>),
    Runs(Vec<RunRecord>),
    /// In the order of its stages.
    Links(Vec<StageLinks>),
    Checkpoints {
        checkpoints: Vec<Checkpoint>,
        branches: Vec<BranchView>,
    },
    /// An edit made this; `None`: nothing differed.
    Edited {
        checkpoint: Option<CheckpointId>,
    },
    Can(Box<Can>),
    Collected(Collected),
    /// Of history, the oldest first.
    Done,
}

/// A run with what belongs to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    pub run: RunRecord,
    pub branches: Vec<BranchView>,
}

/// What one stage says of others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageLinks {
    pub name: StageName,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<StageName>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub optional_needs: Vec<StageName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validates: Option<StageName>,
}

impl StageLinks {
    pub fn of(flow: &FlowSpec) -> Vec<Self> {
        let one = |stage: &StageSpec| Self {
            name: stage.name.clone(),
            needs: stage.needs.clone(),
            optional_needs: stage.optional_needs.clone(),
            validates: stage.validates.clone(),
        };
        flow.stages.iter().map(one).collect()
    }
}

impl<'a> From<&'a StageLinks> for Links<'a> {
    fn from(stage: &'a StageLinks) -> Self {
        Self {
            name: &stage.name,
            needs: &stage.needs,
            optional_needs: &stage.optional_needs,
            validates: stage.validates.as_ref(),
        }
    }
}

/// As `show --json` prints it: one object.
#[derive(Debug, Serialize)]
pub struct Flat<'a> {
    #[serde(flatten)]
    run: &'a RunRecord,
    branches: &'a [BranchView],
}

impl Shown {
    pub fn flat(&self) -> Flat<'_> {
        Flat { run: &self.run, branches: &self.branches }
    }
}

/// The head of a branch, and whether `continue` would go on from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BranchView {
    #[serde(flatten)]
    pub branch: Branch,
    pub latest_checkpoint_id: Option<CheckpointId>,
    pub stage: Option<StageName>,
    pub status: Option<StageStatus>,
    pub can_continue: bool,
    /// Why not, or what it would do.
    pub reason: String,
}

/// What a retry does with each stage, in topological order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub run: RunId,
    pub from: StageName,
    pub retry_depth: u32,
    pub max_retry_depth: u32,
    pub stages: Vec<Planned>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    pub stage: StageName,
    pub decision: Decision,
    pub reason: Reason,
    /// For a person: which part of the recipe, which artifact, since when.
    pub detail: Option<String>,
    /// What is reused.
    pub checkpoint: Option<CheckpointId>,
    /// What it is made from as far as is known today, of one that is reused without a checkpoint.
    #[serde(skip)]
    pub input: Option<Hash>,
    pub source_run_id: Option<RunId>,
}

impl Plan {
    /// What it does, without the words: two plans of one hash begin the same run.
    pub fn hash(&self) -> Hash {
        let text = |of: &dyn std::fmt::Display| of.to_string();
        let or_none = |of: Option<String>| of.unwrap_or_default();
        let stages = self.stages.iter().flat_map(|one| {
            [
                text(&one.stage),
                one.decision.word().to_owned(),
                one.reason.word().to_owned(),
                or_none(one.checkpoint.as_ref().map(|checkpoint| text(checkpoint))),
                or_none(one.source_run_id.as_ref().map(|run| text(run))),
            ]
        });
        Hash::of([text(&self.run), text(&self.from)].into_iter().chain(stages))
    }
}

/// What a person may do with a run or a stage now; each refusal says why not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Can {
    pub retry: Result<(), Refusal>,
    pub cancel: Result<(), Refusal>,
    pub approve: Result<(), Refusal>,
    pub edit: Result<(), Refusal>,
    pub proceed: Result<(), Refusal>,
}

/// A branch that is no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoneBranch {
    pub root_run_id: RunId,
    pub branch_name: BranchName,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Collected {
    /// Those that were deleted, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<RunId>,
    /// Branches that were deleted with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<GoneBranch>,
    pub files: u64,
    pub bytes: u64,
    pub paths: Vec<std::path::PathBuf>,
    /// Runs of which it cannot be told what is needed; why, of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
}
