//! The dashboard as a guest of the terminal: what it takes, what it gives back, what it says, how fast it answers.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::pty::Terminal;
use crate::support::wait_until;
use crate::support::workspace::Workspace;

fn sleeper() -> Value {
    json!({ "command": ["sleep", "infinity"] })
}

fn dashboard(workspace: &Workspace) -> Terminal {
    Terminal::start(workspace.command(&[]), 36, 120)
}

#[test]
fn whoever_detaches_is_told_what_goes_on() {
    let workspace = Workspace::new(&json!({ "a": sleeper() }));
    let mut terminal = dashboard(&workspace);
    terminal.row("a", "running");
    assert!(terminal.is_alternate() && !terminal.is_cooked());
    let pid = workspace.runner("a")["pid"].clone();
    terminal.press("q");
    terminal.sees("One runner is live");
    terminal.press("d");
    assert_eq!(terminal.ended().code(), Some(0));
    terminal.sees("one runner goes on");
    assert!(terminal.is_cooked() && !terminal.is_alternate());
    // The next one shows the same.
    dashboard(&workspace).sees(&format!("pid {pid}"));
}

#[test]
fn a_terminal_that_goes_away_takes_no_runner_with_it() {
    let workspace = Workspace::new(&json!({ "a": sleeper() }));
    let mut terminal = dashboard(&workspace);
    terminal.row("a", "running");
    unsafe { libc::kill(terminal.pid(), libc::SIGHUP) };
    assert_eq!(terminal.ended().code(), Some(129));
    assert!(terminal.is_cooked());
    assert_eq!(workspace.runner("a")["status"], "running");
}

#[test]
fn a_broken_config_is_told_before_the_terminal_is_taken() {
    let workspace = Workspace::new(&json!({ "a": { "comand": "true" } }));
    let mut terminal = dashboard(&workspace);
    assert_eq!(terminal.ended().code(), Some(2));
    terminal.sees("did you mean \"command\"");
    assert!(!String::from_utf8_lossy(&terminal.raw()).contains("\x1b[?1049h"));
}

#[test]
fn without_a_terminal_there_is_no_dashboard() {
    let workspace = Workspace::new(&json!({ "a": { "command": "echo done" } }));
    let (code, _, told) = workspace.run(&[]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("Ended a"), "{told}");
}

#[test]
fn names_on_the_command_line_are_started() {
    let workspace = Workspace::new(&json!({ "a": sleeper(), "b": sleeper() }));
    let mut terminal = Terminal::start(workspace.command(&["up", "b"]), 36, 120);
    terminal.row("b", "running");
    terminal.row("a", "idle");
    terminal.press("qd");
    terminal.ended();
    // Also where somebody supervises already.
    let terminal = Terminal::start(workspace.command(&["up", "a"]), 36, 120);
    terminal.row("a", "running");
}

#[test]
fn colours_and_glyphs_are_those_of_the_terminal() {
    let workspace = Workspace::new(&json!({ "a": sleeper() }));
    let mut command = workspace.command(&["--no-color"]);
    command.env("LC_ALL", "C");
    let mut terminal = Terminal::start(command, 36, 120);
    terminal.row("> * a", "running");
    terminal.press("qd");
    terminal.ended();
    let raw = String::from_utf8(terminal.raw()).unwrap();
    let beyond: String = raw.chars().filter(|c| !c.is_ascii()).collect();
    assert_eq!(beyond, "");
    let coloured = regex::Regex::new("\x1b\\[[0-9;]*(?:38|48|3[0-7]|4[0-7]|9[0-7])[0-9;]*m").unwrap();
    assert_eq!(coloured.find(&raw).map(|found| found.as_str()), None);
}

#[test]
fn an_idle_dashboard_writes_nothing() {
    let workspace = Workspace::new(&json!({ "a": { "command": "true" }, "b": sleeper() }));
    let mut terminal = dashboard(&workspace);
    terminal.row("a", "completed");
    terminal.press("jx\r");
    terminal.row("b", "stopped");
    terminal.press("?");
    terminal.sees("Everywhere");
    // What was on its way has come, and from then on nothing is drawn, not even the same again.
    wait_until("silence", || {
        let before = terminal.raw().len();
        std::thread::sleep(Duration::from_millis(2500));
        terminal.raw().len() == before
    });
}

#[test]
fn keys_answer_fast_while_much_is_going_on() {
    let chatty = "while :; do echo chatter; sleep 0.01; done";
    let mut runners = serde_json::Map::new();
    for number in 0..60 {
        let command = if number < 5 { chatty } else { "exec sleep infinity" };
        runners.insert(format!("r{number:02}"), json!({ "command": command }));
    }
    let workspace = Workspace::new(&Value::Object(runners));
    let mut terminal = dashboard(&workspace);
    terminal.sees("60 running");
    let mut slowest = Duration::ZERO;
    for (key, name) in [("G", "r59"), ("g", "r00"), ("G", "r59"), ("g", "r00"), ("j", "r01")] {
        let pressed = Instant::now();
        terminal.press(key);
        terminal.row("▌", name);
        slowest = slowest.max(pressed.elapsed());
    }
    // Generous, for other tests run at the same time; a wait for anything would be longer.
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
}
