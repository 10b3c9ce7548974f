//! What a user sees of configs, the demo, silence, timeouts and stops.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::kit::{Outcome, Workspace, ensure, figures, fixture, is_alive, kill, runners, wait};
use crate::survive::{linger, pid_of, running, supervisor_pid};

/// Every problem of a config is told in one go, with its place; nothing is started.
pub(crate) fn configuration() -> Outcome {
    let workspace = Workspace::new(&json!({}));
    let broken = "{\n  \"retry_max_retires\": 3,\n  \"runners\": {\n    \"a\": { \"command\": [], \"cwd\": \"/no/such/folder\" },\n    \"b\": { \"command\": [\"no-such-program-anywhere\"], \"stop_grace_seconds\": -1 }\n  }\n}\n";
    std::fs::write(workspace.path("config.json"), broken).map_err(|error| error.to_string())?;
    for arguments in [&["check"][..], &["up", "--no-tui"]] {
        let output = workspace.run(arguments);
        let text =
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        ensure(output.status.code() == Some(2), || {
            format!("{arguments:?} ended with {}: {text}", output.status)
        })?;
        for wanted in [
            "config.json:2:3",
            "retry_max_retries",
            "config.json:4:",
            "runners.a.command",
            "/no/such/folder",
            "config.json:5:",
            "no-such-program-anywhere",
            "stop_grace_seconds",
        ] {
            ensure(text.contains(wanted), || format!("{arguments:?} does not say {wanted:?}:\n{text}"))?;
        }
        ensure(workspace.own_processes().is_empty(), || "something was started".into())?;
    }
    workspace.configure(&runners(&[("a", json!({ "command": ["true"] }))]));
    workspace.ok(&["check"])?;
    Ok(vec![])
}

/// The shipped config shows every part within a minute.
pub(crate) fn demo() -> Outcome {
    let text = std::fs::read_to_string("config.json").map_err(|error| format!("config.json: {error}"))?;
    let workspace = Workspace::new(&json!({}));
    std::fs::write(workspace.path("config.json"), text).map_err(|error| error.to_string())?;
    let begin = Instant::now();
    let mut headless = workspace.headless();
    let wanted = ["completed", "inactive", "Retrying runner", "Max retries"];
    let deadline = begin + Duration::from_mins(1);
    while !wanted.iter().all(|word| headless.lines().contains(word)) {
        ensure(Instant::now() < deadline, || {
            format!("not all of {wanted:?} within a minute:\n{}", headless.lines())
        })?;
        crate::kit::pause();
    }
    let took = begin.elapsed().as_secs_f64();
    kill(headless.pid(), libc::SIGINT);
    let code = headless.end()?;
    ensure(code == 130, || format!("ended with {code} after SIGINT, 130 wanted"))?;
    wait("nothing is left", || workspace.all_processes().is_empty().then_some(()))?;
    Ok(vec![figures("all parts of the demo seen, s:", &[("after", took)])])
}

/// The silent end as inactive in time, the computing live, the chatty are ended by their hard limit, a stopped
/// supervisor ends nobody.
pub(crate) fn silence() -> Outcome {
    let fixture = fixture();
    let workspace = Workspace::new(&runners(&[
        (
            "silent",
            json!({ "command": "echo one; sleep 0.3; echo two; exec sleep 100000", "activity_timeout_seconds": 2,
                           "retry": { "count": 1, "backoff_seconds": 0.2 } }),
        ),
        ("computing", json!({ "command": [fixture, "spin"], "activity_timeout_seconds": 2 })),
        (
            "chatty",
            json!({ "command": [fixture, "lines", "0", "1000"], "activity_timeout_seconds": 2,
                           "timeout_seconds": 3, "retry_on_crash": false }),
        ),
        (
            "polite",
            json!({ "command": "trap 'exit 0' TERM; while :; do sleep 0.1; done", "timeout_seconds": 1,
                           "retry_on_crash": false }),
        ),
    ]));
    workspace.ok(&["up", "--detach"])?;
    let begin = Instant::now();
    let polite = workspace.wait_runner("polite", "its end", |row| row["status"] == "crashed")?;
    ensure(polite["verdict"] == "timed_out", || format!("exit 0 after our SIGTERM: {polite}"))?;
    let row = workspace.wait_runner("silent", "a second attempt", |row| row["attempt"] == 2)?;
    let took = begin.elapsed().as_secs_f64();
    ensure(took < 2.3 + 1.0 + 0.7, || format!("the silent one was retried after {took:.2} s: {row}"))?;
    let chatty = workspace.wait_runner("chatty", "its end", |row| row["status"] == "crashed")?;
    ensure(chatty["verdict"] == "timed_out", || format!("{chatty}"))?;
    let silent = workspace.wait_runner("silent", "exhausted", |row| row["status"] == "crashed")?;
    ensure(silent["verdict"] == "inactive" && silent["retry_count"] == 1, || format!("{silent}"))?;
    let computing = running(&workspace, "computing")?;
    ensure(computing["attempt"] == 1, || format!("the computing one was ended: {computing}"))?;

    // A supervisor that stands still for longer than any timeout ends nobody when it goes on.
    workspace.ok(&["start", "silent"])?;
    let before = running(&workspace, "silent")?;
    let supervisor = supervisor_pid(&workspace)?;
    kill(supervisor, libc::SIGSTOP);
    linger(Duration::from_secs(4));
    kill(supervisor, libc::SIGCONT);
    let after = workspace.runner("silent")?;
    ensure(after["pid"] == before["pid"] && after["status"] == "running", || {
        format!("{before} became {after}")
    })?;
    Ok(vec![figures("silent for 2 s, s:", &[("ended and retried after", took)])])
}

/// What a user stopped is stopped, whatever it answers, and stays so.
pub(crate) fn stops() -> Outcome {
    let workspace = Workspace::new(&runners(&[
        ("zero", json!({ "command": "trap 'exit 0' TERM; while :; do sleep 0.05; done" })),
        ("seven", json!({ "command": "trap 'exit 7' TERM; while :; do sleep 0.05; done" })),
        ("signal", json!({ "command": ["sleep", "100000"] })),
        (
            "deaf",
            json!({ "command": "trap '' TERM; while :; do sleep 0.05; done", "stop_grace_seconds": 0.3 }),
        ),
        (
            "backoff",
            json!({ "command": "exit 1", "retry": { "count": 3, "backoff_seconds": 3600, "max_backoff_seconds": 3600 } }),
        ),
    ]));
    workspace.ok(&["up", "--detach"])?;
    workspace.wait_runner("backoff", "in backoff", |row| row["status"] == "backoff")?;
    let names = ["zero", "seven", "signal", "deaf", "backoff"];
    let mut pids = Vec::new();
    for name in &names[..4] {
        pids.push(pid_of(&running(&workspace, name)?));
    }
    linger(Duration::from_millis(200));
    for name in names {
        workspace.ok(&["stop", name])?;
    }
    for name in names {
        let row = workspace.wait_runner(name, "stopped", |row| row["status"] == "stopped")?;
        ensure(row["next_retry_at"].is_null(), || format!("{row}"))?;
        if name != "backoff" {
            ensure(row["verdict"] == "stopped", || format!("{row}"))?;
        }
    }
    linger(Duration::from_millis(500));
    for name in names {
        let row = workspace.runner(name)?;
        ensure(row["status"] == "stopped" && row["attempt"] == 1, || format!("retried after a stop: {row}"))?;
    }
    ensure(!pids.into_iter().any(is_alive), || "something lives on".into())?;
    Ok(vec![])
}

/// A log with a bound takes no more of the disk, keeps its head and its tail, and what was kept is whole.
pub(crate) fn bounded_logs() -> Outcome {
    const MAX: u64 = 1 << 20;
    let fixture = fixture();
    let mut told = Vec::new();
    for stdio in ["file", "pipe"] {
        let workspace = Workspace::new(&runners(&[(
            "chatty",
            json!({ "command": [fixture, "lines", "400000", "0"], "stdio": stdio, "log_max_bytes": MAX }),
        )]));
        let mut headless = workspace.headless();
        let code = headless.end()?;
        ensure(code == 0, || format!("ended with {code}: {}", headless.lines()))?;
        let log = workspace.path(".restage/logs/chatty_1.log");
        let meta = std::fs::metadata(&log).map_err(|error| error.to_string())?;
        let used = std::os::unix::fs::MetadataExt::blocks(&meta) * 512;
        ensure(meta.len() == 40_000_000, || format!("{stdio}: {} bytes long, 40000000 printed", meta.len()))?;
        ensure(used <= MAX, || format!("{stdio}: the log takes {used} bytes of the disk, {MAX} allowed"))?;
        let bytes = std::fs::read(&log).map_err(|error| error.to_string())?;
        ensure(bytes.starts_with(b"00000000000000000001 "), || "the head was not kept".into())?;
        let last = &bytes[bytes.len() - 100..];
        ensure(last.starts_with(b"00000000000000400000 "), || "the tail was not kept".into())?;
        let shown = workspace.ok(&["logs", "chatty", "-n", "2"])?;
        ensure(shown.contains("00000000000000400000"), || format!("logs shows {shown}"))?;
        told.push(format!("{stdio}: 40 MB printed, {} KiB of the disk used, 1 MiB allowed", used / 1024));
    }
    Ok(told)
}
