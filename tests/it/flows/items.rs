//! Which items of a stage that fans out are executed by a retry: what its plan says, no more and no fewer.

use serde_json::{Value, json};

use super::Flows;

/// Each item notes its place, and fails where a file says so.
const EACH: &str = "echo $RESTAGE_ITEM_INDEX >> items; [ ! -e fail.$RESTAGE_ITEM_INDEX ] || exit 1; ";

fn each(rest: Value) -> Value {
    let mut stage = json!({ "name": "each", "command": EACH, "foreach": "list" });
    if let (Value::Object(stage), Value::Object(rest)) = (&mut stage, rest) {
        stage.extend(rest);
    }
    stage
}

fn flow(stages: &[Value]) -> Value {
    json!({ "f": { "inputs": { "list": { "type": "array", "default": ["a", "b", "c"] }, "style": { "default": "dark" } },
        "stages": stages } })
}

impl Flows {
    /// The places of the items that were executed since the last time.
    fn items(&self) -> Vec<u32> {
        let text = self.read("items");
        std::fs::remove_file(self.path("items")).ok();
        let mut items: Vec<u32> = text.lines().map(|line| line.parse().unwrap()).collect();
        items.sort_unstable();
        items
    }

    /// What the plan says of the stage: the whole line, behind its name.
    #[track_caller]
    fn planned(&self, retry: &[&str]) -> String {
        let told = self.ok(&[&["retry"], retry, &["--dry-run"]].concat());
        let line =
            told.lines().find(|line| line.contains("execute  each")).unwrap_or_else(|| panic!("{told}"));
        line.split_once("each").unwrap().1.trim().to_owned()
    }
}

#[test]
fn a_stage_that_somebody_finds_fault_with_is_executed_whole() {
    let check = json!({ "name": "check", "validates": "each", "command": "[ ! -e bad ]" });
    let flows = Flows::new(&flow(&[each(json!({})), check]));
    flows.write("bad", "");
    flows.ends(1, &["run", "f"]);
    assert_eq!(flows.items(), [0, 1, 2]);
    assert_eq!(flows.planned(&["f-1"]), "its validator failed: check failed");
    flows.ends(1, &["retry", "f-1"]);
    assert_eq!(flows.items(), [0, 1, 2], "what its validator refused is not kept");
    flows.remove("bad");
    flows.ok(&["retry", "f-2"]);
    assert_eq!(flows.items(), [0, 1, 2]);
    assert_eq!(flows.planned(&["f-3", "--from", "each", "--force"]), "forced");
    flows.ok(&["retry", "f-3", "--from", "each", "--force"]);
    assert_eq!(flows.items(), [0, 1, 2]);
}

#[test]
fn a_degraded_stage_is_executed_whole() {
    let command = format!("{EACH} exit 3");
    let flows = Flows::new(&flow(&[each(json!({ "command": command, "degraded_exit_codes": [3] }))]));
    flows.ends(4, &["run", "f"]);
    assert_eq!(flows.items(), [0, 1, 2]);
    assert_eq!(flows.planned(&["f-1"]), "failed: it was degraded");
    flows.ends(4, &["retry", "f-1"]);
    assert_eq!(flows.items(), [0, 1, 2]);
}

#[test]
fn what_a_person_rejected_is_executed_whole_whether_its_run_has_ended_or_not() {
    let flows = Flows::new(&flow(&[each(json!({ "approve": "manual" }))]));
    flows.ok(&["run", "f", "--detach"]);
    flows.until("f-1", "waiting");
    assert_eq!(flows.items(), [0, 1, 2]);
    flows.ok(&["cancel", "f-1"]);
    flows.ok(&["reject", "f-1", "each", "--feedback", "brighter"]);
    assert_eq!(flows.planned(&["f-1"]), "rejected");
    flows.ok(&["retry", "f-1", "--detach"]);
    flows.until("f-2", "waiting");
    assert_eq!(flows.items(), [0, 1, 2]);
    // The run goes on, and what it retries is no more what is wanted than what it made itself.
    flows.ok(&["reject", "f-2", "each", "--feedback", "darker"]);
    super::wait_until("all items are made anew", || flows.read("items").lines().count() == 3);
    flows.until("f-2", "waiting");
    assert_eq!(flows.items(), [0, 1, 2]);
}

#[test]
fn a_retry_goes_on_with_what_was_done_before_the_run_that_never_came_to_it() {
    let slow = json!({ "name": "slow", "command": "while [ -e hold ]; do sleep 0.02; done" });
    let mut config = flow(&[slow, each(json!({ "needs": ["slow"] }))]);
    config["f"]["concurrency"] = "queue".into();
    let flows = Flows::new(&config);
    flows.write("fail.1", "");
    flows.ends(1, &["run", "f"]);
    assert_eq!(flows.items(), [0, 1, 2]);
    flows.remove("fail.1");
    flows.write("hold", "");
    flows.ok(&["run", "f", "--detach"]);
    flows.ok(&["retry", "f-1", "--detach"]);
    flows.until("f-3", "queued");
    flows.ok(&["cancel", "f-3"]);
    flows.remove("hold");
    flows.until("f-2", "succeeded");
    assert_eq!(flows.items(), [0, 1, 2]);
    assert_eq!(flows.planned(&["f-3"]), "never ran: 1 of 3 items: 1");
    flows.ok(&["retry", "f-3"]);
    assert_eq!(flows.items(), [1]);
    assert_eq!(flows.stage("f-4", "each")["items"], json!({ "done": 3, "all": 3 }));
}

#[test]
fn of_equal_items_each_is_executed_for_itself() {
    let take = format!("{EACH} echo take=$RESTAGE_ITEM_INDEX > $RESTAGE_OUTPUT");
    let flows = Flows::new(&flow(&[
        each(json!({ "command": take, "outputs": ["take"] })),
        json!({ "name": "end", "needs": ["each"], "command": "cat $RESTAGE_STATE > state" }),
    ]));
    flows.write("fail.1", "");
    flows.write("fail.2", "");
    flows.write("inputs.json", r#"{"list": ["a", "a", "a"]}"#);
    flows.ends(1, &["run", "f", "--inputs", "inputs.json"]);
    assert_eq!(flows.items(), [0, 1, 2]);
    flows.remove("fail.1");
    assert_eq!(flows.planned(&["f-1"]), "failed: 2 of 3 items: 1, 2");
    flows.ends(1, &["retry", "f-1"]);
    assert_eq!(flows.items(), [1, 2]);
    flows.remove("fail.2");
    assert_eq!(flows.planned(&["f-2"]), "failed: 1 of 3 items: 2");
    flows.ok(&["retry", "f-2"]);
    assert_eq!(flows.items(), [2]);
    let state: Value = serde_json::from_str(&flows.read("state")).unwrap();
    let takes: Vec<String> =
        state["take"].as_array().unwrap().iter().map(|take| take.to_string().replace('"', "")).collect();
    assert_eq!(takes, ["0", "1", "2"]);
}

#[test]
fn each_item_is_shown_what_its_own_last_attempt_left() {
    let each = each(json!({
        "command": "[ -z $RESTAGE_PREVIOUS ] || cat $RESTAGE_PREVIOUS/artifacts/part >> seen; \
            echo $RESTAGE_RUN_ID/$RESTAGE_ITEM_INDEX/$RESTAGE_ATTEMPT > $RESTAGE_ARTIFACTS/part; exit 1",
        "retry": { "enabled": true, "count": 1, "backoff_seconds": 0.02 },
    }));
    let flows = Flows::new(&flow(&[each]));
    flows.ends(1, &["run", "f"]);
    flows.remove("seen");
    flows.ends(1, &["retry", "f-1"]);
    let text = flows.read("seen");
    let mut seen: Vec<&str> = text.lines().collect();
    seen.sort_unstable();
    let of = |run: &str, attempt: u32| [0, 1, 2].map(|item| format!("{run}/{item}/{attempt}"));
    assert_eq!(seen, [of("f-1", 2), of("f-2", 1)].concat());
}

#[test]
fn another_list_is_another_input_whatever_the_stage_requires() {
    for requires in [json!(["style"]), json!([])] {
        let flows = Flows::new(&flow(&[each(json!({ "requires": requires }))]));
        flows.ok(&["run", "f"]);
        assert_eq!(flows.items(), [0, 1, 2]);
        let longer = r#"list=["a","b","c","d"]"#;
        assert_eq!(flows.planned(&["f-1", "--force", "--set", longer]), "input changed: of the run: list");
        flows.ok(&["retry", "f-1", "--force", "--set", longer]);
        assert_eq!(flows.items(), [0, 1, 2, 3]);
        // The list is what it was, and the rest does not concern it.
        flows.write("fail.3", "");
        flows.ends(1, &["retry", "f-2", "--from", "each", "--force"]);
        assert_eq!(flows.items(), [0, 1, 2, 3]);
        flows.remove("fail.3");
        // Of one that failed, an item is made from itself and not from the whole list.
        let other = r#"list=["c","new","a","d"]"#;
        assert_eq!(flows.planned(&["f-3", "--set", other]), "failed: 2 of 4 items: 1, 3");
        flows.ok(&["retry", "f-3", "--set", other]);
        assert_eq!(flows.items(), [1, 3]);
    }
}
