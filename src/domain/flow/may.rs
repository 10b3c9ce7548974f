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
    // On an ended run what waits is what was edited since, or what nobody answered before it was cancelled.
    let standing = |row: &StageRecord| {
        if ended { lineage.current(run, row) } else { lineage.checkpoint(&row.checkpoint.as_ref()?.id) }
    };
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
    Ok(Judged { checkpoint: found.id.clone(), hash: found.hash.clone() })
}

/// The stage that the run goes back to is the rejected one or one before it that left something; `graph` is that of the
/// run.
pub fn may_reject(
    lineage: &Lineage<'_>,
    graph: &Graph,
    run: &RunRecord,
    wish: &RejectWish,
) -> Result<(Judged, StageName), Refusal> {
    let stage = &wish.stage;
    let judged = may_approve(lineage, run, Some(stage), wish.hash.as_ref())?;
    let id = &run.run_id;
    if wish.feedback.trim().is_empty() {
        return Err(Refusal::Unusable {
            message: format!("{stage} cannot be rejected without a word on what to do better"),
            hint: Some(format!("say it: restage reject {id} {stage} --feedback TEXT")),
        });
    }
    let to = wish.rewind_to.as_ref().unwrap_or(stage);
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
            return Err(Refusal::StillRuns { run: id.clone(), status: run.status });
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
        return Err(rejected(&run.run_id, found));
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
    let (run_id, checkpoint) = (run.run_id.clone(), there.id.clone());
    if run.status == RunStatus::Failed {
        return Refusal::AlreadyApproved { run: run_id, checkpoint };
    }
    let waits = waiting(run).find_map(|row| row.checkpoint.as_ref()).map(|one| one.id.clone());
    Refusal::Elsewhere { run: run_id, checkpoint, approval: there.approval, status: run.status, waits }
}

fn unknown_stage(run: &RunRecord, stage: &StageName) -> Refusal {
    Refusal::UnknownStage {
        run: run.run_id.clone(),
        stage: stage.to_string(),
        known: run.stages.iter().flatten().map(|row| row.name.clone()).collect(),
    }
}

pub(super) fn rejected(run: &RunId, checkpoint: &Checkpoint) -> Refusal {
    Refusal::Unusable {
        message: format!("{} was rejected, and nothing is built on it", checkpoint.id),
        hint: Some(format!("execute it again: restage retry {run} --from {}", checkpoint.id.stage)),
    }
}

#[cfg(test)]
#[path = "may_tests.rs"]
mod tests;
