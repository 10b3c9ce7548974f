//! The dashboard as a guest of the terminal: what it takes, what it gives back, what it says, how fast it answers.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::terminal::Terminal;
use crate::support::wait_until;
use crate::support::workspace::Workspace;

const USUAL: (u16, u16) = (120, 36);

fn sleeper() -> Value {
    json!({ "command": ["sleep", "infinity"] })
}

/// Until the row that holds the one text also holds the other.
#[track_caller]
fn row(terminal: &Terminal, of: &str, holds: &str) {
    terminal.expect_that(&format!("{of}: {holds}"), |screen| {
        screen.lines().any(|line| line.contains(of) && line.contains(holds))
    });
}

fn dashboard(workspace: &Workspace) -> Terminal {
    Terminal::start(workspace.command(&[]), USUAL)
}

#[test]
fn whoever_detaches_is_told_what_goes_on() {
    let workspace = Workspace::new(&json!({ "a": sleeper() }));
    let mut terminal = dashboard(&workspace);
    row(&terminal, "a", "running");
    assert!(terminal.is_alternate() && !terminal.is_cooked());
    let pid = workspace.runner("a")["pid"].clone();
    terminal.press("q");
    terminal.expect("One runner is live");
    terminal.press("d");
    assert_eq!(terminal.ended().code(), Some(0));
    terminal.expect("one runner goes on");
    assert!(terminal.is_cooked() && !terminal.is_alternate());
    // The next one shows the same.
    dashboard(&workspace).expect(&format!("pid {pid}"));
}

#[test]
fn a_terminal_that_goes_away_takes_no_runner_with_it() {
    let workspace = Workspace::new(&json!({ "a": sleeper() }));
    let mut terminal = dashboard(&workspace);
    row(&terminal, "a", "running");
    unsafe { libc::kill(i32::try_from(terminal.child.id()).unwrap(), libc::SIGHUP) };
    assert_eq!(terminal.ended().code(), Some(129));
    assert!(terminal.is_cooked());
    assert_eq!(workspace.runner("a")["status"], "running");
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
    let mut terminal = Terminal::start(workspace.command(&["up", "b"]), USUAL);
    row(&terminal, "b", "running");
    row(&terminal, "a", "idle");
    terminal.press("qd");
    terminal.ended();
    // Also where somebody supervises already.
    let terminal = Terminal::start(workspace.command(&["up", "a"]), USUAL);
    row(&terminal, "a", "running");
}

#[test]
fn colours_and_glyphs_are_those_of_the_terminal() {
    let workspace = Workspace::new(&json!({ "a": sleeper() }));
    let mut command = workspace.command(&["--no-color"]);
    command.env("LC_CTYPE", "C");
    let mut terminal = Terminal::start(command, USUAL);
    row(&terminal, "> * a", "running");
    terminal.press("qd");
    terminal.ended();
    let raw = String::from_utf8(terminal.bytes()).unwrap();
    let beyond: String = raw.chars().filter(|c| !c.is_ascii()).collect();
    assert_eq!(beyond, "");
    let coloured = regex::Regex::new("\x1b\\[[0-9;]*(?:38|48|3[0-7]|4[0-7]|9[0-7])[0-9;]*m").unwrap();
    assert_eq!(coloured.find(&raw).map(|found| found.as_str()), None);
}

#[test]
fn an_idle_dashboard_writes_nothing() {
    let workspace = Workspace::new(&json!({ "a": { "command": "true" }, "b": sleeper() }));
    let mut terminal = dashboard(&workspace);
    row(&terminal, "a", "completed");
    terminal.press("jx\r");
    row(&terminal, "b", "stopped");
    terminal.press("?");
    terminal.expect("Everywhere");
    // What was on its way has come, and from then on nothing is drawn, not even the same again.
    wait_until("silence", || terminal.is_silent_for(Duration::from_millis(2500)));
}
