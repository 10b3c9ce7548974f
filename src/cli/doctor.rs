//! What this machine gives to supervision, and what it lacks: each finding with its way out.

use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sys::inotify::{InitFlags, Inotify};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};
use serde::Serialize;

use crate::supervisor::atomic::private_dir;
use crate::supervisor::place::WorkspacePlaces;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Ok,
    /// It works, with less than could be.
    Warn,
    /// It does not work.
    Fail,
}

impl Level {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub level: Level,
    pub subject: &'static str,
    pub message: String,
    pub hint: Option<&'static str>,
}

impl Finding {
    fn ok(subject: &'static str, message: impl Into<String>) -> Self {
        Self { level: Level::Ok, subject, message: message.into(), hint: None }
    }

    fn warn(subject: &'static str, message: impl Into<String>, hint: &'static str) -> Self {
        Self { level: Level::Warn, subject, message: message.into(), hint: Some(hint) }
    }

    fn fail(subject: &'static str, message: impl Into<String>, hint: &'static str) -> Self {
        Self { level: Level::Fail, subject, message: message.into(), hint: Some(hint) }
    }
}

/// The oldest kernel with everything that the keeper uses.
const OLDEST_KERNEL: (u32, u32) = (5, 10);
/// Below the first a warning, below the second nothing can be recorded for long.
const LITTLE_SPACE: u64 = 1 << 30;
const NO_SPACE: u64 = 64 << 20;
/// A few for each runner.
const FEW_FILES: u64 = 1024;

pub fn examine(places: &WorkspacePlaces) -> Vec<Finding> {
    let mut findings = vec![
        kernel(),
        pidfd(),
        children_file(),
        cgroups(),
        folder("runtime folder", places.prepare_runtime_dir().map(Path::to_owned)),
        folder("state folder", made(&places.state_dir)),
        folder("data folder", made(&places.data_dir)),
    ];
    for (subject, dir) in [("space for logs", &places.data_dir), ("space for state", &places.state_dir)] {
        findings.push(match statvfs(existing(dir)) {
            Ok(stat) => space(subject, stat.blocks_available().saturating_mul(stat.fragment_size())),
            Err(error) => Finding::warn(subject, format!("cannot be told: {error}"), "look at it with df"),
        });
    }
    findings.push(match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) => open_files(soft, hard),
        Err(error) => {
            Finding::warn("open files", format!("the limit cannot be told: {error}"), "see ulimit -n")
        }
    });
    findings.push(inotify());
    findings
}

fn kernel() -> Finding {
    let release = nix::sys::utsname::uname().ok();
    let release = release.as_ref().map(|names| names.release().to_string_lossy().into_owned());
    kernel_finding(release.as_deref().unwrap_or("unknown"))
}

fn kernel_finding(release: &str) -> Finding {
    const HINT: &str = "restage needs Linux 5.10 or newer: upgrade the kernel";
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= OLDEST_KERNEL => {
            Finding::ok("kernel", release)
        }
        (Some(Ok(_)), Some(Ok(_))) => Finding::fail("kernel", format!("{release} is too old"), HINT),
        _ => Finding::warn("kernel", format!("{release:?} says no version"), HINT),
    }
}

fn pidfd() -> Finding {
    // SAFETY: pidfd_open takes a pid and flags and touches no memory of ours.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0) };
    match i32::try_from(descriptor) {
        Ok(descriptor) if descriptor >= 0 => {
            // SAFETY: the kernel has just given it to us, and nobody else knows it.
            drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
            Finding::ok("pidfd", "the end of a process is seen at once")
        }
        Ok(_) | Err(_) => Finding::fail(
            "pidfd",
            format!("pidfd_open: {}", io::Error::last_os_error()),
            "a sandbox filters it (an old container runtime, gVisor): allow pidfd_open and pidfd_send_signal",
        ),
    }
}

fn children_file() -> Finding {
    match fs::read_to_string("/proc/thread-self/children") {
        Ok(_) => Finding::ok("/proc children", "descendants are found without reading all of /proc"),
        Err(error) => Finding::warn(
            "/proc children",
            format!("/proc/thread-self/children: {error}"),
            "the kernel lacks CONFIG_PROC_CHILDREN: sweeps read all of /proc and take longer",
        ),
    }
}

fn cgroups() -> Finding {
    const SUBJECT: &str = "cgroup v2";
    const HINT: &str = "trees are found by descent, session and marks instead; for cgroups start restage in a \
        delegated scope: systemd-run --user --scope -p Delegate=yes restage …";
    let mount = Path::new("/sys/fs/cgroup");
    if !statfs(mount).is_ok_and(|stat| stat.filesystem_type() == CGROUP2_SUPER_MAGIC) {
        return Finding::warn(SUBJECT, "not mounted at /sys/fs/cgroup", HINT);
    }
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(path) = own.lines().find_map(|line| line.strip_prefix("0::/")) else {
        return Finding::warn(SUBJECT, "/proc/self/cgroup names none", HINT);
    };
    let dir = mount.join(path);
    match access(&dir, AccessFlags::W_OK) {
        Ok(()) => Finding::ok(SUBJECT, format!("{} can be written: one for each attempt", dir.display())),
        Err(error) => Finding::warn(SUBJECT, format!("{} cannot be written: {error}", dir.display()), HINT),
    }
}

fn folder(subject: &'static str, made: io::Result<PathBuf>) -> Finding {
    let tried = made.and_then(|dir| {
        access(&dir, AccessFlags::W_OK | AccessFlags::X_OK).map(|()| dir).map_err(Into::into)
    });
    match tried {
        Ok(dir) => Finding::ok(subject, dir.display().to_string()),
        Err(error) => {
            Finding::fail(subject, error.to_string(), "make it a folder of your own that can be written")
        }
    }
}

fn made(dir: &Path) -> io::Result<PathBuf> {
    let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", dir.display()));
    private_dir(dir).map(|()| dir.to_owned()).map_err(told)
}

/// The folder itself, or the nearest one above it that is there.
fn existing(dir: &Path) -> &Path {
    dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}

fn space(subject: &'static str, free: u64) -> Finding {
    const HINT: &str = "make room, or set log_max_bytes and log_keep_attempts";
    let text = format!("{} free", crate::frontend::text::bytes(free));
    if free < NO_SPACE {
        Finding::fail(subject, text, HINT)
    } else if free < LITTLE_SPACE {
        Finding::warn(subject, text, HINT)
    } else {
        Finding::ok(subject, text)
    }
}

fn open_files(soft: u64, hard: u64) -> Finding {
    let text = format!("{soft} (at most {hard})");
    if hard < FEW_FILES {
        Finding::warn("open files", text, "enough for a few runners: raise the limit with ulimit -Hn")
    } else {
        Finding::ok("open files", text)
    }
}

fn inotify() -> Finding {
    const SUBJECT: &str = "inotify";
    let limit = |name: &str| fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).unwrap_or_default();
    match Inotify::init(InitFlags::IN_CLOEXEC) {
        Ok(_) => Finding::ok(
            SUBJECT,
            format!(
                "{} instances, {} watches a user",
                limit("max_user_instances").trim(),
                limit("max_user_watches").trim()
            ),
        ),
        Err(error) => Finding::warn(
            SUBJECT,
            format!("{error}: changes of the config and of watched files are seen late"),
            "raise fs.inotify.max_user_instances with sysctl, or end what holds them",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels() {
        let table = [
            ("6.18.1-arch1-1", Level::Ok),
            ("5.10.0", Level::Ok),
            ("5.9.16", Level::Fail),
            ("4.18.0-553.el8", Level::Fail),
            ("unknown", Level::Warn),
        ];
        for (release, level) in table {
            assert_eq!(kernel_finding(release).level, level, "{release}");
        }
    }

    #[test]
    fn little_is_told_and_nothing_is_fatal() {
        assert_eq!(space("x", 5 << 30).level, Level::Ok);
        assert_eq!(space("x", 500 << 20).level, Level::Warn);
        assert_eq!(space("x", 1 << 20).level, Level::Fail);
        assert_eq!(open_files(256, 256).level, Level::Warn);
        assert_eq!(open_files(256, 4096).level, Level::Ok);
    }

    #[test]
    fn a_folder_that_cannot_be_had_fails_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let finding = folder("state folder", made(&file.join("below")));
        assert_eq!(finding.level, Level::Fail);
        assert!(finding.message.contains("below"), "{finding:?}");
        assert!(finding.hint.is_some());
    }
}
