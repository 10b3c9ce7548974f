//! How a diagnostic looks to a person and to a machine.

use super::super::{Missing, Severity, load_with};
use super::Workspace;

fn human(config: &str) -> String {
    let workspace = Workspace::new();
    let diagnostics = workspace.load(config).unwrap_err();
    workspace.neutral(&diagnostics.human())
}

#[test]
fn a_mark_stands_under_the_value() {
    let config = "{\n  \"runners\": {\n    \"agent\": {\n      \"command\": \"x\",\n      \"retry\": { \"count\": \"three\" }\n    }\n  }\n}\n";
    assert_eq!(
        human(config),
        r#"config.json:5:27: runners.agent.retry.count: expected a whole number of at least 0, found "three"
    |
  5 |       "retry": { "count": "three" }
    |                           ^^^^^^^"#
    );
}

#[test]
fn columns_count_characters_and_tabs_are_one() {
    assert_eq!(
        human("{\"runners\": {\"a\": {\t\"group\": \"größe\", \"cwd\": 5, \"command\": \"x\"}}}"),
        "config.json:1:46: runners.a.cwd: expected a folder as text, found 5\n    |\n  1 | {\"runners\": {\"a\": { \"group\": \"größe\", \"cwd\": 5, \"command\": \"x\"}}}\n    |                                              ^\n  hint: write it in quotes: \"5\""
    );
}

#[test]
fn a_long_line_is_shown_around_the_place() {
    let config = format!("{{\"runners\": {{\"a\": {{\"command\": \"{}\", \"cwd\": 5}}}}}}", "x".repeat(5000));
    let text = human(&config);
    assert!(text.lines().all(|line| line.chars().count() < 120), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    let mark = lines[3].chars().position(|c| c == '^').unwrap();
    assert_eq!(lines[2].chars().nth(mark), Some('5'), "{text}");
}

#[test]
fn the_line_of_a_variable_is_not_repeated() {
    let text = human(r#"{"runners": {"a": {"command": "x", "env": {"KEY": "s3cret $NONE"}}}}"#);
    assert!(text.contains("runners.a.env.KEY: the variable NONE is not set"), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let text =
        human("{\"runners\": {\"a\": {\"cwd\": \"\u{1b}[2J\", \"command\": \"\\u001b[31m\", \"stdin\": 5}}}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn a_machine_gets_every_field() {
    let workspace = Workspace::new();
    let diagnostics = workspace.load(r#"{"runners": {"a": {"comand": "x"}}}"#).unwrap_err();
    let json = serde_json::to_value(&diagnostics).unwrap();
    let expected = serde_json::json!([
        { "severity": "error", "file": json[0]["file"], "line": 1, "column": 14, "path": "runners.a",
          "message": "a runner needs a command",
          "hint": "add \"command\": [\"program\", \"argument\"], or a text for sh" },
        { "severity": "error", "file": json[0]["file"], "line": 1, "column": 20, "path": "runners.a.comand",
          "message": "unknown key", "hint": "did you mean \"command\"?" },
    ]);
    assert_eq!(json, expected);
}

#[test]
fn warnings_do_not_stop_anything() {
    let workspace = Workspace::new();
    let config = r#"{
  "retry_on_exit_codes": [0, 1],
  "runners": {
    "a": { "command": ["echo", "a", "&&", "b"], "activity": "cpu" },
    "b": { "command": ["missing"], "env_file": "plain.txt" }
  }
}"#;
    let loaded = workspace.load(config).unwrap();
    let text: Vec<String> = loaded.warnings.iter().map(|one| workspace.neutral(&one.to_string())).collect();
    assert_eq!(
        text.join("\n"),
        r#"config.json:2:26: warning: retry_on_exit_codes: exit code 0 is a good end, so it is not retried as a crash
  hint: take it out of success_exit_codes, or out of here
config.json:4:37: warning: runners.a.command[2]: "&&" is handed to "echo" as an argument
  hint: write the command as one text to have sh read it
config.json:4:61: warning: runners.a.activity: this has no effect without a limit for silence
  hint: set activity_timeout_seconds, too
config.json:5:24: warning: runners.b.command[0]: there is no program "missing" in PATH, unless env_file changes PATH
  hint: check its spelling, install it, or write its full path"#
    );
}

#[test]
fn a_successor_takes_what_is_missing_as_a_warning() {
    let workspace = Workspace::new();
    let config =
        r#"{"runners": {"a": {"command": ["./gone"], "cwd": "gone", "env_file": "gone", "stdin": "gone"}}}"#;
    let path = workspace.root().join("config.json");
    assert_eq!(workspace.load(config).unwrap_err().errors(), 3);
    let loaded = load_with(&path, &workspace.env(), Missing::Warning).unwrap();
    assert!(loaded.warnings.iter().all(|one| one.severity == Severity::Warning));
    assert_eq!(loaded.warnings.len(), 3);
    assert_eq!(loaded.spec.runners[0].launch.cwd, workspace.root().join("gone"));
    std::fs::write(&path, r#"{"runners": {"a": {"command": 5}}}"#).unwrap();
    assert!(load_with(&path, &workspace.env(), Missing::Warning).is_err());
}

#[test]
fn many_problems_on_one_line_are_each_shown_where_they_are() {
    let count = 20_000;
    let list = (0..count).map(|n| format!("\"ä{n}\": {{}}")).collect::<Vec<_>>().join(", ");
    let workspace = Workspace::new();
    let diagnostics = workspace.load(format!("{{\"runners\": {{{list}}}}}")).unwrap_err();
    let columns: Vec<usize> = diagnostics.0.iter().map(|one| one.at.unwrap().column).collect();
    assert_eq!(columns.len(), 2 * count, "a bad name each, and no command");
    assert!(columns.is_sorted());
    let last = diagnostics.0.last().unwrap().human();
    let lines: Vec<&str> = last.lines().collect();
    let mark = lines[3].chars().position(|c| c == '^').unwrap();
    assert_eq!(lines[2].chars().skip(mark).collect::<String>(), "\"ä19999\": {}}}");
}
