//! The kernel's word on children that have ended: looked at first, taken away afterwards.

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
        max_rss_kb: usage.ru_maxrss.cast_unsigned(),
    })
}

pub(super) fn reap_one(pid: i32) {
    // SAFETY: a null status is allowed; the child has ended, so this does not wait.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) };
}
