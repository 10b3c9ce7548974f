//! A stage that lives through the death of its supervisor, and what is known of it afterwards.

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

/// A keeper that is killed leaves its guard without one behind it; that must be mended before the next is killed.
#[test]
fn each_stage_may_kill_its_keeper() {
    let stages: Vec<Value> = (0..6)
        .map(|place| {
            let needs: Vec<String> = (0..place).rev().take(1).map(|before| format!("s{before}")).collect();
            // Whoever is the parent of a command is the keeper.
            stage(&format!("s{place}"), "kill -9 $PPID", json!({ "needs": needs }))
        })
        .collect();
    let flows = Flows::new(&json!({ "f": { "stages": stages } }));
    flows.ok(&["run", "f"]);
    assert_eq!(flows.show("f-1")["status"], "succeeded", "{:#}", flows.show("f-1"));
    assert_eq!(std::fs::read_to_string(flows.path("ran")).unwrap(), "s0\ns1\ns2\ns3\ns4\ns5\n");
}
