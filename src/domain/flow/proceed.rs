//! Continuing: what it does, and whether it may. A screen that offers it and the verb that does it ask the same function, so
//! that nothing is promised that is then refused.
//!
//! It is about a branch and its newest run. It takes on what waits there; on a run that has ended it starts a new one
//! behind what is pending; what is approved already is built upon again only when that is insisted on.

use super::ask::BranchView;
use super::ids::{BranchName, CheckpointId, Hash, RunId};
use super::may::{elsewhere, find, replaced, row};
use super::plan::Start;
use super::record::{Branch, Checkpoint, RunRecord};
use super::refusal::Refusal;
use super::status::{Approval, Cause, RunStatus, StageStatus};
use super::tree::{Lineage, waiting};

/// What continuing does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Continuation {
    /// The run that waits goes on.
    Approve {
        run: RunId,
        checkpoint: CheckpointId,
        hash: Hash,
        /// Runs on other branches that wait for the same, and go on with it.
        also: Vec<(RunId, BranchName)>,
    },
    /// The run that was interrupted, or is carried out by nobody, goes on.
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
    pub cause: Cause,
    /// Runs on other branches that wait for what is approved by that, and go on with it.
    pub also: Vec<(RunId, BranchName)>,
}

/// What has to be looked at to tell whether it can be done: as thoroughly as whoever asks has time for.
pub trait Ahead {
    /// Makes the plan of the new run, and tells whether it is refused.
    fn plan(&mut self, again: &Again) -> Result<(), Refusal>;
    /// Whether the artifacts are there and are what they were; the error says which is not.
    fn look(&mut self, checkpoint: &Checkpoint) -> Result<(), String>;
}

/// From where somebody wants to continue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From {
    pub branch: BranchName,
    /// `None`: where the branch stands.
    pub checkpoint: Option<CheckpointId>,
    pub force_retry: bool,
}

/// Where `continue RUN` goes on: on the branch that is named. Else, with a checkpoint, on a branch that stands there: that
/// of the run, or the only one; else on the checkpoint's own. Else on that of the run.
pub fn branch_of(
    lineage: &Lineage<'_>,
    run: &RunRecord,
    branch: Option<&BranchName>,
    checkpoint: Option<&CheckpointId>,
) -> Result<BranchName, Refusal> {
    if let Some(branch) = branch {
        return known(lineage, &run.run_id, branch).map(|()| branch.clone());
    }
    let Some(id) = checkpoint else { return Ok(run.branch.clone()) };
    let found = find(lineage, &run.run_id, id)?;
    let names = lineage.branches.iter().map(|branch| &branch.branch_name);
    let stand: Vec<&BranchName> =
        names.filter(|name| lineage.head(name).is_some_and(|head| head.id == *id)).collect();
    match stand.as_slice() {
        [] => Ok(found.branch.clone()),
        [only] => Ok(BranchName::clone(only)),
        several if several.contains(&&run.branch) => Ok(run.branch.clone()),
        several => {
            let names: Vec<&str> = several.iter().map(|name| name.as_str()).collect();
            Err(Refusal::Unusable {
                message: format!("several branches stand at {id}: {}", names.join(", ")),
                hint: Some(format!(
                    "name one: restage continue {} --checkpoint {id} --branch {}",
                    run.run_id, names[0]
                )),
            })
        }
    }
}

/// What `retry RUN --branch NAME` retries. Where nothing has run, it is told how to begin, if that is possible.
pub fn run_of(
    lineage: &Lineage<'_>,
    run: &RunRecord,
    branch: &BranchName,
    ahead: &mut dyn Ahead,
) -> Result<RunId, Refusal> {
    if *branch == run.branch {
        return Ok(run.run_id.clone());
    }
    known(lineage, &run.run_id, branch)?;
    if let Some(newest) = lineage.newest_run(branch) {
        return Ok(newest.run_id.clone());
    }
    let from = From { branch: branch.clone(), checkpoint: None, force_retry: false };
    may_continue(lineage, &from, ahead)?;
    Err(nothing_ran(&run.run_id, branch))
}

pub(super) fn known(lineage: &Lineage<'_>, run: &RunId, branch: &BranchName) -> Result<(), Refusal> {
    if lineage.branch(branch).is_some() {
        return Ok(());
    }
    let known = lineage.branches.iter().map(|one| one.branch_name.clone()).collect();
    Err(Refusal::UnknownBranch { run: run.clone(), branch: branch.clone(), known })
}

pub fn may_continue(
    lineage: &Lineage<'_>,
    from: &From,
    ahead: &mut dyn Ahead,
) -> Result<Continuation, Refusal> {
    let Some(run) = lineage.newest_run(&from.branch) else {
        return first_of_fork(lineage, from, ahead);
    };
    let (id, status) = (run.run_id.clone(), run.status);
    if from.force_retry && status != RunStatus::Failed {
        return Err(Refusal::NotFailed { run: id, status });
    }
    let named = from.checkpoint.as_ref().map(|named| find(lineage, &id, named)).transpose()?;
    if let Some(named) = named
        && named.approval == Approval::Rejected
    {
        return Err(Refusal::Rejected { run: id, checkpoint: named.id.clone(), status });
    }
    match status {
        RunStatus::Queued | RunStatus::Running | RunStatus::Waiting => under_way(lineage, run, named, ahead),
        RunStatus::Interrupted => match named {
            Some(named) if named.approval == Approval::Pending => under_way(lineage, run, Some(named), ahead),
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
            let again = ended(lineage, run, named, from, ahead)?;
            match ahead.plan(&again) {
                Ok(()) => Ok(Continuation::Again(again)),
                Err(Refusal::TooManyRetries { run: id, checkpoint, count, max, .. }) => {
                    let retry = ahead.plan(&retry_of(run)).is_ok();
                    Err(Refusal::TooManyRetries { run: id, checkpoint, count, max, retry })
                }
                Err(refusal) => Err(refusal),
            }
        }
    }
}

/// As `retry RUN` does it.
fn retry_of(run: &RunRecord) -> Again {
    Again {
        run: run.run_id.clone(),
        start: Start::FirstFailure,
        branch: run.branch.clone(),
        instead: None,
        approve: None,
        cause: Cause::Retry,
        also: Vec::new(),
    }
}

fn first_of_fork(lineage: &Lineage<'_>, from: &From, ahead: &mut dyn Ahead) -> Result<Continuation, Refusal> {
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
        let (checkpoint, approval, branch) = (head.id.clone(), head.approval, from.branch.clone());
        return Err(Refusal::Judged { run, checkpoint, approval, branch });
    }
    let again = Again {
        run: head.run_id.clone(),
        start: Start::Fork(head.id.stage.clone()),
        branch: from.branch.clone(),
        instead: Some(head.id.clone()),
        approve: taken_on(head),
        cause: Cause::Continue,
        also: also(lineage, None, head),
    };
    // What a person made is not to be lost because its bytes are.
    let stands = lineage.forked(&from.branch);
    let of_people = stands
        .into_iter()
        .filter(|one| one.edited_from.is_some() || one.id == head.id && again.approve.is_some());
    for one in of_people {
        looked_at(ahead, &run, Some(&from.branch), one)?;
    }
    ahead.plan(&again)?;
    if from.force_retry {
        return Err(nothing_ran(&run, &from.branch));
    }
    Ok(Continuation::Again(again))
}

fn under_way(
    lineage: &Lineage<'_>,
    run: &RunRecord,
    named: Option<&Checkpoint>,
    ahead: &mut dyn Ahead,
) -> Result<Continuation, Refusal> {
    let id = run.run_id.clone();
    let waits: Vec<&CheckpointId> =
        waiting(run).filter_map(|row| row.checkpoint.as_ref()).map(|one| &one.id).collect();
    let stands_there = |named: &Checkpoint| lineage.head(&run.branch).is_some_and(|head| head.id == named.id);
    let at = match named {
        Some(named) if waits.contains(&&named.id) => &named.id,
        // To name where the branch stands is to name nothing.
        Some(named) if run.left && waits.is_empty() && stands_there(named) => {
            return Ok(Continuation::Resume { run: id });
        }
        Some(named) => {
            not_replaced(lineage, run, named)?;
            return Err(elsewhere(run, named));
        }
        None => match waits.first() {
            Some(first) => first,
            None if run.left => return Ok(Continuation::Resume { run: id }),
            None => return Err(Refusal::still_runs(run)),
        },
    };
    let checkpoint = find(lineage, &id, at)?;
    looked_at(ahead, &id, None, checkpoint)?;
    Ok(Continuation::Approve {
        also: also(lineage, Some(&id), checkpoint),
        run: id,
        checkpoint: checkpoint.id.clone(),
        hash: checkpoint.hash.clone(),
    })
}

/// What is approved are these bytes, and they have to be there. `branch`: one on which nothing has run yet.
pub fn looked_at(
    ahead: &mut dyn Ahead,
    run: &RunId,
    branch: Option<&BranchName>,
    checkpoint: &Checkpoint,
) -> Result<(), Refusal> {
    ahead.look(checkpoint).map_err(|why| Refusal::Damaged {
        run: run.clone(),
        checkpoint: checkpoint.id.clone(),
        branch: branch.cloned(),
        why,
    })
}

/// Whoever names a checkpoint has looked at that version, and not at one that has taken its place.
fn not_replaced(lineage: &Lineage<'_>, run: &RunRecord, named: &Checkpoint) -> Result<(), Refusal> {
    let there = row(run, &named.id.stage).and_then(|row| lineage.current(run, row));
    match there.filter(|there| there.id != named.id) {
        None => Ok(()),
        Some(there) => Err(replaced(run, &run.branch, named, there)),
    }
}

/// The other runs that wait for a checkpoint: it was made before their branches parted. One that was interrupted while
/// another is under way in its place cannot go on.
fn also(lineage: &Lineage<'_>, run: Option<&RunId>, checkpoint: &Checkpoint) -> Vec<(RunId, BranchName)> {
    let waits = |other: &&RunRecord| {
        let in_the_way = |one: &RunRecord| {
            one.branch == other.branch && one.status.holds_lock() && one.run_id != other.run_id
        };
        Some(&other.run_id) != run
            && !other.status.is_final()
            && waiting(other).any(|row| row.checkpoint.as_ref().is_some_and(|one| one.id == checkpoint.id))
            && !lineage.runs.iter().any(in_the_way)
    };
    let others = lineage.runs.iter().filter(waits);
    others.map(|other| (other.run_id.clone(), other.branch.clone())).collect()
}

fn ended(
    lineage: &Lineage<'_>,
    run: &RunRecord,
    named: Option<&Checkpoint>,
    from: &From,
    ahead: &mut dyn Ahead,
) -> Result<Again, Refusal> {
    let (id, status) = (run.run_id.clone(), run.status);
    let again = |start, at: Option<&Checkpoint>, cause| Again {
        run: run.run_id.clone(),
        start,
        branch: from.branch.clone(),
        instead: at.map(|at| at.id.clone()),
        approve: at.and_then(taken_on),
        cause,
        also: at.map(|at| also(lineage, None, at)).unwrap_or_default(),
    };
    let first_failure = || again(Start::FirstFailure, None, Cause::Retry);
    let head = lineage.head(&from.branch);
    // To name where the branch stands is to name nothing.
    if let Some(named) = named.filter(|named| head.is_none_or(|head| head.id != named.id)) {
        not_replaced(lineage, run, named)?;
    }
    let Some(at) = named.or(head) else {
        return if from.force_retry {
            Ok(first_failure())
        } else {
            // A retry that is not possible is not recommended: it says itself what is.
            Err(ahead.plan(&retry_of(run)).err().unwrap_or_else(|| no_checkpoint(&id, &from.branch)))
        };
    };
    let behind = |cause| again(Start::After(at.id.stage.clone()), Some(at), cause);
    match at.approval {
        Approval::Rejected if from.force_retry && named.is_none() => Ok(first_failure()),
        Approval::Rejected => Err(Refusal::Rejected { run: id, checkpoint: at.id.clone(), status }),
        Approval::Pending => {
            looked_at(ahead, &id, None, at)?;
            Ok(behind(Cause::Continue))
        }
        Approval::Approved if is_unused(run, at) => Ok(behind(Cause::Continue)),
        Approval::Approved if from.force_retry && named.is_some() => Ok(behind(Cause::Retry)),
        Approval::Approved if from.force_retry => Ok(first_failure()),
        Approval::Approved if status == RunStatus::Failed => Err(already_approved(lineage, run, at, ahead)),
        Approval::Approved => Err(Refusal::NotFailed { run: id, status }),
    }
}

/// Of a run that failed. What cannot be done is not recommended.
fn already_approved(
    lineage: &Lineage<'_>,
    run: &RunRecord,
    checkpoint: &Checkpoint,
    ahead: &mut dyn Ahead,
) -> Refusal {
    let from =
        From { branch: run.branch.clone(), checkpoint: Some(checkpoint.id.clone()), force_retry: true };
    let again = may_continue(lineage, &from, ahead).is_ok();
    let retry = ahead.plan(&retry_of(run));
    match (again, retry) {
        (false, Err(refusal)) => refusal,
        (again, retry) => Refusal::AlreadyApproved {
            run: run.run_id.clone(),
            checkpoint: checkpoint.id.clone(),
            again,
            retry: retry.is_ok(),
        },
    }
}

/// A refusal that recommends something is to recommend what is possible.
pub fn with_what_works(lineage: &Lineage<'_>, refusal: Refusal, ahead: &mut dyn Ahead) -> Refusal {
    let Refusal::AlreadyApproved { run, checkpoint, .. } = &refusal else { return refusal };
    let run = lineage.runs.iter().find(|one| one.run_id == *run);
    match run.zip(lineage.checkpoint(checkpoint)) {
        Some((run, checkpoint)) => already_approved(lineage, run, checkpoint, ahead),
        None => refusal,
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
pub fn branch_views(lineage: &Lineage<'_>, ahead: &mut dyn Ahead) -> Vec<BranchView> {
    let mut view = |branch: &Branch| {
        let head = lineage.head(&branch.branch_name);
        let from = From { branch: branch.branch_name.clone(), checkpoint: None, force_retry: false };
        let answer = may_continue(lineage, &from, ahead);
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
            Self::Approve { run, checkpoint, also, .. } => {
                write!(f, "approves {checkpoint}, and {run} goes on")?;
                others(f, also)
            }
            Self::Resume { run } => write!(f, "{run} goes on where it stopped"),
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
                }?;
                others(f, &again.also)
            }
        }
    }
}

fn others(f: &mut std::fmt::Formatter<'_>, also: &[(RunId, BranchName)]) -> std::fmt::Result {
    also.iter().try_for_each(|(run, branch)| write!(f, "; {run} on branch {branch} goes on with it, too"))
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
