//! People in the loop of a flow, on the built program: approve, edit, reject, continue, fork, retry; one after the other,
//! on several branches, and many at once while supervisors die.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, RwLock};

use std::time::{Duration, Instant};

use restage::control::client::{Client, ClientError};
use restage::domain::flow::ask::{
    ApproveWish, BranchView, ContinueWish, EditWish, FlowReply, FlowRequest, ForkWish, RejectWish, Shown,
};
use restage::domain::flow::ids::{BranchName, CheckpointId, Hash, RunId, StageName};
use restage::domain::flow::record::{Checkpoint, RunFilter, RunRecord, StageRecord};
use restage::domain::flow::refusal::Refusal;
use restage::domain::flow::status::{Approval, Cause, Decision, RunStatus, StageStatus};
use restage::domain::json::Json;
use serde_json::{Value, json};

use crate::support::workspace::Workspace;
use crate::support::{PATIENCE, kill_9, wait_for, wait_until};

/// Counts its executions, leaves a text and a board; a person looks at both.
const SCRIPT: &str = r#"echo x >> script.count
cat "$RESTAGE_FEEDBACK" >> script.feedback 2>/dev/null || printf '%s\n' "$RESTAGE_FEEDBACK" >> script.feedback
echo text=draft > "$RESTAGE_OUTPUT"
echo drawn > "$RESTAGE_ARTIFACTS/board""#;

/// Counts its executions, says what it was given, and succeeds where there is a file `ok`.
const RENDER: &str = r#"echo x >> render.count
cat "$RESTAGE_INPUTS/script/board" > seen.board
cp "$RESTAGE_STATE" seen.state
echo no paint; [ -e ok ]"#;

fn film() -> Value {
    json!({ "stages": [
        { "name": "script", "command": SCRIPT, "outputs": ["text"], "artifacts": ["board"], "approve": "manual" },
        { "name": "render", "needs": ["script"], "command": RENDER },
    ] })
}

fn studio(flow: &Value) -> Workspace {
    let workspace = Workspace::new(&json!({}));
    let config = json!({ "stop_grace_seconds": 1, "flows": { "film": flow } });
    std::fs::write(workspace.path("config.json"), config.to_string()).unwrap();
    workspace
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

/// Why there was no answer to be judged.
#[derive(Debug)]
enum Trouble {
    Refused(Box<Refusal>),
    /// The supervisor went away; whether it was done, nobody knows.
    Lost,
}

/// Asks the supervisor that is there, as the verbs do.
fn ask(workspace: &Workspace, request: FlowRequest) -> Result<FlowReply, Trouble> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let socket = workspace.holder().and_then(|holder| Some(holder["socket"].as_str()?.to_owned()));
            let client = match socket {
                Some(socket) => Client::connect(Path::new(&socket), Duration::from_secs(2)).await.ok(),
                None => None,
            };
            if let Some((client, _updates)) = client {
                return match client.flow(request).await {
                    Ok(reply) => Ok(reply),
                    Err(ClientError::Declined(refusal)) if *refusal == Refusal::Ending => Err(Trouble::Lost),
                    Err(ClientError::Declined(refusal)) => Err(Trouble::Refused(refusal)),
                    Err(ClientError::Gone) => Err(Trouble::Lost),
                    Err(error) => panic!("{error}"),
                };
            }
            assert!(Instant::now() < deadline, "no supervisor answers");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
}

#[track_caller]
fn done(workspace: &Workspace, request: FlowRequest) -> FlowReply {
    ask(workspace, request).unwrap_or_else(|trouble| panic!("{trouble:?}"))
}

#[track_caller]
fn refused(workspace: &Workspace, request: FlowRequest) -> Refusal {
    match ask(workspace, request) {
        Err(Trouble::Refused(refusal)) => *refusal,
        other => panic!("expected a refusal: {other:?}"),
    }
}

fn run_id(name: &str) -> RunId {
    RunId::trusted(name)
}

fn stage(name: &str) -> StageName {
    StageName::trusted(name)
}

fn at(text: &str) -> CheckpointId {
    CheckpointId::parse(text).unwrap()
}

fn approve(run: &str, of: &str, hash: Option<Hash>) -> FlowRequest {
    FlowRequest::Approve(ApproveWish {
        run: run_id(run),
        stage: Some(stage(of)),
        checkpoint: None,
        hash,
        who: "ann".into(),
        note: Some("fine".into()),
        approve_all: false,
    })
}

fn reject(run: &str, of: &str, to: Option<&str>, feedback: &str, hash: Option<Hash>) -> FlowRequest {
    FlowRequest::Reject(RejectWish {
        run: run_id(run),
        stage: stage(of),
        checkpoint: None,
        rewind_to: to.map(stage),
        hash,
        feedback: feedback.into(),
        who: "ben".into(),
        approve_all: false,
    })
}

fn edit(run: &str, of: &str, key: &str, value: &str, hash: Option<Hash>) -> FlowRequest {
    FlowRequest::Edit(EditWish {
        run: run_id(run),
        branch: None,
        stage: stage(of),
        hash,
        set: [(key.to_owned(), Json::string(value))].into_iter().collect(),
        artifacts: Vec::new(),
        who: "eve".into(),
    })
}

fn fork(run: &str, from: &str, branch: &str) -> FlowRequest {
    FlowRequest::Fork(ForkWish {
        run: run_id(run),
        at: at(from),
        branch: BranchName::trusted(branch),
        who: "fay".into(),
    })
}

fn proceed(run: &str, checkpoint: Option<&str>, force_retry: bool) -> FlowRequest {
    FlowRequest::Continue(ContinueWish {
        lay: None,
        run: run_id(run),
        branch: None,
        checkpoint: checkpoint.map(at),
        force_retry,
        who: "con".into(),
        approve_all: false,
    })
}

fn proceed_on(run: &str, branch: &str) -> FlowRequest {
    FlowRequest::Continue(ContinueWish {
        lay: None,
        run: run_id(run),
        branch: Some(BranchName::trusted(branch)),
        checkpoint: None,
        force_retry: false,
        who: "con".into(),
        approve_all: false,
    })
}

#[track_caller]
fn show(workspace: &Workspace, run: &str) -> Shown {
    match done(workspace, FlowRequest::Show { run: run_id(run) }) {
        FlowReply::Shown(shown) => *shown,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn tree(workspace: &Workspace, run: &str) -> (Vec<Checkpoint>, Vec<BranchView>) {
    match done(workspace, FlowRequest::Checkpoints { run: run_id(run) }) {
        FlowReply::Checkpoints { checkpoints, branches } => (checkpoints, branches),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn new_run(reply: FlowReply) -> String {
    match reply {
        FlowReply::Run { run, .. } => run.to_string(),
        other => panic!("{other:?}"),
    }
}

fn row<'a>(run: &'a RunRecord, name: &str) -> &'a StageRecord {
    run.stages.iter().flatten().find(|row| row.name.as_str() == name).unwrap()
}

#[track_caller]
fn until(workspace: &Workspace, run: &str, status: RunStatus) -> RunRecord {
    wait_for(&format!("{run} is {status}"), || {
        let shown = show(workspace, run).run;
        (shown.status == status).then_some(shown)
    })
}

/// With nothing of the config to supervise.
fn background(workspace: &Workspace) {
    workspace.ok(&["up", "--detach"]);
    workspace.supervisor();
}

#[test]
fn the_second_phase_is_retried_and_the_first_is_never_executed_again() {
    let studio = studio(&film());
    let counts = || (lines(&studio.path("script.count")), lines(&studio.path("render.count")));
    let (code, stdout, stderr) = studio.run(&["run", "film"]);
    assert_eq!((code, stdout.as_str()), (Some(75), "film-1\n"), "{stderr}");
    assert!(stderr.contains("film-1 waits for you at script: restage approve film-1 script"), "{stderr}");
    assert_eq!(counts(), (1, 0));

    let (code, stdout, stderr) = studio.run(&["continue", "film-1"]);
    assert_eq!((code, stdout.as_str()), (Some(1), "film-1\n"), "{stderr}");
    assert_eq!(counts(), (1, 1));
    let (code, _, stderr) = studio.run(&["continue", "film-1", "--checkpoint", "script@1"]);
    assert_eq!(code, Some(17));
    assert!(
        stderr.contains(
            "checkpoint already approved\n  hint: to run again from here: restage continue film-1 --checkpoint \
             script@1 --force-retry (or restage retry film-1)"
        ),
        "{stderr}"
    );

    for retry in 2..=6 {
        let last = format!("film-{}", retry - 1);
        let (code, stdout, stderr) = studio.run(&["retry", &last]);
        assert_eq!((code, stdout), (Some(1), format!("film-{retry}\n")), "{stderr}");
        assert_eq!(counts(), (1, retry));
    }
    let again = ["continue", "film-6", "--checkpoint", "script@1", "--force-retry"];
    let (code, _, stderr) = studio.run(&again);
    assert_eq!(code, Some(16), "{stderr}");
    assert!(stderr.contains("script@1 was retried 5 times, and 5 is the limit"), "{stderr}");
    assert!(stderr.contains("restage edit film-6 script"), "{stderr}");
    for verb in [&["retry", "film-6"][..], &["retry", "film-6", "--dry-run"], &["retry", "film-1"]] {
        let (code, _, stderr) = studio.run(verb);
        assert_eq!(code, Some(16), "{verb:?}: {stderr}");
        assert!(stderr.contains("script@1 was retried 5 times, and 5 is the limit"), "{verb:?}: {stderr}");
    }
    assert_eq!(counts(), (1, 6));

    background(&studio);
    let (checkpoints, branches) = tree(&studio, "film-6");
    assert_eq!(checkpoints.len(), 1);
    assert_eq!((checkpoints[0].id.clone(), checkpoints[0].approval), (at("script@1"), Approval::Approved));
    assert!(checkpoints[0].approved_by.is_some() && checkpoints[0].approved_at.is_some());
    assert_eq!(branches.len(), 1);
    assert_eq!(branches[0].latest_checkpoint_id, Some(at("script@1")));
    assert!(!branches[0].can_continue, "{:?}", branches[0]);

    // An edit makes a version; saving without a change makes none.
    let nothing = done(&studio, edit("film-6", "script", "text", "draft", None));
    assert_eq!(nothing, FlowReply::Edited { checkpoint: None });
    std::fs::write(studio.path("new.board"), "painted\n").unwrap();
    let edited = done(
        &studio,
        FlowRequest::Edit(EditWish {
            run: run_id("film-6"),
            branch: None,
            stage: stage("script"),
            hash: Some(checkpoints[0].hash.clone()),
            set: [("text".to_owned(), Json::string("final"))].into_iter().collect(),
            artifacts: vec![("board".into(), studio.path("new.board"))],
            who: "eve".into(),
        }),
    );
    assert_eq!(edited, FlowReply::Edited { checkpoint: Some(at("script@2")) });
    let (checkpoints, branches) = tree(&studio, "film-6");
    let versions: Vec<_> = checkpoints.iter().map(|one| (one.id.to_string(), one.approval)).collect();
    assert_eq!(versions, [("script@1".into(), Approval::Approved), ("script@2".into(), Approval::Pending)]);
    assert_eq!(checkpoints[1].edited_from, Some(at("script@1")));
    assert_eq!(checkpoints[1].created_by.as_deref(), Some("eve"));
    assert!(branches[0].can_continue, "{:?}", branches[0]);

    std::fs::write(studio.path("ok"), "").unwrap();
    studio.ok(&["retry", "film-6"]);
    assert_eq!(counts(), (1, 7));
    assert_eq!(std::fs::read_to_string(studio.path("seen.board")).unwrap(), "painted\n");
    let state: Value = serde_json::from_slice(&std::fs::read(studio.path("seen.state")).unwrap()).unwrap();
    assert_eq!(state["text"], "final");
    let last = show(&studio, "film-7").run;
    let script = row(&last, "script");
    assert_eq!((last.status, script.decision), (RunStatus::Succeeded, Decision::Reuse));
    assert_eq!(script.checkpoint.as_ref().unwrap().id, at("script@2"));
    // What was there is as it was.
    let sixth = show(&studio, "film-6").run;
    assert_eq!(row(&sixth, "script").checkpoint.as_ref().unwrap().id, at("script@1"));
    assert_eq!(tree(&studio, "film-7").0.len(), 3);
}

#[test]
fn an_approved_checkpoint_is_built_upon_again_only_where_that_is_insisted_on() {
    let studio = studio(&film());
    assert_eq!(studio.run(&["run", "film", "--approve", "exit"]).0, Some(75));
    background(&studio);
    let (checkpoints, _) = tree(&studio, "film-1");
    let hash = checkpoints[0].hash.clone();
    // Nobody has looked at what is there now.
    let stale = refused(&studio, approve("film-1", "script", Some(Hash::of(["else"]))));
    assert_eq!(stale.code(), 18, "{stale}");
    // A run that waits is not failed.
    let waits = refused(&studio, proceed("film-1", Some("script@1"), true));
    assert_eq!(waits.code(), 17, "{waits}");

    // An edit puts it back to pending: what was seen before is not approved.
    let edited = done(&studio, edit("film-1", "script", "text", "better", Some(hash.clone())));
    assert_eq!(edited, FlowReply::Edited { checkpoint: Some(at("script@2")) });
    let stale = refused(&studio, approve("film-1", "script", Some(hash.clone())));
    assert_eq!(stale, Refusal::Stale { run: run_id("film-1"), checkpoint: at("script@2") });
    assert_eq!(refused(&studio, edit("film-1", "script", "text", "worse", Some(hash))).code(), 18);
    let (checkpoints, _) = tree(&studio, "film-1");
    done(&studio, approve("film-1", "script", Some(checkpoints[1].hash.clone())));
    until(&studio, "film-1", RunStatus::Failed);
    let state: Value = serde_json::from_slice(&std::fs::read(studio.path("seen.state")).unwrap()).unwrap();
    assert_eq!(state["text"], "better");
    let (checkpoints, _) = tree(&studio, "film-1");
    let taken = &checkpoints[1];
    assert_eq!(
        (taken.approval, taken.approved_by.as_deref(), taken.note.as_deref()),
        (Approval::Approved, Some("ann"), Some("fine"))
    );
    assert!(taken.approved_at.is_some());
    assert_eq!(checkpoints[0].approval, Approval::Pending);

    let again = refused(&studio, proceed("film-1", Some("script@2"), false));
    assert_eq!(again.to_string(), "checkpoint already approved");
    assert_eq!(
        again.hint(),
        "to run again from here: restage continue film-1 --checkpoint script@2 --force-retry (or restage retry film-1)"
    );
    let second = new_run(done(&studio, proceed("film-1", Some("script@2"), true)));
    let failed = until(&studio, &second, RunStatus::Failed);
    assert_eq!((failed.cause, failed.retry_depth), (Cause::Retry, 1));
    assert_eq!(tree(&studio, "film-1").0[1], *taken);
    assert_eq!((lines(&studio.path("script.count")), lines(&studio.path("render.count"))), (1, 2));
    std::fs::write(studio.path("ok"), "").unwrap();
    let third = new_run(done(&studio, proceed("film-1", None, true)));
    until(&studio, &third, RunStatus::Succeeded);
    let over = refused(&studio, proceed("film-1", Some("script@2"), true));
    assert_eq!(over, Refusal::NotFailed { run: run_id(&third), status: RunStatus::Succeeded });
}

#[test]
fn a_run_is_sent_back_to_an_earlier_stage_with_what_is_to_be_better() {
    let note =
        r#"echo x >> $RESTAGE_STAGE.count; printf '%s|' "${RESTAGE_FEEDBACK-}" >> $RESTAGE_STAGE.told"#;
    let slow = format!(
        "{note}\n[ $(wc -l < $RESTAGE_STAGE.count) -gt 1 ] || {{ touch side.runs; exec sleep 600; }}"
    );
    let studio = studio(&json!({ "stages": [
        { "name": "idea", "command": note },
        { "name": "script", "needs": ["idea"], "command": note },
        { "name": "side", "needs": ["script"], "command": slow },
        { "name": "board", "needs": ["script"], "command": note, "approve": "manual" },
        { "name": "render", "needs": ["board", "side"], "command": note },
    ] }));
    let counts = || {
        ["idea", "script", "side", "board", "render"].map(|one| lines(&studio.path(&format!("{one}.count"))))
    };
    studio.ok(&["run", "film", "--detach"]);
    wait_until("the side runs", || studio.path("side.runs").exists());
    wait_until("the board waits", || {
        row(&show(&studio, "film-1").run, "board").status == StageStatus::Waiting
    });
    assert_eq!(counts(), [1, 1, 1, 1, 0]);
    let later = refused(&studio, reject("film-1", "board", Some("render"), "no", None));
    assert_eq!(later.code(), 2, "{later}");
    assert_eq!(refused(&studio, reject("film-1", "board", None, " ", None)).code(), 2);

    // What runs beside it is built on what is done again, so it ends and begins again.
    done(&studio, reject("film-1", "board", Some("script"), "more\nlight", None));
    let waits = until(&studio, "film-1", RunStatus::Waiting);
    assert_eq!(counts(), [1, 2, 2, 2, 0]);
    let told = |name: &str| std::fs::read_to_string(studio.path(&format!("{name}.told"))).unwrap_or_default();
    assert_eq!(told("idea"), "|");
    assert!(told("script").starts_with('|') && told("script").len() > 3, "{}", told("script"));
    assert_eq!(told("board"), "||");
    assert_eq!(row(&waits, "side").status, StageStatus::Succeeded);
    let numbers: Vec<u32> = row(&waits, "side").attempts.iter().map(|one| one.number).collect();
    assert_eq!(numbers, [1, 2]);

    done(&studio, reject("film-1", "board", None, "darker", None));
    until(&studio, "film-1", RunStatus::Waiting);
    assert_eq!(counts(), [1, 2, 2, 3, 0]);
    done(&studio, approve("film-1", "board", None));
    until(&studio, "film-1", RunStatus::Succeeded);
    assert_eq!(counts(), [1, 2, 2, 3, 1]);
    let (checkpoints, _) = tree(&studio, "film-1");
    let board: Vec<Approval> =
        checkpoints.iter().filter(|one| one.id.stage.as_str() == "board").map(|one| one.approval).collect();
    assert_eq!(board, [Approval::Rejected, Approval::Rejected, Approval::Approved]);
    let first = checkpoints.iter().find(|one| one.id == at("board@1")).unwrap();
    assert_eq!((first.approved_by.as_deref(), first.note.as_deref()), (Some("ben"), Some("more\nlight")));
}

/// Ends when it is told to: well or badly, each run by itself.
const TOLD: &str = r"echo $RESTAGE_RUN_ID >> render.count
while ! [ -e go.$RESTAGE_RUN_ID ]; do [ -e fail.$RESTAGE_RUN_ID ] && exit 1; sleep 0.02; done";

fn told() -> Value {
    json!({ "stages": [
        { "name": "script", "command": SCRIPT, "outputs": ["text"], "artifacts": ["board"], "approve": "manual" },
        { "name": "render", "needs": ["script"], "command": TOLD },
    ] })
}

fn retry(run: &str) -> FlowRequest {
    FlowRequest::Retry(restage::domain::flow::ask::RetryWish {
        run: run_id(run),
        branch: None,
        from: None,
        set: restage::domain::json::JsonMap::new(),
        force: false,
        queue: false,
        dry_run: false,
        seen: None,
        approve_all: false,
        who: None,
        asker: None,
    })
}

#[test]
fn two_branches_from_one_checkpoint_do_not_disturb_one_another() {
    let studio = studio(&told());
    let tell = |what: &str| std::fs::write(studio.path(what), "").unwrap();
    assert_eq!(studio.run(&["run", "film", "--approve", "exit"]).0, Some(75));
    background(&studio);
    tell("fail.film-1");
    done(&studio, approve("film-1", "script", None));
    until(&studio, "film-1", RunStatus::Failed);
    done(&studio, fork("film-1", "script@1", "draft"));
    let twice = refused(&studio, fork("film-1", "script@1", "draft"));
    assert_eq!(twice, Refusal::BranchExists { run: run_id("film-1"), branch: BranchName::trusted("draft") });
    assert_eq!(refused(&studio, fork("film-1", "script@7", "other")).code(), 3);

    let draft = new_run(done(&studio, proceed_on("film-1", "draft")));
    let main = new_run(done(&studio, retry("film-1")));
    assert_eq!((draft.as_str(), main.as_str()), ("film-2", "film-3"));
    let runs = |name| show(&studio, name).run;
    wait_until("both run at once", || {
        lines(&studio.path("render.count")) == 3
            && [&draft, &main].iter().all(|one| runs(one).status == RunStatus::Running)
    });
    assert_eq!((runs(&draft).branch.as_str(), runs(&main).branch.as_str()), ("draft", "main"));
    assert_eq!(refused(&studio, retry("film-1")).code(), 11);
    assert_eq!(refused(&studio, retry(&draft)).code(), 10);

    tell("fail.film-3");
    until(&studio, &main, RunStatus::Failed);
    let again = new_run(done(&studio, retry(&main)));
    wait_until("the retry runs", || lines(&studio.path("render.count")) == 4);
    tell("go.film-2");
    let finished = until(&studio, &draft, RunStatus::Succeeded);
    assert_eq!(runs(&again).status, RunStatus::Running);
    tell(&format!("go.{again}"));
    let last = until(&studio, &again, RunStatus::Succeeded);

    assert_eq!(lines(&studio.path("script.count")), 1);
    let parents = [&finished, &last].map(|run| {
        let render = row(run, "render").checkpoint.clone().unwrap();
        (run.parent_run_id.clone().unwrap().to_string(), render.branch.to_string(), render.parent)
    });
    let script = Some(at("script@1"));
    assert_eq!(
        parents,
        [("film-1".into(), "draft".into(), script.clone()), ("film-3".into(), "main".into(), script.clone())]
    );
    let (_, branches) = tree(&studio, "film-1");
    let heads: Vec<_> = branches
        .iter()
        .map(|one| {
            (one.branch.branch_name.to_string(), one.latest_checkpoint_id.clone().unwrap().to_string())
        })
        .collect();
    assert_eq!(heads, [("main".into(), "render@2".into()), ("draft".into(), "render@1".into())]);
    assert_eq!(branches[1].branch.forked_from, script);
    assert!(branches.iter().all(|one| !one.can_continue), "{branches:?}");
    assert_eq!(runs("film-1").status, RunStatus::Failed);
}

#[test]
fn what_is_judged_through_one_run_is_judged_for_all_that_wait_for_it() {
    let studio = studio(&told());
    for run in 1..=4 {
        std::fs::write(studio.path(&format!("go.film-{run}")), "").unwrap();
    }
    assert_eq!(studio.run(&["run", "film", "--approve", "exit"]).0, Some(75));
    background(&studio);
    done(&studio, fork("film-1", "script@1", "draft"));
    let draft = new_run(done(&studio, proceed_on("film-1", "draft")));
    until(&studio, &draft, RunStatus::Succeeded);
    until(&studio, "film-1", RunStatus::Succeeded);

    assert_eq!(studio.run(&["run", "film", "--approve", "exit"]).0, Some(75));
    done(&studio, FlowRequest::Cancel { run: run_id("film-3") });
    until(&studio, "film-3", RunStatus::Cancelled);
    let fourth = new_run(done(&studio, retry("film-3")));
    until(&studio, &fourth, RunStatus::Waiting);
    // Through the run that has ended.
    done(&studio, edit("film-3", "script", "text", "better", None));
    let script = row(&show(&studio, &fourth).run, "script").checkpoint.clone().unwrap();
    assert_eq!(script.id, at("script@2"));
    done(&studio, approve("film-3", "script", None));
    until(&studio, &fourth, RunStatus::Succeeded);
    assert_eq!(lines(&studio.path("script.count")), 2);
}

#[test]
fn files_of_failed_attempts_are_collected_when_their_days_are_over() {
    let failing = |days: f64| {
        json!({ "keep_failed_days": days, "stages": [
            { "name": "script", "command": SCRIPT, "outputs": ["text"], "artifacts": ["board"] },
            { "name": "render", "needs": ["script"],
              "command": "[ -e ok ] || { echo half > $RESTAGE_ARTIFACTS/half; exit 1; }; cp $RESTAGE_INPUTS/script/board seen.board" },
        ] })
    };
    let studio = Workspace::new(&json!({}));
    let flows = json!({ "flows": { "kept": failing(7.0), "dropped": failing(0.0) } });
    std::fs::write(studio.path("config.json"), flows.to_string()).unwrap();
    for flow in ["kept", "dropped"] {
        assert_eq!(studio.run(&["run", flow]).0, Some(1));
    }
    background(&studio);
    let half = |run: &str| studio.path(&format!(".restage/runs/{run}/render_1/artifacts/half"));
    assert!(half("kept-1").exists() && half("dropped-1").exists());
    let gc = |dry_run| match done(&studio, FlowRequest::Gc { dry_run }) {
        FlowReply::Collected(collected) => collected,
        other => panic!("{other:?}"),
    };
    let listed = gc(true);
    assert!(half("dropped-1").exists());
    assert_eq!(listed.paths, [studio.path(".restage/runs/dropped-1/render_1")]);
    assert_eq!(gc(false), listed);
    assert!(half("kept-1").exists() && !half("dropped-1").exists());
    assert!(gc(false).paths.is_empty());
    // What a checkpoint names is there.
    std::fs::write(studio.path("ok"), "").unwrap();
    studio.ok(&["retry", "dropped-1"]);
    assert_eq!(std::fs::read_to_string(studio.path("seen.board")).unwrap(), "drawn\n");
}

/// What sixteen people found out, for the comparison at the end.
#[derive(Default)]
struct Ledger {
    /// By the note of an approval: the bytes that were looked at, and whether it was answered that it is done.
    approvals: Mutex<BTreeMap<String, (Hash, bool)>>,
    rejections: Mutex<Vec<String>>,
    edits: Mutex<Vec<(RunId, CheckpointId, String)>>,
    branches: Mutex<Vec<(RunId, String)>>,
    refusals: Mutex<BTreeMap<u8, u32>>,
    continued: AtomicU32,
    compared: AtomicU32,
}

impl Ledger {
    /// Whether it was done. What is refused is refused clearly.
    fn took(&self, answer: Result<FlowReply, Trouble>) -> Option<FlowReply> {
        match answer {
            Ok(reply) => Some(reply),
            Err(Trouble::Lost) => None,
            Err(Trouble::Refused(refusal)) => {
                let code = refusal.code();
                assert!(!matches!(*refusal, Refusal::Store(_) | Refusal::UnknownRun { .. }), "{refusal}");
                assert!(matches!(code, 1..=3 | 10..=18), "{code}: {refusal}");
                assert!(!refusal.to_string().is_empty() && !refusal.hint().is_empty(), "{refusal:?}");
                *self.refusals.lock().unwrap().entry(code).or_default() += 1;
                None
            }
        }
    }
}

/// xorshift.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % sides
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        (!from.is_empty()).then(|| &from[self.roll(from.len())])
    }
}

struct Crowd<'a> {
    studio: &'a Workspace,
    ledger: Ledger,
    /// Whoever compares what is promised with what is done has it for themselves.
    quiet: RwLock<()>,
    over: AtomicBool,
}

impl Crowd<'_> {
    fn ask(&self, request: FlowRequest) -> Option<FlowReply> {
        self.ledger.took(ask(self.studio, request))
    }

    /// In a process of its own. Whether it was done; what is refused is refused clearly.
    fn verb(&self, arguments: &[&str]) -> bool {
        let mut all = vec!["--output", "json"];
        all.extend(arguments);
        let (code, _, stderr) = self.studio.run(&all);
        if code == Some(0) {
            return true;
        }
        let last = stderr.lines().last().unwrap_or_default();
        let error: Value =
            serde_json::from_str(last).unwrap_or_else(|_| panic!("{all:?}: {code:?}: {stderr}"));
        let error = &error["error"];
        assert_eq!(error["exit"].as_i64(), code.map(i64::from), "{stderr}");
        for said in ["act", "message", "hint"] {
            assert!(error[said].as_str().is_some_and(|said| !said.is_empty()), "{said}: {stderr}");
        }
        let code = u8::try_from(code.unwrap()).unwrap();
        assert!(matches!(code, 1..=3 | 10..=18), "{stderr}");
        *self.ledger.refusals.lock().unwrap().entry(code).or_default() += 1;
        false
    }

    fn runs(&self, root: Option<RunId>) -> Vec<RunRecord> {
        match self.ask(FlowRequest::Runs(RunFilter { root, ..RunFilter::default() })) {
            Some(FlowReply::Runs(runs)) => runs,
            Some(other) => panic!("{other:?}"),
            None => Vec::new(),
        }
    }

    fn person(&self, number: usize, seed: u64) {
        let mut dice = Dice(seed.wrapping_mul(2 * number as u64 + 3) | 1);
        let mut turn = 0;
        while !self.over.load(Ordering::Relaxed) {
            turn += 1;
            let token = format!("p{number}-{turn}");
            let runs = self.runs(None);
            let Some(run) = dice.pick(&runs) else { continue };
            if dice.roll(20) == 0 {
                self.compare(run, &mut dice);
                continue;
            }
            let _together = self.quiet.read().unwrap();
            self.act(run, &token, &mut dice);
        }
    }

    fn act(&self, run: &RunRecord, token: &str, dice: &mut Dice) {
        let name = run.run_id.as_str();
        let Some(FlowReply::Checkpoints { checkpoints, .. }) =
            self.ask(FlowRequest::Checkpoints { run: run.run_id.clone() })
        else {
            return;
        };
        let pending: Vec<&Checkpoint> =
            checkpoints.iter().filter(|one| one.approval == Approval::Pending).collect();
        match dice.roll(10) {
            0..=2 => {
                let Some(seen) = dice.pick(&pending) else { return };
                let looked = (seen.hash.clone(), false);
                self.ledger.approvals.lock().unwrap().insert(token.into(), looked);
                let (of, hash) = (seen.id.stage.as_str(), seen.hash.to_string());
                if self.verb(&["approve", name, of, "--hash", &hash, "--note", token, "--detach"]) {
                    self.ledger.approvals.lock().unwrap().get_mut(token).unwrap().1 = true;
                }
            }
            3..=4 => {
                let Some(seen) = dice.pick(&checkpoints).filter(|one| one.id.stage.as_str() != "render")
                else {
                    return;
                };
                let wish = edit(
                    name,
                    seen.id.stage.as_str(),
                    seen.id.stage.as_str(),
                    token,
                    Some(seen.hash.clone()),
                );
                if let Some(FlowReply::Edited { checkpoint: Some(made) }) = self.ask(wish) {
                    let root = run.root_run_id.clone();
                    self.ledger.edits.lock().unwrap().push((root, made, token.into()));
                }
            }
            5 => {
                let Some(seen) = dice.pick(&pending) else { return };
                let to = ["script", "board"][dice.roll(2)];
                if self
                    .ask(reject(name, seen.id.stage.as_str(), Some(to), token, Some(seen.hash.clone())))
                    .is_some()
                {
                    self.ledger.rejections.lock().unwrap().push(token.into());
                }
            }
            6 => {
                let Some(seen) = dice.pick(&checkpoints) else { return };
                if self.verb(&["fork", name, "--at", &seen.id.to_string(), "--branch", token]) {
                    self.ledger.branches.lock().unwrap().push((run.root_run_id.clone(), token.into()));
                }
            }
            7 => {
                self.ask(retry(name));
            }
            _ => {
                let named = dice
                    .pick(&checkpoints)
                    .filter(|_| dice.0.is_multiple_of(2))
                    .map(|one| one.id.to_string());
                if self.ask(proceed(name, named.as_deref(), dice.0.is_multiple_of(3))).is_some() {
                    self.ledger.continued.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// What is promised of each branch is what continuing there does.
    fn compare(&self, run: &RunRecord, dice: &mut Dice) {
        let _alone = self.quiet.write().unwrap();
        self.settled();
        let Some(FlowReply::Shown(shown)) = self.ask(FlowRequest::Show { run: run.run_id.clone() }) else {
            return;
        };
        let Some(view) = dice.pick(&shown.branches) else { return };
        let checkpoint = view.latest_checkpoint_id.clone().filter(|_| dice.roll(2) == 0);
        let is_named = checkpoint.is_some();
        let request = FlowRequest::Continue(ContinueWish {
            lay: None,
            run: run.run_id.clone(),
            branch: Some(view.branch.branch_name.clone()),
            checkpoint,
            force_retry: false,
            who: "con".into(),
            approve_all: false,
        });
        match ask(self.studio, request) {
            Ok(reply) => assert!(view.can_continue, "{view:?}: {reply:?}"),
            Err(Trouble::Refused(refusal)) => {
                // Of a checkpoint that is named more can be said.
                let said = format!("{refusal}; {}", refusal.hint());
                assert!(!view.can_continue && (is_named || view.reason == said), "{view:?}: {said}");
            }
            Err(Trouble::Lost) => return,
        }
        self.ledger.compared.fetch_add(1, Ordering::Relaxed);
    }

    /// Nothing moves by itself.
    fn settled(&self) {
        wait_until("nothing runs", || {
            let runs = self.runs(None);
            !runs.is_empty()
                && !runs.iter().any(|run| matches!(run.status, RunStatus::Running | RunStatus::Queued))
        });
    }

    fn check(&self) {
        let roots = self.runs(None).into_iter().filter(|run| run.root_run_id == run.run_id);
        let mut all: Vec<(RunId, Checkpoint)> = Vec::new();
        let mut names: Vec<(RunId, String)> = Vec::new();
        for root in roots {
            let (checkpoints, branches) = tree(self.studio, root.run_id.as_str());
            names
                .extend(branches.iter().map(|one| (root.run_id.clone(), one.branch.branch_name.to_string())));
            all.extend(checkpoints.into_iter().map(|one| (root.run_id.clone(), one)));
        }
        let approvals = self.ledger.approvals.lock().unwrap();
        for (_, one) in all.iter().filter(|(_, one)| {
            one.approval == Approval::Approved && one.note.as_ref().is_some_and(|note| note.starts_with('p'))
        }) {
            // These bytes, and no others, were looked at.
            let (looked, _) = one.note.as_ref().and_then(|note| approvals.get(note)).unwrap();
            assert_eq!(*looked, one.hash, "{one:?}");
        }
        for (token, _) in approvals.iter().filter(|(_, (_, done))| *done) {
            let is_there =
                |one: &Checkpoint| one.note.as_deref() == Some(token) && one.approval == Approval::Approved;
            assert!(all.iter().any(|(_, one)| is_there(one)), "the approval {token} is lost");
        }
        for token in self.ledger.rejections.lock().unwrap().iter() {
            let is_there =
                |one: &Checkpoint| one.note.as_deref() == Some(token) && one.approval == Approval::Rejected;
            assert!(all.iter().any(|(_, one)| is_there(one)), "the rejection {token} is lost");
        }
        for (root, id, token) in self.ledger.edits.lock().unwrap().iter() {
            let (_, made) =
                all.iter().find(|(of, one)| of == root && one.id == *id).expect("an edit is lost");
            assert_eq!(made.outputs[made.id.stage.as_str()], Json::string(token.as_str()), "{made:?}");
        }
        // Also those of which the answer was lost with a killed supervisor: whoever tries again from what they saw is
        // refused.
        let mut edited = BTreeSet::new();
        for (root, one) in &all {
            if let Some(from) = &one.edited_from {
                let new = edited.insert((root.clone(), one.branch.to_string(), from.clone()));
                assert!(new, "{from} was edited twice on {}: one of the edits was lost", one.branch);
            }
        }
        for made in self.ledger.branches.lock().unwrap().iter() {
            assert!(names.contains(made), "the branch {made:?} is lost");
        }
        let mut held = BTreeSet::new();
        for run in self.runs(None).iter().filter(|run| run.status.holds_lock()) {
            let place = (run.root_run_id.clone(), run.branch.to_string());
            assert!(held.insert(place), "two runs at once: {run:?}");
        }
    }
}

/// For so long; more of it with `RESTAGE_TEST_SECONDS`.
fn seconds() -> Duration {
    let told = std::env::var("RESTAGE_TEST_SECONDS").ok().and_then(|told| told.parse().ok());
    Duration::from_secs(told.unwrap_or(12))
}

#[test]
fn sixteen_at_once_lose_nothing_and_are_promised_nothing_that_is_refused() {
    let own = |name: &str| format!("echo {name}=$RESTAGE_RUN_ID-$RESTAGE_ATTEMPT > \"$RESTAGE_OUTPUT\"");
    let studio = studio(&json!({ "max_retry_depth": 100, "max_retries_per_checkpoint": 20, "stages": [
        { "name": "script", "command": own("script"), "outputs": ["script"], "approve": "manual" },
        { "name": "board", "needs": ["script"], "command": own("board"), "outputs": ["board"], "approve": "manual" },
        { "name": "render", "needs": ["board"], "command": "[ $(($(date +%N | sed 's/^0*//') / 1000 % 3)) -gt 0 ]" },
    ] }));
    background(&studio);
    for _ in 0..3 {
        assert_eq!(studio.run(&["run", "film"]).0, Some(75));
    }
    let (ledger, quiet, over) = (Ledger::default(), RwLock::new(()), AtomicBool::new(false));
    let crowd = Crowd { studio: &studio, ledger, quiet, over };
    let seed = u64::from(std::process::id()) << 20 | 0x9e37_79b9;
    let (began, span) = (Instant::now(), seconds());
    let (mut kills, mut killed) = (0, 0);
    std::thread::scope(|scope| {
        let people: Vec<_> = (0..16)
            .map(|number| {
                let crowd = &crowd;
                scope.spawn(move || crowd.person(number, seed))
            })
            .collect();
        let mut dice = Dice(seed);
        while began.elapsed() < span && !people.iter().any(std::thread::ScopedJoinHandle::is_finished) {
            // One that came, and had some time to work.
            let victim = wait_for("the next one", || Some(studio.supervisor()).filter(|pid| *pid != killed));
            std::thread::sleep(Duration::from_millis(1500 + u64::try_from(dice.roll(2000)).unwrap()));
            let _together = crowd.quiet.read().unwrap();
            kill_9(victim);
            killed = victim;
            kills += 1;
        }
        crowd.over.store(true, Ordering::Relaxed);
    });
    crowd.settled();
    crowd.check();
    let ledger = &crowd.ledger;
    let approved = ledger.approvals.lock().unwrap().values().filter(|(_, done)| *done).count();
    let compared = ledger.compared.load(Ordering::Relaxed);
    println!(
        "{kills} kills; approved {approved}, rejected {}, edited {}, forked {}, continued {}, compared {compared}; \
         runs {}; refused by code {:?}",
        ledger.rejections.lock().unwrap().len(),
        ledger.edits.lock().unwrap().len(),
        ledger.branches.lock().unwrap().len(),
        ledger.continued.load(Ordering::Relaxed),
        crowd.runs(None).len(),
        ledger.refusals.lock().unwrap(),
    );
    assert!(approved > 0 && compared > 0 && !ledger.edits.lock().unwrap().is_empty());
}

#[test]
fn judging_sets_a_run_going_where_nobody_supervises() {
    let studio = studio(&json!({ "stages": [
        { "name": "script", "command": SCRIPT, "outputs": ["text"], "artifacts": ["board"], "approve": "manual" },
        { "name": "board", "needs": ["script"], "command": "true", "approve": "manual" },
        { "name": "render", "needs": ["board"], "command": RENDER },
    ] }));
    std::fs::write(studio.path("ok"), "").unwrap();
    assert_eq!(studio.run(&["run", "film"]).0, Some(75));
    wait_until("nobody supervises", || studio.holder().is_none());
    let (code, _, stderr) = studio.run(&["reject", "film-1", "script", "--feedback", "more light"]);
    assert_eq!(code, Some(75), "{stderr}");
    assert_eq!(lines(&studio.path("script.count")), 2);
    let (code, _, stderr) = studio.run(&["edit", "film-1", "script", "--set", "text=seen"]);
    assert_eq!(code, Some(0), "{stderr}");
    let (code, _, stderr) = studio.run(&["approve", "film-1", "script", "--note", "so be it"]);
    assert_eq!(code, Some(75), "{stderr}");
    assert!(stderr.contains("film-1 waits for you at board"), "{stderr}");
    // The last word: the verb ends as the run does.
    let (code, _, stderr) = studio.run(&["approve", "film-1"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!((lines(&studio.path("script.count")), lines(&studio.path("render.count"))), (2, 1));
    let state: Value = serde_json::from_slice(&std::fs::read(studio.path("seen.state")).unwrap()).unwrap();
    assert_eq!(state["text"], "seen");
    let (code, _, stderr) = studio.run(&["approve", "film-1", "board"]);
    assert_eq!(code, Some(17), "{stderr}");

    // Nobody is asked.
    studio.ok(&["run", "film", "--approve", "auto"]);
    assert_eq!(studio.run(&["run", "film", "--approve", "exit"]).0, Some(75));
    studio.ok(&["continue", "film-3", "--approve", "auto"]);
    assert_eq!(lines(&studio.path("render.count")), 3);

    // Somebody waits with it, and goes on when another one has approved.
    let mut waits = studio.foreground(&["run", "film", "--approve", "wait"]);
    wait_until("it asks", || show_row(&studio, "film-4", "script") == Some(StageStatus::Waiting));
    for (of, next) in [("script", "board"), ("board", "render")] {
        wait_until(&format!("it asks for {of}"), || {
            show_row(&studio, "film-4", of) == Some(StageStatus::Waiting)
        });
        studio.ok(&["approve", "film-4", of]);
        wait_until(&format!("{next} comes"), || {
            show_row(&studio, "film-4", of) == Some(StageStatus::Succeeded)
        });
    }
    let status = wait_for("its end", || waits.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

/// Asks, goes on slowly, asks again.
fn asks_twice() -> Value {
    json!({ "stages": [
        { "name": "script", "command": SCRIPT, "outputs": ["text"], "artifacts": ["board"], "approve": "manual" },
        { "name": "board", "needs": ["script"], "command": "touch begun; until [ -e go ]; do sleep 0.02; done" },
        { "name": "cut", "needs": ["board"], "command": "true", "approve": "manual" },
        { "name": "render", "needs": ["cut"], "command": RENDER },
    ] })
}

#[test]
fn that_nobody_is_asked_any_more_outlives_the_supervisor() {
    let studio = studio(&asks_twice());
    std::fs::write(studio.path("ok"), "").unwrap();
    background(&studio);
    for (run, verb) in [
        ("film-1", vec!["continue", "film-1", "--approve", "auto", "--detach"]),
        ("film-2", vec!["approve", "film-2", "script", "--approve", "auto"]),
        ("film-3", vec!["reject", "film-3", "script", "--feedback", "darker", "--approve", "auto"]),
    ] {
        for file in ["go", "begun"] {
            std::fs::remove_file(studio.path(file)).ok();
        }
        assert_eq!(studio.run(&["run", "film", "--approve", "exit"]).0, Some(75));
        studio.ok(&verb);
        wait_until("it goes on", || studio.path("begun").exists());
        let killed = studio.supervisor();
        kill_9(killed);
        wait_until("a successor", || studio.holder().is_some_and(|holder| holder["pid"] != killed));
        std::fs::write(studio.path("go"), "").unwrap();
        until(&studio, run, RunStatus::Succeeded);
    }
    // Those that were not looked at are not said to have been, and each stage ran once, but for what was sent back.
    assert_eq!((lines(&studio.path("script.count")), lines(&studio.path("render.count"))), (4, 3));
}

#[test]
fn the_time_for_which_a_person_is_waited_for_is_not_the_runs() {
    let mut flow = asks_twice();
    flow["timeout_seconds"] = json!(2);
    let studio = studio(&flow);
    for file in ["ok", "go"] {
        std::fs::write(studio.path(file), "").unwrap();
    }
    background(&studio);
    let began = Instant::now();
    assert_eq!(studio.run(&["run", "film", "--approve", "exit"]).0, Some(75));
    assert_eq!(show(&studio, "film-1").run.deadline, None);
    wait_until("the limit has passed", || began.elapsed() > Duration::from_millis(2500));
    // Also where the one that waited with it is gone.
    let killed = studio.supervisor();
    kill_9(killed);
    wait_until("a successor", || studio.holder().is_some_and(|holder| holder["pid"] != killed));
    studio.ok(&["approve", "film-1", "script", "--detach"]);
    until(&studio, "film-1", RunStatus::Waiting);
    std::fs::remove_file(studio.path("go")).unwrap();
    // What runs takes its time, and what is left of it is all there is.
    let (code, _, stderr) =
        studio.run(&["reject", "film-1", "cut", "--rewind-to", "board", "--feedback", "x", "--watch"]);
    assert_eq!(code, Some(124), "{stderr}");
    let ended = show(&studio, "film-1").run;
    assert_eq!(ended.error.as_deref(), Some("Flow execution timed out after 2 seconds"));
}

#[test]
fn each_branch_goes_on_by_its_name_and_does_what_was_promised() {
    let studio = studio(&told());
    assert_eq!(studio.run(&["run", "film", "--approve", "exit"]).0, Some(75));
    background(&studio);
    for branch in ["one", "two"] {
        studio.ok(&["fork", "film-1", "--at", "script@1", "--branch", branch]);
    }
    let branches = || -> Vec<Value> {
        let shown: Value = serde_json::from_str(&studio.ok(&["show", "film-1", "--json"])).unwrap();
        shown["branches"].as_array().unwrap().clone()
    };
    // Both begin at the same checkpoint: only the name tells them apart.
    for (branch, run) in [("one", "film-2"), ("two", "film-3")] {
        let before = branches().into_iter().find(|one| one["branch_name"] == branch).unwrap();
        assert_eq!(before["can_continue"], true, "{before}");
        assert_eq!(studio.ok(&["continue", "film-1", "--branch", branch, "--detach"]), format!("{run}\n"));
        assert_eq!(show(&studio, run).run.branch.as_str(), branch);
    }
    for view in branches() {
        let branch = view["branch_name"].as_str().unwrap();
        let (code, _, stderr) = studio.run(&["continue", "film-1", "--branch", branch, "--detach"]);
        assert_eq!((view["can_continue"].as_bool(), code), (Some(false), Some(10)), "{view}: {stderr}");
    }
    let (code, _, stderr) = studio.run(&["continue", "film-1", "--branch", "three"]);
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("has no branch three\n  hint: there are: main, one, two"), "{stderr}");

    std::fs::write(studio.path("fail.film-2"), "").unwrap();
    until(&studio, "film-2", RunStatus::Failed);
    assert_eq!(studio.ok(&["retry", "film-1", "--branch", "one", "--detach"]), "film-4\n");
    let again = show(&studio, "film-4").run;
    assert_eq!((again.branch.as_str(), again.parent_run_id), ("one", Some(run_id("film-2"))));
    for run in ["film-1", "film-3", "film-4"] {
        std::fs::write(studio.path(&format!("go.{run}")), "").unwrap();
        until(&studio, run, RunStatus::Succeeded);
    }
    assert_eq!(lines(&studio.path("script.count")), 1);
}

#[test]
fn only_what_was_looked_at_is_sent_back() {
    let studio = studio(&film());
    assert_eq!(studio.run(&["run", "film", "--approve", "exit"]).0, Some(75));
    background(&studio);
    let hash = || {
        let listed: Value = serde_json::from_str(&studio.ok(&["checkpoints", "film-1", "--json"])).unwrap();
        listed["checkpoints"].as_array().unwrap().last().unwrap()["hash"].as_str().unwrap().to_owned()
    };
    let seen = hash();
    studio.ok(&["edit", "film-1", "script", "--set", "text=better"]);
    let reject = |hash: &str| {
        studio.run(&["reject", "film-1", "script", "--feedback", "darker", "--hash", hash, "--detach"])
    };
    let (code, _, stderr) = reject(&seen);
    assert_eq!(code, Some(18), "{stderr}");
    assert!(stderr.contains("script@2 is not what was looked at: it has changed since"), "{stderr}");
    assert_eq!(lines(&studio.path("script.count")), 1);
    assert_eq!(reject(&hash()).0, Some(0));
    until(&studio, "film-1", RunStatus::Waiting);
    assert_eq!(lines(&studio.path("script.count")), 2);
}

/// From the records, whoever supervises.
fn show_row(studio: &Workspace, run: &str, name: &str) -> Option<StageStatus> {
    let (code, stdout, _) = studio.run(&["show", run, "--json"]);
    if code != Some(0) {
        return None;
    }
    let shown: Value = serde_json::from_str(&stdout).unwrap();
    let run = shown.get("run").unwrap_or(&shown);
    let row = run["stages"].as_array()?.iter().find(|row| row["name"] == name)?;
    StageStatus::parse(row["status"].as_str()?)
}
