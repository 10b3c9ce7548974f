//! One line of a child as cells of a screen: cleaned, its colours read, each character's width known. What comes out
//! cannot leave the place it is put: every glyph has the width that every terminal gives it. It must not know where the
//! line is shown.

use std::ops::Range;

use ratatui::style::{Color, Modifier, Style};
use unicode_width::UnicodeWidthChar;

use crate::logs::sanitize::{Keep, Sanitizer, last_drawn};

/// One place on the screen: a character with what combines with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glyph {
    /// Where in [`Laid::text`].
    pub(crate) at: u32,
    pub(crate) len: u16,
    pub(crate) width: u8,
    pub(crate) style: u16,
}

/// A line, or the beginning of one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Laid {
    pub(crate) text: String,
    pub(crate) glyphs: Vec<Glyph>,
    pub(crate) styles: Vec<Style>,
    /// More follows that nobody asked for.
    pub(crate) more: bool,
}

/// More than these would only cover one another.
const MAX_COMBINING: u16 = 4;

const TAB: usize = 8;

/// What stands before a line that was drawn over itself (a progress bar): only its last drawing is shown.
pub(crate) const REDRAWN: char = '␍';

/// The line as far as `columns`, as a terminal shows it in the end.
pub(crate) fn lay(line: &[u8], columns: usize) -> Laid {
    let shown = last_drawn(line);
    let is_redrawn = shown.len() + 1 < line.strip_suffix(b"\r").unwrap_or(line).len();
    begin(shown, columns, is_redrawn)
}

/// The line as far as `columns`, with all that stands in it: nothing of a text that is judged is drawn over.
pub(crate) fn lay_all(line: &[u8], columns: usize) -> Laid {
    begin(line.strip_suffix(b"\r").unwrap_or(line), columns, false)
}

fn begin(shown: &[u8], columns: usize, is_redrawn: bool) -> Laid {
    let mut laid = Laid { styles: vec![Style::new()], ..Laid::default() };
    let mut pen = Pen { style: Style::new(), index: 0, column: 0 };
    if is_redrawn {
        pen.put(&mut laid, REDRAWN);
    }
    let mut sanitizer = Sanitizer::new(Keep::Colours);
    let mut clean = String::new();
    for portion in shown.chunks(1024) {
        sanitizer.push(portion, &mut clean);
        pen.write(&mut laid, &clean);
        clean.clear();
        if pen.column > columns {
            laid.more = true;
            return laid;
        }
    }
    sanitizer.finish(&mut clean);
    pen.write(&mut laid, &clean);
    laid
}

/// Which glyphs go into each row of a screen that is so wide; one row at least.
pub(crate) fn rows(laid: &Laid, width: usize) -> Vec<Range<usize>> {
    let mut rows = Vec::new();
    let (mut start, mut used) = (0, 0);
    for (index, glyph) in laid.glyphs.iter().enumerate() {
        let wide = usize::from(glyph.width);
        if used + wide > width && used > 0 {
            rows.push(start..index);
            (start, used) = (index, 0);
        }
        used += wide;
    }
    rows.push(start..laid.glyphs.len());
    rows
}

struct Pen {
    style: Style,
    index: u16,
    column: usize,
}

impl Pen {
    /// Clean text, in which only colours are escape sequences.
    fn write(&mut self, laid: &mut Laid, clean: &str) {
        let mut chars = clean.chars();
        while let Some(c) = chars.next() {
            match c {
                '\x1b' => {
                    let rest = chars.as_str();
                    let Some((codes, after)) = rest.strip_prefix('[').and_then(|codes| codes.split_once('m'))
                    else {
                        continue;
                    };
                    self.style = coloured(self.style, codes);
                    self.index = index_of(&mut laid.styles, self.style);
                    chars = after.chars();
                }
                '\t' => {
                    for _ in 0..TAB - self.column % TAB {
                        self.put(laid, ' ');
                    }
                }
                _ if is_invisible(c) || c.is_control() => {}
                _ => self.put(laid, c),
            }
        }
    }

    fn put(&mut self, laid: &mut Laid, c: char) {
        let at = u32::try_from(laid.text.len()).unwrap_or(u32::MAX);
        let bytes = u16::try_from(c.len_utf8()).unwrap_or(0);
        match c.width().unwrap_or(0) {
            0 => {
                // It belongs to the character before it; without one there is nothing to put it on, and what stands for
                // broken bytes is none: some terminals leave that sign out.
                let Some(last) = laid.glyphs.last_mut() else { return };
                if !laid.text.ends_with(char::REPLACEMENT_CHARACTER) && last.len < 4 + MAX_COMBINING * 2 {
                    laid.text.push(c);
                    last.len += bytes;
                }
            }
            width => {
                laid.text.push(c);
                let width = u8::try_from(width).unwrap_or(1);
                laid.glyphs.push(Glyph { at, len: bytes, width, style: self.index });
                self.column += usize::from(width);
            }
        }
    }
}

impl Laid {
    pub(crate) fn symbol(&self, glyph: &Glyph) -> &str {
        let at = glyph.at as usize;
        self.text.get(at..at + usize::from(glyph.len)).unwrap_or(" ")
    }

    pub(crate) fn style(&self, glyph: &Glyph) -> Style {
        self.styles.get(usize::from(glyph.style)).copied().unwrap_or_default()
    }

    /// How many glyphs at the beginning are a time stamp, with the blanks behind it.
    pub(crate) fn stamp(&self) -> usize {
        let len = stamp_len(&self.text);
        if len == 0 {
            return 0;
        }
        let rest = self.text.get(len..).unwrap_or_default();
        let len = len + (rest.len() - rest.trim_start_matches(' ').len());
        self.glyphs.partition_point(|glyph| (glyph.at as usize) < len)
    }
}

/// Characters that join, turn or select, and show nothing themselves. Terminals differ in what they make of them, so
/// that a line could become wider than it was taken for: they are left out.
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

fn index_of(styles: &mut Vec<Style>, style: Style) -> u16 {
    let index = styles.iter().position(|known| *known == style).unwrap_or_else(|| {
        // A line of thousands of colours keeps the last of those it may have.
        if styles.len() > 4096 {
            styles.pop();
        }
        styles.push(style);
        styles.len() - 1
    });
    u16::try_from(index).unwrap_or(0)
}

/// The style after a colour sequence, whose numbers the sanitizer has understood.
fn coloured(mut style: Style, codes: &str) -> Style {
    let mut codes = codes.split(';').map(|code| code.parse::<u8>().unwrap_or(0));
    while let Some(code) = codes.next() {
        style = match code {
            0 => Style::new(),
            1 => style.add_modifier(Modifier::BOLD),
            2 => style.add_modifier(Modifier::DIM),
            3 => style.add_modifier(Modifier::ITALIC),
            4 | 21 => style.add_modifier(Modifier::UNDERLINED),
            7 => style.add_modifier(Modifier::REVERSED),
            9 => style.add_modifier(Modifier::CROSSED_OUT),
            22 => without(style, Modifier::BOLD | Modifier::DIM),
            23 => without(style, Modifier::ITALIC),
            24 => without(style, Modifier::UNDERLINED),
            27 => without(style, Modifier::REVERSED),
            29 => without(style, Modifier::CROSSED_OUT),
            30..=37 => style.fg(Color::Indexed(code - 30)),
            90..=97 => style.fg(Color::Indexed(code - 90 + 8)),
            40..=47 => style.bg(Color::Indexed(code - 40)),
            100..=107 => style.bg(Color::Indexed(code - 100 + 8)),
            39 => Style { fg: None, ..style },
            49 => Style { bg: None, ..style },
            59 => Style { underline_color: None, ..style },
            38 | 48 | 58 => {
                let colour = match codes.next() {
                    Some(5) => codes.next().map(Color::Indexed),
                    Some(2) => match (codes.next(), codes.next(), codes.next()) {
                        (Some(r), Some(g), Some(b)) => Some(Color::Rgb(r, g, b)),
                        _ => None,
                    },
                    Some(_) | None => None,
                };
                match (code, colour) {
                    (38, Some(colour)) => style.fg(colour),
                    (48, Some(colour)) => style.bg(colour),
                    (58, Some(colour)) => style.underline_color(colour),
                    _ => style,
                }
            }
            _ => style,
        };
    }
    style
}

fn without(mut style: Style, modifier: Modifier) -> Style {
    style.add_modifier.remove(modifier);
    style
}

/// The length of a time at the beginning of a line: `2026-11-09T12:40:51.120Z`, `12:40:51`, each also in brackets.
fn stamp_len(text: &str) -> usize {
    let open = usize::from(text.starts_with('['));
    let mut at = open;
    let bytes = text.as_bytes();
    let fits = |at: usize, shape: &str| {
        bytes.get(at..at + shape.len()).is_some_and(|part| {
            part.iter().zip(shape.bytes()).all(|(byte, shape)| match shape {
                b'0' => byte.is_ascii_digit(),
                b'T' => matches!(byte, b'T' | b' '),
                b'-' => matches!(byte, b'-' | b'/'),
                other => *byte == other,
            })
        })
    };
    if fits(at, "0000-00-00T") {
        at += 11;
    }
    if !fits(at, "00:00:00") {
        return 0;
    }
    at += 8;
    if matches!(bytes.get(at), Some(b'.' | b',')) {
        let digits = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        at += if digits > 0 { 1 + digits } else { 0 };
    }
    if bytes.get(at) == Some(&b'Z') {
        at += 1;
    } else if fits(at, "+00:00") || (fits(at, "-00:00") && bytes.get(at) == Some(&b'-')) {
        at += 6;
    }
    match (open, bytes.get(at)) {
        (1, Some(b']')) => at + 1,
        (0, None | Some(b' ' | b'\t' | b'|' | b':')) => at,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &[u8]) -> String {
        lay(line, usize::MAX).text
    }

    fn width(laid: &Laid) -> usize {
        laid.glyphs.iter().map(|glyph| usize::from(glyph.width)).sum()
    }

    #[test]
    fn a_glyph_is_as_wide_as_every_terminal_draws_it() {
        for (line, text, columns) in [
            ("plain", "plain", 5),
            ("日本", "日本", 4),
            ("e\u{301}x", "e\u{301}x", 2),
            ("\u{301}x", "x", 1),
            ("👨\u{200d}👩\u{200d}👧", "👨👩👧", 6),
            ("❤\u{fe0f}", "❤", 1),
            ("a\u{200e}b\u{e0041}", "ab", 2),
            ("a\tb", "a       b", 9),
            ("\tb", "        b", 9),
            ("10%\r50%\r100%\r", "␍100%", 5),
            ("line\r", "line", 4),
            ("a\x07b", "a␇b", 3),
        ] {
            let laid = lay(line.as_bytes(), usize::MAX);
            assert_eq!((laid.text.as_str(), width(&laid)), (text, columns), "{line:?}");
            for glyph in &laid.glyphs {
                let symbol = unicode_width::UnicodeWidthStr::width(laid.symbol(glyph));
                assert_eq!(symbol, usize::from(glyph.width), "{line:?}");
            }
        }
        let many = format!("a{}", "\u{301}".repeat(500));
        assert!(shown(many.as_bytes()).len() < 20);
    }

    #[test]
    fn colours_become_styles_and_nothing_else_does() {
        let laid = lay(
            b"\x1b[1;31mred\x1b[22;48;5;200mb\x1b[39;49m.\x1b[38;2;1;2;3mc\x1b[0m\x1b]52;c;eA==\x07d",
            99,
        );
        assert_eq!(laid.text, "redb.cd");
        let styles: Vec<Style> = [0, 3, 4, 5, 6].iter().map(|at| laid.style(&laid.glyphs[*at])).collect();
        let red = Style::new().fg(Color::Indexed(1));
        assert_eq!(
            styles,
            [
                red.add_modifier(Modifier::BOLD),
                red.bg(Color::Indexed(200)),
                Style::new(),
                Style::new().fg(Color::Rgb(1, 2, 3)),
                Style::new(),
            ]
        );
    }

    #[test]
    fn rows_break_before_what_does_not_fit() {
        let laid = lay("ab日本c".as_bytes(), usize::MAX);
        assert_eq!(rows(&laid, 3), [0..2, 2..3, 3..5]);
        assert_eq!(rows(&laid, 1), [0..1, 1..2, 2..3, 3..4, 4..5]);
        assert_eq!(rows(&laid, 80).len(), 1);
        assert_eq!(rows(&lay(b"", 80), 80).len(), 1);
    }

    #[test]
    fn only_what_was_asked_for_is_laid_out() {
        let laid = lay(&vec![b'x'; 1 << 20], 200);
        assert!(laid.more && laid.glyphs.len() < 2000);
    }

    #[test]
    fn times_are_known_where_a_line_begins_with_one() {
        for (line, glyphs) in [
            ("2026-11-09T12:40:51.120Z go", 25),
            ("2026-11-09 12:40:51,120 go", 24),
            ("2026/11/09 12:40:51 go", 20),
            ("2026-11-09T12:40:51+01:00 go", 26),
            ("[12:40:51] go", 11),
            ("12:40:51  go", 10),
            ("12:40:51go", 0),
            ("2026-11-09 go", 0),
            ("go 12:40:51", 0),
            ("", 0),
        ] {
            assert_eq!(lay(line.as_bytes(), 99).stamp(), glyphs, "{line}");
        }
    }
}
