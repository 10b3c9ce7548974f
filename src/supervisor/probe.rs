//! Looking at the world from outside: logs, CPU, files, room on disks. Behind a trait, so that tests can say what is
//! seen.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use nix::sys::statvfs::statvfs;

use super::proc_tree::{TreeUse, tree_use};
use crate::domain::ids::Process;
use crate::domain::time::Timestamp;

/// A walk for globs ends after this many entries.
const MOST_ENTRIES: usize = 20_000;
/// Less than this on a disk counts as full: a log could not even begin.
const LEAST_ROOM: u64 = 64 << 10;

/// What a log looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogMark {
    pub bytes: u64,
    pub modified: Timestamp,
}

pub trait Probe: Send + Sync {
    fn log(&self, path: &Path) -> Option<LogMark>;
    /// CPU and memory of a whole tree.
    fn tree(&self, main: Process) -> Option<TreeUse>;
    /// The newest change of a file that matches one of the globs, which are relative to the folder.
    fn newest(&self, folder: &Path, globs: &[String]) -> Option<Timestamp>;
    /// Why nothing new should be written below this folder; `None`: there is room.
    fn no_room(&self, folder: &Path) -> Option<String>;
}

/// The real world.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemProbe;

impl Probe for SystemProbe {
    fn log(&self, path: &Path) -> Option<LogMark> {
        let found = fs::metadata(path).ok()?;
        Some(LogMark { bytes: found.len(), modified: modified(&found)? })
    }

    fn tree(&self, main: Process) -> Option<TreeUse> {
        tree_use(main)
    }

    fn newest(&self, folder: &Path, globs: &[String]) -> Option<Timestamp> {
        let mut left = MOST_ENTRIES;
        let mut newest = None;
        for (base, wanted) in roots(folder, globs) {
            walk(&base, &wanted, &mut left, &mut newest);
        }
        newest
    }

    fn no_room(&self, folder: &Path) -> Option<String> {
        // What cannot be asked is left to the spawn, which names what is wrong.
        let found = statvfs(folder).or_else(|_| statvfs(existing(folder))).ok()?;
        let blocks =
            if nix::unistd::geteuid().is_root() { found.blocks_free() } else { found.blocks_available() };
        let room = blocks.saturating_mul(found.fragment_size());
        (room < LEAST_ROOM).then(|| format!("the disk of {} is full", folder.display()))
    }
}

/// The folder itself, or the one above it that is there.
fn existing(folder: &Path) -> &Path {
    folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}

fn modified(found: &fs::Metadata) -> Option<Timestamp> {
    Timestamp::new(found.mtime(), i32::try_from(found.mtime_nsec()).ok()?).ok()
}

/// Each glob with the folder that its walk can begin at: the part before the first special character.
fn roots(folder: &Path, globs: &[String]) -> Vec<(PathBuf, GlobSet)> {
    let special = |part: &OsStr| part.to_string_lossy().contains(['*', '?', '[', '{']);
    globs
        .iter()
        .filter_map(|glob| {
            let whole = folder.join(glob);
            let plain: PathBuf = whole.iter().take_while(|part| !special(part)).collect();
            let pattern = GlobBuilder::new(whole.to_str()?).literal_separator(true).build().ok()?;
            let wanted = GlobSetBuilder::new().add(pattern).build().ok()?;
            Some((plain, wanted))
        })
        .collect()
}

fn walk(at: &Path, wanted: &GlobSet, left: &mut usize, newest: &mut Option<Timestamp>) {
    if *left == 0 {
        return;
    }
    *left -= 1;
    // Symlinks are not followed, so that no loop catches us.
    let Ok(found) = fs::symlink_metadata(at) else { return };
    if found.is_dir() {
        for entry in fs::read_dir(at).into_iter().flatten().flatten() {
            walk(&entry.path(), wanted, left, newest);
        }
    } else if wanted.is_match(at) {
        *newest = (*newest).max(modified(&found));
    }
}

/// CPU use that counts as a sign of life within this time: 1 %, and more than the clock's own grain.
pub fn counts_as_busy(used: Duration, within: Duration) -> bool {
    used >= Duration::from_millis(10) && used >= within / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_the_files_that_match_is_found_at_any_depth() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("out/deep")).unwrap();
        let touch = |name: &str, seconds: u64| {
            let file = fs::File::create(dir.path().join(name)).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        };
        touch("out/a.png", 100);
        touch("out/deep/b.png", 300);
        touch("out/deep/c.txt", 900);
        touch("d.png", 800);
        let newest =
            |glob: &str| SystemProbe.newest(dir.path(), &[glob.to_owned()]).map(jiff::Timestamp::as_second);
        assert_eq!(newest("out/**/*.png"), Some(300));
        assert_eq!(newest("out/*.png"), Some(100));
        assert_eq!(newest("d.png"), Some(800));
        assert_eq!(newest("*.mp4"), None);
    }

    #[test]
    fn there_is_room_here_also_below_a_folder_that_is_yet_to_be_made() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(SystemProbe.no_room(&dir.path().join("not/yet")), None);
        assert!(SystemProbe.no_room(Path::new("/proc")).is_none_or(|why| why.contains("full")));
    }

    #[test]
    fn a_hundredth_of_the_time_counts_as_busy() {
        let ms = Duration::from_millis;
        assert!(counts_as_busy(ms(10), ms(1000)));
        assert!(!counts_as_busy(ms(9), ms(10)), "the grain of the kernel's clock");
        assert!(!counts_as_busy(ms(40), ms(5000)));
    }
}
