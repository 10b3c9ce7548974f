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
    /// Until the engine is started.
    waiting: Arc<Mutex<Option<Waiting>>>,
}

struct Waiting {
    receiver: mpsc::Receiver<Input>,
    starter: Option<Starter>,
}

impl fmt::Debug for FlowHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowHandle").finish_non_exhaustive()
    }
}

impl Default for FlowHandle {
    fn default() -> Self {
        let (inputs, receiver) = mpsc::channel();
        let waiting = Waiting { receiver, starter: None };
        Self { inputs, waiting: Arc::new(Mutex::new(Some(waiting))) }
    }
}

impl FlowHandle {
    /// How the engine is started when there is something for it to do.
    pub fn prepare(&self, starter: Starter) {
        if let Some(waiting) = self.lock().as_mut() {
            waiting.starter = Some(starter);
        }
    }

    /// For the workers of the engine to answer on.
    pub fn inputs(&self) -> mpsc::Sender<Input> {
        self.inputs.clone()
    }

    /// Starts the engine, where that has not been done: what lay unfinished goes on.
    pub fn start(&self) {
        let mut waiting = self.lock();
        if waiting.as_ref().is_some_and(|waiting| waiting.starter.is_some())
            && let Some(Waiting { receiver, starter: Some(starter) }) = waiting.take()
        {
            starter(receiver);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
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
        // The engine is gone only at the end.
        self.inputs.send(Input::Flows(flows)).ok();
    }

    /// Lets the engine write down what is under way and end. Resolves when it has.
    pub async fn end(&self) {
        if self.lock().take().is_some() {
            return;
        }
        let (done, ended) = oneshot::channel();
        if self.inputs.send(Input::End(done)).is_ok() {
            // Dropped where the engine ended in another way.
            ended.await.ok();
        }
    }
}
