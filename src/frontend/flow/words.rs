//! How runs and stages are signed, coloured and timed, wherever they are listed.

use std::time::Duration;

use crate::domain::flow::record::{Artifact, RunRecord};
use crate::domain::flow::status::{RunStatus, StageStatus};
use crate::domain::json::{Json, JsonMap};
use crate::domain::time::Timestamp;
use crate::domain::view::seconds;
use crate::frontend::text::{Tone, between, one_line, span};

pub const fn run_tone(status: RunStatus) -> Tone {
    match status {
        RunStatus::Succeeded => Tone::Good,
        RunStatus::Queued | RunStatus::Running | RunStatus::Waiting | RunStatus::Degraded => Tone::Waiting,
        RunStatus::Failed | RunStatus::Interrupted => Tone::Bad,
        RunStatus::Cancelled => Tone::Quiet,
    }
}

pub const fn stage_tone(status: StageStatus) -> Tone {
    match status {
        StageStatus::Succeeded => Tone::Good,
        StageStatus::Running | StageStatus::Backoff | StageStatus::Waiting | StageStatus::Degraded => {
            Tone::Waiting
        }
        StageStatus::Failed => Tone::Bad,
        StageStatus::Pending | StageStatus::Skipped | StageStatus::NotRun | StageStatus::Cancelled => {
            Tone::Quiet
        }
    }
}

pub const fn stage_glyph(status: StageStatus, ascii: bool) -> char {
    let (glyph, plain) = match status {
        StageStatus::Pending => ('○', 'o'),
        StageStatus::Running => ('●', '*'),
        StageStatus::Backoff => ('↻', '~'),
        StageStatus::Waiting => ('!', '!'),
        StageStatus::Succeeded => ('✔', '+'),
        StageStatus::Degraded => ('◑', '%'),
        StageStatus::Failed => ('✖', 'x'),
        StageStatus::Skipped => ('–', '-'),
        StageStatus::NotRun => ('·', '.'),
        StageStatus::Cancelled => ('■', '#'),
    };
    if ascii { plain } else { glyph }
}

/// `12m04s`, or so far.
pub fn took(run: &RunRecord, now: Timestamp) -> String {
    match (run.duration_seconds, run.started_at, run.ended_at) {
        (Some(seconds), ..) => length(seconds),
        (None, Some(_), None) if run.left => String::new(),
        (None, Some(from), to) => span(between(from, to.unwrap_or(now))),
        (None, None, _) => String::new(),
    }
}

/// Of something with a start: short times to the hundredth.
pub fn length(time: f64) -> String {
    if time < 120.0 { seconds(time) } else { span(Duration::from_secs_f64(time.min(1e12))) }
}

/// `3h12m ago`
pub fn age(at: Timestamp, now: Timestamp) -> String {
    format!("{} ago", span(between(at, now)))
}

/// `2026-11-21 10:04:05Z`
pub fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// `question="why" count=3`
pub fn pairs(map: &JsonMap) -> String {
    let pair = |(key, value): (&String, &Json)| format!("{}={}", one_line(key), value_line(value));
    map.iter().map(pair).collect::<Vec<_>>().join(" ")
}

/// Not everything that JSON allows in a text is harmless on a terminal.
pub fn value_line(value: &Json) -> String {
    // What is longer is cut anyway.
    const ENOUGH: usize = 2000;
    one_line(&value.text().chars().take(ENOUGH).collect::<String>())
}

/// `3 files, 412K`
pub fn files(artifacts: &[Artifact]) -> String {
    let size: u64 = artifacts.iter().map(|artifact| artifact.size).sum();
    let word = if artifacts.len() == 1 { "file" } else { "files" };
    format!("{} {word}, {}", artifacts.len(), crate::frontend::text::bytes(size))
}

/// `Retry #2 of video-12 from storyboard`; nothing for a run that is no retry.
pub fn origin(run: &RunRecord) -> Option<String> {
    let parent = run.parent_run_id.as_ref()?;
    let from = run.retry_from_stage.as_ref().map(|stage| format!(" from {stage}")).unwrap_or_default();
    Some(match run.retry_number {
        None => format!("continues {parent}{from}"),
        Some(number) => format!("Retry #{number} of {}{from}", run.root_run_id),
    })
}

/// On a line: why a run failed, or why it does not go on for now.
pub fn trouble(error: Option<&str>, held: Option<&str>) -> Option<String> {
    let held = || held.map(|why| format!("held: {}", one_line(why)));
    error.map(|error| one_line(cause(error))).or_else(held)
}

/// An error without how it went with the other attempts: where those are told beside it, or there is only a line for all.
pub fn cause(error: &str) -> &str {
    if let Some((cause, _)) = error.split_once(" (will retry ") {
        return cause;
    }
    // `exit 1: why (3 attempts failed; 1: …; 2: …; 3: …)`
    let before = error.split_once(" attempts failed; ").and_then(|(before, _)| before.rsplit_once(" ("));
    before.map_or(error, |(cause, _)| cause)
}

#[cfg(test)]
mod tests {
    use super::cause;

    #[test]
    fn the_cause_stands_before_what_comes_of_it() {
        assert_eq!(cause("exit 1: no (space) left (will retry 2 more times)"), "exit 1: no (space) left");
        let all = "exit 1: no (space) left (2 attempts failed; 1: exit 1: a (will retry); 2: exit 1: no (space) left)";
        assert_eq!(cause(all), "exit 1: no (space) left");
        assert_eq!(cause("exit 1: no (space)"), "exit 1: no (space)");
    }
}
