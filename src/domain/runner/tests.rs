//! The rules of supervision, one test each.
#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks for the one effect that it is about")]

use super::fixture::{Bench, nth, retry_mut, secs, spec, watched};
use super::*;
use crate::domain::retry::OutputMatch;
use crate::domain::spec::{Pattern, Reload, RestartPolicy, Stdio};
use crate::domain::verdict::{ExitStatus, Verdict};
use crate::domain::view::{NoticeKind, RunnerStatus};
use event::{Failure, LaunchChange};

pub(super) fn stop_effect(b: &Bench) -> Option<(Option<i32>, Duration)> {
    b.effects.iter().find_map(|effect| match effect {
        Effect::Stop { signal, grace, .. } => Some((*signal, *grace)),
        _ => None,
    })
}

#[test]
fn the_default_policy_retries_after_5_10_and_20_seconds_and_then_gives_up() {
    let mut b = Bench::new(spec("a"));
    b.up();
    for (retry, delay) in [(1, 5), (2, 10), (3, 20)] {
        b.crash();
        assert_eq!(b.status(), RunnerStatus::Backoff);
        assert_eq!((b.armed(TimerKind::Due), b.runner.retry_count), (Some(secs(delay)), retry));
        b.pass(secs(delay)).timer(TimerKind::Due);
        assert!(b.spawns());
        b.spawned();
    }
    b.exit(ExitStatus::Code(1));
    assert!(b.notices().contains(&&NoticeKind::Exhausted { max_retries: 3 }));
    b.gone();
    let view = b.runner.to_view(&b.spec, &b.now);
    assert_eq!((view.status, view.exhausted, view.retry_count), (RunnerStatus::Crashed, true, 3));
    assert_eq!(view.attempts.len(), 4);
}

#[test]
fn with_backoff_0_the_spawn_follows_gone_at_once_and_never_the_exit() {
    let mut s = spec("a");
    retry_mut(&mut s).backoff.base = Duration::ZERO;
    let mut b = Bench::new(s);
    b.up().exit(ExitStatus::Signal(9));
    assert!(!b.spawns(), "what is left of the first attempt may still live");
    b.gone();
    assert!(b.spawns());
    assert_eq!(b.live(), nth(2));
}

#[test]
fn a_backoff_runs_while_the_leftovers_are_swept_and_the_start_follows_the_later_of_the_two() {
    let mut b = Bench::new(spec("a"));
    b.up().exit(ExitStatus::Code(1)).pass(secs(2)).gone();
    assert_eq!(b.armed(TimerKind::Due), Some(secs(3)), "two of the five seconds are over");

    let mut b = Bench::new(spec("a"));
    b.up().exit(ExitStatus::Code(1)).pass(secs(9)).timer(TimerKind::Due);
    assert!(!b.spawns());
    b.gone();
    assert!(b.spawns());
}

#[test]
fn a_stopped_runner_is_stopped_whatever_its_exit() {
    for status in [ExitStatus::Code(0), ExitStatus::Code(3), ExitStatus::Signal(15), ExitStatus::Unknown] {
        let mut b = Bench::new(spec("a"));
        b.up().feed(Event::Stop);
        assert_eq!(stop_effect(&b), Some((Some(15), secs(10))));
        b.pass(secs(1)).exit(status).gone();
        assert_eq!((b.status(), b.verdict().as_str()), (RunnerStatus::Stopped, "stopped"));
        assert_eq!(b.runner.retry_count, 0);
    }
}

#[test]
fn an_exit_that_came_first_keeps_its_own_verdict() {
    let mut b = Bench::new(watched("a"));
    b.up().pass(secs(3600));
    let exited = b.now.mono;
    b.pass(Duration::from_millis(1)).timer(TimerKind::Timeout);
    assert_eq!(b.status(), RunnerStatus::Stopping);
    b.feed(Event::Exited {
        attempt: nth(1),
        seq: 1,
        status: ExitStatus::Code(0),
        at: exited,
        disk_full: false,
    });
    b.gone();
    assert_eq!((b.status(), b.verdict().as_str()), (RunnerStatus::Completed, "completed"));
}

#[test]
fn an_agent_that_answers_the_stop_of_a_timeout_with_exit_0_is_timed_out() {
    let mut b = Bench::new(watched("a"));
    b.up().pass(secs(3600)).timer(TimerKind::Timeout).pass(secs(1)).exit(ExitStatus::Code(0)).gone();
    assert_eq!((b.status(), b.verdict().as_str()), (RunnerStatus::Backoff, "timed out"));
    assert_eq!(b.runner.last.as_ref().unwrap().outcome.exit_code, Some(0));
}

#[test]
fn a_user_stop_while_a_timeout_ends_it_forbids_the_retry() {
    let mut b = Bench::new(watched("a"));
    b.up().pass(secs(3600)).timer(TimerKind::Timeout).feed(Event::Stop);
    b.pass(secs(1)).exit(ExitStatus::Signal(15)).gone();
    assert_eq!((b.status(), b.verdict().as_str()), (RunnerStatus::Stopped, "timed out"));
}

#[test]
fn silence_ends_it_as_inactive_and_says_what_to_try() {
    let mut b = Bench::new(watched("a"));
    b.up().pass(secs(300)).feed(Event::Silent { attempt: nth(1), quiet: secs(300) });
    let NoticeKind::Ending { outcome, .. } = b.notices()[0] else { panic!("{:?}", b.effects) };
    assert_eq!(outcome.verdict, Verdict::Inactive);
    let detail = outcome.detail.as_ref().unwrap();
    assert!(
        detail.contains("no output or CPU use for 5m") && detail.contains(r#""stdio": "tty""#),
        "{detail}"
    );

    let mut on_tty = watched("a");
    on_tty.launch.stdio = Stdio::Tty;
    let mut b = Bench::new(on_tty);
    b.up().feed(Event::Silent { attempt: nth(1), quiet: secs(300) });
    let NoticeKind::Ending { outcome, .. } = b.notices()[0] else { panic!("{:?}", b.effects) };
    assert!(!outcome.detail.as_ref().unwrap().contains("tty"));
}

#[test]
fn stop_during_a_backoff_cancels_it() {
    let mut b = Bench::new(spec("a"));
    b.up().crash().feed(Event::Stop);
    assert_eq!(b.status(), RunnerStatus::Stopped);
    assert_eq!(b.notices(), [&NoticeKind::RetryCancelled]);
    b.pass(secs(60)).timer(TimerKind::Due);
    assert!(!b.spawns());
}

#[test]
fn stop_while_the_spawn_is_under_way_stops_what_comes_of_it() {
    let mut b = Bench::new(spec("a"));
    b.feed(Event::Start).feed(Event::Stop);
    assert_eq!((b.status(), stop_effect(&b)), (RunnerStatus::Stopping, None));
    b.spawned();
    assert_eq!(stop_effect(&b), Some((Some(15), secs(10))));
    b.exit(ExitStatus::Signal(15)).gone();
    assert_eq!(b.status(), RunnerStatus::Stopped);

    let mut b = Bench::new(spec("a"));
    b.feed(Event::Start).feed(Event::Stop).feed(Event::SpawnFailed {
        attempt: nth(1),
        failure: Failure::Broken,
        message: "no such file".into(),
    });
    assert_eq!((b.status(), b.verdict().as_str()), (RunnerStatus::Stopped, "stopped"));
}

#[test]
fn start_begins_anew_with_count_0_and_is_a_no_op_on_what_runs() {
    let mut b = Bench::new(spec("a"));
    b.up().crash();
    assert_eq!(b.runner.retry_count, 1);
    b.feed(Event::Start);
    assert!(b.spawns());
    assert_eq!((b.runner.retry_count, b.live()), (0, nth(2)));
    b.spawned().feed(Event::Start);
    assert!(!b.spawns());
    assert!(matches!(b.notices()[..], [NoticeKind::Info { .. }]));
}

#[test]
fn restart_is_stop_then_start_and_kill_has_no_grace() {
    let mut b = Bench::new(spec("a"));
    b.up().feed(Event::Restart).pass(secs(1)).exit(ExitStatus::Signal(15));
    assert!(!b.spawns());
    b.gone();
    assert!(b.spawns());
    b.spawned().feed(Event::Kill);
    assert_eq!(stop_effect(&b), Some((None, Duration::ZERO)));
}

#[test]
fn kill_shortens_a_stop_and_cancels_a_restart() {
    let mut b = Bench::new(spec("a"));
    b.up().feed(Event::Restart).feed(Event::Kill);
    assert_eq!(stop_effect(&b), Some((None, Duration::ZERO)));
    b.exit(ExitStatus::Signal(9)).gone();
    assert_eq!(b.status(), RunnerStatus::Stopped);
}

#[test]
fn a_stop_command_takes_the_place_of_the_signal() {
    let mut s = spec("a");
    s.stop.command = Some(crate::domain::spec::CommandSpec::Shell("ctl quit".into()));
    let mut b = Bench::new(s);
    b.up().feed(Event::Stop);
    assert!(b.effects.contains(&Effect::RunStopCommand { attempt: nth(1) }));
    assert_eq!(stop_effect(&b), Some((None, secs(10))));
}

#[test]
fn a_good_end_under_always_comes_again_without_a_retry_and_clears_the_count() {
    let mut s = spec("a");
    s.restart = RestartPolicy::Always;
    let mut b = Bench::new(s);
    b.up().crash().pass(secs(5)).timer(TimerKind::Due).spawned();
    assert_eq!(b.runner.retry_count, 1);
    b.pass(secs(60)).exit(ExitStatus::Code(0));
    assert!(b.notices().contains(&&NoticeKind::Recovered { retries: 1 }));
    b.gone();
    assert_eq!((b.status(), b.runner.retry_count), (RunnerStatus::Backoff, 0));
    assert_eq!(b.armed(TimerKind::Due), Some(secs(5)));
}

#[test]
fn a_good_end_under_always_does_not_spin() {
    let mut s = spec("a");
    s.restart = RestartPolicy::Always;
    retry_mut(&mut s).backoff.base = Duration::ZERO;
    let mut b = Bench::new(s);
    b.up().exit(ExitStatus::Code(0)).gone();
    assert_eq!(b.armed(TimerKind::Due), Some(secs(1)));
    b.pass(secs(1)).timer(TimerKind::Due).spawned().pass(secs(2)).exit(ExitStatus::Code(0)).gone();
    assert!(b.spawns(), "it lived long enough");
}

#[test]
fn healthy_long_enough_sets_the_count_back_counted_from_ready() {
    let mut b = Bench::new(watched("a"));
    b.up().crash().pass(secs(5)).timer(TimerKind::Due).spawned();
    assert_eq!(b.armed(TimerKind::Steady), None, "not healthy yet");
    b.pass(secs(100)).feed(Event::HealthPassed { attempt: nth(2) });
    assert_eq!(b.armed(TimerKind::Steady), Some(secs(600)));
    b.pass(secs(600)).timer(TimerKind::Steady);
    assert_eq!((b.runner.retry_count, b.notices()), (0, vec![&NoticeKind::Recovered { retries: 1 }]));
}

#[test]
fn failed_health_checks_in_a_row_end_it_as_unhealthy() {
    let mut b = Bench::new(watched("a"));
    let failed = || Event::HealthFailed { attempt: nth(1), detail: "exit 1".into() };
    b.up().feed(failed()).feed(Event::HealthPassed { attempt: nth(1) }).feed(failed());
    assert_eq!(b.status(), RunnerStatus::Running);
    b.feed(failed());
    assert_eq!(b.status(), RunnerStatus::Stopping);
    b.pass(secs(1)).exit(ExitStatus::Code(0)).gone();
    assert_eq!((b.status(), b.verdict().as_str()), (RunnerStatus::Backoff, "unhealthy"));
}

#[test]
fn a_budget_that_is_used_up_makes_the_retry_wait_longer_and_says_so() {
    let mut b = Bench::new(spec("a"));
    b.up();
    let delays = |b: &Bench| {
        let delay = |notice: &&NoticeKind| match notice {
            NoticeKind::Retrying { delay_seconds, .. } | NoticeKind::Waiting { delay_seconds, .. } => {
                Some(*delay_seconds)
            }
            _ => None,
        };
        b.notices().iter().filter_map(delay).collect::<Vec<f64>>()
    };
    b.budget_free_at = Some(b.now.mono.plus(secs(60)));
    b.exit(ExitStatus::Code(1));
    assert_eq!(delays(&b), [60.0, 60.0], "the delay that comes, in both lines");
    b.gone();
    let view = b.runner.to_view(&b.spec, &b.now);
    assert_eq!(b.armed(TimerKind::Due), Some(secs(60)));
    assert_eq!((view.retry_count, view.waiting.as_deref()), (1, Some(OVER_BUDGET)));
    // Others were quicker: it is still used up when its turn comes.
    b.pass(secs(60));
    b.budget_free_at = Some(b.now.mono.plus(secs(7)));
    b.timer(TimerKind::Due);
    assert!(!b.spawns());
    assert_eq!(delays(&b), [7.0], "told again, with the delay of today");
    b.pass(secs(7));
    b.budget_free_at = None;
    b.timer(TimerKind::Due);
    assert!(b.spawns() && b.effects.contains(&Effect::SpendBudget));
    assert_eq!(b.runner.retry_count, 1);
}

#[test]
fn a_lack_of_resources_waits_with_the_same_attempt_and_spends_no_retry() {
    let mut b = Bench::new(spec("a"));
    b.feed(Event::Start);
    for round in 0..3 {
        let event =
            Event::SpawnFailed { attempt: nth(1), failure: Failure::Resource, message: "no room".into() };
        b.feed(event);
        assert_eq!(b.notices().len(), usize::from(round == 0), "told once");
        assert_eq!(b.runner.to_view(&b.spec, &b.now).waiting.as_deref(), Some("no room"));
        b.pass(secs(2)).timer(TimerKind::Due);
        assert!(b.spawns());
    }
    b.spawned();
    assert_eq!((b.live(), b.runner.retry_count), (nth(1), 0));
}

#[test]
fn a_broken_command_follows_the_retry_policy() {
    let mut b = Bench::new(spec("a"));
    b.feed(Event::Start).feed(Event::SpawnFailed {
        attempt: nth(1),
        failure: Failure::Broken,
        message: "open the executable nope: no such file".into(),
    });
    assert_eq!((b.status(), b.verdict().as_str()), (RunnerStatus::Backoff, "spawn failed"));
    assert_eq!(b.runner.retry_count, 1);
}

#[test]
fn something_in_the_way_is_waited_for() {
    let mut b = Bench::new(spec("a"));
    b.feed(Event::Start).feed(Event::SpawnFailed {
        attempt: nth(1),
        failure: Failure::Busy,
        message: String::new(),
    });
    assert_eq!(b.status(), RunnerStatus::Backoff);
    b.feed(Event::Gone { attempt: nth(1), output: OutputMatch::None });
    assert!(b.spawns());
}

#[test]
fn a_crash_on_a_full_disk_spends_no_retry() {
    let mut b = Bench::new(spec("a"));
    b.up().feed(Event::Exited {
        attempt: nth(1),
        seq: 4,
        status: ExitStatus::Code(1),
        at: Mono::from_nanos(0),
        disk_full: true,
    });
    b.gone();
    let view = b.runner.to_view(&b.spec, &b.now);
    assert_eq!((view.status, view.retry_count), (RunnerStatus::Backoff, 0));
    assert!(view.waiting.unwrap().contains("full"));
}

#[test]
fn output_is_judged_when_all_of_it_is_there() {
    let mut s = spec("a");
    retry_mut(&mut s).on_output = vec![Pattern(regex::bytes::Regex::new("overloaded").unwrap())];
    let mut b = Bench::new(s);
    b.up().exit(ExitStatus::Code(1));
    assert_eq!(b.runner.retry_count, 0, "undecided");
    b.pass(secs(1));
    b.feed(Event::Gone { attempt: nth(1), output: OutputMatch::Retry("overloaded".into()) });
    assert_eq!((b.runner.retry_count, b.armed(TimerKind::Due)), (1, Some(secs(4))));

    b.pass(secs(4)).timer(TimerKind::Due).spawned().exit(ExitStatus::Code(1)).gone();
    assert_eq!(b.status(), RunnerStatus::Crashed);
    assert!(matches!(b.notices()[0], NoticeKind::GaveUp { .. }));
}

#[test]
fn what_does_not_die_is_stuck_and_blocks_the_next_start() {
    let mut b = Bench::new(spec("a"));
    b.up().exit(ExitStatus::Code(1)).feed(Event::Stuck { attempt: nth(1), pids: vec![42] });
    assert_eq!(b.status(), RunnerStatus::Stuck);
    b.feed(Event::Start).pass(secs(60));
    assert!(!b.spawns());
    b.gone();
    assert!(b.spawns());
}

#[test]
fn a_removed_runner_stays_until_it_ends_and_is_never_retried() {
    let mut b = Bench::new(spec("a"));
    b.up().feed(Event::Removed);
    assert_eq!(b.status(), RunnerStatus::Running);
    b.crash();
    assert_eq!(b.effects.last(), Some(&Effect::Remove));
    assert_eq!(b.runner.retry_count, 0);

    let mut b = Bench::new(spec("a"));
    b.up().crash().feed(Event::Removed);
    assert_eq!(b.effects.last(), Some(&Effect::Remove));
    b.feed(Event::Start);
    assert!(!b.spawns());
}

#[test]
fn a_new_policy_applies_at_once_and_touches_no_process() {
    let mut b = Bench::new(spec("a"));
    b.up();
    b.spec.timeout = Some(secs(100));
    b.pass(secs(40)).feed(Event::SpecChanged { launch: LaunchChange::Same });
    assert_eq!((b.status(), b.armed(TimerKind::Timeout)), (RunnerStatus::Running, Some(secs(60))));
    assert_eq!(stop_effect(&b), None);

    // A lower limit lets the granted retry happen, and the count never stands above it.
    b.crash().pass(secs(5)).timer(TimerKind::Due).spawned().crash();
    assert_eq!(b.runner.retry_count, 2);
    retry_mut(&mut b.spec).max_retries = 1;
    b.feed(Event::SpecChanged { launch: LaunchChange::Same });
    assert_eq!((b.status(), b.runner.retry_count), (RunnerStatus::Backoff, 1));
    b.pass(secs(10)).timer(TimerKind::Due).spawned().crash();
    assert_eq!(b.status(), RunnerStatus::Crashed);
}

#[test]
fn switching_retries_off_cancels_the_one_that_waits() {
    let mut b = Bench::new(spec("a"));
    b.up().crash();
    retry_mut(&mut b.spec).enabled = false;
    b.feed(Event::SpecChanged { launch: LaunchChange::Same });
    assert_eq!(b.status(), RunnerStatus::Crashed);
}

#[test]
fn a_changed_command_is_told_or_restarts() {
    let mut b = Bench::new(spec("a"));
    b.up().feed(Event::SpecChanged { launch: LaunchChange::Differs });
    assert!(b.runner.note.as_ref().unwrap().contains("restart to apply"));
    b.feed(Event::SpecChanged { launch: LaunchChange::Same });
    assert_eq!(b.runner.note, None, "changed back");

    b.spec.reload = Reload::Restart;
    b.feed(Event::SpecChanged { launch: LaunchChange::Differs });
    assert_eq!(b.status(), RunnerStatus::Stopping);
    b.exit(ExitStatus::Signal(15)).gone();
    assert!(b.spawns());
}

#[test]
fn nothing_ends_before_it_has_started() {
    let mut b = Bench::new(spec("a"));
    b.up();
    let early = Mono::from_nanos(b.now.mono.as_nanos() - 3_000_000);
    let attempt = b.runner.live_attempt().unwrap();
    b.feed(Event::Exited { attempt, seq: 1, status: ExitStatus::Code(0), at: early, disk_full: false });
    b.feed(Event::Gone { attempt, output: OutputMatch::None });
    let view = b.runner.to_view(&b.spec, &b.now);
    assert_eq!(view.status, RunnerStatus::Completed);
    assert_eq!(view.ended_at, view.started_at);
}
