//! Who supervises this workspace: a lock file that the supervisor holds while it lives, whose content says how to reach
//! it. The lock is the kernel's, so it ends with its holder; the content may be stale, and is only believed together
//! with the process that it names.
//!
//! It may also have come along with a copy of the whole folder, and then it names a supervisor that lives and is not of
//! this workspace. So the content says into which file it was written. Where that is not this one, or is not said, as
//! by the version before, the kernel has the last word: what is held was written by its holder. That is so, too, where
//! the same file has another number, as through some mounts; for who takes the lock does away with what came along.
//!
//! Whoever cleans up by deleting the folder of the workspace deletes the file, and with it the lock. So there is a second
//! one beside the state, which keeps a second supervisor away until the first has made the file anew.

use std::fs::{self, DirBuilder, File, FileTimes, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::ids::Process;
use crate::domain::time::Timestamp;

pub const LOCK_FILE: &str = "supervisor.lock";

/// Whoever holds a lock says of itself less than this.
const ROOM: usize = 4096;

/// What the holder of the lock says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    #[serde(flatten)]
    pub process: Process,
    pub socket: PathBuf,
    pub started_at: Timestamp,
    pub headless: bool,
}

/// What the file says.
#[derive(Debug, Serialize, Deserialize)]
struct Said<H> {
    #[serde(flatten)]
    holder: H,
    /// Device and inode of the file that it was written into.
    #[serde(default)]
    file: Option<(u64, u64)>,
}

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("another supervisor holds {path}")]
    Held { path: PathBuf, holder: Option<Holder> },
    #[error("lock {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// The workspace is ours until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct WorkspaceLock {
    path: PathBuf,
    file: File,
    /// Where there can be one.
    second: Option<File>,
    of_no_supervisor: bool,
}

impl WorkspaceLock {
    /// Takes the lock. Somebody who only looks may hold it for a moment, and somebody who starts at the same time may
    /// give it up again, so one that names no living holder is waited for.
    pub fn take(path: &Path, patience: Duration, lives: fn(&Process) -> bool) -> Result<Self, LockError> {
        let file = take_one(path, patience, lives)?;
        Ok(Self { path: path.to_owned(), file, second: None, of_no_supervisor: false })
    }

    /// Takes another one for the same end. A place where nothing can be locked is done without.
    pub fn also(
        mut self,
        path: &Path,
        patience: Duration,
        lives: fn(&Process) -> bool,
    ) -> Result<Self, LockError> {
        if path == self.path {
            return Ok(self);
        }
        match take_one(path, patience, lives) {
            Ok(file) => self.second = Some(file),
            Err(held @ LockError::Held { .. }) => return Err(held),
            Err(LockError::Io { path, source }) => {
                tracing::debug!(path = %path.display(), %source, "lock a second time");
            }
        }
        Ok(self)
    }

    /// What the last supervisor has left in it stays: whoever holds it only to write into the records is none.
    #[must_use]
    pub const fn of_no_supervisor(mut self) -> Self {
        self.of_no_supervisor = true;
        self
    }

    /// Takes the room that [`Self::announce`] will need. What cannot say who it is would keep everybody else away and be
    /// found by nobody, so a disk without room for that is better known before anything begins.
    pub fn make_room(&self) -> io::Result<()> {
        if self.file.metadata()?.len() > 0 {
            return Ok(());
        }
        // Blanks say nothing yet.
        self.file.write_all_at(&[b' '; ROOM], 0)
    }

    /// Says who we are and where we are to be found.
    pub fn announce(&self, holder: &Holder) -> io::Result<()> {
        let write = |file: &File| {
            let text = serde_json::to_vec(&Said { holder, file: id_of(file) })?;
            file.write_all_at(&text, 0)?;
            file.set_len(text.len() as u64)
        };
        if let Some(second) = &self.second {
            // Verbs read the first one; this only tells a second supervisor whose name to give.
            write(second).ok();
        }
        write(&self.file)
    }

    /// Whether others find this lock, and not another file or nothing.
    pub fn is_there(&self) -> bool {
        let ours = id_of(&self.file);
        ours.is_some() && file_id(&self.path) == ours
    }

    /// Makes the file anew, with its folder, after somebody has deleted it.
    pub fn renew(&mut self) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let file = open(&self.path)?;
        // Somebody who looks, or who is about to find the second lock taken, has it for a moment only.
        file.try_lock().map_err(io::Error::from)?;
        self.file = file;
        Ok(())
    }
}

impl Drop for WorkspaceLock {
    fn drop(&mut self) {
        if self.of_no_supervisor {
            return;
        }
        // Stale content is harmless: it is believed only while its process lives.
        self.file.set_len(0).ok();
        if let Some(second) = &self.second {
            second.set_len(0).ok();
        }
    }
}

/// Device and inode of what lies at this path.
pub fn file_id(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

fn id_of(file: &File) -> Option<(u64, u64)> {
    file.metadata().ok().map(|found| (found.dev(), found.ino()))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn take_one(path: &Path, patience: Duration, lives: fn(&Process) -> bool) -> Result<File, LockError> {
    let failed = |source| LockError::Io { path: path.to_owned(), source };
    let file = open(path).map_err(failed)?;
    let file = match file.try_lock() {
        Ok(()) => file,
        Err(TryLockError::Error(source)) => return Err(failed(source)),
        Err(TryLockError::WouldBlock) => {
            let (id, found) = (id_of(&file), read(path));
            if let Some((Said { holder, .. }, _)) =
                found.filter(|(said, _)| said.file == id && lives(&said.holder.process))
            {
                return Err(LockError::Held { path: path.to_owned(), holder: Some(holder) });
            }
            match lock_within(file, patience) {
                Some(Ok(file)) => file,
                Some(Err(source)) => return Err(failed(source)),
                None => return Err(LockError::Held { path: path.to_owned(), holder: holder(path, lives) }),
            }
        }
    };
    // It was written elsewhere, and whoever is named there lives: the file is a copy of his. Who has just been killed lets
    // go of the lock while he still seems to live.
    let id = id_of(&file);
    if read(path).is_some_and(|(said, _)| said.file != id && lives(&said.holder.process)) {
        file.set_len(0).map_err(failed)?;
    }
    Ok(file)
}

/// A lock without a deadline, taken by a thread of its own, which ends with the process where nobody waits any more.
fn lock_within(file: File, patience: Duration) -> Option<io::Result<File>> {
    let (done, taken) = mpsc::channel();
    std::thread::spawn(move || {
        let locked = file.lock().map(|()| file);
        // Nobody waits any more: dropping the file gives the lock back.
        done.send(locked).ok();
    });
    taken.recv_timeout(patience).ok()
}

/// Who holds the lock, or held it and is dead; `None` where the file says nothing (yet), or what it says came along with
/// a copy.
pub fn holder(path: &Path, lives: fn(&Process) -> bool) -> Option<Holder> {
    let (said, file) = read(path)?;
    let Said { holder, file: written_into } = said;
    let is_believed = match written_into {
        Some(id) if id_of(&file) == Some(id) => true,
        Some(_) => is_held(path),
        None => !lives(&holder.process) || is_held(path),
    };
    is_believed.then_some(holder)
}

fn read(path: &Path) -> Option<(Said<Holder>, File)> {
    let file = File::open(path).ok()?;
    let mut text = String::new();
    (&file).take(64 << 10).read_to_string(&mut text).ok()?;
    Some((serde_json::from_str(&text).ok()?, file))
}

/// Whether anybody holds the lock now.
pub fn is_held(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// Resolves when nobody holds the lock exclusively. The thread that waits ends with the process at the latest.
pub async fn freed(path: &Path) {
    // Without the file nobody can hold it.
    let Ok(file) = File::open(path) else { return };
    let (done, freed) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        file.lock_shared().ok();
        // Nobody waits any more: fine.
        done.send(()).ok();
    });
    freed.await.ok();
}

/// Asks the holder to look whether its socket is still there.
pub fn knock(path: &Path) -> io::Result<()> {
    let metadata = fs::metadata(path)?;
    let times = FileTimes::new().set_accessed(metadata.accessed()?).set_modified(metadata.modified()?);
    // The times stay as they are. Setting both is what the holder is woken by; one alone would count as a write.
    OpenOptions::new().write(true).open(path)?.set_times(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me(socket: &str) -> Holder {
        Holder {
            process: Process { pid: 42, start: 7 },
            socket: socket.into(),
            started_at: Timestamp::UNIX_EPOCH,
            headless: true,
        }
    }

    #[test]
    fn one_holder_at_a_time_and_it_says_who_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOCK_FILE);
        assert!(!is_held(&path));
        let lock = WorkspaceLock::take(&path, Duration::ZERO, |_| true).unwrap();
        assert!(is_held(&path));
        assert_eq!(holder(&path, |_| true), None);
        lock.announce(&me("/run/a/very/long/path/to/the/control.sock")).unwrap();
        lock.announce(&me("/run/x.sock")).unwrap();
        assert_eq!(holder(&path, |_| true), Some(me("/run/x.sock")));
        let text = fs::read_to_string(&path).unwrap();
        let (device, inode) = file_id(&path).unwrap();
        assert_eq!(
            text,
            format!(
                "{{{}{device},{inode}]}}",
                r#""pid":42,"start":7,"socket":"/run/x.sock","started_at":"1970-01-01T00:00:00Z","headless":true,"file":["#
            )
        );
        match WorkspaceLock::take(&path, Duration::from_mins(1), |process| process.pid == 42) {
            Err(LockError::Held { holder, .. }) => assert_eq!(holder, Some(me("/run/x.sock"))),
            other => panic!("{other:?}"),
        }
        drop(lock);
        assert!(!is_held(&path));
        assert_eq!(holder(&path, |_| true), None);
        WorkspaceLock::take(&path, Duration::ZERO, |_| true).unwrap();
    }

    #[test]
    fn what_came_along_with_a_copy_is_not_believed_and_done_away_with() {
        let dir = tempfile::tempdir().unwrap();
        let (path, copied) = (dir.path().join(LOCK_FILE), dir.path().join("copied"));
        let lives = |process: &Process| process.pid == 42;
        let lock = WorkspaceLock::take(&path, Duration::ZERO, lives).unwrap();
        lock.announce(&me("/run/x.sock")).unwrap();
        fs::copy(&path, &copied).unwrap();
        assert_eq!(holder(&copied, lives), None);
        let taken = WorkspaceLock::take(&copied, Duration::ZERO, lives).unwrap();
        assert_eq!(fs::metadata(&copied).unwrap().len(), 0);
        assert_eq!(holder(&copied, lives), None);
        taken.announce(&me("/run/y.sock")).unwrap();
        assert_eq!(holder(&copied, lives), Some(me("/run/y.sock")));
        assert_eq!(holder(&path, lives), Some(me("/run/x.sock")));
    }

    #[test]
    fn what_the_version_before_wrote_counts_while_it_is_held_or_its_writer_is_dead() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOCK_FILE);
        fs::write(&path, serde_json::to_vec(&me("/run/x.sock")).unwrap()).unwrap();
        assert_eq!(holder(&path, |_| true), None);
        assert_eq!(holder(&path, |_| false), Some(me("/run/x.sock")));
        let held = File::open(&path).unwrap();
        held.lock().unwrap();
        assert_eq!(holder(&path, |_| true), Some(me("/run/x.sock")));
        // The same file through a mount that numbers it otherwise.
        let elsewhere = Said { holder: me("/run/x.sock"), file: Some((0, 0)) };
        fs::write(&path, serde_json::to_vec(&elsewhere).unwrap()).unwrap();
        assert_eq!(holder(&path, |_| true), Some(me("/run/x.sock")));
        drop(held);
        assert_eq!(holder(&path, |_| true), None);
    }

    #[test]
    fn a_deleted_file_leaves_the_second_lock_and_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (path, second) = (dir.path().join("data").join(LOCK_FILE), dir.path().join(LOCK_FILE));
        fs::create_dir(dir.path().join("data")).unwrap();
        let take =
            || WorkspaceLock::take(&path, Duration::ZERO, |_| true)?.also(&second, Duration::ZERO, |_| true);
        let mut lock = take().unwrap();
        lock.announce(&me("/run/x.sock")).unwrap();
        assert!(lock.is_there());
        fs::remove_dir_all(dir.path().join("data")).unwrap();
        assert!(!lock.is_there());
        fs::create_dir(dir.path().join("data")).unwrap();
        match take() {
            Err(LockError::Held { holder, .. }) => assert_eq!(holder, Some(me("/run/x.sock"))),
            other => panic!("{other:?}"),
        }
        assert!(!lock.is_there(), "the other one's file");
        lock.renew().unwrap();
        lock.announce(&me("/run/x.sock")).unwrap();
        assert!(lock.is_there() && is_held(&path));
        drop(lock);
        take().unwrap();
    }

    #[test]
    fn somebody_who_only_looks_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOCK_FILE);
        let looking = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        looking.lock_shared().unwrap();
        assert!(WorkspaceLock::take(&path, Duration::from_millis(20), |_| false).is_err());
        let (ready, wait) = mpsc::channel();
        let taker = std::thread::spawn({
            let path = path.clone();
            move || {
                ready.send(()).unwrap();
                WorkspaceLock::take(&path, Duration::from_secs(30), |_| false).map(drop)
            }
        });
        wait.recv().unwrap();
        drop(looking);
        taker.join().unwrap().unwrap();
    }
}
