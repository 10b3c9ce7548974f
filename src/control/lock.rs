//! Who supervises this workspace: a lock file that the supervisor holds while it lives, whose content says how to reach
//! it. The lock is the kernel's, so it ends with its holder; the content may be stale, and is only believed together
//! with the process that it names.
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
        let text = serde_json::to_vec(holder)?;
        let write = |file: &File| {
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
        let ours = self.file.metadata().ok();
        ours.is_some_and(|ours| file_id(&self.path) == Some((ours.dev(), ours.ino())))
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

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn take_one(path: &Path, patience: Duration, lives: fn(&Process) -> bool) -> Result<File, LockError> {
    let failed = |source| LockError::Io { path: path.to_owned(), source };
    let file = open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::Error(source)) => return Err(failed(source)),
        Err(TryLockError::WouldBlock) => {}
    }
    let found = holder(path);
    if found.as_ref().is_some_and(|holder| lives(&holder.process)) {
        return Err(LockError::Held { path: path.to_owned(), holder: found });
    }
    match lock_within(file, patience) {
        Some(Ok(file)) => Ok(file),
        Some(Err(source)) => Err(failed(source)),
        None => Err(LockError::Held { path: path.to_owned(), holder: holder(path) }),
    }
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

/// What the lock file says; `None` where it says nothing (yet).
pub fn holder(path: &Path) -> Option<Holder> {
    let mut text = String::new();
    File::open(path).ok()?.take(64 << 10).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
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
        assert_eq!(holder(&path), None);
        lock.announce(&me("/run/a/very/long/path/to/the/control.sock")).unwrap();
        lock.announce(&me("/run/x.sock")).unwrap();
        assert_eq!(holder(&path), Some(me("/run/x.sock")));
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            r#"{"pid":42,"start":7,"socket":"/run/x.sock","started_at":"1970-01-01T00:00:00Z","headless":true}"#
        );
        match WorkspaceLock::take(&path, Duration::from_mins(1), |process| process.pid == 42) {
            Err(LockError::Held { holder, .. }) => assert_eq!(holder, Some(me("/run/x.sock"))),
            other => panic!("{other:?}"),
        }
        drop(lock);
        assert!(!is_held(&path));
        assert_eq!(holder(&path), None);
        WorkspaceLock::take(&path, Duration::ZERO, |_| true).unwrap();
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
