//! A real server on a real socket, with a supervisor made of a few lines.

use std::fs;
use std::os::unix::fs::MetadataExt;

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::*;
use crate::control::client::{Client, ClientError, Incoming};
use crate::control::socket;
use crate::domain::ids::RunnerName;
use crate::domain::time::Timestamp;
use crate::domain::view::{FleetView, Notice, NoticeKind, Snapshot};
use crate::supervisor::handle::{Ask, Reply, Request, RequestError};

const SOON: Duration = Duration::from_secs(10);

struct Bench {
    dir: TempDir,
    path: PathBuf,
    updates: broadcast::Sender<Update>,
    /// Requests that the fake supervisor does not answer by itself.
    held: mpsc::UnboundedReceiver<Ask>,
    end: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let lock_file = dir.path().join("supervisor.lock");
    fs::write(&lock_file, "").unwrap();
    let (requests, mut asked) = mpsc::channel::<Ask>(8);
    let (updates, _) = broadcast::channel(64);
    let (hold, held) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(ask) = asked.recv().await {
            match &ask.request {
                Request::Snapshot { .. } => {
                    ask.answer.send(Ok(Reply::Snapshot(Box::new(empty())))).unwrap_or(());
                }
                Request::Stop { names } if names.iter().any(|name| name.as_str() == "nobody") => {
                    let error = RequestError::UnknownRunner { names: vec!["nobody".into()], known: vec![] };
                    ask.answer.send(Err(error)).unwrap_or(());
                }
                Request::Start { .. }
                | Request::Stop { .. }
                | Request::Restart { .. }
                | Request::Kill { .. }
                | Request::Input { .. }
                | Request::Resize { .. }
                | Request::Reload
                | Request::Shutdown { .. } => hold.send(ask).unwrap_or(()),
            }
        }
    });
    let place = Place { folders: vec![dir.path().join("run")], lock_file };
    let welcome =
        Welcome { version: wire::VERSION, supervisor_pid: 7, workspace: "/film".into(), headless: true };
    let bound = Bound::bind(&place.folders).unwrap();
    let server = Server::new(
        bound,
        place,
        welcome,
        Handle::new(requests, updates.clone()),
        crate::flow::handle::FlowHandle::default(),
    );
    let path = server.path().to_owned();
    let (end, ending) = oneshot::channel::<()>();
    let server = tokio::spawn(server.run(async move { ending.await.unwrap_or(()) }, |_| true));
    Bench { dir, path, updates, held, end: Some(end), server }
}

fn empty() -> Snapshot {
    Snapshot {
        workspace: "/film".into(),
        at: Timestamp::UNIX_EPOCH,
        fleet: FleetView {
            supervisor_pid: 7,
            started_at: Timestamp::UNIX_EPOCH,
            headless: true,
            budget: None,
            config_error: None,
            keeper_trouble: None,
        },
        runners: vec![],
    }
}

fn info(text: &str) -> Update {
    let what = NoticeKind::Info { text: text.into() };
    Update::Notice(Arc::new(Notice { at: Timestamp::UNIX_EPOCH, runner: None, what }))
}

fn name(text: &str) -> RunnerName {
    RunnerName::parse(text).unwrap()
}

async fn raw(path: &Path, text: &[u8]) -> String {
    let mut stream = socket::connect(path).await.unwrap();
    // The server may close before it has taken everything.
    stream.write_all(text).await.ok();
    stream.shutdown().await.ok();
    let mut answer = Vec::new();
    tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.unwrap().ok();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn asks_and_answers_in_any_order() {
    let mut bench = bench();
    let (client, _updates) = Client::connect(&bench.path, SOON).await.unwrap();
    assert_eq!(client.welcome.supervisor_pid, 7);
    let start = client.start(vec![name("a")]);
    let snapshot = client.snapshot(true);
    tokio::pin!(start);
    tokio::select! {
        _ = &mut start => panic!("nobody has answered the start"),
        snapshot = snapshot => assert_eq!(*snapshot.unwrap(), empty()),
    }
    let ask = tokio::select! {
        ask = bench.held.recv() => ask.unwrap(),
        _ = &mut start => panic!("nobody has answered the start"),
    };
    assert_eq!(ask.request, Request::Start { names: vec![name("a")] });
    ask.answer.send(Ok(Reply::Runners(vec![]))).unwrap();
    assert_eq!(start.await.unwrap(), vec![]);
    let error = client.stop(vec![name("nobody")]).await.unwrap_err();
    assert!(matches!(error, ClientError::Failed(_)), "{error}");
}

#[tokio::test]
async fn tells_what_changes_and_says_when_something_was_missed() {
    let bench = bench();
    let (client, mut updates) = Client::connect(&bench.path, SOON).await.unwrap();
    client.subscribe().await.unwrap();
    bench.updates.send(info("one")).unwrap();
    assert_eq!(updates.next().await, Some(Incoming::Update(info("one"))));
    // More at once than the broadcast holds, before the server gets its turn.
    for i in 0..200 {
        bench.updates.send(info(&i.to_string())).unwrap();
    }
    assert_eq!(updates.next().await, Some(Incoming::Lagged));
    assert_eq!(updates.next().await, Some(Incoming::Update(info("136"))));
}

#[tokio::test]
async fn refuses_in_a_sentence() {
    let bench = bench();
    let future = raw(&bench.path, b"{\"hello\":{\"version\":99}}\n").await;
    assert!(future.contains("version 1 of the protocol, the client version 99"), "{future}");
    let early = raw(&bench.path, b"{\"ask\":{\"id\":1,\"what\":\"reload\"}}\n").await;
    assert!(early.contains("the first line must be a hello"), "{early}");
    let nonsense = raw(&bench.path, b"{\"hello\":{\"version\":1}}\nGET / HTTP/1.1\n").await;
    assert!(nonsense.starts_with("{\"welcome\"") && nonsense.contains("no request"), "{nonsense}");
    let mut long = b"{\"hello\":{\"version\":1}}\n".to_vec();
    long.resize(long.len() + MAX_CLIENT_LINE + 100, b'x');
    let long = raw(&bench.path, &long).await;
    assert!(long.is_empty() || long.starts_with("{\"welcome\""), "{long}");
}

#[tokio::test]
async fn a_client_that_leaves_at_once_is_still_heard() {
    let mut bench = bench();
    let line = b"{\"hello\":{\"version\":1}}\n{\"ask\":{\"id\":1,\"what\":{\"kill\":{\"names\":[]}}}}\n";
    let mut stream = socket::connect(&bench.path).await.unwrap();
    stream.write_all(line).await.unwrap();
    drop(stream);
    let ask = tokio::time::timeout(SOON, bench.held.recv()).await.unwrap().unwrap();
    assert_eq!(ask.request, Request::Kill { names: vec![] });
}

#[tokio::test]
async fn one_that_does_not_read_is_dropped_and_disturbs_nobody() {
    let bench = bench();
    let mut deaf = socket::connect(&bench.path).await.unwrap();
    deaf.write_all(b"{\"hello\":{\"version\":1}}\n{\"ask\":{\"id\":1,\"what\":\"subscribe\"}}\n")
        .await
        .unwrap();
    let (client, mut updates) = Client::connect(&bench.path, SOON).await.unwrap();
    client.subscribe().await.unwrap();
    let long = "x".repeat(64 << 10);
    // Until both are subscribed there may be no receiver, and twice the bound must not fit.
    for i in 0..(2 * MAX_WAITING_BYTES / long.len()) {
        bench.updates.send(info(&format!("{i}{long}"))).unwrap();
        let got = tokio::time::timeout(SOON, updates.next()).await.unwrap();
        assert!(matches!(got, Some(Incoming::Update(_))), "the other client gets each line");
    }
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(SOON, deaf.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the deaf client is cut off");
    assert!(rest.len() < MAX_WAITING_BYTES);
    client.snapshot(false).await.unwrap();
}

#[tokio::test]
async fn a_deleted_socket_comes_back() {
    let bench = bench();
    let folder = bench.path.parent().unwrap().to_owned();
    for round in 0..3 {
        if round < 2 {
            fs::remove_file(&bench.path).unwrap();
        } else {
            fs::remove_dir_all(&folder).unwrap();
        }
        let back = async {
            while Client::connect(&bench.path, SOON).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, back).await.unwrap();
        assert_eq!(fs::metadata(&bench.path).unwrap().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn a_knock_on_the_lock_file_makes_it_look() {
    let bench = bench();
    // Moving the folder's parent away is seen by no watch on the folder.
    let parent = bench.dir.path().join("run");
    let aside = tempfile::tempdir_in(bench.dir.path()).unwrap();
    let bound = Bound::bind(&[aside.path().to_owned()]).unwrap();
    fs::rename(&bound.path, parent.join(socket::SOCKET_FILE)).unwrap();
    crate::control::lock::knock(&bench.dir.path().join("supervisor.lock")).unwrap();
    let back = async { while Client::connect(&bench.path, Duration::from_millis(200)).await.is_err() {} };
    tokio::time::timeout(SOON, back).await.unwrap();
}

#[tokio::test]
async fn what_could_not_be_announced_is_announced_with_the_first_knock_that_finds_room() {
    let dir = tempfile::tempdir().unwrap();
    let lock_file = dir.path().join("supervisor.lock");
    fs::write(&lock_file, "").unwrap();
    let place = Place { folders: vec![dir.path().join("run")], lock_file: lock_file.clone() };
    let welcome =
        Welcome { version: wire::VERSION, supervisor_pid: 7, workspace: "/film".into(), headless: true };
    let bound = Bound::bind(&place.folders).unwrap();
    let handle = Handle::new(mpsc::channel(8).0, broadcast::channel(64).0);
    let flows = crate::flow::handle::FlowHandle::default();
    let server = Server::new(bound, place, welcome, handle, flows).yet_to_be_announced();
    let (announce, mut announced) = mpsc::unbounded_channel();
    let mut has_room = false;
    let moved = move |_: &Path| {
        announce.send(has_room).unwrap();
        std::mem::replace(&mut has_room, true)
    };
    let serving = tokio::spawn(server.run(std::future::pending(), moved));
    crate::control::lock::knock(&lock_file).unwrap();
    let soon = async { (announced.recv().await, announced.recv().await) };
    assert_eq!(tokio::time::timeout(SOON, soon).await.unwrap(), (Some(false), Some(true)));
    serving.abort();
}

#[tokio::test]
async fn the_last_words_arrive_before_the_end() {
    let mut bench = bench();
    let (client, mut updates) = Client::connect(&bench.path, SOON).await.unwrap();
    client.subscribe().await.unwrap();
    bench.updates.send(info("the end")).unwrap();
    bench.end.take().unwrap().send(()).unwrap();
    assert_eq!(updates.next().await, Some(Incoming::Update(info("the end"))));
    assert_eq!(updates.next().await, None);
    assert!(matches!(client.snapshot(false).await, Err(ClientError::Gone)));
    tokio::time::timeout(SOON, bench.server).await.unwrap().unwrap();
    assert!(!bench.path.exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever a client sends, the server goes on serving others.
    #[test]
    fn nonsense_hurts_nobody(
        greeted in any::<bool>(),
        pieces in proptest::collection::vec(
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                "\\{\"ask\":\\{\"id\":[0-9]{1,30},\"what\":.{0,20}\\}\\}\n".prop_map(String::into_bytes),
                Just(b"\n\n\0\n".to_vec()),
                Just("[".repeat(5000).into_bytes()),
            ],
            0..12,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bench = bench();
            let mut bytes = if greeted { b"{\"hello\":{\"version\":1}}\n".to_vec() } else { vec![] };
            bytes.extend(pieces.concat());
            raw(&bench.path, &bytes).await;
            let (client, _updates) = Client::connect(&bench.path, SOON).await.unwrap();
            client.snapshot(false).await.unwrap();
        });
    }
}
