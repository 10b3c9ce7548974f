//! The first line: which workspace, how many of each status, the retry budget, how the supervisor is.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Span;

use super::super::model::{Link, Model};
use super::super::theme::{Ink, Theme};
use super::text::{fit, spread};
use super::{put, span};
use crate::domain::view::{RunnerStatus, RunnerView, seconds};
use crate::frontend::text::{between, glyph, span as time_span};

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    if area.height == 0 {
        return;
    }
    let counts = counts(model);
    let room = usize::from(area.width);
    // What matters least goes first where the line is short.
    let choices = [
        (Words::All, Right::All),
        (Words::All, Right::Budget),
        (Words::Urgent, Right::All),
        (Words::Urgent, Right::Budget),
        (Words::None, Right::Budget),
        (Words::None, Right::Trouble),
    ];
    for (words, right) in choices {
        let last = (words, right) == (Words::None, Right::Trouble);
        let (counts, right) = (told(model, &counts, words), self::right(model, right));
        let taken = width_of(&counts) + width_of(&right) + NAME.len() + 4;
        if taken + PATH <= room || last {
            let path = model.short_path(&model.workspace);
            let path = cut_front(&path, room.saturating_sub(taken).clamp(4, 60), model.theme());
            let mut left =
                vec![span(model, Ink::Accent, NAME), span(model, Ink::Strong, format!(" {path} "))];
            left.extend(counts);
            put(frame, area, spread(left, right, area.width));
            return;
        }
    }
}

const NAME: &str = " restage";
/// The end of a path says where one is; less would not.
const PATH: usize = 10;

/// Which counts have their word beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Words {
    All,
    /// Not what is over or has not begun.
    Urgent,
    None,
}

/// What is told at the right end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Right {
    All,
    Budget,
    Trouble,
}

fn width_of(spans: &[Span<'_>]) -> usize {
    spans.iter().map(Span::width).sum()
}

fn told(model: &Model, counts: &[Count], words: Words) -> Vec<Span<'static>> {
    let mut told: Vec<Span<'static>> = Vec::new();
    let has_word = |count: &Count| match words {
        Words::All => true,
        Words::Urgent => count.urgent,
        Words::None => false,
    };
    // Without their words those with the same sign are the same.
    let alike = |a: &Count, b: &Count| a.sign == b.sign && !has_word(a) && !has_word(b);
    for same in counts.chunk_by(alike) {
        let Some(count) = same.first() else { continue };
        let (with_word, number) = (has_word(count), same.iter().map(|count| count.number).sum::<usize>());
        let word = if with_word { format!(" {}", count.word) } else { String::new() };
        told.push(Span::raw("  "));
        told.push(span(model, count.ink, format!("{} {number}{word}", count.sign)));
    }
    told
}

fn cut_front(path: &str, width: usize, theme: &Theme) -> String {
    let count = path.chars().count();
    if count <= width {
        return path.to_owned();
    }
    let kept: String = path.chars().skip(count - width.saturating_sub(1)).collect();
    fit(&format!("{}{kept}", theme.glyph("…", "~")), width, theme)
}

fn right(model: &Model, what: Right) -> Vec<Span<'static>> {
    let mut spans = Vec::new();
    let supervisor = model.supervisor.as_ref();
    if let Some(budget) = supervisor.and_then(|fleet| fleet.budget)
        && what != Right::Trouble
    {
        let ink = if budget.used >= budget.max { Ink::Bad } else { Ink::Text };
        #[expect(clippy::cast_precision_loss, reason = "seconds of a window, far below 2^52")]
        let window = seconds(budget.per_seconds as f64);
        spans.push(span(model, ink, format!("retries {}/{} in {window}", budget.used, budget.max)));
    }
    let before = spans.len();
    match (&model.link, supervisor) {
        (Link::Connecting, _) => spans.push(span(model, Ink::Waiting, "connecting")),
        (Link::Lost { .. }, _) => spans.push(span(model, Ink::Waiting, "no supervisor")),
        (Link::Up { .. }, Some(fleet)) if fleet.keeper_trouble.is_some() => {
            spans.push(span(model, Ink::Bad, "keeper trouble"));
        }
        (Link::Up { .. }, Some(fleet)) if what == Right::All => {
            let kind = if fleet.headless { "headless supervisor" } else { "supervisor" };
            let up = up_by_minutes(between(fleet.started_at, model.now));
            spans.push(span(model, Ink::Quiet, format!("{kind} {}, {up}", fleet.supervisor_pid)));
        }
        (Link::Up { .. }, _) => {}
    }
    if before > 0 && spans.len() > before {
        spans.insert(before, Span::raw("   "));
    }
    spans.push(Span::raw(" "));
    spans
}

/// Nothing in the header moves by the second.
fn up_by_minutes(up: Duration) -> String {
    match up.as_secs() / 60 {
        0 => "just started".to_owned(),
        minutes @ 1..60 => format!("up {minutes}m"),
        _ => format!("up {}", time_span(up)),
    }
}

struct Count {
    word: &'static str,
    sign: char,
    ink: Ink,
    number: usize,
    urgent: bool,
    rank: u8,
}

/// How many there are of each word, the live ones first, then what needs a person.
fn counts(model: &Model) -> Vec<Count> {
    let mut counts: Vec<Count> = Vec::new();
    for runner in model.fleet.runners() {
        let count = count(runner, model.theme());
        match counts.iter_mut().find(|known| known.word == count.word) {
            Some(known) => known.number += 1,
            None => counts.push(count),
        }
    }
    let waiting = model.flows.waiting();
    if waiting > 0 {
        let word = if waiting == 1 { "waits for you" } else { "wait for you" };
        counts.push(Count { word, sign: '!', ink: Ink::Waiting, number: waiting, urgent: true, rank: 7 });
    }
    counts.sort_by_key(|count| count.rank);
    counts
}

/// Those that wait for a person count as that, and those that are ready as running.
fn count(runner: &RunnerView, theme: &Theme) -> Count {
    let (word, rank) = match runner.status {
        RunnerStatus::Running => ("running", 0),
        RunnerStatus::Starting => ("starting", 1),
        RunnerStatus::Stopping => ("stopping", 2),
        RunnerStatus::Backoff => ("backoff", 3),
        RunnerStatus::Crashed if runner.exhausted => ("exhausted", 4),
        RunnerStatus::Crashed => ("crashed", 5),
        RunnerStatus::Stuck => ("stuck", 6),
        RunnerStatus::Idle if runner.waiting.is_some() => ("waiting", 7),
        RunnerStatus::Completed => ("completed", 8),
        RunnerStatus::Stopped => ("stopped", 9),
        RunnerStatus::Idle => ("idle", 10),
    };
    let waits = word == "waiting";
    Count {
        word,
        sign: if waits { '!' } else { glyph(runner.status, theme.ascii) },
        ink: if waits { Ink::Waiting } else { Theme::status_ink(runner.status) },
        number: 1,
        urgent: rank < 8,
        rank,
    }
}
