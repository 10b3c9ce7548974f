//! Runs where nobody supervises: who does it then, what is not started with it, and who of many makes the one retry.

use std::process::Stdio;

use serde_json::{Value, json};

use super::{Flows, stage};
use crate::support::terminal::Terminal;
use crate::support::wait_until;
use crate::support::workspace::Workspace;

const WAITS: &str = "until [ -e go ]; do sleep 0.02; done; ";

/// With a runner that would start by itself.
fn alone(flows: &Value) -> Flows {
    let flows_here = Flows { space: Workspace::new(&json!({})) };
    let config = json!({
        "stop_grace_seconds": 1,
        "runners": { "loud": { "command": "touch loud; sleep 1000" } },
        "flows": flows,
    });
    flows_here.write("config.json", &config.to_string());
    flows_here
}

#[test]
fn a_run_in_the_foreground_starts_no_runner_and_ends_with_its_supervisor() {
    let flows = alone(&json!({ "f": { "stages": [stage("a", WAITS, json!({}))] } }));
    let child = flows.space.foreground(&["run", "f"]);
    wait_until("it runs", || flows.read("ran") == "a\n");
    assert_eq!(flows.space.supervisor(), child.id().cast_signed());
    let loud = flows.space.runner("loud");
    assert_eq!((&loud["status"], &loud["pid"]), (&json!("idle"), &Value::Null), "{loud}");
    flows.write("go", "");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    flows.ends(3, &["down"]);
    assert!(!flows.path("loud").exists());
}

#[test]
fn what_the_supervisor_goes_by_is_not_looked_at_again_for_each_run() {
    let flows = Flows { space: Workspace::new(&json!({})) };
    let config = json!({
        "runners": { "tool": { "command": ["./tool"], "autostart": false } },
        "flows": { "f": { "stages": [stage("a", "", json!({}))] } },
    });
    flows.write("config.json", &config.to_string());
    flows.write("tool", "#!/bin/sh\n");
    let tool = flows.path("tool");
    std::fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    flows.ok(&["up", "--detach"]);
    flows.remove("tool");
    flows.write("fail.a", "");
    flows.ends(1, &["run", "f"]);
    flows.remove("fail.a");
    flows.ok(&["retry", "f-1"]);
    assert_eq!(flows.ran(), ["a", "a"]);
    // Another text is read by whoever begins something, and so is any text where nobody goes by it.
    flows.write("config.json", &format!("{config}\n"));
    assert!(flows.ends(2, &["run", "f"]).contains("./tool"));
    flows.write("config.json", &config.to_string());
    flows.ok(&["down"]);
    assert!(flows.ends(2, &["run", "f"]).contains("./tool"));
    assert_eq!(flows.ran(), [] as [&str; 0]);
}

#[test]
fn a_run_in_the_foreground_that_somebody_else_ends_is_no_success() {
    let flows = alone(&json!({ "f": { "stages": [stage("a", WAITS, json!({}))] } }));
    for (round, arguments) in [["run", "f"], ["continue", "f-1"]].iter().enumerate() {
        let child = flows.space.foreground(arguments);
        wait_until("it runs", || flows.read("ran").lines().count() == round + 1);
        flows.ok(&["down"]);
        let output = child.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), told.contains("interrupted")), (Some(1), true), "{told}");
        assert_eq!(flows.show("f-1")["status"], "interrupted");
    }
}

#[test]
fn a_run_on_a_terminal_is_hosted_in_the_background_and_starts_no_runner() {
    let flows = alone(&json!({ "f": { "stages": [
        stage("a", &format!("{WAITS}printf '\\033[2J\\033]0;owned\\007\\033[5mprinted'; "), json!({})),
    ] } }));
    let mut terminal = Terminal::start(flows.space.command(&["run", "f"]), (80, 24));
    wait_until("it runs", || flows.read("ran") == "a\n");
    terminal.expect("● a");
    let host = flows.space.supervisor();
    assert_ne!(host, terminal.child.id().cast_signed());
    assert_eq!(flows.space.runner("loud")["status"], "idle");
    flows.write("go", "");
    assert_eq!(terminal.ended().code(), Some(0));
    wait_until("the last picture", || terminal.screen().contains("1/1  f-1  succeeded"));
    // What the stage printed is data: it lies in its log, and nothing of it is on the terminal.
    let bytes = String::from_utf8_lossy(&terminal.bytes()).into_owned();
    assert!(
        !["\x1b[2J", "\x1b]0;", "\x1b[5m", "printed"].iter().any(|part| bytes.contains(part)),
        "{bytes:?}"
    );
    assert!(flows.ok(&["logs", "f-1/a"]).contains("printed"));
    // It stays for a while, for what comes next.
    assert_eq!(flows.space.supervisor(), host);
    assert!(!flows.path("loud").exists());
    flows.ends(0, &["down"]);
}

/// A log of CI keeps all that is printed: there what was drawn anew would be read many times, escapes and all.
#[test]
fn in_ci_a_terminal_gets_lines() {
    let flows = alone(&json!({ "f": { "stages": [stage("a", "", json!({}))] } }));
    let mut command = flows.space.command(&["run", "f"]);
    command.env("CI", "true");
    let mut terminal = Terminal::start(command, (80, 24));
    assert_eq!(terminal.ended().code(), Some(0));
    terminal.expect("Run f-1 succeeded");
    let bytes = String::from_utf8_lossy(&terminal.bytes()).into_owned();
    assert!(!bytes.contains('\x1b') && bytes.contains("Succeeded: f-1/a"), "{bytes:?}");
    flows.ends(0, &["down"]);
}

#[test]
fn of_32_retries_at_once_that_nobody_supervises_one_makes_a_run_and_the_others_name_it() {
    let flows = alone(&json!({ "f": { "stages": [
        stage("a", "", json!({})),
        stage("b", WAITS, json!({ "needs": ["a"] })),
    ] } }));
    flows.write("fail.b", "");
    flows.write("go", "");
    flows.ends(1, &["run", "f"]);
    flows.ends(3, &["down"]);
    flows.remove("fail.b");
    flows.remove("go");
    flows.ran();
    let mut children: Vec<_> = (0..32)
        .map(|number| {
            let made = std::fs::File::create(flows.path(&format!("made.{number}"))).unwrap();
            let mut command = flows.space.command(&["retry", "f-1"]);
            (number, command.stdout(made).stderr(Stdio::piped()).spawn().unwrap())
        })
        .collect();
    // What is left then is the one that follows what it made, and the one that supervises it, which may be another.
    wait_until("all of them have asked", || {
        let host = flows.space.holder().and_then(|holder| holder["pid"].as_u64());
        children.iter_mut().all(|(number, child)| {
            let has_made = !flows.read(&format!("made.{number}")).is_empty();
            has_made || host == Some(child.id().into()) || child.try_wait().unwrap().is_some()
        })
    });
    wait_until("b runs", || flows.ran_so_far() == ["b"]);
    flows.write("go", "");
    let (mut made, mut refused) = (Vec::new(), 0);
    for (number, child) in children {
        let output = child.wait_with_output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        match output.status.code() {
            Some(0) => made.push(flows.read(&format!("made.{number}"))),
            Some(11) => {
                assert!(told.contains("f-2 is under way on branch main of the same lineage"), "{told}");
                refused += 1;
            }
            other => panic!("{other:?}: {told}"),
        }
    }
    assert_eq!((made, refused), (vec!["f-2\n".to_owned()], 31));
    assert_eq!((flows.count(), flows.ran()), (2, vec!["b".to_owned()]));
    assert!(!flows.path("loud").exists());
}

#[test]
fn whoever_hosts_a_run_tells_how_the_command_after_it_failed() {
    let flows = alone(&json!({ "f": {
        "on_success": "echo told; exit 3", "stages": [stage("a", "[ ! -e bad ]", json!({}))]
    } }));
    let failed = "Failed: on_success of f-1: exit 3; restage logs f-1/on_success shows what it printed";
    let told = flows.ends(0, &["run", "f"]);
    assert!(told.contains(failed), "{told}");
    let told = flows.ends(0, &["run", "f", "--output", "json"]);
    let last: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["hook"]), (&json!("hook_failed"), &json!("on_success")), "{told}");
    assert_eq!((&last["run"], &last["error"]), (&json!("f-2"), &json!("exit 3")));
    flows.write("bad", "");
    flows.ends(1, &["run", "f"]);
    flows.remove("bad");
    let told = flows.ends(0, &["continue", "f-3", "--force-retry"]);
    assert!(told.contains("Failed: on_success of f-4: exit 3"), "{told}");
    // A run that fails has no such command.
    flows.write("bad", "");
    let told = flows.ends(1, &["run", "f"]);
    assert!(!told.contains("on_success"), "{told}");
}
