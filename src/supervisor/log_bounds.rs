//! Keeps logs with a `log_max_bytes` within it while they grow. The kernel tells that a log was written to; after each
//! look the ear is closed for a moment, so a child that prints without pause costs a few looks a second and a silent
//! one nothing at all.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use crate::domain::ids::RunnerName;
use crate::logs::bounds::{LogBound, Look};

const DEAF_FOR: Duration = Duration::from_millis(100);

/// Something that a person should know of the log of a runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTrouble {
    /// Somebody truncated it: bytes of the child are lost unless it goes on through a pipe.
    Shrunk {
        from: u64,
        to: u64,
    },
    /// The file system cannot free the middle of a file: this log grows without bound.
    Unbounded,
    Failed {
        message: String,
    },
}

/// The handle; dropping it ends the watch.
#[derive(Debug)]
pub struct LogBounds {
    orders: UnboundedSender<Order>,
}

#[derive(Debug)]
enum Order {
    Watch { runner: RunnerName, log: PathBuf, max: u64 },
    Forget { runner: RunnerName },
}

impl LogBounds {
    /// Starts the task. Without inotify (a limit of the user reached) it looks at fixed distances instead.
    pub fn start(trouble: impl Fn(RunnerName, LogTrouble) + Send + 'static) -> Self {
        let (orders, queue) = unbounded_channel();
        tokio::spawn(watch(queue, trouble));
        Self { orders }
    }

    /// From now on this log of this runner; an earlier one of it is forgotten.
    pub fn watch(&self, runner: RunnerName, log: PathBuf, max: u64) {
        self.order(Order::Watch { runner, log, max });
    }

    pub fn forget(&self, runner: RunnerName) {
        self.order(Order::Forget { runner });
    }

    fn order(&self, order: Order) {
        // The task ends only with this handle or the runtime.
        self.orders.send(order).ok();
    }
}

struct Watched {
    log: PathBuf,
    bound: LogBound,
    ear: Ear,
    told_unbounded: bool,
}

enum Ear {
    Open(WatchDescriptor),
    /// It stands in the queue of looks.
    Closed,
}

/// What tokio wants to know of a descriptor.
struct Ears(Inotify);

impl AsRawFd for Ears {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

struct Watch<F> {
    inotify: Option<AsyncFd<Ears>>,
    /// The closed ears by the time of their next look; one that was opened meanwhile is passed over.
    looks: BinaryHeap<Reverse<(Instant, RunnerName)>>,
    logs: HashMap<RunnerName, Watched>,
    by_ear: HashMap<WatchDescriptor, RunnerName>,
    trouble: F,
}

async fn watch(mut orders: UnboundedReceiver<Order>, trouble: impl Fn(RunnerName, LogTrouble)) {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok();
    // SAFETY: the value owns its descriptor, which stays open and the same for as long as the value lives.
    let inotify = inotify.and_then(|inotify| unsafe { AsyncFd::register(Ears(inotify)) }.ok());
    let mut watch =
        Watch { inotify, looks: BinaryHeap::new(), logs: HashMap::new(), by_ear: HashMap::new(), trouble };
    loop {
        let next = watch.next_look();
        tokio::select! {
            order = orders.recv() => match order {
                Some(order) => watch.on_order(order),
                None => return,
            },
            heard = heard(watch.inotify.as_ref()) => watch.on_heard(&heard),
            () = tokio::time::sleep_until(next.unwrap_or_else(far)), if next.is_some() => watch.look_at_due(),
        }
    }
}

fn far() -> Instant {
    Instant::now() + Duration::from_hours(1)
}

/// The logs that were written to.
async fn heard(inotify: Option<&AsyncFd<Ears>>) -> Vec<WatchDescriptor> {
    let Some(inotify) = inotify else { return std::future::pending().await };
    let Ok(mut ready) = inotify.readable().await else { return std::future::pending().await };
    match ready.get_inner().0.read_events() {
        Ok(events) => events.into_iter().map(|event| event.wd).collect(),
        Err(Errno::EAGAIN) => {
            ready.clear_ready();
            Vec::new()
        }
        Err(_) => Vec::new(),
    }
}

impl<F: Fn(RunnerName, LogTrouble)> Watch<F> {
    fn on_order(&mut self, order: Order) {
        match order {
            Order::Watch { runner, log, max } => {
                self.close_ear(&runner);
                let watched =
                    Watched { log, bound: LogBound::new(max), ear: Ear::Closed, told_unbounded: false };
                self.looks.push(Reverse((Instant::now(), runner.clone())));
                self.logs.insert(runner, watched);
            }
            Order::Forget { runner } => {
                // What was printed since the last look counts, too.
                self.look(&runner);
                self.close_ear(&runner);
                self.logs.remove(&runner);
            }
        }
    }

    fn on_heard(&mut self, ears: &[WatchDescriptor]) {
        for ear in ears {
            // A log that was written to several times is told once; the rest finds its ear closed.
            if let Some(runner) = self.by_ear.get(ear).cloned() {
                self.close_ear(&runner);
                self.look(&runner);
            }
        }
    }

    fn look_at_due(&mut self) {
        let now = Instant::now();
        while self.next_look().is_some_and(|at| at <= now) {
            let Some(Reverse((_, runner))) = self.looks.pop() else { return };
            if self.logs.get(&runner).is_some_and(|watched| matches!(watched.ear, Ear::Closed)) {
                // First the ear, then the look: nothing falls in between.
                self.open_ear(&runner);
                self.look(&runner);
            }
        }
    }

    fn next_look(&self) -> Option<Instant> {
        self.looks.peek().map(|Reverse((at, _))| *at)
    }

    fn open_ear(&mut self, runner: &RunnerName) {
        let Some(watched) = self.logs.get_mut(runner) else { return };
        let ear = self
            .inotify
            .as_ref()
            .and_then(|inotify| inotify.get_ref().0.add_watch(&watched.log, AddWatchFlags::IN_MODIFY).ok());
        match ear {
            Some(ear) => {
                watched.ear = Ear::Open(ear);
                self.by_ear.insert(ear, runner.clone());
            }
            // The log is not there yet, or there are no watches left.
            None => self.close_for(runner, DEAF_FOR * 10),
        }
    }

    fn close_ear(&mut self, runner: &RunnerName) {
        let Some(watched) = self.logs.get_mut(runner) else { return };
        if let Ear::Open(ear) = watched.ear {
            if let Some(inotify) = &self.inotify {
                // It is gone with its file otherwise.
                inotify.get_ref().0.rm_watch(ear).ok();
            }
            self.by_ear.remove(&ear);
        }
        self.close_for(runner, DEAF_FOR);
    }

    fn close_for(&mut self, runner: &RunnerName, time: Duration) {
        let at = Instant::now() + time;
        if let Some(watched) = self.logs.get_mut(runner) {
            watched.ear = Ear::Closed;
            self.looks.push(Reverse((at, runner.clone())));
        }
    }

    fn look(&mut self, runner: &RunnerName) {
        let Some(watched) = self.logs.get_mut(runner) else { return };
        let told = match watched.bound.enforce(&watched.log) {
            Ok(Some(Look::Shrunk { from, to })) => Some(LogTrouble::Shrunk { from, to }),
            Ok(Some(Look::Unbounded)) if !watched.told_unbounded => {
                watched.told_unbounded = true;
                Some(LogTrouble::Unbounded)
            }
            Ok(Some(Look::Unbounded | Look::Within { .. } | Look::Punched { .. }) | None) => None,
            // It is watched before its first byte is written.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                Some(LogTrouble::Failed { message: format!("bound {}: {error}", watched.log.display()) })
            }
        };
        if let Some(trouble) = told {
            (self.trouble)(runner.clone(), trouble);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[tokio::test]
    async fn a_log_that_grows_stays_within_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a_1.log");
        let mut log = std::fs::OpenOptions::new().append(true).create(true).open(&path).unwrap();
        let bounds = LogBounds::start(|_, trouble| panic!("{trouble:?}"));
        let max = 1 << 20;
        bounds.watch(RunnerName::trusted("a"), path.clone(), max);
        for _ in 0..64 {
            log.write_all(&vec![b'x'; 128 << 10]).unwrap();
            tokio::task::yield_now().await;
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::fs::metadata(&path).unwrap().blocks() * 512 > max {
            assert!(Instant::now() < deadline, "it was never bounded");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 8 << 20, "no byte moved");
    }
}
