//! How everybody else talks to the actor: requests go in by a channel, each with its own answer; updates come out by a
//! broadcast, one per change. A listener that fell behind asks for a snapshot and goes on.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::domain::ids::RunnerName;
use crate::domain::time::Timestamp;
use crate::domain::view::{Notice, NoticeKind, RunnerView, Snapshot, Update};

/// A supervisor watches nothing before it is this old. To give up a watch takes the kernel some ten milliseconds, which
/// is more than the whole rest of what a supervisor of one short run does.
pub const YOUTH: Duration = Duration::from_secs(1);

/// How long notices are gathered.
const GATHER: Duration = Duration::from_millis(10);

/// What can be asked of the supervisor. An empty list of names means every runner.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Start now, with count 0, whatever it was doing; a no-op on one that is running.
    Start { names: Vec<RunnerName> },
    /// Stop the whole tree; never retried. During a backoff it cancels the retry.
    Stop { names: Vec<RunnerName> },
    /// Stop where needed, then start with count 0.
    Restart { names: Vec<RunnerName> },
    /// Stop without signal and grace.
    Kill { names: Vec<RunnerName> },
    /// All that is known, with figures (CPU, memory, last output) where asked.
    Snapshot { figures: bool },
    /// What a person typed into the terminal of a runner.
    Input { name: RunnerName, text: String },
    /// That terminal is shown at this size now.
    Resize { name: RunnerName, rows: u16, cols: u16 },
    /// Read the config file again now.
    Reload,
    /// Stop every runner, then end cleanly. A second one with `Kill` shortens the first.
    Shutdown { how: Shutdown },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shutdown {
    /// Stop signals and graces.
    Graceful,
    /// Kill at once.
    Kill,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// The request was taken up; these are the runners as they are now.
    Runners(Vec<Arc<RunnerView>>),
    Snapshot(Box<Snapshot>),
    Done,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("no runner is called {}; there are: {}", names.join(", "), known.join(", "))]
    UnknownRunner { names: Vec<String>, known: Vec<String> },
    #[error("type into {name}: {why}")]
    NoTerminal { name: String, why: String },
    #[error("reload {path}: {message}")]
    Config { path: String, message: String },
    #[error("the supervisor is ending")]
    Ending,
}

/// Cheap to clone; the actor ends its loop on [`Request::Shutdown`], not when handles are dropped.
#[derive(Debug, Clone)]
pub struct Handle {
    requests: mpsc::Sender<Ask>,
    updates: broadcast::Sender<Update>,
    attached: watch::Sender<usize>,
    busy: watch::Sender<usize>,
    word_readers: Arc<AtomicUsize>,
}

/// Says of somebody who listens that only words are of use to them. To be dropped after the receiver.
#[derive(Debug)]
pub struct WordsOnly(Arc<AtomicUsize>);

impl Drop for WordsOnly {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What somebody hears who only wants notices.
#[derive(Debug)]
pub struct Notices {
    pub(super) updates: broadcast::Receiver<Update>,
    _words: WordsOnly,
}

impl Notices {
    /// Hands over every notice until the end, and what was told before it; or how many were missed. What is told in
    /// one moment comes together and a moment later: whoever writes it is woken once, and not while something starts.
    pub async fn each(
        mut self,
        ending: impl Future<Output = ()>,
        mut tell: impl FnMut(Result<Arc<Notice>, u64>),
    ) {
        tokio::pin!(ending);
        loop {
            let first = tokio::select! {
                biased;
                received = self.updates.recv() => Some(received),
                () = &mut ending => None,
            };
            let over = match first {
                None | Some(Err(RecvError::Closed)) => true,
                // Nobody is to be told of it.
                Some(Ok(Update::Runner(_) | Update::Removed(_) | Update::Fleet(_) | Update::Flow(_))) => {
                    continue;
                }
                Some(first) => {
                    let over = tokio::select! {
                        () = tokio::time::sleep(GATHER) => false,
                        () = &mut ending => true,
                    };
                    match first {
                        Ok(Update::Notice(notice)) => tell(Ok(notice)),
                        Err(RecvError::Lagged(missed)) => tell(Err(missed)),
                        Ok(_) | Err(RecvError::Closed) => {}
                    }
                    over
                }
            };
            self.tell_rest(&mut tell);
            if over {
                return;
            }
        }
    }

    /// All that is there already.
    fn tell_rest(&mut self, tell: &mut impl FnMut(Result<Arc<Notice>, u64>)) {
        loop {
            match self.updates.try_recv() {
                Ok(Update::Notice(notice)) => tell(Ok(notice)),
                Ok(Update::Runner(_) | Update::Removed(_) | Update::Fleet(_) | Update::Flow(_)) => {}
                Err(TryRecvError::Lagged(missed)) => tell(Err(missed)),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }
}

/// Somebody who looks on; a background supervisor with nothing to do stays as long as this is kept.
#[derive(Debug)]
pub struct Attachment(watch::Sender<usize>);

impl Drop for Attachment {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// Work that is under way beside the runners, such as a run of a flow: the supervisor does not end for want of work as
/// long as this is kept.
#[derive(Debug)]
pub struct Busy(watch::Sender<usize>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_if_modified(|count| {
            let open = *count != CLOSED;
            if open {
                *count -= 1;
            }
            open
        });
    }
}

/// There is no work, and there will be none.
const CLOSED: usize = usize::MAX;

/// The actor's side of [`Busy`].
#[derive(Debug)]
pub struct Work {
    count: watch::Sender<usize>,
    changes: watch::Receiver<usize>,
}

impl Work {
    /// Whether there is any, as of now.
    pub fn is_there(&mut self) -> bool {
        !matches!(*self.changes.borrow_and_update(), 0 | CLOSED)
    }

    /// Resolves when there is more or less of it than at the last look.
    pub async fn changed(&mut self) {
        // We have a sender ourselves.
        self.changes.changed().await.ok();
    }

    /// From here on nobody gets any. False where there is some, and then nothing has changed.
    pub fn close(&self) -> bool {
        let mut closed = false;
        self.count.send_if_modified(|count| {
            closed = matches!(*count, 0 | CLOSED);
            if closed {
                *count = CLOSED;
            }
            false
        });
        closed
    }

    /// What was closed is open again.
    pub fn open(&self) {
        self.count.send_if_modified(|count| {
            if *count == CLOSED {
                *count = 0;
            }
            false
        });
    }
}

/// A request on its way, with the place for its answer.
#[derive(Debug)]
pub struct Ask {
    pub request: Request,
    pub answer: oneshot::Sender<Result<Reply, RequestError>>,
}

impl Handle {
    pub fn new(requests: mpsc::Sender<Ask>, updates: broadcast::Sender<Update>) -> Self {
        Self {
            requests,
            updates,
            attached: watch::Sender::new(0),
            busy: watch::Sender::new(0),
            word_readers: Arc::default(),
        }
    }

    pub async fn ask(&self, request: Request) -> Result<Reply, RequestError> {
        let (answer, reply) = oneshot::channel();
        self.requests.send(Ask { request, answer }).await.map_err(|_| RequestError::Ending)?;
        reply.await.map_err(|_| RequestError::Ending)?
    }

    /// Tells everybody who listens of something around the supervisor that went wrong.
    pub fn warn(&self, at: Timestamp, text: String) {
        let notice = Notice { at, runner: None, what: NoticeKind::Warning { text } };
        // Nobody may listen.
        self.updates.send(Update::Notice(Arc::new(notice))).ok();
    }

    /// Everything that changes from now on. Subscribe first, then ask for a snapshot: nothing falls in between.
    pub fn subscribe(&self) -> broadcast::Receiver<Update> {
        self.updates.subscribe()
    }

    /// The same for whoever makes nothing of what is no [word](Update::is_word). Where nobody else listens, only words are
    /// made; what is made for others has to be passed over.
    pub fn subscribe_to_words(&self) -> (broadcast::Receiver<Update>, WordsOnly) {
        // In this order, and the other way round at the end: at worst an update is made that nobody needs.
        let updates = self.updates.subscribe();
        self.word_readers.fetch_add(1, Ordering::Relaxed);
        (updates, WordsOnly(Arc::clone(&self.word_readers)))
    }

    /// The notices from now on.
    pub fn subscribe_to_notices(&self) -> Notices {
        let (updates, words) = self.subscribe_to_words();
        Notices { updates, _words: words }
    }

    /// How many of those who listen only want words, for the actor.
    pub fn word_readers(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.word_readers)
    }

    /// To be kept by everybody who listens for longer than one request.
    pub fn attach(&self) -> Attachment {
        self.attached.send_modify(|count| *count += 1);
        Attachment(self.attached.clone())
    }

    /// How many are attached, for the actor.
    pub fn attached(&self) -> watch::Receiver<usize> {
        self.attached.subscribe()
    }

    /// To be kept by whoever has work under way that the actor does not know of.
    pub fn busy(&self) -> Busy {
        self.count_work();
        Busy(self.busy.clone())
    }

    /// The same for whoever must not begin with what the actor will not wait for: `None` where it has decided to end.
    pub fn try_busy(&self) -> Option<Busy> {
        self.count_work().then(|| Busy(self.busy.clone()))
    }

    fn count_work(&self) -> bool {
        self.busy.send_if_modified(|count| {
            let open = *count != CLOSED;
            if open {
                *count += 1;
            }
            open
        })
    }

    /// Such work as the actor sees it.
    pub fn work(&self) -> Work {
        Work { count: self.busy.clone(), changes: self.busy.subscribe() }
    }

    /// Whether anybody would hear of what is no word.
    pub fn has_listeners(&self) -> bool {
        self.updates.receiver_count() > self.word_readers.load(Ordering::Relaxed)
    }

    /// Tells everybody who listens of something that is not the actor's.
    pub fn publish(&self, update: Update) {
        // The last listener may have left.
        self.updates.send(update).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_decided_to_end_is_given_no_more_work() {
        let (requests, _asks) = mpsc::channel(1);
        let handle = Handle::new(requests, broadcast::channel(1).0);
        let mut work = handle.work();
        let first = handle.try_busy();
        assert!(first.is_some() && work.is_there() && !work.close());
        drop(first);
        assert!(!work.is_there() && work.close() && work.close());
        assert!(handle.try_busy().is_none());
        // What is kept all the same counts for nothing.
        drop(handle.busy());
        assert!(!work.is_there() && work.close());
        work.open();
        assert!(handle.try_busy().is_some());
    }
}
