//! A pseudo-terminal with a person in front of it: starts a program in it, presses keys, looks at the screen, and keeps
//! every byte that the program wrote.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};

use super::PATIENCE;

pub(crate) struct Terminal {
    child: Child,
    master: File,
    shared: Arc<(Mutex<Seen>, Condvar)>,
}

struct Seen {
    emulation: vt100::Parser,
    raw: Vec<u8>,
}

impl Terminal {
    pub(crate) fn start(mut command: Command, rows: u16, cols: u16) -> Self {
        let size = winsize(rows, cols);
        let ends = openpty(Some(&size), None).unwrap();
        let stdio = || Stdio::from(ends.slave.try_clone().unwrap());
        command.stdin(stdio()).stdout(stdio()).stderr(stdio());
        command.env("TERM", "xterm-256color").env("COLORTERM", "truecolor").env("LANG", "C.UTF-8");
        for name in ["NO_COLOR", "TMUX", "SSH_CONNECTION"] {
            command.env_remove(name);
        }
        // The terminal is the one of the program's own session, as where a shell starts it.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                libc::ioctl(0, libc::TIOCSCTTY, 0);
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        drop(command);
        drop(ends.slave);
        let emulation = vt100::Parser::new(cells(rows), cells(cols), 0);
        let shared = Arc::new((Mutex::new(Seen { emulation, raw: Vec::new() }), Condvar::new()));
        let (reader, watcher) = (ends.master.try_clone().unwrap(), Arc::clone(&shared));
        std::thread::spawn(move || watch(reader, &watcher));
        Self { child, master: File::from(ends.master), shared }
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    pub(crate) fn resize(&mut self, rows: u16, cols: u16) {
        self.shared.0.lock().unwrap().emulation = vt100::Parser::new(cells(rows), cells(cols), 0);
        let size = winsize(rows, cols);
        unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// The rows of the screen.
    pub(crate) fn screen(&self) -> Vec<String> {
        rows(self.shared.0.lock().unwrap().emulation.screen())
    }

    /// Everything that was written so far.
    pub(crate) fn raw(&self) -> Vec<u8> {
        self.shared.0.lock().unwrap().raw.clone()
    }

    pub(crate) fn is_alternate(&self) -> bool {
        self.shared.0.lock().unwrap().emulation.screen().alternate_screen()
    }

    /// The screen with its colours.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&vt100::Screen) -> T) -> T {
        look(self.shared.0.lock().unwrap().emulation.screen())
    }

    /// Whether lines are edited and echoed by the terminal, as a shell expects it.
    pub(crate) fn is_cooked(&self) -> bool {
        use nix::sys::termios::{LocalFlags, tcgetattr};
        tcgetattr(&self.master).unwrap().local_flags.contains(LocalFlags::ICANON | LocalFlags::ECHO)
    }

    /// Waits until the screen is as wanted; fails with what it is instead.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = self.shared.0.lock().unwrap();
        loop {
            let screen = rows(seen.emulation.screen());
            if wanted(&screen) {
                return screen;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited {PATIENCE:?} in vain: {what}\n{}", screen.join("\n"));
            seen = self.shared.1.wait_timeout(seen, left.min(Duration::from_millis(200))).unwrap().0;
        }
    }

    /// Until the text is somewhere on the screen.
    #[track_caller]
    pub(crate) fn sees(&self, text: &str) -> Vec<String> {
        self.until(text, |screen| screen.iter().any(|row| row.contains(text)))
    }

    /// Until the row that holds the one text also holds the other.
    #[track_caller]
    pub(crate) fn row(&self, of: &str, holds: &str) -> String {
        let fits = |row: &&String| row.contains(of) && row.contains(holds);
        let screen = self
            .until(&format!("a row with {of:?} and {holds:?}"), |screen| screen.iter().any(|row| fits(&row)));
        screen.into_iter().find(|row| fits(&row)).unwrap()
    }

    /// Until the program has ended.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it goes on:\n{}", self.screen().join("\n"));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Ended already, mostly.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn watch(master: OwnedFd, shared: &(Mutex<Seen>, Condvar)) {
    let mut master = File::from(master);
    let mut buffer = vec![0; 64 << 10];
    // An error is the end: nobody holds the other side any more.
    while let Ok(length @ 1..) = master.read(&mut buffer) {
        let mut seen = shared.0.lock().unwrap();
        seen.raw.extend_from_slice(&buffer[..length]);
        seen.emulation.process(&buffer[..length]);
        shared.1.notify_all();
    }
}

fn rows(screen: &vt100::Screen) -> Vec<String> {
    let (_, cols) = screen.size();
    screen.rows(0, cols.get()).map(|row| row.trim_end().to_owned()).collect()
}

fn cells(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

fn winsize(rows: u16, cols: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 }
}
