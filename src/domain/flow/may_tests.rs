use super::super::testing::{branch, checkpoint, flow, graph, lists, name, run_id};
use super::*;
use crate::domain::json::Json;

const CHECKPOINTS: &str = "script@1\n storyboard@1 pending under=script@1\n voice@1 under=script@1";
const WAITS: &str =
    "12 waiting script=succeeded@1 storyboard=waiting@1 voice=succeeded@1 render=pending extra=skipped";

const GRAPH: &str = "script:\n storyboard: script ?extra\n voice: script\n render: storyboard voice\n extra:";

fn told<T: std::fmt::Debug>(answer: Result<T, Refusal>, show: impl Fn(T) -> String) -> String {
    match answer {
        Ok(value) => show(value),
        Err(refusal) => format!("{} {refusal} | {}", refusal.code(), refusal.hint()),
    }
}

#[test]
fn who_may_be_approved() {
    let several = "12 running script=waiting@1 storyboard=waiting@1";
    for (checkpoints, run, stage, answer) in [
        (CHECKPOINTS, WAITS, None, "storyboard@1"),
        (CHECKPOINTS, WAITS, Some("storyboard"), "storyboard@1"),
        (
            CHECKPOINTS,
            WAITS,
            Some("script"),
            "17 script@1 is approved, and f-12 waits at storyboard@1 | that is what can be judged: restage approve f-12 storyboard",
        ),
        (
            CHECKPOINTS,
            "12 failed script=succeeded@1 voice=failed",
            Some("script"),
            "17 checkpoint already approved | to run again from here: restage continue f-12 --checkpoint script@1 --force-retry (or restage retry f-12)",
        ),
        (
            CHECKPOINTS,
            "12 running script=succeeded@1 voice=running",
            Some("script"),
            "17 script@1 is approved, and f-12 is running | wait for it, or end it: restage cancel f-12",
        ),
        (
            CHECKPOINTS,
            "12 succeeded script=succeeded@1 voice=succeeded@1",
            Some("script"),
            "17 script@1 is approved, and f-12 is succeeded | what it did: restage show f-12",
        ),
        (CHECKPOINTS, WAITS, Some("render"), "13 render of f-12 has not run | its stages: restage show f-12"),
        (
            CHECKPOINTS,
            WAITS,
            Some("cut"),
            "3 f-12 has no stage cut | there are: script, storyboard, voice, render, extra",
        ),
        (
            CHECKPOINTS,
            "12 running script=succeeded@1 voice=running",
            None,
            "17 f-12 does not wait for anybody | what it does: restage show f-12",
        ),
        (
            "script@1 pending\n storyboard@1 pending",
            several,
            None,
            "2 several stages of f-12 wait: script, storyboard | name one: restage approve f-12 script",
        ),
        ("script@1 pending\n storyboard@1 pending", several, Some("storyboard"), "storyboard@1"),
        // An ended run: what was edited since, or what nobody answered.
        (
            "script@1\n script@2 pending edits=script@1",
            "12 failed script=succeeded@1 voice=failed",
            None,
            "script@2",
        ),
        ("script@1 pending", "12 cancelled script=cancelled@1", Some("script"), "script@1"),
        (
            "script@1",
            "12 failed script=succeeded@1 voice=failed",
            None,
            "17 f-12 does not wait for anybody | what it does: restage show f-12",
        ),
        (
            "script@1 rejected",
            "12 cancelled script=cancelled@1",
            Some("script"),
            "17 script of f-12 was cancelled, and left nothing | its stages: restage show f-12",
        ),
    ] {
        let (checkpoints, branches, runs) = lists(checkpoints, "main", run);
        let lineage = Lineage { checkpoints: &checkpoints, branches: &branches, runs: &runs };
        let stage = stage.map(name);
        let found = may_approve(&lineage, &runs[0], stage.as_ref(), None);
        assert_eq!(told(found, |one| one.checkpoint.to_string()), answer, "{run}");
    }
}

#[test]
fn a_version_is_judged_where_it_stands() {
    let (checkpoints, branches, runs) = lists(
        "script@1\n script@2 pending edits=script@1 on=fresh\n script@3 pending edits=script@1 on=draft of=13\n \
         script@4 edits=script@1 on=done\n script@5 rejected edits=script@1 on=gone\n \
         script@6 pending edits=script@1 on=twice\n script@7 pending edits=script@6 on=twice",
        "main\n fresh from script@1\n draft from script@1\n done from script@1\n gone from script@1\n twice from script@1",
        "12 succeeded script=succeeded@1\n 13 waiting on=draft script=waiting@3",
    );
    let lineage = Lineage { checkpoints: &checkpoints, branches: &branches, runs: &runs };
    let there = |run: usize, version: &str, hash: Option<&str>| {
        let id = CheckpointId::parse(version).unwrap();
        let hash = hash.map(|seen| checkpoint(seen).hash);
        let found = may_judge(&lineage, &runs[run], Some(&id.stage), Some(&id), hash.as_ref());
        told(found, |one| {
            let branch = one.branch.map_or("its run".into(), |branch| branch.to_string());
            format!("{} in {} on {branch}", one.checkpoint, one.run)
        })
    };
    for (run, version, answer) in [
        (0, "script@1", "17 script@1 is approved, and f-12 is succeeded | what it did: restage show f-12"),
        (0, "script@2", "script@2 in f-12 on fresh"),
        (1, "script@2", "script@2 in f-13 on fresh"),
        // Whichever run of the lineage is named.
        (0, "script@3", "script@3 in f-13 on its run"),
        (1, "script@3", "script@3 in f-13 on its run"),
        (1, "script@1", "17 script@1 is approved, and f-12 is succeeded | what it did: restage show f-12"),
        (
            0,
            "script@4",
            "17 script@4 is approved, and nothing has run on branch done yet | go on there: restage continue f-12 --branch done",
        ),
        (
            0,
            "script@5",
            "17 script@5 is rejected, and nothing has run on branch gone yet | put something else in its place: restage edit \
             f-12 script --branch gone --set KEY=VALUE; or leave from another: restage fork f-12 --at CP --branch NAME",
        ),
        (
            0,
            "script@6",
            "18 script@7 (pending) stands in the place of script@6 on branch twice | approve it: restage approve f-12 script@7; \
             or go another way from what you named: restage fork f-12 --at script@6 \
             --branch NAME",
        ),
        (0, "script@7", "script@7 in f-12 on twice"),
    ] {
        assert_eq!(there(run, version, None), answer, "{version}");
    }
    assert!(
        there(0, "script@8", None)
            .starts_with("3 the lineage of f-12 has no checkpoint script@8 | there are: ")
    );
    assert!(there(0, "script@2", Some("script@1")).starts_with("18 script@2 is not what was looked at"));
    assert_eq!(there(0, "script@2", Some("script@2")), "script@2 in f-12 on fresh");
    // Sent back further is only what has run.
    let graph = graph(&flow("idea:\n script: idea"));
    for (to, answer) in [
        (None, "script@2 back to script"),
        (
            Some("idea"),
            "2 nothing has run on branch fresh, so nothing goes back to idea | edit it there: restage edit f-12 idea --branch \
             fresh --set KEY=VALUE",
        ),
    ] {
        let wish = RejectWish {
            checkpoint: CheckpointId::parse("script@2").ok(),
            ..sent_back("script", to, "darker")
        };
        let found = may_reject(&lineage, &graph, &runs[0], &wish);
        assert_eq!(told(found, |(judged, to)| format!("{} back to {to}", judged.checkpoint)), answer);
    }
}

#[test]
fn what_waits_only_where_a_branch_left_is_judged_there() {
    let (checkpoints, branches, runs) = lists(
        "script@1 pending\n script@2 pending",
        "main\n fresh from script@1",
        "12 waiting script=waiting@2",
    );
    let lineage = Lineage { checkpoints: &checkpoints, branches: &branches, runs: &runs };
    let id = CheckpointId::parse("script@1").unwrap();
    let found = may_judge(&lineage, &runs[0], Some(&id.stage), Some(&id), None).unwrap();
    assert_eq!((found.checkpoint, found.branch), (id.clone(), Some(BranchName::trusted("fresh"))));
    let lineage = Lineage { branches: &branches[..1], ..lineage };
    let found = may_judge(&lineage, &runs[0], Some(&id.stage), Some(&id), None).unwrap_err();
    assert_eq!(found.to_string(), "script@2 (pending) stands in the place of script@1 on branch main");
}

#[test]
fn an_approval_is_bound_to_what_was_looked_at() {
    let (checkpoints, branches, runs) = lists(CHECKPOINTS, "main", WAITS);
    let lineage = Lineage { checkpoints: &checkpoints, branches: &branches, runs: &runs };
    let seen = checkpoint("storyboard@1").hash;
    assert_eq!(may_approve(&lineage, &runs[0], None, Some(&seen)).unwrap().hash, seen);
    let stale = "18 storyboard@1 is not what was looked at: it has changed since | look at it again: restage state f-12 storyboard@1, and restage artifacts f-12 storyboard@1";
    let other = checkpoint("storyboard@2").hash;
    assert_eq!(told(may_approve(&lineage, &runs[0], None, Some(&other)), |_| String::new()), stale);
    assert_eq!(
        told(may_edit(&lineage, &runs[0], &name("storyboard"), Some(&other)), |_| String::new()),
        stale
    );
}

#[test]
fn a_rejection_goes_back_to_the_stage_or_to_one_before_it() {
    let graph = graph(&flow(GRAPH));
    let (checkpoints, branches, runs) = lists(CHECKPOINTS, "main", WAITS);
    let lineage = Lineage { checkpoints: &checkpoints, branches: &branches, runs: &runs };
    for (stage, to, feedback, answer) in [
        ("storyboard", None, "darker", "storyboard@1 back to storyboard"),
        ("storyboard", Some("storyboard"), "darker", "storyboard@1 back to storyboard"),
        ("storyboard", Some("script"), "darker", "storyboard@1 back to script"),
        (
            "storyboard",
            Some("voice"),
            "darker",
            "2 voice does not come before storyboard, so nothing would be better by it | the run may go back to: script, extra, storyboard",
        ),
        (
            "storyboard",
            Some("extra"),
            "darker",
            "13 extra of f-12 was skipped, and left nothing | its stages: restage show f-12",
        ),
        (
            "storyboard",
            Some("cut"),
            "darker",
            "3 f-12 has no stage cut | there are: script, storyboard, voice, render, extra",
        ),
        (
            "storyboard",
            None,
            " \n",
            "2 storyboard cannot be rejected without a word on what to do better | say it: restage reject f-12 storyboard --feedback TEXT",
        ),
        ("render", None, "darker", "13 render of f-12 has not run | its stages: restage show f-12"),
    ] {
        let wish = sent_back(stage, to, feedback);
        let found = may_reject(&lineage, &graph, &runs[0], &wish);
        assert_eq!(told(found, |(judged, to)| format!("{} back to {to}", judged.checkpoint)), answer);
    }
}

#[test]
fn a_rejection_is_bound_to_what_was_looked_at() {
    let (checkpoints, branches, runs) = lists(CHECKPOINTS, "main", WAITS);
    let lineage = Lineage { checkpoints: &checkpoints, branches: &branches, runs: &runs };
    let graph = graph(&flow(GRAPH));
    let wish = |seen: &str| RejectWish {
        hash: Some(checkpoint(seen).hash),
        ..sent_back("storyboard", None, "darker")
    };
    let found = |seen| {
        told(may_reject(&lineage, &graph, &runs[0], &wish(seen)), |(judged, _)| judged.checkpoint.to_string())
    };
    assert_eq!(found("storyboard@1"), "storyboard@1");
    assert!(found("storyboard@2").starts_with("18 storyboard@1 is not what was looked at"));
}

fn sent_back(stage: &str, to: Option<&str>, feedback: &str) -> RejectWish {
    RejectWish {
        run: run_id(12),
        stage: name(stage),
        checkpoint: None,
        rewind_to: to.map(name),
        hash: None,
        feedback: feedback.into(),
        who: "ben".into(),
        approve_all: false,
    }
}

#[test]
fn what_may_be_edited() {
    let edited = "script@1\n script@2 pending edits=script@1\n storyboard@1 pending";
    for (checkpoints, run, stage, answer) in [
        (CHECKPOINTS, WAITS, "storyboard", "storyboard@1"),
        (CHECKPOINTS, WAITS, "script", "script@1"),
        (CHECKPOINTS, WAITS, "render", "13 render of f-12 has not run | its stages: restage show f-12"),
        (CHECKPOINTS, "12 running script=succeeded@1 storyboard=waiting@1", "storyboard", "storyboard@1"),
        (
            CHECKPOINTS,
            "12 running script=succeeded@1 storyboard=waiting@1",
            "script",
            "10 f-12 is still running | wait for it, or end it: restage cancel f-12",
        ),
        (edited, "12 failed script=succeeded@1 voice=failed", "script", "script@2"),
        // Two edits of one version would be two branches of it, and one of them lost.
        (edited, "12 waiting script=succeeded@1 storyboard=waiting@1", "script", "script@2"),
    ] {
        let (checkpoints, branches, runs) = lists(checkpoints, "main", run);
        let lineage = Lineage { checkpoints: &checkpoints, branches: &branches, runs: &runs };
        let found = may_edit(&lineage, &runs[0], &name(stage), None);
        assert_eq!(told(found, |one| one.id.to_string()), answer, "{run}");
    }
}

#[test]
fn an_edit_goes_to_what_stands_on_the_branch() {
    let (checkpoints, branches, runs) = lists(
        "script@1\n storyboard@1 under=script@1\n script@2 edits=script@1\n storyboard@2 under=script@2\n \
         script@3 pending edits=script@1 on=fresh\n storyboard@3 under=script@1 on=draft of=13",
        "main\n draft from script@1\n fresh from storyboard@1",
        "12 failed script=succeeded@2 storyboard=succeeded@2\n 13 failed on=draft script=succeeded@1 storyboard=succeeded@3",
    );
    let lineage = Lineage { checkpoints: &checkpoints, branches: &branches, runs: &runs };
    let standing = |branch: Option<&str>, stage: &str| {
        let branch = branch.map(BranchName::trusted);
        let found = may_edit_on(&lineage, &runs[0], branch.as_ref(), &name(stage), None);
        told(found, |one| {
            format!("{} of {:?} on {}", one.checkpoint.id, one.run.map(|run| run.to_string()), one.branch)
        })
    };
    assert_eq!(standing(None, "storyboard"), "storyboard@2 of Some(\"f-12\") on main");
    assert_eq!(standing(Some("main"), "storyboard"), "storyboard@2 of Some(\"f-12\") on main");
    assert_eq!(standing(Some("draft"), "storyboard"), "storyboard@3 of Some(\"f-13\") on draft");
    // Nothing has run there yet: what it left from, and what that was built on, with what was edited there.
    assert_eq!(standing(Some("fresh"), "storyboard"), "storyboard@1 of None on fresh");
    assert_eq!(standing(Some("fresh"), "script"), "script@3 of None on fresh");
    assert_eq!(
        standing(Some("fresh"), "render"),
        "2 branch fresh does not stand on render | the tree: restage checkpoints f-12"
    );
    assert!(standing(Some("nowhere"), "script").starts_with("3 "), "{}", standing(Some("nowhere"), "script"));
}

#[test]
fn an_edit_is_a_new_version_only_if_something_differs() {
    let one = checkpoint("storyboard@1");
    let set = |key: &str, value: &str| JsonMap::from([(key.to_owned(), Json::string(value))]);
    let file = |name: &str, bytes: &str, executable| Artifact {
        name: name.into(),
        hash: Hash::of([bytes]),
        size: 1,
        executable,
    };
    let same = edited(&one, &set("key", "storyboard@1"), &[file("file", "storyboard@1", false)]);
    assert_eq!(same, Ok(None));
    for (outputs, files) in [
        (set("key", "better"), vec![]),
        (JsonMap::new(), vec![file("file", "better", false)]),
        (JsonMap::new(), vec![file("file", "storyboard@1", true)]),
    ] {
        let new = edited(&one, &outputs, &files).unwrap().unwrap();
        assert_ne!(new.hash, one.hash);
        assert_eq!(new.hash, hashes::checkpoint(&new.outputs, &new.artifacts));
        assert_eq!((new.outputs.len(), new.artifacts.len()), (1, 1));
    }
    let wrong = |answer: Result<Option<Edited>, Refusal>| told(answer, |_| String::new());
    let deep = Json::parse(&format!("{}{}", "[".repeat(101), "]".repeat(101))).unwrap();
    let deep = wrong(edited(&one, &JsonMap::from([("key".to_owned(), deep)]), &[]));
    assert!(deep.contains("key is nested deeper than 100 levels"), "{deep}");
    assert_eq!(
        wrong(edited(&one, &set("kez", "x"), &[])),
        "2 kez is no output of storyboard: storyboard@1 has none of that name | there are: key"
    );
    assert_eq!(
        wrong(edited(&one, &JsonMap::new(), &[file("x", "x", false)])),
        "2 x is no artifact of storyboard: storyboard@1 has none of that name | there are: file"
    );
}

#[test]
fn a_fork_has_a_name_of_its_own_and_something_to_stand_on() {
    let (checkpoints, _, runs) = lists("script@1\n storyboard@1 rejected", "", WAITS);
    let branches = [branch("main"), branch("draft from script@1")];
    let lineage = Lineage { checkpoints: &checkpoints, branches: &branches, runs: &runs };
    for (at, name, answer) in [
        ("script@1", "fresh", "script@1"),
        (
            "script@1",
            "draft",
            "2 the lineage of f-12 has a branch draft already | take another name; the tree: restage checkpoints f-12",
        ),
        (
            "script@1",
            "main",
            "2 the lineage of f-12 has a branch main already | take another name; the tree: restage checkpoints f-12",
        ),
        (
            "storyboard@1",
            "fresh",
            "17 storyboard@1 was rejected, and nothing is built on it | it is made anew: restage show f-12",
        ),
        (
            "script@2",
            "fresh",
            "3 the lineage of f-12 has no checkpoint script@2 | there are: script@1, storyboard@1; the tree: restage checkpoints f-12",
        ),
    ] {
        let id = CheckpointId::parse(at).unwrap();
        let found = may_fork(&lineage, &runs[0], &id, &BranchName::trusted(name));
        assert_eq!(told(found, |one| one.id.to_string()), answer);
    }
}
