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

/// The guard that became the keeper has nobody behind it. Once nothing lives it has one of its own, and so on.
#[test]
fn one_without_a_guard_gets_one_once_nothing_of_it_lives() {
    let mut bench = Bench::new(false);
    bench.hello(Policy::Keep);
    let keeper = bench.keeper_pid();
    let guard = parent_of(keeper);
    let mut last = (keeper, 0);
    for round in 0..3 {
        let (keeper, _) = last;
        let fifo = bench.path(&format!("end-{round}"));
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let key = format!("a#{round}");
        let spec = bench.sh(&format!("read word <{}; exit 7", fifo.display()));
        bench.spawn(&key, SpawnSpec { log: bench.path(&format!("log-{round}")), ..spec });
        kill_9(keeper);
        wait_until("the guard is the keeper", || bench.keeper_pid() == guard);
        bench.epoch -= 1;
        let Report::Welcome { guarded, live, .. } = bench.hello(Policy::Keep) else { panic!() };
        assert_eq!((guarded, live.len()), (false, 1));
        std::fs::write(&fifo, "now\n").unwrap();
        let status = bench.exit(&key).status;
        assert_eq!(status, ExitKind::Code(7));
        bench.gone(&key);
        last = wait_for("it is a guard again", || {
            let keeper = bench.keeper_pid();
            (keeper != guard && parent_of(keeper) == guard).then_some((keeper, round))
        });
        // The same supervisor: its epoch is no other.
        bench.epoch -= 1;
        let Report::Welcome { guarded, exits, .. } = bench.hello(Policy::Keep) else { panic!() };
        assert!(guarded);
        let [exit] = &exits[..] else { panic!("{exits:?}") };
        assert_eq!((&*exit.key, exit.status), (&*key, ExitKind::Code(7)), "it was not acknowledged");
        bench.tell(&Order::Ack { seq: exit.seq });
    }
    assert_eq!(children(guard), [last.0], "nothing else is left of the time as keeper");
    bench.tell(&Order::Goodbye);
    wait_until("both are gone", || !is_alive(guard) && !is_alive(last.0));
}

#[test]
fn one_that_looks_after_nothing_has_a_guard_again_as_soon_as_its_guard_is_dead() {
    let mut bench = Bench::new(false);
    bench.hello(Policy::Keep);
    let keeper = bench.keeper_pid();
    kill_9(parent_of(keeper));
    wait_until("it is a guard", || parent_of(bench.keeper_pid()) == keeper);
    bench.epoch -= 1;
    let Report::Welcome { guarded, .. } = bench.hello(Policy::Keep) else { panic!() };
    assert!(guarded);
    bench.spawn("a#1", bench.spec(&["true"]));
    assert_eq!(bench.exit("a#1").status, ExitKind::Code(0));
}

/// Whatever was ordered together with the word that lets it go is not begun without a guard; a goodbye is heard.
#[test]
fn one_that_goes_for_a_guard_begins_nothing_and_hears_a_goodbye() {
    for goodbye in [false, true] {
        let mut bench = Bench::new(false);
        bench.hello(Policy::Keep);
        let keeper = bench.keeper_pid();
        let guard = parent_of(keeper);
        bench.spawn("a#1", bench.spec(&["sleep", "1000"]));
        kill_9(keeper);
        wait_until("the guard is the keeper", || bench.keeper_pid() == guard);
        bench.epoch -= 1;
        bench.hello(Policy::Keep);
        bench.tell(&Order::Stop { key: "a#1".into(), signal: None, grace_ms: 0 });
        let spec = SpawnSpec { log: bench.path("log-b"), ..bench.sh(": > began; exec sleep 1000") };
        let order = Order::Spawn { key: "b#1".into(), spec: Box::new(spec) };
        bench.gone("a#1");
        // It may not take them any more.
        let mut text = serde_json::to_vec(&order).unwrap();
        text.push(b'\n');
        if goodbye {
            text.extend(serde_json::to_vec(&Order::Goodbye).unwrap());
            text.push(b'\n');
        }
        let taken = bench.line.as_mut().unwrap().out.write_all(&text).is_ok();
        if goodbye && taken {
            wait_until("it is gone", || !is_alive(guard));
        } else {
            wait_until("it is a guard again", || parent_of(bench.keeper_pid()) == guard);
            bench.epoch -= 1;
            let Report::Welcome { live, .. } = bench.hello(Policy::Keep) else { panic!() };
            assert!(live.is_empty(), "{live:?}");
        }
        assert!(!bench.path("began").exists());
    }
}

#[test]
fn one_that_takes_over_waits_for_what_is_missing_for_a_moment() {
    let mut bench = Bench::new(false);
    bench.hello(Policy::Keep);
    let main = bench.spawn("a#1", bench.spec(&["sleep", "1000"]));
    let keeper = bench.keeper_pid();
    let guard = parent_of(keeper);
    let runtime_dir = bench.place().runtime_dir;
    // It would make its folder anew.
    unsafe { libc::kill(keeper, libc::SIGSTOP) };
    std::fs::remove_dir_all(&runtime_dir).unwrap();
    std::fs::write(&runtime_dir, "in the way").unwrap();
    kill_9(keeper);
    let name = || std::fs::read_to_string(format!("/proc/{guard}/comm")).unwrap();
    wait_until("the guard tries", || name() == "restage-keeper\n");
    std::fs::remove_file(&runtime_dir).unwrap();
    wait_until("the guard is the keeper", || bench.keeper_pid() == guard);
    bench.epoch -= 1;
    let Report::Welcome { live, .. } = bench.hello(Policy::Keep) else { panic!() };
    assert_eq!(live.iter().map(|attempt| attempt.pid).collect::<Vec<_>>(), [main]);
    bench.tell(&Order::Stop { key: "a#1".into(), signal: None, grace_ms: 0 });
    bench.gone("a#1");
}

#[test]
fn a_first_one_that_cannot_begin_says_so_and_leaves_nobody_behind() {
    let mut bench = Bench { dir: tempfile::tempdir().unwrap(), cgroups: false, epoch: 0, line: None };
    let place = bench.place();
    std::fs::write(&place.runtime_dir, "in the way").unwrap();
    for _ in 0..2 {
        let mut start = Command::new(RESTAGE);
        start.arg("__guard").args([&place.data_dir, &place.runtime_dir]).arg("off");
        let done = wait_for("an answer", || {
            let done = start.output().unwrap();
            // The guard of the try before may have the lock for a moment longer.
            (done.status.code() != Some(75)).then_some(done)
        });
        let text = String::from_utf8(done.stderr).unwrap();
        assert!(!done.status.success() && text.starts_with("keep the processes of "), "{text}");
    }
    std::fs::remove_file(&place.runtime_dir).unwrap();
    bench.ensure();
    bench.hello(Policy::Keep);
    bench.spawn("a#1", bench.spec(&["true"]));
    assert_eq!(bench.exit("a#1").status, ExitKind::Code(0));
}
