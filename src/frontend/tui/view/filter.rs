//! The line below the list while not all of it is shown, or not in its usual order.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};

use super::super::model::Model;
use super::super::rows::{Row, Sort};
use super::super::theme::Ink;
use super::text::{fit, spread, width};
use super::{put, span};

const LABEL: &str = " filter: ";

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    if area.height == 0 {
        return;
    }
    let list = &model.list;
    let found = list.rows.iter().filter(|row| Row::is_choice(row)).count();
    let mut right = Vec::new();
    if list.unfinished {
        right.push(span(model, Ink::Accent, "unfinished  "));
    }
    if list.sort != Sort::Config {
        right.push(span(model, Ink::Accent, format!("by {}  ", list.sort.word())));
    }
    right.push(span(
        model,
        Ink::Quiet,
        format!("{found} of {} ", model.fleet.runners().len() + model.flows.listed().count()),
    ));
    let taken: usize = right.iter().map(Span::width).sum();
    let room = usize::from(area.width).saturating_sub(width(LABEL) + taken + 2);
    let ink = if found == 0 { Ink::Bad } else { Ink::Strong };
    let left = if list.typing || !list.filter.is_empty() {
        let text = fit(list.filter.text(), room, model.theme());
        vec![span(model, Ink::Accent, LABEL), span(model, ink, text)]
    } else {
        vec![Span::raw(" ")]
    };
    let line: Line<'static> = spread(left, right, area.width);
    put(frame, area, line);
    if list.typing && model.dialog.is_none() {
        let column = width(LABEL) + list.filter.column().min(room);
        let x = area.x + u16::try_from(column).unwrap_or(0).min(area.width.saturating_sub(1));
        frame.set_cursor_position(Position { x, y: area.y });
    }
}
