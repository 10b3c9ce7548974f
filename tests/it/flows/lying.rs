//! Runs that do not go on though their records say that they are under way: what is told of them, and what is done then.

use std::io::Write;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::left::{WAITS, alone, begin, end, is_running, left, pid_of, waiting};
use super::stage;
use crate::support::{is_alive, kill_9, wait_until};

fn shown(flows: &super::Flows, run: &str) -> Value {
    serde_json::from_str(&flows.ok(&["show", run, "--json"])).unwrap()
}

#[test]
fn a_run_that_nobody_supervises_is_told_as_that_and_continuing_does_what_is_promised() {
    let flows = alone(&waiting(&["a"]));
    left(&flows, &["run", "a"], "a");
    flows.write("fail.a", "");

    let told = shown(&flows, "a-1");
    assert_eq!((&told["status"], &told["left"]), (&json!("running"), &json!(true)));
    assert_eq!(told["branches"][0]["can_continue"], true, "{told:#}");
    assert_eq!(told["branches"][0]["reason"], "a-1 goes on where it stopped");
    let told = flows.ok(&["show", "a-1"]);
    assert!(told.contains("Nobody supervises") && !told.contains("still running"), "{told}");
    assert!(flows.ok(&["runs"]).contains("running, left"));
    let listed: Value = serde_json::from_str(&flows.ok(&["runs", "--json"])).unwrap();
    assert_eq!(listed[0]["left"], true);
    for verb in [&["retry", "a-1", "--dry-run"][..], &["edit", "a-1", "a", "--set", "k=v"]] {
        let told = flows.ends(10, verb);
        assert!(told.contains("nobody supervises it") && told.contains("restage continue a-1"), "{told}");
    }

    // It fails at once, in the moment in which it is taken up again.
    let told = flows.ends(1, &["continue", "a-1", "--branch", "main"]);
    assert!(told.contains("went on with a-1") && told.contains("Run a-1 failed"), "{told}");
    let told = shown(&flows, "a-1");
    assert_eq!((&told["status"], &told["left"]), (&json!("failed"), &json!(false)));
}

#[test]
fn of_a_retry_that_lies_the_chain_is_continued_by_any_of_its_names() {
    let flows = alone(&waiting(&["a"]));
    flows.write("fail.a", "");
    flows.ends(1, &["run", "a"]);
    flows.remove("fail.a");
    left(&flows, &["retry", "a-1"], "a");
    // What stands on the branch of a-1 is a-2.
    let told = flows.ends(0, &["continue", "a-1"]);
    assert!(told.contains("Run a-2 succeeded"), "{told}");
}

#[test]
fn of_a_run_that_lies_what_waits_for_a_person_is_taken_on_as_promised() {
    let flows = alone(&json!({ "f": { "stages": [
        stage("a", "", json!({ "approve": "manual" })), stage("b", WAITS, json!({})), stage("c", "", json!({ "needs": ["a"] })),
    ] } }));
    let host = begin(&flows, &["run", "f"]);
    let ends = is_running(&flows, "b");
    wait_until("a waits", || flows.status("f-1", "a") == "waiting");
    kill_9(pid_of(&host));
    end(host);
    wait_until("the stage has ended", || !is_alive(ends));
    flows.write("go.b", "");
    flows.ran();
    assert_eq!(shown(&flows, "f-1")["branches"][0]["reason"], "approves a@1, and f-1 goes on");
    flows.ends(0, &["continue", "f-1"]);
    assert_eq!(flows.ran(), ["b", "c"]);
}

/// A workspace with little room for what restage writes.
struct Small {
    flows: super::Flows,
    disk: PathBuf,
}

impl Small {
    /// `None` where nothing may be mounted.
    fn new(flows: &Value) -> Option<Self> {
        let flows = alone(flows);
        let disk = flows.path(".restage");
        std::fs::create_dir(&disk).unwrap();
        let (flags, options) = (nix::mount::MsFlags::empty(), Some("size=1m,mode=0700"));
        nix::mount::mount(Some("none"), &disk, Some("tmpfs"), flags, options).ok()?;
        Some(Self { flows, disk })
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        self.flows.run(&["down", "--kill"]);
        nix::mount::umount2(&self.disk, nix::mount::MntFlags::MNT_DETACH).ok();
    }
}

#[test]
fn whoever_looks_at_a_run_that_a_full_disk_holds_sees_why() {
    let chain = json!({ "f": { "stages": [stage("a", WAITS, json!({})), stage("b", "", json!({ "needs": ["a"] }))] } });
    let Some(small) = Small::new(&chain) else { return };
    let flows = &small.flows;
    flows.ok(&["run", "f", "--detach"]);
    is_running(flows, "a");
    let fill = flows.path(".restage/fill");
    let mut file = std::fs::File::create(&fill).unwrap();
    while file.write_all(&[0; 512]).is_ok() {}
    drop(file);
    flows.write("go.a", "");
    wait_until("it is held", || shown(flows, "f-1")["held"].as_str().is_some_and(|why| why.contains("full")));
    let listed: Value = serde_json::from_str(&flows.ok(&["runs", "--json"])).unwrap();
    assert!(listed[0]["held"].as_str().is_some_and(|why| why.contains("full")), "{listed:#}");
    assert!(flows.ok(&["runs"]).contains("running, held"));
    assert!(flows.ok(&["show", "f-1"]).contains("Held: "));

    std::fs::remove_file(fill).unwrap();
    flows.until("f-1", "succeeded");
    assert_eq!(shown(flows, "f-1")["held"], Value::Null);
}
