//! What an edit changes, in sentences.

use super::super::{Change, diff};
use super::Workspace;
use crate::domain::spec::Reload;

const BASE: &str = r#"{"runners": {"agent": {"command": "sleep 1", "env": {"A": "1", "B": "1"}}, "other": {"command": "x"}}}"#;

fn changes(before: &str, after: &str) -> (Vec<Change>, Vec<String>) {
    let workspace = Workspace::new();
    let old = workspace.load(before).unwrap().spec;
    let new = workspace.load(after).unwrap().spec;
    let changes = diff(&old, &new);
    let told = changes.iter().map(|change| workspace.neutral(&change.to_string())).collect();
    (changes, told)
}

fn told(before: &str, after: &str) -> Vec<String> {
    changes(before, after).1
}

#[test]
fn an_edit_that_means_the_same_changes_nothing() {
    assert_eq!(told(BASE, BASE), [""; 0]);
    assert_eq!(
        told(BASE, &BASE.replace("{\"runners\"", "{\"retry_max_retries\": 3, // c\n \"runners\"")),
        [""; 0]
    );
}

#[test]
fn each_kind_of_change_is_told_in_its_own_way() {
    let with = |keys: &str| BASE.replace("\"command\": \"sleep 1\"", keys);
    for (after, expected) in [
        (
            with(r#""command": "sleep 1", "retry_max_retries": 5, "timeout_seconds": 0.5"#),
            &["agent: retry_max_retries 3 -> 5, timeout_seconds off -> 0.5"][..],
        ),
        (with(r#""command": "sleep 2""#), &["agent: command changed, restart to apply"]),
        (
            with(r#""command": "sleep 2", "reload": "restart""#),
            &["agent: reload manual -> restart", "agent: command changed, restarting"],
        ),
        (
            BASE.replace(r#""A": "1", "B": "1""#, r#""A": "s3cret", "C": "1""#),
            &["agent: env (A, B, C) changed, restart to apply"],
        ),
        (
            with(r#""command": "sleep 1", "stdio": "pipe", "umask": "022""#),
            &["agent: stdio, umask changed, restart to apply"],
        ),
        (
            with(r#""command": "sleep 1", "log_max_bytes": 5000"#),
            &["agent: log_max_bytes off -> 5000 (from the next attempt)"],
        ),
        (BASE.replace("\"other\"", "\"third\""), &["third: added", "other: removed from the config"]),
        (
            BASE.replace("{\"runners\"", "{\"tui_refresh_seconds\": 2, \"retry_budget\": {\"max\": 5, \"per_seconds\": 60}, \"cgroup\": \"off\", \"runners\""),
            &["restage: retry_budget off -> 5 in 60 seconds, tui_refresh_seconds 1 -> 2, cgroup auto -> off (takes effect at the next start of restage)"],
        ),
        (
            BASE.replace("{\"runners\"", "{\"cache_dir\": \"cache\", \"runners\""),
            &["restage: cache_dir the user's cache folder -> ROOT/cache (takes effect at the next start of restage)"],
        ),
    ] {
        assert_eq!(told(BASE, &after), expected, "{after}");
    }
}

#[test]
fn the_supervisor_learns_what_to_do() {
    let after = BASE.replace("sleep 1", "sleep 2").replace("\"x\"", "\"x\", \"retry_jitter\": \"full\"");
    let (changes, _) = changes(BASE, &after);
    let [Change::Launch { name, what, reload: Reload::Manual }, Change::Policy { name: other, what: policy }] =
        &changes[..]
    else {
        panic!("{changes:?}")
    };
    assert_eq!((name.as_str(), other.as_str()), ("agent", "other"));
    assert_eq!((what.join(","), policy.join(",")), ("command".into(), "retry_jitter none -> full".into()));
}

#[test]
fn an_edited_flow_is_told_by_its_stages() {
    let base =
        r#"{"flows": {"f": {"stages": [{"name": "a", "command": "x"}, {"name": "b", "command": "x"}]}}}"#;
    for (after, expected) in [
        (base.to_owned(), &[][..]),
        (base.replace("\"f\"", "\"g\""), &["flow g: added", "flow f: removed from the config"]),
        (
            base.replace("\"stages\"", "\"timeout_seconds\": 5, \"env\": {\"A\": \"s3cret\"}, \"stages\""),
            &["flow f: timeout_seconds, env; stages changed: a, b, from its next run"],
        ),
        (
            base.replace(r#"{"name": "b", "command": "x"}"#, r#"{"name": "c", "command": "x"}"#)
                .replace(r#""a", "command": "x""#, r#""a", "command": "y""#),
            &["flow f: stages new: c; stages removed: b; stages changed: a, from its next run"],
        ),
        (
            base.replace("\"a\"", "\"t\"").replace("\"b\"", "\"a\"").replace("\"t\"", "\"b\""),
            &["flow f: the order of the stages, from its next run"],
        ),
    ] {
        assert_eq!(told(base, &after), expected, "{after}");
    }
}
