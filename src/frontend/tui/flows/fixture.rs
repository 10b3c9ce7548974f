//! Runs for tests of the dashboard: a flow of seven stages, and what becomes of it.

use std::sync::Arc;

use crate::domain::flow::ask::{BranchView, Can, Plan, Planned, Shown, StageLinks};
use crate::domain::flow::ask::{FlowReply, FlowRequest};
use crate::domain::flow::ids::{CheckpointId, FlowName, Hash, RunId, StageName};
use crate::domain::flow::record::{Artifact, AttemptRecord, Checkpoint, RunRecord, StageRecord};
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::spec::FlowSpec;
use crate::domain::flow::status::{Approval, Decision, Reason, RunStatus};
use crate::domain::flow::testing;
use crate::domain::flow::view::RunView;
use crate::domain::json::Json;
use crate::domain::verdict::Verdict;
use crate::frontend::tui::event::{Cmd, ConfigNews, Event, LinkNews};
use crate::frontend::tui::fixture::{ago, busy, config, feed, opened, snapshot};
use crate::frontend::tui::model::Model;

pub(in crate::frontend::tui) fn id(number: u64) -> RunId {
    RunId::trusted(format!("video-{number}"))
}

fn stage(name: &str) -> StageName {
    StageName::trusted(name)
}

/// The flow of the sketches.
pub(in crate::frontend::tui) fn video() -> Arc<FlowSpec> {
    let stages = "script: >script\n voice: script >voice @*.wav\n storyboard: script >board manual\n \
                  check: !storyboard\n render: storyboard voice @*.mp4\n subtitles: voice\n publish: render subtitles";
    Arc::new(FlowSpec { name: FlowName::trusted("video"), ..testing::flow(stages) })
}

/// The number, the status, and each stage: `script=succeeded@1`, the number of seconds ago at which it began and ended.
pub(in crate::frontend::tui) fn run(text: &str, from: i64, to: Option<i64>) -> RunRecord {
    let mut record = testing::run(text);
    record.run_id = id(record.run_number);
    record.root_run_id = id(11);
    record.parent_run_id =
        record.parent_run_id.map(|parent| RunId::trusted(parent.as_str().replace("f-", "video-")));
    record.flow = FlowName::trusted("video");
    record.inputs = serde_json::from_str(r#"{"question":"Why is the sky blue?"}"#).unwrap();
    (record.created_at, record.started_at, record.ended_at) = (ago(from + 1), Some(ago(from)), to.map(ago));
    for stage in record.stages.iter_mut().flatten() {
        stage.started_at = None;
        stage.error = None;
    }
    record
}

pub(in crate::frontend::tui) fn attempt(
    number: u32,
    from: i64,
    to: Option<i64>,
    error: Option<&str>,
) -> AttemptRecord {
    AttemptRecord {
        number,
        item: None,
        verdict: to.map(|_| if error.is_some() { Verdict::Exit } else { Verdict::Completed }),
        exit_code: to.map(|_| i32::from(error.is_some())),
        signal: None,
        error: error.map(str::to_owned),
        started_at: Some(ago(from)),
        ended_at: to.map(ago),
        cpu_seconds: to.map(|_| 2.5),
        peak_rss_bytes: to.map(|_| 120 << 20),
        cost: None,
        log: Some(format!("/home/ada/film/.restage/runs/video-13/logs/storyboard_{number}.log")),
        blameless: false,
    }
}

fn of<'r>(record: &'r mut RunRecord, name: &str) -> &'r mut StageRecord {
    record.stages.iter_mut().flatten().find(|stage| stage.name.as_str() == name).unwrap()
}

fn times(record: &mut RunRecord, name: &str, attempts: Vec<AttemptRecord>) {
    let stage = of(record, name);
    stage.started_at = attempts.first().and_then(|attempt| attempt.started_at);
    stage.ended_at = attempts.last().and_then(|attempt| attempt.ended_at).filter(|_| stage.status.is_final());
    stage.attempts = attempts;
}

/// A retry from the storyboard that is under way.
pub(in crate::frontend::tui) fn running() -> RunRecord {
    let mut record = run(
        "13 running of=12 script=succeeded@1 voice=succeeded@1 storyboard=running check=pending render=pending \
         subtitles=running publish=pending",
        250,
        None,
    );
    (record.retry_depth, record.retry_number) = (2, Some(2));
    record.retry_from_stage = Some(stage("storyboard"));
    record.deadline = Some(ago(250 - 3600));
    for name in ["script", "voice"] {
        let stage = of(&mut record, name);
        (stage.decision, stage.reason, stage.source_run_id) =
            (Decision::Reuse, Some(Reason::Verified), Some(id(12)));
    }
    of(&mut record, "storyboard").reason = Some(Reason::Failed);
    let error = "exit 1: Replicate API: 503 (will retry 2 more times)";
    times(
        &mut record,
        "storyboard",
        vec![attempt(1, 250, Some(190), Some(error)), attempt(2, 160, None, None)],
    );
    times(&mut record, "subtitles", vec![attempt(1, 250, None, None)]);
    of(&mut record, "subtitles").reason = Some(Reason::NeverRan);
    record
}

pub(in crate::frontend::tui) fn waiting() -> RunRecord {
    let mut record = run(
        "12 waiting of=11 script=succeeded@1 voice=succeeded@1 storyboard=waiting@2 check=succeeded@1 render=pending \
         subtitles=succeeded@1 publish=pending",
        482,
        None,
    );
    (record.retry_depth, record.retry_number) = (1, Some(1));
    record.retry_from_stage = Some(stage("script"));
    times(&mut record, "script", vec![attempt(1, 482, Some(470), None)]);
    times(&mut record, "voice", vec![attempt(1, 470, Some(400), None)]);
    times(&mut record, "storyboard", vec![attempt(1, 470, Some(300), None)]);
    times(&mut record, "check", vec![attempt(1, 300, Some(290), None)]);
    times(&mut record, "subtitles", vec![attempt(1, 400, Some(380), None)]);
    let storyboard = of(&mut record, "storyboard");
    storyboard.outputs = Some(serde_json::from_str(r#"{"board":{"scenes":[1,2,3],"mood":"warm"}}"#).unwrap());
    storyboard.feedback = Some("warmer, and less of the sea".into());
    record
}

pub(in crate::frontend::tui) fn failed() -> RunRecord {
    let mut record = run(
        "11 failed script=succeeded@1 voice=succeeded@1 storyboard=degraded@1 check=succeeded@1 render=failed \
         subtitles=skipped publish=not_run",
        5000,
        Some(3696),
    );
    record.error = Some("render failed: exit 1: no space for frame 812".into());
    record.duration_seconds = Some(1304.0);
    times(&mut record, "script", vec![attempt(1, 5000, Some(4900), None)]);
    times(&mut record, "voice", vec![attempt(1, 4900, Some(4700), None)]);
    times(&mut record, "storyboard", vec![attempt(1, 4900, Some(4400), None)]);
    times(&mut record, "check", vec![attempt(1, 4400, Some(4300), None)]);
    let last = "exit 1: no space for frame 812\nattempt 1: exit 1; attempt 2: exit 1; attempt 3: exit 1";
    let attempts = vec![
        attempt(1, 4300, Some(4100), Some("exit 1: no space for frame 12 (will retry 2 more times)")),
        attempt(2, 4095, Some(3900), Some("exit 1: no space for frame 812 (will retry once more)")),
        attempt(3, 3890, Some(3696), Some("exit 1: no space for frame 812")),
    ];
    times(&mut record, "render", attempts);
    of(&mut record, "render").error = Some(last.into());
    record
}

/// What a list of runs and a line on one of them are made from.
pub(in crate::frontend::tui) fn without_stages(record: &RunRecord) -> RunRecord {
    RunRecord { stages: None, ..record.clone() }
}

pub(in crate::frontend::tui) fn view(record: &RunRecord) -> RunView {
    RunView::of(record)
}

fn checkpoint(text: &str, made: i64) -> Checkpoint {
    let mut made_of = testing::checkpoint(text);
    made_of.run_id = RunId::trusted(made_of.run_id.as_str().replace("f-", "video-"));
    made_of.root_run_id = id(11);
    made_of.created_at = ago(made);
    let stage = made_of.id.to_string();
    made_of.outputs = [("board".to_owned(), Json::string(&format!("what {stage} is about")))].into();
    made_of.artifacts =
        vec![Artifact { name: "board.png".into(), hash: Hash::of([stage]), size: 48_213, executable: false }];
    if made_of.approval == Approval::Approved && made_of.created_by.is_none() {
        made_of.approved_by = Some("ann".into());
    }
    made_of
}

/// Two branches, an edit that waits, one that was rejected.
pub(in crate::frontend::tui) fn tree() -> (Vec<Checkpoint>, Vec<BranchView>) {
    let checkpoints = vec![
        checkpoint("script@1 of=11", 4900),
        checkpoint("storyboard@1 of=11 under=script@1 rejected", 4400),
        checkpoint("storyboard@2 of=12 under=script@1 pending edits=storyboard@1", 300),
        checkpoint("storyboard@3 of=13 under=script@1 on=warmer-look", 200),
        checkpoint("render@1 of=13 under=storyboard@3 on=warmer-look degraded", 100),
    ];
    let branch = |text: &str, head: &str, reason: &str, can_continue| BranchView {
        branch: testing::branch(text),
        latest_checkpoint_id: CheckpointId::parse(head).ok(),
        stage: None,
        status: None,
        can_continue,
        reason: reason.to_owned(),
    };
    let branches = vec![
        branch("main", "storyboard@2", "approves storyboard@2, and video-12 goes on", true),
        branch("warmer-look from storyboard@3", "render@1", "checkpoint already approved", false),
    ];
    (checkpoints, branches)
}

pub(in crate::frontend::tui) fn plan() -> Plan {
    let planned = |name: &str, decision, reason, detail: Option<&str>| Planned {
        stage: stage(name),
        decision,
        reason,
        detail: detail.map(str::to_owned),
        checkpoint: (decision == Decision::Reuse).then(|| CheckpointId { stage: stage(name), version: 1 }),
        input: None,
        source_run_id: (decision == Decision::Reuse).then(|| id(11)),
    };
    Plan {
        run: id(11),
        from: stage("render"),
        retry_depth: 1,
        max_retry_depth: 10,
        stages: vec![
            planned("script", Decision::Reuse, Reason::Verified, None),
            planned("voice", Decision::Reuse, Reason::Verified, None),
            planned("storyboard", Decision::Reuse, Reason::Verified, None),
            planned("check", Decision::Reuse, Reason::Verified, None),
            planned("render", Decision::Execute, Reason::Failed, Some("exit 1 (3 attempts)")),
            planned("subtitles", Decision::Execute, Reason::RecipeChanged, Some("./subs.py differs")),
            planned("publish", Decision::Execute, Reason::Descendant, Some("of render")),
        ],
    }
}

/// All that a supervisor would answer.
pub(in crate::frontend::tui) fn can(run: &RunRecord) -> Can {
    let id = run.run_id.clone();
    let no = || Refusal::still_runs(run);
    let over = run.status.is_final();
    let waits = run.status == RunStatus::Waiting;
    Can {
        retry: if over { Ok(()) } else { Err(no()) },
        cancel: if over { Err(Refusal::Ended { run: id.clone(), status: run.status }) } else { Ok(()) },
        approve: if waits {
            Ok(())
        } else {
            Err(Refusal::NotWaiting { run: id.clone(), status: run.status })
        },
        edit: if over || waits { Ok(()) } else { Err(no()) },
        proceed: if waits { Ok(()) } else { Err(Refusal::NotFailed { run: id.clone(), status: run.status }) },
    }
}

/// Answers what is asked, as a supervisor with these runs would; what else there is to be done comes back.
pub(in crate::frontend::tui) fn serve(model: &mut Model, cmds: Vec<Cmd>, runs: &[RunRecord]) -> Vec<Cmd> {
    let mut others = Vec::new();
    let mut todo: std::collections::VecDeque<Cmd> = cmds.into();
    while let Some(cmd) = todo.pop_front() {
        let Cmd::Flow(request) = cmd else {
            others.push(cmd);
            continue;
        };
        let find = |run: &RunId| runs.iter().find(|one| one.run_id == *run).cloned();
        let reply = match (&*request, ()) {
            (FlowRequest::Show { run }, ()) => {
                find(run).map(|run| FlowReply::Shown(Box::new(Shown { run, branches: Vec::new() })))
            }
            (FlowRequest::Runs(filter), ()) => {
                let wanted =
                    |run: &&RunRecord| filter.status.is_empty() || filter.status.contains(&run.status);
                let most = filter.limit.map_or(usize::MAX, |most| usize::try_from(most).unwrap());
                Some(FlowReply::Runs(
                    runs.iter().rev().filter(wanted).take(most).map(without_stages).collect(),
                ))
            }
            (FlowRequest::Links { .. }, ()) => Some(FlowReply::Links(StageLinks::of(&video()))),
            (FlowRequest::Checkpoints { .. }, ()) => {
                let (checkpoints, branches) = tree();
                Some(FlowReply::Checkpoints { checkpoints, branches })
            }
            (FlowRequest::Can { run, .. }, ()) => find(run).map(|run| FlowReply::Can(Box::new(can(&run)))),
            (FlowRequest::Retry(wish), ()) if wish.dry_run => Some(FlowReply::Plan(plan())),
            _ => None,
        };
        match reply {
            Some(reply) => {
                let news = LinkNews::Flow { what: request, result: Ok(Box::new(reply)) };
                todo.extend(feed(model, Event::Link(news)));
            }
            None => others.push(Cmd::Flow(request)),
        }
    }
    others
}

/// The dashboard with a flow in its config and these runs, the oldest first.
pub(in crate::frontend::tui) fn with_runs(runs: &[RunRecord], size: (u16, u16)) -> Model {
    let mut model = opened(busy(), size);
    told_of(&mut model, runs);
    model
}

/// The same without runners.
pub(in crate::frontend::tui) fn only_runs(runs: &[RunRecord], size: (u16, u16)) -> Model {
    let mut model = opened(snapshot(Vec::new()), size);
    told_of(&mut model, runs);
    model
}

fn told_of(model: &mut Model, runs: &[RunRecord]) {
    let config = ConfigNews { flows: vec![video()], ..config() };
    let cmds = feed(model, Event::Config(Box::new(config)));
    serve(model, cmds, runs);
}

/// Keys, each answered as by a supervisor.
pub(in crate::frontend::tui) fn press(model: &mut Model, keys: &str, runs: &[RunRecord]) -> Vec<Cmd> {
    let mut others = Vec::new();
    for key in keys.split(' ') {
        let cmds = crate::frontend::tui::fixture::press(model, key);
        others.extend(serve(model, cmds, runs));
    }
    others
}

/// The pauses between questions are over, and what was left open is asked.
pub(in crate::frontend::tui) fn settle(model: &mut Model, runs: &[RunRecord]) -> Vec<Cmd> {
    let later = model.now.checked_add(std::time::Duration::from_secs(1)).unwrap();
    let cmds = crate::frontend::tui::update::update(model, Event::Tick, later);
    serve(model, cmds, runs)
}
