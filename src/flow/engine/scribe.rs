//! The store, and a thread that commits to it beside the engine: on a busy disk that takes longer than a short stage, and
//! whoever tells of an end meanwhile is not to wait for it. One batch is under way at a time; who needs the store waits.

use std::panic::resume_unwind;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::{self, JoinHandle};

use super::Input;
use crate::domain::flow::change::Change;
use crate::domain::flow::ids::CheckpointId;
use crate::ports::store::{Store, StoreError};

/// The checkpoints that the changes made, each in its place.
pub(super) type Written = Result<Vec<Option<CheckpointId>>, StoreError>;

pub(super) struct Scribe {
    /// `None` while it is written to.
    store: Option<Box<dyn Store>>,
    /// What came of the last batch, once the store is back from it.
    written: Option<Written>,
    /// There from the first batch on.
    bench: Option<Bench>,
    own: Sender<Input>,
}

struct Bench {
    thread: JoinHandle<()>,
    batches: Sender<(Box<dyn Store>, Vec<Change>)>,
    back: Receiver<(Box<dyn Store>, Written)>,
}

impl Scribe {
    pub(super) fn new(store: Box<dyn Store>, own: Sender<Input>) -> Self {
        Self { store: Some(store), written: None, bench: None, own }
    }

    /// Waits until it is back.
    pub(super) fn store(&mut self) -> &mut dyn Store {
        self.come_back(true);
        match &mut self.store {
            Some(store) => store.as_mut(),
            None => resume_unwind(Box::new("the store is gone")),
        }
    }

    /// Begins to write; that it is done is told by an input. Without a thread it is done by then.
    pub(super) fn write(&mut self, changes: Vec<Change>) {
        self.come_back(true);
        let Some(mut store) = self.store.take() else { return };
        if self.bench.is_none() {
            self.bench = Bench::new(self.own.clone()).ok();
        }
        if let Some(bench) = &self.bench {
            // Should it have died, that is found out by whoever wants the store back.
            bench.batches.send((store, changes)).ok();
        } else {
            self.written = Some(store.commit(&changes));
            self.store = Some(store);
            // The engine is there: it is its own line.
            self.own.send(Input::Written).ok();
        }
    }

    /// What came of what was begun; `wait`: also where that takes a while.
    pub(super) fn written(&mut self, wait: bool) -> Option<Written> {
        self.come_back(wait);
        self.written.take()
    }

    fn come_back(&mut self, wait: bool) {
        let Some(bench) = self.bench.as_ref().filter(|_| self.store.is_none()) else { return };
        let back = if wait { bench.back.recv().map_err(TryRecvError::from) } else { bench.back.try_recv() };
        match back {
            Ok((store, written)) => (self.store, self.written) = (Some(store), Some(written)),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => {
                // It died, and with it the store.
                if let Some(Err(panic)) = self.bench.take().map(|bench| bench.thread.join()) {
                    resume_unwind(panic);
                }
            }
        }
    }
}

/// The way back. Its fields go in this order: whoever hears the last bell finds out that nobody is there any more.
struct Back {
    store: Sender<(Box<dyn Store>, Written)>,
    bell: Bell,
}

struct Bell(Sender<Input>);

impl Bell {
    // Where nobody wants the store back, nobody wants to hear of it either.
    fn ring(&self) {
        self.0.send(Input::Written).ok();
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        self.ring();
    }
}

impl Bench {
    fn new(own: Sender<Input>) -> std::io::Result<Self> {
        let (batches, received) = mpsc::channel::<(Box<dyn Store>, Vec<Change>)>();
        let (store, back) = mpsc::channel();
        let done = Back { store, bell: Bell(own) };
        let thread = thread::Builder::new().name("history".into()).spawn(move || {
            let done = done;
            for (mut store, changes) in received {
                let written = store.commit(&changes);
                done.store.send((store, written)).ok();
                done.bell.ring();
            }
        })?;
        Ok(Self { thread, batches, back })
    }
}
