//! What a retry reuses is read before it is decided, and nobody else waits for that.

use tokio::sync::oneshot::Receiver;
use tokio::sync::oneshot::error::TryRecvError;

use super::*;
use crate::domain::flow::ask::{FlowReply, RetryWish};
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::status::{Decision, Reason};
use crate::flow::objects::Objects;

const PATIENCE: Duration = Duration::from_secs(30);

type Answer = Receiver<Result<FlowReply, Refusal>>;

/// The engine, driven by hand.
struct Place {
    dir: tempfile::TempDir,
    engine: Engine,
    inputs: mpsc::Receiver<Input>,
    orders: tokio_mpsc::UnboundedReceiver<GuestOrder>,
    supervisor: Supervisor,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (own, inputs) = mpsc::channel();
        let (guests, orders) = tokio_mpsc::unbounded_channel();
        let (requests, _requested) = tokio_mpsc::channel(1);
        let mut flow = testing::flow("film: @film\n cut: film");
        flow.root = dir.path().to_owned();
        let handle = Handle::new(requests, broadcast::channel(64).0);
        let mut engine = engine(MemoryStore::new(), flow, guests, handle, own);
        engine.take(Input::Guest(GuestEvent::Inventory(Vec::new())));
        Self { dir, engine, inputs, orders, supervisor: Supervisor::default() }
    }

    fn ask(&mut self, request: FlowRequest) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.engine.take(Input::Ask(FlowAsk { request, answer }));
        answered
    }

    fn retry(&mut self, run: &str) -> Answer {
        self.ask(FlowRequest::Retry(RetryWish {
            run: RunId::trusted(run),
            branch: None,
            from: None,
            set: JsonMap::new(),
            force: false,
            queue: false,
            dry_run: false,
            approve_all: false,
            who: None,
            asker: None,
            seen: None,
        }))
    }

    /// What a worker has done is taken.
    fn work(&mut self) {
        let input = self.inputs.recv_timeout(PATIENCE).unwrap();
        self.engine.take(input);
        self.engine.flush();
    }

    fn until_failed(&mut self, run: &str) -> RunRecord {
        loop {
            self.engine.flush();
            let record = self.engine.now(&RunId::trusted(run)).unwrap();
            if record.status == RunStatus::Failed {
                return record;
            }
            match self.orders.try_recv() {
                Ok(order) => {
                    if let Some(event) = self.supervisor.carry_out(order) {
                        self.engine.take(Input::Guest(event));
                    }
                }
                Err(_) => self.work(),
            }
        }
    }

    fn film(&self, record: &RunRecord) -> std::path::PathBuf {
        let artifact = &record.stages.as_ref().unwrap()[0].artifacts[0];
        Objects::new(self.dir.path().join(".restage/objects")).path(&artifact.hash)
    }
}

fn begun(mut answer: Answer) -> String {
    match answer.try_recv() {
        Ok(Ok(FlowReply::Run { run, .. })) => run.to_string(),
        other => panic!("{other:?}"),
    }
}

fn failed() -> (Place, RunRecord) {
    let mut place = Place::new();
    assert_eq!(begun(place.ask(wish(None))), "f-1");
    let record = place.until_failed("f-1");
    (place, record)
}

#[test]
fn while_large_artifacts_are_read_for_one_others_are_answered() {
    let (mut place, _) = failed();
    let (mut first, mut second) = (place.retry("f-1"), place.retry("f-1"));
    for answer in [&mut first, &mut second] {
        assert_eq!(answer.try_recv().unwrap_err(), TryRecvError::Empty);
    }
    let mut other = place.ask(FlowRequest::Runs(RunFilter::default()));
    assert!(matches!(other.try_recv(), Ok(Ok(FlowReply::Runs(runs))) if runs.len() == 1));
    place.work();
    assert_eq!(begun(first), "f-2");
    // It is decided by what has come of the first, and nothing is read for it.
    assert!(
        matches!(second.try_recv(), Ok(Err(Refusal::RetryLives { holder, .. })) if holder.as_str() == "f-2")
    );
    let stages = place.until_failed("f-2").stages.unwrap();
    assert_eq!(stages[0].decision, Decision::Reuse);
    assert_eq!(place.supervisor.executed["film"], 1);
}

#[test]
fn what_is_found_damaged_is_executed_again() {
    let (mut place, record) = failed();
    let film = place.film(&record);
    std::fs::remove_file(&film).unwrap();
    let mut bytes = vec![0; usize::try_from(AT_A_GLANCE + 1).unwrap()];
    bytes[7] = 1;
    std::fs::write(&film, bytes).unwrap();
    let mut retry = place.retry("f-1");
    assert_eq!(retry.try_recv().unwrap_err(), TryRecvError::Empty);
    place.work();
    assert_eq!(begun(retry), "f-2");
    let stages = place.until_failed("f-2").stages.unwrap();
    assert_eq!((stages[0].decision, stages[0].reason), (Decision::Execute, Some(Reason::OutputMissing)));
    assert_eq!(place.supervisor.executed["film"], 2);
}
