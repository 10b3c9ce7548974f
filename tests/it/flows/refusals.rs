//! What a retry is refused for, each with its way out and its exit code.

use std::process::Stdio;
use std::time::Instant;

use serde_json::{Value, json};

use super::{Flows, stage};
use crate::support::{PATIENCE, wait_until};

const WAITS: &str = "until [ -e go ]; do sleep 0.02; done";

/// One line with the reason, one with the way out; as JSON, the same.
#[track_caller]
fn refused(flows: &Flows, code: i32, arguments: &[&str], reason: &str, hint: &str) {
    let (got, stdout, stderr) = flows.run(arguments);
    assert_eq!((got, stdout.as_str()), (code, ""), "{arguments:?}: {stderr}");
    let mut lines = stderr.lines();
    let act = arguments[..2].join(" ");
    assert_eq!(lines.next(), Some(format!("restage: {act}: {reason}").as_str()));
    let told = lines.next().unwrap_or_default();
    assert!(told.trim_start().starts_with("hint: ") && told.contains(hint), "{told}");
    let (got, _, stderr) = flows.run(&[arguments, &["--output", "json"]].concat());
    assert_eq!(got, code);
    let error: Value = serde_json::from_str(&stderr).unwrap();
    assert_eq!((&error["error"]["exit"], &error["error"]["message"]), (&json!(code), &json!(reason)));
}

fn chain() -> Value {
    json!({ "f": {
        "inputs": { "q": { "default": 1 } },
        "stages": [
            stage("a", "echo k=v > $RESTAGE_OUTPUT", json!({ "outputs": ["k"] })),
            stage("b", "", json!({ "needs": ["a"] })),
            stage("c", "", json!({ "needs": ["b"] })),
        ]
    } })
}

#[test]
fn a_retry_that_waits_for_other_runs_of_its_flow_has_the_branch() {
    let flows = Flows::new(&json!({ "f": { "concurrency": "queue", "stages": [
        stage("a", "", json!({})),
        stage("b", &format!("[ ! -e slow ] || {{ {WAITS}; }}"), json!({ "needs": ["a"] })),
    ] } }));
    flows.write("fail.b", "");
    flows.ends(1, &["run", "f"]);
    flows.remove("fail.b");
    flows.write("slow", "");
    flows.ok(&["run", "f", "--detach"]);
    flows.ok(&["retry", "f-1", "--detach"]);
    assert_eq!(flows.show("f-3")["status"], "queued");
    let told = flows.ends(11, &["retry", "f-1", "--detach"]);
    assert!(told.contains("f-3"), "{told}");
    assert_eq!(flows.count(), 1 + 3, "one that is refused makes no run");
    // Somebody who wants something else and to wait behind it may.
    flows.ok(&["retry", "f-1", "--from", "a", "--force", "--queue", "--detach"]);
    flows.ok(&["cancel", "f-4"]);
    flows.ok(&["cancel", "f-3"]);
    flows.until("f-3", "cancelled");
    flows.ok(&["retry", "f-1", "--detach"]);
    flows.write("go", "");
    flows.until("f-5", "succeeded");
}

#[test]
fn of_32_retries_at_once_one_makes_a_run_and_the_others_are_told_its_name() {
    let flows = Flows::new(&json!({ "f": { "stages": [
        stage("a", "", json!({})),
        stage("b", WAITS, json!({ "needs": ["a"] })),
    ] } }));
    flows.write("fail.b", "");
    flows.ends(1, &["run", "f"]);
    flows.remove("fail.b");
    flows.ran();
    let children: Vec<_> = (0..32)
        .map(|_| {
            let mut command = flows.space.command(&["retry", "f-1", "--detach"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let (mut made, mut refused) = (Vec::new(), 0);
    for child in children {
        let output = child.wait_with_output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        match output.status.code() {
            Some(0) => made.push(String::from_utf8(output.stdout).unwrap()),
            Some(11) => {
                assert!(told.contains("f-2 is under way on branch main of the same lineage"), "{told}");
                assert!(told.contains("restage show f-2") && told.contains("--queue"), "{told}");
                refused += 1;
            }
            other => panic!("{other:?}: {told}"),
        }
    }
    assert_eq!((made, refused), (vec!["f-2\n".to_owned()], 31));
    // Of the warm one, of the first, of the retry.
    assert_eq!(flows.count(), 3);
    flows.write("go", "");
    flows.until("f-2", "succeeded");
    assert_eq!(flows.ran(), ["b"]);
}

#[test]
fn each_refusal_tells_its_reason_and_its_way_out() {
    let flows = Flows::new(&chain());
    // 12: nothing failed.
    flows.ok(&["run", "f"]);
    let nothing = "nothing failed in f-1, so there is nothing to retry";
    refused(&flows, 12, &["retry", "f-1"], nothing, "restage retry f-1 --from STAGE --force");
    let succeeded = "c of f-1 succeeded";
    refused(&flows, 12, &["retry", "f-1", "--from", "c"], succeeded, "restage retry f-1 --from c --force");
    // 13: it never ran.
    flows.write("fail.b", "");
    flows.ends(1, &["run", "f"]);
    refused(&flows, 13, &["retry", "f-2", "--from", "c"], "c never ran in f-2", "restage retry f-2 --from b");
    // 12: a retry succeeded.
    flows.remove("fail.b");
    flows.ok(&["retry", "f-2"]);
    refused(&flows, 12, &["retry", "f-2"], "b of f-2 succeeded in its retry f-3", "restage show f-3");
    // 3: names.
    refused(&flows, 3, &["retry", "f-99"], "no run is called f-99", "restage runs");
    refused(&flows, 3, &["retry", "f-2", "--from", "x"], "f-2 has no stage x", "there are: a, b, c");
    refused(&flows, 3, &["run", "nope"], "no flow is called nope", "there are: f, warm");
    refused(&flows, 2, &["retry", "f-2", "--set", "nope=1", "--force"], "f has no input nope", "q");
    refused(
        &flows,
        1,
        &["cancel", "f-1"],
        "f-1 is succeeded, and has nothing to be cancelled",
        "restage show f-1",
    );
}

#[test]
fn a_run_that_still_runs_is_not_retried() {
    let flows = Flows::new(&json!({ "f": { "stages": [stage("a", WAITS, json!({}))] } }));
    flows.ok(&["run", "f", "--detach"]);
    refused(&flows, 10, &["retry", "f-1"], "f-1 is still running", "restage cancel f-1");
    flows.ok(&["cancel", "f-1"]);
    assert_eq!(flows.show("f-1")["status"], "cancelled");
    flows.write("go", "");
    flows.ok(&["retry", "f-1"]);
}

#[test]
fn an_ancestor_that_never_succeeded_and_a_key_that_nothing_gives_are_told() {
    let two = |more: &str| {
        json!({ "f": {
            "inputs": if more.is_empty() { json!({}) } else { json!({ more: { "required": true } }) },
            "stages": [
                stage("a", "", json!({})),
                stage("side", "", json!({})),
                stage("b", "", json!({
                    "needs": ["a"], "requires": if more.is_empty() { json!([]) } else { json!([more]) }
                })),
                stage("join", "", json!({ "needs": ["b", "side"] })),
            ]
        } })
    };
    let flows = Flows::new(&two(""));
    flows.write("fail.b", "");
    flows.write("fail.side", "");
    flows.ends(1, &["run", "f"]);
    // 15: today's flow wants more than was given.
    flows.configure(&two("style"));
    let told = flows.ends(15, &["retry", "f-1", "--from", "b"]);
    assert!(told.contains("style") && told.contains("--set style="), "{told}");
    flows.remove("fail.b");
    flows.remove("fail.side");
    flows.ran();
    flows.ok(&["retry", "f-1", "--from", "b", "--set", "style=noir"]);
    assert_eq!(flows.show("f-2")["inputs"], json!({ "style": "noir" }));

    // 14: b failed, and today it stands before what failed first.
    let turned = json!({ "f": { "stages": [
        stage("a", "", json!({})),
        stage("b", "", json!({ "needs": ["a"] })),
        stage("side", "", json!({ "needs": ["b"] })),
        stage("join", "", json!({ "needs": ["b", "side"] })),
    ] } });
    flows.configure(&turned);
    let told = flows.ends(14, &["retry", "f-1", "--from", "side", "--force"]);
    assert!(told.contains("side needs b, which left no usable checkpoint: it is failed"), "{told}");
    assert!(told.contains("restage retry f-1 --from b"), "{told}");
}

#[test]
fn a_queued_retry_runs_only_if_the_one_before_it_fails() {
    let flows = Flows::new(&json!({ "f": {
        "inputs": { "q": { "default": "1" } },
        "stages": [stage("a", &format!("{WAITS}; [ ! -e late.$RESTAGE_RUN_ID ]"), json!({}))]
    } }));
    let start = Instant::now();
    for (round, end) in ["succeeded", "cancelled", "failed"].into_iter().enumerate() {
        let first = round * 4 + 1;
        let name = |number: usize| format!("f-{}", first + number);
        flows.write("fail.a", "");
        flows.ends(1, &["run", "f"]);
        flows.remove("fail.a");
        flows.ran();
        flows.ok(&["retry", &name(0), "--detach"]);
        wait_until("the retry is under way", || flows.ran_so_far().contains(&"a".to_owned()));
        let again: &[&str] = &["retry", &name(0), "--queue", "--detach"];
        let other: &[&str] = &["retry", &name(0), "--queue", "--detach", "--set", "q=2"];
        for (number, wish) in [(2, again), (3, other)] {
            flows.ok(wish);
            assert_eq!(flows.show(&name(number))["status"], "queued");
            // Once is enough, whoever asks, and so is its plan.
            let reason =
                format!("{} is queued already to do that: a retry of {} from a", name(number), name(0));
            let count = flows.count();
            for more in [&[][..], &["--dry-run"], &["--from", "a"]] {
                refused(
                    &flows,
                    11,
                    &[wish, more].concat(),
                    &reason,
                    &format!("restage cancel {}", name(number)),
                );
            }
            assert_eq!(flows.count(), count);
        }
        if end == "cancelled" {
            flows.ok(&["cancel", &name(1)]);
        } else {
            if end == "failed" {
                flows.write(&format!("late.{}", name(1)), "");
            }
            flows.write("go", "");
        }
        flows.until(&name(1), end);
        flows.until(&name(2), if end == "failed" { "succeeded" } else { "cancelled" });
        if end == "cancelled" {
            let why = format!("{} was cancelled, and this one was to begin only if that failed", name(1));
            assert_eq!(flows.show(&name(2))["error"], why);
        }
        // The last one is not needed in any case.
        flows.until(&name(3), "cancelled");
        if end != "cancelled" {
            flows.remove("go");
        }
        let expected: &[&str] = if end == "failed" { &["a", "a"] } else { &["a"] };
        assert_eq!(flows.ran(), expected, "{end}");
    }
    assert!(start.elapsed() < PATIENCE);
}

#[test]
fn a_run_that_went_well_is_executed_whole_where_that_is_insisted_on() {
    let flows = Flows::new(&json!({ "f": { "stages": [
        stage("a", "", json!({})), stage("b", "", json!({ "needs": ["a"] })),
    ] } }));
    flows.ok(&["run", "f"]);
    flows.ran();
    flows.ok(&["retry", "f-1", "--force"]);
    assert_eq!(flows.ran(), ["a", "b"]);
    flows.write("fail.b", "");
    flows.ends(1, &["run", "f"]);
    flows.configure(&json!({ "f": { "stages": [stage("a", "", json!({}))] } }));
    let gone = "b, failed in f-3, is not in today's config any more";
    refused(&flows, 3, &["retry", "f-3"], gone, "put it back");
    refused(&flows, 3, &["retry", "f-3", "--from", "b"], gone, "there are: a");
}

#[test]
fn of_a_run_that_was_ruled_out_as_a_whole_the_way_out_works() {
    let flows = Flows::new(&json!({ "f": {
        "inputs": { "mode": { "default": "x" } },
        "stages": [stage("a", "", json!({ "when": "mode == \"y\"" }))],
    } }));
    flows.ok(&["run", "f"]);
    let out = "restage retry f-1 --from a --set mode=…";
    refused(&flows, 13, &["retry", "f-1"], "a never ran in f-1", out);
    let told = flows.ok(&["show", "f-1"]);
    assert!(told.contains("restage retry f-1 --from a"), "{told}");
    flows.ok(&["retry", "f-1", "--from", "a", "--set", "mode=y"]);
    assert_eq!(flows.ran(), ["a"]);
}
