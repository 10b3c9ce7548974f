//! The one who reads: a thread that holds the log that is shown, answers questions about it and tells when it grows, so
//! that the dashboard never waits for a disk. It reads what was asked for and nothing else, step by step, and a newer
//! question finds it ready. It must not know what is on the screen.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::inotify::WatchDescriptor;

use super::content;
use super::question::{Cmd, News, Told};
use super::reading::{Finding, Job, MOST_TEXT};
use crate::frontend::tui::reader::{self, Ears, Next, Reader};
use crate::logs::blocks::{open_log, read_at};
use crate::logs::index::{LineIndex, Progress};

/// Growth is told at most this often, however fast the writer is.
const QUIET: Duration = Duration::from_millis(40);

/// Lines are counted in logs up to this size; of a larger one the size says as much.
const COUNTED: u64 = 16 << 20;

/// How much is counted between two looks for a question.
const COUNT_STEP: u64 = 1 << 20;

pub type Worker = Reader<Cmd>;

pub fn start(tell: impl Fn(News) + Send + 'static) -> io::Result<Worker> {
    Reader::start("restage-log", Desk { tell: Box::new(tell), open: None })
}

struct Desk {
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

impl reader::Desk for Desk {
    type Order = Cmd;
    const PAUSE: Duration = QUIET;

    fn take(&mut self, cmd: Cmd, ears: &Ears) -> Next {
        self.answer(cmd, ears);
        Next::Listen
    }

    fn work(&mut self) -> bool {
        self.step()
    }

    fn look(&mut self, ears: &Ears) -> Next {
        let Some(told) = self.open.as_mut().and_then(|open| open.look(ears)) else { return Next::Listen };
        self.tell(told);
        Next::Pause
    }

    fn broke(&mut self, ears: &Ears) {
        self.tell(Told::Broke);
        self.close(ears);
    }
}

impl Desk {
    fn answer(&mut self, cmd: Cmd, ears: &Ears) {
        if let Some(epoch) = cmd.epoch()
            && self.open.as_ref().is_none_or(|open| open.epoch != epoch)
        {
            return;
        }
        match cmd {
            Cmd::Open { epoch, path } => {
                self.close(ears);
                let mut open = Open::new(epoch, path);
                let told = open.begin(ears);
                self.open = Some(open);
                self.tell(told);
            }
            Cmd::Look { epoch, path, text } => {
                self.close(ears);
                let mut open = Open::new(epoch, path);
                let told = open.look_into(text.as_deref());
                self.open = Some(open);
                self.tell(told);
            }
            Cmd::Close => self.close(ears),
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

    fn close(&mut self, ears: &Ears) {
        ears.off(self.open.take().and_then(|open| open.watched));
    }

    /// One step of what is to be done; false where there is nothing.
    fn step(&mut self) -> bool {
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

    fn tell(&self, told: Told) {
        if let Some(open) = &self.open {
            (self.tell)(News { epoch: open.epoch, told });
        }
    }
}

impl Open {
    fn new(epoch: u64, path: PathBuf) -> Self {
        Self {
            epoch,
            path,
            watched: None,
            file: None,
            len: 0,
            jobs: VecDeque::new(),
            finding: None,
            index: LineIndex::default(),
            counting: false,
        }
    }

    /// What a stage left: nobody writes to it any more, so it is not watched.
    fn look_into(&mut self, text: Option<&str>) -> Told {
        let opened = match text {
            Some(text) => content::as_file(text),
            None => open_log(&self.path),
        };
        let looked = opened.and_then(|file| {
            let start = read_at(&file, 0, content::LOOKED_AT)?;
            Ok((file.metadata()?.len(), start, file))
        });
        match looked {
            Ok((len, start, file)) => {
                (self.len, self.file) = (len, Some(file));
                if text.is_none() && content::is_binary(&start) {
                    return Told::Binary { len, start };
                }
                self.counting = len <= COUNTED;
                Told::Opened { len }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Told::Missing,
            Err(error) => Told::Failed(format!("open {}: {error}", self.path.display())),
        }
    }

    /// Opens and watches the file; where it is not there, the nearest folder that is.
    fn begin(&mut self, ears: &Ears) -> Told {
        ears.off(self.watched.take());
        match open_log(&self.path) {
            Ok(file) => {
                self.watched = ears.on_file(&file);
                self.len = file.metadata().map_or(0, |meta| meta.len());
                self.counting = self.len <= COUNTED;
                self.file = Some(file);
                Told::Opened { len: self.len }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.watched = ears.on_arrival(&self.path);
                if self.path.exists() {
                    // It came between the two looks.
                    return self.begin(ears);
                }
                Told::Missing
            }
            Err(error) => Told::Failed(format!("open {}: {error}", self.path.display())),
        }
    }

    /// The file, or the folder that it will be in, has changed.
    fn look(&mut self, ears: &Ears) -> Option<Told> {
        let Some(file) = &self.file else {
            return Some(self.begin(ears)).filter(|told| *told != Told::Missing);
        };
        let len = file.metadata().ok()?.len();
        let before = std::mem::replace(&mut self.len, len);
        self.counting = len <= COUNTED;
        match len.cmp(&before) {
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Less => Some(Told::Shrunk { len }),
            std::cmp::Ordering::Greater => Some(Told::Grew { len }),
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
