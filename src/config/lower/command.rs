//! Commands: variables filled in, the program found, the size bearable.

use std::io::ErrorKind;
use std::path::{Component, Path};

use super::Lowering;
use crate::config::disk::Trouble;
use crate::config::expand::Scope;
use crate::config::read::{At, Spot};
use crate::config::values::RawCommand;
use crate::domain::spec::CommandSpec;

/// What the kernel takes for arguments and environment together, with the usual stack limit of 8 MiB.
const MAX_ARGS: usize = 2 << 20;
const POINTER: usize = size_of::<usize>();

/// What a command of a runner meets.
pub(super) struct World<'a> {
    pub(super) scope: Scope<'a>,
    /// `None` where it is wrong.
    pub(super) cwd: Option<&'a Path>,
    /// An env file, which is read at each start only, may change PATH.
    pub(super) vague_path: bool,
    /// What is missing inside the workspace may be there when its time comes: an earlier stage can make it.
    pub(super) made_later: bool,
}

impl Lowering<'_, '_> {
    pub(super) fn command(&mut self, raw: &RawCommand, world: &World<'_>) -> Option<CommandSpec> {
        let (command, spot) = match raw {
            RawCommand::Shell(line) => (CommandSpec::Shell(line.value.clone()), line.spot),
            RawCommand::Argv(items) => {
                let script = script_start(items);
                let argv: Vec<Option<String>> = items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| {
                        if index < script {
                            self.expanded(item, world.scope)
                        } else {
                            Some(item.value.clone())
                        }
                    })
                    .collect();
                let argv: Vec<String> = argv.into_iter().collect::<Option<_>>()?;
                (CommandSpec::Argv(argv), items.first()?.spot)
            }
        };
        let argv: Vec<&str> = match &command {
            CommandSpec::Shell(line) => vec!["sh", "-c", line],
            CommandSpec::Argv(argv) => argv.iter().map(String::as_str).collect(),
        };
        self.size(&argv, world.scope, spot);
        let program = *argv.first()?;
        if program.is_empty() {
            self.reader.error(spot, "the program has no name once its variables are filled in", None);
            return None;
        }
        // A relative path leads nowhere while the folder is wrong, which is told already.
        let cwd = match world.cwd {
            Some(cwd) => cwd,
            None if program.contains('/') && !program.starts_with('/') => return Some(command),
            None => self.root,
        };
        if let Err(Trouble { message, hint }) = self.disk.program(program, cwd, world.scope.var("PATH")) {
            if world.made_later && self.may_be_made(program, cwd) {
                let message = format!("{message}; it has to be there when it is started");
                self.reader.warn(spot, message, hint);
            } else if world.vague_path && !program.contains('/') {
                self.reader.warn(spot, format!("{message}, unless env_file changes PATH"), hint);
            } else {
                self.reader.missing(spot, message, hint);
            }
        }
        Some(command)
    }

    /// A program with a relative path that leads to nothing yet, in the workspace.
    fn may_be_made(&self, program: &str, cwd: &Path) -> bool {
        let full = cwd.join(program);
        let inside =
            !full.components().any(|part| part == Component::ParentDir) && full.starts_with(self.root);
        let missing = full.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound);
        program.contains('/') && !program.starts_with('/') && inside && missing
    }

    /// The kernel refuses a start whose arguments and environment are too large together.
    fn size(&mut self, argv: &[&str], scope: Scope<'_>, spot: Spot) {
        let own = scope.own.into_iter().flatten();
        let hidden = own.clone().filter_map(|(name, _)| self.env.vars.get_key_value(name));
        let env = self.env_bytes - bytes(hidden) + bytes(own);
        let total = env + argv.iter().map(|arg| arg.len() + 1 + POINTER).sum::<usize>();
        if total > MAX_ARGS {
            let message = format!(
                "command and environment take {total} bytes together; the kernel takes {MAX_ARGS} at most"
            );
            self.reader.error(spot, message, Some("hand long text over in a file or on stdin".into()));
        }
    }
}

/// What variables take of the kernel's room.
pub(super) fn bytes<'a>(vars: impl Iterator<Item = (&'a String, &'a String)>) -> usize {
    vars.map(|(name, value)| name.len() + value.len() + 2 + POINTER).sum()
}

/// Where the script of `["bash", "-c", "…"]` starts: from there on the variables are the shell's own.
fn script_start(items: &[At<String>]) -> usize {
    const SHELLS: [&str; 8] = ["sh", "bash", "dash", "zsh", "ksh", "fish", "ash", "busybox"];
    let program = items.first().and_then(|item| item.value.rsplit('/').next());
    if !program.is_some_and(|name| SHELLS.contains(&name)) {
        return items.len();
    }
    let flag = |item: &At<String>| {
        item.value.starts_with('-') && !item.value.starts_with("--") && item.value.ends_with('c')
    };
    items.iter().position(flag).map_or(items.len(), |at| at + 1)
}
