//! The keeper's socket and its lock file, through which the socket is found. Both are made anew when somebody deletes
//! them or their whole folders.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde::{Deserialize, Serialize};

use super::proc;

/// What the lock file says of the keeper that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sign {
    pub pid: i32,
    pub start: u64,
    pub socket: PathBuf,
    /// Device and inode of the file that it was written into: a copy of the folder brings along what is said there.
    #[serde(default)]
    pub file: Option<(u64, u64)>,
}

impl Sign {
    /// What is said by whoever holds the lock. Where it was written into another file, or does not say into which, as by
    /// the version before, the kernel tells whether anybody does; so it does for a mount that numbers files otherwise.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        let mut text = Vec::new();
        (&file).read_to_end(&mut text).ok()?;
        let sign: Self = serde_json::from_slice(&text).ok()?;
        let is_own = sign.file.is_some() && sign.file == id_of(&file);
        let is_held = || matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
        (is_own || is_held()).then_some(sign)
    }

    /// For whoever has the lock: what is left there was written elsewhere and names somebody who lives, so the folder is a
    /// copy of his. Who has just been killed lets go of the lock while he still seems to live.
    pub(super) fn is_copied(lock: &File) -> bool {
        let mut text = [0; 4096];
        let read = lock.read_at(&mut text, 0).unwrap_or(0);
        let sign = text.get(..read).and_then(|text| serde_json::from_slice::<Self>(text).ok());
        sign.is_some_and(|sign| sign.file != id_of(lock) && proc::is_alive(sign.pid, sign.start))
    }
}

pub(crate) const LOCK_FILE: &str = "keeper.lock";

/// The lock of a workspace's keeper; `None` while another one holds it. Makes the folder where there is none.
pub(crate) fn lock(data_dir: &Path) -> Result<Option<File>, String> {
    let failed = |act: &str, path: &Path, error: io::Error| format!("{act} {}: {error}", path.display());
    make_dir(data_dir).map_err(|error| failed("make", data_dir, error))?;
    let path = data_dir.join(LOCK_FILE);
    let lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(&path)
        .map_err(|error| failed("open", &path, error))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(failed("lock", &path, error)),
    }
}

/// Whether a path still leads to an open file.
pub(super) fn leads_to(path: &Path, file: &File) -> bool {
    id_of(file).is_some_and(|ours| fs::symlink_metadata(path).is_ok_and(|there| ours == id(&there)))
}

/// A folder that was moved is the same one; one that still is where it was is another one.
pub(super) fn is_elsewhere(theirs: &Path, ours: &Path) -> bool {
    match (fs::metadata(theirs), fs::metadata(ours)) {
        (Ok(theirs), Ok(ours)) => id(&theirs) != id(&ours),
        (Ok(_), Err(_)) | (Err(_), _) => false,
    }
}

fn id_of(file: &File) -> Option<(u64, u64)> {
    file.metadata().ok().map(|found| id(&found))
}

fn id(found: &fs::Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

#[derive(Debug)]
pub(crate) struct Door {
    dir: PathBuf,
    data_dir: PathBuf,
    socket: PathBuf,
    listener: UnixListener,
    watch: Inotify,
    lock: File,
}

impl Door {
    pub(crate) fn open(dir: &Path, data_dir: &Path, lock: &File) -> io::Result<Self> {
        let socket = dir.join("keeper.sock");
        let listener = bind(dir, &socket)?;
        let watch = watch(dir, data_dir)?;
        let (dir, data_dir, lock) = (dir.to_owned(), data_dir.to_owned(), lock.try_clone()?);
        let mut door = Self { dir, data_dir, socket, listener, watch, lock };
        // Somebody may have deleted it while an earlier keeper died.
        door.lock_anew();
        door.sign()?;
        Ok(door)
    }

    pub(crate) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    pub(crate) fn watch(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }

    pub(crate) fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().map(|(stream, _)| stream)
    }

    /// Something went away in one of the folders: makes anew what is missing of ours. True when there are new descriptors.
    pub(crate) fn mend(&mut self) -> io::Result<bool> {
        while self.watch.read_events().is_ok_and(|events| !events.is_empty()) {}
        let has_socket = fs::symlink_metadata(&self.socket).is_ok();
        let locked_anew = self.lock_anew();
        if has_socket && !locked_anew {
            return Ok(false);
        }
        if !has_socket {
            self.listener = bind(&self.dir, &self.socket)?;
        }
        self.watch = watch(&self.dir, &self.data_dir)?;
        self.sign()?;
        Ok(true)
    }

    /// Where the lock is not there any more, or another file. One that somebody else holds by now is left to him.
    fn lock_anew(&mut self) -> bool {
        if leads_to(&self.data_dir.join(LOCK_FILE), &self.lock) {
            return false;
        }
        match lock(&self.data_dir) {
            Ok(Some(lock)) => {
                self.lock = lock;
                true
            }
            // On a full disk, or a folder that is no longer ours, the old one has to do.
            Ok(None) | Err(_) => false,
        }
    }

    pub(crate) fn close(&self) {
        fs::remove_file(&self.socket).ok();
        self.lock.set_len(0).ok();
    }

    pub(crate) fn into_lock(self) -> File {
        self.lock
    }

    fn sign(&self) -> io::Result<()> {
        let pid = std::process::id().cast_signed();
        let start = proc::stat(pid).map_or(0, |stat| stat.start);
        let sign = Sign { pid, start, socket: self.socket.clone(), file: id_of(&self.lock) };
        let text = serde_json::to_vec(&sign)?;
        // A full disk must not stop a takeover: whoever looks falls back to the usual place of the socket.
        self.lock.set_len(0).ok();
        self.lock.write_all_at(&text, 0).ok();
        (&self.lock).flush()
    }
}

fn make_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn watch(dir: &Path, data_dir: &Path) -> io::Result<Inotify> {
    let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    let gone = AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF;
    watch.add_watch(dir, gone)?;
    watch.add_watch(data_dir, gone)?;
    Ok(watch)
}

fn bind(dir: &Path, socket: &Path) -> io::Result<UnixListener> {
    make_dir(dir)?;
    // The lock is ours, so a socket that lies there is of a keeper that is dead.
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    // The mask of the keeper makes it 0600.
    let listener = UnixListener::bind(socket)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
