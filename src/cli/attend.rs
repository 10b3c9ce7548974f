//! Everything around a supervisor that runs in this process: its socket, its lines on the terminal, its log, and the
//! signals that end it. It knows the supervisor by its handle only.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use super::exit::Exit;
use super::failure::Failure;
use super::own_log;
use super::process;
use super::signals::Signals;
use crate::control::lock::{Holder, WorkspaceLock};
use crate::control::serve::{Place, Server};
use crate::control::socket::Bound;
use crate::control::wire::{self, Welcome};
use crate::domain::verdict::signal_name;
use crate::domain::view::{Notice, NoticeKind, Update};
use crate::flow::handle::FlowHandle;
use crate::frontend::headless::Headless;
use crate::keeper::footprint;
use crate::ports::Clock;
use crate::supervisor::handle::{Handle, Notices, Request, Shutdown};

/// A terminal that takes nothing any more is not waited for longer than this at the end.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How long the keeper may take to answer before the start counts as done without it.
const BEGIN: Duration = Duration::from_secs(5);
/// A start with all its first spawns is over by then.
const SETTLED_AFTER: Duration = Duration::from_secs(6);

/// What to say where somebody cleaned up too much.
const DELETED: &str = ".restage was deleted while it was in use: the lock file is made anew, what ran before prints into \
                       deleted logs until its next start, and what was printed before is gone";

/// What it came to, in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Came {
    pub exit: Exit,
    /// A sentence for a person.
    pub summary: String,
}

/// What an actor is attended with.
#[derive(Debug)]
pub struct Scene {
    pub bound: Bound,
    pub place: Place,
    pub workspace: std::path::PathBuf,
    pub lock: WorkspaceLock,
    pub signals: Signals,
    /// Lines for people; `None` where somebody else tells them.
    pub headless: Option<Headless>,
    pub is_headless: bool,
    pub flows: FlowHandle,
}

/// Once everything stands, what only the start needed is given back.
async fn settle() {
    // Again: threads that helped with the start end some seconds after it, and a long state is written with a pause.
    for pause in [1, 1, 2] {
        tokio::time::sleep(SETTLED_AFTER * pause).await;
        footprint::give_back();
    }
}

/// Runs the actor to its end. `standing` is called once clients can connect and what shall start has been started, or
/// when it takes long.
pub async fn attend(
    scene: Scene,
    handle: Handle,
    actor: impl Future<Output = Came> + Send + 'static,
    clock: &'static dyn Clock,
    standing: impl FnOnce(),
) -> Result<Exit, Failure> {
    let Scene { bound, place, workspace, mut lock, signals, headless, is_headless, flows } = scene;
    let me = process::me();
    let started_at = clock.now().wall;
    let welcome =
        Welcome { version: wire::VERSION, supervisor_pid: me.pid, workspace, headless: is_headless };
    let server = Server::new(bound, place, welcome, handle.clone(), flows);
    let tell = handle.clone();
    let mut announce = move |socket: &Path| {
        if !lock.is_there() {
            match lock.renew() {
                Ok(()) => tell.warn(clock.now().wall, DELETED.into()),
                Err(error) => tracing::error!(%error, "make the deleted lock file anew"),
            }
        }
        let holder = Holder { process: me, socket: socket.to_owned(), started_at, headless: is_headless };
        if let Err(error) = lock.announce(&holder) {
            // A full disk: the next verb that knocks has us try again. The runners do not depend on it.
            tracing::error!(%error, "write into the lock file where the socket is");
            return false;
        }
        lock.is_there()
        // The lock lives as long as this closure, which the server keeps until its end.
    };
    let server = if announce(server.path()) { server } else { server.yet_to_be_announced() };

    let (end, ended) = watch::channel(());
    let recording = tokio::spawn(record(handle.subscribe_to_notices(), over(ended.clone())));
    let telling = headless.map(|mut headless| {
        let (notices, ended) = (handle.subscribe_to_notices(), over(ended.clone()));
        tokio::spawn(async move {
            headless.run(notices, ended).await;
            headless
        })
    });
    let serving = tokio::spawn(server.run(over(ended), announce));
    tokio::spawn(settle());
    let begun = begun(handle.subscribe());
    let vigil = Vigil { actor: tokio::spawn(actor), handle, signals };
    let (came, signal) = vigil.keep(begun, standing).await?;

    drop(end);
    let text = match signal {
        Some(signal) => format!("Ended by signal {}: {}", signal_name(signal), came.summary),
        None => format!("Ended: {}", came.summary),
    };
    let summary = Notice { at: clock.now().wall, runner: None, what: NoticeKind::Info { text } };
    own_log::record(&summary);
    if let Some(telling) = telling
        && let Ok(mut headless) = telling.await
    {
        headless.tell(&summary);
        headless.close(LAST_LINES);
    }
    // These two end by themselves now; one that has panicked has said so in the log.
    serving.await.ok();
    recording.await.ok();
    Ok(signal.map_or(came.exit, Exit::Signal))
}

/// Resolves when the other end is dropped.
async fn over(mut ended: watch::Receiver<()>) {
    ended.changed().await.ok();
}

/// All notices go into the log of restage, too.
async fn record(notices: Notices, ended: impl Future<Output = ()>) {
    let write = |told: Result<Arc<Notice>, u64>| match told {
        Ok(notice) => own_log::record(&notice),
        Err(missed) => tracing::warn!(missed, "notices are missing here"),
    };
    notices.each(ended, write).await;
}

/// Resolves when the keeper has told what lives: from then on the runners do what they are to do.
async fn begun(mut updates: broadcast::Receiver<Update>) {
    let keeper = async {
        loop {
            match updates.recv().await {
                Ok(Update::Fleet(fleet)) if fleet.keeper_trouble.is_none() => return,
                Ok(_) => {}
                // So much has happened that it has begun.
                Err(RecvError::Lagged(_) | RecvError::Closed) => return,
            }
        }
    };
    // Without a keeper it stands, too: verbs tell what is wrong.
    tokio::time::timeout(BEGIN, keeper).await.ok();
}

/// Waits for the end of the actor.
struct Vigil {
    actor: JoinHandle<Came>,
    handle: Handle,
    signals: Signals,
}

impl Vigil {
    /// A signal asks the actor to end, a second one kills; the first one is told.
    async fn keep(
        mut self,
        begun: impl Future<Output = ()>,
        standing: impl FnOnce(),
    ) -> Result<(Came, Option<i32>), Failure> {
        let mut first = None;
        let mut standing = Some(standing);
        tokio::pin!(begun);
        loop {
            tokio::select! {
                ended = &mut self.actor => {
                    return match ended {
                        Ok(came) => {
                            // It may have been quicker than we were to say that it stands.
                            if let Some(standing) = standing {
                                standing();
                            }
                            Ok((came, first))
                        }
                        Err(error) => Err(Failure::new(Exit::Failed, "supervise", error)
                            .hint("what ran goes on; any verb starts a supervisor that takes it over")),
                    };
                }
                signal = self.signals.next() => {
                    let how = if first.is_none() { Shutdown::Graceful } else { Shutdown::Kill };
                    first = first.or(Some(signal));
                    tracing::info!(signal, ?how, "told to end");
                    let handle = self.handle.clone();
                    // Its answer may take as long as the graces; what is waited for is the end of the actor.
                    tokio::spawn(async move { handle.ask(Request::Shutdown { how }).await.map(drop) });
                }
                () = &mut begun, if standing.is_some() => {
                    if let Some(standing) = standing.take() {
                        standing();
                    }
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "attend_tests.rs"]
mod tests;
