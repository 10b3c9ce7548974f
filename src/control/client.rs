//! The client side: connect, ask, listen. One task reads the socket; answers find their request by its id, updates go
//! into a bounded queue. Who does not take them is told that it has missed some.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::lines::{Line, read_line};
use super::socket;
use super::wire::{
    self, Answer, ClientLine, Command, Failure, MAX_CLIENT_LINE, MAX_SERVER_LINE, ServerLine, Welcome,
};
use crate::domain::flow::ask::{FlowReply, FlowRequest};
use crate::domain::flow::refusal::Refusal;
use crate::domain::ids::RunnerName;
use crate::domain::view::{RunnerView, Snapshot, Update};
use crate::supervisor::handle::Shutdown;

const WAITING_UPDATES: usize = 4096;

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("connect to the supervisor at {path}: {source}", path = path.display())]
    Connect { path: std::path::PathBuf, source: io::Error },
    #[error("connect to the supervisor: no answer within {}s; it is stopped or very busy", .0.as_secs_f64())]
    Silent(Duration),
    #[error("the supervisor refused: {0}")]
    Refused(String),
    #[error("the connection to the supervisor ended")]
    Gone,
    #[error("the request has {bytes} bytes, and {MAX_CLIENT_LINE} (65 MiB) is the limit")]
    TooLong { bytes: usize },
    #[error("the supervisor sent something that is no answer: {0}")]
    Nonsense(String),
    #[error(transparent)]
    Failed(#[from] Failure),
    /// A request about runs.
    #[error("{0}")]
    Declined(Box<Refusal>),
}

/// What comes without having been asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Incoming {
    Update(Update),
    /// Some changes are missing: take a fresh snapshot.
    Lagged,
}

/// A connection. Requests may be on their way at the same time.
#[derive(Debug)]
pub struct Client {
    pub welcome: Welcome,
    write: tokio::sync::Mutex<OwnedWriteHalf>,
    pending: Arc<Pending>,
    reading: JoinHandle<()>,
}

/// Everything that is told after [`Client::subscribe`].
#[derive(Debug)]
pub struct Updates(mpsc::Receiver<Incoming>);

impl Updates {
    /// `None` once the connection has ended.
    pub async fn next(&mut self) -> Option<Incoming> {
        self.0.recv().await
    }

    /// What has come already.
    pub fn ready(&mut self) -> Option<Incoming> {
        self.0.try_recv().ok()
    }
}

/// Requests without an answer so far; `None` once the connection has ended.
#[derive(Debug)]
struct Pending {
    table: Mutex<Option<Table>>,
    /// The supervisor has said that it reads no more.
    untaken: AtomicBool,
}

#[derive(Debug, Default)]
struct Table {
    last_id: u64,
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
}

impl Client {
    /// Connects and says hello, all within `timeout`.
    pub async fn connect(path: &Path, timeout: Duration) -> Result<(Self, Updates), ClientError> {
        tokio::time::timeout(timeout, Self::greet(path)).await.map_err(|_| ClientError::Silent(timeout))?
    }

    async fn greet(path: &Path) -> Result<(Self, Updates), ClientError> {
        let stream = socket::connect(path)
            .await
            .map_err(|source| ClientError::Connect { path: path.to_owned(), source })?;
        let (read, mut write) = stream.into_split();
        let hello = wire::encode(&ClientLine::Hello { version: wire::VERSION });
        // A server that refuses may have closed its end by now; what it said is still there to be read.
        write.write_all(&hello).await.ok();
        let mut lines = Lines { reader: BufReader::new(read), line: Vec::new() };
        let welcome = match lines.next().await? {
            ServerLine::Welcome(welcome) => welcome,
            ServerLine::Refused { why } => return Err(ClientError::Refused(why)),
            ServerLine::Ending => return Err(ClientError::Gone),
            other @ (ServerLine::Answer { .. } | ServerLine::Update(_) | ServerLine::Lagged { .. }) => {
                return Err(ClientError::Nonsense(format!("{other:?} before a welcome")));
            }
        };
        let pending =
            Arc::new(Pending { table: Mutex::new(Some(Table::default())), untaken: AtomicBool::new(false) });
        let (updates, queue) = mpsc::channel(WAITING_UPDATES);
        let reading = tokio::spawn(distribute(lines, Arc::clone(&pending), updates));
        Ok((Self { welcome, write: tokio::sync::Mutex::new(write), pending, reading }, Updates(queue)))
    }

    pub async fn ask(&self, what: Command) -> Result<Answer, ClientError> {
        let (id, answer) = self.pending.register().ok_or(ClientError::Gone)?;
        let line = wire::encode(&ClientLine::Ask { id, what });
        if line.len() > MAX_CLIENT_LINE {
            return Err(ClientError::TooLong { bytes: line.len() });
        }
        // Where it cannot be written the connection ends, and what came before its end tells more.
        self.write.lock().await.write_all(&line).await.ok();
        match answer.await.map_err(|_| ClientError::Gone)? {
            Answer::Error(failure) => Err(failure.into()),
            Answer::Refused(refusal) => Err(ClientError::Declined(refusal)),
            answer @ (Answer::Runners(_) | Answer::Snapshot(_) | Answer::Flow(_) | Answer::Done) => {
                Ok(answer)
            }
        }
    }

    pub async fn start(&self, names: Vec<RunnerName>) -> Result<Vec<Arc<RunnerView>>, ClientError> {
        self.ask_runners(Command::Start { names }).await
    }

    pub async fn stop(&self, names: Vec<RunnerName>) -> Result<Vec<Arc<RunnerView>>, ClientError> {
        self.ask_runners(Command::Stop { names }).await
    }

    pub async fn restart(&self, names: Vec<RunnerName>) -> Result<Vec<Arc<RunnerView>>, ClientError> {
        self.ask_runners(Command::Restart { names }).await
    }

    pub async fn kill(&self, names: Vec<RunnerName>) -> Result<Vec<Arc<RunnerView>>, ClientError> {
        self.ask_runners(Command::Kill { names }).await
    }

    pub async fn snapshot(&self, figures: bool) -> Result<Box<Snapshot>, ClientError> {
        let answer = self.ask(Command::Snapshot { figures }).await?;
        let Answer::Snapshot(snapshot) = answer else { return Err(unexpected(&answer)) };
        Ok(snapshot)
    }

    pub async fn flow(&self, request: FlowRequest) -> Result<FlowReply, ClientError> {
        match self.ask(Command::Flow(Box::new(request))).await {
            Ok(Answer::Flow(reply)) => Ok(*reply),
            Ok(answer) => Err(unexpected(&answer)),
            // The next supervisor can be asked: this one has done nothing.
            Err(ClientError::Gone) if self.pending.is_untaken() => {
                Err(ClientError::Declined(Box::new(Refusal::Ending)))
            }
            Err(error) => Err(error),
        }
    }

    pub async fn subscribe(&self) -> Result<(), ClientError> {
        self.ask(Command::Subscribe).await.map(drop)
    }

    pub async fn subscribe_to_words(&self) -> Result<(), ClientError> {
        self.ask(Command::SubscribeToWords).await.map(drop)
    }

    pub async fn input(&self, name: RunnerName, text: String) -> Result<(), ClientError> {
        self.ask(Command::Input { name, text }).await.map(drop)
    }

    pub async fn resize(&self, name: RunnerName, rows: u16, cols: u16) -> Result<(), ClientError> {
        self.ask(Command::Resize { name, rows, cols }).await.map(drop)
    }

    pub async fn reload(&self) -> Result<(), ClientError> {
        self.ask(Command::Reload).await.map(drop)
    }

    pub async fn shutdown(&self, how: Shutdown) -> Result<(), ClientError> {
        self.ask(Command::Shutdown { how }).await.map(drop)
    }

    async fn ask_runners(&self, what: Command) -> Result<Vec<Arc<RunnerView>>, ClientError> {
        let answer = self.ask(what).await?;
        let Answer::Runners(runners) = answer else { return Err(unexpected(&answer)) };
        Ok(runners)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

fn unexpected(answer: &Answer) -> ClientError {
    ClientError::Nonsense(format!("{answer:?}"))
}

impl Pending {
    fn register(&self) -> Option<(u64, oneshot::Receiver<Answer>)> {
        let (sender, receiver) = oneshot::channel();
        let mut guard = self.lock();
        let table = guard.as_mut()?;
        table.last_id += 1;
        table.waiting.insert(table.last_id, sender);
        Some((table.last_id, receiver))
    }

    fn answer(&self, id: u64, answer: Answer) {
        let waiting = self.lock().as_mut().and_then(|table| table.waiting.remove(&id));
        if let Some(waiting) = waiting {
            // Whoever asked has stopped waiting.
            waiting.send(answer).ok();
        }
    }

    /// What has no answer after the end was never taken.
    fn is_untaken(&self) -> bool {
        self.untaken.load(Ordering::Relaxed)
    }

    /// Whoever waits learns that no answer will come.
    fn close(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Table>> {
        // Nothing panics while it is held, and the table is whole between any two statements.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Lines {
    reader: BufReader<OwnedReadHalf>,
    line: Vec<u8>,
}

impl Lines {
    async fn next(&mut self) -> Result<ServerLine, ClientError> {
        match read_line(&mut self.reader, &mut self.line, MAX_SERVER_LINE).await {
            Ok(Line::Complete) => {
                serde_json::from_slice(&self.line).map_err(|error| ClientError::Nonsense(error.to_string()))
            }
            Ok(Line::TooLong) => Err(ClientError::Nonsense("a line without an end".into())),
            Ok(Line::End) | Err(_) => Err(ClientError::Gone),
        }
    }
}

async fn distribute(mut lines: Lines, pending: Arc<Pending>, updates: mpsc::Sender<Incoming>) {
    let missed = Arc::new(AtomicBool::new(false));
    while let Ok(line) = lines.next().await {
        let incoming = match line {
            ServerLine::Answer { id, with } => {
                pending.answer(id, with);
                continue;
            }
            ServerLine::Ending => {
                pending.untaken.store(true, Ordering::Relaxed);
                continue;
            }
            ServerLine::Update(update) => Incoming::Update(update),
            ServerLine::Lagged { .. } => Incoming::Lagged,
            ServerLine::Welcome(_) | ServerLine::Refused { .. } => break,
        };
        // Answers must get through even where nobody takes the updates, so these never wait.
        if !missed.load(Ordering::Relaxed) && updates.try_send(incoming).is_err() {
            missed.store(true, Ordering::Relaxed);
            tokio::spawn(tell_of_gap(updates.clone(), Arc::clone(&missed)));
        }
    }
    pending.close();
}

/// As soon as there is room again, whether or not anything else comes: what was missed may have been the last.
async fn tell_of_gap(updates: mpsc::Sender<Incoming>, missed: Arc<AtomicBool>) {
    // Nobody takes them any more.
    let Ok(room) = updates.reserve().await else { return };
    // First, so that nothing is missed between the one and the other.
    missed.store(false, Ordering::Relaxed);
    room.send(Incoming::Lagged);
}
