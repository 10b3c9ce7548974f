//! What `/proc` tells of a process, read through a descriptor of its folder: that pins the process, so an answer (or a
//! signal) never concerns another one that got the same pid meanwhile.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// The fields of `/proc/PID/stat` that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) pid: i32,
    pub(crate) state: u8,
    pub(crate) ppid: i32,
    pub(crate) pgid: i32,
    pub(crate) sid: i32,
    pub(crate) start: u64,
}

impl Stat {
    /// A zombie, or on its way to be one: nothing of it runs any more.
    pub(crate) const fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }
}

/// An open `/proc/PID`.
#[derive(Debug)]
pub(crate) struct ProcDir {
    fd: OwnedFd,
}

impl ProcDir {
    pub(crate) fn open(pid: i32) -> io::Result<Self> {
        let path = CString::new(format!("/proc/{pid}")).map_err(io::Error::other)?;
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
        // SAFETY: the path is a valid C string; the result is checked.
        let fd = unsafe { libc::open(path.as_ptr(), flags) };
        Ok(Self { fd: owned(fd)? })
    }

    pub(crate) fn stat(&self) -> io::Result<Stat> {
        let mut buffer = [0_u8; 1024];
        let file = self.open_file(c"stat")?;
        let length = nix::unistd::read(&file, &mut buffer)?;
        let stat = buffer.get(..length).and_then(parse_stat);
        stat.ok_or_else(|| io::Error::other("a stat that says something else"))
    }

    /// The soft limit of the resident set, which the kernel ignores and we use as a token.
    pub(crate) fn token(&self) -> Option<u64> {
        self.told_token().ok().flatten()
    }

    /// The same; an error where it is not told.
    pub(crate) fn told_token(&self) -> io::Result<Option<u64>> {
        let mut buffer = [0_u8; 2048];
        let length = nix::unistd::read(self.open_file(c"limits")?, &mut buffer)?;
        let text = std::str::from_utf8(buffer.get(..length).unwrap_or_default()).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Max resident set"));
        Ok(line.and_then(|line| line.get(10..)?.split_ascii_whitespace().next()?.parse().ok()))
    }

    /// The path within cgroup v2.
    pub(crate) fn cgroup(&self) -> Option<String> {
        let mut buffer = [0_u8; 4096];
        let text = std::str::from_utf8(self.read_small(c"cgroup", &mut buffer)?).ok()?;
        text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
    }

    /// The value of an environment variable at the time of its exec.
    pub(crate) fn env_value(&self, name: &str) -> Option<String> {
        let environ = self.read_whole(c"environ")?;
        environ.split(|byte| *byte == 0).find_map(|entry| {
            let value = entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            std::str::from_utf8(value).ok().map(str::to_owned)
        })
    }

    /// Device and inode of what the descriptor `fd` of the process is open on.
    pub(crate) fn file_of(&self, fd: i32) -> Option<(u64, u64)> {
        let path = CString::new(format!("fd/{fd}")).ok()?;
        // SAFETY: a zeroed stat is a valid value that fstatat overwrites.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: descriptor, path and buffer are valid for the call.
        let done = unsafe { libc::fstatat(self.fd.as_raw_fd(), path.as_ptr(), &raw mut stat, 0) };
        (done == 0).then_some((stat.st_dev, stat.st_ino))
    }

    /// Signals exactly the process that this folder belongs to.
    pub(crate) fn signal(&self, signal: i32) -> io::Result<()> {
        // SAFETY: the kernel takes a descriptor of /proc/PID as a pidfd; no siginfo is passed.
        let done = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.fd.as_raw_fd(),
                signal,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn open_file(&self, name: &std::ffi::CStr) -> io::Result<OwnedFd> {
        // SAFETY: descriptor and name are valid for the call; the result is checked.
        let fd =
            unsafe { libc::openat(self.fd.as_raw_fd(), name.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
        owned(fd)
    }

    fn read_small<'b>(&self, name: &std::ffi::CStr, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        let file = self.open_file(name).ok()?;
        let length = nix::unistd::read(&file, buffer).ok()?;
        buffer.get(..length)
    }

    fn read_whole(&self, name: &std::ffi::CStr) -> Option<Vec<u8>> {
        let mut file = std::fs::File::from(self.open_file(name).ok()?);
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut file, &mut bytes).ok()?;
        Some(bytes)
    }
}

/// The stat of a pid right now; `None` where there is no such process. After an error nobody knows.
pub(crate) fn look(pid: i32) -> io::Result<Option<Stat>> {
    // One read gives all of it.
    let mut buffer = [0_u8; 1024];
    let file = std::fs::File::open(format!("/proc/{pid}/stat"));
    match file.and_then(|mut file| io::Read::read(&mut file, &mut buffer)) {
        Ok(length) => Ok(buffer.get(..length).and_then(parse_stat)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The same where it makes no difference why nothing can be said.
pub(crate) fn stat(pid: i32) -> Option<Stat> {
    look(pid).ok().flatten()
}

/// Whether the process goes by that name in lists.
pub(crate) fn is_called(pid: i32, name: &CStr) -> bool {
    std::fs::read(format!("/proc/{pid}/comm"))
        .is_ok_and(|told| told.strip_suffix(b"\n") == Some(name.to_bytes()))
}

/// That very process lives: same pid, same start, not a zombie.
pub(crate) fn is_alive(pid: i32, start: u64) -> bool {
    stat(pid).is_some_and(|stat| stat.start == start && !stat.is_dead())
}

/// It lives, or nobody can tell.
pub(crate) fn may_be_alive(pid: i32, start: u64) -> bool {
    look(pid).map_or(true, |found| found.is_some_and(|stat| stat.start == start && !stat.is_dead()))
}

/// The direct children of this (single-threaded) process, zombies included.
pub(crate) fn own_children() -> Vec<i32> {
    let pid = std::process::id();
    match std::fs::read_to_string(format!("/proc/self/task/{pid}/children")) {
        Ok(text) => text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect(),
        // A kernel without CONFIG_PROC_CHILDREN: the slow way, same answer.
        Err(_) => all_pids()
            .into_iter()
            .filter(|child| stat(*child).is_some_and(|stat| stat.ppid.cast_unsigned() == pid))
            .collect(),
    }
}

pub(crate) fn all_pids() -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    // The name may hold anything, parentheses and newlines included: the last ')' ends it.
    let open = bytes.iter().position(|byte| *byte == b'(')?;
    let close = bytes.iter().rposition(|byte| *byte == b')')?;
    let pid = std::str::from_utf8(bytes.get(..open)?).ok()?.trim().parse().ok()?;
    let rest = std::str::from_utf8(bytes.get(close + 2..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let ppid = fields.next()?.parse().ok()?;
    let pgid = fields.next()?.parse().ok()?;
    let sid = fields.next()?.parse().ok()?;
    let start = fields.nth(15)?.parse().ok()?;
    Some(Stat { pid, state, ppid, pgid, sid, start })
}

/// Takes ownership of a fresh descriptor, or the error that the call left.
pub(crate) fn owned(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just handed out this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(crate) fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain numbers; the result is checked.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    owned(RawFd::try_from(fd).unwrap_or(-1))
}

/// `CLOCK_MONOTONIC` in nanoseconds: the keeper's only clock.
pub(crate) fn monotonic() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the buffer is valid; the call cannot fail with this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_newlines_does_not_confuse() {
        let line = b"42 (a) S\n) (b) Z 7 42 41 0 -1 0 0 0 0 0 1 2 3 4 20 0 1 0 987 0 0";
        let stat = parse_stat(line).unwrap();
        assert_eq!(stat, Stat { pid: 42, state: b'Z', ppid: 7, pgid: 42, sid: 41, start: 987 });
    }

    #[test]
    fn this_process_is_alive_and_another_start_time_is_somebody_else() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let start = stat(pid).unwrap().start;
        assert!(is_alive(pid, start));
        assert!(!is_alive(pid, start + 1));
    }
}
