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
    says(&studio, &["approve", "film-1", "b"], 1, "b of film-1 is pending");
    says(&studio, &["approve", "film-1", "s@2"], 18, "s@3 (pending) stands in the place of s@2");
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
    assert!(shown.contains("was retried 2 times") && !shown.contains("or restage retry"), "{shown}");

    studio.ok(&["fork", "film-1", "--at", "b@1", "--branch", "alt"]);
    std::fs::write(studio.path("other"), "other\n").unwrap();
    let edit = ["edit", "film-1", "b", "--branch", "alt", "--artifact", "b.txt=other"];
    assert_eq!(says(&studio, &edit, 0, "--branch alt"), "b@2\n");
    // On main nothing is another than before.
    says(&studio, &["continue", "film-1", "--checkpoint", "b@1"], 16, "");
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
fn what_is_approved_is_told_and_is_there() {
    let studio = studio(&relay());
    let (code, list, _) = studio.run(&["runs", "--json"]);
    assert_eq!((code, list.trim()), (Some(0), "[]"));
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
    says(&studio, &["approve", "film-1", "--hash", "0123456789abcdef"], 18, "restage state film-1 b@1");
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
