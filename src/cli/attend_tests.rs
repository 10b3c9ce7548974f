//! A supervisor of a few lines, attended for real: socket, lock, lines, end.

use std::io::Write;
use std::sync::{Arc, Mutex};

use jiff::tz::TimeZone;
use tokio::sync::mpsc;

use super::*;
use crate::cli::link::{self, Found};
use crate::cli::workspace::Workspace;
use crate::control::client::{Client, Incoming};
use crate::domain::time::{Mono, Now, Timestamp};
use crate::domain::view::FleetView;
use crate::frontend::headless::{Format, Printer};
use crate::supervisor::handle::{Ask, Reply};

const SOON: Duration = Duration::from_secs(10);

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Now {
        Now { mono: Mono::from_nanos(0), wall: Timestamp::UNIX_EPOCH }
    }
}

fn fleet() -> FleetView {
    FleetView {
        supervisor_pid: 1,
        started_at: Timestamp::UNIX_EPOCH,
        headless: true,
        budget: None,
        config_error: None,
        keeper_trouble: None,
    }
}

fn info(text: &str) -> Update {
    let what = NoticeKind::Info { text: text.into() };
    Update::Notice(Arc::new(Notice { at: Timestamp::UNIX_EPOCH, runner: None, what }))
}

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

struct Bench {
    _dir: tempfile::TempDir,
    workspace: Workspace,
    page: Page,
    handle: Handle,
    updates: broadcast::Sender<Update>,
    requests: Option<mpsc::Receiver<Ask>>,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let workspace = Workspace { root: dir.path().to_owned(), config: dir.path().join("config.json") };
        std::fs::create_dir(workspace.data_dir()).unwrap();
        let (asks, requests) = mpsc::channel(8);
        let (updates, _) = broadcast::channel(64);
        let handle = Handle::new(asks, updates.clone());
        Self { _dir: dir, workspace, page: Page::default(), handle, updates, requests: Some(requests) }
    }

    fn scene(&self) -> Scene {
        let lock_file = self.workspace.lock_file();
        let format = Format::Human { zone: TimeZone::UTC, colour: false, name_width: 7 };
        let place = Place { folders: vec![self.workspace.root.join("run")], lock_file: lock_file.clone() };
        Scene {
            bound: Bound::bind(&place.folders).unwrap(),
            place,
            workspace: self.workspace.root.clone(),
            lock: WorkspaceLock::take(&lock_file, Duration::ZERO, process::lives).unwrap(),
            signals: Signals::listen().unwrap(),
            headless: Some(Headless::new(Printer::new(self.page.clone()), format)),
        }
    }
}

/// Ends when it is told to, and says how.
async fn actor(mut requests: mpsc::Receiver<Ask>, updates: broadcast::Sender<Update>) -> Came {
    updates.send(Update::Fleet(Arc::new(fleet()))).unwrap();
    updates.send(info("begun")).unwrap();
    while let Some(ask) = requests.recv().await {
        if let Request::Shutdown { how } = ask.request {
            updates.send(info(&format!("{how:?}"))).unwrap();
            ask.answer.send(Ok(Reply::Done)).unwrap();
            break;
        }
    }
    Came { exit: Exit::Failed, summary: "1 exhausted".into() }
}

#[tokio::test]
async fn it_can_be_found_asked_and_ended() {
    let mut bench = Bench::new();
    let (scene, handle) = (bench.scene(), bench.handle.clone());
    let actor = actor(bench.requests.take().unwrap(), bench.updates.clone());
    let (stands, standing) = tokio::sync::oneshot::channel();
    let attended =
        tokio::spawn(
            async move { attend(scene, handle, actor, &FixedClock, || stands.send(()).unwrap()).await },
        );
    standing.await.unwrap();
    let Found::Somebody(Some(holder)) = link::who(&bench.workspace) else { panic!("it holds the lock") };
    assert_eq!(holder.process, process::me());
    let (client, mut updates) = link::connect(&bench.workspace).await.unwrap().unwrap();
    assert_eq!(*bench.handle.attached().borrow(), 1);
    client.subscribe().await.unwrap();
    client.shutdown(Shutdown::Graceful).await.unwrap();
    let exit = tokio::time::timeout(SOON, attended).await.unwrap().unwrap();
    assert_eq!(exit, Ok(Exit::Failed));
    assert_eq!(updates.next().await, Some(Incoming::Update(info("Graceful"))), "the last words arrive");
    assert_eq!(updates.next().await, None);
    assert_eq!(
        bench.page.text(),
        "00:00:00 restage begun\n00:00:00 restage Graceful\n00:00:00 restage Ended: 1 exhausted\n"
    );
    assert_eq!(link::who(&bench.workspace), Found::Nobody);
    assert!(Client::connect(&holder.socket, SOON).await.is_err());
    assert_eq!(*bench.handle.attached().borrow(), 0);
}

#[tokio::test]
async fn a_supervisor_that_fails_is_told_and_leaves_the_workspace_free() {
    let bench = Bench::new();
    let actor = async { panic!("a mistake of ours") };
    let failure = attend(bench.scene(), bench.handle.clone(), actor, &FixedClock, || {}).await.unwrap_err();
    assert_eq!(failure.exit, Exit::Failed);
    assert!(failure.hint.unwrap().contains("any verb"));
}
