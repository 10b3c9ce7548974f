//! Approvals and branches.

use super::*;

contract!(approval_is_bound_to_the_bytes, judging_is_part_of_a_batch, branches_have_one_name_each,);

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
