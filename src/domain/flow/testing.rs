//! Flows, runs and checkpoints for tests, in few words: one line a stage, a run or a checkpoint.

use std::collections::BTreeMap;
use std::time::Duration;

use super::graph::Graph;
use super::hashes;
use super::ids::{BranchName, CheckpointId, FlowName, Hash, RunId, StageName};
use super::record::{Artifact, Branch, Checkpoint, CheckpointRef, RunRecord, StageRecord};
use super::spec::{Approve, Concurrency, FlowSpec, StageRetry, StageSpec};
use super::status::{Approval, Cause, Decision, RunStatus, StageStatus};
use super::when::Expression;
use crate::domain::json::{Json, JsonMap};
use crate::domain::spec::{Backoff, CommandSpec, Jitter, Stdio, StopSpec};
use crate::domain::time::Timestamp;

/// `d: a b ?c !x >out <key @*.png manual when:draft` needs a and b, optionally c, validates x, writes `out`, requires
/// `key`, leaves artifacts, waits for a person, and is ruled out where there is no `draft`. The flow is called `f`.
pub(crate) fn flow(text: &str) -> FlowSpec {
    FlowSpec {
        name: FlowName::trusted("f"),
        stages: text.lines().map(str::trim).filter(|line| !line.is_empty()).map(stage).collect(),
        inputs: BTreeMap::new(),
        timeout: None,
        max_parallel: None,
        max_retry_depth: 10,
        max_retries_per_checkpoint: 5,
        keep_failed: Duration::from_hours(168),
        on_success: None,
        on_failure: None,
        hook_timeout: None,
        concurrency: Concurrency::Allow,
        env: BTreeMap::new(),
        root: "/work".into(),
    }
}

pub(crate) fn graph(flow: &FlowSpec) -> Graph {
    Graph::of(flow).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn name(name: &str) -> StageName {
    StageName::trusted(name)
}

fn stage(line: &str) -> StageSpec {
    let (own, rest) = line.split_once(':').unwrap();
    let words: Vec<&str> = rest.split_whitespace().collect();
    let with = |mark: char| words.iter().filter_map(move |word| word.strip_prefix(mark));
    let texts = |mark| with(mark).map(str::to_owned).collect::<Vec<_>>();
    let plain = |word: &&&str| {
        !word.starts_with(['?', '!', '>', '<', '@']) && **word != "manual" && !word.starts_with("when:")
    };
    StageSpec {
        name: name(own.trim()),
        command: CommandSpec::Argv(vec!["true".into()]),
        cwd: "/work".into(),
        env: BTreeMap::new(),
        env_files: Vec::new(),
        stdio: Stdio::Auto,
        umask: None,
        limits: BTreeMap::new(),
        stop: StopSpec { signal: 15, grace: Duration::from_secs(5), command: None },
        log_max_bytes: None,
        needs: words.iter().filter(plain).map(|word| name(word)).collect(),
        optional_needs: with('?').map(name).collect(),
        validates: with('!').map(name).next(),
        requires: texts('<'),
        reads_nothing: false,
        outputs: texts('>'),
        artifacts: texts('@'),
        retry: StageRetry {
            count: 0,
            backoff: Backoff {
                base: Duration::from_secs(1),
                multiplier: 2.0,
                cap: Duration::from_mins(5),
                jitter: Jitter::None,
            },
        },
        timeout: None,
        activity_timeout: None,
        approve: if words.contains(&"manual") { Approve::Manual } else { Approve::Auto },
        degraded_exit_codes: Vec::new(),
        allow_degraded: false,
        when: words
            .iter()
            .find_map(|word| word.strip_prefix("when:"))
            .map(|text| Expression::parse(text).unwrap()),
        foreach: None,
    }
}

pub(crate) fn run_id(number: u64) -> RunId {
    RunId::new(&FlowName::trusted("f"), number)
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

pub(crate) fn record(number: u64, status: RunStatus, parent: Option<u64>) -> RunRecord {
    RunRecord {
        run_id: run_id(number),
        run_number: number,
        flow: FlowName::trusted("f"),
        def_hash: Hash::of(["definition"]),
        status,
        trigger: Cause::Manual,
        cause: Cause::Manual,
        inputs: serde_json::from_str(r#"{"q": 1}"#).unwrap(),
        error: None,
        started_at: Some(at(0)),
        ended_at: None,
        duration_seconds: None,
        cost: None,
        parent_run_id: parent.map(run_id),
        root_run_id: run_id(12),
        caller_run_id: None,
        retry_from_stage: None,
        retry_depth: 0,
        retry_number: None,
        idempotency_key: None,
        deadline: None,
        branch: BranchName::main(),
        created_at: at(0),
        stages: None,
        left: false,
        held: None,
        hook: None,
    }
}

pub(crate) fn row(stage: &str, order: usize, status: StageStatus) -> StageRecord {
    StageRecord {
        name: name(stage),
        order: u32::try_from(order).unwrap(),
        status,
        decision: Decision::Execute,
        reason: None,
        source_run_id: None,
        error: (status == StageStatus::Failed).then(|| "exit 1".into()),
        started_at: matches!(status, StageStatus::Failed | StageStatus::Cancelled).then(|| at(0)),
        ended_at: None,
        outputs: None,
        artifacts: Vec::new(),
        checkpoint: None,
        attempts: Vec::new(),
        retry_at: None,
        items: None,
        feedback: None,
    }
}

/// `storyboard@2 pending of=13 on=draft under=script@1 edits=storyboard@1`: approved, of run 12, on main, at the root and
/// made by a stage unless told otherwise. Its one output is `key`, its one artifact `file`, both named after it.
pub(crate) fn checkpoint(text: &str) -> Checkpoint {
    let words: Vec<&str> = text.split_whitespace().collect();
    let with = |start: &str| words.iter().find_map(|word| word.strip_prefix(start));
    let id = CheckpointId::parse(words[0]).unwrap();
    let outputs = JsonMap::from([("key".to_owned(), Json::of(&words[0]))]);
    let artifacts =
        vec![Artifact { name: "file".into(), hash: Hash::of([words[0]]), size: 1, executable: false }];
    let pending = words.contains(&"pending");
    let approval = if words.contains(&"rejected") {
        Approval::Rejected
    } else if pending {
        Approval::Pending
    } else {
        Approval::Approved
    };
    Checkpoint {
        root_run_id: run_id(12),
        run_id: run_id(with("of=").map_or(12, |number| number.parse().unwrap())),
        branch: BranchName::trusted(with("on=").unwrap_or("main")),
        parent: with("under=").map(|parent| CheckpointId::parse(parent).unwrap()),
        status: if words.contains(&"degraded") { StageStatus::Degraded } else { StageStatus::Succeeded },
        approval,
        hash: hashes::checkpoint(&outputs, &artifacts),
        recipe: with("edits=").is_none().then(|| Hash::of(["recipe"])),
        input: Hash::of(["input"]),
        outputs,
        artifacts,
        created_at: at(0),
        created_by: with("edits=").map(|_| "ann".into()),
        edited_from: with("edits=").map(|from| CheckpointId::parse(from).unwrap()),
        approved_by: None,
        approved_at: None,
        note: None,
        rewind_to: None,
        id,
    }
}

/// `12 failed script=succeeded@1 storyboard=waiting@2 render=not_run`: on main unless told otherwise by `on=draft`, with
/// what it is a retry of in `of=11`, and supervised unless `left=yes`.
pub(crate) fn run(text: &str) -> RunRecord {
    let mut words = text.split_whitespace();
    let number = words.next().unwrap().parse().unwrap();
    let mut run = record(number, RunStatus::parse(words.next().unwrap()).unwrap(), None);
    let mut rows = Vec::new();
    for word in words {
        let (key, value) = word.split_once('=').unwrap();
        match key {
            "left" => run.left = true,
            "on" => run.branch = BranchName::trusted(value),
            "of" => run.parent_run_id = Some(run_id(value.parse().unwrap())),
            stage => {
                let (status, version) = value.split_once('@').unwrap_or((value, ""));
                let mut row = row(stage, rows.len(), StageStatus::parse(status).unwrap());
                row.checkpoint = version.parse().ok().map(|version| CheckpointRef {
                    id: CheckpointId { stage: name(stage), version },
                    parent: None,
                    version,
                    branch: run.branch.clone(),
                    approval: if row.status == StageStatus::Waiting {
                        Approval::Pending
                    } else {
                        Approval::Approved
                    },
                });
                rows.push(row);
            }
        }
    }
    run.stages = Some(rows);
    run
}

/// `draft from script@1`.
pub(crate) fn branch(text: &str) -> Branch {
    let (name, from) = text.split_once(" from ").unwrap_or((text, ""));
    Branch {
        branch_name: BranchName::trusted(name),
        forked_from: CheckpointId::parse(from).ok(),
        created_at: at(0),
        created_by: None,
    }
}

/// Checkpoints, branches and runs, one a line.
pub(crate) fn lists(
    checkpoints: &str,
    branches: &str,
    runs: &str,
) -> (Vec<Checkpoint>, Vec<Branch>, Vec<RunRecord>) {
    fn each<T>(text: &str, read: impl Fn(&str) -> T) -> Vec<T> {
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(read).collect()
    }
    (each(checkpoints, checkpoint), each(branches, branch), each(runs, run))
}
