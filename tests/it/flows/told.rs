//! What is refused where nobody supervises: it is told at once, and nothing is started for it.

use serde_json::json;

use super::left::{WAITS, alone, begin, end, is_running, left, pid_of, waiting};
use super::{Flows, stage};
use crate::support::{is_alive, kill_9, wait_until};

/// Nothing is begun for it, and nobody has been there.
#[track_caller]
fn refused(flows: &Flows, code: i32, arguments: &[&str], told: &[&str]) {
    // The keeper of whoever was there before may take a moment to end.
    let keepers = std::fs::File::open(flows.path(".restage/keeper.lock")).unwrap();
    wait_until("nobody is there", || keepers.try_lock().is_ok());
    keepers.unlock().unwrap();
    let lock = || std::fs::metadata(flows.path(".restage/supervisor.lock")).unwrap().modified().unwrap();
    let keeper = || std::fs::read(flows.path(".restage/keeper.journal")).unwrap();
    let (before, count) = ((lock(), keeper()), flows.count());
    let said = flows.ends(code, arguments);
    for one in told {
        assert!(said.contains(one), "{arguments:?}: {said}");
    }
    assert!(!said.contains("went on with"), "{said}");
    assert_eq!((flows.ran(), flows.count()), (Vec::new(), count), "{arguments:?}: {said}");
    assert!((lock(), keeper()) == before, "{arguments:?} started a supervisor: {said}");
}

#[test]
fn what_the_records_refuse_starts_no_supervisor() {
    let flows = alone(&json!({ "f": { "max_retry_depth": 1, "stages": [
        stage("a", "", json!({})),
        stage("b", "", json!({ "needs": ["a"] })),
        stage("c", "", json!({ "needs": ["b"] })),
    ] } }));
    flows.write("fail.b", "");
    flows.ends(1, &["run", "f"]);
    flows.ran();
    refused(&flows, 12, &["retry", "f-1", "--from", "a"], &["a of f-1 succeeded", "--force"]);
    refused(&flows, 13, &["retry", "f-1", "--from", "c"], &["c never ran"]);
    refused(&flows, 3, &["retry", "f-1", "--from", "nope"], &["no stage nope"]);
    refused(&flows, 3, &["retry", "f-9"], &["no run is called f-9"]);
    refused(&flows, 17, &["continue", "f-1"], &["already approved", "restage retry f-1"]);
    flows.ends(1, &["retry", "f-1"]);
    flows.ran();
    refused(&flows, 16, &["retry", "f-2"], &["1 retries deep"]);
    flows.remove("fail.b");
    // What is wrong with the config is told by whoever would have to go by it.
    flows.write("config.json", "{");
    flows.ends(2, &["continue", "f-1"]);
}

#[test]
fn a_run_that_lies_is_not_gone_on_with_for_what_is_refused_because_of_it() {
    let flows = alone(&waiting(&["a"]));
    flows.write("fail.a", "");
    flows.ends(1, &["run", "a"]);
    flows.remove("fail.a");
    left(&flows, &["retry", "a-1"], "a");
    let way = ["nobody supervises", "restage continue a-2", "restage cancel a-2"];
    refused(&flows, 10, &["retry", "a-2"], &way);
    refused(&flows, 11, &["retry", "a-1"], &way);
    refused(&flows, 11, &["retry", "a-1", "--dry-run"], &way);
    assert_eq!(flows.show("a-2")["status"], "running");
    // One that waits for it is begun, and it goes on by that.
    let told = flows.ends(0, &["retry", "a-1", "--queue"]);
    assert!(told.contains("went on with a-2") && told.contains("not needed"), "{told}");
    assert_eq!(
        (flows.ran(), flows.show("a-2")["status"].clone()),
        (vec!["a".to_owned()], json!("succeeded"))
    );
}

#[test]
fn to_continue_a_run_that_lies_from_where_it_does_not_stand_is_refused_with_the_way_on() {
    let flows = alone(&json!({ "f": { "stages": [
        stage("a", "", json!({})),
        stage("b", "", json!({ "needs": ["a"] })),
        stage("c", WAITS, json!({ "needs": ["b"] })),
    ] } }));
    let host = begin(&flows, &["run", "f"]);
    let process = is_running(&flows, "c");
    kill_9(pid_of(&host));
    end(host);
    wait_until("the stage has ended", || !is_alive(process));
    flows.write("go.c", "");
    flows.ran();
    let way = ["a@1 is approved, and f-1 is running", "nobody supervises f-1", "restage continue f-1"];
    refused(&flows, 17, &["continue", "f-1", "--checkpoint", "a@1"], &way);
    refused(&flows, 3, &["continue", "f-1", "--checkpoint", "a@7"], &["a@7"]);
    // To name where it stands is to name nothing.
    let told = flows.ends(0, &["continue", "f-1", "--checkpoint", "b@1"]);
    assert!(told.contains("Run f-1 succeeded"), "{told}");
    assert_eq!(flows.ran(), ["c"]);
}
