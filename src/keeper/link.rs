//! How a supervisor reaches its keeper: starts one where none is, and connects to the one that is there.

use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::door::LOCK_FILE;
use super::door::Sign;
use super::guard::HELD;
use super::{GUARD, proc};

/// Where the keeper of a workspace lives.
#[derive(Debug, Clone)]
pub struct KeeperPlace {
    /// `.restage`: lock and journal.
    pub data_dir: PathBuf,
    /// The socket; its last part names the keeper's cgroup.
    pub runtime_dir: PathBuf,
    pub cgroups: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("start the keeper: run {program}: {source}")]
    Run { program: String, source: io::Error },
    #[error("start the keeper: {message}")]
    Start { message: String },
    #[error(
        "reach the keeper (pid {pid}): {source}; it holds {lock}, so no second one is started, and makes its socket anew \
         within a moment"
    )]
    Reach { pid: i32, lock: String, source: io::Error },
}

/// Starts a keeper unless one is there. Blocks for some milliseconds; to be called off the async threads.
pub fn ensure(place: &KeeperPlace) -> Result<(), LinkError> {
    let program = "/proc/self/exe";
    let output = Command::new(program)
        .arg0("restage")
        .arg(GUARD)
        .args([place.data_dir.as_os_str(), place.runtime_dir.as_os_str()])
        .arg(if place.cgroups { "auto" } else { "off" })
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(|source| LinkError::Run { program: program.into(), source })?;
    match output.status.code() {
        Some(0) => Ok(()),
        Some(code) if code == i32::from(HELD) => Ok(()),
        Some(_) | None => {
            let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(LinkError::Start { message })
        }
    }
}

/// One try to connect; `None` when there is no keeper, or it is just being replaced by its guard.
pub fn connect(place: &KeeperPlace) -> Result<Option<UnixStream>, LinkError> {
    let lock = place.data_dir.join(LOCK_FILE);
    let sign = Sign::read(&lock);
    let usual = place.runtime_dir.join("keeper.sock");
    let socket = sign.as_ref().map_or(usual, |sign| sign.socket.clone());
    match UnixStream::connect(&socket) {
        Ok(stream) => Ok(Some(stream)),
        Err(source) => match sign.filter(|sign| proc::is_alive(sign.pid, sign.start)) {
            Some(sign) => Err(LinkError::Reach { pid: sign.pid, lock: lock.display().to_string(), source }),
            None => Ok(None),
        },
    }
}

/// The keeper that the lock file names, if it is alive.
pub fn living_keeper(data_dir: &Path) -> Option<i32> {
    let sign = Sign::read(&data_dir.join(LOCK_FILE))?;
    proc::is_alive(sign.pid, sign.start).then_some(sign.pid)
}

/// Whether the keeper has started this process: itself, or as the one that is the guard of the keeper by now.
pub fn is_from_keeper(data_dir: &Path) -> bool {
    let parent = nix::unistd::getppid().as_raw();
    living_keeper(data_dir).is_some_and(|keeper| {
        keeper == parent || proc::stat(keeper).is_some_and(|keeper| keeper.ppid == parent)
    })
}
