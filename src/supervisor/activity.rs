//! Silence, watched lazily. The log and the files carry the time of their last change, so they are looked at only when
//! the silence would be half of what is allowed, and closely towards the end. CPU use carries no time: where it counts,
//! it is sampled at a sixteenth of the timeout, so that its last use is known that well. The decisions here are pure;
//! [`look`] alone touches the world.
//!
//! A check that comes much too late means that we, or the machine, stood still. Nobody can tell what happened
//! meanwhile, so the window starts anew, as it does when the wall clock jumps against the monotonic one (a suspend).

use std::path::PathBuf;
use std::time::Duration;

use super::probe::{LogMark, Probe, counts_as_busy};
use crate::domain::ids::{Attempt, Process};
use crate::domain::spec::ActivitySpec;
use crate::domain::time::{Mono, Now, Timestamp};

/// Start-up work of a command is over after this long; what it used until then counts no more.
const SETTLE: Duration = Duration::from_millis(500);
const OFTEN: Duration = Duration::from_millis(200);
/// The end comes at most this much after the last sign of life and the timeout.
const SELDOM: Duration = Duration::from_secs(1);

/// One attempt that is watched.
#[derive(Debug, Clone, PartialEq)]
pub struct Watch {
    pub attempt: Attempt,
    spec: ActivitySpec,
    target: Target,
    /// The last sign of life.
    quiet_since: Mono,
    seen: Seen,
    /// Both clocks when the next check was set.
    set_at: Now,
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    pub process: Process,
    pub log: PathBuf,
    pub cwd: PathBuf,
}

/// What was seen at the last look.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Seen {
    log: Option<LogMark>,
    cpu: Option<(Duration, Mono)>,
    files: Option<Timestamp>,
}

/// A look that is to be taken, away from the actor's thread.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    target: Target,
    spec: ActivitySpec,
}

/// What a look brought.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    log: Option<LogMark>,
    cpu: Option<Duration>,
    files: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Finding {
    /// Look again then.
    LookAgain(Mono),
    /// Too long without a sign of life.
    Silent { quiet: Duration },
}

impl Watch {
    /// Begins to watch; the first look is due at the time that comes with it.
    pub fn new(attempt: Attempt, spec: ActivitySpec, target: Target, now: Now) -> (Self, Mono) {
        let first = now.mono.plus(SETTLE.min(spec.timeout / 10));
        let seen = Seen::default();
        (Self { attempt, spec, target, quiet_since: now.mono, seen, set_at: now }, first)
    }

    /// The config says something else by now; what was seen stays seen.
    pub fn respec(&mut self, spec: &ActivitySpec, now: Now) -> Mono {
        self.spec = spec.clone();
        self.set_at = now;
        self.next_look(now.mono)
    }

    /// The check is due. One that comes much too late starts the window anew.
    pub fn question(&mut self, now: Now, late: bool) -> Question {
        if late || self.clocks_parted(now) {
            self.quiet_since = now.mono;
            self.seen = Seen::default();
        }
        Question { target: self.target.clone(), spec: self.spec.clone() }
    }

    /// The wall clock moved by more than the monotonic one: a suspend, or somebody set it.
    fn clocks_parted(&self, now: Now) -> bool {
        let mono = now.mono.since(self.set_at.mono);
        let wall = Duration::try_from(now.wall.duration_since(self.set_at.wall)).unwrap_or(Duration::ZERO);
        wall.abs_diff(mono) > (mono / 10).max(Duration::from_secs(1))
    }

    pub fn answer(&mut self, answer: &Answer, now: Now) -> Finding {
        if let Some(sign) = self.sign_of_life(answer, now) {
            self.quiet_since = self.quiet_since.max(sign);
        }
        self.seen = Seen {
            log: answer.log.or(self.seen.log),
            cpu: answer.cpu.map(|cpu| (cpu, now.mono)).or(self.seen.cpu),
            files: answer.files.or(self.seen.files),
        };
        let quiet = now.mono.since(self.quiet_since);
        if quiet >= self.spec.timeout {
            return Finding::Silent { quiet };
        }
        self.set_at = now;
        Finding::LookAgain(self.next_look(now.mono))
    }

    /// From how many bytes to how many a log shrank that nobody but its writer may touch.
    pub fn shrunk(&self, answer: &Answer) -> Option<(u64, u64)> {
        let (before, after) = (self.seen.log?.bytes, answer.log?.bytes);
        (after < before).then_some((before, after))
    }

    fn sign_of_life(&self, answer: &Answer, now: Now) -> Option<Mono> {
        let output = match (self.seen.log, answer.log) {
            (Some(before), Some(after)) if before == after => None,
            (Some(_), Some(after)) => Some(self.moment(after.modified, now)),
            (None, Some(first)) => Some(mono_of(first.modified, now)),
            (_, None) => None,
        };
        let files = match (self.seen.files, answer.files) {
            (Some(before), Some(after)) if before == after => None,
            (Some(_), Some(after)) => Some(self.moment(after, now)),
            (None, Some(first)) => Some(mono_of(first, now)),
            (_, None) => None,
        };
        let cpu = match (self.seen.cpu, answer.cpu) {
            (Some((before, at)), Some(after)) => {
                let used = after.saturating_sub(before);
                counts_as_busy(used, now.mono.since(at)).then_some(now.mono)
            }
            (None, Some(_)) | (_, None) => None,
        };
        output.max(files).max(cpu)
    }

    /// When a change happened that was not there at the last look. A time that fits nowhere, from a file server with
    /// another clock, is as good as now.
    fn moment(&self, at: Timestamp, now: Now) -> Mono {
        let at = mono_of(at, now);
        if at <= self.quiet_since { now.mono } else { at }
    }

    fn next_look(&self, now: Mono) -> Mono {
        let timeout = self.spec.timeout;
        let half_time = self.quiet_since.plus(timeout / 2);
        let step = (timeout / 16).max(OFTEN);
        if now < half_time {
            return if self.spec.cpu { half_time.min(now.plus(step)) } else { half_time };
        }
        let step = step.min(SELDOM);
        now.plus(step).min(self.quiet_since.plus(timeout)).max(now.plus(Duration::from_millis(1)))
    }
}

/// When the monotonic clock showed what the wall clock showed at a file's change; never later than now.
fn mono_of(at: Timestamp, now: Now) -> Mono {
    let ago = Duration::try_from(now.wall.duration_since(at)).unwrap_or(Duration::ZERO);
    Mono::from_nanos(now.mono.as_nanos().saturating_sub(u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX)))
}

/// Takes the look. It may block.
pub fn look(probe: &dyn Probe, question: &Question) -> Answer {
    let Question { target, spec } = question;
    Answer {
        log: spec.output.then(|| probe.log(&target.log)).flatten(),
        cpu: spec.cpu.then(|| probe.tree(target.process)).flatten().map(|tree| tree.cpu),
        files: (!spec.files.is_empty()).then(|| probe.newest(&target.cwd, &spec.files)).flatten(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Mutex;

    use super::super::proc_tree::TreeUse;
    use super::*;

    const TIMEOUT: Duration = Duration::from_mins(1);

    /// A world that the test moves, with its own clock.
    struct Scene {
        now: Now,
        output_at: Option<Timestamp>,
        bytes: u64,
        cpu: Duration,
        busy: bool,
        files: Option<Timestamp>,
        looks: Mutex<Vec<&'static str>>,
    }

    impl Probe for Scene {
        fn log(&self, _: &Path) -> Option<LogMark> {
            self.looks.lock().unwrap().push("log");
            Some(LogMark { bytes: self.bytes, modified: self.output_at.unwrap_or(Timestamp::UNIX_EPOCH) })
        }

        fn tree(&self, _: Process) -> Option<TreeUse> {
            self.looks.lock().unwrap().push("cpu");
            Some(TreeUse { cpu: self.cpu, rss_bytes: 0 })
        }

        fn newest(&self, _: &Path, _: &[String]) -> Option<Timestamp> {
            self.files
        }

        fn no_room(&self, _: &Path) -> Option<String> {
            None
        }
    }

    fn spec() -> ActivitySpec {
        ActivitySpec { timeout: TIMEOUT, output: true, cpu: true, files: vec!["*".into()] }
    }

    fn scene() -> Scene {
        Scene {
            now: Now { mono: Mono::from_nanos(7_000_000_000), wall: "2026-01-01T00:00:00Z".parse().unwrap() },
            output_at: None,
            bytes: 0,
            cpu: Duration::ZERO,
            busy: false,
            files: None,
            looks: Mutex::new(vec![]),
        }
    }

    impl Scene {
        fn pass(&mut self, time: Duration) {
            self.now.mono = self.now.mono.plus(time);
            self.now.wall = self.now.wall.checked_add(jiff::SignedDuration::try_from(time).unwrap()).unwrap();
            if self.busy {
                self.cpu += time;
            }
        }

        fn pass_to(&mut self, at: Mono) {
            self.pass(at.since(self.now.mono));
        }

        fn print(&mut self) {
            self.bytes += 10;
            self.output_at = Some(self.now.wall);
        }

        fn watch(&self) -> (Watch, Mono) {
            let process = Process { pid: 1, start: 1 };
            let target = Target { process, log: "/l".into(), cwd: "/".into() };
            Watch::new(Attempt::FIRST, spec(), target, self.now)
        }

        fn check(&self, watch: &mut Watch, late: bool) -> Finding {
            let question = watch.question(self.now, late);
            let answer = look(self, &question);
            watch.answer(&answer, self.now)
        }

        /// Checks whenever it is due; how long after the start it was found silent, or `None` within the time.
        fn until_silent(&mut self, watch: &mut Watch, mut due: Mono, within: Duration) -> Option<Duration> {
            let start = self.now.mono;
            loop {
                if due.since(start) > within {
                    self.pass(within.saturating_sub(self.now.mono.since(start)));
                    return None;
                }
                self.pass_to(due);
                match self.check(watch, false) {
                    Finding::LookAgain(at) => due = at,
                    Finding::Silent { .. } => return Some(self.now.mono.since(start)),
                }
            }
        }
    }

    #[test]
    fn a_silent_one_is_found_at_its_timeout() {
        let mut scene = scene();
        let (mut watch, due) = scene.watch();
        let took = scene.until_silent(&mut watch, due, TIMEOUT * 3).unwrap();
        assert!(took >= TIMEOUT && took <= TIMEOUT + Duration::from_secs(1), "{took:?}");
    }

    #[test]
    fn output_counts_from_the_moment_when_it_was_written() {
        let mut scene = scene();
        let (mut watch, due) = scene.watch();
        scene.pass_to(due);
        let Finding::LookAgain(due) = scene.check(&mut watch, false) else { panic!() };
        scene.pass(Duration::from_secs(20));
        scene.print();
        let printed = scene.now.mono;
        let Some(_) = scene.until_silent(&mut watch, due, TIMEOUT * 3) else { panic!() };
        let quiet = scene.now.mono.since(printed);
        assert!(quiet >= TIMEOUT && quiet <= TIMEOUT + Duration::from_secs(1), "{quiet:?}");
    }

    #[test]
    fn one_that_computes_in_silence_lives_and_is_found_once_it_stops() {
        let mut scene = scene();
        scene.busy = true;
        let (mut watch, due) = scene.watch();
        assert_eq!(scene.until_silent(&mut watch, due, TIMEOUT * 10), None);
        scene.busy = false;
        let stopped = scene.now.mono;
        let due = watch.next_look(scene.now.mono);
        scene.until_silent(&mut watch, due, TIMEOUT * 3).unwrap();
        let quiet = scene.now.mono.since(stopped);
        assert!(quiet >= TIMEOUT && quiet <= TIMEOUT + TIMEOUT / 16, "{quiet:?}");
    }

    #[test]
    fn files_that_change_are_a_sign_of_life() {
        let mut scene = scene();
        scene.files = Some(scene.now.wall);
        let (mut watch, due) = scene.watch();
        scene.pass_to(due);
        let Finding::LookAgain(due) = scene.check(&mut watch, false) else { panic!() };
        scene.pass(Duration::from_secs(40));
        scene.files = Some(scene.now.wall);
        let took = scene.until_silent(&mut watch, due.max(scene.now.mono), TIMEOUT * 3).unwrap();
        assert!(took >= TIMEOUT && took <= TIMEOUT + Duration::from_secs(1), "{took:?}");
    }

    #[test]
    fn nothing_is_looked_at_before_half_time_where_the_cpu_does_not_count() {
        let mut scene = scene();
        let (mut watch, due) = scene.watch();
        watch.spec.cpu = false;
        scene.pass_to(due);
        let Finding::LookAgain(due) = scene.check(&mut watch, false) else { panic!() };
        assert_eq!(due.since(watch.quiet_since), TIMEOUT / 2);
        assert_eq!(*scene.looks.lock().unwrap(), ["log"]);
    }

    #[test]
    fn work_before_the_last_output_is_no_sign_of_life_after_it() {
        let mut scene = scene();
        let (mut watch, due) = scene.watch();
        scene.busy = true;
        assert_eq!(scene.until_silent(&mut watch, due, TIMEOUT * 4), None);
        scene.print();
        scene.busy = false;
        let printed = scene.now.mono;
        let due = watch.next_look(scene.now.mono);
        scene.until_silent(&mut watch, due, TIMEOUT * 3).unwrap();
        let quiet = scene.now.mono.since(printed);
        assert!(quiet >= TIMEOUT && quiet <= TIMEOUT + TIMEOUT / 16, "{quiet:?}");
    }

    #[test]
    fn a_check_that_comes_much_too_late_ends_nobody() {
        let mut scene = scene();
        let (mut watch, due) = scene.watch();
        scene.pass_to(due);
        scene.check(&mut watch, false);
        scene.pass(TIMEOUT * 5);
        let Finding::LookAgain(again) = scene.check(&mut watch, true) else { panic!("ended") };
        assert!(again > scene.now.mono && watch.quiet_since == scene.now.mono);
    }

    #[test]
    fn a_jump_of_the_wall_clock_starts_the_window_anew() {
        let mut scene = scene();
        let (mut watch, due) = scene.watch();
        scene.pass_to(due);
        let Finding::LookAgain(due) = scene.check(&mut watch, false) else { panic!() };
        scene.pass_to(due.plus(TIMEOUT / 2));
        scene.now.wall = scene.now.wall.checked_add(jiff::SignedDuration::from_hours(8)).unwrap();
        assert!(matches!(scene.check(&mut watch, false), Finding::LookAgain(_)));
    }

    #[test]
    fn a_shorter_timeout_applies_to_the_silence_that_is_there() {
        let mut scene = scene();
        let (mut watch, due) = scene.watch();
        scene.pass_to(due);
        scene.check(&mut watch, false);
        scene.pass(Duration::from_secs(20));
        let shorter = ActivitySpec { timeout: Duration::from_secs(10), ..spec() };
        let due = watch.respec(&shorter, scene.now);
        assert!(due.since(scene.now.mono) <= Duration::from_secs(1));
        scene.pass_to(due);
        assert!(matches!(scene.check(&mut watch, false), Finding::Silent { .. }));
    }
}
