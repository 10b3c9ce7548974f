//! Continuing: what it does, and whether it may. A screen that offers it and the verb that does it ask the same function, so
//! that nothing is promised that is then refused.
//!
//! It is about a branch and its newest run. It takes on what waits there; on a run that has ended it starts a new one
//! behind what is pending; what is approved already is built upon again only when that is insisted on.

use super::ask::BranchView;
use super::ids::{BranchName, CheckpointId, Hash, RunId};
use super::may::{find, rejected, row};
use super::plan::Start;
use super::record::{Branch, Checkpoint, RunRecord};
use super::refusal::Refusal;
use super::status::{Approval, RunStatus, StageStatus, Trigger};
use super::tree::{Lineage, waiting};

/// What continuing does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Continuation {
    /// The run that waits goes on.
    Approve {
        run: RunId,
        checkpoint: CheckpointId,
        hash: Hash,
    },
    /// The interrupted run goes on.
    Resume {
        run: RunId,
    },
    Again(Again),
}

/// A new run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again {
    /// Its parent.
    pub run: RunId,
    pub start: Start,
    pub branch: BranchName,
    /// Stands in for what the parent left of that stage.
    pub instead: Option<CheckpointId>,
    /// Is approved by that.
    pub approve: Option<(CheckpointId, Hash)>,
    pub trigger: Trigger,
}

/// From where somebody wants to continue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From {
    pub branch: BranchName,
    /// `None`: where the branch stands.
    pub checkpoint: Option<CheckpointId>,
    pub force_retry: bool,
}

/// Where `continue RUN` goes on: on the branch that is named. Else, with a checkpoint, on a branch that was forked there
/// and has not begun, since there is nothing else to be done there, or on the checkpoint's own. Else on that of the run.
pub fn branch_of(
    lineage: &Lineage<'_>,
    run: &RunRecord,
    branch: Option<&BranchName>,
    checkpoint: Option<&CheckpointId>,
    force_retry: bool,
) -> Result<BranchName, Refusal> {
    if let Some(branch) = branch {
        return known(lineage, &run.run_id, branch).map(|()| branch.clone());
    }
    let Some(id) = checkpoint else { return Ok(run.branch.clone()) };
    let found = find(lineage, &run.run_id, id)?;
    let fresh = |branch: &&Branch| {
        branch.forked_from.as_ref() == Some(id) && lineage.newest_run(&branch.branch_name).is_none()
    };
    let fork = lineage.branches.iter().rev().find(fresh).filter(|_| !force_retry);
    Ok(fork.map_or_else(|| found.branch.clone(), |branch| branch.branch_name.clone()))
}

/// What `retry RUN --branch NAME` retries.
pub fn run_of(lineage: &Lineage<'_>, run: &RunRecord, branch: &BranchName) -> Result<RunId, Refusal> {
    if *branch == run.branch {
        return Ok(run.run_id.clone());
    }
    known(lineage, &run.run_id, branch)?;
    let newest = lineage.newest_run(branch);
    newest.map(|run| run.run_id.clone()).ok_or_else(|| nothing_ran(&run.run_id, branch))
}

fn known(lineage: &Lineage<'_>, run: &RunId, branch: &BranchName) -> Result<(), Refusal> {
    if lineage.branch(branch).is_some() {
        return Ok(());
    }
    let known = lineage.branches.iter().map(|one| one.branch_name.clone()).collect();
    Err(Refusal::UnknownBranch { run: run.clone(), branch: branch.clone(), known })
}

/// `plan` makes the plan of the new run and tells whether it is refused.
pub fn may_continue(
    lineage: &Lineage<'_>,
    from: &From,
    plan: &mut dyn FnMut(&Again) -> Result<(), Refusal>,
) -> Result<Continuation, Refusal> {
    let Some(run) = lineage.newest_run(&from.branch) else {
        return first_of_fork(lineage, from, plan);
    };
    let (id, status) = (run.run_id.clone(), run.status);
    if from.force_retry && status != RunStatus::Failed {
        return Err(Refusal::NotFailed { run: id, status });
    }
    let named = from.checkpoint.as_ref().map(|named| find(lineage, &id, named)).transpose()?;
    if let Some(named) = named
        && named.approval == Approval::Rejected
    {
        return Err(rejected(&id, named));
    }
    match status {
        RunStatus::Queued | RunStatus::Running | RunStatus::Waiting => under_way(lineage, run, named),
        RunStatus::Interrupted => match named {
            Some(named) if named.approval == Approval::Pending => under_way(lineage, run, Some(named)),
            Some(_) | None => {
                // An older run may have been set going meanwhile.
                let on_branch = lineage.runs.iter().filter(|other| other.branch == run.branch);
                let holder =
                    on_branch.filter(|other| other.status.holds_lock()).find(|other| other.run_id != id);
                match holder {
                    Some(holder) => Err(Refusal::RetryLives {
                        run: id,
                        holder: holder.run_id.clone(),
                        branch: run.branch.clone(),
                    }),
                    None => Ok(Continuation::Resume { run: id }),
                }
            }
        },
        RunStatus::Succeeded | RunStatus::Degraded | RunStatus::Failed | RunStatus::Cancelled => {
            let again = ended(lineage, run, named, from)?;
            plan(&again)?;
            Ok(Continuation::Again(again))
        }
    }
}

fn first_of_fork(
    lineage: &Lineage<'_>,
    from: &From,
    plan: &mut dyn FnMut(&Again) -> Result<(), Refusal>,
) -> Result<Continuation, Refusal> {
    let any = lineage.runs.iter().max_by_key(|run| run.run_number);
    let run = any.map_or_else(|| RunId::trusted(from.branch.as_str()), |run| run.run_id.clone());
    known(lineage, &run, &from.branch)?;
    let Some(head) = lineage.head(&from.branch) else {
        return Err(no_checkpoint(&run, &from.branch));
    };
    let named = from.checkpoint.as_ref().map(|named| find(lineage, &run, named)).transpose()?;
    if let Some(named) = named
        && named.id != head.id
    {
        return Err(Refusal::Unusable {
            message: format!("branch {} stands at {}, not at {}", from.branch, head.id, named.id),
            hint: Some(format!("fork there: restage fork {run} --at {} --branch NAME", named.id)),
        });
    }
    if head.approval == Approval::Rejected {
        return Err(rejected(&run, head));
    }
    if from.force_retry {
        return Err(nothing_ran(&run, &from.branch));
    }
    let again = Again {
        run: head.run_id.clone(),
        start: Start::Fork(head.id.stage.clone()),
        branch: from.branch.clone(),
        instead: Some(head.id.clone()),
        approve: taken_on(head),
        trigger: Trigger::Continue,
    };
    plan(&again)?;
    Ok(Continuation::Again(again))
}

fn under_way(
    lineage: &Lineage<'_>,
    run: &RunRecord,
    named: Option<&Checkpoint>,
) -> Result<Continuation, Refusal> {
    let mut waits = waiting(run).filter_map(|row| row.checkpoint.as_ref());
    let id = match named {
        Some(named) if waits.any(|one| one.id == named.id) => &named.id,
        // An edit has taken its place, or it is of another run.
        Some(named) if named.approval == Approval::Pending => {
            return Err(Refusal::Stale { run: run.run_id.clone(), checkpoint: named.id.clone() });
        }
        Some(named) => {
            return Err(Refusal::AlreadyApproved { run: run.run_id.clone(), checkpoint: named.id.clone() });
        }
        None => match waits.next() {
            Some(first) => &first.id,
            None => return Err(Refusal::StillRuns { run: run.run_id.clone(), status: run.status }),
        },
    };
    let checkpoint = find(lineage, &run.run_id, id)?;
    Ok(Continuation::Approve {
        run: run.run_id.clone(),
        checkpoint: checkpoint.id.clone(),
        hash: checkpoint.hash.clone(),
    })
}

fn ended(
    lineage: &Lineage<'_>,
    run: &RunRecord,
    named: Option<&Checkpoint>,
    from: &From,
) -> Result<Again, Refusal> {
    let again = |start, instead, approve, trigger| Again {
        run: run.run_id.clone(),
        start,
        branch: from.branch.clone(),
        instead,
        approve,
        trigger,
    };
    let Some(at) = named.or_else(|| lineage.head(&from.branch)) else {
        return if from.force_retry {
            Ok(again(Start::FirstFailure, None, None, Trigger::Retry))
        } else {
            Err(no_checkpoint(&run.run_id, &from.branch))
        };
    };
    let behind =
        |trigger| again(Start::After(at.id.stage.clone()), Some(at.id.clone()), taken_on(at), trigger);
    match at.approval {
        Approval::Rejected => Err(rejected(&run.run_id, at)),
        Approval::Pending => Ok(behind(Trigger::Continue)),
        Approval::Approved if is_unused(run, at) => Ok(behind(Trigger::Continue)),
        Approval::Approved if from.force_retry && named.is_some() => Ok(behind(Trigger::Retry)),
        Approval::Approved if from.force_retry => Ok(again(Start::FirstFailure, None, None, Trigger::Retry)),
        Approval::Approved if run.status == RunStatus::Failed => {
            Err(Refusal::AlreadyApproved { run: run.run_id.clone(), checkpoint: at.id.clone() })
        }
        Approval::Approved => Err(Refusal::NotFailed { run: run.run_id.clone(), status: run.status }),
    }
}

/// Approved, but nothing has been built on it yet: an edit of what the run built on, or what the run still waited for
/// when it ended.
fn is_unused(run: &RunRecord, checkpoint: &Checkpoint) -> bool {
    let Some(row) = row(run, &checkpoint.id.stage) else { return false };
    row.checkpoint.as_ref().is_some_and(|seen| {
        let is_newer = checkpoint.edited_from.is_some() && seen.version < checkpoint.id.version;
        is_newer || seen.id == checkpoint.id && row.status == StageStatus::Cancelled
    })
}

fn taken_on(checkpoint: &Checkpoint) -> Option<(CheckpointId, Hash)> {
    (checkpoint.approval == Approval::Pending).then(|| (checkpoint.id.clone(), checkpoint.hash.clone()))
}

/// Where each branch stands, and whether continuing there would do something.
pub fn branch_views(
    lineage: &Lineage<'_>,
    plan: &mut dyn FnMut(&Again) -> Result<(), Refusal>,
) -> Vec<BranchView> {
    let mut view = |branch: &Branch| {
        let head = lineage.head(&branch.branch_name);
        let from = From { branch: branch.branch_name.clone(), checkpoint: None, force_retry: false };
        let answer = may_continue(lineage, &from, plan);
        BranchView {
            branch: branch.clone(),
            latest_checkpoint_id: head.map(|head| head.id.clone()),
            stage: head.map(|head| head.id.stage.clone()),
            status: head.map(|head| match head.approval {
                Approval::Pending => StageStatus::Waiting,
                Approval::Approved | Approval::Rejected => head.status,
            }),
            can_continue: answer.is_ok(),
            reason: match answer {
                Ok(continuation) => continuation.to_string(),
                Err(refusal) => format!("{refusal}; {}", refusal.hint()),
            },
        }
    };
    lineage.branches.iter().map(&mut view).collect()
}

impl std::fmt::Display for Continuation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Approve { run, checkpoint, .. } => write!(f, "approves {checkpoint}, and {run} goes on"),
            Self::Resume { run } => write!(f, "{run} goes on where it was interrupted"),
            Self::Again(again) => {
                if let Some((checkpoint, _)) = &again.approve {
                    write!(f, "approves {checkpoint}, and ")?;
                }
                match &again.start {
                    Start::FirstFailure => write!(f, "starts a new run from what failed in {}", again.run),
                    Start::At(stage) | Start::Rejected(stage) => write!(f, "starts a new run from {stage}"),
                    Start::After(stage) | Start::Fork(stage) => {
                        write!(f, "starts a new run on branch {} behind {stage}", again.branch)
                    }
                }
            }
        }
    }
}

fn nothing_ran(run: &RunId, branch: &BranchName) -> Refusal {
    Refusal::Unusable {
        message: format!("nothing has run on branch {branch}, so there is nothing to retry"),
        hint: Some(format!("begin there: restage continue {run} --branch {branch}")),
    }
}

fn no_checkpoint(run: &RunId, branch: &BranchName) -> Refusal {
    Refusal::Unusable {
        message: format!("there is no checkpoint on branch {branch} to continue from"),
        hint: Some(format!("retry it: restage retry {run}")),
    }
}

#[cfg(test)]
#[path = "proceed_tests.rs"]
mod tests;
