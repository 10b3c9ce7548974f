//! The engine on a store that dies, or is full, at each of its writes in turn, with a supervisor that outlives it: the run
//! ends right, nothing is executed twice, nothing is lost.

mod people;
mod reading;
mod slow;

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc as tokio_mpsc, oneshot};

use super::ahead::AT_A_GLANCE;
use super::{Engine, Input, Parts, Place};
use crate::domain::flow::ask::{FlowRequest, RunWish};
use crate::domain::flow::change::{Change, ItemRecord, Judgement, NewCheckpoint, NewRun, RecipeRecord};
use crate::domain::flow::ids::{BranchName, CheckpointId, FlowName, Hash, RunId, StageName};
use crate::domain::flow::record::{Branch, Checkpoint, HookRecord, RunFilter, RunRecord};
use crate::domain::flow::spec::{FlowSpec, Foreach};
use crate::domain::flow::status::{RunStatus, StageStatus};
use crate::domain::flow::testing;
use crate::domain::ids::{Attempt, RunnerName};
use crate::domain::json::JsonMap;
use crate::domain::spec::{CommandSpec, RunnerSpec};
use crate::domain::verdict::{Outcome, Verdict};
use crate::flow::handle::FlowAsk;
use crate::ports::store::{Adopter, Begun, Held, Stats, Store, StoreError, StoredRun};
use crate::ports::{Clock, Usage};
use crate::store::memory::MemoryStore;
use crate::supervisor::clock::SystemClock;
use crate::supervisor::guest::{GuestEnd, GuestEvent, GuestOrder, KnownGuest};
use crate::supervisor::handle::Handle;

/// What goes wrong at the chosen write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The engine dies before it is written.
    DiesBefore,
    /// It is written, and the engine dies before it knows.
    DiesAfter,
    /// The disk is full, for this once.
    Full,
    None,
}

/// A store with a fault at one of its writes.
#[derive(Clone)]
struct Faulty {
    inner: MemoryStore,
    fault: Fault,
    at: usize,
    writes: Arc<AtomicUsize>,
    gate: slow::Gate,
}

impl Faulty {
    fn new(inner: &MemoryStore, fault: Fault, at: usize, writes: &Arc<AtomicUsize>) -> Self {
        let (inner, writes) = (inner.clone(), Arc::clone(writes));
        Self { inner, fault, at, writes, gate: slow::Gate::default() }
    }

    fn write<T>(
        &mut self,
        write: impl FnOnce(&mut MemoryStore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.gate.pass();
        if self.writes.fetch_add(1, Ordering::Relaxed) != self.at {
            return write(&mut self.inner);
        }
        match self.fault {
            Fault::None => write(&mut self.inner),
            Fault::Full => Err(StoreError::Later { act: "write".into(), cause: "the disk is full".into() }),
            Fault::DiesBefore => resume_unwind(Box::new("dies")),
            Fault::DiesAfter => {
                write(&mut self.inner)?;
                resume_unwind(Box::new("dies"))
            }
        }
    }
}

impl Store for Faulty {
    fn begin(&mut self, new: &NewRun) -> Result<Begun, StoreError> {
        self.write(|inner| inner.begin(new))
    }
    fn commit(&mut self, changes: &[Change]) -> Result<Vec<Option<CheckpointId>>, StoreError> {
        self.write(|inner| inner.commit(changes))
    }
    fn add_checkpoint(
        &mut self,
        root: &RunId,
        run: &RunId,
        new: &NewCheckpoint,
        adopters: &[Adopter],
    ) -> Result<CheckpointId, StoreError> {
        self.write(|inner| inner.add_checkpoint(root, run, new, adopters))
    }
    fn judge(&mut self, root: &RunId, judgement: &Judgement) -> Result<bool, StoreError> {
        self.write(|inner| inner.judge(root, judgement))
    }
    fn add_branch(&mut self, root: &RunId, branch: &Branch) -> Result<bool, StoreError> {
        self.write(|inner| inner.add_branch(root, branch))
    }
    fn take_over(&mut self, run: &RunId, holder: &str) -> Result<u64, StoreError> {
        self.write(|inner| inner.take_over(run, holder))
    }
    fn run(&mut self, run: &RunId) -> Result<Option<StoredRun>, StoreError> {
        self.inner.run(run)
    }
    fn run_of_key(&mut self, flow: &FlowName, key: &str) -> Result<Option<RunId>, StoreError> {
        self.inner.run_of_key(flow, key)
    }
    fn runs(&mut self, filter: &RunFilter) -> Result<Vec<RunRecord>, StoreError> {
        self.inner.runs(filter)
    }
    fn unfinished(&mut self) -> Result<Vec<RunId>, StoreError> {
        self.inner.unfinished()
    }
    fn open_hooks(&mut self) -> Result<Vec<RunId>, StoreError> {
        self.inner.open_hooks()
    }
    fn set_hook(&mut self, run: &RunId, hook: &HookRecord) -> Result<(), StoreError> {
        self.write(|inner| inner.set_hook(run, hook))
    }
    fn definition(&mut self, hash: &Hash) -> Result<Option<String>, StoreError> {
        self.inner.definition(hash)
    }
    fn checkpoint(&mut self, root: &RunId, id: &CheckpointId) -> Result<Option<Checkpoint>, StoreError> {
        self.inner.checkpoint(root, id)
    }
    fn checkpoints(&mut self, root: &RunId) -> Result<(Vec<Checkpoint>, Vec<String>), StoreError> {
        self.inner.checkpoints(root)
    }
    fn branches(&mut self, root: &RunId) -> Result<Vec<Branch>, StoreError> {
        self.inner.branches(root)
    }
    fn items(&mut self, run: &RunId, stage: &StageName) -> Result<Vec<ItemRecord>, StoreError> {
        self.inner.items(run, stage)
    }
    fn lock(&mut self, root: &RunId, branch: &BranchName) -> Result<Option<Held>, StoreError> {
        self.inner.lock(root, branch)
    }
    fn retries_of(
        &mut self,
        root: &RunId,
        branch: &BranchName,
        checkpoint: &CheckpointId,
    ) -> Result<Vec<RunId>, StoreError> {
        self.inner.retries_of(root, branch, checkpoint)
    }
    fn recipe_of(&mut self, run: &RunId, stage: &StageName) -> Result<Option<RecipeRecord>, StoreError> {
        self.inner.recipe_of(run, stage)
    }
    fn stage_status(&mut self, run: &RunId, stage: &StageName) -> Result<Option<StageStatus>, StoreError> {
        self.inner.stage_status(run, stage)
    }
    fn objects(&mut self) -> Result<Vec<Hash>, StoreError> {
        self.inner.objects()
    }
    fn stats(&mut self, flow: Option<&FlowName>) -> Result<Stats, StoreError> {
        self.inner.stats(flow)
    }
    fn delete(&mut self, runs: &[RunId], cascade: bool) -> Result<Vec<RunId>, StoreError> {
        self.write(|inner| inner.delete(runs, cascade))
    }
}

/// A supervisor that executes stages at once, and outlives the engine as the real one's journal does.
#[derive(Default)]
struct Supervisor {
    /// Until they are forgotten.
    guests: BTreeMap<RunnerName, GuestEnd>,
    /// How often each was executed.
    executed: BTreeMap<String, u32>,
}

impl Supervisor {
    fn inventory(&self) -> GuestEvent {
        let known = self.guests.iter().map(|(name, end)| KnownGuest {
            name: name.clone(),
            attempt: end.attempt,
            last_seen: Some(end.ended_at),
        });
        GuestEvent::Inventory(known.collect())
    }

    fn carry_out(&mut self, order: GuestOrder) -> Option<GuestEvent> {
        match order {
            GuestOrder::Launch { spec, attempt } => {
                let known = self.guests.get(&spec.name).filter(|end| end.attempt >= attempt);
                let end = known.cloned().unwrap_or_else(|| self.execute(&spec, attempt));
                self.guests.insert(spec.name.clone(), end.clone());
                Some(GuestEvent::Ended(Box::new(end)))
            }
            GuestOrder::Forget { name } => {
                self.guests.remove(&name);
                None
            }
            GuestOrder::Stop { .. } => None,
        }
    }

    fn execute(&mut self, spec: &RunnerSpec, attempt: Attempt) -> GuestEnd {
        let unit = spec.name.to_string().split_once('/').unwrap().1.to_owned();
        let times = self.executed.entry(unit.clone()).or_default();
        *times += 1;
        let again = *times;
        let output = spec.launch.env.get("RESTAGE_OUTPUT").map(Path::new);
        let (code, wrote) = match unit.as_str() {
            "list" => (0, r#"{"parts": [10, 20, 30]}"#.to_owned()),
            "script" if *times == 1 => (0, r#"{"text": "draft"}"#.to_owned()),
            "script" => (0, format!(r#"{{"text": "draft {times}"}}"#)),
            "board" => (0, r#"{"line": "drawn"}"#.to_owned()),
            "flaky" if *times < 3 => (1, String::new()),
            "flaky" => (0, r#"{"word": "done"}"#.to_owned()),
            "fan/0" | "fan/1" | "fan/2" => {
                let item = std::fs::read_to_string(&spec.launch.env["RESTAGE_ITEM"]).unwrap();
                (0, format!(r#"{{"twice": {item}}}"#))
            }
            "-on_success" => (3, String::new()),
            "film" => {
                let folder = Path::new(spec.launch.env["RESTAGE_ARTIFACTS"].as_str());
                let file = std::fs::File::create(folder.join("film")).unwrap();
                file.set_len(AT_A_GLANCE + 1).unwrap();
                (0, String::new())
            }
            "cut" => (1, String::new()),
            _ => (0, String::new()),
        };
        if !wrote.is_empty() {
            std::fs::write(output.unwrap(), wrote).unwrap();
        }
        let verdict = if code == 0 { Verdict::Completed } else { Verdict::Exit };
        let now = SystemClock.now().wall;
        GuestEnd {
            name: spec.name.clone(),
            attempt,
            outcome: Outcome { verdict, exit_code: Some(code), signal: None, detail: None },
            started_at: Some(now),
            ended_at: now,
            usage: Usage::default(),
            log: None,
            // The machine ended while it ran, so it is executed once more.
            cut: unit == "-on_success" && again == 1,
            disk_full: false,
        }
    }
}

/// A chain, a fan of three and a stage that fails twice and has two retries.
fn flow(root: &Path) -> FlowSpec {
    let mut flow = testing::flow("list: >parts\n flaky: list >word\n fan: list >twice\n end: flaky fan");
    flow.root = root.to_owned();
    flow.on_success = Some(CommandSpec::Shell("exit 3".into()));
    flow.stages[1].retry.count = 2;
    flow.stages[1].retry.backoff.base = Duration::ZERO;
    flow.stages[2].foreach = Some(Foreach { key: "parts".into(), max_parallel: Some(2) });
    flow
}

/// For a run of the flow of these tests.
fn wish(key: Option<&str>) -> FlowRequest {
    FlowRequest::Run(RunWish {
        flow: FlowName::trusted("f"),
        inputs: JsonMap::new(),
        key: key.map(str::to_owned),
        caller: None,
        approve_all: false,
    })
}

/// An engine of one flow, at the place where that lies.
fn engine(
    store: impl Store + 'static,
    flow: FlowSpec,
    guests: tokio_mpsc::UnboundedSender<GuestOrder>,
    handle: Handle,
    own: mpsc::Sender<Input>,
) -> Engine {
    let root = flow.root.clone();
    Engine::new(Parts {
        clock: Arc::new(SystemClock),
        store: Box::new(store),
        place: Place { data_dir: root.join(".restage"), root },
        flows: vec![Arc::new(flow)],
        guests,
        handle,
        holder: "test".into(),
        own,
        left: super::Left::GoesOn,
    })
}

struct Outcomes {
    executed: BTreeMap<String, u32>,
    record: RunRecord,
    writes: usize,
    left: usize,
}

fn play(fault: Fault, at: usize) -> Outcomes {
    let dir = tempfile::tempdir().unwrap();
    let writes = Arc::new(AtomicUsize::new(0));
    let mut memory = MemoryStore::new();
    let store = Faulty::new(&memory, fault, at, &writes);
    let mut supervisor = Supervisor::default();
    let mut final_record = || {
        let run = memory.run_of_key(&FlowName::trusted("f"), "once").unwrap()?;
        let ended = |record: &RunRecord| record.hook.as_ref().is_some_and(|hook| hook.ended_at.is_some());
        memory.run(&run).unwrap().map(|stored| stored.record).filter(ended)
    };
    for _ in 0..3 {
        let (own, inputs) = mpsc::channel();
        let (guests, mut orders) = tokio_mpsc::unbounded_channel();
        let (asks, _asked) = tokio_mpsc::channel(1);
        let handle = Handle::new(asks, broadcast::channel(1).0);
        let engine = engine(store.clone(), flow(dir.path()), guests, handle, own.clone());
        let engine = thread::spawn(move || engine.run(Vec::new(), &inputs));
        own.send(Input::Guest(supervisor.inventory())).unwrap();
        let (answer, _answered) = oneshot::channel();
        own.send(Input::Ask(FlowAsk { request: wish(Some("once")), answer })).unwrap();
        // What is recorded is forgotten after that, so an order follows the end of the run.
        while let Some(order) = orders.blocking_recv() {
            if let Some(event) = supervisor.carry_out(order) {
                own.send(Input::Guest(event)).ok();
            } else if final_record().is_some() && supervisor.guests.is_empty() {
                own.send(Input::End(oneshot::channel().0)).ok();
            }
        }
        // An error: it died, as it was meant to.
        engine.join().ok();
        if let Some(record) = final_record() {
            return Outcomes {
                executed: supervisor.executed,
                record,
                writes: writes.load(Ordering::Relaxed),
                left: supervisor.guests.len(),
            };
        }
    }
    panic!("{fault:?} at write {at}: the run does not end");
}

fn check(fault: Fault, at: usize) -> usize {
    let Outcomes { executed, record, writes, left } = play(fault, at);
    let told = format!("{fault:?} at write {at}: {executed:?} {record:#?}");
    assert_eq!(record.status, RunStatus::Succeeded, "{told}");
    let hook = record.hook.as_ref().unwrap();
    assert_eq!((hook.number, hook.exit_code, hook.error.as_deref()), (2, Some(3), Some("exit 3")), "{told}");
    let wanted =
        [("-on_success", 2), ("end", 1), ("fan/0", 1), ("fan/1", 1), ("fan/2", 1), ("flaky", 3), ("list", 1)];
    assert_eq!(executed, wanted.map(|(name, times)| (name.to_owned(), times)).into(), "{told}");
    let stages = record.stages.as_ref().unwrap();
    for (stage, attempts) in stages.iter().zip([1, 3, 3, 1]) {
        assert_eq!(stage.status, StageStatus::Succeeded, "{told}");
        assert_eq!(stage.attempts.len(), attempts, "{told}");
        assert!(stage.checkpoint.is_some(), "{told}");
    }
    let twice = stages[2].outputs.as_ref().unwrap().get("twice").unwrap();
    assert_eq!(twice.text().split_whitespace().collect::<String>(), "[10,20,30]", "{told}");
    if fault == Fault::None {
        assert_eq!(left, 0, "{told}");
    }
    writes
}

#[test]
fn a_run_ends_right_whatever_write_fails() {
    let writes = check(Fault::None, 0);
    assert!(writes > 5, "{writes}");
    let trials = [Fault::DiesBefore, Fault::DiesAfter, Fault::Full]
        .into_iter()
        .flat_map(|fault| (0..writes).map(move |at| (fault, at)))
        // Nobody asks twice whether a run may begin where there is no room for its record.
        .filter(|trial| *trial != (Fault::Full, 0));
    let trials: Vec<_> = trials.map(|(fault, at)| thread::spawn(move || check(fault, at))).collect();
    for trial in trials {
        trial.join().unwrap();
    }
}
