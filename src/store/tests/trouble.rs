//! A disk without room, and writers in one another's way.

use std::sync::{Arc, Barrier};

use rusqlite::Connection;

use super::file::Disk;
use super::*;
use crate::ports::store::StoreError;
use crate::store::memory::MemoryStore;
use crate::store::sqlite::SqliteStore;

/// Commits until it is refused, then again when there is room.
fn fill(store: &mut SqliteStore, make_room: impl FnOnce(&mut SqliteStore)) {
    let run = begin(store, &new_run(&["a", "b"]));
    commit(store, &run, done("b"));
    let outputs = |number: u32| {
        // Nothing that could be compressed.
        let text: String = (0..200).map(|part| Hash::of([format!("{number} {part}")]).to_string()).collect();
        JsonMap::from([("text".to_owned(), Json::string(&text))])
    };
    let what = |number: u32| {
        let new = Box::new(NewCheckpoint { outputs: outputs(number), ..new_checkpoint("a") });
        vec![
            What::Attempt { stage: stage("a"), attempt: attempt(number) },
            What::Checkpoint { stage: stage("a"), new },
        ]
    };
    let mut done = 0;
    let refused = loop {
        match store.commit(&changes(&run, what(done + 1))) {
            Ok(_) => done += 1,
            Err(error) => break error,
        }
        assert!(done < 5000, "the disk is not full");
    };
    assert!(done > 0);
    let StoreError::Later { cause, .. } = refused else { panic!("{refused:?}") };
    assert_eq!(cause, "the disk is full");
    let is_there = |store: &mut SqliteStore, done: u32| {
        let stored = store.run(&run).unwrap().unwrap();
        assert_eq!(stored.stages()[0].attempts.len(), done as usize);
        assert_eq!(stored.stages()[0].checkpoint.as_ref().unwrap().version, done);
        assert_eq!(store.checkpoints(&run).unwrap().0.len(), done as usize + 1);
        let last = store.checkpoint(&run, &cp(&format!("a@{done}"))).unwrap().unwrap();
        assert_eq!(last.outputs, outputs(done));
    };
    is_there(store, done);
    // It stays refused, and harms nothing.
    assert!(matches!(store.commit(&changes(&run, what(done + 1))), Err(StoreError::Later { .. })));
    is_there(store, done);
    make_room(store);
    store.commit(&changes(&run, what(done + 1))).unwrap();
    is_there(store, done + 1);
}

#[test]
fn a_full_disk_is_told_and_loses_nothing() {
    let Some(disk) = Disk::new("1m") else { return };
    let filler = disk.0.path().join("filler");
    std::fs::write(&filler, vec![0; 256 << 10]).unwrap();
    let path = disk.0.path().join("history.db");
    let mut store = SqliteStore::open(&path).unwrap();
    fill(&mut store, |_| std::fs::remove_file(&filler).unwrap());
    drop(store);
    SqliteStore::open(&path).unwrap();
}

/// The same where no disk can be made: the file may not grow.
#[test]
fn a_file_that_may_not_grow_is_a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(&dir.path().join("history.db")).unwrap();
    store.limit_pages(120);
    fill(&mut store, |store| store.limit_pages(10_000));
}

#[test]
fn a_disk_without_any_room_is_told_at_the_start() {
    let Some(disk) = Disk::new("64k") else { return };
    std::fs::write(disk.0.path().join("filler"), vec![0; 60 << 10]).unwrap();
    match SqliteStore::open(&disk.0.path().join("history.db")) {
        Err(StoreError::Later { act, cause }) => {
            assert!(act.contains("history.db"), "{act}");
            assert_eq!(cause, "the disk is full");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn memory_can_be_full_and_is_shared() {
    let mut store = MemoryStore::new();
    let mut other = store.clone();
    let run = begin(&mut store, &new_run(&["a"]));
    store.set_full(true);
    assert!(matches!(other.commit(&changes(&run, done("a"))), Err(StoreError::Later { .. })));
    assert!(store.checkpoint(&run, &cp("a@1")).unwrap().is_none());
    other.set_full(false);
    commit(&mut other, &run, done("a"));
    assert!(store.checkpoint(&run, &cp("a@1")).unwrap().is_some());
}

/// Whoever holds the file as a writer is waited for.
#[test]
fn writers_take_turns() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    let root = failed_run(&mut SqliteStore::open(&path).unwrap());
    let (writers, start) = (8, Arc::new(Barrier::new(8)));
    let threads: Vec<_> = (0..writers)
        .map(|_| {
            let (path, root, start) = (path.clone(), root.clone(), start.clone());
            std::thread::spawn(move || {
                let mut store = SqliteStore::open(&path).unwrap();
                start.wait();
                let begun = store.begin(&retry_of(&root, &root, &["a@1"], &["b"])).unwrap();
                let keyed = NewRun { key: Some("once".into()), ..new_run(&["a"]) };
                (begun, store.begin(&keyed).unwrap())
            })
        })
        .collect();
    let answers: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let retries = answers.iter().filter(|(begun, _)| matches!(begun, Begun::New { .. })).count();
    let held = answers.iter().filter(|(begun, _)| matches!(begun, Begun::Held(_))).count();
    assert_eq!((retries, held), (1, writers - 1), "{answers:?}");
    let keyed = answers.iter().filter(|(_, begun)| matches!(begun, Begun::New { .. })).count();
    assert_eq!(keyed, 1, "{answers:?}");
}

#[test]
fn a_writer_that_does_not_end_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    let mut store = SqliteStore::open(&path).unwrap();
    store.wait_at_most(std::time::Duration::from_millis(20));
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    match store.begin(&new_run(&["a"])) {
        Err(StoreError::Later { act, cause }) => {
            assert_eq!(act, "begin a run of video");
            assert!(cause.contains("another process"), "{cause}");
        }
        refused => panic!("{refused:?}"),
    }
    other.execute_batch("COMMIT").unwrap();
    begin(&mut store, &new_run(&["a"]));
}
