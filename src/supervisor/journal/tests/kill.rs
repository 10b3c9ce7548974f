//! Nothing is lost wherever the writer is killed.

use proptest::prelude::*;

use super::*;

#[test]
fn killed_while_writing_any_byte_of_the_last_records() {
    let dir = tempfile::tempdir().unwrap();
    let (mut file, _) = open(&dir);
    let journal = dir.path().join("runner_state.journal");
    let mut ends = vec![(fs::metadata(&journal).unwrap().len(), pairs(&[]))];
    let mut expect = |now: &[(&str, u32)]| ends.push((fs::metadata(&journal).unwrap().len(), pairs(now)));
    file.record(&state("a", 1)).unwrap();
    expect(&[("a", 1)]);
    file.record(&state("b", 1)).unwrap();
    expect(&[("a", 1), ("b", 1)]);
    file.record(&state("a", 2)).unwrap();
    expect(&[("a", 2), ("b", 1)]);
    file.remove(&RunnerName::trusted("b")).unwrap();
    expect(&[("a", 2)]);

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
    compact(&mut file);
    let (last_snapshot, last_journal) = (read("runner_state.json"), read("runner_state.journal"));

    let before = [("a", 2), ("c", 1)];
    let after = [("a", 3), ("c", 1)];
    let check = |what: &str, files: &[(&str, &[u8])], expected: &[(&str, u32)]| {
        let crashed = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(crashed.path().join(name), content).unwrap();
        }
        let peeked = peek(crashed.path(), Path::new("/w"), &owner("today").identity).unwrap();
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
    // What an older journal says was overtaken by a snapshot long ago.
    check(
        "older left behind",
        &[(snapshot, &last_snapshot), (older, &old_journal), (journal, &last_journal)],
        &after,
    );
    check("done", &[(snapshot, &new_snapshot), (journal, &new_journal)], &after);
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
