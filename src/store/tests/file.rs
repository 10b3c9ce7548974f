//! The SQLite file itself: who may see it, which versions there are, and who reads it beside the writer.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::domain::flow::record::RunFilter;
use crate::ports::store::StoreError;
use crate::store::sqlite::{KNOWN, SqliteStore, first_version};

struct Place {
    dir: TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(".restage/history.db");
    Place { dir, path }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

#[test]
fn what_is_written_is_private_and_there_afterwards() {
    let Place { dir: _dir, path } = place();
    let mut store = SqliteStore::open(&path).unwrap();
    let run = failed_run(&mut store);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for end in ["", "-wal", "-shm"] {
        assert_eq!(mode(&beside(&path, end)), 0o600, "{end}");
    }
    let before = store.run(&run).unwrap();
    drop(store);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut store = SqliteStore::open(&path).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(store.run(&run).unwrap(), before);
}

/// What a process that was killed leaves: the file and its log as they are at that moment.
#[test]
fn what_was_committed_survives_the_writer() {
    let Place { dir, path } = place();
    let mut store = SqliteStore::open(&path).unwrap();
    let run = failed_run(&mut store);
    let copy = dir.path().join("copy.db");
    for end in ["", "-wal"] {
        fs::copy(beside(&path, end), beside(&copy, end)).unwrap();
    }
    assert_eq!(SqliteStore::open(&copy).unwrap().run(&run).unwrap(), store.run(&run).unwrap());
}

#[test]
fn a_quiet_moment_empties_the_log() {
    let Place { dir, path } = place();
    let mut store = SqliteStore::open(&path).unwrap();
    let run = failed_run(&mut store);
    store.maintain();
    // The file has it all by itself now.
    let copy = dir.path().join("copy.db");
    fs::copy(&path, &copy).unwrap();
    assert_eq!(SqliteStore::open(&copy).unwrap().run(&run).unwrap(), store.run(&run).unwrap());
}

#[test]
fn the_last_call_leaves_no_long_log_behind_though_somebody_reads() {
    let Place { dir: _dir, path } = place();
    let mut store = SqliteStore::open(&path).unwrap();
    let long =
        NewRun { inputs: map(&[("text", &format!("{:?}", "x".repeat(100 << 10)))]), ..new_run(&["a"]) };
    for _ in 0..12 {
        begin(&mut store, &long);
    }
    let log = || fs::metadata(beside(&path, "-wal")).map_or(0, |log| log.len());
    let mut reader = SqliteStore::open_read(&path).unwrap().unwrap();
    let known = |store: &mut SqliteStore| store.runs(&RunFilter::default()).unwrap().len();
    assert_eq!(known(&mut reader), 12);
    assert!(log() > 1 << 20, "{}", log());
    store.close();
    assert_eq!(log(), 0);
    drop(store);
    assert_eq!(known(&mut reader), 12);
}

#[test]
fn nothing_is_begun_that_nobody_would_find() {
    let Place { dir: _dir, path } = place();
    let mut store = SqliteStore::open(&path).unwrap();
    begin(&mut store, &new_run(&["a"]));
    fs::remove_file(&path).unwrap();
    for _ in 0..2 {
        let refused = store.begin(&new_run(&["a"])).unwrap_err().to_string();
        assert!(refused.contains("was deleted or replaced while it was in use"), "{refused}");
        fs::write(&path, "").unwrap();
    }
}

#[test]
fn a_store_of_the_first_version_is_brought_up_to_date() {
    let Place { dir: _dir, path } = place();
    make_first_version(&path);
    let mut store = SqliteStore::open(&path).unwrap();
    let run = store.run(&RunId::trusted("video-7")).unwrap().unwrap();
    assert_eq!(run.record.inputs, map(&[("question", "\"Why not?\"")]));
    assert_eq!((run.stages()[0].status, run.epoch), (StageStatus::Failed, 3));
    for text in ["why not", "boom", "video-7"] {
        let filter = RunFilter { search: Some(text.into()), ..RunFilter::default() };
        assert_eq!(store.runs(&filter).unwrap().len(), 1, "{text}");
    }
    assert_eq!(run.record.idempotency_key.as_deref(), Some("monday"));
    assert_eq!(store.run_of_key(&run.record.flow, "monday").unwrap(), Some(run.record.run_id));
    assert_eq!(begin(&mut store, &new_run(&["a"])).as_str(), "video-8");
    assert_eq!(version(&path), KNOWN);
    drop(store);
    drop(SqliteStore::open(&path).unwrap());
    assert_eq!(version(&path), KNOWN);
}

/// A reader that comes first after an update.
#[test]
fn a_reader_brings_an_old_store_up_to_date() {
    let Place { dir: _dir, path } = place();
    make_first_version(&path);
    let mut store = SqliteStore::open_read(&path).unwrap().unwrap();
    let filter = RunFilter { search: Some("boom".into()), ..RunFilter::default() };
    assert_eq!(store.runs(&filter).unwrap().len(), 1);
}

fn make_first_version(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let old = Connection::open(path).unwrap();
    old.execute_batch(first_version()).unwrap();
    old.execute_batch(
        "PRAGMA user_version = 1;
         INSERT INTO definitions VALUES (1, 'hash', '{}', NULL);
         INSERT INTO numbers VALUES ('video', 7);
         INSERT INTO runs (id, run_id, number, flow, definition, status, cause, root, retry_depth, branch, created_at,
             approve_all, epoch, holder, error, key)
             VALUES (5, 'video-7', 7, 'video', 1, 'failed', 'manual', 'video-7', 0, 'main', 1, 0, 3, 'pid 1', 'Boom!', 'monday');
         INSERT INTO inputs VALUES (5, '{\"question\":\"Why not?\"}', NULL);
         INSERT INTO stages (run, name, ord, status, decision) VALUES (5, 'a', 0, 'failed', 'execute');",
    )
    .unwrap();
}

fn version(path: &Path) -> i64 {
    let connection = Connection::open(path).unwrap();
    connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

#[test]
fn a_store_of_a_newer_version_is_refused() {
    let Place { dir: _dir, path } = place();
    drop(SqliteStore::open(&path).unwrap());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    for result in [SqliteStore::open(&path).map(drop), SqliteStore::open_read(&path).map(drop)] {
        match result {
            Err(StoreError::Newer { found: 99, known: 1..99, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(version(&path), 99);
}

#[test]
fn what_is_no_store_is_told_and_left_alone() {
    let Place { dir, path } = place();
    let text = dir.path().join("text.db");
    fs::write(
        &text,
        "what somebody wrote there, long enough to be looked at as if it were a head".repeat(20),
    )
    .unwrap();
    let other = dir.path().join("other.db");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE notes (id)").unwrap();
    let another = dir.path().join("another.db");
    let versioned = "PRAGMA user_version = 1; PRAGMA application_id = 7; CREATE TABLE runs (id)";
    Connection::open(&another).unwrap().execute_batch(versioned).unwrap();
    for (path, says) in
        [(&text, "no database of restage"), (&other, "another program"), (&another, "another program")]
    {
        let before = fs::read(path).unwrap();
        for result in [SqliteStore::open(path).map(drop), SqliteStore::open_read(path).map(drop)] {
            let error = result.unwrap_err();
            assert!(matches!(error, StoreError::Broken { .. }));
            let told = error.to_string();
            assert!(told.contains(says) && told.contains(&path.display().to_string()), "{told}");
        }
        assert_eq!(fs::read(path).unwrap(), before);
    }
    // Neither is a folder, or a link to who knows where.
    fs::create_dir_all(&path).unwrap();
    assert!(SqliteStore::open(&path).is_err());
    let link = dir.path().join("link.db");
    std::os::unix::fs::symlink(&other, &link).unwrap();
    assert!(SqliteStore::open(&link).unwrap_err().to_string().contains("no ordinary file"));
}

#[test]
fn a_damaged_file_is_told_and_left_alone() {
    let Place { dir: _dir, path } = place();
    let mut store = SqliteStore::open(&path).unwrap();
    let run = failed_run(&mut store);
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    // All that follows the first page, which says that it is one of ours.
    bytes[4096..].fill(0xa5);
    fs::write(&path, &bytes).unwrap();
    let told = match SqliteStore::open(&path) {
        Ok(mut store) => store.run(&run).unwrap_err(),
        Err(error) => error,
    };
    assert!(told.to_string().contains("it is damaged"), "{told}");
    assert!(told.to_string().contains("move it away"), "{told}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_reader_sees_what_is_committed_beside_the_writer() {
    let Place { dir: _dir, path } = place();
    assert!(SqliteStore::open_read(&path).unwrap().is_none());
    let mut writer = SqliteStore::open(&path).unwrap();
    let mut reader = SqliteStore::open_read(&path).unwrap().unwrap();
    for expected in 1..=3 {
        failed_run(&mut writer);
        assert_eq!(reader.runs(&RunFilter::default()).unwrap().len(), expected);
    }
    let refused = reader.begin(&new_run(&["a"])).unwrap_err();
    assert!(matches!(refused, StoreError::Broken { .. }), "{refused}");
}

#[test]
fn a_reader_reads_after_the_writer_is_gone() {
    let Place { dir: _dir, path } = place();
    let mut writer = SqliteStore::open(&path).unwrap();
    let run = failed_run(&mut writer);
    let before = writer.run(&run).unwrap();
    drop(writer);
    assert!(!beside(&path, "-wal").exists());
    assert_eq!(SqliteStore::open_read(&path).unwrap().unwrap().run(&run).unwrap(), before);
    // An empty file is one that somebody is about to write.
    let empty = path.with_file_name("empty.db");
    fs::write(&empty, "").unwrap();
    assert!(SqliteStore::open_read(&empty).unwrap().is_none());
}

/// A file system of its own, where we may mount one.
pub(super) struct Disk(pub(super) TempDir);

impl Disk {
    pub(super) fn new(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(
            Some("none"),
            dir.path(),
            Some("tmpfs"),
            flags,
            Some(format!("size={size}").as_str()),
        )
        .ok()?;
        Some(Self(dir))
    }

    fn read_only(&self) {
        let flags = nix::mount::MsFlags::MS_REMOUNT | nix::mount::MsFlags::MS_RDONLY;
        nix::mount::mount(None::<&str>, self.0.path(), None::<&str>, flags, None::<&str>).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        nix::mount::umount2(self.0.path(), nix::mount::MntFlags::MNT_DETACH).unwrap();
    }
}

#[test]
fn a_reader_needs_not_to_write_into_the_folder() {
    let Some(disk) = Disk::new("8m") else { return };
    let path = disk.0.path().join("with % odd?name#.db");
    let mut writer = SqliteStore::open(&path).unwrap();
    let run = failed_run(&mut writer);
    let before = writer.run(&run).unwrap();
    // What a crash leaves there and cannot be read without writing is not passed over in silence.
    let crashed = disk.0.path().join("crashed.db");
    for end in ["", "-wal"] {
        fs::copy(beside(&path, end), beside(&crashed, end)).unwrap();
    }
    drop(writer);
    disk.read_only();
    assert_eq!(SqliteStore::open_read(&path).unwrap().unwrap().run(&run).unwrap(), before);
    let refused = SqliteStore::open_read(&crashed).map(drop).unwrap_err();
    assert!(refused.to_string().contains("copy the folder"), "{refused}");
    assert!(SqliteStore::open(&path).is_err());
}

#[test]
fn a_checkpoint_that_cannot_be_read_hides_no_other() {
    let Place { dir: _dir, path } = place();
    let mut store = SqliteStore::open(&path).unwrap();
    let run = begin(&mut store, &new_run(&["a", "b", "c", "d"]));
    let long = NewCheckpoint {
        outputs: map(&[("tale", &format!("\"{}\"", "a long tale ".repeat(900)))]),
        ..new_checkpoint("d")
    };
    for name in ["a", "b", "c"] {
        commit(&mut store, &run, done(name));
    }
    commit(&mut store, &run, vec![What::Checkpoint { stage: stage("d"), new: Box::new(long) }]);
    let damage = Connection::open(&path).unwrap();
    damage
        .execute_batch(
            "UPDATE checkpoints SET outputs = '{\"text\":' WHERE stage = 'a';
         UPDATE checkpoints SET status = 'no word of ours' WHERE stage = 'c';",
        )
        .unwrap();
    let mut packed: Vec<u8> =
        damage.query_row("SELECT outputs FROM checkpoints WHERE stage = 'd'", [], |row| row.get(0)).unwrap();
    let middle = packed.len() / 2;
    packed[middle] ^= 1;
    damage.execute("UPDATE checkpoints SET outputs = ? WHERE stage = 'd'", [packed]).unwrap();

    let (good, bad) = store.checkpoints(&run).unwrap();
    assert_eq!(good.iter().map(|one| one.id.to_string()).collect::<Vec<_>>(), ["b@1"]);
    let starts: Vec<_> = bad.iter().filter_map(|told| told.split(' ').next()).collect();
    assert_eq!(starts, ["a@1", "c@1", "d@1"], "{bad:?}");
    for name in ["a@1", "c@1", "d@1"] {
        let told = store.checkpoint(&run, &cp(name)).unwrap_err().to_string();
        assert!(told.starts_with(&format!("read {name} of video-1: ")), "{told}");
    }
    // The run shows what it can.
    let stored = store.run(&run).unwrap().unwrap();
    let shown: Vec<_> = stored.stages().iter().map(|stage| stage.outputs.is_some()).collect();
    assert_eq!(shown, [false, true, true, false]);
    damage.execute("UPDATE inputs SET value = '{'", []).unwrap();
    let unreadable = store.run(&run).unwrap().unwrap().unreadable.unwrap();
    assert!(unreadable.starts_with("run video-1: value: "), "{unreadable}");
    assert_eq!(store.runs(&RunFilter::default()).unwrap().len(), 1);
}

#[test]
fn what_happens_to_a_run_costs_the_same_however_large_it_is() {
    let written = |stages: usize| {
        let Place { dir: _dir, path } = place();
        let mut store = SqliteStore::open(&path).unwrap();
        let names: Vec<String> = (0..stages).map(|number| format!("stage-{number:05}")).collect();
        let long = map(&[("tale", &format!("\"{}\"", "x".repeat(stages * 1000)))]);
        let new = NewRun { inputs: long, ..new_run(&names.iter().map(String::as_str).collect::<Vec<_>>()) };
        let run = begin(&mut store, &new);
        for name in names.iter().step_by(19) {
            commit(&mut store, &run, done(name));
        }
        let size = || fs::metadata(beside(&path, "-wal")).unwrap().len();
        let before = size();
        commit(&mut store, &run, done(&names[stages / 2]));
        commit(&mut store, &run, vec![run_is(RunStatus::Waiting)]);
        size() - before
    };
    let (small, large) = (written(20), written(2000));
    assert!(small > 4096, "the log was not looked at: {small}");
    // A tree of pages may have become one page deeper.
    assert!(large < small * 2, "{small} bytes in a small run, {large} in a large one");
}

#[test]
fn a_history_from_elsewhere_is_imported_in_one_go() {
    let Place { dir: _dir, path } = place();
    let mut store = SqliteStore::open(&path).unwrap();
    let mut story = done("a");
    story.push(run_is(RunStatus::Succeeded));
    let keyed = NewRun { key: Some("once".into()), ..new_run(&["a"]) };
    let runs = [(new_run(&["a"]), story.clone()), (keyed.clone(), vec![]), (keyed, vec![])];
    let names = store.import(&runs).unwrap();
    assert_eq!(names.iter().map(RunId::as_str).collect::<Vec<_>>(), ["video-1", "video-2", "video-2"]);
    let run = store.run(&names[0]).unwrap().unwrap();
    assert_eq!((run.record.status, run.stages()[0].status), (RunStatus::Succeeded, StageStatus::Succeeded));
    let bad = [(new_run(&["a"]), story), (new_run(&["a"]), done("z"))];
    assert!(store.import(&bad).is_err());
    assert_eq!(store.runs(&RunFilter::default()).unwrap().len(), 2);
}
