//! What is refused, and in which order.

use super::*;

#[test]
fn each_refusal_comes_before_those_with_a_higher_code() {
    // Everything is wrong at once; what is told first is put right, and the next one is told.
    let mut one = world("a: >x\n b: a\n c: b <key\n d: c\n p: >other", "c=failed d=not_run");
    one.parent.status = RunStatus::Waiting;
    one.holder = Some(run_id(14));
    one.lineage = vec![
        record(13, RunStatus::Failed, Some(12)),
        record(14, RunStatus::Succeeded, Some(13)),
        record(15, RunStatus::Succeeded, Some(99)),
    ];
    one.parent.retry_depth = 10;

    assert_eq!(
        one.told(&from("b")),
        "10 f-12 is still waiting | wait for it, or end it: restage cancel f-12"
    );
    one.parent.status = RunStatus::Failed;
    assert_eq!(
        one.told(&from("b")),
        "11 f-14 is under way on branch main of the same lineage | look at it: restage show f-14; or run after it, if \
         it fails: restage retry f-12 --queue"
    );
    one.holder = None;
    assert_eq!(
        one.told(&from("b")),
        "12 b of f-12 succeeded | to execute it again all the same: restage retry f-12 --from b --force"
    );
    assert_eq!(
        one.told(&from("d")),
        "12 d of f-12 succeeded in its retry f-14 | look at it: restage show f-14; to execute it again all the same: \
         restage retry f-14 --from d --force"
    );
    assert_eq!(
        one.told(&forced("d")),
        "13 d never ran in f-12 | execute c again first: restage retry f-12 --from c --force"
    );
    one.left.insert(name("b"), Left::Nothing);
    assert_eq!(
        one.told(&forced("c")),
        "14 c needs b, which left no usable checkpoint: nothing was kept of what it wrote | start there: restage \
         retry f-12 --from b"
    );
    one.lineage.clear();
    // It succeeded, but that is worth nothing.
    assert_eq!(
        one.told(&from("b")),
        "15 c requires key, which nothing provides | give them: restage retry f-12 --set key=…"
    );
    one.inputs.insert("key".into(), Json::of(&1));
    assert_eq!(
        one.told(&from("b")),
        "16 f-12 is 10 retries deep, and 10 is the limit | start anew: restage run, with the inputs that `restage show \
         f-12` lists; or raise max_retry_depth"
    );
    one.parent.retry_depth = 9;
    // Since `key` is new, everything that may read any key is executed, and nothing is built on a checkpoint.
    assert!(
        one.told(&from("b")).starts_with("from b: a: input changed (of the run: key); b: output missing")
    );
    one.parent.inputs = one.inputs.clone();
}

/// A retry of a run from a stage, which failed.
fn retry(number: u64, of: u64, from: &str) -> RunRecord {
    RunRecord {
        retry_from_stage: Some(name(from)),
        cause: Cause::Retry,
        ..record(number, RunStatus::Failed, Some(of))
    }
}

#[test]
fn a_checkpoint_is_built_on_again_up_to_a_limit_and_a_chain_is_as_long_as_it_may_be() {
    let mut one = world("a: >x\n b: a\n c: b\n d: c\n p: >other", "c=failed d=not_run");
    let from_c = "from c: a: reuse a@1; b: reuse b@1; c: failed; d: descendant (of c); p: reuse p@1";
    let too_many = "16 b@1 was retried 5 times, and 5 is the limit | edit what it is built on: restage edit f-12 b; or raise \
         max_retries_per_checkpoint";
    one.lineage = (13..17).map(|number| retry(number, 12, "c")).collect();
    assert_eq!(one.told(&first()), from_c);
    assert_eq!(one.plan(&first()).unwrap().retry_depth, 1);
    // One from further on only reuses it, and one that was cancelled while it was queued never started.
    one.lineage.push(retry(17, 12, "d"));
    one.lineage.push(RunRecord { started_at: None, ..retry(18, 12, "c") });
    assert_eq!(one.told(&first()), from_c);
    one.lineage.push(retry(19, 12, "c"));
    assert_eq!(one.told(&first()), too_many);
    let behind = Wish { start: Start::After(name("b")), force: false };
    assert_eq!(one.told(&behind), too_many);
    // It is the same in a chain, in which each is a retry of the one before.
    one.lineage = (13..18).map(|number| retry(number, number - 1, "c")).collect();
    one.parent.retry_depth = 5;
    assert_eq!(one.told(&first()), too_many);
    assert_eq!(one.told(&behind), too_many);
    // The first that went on behind an edit or on a branch is no retry of it.
    one.lineage[0].cause = Cause::Continue;
    assert_eq!(one.told(&first()), from_c);
    one.parent.retry_depth = 10;
    assert!(one.told(&first()).starts_with("16 f-12 is 10 retries deep, and 10 is the limit"));
    // The parent is itself a retry, and never started.
    (one.parent.parent_run_id, one.parent.started_at) = (Some(run_id(11)), None);
    assert_eq!(one.told(&first()), from_c);
}

#[test]
fn an_ancestor_that_never_succeeded_is_named() {
    let mut one = world("a:\n b:\n c: a", "a=failed@3 b=failed@2 c=not_run");
    assert!(one.told(&first()).starts_with("from b: "));
    assert_eq!(
        one.told(&from("c")),
        "13 c never ran in f-12 | start where it ended: restage retry f-12 --from a"
    );
    one.file("a:\n b: a\n c: a");
    assert_eq!(
        one.told(&first()),
        "14 b needs a, which left no usable checkpoint: it is failed: exit 1 | start there: restage retry f-12 --from a"
    );
    assert!(one.told(&from("a")).starts_with("from a: a: failed; b: descendant (of a)"));
}
