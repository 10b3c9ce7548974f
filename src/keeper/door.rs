//! The keeper's socket: found through the lock file, and made anew when somebody deletes it or its whole folder.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt};
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
}

#[derive(Debug)]
pub(crate) struct Door {
    dir: PathBuf,
    socket: PathBuf,
    listener: UnixListener,
    watch: Inotify,
    lock: File,
}

impl Door {
    pub(crate) fn open(dir: &Path, lock: &File) -> io::Result<Self> {
        let socket = dir.join("keeper.sock");
        let (listener, watch) = bind(dir, &socket)?;
        let door = Self { dir: dir.to_owned(), socket, listener, watch, lock: lock.try_clone()? };
        door.sign()?;
        Ok(door)
    }

    pub(crate) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    pub(crate) fn watch(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }

    pub(crate) fn accept(&self) -> Option<UnixStream> {
        self.listener.accept().ok().map(|(stream, _)| stream)
    }

    /// Something changed in the folder: binds anew where our socket is gone. True when the descriptors are new ones.
    pub(crate) fn mend(&mut self) -> io::Result<bool> {
        while self.watch.read_events().is_ok_and(|events| !events.is_empty()) {}
        if fs::symlink_metadata(&self.socket).is_ok() {
            return Ok(false);
        }
        (self.listener, self.watch) = bind(&self.dir, &self.socket)?;
        self.sign()?;
        Ok(true)
    }

    pub(crate) fn close(&self) {
        fs::remove_file(&self.socket).ok();
        self.lock.set_len(0).ok();
    }

    fn sign(&self) -> io::Result<()> {
        let pid = std::process::id().cast_signed();
        let start = proc::stat(pid).map_or(0, |stat| stat.start);
        let sign = Sign { pid, start, socket: self.socket.clone() };
        let text = serde_json::to_vec(&sign)?;
        // A full disk must not stop a takeover: whoever looks falls back to the usual place of the socket.
        self.lock.set_len(0).ok();
        self.lock.write_all_at(&text, 0).ok();
        (&self.lock).flush()
    }
}

fn bind(dir: &Path, socket: &Path) -> io::Result<(UnixListener, Inotify)> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    let gone = AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF;
    watch.add_watch(dir, gone)?;
    // The lock is ours, so a socket that lies there is of a keeper that is dead.
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    // The mask of the keeper makes it 0600.
    let listener = UnixListener::bind(socket)?;
    listener.set_nonblocking(true)?;
    Ok((listener, watch))
}
