mod contract;
mod file;
mod numbers;
mod plans;
mod same;
mod trouble;

use crate::domain::flow::change::{Change, ItemRecord, Judgement, NewCheckpoint, NewRun, NewStage, What};
use crate::domain::flow::ids::{BranchName, CheckpointId, FlowName, Hash, RunId, StageName};
use crate::domain::flow::record::{Artifact, AttemptRecord};
use crate::domain::flow::status::{Approval, Cause, Decision, Reason, RunStatus, StageStatus};
use crate::domain::json::{Json, JsonMap};
use crate::domain::time::Timestamp;
use crate::domain::verdict::Verdict;
use crate::ports::store::{Begun, Store};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(1_700_000_000 + seconds) * 1_000_000_000 + 123_456_789).unwrap()
}

fn map(pairs: &[(&str, &str)]) -> JsonMap {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), Json::parse(value).unwrap())).collect()
}

fn stage(name: &str) -> StageName {
    StageName::trusted(name)
}

fn branch(name: &str) -> BranchName {
    BranchName::trusted(name)
}

fn hash(of: &str) -> Hash {
    Hash::of([of])
}

fn cp(text: &str) -> CheckpointId {
    CheckpointId::parse(text).unwrap()
}

/// A run of `video` with these stages, to be executed at once.
fn new_run(stages: &[&str]) -> NewRun {
    NewRun {
        flow: FlowName::trusted("video"),
        def_hash: hash("definition"),
        definition: "{\"name\":\"video\"}".into(),
        status: RunStatus::Running,
        trigger: Cause::Manual,
        cause: Cause::Manual,
        inputs: map(&[("question", "\"Why not?\""), ("deep", "{\"z\":[1,{\"a\":null}],\"b\":1e400}")]),
        parent: None,
        root: None,
        caller: None,
        retry_from: None,
        retry_depth: 0,
        key: None,
        deadline: Some(at(3600)),
        branch: BranchName::main(),
        created_at: at(0),
        approve_all: false,
        holder: "pid 1".into(),
        stages: stages.iter().map(|name| new_stage(name)).collect(),
    }
}

fn new_stage(name: &str) -> NewStage {
    NewStage {
        name: stage(name),
        decision: Decision::Execute,
        reason: Some(Reason::First),
        status: StageStatus::Pending,
        source: None,
        checkpoint: None,
        feedback: None,
    }
}

/// A retry of that run that reuses these checkpoints and executes those stages.
fn retry_of(parent: &RunId, root: &RunId, reuse: &[&str], execute: &[&str]) -> NewRun {
    let reused = |id: &&str| NewStage {
        decision: Decision::Reuse,
        reason: Some(Reason::Verified),
        status: StageStatus::Succeeded,
        source: Some(parent.clone()),
        checkpoint: Some(cp(id)),
        ..new_stage(cp(id).stage.as_str())
    };
    NewRun {
        cause: Cause::Retry,
        parent: Some(parent.clone()),
        root: Some(root.clone()),
        retry_from: execute.first().map(|name| stage(name)),
        retry_depth: 1,
        stages: reuse.iter().map(reused).chain(execute.iter().map(|name| new_stage(name))).collect(),
        ..new_run(&[])
    }
}

fn new_checkpoint(of: &str) -> NewCheckpoint {
    NewCheckpoint {
        stage: stage(of),
        branch: BranchName::main(),
        parent: None,
        status: StageStatus::Succeeded,
        approval: Approval::Approved,
        hash: hash(of),
        recipe: Some(hash("recipe")),
        input: hash("input"),
        outputs: map(&[("text", "\"ä \\\"quoted\\\"\""), ("number", "12345678901234567890123")]),
        artifacts: vec![
            artifact("out/a b.bin", "one"),
            Artifact { executable: true, ..artifact("run", "two") },
        ],
        created_at: at(10),
        created_by: None,
        edited_from: None,
        approved_by: None,
        approved_at: None,
        note: None,
    }
}

fn artifact(name: &str, content: &str) -> Artifact {
    Artifact { name: name.into(), hash: hash(content), size: content.len() as u64, executable: false }
}

fn attempt(number: u32) -> AttemptRecord {
    AttemptRecord {
        number,
        item: None,
        verdict: Some(Verdict::Completed),
        exit_code: Some(0),
        signal: None,
        error: None,
        started_at: Some(at(5)),
        ended_at: Some(at(7)),
        cpu_seconds: Some(0.25),
        peak_rss_bytes: Some(4096),
        cost: None,
        log: Some("video-1/logs/a_1.log".into()),
        blameless: false,
    }
}

fn item(number: u32) -> ItemRecord {
    ItemRecord {
        item: number,
        input: hash("item"),
        status: StageStatus::Succeeded,
        outputs: map(&[("n", &number.to_string())]),
        artifacts: vec![artifact("part", &format!("part {number}"))],
    }
}

fn stage_is(name: &str, status: StageStatus) -> What {
    What::Stage {
        stage: stage(name),
        status,
        reason: Some(Reason::First),
        error: (status == StageStatus::Failed).then(|| "exit 1: Connection refused".into()),
        started_at: Some(at(5)),
        ended_at: status.is_final().then(|| at(7)),
        retry_at: None,
    }
}

fn run_is(status: RunStatus) -> What {
    What::Run {
        status,
        error: (status == RunStatus::Failed).then(|| "stage b failed: exit 1".into()),
        started_at: Some(at(1)),
        ended_at: status.is_final().then(|| at(9)),
        duration_seconds: status.is_final().then_some(8.0),
    }
}

/// What a stage leaves behind, all at once.
fn done(name: &str) -> Vec<What> {
    vec![
        What::Attempt { stage: stage(name), attempt: attempt(1) },
        What::Checkpoint { stage: stage(name), new: Box::new(new_checkpoint(name)) },
        stage_is(name, StageStatus::Succeeded),
    ]
}

fn judgement(of: &str, content: &str, from: Approval, to: Approval) -> Judgement {
    Judgement {
        checkpoint: cp(of),
        hash: hash(content),
        from,
        to,
        who: "anna".into(),
        at: at(20),
        note: Some("good".into()),
        rewind_to: None,
    }
}

fn begin(store: &mut dyn Store, new: &NewRun) -> RunId {
    let begun = store.begin(new).unwrap();
    let Begun::New { run, epoch: 1, .. } = begun else { panic!("{begun:?}") };
    run
}

/// By the first holder of the run.
fn changes(run: &RunId, what: Vec<What>) -> Vec<Change> {
    what.into_iter().map(|what| Change { run: run.clone(), epoch: 1, what }).collect()
}

fn commit(store: &mut dyn Store, run: &RunId, what: Vec<What>) -> Vec<Option<CheckpointId>> {
    store.commit(&changes(run, what)).unwrap()
}

/// Runs `a` and `b`: the first done, the second failed.
fn failed_run(store: &mut dyn Store) -> RunId {
    let run = begin(store, &new_run(&["a", "b"]));
    commit(store, &run, done("a"));
    commit(store, &run, vec![stage_is("b", StageStatus::Failed), run_is(RunStatus::Failed)]);
    run
}
