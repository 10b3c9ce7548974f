//! The time that a run may take, while its supervisor is killed and another one takes it up.

use std::time::Duration;

use restage::domain::time::Timestamp;
use serde_json::{Value, json};

use super::left::{WAITS, alone, begin, end, is_running, pid_of};
use super::{Flows, stage};
use crate::support::{is_alive, kill_9, wait_until};

/// In seconds. What was cut short begins again two seconds after it was taken up.
const LIMIT: u64 = 5;

fn limited() -> Value {
    json!({ "f": { "timeout_seconds": LIMIT, "stages": [
        stage("a", "", json!({})), stage("b", WAITS, json!({ "needs": ["a"] })),
    ] } })
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

/// The time is over that it had when it began.
fn is_over(deadline: Timestamp) -> bool {
    Timestamp::now() > deadline + Duration::from_millis(100)
}

/// The run was killed with its supervisor while its second stage ran. With the deadline that it had.
fn lay_until_its_time_would_be_over() -> (Flows, Timestamp) {
    let flows = alone(&limited());
    let host = begin(&flows, &["run", "f"]);
    let b = is_running(&flows, "b");
    kill_9(pid_of(&host));
    end(host);
    wait_until("the stage has ended", || !is_alive(b));
    let deadline = time(&flows.show("f-1")["deadline"]);
    wait_until("its time would be over", || is_over(deadline));
    (flows, deadline)
}

#[test]
fn the_time_for_which_nobody_carried_a_run_out_is_not_its_own() {
    let (flows, deadline) = lay_until_its_time_would_be_over();
    flows.write("go.b", "");
    let told = flows.ends(0, &["continue", "f-1"]);
    assert!(told.contains("Run f-1 succeeded"), "{told}");
    let shown = flows.show("f-1");
    assert!(time(&shown["deadline"]) > deadline, "{shown:#}");
}

#[test]
fn of_a_run_that_nobody_carried_out_what_is_left_of_its_time_is_its_limit() {
    let (flows, deadline) = lay_until_its_time_would_be_over();
    let told = flows.ends(124, &["continue", "f-1"]);
    assert!(told.contains("timed out after 5 seconds"), "{told}");
    let (shown, ended) = (flows.show("f-1"), flows.stage("f-1", "b"));
    assert_eq!(shown["ended_at"], ended["ended_at"]);
    assert!(time(&shown["ended_at"]) > deadline + Duration::from_millis(500), "{shown:#}");
}

#[test]
fn what_lives_on_when_its_supervisor_is_killed_spends_the_time_of_its_run() {
    let flows = Flows::new(&limited());
    flows.ok(&["run", "f", "--detach"]);
    let b = is_running(&flows, "b");
    let deadline = flows.show("f-1")["deadline"].clone();
    kill_9(flows.space.supervisor());
    flows.until("f-1", "failed");
    let shown = flows.show("f-1");
    assert_eq!(shown["deadline"], deadline);
    assert_eq!(shown["error"], "Flow execution timed out after 5 seconds");
    assert!(!is_alive(b));
}
