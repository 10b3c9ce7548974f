//! A long text in a box: wrapped, scrolled, never cut. And the pieces that boxes share.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::dialog::Dialog;
use super::super::model::Model;
use super::super::theme::{Ink, Theme};
use super::text::{more, width, wrap};
use super::{on, open_box, put, put_lines};
use crate::domain::view::RunnerView;
use crate::frontend::text::{between, one_line, span as time_span};
use crate::frontend::why::why;

const WIDEST: u16 = 90;

/// Why the selected runner is, or is not, running, and how its attempts ended, in full.
pub fn explain(model: &Model) -> Option<Dialog> {
    let view = model.selected()?;
    let mut runner = RunnerView::clone(view);
    runner.figures = model.fleet.figures(&view.name).copied();
    let mut text = why(&runner, model.now);
    if !view.attempts.is_empty() {
        text.push_str("\n\nAttempts, the newest first:\n");
    }
    for attempt in view.attempts.iter().rev() {
        let length =
            attempt.started_at.map(|from| time_span(between(from, attempt.ended_at.unwrap_or(model.now))));
        let started = attempt.started_at.map(|at| model.clock(at)).unwrap_or_default();
        let end = match &attempt.outcome {
            Some(outcome) => match &outcome.detail {
                Some(detail) => format!("{outcome}: {}", one_line(detail)),
                None => outcome.to_string(),
            },
            None => "goes on".to_owned(),
        };
        let length = length.unwrap_or_default();
        let number = attempt.attempt.get();
        text.extend([format!("{number:>4}  {started}  {length:>7}  {end}\n")]);
    }
    if let Some(log) = &view.log {
        text.extend([format!("\nLog: {}", model.short_path(log))]);
    }
    Some(Dialog::Message { title: view.name.to_string(), text, scroll: 0 })
}

pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, title: &str, text: &str, scroll: usize) {
    let theme = model.theme();
    let ground = theme.style(Ink::Dialog);
    let (wide, height) = room(model);
    let wrapped = wrap(text, usize::from(wide));
    let total = wrapped.len();
    let shown = total.min(usize::from(height));
    let size = (wide, u16::try_from(shown).unwrap_or(height) + 2);
    let inner = open_box(frame, theme, title, size);
    let lines: Vec<Line<'static>> = wrapped.into_iter().map(|line| Line::styled(line, ground)).collect();
    let text_area = Rect { height: inner.height.saturating_sub(2), ..inner };
    put_lines(frame, text_area, lines, scroll.min(total.saturating_sub(shown)));
    foot(frame, theme, inner, &[("Esc", "close")], (scroll, shown, total));
}

/// The wrapped lines of a message, and how many of them fit.
pub fn measure(model: &Model, dialog: &Dialog) -> (usize, usize) {
    let Dialog::Message { text, .. } = dialog else { return (0, 0) };
    let (width, height) = room(model);
    (wrap(text, usize::from(width)).len(), usize::from(height))
}

/// For the text itself.
fn room(model: &Model) -> (u16, u16) {
    let (width, height) = model.setup.size;
    (width.saturating_sub(8).min(WIDEST), height.saturating_sub(6).max(1))
}

/// What can be pressed, below a dialog. Where there is no room for all, the first and the last are left, with a sign.
pub(super) fn keys(theme: &Theme, keys: &[(&str, &str)], room: usize) -> Line<'static> {
    let wide = |keys: &[(&str, &str)], gap: usize| {
        keys.iter().map(|(key, word)| width(key) + 1 + width(word) + gap).sum::<usize>().saturating_sub(gap)
    };
    let gap = if wide(keys, GAP) <= room { GAP } else { 2 };
    let mut shown = keys.to_vec();
    let sign = (theme.glyph("…", "~"), "");
    while wide(&shown, gap) > room && shown.len() > 2 {
        let before = shown.len() - if shown.contains(&sign) { 3 } else { 2 };
        // The sign takes the place of the first one that goes.
        if shown.contains(&sign) {
            if before == 0 {
                break;
            }
            shown.remove(before);
        } else {
            shown[before] = sign;
        }
    }
    let ground = theme.style(Ink::Dialog);
    let mut line = Line::default();
    for (at, (key, word)) in shown.iter().enumerate() {
        let before = " ".repeat(if at == 0 { 0 } else { gap });
        line.push_span(Span::styled(format!("{before}{key}"), on(theme.style(Ink::Key), ground)));
        line.push_span(Span::styled(format!(" {word}"), ground));
    }
    line
}

/// Between two keys, where there is room.
const GAP: usize = 3;

/// The last lines of a box whose text may be longer than it: the keys, and where one is, behind them or above.
pub(super) fn foot(
    frame: &mut Frame<'_>,
    theme: &Theme,
    inner: Rect,
    pressed: &[(&str, &str)],
    (scroll, shown, total): (usize, usize, usize),
) {
    let ground = theme.style(Ink::Dialog);
    let quiet = on(theme.style(Ink::Quiet), ground);
    let room = usize::from(inner.width);
    let mut hints = keys(theme, pressed, room);
    let last = Rect { y: inner.bottom().saturating_sub(1), height: 1, ..inner };
    if total > shown {
        let end = (scroll + shown).min(total);
        let text = format!(" lines {}-{end} of {total}", scroll + 1);
        if hints.width() + 6 + width(&text) <= room {
            hints.push_span(Span::styled("   j/k", on(theme.style(Ink::Key), ground)));
            hints.push_span(Span::styled(text, quiet));
        } else {
            let above = Rect { y: last.y.saturating_sub(1), ..last };
            put(frame, above, Line::styled(more(theme, scroll, total - end), quiet));
        }
    }
    put(frame, last, hints);
}

/// What a box has to hold for these lines, at least so wide.
pub(super) fn size(lines: &[Line<'_>], least: usize) -> (u16, u16) {
    let widest = lines.iter().map(Line::width).max().unwrap_or(0).max(least);
    (u16::try_from(widest).unwrap_or(u16::MAX), u16::try_from(lines.len()).unwrap_or(u16::MAX))
}
