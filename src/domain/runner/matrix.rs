//! The whole state × event matrix as one snapshot: the documentation of supervision. Read it as: in this state, on
//! this event, the runner becomes that, and these effects are asked for.

use std::fmt::Write as _;

use super::fixture::{Bench, nth, retry_mut, secs, watched};
use super::*;
use crate::domain::retry::OutputMatch;
use crate::domain::verdict::ExitStatus;
use crate::domain::view::NoticeKind;
use event::{Failure, LaunchChange};

#[expect(clippy::too_many_lines, reason = "a table")]
fn states() -> Vec<(&'static str, Bench)> {
    let made = |build: fn(&mut Bench)| {
        let mut bench = Bench::new(watched("a"));
        build(&mut bench);
        bench.pass(secs(2));
        bench
    };
    vec![
        ("idle", made(|_| {})),
        (
            "starting",
            made(|b| {
                b.feed(Event::Start);
            }),
        ),
        (
            "running, not ready",
            made(|b| {
                b.up();
            }),
        ),
        (
            "running, ready, one retry used",
            made(|b| {
                b.up().crash().pass(secs(5)).timer(TimerKind::Due).spawned();
                b.feed(Event::HealthPassed { attempt: nth(2) });
            }),
        ),
        (
            "running, removed from the config",
            made(|b| {
                b.up().feed(Event::Removed);
            }),
        ),
        (
            "ending: stopped",
            made(|b| {
                b.up().feed(Event::Stop);
            }),
        ),
        (
            "ending: stopped, the spawn under way",
            made(|b| {
                b.feed(Event::Start).feed(Event::Stop);
            }),
        ),
        (
            "ending: to be restarted",
            made(|b| {
                b.up().feed(Event::Restart);
            }),
        ),
        (
            "ending: timed out",
            made(|b| {
                b.up().pass(secs(3600)).timer(TimerKind::Timeout);
            }),
        ),
        (
            "sweeping, then a retry",
            made(|b| {
                b.up().exit(ExitStatus::Code(1));
            }),
        ),
        (
            "sweeping, then completed",
            made(|b| {
                b.up().exit(ExitStatus::Code(0));
            }),
        ),
        (
            "sweeping, stuck",
            made(|b| {
                b.up().exit(ExitStatus::Code(1));
                let attempt = b.live();
                b.feed(Event::Stuck { attempt, pids: vec![9] });
            }),
        ),
        (
            "pending: a retry",
            made(|b| {
                b.up().crash();
            }),
        ),
        (
            "pending: no room",
            made(|b| {
                b.feed(Event::Start).feed(Event::Blocked { reason: "no room".into() });
            }),
        ),
        (
            "stopped",
            made(|b| {
                b.up().feed(Event::Stop).pass(secs(1)).exit(ExitStatus::Code(0)).gone();
            }),
        ),
        (
            "crashed, exhausted",
            made(|b| {
                retry_mut(&mut b.spec).max_retries = 0;
                b.up().crash();
                retry_mut(&mut b.spec).max_retries = 3;
            }),
        ),
        (
            "completed",
            made(|b| {
                b.up().exit(ExitStatus::Code(0)).gone();
            }),
        ),
    ]
}

fn events(b: &Bench) -> Vec<(&'static str, Event)> {
    let attempt = b.runner.live_attempt().or(b.runner.attempt).unwrap_or(Attempt::FIRST);
    let epoch = b.runner.epoch;
    let process = Process { pid: 101, start: 7 };
    let exited = |status| Event::Exited { attempt, seq: 9, status, at: b.now.mono, disk_full: false };
    let failed = |failure| Event::SpawnFailed { attempt, failure, message: "why".into() };
    let found = |main_ended| {
        Some(Found { attempt, process, main_ended, stuck: vec![], log: PathBuf::from("/logs/a.log") })
    };
    let inventory = |found| Event::Inventory { found, first: true, output: OutputMatch::None };
    vec![
        ("start", Event::Start),
        ("stop", Event::Stop),
        ("restart", Event::Restart),
        ("kill", Event::Kill),
        ("spawned", Event::Spawned { attempt, process }),
        ("spawn failed: resource", failed(Failure::Resource)),
        ("spawn failed: busy", failed(Failure::Busy)),
        ("spawn failed: broken", failed(Failure::Broken)),
        ("exit 0", exited(ExitStatus::Code(0))),
        ("exit 1", exited(ExitStatus::Code(1))),
        ("exit unknown", exited(ExitStatus::Unknown)),
        ("gone", Event::Gone { attempt, output: OutputMatch::None }),
        ("stuck", Event::Stuck { attempt, pids: vec![8] }),
        ("timer: due", Event::Timer { kind: TimerKind::Due, epoch }),
        ("timer: timeout", Event::Timer { kind: TimerKind::Timeout, epoch }),
        ("timer: steady", Event::Timer { kind: TimerKind::Steady, epoch }),
        ("silent", Event::Silent { attempt, quiet: secs(300) }),
        ("health passed", Event::HealthPassed { attempt }),
        ("health failed", Event::HealthFailed { attempt, detail: "exit 1".into() }),
        ("blocked", Event::Blocked { reason: "no room".into() }),
        ("spec changed", Event::SpecChanged { launch: LaunchChange::Same }),
        ("command changed", Event::SpecChanged { launch: LaunchChange::Differs }),
        ("removed", Event::Removed),
        ("found alive", inventory(found(false))),
        ("found ended, tree alive", inventory(found(true))),
        ("not found", inventory(None)),
        ("rebooted", Event::Rebooted),
    ]
}

fn phase(runner: &Runner) -> String {
    match &runner.phase {
        Phase::Idle => "idle".into(),
        Phase::Starting(s) => format!("starting #{}", s.attempt),
        Phase::Running(r) => format!("running #{}", r.attempt),
        Phase::Ending(e) => format!("ending #{} ({}), then {:?}", e.attempt, e.outcome, e.after),
        Phase::Sweeping(s) => format!("sweeping #{}, then {}", s.attempt, next(&s.next)),
        Phase::Pending(due) => format!("pending: {}", why(due)),
        Phase::Resting(rest) => format!("{rest:?}").to_lowercase(),
    }
}

fn next(next: &Next) -> String {
    match next {
        Next::Rest(rest) => format!("{rest:?}").to_lowercase(),
        Next::Start => "start".into(),
        Next::At(due) => why(due),
        Next::Decide { .. } => "decide".into(),
    }
}

fn why(due: &Due) -> String {
    match &due.why {
        Why::Retry { .. } => "retry".into(),
        Why::Again => "again".into(),
        Why::Wait { reason } => format!("wait ({reason})"),
    }
}

fn effect(effect: &Effect) -> String {
    match effect {
        Effect::Spawn => "SPAWN".into(),
        Effect::Stop { signal, grace, .. } if signal.is_none() && grace.is_zero() => "KILL".into(),
        Effect::Stop { .. } => "STOP".into(),
        Effect::RunStopCommand { .. } => "run the stop command".into(),
        Effect::ArmTimer { kind, .. } => format!("arm {kind:?}").to_lowercase(),
        Effect::Ack(_) => "ack".into(),
        Effect::SpendBudget => "spend budget".into(),
        Effect::Watch { .. } => "watch".into(),
        Effect::Unwatch => "unwatch".into(),
        Effect::StartHealth { .. } => "start health".into(),
        Effect::StopHealth => "stop health".into(),
        Effect::Remove => "REMOVE".into(),
        Effect::Notice(what) => notice(what),
    }
}

fn notice(what: &NoticeKind) -> String {
    let text = format!("{what:?}");
    let name = text.split([' ', '{', '(']).next().unwrap_or_default();
    format!("say {}", name.to_lowercase())
}

#[test]
fn every_state_meets_every_event() {
    let mut table = String::new();
    for (name, bench) in states() {
        writeln!(table, "## {name}").unwrap();
        for (word, event) in events(&bench) {
            let ctx = Context { now: bench.now, random: 0.5, budget_free_at: None };
            let (after, effects) = step(&bench.spec, bench.runner.clone(), event, &ctx);
            if after == bench.runner && effects.is_empty() {
                writeln!(table, "{word:24} -").unwrap();
                continue;
            }
            let effects: Vec<String> = effects.iter().map(effect).collect();
            writeln!(table, "{word:24} {:44} {}", phase(&after), effects.join(", ")).unwrap();
        }
        table.push('\n');
    }
    insta::assert_snapshot!(table);
}
