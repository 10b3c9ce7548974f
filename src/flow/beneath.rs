//! Files below a folder that a stage may have rearranged as it likes: opened part by part without following symbolic
//! links, removed whatever their modes and depth. And the one error of everything here that touches files.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::NixPath;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::domain::flow::ids::Hash;

/// What went wrong with our own files. A stage is never to blame for it, and spends no retry.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The disk is full, or something else that passes; nothing was left half done, and it may be tried again.
    #[error("{act}: {cause}")]
    Later { act: String, cause: io::Error },
    #[error("{act}: {cause}")]
    Broken { act: String, cause: io::Error },
    /// The bytes of an artifact are gone, or are not what they were.
    #[error("artifact {name}: {why} (object {hash}); a retry of the run makes it anew")]
    Lost { name: String, hash: Hash, why: String },
}

impl FileError {
    pub(super) fn new(act: impl Into<String>, cause: impl Into<io::Error>) -> Self {
        let (act, cause) = (act.into(), cause.into());
        if passes(&cause) { Self::Later { act, cause } } else { Self::Broken { act, cause } }
    }

    /// It may be tried again when there is room.
    pub const fn is_later(&self) -> bool {
        matches!(self, Self::Later { .. })
    }
}

fn passes(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOSPC | libc::EDQUOT | libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN)
    )
}

/// For `map_err`: names the act and the thing.
pub(super) fn during<E: Into<io::Error>>(act: &str, path: &Path) -> impl FnOnce(E) -> FileError {
    move |cause| FileError::new(format!("{act} {}", path.display()), cause)
}

/// A folder as a starting point for others; no symbolic link, and no permission to read it is needed.
pub(super) fn enter(at: impl AsFd, name: &(impl NixPath + ?Sized)) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(at, name, flags, Mode::empty())
}

/// That folder, made where there is none.
pub(super) fn make_one(at: impl AsFd, name: &(impl NixPath + ?Sized)) -> nix::Result<OwnedFd> {
    match mkdirat(&at, name, Mode::S_IRWXU) {
        Ok(()) | Err(Errno::EEXIST) => enter(&at, name),
        Err(error) => Err(error),
    }
}

/// What has this name itself, links not followed.
pub(super) fn look(at: impl AsFd, name: &(impl NixPath + ?Sized)) -> nix::Result<FileStat> {
    fstatat(at, name, AtFlags::AT_SYMLINK_NOFOLLOW)
}

pub(super) fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// A regular file for reading. A pipe that was put in its place is not waited for, a link is not followed (`ELOOP`);
/// anything else that is no regular file is `EINVAL`.
pub(super) fn open_file(at: impl AsFd, name: &(impl NixPath + ?Sized)) -> nix::Result<File> {
    // Looked at before it is opened, because to open a device may do something.
    match kind(&look(&at, name)?) {
        SFlag::S_IFREG => {}
        SFlag::S_IFLNK => return Err(Errno::ELOOP),
        _ => return Err(Errno::EINVAL),
    }
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let fd = openat(at, name, flags, Mode::empty())?;
    regular(File::from(fd))
}

/// The file itself, where it is a regular one.
pub(super) fn regular(file: File) -> nix::Result<File> {
    match kind(&nix::sys::stat::fstat(&file)?) {
        SFlag::S_IFREG => Ok(file),
        _ => Err(Errno::EINVAL),
    }
}

/// A file several folders below, none of which is a link.
pub(super) fn open_file_below(at: impl AsFd, path: &str) -> nix::Result<File> {
    let Some((folders, name)) = path.rsplit_once('/') else { return open_file(at, path) };
    let mut parts = folders.split('/');
    let first = parts.next().unwrap_or_default();
    let folder = parts.try_fold(enter(at, first)?, enter)?;
    open_file(folder, name)
}

/// A folder that can be read; no symbolic link.
pub(super) fn open(at: impl AsFd, name: &(impl NixPath + ?Sized)) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(at, name, flags, Mode::empty())
}

/// The names in a folder, in no order, without `.` and `..`. It may be one whose owner forbade to read it.
pub(super) fn names(folder: impl AsFd) -> nix::Result<Vec<CString>> {
    listed(folder)?.collect()
}

/// Whether nothing else is in a folder.
pub(super) fn has_only(folder: impl AsFd, expected: &[&str]) -> nix::Result<bool> {
    for name in listed(folder)? {
        let name = name?;
        if !expected.iter().any(|one| one.as_bytes() == name.to_bytes()) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn listed(folder: impl AsFd) -> nix::Result<impl Iterator<Item = nix::Result<CString>>> {
    let entries = Dir::from_fd(open(folder, c".")?)?.into_iter();
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_owned()));
    Ok(names.filter(|name| !matches!(name, Ok(name) if [c".", c".."].contains(&name.as_c_str()))))
}

/// Deeper folders are first moved up, so that neither descriptors nor the stack run out.
const DEPTH: usize = 32;

/// Removes whatever has this name; nothing is fine, too. Links are not followed, and modes are no obstacle.
pub(super) fn remove(at: impl AsFd, name: &CStr) -> nix::Result<()> {
    match unlinkat(&at, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        Err(Errno::EISDIR) => {}
        Err(error) => return Err(error),
    }
    let top = match enter_unlocked(&at, name) {
        // Somebody else removes it, too.
        Err(Errno::ENOENT) => return Ok(()),
        entered => entered?.0,
    };
    let mut moved = 0;
    // What was moved up is found by the next round.
    loop {
        let before = moved;
        empty(&top, &top, DEPTH, &mut moved)?;
        if moved == before {
            break;
        }
    }
    match unlinkat(&at, name, UnlinkatFlags::RemoveDir) {
        Err(Errno::ENOENT) => Ok(()),
        removed => removed,
    }
}

fn empty(top: &OwnedFd, folder: &OwnedFd, depth: usize, moved: &mut u32) -> nix::Result<()> {
    for name in names(folder)? {
        match unlinkat(folder, name.as_c_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => continue,
            Err(Errno::EISDIR) => {}
            Err(error) => return Err(error),
        }
        let (below, _) = enter_unlocked(folder, &name)?;
        if depth == 0 {
            let aside = format!(".restage-removed-{moved}");
            *moved += 1;
            renameat(folder, name.as_c_str(), top, aside.as_str())?;
            continue;
        }
        empty(top, &below, depth - 1, moved)?;
        unlinkat(folder, name.as_c_str(), UnlinkatFlags::RemoveDir)?;
    }
    Ok(())
}

/// A folder whose content may be changed from now on, and whether that was forbidden before.
pub(super) fn enter_unlocked(at: impl AsFd, name: &CStr) -> nix::Result<(OwnedFd, bool)> {
    let folder = enter(&at, name)?;
    let mode = nix::sys::stat::fstat(&folder)?.st_mode & 0o7777;
    let locked = mode & 0o700 != 0o700;
    if locked {
        // By way of the descriptor, so that it cannot be another one by now.
        let path = format!("/proc/self/fd/{}", folder.as_raw_fd());
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
            .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    }
    Ok((folder, locked))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    fn fd(path: &Path) -> File {
        File::open(path).unwrap()
    }

    #[test]
    fn a_tree_of_locked_folders_is_removed_and_what_its_links_name_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("precious"), "x").unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::write(tree.join("a/b/file"), "x").unwrap();
        std::os::unix::fs::symlink(&outside, tree.join("a/link")).unwrap();
        nix::unistd::mkfifo(&tree.join("a/pipe"), Mode::S_IRWXU).unwrap();
        for folder in ["a/b", "a", ""] {
            fs::set_permissions(tree.join(folder), fs::Permissions::from_mode(0o555)).unwrap();
        }
        fs::set_permissions(tree.join("a/b"), fs::Permissions::from_mode(0o000)).unwrap();
        remove(fd(dir.path()), c"tree").unwrap();
        assert!(!tree.exists());
        assert!(outside.join("precious").exists());

        // A link in place of the tree itself goes alone; nothing is fine.
        std::os::unix::fs::symlink(&outside, &tree).unwrap();
        remove(fd(dir.path()), c"tree").unwrap();
        remove(fd(dir.path()), c"tree").unwrap();
        assert!(outside.join("precious").exists());
    }

    #[test]
    fn a_tree_of_any_depth_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mut at = OwnedFd::from(fd(dir.path()));
        for depth in 0..10 * DEPTH {
            let name = if depth == 0 { "tree" } else { "d" };
            nix::sys::stat::mkdirat(&at, name, Mode::S_IRWXU).unwrap();
            at = enter(&at, name).unwrap();
        }
        remove(fd(dir.path()), c"tree").unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_regular_files_are_opened_and_none_behind_a_link() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/file"), "x").unwrap();
        std::os::unix::fs::symlink("a", dir.path().join("way")).unwrap();
        std::os::unix::fs::symlink("a/b/file", dir.path().join("link")).unwrap();
        nix::unistd::mkfifo(&dir.path().join("pipe"), Mode::S_IRWXU).unwrap();
        let at = fd(dir.path());
        assert!(open_file_below(&at, "a/b/file").is_ok());
        assert_eq!(open_file_below(&at, "way/b/file").unwrap_err(), Errno::ENOTDIR);
        assert_eq!(open_file_below(&at, "link").unwrap_err(), Errno::ELOOP);
        assert_eq!(open_file_below(&at, "pipe").unwrap_err(), Errno::EINVAL);
        assert_eq!(open_file_below(&at, "a").unwrap_err(), Errno::EINVAL);
        assert_eq!(open_file_below(&at, "none").unwrap_err(), Errno::ENOENT);
    }

    #[test]
    fn what_passes_is_told_from_what_is_broken() {
        let path = PathBuf::from("/x");
        let error = during("write", &path)(Errno::ENOSPC);
        assert!(error.is_later());
        assert!(error.to_string().starts_with("write /x: "), "{error}");
        assert!(!during("write", &path)(Errno::EIO).is_later());
    }
}
