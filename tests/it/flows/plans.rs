//! What a plan says, and what it is refused for, where the run, the file or the disk are not as they were.

use serde_json::{Value, json};

use super::{Flows, stage};
use crate::support::wait_until;

const WAITS: &str = "until [ -e go ]; do sleep 0.02; done";

#[test]
fn a_retry_keeps_to_the_concurrency_of_its_flow() {
    let flow = |concurrency: &str, name: &str| json!({ "concurrency": concurrency, "stages": [stage(name, WAITS, json!({}))] });
    let flows = Flows::new(&json!({ "r": flow("refuse", "a"), "q": flow("queue", "b") }));
    for (flow, stage) in [("r", "a"), ("q", "b")] {
        let fails = format!("fail.{stage}");
        flows.write(&fails, "");
        flows.ends(1, &["run", flow]);
        flows.remove(&fails);
        flows.ok(&["run", flow, "--detach"]);
    }
    let told = flows.ends(1, &["retry", "r-1"]);
    assert!(
        told.contains("r-2 of the same flow is under way") && told.contains("restage cancel r-2"),
        "{told}"
    );
    flows.ok(&["retry", "q-1", "--detach"]);
    assert_eq!(flows.show("q-3")["status"], "queued");
    flows.write("go", "");
    flows.until("q-3", "succeeded");
    let (before, after) = (flows.show("q-2"), flows.show("q-3"));
    let at = |run: &Value, key: &str| run[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(at(&before, "ended_at") <= at(&after, "started_at"));
    flows.until("r-2", "succeeded");
    flows.ok(&["retry", "r-1"]);
}

#[test]
fn a_chain_may_be_ten_deep_and_a_checkpoint_be_retried_so_often() {
    let flows = Flows::new(&json!({ "f": { "max_retries_per_checkpoint": 14, "stages": [
        stage("a", "", json!({})), stage("b", "", json!({ "needs": ["a"] }))
    ] } }));
    flows.write("fail.b", "");
    flows.ends(1, &["run", "f"]);
    for depth in 1..=10 {
        flows.ends(1, &["retry", &format!("f-{depth}")]);
    }
    let told = flows.ends(16, &["retry", "f-11"]);
    assert!(told.contains("f-11 is 10 retries deep, and 10 is the limit"), "{told}");
    // f-2 is one of them.
    for _ in 0..4 {
        flows.ends(1, &["retry", "f-1"]);
    }
    let told = flows.ends(16, &["retry", "f-1"]);
    assert!(told.contains("a@1 was retried 14 times, and 14 is the limit"), "{told}");
}

#[test]
fn what_succeeded_in_a_retry_is_not_retried_though_another_stage_was_degraded_there() {
    let flows = Flows::new(&json!({ "f": { "stages": [
        stage("a", "", json!({})),
        stage("side", "exit 9", json!({ "degraded_exit_codes": [9] })),
    ] } }));
    flows.write("fail.a", "");
    flows.ends(1, &["run", "f"]);
    flows.remove("fail.a");
    flows.ends(4, &["retry", "f-1"]);
    let told = flows.ends(12, &["retry", "f-1"]);
    assert!(told.contains("a of f-1 succeeded in its retry f-2"), "{told}");
    // Of the degraded run, what was degraded is retried, and nothing else.
    flows.ends(4, &["retry", "f-2"]);
}

#[test]
fn inputs_that_are_required_or_typed_by_now_are_asked_for() {
    let flow = |inputs: Value| json!({ "f": { "inputs": inputs, "stages": [stage("a", "", json!({}))] } });
    let flows = Flows::new(&flow(json!({ "n": {} })));
    flows.write("fail.a", "");
    flows.ends(1, &["run", "f", "--input", "n=3"]);
    flows.remove("fail.a");
    flows.configure(&flow(json!({ "n": {}, "q": { "required": true } })));
    let told = flows.ends(15, &["retry", "f-1"]);
    assert!(told.contains("f requires the input q") && told.contains("restage retry f-1 --set q="), "{told}");
    let told = flows.ends(15, &["run", "f"]);
    assert!(told.contains("f requires the input q") && told.contains("restage run f --input q="), "{told}");
    flows.configure(&flow(json!({ "n": { "type": "integer" } })));
    let told = flows.ends(2, &["retry", "f-1"]);
    assert!(told.contains("which f-1 was given") && told.contains("restage retry f-1 --set n="), "{told}");
    flows.ok(&["retry", "f-1", "--set", "n=3"]);
    assert_eq!(flows.show("f-2")["inputs"], json!({ "n": 3 }));
}

#[test]
fn a_key_is_of_its_flow_and_of_its_inputs() {
    let flow = json!({ "inputs": { "q": {} }, "stages": [stage("a", "", json!({}))] });
    let flows = Flows::new(&json!({ "f": flow, "g": flow }));
    flows.ok(&["run", "f", "--key", "monday", "--input", "q=x"]);
    assert_eq!(flows.ok(&["run", "g", "--key", "monday", "--detach"]).trim(), "g-1");
    assert_eq!(flows.ok(&["run", "f", "--key", "monday", "--input", "q=x", "--detach"]).trim(), "f-1");
    let told = flows.ends(2, &["run", "f", "--key", "monday", "--input", "q=y"]);
    assert!(told.contains("f-1 has the key monday, and another value of q"), "{told}");
    assert!(told.contains("restage show f-1"), "{told}");
}

#[test]
fn a_changed_recipe_says_which_part_changed_and_of_items_all_are_done_again() {
    let flow = |script: &str, mode: &str| {
        json!({ "f": { "stages": [
            { "name": "list", "outputs": ["parts"],
              "command": "[ -e data.csv ] && echo '{\"parts\": [1, 2, 3]}' > $RESTAGE_OUTPUT" },
            { "name": "a", "needs": ["list"], "command": ["sh", script, "lib.sh"], "env": { "MODE": mode } },
            { "name": "each", "foreach": "parts", "needs": ["a"],
              "command": "sh each.sh < data.csv" },
        ] } })
    };
    let flows = Flows::new(&flow("a.sh", "one"));
    for name in ["a.sh", "lib.sh", "b.sh", "data.csv"] {
        flows.write(name, "true\n");
    }
    flows.write("each.sh", "echo each >> ran; [ $RESTAGE_ITEM_INDEX != 2 ]\n");
    flows.ends(1, &["run", "f"]);
    assert_eq!(flows.ran().len(), 3);
    let plan = |stage: &str| {
        let plan = flows.ok(&["retry", "f-1", "--force", "--dry-run", "--output", "json"]);
        let plan: Value = serde_json::from_str(&plan).unwrap();
        let planned =
            plan["stages"].as_array().unwrap().iter().find(|one| one["stage"] == stage).unwrap().clone();
        (
            planned["reason"].as_str().unwrap().to_owned(),
            planned["detail"].as_str().unwrap_or_default().to_owned(),
        )
    };
    let changed = |what: &str| ("recipe changed".to_owned(), what.to_owned());
    assert_eq!(plan("each").0, "failed");
    // A file that a shell only reads or tests is no part of it.
    flows.write("data.csv", "other\n");
    assert_eq!((plan("list").0.as_str(), plan("each").0.as_str()), ("verified", "failed"));
    flows.write("each.sh", "echo each >> ran\n");
    assert_eq!(plan("each"), changed("file each.sh; all items are executed again"));
    flows.ok(&["retry", "f-1"]);
    assert_eq!(flows.ran().len(), 3);
    flows.write("lib.sh", "false\n");
    assert_eq!(plan("a"), changed("file lib.sh"));
    flows.configure(&flow("a.sh", "two"));
    assert_eq!(plan("a"), changed("env MODE"));
    flows.configure(&flow("b.sh", "one"));
    assert_eq!(plan("a"), changed("command"));
}

#[test]
fn a_stage_that_was_ruled_out_is_a_target_once_its_input_allows_it() {
    let flows =
        Flows::new(&json!({ "f": { "inputs": { "go": { "type": "boolean", "default": false } }, "stages": [
        stage("a", "", json!({ "requires": ["go"] })),
        stage("s", "", json!({ "needs": ["a"], "when": "go" })),
        stage("t", "", json!({ "needs": ["s"] })),
    ] } }));
    flows.ok(&["run", "f"]);
    assert_eq!(flows.status("f-1", "s"), "skipped");
    let told = flows.ends(13, &["retry", "f-1", "--from", "s"]);
    assert!(told.contains("restage retry f-1 --from s --set go=…"), "{told}");
    flows.ok(&["retry", "f-1", "--from", "s", "--set", "go=true"]);
    assert_eq!(
        (flows.status("f-2", "s"), flows.status("f-2", "t")),
        ("succeeded".into(), "succeeded".into())
    );
}

#[test]
fn what_failed_attempts_cost_counts_and_what_they_were_given_is_gone() {
    let script = "echo half > $RESTAGE_ARTIFACTS/part; echo cost=1.5 > $RESTAGE_OUTPUT; \
        cat $RESTAGE_INPUTS/a/in; [ -e $RESTAGE_PREVIOUS/artifacts/part ] && echo $RESTAGE_PREVIOUS >> seen; [ -e good ]";
    let flows = Flows::new(&json!({ "f": { "stages": [
        stage("a", "echo in > $RESTAGE_ARTIFACTS/in; echo cost=1 > $RESTAGE_OUTPUT", json!({ "artifacts": ["in"] })),
        stage("b", script, json!({ "needs": ["a"], "artifacts": ["part"], "retry": { "count": 1, "backoff_seconds": 0.01 } })),
    ] } }));
    flows.ends(1, &["run", "f"]);
    assert_eq!(flows.show("f-1")["cost"], 4.0);
    for attempt in [1, 2] {
        let folder = flows.path(&format!(".restage/runs/f-1/b_{attempt}"));
        assert!(folder.join("artifacts/part").exists());
        wait_until("its inputs are gone", || !folder.join("inputs").exists());
    }
    // What was left is offered to the first attempt of a retry, too.
    flows.write("good", "");
    flows.remove("seen");
    flows.ok(&["retry", "f-1"]);
    assert!(flows.read("seen").trim().ends_with(".restage/runs/f-1/b_2"), "{}", flows.read("seen"));
    assert_eq!(flows.show("f-2")["cost"], 1.5);
}

#[test]
fn a_damaged_checkpoint_is_not_reused() {
    let flows = Flows::new(&json!({ "f": { "stages": [
        stage("a", "echo x=1 > $RESTAGE_OUTPUT", json!({ "outputs": ["x"] })),
        stage("b", "", json!({ "needs": ["a"] })),
    ] } }));
    flows.write("fail.b", "");
    flows.ends(1, &["run", "f"]);
    flows.ends(0, &["down"]);
    let history = rusqlite::Connection::open(flows.path(".restage/history.db")).unwrap();
    let changed =
        history.execute("UPDATE checkpoints SET outputs = '{\"x\":\"2\"}' WHERE stage = 'a'", []).unwrap();
    assert_eq!(changed, 1);
    drop(history);
    let told = flows.ends(14, &["retry", "f-1"]);
    assert!(told.contains("a@1 cannot be read: what it holds is not what was written"), "{told}");
    flows.remove("fail.b");
    flows.ran();
    flows.ok(&["retry", "f-1", "--from", "a"]);
    assert_eq!(flows.ran(), ["a", "b"]);
}

#[test]
fn what_failed_first_is_what_the_run_says_and_what_a_retry_starts_at() {
    let flows = Flows::new(&json!({ "f": { "stages": [
        stage("late", "until [ -e early-failed ]; do sleep 0.02; done; sleep 0.2; echo slow; exit 1", json!({})),
        stage("early", "touch early-failed; echo soon; exit 1", json!({})),
    ] } }));
    flows.ends(1, &["run", "f"]);
    assert_eq!(flows.show("f-1")["error"], "early: exit 1: soon");
    let plan: Value =
        serde_json::from_str(&flows.ok(&["retry", "f-1", "--dry-run", "--output", "json"])).unwrap();
    assert_eq!(plan["from"], "early");
}

#[test]
fn advice_is_given_once_and_an_item_that_is_not_there_is_told() {
    let flows = Flows::new(&json!({ "f": { "stages": [
        stage("quiet", "exec sleep 60", json!({ "activity_timeout_seconds": 0.3, "retry": { "count": 2, "backoff_seconds": 0.01 } })),
        stage("list", "echo '{\"parts\": [1, 2]}' > $RESTAGE_OUTPUT", json!({ "outputs": ["parts"] })),
        stage("each", "", json!({ "needs": ["list"], "foreach": "parts" })),
    ] } }));
    flows.ends(1, &["run", "f"]);
    let error = flows.stage("f-1", "quiet")["error"].as_str().unwrap().to_owned();
    assert!(error.contains("(3 attempts failed; "), "{error}");
    assert_eq!(error.matches("sits in a buffer").count(), 1, "{error}");
    let told = flows.ends(3, &["logs", "f-1/each", "--item", "9"]);
    assert!(told.contains("it has no item 9, but 2, from 0 to 1"), "{told}");
}

#[test]
fn the_memory_of_a_small_command_is_not_that_of_whoever_started_it() {
    let flows = Flows::new(&json!({ "f": { "stages": [
        { "name": "small", "command": ["true"] },
        { "name": "large", "command": "head -c 200000000 /dev/zero | tail -c 150000000 > /dev/null" },
    ] } }));
    flows.ok(&["run", "f"]);
    let peak = |stage: &str| flows.stage("f-1", stage)["attempts"][0]["peak_rss_bytes"].clone();
    assert!(peak("small").as_u64().is_none_or(|bytes| bytes < 10 << 20), "{}", peak("small"));
    assert!(peak("large").as_u64().is_some_and(|bytes| bytes > 100 << 20), "{}", peak("large"));
}

#[test]
fn runs_are_deleted_with_their_files_unless_somebody_builds_on_them() {
    let flows = Flows::new(&json!({ "f": { "stages": [
        stage("a", "echo $RESTAGE_RUN_ID > $RESTAGE_ARTIFACTS/x", json!({ "artifacts": ["x"] })),
        stage("b", WAITS, json!({ "needs": ["a"] })),
    ] } }));
    flows.write("fail.b", "");
    flows.ends(1, &["run", "f"]);
    flows.remove("fail.b");
    flows.ok(&["retry", "f-1", "--detach"]);
    let told = flows.ends(10, &["delete", "f-2"]);
    assert!(told.contains("f-2 is still running") && told.contains("restage cancel f-2"), "{told}");
    flows.write("go", "");
    flows.until("f-2", "succeeded");
    let told = flows.ends(1, &["delete", "f-1"]);
    assert!(
        told.contains("f-1 is built on by f-2") && told.contains("restage delete f-1 --cascade"),
        "{told}"
    );
    flows.ends(3, &["delete", "f-1", "nobody-7"]);
    assert_eq!(flows.count(), 3, "all or none");

    let object = flows.object(&flows.stage("f-1", "a")["artifacts"][0]["hash"]);
    let old = std::fs::File::options().append(true).open(&object);
    // Nobody may write into it, but whoever owns it may say when it was written.
    let old = old.or_else(|_| std::fs::File::open(&object)).unwrap();
    old.set_modified(std::time::SystemTime::now() - std::time::Duration::from_hours(2)).unwrap();
    let told: Value = serde_json::from_str(&flows.ok(&["delete", "f-1", "--cascade", "--json"])).unwrap();
    assert_eq!(told["runs"], json!(["f-1", "f-2"]));
    assert!(
        !object.exists()
            && !flows.path(".restage/runs/f-1").exists()
            && !flows.path(".restage/runs/f-2").exists()
    );
    flows.ends(3, &["show", "f-1"]);
    assert_eq!(flows.count(), 1);
    // Its number is not given again.
    flows.ok(&["run", "f"]);
    assert_eq!(flows.show("f-3")["status"], "succeeded");
}

#[test]
fn a_stage_that_reads_nothing_is_not_concerned_by_what_changes() {
    let flows = Flows::new(&json!({ "f": {
        "inputs": { "mode": { "default": "x" } },
        "stages": [
            stage("any", "", json!({})),
            stage("none", "", json!({ "requires": [] })),
            stage("last", "", json!({ "needs": ["any", "none"] })),
        ]
    } }));
    flows.write("fail.last", "");
    flows.ends(1, &["run", "f"]);
    flows.remove("fail.last");
    flows.ran();
    flows.ok(&["retry", "f-1", "--set", "mode=z"]);
    assert_eq!(flows.ran(), ["any", "last"]);
    assert_eq!(flows.stage("f-2", "none")["decision"], "reuse");
}

#[test]
fn a_graph_tells_programs_all_that_a_stage_waits_for() {
    let flows = Flows::new(&json!({ "f": { "stages": [
        stage("b", "", json!({})),
        stage("bv", "", json!({ "validates": "b" })),
        stage("e", "", json!({ "needs": ["b"] })),
    ] } }));
    let graph: serde_json::Value = serde_json::from_str(&flows.ok(&["graph", "f", "--json"])).unwrap();
    let waits: Vec<_> = graph.as_array().unwrap().iter().map(|node| node["waits_for"].clone()).collect();
    assert_eq!(waits, [json!([]), json!(["b"]), json!(["b", "bv"])]);
    assert_eq!(graph[2]["needs"], json!(["b"]));
}
