//! Short commands beside an attempt: health checks and stop commands. Each runs in a session of its own, under a
//! deadline, and is killed with its whole process group when the deadline passes, when nobody wants its answer any
//! more, and when the supervisor dies. The end of what it prints is told.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::prctl;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, setsid};
use tokio::net::unix::pipe::Receiver;
use tokio::process::Command;

use crate::domain::spec::CommandSpec;
use crate::domain::verdict::signal_name;
use crate::domain::view::seconds;

/// What a command is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Health,
    Stop,
}

#[derive(Debug, Clone, PartialEq)]
pub struct HelperCommand {
    pub purpose: Purpose,
    pub command: CommandSpec,
    pub cwd: PathBuf,
    /// On top of our own environment.
    pub env: BTreeMap<String, Option<String>>,
    pub deadline: Duration,
}

/// `Ok` for exit 0; otherwise a clause for a person, with the last of what was printed.
pub type HelperEnd = Result<(), String>;

pub trait Helpers: Send + Sync {
    /// Dropping the future ends the command.
    fn run(&self, helper: HelperCommand) -> Pin<Box<dyn Future<Output = HelperEnd> + Send>>;
}

/// Real processes.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemHelpers;

impl Helpers for SystemHelpers {
    fn run(&self, helper: HelperCommand) -> Pin<Box<dyn Future<Output = HelperEnd> + Send>> {
        Box::pin(run(helper))
    }
}

/// So much of what a command prints is kept.
const TAIL: usize = 1024;

async fn run(helper: HelperCommand) -> HelperEnd {
    let argv = helper.command.argv();
    let Some((program, arguments)) = argv.split_first() else { return Err("the command is empty".into()) };
    let cannot = |error: io::Error| format!("{program:?} cannot be run: {error}");
    let (output, printed) = io::pipe().map_err(cannot)?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&helper.cwd);
    command.stdin(Stdio::null()).stdout(printed.try_clone().map_err(cannot)?).stderr(printed);
    for (key, value) in &helper.env {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    // SAFETY: between fork and exec only the two system calls are made; neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(|| {
            setsid()?;
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            Ok(())
        });
    }
    let mut child = command.spawn().map_err(cannot)?;
    // Our ends of the pipe, so that the end of the child is the end of its output.
    drop(command);
    let _group = Group::of(child.id());
    let mut tail = Tail::of(output.into()).map_err(cannot)?;
    let waited = tokio::time::timeout(helper.deadline, async {
        loop {
            tokio::select! {
                status = child.wait() => return status,
                () = tail.more() => {}
            }
        }
    });
    let end = match waited.await {
        Ok(Ok(status)) => verdict(status),
        Ok(Err(error)) => Err(format!("its end cannot be seen: {error}")),
        Err(_) => Err(format!("no answer within {}", seconds(helper.deadline.as_secs_f64()))),
    };
    let printed = tail.text();
    match end {
        Err(problem) if !printed.is_empty() => Err(format!("{problem}; it printed: {printed}")),
        Ok(()) if !printed.is_empty() => {
            let runner = helper.env.get("RESTAGE_RUNNER").cloned().flatten().unwrap_or_default();
            match helper.purpose {
                Purpose::Stop => tracing::info!(runner, printed, "the stop command succeeded"),
                Purpose::Health => tracing::debug!(runner, printed, "the health check passed"),
            }
            Ok(())
        }
        end => end,
    }
}

/// The last of what comes out of a pipe. Who holds its other end beyond the command is not waited for.
struct Tail {
    pipe: Receiver,
    bytes: Vec<u8>,
    open: bool,
}

impl Tail {
    fn of(pipe: OwnedFd) -> io::Result<Self> {
        Ok(Self { pipe: Receiver::from_owned_fd(pipe)?, bytes: Vec::new(), open: true })
    }

    /// Waits for more, for ever where no more can come.
    async fn more(&mut self) {
        if !self.open || self.pipe.readable().await.is_err() {
            return std::future::pending().await;
        }
        self.take();
    }

    /// What is there now.
    fn take(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            match self.pipe.try_read(&mut buffer) {
                Ok(count @ 1..) => {
                    self.bytes.extend_from_slice(&buffer[..count]);
                    let surplus = self.bytes.len().saturating_sub(TAIL);
                    self.bytes.drain(..surplus);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Ok(0) | Err(_) => return self.open = false,
            }
        }
    }

    /// On one line, without control characters.
    fn text(mut self) -> String {
        self.take();
        let text = String::from_utf8_lossy(&self.bytes);
        let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
        words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

fn verdict(status: ExitStatus) -> HelperEnd {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => Err(format!("exit {code}")),
        (None, Some(signal)) => Err(format!("signal {}", signal_name(signal))),
        (None, None) => Err("it ended, and nobody can tell how".into()),
    }
}

/// Kills what is left of a process group when it goes out of scope.
struct Group(Option<Pid>);

impl Group {
    fn of(leader: Option<u32>) -> Self {
        Self(leader.and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Nothing may be left of it, which is what we want. The number cannot belong to another group yet: the
            // leader was reaped in this very poll at the earliest.
            killpg(group, Signal::SIGKILL).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn helper(line: &str, deadline: Duration) -> HelperCommand {
        HelperCommand {
            purpose: Purpose::Health,
            command: CommandSpec::Shell(line.into()),
            cwd: "/".into(),
            env: [("WORD".to_owned(), Some("given".to_owned()))].into(),
            deadline,
        }
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn it_tells_how_the_command_ended() {
        assert_eq!(run(helper("test $WORD = given", LONG)).await, Ok(()));
        assert_eq!(run(helper("exit 3", LONG)).await, Err("exit 3".into()));
        assert_eq!(run(helper("kill -9 $$", LONG)).await, Err("signal 9 (SIGKILL)".into()));
        let mut missing = helper("", LONG);
        missing.command = CommandSpec::Argv(vec!["/nowhere/command".into()]);
        assert!(run(missing).await.unwrap_err().contains("cannot be run"));
    }

    #[tokio::test]
    async fn the_last_of_its_output_is_told() {
        let line = "seq 1 100000; printf 'no \\033[31mluck\\n' >&2; sleep 300 & exit 3";
        let told = run(helper(line, LONG)).await.unwrap_err();
        assert!(told.starts_with("exit 3; it printed: ") && told.ends_with(" 100000 no [31mluck"), "{told}");
        assert!(told.len() < 2 * TAIL);
        assert_eq!(run(helper("echo fine", LONG)).await, Ok(()));
        let told = run(helper("echo begun; sleep 300", Duration::from_millis(300))).await.unwrap_err();
        assert_eq!(told, "no answer within 0.3s; it printed: begun");
    }

    #[tokio::test]
    async fn one_that_hangs_is_killed_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let note = dir.path().join("pid");
        let line = format!("sleep 300 & echo $! > {}; wait", note.display());
        assert_eq!(run(helper(&line, Duration::from_millis(500))).await, Err("no answer within 0.5s".into()));
        let pid: i32 = std::fs::read_to_string(note).unwrap().trim().parse().unwrap();
        let gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        let deadline = tokio::time::Instant::now() + LONG;
        while !gone() {
            assert!(tokio::time::Instant::now() < deadline, "{pid} lives");
            tokio::task::yield_now().await;
        }
    }
}
