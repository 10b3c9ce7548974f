//! The terminal emulation: a thread that feeds what an attempt prints, as it stands in its log, to a screen in memory,
//! and tells what the screen looks like, at most sixty times a second. It must not know what is typed.

use std::fs::File;
use std::io;
use std::num::NonZeroU16;
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

use super::{News, Shot, Told, Watch};
use crate::logs::blocks::{Piece, open_log, read_at};
use crate::logs::tail::{Follow, News as Added};

/// Between two pictures.
const FRAME: Duration = Duration::from_millis(16);

/// What of the past is looked at to know what is on the screen.
const PAST: u64 = 256 << 10;

/// A log that is ahead by more is not followed byte by byte: nobody could see it.
const FAR_BEHIND: u64 = 4 << 20;

/// Its thread ends when it is dropped.
#[derive(Debug)]
pub struct Worker {
    inbox: Option<mpsc::Sender<Watch>>,
    wake: Arc<EventFd>,
}

impl Worker {
    pub fn start(tell: impl Fn(News) + Send + 'static) -> io::Result<Self> {
        let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let (inbox, orders) = mpsc::channel();
        let desk = Desk {
            orders,
            wake: Arc::clone(&wake),
            watch: Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?,
            pause: TimerFd::new(
                ClockId::CLOCK_MONOTONIC,
                TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK,
            )?,
            is_paused: false,
            tell: Box::new(tell),
            number: 0,
            open: None,
        };
        std::thread::Builder::new().name("restage-attach".into()).spawn(move || desk.run())?;
        Ok(Self { inbox: Some(inbox), wake })
    }

    pub fn perform(&self, order: Watch) {
        if let Some(inbox) = &self.inbox {
            // It ends only with us.
            inbox.send(order).ok();
            self.wake.write(1).ok();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.inbox = None;
        self.wake.write(1).ok();
    }
}

struct Desk {
    orders: mpsc::Receiver<Watch>,
    wake: Arc<EventFd>,
    watch: Inotify,
    /// Runs while a picture was told a moment ago.
    pause: TimerFd,
    is_paused: bool,
    tell: Box<dyn Fn(News) + Send>,
    number: u64,
    open: Option<Open>,
}

struct Open {
    epoch: u64,
    follow: Follow,
    file: File,
    watched: Option<WatchDescriptor>,
    terminal: vt100::Parser,
}

impl Desk {
    fn run(mut self) {
        loop {
            loop {
                match self.orders.try_recv() {
                    Ok(order) => self.take(order),
                    Err(mpsc::TryRecvError::Empty) => break,
                    Err(mpsc::TryRecvError::Disconnected) => return,
                }
            }
            self.wait();
        }
    }

    fn take(&mut self, order: Watch) {
        match order {
            Watch::Open { epoch, log, rows, cols } => {
                self.close();
                match Open::begin(epoch, &log, rows, cols, &self.watch) {
                    Ok(open) => {
                        self.open = Some(open);
                        self.look();
                    }
                    Err(error) => {
                        let what = format!("read what it prints: {}: {error}", log.display());
                        (self.tell)(News { epoch, told: Told::Failed(what) });
                    }
                }
            }
            Watch::Size { rows, cols } => {
                if let Some(open) = &mut self.open {
                    open.resize(rows, cols);
                }
                self.look();
            }
            Watch::Close => self.close(),
        }
    }

    fn close(&mut self) {
        if let Some(watched) = self.open.take().and_then(|open| open.watched) {
            // The kernel may have taken it away already.
            self.watch.rm_watch(watched).ok();
        }
    }

    fn wait(&mut self) {
        let second = if self.is_paused { self.pause.as_fd() } else { self.watch.as_fd() };
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
            while self.watch.read_events().is_ok_and(|events| !events.is_empty()) {}
            self.look();
        }
    }

    /// Feeds what is new.
    fn look(&mut self) {
        let Some(open) = &mut self.open else { return };
        if let Err(error) = open.feed() {
            let told = Told::Failed(format!("read what it prints: {error}"));
            (self.tell)(News { epoch: open.epoch, told });
        }
        self.picture();
        let once = Expiration::OneShot(TimeSpec::from_duration(FRAME));
        self.is_paused = self.pause.set(once, TimerSetTimeFlags::empty()).is_ok();
    }

    fn picture(&mut self) {
        let Some(open) = &self.open else { return };
        self.number += 1;
        let screen = Arc::new(open.terminal.screen().clone());
        let told = Told::Screen(Shot { number: self.number, screen });
        (self.tell)(News { epoch: open.epoch, told });
    }
}

/// In one column there is no place for a wide character, and the emulation is not made for that.
fn terminal(rows: u16, cols: u16) -> vt100::Parser {
    let sized = |cells: u16| NonZeroU16::new(cells.max(2)).unwrap_or(NonZeroU16::MIN);
    vt100::Parser::new(sized(rows), sized(cols), 0)
}

impl Open {
    fn begin(epoch: u64, log: &Path, rows: u16, cols: u16, watch: &Inotify) -> io::Result<Self> {
        let file = open_log(log)?;
        // Of this very file, whatever lies at its path by now.
        let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
        let watched = watch.add_watch(Path::new(&itself), AddWatchFlags::IN_MODIFY).ok();
        let terminal = terminal(rows, cols);
        let follow = Follow::new(file.try_clone()?, 0);
        Ok(Self { epoch, follow, file, watched, terminal })
    }

    fn feed(&mut self) -> io::Result<()> {
        let len = self.file.metadata()?.len();
        if len.saturating_sub(self.follow.at()) > FAR_BEHIND || (self.follow.at() == 0 && len > PAST) {
            self.leap(len)?;
        }
        loop {
            let added = self.follow.read_new()?;
            if added.is_empty() {
                return Ok(());
            }
            for one in added {
                match one {
                    Added::Piece(Piece::Data { bytes, .. }) => self.show(&bytes),
                    Added::Piece(Piece::Gap { .. }) | Added::Shrunk { .. } => {}
                }
            }
        }
    }

    /// The emulation is somebody else's work and meets whatever a program prints: where it fails, the screen is begun
    /// anew.
    fn show(&mut self, bytes: &[u8]) {
        let terminal = &mut self.terminal;
        let shown = catch_unwind(AssertUnwindSafe(|| terminal.process(bytes)));
        if shown.is_err() {
            self.blank();
        }
    }

    fn blank(&mut self) {
        let (rows, cols) = self.terminal.screen().size();
        self.terminal = terminal(rows.get(), cols.get());
    }

    /// A screen of another size is made of what was printed last: what is on one cannot be made to fit another, and the
    /// program draws it anew as soon as it learns of the size.
    fn resize(&mut self, rows: u16, cols: u16) {
        self.terminal = terminal(rows, cols);
        if let Ok(file) = self.file.try_clone() {
            self.follow = Follow::new(file, 0);
        }
    }

    /// Goes on near the end, with the beginning of a line.
    fn leap(&mut self, len: u64) -> io::Result<()> {
        let from = len.saturating_sub(PAST);
        let bytes = read_at(&self.file, from, PAST)?;
        let line = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.blank();
        self.follow = Follow::new(self.file.try_clone()?, from + line as u64);
        Ok(())
    }
}
