//! Every key, from the table that the dispatcher uses.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::model::Model;
use super::super::theme::Ink;
use super::text::{pad, wrap};
use super::{put_lines, span};
use crate::domain::keys::{BINDINGS, Key, SCOPES, Scope};

const KEYS: usize = 22;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    put_lines(frame, area, lines(model, area.width), model.scroll);
}

pub(super) fn lines(model: &Model, width: u16) -> Vec<Line<'static>> {
    let room = usize::from(width).saturating_sub(KEYS + 4).max(10);
    let line = |keys: &str, doc: &str| {
        let mut keys = Some(pad(keys, KEYS, model.theme()));
        let texts = wrap(doc, room).into_iter().map(move |text| {
            let keys = keys.take().unwrap_or_else(|| " ".repeat(KEYS));
            Line::from(vec![Span::raw("  "), span(model, Ink::Key, keys), Span::raw(text)])
        });
        texts.collect::<Vec<_>>()
    };
    let mut lines = Vec::new();
    // What applies where one was comes first.
    let place = model.place_on(model.under);
    let here = |scope: &Scope| *scope != Scope::Everywhere && scope.covers(place);
    let there = SCOPES.into_iter().filter(|scope| !here(scope));
    for scope in SCOPES.into_iter().filter(here).chain(there) {
        if !lines.is_empty() {
            lines.push(Line::default());
        }
        lines.push(Line::from(span(model, Ink::Accent, format!(" {}", scope.title()))));
        if scope == Scope::Attach {
            lines.extend(line(
                "shift-PgUp shift-PgDn",
                "Look back at what has left its screen; the wheel, too",
            ));
        }
        for binding in BINDINGS.iter().filter(|binding| binding.scope == scope) {
            let keys = model.keymap().keys(binding.action);
            if keys.is_empty() {
                continue;
            }
            let keys = keys.iter().map(Key::to_string).collect::<Vec<_>>().join(" ");
            lines.extend(line(&keys, binding.doc));
        }
    }
    let by_name: Vec<String> = BINDINGS
        .iter()
        .filter(|binding| model.keymap().keys(binding.action).is_empty())
        .map(|binding| binding.name.replace('_', " "))
        .collect();
    lines.push(Line::default());
    lines.push(Line::from(span(model, Ink::Accent, " By name only, in the palette")));
    for text in wrap(&by_name.join(", "), usize::from(width).saturating_sub(4)) {
        lines.push(Line::raw(format!("  {text}")));
    }
    lines.push(Line::default());
    lines.push(Line::from(span(model, Ink::Accent, " With the mouse")));
    let mouse = "click a row to select it, and again to open it; click a key of the last line to press it; the wheel \
                 scrolls what it is over";
    for text in wrap(mouse, usize::from(width).saturating_sub(4)) {
        lines.push(Line::raw(format!("  {text}")));
    }
    lines.push(Line::default());
    let note =
        "ctrl-c always means quit. All others can be changed in the config: \"keys\": { \"stop\": \"d\" }";
    lines.extend(
        wrap(note, usize::from(width).saturating_sub(4))
            .into_iter()
            .map(|text| Line::from(span(model, Ink::Quiet, format!("  {text}")))),
    );
    lines
}
