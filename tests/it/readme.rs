//! The README says what the program does: its tables are held against the code.

use std::process::Command;

use restage::config::keys::KEYS;

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

/// `RESTAGE_WRITE_README=1 cargo test readme` writes it anew.
#[test]
fn the_table_of_keys_is_that_of_the_code() {
    let mut made = HEAD.to_owned();
    for key in KEYS {
        let place = key.places.iter().map(|place| place.label()).collect::<Vec<_>>().join(", ");
        let short = key.short.map(|short| format!("<br>in `retry`: `{short}`")).unwrap_or_default();
        let (takes, default) = (key.kind.takes(), key.default.replace('|', "\\|"));
        made += &format!("| `{}`{short} | {place} | {takes} | {default} | {} |\n", key.name, key.doc);
    }
    let text = readme();
    let (before, rest) = text.split_once("| key | stands in |").unwrap();
    let (_, after) = rest.split_once("\n\n").unwrap();
    if std::env::var_os("RESTAGE_WRITE_README").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
        std::fs::write(path, format!("{before}{made}\n{after}")).unwrap();
    }
    assert!(readme().contains(&made), "RESTAGE_WRITE_README=1 cargo test readme brings it in step");
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
