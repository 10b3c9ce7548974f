//! A retry executes the plan's set once more and nothing else, and ends as if nothing had ever failed.

use serde_json::{Value, json};

use super::{Flows, stage};

/// Nested, with digits and an order that a parsed value would lose.
const SCRIPT: &str =
    r#"{"z":1.10,"a":[12345678901234567890123,{"deep":[[],{},null,"é \\ \" "]}],"big":1e400}"#;

/// A branch (storyboard and voice), a validator (check), one that is skipped unless wanted (extra), one that is degraded
/// (voice). The last one tells the state that it was given.
fn seven() -> Value {
    let stages = json!([
        stage(
            "script",
            &format!(
                "cat > $RESTAGE_OUTPUT <<'EOF'\n{{\"script\": {SCRIPT}, \"scenes\": [1, [2, {{\"three\": 3}}]]}}\nEOF\n"
            ),
            json!({ "outputs": ["script", "scenes"] })
        ),
        stage(
            "storyboard",
            "printf 'frame\\0\\377' > $RESTAGE_ARTIFACTS/'a b.bin'; echo board=drawn > $RESTAGE_OUTPUT",
            json!({ "needs": ["script"], "outputs": ["board"], "artifacts": ["*.bin"] })
        ),
        stage(
            "check",
            "test -s \"$RESTAGE_INPUTS/storyboard/a b.bin\"",
            json!({ "validates": "storyboard" })
        ),
        stage(
            "voice",
            "echo '{\"voice\":{\"wav\":[0,1]}}' > $RESTAGE_OUTPUT; exit 9",
            json!({
                "needs": ["script"], "outputs": ["voice"], "allow_degraded": true, "degraded_exit_codes": [9]
            })
        ),
        stage(
            "extra",
            "echo extra=much > $RESTAGE_OUTPUT",
            json!({ "needs": ["script"], "outputs": ["extra"], "when": "state.more" })
        ),
        stage(
            "render",
            "cmp \"$RESTAGE_INPUTS/storyboard/a b.bin\" frame && cat frame > $RESTAGE_ARTIFACTS/film; \
             echo '{\"film\":[\"done\",{}]}' > $RESTAGE_OUTPUT",
            json!({
                "needs": ["storyboard", "voice"], "optional_needs": ["extra"], "outputs": ["film"],
                "artifacts": ["film"]
            })
        ),
        stage("publish", "cat $RESTAGE_STATE > state", json!({ "needs": ["render"] })),
    ]);
    json!({ "video": { "inputs": { "more": { "type": "boolean", "default": false } }, "stages": stages } })
}

const ALL: [&str; 7] = ["check", "extra", "publish", "render", "script", "storyboard", "voice"];

fn flows() -> Flows {
    let flows = Flows::new(&seven());
    std::fs::write(flows.path("frame"), b"frame\0\xff").unwrap();
    flows
}

fn run_of(told: &str) -> String {
    told.lines().next().unwrap().to_owned()
}

#[test]
fn a_retry_from_any_stage_executes_its_plan_once_and_ends_like_a_run_that_never_failed() {
    let flows = flows();
    let mut good = Vec::new();
    for more in ["false", "true"] {
        flows.ends(4, &["run", "video", "--input", &format!("more={more}")]);
        let expected = ALL.into_iter().filter(|one| more == "true" || *one != "extra");
        assert_eq!(flows.ran(), expected.collect::<Vec<_>>());
        good.push(flows.read("state"));
    }
    let compact: String = good[0].split_whitespace().collect();
    assert!(compact.contains(&SCRIPT.split_whitespace().collect::<String>()), "{compact}");
    assert_eq!(flows.status("video-1", "extra"), "skipped");
    assert_eq!(flows.status("video-1", "voice"), "degraded");
    let cases: [(&str, bool, &[&str]); 7] = [
        ("script", false, &["check", "publish", "render", "script", "storyboard", "voice"]),
        ("storyboard", false, &["check", "publish", "render", "storyboard"]),
        // A validator is retried with what it validates.
        ("check", false, &["check", "publish", "render", "storyboard"]),
        ("voice", false, &["publish", "render", "voice"]),
        ("extra", true, &["extra", "publish", "render"]),
        ("render", false, &["publish", "render"]),
        ("publish", false, &["publish"]),
    ];
    for (failing, more, executed) in cases {
        let reference = &good[usize::from(more)];
        flows.write(&format!("fail.{failing}"), "");
        let (code, told, news) = flows.run(&["run", "video", "--input", &format!("more={more}")]);
        assert_eq!(code, 1, "{failing}: {news}");
        let run = run_of(&told);
        assert_eq!(flows.status(&run, failing), "failed", "{news}");
        assert_eq!(flows.stage(&run, failing)["error"], "exit 1: made to fail");
        flows.remove(&format!("fail.{failing}"));
        std::fs::remove_file(flows.path("state")).ok();
        flows.ran();

        let plan = flows.ok(&["retry", &run, "--from", failing, "--dry-run", "--output", "json"]);
        let plan: Value = serde_json::from_str(&plan).unwrap();
        let stages = plan["stages"].as_array().unwrap();
        let mut planned: Vec<&str> = stages
            .iter()
            .filter(|one| one["decision"] == "execute")
            .map(|one| one["stage"].as_str().unwrap())
            .filter(|one| more || *one != "extra")
            .collect();
        planned.sort_unstable();
        assert_eq!(planned, executed, "{plan:#}");

        let (code, told, news) = flows.run(&["retry", &run, "--from", failing]);
        assert_eq!(code, 4, "{failing}: {news}");
        assert_eq!(flows.ran(), executed, "{failing}");
        assert_eq!(&flows.read("state"), reference, "{failing}");
        let retry = run_of(&told);
        for row in flows.show(&retry)["stages"].as_array().unwrap() {
            let name = row["name"].as_str().unwrap();
            let decision = if executed.contains(&name) || failing == "script" { "execute" } else { "reuse" };
            assert_eq!(row["decision"], decision, "{failing}: {row:#}");
        }

        // Once more, though nothing failed.
        flows.ends(12, &["retry", &run, "--from", failing]);
        flows.remove("state");
        flows.ends(4, &["retry", &retry, "--from", failing, "--force"]);
        assert_eq!(flows.ran(), executed, "{failing}, forced");
        assert_eq!(&flows.read("state"), reference, "{failing}, forced");
    }
}

#[test]
fn retries_of_retries_resolve_outputs_through_all_their_ancestors() {
    let mut stages =
        vec![stage("s1", "echo '{\"k1\":{\"of\":1}}' > $RESTAGE_OUTPUT", json!({ "outputs": ["k1"] }))];
    for number in 2..=5 {
        let script = format!(
            "cat $RESTAGE_INPUTS/*/file; echo {number} > $RESTAGE_ARTIFACTS/file; \
             echo '{{\"k{number}\":{{\"of\":{number}}}}}' > $RESTAGE_OUTPUT"
        );
        let script = if number == 2 { script.replace("cat $RESTAGE_INPUTS/*/file;", "") } else { script };
        let rest = json!({
            "needs": [format!("s{}", number - 1)], "outputs": [format!("k{number}")], "artifacts": ["file"]
        });
        stages.push(stage(&format!("s{number}"), &script, rest));
    }
    stages.push(stage(
        "end",
        "cat $RESTAGE_STATE $RESTAGE_INPUTS/*/file > state",
        json!({ "needs": ["s5"] }),
    ));
    let flow = json!({ "deep": { "max_retry_depth": 4, "stages": stages } });
    let flows = Flows::new(&flow);
    flows.ok(&["run", "deep"]);
    let good = flows.read("state");
    flows.ran();

    for number in 2..=5 {
        flows.write(&format!("fail.s{number}"), "");
    }
    flows.ends(1, &["run", "deep"]);
    assert_eq!(flows.ran(), ["s1", "s2"]);
    for depth in 1..=4 {
        let stage = format!("s{}", depth + 1);
        flows.remove(&format!("fail.{stage}"));
        let code = i32::from(depth < 4);
        flows.ends(code, &["retry", &format!("deep-{}", depth + 1)]);
        let expected =
            if depth == 4 { vec!["end".to_owned(), stage] } else { vec![stage, format!("s{}", depth + 2)] };
        assert_eq!(flows.ran(), expected);
        let run = flows.show(&format!("deep-{}", depth + 2));
        assert_eq!((&run["retry_depth"], &run["root_run_id"]), (&json!(depth), &json!("deep-2")));
    }
    assert_eq!(flows.read("state"), good);
    let last = flows.show("deep-6");
    let sources: Vec<&str> =
        last["stages"].as_array().unwrap().iter().filter_map(|row| row["source_run_id"].as_str()).collect();
    assert_eq!(sources, ["deep-2", "deep-3", "deep-4", "deep-5"]);

    let told = flows.ends(16, &["retry", "deep-6", "--from", "end", "--force"]);
    assert!(told.contains("deep-6 is 4 retries deep, and 4 is the limit"), "{told}");
    assert!(told.contains("max_retry_depth"), "{told}");
}
