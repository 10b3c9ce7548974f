//! The first line: which workspace, how many of each status, the retry budget, how the supervisor is.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Span;

use super::super::model::{Link, Model};
use super::super::theme::{Ink, Theme};
use super::text::{fit, spread};
use super::{put, span};
use crate::domain::view::{RunnerStatus, RunnerView, seconds};
use crate::frontend::text::{between, glyph, span as time_span, word};

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    if area.height == 0 {
        return;
    }
    let counts = counts(model);
    // What matters least goes first where the line is short.
    for detail in [Detail::All, Detail::NoSupervisor, Detail::NoBudget] {
        let left = left(model, &counts, usize::MAX);
        let right = right(model, detail);
        let width = |spans: &[Span<'_>]| spans.iter().map(Span::width).sum::<usize>();
        if width(&left) + width(&right) + 3 <= usize::from(area.width) || detail == Detail::NoBudget {
            let room = usize::from(area.width).saturating_sub(width(&right) + 3);
            put(frame, area, spread(self::left(model, &counts, room), right, area.width));
            return;
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Detail {
    All,
    NoSupervisor,
    NoBudget,
}

fn left(model: &Model, counts: &[(&'static str, RunnerStatus, usize)], room: usize) -> Vec<Span<'static>> {
    let mut told: Vec<Span<'static>> = Vec::new();
    for (word, status, count) in counts {
        let text = format!("{} {count} {word}", glyph(*status, model.theme().ascii));
        told.push(Span::raw("  "));
        told.push(span(model, Theme::status_ink(*status), text));
    }
    let taken: usize = told.iter().map(Span::width).sum();
    let name = " restage ";
    let path = model.short_path(&model.workspace);
    // Of a path that does not fit, its end says more than its beginning.
    let left_for_path = room.saturating_sub(taken + name.len() + 2).clamp(8, 60);
    let mut spans = vec![span(model, Ink::Accent, name), Span::raw(" ")];
    spans.push(span(model, Ink::Strong, cut_front(&path, left_for_path, model.theme())));
    spans.push(Span::raw(" "));
    spans.extend(told);
    spans
}

fn cut_front(path: &str, width: usize, theme: &Theme) -> String {
    let count = path.chars().count();
    if count <= width {
        return path.to_owned();
    }
    let kept: String = path.chars().skip(count - width.saturating_sub(1)).collect();
    fit(&format!("{}{kept}", theme.glyph("…", "~")), width, theme)
}

fn right(model: &Model, detail: Detail) -> Vec<Span<'static>> {
    let mut spans = Vec::new();
    let supervisor = model.supervisor.as_ref();
    if let Some(budget) = supervisor.and_then(|fleet| fleet.budget)
        && detail != Detail::NoBudget
    {
        let ink = if budget.used >= budget.max { Ink::Bad } else { Ink::Text };
        #[expect(clippy::cast_precision_loss, reason = "seconds of a window, far below 2^52")]
        let window = seconds(budget.per_seconds as f64);
        spans.push(span(model, ink, format!("retries {}/{} in {window}", budget.used, budget.max)));
        spans.push(Span::raw("   "));
    }
    let short = detail != Detail::All;
    match (&model.link, supervisor) {
        (Link::Connecting, _) => spans.push(span(model, Ink::Waiting, "connecting")),
        (Link::Lost { .. }, _) => spans.push(span(model, Ink::Waiting, "no supervisor")),
        (Link::Up { .. }, Some(fleet)) if fleet.keeper_trouble.is_some() => {
            spans.push(span(model, Ink::Bad, "keeper: trouble"));
        }
        (Link::Up { .. }, Some(fleet)) if !short => {
            let kind = if fleet.headless { "headless supervisor" } else { "supervisor" };
            let up = time_span(between(fleet.started_at, model.now));
            // Minutes are enough: nothing here moves by the second.
            let up = up
                .split_once('m')
                .filter(|(_, rest)| rest.ends_with('s'))
                .map_or(up.clone(), |(m, _)| format!("{m}m"));
            let up = if up.ends_with('s') { "just started".to_owned() } else { format!("up {up}") };
            spans.push(span(model, Ink::Quiet, format!("{kind} {}, {up}", fleet.supervisor_pid)));
        }
        (Link::Up { .. }, _) => {}
    }
    spans.push(Span::raw(" "));
    spans
}

/// How many there are of each word, what needs a person first.
fn counts(model: &Model) -> Vec<(&'static str, RunnerStatus, usize)> {
    let mut counts: Vec<(&'static str, RunnerStatus, usize)> = Vec::new();
    for runner in model.fleet.runners() {
        let word = word(runner);
        match counts.iter_mut().find(|(known, ..)| *known == word) {
            Some((.., count)) => *count += 1,
            None => counts.push((word, runner.status, 1)),
        }
    }
    counts.sort_by_key(|(word, status, _)| rank(word, *status));
    let waiting = model.fleet.runners().iter().filter(|runner| waits(runner)).count();
    if waiting > 0 {
        counts.push(("waiting", RunnerStatus::Backoff, waiting));
    }
    counts
}

fn waits(runner: &RunnerView) -> bool {
    runner.waiting.is_some() && runner.status == RunnerStatus::Idle
}

fn rank(word: &str, status: RunnerStatus) -> u8 {
    match status {
        RunnerStatus::Running => 0,
        RunnerStatus::Starting => 1,
        RunnerStatus::Stopping => 2,
        RunnerStatus::Backoff => 3,
        RunnerStatus::Crashed if word == "exhausted" => 4,
        RunnerStatus::Crashed => 5,
        RunnerStatus::Stuck => 6,
        RunnerStatus::Completed => 7,
        RunnerStatus::Stopped => 8,
        RunnerStatus::Idle => 9,
    }
}
