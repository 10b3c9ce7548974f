//! The command palette: a line to type in, and below it what matches.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};

use super::super::model::Model;
use super::super::palette::{Palette, found};
use super::super::theme::Ink;
use super::text::{fit, pad, right, width};
use super::{on, open_box, put};

const WIDE: u16 = 76;
const HIGH: u16 = 14;

pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, palette: &Palette) {
    let theme = model.theme();
    let ground = theme.style(Ink::Dialog);
    let wide = WIDE.min(frame.area().width.saturating_sub(6));
    let high = HIGH.min(frame.area().height.saturating_sub(4));
    let inner = open_box(frame, theme, "Command", (wide, high));
    let room = usize::from(inner.width);
    let typed = fit(palette.input.text(), room.saturating_sub(3), theme);
    let line = Line::from(vec![
        Span::styled(": ", on(theme.style(Ink::Key), ground)),
        Span::styled(typed, on(theme.style(Ink::Strong), ground)),
    ]);
    put(frame, Rect { height: 1, ..inner }, line);
    let x = inner.x + 2 + u16::try_from(palette.input.column().min(room.saturating_sub(3))).unwrap_or(0);
    frame.set_cursor_position(Position { x, y: inner.y });

    let items = found(model, palette.input.text());
    let height = usize::from(inner.height.saturating_sub(2));
    let first = palette.selected.saturating_sub(height.saturating_sub(1));
    if items.is_empty() {
        let nothing = Line::styled("nothing matches", on(theme.style(Ink::Quiet), ground));
        put(frame, Rect { y: inner.y + 2, height: 1, ..inner }, nothing);
    }
    // The name, the key, and as much of the explanation as there is room for.
    let names = items.iter().map(|item| width(&item.title)).max().unwrap_or(0).min(room / 2);
    for ((at, item), y) in items.iter().enumerate().skip(first).take(height).zip(inner.y + 2..) {
        let selected = at == palette.selected;
        let ground = if selected { theme.style(Ink::Selection) } else { ground };
        let quiet = if selected { ground } else { on(theme.style(Ink::Quiet), ground) };
        let key = item.key.map(|key| key.to_string()).unwrap_or_default();
        let hint_room = room.saturating_sub(names + 2 + 8);
        let line = Line::from(vec![
            Span::styled(pad(&item.title, names, theme), ground),
            Span::styled(
                right(&key, 7, theme),
                if selected { ground } else { on(theme.style(Ink::Key), ground) },
            ),
            Span::styled(format!("  {}", pad(&item.hint, hint_room, theme)), quiet),
        ]);
        put(frame, Rect { y, height: 1, ..inner }, line);
    }
}
