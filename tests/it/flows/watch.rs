//! Following a run that is there already, and leaving one.

use serde_json::{Value, json};

use super::left::{WAITS, begin, end, is_running, pid_of};
use super::{Flows, stage};

fn two() -> Flows {
    Flows::new(&json!({
        "f": { "stages": [stage("a", WAITS, json!({})), stage("b", "", json!({ "needs": ["a"] }))] },
        "w": { "stages": [stage("w", "", json!({ "approve": "manual" }))] },
    }))
}

#[test]
fn whoever_leaves_a_run_is_told_how_to_follow_and_to_end_it() {
    let flows = two();
    let follower = begin(&flows, &["run", "f"]);
    is_running(&flows, "a");
    unsafe { libc::kill(pid_of(&follower), libc::SIGINT) };
    let (code, told) = end(follower);
    assert_eq!(code, Some(130), "{told}");
    assert!(
        told.contains(
            "f-1 goes on; to follow it again: restage show f-1 --watch; to end it: restage cancel f-1"
        ),
        "{told}"
    );

    flows.write("fail.b", "");
    let again = begin(&flows, &["show", "f-1", "--watch"]);
    let events = begin(&flows, &["show", "f-1", "--watch", "--json"]);
    flows.write("go.a", "");
    let (code, told) = end(again);
    assert_eq!(code, Some(1), "{told}");
    assert_eq!(told.matches("Run f-1 failed").count(), 1, "{told}");
    let (code, told) = end(events);
    let last: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert_eq!((code, &last["event"], &last["status"]), (Some(1), &json!("run_ended"), &json!("failed")));
}

#[test]
fn what_has_come_to_rest_is_told_with_its_code() {
    let flows = two();
    flows.write("fail.a", "");
    flows.ends(1, &["run", "f"]);
    flows.ends(75, &["run", "w", "--approve", "exit"]);
    for alone in [false, true] {
        if alone {
            flows.ok(&["down"]);
        }
        assert!(flows.ends(1, &["show", "f-1", "--watch"]).contains("Run f-1 failed"));
        assert!(flows.ends(75, &["show", "w-1", "--watch"]).contains("restage approve w-1 w"));
        assert!(flows.ends(0, &["show", "warm-1", "--watch"]).contains("Run warm-1 succeeded"));
        let event: Value =
            serde_json::from_str(&flows.ends(0, &["show", "warm-1", "--watch", "--json"])).unwrap();
        assert_eq!(event["status"], "succeeded");
        flows.ends(3, &["show", "f-9", "--watch"]);
    }
}

#[test]
fn what_cannot_be_judged_or_edited_says_why_with_one_code() {
    let flows = Flows::new(&json!({ "f": { "stages": [
        stage("a", "", json!({ "when": "1 == 2" })),
        stage("b", "exit 1", json!({})),
        stage("c", "", json!({ "needs": ["b"] })),
        stage("d", "", json!({})),
    ] } }));
    flows.ends(1, &["run", "f"]);
    for (at, code, why) in
        [("a", 13, "was skipped, and left"), ("b", 17, "failed, and left nothing"), ("c", 13, "has not run")]
    {
        let verbs: [&[&str]; 3] = [
            &["approve", "f-1", at],
            &["reject", "f-1", at, "--feedback", "x"],
            &["edit", "f-1", at, "--set", "k=v"],
        ];
        for verb in verbs {
            let told = flows.ends(code, verb);
            assert!(told.contains(&format!("{at} of f-1 {why}")), "{verb:?}: {told}");
        }
    }
    for verb in [&["approve", "f-1", "d"][..], &["reject", "f-1", "d", "--feedback", "x"]] {
        flows.ends(17, verb);
    }
    // Where nothing was ever run, that is told in the same way to people and to programs.
    let none = super::left::alone(&json!({}));
    for verb in [&["runs"][..], &["runs", "warm"], &["stats", "--json"]] {
        assert!(none.ends(3, verb).contains("there are no runs yet"));
    }
    let (code, stdout, stderr) = none.run(&["runs", "--json"]);
    assert_eq!((code, stdout.trim()), (3, "[]"), "{stderr}");
}

#[test]
fn a_signal_to_the_verb_that_carries_a_run_out_is_answered_with_how_it_stands() {
    let flows = super::left::alone(&json!({ "f": { "stages": [stage("a", WAITS, json!({}))] } }));
    for (signal, expected) in [(libc::SIGTERM, 143), (libc::SIGINT, 130)] {
        let host = begin(&flows, &["run", "f"]);
        is_running(&flows, "a");
        unsafe { libc::kill(pid_of(&host), signal) };
        let (code, told) = end(host);
        assert_eq!(code, Some(expected), "{told}");
        assert!(
            told.contains("was interrupted") && told.contains("to go on with it: restage continue f-"),
            "{told}"
        );
        flows.remove("pid.a");
    }
}
