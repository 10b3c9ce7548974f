//! What a stage is made by: its command, folder, environment, what it is to leave, and the files of the workspace that
//! its command names. Where any of these is another today, its checkpoint is not reused.
//!
//! Paths within the workspace count relative to it, so that one that is moved as a whole keeps its checkpoints. What
//! a file contains counts, not when it was written.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use self::words::named_files;
use super::objects::{Stamp, hash_of};
use crate::domain::flow::change::RecipeRecord;
use crate::domain::flow::ids::Hash;
use crate::domain::flow::spec::{EnvValue, StageSpec};
use crate::domain::spec::CommandSpec;

mod words;

/// Of a longer file its ends, its size and the time of its last change stand for the whole.
const WHOLE: u64 = 64 << 20;
const END: u64 = 1 << 20;

/// What a stage is made by, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    configured: blake3::Hash,
    /// Of the files that its command names and that are there, by the words of the command.
    files: BTreeMap<String, blake3::Hash>,
}

impl Recipe {
    pub fn hash(&self) -> Hash {
        let files = self.files.iter().flat_map(|(name, hash)| [name.as_bytes(), hash.as_bytes()]);
        Hash::of(std::iter::once(self.configured.as_bytes().as_slice()).chain(files))
    }

    /// What to keep of an attempt that began with `self` and ended with `end`: files as they were when it began, since
    /// these it has read; and those that were not there then, since these it has written.
    #[must_use]
    pub fn and_made(mut self, end: &Self) -> Self {
        for (name, hash) in &end.files {
            self.files.entry(name.clone()).or_insert(*hash);
        }
        self
    }

    /// That of an attempt which ended now, by what was noted when it began. Where nothing was, its files are taken for
    /// others than any that there are.
    #[must_use]
    pub fn begun_as(&self, noted: Option<&RecipeRecord>) -> Self {
        let unknown = || blake3::hash(b"not noted");
        let hash = |hash: &Hash| blake3::Hash::from_hex(hash.as_str()).unwrap_or_else(|_| unknown());
        let files = match noted {
            Some(noted) => noted.files.iter().map(|(name, file)| (name.clone(), hash(file))).collect(),
            None => self.files.keys().map(|name| (name.clone(), unknown())).collect(),
        };
        Self { configured: self.configured, files }.and_made(self)
    }

    /// What is kept of it beside the definition of its flow.
    pub fn record(&self) -> RecipeRecord {
        let files = self.files.iter().map(|(name, hash)| (name.clone(), Hash::from(*hash)));
        RecipeRecord { hash: self.hash(), files: files.collect() }
    }
}

/// Tells recipes. It looks at each file each time, and reads it when it was touched since it was read last.
#[derive(Debug)]
pub struct Recipes {
    root: PathBuf,
    /// As the kernel names it.
    real_root: PathBuf,
    /// By path, as it was when it was looked at last; `None` is what does not count.
    named: HashMap<PathBuf, (Stamp, Option<blake3::Hash>)>,
    read: HashMap<Stamp, blake3::Hash>,
}

impl Recipes {
    /// The folder of the config.
    pub fn new(root: &Path) -> Self {
        let real_root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        Self { root: root.to_owned(), real_root, named: HashMap::new(), read: HashMap::new() }
    }

    /// As it is now.
    pub fn of(&mut self, stage: &StageSpec) -> Recipe {
        let mut whole = Parts(blake3::Hasher::new());
        configured(&self.root, stage, &mut |kind, name, values| whole.add(kind, name, values));
        let mut files = BTreeMap::new();
        for word in named_files(&stage.command) {
            if let Some(hash) = self.file(&stage.cwd.join(&word), Whose::Workspace) {
                files.insert(word, hash);
            }
        }
        for path in &stage.env_files {
            if let Some(hash) = self.file(path, Whose::Anybody) {
                files.insert(below(&self.root, path), hash);
            }
        }
        Recipe { configured: whole.0.finalize(), files }
    }

    fn file(&mut self, path: &Path, whose: Whose) -> Option<blake3::Hash> {
        let meta = fs::metadata(path).ok().filter(Metadata::is_file)?;
        let stamp = Stamp::of(&meta);
        match self.named.get(path) {
            Some((known, hash)) if *known == stamp => *hash,
            Some(_) | None => {
                let hash = self.look(path, stamp, whose);
                self.named.insert(path.to_owned(), (stamp, hash));
                hash
            }
        }
    }

    fn look(&mut self, path: &Path, stamp: Stamp, whose: Whose) -> Option<blake3::Hash> {
        if whose == Whose::Workspace && !path.canonicalize().ok()?.starts_with(&self.real_root) {
            return None;
        }
        if let Some(known) = self.read.get(&stamp) {
            return Some(*known);
        }
        // One that we may not read is one that differs from any that we may.
        let hash = content(path).unwrap_or_else(|error| blake3::hash(error.kind().to_string().as_bytes()));
        self.read.insert(stamp, hash);
        Some(hash)
    }
}

/// Files elsewhere count only where the config itself says that they are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Workspace,
    Anybody,
}

/// What differs between what a stage was made by then and is now, in the words of the config: of `then` what was
/// configured, of `noted` the files.
pub fn what_changed(
    root: &Path,
    then: Option<&StageSpec>,
    noted: Option<&RecipeRecord>,
    now: &StageSpec,
    recipe: &Recipe,
) -> String {
    let mut changed = then.map_or_else(Vec::new, |then| changed_parts(root, then, now));
    if changed.is_empty()
        && let Some(noted) = noted
    {
        changed = changed_files(&noted.files, &recipe.record().files);
    }
    if !changed.is_empty() {
        return changed.join(", ");
    }
    let files: Vec<&str> = recipe.files.keys().map(String::as_str).collect();
    match (then, files.as_slice()) {
        (None, _) => "its command, environment, declared outputs or a file that its command names".into(),
        (Some(_), []) => "a file that its command names is gone".into(),
        (Some(_), [file]) => format!("file {file}"),
        (Some(_), _) => format!("one of the files {}", files.join(", ")),
    }
}

fn changed_parts(root: &Path, then: &StageSpec, now: &StageSpec) -> Vec<String> {
    let (then, now) = (parts(root, then), parts(root, now));
    let labels = then.keys().chain(now.keys().filter(|label| !then.contains_key(*label)));
    let mut changed: Vec<String> =
        labels.filter(|label| then.get(*label) != now.get(*label)).cloned().collect();
    changed.sort_unstable();
    changed
}

fn changed_files(then: &BTreeMap<String, Hash>, now: &BTreeMap<String, Hash>) -> Vec<String> {
    let names: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    let told = |name: &String| match (then.get(name), now.get(name)) {
        (Some(then), Some(now)) if then == now => None,
        (Some(_), None) => Some(format!("file {name} is gone")),
        (None, Some(_)) => Some(format!("file {name} is new")),
        (Some(_), Some(_)) | (None, None) => Some(format!("file {name}")),
    };
    names.into_iter().filter_map(told).collect()
}

fn parts(root: &Path, stage: &StageSpec) -> BTreeMap<String, blake3::Hash> {
    let mut parts = BTreeMap::new();
    configured(root, stage, &mut |kind, name, values| {
        let mut part = Parts(blake3::Hasher::new());
        part.add(kind, name, values);
        let label = if name.is_empty() { kind.to_owned() } else { format!("{kind} {name}") };
        parts.insert(label, part.0.finalize());
    });
    parts
}

struct Parts(blake3::Hasher);

impl Parts {
    fn add(&mut self, kind: &str, name: &str, values: &[&[u8]]) {
        self.0.update(&(values.len() as u64).to_le_bytes());
        for value in [kind.as_bytes(), name.as_bytes()].iter().chain(values) {
            self.0.update(&(value.len() as u64).to_le_bytes());
            self.0.update(value);
        }
    }
}

/// The kind of a part, its name where there are several of the kind, and its values.
type EachPart<'a> = dyn FnMut(&str, &str, &[&[u8]]) + 'a;

/// What the config says, part by part.
fn configured(root: &Path, stage: &StageSpec, each: &mut EachPart<'_>) {
    match &stage.command {
        CommandSpec::Argv(argv) => {
            each("command", "", &argv.iter().map(String::as_bytes).collect::<Vec<_>>());
        }
        // No argument list has a word with a zero byte.
        CommandSpec::Shell(line) => each("command", "", &[b"\0shell", line.as_bytes()]),
    }
    each("cwd", "", &[below(root, &stage.cwd).as_bytes()]);
    for (name, value) in &stage.env {
        match value {
            EnvValue::Plain(value) | EnvValue::Secret(value) => {
                each("env", name, &[Hash::of([value]).as_ref()]);
            }
            EnvValue::Hashed(hash) => each("env", name, &[hash.as_ref()]),
        }
    }
    if !stage.env_files.is_empty() {
        let paths: Vec<String> = stage.env_files.iter().map(|path| below(root, path)).collect();
        each("env_file", "", &paths.iter().map(String::as_bytes).collect::<Vec<_>>());
    }
    for (kind, list) in [("outputs", &stage.outputs), ("artifacts", &stage.artifacts)] {
        let mut sorted: Vec<&[u8]> = list.iter().map(String::as_bytes).collect();
        sorted.sort_unstable();
        each(kind, "", &sorted);
    }
    if let Some(foreach) = &stage.foreach {
        each("foreach", "", &[foreach.key.as_bytes()]);
    }
}

fn below(root: &Path, path: &Path) -> String {
    let path = path.strip_prefix(root).unwrap_or(path);
    if path.as_os_str().is_empty() { ".".into() } else { path.to_string_lossy().into_owned() }
}

fn content(path: &Path) -> io::Result<blake3::Hash> {
    let mut file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    if meta.len() <= WHOLE { hash_of(&mut file) } else { ends(&mut file, &meta) }
}

fn ends(file: &mut File, meta: &Metadata) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&meta.len().to_le_bytes());
    hasher.update(&meta.mtime().to_le_bytes());
    hasher.update(&meta.mtime_nsec().to_le_bytes());
    hasher.update_reader(Read::by_ref(file).take(END))?;
    file.seek(SeekFrom::End(-i64::try_from(END).unwrap_or(0)))?;
    hasher.update_reader(file.take(END))?;
    Ok(hasher.finalize())
}

#[cfg(test)]
mod tests;
