//! The log of an attempt, opened for the child, for a relay, for a look. What stands in its place and is no plain file is
//! refused, and none of it is waited for.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// An open log, and what it can be told by.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) fd: OwnedFd,
    /// Device and inode.
    pub(crate) file: (u64, u64),
}

impl Log {
    pub(crate) fn of(file: File) -> io::Result<Self> {
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        Ok(Self { fd: OwnedFd::from(file), file: (meta.dev(), meta.ino()) })
    }

    /// For the child: it is appended to, never truncated, and made with its folder where there is none.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        open_or_make(path, OpenOptions::new().append(true))
    }
}

/// Not `O_APPEND`, which splice refuses: the relay is the only one who writes, at an offset of its own. One that was
/// moved away is made anew: the output goes on.
pub(crate) fn for_relay(path: &Path) -> io::Result<File> {
    open_or_make(path, OpenOptions::new().write(true)).map(|log| File::from(log.fd))
}

/// Whether anybody has the file open for writing: a read lease is refused then.
pub(crate) fn has_writer(path: &Path) -> bool {
    let Ok(log) = open(path, OpenOptions::new().read(true)) else { return false };
    // SAFETY: the descriptor is open; a lease that was given ends with it.
    let refused = unsafe { libc::fcntl(log.fd.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) } != 0;
    refused && io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN)
}

fn open_or_make(path: &Path, how: &mut OpenOptions) -> io::Result<Log> {
    match open(path, how.create(true).mode(0o600)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let dir = path.parent().unwrap_or(Path::new("/"));
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            open(path, how)
        }
        other => other,
    }
}

fn open(path: &Path, how: &mut OpenOptions) -> io::Result<Log> {
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NOCTTY | libc::O_NONBLOCK;
    Log::of(how.custom_flags(flags).open(path)?)
}
