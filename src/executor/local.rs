//! Attempts on this machine, through the keeper. One task holds the line to it: starts a keeper where there is none,
//! says hello, passes orders and reports, and begins again when the line breaks.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;

use crate::domain::ids::AttemptId;
use crate::keeper::link::{self, KeeperPlace};
use crate::keeper::wire::{MAX_LINE, Order, Policy, Report, VERSION};
use crate::ports::{ExecEvent, Executor, Launch, StopTree, TerminalSize};

use super::stdio::Scripts;
use super::translate;

/// Read at once; most of what the keeper says is much shorter.
const PORTION: usize = 8 << 10;

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
    scripts: Scripts,
    /// For what is answered without the keeper.
    events: UnboundedSender<ExecEvent>,
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
        let task = tokio::spawn(hold_line(place, introduction, Arc::clone(&outgoing), events.clone()));
        let scripts = Scripts::default();
        (Self { outgoing: Arc::clone(&outgoing), scripts, events }, Line { outgoing, task })
    }
}

impl Executor for LocalExecutor {
    fn spawn(&mut self, launch: Launch) {
        if let Err(TooLong) = self.outgoing.order(&translate::spawn(&launch, &mut self.scripts)) {
            let failure = translate::too_long(&launch.command);
            // Nobody listens any more where only the goodbye is left to be said.
            self.events.send(ExecEvent::SpawnFailed { id: launch.id, failure }).ok();
        }
    }

    fn stop(&mut self, attempt: &AttemptId, stop: StopTree) {
        self.give(&translate::stop(attempt, stop));
    }

    fn input(&mut self, attempt: &AttemptId, text: &str) {
        let order = Order::Input { key: attempt.to_string(), text: text.to_owned() };
        if let Err(TooLong) = self.outgoing.order(&order) {
            let text = format!("what was typed is left out: {} bytes are too many at once", text.len());
            // Nobody listens any more where only the goodbye is left to be said.
            self.events.send(ExecEvent::Warning { id: Some(attempt.clone()), text }).ok();
        }
    }

    fn resize(&mut self, attempt: &AttemptId, size: TerminalSize) {
        self.give(&Order::Resize { key: attempt.to_string(), rows: size.rows, cols: size.cols });
    }

    fn ack(&mut self, seq: u64) {
        // Nobody waits for it: it goes with the next order, or when the actor is done with this turn.
        self.outgoing.append(&Order::Ack { seq }).ok();
    }
}

impl LocalExecutor {
    /// What has a key and numbers, and is never too long.
    fn give(&self, order: &Order) {
        self.outgoing.order(order).ok();
    }
}

/// The keeper would close the line on it, each time.
#[derive(Debug)]
struct TooLong;

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
    socket: Option<Arc<UnixStream>>,
    backlog: Backlog,
    /// The goodbye is said.
    closing: bool,
}

/// Bytes that wait, the first of which are sent already.
#[derive(Debug, Default)]
struct Backlog {
    bytes: Vec<u8>,
    sent: usize,
}

impl Backlog {
    fn waiting(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    fn is_sent(&mut self, more: usize) {
        self.sent += more;
        if self.sent >= self.bytes.len() {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.sent = 0;
        self.bytes.clear();
        self.bytes.shrink_to(PORTION);
    }
}

impl Outgoing {
    fn out(&self) -> MutexGuard<'_, Out> {
        // Nothing panics while it is held.
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self, order: &Order) -> Result<(), TooLong> {
        // Behind what the socket does not take for now, there is nothing to try.
        let is_full = self.out().backlog.waiting().len() > PORTION;
        self.append(order)?;
        let mut out = self.out();
        if let Some(socket) = out.socket.clone().filter(|_| !is_full) {
            // What does not go is sent by the task; a broken socket is noticed by the one who reads.
            let sent = (&*socket).write(out.backlog.waiting()).unwrap_or(0);
            out.backlog.is_sent(sent);
        }
        Ok(())
    }

    fn append(&self, order: &Order) -> Result<(), TooLong> {
        let mut out = self.out();
        if out.socket.is_some() {
            let line = encode(order);
            if line.len() > MAX_LINE {
                return Err(TooLong);
            }
            out.backlog.bytes.extend_from_slice(&line);
            self.waiting.notify_one();
        }
        Ok(())
    }

    fn close(&self) {
        // As short as can be.
        self.order(&Order::Goodbye).ok();
        self.out().closing = true;
        self.waiting.notify_one();
    }

    /// The hello is the first that goes.
    fn connect(&self, socket: Arc<UnixStream>, hello: &Order) {
        {
            let mut out = self.out();
            out.backlog.clear();
            out.socket = Some(socket);
        }
        // It has the arguments of a process that was started with them.
        self.order(hello).ok();
        if self.out().closing {
            self.close();
        }
    }

    fn disconnect(&self) {
        let mut out = self.out();
        out.backlog.clear();
        out.socket = None;
    }

    /// Sends what waits; true once the goodbye is out.
    async fn flush(&self, socket: &UnixStream) -> io::Result<bool> {
        loop {
            {
                let mut out = self.out();
                if out.backlog.waiting().is_empty() {
                    return Ok(out.closing);
                }
                match (&*socket).write(out.backlog.waiting()) {
                    Ok(sent) => {
                        out.backlog.is_sent(sent);
                        continue;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            room(socket).await?;
        }
    }
}

/// Resolves when the socket takes more. Asked for only where it does not: otherwise each order that the keeper takes
/// out would wake us.
async fn room(socket: &UnixStream) -> io::Result<()> {
    // SAFETY: the value owns its descriptor, which stays open and the same for as long as the value lives.
    let waiting = unsafe { AsyncFd::register_with_interest(socket.try_clone()?, Interest::WRITABLE) }?;
    waiting.writable().await?.retain_ready();
    Ok(())
}

/// Adds what has come; 0 at the end.
async fn receive(socket: &AsyncFd<Arc<UnixStream>>, inbox: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        let mut ready = socket.readable().await?;
        let before = inbox.len();
        inbox.resize(before + PORTION, 0);
        let read = ready.try_io(|socket| (&**socket.get_ref()).read(&mut inbox[before..]));
        inbox.truncate(before + read.as_ref().map_or(0, |read| *read.as_ref().unwrap_or(&0)));
        match read {
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(Ok(length)) => {
                if length < PORTION {
                    // That was all; what comes now is told anew.
                    ready.clear_ready();
                }
                return Ok(length);
            }
            Ok(error) => return error,
            Err(_not_ready) => {}
        }
    }
}

async fn hold_line(
    place: KeeperPlace,
    mut introduction: Introduction,
    outgoing: Arc<Outgoing>,
    events: UnboundedSender<ExecEvent>,
) {
    const FIRST: Duration = Duration::from_millis(10);
    const CAP: Duration = Duration::from_secs(2);
    let mut pause = FIRST;
    let mut was_welcome = false;
    loop {
        let why = match reach(&place).await {
            Ok(stream) => {
                let talk = talk(stream, &introduction, &outgoing, &events).await;
                outgoing.disconnect();
                match talk {
                    Talk::Over => return,
                    // Our state knows less than the keeper's, because it was lost or lies elsewhere today. We have only
                    // begun, and have the lock: that one is not our successor.
                    Talk::Broken { epoch: Some(epoch), .. }
                        if !was_welcome && introduction.epoch <= epoch =>
                    {
                        introduction.epoch = epoch + 1;
                        continue;
                    }
                    Talk::Broken { welcomed, why, .. } => {
                        if welcomed {
                            pause = FIRST;
                            was_welcome = true;
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
    Ok(stream)
}

enum Talk {
    /// A goodbye was said, or nobody is left to say it.
    Over,
    Broken {
        welcomed: bool,
        why: String,
        /// Of the supervisor that the keeper holds to, where we are not that one.
        epoch: Option<u64>,
    },
}

async fn talk(
    stream: UnixStream,
    introduction: &Introduction,
    outgoing: &Outgoing,
    events: &UnboundedSender<ExecEvent>,
) -> Talk {
    let mut welcomed = false;
    let mut is_said = false;
    let broken = |welcomed, why: String| Talk::Broken { welcomed, why, epoch: None };
    let socket = Arc::new(stream);
    // SAFETY: the value shares in owning its descriptor, which stays open and the same for as long as the value lives.
    let registered = unsafe { AsyncFd::register_with_interest(Arc::clone(&socket), Interest::READABLE) };
    let reports = match registered {
        Ok(reports) => reports,
        Err(error) => return broken(welcomed, error.to_string()),
    };
    let hello = Order::Hello {
        version: VERSION,
        epoch: introduction.epoch,
        policy: introduction.policy,
        successor: introduction.successor.clone(),
    };
    outgoing.connect(Arc::clone(&socket), &hello);
    let mut inbox = Vec::new();
    loop {
        tokio::select! {
            () = outgoing.waiting.notified() => match outgoing.flush(&socket).await {
                Ok(all) => is_said = all,
                Err(error) => return broken(welcomed, error.to_string()),
            },
            // Not cancelled half-way: what was read so far stays in the inbox.
            read = receive(&reports, &mut inbox) => match read {
                Ok(0) => return broken(welcomed, "the keeper closed the line".into()),
                Err(error) => return broken(welcomed, error.to_string()),
                Ok(_) => {
                    for report in whole_lines(&mut inbox) {
                        match report {
                            Err(error) => {
                                return broken(welcomed, format!("the keeper said something unknown: {error}"));
                            }
                            Ok(Report::Refused { .. }) if is_said => return Talk::Over,
                            Ok(Report::Refused { why, epoch }) => {
                                let why = format!("the keeper refused: {why}");
                                return Talk::Broken { welcomed, why, epoch };
                            }
                            Ok(report) => {
                                welcomed = true;
                                if let Some(event) = translate::event(report) {
                                    // Nobody listens any more where only the goodbye is left to be said.
                                    events.send(event).ok();
                                }
                            }
                        }
                    }
                }
            },
        }
        // A keeper that has not answered yet may be going, and hear nothing any more: the next one is told, then.
        if is_said && welcomed {
            return Talk::Over;
        }
    }
}

/// Takes the reports out that have come whole.
fn whole_lines(inbox: &mut Vec<u8>) -> Vec<serde_json::Result<Report>> {
    let whole = inbox.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let reports = inbox[..whole]
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(serde_json::from_slice)
        .collect();
    inbox.drain(..whole);
    inbox.shrink_to(PORTION);
    reports
}

fn encode(order: &Order) -> Vec<u8> {
    // Orders are plain data with string keys: this cannot fail.
    let mut line = serde_json::to_vec(order).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn hears_a_goodbye(stream: &UnixStream) -> bool {
        let mut orders = serde_json::Deserializer::from_reader(stream).into_iter::<Order>();
        orders.any(|order| order.is_ok_and(|order| order == Order::Goodbye))
    }

    /// A keeper that goes reads nothing any more.
    #[tokio::test]
    async fn a_goodbye_that_was_not_heard_is_said_to_the_next_keeper() {
        let dir = tempfile::tempdir().unwrap();
        let place =
            KeeperPlace { data_dir: dir.path().join("data"), runtime_dir: dir.path().into(), cgroups: false };
        let listener = UnixListener::bind(dir.path().join("keeper.sock")).unwrap();
        let keepers = std::thread::spawn(move || {
            let (first, _) = listener.accept().unwrap();
            assert!(hears_a_goodbye(&first));
            drop(first);
            let (mut second, _) = listener.accept().unwrap();
            let welcome = Report::Welcome {
                version: VERSION,
                keeper_pid: 1,
                guarded: true,
                cgroups: false,
                live: Vec::new(),
                exits: Vec::new(),
            };
            serde_json::to_writer(&mut second, &welcome).unwrap();
            second.write_all(b"\n").unwrap();
            hears_a_goodbye(&second)
        });
        let introduction = Introduction { epoch: 1, policy: Policy::Keep, successor: Vec::new() };
        let (events, _kept) = tokio::sync::mpsc::unbounded_channel();
        let (_executor, line) = LocalExecutor::start(place, introduction, events);
        line.goodbye(Duration::from_secs(20)).await;
        assert!(keepers.join().unwrap());
    }
}
