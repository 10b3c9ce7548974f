//! What is on record is reused only while it is what it was; and what is over changes nothing any more.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::{Flows, stage};
use crate::support::{is_alive, pid_in, wait_until};

fn reason(flows: &Flows, run: &str, stage: &str) -> (String, String) {
    let row = flows.stage(run, stage);
    (row["decision"].as_str().unwrap().to_owned(), row["reason"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_tampered_or_missing_artifact_is_never_reused() {
    let flows = Flows::new(&json!({ "f": { "stages": [
        stage("a", "echo good > $RESTAGE_ARTIFACTS/file", json!({ "artifacts": ["*"] })),
        stage("beside", "", json!({})),
        stage("b", "cat $RESTAGE_INPUTS/a/file > got", json!({ "needs": ["a"] })),
    ] } }));
    flows.write("fail.b", "");
    flows.ends(1, &["run", "f"]);
    let object = flows.object(&flows.stage("f-1", "a")["artifacts"][0]["hash"]);
    assert_eq!(std::fs::metadata(&object).unwrap().permissions().mode() & 0o777, 0o444);
    flows.ran();
    for (round, damage) in ["same length", "longer", "missing"].into_iter().enumerate() {
        flows.remove(&object.display().to_string());
        match damage {
            "same length" => std::fs::write(&object, "evil\n").unwrap(),
            "longer" => std::fs::write(&object, "good\nevil\n").unwrap(),
            _ => {}
        }
        let plan = flows.ok(&["retry", "f-1", "--from", "b", "--dry-run"]);
        assert!(plan.contains("execute  a       output missing"), "{damage}: {plan}");
        flows.ends(1, &["retry", "f-1", "--from", "b"]);
        assert_eq!(flows.ran(), ["a", "b"], "{damage}");
        // What it made now stands in its place.
        assert_eq!(std::fs::read_to_string(&object).unwrap(), "good\n", "{damage}");
        let run = format!("f-{}", round + 2);
        assert_eq!(reason(&flows, &run, "a"), ("execute".into(), "output missing".into()));
        assert_eq!(reason(&flows, &run, "beside").0, "reuse");
    }
    flows.remove("fail.b");
    flows.ok(&["retry", "f-4", "--from", "b"]);
    assert_eq!((flows.ran(), flows.read("got")), (vec!["b".to_owned()], "good\n".to_owned()));
    // Beside the way to the target, what is damaged is made again.
    let other = json!({ "g": { "stages": [
        stage("a", "echo $RANDOM$$ > $RESTAGE_ARTIFACTS/file", json!({ "artifacts": ["*"] })),
        stage("after", "", json!({ "needs": ["a"] })),
        stage("b", "", json!({})),
    ] } });
    flows.configure(&other);
    flows.write("fail.b", "");
    flows.ends(1, &["run", "g"]);
    let object = flows.object(&flows.stage("g-1", "a")["artifacts"][0]["hash"]);
    flows.remove(&object.display().to_string());
    flows.remove("fail.b");
    flows.ran();
    let plan = flows.ok(&["retry", "g-1", "--dry-run"]);
    assert!(plan.contains("execute  a      output missing"), "{plan}");
    flows.ok(&["retry", "g-1"]);
    assert_eq!(flows.ran(), ["a", "after", "b"]);
    assert_eq!(reason(&flows, "g-2", "a"), ("execute".into(), "output missing".into()));
}

#[test]
fn what_changed_is_executed_again_and_says_why() {
    let flow = |command: &str, env: &str| {
        json!({ "f": {
            "inputs": { "q": { "default": "why" } },
            "stages": [
                { "name": "a", "command": ["sh", "a.sh", command], "env": { "MODE": env } },
                stage("a2", "", json!({ "needs": ["a"] })),
                stage("b", "", json!({ "requires": ["q"] })),
                stage("z", "", json!({})),
            ]
        } })
    };
    let flows = Flows::new(&flow("x", "one"));
    flows.write("a.sh", "echo a >> ran\n");
    flows.write("fail.z", "");
    flows.ends(1, &["run", "f"]);
    flows.ran();
    let mut last = 1;
    let mut retry = |more: &[&str], executed: &[&str], stage: &str, why: &str| {
        let run = format!("f-{last}");
        let plan = flows.ok(&[&["retry", &run, "--dry-run", "--output", "json"], more].concat());
        let plan: Value = serde_json::from_str(&plan).unwrap();
        let planned = plan["stages"].as_array().unwrap().iter().find(|one| one["stage"] == stage).unwrap();
        assert_eq!(planned["reason"], why, "{plan:#}");
        flows.ends(1, &[&["retry", &run], more].concat());
        assert_eq!(flows.ran(), executed, "{why}");
        last += 1;
        let decision = if why == "verified" { "reuse" } else { "execute" };
        assert_eq!(reason(&flows, &format!("f-{last}"), stage), (decision.into(), why.into()));
    };
    retry(&[], &["z"], "a", "verified");
    flows.configure(&flow("y", "one"));
    retry(&[], &["a", "a2", "z"], "a", "recipe changed");
    flows.configure(&flow("y", "two"));
    retry(&[], &["a", "a2", "z"], "a", "recipe changed");
    flows.write("a.sh", "echo a >> ran # otherwise\n");
    retry(&[], &["a", "a2", "z"], "a", "recipe changed");
    retry(&[], &["z"], "a", "verified");
    retry(&["--set", "q=because"], &["a", "a2", "b", "z"], "b", "input changed");
    retry(&[], &["z"], "b", "verified");
    assert_eq!(flows.show("f-8")["inputs"], json!({ "q": "because" }));
}

#[test]
fn the_deadline_of_a_run_does_not_count_for_its_retry() {
    let flows = Flows::new(&json!({ "f": { "timeout_seconds": 0.7, "stages": [
        stage("a", "[ -e quick ] || sleep 30", json!({})),
        stage("b", "sleep 0.2", json!({ "needs": ["a"] })),
    ] } }));
    flows.ends(124, &["run", "f"]);
    flows.write("quick", "");
    wait_until("the deadline has passed", || {
        let deadline = flows.show("f-1")["deadline"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        deadline < jiff::Timestamp::now()
    });
    flows.ok(&["retry", "f-1"]);
    assert_eq!(flows.show("f-2")["status"], "succeeded");
    assert!(flows.show("f-2")["deadline"].as_str() > flows.show("f-1")["ended_at"].as_str());
}

#[test]
fn what_a_grandchild_writes_after_the_end_of_its_stage_changes_nothing() {
    // It leaves the session, closes what it has inherited, and holds on to the files.
    let script = "echo k=good > $RESTAGE_OUTPUT; echo good > $RESTAGE_ARTIFACTS/file; \
        setsid sh -c 'echo $$ > pid; exec 3>>$RESTAGE_OUTPUT 4>>$RESTAGE_ARTIFACTS/file; \
        while :; do echo k=evil >&3; echo evil >&4; echo evil > $RESTAGE_ARTIFACTS/more; sleep 0.001; done' \
        >/dev/null 2>&1 & while [ ! -s pid ]; do :; done";
    // As long as it lives nothing is read: it is ended with the stage, and what it wrote until then is an error of the
    // stage, or nothing.
    let flows = Flows::new(&json!({ "f": { "stages": [
        stage("a", script, json!({ "outputs": ["k"], "artifacts": ["file"] })),
        stage("b", "cat $RESTAGE_STATE $RESTAGE_INPUTS/a/file > got", json!({ "needs": ["a"] })),
    ] }, "quiet": { "stages": [
        stage(
            "a",
            "echo k=good > $RESTAGE_OUTPUT; \
             (trap '' TERM HUP; setsid sh -c 'echo $$ > pid; trap \"\" TERM; while [ ! -e go ]; do sleep 0.01; done; \
             echo k=evil > $RESTAGE_OUTPUT') & while [ ! -s pid ]; do :; done",
            json!({ "outputs": ["k"] })
        ),
        stage("b", "touch go; cat $RESTAGE_STATE > got", json!({ "needs": ["a"] })),
    ] }, "again": { "stages": [
        stage(
            "a",
            "if [ $RESTAGE_ATTEMPT = 2 ]; then kill -0 $(cat pid) 2>/dev/null && echo yes > lived; \
             echo k=good > $RESTAGE_OUTPUT; exit 0; fi; \
             (trap '' TERM HUP; setsid sh -c 'echo $$ > pid; trap \"\" TERM; \
             while :; do echo k=evil >> $RESTAGE_OUTPUT; sleep 0.001; done') & while [ ! -s pid ]; do :; done; exit 1",
            json!({ "outputs": ["k"], "retry": { "enabled": true, "count": 1, "backoff_seconds": 0.02 } })
        ),
    ] } }));
    let (code, _, told) = flows.run(&["run", "f"]);
    assert!(!is_alive(pid_in(&flows.path("pid"))));
    if code == 0 {
        assert_eq!(flows.read("got"), "{\"k\":\"good\"}good\n");
    } else {
        assert!(told.contains("\"k\" in line 2 of the output is there already, in line 1"), "{told}");
    }
    flows.remove("pid");
    flows.ok(&["run", "quiet"]);
    assert!(!is_alive(pid_in(&flows.path("pid"))));
    assert_eq!(flows.read("got").trim(), "{\"k\":\"good\"}");
    assert_eq!(flows.stage("quiet-1", "a")["outputs"], json!({ "k": "good" }));
    // What an attempt that failed leaves behind has ended before the next one starts, and knows only its own files.
    flows.remove("pid");
    flows.ok(&["run", "again"]);
    assert_eq!(flows.read("lived"), "");
    assert_eq!(flows.stage("again-1", "a")["outputs"], json!({ "k": "good" }));
    assert_eq!(flows.stage("again-1", "a")["attempts"].as_array().unwrap().len(), 2);
}
