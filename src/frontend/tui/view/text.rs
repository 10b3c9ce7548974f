//! Text fitted to cells: measured as terminals do, cut with a sign, wrapped, pushed to the right.

use ratatui::text::{Line, Span};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::super::theme::Theme;

pub fn width(text: &str) -> usize {
    text.width()
}

/// The text in at most `width` columns, with a sign where something was cut off.
pub fn fit(text: &str, width: usize, theme: &Theme) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let sign = theme.glyph("…", "~");
    let mut kept = String::new();
    let mut left = width.saturating_sub(1);
    for c in text.chars() {
        let takes = c.width().unwrap_or(0);
        if takes > left {
            break;
        }
        left -= takes;
        kept.push(c);
    }
    if width > 0 {
        kept.push_str(sign);
    }
    kept
}

/// With a sign that something follows, whether or not it had to be cut for that.
pub fn ellipsis(text: &str, width: usize, theme: &Theme) -> String {
    if text.width() < width {
        format!("{text}{}", theme.glyph("…", "~"))
    } else {
        fit(text, width.saturating_sub(1), theme)
    }
}

/// `… 12 more above, 3 below`: what of a list is not on the screen.
pub fn more(theme: &Theme, above: usize, below: usize) -> String {
    let sign = theme.glyph("…", "~");
    match (above, below) {
        (0, 0) => String::new(),
        (0, below) => format!("{sign} {below} more below"),
        (above, 0) => format!("{sign} {above} more above"),
        (above, below) => format!("{sign} {above} more above, {below} below"),
    }
}

/// Cut and filled up, so that the next column starts in its place.
pub fn pad(text: &str, width: usize, theme: &Theme) -> String {
    let mut text = fit(text, width, theme);
    let missing = width.saturating_sub(text.width());
    text.extend(std::iter::repeat_n(' ', missing));
    text
}

/// Cut, and pushed to the right end.
pub fn right(text: &str, width: usize, theme: &Theme) -> String {
    let text = fit(text, width, theme);
    let missing = width.saturating_sub(text.width());
    format!("{}{text}", " ".repeat(missing))
}

/// Two lines in one: the right one at the right end, and only where both fit.
pub fn spread<'a>(left: Vec<Span<'a>>, right: Vec<Span<'a>>, width: u16) -> Line<'a> {
    let taken = |spans: &[Span<'_>]| spans.iter().map(Span::width).sum::<usize>();
    let (l, r) = (taken(&left), taken(&right));
    let mut line = Line::from(left);
    if let Some(gap) = usize::from(width).checked_sub(l + r)
        && r > 0
        && gap > 0
    {
        line.push_span(" ".repeat(gap));
        line.extend(right);
    }
    line
}

/// In lines of at most `width` columns, broken at spaces where there are any. A newline begins a line.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        // Spaces at the beginning of a paragraph are its indentation.
        let mut begun = false;
        for word in paragraph.split(' ') {
            let gap = usize::from(begun);
            if line.width() + gap + word.width() <= width {
                if begun {
                    line.push(' ');
                }
                line.push_str(word);
                begun = true;
                continue;
            }
            if !line.trim().is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            begun = true;
            // A word that is longer than a line, such as a path, is broken where the line ends.
            for c in word.chars() {
                if line.width() + c.width().unwrap_or(0) > width {
                    lines.push(std::mem::take(&mut line));
                }
                line.push(c);
            }
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_cut_without_a_sign() {
        let mut theme = Theme::plain();
        theme.ascii = false;
        assert_eq!(fit("agent", 5, &theme), "agent");
        assert_eq!(fit("agents", 5, &theme), "agen…");
        assert_eq!(fit("日本語", 4, &theme), "日…");
        assert_eq!(fit("agents", 0, &theme), "");
        assert_eq!(fit("agents", 5, &Theme::plain()), "agen~");
        assert_eq!(right("7s", 5, &theme), "   7s");
        assert_eq!(pad("日本", 5, &theme), "日本 ");
    }

    #[test]
    fn wrapping_loses_nothing() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("/a/very/long/path", 6), ["/a/ver", "y/long", "/path"]);
        assert_eq!(wrap("a\n\nb", 5), ["a", "", "b"]);
        assert_eq!(wrap("日本語", 4), ["日本", "語"]);
        assert_eq!(wrap("x", 0), ["x"]);
        assert_eq!(wrap("  indented by two", 10), ["  indented", "by two"]);
    }
}
