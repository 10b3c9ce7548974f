//! People in the loop of a flow, on the built program: approve, edit, reject, continue, fork, retry; one after the other,
//! on several branches, and many at once while supervisors die.

use std::path::Path;

use std::time::{Duration, Instant};

use restage::control::client::{Client, ClientError};
use restage::domain::flow::ask::{
    ApproveWish, BranchView, ContinueWish, EditWish, FlowReply, FlowRequest, ForkWish, RejectWish, Shown,
};
use restage::domain::flow::ids::{BranchName, CheckpointId, Hash, RunId, StageName};
use restage::domain::flow::record::{Checkpoint, RunFilter, RunRecord, StageRecord};
use restage::domain::flow::refusal::Refusal;
use restage::domain::flow::status::{Approval, Decision, RunStatus, StageStatus, Trigger};
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
        hash,
        who: "ann".into(),
        note: Some("fine".into()),
    })
}

fn reject(run: &str, of: &str, to: Option<&str>, feedback: &str) -> FlowRequest {
    FlowRequest::Reject(RejectWish {
        run: run_id(run),
        stage: stage(of),
        rewind_to: to.map(stage),
        feedback: feedback.into(),
        who: "ben".into(),
    })
}

fn edit(run: &str, of: &str, key: &str, value: &str, hash: Option<Hash>) -> FlowRequest {
    FlowRequest::Edit(EditWish {
        run: run_id(run),
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
        run: run_id(run),
        checkpoint: checkpoint.map(at),
        force_retry,
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
    let (code, _, stderr) = studio.run(&["retry", "film-6"]);
    assert_eq!(code, Some(16), "{stderr}");
    assert!(stderr.contains("script@1 was retried 5 times, and 5 is the limit"), "{stderr}");
    assert!(stderr.contains("restage edit film-6 script"), "{stderr}");
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
    assert_eq!((failed.trigger, failed.retry_depth), (Trigger::Retry, 1));
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
    let later = refused(&studio, reject("film-1", "board", Some("render"), "no"));
    assert_eq!(later.code(), 2, "{later}");
    assert_eq!(refused(&studio, reject("film-1", "board", None, " ")).code(), 2);

    // What runs beside it is built on what is done again, so it ends and begins again.
    done(&studio, reject("film-1", "board", Some("script"), "more\nlight"));
    let waits = until(&studio, "film-1", RunStatus::Waiting);
    assert_eq!(counts(), [1, 2, 2, 2, 0]);
    let told = |name: &str| std::fs::read_to_string(studio.path(&format!("{name}.told"))).unwrap_or_default();
    assert_eq!(told("idea"), "|");
    assert!(told("script").starts_with("|") && told("script").len() > 3, "{}", told("script"));
    assert_eq!(told("board"), "||");
    assert_eq!(row(&waits, "side").status, StageStatus::Succeeded);
    let numbers: Vec<u32> = row(&waits, "side").attempts.iter().map(|one| one.number).collect();
    assert_eq!(numbers, [1, 2]);

    done(&studio, reject("film-1", "board", None, "darker"));
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
