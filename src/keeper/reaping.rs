//! The kernel's word on children that have ended: looked at first, taken away afterwards.

use std::cell::Cell;

use super::wire::ExitKind;

pub(super) struct Ended {
    pub(super) pid: i32,
    pub(super) status: ExitKind,
    pub(super) cpu_ms: u64,
    pub(super) max_rss_kb: u64,
}

/// A child that has ended and was not reaped; it stays so.
pub(super) fn next_ended() -> Option<Ended> {
    // SAFETY: zeroed structs are valid, the kernel fills them; the raw call is the one that also tells the usage.
    let (info, usage, done) = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let mut usage: libc::rusage = std::mem::zeroed();
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        let done = libc::syscall(libc::SYS_waitid, libc::P_ALL, 0, &raw mut info, flags, &raw mut usage);
        (info, usage, done)
    };
    // SAFETY: after a successful waitid these fields of the union are the valid ones.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if done != 0 || pid == 0 {
        return None;
    }
    let status =
        if info.si_code == libc::CLD_EXITED { ExitKind::Code(status) } else { ExitKind::Signal(status) };
    let millis =
        |time: libc::timeval| time.tv_sec.cast_unsigned() * 1000 + time.tv_usec.cast_unsigned() / 1000;
    Some(Ended {
        pid,
        status,
        cpu_ms: millis(usage.ru_utime) + millis(usage.ru_stime),
        max_rss_kb: of_its_own(usage.ru_maxrss.cast_unsigned()),
    })
}

pub(super) fn reap_one(pid: i32) {
    // SAFETY: a null status is allowed; the child has ended, so this does not wait.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) };
}

/// What the kernel may add up late, of ours.
const RSS_MARGIN_KB: u64 = 1024;

/// The most memory that a child had, where that is known. Until it executed it shared ours, and the kernel counts the most
/// that we ever had as its own: up to there nothing can be said, and the answer is 0.
fn of_its_own(max_rss_kb: u64) -> u64 {
    thread_local! {
        /// It only grows.
        static OURS: Cell<u64> = const { Cell::new(0) };
    }
    OURS.with(|ours| {
        if max_rss_kb > ours.get() + RSS_MARGIN_KB {
            // More than we had when we looked last; we may have grown since.
            ours.set(own_peak_kb().unwrap_or(0).max(ours.get()));
        }
        if max_rss_kb > ours.get() + RSS_MARGIN_KB { max_rss_kb } else { 0 }
    })
}

fn own_peak_kb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().strip_suffix("kB")?.trim().parse().ok()
}
