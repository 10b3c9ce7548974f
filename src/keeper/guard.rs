//! The guard: the parent of the keeper. It does nothing but wait; if the keeper dies, every child becomes the guard's,
//! and the guard becomes the keeper, until nothing lives: then it forks another one, and waits again.

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::door;
use super::footprint;
use super::ground::pause;
use super::launch::Inheritance;
use super::post::{End, Post};
use super::proc;
use super::reaping;
use super::serve::{self, Places};

/// What a keeper is called in lists of processes; its children, too, until they have executed.
pub(crate) const NAME: &CStr = c"restage-keeper";
const GUARD_NAME: &CStr = c"restage-guard";

/// Exit code of the starter when a keeper is there already.
pub(crate) const HELD: u8 = 75;
const BROKEN: u8 = 70;
/// Exit code of a first keeper that could not begin, and has told whoever started it.
const NEVER_BEGAN: u8 = 71;

/// The starter: forks the guard and returns as soon as its keeper can be reached, or cannot. Called before there is
/// any thread.
pub(crate) fn start(places: &Places) -> u8 {
    match fork_guard(places) {
        Ok(word) if word == "ready" => 0,
        Ok(word) if word == "held" => HELD,
        Ok(word) => {
            complain(&word);
            BROKEN
        }
        Err(error) => {
            complain(&format!("start the keeper: {error}"));
            BROKEN
        }
    }
}

fn complain(text: &str) {
    // stderr is the starter's, and where it is closed there is nobody to tell.
    writeln!(io::stderr(), "{text}").ok();
}

fn fork_guard(places: &Places) -> io::Result<String> {
    let (mut from_keeper, to_starter) = pipe()?;
    // SAFETY: there is one thread; the child may run ordinary code.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(from_keeper);
            let code = guard(places, to_starter);
            // SAFETY: ends the guard without the starter's destructors.
            unsafe { libc::_exit(code) }
        }
        _ => {
            drop(to_starter);
            let mut word = String::new();
            from_keeper.read_to_string(&mut word)?;
            Ok(if word.is_empty() { "the keeper ended while it was starting".into() } else { word })
        }
    }
}

/// Forks the keeper and waits for it. If it dies, its children are ours, and so is its place, without anybody behind us;
/// and a keeper that has nobody behind it comes back here as soon as nothing lives, to be the guard of a new one.
fn guard(places: &Places, mut to_starter: File) -> i32 {
    footprint::keep_little();
    let (mut lock, mut inheritance) = match prepare(places) {
        Ok(Some(prepared)) => prepared,
        Ok(None) => {
            to_starter.write_all(b"held").ok();
            return 0;
        }
        Err(error) => {
            to_starter.write_all(error.as_bytes()).ok();
            return i32::from(BROKEN);
        }
    };
    let mut to_starter = Some(to_starter);
    let mut losses = Losses::default();
    let mut follows = false;
    loop {
        let ours = std::process::id().cast_signed();
        // SAFETY: there is one thread; the child may run ordinary code.
        let forked = unsafe { libc::fork() };
        match (forked, &mut to_starter) {
            (-1, Some(to_starter)) => {
                let error = io::Error::last_os_error();
                to_starter.write_all(format!("fork the keeper: {error}").as_bytes()).ok();
                return i32::from(BROKEN);
            }
            (-1, None) => {}
            (0, _) => {
                // Not inherited by a fork: without it orphans would go past the keeper.
                become_subreaper();
                wake_when_orphaned();
                losses = Losses::default();
            }
            (keeper, _) => {
                to_starter = None;
                name(GUARD_NAME);
                footprint::give_back();
                let since = proc::monotonic();
                if let Some(code @ (0 | NEVER_BEGAN)) = exit_code(keeper) {
                    return code.into();
                }
                losses.count(since);
                follows = true;
            }
        }
        name(NAME);
        let post = match forked {
            0 => Post::guarded_by(ours, follows),
            -1 => Post::alone(),
            _ => Post::taken_over(),
        };
        match keep(places, inheritance, &lock, post, to_starter.take()) {
            Ok(End::Done) => return 0,
            Ok(End::GivesWay(kept)) => (inheritance, lock) = kept,
            Err(code) => return code.into(),
        }
        follows = true;
    }
}

/// Keepers that were lost one soon after the other. Should it be the fault of something that lasts, it must not take the
/// whole processor.
#[derive(Default)]
struct Losses(u32);

impl Losses {
    /// Nanoseconds.
    const SOON: u64 = 1_000_000_000;
    const MANY: u32 = 20;
    const PAUSE_MS: u16 = 100;

    /// Waits where there are too many.
    fn count(&mut self, since: u64) {
        let soon = proc::monotonic() < since + Self::SOON;
        self.0 = if soon { self.0 + 1 } else { 0 };
        if self.0 > Self::MANY {
            pause(Self::PAUSE_MS);
        }
    }
}

fn keep(
    places: &Places,
    inheritance: Inheritance,
    lock: &File,
    post: Post,
    to_starter: Option<File>,
) -> Result<End, u8> {
    let starter = std::cell::RefCell::new(to_starter);
    let ready = || {
        if let Some(mut starter) = starter.borrow_mut().take() {
            starter.write_all(b"ready").ok();
        }
    };
    serve::serve(places, inheritance, lock, post, ready).map_err(|error| {
        let text = format!("keep the processes of {}: {error}", places.data_dir.display());
        if let Some(mut starter) = starter.borrow_mut().take() {
            starter.write_all(text.as_bytes()).ok();
            NEVER_BEGAN
        } else {
            writeln!(io::stderr(), "{text}").ok();
            BROKEN
        }
    })
}

/// Waits for the keeper; how it ended, where that was by itself. What else ends meanwhile was left to us by a time as
/// keeper, and is of no interest any more.
fn exit_code(keeper: i32) -> Option<u8> {
    while let Some(pid) = wait_for_any() {
        // What the keeper had becomes ours in the moment of its death, not before: its ends are told by whoever takes its
        // place.
        if pid == keeper || proc::stat(keeper).is_none_or(|keeper| keeper.is_dead()) {
            break;
        }
        reaping::reap_one(pid);
    }
    let mut status = 0;
    // SAFETY: the status is a valid place; the keeper has ended.
    let done = unsafe { libc::waitpid(keeper, &raw mut status, 0) };
    let code = (done == keeper && libc::WIFEXITED(status)).then(|| libc::WEXITSTATUS(status));
    code.and_then(|code| code.try_into().ok())
}

/// A child that has ended, and stays so; `None` where there is none.
fn wait_for_any() -> Option<i32> {
    loop {
        // SAFETY: a zeroed struct is valid, the kernel fills it; after a successful call its pid is a valid field.
        let (done, pid) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            (libc::waitid(libc::P_ALL, 0, &raw mut info, libc::WEXITED | libc::WNOWAIT), info.si_pid())
        };
        if done == 0 {
            return Some(pid);
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return None;
        }
    }
}

/// Everything that both have in common; `None` when another pair holds the lock.
fn prepare(places: &Places) -> Result<Option<(File, Inheritance)>, String> {
    let at = |act: &str, error: io::Error| format!("{act}: {error}");
    // SAFETY: plain calls of a single-threaded process.
    let umask = unsafe {
        libc::setsid();
        libc::umask(0o077)
    };
    let Some(lock) = door::lock(&places.data_dir)? else { return Ok(None) };
    redirect(&places.data_dir).map_err(|error| at("leave the terminal", error))?;
    // SAFETY: plain calls of a single-threaded process. All signals are blocked for good and none is ignored, so the
    // children inherit neither handlers nor ignored signals, and their mask is emptied by the spawn.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
    }
    become_subreaper();
    let inheritance = Inheritance::take(umask);
    std::env::set_current_dir("/").map_err(|error| at("go to /", error))?;
    Ok(Some((lock, inheritance)))
}

/// No terminal, no pipe of whoever started us: only a small file for last words.
fn redirect(data_dir: &Path) -> io::Result<()> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    let words = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(data_dir.join("keeper.log"));
    let words = match words {
        Ok(file) => {
            if file.metadata()?.len() > 256 << 10 {
                file.set_len(0)?;
            }
            file
        }
        Err(_) => null.try_clone()?,
    };
    for (from, to) in [(null.as_raw_fd(), 0), (null.as_raw_fd(), 1), (words.as_raw_fd(), 2)] {
        // SAFETY: both are descriptors of ours.
        if unsafe { libc::dup2(from, to) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

fn become_subreaper() {
    // SAFETY: plain numbers.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}

/// The death of the guard is an event like that of a child.
fn wake_when_orphaned() {
    // SAFETY: plain numbers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGCHLD, 0, 0, 0) };
}

fn name(name: &CStr) {
    // SAFETY: a valid C string; the kernel copies at most 15 bytes.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

fn pipe() -> io::Result<(File, File)> {
    let mut ends = [-1; 2];
    // SAFETY: the array is valid for two descriptors, which are ours if the call succeeds.
    unsafe {
        if libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((File::from(OwnedFd::from_raw_fd(ends[0])), File::from(OwnedFd::from_raw_fd(ends[1]))))
    }
}
