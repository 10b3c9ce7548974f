//! From the text of a `config.json` to what the user asked for, or to everything that is wrong with it, in one go.
//!
//! [`load`] reads the file into a tree with places (`tree`), mirrors it key by key (`raw`, with `read` and `values`
//! for the kinds of values), and lowers the mirror into domain specs (`lower`): defaults, inheritance, variables,
//! absolute paths, and a look at the disk (`disk`). [`keys`] is the one table of all keys. Past this room only valid
//! values exist. Nothing here reads the process's environment, starts anything or writes anything.
//!
//! What a config may be:
//! - JSON with `//` and `/* */` comments, and with a comma behind the last item.
//! - A key at the top that a runner also takes is the default for all runners. `env`, `env_file` and `limits` add up,
//!   with the runner's winning; everything else is replaced. `null` turns off what a runner would inherit.
//! - A stage of a flow gets `env` from the file and its flow, `env_file`, `limits`, `umask`, `stdio`, `stop_*` and
//!   `log_max_bytes` from the file, and its retries from its flow; the `retry_*` keys of the file are for runners.
//! - Variables and `~` are filled in (see [`Environment`]) in `cwd`, `env`, `env_file`, `stdin`, `log_dir_name`,
//!   `retry_log_dir`, `cache_dir` and the items of a command list; not in a command that is one text, nor in the
//!   script of `["bash", "-c", "…"]`: there the shell does it.
//! - Paths are relative to the folder of the config; `log_dir_name` is relative to `.restage/` in it; a program with a
//!   `/` and the patterns of `activity.files` are relative to `cwd`.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

mod collide;
mod dashboard;
mod diagnostic;
mod diff;
mod disk;
mod expand;
pub mod keys;
mod lower;
mod origins;
mod raw;
mod read;
pub mod settings;
mod syntax;
#[cfg(test)]
mod tests;
mod tree;
mod values;

pub use diagnostic::{Diagnostic, Diagnostics, Position, Severity};
pub use diff::{Change, FlowChange, diff};
pub use expand::Environment;
pub use origins::{Origin, Origins};

use crate::domain::flow::ids::Hash;
use crate::domain::spec::WorkspaceSpec;
use diagnostic::{Problem, Source};
use raw::RawFile;
use read::Reader;

/// A config that may be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub spec: WorkspaceSpec,
    /// What is allowed but hardly meant.
    pub warnings: Vec<Diagnostic>,
    pub origins: Origins,
}

/// How to take what the config names and the disk does not have: a program, a folder, a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Nothing is to be started: `check`, `up`, a reload.
    Error,
    /// Something runs already and must be looked after whatever the disk looks like now: a successor that takes over.
    Warning,
}

/// Far beyond any config, far below what would hurt.
const MOST_BYTES: u64 = 64 << 20;

/// Reads and checks a config. Diagnostics name the file as `path` does.
pub fn load(path: &Path, env: &Environment) -> Result<Loaded, Diagnostics> {
    load_with(path, env, Missing::Error)
}

pub fn load_with(path: &Path, env: &Environment, missing: Missing) -> Result<Loaded, Diagnostics> {
    let name = path.display().to_string();
    let broken =
        |message: String, hint: String| Diagnostics(vec![Diagnostic::of_file(&name, message, Some(hint))]);
    let (config_path, bytes) = read_file(path).map_err(|(message, hint)| broken(message, hint))?;
    load_bytes(&name, &config_path, &bytes, env, missing)
}

/// The same, as if the file at `path` had the text that lies at `kept`.
pub fn load_kept(path: &Path, kept: &Path, env: &Environment) -> Option<Loaded> {
    let (_, bytes) = read_file(kept).ok()?;
    load_bytes(&path.display().to_string(), &whole(path).ok()?, &bytes, env, Missing::Warning).ok()
}

/// The bytes of a config, where it can be read.
pub fn bytes(path: &Path) -> Option<Vec<u8>> {
    read_file(path).ok().map(|(_, bytes)| bytes)
}

/// What [`WorkspaceSpec::text`] would be; `None`: it cannot be read.
pub fn text(path: &Path) -> Option<Hash> {
    bytes(path).map(|bytes| Hash::of([bytes]))
}

/// Whether a config may have a key: false is certain, and found out without understanding the file.
pub fn may_have(path: &Path, key: &str) -> bool {
    read_file(path).is_ok_and(|(_, bytes)| {
        let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        // A letter of a key can be written as its number.
        has(key.as_bytes()) || has(b"\\u")
    })
}

/// The whole path of the file, its folder free of symbolic links so that a workspace has one name.
fn whole(path: &Path) -> std::io::Result<PathBuf> {
    let full = std::path::absolute(path)?;
    let folder = fs::canonicalize(full.parent().unwrap_or(Path::new("/")))?;
    Ok(folder.join(full.file_name().unwrap_or_default()))
}

/// The whole path of the file, and its bytes.
fn read_file(path: &Path) -> Result<(PathBuf, Vec<u8>), (String, String)> {
    let trouble = |error: &std::io::Error| {
        let begin = format!("create it, or name another with --config; {}", syntax::BEGIN);
        (format!("the config cannot be read: {}", disk::cause(error)), begin)
    };
    let meta = fs::metadata(path).map_err(|error| trouble(&error))?;
    if meta.is_dir() {
        let inside = path.join("config.json");
        return Err((
            "this is a folder, not a config".into(),
            format!("name the file: {}", inside.display()),
        ));
    }
    // A FIFO would make us wait, and a device would never end.
    if !meta.is_file() {
        return Err(("this is no regular file".into(), "write the config to a file".into()));
    }
    let full = whole(path).map_err(|error| trouble(&error))?;
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len().min(MOST_BYTES)).unwrap_or(0) + 1);
    let file = File::open(path).map_err(|error| trouble(&error))?;
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(|error| trouble(&error))?;
    if bytes.len() as u64 > MOST_BYTES {
        let hint = "keep long text in files of its own".into();
        return Err((format!("the config is larger than {MOST_BYTES} bytes"), hint));
    }
    Ok((full, bytes))
}

/// The rest of [`load`], once the bytes are there. `config_path` is absolute.
fn load_bytes(
    name: &str,
    config_path: &Path,
    bytes: &[u8],
    env: &Environment,
    missing: Missing,
) -> Result<Loaded, Diagnostics> {
    const BOM: &[u8] = b"\xef\xbb\xbf";
    let mut reader = Reader::default();
    let body = bytes.strip_prefix(BOM).unwrap_or(bytes);
    let text = match std::str::from_utf8(body) {
        Ok(text) => text,
        Err(error) => {
            let diagnostic = not_utf8(name, bytes, bytes.len() - body.len() + error.valid_up_to());
            return Err(Diagnostics(vec![diagnostic]));
        }
    };
    if body.len() < bytes.len() {
        let hint = "save it as UTF-8 without one; other programs stumble over it".to_owned();
        reader.warn(read::Spot::default(), "the file starts with a byte order mark", Some(hint));
    }
    let source = Source::new(name, text);
    let (root, slips) = tree::parse(&source);
    reader.problems.extend(slips);
    reader.root = root.as_ref();
    let lowered = root.as_ref().map(|root| {
        let file = RawFile::read(&mut reader, root);
        let root = config_path.parent().unwrap_or(Path::new("/"));
        let place = lower::Place { root, config_path, text: Hash::of([bytes]) };
        let (spec, stages) = lower::lower(&mut reader, &file, &place, env);
        (spec, Origins::new(&file, &stages, &source))
    });
    let diagnostics = finish(reader.problems, &source, missing);
    let broken = diagnostics.iter().any(|one| one.severity == Severity::Error);
    match lowered {
        Some((spec, origins)) if !broken => Ok(Loaded { spec, warnings: diagnostics, origins }),
        _ => Err(Diagnostics(diagnostics)),
    }
}

/// In the order of the file, each once: what every runner inherits is looked at once a runner.
fn finish(mut problems: Vec<Problem>, source: &Source<'_>, missing: Missing) -> Vec<Diagnostic> {
    for problem in &mut problems {
        if problem.missing && missing == Missing::Warning {
            problem.severity = Severity::Warning;
        }
    }
    problems.sort_by_key(|problem| problem.span.start);
    let mut seen = std::collections::HashSet::new();
    problems.retain(|problem| seen.insert((problem.span.clone(), problem.message.clone())));
    problems.into_iter().map(|problem| source.diagnostic(problem)).collect()
}

fn not_utf8(name: &str, bytes: &[u8], offset: usize) -> Diagnostic {
    let wide = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    let hint = if wide { "it looks like UTF-16; save it as UTF-8" } else { "save the file as UTF-8" };
    let byte = bytes.get(offset).copied().unwrap_or(0);
    let message = format!("not UTF-8: byte 0x{byte:02x} at offset {offset}");
    let mut diagnostic = Diagnostic::of_file(name, message, Some(hint.into()));
    // What stands before the bad byte is text, so the place can be told like any other.
    if let Some(Ok(before)) = bytes.get(..offset).map(std::str::from_utf8) {
        diagnostic.at = Some(Source::new(name, before).position(offset));
    }
    diagnostic
}
