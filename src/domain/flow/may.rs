//! What a person may do with the checkpoints of a lineage: approve, reject, edit, fork; continuing is in
//! [`proceed`](super::proceed). Whoever shows that something can be done and whoever does it ask the same function, so that
//! nothing is promised that is then refused.

use super::ask::RejectWish;
use super::graph::Graph;
use super::hashes;
use super::ids::{BranchName, CheckpointId, Hash, RunId, StageName};
use super::proceed::known;
use super::record::{Artifact, Checkpoint, RunRecord, StageRecord};
use super::refusal::Refusal;
use super::status::{Approval, RunStatus, StageStatus};
use super::tree::{Lineage, waiting};
use crate::domain::json::JsonMap;

/// What is to be judged. The judgement is bound to these bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    pub checkpoint: CheckpointId,
    pub hash: Hash,
    /// In which it is judged.
    pub run: RunId,
    /// A branch on which nothing has run yet, where it is judged there.
    pub branch: Option<BranchName>,
}

/// Where what is to be judged stands: in the run; where a version is named that does not stand there, in the newest run of
/// its branch, or on a branch that stands on it and on which nothing has run yet.
pub fn may_judge(
    lineage: &Lineage<'_>,
    run: &RunRecord,
    stage: Option<&StageName>,
    version: Option<&CheckpointId>,
    hash: Option<&Hash>,
) -> Result<Judged, Refusal> {
    let Some(version) = version else { return may_approve(lineage, run, stage, hash) };
    let named = find(lineage, &run.run_id, version)?;
    let stands_in = |run: &RunRecord| {
        let there = row(run, &named.id.stage).and_then(|row| standing(lineage, run, row));
        there.is_some_and(|there| there.id == named.id)
    };
    let newest = lineage.newest_run(&named.branch);
    if let Some(found) = [Some(run), newest].into_iter().flatten().find(|run| stands_in(run)) {
        return may_approve(lineage, found, Some(&named.id.stage), hash);
    }
    let stands_on = |branch: &BranchName| {
        lineage.newest_run(branch).is_none() && lineage.forked(branch).iter().any(|one| one.id == named.id)
    };
    let names = || lineage.branches.iter().map(|branch| &branch.branch_name);
    let own = names().filter(|name| **name == named.branch && stands_on(name));
    let left_there =
        names().filter(|name| stands_on(name) && lineage.head(name).is_some_and(|head| head.id == named.id));
    if let Some(branch) = own.chain(left_there).next() {
        return judge_there(run, named, branch, hash);
    }
    // What stands on its branch by now, in whatever way.
    let there = match newest.or(Some(run)) {
        Some(newest) if newest.branch == named.branch => {
            row(newest, &named.id.stage).and_then(|row| standing(lineage, newest, row))
        }
        Some(_) | None => {
            lineage.forked(&named.branch).into_iter().find(|one| one.id.stage == named.id.stage)
        }
    };
    let newest = newest.unwrap_or(run);
    Err(match there {
        _ if named.approval == Approval::Rejected => rejected(newest, named),
        Some(there) => replaced(newest, &named.branch, named, there),
        None => elsewhere(newest, named),
    })
}

fn judge_there(
    run: &RunRecord,
    named: &Checkpoint,
    branch: &BranchName,
    hash: Option<&Hash>,
) -> Result<Judged, Refusal> {
    if named.approval != Approval::Pending {
        return Err(Refusal::Judged {
            run: run.run_id.clone(),
            checkpoint: named.id.clone(),
            approval: named.approval,
            branch: branch.clone(),
        });
    }
    if hash.is_some_and(|hash| *hash != named.hash) {
        return Err(Refusal::Stale { run: run.run_id.clone(), checkpoint: named.id.clone() });
    }
    Ok(Judged {
        checkpoint: named.id.clone(),
        hash: named.hash.clone(),
        run: run.run_id.clone(),
        branch: Some(branch.clone()),
    })
}

/// What is judged of a row. On an ended run what waits is what was edited since, or what nobody answered before it was
/// cancelled.
fn standing<'a>(lineage: &Lineage<'a>, run: &RunRecord, row: &StageRecord) -> Option<&'a Checkpoint> {
    if run.status.is_final() {
        lineage.current(run, row)
    } else {
        lineage.checkpoint(&row.checkpoint.as_ref()?.id)
    }
}

pub(super) fn replaced(run: &RunRecord, branch: &BranchName, named: &Checkpoint, by: &Checkpoint) -> Refusal {
    Refusal::Replaced {
        run: run.run_id.clone(),
        checkpoint: named.id.clone(),
        by: by.id.clone(),
        approval: by.approval,
        branch: branch.clone(),
        ended: run.status.is_final() && run.branch == *branch,
    }
}

pub(super) fn elsewhere(run: &RunRecord, named: &Checkpoint) -> Refusal {
    Refusal::Elsewhere {
        run: run.run_id.clone(),
        checkpoint: named.id.clone(),
        approval: named.approval,
        status: run.status,
        waits: waiting(run).find_map(|row| row.checkpoint.as_ref()).map(|one| one.id.clone()),
    }
}

/// `hash` is what was looked at.
pub fn may_approve(
    lineage: &Lineage<'_>,
    run: &RunRecord,
    stage: Option<&StageName>,
    hash: Option<&Hash>,
) -> Result<Judged, Refusal> {
    let id = &run.run_id;
    let ended = run.status.is_final();
    let standing = |row: &StageRecord| standing(lineage, run, row);
    let waits = |row: &StageRecord| {
        standing(row)
            .filter(|one| one.approval == Approval::Pending && (ended || row.status == StageStatus::Waiting))
    };
    let found = if let Some(stage) = stage {
        let row = row(run, stage).ok_or_else(|| unknown_stage(run, stage))?;
        match (waits(row), standing(row)) {
            (Some(found), _) => found,
            (None, Some(there)) if there.approval == Approval::Approved => {
                return Err(already_approved(run, there));
            }
            (None, _) => {
                let (run, stage) = (id.clone(), stage.clone());
                return Err(Refusal::WrongStage { run, stage, status: row.status });
            }
        }
    } else {
        let all: Vec<&Checkpoint> = run.stages.iter().flatten().filter_map(waits).collect();
        match (all.first(), all.len()) {
            (None, _) => return Err(Refusal::NotWaiting { run: id.clone(), status: run.status }),
            (Some(one), 1) => *one,
            (Some(_), _) => {
                let names: Vec<String> = all.iter().map(|one| one.id.stage.to_string()).collect();
                return Err(Refusal::Unusable {
                    message: format!("several stages of {id} wait: {}", names.join(", ")),
                    hint: Some(format!("name one: restage approve {id} {}", names[0])),
                });
            }
        }
    };
    if hash.is_some_and(|hash| *hash != found.hash) {
        return Err(Refusal::Stale { run: id.clone(), checkpoint: found.id.clone() });
    }
    Ok(Judged {
        checkpoint: found.id.clone(),
        hash: found.hash.clone(),
        run: run.run_id.clone(),
        branch: None,
    })
}

/// The stage that the run goes back to is the rejected one or one before it that left something; `run` is the one in which
/// it is judged, and `graph` is that of the run.
pub fn may_reject(
    lineage: &Lineage<'_>,
    graph: &Graph,
    run: &RunRecord,
    wish: &RejectWish,
) -> Result<(Judged, StageName), Refusal> {
    let stage = &wish.stage;
    let judged = may_judge(lineage, run, Some(stage), wish.checkpoint.as_ref(), wish.hash.as_ref())?;
    let id = &run.run_id;
    if wish.feedback.trim().is_empty() {
        return Err(Refusal::Unusable {
            message: format!("{stage} cannot be rejected without a word on what to do better"),
            hint: Some(format!("say it: restage reject {id} {stage} --feedback TEXT")),
        });
    }
    let to = wish.rewind_to.as_ref().unwrap_or(stage);
    if let Some(branch) = &judged.branch {
        if to == stage {
            return Ok((judged, to.clone()));
        }
        return Err(Refusal::Unusable {
            message: format!("nothing has run on branch {branch}, so nothing goes back to {to}"),
            hint: Some(format!("edit it there: restage edit {id} {to} --branch {branch} --set KEY=VALUE")),
        });
    }
    let target = row(run, to).ok_or_else(|| unknown_stage(run, to))?;
    if to != stage {
        let before = graph.index(stage).map(|place| graph.ancestors(&[place])).unwrap_or_default();
        if !before.iter().any(|place| graph.name(*place) == to) {
            let mut names: Vec<&str> = before.iter().map(|place| graph.name(*place).as_str()).collect();
            names.push(stage.as_str());
            return Err(Refusal::Unusable {
                message: format!("{to} does not come before {stage}, so nothing would be better by it"),
                hint: Some(format!("the run may go back to: {}", names.join(", "))),
            });
        }
        if target.checkpoint.is_none() {
            return Err(Refusal::WrongStage { run: id.clone(), stage: to.clone(), status: target.status });
        }
    }
    Ok((judged, to.clone()))
}

/// What may be edited: what the stage left, or the newest edit of that, unless something is being built on it. In a run that
/// waits, the edit takes its place, and what was built on it is executed again. `hash` is what was looked at.
pub fn may_edit<'a>(
    lineage: &Lineage<'a>,
    run: &RunRecord,
    stage: &StageName,
    hash: Option<&Hash>,
) -> Result<&'a Checkpoint, Refusal> {
    let id = &run.run_id;
    let row = row(run, stage).ok_or_else(|| unknown_stage(run, stage))?;
    let waits = row.status == StageStatus::Waiting;
    match run.status {
        RunStatus::Queued | RunStatus::Running | RunStatus::Interrupted if !waits => {
            return Err(Refusal::still_runs(run));
        }
        RunStatus::Queued
        | RunStatus::Running
        | RunStatus::Interrupted
        | RunStatus::Waiting
        | RunStatus::Succeeded
        | RunStatus::Degraded
        | RunStatus::Failed
        | RunStatus::Cancelled => {}
    }
    // What waits is in its place by itself; beside what was built on there may lie an edit from while something ran.
    let standing = if waits && !run.status.is_final() {
        row.checkpoint.as_ref().and_then(|seen| lineage.checkpoint(&seen.id))
    } else {
        lineage.current(run, row)
    };
    let Some(found) = standing else {
        return Err(Refusal::WrongStage { run: id.clone(), stage: stage.clone(), status: row.status });
    };
    if hash.is_some_and(|hash| *hash != found.hash) {
        return Err(Refusal::Stale { run: id.clone(), checkpoint: found.id.clone() });
    }
    Ok(found)
}

/// What an edit is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing<'a> {
    pub checkpoint: &'a Checkpoint,
    /// The run that it is an edit of; none of a branch on which nothing has run yet.
    pub run: Option<RunId>,
    pub branch: BranchName,
}

/// As [`may_edit`], on the branch that is named, where it is not that of the run.
pub fn may_edit_on<'a>(
    lineage: &Lineage<'a>,
    run: &RunRecord,
    branch: Option<&BranchName>,
    stage: &StageName,
    hash: Option<&Hash>,
) -> Result<Standing<'a>, Refusal> {
    let branch = branch.unwrap_or(&run.branch);
    known(lineage, &run.run_id, branch)?;
    let newest = if *branch == run.branch { Some(run) } else { lineage.newest_run(branch) };
    if let Some(run) = newest {
        let checkpoint = may_edit(lineage, run, stage, hash)?;
        return Ok(Standing { checkpoint, run: Some(run.run_id.clone()), branch: branch.clone() });
    }
    let Some(found) = lineage.forked(branch).into_iter().find(|one| one.id.stage == *stage) else {
        return Err(Refusal::Unusable {
            message: format!("branch {branch} does not stand on {stage}"),
            hint: Some(format!("the tree: restage checkpoints {}", run.run_id)),
        });
    };
    if hash.is_some_and(|hash| *hash != found.hash) {
        return Err(Refusal::Stale { run: run.run_id.clone(), checkpoint: found.id.clone() });
    }
    Ok(Standing { checkpoint: found, run: None, branch: branch.clone() })
}

/// What an edit makes of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    pub outputs: JsonMap,
    pub artifacts: Vec<Artifact>,
    pub hash: Hash,
}

/// `None`: nothing differs, so there is no new version. Only what the stage left can be replaced: its outputs stay those
/// that it declares.
pub fn edited(
    checkpoint: &Checkpoint,
    set: &JsonMap,
    replaced: &[Artifact],
) -> Result<Option<Edited>, Refusal> {
    let stage = &checkpoint.id.stage;
    let refuse = |what: &str, name: &str, known: Vec<&str>| Refusal::Unusable {
        message: format!("{name} is no {what} of {stage}: {} has none of that name", checkpoint.id),
        hint: Some(if known.is_empty() {
            format!("{stage} left no {what}s")
        } else {
            format!("there are: {}", known.join(", "))
        }),
    };
    let mut outputs = checkpoint.outputs.clone();
    for (key, value) in set {
        let Some(old) = outputs.get_mut(key) else {
            return Err(refuse("output", key, checkpoint.outputs.keys().map(String::as_str).collect()));
        };
        if let Some(why) = value.unreadable() {
            let hint = Some("write it to a file, and edit that as an artifact".into());
            return Err(Refusal::Unusable { message: format!("{key} {why}"), hint });
        }
        *old = value.clone();
    }
    let mut artifacts = checkpoint.artifacts.clone();
    for new in replaced {
        let Some(old) = artifacts.iter_mut().find(|old| old.name == new.name) else {
            let known = checkpoint.artifacts.iter().map(|artifact| artifact.name.as_str()).collect();
            return Err(refuse("artifact", &new.name, known));
        };
        *old = new.clone();
    }
    let hash = hashes::checkpoint(&outputs, &artifacts);
    Ok((hash != checkpoint.hash).then_some(Edited { outputs, artifacts, hash }))
}

pub fn may_fork<'a>(
    lineage: &Lineage<'a>,
    run: &RunRecord,
    at: &CheckpointId,
    branch: &BranchName,
) -> Result<&'a Checkpoint, Refusal> {
    let found = find(lineage, &run.run_id, at)?;
    if *branch == BranchName::main() || lineage.branch(branch).is_some() {
        return Err(Refusal::BranchExists { run: run.run_id.clone(), branch: branch.clone() });
    }
    if found.approval == Approval::Rejected {
        return Err(rejected(run, found));
    }
    Ok(found)
}

pub fn find<'a>(lineage: &Lineage<'a>, run: &RunId, id: &CheckpointId) -> Result<&'a Checkpoint, Refusal> {
    lineage.checkpoint(id).ok_or_else(|| Refusal::UnknownCheckpoint {
        run: run.clone(),
        checkpoint: id.to_string(),
        known: lineage.checkpoints.iter().map(|one| one.id.clone()).collect(),
    })
}

pub(super) fn row<'r>(run: &'r RunRecord, stage: &StageName) -> Option<&'r StageRecord> {
    run.stages.iter().flatten().find(|row| row.name == *stage)
}

fn already_approved(run: &RunRecord, there: &Checkpoint) -> Refusal {
    if run.status == RunStatus::Failed {
        let (run, checkpoint) = (run.run_id.clone(), there.id.clone());
        return Refusal::AlreadyApproved { run, checkpoint, again: true, retry: true };
    }
    elsewhere(run, there)
}

fn unknown_stage(run: &RunRecord, stage: &StageName) -> Refusal {
    Refusal::UnknownStage {
        run: run.run_id.clone(),
        stage: stage.to_string(),
        known: run.stages.iter().flatten().map(|row| row.name.clone()).collect(),
    }
}

fn rejected(run: &RunRecord, checkpoint: &Checkpoint) -> Refusal {
    let (run, status) = (run.run_id.clone(), run.status);
    Refusal::Rejected { run, checkpoint: checkpoint.id.clone(), status }
}

#[cfg(test)]
#[path = "may_tests.rs"]
mod tests;
