//! The private folder of one attempt: `.restage/runs/<run>/<stage>[,<item>]_<attempt>/`. It is made before the attempt
//! starts, with what the stage may read, and removed once the store names what came of it. The folder of an attempt
//! that failed stays for the next one to look at, until it is collected.
//!
//! Nothing here is fsynced: after a power loss no process is left that could go on in it. And it does little: for most
//! stages two folders and a file are all there is to make, one that was left as it was made is used again, and to remove
//! the others is left to a broom, beside the work.

pub(super) mod elsewhere;
mod spare;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::CString;
use std::fs::{self, DirBuilder, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, mkdirat};

use super::beneath::{self, FileError, during, enter, has_only, make_one};
use super::broom::Broom;
use super::objects::{Objects, Stamp};
use crate::domain::flow::ids::{RunId, StageName};
use crate::domain::flow::record::Artifact;
use crate::domain::json::Json;
use spare::Spares;

/// The kernel refuses a variable of more than 128 KiB.
const FEEDBACK_MAX: usize = 64 << 10;

const STATE: &str = "state.json";
const INPUTS: &str = "inputs";
/// In the folder of all runs; no run is called that.
pub(super) const EMPTY: &str = ".empty";
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

/// Their numbers, by stage and item.
pub type LastAttempts = HashMap<(StageName, Option<u32>), u32>;

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
    spares: Spares,
    broom: Broom,
    /// The folder of inputs of all who have none, as it was when it was empty.
    empty: Mutex<Option<Stamp>>,
}

impl AttemptDirs {
    /// `.restage/runs`, absolute.
    pub fn new(root: PathBuf) -> Self {
        Self { broom: Broom::new(root.clone()), spares: Spares::default(), root, empty: Mutex::default() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn path(&self, key: &AttemptKey) -> PathBuf {
        self.root.join(key.run.as_str()).join(key.folder())
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
        let made = self.make(given.key).map_err(during("make the folder", &path))?;
        let filled = fill(&path, &made, objects, given).and_then(|()| self.make_inputs(given));
        if filled.is_err() {
            // What stays is removed by whoever makes it next.
            beneath::remove(&made.parent, &given.key.name()).ok();
        }
        filled.map(|()| env).map_err(AttemptError::from)
    }

    /// The end of this attempt is on record, and nobody goes back to its folder: it is removed before long, or another one
    /// moves in where it is `bare`.
    pub fn leave(&self, key: &AttemptKey, bare: bool) {
        let place = (key.run_name(), key.name());
        if !bare || !self.spares.keep(place.clone()) {
            self.broom.sweep(vec![place.0, place.1]);
        }
    }

    /// Nothing is under way: what was left for others is not needed either.
    pub fn rest(&self) {
        while let Some((run, name)) = self.spares.take() {
            self.broom.sweep(vec![run, name]);
        }
    }

    /// Of an attempt that failed, its copies of what it was given, which nobody looks at again.
    pub fn leave_inputs(&self, key: &AttemptKey) {
        self.broom.sweep(vec![key.run_name(), key.name(), CString::from(c"inputs")]);
    }

    /// Removes the folder now. One that is gone is fine.
    pub fn remove(&self, key: &AttemptKey) -> Result<(), FileError> {
        let removed = match self.top().and_then(|top| enter(top, key.run.as_str())) {
            Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error),
            Ok(run) => beneath::remove(run, &key.name()),
        };
        removed.map_err(during("remove", &self.path(key)))
    }

    /// The last attempt at each thing of a run whose folder is still there.
    pub fn last(&self, run: &RunId) -> LastAttempts {
        let mut last = LastAttempts::new();
        for folder in fs::read_dir(self.root.join(run.as_str())).into_iter().flatten().flatten() {
            let name = folder.file_name();
            if let Some(key) = name.to_str().and_then(|name| AttemptKey::of_folder(run, name)) {
                let last = last.entry((key.stage, key.item)).or_default();
                *last = key.attempt.max(*last);
            }
        }
        last
    }

    /// Whether an attempt was at this item.
    pub fn had_item(&self, key: &AttemptKey, item: &Json) -> bool {
        fs::read(self.path(key).join(ITEM)).is_ok_and(|bytes| bytes == item.text().as_bytes())
    }

    /// What it left.
    pub fn look(&self, key: &AttemptKey) -> Left {
        let folder = self.open(key);
        let below = folder.as_ref().map_err(|error| *error);
        let artifacts = below.and_then(|folder| Ok(!has_only(beneath::open(folder, ARTIFACTS)?, &[])?));
        let bare =
            artifacts == Ok(false) && below.is_ok_and(|at| has_only(at, &[STATE, ARTIFACTS]) == Ok(true));
        Left { folder, artifacts, bare }
    }

    /// The folder, where it is one and the way there has no link that a stage made.
    pub(super) fn open(&self, key: &AttemptKey) -> nix::Result<OwnedFd> {
        enter(enter(self.top()?, key.run.as_str())?, key.name().as_c_str())
    }

    /// Whoever made `.restage/runs` a link to another disk meant it.
    fn top(&self) -> nix::Result<OwnedFd> {
        openat(AT_FDCWD, &self.root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
    }

    fn make(&self, key: &AttemptKey) -> nix::Result<Made> {
        let top = match self.top() {
            Err(Errno::ENOENT) => {
                let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.root);
                made.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
                self.top()?
            }
            top => top?,
        };
        let run = match enter(&top, key.run.as_str()) {
            Err(Errno::ENOENT) => {
                elsewhere::make(&top, &key.run_name())?;
                enter(&top, key.run.as_str())?
            }
            run => run?,
        };
        let name = key.name();
        if let Some(spare) = self.spares.take() {
            match spare::move_in(&top, &spare, &run, &name) {
                Ok(folder) => return Ok(Made { parent: run, folder, is_spare: true }),
                // Somebody has removed it, or something else is in this place.
                Err(_) => self.broom.sweep(vec![spare.0, spare.1]),
            }
        }
        match mkdirat(&run, name.as_c_str(), Mode::S_IRWXU) {
            // Of a supervisor that died before the attempt started.
            Err(Errno::EEXIST) => {
                beneath::remove(&run, &name)?;
                mkdirat(&run, name.as_c_str(), Mode::S_IRWXU)?;
            }
            made => made?,
        }
        let folder = enter(&run, name.as_c_str())?;
        Ok(Made { parent: run, folder, is_spare: false })
    }

    /// Those who are given nothing share a folder, which is made anew where somebody put something into it.
    fn make_inputs(&self, given: &Given<'_>) -> Result<(), FileError> {
        if given.has_inputs() {
            return Ok(());
        }
        let path = self.root.join(EMPTY);
        let mut empty = self.empty.lock().unwrap_or_else(PoisonError::into_inner);
        let now = fs::symlink_metadata(&path).ok().map(|meta| Stamp::of(&meta));
        if now.is_some() && now == *empty {
            return Ok(());
        }
        let made = self.top().and_then(|top| {
            beneath::remove(&top, &CString::new(EMPTY).unwrap_or_default())?;
            mkdirat(&top, EMPTY, Mode::S_IRWXU)?;
            close(&top, EMPTY)
        });
        made.map_err(during("make the folder", &path))?;
        *empty = fs::symlink_metadata(&path).ok().map(|meta| Stamp::of(&meta));
        Ok(())
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
        let inputs = if given.has_inputs() { path.join(INPUTS) } else { self.root.join(EMPTY) };
        set("INPUTS", text(inputs)?);
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

impl Drop for AttemptDirs {
    fn drop(&mut self) {
        self.rest();
    }
}

/// The folder of an attempt at its end.
#[derive(Debug)]
pub struct Left {
    pub(super) folder: nix::Result<OwnedFd>,
    /// Whether something is in its folder of artifacts, where it is one.
    pub(super) artifacts: nix::Result<bool>,
    /// Nothing is there but what most attempts begin with.
    pub bare: bool,
}

impl Left {
    /// Whether taking it in may take long.
    pub fn has_artifacts(&self) -> bool {
        self.artifacts == Ok(true)
    }
}

/// A folder that is there, in its parent.
struct Made {
    parent: OwnedFd,
    folder: OwnedFd,
    /// With an empty folder for artifacts, and the state of another attempt.
    is_spare: bool,
}

impl AttemptKey {
    /// The name of its folder, from which it can be read again: no name of a stage has a comma.
    pub(super) fn folder(&self) -> String {
        match self.item {
            None => format!("{}_{}", self.stage, self.attempt),
            Some(item) => format!("{},{item}_{}", self.stage, self.attempt),
        }
    }

    pub(super) fn of_folder(run: &RunId, folder: &str) -> Option<Self> {
        let (stage, attempt) = folder.rsplit_once('_')?;
        let (stage, item) = match stage.split_once(',') {
            None => (stage, None),
            Some((stage, item)) => (stage, Some(item.parse().ok()?)),
        };
        let stage = StageName::parse(stage).ok()?;
        let key = Self { run: run.clone(), stage, item, attempt: attempt.parse().ok()? };
        (key.folder() == folder).then_some(key)
    }

    // Names hold no zero byte.
    fn name(&self) -> CString {
        CString::new(self.folder()).unwrap_or_default()
    }

    fn run_name(&self) -> CString {
        CString::new(self.run.as_str()).unwrap_or_default()
    }
}

impl Given<'_> {
    fn has_inputs(&self) -> bool {
        self.inputs.iter().any(|(_, artifacts)| !artifacts.is_empty())
    }
}

/// What fits into a variable: the whole is in the file.
fn variable(text: &str) -> String {
    text[..text.floor_char_boundary(FEEDBACK_MAX)].replace('\0', "\u{fffd}")
}

fn fill(path: &Path, made: &Made, objects: &Objects, given: &Given<'_>) -> Result<(), FileError> {
    let folder = &made.folder;
    if made.is_spare {
        spare::rewrite(folder, given.state).map_err(during("write", &path.join(STATE)))?;
    } else {
        write(path, folder, STATE, given.state)?;
    }
    if let Some(item) = given.item {
        write(path, folder, ITEM, item.text().as_bytes())?;
    }
    if let Some(feedback) = given.feedback {
        write(path, folder, FEEDBACK, feedback.as_bytes())?;
    }
    let make = |name: &str| {
        mkdirat(folder, name, Mode::S_IRWXU).map_err(during("make the folder", &path.join(name)))
    };
    if !made.is_spare {
        make(ARTIFACTS)?;
    }
    if !given.has_inputs() {
        return Ok(());
    }
    make(INPUTS)?;
    let inputs = path.join(INPUTS);
    for (stage, artifacts) in given.inputs.iter().filter(|(_, artifacts)| !artifacts.is_empty()) {
        give(&inputs.join(stage.as_str()), folder, &format!("{INPUTS}/{stage}"), artifacts, objects)?;
    }
    close(folder, INPUTS).map_err(during("protect", &inputs))
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
