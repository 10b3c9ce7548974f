//! What `"stdio": "auto"` comes to. A child that opens `/dev/stdout` or `/dev/stderr` anew truncates a log that is a
//! plain file, so a command that mentions these gets a pipe; everything else writes straight into its log.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::domain::spec::{CommandSpec, Stdio};
use crate::keeper::wire::StdioKind;

/// A script is read no further than this.
const LOOK_AT: u64 = 256 << 10;
/// What a script is called that is run by naming it to its interpreter.
const SCRIPTS: [&str; 10] = ["sh", "bash", "zsh", "ksh", "py", "rb", "pl", "js", "mjs", "php"];

/// More are not remembered.
const MOST: usize = 4096;

/// What was found in the files that commands name: a restart only looks whether they are as they were.
#[derive(Debug, Default)]
pub(super) struct Scripts {
    known: HashMap<PathBuf, (Stamp, bool)>,
}

/// A file as it was when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    mode: u32,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        Self {
            file: (meta.dev(), meta.ino()),
            size: meta.len(),
            mode: meta.mode(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

impl Scripts {
    pub(super) fn resolve(&mut self, stdio: Stdio, command: &CommandSpec, cwd: &Path) -> StdioKind {
        match stdio {
            Stdio::Auto if self.reopens(command, cwd) => StdioKind::Pipe,
            Stdio::Auto | Stdio::File => StdioKind::File,
            Stdio::Pipe => StdioKind::Pipe,
            Stdio::Tty => StdioKind::Tty,
        }
    }

    fn reopens(&mut self, command: &CommandSpec, cwd: &Path) -> bool {
        match command {
            CommandSpec::Shell(line) => {
                mentions(line.as_bytes())
                    || line.split_ascii_whitespace().any(|word| self.script_reopens(cwd, word))
            }
            CommandSpec::Argv(argv) => {
                argv.iter().any(|arg| mentions(arg.as_bytes()) || self.script_reopens(cwd, arg))
            }
        }
    }

    fn script_reopens(&mut self, cwd: &Path, word: &str) -> bool {
        // An option names no script.
        if word.is_empty() || word.starts_with('-') {
            return false;
        }
        let path = cwd.join(word);
        let Ok(meta) = path.metadata() else { return false };
        let stamp = Stamp::of(&meta);
        if let Some((before, found)) = self.known.get(&path)
            && *before == stamp
        {
            return *found;
        }
        let found = script_reopens(&path, &meta);
        if self.known.len() >= MOST {
            self.known.clear();
        }
        self.known.insert(path, (stamp, found));
        found
    }
}

fn mentions(text: &[u8]) -> bool {
    [b"/dev/stdout".as_slice(), b"/dev/stderr"]
        .iter()
        .any(|name| text.windows(name.len()).any(|window| window == *name))
}

/// Looks into a script, told by its ending or by being executable text; data that a command is given is not read.
fn script_reopens(path: &Path, meta: &Metadata) -> bool {
    let by_ending = path.extension().is_some_and(|ending| SCRIPTS.iter().any(|script| ending == *script));
    if !meta.is_file() || !(by_ending || meta.permissions().mode() & 0o111 != 0) {
        return false;
    }
    let Ok(mut file) = File::open(path) else { return false };
    let mut text = vec![0; 4];
    if file.read_exact(&mut text).is_err() || !(by_ending || text.starts_with(b"#!")) || text == b"\x7fELF" {
        return false;
    }
    file.take(LOOK_AT).read_to_end(&mut text).is_ok() && mentions(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(words: &[&str]) -> CommandSpec {
        CommandSpec::Argv(words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn a_command_or_script_that_reopens_its_output_gets_a_pipe() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("loud.sh"), "#!/bin/sh\necho x > /dev/stderr\n").unwrap();
        std::fs::write(dir.path().join("plain.sh"), "#!/bin/sh\necho x >&2\n").unwrap();
        let mut scripts = Scripts::default();
        let mut auto = |command: &CommandSpec| scripts.resolve(Stdio::Auto, command, dir.path());
        assert_eq!(auto(&argv(&["sh", "loud.sh"])), StdioKind::Pipe);
        assert_eq!(auto(&CommandSpec::Shell("exec ./loud.sh".into())), StdioKind::Pipe);
        assert_eq!(auto(&CommandSpec::Shell("tee /dev/stdout".into())), StdioKind::Pipe);
        assert_eq!(auto(&argv(&["sh", "plain.sh"])), StdioKind::File);
        assert_eq!(auto(&argv(&["/bin/sleep", "1"])), StdioKind::File);
        // One that was looked at before, and is another by now.
        std::fs::write(dir.path().join("plain.sh"), "#!/bin/sh\necho x > /dev/stdout\n").unwrap();
        assert_eq!(auto(&argv(&["sh", "plain.sh"])), StdioKind::Pipe);
        assert_eq!(auto(&argv(&["sh", "plain.sh"])), StdioKind::Pipe);
        let tty = scripts.resolve(Stdio::Tty, &argv(&["sh", "loud.sh"]), dir.path());
        assert_eq!(tty, StdioKind::Tty);
    }
}
