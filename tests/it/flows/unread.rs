//! Rows of the history that cannot be read: what builds on them is not carried out, and there is a way out.

use serde_json::{Value, json};

use super::left::{WAITS, alone, is_running, left};
use super::{Flows, stage};
use crate::support::{is_alive, kill_9, wait_until};

/// A stage that leaves something, so many beside it, and one behind them that waits.
fn flow(beside: usize) -> Value {
    let beside: Vec<String> = (0..beside).map(|one| format!("b{one}")).collect();
    let mut stages = vec![stage("s0", "echo x=1 > $RESTAGE_OUTPUT", json!({ "outputs": ["x"] }))];
    stages.extend(beside.iter().map(|name| stage(name, "", json!({}))));
    let needs: Vec<Value> = stages.iter().map(|stage| stage["name"].clone()).collect();
    stages.push(stage("t", WAITS, json!({ "needs": needs })));
    json!({ "f": { "stages": stages } })
}

fn history(flows: &Flows) -> rusqlite::Connection {
    rusqlite::Connection::open(flows.path(".restage/history.db")).unwrap()
}

fn damage(flows: &Flows, how: &str) {
    let history = history(flows);
    // As whoever damages a file does it.
    history.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    assert_eq!(history.execute(how, []).unwrap(), 1, "{how}");
}

const DAMAGES: [&str; 3] = [
    "UPDATE checkpoints SET outputs = '{' WHERE stage = 's0'",
    "UPDATE checkpoints SET outputs = '{\"x\":\"2\"}' WHERE stage = 's0'",
    "DELETE FROM checkpoints WHERE stage = 's0'",
];

#[test]
fn a_run_that_lost_what_it_builds_on_is_not_gone_on_with_and_can_be_ended() {
    for (round, how) in DAMAGES.iter().enumerate() {
        // Few checkpoints are read one by one, many at once.
        let flows = alone(&flow(if round == 2 { 3 } else { round * 25 }));
        left(&flows, &["run", "f"], "t");
        damage(&flows, how);
        let told = flows.ends(2, &["continue", "f-1"]);
        assert!(told.contains("s0") && told.contains("restage cancel f-1"), "{how}: {told}");
        assert_eq!((flows.ran(), flows.show("f-1")["status"].clone()), (Vec::new(), json!("running")));
        // It keeps nothing else from being done.
        flows.ends(0, &["run", "warm"]);
        let (way, status) = if round == 1 { ("cancel", "cancelled") } else { ("unlock", "failed") };
        flows.ends(0, &[way, "f-1"]);
        assert_eq!((flows.show("f-1")["status"].clone(), flows.ran()), (json!(status), Vec::new()), "{how}");
        flows.ends(0, &["retry", "f-1", "--from", "s0", "--force"]);
        assert_eq!(
            (flows.status("f-2", "t"), flows.ran()),
            ("succeeded".into(), vec!["s0".into(), "t".into()])
        );
    }
}

#[test]
fn a_run_that_lost_what_it_builds_on_is_told_as_held_and_what_lives_of_it_ends_with_it() {
    for way in ["cancel", "unlock"] {
        let flows = Flows::new(&flow(0));
        flows.ok(&["run", "f", "--detach"]);
        let process = is_running(&flows, "t");
        wait_until("s0 is on record", || flows.status("f-1", "s0") == "succeeded");
        damage(&flows, DAMAGES[0]);
        kill_9(flows.space.supervisor());
        let held = || {
            let shown: Value = serde_json::from_str(&flows.ok(&["show", "f-1", "--json"])).unwrap();
            shown["held"].as_str().unwrap_or_default().to_owned()
        };
        wait_until("it is held", || held().contains("s0@1"));
        assert!(held().contains("restage cancel f-1"), "{}", held());
        flows.ends(2, &["continue", "f-1"]);
        flows.ends(10, &["retry", "f-1"]);
        assert!(is_alive(process));
        flows.ends(0, &[way, "f-1"]);
        wait_until("what lived of it has ended", || !is_alive(process));
        assert_eq!(flows.ran(), ["s0", "t"]);
    }
}

#[test]
fn a_run_that_cannot_be_gone_on_with_stands_in_the_way_until_it_is_ended() {
    let mut config = flow(0);
    config["f"]["concurrency"] = "queue".into();
    let flows = Flows::new(&config);
    flows.ok(&["run", "f", "--detach"]);
    let process = is_running(&flows, "t");
    flows.ok(&["run", "f", "--detach"]);
    wait_until("s0 is on record", || flows.status("f-1", "s0") == "succeeded");
    damage(&flows, DAMAGES[0]);
    kill_9(flows.space.supervisor());
    wait_until("it is held", || flows.ok(&["show", "f-1"]).contains("restage cancel f-1"));
    flows.ok(&["run", "f", "--detach"]);
    assert_eq!(["f-2", "f-3"].map(|run| flows.show(run)["status"].clone()), ["queued", "queued"]);
    assert!(is_alive(process));
    flows.ends(0, &["cancel", "f-1"]);
    flows.until("f-2", "running");
    assert_eq!(flows.show("f-3")["status"], "queued");
    flows.write("go.t", "");
    flows.until("f-3", "succeeded");
    assert_eq!(flows.ran(), ["s0", "s0", "s0", "t", "t", "t"]);
}

#[test]
fn what_is_known_of_one_run_no_more_keeps_nothing_else_from_being_collected() {
    let flows = Flows::new(&json!({ "f": { "stages": [stage("a", "exit 1", json!({}))] } }));
    flows.ends(1, &["run", "f"]);
    let of = "WHERE id = (SELECT definition FROM runs WHERE run_id = 'f-1')";
    damage(&flows, &format!("UPDATE definitions SET text = '{{}}' {of}"));
    let old = std::time::SystemTime::now() - std::time::Duration::from_hours(2);
    let gone = ["a-7", "z-7"].map(|run| flows.path(&format!(".restage/runs/{run}")));
    for folder in &gone {
        std::fs::create_dir(folder).unwrap();
        std::fs::File::open(folder).unwrap().set_modified(old).unwrap();
    }
    let told = flows.ends(0, &["gc"]);
    assert!(told.contains("f-1") && told.contains("its definition cannot be read"), "{told}");
    assert!(gone.iter().all(|folder| !folder.exists()) && flows.path(".restage/runs/f-1").exists(), "{told}");
    let told: Value = serde_json::from_str(&flows.ok(&["gc", "--json"])).unwrap();
    assert_eq!(told["skipped"].as_array().map(Vec::len), Some(1), "{told:#}");
}

#[test]
fn what_somebody_rejected_stands_in_for_nothing() {
    let flows = alone(&json!({ "f": { "stages": [
        stage("a", "", json!({})),
        stage("b", "echo x=$(cat word) > $RESTAGE_OUTPUT", json!({ "needs": ["a"], "outputs": ["x"], "approve": "manual" })),
        stage("c", "", json!({ "needs": ["b"] })),
    ] } }));
    flows.write("fail.c", "");
    flows.write("word", "bad");
    flows.ends(75, &["run", "f"]);
    flows.write("word", "good");
    flows.ends(75, &["reject", "f-1", "b", "--feedback", "darker"]);
    flows.ends(1, &["approve", "f-1", "b"]);
    flows.remove("fail.c");
    flows.ran();
    damage(&flows, "UPDATE checkpoints SET outputs = '{' WHERE stage = 'b' AND version = 2");
    let told = flows.ends(14, &["retry", "f-1"]);
    assert!(told.contains("b@2") && told.contains("--from b"), "{told}");
    assert_eq!(flows.ran(), Vec::<String>::new());
}
