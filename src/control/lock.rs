//! Who supervises this workspace: a lock file that the supervisor holds while it lives, whose content says how to reach
//! it. The lock is the kernel's, so it ends with its holder; the content may be stale, and is only believed together
//! with the process that it names.

use std::fs::{self, File, FileTimes, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::ids::Process;
use crate::domain::time::Timestamp;

pub const LOCK_FILE: &str = "supervisor.lock";

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
    file: File,
}

impl WorkspaceLock {
    /// Takes the lock. Somebody who only looks may hold it for a moment, and somebody who starts at the same time may
    /// give it up again, so one that names no living holder is waited for.
    pub fn take(path: &Path, patience: Duration, lives: fn(&Process) -> bool) -> Result<Self, LockError> {
        let failed = |source| LockError::Io { path: path.to_owned(), source };
        let open =
            || OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = open().map_err(failed)?;
        match file.try_lock() {
            Ok(()) => return Ok(Self { file }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
            Err(TryLockError::WouldBlock) => {}
        }
        let found = holder(path);
        if found.as_ref().is_some_and(|holder| lives(&holder.process)) {
            return Err(LockError::Held { path: path.to_owned(), holder: found });
        }
        match lock_within(file, patience) {
            Some(Ok(file)) => Ok(Self { file }),
            Some(Err(source)) => Err(failed(source)),
            None => Err(LockError::Held { path: path.to_owned(), holder: holder(path) }),
        }
    }

    /// Says who we are and where we are to be found.
    pub fn announce(&self, holder: &Holder) -> io::Result<()> {
        let text = serde_json::to_vec(holder)?;
        self.file.write_all_at(&text, 0)?;
        self.file.set_len(text.len() as u64)
    }
}

impl Drop for WorkspaceLock {
    fn drop(&mut self) {
        // Stale content is harmless: it is believed only while its process lives.
        self.file.set_len(0).ok();
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
