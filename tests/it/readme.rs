//! The README says what the program does: its tables are held against the code.

use std::fmt::Write;
use std::process::Command;

use restage::config::keys::{KEYS, Key, Place};

use crate::support::RESTAGE;

fn readme() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap()
}

#[test]
fn it_begins_with_two_commands() {
    let text = readme();
    let first = text.split("```").nth(1).unwrap();
    let commands: Vec<&str> = first
        .lines()
        .skip(1)
        .map(|line| line.split('#').next().unwrap().trim())
        .filter(|line| !line.is_empty())
        .collect();
    assert_eq!(commands, ["cargo run --release", "cargo test"]);
}

const HEAD: &str = "| key | stands in | takes | default | meaning |\n|---|---|---|---|---|\n";

/// One table for what supervision knows, one for what only flows know.
///
/// `RESTAGE_WRITE_README=1 cargo test readme` writes them anew.
#[test]
fn the_tables_of_keys_are_those_of_the_code() {
    let (of_flows, others): (Vec<&Key>, Vec<&Key>) = KEYS.iter().partition(|key| {
        let place = key.places[0];
        matches!(place, Place::Flow | Place::Input | Place::Stage | Place::StageRetry | Place::Foreach)
    });
    let made = [table(&others), table(&of_flows)];
    let mut text = readme();
    let mut from = 0;
    for table in &made {
        let start = from + text[from..].find("| key | stands in |").unwrap();
        let end = start + text[start..].find("\n\n").unwrap() + 1;
        text.replace_range(start..end, table);
        from = start + table.len();
    }
    if std::env::var_os("RESTAGE_WRITE_README").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"), &text).unwrap();
    }
    assert!(readme() == text, "RESTAGE_WRITE_README=1 cargo test readme brings it in step");
}

fn table(keys: &[&Key]) -> String {
    let mut made = HEAD.to_owned();
    for key in keys {
        let place = key.places.iter().map(|place| place.label()).collect::<Vec<_>>().join(", ");
        let short = key.short.map(|short| format!("<br>in `retry`: `{short}`")).unwrap_or_default();
        let (takes, default) = (key.kind.takes(), key.default.replace('|', "\\|"));
        writeln!(made, "| `{}`{short} | {place} | {takes} | {default} | {} |", key.name, key.doc).unwrap();
    }
    made
}

#[test]
fn every_variable_that_a_child_sees_is_told() {
    let text = readme();
    for name in ["RUNNER", "ATTEMPT", "RETRY", "LOG", "TREE", "PID"] {
        assert!(text.contains(&format!("`RESTAGE_{name}`")), "README.md lacks RESTAGE_{name}");
    }
}

#[test]
fn every_key_of_a_status_row_is_told() {
    let workspace =
        crate::support::workspace::Workspace::new(&serde_json::json!({ "a": { "command": "true" } }));
    workspace.run(&["up", "--no-tui"]);
    let text = readme();
    for key in workspace.runner("a").as_object().unwrap().keys() {
        assert!(text.contains(&format!("`{key}`")), "README.md lacks the key {key} of status --json");
    }
}

#[test]
fn every_verb_stands_in_the_table() {
    let text = readme();
    let help = Command::new(RESTAGE).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let verbs =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let mut count = 0;
    for verb in
        verbs.filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).filter(|verb| !verb.is_empty())
    {
        count += 1;
        let row = format!("| `{verb}");
        assert!(text.lines().any(|line| line.starts_with(&row)), "README.md lacks the verb {verb}");
    }
    assert!(count >= 13, "only {count} verbs were found in\n{help}");
}

/// What a stranger pastes has to work.
#[test]
fn the_configs_that_it_writes_are_ready_to_start() {
    let text = readme();
    let configs: Vec<&str> = text
        .split("cat >config.json <<'EOF'\n")
        .skip(1)
        .map(|rest| rest.split("\nEOF\n").next().unwrap())
        .collect();
    assert_eq!(configs.len(), 2);
    for config in configs {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), config).unwrap();
        let output = Command::new(RESTAGE).arg("check").current_dir(dir.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{config}\n{output:?}");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(told.contains("ready to start") && !told.contains("warning"), "{told}");
    }
}
