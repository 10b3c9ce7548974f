//! What a retry does: which stages it executes, which it reuses, and why. The same plan is printed by a dry run and then
//! carried out.
//!
//! *Executed* are the target (or what the target validates), whatever has no usable checkpoint, whatever is made in
//! another way or from something else than before, and everything behind any of these. The rest is *reused*. So all that
//! comes before a reused stage is reused, too, and what it was made from is known without executing anything: the walk goes
//! through the graph once, in topological order, and takes time linear in the edges.
//!
//! Where there is no telling, these hold:
//! - A stage that was skipped is asked again whether it is ruled out; that needs nothing but the state, which is known.
//! - What a person edited stands for whatever recipe would have made it, but not for other inputs. On a branch that has not
//!   run yet they edit what stands there by then, edits included, so that each edit stands on those before it; a later edit
//!   of what comes before it has it executed again.
//! - Of a stage that fans out and was left unfinished, the items that are done are not done again; one that ended well, or
//!   that somebody found fault with, is executed as a whole.
//! - A run that stopped before a stage could start may be retried from that stage, if nothing before it is missing.
//! - What waited for a person when its run was ended is not executed again; it waits again.
//! - What a person rejected is where a retry begins, as if it had failed; so is the stage that they sent the run back to.
//! - An edit that waits is taken on by a retry, and waits on where somebody goes on behind another checkpoint.
//! - What was taken on, and nothing is built on, makes a run all the same: one that ends with it.
//! - Without a target and with `force`, what has changed decides; where nothing has, everything is executed.

use super::ask::{Plan, Planned};
use super::graph::Graph;
use super::ids::{CheckpointId, Hash, RunId, StageName};
use super::items::Earlier;
use super::record::{Artifact, Checkpoint, RunRecord, StageRecord};
use super::refusal::Refusal;
use super::sent_back::SentBack;
use super::spec::FlowSpec;
use super::status::{Approval, Cause, Decision, Reason, StageStatus};
use crate::domain::json::JsonMap;

use target::Target;
use walk::Walked;

mod items;
pub mod queued;
pub mod standing;
mod target;
mod walk;

#[cfg(test)]
mod tests;

/// What is known before anything is looked at. Stages are named by their place in today's file.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Today's.
    pub flow: &'a FlowSpec,
    pub graph: &'a Graph,
    /// The run that is retried, with its stages.
    pub parent: &'a RunRecord,
    /// With which the new run starts: see [`inputs::of_retry`](super::inputs::of_retry).
    pub inputs: &'a JsonMap,
    /// For each stage, what the parent has left of it.
    pub left: &'a [Left],
    /// The runs of the lineage, without stages.
    pub lineage: &'a [RunRecord],
    /// What people sent back of what the parent left.
    pub sent_back: &'a [SentBack],
    /// Is approved before the new run begins: the plan is made as if it were.
    pub takes_on: Option<&'a CheckpointId>,
    /// Another run that is under way on the branch, unless the wish is to wait for it.
    pub holder: Option<&'a RunId>,
}

/// What there is of a stage of the parent run.
#[derive(Debug, Clone, PartialEq)]
pub enum Left {
    /// The one that its row names, or the newest edit of that.
    Checkpoint(Box<Checkpoint>),
    /// Its row names one that cannot be read; the previous version stands in for it, if that fits.
    Unreadable {
        id: CheckpointId,
        why: String,
        previous: Option<Box<Checkpoint>>,
    },
    /// From before checkpoints were kept.
    Outputs {
        outputs: JsonMap,
        artifacts: Vec<Artifact>,
    },
    Nothing,
}

/// What costs time to find out, and is asked only where it decides.
pub trait Oracle {
    /// Of the stage as it is configured today.
    fn recipe(&mut self, stage: usize) -> Hash;
    /// What of it is another than when the checkpoint was made, in the words of the config; it is known that something is.
    fn recipe_change(&mut self, stage: usize, checkpoint: &Checkpoint) -> String;
    /// What was done of a stage that fans out before a retry that executes it for this reason.
    fn items(&mut self, stage: usize, reason: Reason) -> Option<Earlier>;
    /// What of it is another than when that run did items of it. `None`: it is the same, or nothing was noted.
    fn items_change(&mut self, stage: usize, run: &RunId) -> Option<String>;
    /// Whether the artifacts are there and are what they were; the error says which is not.
    fn verify(&mut self, stage: usize, artifacts: &[Artifact]) -> Result<(), String>;
    /// The retries that reused it.
    fn retries(&mut self, checkpoint: &CheckpointId) -> Vec<RunId>;
    /// What became of a stage in another run of the lineage.
    fn ended(&mut self, run: &RunId, stage: &StageName) -> Option<StageStatus>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    pub start: Start,
    /// Also what has succeeded.
    pub force: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// What a person sent back, else what failed first.
    FirstFailure,
    At(StageName),
    /// A person sent the run back to here.
    Rejected(StageName),
    /// With everything that comes after this stage.
    After(StageName),
    /// The same on a branch of its own, so that the run it comes from may be under way.
    Fork(StageName),
}

/// The refusals come in the order of their exit codes, so that the first thing to do is told first.
pub fn plan(facts: &Facts<'_>, wish: &Wish, oracle: &mut dyn Oracle) -> Result<Plan, Refusal> {
    let known = Known::of(facts);
    let mut target = target::find(&known, wish)?;
    let run = facts.parent.run_id.clone();
    if !facts.parent.status.is_final() && !matches!(wish.start, Start::Fork(_)) {
        return Err(Refusal::still_runs(facts.parent));
    }
    if let Some(holder) = facts.holder {
        let (holder, branch) = (holder.clone(), facts.parent.branch.clone());
        return Err(Refusal::RetryLives { run, holder, branch });
    }
    if let Err(refusal) = target::refuse(&known, wish, &target, oracle) {
        return Err(target::that_works(facts, refusal, oracle));
    }
    let forks = matches!(wish.start, Start::Fork(_));
    let mut walked = walk::walk(&known, &target, forks, oracle)
        .map_err(|refusal| target::that_works(facts, refusal, oracle))?;
    if wish.force && target == Target::Changes && known.ends_as_before(wish, &walked) {
        target = Target::Everything;
        walked = walk::walk(&known, &target, forks, oracle)?;
    }
    match &wish.start {
        Start::After(stage) => walk::refuse_another(&known, stage, &walked)?,
        Start::Fork(stage) => walk::refuse_another_edit(&known, stage, &walked)?,
        Start::FirstFailure | Start::At(_) | Start::Rejected(_) => {}
    }
    let executed = walked.stages.iter().find(|planned| planned.decision == Decision::Execute);
    let waits = known.waits();
    if known.ends_as_before(wish, &walked) {
        return Err(target::nothing_to_do(&known, wish, &target));
    }
    walk::missing_keys(&known, &walked)?;
    let (depth, max) = (known.depth(), facts.flow.max_retry_depth);
    if depth >= max {
        return Err(Refusal::TooDeep { run, depth, max });
    }
    if let Some(checkpoint) = walk::built_on(&known, &target, &walked) {
        let count = known.retries_from(&checkpoint, &oracle.retries(&checkpoint));
        let max = facts.flow.max_retries_per_checkpoint;
        if count >= max {
            return Err(Refusal::TooManyRetries { run, checkpoint, count, max, retry: false });
        }
    }
    // Where nothing is executed, it begins with what a person has to judge.
    let from = target.stage().map(|stage| known.name(stage));
    let from = from.or_else(|| executed.map(|planned| planned.stage.clone()));
    Ok(Plan {
        run,
        from: from.or_else(|| waits.map(|stage| known.name(stage))).unwrap_or_else(|| known.last()),
        retry_depth: depth + 1,
        max_retry_depth: max,
        stages: walked.stages,
    })
}

/// The facts, with the rows of the parent by today's stages. What is gone from the file is not among them.
#[derive(Debug)]
struct Known<'a> {
    facts: &'a Facts<'a>,
    rows: Vec<Option<&'a StageRecord>>,
}

impl<'a> Known<'a> {
    fn of(facts: &'a Facts<'a>) -> Self {
        let mut rows = vec![None; facts.graph.len()];
        for row in facts.parent.stages.as_deref().unwrap_or_default() {
            if let Some(stage) = facts.graph.index(&row.name) {
                rows[stage] = Some(row);
            }
        }
        Self { facts, rows }
    }

    /// Of the chain of retries that ends here. One that was cancelled before it started is no link of it.
    fn depth(&self) -> u32 {
        let parent = self.facts.parent;
        let never_started = parent.parent_run_id.is_some() && parent.started_at.is_none();
        parent.retry_depth.saturating_sub(never_started.into())
    }

    /// How often a checkpoint was built on again on its branch, whichever run and verb that was asked of. Who goes on behind
    /// one that waited builds on it for the first time.
    fn retries_from(&self, checkpoint: &CheckpointId, reused: &[RunId]) -> u32 {
        let same = |run: &&RunRecord| {
            reused.contains(&run.run_id)
                && run.started_at.is_some()
                && run.branch == self.facts.parent.branch
                && run.cause == Cause::Retry
                && run.retry_from_stage.as_ref().is_some_and(|from| self.starts_from(from, &checkpoint.stage))
        };
        u32::try_from(self.facts.lineage.iter().filter(same).count()).unwrap_or(u32::MAX)
    }

    /// Whether a retry from one stage is a retry from what another left: that comes last before it. One that merely lies
    /// further back is reused by many more.
    fn starts_from(&self, from: &StageName, left_by: &StageName) -> bool {
        let graph = self.facts.graph;
        let last = graph.index(from).and_then(|from| {
            let before = graph.upstream(from).iter().copied();
            before.filter(|stage| !self.skipped(*stage)).max_by_key(|stage| graph.position(*stage))
        });
        last.is_some_and(|last| graph.name(last) == left_by)
    }

    fn skipped(&self, stage: usize) -> bool {
        self.rows[stage].is_some_and(|row| row.status == StageStatus::Skipped)
    }

    fn name(&self, stage: usize) -> StageName {
        self.facts.graph.name(stage).clone()
    }

    fn run(&self) -> RunId {
        self.facts.parent.run_id.clone()
    }

    fn good(&self, stage: usize) -> bool {
        self.rows[stage].is_some_and(|row| row.status.is_good()) || self.kept(stage)
    }

    fn degraded(&self, stage: usize) -> bool {
        self.rows[stage].is_some_and(|row| row.status == StageStatus::Degraded)
    }

    /// It waited for a person when its run was ended; what it left is there all the same.
    fn kept(&self, stage: usize) -> bool {
        let left = matches!(self.facts.left[stage], Left::Checkpoint(_) | Left::Unreadable { .. });
        left && self.rows[stage].is_some_and(|row| {
            row.checkpoint.is_some() && matches!(row.status, StageStatus::Waiting | StageStatus::Cancelled)
        })
    }

    /// The first of what is reused and waits for a person.
    fn waits(&self) -> Option<usize> {
        self.facts.graph.order().iter().copied().find(|stage| match &self.facts.left[*stage] {
            Left::Checkpoint(checkpoint) => self.good(*stage) && checkpoint.approval == Approval::Pending,
            Left::Unreadable { .. } | Left::Outputs { .. } | Left::Nothing => false,
        })
    }

    /// Something that is reused is not what the parent ended with, so that the new run ends in another way even if
    /// nothing is executed: an edit, what nobody had answered for, or what lies on a branch on which nothing has run.
    fn is_news(&self, wish: &Wish) -> bool {
        let parent = self.facts.parent;
        let is_new = |stage: usize| {
            let Left::Checkpoint(checkpoint) = &self.facts.left[stage] else { return false };
            let seen = self.rows[stage].and_then(|row| row.checkpoint.as_ref());
            let of_fork = matches!(wish.start, Start::Fork(_)) && checkpoint.branch == parent.branch;
            seen.is_some_and(|seen| seen.id != checkpoint.id)
                || of_fork && checkpoint.edited_from.is_some()
                || self.kept(stage)
        };
        self.facts.takes_on.is_some() || (0..self.rows.len()).any(is_new)
    }

    /// There is nothing that the new run would do.
    fn ends_as_before(&self, wish: &Wish, walked: &Walked) -> bool {
        let executes = walked.stages.iter().any(|planned| planned.decision == Decision::Execute);
        !executes && self.waits().is_none() && !self.is_news(wish)
    }

    /// Nothing stands in for it.
    fn lost(&self, stage: usize) -> Option<String> {
        match &self.facts.left[stage] {
            Left::Checkpoint(_) | Left::Unreadable { previous: Some(_), .. } => None,
            Left::Unreadable { id, why, previous: None } => Some(format!("{id} cannot be read: {why}")),
            Left::Outputs { outputs, artifacts } => {
                let spec = &self.facts.flow.stages[stage];
                let complete = spec.outputs.iter().all(|key| outputs.contains_key(key))
                    && (spec.artifacts.is_empty() || !artifacts.is_empty());
                (!complete)
                    .then(|| "it ran before checkpoints were kept, and what it wrote is incomplete".into())
            }
            Left::Nothing => Some("nothing was kept of what it wrote".into()),
        }
    }

    /// The last stage of the run.
    fn last(&self) -> StageName {
        let last = self.facts.graph.order().last();
        last.map_or_else(|| StageName::trusted(self.facts.flow.name.as_str()), |stage| self.name(*stage))
    }

    /// A later run that came from this one, on the same branch, and in which these stages ended better than here. What
    /// became of the rest of that run does not matter.
    fn succeeded_later(&self, stages: &[usize], oracle: &mut dyn Oracle) -> Option<&'a RunRecord> {
        let parent = self.facts.parent;
        let mut from_here = std::collections::HashSet::from([&parent.run_id]);
        let mut later: Vec<&RunRecord> = self.facts.lineage.iter().collect();
        later.sort_by_key(|run| run.run_number);
        later.into_iter().find_map(|run| {
            let comes_from_here =
                run.branch == parent.branch && from_here.contains(run.parent_run_id.as_ref()?);
            if comes_from_here {
                from_here.insert(&run.run_id);
            }
            let mut better = |stage: &usize| match oracle.ended(&run.run_id, self.facts.graph.name(*stage)) {
                Some(StageStatus::Succeeded) => true,
                Some(StageStatus::Degraded) => !self.degraded(*stage),
                Some(_) | None => false,
            };
            let made_good = comes_from_here && run.status.is_final() && stages.iter().all(&mut better);
            made_good.then_some(run)
        })
    }
}
