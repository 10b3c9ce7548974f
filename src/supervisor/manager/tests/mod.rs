//! The actor against a fake executor, store, clock and world, in simulated time.

mod adoption;
mod care;
mod course;
mod ends;
mod guest_takeover;
mod guest_trouble;
mod guests;
mod reloading;
mod trouble;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;

use super::*;
use crate::domain::ids::{AttemptId, Process};
use crate::domain::runner::fixture::{nth, retry_mut, secs, spec};
use crate::domain::runner::state::RunnerState;
use crate::domain::spec::{CgroupUse, RunnerSpec, TuiSpec};
use crate::domain::time::Now;
use crate::domain::verdict::ExitStatus;
use crate::domain::view::{Notice, RunnerStatus, RunnerView, Snapshot};
use crate::ports::{ExecExit, Inventory, Launch, LiveAttempt, StopTree, TerminalSize};
use crate::supervisor::guest::{GuestEvent, GuestLine};
use crate::supervisor::handle::Request;
use crate::supervisor::helper::HelperCommand;
use crate::supervisor::probe::LogMark;
use crate::supervisor::proc_tree::TreeUse;

/// Simulated time, on both clocks alike.
struct TestClock(tokio::time::Instant);

impl Clock for TestClock {
    fn now(&self) -> Now {
        let passed = self.0.elapsed();
        Now {
            mono: Mono::from_nanos(1_000_000_000_000).plus(passed),
            wall: Timestamp::from_second(1_767_225_600)
                .unwrap()
                .checked_add(jiff::SignedDuration::try_from(passed).unwrap())
                .unwrap(),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Call {
    Spawn(Box<Launch>),
    Stop(AttemptId, StopTree),
    Ack(u64),
    Input(AttemptId, String),
    Resize(AttemptId, TerminalSize),
}

/// What all fakes share with the test.
#[derive(Default)]
struct Shared {
    calls: Mutex<Vec<Call>>,
    states: Mutex<BTreeMap<RunnerName, RunnerState>>,
    /// In the order in which things happened: records and calls.
    order: Mutex<Vec<String>>,
    clean: Mutex<bool>,
    store_fails: Mutex<bool>,
    no_room: Mutex<Option<String>>,
    bytes: Mutex<u64>,
    health: Mutex<Vec<HelperEnd>>,
    helpers: Mutex<Vec<HelperCommand>>,
    config: Mutex<Option<Result<WorkspaceSpec, String>>>,
    /// What the flow engine was told.
    told: Mutex<Vec<GuestEvent>>,
}

struct FakeExecutor(Arc<Shared>);

impl Executor for FakeExecutor {
    fn spawn(&mut self, launch: Launch) {
        self.0.order.lock().unwrap().push(format!("spawn {}", launch.id));
        self.0.calls.lock().unwrap().push(Call::Spawn(Box::new(launch)));
    }

    fn stop(&mut self, attempt: &AttemptId, stop: StopTree) {
        self.0.calls.lock().unwrap().push(Call::Stop(attempt.clone(), stop));
    }

    fn input(&mut self, attempt: &AttemptId, text: &str) {
        self.0.calls.lock().unwrap().push(Call::Input(attempt.clone(), text.to_owned()));
    }

    fn resize(&mut self, attempt: &AttemptId, size: TerminalSize) {
        self.0.calls.lock().unwrap().push(Call::Resize(attempt.clone(), size));
    }

    fn ack(&mut self, seq: u64) {
        self.0.order.lock().unwrap().push(format!("ack {seq}"));
        self.0.calls.lock().unwrap().push(Call::Ack(seq));
    }
}

struct FakeStore(Arc<Shared>);

impl StateStore for FakeStore {
    fn record(&mut self, state: &RunnerState) -> io::Result<()> {
        if *self.0.store_fails.lock().unwrap() {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.0.order.lock().unwrap().push(format!("record {} {}", state.runner_id, state.status));
        self.0.states.lock().unwrap().insert(state.runner_id.clone(), state.clone());
        Ok(())
    }

    fn remove(&mut self, name: &RunnerName) -> io::Result<()> {
        self.0.states.lock().unwrap().remove(name);
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        *self.0.clean.lock().unwrap() = true;
        Ok(())
    }

    fn due(&self) -> Option<Mono> {
        None
    }

    fn compact_if_due(&mut self, _: Mono) {}
}

struct FakeProbe(Arc<Shared>);

impl Probe for FakeProbe {
    fn log(&self, _: &Path) -> Option<LogMark> {
        Some(LogMark { bytes: *self.0.bytes.lock().unwrap(), modified: Timestamp::UNIX_EPOCH })
    }

    fn tree(&self, _: Process) -> Option<TreeUse> {
        Some(TreeUse { cpu: secs(1), rss_bytes: 4096 })
    }

    fn newest(&self, _: &Path, _: &[String]) -> Option<Timestamp> {
        None
    }

    fn no_room(&self, _: &Path) -> Option<String> {
        self.0.no_room.lock().unwrap().clone()
    }
}

struct FakeHelpers(Arc<Shared>);

impl Helpers for FakeHelpers {
    fn run(&self, helper: HelperCommand) -> Pin<Box<dyn Future<Output = HelperEnd> + Send>> {
        self.0.helpers.lock().unwrap().push(helper);
        let mut answers = self.0.health.lock().unwrap();
        let end = if answers.is_empty() { Ok(()) } else { answers.remove(0) };
        Box::pin(std::future::ready(end))
    }
}

struct FakeConfig(Arc<Shared>);

impl ConfigSource for FakeConfig {
    fn load(&mut self, running: &WorkspaceSpec) -> Result<Reloaded, String> {
        let loaded = self.0.config.lock().unwrap().clone();
        let workspace = loaded.unwrap_or_else(|| Ok(running.clone()))?;
        Ok(Reloaded { workspace, changes: vec!["config: something changed".into()] })
    }
}

/// One supervisor and everything around it.
struct World {
    handle: Handle,
    updates: broadcast::Receiver<Update>,
    exec: mpsc::UnboundedSender<ExecEvent>,
    touch: mpsc::UnboundedSender<()>,
    orders: mpsc::UnboundedSender<GuestOrder>,
    shared: Arc<Shared>,
    end: JoinHandle<End>,
    workspace: WorkspaceSpec,
    seq: u64,
    logs: Option<tempfile::TempDir>,
}

/// How a supervisor is started.
struct Setup {
    runners: Vec<RunnerSpec>,
    recovered: Recovered,
    options: Options,
    connect: Option<Inventory>,
    retry_log_dir: Option<PathBuf>,
    /// There is an engine.
    flows: bool,
    prepare: fn(&Shared),
}

impl Setup {
    fn new(runners: Vec<RunnerSpec>) -> Self {
        Self {
            runners,
            recovered: Recovered { clean_end: true, same_boot: true, ..Recovered::default() },
            options: Options { mode: Mode::Background, start: StartPlan::Autostart },
            connect: Some(empty()),
            retry_log_dir: None,
            flows: true,
            prepare: |_| {},
        }
    }

    /// What an earlier supervisor left behind when it was killed.
    fn after(mut self, world: &World) -> Self {
        world.end.abort();
        self.recovered = Recovered {
            states: world.shared.states.lock().unwrap().values().cloned().collect(),
            clean_end: false,
            same_boot: true,
            ..Recovered::default()
        };
        self
    }

    fn start(self) -> World {
        let logs = tempfile::tempdir().unwrap();
        let mut runners = self.runners;
        for runner in &mut runners {
            runner.log.dir = logs.path().to_owned();
        }
        let workspace = WorkspaceSpec {
            root: "/w".into(),
            config_path: "/w/config.json".into(),
            text: crate::domain::flow::ids::Hash::of(["config"]),
            data_dir: "/w/.restage".into(),
            log_dir: logs.path().to_owned(),
            cache_dir: None,
            retry_log_dir: self.retry_log_dir,
            retry_budget: None,
            cgroup: CgroupUse::Off,
            tui: TuiSpec::default(),
            runners,
            flows: Vec::new(),
        };
        let shared = Arc::new(Shared::default());
        let recorded = self.recovered.states.iter().map(|state| (state.runner_id.clone(), state.clone()));
        *shared.states.lock().unwrap() = recorded.collect();
        (self.prepare)(&shared);
        let (exec, exec_events) = mpsc::unbounded_channel();
        let (touch, touched) = mpsc::unbounded_channel();
        let (orders, queue) = mpsc::unbounded_channel();
        let told = Arc::clone(&shared);
        let tell = Box::new(move |event| told.told.lock().unwrap().push(event));
        let parts = Parts {
            guests: self.flows.then_some(GuestLine { orders: queue, tell }),
            state_dir: "/state".into(),
            clock: Arc::new(TestClock(tokio::time::Instant::now())),
            executor: Box::new(FakeExecutor(Arc::clone(&shared))),
            exec_events,
            store: Box::new(FakeStore(Arc::clone(&shared))),
            config: Box::new(FakeConfig(Arc::clone(&shared))),
            config_touched: touched,
            probe: Arc::new(FakeProbe(Arc::clone(&shared))),
            helpers: Arc::new(FakeHelpers(Arc::clone(&shared))),
        };
        let (manager, handle) = RunnerManager::new(workspace.clone(), self.recovered, parts, self.options);
        let updates = handle.subscribe();
        if let Some(inventory) = self.connect {
            exec.send(ExecEvent::Connected(inventory)).unwrap();
        }
        let end = tokio::spawn(manager.run());
        World { handle, updates, exec, touch, orders, shared, end, workspace, seq: 0, logs: Some(logs) }
    }
}

fn empty() -> Inventory {
    Inventory { guarded: true, ..Inventory::default() }
}

fn id(name: &str, attempt: u32) -> AttemptId {
    AttemptId { runner: RunnerName::trusted(name), attempt: nth(attempt) }
}

fn live(name: &str, attempt: u32, pid: i32) -> LiveAttempt {
    LiveAttempt {
        id: id(name, attempt),
        process: Process { pid, start: 7 },
        main_ended: false,
        stuck: vec![],
        log: PathBuf::from(format!("/logs/{name}_{attempt}.log")),
    }
}

fn exit(name: &str, attempt: u32, seq: u64, status: ExitStatus) -> ExecExit {
    // Long after everything that was decided before it.
    let at = Mono::from_nanos(u64::MAX / 2);
    ExecExit { id: id(name, attempt), seq, status, at, usage: crate::ports::Usage::default(), cut: false }
}

impl World {
    fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().unwrap().clone()
    }

    fn spawns(&self) -> Vec<AttemptId> {
        let spawned = self.calls().into_iter().filter_map(|call| match call {
            Call::Spawn(launch) => Some(launch.id),
            Call::Stop(..) | Call::Ack(_) | Call::Input(..) | Call::Resize(..) => None,
        });
        spawned.collect()
    }

    fn stops(&self) -> Vec<(AttemptId, StopTree)> {
        let stopped = self.calls().into_iter().filter_map(|call| match call {
            Call::Stop(id, stop) => Some((id, stop)),
            Call::Spawn(_) | Call::Ack(_) | Call::Input(..) | Call::Resize(..) => None,
        });
        stopped.collect()
    }

    /// Waits until it holds; time passes only where the actor itself waits.
    async fn until<T>(&self, what: &str, mut holds: impl FnMut(&Snapshot) -> Option<T>) -> T {
        for _ in 0..100_000 {
            let snapshot = self.snapshot().await;
            if let Some(found) = holds(&snapshot) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("never came: {what}; {:#?}", self.snapshot().await);
    }

    async fn until_spawned(&self, id: &AttemptId) {
        self.until(&format!("spawn of {id}"), |_| self.spawns().contains(id).then_some(())).await;
    }

    async fn until_status(&self, name: &str, status: RunnerStatus) -> Arc<RunnerView> {
        let of = |snapshot: &Snapshot| {
            let view = snapshot.runners.iter().find(|view| view.name.as_str() == name)?;
            (view.status == status).then(|| Arc::clone(view))
        };
        self.until(&format!("{name} {status}"), of).await
    }

    async fn snapshot(&self) -> Snapshot {
        match self.handle.ask(Request::Snapshot { figures: false }).await.unwrap() {
            Reply::Snapshot(snapshot) => *snapshot,
            Reply::Runners(_) | Reply::Done => panic!("no snapshot"),
        }
    }

    async fn ask(&self, request: Request) -> Reply {
        self.handle.ask(request).await.unwrap()
    }

    fn tell(&self, event: ExecEvent) {
        self.exec.send(event).unwrap();
    }

    fn spawned(&self, name: &str, attempt: u32, pid: i32) {
        self.tell(ExecEvent::Spawned { id: id(name, attempt), process: Process { pid, start: 7 } });
    }

    fn exited(&mut self, name: &str, attempt: u32, status: ExitStatus) {
        self.seq += 1;
        self.tell(ExecEvent::Exited(exit(name, attempt, self.seq, status)));
        self.tell(ExecEvent::Gone { id: id(name, attempt) });
    }

    /// Brings the first attempt of a runner up.
    async fn up(&self, name: &str, pid: i32) {
        self.until_spawned(&id(name, 1)).await;
        self.spawned(name, 1, pid);
        self.until_status(name, RunnerStatus::Running).await;
    }

    fn notices(&mut self) -> Vec<Notice> {
        let mut notices = Vec::new();
        while let Ok(update) = self.updates.try_recv() {
            if let Update::Notice(notice) = update {
                notices.push((*notice).clone());
            }
        }
        notices
    }

    fn lines(&mut self) -> Vec<String> {
        self.notices().iter().map(ToString::to_string).collect()
    }

    async fn ended(self) -> End {
        tokio::time::timeout(Duration::from_hours(1), self.end).await.expect("an end").unwrap()
    }
}

fn names(list: &[&str]) -> Vec<RunnerName> {
    list.iter().map(|name| RunnerName::trusted(*name)).collect()
}
