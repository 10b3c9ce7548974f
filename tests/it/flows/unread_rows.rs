//! Columns of the history that hold what nobody wrote: the run is not carried out and tells why, it can be ended, and
//! nothing else is kept from being done.

use serde_json::{Value, json};

use super::left::{WAITS, alone, is_running, left};
use super::{Flows, stage};
use crate::support::{is_alive, kill_9, wait_until};

/// It fails once, and its retry lies.
fn lying() -> Flows {
    let flows = alone(&json!({ "f": { "stages": [
        stage("a", "", json!({})), stage("b", WAITS, json!({ "needs": ["a"] })),
    ] } }));
    flows.write("fail.b", "");
    flows.ends(1, &["run", "f"]);
    flows.remove("fail.b");
    left(&flows, &["retry", "f-1"], "b");
    flows
}

fn history(flows: &Flows) -> rusqlite::Connection {
    rusqlite::Connection::open(flows.path(".restage/history.db")).unwrap()
}

/// Of the second run, and what is told of it.
const DAMAGES: [(&str, &str); 7] = [
    ("UPDATE stages SET status = 'bogus' WHERE run = 2 AND name = 'b'", "stage b: status: "),
    ("UPDATE stages SET decision = 'bogus' WHERE run = 2 AND name = 'a'", "stage a: decision: "),
    ("UPDATE stages SET ord = -1 WHERE run = 2 AND name = 'a'", "stage a: ord: "),
    ("UPDATE runs SET cause = 'bogus' WHERE id = 2", "run f-2: cause: "),
    ("UPDATE runs SET status = 'bogus' WHERE id = 2", "run f-2: status: "),
    ("UPDATE inputs SET value = '{' WHERE run = 2", "run f-2: value: "),
    ("DELETE FROM inputs WHERE run = 2", "run f-2: value: "),
];

#[test]
fn a_run_of_which_something_cannot_be_read_tells_why_and_gives_its_lock_back() {
    for (round, (how, told)) in DAMAGES.iter().enumerate() {
        let flows = lying();
        assert_eq!(history(&flows).execute(how, []).unwrap(), 1, "{how}");
        let why = format!("its record cannot be read: {told}");
        let shown: Value = serde_json::from_str(&flows.ok(&["show", "f-2", "--json"])).unwrap();
        assert!(shown["error"].as_str().is_some_and(|error| error.contains(&why)), "{how}: {shown:#}");
        let listed: Value = serde_json::from_str(&flows.ok(&["runs", "--json"])).unwrap();
        assert_eq!(listed.as_array().unwrap().len(), 2, "{how}");
        let said = flows.ends(2, &["continue", "f-2"]);
        assert!(said.contains(&why) && said.contains("restage cancel f-2"), "{how}: {said}");
        flows.ends(0, &["run", "warm"]);
        assert_eq!(flows.ran(), Vec::<String>::new(), "{how}");
        // Its lock is held until somebody ends it.
        flows.ends(11, &["retry", "f-1"]);
        let (way, status) = if round % 2 == 0 { ("cancel", "cancelled") } else { ("unlock", "failed") };
        flows.ends(0, &[way, "f-2"]);
        assert_eq!(flows.show("f-2")["status"], status, "{how}");
        let locks: u32 =
            history(&flows).query_row("SELECT count(*) FROM locks", [], |row| row.get(0)).unwrap();
        assert_eq!(locks, 0, "{how}");
        if *told != "run f-2: status: " {
            let said = flows.ends(2, &["retry", "f-2"]);
            assert!(said.contains(&why) && said.contains("restage run f"), "{how}: {said}");
        }
        flows.ends(0, &["retry", "f-1"]);
        assert_eq!((flows.status("f-3", "b"), flows.ran()), ("succeeded".into(), vec!["b".into()]), "{how}");
        flows.ends(0, &["delete", "f-2", "--cascade"]);
    }
}

#[test]
fn what_lives_of_a_run_of_which_something_cannot_be_read_ends_with_it() {
    let flows = Flows::new(&json!({
        "f": { "stages": [stage("a", WAITS, json!({}))] }, "g": { "stages": [stage("b", WAITS, json!({}))] },
    }));
    flows.ok(&["run", "f", "--detach"]);
    flows.ok(&["run", "g", "--detach"]);
    let (process, _) = (is_running(&flows, "a"), is_running(&flows, "b"));
    let how = "UPDATE stages SET status = 'bogus' WHERE name = 'a'";
    assert_eq!(history(&flows).execute(how, []).unwrap(), 1);
    kill_9(flows.space.supervisor());
    let held = || {
        let shown: Value = serde_json::from_str(&flows.ok(&["show", "f-1", "--json"])).unwrap();
        shown["held"].as_str().unwrap_or_default().to_owned()
    };
    wait_until("it is held", || held().contains("stage a: status: \"bogus\" is no StageStatus"));
    // The other one has gone on.
    flows.write("go.b", "");
    flows.until("g-1", "succeeded");
    assert!(is_alive(process));
    flows.ends(0, &["cancel", "f-1"]);
    wait_until("what lived of it has ended", || !is_alive(process));
    assert_eq!(flows.show("f-1")["status"], "cancelled");
}
