//! Makes one process: a session of its own, exact descriptors, folder, limits, mask and environment, and an error that
//! names the step which failed.
//!
//! The child shares our memory until it has executed (as `vfork` does), so a start costs no page-table copy and the
//! child can tell us its error directly. `clone3` also gives a pidfd and puts the child into its cgroup before it
//! runs its first instruction, so nothing that it forks can be outside.

use std::ffi::{CStr, CString, c_void};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;

use super::wire::SpawnStep;

/// What a child is made from; everything is prepared, for the child itself may neither allocate nor lock.
#[derive(Debug)]
pub(crate) struct Child<'a> {
    pub(crate) program: &'a CStr,
    pub(crate) argv: &'a [CString],
    pub(crate) env: &'a [&'a CStr],
    pub(crate) cwd: &'a OwnedFd,
    pub(crate) stdio: ChildStdio<'a>,
    pub(crate) umask: u32,
    /// (resource, soft, hard), in the order in which they are set.
    pub(crate) limits: &'a [(u32, u64, u64)],
    pub(crate) cgroup: Option<&'a OwnedFd>,
}

#[derive(Debug)]
pub(crate) enum ChildStdio<'a> {
    /// stdin, and where both outputs go.
    Files { stdin: &'a OwnedFd, out: &'a OwnedFd },
    /// The path of a terminal, which becomes the controlling one; stdin is it, unless a file is given. The log is only
    /// a name for whoever lists processes.
    Terminal { path: &'a CStr, stdin: Option<&'a OwnedFd>, log: &'a CStr },
}

#[derive(Debug)]
pub(crate) struct Born {
    pub(crate) pid: i32,
    /// The process that leads the session of a terminal.
    pub(crate) holder: Option<i32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) step: SpawnStep,
    pub(crate) errno: i32,
    /// Which one could not be set.
    pub(crate) limit: Option<u32>,
}

impl Failed {
    const fn at(step: SpawnStep, errno: i32) -> Self {
        Self { step, errno, limit: None }
    }
}

/// Starts the child. The caller has blocked all signals and ignores none, so the child inherits no handler.
pub(crate) fn spawn(child: &Child<'_>, stack: &mut Stack) -> Result<Born, Failed> {
    let argv = pointers(child.argv.iter().map(CString::as_c_str));
    let env = pointers(child.env.iter().copied());
    let (first, second) = stack.0.split_at_mut(STACK_WORDS);
    let mut plan = Plan { child, argv: &argv, env: &env, failed: None, main: 0, terminal: -1, stack: second };
    let pid = match &child.stdio {
        ChildStdio::Files { .. } => clone_child(&raw mut plan, first, child_main, 0, child.cgroup),
        ChildStdio::Terminal { .. } => clone_child(&raw mut plan, first, holder_main, 0, None),
    };
    // The child ran in our memory and is past it: what it wrote is read from memory, not from what was known before.
    // SAFETY: `plan` is a live local; volatile because the child wrote it behind the compiler's back.
    let failed = unsafe { ptr::read_volatile(&raw const plan.failed) };
    // SAFETY: as above.
    let main = unsafe { ptr::read_volatile(&raw const plan.main) };
    match (pid, failed) {
        (Err(error), _) => {
            let errno = error.raw_os_error().unwrap_or(libc::EAGAIN);
            // Only the cgroup part of the call can say these.
            let cgroup = child.cgroup.is_some() && matches!(errno, libc::ENODEV | libc::EBUSY | libc::EBADF);
            Err(Failed::at(if cgroup { SpawnStep::Cgroup } else { SpawnStep::Fork }, errno))
        }
        (Ok(pid), Some(failed)) => {
            // It has ended without having been anybody; its status means nothing.
            for pid in [pid, main].into_iter().filter(|pid| *pid > 0) {
                // SAFETY: a null status pointer is allowed.
                unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
            }
            Err(failed)
        }
        (Ok(holder), None) if main > 0 => Ok(Born { pid: main, holder: Some(holder) }),
        (Ok(pid), None) => Ok(Born { pid, holder: None }),
    }
}

/// The memory that a child, and the holder of a terminal before it, run on until they execute.
#[derive(Debug)]
pub(crate) struct Stack(Box<[u128]>);

/// 32 KiB each.
const STACK_WORDS: usize = 2048;

impl Stack {
    pub(crate) fn new() -> Self {
        Self(vec![0; STACK_WORDS * 2].into_boxed_slice())
    }
}

type Entry = extern "C" fn(*mut c_void) -> libc::c_int;

struct Plan<'a> {
    child: &'a Child<'a>,
    argv: &'a [*const libc::c_char],
    env: &'a [*const libc::c_char],
    failed: Option<Failed>,
    /// For a terminal: the main process, the terminal as the holder has it open, and a stack for the main process.
    main: i32,
    terminal: RawFd,
    stack: &'a mut [u128],
}

fn pointers<'a>(strings: impl Iterator<Item = &'a CStr>) -> Vec<*const libc::c_char> {
    strings.map(CStr::as_ptr).chain([ptr::null()]).collect()
}

const FLAGS: libc::c_int = libc::CLONE_VM | libc::CLONE_VFORK;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn clone_child(
    plan: *mut Plan<'_>,
    stack: &mut [u128],
    entry: Entry,
    flags: libc::c_int,
    cgroup: Option<&OwnedFd>,
) -> io::Result<i32> {
    /// The kernel's `struct clone_args`.
    #[repr(C)]
    #[derive(Default)]
    struct CloneArgs {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
        set_tid: u64,
        set_tid_size: u64,
        cgroup: u64,
    }
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

    let mut args = CloneArgs {
        flags: u64::from((FLAGS | flags).cast_unsigned()),
        // A sibling has the exit signal of the one who makes it.
        exit_signal: if flags & libc::CLONE_PARENT == 0 {
            u64::from(libc::SIGCHLD.cast_unsigned())
        } else {
            0
        },
        stack: stack.as_mut_ptr() as u64,
        stack_size: std::mem::size_of_val(stack) as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    let size = std::mem::size_of::<CloneArgs>();
    let result: i64;
    // SAFETY: the child continues on its own stack and only calls `child_main`, which never returns; the parent is
    // suspended until the child has executed or exited, so `plan` and `stack` outlive its use of them.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") &raw const args,
            in("rsi") size,
            in("r12") entry,
            in("r13") plan.cast::<c_void>(),
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, #0",
            "mov x0, x21",
            "blr x20",
            "brk #1",
            "2:",
            inlateout("x0") &raw const args => result,
            in("x1") size,
            in("x8") libc::SYS_clone3,
            in("x20") entry,
            in("x21") plan.cast::<c_void>(),
            lateout("x30") _,
        );
    }
    if result < 0 {
        let error = io::Error::from_raw_os_error(i32::try_from(-result).unwrap_or(libc::EINVAL));
        // Some sandboxes hide clone3; the older call does all but the cgroup.
        if error.raw_os_error() == Some(libc::ENOSYS) {
            return clone_by_libc(plan, stack, entry, flags, cgroup);
        }
        return Err(error);
    }
    Ok(i32::try_from(result).unwrap_or(-1))
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn clone_child(
    plan: *mut Plan<'_>,
    stack: &mut [u128],
    entry: Entry,
    flags: libc::c_int,
    cgroup: Option<&OwnedFd>,
) -> io::Result<i32> {
    clone_by_libc(plan, stack, entry, flags, cgroup)
}

fn clone_by_libc(
    plan: *mut Plan<'_>,
    stack: &mut [u128],
    entry: Entry,
    flags: libc::c_int,
    cgroup: Option<&OwnedFd>,
) -> io::Result<i32> {
    if cgroup.is_some() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    // SAFETY: the pointer is one past the end of the stack, which grows down; otherwise as in `clone_child`.
    let pid = unsafe {
        let top = stack.as_mut_ptr().add(stack.len());
        libc::clone(entry, top.cast(), FLAGS | flags | libc::SIGCHLD, plan.cast::<c_void>())
    };
    if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(pid) }
}

/// Runs in the child, in the parent's memory: system calls only, no allocation, no lock, no panic, no return.
extern "C" fn child_main(plan: *mut c_void) -> libc::c_int {
    // SAFETY: the parent passed a `Plan` that lives until we have executed or exited, and touches it no more.
    let plan = unsafe { &mut *plan.cast::<Plan<'_>>() };
    let failed = prepare_and_exec(plan);
    give_up(plan, failed)
}

fn give_up(plan: &mut Plan<'_>, failed: Failed) -> ! {
    // SAFETY: a volatile write, since the parent reads it without the compiler knowing of us.
    unsafe { ptr::write_volatile(&raw mut plan.failed, Some(failed)) };
    // SAFETY: ends this process at once, running no destructor of the parent's.
    unsafe { libc::_exit(127) }
}

fn prepare_and_exec(plan: &Plan<'_>) -> Failed {
    let child = plan.child;
    let fail = |step| Failed::at(step, errno());
    // SAFETY: every call takes plain numbers, descriptors that are open in the parent, or pointers prepared by it.
    unsafe {
        // The token first: from here on this process can be told to be ours, whatever happens.
        for (resource, soft, hard) in child.limits {
            let limit = libc::rlimit { rlim_cur: *soft, rlim_max: *hard };
            if libc::setrlimit(*resource, &raw const limit) != 0 {
                return Failed { limit: Some(*resource), ..fail(SpawnStep::Limit) };
            }
        }
        let (stdin, out) = match &child.stdio {
            ChildStdio::Files { stdin, out } => {
                if libc::setsid() < 0 {
                    return fail(SpawnStep::Fork);
                }
                (stdin.as_raw_fd(), out.as_raw_fd())
            }
            ChildStdio::Terminal { stdin, .. } => {
                // In the holder's session, as the group in the foreground. Signals are blocked, so asking for that from
                // the background stops nobody.
                let own = libc::getpid();
                if libc::setpgid(0, 0) != 0
                    || libc::ioctl(plan.terminal, libc::TIOCSPGRP, &raw const own) != 0
                {
                    return fail(SpawnStep::Pty);
                }
                (stdin.map_or(plan.terminal, AsRawFd::as_raw_fd), plan.terminal)
            }
        };
        let wanted: [(RawFd, RawFd); 3] = [(stdin, 0), (out, 1), (out, 2)];
        for (from, to) in wanted {
            if libc::dup2(from, to) < 0 {
                return fail(SpawnStep::Log);
            }
        }
        if libc::fchdir(child.cwd.as_raw_fd()) != 0 {
            return fail(SpawnStep::Cwd);
        }
        libc::umask(child.umask);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        libc::execve(child.program.as_ptr(), plan.argv.as_ptr(), plan.env.as_ptr());
    }
    fail(SpawnStep::Exec)
}

/// Leads the session of a terminal, makes the main process in it as a sibling, and then only waits.
///
/// When the leader of a session ends, the kernel throws away what was printed into its terminal and not read yet. So
/// the main process must not be the leader; and whoever is must outlive the reading of the last byte.
extern "C" fn holder_main(plan: *mut c_void) -> libc::c_int {
    // SAFETY: as in `child_main`.
    let plan = unsafe { &mut *plan.cast::<Plan<'_>>() };
    let ChildStdio::Terminal { path, log, .. } = &plan.child.stdio else {
        give_up(plan, Failed::at(SpawnStep::Pty, libc::EINVAL))
    };
    // SAFETY: plain calls with strings that the parent prepared.
    unsafe {
        let terminal =
            if libc::setsid() < 0 { -1 } else { libc::open(path.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
        if terminal < 0 || libc::ioctl(terminal, libc::TIOCSCTTY, 0) != 0 {
            let failed = Failed::at(SpawnStep::Pty, errno());
            give_up(plan, failed)
        }
        plan.terminal = terminal;
    }
    let (cgroup, this) = (plan.child.cgroup, ptr::from_mut(plan));
    // SAFETY: the second stack is used by nobody else; `plan` outlives the main process's use of it, for we are
    // suspended meanwhile.
    let made = unsafe { clone_child(this, &mut *(*this).stack, child_main, libc::CLONE_PARENT, cgroup) };
    match made {
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(libc::EAGAIN);
            give_up(plan, Failed::at(SpawnStep::Fork, errno))
        }
        // SAFETY: volatile, since the parent reads it without the compiler knowing of us.
        Ok(pid) => unsafe { ptr::write_volatile(&raw mut plan.main, pid) },
    }
    // SAFETY: volatile, since the main process wrote it without the compiler knowing.
    if unsafe { ptr::read_volatile(&raw const plan.failed) }.is_some() {
        // SAFETY: ends this process at once.
        unsafe { libc::_exit(127) }
    }
    let mut digits = [0_u8; 12];
    let main = decimal(plan.main, &mut digits);
    let argv = [
        c"restage".as_ptr(),
        super::holder::ROLE_C.as_ptr(),
        main.as_ptr().cast(),
        log.as_ptr(),
        ptr::null(),
    ];
    // SAFETY: all strings end with NUL and outlive the call; the terminal is closed by it. Where it fails, the main
    // process loses its terminal with us, which it is told as ever: by a hang-up.
    unsafe {
        libc::execve(c"/proc/self/exe".as_ptr(), argv.as_ptr(), plan.env.as_ptr());
        libc::_exit(127)
    }
}

/// The digits of a positive number and a NUL, without allocating.
fn decimal(mut number: i32, digits: &mut [u8; 12]) -> &[u8] {
    let mut at = 11;
    while number > 0 && at > 0 {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
    &digits[at..]
}

fn errno() -> i32 {
    // SAFETY: the address of errno is always valid; the parent, whose errno it is, is suspended.
    unsafe { *libc::__errno_location() }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use super::*;

    fn run(argv: &[&str], umask: u32) -> Result<(i32, String), Failed> {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let out = OwnedFd::from(File::create(&log).unwrap());
        let stdin = OwnedFd::from(File::open("/dev/null").unwrap());
        let cwd = OwnedFd::from(File::open("/").unwrap());
        let argv: Vec<CString> = argv.iter().map(|arg| CString::new(*arg).unwrap()).collect();
        let env = [c"A=1"];
        let child = Child {
            program: &argv[0],
            argv: &argv,
            env: &env,
            cwd: &cwd,
            stdio: ChildStdio::Files { stdin: &stdin, out: &out },
            umask,
            limits: &[(5, 4242, libc::RLIM_INFINITY)],
            cgroup: None,
        };
        let born = spawn(&child, &mut Stack::new())?;
        let mut status = 0;
        // SAFETY: our own child, a valid place for its status.
        unsafe { libc::waitpid(born.pid, &raw mut status, 0) };
        let mut text = String::new();
        File::open(&log).unwrap().read_to_string(&mut text).unwrap();
        Ok((libc::WEXITSTATUS(status), text))
    }

    #[test]
    fn a_child_gets_exactly_what_was_prepared() {
        let script = "pwd; umask; echo $A; grep 'resident set' /proc/self/limits; exit 7";
        let (code, text) = run(&["/bin/sh", "-c", script], 0o027).unwrap();
        assert_eq!(code, 7);
        assert!(text.starts_with("/\n0027\n1\n"), "{text}");
        assert!(text.contains("4242"), "{text}");
    }

    #[test]
    fn a_failing_exec_names_its_step() {
        let failed = run(&["/nonexistent/program"], 0o022).unwrap_err();
        assert_eq!(failed, Failed::at(SpawnStep::Exec, libc::ENOENT));
    }
}
