//! What the attempts of a stage come to: who is retried, what counts as too late or too much, and what it all took.

use serde_json::{Value, json};

use super::{Flows, stage};
use crate::support::is_alive;

#[test]
fn a_failing_validator_is_retried_without_what_it_validates() {
    let flows = Flows::new(&json!({ "f": { "stages": [
        stage("x", "", json!({})),
        stage("v", "[ $RESTAGE_ATTEMPT = 3 ]",
            json!({ "validates": "x", "retry": { "count": 2, "backoff_seconds": 0.01 } })),
        stage("y", "", json!({ "needs": ["x"] })),
    ] } }));
    flows.ok(&["run", "f"]);
    assert_eq!(flows.read("ran"), "x\nv\nv\nv\ny\n");
    let counts = ["x", "v", "y"].map(|one| flows.stage("f-1", one)["attempts"].as_array().unwrap().len());
    assert_eq!(counts, [1, 3, 1]);
}

#[test]
fn a_stage_that_takes_too_long_has_timed_out_however_it_ends_then() {
    // Asked to end it says that all is well.
    let script = "trap 'exit 0' TERM; setsid sleep 1000 & echo $! >> pids; wait";
    let flows = Flows::new(&json!({ "f": { "stages": [
        stage("a", script, json!({ "timeout_seconds": 0.2, "retry": { "count": 1, "backoff_seconds": 0.01 } })),
        stage("b", "", json!({ "needs": ["a"] })),
    ] } }));
    let told = flows.ends(1, &["run", "f"]);
    let limit = "timed out: longer than its limit of 0.2s";
    assert!(told.contains(&format!("{limit} (2 attempts failed; 1: {limit}; 2: {limit})")), "{told}");
    let attempts = flows.stage("f-1", "a")["attempts"].as_array().unwrap().clone();
    let seen: Vec<_> =
        attempts.iter().map(|one| (one["verdict"].as_str(), one["exit_code"].as_i64())).collect();
    assert_eq!(seen, [(Some("timed_out"), Some(0)); 2]);
    assert_eq!(attempts[0]["error"], format!("{limit} (will retry 1 more time)"));
    assert_eq!((flows.status("f-1", "a"), flows.status("f-1", "b")), ("failed".into(), "not_run".into()));
    assert_eq!(flows.ran(), ["a", "a"]);
    let pids: Vec<i32> = flows.read("pids").lines().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 2);
    assert!(!pids.into_iter().any(is_alive));
}

#[test]
fn an_output_beyond_the_limit_fails_its_stage_and_names_the_limit() {
    let flows = Flows::new(&json!({ "f": { "stages": [
        stage("a", "truncate -s 100M $RESTAGE_OUTPUT", json!({ "outputs": ["x"] })),
        stage("b", "", json!({ "needs": ["a"] })),
    ] } }));
    let told = flows.ends(1, &["run", "f"]);
    let error =
        "the output has 104857600 bytes, and 67108864 (64 MiB) is the limit; write large things as artifacts";
    assert!(told.contains(error), "{told}");
    assert_eq!(flows.stage("f-1", "a")["attempts"][0]["error"], error);
    assert_eq!(flows.ran(), ["a"]);
}

#[test]
fn what_a_lineage_took_is_what_its_attempts_took() {
    let busy = "head -c 60000000 /dev/zero | tail -c 50000000 > /dev/null; ";
    let costs = |cost: &str, rest: &str| format!("echo cost={cost} > $RESTAGE_OUTPUT; {rest}");
    let flows = Flows::new(&json!({ "f": { "stages": [
        stage("a", &costs("1.25", busy), json!({})),
        stage("b", &costs("0.5", "[ -e good ]"),
            json!({ "needs": ["a"], "retry": { "count": 1, "backoff_seconds": 0.01 } })),
    ] } }));
    flows.ends(1, &["run", "f"]);
    flows.write("good", "");
    flows.ok(&["retry", "f-1"]);
    let shown: Value = serde_json::from_str(&flows.ok(&["show", "f-2", "--json"])).unwrap();
    let (run, lineage) = (&shown["totals"]["run"], &shown["totals"]["lineage"]);
    assert_eq!((&run["runs"], &run["attempts"], &run["cost"]), (&json!(1), &json!(1), &json!(0.5)));
    assert_eq!(
        (&lineage["runs"], &lineage["attempts"], &lineage["cost"]),
        (&json!(2), &json!(4), &json!(2.75))
    );
    let of = |totals: &Value, what: &str| totals[what].as_f64().unwrap_or(0.0);
    let attempts: Vec<Value> = ["f-1", "f-2"]
        .iter()
        .flat_map(|run| flows.show(run)["stages"].as_array().unwrap().clone())
        .flat_map(|stage| stage["attempts"].as_array().unwrap().clone())
        .collect();
    let cpu: f64 = attempts.iter().map(|attempt| of(attempt, "cpu_seconds")).sum();
    assert!(cpu > 0.01 && (of(lineage, "cpu_seconds") - cpu).abs() < 1e-9, "{lineage} {cpu}");
    let peak = attempts.iter().map(|attempt| of(attempt, "peak_rss_bytes")).fold(0.0, f64::max);
    // Of what `tail` holds, and not of the small ones together.
    assert!((45e6..90e6).contains(&peak), "{peak}");
    assert!((of(lineage, "peak_rss_bytes") - peak).abs() < 1.0, "{lineage}");
    assert!(of(run, "cpu_seconds") < of(lineage, "cpu_seconds"), "{shown}");
    let told = flows.ok(&["show", "f-2"]);
    let line = told.lines().find(|line| line.starts_with("lineage")).unwrap();
    assert!(line.ends_with("  2.75") && line.contains("  4  "), "{told}");
}
