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
    bench.spawn("a#1", bench.spec(&["sleep", "1000"]));
    kill_9(parent_of(keeper));
    wait_until("the keeper is taken in", || parent_of(keeper) == shell_pid);
    let Report::Welcome { guarded, .. } = bench.hello(Policy::Keep) else { panic!() };
    assert!(!guarded);
    drop(shell.stdin.take());
    shell.wait().unwrap();
}

/// The guard that became the keeper has nobody behind it. It stays for as long as it is needed.
#[test]
fn one_without_a_guard_gives_way_once_nothing_of_it_lives() {
    let mut bench = Bench::new(false);
    bench.hello(Policy::Keep);
    let keeper = bench.keeper_pid();
    let guard = parent_of(keeper);
    let fifo = bench.path("end");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let spec = bench.sh(&format!("read word <{}; exit 7", fifo.display()));
    bench.spawn("a#1", spec);
    kill_9(keeper);
    wait_until("the guard is the keeper", || bench.keeper_pid() == guard);
    let Report::Welcome { guarded, live, .. } = bench.hello(Policy::Keep) else { panic!() };
    assert_eq!((guarded, live.len()), (false, 1));
    std::fs::write(&fifo, "now\n").unwrap();
    let Report::Exit(exit) = bench.expect("the exit", |report| matches!(report, Report::Exit(_))) else {
        panic!()
    };
    assert_eq!(exit.status, ExitKind::Code(7));
    assert!(is_alive(guard), "the end of the attempt is not acknowledged");
    bench.tell(&Order::Ack { seq: exit.seq });
    wait_until("it has given way", || !is_alive(guard));
    bench.ensure();
    let Report::Welcome { guarded, .. } = bench.hello(Policy::Keep) else { panic!() };
    assert!(guarded);
}
