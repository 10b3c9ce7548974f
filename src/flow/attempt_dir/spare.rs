//! Private folders that were left just as they had been made, with nothing in them: the next attempt moves into one. Many
//! short attempts leave nothing, and to make and to remove what each of them needs takes a file system longer than they
//! take themselves.
//!
//! Nothing of an attempt lives when its folder is left, so nobody has it open any more. One that anybody has changed is
//! no spare.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use nix::fcntl::{OFlag, RenameFlags, openat, renameat2};
use nix::sys::stat::{Mode, SFlag, fstat};

use super::{ARTIFACTS, STATE};
use crate::flow::beneath::{enter, kind, look, names};

/// More than most flows have under way at once.
const MOST: usize = 64;

/// A folder by the name of its run and its own.
type Place = (CString, CString);

#[derive(Debug, Default)]
pub(super) struct Spares(Mutex<Vec<Place>>);

impl Spares {
    /// False: it is of no use to anybody else.
    pub(super) fn keep(&self, top: &OwnedFd, place: Place) -> bool {
        if !is_untouched(top, &place).unwrap_or(false) {
            return false;
        }
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

fn is_untouched(top: &OwnedFd, (run, name): &Place) -> nix::Result<bool> {
    let open = |at: &OwnedFd, name: &CStr| {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(at, name, flags, Mode::empty())
    };
    let own = nix::unistd::geteuid().as_raw();
    let folder = open(&enter(top, run.as_c_str())?, name)?;
    let artifacts = open(&folder, &CString::new(ARTIFACTS).unwrap_or_default())?;
    for folder in [&folder, &artifacts] {
        let found = fstat(folder)?;
        if found.st_mode & 0o7777 != 0o700 || found.st_uid != own {
            return Ok(false);
        }
    }
    let state = look(&folder, STATE)?;
    // Another name for the file would be another way to it.
    let is_ours = kind(&state) == SFlag::S_IFREG
        && state.st_mode & 0o7777 == 0o600
        && state.st_uid == own
        && state.st_nlink == 1;
    if !is_ours || !names(&artifacts)?.is_empty() {
        return Ok(false);
    }
    Ok(names(&folder)?
        .iter()
        .all(|name| [STATE, ARTIFACTS].iter().any(|own| name.to_bytes() == own.as_bytes())))
}

/// It is at this place now, and open.
pub(super) fn move_in(top: &OwnedFd, (run, old): &Place, to: &OwnedFd, name: &CStr) -> nix::Result<OwnedFd> {
    let from = enter(top, run.as_c_str())?;
    renameat2(&from, old.as_c_str(), to, name, RenameFlags::RENAME_NOREPLACE)?;
    enter(to, name)
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
