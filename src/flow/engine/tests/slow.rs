//! The engine on a disk that takes its time: what ends meanwhile is followed by what is ready.

use std::sync::{Condvar, Mutex};

use super::*;

/// Whether whoever writes may go on.
#[derive(Clone, Default)]
pub(super) struct Gate(Arc<(Mutex<State>, Condvar)>);

#[derive(Clone, Copy, Default, PartialEq)]
enum State {
    #[default]
    Open,
    Shut,
    /// Somebody waits before it.
    Waits,
}

impl Gate {
    pub(super) fn pass(&self) {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        while *state != State::Open {
            *state = State::Waits;
            changed.notify_all();
            state = changed.wait(state).unwrap();
        }
    }

    fn set(&self, to: State) {
        *self.0.0.lock().unwrap() = to;
        self.0.1.notify_all();
    }

    fn wait_for(&self, wanted: State) {
        let state = self.0.0.lock().unwrap();
        let (_state, timeout) =
            self.0.1.wait_timeout_while(state, Duration::from_secs(30), |state| *state != wanted).unwrap();
        assert!(!timeout.timed_out(), "nobody writes");
    }
}

/// The next order, in time: whoever waits for the disk gives none.
fn next(orders: &mut tokio_mpsc::UnboundedReceiver<GuestOrder>) -> GuestOrder {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let order = async { tokio::time::timeout(Duration::from_secs(30), orders.recv()).await };
    runtime.block_on(order).expect("an order in time").expect("the engine lives")
}

fn launched(orders: &mut tokio_mpsc::UnboundedReceiver<GuestOrder>) -> (Box<RunnerSpec>, Attempt) {
    loop {
        if let GuestOrder::Launch { spec, attempt } = next(orders) {
            return (spec, attempt);
        }
    }
}

#[test]
fn an_end_does_not_wait_for_the_record_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let mut memory = MemoryStore::new();
    let store = Faulty::new(&memory, Fault::None, 0, &Arc::default());
    let gate = store.gate.clone();
    let mut flow = testing::flow("a:\n b:\n c:\n d:");
    flow.root = dir.path().to_owned();
    flow.max_parallel = Some(2);
    let (own, inputs) = mpsc::channel();
    let (guests, mut orders) = tokio_mpsc::unbounded_channel();
    let (asks, _asked) = tokio_mpsc::channel(1);
    let handle = Handle::new(asks, broadcast::channel(1).0);
    let engine = engine(store, flow, guests, handle, own.clone());
    let engine = thread::spawn(move || engine.run(Vec::new(), &inputs));
    let mut supervisor = Supervisor::default();
    own.send(Input::Guest(supervisor.inventory())).unwrap();
    let (answer, _answered) = oneshot::channel();
    let wish = RunWish {
        flow: FlowName::trusted("f"),
        inputs: JsonMap::new(),
        key: Some("once".into()),
        caller: None,
        approve_all: false,
    };
    own.send(Input::Ask(FlowAsk { request: FlowRequest::Run(wish), answer })).unwrap();
    let mut end = |(spec, attempt): (Box<RunnerSpec>, Attempt)| {
        let told = supervisor.carry_out(GuestOrder::Launch { spec, attempt }).unwrap();
        own.send(Input::Guest(told)).unwrap();
    };
    let (a, b) = (launched(&mut orders), launched(&mut orders));
    gate.set(State::Shut);
    end(a);
    let c = launched(&mut orders);
    gate.wait_for(State::Waits);
    end(b);
    let d = launched(&mut orders);
    gate.wait_for(State::Waits);
    end(c);
    end(d);
    gate.set(State::Open);
    let mut forgotten = 0;
    while forgotten < 4 {
        forgotten += usize::from(matches!(next(&mut orders), GuestOrder::Forget { .. }));
    }
    own.send(Input::End(oneshot::channel().0)).unwrap();
    engine.join().unwrap();
    let run = memory.run_of_key(&FlowName::trusted("f"), "once").unwrap().unwrap();
    assert_eq!(memory.run(&run).unwrap().unwrap().record.status, RunStatus::Succeeded);
    assert!(supervisor.executed.values().all(|times| *times == 1), "{:?}", supervisor.executed);
}
