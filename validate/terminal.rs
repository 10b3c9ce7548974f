//! A terminal with the dashboard in it: keys are typed, what it draws goes through an emulation, and the moment at which
//! something reached the terminal is taken before it is interpreted.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::pty::{OpenptyResult, Winsize, openpty};

use crate::kit::{PATIENCE, kill};

pub(crate) struct Terminal {
    child: Child,
    keys: File,
    written: mpsc::Receiver<(Instant, Vec<u8>)>,
    emulation: vt100::Parser,
}

impl Terminal {
    pub(crate) fn start(mut command: Command, (columns, rows): (u16, u16)) -> Self {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(&size, None).expect("a pseudo-terminal");
        let inner = File::from(slave);
        let stream = || Stdio::from(inner.try_clone().expect("a descriptor"));
        command.stdin(stream()).stdout(stream()).stderr(stream());
        command.env("TERM", "xterm-256color").env("COLORTERM", "truecolor").env("LANG", "C.UTF-8");
        command.env_remove("NO_COLOR").env_remove("LC_ALL").env_remove("CI");
        // SAFETY: two system calls, both allowed between fork and exec.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                if libc::ioctl(0, libc::TIOCSCTTY, 0) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().expect("restage starts");
        let keys = File::from(master);
        let mut out = keys.try_clone().expect("a descriptor");
        let (tell, written) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while let Ok(count @ 1..) = out.read(&mut buffer) {
                let bytes = buffer.get(..count).unwrap_or_default().to_vec();
                if tell.send((Instant::now(), bytes)).is_err() {
                    break;
                }
            }
        });
        let cells = |count: u16| NonZeroU16::new(count).unwrap_or(NonZeroU16::MIN);
        let emulation = vt100::Parser::new(cells(rows), cells(columns), 0);
        Self { child, keys, written, emulation }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub(crate) fn screen(&self) -> String {
        self.emulation.screen().contents()
    }

    /// Types, and waits until the screen is so; how long that took, up to the bytes that made it so.
    pub(crate) fn press(
        &mut self,
        keys: &str,
        what: &str,
        is_so: impl Fn(&str) -> bool,
    ) -> Result<Duration, String> {
        // What was drawn before belongs to no key.
        while let Ok((_, bytes)) = self.written.try_recv() {
            self.emulation.process(&bytes);
        }
        let pressed = Instant::now();
        self.keys.write_all(keys.as_bytes()).map_err(|error| format!("type {keys:?}: {error}"))?;
        self.until(what, is_so).map(|at| at.saturating_duration_since(pressed))
    }

    /// Waits until the screen is so; when it became so.
    pub(crate) fn until(&mut self, what: &str, is_so: impl Fn(&str) -> bool) -> Result<Instant, String> {
        let deadline = Instant::now() + PATIENCE;
        let mut at = Instant::now();
        while !is_so(&self.screen()) {
            let left = deadline.saturating_duration_since(Instant::now());
            let (came, bytes) = self
                .written
                .recv_timeout(left)
                .map_err(|_| format!("{what} never came on the screen:\n{}", self.screen()))?;
            at = came;
            self.emulation.process(&bytes);
        }
        Ok(at)
    }

    /// Lets it draw for a while.
    pub(crate) fn watch(&mut self, time: Duration) -> usize {
        let end = Instant::now() + time;
        let mut bytes = 0;
        while let Ok((_, piece)) = self.written.recv_timeout(end.saturating_duration_since(Instant::now())) {
            bytes += piece.len();
            self.emulation.process(&piece);
        }
        bytes
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            kill(self.pid(), libc::SIGTERM);
        }
        self.child.wait().ok();
    }
}
