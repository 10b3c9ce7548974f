//! The exit status of a process that is not our child, on kernels that tell it.

use std::os::fd::RawFd;

use super::wire::ExitKind;

/// The first version of the kernel's `struct pidfd_info`.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup_id: u64,
    ids: [u32; 11],
    exit_code: i32,
}

const PIDFD_GET_INFO: libc::c_ulong = 0xC040_FF0B;
const PIDFD_INFO_EXIT: u64 = 1 << 3;

/// How the process ended: from its pidfd once it was reaped (kernel 6.15), or from its zombie's stat before.
pub(crate) fn exit_of(pidfd: RawFd, pid: i32) -> ExitKind {
    from_pidfd(pidfd)
        .or_else(|| from_zombie(pid))
        .or_else(|| from_pidfd(pidfd))
        .map_or(ExitKind::Unknown, decode)
}

fn from_pidfd(pidfd: RawFd) -> Option<i32> {
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the struct has the size that the number of the call names; older kernels refuse the call.
    let done = unsafe { libc::ioctl(pidfd, PIDFD_GET_INFO, &raw mut info) };
    (done == 0 && info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code)
}

fn from_zombie(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = stat.rsplit_once(") ")?.1;
    let is_zombie = fields.starts_with('Z');
    is_zombie.then(|| fields.split_ascii_whitespace().last()?.parse().ok()).flatten()
}

/// From the raw wait status.
fn decode(raw: i32) -> ExitKind {
    if libc::WIFSIGNALED(raw) {
        ExitKind::Signal(libc::WTERMSIG(raw))
    } else {
        ExitKind::Code(libc::WEXITSTATUS(raw))
    }
}
