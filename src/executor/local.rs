//! Attempts on this machine, through the keeper. One task holds the line to it: starts a keeper where there is none,
//! says hello, passes orders and reports, and begins again when the line breaks.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
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
    orders: UnboundedSender<Order>,
}

/// The line itself, for the clean end: it is there when its executor is gone.
#[derive(Debug)]
pub struct Line {
    orders: UnboundedSender<Order>,
    task: JoinHandle<()>,
}

impl Line {
    /// Everything that was ordered goes out, then the goodbye: the keeper ends, too, once nothing lives.
    pub async fn goodbye(self, patience: Duration) {
        // The task ends only with the runtime, or by this.
        self.orders.send(Order::Goodbye).ok();
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
        let (orders, queue) = unbounded_channel();
        let task = tokio::spawn(hold_line(place, introduction, queue, events));
        (Self { orders: orders.clone() }, Line { orders, task })
    }

    fn order(&self, order: Order) {
        // The task ends only with the runtime.
        self.orders.send(order).ok();
    }
}

impl Executor for LocalExecutor {
    fn spawn(&mut self, launch: Launch) {
        self.order(translate::spawn(&launch));
    }

    fn stop(&mut self, attempt: &AttemptId, stop: StopTree) {
        self.order(translate::stop(attempt, stop));
    }

    fn input(&mut self, attempt: &AttemptId, text: &str) {
        self.order(Order::Input { key: attempt.to_string(), text: text.to_owned() });
    }

    fn resize(&mut self, attempt: &AttemptId, size: TerminalSize) {
        self.order(Order::Resize { key: attempt.to_string(), rows: size.rows, cols: size.cols });
    }

    fn ack(&mut self, seq: u64) {
        self.order(Order::Ack { seq });
    }
}

async fn hold_line(
    place: KeeperPlace,
    introduction: Introduction,
    mut orders: UnboundedReceiver<Order>,
    events: UnboundedSender<ExecEvent>,
) {
    const FIRST: Duration = Duration::from_millis(10);
    const CAP: Duration = Duration::from_secs(2);
    let mut pause = FIRST;
    loop {
        let why = match reach(&place).await {
            Ok(stream) => {
                // What was ordered of a keeper that is gone is decided anew from the inventory of this one.
                while orders.try_recv().is_ok() {}
                match talk(stream, &introduction, &mut orders, &events).await {
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
    orders: &mut UnboundedReceiver<Order>,
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
    let mut line = Vec::new();
    loop {
        tokio::select! {
            order = orders.recv() => {
                let Some(order) = order else { return Talk::Over };
                let last = order == Order::Goodbye;
                let mut bytes = encode(&order);
                // Orders that wait together leave together.
                while !last && bytes.len() < 64 << 10 {
                    match orders.try_recv() {
                        Ok(Order::Goodbye) => {
                            bytes.extend(encode(&Order::Goodbye));
                            write.write_all(&bytes).await.ok();
                            return Talk::Over;
                        }
                        Ok(order) => bytes.extend(encode(&order)),
                        Err(_) => break,
                    }
                }
                if let Err(error) = write.write_all(&bytes).await {
                    return broken(welcomed, error.to_string());
                }
                if last {
                    return Talk::Over;
                }
            }
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
