//! What the subjects share: the programs under test, waiting with a deadline, looking into /proc.

pub(crate) mod terminal;
pub(crate) mod workspace;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The built program.
pub(crate) const RESTAGE: &str = env!("CARGO_BIN_EXE_restage");

/// Long enough for a busy machine; nothing waits this long when it works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The program that behaves badly on demand.
pub(crate) fn fixture() -> PathBuf {
    let path = Path::new(RESTAGE).parent().unwrap().join("examples/fixture");
    assert!(
        path.exists(),
        "{} is missing: `cargo build --examples` makes it, as `cargo test` does",
        path.display()
    );
    path
}

/// Waits until `probe` gives something; fails with `what` when it does not in time.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}

#[track_caller]
pub(crate) fn wait_until(what: &str, mut probe: impl FnMut() -> bool) {
    wait_for(what, || probe().then_some(()));
}

/// A pid that somebody wrote into a file.
#[track_caller]
pub(crate) fn pid_in(path: &Path) -> i32 {
    wait_for(&format!("a pid in {}", path.display()), || {
        std::fs::read_to_string(path).ok()?.trim().parse().ok()
    })
}

/// It runs; a zombie does not.
pub(crate) fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X'])))
}

pub(crate) fn kill_9(pid: i32) {
    assert!(pid > 1, "refusing to kill {pid}");
    unsafe { libc::kill(pid, libc::SIGKILL) };
}
