//! Where on the disk a run begins.
//!
//! For minutes after files were deleted, ext4 without a journal looks through them for each new file nearby, and every
//! attempt has a new one: its log. So that no run has to do with what was deleted beside it, each begins in another part of
//! the disk. Which one that is, ext4 tells by the folder's name at its birth; and the first run of a flow is called the same
//! in every workspace. So it is born under a name that nobody has used.

use std::ffi::{CStr, CString};
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::fcntl::{OFlag, RenameFlags, openat, renameat2};
use nix::libc::{c_int, c_long};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::flow::beneath::make_one;

/// Where folders of runs are born; no run is called that. One of somebody who died at its birth is collected.
pub(in crate::flow) const CRADLE: &str = ".born";

mod flags {
    nix::ioctl_read!(get, b'f', 1, super::c_long);
    nix::ioctl_write_ptr!(set, b'f', 2, super::c_long);
}

/// The folders that are born in it have nothing to do with one another (`chattr +T`).
const SCATTERED: c_int = 0x2_0000;

/// Makes the folder of a run, which is not there.
pub(super) fn make(top: &OwnedFd, name: &CStr) -> nix::Result<()> {
    match make_apart(top, name) {
        Ok(true) => Ok(()),
        // Another part of the disk is not worth an attempt.
        Ok(false) | Err(_) => make_one(top, name).map(drop),
    }
}

/// False where there is no other part of the disk to be had.
fn make_apart(top: &OwnedFd, name: &CStr) -> nix::Result<bool> {
    let cradle = make_one(top, CRADLE)?;
    if !scatter(&cradle) {
        return Ok(false);
    }
    let born = CString::new(format!("{:016x}", RandomState::new().hash_one(name))).unwrap_or_default();
    mkdirat(&cradle, born.as_c_str(), Mode::S_IRWXU)?;
    let moved = renameat2(&cradle, born.as_c_str(), top, name, RenameFlags::RENAME_NOREPLACE);
    if moved.is_err() {
        unlinkat(&cradle, born.as_c_str(), UnlinkatFlags::RemoveDir)?;
    }
    Ok(moved.is_ok())
}

/// Lays the folders that will be born in this one apart from each other; false where the file system does not know how to.
fn scatter(folder: &OwnedFd) -> bool {
    let how = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let Ok(folder) = openat(folder, c".", how, Mode::empty()) else { return false };
    // The kernel takes one number in the place of what it calls a long.
    let mut now: [c_int; 2] = [0; 2];
    // SAFETY: the descriptor is open, and there is room for a long.
    if unsafe { flags::get(folder.as_raw_fd(), now.as_mut_ptr().cast()) }.is_err() {
        return false;
    }
    if now[0] & SCATTERED != 0 {
        return true;
    }
    now[0] |= SCATTERED;
    // SAFETY: as above. Where it is refused, all is as it was.
    unsafe { flags::set(folder.as_raw_fd(), now.as_ptr().cast()) }.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &std::path::Path) -> OwnedFd {
        OwnedFd::from(std::fs::File::open(path).unwrap())
    }

    #[test]
    fn a_run_is_born_apart_where_the_file_system_knows_how_to() {
        let dir = tempfile::tempdir().unwrap();
        let top = open(dir.path());
        make(&top, c"video-1").unwrap();
        assert!(std::fs::read_dir(dir.path().join("video-1")).unwrap().next().is_none());
        let cradle = dir.path().join(CRADLE);
        assert!(std::fs::read_dir(&cradle).unwrap().next().is_none(), "nothing is left there");
        let is_ext4 =
            nix::sys::statfs::fstatfs(&top).unwrap().filesystem_type() == nix::sys::statfs::EXT4_SUPER_MAGIC;
        assert!(scatter(&open(&cradle)) || !is_ext4);
    }

    #[test]
    fn one_that_somebody_else_has_made_meanwhile_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("video-1/logs")).unwrap();
        make(&open(dir.path()), c"video-1").unwrap();
        assert!(dir.path().join("video-1/logs").is_dir(), "with what is in it");
        assert!(std::fs::read_dir(dir.path().join(CRADLE)).unwrap().next().is_none());
    }

    #[test]
    fn a_run_begins_also_where_it_cannot_be_born_apart() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(CRADLE), "in the way").unwrap();
        make(&open(dir.path()), c"video-1").unwrap();
        assert!(dir.path().join("video-1").is_dir());
    }
}
