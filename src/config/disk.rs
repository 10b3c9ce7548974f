//! Whether what a config names is there: programs, their interpreters, folders, files. Looks, opens, changes nothing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat};

use super::diagnostic::quoted;
use crate::domain::spec::MAX_ENV_FILE;

/// What is wrong, and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub message: String,
    pub hint: Option<String>,
}

fn trouble(message: String, hint: impl Into<String>) -> Trouble {
    Trouble { message, hint: Some(hint.into()) }
}

/// Where the C library looks when there is no PATH.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Answers are remembered, by program, folder and PATH: a thousand runners often share one program.
#[derive(Debug, Default)]
pub(super) struct Disk {
    programs: BTreeMap<String, BTreeMap<OsString, ByPath>>,
}

type ByPath = BTreeMap<String, Result<(), Trouble>>;

impl Disk {
    /// Whether a program can be started from `cwd`; found as the system would find it.
    pub(super) fn program(&mut self, program: &str, cwd: &Path, path: Option<&str>) -> Result<(), Trouble> {
        let path = path.unwrap_or(DEFAULT_PATH);
        let known = self.programs.get(program).and_then(|of| of.get(cwd.as_os_str()));
        if let Some(known) = known.and_then(|of| of.get(path)) {
            return known.clone();
        }
        let answer = find(program, cwd, path).and_then(|found| runnable(program, &found, cwd, path));
        let of = self.programs.entry(program.to_owned()).or_default();
        of.entry(cwd.into()).or_default().insert(path.to_owned(), answer.clone());
        answer
    }
}

fn find(program: &str, cwd: &Path, path: &str) -> Result<PathBuf, Trouble> {
    if program.contains('/') {
        let full: PathBuf = cwd.join(program).components().collect();
        return match fs::metadata(&full) {
            Ok(_) => Ok(full),
            Err(error) => Err(trouble(
                format!("the program {} cannot be found: {}", quoted(program), cause(&error)),
                format!("looked for {}", full.display()),
            )),
        };
    }
    let candidates = || path.split(':').map(|folder| cwd.join(folder).join(program));
    if let Some(found) = candidates().find(|full| full.is_file() && executable(full)) {
        return Ok(found);
    }
    if let Some(found) = candidates().find(|full| full.is_file()) {
        return Ok(found);
    }
    let hint = if program.contains(char::is_whitespace) {
        "program and arguments are separate items of the list; or write the whole as one text for sh".into()
    } else if cwd.join(program).is_file() {
        format!("write \"./{program}\" to run the one in {}", cwd.display())
    } else {
        "check its spelling, install it, or write its full path".into()
    };
    Err(trouble(format!("there is no program {} in PATH", quoted(program)), hint))
}

fn runnable(program: &str, full: &Path, cwd: &Path, path: &str) -> Result<(), Trouble> {
    if full.is_dir() {
        return Err(trouble(
            format!("the program {} is a folder", quoted(program)),
            "name the file inside it that is to run",
        ));
    }
    if !executable(full) {
        return Err(trouble(
            format!("the program {} is not executable", quoted(program)),
            format!("chmod +x {}", full.display()),
        ));
    }
    match interpreter(full) {
        Some(line) => check_interpreter(program, &line, cwd, path),
        None => Ok(()),
    }
}

fn executable(path: &Path) -> bool {
    faccessat(AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS).is_ok()
}

/// What follows `#!`, where a file starts so. The kernel reads as little of it.
fn interpreter(path: &Path) -> Option<String> {
    // Only a regular file is opened: opening a device or a FIFO could do or wait for something.
    if !path.is_file() {
        return None;
    }
    let mut head = Vec::with_capacity(256);
    // An executable that cannot be read can still be run, and is no script.
    File::open(path).ok()?.take(256).read_to_end(&mut head).ok()?;
    let rest = head.strip_prefix(b"#!")?;
    let line = rest.split(|byte| *byte == b'\n').next()?;
    Some(String::from_utf8_lossy(line).into_owned())
}

fn check_interpreter(program: &str, line: &str, cwd: &Path, path: &str) -> Result<(), Trouble> {
    if line.ends_with('\r') {
        return Err(trouble(
            format!(
                "the first line of {} ends with a carriage return, so its interpreter is not found",
                quoted(program)
            ),
            "save the file with Unix line ends",
        ));
    }
    let mut words = line.split_whitespace();
    let Some(name) = words.next() else {
        return Err(trouble(
            format!("the first line of {} names no interpreter", quoted(program)),
            "write for example #!/bin/sh",
        ));
    };
    let full = cwd.join(name);
    if !full.is_file() || !executable(&full) {
        return Err(trouble(
            format!("the interpreter {} of {} is not there or not executable", quoted(name), quoted(program)),
            "correct the #! line, or install the interpreter",
        ));
    }
    let looked_up = words.next().filter(|word| {
        full.file_name().is_some_and(|name| name == "env") && !word.starts_with('-') && !word.contains('=')
    });
    match looked_up {
        Some(word) if find(word, cwd, path).is_err() => Err(trouble(
            format!("the interpreter {} of {} is not in PATH", quoted(word), quoted(program)),
            "correct the #! line, or install the interpreter",
        )),
        _ => Ok(()),
    }
}

/// A folder to run in.
pub(super) fn folder(path: &Path) -> Result<(), Trouble> {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(meta) if !meta.is_dir() => {
            Err(trouble(format!("{shown} is not a folder"), "name the folder it lies in"))
        }
        Ok(_) if !executable(path) => {
            Err(trouble(format!("the folder {shown} may not be entered"), format!("chmod u+x {shown}")))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(trouble(
            format!("the folder {shown} cannot be found: {}", cause(&error)),
            "create it or correct the path; it is relative to the folder of the config",
        )),
    }
}

/// A folder that is made where it is not there: nothing else may stand in its place.
pub(super) fn future_folder(path: &Path) -> Result<(), Trouble> {
    match path.ancestors().find_map(|path| fs::metadata(path).ok().map(|meta| (path, meta))) {
        Some((path, meta)) if !meta.is_dir() => Err(trouble(
            format!("{} is not a folder", path.display()),
            "name another place, or move the file away",
        )),
        _ => Ok(()),
    }
}

/// Something to read from: a file, a FIFO, a device.
pub(super) fn readable(path: &Path) -> Result<(), Trouble> {
    let shown = path.display();
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Err(trouble(format!("{shown} is a folder"), "name a file")),
        Ok(_) if faccessat(AT_FDCWD, path, AccessFlags::R_OK, AtFlags::AT_EACCESS).is_err() => {
            Err(trouble(format!("the file {shown} may not be read"), format!("chmod u+r {shown}")))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(trouble(
            format!("the file {shown} cannot be found: {}", cause(&error)),
            "create it or correct the path; it is relative to the folder of the config",
        )),
    }
}

/// A file that is read at each start, by somebody who cannot wait for it.
pub(super) fn env_file(path: &Path) -> Result<(), Trouble> {
    readable(path)?;
    let shown = path.display();
    match fs::metadata(path) {
        Ok(meta) if meta.file_type().is_fifo() => Err(trouble(
            format!("{shown} is a named pipe, and no start waits for who writes into it"),
            "name a plain file, or let the command read it: set -a; . FILE; exec PROGRAM",
        )),
        Ok(meta) if meta.len() > MAX_ENV_FILE => Err(trouble(
            format!(
                "{shown} is larger than the {} MiB that all variables together may have",
                MAX_ENV_FILE >> 20
            ),
            "hand long text over in a file",
        )),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// An I/O error without its number.
pub(super) fn cause(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    let kind = error.kind();
    if kind == ErrorKind::NotFound {
        "it does not exist".into()
    } else if kind == ErrorKind::NotADirectory {
        "a part of the path is no folder".into()
    } else {
        let text = error.to_string();
        text.split(" (os error").next().unwrap_or(&text).to_lowercase()
    }
}
