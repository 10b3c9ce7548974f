//! Private folders that seem to be as they were made, with nothing in them: the next attempt moves into one. Many short
//! attempts leave nothing, and to make and to remove what each of them needs takes a file system longer than they take
//! themselves.
//!
//! Nothing of an attempt lives when its folder is left, so nobody has it open any more. It is looked at once it is at its
//! new place, where nobody else finds it: one that anybody has changed is no spare.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{OFlag, RenameFlags, openat, renameat2};
use nix::sys::stat::{Mode, SFlag, fstat};

use super::{ARTIFACTS, STATE};
use crate::flow::beneath::{enter, has_only, kind, look, open};

/// More than most flows have under way at once.
const MOST: usize = 64;

/// A folder by the name of its run and its own.
type Place = (CString, CString);

#[derive(Debug, Default)]
pub(super) struct Spares(Mutex<Vec<Place>>);

impl Spares {
    /// False: there are enough.
    pub(super) fn keep(&self, place: Place) -> bool {
        let mut spares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spares.contains(&place) {
            return true;
        }
        let kept = spares.len() < MOST;
        if kept {
            spares.push(place);
        }
        kept
    }

    pub(super) fn take(&self) -> Option<Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

/// It is at this place now, and open. One that cannot be used stays where it was.
pub(super) fn move_in(top: &OwnedFd, (run, old): &Place, to: &OwnedFd, name: &CStr) -> nix::Result<OwnedFd> {
    let from = enter(top, run.as_c_str())?;
    renameat2(&from, old.as_c_str(), to, name, RenameFlags::RENAME_NOREPLACE)?;
    match open(to, name) {
        Ok(folder) if is_untouched(&folder).unwrap_or(false) => Ok(folder),
        _ => {
            // It may be large, and nobody is to wait until it is removed.
            renameat2(to, name, &from, old.as_c_str(), RenameFlags::RENAME_NOREPLACE)?;
            Err(Errno::ENOTEMPTY)
        }
    }
}

fn is_untouched(folder: &OwnedFd) -> nix::Result<bool> {
    let own = nix::unistd::geteuid().as_raw();
    let artifacts = open(folder, ARTIFACTS)?;
    for folder in [folder, &artifacts] {
        let found = fstat(folder)?;
        if found.st_mode & 0o7777 != 0o700 || found.st_uid != own {
            return Ok(false);
        }
    }
    let state = look(folder, STATE)?;
    // Another name for the file would be another way to it.
    let is_ours = kind(&state) == SFlag::S_IFREG
        && state.st_mode & 0o7777 == 0o600
        && state.st_uid == own
        && state.st_nlink == 1;
    Ok(is_ours && has_only(&artifacts, &[])? && has_only(folder, &[STATE, ARTIFACTS])?)
}

/// Makes the file say this. Most say the same as the one before.
pub(super) fn rewrite(folder: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(folder, STATE, flags, Mode::empty())?);
    let mut found = Vec::with_capacity(bytes.len() + 1);
    (&mut file).take(bytes.len() as u64 + 1).read_to_end(&mut found)?;
    if found != bytes {
        // Cut only behind what is written: some file systems take one that was emptied for a file that has to be safe on
        // the disk before anything else happens.
        file.write_all_at(bytes, 0)?;
        file.set_len(bytes.len() as u64)?;
    }
    Ok(())
}
