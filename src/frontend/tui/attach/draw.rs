//! What an attached terminal looks like: a frame that says how to leave, and the screen cell by cell. What comes out
//! cannot leave the place it is put, whatever the program printed.

use ratatui::Frame;
use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::{Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use unicode_width::UnicodeWidthStr;

use super::AttachPane;
use crate::frontend::text::{cut, one_line};
use crate::frontend::tui::log::{is_invisible, on_line};
use crate::frontend::tui::theme::{Ink, Theme};

pub fn draw(frame: &mut Frame<'_>, area: Rect, pane: &AttachPane, theme: &Theme) {
    let area = area.intersection(frame.area());
    if area.is_empty() {
        return;
    }
    head(frame.buffer_mut(), Rect { height: 1, ..area }, pane, theme);
    let body = Rect { y: area.y + 1, height: area.height - 1, ..area };
    let shown = pane.past.as_ref().map(|past| &past.shot.screen).or(pane.screen.as_ref());
    let Some(screen) = shown else {
        let words = match (&pane.trouble, &pane.log) {
            (Some(trouble), _) => again(trouble),
            (None, None) => "It has not been started, so there is no terminal.".into(),
            (None, Some(_)) => String::new(),
        };
        let words = cut(&words, usize::from(body.width), theme.ascii);
        if !body.is_empty() {
            frame.buffer_mut().set_stringn(
                body.x,
                body.y,
                words,
                usize::from(body.width),
                theme.style(Ink::Quiet),
            );
        }
        return;
    };
    let buffer = frame.buffer_mut();
    let (rows, cols) = screen.size();
    let (rows, cols) = (rows.get(), cols.get());
    for row in 0..rows.min(body.height) {
        let mut column = 0;
        while column < cols.min(body.width) {
            let Some(from) = screen.cell(row, column) else { break };
            let width = if from.is_wide() { 2 } else { 1 };
            if column + width > body.width {
                break;
            }
            put(buffer, body.x + column, body.y + row, from, theme);
            column += width;
        }
    }
    if let Some(trouble) = pane.trouble.as_ref().filter(|_| !body.is_empty()) {
        // What is shown stands still.
        let width = usize::from(body.width);
        let words = crate::frontend::tui::view::text::pad(&again(trouble), width, theme);
        frame.buffer_mut().set_stringn(body.x, body.bottom() - 1, words, width, theme.style(Ink::Bad));
        return;
    }
    if pane.past.is_some() {
        return;
    }
    let (row, column) = screen.cursor_position();
    let at = Position { x: body.x + column.min(body.width.saturating_sub(1)), y: body.y + row };
    if !screen.hide_cursor() && pane.status.is_live() && body.contains(at) {
        frame.set_cursor_position(at);
    }
}

fn again(trouble: &str) -> String {
    format!("{}; Enter shows it again", one_line(trouble))
}

/// `─ agent attempt 4 ─────────────── ctrl-] leaves; the runner goes on ─`
fn head(buffer: &mut Buffer, area: Rect, pane: &AttachPane, theme: &Theme) {
    let width = usize::from(area.width);
    let line = theme.glyph("─", "-").repeat(width);
    buffer.set_stringn(area.x, area.y, line, width, theme.style(Ink::BorderFocus));
    let attempt = pane.attempt.map(|attempt| format!(", attempt {attempt}")).unwrap_or_default();
    let state = if pane.status.is_live() { String::new() } else { format!(", {}", pane.status) };
    let back = match &pane.past {
        Some(past) if past.rows == past.most => format!(", top, {} rows back", past.rows),
        Some(past) => format!(", {} of {} rows back", past.rows, past.most),
        None if pane.is_top => ", nothing above".to_owned(),
        None => String::new(),
    };
    let name = format!(" {}{attempt}{state}{back} ", pane.runner);
    let way_out = match pane.leave {
        Some(key) if name.chars().count() + 42 <= width => format!(" {key} leaves; the runner goes on "),
        Some(key) => format!(" {key} leaves "),
        None => " no key leaves: bind leave_attach ".into(),
    };
    let way_out_width = way_out.chars().count();
    let room = width.saturating_sub(way_out_width + 3);
    if room > 3 {
        let place = Rect { x: area.x + 1, width: u16::try_from(room).unwrap_or(area.width), ..area };
        on_line(buffer, place, &cut(&name, room, theme.ascii), theme.style(Ink::Strong));
    }
    let start = width.saturating_sub(way_out_width + 1);
    let x = area.x + u16::try_from(start).unwrap_or(0);
    on_line(
        buffer,
        Rect { x, width: area.right().saturating_sub(x), ..area },
        &way_out,
        theme.style(Ink::Key),
    );
}

fn put(buffer: &mut Buffer, x: u16, y: u16, from: &vt100::Cell, theme: &Theme) {
    let width = if from.is_wide() { 2 } else { 1 };
    let mut symbol: String =
        from.contents().chars().filter(|c| !c.is_control() && !is_invisible(*c)).take(5).collect();
    if symbol.width() != width {
        // Empty, or something whose width terminals do not agree about.
        symbol = symbol.chars().next().filter(|_| symbol.width() > 0).map(String::from).unwrap_or_default();
        if symbol.width() != width {
            symbol = " ".repeat(width);
        }
    }
    let style = style(from, theme);
    let behind = |cell: &mut Cell| {
        cell.reset();
        cell.set_style(style);
    };
    if width == 2
        && let Some(cell) = buffer.cell_mut(Position { x: x + 1, y })
    {
        behind(cell);
    }
    if let Some(cell) = buffer.cell_mut(Position { x, y }) {
        behind(cell);
        cell.set_symbol(if symbol == "  " { " " } else { &symbol });
    }
}

fn style(cell: &vt100::Cell, theme: &Theme) -> Style {
    let colour = |colour: vt100::Color| match colour {
        vt100::Color::Default => None,
        vt100::Color::Idx(index) => Some(Color::Indexed(index)),
        vt100::Color::Rgb(r, g, b) => Some(Color::Rgb(r, g, b)),
    };
    let mut style = Style { fg: colour(cell.fgcolor()), bg: colour(cell.bgcolor()), ..Style::new() };
    for (is, modifier) in [
        (cell.bold(), Modifier::BOLD),
        (cell.dim(), Modifier::DIM),
        (cell.italic(), Modifier::ITALIC),
        (cell.underline(), Modifier::UNDERLINED),
        (cell.inverse(), Modifier::REVERSED),
    ] {
        if is {
            style = style.add_modifier(modifier);
        }
    }
    theme.painted(style)
}
