//! What `"stdio": "auto"` comes to. A child that opens `/dev/stdout` or `/dev/stderr` anew truncates a log that is a
//! plain file, so a command that mentions these gets a pipe; everything else writes straight into its log.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::domain::spec::{CommandSpec, Stdio};
use crate::keeper::wire::StdioKind;

/// A script is read no further than this.
const LOOK_AT: u64 = 256 << 10;
/// What a script is called that is run by naming it to its interpreter.
const SCRIPTS: [&str; 10] = ["sh", "bash", "zsh", "ksh", "py", "rb", "pl", "js", "mjs", "php"];

pub(super) fn resolve(stdio: Stdio, command: &CommandSpec, cwd: &Path) -> StdioKind {
    match stdio {
        Stdio::Auto if reopens(command, cwd) => StdioKind::Pipe,
        Stdio::Auto | Stdio::File => StdioKind::File,
        Stdio::Pipe => StdioKind::Pipe,
        Stdio::Tty => StdioKind::Tty,
    }
}

fn reopens(command: &CommandSpec, cwd: &Path) -> bool {
    match command {
        CommandSpec::Shell(line) => {
            mentions(line.as_bytes())
                || line.split_ascii_whitespace().any(|word| script_reopens(&cwd.join(word)))
        }
        CommandSpec::Argv(argv) => {
            argv.iter().any(|arg| mentions(arg.as_bytes()) || script_reopens(&cwd.join(arg)))
        }
    }
}

fn mentions(text: &[u8]) -> bool {
    [b"/dev/stdout".as_slice(), b"/dev/stderr"]
        .iter()
        .any(|name| text.windows(name.len()).any(|window| window == *name))
}

/// Looks into a script, told by its ending or by being executable text; data that a command is given is not read.
fn script_reopens(path: &Path) -> bool {
    let Ok(meta) = path.metadata() else { return false };
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
        let auto = |command: &CommandSpec| resolve(Stdio::Auto, command, dir.path());
        assert_eq!(auto(&argv(&["sh", "loud.sh"])), StdioKind::Pipe);
        assert_eq!(auto(&CommandSpec::Shell("exec ./loud.sh".into())), StdioKind::Pipe);
        assert_eq!(auto(&CommandSpec::Shell("tee /dev/stdout".into())), StdioKind::Pipe);
        assert_eq!(auto(&argv(&["sh", "plain.sh"])), StdioKind::File);
        assert_eq!(auto(&argv(&["/bin/sleep", "1"])), StdioKind::File);
        assert_eq!(resolve(Stdio::Tty, &argv(&["sh", "loud.sh"]), dir.path()), StdioKind::Tty);
    }
}
