//! Down means down, and what is too long stands in nobody's way.

use std::fs;

use restage::keeper::link::living_keeper;
use serde_json::{Value, json};

use crate::support::workspace::Workspace;
use crate::support::{is_alive, kill_9, pid_in, wait_until};

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

/// What lives there is looked after until it ends; then nobody is started any more.
#[test]
fn a_keeper_whose_workspace_was_deleted_ends_with_the_last_that_lives() {
    let workspace = Workspace::new(&json!({ "agent": { "command": "echo $$ > pid; exec sleep 1000" } }));
    workspace.ok(&["up", "--detach"]);
    wait_until("it runs", || workspace.runner("agent")["status"] == "running");
    let agent = pid_in(&workspace.path("pid"));
    let keeper = living_keeper(&workspace.path(".restage")).unwrap();
    let supervisor = workspace.supervisor();
    unsafe { libc::kill(supervisor, libc::SIGSTOP) };
    for entry in fs::read_dir(workspace.path("")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }
    kill_9(supervisor);
    wait_until("it is dead", || !is_alive(supervisor));
    assert!(is_alive(keeper) && is_alive(agent));
    kill_9(agent);
    wait_until("the keeper has ended", || !is_alive(keeper));
    fs::write(workspace.path("config.json"), "{}").unwrap();
    assert_eq!(workspace.run(&["down"]).0, Some(3), "nobody supervises");
}
