//! Which retry of its lineage a run is, and what began that.

use rusqlite::Connection;

use super::*;
use crate::domain::flow::record::{RunFilter, RunRecord};
use crate::store::memory::MemoryStore;
use crate::store::sqlite::{SqliteStore, first_version};

fn of_each<T>(store: &mut dyn Store, what: impl Fn(RunRecord) -> T) -> Vec<T> {
    let mut runs = store.runs(&RunFilter::default()).unwrap();
    runs.sort_by_key(|run| run.run_number);
    runs.into_iter().map(what).collect()
}

fn numbers(store: &mut dyn Store) -> Vec<Option<u32>> {
    of_each(store, |run| run.retry_number)
}

fn counted(store: &mut dyn Store) {
    let begin = |store: &mut dyn Store, new: &NewRun| match store.begin(new).unwrap() {
        Begun::New { run, .. } => run,
        other @ (Begun::Existing(_) | Begun::Held(_)) => panic!("{other:?}"),
    };
    let queued = |new: NewRun| NewRun { status: RunStatus::Queued, ..new };
    let root = begin(store, &new_run(&["a"]));
    let first = begin(store, &queued(retry_of(&root, &root, &[], &["a"])));
    begin(store, &queued(NewRun { cause: Cause::Continue, ..retry_of(&first, &root, &[], &["a"]) }));
    // Of a run, or of one of its retries: what counts is the order of time.
    begin(store, &queued(retry_of(&root, &root, &[], &["a"])));
    begin(store, &queued(retry_of(&first, &root, &[], &["a"])));
    let other = begin(store, &queued(new_run(&["a"])));
    begin(store, &queued(retry_of(&other, &other, &[], &["a"])));
    assert_eq!(numbers(store), [None, Some(1), None, Some(2), Some(3), None, Some(1)]);
    assert_eq!(store.run(&first).unwrap().unwrap().record.retry_number, Some(1));
}

#[test]
fn retries_are_counted_over_their_lineage_in_order_of_time() {
    let dir = tempfile::tempdir().unwrap();
    counted(&mut SqliteStore::open(&dir.path().join("history.db")).unwrap());
    counted(&mut MemoryStore::default());
}

#[test]
fn the_retries_of_an_older_store_get_their_numbers_and_triggers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(first_version()).unwrap();
    old.execute_batch("PRAGMA user_version = 1; INSERT INTO definitions VALUES (1, 'hash', '{}', NULL);")
        .unwrap();
    for (id, cause, root) in [
        (1, "manual", 1),
        (2, "retry", 1),
        (3, "flow", 3),
        (4, "retry", 3),
        (5, "continue", 1),
        (6, "retry", 1),
    ] {
        old.execute_batch(&format!(
            "INSERT INTO runs (id, run_id, number, flow, definition, status, cause, root, retry_depth, branch, created_at,
                 approve_all, epoch, holder)
                 VALUES ({id}, 'video-{id}', {id}, 'video', 1, 'failed', '{cause}', 'video-{root}', 0, 'main', 1, 0, 1, 'pid 1');
             INSERT INTO inputs VALUES ({id}, '{{}}', NULL);"
        ))
        .unwrap();
    }
    drop(old);
    let mut store = SqliteStore::open(&path).unwrap();
    assert_eq!(numbers(&mut store), [None, Some(1), None, Some(1), None, Some(2)]);
    let triggers = of_each(&mut store, |run| run.trigger.to_string());
    assert_eq!(triggers, ["manual", "manual", "flow", "flow", "manual", "manual"]);
    // A supervisor of the version before goes on writing beside who has brought the store up to date.
    Connection::open(&path).unwrap().execute_batch("UPDATE runs SET begun_by = NULL").unwrap();
    let rows = of_each(&mut store, |run| (run.trigger == run.cause, run.error));
    assert_eq!(rows, vec![(true, None); 6]);
}
