//! What the dashboard looks like: total functions of the model, one part of the screen a file. No I/O, no clock.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Clear};

use super::dialog::Dialog;
use super::layout::{Layout, is_tiny};
use super::model::{Focus, Model, Screen};
use super::theme::{Ink, Theme};
use super::{attach, log};

pub mod analytics;
pub mod banner;
#[cfg(test)]
mod box_tests;
mod config;
mod confirm;
pub mod details;
mod empty;
mod filter;
pub mod flow;
#[cfg(test)]
mod flow_tests;
pub mod footer;
mod header;
mod help;
pub mod message;
mod palette;
mod quit;
pub mod runners;
mod strip;
#[cfg(test)]
pub(super) mod tests;
pub mod text;
mod tiny;
mod toasts;

/// The whole screen.
pub fn draw(frame: &mut Frame<'_>, model: &Model) {
    if is_tiny(frame.area().as_size().into()) || is_tiny(model.setup.size) {
        tiny::draw(frame, model);
        return;
    }
    let layout = Layout::of(model);
    if model.screen == Screen::Attach
        && let Some(pane) = &model.attach
    {
        attach::draw(frame, layout.body, pane, model.theme());
    } else {
        header::draw(frame, layout.header, model);
        banner::draw(frame, layout.banner, model);
        match model.screen {
            Screen::Main | Screen::Attach => draw_main(frame, &layout, model),
            Screen::Run => {
                flow::draw(frame, layout.body, model);
                if layout.log.height > 0 {
                    log::draw(frame, layout.log, &model.log, model.theme(), true);
                }
            }
            Screen::History => flow::history::draw(frame, layout.body, model),
            Screen::Analytics => analytics::draw(frame, layout.body, model),
            Screen::Config => config::draw(frame, layout.body, model),
            Screen::Help => help::draw(frame, layout.body, model),
        }
        footer::draw(frame, layout.footer, model);
    }
    toasts::draw(frame, &layout, model);
    match &model.dialog {
        None => {}
        Some(Dialog::Confirm { order, names }) => confirm::draw(frame, model, *order, names),
        Some(Dialog::Quit) => quit::draw_question(frame, model),
        Some(Dialog::Leaving) => quit::draw_leaving(frame, model),
        Some(Dialog::Flow(question)) => flow::question::draw(frame, model, question),
        Some(Dialog::Palette(palette)) => palette::draw(frame, model, palette),
        Some(Dialog::Message { title, text, scroll }) => message::draw(frame, model, title, text, *scroll),
    }
}

fn draw_main(frame: &mut Frame<'_>, layout: &Layout, model: &Model) {
    if model.fleet.runners().is_empty() && model.flows.is_empty() {
        empty::draw(frame, layout.body, model);
        return;
    }
    runners::draw(frame, layout.list, model);
    filter::draw(frame, layout.filter, model);
    details::draw_summary(frame, layout.summary, model);
    let bar = model.theme().glyph("│", "|");
    for y in layout.divider.y..layout.divider.bottom() {
        put(frame, at(layout.divider.x, y, 1), Line::styled(bar, model.theme().style(Ink::Border)));
    }
    details::draw(frame, layout.details, model);
    flow::summary::draw(frame, layout.details, model);
    flow::summary::draw_line(frame, layout.summary, model);
    if layout.log.height > 0 {
        log::draw(frame, layout.log, &model.log, model.theme(), model.focus == Focus::Log);
    }
}

/// How many lines the screen has that is shown and scrolls as a whole.
pub fn scrolled_lines(model: &Model) -> usize {
    let width = model.setup.size.0;
    match model.screen {
        Screen::Config => config::lines(model, width).len(),
        Screen::Help => help::lines(model, width).len(),
        Screen::Main | Screen::Run | Screen::History | Screen::Analytics | Screen::Attach => 0,
    }
}

/// Where the config screen has to be scrolled to, so that what it points at is seen whole, or from its beginning.
pub fn config_scroll(model: &Model, height: usize) -> usize {
    let (lines, start) = config::parts(model, model.setup.size.0);
    if lines.len() <= height { 0 } else { start.min(lines.len() - height) }
}

fn at(x: u16, y: u16, width: u16) -> Rect {
    Rect { x, y, width, height: 1 }
}

/// A line, cut where its area ends.
fn put(frame: &mut Frame<'_>, area: Rect, line: impl Into<Line<'static>>) {
    let area = area.intersection(frame.area());
    if area.height > 0 {
        frame.render_widget(line.into(), area);
    }
}

/// Lines below one another, from the `skip`-th on, as many as fit.
fn put_lines(frame: &mut Frame<'_>, area: Rect, lines: Vec<Line<'static>>, skip: usize) {
    for (y, line) in (area.y..area.bottom()).zip(lines.into_iter().skip(skip)) {
        put(frame, Rect { y, height: 1, ..area }, line);
    }
}

fn span(model: &Model, ink: Ink, text: impl Into<String>) -> Span<'static> {
    Span::styled(text.into(), model.theme().style(ink))
}

/// A box above the screen, as wide and high as its content where the screen has room; returns the area inside.
fn open_box(frame: &mut Frame<'_>, theme: &Theme, title: &str, size: (u16, u16)) -> Rect {
    let screen = frame.area();
    let width = (size.0 + 4).min(screen.width.saturating_sub(2));
    let height = (size.1 + 2).min(screen.height);
    let area = Rect { x: (screen.width - width) / 2, y: (screen.height - height) / 3, width, height };
    let ground = theme.style(Ink::Dialog);
    // Of what lies below, no scraps stand beside it that nobody can read.
    let beside = |columns: u16| if columns <= SCRAPS { columns } else { columns.min(MARGIN) };
    let (left, right) = (beside(area.x), beside(screen.right() - area.right()));
    frame.render_widget(Clear, Rect { x: area.x - left, width: left + area.width + right, ..area });
    let title = text::fit(title, usize::from(width.saturating_sub(4)), theme);
    let border = if theme.ascii { ASCII_BORDER } else { BorderType::Plain.to_border_set() };
    let block = Block::bordered()
        .border_set(border)
        .style(ground)
        .border_style(on(theme.style(Ink::BorderFocus), ground))
        .title(Line::styled(format!(" {title} "), on(theme.style(Ink::Strong), ground)));
    frame.render_widget(block, area);
    Rect { x: area.x + 2, y: area.y + 1, width: width.saturating_sub(4), height: height.saturating_sub(2) }
}

/// An ink upon the ground of a dialog.
fn on(ink: Style, ground: Style) -> Style {
    ground.patch(ink)
}

/// So many columns of a screen beside a box tell nothing; where there are more, a margin keeps them apart from it.
const SCRAPS: u16 = 24;
const MARGIN: u16 = 2;

const ASCII_BORDER: ratatui::symbols::border::Set<'static> = ratatui::symbols::border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};
