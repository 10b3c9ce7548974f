//! Deletes what nobody names any more: objects, the private folders of attempts that nobody goes back to, and files
//! that a killed process left half written. What a checkpoint names is never touched, nor anything young: whoever
//! brought it in may be about to name it. What a dead process was bringing in nobody will name.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::stat::SFlag;

use super::attempt_dir::elsewhere::CRADLE;
use super::attempt_dir::{AttemptDirs, AttemptKey};
use super::beneath::{self, FileError, during};
use super::broom::DONE;
use super::objects::{Objects, UNNAMED, is_torn};
use crate::domain::flow::ask::Collected;
use crate::domain::flow::ids::{Hash, RunId};
use crate::domain::flow::record::{AttemptRecord, RunRecord, StageRecord};
use crate::domain::time::Timestamp;
use crate::domain::verdict::Verdict;

/// What is younger is spared, whoever names it: an import, a run that is just being written down.
pub const YOUNG: Duration = Duration::from_hours(1);

/// What history says about a run whose folder was found.
#[derive(Debug)]
pub enum Known {
    /// It was deleted.
    Gone,
    /// With its stages and attempts, and how long its failed attempts are kept.
    Run { record: Box<RunRecord>, keep_failed: Duration },
    /// It cannot be read, and nothing of it is touched.
    Unreadable { why: String },
}

#[derive(Debug)]
pub struct Collector<'a> {
    pub objects: &'a Objects,
    pub dirs: &'a AttemptDirs,
    /// Every object that a checkpoint or an item names.
    pub named: &'a HashSet<Hash>,
    pub now: Timestamp,
    pub young: Duration,
    /// Only say what would be deleted.
    pub dry_run: bool,
}

impl Collector<'_> {
    /// Goes on after something that cannot be removed, and tells the first of these at the end. `known` is asked once
    /// for each run that still has a folder.
    pub fn collect<E: From<FileError>>(
        &self,
        mut known: impl FnMut(&RunId) -> Result<Known, E>,
    ) -> Result<Collected, E> {
        let mut round = Round { collected: Collected::default(), first_error: None };
        self.objects(&mut round);
        for entry in round.entries(&self.dirs.root().join(DONE)) {
            self.tree(&entry, &mut round);
        }
        for entry in round.entries(&self.dirs.root().join(CRADLE)) {
            if entry.metadata().is_ok_and(|meta| self.is_old(&meta)) {
                self.tree(&entry, &mut round);
            }
        }
        for entry in round.entries(self.dirs.root()) {
            // Runs have names that are texts and begin with no dot. What is a link was put there by somebody else.
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with('.') || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let run = RunId::trusted(name);
            match known(&run)? {
                Known::Gone if entry.metadata().is_ok_and(|meta| self.is_old(&meta)) => {
                    self.tree(&entry, &mut round);
                }
                Known::Run { record, keep_failed } if record.status.is_final() => {
                    self.ended_run(&record, keep_failed, &mut round);
                }
                Known::Unreadable { why } => round.collected.skipped.push(why),
                Known::Gone | Known::Run { .. } => {}
            }
        }
        round.collected.paths.sort();
        round.collected.skipped.sort();
        round.first_error.map_or(Ok(round.collected), |error| Err(error.into()))
    }

    /// The folders of runs that were taken out of history, and objects that nobody names any more. A young object goes with
    /// a later round, as always: it may have been brought in once more.
    pub fn deleted(&self, runs: &[RunId], free: &[Hash]) -> Result<Collected, FileError> {
        let mut round = Round { collected: Collected::default(), first_error: None };
        for entry in round.entries(self.dirs.root()) {
            let is_gone =
                entry.file_name().to_str().is_some_and(|name| runs.iter().any(|run| run.as_str() == name));
            if is_gone && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.tree(&entry, &mut round);
            }
        }
        for hash in free.iter().filter(|hash| !self.named.contains(*hash)) {
            self.remove(self.objects.path(hash), hash, |meta| self.is_old(meta), &mut round);
        }
        round.collected.paths.sort();
        round.first_error.map_or(Ok(round.collected), Err)
    }

    fn remove(&self, path: PathBuf, hash: &Hash, may: impl Fn(&Metadata) -> bool, round: &mut Round) {
        match self.objects.remove_if(&path, hash, may, self.dry_run) {
            Ok(Some(size)) => round.collected(path, Size { files: 1, bytes: size }),
            Ok(None) => {}
            // Somebody else was quicker: it is not there any more, as it should be.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => round.failed(during("remove", &path)(error)),
        }
    }

    fn objects(&self, round: &mut Round) {
        for folder in round.entries(self.objects.root()) {
            let unnamed = folder.file_name() == UNNAMED;
            for entry in round.entries(&folder.path()) {
                let Ok(name) = entry.file_name().into_string() else { continue };
                // What is no object was put there by somebody else.
                if !(unnamed || is_hash(&name) && folder.file_name().to_str() == name.get(..2)) {
                    continue;
                }
                let hash = Hash::trusted(name);
                if !unnamed && self.named.contains(&hash) {
                    continue;
                }
                let is_torn = unnamed && is_torn(hash.as_str());
                self.remove(entry.path(), &hash, |meta| is_torn || self.is_old(meta), round);
            }
        }
    }

    fn tree(&self, entry: &DirEntry, round: &mut Round) {
        let path = entry.path();
        let (Some(above), Ok(name)) = (path.parent(), CString::new(entry.file_name().as_bytes())) else {
            return;
        };
        let done = fs::File::open(above).and_then(|above| {
            let size = size(&above, &name, DEPTH)?;
            if !self.dry_run {
                beneath::remove(&above, &name)?;
            }
            Ok(size)
        });
        match done {
            Ok(size) => round.collected(path, size),
            Err(error) => round.failed(during("remove", &path)(error)),
        }
    }

    fn ended_run(&self, record: &RunRecord, keep_failed: Duration, round: &mut Round) {
        let folder = self.dirs.root().join(record.run_id.as_str());
        for entry in round.entries(&folder) {
            let name = entry.file_name();
            let key = name.to_str().and_then(|name| AttemptKey::of_folder(&record.run_id, name));
            let Some(key) = key else { continue };
            let stage = record.stages.iter().flatten().find(|stage| stage.name == key.stage);
            let (good, one) = of_attempt(stage, &key);
            let goes = match one {
                // Its end is on record, and with it what it left.
                Some(_) if good => true,
                Some(one) => {
                    let ended = one.ended_at.or(record.ended_at).unwrap_or(record.created_at);
                    let kept = i64::try_from(keep_failed.as_secs()).unwrap_or(i64::MAX);
                    ended.as_second().saturating_add(kept) <= self.now.as_second()
                }
                // It never started.
                None => entry.metadata().is_ok_and(|meta| self.is_old(&meta)),
            };
            if goes {
                self.tree(&entry, round);
            }
        }
        if !self.dry_run {
            // Nothing but its logs keeps it.
            fs::remove_dir(&folder).ok();
        }
    }

    fn is_old(&self, meta: &Metadata) -> bool {
        let young = i64::try_from(self.young.as_secs()).unwrap_or(i64::MAX);
        meta.mtime() <= self.now.as_second().saturating_sub(young)
    }
}

/// What was found so far.
struct Round {
    collected: Collected,
    first_error: Option<FileError>,
}

impl Round {
    fn collected(&mut self, path: PathBuf, size: Size) {
        self.collected.files += size.files;
        self.collected.bytes += size.bytes;
        self.collected.paths.push(path);
    }

    fn failed(&mut self, error: FileError) {
        self.first_error.get_or_insert(error);
    }

    /// A folder that is not there has none.
    fn entries(&mut self, folder: &Path) -> Vec<DirEntry> {
        match fs::read_dir(folder).and_then(Iterator::collect) {
            Ok(entries) => entries,
            Err(error) => {
                if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
                    self.failed(during("read", folder)(error));
                }
                Vec::new()
            }
        }
    }
}

/// What is on record of an attempt, and whether it ended well: by itself, or as the last one of a stage that did.
fn of_attempt<'a>(stage: Option<&'a StageRecord>, key: &AttemptKey) -> (bool, Option<&'a AttemptRecord>) {
    let Some(stage) = stage else { return (false, None) };
    let of_item = || stage.attempts.iter().filter(|one| one.item == key.item);
    let one = of_item().find(|one| one.number == key.attempt);
    let last = of_item().map(|one| one.number).max() == Some(key.attempt);
    let completed = one.is_some_and(|one| one.error.is_none() && one.verdict == Some(Verdict::Completed));
    (completed || (last && stage.status.is_good()), one)
}

#[derive(Debug, Clone, Copy, Default)]
struct Size {
    files: u64,
    bytes: u64,
}

/// Deeper folders are not counted.
const DEPTH: usize = 100;

fn size(at: impl AsFd, name: &CStr, depth: usize) -> nix::Result<Size> {
    let stat = match beneath::look(&at, name) {
        Err(Errno::ENOENT) => return Ok(Size::default()),
        stat => stat?,
    };
    if beneath::kind(&stat) != SFlag::S_IFDIR {
        return Ok(Size { files: 1, bytes: u64::try_from(stat.st_size).unwrap_or(0) });
    }
    let mut sum = Size::default();
    if depth > 0 {
        let below: OwnedFd = beneath::enter(&at, name)?;
        // One that must not be read is removed all the same.
        for name in beneath::names(&below).unwrap_or_default() {
            let one = size(&below, &name, depth - 1)?;
            sum.files += one.files;
            sum.bytes += one.bytes;
        }
    }
    Ok(sum)
}

fn is_hash(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests;
