//! A terminal that is too small to show anything that helps.

use ratatui::Frame;
use ratatui::text::Line;

use super::super::layout::LEAST;
use super::super::model::Model;
use super::super::theme::Ink;
use super::text::wrap;
use super::{put_lines, span};

pub(super) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let area = frame.area();
    let text = format!(
        "restage needs {}x{}, this is {}x{}. The runners go on.",
        LEAST.0, LEAST.1, area.width, area.height
    );
    let lines: Vec<Line<'static>> = wrap(&text, usize::from(area.width))
        .into_iter()
        .map(|line| Line::from(span(model, Ink::Waiting, line)))
        .collect();
    put_lines(frame, area, lines, 0);
}
