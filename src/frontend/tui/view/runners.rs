//! The table of runners: status as glyph and word, retries, how long, how much, and what is worth a look.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::super::fleet::percent;
use super::super::model::{Focus, Model};
use super::super::rows::Row;
use super::super::theme::{Ink, Theme};
use super::text::{fit, pad, right, width};
use super::{put, span};
use crate::domain::keys::Action;
use crate::domain::verdict::{Outcome, Verdict};
use crate::domain::view::{RunnerStatus, RunnerView};
use crate::frontend::text::{between, bytes, countdown, glyph, one_line, span as time_span, word};

const STATUS: usize = 9;
const RETRY: usize = 5;
const UP: usize = 8;
const CPU: usize = 5;
const MEM: usize = 6;
const LAST: usize = 12;
/// Marker, glyph and a space.
const LEAD: usize = 4;
/// A name is cut to this, but no further while there are columns to give up.
const NAME: usize = 16;

/// Which columns there is room for. Of [`LEAVING`] the first ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Columns {
    name: usize,
    shown: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Last,
    Up,
    Cpu,
    Mem,
}

/// Where there is no room, the last of these leaves first.
const LEAVING: [(Column, usize); 4] =
    [(Column::Last, LAST + 2), (Column::Up, UP + 1), (Column::Cpu, CPU + 1), (Column::Mem, MEM + 1)];

impl Columns {
    fn of(model: &Model, width: usize) -> Self {
        let wanted = longest_name(model);
        let room = |shown| width.saturating_sub(beside_name(shown));
        let fits = |shown: &usize| room(*shown) >= wanted.min(NAME);
        let shown = (0..=LEAVING.len()).rev().find(fits).unwrap_or(0);
        Self { name: room(shown).min(wanted), shown }
    }

    fn has(self, column: Column) -> bool {
        LEAVING.iter().take(self.shown).any(|(shown, _)| *shown == column)
    }

    /// What comes behind the name and the status, right-aligned.
    fn numbers(self, texts: [&str; 4], theme: &Theme) -> String {
        let [retry, up, cpu, mem] = texts;
        let mut line = format!(" {}", right(retry, RETRY, theme));
        for (column, text, width) in [(Column::Up, up, UP), (Column::Cpu, cpu, CPU), (Column::Mem, mem, MEM)]
        {
            if self.has(column) {
                line.push(' ');
                line.push_str(&right(text, width, theme));
            }
        }
        line
    }
}

/// What everything but the name takes.
fn beside_name(shown: usize) -> usize {
    let optional: usize = LEAVING.iter().take(shown).map(|(_, width)| width).sum();
    LEAD + 1 + STATUS + 1 + RETRY + 1 + optional
}

fn longest_name(model: &Model) -> usize {
    let longest = model.fleet.runners().iter().map(|runner| runner.name.as_str().len()).max().unwrap_or(0);
    longest.clamp(10, 40)
}

/// The least width in which nothing of the usual is cut.
pub(in crate::frontend::tui) fn natural_width(model: &Model) -> u16 {
    u16::try_from(beside_name(LEAVING.len()) + longest_name(model)).unwrap_or(u16::MAX)
}

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    if area.height == 0 {
        return;
    }
    let columns = Columns::of(model, usize::from(area.width));
    if !model.fleet.runners().is_empty() {
        put(frame, Rect { height: 1, ..area }, titles(model, columns));
    }
    let visible = model.list.rows.iter().enumerate().skip(model.list.offset);
    for (y, (place, row)) in (area.y + 1..area.bottom()).zip(visible) {
        let line = match row {
            Row::Gap => Line::default(),
            Row::Group(name) => {
                let name = fit(&one_line(name), usize::from(area.width.saturating_sub(4)), model.theme());
                let mut line = Line::from(span(model, Ink::Accent, format!("  {name}")));
                let of_runs = matches!(model.list.rows.get(place + 1), Some(Row::Run(_)));
                if of_runs
                    && model.flows.has_older()
                    && let Some(key) = model.keymap().key(Action::History)
                {
                    line.push_span(span(model, Ink::Quiet, format!("   {key} lists older ones")));
                }
                line
            }
            Row::Runner(at) => match model.fleet.runners().get(*at) {
                Some(view) => runner_line(model, view, columns, usize::from(area.width)),
                None => Line::default(),
            },
            Row::Run(run) => match model.flows.get(run) {
                Some(run) => super::flow::rows::line(model, run, usize::from(area.width)),
                None => Line::default(),
            },
        };
        put(frame, Rect { y, height: 1, ..area }, line);
    }
    if model.list.rows.is_empty() {
        let text = if model.list.filter.is_empty() {
            "  everything has completed; u shows all again"
        } else {
            "  nothing matches; Esc clears the filter"
        };
        put(frame, Rect { y: area.y + 2, height: 1, ..area }, Line::from(span(model, Ink::Quiet, text)));
    }
}

fn titles(model: &Model, columns: Columns) -> Line<'static> {
    let theme = model.theme();
    let left = " ".repeat(LEAD + columns.name + 1 + STATUS);
    let numbers = columns.numbers(["retry", "up/in", "cpu", "mem"], theme);
    let last = if columns.has(Column::Last) { "  last" } else { "" };
    Line::from(span(model, Ink::Quiet, format!("{left}{numbers}{last}")))
}

fn runner_line(model: &Model, view: &RunnerView, columns: Columns, full: usize) -> Line<'static> {
    let theme = model.theme();
    let selected = model.list.selected.as_ref() == Some(&view.name);
    let ground = match (selected, model.focus) {
        (false, _) => Style::new(),
        (true, Focus::List) => theme.style(Ink::Selection),
        (true, Focus::Log) => theme.style(Ink::SelectionIdle),
    };
    // On the ground of the selection only the glyph keeps its colour where that stays legible.
    let ink = |ink: Ink| if selected { ground } else { theme.style(ink) };
    let status = Theme::status_ink(view.status);
    let marker = if selected { theme.glyph("▌", ">") } else { " " };
    let figures = model.fleet.figures(&view.name);
    let cpu = figures.map(|figures| percent(figures.cpu_percent)).unwrap_or_default();
    let mem = figures.map(|figures| bytes(figures.rss_bytes)).unwrap_or_default();
    let retry = format!("{}/{}", view.retry_count, view.max_retries);
    let up = up_or_in(model, view);
    let pending = model.pending.contains_key(&view.name);
    let sign = if pending {
        theme.glyph("◐", "%").to_owned()
    } else {
        glyph(view.status, theme.ascii).to_string()
    };
    let (last_ink, last) = last(model, view);
    let room = LAST + full.saturating_sub(beside_name(columns.shown) + columns.name);
    let last =
        if columns.has(Column::Last) { format!("  {}", fit(&last, room, theme)) } else { String::new() };
    let mut line = Line::from(vec![
        Span::styled(format!("{marker} "), ink(Ink::Accent)),
        Span::styled(sign, ink(status)),
        Span::styled(" ", ground),
        Span::styled(pad(view.name.as_str(), columns.name, theme), ink(Ink::Text)),
        Span::styled(" ", ground),
        Span::styled(word(view), ink(status)),
        Span::styled(" ".repeat(STATUS.saturating_sub(width(word(view)))), ground),
        Span::styled(columns.numbers([&retry, &up, &cpu, &mem], theme), ink(Ink::Text)),
        Span::styled(last, ink(last_ink)),
    ]);
    if selected {
        let missing = full.saturating_sub(line.width());
        line.push_span(Span::styled(" ".repeat(missing), ground));
    }
    line
}

/// How long it has been running, when it goes on, or how long the last attempt took.
pub(super) fn up_or_in(model: &Model, view: &RunnerView) -> String {
    let until = |end| view.started_at.map(|at| time_span(between(at, end))).unwrap_or_default();
    match view.status {
        RunnerStatus::Starting | RunnerStatus::Running | RunnerStatus::Stopping | RunnerStatus::Stuck => {
            until(model.now)
        }
        RunnerStatus::Backoff => {
            view.next_retry_at.map(|at| due_in(&countdown(model.now, at))).unwrap_or_default()
        }
        RunnerStatus::Crashed | RunnerStatus::Completed | RunnerStatus::Stopped => {
            view.ended_at.map(until).unwrap_or_default()
        }
        RunnerStatus::Idle => String::new(),
    }
}

/// `in 7s`, `in 9m05s`; of what is farther off, where both would be cut, the first unit: `in 49m`.
fn due_in(left: &str) -> String {
    let whole = format!("in {left}");
    if whole.len() <= UP {
        return whole;
    }
    let first = left.find(|c: char| c.is_ascii_alphabetic()).map_or(left, |unit| &left[..=unit]);
    format!("in {first}")
}

/// What is worth a look: what it waits for, its silence, how the last attempt ended.
fn last(model: &Model, view: &RunnerView) -> (Ink, String) {
    if let Some(waiting) = &view.waiting {
        return (Ink::Waiting, format!("! {}", one_line(waiting)));
    }
    if let Some(quiet) = quiet(model, view) {
        return (Ink::Waiting, format!("quiet {}", time_span(quiet)));
    }
    if let Some(note) = &view.note {
        return (Ink::Waiting, one_line(note));
    }
    let ended = view.attempts.iter().rev().find_map(|attempt| attempt.outcome.as_ref());
    match ended.or(view.outcome.as_ref()) {
        Some(outcome) => (Ink::Quiet, short(outcome)),
        None => (Ink::Quiet, String::new()),
    }
}

/// Silence is worth a word once half of what is allowed has passed.
pub(in crate::frontend::tui) fn quiet(model: &Model, view: &RunnerView) -> Option<Duration> {
    if view.status != RunnerStatus::Running {
        return None;
    }
    let allowed = view.activity_timeout_seconds?;
    let since = between(model.fleet.figures(&view.name)?.last_output_at?, model.now);
    (since.as_secs_f64() >= allowed / 2.0).then_some(since)
}

/// A verdict in one column: `exit 1`, `SIGKILL`, `inactive`.
pub(super) fn short(outcome: &Outcome) -> String {
    let text = outcome.to_string();
    if outcome.verdict == Verdict::Completed {
        return String::new();
    }
    match text.split_once('(').and_then(|(_, name)| name.strip_suffix(')')) {
        Some(name) if outcome.verdict == Verdict::Signal => name.to_owned(),
        _ => text,
    }
}

/// For those who align something with the names of the list.
pub(super) fn name_width(names: impl Iterator<Item = usize>, most: usize) -> usize {
    names.max().unwrap_or(0).clamp(8, most.max(8))
}

/// The width of a text as the table counts it.
pub(super) fn cells(text: &str) -> usize {
    width(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_far_off_is_told_in_its_first_unit() {
        for (left, told) in [
            ("7s", "in 7s"),
            ("9m05s", "in 9m05s"),
            ("49m54s", "in 49m"),
            ("12h30m", "in 12h"),
            ("3d04h", "in 3d04h"),
        ] {
            assert_eq!(due_in(left), told);
            assert!(told.len() <= UP);
        }
    }
}
