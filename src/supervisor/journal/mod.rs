//! `runner_state.json` and the journal beside it: the supervision state that survives `kill -9` of every process of
//! ours. It must not know what the states mean.
//!
//! A change is one appended line in `runner_state.journal`. Now and then, off the actor's thread, all of it is written
//! as `runner_state.json`, which a person can read: the journal is set apart as `runner_state.journal.1`, a new one
//! begun, the snapshot written and renamed into place, the old journal deleted. Every record has a number, and the
//! snapshot says up to which one it goes, so it does not matter between which of these steps we are killed.

mod append;
mod identity;
mod legacy;
mod load;
mod record;
mod snapshot;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

pub use identity::Identity;
pub use load::{Peeked, peek};
pub use snapshot::{Head, VERSION};

use append::Appender;
use load::{Files, Loaded, load, without_boot};
use record::Record;

use super::apart::apart;
use super::atomic::{replace, set_aside, sync_dir};
use super::store::{Recovered, StateStore};
use crate::domain::ids::{Process, RunnerName};
use crate::domain::runner::state::RunnerState;
use crate::domain::time::{Mono, Timestamp};
use crate::ports::Clock;

/// How long after a change it is taken into the snapshot.
const DEBOUNCE: Duration = Duration::from_secs(1);

/// A snapshot larger than this is written more seldom.
const LARGE: usize = 64 << 10;
const PAUSE_LARGE: Duration = Duration::from_secs(10);

/// How long to wait after a snapshot that could not be written.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("make the state folder {path}: {source}; set `cache_dir` to a folder that can be written to")]
    Folder { path: PathBuf, source: io::Error },
    #[error("read the state file {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("write the state file {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "read the state file {path}: it has format {version} and this restage knows formats up to {known}; use the newer \
         restage, or move the file away to begin without it"
    )]
    Newer { path: PathBuf, version: u64, known: u32 },
    #[error(
        "use the state file {path}: it belongs to the workspace {theirs}; give each workspace a `cache_dir` of its own, \
         or move the file away to begin without it"
    )]
    OtherWorkspace { path: PathBuf, theirs: PathBuf },
}

/// Who supervises which workspace.
#[derive(Debug, Clone)]
pub struct Owner {
    pub workspace: PathBuf,
    pub identity: Identity,
    pub supervisor: Process,
}

/// The one writer of a workspace's supervision state. Whoever opens it holds the workspace's lock.
pub struct StateFile {
    files: Files,
    clock: Arc<dyn Clock>,
    owner: Owner,
    epoch: u64,
    journal: Appender<File>,
    /// The last record that was written, or was tried.
    seq: u64,
    clean_end: bool,
    /// The last state of each runner as it was written, so that a snapshot needs nothing to be serialised again.
    lines: Lines,
    /// What was recovered belongs to this identity, until the first record of ours.
    recovered_as: Option<Recovery>,
    changed: Option<Mono>,
    not_before: Mono,
    compaction: Option<JoinHandle<io::Result<usize>>>,
    snapshot_len: usize,
    trouble: Option<String>,
}

type Lines = BTreeMap<RunnerName, Arc<str>>;

/// States of another boot, which stay as they are on disk until this supervisor has said what it makes of them.
#[derive(Debug)]
struct Recovery {
    identity: Identity,
    /// The same without what means nothing today.
    lines: Lines,
}

impl StateFile {
    /// Reads what is there and takes over: the epoch is counted up on disk before this returns.
    pub fn open(dir: &Path, owner: Owner, clock: Arc<dyn Clock>) -> Result<(Self, Recovered), StateError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|source| StateError::Folder { path: dir.to_owned(), source })?;
        let files = Files::of(dir);
        let mut loaded = apart(|| load(&files))?;
        // What stays is a copy, made on this thread: the original would pin the memory of the other one.
        loaded.states = loaded.states.clone();
        if let Some(theirs) = loaded.of_another(&owner.workspace) {
            if !dir.starts_with(&owner.workspace) {
                return Err(StateError::OtherWorkspace { path: files.snapshot, theirs });
            }
            loaded = Loaded::nothing();
            loaded.notes.push(format!(
                "{} came along with a copy of {}, whose runners are none of this workspace: it begins without them",
                files.snapshot.display(),
                theirs.display()
            ));
        }
        let now = clock.now();
        set_aside_snapshot(&files, now.wall, &mut loaded)?;

        let same_boot = loaded.same_boot(&owner.identity);
        let lines = lines_of(loaded.states.values().cloned());
        let todays =
            if same_boot { lines.clone() } else { lines_of(loaded.states.values().map(without_boot)) };
        // Where nobody knows of which boot the states are, they cannot be kept as they were.
        let (lines, recovered_as) = match loaded.identity.clone().filter(|_| !same_boot) {
            Some(identity) => (lines, Some(Recovery { identity, lines: todays })),
            None => (todays, None),
        };
        let journal = append::open(&files.journal);
        let mut this = Self {
            journal: journal.map_err(|source| StateError::Write { path: files.journal.clone(), source })?,
            files,
            clock,
            epoch: next_epoch(&loaded, now.wall),
            owner,
            seq: loaded.seq,
            clean_end: false,
            lines,
            recovered_as,
            changed: None,
            not_before: now.mono,
            compaction: None,
            snapshot_len: 0,
            trouble: None,
        };
        this.take_over(&mut loaded, now.wall)?;
        let recovered = Recovered {
            clean_end: loaded.clean_end && loaded.snapshot_trouble.is_none(),
            same_boot,
            epoch: this.epoch,
            states: loaded.states.into_values().collect(),
            notes: loaded.notes,
        };
        Ok((this, recovered))
    }

    /// What went wrong with the last snapshot; nothing is lost by it, the journal grows instead.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Everything into a new snapshot, and the journals gone. A full disk does not keep a supervisor from starting: it
    /// can stop what runs, and what it cannot record it does not begin.
    fn take_over(&mut self, loaded: &mut Loaded, wall: Timestamp) -> Result<(), StateError> {
        match self.compact_now() {
            Ok(()) => {}
            Err(error) if is_no_room(&error) => {
                loaded.notes.push(format!(
                    "{} could not be written: {error}; nothing new is started until there is room",
                    self.files.snapshot.display()
                ));
                self.changed = Some(self.not_before);
                return Ok(());
            }
            Err(source) => return Err(StateError::Write { path: self.files.snapshot.clone(), source }),
        }
        let gone = |path: &Path| match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        };
        let failed = |path: &Path, source| StateError::Write { path: path.to_owned(), source };
        for path in std::mem::take(&mut loaded.damaged) {
            let aside = set_aside(&path, wall).map_err(|source| failed(&path, source))?;
            loaded.notes.push(format!("{} is kept as {}", path.display(), aside.display()));
        }
        for path in [&self.files.older, &self.files.next] {
            gone(path).map_err(|source| failed(path, source))?;
        }
        let fresh =
            append::open(&self.files.journal).and_then(|mut journal| journal.clear().map(|()| journal));
        self.journal = fresh.map_err(|source| failed(&self.files.journal, source))?;
        sync_dir(&self.files.dir).map_err(|source| failed(&self.files.dir, source))
    }

    /// An empty journal, but for whose records it holds: it must make sense without the snapshot, too.
    fn begin_journal(&mut self, path: &Path) -> io::Result<Appender<File>> {
        let mut journal = append::open(path)?;
        journal.clear()?;
        if self.recovered_as.is_none() {
            journal.append(&self.identity_line()?)?;
        }
        Ok(journal)
    }

    fn identity_line(&mut self) -> io::Result<String> {
        self.seq += 1;
        Ok(record::encode(self.seq, &serde_json::to_string(&Record::Identity(self.owner.identity.clone()))?))
    }

    fn append(&mut self, json: &str) -> io::Result<()> {
        let mut lines = match self.recovered_as {
            Some(_) => self.identity_line()?,
            None => String::new(),
        };
        self.seq += 1;
        lines.push_str(&record::encode(self.seq, json));
        self.journal.append(&lines).map_err(|source| {
            let message = format!("append to the journal {}: {source}", self.files.journal.display());
            io::Error::new(source.kind(), message)
        })?;
        if let Some(recovery) = self.recovered_as.take() {
            self.lines = recovery.lines;
        }
        self.clean_end = false;
        if self.changed.is_none() {
            self.changed = Some(self.clock.now().mono);
        }
        Ok(())
    }

    fn head(&self) -> Head {
        let recovered_as = self.recovered_as.as_ref().map(|recovery| &recovery.identity);
        Head {
            version: VERSION,
            written_at: self.clock.now().wall,
            workspace: self.owner.workspace.clone(),
            epoch: self.epoch,
            seq: self.seq,
            clean_end: self.clean_end,
            identity: recovered_as.unwrap_or(&self.owner.identity).clone(),
            supervisor: self.owner.supervisor,
        }
    }

    fn compact_now(&mut self) -> io::Result<()> {
        self.snapshot_len = write_snapshot(&self.files, &self.head(), &self.lines)?;
        self.changed = None;
        Ok(())
    }

    /// Takes note of a compaction that has come to its end, waiting for it.
    fn join(&mut self) {
        let Some(compaction) = self.compaction.take() else { return };
        let now = self.clock.now().mono;
        let failure = match compaction.join() {
            Ok(Ok(len)) => {
                self.snapshot_len = len;
                self.trouble = None;
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the writer panicked".into(),
        };
        self.failed(&failure, now);
    }

    fn failed(&mut self, failure: &str, now: Mono) {
        let trouble = format!("write {}: {failure}", self.files.snapshot.display());
        tracing::warn!("{trouble}; the journal keeps what it would hold, and it is tried again");
        self.trouble = Some(trouble);
        self.changed.get_or_insert(now);
        self.not_before = now.plus(AFTER_FAILURE);
    }

    /// Begins a new journal. The older one stays until a snapshot holds what is in it; while one is still there,
    /// because the last snapshot could not be written, the current one goes on.
    fn rotate(&mut self) -> io::Result<()> {
        if fs::symlink_metadata(&self.files.older).is_ok() {
            return Ok(());
        }
        let next = self.begin_journal(&self.files.next.clone())?;
        fs::rename(&self.files.journal, &self.files.older)?;
        if let Err(error) = fs::rename(&self.files.next, &self.files.journal) {
            fs::rename(&self.files.older, &self.files.journal)?;
            return Err(error);
        }
        self.journal = next;
        Ok(())
    }
}

impl StateStore for StateFile {
    fn record(&mut self, state: &RunnerState) -> io::Result<()> {
        let line = serde_json::to_string(state)?;
        let known = self.lines.get(&state.runner_id).is_some_and(|known| **known == *line);
        if known && !self.clean_end && self.recovered_as.is_none() {
            return Ok(());
        }
        self.append(&Record::runner_json(&line))?;
        self.lines.insert(state.runner_id.clone(), line.into());
        Ok(())
    }

    fn remove(&mut self, name: &RunnerName) -> io::Result<()> {
        if !self.lines.contains_key(name) {
            return Ok(());
        }
        self.append(&serde_json::to_string(&Record::Removed(name.clone()))?)?;
        self.lines.remove(name);
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.join();
        let recorded = self.append(&serde_json::to_string(&Record::CleanEnd)?);
        self.clean_end = true;
        match self.compact_now() {
            Ok(()) => {
                // Records that are in the snapshot are passed over, so what cannot be deleted does no harm.
                fs::remove_file(&self.files.older).ok();
                self.journal.clear().ok();
                Ok(())
            }
            // The record says the same as the snapshot would.
            Err(error) => recorded.map_err(|_| error),
        }
    }

    fn due(&self) -> Option<Mono> {
        if self.compaction.is_some() {
            return Some(self.not_before);
        }
        self.changed.map(|changed| changed.plus(DEBOUNCE).max(self.not_before))
    }

    fn compact_if_due(&mut self, now: Mono) {
        if self.due().is_none_or(|due| now < due) {
            return;
        }
        match &self.compaction {
            Some(compaction) if !compaction.is_finished() => {
                self.not_before = now.plus(DEBOUNCE);
                return;
            }
            Some(_) => self.join(),
            None => {}
        }
        if self.due().is_none_or(|due| now < due) {
            return;
        }
        if let Err(error) = self.rotate() {
            return self.failed(&error.to_string(), now);
        }
        let (files, head, lines) = (self.files.clone(), self.head(), self.lines.clone());
        let work = move || {
            let len = write_snapshot(&files, &head, &lines)?;
            match fs::remove_file(&files.older) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => Ok(len),
            }
        };
        match std::thread::Builder::new().name("state".into()).stack_size(256 << 10).spawn(work) {
            Ok(compaction) => {
                self.compaction = Some(compaction);
                self.changed = None;
                self.not_before = now.plus(if self.snapshot_len > LARGE { PAUSE_LARGE } else { DEBOUNCE });
            }
            Err(error) => self.failed(&error.to_string(), now),
        }
    }
}

impl Drop for StateFile {
    fn drop(&mut self) {
        // Whoever opens the files next must not meet our writer.
        self.join();
    }
}

impl std::fmt::Debug for StateFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateFile")
            .field("files", &self.files)
            .field("epoch", &self.epoch)
            .field("seq", &self.seq)
            .field("runners", &self.lines.len())
            .finish_non_exhaustive()
    }
}

/// A state that cannot be written as JSON was never read from it.
fn lines_of(states: impl Iterator<Item = RunnerState>) -> Lines {
    states
        .filter_map(|state| Some((state.runner_id.clone(), serde_json::to_string(&state).ok()?.into())))
        .collect()
}

fn write_snapshot(files: &Files, head: &Head, lines: &Lines) -> io::Result<usize> {
    let text = snapshot::render(head, lines.values().map(AsRef::as_ref))?;
    replace(&files.snapshot, text.as_bytes())?;
    Ok(text.len())
}

fn set_aside_snapshot(files: &Files, wall: Timestamp, loaded: &mut Loaded) -> Result<(), StateError> {
    let Some(why) = &loaded.snapshot_trouble else { return Ok(()) };
    let failed = |source| StateError::Write { path: files.snapshot.clone(), source };
    let aside = set_aside(&files.snapshot, wall).map_err(failed)?;
    loaded.notes.push(format!(
        "{} could not be read whole: {why}; it is kept as {}, and {} runners are known from what could be read",
        files.snapshot.display(),
        aside.display(),
        loaded.states.len()
    ));
    Ok(())
}

/// Above the last one, and above what a supervisor could have had whose files were lost: the keeper, which may still
/// live, refuses every epoch that is not higher than the one it knows.
fn next_epoch(loaded: &Loaded, wall: Timestamp) -> u64 {
    let last = loaded.head.as_ref().map_or(0, |head| head.epoch);
    (last + 1).max(u64::try_from(wall.as_second()).unwrap_or(0))
}

fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
