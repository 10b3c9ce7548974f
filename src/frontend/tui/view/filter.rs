//! The line below the list while a filter is typed or in effect.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};

use super::super::model::Model;
use super::super::rows::Row;
use super::super::theme::Ink;
use super::text::{fit, spread, width};
use super::{put, span};

const LABEL: &str = " filter: ";

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    if area.height == 0 {
        return;
    }
    let found = model.list.rows.iter().filter(|row| matches!(row, Row::Runner(_))).count();
    let count = format!("{found} of {} ", model.fleet.runners().len());
    let room = usize::from(area.width).saturating_sub(width(LABEL) + width(&count) + 2);
    let ink = if found == 0 { Ink::Bad } else { Ink::Strong };
    let text = fit(model.list.filter.text(), room, model.theme());
    let left = vec![span(model, Ink::Accent, LABEL), span(model, ink, text)];
    let line: Line<'static> = spread(left, vec![span(model, Ink::Quiet, count), Span::raw("")], area.width);
    put(frame, area, line);
    if model.list.typing && model.dialog.is_none() {
        let column = width(LABEL) + model.list.filter.column().min(room);
        let x = area.x + u16::try_from(column).unwrap_or(0).min(area.width.saturating_sub(1));
        frame.set_cursor_position(Position { x, y: area.y });
    }
}
