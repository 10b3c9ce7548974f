//! What the log looks like: a title, the lines, and below them what is typed or was just done. A total function of the
//! pane: it reads nothing and decides nothing.

use std::ops::Range;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Modifier, Style};
use regex::bytes::Regex;

use super::hexdump;
use super::scroll::Row;
use super::text::Laid;
use super::{FileState, LogPane, Place, TypingWhat};
use crate::frontend::text::{bytes, cut, one_line};
use crate::frontend::tui::theme::{Ink, Theme};
use crate::logs::lines::{GapNote, LogLine};

pub fn draw(frame: &mut Frame<'_>, area: Rect, pane: &LogPane, theme: &Theme, focused: bool) {
    let area = area.intersection(frame.area());
    if area.is_empty() {
        return;
    }
    title(frame.buffer_mut(), Rect { height: 1, ..area }, pane, theme, focused);
    let foot_height = u16::from(pane.has_foot() && area.height > 1);
    let body = Rect { y: area.y + 1, height: area.height - 1 - foot_height, ..area };
    match (pane.file, &pane.window) {
        (_, Some(window)) if !window.lines.is_empty() => lines(frame.buffer_mut(), body, pane, theme),
        (FileState::Binary, _) => hexdump::draw(frame.buffer_mut(), body, pane, theme),
        (state, window) => {
            let is_content = pane.is_content();
            let words = match state {
                FileState::Missing if is_content => "Its bytes are gone from where they were kept.",
                FileState::Failed | FileState::Broken if is_content => "It cannot be read.",
                FileState::Open if is_content && window.is_some() && pane.filter.is_none() => "It is empty.",
                FileState::Missing => "There is no log of this attempt (yet).",
                FileState::Failed | FileState::Broken => "This log cannot be read.",
                FileState::Opening | FileState::Closed if pane.shown.is_some() => "",
                FileState::Closed | FileState::Opening => "There is no log: nothing has run yet.",
                FileState::Binary => "",
                FileState::Open if window.is_none() => "",
                FileState::Open if pane.filter.is_some() && pane.filtering.is_some() => {
                    "Looking for lines that match."
                }
                FileState::Open if pane.filter.is_some() => "No line matches the filter.",
                FileState::Open => "Nothing was printed so far.",
            };
            let words = cut(words, usize::from(body.width), theme.ascii);
            put(frame.buffer_mut(), body, &words, theme.style(Ink::Quiet));
        }
    }
    if foot_height > 0 {
        let foot = Rect { y: area.bottom() - 1, height: 1, ..area };
        if let Some(cursor) = self::foot(frame.buffer_mut(), foot, pane, theme) {
            frame.set_cursor_position(cursor);
        }
    }
}

/// `─ agent_4.log ─────── attempt 4 of 4 · follow · 1,204 lines ─`
fn title(buffer: &mut Buffer, area: Rect, pane: &LogPane, theme: &Theme, focused: bool) {
    let ink = if focused { Ink::BorderFocus } else { Ink::Border };
    let width = usize::from(area.width);
    let line = theme.glyph("─", "-");
    put(buffer, area, &line.repeat(width), theme.style(ink));
    let name = pane.shown.as_ref().map_or_else(|| "log".to_owned(), |file| one_line(&file.name()));
    // What does not fit is left out from the end: the name matters most.
    let mut facts = if pane.shown.is_some() { facts(pane, theme) } else { Vec::new() };
    let room = |facts: &[String]| width.saturating_sub(facts.join(" · ").chars().count() + 8);
    while facts.len() > 1 && room(&facts) < name.chars().count().min(24) {
        facts.pop();
    }
    if room(&facts) < 4 {
        facts.clear();
    }
    let strong = theme.style(if focused { Ink::Strong } else { Ink::Text });
    let name = format!(" {} ", cut(&name, room(&facts).max(1), theme.ascii));
    on_line(buffer, Rect { x: area.x + 1, width: area.width.saturating_sub(1), ..area }, &name, strong);
    if !facts.is_empty() {
        let separator = theme.glyph(" · ", " - ");
        let facts = format!(" {} ", facts.join(separator));
        let wide = u16::try_from(facts.chars().count()).unwrap_or(area.width).min(area.width);
        let x = area.right().saturating_sub(wide + 1).max(area.x);
        on_line(buffer, Rect { x, width: area.right() - x, ..area }, &facts, theme.style(Ink::Quiet));
    }
}

/// The most important first.
fn facts(pane: &LogPane, theme: &Theme) -> Vec<String> {
    let mut facts = Vec::new();
    if let (Some(source), Some(shown)) = (&pane.source, &pane.shown)
        && let Some(newest) = source.attempts.last()
        && (newest.attempt != shown.attempt || shown.content.is_some() && source.attempts.len() > 1)
    {
        let what = if shown.content.is_some() { "part" } else { "attempt" };
        facts.push(format!("{what} {} of {}", shown.attempt, newest.attempt));
    }
    if let Some(filter) = &pane.filter {
        facts.push(format!("only {:?}", cut(&one_line(&filter.text), 16, theme.ascii)));
    }
    let live = pane.shown.as_ref().is_some_and(|file| file.live);
    match (pane.place, &pane.window) {
        _ if pane.file == FileState::Binary => facts.push("no text".into()),
        (Place::End, _) => facts.push(if live { "follow" } else { "end" }.into()),
        (Place::Top { .. }, Some(window)) if pane.len > 0 => {
            let (index, _) = pane.top(window);
            let at = window.lines.get(index).map_or(0, LogLine::offset);
            facts.push(if at == 0 { "top".into() } else { format!("{} %", percent(at, pane.len)) });
        }
        (Place::Top { .. }, _) => {}
    }
    match pane.count {
        Some(1) => facts.push("1 line".into()),
        Some(lines) => facts.push(format!("{} lines", thousands(lines))),
        None if pane.len > 0 => facts.push(bytes(pane.len)),
        None => {}
    }
    if pane.selection.is_some() {
        facts.insert(0, "selecting".into());
    }
    facts
}

fn percent(at: u64, len: u64) -> u64 {
    u64::try_from(u128::from(at) * 100 / u128::from(len.max(1))).unwrap_or(100)
}

/// `1,204`
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn lines(buffer: &mut Buffer, area: Rect, pane: &LogPane, theme: &Theme) {
    let Some(window) = &pane.window else { return };
    let marked = pane.marked().map(|pattern| pattern.0);
    let selected = pane.selection.map(super::Selection::range);
    let screen = pane.visible();
    for (row, y) in screen.iter().zip(area.y..area.bottom()) {
        let Some(line) = window.lines.get(row.line) else { continue };
        let here = Rect { y, height: 1, ..area };
        let is_selected = selected.as_ref().is_some_and(|range| {
            range.contains(&line.offset()) || (range.start <= line.offset() && line.offset() < range.end)
        });
        match (&row.laid, line) {
            (Some(laid), _) => {
                let is_current = pane.current == Some(line.offset());
                text(buffer, here, Look { pane, theme, marked: marked.as_ref(), is_current }, row, laid);
            }
            (None, LogLine::Gap { len, .. }) => {
                let note = if pane.is_content() {
                    format!("… {len} bytes that are zero …")
                } else {
                    GapNote(*len).to_string()
                };
                let note = if theme.ascii { note.replace('…', "...") } else { note };
                put(buffer, here, &note, theme.style(Ink::Waiting));
            }
            (None, LogLine::Text { .. }) => {}
        }
        if is_selected {
            buffer.set_style(here, theme.style(Ink::Selection));
        }
    }
}

#[derive(Clone, Copy)]
struct Look<'a> {
    pane: &'a LogPane,
    theme: &'a Theme,
    marked: Option<&'a Regex>,
    is_current: bool,
}

/// One row, cell by cell: nothing leaves `area`, and a wide character that would is not begun.
fn text(buffer: &mut Buffer, area: Rect, look: Look<'_>, row: &Row, laid: &Laid) {
    let theme = look.theme;
    let hits: Vec<Range<usize>> = look
        .marked
        .map(|marked| marked.find_iter(laid.text.as_bytes()).map(|hit| hit.range()).collect())
        .unwrap_or_default();
    let stamp = if look.pane.times && row.first { laid.stamp() } else { 0 };
    let base = theme.style(Ink::Text);
    let skip = if look.pane.wrap { 0 } else { look.pane.shift };
    let (mut column, mut x) = (0, area.x);
    let mut is_cut = laid.more;
    for index in row.glyphs.clone() {
        let Some(glyph) = laid.glyphs.get(index) else { break };
        let width = u16::from(glyph.width);
        let before = column;
        column += usize::from(width);
        if before < skip {
            continue;
        }
        if x + width > area.right() {
            is_cut = true;
            break;
        }
        let mut style = base.patch(theme.painted(laid.style(glyph)));
        if index < stamp && style.fg == base.fg {
            style = style.patch(theme.style(Ink::Quiet));
        }
        let at = glyph.at as usize;
        if hits.iter().any(|hit| hit.contains(&at)) {
            let ink = if look.is_current { Ink::MatchCurrent } else { Ink::Match };
            style = style.remove_modifier(Modifier::REVERSED).patch(theme.style(ink));
        }
        if let Some(cell) = buffer.cell_mut(Position { x, y: area.y }) {
            cell.set_symbol(laid.symbol(glyph)).set_style(style);
        }
        for behind in x + 1..x + width {
            if let Some(cell) = buffer.cell_mut(Position { x: behind, y: area.y }) {
                cell.reset();
                cell.set_style(style);
            }
        }
        x += width;
    }
    let quiet = theme.style(Ink::Quiet);
    if skip > 0 && column > 0 {
        sign(buffer, area.x, area.y, theme.glyph("‹", "<"), quiet);
    }
    if is_cut && !look.pane.wrap {
        sign(buffer, area.right() - 1, area.y, theme.glyph("›", ">"), quiet);
    }
}

/// A sign in a cell of its own; half of a wide character that it hits becomes a blank.
fn sign(buffer: &mut Buffer, x: u16, y: u16, symbol: &str, style: Style) {
    if let Some(before) = x.checked_sub(1).and_then(|x| buffer.cell_mut(Position { x, y }))
        && unicode_width::UnicodeWidthStr::width(before.symbol()) > 1
    {
        before.set_symbol(" ");
    }
    let wide = buffer
        .cell(Position { x, y })
        .is_some_and(|cell| unicode_width::UnicodeWidthStr::width(cell.symbol()) > 1);
    if let Some(cell) = buffer.cell_mut(Position { x, y }) {
        cell.reset();
        cell.set_symbol(symbol).set_style(style);
    }
    if wide && let Some(behind) = buffer.cell_mut(Position { x: x + 1, y }) {
        behind.set_symbol(" ");
    }
}

/// What is typed, else what is on its way, else what was done. Where the cursor stands.
fn foot(buffer: &mut Buffer, area: Rect, pane: &LogPane, theme: &Theme) -> Option<Position> {
    if let Some(typing) = &pane.typing {
        let label = match (typing.what, pane.regex) {
            (TypingWhat::Search, false) => "search: ",
            (TypingWhat::Search, true) => "search regex: ",
            (TypingWhat::Filter, false) => "only lines with: ",
            (TypingWhat::Filter, true) => "only lines matching: ",
            (TypingWhat::Save, _) => "save as: ",
        };
        let x = put(buffer, area, label, theme.style(Ink::Accent));
        let room = area.right().saturating_sub(x);
        // The end of a long line is what is being typed.
        let over = typing.input.column().saturating_sub(usize::from(room).saturating_sub(1));
        let shown = skip_columns(typing.input.text(), over);
        let rest = Rect { x, width: room, ..area };
        let end = put(buffer, rest, shown, theme.style(Ink::Strong));
        if let Some(problem) = &typing.problem {
            let rest = Rect { x: end, width: area.right().saturating_sub(end), ..area };
            put(buffer, rest, &format!("  {}", one_line(problem)), theme.style(Ink::Bad));
        }
        let column = u16::try_from(typing.input.column() - over).unwrap_or(0);
        return Some(Position { x: (x + column).min(area.right().saturating_sub(1)), y: area.y });
    }
    let way = |at: u64| percent(at.min(pane.len), pane.len);
    let (words, ink) = match (pane.finding, pane.filtering, &pane.note) {
        (Some(at), _, _) => (format!("searching, at {} %; Esc ends it", way(at)), Ink::Waiting),
        (None, Some(at), _) => (format!("filtering, at {} %", way(at)), Ink::Waiting),
        (None, None, Some(note)) => (one_line(note), Ink::Accent),
        (None, None, None) if pane.wants_opening() => (again(pane), Ink::Bad),
        (None, None, None) => return None,
    };
    put(buffer, area, &cut(&words, usize::from(area.width), theme.ascii), theme.style(ink));
    None
}

/// What stands still says so, and how it goes on.
fn again(pane: &LogPane) -> String {
    let still = if pane.window.is_some() { ", what is shown stands still" } else { "" };
    let key = pane.again.map_or_else(|| "follow".to_owned(), |key| key.to_string());
    format!("{key} opens this log again: reading it failed{still}")
}

fn skip_columns(text: &str, columns: usize) -> &str {
    let mut passed = 0;
    for (at, c) in text.char_indices() {
        if passed >= columns {
            return text.get(at..).unwrap_or_default();
        }
        passed += unicode_width::UnicodeWidthChar::width(c).unwrap_or(0);
    }
    if columns == 0 { text } else { "" }
}

/// Text of our own in the place of a line that was drawn, with nothing of the line's own ink.
pub(in crate::frontend::tui) fn on_line(buffer: &mut Buffer, area: Rect, text: &str, style: Style) {
    let wide = u16::try_from(unicode_width::UnicodeWidthStr::width(text)).unwrap_or(area.width);
    for x in area.x..area.right().min(area.x.saturating_add(wide)) {
        if let Some(cell) = buffer.cell_mut(Position { x, y: area.y }) {
            cell.reset();
        }
    }
    put(buffer, area, text, style);
}

/// Text of our own; where it ends.
pub(super) fn put(buffer: &mut Buffer, area: Rect, text: &str, style: Style) -> u16 {
    if area.is_empty() {
        return area.x;
    }
    buffer.set_stringn(area.x, area.y, text, usize::from(area.width), style).0
}
