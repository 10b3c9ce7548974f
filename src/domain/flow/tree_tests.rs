use super::super::testing::{checkpoint, lists};
use super::*;

fn drawn(checkpoints: &str, branches: &str, runs: &str) -> String {
    let (checkpoints, branches, runs) = lists(checkpoints, branches, runs);
    let lineage = Lineage { checkpoints: &checkpoints, branches: &branches, runs: &runs };
    let line = |row: Row| {
        let heads: Vec<String> = row.heads.iter().map(|head| format!(" [{head}]")).collect();
        let who = row.who.map(|who| format!(" by {who}")).unwrap_or_default();
        let replaced = row.replaced_by.map(|by| format!(" replaced by {by}")).unwrap_or_default();
        format!("{}{} {}{who}{}{replaced}\n", row.prefix, row.id, row.approval, heads.concat())
    };
    rows(&lineage).into_iter().map(line).collect()
}

#[test]
fn a_run_is_a_column_and_what_goes_its_own_way_moves_aside() {
    let drawn = drawn(
        "script@1
         storyboard@1 rejected under=script@1
         storyboard@2 under=script@1
         render@1 under=storyboard@2
         storyboard@3 pending under=script@1 edits=storyboard@2
         render@2 of=14 on=draft under=storyboard@2
         post@1 of=14 on=draft under=render@2
         lost@1 under=gone@7",
        "main\n draft from storyboard@2\n fresh from script@1",
        "12 failed\n 14 succeeded on=draft",
    );
    assert_eq!(
        drawn,
        "script@1 approved [fresh]\n\
         ├─ storyboard@1 rejected\n\
         └─ storyboard@2 approved\n   \
            ├─ render@1 approved\n   \
            ├─ storyboard@3 pending by ann\n   \
            └─ render@2 approved\n      \
               post@1 approved [draft]\n\
         lost@1 approved [main]\n"
    );
}

#[test]
fn of_several_roots_each_shows_what_hangs_on_it() {
    let drawn = drawn(
        "plan@1\n board@1 under=plan@1\n cut@1 under=board@1\n side@1\n plan@2\n board@2 under=plan@2",
        "main",
        "12 failed",
    );
    assert_eq!(
        drawn,
        "plan@1 approved\n\
         └─ board@1 approved\n   \
            cut@1 approved\n\
         side@1 approved\n\
         plan@2 approved\n\
         └─ board@2 approved [main]\n"
    );
}

#[test]
fn what_waits_is_where_a_branch_stands() {
    let drawn = drawn(
        "script@1\n storyboard@1 pending under=script@1\n voice@1 under=script@1",
        "main",
        "12 waiting script=succeeded@1 storyboard=waiting@1 voice=succeeded@1",
    );
    assert!(drawn.contains("storyboard@1 pending [main]"), "{drawn}");
}

#[test]
fn what_nobody_will_judge_any_more_says_so() {
    let drawn = drawn(
        "script@1\n board@1 pending under=script@1\n board@2 pending under=script@1 edits=board@1\n \
         board@3 pending under=script@1 edits=board@2\n board@4 pending on=draft under=script@1 edits=board@1",
        "main\n draft from script@1\n old from board@2",
        "12 waiting script=succeeded@1 board=waiting@3",
    );
    assert_eq!(
        drawn,
        "script@1 approved\n\
         board@1 pending replaced by board@3\n\
         ├─ board@2 pending by ann [old]\n\
         │  └─ board@3 pending by ann [main]\n\
         └─ board@4 pending by ann [draft]\n"
    );
}

#[test]
fn nothing_is_left_out_of_a_tree_however_long_or_forked() {
    let chain: Vec<String> =
        (0..10_000).map(|n| format!("s{n}@1 under=s{}@1", if n == 0 { 99_999 } else { n - 1 })).collect();
    let all: Vec<Checkpoint> = chain.iter().map(|line| checkpoint(line)).collect();
    let lineage = Lineage { checkpoints: &all, branches: &[], runs: &[] };
    let found = rows(&lineage);
    assert_eq!(found.len(), 10_000);
    assert!(found.iter().all(|row| row.depth == 0 && row.prefix.is_empty()));

    let comb =
        (0..2_000).flat_map(|n| [format!("s{n}@1 under=s{}@2", n - 1), format!("s{n}@2 under=s{}@2", n - 1)]);
    let all: Vec<Checkpoint> = comb.map(|line| checkpoint(&line)).collect();
    let found = rows(&Lineage { checkpoints: &all, ..lineage });
    assert_eq!(found.len(), 4_000);
    assert_eq!(found.iter().map(|row| row.depth).max(), Some(DRAWN));
}

#[test]
fn the_newest_edit_stands_for_what_a_row_names() {
    let (checkpoints, branches, runs) = lists(
        "a@1\n a@2 pending edits=a@1\n a@3 pending on=draft edits=a@1\n a@4 pending edits=a@2\n b@1",
        "main",
        "12 failed a=succeeded@1 b=succeeded@1 c=failed",
    );
    let lineage = Lineage { checkpoints: &checkpoints, branches: &branches, runs: &runs };
    let current = |at: usize| {
        lineage.current(&runs[0], &runs[0].stages.as_ref().unwrap()[at]).map(|one| one.id.to_string())
    };
    assert_eq!((current(0).as_deref(), current(1).as_deref(), current(2)), (Some("a@4"), Some("b@1"), None));
}

#[test]
fn two_checkpoints_differ_in_keys_and_files() {
    let state = |text: &str| serde_json::from_str::<JsonMap>(text).unwrap();
    let file = |name: &str, bytes: &str, executable| Artifact {
        name: name.into(),
        hash: super::super::ids::Hash::of([bytes]),
        size: bytes.len() as u64,
        executable,
    };
    let found = diff(
        (
            &state(r#"{"same": [1], "gone": 1, "other": {"a": 1}}"#),
            &[file("x", "1", false), file("y", "1", false)],
        ),
        (
            &state(r#"{"same": [ 1 ], "new": 2, "other": {"a": 2}}"#),
            &[file("y", "1", true), file("z", "1", false)],
        ),
    );
    let told = |name: &str, before: bool, after: bool| format!("{name} {before} {after}");
    let state: Vec<String> =
        found.state.iter().map(|one| told(&one.name, one.before.is_some(), one.after.is_some())).collect();
    assert_eq!(state, ["gone true false", "new false true", "other true true"]);
    let files: Vec<String> = found
        .artifacts
        .iter()
        .map(|one| told(&one.name, one.before.is_some(), one.after.is_some()))
        .collect();
    assert_eq!(files, ["x true false", "y true true", "z false true"]);
    let none = Diff::default();
    let one = checkpoint("a@1");
    assert_eq!(diff((&one.outputs, &one.artifacts), (&one.outputs, &one.artifacts)), none);
}
