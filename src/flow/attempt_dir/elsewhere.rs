//! Where on the disk a run begins.
//!
//! For minutes after files were deleted, ext4 without a journal looks through them for each new file nearby, and every
//! attempt has a new one: its log. So that no run has to do with what was deleted beside it, each begins in another part of
//! the disk.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::fcntl::{OFlag, openat};
use nix::libc::{c_int, c_long};
use nix::sys::stat::Mode;

mod flags {
    nix::ioctl_read!(get, b'f', 1, super::c_long);
    nix::ioctl_write_ptr!(set, b'f', 2, super::c_long);
}

/// The folders in it have nothing to do with one another (`chattr +T`).
const SCATTERED: c_int = 0x2_0000;

/// Lays the folders that will be made in this one apart from each other, where the file system knows how to.
pub(super) fn scatter(folder: &OwnedFd) {
    let how = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let Ok(folder) = openat(folder, c".", how, Mode::empty()) else { return };
    // The kernel takes one number in the place of what it calls a long.
    let mut now: [c_int; 2] = [0; 2];
    // SAFETY: the descriptor is open, and there is room for a long.
    let known = unsafe { flags::get(folder.as_raw_fd(), now.as_mut_ptr().cast()) }.is_ok();
    if known && now[0] & SCATTERED == 0 {
        now[0] |= SCATTERED;
        // SAFETY: as above. Where it is refused, all is as it was.
        unsafe { flags::set(folder.as_raw_fd(), now.as_ptr().cast()) }.ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_scattered(folder: &OwnedFd) -> bool {
        let mut now: [c_int; 2] = [0; 2];
        // SAFETY: the descriptor is open, and there is room for a long.
        unsafe { flags::get(folder.as_raw_fd(), now.as_mut_ptr().cast()) }.unwrap();
        now[0] & SCATTERED != 0
    }

    #[test]
    fn a_folder_is_scattered_where_the_file_system_knows_how_to() {
        let dir = tempfile::tempdir().unwrap();
        let folder = OwnedFd::from(std::fs::File::open(dir.path()).unwrap());
        let is_ext4 = nix::sys::statfs::fstatfs(&folder).unwrap().filesystem_type()
            == nix::sys::statfs::EXT4_SUPER_MAGIC;
        scatter(&folder);
        assert!(!is_ext4 || is_scattered(&folder));
    }
}
