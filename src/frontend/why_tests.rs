//! One paragraph per situation, word for word.

use super::*;
use crate::domain::ids::Attempt;
use crate::domain::view::{AttemptView, Figures};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn runner(status: RunnerStatus) -> RunnerView {
    RunnerView {
        attempt: Attempt::new(3),
        retry_count: 2,
        started_at: Some(at(100)),
        log: Some("/w/.restage/logs/agent_3.log".into()),
        ..RunnerView::plain("agent", status)
    }
}

fn outcome(verdict: Verdict) -> Outcome {
    Outcome { verdict, exit_code: None, signal: None, detail: None }
}

fn exit(code: i32) -> Option<Outcome> {
    (code != 0).then(|| Outcome { exit_code: Some(code), ..outcome(Verdict::Exit) })
}

#[test]
fn every_situation_has_its_paragraph() {
    use RunnerStatus::{Backoff, Completed, Crashed, Idle, Running, Starting, Stopped, Stopping, Stuck};
    let inactive = Outcome { detail: Some("try stdio \"tty\".".into()), ..outcome(Verdict::Inactive) };
    let killed = Outcome { signal: Some(9), ..outcome(Verdict::Signal) };
    let before = AttemptView { attempt: Attempt::FIRST, started_at: None, ended_at: None, outcome: exit(7) };
    let figures = Figures { cpu_percent: 1.0, rss_bytes: 1, last_output_at: Some(at(940)) };
    let table: Vec<(RunnerView, &str)> = vec![
        (
            runner(Idle),
            "agent has not been started yet: nothing asked for it. `restage start agent` starts it.",
        ),
        (
            RunnerView { waiting: Some("the disk is full".into()), ..runner(Starting) },
            "agent is about to start and waits: the disk is full.",
        ),
        (runner(Starting), "agent is starting attempt 3."),
        (
            RunnerView {
                pid: Some(77),
                ready: Some(true),
                figures: Some(figures),
                activity_timeout_seconds: Some(300.0),
                attempts: vec![before],
                ..runner(Running)
            },
            "agent is running as pid 77 for 15m00s (attempt 3). Its health check passes. Its last output came 1m00s \
             ago; it is ended after 5m of silence. 2 of 3 retries are used; the attempt before ended by exit code 7.",
        ),
        (
            RunnerView { retry_count: 0, note: Some("restart to apply".into()), ..runner(Running) },
            "agent is running for 15m00s (attempt 3). Note: restart to apply.",
        ),
        (
            RunnerView { outcome: Some(outcome(Verdict::Stopped)), ..runner(Stopping) },
            "agent is being stopped, because somebody asked for it. `restage kill agent` ends it without grace.",
        ),
        (
            RunnerView { outcome: Some(outcome(Verdict::TimedOut)), ..runner(Stopping) },
            "agent is being ended: timed out. `restage kill agent` ends it without grace.",
        ),
        (
            RunnerView { outcome: exit(1), next_retry_at: Some(at(1007)), ..runner(Backoff) },
            "agent is not running: its last attempt ended by exit code 1. 2 of 3 retries are used. The next attempt \
             starts in 7s. `restage start agent` starts it now, `restage stop agent` cancels the retry.",
        ),
        (
            RunnerView {
                outcome: exit(1),
                waiting: Some("the retry budget is spent".into()),
                ..runner(Backoff)
            },
            "agent is not running: its last attempt ended by exit code 1. 2 of 3 retries are used. It waits: the \
             retry budget is spent. `restage start agent` starts it now, `restage stop agent` cancels the retry.",
        ),
        (
            runner(Stopped),
            "agent is not running because it was stopped by request; what was stopped is not retried. `restage start \
             agent` starts it again.",
        ),
        (
            RunnerView { exhausted: true, outcome: Some(inactive), ..runner(Crashed) },
            "agent is not running: its last attempt ended by restage, because it was silent for too long (try stdio \
             \"tty\"). All 3 retries are used. To go on, look at the end of its log (/w/.restage/logs/agent_3.log), \
             mend the cause, and start it with a fresh count: `restage start agent`.",
        ),
        (
            RunnerView { outcome: Some(killed), log: None, ..runner(Crashed) },
            "agent is not running: its last attempt ended by signal 9 (SIGKILL). 2 of 3 retries are used, and its \
             policy does not retry this. To go on, look at its config, mend the cause, and start it with a fresh \
             count: `restage start agent`.",
        ),
        (
            RunnerView {
                ended_at: Some(at(114)),
                outcome: Some(Outcome { exit_code: Some(0), ..outcome(Verdict::Completed) }),
                ..runner(Completed)
            },
            "agent is not running because it is done: it completed after 14s with exit code 0. `restage start agent` \
             runs it again.",
        ),
        (
            runner(Stuck),
            "agent is stuck: processes of its last attempt do not die, not even by SIGKILL. Nothing of it starts \
             before they are gone; they wait in the kernel, for a disk or a network mount, or belong to another user.",
        ),
    ];
    for (runner, text) in table {
        assert_eq!(why(&runner, at(1000)), text);
    }
}
