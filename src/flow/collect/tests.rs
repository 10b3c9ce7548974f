use std::fs::{File, FileTimes};
use std::time::{Duration, SystemTime};

use super::super::testing::{Place, key, tree};
use super::*;
use crate::domain::flow::ids::{BranchName, FlowName, StageName};
use crate::domain::flow::record::{AttemptRecord, ItemCount, StageRecord};
use crate::domain::flow::status::{Cause, Decision, RunStatus, StageStatus};

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 86_400;

/// Sets its time to so many seconds before now.
fn age(path: &Path, seconds: i64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(NOW - seconds).unwrap());
    File::open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_second(NOW - seconds).unwrap()
}

fn stage(name: &str, status: StageStatus, attempts: Vec<AttemptRecord>) -> StageRecord {
    StageRecord {
        name: StageName::trusted(name),
        order: 0,
        status,
        decision: Decision::Execute,
        reason: None,
        source_run_id: None,
        error: None,
        started_at: None,
        ended_at: None,
        outputs: None,
        artifacts: Vec::new(),
        checkpoint: None,
        attempts,
        retry_at: None,
        items: None,
        feedback: None,
    }
}

fn attempt(number: u32, item: Option<u32>, verdict: Verdict, days: i64) -> AttemptRecord {
    AttemptRecord {
        number,
        item,
        verdict: Some(verdict),
        exit_code: None,
        signal: None,
        error: (verdict != Verdict::Completed).then(|| "exit 1".into()),
        started_at: None,
        ended_at: Some(ago(days * DAY)),
        cpu_seconds: None,
        peak_rss_bytes: None,
        cost: None,
        log: None,
        blameless: false,
    }
}

fn run(name: &str, status: RunStatus, stages: Vec<StageRecord>) -> RunRecord {
    RunRecord {
        run_id: RunId::trusted(name),
        run_number: 1,
        flow: FlowName::trusted("video"),
        def_hash: Hash::of(["d"]),
        status,
        trigger: Cause::Manual,
        cause: Cause::Manual,
        inputs: crate::domain::json::JsonMap::new(),
        error: None,
        started_at: None,
        ended_at: None,
        duration_seconds: None,
        cost: None,
        parent_run_id: None,
        root_run_id: RunId::trusted(name),
        caller_run_id: None,
        retry_from_stage: None,
        retry_depth: 0,
        retry_number: None,
        idempotency_key: None,
        deadline: None,
        branch: BranchName::main(),
        created_at: ago(30 * DAY),
        left: false,
        held: None,
        hook: None,
        stages: Some(stages),
    }
}

fn collect(place: &Place, named: &[Hash], runs: &[RunRecord], dry_run: bool) -> Collected {
    let named = named.iter().cloned().collect();
    let collector = Collector {
        objects: &place.objects,
        dirs: &place.dirs,
        named: &named,
        now: ago(0),
        young: YOUNG,
        dry_run,
    };
    let known = |run: &RunId| {
        let found = runs.iter().find(|record| record.run_id == *run);
        Ok::<_, FileError>(found.map_or(Known::Gone, |record| Known::Run {
            record: Box::new(record.clone()),
            keep_failed: Duration::from_hours(168),
        }))
    };
    collector.collect(known).unwrap()
}

#[test]
fn objects_that_nobody_names_go_once_they_are_old() {
    let place = Place::new();
    let [named, old, young] = ["named", "old one", "young"].map(|bytes| place.import("x", bytes));
    let path = |artifact: &crate::domain::flow::record::Artifact| place.objects.path(&artifact.hash);
    age(&path(&named), 30 * DAY);
    age(&path(&old), 3601);
    age(&path(&young), 3599);
    // The first process there is lives; what it has is spared while it is young.
    let stale = place.write(".restage/objects/new/1-0", "half");
    let busy = place.write(".restage/objects/new/1-1", "half");
    let foreign = place.write(".restage/objects/ab/README", "mine");
    age(&stale, DAY);
    age(&busy, 10);
    age(&foreign, DAY);
    let before = tree(place.dir.path());
    let would = collect(&place, std::slice::from_ref(&named.hash), &[], true);
    assert_eq!(tree(place.dir.path()), before);
    let did = collect(&place, std::slice::from_ref(&named.hash), &[], false);
    assert_eq!(did, would);
    assert_eq!((did.files, did.bytes), (2, 7 + 4));
    let mut paths = vec![path(&old), stale.clone()];
    paths.sort();
    assert_eq!(did.paths, paths);
    assert!(!path(&old).exists() && !stale.exists());
    assert!(path(&named).exists() && path(&young).exists() && busy.exists() && foreign.exists());
    place.objects.verify(&named).unwrap();
}

/// Whoever finds it there is about to name it.
#[test]
fn an_old_object_that_is_brought_in_again_is_young_again() {
    let place = Place::new();
    let artifact = place.import("x", "bytes");
    let path = place.objects.path(&artifact.hash);
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    File::open(&path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
    place.import("x", "bytes");
    let modified = path.metadata().unwrap().modified().unwrap();
    assert!(modified.duration_since(time).unwrap() > Duration::from_hours(24));
}

#[test]
fn folders_of_attempts_go_when_nobody_goes_back_to_them() {
    use StageStatus::{Failed, Succeeded};
    use Verdict::{Completed, Exit};
    let place = Place::new();
    let items = StageRecord {
        items: Some(ItemCount { done: 1, all: 2 }),
        ..stage("fan", Failed, vec![attempt(1, Some(0), Completed, 1), attempt(2, Some(1), Exit, 8)])
    };
    let mut unsettled = attempt(1, None, Completed, 1);
    unsettled.error = Some("the output lacks \"a\"".into());
    let ended = run(
        "video-12",
        RunStatus::Failed,
        vec![
            stage("good", Succeeded, vec![attempt(1, None, Exit, 1), attempt(2, None, Completed, 1)]),
            stage("odd", StageStatus::Degraded, vec![attempt(1, None, Exit, 1)]),
            stage("bad", Failed, vec![attempt(1, None, Exit, 8), attempt(2, None, Exit, 6)]),
            stage("unsettled", Failed, vec![unsettled]),
            stage("never", StageStatus::Cancelled, Vec::new()),
            items,
        ],
    );
    let in_run = |run: &str, key: AttemptKey| AttemptKey { run: RunId::trusted(run), ..key };
    let item = |item, number| AttemptKey { item: Some(item), ..key("fan", number) };
    let (goes, stays) = (
        [key("good", 2), key("odd", 1), key("bad", 1), key("never", 1), item(0, 1), item(1, 2)],
        [key("good", 1), key("bad", 2), key("unsettled", 1), key("never", 2), item(1, 3)],
    );
    let live = in_run("live-1", key("bad", 1));
    let (gone, recent) = (in_run("gone-1", key("bad", 1)), in_run("recent-1", key("bad", 1)));
    for key in goes.iter().chain(&stays).chain([&live, &gone, &recent]) {
        place.prepare(key);
        std::fs::write(place.dirs.path(key).join("artifacts/part"), "12345").unwrap();
    }
    place.write(".restage/runs/video-12/logs/bad_1.log", "log");
    place.write(".restage/runs/gone-1/logs/bad_1.log", "log");
    age(&place.dirs.path(&key("never", 1)), DAY);
    age(&place.dirs.path(&key("never", 2)), 10);
    age(&place.dirs.path(&item(1, 3)), 10);
    let left = place.write(".restage/runs/.done/4711-0/output", "left");
    age(&place.path(".restage/runs/gone-1"), DAY);
    age(&place.path(".restage/runs/recent-1"), 10);
    // Somebody died at the birth of the one; the other is just being born.
    let [unborn, newborn] = ["1", "2"].map(|name| place.path(".restage/runs/.born").join(name));
    for path in [&unborn, &newborn] {
        fs::create_dir_all(path).unwrap();
    }
    age(&unborn, DAY);
    age(&newborn, 10);
    let runs = [
        ended,
        run("live-1", RunStatus::Interrupted, vec![stage("bad", Failed, vec![attempt(1, None, Exit, 30)])]),
    ];

    let before = tree(place.dir.path());
    let would = collect(&place, &[], &runs, true);
    assert_eq!(tree(place.dir.path()), before);
    let did = collect(&place, &[], &runs, false);
    assert_eq!(did, would);
    let mut paths: Vec<PathBuf> = goes.iter().map(|key| place.dirs.path(key)).collect();
    paths.push(place.path(".restage/runs/gone-1"));
    paths.push(left.parent().unwrap().to_owned());
    paths.push(unborn);
    paths.sort();
    assert_eq!(did.paths, paths);
    assert!(newborn.exists());
    // Each holds its state and a file; of the run that was deleted, its log goes, too.
    assert_eq!((did.files, did.bytes), (2 * 7 + 2, 7 * 7 + 3 + 4));
    for path in &paths {
        assert!(!path.exists(), "{}", path.display());
    }
    for key in stays.iter().chain([&live, &recent]) {
        assert!(place.dirs.path(key).join("artifacts/part").exists(), "{key:?}");
    }
    assert!(place.path(".restage/runs/video-12/logs/bad_1.log").exists());
    assert_eq!(collect(&place, &[], &runs, false), Collected::default());
}

#[test]
fn a_run_that_left_nothing_leaves_no_folder_and_an_empty_workspace_is_fine() {
    let place = Place::new();
    assert_eq!(collect(&place, &[], &[], false), Collected::default());
    place.prepare(&key("good", 1));
    let stages = vec![stage("good", StageStatus::Succeeded, vec![attempt(1, None, Verdict::Completed, 0)])];
    let runs = [run("video-12", RunStatus::Succeeded, stages)];
    assert_eq!(collect(&place, &[], &runs, false).paths, [place.dirs.path(&key("good", 1))]);
    assert_eq!(tree(&place.path(".restage/runs")), [".born/", ".empty/"]);
}

#[test]
fn links_in_the_place_of_folders_are_not_gone_through() {
    let place = Place::new();
    let precious = place.write("outside/1/precious", "x");
    std::fs::create_dir_all(place.path(".restage/runs/video-12")).unwrap();
    let bad = place.path(".restage/runs/video-12/bad_1");
    std::os::unix::fs::symlink(place.path("outside/1"), &bad).unwrap();
    std::os::unix::fs::symlink(place.path("outside"), place.path(".restage/runs/gone-1")).unwrap();
    let stages = vec![stage("bad", StageStatus::Failed, vec![attempt(1, None, Verdict::Exit, 30)])];
    let runs = [run("video-12", RunStatus::Failed, stages)];
    let (named, known) = (HashSet::new(), |_: &RunId| {
        Ok::<_, FileError>(Known::Run { record: Box::new(runs[0].clone()), keep_failed: Duration::ZERO })
    });
    let (objects, dirs) = (&place.objects, &place.dirs);
    let collector = Collector { objects, dirs, named: &named, now: ago(0), young: YOUNG, dry_run: false };
    assert_eq!(collector.collect(known).unwrap().paths, std::slice::from_ref(&bad));
    assert!(precious.exists() && bad.symlink_metadata().is_err());
}

#[test]
fn what_a_dead_process_was_bringing_in_goes_however_young_it_is() {
    let place = Place::new();
    let folder = place.objects.root().join(UNNAMED);
    fs::create_dir_all(&folder).unwrap();
    for name in ["4294967295-1", "1-1"] {
        fs::write(folder.join(name), "torn").unwrap();
        age(&folder.join(name), 1);
    }
    let collected = collect(&place, &[], &[], false);
    assert_eq!((collected.files, collected.paths), (1, vec![folder.join("4294967295-1")]));
    assert!(folder.join("1-1").exists());
}

#[test]
fn what_is_gone_already_is_deleted() {
    let place = Place::new();
    let one = place.import("x", "one");
    fs::remove_file(place.objects.path(&one.hash)).unwrap();
    let collector = Collector {
        objects: &place.objects,
        dirs: &place.dirs,
        named: &HashSet::new(),
        now: ago(0),
        young: YOUNG,
        dry_run: false,
    };
    assert_eq!(collector.deleted(&[], &[one.hash]).unwrap().files, 0);
}
