//! Down means down, and what is too long stands in nobody's way.

use std::fs;

use restage::keeper::link::living_keeper;
use serde_json::{Value, json};

use crate::support::workspace::Workspace;
use crate::support::{is_alive, kill_9, wait_until};

/// Its supervisor has recorded the clean end and dies before the keeper hears the goodbye.
#[test]
fn a_supervisor_that_dies_right_after_its_clean_end_is_followed_by_nobody_who_starts_anything() {
    let workspace = Workspace::new(&json!({}));
    let config = json!({
        "cache_dir": ".restage/state",
        "runners": { "once": { "command": ["sh", "-c", "echo >> starts"], "restart": "never" } },
    });
    fs::write(workspace.path("config.json"), config.to_string()).unwrap();
    workspace.ok(&["up", "--detach"]);
    wait_until("it has run", || workspace.runner("once")["status"] == "completed");
    let sign = fs::read(workspace.path(".restage/keeper.lock")).unwrap();
    let sign: Value = serde_json::from_slice(&sign).unwrap();
    let keeper = i32::try_from(sign["pid"].as_i64().unwrap()).unwrap();
    let supervisor = workspace.supervisor();
    unsafe { libc::kill(keeper, libc::SIGSTOP) };
    let snapshot = workspace.path(".restage/state/runner_state.json");
    let is_taken_in = || fs::read_to_string(&snapshot).is_ok_and(|text| text.contains("\"completed\""));
    wait_until("the state is written", is_taken_in);
    kill_9(supervisor);
    wait_until("it is dead", || !is_alive(supervisor));
    let text = fs::read_to_string(&snapshot).unwrap();
    fs::write(&snapshot, text.replace("\"clean_end\": false", "\"clean_end\": true")).unwrap();
    fs::write(workspace.path(".restage/state/runner_state.journal"), "").unwrap();
    assert_eq!(workspace.run(&["stop", "once"]).0, Some(3), "nobody is started by who only asks");
    unsafe { libc::kill(keeper, libc::SIGCONT) };
    wait_until("the keeper has ended", || !is_alive(keeper));
    wait_until("nobody supervises", || workspace.run(&["stop", "once"]).0 == Some(3));
    assert_eq!(fs::read_to_string(workspace.path("starts")).unwrap(), "\n");
}

/// The keeper takes no line as long as that; the kernel would take no such environment either. Each file by itself is
/// small, and what is in them grows on the line.
#[test]
fn an_environment_that_is_too_long_fails_by_itself_and_hinders_nobody() {
    let files: Vec<String> = (0..20).map(|number| format!("{number}.env")).collect();
    let workspace = Workspace::new(&json!({
        "agent": { "command": ["sleep", "1000"] },
        "big": { "command": ["sleep", "1000"], "env_file": files, "retry": { "enabled": false } },
        "other": { "command": ["sleep", "1000"] },
    }));
    for (number, file) in files.iter().enumerate() {
        fs::write(workspace.path(file), format!("V{number}='{}'\n", "\u{1}".repeat(200_000))).unwrap();
    }
    workspace.ok(&["up", "--detach"]);
    wait_until("the others run", || {
        ["agent", "other"].iter().all(|name| workspace.runner(name)["status"] == "running")
    });
    let big = || workspace.runner("big");
    wait_until("it has failed", || big()["status"] == "crashed");
    assert_eq!(big()["verdict"], "spawn_failed");
    let told = fs::read_to_string(workspace.path(".restage/logs/restage.log")).unwrap();
    assert!(told.contains("too long for the kernel"), "{told}");
    workspace.ok(&["down", "--kill"]);
}

/// A mount that drops, a folder that is renamed and back: whoever is to supervise next finds nothing there meanwhile.
#[test]
fn a_workspace_that_was_away_for_a_moment_is_supervised_again() {
    let workspace = Workspace::new(&json!({
        "flaky": { "command": "echo >> starts; exit 1", "retry_backoff_seconds": 3 },
    }));
    let starts = || fs::read_to_string(workspace.path("starts")).unwrap_or_default().lines().count();
    workspace.ok(&["up", "--detach"]);
    wait_until("it waits for its next attempt", || workspace.runner("flaky")["status"] == "backoff");
    let keeper = living_keeper(&workspace.path(".restage")).unwrap();
    let supervisor = workspace.supervisor();
    let before = starts();
    let (root, away) = (workspace.path(""), workspace.path("").with_extension("away"));
    unsafe { libc::kill(supervisor, libc::SIGSTOP) };
    fs::rename(&root, &away).unwrap();
    kill_9(supervisor);
    let children = || fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).unwrap();
    wait_until("the next one is started", || !children().is_empty());
    wait_until("it has ended", || children().is_empty());
    assert!(is_alive(keeper));
    fs::rename(&away, &root).unwrap();
    wait_until("it is tried again", || starts() > before);
    assert_ne!(workspace.supervisor(), supervisor);
}
