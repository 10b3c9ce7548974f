//! What may be deleted, and what remains.

use super::*;

contract!(
    what_is_reused_is_not_deleted,
    what_is_under_way_is_not_deleted,
    nothing_remains_of_what_was_deleted,
);

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
        Err(StoreError::Reused { run, by, .. }) => assert_eq!((run, by), (root.clone(), vec![retry.clone()])),
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
            Err(StoreError::UnderWay { run, status }) => {
                assert_eq!((run.as_str(), status), ("video-2", RunStatus::Running));
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
