//! Where a retry begins.

use super::*;

#[test]
fn each_stage_of_a_flow_as_the_one_that_failed() {
    for (ends, plan) in [
        (
            "script=failed storyboard=not_run check=not_run voice=not_run extra=not_run music=not_run render=not_run",
            "from script: script: failed; storyboard: descendant (of script); check: descendant (of storyboard); \
             voice: descendant (of script); extra: descendant (of script); music: descendant (of script); \
             render: descendant (of storyboard)",
        ),
        (
            "storyboard=failed check=not_run extra=skipped render=not_run",
            "from storyboard: script: reuse script@1; storyboard: failed; check: descendant (of storyboard); \
             voice: reuse voice@1; extra: reuse nothing (skipped); music: reuse music@1; \
             render: descendant (of storyboard)",
        ),
        (
            "check=failed extra=skipped render=not_run",
            "from storyboard: script: reuse script@1; storyboard: its validator failed (check failed); check: failed; \
             voice: reuse voice@1; extra: reuse nothing (skipped); music: reuse music@1; \
             render: descendant (of storyboard)",
        ),
        (
            "voice=failed@9 music=failed@8 extra=skipped render=not_run",
            "from music: script: reuse script@1; storyboard: reuse storyboard@1; check: reuse check@1; voice: failed; \
             extra: reuse nothing (skipped); music: failed; render: descendant (of voice)",
        ),
        (
            "render=failed extra=skipped voice=degraded",
            "from render: script: reuse script@1; storyboard: reuse storyboard@1; check: reuse check@1; \
             voice: reuse voice@1 (degraded); extra: reuse nothing (skipped); music: reuse music@1; render: failed",
        ),
        (
            "voice=degraded extra=skipped",
            "from voice: script: reuse script@1; storyboard: reuse storyboard@1; check: reuse check@1; \
             voice: failed (it was degraded); extra: reuse nothing (skipped); music: reuse music@1; \
             render: descendant (of voice)",
        ),
    ] {
        let mut world = world(VIDEO, ends);
        if ends.starts_with("voice=degraded") {
            world.parent.status = RunStatus::Degraded;
        }
        assert_eq!(world.told(&first()), plan, "{ends}");
    }
}

#[test]
fn a_validator_or_what_it_validates_are_the_same_start() {
    let mut world = world("a:\n b: a\n v: !b\n w: !b\n c: b", "v=failed c=not_run");
    let plan = "from b: a: reuse a@1; b: its validator failed (v failed); v: failed; w: descendant (of b); \
        c: descendant (of b)";
    assert_eq!(world.told(&first()), plan);
    assert_eq!(world.told(&from("v")), plan);
    assert_eq!(world.told(&from("b")), plan);
    assert_eq!(
        world.told(&from("w")).split(" | ").next().unwrap(),
        plan.split(" | ").next().unwrap(),
        "the other validator says the same of it"
    );
}

#[test]
fn a_validator_that_gave_no_answer_says_nothing_against_its_target() {
    let mut world = world("a:\n b: a\n v: !b\n c: b", "v=pending c=pending");
    assert_eq!(
        world.told(&first()),
        "from v: a: reuse a@1; b: reuse b@1; v: never ran; c: descendant (of v)"
    );
}

#[test]
fn a_degraded_validator_is_a_reason_to_start_at_its_target() {
    let mut world = world("a:\n b: a\n v: !b\n w: !b\n c: b", "v=degraded");
    let plan = "from b: a: reuse a@1; b: its validator failed (v was degraded); v: failed (it was degraded); \
        w: descendant (of b); c: descendant (of b)";
    assert_eq!(world.told(&first()), plan);
    assert_eq!(world.told(&from("v")), plan);
    assert!(world.told(&from("b")).starts_with("12 b of f-12 succeeded"));
}

#[test]
fn a_run_that_was_stopped_goes_on_where_it_stopped() {
    let mut one = world("a:\n b: a\n c: b\n d:", "b=cancelled c=not_run d=pending");
    assert_eq!(one.parent.status, RunStatus::Cancelled);
    assert_eq!(
        one.told(&first()),
        "from b: a: reuse a@1; b: failed (it was cancelled); c: descendant (of b); d: never ran"
    );
    assert_eq!(
        one.told(&from("d")),
        "from d: a: reuse a@1; b: failed (it was cancelled); c: descendant (of b); d: never ran"
    );
    assert!(
        one.told(&from("c"))
            .starts_with("13 c never ran in f-12 | start where it ended: restage retry f-12 --from b")
    );
    let mut one = world("a:\n b: a", "a=skipped b=skipped");
    assert!(one.told(&from("b")).contains("from b: a: "), "{}", one.told(&from("b")));
    let mut one = world("a:\n b: a when:draft", "b=skipped");
    assert!(one.told(&from("b")).starts_with(
        "13 b never ran in f-12 | change what ruled it out: restage retry f-12 --from b --set draft=…"
    ));
}

#[test]
fn what_was_skipped_is_a_target_once_it_is_ruled_out_no_more() {
    let text = "a: >x\n w: a >go\n b: w when:go==\"x\"\n c: b\n e: a when:draft\n z: a";
    let mut one = world(text, "w=ok b=skipped c=skipped e=skipped z=failed");
    // What wrote the key has succeeded: no retry from there without force.
    assert_eq!(
        one.told(&from("b")),
        "13 b never ran in f-12 | execute w again first: restage retry f-12 --from w --force"
    );
    assert_eq!(one.told(&from("c")), one.told(&from("b")).replace("13 b", "13 c"));
    assert!(one.told(&forced("w")).starts_with("from w: "));
    assert_eq!(
        one.told(&from("e")),
        "13 e never ran in f-12 | change what ruled it out: restage retry f-12 --from e --set draft=…"
    );
    one.inputs.insert("draft".into(), Json::of(&true));
    one.parent.inputs = one.inputs.clone();
    let mut one = World { left: one.left, parent: one.parent, inputs: one.inputs, ..world(text, "") };
    assert!(one.told(&from("e")).contains("; e: never ran (it was skipped)"), "{}", one.told(&from("e")));
    // Where to start is a stage that may be started at.
    let mut one = world("a:\n b: a\n c: b", "a=ok b=failed c=not_run");
    one.left.insert(name("a"), Left::Nothing);
    assert_eq!(
        one.told(&from("c")),
        "13 c never ran in f-12 | start where it ended: restage retry f-12 --from a"
    );
    assert!(one.told(&from("a")).starts_with("from a: "));
}

#[test]
fn a_retry_that_ended_degraded_made_the_failure_good_but_nothing_that_was_degraded() {
    let mut one = world("a:\n b: a", "b=failed");
    one.lineage = vec![record(13, RunStatus::Degraded, Some(12))];
    assert!(
        one.told(&first()).starts_with("12 b of f-12 succeeded in its retry f-13"),
        "{}",
        one.told(&first())
    );
    assert!(one.told(&forced("b")).starts_with("from b: "), "{}", one.told(&forced("b")));
    let mut one = world("a:\n b: a", "b=degraded");
    one.parent.status = RunStatus::Degraded;
    one.lineage = vec![record(13, RunStatus::Degraded, Some(12))];
    assert!(one.told(&first()).starts_with("from b: a: reuse a@1; b: failed"), "{}", one.told(&first()));
    one.lineage.push(record(14, RunStatus::Succeeded, Some(13)));
    assert!(
        one.told(&first()).starts_with("12 b of f-12 succeeded in its retry f-14"),
        "{}",
        one.told(&first())
    );
    // What counts is the stage, whatever became of the rest of the run.
    one.lineage = vec![record(13, RunStatus::Degraded, Some(12))];
    one.lineage[0].stages =
        Some(vec![row("a", 0, StageStatus::Degraded), row("b", 1, StageStatus::Succeeded)]);
    assert!(
        one.told(&first()).starts_with("12 b of f-12 succeeded in its retry f-13"),
        "{}",
        one.told(&first())
    );
    let mut one = world("a:\n b: a\n v: !b\n c: b", "v=failed c=not_run");
    one.lineage = vec![record(13, RunStatus::Failed, Some(12))];
    let later = |v, c| Some(vec![row("b", 1, StageStatus::Succeeded), row("v", 2, v), row("c", 3, c)]);
    one.lineage[0].stages = later(StageStatus::Failed, StageStatus::NotRun);
    assert!(
        one.told(&from("b")).starts_with("from b: "),
        "its validator failed again: {}",
        one.told(&from("b"))
    );
    one.lineage[0].stages = later(StageStatus::Succeeded, StageStatus::Failed);
    for stage in ["b", "v"] {
        let refused = format!("12 {stage} of f-12 succeeded in its retry f-13");
        assert!(one.told(&from(stage)).starts_with(&refused), "{}", one.told(&from(stage)));
    }
}
