//! Where lines begin in a log of any size: every thousandth place is kept, so that any line is reached by reading a
//! little, and the index of a large file is built while its end is shown already. It must not know what lines hold.

use std::fs::File;
use std::io;

use super::blocks::{Forward, Piece};
use super::lines::{LogLine, MAX_LINE, Splitter};

/// One place is kept for so many lines.
pub const EVERY: u64 = 1000;

/// A sparse index, as far as it was built. Lines count from 0, and a gap counts as a line. Numbers are those of the time
/// when a place was read: a hole that is punched later takes lines away without renumbering the ones after it.
#[derive(Debug, Clone, Default)]
pub struct LineIndex {
    /// Where the lines 0, 1000, 2000, … begin.
    places: Vec<u64>,
    /// Lines that have been begun.
    lines: u64,
    scanned: u64,
    at_end: AtEnd,
}

/// What the scanned part ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum AtEnd {
    /// A newline, or nothing.
    #[default]
    Newline,
    Line,
    /// A hole, which may go on.
    Gap,
}

/// Whether there is more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    More,
    UpToDate,
    /// The file has become shorter: the index begins anew.
    Shrunk,
}

impl LineIndex {
    /// Reads on for about `budget` bytes.
    pub fn advance(&mut self, file: &File, budget: u64) -> io::Result<Progress> {
        let end = file.metadata()?.len();
        if end < self.scanned {
            *self = Self::default();
            return Ok(Progress::Shrunk);
        }
        let mut cursor = Forward::new(self.scanned..end);
        let mut read = 0;
        while read < budget {
            match cursor.next(file)? {
                Some(Piece::Data { offset, bytes }) => {
                    read += bytes.len() as u64;
                    self.scan(offset, &bytes);
                }
                Some(Piece::Gap { offset, .. }) => {
                    if self.at_end != AtEnd::Gap {
                        self.begin(offset);
                    }
                    self.at_end = AtEnd::Gap;
                }
                None => break,
            }
            self.scanned = cursor.at();
        }
        Ok(if self.scanned < end { Progress::More } else { Progress::UpToDate })
    }

    /// How many lines there are, as far as was read.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Up to which byte the file was read.
    pub fn scanned(&self) -> u64 {
        self.scanned
    }

    /// `count` lines from the line `first` on; fewer at the end of what was read.
    pub fn read(&self, file: &File, first: u64, count: usize) -> io::Result<Vec<LogLine>> {
        let mut taken = Vec::new();
        let slot = usize::try_from(first / EVERY).unwrap_or(usize::MAX);
        let Some(place) = self.places.get(slot) else { return Ok(taken) };
        let mut skip = first % EVERY;
        let mut take = |line: LogLine| {
            if skip > 0 {
                skip -= u64::from(!goes_on(&line));
            } else {
                taken.push(line);
            }
            taken.len()
        };
        let mut cursor = Forward::new(*place..self.scanned);
        let mut splitter = Splitter::default();
        let mut have = 0;
        while have < count {
            match cursor.next(file)? {
                Some(Piece::Data { offset, bytes }) => {
                    splitter.push(offset, &bytes, |line| have = take(line.to_line()));
                }
                Some(Piece::Gap { offset, len }) => {
                    splitter.finish(|line| have = take(line.to_line()));
                    have = take(LogLine::Gap { offset, len });
                }
                None => {
                    splitter.finish(|line| have = take(line.to_line()));
                    break;
                }
            }
        }
        taken.truncate(count);
        Ok(taken)
    }

    /// The number of the line that holds the byte at `offset`; `None` where that was not read yet.
    pub fn number_at(&self, file: &File, offset: u64) -> io::Result<Option<u64>> {
        if offset >= self.scanned {
            return Ok(None);
        }
        let slot = self.places.partition_point(|place| *place <= offset).saturating_sub(1);
        let Some(place) = self.places.get(slot) else { return Ok(None) };
        let mut near = Self { lines: slot as u64 * EVERY, scanned: *place, ..Self::default() };
        let mut cursor = Forward::new(*place..offset + 1);
        while let Some(piece) = cursor.next(file)? {
            match piece {
                Piece::Data { offset, bytes } => near.scan(offset, &bytes),
                Piece::Gap { offset, .. } => {
                    near.begin(offset);
                    near.at_end = AtEnd::Gap;
                }
            }
        }
        Ok(near.lines.checked_sub(1))
    }

    fn scan(&mut self, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.at_end != AtEnd::Line {
            self.begin(offset);
        }
        // A newline at the very end begins its line only when something follows.
        let (body, last) = (&bytes[..bytes.len() - 1], bytes[bytes.len() - 1]);
        let newlines: u64 = body.iter().map(|byte| u64::from(*byte == b'\n')).sum();
        let ahead = self.lines % EVERY;
        if ahead != 0 && ahead + newlines <= EVERY {
            self.lines += newlines;
        } else {
            for (at, _) in body.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
                self.begin(offset + at as u64 + 1);
            }
        }
        self.at_end = if last == b'\n' { AtEnd::Newline } else { AtEnd::Line };
    }

    fn begin(&mut self, offset: u64) {
        if self.lines.is_multiple_of(EVERY) {
            self.places.push(offset);
        }
        self.lines += 1;
    }
}

/// A part of a line that is longer than what is given out at once; the next part belongs to the same line.
fn goes_on(line: &LogLine) -> bool {
    matches!(line, LogLine::Text { bytes, complete: false, .. } if bytes.len() >= MAX_LINE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::blocks::read_at;
    use crate::logs::blocks::tests::patchwork;
    use crate::logs::lines::split;
    use proptest::prelude::*;
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    fn build(file: &File, budget: u64) -> LineIndex {
        let mut index = LineIndex::default();
        while index.advance(file, budget).unwrap() == Progress::More {}
        index
    }

    #[test]
    fn any_line_is_reached() {
        let mut file = tempfile::tempfile().unwrap();
        let content: String =
            (0..25_000).flat_map(|number| ["line ".into(), number.to_string(), "\n".into()]).collect();
        file.write_all(content.as_bytes()).unwrap();
        let index = build(&file, 1);
        assert_eq!((index.lines(), index.places.len()), (25_000, 25));
        for first in [0, 1, 999, 1000, 1001, 12_345, 24_999] {
            let lines = index.read(&file, first, 2).unwrap();
            let LogLine::Text { offset, bytes, .. } = &lines[0] else { unreachable!() };
            assert_eq!(bytes, format!("line {first}").as_bytes());
            assert_eq!(index.number_at(&file, *offset).unwrap(), Some(first));
            assert_eq!(index.number_at(&file, *offset + 5).unwrap(), Some(first));
            assert_eq!(lines.len(), if first == 24_999 { 1 } else { 2 });
        }
        assert_eq!(index.read(&file, 25_000, 5).unwrap(), []);
        assert_eq!(index.number_at(&file, content.len() as u64).unwrap(), None);
    }

    #[test]
    fn it_grows_with_the_file_and_begins_anew_when_that_shrinks() {
        let mut file = tempfile::tempfile().unwrap();
        let mut index = build(&file, 1 << 20);
        for (part, lines) in [("a", 1), ("b\n", 1), ("\n", 2), ("c", 3), ("\nd\n", 4)] {
            file.write_all(part.as_bytes()).unwrap();
            assert_eq!(index.advance(&file, 1 << 20).unwrap(), Progress::UpToDate);
            assert_eq!(index.lines(), lines, "after {part:?}");
        }
        file.set_len(1).unwrap();
        assert_eq!(index.advance(&file, 1 << 20).unwrap(), Progress::Shrunk);
        assert_eq!(index.advance(&file, 1 << 20).unwrap(), Progress::UpToDate);
        assert_eq!(index.lines(), 1);
    }

    #[test]
    fn an_endless_line_is_one_line() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&vec![b'x'; 3 * MAX_LINE + 5], 0).unwrap();
        file.write_all_at(b"\nlast\n", 3 * MAX_LINE as u64 + 5).unwrap();
        let index = build(&file, 1 << 20);
        assert_eq!(index.lines(), 2);
        let last = index.read(&file, 1, 9).unwrap();
        assert!(matches!(&last[..], [LogLine::Text { bytes, .. }] if bytes == b"last"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn the_same_numbers_as_reading_everything(
            runs in proptest::collection::vec((any::<bool>(), 1_u64..30), 1..6), budget in 1_u64..200_000,
        ) {
            let (file, _) = patchwork(&runs);
            let end = file.metadata().unwrap().len();
            let mut cursor = Forward::new(0..end);
            let lines = split(std::iter::from_fn(|| cursor.next(&file).unwrap()));
            let index = build(&file, budget);
            prop_assert_eq!(index.lines(), lines.len() as u64);
            prop_assert_eq!(read_at(&file, 0, end).unwrap().len() as u64, index.scanned());
            for (number, line) in lines.iter().enumerate().step_by(37) {
                let number = number as u64;
                prop_assert_eq!(&index.read(&file, number, 1).unwrap()[..], std::slice::from_ref(line));
                prop_assert_eq!(index.number_at(&file, line.offset()).unwrap(), Some(number));
            }
        }
    }
}
