//! Where a retry starts, and why it may not.

use std::collections::HashSet;

use super::{Facts, Known, Left, Oracle, Start, Wish};
use crate::domain::flow::ids::StageName;
use crate::domain::flow::record::{RunRecord, StageRecord};
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::status::{Reason, StageStatus};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// `asked` is what failed, or was named; `stage` what it validates, or itself.
    Stage {
        asked: usize,
        stage: usize,
        reason: Reason,
        detail: Option<String>,
    },
    After(usize),
    /// What was edited, or has changed, decides.
    Changes,
    /// Nothing did, and it is insisted on.
    Everything,
}

impl Target {
    pub(super) const fn stage(&self) -> Option<usize> {
        match self {
            Self::Stage { stage, .. } => Some(*stage),
            Self::After(_) | Self::Changes | Self::Everything => None,
        }
    }
}

pub(super) fn find(known: &Known<'_>, wish: &Wish) -> Result<Target, Refusal> {
    match &wish.start {
        Start::FirstFailure => Ok(sent_back(known)
            .or_else(|| first_failure(known, |_| true).map(|stage| at(known, stage)))
            .unwrap_or(Target::Changes)),
        Start::At(name) => Ok(at(known, place(known, name)?)),
        Start::Rejected(name) => {
            let stage = place(known, name)?;
            Ok(Target::Stage { asked: stage, stage, reason: Reason::Rejected, detail: None })
        }
        Start::After(name) | Start::Fork(name) => Ok(Target::After(place(known, name)?)),
    }
}

/// What a person rejected, or the stage that they sent the run back to; the first one, since what comes after it is
/// executed with it.
fn sent_back(known: &Known<'_>) -> Option<Target> {
    let wanted = |stage: &usize| known.facts.sent_back.iter().any(|one| one.to == known.name(*stage));
    let stage = known.facts.graph.order().iter().copied().find(wanted)?;
    Some(Target::Stage { asked: stage, stage, reason: Reason::Rejected, detail: None })
}

fn place(known: &Known<'_>, name: &StageName) -> Result<usize, Refusal> {
    let graph = known.facts.graph;
    graph.index(name).ok_or_else(|| {
        let row = known.facts.parent.stages.iter().flatten().find(|row| row.name == *name);
        row.map_or_else(
            || Refusal::UnknownStage { run: known.run(), stage: name.to_string(), known: todays(known) },
            |row| gone(known, row),
        )
    })
}

fn gone(known: &Known<'_>, row: &StageRecord) -> Refusal {
    Refusal::Gone { run: known.run(), stage: row.name.clone(), status: row.status, known: todays(known) }
}

fn todays(known: &Known<'_>) -> Vec<StageName> {
    known.facts.graph.order().iter().map(|stage| known.name(*stage)).collect()
}

/// What failed first of what is not in the file any more.
fn gone_failure<'a>(known: &Known<'a>) -> Option<&'a StageRecord> {
    let is_gone = |row: &&StageRecord| known.facts.graph.index(&row.name).is_none();
    let rows = known.facts.parent.stages.iter().flatten().filter(is_gone);
    rows.filter(|row| row.status == StageStatus::Failed).min_by_key(|row| row.ended_at)
}

/// From a validator on means from what it validates on; but one that has not given its answer says nothing against that.
fn at(known: &Known<'_>, asked: usize) -> Target {
    let graph = known.facts.graph;
    let failed = |stage: usize| known.rows[stage].is_some_and(|row| row.status == StageStatus::Failed);
    let answered = failed(asked) || known.good(asked);
    let stage = graph.target(asked).filter(|stage| answered || !known.good(*stage)).unwrap_or(asked);
    // A validator that is named need not have failed altogether.
    let degraded =
        |one: usize| one == asked && known.rows[one].is_some_and(|row| row.status == StageStatus::Degraded);
    let against = || graph.validators(stage).iter().copied().find(|one| failed(*one) || degraded(*one));
    let (reason, detail) = match known.rows[stage].map(|row| row.status) {
        None => (Reason::NeverRan, None),
        Some(StageStatus::Failed) => (Reason::Failed, None),
        Some(status @ (StageStatus::Succeeded | StageStatus::Degraded)) => {
            if let Some(validator) = against() {
                let how = if failed(validator) { "failed" } else { "was degraded" };
                (Reason::Validated, Some(format!("{} {how}", known.name(validator))))
            } else if status == StageStatus::Degraded {
                (Reason::Failed, Some("it was degraded".into()))
            } else if known.lost(stage).is_some() {
                (Reason::OutputMissing, known.lost(stage))
            } else {
                (Reason::Forced, None)
            }
        }
        Some(
            status @ (StageStatus::Pending
            | StageStatus::Running
            | StageStatus::Backoff
            | StageStatus::Waiting
            | StageStatus::Skipped
            | StageStatus::NotRun
            | StageStatus::Cancelled),
        ) => unfinished(known, stage, status),
    };
    Target::Stage { asked, stage, reason, detail }
}

/// A stage that neither ended well nor failed.
pub(super) fn unfinished(known: &Known<'_>, stage: usize, status: StageStatus) -> (Reason, Option<String>) {
    if ran(known, stage) {
        (Reason::Failed, Some(format!("it was {status}")))
    } else {
        (Reason::NeverRan, (status == StageStatus::Skipped).then(|| "it was skipped".into()))
    }
}

fn ran(known: &Known<'_>, stage: usize) -> bool {
    let began = |row: &StageRecord| {
        row.status == StageStatus::Failed || !row.attempts.is_empty() || row.started_at.is_some()
    };
    known.good(stage) || known.rows[stage].is_some_and(began)
}

/// What failed first, by the clock; else what was stopped while it ran; else where the run came to an end; else what is
/// only degraded.
fn first_failure(known: &Known<'_>, among: impl Fn(usize) -> bool) -> Option<usize> {
    let order = || known.facts.graph.order().iter().copied().filter(|stage| among(*stage));
    let status = |stage: usize| known.rows[stage].map(|row| row.status);
    let first_ended = |wanted: StageStatus| {
        order()
            .filter(|stage| status(*stage) == Some(wanted) && ran(known, *stage) && !known.kept(*stage))
            .min_by_key(|stage| {
                let ended_at = known.rows[*stage].and_then(|row| row.ended_at);
                (ended_at.is_none(), ended_at)
            })
    };
    // A stage that is new in the file is no failure of this run.
    let open = |stage: &usize| {
        status(*stage).is_some_and(|status| status != StageStatus::Skipped) && !known.good(*stage)
    };
    first_ended(StageStatus::Failed)
        .or_else(|| first_ended(StageStatus::Cancelled))
        .or_else(|| order().find(open))
        .or_else(|| first_ended(StageStatus::Degraded))
}

/// Refusals about the target and what comes before it.
pub(super) fn refuse(
    known: &Known<'_>,
    wish: &Wish,
    target: &Target,
    oracle: &mut dyn Oracle,
) -> Result<(), Refusal> {
    let graph = known.facts.graph;
    let run = known.run();
    match target {
        Target::Stage { asked, stage, reason, .. } => {
            if !wish.force {
                if *reason == Reason::Forced {
                    return Err(Refusal::Succeeded {
                        run,
                        stage: known.name(*asked),
                        by: None,
                        never_ran: false,
                    });
                }
                let is_news = |by: &RunRecord| {
                    *reason == Reason::Rejected
                        && known.facts.sent_back.iter().any(|one| one.at > Some(by.created_at))
                };
                if !edited(known)
                    && let Some(by) = known
                        .succeeded_later(&told_bad(known, *asked, *stage), oracle)
                        .filter(|by| !is_news(by))
                {
                    let (by, never_ran) = (Some(by.run_id.clone()), !ran(known, *asked));
                    return Err(Refusal::Succeeded { run, stage: known.name(*asked), by, never_ran });
                }
            }
            if !ran(known, *asked)
                && let Some(start) = where_to_start(known, *asked)
            {
                return Err(never_ran(known, *asked, start));
            }
            for ancestor in graph.ancestors(&[*stage]) {
                unusable(known, *stage, ancestor)?;
            }
        }
        Target::After(stage) => {
            for ancestor in graph.ancestors(&[*stage]).into_iter().chain([*stage]) {
                unusable(known, *stage, ancestor)?;
            }
        }
        Target::Changes | Target::Everything => {
            // Of a run from before stages were recorded, everything is executed.
            let recorded = known.rows.iter().any(Option::is_some);
            if !wish.force && !known.is_news(wish) && known.waits().is_none() && recorded {
                return Err(match gone_failure(known) {
                    Some(row) => gone(known, row),
                    None => nothing_failed(known),
                });
            }
        }
    }
    Ok(())
}

/// What has to be better in a later run, so that the target is: what was named, what is started from, and whatever
/// failed of what validates that.
fn told_bad(known: &Known<'_>, asked: usize, stage: usize) -> Vec<usize> {
    let failed = |one: &usize| known.rows[*one].is_some_and(|row| row.status == StageStatus::Failed);
    let validators = known.facts.graph.validators(stage).iter().copied().filter(failed);
    let mut all: Vec<usize> = [asked, stage].into_iter().chain(validators).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// For a target that never ran: what has to succeed first. Nothing, where the run stopped just before it, or where it was
/// ruled out: whether it still is shows when the state is known.
fn where_to_start(known: &Known<'_>, stage: usize) -> Option<usize> {
    let before: HashSet<usize> = known.facts.graph.ancestors(&[stage]).into_iter().collect();
    first_failure(known, |one| {
        // A degraded one kept nobody from running.
        before.contains(&one) && known.rows[one].is_some_and(|row| row.status != StageStatus::Degraded)
    })
}

fn never_ran(known: &Known<'_>, stage: usize, start: usize) -> Refusal {
    let (run, stage, start) = (known.run(), known.name(stage), known.name(start));
    Refusal::NeverRan { run, stage, start, set: Vec::new(), force: false }
}

/// Of a target that was skipped and would be again: the stage whose own condition is the reason, and what changes that.
pub(super) fn still_ruled_out(known: &Known<'_>, stage: usize, skipped: &[bool]) -> Refusal {
    let (flow, graph) = (known.facts.flow, known.facts.graph);
    let mut reason = stage;
    let needed = |one: usize| {
        let spec = &flow.stages[one];
        let mut needed = spec.needs.iter().chain(&spec.validates).filter_map(|name| graph.index(name));
        needed.find(|before| skipped[*before])
    };
    while let Some(before) = needed(reason) {
        reason = before;
    }
    let keys: Vec<&str> = flow.stages[reason].when.iter().flat_map(|when| when.keys()).collect();
    let before: HashSet<usize> = graph.ancestors(&[reason]).into_iter().collect();
    let writes = |one: &usize, key: &str| {
        before.contains(one) && flow.stages[*one].outputs.iter().any(|output| output == key)
    };
    let writer = |key: &&str| graph.order().iter().rev().copied().find(|one| writes(one, key));
    if let Some(start) = keys.iter().find_map(writer) {
        return never_ran(known, stage, start);
    }
    let set = keys.iter().map(|key| (*key).to_owned()).collect();
    let (run, stage, start) = (known.run(), known.name(stage), known.name(reason));
    Refusal::NeverRan { run, stage, start, set, force: false }
}

/// A refusal that names where to start is to name a stage where that is not refused, too.
pub(super) fn that_works(facts: &Facts<'_>, refusal: Refusal, oracle: &mut dyn Oracle) -> Refusal {
    let Refusal::NeverRan { run, stage, mut start, set, .. } = refusal else { return refusal };
    let mut force = false;
    // Each that is refused leads further back.
    for _ in 0..if set.is_empty() { facts.graph.len() } else { 0 } {
        let wish = Wish { start: Start::At(start.clone()), force };
        match super::plan(facts, &wish, oracle) {
            Err(Refusal::Succeeded { .. }) if !force => force = true,
            Err(Refusal::NoCheckpoint { ancestor, .. }) if ancestor != start => {
                (start, force) = (ancestor, false);
            }
            Ok(_) | Err(_) => break,
        }
    }
    Refusal::NeverRan { run, stage, start, set, force }
}

/// A stage that is new in the file is no obstacle: it is executed, as one that never ran.
fn unusable(known: &Known<'_>, stage: usize, ancestor: usize) -> Result<(), Refusal> {
    let Some(row) = known.rows[ancestor] else { return Ok(()) };
    let why = match row.status {
        StageStatus::Skipped => None,
        StageStatus::Waiting | StageStatus::Cancelled if known.kept(ancestor) => known.lost(ancestor),
        StageStatus::Succeeded | StageStatus::Degraded => known.lost(ancestor),
        StageStatus::Pending
        | StageStatus::Running
        | StageStatus::Backoff
        | StageStatus::Waiting
        | StageStatus::Failed
        | StageStatus::NotRun
        | StageStatus::Cancelled => Some(match &row.error {
            Some(error) => format!("it is {}: {error}", row.status),
            None => format!("it is {}", row.status),
        }),
    };
    let Some(why) = why else { return Ok(()) };
    Err(Refusal::NoCheckpoint {
        run: known.run(),
        stage: known.name(stage),
        ancestor: known.name(ancestor),
        why,
    })
}

/// Something was edited since the run ended.
fn edited(known: &Known<'_>) -> bool {
    (0..known.rows.len()).any(|stage| is_edited(known, stage))
}

/// The checkpoint is an edit that the run has not seen.
pub(super) fn is_edited(known: &Known<'_>, stage: usize) -> bool {
    let Left::Checkpoint(checkpoint) = &known.facts.left[stage] else { return false };
    let seen = known.rows[stage].and_then(|row| row.checkpoint.as_ref());
    checkpoint.edited_from.is_some() && seen.is_some_and(|seen| seen.id != checkpoint.id)
}

pub(super) fn nothing_to_do(known: &Known<'_>, wish: &Wish, target: &Target) -> Refusal {
    let run = known.run();
    match target {
        Target::After(stage) => {
            let stage = known.name(*stage);
            let hint = match &wish.start {
                // Nothing of the run is executed on a branch of its own.
                Start::Fork(_) => format!(
                    "edit what the branch stands on: restage edit {run} {stage} --branch {} --set KEY=VALUE",
                    known.facts.parent.branch
                ),
                Start::FirstFailure | Start::At(_) | Start::Rejected(_) | Start::After(_) => {
                    format!("to execute it again: restage retry {run} --from {stage} --force")
                }
            };
            Refusal::Unusable { message: format!("nothing comes after {stage}"), hint: Some(hint) }
        }
        // Whatever is a target is executed.
        Target::Stage { .. } | Target::Changes | Target::Everything => nothing_failed(known),
    }
}

/// Where all of it was ruled out, what can be done is to change that.
fn nothing_failed(known: &Known<'_>) -> Refusal {
    let skipped: Vec<bool> = (0..known.rows.len()).map(|stage| known.skipped(stage)).collect();
    match known.facts.graph.order().first() {
        Some(first) if skipped.iter().all(|skipped| *skipped) => still_ruled_out(known, *first, &skipped),
        Some(_) | None => Refusal::NothingFailed { run: known.run() },
    }
}
