//! A cgroup v2 per attempt, where the kernel lets us make one: then "which processes are of this attempt" has an exact
//! answer, and killing them all is one write. Everything works without it; only slower.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The folder below which the attempts' cgroups are made.
#[derive(Debug, Clone)]
pub(crate) struct Cgroups {
    base: Rc<str>,
}

impl Cgroups {
    /// Makes `restage-NAME` below the cgroup that this process is in; `None` where that is not allowed, or where the
    /// kernel is too old to kill a cgroup by one write.
    pub(crate) fn make(name: &str) -> Option<Self> {
        let mount = mount_point(&fs::read_to_string("/proc/self/mountinfo").ok()?)?;
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::"))?.trim_start_matches('/').to_owned();
        let base = mount.join(own).join(format!("restage-{name}"));
        match fs::create_dir(&base) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return None,
            Ok(()) | Err(_) => {}
        }
        if base.join("cgroup.kill").exists() {
            Some(Self { base: base.to_str()?.into() })
        } else {
            // Without the file there is nothing to gain.
            fs::remove_dir(&base).ok();
            None
        }
    }

    /// A fresh cgroup, and its descriptor for the spawn.
    pub(crate) fn add(&self, name: &str) -> io::Result<(PathBuf, OwnedFd)> {
        let dir = Path::new(&*self.base).join(name);
        fs::create_dir(&dir)?;
        let fd = fs::File::open(&dir)?;
        Ok((dir, OwnedFd::from(fd)))
    }

    /// The folder, as it is written into the journal.
    pub(crate) fn base(&self) -> Rc<str> {
        Rc::clone(&self.base)
    }

    /// Our own folder goes, too, with what is empty in it; leftovers that were allowed to live keep theirs.
    pub(crate) fn remove_base(&self) {
        remove(Path::new(&*self.base));
    }
}

/// Whether any process is in it or below. One that is gone is empty; one that cannot be asked is not known to be.
pub(crate) fn is_populated(dir: &Path) -> bool {
    let mut events = [0_u8; 64];
    let read =
        fs::File::open(dir.join("cgroup.events")).and_then(|mut file| io::Read::read(&mut file, &mut events));
    match read {
        Ok(_) => events.starts_with(b"populated 1"),
        Err(error) => !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)),
    }
}

pub(crate) fn kill(dir: &Path) -> io::Result<()> {
    fs::write(dir.join("cgroup.kill"), "1")
}

/// Removes it, with the empty ones that its processes made below it.
pub(crate) fn remove(dir: &Path) {
    if fs::remove_dir(dir).is_ok() {
        return;
    }
    if let Ok(entries) = fs::read_dir(dir) {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove(&entry.path());
            }
        }
    }
    // What still is not empty stays; it holds nothing but names.
    fs::remove_dir(dir).ok();
}

fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ');
        let (root, point) = (fields.nth(3)?, fields.next()?);
        (root == "/" && after.starts_with("cgroup2 ")).then(|| PathBuf::from(point))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_gone_is_empty_and_one_that_cannot_be_asked_is_not() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_populated(&dir.path().join("gone")));
        std::fs::create_dir(dir.path().join("cgroup.events")).unwrap();
        assert!(is_populated(dir.path()));
    }

    #[test]
    fn finds_the_unified_mount_of_hybrid_and_pure_systems() {
        let hybrid = "30 23 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
                      31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n\
                      32 30 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids";
        assert_eq!(mount_point(hybrid), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(mount_point("1 1 0:1 / /sys rw - sysfs sysfs rw"), None);
    }
}
