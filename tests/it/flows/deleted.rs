//! What goes with a run that is deleted.

use serde_json::{Value, json};

use super::{Flows, stage};

#[test]
fn branches_that_go_with_a_run_are_told() {
    let flows = Flows::new(&json!({ "f": { "stages": [
        stage("a", "", json!({})), stage("b", "", json!({ "needs": ["a"] })),
    ] } }));
    flows.ok(&["run", "f"]);
    flows.ok(&["fork", "f-1", "--at", "a@1", "--branch", "darker"]);
    flows.ok(&["continue", "f-1", "--branch", "darker"]);
    flows.ok(&["fork", "f-1", "--at", "b@1", "--branch", "brighter"]);
    let told: Value = serde_json::from_str(&flows.ok(&["delete", "f-1", "--cascade", "--json"])).unwrap();
    let gone = |name: &str| json!({ "root_run_id": "f-1", "branch_name": name });
    assert_eq!(told["runs"], json!(["f-1", "f-2"]), "{told:#}");
    assert_eq!(told["branches"], json!([gone("darker"), gone("brighter")]), "{told:#}");

    flows.ok(&["run", "f"]);
    flows.ok(&["fork", "f-3", "--at", "a@1", "--branch", "darker"]);
    let told = flows.ends(0, &["delete", "f-3", "--cascade"]);
    assert!(told.contains("deleted, with branch darker, "), "{told}");
    // One that loses no branch tells of none.
    flows.ok(&["run", "f"]);
    let told: Value = serde_json::from_str(&flows.ok(&["delete", "f-4", "--json"])).unwrap();
    assert_eq!(told.get("branches"), None, "{told:#}");
}
