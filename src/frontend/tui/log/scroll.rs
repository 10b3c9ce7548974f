//! Where the screen stands in the log, and which lines have to be there for it. Rows are laid out for what is on the
//! screen, and for what is scrolled over, never for more.

use super::question::Read;
use super::text::{Laid, lay, lay_all, rows};
use super::window::Window;
use super::{LogPane, Place};
use crate::frontend::tui::event;
use crate::logs::lines::LogLine;
use crate::logs::page::Page;

/// Where the log grew by more than this since it was read, its end is read anew.
const LEAP: u64 = 1 << 20;

/// One row of the screen.
#[derive(Debug)]
pub(super) struct Row {
    /// Which line of the window.
    pub(super) line: usize,
    /// `None`: a gap.
    pub(super) laid: Option<std::rc::Rc<Laid>>,
    pub(super) glyphs: std::ops::Range<usize>,
    /// The first one of its line.
    pub(super) first: bool,
}

impl LogPane {
    /// The first line of the pane is its title, the last one what is being typed or was just done.
    pub(super) fn body_height(&self) -> usize {
        usize::from(self.height).saturating_sub(1 + usize::from(self.has_foot()))
    }

    pub(super) fn has_foot(&self) -> bool {
        let under_way = self.finding.is_some() || self.filtering.is_some();
        self.typing.is_some() || self.note.is_some() || under_way || self.wants_opening()
    }

    pub(super) fn body_width(&self) -> usize {
        usize::from(self.width).max(1)
    }

    fn rows_of(&self, line: &LogLine) -> usize {
        match line {
            LogLine::Text { bytes, .. } if self.wrap => rows(&self.lay(bytes), self.body_width()).len(),
            LogLine::Text { .. } | LogLine::Gap { .. } => 1,
        }
    }

    fn lay(&self, bytes: &[u8]) -> Laid {
        let columns = if self.wrap { usize::MAX } else { self.shift + self.body_width() };
        let mut laid = if self.is_content() { lay_all(bytes, columns) } else { lay(bytes, columns) };
        if !self.times {
            let stamp = laid.stamp();
            laid.glyphs.drain(..stamp);
        }
        laid
    }

    /// The row at the top of the screen, as line and row within it.
    pub(super) fn top(&self, window: &Window) -> (usize, usize) {
        match self.place {
            Place::End => self.top_of_end(window),
            Place::Top { offset, row } => {
                let index = window.index_of(offset);
                let rows = window.lines.get(index).map_or(1, |line| self.rows_of(line));
                (index, row.min(rows.saturating_sub(1)))
            }
        }
    }

    /// The lowest place at which the screen is full.
    fn top_of_end(&self, window: &Window) -> (usize, usize) {
        let mut missing = self.body_height().max(1);
        for (index, line) in window.lines.iter().enumerate().rev() {
            let rows = self.rows_of(line);
            if rows >= missing {
                return (index, rows - missing);
            }
            missing -= rows;
        }
        (0, 0)
    }

    /// What is on the screen.
    pub(super) fn visible(&self) -> Vec<Row> {
        let Some(window) = &self.window else { return Vec::new() };
        let (first, mut skip) = self.top(window);
        let mut screen = Vec::new();
        for (index, line) in window.lines.iter().enumerate().skip(first) {
            if screen.len() >= self.body_height() {
                break;
            }
            match line {
                LogLine::Gap { .. } => {
                    screen.push(Row { line: index, laid: None, glyphs: 0..0, first: true });
                }
                LogLine::Text { bytes, .. } => {
                    let laid = std::rc::Rc::new(self.lay(bytes));
                    let width = if self.wrap { self.body_width() } else { usize::MAX };
                    let rows = rows(&laid, width);
                    for (number, glyphs) in rows.into_iter().enumerate().skip(std::mem::take(&mut skip)) {
                        let laid = Some(std::rc::Rc::clone(&laid));
                        screen.push(Row { line: index, laid, glyphs, first: number == 0 });
                    }
                }
            }
        }
        screen.truncate(self.body_height());
        screen
    }

    /// So many rows down, or up.
    pub(super) fn scroll(&mut self, delta: isize) -> Vec<event::Cmd> {
        let Some(window) = &self.window else { return Vec::new() };
        if window.lines.is_empty() {
            return self.ask();
        }
        let (mut index, mut row) = self.top(window);
        let mut left = delta;
        while left < 0 {
            let step = row.min(left.unsigned_abs());
            row -= step;
            left += step.cast_signed();
            if left < 0 {
                if index == 0 {
                    break;
                }
                index -= 1;
                row = window.lines.get(index).map_or(1, |line| self.rows_of(line));
            }
        }
        while left > 0 {
            let rows = window.lines.get(index).map_or(1, |line| self.rows_of(line));
            let step = (rows - 1 - row).min(left.unsigned_abs());
            row += step;
            left -= step.cast_signed();
            if left > 0 {
                if index + 1 >= window.lines.len() {
                    break;
                }
                index += 1;
                row = 0;
                left -= 1;
            }
        }
        let at_end = window.reached() >= self.len;
        let offset = window.lines.get(index).map_or(0, LogLine::offset);
        let end = self.top_of_end(window);
        let more_above = window.start() > 0;
        self.place =
            if delta > 0 && at_end && (index, row) >= end { Place::End } else { Place::Top { offset, row } };
        let waits = (left < 0 && more_above) || (left > 0 && !at_end);
        self.owed = if waits { left } else { 0 };
        self.ask()
    }

    /// Asks for what is missing on the screen and around it.
    pub(super) fn ask(&mut self) -> Vec<event::Cmd> {
        let Some(window) = self.window.as_ref().filter(|_| self.asked.is_none()) else { return Vec::new() };
        if self.place == Place::End && self.len.saturating_sub(window.reached()) > LEAP {
            return self.jump(Place::End);
        }
        let height = self.body_height();
        // A filter may have to look at everything to find one more line: only what is on the screen is worth that.
        let margin = if self.filter.is_some() { 0 } else { height };
        let (index, _) = self.top(window);
        let below = window.lines.len() - index.min(window.lines.len());
        let wants_below = self.owed > 0 || self.place == Place::End || below < height + margin;
        if wants_below && window.reached() < self.len {
            let next = window.next();
            return self.read(Read::After(next));
        }
        let wants_above = match self.place {
            Place::End if self.filter.is_some() => window.lines.len() < height,
            Place::End | Place::Top { .. } => index < margin,
        };
        if (wants_above || self.owed < 0) && window.start() > 0 {
            let start = window.start();
            return self.read(Read::Before(start));
        }
        Vec::new()
    }

    /// Lines have come.
    pub(super) fn take(&mut self, read: Read, page: Page, reached: u64) -> Vec<event::Cmd> {
        match (read, self.window.take()) {
            (Read::After(_), Some(mut window)) => {
                // At the end everything above the screen may go, but for a page to scroll back to.
                let keep = match self.place {
                    Place::Top { offset, .. } => offset,
                    Place::End => {
                        let lines = window.lines.len();
                        window
                            .lines
                            .get(lines.saturating_sub(2 * self.body_height()))
                            .map_or(0, LogLine::offset)
                    }
                };
                window.append(page, reached, keep);
                self.window = Some(window);
            }
            (Read::Before(_), Some(mut window)) => {
                let keep = match self.place {
                    Place::Top { offset, .. } => {
                        let below = window.index_of(offset) + 2 * self.body_height();
                        window.lines.get(below).or(window.lines.back()).map_or(offset, LogLine::offset)
                    }
                    Place::End => u64::MAX,
                };
                window.prepend(page, keep);
                self.window = Some(window);
            }
            (Read::End | Read::At(_) | Read::After(_) | Read::Before(_), _) => {
                self.window = Some(Window::of(page, reached));
            }
        }
        let owed = std::mem::take(&mut self.owed);
        if owed != 0 { self.scroll(owed) } else { self.ask() }
    }

    /// Brings the line on the screen, with something around it.
    pub(super) fn found(&mut self, offset: u64) -> Vec<event::Cmd> {
        self.current = Some(offset);
        let on_screen = self.window.as_ref().is_some_and(|window| {
            self.visible().iter().any(|row| {
                row.first && window.lines.get(row.line).is_some_and(|line| line.offset() == offset)
            })
        });
        if on_screen {
            return Vec::new();
        }
        let above = -(self.body_height() / 3).cast_signed();
        if self.window.as_ref().is_some_and(|window| window.holds(offset)) {
            self.place = Place::Top { offset, row: 0 };
            return self.scroll(above);
        }
        let asked = self.jump(Place::Top { offset, row: 0 });
        self.owed = above;
        asked
    }
}
