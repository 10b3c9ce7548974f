//! What stands in the place of a program or a log is not what it was: the keeper neither waits for it nor loses by it.

use super::*;

fn make_pipe(path: &std::path::Path) {
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
}

/// The relays below the keeper.
fn relays(keeper: i32) -> Vec<i32> {
    let children = std::fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).unwrap();
    let name = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let children = children.split_ascii_whitespace().map(|pid| pid.parse().unwrap());
    children.filter(|pid| name(pid) == "restage-relay\n").collect()
}

#[test]
fn a_pipe_in_the_place_of_a_program_is_no_reason_to_wait() {
    let mut bench = Bench::new(false);
    bench.hello(Policy::Keep);
    make_pipe(&bench.path("prog"));
    let spec = bench.spec(&["./prog"]);
    bench.tell(&Order::Spawn { key: "a#1".into(), spec: Box::new(spec) });
    let failed = bench.expect("an answer", |report| matches!(report, Report::SpawnFailed { .. }));
    let Report::SpawnFailed { step, errno, .. } = failed else { panic!() };
    assert_eq!((step, errno), (SpawnStep::Exec, libc::EACCES));
}

#[test]
fn a_pipe_in_the_place_of_a_log_is_no_reason_to_wait() {
    let mut bench = Bench::new(false);
    bench.hello(Policy::Keep);
    let spec = SpawnSpec { stdio: StdioKind::Pipe, ..bench.sh("echo begin; exec sleep 1000") };
    bench.spawn("a#1", spec);
    wait_until("the first line", || bench.log() == "begin\n");
    std::fs::remove_file(bench.path("log")).unwrap();
    make_pipe(&bench.path("log"));
    let keeper = bench.keeper_pid();
    kill_9(relays(keeper)[0]);
    bench.expect("a warning", |report| matches!(report, Report::Warning { .. }));
    let spec = bench.sh("exit 3");
    bench.spawn("b#1", SpawnSpec { log: bench.path("log-b"), ..spec });
    bench.gone("b#1");
}

/// As when there is no memory for a process, or no descriptor, in the very moment in which one is needed.
#[test]
fn a_relay_that_cannot_be_started_is_tried_again_and_nothing_is_lost_meanwhile() {
    let mut bench = Bench::new(false);
    bench.hello(Policy::Keep);
    let keeper = bench.keeper_pid();
    let script = "echo begin; while [ ! -e go-a ]; do sleep 0.01; done; echo more; \
                  while [ ! -e go-b ]; do sleep 0.01; done; echo end";
    bench.spawn("a#1", SpawnSpec { stdio: StdioKind::Pipe, ..bench.sh(script) });
    wait_until("the first line", || bench.log() == "begin\n");
    let take_away = |bench: &mut Bench| {
        std::fs::rename(bench.path("log"), bench.path("moved")).unwrap();
        std::fs::create_dir(bench.path("log")).unwrap();
        kill_9(relays(keeper)[0]);
        bench.expect("a warning", |report| matches!(report, Report::Warning { .. }));
    };
    take_away(&mut bench);
    std::fs::write(bench.path("go-a"), "").unwrap();
    std::fs::remove_dir(bench.path("log")).unwrap();
    wait_until("what came meanwhile", || bench.log() == "more\n");
    // The last words come while nobody carries them.
    take_away(&mut bench);
    std::fs::write(bench.path("go-b"), "").unwrap();
    bench.exit("a#1");
    std::fs::remove_dir(bench.path("log")).unwrap();
    bench.gone("a#1");
    assert_eq!(bench.log(), "end\n");
}

#[test]
fn output_that_nobody_could_write_down_is_told() {
    let mut bench = Bench::new(false);
    bench.hello(Policy::Keep);
    let script = "echo begin; while [ ! -e go ]; do sleep 0.01; done; echo end";
    bench.spawn("a#1", SpawnSpec { stdio: StdioKind::Pipe, ..bench.sh(script) });
    wait_until("the first line", || bench.log() == "begin\n");
    std::fs::rename(bench.path("log"), bench.path("moved")).unwrap();
    std::fs::create_dir(bench.path("log")).unwrap();
    kill_9(relays(bench.keeper_pid())[0]);
    std::fs::write(bench.path("go"), "").unwrap();
    let lost = |report: &Report| matches!(report, Report::Warning { text, .. } if text.contains("is lost"));
    bench.expect("a word on what is lost", lost);
    bench.gone("a#1");
}
