//! What becomes of runs and of those who follow them when a supervisor is killed, told to end, or has nothing more to do.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Output, Stdio};

use serde_json::{Value, json};

use super::{Flows, stage};
use crate::support::workspace::Workspace;
use crate::support::{is_alive, kill_9, pid_in, wait_until};

/// Each stage waits for a file of its own.
pub(super) const WAITS: &str =
    "echo $$ > pid.$RESTAGE_STAGE; until [ -e go.$RESTAGE_STAGE ]; do sleep 0.02; done";

/// Nobody supervises.
pub(super) fn alone(flows: &Value) -> Flows {
    let flows_alone = Flows { space: Workspace::new(&json!({})) };
    flows_alone.configure(flows);
    flows_alone
}

/// Flows of one stage, which waits, each under the name of its stage.
pub(super) fn waiting(names: &[&str]) -> Value {
    let flow = |name: &&str| ((*name).to_owned(), json!({ "stages": [stage(name, WAITS, json!({}))] }));
    Value::Object(names.iter().map(flow).collect())
}

pub(super) fn begin(flows: &Flows, arguments: &[&str]) -> Child {
    let mut command = flows.space.command(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

pub(super) fn pid_of(child: &Child) -> i32 {
    i32::try_from(child.id()).unwrap()
}

/// It has said the name of its run, so that it follows it.
fn follows(child: &mut Child, run: &str) {
    let mut said = Vec::new();
    let stdout = child.stdout.as_mut().unwrap();
    while !said.ends_with(b"\n") {
        let mut byte = [0];
        stdout.read_exact(&mut byte).unwrap();
        said.extend(byte);
    }
    assert_eq!(String::from_utf8(said).unwrap().trim_end(), run);
}

/// Its code and what it told.
pub(super) fn end(child: Child) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
}

pub(super) fn is_running(flows: &Flows, stage: &str) -> i32 {
    pid_in(&flows.path(&format!("pid.{stage}")))
}

/// A run that lies unfinished: whoever carried it out was killed while this stage ran, and the stage has ended with it.
pub(super) fn left(flows: &Flows, arguments: &[&str], stage: &str) {
    let host = begin(flows, arguments);
    let pid = is_running(flows, stage);
    kill_9(pid_of(&host));
    end(host);
    wait_until("the stage has ended", || !is_alive(pid));
    flows.remove(&format!("pid.{stage}"));
    flows.write(&format!("go.{stage}"), "");
    flows.ran();
}

#[test]
fn verbs_that_only_ask_let_what_lies_unfinished_lie() {
    let flows = alone(&json!({
        "a": { "stages": [stage("a", WAITS, json!({}))] },
        "bad": { "stages": [{ "name": "b", "command": "exit 3" }] },
    }));
    flows.ends(1, &["run", "bad"]);
    left(&flows, &["run", "a"], "a");
    let asking: &[(i32, &[&str])] = &[
        (0, &["gc", "--dry-run"]),
        (0, &["gc"]),
        (0, &["retry", "bad-1", "--dry-run"]),
        (10, &["retry", "a-1", "--dry-run"]),
        (1, &["unlock", "bad-1"]),
        (0, &["show", "a-1"]),
        (0, &["runs"]),
        (0, &["check"]),
        (0, &["cancel", "a-1"]),
        (1, &["cancel", "a-1"]),
    ];
    for (code, arguments) in asking {
        let told = flows.ends(*code, arguments);
        assert_eq!(flows.ran(), Vec::<String>::new(), "{arguments:?} executed something: {told}");
        let expected = if arguments[0] == "cancel" { "cancelled" } else { "running" };
        assert_eq!(flows.show("a-1")["status"], expected, "{arguments:?}");
    }
    assert_eq!(flows.status("a-1", "a"), "cancelled");
    flows.ends(3, &["down"]);
}

#[test]
fn whoever_is_refused_hears_it_at_once_though_he_stays_for_the_runs_of_others() {
    let mut flows = waiting(&["a"]);
    flows["needy"] =
        json!({ "inputs": { "q": { "required": true } }, "stages": [stage("n", "", json!({}))] });
    let flows = alone(&flows);
    left(&flows, &["run", "a"], "a");
    flows.remove("go.a");
    let mut host = begin(&flows, &["run", "needy"]);
    let mut told = BufReader::new(host.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(told.next().unwrap(), "restage: went on with a-1, which lay unfinished");
    assert_eq!(told.next().unwrap(), "restage: run needy: needy requires the input q");
    assert!(told.next().unwrap().contains("--input q="));
    assert_eq!(told.next().unwrap(), "restage: a-1 goes on in this process, which waits for it");
    assert!(is_alive(pid_of(&host)));
    flows.write("go.a", "");
    assert_eq!(host.wait().unwrap().code(), Some(15));
    assert_eq!((told.next(), flows.show("a-1")["status"].clone()), (None, json!("succeeded")));
}

#[test]
fn a_verb_that_sets_something_going_tells_what_it_went_on_with() {
    let flows = alone(&waiting(&["a", "b"]));
    left(&flows, &["run", "a"], "a");
    let told = flows.ends(0, &["run", "warm"]);
    assert!(told.contains("restage: went on with a-1, which lay unfinished\n"), "{told}");
    assert_eq!(
        (flows.show("a-1")["status"].clone(), flows.ran()),
        (json!("succeeded"), vec!["a".to_owned()])
    );
    left(&flows, &["run", "b"], "b");
    let told = flows.ends(0, &["continue", "b-1"]);
    assert!(told.contains("Run b-1 succeeded"), "{told}");
    assert_eq!(flows.ran(), ["b"]);
}

#[test]
fn a_lineage_is_unlocked_where_its_holder_is_dead_and_only_there() {
    let flows = alone(&waiting(&["a"]));
    flows.write("fail.a", "");
    flows.ends(1, &["run", "a"]);
    flows.remove("fail.a");
    left(&flows, &["retry", "a-1"], "a");
    let told = flows.ends(0, &["unlock", "a-2"]);
    assert!(told.contains("the lineage of a-2 is free"), "{told}");
    assert_eq!((flows.show("a-2")["status"].clone(), flows.ran()), (json!("interrupted"), Vec::new()));
    // What is interrupted has not ended: it can go on.
    let told = flows.ends(10, &["retry", "a-2"]);
    assert!(told.contains("a-2 is interrupted") && told.contains("restage continue a-2"), "{told}");
    let told = flows.ok(&["show", "a-2"]);
    let row = told.lines().find(|line| line.starts_with("?  a") || line.contains(" a  ")).unwrap_or(&told);
    assert!(row.contains("interrupted") && !row.contains("running"), "{told}");
    flows.ok(&["retry", "a-1"]);
    assert_eq!(
        (flows.show("a-3")["status"].clone(), flows.ran()),
        (json!("succeeded"), vec!["a".to_owned()])
    );

    flows.remove("go.a");
    flows.remove("pid.a");
    flows.ok(&["run", "a", "--detach"]);
    is_running(&flows, "a");
    let told = flows.ends(1, &["unlock", "a-4"]);
    let pid = flows.space.supervisor();
    assert!(told.contains(&format!("the holder of the lock of a-4 lives: pid {pid}")), "{told}");
    assert_eq!(flows.show("a-4")["status"], "running");
    flows.ok(&["cancel", "a-4"]);
}

#[test]
fn what_was_under_way_is_on_record_when_an_unlocked_run_is_continued() {
    let writes = format!("{WAITS}; echo v=$RESTAGE_ATTEMPT >$RESTAGE_OUTPUT; env >env.$RESTAGE_ATTEMPT");
    let flows = alone(&json!({ "a": { "stages": [stage("a", &writes, json!({ "outputs": ["v"] }))] } }));
    left(&flows, &["run", "a"], "a");
    flows.ok(&["unlock", "a-1"]);
    flows.ok(&["continue", "a-1"]);
    let shown = flows.show("a-1");
    assert_eq!(shown["status"], "succeeded", "{shown:#}");
    let attempts = shown["stages"][0]["attempts"].as_array().unwrap();
    let told: Vec<_> = attempts.iter().map(|one| (one["number"].clone(), one["verdict"].clone())).collect();
    assert_eq!(told, [(json!(1), json!("lost")), (json!(2), json!("completed"))], "{shown:#}");
    assert_eq!(shown["stages"][0]["outputs"], json!({ "v": "2" }));
    let env = std::fs::read_to_string(flows.path("env.2")).unwrap();
    for name in ["STATE", "INPUTS", "ARTIFACTS", "STAGE", "IDEMPOTENCY_KEY"] {
        assert!(env.contains(&format!("\nRESTAGE_{name}=")), "{name}: {env}");
    }
}

#[test]
fn whoever_follows_ends_as_their_run_though_its_supervisor_ends_with_it() {
    let flows = alone(&waiting(&["a", "b", "c"]));
    for round in 1..=4 {
        let host = begin(&flows, &["run", "a"]);
        is_running(&flows, "a");
        let others = [begin(&flows, &["run", "b"]), begin(&flows, &["run", "c", "--output", "json"])];
        for name in ["b", "c", "a"] {
            is_running(&flows, name);
        }
        flows.write("go.a", "");
        flows.until(&format!("a-{round}"), "succeeded");
        // The host goes on for them, and ends with the last one.
        flows.write("go.b", "");
        flows.write("go.c", "");
        for child in others {
            let (code, told) = end(child);
            assert_eq!(code, Some(0), "{told}");
            let ends = told.matches("succeeded").count();
            assert!(ends >= 1 && !told.contains("ending") && !told.contains("hint"), "{told}");
        }
        assert_eq!(end(host).0, Some(0));
        for name in ["a", "b", "c"] {
            flows.remove(&format!("go.{name}"));
            flows.remove(&format!("pid.{name}"));
        }
    }
}

#[test]
fn a_queued_retry_that_is_not_needed_says_why_and_is_no_failure() {
    let flows = alone(&waiting(&["a"]));
    flows.write("fail.a", "");
    flows.ends(1, &["run", "a"]);
    flows.remove("fail.a");
    let first = begin(&flows, &["retry", "a-1"]);
    is_running(&flows, "a");
    let queued = begin(&flows, &["retry", "a-1", "--queue"]);
    wait_until("the second one is queued", || flows.count() == 3);
    flows.write("go.a", "");
    assert_eq!(end(first).0, Some(0));
    let (code, told) = end(queued);
    let why = "a-2 succeeded, so this retry was not needed";
    assert!(code == Some(0) && told.contains(why), "{code:?}: {told}");
    assert_eq!(
        (&flows.show("a-3")["status"], &flows.show("a-3")["error"]),
        (&json!("cancelled"), &json!(why))
    );
}

#[test]
fn whoever_follows_is_told_that_the_run_was_interrupted() {
    let flows = alone(&waiting(&["a", "b"]));
    let host = begin(&flows, &["run", "a"]);
    is_running(&flows, "a");
    let mut other = begin(&flows, &["run", "b"]);
    follows(&mut other, "b-1");
    is_running(&flows, "b");
    unsafe { libc::kill(pid_of(&host), libc::SIGINT) };
    let (code, told) = end(other);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("b-1 was interrupted") && told.contains("restage continue b-1"), "{told}");
    assert_eq!(end(host).0, Some(130));
    flows.write("go.b", "");
    let told = flows.ends(0, &["continue", "b-1"]);
    assert!(told.contains("Run b-1 succeeded"), "{told}");
}

#[test]
fn whoever_follows_goes_on_with_the_successor_of_a_killed_supervisor() {
    let flows = Flows::new(&waiting(&["a"]));
    let mut follower = begin(&flows, &["run", "a"]);
    follows(&mut follower, "a-1");
    is_running(&flows, "a");
    kill_9(flows.space.supervisor());
    flows.write("go.a", "");
    let (code, told) = end(follower);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(told.matches("Run a-1 succeeded").count(), 1, "{told}");
    assert_eq!(flows.ran(), ["a"]);
}

#[test]
fn where_nobody_comes_after_a_killed_supervisor_the_record_is_told_and_the_way_on() {
    let flows = alone(&waiting(&["a", "b"]));
    let host = begin(&flows, &["run", "a"]);
    is_running(&flows, "a");
    let mut other = begin(&flows, &["run", "b"]);
    follows(&mut other, "b-1");
    is_running(&flows, "b");
    kill_9(pid_of(&host));
    let (code, told) = end(other);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("on record it is running") && told.contains("restage continue b-1"), "{told}");
    end(host);
    // Stages are no runners, whatever became of them.
    let listed: Value = serde_json::from_str(&flows.ok(&["status", "--json"])).unwrap();
    assert_eq!(listed, json!([]));
}

/// How often each stage is told to have ended.
fn ends_of(told: &str) -> Vec<(String, usize)> {
    let mut ends = std::collections::BTreeMap::<String, usize>::new();
    for line in told.lines() {
        let stage = match serde_json::from_str::<Value>(line) {
            Ok(event) if event["event"] == "stage_ended" => event["stage"].as_str().map(str::to_owned),
            Ok(_) => None,
            Err(_) => line
                .strip_prefix("Failed: ")
                .or(line.strip_prefix("Succeeded: "))
                .or(line.strip_prefix("Not run: "))
                .and_then(|rest| rest.split_once('/'))
                .map(|(_, rest)| rest.split([' ', ':']).next().unwrap_or_default().to_owned()),
        };
        if let Some(stage) = stage {
            *ends.entry(stage).or_default() += 1;
        }
    }
    ends.into_iter().collect()
}

#[test]
fn every_end_of_a_stage_is_told_once() {
    let list = "printf '{\"list\":[1,2,3]}' > $RESTAGE_OUTPUT";
    let flow = json!({ "f": { "stages": [
        { "name": "a", "command": "exit 1" },
        { "name": "b", "command": "exit 2" },
        { "name": "c", "command": "true" },
        { "name": "d", "command": list, "outputs": ["list"] },
        { "name": "e", "needs": ["d"], "foreach": "list", "command": "exit $((RESTAGE_ITEM_INDEX + 1))" },
        { "name": "g", "needs": ["e"], "command": "true" },
    ] } });
    let once: Vec<(String, usize)> = ["a", "b", "c", "d", "e", "g"].map(|name| (name.to_owned(), 1)).into();
    for flows in [alone(&flow), Flows::new(&flow)] {
        for round in 0..8 {
            let json: &[&str] =
                if round % 2 == 0 { &["run", "f"] } else { &["run", "f", "--output", "json"] };
            let told = flows.ends(1, json);
            assert_eq!(ends_of(&told), once, "{told}");
        }
    }
}

#[test]
fn a_broken_config_keeps_nobody_from_cancelling_and_nothing_is_retried_by_an_old_one() {
    let flows = Flows::new(&waiting(&["a"]));
    flows.write("fail.a", "");
    flows.ends(1, &["run", "a"]);
    flows.remove("fail.a");
    flows.ok(&["run", "a", "--detach"]);
    is_running(&flows, "a");
    flows.write(
        "config.json",
        "{ \"flows\": { \"a\": { \"stages\": [ { \"name\": \"a\", \"comand\": [] } ] } } }",
    );
    let told = flows.ends(2, &["retry", "a-1"]);
    assert!(told.contains("comand"), "{told}");
    flows.ends(2, &["retry", "a-1", "--dry-run"]);
    assert_eq!(flows.count(), 3, "nothing was begun");
    flows.ok(&["cancel", "a-2"]);
    assert_eq!(flows.show("a-2")["status"], "cancelled");

    let flows = alone(&waiting(&["a"]));
    left(&flows, &["run", "a"], "a");
    flows.write("config.json", "{");
    let told = flows.ends(0, &["cancel", "a-1"]);
    assert!(told.contains("Run a-1 cancelled"), "{told}");
    assert_eq!((flows.show("a-1")["status"].clone(), flows.ran()), (json!("cancelled"), Vec::new()));
}

#[test]
fn a_program_that_a_stage_makes_is_only_missed_when_it_is_to_be_started() {
    let make = "printf '#!/bin/sh\\necho made > made' > prog; chmod +x prog";
    let flows = alone(&json!({
        "built": { "stages": [
            { "name": "make", "command": make },
            { "name": "use", "needs": ["make"], "command": ["./prog"] },
        ] },
        "never": { "stages": [{ "name": "use", "command": ["./nothing"] }] },
        "other": { "stages": [{ "name": "a", "command": ["true"] }] },
    }));
    let told = flows.ends(0, &["check"]);
    assert!(told.contains("warning") && told.contains("./prog"), "{told}");
    flows.ends(0, &["run", "other"]);
    flows.ends(0, &["run", "built"]);
    assert_eq!(flows.read("made"), "made\n");
    let told = flows.ends(1, &["run", "never"]);
    assert!(told.contains("spawn failed"), "{told}");
    // What could never be there is an error, as it is for a runner.
    flows.configure(&json!({ "far": { "stages": [{ "name": "a", "command": ["/nowhere/prog"] }] } }));
    flows.ends(2, &["run", "far"]);
}

#[test]
fn the_runs_of_a_flow_that_nobody_knows_are_not_listed_as_none() {
    let flows = alone(&json!({ "video": { "stages": [{ "name": "a", "command": ["true"] }] } }));
    flows.ok(&["run", "video"]);
    let told = flows.ends(3, &["runs", "vidoe"]);
    assert!(told.contains("no flow is called vidoe") && told.contains("there are: video, warm"), "{told}");
    flows.ends(0, &["runs", "warm"]);
    // What has run is listed though the config knows it no more.
    flows.configure(&json!({}));
    assert!(flows.ends(0, &["runs", "video"]).contains("video-1"));
}

/// Its keeper knows of more supervisors than the state that it finds elsewhere.
#[test]
fn a_supervisor_whose_state_lies_elsewhere_today_is_served_all_the_same() {
    let flows = alone(&json!({ "a": { "stages": [stage("a", "true", json!({}))] } }));
    // Each counts one up, whatever the clock says.
    for _ in 0..5 {
        flows.ok(&["run", "a"]);
    }
    let elsewhere =
        flows.space.command(&["run", "a"]).env("XDG_CACHE_HOME", flows.path("elsewhere")).output();
    let elsewhere = elsewhere.unwrap();
    assert!(elsewhere.status.success(), "{}", String::from_utf8_lossy(&elsewhere.stderr));
    assert_eq!(flows.show("a-6")["status"], "succeeded");
}

#[test]
fn what_names_a_run_or_a_flow_in_the_wrong_place_is_told_what_belongs_there() {
    let flows = Flows::new(&json!({ "f": { "stages": [stage("a", "", json!({}))] } }));
    flows.ok(&["run", "f"]);
    let told = flows.ends(3, &["logs", "f-1"]);
    assert!(told.contains("it is a run") && told.contains("restage logs f-1/STAGE, as in a"), "{told}");
    assert!(flows.ends(3, &["logs", "f-9"]).contains("no runner is called f-9"));
    assert!(flows.ends(3, &["stats", "nope"]).contains("no flow is called nope"));
    for verb in [&["approve", "f-9"][..], &["reject", "f-9", "a", "--feedback", "x"]] {
        let told = flows.ends(3, verb);
        assert!(told.starts_with(&format!("restage: {}", verb[0])), "{told}");
    }
    assert!(flows.ends(2, &["fork", "f-1", "--at", "a@1", "--branch", ""]).contains("a branch needs a name"));
    flows.ok(&["delete", "f-1"]);
    flows.ok(&["delete", "warm-1"]);
    assert!(flows.ends(3, &["runs"]).contains("there are no runs yet"));
}

#[test]
fn of_bytes_that_are_gone_the_way_out_works() {
    let flows = Flows::new(&json!({ "f": { "stages": [
        stage("a", "echo x > $RESTAGE_ARTIFACTS/a.txt", json!({ "artifacts": ["*"] })),
    ] } }));
    flows.ok(&["run", "f"]);
    std::fs::remove_file(flows.object(&flows.stage("f-1", "a")["artifacts"][0]["hash"])).unwrap();
    let told = flows.ends(1, &["artifacts", "f-1", "--get", "a.txt", "--to", "-"]);
    assert!(told.contains("restage retry f-1 --from a --force"), "{told}");
    flows.ok(&["retry", "f-1", "--from", "a", "--force"]);
    // Deleting what has gone already is done.
    std::fs::remove_file(flows.object(&flows.stage("f-2", "a")["artifacts"][0]["hash"])).unwrap();
    flows.ok(&["delete", "f-1", "--cascade"]);
}

#[test]
fn a_queued_run_says_behind_which_and_a_repeated_key_that_it_was_used() {
    let flows = Flows::new(&json!({ "f": {
        "concurrency": "queue", "stages": [stage("f", &format!("{WAITS}; [ ! -e late ]"), json!({}))]
    } }));
    flows.ok(&["run", "f", "--detach", "--key", "one"]);
    is_running(&flows, "f");
    let mut queued = begin(&flows, &["run", "f"]);
    let mut told = BufReader::new(queued.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(told.next().unwrap(), "f-2 is queued behind f-1");
    let mut json = begin(&flows, &["run", "f", "--json"]);
    let mut line = String::new();
    BufReader::new(json.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "{\"behind\":\"f-1\",\"run_id\":\"f-3\",\"status\":\"queued\"}\n");
    flows.write("late", "");
    flows.write("go.f", "");
    assert_eq!((queued.wait().unwrap().code(), json.wait().unwrap().code()), (Some(1), Some(1)));
    let told = flows.ends(1, &["run", "f", "--key", "one"]);
    assert!(told.contains("restage: f-1 was begun with the key one before\n"), "{told}");
    assert!(told.contains("Run f-1 failed after ") && told.contains("f: exit 1"), "{told}");
}
