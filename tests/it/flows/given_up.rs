//! What whoever looks on is told when a run is ended that could not be gone on with.

use std::process::Stdio;

use serde_json::{Value, json};

use super::left::{WAITS, end, is_running};
use super::{Flows, stage};
use crate::support::terminal::Terminal;
use crate::support::{kill_9, wait_until};

#[test]
fn the_end_of_a_run_that_is_given_up_is_told_to_whoever_looks_on() {
    let flows = Flows::new(&json!({ "f": { "stages": [
        stage("a", WAITS, json!({})), stage("b", "", json!({ "needs": ["a"] })),
    ] } }));
    flows.ok(&["run", "f", "--detach"]);
    is_running(&flows, "a");
    let history = rusqlite::Connection::open(flows.path(".restage/history.db")).unwrap();
    let of = "WHERE id = (SELECT definition FROM runs WHERE run_id = 'f-1')";
    assert_eq!(history.execute(&format!("UPDATE definitions SET text = '{{}}' {of}"), []).unwrap(), 1);
    drop(history);
    kill_9(flows.space.supervisor());
    let held = || flows.ok(&["show", "f-1", "--json"]).contains("its definition cannot be read");
    wait_until("it is held", held);
    let mut dashboard = Terminal::start(flows.space.command(&[]), (100, 30));
    dashboard.expect("f-1");
    let mut follows = flows.space.command(&["show", "f-1", "--watch"]);
    let mut follows = follows.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    flows.ok(&["cancel", "f-1"]);
    wait_until("whoever follows it has heard of that", || follows.try_wait().unwrap().is_some());
    let (code, told) = end(follows);
    assert!(code == Some(1) && told.contains("Run f-1 cancelled"), "{code:?}: {told}");
    dashboard.expect_that("the run has ended", |screen| {
        screen.lines().any(|line| line.contains("f-1") && line.contains("cancelled"))
    });
    dashboard.press("q");
    let stages: Vec<Value> = ["a", "b"].map(|name| flows.stage("f-1", name)["status"].clone()).into();
    assert_eq!(stages, ["cancelled", "cancelled"]);
}
