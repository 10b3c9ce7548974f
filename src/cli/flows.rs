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
use crate::flow::handle::FlowHandle;
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

/// Opens the history. While there is no room for that, who asks is told so, and the rest waits for the engine.
fn open(
    path: &Path,
    clock: &dyn Clock,
    inputs: &mpsc::Receiver<Input>,
) -> Result<(SqliteStore, Vec<Input>), StoreError> {
    let mut before = Vec::new();
    loop {
        let why = match SqliteStore::open(path) {
            Ok(store) => return Ok((store, before)),
            Err(error @ StoreError::Later { .. }) => error,
            Err(error) => return Err(error),
        };
        tracing::warn!(error = %why, "open the history of runs");
        let until = clock.now().mono.plus(AGAIN);
        while let Ok(input) = inputs.recv_timeout(until.since(clock.now().mono)) {
            match input {
                // Whoever asked may have gone.
                Input::Ask(ask) => drop(ask.answer.send(Err(Refusal::Store(why.to_string())))),
                Input::End(done) => {
                    done.send(()).ok();
                    return Err(why);
                }
                other @ (Input::Guest(_) | Input::Prepared(_) | Input::Settled(_) | Input::Flows(_)) => {
                    before.push(other);
                }
            }
        }
    }
}

/// Without its history nothing can be said of runs; supervision goes on.
fn refuse_all(inputs: &mpsc::Receiver<Input>, why: &str) {
    while let Ok(input) = inputs.recv() {
        match input {
            // Whoever asked may have gone.
            Input::Ask(ask) => drop(ask.answer.send(Err(Refusal::Store(why.to_owned())))),
            Input::End(done) => {
                done.send(()).ok();
                return;
            }
            Input::Guest(_) | Input::Prepared(_) | Input::Settled(_) | Input::Flows(_) => {}
        }
    }
}
