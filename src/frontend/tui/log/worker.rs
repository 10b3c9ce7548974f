//! The one who reads: a thread that holds the log that is shown, answers questions about it and tells when it grows, so
//! that the dashboard never waits for a disk. It reads what was asked for and nothing else, step by step, and a newer
//! question finds it ready. It must not know what is on the screen.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::question::{Cmd, News, Told};
use super::reading::{Finding, Job, MOST_TEXT};
use crate::logs::blocks::open_log;
use crate::logs::index::{LineIndex, Progress};

/// Growth is told at most this often, however fast the writer is.
const QUIET: Duration = Duration::from_millis(40);

/// Lines are counted in logs up to this size; of a larger one the size says as much.
const COUNTED: u64 = 16 << 20;

/// How much is counted between two looks for a question.
const COUNT_STEP: u64 = 1 << 20;

/// Its thread ends when it is dropped.
#[derive(Debug)]
pub struct Worker {
    inbox: Option<mpsc::Sender<Cmd>>,
    wake: Arc<EventFd>,
}

impl Worker {
    pub fn start(tell: impl Fn(News) + Send + 'static) -> io::Result<Self> {
        let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let (inbox, questions) = mpsc::channel();
        let quiet =
            TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        let desk = Desk {
            questions,
            wake: Arc::clone(&wake),
            watch: Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?,
            quiet,
            is_quiet: false,
            tell: Box::new(tell),
            open: None,
        };
        std::thread::Builder::new().name("restage-log".into()).spawn(move || desk.run())?;
        Ok(Self { inbox: Some(inbox), wake })
    }

    pub fn perform(&self, cmd: Cmd) {
        if let Some(inbox) = &self.inbox {
            // It ends only with us.
            inbox.send(cmd).ok();
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
    questions: mpsc::Receiver<Cmd>,
    wake: Arc<EventFd>,
    watch: Inotify,
    /// Runs while growth was told a moment ago.
    quiet: TimerFd,
    is_quiet: bool,
    tell: Box<dyn Fn(News) + Send>,
    open: Option<Open>,
}

/// The log that is shown.
struct Open {
    epoch: u64,
    path: PathBuf,
    watched: Option<WatchDescriptor>,
    /// `None` while there is no such file.
    file: Option<File>,
    len: u64,
    jobs: VecDeque<Job>,
    finding: Option<Finding>,
    index: LineIndex,
    counting: bool,
}

impl Desk {
    fn run(mut self) {
        loop {
            loop {
                match self.questions.try_recv() {
                    Ok(cmd) => self.take(cmd),
                    Err(mpsc::TryRecvError::Empty) => break,
                    Err(mpsc::TryRecvError::Disconnected) => return,
                }
            }
            if !self.work() {
                self.wait();
            }
        }
    }

    fn take(&mut self, cmd: Cmd) {
        if let Some(epoch) = cmd.epoch()
            && self.open.as_ref().is_none_or(|open| open.epoch != epoch)
        {
            return;
        }
        match cmd {
            Cmd::Open { epoch, path } => {
                self.close();
                let mut open = Open {
                    epoch,
                    path,
                    watched: None,
                    file: None,
                    len: 0,
                    jobs: VecDeque::new(),
                    finding: None,
                    index: LineIndex::default(),
                    counting: false,
                };
                let told = open.begin(&self.watch);
                self.open = Some(open);
                self.tell(told);
            }
            Cmd::Close => self.close(),
            Cmd::Read { view, read, filter, want, .. } => self.add(|open, file| {
                open.jobs.retain(|job| !job.is_read());
                open.jobs.push_back(Job::read(file, view, read, filter, want)?);
                Ok(())
            }),
            Cmd::Find { pattern, filter, from, way, .. } => self.add(|open, file| {
                open.finding = Some(Finding::begin(file, pattern, filter, from, way)?);
                Ok(())
            }),
            Cmd::StopFinding { .. } => self.add(|open, _| {
                open.finding = None;
                Ok(())
            }),
            Cmd::Text { range, .. } => {
                let bytes = range.end.saturating_sub(range.start);
                if bytes > MOST_TEXT {
                    return self.tell(Told::TooMuch { bytes });
                }
                self.add(|open, _| {
                    open.jobs.push_back(Job::text(range));
                    Ok(())
                });
            }
            Cmd::Save { range, to, .. } => self.add(|open, _| {
                open.jobs.push_back(Job::save(range, to));
                Ok(())
            }),
        }
    }

    /// Takes up a question about the file, where there is one.
    fn add(&mut self, take: impl FnOnce(&mut Open, &File) -> io::Result<()>) {
        let Some(open) = &mut self.open else { return };
        let Some(file) = open.file.take() else { return };
        let taken = take(open, &file);
        open.file = Some(file);
        if let Err(error) = taken {
            let what = format!("read {}: {error}", open.path.display());
            self.tell(Told::Failed(what));
        }
    }

    fn close(&mut self) {
        if let Some(watched) = self.open.take().and_then(|open| open.watched) {
            // The kernel may have taken it away already.
            self.watch.rm_watch(watched).ok();
        }
    }

    /// One step of what is to be done; false where there is nothing.
    fn work(&mut self) -> bool {
        let Some(open) = &mut self.open else { return false };
        let Some(file) = &open.file else { return false };
        let stepped = if let Some(job) = open.jobs.front_mut() {
            let stepped = job.step(file).map_err(|error| format!("{}: {error}", job.act()));
            if stepped.as_ref().map_or(true, |(_, over)| *over) {
                open.jobs.pop_front();
            }
            stepped
        } else if let Some(finding) = &mut open.finding {
            let stepped = finding.step(file).map_err(|error| format!("search the log: {error}"));
            if stepped.as_ref().map_or(true, |(_, over)| *over) {
                open.finding = None;
            }
            stepped
        } else if open.counting {
            Ok((open.count(), false))
        } else {
            return false;
        };
        match stepped {
            Ok((Some(told), _)) => self.tell(told),
            Ok((None, _)) => {}
            Err(what) => self.tell(Told::Failed(what)),
        }
        true
    }

    fn wait(&mut self) {
        let mut fds = vec![PollFd::new(self.wake.as_fd(), PollFlags::POLLIN)];
        // While it is quiet, what is written is not looked at; it is all seen at once afterwards.
        fds.push(if self.is_quiet {
            PollFd::new(self.quiet.as_fd(), PollFlags::POLLIN)
        } else {
            PollFd::new(self.watch.as_fd(), PollFlags::POLLIN)
        });
        if poll(&mut fds, PollTimeout::NONE).is_err() {
            return;
        }
        let second = fds.get(1).is_some_and(|fd| fd.any().unwrap_or(false));
        self.wake.read().ok();
        if !second {
            return;
        }
        if self.is_quiet {
            self.quiet.unset().ok();
            self.is_quiet = false;
        } else {
            while self.watch.read_events().is_ok_and(|events| !events.is_empty()) {}
            self.look();
        }
    }

    /// The file, or the folder that it will be in, has changed.
    fn look(&mut self) {
        let Some(open) = &mut self.open else { return };
        let told = match &open.file {
            None => {
                let told = open.begin(&self.watch);
                if told == Told::Missing {
                    return;
                }
                told
            }
            Some(file) => {
                let Ok(len) = file.metadata().map(|meta| meta.len()) else { return };
                let before = std::mem::replace(&mut open.len, len);
                open.counting = len <= COUNTED;
                match len.cmp(&before) {
                    std::cmp::Ordering::Equal => return,
                    std::cmp::Ordering::Less => Told::Shrunk { len },
                    std::cmp::Ordering::Greater => Told::Grew { len },
                }
            }
        };
        self.tell(told);
        let once = Expiration::OneShot(TimeSpec::from_duration(QUIET));
        self.is_quiet = self.quiet.set(once, TimerSetTimeFlags::empty()).is_ok();
    }

    fn tell(&self, told: Told) {
        if let Some(open) = &self.open {
            (self.tell)(News { epoch: open.epoch, told });
        }
    }
}

impl Open {
    /// Opens and watches the file; where it is not there, the nearest folder that is.
    fn begin(&mut self, watch: &Inotify) -> Told {
        if let Some(watched) = self.watched.take() {
            watch.rm_watch(watched).ok();
        }
        match open_log(&self.path) {
            Ok(file) => {
                // Of this very file, whatever lies at its path by now.
                let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
                self.watched = watch.add_watch(Path::new(&itself), AddWatchFlags::IN_MODIFY).ok();
                self.len = file.metadata().map_or(0, |meta| meta.len());
                self.counting = self.len <= COUNTED;
                self.file = Some(file);
                Told::Opened { len: self.len }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let arrivals = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
                let mut folders = self.path.ancestors().skip(1);
                self.watched = folders.find_map(|folder| watch.add_watch(folder, arrivals).ok());
                if self.path.exists() {
                    // It came between the two looks.
                    return self.begin(watch);
                }
                Told::Missing
            }
            Err(error) => Told::Failed(format!("open {}: {error}", self.path.display())),
        }
    }

    /// Counts on; says how many lines there are once that is known.
    fn count(&mut self) -> Option<Told> {
        let file = self.file.as_ref()?;
        let before = self.index.lines();
        match self.index.advance(file, COUNT_STEP) {
            Ok(Progress::More) => return None,
            Ok(Progress::Shrunk) => {}
            Ok(Progress::UpToDate) | Err(_) => self.counting = false,
        }
        let lines = self.index.lines();
        (lines != before && !self.counting).then_some(Told::Counted { lines })
    }
}
