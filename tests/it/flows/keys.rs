//! `RESTAGE_IDEMPOTENCY_KEY`: one key for each piece of work, however often it is attempted.

use std::collections::BTreeSet;

use serde_json::json;

use super::Flows;

/// Notes its key, and fails where a file says so.
const NOTES: &str =
    "echo $RESTAGE_IDEMPOTENCY_KEY >> keys.$RESTAGE_STAGE; [ ! -e fail.$RESTAGE_STAGE ] || exit 1; ";

impl Flows {
    /// The keys that a stage was given since the last time.
    fn keys(&self, stage: &str) -> Vec<String> {
        let file = format!("keys.{stage}");
        let keys = self.read(&file).lines().map(str::to_owned).collect();
        std::fs::remove_file(self.path(&file)).ok();
        keys
    }

    /// The one key of all these attempts.
    #[track_caller]
    fn key(&self, stage: &str, attempts: usize) -> String {
        let keys = self.keys(stage);
        assert!(keys.len() == attempts && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
        keys[0].clone()
    }
}

#[test]
fn the_key_is_the_same_for_all_attempts_at_the_same_work_and_for_no_other() {
    let again = json!({ "enabled": true, "count": 1, "backoff_seconds": 0.02 });
    let config = |note: &str| {
        json!({ "f": { "inputs": { "q": { "default": "one" } }, "stages": [
            { "name": "a", "command": format!("{note}{NOTES}"), "retry": again.clone() },
            { "name": "b", "needs": ["a"], "command": NOTES, "approve": "manual" },
        ] } })
    };
    let flows = Flows::new(&config(""));
    flows.write("fail.a", "");
    flows.ends(1, &["run", "f"]);
    let first = flows.key("a", 2);
    assert!(first.starts_with("f-1/a/"), "{first}");
    flows.ends(1, &["retry", "f-1"]);
    assert_eq!(flows.key("a", 2), first, "a retry of the same work");
    // The command is mended; what it is to do is the same.
    flows.configure(&config(": mended; "));
    flows.remove("fail.a");
    flows.ok(&["retry", "f-2", "--detach"]);
    flows.until("f-3", "waiting");
    assert_eq!(flows.key("a", 1), first, "another command");
    let made = flows.key("b", 1);
    flows.ok(&["reject", "f-3", "b", "--feedback", "darker"]);
    super::wait_until("b is made anew", || !flows.read("keys.b").is_empty());
    flows.until("f-3", "waiting");
    let darker = flows.key("b", 1);
    assert_ne!(darker, made, "a person wants another one");
    flows.ok(&["approve", "f-3", "b"]);
    flows.until("f-3", "succeeded");
    // On another branch the work is the same until something of it is not.
    flows.ok(&["fork", "f-3", "--at", "a@1", "--branch", "night"]);
    flows.ok(&["continue", "f-3", "--branch", "night", "--detach"]);
    flows.until("f-4", "waiting");
    assert_eq!(flows.key("b", 1), made, "the same on a branch");
    flows.ok(&["retry", "f-3", "--from", "a", "--force", "--set", "q=two", "--detach"]);
    flows.until("f-5", "waiting");
    let other = [flows.key("a", 1), flows.key("b", 1)];
    assert!(!other.contains(&first) && !other.contains(&made), "another input: {other:?}");
}

#[test]
fn each_item_has_a_key_of_its_own() {
    let flows = Flows::new(&json!({ "f": {
        "inputs": { "list": { "type": "array", "default": ["x", "x", "y"] } },
        "stages": [{ "name": "each", "foreach": "list", "command": NOTES, "requires": [] }],
    } }));
    flows.write("fail.each", "");
    flows.ends(1, &["run", "f"]);
    let keys: BTreeSet<String> = flows.keys("each").into_iter().collect();
    assert_eq!(keys.len(), 3, "{keys:?}");
    for place in 0..3 {
        assert!(keys.iter().any(|key| key.starts_with(&format!("f-1/each/{place}/"))), "{keys:?}");
    }
    flows.ends(1, &["retry", "f-1"]);
    assert_eq!(flows.keys("each").into_iter().collect::<BTreeSet<_>>(), keys, "a retry of the same work");
    // An item more makes the others no other work.
    flows.remove("fail.each");
    flows.ok(&["retry", "f-2", "--set", r#"list=["x","x","y","z"]"#]);
    let more: BTreeSet<String> = flows.keys("each").into_iter().collect();
    assert!(more.len() == 4 && more.is_superset(&keys), "{more:?}");
}
