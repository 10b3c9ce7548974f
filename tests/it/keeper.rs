//! The keeper by itself, as a supervisor sees it: over its socket, with real processes.

mod guarded;
mod odd_files;
mod scarce;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use restage::keeper::link::{KeeperPlace, connect, living_keeper};
use restage::keeper::wire::{
    Exit, ExitKind, Order, Policy, Report, SpawnSpec, SpawnStep, StdioKind, VERSION,
};

use crate::support::{PATIENCE, RESTAGE, fixture, is_alive, kill_9, pid_in, wait_for, wait_until};

/// A keeper in a folder of its own, and the line to it.
struct Bench {
    dir: tempfile::TempDir,
    cgroups: bool,
    epoch: u64,
    line: Option<Line>,
}

struct Line {
    out: UnixStream,
    lines: BufReader<UnixStream>,
    seen: Vec<Report>,
}

impl Bench {
    fn new(cgroups: bool) -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap(), cgroups, epoch: 0, line: None };
        bench.ensure();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn place(&self) -> KeeperPlace {
        let tag = self.dir.path().file_name().unwrap().to_string_lossy().replace('.', "t");
        KeeperPlace { data_dir: self.path("data"), runtime_dir: self.path(&tag), cgroups: self.cgroups }
    }

    fn ensure(&self) {
        let place = self.place();
        let mode = if self.cgroups { "auto" } else { "off" };
        let done = Command::new(RESTAGE)
            .arg("__guard")
            .args([&place.data_dir, &place.runtime_dir])
            .arg(mode)
            .output()
            .unwrap();
        assert!(matches!(done.status.code(), Some(0 | 75)), "{done:?}");
    }

    /// Connects with a new epoch; returns the welcome.
    fn hello(&mut self, policy: Policy) -> Report {
        self.line = Some(self.connect());
        self.introduce(policy);
        self.expect("welcome", |report| matches!(report, Report::Welcome { .. } | Report::Refused { .. }))
    }

    fn connect(&self) -> Line {
        let stream = wait_for("a connection", || connect(&self.place()).ok().flatten());
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap());
        Line { out: stream, lines, seen: Vec::new() }
    }

    fn introduce(&mut self, policy: Policy) {
        self.epoch += 1;
        self.tell(&Order::Hello { version: VERSION, epoch: self.epoch, policy, successor: Vec::new() });
    }

    fn tell(&mut self, order: &Order) {
        let mut text = serde_json::to_string(order).unwrap();
        text.push('\n');
        self.line.as_mut().unwrap().out.write_all(text.as_bytes()).unwrap();
    }

    /// The next report that fits; others are kept for later questions.
    #[track_caller]
    fn expect(&mut self, what: &str, fits: impl Fn(&Report) -> bool) -> Report {
        let line = self.line.as_mut().unwrap();
        if let Some(at) = line.seen.iter().position(&fits) {
            return line.seen.remove(at);
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut text = String::new();
            let read = line.lines.read_line(&mut text);
            assert!(matches!(read, Ok(1..)), "no {what}: {read:?}; seen: {:?}", line.seen);
            let report: Report = serde_json::from_str(&text).unwrap();
            if fits(&report) {
                return report;
            }
            line.seen.push(report);
            assert!(Instant::now() < deadline, "no {what}; seen: {:?}", line.seen);
        }
    }

    fn spec(&self, argv: &[&str]) -> SpawnSpec {
        SpawnSpec {
            argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
            cwd: self.dir.path().to_owned(),
            env: BTreeMap::new(),
            stdin: None,
            stdio: StdioKind::File,
            log: self.path("log"),
            log_max_bytes: None,
            umask: None,
            limits: Vec::new(),
            stop_signal: libc::SIGTERM,
            grace_ms: 200,
            keep_leftovers: false,
        }
    }

    fn sh(&self, script: &str) -> SpawnSpec {
        self.spec(&["/bin/sh", "-c", script])
    }

    #[track_caller]
    fn spawn(&mut self, key: &str, spec: SpawnSpec) -> i32 {
        self.tell(&Order::Spawn { key: key.into(), spec: Box::new(spec) });
        let report = self.expect("an answer to the spawn", |report| {
            matches!(report, Report::Spawned { key: of, .. } | Report::SpawnFailed { key: of, .. } if of == key)
        });
        match report {
            Report::Spawned { pid, .. } => pid,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn exit(&mut self, key: &str) -> Exit {
        match self.expect("an exit", |report| matches!(report, Report::Exit(exit) if exit.key == key)) {
            Report::Exit(exit) => exit,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn gone(&mut self, key: &str) {
        self.expect("gone", |report| matches!(report, Report::Gone { key: of } if of == key));
    }

    fn keeper_pid(&self) -> i32 {
        wait_for("a living keeper", || living_keeper(&self.place().data_dir))
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.path("log")).unwrap_or_default()).into_owned()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // A supervisor that goes under the policy `stop` takes everything with it.
        let deadline = Instant::now() + PATIENCE;
        while living_keeper(&self.place().data_dir).is_some() && Instant::now() < deadline {
            // One that has nobody to look after may be ending by itself, or be changing.
            self.ensure_stop().ok();
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

impl Bench {
    fn ensure_stop(&self) -> std::io::Result<()> {
        let Some(mut stream) = connect(&self.place()).ok().flatten() else { return Ok(()) };
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut reports = BufReader::new(stream.try_clone()?);
        let mut tell = |order: &Order| writeln!(stream, "{}", serde_json::to_string(order).unwrap());
        // Above any that a test has used.
        let epoch = self.epoch + 1000;
        tell(&Order::Hello { version: VERSION, epoch, policy: Policy::Stop, successor: Vec::new() })?;
        let mut welcome = String::new();
        reports.read_line(&mut welcome)?;
        if let Ok(Report::Welcome { live, .. }) = serde_json::from_str(&welcome) {
            for attempt in live {
                tell(&Order::Stop { key: attempt.key, signal: None, grace_ms: 0 })?;
            }
        }
        tell(&Order::Goodbye)
    }
}

fn parent_of(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap()
}

fn both_ways(test: impl Fn(bool)) {
    for cgroups in [true, false] {
        test(cgroups);
    }
}

#[test]
fn a_process_runs_and_its_end_is_told_once_it_is_acknowledged_no_more() {
    both_ways(|cgroups| {
        let mut bench = Bench::new(cgroups);
        bench.hello(Policy::Keep);
        let spec = bench.sh("echo hello; echo error >&2; exit 7");
        bench.spawn("a#1", spec);
        let exit = bench.exit("a#1");
        assert_eq!(exit.status, ExitKind::Code(7));
        bench.gone("a#1");
        assert_eq!(bench.log(), "hello\nerror\n");

        let Report::Welcome { exits, live, .. } = bench.hello(Policy::Keep) else { panic!() };
        assert_eq!((exits.len(), live.len()), (1, 0), "not acknowledged: told again");
        bench.tell(&Order::Ack { seq: exit.seq });
        let Report::Welcome { exits, .. } = bench.hello(Policy::Keep) else { panic!() };
        assert_eq!(exits, []);
    });
}

#[test]
fn a_spawn_is_idempotent_and_a_runner_has_one_living_tree() {
    let mut bench = Bench::new(true);
    bench.hello(Policy::Keep);
    let spec = bench.sh("exec sleep 1000");
    let pid = bench.spawn("a#1", spec.clone());
    assert_eq!(bench.spawn("a#1", spec.clone()), pid);
    bench.tell(&Order::Spawn { key: "a#2".into(), spec: Box::new(spec) });
    bench.expect("busy", |report| matches!(report, Report::Busy { key } if key == "a#2"));
    bench.tell(&Order::Stop { key: "a#1".into(), signal: Some(libc::SIGTERM), grace_ms: 10_000 });
    assert_eq!(bench.exit("a#1").status, ExitKind::Signal(libc::SIGTERM));
    bench.gone("a#1");
}

#[test]
fn an_old_epoch_and_another_version_are_refused() {
    let mut bench = Bench::new(true);
    bench.hello(Policy::Keep);
    let stream = connect(&bench.place()).unwrap().unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    let mut say = |order: &Order| {
        let mut out = connect(&bench.place()).unwrap().unwrap();
        lines = BufReader::new(out.try_clone().unwrap());
        out.write_all(format!("{}\n", serde_json::to_string(order).unwrap()).as_bytes()).unwrap();
        let mut text = String::new();
        lines.read_line(&mut text).unwrap();
        text
    };
    let hello = |version, epoch| Order::Hello { version, epoch, policy: Policy::Keep, successor: Vec::new() };
    assert!(say(&hello(VERSION + 1, 99)).contains("version"));
    assert!(say(&hello(VERSION, 0)).contains("is over"));
    drop(stream);
}

/// Nor does one whose epoch is over, and which tries again and again.
#[test]
fn whoever_only_connects_takes_the_line_from_nobody() {
    let mut bench = Bench::new(true);
    bench.hello(Policy::Keep);
    let silent: Vec<UnixStream> = (0..5).map(|_| connect(&bench.place()).unwrap().unwrap()).collect();
    let refused = |line: &str| {
        let mut out = connect(&bench.place()).unwrap().unwrap();
        writeln!(out, "{line}").unwrap();
        let mut text = String::new();
        BufReader::new(out).read_line(&mut text).unwrap();
        text
    };
    let over = Order::Hello { version: VERSION, epoch: 0, policy: Policy::Keep, successor: Vec::new() };
    assert!(refused(&serde_json::to_string(&over).unwrap()).contains("is over"));
    assert!(refused(&serde_json::to_string(&Order::Goodbye).unwrap()).contains("say hello first"));
    // Still on the first line.
    bench.spawn("a#1", bench.sh("exit 3"));
    assert_eq!(bench.exit("a#1").status, ExitKind::Code(3));
    drop(silent);
    // One that is accepted takes it over, though others have connected before it.
    let _silent = connect(&bench.place()).unwrap().unwrap();
    assert!(matches!(bench.hello(Policy::Keep), Report::Welcome { .. }));
}

#[test]
fn a_whole_tree_ends_within_the_grace() {
    both_ways(|cgroups| {
        let mut bench = Bench::new(cgroups);
        bench.hello(Policy::Keep);
        let fixture = fixture();
        let fixture = fixture.display();
        let script = format!(
            "trap '' TERM; \
             sh -c 'trap \"\" TERM; echo $$ > deaf; while :; do sleep 1; done' & \
             {fixture} daemon daemon; \
             env -i {fixture} daemon naked; \
             {fixture} hopper hopper; \
             touch ready; wait"
        );
        let spec = bench.sh(&script);
        let main = bench.spawn("a#1", spec);
        let pids = ["deaf", "daemon", "naked", "hopper"].map(|name| pid_in(&bench.path(name)));
        wait_until("the script is through", || bench.path("ready").exists());
        let begin = Instant::now();
        bench.tell(&Order::Stop { key: "a#1".into(), signal: Some(libc::SIGTERM), grace_ms: 300 });
        bench.gone("a#1");
        let took = begin.elapsed();
        assert!(took.as_millis() >= 300, "the grace was not given: {took:?}");
        for pid in [main].into_iter().chain(pids) {
            assert!(!is_alive(pid), "{pid} lives on (cgroups: {cgroups})");
        }
        // The hopper's trace no longer changes: nobody hops.
        let last = std::fs::read_to_string(bench.path("hopper")).unwrap();
        assert!(!is_alive(last.trim().parse().unwrap_or(0)));
    });
}

#[test]
fn many_trees_end_together_each_with_all_that_belongs_to_it() {
    const TREES: usize = 120;
    both_ways(|cgroups| {
        let mut bench = Bench::new(cgroups);
        bench.hello(Policy::Keep);
        let fixture = fixture();
        let fixture = fixture.display();
        // By turns: one that obeys, one with a daemon beside it, a deaf one, one with a session of its own below it.
        let scripts = [
            "touch ready-N; exec sleep 1000".to_owned(),
            format!("{fixture} daemon pid-N; touch ready-N; exec sleep 1000"),
            "trap '' TERM; echo $$ > pid-N; touch ready-N; while :; do sleep 1; done".to_owned(),
            "setsid sleep 1000 & echo $! > pid-N; touch ready-N; wait".to_owned(),
        ];
        let mut mains = Vec::new();
        for at in 0..TREES {
            let script = scripts[at % scripts.len()].replace('N', &at.to_string());
            let spec = SpawnSpec { log: bench.path(&format!("log-{at}")), ..bench.sh(&script) };
            mains.push(bench.spawn(&format!("r{at}#1"), spec));
        }
        wait_until("all are ready", || (0..TREES).all(|at| bench.path(&format!("ready-{at}")).exists()));
        for at in 0..TREES {
            bench.tell(&Order::Stop { key: format!("r{at}#1"), signal: Some(libc::SIGTERM), grace_ms: 300 });
        }
        for at in 0..TREES {
            bench.exit(&format!("r{at}#1"));
            bench.gone(&format!("r{at}#1"));
        }
        for (at, main) in mains.into_iter().enumerate() {
            assert!(!is_alive(main), "{at} (cgroups: {cgroups})");
            if at % scripts.len() > 0 {
                let other = pid_in(&bench.path(&format!("pid-{at}")));
                assert!(!is_alive(other), "{other} of {at} lives on (cgroups: {cgroups})");
            }
        }
    });
}

#[test]
fn what_a_crashed_process_left_behind_is_gone_before_it_is_told_gone() {
    both_ways(|cgroups| {
        let mut bench = Bench::new(cgroups);
        bench.hello(Policy::Keep);
        let fixture = fixture();
        let spec = bench.sh(&format!(
            "sleep 1000 & echo $! > near; {} daemon far; while [ ! -s far ]; do :; done; exit 3",
            fixture.display()
        ));
        bench.spawn("a#1", spec);
        assert_eq!(bench.exit("a#1").status, ExitKind::Code(3));
        bench.gone("a#1");
        for name in ["near", "far"] {
            assert!(!is_alive(pid_in(&bench.path(name))), "{name} lives on (cgroups: {cgroups})");
        }
    });
}

#[test]
fn leftovers_that_may_stay_do_stay() {
    let mut bench = Bench::new(true);
    bench.hello(Policy::Keep);
    let spec = SpawnSpec { keep_leftovers: true, ..bench.sh("sleep 1000 & echo $! > near; exit 3") };
    bench.spawn("a#1", spec);
    bench.gone("a#1");
    let left = pid_in(&bench.path("near"));
    assert!(is_alive(left));
    kill_9(left);
}

#[test]
fn the_guard_takes_over_with_every_child_and_loses_no_exit() {
    both_ways(|cgroups| {
        let mut bench = Bench::new(cgroups);
        bench.hello(Policy::Keep);
        let spec = bench.sh("while [ ! -e go ]; do sleep 0.01; done; exit 9");
        let waiting = bench.spawn("a#1", SpawnSpec { log: bench.path("log-a"), ..spec });
        let spec = bench.spec(&["sleep", "1000"]);
        let living = bench.spawn("b#1", spec);
        let keeper = bench.keeper_pid();
        let guard = parent_of(keeper);
        kill_9(keeper);
        std::fs::write(bench.path("go"), "").unwrap();
        wait_until("the guard is the keeper", || living_keeper(&bench.place().data_dir) == Some(guard));
        // The supervisor lived through it, and says hello with the epoch that it has.
        bench.epoch -= 1;
        let Report::Welcome { live, guarded, .. } = bench.hello(Policy::Keep) else { panic!() };
        assert!(!guarded);
        assert!(live.iter().any(|attempt| attempt.key == "b#1" && attempt.pid == living), "{live:?}");
        let exit = wait_for("the exit", || match bench.hello(Policy::Keep) {
            Report::Welcome { exits, .. } => exits.into_iter().find(|exit| exit.key == "a#1"),
            _ => None,
        });
        assert_eq!((exit.pid, exit.status), (waiting, ExitKind::Code(9)));
        bench.tell(&Order::Stop { key: "b#1".into(), signal: Some(libc::SIGTERM), grace_ms: 5000 });
        bench.gone("b#1");
        assert!(!is_alive(living));
    });
}

/// Whatever has begun is found again and its end is told, in whichever instant of its birth the keeper died; and nothing is
/// told of what has not.
#[test]
fn a_keeper_that_dies_while_it_starts_processes_loses_none_of_them() {
    const ROUNDS: u32 = 24;
    const STARTED: usize = 8;
    both_ways(|cgroups| {
        for round in 0..ROUNDS {
            let mut bench = Bench::new(cgroups);
            bench.hello(Policy::Keep);
            let keeper = bench.keeper_pid();
            let guard = parent_of(keeper);
            for at in 0..STARTED {
                let spec = SpawnSpec {
                    log: bench.path(&format!("log-{at}")),
                    ..bench.sh(&format!(": > ran-{at}; exit 7"))
                };
                bench.tell(&Order::Spawn { key: format!("r{at}#1"), spec: Box::new(spec) });
            }
            // Each round at another instant of the first milliseconds.
            let until = Instant::now() + std::time::Duration::from_micros(u64::from(round) * 250);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            kill_9(keeper);
            // As soon as nothing lives it has a guard again.
            let keeper = wait_for("a keeper with a guard", || {
                let pid = living_keeper(&bench.place().data_dir).filter(|pid| *pid != keeper);
                pid.filter(|pid| parent_of(*pid) == guard)
            });
            bench.epoch -= 1;
            let Report::Welcome { live, exits, .. } = bench.hello(Policy::Keep) else { panic!() };
            assert!(live.is_empty(), "{live:?}");
            assert_eq!(children(guard), [keeper], "somebody lives of whom nothing is told");
            for at in 0..STARTED {
                let key = format!("r{at}#1");
                let told = exits.iter().find(|exit| exit.key == key).map(|exit| exit.status);
                let ran = bench.path(&format!("ran-{at}")).exists();
                assert_eq!(
                    told,
                    ran.then_some(ExitKind::Code(7)),
                    "{key} of round {round}, cgroups: {cgroups}"
                );
            }
        }
    });
}

#[test]
fn the_welcome_is_the_first_that_anybody_is_told() {
    let mut bench = Bench::new(false);
    bench.hello(Policy::Keep);
    bench.spawn("a#1", bench.sh("until [ -e go ]; do sleep 0.01; done; exit 3"));
    // Whoever had the line has gone, and whoever comes has not said hello.
    let fresh = bench.connect();
    drop(bench.line.replace(fresh));
    std::fs::write(bench.path("go"), "").unwrap();
    let journal = bench.path("data/keeper.journal");
    wait_until("its end", || std::fs::read_to_string(&journal).unwrap().contains("\"t\":\"gone\""));
    bench.introduce(Policy::Keep);
    let first = bench.expect("a report", |_| true);
    let Report::Welcome { live, exits, .. } = first else { panic!("{first:?}") };
    assert!(live.is_empty() && exits.len() == 1, "{live:?} {exits:?}");
    assert_eq!((&*exits[0].key, exits[0].status), ("a#1", ExitKind::Code(3)));
}

#[test]
fn a_new_keeper_finds_what_lives_after_guard_and_keeper_died() {
    both_ways(|cgroups| {
        let mut bench = Bench::new(cgroups);
        bench.hello(Policy::Keep);
        let fixture = fixture().display().to_string();
        let spec = bench.spec(&[&fixture, "lines", "0", "200"]);
        let spec = SpawnSpec { stdio: StdioKind::Pipe, ..spec };
        let pid = bench.spawn("a#1", spec);
        let spec = bench.sh(&format!("{fixture} daemon far; exec sleep 1000"));
        let other = bench.spawn("b#1", SpawnSpec { log: bench.path("log-b"), ..spec });
        let far = pid_in(&bench.path("far"));
        let keeper = bench.keeper_pid();
        let guard = parent_of(keeper);
        // The relay is a child of the keeper that is no child process of an attempt.
        let relay = children(keeper).into_iter().find(|child| ![pid, other, far].contains(child)).unwrap();
        for dead in [guard, keeper, relay] {
            kill_9(dead);
        }
        wait_until("both are dead", || !is_alive(guard) && !is_alive(keeper) && !is_alive(relay));
        bench.ensure();
        let Report::Welcome { live, exits, .. } = bench.hello(Policy::Keep) else { panic!() };
        assert_eq!(exits, []);
        let mut found: Vec<_> = live.iter().map(|attempt| attempt.pid).collect();
        found.sort_unstable();
        let mut wanted = vec![pid, other];
        wanted.sort_unstable();
        assert_eq!(found, wanted);
        let before = std::fs::metadata(bench.path("log")).unwrap().len();
        wait_until("lines come again", || {
            std::fs::metadata(bench.path("log")).unwrap().len() > before + 10_000
        });
        for key in ["a#1", "b#1"] {
            bench.tell(&Order::Stop { key: key.into(), signal: Some(libc::SIGTERM), grace_ms: 200 });
        }
        bench.exit("a#1");
        bench.gone("a#1");
        bench.gone("b#1");
        for (name, pid) in [("main of a", pid), ("main of b", other), ("daemon of b", far)] {
            assert!(!is_alive(pid), "{name} lives on (cgroups: {cgroups})");
        }
        assert_numbered(&bench.log());
    });
}

#[test]
fn a_killed_relay_loses_not_a_byte() {
    for stdio in [StdioKind::Pipe, StdioKind::Tty] {
        let mut bench = Bench::new(true);
        bench.hello(Policy::Keep);
        let fixture = fixture().display().to_string();
        let spec = SpawnSpec { stdio, ..bench.spec(&[&fixture, "lines", "20000"]) };
        let pid = bench.spawn("a#1", spec);
        let keeper = bench.keeper_pid();
        for _ in 0..10 {
            let relay = children(keeper).into_iter().find(|child| *child != pid && is_relay(*child));
            if let Some(relay) = relay {
                kill_9(relay);
                wait_until("the relay is dead", || !is_alive(relay));
            }
        }
        assert_eq!(bench.exit("a#1").status, ExitKind::Code(0));
        bench.gone("a#1");
        let log = bench.log().replace('\r', "");
        assert_eq!(log.lines().count(), 20_000, "{stdio:?}");
        assert_numbered(&log);
    }
}

#[test]
fn what_is_printed_last_into_a_terminal_is_in_the_log() {
    let mut bench = Bench::new(true);
    bench.hello(Policy::Keep);
    let fixture = fixture().display().to_string();
    for attempt in 1..=20 {
        let log = bench.path(&format!("log-{attempt}"));
        let spec = bench.spec(&[&fixture, "lines", "2000"]);
        let spec = SpawnSpec { stdio: StdioKind::Tty, log: log.clone(), ..spec };
        let key = format!("a#{attempt}");
        bench.spawn(&key, spec);
        bench.gone(&key);
        let text = std::fs::read_to_string(log).unwrap().replace('\r', "");
        assert_eq!(text.lines().count(), 2000, "attempt {attempt}");
        assert_numbered(&text);
    }
    // Nobody who held a terminal is left.
    let keeper = bench.keeper_pid();
    wait_until("the keeper has no children", || children(keeper).is_empty());
}

#[test]
fn a_terminal_is_a_terminal() {
    let mut bench = Bench::new(true);
    bench.hello(Policy::Keep);
    let spec = SpawnSpec {
        stdio: StdioKind::Tty,
        ..bench.sh("test -t 0 -a -t 1 -a -t 2 && tty && stty size && : > /dev/tty")
    };
    bench.spawn("a#1", spec);
    assert_eq!(bench.exit("a#1").status, ExitKind::Code(0));
    bench.gone("a#1");
    let log = bench.log();
    assert!(log.starts_with("/dev/pts/") && log.ends_with("36 120\r\n"), "{log:?}");
}

#[test]
fn under_the_policy_stop_a_dead_supervisor_takes_everything_with_it() {
    both_ways(|cgroups| {
        let bench = Bench::new(cgroups);
        // A supervisor of its own process, so that it can die: a shell that holds the connection open.
        let place = bench.place();
        let socket = place.runtime_dir.join("keeper.sock");
        let hello = Order::Hello { version: VERSION, epoch: 5, policy: Policy::Stop, successor: Vec::new() };
        let spec = bench.sh("trap '' TERM; sleep 1000 & echo $! > child; wait");
        let spawn = Order::Spawn { key: "a#1".into(), spec: Box::new(spec) };
        let orders = format!(
            "{}\n{}\n",
            serde_json::to_string(&hello).unwrap(),
            serde_json::to_string(&spawn).unwrap()
        );
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let mut line = UnixStream::connect(socket).unwrap();
            line.write_all(orders.as_bytes()).unwrap();
            loop {
                unsafe { libc::pause() };
            }
        }
        let child = pid_in(&bench.path("child"));
        let keeper = bench.keeper_pid();
        kill_9(pid);
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
        wait_until("everything is gone", || !is_alive(child) && !is_alive(keeper));
    });
}

#[test]
fn deleted_sockets_and_folders_are_made_anew_and_no_second_keeper_starts() {
    let mut bench = Bench::new(true);
    let keeper = bench.keeper_pid();
    let place = bench.place();
    std::fs::remove_file(place.runtime_dir.join("keeper.sock")).unwrap();
    bench.ensure();
    bench.hello(Policy::Keep);
    // Moved first: the keeper would fill the folder again while it is being emptied.
    std::fs::rename(&place.runtime_dir, bench.path("away")).unwrap();
    std::fs::remove_dir_all(bench.path("away")).unwrap();
    bench.ensure();
    bench.hello(Policy::Keep);
    assert_eq!(bench.keeper_pid(), keeper);
}

#[test]
fn a_deleted_journal_is_written_anew_so_that_the_next_keeper_knows_what_lives() {
    let mut bench = Bench::new(true);
    bench.hello(Policy::Keep);
    let spec = bench.spec(&["sleep", "1000"]);
    let pid = bench.spawn("a#1", spec);
    let (keeper, data) = (bench.keeper_pid(), bench.place().data_dir);
    std::fs::rename(&data, bench.path("away")).unwrap();
    std::fs::remove_dir_all(bench.path("away")).unwrap();
    wait_until("journal and lock", || {
        ["keeper.journal", "keeper.lock"].iter().all(|name| data.join(name).exists())
    });
    wait_until("the lock says who holds it", || living_keeper(&data) == Some(keeper));
    // Nobody starts a second one meanwhile.
    bench.ensure();
    assert_eq!(bench.keeper_pid(), keeper);
    kill_9(keeper);
    wait_until("the guard has taken over", || living_keeper(&data).is_some_and(|pid| pid != keeper));
    let Report::Welcome { live, .. } = bench.hello(Policy::Keep) else { panic!() };
    let live: Vec<(&str, i32)> = live.iter().map(|one| (one.key.as_str(), one.pid)).collect();
    assert_eq!(live, [("a#1", pid)]);
    bench.tell(&Order::Stop { key: "a#1".into(), signal: Some(libc::SIGTERM), grace_ms: 5_000 });
    bench.gone("a#1");
    assert!(!is_alive(pid));
}

#[test]
fn each_thing_that_stands_in_the_way_of_a_spawn_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let mut bench = Bench::new(true);
    bench.hello(Policy::Keep);
    let script = |name: &str, text: &str, mode: u32| {
        let path = bench.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    };
    let orphaned = script("orphaned", "#!/no/such/interpreter\n", 0o755);
    let plain = script("plain", "echo plain $1\n", 0o755);
    let locked = script("locked", "#!/bin/sh\n", 0o644);
    std::os::unix::fs::symlink("/etc/passwd", bench.path("link")).unwrap();
    let good = bench.spec(&["true"]);
    let cases = [
        (
            SpawnSpec { cwd: "/no/such/folder".into(), ..good.clone() },
            SpawnStep::Cwd,
            libc::ENOENT,
            "/no/such/folder",
        ),
        (
            SpawnSpec { stdin: Some("/no/stdin".into()), ..good.clone() },
            SpawnStep::Stdin,
            libc::ENOENT,
            "/no/stdin",
        ),
        (SpawnSpec { log: bench.path("link"), ..good.clone() }, SpawnStep::Log, libc::ELOOP, "link"),
        (bench.spec(&["no-such-program"]), SpawnStep::Executable, libc::ENOENT, "no-such-program"),
        (bench.spec(&["./missing"]), SpawnStep::Exec, libc::ENOENT, "missing"),
        (bench.spec(&[&locked]), SpawnStep::Exec, libc::EACCES, "locked"),
        (bench.spec(&[&orphaned]), SpawnStep::Interpreter, libc::ENOENT, "/no/such/interpreter"),
        (bench.spec(&["true", &"x".repeat(3 << 20)]), SpawnStep::Exec, libc::E2BIG, "true"),
    ];
    for (index, (spec, step, errno, subject)) in cases.into_iter().enumerate() {
        let key = format!("bad#{}", index + 1);
        bench.tell(&Order::Spawn { key: key.clone(), spec: Box::new(spec) });
        let report = bench.expect("a refusal", |report| {
            matches!(report, Report::SpawnFailed { .. } | Report::Spawned { .. })
        });
        let Report::SpawnFailed { step: told, errno: code, subject: about, .. } = report else {
            panic!("{report:?}")
        };
        assert_eq!((told, code), (step, errno), "{about}");
        assert!(about.contains(subject), "{about:?} should name {subject:?}");
    }
    // A script without a first line runs as a shell would run it.
    let spec = bench.spec(&[&plain, "text"]);
    bench.spawn("ok#1", spec);
    bench.gone("ok#1");
    assert_eq!(bench.log(), "plain text\n");
}

#[test]
fn a_fifo_as_stdin_neither_blocks_nor_ends() {
    let mut bench = Bench::new(true);
    bench.hello(Policy::Keep);
    let fifo = bench.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let spec = SpawnSpec { stdin: Some(fifo.clone()), ..bench.sh("read a; read b; echo $a $b") };
    bench.spawn("a#1", spec);
    std::fs::write(&fifo, "one\n").unwrap();
    std::fs::write(&fifo, "two\n").unwrap();
    bench.exit("a#1");
    bench.gone("a#1");
    assert_eq!(bench.log(), "one two\n");
}

#[test]
fn what_is_typed_reaches_the_terminal_and_its_size_changes() {
    let mut bench = Bench::new(true);
    bench.hello(Policy::Keep);
    let script = "stty -echo; echo ready; read line; echo got $line; trap 'stty size' WINCH; echo now; \
        while :; do sleep 0.05; done";
    let spec = SpawnSpec { stdio: StdioKind::Tty, ..bench.sh(script) };
    bench.spawn("a#1", spec);
    wait_until("the start", || bench.log().contains("ready"));
    bench.tell(&Order::Input { key: "a#1".into(), text: "hello wörld\r".into() });
    wait_until("the answer", || bench.log().contains("got hello wörld"));
    wait_until("the trap", || bench.log().contains("now"));
    bench.tell(&Order::Resize { key: "a#1".into(), rows: 17, cols: 71 });
    wait_until("the new size", || bench.log().contains("17 71"));
    // Ctrl-C is for the child.
    bench.tell(&Order::Input { key: "a#1".into(), text: "\x03".into() });
    assert_eq!(bench.exit("a#1").status, ExitKind::Signal(libc::SIGINT));
    bench.gone("a#1");
    // Nothing waits for it any more.
    bench.tell(&Order::Input { key: "a#1".into(), text: "late".into() });
    let spec = bench.sh("sleep 60");
    bench.spawn("a#2", spec);
    bench.tell(&Order::Input { key: "a#2".into(), text: "x".into() });
    bench.expect(
        "a warning",
        |report| matches!(report, Report::Warning { text, .. } if text.contains("no terminal to type into")),
    );
}

#[test]
fn a_long_paste_arrives_whole_and_one_that_nobody_reads_holds_nobody_up() {
    let mut bench = Bench::new(false);
    bench.hello(Policy::Keep);
    let raw = "stty raw -echo; echo ready; ";
    let spec = SpawnSpec { stdio: StdioKind::Tty, ..bench.sh(&format!("{raw} head -c 200000 | cksum")) };
    bench.spawn("a#1", spec);
    wait_until("the start", || bench.log().contains("ready"));
    let numbers: Vec<String> = (0..20_000).map(|number| format!("{number:09} ")).collect();
    let paste = numbers.concat();
    for part in [&paste[..100_000], &paste[100_000..]] {
        bench.tell(&Order::Input { key: "a#1".into(), text: part.into() });
    }
    bench.exit("a#1");
    bench.gone("a#1");
    std::fs::write(bench.path("paste"), &paste).unwrap();
    let sum = Command::new("cksum").stdin(File::open(bench.path("paste")).unwrap()).output().unwrap();
    let expected = String::from_utf8(sum.stdout).unwrap();
    assert!(bench.log().contains(expected.trim()), "{expected} {}", bench.log());

    let log = bench.path("deaf");
    let spec = SpawnSpec { stdio: StdioKind::Tty, log: log.clone(), ..bench.sh(&format!("{raw} sleep 600")) };
    bench.spawn("deaf#1", spec);
    wait_until("the start", || std::fs::read_to_string(&log).unwrap_or_default().contains("ready"));
    bench.tell(&Order::Input { key: "deaf#1".into(), text: paste });
    let spec = bench.sh("exit 3");
    bench.spawn("b#1", spec);
    assert_eq!(bench.exit("b#1").status, ExitKind::Code(3));
    bench.expect("a warning", |report| {
        matches!(report, Report::Warning { text, .. } if text.contains("does not read its terminal"))
    });
}

fn is_relay(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "restage-relay")
}

fn children(pid: i32) -> Vec<i32> {
    std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .unwrap()
        .split_ascii_whitespace()
        .map(|word| word.parse().unwrap())
        .collect()
}

/// Each line carries the next number: nothing lost, nothing twice. The last line may be cut.
#[track_caller]
fn assert_numbered(log: &str) {
    for (index, line) in log.lines().enumerate() {
        let number: usize = line.get(..20).and_then(|digits| digits.parse().ok()).unwrap_or(0);
        let is_last_and_cut = line.len() < 20;
        assert!(number == index + 1 || is_last_and_cut, "line {}: {line:?}", index + 1);
    }
}
