//! Journeys through the dashboard, in a real pseudo-terminal.

use std::os::unix::process::ExitStatusExt;

use serde_json::json;

use crate::support::pty::Terminal;
use crate::support::workspace::Workspace;
use crate::support::{is_alive, kill_9, wait_for, wait_until};

fn dashboard(workspace: &Workspace) -> Terminal {
    Terminal::start(workspace.command(&[]), 30, 110)
}

const ENTER: &str = "\r";
const ESC: &str = "\x1b";

fn status(workspace: &Workspace, name: &str) -> String {
    workspace.runner(name)["status"].as_str().unwrap().to_owned()
}

#[test]
fn start_crash_countdown_cancel_retry() {
    let workspace = Workspace::new(&json!({
        "steady": { "command": "exec sleep 600" },
        "agent": {
            "command": "test -f fixed && exec sleep 600; echo broken; exit 7", "autostart": false,
            "retry": { "count": 3, "backoff_seconds": 30 },
        },
    }));
    let mut terminal = dashboard(&workspace);
    terminal.row("steady", "running");
    terminal.row("agent", "idle");
    terminal.until("agent is selected", |screen| screen.iter().any(|row| row.contains("▌ ○ agent")));
    terminal.press("s");
    // It crashes at once, and the countdown counts.
    let first = terminal.row("agent", "in 2");
    terminal.until("a later second", |screen| {
        screen.iter().any(|row| row.contains("agent") && row.contains("in 2") && *row != first)
    });
    terminal.row("agent", "1/3");
    terminal.sees("broken");
    // Cancelling is asked for where it is destructive; either way it ends without a retry.
    terminal.press("x");
    if terminal
        .until("an answer", |screen| {
            screen
                .iter()
                .any(|row| row.contains("Stop agent?") || (row.contains("agent") && row.contains("stopped")))
        })
        .iter()
        .any(|row| row.contains("Stop agent?"))
    {
        terminal.press(ENTER);
    }
    terminal.row("agent", "stopped");
    assert_eq!(workspace.runner("agent")["retry_count"], 1);
    std::fs::write(workspace.path("fixed"), "").unwrap();
    terminal.press("s");
    terminal.row("agent", "running");
    terminal.row("agent", "0/3");
    assert_eq!(status(&workspace, "agent"), "running");
    assert_eq!(status(&workspace, "steady"), "running");
    terminal.press("q");
    terminal.press("d");
    assert_eq!(terminal.ended().code(), Some(0));
    assert!(!terminal.is_alternate());
}

#[test]
fn a_filter_and_then_an_action_on_exactly_the_highlighted_row() {
    let sleeper = json!({ "command": "exec sleep 600" });
    let workspace = Workspace::new(&json!({
        "alpha": sleeper, "beta-one": sleeper, "beta-two": sleeper, "gamma": sleeper,
    }));
    let mut terminal = dashboard(&workspace);
    terminal.row("gamma", "running");
    terminal.press("/beta");
    terminal.until("only what matches", |screen| {
        screen.iter().any(|row| row.contains("beta-two")) && !screen.iter().any(|row| row.contains("gamma"))
    });
    terminal.press(ENTER);
    terminal.press("j");
    terminal.until("the second match is selected", |screen| {
        screen.iter().any(|row| row.contains("▌ ● beta-two"))
    });
    let before = workspace.runner("beta-two")["pid"].clone();
    terminal.press("r");
    terminal.sees("Restart beta-two?");
    terminal.press(ENTER);
    wait_until("another process", || {
        let now = workspace.runner("beta-two");
        now["status"] == "running" && now["pid"] != before
    });
    for other in ["alpha", "beta-one", "gamma"] {
        assert_eq!(workspace.runner(other)["attempt"], 1, "{other}");
    }
    terminal.press(ESC);
    terminal.row("gamma", "running");
    terminal.press("qd");
    assert_eq!(terminal.ended().code(), Some(0));
}

#[test]
fn a_search_in_a_log() {
    let workspace = Workspace::new(&json!({
        "talker": { "command": "seq -f 'line %g of it' 1 5000; exec sleep 600" },
    }));
    let mut terminal = dashboard(&workspace);
    terminal.sees("line 5000 of it");
    terminal.press("l");
    terminal.until("the log has the screen", |screen| {
        screen.iter().filter(|row| row.contains(" of it")).count() > 20
    });
    terminal.press("/line 123");
    terminal.sees("search: line 123");
    terminal.press(ENTER);
    terminal.sees("line 1239 of it");
    // As fast as somebody can type.
    terminal.press("NNNNNNNNN");
    terminal.sees("line 1230 of it");
    terminal.press("g");
    terminal.sees("line 1 of it");
    terminal.press("n");
    terminal.press("&77");
    terminal.press(ENTER);
    terminal.until("only what matches", |screen| {
        let lines: Vec<_> = screen.iter().filter(|row| row.contains(" of it")).collect();
        lines.len() > 10 && lines.iter().all(|row| row.contains("77"))
    });
    terminal.press("qd");
    assert_eq!(terminal.ended().code(), Some(0));
}

#[test]
fn three_ways_to_quit() {
    let workspace = Workspace::new(&json!({ "steady": { "command": "exec sleep 600" } }));
    let mut terminal = dashboard(&workspace);
    terminal.row("steady", "running");
    // Stay.
    terminal.press("q");
    terminal.sees("detach");
    terminal.press(ESC);
    terminal.until("the question is gone", |screen| !screen.iter().any(|row| row.contains("detach")));
    // Ctrl-C asks the same, and reaches no runner. Detach leaves them running.
    terminal.press("\x03");
    terminal.sees("detach");
    terminal.press("d");
    assert_eq!(terminal.ended().code(), Some(0));
    assert_eq!(status(&workspace, "steady"), "running");
    // A signal gives the terminal back and leaves the runners.
    let mut terminal = dashboard(&workspace);
    terminal.row("steady", "running");
    assert!(terminal.is_alternate());
    unsafe { libc::kill(terminal.pid(), libc::SIGTERM) };
    let end = terminal.ended();
    assert!(end.code() == Some(143) || end.signal() == Some(15), "{end:?}");
    wait_until("the terminal is given back", || !terminal.is_alternate());
    assert_eq!(status(&workspace, "steady"), "running");
    // Stop all and quit.
    let mut terminal = dashboard(&workspace);
    terminal.row("steady", "running");
    terminal.press("q");
    terminal.sees("detach");
    terminal.press("s");
    assert_eq!(terminal.ended().code(), Some(0));
    wait_until("nobody supervises any more", || workspace.run(&["status"]).0 == Some(3));
}

#[test]
fn a_storm_of_resizes() {
    let workspace = Workspace::new(&json!({
        "talker": { "command": "while :; do seq 1 200; sleep 0.05; done" },
        "steady": { "command": "exec sleep 600" },
    }));
    let mut terminal = dashboard(&workspace);
    terminal.row("steady", "running");
    for step in 0..200_u16 {
        terminal.resize(1 + step * 7 % 60, 1 + step * 13 % 200);
    }
    terminal.resize(4, 20);
    terminal.until("it says what it needs", |screen| {
        screen.iter().any(|row| row.chars().any(|c| c.is_ascii_digit()))
    });
    terminal.resize(30, 110);
    terminal.row("steady", "running");
    terminal.press("qd");
    assert_eq!(terminal.ended().code(), Some(0));
    assert_eq!(status(&workspace, "steady"), "running");
}

#[test]
fn the_supervisor_is_killed_while_somebody_watches() {
    let workspace = Workspace::new(&json!({
        "steady": { "command": "exec sleep 600" },
        "other": { "command": "exec sleep 600" },
    }));
    let mut terminal = dashboard(&workspace);
    terminal.row("steady", "running");
    let pid = workspace.runner("steady")["pid"].clone();
    let old = workspace.supervisor();
    kill_9(old);
    wait_for("a successor", || {
        let now = workspace.holder()?["pid"].as_i64()?;
        (now != i64::from(old) && is_alive(i32::try_from(now).ok()?)).then_some(())
    });
    // The same screens go on with the successor: an order is carried out.
    terminal.until("the banner is gone", |screen| {
        screen.iter().any(|row| row.contains("steady") && row.contains("running"))
            && !screen.iter().any(|row| row.contains("supervisor gone"))
    });
    assert_eq!(workspace.runner("steady")["pid"], pid);
    wait_until("an order is carried out", || {
        terminal.press("r");
        terminal.press(ENTER);
        workspace.status().iter().any(|runner| runner["attempt"].as_i64() > Some(1))
    });
    terminal.press("\x03");
    terminal.press("d");
    assert_eq!(terminal.ended().code(), Some(0));
}

/// Characters, cursor moves, colours, modes that the dashboard itself sets: all that it writes.
fn assert_harmless(raw: &[u8]) {
    let text = std::str::from_utf8(raw).expect("only characters are written");
    let own = regex::Regex::new(
        "\x1b\\[(?:[0-9;:]*m|[0-9]*(?:;[0-9]+)?H|[0-9]*[JK]|\\?(?:25|1000|1002|1006|1049|2004|2026)[lh]|[0-9]*n)",
    )
    .unwrap();
    let rest = own.replace_all(text, "");
    // What is said after the terminal was given back ends with a line.
    let strange = rest.char_indices().find(|(_, c)| c.is_control() && !matches!(c, '\n' | '\r'));
    if let Some((at, _)) = strange {
        let around: String = rest[at..].chars().take(40).collect();
        panic!("{around:?} was written");
    }
}

#[test]
fn hostile_output_never_reaches_the_terminal() {
    let script = concat!(
        "printf '\\033]52;c;c2VjcmV0\\007osc\\n'; printf '\\033[2J\\033[H\\033[5;5Hmoves\\n'; ",
        "printf '\\033[?1049h\\033[?1003hscreen\\n'; printf '\\2332J\\23552;c;eA==\\234eight\\n'; ",
        "printf '\\302\\2332J\\302\\23552;c;eA==\\302\\234C1\\n'; ",
        "head -c 1048576 /dev/zero | tr '\\0' x; echo; ",
        "printf '\\377\\376\\200\\303(\\n'; printf '日本語e\\314\\201 👨\\342\\200\\215👩\\n'; ",
        "printf '\\033]0;title\\007\\033]9;note\\007\\033Pq~\\033\\\\\\007\\n'; ",
        "printf '\\033[31mred and done\\033[0m\\n'; exec sleep 600"
    );
    let workspace = Workspace::new(&json!({ "hostile": { "command": script } }));
    let mut terminal = dashboard(&workspace);
    terminal.sees("red and done");
    terminal.press("l");
    terminal.press("g");
    terminal.sees("moves");
    terminal.press("w");
    for _ in 0..5 {
        terminal.press(" \x1b[6~");
    }
    terminal.press("w");
    terminal.press("G");
    terminal.sees("red and done");
    terminal.press("qd");
    assert_eq!(terminal.ended().code(), Some(0));
    let raw = terminal.raw();
    assert_harmless(&raw);
    let text = String::from_utf8_lossy(&raw);
    assert!(regex::Regex::new("\x1b\\[38;5;1[;m]").unwrap().is_match(&text), "its colours are shown");
}

#[test]
fn attached_every_key_but_the_way_out_goes_to_the_runner() {
    let script = "stty -echo; printf 'name? '; read name; echo hello $name; stty size; trap 'echo caught' INT; \
        echo trapped; while :; do sleep 0.05; done";
    let workspace = Workspace::new(&json!({ "asks": { "command": script, "stdio": "tty" } }));
    let mut terminal = dashboard(&workspace);
    terminal.sees("name?");
    terminal.press("a");
    terminal.sees("ctrl-] leaves");
    terminal.sees("name?");
    terminal.press("Ada q\r");
    terminal.sees("hello Ada q");
    // One row is the frame's.
    terminal.sees("29 110");
    terminal.sees("trapped");
    terminal.press("\x03");
    terminal.sees("caught");
    assert_eq!(status(&workspace, "asks"), "running");
    terminal.press("\x1d");
    terminal.row("asks", "running");
    terminal.press("qd");
    assert_eq!(terminal.ended().code(), Some(0));
    assert_harmless(&terminal.raw());
    assert_eq!(status(&workspace, "asks"), "running");
}
