//! The course of runs: retries by themselves, timeouts, keys, queues, the commands after the end.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use super::{Flows, stage};
use crate::support::{RESTAGE, is_alive, pid_in, wait_until};

const WAITS: &str = "until [ -e go ]; do sleep 0.02; done";

#[test]
fn what_fails_once_succeeds_then_and_what_was_left_is_offered() {
    let script = "echo half >> $RESTAGE_ARTIFACTS/part; [ $RESTAGE_ATTEMPT = 2 ] || { echo no; exit 3; }; \
        cat $RESTAGE_PREVIOUS/artifacts/part; echo $RESTAGE_IDEMPOTENCY_KEY > key";
    let flows = Flows::new(&json!({ "f": {
        "retry_on_failure": true, "retry_count": 2, "retry_backoff_seconds": 0.05,
        "stages": [stage("a", script, json!({ "artifacts": ["part"] }))]
    } }));
    let told = flows.ends(0, &["run", "f"]);
    assert!(told.contains("exit 3: no (will retry 2 more times)"), "{told}");
    let row = flows.stage("f-1", "a");
    let attempts = row["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2);
    assert_eq!((&attempts[0]["exit_code"], &attempts[0]["verdict"]), (&json!(3), &json!("exit")));
    assert_eq!(attempts[0]["error"], "exit 3: no (will retry 2 more times)");
    assert_eq!((&attempts[1]["exit_code"], &attempts[1]["error"]), (&json!(0), &Value::Null));
    assert_eq!((&row["status"], &row["error"]), (&json!("succeeded"), &Value::Null));
    assert_eq!(std::fs::read_to_string(flows.object(&row["artifacts"][0]["hash"])).unwrap(), "half\n");
    assert!(flows.read("key").starts_with("f-1/a/"), "{}", flows.read("key"));
    for (index, log) in ["no\n", "half\n"].into_iter().enumerate() {
        assert_eq!(flows.read(&format!(".restage/runs/f-1/logs/a_{}.log", index + 1)), log);
    }
}

#[test]
fn a_retry_of_what_a_stage_began_keeps_the_trigger() {
    let flows = Flows::new(&json!({
        "outer": { "stages": [stage("a", &format!("{RESTAGE} run inner --input word=x"), json!({}))] },
        "inner": { "inputs": { "word": {} }, "stages": [stage("b", "[ -e go ]", json!({}))] },
    }));
    flows.ends(1, &["run", "outer"]);
    flows.write("go", "");
    flows.ok(&["retry", "inner-1"]);
    let (first, retry) = (flows.show("inner-1"), flows.show("inner-2"));
    assert_eq!((&first["trigger"], &first["cause"]), (&json!("flow"), &json!("flow")));
    assert_eq!((&first["caller_run_id"], &first["inputs"]), (&json!("outer-1"), &json!({ "word": "x" })));
    assert_eq!((&retry["trigger"], &retry["cause"]), (&json!("flow"), &json!("retry")));
    assert_eq!((&retry["status"], &retry["inputs"]), (&json!("succeeded"), &first["inputs"]));
}

#[test]
fn one_that_is_exhausted_lists_every_attempt() {
    let flows = Flows::new(&json!({ "f": { "stages": [
        stage("a", "echo try $RESTAGE_ATTEMPT; exit $RESTAGE_ATTEMPT", json!({
            "retry": { "enabled": true, "count": 2, "backoff_seconds": 0.02 }
        })),
        stage("b", "", json!({ "needs": ["a"] })),
        stage("beside", "", json!({})),
    ] } }));
    let told = flows.ends(1, &["run", "f"]);
    let error = "exit 3: try 3 (3 attempts failed; 1: exit 1: try 1; 2: exit 2: try 2; 3: exit 3: try 3)";
    assert!(told.contains(error), "{told}");
    let row = flows.stage("f-1", "a");
    assert_eq!(row["error"], error);
    let errors: Vec<&Value> = row["attempts"].as_array().unwrap().iter().map(|one| &one["error"]).collect();
    assert_eq!(
        errors,
        ["exit 1: try 1 (will retry 2 more times)", "exit 2: try 2 (will retry 1 more time)", error]
    );
    assert_eq!(flows.status("f-1", "b"), "not_run");
    assert_eq!(flows.status("f-1", "beside"), "succeeded");
    assert_eq!(flows.show("f-1")["error"], format!("a: {error}"));
}

#[test]
fn a_run_that_takes_too_long_is_stopped_with_its_trees() {
    let flows = Flows::new(&json!({ "f": {
        "timeout_seconds": 0.5,
        "on_failure": "echo \"$RESTAGE_RUN_ID $RESTAGE_RUN_STATUS $RESTAGE_RUN_ERROR\" > after",
        "stages": [
            stage("a", "setsid sh -c 'echo $$ > pid; trap \"\" TERM; while :; do sleep 1; done' & wait", json!({})),
            stage("again", "exit 1", json!({ "retry": { "enabled": true, "count": 9, "backoff_seconds": 30 } })),
            stage("b", "", json!({ "needs": ["a"] })),
        ]
    } }));
    let told = flows.ends(124, &["run", "f"]);
    assert!(told.contains("Flow execution timed out after 0.5 seconds"), "{told}");
    let run = flows.show("f-1");
    assert_eq!(
        (&run["status"], &run["error"]),
        (&json!("failed"), &json!("Flow execution timed out after 0.5 seconds"))
    );
    let seconds = run["duration_seconds"].as_f64().unwrap();
    assert!((0.5..15.0).contains(&seconds), "{seconds}");
    assert!(!is_alive(pid_in(&flows.path("pid"))));
    let words = ["a", "again", "b"].map(|one| flows.status("f-1", one));
    assert_eq!(words, ["cancelled", "cancelled", "not_run"]);
    let after = "f-1 failed Flow execution timed out after 0.5 seconds\n";
    wait_until("the command after it", || flows.read("after") == after);
}

#[test]
fn inputs_come_from_options_a_file_or_stdin_and_a_retry_keeps_them() {
    let flows = Flows::new(&json!({ "f": {
        "inputs": {
            "question": { "required": true }, "count": { "type": "number" }, "deep": { "default": { "x": [1.0] } }
        },
        "stages": [stage("a", "cat $RESTAGE_STATE > state", json!({}))]
    } }));
    let told = flows.ends(15, &["run", "f"]);
    assert!(told.contains("question"), "{told}");
    assert_eq!(flows.count(), 1);
    flows.write("fail.a", "");
    let long = "x".repeat(20_000);
    let text = json!({ "question": long, "count": 1 }).to_string();
    flows.write("inputs.json", &text);
    flows.ends(1, &["run", "f", "--inputs", "inputs.json", "--input", "count=2"]);
    let mut child = flows
        .space
        .command(&["run", "f", "--inputs", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    for (run, count) in [("f-1", 2), ("f-2", 1)] {
        let inputs = &flows.show(run)["inputs"];
        assert_eq!(*inputs, json!({ "question": long, "count": count, "deep": { "x": [1.0] } }));
    }
    flows.remove("fail.a");
    flows.ok(&["retry", "f-1"]);
    let (first, retry) = (flows.show("f-1"), flows.show("f-3"));
    assert_eq!(first["inputs"], retry["inputs"]);
    assert_eq!((&first["trigger"], &retry["trigger"]), (&json!("manual"), &json!("manual")));
    assert_eq!((&first["cause"], &retry["cause"]), (&json!("manual"), &json!("retry")));
    assert_eq!((&retry["parent_run_id"], &retry["retry_from_stage"]), (&json!("f-1"), &json!("a")));
    assert!(flows.read("state").contains("\"deep\":{\"x\":[1.0]}"), "{}", flows.read("state"));
    let twice = ("{\"count\": 1, \"count\": 2}", "\"count\": it is there twice");
    for (bad, why) in [("[]", "object"), ("{\"question\": 1,}", "line 1"), ("{\"nope\": 1}", "nope"), twice] {
        flows.write("inputs.json", bad);
        let told = flows.ends(2, &["run", "f", "--inputs", "inputs.json"]);
        assert!(told.contains(why), "{bad}: {told}");
    }
    let told = flows.ends(2, &["run", "f", "--input", "count=1", "--input", "count=2"]);
    assert!(told.contains("count is given twice"), "{told}");
    let told = flows.ends(1, &["run", "f", "--inputs", "nowhere.json"]);
    assert!(told.contains("nowhere.json") && told.contains("No such file"), "{told}");
}

#[test]
fn a_key_that_was_used_gives_the_run_that_it_was_used_for() {
    let flows = Flows::new(&json!({ "f": { "stages": [stage("a", "", json!({}))] } }));
    let children: Vec<_> = (0..8)
        .map(|_| {
            let mut command = flows.space.command(&["run", "f", "--key", "night 1"]);
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"f-1\n".as_slice()));
    }
    assert_eq!(flows.ran(), ["a"]);
    assert_eq!(flows.ok(&["run", "f", "--key", "night 2"]), "f-2\n");
    // Each flow has keys of its own.
    assert_eq!(flows.ok(&["run", "warm", "--key", "night 2"]), "warm-2\n");
    assert_eq!(flows.show("f-2")["idempotency_key"], "night 2");
    // As a script says it in which something is not set.
    let told = flows.ends(2, &["run", "f", "--key", ""]);
    assert!(told.contains("--key"), "{told}");
}

#[test]
fn a_second_run_waits_or_is_refused_as_its_flow_says() {
    let flow = |concurrency: &str| {
        let one = stage("a", &format!("echo $RESTAGE_RUN_ID >> order; {WAITS}"), json!({}));
        json!({ "concurrency": concurrency, "stages": [one] })
    };
    let flows = Flows::new(&json!({ "q": flow("queue"), "r": flow("refuse") }));
    flows.ok(&["run", "r", "--detach"]);
    let told = flows.ends(1, &["run", "r"]);
    assert!(
        told.contains("r-1 of the same flow is under way") && told.contains("restage cancel r-1"),
        "{told}"
    );
    flows.ok(&["cancel", "r-1"]);
    flows.write("order", "");
    // More than nine, so that they are seen to start in the order of their numbers.
    for _ in 0..11 {
        flows.ok(&["run", "q", "--detach"]);
    }
    assert_eq!(flows.show("q-2")["status"], "queued");
    flows.ok(&["cancel", "q-5"]);
    flows.write("go", "");
    flows.until("q-11", "succeeded");
    let order = flows.read("order");
    let order: Vec<&str> = order.lines().collect();
    assert_eq!(order, ["q-1", "q-2", "q-3", "q-4", "q-6", "q-7", "q-8", "q-9", "q-10", "q-11"]);
    assert_eq!(flows.show("q-5")["status"], "cancelled");
}

#[test]
fn the_command_after_a_run_is_the_one_for_its_end() {
    let flows = Flows::new(&json!({ "f": {
        "env": { "WORD": "said" },
        "on_success": "echo \"good $RESTAGE_RUN_ID $WORD\" >> after",
        "on_failure": "echo \"bad $RESTAGE_RUN_ID $RESTAGE_RUN_ERROR\" >> after",
        "stages": [stage("a", "", json!({}))]
    } }));
    flows.ok(&["run", "f"]);
    wait_until("the command after success", || flows.read("after") == "good f-1 said\n");
    flows.write("fail.a", "");
    flows.ends(1, &["run", "f"]);
    let both = "good f-1 said\nbad f-2 a: exit 1: made to fail\n";
    wait_until("the command after failure", || flows.read("after") == both);
}

#[test]
fn without_a_supervisor_a_run_brings_one_along() {
    let flows = Flows { space: crate::support::workspace::Workspace::new(&json!({})) };
    flows.configure(&json!({ "f": {
        "on_success": "echo done > after", "stages": [stage("a", "", json!({}))]
    } }));
    flows.ok(&["run", "f"]);
    assert_eq!(flows.read("after"), "done\n", "it ends when the command after the run has ended");
    flows.ends(3, &["down"]);
    flows.write("fail.a", "");
    flows.ends(1, &["run", "f"]);
    flows.remove("fail.a");
    let told = flows.ok(&["retry", "f-2", "--output", "json"]);
    let last: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["event"], &last["run"], &last["status"]),
        (&json!("run_ended"), &json!("f-3"), &json!("succeeded"))
    );
}

#[test]
fn whoever_follows_is_told_of_every_stage_once_however_slowly_they_read() {
    // More than may wait for a reader.
    const MANY: usize = 1100;
    let one = |number: usize| json!({ "name": format!("s{number}"), "command": ["true"] });
    let stages: Vec<Value> = (0..MANY).map(one).collect();
    let flows = Flows::new(&json!({ "f": { "stages": stages } }));
    let mut command = flows.space.command(&["run", "f", "--output", "json"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("a run", || flows.count() == 2);
    flows.until("f-1", "succeeded");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let told = String::from_utf8(output.stdout).unwrap();
    let told: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ended = told.iter().filter(|line| line["event"] == "stage_ended");
    let mut ended: Vec<&str> = ended.map(|line| line["stage"].as_str().unwrap()).collect();
    ended.sort_unstable();
    let mut all: Vec<String> = (0..MANY).map(|number| format!("s{number}")).collect();
    all.sort_unstable();
    assert_eq!(ended, all);
    let ends = told.iter().filter(|line| line["event"] == "run_ended").count();
    assert_eq!((ends, &told.last().unwrap()["event"]), (1, &json!("run_ended")));
}

#[test]
fn large_inputs_reach_their_stages_and_larger_ones_are_refused_before_they_are_sent() {
    let flows = Flows::new(&json!({ "big": {
        "inputs": { "text": { "required": true } },
        "stages": [stage("a", "wc -c < $RESTAGE_STATE > size", json!({}))],
    } }));
    let write = |name: &str, bytes: usize| {
        flows.write(name, &json!({ "text": "y".repeat(bytes) }).to_string());
    };
    write("big.json", 20 << 20);
    flows.ok(&["run", "big", "--inputs", "big.json"]);
    assert!(flows.read("size").trim().parse::<usize>().unwrap() > 20 << 20);
    write("huge.json", 64 << 20);
    let told = flows.ends(2, &["run", "big", "--inputs", "huge.json"]);
    assert!(told.contains("inputs may have 64 MiB") && told.contains("hint: "), "{told}");
}

#[test]
fn for_programs_a_key_that_is_known_tells_the_run_and_how_it_ended() {
    let flows = Flows::new(&json!({ "f": { "stages": [stage("a", "", json!({}))] } }));
    flows.ok(&["run", "f", "--key", "k"]);
    let told = flows.ok(&["run", "f", "--key", "k", "--json"]);
    let lines: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{told}");
    assert_eq!(lines[0], json!({ "run_id": "f-1", "existing": true }));
    assert_eq!(
        (&lines[1]["event"], &lines[1]["status"]),
        (&json!("run_ended"), &json!("succeeded")),
        "{told}"
    );
}

/// As from a stage that tries again, in which somebody runs a flow of another workspace.
#[test]
fn a_stage_is_told_nothing_that_another_one_was_told() {
    let flows = Flows::new(&json!({ "f": { "stages": [stage("a", "env > told", json!({
        "env": { "RESTAGE_ITEM": "of the config" }
    }))] } }));
    flows.ok(&["down"]);
    let mut command = flows.space.command(&["run", "f"]);
    for word in ["PREVIOUS", "ITEM", "ITEM_INDEX", "FEEDBACK", "PARENT_RUN_ID", "RETRY_FROM", "RETRY"] {
        command.env(format!("RESTAGE_{word}"), "of another");
    }
    assert!(command.output().unwrap().status.success());
    let told = flows.read("told");
    assert!(!told.contains("of another") && !told.contains("of the config"), "{told}");
    assert!(told.contains("RESTAGE_STAGE=a\n") && told.contains("RESTAGE_ATTEMPT=1\n"), "{told}");
}
