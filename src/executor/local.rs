//! Attempts on this machine, through the keeper. One task holds the line to it: starts a keeper where there is none,
//! says hello, passes orders and reports, and begins again when the line breaks.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;

use crate::domain::ids::AttemptId;
use crate::keeper::link::{self, KeeperPlace};
use crate::keeper::wire::{Order, Policy, Report, VERSION};
use crate::ports::{ExecEvent, Executor, Launch, StopTree, TerminalSize};

use super::translate;

/// How this supervisor introduces itself.
#[derive(Debug, Clone)]
pub struct Introduction {
    pub epoch: u64,
    pub policy: Policy,
    /// Arguments with which the keeper starts a successor of this supervisor.
    pub successor: Vec<String>,
}

#[derive(Debug)]
pub struct LocalExecutor {
    outgoing: Arc<Outgoing>,
}

/// The line itself, for the clean end: it is there when its executor is gone.
#[derive(Debug)]
pub struct Line {
    outgoing: Arc<Outgoing>,
    task: JoinHandle<()>,
}

impl Line {
    /// Everything that was ordered goes out, then the goodbye: the keeper ends, too, once nothing lives.
    pub async fn goodbye(self, patience: Duration) {
        self.outgoing.close();
        // A keeper that cannot be reached is told nothing; it finds out by itself.
        tokio::time::timeout(patience, self.task).await.ok();
    }
}

impl LocalExecutor {
    /// Begins to connect; everything that comes of it arrives on `events`, first of all the inventory.
    pub fn start(
        place: KeeperPlace,
        introduction: Introduction,
        events: UnboundedSender<ExecEvent>,
    ) -> (Self, Line) {
        let outgoing = Arc::new(Outgoing::default());
        let task = tokio::spawn(hold_line(place, introduction, Arc::clone(&outgoing), events));
        (Self { outgoing: Arc::clone(&outgoing) }, Line { outgoing, task })
    }
}

impl Executor for LocalExecutor {
    fn spawn(&mut self, launch: Launch) {
        self.outgoing.order(&translate::spawn(&launch));
    }

    fn stop(&mut self, attempt: &AttemptId, stop: StopTree) {
        self.outgoing.order(&translate::stop(attempt, stop));
    }

    fn input(&mut self, attempt: &AttemptId, text: &str) {
        self.outgoing.order(&Order::Input { key: attempt.to_string(), text: text.to_owned() });
    }

    fn resize(&mut self, attempt: &AttemptId, size: TerminalSize) {
        self.outgoing.order(&Order::Resize { key: attempt.to_string(), rows: size.rows, cols: size.cols });
    }

    fn ack(&mut self, seq: u64) {
        // Nobody waits for it: it goes with the next order, or when the actor is done with this turn.
        self.outgoing.append(&Order::Ack { seq });
    }
}

/// Orders on their way. One that the socket takes at once is with the keeper before the actor does anything else;
/// the task sends the rest. While there is no line, orders fall away: what has to be done is decided anew from the
/// inventory that comes with the next one.
#[derive(Debug, Default)]
struct Outgoing {
    out: Mutex<Out>,
    /// Something waits to be sent, or the goodbye was ordered.
    waiting: Notify,
}

#[derive(Debug, Default)]
struct Out {
    socket: Option<Arc<OwnedWriteHalf>>,
    backlog: Vec<u8>,
    /// The goodbye is said.
    closing: bool,
}

impl Outgoing {
    fn out(&self) -> MutexGuard<'_, Out> {
        // Nothing panics while it is held.
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self, order: &Order) {
        self.append(order);
        let mut out = self.out();
        if let Some(socket) = out.socket.clone() {
            // What does not go is sent by the task; a broken socket is noticed by the one who reads.
            let sent = socket.try_write(&out.backlog).unwrap_or(0);
            out.backlog.drain(..sent);
        }
    }

    fn append(&self, order: &Order) {
        let mut out = self.out();
        if out.socket.is_some() {
            out.backlog.extend_from_slice(&encode(order));
            self.waiting.notify_one();
        }
    }

    fn close(&self) {
        self.order(&Order::Goodbye);
        self.out().closing = true;
        self.waiting.notify_one();
    }

    fn connect(&self, socket: Option<Arc<OwnedWriteHalf>>) {
        let mut out = self.out();
        out.backlog.clear();
        out.socket = socket;
        if out.closing {
            drop(out);
            self.close();
        }
    }

    /// Sends what waits; true once the goodbye is out.
    async fn flush(&self, socket: &OwnedWriteHalf) -> io::Result<bool> {
        loop {
            {
                let mut out = self.out();
                if out.backlog.is_empty() {
                    return Ok(out.closing);
                }
                match socket.try_write(&out.backlog) {
                    Ok(sent) => {
                        out.backlog.drain(..sent);
                        continue;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            socket.writable().await?;
        }
    }
}

async fn hold_line(
    place: KeeperPlace,
    introduction: Introduction,
    outgoing: Arc<Outgoing>,
    events: UnboundedSender<ExecEvent>,
) {
    const FIRST: Duration = Duration::from_millis(10);
    const CAP: Duration = Duration::from_secs(2);
    let mut pause = FIRST;
    loop {
        let why = match reach(&place).await {
            Ok(stream) => {
                let talk = talk(stream, &introduction, &outgoing, &events).await;
                outgoing.connect(None);
                match talk {
                    Talk::Over => return,
                    Talk::Broken { welcomed, why } => {
                        if welcomed {
                            pause = FIRST;
                        }
                        why
                    }
                }
            }
            Err(why) => why,
        };
        if events.send(ExecEvent::Disconnected { why }).is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(CAP);
    }
}

async fn reach(place: &KeeperPlace) -> Result<UnixStream, String> {
    let place = place.clone();
    let connected = tokio::task::spawn_blocking(move || {
        if let Some(stream) = link::connect(&place)? {
            return Ok(Some(stream));
        }
        link::ensure(&place)?;
        link::connect(&place)
    });
    let stream = match connected.await {
        Ok(Ok(Some(stream))) => stream,
        Ok(Ok(None)) => return Err("the keeper is just changing".into()),
        Ok(Err(error)) => return Err(error.to_string()),
        Err(error) => return Err(error.to_string()),
    };
    stream.set_nonblocking(true).map_err(|error| error.to_string())?;
    UnixStream::from_std(stream).map_err(|error| error.to_string())
}

enum Talk {
    /// A goodbye was said, or nobody is left to say it.
    Over,
    Broken {
        welcomed: bool,
        why: String,
    },
}

async fn talk(
    stream: UnixStream,
    introduction: &Introduction,
    outgoing: &Outgoing,
    events: &UnboundedSender<ExecEvent>,
) -> Talk {
    let mut welcomed = false;
    let broken = |welcomed, why: String| Talk::Broken { welcomed, why };
    let (read, mut write) = stream.into_split();
    let mut reports = BufReader::with_capacity(32 << 10, read);
    let hello = Order::Hello {
        version: VERSION,
        epoch: introduction.epoch,
        policy: introduction.policy,
        successor: introduction.successor.clone(),
    };
    if let Err(error) = write.write_all(&encode(&hello)).await {
        return broken(welcomed, error.to_string());
    }
    let write = Arc::new(write);
    outgoing.connect(Some(Arc::clone(&write)));
    let mut line = Vec::new();
    loop {
        tokio::select! {
            () = outgoing.waiting.notified() => match outgoing.flush(&write).await {
                Ok(true) => return Talk::Over,
                Ok(false) => {}
                Err(error) => return broken(welcomed, error.to_string()),
            },
            // Not cancelled half-way: the bytes read so far stay in `line`.
            read = reports.read_until(b'\n', &mut line) => {
                match read {
                    Ok(0) => return broken(welcomed, "the keeper closed the line".into()),
                    Err(error) => return broken(welcomed, error.to_string()),
                    Ok(_) => {}
                }
                if line.last() != Some(&b'\n') {
                    continue;
                }
                let report: Report = match serde_json::from_slice(&line) {
                    Ok(report) => report,
                    Err(error) => return broken(welcomed, format!("the keeper said something unknown: {error}")),
                };
                line.clear();
                if let Report::Refused { why } = report {
                    return broken(welcomed, format!("the keeper refused: {why}"));
                }
                welcomed = true;
                if let Some(event) = translate::event(report) {
                    // Nobody listens any more where only the goodbye is left to be said.
                    events.send(event).ok();
                }
            }
        }
    }
}

fn encode(order: &Order) -> Vec<u8> {
    // Orders are plain data with string keys: this cannot fail.
    let mut line = serde_json::to_vec(order).unwrap_or_default();
    line.push(b'\n');
    line
}
