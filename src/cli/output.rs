//! Writing to the user: data to stdout, everything else to stderr. A reader that goes away (`restage status | head`)
//! is no error.

use std::env;
use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;

use super::failure::Failure;
use crate::frontend::status::Look;

/// A table for a file or a pipe.
const WIDTH_ELSEWHERE: usize = 120;

/// Data. Says whether anybody still reads.
pub fn print(text: &str) -> Result<bool, Failure> {
    print_bytes(text.as_bytes())
}

pub fn print_bytes(bytes: &[u8]) -> Result<bool, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::io("write to stdout", &error)),
    }
}

/// Lines of data that may hold what a child wrote: a terminal gets no control character of it, a program everything.
pub fn harmless(text: &str) -> String {
    if !io::stdout().is_terminal() {
        return text.to_owned();
    }
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

/// One JSON value on one line.
pub fn print_json(value: &impl Serialize) -> Result<bool, Failure> {
    print(&json_line(value)?)
}

pub fn json_line(value: &impl Serialize) -> Result<String, Failure> {
    let mut text = serde_json::to_string(value)
        .map_err(|error| Failure::new(super::exit::Exit::Failed, "write JSON to stdout", error))?;
    text.push('\n');
    Ok(text)
}

/// A remark. One that cannot be written is not worth failing for.
pub fn remark(text: &str) {
    // As one: standard error is not buffered.
    io::stderr().lock().write_all([text, "\n"].concat().as_bytes()).ok();
}

/// Resolves when nobody can read any more what is written to stdout: the other end of a pipe or socket is closed.
/// Never, for a file. The thread that waits ends with the process at the latest.
pub async fn unread() {
    let (tell, told) = tokio::sync::oneshot::channel();
    if let Ok(stream) = io::stdout().as_fd().try_clone_to_owned() {
        std::thread::spawn(move || {
            loop {
                // No event is asked for: errors are always told.
                let mut one = [PollFd::new(stream.as_fd(), PollFlags::empty())];
                match poll(&mut one, PollTimeout::NONE) {
                    Err(Errno::EINTR) => {}
                    Ok(_) => break,
                    // Whoever waits goes on waiting, and learns of it by the next write.
                    Err(_) => return,
                }
            }
            // Nobody waits any more: fine.
            tell.send(()).ok();
        });
        if told.await.is_ok() {
            return;
        }
    }
    std::future::pending::<()>().await;
}

/// Something that is drawn anew in its place. What cannot be written is not worth failing for.
pub fn draw(text: &str) {
    let mut stderr = io::stderr().lock();
    stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush()).ok();
}

/// Whether stderr is a terminal that takes back what it shows, and somebody looks at it: CI keeps all that is printed.
pub fn may_redraw() -> bool {
    let ci = env::var_os("CI").is_some_and(|value| !matches!(value.to_str(), Some("" | "0" | "false")));
    io::stderr().is_terminal() && !is_dumb() && !ci
}

fn is_dumb() -> bool {
    env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Where colours may go: to a terminal, unless somebody does not want them.
pub fn colours(stream: &impl IsTerminal, no_color: bool) -> bool {
    let unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !no_color && !unwanted && !is_dumb()
}

/// How a table on stdout should look.
pub fn look(no_color: bool) -> Look {
    let stdout = io::stdout();
    let terminal = stdout.is_terminal();
    let width = terminal.then(|| terminal_width(&stdout)).flatten().unwrap_or(WIDTH_ELSEWHERE);
    Look { width, colour: colours(&stdout, no_color), ascii: terminal && !speaks_unicode() }
}

/// What the locale says; where it says nothing, terminals of today speak UTF-8.
pub fn speaks_unicode() -> bool {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let Some(locale) = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set) else { return true };
    names_utf8(&locale)
}

fn names_utf8(locale: &OsStr) -> bool {
    let locale = locale.to_string_lossy().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

nix::ioctl_read_bad!(window_size, libc::TIOCGWINSZ, libc::winsize);

fn terminal_width(stream: &io::Stdout) -> Option<usize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the descriptor is open for as long as `stream` is borrowed, and the kernel fills a `winsize`.
    unsafe { window_size(stream.as_raw_fd(), &raw mut size) }.ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// A stream that is not buffered, for a thread that may be stuck in a write: the lock of std's own would be held then.
pub fn unbuffered(stream: BorrowedFd<'_>) -> io::Result<std::fs::File> {
    stream.try_clone_to_owned().map(std::fs::File::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locales() {
        for (locale, utf8) in [("en_US.UTF-8", true), ("C.utf8", true), ("C", false), ("POSIX", false)] {
            assert_eq!(names_utf8(OsStr::new(locale)), utf8, "{locale}");
        }
    }
}
