//! Short messages in the lower right corner, above the footer.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Clear;

use super::super::layout::Layout;
use super::super::model::Model;
use super::super::theme::Ink;
use super::text::{ellipsis, pad, width, wrap};
use super::{on, put};

/// A toast is no page.
const MOST_LINES: usize = 3;

pub(super) fn draw(frame: &mut Frame<'_>, layout: &Layout, model: &Model) {
    let toasts = &model.toasts;
    let theme = model.theme();
    let widest = usize::from((layout.footer.width / 2).max(36)).min(usize::from(layout.footer.width) - 4);
    let ground = theme.style(Ink::Dialog);
    // Never across the keys, nor across what is told of the selected runner.
    let mut bottom = if layout.summary.height > 0 { layout.summary.y } else { layout.footer.y };
    let more = (toasts.more > 0).then(|| (Ink::Quiet, format!("and {} before", toasts.more)));
    let newest_first = toasts.shown().iter().rev().map(|toast| (toast.ink, toast.text.clone()));
    let wrapped: Vec<(Ink, Vec<String>)> = newest_first
        .chain(more)
        .map(|(ink, text)| {
            let mut lines = wrap(&text, widest);
            if lines.len() > MOST_LINES {
                lines.truncate(MOST_LINES);
                if let Some(last) = lines.last_mut() {
                    *last = ellipsis(last, widest, theme);
                }
            }
            (ink, lines)
        })
        .collect();
    // One edge for all of them.
    let inner = wrapped.iter().flat_map(|(_, lines)| lines).map(|line| width(line)).max().unwrap_or(0);
    for (ink, lines) in wrapped {
        let height = u16::try_from(lines.len()).unwrap_or(1);
        let Some(top) = bottom.checked_sub(height).filter(|top| *top > layout.body.y) else { return };
        let cells = u16::try_from(inner).unwrap_or(0) + 4;
        let area = Rect { x: layout.footer.width.saturating_sub(cells), y: top, width: cells, height };
        frame.render_widget(Clear, area);
        let bar = theme.glyph("▌", "|");
        for (y, line) in (top..).zip(lines) {
            let line = Line::from(vec![
                Span::styled(bar, on(theme.style(ink), ground)),
                Span::styled(format!(" {}  ", pad(&line, inner, theme)), ground),
            ]);
            put(frame, Rect { y, height: 1, ..area }, line);
        }
        bottom = top;
    }
}
