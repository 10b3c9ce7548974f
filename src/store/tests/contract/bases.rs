//! What a branch leaves from goes only with it.

use super::*;

contract!(
    the_base_of_a_branch_goes_only_with_it,
    an_edit_on_a_branch_that_has_not_run_is_not_lost_with_the_run_of_its_base,
    a_branch_goes_with_the_runs_on_it,
);

fn fork_at(store: &mut dyn Store, root: &RunId, name: &str, at_checkpoint: &str) {
    let fork = Branch {
        branch_name: branch(name),
        forked_from: Some(cp(at_checkpoint)),
        created_at: at(1),
        created_by: None,
    };
    assert!(store.add_branch(root, &fork).unwrap());
}

fn names(store: &mut dyn Store, root: &RunId) -> Vec<String> {
    store.branches(root).unwrap().into_iter().map(|one| one.branch_name.to_string()).collect()
}

/// A run, and a retry of it that reuses nothing.
fn two_runs(store: &mut dyn Store) -> (RunId, RunId) {
    let root = failed_run(store);
    let retry = begin(store, &retry_of(&root, &root, &[], &["a", "b"]));
    commit(store, &retry, done("a"));
    commit(store, &retry, vec![run_is(RunStatus::Failed)]);
    (root, retry)
}

fn is_refused(store: &mut dyn Store, run: &RunId, wanted: &[&str]) {
    match store.delete(std::slice::from_ref(run), false) {
        Err(StoreError::Reused { run: of, branches, .. }) => {
            let branches: Vec<_> = branches.iter().map(ToString::to_string).collect();
            assert_eq!(
                (&of, branches.iter().map(String::as_str).collect::<Vec<_>>()),
                (run, wanted.to_vec())
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(store.run(run).unwrap().is_some());
}

fn the_base_of_a_branch_goes_only_with_it(store: &mut dyn Store) {
    let (root, retry) = two_runs(store);
    fork_at(store, &root, "night", "a@1");
    fork_at(store, &root, "day", "a@2");
    is_refused(store, &root, &["night"]);
    assert_eq!(store.delete(std::slice::from_ref(&root), true).unwrap(), std::slice::from_ref(&root));
    assert_eq!(names(store, &root), ["main", "day"]);
    // With the last run of a lineage nothing remains that could build on it.
    assert_eq!(store.delete(std::slice::from_ref(&retry), false).unwrap(), [retry]);

    let (root, retry) = two_runs(store);
    fork_at(store, &root, "night", "a@1");
    let both = [root.clone(), retry];
    assert_eq!(store.delete(&both, false).unwrap(), both);
    assert_eq!(names(store, &root), Vec::<String>::new());
}

fn an_edit_on_a_branch_that_has_not_run_is_not_lost_with_the_run_of_its_base(store: &mut dyn Store) {
    let (root, retry) = two_runs(store);
    // It leaves from one run, and what was edited there belongs to the other.
    fork_at(store, &root, "night", "a@2");
    let edit = NewCheckpoint { branch: branch("night"), ..new_checkpoint("b") };
    assert_eq!(store.add_checkpoint(&root, &root, &edit, &[]).unwrap(), cp("b@1"));
    is_refused(store, &root, &["night"]);
    is_refused(store, &retry, &["night"]);
    store.delete(std::slice::from_ref(&root), true).unwrap();
    assert_eq!(names(store, &root), ["main"]);
}

fn a_branch_goes_with_the_runs_on_it(store: &mut dyn Store) {
    let (root, other) = two_runs(store);
    fork_at(store, &root, "night", "a@1");
    let new = NewRun { branch: branch("night"), ..retry_of(&root, &root, &[], &["a", "b"]) };
    let there = begin(store, &new);
    commit(store, &there, vec![run_is(RunStatus::Failed)]);
    is_refused(store, &root, &["night"]);
    // Nothing builds on what runs on a branch of its own.
    let new = NewRun { branch: branch("night"), ..retry_of(&there, &root, &[], &["a", "b"]) };
    let second = begin(store, &new);
    commit(store, &second, vec![run_is(RunStatus::Failed)]);
    assert_eq!(store.delete(std::slice::from_ref(&second), false).unwrap(), [second]);
    assert_eq!(store.delete(std::slice::from_ref(&root), true).unwrap(), [root.clone(), there]);
    assert_eq!((names(store, &root), store.run(&other).unwrap().is_some()), (vec!["main".to_owned()], true));
}
