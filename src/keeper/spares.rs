//! What the next spawn will need, made while nobody waits for it: a log that has no name yet, and an empty cgroup. Both
//! cost the kernel more than all the rest of a spawn; neither is missed where it is not there.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::cgroup::Cgroups;
use super::log::Log;
use super::sweep::marker;

#[derive(Debug, Default)]
pub(crate) struct Spares {
    log: Option<SpareLog>,
    nest: Option<Nest>,
}

/// A cgroup, which is called by the token of the attempt that will live in it.
#[derive(Debug)]
pub(crate) struct Nest {
    pub(crate) token: u64,
    /// Where cgroups are in use: the folder, and its descriptor for the spawn.
    pub(crate) cgroup: Option<(PathBuf, OwnedFd)>,
}

impl Nest {
    pub(crate) fn make(cgroups: Option<&Cgroups>) -> io::Result<Self> {
        let token = token()?;
        let cgroup = cgroups.map(|cgroups| cgroups.add(&marker(token))).transpose()?;
        Ok(Self { token, cgroup })
    }
}

/// An open file in this folder that nobody can find yet. The kernel takes it back with its descriptor.
#[derive(Debug)]
struct SpareLog {
    dir: PathBuf,
    log: Log,
}

impl Spares {
    /// The nest that is ready, or a new one.
    pub(crate) fn take_nest(&mut self, cgroups: Option<&Cgroups>) -> io::Result<Nest> {
        self.nest.take().map_or_else(|| Nest::make(cgroups), Ok)
    }

    /// A fresh log at this path; `None` where something is there already, or there is none to be had this way.
    pub(crate) fn take_log(&mut self, path: &Path) -> Option<Log> {
        let spare = self.log.take_if(|spare| path.parent() == Some(&spare.dir))?;
        match give_name(&spare.log.fd, path) {
            Ok(()) => Some(spare.log),
            Err(error) => {
                if error.kind() == io::ErrorKind::AlreadyExists {
                    // It will do for another one.
                    self.log = Some(spare);
                }
                None
            }
        }
    }

    /// Makes what is missing. `log_dir`: where the next log is likely to be; `None` lets go of the one that is ready,
    /// which keeps its file system in use.
    pub(crate) fn prepare(&mut self, cgroups: Option<&Cgroups>, log_dir: Option<&Path>) {
        if self.nest.is_none() {
            // The spawn tries again, and says what is wrong.
            self.nest = Nest::make(cgroups).ok();
        }
        if self.log.as_ref().map(|spare| &*spare.dir) != log_dir {
            self.log =
                log_dir.and_then(|dir| Some(SpareLog { dir: dir.to_owned(), log: nameless(dir).ok()? }));
        }
    }
}

/// Not every file system can do this.
fn nameless(dir: &Path) -> io::Result<Log> {
    let file = OpenOptions::new()
        .append(true)
        .mode(0o600)
        .custom_flags(libc::O_TMPFILE | libc::O_CLOEXEC | libc::O_NOCTTY)
        .open(dir)?;
    Log::of(file)
}

/// Fails where anything is there already, be it a link that leads nowhere.
fn give_name(file: &OwnedFd, path: &Path) -> io::Result<()> {
    let from = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let to = CString::new(path.as_os_str().as_bytes())?;
    let flags = libc::AT_SYMLINK_FOLLOW;
    // SAFETY: both are valid C strings; the descriptor is open, and a null time means now: the file begins today.
    let done = unsafe {
        let done = libc::linkat(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), flags);
        if done == 0 {
            libc::futimens(file.as_raw_fd(), std::ptr::null());
        }
        done
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Never 0 and never "unlimited"; 62 random bits.
fn token() -> io::Result<u64> {
    let mut bytes = [0_u8; 8];
    // SAFETY: the buffer is valid for its length.
    if unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) } != 8 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::from_ne_bytes(bytes) >> 2 | 1)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_spare_log_takes_nobodys_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a_1.log");
        let mut spares = Spares::default();
        assert!(spares.take_log(&path).is_none(), "none is ready");
        spares.prepare(None, Some(dir.path()));
        if spares.log.is_none() {
            // A file system without nameless files: logs are made as ever.
            return;
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nobody sees it");
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        assert!(spares.take_log(&path).is_none(), "a link is in its place");
        assert!(spares.take_log(Path::new("/elsewhere/a_1.log")).is_none());
        let path = dir.path().join("a_2.log");
        let log = spares.take_log(&path).expect("it is still there");
        let meta = std::fs::metadata(&path).unwrap();
        assert_eq!((log.file, meta.mode() & 0o777), ((meta.dev(), meta.ino()), 0o600));
        std::fs::write(&path, "x").unwrap();
        File::from(log.fd).write_all(b"y").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "xy", "it is appended to");
    }

    #[test]
    fn each_nest_has_a_token_of_its_own() {
        let mut spares = Spares::default();
        spares.prepare(None, None);
        let ready = spares.nest.as_ref().unwrap().token;
        let first = spares.take_nest(None).unwrap().token;
        assert_eq!(first, ready);
        assert_ne!(spares.take_nest(None).unwrap().token, first);
    }
}
