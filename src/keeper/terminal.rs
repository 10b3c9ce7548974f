//! What a person types into the terminal of an attempt, and how large that terminal is. The keeper holds the master, so
//! it writes; it never waits for a child that does not read: what finds no room is tried again for a while, then let go
//! and told.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::proc;
use super::serve::Keeper;
use super::wire::Report;

/// A terminal that says it has room takes this much: less than the smallest buffer that the kernel makes for it.
const PORTION: usize = 128;

/// More is no typing, and nobody reads it.
const MOST: usize = 1 << 20;

/// Between two tries.
const PAUSE: u64 = 2_000_000;

/// How long a child may read nothing before what was typed is let go.
const PATIENCE: u64 = 5_000_000_000;

/// The largest side of a terminal.
const MOST_CELLS: u16 = 2000;

const LOST: &str = "what was typed is lost: it does not read its terminal";

/// Bytes that wait for room.
#[derive(Debug)]
pub(crate) struct Typed {
    bytes: Vec<u8>,
    /// When to try again.
    pub(crate) next: u64,
    until: u64,
}

impl Keeper {
    pub(super) fn on_input(&mut self, key: &str, text: &str) {
        let now = proc::monotonic();
        // For an attempt that has ended meanwhile there is nothing to be done: its end is told.
        let Some(tree) = self.trees.get_mut(key) else { return };
        if tree.source.as_ref().and_then(|source| source.terminal()).is_none() {
            return self.warn(key, "it has no terminal to type into; \"stdio\": \"tty\" gives it one");
        }
        let typed = tree.typed.get_or_insert(Typed { bytes: Vec::new(), next: now, until: now + PATIENCE });
        if typed.bytes.len() + text.len() > MOST {
            return self.warn(key, LOST);
        }
        typed.bytes.extend_from_slice(text.as_bytes());
        self.write_typed(now);
    }

    pub(super) fn on_resize(&mut self, key: &str, rows: u16, cols: u16) {
        let Some(tree) = self.trees.get(key) else { return };
        let Some(master) = tree.source.as_ref().and_then(|source| source.terminal()) else { return };
        let size = libc::winsize {
            ws_row: rows.clamp(1, MOST_CELLS),
            ws_col: cols.clamp(1, MOST_CELLS),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: the descriptor is a terminal, the struct is valid; a failure leaves the size as it was.
        unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    }

    /// Writes what goes without waiting.
    pub(super) fn write_typed(&mut self, now: u64) {
        let mut lost = Vec::new();
        for (key, tree) in &mut self.trees {
            let Some(typed) = tree.typed.as_mut().filter(|typed| typed.next <= now) else { continue };
            let master = tree.source.as_ref().and_then(|source| source.terminal());
            let written = master.map(|master| write_some(master, &typed.bytes));
            let Some(Ok(written)) = written else {
                // Nobody holds the other side any more.
                tree.typed = None;
                continue;
            };
            typed.bytes.drain(..written);
            typed.next = now + PAUSE;
            if written > 0 {
                typed.until = now + PATIENCE;
            }
            if typed.bytes.is_empty() {
                tree.typed = None;
            } else if typed.until <= now {
                lost.push(key.clone());
                tree.typed = None;
            }
        }
        for key in lost {
            self.warn(&key, LOST);
        }
    }

    fn warn(&mut self, key: &str, text: &str) {
        self.send(&Report::Warning { key: Some(key.to_owned()), text: text.to_owned() });
    }
}

/// The master must not be made non-blocking, for its relay shares it: asked before each portion, it does not block.
fn write_some(master: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    for portion in bytes.chunks(PORTION) {
        let mut fds = [PollFd::new(master.as_fd(), PollFlags::POLLOUT)];
        let ready = poll(&mut fds, PollTimeout::ZERO)?;
        let has_room = fds.iter().any(|fd| fd.revents().is_some_and(|is| is.contains(PollFlags::POLLOUT)));
        if ready == 0 || !has_room {
            break;
        }
        match nix::unistd::write(master, portion) {
            Ok(some) => {
                written += some;
                if some < portion.len() {
                    break;
                }
            }
            Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(written)
}
