//! The relay: a small process that carries what one attempt prints from its pipe or terminal into its log, where the
//! child cannot write the file itself. It outlives supervisor and keeper, and ends when nobody holds the other side.
//!
//! The bytes are moved by `splice`, inside the kernel: a relay that is killed at any instant has taken nothing out of
//! the pipe that is not in the log. Where the disk is full it waits; the pipe fills, the child waits, nothing is lost.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::proc::owned;

/// As much as the kernel gives an ordinary user: fewer wake-ups, and a child that prints in bursts seldom waits.
const PIPE_BYTES: libc::c_int = 1 << 20;

/// What a relay reads from. The keeper holds it as well, so that a dead relay takes nothing with it.
#[derive(Debug)]
pub(crate) struct Source {
    /// The reading end of the pipe, or the master of the terminal.
    input: OwnedFd,
    /// A terminal cannot be spliced into a file: its bytes pass through this pipe, (read, write).
    stage: Option<(OwnedFd, OwnedFd)>,
}

impl Source {
    /// The highest of its descriptors.
    pub(crate) fn highest(&self) -> RawFd {
        let stage = self.stage.as_ref().map_or(-1, |(read, write)| read.as_raw_fd().max(write.as_raw_fd()));
        self.input.as_raw_fd().max(stage)
    }

    /// The master, where it is a terminal.
    pub(crate) fn terminal(&self) -> Option<&OwnedFd> {
        self.stage.as_ref().map(|_| &self.input)
    }
}

/// Where the relay finds its descriptors: input, log, stage.
const INPUT: RawFd = 3;
const LOG: RawFd = 4;
const STAGE: [RawFd; 2] = [5, 6];

/// A pipe, and the end for the child. That end is open for reading, too: so a writer never sees a pipe without a
/// reader, even when relay and keeper are both dead; it waits until somebody empties the pipe again.
pub(crate) fn pipe() -> io::Result<(OwnedFd, Source)> {
    let (input, writer) = pipe_ends()?;
    let path = CString::new(format!("/proc/self/fd/{}", writer.as_raw_fd())).map_err(io::Error::other)?;
    // SAFETY: the path is a valid C string; the result is checked.
    let both = owned(unsafe { libc::open(path.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) })?;
    Ok((both, Source { input, stage: None }))
}

fn pipe_ends() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends: [RawFd; 2] = [-1; 2];
    // SAFETY: the array is valid for two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: plain numbers; a refusal leaves the default size, which works as well.
    unsafe { libc::fcntl(ends[0], libc::F_SETPIPE_SZ, PIPE_BYTES) };
    // SAFETY: the first call has just handed out both.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// The source that a living relay of an earlier keeper reads from.
pub(crate) fn source_of(relay: i32) -> io::Result<Source> {
    let pidfd = super::proc::pidfd_open(relay)?;
    let take = |fd: RawFd| {
        // SAFETY: plain numbers; the result is checked.
        let taken = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0) };
        owned(RawFd::try_from(taken).unwrap_or(-1))
    };
    let stage = take(STAGE[0]).and_then(|read| Ok((read, take(STAGE[1])?))).ok();
    Ok(Source { input: take(INPUT)?, stage })
}

/// The reading side of a pipe that only the child holds any more.
pub(crate) fn source_in(child: i32) -> io::Result<Source> {
    let path = CString::new(format!("/proc/{child}/fd/1")).map_err(io::Error::other)?;
    // SAFETY: the path is a valid C string; the result is checked.
    let input =
        owned(unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NOCTTY) })?;
    Ok(Source { input, stage: None })
}

/// A pseudo-terminal: the path of the slave for the child, the master as the source.
pub(crate) fn terminal() -> io::Result<(CString, Source)> {
    // SAFETY: plain flags; the result is checked.
    let master = owned(unsafe { libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC) })?;
    let mut name = [0_u8; 64];
    // SAFETY: the descriptor is a pty master; the buffer is valid and long enough for /dev/pts/N.
    let failed = unsafe {
        libc::grantpt(master.as_raw_fd()) != 0
            || libc::unlockpt(master.as_raw_fd()) != 0
            || libc::ptsname_r(master.as_raw_fd(), name.as_mut_ptr().cast(), name.len()) != 0
    };
    if failed {
        return Err(io::Error::last_os_error());
    }
    let size = libc::winsize { ws_row: 36, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the descriptor is a terminal, the struct is valid; a failure leaves a size of 0.
    unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    let path = std::ffi::CStr::from_bytes_until_nul(&name).map_err(io::Error::other)?.to_owned();
    Ok((path, Source { input: master, stage: Some(pipe_ends()?) }))
}

/// Forks a relay that moves everything from `source` to the end of the log. Returns its pid.
pub(crate) fn start(source: &Source, log: &Path) -> io::Result<i32> {
    let log = super::log::for_relay(log)?;
    // SAFETY: the keeper is single-threaded, so the child may run ordinary code.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let (source, log) = keep_only(source, &log);
            // A relay that an earlier keeper started in its last moment may still be at work, and two would write over
            // one another: the second waits until the first is gone.
            // SAFETY: the descriptor is open; without the lock, where there is none to be had, it works as well.
            unsafe { libc::flock(log.as_raw_fd(), libc::LOCK_EX) };
            // SAFETY: the name is a valid C string.
            unsafe { libc::prctl(libc::PR_SET_NAME, c"restage-relay".as_ptr()) };
            carry(&source, &log);
            // SAFETY: ends the relay without running the keeper's destructors.
            unsafe { libc::_exit(0) }
        }
        pid => Ok(pid),
    }
}

/// Closes everything that is not the relay's: above all the lock, which must die with keeper and guard, and the pipes
/// of others.
fn keep_only(source: &Source, log: &File) -> (Source, File) {
    let mut wanted = vec![(source.input.as_raw_fd(), INPUT), (log.as_raw_fd(), LOG)];
    if let Some((read, write)) = &source.stage {
        wanted.extend([(read.as_raw_fd(), STAGE[0]), (write.as_raw_fd(), STAGE[1])]);
    }
    // SAFETY: plain numbers. The copies are first made above all final places, so none overwrites another; what is
    // taken into ownership at the end is what was just put there.
    unsafe {
        let copies: Vec<_> =
            wanted.iter().map(|(from, to)| (libc::fcntl(*from, libc::F_DUPFD, 10), *to)).collect();
        for (copy, to) in &copies {
            libc::dup2(*copy, *to);
        }
        let first_unused = if source.stage.is_some() { 7 } else { 5 };
        libc::syscall(libc::SYS_close_range, first_unused, u32::MAX, 0);
        let stage =
            source.stage.is_some().then(|| (OwnedFd::from_raw_fd(STAGE[0]), OwnedFd::from_raw_fd(STAGE[1])));
        (Source { input: OwnedFd::from_raw_fd(INPUT), stage }, File::from_raw_fd(LOG))
    }
}

/// A terminal may say that nobody holds its other side while the kernel still has something on the way from there: only
/// when it has said so that often, with that many nanoseconds between, was that all.
const LAST_LOOKS: u32 = 3;
const LAST_LOOK: i64 = 1_000_000;

/// Until nobody holds the other side.
fn carry(source: &Source, log: &File) {
    let mut end = log.metadata().ok().and_then(|meta| i64::try_from(meta.len()).ok()).unwrap_or(0);
    let Some((stage_out, stage_in)) = &source.stage else {
        while let Moved::Some(bytes) = move_all(&source.input, log, &mut end, 0) {
            let_it_gather(bytes);
        }
        return;
    };
    let mut ends = 0;
    loop {
        // First what an earlier relay may have left on the stage.
        while let Moved::Some(_) = move_all(stage_out, log, &mut end, libc::SPLICE_F_NONBLOCK) {}
        match splice(&source.input, stage_in, None, 0) {
            Ok(0) => return,
            Err(libc::EIO) if ends == LAST_LOOKS => return,
            Err(libc::EIO) => {
                ends += 1;
                pause(LAST_LOOK);
            }
            Ok(_) => ends = 0,
            Err(libc::EINTR | libc::EAGAIN) => {}
            // A kernel whose terminals cannot be spliced from.
            Err(_) => return copy(&source.input, log, end),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Moved {
    Some(usize),
    Nothing,
}

/// One move into the log, waiting for data unless told otherwise, and for room on the disk in any case.
fn move_all(from: &OwnedFd, log: &File, end: &mut i64, flags: libc::c_uint) -> Moved {
    loop {
        match splice(from, log, Some(end), flags) {
            Ok(0) | Err(libc::EAGAIN) => return Moved::Nothing,
            Ok(bytes) => return Moved::Some(bytes),
            Err(libc::EINTR) => {}
            Err(_) => wait_for_space(),
        }
    }
}

fn splice(
    from: &impl AsRawFd,
    to: &impl AsRawFd,
    end: Option<&mut i64>,
    flags: libc::c_uint,
) -> Result<usize, i32> {
    let end = end.map_or(std::ptr::null_mut(), std::ptr::from_mut);
    // SAFETY: both descriptors are open; the offset, where there is one, is a valid place to read and write.
    let moved =
        unsafe { libc::splice(from.as_raw_fd(), std::ptr::null_mut(), to.as_raw_fd(), end, 1 << 20, flags) };
    usize::try_from(moved).map_err(|_| io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}

/// The same through our memory, where there is no other way.
fn copy(input: &OwnedFd, log: &File, end: i64) {
    let mut end = end.cast_unsigned();
    let mut buffer = vec![0_u8; 64 << 10];
    loop {
        let length = match nix::unistd::read(input, &mut buffer) {
            Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN) => continue,
            Ok(0) | Err(_) => return,
            Ok(length) => length,
        };
        let mut rest = buffer.get(..length).unwrap_or_default();
        while !rest.is_empty() {
            match log.write_at(rest, end) {
                Ok(written) => {
                    end += written as u64;
                    rest = rest.get(written..).unwrap_or_default();
                }
                Err(_) => wait_for_space(),
            }
        }
    }
}

/// A child that prints in small pieces would wake us for each of them: a moment's wait makes one move of many, while
/// the pipe is far from full. Who watches the log does not notice.
fn let_it_gather(bytes: usize) {
    if bytes < 64 << 10 {
        pause(2_000_000);
    }
}

/// Nothing tells when a disk has room again; meanwhile the child waits on its full pipe.
fn wait_for_space() {
    pause(300_000_000);
}

fn pause(nanos: i64) {
    let time = libc::timespec { tv_sec: 0, tv_nsec: nanos };
    // SAFETY: the struct is valid; no remainder is wanted.
    unsafe { libc::nanosleep(&raw const time, std::ptr::null_mut()) };
}
