//! Tables of texts: as wide as what stands in them, cut where the screen is not.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::frontend::status::Look;
use crate::frontend::text::{Tone, one_line};

/// A column is not cut to less.
const LEAST: usize = 6;

#[derive(Debug, Clone)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// What came from elsewhere is made harmless.
    pub fn new(text: impl AsRef<str>, tone: Tone) -> Self {
        Self { text: one_line(text.as_ref()), tone }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tone::Plain)
    }
}

#[derive(Debug)]
pub struct Table<'t> {
    titles: &'t [&'t str],
    rows: Vec<Vec<Cell>>,
}

impl<'t> Table<'t> {
    pub fn new(titles: &'t [&'t str]) -> Self {
        Self { titles, rows: Vec::new() }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// A line of titles, where there are any, and a line a row. Columns without any text are left out.
    pub fn draw(&self, look: &Look) -> String {
        let columns = self.titles.len();
        let mut widths: Vec<usize> = (0..columns)
            .map(|column| {
                let widest = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.width());
                match widest.max().unwrap_or(0) {
                    0 => 0,
                    widest => widest.max(self.titles[column].width()),
                }
            })
            .collect();
        fit(&mut widths, look.width);
        let mut text = String::new();
        if self.titles.iter().any(|title| !title.is_empty()) {
            let titles: Vec<Cell> = self.titles.iter().map(|title| Cell::new(title, Tone::Quiet)).collect();
            text.push_str(&line(&titles, &widths, look));
        }
        for row in &self.rows {
            text.push_str(&line(row, &widths, look));
        }
        text
    }
}

/// The widest column gives way, again and again, until all of them fit.
fn fit(widths: &mut [usize], room: usize) {
    loop {
        let used = widths.iter().filter(|width| **width > 0).map(|width| width + 2).sum::<usize>();
        let over = used.saturating_sub(2).saturating_sub(room);
        if over == 0 {
            return;
        }
        let widest = widths.iter().copied().max().unwrap_or(0);
        let next = widths.iter().copied().filter(|width| *width < widest).max().unwrap_or(0).max(LEAST);
        if widest <= LEAST {
            return;
        }
        let Some(column) = widths.iter_mut().rev().find(|width| **width == widest) else { return };
        *column = widest.saturating_sub(over.min((widest - next).max(1)));
    }
}

fn line(cells: &[Cell], widths: &[usize], look: &Look) -> String {
    let mut text = String::new();
    let mut pending = 0;
    for (cell, width) in cells.iter().zip(widths).filter(|(_, width)| **width > 0) {
        let short = cut(&cell.text, *width, look.ascii);
        if short.is_empty() {
            pending += width + 2;
            continue;
        }
        text.push_str(&" ".repeat(pending));
        pending = width.saturating_sub(short.width()) + 2;
        text.push_str(&cell.tone.paint(&short, look.colour));
    }
    text.push('\n');
    text
}

/// At most so many columns of the screen; what is cut ends with a sign.
pub fn cut(text: &str, width: usize, ascii: bool) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        short.push(c);
    }
    short.push(if ascii { '~' } else { '…' });
    short
}

/// In lines of at most `width`, broken between words where there are any; each line of the text on its own, behind
/// `indent` blanks. At most `most` lines, and a sign where more were left out.
pub fn wrap(text: &str, indent: usize, look: &Look, most: usize) -> String {
    let room = look.width.saturating_sub(indent).max(20);
    let mut lines: Vec<String> = Vec::new();
    for paragraph in text.lines().map(one_line) {
        let mut line = String::new();
        for word in paragraph.split_inclusive(' ') {
            let mut word = word;
            if !line.is_empty() && line.width() + word.trim_end().width() > room {
                lines.push(std::mem::take(&mut line));
            }
            while word.width() > room {
                let fits = word.char_indices().map(|(at, c)| at + c.len_utf8());
                let at = fits.take_while(|end| word[..*end].width() <= room).last().unwrap_or(word.len());
                lines.push(word[..at].to_owned());
                word = &word[at..];
            }
            line.push_str(word);
        }
        if !line.trim().is_empty() {
            lines.push(line);
        }
        if lines.len() > most {
            break;
        }
    }
    if lines.len() > most {
        lines.truncate(most.saturating_sub(1));
        lines.push(if look.ascii { "~".into() } else { "…".into() });
    }
    let pad = " ".repeat(indent);
    lines.iter().map(|line| format!("{pad}{}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Look = Look { width: 30, colour: false, ascii: false };

    #[test]
    fn columns_fit_the_screen_and_empty_ones_are_left_out() {
        let mut table = Table::new(&["run", "note", "error"]);
        table.row(["video-1".into(), "".into(), "exit 1: \x1b[2Ja very long story indeed".into()]);
        table.row(["x".into(), "".into(), "日本語日本語日本語日本語日本語".into()]);
        let text = table.draw(&LOOK);
        assert!(text.lines().all(|line| line.width() <= 30), "{text}");
        insta::assert_snapshot!(text, @r"
        run      error
        video-1  exit 1:  [2Ja very l…
        x        日本語日本語日本語日…
        ");
    }

    #[test]
    fn long_texts_are_broken_between_words() {
        let text = "exit 1: Connection refused by the server\nand 0123456789012345678901234567890123456789";
        insta::assert_snapshot!(wrap(text, 4, &LOOK, 4), @r"
            exit 1: Connection refused
            by the server
            and
            …
        ");
        assert_eq!(wrap("", 4, &LOOK, 4), "");
    }
}
