//! What is refused, each with its way out and the exit code that scripts may rely on.

use serde::{Deserialize, Serialize};

use super::ids::{BranchName, CheckpointId, FlowName, RunId, StageName};
use super::record::RunRecord;
use super::status::{Approval, RunStatus, StageStatus};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    #[error("{run} is {}", still(*status, *left))]
    StillRuns {
        run: RunId,
        status: RunStatus,
        /// Nobody supervises it.
        left: bool,
    },
    #[error("{holder} is under way on branch {branch} of the same lineage")]
    RetryLives { run: RunId, holder: RunId, branch: BranchName },
    #[error("{queued} is queued already to do that: a retry of {run} from {from}")]
    QueuedAlready { run: RunId, queued: RunId, from: StageName },
    #[error("{stage} of {run} succeeded{}", by.as_ref().map(|by| format!(" in its retry {by}")).unwrap_or_default())]
    Succeeded {
        run: RunId,
        stage: StageName,
        by: Option<RunId>,
        /// It never ran in the run itself.
        #[serde(default)]
        never_ran: bool,
    },
    /// There is no target, and none was named.
    #[error("nothing failed in {run}, so there is nothing to retry")]
    NothingFailed { run: RunId },
    /// It is in the run, and not in today's config.
    #[error("{stage}, {status} in {run}, is not in today's config any more")]
    Gone { run: RunId, stage: StageName, status: StageStatus, known: Vec<StageName> },
    #[error("{stage} never ran in {run}")]
    NeverRan {
        run: RunId,
        stage: StageName,
        start: StageName,
        /// It was ruled out, and these inputs decide on that.
        set: Vec<String>,
        /// Where to start has succeeded.
        force: bool,
    },
    #[error("{}, which left no usable checkpoint: {why}", needed(stage, ancestor))]
    NoCheckpoint { run: RunId, stage: StageName, ancestor: StageName, why: String },
    #[error("{stage} requires {}, which nothing provides", keys.join(", "))]
    MissingKeys { run: RunId, stage: StageName, keys: Vec<String> },
    #[error("{flow} requires the input{} {}", if keys.len() == 1 { "" } else { "s" }, keys.join(", "))]
    MissingInputs { flow: FlowName, run: Option<RunId>, keys: Vec<String> },
    #[error("{run} is {depth} retries deep, and {max} is the limit")]
    TooDeep { run: RunId, depth: u32, max: u32 },
    #[error("{checkpoint} was retried {count} times, and {max} is the limit")]
    TooManyRetries {
        run: RunId,
        checkpoint: CheckpointId,
        count: u32,
        max: u32,
        /// What failed is built on another one, and may be retried.
        retry: bool,
    },

    #[error("no run is called {run}")]
    UnknownRun { run: String, near: Vec<RunId> },
    #[error("{run} has no stage {stage}")]
    UnknownStage { run: RunId, stage: String, known: Vec<StageName> },
    #[error("no flow is called {flow}")]
    UnknownFlow { flow: String, known: Vec<String> },
    #[error("the lineage of {run} has no checkpoint {checkpoint}")]
    UnknownCheckpoint { run: RunId, checkpoint: String, known: Vec<CheckpointId> },
    #[error("the lineage of {run} has no branch {branch}")]
    UnknownBranch { run: RunId, branch: BranchName, known: Vec<BranchName> },
    #[error("the lineage of {run} has a branch {branch} already")]
    BranchExists { run: RunId, branch: BranchName },
    /// A wrong input or another impossible wish; the message says what to do.
    #[error("{message}")]
    Unusable { message: String, hint: Option<String> },
    #[error("{other} of the same flow is under way, and its concurrency is \"refuse\"")]
    Concurrent { other: RunId },
    #[error("{run} is {status}, and has nothing to be cancelled")]
    Ended { run: RunId, status: RunStatus },
    #[error("{run} does not wait for anybody")]
    NotWaiting { run: RunId, status: RunStatus },
    #[error("{checkpoint} is not what was looked at: it has changed since")]
    Stale { run: RunId, checkpoint: CheckpointId },
    #[error("checkpoint already approved")]
    AlreadyApproved {
        run: RunId,
        checkpoint: CheckpointId,
        /// What is possible of continuing behind it, and of a retry of the run.
        again: bool,
        retry: bool,
    },
    /// It is approved, but its run has not failed; or it is pending, and its run has gone another way.
    #[error("{checkpoint} is {approval}, and {run} {}", doing(*status, waits.as_ref()))]
    Elsewhere {
        run: RunId,
        checkpoint: CheckpointId,
        approval: Approval,
        status: RunStatus,
        waits: Option<CheckpointId>,
    },
    /// On a branch on which nothing has run yet.
    #[error("{checkpoint} is {approval}, and nothing has run on branch {branch} yet")]
    Judged { run: RunId, checkpoint: CheckpointId, approval: Approval, branch: BranchName },
    /// What was named is not what the branch stands on.
    #[error("{by} ({approval}) stands in the place of {checkpoint} on branch {branch}")]
    Replaced {
        run: RunId,
        checkpoint: CheckpointId,
        by: CheckpointId,
        approval: Approval,
        branch: BranchName,
        /// The run has ended, and is that of the branch, so that it can be retried.
        ended: bool,
    },
    #[error("{checkpoint} is not what it was: {why}")]
    Damaged {
        run: RunId,
        checkpoint: CheckpointId,
        /// One on which nothing has run yet.
        branch: Option<BranchName>,
        why: String,
    },
    #[error("{checkpoint} was rejected, and nothing is built on it")]
    Rejected { run: RunId, checkpoint: CheckpointId, status: RunStatus },
    #[error("{run} is {status}, not failed")]
    NotFailed { run: RunId, status: RunStatus },
    #[error("{stage} of {run} {}", became(*status))]
    WrongStage { run: RunId, stage: StageName, status: StageStatus },
    #[error("the holder of the lock of {run} lives: pid {pid}")]
    HolderLives { run: RunId, pid: i32 },
    #[error("{run} is not locked")]
    NotLocked { run: RunId },
    #[error("{run} is built on by {}", builders(by, branches))]
    Reused { run: RunId, by: Vec<RunId>, branches: Vec<BranchName> },
    #[error("the store: {0}")]
    Store(String),
    /// It was asked for in time, and is done when it can be written down.
    #[error("it is not on record yet: {0}")]
    NotYet(String),
    #[error("the supervisor is ending")]
    Ending,
}

impl Refusal {
    /// Of a run that has not ended.
    pub fn still_runs(run: &RunRecord) -> Self {
        Self::StillRuns { run: run.run_id.clone(), status: run.status, left: run.left }
    }

    /// The exit code that scripts may rely on.
    pub const fn code(&self) -> u8 {
        match self {
            Self::StillRuns { .. } => 10,
            Self::RetryLives { .. } | Self::QueuedAlready { .. } => 11,
            Self::Succeeded { .. } | Self::NothingFailed { .. } => 12,
            Self::NeverRan { .. } => 13,
            Self::WrongStage { status, .. } if status.never_ran() => 13,
            Self::NoCheckpoint { .. } | Self::Damaged { .. } => 14,
            Self::MissingKeys { .. } | Self::MissingInputs { .. } => 15,
            Self::TooDeep { .. } | Self::TooManyRetries { .. } => 16,
            Self::UnknownRun { .. }
            | Self::Gone { .. }
            | Self::UnknownStage { .. }
            | Self::UnknownFlow { .. }
            | Self::UnknownCheckpoint { .. }
            | Self::UnknownBranch { .. } => 3,
            Self::Unusable { .. } | Self::BranchExists { .. } => 2,
            Self::AlreadyApproved { .. }
            | Self::Elsewhere { .. }
            | Self::Judged { .. }
            | Self::Rejected { .. }
            | Self::NotFailed { .. }
            | Self::NotWaiting { .. }
            | Self::WrongStage { .. } => 17,
            Self::Stale { .. } | Self::Replaced { .. } => 18,
            Self::Concurrent { .. }
            | Self::Ended { .. }
            | Self::HolderLives { .. }
            | Self::NotLocked { .. }
            | Self::Reused { .. }
            | Self::Store(_)
            | Self::NotYet(_)
            | Self::Ending => 1,
        }
    }

    /// The run that is in the way of what was wished for.
    pub const fn in_the_way(&self) -> Option<&RunId> {
        if let Self::RetryLives { holder: run, .. }
        | Self::QueuedAlready { queued: run, .. }
        | Self::Elsewhere { run, waits: None, .. } = self
        {
            Some(run)
        } else {
            None
        }
    }

    /// It follows from what is on record of runs, whoever looks.
    pub const fn is_of_record(&self) -> bool {
        let unknown = matches!(
            self,
            Self::UnknownRun { .. }
                | Self::UnknownStage { .. }
                | Self::UnknownCheckpoint { .. }
                | Self::UnknownBranch { .. }
        );
        unknown || matches!(self.code(), 10..=18)
    }

    /// The way out.
    #[expect(clippy::too_many_lines, reason = "a list: one way out for each refusal")]
    pub fn hint(&self) -> String {
        match self {
            Self::StillRuns { run, status, left } if *left || *status == RunStatus::Interrupted => {
                format!("go on with it: restage continue {run}; or end it for good: restage cancel {run}")
            }
            Self::StillRuns { run, .. } | Self::Concurrent { other: run } => {
                format!("wait for it, or end it: restage cancel {run}")
            }
            Self::RetryLives { run, holder, .. } => format!(
                "look at it: restage show {holder}; or run after it, if it fails: restage retry {run} --queue"
            ),
            Self::QueuedAlready { queued, .. } => {
                format!(
                    "it has its turn by itself: restage show {queued}; to take it back: restage cancel {queued}"
                )
            }
            Self::Succeeded { run, stage, by: None, .. } => {
                format!("to execute it again all the same: restage retry {run} --from {stage} --force")
            }
            Self::Succeeded { run, stage, by: Some(by), never_ran } => {
                let again = if *never_ran { by } else { run };
                format!(
                    "look at it: restage show {by}; to execute it again all the same: restage retry {again} --from {stage} \
                     --force"
                )
            }
            Self::NothingFailed { run } => format!(
                "to execute a stage again all the same, with all that depends on it: restage retry {run} --from STAGE --force; \
                 or what has changed since, and everything where nothing has: restage retry {run} --force"
            ),
            Self::Gone { run, known, .. } => format!(
                "put it back; or execute what has changed since, and everything where nothing has: restage retry {run} --force; \
                 or begin with another: restage retry {run} --from STAGE (there are: {})",
                join(known)
            ),
            Self::NeverRan { run, start, set, .. } if !set.is_empty() => {
                let sets: Vec<String> = set.iter().map(|key| format!("--set {key}=…")).collect();
                format!("change what ruled it out: restage retry {run} --from {start} {}", sets.join(" "))
            }
            Self::NeverRan { run, start, force: true, .. } => {
                format!("execute {start} again first: restage retry {run} --from {start} --force")
            }
            Self::NeverRan { run, start, .. } => {
                format!("start where it ended: restage retry {run} --from {start}")
            }
            Self::NoCheckpoint { run, ancestor, .. } => {
                format!("start there: restage retry {run} --from {ancestor}")
            }
            Self::MissingKeys { run, keys, .. } => {
                let sets: Vec<String> = keys.iter().map(|key| format!("--set {key}=…")).collect();
                format!("give them: restage retry {run} {}", sets.join(" "))
            }
            Self::MissingInputs { run: Some(run), keys, .. } => {
                let sets: Vec<String> = keys.iter().map(|key| format!("--set {key}=…")).collect();
                format!("give {}: restage retry {run} {}", them(keys), sets.join(" "))
            }
            Self::MissingInputs { flow, run: None, keys } => {
                let given: Vec<String> = keys.iter().map(|key| format!("--input {key}=…")).collect();
                format!("give {}: restage run {flow} {}", them(keys), given.join(" "))
            }
            Self::TooDeep { run, .. } => format!(
                "start anew: restage run, with the inputs that `restage show {run}` lists; or raise max_retry_depth"
            ),
            Self::TooManyRetries { run, checkpoint, retry, .. } => {
                let chain = if *retry {
                    format!("; or retry what failed: restage retry {run}")
                } else {
                    String::new()
                };
                format!(
                    "edit what it is built on: restage edit {run} {}{chain}; or raise max_retries_per_checkpoint",
                    checkpoint.stage
                )
            }
            Self::UnknownRun { near, .. } if near.is_empty() => "`restage runs` lists them".into(),
            Self::UnknownRun { near, .. } => format!("there are: {}; `restage runs` lists all", join(near)),
            Self::UnknownStage { known, .. } => format!("there are: {}", join(known)),
            Self::UnknownFlow { known, .. } if known.is_empty() => {
                "the config has none; add one under \"flows\"".into()
            }
            Self::UnknownFlow { known, .. } => format!("there are: {}", known.join(", ")),
            Self::UnknownCheckpoint { run, known, .. } => {
                format!("there are: {}; the tree: restage checkpoints {run}", join(known))
            }
            Self::UnknownBranch { run, known, .. } => {
                format!("there are: {}; the tree: restage checkpoints {run}", join(known))
            }
            Self::BranchExists { run, .. } => {
                format!("take another name; the tree: restage checkpoints {run}")
            }
            Self::Unusable { hint, .. } => hint.clone().unwrap_or_default(),
            Self::Stale { run, checkpoint } => {
                format!(
                    "look at it again: restage state {run} {checkpoint}, and restage artifacts {run} {checkpoint}"
                )
            }
            Self::Elsewhere { run, waits: Some(at), .. } => {
                format!("that is what can be judged: restage approve {run} {}", at.stage)
            }
            Self::Elsewhere { run, status, .. } if !status.is_final() => {
                format!("wait for it, or end it: restage cancel {run}")
            }
            Self::Judged { run, approval: Approval::Approved | Approval::Pending, branch, .. } => {
                format!("go on there: restage continue {run} --branch {branch}")
            }
            Self::Judged { run, checkpoint, branch, .. } => format!(
                "put something else in its place: restage edit {run} {} --branch {branch} --set KEY=VALUE; or leave from another: \
                 restage fork {run} --at CP --branch NAME",
                checkpoint.stage
            ),
            Self::Ended { run, .. } | Self::Elsewhere { run, .. } => {
                format!("what it did: restage show {run}")
            }
            Self::Replaced { run, checkpoint, by, approval, ended, .. } => {
                let approve = match approval {
                    Approval::Pending => format!("approve it: restage approve {run} {by}; or "),
                    Approval::Approved | Approval::Rejected => String::new(),
                };
                let retry = if *ended {
                    format!("go on as it is now: restage retry {run}; or ")
                } else {
                    String::new()
                };
                format!(
                    "{approve}{retry}go another way from what you named: restage fork {run} --at {checkpoint} --branch NAME"
                )
            }
            Self::Damaged { run, checkpoint, branch: Some(branch), .. } => format!(
                "give it again: restage edit {run} {stage} --branch {branch} --artifact NAME=FILE; or leave from another: \
                 restage fork {run} --at CP --branch NAME",
                stage = checkpoint.stage
            ),
            Self::Damaged { run, checkpoint, branch: None, .. } => format!(
                "have it made anew: restage reject {run} {stage} --feedback TEXT; or give it again: \
                 restage edit {run} {stage} --artifact NAME=FILE",
                stage = checkpoint.stage
            ),
            Self::Rejected { run, status, .. } if status.is_final() => {
                format!("make it anew, with what was said: restage retry {run}")
            }
            Self::Rejected { run, .. } => format!("it is made anew: restage show {run}"),
            Self::AlreadyApproved { run, again: false, .. } => {
                format!("to run again what failed: restage retry {run}")
            }
            Self::AlreadyApproved { run, checkpoint, again: true, retry } => {
                let or = if *retry { format!(" (or restage retry {run})") } else { String::new() };
                format!(
                    "to run again from here: restage continue {run} --checkpoint {checkpoint} --force-retry{or}"
                )
            }
            Self::NotWaiting { run, .. } | Self::NotFailed { run, .. } => {
                format!("what it does: restage show {run}")
            }
            Self::NotLocked { run } => format!("how it stands: restage show {run}"),
            Self::WrongStage { run, .. } => format!("its stages: restage show {run}"),
            Self::HolderLives { run, .. } => format!("end it: restage cancel {run}"),
            Self::Reused { run, by, .. } if by.is_empty() => {
                format!("delete that, too: restage delete {run} --cascade")
            }
            Self::Reused { run, .. } => {
                format!("delete these first, or all at once: restage delete {run} --cascade")
            }
            Self::Store(_) => "`restage doctor` looks at the folder".into(),
            Self::NotYet(_) => {
                "it is done as soon as there is room, unless the supervisor ends before; `restage runs` tells"
                    .into()
            }
            Self::Ending => "try again in a moment".into(),
        }
    }
}

const fn them(keys: &[String]) -> &'static str {
    if keys.len() == 1 { "it" } else { "them" }
}

fn needed(stage: &StageName, ancestor: &StageName) -> String {
    if stage == ancestor {
        format!("nothing can go on behind {stage}")
    } else {
        format!("{stage} needs {ancestor}")
    }
}

fn doing(status: RunStatus, waits: Option<&CheckpointId>) -> String {
    match waits {
        Some(at) => format!("waits at {at}"),
        None => format!("is {status}"),
    }
}

fn still(status: RunStatus, left: bool) -> String {
    if status == RunStatus::Interrupted {
        "interrupted, and has not ended".into()
    } else if left {
        format!("{status} by its record, and nobody supervises it")
    } else {
        format!("still {status}")
    }
}

fn became(status: StageStatus) -> String {
    match status {
        StageStatus::Pending | StageStatus::NotRun => "has not run".into(),
        StageStatus::Skipped => "was skipped, and left nothing".into(),
        StageStatus::Running => "still runs, and has left nothing yet".into(),
        StageStatus::Backoff => "is to be started again, and has left nothing yet".into(),
        StageStatus::Failed => "failed, and left nothing".into(),
        StageStatus::Cancelled => "was cancelled, and left nothing".into(),
        StageStatus::Waiting | StageStatus::Succeeded | StageStatus::Degraded => {
            format!("is {status}, and has no version that waits")
        }
    }
}

/// Who builds on a run.
pub fn builders(runs: &[RunId], branches: &[BranchName]) -> String {
    let branches = branches.iter().map(|branch| format!("branch {branch}"));
    join(&runs.iter().map(ToString::to_string).chain(branches).collect::<Vec<_>>())
}

fn join<T: ToString>(list: &[T]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
