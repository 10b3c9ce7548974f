//! A thread beside the dashboard that holds a file and hears when it changes, so that the dashboard never waits for a
//! disk. What it does with the file is its [`Desk`]'s matter. Where that fails, the desk says so and begins anew: a pane
//! must not stand still without a word.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// The work of one reader.
pub trait Desk: Send + 'static {
    type Order: Send;

    /// After something was told about a change, the next one is not looked at for so long; all that comes meanwhile is
    /// seen at once.
    const PAUSE: Duration;

    fn take(&mut self, order: Self::Order, ears: &Ears) -> Next;

    /// One step of what takes longer; false where there is nothing to do.
    fn work(&mut self) -> bool {
        false
    }

    /// What is watched has changed.
    fn look(&mut self, ears: &Ears) -> Next;

    /// It panicked: everything is to be forgotten, and that is to be told.
    fn broke(&mut self, ears: &Ears);
}

/// What follows a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Next {
    Listen,
    Pause,
}

/// What is watched.
#[derive(Debug)]
pub struct Ears(Inotify);

impl Ears {
    /// This very file, whatever lies at its path by now.
    pub fn on_file(&self, file: &impl AsRawFd) -> Option<WatchDescriptor> {
        let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
        self.0.add_watch(Path::new(&itself), AddWatchFlags::IN_MODIFY).ok()
    }

    /// Until something appears at this path: the nearest folder above it that is there.
    pub fn on_arrival(&self, path: &Path) -> Option<WatchDescriptor> {
        let arrivals = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
        path.ancestors().skip(1).find_map(|folder| self.0.add_watch(folder, arrivals).ok())
    }

    pub fn off(&self, watched: Option<WatchDescriptor>) {
        if let Some(watched) = watched {
            // The kernel may have taken it away already.
            self.0.rm_watch(watched).ok();
        }
    }
}

/// The way to the thread, which ends when this is dropped.
#[derive(Debug)]
pub struct Reader<O> {
    inbox: Option<mpsc::Sender<O>>,
    wake: Arc<EventFd>,
}

impl<O: Send + 'static> Reader<O> {
    pub fn start(name: &str, desk: impl Desk<Order = O>) -> io::Result<Self> {
        let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let (inbox, orders) = mpsc::channel();
        let pause =
            TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        let ears = Ears(Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?);
        let mut reading = Reading { desk, orders, wake: Arc::clone(&wake), ears, pause, is_paused: false };
        std::thread::Builder::new().name(name.to_owned()).spawn(move || reading.run())?;
        Ok(Self { inbox: Some(inbox), wake })
    }

    pub fn perform(&self, order: O) {
        if let Some(inbox) = &self.inbox {
            // It ends only with us.
            inbox.send(order).ok();
            self.wake.write(1).ok();
        }
    }
}

impl<O> Drop for Reader<O> {
    fn drop(&mut self) {
        self.inbox = None;
        self.wake.write(1).ok();
    }
}

struct Reading<D: Desk> {
    desk: D,
    orders: mpsc::Receiver<D::Order>,
    wake: Arc<EventFd>,
    ears: Ears,
    pause: TimerFd,
    is_paused: bool,
}

impl<D: Desk> Reading<D> {
    fn run(&mut self) {
        loop {
            match catch_unwind(AssertUnwindSafe(|| self.turn())) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => return,
                Err(_) => self.desk.broke(&self.ears),
            }
        }
    }

    fn turn(&mut self) -> ControlFlow<()> {
        loop {
            match self.orders.try_recv() {
                Ok(order) => {
                    let next = self.desk.take(order, &self.ears);
                    self.follow(next);
                }
                Err(mpsc::TryRecvError::Empty) => break,
                Err(mpsc::TryRecvError::Disconnected) => return ControlFlow::Break(()),
            }
        }
        if !self.desk.work() {
            self.wait();
        }
        ControlFlow::Continue(())
    }

    fn wait(&mut self) {
        let second = if self.is_paused { self.pause.as_fd() } else { self.ears.0.as_fd() };
        let mut fds =
            [PollFd::new(self.wake.as_fd(), PollFlags::POLLIN), PollFd::new(second, PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::NONE).is_err() {
            return;
        }
        let due = fds.get(1).is_some_and(|fd| fd.any().unwrap_or(false));
        self.wake.read().ok();
        if !due {
            return;
        }
        if self.is_paused {
            self.pause.unset().ok();
            self.is_paused = false;
        } else {
            while self.ears.0.read_events().is_ok_and(|events| !events.is_empty()) {}
            let next = self.desk.look(&self.ears);
            self.follow(next);
        }
    }

    fn follow(&mut self, next: Next) {
        if next == Next::Pause {
            let once = Expiration::OneShot(TimeSpec::from_duration(D::PAUSE));
            self.is_paused = self.pause.set(once, TimerSetTimeFlags::empty()).is_ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fragile(mpsc::Sender<&'static str>);

    impl Desk for Fragile {
        type Order = bool;
        const PAUSE: Duration = Duration::ZERO;

        fn take(&mut self, order: bool, _: &Ears) -> Next {
            assert!(order, "this order cannot be carried out");
            self.0.send("done").ok();
            Next::Listen
        }

        fn look(&mut self, _: &Ears) -> Next {
            Next::Listen
        }

        fn broke(&mut self, _: &Ears) {
            self.0.send("broke").ok();
        }
    }

    #[test]
    fn what_fails_is_told_and_the_next_order_is_taken() {
        let (tell, told) = mpsc::channel();
        let reader = Reader::start("fragile", Fragile(tell)).unwrap();
        for order in [true, false, true] {
            reader.perform(order);
        }
        let said: Vec<_> = (0..3).map(|_| told.recv_timeout(Duration::from_secs(20)).unwrap()).collect();
        assert_eq!(said, ["done", "broke", "done"]);
        drop(reader);
        assert_eq!(told.recv_timeout(Duration::from_secs(20)), Err(mpsc::RecvTimeoutError::Disconnected));
    }
}
