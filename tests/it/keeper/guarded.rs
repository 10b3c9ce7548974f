//! Whether a keeper has a guard, wherever orphans go.

use std::os::unix::process::CommandExt;
use std::process::Stdio;

use super::*;

/// As under a service manager of the user, or in a container: orphans go to somebody who is not the first process.
#[test]
fn a_keeper_whose_guard_died_says_so_also_where_somebody_else_takes_in_orphans() {
    let mut bench = Bench { dir: tempfile::tempdir().unwrap(), cgroups: false, epoch: 0, line: None };
    let place = bench.place();
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$@\"; read end", "sh", RESTAGE, "__guard"]);
    shell.args([&place.data_dir, &place.runtime_dir]).arg("off").stdin(Stdio::piped());
    unsafe {
        shell.pre_exec(|| {
            libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
            Ok(())
        });
    }
    let mut shell = shell.spawn().unwrap();
    let shell_pid = i32::try_from(shell.id()).unwrap();
    let Report::Welcome { guarded, .. } = bench.hello(Policy::Keep) else { panic!() };
    assert!(guarded);
    let keeper = bench.keeper_pid();
    kill_9(parent_of(keeper));
    wait_until("the keeper is taken in", || parent_of(keeper) == shell_pid);
    let Report::Welcome { guarded, .. } = bench.hello(Policy::Keep) else { panic!() };
    assert!(!guarded);
    drop(shell.stdin.take());
    shell.wait().unwrap();
}
