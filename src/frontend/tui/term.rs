//! The terminal: taken over, drawn on, given back. Given back in any case: when this is dropped, and when something
//! panics. What is drawn is handed to [`super::writer`], so that a terminal that takes nothing stops nobody.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossterm::cursor::{Hide, Show};
use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use crossterm::queue;
use crossterm::style::ResetColor;
use crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode,
};
use nix::sys::termios::{FlowArg, FlushArg, tcflow, tcflush};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::{Position, Rect};

use super::model::Model;
use super::view;
use super::writer::Writer;

/// How long the way out waits for a terminal that takes nothing; twice, at most.
const PATIENCE: Duration = Duration::from_millis(300);

/// Clicks, drags and the wheel, in coordinates without a limit. Not every movement: each would wake us.
const MOUSE_ON: &[u8] = b"\x1b[?1000h\x1b[?1002h\x1b[?1006h";
const MOUSE_OFF: &[u8] = b"\x1b[?1006l\x1b[?1002l\x1b[?1000l";

/// A longer text is not handed to a clipboard: terminals would not take it.
const CLIPBOARD_BYTES: usize = 74_000;

/// What goes to the terminal next, until it is handed over.
#[derive(Debug, Clone, Default)]
struct Page(Rc<RefCell<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
pub struct Term {
    screen: Terminal<CrosstermBackend<Page>>,
    page: Page,
    writer: Writer,
}

/// Whether there is something to give back.
static TAKEN: AtomicBool = AtomicBool::new(false);

impl Term {
    pub fn enter() -> io::Result<Self> {
        let writer = Writer::start(io::stdout())?;
        restore_on_panic(&writer);
        let page = Page::default();
        let screen = Terminal::new(CrosstermBackend::new(page.clone()))?;
        let mut term = Self { screen, page, writer };
        term.take()?;
        Ok(term)
    }

    fn take(&mut self) -> io::Result<()> {
        TAKEN.store(true, Ordering::SeqCst);
        enable_raw_mode()?;
        queue!(self.page, EnterAlternateScreen, EnableBracketedPaste, Hide)?;
        self.page.write_all(MOUSE_ON)?;
        self.hand_over()?;
        self.blank()
    }

    fn hand_over(&mut self) -> io::Result<()> {
        let mut page = self.page.0.borrow_mut();
        let handed = self.writer.write(&page);
        page.clear();
        handed
    }

    /// What was drawn last is on its way no more: the next frame may come.
    pub fn is_free(&self) -> bool {
        self.writer.is_free()
    }

    /// Waits until it may be so.
    pub async fn freed(&self) {
        self.writer.freed().await;
    }

    /// Steps aside for another program, until [`Term::resume`].
    pub fn suspend(&self) {
        restore(&self.writer);
    }

    /// Also after a stop of the whole process, when a shell has used the terminal in between.
    pub fn resume(&mut self) -> io::Result<()> {
        self.take()
    }

    pub fn size(&self) -> io::Result<(u16, u16)> {
        self.screen.size().map(Into::into)
    }

    /// Terminals that know how show the frame as a whole.
    pub fn draw(&mut self, model: &Model) -> io::Result<()> {
        queue!(self.page, BeginSynchronizedUpdate)?;
        self.screen.draw(|frame| view::draw(frame, model))?;
        queue!(self.page, EndSynchronizedUpdate)?;
        self.hand_over()
    }

    /// Whatever was written over the screen goes away with the next frame.
    pub fn redraw(&mut self) -> io::Result<()> {
        self.blank()
    }

    /// Not by [`Terminal::clear`], which asks the terminal where its cursor is, and waits for an answer that not every
    /// terminal gives.
    fn blank(&mut self) -> io::Result<()> {
        let size = self.screen.size()?;
        self.screen.resize(Rect::from((Position::ORIGIN, size)))
    }

    pub fn bell(&mut self) -> io::Result<()> {
        self.write(b"\x07")
    }

    /// A message outside of the terminal's window (OSC 9), where the terminal knows how.
    pub fn message(&mut self, text: &str) -> io::Result<()> {
        let plain: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
        self.write(format!("\x1b]9;restage: {plain}\x07").as_bytes())
    }

    /// Into the clipboard of whoever sits at the terminal, also through ssh (OSC 52). Says whether it was tried.
    pub fn copy(&mut self, text: &str) -> io::Result<bool> {
        if text.len() > CLIPBOARD_BYTES {
            return Ok(false);
        }
        self.write(format!("\x1b]52;c;{}\x07", base64(text.as_bytes())).as_bytes())?;
        Ok(true)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.page.write_all(bytes)?;
        self.hand_over()
    }
}

impl Drop for Term {
    fn drop(&mut self) {
        restore(&self.writer);
    }
}

/// Gives the terminal back, once, after all that is on its way to it. A terminal that is gone needs nothing back.
fn restore(writer: &Writer) {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    let mut way_out = MOUSE_OFF.to_vec();
    queue!(way_out, EndSynchronizedUpdate, DisableBracketedPaste, ResetColor, LeaveAlternateScreen, Show)
        .ok();
    writer.write(&way_out).ok();
    if !writer.drain(PATIENCE) {
        // It takes nothing. What it has not shown yet gives way, so that this has room; nobody misses that.
        let out = io::stdout();
        tcflow(&out, FlowArg::TCOON).ok();
        tcflush(&out, FlushArg::TCOFLUSH).ok();
        writer.drain(PATIENCE);
    }
    disable_raw_mode().ok();
}

/// First the terminal, then the message: it would be lost on the alternate screen.
fn restore_on_panic(writer: &Writer) {
    static ONCE: Once = Once::new();
    let (ours, writer) = (std::thread::current().id(), writer.clone());
    ONCE.call_once(move || {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // One of another thread does not end the dashboard, and must not write across it.
            if std::thread::current().id() != ours && TAKEN.load(Ordering::SeqCst) {
                tracing::error!(%panic, "a part of the dashboard failed");
                return;
            }
            restore(&writer);
            before(panic);
        }));
    });
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let letter = ALPHABET[usize::try_from(group >> (18 - 6 * at) & 63).unwrap_or(0)];
            text.push(if at <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_as_everybody_writes_it() {
        let table =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("ü\n", "w7wK")];
        for (text, encoded) in table {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
    }
}
