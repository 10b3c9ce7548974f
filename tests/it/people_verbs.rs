//! People in the loop of a flow, verb by verb on the built program: what an edit, a rejection or another branch leads to,
//! what is told of it, and that nothing is taken on which nobody looked at.

use serde_json::{Value, json};

use crate::support::workspace::Workspace;

fn studio(flow: &Value) -> Workspace {
    let workspace = Workspace::new(&json!({}));
    let config = json!({ "stop_grace_seconds": 1, "flows": { "film": flow } });
    std::fs::write(workspace.path("config.json"), config.to_string()).unwrap();
    workspace
}

/// A stage that is not asked about, one that is, and one that fails while there is a file `bad`.
fn relay() -> Value {
    let note = r#"echo x >> $RESTAGE_STAGE.count; printf '%s|' "${RESTAGE_FEEDBACK-}" >> $RESTAGE_STAGE.told
[ ! -e bad.$RESTAGE_STAGE ] || exit 3"#;
    let with = |rest: &str| format!("{note}\n{rest}");
    json!({ "max_retries_per_checkpoint": 2, "stages": [
        { "name": "s", "command": with("echo k=v1 > $RESTAGE_OUTPUT; echo text > $RESTAGE_ARTIFACTS/s.txt"),
          "outputs": ["k"], "artifacts": ["s.txt"] },
        { "name": "b", "needs": ["s"], "approve": "manual", "artifacts": ["b.txt"],
          "command": with("cp $RESTAGE_STATE b.state; cat $RESTAGE_INPUTS/s/s.txt > $RESTAGE_ARTIFACTS/b.txt") },
        { "name": "r", "needs": ["b"], "command": with("cat $RESTAGE_INPUTS/b/b.txt > seen.b") },
    ] })
}

#[track_caller]
fn says(studio: &Workspace, args: &[&str], code: i32, part: &str) -> String {
    let (found, stdout, stderr) = studio.run(args);
    assert_eq!(found, Some(code), "{args:?}: {stdout} {stderr}");
    assert!(stderr.contains(part), "{args:?}: {stderr}");
    stdout
}

fn read(studio: &Workspace, name: &str) -> String {
    std::fs::read_to_string(studio.path(name)).unwrap_or_default()
}

fn times(studio: &Workspace, stage: &str) -> usize {
    read(studio, &format!("{stage}.count")).lines().count()
}

/// `s=succeeded b=waiting:b@1 r=pending`
fn rows(studio: &Workspace, run: &str) -> String {
    let (_, stdout, _) = studio.run(&["show", run, "--json"]);
    let shown: Value = serde_json::from_str(&stdout).unwrap();
    let rows = shown["stages"].as_array().unwrap().iter().map(|row| {
        let (name, status) = (row["name"].as_str().unwrap(), row["status"].as_str().unwrap());
        let seen = row["checkpoint"]["version"].as_u64().map(|version| format!("@{version}"));
        format!("{name}={status}{}", seen.unwrap_or_default())
    });
    rows.collect::<Vec<_>>().join(" ")
}

#[test]
fn an_edit_of_what_a_waiting_run_has_built_on_sends_the_run_back_to_it() {
    let studio = studio(&relay());
    says(&studio, &["run", "film"], 75, "film-1 waits for you at b");
    assert_eq!(rows(&studio, "film-1"), "s=succeeded@1 b=waiting@1 r=pending");
    // Edits of edits; saving without a change makes no version.
    let edit = |value: &str| ["edit", "film-1", "s", "--set", value].map(str::to_owned);
    for (value, made) in [("k=v2", "s@2\n"), ("k=v3", "s@3\n"), ("k=v3", "")] {
        let args = edit(value);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        assert_eq!(says(&studio, &args, 0, ""), made);
        let waits = if made == "s@2\n" { "s=waiting@2" } else { "s=waiting@3" };
        assert_eq!(rows(&studio, "film-1"), format!("{waits} b=pending r=pending"));
    }
    says(&studio, &["edit", "film-1", "s", "--set", "kk=v"], 2, "kk is no output of s");
    let (_, tree, _) = studio.run(&["checkpoints", "film-1"]);
    for line in ["s@1", "edited by", "from s@2", "replaced by s@3"] {
        assert!(tree.contains(line), "{tree}");
    }
    assert!(tree.contains("approves s@3, and film-1 goes on"), "{tree}");
    // What was to be judged before is nowhere waited for.
    says(&studio, &["continue", "film-1", "--checkpoint", "b@1"], 17, "film-1 waits at s@3");
    says(&studio, &["approve", "film-1", "b"], 13, "b of film-1 has not run");
    says(&studio, &["approve", "film-1", "s@2"], 18, "s@3 (pending) stands in the place of s@2");
    // The run cannot be retried while it waits.
    assert_eq!(way_out(&studio, &["approve", "film-1", "s@2"], 18), ["approve", "film-1", "s@3"]);
    assert!(!studio.run(&["approve", "film-1", "s@2"]).2.contains("restage retry"));
    // Rejected, it is made anew; edited again and taken on, what follows is executed with it.
    says(&studio, &["reject", "film-1", "s@3", "--feedback", "louder"], 75, "rejected s@3 (");
    assert_eq!(
        (read(&studio, "s.told"), rows(&studio, "film-1")),
        ("|louder|".into(), "s=succeeded@4 b=waiting@2 r=pending".into())
    );
    says(&studio, &["edit", "film-1", "s", "--set", "k=v5"], 0, "");
    says(&studio, &["continue", "film-1", "--checkpoint", "s@5"], 75, "film-1 waits for you at b");
    let state: Value = serde_json::from_str(&read(&studio, "b.state")).unwrap();
    assert_eq!((state["k"].as_str(), times(&studio, "b")), (Some("v5"), 3));
    says(&studio, &["approve", "film-1", "b@3"], 0, "approved b@3 (");
    assert_eq!(rows(&studio, "film-1"), "s=succeeded@5 b=succeeded@3 r=succeeded@1");
    assert_eq!((times(&studio, "s"), times(&studio, "r")), (2, 1));
}

#[test]
fn nothing_but_what_was_named_is_taken_on() {
    let studio = studio(&relay());
    std::fs::write(studio.path("bad.r"), "").unwrap();
    says(&studio, &["run", "film"], 75, "");
    says(&studio, &["approve", "film-1"], 1, "approved b@1 (");
    std::fs::write(studio.path("other"), "other\n").unwrap();
    says(&studio, &["edit", "film-1", "b", "--artifact", "b.txt=other"], 0, "");
    for insisting in [&["--force-retry"][..], &[]] {
        let args = [&["continue", "film-1", "--checkpoint", "b@1"][..], insisting].concat();
        says(&studio, &args, 18, "b@2 (pending) stands in the place of b@1 on branch main");
    }
    assert_eq!(read(&studio, "seen.b"), "", "nothing ran");
    let (_, plan, _) = studio.run(&["retry", "film-1", "--dry-run"]);
    assert!(plan.contains("takes on the edit of"), "{plan}");
    says(&studio, &["retry", "film-1"], 1, "");
    let (_, tree, _) = studio.run(&["checkpoints", "film-2", "--json"]);
    let tree: Value = serde_json::from_str(&tree).unwrap();
    let taken = &tree["checkpoints"][2];
    assert_eq!(taken["approval"], "approved", "{taken}");
    assert_eq!(taken["note"], "taken on by a retry of film-1");
}

#[test]
fn what_was_sent_back_after_its_run_ended_is_made_anew_by_the_next_retry() {
    let studio = studio(&relay());
    says(&studio, &["run", "film"], 75, "");
    studio.ok(&["cancel", "film-1"]);
    std::fs::write(studio.path("words"), "no good\n").unwrap();
    says(&studio, &["reject", "film-1", "b", "--feedback", "words"], 0, "restage retry film-1");
    says(
        &studio,
        &["continue", "film-1"],
        17,
        "hint: make it anew, with what was said: restage retry film-1",
    );
    let (_, tree, _) = studio.run(&["checkpoints", "film-1", "--json"]);
    let tree: Value = serde_json::from_str(&tree).unwrap();
    let judged = &tree["checkpoints"][1];
    assert!(judged["rejected_by"].is_string() && judged["approved_by"].is_null(), "{judged}");
    says(&studio, &["retry", "film-1"], 75, "film-2 waits for you at b");
    assert_eq!((read(&studio, "b.told"), read(&studio, "s.told")), ("|no good|".into(), "|".into()));

    // What is made anew fails; the retry of that is told, too.
    std::fs::write(studio.path("bad.b"), "").unwrap();
    says(&studio, &["reject", "film-2", "b", "--feedback", "darker"], 1, "");
    std::fs::remove_file(studio.path("bad.b")).unwrap();
    says(&studio, &["retry", "film-2"], 75, "");
    assert_eq!(read(&studio, "b.told"), "|no good|darker|darker|");

    // Sent back further.
    studio.ok(&["cancel", "film-3"]);
    says(&studio, &["reject", "film-3", "b", "--rewind-to", "s", "--feedback", "longer"], 0, "");
    says(&studio, &["retry", "film-3"], 75, "");
    assert_eq!(
        (read(&studio, "b.told"), read(&studio, "s.told")),
        ("|no good|darker|darker||".into(), "|longer|".into())
    );
    assert_eq!(rows(&studio, "film-4"), "s=succeeded@2 b=waiting@4 r=pending");
}

#[test]
fn a_branch_can_differ_before_it_has_run_and_has_retries_of_its_own() {
    let studio = studio(&relay());
    std::fs::write(studio.path("bad.r"), "").unwrap();
    says(&studio, &["run", "film", "--approve", "auto"], 1, "");
    for _ in 0..2 {
        says(&studio, &["retry", "film-1"], 1, "");
    }
    says(&studio, &["retry", "film-1"], 16, "b@1 was retried 2 times");
    let (_, shown, _) = studio.run(&["show", "film-3"]);
    // Whatever is asked for, there are no more.
    assert!(shown.contains("b@1 was retried 2 times") && !shown.contains("restage retry film-3"), "{shown}");
    says(&studio, &["retry", "film-3"], 16, "b@1 was retried 2 times");

    studio.ok(&["fork", "film-1", "--at", "b@1", "--branch", "alt"]);
    std::fs::write(studio.path("other"), "other\n").unwrap();
    let edit = ["edit", "film-1", "b", "--branch", "alt", "--artifact", "b.txt=other"];
    assert_eq!(says(&studio, &edit, 0, "--branch alt"), "b@2\n");
    // On main nothing is another than before.
    says(&studio, &["continue", "film-1", "--checkpoint", "b@1"], 16, "restage edit film-3 b");
    let insisting = ["continue", "film-1", "--checkpoint", "b@1", "--force-retry"];
    says(&studio, &insisting, 16, "b@1 was retried 2 times");
    says(&studio, &["continue", "film-1", "--checkpoint", "b@2"], 1, "");
    assert_eq!(read(&studio, "seen.b"), "");
    for _ in 0..2 {
        says(&studio, &["retry", "film-4"], 1, "");
    }
    says(&studio, &["retry", "film-4"], 16, "b@2 was retried 2 times");
    // What it left from can be edited there, too; then that is executed which follows.
    studio.ok(&["fork", "film-1", "--at", "b@1", "--branch", "early"]);
    assert_eq!(
        says(&studio, &["edit", "film-1", "s", "--branch", "early", "--set", "k=early"], 0, ""),
        "s@2\n"
    );
    says(&studio, &["continue", "film-1", "--branch", "early"], 75, "film-7 waits for you at b");
    let state: Value = serde_json::from_str(&read(&studio, "b.state")).unwrap();
    assert_eq!(state["k"], "early");
    std::fs::remove_file(studio.path("bad.r")).unwrap();
    studio.ok(&["approve", "film-7"]);
    assert_eq!(read(&studio, "seen.b"), "text\n");
}

#[test]
fn a_branch_that_was_edited_at_two_stages_begins_behind_the_later_one() {
    let made = |key: &str| format!("echo x >> $RESTAGE_STAGE.count; echo {key}=one > $RESTAGE_OUTPUT");
    let studio = studio(&json!({ "stages": [
        { "name": "script", "command": made("s"), "outputs": ["s"] },
        { "name": "board", "needs": ["script"], "command": made("b"), "outputs": ["b"] },
        { "name": "sheet", "needs": ["board"], "command": made("x"), "outputs": ["x"] },
        { "name": "render", "needs": ["sheet"], "command": "cp $RESTAGE_STATE seen; [ ! -e bad ]" },
    ] }));
    std::fs::write(studio.path("bad"), "").unwrap();
    says(&studio, &["run", "film"], 1, "");
    let edit = |stage: &str, value: &str, branch: &str| {
        studio.ok(&["edit", "film-1", stage, "--branch", branch, "--set", value]);
    };
    let promised = |branch: &str| {
        let shown: Value = serde_json::from_str(&studio.ok(&["show", "film-1", "--json"])).unwrap();
        let of = |one: &&Value| one["branch_name"] == branch;
        let view = shown["branches"].as_array().unwrap().iter().find(of).unwrap().clone();
        (view["can_continue"].as_bool().unwrap(), view["reason"].as_str().unwrap().to_owned())
    };
    let counts = || ["script", "board", "sheet"].map(|stage| times(&studio, stage));

    studio.ok(&["fork", "film-1", "--at", "sheet@1", "--branch", "draft"]);
    edit("script", "s=two", "draft");
    edit("board", "b=two", "draft");
    let behind = "approves board@2, and starts a new run on branch draft behind board";
    assert_eq!(promised("draft"), (true, behind.to_owned()));
    says(&studio, &["continue", "film-1", "--branch", "draft", "--approve", "auto"], 1, "");
    assert_eq!(
        rows(&studio, "film-2"),
        "script=succeeded@2 board=succeeded@2 sheet=succeeded@2 render=failed"
    );
    assert_eq!(counts(), [1, 1, 2]);
    let seen: Value = serde_json::from_str(&read(&studio, "seen")).unwrap();
    assert_eq!(seen, json!({ "s": "two", "b": "two", "x": "one" }));
    // A retry there knows that the later edit was made on the earlier one.
    says(&studio, &["retry", "film-2"], 1, "");
    assert_eq!(counts(), [1, 1, 2]);

    // An edit of what comes before it, made later, has it executed again.
    studio.ok(&["fork", "film-1", "--at", "sheet@1", "--branch", "other"]);
    edit("board", "b=three", "other");
    edit("script", "s=three", "other");
    says(&studio, &["continue", "film-1", "--branch", "other"], 1, "");
    assert_eq!(counts(), [1, 2, 3]);

    // What lies between the two would be made anew, and with it the later one: that is told, and not done.
    studio.ok(&["fork", "film-1", "--at", "sheet@1", "--branch", "gap"]);
    edit("script", "s=four", "gap");
    edit("sheet", "x=four", "gap");
    let way_out = "restage edit film-1 board --branch gap";
    let (can, why) = promised("gap");
    assert!(!can && why.contains(way_out), "{why}");
    says(&studio, &["continue", "film-1", "--branch", "gap"], 2, way_out);
    edit("board", "b=four", "gap");
    edit("sheet", "x=five", "gap");
    says(&studio, &["continue", "film-1", "--branch", "gap", "--approve", "auto"], 1, "");
    assert_eq!(counts(), [1, 2, 3]);
    let seen: Value = serde_json::from_str(&read(&studio, "seen")).unwrap();
    assert_eq!(seen, json!({ "s": "four", "b": "four", "x": "five" }));
}

#[test]
fn what_is_approved_is_told_and_is_there() {
    let studio = studio(&relay());
    let (code, list, _) = studio.run(&["runs", "--json"]);
    assert_eq!((code, list.trim()), (Some(3), "[]"));
    says(&studio, &["run", "film"], 75, "");
    // It can be looked at before, in any place.
    assert_eq!(
        studio.run(&["state", "film-1", "s@1"]).1.split_whitespace().collect::<String>(),
        r#"{"k":"v1"}"#
    );
    let (_, listed, _) = studio.run(&["artifacts", "film-1", "b@1", "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["name"], "b.txt");
    assert_eq!(studio.run(&["artifacts", "film-1", "b@1", "--get", "b.txt", "--to", "-"]).1, "text\n");
    says(&studio, &["artifacts", "film-1", "b@7"], 3, "has no checkpoint b@7");

    let (_, tree, _) = studio.run(&["checkpoints", "film-1", "--json"]);
    let tree: Value = serde_json::from_str(&tree).unwrap();
    let hash = tree["checkpoints"][1]["hash"].as_str().unwrap().to_owned();
    says(&studio, &["approve", "film-1", "--hash", &hash[..5]], 2, "too short");
    says(&studio, &["approve", "film-1", "--hash", "0123456789abcdef"], 18, "restage artifacts film-1 b@1");
    // Somebody has written over the file.
    let object = studio.path(listed[0]["path"].as_str().unwrap());
    let good = std::fs::read(&object).unwrap();
    std::fs::remove_file(&object).unwrap();
    std::fs::write(&object, "tEXt\n").unwrap();
    says(&studio, &["approve", "film-1"], 14, "b@1 is not what it was");
    says(&studio, &["continue", "film-1"], 14, "b@1 is not what it was");
    assert_eq!(rows(&studio, "film-1"), "s=succeeded@1 b=waiting@1 r=pending");
    std::fs::write(&object, good).unwrap();
    let told = format!("approved b@1 ({}…)", &hash[..12]);
    says(&studio, &["approve", "film-1", "b@1", "--hash", &hash[..12]], 0, &told);

    says(&studio, &["run", "film", "--approve", "auto"], 0, "");
    let (_, tree, _) = studio.run(&["checkpoints", "film-2", "--json"]);
    let tree: Value = serde_json::from_str(&tree).unwrap();
    let taken = &tree["checkpoints"][1];
    assert!(taken["approved_by"] == "auto" && taken["approved_at"].is_string(), "{taken}");
}

#[test]
fn a_text_that_came_too_late_is_kept() {
    let studio = studio(&relay());
    says(&studio, &["run", "film"], 75, "");
    studio.ok(&["cancel", "film-1"]);
    // While one is typing, another one is done.
    let faster = format!("{} edit film-1 s --set k=faster >&2", env!("CARGO_BIN_EXE_restage"));
    let editor = format!("{faster}\nprintf '{{\"k\": \"typed\"}}' > \"$1\"");
    std::fs::write(studio.path("editor"), editor).unwrap();
    let mut command = studio.command(&["edit", "film-1", "s", "--editor"]);
    let ended = command.env("VISUAL", "sh editor").output().unwrap();
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(18), "{stderr}");
    let kept = stderr.lines().find_map(|line| line.strip_prefix("restage: what was edited is in ")).unwrap();
    assert!(std::fs::read_to_string(kept).unwrap().contains("typed"), "{stderr}");
}

fn branches(studio: &Workspace, run: &str) -> Vec<Value> {
    let (_, stdout, _) = studio.run(&["show", run, "--json"]);
    let shown: Value = serde_json::from_str(&stdout).unwrap();
    shown["branches"].as_array().unwrap().clone()
}

/// `script@1 approved board@2 pending`
fn judged(studio: &Workspace, run: &str) -> String {
    let (_, tree, _) = studio.run(&["checkpoints", run, "--json"]);
    let tree: Value = serde_json::from_str(&tree).unwrap();
    let all = tree["checkpoints"].as_array().unwrap().iter().map(|one| {
        let id = one["id"].as_str().unwrap();
        format!("{id} {}", one["approval"].as_str().unwrap())
    });
    all.collect::<Vec<_>>().join(" ")
}

/// What is told of a branch is what continuing there does, and a refusal changes nothing.
#[track_caller]
fn keeps_its_promise(studio: &Workspace, run: &str, branch: &str) -> Value {
    let before = judged(studio, run);
    let view = branches(studio, run).into_iter().find(|one| one["branch_name"] == branch).unwrap();
    let (code, _, stderr) = studio.run(&["continue", run, "--branch", branch]);
    let refused = !matches!(code, Some(0 | 1 | 75)) || stderr.contains("hint:");
    assert_eq!(view["can_continue"].as_bool(), Some(!refused), "{view}: {code:?} {stderr}");
    if refused {
        assert_eq!(judged(studio, run), before, "{stderr}");
    }
    view
}

#[test]
fn what_comes_last_is_taken_on_and_makes_a_run_that_ends_with_it() {
    let stage = |name: &str, needs: &Value| {
        json!({ "name": name, "needs": needs, "outputs": [name],
            "command": format!("echo x >> $RESTAGE_STAGE.count; echo {name}=1 > $RESTAGE_OUTPUT") })
    };
    let mut last = stage("b", &json!(["a"]));
    let studio = studio(&json!({ "stages": [stage("a", &json!([])), last] }));
    let state = |run: &str| studio.run(&["state", run]).1.split_whitespace().collect::<String>();
    says(&studio, &["run", "film"], 0, "");
    says(&studio, &["edit", "film-1", "b", "--set", "b=2"], 0, "restage continue film-1 --checkpoint b@2");
    let view = keeps_its_promise(&studio, "film-1", "main");
    assert_eq!(view["can_continue"], true, "{view}");
    assert_eq!(rows(&studio, "film-2"), "a=succeeded@1 b=succeeded@2");
    assert_eq!(state("film-2"), r#"{"a":"1","b":"2"}"#);
    // What is in the result already is no news.
    assert_eq!(keeps_its_promise(&studio, "film-2", "main")["can_continue"], false);
    says(&studio, &["retry", "film-2"], 12, "");
    // Approved first, and taken on afterwards.
    says(&studio, &["edit", "film-2", "b", "--set", "b=3"], 0, "");
    says(&studio, &["approve", "film-2", "b@3"], 0, "approved b@3");
    assert_eq!(keeps_its_promise(&studio, "film-2", "main")["can_continue"], true);
    assert_eq!(state("film-3"), r#"{"a":"1","b":"3"}"#);
    // On a branch of its own.
    says(&studio, &["fork", "film-3", "--at", "b@1", "--branch", "z"], 0, "");
    assert_eq!(keeps_its_promise(&studio, "film-3", "z")["can_continue"], false);
    says(&studio, &["edit", "film-3", "b", "--branch", "z", "--set", "b=9"], 0, "");
    assert_eq!(keeps_its_promise(&studio, "film-3", "z")["can_continue"], true);
    assert_eq!(state("film-4"), r#"{"a":"1","b":"9"}"#);
    assert_eq!((times(&studio, "a"), times(&studio, "b")), (1, 1));

    // Ended while it waited at its last stage.
    last["approve"] = json!("manual");
    let config = json!({ "flows": { "film": { "stages": [stage("a", &json!([])), last] } } });
    std::fs::write(studio.path("config.json"), config.to_string()).unwrap();
    says(&studio, &["run", "film"], 75, "");
    studio.ok(&["cancel", "film-5"]);
    assert_eq!(keeps_its_promise(&studio, "film-5", "main")["can_continue"], true);
    assert_eq!(rows(&studio, "film-6"), "a=succeeded@1 b=succeeded@1");
    // A branch at what waits.
    says(&studio, &["run", "film"], 75, "");
    says(&studio, &["fork", "film-7", "--at", "b@1", "--branch", "x"], 0, "");
    assert_eq!(keeps_its_promise(&studio, "film-7", "x")["can_continue"], true);
    assert_eq!(rows(&studio, "film-7"), "a=succeeded@1 b=succeeded@1");
    assert_eq!(rows(&studio, "film-8"), "a=succeeded@1 b=succeeded@1");

    // What came behind it is gone from the file.
    let with =
        json!({ "flows": { "film": { "stages": [stage("a", &json!([])), stage("b", &json!(["a"]))] } } });
    std::fs::write(studio.path("config.json"), with.to_string()).unwrap();
    says(&studio, &["run", "film"], 0, "");
    says(&studio, &["edit", "film-9", "a", "--set", "a=2"], 0, "");
    let without = json!({ "flows": { "film": { "stages": [stage("a", &json!([]))] } } });
    std::fs::write(studio.path("config.json"), without.to_string()).unwrap();
    keeps_its_promise(&studio, "film-9", "main");
}

/// Where the bytes of an artifact lie.
fn object(studio: &Workspace, run: &str, checkpoint: &str) -> std::path::PathBuf {
    let (_, listed, _) = studio.run(&["artifacts", run, checkpoint, "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    studio.path(listed[0]["path"].as_str().unwrap())
}

#[test]
fn what_is_damaged_is_promised_to_nobody_and_what_a_person_made_of_it_is_not_made_anew() {
    let studio = studio(&relay());
    says(&studio, &["run", "film"], 75, "");
    let path = object(&studio, "film-1", "b@1");
    let good = std::fs::read(&path).unwrap();
    // As long as it was; shorter; gone.
    for bytes in [Some("tEXt\n"), Some("t"), None] {
        std::fs::remove_file(&path).ok();
        if let Some(bytes) = bytes {
            std::fs::write(&path, bytes).unwrap();
        }
        let view = keeps_its_promise(&studio, "film-1", "main");
        let reason = view["reason"].as_str().unwrap();
        assert!(reason.starts_with("b@1 is not what it was: "), "{view}");
        assert_eq!(rows(&studio, "film-1"), "s=succeeded@1 b=waiting@1 r=pending");
    }
    std::fs::write(&path, good).unwrap();

    // A branch on a person's own text.
    std::fs::write(studio.path("other"), "other\n").unwrap();
    says(&studio, &["edit", "film-1", "b", "--artifact", "b.txt=other"], 0, "");
    says(&studio, &["fork", "film-1", "--at", "b@2", "--branch", "x"], 0, "");
    std::fs::remove_file(object(&studio, "film-1", "b@2")).unwrap();
    for branch in ["x", "main"] {
        assert_eq!(keeps_its_promise(&studio, "film-1", branch)["can_continue"], false);
    }
    let again = "restage edit film-1 b --branch x --artifact NAME=FILE";
    says(&studio, &["continue", "film-1", "--branch", "x"], 14, again);
    assert_eq!(times(&studio, "b"), 1);
    // Given again, it goes on with that.
    std::fs::write(studio.path("other"), "better\n").unwrap();
    says(&studio, &["edit", "film-1", "b", "--branch", "x", "--artifact", "b.txt=other"], 0, "");
    assert_eq!(keeps_its_promise(&studio, "film-1", "x")["can_continue"], true);
    assert_eq!((read(&studio, "seen.b"), times(&studio, "b")), ("better\n".into(), 1));
}

#[test]
fn a_version_is_judged_on_the_branch_where_it_stands_and_one_that_is_not_there_is_told_as_such() {
    let studio = studio(&relay());
    says(&studio, &["run", "film", "--approve", "auto"], 0, "");
    for branch in ["good", "bad"] {
        studio.ok(&["fork", "film-1", "--at", "s@1", "--branch", branch]);
        studio.ok(&["edit", "film-1", "s", "--branch", branch, "--set", &format!("k={branch}")]);
    }
    for verb in [&["approve", "film-1", "s@7"][..], &["reject", "film-1", "s@7", "--feedback", "no"]] {
        says(&studio, verb, 3, "the lineage of film-1 has no checkpoint s@7");
    }
    let rest = "s@1 approved b@1 approved r@1 approved";
    assert_eq!(judged(&studio, "film-1"), format!("{rest} s@2 pending s@3 pending"));
    says(&studio, &["approve", "film-1", "s@2"], 0, "restage continue film-1 --branch good");
    says(
        &studio,
        &["reject", "film-1", "s@3", "--rewind-to", "b", "--feedback", "no"],
        2,
        "nothing has run on",
    );
    says(&studio, &["reject", "film-1", "s@3", "--feedback", "no"], 0, "restage edit film-1 s --branch bad");
    assert_eq!(judged(&studio, "film-1"), format!("{rest} s@2 approved s@3 rejected"));
    says(&studio, &["approve", "film-1", "s@2"], 17, "nothing has run on branch good yet");
    says(&studio, &["continue", "film-1", "--branch", "good"], 75, "film-2 waits for you at b");
    let state: Value = serde_json::from_str(&read(&studio, "b.state")).unwrap();
    assert_eq!(state["k"], "good");
    // The way out of the rejection.
    assert_eq!(keeps_its_promise(&studio, "film-1", "bad")["can_continue"], false);
    studio.ok(&["edit", "film-1", "s", "--branch", "bad", "--set", "k=better"]);
    assert_eq!(keeps_its_promise(&studio, "film-1", "bad")["can_continue"], true);
    // By whichever run of the lineage it is named.
    assert_eq!(says(&studio, &["approve", "film-1", "b@2"], 0, "approved b@2"), "film-2\n");
    assert_eq!(rows(&studio, "film-2"), "s=succeeded@2 b=succeeded@2 r=succeeded@2");
}

/// The command after `restage ` in the hint of what is refused.
#[track_caller]
fn way_out(studio: &Workspace, args: &[&str], code: i32) -> Vec<String> {
    let (found, _, stderr) = studio.run(args);
    assert_eq!(found, Some(code), "{args:?}: {stderr}");
    let hint = stderr.split("hint: ").nth(1).unwrap_or_default();
    let command = hint.split("restage ").nth(1).unwrap_or_default();
    let command = command.split([';', ',', '(', ')', '\n']).next().unwrap_or_default();
    command.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn what_is_recommended_can_be_done() {
    let studio = studio(&json!({ "max_retry_depth": 2, "stages": [
        { "name": "a", "command": "true" },
        { "name": "z", "needs": ["a"], "command": "[ ! -e bad ]" },
    ] }));
    says(&studio, &["run", "film"], 0, "");
    std::fs::write(studio.path("bad"), "").unwrap();
    // What is approved of it is not what the newest run left.
    says(&studio, &["retry", "film-1", "--force", "--from", "z"], 1, "");
    for verb in [&["continue", "film-1"][..], &["continue", "film-1", "--checkpoint", "z@1"]] {
        assert_eq!(way_out(&studio, verb, 17), ["retry", "film-2"]);
    }
    let insisting = ["continue", "film-1", "--checkpoint", "z@1", "--force-retry"];
    says(
        &studio,
        &insisting,
        14,
        "nothing can go on behind z, which left no usable checkpoint: it is failed",
    );
    // A branch behind which nothing comes.
    let told = "nothing comes after z; edit what the branch stands on: restage edit film-1 z --branch end";
    says(&studio, &["fork", "film-1", "--at", "z@1", "--branch", "end"], 0, told);
    says(&studio, &["continue", "film-1", "--branch", "end"], 2, "restage edit film-1 z --branch end");
    says(
        &studio,
        &["fork", "film-1", "--at", "a@1", "--branch", "mid"],
        0,
        "restage continue film-1 --branch mid",
    );
    assert_eq!(way_out(&studio, &["unlock", "film-1"], 1), ["show", "film-1"]);
    // As deep as may be: neither is possible, and that is what is told.
    says(&studio, &["retry", "film-2"], 1, "");
    for verb in [&["continue", "film-3"][..], &["retry", "film-3"], &["approve", "film-3", "a"]] {
        says(&studio, verb, 16, "film-3 is 2 retries deep, and 2 is the limit");
    }
    let view = keeps_its_promise(&studio, "film-3", "main");
    assert!(view["reason"].as_str().unwrap().starts_with("film-3 is 2 retries deep"), "{view}");
}

#[test]
fn a_branch_at_what_was_rejected_elsewhere_goes_on_with_something_else() {
    let studio = studio(&relay());
    says(&studio, &["run", "film"], 75, "");
    studio.ok(&["fork", "film-1", "--at", "b@1", "--branch", "x"]);
    says(&studio, &["reject", "film-1", "b", "--feedback", "darker"], 75, "");
    let way = ["edit", "film-1", "b", "--branch", "x", "--set", "KEY=VALUE"];
    for verb in ["continue", "retry"] {
        assert_eq!(way_out(&studio, &[verb, "film-1", "--branch", "x"], 17), way);
    }
    assert_eq!(keeps_its_promise(&studio, "film-1", "x")["can_continue"], false);
    says(&studio, &["fork", "film-1", "--at", "b@1", "--branch", "y"], 17, "b@1 was rejected");
    std::fs::write(studio.path("other"), "other\n").unwrap();
    studio.ok(&["edit", "film-1", "b", "--branch", "x", "--artifact", "b.txt=other"]);
    assert_eq!(keeps_its_promise(&studio, "film-1", "x")["can_continue"], true);
    assert_eq!(read(&studio, "seen.b"), "other\n");
}

#[test]
fn who_follows_on_a_terminal_is_told_how_to_judge() {
    use crate::support::terminal::Terminal;
    let workspace = Workspace::new(&json!({}));
    let flow = json!({ "stages": [{ "name": "phase1", "command": ["true"], "approve": "manual" }] });
    std::fs::write(workspace.path("config.json"), json!({ "flows": { "f": flow } }).to_string()).unwrap();
    let mut terminal = Terminal::start(workspace.command(&["run", "f"]), (120, 30));
    terminal.expect("restage approve f-1 phase1");
    workspace.ok(&["approve", "f-1", "phase1"]);
    assert!(terminal.ended().success());
}
