use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::domain::flow::hashes::{self, Chain, Ended};
use crate::domain::flow::ids::BranchName;
use crate::domain::flow::record::CheckpointRef;
use crate::domain::flow::state::State;
use crate::domain::flow::status::{Approval, RunStatus, StageStatus};
use crate::domain::flow::testing::{at, flow, graph, name, record, row, run_id};
use crate::domain::json::Json;

mod no_target;

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
            let required: Vec<(&str, Option<Hash>)> = spec
                .requires
                .iter()
                .map(|key| (key.as_str(), state.get(stage, key).map(hashes::value)))
                .collect();
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
                    .input(&graph, stage, (!flow.stages[stage].reads_any()).then_some(&required))
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
        changed_recipes: BTreeSet::new(),
        damaged: BTreeSet::new(),
        verified: Vec::new(),
    }
}

struct Answers<'a> {
    names: &'a Graph,
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

    fn items_change(&mut self, stage: usize) -> Option<String> {
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

#[test]
fn each_stage_of_a_flow_as_the_one_that_failed() {
    for (ends, plan) in [
        (
            "script=failed storyboard=not_run check=not_run voice=not_run extra=not_run music=not_run render=not_run",
            "from script: script: failed; storyboard: descendant (of script); check: descendant (of storyboard); \
             voice: descendant (of script); extra: descendant (of script); music: descendant (of script); \
             render: descendant (of storyboard)",
        ),
        (
            "storyboard=failed check=not_run extra=skipped render=not_run",
            "from storyboard: script: reuse script@1; storyboard: failed; check: descendant (of storyboard); \
             voice: reuse voice@1; extra: reuse nothing (skipped); music: reuse music@1; \
             render: descendant (of storyboard)",
        ),
        (
            "check=failed extra=skipped render=not_run",
            "from storyboard: script: reuse script@1; storyboard: its validator failed (check failed); check: failed; \
             voice: reuse voice@1; extra: reuse nothing (skipped); music: reuse music@1; \
             render: descendant (of storyboard)",
        ),
        (
            "voice=failed@9 music=failed@8 extra=skipped render=not_run",
            "from music: script: reuse script@1; storyboard: reuse storyboard@1; check: reuse check@1; voice: failed; \
             extra: reuse nothing (skipped); music: failed; render: descendant (of voice)",
        ),
        (
            "render=failed extra=skipped voice=degraded",
            "from render: script: reuse script@1; storyboard: reuse storyboard@1; check: reuse check@1; \
             voice: reuse voice@1 (degraded); extra: reuse nothing (skipped); music: reuse music@1; render: failed",
        ),
        (
            "voice=degraded extra=skipped",
            "from voice: script: reuse script@1; storyboard: reuse storyboard@1; check: reuse check@1; \
             voice: failed (it was degraded); extra: reuse nothing (skipped); music: reuse music@1; \
             render: descendant (of voice)",
        ),
    ] {
        let mut world = world(VIDEO, ends);
        if ends.starts_with("voice=degraded") {
            world.parent.status = RunStatus::Degraded;
        }
        assert_eq!(world.told(&first()), plan, "{ends}");
    }
}

#[test]
fn a_validator_or_what_it_validates_are_the_same_start() {
    let mut world = world("a:\n b: a\n v: !b\n w: !b\n c: b", "v=failed c=not_run");
    let plan = "from b: a: reuse a@1; b: its validator failed (v failed); v: failed; w: descendant (of b); \
        c: descendant (of b)";
    assert_eq!(world.told(&first()), plan);
    assert_eq!(world.told(&from("v")), plan);
    assert_eq!(world.told(&from("b")), plan);
    assert_eq!(
        world.told(&from("w")).split(" | ").next().unwrap(),
        plan.split(" | ").next().unwrap(),
        "the other validator says the same of it"
    );
}

#[test]
fn a_validator_that_gave_no_answer_says_nothing_against_its_target() {
    let mut world = world("a:\n b: a\n v: !b\n c: b", "v=pending c=pending");
    assert_eq!(
        world.told(&first()),
        "from v: a: reuse a@1; b: reuse b@1; v: never ran; c: descendant (of v)"
    );
}

#[test]
fn a_degraded_validator_is_a_reason_to_start_at_its_target() {
    let mut world = world("a:\n b: a\n v: !b\n w: !b\n c: b", "v=degraded");
    let plan = "from b: a: reuse a@1; b: its validator failed (v was degraded); v: failed (it was degraded); \
        w: descendant (of b); c: descendant (of b)";
    assert_eq!(world.told(&first()), plan);
    assert_eq!(world.told(&from("v")), plan);
    assert!(world.told(&from("b")).starts_with("12 b of f-12 succeeded"));
}

#[test]
fn what_changed_joins_with_its_descendants() {
    let text = "a: >x\n b: a >y\n c: b\n d: a <x\n e: d <q\n z:";
    let mut one = world(text, "z=failed");
    one.changed_recipes.insert(name("b"));
    assert_eq!(
        one.told(&first()),
        "from z: a: reuse a@1; b: recipe changed (b since b@1); c: descendant (of b); d: reuse d@1; e: reuse e@1; z: failed"
    );
    assert_eq!(one.verified, [name("a"), name("d"), name("e")], "what is executed is not hashed");

    let mut one = world(text, "z=failed");
    one.inputs = map(r#"{"q": 2, "new": 1}"#);
    assert_eq!(
        one.told(&first()),
        "from z: a: input changed (of the run: q, new); b: descendant (of a); c: descendant (of b); \
         d: descendant (of a); e: descendant (of d); z: failed"
    );

    // Only what requires it.
    let mut one = world("a: <p >x\n d: a <x\n e: d <q\n f: e\n z:", "z=failed");
    one.inputs = map(r#"{"q": 2}"#);
    assert_eq!(
        one.told(&first()),
        "from z: a: reuse a@1; d: reuse d@1; e: input changed (of the run: q); f: descendant (of e); z: failed"
    );

    let mut one = world(text, "z=failed");
    one.damaged.insert(name("d"));
    assert_eq!(
        one.told(&first()),
        "from z: a: reuse a@1; b: reuse b@1; c: reuse c@1; d: output missing (file is damaged); \
         e: descendant (of d); z: failed"
    );
}

#[test]
fn items_that_are_done_are_done_again_only_where_they_are_made_otherwise() {
    let mut one = world("a:\n b: a\n c: b", "b=failed c=not_run");
    let done = Some(crate::domain::flow::record::ItemCount { done: 3, all: 5 });
    one.parent.stages.as_mut().unwrap()[1].items = done;
    one.flow.stages[1].foreach =
        Some(crate::domain::flow::spec::Foreach { key: "k".into(), max_parallel: None });
    assert_eq!(one.told(&first()), "from b: a: reuse a@1; b: failed (2 of 5 items); c: descendant (of b)");
    one.changed_recipes.insert(name("b"));
    assert_eq!(
        one.told(&first()),
        "from b: a: reuse a@1; b: recipe changed (file draw.py; all items are executed again); c: descendant (of b)"
    );
}

#[test]
fn the_file_may_have_changed() {
    let mut one = world("a: >x\n b: a\n c: b", "c=failed");
    one.file("a: >x\n n: a\n b: a\n c: b n\n m: b");
    assert_eq!(
        one.told(&first()),
        "from c: a: reuse a@1; n: never ran (it is new in the file); b: reuse b@1; c: failed; \
         m: never ran (it is new in the file)"
    );
    // Another need is another input.
    one.file("a: >x\n n:\n b: a n\n c: b");
    assert_eq!(
        one.told(&first()),
        "from c: a: reuse a@1; n: never ran (it is new in the file); b: descendant (of n); c: failed"
    );
    let mut one = world("a:\n z:\n b: a\n c: b", "c=failed");
    one.file("a:\n z:\n b: a z\n c: b");
    assert_eq!(
        one.told(&first()),
        "from c: a: reuse a@1; z: reuse z@1; b: input changed (what it is built on is not what it was); c: failed"
    );
    one.file("a:\n z:\n b: a");
    assert!(one.told(&first()).starts_with("3 c, failed in f-12, is not in"), "{}", one.told(&first()));
}

#[test]
fn what_was_skipped_is_asked_again() {
    let text = "a: >x\n b: a when:draft\n c: b\n d: ?b a\n z:";
    let mut one = world(text, "b=skipped c=skipped z=failed");
    assert_eq!(
        one.told(&first()),
        "from z: a: reuse a@1; b: reuse nothing (skipped); c: reuse nothing (skipped); d: reuse d@1; z: failed"
    );
    // Its condition holds now, though nothing else has changed.
    one.file("a: >x\n b: a when:q==1\n c: b\n d: ?b a\n z:");
    assert_eq!(
        one.told(&first()),
        "from z: a: reuse a@1; b: input changed (it was skipped, and is not ruled out any more); \
         c: descendant (of b); d: descendant (of b); z: failed"
    );
    one.file("a: >x when:not(q==1)\n b: a when:draft\n c: b\n d: ?b a\n z:");
    assert_eq!(
        one.told(&first()).split("; ").next().unwrap(),
        "from z: a: input changed (it ran, and is ruled out now)"
    );
    one.file("a: >x\n b: a when:x>1\n c: b\n d: ?b a\n z:");
    assert!(one.told(&first()).contains("b: input changed (when: x is a text"), "{}", one.told(&first()));
}

#[test]
fn what_is_behind_an_edit_is_executed_and_nothing_else() {
    let mut one = world("a: >x\n b: a <x\n c: a <q\n d: b\n z:", "d=failed");
    one.edit("a");
    assert_eq!(
        one.told(&first()),
        "from d: a: reuse a@2 (takes on the edit of ann); b: edited (a was edited); c: edited (a was edited); d: failed; \
         z: reuse z@1"
    );
    // Also of a run that succeeded, without being forced, and though the recipe is another one now.
    let mut one = world("a: >x\n b: a <x\n d: b\n z:", "");
    one.edit("a");
    one.changed_recipes.insert(name("a"));
    assert_eq!(
        one.told(&first()),
        "from b: a: reuse a@2 (takes on the edit of ann); b: edited (a was edited); d: descendant (of b); z: reuse z@1"
    );
    // But not on other inputs.
    one.inputs = map(r#"{"q": 3}"#);
    assert!(one.told(&first()).contains("a: input changed (of the run: q)"), "{}", one.told(&first()));
}

#[test]
fn going_on_behind_a_checkpoint() {
    let mut one = world("a:\n b: a\n c: b\n y: a", "c=failed");
    let after = |stage| Wish { start: Start::After(name(stage)), force: false };
    assert_eq!(
        one.told(&after("a")),
        "from b: a: reuse a@1; b: descendant (of a); c: descendant (of b); y: descendant (of a)"
    );
    assert_eq!(
        one.told(&after("b")),
        "from c: a: reuse a@1; b: reuse b@1; c: descendant (of b); y: reuse y@1"
    );
    assert_eq!(
        one.told(&after("c")).split(" | ").next().unwrap(),
        "14 nothing can go on behind c, which left no usable checkpoint: it is failed: exit 1"
    );
    let mut one = world("a:\n b: a", "");
    assert_eq!(
        one.told(&after("b")),
        "2 nothing comes after b | to execute it again: restage retry f-12 --from b --force"
    );
}

#[test]
fn what_waited_for_a_person_is_not_executed_again() {
    let mut one = world("a:\n b: a\n c: b\n z:", "c=cancelled");
    let row = one.parent.stages.as_mut().unwrap().iter_mut().find(|row| row.name == name("b")).unwrap();
    row.status = StageStatus::Cancelled;
    let Some(Left::Checkpoint(checkpoint)) = one.left.get_mut(&name("b")) else { panic!() };
    checkpoint.approval = Approval::Pending;
    assert_eq!(
        one.told(&first()),
        "from c: a: reuse a@1; b: reuse b@1 (it waits for a person); c: failed (it was cancelled); z: reuse z@1"
    );
    assert!(
        one.told(&from("b")).starts_with("from b: a: reuse a@1; b: failed (it was cancelled); c: descendant")
    );
    // As the last one it is all that there is to do.
    one.file("a:\n b: a\n z:");
    assert_eq!(
        one.told(&first()),
        "from b: a: reuse a@1; b: reuse b@1 (it waits for a person); z: reuse z@1"
    );
}

#[test]
fn a_branch_may_leave_a_run_that_is_under_way() {
    let mut one = world("a:\n b: a\n c: b\n z:", "b=running c=pending z=running");
    one.parent.status = RunStatus::Running;
    assert_eq!(
        one.told(&Wish { start: Start::Fork(name("a")), force: false }),
        "from b: a: reuse a@1; b: descendant (of a); c: descendant (of b); z: never ran"
    );
    assert!(one.told(&Wish { start: Start::After(name("a")), force: false }).starts_with("10 "));
}

#[test]
fn on_a_new_branch_an_edit_stands_on_those_before_it_and_not_on_later_ones() {
    let fork = |stage: &str| Wish { start: Start::Fork(name(stage)), force: false };
    for needs in ["", " <x"] {
        let chain = format!("a: >x\n b: a >y{needs}\n c: b >z\n d: c");
        let mut one = world(&chain, "d=failed");
        one.edit_there("a");
        one.edit_there("b");
        assert_eq!(
            one.told(&fork("b")),
            "from c: a: reuse a@2 (edited by ann); b: reuse b@2 (edited by ann); c: descendant (of b); d: descendant (of c)"
        );
        one.edit_there("c");
        assert_eq!(
            one.told(&fork("c")),
            "from d: a: reuse a@2 (edited by ann); b: reuse b@2 (edited by ann); c: reuse c@2 (edited by ann); d: \
             descendant (of c)"
        );
        // Elsewhere what comes behind an edit is executed.
        assert!(one.told(&first()).contains("b: edited (a was edited); c: descendant (of b)"));
        one.edit_there("a");
        assert_eq!(
            one.told(&fork("a")),
            "from b: a: reuse a@3 (edited by ann); b: descendant (of a); c: descendant (of b); d: descendant (of c)"
        );
    }
    // What lies between two edits is made anew, and nobody has seen what the later one would stand on then.
    let mut one = world("a: >x\n b: a >y\n c: b >z\n d: c", "d=failed");
    one.edit_there("a");
    one.edit_there("c");
    assert_eq!(
        one.told(&fork("c")),
        "2 nothing can go on behind c, which has to be executed again (descendant: of b) | edit b as it is to be now: \
         restage edit f-12 b --branch main; or begin at a checkpoint before it: restage fork f-12 --at CP --branch NAME"
    );
    one.edit_there("b");
    one.edit_there("c");
    assert!(one.told(&fork("c")).starts_with("from d: "));
}

#[test]
fn a_rejected_stage_is_executed_though_it_succeeded() {
    let mut one = world("a:\n b: a\n v: !b\n c: b", "c=pending");
    let wish = Wish { start: Start::Rejected(name("b")), force: false };
    assert_eq!(
        one.told(&wish),
        "from b: a: reuse a@1; b: rejected; v: descendant (of b); c: descendant (of b)"
    );
}

#[test]
fn a_retry_begins_where_a_person_sent_the_run_back_to() {
    // After the run had ended: what was rejected is of no use any more.
    let mut one = world("a:\n b: a\n c: b\n z:", "c=failed");
    one.left.insert(name("b"), Left::Nothing);
    let sent = |to: &str, second| SentBack { to: name(to), feedback: "darker".into(), at: Some(at(second)) };
    assert!(one.told(&first()).starts_with("14 c needs b"), "{}", one.told(&first()));
    one.sent_back = vec![sent("b", 9)];
    assert_eq!(one.told(&first()), "from b: a: reuse a@1; b: rejected; c: descendant (of b); z: reuse z@1");
    one.sent_back = vec![sent("b", 9), sent("a", 8)];
    let back = "from a: a: rejected; b: descendant (of a); c: descendant (of b); z: reuse z@1";
    assert_eq!(one.told(&first()), back);
    // A retry that succeeded before that is no answer to it, one that came after it is.
    one.lineage = vec![record(13, RunStatus::Succeeded, Some(12))];
    one.lineage[0].created_at = at(7);
    assert_eq!(one.told(&first()), back);
    one.lineage[0].created_at = at(10);
    assert!(one.told(&first()).starts_with("12 a of f-12 succeeded in its retry f-13"));
    // What is not in the file any more cannot be begun with.
    one.sent_back = vec![sent("gone", 9)];
    assert!(one.told(&first()).starts_with("12 c"), "{}", one.told(&first()));
}

#[test]
fn nobody_goes_on_behind_what_would_be_made_anew() {
    let mut one = world("a:\n b: a\n c: b", "c=failed");
    let behind = Wish { start: Start::After(name("b")), force: false };
    assert_eq!(one.told(&behind), "from c: a: reuse a@1; b: reuse b@1; c: descendant (of b)");
    one.edit("a");
    assert_eq!(
        one.told(&behind),
        "2 nothing can go on behind b, which has to be executed again (edited: a was edited) | do so: restage retry f-12"
    );
    assert_eq!(
        one.told(&first()),
        "from c: a: reuse a@2 (takes on the edit of ann); b: edited (a was edited); c: failed"
    );
    // Beside it, an edit waits on.
    let mut one = world("a:\n b: a\n z: a\n c: b z", "c=failed");
    one.edit("z");
    assert_eq!(
        one.told(&behind),
        "from c: a: reuse a@1; b: reuse b@1; z: reuse z@2 (edited by ann); c: descendant (of b)"
    );
}

#[test]
fn what_is_taken_on_as_the_last_one_makes_a_run_that_ends_with_it() {
    let after = |stage| Wish { start: Start::After(name(stage)), force: false };
    let fork = |stage| Wish { start: Start::Fork(name(stage)), force: false };
    let refused = "2 nothing comes after b | to execute it again: restage retry f-12 --from b --force";
    let nothing = |told: String| told.starts_with("12 ") || told == refused;
    let approve = |one: &mut World, stage: &str| {
        let Some(Left::Checkpoint(checkpoint)) = one.left.get_mut(&name(stage)) else { panic!() };
        checkpoint.approval = Approval::Approved;
    };
    let mut one = world("a:\n b: a", "");
    assert!(nothing(one.told(&after("b"))) && nothing(one.told(&first())));
    // Whether it is approved already or only will be, the plan is the same.
    one.edit("b");
    let all = "a: reuse a@1; b: reuse b@2 (edited by ann)";
    for approved in [false, true] {
        if approved {
            approve(&mut one, "b");
        }
        one.takes_on = Some(CheckpointId::parse("b@2").unwrap());
        assert!(one.told(&after("b")).ends_with(all), "{}", one.told(&after("b")));
        one.takes_on = None;
        assert!(one.told(&after("b")).ends_with(all), "{}", one.told(&after("b")));
        assert!(one.told(&first()).contains("b: reuse b@2"), "{}", one.told(&first()));
    }
    // What nobody had answered for when its run was ended, and is approved since.
    let mut one = world("a:\n b: a", "");
    one.parent.stages.as_mut().unwrap()[1].status = StageStatus::Cancelled;
    for wish in [after("b"), first()] {
        assert!(one.told(&wish).ends_with("a: reuse a@1; b: reuse b@1"), "{}", one.told(&wish));
    }
    // A branch that only just left there ends as the run has, unless what it stands on is its own or is taken on by that.
    let mut one = world("a:\n b: a", "");
    one.parent.branch = BranchName::trusted("alt");
    assert_eq!(
        one.told(&fork("b")),
        "2 nothing comes after b | edit what the branch stands on: restage edit f-12 b --branch alt --set KEY=VALUE"
    );
    one.takes_on = Some(CheckpointId::parse("b@1").unwrap());
    assert!(one.told(&fork("b")).ends_with("a: reuse a@1; b: reuse b@1"));
    one.takes_on = None;
    one.edit("b");
    approve(&mut one, "b");
    let Some(Left::Checkpoint(checkpoint)) = one.left.get_mut(&name("b")) else { panic!() };
    checkpoint.branch = BranchName::trusted("alt");
    let (id, version) = (checkpoint.id.clone(), checkpoint.id.version);
    let row = &mut one.parent.stages.as_mut().unwrap()[1];
    row.checkpoint = Some(CheckpointRef { id, version, ..row.checkpoint.clone().unwrap() });
    assert!(one.told(&fork("b")).ends_with("b: reuse b@2 (edited by ann)"), "{}", one.told(&fork("b")));
}

#[test]
fn each_refusal_comes_before_those_with_a_higher_code() {
    // Everything is wrong at once; what is told first is put right, and the next one is told.
    let mut one = world("a: >x\n b: a\n c: b <key\n d: c\n p: >other", "c=failed d=not_run");
    one.parent.status = RunStatus::Waiting;
    one.holder = Some(run_id(14));
    one.lineage = vec![
        record(13, RunStatus::Failed, Some(12)),
        record(14, RunStatus::Succeeded, Some(13)),
        record(15, RunStatus::Succeeded, Some(99)),
    ];
    one.parent.retry_depth = 10;

    assert_eq!(
        one.told(&from("b")),
        "10 f-12 is still waiting | wait for it, or end it: restage cancel f-12"
    );
    one.parent.status = RunStatus::Failed;
    assert_eq!(
        one.told(&from("b")),
        "11 f-14 is under way on branch main of the same lineage | look at it: restage show f-14; or run after it, if \
         it fails: restage retry f-12 --queue"
    );
    one.holder = None;
    assert_eq!(
        one.told(&from("b")),
        "12 b of f-12 succeeded | to execute it again all the same: restage retry f-12 --from b --force"
    );
    assert_eq!(
        one.told(&from("d")),
        "12 d of f-12 succeeded in its retry f-14 | look at it: restage show f-14; to execute it again all the same: \
         restage retry f-12 --from d --force"
    );
    assert_eq!(
        one.told(&forced("d")),
        "13 d never ran in f-12 | execute c again first: restage retry f-12 --from c --force"
    );
    one.left.insert(name("b"), Left::Nothing);
    assert_eq!(
        one.told(&forced("c")),
        "14 c needs b, which left no usable checkpoint: nothing was kept of what it wrote | start there: restage \
         retry f-12 --from b"
    );
    one.lineage.clear();
    // It succeeded, but that is worth nothing.
    assert_eq!(
        one.told(&from("b")),
        "15 c requires key, which nothing provides | give them: restage retry f-12 --set key=…"
    );
    one.inputs.insert("key".into(), Json::of(&1));
    assert_eq!(
        one.told(&from("b")),
        "16 f-12 is 10 retries deep, and 10 is the limit | start anew: restage run, with the inputs that `restage show \
         f-12` lists; or raise max_retry_depth"
    );
    one.parent.retry_depth = 9;
    // Since `key` is new, everything that may read any key is executed, and nothing is built on a checkpoint.
    assert!(
        one.told(&from("b")).starts_with("from b: a: input changed (of the run: key); b: output missing")
    );
    one.parent.inputs = one.inputs.clone();
}

/// A retry of a run from a stage, which failed.
fn retry(number: u64, of: u64, from: &str) -> RunRecord {
    RunRecord {
        retry_from_stage: Some(name(from)),
        trigger: Trigger::Retry,
        ..record(number, RunStatus::Failed, Some(of))
    }
}

#[test]
fn a_checkpoint_is_built_on_again_up_to_a_limit_and_a_chain_is_as_long_as_it_may_be() {
    let mut one = world("a: >x\n b: a\n c: b\n d: c\n p: >other", "c=failed d=not_run");
    let from_c = "from c: a: reuse a@1; b: reuse b@1; c: failed; d: descendant (of c); p: reuse p@1";
    let too_many = "16 b@1 was retried 5 times, and 5 is the limit | edit what it is built on: restage edit f-12 b; or raise \
         max_retries_per_checkpoint";
    one.lineage = (13..17).map(|number| retry(number, 12, "c")).collect();
    assert_eq!(one.told(&first()), from_c);
    assert_eq!(one.plan(&first()).unwrap().retry_depth, 1);
    // One from further on only reuses it, and one that was cancelled while it was queued never started.
    one.lineage.push(retry(17, 12, "d"));
    one.lineage.push(RunRecord { started_at: None, ..retry(18, 12, "c") });
    assert_eq!(one.told(&first()), from_c);
    one.lineage.push(retry(19, 12, "c"));
    assert_eq!(one.told(&first()), too_many);
    let behind = Wish { start: Start::After(name("b")), force: false };
    assert_eq!(one.told(&behind), too_many);
    // It is the same in a chain, in which each is a retry of the one before.
    one.lineage = (13..18).map(|number| retry(number, number - 1, "c")).collect();
    one.parent.retry_depth = 5;
    assert_eq!(one.told(&first()), too_many);
    assert_eq!(one.told(&behind), too_many);
    // The first that went on behind an edit or on a branch is no retry of it.
    one.lineage[0].trigger = Trigger::Continue;
    assert_eq!(one.told(&first()), from_c);
    one.parent.retry_depth = 10;
    assert!(one.told(&first()).starts_with("16 f-12 is 10 retries deep, and 10 is the limit"));
    // The parent is itself a retry, and never started.
    (one.parent.parent_run_id, one.parent.started_at) = (Some(run_id(11)), None);
    assert_eq!(one.told(&first()), from_c);
}

#[test]
fn an_ancestor_that_never_succeeded_is_named() {
    let mut one = world("a:\n b:\n c: a", "a=failed@3 b=failed@2 c=not_run");
    assert!(one.told(&first()).starts_with("from b: "));
    assert_eq!(
        one.told(&from("c")),
        "13 c never ran in f-12 | start where it ended: restage retry f-12 --from a"
    );
    one.file("a:\n b: a\n c: a");
    assert_eq!(
        one.told(&first()),
        "14 b needs a, which left no usable checkpoint: it is failed: exit 1 | start there: restage retry f-12 --from a"
    );
    assert!(one.told(&from("a")).starts_with("from a: a: failed; b: descendant (of a)"));
}

#[test]
fn a_run_that_was_stopped_goes_on_where_it_stopped() {
    let mut one = world("a:\n b: a\n c: b\n d:", "b=cancelled c=not_run d=pending");
    assert_eq!(one.parent.status, RunStatus::Cancelled);
    assert_eq!(
        one.told(&first()),
        "from b: a: reuse a@1; b: failed (it was cancelled); c: descendant (of b); d: never ran"
    );
    assert_eq!(
        one.told(&from("d")),
        "from d: a: reuse a@1; b: failed (it was cancelled); c: descendant (of b); d: never ran"
    );
    assert!(
        one.told(&from("c"))
            .starts_with("13 c never ran in f-12 | start where it ended: restage retry f-12 --from b")
    );
    let mut one = world("a:\n b: a", "a=skipped b=skipped");
    assert!(one.told(&from("b")).contains("from b: a: "), "{}", one.told(&from("b")));
    let mut one = world("a:\n b: a when:draft", "b=skipped");
    assert!(one.told(&from("b")).starts_with(
        "13 b never ran in f-12 | change what ruled it out: restage retry f-12 --from b --set draft=…"
    ));
}

#[test]
fn what_was_skipped_is_a_target_once_it_is_ruled_out_no_more() {
    let text = "a: >x\n w: a >go\n b: w when:go==\"x\"\n c: b\n e: a when:draft\n z: a";
    let mut one = world(text, "w=ok b=skipped c=skipped e=skipped z=failed");
    // What wrote the key has succeeded: no retry from there without force.
    assert_eq!(
        one.told(&from("b")),
        "13 b never ran in f-12 | execute w again first: restage retry f-12 --from w --force"
    );
    assert_eq!(one.told(&from("c")), one.told(&from("b")).replace("13 b", "13 c"));
    assert!(one.told(&forced("w")).starts_with("from w: "));
    assert_eq!(
        one.told(&from("e")),
        "13 e never ran in f-12 | change what ruled it out: restage retry f-12 --from e --set draft=…"
    );
    one.inputs.insert("draft".into(), Json::of(&true));
    one.parent.inputs = one.inputs.clone();
    let mut one = World { left: one.left, parent: one.parent, inputs: one.inputs, ..world(text, "") };
    assert!(one.told(&from("e")).contains("; e: never ran (it was skipped)"), "{}", one.told(&from("e")));
    // Where to start is a stage that may be started at.
    let mut one = world("a:\n b: a\n c: b", "a=ok b=failed c=not_run");
    one.left.insert(name("a"), Left::Nothing);
    assert_eq!(
        one.told(&from("c")),
        "13 c never ran in f-12 | start where it ended: restage retry f-12 --from a"
    );
    assert!(one.told(&from("a")).starts_with("from a: "));
}

#[test]
fn required_keys_may_come_from_anywhere_before() {
    let text = "a: >x\n b: a ?s <x\n s: >y when:draft\n c: b s <y\n d: b <q\n e: ?s b <y";
    let mut one = world(text, "s=skipped b=failed c=skipped d=not_run e=not_run");
    assert!(one.told(&first()).starts_with("from b: "), "{}", one.told(&first()));
    one.file("a: >x\n b: a ?s <x\n s: >y when:draft\n c: b s <y\n d: b <q <nowhere <neither\n e: ?s b <y");
    assert_eq!(
        one.told(&first()),
        "15 d requires nowhere, neither, which nothing provides | give them: restage retry f-12 --set nowhere=… --set neither=…"
    );
}

#[test]
fn a_run_from_before_checkpoints_is_rebuilt_from_its_outputs_or_refused() {
    let mut one = world("a: >x\n b: a\n c: b\n z: >k", "c=failed");
    one.left.insert(name("a"), Left::Outputs { outputs: map(r#"{"x": 1}"#), artifacts: Vec::new() });
    one.left.insert(name("b"), Left::Outputs { outputs: JsonMap::new(), artifacts: Vec::new() });
    one.left.insert(name("z"), Left::Outputs { outputs: JsonMap::new(), artifacts: Vec::new() });
    let rebuilt = "from what it wrote; what it was made from was not recorded";
    assert_eq!(
        one.told(&first()),
        format!(
            "from c: a: reuse nothing ({rebuilt}); b: reuse nothing ({rebuilt}); c: failed; z: output missing (it ran \
             before checkpoints were kept, and what it wrote is incomplete)"
        )
    );
    one.left.insert(name("a"), Left::Outputs { outputs: JsonMap::new(), artifacts: Vec::new() });
    assert_eq!(
        one.told(&first()),
        "14 c needs a, which left no usable checkpoint: it ran before checkpoints were kept, and what it wrote is \
         incomplete | start there: restage retry f-12 --from a"
    );
    assert!(
        one.told(&from("a")).starts_with("from a: a: output missing (it ran before"),
        "{}",
        one.told(&from("a"))
    );
    one.parent.stages = None;
    assert!(one.told(&first()).starts_with("from a: a: never ran"), "{}", one.told(&first()));
}

#[test]
fn what_is_rebuilt_is_made_from_what_the_run_has_and_later_retries_can_tell_whether_that_changed() {
    let mut one = world("a: >x\n b: a\n c: b", "c=failed");
    let outputs = |left: &Left| match left {
        Left::Checkpoint(one) => {
            Left::Outputs { outputs: one.outputs.clone(), artifacts: one.artifacts.clone() }
        }
        Left::Unreadable { .. } | Left::Outputs { .. } | Left::Nothing => panic!("{left:?}"),
    };
    let kept = one.left.clone();
    for stage in ["a", "b"] {
        one.left.insert(name(stage), outputs(&kept[&name(stage)]));
    }
    let plan = one.plan(&first()).unwrap();
    for planned in plan.stages.iter().filter(|one| one.decision == Decision::Reuse) {
        let Left::Checkpoint(mut rebuilt) = kept[&planned.stage].clone() else { panic!("{planned:?}") };
        (rebuilt.recipe, rebuilt.input) = (None, planned.input.clone().unwrap());
        one.left.insert(planned.stage.clone(), Left::Checkpoint(rebuilt));
    }
    assert_eq!(one.told(&first()), "from c: a: reuse a@1; b: reuse b@1; c: failed");
    one.inputs = map(r#"{"q": 2}"#);
    assert!(
        one.told(&first()).starts_with("from c: a: input changed (of the run: q); b: descendant"),
        "{}",
        one.told(&first())
    );
}

#[test]
fn a_retry_that_ended_degraded_made_the_failure_good_but_nothing_that_was_degraded() {
    let mut one = world("a:\n b: a", "b=failed");
    one.lineage = vec![record(13, RunStatus::Degraded, Some(12))];
    assert!(
        one.told(&first()).starts_with("12 b of f-12 succeeded in its retry f-13"),
        "{}",
        one.told(&first())
    );
    assert!(one.told(&forced("b")).starts_with("from b: "), "{}", one.told(&forced("b")));
    let mut one = world("a:\n b: a", "b=degraded");
    one.parent.status = RunStatus::Degraded;
    one.lineage = vec![record(13, RunStatus::Degraded, Some(12))];
    assert!(one.told(&first()).starts_with("from b: a: reuse a@1; b: failed"), "{}", one.told(&first()));
    one.lineage.push(record(14, RunStatus::Succeeded, Some(13)));
    assert!(
        one.told(&first()).starts_with("12 b of f-12 succeeded in its retry f-14"),
        "{}",
        one.told(&first())
    );
    // What counts is the stage, whatever became of the rest of the run.
    one.lineage = vec![record(13, RunStatus::Degraded, Some(12))];
    one.lineage[0].stages =
        Some(vec![row("a", 0, StageStatus::Degraded), row("b", 1, StageStatus::Succeeded)]);
    assert!(
        one.told(&first()).starts_with("12 b of f-12 succeeded in its retry f-13"),
        "{}",
        one.told(&first())
    );
    let mut one = world("a:\n b: a\n v: !b\n c: b", "v=failed c=not_run");
    one.lineage = vec![record(13, RunStatus::Failed, Some(12))];
    let later = |v, c| Some(vec![row("b", 1, StageStatus::Succeeded), row("v", 2, v), row("c", 3, c)]);
    one.lineage[0].stages = later(StageStatus::Failed, StageStatus::NotRun);
    assert!(
        one.told(&from("b")).starts_with("from b: "),
        "its validator failed again: {}",
        one.told(&from("b"))
    );
    one.lineage[0].stages = later(StageStatus::Succeeded, StageStatus::Failed);
    for stage in ["b", "v"] {
        let refused = format!("12 {stage} of f-12 succeeded in its retry f-13");
        assert!(one.told(&from(stage)).starts_with(&refused), "{}", one.told(&from(stage)));
    }
}

#[test]
fn an_unreadable_checkpoint_falls_back_to_the_one_before_or_is_refused() {
    let mut one = world("a: >x\n b: a\n c: b\n z: >k", "c=failed");
    let unreadable = |left: &Left, stage: &str| {
        let Left::Checkpoint(previous) = left.clone() else { panic!("{left:?}") };
        let id = CheckpointId { stage: name(stage), version: 2 };
        Left::Unreadable { id, why: "torn".into(), previous: Some(previous) }
    };
    for stage in ["b", "z"] {
        let left = unreadable(&one.left[&name(stage)], stage);
        one.left.insert(name(stage), left);
    }
    assert_eq!(
        one.told(&first()),
        "from c: a: reuse a@1; b: reuse b@1 (b@2 cannot be read: torn); c: failed; z: reuse z@1 (z@2 cannot be read: torn)"
    );
    one.changed_recipes.extend([name("b"), name("z")]);
    assert_eq!(
        one.told(&first()),
        "14 c needs b, which left no usable checkpoint: b@2 cannot be read: torn; b@1 does not fit | start there: \
         restage retry f-12 --from b"
    );
    one.changed_recipes.remove(&name("b"));
    assert!(one.told(&first()).contains("z: output missing (z@2 cannot be read: torn; z@1 does not fit)"));
    let id = CheckpointId { stage: name("b"), version: 2 };
    one.left.insert(name("b"), Left::Unreadable { id, why: "torn".into(), previous: None });
    assert_eq!(
        one.told(&first()).split(" | ").next().unwrap(),
        "14 c needs b, which left no usable checkpoint: b@2 cannot be read: torn"
    );
}

/// Generous: it is to tell linear from quadratic on a busy machine in a debug build.
const SOON: Duration = Duration::from_secs(10);

fn chain(stages: usize) -> String {
    let line = |n: usize| if n == 0 { "s0: >k".into() } else { format!("s{n}: s{} >k <k", n - 1) };
    (0..stages).map(line).collect::<Vec<_>>().join("\n")
}

fn dense(layers: usize, width: usize) -> String {
    let line = |n: usize| {
        let layer = n / width;
        let needs = (0..width).filter(|_| layer > 0).map(|at| format!("s{}", (layer - 1) * width + at));
        format!("s{n}: {}", needs.collect::<Vec<_>>().join(" "))
    };
    (0..layers * width).map(line).collect::<Vec<_>>().join("\n")
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test of speed reads the clock")]
fn large_flows_are_planned_soon() {
    for (what, text, stages) in
        [("a chain", chain(10_000), 10_000), ("50 layers of 50", dense(50, 50), 2_500)]
    {
        let last = format!("s{}", stages - 1);
        let ends = |stage: &StageName| if stage.as_str() == last { "failed" } else { "ok" };
        let mut world = world_of(flow(&text), ends);
        let left = world.left_now();
        let start = Instant::now();
        let plan = world.plan_with(&left, &first()).unwrap();
        let took = start.elapsed();
        println!("{what}: {stages} stages, {} edges: {took:?}", world.graph.edges());
        assert_eq!(plan.stages.iter().filter(|one| one.decision == Decision::Reuse).count(), stages - 1);
        assert!(took < SOON, "{what}: {took:?}");
    }
}

/// Needs, optional needs and what is validated, as places before its own.
type Links = (Vec<usize>, Vec<usize>, Option<usize>);

#[derive(Debug, Clone)]
struct Shape {
    stages: Vec<Links>,
    fails: BTreeSet<usize>,
    degraded: BTreeSet<usize>,
    ruled_out: BTreeSet<usize>,
    changed: BTreeSet<usize>,
    damaged: BTreeSet<usize>,
    edited: BTreeSet<usize>,
}

const STAGES: usize = 12;

fn shape() -> impl Strategy<Value = Shape> {
    let some = |most| prop::collection::btree_set(0..STAGES, 0..most);
    let links = prop::collection::vec((prop::collection::vec(0..STAGES, 0..3), 0..4_u8, 0..STAGES), STAGES);
    (links, some(4), some(3), some(3), some(2), some(2), some(2)).prop_map(
        |(links, fails, degraded, ruled_out, changed, damaged, edited)| {
            let mut validators = BTreeSet::new();
            let stage = |(place, (needs, kind, other)): (usize, (Vec<usize>, u8, usize))| {
                let needs: BTreeSet<usize> = needs.into_iter().filter(|need| *need < place).collect();
                let mut optional = Vec::new();
                let mut validates = None;
                if other < place && !needs.contains(&other) {
                    match kind {
                        0 => optional.push(other),
                        1 if needs.is_empty() && !validators.contains(&other) => {
                            validators.insert(place);
                            validates = Some(other);
                        }
                        _ => {}
                    }
                }
                (needs.into_iter().collect(), optional, validates)
            };
            let stages = links.into_iter().enumerate().map(stage).collect();
            Shape { stages, fails, degraded, ruled_out, changed, damaged, edited }
        },
    )
}

fn flow_of(shape: &Shape) -> FlowSpec {
    let line = |(place, (needs, optional, validates)): (usize, &Links)| {
        let mut words: Vec<String> = needs.iter().map(|need| format!("s{need}")).collect();
        words.extend(optional.iter().map(|need| format!("?s{need}")));
        words.extend(validates.iter().map(|other| format!("!s{other}")));
        words.push(format!(">k{place}"));
        if shape.ruled_out.contains(&place) {
            words.push("when:draft".into());
        }
        format!("s{place}: {}", words.join(" "))
    };
    flow(&shape.stages.iter().enumerate().map(line).collect::<Vec<_>>().join("\n"))
}

/// How the run would have gone.
fn ends_of(shape: &Shape, flow: &FlowSpec, graph: &Graph) -> Vec<&'static str> {
    let mut ends = vec!["ok"; STAGES];
    for stage in graph.order().iter().copied() {
        let bad = |before: &usize| matches!(ends[*before], "failed" | "not_run");
        let needed: Vec<usize> = flow.stages[stage]
            .needs
            .iter()
            .chain(&flow.stages[stage].validates)
            .filter_map(|need| graph.index(need))
            .collect();
        ends[stage] = if graph.upstream(stage).iter().any(bad) {
            "not_run"
        } else if shape.ruled_out.contains(&stage) || needed.iter().any(|need| ends[*need] == "skipped") {
            "skipped"
        } else if shape.fails.contains(&stage) {
            "failed"
        } else if shape.degraded.contains(&stage) {
            "degraded"
        } else {
            "ok"
        };
    }
    ends
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_plan_executes_what_it_must_and_nothing_else(shape in shape(), pick in 0..STAGES, force in any::<bool>()) {
        let flow = flow_of(&shape);
        let graph = graph(&flow);
        let ends = ends_of(&shape, &flow, &graph);
        let good = |stage: &usize| matches!(ends[*stage], "ok" | "degraded");
        let mut world = world_of(flow, |stage| ends[graph.index(stage).unwrap()]);
        let names = |set: &BTreeSet<usize>| set.iter().map(|stage| graph.name(*stage).clone()).collect::<BTreeSet<_>>();
        world.changed_recipes = names(&shape.changed);
        world.damaged = names(&shape.damaged);
        let edited: BTreeSet<usize> = shape.edited.iter().copied().filter(good).collect();
        for stage in &edited {
            world.edit(graph.name(*stage).as_str());
        }
        let asked = graph.name(pick).as_str().to_owned();
        for wish in [first(), if force { forced(&asked) } else { from(&asked) }] {
            let plan = match world.plan(&wish) {
                Ok(plan) => plan,
                Err(refusal) => {
                    let end = |stage: &StageName| ends[graph.index(stage).unwrap()];
                    let fine = if let Refusal::NothingFailed { .. } = &refusal {
                        wish.start == Start::FirstFailure
                    } else if let Refusal::Succeeded { stage, .. } = &refusal {
                        end(stage) == "ok"
                    } else if let Refusal::NeverRan { stage, start, set, force, .. } = &refusal {
                        // The way out is one.
                        let before = graph.ancestors(&[pick]).contains(&graph.index(start).unwrap());
                        let wish = Wish { start: Start::At(start.clone()), force: *force };
                        match end(stage) {
                            "not_run" => before && set.is_empty() && world.plan(&wish).is_ok(),
                            "skipped" => (before || start == stage) && end(start) == "skipped" && !set.is_empty()
                                || before && world.plan(&wish).is_ok(),
                            _ => false,
                        }
                    } else {
                        false
                    };
                    prop_assert!(fine, "{:?} {}", ends, refusal);
                    continue;
                }
            };
            let order: Vec<&StageName> = plan.stages.iter().map(|planned| &planned.stage).collect();
            prop_assert_eq!(&order, &graph.order().iter().map(|stage| graph.name(*stage)).collect::<Vec<_>>());

            // T', what has no usable checkpoint, what changed, what is behind an edit; and all that comes behind these.
            let mut bases: BTreeSet<usize> = (0..STAGES).filter(|stage| !good(stage) && ends[*stage] != "skipped").collect();
            // An edit stands for any recipe.
            bases.extend(shape.changed.iter().filter(|stage| good(stage) && !edited.contains(*stage)));
            bases.extend(shape.damaged.iter().filter(|stage| good(stage)));
            bases.extend(edited.iter().flat_map(|stage| graph.downstream(*stage)));
            let target = match &wish.start {
                Start::At(_) => Some(pick),
                Start::FirstFailure | Start::Rejected(_) | Start::After(_) | Start::Fork(_) => graph
                    .index(&plan.from)
                    .filter(|_| ends.contains(&"failed") || ends.contains(&"degraded")),
            };
            if let Some(target) = target {
                let answered = good(&target) || ends[target] == "failed";
                let validated = graph.target(target).filter(|validated| answered || !good(validated));
                bases.insert(validated.unwrap_or(target));
            }
            if wish.start == Start::FirstFailure && ends.contains(&"failed") {
                let from = graph.index(&plan.from).unwrap();
                let validated = graph.validators(from).iter().any(|one| ends[*one] == "failed");
                prop_assert!(ends[from] == "failed" || validated);
            }
            let bases: Vec<usize> = bases.into_iter().collect();
            let mut expected: BTreeSet<usize> = graph.descendants(&bases).into_iter().collect();
            expected.extend(&bases);
            let executed: BTreeSet<usize> = plan
                .stages
                .iter()
                .filter(|planned| planned.decision == Decision::Execute)
                .map(|planned| graph.index(&planned.stage).unwrap())
                .collect();
            prop_assert_eq!(&executed, &expected, "{:?} {:?} {}", ends, wish, shown(&plan));

            for planned in &plan.stages {
                let stage = graph.index(&planned.stage).unwrap();
                let reused = planned.decision == Decision::Reuse;
                if reused {
                    prop_assert!(graph.ancestors(&[stage]).iter().all(|before| !executed.contains(before)));
                    prop_assert_eq!(planned.checkpoint.is_some(), ends[stage] != "skipped");
                }
                let looked_at = world.verified.contains(&planned.stage);
                prop_assert!(!reused || looked_at || ends[stage] == "skipped");
                prop_assert!(reused || !looked_at || shape.damaged.contains(&stage), "{} was hashed for nothing", planned.stage);
            }
        }
    }
}
