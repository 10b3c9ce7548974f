//! The holder: leads the session of a terminal for as long as its main process lives, and a moment longer, until the
//! relay has read what was printed last. The keeper ends it before that, once the attempt is gone.

use std::ffi::{CStr, OsString};
use std::os::fd::AsRawFd;
use std::process::ExitCode;

use super::proc;

/// The first argument of a process that is to become a holder.
pub(crate) const ROLE: &str = "__hold";
pub(crate) const ROLE_C: &CStr = c"__hold";

/// For the last bytes to be read.
const LINGER_MS: libc::c_int = 3_000;

/// The role `__hold PID LOG`: waits for the end of that process.
pub(crate) fn main(arguments: &[OsString]) -> ExitCode {
    // SAFETY: the name is a valid C string.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"restage-holder".as_ptr()) };
    let pid = arguments.first().and_then(|pid| pid.to_str()?.parse().ok());
    if let Some(pidfd) = pid.and_then(|pid: i32| proc::pidfd_open(pid).ok()) {
        let mut wait = libc::pollfd { fd: pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid entry; without a deadline, for that process ends when it ends.
        unsafe { libc::poll(&raw mut wait, 1, -1) };
    }
    // SAFETY: no entries: only the time.
    unsafe { libc::poll(std::ptr::null_mut(), 0, LINGER_MS) };
    ExitCode::SUCCESS
}
