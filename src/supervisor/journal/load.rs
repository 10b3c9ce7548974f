//! What lies on disk, put together: snapshot, the journal that is being taken into it, the current journal. Reading
//! changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::StateError;
use super::identity::Identity;
use super::record::{Decoded, Record, decode};
use super::snapshot::{Head, Parsed, VERSION, parse};
use crate::domain::ids::{Process, RunnerName};
use crate::domain::runner::state::RunnerState;
use crate::domain::time::{Mono, Timestamp};
use crate::supervisor::atomic::with_suffix;

/// The files of one state folder.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub(super) dir: PathBuf,
    pub(super) snapshot: PathBuf,
    pub(super) journal: PathBuf,
    /// The journal whose records a compaction is taking into the snapshot.
    pub(super) older: PathBuf,
    /// The journal that a compaction is about to begin.
    pub(super) next: PathBuf,
}

impl Files {
    pub(super) fn of(dir: &Path) -> Self {
        let journal = dir.join("runner_state.journal");
        Self {
            dir: dir.to_owned(),
            snapshot: dir.join("runner_state.json"),
            older: with_suffix(&journal, ".1"),
            next: with_suffix(&journal, ".next"),
            journal,
        }
    }
}

/// Everything that could be read, and what could not.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) states: BTreeMap<RunnerName, RunnerState>,
    pub(super) head: Option<Head>,
    /// Within what the pids and monotonic times of the states mean something.
    pub(super) identity: Option<Identity>,
    pub(super) clean_end: bool,
    /// The last record that counts.
    pub(super) seq: u64,
    /// Something of ours was there.
    pub(super) found: bool,
    pub(super) snapshot_trouble: Option<String>,
    /// Journals with records that make no sense.
    pub(super) damaged: Vec<PathBuf>,
    pub(super) notes: Vec<String>,
}

pub(super) fn load(files: &Files) -> Result<Loaded, StateError> {
    // In this order, because a compaction may be going on meanwhile: records move from the first to the last, so
    // those that a file no longer holds are in one that is read later.
    let journal = read(&files.journal)?;
    let older = read(&files.older)?;
    let snapshot = read(&files.snapshot)?;

    let mut loaded =
        Loaded { found: journal.is_some() || older.is_some() || snapshot.is_some(), ..Loaded::default() };
    loaded.clean_end = !loaded.found;
    if let Some(bytes) = snapshot {
        take_snapshot(files, &bytes, &mut loaded)?;
    }
    let mut records = Vec::new();
    for (path, bytes) in [(&files.older, older), (&files.journal, journal)] {
        let Decoded { records: more, torn, damaged } = bytes.map(|bytes| decode(&bytes)).unwrap_or_default();
        records.extend(more);
        if torn > 0 {
            loaded.notes.push(format!(
                "the last record of {} was cut short after {torn} bytes and is left out: it was being written when its \
                 writer died",
                path.display()
            ));
        }
        if damaged > 0 {
            loaded
                .notes
                .push(format!("{damaged} records of {} make no sense and are left out", path.display()));
            loaded.damaged.push(path.clone());
        }
    }
    // The sort is stable: of two records with one number, the later one counts.
    records.sort_by_key(|(seq, _)| *seq);
    let taken_up_to = loaded.seq;
    for (seq, record) in records.into_iter().filter(|(seq, _)| *seq > taken_up_to) {
        loaded.seq = seq;
        loaded.apply(record);
    }
    Ok(loaded)
}

fn take_snapshot(files: &Files, bytes: &[u8], loaded: &mut Loaded) -> Result<(), StateError> {
    let states = match parse(bytes) {
        Parsed::Current { head, states, damaged } => {
            if damaged > 0 {
                loaded.snapshot_trouble = Some(format!("{damaged} of its runners make no sense"));
            }
            loaded.seq = head.seq;
            loaded.clean_end = head.clean_end;
            loaded.identity = Some(head.identity.clone());
            loaded.head = Some(*head);
            states
        }
        Parsed::Legacy(states) => {
            let path = files.snapshot.display();
            loaded.notes.push(format!(
                "{path} has no version: {} runners are taken from it, without their processes",
                states.len()
            ));
            states
        }
        Parsed::Newer(version) => {
            return Err(StateError::Newer { path: files.snapshot.clone(), version, known: VERSION });
        }
        Parsed::Broken(why) => {
            loaded.snapshot_trouble = Some(why);
            Vec::new()
        }
    };
    loaded.states = states.into_iter().map(|state| (state.runner_id.clone(), state)).collect();
    Ok(())
}

/// A workspace that was moved takes its state along; one that still is where the file says is another one.
fn is_elsewhere(theirs: &Path, ours: &Path) -> bool {
    if theirs == ours {
        return false;
    }
    match (fs::metadata(theirs), fs::metadata(ours)) {
        (Ok(theirs), Ok(ours)) => (theirs.dev(), theirs.ino()) != (ours.dev(), ours.ino()),
        (Ok(_), Err(_)) => true,
        (Err(_), _) => false,
    }
}

impl Loaded {
    pub(super) fn nothing() -> Self {
        Self { clean_end: true, ..Self::default() }
    }

    /// The workspace that it is of, where that is not this one.
    pub(super) fn of_another(&self, workspace: &Path) -> Option<PathBuf> {
        let theirs = &self.head.as_ref()?.workspace;
        is_elsewhere(theirs, workspace).then(|| theirs.clone())
    }

    fn apply(&mut self, record: Record) {
        self.clean_end = match &record {
            Record::Runner(_) | Record::Removed(_) => false,
            Record::Identity(_) => self.clean_end,
            Record::CleanEnd => true,
        };
        match record {
            Record::Runner(state) => {
                self.states.insert(state.runner_id.clone(), *state);
            }
            Record::Removed(name) => {
                self.states.remove(&name);
            }
            Record::Identity(identity) => {
                if self.identity.as_ref() != Some(&identity) {
                    self.states.values_mut().for_each(|state| *state = without_boot(state));
                }
                self.identity = Some(identity);
            }
            Record::CleanEnd => {}
        }
    }

    /// Pids and monotonic times mean something to a process with this identity.
    pub(super) fn same_boot(&self, identity: &Identity) -> bool {
        self.identity.as_ref() == Some(identity)
    }
}

/// The state without what only means something within the boot in which it was recorded: whose pids those are, and
/// every time on the monotonic clock, which by convention ends in `_mono_ns`.
pub(super) fn without_boot(state: &RunnerState) -> RunnerState {
    let mut bare = state.clone();
    bare.pid = None;
    bare.process_start = None;
    bare.stuck_pids.clear();
    if let Some(ending) = &mut bare.ending {
        ending.since_mono_ns = Mono::from_nanos(0);
    }
    let timeless = || {
        let mut value = serde_json::to_value(&bare).ok()?;
        value.as_object_mut()?.retain(|key, _| !key.ends_with("_mono_ns"));
        serde_json::from_value(value).ok()
    };
    // What was read from JSON can be written as JSON.
    timeless().unwrap_or(bare)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StateError::Read { path: path.to_owned(), source }),
    }
}

/// What can be said of a workspace while nobody supervises it.
#[derive(Debug, Clone, PartialEq)]
pub struct Peeked {
    /// False: there is no state at all.
    pub found: bool,
    /// Sorted by name.
    pub states: Vec<RunnerState>,
    pub clean_end: bool,
    pub same_boot: bool,
    pub epoch: u64,
    pub workspace: Option<PathBuf>,
    pub written_at: Option<Timestamp>,
    /// Who wrote the last snapshot; it may be gone.
    pub supervisor: Option<Process>,
    pub notes: Vec<String>,
}

/// Reads the state of a workspace without changing anything. That of another one says nothing of this one.
pub fn peek(dir: &Path, workspace: &Path, identity: &Identity) -> Result<Peeked, StateError> {
    let files = Files::of(dir);
    let mut loaded = load(&files)?;
    if loaded.of_another(workspace).is_some() {
        loaded = Loaded::nothing();
    }
    if let Some(why) = &loaded.snapshot_trouble {
        loaded.notes.push(format!("{} could not be read whole: {why}", files.snapshot.display()));
    }
    let head = loaded.head.as_ref();
    Ok(Peeked {
        found: loaded.found,
        clean_end: loaded.clean_end,
        same_boot: loaded.same_boot(identity),
        epoch: head.map_or(0, |head| head.epoch),
        workspace: head.map(|head| head.workspace.clone()),
        written_at: head.map(|head| head.written_at),
        supervisor: head.map(|head| head.supervisor),
        states: loaded.states.into_values().collect(),
        notes: loaded.notes,
    })
}
