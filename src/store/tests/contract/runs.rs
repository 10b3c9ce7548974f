//! Runs: numbers, keys, locks, epochs, batches.

use super::*;

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
    assert_eq!((record.status, record.cause), (RunStatus::Running, Cause::Manual));
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
