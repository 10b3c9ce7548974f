//! The verbs that read runs and judge them, on the built program.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::support::wait_for;
use crate::support::workspace::Workspace;

/// Two stages one after the other; the second one fails until there is a file `mended`.
fn video() -> Workspace {
    let stages = json!([
        {
            "name": "script",
            "command": "printf 'title=Night\\n' >\"$RESTAGE_OUTPUT\"; printf words >\"$RESTAGE_ARTIFACTS/script.txt\"; echo wrote it",
            "outputs": ["title"],
            "artifacts": ["*.txt"]
        },
        {
            "name": "board",
            "needs": "script",
            "command": "cat \"$RESTAGE_STATE\"; [ -e mended ] || { printf 'red \\033[31mlight' >&2; exit 3; }; printf '{\"frames\":[1,{\"n\":2.50}]}' >\"$RESTAGE_OUTPUT\"",
            "outputs": ["frames"]
        }
    ]);
    of(&json!({ "video": { "inputs": { "mood": { "default": "dark" } }, "stages": stages } }))
}

fn asking() -> Workspace {
    let stages = json!([
        { "name": "script", "command": "printf \"title=$RESTAGE_FEEDBACK.\" >\"$RESTAGE_OUTPUT\"", "outputs": "title", "approve": "manual" },
        { "name": "board", "needs": "script", "command": "cp \"$RESTAGE_STATE\" seen.json" }
    ]);
    of(&json!({ "video": { "stages": stages } }))
}

fn of(flows: &Value) -> Workspace {
    let workspace = Workspace::new(&json!({}));
    let config = json!({ "stop_grace_seconds": 1, "flows": flows });
    std::fs::write(workspace.path("config.json"), config.to_string()).unwrap();
    workspace
}

#[track_caller]
fn data(workspace: &Workspace, arguments: &[&str]) -> Value {
    let text = workspace.ok(arguments);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
}

#[track_caller]
fn refused(workspace: &Workspace, code: i32, arguments: &[&str]) -> String {
    let (exit, stdout, stderr) = workspace.run(arguments);
    assert_eq!(exit, Some(code), "{arguments:?}: {stdout}{stderr}");
    assert!(stdout.is_empty(), "{arguments:?} wrote data: {stdout}");
    assert!(stderr.contains("hint:"), "{arguments:?} tells no way out: {stderr}");
    stderr
}

#[test]
fn without_a_run_there_is_nothing_to_read() {
    let workspace = video();
    let verbs: &[&[&str]] = &[
        &["runs"],
        &["show", "video-1"],
        &["lineage", "video-1"],
        &["state", "video-1"],
        &["artifacts", "video-1"],
        &["checkpoints", "video-1"],
        &["diff", "video-1", "a@1", "a@2"],
        &["stats"],
        &["logs", "video-1/script"],
        &["approve", "video-1"],
        &["reject", "video-1", "script", "--feedback", "x"],
        &["edit", "video-1", "script", "--set", "title=x"],
        &["fork", "video-1", "--at", "script@1", "--branch", "b"],
        &["unlock", "video-1"],
        &["delete", "video-1"],
        &["gc"],
    ];
    for verb in verbs {
        assert!(refused(&workspace, 3, verb).contains("there are no runs yet"), "{verb:?}");
    }
    assert!(!workspace.path(".restage/history.db").exists(), "reading makes no history");
}

#[test]
fn a_failed_run_and_its_retry_are_told_whole() {
    let workspace = video();
    assert_eq!(workspace.run(&["run", "video"]).0, Some(1));
    let shown = data(&workspace, &["show", "video-1", "--json"]);
    assert_eq!((&shown["status"], &shown["stages"][1]["status"]), (&json!("failed"), &json!("failed")));
    assert_eq!(shown["totals"]["run"]["attempts"], 2);
    let branch = &shown["branches"][0];
    assert_eq!((&branch["branch_name"], &branch["can_continue"]), (&json!("main"), &json!(false)));
    assert!(branch["reason"].as_str().unwrap().contains("checkpoint already approved"), "{branch}");
    // What is said of continuing is what continuing does.
    refused(&workspace, 17, &["continue", "video-1"]);

    std::fs::write(workspace.path("mended"), "").unwrap();
    workspace.ok(&["retry", "video-1"]);
    let text = workspace.ok(&["show", "video-2"]);
    for part in [
        "Retry #1 of video-1 from board",
        "reuse: verified, from video-1",
        "execute: failed",
        "lineage",
        "script@1 approved",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    let failed = workspace.ok(&["show", "video-1"]);
    assert!(failed.contains("exit 3") && !failed.contains('\x1b'), "{failed}");

    let runs = data(&workspace, &["runs", "--json"]);
    let names: Vec<&Value> = runs.as_array().unwrap().iter().map(|run| &run["run_id"]).collect();
    assert_eq!(names, ["video-2", "video-1"]);
    assert!(runs[0].get("stages").is_none(), "{}", runs[0]);
    let of = |arguments: &[&str]| data(&workspace, arguments).as_array().unwrap().len();
    assert_eq!(of(&["runs", "--json", "--status", "failed,cancelled"]), 1);
    assert_eq!(of(&["runs", "--json", "--limit", "1"]), 1);
    assert!(refused(&workspace, 3, &["runs", "other"]).contains("no flow is called other"));
    assert_eq!(of(&["runs", "--json", "--since", "1h", "--search", "dark"]), 2);
    assert_eq!(of(&["runs", "--output", "json", "--since", "2999-01-01"]), 0);
    refused(&workspace, 2, &["runs", "--since", "yesterday"]);
    assert!(refused(&workspace, 2, &["runs", "--status", "dead"]).contains("succeeded"));

    let tree = workspace.ok(&["lineage", "video-1"]);
    assert!(tree.contains("└─ video-2"), "{tree}");
    assert_eq!(data(&workspace, &["lineage", "video-2", "--json"])[0]["run_id"], "video-1");

    assert_eq!(
        workspace.ok(&["state", "video-2", "--json"]),
        "{\"frames\":[1,{\"n\":2.50}],\"mood\":\"dark\",\"title\":\"Night\"}\n"
    );
    assert_eq!(data(&workspace, &["state", "video-2", "board"]), json!({ "mood": "dark", "title": "Night" }));
    assert_eq!(data(&workspace, &["state", "video-2", "script"]), json!({ "mood": "dark" }));
    assert!(refused(&workspace, 3, &["state", "video-2", "nope"]).contains("script, board"));
    assert!(refused(&workspace, 3, &["show", "video-9"]).contains("video-2"));

    let stats = data(&workspace, &["stats", "video", "--json"]);
    assert_eq!((&stats["retries"], &stats["retries_succeeded"]), (&json!(1), &json!(1)));
    assert!(workspace.ok(&["stats"]).contains("1 good (100%)"));
}

#[test]
fn files_and_logs_of_stages_are_found() {
    let workspace = video();
    workspace.run(&["run", "video"]);
    let files = data(&workspace, &["artifacts", "video-1", "--json"]);
    assert_eq!(
        (&files[0]["stage"], &files[0]["name"], &files[0]["size"]),
        (&json!("script"), &json!("script.txt"), &json!(5))
    );
    assert_eq!(workspace.ok(&["artifacts", "video-1", "--get", "script.txt", "--to", "-"]), "words");
    workspace.ok(&["artifacts", "video-1", "script", "--get", "script.txt", "--to", "copy.txt"]);
    assert_eq!(std::fs::read_to_string(workspace.path("copy.txt")).unwrap(), "words");
    refused(&workspace, 1, &["artifacts", "video-1", "--get", "script.txt", "--to", "copy.txt"]);
    refused(&workspace, 3, &["artifacts", "video-1", "--get", "none.txt", "--to", "x"]);
    assert_eq!(workspace.ok(&["logs", "video-1/script"]), "wrote it\n");
    assert!(workspace.ok(&["logs", "video-1/board", "-f"]).contains("\"title\":\"Night\""));
    assert!(refused(&workspace, 3, &["logs", "video-1/board", "--attempt", "7"]).contains("attempt 7"));
    refused(&workspace, 3, &["logs", "video-1/nope"]);
    refused(&workspace, 3, &["logs", "video-1/script", "--item", "0"]);
    refused(&workspace, 2, &["logs", "video-1/"]);
    workspace.run(&["retry", "video-1"]);
    assert!(refused(&workspace, 3, &["logs", "video-2/script"]).contains("video-1/script"));
    // What was tampered with is not handed out.
    let object = files[0]["path"].as_str().unwrap();
    std::fs::set_permissions(object, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(object, "other").unwrap();
    refused(&workspace, 1, &["artifacts", "video-1", "--get", "script.txt", "--to", "x"]);
    assert!(!workspace.path("x").exists());
}

#[test]
fn a_stage_that_fans_out_has_a_log_for_each_item() {
    let stages = json!([
        { "name": "list", "command": "printf '{\"scenes\":[10,20]}' >\"$RESTAGE_OUTPUT\"", "outputs": "scenes" },
        { "name": "render", "needs": "list", "foreach": "scenes", "command": "echo scene \"$(cat \"$RESTAGE_ITEM\")\"" }
    ]);
    let workspace = of(&json!({ "film": { "stages": stages } }));
    workspace.ok(&["run", "film"]);
    assert_eq!(workspace.ok(&["logs", "film-1/render", "--item", "1"]), "scene 20\n");
    assert_eq!(workspace.ok(&["logs", "film-1/render/0"]), "scene 10\n");
    assert!(refused(&workspace, 3, &["logs", "film-1/render"]).contains("--item"));
    assert!(workspace.ok(&["show", "film-1"]).contains("2/2 items"));
}

#[test]
fn a_flow_is_drawn_in_every_form() {
    let workspace = video();
    assert_eq!(workspace.ok(&["graph", "video"]), "script ─── board\n");
    assert!(workspace.ok(&["graph", "video", "--dot"]).contains("\"script\" -> \"board\""));
    assert!(workspace.ok(&["graph", "video", "--mermaid"]).contains("s0 --> s1"));
    assert_eq!(data(&workspace, &["graph", "video", "--json"])[1]["needs"], json!(["script"]));
    assert_eq!(data(&workspace, &["graph", "video", "--json"])[1]["waits_for"], json!(["script"]));
    assert!(refused(&workspace, 3, &["graph", "film"]).contains("video"));
}

#[test]
fn a_person_rejects_and_approves_with_no_supervisor_there() {
    let workspace = asking();
    assert_eq!(workspace.run(&["run", "video"]).0, Some(75));
    assert!(
        refused(&workspace, 2, &["reject", "video-1", "script", "--feedback", " "])
            .contains("without a word")
    );
    std::fs::write(workspace.path("words"), "brighter\n").unwrap();
    assert_eq!(workspace.run(&["reject", "video-1", "script", "--feedback", "@words"]).0, Some(75));
    let tree = data(&workspace, &["checkpoints", "video-1", "--json"]);
    assert_eq!(tree["checkpoints"][0]["approval"], "rejected");
    assert_eq!(tree["checkpoints"][1]["outputs"], json!({ "title": "brighter." }));
    let main = &tree["branches"][0];
    assert_eq!(
        (&main["latest_checkpoint_id"], &main["can_continue"]),
        (&json!("script@2"), &json!(true)),
        "{main}"
    );
    assert_eq!(workspace.run(&["approve", "video-1", "--hash", "0123456789ab"]).0, Some(18));
    workspace.ok(&[
        "approve",
        "video-1",
        "script",
        "--note",
        "fine",
        "--hash",
        tree["checkpoints"][1]["hash"].as_str().unwrap(),
    ]);
    let shown = data(&workspace, &["show", "video-1", "--json"]);
    assert_eq!(shown["status"], "succeeded");
    let tree = workspace.ok(&["checkpoints", "video-1"]);
    assert!(tree.contains("rejected by") && tree.contains("approved by"), "{tree}");
    assert_eq!(workspace.run(&["approve", "video-1"]).0, Some(17));
    assert!(
        workspace.ok(&["diff", "video-1", "script@1", "script@2"]).contains("+ state title  \"brighter.\"")
    );
}

#[test]
fn an_approval_is_quick_where_a_supervisor_lives() {
    let workspace = asking();
    workspace.ok(&["up", "--detach"]);
    assert_eq!(workspace.run(&["run", "video"]).0, Some(75));
    let approved = data(&workspace, &["approve", "video-1", "--json"]);
    assert_eq!(approved["run_id"], "video-1");
    wait_for("the end of the run", || {
        (data(&workspace, &["show", "video-1", "--json"])["status"] == "succeeded").then_some(())
    });
    assert_eq!(workspace.run(&["unlock", "video-1"]).0, Some(1));
}

#[test]
fn an_edit_is_a_new_version_and_only_if_something_differs() {
    let workspace = video();
    workspace.run(&["run", "video"]);
    let edit = |arguments: &[&str]| {
        let mut all = vec!["edit", "video-1", "script", "--json"];
        all.extend(arguments);
        data(&workspace, &all)["checkpoint"].clone()
    };
    assert_eq!(edit(&["--set", "title=Night"]), Value::Null);
    assert_eq!(edit(&["--set", "title=Day"]), "script@2");
    std::fs::write(workspace.path("better"), "better words").unwrap();
    assert_eq!(edit(&["--artifact", "script.txt=better"]), "script@3");
    let diff = data(&workspace, &["diff", "script@1", "script@3", "--run", "video-1", "--json"]);
    assert_eq!(diff["state"][0]["after"], "Day");
    assert_eq!(diff["artifacts"][0]["name"], "script/script.txt");
    assert!(refused(&workspace, 2, &["edit", "video-1", "script", "--set", "other=1"]).contains("title"));
    refused(&workspace, 2, &["edit", "video-1", "script"]);
    assert_eq!(workspace.run(&["edit", "video-1", "board", "--set", "a=1"]).0, Some(17));
    refused(&workspace, 3, &["diff", "video-1", "script@1", "script@9"]);
    refused(&workspace, 2, &["diff", "video-1", "script@1"]);

    // Nobody has been left behind to supervise.
    assert_eq!(workspace.run(&["status"]).0.map(|code| code == 0 || code == 3), Some(true));
    assert_eq!(workspace.run(&["down"]).0, Some(3));
    let tree = workspace.ok(&["checkpoints", "video-1"]);
    assert!(tree.contains("edited by") && tree.contains("from script@2"), "{tree}");

    std::fs::write(workspace.path("mended"), "").unwrap();
    workspace.ok(&["continue", "video-1"]);
    assert_eq!(data(&workspace, &["state", "video-2", "board"])["title"], "Day");
}

#[test]
fn an_editor_edits_a_private_copy() {
    let workspace = video();
    workspace.run(&["run", "video"]);
    let edit = |editor: &str| {
        let mut command = workspace.command(&["edit", "video-1", "script", "--editor"]);
        let out = command.env("VISUAL", editor).env("EDITOR", "false").output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (out.status.code(), text(&out.stdout), text(&out.stderr))
    };
    let (code, stdout, stderr) = edit("true");
    assert_eq!((code, stdout.as_str()), (Some(0), ""), "{stderr}");
    assert!(stderr.contains("nothing differs"), "{stderr}");
    let (code, stdout, stderr) = edit("stat -c %a >mode; sed -i s/Night/Dawn/");
    assert_eq!((code, stdout.as_str()), (Some(0), "script@2\n"), "{stderr}");
    let (code, _, stderr) = edit("sed -i s/title/name/");
    assert!(code == Some(2) && stderr.contains("title is missing"), "{stderr}");
    let (code, _, stderr) = edit("sed -i s/{//");
    assert!(
        code == Some(2) && stderr.contains("no JSON") && stderr.contains("what was edited is in"),
        "{stderr}"
    );
    let (code, _, stderr) = edit("false");
    assert!(code == Some(1) && stderr.contains("nothing was changed"), "{stderr}");
    for entry in std::fs::read_dir(workspace.path(".restage")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with("edit-") {
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}

#[test]
fn a_branch_goes_its_own_way() {
    let workspace = video();
    workspace.run(&["run", "video"]);
    assert_eq!(workspace.ok(&["fork", "video-1", "--at", "script@1", "--branch", "dark"]), "dark\n");
    refused(&workspace, 2, &["fork", "video-1", "--at", "script@1", "--branch", "dark"]);
    refused(&workspace, 2, &["fork", "video-1", "--at", "script@1", "--branch", "a/b"]);
    refused(&workspace, 2, &["fork", "video-1", "--at", "script", "--branch", "c"]);
    refused(&workspace, 3, &["fork", "video-1", "--at", "script@5", "--branch", "c"]);
    let shown = data(&workspace, &["show", "video-1", "--json"]);
    let dark = &shown["branches"][1];
    assert_eq!((&dark["branch_name"], &dark["can_continue"]), (&json!("dark"), &json!(true)), "{dark}");
    std::fs::write(workspace.path("mended"), "").unwrap();
    // Main stands there, too, and it is the branch of the run.
    refused(&workspace, 17, &["continue", "video-1", "--checkpoint", "script@1"]);
    workspace.ok(&["continue", "video-1", "--checkpoint", "script@1", "--branch", "dark"]);
    let run = data(&workspace, &["show", "video-2", "--json"]);
    assert_eq!((&run["branch"], &run["status"]), (&json!("dark"), &json!("succeeded")));
}

#[test]
fn what_nobody_needs_is_listed_and_collected() {
    let workspace = video();
    workspace.run(&["run", "video"]);
    let orphan = workspace.path(".restage/objects/ab");
    std::fs::create_dir_all(&orphan).unwrap();
    let object = orphan.join("ab".repeat(32));
    std::fs::write(&object, "x").unwrap();
    let old = std::time::SystemTime::now() - std::time::Duration::from_hours(48);
    std::fs::File::open(&object).unwrap().set_modified(old).unwrap();
    let listed = data(&workspace, &["gc", "--dry-run", "--json"]);
    assert!(listed["paths"].to_string().contains(&"ab".repeat(32)), "{listed}");
    assert!(object.exists());
    let (code, stdout, stderr) = workspace.run(&["gc"]);
    assert!(
        code == Some(0) && stdout.contains(".restage/objects/ab/") && stderr.contains("deleted"),
        "{stdout}{stderr}"
    );
    assert!(!object.exists());
    assert_eq!(workspace.ok(&["artifacts", "video-1", "--get", "script.txt", "--to", "-"]), "words");
}

#[test]
fn many_verbs_at_once_with_no_supervisor_all_get_an_answer() {
    let workspace = video();
    workspace.run(&["run", "video"]);
    let names: Vec<String> = (0..8).map(|number| format!("b{number}")).collect();
    let forks: Vec<_> = names
        .iter()
        .map(|name| workspace.foreground(&["fork", "video-1", "--at", "script@1", "--branch", name]))
        .collect();
    for fork in forks {
        let out = fork.wait_with_output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
    let branches = data(&workspace, &["checkpoints", "video-1", "--json"])["branches"].clone();
    assert_eq!(branches.as_array().unwrap().len(), 9);
}

/// Each line that it writes, whatever its exit code.
#[track_caller]
fn objects(workspace: &Workspace, code: i32, arguments: &[&str]) -> Vec<Value> {
    let (exit, stdout, stderr) = workspace.run(arguments);
    assert_eq!(exit, Some(code), "{arguments:?}: {stdout}{stderr}");
    let line =
        |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {line}"));
    stdout.lines().map(line).collect()
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// Those that scripts rely on, and no key that is not in snake case.
#[track_caller]
fn has_keys(value: &Value, wanted: &str) {
    let keys = keys(value);
    for key in wanted.split_whitespace() {
        assert!(keys.contains(&key), "{key} is missing: {value:#}");
    }
    let plain = |key: &&str| key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    assert!(keys.iter().all(plain), "{keys:?}");
}

const RUN: &str = "run_id run_number flow def_hash status trigger cause inputs error started_at ended_at duration_seconds cost \
    parent_run_id root_run_id caller_run_id retry_from_stage retry_depth retry_number \
    idempotency_key deadline left held";
const STAGE: &str = "name order status decision reason source_run_id outputs artifacts checkpoint attempts";
const ATTEMPT: &str = "number exit_code signal verdict error started_at ended_at log";

#[test]
fn the_record_of_a_run_has_the_fields_that_scripts_rely_on() {
    let workspace = video();
    workspace.run(&["run", "video"]);
    workspace.run(&["retry", "video-1"]);
    let shown = data(&workspace, &["show", "video-2", "--json"]);
    has_keys(&shown, RUN);
    let (script, board) = (&shown["stages"][0], &shown["stages"][1]);
    for stage in [script, board] {
        has_keys(stage, STAGE);
    }
    has_keys(&board["attempts"][0], ATTEMPT);
    has_keys(&script["artifacts"][0], "name hash size");
    has_keys(&script["checkpoint"], "id parent version branch approval");
    // What is absent is null.
    for key in ["caller_run_id", "idempotency_key", "deadline", "cost", "hook"] {
        assert_eq!(shown.get(key), Some(&Value::Null), "{key}");
    }
    assert_eq!((&board["outputs"], &board["checkpoint"]), (&Value::Null, &Value::Null));
    assert_eq!(
        [
            &shown["run_number"],
            &shown["parent_run_id"],
            &shown["root_run_id"],
            &shown["retry_from_stage"],
            &shown["retry_depth"]
        ],
        [&json!(2), &json!("video-1"), &json!("video-1"), &json!("board"), &json!(1)]
    );
    let listed = data(&workspace, &["runs", "--json"]);
    let names: Vec<&Value> = listed.as_array().unwrap().iter().map(|run| &run["run_id"]).collect();
    assert_eq!(names, ["video-2", "video-1"]);
    for run in listed.as_array().unwrap() {
        has_keys(run, RUN);
        assert_eq!(run.get("stages"), None);
        // The same record, but for what belongs to a single one.
        let whole = data(&workspace, &["show", run["run_id"].as_str().unwrap(), "--json"]);
        for key in keys(run) {
            assert_eq!(run[key], whole[key], "{key}");
        }
    }
}

#[test]
fn every_verb_about_runs_speaks_json() {
    let slow = json!({ "name": "wait", "command": "sleep 60" });
    let workspace = of(&json!({
        "slow": { "stages": [slow] },
        "video": { "stages": [
            { "name": "script", "command": "echo title=Night > $RESTAGE_OUTPUT; echo x > $RESTAGE_ARTIFACTS/a.txt; echo wrote; echo more",
              "outputs": "title", "artifacts": "*.txt" },
            { "name": "board", "needs": "script", "command": "[ -e mended ] || exit 3" }
        ] }
    }));
    for (arguments, run, status) in [
        (&["run", "video", "--json"], "video-1", "failed"),
        (&["retry", "video-1", "--json"], "video-2", "failed"),
    ] {
        let events = objects(&workspace, 1, arguments);
        assert!(events.iter().all(|event| event["run"] == run && event["at"].is_string()), "{events:?}");
        let last = events.last().unwrap();
        assert_eq!((&last["event"], &last["status"]), (&json!("run_ended"), &json!(status)));
    }
    let plan = data(&workspace, &["retry", "video-2", "--dry-run", "--json"]);
    has_keys(&plan, "run from retry_depth max_retry_depth stages");
    has_keys(&plan["stages"][0], "stage decision reason detail checkpoint source_run_id");
    let begun = data(&workspace, &["run", "slow", "--key", "k", "--detach", "--json"]);
    assert_eq!(begun, json!({ "run_id": "slow-1", "existing": false }));
    let again = data(&workspace, &["run", "slow", "--key", "k", "--detach", "--json"]);
    assert_eq!(again, json!({ "run_id": "slow-1", "existing": true }));
    let cancelled = data(&workspace, &["cancel", "slow-1", "--json"]);
    assert_eq!(cancelled, json!({ "run_id": "slow-1", "status": "cancelled" }));

    let table: &[(&[&str], &str)] = &[
        (&["show", "video-1"], "stages branches totals"),
        (&["state", "video-1"], "title"),
        (&["state", "video-1", "board"], "title"),
        (&["gc", "--dry-run"], "files bytes paths"),
        (&["gc"], "files bytes paths"),
        (
            &["stats"],
            "runs succeeded failed retries retries_succeeded seconds_lost failing recovered_after recovered_at_retry",
        ),
        (&["stats", "video"], "runs"),
    ];
    for (arguments, wanted) in table {
        let told = data(&workspace, &[arguments, &["--json"][..]].concat());
        has_keys(&told, wanted);
        assert_eq!(keys(&data(&workspace, &[&["--output", "json"][..], arguments].concat())), keys(&told));
    }
    let lists: &[(&[&str], &str)] = &[
        (&["runs"], RUN),
        (&["runs", "video", "--status", "failed"], RUN),
        (&["lineage", "video-2"], RUN),
        (&["artifacts", "video-1"], "stage name hash size"),
        (&["graph", "video"], "name needs optional_needs validates"),
    ];
    for (arguments, wanted) in lists {
        let told = data(&workspace, &[arguments, &["--json"][..]].concat());
        assert!(!told.as_array().unwrap().is_empty(), "{arguments:?}");
        told.as_array().unwrap().iter().for_each(|one| has_keys(one, wanted));
    }
    let lines = objects(&workspace, 0, &["logs", "video-1/script", "--json"]);
    let line = |text| json!({ "name": "video-1/script", "attempt": 1, "line": text });
    assert_eq!(lines, [line("wrote"), line("more")]);
    assert_eq!(
        objects(&workspace, 0, &["logs", "video-1/script", "-f", "-n", "1", "--json"]),
        [line("more")]
    );
    // What is refused is told in JSON, too, and nothing stands among the data.
    for (code, arguments) in [
        (1, &["unlock", "video-1"][..]),
        (1, &["cancel", "video-1"]),
        (12, &["retry", "video-1", "--from", "script"]),
        (17, &["continue", "video-1"]),
        (3, &["run", "none"]),
        (3, &["show", "video-9"]),
        (3, &["logs", "video-1/none"]),
    ] {
        let (exit, stdout, stderr) = workspace.run(&[arguments, &["--json"]].concat());
        assert_eq!((exit, stdout.as_str()), (Some(code), ""), "{arguments:?}: {stderr}");
        let told: Value = serde_json::from_str(stderr.lines().last().unwrap()).unwrap();
        assert!(told.is_object(), "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_run_is_deleted_with_what_builds_on_it_or_not_at_all() {
    let workspace = video();
    workspace.run(&["run", "video"]);
    workspace.run(&["retry", "video-1"]);
    workspace.run(&["run", "video"]);
    let names = || {
        let (_, runs, _) = workspace.run(&["runs", "--json"]);
        let runs: Value = serde_json::from_str(&runs).unwrap();
        runs.as_array()
            .unwrap()
            .iter()
            .map(|run| run["run_id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let told = refused(&workspace, 1, &["delete", "video-1"]);
    assert!(told.contains("video-1 is built on by video-2") && told.contains("--cascade"), "{told}");
    refused(&workspace, 3, &["delete", "video-9"]);
    assert_eq!(names(), ["video-3", "video-2", "video-1"]);
    assert_eq!(workspace.ok(&["delete", "video-3"]), "video-3\n");
    assert_eq!(
        data(&workspace, &["delete", "video-1", "--cascade", "--json"])["runs"],
        json!(["video-1", "video-2"])
    );
    assert_eq!(names(), Vec::<String>::new());
    // A number is not given twice.
    workspace.run(&["run", "video"]);
    assert_eq!(names(), ["video-4"]);
    assert!(!workspace.path(".restage/runs/video-1").exists());
}

#[test]
fn a_run_that_nobody_can_go_on_with_is_unlocked_or_cancelled_and_retried() {
    let workspace = asking();
    for (number, way) in [(1, "unlock"), (2, "cancel")] {
        let run = format!("video-{number}");
        assert_eq!(workspace.run(&["run", "video"]).0, Some(75));
        // Nobody supervises, and what the flow was when it began is lost.
        let history = rusqlite::Connection::open(workspace.path(".restage/history.db")).unwrap();
        history.execute("UPDATE definitions SET text = '{}'", []).unwrap();
        assert!(refused(&workspace, 10, &["retry", &run]).contains("cancel"));
        workspace.ok(&[way, &run]);
        let shown = data(&workspace, &["show", &run, "--json"]);
        let status = if way == "unlock" { "failed" } else { "cancelled" };
        assert_eq!((&shown["status"], shown["ended_at"].is_string()), (&json!(status), true));
        let why = if way == "unlock" { "its definition cannot be read" } else { "cancelled" };
        assert!(shown["error"].as_str().unwrap().contains(why), "{}", shown["error"]);
        assert_eq!(workspace.run(&["unlock", &run]).0, Some(1));
        let plan = data(&workspace, &["retry", &run, "--dry-run", "--json"]);
        assert_eq!(plan["stages"][0]["decision"], "reuse");
    }
}
