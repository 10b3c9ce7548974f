//! The terminal emulation: feeds what an attempt prints, as it stands in its log, to a screen in memory, and tells what
//! the screen looks like, at most sixty times a second. Who looks back gets a second screen, made of the log when that
//! begins: it stays while the first one goes on. It must not know what is typed.

use std::fs::File;
use std::io;
use std::num::NonZeroU16;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::inotify::WatchDescriptor;

use super::{News, Past, Shot, Told, Watch};
use crate::frontend::tui::reader::{self, Ears, Next, Reader};
use crate::logs::blocks::{Piece, open_log, read_at};
use crate::logs::tail::{Follow, News as Added};

/// Between two pictures.
const FRAME: Duration = Duration::from_millis(16);

/// What of the past is looked at to know what is on the screen.
const PAST: u64 = 256 << 10;

/// A log that is ahead by more is not followed byte by byte: nobody could see it.
const FAR_BEHIND: u64 = 4 << 20;

/// How far one can look back, in rows. A cell takes 32 bytes; the log itself knows more.
const BACK: usize = 2000;

pub type Worker = Reader<Watch>;

pub fn start(tell: impl Fn(News) + Send + 'static) -> io::Result<Worker> {
    Reader::start("restage-attach", Desk { tell: Box::new(tell), number: 0, open: None })
}

struct Desk {
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
    /// While somebody looks back: the screen with what has left it.
    past: Option<vt100::Parser>,
}

impl reader::Desk for Desk {
    type Order = Watch;
    const PAUSE: Duration = FRAME;

    fn take(&mut self, order: Watch, ears: &Ears) -> Next {
        match order {
            Watch::Open { epoch, log, rows, cols } => {
                self.close(ears);
                match Open::begin(epoch, &log, rows, cols, ears) {
                    Ok(open) => {
                        self.open = Some(open);
                        return self.look(ears);
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
                return self.look(ears);
            }
            Watch::Back { rows } => self.look_back(rows),
            Watch::Close => self.close(ears),
        }
        Next::Listen
    }

    /// Feeds what is new.
    fn look(&mut self, _: &Ears) -> Next {
        let Some(open) = &mut self.open else { return Next::Listen };
        if let Err(error) = open.feed() {
            let told = Told::Failed(format!("read what it prints: {error}"));
            (self.tell)(News { epoch: open.epoch, told });
        }
        let screen = Arc::new(open.terminal.screen().clone());
        self.number += 1;
        let told = Told::Screen(Shot { number: self.number, screen });
        (self.tell)(News { epoch: open.epoch, told });
        Next::Pause
    }

    fn broke(&mut self, ears: &Ears) {
        if let Some(open) = &self.open {
            let what = "showing this terminal failed; the runner goes on".to_owned();
            (self.tell)(News { epoch: open.epoch, told: Told::Failed(what) });
        }
        self.close(ears);
    }
}

impl Desk {
    fn close(&mut self, ears: &Ears) {
        ears.off(self.open.take().and_then(|open| open.watched));
    }

    fn look_back(&mut self, rows: usize) {
        let Some(open) = &mut self.open else { return };
        let told = match open.look_back(rows) {
            Ok(past) => {
                self.number += 1;
                let shot = |screen| Shot { number: self.number, screen: Arc::new(screen) };
                Told::Past(past.map(|(screen, rows, most)| Past { shot: shot(screen), rows, most }))
            }
            Err(error) => Told::Failed(format!("read what it printed: {error}")),
        };
        (self.tell)(News { epoch: open.epoch, told });
    }
}

/// In one column there is no place for a wide character, and the emulation is not made for that.
fn terminal(rows: u16, cols: u16, back: usize) -> vt100::Parser {
    let sized = |cells: u16| NonZeroU16::new(cells.max(2)).unwrap_or(NonZeroU16::MIN);
    vt100::Parser::new(sized(rows), sized(cols), back)
}

/// The emulation is somebody else's work and meets whatever a program prints: where it fails, the screen is begun anew.
fn show(terminal: &mut vt100::Parser, bytes: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| terminal.process(bytes))).is_err() {
        blank(terminal);
    }
}

fn blank(of: &mut vt100::Parser) {
    let (rows, cols) = of.screen().size();
    *of = terminal(rows.get(), cols.get(), of.screen().scrollback_capacity());
}

impl Open {
    fn begin(epoch: u64, log: &Path, rows: u16, cols: u16, ears: &Ears) -> io::Result<Self> {
        let file = open_log(log)?;
        let watched = ears.on_file(&file);
        let follow = Follow::new(file.try_clone()?, 0);
        Ok(Self { epoch, follow, file, watched, terminal: terminal(rows, cols, 0), past: None })
    }

    fn feed(&mut self) -> io::Result<()> {
        let len = self.file.metadata()?.len();
        if len.saturating_sub(self.follow.at()) > FAR_BEHIND || (self.follow.at() == 0 && len > PAST) {
            blank(&mut self.terminal);
            self.follow = Follow::new(self.file.try_clone()?, line_near(&self.file, len)?);
        }
        feed(&mut self.follow, &mut self.terminal)
    }

    /// So many rows above the screen as it is now, or as it was when looking back began. What is shown, how many rows
    /// that really is and could be; nothing where it is the screen itself again.
    fn look_back(&mut self, rows: usize) -> io::Result<Option<(vt100::Screen, usize, usize)>> {
        if rows == 0 {
            self.past = None;
            return Ok(None);
        }
        let mut past = match self.past.take() {
            Some(past) => past,
            None => self.remember()?,
        };
        let screen = past.screen_mut();
        screen.set_scrollback(usize::MAX);
        let most = screen.scrollback();
        screen.set_scrollback(rows);
        let rows = screen.scrollback();
        if rows == 0 {
            return Ok(None);
        }
        // Only what is on the screen: a copy of the whole would take as much as all that can be looked back at.
        let (height, width) = screen.size();
        let mut shown = terminal(height.get(), width.get(), 0);
        for (at, row) in screen.rows_formatted(0, width.get()).enumerate() {
            shown.process(format!("\x1b[{};1H\x1b[m", at + 1).as_bytes());
            shown.process(row.as_ref());
        }
        self.past = Some(past);
        Ok(Some((shown.screen().clone(), rows, most)))
    }

    /// The screen as it is now, with what has left it.
    fn remember(&self) -> io::Result<vt100::Parser> {
        let (height, width) = self.terminal.screen().size();
        let mut past = terminal(height.get(), width.get(), BACK);
        let len = self.file.metadata()?.len();
        let from = if len > FAR_BEHIND { line_near(&self.file, len)? } else { 0 };
        feed(&mut Follow::new(self.file.try_clone()?, from), &mut past)?;
        Ok(past)
    }

    /// A screen of another size is made of what was printed last: what is on one cannot be made to fit another, and the
    /// program draws it anew as soon as it learns of the size.
    fn resize(&mut self, rows: u16, cols: u16) {
        self.terminal = terminal(rows, cols, 0);
        self.past = None;
        if let Ok(file) = self.file.try_clone() {
            self.follow = Follow::new(file, 0);
        }
    }
}

fn feed(follow: &mut Follow, terminal: &mut vt100::Parser) -> io::Result<()> {
    loop {
        let added = follow.read_new()?;
        if added.is_empty() {
            return Ok(());
        }
        for one in added {
            match one {
                Added::Piece(Piece::Data { bytes, .. }) => show(terminal, &bytes),
                Added::Piece(Piece::Gap { .. }) | Added::Shrunk { .. } => {}
            }
        }
    }
}

/// The beginning of a line near the end.
fn line_near(file: &File, len: u64) -> io::Result<u64> {
    let from = len.saturating_sub(PAST);
    let bytes = read_at(file, from, PAST)?;
    let line = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    Ok(from + line as u64)
}
