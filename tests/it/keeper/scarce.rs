//! Near the limit of open files: nobody who lives is called dead, nothing spins, everything can still be ended.

use super::*;

/// Few enough to be reached with a handful of processes.
const FILES: u32 = 64;

fn limited() -> Bench {
    let bench = Bench { dir: tempfile::tempdir().unwrap(), cgroups: false, epoch: 0, line: None };
    start_limited(&bench);
    bench
}

fn start_limited(bench: &Bench) {
    let place = bench.place();
    let script = format!("ulimit -n {FILES} && exec \"$@\"");
    let done = Command::new("sh")
        .args(["-c", &script, "sh", RESTAGE, "__guard"])
        .args([&place.data_dir, &place.runtime_dir])
        .arg("off")
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
}

/// As many as there are descriptors for.
fn fill(bench: &mut Bench, stdio: StdioKind, most: usize) -> Vec<i32> {
    let mut mains = Vec::new();
    for at in 0..most {
        let log = bench.path(&format!("log-{at}"));
        let spec = SpawnSpec { stdio, log, ..bench.spec(&["sleep", "1000"]) };
        bench.tell(&Order::Spawn { key: format!("r{at}#1"), spec: Box::new(spec) });
        let answer = |report: &Report| matches!(report, Report::Spawned { .. } | Report::SpawnFailed { .. });
        match bench.expect("an answer", answer) {
            Report::Spawned { pid, .. } => mains.push(pid),
            Report::SpawnFailed { errno, .. } => {
                assert_eq!(errno, libc::EMFILE);
                break;
            }
            _ => unreachable!(),
        }
    }
    mains
}

#[track_caller]
fn all_live(bench: &mut Bench, count: usize) {
    let Report::Welcome { live, exits, .. } = bench.hello(Policy::Keep) else { panic!() };
    assert_eq!(exits, [], "nobody has ended");
    assert_eq!(live.iter().filter(|attempt| !attempt.main_ended).count(), count);
}

fn end_all(bench: &mut Bench, mains: &[i32]) {
    for at in 0..mains.len() {
        bench.tell(&Order::Stop { key: format!("r{at}#1"), signal: Some(libc::SIGTERM), grace_ms: 5000 });
    }
    for (at, main) in mains.iter().enumerate() {
        bench.exit(&format!("r{at}#1"));
        bench.gone(&format!("r{at}#1"));
        assert!(!is_alive(*main), "{at}");
    }
}

#[test]
fn a_guard_takes_over_as_many_pipes_as_its_keeper_had() {
    let mut bench = limited();
    bench.hello(Policy::Keep);
    let mains = fill(&mut bench, StdioKind::Pipe, FILES as usize);
    assert!(mains.len() > FILES as usize / 3, "{}", mains.len());
    let keeper = bench.keeper_pid();
    let guard = parent_of(keeper);
    kill_9(keeper);
    wait_until("the guard is the keeper", || living_keeper(&bench.place().data_dir) == Some(guard));
    bench.epoch -= 1;
    all_live(&mut bench, mains.len());
    end_all(&mut bench, &mains);
}

/// Each of them is another's child by now, and there are more of them than descriptors.
#[test]
fn a_keeper_that_comes_later_sees_the_ends_of_those_that_it_cannot_watch() {
    let mut bench = limited();
    bench.hello(Policy::Keep);
    let mains = fill(&mut bench, StdioKind::File, FILES as usize + 6);
    assert_eq!(mains.len(), FILES as usize + 6);
    let keeper = bench.keeper_pid();
    let guard = parent_of(keeper);
    kill_9(guard);
    kill_9(keeper);
    wait_until("both are gone", || !is_alive(keeper) && !is_alive(guard));
    start_limited(&bench);
    all_live(&mut bench, mains.len());
    let (some, others) = mains.split_at(mains.len() / 2);
    for main in some {
        kill_9(*main);
    }
    for at in 0..some.len() {
        bench.gone(&format!("r{at}#1"));
    }
    for at in 0..others.len() {
        let key = format!("r{}#1", some.len() + at);
        bench.tell(&Order::Stop { key: key.clone(), signal: Some(libc::SIGTERM), grace_ms: 5000 });
    }
    for (at, main) in others.iter().enumerate() {
        bench.gone(&format!("r{}#1", some.len() + at));
        assert!(!is_alive(*main));
    }
}

fn allow_files(pid: i32, files: libc::rlim_t) -> libc::rlim_t {
    let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    unsafe {
        assert_eq!(libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut before), 0);
        let now = libc::rlimit { rlim_cur: files, ..before };
        assert_eq!(libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const now, std::ptr::null_mut()), 0);
    }
    before.rlim_cur
}

/// Processor time so far, in hundredths of a second.
fn ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum()
}

#[test]
fn who_cannot_be_let_in_is_let_in_later_and_nothing_spins_meanwhile() {
    let mut bench = limited();
    bench.hello(Policy::Keep);
    let pid = bench.keeper_pid();
    let before = allow_files(pid, 3);
    let began = ticks(pid);
    let mut stream = connect(&bench.place()).unwrap().unwrap();
    let hello = Order::Hello { version: VERSION, epoch: 2, policy: Policy::Keep, successor: Vec::new() };
    stream.write_all(format!("{}\n", serde_json::to_string(&hello).unwrap()).as_bytes()).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_millis(1500))).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    let mut text = String::new();
    assert!(lines.read_line(&mut text).is_err(), "{text}");
    let spent = ticks(pid) - began;
    assert!(spent < 20, "{spent} hundredths of a second");
    allow_files(pid, before);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(lines.read_line(&mut text).is_ok() && text.contains("welcome"), "{text}");
    bench.epoch = 2;
}
