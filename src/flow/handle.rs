//! How everybody talks to the flow engine: requests go in by a channel, each with its own answer; what changes comes
//! out with the updates of the supervisor. The engine's thread starts with the first request, so that a workspace
//! without flows does not pay for it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use tokio::sync::oneshot;

use super::engine::Input;
use crate::domain::flow::ask::{FlowReply, FlowRequest};
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::spec::FlowSpec;
use crate::supervisor::guest::GuestEvent;

/// A request on its way, with the place for its answer.
#[derive(Debug)]
pub struct FlowAsk {
    pub request: FlowRequest,
    pub answer: oneshot::Sender<Result<FlowReply, Refusal>>,
}

/// Starts the engine's thread with its end of the channel.
pub type Starter = Box<dyn FnOnce(mpsc::Receiver<Input>) + Send>;

/// Cheap to clone.
#[derive(Clone)]
pub struct FlowHandle {
    inputs: mpsc::Sender<Input>,
    waiting: Arc<Mutex<Option<(Starter, mpsc::Receiver<Input>)>>>,
}

impl fmt::Debug for FlowHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowHandle").finish_non_exhaustive()
    }
}

impl FlowHandle {
    pub fn new(starter: Starter) -> Self {
        let (inputs, receiver) = mpsc::channel();
        Self { inputs, waiting: Arc::new(Mutex::new(Some((starter, receiver)))) }
    }

    /// Starts the engine, where that has not been done: what lay unfinished goes on.
    pub fn start(&self) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((starter, receiver)) = waiting {
            starter(receiver);
        }
    }

    pub async fn ask(&self, request: FlowRequest) -> Result<FlowReply, Refusal> {
        self.start();
        let (answer, reply) = oneshot::channel();
        self.inputs.send(Input::Ask(FlowAsk { request, answer })).map_err(|_| Refusal::Ending)?;
        reply.await.map_err(|_| Refusal::Ending)?
    }

    /// What the supervisor tells of guests; it waits until the engine is there.
    pub fn tell(&self, event: GuestEvent) {
        // The engine is gone only at the end.
        self.inputs.send(Input::Guest(event)).ok();
    }

    /// The flows of today's config.
    pub fn configure(&self, flows: Vec<Arc<FlowSpec>>) {
        let any = !flows.is_empty();
        // The engine is gone only at the end.
        self.inputs.send(Input::Flows(flows)).ok();
        if any {
            self.start();
        }
    }

    /// Lets the engine write down what is under way and end. Resolves when it has.
    pub async fn end(&self) {
        if self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            return;
        }
        let (done, ended) = oneshot::channel();
        if self.inputs.send(Input::End(done)).is_ok() {
            // Dropped where the engine ended in another way.
            ended.await.ok();
        }
    }
}
