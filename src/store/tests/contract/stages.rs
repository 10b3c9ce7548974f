//! Stages: what they left, attempts, items, adoptions, recipes.

use super::*;

contract!(
    versions_count_by_lineage,
    a_stage_is_done_with_all_it_left,
    attempts_are_replaced_and_costs_summed_up,
    items_are_kept_until_the_stage_is_reset,
    a_stage_adopts_an_edit,
    what_is_left_of_its_time_and_that_nobody_is_asked_is_kept,
    a_command_after_a_run_is_open_until_its_end_is_written,
    retries_of_a_checkpoint_are_told,
    the_status_of_a_stage_is_told,
    what_a_stage_was_made_by_is_kept_with_its_run,
);

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
    let onward = NewRun { cause: Cause::Continue, ..retry_of(&root, &root, &["a@1"], &["b"]) };
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
