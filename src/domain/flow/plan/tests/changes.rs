//! What has changed since, and what is left to be used.

use super::*;

#[test]
fn what_changed_joins_with_its_descendants() {
    let text = "a: >x\n b: a >y\n c: b\n d: a <x\n e: d <q\n z:";
    let mut one = world(text, "z=failed");
    one.changed_recipes.insert(name("b"));
    assert_eq!(
        one.told(&first()),
        "from z: a: reuse a@1; b: recipe changed (b since b@1); c: descendant (of b); d: reuse d@1; e: reuse e@1; z: failed"
    );
    assert_eq!(one.verified, [name("a"), name("d"), name("e")], "what is executed is not hashed");

    let mut one = world(text, "z=failed");
    one.inputs = map(r#"{"q": 2, "new": 1}"#);
    assert_eq!(
        one.told(&first()),
        "from z: a: input changed (of the run: q, new); b: descendant (of a); c: descendant (of b); \
         d: descendant (of a); e: descendant (of d); z: failed"
    );

    // Only what requires it.
    let mut one = world("a: <p >x\n d: a <x\n e: d <q\n f: e\n z:", "z=failed");
    one.inputs = map(r#"{"q": 2}"#);
    assert_eq!(
        one.told(&first()),
        "from z: a: reuse a@1; d: reuse d@1; e: input changed (of the run: q); f: descendant (of e); z: failed"
    );

    let mut one = world(text, "z=failed");
    one.damaged.insert(name("d"));
    assert_eq!(
        one.told(&first()),
        "from z: a: reuse a@1; b: reuse b@1; c: reuse c@1; d: output missing (file is damaged); \
         e: descendant (of d); z: failed"
    );
}

#[test]
fn the_file_may_have_changed() {
    let mut one = world("a: >x\n b: a\n c: b", "c=failed");
    one.file("a: >x\n n: a\n b: a\n c: b n\n m: b");
    assert_eq!(
        one.told(&first()),
        "from c: a: reuse a@1; n: never ran (it is new in the file); b: reuse b@1; c: failed; \
         m: never ran (it is new in the file)"
    );
    // Another need is another input.
    one.file("a: >x\n n:\n b: a n\n c: b");
    assert_eq!(
        one.told(&first()),
        "from c: a: reuse a@1; n: never ran (it is new in the file); b: descendant (of n); c: failed"
    );
    let mut one = world("a:\n z:\n b: a\n c: b", "c=failed");
    one.file("a:\n z:\n b: a z\n c: b");
    assert_eq!(
        one.told(&first()),
        "from c: a: reuse a@1; z: reuse z@1; b: input changed (what it is built on is not what it was); c: failed"
    );
    one.file("a:\n z:\n b: a");
    assert!(one.told(&first()).starts_with("3 c, failed in f-12, is not in"), "{}", one.told(&first()));
}

#[test]
fn what_was_skipped_is_asked_again() {
    let text = "a: >x\n b: a when:draft\n c: b\n d: ?b a\n z:";
    let mut one = world(text, "b=skipped c=skipped z=failed");
    assert_eq!(
        one.told(&first()),
        "from z: a: reuse a@1; b: reuse nothing (skipped); c: reuse nothing (skipped); d: reuse d@1; z: failed"
    );
    // Its condition holds now, though nothing else has changed.
    one.file("a: >x\n b: a when:q==1\n c: b\n d: ?b a\n z:");
    assert_eq!(
        one.told(&first()),
        "from z: a: reuse a@1; b: input changed (it was skipped, and is not ruled out any more); \
         c: descendant (of b); d: descendant (of b); z: failed"
    );
    one.file("a: >x when:not(q==1)\n b: a when:draft\n c: b\n d: ?b a\n z:");
    assert_eq!(
        one.told(&first()).split("; ").next().unwrap(),
        "from z: a: input changed (it ran, and is ruled out now)"
    );
    one.file("a: >x\n b: a when:x>1\n c: b\n d: ?b a\n z:");
    assert!(one.told(&first()).contains("b: input changed (when: x is a text"), "{}", one.told(&first()));
}

#[test]
fn required_keys_may_come_from_anywhere_before() {
    let text = "a: >x\n b: a ?s <x\n s: >y when:draft\n c: b s <y\n d: b <q\n e: ?s b <y";
    let mut one = world(text, "s=skipped b=failed c=skipped d=not_run e=not_run");
    assert!(one.told(&first()).starts_with("from b: "), "{}", one.told(&first()));
    one.file("a: >x\n b: a ?s <x\n s: >y when:draft\n c: b s <y\n d: b <q <nowhere <neither\n e: ?s b <y");
    assert_eq!(
        one.told(&first()),
        "15 d requires nowhere, neither, which nothing provides | give them: restage retry f-12 --set nowhere=… --set neither=…"
    );
}

#[test]
fn a_run_from_before_checkpoints_is_rebuilt_from_its_outputs_or_refused() {
    let mut one = world("a: >x\n b: a\n c: b\n z: >k", "c=failed");
    one.left.insert(name("a"), Left::Outputs { outputs: map(r#"{"x": 1}"#), artifacts: Vec::new() });
    one.left.insert(name("b"), Left::Outputs { outputs: JsonMap::new(), artifacts: Vec::new() });
    one.left.insert(name("z"), Left::Outputs { outputs: JsonMap::new(), artifacts: Vec::new() });
    let rebuilt = "from what it wrote; what it was made from was not recorded";
    assert_eq!(
        one.told(&first()),
        format!(
            "from c: a: reuse nothing ({rebuilt}); b: reuse nothing ({rebuilt}); c: failed; z: output missing (it ran \
             before checkpoints were kept, and what it wrote is incomplete)"
        )
    );
    one.left.insert(name("a"), Left::Outputs { outputs: JsonMap::new(), artifacts: Vec::new() });
    assert_eq!(
        one.told(&first()),
        "14 c needs a, which left no usable checkpoint: it ran before checkpoints were kept, and what it wrote is \
         incomplete | start there: restage retry f-12 --from a"
    );
    assert!(
        one.told(&from("a")).starts_with("from a: a: output missing (it ran before"),
        "{}",
        one.told(&from("a"))
    );
    one.parent.stages = None;
    assert!(one.told(&first()).starts_with("from a: a: never ran"), "{}", one.told(&first()));
}

#[test]
fn what_is_rebuilt_is_made_from_what_the_run_has_and_later_retries_can_tell_whether_that_changed() {
    let mut one = world("a: >x\n b: a\n c: b", "c=failed");
    let outputs = |left: &Left| match left {
        Left::Checkpoint(one) => {
            Left::Outputs { outputs: one.outputs.clone(), artifacts: one.artifacts.clone() }
        }
        Left::Unreadable { .. } | Left::Outputs { .. } | Left::Nothing => panic!("{left:?}"),
    };
    let kept = one.left.clone();
    for stage in ["a", "b"] {
        one.left.insert(name(stage), outputs(&kept[&name(stage)]));
    }
    let plan = one.plan(&first()).unwrap();
    for planned in plan.stages.iter().filter(|one| one.decision == Decision::Reuse) {
        let Left::Checkpoint(mut rebuilt) = kept[&planned.stage].clone() else { panic!("{planned:?}") };
        (rebuilt.recipe, rebuilt.input) = (None, planned.input.clone().unwrap());
        one.left.insert(planned.stage.clone(), Left::Checkpoint(rebuilt));
    }
    assert_eq!(one.told(&first()), "from c: a: reuse a@1; b: reuse b@1; c: failed");
    one.inputs = map(r#"{"q": 2}"#);
    assert!(
        one.told(&first()).starts_with("from c: a: input changed (of the run: q); b: descendant"),
        "{}",
        one.told(&first())
    );
}

#[test]
fn an_unreadable_checkpoint_falls_back_to_the_one_before_or_is_refused() {
    let mut one = world("a: >x\n b: a\n c: b\n z: >k", "c=failed");
    let unreadable = |left: &Left, stage: &str| {
        let Left::Checkpoint(previous) = left.clone() else { panic!("{left:?}") };
        let id = CheckpointId { stage: name(stage), version: 2 };
        Left::Unreadable { id, why: "torn".into(), previous: Some(previous) }
    };
    for stage in ["b", "z"] {
        let left = unreadable(&one.left[&name(stage)], stage);
        one.left.insert(name(stage), left);
    }
    assert_eq!(
        one.told(&first()),
        "from c: a: reuse a@1; b: reuse b@1 (b@2 cannot be read: torn); c: failed; z: reuse z@1 (z@2 cannot be read: torn)"
    );
    one.changed_recipes.extend([name("b"), name("z")]);
    assert_eq!(
        one.told(&first()),
        "14 c needs b, which left no usable checkpoint: b@2 cannot be read: torn; b@1 does not fit | start there: \
         restage retry f-12 --from b"
    );
    one.changed_recipes.remove(&name("b"));
    assert!(one.told(&first()).contains("z: output missing (z@2 cannot be read: torn; z@1 does not fit)"));
    let id = CheckpointId { stage: name("b"), version: 2 };
    one.left.insert(name("b"), Left::Unreadable { id, why: "torn".into(), previous: None });
    assert_eq!(
        one.told(&first()).split(" | ").next().unwrap(),
        "14 c needs b, which left no usable checkpoint: b@2 cannot be read: torn"
    );
}
