use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::*;
use crate::domain::flow::change::ItemRecord;
use crate::domain::flow::hashes::{self, Chain, Ended};
use crate::domain::flow::ids::BranchName;
use crate::domain::flow::items;
use crate::domain::flow::record::CheckpointRef;
use crate::domain::flow::state::State;
use crate::domain::flow::status::{Approval, RunStatus, StageStatus};
use crate::domain::flow::testing::{at, flow, graph, name, record, row, run_id};
use crate::domain::json::Json;

mod chance;
mod changes;
mod fan;
mod no_target;
mod people;
mod refusals;
mod targets;

/// A run that took place, and what may have happened since.
struct World {
    flow: FlowSpec,
    graph: Graph,
    parent: RunRecord,
    /// By name: the file may change.
    left: BTreeMap<StageName, Left>,
    inputs: JsonMap,
    lineage: Vec<RunRecord>,
    sent_back: Vec<SentBack>,
    takes_on: Option<CheckpointId>,
    holder: Option<RunId>,
    /// Of the one stage that fans out.
    items: Vec<ItemRecord>,
    changed_recipes: BTreeSet<StageName>,
    damaged: BTreeSet<StageName>,
    verified: Vec<StageName>,
}

fn map(text: &str) -> JsonMap {
    serde_json::from_str(text).unwrap()
}

fn recipe(stage: &StageName) -> Hash {
    Hash::of(["recipe", stage.as_str()])
}

fn outputs_of(flow: &FlowSpec, stage: usize, version: u32) -> JsonMap {
    let spec = &flow.stages[stage];
    let value = |key: &String| (key.clone(), Json::of(&format!("{} {version}", spec.name)));
    spec.outputs.iter().map(value).collect()
}

/// How each stage ended: `ok`, `degraded`, `skipped`, `failed`, `failed@7` (at that second), `not_run`, `cancelled`,
/// `pending`; what is not named ended well.
fn world(text: &str, ends: &str) -> World {
    let flow = flow(text);
    let ends: BTreeMap<StageName, &str> = ends
        .split_whitespace()
        .map(|end| end.split_once('=').unwrap())
        .map(|(stage, end)| (name(stage), end))
        .collect();
    world_of(flow, |stage| ends.get(stage).copied().unwrap_or("ok"))
}

fn world_of<'e>(flow: FlowSpec, end: impl Fn(&StageName) -> &'e str) -> World {
    let graph = graph(&flow);
    let inputs = map(r#"{"q": 1}"#);
    let mut chain = Chain::new(&graph, &inputs);
    let mut state = State::new(&graph, inputs.clone());
    let mut left = BTreeMap::new();
    let mut rows: Vec<StageRecord> = Vec::new();
    for stage in graph.order().iter().copied() {
        let spec = &flow.stages[stage];
        let (word, second) = end(&spec.name).split_once('@').unwrap_or((end(&spec.name), "5"));
        let status = StageStatus::parse(word).unwrap_or(StageStatus::Succeeded);
        let mut row = row(spec.name.as_str(), graph.position(stage), status);
        row.ended_at = status.is_final().then(|| at(second.parse().unwrap()));
        left.insert(spec.name.clone(), Left::Nothing);
        if status.is_good() {
            let outputs = outputs_of(&flow, stage, 1);
            let artifacts = vec![Artifact {
                name: "file".into(),
                hash: Hash::of([spec.name.as_str()]),
                size: 1,
                executable: false,
            }];
            let checkpoint = Checkpoint {
                id: CheckpointId { stage: spec.name.clone(), version: 1 },
                root_run_id: run_id(12),
                run_id: run_id(12),
                branch: BranchName::main(),
                parent: None,
                status,
                approval: Approval::Approved,
                hash: hashes::checkpoint(&outputs, &artifacts),
                recipe: Some(recipe(&spec.name)),
                input: chain
                    .made_from(&graph, stage, spec.reads(), |key| state.get(stage, key).map(hashes::value))
                    .unwrap(),
                outputs: outputs.clone(),
                artifacts: artifacts.clone(),
                created_at: at(5),
                created_by: None,
                edited_from: None,
                approved_by: None,
                approved_at: None,
                note: None,
                rewind_to: None,
            };
            row.checkpoint = Some(CheckpointRef {
                id: checkpoint.id.clone(),
                parent: None,
                version: 1,
                branch: BranchName::main(),
                approval: Approval::Approved,
            });
            left.insert(spec.name.clone(), Left::Checkpoint(Box::new(checkpoint)));
            let (hash, manifest) = (hashes::outputs(&outputs), hashes::manifest(&artifacts));
            chain.fill(&graph, stage, Ended::Good { outputs: &hash, manifest: &manifest });
            state.put(stage, Arc::new(outputs));
        } else if status == StageStatus::Skipped {
            chain.fill(&graph, stage, Ended::Skipped);
        }
        rows.push(row);
    }
    let failed = rows.iter().any(|row| row.status == StageStatus::Failed);
    let open = rows.iter().any(|row| !row.status.is_good() && row.status != StageStatus::Skipped);
    let status = match (failed, open) {
        (true, _) => RunStatus::Failed,
        (false, true) => RunStatus::Cancelled,
        (false, false) => RunStatus::Succeeded,
    };
    let mut parent = record(12, status, None);
    parent.stages = Some(rows);
    World {
        flow,
        graph,
        parent,
        left,
        inputs,
        lineage: Vec::new(),
        sent_back: Vec::new(),
        takes_on: None,
        holder: None,
        items: Vec::new(),
        changed_recipes: BTreeSet::new(),
        damaged: BTreeSet::new(),
        verified: Vec::new(),
    }
}

struct Answers<'a> {
    names: &'a Graph,
    parent: &'a RunRecord,
    items: &'a [ItemRecord],
    changed_recipes: &'a BTreeSet<StageName>,
    damaged: &'a BTreeSet<StageName>,
    lineage: &'a [RunRecord],
    verified: &'a mut Vec<StageName>,
}

impl Oracle for Answers<'_> {
    fn recipe(&mut self, stage: usize) -> Hash {
        let name = self.names.name(stage);
        if self.changed_recipes.contains(name) { Hash::of(["another"]) } else { recipe(name) }
    }

    fn recipe_change(&mut self, stage: usize, checkpoint: &Checkpoint) -> String {
        format!("{} since {}", self.names.name(stage), checkpoint.id)
    }

    fn items(&mut self, stage: usize, reason: Reason) -> Option<Earlier> {
        let ended = self.parent.stages.iter().flatten().find(|row| row.name == *self.names.name(stage));
        let goes_on = items::goes_on(reason, ended.map(|row| row.status)) && !self.items.is_empty();
        goes_on.then(|| Earlier { run: self.parent.run_id.clone(), items: self.items.to_vec() })
    }

    fn items_change(&mut self, stage: usize, _run: &RunId) -> Option<String> {
        self.changed_recipes.contains(self.names.name(stage)).then(|| "file draw.py".into())
    }

    fn verify(&mut self, stage: usize, _artifacts: &[Artifact]) -> Result<(), String> {
        let name = self.names.name(stage);
        self.verified.push(name.clone());
        if self.damaged.contains(name) { Err("file is damaged".into()) } else { Ok(()) }
    }

    fn retries(&mut self, _checkpoint: &CheckpointId) -> Vec<RunId> {
        self.lineage.iter().map(|run| run.run_id.clone()).collect()
    }

    fn ended(&mut self, run: &RunId, stage: &StageName) -> Option<StageStatus> {
        let run = self.lineage.iter().find(|one| one.run_id == *run)?;
        let mut rows = run.stages.iter().flatten();
        // One of which nothing more is told has ended as its run has.
        rows.find(|row| row.name == *stage)
            .map(|row| row.status)
            .or_else(|| StageStatus::parse(run.status.word()))
    }
}

impl World {
    /// Another file: stages are added, taken away, and need something else.
    fn file(&mut self, text: &str) {
        self.flow = flow(text);
        self.graph = graph(&self.flow);
    }

    fn plan(&mut self, wish: &Wish) -> Result<Plan, Refusal> {
        let left = self.left_now();
        self.plan_with(&left, wish)
    }

    fn left_now(&self) -> Vec<Left> {
        let left = |stage: &StageName| self.left.get(stage).cloned().unwrap_or(Left::Nothing);
        self.flow.stages.iter().map(|stage| left(&stage.name)).collect()
    }

    fn plan_with(&mut self, left: &[Left], wish: &Wish) -> Result<Plan, Refusal> {
        let facts = Facts {
            flow: &self.flow,
            graph: &self.graph,
            parent: &self.parent,
            inputs: &self.inputs,
            left,
            lineage: &self.lineage,
            sent_back: &self.sent_back,
            takes_on: self.takes_on.as_ref(),
            holder: self.holder.as_ref(),
        };
        self.verified.clear();
        let mut oracle = Answers {
            names: &self.graph,
            parent: &self.parent,
            items: &self.items,
            changed_recipes: &self.changed_recipes,
            damaged: &self.damaged,
            lineage: &self.lineage,
            verified: &mut self.verified,
        };
        plan(&facts, wish, &mut oracle)
    }

    /// What a person would see; a refusal with its code and way out.
    fn told(&mut self, wish: &Wish) -> String {
        match self.plan(wish) {
            Ok(plan) => shown(&plan),
            Err(refusal) => format!("{} {refusal} | {}", refusal.code(), refusal.hint()),
        }
    }

    fn edit(&mut self, stage: &str) {
        let index = self.graph.index(&name(stage)).unwrap();
        let Some(Left::Checkpoint(checkpoint)) = self.left.get_mut(&name(stage)) else { panic!("{stage}") };
        checkpoint.edited_from = Some(checkpoint.id.clone());
        checkpoint.id.version += 1;
        checkpoint.created_by = Some("ann".into());
        checkpoint.recipe = None;
        checkpoint.approval = Approval::Pending;
        checkpoint.outputs = outputs_of(&self.flow, index, checkpoint.id.version);
    }

    /// As on a branch that has not run yet: of what stands there.
    fn edit_there(&mut self, stage: &str) {
        self.edit(stage);
        let left = self.left_now();
        let facts = Facts {
            flow: &self.flow,
            graph: &self.graph,
            parent: &self.parent,
            inputs: &self.inputs,
            left: &left,
            lineage: &[],
            sent_back: &[],
            takes_on: None,
            holder: None,
        };
        let input = standing::input(&facts, &name(stage)).unwrap();
        let Some(Left::Checkpoint(checkpoint)) = self.left.get_mut(&name(stage)) else { panic!("{stage}") };
        checkpoint.input = input;
    }
}

fn shown(plan: &Plan) -> String {
    let line = |planned: &Planned| {
        let detail = planned.detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default();
        match planned.decision {
            Decision::Execute => format!("{}: {}{detail}", planned.stage, planned.reason),
            Decision::Reuse => {
                let what = planned.checkpoint.as_ref().map_or("nothing".into(), ToString::to_string);
                format!("{}: reuse {what}{detail}", planned.stage)
            }
        }
    };
    let stages: Vec<String> = plan.stages.iter().map(line).collect();
    format!("from {}: {}", plan.from, stages.join("; "))
}

fn first() -> Wish {
    Wish { start: Start::FirstFailure, force: false }
}

fn from(stage: &str) -> Wish {
    Wish { start: Start::At(name(stage)), force: false }
}

fn forced(stage: &str) -> Wish {
    Wish { start: Start::At(name(stage)), force: true }
}

const VIDEO: &str = "script: >script\n storyboard: script >board\n check: !storyboard\n voice: script >voice\n \
    extra: script when:draft\n music: ?extra script\n render: storyboard voice music";
