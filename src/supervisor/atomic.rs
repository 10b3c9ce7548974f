//! Small files of our own: replaced in one step, private, and never destroyed when they cannot be read.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::libc::O_NOFOLLOW;

use crate::domain::time::Timestamp;

/// Replaces a file by one with this content. After a `kill -9` at any moment there is the old content or the new one,
/// and after a power loss, too.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = with_suffix(path, ".tmp");
    let written = write_new(&temporary, content).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // What is left takes room that may be what is lacking; the next replacement overwrites it anyway.
        fs::remove_file(&temporary).ok();
    }
    written
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).custom_flags(O_NOFOLLOW);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_data()
}

/// Makes renames within a folder survive a power loss.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Moves a file that cannot be read out of the way, with its bytes: `NAME.corrupt-20260102T030405Z`.
pub fn set_aside(path: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let stamp = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let aside = (0..100)
        .map(|n| if n == 0 { format!(".corrupt-{stamp}") } else { format!(".corrupt-{stamp}-{n}") })
        .map(|suffix| with_suffix(path, &suffix))
        .find(|aside| fs::symlink_metadata(aside).is_err())
        .ok_or_else(|| io::Error::from(io::ErrorKind::AlreadyExists))?;
    fs::rename(path, &aside)?;
    Ok(aside)
}

/// A folder that is ours and that nobody else can enter. It is made where it is missing; one that is a symlink or
/// belongs to somebody else is refused, because whoever made it can put things into it.
pub fn private_dir(dir: &Path) -> io::Result<()> {
    if let Some(parent) = dir.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let found = fs::symlink_metadata(dir)?;
    if !found.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is a symlink or no folder"));
    }
    if found.uid() != nix::unistd::geteuid().as_raw() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("it belongs to the user {}", found.uid()),
        ));
    }
    if found.mode() & 0o077 != 0 {
        fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// The same path with something added to its last part.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacing_leaves_nothing_else_behind_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.json");
        replace(&path, b"one").unwrap();
        replace(&path, b"2").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(replace(&dir.path().join("absent/file"), b"").is_err());
    }

    #[test]
    fn what_is_set_aside_keeps_its_bytes_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.json");
        for content in ["first", "second"] {
            fs::write(&path, content).unwrap();
            let aside = set_aside(&path, Timestamp::UNIX_EPOCH).unwrap();
            assert_eq!(fs::read_to_string(aside).unwrap(), content);
        }
        assert!(dir.path().join("file.json.corrupt-19700101T000000Z").exists());
        assert!(dir.path().join("file.json.corrupt-19700101T000000Z-1").exists());
    }

    #[test]
    fn a_private_folder_is_ours_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        private_dir(&deep).unwrap();
        fs::set_permissions(&deep, Permissions::from_mode(0o755)).unwrap();
        private_dir(&deep).unwrap();
        assert_eq!(fs::metadata(&deep).unwrap().mode() & 0o777, 0o700);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&deep, &link).unwrap();
        assert!(private_dir(&link).is_err());
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(private_dir(&dir.path().join("file")).is_err());
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&deep, Some(12345), None).unwrap();
            assert!(private_dir(&deep).is_err());
        }
    }
}
