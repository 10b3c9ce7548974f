//! Why a runner is, or is not, running: one paragraph for somebody who has just come back to the terminal. Pure.

use super::text::{between, countdown, one_line, span};
use crate::domain::time::Timestamp;
use crate::domain::verdict::{Outcome, Verdict};
use crate::domain::view::{RunnerStatus, RunnerView, seconds};

/// What it is doing, how the last attempt ended, how many retries are used, what comes next, what to do.
pub fn why(runner: &RunnerView, now: Timestamp) -> String {
    let mut sentences = match runner.status {
        RunnerStatus::Idle => idle(runner),
        RunnerStatus::Starting => starting(runner),
        RunnerStatus::Running => running(runner, now),
        RunnerStatus::Stopping => stopping(runner),
        RunnerStatus::Backoff => backoff(runner, now),
        RunnerStatus::Stopped => stopped(runner),
        RunnerStatus::Crashed => crashed(runner),
        RunnerStatus::Completed => completed(runner),
        RunnerStatus::Stuck => stuck(runner),
    };
    if let Some(note) = &runner.note {
        sentences.push(format!("Note: {}.", one_line(note).trim_end_matches('.')));
    }
    sentences.join(" ")
}

/// The same of what was recorded, while nobody supervises.
pub fn recorded_why(runner: &RunnerView, now: Timestamp) -> String {
    format!("No supervisor runs; this is what was recorded. {}", why(runner, now))
}

fn idle(runner: &RunnerView) -> Vec<String> {
    let name = &runner.name;
    let why = match &runner.waiting {
        Some(waiting) => format!("{name} has not been started yet: {}.", one_line(waiting)),
        None => format!("{name} has not been started yet: nothing asked for it."),
    };
    vec![why, format!("`restage start {name}` starts it.")]
}

fn starting(runner: &RunnerView) -> Vec<String> {
    let name = &runner.name;
    vec![match (&runner.waiting, runner.attempt) {
        (Some(waiting), _) => format!("{name} is about to start and waits: {}.", one_line(waiting)),
        (None, Some(attempt)) => format!("{name} is starting attempt {attempt}."),
        (None, None) => format!("{name} is starting."),
    }]
}

fn running(runner: &RunnerView, now: Timestamp) -> Vec<String> {
    let pid = runner.pid.map(|pid| format!(" as pid {pid}")).unwrap_or_default();
    let up = runner.started_at.map(|at| format!(" for {}", span(between(at, now)))).unwrap_or_default();
    let attempt = runner.attempt.map(|attempt| format!(" (attempt {attempt})")).unwrap_or_default();
    let mut sentences = vec![format!("{} is running{pid}{up}{attempt}.", runner.name)];
    match runner.ready {
        Some(true) => sentences.push("Its health check passes.".into()),
        Some(false) => sentences.push("Its health check has not passed yet.".into()),
        None => {}
    }
    if let Some(last) = runner.figures.and_then(|figures| figures.last_output_at) {
        let ago = span(between(last, now));
        sentences.push(match runner.activity_timeout_seconds {
            Some(allowed) => {
                let allowed = seconds(allowed);
                format!("Its last output came {ago} ago; it is ended after {allowed} of silence.")
            }
            None => format!("Its last output came {ago} ago."),
        });
    }
    if runner.retry_count > 0 {
        let before =
            last_ended(runner).map(|outcome| format!("; the attempt before ended by {}", ended_by(outcome)));
        sentences.push(format!("{}{}.", retries_used(runner), before.unwrap_or_default()));
    }
    sentences
}

fn stopping(runner: &RunnerView) -> Vec<String> {
    let name = &runner.name;
    let mut sentences = vec![match &runner.outcome {
        Some(outcome) if outcome.verdict != Verdict::Stopped => {
            format!("{name} is being ended: {}.", told(outcome))
        }
        Some(_) | None => format!("{name} is being stopped, because somebody asked for it."),
    }];
    if let Some(waiting) = &runner.waiting {
        sentences.push(format!("It waits: {}.", one_line(waiting)));
    }
    sentences.push(format!("`restage kill {name}` ends it without grace."));
    sentences
}

fn backoff(runner: &RunnerView, now: Timestamp) -> Vec<String> {
    let name = &runner.name;
    let mut sentences = vec![match &runner.outcome {
        Some(outcome) => format!("{name} is not running: its last attempt ended by {}.", ended_by(outcome)),
        None => format!("{name} is not running."),
    }];
    sentences.push(format!("{}.", retries_used(runner)));
    match (&runner.waiting, runner.next_retry_at) {
        (Some(waiting), Some(at)) => {
            sentences.push(format!(
                "It waits: {}; the next try is in {}.",
                one_line(waiting),
                countdown(now, at)
            ));
        }
        (Some(waiting), None) => sentences.push(format!("It waits: {}.", one_line(waiting))),
        (None, Some(at)) => sentences.push(format!("The next attempt starts in {}.", countdown(now, at))),
        (None, None) => {}
    }
    sentences.push(format!("`restage start {name}` starts it now, `restage stop {name}` cancels the retry."));
    sentences
}

fn stopped(runner: &RunnerView) -> Vec<String> {
    let name = &runner.name;
    if let Some(waiting) = &runner.waiting {
        return vec![
            format!("{name} is not running: {}.", one_line(waiting)),
            "`restage up` goes on from there.".into(),
        ];
    }
    vec![
        format!("{name} is not running because it was stopped by request; what was stopped is not retried."),
        format!("`restage start {name}` starts it again."),
    ]
}

fn crashed(runner: &RunnerView) -> Vec<String> {
    let name = &runner.name;
    let mut sentences = vec![match &runner.outcome {
        Some(outcome) => format!("{name} is not running: its last attempt ended by {}.", ended_by(outcome)),
        None => format!("{name} is not running: it crashed."),
    }];
    sentences.push(if runner.exhausted && runner.max_retries > 0 {
        match runner.max_retries {
            1 => "Its only retry is used.".into(),
            many => format!("All {many} retries are used."),
        }
    } else if runner.exhausted {
        "No retries are configured for it.".into()
    } else {
        format!("{}, and its policy does not retry this.", retries_used(runner))
    });
    let log = match &runner.log {
        Some(log) => format!("look at the end of its log ({})", log.display()),
        None => "look at its config".into(),
    };
    sentences.push(format!(
        "To go on, {log}, mend the cause, and start it with a fresh count: `restage start {name}`."
    ));
    sentences
}

fn completed(runner: &RunnerView) -> Vec<String> {
    let name = &runner.name;
    let took = match (runner.started_at, runner.ended_at) {
        (Some(start), Some(end)) => format!(" after {}", span(between(start, end))),
        _ => String::new(),
    };
    let code = match runner.outcome.as_ref().and_then(|outcome| outcome.exit_code) {
        Some(code) => format!(" with exit code {code}"),
        None => String::new(),
    };
    vec![
        format!("{name} is not running because it is done: it completed{took}{code}."),
        format!("`restage start {name}` runs it again."),
    ]
}

fn stuck(runner: &RunnerView) -> Vec<String> {
    let name = &runner.name;
    let mut sentences =
        vec![format!("{name} is stuck: processes of its last attempt do not die, not even by SIGKILL.")];
    if let Some(waiting) = &runner.waiting {
        sentences.push(format!("{}.", one_line(waiting)));
    }
    sentences.push(
        "Nothing of it starts before they are gone; they wait in the kernel, for a disk or a network mount, or belong \
         to another user."
            .into(),
    );
    sentences
}

/// How the newest attempt that has ended did so.
fn last_ended(runner: &RunnerView) -> Option<&Outcome> {
    runner.attempts.iter().rev().find_map(|attempt| attempt.outcome.as_ref())
}

fn retries_used(runner: &RunnerView) -> String {
    let verb = if runner.retry_count == 1 { "is" } else { "are" };
    let noun = if runner.max_retries == 1 { "retry" } else { "retries" };
    format!("{} of {} {noun} {verb} used", runner.retry_count, runner.max_retries)
}

/// The words after "ended by": the verdict, spelt out, and what else is known.
fn ended_by(outcome: &Outcome) -> String {
    let cause = match (outcome.verdict, outcome.exit_code) {
        (Verdict::Completed, _) => "completing".into(),
        (Verdict::Exit, Some(code)) => format!("exit code {code}"),
        (Verdict::Exit, None) => "a bad exit".into(),
        (Verdict::Signal, _) => outcome.to_string(),
        (Verdict::Inactive, _) => "restage, because it was silent for too long".into(),
        (Verdict::TimedOut, _) => "restage, because it ran longer than its time limit".into(),
        (Verdict::Unhealthy, _) => "restage, because its health check failed".into(),
        (Verdict::Stopped, _) => "request".into(),
        (Verdict::SpawnFailed, _) => "not starting at all".into(),
        (Verdict::Lost, _) => {
            "something that nobody can tell: it ended while restage was not there".to_owned()
        }
    };
    with_detail(cause, outcome)
}

/// The short form of the verdict and what else is known.
fn told(outcome: &Outcome) -> String {
    with_detail(outcome.to_string(), outcome)
}

fn with_detail(text: String, outcome: &Outcome) -> String {
    match &outcome.detail {
        Some(detail) => format!("{text} ({})", one_line(detail).trim_end_matches('.')),
        None => text,
    }
}

#[cfg(test)]
#[path = "why_tests.rs"]
mod tests;
