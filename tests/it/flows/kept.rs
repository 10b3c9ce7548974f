//! What is not to be deleted, though no run on record names it: the base of a branch.

use serde_json::{Value, json};

use super::{Flows, stage};

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
