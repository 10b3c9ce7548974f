//! The attempts of a runner in two lines: how long each took, and how it ended below; the newest at the right.

use ratatui::text::{Line, Span};

use super::super::model::Model;
use super::super::theme::Ink;
use super::runners::short;
use super::span;
use super::text::{pad, width as text_width};
use crate::domain::verdict::Verdict;
use crate::domain::view::{AttemptView, RunnerView};
use crate::frontend::text::{between, span as time_span};

const LABEL: &str = " attempts";

struct Cell {
    ink: Ink,
    top: String,
    bottom: String,
}

/// Empty where there was no attempt.
pub(super) fn lines(model: &Model, view: &RunnerView, width: u16) -> Vec<Line<'static>> {
    if view.attempts.is_empty() {
        return Vec::new();
    }
    let mut room = usize::from(width).saturating_sub(LABEL.len() + 2);
    let earlier_room = 4;
    let mut cells: Vec<Cell> = Vec::new();
    for attempt in view.attempts.iter().rev() {
        let cell = cell(model, attempt);
        let needed = cell.width() + 2;
        let others = if cells.len() + 1 < view.attempts.len() { earlier_room } else { 0 };
        if needed + others > room {
            break;
        }
        room -= needed;
        cells.push(cell);
    }
    let hidden = view.attempts.len() - cells.len();
    let mut top = vec![span(model, Ink::Quiet, LABEL)];
    let mut bottom = vec![Span::raw(" ".repeat(LABEL.len()))];
    if hidden > 0 {
        // Those that do not fit are counted, not dropped in silence.
        let sign = format!(" {}{hidden}", model.theme().glyph("«", "<"));
        bottom.push(Span::raw(" ".repeat(text_width(&sign))));
        top.push(span(model, Ink::Quiet, sign));
    }
    for cell in cells.into_iter().rev() {
        let wide = cell.width();
        top.push(span(model, cell.ink, format!("  {}", pad(&cell.top, wide, model.theme()))));
        bottom.push(span(model, Ink::Quiet, format!("  {}", pad(&cell.bottom, wide, model.theme()))));
    }
    vec![Line::from(top), Line::from(bottom)]
}

impl Cell {
    fn width(&self) -> usize {
        text_width(&self.top).max(text_width(&self.bottom))
    }
}

fn cell(model: &Model, attempt: &AttemptView) -> Cell {
    let theme = model.theme();
    let until = attempt.ended_at.unwrap_or(model.now);
    let length = attempt.started_at.map(|from| time_span(between(from, until))).unwrap_or_default();
    let (ink, glyph) = match attempt.outcome.as_ref().map(|outcome| outcome.verdict) {
        None => (Ink::Good, theme.glyph("●", "*")),
        Some(Verdict::Completed) => (Ink::Good, theme.glyph("✔", "+")),
        Some(Verdict::Stopped) => (Ink::Quiet, theme.glyph("■", "#")),
        Some(Verdict::Inactive | Verdict::TimedOut) => (Ink::Waiting, theme.glyph("◷", "!")),
        Some(Verdict::Exit | Verdict::Signal | Verdict::Unhealthy | Verdict::SpawnFailed | Verdict::Lost) => {
            (Ink::Bad, theme.glyph("✖", "x"))
        }
    };
    let bottom = match &attempt.outcome {
        Some(outcome) if outcome.verdict == Verdict::Completed => "done".to_owned(),
        Some(outcome) => short(outcome),
        None => "now".to_owned(),
    };
    Cell { ink, top: format!("{glyph} {length}"), bottom }
}
