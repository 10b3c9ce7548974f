//! The verbs on the built program: what they print, how they end, and what a second one, a stopped one, a killed one and
//! a deleted socket do.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::support::workspace::Workspace;
use crate::support::{RESTAGE, is_alive, kill_9, wait_until};

fn signal(pid: i32, signal: i32) {
    assert!(pid > 1);
    unsafe { libc::kill(pid, signal) };
}

fn signal_child(child: &Child, number: i32) {
    signal(i32::try_from(child.id()).unwrap(), number);
}

fn read_all(stream: &mut Option<impl Read>) -> String {
    let mut text = String::new();
    stream.take().unwrap().read_to_string(&mut text).unwrap();
    text
}

#[test]
fn headless_ends_with_its_work_and_tells_it_in_lines_to_grep() {
    let workspace = Workspace::new(&json!({
        "good": { "command": "echo fine" },
        "bad": { "command": "exit 3", "retry": { "count": 2, "backoff_seconds": 0.05 } },
    }));
    let (code, stdout, stderr) = workspace.run(&["up", "--no-tui"]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    for line in [
        " bad     Retrying runner bad (retry 2/2) in 0.1s\n",
        " bad     Max retries (2) reached for bad\n",
        " good    Ended good (attempt 1): completed\n",
        "; 1 completed, 1 failed (bad)\n",
    ] {
        assert!(stderr.contains(line), "{line:?} is missing in\n{stderr}");
    }
    assert!(!stderr.contains('\x1b'), "no colours into a pipe");
    let own = std::fs::read_to_string(workspace.path(".restage/logs/restage.log")).unwrap();
    let lines: Vec<Value> = own.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        lines
            .iter()
            .any(|line| line["message"] == "Max retries (2) reached for bad" && line["runner"] == "bad")
    );
    let (code, _, stderr) = workspace.run(&["--no-tui", "up", "good"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(!stderr.contains("Started bad"), "{stderr}");
    assert_eq!(workspace.ok(&["logs", "good", "-n", "all"]), "fine\n");
}

#[test]
fn json_goes_to_stdout_one_event_a_line() {
    let workspace = Workspace::new(&json!({ "good": { "command": "true" } }));
    let (code, stdout, stderr) = workspace.run(&["up", "--output", "json"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let events: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = events.iter().filter_map(|event| event["event"].as_str()).collect();
    assert_eq!(kinds, ["started", "ended", "info"]);
    assert_eq!(events[1]["outcome"]["verdict"], "completed");
}

#[test]
fn a_signal_stops_everything_first_and_is_told_by_the_exit_code() {
    let workspace = Workspace::new(&json!({ "long": { "command": ["sleep", "1000"] } }));
    for number in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        let mut child = workspace.foreground(&["--no-tui"]);
        wait_until("it runs", || workspace.run(&["wait", "long", "--for", "running"]).0 == Some(0));
        let pid = i32::try_from(workspace.runner("long")["pid"].as_i64().unwrap()).unwrap();
        signal_child(&child, number);
        let stderr = read_all(&mut child.stderr);
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(128 + number), "{stderr}");
        assert!(stderr.contains("Ended long (attempt"), "{stderr}");
        assert!(!is_alive(pid));
    }
}

#[test]
fn the_second_signal_kills() {
    let workspace = Workspace::new(&json!({
        "deaf": { "command": "trap '' TERM; echo up; while :; do sleep 1; done", "stop_grace_seconds": 600 },
    }));
    let mut child = workspace.foreground(&["--no-tui"]);
    wait_until("it is deaf", || workspace.run(&["logs", "deaf"]).1 == "up\n");
    signal_child(&child, libc::SIGTERM);
    wait_until("it is being stopped", || workspace.runner("deaf")["status"] == "stopping");
    signal_child(&child, libc::SIGINT);
    let stderr = read_all(&mut child.stderr);
    assert_eq!(child.wait().unwrap().code(), Some(128 + libc::SIGTERM), "{stderr}");
}

#[test]
fn a_signal_that_was_ignored_stays_ignored() {
    let workspace = Workspace::new(&json!({ "long": { "command": ["sleep", "1000"] } }));
    let script = format!("trap '' HUP; exec {RESTAGE} up --no-tui");
    let mut shell = workspace.command(&[]);
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .current_dir(workspace.path(""))
        .envs(shell.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("it runs", || workspace.run(&["wait", "long", "--for", "running"]).0 == Some(0));
    signal_child(&child, libc::SIGHUP);
    // A verb that is answered after the signal shows that it went by.
    assert_eq!(workspace.runner("long")["status"], "running");
    assert!(child.try_wait().unwrap().is_none());
    assert!(shell.arg("down").status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn readers_that_go_away_end_nothing() {
    let workspace = Workspace::new(&json!({
        "count": { "command": "exit 1", "retry": { "count": 5, "backoff_seconds": 0.05, "multiplier": 1 } },
    }));
    let mut child = workspace.foreground(&["up", "--output", "json"]);
    drop(child.stdout.take());
    drop(child.stderr.take());
    let status = child.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(1), None));
    assert!(workspace.path(".restage/logs/count_6.log").exists());
}

#[test]
fn a_second_supervisor_is_told_who_is_there() {
    let workspace = Workspace::new(&json!({ "long": { "command": ["sleep", "1000"] } }));
    workspace.ok(&["up", "--detach"]);
    let pid = workspace.supervisor();
    for arguments in [&["up", "--no-tui"][..], &["up", "--detach"]] {
        let (code, _, stderr) = workspace.run(arguments);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains(&pid.to_string()) && stderr.contains("`restage status`"), "{stderr}");
    }
    let table = workspace.ok(&["status"]);
    assert!(table.contains("● long") && table.contains(&format!("supervisor {pid}")), "{table}");
    workspace.ok(&["down"]);
    assert_eq!(workspace.run(&["down"]).0, Some(3));
}

#[test]
fn of_many_starts_at_once_one_wins() {
    let workspace = Workspace::new(&json!({ "long": { "command": "echo $$ >> pids; exec sleep 1000" } }));
    let starts: Vec<Child> = (0..6).map(|_| workspace.foreground(&["up", "--detach"])).collect();
    let codes: Vec<Option<i32>> =
        starts.into_iter().map(|start| start.wait_with_output().unwrap().status.code()).collect();
    assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == Some(2)).count(), 5, "{codes:?}");
    workspace.ok(&["wait", "long", "--for", "running"]);
    wait_until("it has said its pid", || workspace.path("pids").exists());
    assert_eq!(std::fs::read_to_string(workspace.path("pids")).unwrap().lines().count(), 1);
}

#[test]
fn one_that_is_stopped_is_reported_and_not_replaced() {
    let workspace = Workspace::new(&json!({ "long": { "command": ["sleep", "1000"] } }));
    workspace.ok(&["up", "--detach"]);
    let pid = workspace.supervisor();
    signal(pid, libc::SIGSTOP);
    for arguments in [&["status"][..], &["up", "--no-tui"], &["down"]] {
        let (code, _, stderr) = workspace.run(arguments);
        assert!(matches!(code, Some(1 | 2)), "{arguments:?}: {code:?}");
        assert!(stderr.contains("is stopped (state T)") && stderr.contains("kill -CONT"), "{stderr}");
    }
    signal(pid, libc::SIGCONT);
    workspace.ok(&["status"]);
    assert_eq!(workspace.supervisor(), pid);
}

#[test]
fn deleted_sockets_come_back() {
    let workspace = Workspace::new(&json!({ "long": { "command": ["sleep", "1000"] } }));
    workspace.ok(&["up", "--detach"]);
    workspace.ok(&["wait", "long", "--for", "running"]);
    let pid = workspace.runner("long")["pid"].clone();
    let socket = PathBuf::from(workspace.holder().unwrap()["socket"].as_str().unwrap());
    std::fs::remove_file(&socket).unwrap();
    assert_eq!(workspace.runner("long")["pid"], pid);
    // With the folder moved away as a whole, only a verb that knocks makes it look.
    std::fs::rename(workspace.path("run"), workspace.path("gone")).unwrap();
    assert_eq!(workspace.runner("long")["pid"], pid);
}

#[test]
fn a_deleted_folder_makes_no_room_for_a_second_supervisor() {
    let workspace = Workspace::new(&json!({ "long": { "command": ["sleep", "1000"] } }));
    workspace.ok(&["up", "--detach"]);
    workspace.ok(&["wait", "long", "--for", "running"]);
    let (pid, child) = (workspace.supervisor(), workspace.runner("long")["pid"].clone());
    // What is missed is made anew at once, perhaps while the rest is being deleted.
    wait_until("it is deleted", || std::fs::remove_dir_all(workspace.path(".restage")).is_ok());
    for arguments in [&["up", "--detach"][..], &["up", "--no-tui"]] {
        let (code, _, stderr) = workspace.run(arguments);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains(&pid.to_string()), "{stderr}");
    }
    assert_eq!(workspace.runner("long")["pid"], child);
    assert_eq!(workspace.supervisor(), pid);
    let own = || std::fs::read_to_string(workspace.path(".restage/logs/restage.log")).unwrap_or_default();
    wait_until("it is told", || own().contains(".restage was deleted while it was in use"));
    // With the lock file back, everything is as before, also at its death.
    kill_9(pid);
    wait_until("a successor", || workspace.holder().is_some_and(|holder| holder["pid"] != pid));
    assert_eq!(workspace.runner("long")["pid"], child);
    workspace.ok(&["restart", "long"]);
    workspace.ok(&["down"]);
}

#[test]
fn a_start_right_after_a_kill_waits_for_the_dying() {
    let workspace = Workspace::new(&json!({
        "long": { "command": "trap '' TERM; echo up; while :; do sleep 0.2; done", "stop_grace_seconds": 0.5 },
    }));
    for turn in 1..=4 {
        let mut child = workspace.foreground(&["up", "--no-tui"]);
        wait_until("it runs", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("{status}: {}", read_all(&mut child.stderr));
            }
            workspace.run(&["wait", "long", "--for", "running"]).0 == Some(0)
        });
        let before = i32::try_from(workspace.runner("long")["pid"].as_i64().unwrap()).unwrap();
        signal_child(&child, libc::SIGKILL);
        let arguments = if turn % 2 == 0 { ["up", "--detach"] } else { ["--output=json", "--detach"] };
        workspace.ok(&arguments);
        workspace.ok(&["wait", "long", "--for", "running", "--timeout", "10"]);
        assert!(!is_alive(before), "two attempts at once");
        assert_ne!(workspace.runner("long")["pid"], before);
        child.wait().unwrap();
        workspace.ok(&["down", "--kill"]);
    }
}

#[test]
fn whoever_lists_processes_finds_restage() {
    let workspace = Workspace::new(&json!({ "long": { "command": ["sleep", "1000"] } }));
    workspace.ok(&["up", "--detach"]);
    workspace.ok(&["wait", "long", "--for", "running"]);
    let supervisor = workspace.supervisor();
    let keeper = parent_of(i32::try_from(workspace.runner("long")["pid"].as_i64().unwrap()).unwrap());
    for (pid, comm) in
        [(supervisor, "restage"), (keeper, "restage-keeper"), (parent_of(keeper), "restage-guard")]
    {
        let read = |what| std::fs::read_to_string(format!("/proc/{pid}/{what}")).unwrap();
        assert_eq!(read("comm").trim(), comm);
        assert!(read("cmdline").starts_with("restage\0"), "{}", read("cmdline"));
    }
    kill_9(supervisor);
    wait_until("a successor", || workspace.supervisor() != supervisor);
    let name = std::fs::read_to_string(format!("/proc/{}/comm", workspace.supervisor())).unwrap();
    assert_eq!(name, "restage\n");
}

#[test]
fn a_limit_that_cannot_be_had_is_found_before_anything_starts() {
    let workspace = Workspace::new(&json!({}));
    let config =
        "{\n  \"runners\": { \"a\": { \"command\": \"true\", \"limits\": { \"nofile\": 4000000000 } } }\n}\n";
    std::fs::write(workspace.path("config.json"), config).unwrap();
    let (code, _, stderr) = workspace.run(&["check"]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(
        stderr.starts_with("config.json:2:64: runners.a.limits.nofile: 4000000000 is more than"),
        "{stderr}"
    );
}

#[test]
fn what_runs_is_looked_after_though_the_config_is_broken_or_gone() {
    let workspace = Workspace::new(&json!({
        "long": { "command": ["sleep", "1000"] },
        "other": { "command": ["sleep", "1000"] },
    }));
    workspace.ok(&["up", "--detach"]);
    workspace.ok(&["wait", "long", "other", "--for", "running"]);
    let child = workspace.runner("long")["pid"].clone();
    let config = workspace.path("config.json");
    let whole = std::fs::read(&config).unwrap();
    let own = || std::fs::read_to_string(workspace.path(".restage/logs/restage.log")).unwrap();
    for broken in [Some(&whole[..whole.len() / 2]), None] {
        match broken {
            Some(text) => std::fs::write(&config, text).unwrap(),
            None => std::fs::remove_file(&config).unwrap(),
        }
        let supervisor = workspace.supervisor();
        kill_9(supervisor);
        wait_until("a successor", || workspace.holder().is_some_and(|holder| holder["pid"] != supervisor));
        assert_eq!(workspace.runner("long")["pid"], child);
    }
    wait_until("it is told", || own().contains("is not valid; the old one stays"));
    workspace.ok(&["stop", "long"]);
    wait_until("it has stopped", || workspace.runner("long")["status"] == "stopped");
    // What was written meanwhile counts as soon as it can be read.
    let edited = json!({ "runners": { "new": { "command": ["sleep", "1000"] } } });
    std::fs::write(&config, edited.to_string()).unwrap();
    wait_until("it is read", || workspace.status().iter().any(|row| row["name"] == "new"));
    workspace.ok(&["down"]);
    // Nobody is looked after, so that it must be whole.
    std::fs::write(&config, "{").unwrap();
    assert_eq!(workspace.run(&["up", "--detach"]).0, Some(2));
}

#[test]
fn a_verb_takes_over_what_was_left_running() {
    let workspace = Workspace::new(&json!({ "long": { "command": ["sleep", "1000"] } }));
    workspace.ok(&["up", "--detach"]);
    workspace.ok(&["wait", "long", "--for", "running"]);
    let child = i32::try_from(workspace.runner("long")["pid"].as_i64().unwrap()).unwrap();
    let supervisor = workspace.supervisor();
    // The guard and the keeper first, so that nobody starts a successor.
    let keeper: Value =
        serde_json::from_slice(&std::fs::read(workspace.path(".restage/keeper.lock")).unwrap()).unwrap();
    let keeper = i32::try_from(keeper["pid"].as_i64().unwrap()).unwrap();
    let guard = parent_of(keeper);
    signal(guard, libc::SIGSTOP);
    signal(keeper, libc::SIGSTOP);
    for pid in [supervisor, guard, keeper] {
        kill_9(pid);
    }
    wait_until("they are dead", || ![supervisor, guard, keeper].into_iter().any(is_alive));
    assert!(is_alive(child));
    let (code, stdout, stderr) = workspace.run(&["status", "--json"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("has taken over what was left running"), "{stderr}");
    let rows: Vec<Value> = serde_json::from_str(&stdout).unwrap();
    assert_eq!(rows[0]["pid"], child);
    assert_eq!(rows[0]["status"], "running");
}

fn parent_of(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn orders_and_waits_have_their_exit_codes() {
    let workspace = Workspace::new(&json!({
        "long": { "command": ["sleep", "1000"] },
        "later": { "command": "exit 5", "autostart": false, "retry_on_crash": false },
        "flap": { "command": "exit 4", "retry": { "count": 3, "backoff_seconds": 200 } },
    }));
    assert_eq!(workspace.run(&["stop", "long"]).0, Some(3), "nothing runs here");
    workspace.ok(&["up", "--detach"]);
    workspace.ok(&["wait", "long", "--for", "ready", "--timeout", "20"]);
    assert_eq!(workspace.run(&["wait", "long", "--timeout", "0.05"]).0, Some(124));
    assert_eq!(workspace.run(&["wait", "later", "--for", "running"]).0, Some(1));
    assert_eq!(workspace.run(&["restart", "nobody"]).0, Some(3));
    assert_eq!(workspace.run(&["stop"]).0, Some(2));
    workspace.ok(&["start", "later"]);
    assert_eq!(workspace.run(&["wait", "later"]).0, Some(1));
    wait_until("flap waits", || workspace.runner("flap")["status"] == "backoff");
    assert!(workspace.ok(&["why", "flap"]).contains("1 of 3 retries is used"));
    assert_eq!(workspace.ok(&["stop", "flap"]), "flap  stopped\n");
    let before = workspace.runner("long")["pid"].clone();
    workspace.ok(&["restart", "long"]);
    wait_until("it runs again", || {
        let row = workspace.runner("long");
        row["status"] == "running" && row["pid"] != before
    });
    assert_eq!(workspace.ok(&["kill", "long"]), "long  stopped\n");
    let row = workspace.runner("long");
    assert_eq!((&row["verdict"], &row["attempt"]), (&json!("stopped"), &json!(2)));
}

#[test]
fn configs_are_found_upwards_and_told_about() {
    let workspace = Workspace::new(&json!({ "good": { "command": "true" } }));
    let deep = workspace.path("a/b");
    std::fs::create_dir_all(&deep).unwrap();
    let run = |folder: &Path, arguments: &[&str]| {
        let output = workspace.command(arguments).current_dir(folder).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, stdout, stderr) = run(&deep, &["check"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        stderr.contains("restage: using ") && stdout.contains("1 runner, ready to start"),
        "{stderr}{stdout}"
    );
    let elsewhere = tempfile::tempdir().unwrap();
    let (code, _, stderr) = run(elsewhere.path(), &["up"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("find config.json") && stderr.contains("  hint: "), "{stderr}");
    std::fs::write(workspace.path("config.json"), r#"{"runners": {"a": {"comand": "true"}}}"#).unwrap();
    let (code, stdout, _) = workspace.run(&["check", "--json"]);
    assert_eq!(code, Some(2));
    let problems: Vec<Value> = serde_json::from_str(&stdout).unwrap();
    assert!(problems.iter().any(|problem| problem["line"] == 1), "{stdout}");
    let (code, _, stderr) = workspace.run(&["up", "--detach"]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("comand") && !workspace.path(".restage").exists(), "{stderr}");
}

#[test]
fn one_wrong_value_is_told_once() {
    let workspace = Workspace::new(&json!({}));
    let stage = r#"{"name": "s", "command": "x"}"#;
    let text = format!(
        r#"{{"flows": {{"f": {{"retry_on_failure": true, "retry_count": 11, "stages": [{stage}]}}}}}}"#
    );
    std::fs::write(workspace.path("config.json"), text).unwrap();
    let (code, stdout, _) = workspace.run(&["check", "--json"]);
    assert_eq!(code, Some(2));
    let problems: Vec<Value> = serde_json::from_str(&stdout).unwrap();
    let told: Vec<&str> = problems.iter().map(|problem| problem["message"].as_str().unwrap()).collect();
    assert_eq!(told, ["expected at most 10, found 11"]);
}

#[test]
fn doctor_has_a_line_for_each_thing() {
    let workspace = Workspace::new(&json!({}));
    let (code, stdout, _) = workspace.run(&["doctor"]);
    assert!(matches!(code, Some(0 | 1)));
    for subject in ["kernel", "pidfd", "cgroup v2", "runtime folder", "state folder", "open files", "inotify"]
    {
        assert!(stdout.lines().any(|line| line.contains(subject)), "{subject} is missing in\n{stdout}");
    }
    let findings: Vec<Value> =
        serde_json::from_str(&workspace.run(&["doctor", "--output", "json"]).1).unwrap();
    assert!(findings.len() >= 10);
}

#[test]
fn completions_are_printed() {
    let workspace = Workspace::new(&json!({}));
    for shell in ["bash", "zsh", "fish"] {
        assert!(workspace.ok(&["completions", shell]).contains("restage"));
    }
}

#[test]
fn an_argument_that_is_no_text_is_told_and_panics_nothing() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let workspace = Workspace::new(&json!({}));
    let bad = OsStr::from_bytes(b"x\xff");
    for before in
        [&["show"][..], &["run", "f", "--key"], &["logs"], &["retry", "f-1", "--set"], &["show", "--json"]]
    {
        let output = workspace.command(before).arg(bad).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{before:?}: {told}");
        assert!(told.contains("UTF-8") && !told.contains("panicked"), "{told}");
    }
}
