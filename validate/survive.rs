//! What remains when parts of restage are killed, and what does not remain when it ends.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::chaos::roles;
use crate::kit::{Outcome, Workspace, ensure, figures, fixture, is_alive, kill, pause, runners, wait};

fn pid_in(path: &Path) -> Result<i32, String> {
    wait(&format!("a pid in {}", path.display()), || std::fs::read_to_string(path).ok()?.trim().parse().ok())
}

/// A deaf grandchild, a double-forked daemon, a naked one, a hopper: all gone within grace + 1 s of a stop.
pub(crate) fn trees() -> Outcome {
    let mut told = Vec::new();
    for cgroup in ["auto", "off"] {
        let workspace = Workspace::new(&json!({}));
        let fixture = fixture();
        let script = format!(
            "trap '' TERM; sh -c 'trap \"\" TERM; echo $$ > deaf; while :; do sleep 1; done' & \
             {fixture} daemon daemon; env -i {fixture} daemon naked; {fixture} hopper hopper; touch ready; wait"
        );
        let crash = format!(
            "{fixture} daemon left; while [ ! -s left ]; do :; done; cp left left-of-crash; rm left; exit 3"
        );
        let mut config = runners(&[
            ("tree", json!({ "command": script, "stop_grace_seconds": 1 })),
            ("crash", json!({ "command": crash, "retry": { "count": 2, "backoff_seconds": 0 } })),
            ("idle", json!({ "command": ["sleep", "100000"] })),
        ]);
        config["cgroup"] = json!(cgroup);
        workspace.configure(&config);
        let headless = workspace.headless();
        wait("the tree stands", || workspace.path("ready").exists().then_some(()))?;
        let pids: Vec<i32> = ["deaf", "daemon", "naked", "hopper"]
            .iter()
            .map(|name| pid_in(&workspace.path(name)))
            .collect::<Result<_, _>>()?;
        let begin = Instant::now();
        workspace.ok(&["stop", "tree"])?;
        workspace.wait_runner("tree", "stopped", |row| row["status"] == "stopped")?;
        let took = begin.elapsed().as_secs_f64();
        ensure(took < 2.0, || {
            format!("stopping the tree took {took:.2} s with a grace of 1 s (cgroup {cgroup})")
        })?;
        ensure(!pids.iter().any(|pid| is_alive(*pid)), || format!("something of {pids:?} lives on"))?;
        // It may have been killed while it was writing; then there is no last hop to look for.
        let last =
            std::fs::read_to_string(workspace.path("hopper")).ok().and_then(|pid| pid.trim().parse().ok());
        ensure(!last.is_some_and(is_alive), || "the hopper escaped".into())?;
        headless.wait_line("Max retries (2) reached for crash")?;
        let left = pid_in(&workspace.path("left-of-crash"))?;
        ensure(!is_alive(left), || format!("the daemon {left} of a crashed attempt lives on"))?;
        told.push(figures(
            &format!("whole tree with cgroup {cgroup}, grace 1 s:"),
            &[("gone after s", took)],
        ));
    }
    Ok(told)
}

/// Killed during a backoff, alone or together with the keeper: a successor within a second, the same count, the rest of
/// the same backoff.
pub(crate) fn successor() -> Outcome {
    let (alone, together) = (successor_of(&["supervisor"])?, successor_of(&["supervisor", "keeper"])?);
    Ok(vec![figures("successor in place, s:", &[("after", alone), ("killed with the keeper", together)])])
}

fn successor_of(killed: &[&str]) -> Result<f64, String> {
    let workspace = Workspace::new(&runners(&[
        ("flap", json!({ "command": "exit 4", "retry": { "count": 3, "backoff_seconds": 2 } })),
        ("steady", json!({ "command": ["sleep", "100000"] })),
        (
            "ends",
            json!({ "command": "while [ ! -e go ]; do sleep 0.05; done; exit 9", "retry_on_crash": false }),
        ),
    ]));
    workspace.ok(&["up", "--detach"])?;
    let before = workspace
        .wait_runner("flap", "2/3 in backoff", |row| row["retry_count"] == 2 && row["status"] == "backoff")?;
    let steady = workspace.runner("steady")?;
    let old = supervisor_pid(&workspace)?;
    let begin = Instant::now();
    for (_, pid) in roles(&workspace).into_iter().filter(|(role, _)| killed.contains(role)) {
        kill(pid, libc::SIGKILL);
    }
    std::fs::write(workspace.path("go"), "").map_err(|error| error.to_string())?;
    let new =
        wait("a successor", || supervisor_pid(&workspace).ok().filter(|pid| *pid != old && is_alive(*pid)))?;
    let took = begin.elapsed().as_secs_f64();
    let after = workspace.runner("flap")?;
    ensure(took < 1.0, || format!("the successor came after {took:.2} s"))?;
    ensure(after["retry_count"] == 2, || format!("the retry count is {}", after["retry_count"]))?;
    if after["status"] == "backoff" {
        let drift = difference(&before["next_retry_at"], &after["next_retry_at"])?;
        ensure(drift.abs() < 0.1, || format!("the backoff moved by {drift:.3} s"))?;
    }
    let again = workspace.runner("steady")?;
    ensure(again["pid"] == steady["pid"] && again["attempt"] == steady["attempt"], || {
        format!("steady was {} and is {}", steady["pid"], again["pid"])
    })?;
    let ended = workspace.wait_runner("ends", "its end", |row| row["status"] == "crashed")?;
    ensure(ended["exit_code"] == 9, || format!("the exit code of what ended meanwhile: {ended}"))?;
    let flap = workspace.wait_runner("flap", "exhausted", |row| row["status"] == "crashed")?;
    ensure(flap["retry_count"] == 3 && flap["attempt"] == 4, || format!("{flap}"))?;
    ensure(new != old, || "the same supervisor".into())?;
    Ok(took)
}

/// A killed keeper, and then its heir: the supervisor goes on with the next one, and so do retries.
pub(crate) fn keeper_killed() -> Outcome {
    let workspace = Workspace::new(&runners(&[
        (
            "flap",
            json!({ "command": "exit 4", "retry": { "count": 100_000, "backoff_seconds": 0.1, "multiplier": 1 } }),
        ),
        ("steady", json!({ "command": ["sleep", "100000"] })),
    ]));
    workspace.ok(&["up", "--detach"])?;
    let steady = running(&workspace, "steady")?;
    let supervisor = supervisor_pid(&workspace)?;
    for _ in 0..3 {
        let lock = workspace.path(".restage/keeper.lock");
        let keeper = wait("a keeper", || {
            let sign: Value = serde_json::from_str(&std::fs::read_to_string(&lock).ok()?).ok()?;
            i32::try_from(sign["pid"].as_i64()?).ok().filter(|pid| is_alive(*pid))
        })?;
        kill(keeper, libc::SIGKILL);
        wait("the keeper is dead", || (!is_alive(keeper)).then_some(()))?;
        let attempts = workspace.runner("flap")?["attempt"].as_u64().unwrap_or(0);
        workspace
            .wait_runner("flap", "three more attempts", |row| row["attempt"].as_u64() > Some(attempts + 3))?;
    }
    let after = running(&workspace, "steady")?;
    ensure(after["pid"] == steady["pid"] && after["attempt"] == 1, || format!("{steady} became {after}"))?;
    ensure(supervisor_pid(&workspace)? == supervisor, || "the supervisor was replaced".into())?;
    Ok(vec![])
}

/// A headless run that is killed blames nobody: the next one starts what ran, with the counts that it had.
pub(crate) fn headless_killed() -> Outcome {
    let workspace = Workspace::new(&runners(&[
        (
            "deaf",
            json!({ "command": "trap '' TERM; while :; do sleep 0.1; done", "stop_grace_seconds": 1.5 }),
        ),
        ("once", json!({ "command": ["sleep", "100000"], "retry": { "count": 0 } })),
    ]));
    let headless = workspace.headless();
    headless.wait_line("Started deaf")?;
    headless.wait_line("Started once")?;
    kill(headless.pid(), libc::SIGKILL);
    wait("it is dead", || (!is_alive(headless.pid())).then_some(()))?;
    // While the old keeper is still within the grace.
    wait("the next one starts", || workspace.run(&["up", "--detach"]).status.success().then_some(()))?;
    for name in ["deaf", "once"] {
        let row = workspace
            .wait_runner(name, "running again", |row| row["status"] == "running" && row["attempt"] == 2)?;
        ensure(row["retry_count"] == 0, || format!("a retry was spent: {row}"))?;
    }
    Ok(vec![])
}

/// Supervisor, keeper, guard and relays at once: children live, and the next verb adopts them.
pub(crate) fn all_killed() -> Outcome {
    let fixture = fixture();
    let workspace = Workspace::new(&runners(&[
        ("file", json!({ "command": [fixture, "lines", "0", "500"] })),
        ("pipe", json!({ "command": [fixture, "lines", "0", "500"], "stdio": "pipe" })),
    ]));
    workspace.ok(&["up", "--detach"])?;
    let before = [running(&workspace, "file")?, running(&workspace, "pipe")?];
    // Relays carry the same program and the same arguments as the keeper that forked them.
    for pid in workspace.own_processes() {
        kill(pid, libc::SIGKILL);
    }
    wait("all of ours are dead", || workspace.own_processes().is_empty().then_some(()))?;
    for row in &before {
        ensure(is_alive(pid_of(row)), || format!("a child died with restage: {row}"))?;
    }
    let after = [running(&workspace, "file")?, running(&workspace, "pipe")?];
    for (before, after) in before.iter().zip(&after) {
        ensure(before["pid"] == after["pid"] && before["attempt"] == after["attempt"], || {
            format!("not adopted: {before} became {after}")
        })?;
    }
    for name in ["file", "pipe"] {
        let log = workspace.path(&format!(".restage/logs/{name}_1.log"));
        let size = std::fs::metadata(&log).map_err(|error| error.to_string())?.len();
        wait(&format!("{name} goes on"), || {
            (std::fs::metadata(&log).ok()?.len() > size + 10_000).then_some(())
        })?;
    }
    workspace.ok(&["down"])?;
    for name in ["file", "pipe"] {
        numbered(&workspace.path(&format!(".restage/logs/{name}_1.log")))?;
    }
    Ok(vec![])
}

/// `kill -9` of a headless restage leaves no process; so does a second one while it stops.
pub(crate) fn nothing_left() -> Outcome {
    let fixture = fixture();
    let workspace = Workspace::new(&runners(&[
        ("deaf", json!({ "command": "trap '' TERM; while :; do sleep 1; done", "stop_grace_seconds": 0.5 })),
        (
            "daemon",
            json!({ "command": format!("{fixture} daemon daemon; exec sleep 100000"),
                           "stop_grace_seconds": 0.5 }),
        ),
        (
            "flap",
            json!({ "command": "exit 1", "retry": { "count": 100, "backoff_seconds": 0.05, "multiplier": 1 } }),
        ),
        ("pipe", json!({ "command": [fixture, "lines", "0", "1000"], "stdio": "pipe" })),
        ("tty", json!({ "command": [fixture, "lines", "0", "1000"], "stdio": "tty" })),
    ]));
    let headless = workspace.headless();
    let daemon = pid_in(&workspace.path("daemon"))?;
    for name in ["deaf", "pipe", "tty"] {
        headless.wait_line(&format!("Started {name}"))?;
    }
    let begin = Instant::now();
    kill(headless.pid(), libc::SIGKILL);
    wait("nothing is left", || {
        let mut left = workspace.all_processes();
        left.retain(|pid| *pid != headless.pid());
        left.is_empty().then_some(())
    })
    .map_err(|error| format!("{error}: {:?}", workspace.all_processes()))?;
    ensure(!is_alive(daemon), || "the daemon lives on".into())?;
    Ok(vec![figures(
        "after kill -9 of a headless restage, s:",
        &[("all gone", begin.elapsed().as_secs_f64())],
    )])
}

/// A pid in the state that belongs to somebody else by now is neither signalled nor shown as running.
pub(crate) fn identity() -> Outcome {
    let workspace = Workspace::new(&runners(&[("a", json!({ "command": ["sleep", "100000"] }))]));
    workspace.ok(&["up", "--detach"])?;
    let row = running(&workspace, "a")?;
    let child = pid_of(&row);
    for pid in workspace.own_processes() {
        kill(pid, libc::SIGKILL);
    }
    wait("all of ours are dead", || workspace.own_processes().is_empty().then_some(()))?;
    kill(child, libc::SIGKILL);
    wait("the child is dead", || (!is_alive(child)).then_some(()))?;
    // A stranger, in place of whoever gets the pid next.
    let stranger = crate::kit::bare_spawn(&["/bin/sleep", "100000"], Path::new("/dev/null"));
    let forge = |path: &Path| -> Result<(), String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let forged = text.replace(&format!("\"pid\":{child}"), &format!("\"pid\":{stranger}"));
        let forged = forged.replace(&format!("\"pid\": {child}"), &format!("\"pid\": {stranger}"));
        std::fs::write(path, forged).map_err(|error| error.to_string())
    };
    let states = find_files(&workspace.path("cache"), "runner_state.json");
    ensure(!states.is_empty(), || "there is no runner_state.json".into())?;
    for state in &states {
        forge(state)?;
    }
    let after = workspace.wait_runner("a", "an answer", |row| row["status"] != "starting")?;
    ensure(after["pid"] != stranger, || format!("the stranger is shown as ours: {after}"))?;
    workspace.ok(&["down"])?;
    let untouched = is_alive(stranger);
    kill(stranger, libc::SIGKILL);
    crate::kit::reap(stranger);
    ensure(untouched, || "the stranger was killed".into())?;
    Ok(vec![])
}

/// Two starts at once make one supervisor and one keeper; deleted sockets make no second set of children.
pub(crate) fn two_at_once() -> Outcome {
    let workspace =
        Workspace::new(&runners(&[("a", json!({ "command": "echo run >> runs; exec sleep 100000" }))]));
    let mut starts: Vec<_> = (0..6)
        .map(|_| workspace.command(&["up", "--detach"]).output())
        .map(|output| output.map_err(|error| error.to_string()))
        .collect();
    starts.retain(|output| output.as_ref().is_ok_and(|output| output.status.success()));
    ensure(!starts.is_empty(), || "no start succeeded".into())?;
    let handles: Vec<_> = (0..6)
        .map(|_| {
            let mut command = workspace.command(&["up", "--detach"]);
            std::thread::spawn(move || command.output().map(|output| output.status))
        })
        .collect();
    for handle in handles {
        handle.join().map_err(|_| "a start panicked")?.map_err(|error| error.to_string())?;
    }
    let row = running(&workspace, "a")?;
    let sockets = find_files(&workspace.path("run"), ".sock");
    ensure(sockets.len() >= 2, || format!("sockets expected, found {sockets:?}"))?;
    for socket in sockets {
        std::fs::remove_file(&socket).map_err(|error| error.to_string())?;
    }
    workspace.run(&["up", "--detach"]);
    let again = running(&workspace, "a")?;
    ensure(row["pid"] == again["pid"], || format!("{row} became {again}"))?;
    let runs = std::fs::read_to_string(workspace.path("runs")).map_err(|error| error.to_string())?;
    ensure(runs.lines().count() == 1, || format!("the command ran {} times", runs.lines().count()))?;
    let own = workspace.own_processes();
    ensure(own.len() == 3, || format!("supervisor, keeper and guard expected: {own:?}"))?;
    Ok(vec![])
}

pub(crate) fn supervisor_pid(workspace: &Workspace) -> Result<i32, String> {
    let lock = workspace.path(".restage/supervisor.lock");
    let text = std::fs::read_to_string(&lock).map_err(|error| format!("{}: {error}", lock.display()))?;
    let lock: Value = serde_json::from_str(&text).map_err(|error| format!("supervisor.lock: {error}"))?;
    lock["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).ok_or_else(|| "no pid in the lock".into())
}

pub(crate) fn running(workspace: &Workspace, name: &str) -> Result<Value, String> {
    workspace.wait_runner(name, "running", |row| row["status"] == "running" && row["pid"].is_i64())
}

pub(crate) fn pid_of(row: &Value) -> i32 {
    row["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0)
}

fn difference(before: &Value, after: &Value) -> Result<f64, String> {
    let parse = |value: &Value| -> Result<jiff::Timestamp, String> {
        value.as_str().ok_or("no time")?.parse().map_err(|error| format!("{value}: {error}"))
    };
    Ok(parse(after)?.duration_since(parse(before)?).as_secs_f64())
}

pub(crate) fn find_files(dir: &Path, ending: &str) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries
        .flatten()
        .flat_map(|entry| {
            let path = entry.path();
            if path.is_dir() {
                find_files(&path, ending)
            } else if path.display().to_string().ends_with(ending) {
                vec![path]
            } else {
                Vec::new()
            }
        })
        .collect()
}

/// Each line carries the next number; only the very last may be cut.
pub(crate) fn numbered(log: &Path) -> Result<usize, String> {
    let bytes = std::fs::read(log).map_err(|error| format!("{}: {error}", log.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let number: usize = line.get(..20).and_then(|digits| digits.parse().ok()).unwrap_or(0);
        let cut = index + 1 == lines.len() && line.len() < 20;
        ensure(number == index + 1 || cut, || {
            format!("{}: line {} is {:?}", log.display(), index + 1, line.get(..40.min(line.len())))
        })?;
    }
    Ok(lines.len())
}

/// Waits a little, for things that must not happen.
pub(crate) fn linger(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        pause();
    }
}
