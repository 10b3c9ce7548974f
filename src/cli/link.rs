//! The way from a verb to the supervisor of a workspace: who holds the lock, whether it lives, where its socket is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::background;
use super::exit::Exit;
use super::failure::Failure;
use super::process::{self, Life};
use super::settings;
use super::workspace::Workspace;
use crate::control::client::{Client, ClientError, Updates};
use crate::control::lock::{self, Holder, LOCK_FILE};
use crate::control::watch::{Of, Watch};

/// How long a supervisor may take to say where it is, to bind a deleted socket anew, and to answer a hello.
const PATIENCE: Duration = Duration::from_secs(2);

/// The keeper starts a successor within a second, later where supervisors keep dying.
const SUCCESSION: Duration = Duration::from_secs(10);

/// Who supervises here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Nobody,
    /// It may be starting: then it has not said yet who it is.
    Somebody(Option<Holder>),
}

pub fn who(workspace: &Workspace) -> Found {
    let path = lock_that_tells(workspace);
    match lock::holder(&path, process::lives) {
        // Its own word and a living process are enough; probing the lock could get in the way of one that starts.
        Some(holder) if process::lives(&holder.process) => Found::Somebody(Some(holder)),
        Some(_) | None if lock::is_held(&path) => Found::Somebody(None),
        Some(_) | None => Found::Nobody,
    }
}

/// The same for who wants to take the place: one that is just dying, or ending, is waited for.
pub async fn settled(workspace: &Workspace) -> Found {
    match connect(workspace).await {
        Ok(None) => Found::Nobody,
        // What is wrong with it is told by whoever asks it for something.
        Ok(Some(_)) | Err(_) => who(workspace),
    }
}

/// Where the usual one was never made, or was deleted under a supervisor, the one beside the state tells.
fn lock_that_tells(workspace: &Workspace) -> PathBuf {
    let usual = workspace.lock_file();
    if usual.exists() {
        return usual;
    }
    workspace.places(settings::state_dir(workspace).as_deref()).state_dir.join(LOCK_FILE)
}

/// A connection, or `None` where nobody supervises. Who finds neither the one nor the other at once begins to watch; to
/// give up a watch takes the kernel longer than everything else takes here.
pub async fn connect(workspace: &Workspace) -> Result<Option<(Client, Updates)>, Failure> {
    let deadline = Instant::now() + PATIENCE;
    let lock_file = workspace.lock_file();
    let mut watch = None;
    let (mut last, mut knocked) = (None, false);
    loop {
        match who(workspace) {
            Found::Nobody => return Ok(None),
            // It is starting and will say so, or it is ending and will let go. One that had no room to say so tries again.
            Found::Somebody(None) => {
                if !knocked {
                    lock::knock(&lock_file).ok();
                    knocked = true;
                }
            }
            Found::Somebody(Some(holder)) => {
                refuse_stopped(&holder)?;
                let path = holder.socket.clone();
                if let Some(watch) = &watch {
                    watch_for(watch, &path);
                }
                match Client::connect(&path, PATIENCE).await {
                    Ok(connected) => return Ok(Some(connected)),
                    // It may die between the one and the other.
                    Err(error @ (ClientError::Connect { .. } | ClientError::Gone)) => {
                        // The knock wakes it only where nothing else has; one that is ending does not hear it.
                        lock::knock(&lock_file).ok();
                        last = Some(error);
                    }
                    Err(error) => {
                        refuse_stopped(&holder)?;
                        return Err(Failure::of_client("talk to the supervisor", &error));
                    }
                }
            }
        }
        if Instant::now() >= deadline {
            return match last {
                Some(error) => Err(Failure::of_client("talk to the supervisor", &error)),
                None => Err(nobody_says(workspace)),
            };
        }
        let Some(watch) = &watch else {
            watch.insert(Watch::new()).add(&workspace.data_dir(), &[Of::Arrivals, Of::Writes]);
            // What has come in between is not told by it.
            continue;
        };
        let held = lock_that_tells(workspace);
        tokio::select! {
            () = watch.changed() => {}
            // The dead say nothing, but they let go.
            () = lock::freed(&held) => {}
            // One more look, then it is told.
            () = tokio::time::sleep_until(deadline) => {}
        }
    }
}

/// A connection, or the failure that nothing runs here.
pub async fn require(workspace: &Workspace) -> Result<(Client, Updates), Failure> {
    connect(workspace).await?.ok_or_else(|| nothing_runs(workspace))
}

/// After a connection has ended: the successor, once it stands; `None` where the supervisor has ended for good. One that
/// does not come is started, as by any verb that finds children without a supervisor.
pub async fn reconnect(workspace: &Workspace) -> Result<Option<(Client, Updates)>, Failure> {
    let deadline = Instant::now() + SUCCESSION;
    let watch = Watch::new();
    loop {
        watch.add(&workspace.data_dir(), &[Of::Arrivals, Of::Writes]);
        match connect(workspace).await {
            Ok(Some(connected)) => return Ok(Some(connected)),
            // On a busy machine one that has just begun may take its time.
            Err(failure) if Instant::now() >= deadline => return Err(failure),
            Ok(None) if !background::is_needed(workspace) => return Ok(None),
            Ok(None) | Err(_) => {}
        }
        if Instant::now() >= deadline {
            background::start(workspace, false, &[])?;
            return require(workspace).await.map(Some);
        }
        tokio::select! {
            () = watch.changed() => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
    }
}

pub fn nothing_runs(workspace: &Workspace) -> Failure {
    let act = format!("find a supervisor for {}", workspace.root.display());
    Failure::new(Exit::Nothing, act, "nothing runs here").hint("`restage up` starts one")
}

/// Why a second supervisor does not start, and what to do with the first.
pub fn taken(workspace: &Workspace, holder: Option<&Holder>) -> Failure {
    let act = format!("supervise {}", workspace.root.display());
    let Some(holder) = holder else {
        return Failure::new(Exit::Usage, act, "another supervisor is starting or ending")
            .hint("`restage status` shows it in a moment");
    };
    let pid = holder.process.pid;
    if process::look(&holder.process) == Life::Stopped {
        return Failure::new(Exit::Usage, act, stopped_text(pid)).hint(stopped_hint(pid));
    }
    let kind = if holder.headless { "headless supervisor" } else { "supervisor" };
    let since = holder.started_at.strftime("%Y-%m-%d %H:%M:%SZ");
    Failure::new(Exit::Usage, act, format!("the {kind} {pid} does so since {since}"))
        .hint("`restage status` shows what it does, `restage down` ends it")
}

fn refuse_stopped(holder: &Holder) -> Result<(), Failure> {
    let pid = holder.process.pid;
    match process::look(&holder.process) {
        Life::Stopped => {
            Err(Failure::new(Exit::Failed, "talk to the supervisor", stopped_text(pid))
                .hint(stopped_hint(pid)))
        }
        Life::Lives | Life::Gone => Ok(()),
    }
}

fn stopped_text(pid: i32) -> String {
    format!("the supervisor {pid} is stopped (state T): it lives and does nothing; its runners go on")
}

fn stopped_hint(pid: i32) -> String {
    format!("`kill -CONT {pid}` lets it go on, `fg` in the terminal where it was suspended does, too")
}

fn nobody_says(workspace: &Workspace) -> Failure {
    let act = format!("find the supervisor of {}", workspace.root.display());
    let cause = format!("somebody holds {} and does not say who it is", workspace.lock_file().display());
    let is_full = nix::sys::statvfs::statvfs(&workspace.data_dir())
        .is_ok_and(|disk| disk.blocks() > 0 && disk.blocks_available() == 0);
    Failure::new(Exit::Failed, act, cause).hint(if is_full {
        "the disk is full, so that it cannot: make room and try again; `fuser -v` on that file tells who"
    } else {
        "it may be starting: try again; `fuser -v` on that file tells who"
    })
}

/// The socket may come back into its folder, or its folder may.
fn watch_for(watch: &Watch, socket: &Path) {
    let mut folder = socket.parent();
    while let Some(path) = folder {
        if watch.add(path, &[Of::Arrivals]) {
            return;
        }
        folder = path.parent();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::control::lock::WorkspaceLock;
    use crate::domain::ids::Process;
    use crate::domain::time::Timestamp;

    fn workspace(dir: &Path) -> Workspace {
        fs::create_dir(dir.join(".restage")).unwrap();
        Workspace { root: dir.to_owned(), config: dir.join("config.json") }
    }

    fn holder(process: Process, socket: &Path) -> Holder {
        Holder { process, socket: socket.to_owned(), started_at: Timestamp::UNIX_EPOCH, headless: true }
    }

    #[test]
    fn the_dead_supervise_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = workspace(dir.path());
        assert_eq!(who(&workspace), Found::Nobody);
        let me = process::me();
        let dead = holder(Process { start: me.start + 1, ..me }, Path::new("/x"));
        fs::write(workspace.lock_file(), serde_json::to_vec(&dead).unwrap()).unwrap();
        assert_eq!(who(&workspace), Found::Nobody);
        let lock = WorkspaceLock::take(&workspace.lock_file(), Duration::ZERO, process::lives).unwrap();
        assert_eq!(who(&workspace), Found::Somebody(None));
        let us = holder(me, Path::new("/x"));
        lock.announce(&us).unwrap();
        assert_eq!(who(&workspace), Found::Somebody(Some(us)));
    }

    #[tokio::test]
    async fn a_missing_socket_is_waited_for_and_then_told() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = workspace(dir.path());
        assert!(connect(&workspace).await.unwrap().is_none());
        let lock = WorkspaceLock::take(&workspace.lock_file(), Duration::ZERO, process::lives).unwrap();
        lock.announce(&holder(process::me(), &dir.path().join("gone/control.sock"))).unwrap();
        let failure = connect(&workspace).await.unwrap_err();
        assert!(failure.message().contains("gone/control.sock"), "{failure}");
    }

    #[test]
    fn a_second_one_is_told_who_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = workspace(dir.path());
        let failure = taken(&workspace, Some(&holder(process::me(), Path::new("/x"))));
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.message().contains(&std::process::id().to_string()), "{failure}");
        assert!(failure.hint.unwrap().contains("restage down"));
    }
}
