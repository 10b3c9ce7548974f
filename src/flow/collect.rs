//! Deletes what nobody names any more: objects, the private folders of attempts that nobody goes back to, and files
//! that a killed process left half written. What a checkpoint names is never touched, nor anything young: whoever
//! brought it in may be about to name it.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::stat::SFlag;

use super::attempt_dir::{AttemptDirs, AttemptKey};
use super::beneath::{self, FileError, during};
use super::objects::{Objects, UNNAMED};
use crate::domain::flow::ask::Collected;
use crate::domain::flow::ids::{Hash, RunId, StageName};
use crate::domain::flow::record::RunRecord;
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
        for entry in round.entries(self.dirs.root()) {
            // Runs have names that are texts.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let run = RunId::trusted(name);
            match known(&run)? {
                Known::Gone => self.whole_run(&run, &entry, &mut round),
                Known::Run { record, keep_failed } if record.status.is_final() => {
                    self.ended_run(&record, keep_failed, &mut round);
                }
                Known::Run { .. } => {}
            }
        }
        round.collected.paths.sort();
        round.first_error.map_or(Ok(round.collected), |error| Err(error.into()))
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
                let path = entry.path();
                let done = self.objects.remove_if(&path, &hash, |meta| self.is_old(meta), self.dry_run);
                match done {
                    Ok(Some(size)) => round.collected(path, Size { files: 1, bytes: size }),
                    Ok(None) => {}
                    Err(error) => round.failed(during("remove", &path)(error)),
                }
            }
        }
    }

    fn whole_run(&self, run: &RunId, entry: &DirEntry, round: &mut Round) {
        if !entry.metadata().is_ok_and(|meta| self.is_old(&meta)) {
            return;
        }
        let path = entry.path();
        let Ok(name) = CString::new(run.as_str()) else { return };
        let done = fs::File::open(self.dirs.root()).and_then(|root| {
            let size = size(&root, &name, DEPTH)?;
            if !self.dry_run {
                beneath::remove(&root, &name)?;
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
        for stage in record.stages.iter().flatten() {
            let fans_out = stage.items.is_some() || stage.attempts.iter().any(|one| one.item.is_some());
            for key in attempts(&record.run_id, &stage.name, &folder, fans_out, round) {
                let mut of_item = stage.attempts.iter().filter(|one| one.item == key.item);
                let last = of_item.clone().map(|one| one.number).max();
                let goes = match of_item.find(|one| one.number == key.attempt) {
                    // Its end is on record, and with it what it left.
                    Some(one) if one.error.is_none() && one.verdict == Some(Verdict::Completed) => true,
                    Some(one) if stage.status.is_good() && last == Some(one.number) => true,
                    Some(one) => {
                        let ended = one.ended_at.or(record.ended_at).unwrap_or(record.created_at);
                        let kept = i64::try_from(keep_failed.as_secs()).unwrap_or(i64::MAX);
                        ended.as_second().saturating_add(kept) <= self.now.as_second()
                    }
                    // It never started.
                    None => fs::symlink_metadata(self.dirs.path(&key)).is_ok_and(|meta| self.is_old(&meta)),
                };
                if goes {
                    self.attempt(&key, round);
                }
            }
        }
        if !self.dry_run {
            // Nothing but its logs keeps it.
            fs::remove_dir(&folder).ok();
        }
    }

    fn attempt(&self, key: &AttemptKey, round: &mut Round) {
        let path = self.dirs.path(key);
        let done = self.dirs.open(key).and_then(|folder| size(&folder, c".", DEPTH));
        let done = done.map_err(during("read", &path)).and_then(|size| {
            if !self.dry_run {
                self.dirs.remove(key)?;
            }
            Ok(size)
        });
        match done {
            Ok(size) => round.collected(path, size),
            Err(error) => round.failed(error),
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

/// The attempts of a stage that still have a folder.
fn attempts(
    run: &RunId,
    stage: &StageName,
    folder: &Path,
    fans_out: bool,
    round: &mut Round,
) -> Vec<AttemptKey> {
    let folder = folder.join(stage.as_str());
    let mut numbers = |folder: &Path| -> Vec<u32> {
        let entries = round.entries(folder);
        entries.iter().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    };
    let key = |item, attempt| AttemptKey { run: run.clone(), stage: stage.clone(), item, attempt };
    if !fans_out {
        return numbers(&folder).into_iter().map(|attempt| key(None, attempt)).collect();
    }
    let items = numbers(&folder);
    let of_item = |item: u32| numbers(&folder.join(item.to_string())).into_iter().map(move |n| (item, n));
    let all: Vec<(u32, u32)> = items.into_iter().flat_map(of_item).collect();
    all.into_iter().map(|(item, attempt)| key(Some(item), attempt)).collect()
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
