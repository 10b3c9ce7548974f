//! A stage that lives through the death of its supervisor, and what is known of it afterwards.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::left::{WAITS, is_running};
use super::{Flows, stage};
use crate::support::{kill_9, wait_until};

/// What a retry would do with the only stage, and why.
fn planned(flows: &Flows) -> (Value, Value) {
    let plan = flows.ok(&["retry", "f-1", "--dry-run", "--output", "json"]);
    let plan: Value = serde_json::from_str(&plan).unwrap();
    let first = &plan["stages"][0];
    (first["decision"].clone(), first["reason"].clone())
}

/// A run that fails behind its first stage, a script, whose supervisor is killed while that runs; `meanwhile` happens
/// before it ends.
fn taken_over(meanwhile: impl FnOnce(&Flows)) -> Flows {
    let flows = Flows::new(&json!({ "f": { "stages": [
        { "name": "a", "command": ["sh", "./a.sh"], "outputs": ["made"] },
        stage("b", "exit 1", json!({ "needs": ["a"] })),
    ] } }));
    flows.write("a.sh", &format!("{WAITS}\necho made=1 > $RESTAGE_OUTPUT\n"));
    flows.ok(&["run", "f", "--detach"]);
    is_running(&flows, "a");
    let supervisor = flows.space.supervisor();
    kill_9(supervisor);
    wait_until("a successor", || flows.space.holder().is_some_and(|holder| holder["pid"] != supervisor));
    meanwhile(&flows);
    flows.write("go.a", "");
    let status = || flows.show("f-1")["status"].clone();
    wait_until("it ends", || status() != "running");
    assert_eq!(status(), "failed", "{:#}", flows.show("f-1"));
    assert_eq!(flows.status("f-1", "a"), "succeeded");
    flows
}

#[test]
fn what_an_adopted_stage_was_made_by_is_what_it_began_with() {
    let flows = taken_over(|_| {});
    assert_eq!(planned(&flows), (json!("reuse"), json!("verified")));
    // As an editor does: whoever reads the old one reads on in it.
    let flows = taken_over(|flows| {
        flows.write("new.sh", "echo made=2 > $RESTAGE_OUTPUT\n");
        std::fs::rename(flows.path("new.sh"), flows.path("a.sh")).unwrap();
    });
    assert_eq!(planned(&flows), (json!("execute"), json!("recipe changed")));
}

/// A chain whose stages each run `act`.
fn six(act: &str) -> Flows {
    let stages: Vec<Value> = (0..6)
        .map(|place| {
            let needs: Vec<String> = (0..place).rev().take(1).map(|before| format!("s{before}")).collect();
            stage(&format!("s{place}"), act, json!({ "needs": needs }))
        })
        .collect();
    Flows::new(&json!({ "f": { "stages": stages } }))
}

fn all_ran_once(flows: &Flows) {
    assert_eq!(flows.show("f-1")["status"], "succeeded", "{:#}", flows.show("f-1"));
    assert_eq!(std::fs::read_to_string(flows.path("ran")).unwrap(), "s0\ns1\ns2\ns3\ns4\ns5\n");
}

/// A keeper that is killed leaves its guard without one behind it; that must be mended before the next is killed.
#[test]
fn each_stage_may_kill_its_keeper() {
    // Whoever is the parent of a command is the keeper.
    let flows = six("kill -9 $PPID");
    flows.ok(&["run", "f"]);
    all_ran_once(&flows);
}

/// Somebody must start the next supervisor, whichever process is the keeper in that moment.
#[test]
fn each_stage_may_kill_its_keeper_and_its_supervisor() {
    let flows = six("until [ -e go ]; do sleep 0.01; done
        supervisor=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/' .restage/supervisor.lock)
        echo $supervisor >>killed; kill -9 $PPID $supervisor");
    flows.ok(&["run", "f", "--detach"]);
    flows.write("go", "");
    wait_until("it ends", || flows.show("f-1")["status"] != "running");
    all_ran_once(&flows);
    let killed = std::fs::read_to_string(flows.path("killed")).unwrap();
    let killed: BTreeSet<i32> = killed.lines().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(killed.len(), 6, "each had another supervisor");
}
