//! What lies on the disk and is not any more what was written: it is not reused, and what is whole is.

use serde_json::json;

use super::{Flows, stage};

#[test]
fn an_item_whose_artifact_is_damaged_runs_again_and_the_others_do_not() {
    let each = "echo $RESTAGE_ITEM_INDEX >> items; cat $RESTAGE_ITEM > $RESTAGE_ARTIFACTS/file; \
        [ ! -e fail.$RESTAGE_ITEM_INDEX ] || exit 1";
    let flows = Flows::new(&json!({ "f": {
        "inputs": { "list": { "default": ["aa", "bb", "cc", "dd"] } },
        "stages": [
            { "name": "each", "command": each, "foreach": "list", "artifacts": ["file"] },
            stage("end", "cat $RESTAGE_INPUTS/each/*/file > files", json!({ "needs": ["each"] })),
        ],
    } }));
    flows.write("fail.3", "");
    flows.ends(1, &["run", "f"]);
    flows.remove("fail.3");
    flows.remove("items");
    let object = flows.object(&json!(blake3::hash(b"\"bb\"").to_hex().to_string()));
    assert!(object.exists(), "{}", object.display());
    std::fs::remove_file(&object).unwrap();
    std::fs::write(&object, "\"xx\"").unwrap();
    let told = flows.ok(&["retry", "f-1", "--dry-run"]);
    assert!(told.contains("failed: 2 of 4 items: 1, 3"), "{told}");
    flows.ok(&["retry", "f-1"]);
    let items = flows.read("items");
    let mut items: Vec<&str> = items.lines().collect();
    items.sort_unstable();
    assert_eq!(items, ["1", "3"]);
    assert_eq!(flows.read("files").replace('\n', ""), r#""aa""bb""cc""dd""#);
}

#[test]
fn where_a_checkpoint_cannot_be_read_the_one_before_it_is_reused_and_the_plan_says_so() {
    let flows = Flows::new(&json!({ "f": { "stages": [
        stage("a", "echo x=$(cat value) > $RESTAGE_OUTPUT", json!({ "outputs": ["x"] })),
        stage("b", "cat $RESTAGE_STATE > state", json!({ "needs": ["a"] })),
    ] } }));
    flows.write("fail.b", "");
    for (value, verb) in [("1", &["run", "f"][..]), ("2", &["retry", "f-1", "--from", "a", "--force"])] {
        flows.write("value", value);
        flows.ends(1, verb);
    }
    flows.ends(0, &["down"]);
    let history = rusqlite::Connection::open(flows.path(".restage/history.db")).unwrap();
    let damage = "UPDATE checkpoints SET outputs = '{\"x\":\"9\"}' WHERE stage = 'a' AND version = 2";
    assert_eq!(history.execute(damage, []).unwrap(), 1);
    drop(history);
    flows.remove("fail.b");
    flows.ran();
    let told = flows.ends(1, &["state", "f-2"]);
    assert!(told.contains("it is not to be relied on: a@2 does not hold what was written"), "{told}");
    flows.ok(&["state", "f-1"]);
    let told = flows.ok(&["retry", "f-2", "--dry-run"]);
    let why = "a@1 from f-1, verified: a@2 cannot be read: what it holds is not what was written";
    assert!(told.contains(why), "{told}");
    flows.ok(&["retry", "f-2"]);
    assert_eq!((flows.ran(), flows.read("state").trim()), (vec!["b".to_owned()], r#"{"x":"1"}"#));
    let reused = flows.stage("f-3", "a");
    assert_eq!((&reused["source_run_id"], &reused["checkpoint"]["id"]), (&json!("f-1"), &json!("a@1")));
}
