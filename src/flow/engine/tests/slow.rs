//! The engine on a disk that takes its time: what ends meanwhile is followed by what is ready.

use std::sync::{Condvar, Mutex};

use super::*;
use crate::domain::time::Now;

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

/// A clock that can be put forward.
#[derive(Clone, Default)]
struct Late(Arc<AtomicUsize>);

impl Clock for Late {
    fn now(&self) -> Now {
        let now = SystemClock.now();
        let hours = u64::try_from(self.0.load(Ordering::Relaxed)).unwrap();
        Now { mono: now.mono.plus(Duration::from_hours(hours)), ..now }
    }
}

/// One run, on a disk behind a gate, and whoever carries out its stages.
struct Desk {
    memory: MemoryStore,
    gate: Gate,
    clock: Late,
    own: mpsc::Sender<Input>,
    orders: tokio_mpsc::UnboundedReceiver<GuestOrder>,
    supervisor: Supervisor,
    engine: thread::JoinHandle<()>,
    _dir: tempfile::TempDir,
}

type Launched = (Box<RunnerSpec>, Attempt);

impl Desk {
    fn new(mut flow: FlowSpec) -> Self {
        let dir = tempfile::tempdir().unwrap();
        flow.root = dir.path().to_owned();
        let memory = MemoryStore::new();
        let store = Faulty::new(&memory, Fault::None, 0, &Arc::default());
        let (gate, clock) = (store.gate.clone(), Late::default());
        let (own, inputs) = mpsc::channel();
        let (guests, orders) = tokio_mpsc::unbounded_channel();
        let (asks, _asked) = tokio_mpsc::channel(1);
        let handle = Handle::new(asks, broadcast::channel(1).0);
        let mut engine = engine(store, flow, guests, handle, own.clone());
        engine.clock = Arc::new(clock.clone());
        let engine = thread::spawn(move || engine.run(Vec::new(), &inputs));
        let supervisor = Supervisor::default();
        own.send(Input::Guest(supervisor.inventory())).unwrap();
        let (answer, _answered) = oneshot::channel();
        own.send(Input::Ask(FlowAsk { request: wish(Some("once")), answer })).unwrap();
        Self { memory, gate, clock, own, orders, supervisor, engine, _dir: dir }
    }

    /// The next order, in time: whoever waits for the disk gives none.
    fn next(&mut self) -> GuestOrder {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let order = async { tokio::time::timeout(Duration::from_secs(30), self.orders.recv()).await };
        runtime.block_on(order).expect("an order in time").expect("the engine lives")
    }

    fn launched(&mut self) -> Launched {
        loop {
            if let GuestOrder::Launch { spec, attempt } = self.next() {
                return (spec, attempt);
            }
        }
    }

    fn end(&mut self, (spec, attempt): Launched) {
        let told = self.supervisor.carry_out(GuestOrder::Launch { spec, attempt }).unwrap();
        self.own.send(Input::Guest(told)).unwrap();
    }

    /// So many are forgotten, and nothing more is launched.
    fn forgotten(&mut self, count: usize) {
        let mut forgotten = 0;
        while forgotten < count {
            match self.next() {
                GuestOrder::Forget { .. } => forgotten += 1,
                GuestOrder::Launch { spec, .. } => panic!("{} is launched", spec.name),
                GuestOrder::Stop { .. } => {}
            }
        }
    }

    /// What is on record at the end.
    fn over(mut self) -> RunRecord {
        self.own.send(Input::End(oneshot::channel().0)).unwrap();
        self.engine.join().unwrap();
        let executed = &self.supervisor.executed;
        assert!(executed.values().all(|times| *times == 1), "{executed:?}");
        let run = self.memory.run_of_key(&FlowName::trusted("f"), "once").unwrap().unwrap();
        self.memory.run(&run).unwrap().unwrap().record
    }
}

#[test]
fn an_end_does_not_wait_for_the_record_of_another() {
    let mut flow = testing::flow("a:\n b:\n c:\n d:");
    flow.max_parallel = Some(2);
    let mut desk = Desk::new(flow);
    let (a, b) = (desk.launched(), desk.launched());
    desk.gate.set(State::Shut);
    desk.end(a);
    let c = desk.launched();
    desk.gate.wait_for(State::Waits);
    desk.end(b);
    let d = desk.launched();
    desk.gate.wait_for(State::Waits);
    desk.end(c);
    desk.end(d);
    desk.gate.set(State::Open);
    desk.forgotten(4);
    assert_eq!(desk.over().status, RunStatus::Succeeded);
}

#[test]
fn what_waits_for_the_disk_is_not_started_once_the_time_of_its_run_is_over() {
    let mut flow = testing::flow("a:\n b: a\n c:");
    flow.timeout = Some(Duration::from_hours(1));
    let mut desk = Desk::new(flow);
    let (a, c) = (desk.launched(), desk.launched());
    desk.gate.set(State::Shut);
    desk.end(a);
    desk.gate.wait_for(State::Waits);
    desk.clock.0.store(2, Ordering::Relaxed);
    // Whatever it hears of, it looks at the clock.
    let (name, reason) = (c.0.name.clone(), "nothing".to_owned());
    desk.own.send(Input::Guest(GuestEvent::Waiting { name, reason })).unwrap();
    assert!(matches!(desk.next(), GuestOrder::Stop { name, .. } if name == c.0.name));
    desk.gate.set(State::Open);
    desk.end(c);
    desk.forgotten(2);
    let record = desk.over();
    assert_eq!(record.status, RunStatus::Failed);
    assert_eq!(record.error.as_deref(), Some("Flow execution timed out after 3600 seconds"));
    let stages: Vec<_> = record.stages.iter().flatten().map(|stage| stage.status).collect();
    assert_eq!(stages, [StageStatus::Succeeded, StageStatus::Cancelled, StageStatus::Succeeded]);
}
