//! The terminal: taken over, drawn on, given back. Given back in any case: when this is dropped, and when something
//! panics.

use std::io::{self, BufWriter, Stdout, Write};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::cursor::{Hide, Show};
use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use crossterm::style::ResetColor;
use crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode,
};
use crossterm::{execute, queue};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;

use super::model::Model;
use super::view;

/// One frame is one write, mostly.
const FRAME_BYTES: usize = 64 << 10;

/// Clicks, drags and the wheel, in coordinates without a limit. Not every movement: each would wake us.
const MOUSE_ON: &[u8] = b"\x1b[?1000h\x1b[?1002h\x1b[?1006h";
const MOUSE_OFF: &[u8] = b"\x1b[?1006l\x1b[?1002l\x1b[?1000l";

/// A longer text is not handed to a clipboard: terminals would not take it.
const CLIPBOARD_BYTES: usize = 74_000;

type Screen = Terminal<CrosstermBackend<BufWriter<Stdout>>>;

#[derive(Debug)]
pub struct Term {
    screen: Screen,
}

/// Whether there is something to give back.
static TAKEN: AtomicBool = AtomicBool::new(false);

impl Term {
    pub fn enter() -> io::Result<Self> {
        restore_on_panic();
        let backend = CrosstermBackend::new(BufWriter::with_capacity(FRAME_BYTES, io::stdout()));
        let screen = Terminal::new(backend)?;
        let mut term = Self { screen };
        term.take()?;
        Ok(term)
    }

    fn take(&mut self) -> io::Result<()> {
        TAKEN.store(true, Ordering::SeqCst);
        enable_raw_mode()?;
        let out = self.screen.backend_mut();
        execute!(out, EnterAlternateScreen, EnableBracketedPaste, Hide)?;
        out.write_all(MOUSE_ON)?;
        Write::flush(out)?;
        self.redraw()
    }

    /// Steps aside for another program, until [`Term::resume`].
    pub fn suspend() {
        restore();
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
        queue!(self.screen.backend_mut(), BeginSynchronizedUpdate)?;
        self.screen.draw(|frame| view::draw(frame, model))?;
        execute!(self.screen.backend_mut(), EndSynchronizedUpdate)
    }

    /// Whatever was written over the screen goes away with the next frame.
    pub fn redraw(&mut self) -> io::Result<()> {
        // `clear` would ask the terminal where its cursor is, and wait for the answer.
        let area = self.screen.size()?.into();
        self.screen.resize(area)
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
        let out = self.screen.backend_mut();
        out.write_all(bytes)?;
        Write::flush(out)
    }
}

impl Drop for Term {
    fn drop(&mut self) {
        // What is left of a frame must not come after the way out.
        Write::flush(self.screen.backend_mut()).ok();
        restore();
    }
}

/// Gives the terminal back, once. A terminal that is gone needs nothing back.
fn restore() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    let mut out = io::stdout();
    out.write_all(MOUSE_OFF).ok();
    execute!(out, EndSynchronizedUpdate, DisableBracketedPaste, ResetColor, LeaveAlternateScreen, Show).ok();
    disable_raw_mode().ok();
}

/// First the terminal, then the message: it would be lost on the alternate screen.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    let ours = std::thread::current().id();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // One of another thread does not end the dashboard, and must not write across it.
            if std::thread::current().id() != ours && TAKEN.load(Ordering::SeqCst) {
                tracing::error!(%panic, "a part of the dashboard failed");
                return;
            }
            restore();
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
