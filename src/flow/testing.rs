//! For the tests of this room: a workspace in a temporary folder, and a disk that is soon full.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::attempt_dir::{AttemptDirs, AttemptKey, Given};
use super::beneath::FileError;
use super::objects::{Objects, Source};
use crate::domain::flow::ids::{RunId, StageName};
use crate::domain::flow::record::Artifact;

pub(super) struct Place {
    pub(super) dir: TempDir,
    pub(super) objects: Objects,
    pub(super) dirs: AttemptDirs,
    disk: bool,
}

impl Place {
    pub(super) fn new() -> Self {
        Self::on(tempfile::tempdir().unwrap(), false)
    }

    /// So much room (`size=1m`, or `nr_inodes=20`); `None` where nothing may be mounted.
    pub(super) fn small(room: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("{room},mode=0700");
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("none"), dir.path(), Some("tmpfs"), flags, Some(options.as_str())).ok()?;
        Some(Self::on(dir, true))
    }

    fn on(dir: TempDir, disk: bool) -> Self {
        let data = dir.path().join(".restage");
        Self {
            objects: Objects::new(data.join("objects")),
            dirs: AttemptDirs::new(data.join("runs")),
            dir,
            disk,
        }
    }

    /// Ends the one that was there, and waits until it has done what it was told.
    pub(super) fn without_dirs(mut self) -> Self {
        self.dirs = AttemptDirs::new(self.dirs.root().to_owned());
        self
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    pub(super) fn import(&self, name: &str, bytes: impl AsRef<[u8]>) -> Artifact {
        let path = self.write("original", bytes);
        self.try_import(name, &path).unwrap()
    }

    pub(super) fn try_import(&self, name: &str, path: &Path) -> Result<Artifact, FileError> {
        let source = Source { name: name.into(), file: File::open(path).unwrap() };
        self.objects.import([Ok(source)]).map(|mut artifacts| artifacts.remove(0))
    }

    /// Folder and environment of an attempt without anything special.
    pub(super) fn prepare(&self, key: &AttemptKey) -> PathBuf {
        self.dirs.prepare(&self.objects, &given(key)).unwrap();
        self.dirs.path(key)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.disk {
            nix::mount::umount2(self.dir.path(), nix::mount::MntFlags::MNT_DETACH).unwrap();
        }
    }
}

pub(super) fn key(stage: &str, attempt: u32) -> AttemptKey {
    AttemptKey { run: RunId::trusted("video-12"), stage: StageName::trusted(stage), item: None, attempt }
}

pub(super) fn given(key: &AttemptKey) -> Given<'_> {
    Given {
        key,
        state: b"{}",
        inputs: &[],
        item: None,
        previous: None,
        feedback: None,
        parent_run: None,
        retry_from: None,
        idempotency_key: "video-12/render",
    }
}

/// Everything below a folder, as paths relative to it, in order; folders end in `/`.
pub(super) fn tree(folder: &Path) -> Vec<String> {
    fn walk(folder: &Path, prefix: &str, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type().unwrap().is_dir() {
                found.push(format!("{name}/"));
                walk(&entry.path(), &format!("{name}/"), found);
            } else {
                found.push(name);
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, "", &mut found);
    found.sort();
    found
}
