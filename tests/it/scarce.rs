//! A session that allows few open files: new work waits, visibly and without a retry, stops still work, nothing is left
//! half started, and a start that cannot be says so.

use std::process::{Child, Command, Stdio};

use serde_json::{Map, Value, json};

use crate::support::workspace::Workspace;
use crate::support::{RESTAGE, wait_until};

const RUNNERS: usize = 100;

fn headless(workspace: &Workspace, files: usize) -> Child {
    let surroundings = workspace.command(&[]);
    Command::new("sh")
        .args(["-c", &format!("ulimit -n {files} && exec {RESTAGE} up --no-tui")])
        .current_dir(workspace.path(""))
        .envs(surroundings.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(workspace.path("told")).unwrap())
        .spawn()
        .unwrap()
}

/// Everything but restage itself that runs in the folder of the workspace.
fn processes(workspace: &Workspace) -> usize {
    let folder = workspace.path("").canonicalize().unwrap();
    let all = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    all.filter(|entry| std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == folder))
        .filter(|entry| {
            std::fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm == "sleep\n")
        })
        .count()
}

fn many(stdio: &str) -> Workspace {
    let runner = json!({ "command": ["sleep", "1000"], "stdio": stdio });
    let runners: Map<String, Value> = (0..RUNNERS).map(|at| (format!("r{at}"), runner.clone())).collect();
    Workspace::new(&Value::Object(runners))
}

#[test]
fn what_needs_more_files_than_there_are_waits_and_spends_no_retry() {
    let workspace = many("pipe");
    let mut child = headless(&workspace, 48);
    let of = |status: &str| workspace.status().iter().filter(|row| row["status"] == status).count();
    let there = || workspace.run(&["status"]).1.contains("headless supervisor");
    wait_until("a supervisor", there);
    wait_until("all have had their turn", || of("running") + of("backoff") == RUNNERS);
    let rows = workspace.status();
    let running = of("running");
    assert!(running > 10 && running < RUNNERS, "{running}");
    assert!(rows.iter().all(|row| row["retry_count"] == 0 && row["verdict"].is_null()));
    let waiting =
        rows.iter().find(|row| row["status"] == "backoff").unwrap()["name"].as_str().unwrap().to_owned();
    assert!(workspace.ok(&["why", &waiting]).contains("Too many open files"));
    // Stops work, and what waits takes the room that they make.
    let some: Vec<&str> = rows
        .iter()
        .filter(|row| row["status"] == "running")
        .take(5)
        .map(|row| row["name"].as_str().unwrap())
        .collect();
    let mut stop = vec!["stop"];
    stop.extend(&some);
    assert_eq!(workspace.ok(&stop).matches("  stopped\n").count(), 5);
    wait_until("others in their place", || of("running") > running - 5);
    workspace.ok(&["down"]);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(processes(&workspace), 0);
}

#[test]
fn files_cost_no_descriptor_and_too_few_are_told() {
    let workspace = many("file");
    let mut child = headless(&workspace, 32);
    let running = || workspace.status().iter().filter(|row| row["status"] == "running").count();
    wait_until("a state", || workspace.run(&["status"]).0 == Some(0));
    wait_until("all of them", || running() == RUNNERS);
    workspace.ok(&["down"]);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(processes(&workspace), 0);
    for files in [10, 14] {
        let mut child = headless(&workspace, files);
        assert_eq!(child.wait().unwrap().code(), Some(1), "{files}");
        let told = std::fs::read_to_string(workspace.path("told")).unwrap();
        assert!(told.contains("Too many open files") && told.contains("  hint: "), "{files}: {told}");
    }
    // None of these has changed anything: the next one begins anew.
    let mut child = headless(&workspace, 200);
    wait_until("all of them again", || running() == RUNNERS);
    workspace.ok(&["down"]);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_disk_without_room_for_the_lock_is_told_and_wedges_nothing() {
    let workspace = Workspace::new(&json!({}));
    let flow = json!({ "stages": [{ "name": "a", "command": ["true"] }] });
    std::fs::write(workspace.path("config.json"), json!({ "flows": { "v": flow } }).to_string()).unwrap();
    std::fs::create_dir_all(workspace.path(".restage")).unwrap();
    let lock = workspace.path(".restage/supervisor.lock");
    std::os::unix::fs::symlink("/dev/full", &lock).unwrap();
    for arguments in [&["run", "v", "--detach"][..], &["run", "v"], &["up", "--no-tui"]] {
        let (code, _, told) = workspace.run(arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {told}");
        assert!(told.contains("No space left on device") && told.contains("make room"), "{told}");
    }
    assert_eq!(workspace.run(&["status"]).0, Some(3), "nobody is left behind");
    std::fs::remove_file(&lock).unwrap();
    workspace.ok(&["run", "v"]);
    workspace.ok(&["run", "v", "--detach"]);
}
