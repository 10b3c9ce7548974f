//! The state file as a whole: it loses nothing wherever its writer was killed, and destroys nothing that it cannot
//! read.

use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;

use proptest::prelude::*;
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
fn killed_while_writing_any_byte_of_the_last_records() {
    let dir = tempfile::tempdir().unwrap();
    let (mut file, _) = open(&dir);
    let journal = dir.path().join("runner_state.journal");
    let mut ends = vec![(fs::metadata(&journal).unwrap().len(), pairs(&[]))];
    let mut expect = |file: &mut StateFile, now: &[(&str, u32)]| {
        let _ = file;
        ends.push((fs::metadata(&journal).unwrap().len(), pairs(now)));
    };
    file.record(&state("a", 1)).unwrap();
    expect(&mut file, &[("a", 1)]);
    file.record(&state("b", 1)).unwrap();
    expect(&mut file, &[("a", 1), ("b", 1)]);
    file.record(&state("a", 2)).unwrap();
    expect(&mut file, &[("a", 2), ("b", 1)]);
    file.remove(&RunnerName::trusted("b")).unwrap();
    expect(&mut file, &[("a", 2)]);

    for cut in 0..=ends[ends.len() - 1].0 {
        let crashed = copy(dir.path());
        let journal =
            fs::OpenOptions::new().write(true).open(crashed.path().join("runner_state.journal")).unwrap();
        journal.set_len(cut).unwrap();
        let (mut file, recovered) = open(&crashed);
        // A record that lacks nothing but its newline is whole.
        let (_, expected) = ends.iter().rev().find(|(end, _)| *end <= cut + 1).unwrap_or(&ends[0]);
        assert_eq!(&counts(&recovered), expected, "cut at {cut}");
        file.record(&state("z", 9)).unwrap();
        drop(file);
        let again = counts(&open(&crashed).1);
        assert_eq!(again.len(), expected.len() + 1, "what is recorded after a torn record is kept");
    }
}

#[test]
fn killed_between_any_two_steps_of_a_compaction() {
    let dir = tempfile::tempdir().unwrap();
    let (mut file, _) = open(&dir);
    file.record(&state("a", 1)).unwrap();
    file.record(&state("b", 1)).unwrap();
    compact(&mut file);
    file.record(&state("a", 2)).unwrap();
    file.remove(&RunnerName::trusted("b")).unwrap();
    file.record(&state("c", 1)).unwrap();
    let read = |name: &str| fs::read(dir.path().join(name)).unwrap();
    let (old_snapshot, old_journal) = (read("runner_state.json"), read("runner_state.journal"));
    compact(&mut file);
    let (new_snapshot, header) = (read("runner_state.json"), read("runner_state.journal"));
    // What is recorded while the snapshot is written goes into the new journal.
    file.record(&state("a", 3)).unwrap();
    let new_journal = read("runner_state.journal");
    assert_ne!(old_snapshot, new_snapshot);

    let before = [("a", 2), ("c", 1)];
    let after = [("a", 3), ("c", 1)];
    let check = |what: &str, files: &[(&str, &[u8])], expected: &[(&str, u32)]| {
        let crashed = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(crashed.path().join(name), content).unwrap();
        }
        let peeked = peek(crashed.path(), &owner("today").identity).unwrap();
        let (file, recovered) = open(&crashed);
        assert_eq!(peeked.states, recovered.states, "{what}");
        assert_eq!(counts(&recovered), pairs(expected), "{what}");
        assert!(recovered.same_boot && !recovered.clean_end, "{what}");
        assert!(recovered.notes.is_empty(), "{what}: {:?}", recovered.notes);
        drop(file);
        let rest = names(crashed.path());
        assert_eq!(counts(&open(&crashed).1), pairs(expected), "{what}, the second time");
        assert!(!rest.iter().any(|name| name.contains("journal.")), "{what}: {rest:?}");
    };
    let (snapshot, journal) = ("runner_state.json", "runner_state.journal");
    let (older, next, tmp) = ("runner_state.journal.1", "runner_state.journal.next", "runner_state.json.tmp");
    for cut in 0..=header.len() {
        check(
            "next begun",
            &[(snapshot, &old_snapshot), (journal, &old_journal), (next, &header[..cut])],
            &before,
        );
    }
    check("set apart", &[(snapshot, &old_snapshot), (older, &old_journal), (next, &header)], &before);
    check("new journal", &[(snapshot, &old_snapshot), (older, &old_journal), (journal, &header)], &before);
    for cut in (0..=new_snapshot.len()).step_by(37) {
        let files: [(&str, &[u8]); 4] = [
            (snapshot, &old_snapshot),
            (older, &old_journal),
            (journal, &new_journal),
            (tmp, &new_snapshot[..cut]),
        ];
        check("snapshot half written", &files, &after);
    }
    check(
        "snapshot renamed",
        &[(snapshot, &new_snapshot), (older, &old_journal), (journal, &new_journal)],
        &after,
    );
    check("done", &[(snapshot, &new_snapshot), (journal, &new_journal)], &after);
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
        next: Some(NextWord::Retry),
        stuck_pids: vec![1],
        ending: Some(EndingState {
            outcome: Outcome { verdict: Verdict::Inactive, exit_code: None, signal: None, detail: None },
            since_mono_ns: Mono::from_nanos(6),
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
        assert_eq!((stale.next_retry_mono_ns, stale.stuck_pids.len()), (None, 0));
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
    let nothing = peek(&absent, &owner("today").identity).unwrap();
    assert!(!nothing.found && nothing.clean_end && !absent.exists());
    let (mut file, recovered) = open(&dir);
    file.record(&alive("a")).unwrap();
    let before = copy(dir.path());
    let seen = peek(dir.path(), &owner("today").identity).unwrap();
    assert_eq!(seen.states, [alive("a")]);
    assert_eq!((seen.epoch, seen.same_boot, seen.clean_end), (recovered.epoch, true, false));
    assert_eq!(seen.supervisor, Some(Process { pid: 42, start: 7 }));
    assert_eq!(seen.workspace.as_deref(), Some(Path::new("/w")));
    for name in names(before.path()) {
        assert_eq!(fs::read(before.path().join(&name)).unwrap(), fs::read(dir.path().join(&name)).unwrap());
    }
}

/// A disk of a few pages, where we may mount one.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("none"), dir.path(), Some("tmpfs"), flags, Some("size=32k")).ok()?;
        Some(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        nix::mount::umount2(self.0.path(), nix::mount::MntFlags::MNT_DETACH).unwrap();
    }
}

#[test]
fn a_full_disk_loses_nothing_that_was_recorded() {
    let Some(disk) = SmallDisk::new() else { return };
    let dir = disk.0.path();
    let (mut file, first) = open_in(dir, "today");
    let mut recorded = 0;
    let refused = loop {
        match file.record(&state("a", recorded + 1)) {
            Ok(()) => recorded += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
    assert!(refused.to_string().starts_with("append to the journal "), "{refused}");
    compact(&mut file);
    assert!(file.trouble().unwrap().contains("runner_state.json"), "{:?}", file.trouble());
    drop(file);

    // A supervisor starts all the same, with a higher number, and says why it begins nothing.
    let clock = Arc::new(Hands::default());
    clock.advance(Duration::from_secs(1));
    fs::write(dir.join("filler"), vec![0; 64 << 10]).unwrap_err();
    let (mut file, recovered) = StateFile::open(dir, owner("today"), clock).unwrap();
    assert_eq!(counts(&recovered), pairs(&[("a", recorded)]));
    assert!(recovered.epoch > first.epoch);
    assert!(recovered.notes.iter().any(|note| note.contains("until there is room")), "{:?}", recovered.notes);
    file.record(&state("a", 9999)).unwrap_err();

    fs::remove_file(dir.join("filler")).ok();
    nix::mount::mount(Some("none"), dir, None::<&str>, nix::mount::MsFlags::MS_REMOUNT, Some("size=256k"))
        .unwrap();
    file.record(&state("b", 1)).unwrap();
    compact(&mut file);
    assert_eq!(file.trouble(), None);
    drop(file);
    assert_eq!(counts(&open_in(dir, "today").1), pairs(&[("a", recorded), ("b", 1)]));
}

#[derive(Debug, Clone)]
enum Act {
    Record(u8, u32),
    Remove(u8),
    Compact,
    /// A compaction whose snapshot cannot be written.
    CompactInVain,
    Kill,
    KillWithin(usize),
    Finish,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (0_u8..5, 0_u32..9).prop_map(|(name, count)| Act::Record(name, count)),
        2 => (0_u8..5).prop_map(Act::Remove),
        2 => Just(Act::Compact),
        1 => Just(Act::CompactInVain),
        1 => Just(Act::Kill),
        1 => (1_usize..400).prop_map(Act::KillWithin),
        1 => Just(Act::Finish),
    ];
    proptest::collection::vec(act, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn it_is_a_map_that_survives_everything(acts in acts()) {
        let mut dir = tempfile::tempdir().unwrap();
        let (mut file, mut epoch) = { let (file, r) = open(&dir); (file, r.epoch) };
        let mut model: BTreeMap<String, u32> = BTreeMap::new();
        // What the last record did, in case that it gets torn.
        let mut before_last = model.clone();
        let mut last_is_in_journal = false;
        for act in acts {
            let name = |n: u8| format!("r{n}");
            match act {
                Act::Record(n, count) => {
                    let known = model.get(&name(n)) == Some(&count);
                    file.record(&state(&name(n), count)).unwrap();
                    if !known {
                        before_last = model.clone();
                        last_is_in_journal = true;
                    }
                    model.insert(name(n), count);
                }
                Act::Remove(n) => {
                    file.remove(&RunnerName::trusted(name(n))).unwrap();
                    if model.contains_key(&name(n)) {
                        before_last = model.clone();
                        last_is_in_journal = true;
                    }
                    model.remove(&name(n));
                }
                Act::Compact => {
                    if file.due().is_some() {
                        compact(&mut file);
                        prop_assert_eq!(file.trouble(), None);
                        last_is_in_journal = false;
                    }
                }
                Act::CompactInVain => {
                    if file.due().is_some() {
                        // A folder where the new snapshot should be made.
                        let obstacle = dir.path().join("runner_state.json.tmp");
                        fs::create_dir(&obstacle).unwrap();
                        compact(&mut file);
                        prop_assert!(file.trouble().is_some());
                        fs::remove_dir(&obstacle).unwrap();
                        last_is_in_journal = false;
                    }
                }
                Act::Finish => {
                    file.finish().unwrap();
                    drop(file);
                    let (next, recovered) = open(&dir);
                    prop_assert!(recovered.clean_end);
                    file = next;
                    last_is_in_journal = false;
                }
                Act::Kill | Act::KillWithin(_) => {
                    let crashed = copy(dir.path());
                    drop(file);
                    dir = crashed;
                    if let (Act::KillWithin(bytes), true) = (&act, last_is_in_journal) {
                        let journal = dir.path().join("runner_state.journal");
                        let text = fs::read(&journal).unwrap();
                        let last = text[..text.len() - 1].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
                        // At least the newline and a byte of the record are missing.
                        let keep = (text.len() - 1).saturating_sub(*bytes).max(last);
                        fs::write(&journal, &text[..keep]).unwrap();
                        model = before_last.clone();
                    }
                    last_is_in_journal = false;
                    let (next, recovered) = open(&dir);
                    prop_assert!(!recovered.clean_end && recovered.same_boot);
                    prop_assert!(recovered.epoch > epoch);
                    epoch = recovered.epoch;
                    file = next;
                    let expected: Vec<(String, u32)> = model.clone().into_iter().collect();
                    prop_assert_eq!(counts(&recovered), expected);
                }
            }
        }
        drop(file);
        let expected: Vec<(String, u32)> = model.into_iter().collect();
        prop_assert_eq!(counts(&open(&dir).1), expected);
    }
}
