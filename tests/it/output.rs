//! A runner's own output and its terminal, from the built program to the screen: logs that are searched, hostile bytes,
//! and a person who types into a runner.

use serde_json::json;

use crate::support::terminal::Terminal;
use crate::support::workspace::Workspace;

fn dashboard(workspace: &Workspace) -> Terminal {
    Terminal::start(workspace.command(&[]), (110, 30))
}

fn status(workspace: &Workspace, name: &str) -> String {
    workspace.runner(name)["status"].as_str().unwrap().to_owned()
}

/// The rows that are lines of the log.
fn lines(screen: &str) -> Vec<&str> {
    screen.lines().filter(|row| row.contains(" of it")).collect()
}

#[test]
fn a_log_is_searched_and_filtered_as_fast_as_somebody_types() {
    let workspace = Workspace::new(&json!({
        "talker": { "command": "seq -f 'line %g of it' 1 5000; exec sleep 600" },
    }));
    let mut terminal = dashboard(&workspace);
    terminal.expect("line 5000 of it");
    terminal.press("l");
    terminal.expect_that("the log has the screen", |screen| lines(screen).len() > 20);
    terminal.press("/line 123");
    terminal.expect("search: line 123");
    terminal.press("\r");
    terminal.expect("line 1239 of it");
    // As fast as somebody can type.
    terminal.press("NNNNNNNNN");
    terminal.expect("line 1230 of it");
    terminal.press("g");
    terminal.expect("line 1 of it");
    terminal.press("n");
    terminal.press("&77");
    terminal.press("\r");
    terminal.expect_that("only what matches", |screen| {
        let lines = lines(screen);
        lines.len() > 10 && lines.iter().all(|row| row.contains("77"))
    });
    terminal.press("qd");
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
    terminal.expect("red and done");
    terminal.press("l");
    terminal.press("g");
    terminal.expect("moves");
    terminal.press("w");
    for _ in 0..5 {
        terminal.press(" \x1b[6~");
    }
    terminal.press("w");
    terminal.press("G");
    terminal.expect("red and done");
    terminal.press("qd");
    assert_eq!(terminal.ended().code(), Some(0));
    let raw = terminal.bytes();
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
    terminal.expect("name?");
    terminal.press("a");
    terminal.expect("ctrl-] leaves");
    terminal.expect("name?");
    terminal.press("Ada q\r");
    terminal.expect("hello Ada q");
    // One row is the frame's.
    terminal.expect("29 110");
    terminal.expect("trapped");
    terminal.press("\x03");
    terminal.expect("caught");
    assert_eq!(status(&workspace, "asks"), "running");
    terminal.press("\x1d");
    terminal.expect("● asks");
    terminal.press("qd");
    assert_eq!(terminal.ended().code(), Some(0));
    assert_harmless(&terminal.bytes());
    assert_eq!(status(&workspace, "asks"), "running");
}
