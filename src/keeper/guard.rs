//! The guard: the parent of the keeper. It does nothing but wait; if the keeper dies, every child becomes the guard's,
//! and the guard becomes the keeper.

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::door;
use super::footprint;
use super::launch::Inheritance;
use super::serve::{self, Places};

/// What a keeper is called in lists of processes; its children, too, until they have executed.
pub(crate) const NAME: &CStr = c"restage-keeper";

/// Exit code of the starter when a keeper is there already.
pub(crate) const HELD: u8 = 75;
const BROKEN: u8 = 70;

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

fn guard(places: &Places, mut to_starter: File) -> i32 {
    footprint::keep_little();
    let prepared = prepare(places);
    let (lock, inheritance) = match prepared {
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
    let guard = std::process::id().cast_signed();
    // SAFETY: there is one thread; the child may run ordinary code.
    let keeper = match unsafe { libc::fork() } {
        -1 => {
            let error = io::Error::last_os_error();
            to_starter.write_all(format!("fork the keeper: {error}").as_bytes()).ok();
            return i32::from(BROKEN);
        }
        0 => {
            // Not inherited by a fork: without it orphans would go past the keeper.
            become_subreaper();
            name(NAME);
            return keep(places, inheritance, lock, Some(guard), Some(to_starter));
        }
        pid => pid,
    };
    drop(to_starter);
    footprint::give_back();
    if ended_well(keeper) {
        return 0;
    }
    name(NAME);
    keep(places, inheritance, lock, None, None)
}

fn keep(
    places: &Places,
    inheritance: Inheritance,
    lock: File,
    guard: Option<i32>,
    to_starter: Option<File>,
) -> i32 {
    let starter = std::cell::RefCell::new(to_starter);
    let ready = || {
        if let Some(mut starter) = starter.borrow_mut().take() {
            starter.write_all(b"ready").ok();
        }
    };
    match serve::serve(places, inheritance, lock, guard, ready) {
        Ok(()) => 0,
        Err(error) => {
            let text = format!("keep the processes of {}: {error}", places.data_dir.display());
            match starter.borrow_mut().take() {
                Some(mut starter) => starter.write_all(text.as_bytes()).ok(),
                None => writeln!(io::stderr(), "{text}").ok(),
            };
            i32::from(BROKEN)
        }
    }
}

/// Waits for the keeper; true when it ended because its work was done.
fn ended_well(keeper: i32) -> bool {
    loop {
        let mut status = 0;
        // SAFETY: the status is a valid place.
        let done = unsafe { libc::waitpid(keeper, &raw mut status, 0) };
        if done == keeper {
            return libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return false;
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
    name(c"restage-guard");
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
