//! A copied folder is a workspace of its own, also while the original runs: whatever names processes in it came along
//! and is of the original.

use serde_json::{Value, json};

use crate::support::workspace::Workspace;
use crate::support::{is_alive, kill_9, pid_in, wait_until};

/// Two runners that live until they are stopped, with the state in the folder, so that it is copied, too.
fn original() -> Workspace {
    let workspace = Workspace::new(&json!({}));
    let say = |name: &str| format!("echo $$ > {name}.pid; exec sleep 1000");
    let config = json!({
        "stop_grace_seconds": 1,
        "cache_dir": ".restage/state",
        "runners": {
            "agent": { "command": ["sh", "-c", say("agent")] },
            "other": { "command": ["sh", "-c", say("other")] },
        },
        "flows": { "f": { "stages": [{ "name": "s", "command": ["sh", "-c", say("stage")] }] } },
    });
    std::fs::write(workspace.path("config.json"), config.to_string()).unwrap();
    workspace
}

fn pids(workspace: &Workspace, names: &[&str]) -> Vec<i32> {
    names.iter().map(|name| pid_in(&workspace.path(&format!("{name}.pid")))).collect()
}

fn statuses(workspace: &Workspace) -> Vec<Value> {
    workspace.status().into_iter().map(|row| row["status"].clone()).collect()
}

/// What a verb changes is changed in the copy only.
#[test]
fn verbs_in_a_copy_concern_the_copy() {
    let original = original();
    original.ok(&["up", "--detach"]);
    let lives = pids(&original, &["agent", "other"]);
    let copy = original.copy();
    for verb in [&["stop", "agent"][..], &["restart", "other"], &["down"], &["down", "--kill"]] {
        let (code, _, stderr) = copy.run(verb);
        assert_eq!(code, Some(3), "{verb:?}: {stderr}");
        assert!(stderr.contains("nothing runs here"), "{verb:?}: {stderr}");
    }
    assert!(!copy.run(&["status", "--json"]).1.contains("running"));
    assert_eq!(statuses(&original), ["running", "running"]);

    copy.ok(&["up", "--detach"]);
    assert_ne!(copy.supervisor(), original.supervisor());
    let own = || pids(&copy, &["agent", "other"]);
    wait_until("own processes", || own().iter().all(|pid| !lives.contains(pid) && is_alive(*pid)));
    copy.ok(&["stop", "agent"]);
    assert_eq!(statuses(&copy), ["stopped", "running"]);
    copy.ok(&["down"]);
    assert!(!own().iter().any(|pid| is_alive(*pid)));
    assert_eq!(statuses(&original), ["running", "running"]);
    assert!(lives.iter().all(|pid| is_alive(*pid)));
    original.ok(&["down"]);
    assert!(!lives.iter().any(|pid| is_alive(*pid)));
}

/// Whoever asks in the copy while the original has no supervisor, or neither that nor a keeper, finds nothing to take
/// over.
#[test]
fn a_copy_takes_over_nothing_of_an_original_without_supervisor_or_keeper() {
    let original = original();
    original.ok(&["up", "--detach"]);
    let lives = pids(&original, &["agent", "other"]);
    let keeper = || -> i32 {
        let sign = std::fs::read(original.path(".restage/keeper.lock")).unwrap();
        let sign: Value = serde_json::from_slice(&sign).unwrap();
        sign["pid"].as_i64().unwrap().try_into().unwrap()
    };
    let (before, first) = (keeper(), original.supervisor());
    // Nobody may start a successor before we have looked.
    unsafe { libc::kill(before, libc::SIGSTOP) };
    kill_9(first);
    let copy = original.copy();
    copy.run(&["status"]);
    assert_eq!(copy.run(&["stop", "agent"]).0, Some(3));
    copy.ok(&["up", "--detach"]);
    wait_until("own processes", || pids(&copy, &["agent"]).iter().all(|pid| !lives.contains(pid)));
    // The guard becomes the keeper: what the copy was told of the one before says nothing any more.
    kill_9(before);
    wait_until("a successor", || original.holder().is_some_and(|holder| holder["pid"] != first));
    copy.ok(&["down"]);
    let again = original.copy();
    again.ok(&["up", "--detach"]);
    wait_until("own processes", || pids(&again, &["agent"]).iter().all(|pid| !lives.contains(pid)));
    again.ok(&["down"]);
    assert_eq!(statuses(&original), ["running", "running"]);
    assert!(lives.iter().all(|pid| is_alive(*pid)));
    original.ok(&["down"]);
    assert!(!lives.iter().any(|pid| is_alive(*pid)));
}

/// A run that lay unfinished in the copied history is the original's: it works in that folder.
#[test]
fn an_unfinished_run_goes_on_in_the_original_and_not_in_the_copy() {
    let original = original();
    original.ok(&["run", "f", "--detach"]);
    let stage = pid_in(&original.path("stage.pid"));
    let copy = original.copy();
    copy.ok(&["up", "--detach"]);
    let run = || -> Value { serde_json::from_str(&copy.ok(&["show", "f-1", "--json"])).unwrap() };
    wait_until("the copied run has ended", || run()["status"] == "failed");
    let why = run()["error"].as_str().unwrap().to_owned();
    assert!(
        why.contains("is a copy of")
            && why.contains(original.path("").to_str().unwrap().trim_end_matches('/')),
        "{why}"
    );
    copy.ok(&["run", "f", "--detach"]);
    wait_until("a stage in the copy", || pid_in(&copy.path("stage.pid")) != stage);
    // What begins here is the copy's own, also for its next supervisor.
    kill_9(copy.supervisor());
    let running = || copy.run(&["show", "f-2", "--json"]).1.contains("\"running\"");
    wait_until("the run goes on under the next one", || copy.run(&["status"]).0 == Some(0) && running());
    copy.ok(&["down"]);
    assert_eq!(pid_in(&original.path("stage.pid")), stage);
    assert!(is_alive(stage));
    original.ok(&["down"]);
}
