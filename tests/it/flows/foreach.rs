//! Stages that fan out over a list, how much runs at once, and what a skipped stage means for others.

use serde_json::{Value, json};

use super::{Flows, stage};

/// Tells how many of its kind run at once, at most.
const CROWD: &str = "mkdir -p live; : > live/$$; ls live | wc -l >> crowd; sleep 0.1; rm live/$$; ";

fn most(flows: &Flows) -> u32 {
    let crowd = flows.read("crowd");
    flows.remove("crowd");
    crowd.lines().map(|line| line.trim().parse().unwrap()).max().unwrap()
}

#[test]
fn items_run_so_many_at_once_and_are_gathered_in_order_and_only_unfinished_ones_run_again() {
    let each = format!(
        "item=$(cat $RESTAGE_ITEM); echo $RESTAGE_ITEM_INDEX >> items; {CROWD} \
         [ $RESTAGE_ITEM_INDEX != 2 ] || [ ! -e \"$PWD/fail.two\" ] || exit 1; \
         echo \"{{\\\"length\\\":$item}}\" > $RESTAGE_OUTPUT; echo \"$item\" > $RESTAGE_ARTIFACTS/file"
    );
    let flows = Flows::new(&json!({ "f": {
        "inputs": { "list": { "default": [5, 3, {"x": [1.0]}, 0, null, 9] } },
        "stages": [
            { "name": "each", "command": each, "foreach": { "key": "list", "max_parallel": 2 },
              "outputs": ["length"], "artifacts": ["file"] },
            stage("end", "cat $RESTAGE_STATE > state; cat $RESTAGE_INPUTS/each/*/file > files || true", json!({ "needs": ["each"] })),
        ]
    } }));
    let items = |flows: &Flows| {
        let text = flows.read("items");
        flows.remove("items");
        let mut items: Vec<u32> = text.lines().map(|line| line.parse().unwrap()).collect();
        items.sort_unstable();
        items
    };
    flows.write("fail.two", "");
    flows.ends(1, &["run", "f"]);
    assert_eq!(items(&flows), [0, 1, 2, 3, 4, 5]);
    assert_eq!(most(&flows), 2);
    let row = flows.stage("f-1", "each");
    assert_eq!(row["items"], json!({ "done": 5, "all": 6 }));
    assert_eq!(row["error"], "item 2: exit 1");
    flows.remove("fail.two");
    flows.ok(&["retry", "f-1"]);
    assert_eq!(items(&flows), [2]);
    let list = r#""list":[5,3,{"x":[1.0]},0,null,9]"#;
    assert_eq!(flows.read("state").trim(), format!(r#"{{"length":[5,3,{{"x":[1.0]}},0,null,9],{list}}}"#));
    assert_eq!(flows.read("files"), "5\n3\n{\"x\":[1.0]}\n0\nnull\n9\n");
    assert_eq!(flows.stage("f-2", "each")["items"], json!({ "done": 6, "all": 6 }));
    // An item more; the others stay what they were, wherever they stand.
    flows.write("inputs.json", r#"{"list": [9, 5, 7]}"#);
    flows.ok(&["run", "f", "--inputs", "inputs.json"]);
    assert_eq!(items(&flows), [0, 1, 2]);
    flows.write("inputs.json", r#"{"list": []}"#);
    flows.ok(&["run", "f", "--inputs", "inputs.json"]);
    assert_eq!(flows.read("state").trim(), r#"{"length":[],"list":[]}"#);
    flows.write("inputs.json", r#"{"list": {"no": "list"}}"#);
    flows.ends(1, &["run", "f", "--inputs", "inputs.json"]);
    let error = flows.stage("f-5", "each")["error"].as_str().unwrap().to_owned();
    assert!(error.contains("list"), "{error}");
}

#[test]
fn a_failing_item_is_retried_alone() {
    let each = "echo $RESTAGE_ITEM_INDEX/$RESTAGE_ATTEMPT >> items; \
        [ $RESTAGE_ITEM_INDEX != 1 ] || [ $RESTAGE_ATTEMPT = 3 ]";
    let flows = Flows::new(&json!({ "f": {
        "inputs": { "list": { "default": ["a", "b", "c"] } },
        "stages": [{ "name": "each", "command": each, "foreach": "list",
            "retry": { "enabled": true, "count": 2, "backoff_seconds": 0.02 } }]
    } }));
    flows.ok(&["run", "f"]);
    let text = flows.read("items");
    let mut items: Vec<&str> = text.lines().collect();
    items.sort_unstable();
    assert_eq!(items, ["0/1", "1/1", "1/2", "1/3", "2/1"]);
    assert_eq!(flows.stage("f-1", "each")["error"], Value::Null);
}

#[test]
fn no_more_stages_run_at_once_than_the_flow_allows() {
    let stages: Vec<Value> = (0..7).map(|number| stage(&format!("s{number}"), CROWD, json!({}))).collect();
    let flows = Flows::new(&json!({ "f": { "max_parallel": 3, "stages": stages } }));
    flows.ok(&["run", "f"]);
    assert_eq!(flows.ran().len(), 7);
    assert_eq!(most(&flows), 3);
}

#[test]
fn what_needs_a_skipped_stage_is_skipped_unless_it_can_do_without() {
    let flows = Flows::new(&json!({ "f": {
        "inputs": { "mode": { "default": "draft" } },
        "stages": [
            stage("maybe", "echo k=1 > $RESTAGE_OUTPUT", json!({ "when": "mode == \"final\"", "outputs": ["k"] })),
            stage("after", "", json!({ "needs": ["maybe"] })),
            stage("far", "", json!({ "needs": ["after"] })),
            stage("any", "cat $RESTAGE_STATE > state", json!({ "optional_needs": ["maybe"] })),
            stage("odd", "", json!({ "when": "mode > 3" })),
        ]
    } }));
    flows.ends(1, &["run", "f"]);
    assert_eq!(flows.ran(), ["any"]);
    assert_eq!(flows.read("state").trim(), r#"{"mode":"draft"}"#);
    let words = ["maybe", "after", "far", "any", "odd"].map(|one| flows.status("f-1", one));
    assert_eq!(words, ["skipped", "skipped", "skipped", "succeeded", "failed"]);
    let error = flows.stage("f-1", "odd")["error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("when: mode > 3: "), "{error}");
    let told = flows.ends(3, &["logs", "f-1/maybe"]);
    assert!(
        told.contains("it is skipped there, and never ran") && told.contains("restage show f-1"),
        "{told}"
    );
    let told = flows.ends(1, &["run", "f", "--inputs", "none.json"]);
    assert!(told.contains(&*flows.path("none.json").to_string_lossy()) && told.contains("hint: "), "{told}");
    flows.ends(1, &["run", "f", "--input", "mode=final"]);
    assert_eq!(flows.ran(), ["after", "any", "far", "maybe"]);
    // What it can do without, and what failed, is not done without.
    flows.write("fail.maybe", "");
    flows.ends(1, &["run", "f", "--input", "mode=final"]);
    assert_eq!(flows.status("f-3", "any"), "not_run");
    // What could not even begin failed before what ran for a while.
    let error = flows.show("f-3")["error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("odd: when: mode > 3: "), "{error}");
    let plan: Value =
        serde_json::from_str(&flows.ok(&["retry", "f-3", "--dry-run", "--output", "json"])).unwrap();
    assert_eq!(plan["from"], "odd");
    let reasons = ["odd", "maybe"].map(|name| {
        let stages = plan["stages"].as_array().unwrap();
        stages.iter().find(|stage| stage["stage"] == name).unwrap()["reason"].clone()
    });
    assert_eq!(reasons, ["failed", "failed"]);
}

#[test]
fn the_plan_of_a_retry_names_the_items_that_are_executed_again() {
    let each = "[ ! -e fail.$RESTAGE_ITEM_INDEX ] || exit 1; echo $RESTAGE_ITEM_INDEX >> items";
    let flows = Flows::new(&json!({ "f": {
        "inputs": { "list": { "default": ["a", "b", "c", "d"] } },
        "stages": [{ "name": "each", "command": each, "foreach": "list" }],
    } }));
    flows.write("fail.1", "");
    flows.write("fail.3", "");
    flows.ends(1, &["run", "f"]);
    let told = flows.ok(&["retry", "f-1", "--dry-run"]);
    assert!(told.contains("execute  each  failed: 2 of 4 items: 1, 3\n"), "{told}");
    for file in ["fail.1", "fail.3", "items"] {
        flows.remove(file);
    }
    flows.ok(&["retry", "f-1"]);
    let text = flows.read("items");
    let mut items: Vec<&str> = text.lines().collect();
    items.sort_unstable();
    assert_eq!(items, ["1", "3"]);
}
