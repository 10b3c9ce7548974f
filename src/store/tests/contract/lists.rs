//! Lists, searches and counts.

use super::*;

contract!(
    runs_are_listed_newest_first,
    runs_are_filtered,
    runs_are_searched,
    unfinished_runs_are_the_oldest_first,
    objects_are_listed_once,
    history_is_counted,
);

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
    assert_eq!((all.recovered_after, all.recovered_at_retry), (vec![1], vec![1]));
    let video = store.stats(Some(&FlowName::trusted("video"))).unwrap();
    assert_eq!((video.runs, video.failing), (3, vec![of_video]));
}
