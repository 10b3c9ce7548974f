//! What every store has to do.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::domain::flow::change::RecipeRecord;
use crate::domain::flow::record::{Branch, CheckpointRef, HookRecord, ItemCount, RunFilter};
use crate::domain::flow::status::Hook;
use crate::ports::store::{Adopter, FailingStage, Held, MAX_STATE_BYTES, StoreError};
use crate::store::memory::MemoryStore;
use crate::store::sqlite::SqliteStore;

macro_rules! contract {
    ($($name:ident),+ $(,)?) => {
        mod memory {
            use super::*;
            $(#[test] fn $name() { super::$name(&mut MemoryStore::new()); })+
        }

        mod sqlite {
            use super::*;
            $(#[test] fn $name() {
                let dir = tempfile::tempdir().unwrap();
                super::$name(&mut SqliteStore::open(&dir.path().join(".restage/history.db")).unwrap());
            })+
        }
    };
}

contract!(
    a_run_is_read_as_it_was_written,
    numbers_count_by_flow,
    a_key_gives_the_first_run,
    a_lineage_and_branch_have_one_run_under_way,
    a_queued_run_takes_the_lock_when_it_starts,
    an_interrupted_run_lets_others_in,
    an_old_epoch_changes_nothing,
    what_ended_never_changes,
    a_batch_is_all_or_nothing,
    several_runs_share_a_batch,
    unknown_things_are_refused,
    versions_count_by_lineage,
    a_stage_is_done_with_all_it_left,
    attempts_are_replaced_and_costs_summed_up,
    items_are_kept_until_the_stage_is_reset,
    a_stage_adopts_an_edit,
    what_is_left_of_its_time_and_that_nobody_is_asked_is_kept,
    approval_is_bound_to_the_bytes,
    judging_is_part_of_a_batch,
    branches_have_one_name_each,
    runs_are_listed_newest_first,
    runs_are_filtered,
    runs_are_searched,
    unfinished_runs_are_the_oldest_first,
    a_command_after_a_run_is_open_until_its_end_is_written,
    retries_of_a_checkpoint_are_told,
    the_status_of_a_stage_is_told,
    what_a_stage_was_made_by_is_kept_with_its_run,
    objects_are_listed_once,
    history_is_counted,
    what_is_reused_is_not_deleted,
    what_is_under_way_is_not_deleted,
    nothing_remains_of_what_was_deleted,
    large_values_come_back,
    too_large_values_are_refused,
);

fn a_run_is_read_as_it_was_written(store: &mut dyn Store) {
    let new = NewRun {
        parent: Some(RunId::trusted("other-1")),
        caller: Some(RunId::trusted("caller-7")),
        retry_from: Some(stage("a")),
        retry_depth: 3,
        key: Some("key".into()),
        branch: branch("wild"),
        approve_all: true,
        stages: vec![
            NewStage { reason: None, feedback: Some("more\ncolour".into()), ..new_stage("a") },
            NewStage { status: StageStatus::Skipped, decision: Decision::Reuse, ..new_stage("b") },
        ],
        ..new_run(&[])
    };
    let begun = store.begin(&new).unwrap();
    let run = RunId::trusted("video-1");
    assert_eq!(begun, Begun::New { run: run.clone(), number: 1, epoch: 1 });

    let stored = store.run(&run).unwrap().unwrap();
    assert_eq!((stored.epoch, stored.holder.as_str(), stored.approve_all), (1, "pid 1", true));
    let record = &stored.record;
    assert_eq!((&record.run_id, record.run_number, &record.flow), (&run, 1, &new.flow));
    assert_eq!((record.status, record.trigger), (RunStatus::Running, Trigger::Manual));
    assert_eq!((&record.inputs, &record.def_hash), (&new.inputs, &new.def_hash));
    assert_eq!((&record.parent_run_id, &record.caller_run_id), (&new.parent, &new.caller));
    assert_eq!((&record.root_run_id, record.retry_depth), (&run, 3));
    assert_eq!((&record.retry_from_stage, &record.idempotency_key), (&new.retry_from, &new.key));
    assert_eq!((record.deadline, record.created_at, &record.branch), (new.deadline, at(0), &new.branch));
    assert_eq!((record.started_at, record.ended_at, record.duration_seconds), (None, None, None));
    assert_eq!((record.cost, &record.error), (None, &None));
    let [a, b] = stored.stages() else { panic!("{:?}", stored.stages()) };
    assert_eq!((a.name.as_str(), a.order, a.status, a.reason), ("a", 0, StageStatus::Pending, None));
    assert_eq!((a.feedback.as_deref(), &a.checkpoint, &a.outputs), (Some("more\ncolour"), &None, &None));
    assert_eq!((b.name.as_str(), b.order, b.status), ("b", 1, StageStatus::Skipped));
    assert_eq!((b.decision, b.reason, b.items), (Decision::Reuse, Some(Reason::First), None));
    assert_eq!(store.definition(&new.def_hash).unwrap(), Some(new.definition));

    assert_eq!(store.run(&RunId::trusted("video-2")).unwrap(), None);
    assert_eq!(store.definition(&hash("else")).unwrap(), None);
}

fn numbers_count_by_flow(store: &mut dyn Store) {
    let audio = NewRun { flow: FlowName::trusted("audio"), ..new_run(&[]) };
    let names: Vec<_> =
        [&new_run(&[]), &audio, &new_run(&[])].map(|new| begin(store, new).to_string()).into();
    assert_eq!(names, ["video-1", "audio-1", "video-2"]);
    // A number is never used again, for it names folders.
    commit(store, &RunId::trusted("video-2"), vec![run_is(RunStatus::Cancelled)]);
    store.delete(&[RunId::trusted("video-2")], false).unwrap();
    assert_eq!(begin(store, &new_run(&[])).as_str(), "video-3");
}

fn a_key_gives_the_first_run(store: &mut dyn Store) {
    let keyed = NewRun { key: Some("monday".into()), ..new_run(&["a"]) };
    let first = begin(store, &keyed);
    assert_eq!(store.begin(&keyed).unwrap(), Begun::Existing(first.clone()));
    commit(store, &first, vec![run_is(RunStatus::Failed)]);
    assert_eq!(store.begin(&keyed).unwrap(), Begun::Existing(first.clone()));
    let video = FlowName::trusted("video");
    assert_eq!(store.run_of_key(&video, "monday").unwrap(), Some(first.clone()));
    assert_eq!(store.run_of_key(&video, "tuesday").unwrap(), None);
    assert_eq!(store.run(&first).unwrap().unwrap().record.idempotency_key.as_deref(), Some("monday"));
    let audio = FlowName::trusted("audio");
    assert_eq!(store.run_of_key(&audio, "monday").unwrap(), None);
    let other = NewRun { flow: audio.clone(), ..keyed };
    let Begun::New { run: other, .. } = store.begin(&other).unwrap() else { panic!("a key is of its flow") };
    assert_eq!(store.run_of_key(&audio, "monday").unwrap(), Some(other));
    // What was not begun took no number.
    assert_eq!(begin(store, &new_run(&[])).as_str(), "video-2");
}

fn a_lineage_and_branch_have_one_run_under_way(store: &mut dyn Store) {
    let root = failed_run(store);
    let retry = retry_of(&root, &root, &["a@1"], &["b"]);
    let first = begin(store, &retry);
    let held = Held { run: first.clone(), holder: "pid 1".into() };
    assert_eq!(store.begin(&retry).unwrap(), Begun::Held(held.clone()));
    assert_eq!(store.lock(&root, &branch("main")).unwrap(), Some(held));
    assert_eq!(store.lock(&root, &branch("wild")).unwrap(), None);
    // Another branch, and another lineage, are not concerned.
    begin(store, &NewRun { branch: branch("wild"), ..retry.clone() });
    begin(store, &new_run(&["a"]));
    // A waiting run keeps it, one that ended does not.
    commit(store, &first, vec![run_is(RunStatus::Waiting)]);
    assert!(matches!(store.begin(&retry).unwrap(), Begun::Held(_)));
    commit(store, &first, vec![run_is(RunStatus::Failed)]);
    assert_eq!(store.lock(&root, &branch("main")).unwrap(), None);
    begin(store, &retry);
}

fn a_queued_run_takes_the_lock_when_it_starts(store: &mut dyn Store) {
    let root = failed_run(store);
    let retry = retry_of(&root, &root, &["a@1"], &["b"]);
    let first = begin(store, &retry);
    let queued = begin(store, &NewRun { status: RunStatus::Queued, ..retry });
    let start = changes(&queued, vec![run_is(RunStatus::Running)]);
    match store.commit(&start) {
        Err(StoreError::Held { run, by }) => assert_eq!((run, by.run), (queued.clone(), first.clone())),
        other => panic!("{other:?}"),
    }
    assert_eq!(store.run(&queued).unwrap().unwrap().record.status, RunStatus::Queued);
    commit(store, &first, vec![run_is(RunStatus::Failed)]);
    store.commit(&start).unwrap();
    assert_eq!(store.lock(&root, &branch("main")).unwrap().unwrap().run, queued);
}

fn an_interrupted_run_lets_others_in(store: &mut dyn Store) {
    let root = failed_run(store);
    let retry = retry_of(&root, &root, &["a@1"], &["b"]);
    let first = begin(store, &retry);
    commit(store, &first, vec![run_is(RunStatus::Interrupted)]);
    let second = begin(store, &retry);
    let again = changes(&first, vec![run_is(RunStatus::Running)]);
    assert!(matches!(store.commit(&again), Err(StoreError::Held { .. })));
    commit(store, &second, vec![run_is(RunStatus::Cancelled)]);
    store.commit(&again).unwrap();
}

fn an_old_epoch_changes_nothing(store: &mut dyn Store) {
    let run = begin(store, &new_run(&["a"]));
    assert_eq!(store.take_over(&run, "pid 2").unwrap(), 2);
    let stored = store.run(&run).unwrap().unwrap();
    assert_eq!((stored.epoch, stored.holder.as_str()), (2, "pid 2"));
    assert_eq!(store.lock(&run, &branch("main")).unwrap().unwrap().holder, "pid 2");
    for what in done("a").into_iter().chain([run_is(RunStatus::Failed)]) {
        match store.commit(&changes(&run, vec![what])) {
            Err(StoreError::Fenced { run: fenced }) => assert_eq!(fenced, run),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(store.run(&run).unwrap().unwrap(), stored);
    let now = Change { run: run.clone(), epoch: 2, what: stage_is("a", StageStatus::Running) };
    store.commit(&[now]).unwrap();
}

fn what_ended_never_changes(store: &mut dyn Store) {
    let run = failed_run(store);
    let before = store.run(&run).unwrap();
    for what in done("b").into_iter().chain([run_is(RunStatus::Running)]) {
        match store.commit(&changes(&run, vec![what])) {
            Err(StoreError::Ended { run: ended }) => assert_eq!(ended, run),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(store.run(&run).unwrap(), before);
}

fn a_batch_is_all_or_nothing(store: &mut dyn Store) {
    let run = begin(store, &new_run(&["a", "b"]));
    let before = store.run(&run).unwrap();
    let mut batch = done("a");
    batch.push(What::Item { stage: stage("b"), item: item(0), all: 2 });
    batch.push(run_is(RunStatus::Failed));
    batch.push(stage_is("no such stage", StageStatus::Running));
    assert!(matches!(store.commit(&changes(&run, batch)), Err(StoreError::Broken { .. })));
    assert_eq!(store.run(&run).unwrap(), before);
    assert_eq!(store.checkpoints(&run).unwrap(), (Vec::new(), Vec::new()));
    assert!(store.items(&run, &stage("b")).unwrap().is_empty());
    assert!(store.objects().unwrap().is_empty());
    assert!(store.lock(&run, &branch("main")).unwrap().is_some());
    // The version was not used up, either.
    assert_eq!(commit(store, &run, done("a"))[1], Some(cp("a@1")));
}

fn several_runs_share_a_batch(store: &mut dyn Store) {
    let (one, two) = (begin(store, &new_run(&["a"])), begin(store, &new_run(&["a"])));
    let both: Vec<_> = changes(&one, done("a")).into_iter().chain(changes(&two, done("a"))).collect();
    let made = store.commit(&both).unwrap();
    assert_eq!(made, [None, Some(cp("a@1")), None, None, Some(cp("a@1")), None]);

    // One that was taken over is named, so that the others can go on without it.
    store.take_over(&two, "pid 2").unwrap();
    let both: Vec<_> = changes(&one, vec![run_is(RunStatus::Succeeded)])
        .into_iter()
        .chain(changes(&two, vec![run_is(RunStatus::Succeeded)]))
        .collect();
    let Err(StoreError::Fenced { run }) = store.commit(&both) else { panic!("not fenced") };
    assert_eq!(run, two);
    let rest: Vec<_> = both.into_iter().filter(|change| change.run != run).collect();
    store.commit(&rest).unwrap();
    assert_eq!(store.run(&one).unwrap().unwrap().record.status, RunStatus::Succeeded);
    assert_eq!(store.run(&two).unwrap().unwrap().record.status, RunStatus::Running);
    assert!(store.commit(&[]).unwrap().is_empty());
}

fn unknown_things_are_refused(store: &mut dyn Store) {
    let run = begin(store, &new_run(&["a"]));
    let nobody = RunId::trusted("video-9");
    let broken = |result: Result<(), StoreError>, names: &str| match result {
        Err(StoreError::Broken { act, .. }) => assert!(act.contains(names), "{act}"),
        other => panic!("{other:?}"),
    };
    broken(store.commit(&changes(&nobody, done("a"))).map(drop), "video-9");
    broken(store.take_over(&nobody, "pid 2").map(drop), "video-9");
    broken(store.add_checkpoint(&nobody, &nobody, &new_checkpoint("a"), &[]).map(drop), "video-9");
    let adopt = What::Adopt { stage: stage("a"), checkpoint: cp("a@4") };
    broken(store.commit(&changes(&run, vec![adopt])).map(drop), "a@4");
    broken(store.begin(&retry_of(&run, &nobody, &["a@4"], &[])).map(drop), "a@4");
    let fork = Branch {
        branch_name: branch("wild"),
        forked_from: Some(cp("a@4")),
        created_at: at(1),
        created_by: None,
    };
    broken(store.add_branch(&run, &fork).map(drop), "a@4");
    for what in [
        What::Attempt { stage: stage("z"), attempt: attempt(1) },
        What::Item { stage: stage("z"), item: item(0), all: 1 },
        What::Reset { stage: stage("z"), reason: Reason::Rejected, feedback: None },
        What::Checkpoint { stage: stage("z"), new: Box::new(new_checkpoint("z")) },
    ] {
        assert!(matches!(store.commit(&changes(&run, vec![what])), Err(StoreError::Broken { .. })));
    }
    assert_eq!(store.delete(std::slice::from_ref(&nobody), true).unwrap(), []);
    assert_eq!(store.checkpoint(&run, &cp("a@1")).unwrap(), None);
    assert_eq!(store.branches(&nobody).unwrap(), []);
    assert_eq!(begin(store, &new_run(&[])).as_str(), "video-2", "what was refused took no number");
}

fn versions_count_by_lineage(store: &mut dyn Store) {
    let root = failed_run(store);
    let retry = begin(store, &retry_of(&root, &root, &["a@1"], &["b"]));
    assert_eq!(commit(store, &retry, done("b"))[1], Some(cp("b@1")));
    let wild = NewRun { branch: branch("wild"), ..retry_of(&root, &root, &[], &["a", "b"]) };
    let wild = begin(store, &wild);
    assert_eq!(commit(store, &wild, done("a"))[1], Some(cp("a@2")));
    assert_eq!(store.add_checkpoint(&root, &root, &new_checkpoint("a"), &[]).unwrap(), cp("a@3"));
    let other = begin(store, &new_run(&["a"]));
    assert_eq!(commit(store, &other, done("a"))[1], Some(cp("a@1")));

    let (all, bad) = store.checkpoints(&root).unwrap();
    let told: Vec<_> =
        all.iter().map(|one| format!("{} {} {}", one.id, one.run_id, one.root_run_id)).collect();
    assert_eq!(
        told,
        ["a@1 video-1 video-1", "b@1 video-2 video-1", "a@2 video-3 video-1", "a@3 video-1 video-1"]
    );
    assert_eq!(bad, [] as [String; 0]);
}

fn a_stage_is_done_with_all_it_left(store: &mut dyn Store) {
    let run = begin(store, &new_run(&["a", "b"]));
    let new = NewCheckpoint {
        parent: Some(cp("b@7")),
        status: StageStatus::Degraded,
        approval: Approval::Pending,
        recipe: None,
        created_by: Some("anna".into()),
        edited_from: Some(cp("a@1")),
        approved_by: Some("ben".into()),
        approved_at: Some(at(30)),
        note: Some("so\nso".into()),
        ..new_checkpoint("a")
    };
    let made = What::Checkpoint { stage: stage("a"), new: Box::new(new.clone()) };
    let backoff = What::Stage {
        stage: stage("b"),
        status: StageStatus::Backoff,
        reason: None,
        error: Some("exit 1 (will retry 2 more times)".into()),
        started_at: Some(at(5)),
        ended_at: None,
        retry_at: Some(at(50)),
    };
    commit(store, &run, vec![made, stage_is("a", StageStatus::Degraded), backoff]);
    let checkpoint = store.checkpoint(&run, &cp("a@1")).unwrap().unwrap();
    assert_eq!((checkpoint.status, checkpoint.approval), (new.status, new.approval));
    assert_eq!((&checkpoint.hash, &checkpoint.recipe, &checkpoint.input), (&new.hash, &None, &new.input));
    assert_eq!((&checkpoint.outputs, &checkpoint.artifacts), (&new.outputs, &new.artifacts));
    assert_eq!((checkpoint.created_at, &checkpoint.created_by), (new.created_at, &new.created_by));
    assert_eq!((&checkpoint.parent, &checkpoint.edited_from), (&new.parent, &new.edited_from));
    assert_eq!((&checkpoint.approved_by, checkpoint.approved_at), (&new.approved_by, new.approved_at));
    assert_eq!((&checkpoint.note, &checkpoint.branch), (&new.note, &new.branch));

    let stored = store.run(&run).unwrap().unwrap();
    let [a, b] = stored.stages() else { panic!("{:?}", stored.stages()) };
    assert_eq!((a.outputs.as_ref(), &a.artifacts), (Some(&new.outputs), &new.artifacts));
    let named = CheckpointRef {
        id: cp("a@1"),
        parent: new.parent,
        version: 1,
        branch: branch("main"),
        approval: Approval::Pending,
    };
    assert_eq!(
        (a.checkpoint.as_ref(), a.status, a.ended_at),
        (Some(&named), StageStatus::Degraded, Some(at(7)))
    );
    assert_eq!((b.status, b.reason, b.retry_at), (StageStatus::Backoff, None, Some(at(50))));
    assert_eq!(b.error.as_deref(), Some("exit 1 (will retry 2 more times)"));
    // What is not said again is not there any more.
    let running = What::Stage {
        stage: stage("b"),
        status: StageStatus::Running,
        reason: None,
        error: None,
        started_at: None,
        ended_at: None,
        retry_at: None,
    };
    commit(store, &run, vec![running]);
    let b = store.run(&run).unwrap().unwrap().stages()[1].clone();
    assert_eq!((b.error, b.started_at, b.retry_at), (None, None, None));
}

fn attempts_are_replaced_and_costs_summed_up(store: &mut dyn Store) {
    let run = begin(store, &new_run(&["a", "b"]));
    let begun = AttemptRecord {
        verdict: None,
        exit_code: None,
        ended_at: None,
        cpu_seconds: None,
        peak_rss_bytes: None,
        ..attempt(1)
    };
    let failed = AttemptRecord {
        verdict: Some(Verdict::Signal),
        exit_code: None,
        signal: Some(9),
        error: Some("signal 9 (will retry 1 more time)".into()),
        cost: Some(0.5),
        blameless: true,
        ..attempt(1)
    };
    let told = |attempt: &AttemptRecord| What::Attempt { stage: stage("a"), attempt: attempt.clone() };
    commit(store, &run, vec![told(&begun)]);
    assert_eq!(store.run(&run).unwrap().unwrap().stages()[0].attempts, [begun]);
    assert_eq!(store.run(&run).unwrap().unwrap().record.cost, None);
    commit(store, &run, vec![told(&failed)]);
    commit(store, &run, vec![told(&failed), told(&attempt(2))]);
    // Another item's attempts are others.
    let of_item = AttemptRecord { item: Some(1), cost: Some(0.25), ..attempt(1) };
    commit(store, &run, vec![What::Attempt { stage: stage("b"), attempt: of_item.clone() }]);
    let of_first = AttemptRecord { item: Some(0), ..attempt(1) };
    commit(store, &run, vec![What::Attempt { stage: stage("b"), attempt: of_first.clone() }]);
    let stored = store.run(&run).unwrap().unwrap();
    assert_eq!(stored.stages()[0].attempts, [failed, attempt(2)]);
    assert_eq!(stored.stages()[1].attempts, [of_first, of_item]);
    assert_eq!(stored.record.cost, Some(0.75));
    assert_eq!(store.runs(&RunFilter::default()).unwrap()[0].cost, Some(0.75));
}

fn items_are_kept_until_the_stage_is_reset(store: &mut dyn Store) {
    let run = begin(store, &new_run(&["a"]));
    let told = |item: ItemRecord| What::Item { stage: stage("a"), item, all: 4 };
    commit(store, &run, vec![told(item(2)), told(item(0))]);
    let another = ItemRecord { status: StageStatus::Degraded, artifacts: vec![], ..item(2) };
    commit(store, &run, vec![told(another.clone())]);
    assert_eq!(store.items(&run, &stage("a")).unwrap(), [item(0), another]);
    assert_eq!(store.items(&run, &stage("b")).unwrap(), []);
    assert_eq!(store.run(&run).unwrap().unwrap().stages()[0].items, Some(ItemCount { done: 2, all: 4 }));

    commit(store, &run, done("a"));
    let reset =
        What::Reset { stage: stage("a"), reason: Reason::Rejected, feedback: Some("not so dark".into()) };
    commit(store, &run, vec![reset]);
    let after = store.run(&run).unwrap().unwrap().stages()[0].clone();
    assert_eq!((after.status, after.decision), (StageStatus::Pending, Decision::Execute));
    assert_eq!((after.reason, after.feedback.as_deref()), (Some(Reason::Rejected), Some("not so dark")));
    assert_eq!((after.checkpoint, after.items, after.outputs, after.error), (None, None, None, None));
    assert_eq!((after.started_at, after.ended_at, after.artifacts), (None, None, vec![]));
    assert_eq!(after.attempts, [attempt(1)]);
    assert_eq!(store.items(&run, &stage("a")).unwrap(), []);
    // The checkpoint itself remains.
    assert!(store.checkpoint(&run, &cp("a@1")).unwrap().is_some());
}

fn a_stage_adopts_an_edit(store: &mut dyn Store) {
    let run = begin(store, &new_run(&["a", "b"]));
    commit(store, &run, done("a"));
    let edit = NewCheckpoint {
        outputs: map(&[("text", "\"better\"")]),
        artifacts: vec![],
        approval: Approval::Pending,
        edited_from: Some(cp("a@1")),
        created_by: Some("anna".into()),
        ..new_checkpoint("a")
    };
    assert_eq!(store.add_checkpoint(&run, &run, &edit, &[]).unwrap(), cp("a@2"));
    // Nobody uses it before somebody says so.
    let named = |store: &mut dyn Store| {
        let a = store.run(&run).unwrap().unwrap().stages()[0].clone();
        let named = a.checkpoint.unwrap();
        (named.id, named.approval, a.outputs.unwrap(), a.artifacts)
    };
    assert_eq!(named(store).0, cp("a@1"));
    commit(store, &run, vec![What::Adopt { stage: stage("a"), checkpoint: cp("a@2") }]);
    assert_eq!(named(store), (cp("a@2"), Approval::Pending, edit.outputs.clone(), vec![]));
    // Made and adopted at once; or neither, where somebody else writes the run.
    let epoch = store.take_over(&run, "pid 2").unwrap();
    let stale = Adopter { run: run.clone(), epoch: epoch - 1, also: Vec::new() };
    let refused = store.add_checkpoint(&run, &run, &edit, &[stale]);
    assert!(matches!(refused, Err(StoreError::Fenced { .. })), "{refused:?}");
    assert_eq!(store.checkpoint(&run, &cp("a@3")).unwrap(), None);
    let holder = Adopter { run: run.clone(), epoch, also: Vec::new() };
    assert_eq!(store.add_checkpoint(&run, &run, &edit, &[holder]).unwrap(), cp("a@3"));
    assert_eq!(named(store).0, cp("a@3"));
}

fn what_is_left_of_its_time_and_that_nobody_is_asked_is_kept(store: &mut dyn Store) {
    let run = begin(store, &new_run(&["a"]));
    let kept = |store: &mut dyn Store| {
        let stored = store.run(&run).unwrap().unwrap();
        (stored.record.deadline, stored.time_left, stored.approve_all)
    };
    assert_eq!(kept(store), (Some(at(3600)), None, false));
    let left = Some(Duration::from_millis(1500));
    commit(store, &run, vec![What::Limit { deadline: None, left }, What::AskNobody]);
    assert_eq!(kept(store), (None, left, true));
    commit(store, &run, vec![What::Limit { deadline: Some(at(9)), left: None }]);
    assert_eq!(kept(store), (Some(at(9)), None, true));
}

fn approval_is_bound_to_the_bytes(store: &mut dyn Store) {
    let run = begin(store, &new_run(&["a"]));
    let pending = NewCheckpoint { approval: Approval::Pending, ..new_checkpoint("a") };
    commit(store, &run, vec![What::Checkpoint { stage: stage("a"), new: Box::new(pending) }]);
    let yes = judgement("a@1", "a", Approval::Pending, Approval::Approved);
    let before = store.checkpoint(&run, &cp("a@1")).unwrap();
    for wrong in [
        judgement("a@1", "other bytes", Approval::Pending, Approval::Approved),
        judgement("a@1", "a", Approval::Rejected, Approval::Approved),
        judgement("a@2", "a", Approval::Pending, Approval::Approved),
    ] {
        assert!(!store.judge(&run, &wrong).unwrap(), "{wrong:?}");
    }
    assert!(!store.judge(&RunId::trusted("video-9"), &yes).unwrap());
    assert_eq!(store.checkpoint(&run, &cp("a@1")).unwrap(), before);
    assert!(store.judge(&run, &yes).unwrap());
    assert!(!store.judge(&run, &yes).unwrap(), "twice");
    let after = store.checkpoint(&run, &cp("a@1")).unwrap().unwrap();
    assert_eq!((after.approval, after.approved_by.as_deref()), (Approval::Approved, Some("anna")));
    assert_eq!((after.approved_at, after.note.as_deref()), (Some(at(20)), Some("good")));
    assert_eq!(after.rewind_to, None);
    assert_eq!(
        store.run(&run).unwrap().unwrap().stages()[0].checkpoint.as_ref().map(|one| one.approval),
        Some(Approval::Approved)
    );
}

fn judging_is_part_of_a_batch(store: &mut dyn Store) {
    let run = begin(store, &new_run(&["a", "b"]));
    let pending = NewCheckpoint { approval: Approval::Pending, ..new_checkpoint("a") };
    commit(store, &run, vec![What::Checkpoint { stage: stage("a"), new: Box::new(pending) }]);
    let stale = judgement("a@1", "other bytes", Approval::Pending, Approval::Approved);
    let batch = vec![stage_is("b", StageStatus::Running), What::Judge(stale)];
    match store.commit(&changes(&run, batch)) {
        Err(StoreError::Stale { checkpoint }) => assert_eq!(checkpoint, cp("a@1")),
        other => panic!("{other:?}"),
    }
    assert_eq!(store.run(&run).unwrap().unwrap().stages()[1].status, StageStatus::Pending);
    let no = judgement("a@1", "a", Approval::Pending, Approval::Rejected);
    commit(store, &run, vec![What::Judge(no)]);
    assert_eq!(store.checkpoint(&run, &cp("a@1")).unwrap().unwrap().approval, Approval::Rejected);
}

fn branches_have_one_name_each(store: &mut dyn Store) {
    let run = failed_run(store);
    let main = Branch { branch_name: branch("main"), forked_from: None, created_at: at(0), created_by: None };
    assert_eq!(store.branches(&run).unwrap(), std::slice::from_ref(&main));
    let wild = Branch {
        branch_name: branch("wild"),
        forked_from: Some(cp("a@1")),
        created_at: at(40),
        created_by: Some("anna".into()),
    };
    let calm = Branch { branch_name: branch("calm"), ..wild.clone() };
    assert!(store.add_branch(&run, &wild).unwrap());
    assert!(store.add_branch(&run, &calm).unwrap());
    assert!(!store.add_branch(&run, &Branch { created_at: at(41), ..wild.clone() }).unwrap());
    assert!(!store.add_branch(&run, &main).unwrap());
    assert_eq!(store.branches(&run).unwrap(), [main, wild.clone(), calm]);
    // Another lineage has its own.
    let other = failed_run(store);
    assert!(store.add_branch(&other, &wild).unwrap());
}

fn runs_are_listed_newest_first(store: &mut dyn Store) {
    for number in 0..5 {
        begin(store, &NewRun { created_at: at(number), ..new_run(&["a"]) });
    }
    let list = |store: &mut dyn Store, limit| -> Vec<u64> {
        let runs = store.runs(&RunFilter { limit, ..RunFilter::default() }).unwrap();
        assert!(runs.iter().all(|run| run.stages.is_none() && run.inputs == new_run(&[]).inputs));
        runs.iter().map(|run| run.run_number).collect()
    };
    assert_eq!(list(store, None), [5, 4, 3, 2, 1]);
    assert_eq!(list(store, Some(2)), [5, 4]);
    assert_eq!(list(store, Some(0)), [] as [u64; 0]);
    assert_eq!(list(store, Some(99)).len(), 5);
}

fn runs_are_filtered(store: &mut dyn Store) {
    let root = failed_run(store);
    let audio = NewRun { flow: FlowName::trusted("audio"), created_at: at(100), ..new_run(&["a"]) };
    let audio = begin(store, &audio);
    let retry = begin(store, &NewRun { created_at: at(200), ..retry_of(&root, &root, &["a@1"], &["b"]) });
    let list = |store: &mut dyn Store, filter: RunFilter| -> Vec<RunId> {
        store.runs(&filter).unwrap().into_iter().map(|run| run.run_id).collect()
    };
    let all = RunFilter::default();
    let video = Some(FlowName::trusted("video"));
    assert_eq!(list(store, RunFilter { flow: video.clone(), ..all.clone() }), [retry.clone(), root.clone()]);
    let status = |words: &[RunStatus]| RunFilter { status: words.into(), ..all.clone() };
    assert_eq!(list(store, status(&[RunStatus::Running])), [retry.clone(), audio.clone()]);
    assert_eq!(list(store, status(&[RunStatus::Failed, RunStatus::Running])).len(), 3);
    assert_eq!(list(store, status(&[RunStatus::Queued])), []);
    assert_eq!(
        list(store, RunFilter { since: Some(at(100)), ..all.clone() }),
        [retry.clone(), audio.clone()]
    );
    assert_eq!(
        list(store, RunFilter { root: Some(root.clone()), ..all.clone() }),
        [retry.clone(), root.clone()]
    );
    let every = RunFilter {
        flow: video,
        status: vec![RunStatus::Failed],
        since: Some(at(0)),
        search: Some("video".into()),
        root: Some(root.clone()),
        limit: Some(1),
    };
    assert_eq!(list(store, every.clone()), [root]);
    assert_eq!(list(store, RunFilter { since: Some(at(1)), ..every }), []);
}

fn runs_are_searched(store: &mut dyn Store) {
    let run = |store: &mut dyn Store, question: &str| {
        let inputs = JsonMap::from([
            ("question".to_owned(), Json::string(question)),
            ("deep".to_owned(), Json::parse("{\"list\": [1, \"needle\"]}").unwrap()),
        ]);
        begin(store, &NewRun { inputs, ..new_run(&["a", "b"]) })
    };
    let one = run(store, "Was ist das \"Ding\" an sich?");
    let two = run(store, "100% of under_scores\\");
    let three = run(store, "plain");
    let found = |store: &mut dyn Store, text: &str, limit: Option<u32>| -> Vec<RunId> {
        let filter = RunFilter { search: Some(text.into()), limit, ..RunFilter::default() };
        store.runs(&filter).unwrap().into_iter().map(|run| run.run_id).collect()
    };
    let (one, two, three) = (&one, &two, &three);
    let mut is = |text: &str, expected: &[&RunId]| {
        assert_eq!(found(store, text, None).iter().collect::<Vec<_>>(), expected, "{text}");
    };
    is("ist das", &[one]);
    is("IST DAS", &[one]);
    is("das \"Ding\"", &[one]);
    is("video-2", &[two]);
    is("deo-", &[three, two, one]);
    is("question=plain", &[three]);
    is("needle", &[three, two, one]);
    is("[1,\"need", &[three, two, one]);
    is("das AND plain", &[]);
    is("nothing like it", &[]);
    is("h?", &[one]);
    is("%", &[two]);
    is("0%", &[two]);
    is("_", &[two]);
    is("\\", &[two]);
    is("z", &[]);
    is("", &[three, two, one]);
    // The error is searched, too; a run is found once, and one that is gone is not found.
    commit(store, two, vec![run_is(RunStatus::Failed)]);
    commit(store, three, vec![run_is(RunStatus::Failed)]);
    assert_eq!(found(store, "b failed: EXIT", None), [three.clone(), two.clone()]);
    assert_eq!(found(store, "e", None), [three.clone(), two.clone(), one.clone()]);
    assert_eq!(found(store, "e", Some(2)), [three.clone(), two.clone()]);
    store.delete(std::slice::from_ref(three), false).unwrap();
    assert_eq!(found(store, "b failed", None), std::slice::from_ref(two));
    // An error that is over is not found any more.
    let waiting = What::Run {
        status: RunStatus::Waiting,
        error: Some("storyboard is to be looked at".into()),
        started_at: None,
        ended_at: None,
        duration_seconds: None,
    };
    commit(store, one, vec![waiting]);
    assert_eq!(found(store, "looked at", None), std::slice::from_ref(one));
    commit(store, one, vec![run_is(RunStatus::Running)]);
    assert_eq!(found(store, "looked at", None), []);
}

fn unfinished_runs_are_the_oldest_first(store: &mut dyn Store) {
    let statuses = [RunStatus::Running, RunStatus::Queued, RunStatus::Waiting, RunStatus::Running];
    let runs: Vec<_> =
        statuses.iter().map(|status| begin(store, &NewRun { status: *status, ..new_run(&["a"]) })).collect();
    assert_eq!(store.unfinished().unwrap(), runs);
    commit(store, &runs[0], vec![run_is(RunStatus::Succeeded)]);
    commit(store, &runs[2], vec![run_is(RunStatus::Interrupted)]);
    assert_eq!(store.unfinished().unwrap(), [runs[1].clone(), runs[3].clone()]);
}

fn a_command_after_a_run_is_open_until_its_end_is_written(store: &mut dyn Store) {
    let [one, two] = [(); 2].map(|()| begin(store, &new_run(&["a"])));
    commit(store, &two, vec![run_is(RunStatus::Failed), What::Hook(Hook::OnFailure)]);
    commit(store, &one, vec![run_is(RunStatus::Succeeded), What::Hook(Hook::OnSuccess)]);
    assert_eq!(store.open_hooks().unwrap(), [one.clone(), two.clone()]);
    let hook_of = |store: &mut dyn Store, run| store.run(run).unwrap().unwrap().record.hook;
    assert_eq!(hook_of(store, &two), Some(HookRecord::of(Hook::OnFailure)));
    let again = HookRecord { number: 2, ..HookRecord::of(Hook::OnFailure) };
    store.set_hook(&two, &again).unwrap();
    assert_eq!(store.open_hooks().unwrap(), [one.clone(), two.clone()]);
    let ended = HookRecord {
        verdict: Some(Verdict::Exit),
        exit_code: Some(3),
        error: Some("exit 3".into()),
        started_at: Some(at(7)),
        ended_at: Some(at(8)),
        log: Some("on_failure_2.log".into()),
        ..again
    };
    store.set_hook(&two, &ended).unwrap();
    assert_eq!(store.open_hooks().unwrap(), std::slice::from_ref(&one));
    assert_eq!(hook_of(store, &two), Some(ended.clone()));
    let listed = store.runs(&RunFilter::default()).unwrap();
    assert_eq!((&listed[0].hook, &listed[1].hook), (&Some(ended), &Some(HookRecord::of(Hook::OnSuccess))));
    store.delete(std::slice::from_ref(&one), false).unwrap();
    assert_eq!(store.open_hooks().unwrap(), []);
}

fn retries_of_a_checkpoint_are_told(store: &mut dyn Store) {
    let root = failed_run(store);
    let of = |store: &mut dyn Store, id: &str| store.retries_of(&root, &BranchName::main(), &cp(id)).unwrap();
    assert_eq!(of(store, "a@1"), []);
    let mut expected = Vec::new();
    for _ in 0..2 {
        let retry = begin(store, &retry_of(&root, &root, &["a@1"], &["b"]));
        commit(store, &retry, vec![run_is(RunStatus::Failed)]);
        expected.push(retry);
        assert_eq!(of(store, "a@1"), expected);
    }
    // One that goes on from it is no retry.
    let onward = NewRun { trigger: Trigger::Continue, ..retry_of(&root, &root, &["a@1"], &["b"]) };
    let onward = begin(store, &onward);
    commit(store, &onward, vec![run_is(RunStatus::Failed)]);
    assert_eq!(of(store, "a@1"), expected);
    assert_eq!(of(store, "b@1"), []);
    // Nor is one on another branch a retry on this one.
    let draft = BranchName::trusted("draft");
    let there = begin(store, &NewRun { branch: draft.clone(), ..retry_of(&root, &root, &["a@1"], &["b"]) });
    assert_eq!(store.retries_of(&root, &draft, &cp("a@1")).unwrap(), [there]);
    assert_eq!(of(store, "a@1"), expected);
}

fn the_status_of_a_stage_is_told(store: &mut dyn Store) {
    let root = failed_run(store);
    for (run, name, status) in [
        (&root, "a", Some(StageStatus::Succeeded)),
        (&root, "nowhere", None),
        (&RunId::trusted("nobody-1"), "a", None),
    ] {
        assert_eq!(store.stage_status(run, &stage(name)).unwrap(), status, "{name}");
    }
}

fn what_a_stage_was_made_by_is_kept_with_its_run(store: &mut dyn Store) {
    let run = begin(store, &new_run(&["a", "b"]));
    assert_eq!(store.recipe_of(&run, &stage("a")).unwrap(), None);
    for (file, content) in [("draw.py", "one"), ("it's \"odd\"", "two")] {
        let files = BTreeMap::from([(file.to_owned(), hash(content))]);
        let recipe = RecipeRecord { hash: hash(file), files };
        commit(store, &run, vec![What::Recipe { stage: stage("a"), recipe: recipe.clone() }]);
        assert_eq!(store.recipe_of(&run, &stage("a")).unwrap(), Some(recipe));
    }
    assert_eq!(store.recipe_of(&run, &stage("b")).unwrap(), None);
    commit(store, &run, vec![run_is(RunStatus::Failed)]);
    store.delete(std::slice::from_ref(&run), false).unwrap();
    assert_eq!(store.recipe_of(&run, &stage("a")).unwrap(), None);
}

fn objects_are_listed_once(store: &mut dyn Store) {
    let run = begin(store, &new_run(&["a", "b"]));
    commit(store, &run, done("a"));
    commit(store, &run, vec![What::Item { stage: stage("b"), item: item(3), all: 9 }]);
    commit(store, &run, done("b"));
    let mut expected = vec![hash("one"), hash("two"), hash("part 3")];
    expected.sort();
    assert_eq!(store.objects().unwrap(), expected);
}

fn history_is_counted(store: &mut dyn Store) {
    assert_eq!(store.stats(None).unwrap(), crate::ports::store::Stats::default());
    let root = failed_run(store);
    let retry = begin(store, &retry_of(&root, &root, &["a@1"], &["b"]));
    let lost = AttemptRecord { error: Some("exit 1".into()), ..attempt(1) };
    let mut story = vec![What::Attempt { stage: stage("b"), attempt: lost }];
    story.extend(done("b").into_iter().skip(1));
    story.push(What::Attempt { stage: stage("b"), attempt: attempt(2) });
    story.push(run_is(RunStatus::Degraded));
    commit(store, &retry, story);
    let audio = begin(store, &NewRun { flow: FlowName::trusted("audio"), ..new_run(&["mix"]) });
    commit(store, &audio, vec![stage_is("mix", StageStatus::Failed), run_is(RunStatus::Failed)]);
    let again = begin(store, &retry_of(&root, &root, &["a@1"], &["b"]));
    let last = What::Stage {
        stage: stage("b"),
        status: StageStatus::Failed,
        reason: None,
        error: Some("the newest".into()),
        started_at: None,
        ended_at: None,
        retry_at: None,
    };
    commit(store, &again, vec![last, run_is(RunStatus::Failed)]);

    let all = store.stats(None).unwrap();
    assert_eq!((all.runs, all.succeeded, all.failed), (4, 1, 3));
    assert_eq!((all.retries, all.retries_succeeded), (2, 1));
    assert!((all.seconds_lost - 2.0).abs() < 1e-9, "{}", all.seconds_lost);
    let failing = |flow: &str, name: &str, failures, error: &str| FailingStage {
        flow: FlowName::trusted(flow),
        stage: stage(name),
        failures,
        last_error: Some(error.into()),
    };
    let of_video = failing("video", "b", 2, "the newest");
    assert_eq!(all.failing, [of_video.clone(), failing("audio", "mix", 1, "exit 1: Connection refused")]);
    assert_eq!(all.recovered_after, [1, 1]);
    let video = store.stats(Some(&FlowName::trusted("video"))).unwrap();
    assert_eq!((video.runs, video.failing), (3, vec![of_video]));
}

fn what_is_reused_is_not_deleted(store: &mut dyn Store) {
    let root = failed_run(store);
    let retry = begin(store, &retry_of(&root, &root, &["a@1"], &["b"]));
    commit(store, &retry, done("b"));
    commit(store, &retry, vec![run_is(RunStatus::Failed)]);
    // It uses the root only by way of the first retry.
    let again = begin(store, &retry_of(&retry, &root, &["b@1"], &["a"]));
    commit(store, &again, vec![run_is(RunStatus::Failed)]);
    let alone = failed_run(store);
    match store.delete(std::slice::from_ref(&root), false) {
        Err(StoreError::Reused { run, by }) => assert_eq!((run, by), (root.clone(), vec![retry.clone()])),
        other => panic!("{other:?}"),
    }
    assert!(store.run(&root).unwrap().is_some());
    // What nobody builds on may go.
    assert_eq!(store.delete(std::slice::from_ref(&again), false).unwrap(), std::slice::from_ref(&again));
    let again = begin(store, &retry_of(&retry, &root, &["b@1"], &["a"]));
    commit(store, &again, vec![run_is(RunStatus::Failed)]);
    assert_eq!(store.delete(std::slice::from_ref(&root), true).unwrap(), [root.clone(), retry, again]);
    let left: Vec<_> = store.runs(&RunFilter::default()).unwrap().into_iter().map(|run| run.run_id).collect();
    assert_eq!(left, [alone]);
}

fn what_is_under_way_is_not_deleted(store: &mut dyn Store) {
    let root = failed_run(store);
    let retry = begin(store, &retry_of(&root, &root, &["a@1"], &["b"]));
    for run in [&retry, &root] {
        match store.delete(std::slice::from_ref(run), true) {
            Err(StoreError::Broken { cause, .. }) => {
                assert_eq!(cause, "video-2 is running; cancel it first");
            }
            other => panic!("{other:?}"),
        }
    }
    commit(store, &retry, vec![run_is(RunStatus::Interrupted)]);
    assert_eq!(store.delete(std::slice::from_ref(&root), true).unwrap(), [root, retry]);
}

fn nothing_remains_of_what_was_deleted(store: &mut dyn Store) {
    let root = failed_run(store);
    let fork = Branch {
        branch_name: branch("wild"),
        forked_from: Some(cp("a@1")),
        created_at: at(1),
        created_by: None,
    };
    store.add_branch(&root, &fork).unwrap();
    let retry = begin(store, &retry_of(&root, &root, &[], &["a", "b"]));
    commit(store, &retry, done("a"));
    commit(store, &retry, vec![run_is(RunStatus::Failed)]);
    store.delete(std::slice::from_ref(&retry), false).unwrap();
    assert_eq!(store.checkpoint(&root, &cp("a@2")).unwrap(), None);
    // Its version is not given to anything else.
    assert_eq!(store.add_checkpoint(&root, &root, &new_checkpoint("a"), &[]).unwrap(), cp("a@3"));

    store.delete(std::slice::from_ref(&root), false).unwrap();
    assert_eq!(store.run(&root).unwrap(), None);
    assert_eq!(store.checkpoints(&root).unwrap(), (vec![], vec![]));
    assert_eq!(store.branches(&root).unwrap(), []);
    assert_eq!(store.objects().unwrap(), []);
    assert_eq!(store.definition(&hash("definition")).unwrap(), None);
    assert_eq!(store.runs(&RunFilter::default()).unwrap(), []);
}

fn large_values_come_back(store: &mut dyn Store) {
    let long = format!("\"{}\"", "a long tale, ".repeat(20_000));
    let big = map(&[("tale", &long), ("small", "1")]);
    let new = NewRun { inputs: big.clone(), definition: long.clone(), ..new_run(&["a"]) };
    let run = begin(store, &new);
    let checkpoint = NewCheckpoint { outputs: big.clone(), ..new_checkpoint("a") };
    let item = ItemRecord { outputs: big.clone(), ..item(0) };
    commit(
        store,
        &run,
        vec![
            What::Checkpoint { stage: stage("a"), new: Box::new(checkpoint) },
            What::Item { stage: stage("a"), item: item.clone(), all: 1 },
        ],
    );
    let stored = store.run(&run).unwrap().unwrap();
    assert_eq!(stored.record.inputs, big);
    assert_eq!(stored.stages()[0].outputs.as_ref(), Some(&big));
    assert_eq!(store.checkpoint(&run, &cp("a@1")).unwrap().unwrap().outputs, big);
    assert_eq!(store.items(&run, &stage("a")).unwrap(), [item]);
    assert_eq!(store.definition(&new.def_hash).unwrap(), Some(long));
}

fn too_large_values_are_refused(store: &mut dyn Store) {
    let part = Json::string(&"x".repeat(1 << 20));
    let big: JsonMap = (0..MAX_STATE_BYTES >> 20).map(|n| (format!("part {n}"), part.clone())).collect();
    let refused = |result: Result<(), StoreError>| {
        let error = result.unwrap_err();
        assert!(matches!(error, StoreError::Broken { .. }));
        assert!(error.to_string().contains("64 MiB is the most"), "{error}");
    };
    refused(store.begin(&NewRun { inputs: big.clone(), ..new_run(&["a"]) }).map(drop));
    let run = begin(store, &new_run(&["a"]));
    let checkpoint = Box::new(NewCheckpoint { outputs: big.clone(), ..new_checkpoint("a") });
    let made = What::Checkpoint { stage: stage("a"), new: checkpoint };
    refused(store.commit(&changes(&run, vec![stage_is("a", StageStatus::Succeeded), made])).map(drop));
    let item = ItemRecord { outputs: big, ..item(0) };
    refused(store.commit(&changes(&run, vec![What::Item { stage: stage("a"), item, all: 1 }])).map(drop));
    assert_eq!(store.run(&run).unwrap().unwrap().stages()[0].status, StageStatus::Pending);
}
