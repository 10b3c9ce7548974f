//! The lines that are in memory: the screen, and a little around it. Consecutive, in the order of the file. It must not
//! know where the screen stands.

use std::collections::VecDeque;
use std::ops::Range;

use crate::logs::lines::LogLine;
use crate::logs::page::{Page, end_of};

/// More lines, or bytes, are not held.
const MOST_LINES: usize = 2000;
const MOST_BYTES: usize = 2 << 20;

#[derive(Debug, Clone, Default)]
pub(crate) struct Window {
    pub(crate) lines: VecDeque<LogLine>,
    /// What they cover; with a filter there is more between them.
    range: Range<u64>,
    /// How far downwards was looked.
    reached: u64,
    bytes: usize,
}

impl Window {
    pub(crate) fn of(page: Page, reached: u64) -> Self {
        let bytes = page.lines.iter().map(size).sum();
        Self { lines: page.lines.into(), range: page.range, reached, bytes }
    }

    pub(crate) fn start(&self) -> u64 {
        self.range.start
    }

    pub(crate) fn reached(&self) -> u64 {
        self.reached
    }

    /// Where to read on: a last line without an end is read anew.
    pub(crate) fn next(&self) -> u64 {
        match self.lines.back() {
            Some(line @ LogLine::Text { offset, complete: false, .. }) if end_of(line) == self.range.end => {
                *offset
            }
            Some(_) | None => self.range.end,
        }
    }

    /// What comes after [`Window::next`]. The beginning gives way, but for the line at `keep` and what follows it.
    pub(crate) fn append(&mut self, page: Page, reached: u64, keep: u64) {
        while self.lines.back().is_some_and(|line| line.offset() >= page.range.start) {
            self.bytes -= self.lines.pop_back().map_or(0, |line| size(&line));
        }
        self.bytes += page.lines.iter().map(size).sum::<usize>();
        self.lines.extend(page.lines);
        self.range.end = page.range.end;
        self.reached = reached;
        while self.is_full() && self.lines.get(1).is_some_and(|second| second.offset() <= keep) {
            self.bytes -= self.lines.pop_front().map_or(0, |line| size(&line));
            self.range.start = self.lines.front().map_or(self.range.end, LogLine::offset);
        }
    }

    /// What comes before the first line. The end gives way, but for the line at `keep` and what is before it.
    pub(crate) fn prepend(&mut self, page: Page, keep: u64) {
        self.bytes += page.lines.iter().map(size).sum::<usize>();
        for line in page.lines.into_iter().rev() {
            self.lines.push_front(line);
        }
        self.range.start = page.range.start;
        while self.is_full() && self.lines.back().is_some_and(|last| last.offset() > keep) {
            if let Some(line) = self.lines.pop_back() {
                self.bytes -= size(&line);
                self.range.end = line.offset();
                self.reached = line.offset();
            }
        }
    }

    /// The line that holds this byte, or the first one after it.
    pub(crate) fn index_of(&self, offset: u64) -> usize {
        let after = self.lines.partition_point(|line| line.offset() <= offset);
        let before = after.saturating_sub(1);
        let holds = self
            .lines
            .get(before)
            .is_some_and(|line| line.offset() == offset || (line.offset() < offset && offset < end_of(line)));
        if holds { before } else { after.min(self.lines.len().saturating_sub(1)) }
    }

    /// The line at this very place is here.
    pub(crate) fn holds(&self, offset: u64) -> bool {
        self.lines.get(self.index_of(offset)).is_some_and(|line| line.offset() == offset)
    }

    fn is_full(&self) -> bool {
        self.lines.len() > MOST_LINES || self.bytes > MOST_BYTES
    }
}

fn size(line: &LogLine) -> usize {
    match line {
        LogLine::Text { bytes, .. } => bytes.len() + size_of::<LogLine>(),
        LogLine::Gap { .. } => size_of::<LogLine>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(range: Range<u64>) -> Page {
        let lines = range
            .clone()
            .step_by(10)
            .map(|offset| LogLine::Text { offset, bytes: b"123456789".to_vec(), complete: true })
            .collect();
        Page { lines, range }
    }

    #[test]
    fn it_stays_bounded_around_what_is_kept() {
        let mut window = Window::of(page(100_000..110_000), 110_000);
        for _ in 0..5 {
            let (start, keep) = (window.start(), window.lines[100].offset());
            window.prepend(page(start - 10_000..start), keep);
            assert!(window.holds(keep) && window.lines.len() <= MOST_LINES + 1000);
        }
        assert_eq!(window.start(), 50_000);
        assert!(window.next() < 110_000);
        for _ in 0..5 {
            let next = window.next();
            window.append(page(next..next + 10_000), next + 10_000, next);
            assert!(window.holds(next) && window.lines.len() <= MOST_LINES + 1000);
        }
        assert!(window.start() > 50_000);
        let offsets: Vec<_> = window.lines.iter().map(LogLine::offset).collect();
        assert!(offsets.windows(2).all(|pair| pair[0] + 10 == pair[1]));
    }

    #[test]
    fn a_line_without_an_end_is_read_anew() {
        let open = |bytes: &[u8]| LogLine::Text { offset: 10, bytes: bytes.to_vec(), complete: false };
        let mut window = Window::of(page(0..10), 10);
        window.append(Page { lines: vec![open(b"ab")], range: 10..12 }, 12, 0);
        assert_eq!((window.next(), window.reached()), (10, 12));
        window.append(Page { lines: vec![open(b"abcd")], range: 10..14 }, 14, 0);
        assert_eq!(window.lines.len(), 2);
        assert_eq!(window.lines[1], open(b"abcd"));
        assert_eq!(window.index_of(12), 1);
        assert_eq!(window.index_of(3), 0);
        assert_eq!(window.index_of(99), 1);
    }
}
