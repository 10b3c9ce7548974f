//! What people do, with a store that dies, or is full, at each of its writes in turn: whoever then asks for the same once
//! more has what they would have had without that, and nothing is done twice.

use tokio::sync::broadcast::error::RecvError;

use super::*;
use crate::domain::flow::ask::{
    ApproveWish, ContinueWish, EditWish, FlowReply, ForkWish, RejectWish, RetryWish,
};
use crate::domain::flow::refusal::Refusal;
use crate::domain::json::Json;
use crate::domain::view::Update;

/// Longer than a full disk is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Two stages that ask, and one that does not.
fn film(root: &Path) -> FlowSpec {
    let mut flow = testing::flow("script: >text manual\n board: script >line manual\n render: board");
    flow.root = root.to_owned();
    flow.timeout = Some(Duration::from_hours(1));
    flow
}

/// One engine on the store, and the supervisor beneath it.
struct Life {
    asks: mpsc::Sender<Input>,
    updates: broadcast::Receiver<Update>,
    engine: thread::JoinHandle<()>,
    supervisor: thread::JoinHandle<Supervisor>,
}

impl Life {
    fn begin(root: &Path, store: &Faulty, mut supervisor: Supervisor) -> Self {
        let (own, inputs) = mpsc::channel();
        let (guests, mut orders) = tokio_mpsc::unbounded_channel();
        let (requests, _requested) = tokio_mpsc::channel(1);
        let (told, updates) = broadcast::channel(64);
        let engine = engine(store.clone(), film(root), guests, Handle::new(requests, told), own.clone());
        let engine = thread::spawn(move || engine.run(Vec::new(), &inputs));
        own.send(Input::Guest(supervisor.inventory())).unwrap();
        let tell = own.clone();
        let supervisor = thread::spawn(move || {
            while let Some(order) = orders.blocking_recv() {
                if let Some(event) = supervisor.carry_out(order) {
                    tell.send(Input::Guest(event)).ok();
                }
            }
            supervisor
        });
        Self { asks: own, updates, engine, supervisor }
    }

    /// `None`: the engine died of it.
    fn ask(&self, request: FlowRequest) -> Option<Result<FlowReply, Refusal>> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(Input::Ask(FlowAsk { request, answer })).ok()?;
        answered.blocking_recv().ok()
    }

    /// Something has happened. False: it died.
    fn wait(&mut self) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let news = runtime.block_on(async { tokio::time::timeout(PATIENCE, self.updates.recv()).await });
        !matches!(news.expect("nothing happens any more"), Err(RecvError::Closed))
    }

    /// Until nothing runs any more. False: it died.
    fn settle(&mut self) -> bool {
        let running = RunFilter { status: vec![RunStatus::Running], ..RunFilter::default() };
        loop {
            match self.ask(FlowRequest::Runs(running.clone())) {
                Some(Ok(FlowReply::Runs(runs))) if runs.is_empty() => return true,
                Some(_) => {}
                None => return false,
            }
            if !self.wait() {
                return false;
            }
        }
    }

    /// Until there is room again.
    fn insist(&mut self, request: &FlowRequest) -> Option<Result<FlowReply, Refusal>> {
        loop {
            match self.ask(request.clone())? {
                Err(Refusal::Store(_) | Refusal::NotYet(_)) => self.wait().then_some(())?,
                answer => return Some(answer),
            }
        }
    }

    /// What of it outlives it. It may have died, as it was meant to.
    fn end(self) -> Supervisor {
        self.asks.send(Input::End(oneshot::channel().0)).ok();
        drop(self.asks);
        self.engine.join().ok();
        self.supervisor.join().unwrap()
    }
}

fn stage(name: &str) -> StageName {
    StageName::trusted(name)
}

fn cp(text: &str) -> CheckpointId {
    CheckpointId::parse(text).unwrap()
}

fn film_run(number: u64) -> RunId {
    RunId::trusted(format!("f-{number}"))
}

/// The bytes of script@1.
fn draft() -> Hash {
    let outputs = JsonMap::from([("text".to_owned(), Json::string("draft"))]);
    crate::domain::flow::hashes::checkpoint(&outputs, &[])
}

fn approve_seen(number: u64) -> FlowRequest {
    FlowRequest::Approve(ApproveWish {
        run: film_run(number),
        stage: Some(stage("script")),
        checkpoint: None,
        hash: Some(draft()),
        who: "ann".into(),
        note: None,
        approve_all: false,
    })
}

fn reject_seen() -> FlowRequest {
    FlowRequest::Reject(RejectWish {
        run: film_run(1),
        stage: stage("script"),
        checkpoint: None,
        rewind_to: None,
        hash: Some(draft()),
        feedback: "darker".into(),
        who: "ben".into(),
        approve_all: false,
    })
}

fn edit_seen() -> FlowRequest {
    FlowRequest::Edit(EditWish {
        run: film_run(1),
        branch: None,
        stage: stage("script"),
        hash: Some(draft()),
        set: JsonMap::from([("text".to_owned(), Json::string("better"))]),
        artifacts: Vec::new(),
        who: "eve".into(),
    })
}

fn fork() -> FlowRequest {
    FlowRequest::Fork(ForkWish {
        run: film_run(1),
        at: cp("script@1"),
        branch: BranchName::trusted("draft"),
        who: "fay".into(),
    })
}

fn proceed(branch: &str, checkpoint: &str, approve_all: bool) -> FlowRequest {
    FlowRequest::Continue(ContinueWish {
        lay: None,
        run: film_run(1),
        branch: Some(BranchName::trusted(branch)),
        checkpoint: Some(cp(checkpoint)),
        force_retry: false,
        who: "con".into(),
        approve_all,
    })
}

fn retry() -> FlowRequest {
    FlowRequest::Retry(retry_wish())
}

fn retry_wish() -> RetryWish {
    RetryWish {
        run: film_run(1),
        branch: None,
        from: None,
        set: JsonMap::new(),
        force: false,
        queue: false,
        dry_run: false,
        seen: None,
        approve_all: false,
        who: None,
        asker: None,
    }
}

/// All that is to be seen of it afterwards.
fn picture(store: &mut MemoryStore, executed: &BTreeMap<String, u32>) -> String {
    let root = film_run(1);
    let mut lines = vec![format!("executed {executed:?}")];
    for branch in store.branches(&root).unwrap() {
        lines.push(format!(
            "branch {} from {:?}",
            branch.branch_name,
            branch.forked_from.map(|at| at.to_string())
        ));
    }
    for one in store.checkpoints(&root).unwrap().0 {
        let (from, by) = (one.edited_from.map(|from| from.to_string()), one.approved_by);
        lines.push(format!(
            "{} {:?} {from:?} by {by:?} on {}: {:?}",
            one.id, one.approval, one.branch, one.outputs
        ));
    }
    let mut runs = store.runs(&RunFilter::default()).unwrap();
    runs.sort_by_key(|run| run.run_number);
    for run in runs {
        let stored = store.run(&run.run_id).unwrap().unwrap();
        let rows = stored.stages().iter().map(|row| {
            let names = row.checkpoint.as_ref().map(|seen| seen.id.to_string());
            format!("{}={}:{}", row.name, row.status, names.unwrap_or_default())
        });
        let rows: Vec<String> = rows.collect();
        let (id, status, asked) = (&run.run_id, run.status, !stored.approve_all);
        lines.push(format!("{id} {status} on {} asked={asked}: {}", run.branch, rows.join(" ")));
        assert!(stored.time_left.is_some() || run.status != RunStatus::Waiting, "the clock of {id}");
    }
    lines.join("\n")
}

struct Trial {
    /// Once it was asked for and the engine came back, and once it was asked for again.
    pictures: [String; 2],
    writes: usize,
}

/// Prepares without trouble, asks with it, goes on without, and asks once more.
fn trial(before: &[FlowRequest], act: &FlowRequest, fault: Fault, at: usize) -> Trial {
    let dir = tempfile::tempdir().unwrap();
    let mut memory = MemoryStore::new();
    let sound = Faulty::new(&memory, Fault::None, 0, &Arc::default());
    let mut life = Life::begin(dir.path(), &sound, Supervisor::default());
    for request in before {
        life.ask(request.clone()).unwrap().unwrap();
        assert!(life.settle());
    }
    let supervisor = life.end();

    let writes = Arc::new(AtomicUsize::new(0));
    let faulty = Faulty::new(&memory, fault, at, &writes);
    let mut life = Life::begin(dir.path(), &faulty, supervisor);
    let answer = life.ask(act.clone());
    match (fault, &answer) {
        (Fault::None, answer) => assert!(matches!(answer, Some(Ok(_))), "{act:?}: {answer:?}"),
        (_, Some(Err(refusal))) => {
            assert!(matches!(refusal, Refusal::Store(_) | Refusal::NotYet(_)), "{act:?}: {refusal:?}");
        }
        (_, Some(Ok(_)) | None) => {}
    }
    if fault == Fault::Full {
        life.insist(act);
    }
    life.settle();
    let supervisor = life.end();
    let mut life = Life::begin(dir.path(), &sound, supervisor);
    assert!(life.settle());
    let supervisor = life.end();
    let first = picture(&mut memory, &supervisor.executed);

    let mut life = Life::begin(dir.path(), &sound, supervisor);
    if let Err(refusal) = life.insist(act).unwrap() {
        assert!(matches!(refusal.code(), 2 | 11 | 17 | 18), "{act:?}: {} {refusal:?}", refusal.code());
    }
    assert!(life.settle());
    let supervisor = life.end();
    let pictures = [first, picture(&mut memory, &supervisor.executed)];
    Trial { pictures, writes: writes.load(Ordering::Relaxed) }
}

/// `whole`: it is done in one transaction, so that it has been done or has not, and nothing lies between.
fn whatever_write_fails(before: &[FlowRequest], act: &FlowRequest, whole: bool) -> String {
    let sound = trial(before, act, Fault::None, 0);
    let [done, again] = &sound.pictures;
    assert_eq!(done, again, "asked for twice, it was done twice");
    let untouched = trial(before, act, Fault::DiesBefore, 0).pictures[0].clone();
    assert_ne!(untouched, *done, "it does nothing");
    thread::scope(|scope| {
        let trials = [Fault::DiesBefore, Fault::DiesAfter, Fault::Full]
            .into_iter()
            .flat_map(|fault| (0..sound.writes).map(move |at| (fault, at)));
        for (fault, at) in trials {
            let untouched = &untouched;
            scope.spawn(move || {
                let Trial { pictures: [first, last], .. } = trial(before, act, fault, at);
                let told = format!("{fault:?} at write {at} of {act:?}");
                assert_eq!(last, *done, "{told}; before it was asked for again:\n{first}");
                if whole && fault != Fault::Full {
                    assert!(first == *untouched || first == *done, "{told}: half of it is there:\n{first}");
                }
            });
        }
    });
    done.clone()
}

#[test]
fn an_approval_is_done_or_not() {
    let done = whatever_write_fails(&[wish(None)], &approve_seen(1), true);
    assert!(
        done.contains("f-1 waiting on main asked=true: script=succeeded:script@1 board=waiting:board@1"),
        "{done}"
    );
}

#[test]
fn a_rejection_is_done_or_not() {
    let done = whatever_write_fails(&[wish(None)], &reject_seen(), true);
    assert!(done.contains("script@1 Rejected"), "{done}");
    assert!(done.contains("f-1 waiting on main asked=true: script=waiting:script@2"), "{done}");
}

#[test]
fn an_edit_is_done_and_adopted_or_not() {
    let done = whatever_write_fails(&[wish(None)], &edit_seen(), true);
    assert!(done.contains("script@2 Pending Some(\"script@1\")"), "{done}");
    assert!(done.contains("f-1 waiting on main asked=true: script=waiting:script@2"), "{done}");
}

#[test]
fn an_edit_of_what_was_built_on_sends_the_run_back_or_not() {
    let done = whatever_write_fails(&[wish(None), approve_seen(1)], &edit_seen(), true);
    assert!(done.contains("script@2 Pending Some(\"script@1\")"), "{done}");
    assert!(
        done.contains(
            "f-1 waiting on main asked=true: script=waiting:script@2 board=pending: render=pending:"
        ),
        "{done}"
    );
}

#[test]
fn a_fork_is_done_or_not() {
    let done = whatever_write_fails(&[wish(None)], &fork(), true);
    assert!(done.contains("branch draft from Some(\"script@1\")"), "{done}");
}

#[test]
fn that_nobody_is_asked_any_more_is_done_with_the_approval_or_not() {
    let done = whatever_write_fails(&[wish(None)], &proceed("main", "script@1", true), true);
    assert!(done.contains("f-1 succeeded on main asked=false"), "{done}");
}

#[test]
fn the_first_run_of_a_branch_begins_once() {
    // What it takes on is taken on for the run on main, too, which waits for the same.
    let done = whatever_write_fails(&[wish(None), fork()], &proceed("draft", "script@1", false), false);
    assert!(
        done.contains("f-1 waiting on main asked=true: script=succeeded:script@1 board=waiting:board@"),
        "{done}"
    );
    assert!(
        done.contains("f-2 waiting on draft asked=true: script=succeeded:script@1 board=waiting:board@"),
        "{done}"
    );
}

#[test]
fn what_nobody_answered_is_taken_on_once_when_its_run_has_ended() {
    let before = [wish(None), FlowRequest::Cancel { run: film_run(1) }];
    let done = whatever_write_fails(&before, &proceed("main", "script@1", false), false);
    assert!(
        done.contains("f-2 waiting on main asked=true: script=succeeded:script@1 board=waiting:board@1"),
        "{done}"
    );
}

#[test]
fn an_edit_of_an_ended_run_is_built_upon_once() {
    let before = [wish(None), approve_seen(1), FlowRequest::Cancel { run: film_run(1) }, edit_seen()];
    for act in [proceed("main", "script@2", false), retry()] {
        let done = whatever_write_fails(&before, &act, false);
        assert!(
            done.contains("f-2 waiting on main asked=true: script=succeeded:script@2 board=waiting:board@2"),
            "{done}"
        );
    }
}

#[test]
fn what_a_queued_retry_takes_on_is_taken_on_for_the_run_before_it() {
    let queued = FlowRequest::Retry(RetryWish { queue: true, ..retry_wish() });
    let before = [wish(None), FlowRequest::Cancel { run: film_run(1) }, retry(), edit_seen()];
    let [done, _] = trial(&before, &queued, Fault::None, 0).pictures;
    // It waits for what was edited, and goes on by that.
    assert!(
        done.contains("f-2 waiting on main asked=true: script=succeeded:script@2 board=waiting:board@1"),
        "{done}"
    );
    assert!(
        done.contains("f-3 queued on main asked=true: script=succeeded:script@2 board=pending:"),
        "{done}"
    );
}

#[test]
fn what_is_approved_is_heard_by_a_queued_run_without_setting_it_going() {
    let queued = FlowRequest::Retry(RetryWish { queue: true, ..retry_wish() });
    let before = [wish(None), FlowRequest::Cancel { run: film_run(1) }, retry(), queued];
    let done = whatever_write_fails(&before, &approve_seen(2), true);
    assert!(
        done.contains("f-2 waiting on main asked=true: script=succeeded:script@1 board=waiting:board@1"),
        "{done}"
    );
    assert!(
        done.contains("f-3 queued on main asked=true: script=succeeded:script@1 board=pending:"),
        "{done}"
    );
}
