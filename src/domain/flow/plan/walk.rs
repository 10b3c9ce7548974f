//! The walk through the graph that decides on each stage.

use std::collections::HashMap;
use std::sync::Arc;

use super::target::{Target, is_edited, still_ruled_out, unfinished};
use super::{Known, Left, Oracle, Planned, items};
use crate::domain::flow::hashes::{self, Chain, Ended};
use crate::domain::flow::ids::{CheckpointId, Hash, StageName};
use crate::domain::flow::record::{Artifact, Checkpoint, StageRecord};
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::state::{self, State};
use crate::domain::flow::status::{Approval, Decision, Reason, StageStatus};
use crate::domain::json::{Json, JsonMap};

#[derive(Debug)]
pub(super) struct Walked {
    /// In topological order.
    pub(super) stages: Vec<Planned>,
    state: Option<State>,
}

pub(super) enum Verdict<'a> {
    Execute {
        reason: Reason,
        detail: Option<String>,
    },
    Reuse {
        outputs: &'a JsonMap,
        artifacts: &'a [Artifact],
        checkpoint: Option<&'a Checkpoint>,
        detail: Option<String>,
    },
    Skip,
}

/// `forks`: the first run of a branch.
pub(super) fn walk(
    known: &Known<'_>,
    target: &Target,
    forks: bool,
    oracle: &mut dyn Oracle,
) -> Result<Walked, Refusal> {
    let facts = known.facts;
    let graph = facts.graph;
    let mut walk = Walk::new(known, target, forks);
    let mut stages = Vec::with_capacity(graph.len());
    for stage in graph.order().iter().copied() {
        let verdict = walk.verdict(stage, oracle)?;
        let verdict = items::only_open(&mut walk, stage, verdict, oracle);
        stages.push(walk.settle(stage, verdict));
    }
    Ok(Walked { stages, state: walk.state })
}

pub(super) struct Walk<'a> {
    pub(super) known: &'a Known<'a>,
    /// Decided before the walk comes to them.
    seeds: Vec<Option<(Reason, Option<String>)>>,
    target: Option<usize>,
    /// Comes before the target, so that the plan is worthless without it.
    before_target: Vec<bool>,
    /// Edits that wait are taken on.
    takes_on: bool,
    /// What was edited stands on what had been edited before.
    forks: bool,
    chain: Chain,
    /// Only where a stage asks for single keys.
    state: Option<State>,
    executed: Vec<bool>,
    skipped: Vec<bool>,
    /// Of values that were looked at, by what holds the text.
    values: HashMap<*const u8, Hash>,
}

impl<'a> Walk<'a> {
    fn new(known: &'a Known<'a>, target: &Target, forks: bool) -> Self {
        let (facts, graph) = (known.facts, known.facts.graph);
        let mut seeds = vec![None; graph.len()];
        let mut before_target = vec![false; graph.len()];
        let base = match target {
            Target::Stage { stage, asked, reason, detail } => {
                seeds[*stage] = Some((*reason, detail.clone()));
                if *reason == Reason::Validated {
                    let failed =
                        |one: usize| known.rows[one].is_some_and(|row| row.status == StageStatus::Failed);
                    for one in graph.validators(*stage).iter().copied() {
                        let how = (!failed(one)).then(|| "it was degraded".to_owned());
                        if failed(one) || (one == *asked && known.degraded(one)) {
                            seeds[one] = Some((Reason::Failed, how));
                        }
                    }
                } else if asked != stage && *reason == Reason::Forced {
                    seeds[*asked] = Some((Reason::Forced, None));
                }
                Some(*stage)
            }
            Target::After(stage) => {
                for next in graph.downstream(*stage) {
                    seeds[*next] = Some((Reason::Descendant, Some(format!("of {}", known.name(*stage)))));
                }
                Some(*stage)
            }
            Target::Changes => None,
            Target::Everything => {
                // The rest depends on these.
                let first = |stage: &usize| !graph.upstream(*stage).iter().any(|before| known.good(*before));
                for stage in (0..graph.len()).filter(|stage| known.good(*stage)).filter(first) {
                    seeds[stage] = Some((Reason::Forced, None));
                }
                None
            }
        };
        for ancestor in graph.ancestors(base.as_slice()) {
            before_target[ancestor] = true;
        }
        let asks = facts.flow.stages.iter().any(|stage| {
            stage.reads().is_some_and(|keys| !keys.is_empty())
                || stage.foreach.is_some()
                || stage.when.is_some()
        });
        Self {
            known,
            seeds,
            target: target.stage(),
            before_target,
            takes_on: !matches!(target, Target::After(_)),
            forks,
            chain: Chain::new(graph, facts.inputs),
            state: asks.then(|| State::new(graph, facts.inputs.clone())),
            executed: vec![false; graph.len()],
            skipped: vec![false; graph.len()],
            values: HashMap::new(),
        }
    }

    fn verdict(&mut self, stage: usize, oracle: &mut dyn Oracle) -> Result<Verdict<'a>, Refusal> {
        let known = self.known;
        let seed = self.seeds[stage].take();
        if let Some((reason, detail)) = seed.filter(|(reason, _)| !self.stands_on_edits(stage, *reason)) {
            let skipped = known.rows[stage].is_some_and(|row| row.status == StageStatus::Skipped);
            let in_place = !known.facts.graph.upstream(stage).iter().any(|before| self.executed[*before]);
            if self.target == Some(stage) && skipped && in_place && self.ruled_out(stage) == Ok(true) {
                return Err(still_ruled_out(known, stage, &self.skipped));
            }
            return Ok(Verdict::Execute { reason, detail });
        }
        let mut upstream = known.facts.graph.upstream(stage).iter();
        if let Some(before) = upstream.find(|before| self.executed[**before]) {
            let detail = Some(format!("of {}", known.name(*before)));
            return Ok(Verdict::Execute { reason: Reason::Descendant, detail });
        }
        let Some(row) = known.rows[stage] else {
            return Ok(execute(Reason::NeverRan, "it is new in the file"));
        };
        let ruled_out = match self.ruled_out(stage) {
            Ok(ruled_out) => ruled_out,
            Err(_) if row.status == StageStatus::Failed => false,
            Err(error) => return Ok(execute(Reason::InputChanged, &error)),
        };
        Ok(match (row.status, ruled_out) {
            (StageStatus::Skipped, true) => Verdict::Skip,
            (StageStatus::Skipped, false) => {
                execute(Reason::InputChanged, "it was skipped, and is not ruled out any more")
            }
            (StageStatus::Succeeded | StageStatus::Degraded, true) => {
                execute(Reason::InputChanged, "it ran, and is ruled out now")
            }
            (StageStatus::Succeeded | StageStatus::Degraded, false) => return self.left(stage, row, oracle),
            (StageStatus::Waiting | StageStatus::Cancelled, false) if known.kept(stage) => {
                return self.left(stage, row, oracle);
            }
            (StageStatus::Failed, _) => Verdict::Execute { reason: Reason::Failed, detail: None },
            (
                status @ (StageStatus::Pending
                | StageStatus::Running
                | StageStatus::Backoff
                | StageStatus::Waiting
                | StageStatus::NotRun
                | StageStatus::Cancelled),
                _,
            ) => {
                let (reason, detail) = unfinished(known, stage, status);
                Verdict::Execute { reason, detail }
            }
        })
    }

    /// It was edited when what was edited before it stood there already.
    fn stands_on_edits(&mut self, stage: usize, reason: Reason) -> bool {
        let Left::Checkpoint(checkpoint) = &self.known.facts.left[stage] else { return false };
        self.forks
            && reason == Reason::Edited
            && checkpoint.edited_from.is_some()
            && self.input(stage).is_some_and(|input| input == checkpoint.input)
    }

    /// By what it needs, or by its own `when`. All that comes before it is reused, so the state is known.
    fn ruled_out(&self, stage: usize) -> Result<bool, String> {
        let facts = self.known.facts;
        let spec = &facts.flow.stages[stage];
        let mut needed = spec.needs.iter().chain(&spec.validates).filter_map(|name| facts.graph.index(name));
        if needed.any(|before| self.skipped[before]) {
            return Ok(true);
        }
        match (&spec.when, &self.state) {
            (Some(when), Some(state)) => when
                .eval(&state.some(stage, when.keys()))
                .map(|holds| !holds)
                .map_err(|error| format!("when: {error}")),
            (Some(_) | None, _) => Ok(false),
        }
    }

    /// Of one that ended well, with all that it was made from in place: whether what it left can be used.
    fn left(
        &mut self,
        stage: usize,
        row: &'a StageRecord,
        oracle: &mut dyn Oracle,
    ) -> Result<Verdict<'a>, Refusal> {
        let known = self.known;
        let degraded = (row.status == StageStatus::Degraded).then(|| "degraded".to_owned());
        if let Some(why) = known.lost(stage) {
            return self.without(stage, why);
        }
        match &known.facts.left[stage] {
            Left::Checkpoint(checkpoint) => {
                if let Some(changed) = self.changed(stage, checkpoint, oracle) {
                    return Ok(changed);
                }
                let waits = checkpoint.approval == Approval::Pending;
                let detail = match &checkpoint.created_by {
                    Some(who) if waits && self.takes_on => Some(format!("takes on the edit of {who}")),
                    Some(who) => Some(format!("edited by {who}")),
                    None if waits => Some("it waits for a person".into()),
                    None => degraded,
                };
                Ok(Verdict::Reuse {
                    outputs: &checkpoint.outputs,
                    artifacts: &checkpoint.artifacts,
                    checkpoint: Some(checkpoint),
                    detail,
                })
            }
            Left::Unreadable { id, why, previous: Some(previous) } => {
                if self.changed(stage, previous, oracle).is_some() {
                    return self
                        .without(stage, format!("{id} cannot be read: {why}; {} does not fit", previous.id));
                }
                Ok(Verdict::Reuse {
                    outputs: &previous.outputs,
                    artifacts: &previous.artifacts,
                    checkpoint: Some(previous),
                    detail: Some(format!("{id} cannot be read: {why}")),
                })
            }
            Left::Outputs { outputs, artifacts } => Ok(match oracle.verify(stage, artifacts) {
                Err(why) => execute(Reason::OutputMissing, &why),
                Ok(()) => Verdict::Reuse {
                    outputs,
                    artifacts,
                    checkpoint: None,
                    detail: Some("from what it wrote; what it was made from was not recorded".into()),
                },
            }),
            Left::Unreadable { previous: None, .. } | Left::Nothing => {
                self.without(stage, "nothing was kept of what it wrote".into())
            }
        }
    }

    /// Somebody who wants to go on behind a stage must not have it executed again unasked.
    fn without(&self, stage: usize, why: String) -> Result<Verdict<'a>, Refusal> {
        if !self.before_target[stage] {
            return Ok(Verdict::Execute { reason: Reason::OutputMissing, detail: Some(why) });
        }
        let behind = (0..self.before_target.len()).find(|one| self.seeds[*one].is_some());
        Err(Refusal::NoCheckpoint {
            run: self.known.run(),
            stage: behind.map_or_else(|| self.known.last(), |stage| self.known.name(stage)),
            ancestor: self.known.name(stage),
            why,
        })
    }

    fn changed(
        &mut self,
        stage: usize,
        checkpoint: &Checkpoint,
        oracle: &mut dyn Oracle,
    ) -> Option<Verdict<'a>> {
        if checkpoint.recipe.as_ref().is_some_and(|recipe| *recipe != oracle.recipe(stage)) {
            return Some(execute(Reason::RecipeChanged, &oracle.recipe_change(stage, checkpoint)));
        }
        if self.input(stage).is_some_and(|input| input != checkpoint.input) {
            let detail = self.what_changed(stage);
            return Some(Verdict::Execute { reason: Reason::InputChanged, detail: Some(detail) });
        }
        oracle.verify(stage, &checkpoint.artifacts).err().map(|why| execute(Reason::OutputMissing, &why))
    }

    fn input(&mut self, stage: usize) -> Option<Hash> {
        self.made_from(stage, self.known.facts.flow.stages[stage].reads())
    }

    fn made_from(&mut self, stage: usize, keys: Option<Vec<&str>>) -> Option<Hash> {
        let (state, values) = (self.state.as_ref(), &mut self.values);
        self.chain.made_from(self.known.facts.graph, stage, keys, |key| {
            let value = state?.get(stage, key)?;
            // The same value for many stages is hashed once; what is put into the state stays there.
            Some(values.entry(value.text().as_ptr()).or_insert_with(|| hashes::value(value)).clone())
        })
    }

    /// The items of a stage, and what each is made from beside its own value. `None`: that shows only when what comes
    /// before it has ended.
    pub(super) fn items(&mut self, stage: usize) -> Option<(Vec<Json>, Hash)> {
        let spec = &self.known.facts.flow.stages[stage];
        let from = self.made_from(stage, spec.requires())?;
        let key = &spec.foreach.as_ref()?.key;
        let values = state::items(key, self.state.as_ref()?.get(stage, key)).ok()?;
        Some((values, from))
    }

    fn what_changed(&self, stage: usize) -> String {
        let facts = self.known.facts;
        let reads = facts.flow.stages[stage].reads();
        let before = &facts.parent.inputs;
        let keys = before.keys().chain(facts.inputs.keys().filter(|key| !before.contains_key(*key)));
        let changed: Vec<&str> = keys
            .filter(|key| before.get(*key) != facts.inputs.get(*key))
            .map(String::as_str)
            .filter(|key| reads.as_ref().is_none_or(|reads| reads.contains(key)))
            .collect();
        if changed.is_empty() {
            "what it is built on is not what it was".into()
        } else {
            format!("of the run: {}", changed.join(", "))
        }
    }

    fn settle(&mut self, stage: usize, verdict: Verdict<'a>) -> Planned {
        let (known, graph) = (self.known, self.known.facts.graph);
        let name = known.name(stage);
        let source = known.rows[stage].map(|row| row.source_run_id.clone().unwrap_or_else(|| known.run()));
        match verdict {
            Verdict::Execute { reason, detail } => {
                self.executed[stage] = true;
                Planned {
                    stage: name,
                    decision: Decision::Execute,
                    reason,
                    detail,
                    checkpoint: None,
                    input: None,
                    source_run_id: None,
                }
            }
            Verdict::Skip => {
                self.skipped[stage] = true;
                self.chain.fill(graph, stage, Ended::Skipped);
                Planned {
                    stage: name,
                    decision: Decision::Reuse,
                    reason: Reason::Verified,
                    detail: Some("skipped".into()),
                    checkpoint: None,
                    input: None,
                    source_run_id: source,
                }
            }
            Verdict::Reuse { outputs, artifacts, checkpoint, detail } => {
                let input = if checkpoint.is_none() { self.input(stage) } else { None };
                let (outputs_hash, manifest) = (hashes::outputs(outputs), hashes::manifest(artifacts));
                self.chain.fill(graph, stage, Ended::Good { outputs: &outputs_hash, manifest: &manifest });
                if let Some(state) = &mut self.state {
                    state.put(stage, Arc::new(outputs.clone()));
                }
                if is_edited(known, stage) {
                    for next in graph.downstream(stage) {
                        self.seeds[*next]
                            .get_or_insert_with(|| (Reason::Edited, Some(format!("{name} was edited"))));
                    }
                }
                Planned {
                    stage: name,
                    decision: Decision::Reuse,
                    reason: Reason::Verified,
                    detail,
                    checkpoint: checkpoint.map(|checkpoint| checkpoint.id.clone()),
                    input,
                    source_run_id: checkpoint.map(|checkpoint| checkpoint.run_id.clone()).or(source),
                }
            }
        }
    }
}

fn execute<'a>(reason: Reason, detail: &str) -> Verdict<'a> {
    Verdict::Execute { reason, detail: Some(detail.to_owned()) }
}

/// Keys that an executed stage requires: from the inputs, from what is reused before it, or declared by one before it that
/// is executed, or was skipped, which was no obstacle then.
pub(super) fn missing_keys(known: &Known<'_>, walked: &Walked) -> Result<(), Refusal> {
    let Some(state) = &walked.state else { return Ok(()) };
    let facts = known.facts;
    let mut may_write: HashMap<&str, Vec<usize>> = HashMap::new();
    for planned in &walked.stages {
        let stage = facts.graph.index(&planned.stage);
        if let (Some(stage), None) = (stage, &planned.checkpoint) {
            for key in &facts.flow.stages[stage].outputs {
                may_write.entry(key).or_default().push(stage);
            }
        }
    }
    for planned in walked.stages.iter().filter(|planned| planned.decision == Decision::Execute) {
        let Some(stage) = facts.graph.index(&planned.stage) else { continue };
        let provided = |key: &String| {
            let written = may_write.get(key.as_str()).map(Vec::as_slice).unwrap_or_default();
            state.get(stage, key).is_some()
                || written.iter().any(|writer| state.ancestors().has(stage, *writer))
        };
        let keys: Vec<String> =
            facts.flow.stages[stage].requires.iter().filter(|key| !provided(key)).cloned().collect();
        if !keys.is_empty() {
            return Err(Refusal::MissingKeys { run: known.run(), stage: planned.stage.clone(), keys });
        }
    }
    Ok(())
}

/// Whoever goes on behind a checkpoint has looked at that one, and not at what would be made in its place.
pub(super) fn refuse_another(known: &Known<'_>, stage: &StageName, walked: &Walked) -> Result<(), Refusal> {
    match anew(stage, walked) {
        None => Ok(()),
        Some(planned) => Err(another(planned, format!("do so: restage retry {}", known.run()))),
    }
}

/// The same of what a person has made for a branch; what a stage has made may be made again.
pub(super) fn refuse_another_edit(
    known: &Known<'_>,
    stage: &StageName,
    walked: &Walked,
) -> Result<(), Refusal> {
    let is_edit = |place: usize| match &known.facts.left[place] {
        Left::Checkpoint(checkpoint) => checkpoint.edited_from.is_some(),
        Left::Unreadable { .. } | Left::Outputs { .. } | Left::Nothing => false,
    };
    let edited = known.facts.graph.index(stage).is_some_and(is_edit);
    let Some(planned) = anew(stage, walked).filter(|_| edited) else { return Ok(()) };
    let (run, branch) = (known.run(), &known.facts.parent.branch);
    let first = walked.stages.iter().find(|planned| planned.decision == Decision::Execute);
    let first = first.map_or(stage, |first| &first.stage);
    Err(another(
        planned,
        format!(
            "edit {first} as it is to be now: restage edit {run} {first} --branch {branch}; or begin at a checkpoint \
             before it: restage fork {run} --at CP --branch NAME"
        ),
    ))
}

fn anew<'w>(stage: &StageName, walked: &'w Walked) -> Option<&'w Planned> {
    let mut executed = walked.stages.iter().filter(|planned| planned.decision == Decision::Execute);
    executed.find(|planned| planned.stage == *stage)
}

fn another(planned: &Planned, hint: String) -> Refusal {
    let detail = planned.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
    let (stage, reason) = (&planned.stage, planned.reason);
    let message =
        format!("nothing can go on behind {stage}, which has to be executed again ({reason}{detail})");
    Refusal::Unusable { message, hint: Some(hint) }
}

/// What the target starts from: of the checkpoints directly before it, the last one.
pub(super) fn built_on(known: &Known<'_>, target: &Target, walked: &Walked) -> Option<CheckpointId> {
    let graph = known.facts.graph;
    let reused = |stage: usize| walked.stages[graph.position(stage)].checkpoint.clone();
    match target {
        Target::Stage { stage, .. } => {
            let mut before = graph.upstream(*stage).to_vec();
            before.sort_unstable_by_key(|stage| graph.position(*stage));
            before.into_iter().rev().find_map(reused)
        }
        Target::After(stage) => reused(*stage),
        Target::Changes | Target::Everything => None,
    }
}
