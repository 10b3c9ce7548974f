//! The server side: accepts clients, hands their requests to the supervisor, tells them what changes. It decides
//! nothing, and no client can make it wait: each has tasks of its own, and one that does not read is dropped.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};
use tokio::task::JoinSet;

use super::lines::{Line, read_line, read_on};
use super::lock::file_id;
use super::outbox::{Outbox, Waiting, outbox};
use super::socket::Bound;
use super::watch::{Of, Watch};
use super::wire::{
    self, Answer, ClientLine, Command, MAX_CLIENT_LINE, ServerLine, USUAL_CLIENT_LINE, Welcome,
};
use crate::domain::flow::ask::FlowRequest;
use crate::domain::flow::refusal::Refusal;
use crate::domain::view::Update;
use crate::flow::handle::FlowHandle;
use crate::supervisor::handle::{Handle, Request, WordsOnly, YOUTH};

/// More at once are refused; ten are usual.
const MAX_CLIENTS: usize = 128;
/// Requests of one client that are on their way at once; the next is read when one is answered.
const MAX_IN_FLIGHT: usize = 64;
/// Longer lines than usual that are in memory at once, whoever sends them.
const LONG_LINES: usize = 1;
/// A long line comes in within this time, or the place is somebody else's.
const LONG_LINE_TIMEOUT: Duration = Duration::from_secs(20);
/// What may wait for one client that does not read.
const MAX_WAITING_BYTES: usize = 8 << 20;
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// After an accept that failed (no descriptors left), and between two tries to bind anew.
const PAUSE: Duration = Duration::from_secs(1);
/// A folder is deleted within this time.
const SETTLED: Duration = Duration::from_millis(200);
/// How often it is tried in one go to be found again.
const TRIES: usize = 3;

/// What a server needs to know of its surroundings.
#[derive(Debug)]
pub struct Place {
    /// Where the socket may lie; the first that can be had is taken.
    pub folders: Vec<PathBuf>,
    /// Touched by a client that does not find the socket. It names the socket, so it has to be where it was.
    pub lock_file: PathBuf,
}

/// Bound and ready: clients that connect from now on are answered once [`Server::run`] is polled.
#[derive(Debug)]
pub struct Server {
    bound: Bound,
    place: Place,
    /// Not before [`YOUTH`] is over.
    watch: Option<Watch>,
    /// The lock file that is watched.
    lock_id: Option<(u64, u64)>,
    about: About,
}

/// What every connection needs.
#[derive(Debug, Clone)]
struct About {
    welcome: Arc<Welcome>,
    handle: Handle,
    flows: FlowHandle,
    long_lines: Arc<Semaphore>,
}

impl Server {
    /// On a socket that was bound in one of the folders of the place.
    pub fn new(bound: Bound, place: Place, welcome: Welcome, handle: Handle, flows: FlowHandle) -> Self {
        let lock_id = file_id(&place.lock_file);
        let long_lines = Arc::new(Semaphore::new(LONG_LINES));
        let about = About { welcome: Arc::new(welcome), handle, flows, long_lines };
        Self { bound, place, watch: None, lock_id, about }
    }

    /// Its place could not be written down: `moved` of [`Server::run`] hears of it with the next knock, until it can be.
    #[must_use]
    pub fn yet_to_be_announced(mut self) -> Self {
        self.lock_id = None;
        self
    }

    /// Where clients find it now.
    pub fn path(&self) -> &Path {
        &self.bound.path
    }

    /// Serves until `ending` resolves, then lets every client have what waits for it. `moved` hears of each new place
    /// of the socket, and when the lock file has gone; it makes that anew, and says whether it is there.
    pub async fn run(mut self, ending: impl Future<Output = ()>, mut moved: impl FnMut(&Path) -> bool) {
        let (last_call, closing) = watch::channel(());
        let mut clients = JoinSet::new();
        let youth = tokio::time::sleep(YOUTH);
        tokio::pin!(ending, youth);
        loop {
            tokio::select! {
                () = &mut ending => break,
                accepted = self.bound.listener.accept() => match accepted {
                    Ok((stream, _)) if clients.len() >= MAX_CLIENTS => drop(stream),
                    Ok((stream, _)) => {
                        clients.spawn(welcome(stream, self.about.clone(), closing.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "accept a client");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                () = &mut youth, if self.watch.is_none() => {
                    let watch = self.watch.insert(Watch::new());
                    watch.add(&self.place.lock_file, &[Of::Knocks]);
                    self.watch_folder();
                    // Whatever has happened before.
                    self.stay_findable(&mut moved).await;
                }
                () = changed(self.watch.as_ref()) => self.stay_findable(&mut moved).await,
                Some(_) = clients.join_next() => {}
            }
        }
        drop(last_call);
        drop(self);
        // A client that does not take its last lines by then has had its chance.
        tokio::time::timeout(FLUSH_TIMEOUT, async { while clients.join_next().await.is_some() {} })
            .await
            .ok();
    }

    async fn stay_findable(&mut self, moved: &mut impl FnMut(&Path) -> bool) {
        for _ in 0..TRIES {
            if self.lock_id.is_none() || file_id(&self.place.lock_file) != self.lock_id {
                // Whoever deletes it is perhaps still deleting what lies around it.
                tokio::time::sleep(SETTLED).await;
                let ours = moved(&self.bound.path);
                if let Some(watch) = &self.watch {
                    watch.add(&self.place.lock_file, &[Of::Knocks]);
                }
                self.lock_id = file_id(&self.place.lock_file).filter(|_| ours);
            }
            if !self.bound.is_there() {
                self.bind_anew(moved);
            }
            if self.lock_id.is_some() && self.bound.is_there() {
                return;
            }
            // What has failed is tried again; a knock tries again later.
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn bind_anew(&mut self, moved: &mut impl FnMut(&Path) -> bool) {
        match Bound::bind(&self.place.folders) {
            Ok(bound) => {
                tracing::warn!(path = %bound.path.display(), "the control socket was deleted; bound it anew");
                self.bound = bound;
                self.watch_folder();
                moved(&self.bound.path);
            }
            Err(error) => tracing::error!(%error, "bind the control socket anew"),
        }
    }

    fn watch_folder(&self) {
        if let (Some(watch), Some(folder)) = (&self.watch, self.bound.path.parent()) {
            watch.add(folder, &[Of::Removals]);
        }
        // It may have been deleted between the bind and the watch; the next knock finds that out.
    }
}

async fn changed(watch: Option<&Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// One client, from its first line to its last.
async fn welcome(stream: UnixStream, about: About, closing: watch::Receiver<()>) {
    let ours = nix::unistd::geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == ours || peer.uid() == 0 => {}
        Ok(peer) => {
            tracing::warn!(uid = peer.uid(), "refused a client of another user");
            return;
        }
        Err(error) => {
            tracing::warn!(%error, "ask who a client is");
            return;
        }
    }
    let _attached = about.handle.attach();
    let (read, write) = stream.into_split();
    let (outbox, waiting) = outbox(MAX_WAITING_BYTES);
    let alarm = outbox.alarm();
    let conversation = async {
        let sending = send(write, waiting);
        tokio::pin!(sending);
        tokio::select! {
            // The client cannot be written to: nothing it asks could be answered.
            () = &mut sending => return,
            () = receive(read, outbox, about, closing) => {}
        }
        tokio::time::timeout(FLUSH_TIMEOUT, sending).await.ok();
    };
    tokio::select! {
        () = conversation => {}
        () = alarm.rings() => tracing::warn!("dropped a client that does not read"),
    }
}

async fn send(mut write: OwnedWriteHalf, mut waiting: Waiting) {
    while let Some(line) = waiting.next().await {
        if write.write_all(&line).await.is_err() {
            return;
        }
        waiting.written(line.len());
    }
}

/// Reads until the client ends, talks nonsense, or the server closes. What was asked is answered even then.
async fn receive(read: OwnedReadHalf, outbox: Outbox, about: About, mut closing: watch::Receiver<()>) {
    let mut conversation = Conversation {
        reader: BufReader::new(read),
        line: Vec::new(),
        long: None,
        outbox,
        about,
        in_flight: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
        subscription: JoinSet::new(),
        closing: closing.clone(),
    };
    let end = tokio::select! {
        end = conversation.hold() => end,
        // The sender of this channel never sends; it is dropped.
        _ = closing.changed() => {
            while conversation.subscription.join_next().await.is_some() {}
            if conversation.in_flight.available_permits() == MAX_IN_FLIGHT {
                conversation.tell(&ServerLine::Ending);
            }
            End::Quiet
        }
    };
    if let End::Refused(why) = end {
        conversation.tell(&ServerLine::Refused { why });
    }
}

/// How a conversation ends.
enum End {
    Quiet,
    Refused(String),
}

struct Conversation {
    reader: BufReader<OwnedReadHalf>,
    line: Vec<u8>,
    /// The place of the line that was read last, where it is a long one, until it is answered.
    long: Option<OwnedSemaphorePermit>,
    outbox: Outbox,
    about: About,
    in_flight: Arc<Semaphore>,
    /// At most one; aborted with the conversation.
    subscription: JoinSet<()>,
    closing: watch::Receiver<()>,
}

impl Conversation {
    async fn hold(&mut self) -> End {
        match tokio::time::timeout(HELLO_TIMEOUT, self.next(USUAL_CLIENT_LINE)).await {
            Ok(Ok(ClientLine::Hello { version: wire::VERSION })) => {}
            Ok(Ok(ClientLine::Hello { version })) => {
                return End::Refused(format!(
                    "this supervisor speaks version {} of the protocol, the client version {version}; \
                     use the same restage for both, or `restage down` with the one that started it",
                    wire::VERSION
                ));
            }
            Ok(Ok(ClientLine::Ask { .. })) => {
                return End::Refused("the first line must be a hello with a version".into());
            }
            Ok(Err(end)) => return end,
            Err(_) => return End::Refused("no hello within 5 seconds".into()),
        }
        self.tell(&ServerLine::Welcome((*self.about.welcome).clone()));
        loop {
            match self.next(MAX_CLIENT_LINE).await {
                Ok(ClientLine::Ask { id, what }) => self.take(id, what).await,
                Ok(ClientLine::Hello { .. }) => return End::Refused("one hello is enough".into()),
                Err(end) => return end,
            }
        }
    }

    async fn next(&mut self, cap: usize) -> Result<ClientLine, End> {
        self.long = None;
        match read_line(&mut self.reader, &mut self.line, USUAL_CLIENT_LINE).await {
            Ok(Line::Complete) => parse(&self.line),
            Ok(Line::TooLong) if cap > USUAL_CLIENT_LINE => self.next_long(cap).await,
            Ok(Line::TooLong) => Err(End::Refused(format!("a line may have {cap} bytes at most"))),
            Ok(Line::End) | Err(_) => Err(End::Quiet),
        }
    }

    /// The rest of a line that is longer than usual. However many clients send one, memory is taken for few.
    async fn next_long(&mut self, cap: usize) -> Result<ClientLine, End> {
        self.long = Arc::clone(&self.about.long_lines).acquire_owned().await.ok();
        let reading = read_on(&mut self.reader, &mut self.line, cap);
        let read = tokio::time::timeout(LONG_LINE_TIMEOUT, reading).await;
        let line = std::mem::take(&mut self.line);
        match read {
            Ok(Ok(Line::Complete)) => parse(&line),
            Ok(Ok(Line::TooLong)) => Err(End::Refused(format!("a line may have {cap} bytes at most"))),
            Ok(Ok(Line::End) | Err(_)) => Err(End::Quiet),
            Err(_) => Err(End::Refused(format!("no end of a line within {}s", LONG_LINE_TIMEOUT.as_secs()))),
        }
    }

    async fn take(&mut self, id: u64, what: Command) {
        if let Command::Flow(request) = what {
            let permit = Arc::clone(&self.in_flight).acquire_owned().await.ok();
            let long = self.long.take();
            let (flows, outbox) = (self.about.flows.clone(), self.outbox.clone());
            let handle = self.about.handle.clone();
            tokio::spawn(async move {
                // Kept until it is answered: nothing is begun that would be interrupted at once.
                let Some(_busy) = handle.try_busy() else {
                    let with = Answer::from(Err(Refusal::Ending));
                    return outbox.push(wire::encode(&ServerLine::Answer { id, with }));
                };
                // What begins today goes by today's file, also where that was written a moment ago. One that is not
                // valid is told of, and the last valid one stays.
                if matches!(*request, FlowRequest::Run(_) | FlowRequest::Retry(_) | FlowRequest::Continue(_))
                {
                    handle.ask(Request::Reload).await.ok();
                }
                let with = Answer::from(flows.ask(*request).await);
                outbox.push(wire::encode(&ServerLine::Answer { id, with }));
                drop((permit, long));
            });
            return;
        }
        let words_only = what == Command::SubscribeToWords;
        let Some(request) = what.into_request() else {
            if self.subscription.is_empty() {
                let handle = &self.about.handle;
                let (updates, words) = if words_only {
                    let (updates, words) = handle.subscribe_to_words();
                    (updates, Some(words))
                } else {
                    (handle.subscribe(), None)
                };
                self.subscription.spawn(forward(updates, words, self.outbox.clone(), self.closing.clone()));
            }
            self.tell(&ServerLine::Answer { id, with: Answer::Done });
            return;
        };
        // The semaphore is never closed; were it, the request would be one too many at worst.
        let permit = Arc::clone(&self.in_flight).acquire_owned().await.ok();
        let (handle, outbox) = (self.about.handle.clone(), self.outbox.clone());
        // A task of its own, so that a stop still goes through when its client leaves at once.
        tokio::spawn(async move {
            let with = Answer::from(handle.ask(request).await);
            outbox.push(wire::encode(&ServerLine::Answer { id, with }));
            drop(permit);
        });
    }

    fn tell(&self, line: &ServerLine) {
        self.outbox.push(wire::encode(line));
    }
}

fn parse(line: &[u8]) -> Result<ClientLine, End> {
    serde_json::from_slice(line).map_err(|error| End::Refused(format!("this line is no request: {error}")))
}

/// Lines for somebody who only reads are gathered for so long, so that neither side is woken for each.
const GATHER: Duration = Duration::from_millis(10);

/// Passes on what changes, up to the last thing that was told before the end. Whoever falls behind hears of it and goes
/// on from there.
async fn forward(
    mut updates: broadcast::Receiver<Update>,
    words: Option<WordsOnly>,
    outbox: Outbox,
    mut closing: watch::Receiver<()>,
) {
    let mut lines = Vec::new();
    let push = |lines: &mut Vec<u8>| {
        if !lines.is_empty() {
            outbox.push(std::mem::take(lines));
        }
    };
    let mut gathered = std::pin::pin!(tokio::time::sleep(Duration::ZERO));
    loop {
        let received = tokio::select! {
            biased;
            received = updates.recv() => received,
            () = &mut gathered, if !lines.is_empty() => {
                push(&mut lines);
                continue;
            }
            _ = closing.changed() => return push(&mut lines),
        };
        let (line, may_wait) = match received {
            Ok(update) if words.is_some() && !update.is_word() => continue,
            Ok(update) => {
                let may_wait = words.is_some() && update.is_news();
                (ServerLine::Update(update), may_wait)
            }
            Err(RecvError::Lagged(missed)) => (ServerLine::Lagged { missed }, false),
            Err(RecvError::Closed) => return push(&mut lines),
        };
        if lines.is_empty() && may_wait {
            gathered.as_mut().reset(tokio::time::Instant::now() + GATHER);
        }
        lines.extend(wire::encode(&line));
        if !may_wait {
            push(&mut lines);
        }
    }
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
