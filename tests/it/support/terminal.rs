//! A terminal with a program in it: what it writes is kept byte by byte and shown by an emulation; keys are typed.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use nix::pty::{OpenptyResult, Winsize, openpty};

use super::{PATIENCE, wait_for, wait_until};

pub(crate) struct Terminal {
    pub child: Child,
    keys: File,
    /// Kept open, so that what the program leaves of the terminal's settings can be looked at.
    inner: File,
    seen: Arc<Mutex<Seen>>,
    heard: Arc<Condvar>,
}

pub(crate) struct Frozen {
    _thaw: std::sync::mpsc::Sender<()>,
}

struct Seen {
    bytes: Vec<u8>,
    emulation: vt100::Parser,
}

fn cells(count: u16) -> std::num::NonZeroU16 {
    count.try_into().unwrap()
}

const fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Terminal {
    pub(crate) fn start(mut command: Command, (columns, rows): (u16, u16)) -> Self {
        let OpenptyResult { master, slave } = openpty(&size(columns, rows), None).unwrap();
        let inner = File::from(slave);
        let stream = || Stdio::from(inner.try_clone().unwrap());
        command.stdin(stream()).stdout(stream()).stderr(stream());
        command.env("TERM", "xterm-256color").env("COLORTERM", "truecolor").env("LANG", "C.UTF-8");
        command.env_remove("NO_COLOR").env_remove("LC_ALL");
        // Of the tests themselves.
        if !command.get_envs().any(|(name, _)| name == "CI") {
            command.env_remove("CI");
        }
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                if libc::ioctl(0, libc::TIOCSCTTY, 0) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        let keys = File::from(master);
        let emulation = vt100::Parser::new(cells(rows), cells(columns), 0);
        let seen = Arc::new(Mutex::new(Seen { bytes: Vec::new(), emulation }));
        let (mut out, told) = (keys.try_clone().unwrap(), Arc::clone(&seen));
        let heard = Arc::new(Condvar::new());
        let tell = Arc::clone(&heard);
        std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while let Ok(count @ 1..) = out.read(&mut buffer) {
                let mut seen = told.lock().unwrap();
                seen.bytes.extend_from_slice(&buffer[..count]);
                seen.emulation.process(&buffer[..count]);
                tell.notify_all();
            }
        });
        Self { child, keys, inner, seen, heard }
    }

    pub(crate) fn screen(&self) -> String {
        self.seen.lock().unwrap().emulation.screen().contents()
    }

    /// All that the program has written so far.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.seen.lock().unwrap().bytes.clone()
    }

    /// Whether nothing is written from now on for so long; where something is, that is told at once.
    pub(crate) fn is_silent_for(&self, time: std::time::Duration) -> bool {
        let seen = self.seen.lock().unwrap();
        let before = seen.bytes.len();
        let same = |seen: &mut Seen| seen.bytes.len() == before;
        self.heard.wait_timeout_while(seen, time, same).unwrap().1.timed_out()
    }

    pub(crate) fn is_alternate(&self) -> bool {
        self.seen.lock().unwrap().emulation.screen().alternate_screen()
    }

    /// Whether lines are edited and echoed by the terminal, as a shell expects it.
    pub(crate) fn is_cooked(&self) -> bool {
        let settings = nix::sys::termios::tcgetattr(&self.inner).unwrap();
        settings
            .local_flags
            .contains(nix::sys::termios::LocalFlags::ICANON | nix::sys::termios::LocalFlags::ECHO)
    }

    /// From now on it takes nothing of what is written to it, until the answer is dropped.
    pub(crate) fn frozen(&self) -> Frozen {
        let (thaw, thawed) = std::sync::mpsc::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let seen = Arc::clone(&self.seen);
        std::thread::spawn(move || {
            let held = seen.lock().unwrap();
            tell.send(()).unwrap();
            thawed.recv().ok();
            drop(held);
        });
        told.recv().unwrap();
        Frozen { _thaw: thaw }
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        self.seen.lock().unwrap().emulation.screen_mut().set_size(cells(rows), cells(columns));
        let winsize = size(columns, rows);
        assert_eq!(unsafe { libc::ioctl(self.keys.as_raw_fd(), libc::TIOCSWINSZ, &raw const winsize) }, 0);
    }

    #[track_caller]
    pub(crate) fn expect(&self, text: &str) {
        self.expect_that(text, |screen| screen.contains(text));
    }

    #[track_caller]
    pub(crate) fn expect_gone(&self, text: &str) {
        self.expect_that(&format!("no {text}"), |screen| !screen.contains(text));
    }

    #[track_caller]
    pub(crate) fn expect_that(&self, what: &str, is_so: impl Fn(&str) -> bool) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while !is_so(&self.screen()) {
            assert!(std::time::Instant::now() < deadline, "{what} never came:\n{}", self.screen());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// What the screen is made of now.
    pub(crate) fn cells<T>(&self, look: impl FnOnce(&vt100::Screen) -> T) -> T {
        look(self.seen.lock().unwrap().emulation.screen())
    }

    /// It has ended by itself.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let status = wait_for("the end of the program", || self.child.try_wait().unwrap());
        // What it wrote last is read by another thread.
        wait_until("the way out of the alternate screen", || !self.is_alternate());
        status
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
