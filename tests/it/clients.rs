//! Verbs as clients of a supervisor that may be gone, replaced or over: what they print for programs, what they follow,
//! and how they end.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::support::workspace::Workspace;
use crate::support::{kill_9, wait_until};

fn object(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

fn error_of(stderr: &str) -> Value {
    object(stderr.lines().last().unwrap_or_default())["error"].clone()
}

#[test]
fn programs_read_json_from_every_verb() {
    let workspace = Workspace::new(&json!({
        "long": { "command": ["sleep", "1000"] },
        "flap": { "command": "exit 4", "retry": { "count": 1, "backoff_seconds": 0.05 } },
    }));
    let json = |arguments: &[&str]| {
        let mut all = vec!["--output", "json"];
        all.extend(arguments);
        workspace.run(&all)
    };
    let (code, _, stderr) = json(&["stop", "long"]);
    let error = error_of(&stderr);
    assert_eq!((code, &error["exit"]), (Some(3), &json!(3)));
    assert!(error["act"].as_str().unwrap().starts_with("find a supervisor"), "{stderr}");
    assert_eq!(
        (&error["message"], &error["hint"]),
        (&json!("nothing runs here"), &json!("`restage up` starts one"))
    );

    let (code, stdout, _) = json(&["up", "--detach"]);
    assert_eq!(
        (code, object(&stdout)["supervisor_pid"].as_i64()),
        (Some(0), Some(workspace.supervisor().into()))
    );
    let (code, stdout, stderr) = json(&["wait", "flap"]);
    assert_eq!((code, &object(&stdout)[0]["exhausted"]), (Some(1), &json!(true)));
    assert_eq!(error_of(&stderr)["message"], "flap is exhausted (exit 4)");
    let (code, stdout, _) = json(&["wait", "long", "--for", "running"]);
    assert_eq!((code, &object(&stdout)[0]["status"]), (Some(0), &json!("running")));
    let (code, _, stderr) = json(&["wait", "long", "--timeout", "0.01"]);
    assert_eq!((code, &error_of(&stderr)["exit"]), (Some(124), &json!(124)));
    let (_, stdout, _) = json(&["why", "flap"]);
    let why = object(&stdout);
    assert_eq!((&why["name"], &why["exhausted"]), (&json!("flap"), &json!(true)));
    assert!(why["why"].as_str().unwrap().contains("Its only retry is used."), "{why}");
    for verb in ["restart", "stop", "start", "kill"] {
        let (code, stdout, stderr) = json(&[verb, "long"]);
        assert_eq!((code, &object(&stdout)[0]["name"]), (Some(0), &json!("long")), "{verb}: {stderr}");
    }
    assert_eq!(error_of(&json(&["start", "nobody"]).2)["act"], "start nobody");
    assert_eq!(error_of(&json(&["start"]).2)["exit"], 2);
    json(&["start", "long"]);
    let (code, stdout, stderr) = json(&["down"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.lines().map(object).any(|event| event["event"] == "ended"), "{stdout}");
}

#[test]
fn what_was_recorded_is_shown_where_nobody_supervises() {
    let workspace = Workspace::new(&json!({
        "good": { "command": "true", "group": "g" },
        "bad": { "command": "exit 3", "retry_on_crash": false },
        "late": { "command": "true", "autostart": false },
    }));
    assert_eq!(workspace.run(&["status"]).0, Some(3), "there is no state at all");
    assert_eq!(workspace.run(&["why", "good"]).0, Some(3));
    assert_eq!(workspace.run(&["up", "--no-tui"]).0, Some(1));
    let table = workspace.ok(&["status"]);
    assert!(table.contains("no supervisor runs; as recorded") && table.contains("✔ good"), "{table}");
    let rows = workspace.status();
    let words: Vec<&str> = rows.iter().map(|row| row["status"].as_str().unwrap()).collect();
    assert_eq!(words, ["crashed", "completed", "idle"]);
    assert!(rows.iter().all(|row| row["supervised"] == false && row["pid"].is_null()));
    assert_eq!(
        (&rows[0]["verdict"], &rows[0]["exit_code"], &rows[1]["group"]),
        (&json!("exit"), &json!(3), &json!("g"))
    );
    let why = workspace.ok(&["why", "bad"]);
    assert!(why.starts_with("No supervisor runs; this is what was recorded. bad is not running"), "{why}");
    assert_eq!(workspace.run(&["why", "nobody"]).0, Some(3));
    assert_eq!(workspace.run(&["status", "--watch"]).0, Some(3));
    // A killed headless run has taken everything with it: nothing is shown as running.
    std::fs::write(workspace.path("config.json"), r#"{"runners": {"long": {"command": "exec sleep 1000"}}}"#)
        .unwrap();
    let mut child = workspace.foreground(&["up", "--no-tui"]);
    wait_until("it runs", || workspace.run(&["wait", "long", "--for", "running"]).0 == Some(0));
    kill_9(i32::try_from(child.id()).unwrap());
    child.wait().unwrap();
    let row = workspace.runner("long");
    assert_eq!((&row["status"], &row["supervised"]), (&json!("stopped"), &json!(false)));
    assert!(workspace.ok(&["why", "long"]).contains("it was running when its supervisor went away"));
}

fn following(workspace: &Workspace, arguments: &[&str]) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = workspace.foreground(arguments);
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

#[test]
fn following_a_log_ends_when_the_runner_rests() {
    let workspace = Workspace::new(&json!({
        "two": {
            "command": "echo attempt $RESTAGE_ATTEMPT; test -e go || { touch go; exit 1; }; while ! test -e end; do sleep 0.05; done; echo last",
        },
    }));
    workspace.ok(&["up", "--detach"]);
    wait_until("it has a log", || workspace.run(&["logs", "two"]).0 == Some(0));
    let (child, mut out) = following(&workspace, &["logs", "two", "-f", "-n", "all", "--attempt", "1"]);
    let mut line = String::new();
    for expected in ["attempt 1\n", "attempt 2\n"] {
        line.clear();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, expected);
    }
    // Its supervisor is killed meanwhile, and has a successor.
    let before = workspace.supervisor();
    kill_9(before);
    wait_until("a successor", || workspace.supervisor() != before);
    std::fs::write(workspace.path("end"), "").unwrap();
    line.clear();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "last\n");
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("==> two is completed; `restage start two` starts it again <=="), "{stderr}");
    workspace.ok(&["down"]);
    let (code, stdout, stderr) = workspace.run(&["logs", "-f", "two"]);
    assert_eq!((code, stdout.as_str()), (Some(0), "attempt 2\nlast\n"));
    assert!(stderr.contains("no supervisor runs"), "{stderr}");
}

#[test]
fn readers_that_go_away_are_noticed_in_silence() {
    let workspace = Workspace::new(&json!({ "quiet": { "command": "echo up; exec sleep 1000" } }));
    workspace.ok(&["up", "--detach"]);
    wait_until("it has a log", || workspace.run(&["logs", "quiet"]).1 == "up\n");
    for arguments in [&["logs", "-f", "quiet"][..], &["status", "--watch"]] {
        let (mut child, mut out) = following(&workspace, arguments);
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        drop(out);
        wait_until(&format!("the end of {arguments:?}"), || child.try_wait().unwrap().is_some());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn waits_and_watches_follow_to_a_successor() {
    let workspace = Workspace::new(&json!({
        "work": { "command": "while ! test -e end; do sleep 0.05; done; exit 5", "retry_on_crash": false },
    }));
    workspace.ok(&["up", "--detach"]);
    workspace.ok(&["wait", "work", "--for", "running"]);
    let mut waiting = workspace.foreground(&["wait", "work"]);
    let mut watching =
        workspace.command(&["status", "--watch", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut tables = BufReader::new(watching.stdout.take().unwrap()).lines();
    assert!(tables.next().unwrap().unwrap().contains("running"));
    let before = workspace.supervisor();
    kill_9(before);
    wait_until("a successor", || workspace.supervisor() != before);
    workspace.ok(&["wait", "work", "--for", "running"]);
    assert!(waiting.try_wait().unwrap().is_none());
    std::fs::write(workspace.path("end"), "").unwrap();
    let output = waiting.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("wait for work: work is crashed (exit 5)"), "{stderr}");
    assert!(tables.any(|line| line.unwrap().contains("\"status\":\"crashed\"")));
    watching.kill().unwrap();
    watching.wait().unwrap();
}

#[test]
fn a_wait_for_a_headless_run_ends_with_its_outcome() {
    let workspace = Workspace::new(&json!({
        "good": { "command": "while ! test -e end; do sleep 0.05; done" },
    }));
    let mut run = workspace.foreground(&["up", "--no-tui"]);
    wait_until("it runs", || workspace.run(&["wait", "good", "--for", "running"]).0 == Some(0));
    let waiting = workspace.foreground(&["wait", "good"]);
    std::fs::write(workspace.path("end"), "").unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(0));
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}
