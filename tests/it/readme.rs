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

#[test]
fn every_key_stands_in_the_table_with_its_default_and_meaning() {
    let text = readme();
    for key in KEYS {
        let place = key.places.iter().map(|place| place.label()).collect::<Vec<_>>().join(", ");
        let short = key.short.map(|short| format!("<br>in `retry`: `{short}`")).unwrap_or_default();
        let default = key.default.replace('|', "\\|");
        let row = format!("| `{}`{short} | {place} | {default} | {} |", key.name, key.doc);
        assert!(text.lines().any(|line| line == row), "README.md lacks the row\n{row}");
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
