//! The command after a run: it runs once for its end, whoever dies meanwhile, and what became of it is on record.

use serde_json::{Value, json};

use super::{Flows, stage};
use crate::support::{kill_9, wait_for, wait_until};

const HOOK: &str = "echo $RESTAGE_RUN_ID >> hooked; until [ -e go ]; do sleep 0.02; done; echo told; exit 3";

fn flows() -> Flows {
    let flows = Flows::new(&json!({ "f": {
        "env": { "API_TOKEN": "secret" }, "on_failure": format!("test $API_TOKEN = secret && {HOOK}"),
        "stages": [stage("a", "exit 1", json!({}))]
    } }));
    flows.ends(1, &["run", "f"]);
    wait_until("the command after it runs", || flows.read("hooked") == "f-1\n");
    let hook = &flows.show("f-1")["hook"];
    assert_eq!((&hook["name"], &hook["ended_at"]), (&json!("on_failure"), &Value::Null));
    flows
}

fn ended(flows: &Flows) -> Value {
    wait_for("the end of the command after it", || {
        let hook = flows.show("f-1")["hook"].clone();
        hook["ended_at"].is_string().then_some(hook)
    })
}

#[test]
fn it_is_found_again_by_the_successor_of_a_supervisor_that_was_killed() {
    let flows = flows();
    let told = flows.ok(&["show", "f-1"]);
    assert!(told.contains("on_failure: has not ended; restage logs f-1/on_failure"), "{told}");
    let first = flows.space.supervisor();
    kill_9(first);
    wait_until("a successor", || flows.space.supervisor() != first);
    flows.write("go", "");
    let hook = ended(&flows);
    assert_eq!(
        (&hook["number"], &hook["exit_code"], &hook["error"]),
        (&json!(1), &json!(3), &json!("exit 3"))
    );
    assert_eq!(flows.read("hooked"), "f-1\n");
    let told = flows.ok(&["show", "f-1"]);
    assert!(told.contains("on_failure: exit 3 after "), "{told}");
    let shown: Value = serde_json::from_str(&flows.ok(&["show", "f-1", "--json"])).unwrap();
    assert_eq!(shown["hook"], hook);
    assert_eq!(flows.ok(&["logs", "f-1/on_failure"]), "told\n");
}

#[test]
fn one_that_was_stopped_with_its_supervisor_is_executed_again_by_the_next() {
    let flows = flows();
    flows.ok(&["down"]);
    let told = flows.ok(&["show", "f-1"]);
    assert!(told.contains("on_failure: has not ended; the next supervisor sees to it"), "{told}");
    flows.write("go", "");
    flows.ok(&["run", "warm", "--detach"]);
    let hook = ended(&flows);
    assert_eq!((&hook["number"], &hook["exit_code"]), (&json!(2), &json!(3)));
    assert_eq!(flows.read("hooked"), "f-1\nf-1\n");
    assert!(hook["log"].as_str().unwrap().ends_with("logs/on_failure_2.log"), "{hook}");
}

#[test]
fn one_that_hangs_is_cut_with_all_that_it_started_and_the_record_says_so() {
    let flows = Flows::new(&json!({ "f": {
        "on_success": "echo begun; setsid sleep 600 & echo $! > child; wait",
        "hook_timeout_seconds": 0.5, "stages": [stage("a", "", json!({}))]
    } }));
    flows.ok(&["run", "f"]);
    let hook = ended(&flows);
    let error = "timed out: longer than its limit of 0.5s (hook_timeout_seconds)";
    assert_eq!((&hook["verdict"], &hook["error"]), (&json!("timed_out"), &json!(error)), "{hook}");
    let child: u32 = flows.read("child").trim().parse().unwrap();
    assert!(!std::path::Path::new(&format!("/proc/{child}")).exists());
    let told = flows.ok(&["show", "f-1"]);
    assert!(told.contains(&format!("on_success: {error} after ")), "{told}");
    assert_eq!(flows.show("f-1")["status"], "succeeded");
    assert_eq!(flows.ok(&["logs", "f-1/on_success"]), "begun\n");
}
