//! The state file as a whole: it destroys nothing that it cannot read, and takes nothing for what it is not.

mod full;
mod kill;

use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;

use tempfile::TempDir;

use super::*;
use crate::domain::runner::state::{EndingState, NextWord};
use crate::domain::time::Now;
use crate::domain::verdict::{Outcome, Verdict};
use crate::domain::view::RunnerStatus;

/// A clock that stands still until it is told.
#[derive(Debug, Default)]
struct Hands(Mutex<Duration>);

impl Hands {
    fn advance(&self, by: Duration) -> Mono {
        *self.0.lock().unwrap() += by;
        self.now().mono
    }
}

impl Clock for Hands {
    fn now(&self) -> Now {
        let since = *self.0.lock().unwrap();
        let nanos = u64::try_from(since.as_nanos()).unwrap();
        Now {
            mono: Mono::from_nanos(nanos),
            wall: Timestamp::from_second(1_800_000_000).unwrap()
                + jiff::SignedDuration::try_from(since).unwrap(),
        }
    }
}

fn owner(boot: &str) -> Owner {
    Owner {
        workspace: "/w".into(),
        identity: Identity { machine_id: "m".into(), boot_id: boot.into(), pid_ns: "p".into() },
        supervisor: Process { pid: 42, start: 7 },
    }
}

fn open_in(dir: &Path, boot: &str) -> (StateFile, Recovered) {
    StateFile::open(dir, owner(boot), Arc::new(Hands::default())).unwrap()
}

fn open(dir: &TempDir) -> (StateFile, Recovered) {
    open_in(dir.path(), "today")
}

fn state(name: &str, retry_count: u32) -> RunnerState {
    RunnerState { retry_count, ..RunnerState::new(RunnerName::trusted(name)) }
}

fn counts(recovered: &Recovered) -> Vec<(String, u32)> {
    recovered.states.iter().map(|s| (s.runner_id.to_string(), s.retry_count)).collect()
}

fn pairs(list: &[(&str, u32)]) -> Vec<(String, u32)> {
    list.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

/// Compacts now, and waits for it.
fn compact(file: &mut StateFile) {
    let due = file.due().unwrap();
    file.compact_if_due(due);
    file.join();
}

fn copy(from: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

#[test]
fn ends_and_beginnings() {
    let dir = tempfile::tempdir().unwrap();
    let (mut file, first) = open(&dir);
    assert_eq!((first.clean_end, first.same_boot, first.states.len()), (true, false, 0), "a first start");
    file.record(&state("a", 1)).unwrap();
    drop(file);

    let (mut file, after_a_kill) = open(&dir);
    assert_eq!((after_a_kill.clean_end, after_a_kill.same_boot), (false, true));
    assert!(after_a_kill.epoch > first.epoch);
    assert_eq!(counts(&after_a_kill), pairs(&[("a", 1)]));
    assert!(after_a_kill.notes.is_empty());
    file.finish().unwrap();
    drop(file);

    let (file, after_an_end) = open(&dir);
    assert!(after_an_end.clean_end && after_an_end.same_boot);
    assert!(after_an_end.epoch > after_a_kill.epoch);
    drop(file);
    assert!(!open(&dir).1.clean_end, "the one before did not finish, although it recorded nothing");

    let (mut file, _) = open(&dir);
    file.finish().unwrap();
    file.record(&state("a", 1)).unwrap();
    drop(file);
    assert!(!open(&dir).1.clean_end, "something was recorded after the end");
}

#[test]
fn everything_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("restage/abc");
    let (mut file, _) = open_in(&deep, "today");
    file.record(&state("a", 1)).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&deep), 0o700);
    assert_eq!(mode(&dir.path().join("restage")), 0o700);
    assert_eq!(names(&deep), ["runner_state.journal", "runner_state.json"]);
    for name in names(&deep) {
        assert_eq!(mode(&deep.join(&name)), 0o600, "{name}");
    }
}

#[test]
fn the_cost_of_a_record_does_not_grow_with_the_number_of_runners() {
    let dir = tempfile::tempdir().unwrap();
    let (mut file, _) = open(&dir);
    let journal = dir.path().join("runner_state.journal");
    let grows = |file: &mut StateFile, count| {
        let before = fs::metadata(&journal).unwrap().len();
        file.record(&state("agent", count)).unwrap();
        fs::metadata(&journal).unwrap().len() - before
    };
    let alone = grows(&mut file, 1);
    for number in 0..1000 {
        file.record(&state(&format!("other{number}"), 0)).unwrap();
    }
    let among_many = grows(&mut file, 2);
    // The number of the record has more digits by now.
    assert!(among_many <= alone + 4 && among_many < 500, "{alone} {among_many}");
    assert_eq!(grows(&mut file, 2), 0, "nothing changed");
    compact(&mut file);
    assert!(fs::metadata(&journal).unwrap().len() < 200);
    drop(file);
    assert_eq!(open(&dir).1.states.len(), 1001);
}

#[test]
fn a_snapshot_follows_a_change_after_a_while_and_large_ones_more_seldom() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(Hands::default());
    let (mut file, _) = StateFile::open(dir.path(), owner("today"), clock.clone()).unwrap();
    assert_eq!(file.due(), None);
    let start = clock.advance(Duration::from_secs(5));
    file.record(&state("a", 1)).unwrap();
    clock.advance(Duration::from_millis(900));
    file.record(&state("a", 2)).unwrap();
    assert_eq!(file.due(), Some(start.plus(DEBOUNCE)), "counted from the first change");
    file.compact_if_due(start.plus(Duration::from_millis(999)));
    assert!(file.compaction.is_none());
    compact(&mut file);
    assert_eq!((file.due(), file.trouble()), (None, None));

    for number in 0..1000 {
        file.record(&state(&format!("other{number}"), 0)).unwrap();
    }
    compact(&mut file);
    file.record(&state("a", 3)).unwrap();
    let started = file.due().unwrap();
    compact(&mut file);
    file.record(&state("a", 4)).unwrap();
    assert_eq!(file.due(), Some(started.plus(PAUSE_LARGE)));
}

#[test]
fn what_cannot_be_read_is_kept_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let (mut file, first) = open(&dir);
    file.record(&state("a", 1)).unwrap();
    compact(&mut file);
    file.record(&state("b", 2)).unwrap();
    drop(file);
    let snapshot = dir.path().join("runner_state.json");
    fs::write(&snapshot, "{ \"version\": 1, \"runn").unwrap();

    let (file, recovered) = open(&dir);
    assert_eq!(counts(&recovered), pairs(&[("b", 2)]), "the journal is still there");
    assert!(recovered.same_boot && !recovered.clean_end);
    assert!(recovered.epoch >= first.epoch);
    assert_eq!(recovered.notes.len(), 1);
    assert!(recovered.notes[0].contains("runner_state.json.corrupt-2027"), "{}", recovered.notes[0]);
    drop(file);
    let aside = names(dir.path()).into_iter().find(|name| name.contains("corrupt")).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join(aside)).unwrap(), "{ \"version\": 1, \"runn");
}

#[test]
fn a_damaged_record_spoils_no_other_and_the_journal_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (mut file, _) = open(&dir);
    for name in ["a", "b", "c"] {
        file.record(&state(name, 1)).unwrap();
    }
    drop(file);
    let journal = dir.path().join("runner_state.journal");
    let text = fs::read_to_string(&journal).unwrap().replace("\"runner_id\":\"b\"", "\"runner_id\":\"X\"");
    fs::write(&journal, &text).unwrap();
    let (_file, recovered) = open(&dir);
    assert_eq!(counts(&recovered), pairs(&[("a", 1), ("c", 1)]));
    assert!(recovered.notes[0].starts_with("1 records of "), "{:?}", recovered.notes);
    let aside = names(dir.path()).into_iter().find(|name| name.contains("journal.corrupt")).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join(aside)).unwrap(), text);
}

#[test]
fn a_newer_format_and_another_workspace_are_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir));
    let snapshot = dir.path().join("runner_state.json");
    let text = fs::read_to_string(&snapshot).unwrap();
    let refused = |text: &str| {
        fs::write(&snapshot, text).unwrap();
        let before = copy(dir.path());
        let error = StateFile::open(dir.path(), owner("today"), Arc::new(Hands::default())).unwrap_err();
        assert_eq!(names(dir.path()), names(before.path()));
        assert_eq!(fs::read_to_string(&snapshot).unwrap(), text);
        error.to_string()
    };
    let newer = refused(&text.replace("\"version\": 1", "\"version\": 9"));
    assert!(newer.contains("it has format 9 and this restage knows formats up to 1"), "{newer}");
    let other = refused(&text.replace("\"/w\"", "\"/tmp\""));
    assert!(other.contains("belongs to the workspace /tmp"), "{other}");
    // The workspace was moved here: there is nothing at its old place.
    fs::write(&snapshot, text.replace("\"/w\"", "\"/was/here/once\"")).unwrap();
    open(&dir);
}

#[test]
fn files_of_the_older_system_load() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = dir.path().join("runner_state.json");
    fs::write(
        &snapshot,
        r#"{"agent": {"runner_id": "agent", "pid": 9, "status": "running", "retry_count": 2}}"#,
    )
    .unwrap();
    let (file, recovered) = open(&dir);
    assert_eq!(counts(&recovered), pairs(&[("agent", 2)]));
    assert_eq!((recovered.same_boot, recovered.clean_end), (false, false));
    assert!(recovered.notes[0].contains("has no version"), "{:?}", recovered.notes);
    drop(file);
    assert!(fs::read_to_string(&snapshot).unwrap().contains("\"version\": 1"));
    assert_eq!(counts(&open(&dir).1), pairs(&[("agent", 2)]));
}

/// Everything in it means something within one boot only.
fn alive(name: &str) -> RunnerState {
    RunnerState {
        pid: Some(4711),
        process_start: Some(99),
        status: RunnerStatus::Running,
        started_mono_ns: Some(Mono::from_nanos(5)),
        next_retry_mono_ns: Some(Mono::from_nanos(7)),
        ended_mono_ns: Some(Mono::from_nanos(8)),
        ready_since_mono_ns: Some(Mono::from_nanos(9)),
        next: Some(NextWord::Retry),
        stuck_pids: vec![1],
        ending: Some(EndingState {
            outcome: Outcome { verdict: Verdict::Inactive, exit_code: None, signal: None, detail: None },
            since_mono_ns: Mono::from_nanos(6),
            kill: false,
        }),
        ..state(name, 1)
    }
}

#[test]
fn a_pid_of_another_boot_never_becomes_one_of_this_boot() {
    let dir = tempfile::tempdir().unwrap();
    let (mut file, _) = open_in(dir.path(), "yesterday");
    for name in ["a", "b"] {
        file.record(&alive(name)).unwrap();
    }
    drop(file);

    // Killed before it could say what it makes of the states: the next one sees the same.
    for _ in 0..2 {
        let (_file, recovered) = open_in(dir.path(), "today");
        assert!(!recovered.same_boot);
        assert_eq!(recovered.states, [alive("a"), alive("b")]);
    }

    let (mut file, _) = open_in(dir.path(), "today");
    file.record(&RunnerState { pid: Some(12), ..alive("a") }).unwrap();
    for compacted in [false, true] {
        if compacted {
            compact(&mut file);
        }
        let crashed = copy(dir.path());
        let (_file, recovered) = open_in(crashed.path(), "today");
        assert!(recovered.same_boot);
        assert_eq!(recovered.states[0].pid, Some(12));
        let stale = &recovered.states[1];
        assert_eq!((stale.pid, stale.process_start, stale.started_mono_ns), (None, None, None));
        assert_eq!(
            (stale.next_retry_mono_ns, stale.ended_mono_ns, stale.ready_since_mono_ns),
            (None, None, None)
        );
        assert_eq!((stale.ending.as_ref().unwrap().since_mono_ns.as_nanos(), stale.stuck_pids.len()), (0, 0));
        assert_eq!((stale.retry_count, stale.next), (1, Some(NextWord::Retry)));
    }

    // Where nobody knows the boot, it is not taken for this one either.
    drop(file);
    fs::write(dir.path().join("runner_state.json"), "broken").unwrap();
    let journal = dir.path().join("runner_state.journal");
    let text = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, text.lines().filter(|l| !l.contains("identity")).collect::<Vec<_>>().join("\n"))
        .unwrap();
    let (mut file, _) = open_in(dir.path(), "today");
    file.record(&alive("z")).unwrap();
    drop(file);
    let (_file, recovered) = open_in(dir.path(), "today");
    assert!(recovered.states.iter().all(|s| s.runner_id.as_str() == "z" || s.pid.is_none()));
}

#[test]
fn looking_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("absent");
    let nothing = peek(&absent, Path::new("/w"), &owner("today").identity).unwrap();
    assert!(!nothing.found && nothing.clean_end && !absent.exists());
    let (mut file, recovered) = open(&dir);
    file.record(&alive("a")).unwrap();
    let before = copy(dir.path());
    let seen = peek(dir.path(), Path::new("/w"), &owner("today").identity).unwrap();
    assert_eq!(seen.states, [alive("a")]);
    assert_eq!((seen.epoch, seen.same_boot, seen.clean_end), (recovered.epoch, true, false));
    assert_eq!(seen.supervisor, Some(Process { pid: 42, start: 7 }));
    assert_eq!(seen.workspace.as_deref(), Some(Path::new("/w")));
    for name in names(before.path()) {
        assert_eq!(fs::read(before.path().join(&name)).unwrap(), fs::read(dir.path().join(&name)).unwrap());
    }
}

#[test]
fn a_stage_that_ended_outlives_compactions_kills_and_clean_ends_until_it_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let name = RunnerName::trusted("video-12/render/3");
    let ended = RunnerState {
        status: RunnerStatus::Crashed,
        verdict: Some(Verdict::Exit),
        exit_code: Some(3),
        cpu_ms: Some(1500),
        max_rss_bytes: Some(1 << 20),
        cut: true,
        disk_full: true,
        ..RunnerState::new(name.clone())
    };
    let (mut file, _) = open(&dir);
    file.record(&ended).unwrap();
    file.record(&state("a", 1)).unwrap();
    compact(&mut file);
    // What comes and goes between two snapshots is in neither.
    for number in 0..100 {
        let passing = state(&format!("video-13/{number}"), 0);
        file.record(&passing).unwrap();
        file.remove(&passing.runner_id).unwrap();
    }
    compact(&mut file);
    drop(file);

    let (mut file, after_a_kill) = open(&dir);
    assert_eq!(after_a_kill.states.len(), 2);
    assert!(after_a_kill.states.contains(&ended));
    file.finish().unwrap();
    drop(file);
    let (mut file, after_an_end) = open(&dir);
    assert!(after_an_end.clean_end && after_an_end.states.contains(&ended));
    file.remove(&name).unwrap();
    compact(&mut file);
    drop(file);
    assert_eq!(counts(&open(&dir).1), pairs(&[("a", 1)]));
}
