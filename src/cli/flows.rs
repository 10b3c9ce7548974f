//! Puts the flow engine of a workspace together: its store, its thread, its line to the supervisor.

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::process;
use super::workspace::Workspace;
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::spec::FlowSpec;
use crate::flow::engine::{Engine, Input, Left, Parts, Place};
use crate::flow::handle::{FlowAsk, FlowHandle};
use crate::ports::Clock;
use crate::ports::store::StoreError;
use crate::store::sqlite::SqliteStore;
use crate::supervisor::guest::{GuestLine, GuestOrder};
use crate::supervisor::handle::Handle;

/// A history that cannot be opened for want of room is tried again this often.
const AGAIN: Duration = Duration::from_secs(2);

/// The history of a workspace, in its `.restage`.
pub fn history(workspace: &Workspace) -> PathBuf {
    workspace.data_dir().join("history.db")
}

/// The ends of the line between engine and supervisor, before there is either.
#[derive(Debug)]
pub struct Line {
    pub flows: FlowHandle,
    pub guests: GuestLine,
    pub orders: UnboundedSender<GuestOrder>,
}

pub fn line() -> Line {
    let flows = FlowHandle::default();
    let (orders, received) = unbounded_channel();
    let told = flows.clone();
    let guests = GuestLine { orders: received, tell: Box::new(move |event| told.tell(event)) };
    Line { flows, guests, orders }
}

/// Tells how the engine is started, and starts it at once where runs may lie unfinished.
pub fn prepare(
    workspace: &Workspace,
    flows: &FlowHandle,
    orders: UnboundedSender<GuestOrder>,
    clock: Arc<dyn Clock>,
    handle: Handle,
    specs: Vec<Arc<FlowSpec>>,
    left: Left,
) {
    let path = history(workspace);
    let exists = path.exists();
    let place = Place { root: workspace.root.clone(), data_dir: workspace.data_dir() };
    let own = flows.inputs();
    let begin = move |inputs: mpsc::Receiver<Input>| match open(&path, clock.as_ref(), &inputs) {
        Ok((store, before)) => {
            let parts = Parts {
                clock,
                store: Box::new(store),
                place,
                flows: specs,
                guests: orders,
                handle,
                holder: holder(),
                own,
                left,
            };
            Engine::new(parts).run(before, &inputs);
        }
        Err(error) => {
            tracing::error!(%error, "open the history of runs");
            refuse_all(&inputs, &error.to_string());
        }
    };
    flows.prepare(Box::new(move |inputs| {
        let spawned = thread::Builder::new().name("flows".into()).spawn(move || begin(inputs));
        if let Err(error) = spawned {
            tracing::error!(%error, "start the thread of flows");
        }
    }));
    if exists {
        flows.start();
    }
}

/// This process, as the one that carries runs out.
pub fn holder() -> String {
    let me = process::me();
    format!("{} {}", me.pid, me.start)
}

/// Opens the history. While there is no room for that, each who asks has it tried again and is told so, and the rest
/// waits for the engine.
fn open(
    path: &Path,
    clock: &dyn Clock,
    inputs: &mpsc::Receiver<Input>,
) -> Result<(SqliteStore, Vec<Input>), StoreError> {
    let (mut before, mut asked) = (Vec::new(), None);
    loop {
        let why = match SqliteStore::open(path) {
            Ok(store) => {
                before.extend(asked.map(Input::Ask));
                return Ok((store, before));
            }
            Err(error @ StoreError::Later { .. }) => error,
            Err(error) => return Err(error),
        };
        tracing::warn!(error = %why, "open the history of runs");
        if let Some(ask) = asked.take() {
            refuse(ask, &why.to_string());
        }
        let until = clock.now().mono.plus(AGAIN);
        while let Ok(input) = inputs.recv_timeout(until.since(clock.now().mono)) {
            match input {
                Input::Ask(ask) => {
                    asked = Some(ask);
                    break;
                }
                Input::End(done) => {
                    done.send(()).ok();
                    return Err(why);
                }
                other @ (Input::Guest(_)
                | Input::Prepared(_)
                | Input::Settled(_)
                | Input::Written
                | Input::Read(_)
                | Input::Flows(_)) => {
                    before.push(other);
                }
            }
        }
    }
}

/// Whoever asked may have gone.
fn refuse(ask: FlowAsk, why: &str) {
    ask.answer.send(Err(Refusal::Store(why.to_owned()))).ok();
}

/// Without its history nothing can be said of runs; supervision goes on.
fn refuse_all(inputs: &mpsc::Receiver<Input>, why: &str) {
    while let Ok(input) = inputs.recv() {
        match input {
            Input::Ask(ask) => refuse(ask, why),
            Input::End(done) => {
                done.send(()).ok();
                return;
            }
            Input::Guest(_)
            | Input::Prepared(_)
            | Input::Settled(_)
            | Input::Written
            | Input::Read(_)
            | Input::Flows(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    use tokio::sync::oneshot;

    use super::*;
    use crate::domain::flow::ask::FlowRequest;
    use crate::domain::flow::record::RunFilter;
    use crate::supervisor::clock::SystemClock;

    #[test]
    fn who_asks_when_there_is_room_again_is_not_told_of_a_full_disk() {
        let dir = tempfile::tempdir().unwrap();
        let none = Some("none");
        if mount(none, dir.path(), Some("tmpfs"), MsFlags::empty(), Some("size=1m")).is_err() {
            return;
        }
        let (filler, path) = (dir.path().join("filler"), dir.path().join("history.db"));
        std::fs::write(&filler, vec![0; 2 << 20]).unwrap_err();
        let (tell, inputs) = mpsc::channel();
        let opening =
            thread::spawn(move || open(&path, &SystemClock, &inputs).map(|(_, before)| before.len()));
        let ask = || {
            let (answer, answered) = oneshot::channel();
            tell.send(Input::Ask(FlowAsk { request: FlowRequest::Runs(RunFilter::default()), answer }))
                .unwrap();
            answered
        };
        let refused = ask().blocking_recv().unwrap().unwrap_err();
        assert!(refused.to_string().contains("full"), "{refused}");
        std::fs::remove_file(&filler).unwrap();
        let waits = ask();
        assert_eq!(opening.join().unwrap().unwrap(), 1, "the engine answers it");
        waits.blocking_recv().unwrap_err();
        umount2(dir.path(), MntFlags::MNT_DETACH).unwrap();
    }
}
