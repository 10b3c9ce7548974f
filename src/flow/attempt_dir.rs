//! The private folder of one attempt: `.restage/runs/<run>/<stage>[/<item>]/<attempt>/`. It is made before the attempt
//! starts, with what the stage may read, and removed once the store names what came of it. The folder of an attempt
//! that failed stays for the next one to look at, until it is collected.
//!
//! Nothing here is fsynced: after a power loss no process is left that could go on in it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::beneath::{self, FileError, during, enter};
use super::objects::Objects;
use crate::domain::flow::ids::{RunId, StageName};
use crate::domain::flow::record::Artifact;
use crate::domain::json::Json;

/// The kernel refuses a variable of more than 128 KiB.
const FEEDBACK_MAX: usize = 64 << 10;

pub(super) const STATE: &str = "state.json";
pub(super) const INPUTS: &str = "inputs";
pub(super) const OUTPUT: &str = "output";
pub(super) const ARTIFACTS: &str = "artifacts";
const ITEM: &str = "item.json";
const FEEDBACK: &str = "feedback";

/// Which attempt of what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AttemptKey {
    pub run: RunId,
    pub stage: StageName,
    /// Of a stage that fans out.
    pub item: Option<u32>,
    pub attempt: u32,
}

/// What an attempt starts with.
#[derive(Debug)]
pub struct Given<'a> {
    pub key: &'a AttemptKey,
    /// The inputs of the run and the outputs of its ancestors, merged, as JSON.
    pub state: &'a [u8],
    /// The artifacts of its ancestors; one without any may be left out.
    pub inputs: &'a [(&'a StageName, &'a [Artifact])],
    pub item: Option<&'a Json>,
    /// The failed attempt before it.
    pub previous: Option<&'a AttemptKey>,
    pub feedback: Option<&'a str>,
    pub parent_run: Option<&'a RunId>,
    pub retry_from: Option<&'a StageName>,
    /// The same for every attempt of this stage at the same work.
    pub idempotency_key: &'a str,
}

/// Why an attempt cannot be prepared or settled.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// What the stage did, or was to be given, is wrong: the attempt fails with these words.
    #[error("{0}")]
    Stage(String),
    /// It is not to blame.
    #[error(transparent)]
    Files(#[from] FileError),
}

/// All private folders of a workspace.
#[derive(Debug)]
pub struct AttemptDirs {
    root: PathBuf,
}

impl AttemptDirs {
    /// `.restage/runs`, absolute.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn path(&self, key: &AttemptKey) -> PathBuf {
        let mut path = self.root.join(key.run.as_str());
        path.extend(key.parts());
        path.push(key.attempt.to_string());
        path
    }

    /// Makes the folder, new and with nothing of an earlier one in it, and says what the environment is to name. After
    /// an error it is gone.
    pub fn prepare(
        &self,
        objects: &Objects,
        given: &Given<'_>,
    ) -> Result<BTreeMap<String, String>, AttemptError> {
        let path = self.path(given.key);
        let env = self.environment(&path, given)?;
        let (parent, folder) = self.make(given.key).map_err(during("make the folder", &path))?;
        let filled = fill(&path, &folder, objects, given);
        if filled.is_err() {
            // What stays is removed by whoever makes it next.
            beneath::remove(&parent, &given.key.name()).ok();
        }
        filled.map(|()| env).map_err(AttemptError::from)
    }

    /// Removes the folder of an attempt whose end is on record, and those above it that held nothing else. One that is
    /// gone is fine.
    pub fn remove(&self, key: &AttemptKey) -> Result<(), FileError> {
        let fail = |error: Errno| during("remove", &self.path(key))(error);
        let above = match self.above(key) {
            Ok(above) => above,
            Err(Errno::ENOENT) => return Ok(()),
            Err(error) => return Err(fail(error)),
        };
        let Some(parent) = above.last() else { return Ok(()) };
        let name = key.name();
        // Mostly there is nothing but what was made here, and no need to look.
        if let Ok(folder) = enter(parent, name.as_c_str()) {
            for file in [STATE, OUTPUT] {
                unlinkat(&folder, file, UnlinkatFlags::NoRemoveDir).ok();
            }
            for below in [ARTIFACTS, INPUTS] {
                unlinkat(&folder, below, UnlinkatFlags::RemoveDir).ok();
            }
        }
        if unlinkat(parent, name.as_c_str(), UnlinkatFlags::RemoveDir).is_err() {
            beneath::remove(parent, &name).map_err(fail)?;
        }
        let parts: Vec<String> = key.parts().collect();
        for (at, part) in above[1..].iter().zip(&parts).rev() {
            // Others lie in it, or come just now.
            if unlinkat(at, part.as_str(), UnlinkatFlags::RemoveDir).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Of an attempt that failed, its copies of what it was given, which nobody looks at again.
    pub fn drop_inputs(&self, key: &AttemptKey) -> Result<(), FileError> {
        match self.open(key) {
            Ok(folder) => {
                beneath::remove(folder, c"inputs").map_err(during("remove", &self.path(key).join(INPUTS)))
            }
            // It removed its own folder.
            Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(during("open", &self.path(key))(error)),
        }
    }

    /// Whether taking it in may take long.
    pub fn has_artifacts(&self, key: &AttemptKey) -> bool {
        fs::read_dir(self.path(key).join(ARTIFACTS)).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// The folder, where it is one and the way there has no link that a stage made.
    pub(super) fn open(&self, key: &AttemptKey) -> nix::Result<OwnedFd> {
        let above = self.above(key)?;
        enter(above.last().ok_or(Errno::ENOENT)?, key.name().as_c_str())
    }

    /// The folder of all, that of the run, and so on to the one that holds the attempt.
    fn above(&self, key: &AttemptKey) -> nix::Result<Vec<OwnedFd>> {
        // Whoever made `.restage/runs` a link to another disk meant it.
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut above = vec![openat(AT_FDCWD, &self.root, flags, Mode::empty())?];
        let mut at = enter(&above[0], key.run.as_str())?;
        for part in key.parts() {
            let next = enter(&at, part.as_str())?;
            above.push(at);
            at = next;
        }
        above.push(at);
        Ok(above)
    }

    fn make(&self, key: &AttemptKey) -> nix::Result<(OwnedFd, OwnedFd)> {
        let mut tries = 0;
        loop {
            match self.try_make(key) {
                // Another attempt has just gone, and took the empty folder of its stage with it.
                Err(Errno::ENOENT) if tries < 10 => tries += 1,
                done => return done,
            }
        }
    }

    fn try_make(&self, key: &AttemptKey) -> nix::Result<(OwnedFd, OwnedFd)> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = match openat(AT_FDCWD, &self.root, flags, Mode::empty()) {
            Err(Errno::ENOENT) => {
                use std::os::unix::fs::DirBuilderExt;
                let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.root);
                made.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
                openat(AT_FDCWD, &self.root, flags, Mode::empty())?
            }
            opened => opened?,
        };
        let mut at = match enter(&root, key.run.as_str()) {
            Err(Errno::ENOENT) => make_one(&root, key.run.as_str())?,
            entered => entered?,
        };
        for part in key.parts() {
            at = make_one(&at, &part)?;
        }
        let name = key.name();
        if mkdirat(&at, name.as_c_str(), Mode::S_IRWXU) == Err(Errno::EEXIST) {
            // Of a supervisor that died before the attempt started.
            beneath::remove(&at, &name)?;
            mkdirat(&at, name.as_c_str(), Mode::S_IRWXU)?;
        }
        let folder = enter(&at, name.as_c_str())?;
        Ok((at, folder))
    }

    fn environment(&self, path: &Path, given: &Given<'_>) -> Result<BTreeMap<String, String>, AttemptError> {
        let text = |path: PathBuf| {
            path.into_os_string().into_string().map_err(|path| {
                AttemptError::Stage(format!(
                    "the path of the workspace is no text: {}; rename its folder",
                    path.to_string_lossy()
                ))
            })
        };
        let key = given.key;
        let mut env = BTreeMap::new();
        let mut set = |name: &str, value: String| env.insert(format!("RESTAGE_{name}"), value);
        set("STATE", text(path.join(STATE))?);
        set("INPUTS", text(path.join(INPUTS))?);
        set("OUTPUT", text(path.join(OUTPUT))?);
        set("ARTIFACTS", text(path.join(ARTIFACTS))?);
        set("RUN_ID", key.run.to_string());
        set("STAGE", key.stage.to_string());
        set("ATTEMPT", key.attempt.to_string());
        set("IDEMPOTENCY_KEY", given.idempotency_key.to_owned());
        if let Some(run) = given.parent_run {
            set("PARENT_RUN_ID", run.to_string());
        }
        if let Some(stage) = given.retry_from {
            set("RETRY_FROM", stage.to_string());
        }
        if let Some(feedback) = given.feedback {
            set("FEEDBACK", variable(feedback));
            set("FEEDBACK_FILE", text(path.join(FEEDBACK))?);
        }
        // It may have removed its own folder.
        if let Some(previous) = given.previous
            && self.open(previous).is_ok()
        {
            set("PREVIOUS", text(self.path(previous))?);
        }
        if let (Some(index), Some(_)) = (key.item, given.item) {
            set("ITEM", text(path.join(ITEM))?);
            set("ITEM_INDEX", index.to_string());
        }
        Ok(env)
    }
}

impl AttemptKey {
    /// The folders between that of the run and that of the attempt.
    fn parts(&self) -> impl Iterator<Item = String> {
        [Some(self.stage.to_string()), self.item.map(|item| item.to_string())].into_iter().flatten()
    }

    fn name(&self) -> CString {
        // Digits hold no zero byte.
        CString::new(self.attempt.to_string()).unwrap_or_default()
    }
}

fn make_one(at: &OwnedFd, name: &str) -> nix::Result<OwnedFd> {
    match mkdirat(at, name, Mode::S_IRWXU) {
        Ok(()) | Err(Errno::EEXIST) => enter(at, name),
        Err(error) => Err(error),
    }
}

/// What fits into a variable: the whole is in the file.
fn variable(text: &str) -> String {
    text[..text.floor_char_boundary(FEEDBACK_MAX)].replace('\0', "\u{fffd}")
}

fn fill(path: &Path, folder: &OwnedFd, objects: &Objects, given: &Given<'_>) -> Result<(), FileError> {
    write(path, folder, STATE, given.state)?;
    if let Some(item) = given.item {
        write(path, folder, ITEM, item.text().as_bytes())?;
    }
    if let Some(feedback) = given.feedback {
        write(path, folder, FEEDBACK, feedback.as_bytes())?;
    }
    for name in [ARTIFACTS, INPUTS] {
        mkdirat(folder, name, Mode::S_IRWXU).map_err(during("make the folder", &path.join(name)))?;
    }
    let inputs = path.join(INPUTS);
    let mut any = false;
    for (stage, artifacts) in given.inputs.iter().filter(|(_, artifacts)| !artifacts.is_empty()) {
        any = true;
        give(&inputs.join(stage.as_str()), folder, &format!("{INPUTS}/{stage}"), artifacts, objects)?;
    }
    if any {
        close(folder, INPUTS).map_err(during("protect", &inputs))?;
    }
    Ok(())
}

fn write(path: &Path, folder: &OwnedFd, name: &str, bytes: &[u8]) -> Result<(), FileError> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(folder, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)
        .map_err(std::io::Error::from)
        .and_then(|file| File::from(file).write_all(bytes))
        .map_err(during("write", &path.join(name)))
}

/// Copies the artifacts of one stage into a folder of their own that is read-only afterwards.
fn give(
    path: &Path,
    folder: &OwnedFd,
    below: &str,
    artifacts: &[Artifact],
    objects: &Objects,
) -> Result<(), FileError> {
    let fail = during::<Errno>;
    let top = make_one(folder, below).map_err(fail("make the folder", path))?;
    let mut made = BTreeSet::new();
    for artifact in artifacts {
        if !is_within(&artifact.name) {
            return Err(FileError::Lost {
                name: format!("{:?}", artifact.name),
                hash: artifact.hash.clone(),
                why: "its name leads out of its folder".into(),
            });
        }
        let Some((parent, name)) = artifact.name.rsplit_once('/') else {
            objects.materialise(artifact, &top, &artifact.name)?;
            continue;
        };
        for (at, _) in artifact.name.match_indices('/') {
            let part = &artifact.name[..at];
            if made.insert(part) {
                make_one(&top, part).map_err(fail("make the folder", &path.join(part)))?;
            }
        }
        let parent = enter(&top, parent).map_err(fail("open", &path.join(parent)))?;
        objects.materialise(artifact, &parent, name)?;
    }
    for part in made {
        close(&top, part).map_err(fail("protect", &path.join(part)))?;
    }
    close(folder, below).map_err(fail("protect", path))
}

/// Whether an artifact of this name stays within the folder it is put into.
pub(super) fn is_within(name: &str) -> bool {
    !name.contains('\0') && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn close(at: &OwnedFd, name: &str) -> nix::Result<()> {
    fchmodat(at, name, Mode::from_bits_truncate(0o555), FchmodatFlags::FollowSymlink)
}

#[cfg(test)]
mod tests;
