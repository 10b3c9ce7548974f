//! After a good end: what the attempt left is read, and its artifacts are brought into the content store, durably. What
//! is not as the stage declared it fails the attempt, with words that say which.
//!
//! Nothing is moved or changed in the private folder, so that settling the same attempt again, after a crash before
//! its end was on record, gives the same.

use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::SFlag;

use super::attempt_dir::{ARTIFACTS, AttemptDirs, AttemptError, AttemptKey, Left, OUTPUT};
use super::beneath::{FileError, during, enter, kind, look, names, open_file, open_file_below, regular};
use super::objects::{Objects, Source};
use crate::domain::flow::hashes;
use crate::domain::flow::ids::Hash;
use crate::domain::flow::output::{self, Declared, MAX_OUTPUT_BYTES, Output};
use crate::domain::flow::record::Artifact;
use crate::domain::flow::spec::StageSpec;
use crate::domain::json::JsonMap;

/// Folders within folders of artifacts.
const DEPTH: usize = 100;

/// So many things that are wrong are told; of more, their number.
const TOLD: usize = 5;

/// What an attempt left behind, as it was declared.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    pub outputs: JsonMap,
    /// By name. Their bytes are in the content store and on the disk.
    pub artifacts: Vec<Artifact>,
    /// It calls its own end degraded, and may.
    pub degraded: bool,
    pub cost: Option<f64>,
    pub output_hash: Hash,
    pub manifest_hash: Hash,
}

/// Reads what an attempt left. Nothing of it may live any more.
pub fn settle(
    dirs: &AttemptDirs,
    objects: &Objects,
    key: &AttemptKey,
    left: &Left,
    stage: &StageSpec,
) -> Result<Settled, AttemptError> {
    let folder = match &left.folder {
        Ok(folder) => Some(folder),
        // It removed its own folder, and left nothing.
        Err(Errno::ENOENT) => None,
        Err(Errno::ENOTDIR | Errno::ELOOP) => {
            return Err(AttemptError::Stage(
                "it put something else in the place of its own folder; what it leaves belongs into \
                 $RESTAGE_OUTPUT and $RESTAGE_ARTIFACTS"
                    .into(),
            ));
        }
        Err(error) => return Err(during("open", &dirs.path(key))(*error).into()),
    };
    let Output { outputs, degraded, cost } = read_output(folder, dirs, key, stage)?;
    let artifacts = match folder {
        Some(folder) if left.artifacts != Ok(false) => {
            take_artifacts(folder, dirs, key, objects, &stage.artifacts)?
        }
        _ => match_names(&stage.artifacts, &[]).map(|()| Vec::new())?,
    };
    let (output_hash, manifest_hash) = (hashes::outputs(&outputs), hashes::manifest(&artifacts));
    Ok(Settled { outputs, artifacts, degraded, cost, output_hash, manifest_hash })
}

/// What one that did not end well says it has cost, if that can be read.
pub fn cost(dirs: &AttemptDirs, key: &AttemptKey, stage: &StageSpec) -> Option<f64> {
    let file = dirs.open(key).and_then(|folder| open_file(&folder, OUTPUT)).ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_OUTPUT_BYTES + 1).read_to_end(&mut bytes).ok()?;
    output::cost(&bytes, &stage.outputs)
}

fn read_output(
    folder: Option<&OwnedFd>,
    dirs: &AttemptDirs,
    key: &AttemptKey,
    stage: &StageSpec,
) -> Result<Output, AttemptError> {
    let declared = Declared { outputs: &stage.outputs, allow_degraded: stage.allow_degraded };
    let parse = |bytes: &[u8]| output::parse(bytes, declared).map_err(|error| stage_error(error.to_string()));
    let mut file = match folder.map_or(Err(Errno::ENOENT), |folder| open_file(folder, OUTPUT)) {
        Ok(file) => file,
        Err(Errno::ENOENT) if stage.outputs.is_empty() => return parse(b""),
        Err(Errno::ENOENT) => {
            return Err(stage_error(format!(
                "it wrote no output: {} belong into the file that $RESTAGE_OUTPUT names",
                list(stage.outputs.iter().map(|key| format!("{key:?}")).collect())
            )));
        }
        Err(Errno::ELOOP) => {
            return Err(stage_error("its output is a symbolic link; write the file itself".into()));
        }
        Err(Errno::EINVAL) => {
            return Err(stage_error("its output is no regular file, but a folder or a pipe".into()));
        }
        Err(Errno::EACCES) => {
            return Err(stage_error("its output must not be read: permission denied".into()));
        }
        Err(error) => return Err(during("read", &dirs.path(key).join(OUTPUT))(error).into()),
    };
    let fail = |error| AttemptError::from(during("read", &dirs.path(key).join(OUTPUT))(error));
    let size = file.metadata().map_err(fail)?.len();
    output::check_size(size).map_err(|error| stage_error(error.to_string()))?;
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    // One more than it may have, so that one that grew meanwhile is seen.
    (&mut file).take(MAX_OUTPUT_BYTES + 1).read_to_end(&mut bytes).map_err(fail)?;
    parse(&bytes)
}

/// A file in the artifact folder.
struct Found {
    name: String,
    link: bool,
}

fn take_artifacts(
    folder: &OwnedFd,
    dirs: &AttemptDirs,
    key: &AttemptKey,
    objects: &Objects,
    globs: &[String],
) -> Result<Vec<Artifact>, AttemptError> {
    let fail = |error: Errno| AttemptError::from(during("read", &dirs.path(key).join(ARTIFACTS))(error));
    let top = match enter(folder, ARTIFACTS) {
        Ok(top) => top,
        Err(Errno::ENOENT) => return match_names(globs, &[]).map(|()| Vec::new()),
        Err(Errno::ENOTDIR | Errno::ELOOP) => {
            return Err(stage_error(
                "it put something else in the place of its artifact folder; write into the folder that \
                 $RESTAGE_ARTIFACTS names"
                    .into(),
            ));
        }
        Err(error) => return Err(fail(error)),
    };
    let mut walk = Walk { files: Vec::new(), wrong: Vec::new() };
    walk.folder(&top, "", DEPTH).map_err(fail)?;
    let Walk { mut files, wrong } = walk;
    if !wrong.is_empty() {
        return Err(stage_error(list(wrong)));
    }
    files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    match_names(globs, &files)?;
    objects.import(files.into_iter().map(|found| open_found(&top, found)))
}

struct Walk {
    files: Vec<Found>,
    wrong: Vec<String>,
}

impl Walk {
    fn folder(&mut self, at: &OwnedFd, prefix: &str, depth: usize) -> nix::Result<()> {
        let names = match names(at) {
            Err(Errno::EACCES) => {
                self.wrong.push(format!("artifact folder {prefix:?} must not be read: permission denied"));
                return Ok(());
            }
            names => names?,
        };
        for name in names {
            match self.entry(at, &name, prefix, depth) {
                // Somebody outside of the attempt tidies up.
                Err(Errno::ENOENT) => {}
                Err(Errno::EACCES) => self.wrong.push(format!(
                    "artifact {:?} must not be read: permission denied",
                    format!("{prefix}{}", name.to_string_lossy())
                )),
                done => done?,
            }
        }
        Ok(())
    }

    fn entry(&mut self, at: &OwnedFd, name: &CStr, prefix: &str, depth: usize) -> nix::Result<()> {
        let Ok(text) = name.to_str() else {
            let shown = name.to_string_lossy();
            self.wrong.push(format!("artifact \"{prefix}{shown}\" has a name that is no UTF-8; rename it"));
            return Ok(());
        };
        let full = format!("{prefix}{text}");
        match kind(&look(at, name)?) {
            SFlag::S_IFREG => self.files.push(Found { name: full, link: false }),
            SFlag::S_IFLNK => self.files.push(Found { name: full, link: true }),
            SFlag::S_IFDIR if depth == 0 => {
                self.wrong.push(format!("artifact folder {full:?} is more than {DEPTH} folders deep"));
            }
            SFlag::S_IFDIR => {
                let below = enter(at, name)?;
                self.folder(&below, &format!("{full}/"), depth - 1)?;
            }
            other => self.wrong.push(format!(
                "artifact {full:?} is {}; only files can be kept",
                match other {
                    SFlag::S_IFIFO => "a pipe",
                    SFlag::S_IFSOCK => "a socket",
                    _ => "a device",
                }
            )),
        }
        Ok(())
    }
}

/// Each glob has to match a file, and each file a glob.
fn match_names(globs: &[String], files: &[Found]) -> Result<(), AttemptError> {
    if globs.is_empty() && files.is_empty() {
        return Ok(());
    }
    let set = glob_set(globs)?;
    let mut used = vec![false; globs.len()];
    let mut wrong = Vec::new();
    let mut matching = Vec::new();
    for file in files {
        set.matches_into(&file.name, &mut matching);
        if matching.is_empty() {
            wrong.push(format!(
                "artifact {:?} is not declared: no glob of \"artifacts\" matches it",
                file.name
            ));
        }
        for glob in &matching {
            used[*glob] = true;
        }
    }
    for (glob, _) in globs.iter().zip(used).filter(|(_, used)| !used) {
        let below = format!("{}/", glob.trim_end_matches('/'));
        let hint = if files.iter().any(|file| file.name.starts_with(&below)) {
            format!("; for all files of that folder write {:?}", format!("{below}**"))
        } else {
            String::new()
        };
        wrong.push(format!("no file in $RESTAGE_ARTIFACTS matches the declared {glob:?}{hint}"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(stage_error(list(wrong))) }
}

fn glob_set(globs: &[String]) -> Result<GlobSet, AttemptError> {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        let built = GlobBuilder::new(glob).literal_separator(true).build();
        set.add(built.map_err(|error| stage_error(format!("\"artifacts\": {error}")))?);
    }
    set.build().map_err(|error| stage_error(format!("\"artifacts\": {error}")))
}

fn open_found(top: &OwnedFd, Found { name, link }: Found) -> Result<Source, AttemptError> {
    let opened = if link { open_link(top, &name) } else { open_file_below(top, &name) };
    match opened {
        Ok(file) => Ok(Source { name, file }),
        Err(_) if link => Err(stage_error(format!(
            "artifact {name:?} is a symbolic link that leads to no file of the artifact folder; copy what it means"
        ))),
        Err(Errno::EACCES) => {
            Err(stage_error(format!("artifact {name:?} must not be read: permission denied")))
        }
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EINVAL) => {
            Err(stage_error(format!("artifact {name:?} was replaced while it was read")))
        }
        Err(error) => Err(FileError::new(format!("read artifact {name}"), error).into()),
    }
}

/// What a link means, where that lies in the folder itself.
fn open_link(top: &OwnedFd, name: &str) -> nix::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    regular(File::from(openat2(top, name, OpenHow::new().flags(flags).resolve(resolve))?))
}

fn stage_error(message: String) -> AttemptError {
    AttemptError::Stage(message)
}

fn list(mut all: Vec<String>) -> String {
    let more = all.len().saturating_sub(TOLD);
    all.sort();
    all.truncate(TOLD);
    let shown = all.join("; ");
    if more == 0 { shown } else { format!("{shown}; and {more} more") }
}

#[cfg(test)]
mod tests;
