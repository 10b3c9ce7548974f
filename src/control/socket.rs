//! Where the socket lies and how to get at it: bound under another name and moved into place, so that it is never
//! there with the wrong mode, and reached through an open folder, so that a long path is no obstacle.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

pub const SOCKET_FILE: &str = "control.sock";

#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("make the folder {path} for the control socket: {source}")]
    Folder { path: PathBuf, source: io::Error },
    #[error("use the folder {path} for the control socket: it is not, or not only, the user's own")]
    Foreign { path: PathBuf },
    #[error("bind the control socket {path}: {source}")]
    Bind { path: PathBuf, source: io::Error },
    #[error("bind the control socket: no folder for it")]
    Nowhere,
}

/// A listening socket that knows whether it can still be found by its name.
#[derive(Debug)]
pub struct Bound {
    pub listener: UnixListener,
    pub path: PathBuf,
    /// Device and inode of the file.
    file: (u64, u64),
}

impl Bound {
    /// Binds in the first folder that can be had. The caller holds the workspace's lock: a file that is already there
    /// belongs to somebody who is gone.
    pub fn bind(folders: &[PathBuf]) -> Result<Self, SocketError> {
        let mut last = SocketError::Nowhere;
        for folder in folders {
            match Self::bind_in(folder) {
                Ok(bound) => return Ok(bound),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn bind_in(folder: &Path) -> Result<Self, SocketError> {
        private_folder(folder)?;
        let path = folder.join(SOCKET_FILE);
        let bind = |source| SocketError::Bind { path: path.clone(), source };
        let opened = open_folder(folder).map_err(bind)?;
        let within = through(&opened);
        let new = within.join(format!(".{SOCKET_FILE}.{}", std::process::id()));
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(bind(error)),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&new).map_err(bind)?;
        fs::set_permissions(&new, Permissions::from_mode(0o600)).map_err(bind)?;
        let metadata = fs::symlink_metadata(&new).map_err(bind)?;
        fs::rename(&new, within.join(SOCKET_FILE)).map_err(bind)?;
        Ok(Self { listener, path, file: (metadata.dev(), metadata.ino()) })
    }

    /// Whether a client would find this socket, and not another one or nothing.
    pub fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.file)
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if self.is_there() {
            // A file that stays behind only costs the next client a refused connection.
            fs::remove_file(&self.path).ok();
        }
    }
}

/// Connects to a socket, however long its path is.
pub async fn connect(path: &Path) -> io::Result<UnixStream> {
    let (Some(folder), Some(file)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let opened = open_folder(folder)?;
    UnixStream::connect(through(&opened).join(file)).await
}

fn open_folder(folder: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(folder)
}

/// A path of a few bytes to an open folder.
fn through(folder: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()))
}

/// The folder exists, is ours, and nobody else can enter it or put another one in its place.
fn private_folder(folder: &Path) -> Result<(), SocketError> {
    let failed = |source| SocketError::Folder { path: folder.to_owned(), source };
    let foreign = || SocketError::Foreign { path: folder.to_owned() };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let us = nix::unistd::geteuid().as_raw();
    if let Some(above) = folder.parent() {
        let above = fs::metadata(above).map_err(failed)?;
        let shared = above.mode() & 0o022 != 0 && above.mode() & libc::S_ISVTX == 0;
        if (above.uid() != us && above.uid() != 0) || shared {
            return Err(foreign());
        }
    }
    let metadata = fs::symlink_metadata(folder).map_err(failed)?;
    if metadata.uid() != us || !metadata.is_dir() {
        return Err(foreign());
    }
    if metadata.mode() & 0o077 != 0 {
        fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn private_findable_and_gone_after_use() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a").join("b".repeat(200));
        let bound = Bound::bind(std::slice::from_ref(&folder)).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::symlink_metadata(&bound.path).unwrap().mode() & 0o777, 0o600);
        assert!(bound.is_there());
        connect(&bound.path).await.unwrap();
        let path = bound.path.clone();
        fs::remove_file(&path).unwrap();
        assert!(!bound.is_there());
        let again = Bound::bind(&[folder]).unwrap();
        drop(bound);
        assert!(again.is_there(), "the old one does not take the new one's file away");
        drop(again);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn the_next_folder_is_taken_where_the_first_cannot_be_had() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let good = dir.path().join("good");
        let bound = Bound::bind(&[file.join("below"), good.clone()]).unwrap();
        assert_eq!(bound.path, good.join(SOCKET_FILE));
        assert!(Bound::bind(&[file]).unwrap_err().to_string().contains("make the folder"));
    }
}
