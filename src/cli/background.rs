//! A supervisor without a terminal: started by `up --detach`, by a verb that finds children without one, and by the
//! keeper as a successor. It tells whoever started it, in one line on its stdout, whether it stands, and then lets go.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::exit::Exit;
use super::failure::Failure;
use super::process;
use super::settings;
use super::workspace::Workspace;
use crate::control::lock;
use crate::keeper;
use crate::supervisor::journal::{Identity, Peeked, peek};
use crate::supervisor::place::WorkspacePlaces;

/// The first argument of a process that is to become a supervisor in the background.
pub const SUPERVISE: &str = "__supervise";

/// Reading state, adopting children and binding a socket take milliseconds; a slow disk may take longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts no runner by itself.
pub const NO_RUNNERS: &str = "--no-runners";

/// What such a process starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runners {
    /// Those that it is told, or all with autostart.
    Some,
    /// It is there for the runs of flows.
    None,
}

/// The one line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Report {
    Ready { pid: u32 },
    Failed(Failure),
}

/// Arguments of such a process, also for the keeper, which has to start one by itself.
pub fn arguments(workspace: &Workspace, debug: bool, runners: Runners) -> Vec<String> {
    let mut arguments = vec![SUPERVISE.into(), "--config".into(), workspace.config.display().to_string()];
    if debug {
        arguments.push("--debug".into());
    }
    if runners == Runners::None {
        arguments.push(NO_RUNNERS.into());
    }
    arguments
}

/// Starts one and waits until it stands. The answer is its pid.
pub fn start(workspace: &Workspace, debug: bool, names: &[String]) -> Result<u32, Failure> {
    launch(arguments(workspace, debug, Runners::Some).into_iter().chain(names.iter().cloned()), workspace)
}

/// One that is there for the runs of flows.
pub fn start_for_runs(workspace: &Workspace, debug: bool) -> Result<u32, Failure> {
    launch(arguments(workspace, debug, Runners::None), workspace)
}

fn launch(arguments: impl IntoIterator<Item = String>, workspace: &Workspace) -> Result<u32, Failure> {
    let act = "start a supervisor in the background";
    let mut child = Command::new("/proc/self/exe")
        .arg0("restage")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| Failure::io(act, &error))?;
    let (told, line) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).ok();
            // Whoever waited may have lost patience.
            told.send(line).ok();
        });
    }
    let log = workspace.log_dir().join(super::own_log::LOG_FILE);
    let failed = |cause: String| {
        Failure::new(Exit::Failed, act, cause).hint(format!("the end of {} tells more", log.display()))
    };
    let line = line
        .recv_timeout(PATIENCE)
        .map_err(|_| failed(format!("it has not reported within {}s", PATIENCE.as_secs())))?;
    match serde_json::from_str(&line) {
        Ok(Report::Ready { pid }) => Ok(pid),
        Ok(Report::Failed(failure)) => Err(failure),
        Err(_) => {
            let end = child.try_wait().ok().flatten().map(|status| format!(": {status}")).unwrap_or_default();
            Err(failed(format!("it ended before it stood{end}")))
        }
    }
}

/// In the background process: reports how the start went and lets go of whoever waits for it.
pub fn report(start: Result<(), &Failure>) {
    let report = match start {
        Ok(()) => Report::Ready { pid: std::process::id() },
        Err(failure) => Report::Failed(failure.clone()),
    };
    let mut line = serde_json::to_vec(&report).unwrap_or_default();
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    // The keeper does not listen, and a verb may be gone.
    stdout.write_all(&line).and_then(|()| stdout.flush()).ok();
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        nix::unistd::dup2_stdout(null.as_fd()).ok();
    }
}

/// In the background process: a session of its own, so that no terminal can end it, and a name for who lists
/// processes, where it was started as `/proc/self/exe`. To be called before there is a second thread.
pub fn leave_terminal() {
    // A name is a help and nothing more.
    nix::sys::prctl::set_name(c"restage").ok();
    // The keeper has started us in one already, and then this is refused.
    nix::unistd::setsid().ok();
}

/// Nobody supervises, the last end was no clean one, and something of it may live, or its keeper is about to start the
/// next one: somebody has to look after it. What was headless has taken its children with it, and is not begun again by
/// somebody who only asks.
pub fn is_needed(workspace: &Workspace) -> bool {
    let places = workspace.places(settings::state_dir(workspace).as_deref());
    let Ok(identity) = Identity::current() else { return false };
    let peeked = peek(&places.state_dir, &workspace.root, &identity);
    if peeked.as_ref().is_ok_and(has_ended_well) {
        return false;
    }
    // One that ends as it should leaves no name there.
    if let Some(dead) = lock::holder(&workspace.lock_file(), process::lives) {
        if dead.headless {
            return false;
        }
        if keeper::link::living_keeper(&workspace.data_dir()).is_some() {
            return true;
        }
    }
    peeked.is_ok_and(|peeked| has_live(&peeked))
}

/// The keeper has started us after a supervisor that had ended everything and died before it could say goodbye: its
/// keeper is to end, too, and nothing is to begin. The answer is the epoch to say so with.
pub fn is_to_take_leave(workspace: &Workspace, places: &WorkspacePlaces) -> Option<u64> {
    if !keeper::link::is_from_keeper(&workspace.data_dir()) {
        return None;
    }
    let peeked = peek(&places.state_dir, &workspace.root, &Identity::current().ok()?).ok()?;
    has_ended_well(&peeked).then_some(peeked.epoch + 1)
}

const fn has_ended_well(peeked: &Peeked) -> bool {
    peeked.found && peeked.clean_end
}

fn has_live(peeked: &Peeked) -> bool {
    peeked.found
        && !peeked.clean_end
        && peeked.same_boot
        && peeked.states.iter().any(|state| state.status.is_live())
}
