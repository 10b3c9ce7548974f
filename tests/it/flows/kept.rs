//! What is not to be deleted, though no run on record names it: the base of a branch, what waits to be written down.

use serde_json::{Value, json};

use super::left::{WAITS, is_running};
use super::{Flows, stage};
use crate::support::wait_until;

#[test]
fn what_a_branch_leaves_from_goes_only_with_the_branch() {
    let flows = Flows::new(&json!({ "f": { "stages": [
        stage("a", "echo x=1 > $RESTAGE_OUTPUT", json!({ "outputs": ["x"] })),
        stage("b", "", json!({ "needs": ["a"] })),
    ] } }));
    flows.ok(&["run", "f"]);
    flows.ok(&["fork", "f-1", "--at", "a@1", "--branch", "night"]);
    flows.ok(&["edit", "f-1", "a", "--branch", "night", "--set", "x=2"]);
    flows.ok(&["retry", "f-1", "--from", "a", "--force"]);
    let told = flows.ends(1, &["delete", "f-1"]);
    assert!(told.contains("f-1 is built on by branch night") && told.contains("--cascade"), "{told}");
    flows.ok(&["continue", "f-2", "--branch", "night"]);
    let told = flows.ends(1, &["delete", "f-1"]);
    assert!(told.contains("f-1 is built on by f-3, branch night"), "{told}");
    let told: Value = serde_json::from_str(&flows.ok(&["delete", "f-1", "--cascade", "--json"])).unwrap();
    assert_eq!(told["runs"], json!(["f-1", "f-3"]));
    let told: Value = serde_json::from_str(&flows.ok(&["show", "f-2", "--json"])).unwrap();
    assert_eq!(told["branches"].as_array().map(Vec::len), Some(1), "{told:#}");
}

#[test]
fn what_waits_to_be_written_down_is_not_collected() {
    let flows = Flows::new(&json!({ "f": { "stages": [
        stage("a", &format!("{WAITS}; echo made > $RESTAGE_ARTIFACTS/x"), json!({ "artifacts": ["x"] })),
        stage("b", "", json!({ "needs": ["a"] })),
    ] } }));
    flows.ok(&["run", "f", "--detach"]);
    is_running(&flows, "a");
    let history = rusqlite::Connection::open(flows.path(".restage/history.db")).unwrap();
    history.execute_batch("BEGIN IMMEDIATE").unwrap();
    flows.write("go.a", "");
    let held = || {
        let shown: Value = serde_json::from_str(&flows.ok(&["show", "f-1", "--json"])).unwrap();
        shown["held"].as_str().is_some_and(|why| why.contains("another process writes"))
    };
    wait_until("its end cannot be written down", held);
    let files = |folder: &std::path::Path| -> Vec<std::path::PathBuf> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let objects = || -> Vec<_> {
        let folders = files(&flows.path(".restage/objects"));
        folders.iter().filter(|folder| !folder.ends_with("new")).flat_map(|folder| files(folder)).collect()
    };
    let before = objects();
    assert_eq!(before.len(), 1, "{before:?}");
    let object = std::fs::File::open(&before[0]).unwrap();
    object.set_modified(std::time::SystemTime::now() - std::time::Duration::from_hours(2)).unwrap();
    flows.ok(&["gc"]);
    assert_eq!(objects(), before);
    history.execute_batch("ROLLBACK").unwrap();
    flows.until("f-1", "succeeded");
    assert_eq!(flows.ok(&["artifacts", "f-1", "--get", "x", "--to", "-"]), "made\n");
}
