//! Lines out of stretches of a log, as bytes. It must not know where the stretches come from, nor what the bytes mean.

use std::fmt;

use super::blocks::Piece;

/// A line longer than this is given out in parts, so that a file without newlines cannot fill the memory.
pub const MAX_LINE: usize = 1 << 20;

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogLine {
    Text {
        /// Where it begins in the file.
        offset: u64,
        /// Without the newline.
        bytes: Vec<u8>,
        /// False: no newline ended it. It is still being written, was cut by a gap, or goes on in the next part.
        complete: bool,
    },
    /// Bytes that were written but not kept.
    Gap { offset: u64, len: u64 },
}

impl LogLine {
    pub fn offset(&self) -> u64 {
        match self {
            Self::Text { offset, .. } | Self::Gap { offset, .. } => *offset,
        }
    }
}

/// How a gap is told: `… 123 bytes not kept …`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GapNote(pub u64);

impl fmt::Display for GapNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "… {} bytes not kept …", self.0)
    }
}

/// Cuts consecutive stretches into lines. Lines that lie within one stretch are handed on without being copied.
#[derive(Debug, Clone, Default)]
pub struct Splitter {
    /// The beginning of a line whose end has not been seen.
    open: Vec<u8>,
    open_at: u64,
}

/// A line as it passes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passing<'a> {
    pub offset: u64,
    pub bytes: &'a [u8],
    pub complete: bool,
}

impl Splitter {
    pub fn push(&mut self, offset: u64, bytes: &[u8], mut each: impl FnMut(Passing<'_>)) {
        let mut rest = bytes;
        let mut at = offset;
        while let Some(newline) = rest.iter().position(|b| *b == b'\n') {
            let (line, after) = (&rest[..newline], &rest[newline + 1..]);
            if self.open.is_empty() {
                each(Passing { offset: at, bytes: line, complete: true });
            } else {
                self.open.extend_from_slice(line);
                each(Passing { offset: self.open_at, bytes: &self.open, complete: true });
                self.open.clear();
            }
            at += newline as u64 + 1;
            rest = after;
        }
        if rest.is_empty() {
            return;
        }
        if self.open.is_empty() {
            self.open_at = at;
        }
        self.open.extend_from_slice(rest);
        if self.open.len() >= MAX_LINE {
            self.finish(each);
        }
    }

    /// Hands on what is left without a newline.
    pub fn finish(&mut self, mut each: impl FnMut(Passing<'_>)) {
        if !self.open.is_empty() {
            each(Passing { offset: self.open_at, bytes: &self.open, complete: false });
            self.open.clear();
        }
    }

    /// How many bytes of a line without an end are held.
    pub fn held(&self) -> usize {
        self.open.len()
    }
}

/// All lines of consecutive pieces.
pub fn split(pieces: impl IntoIterator<Item = Piece>) -> Vec<LogLine> {
    let mut lines = Vec::new();
    let mut splitter = Splitter::default();
    for piece in pieces {
        match piece {
            Piece::Data { offset, bytes } => {
                splitter.push(offset, &bytes, |line| lines.push(line.to_line()));
            }
            Piece::Gap { offset, len } => {
                splitter.finish(|line| lines.push(line.to_line()));
                lines.push(LogLine::Gap { offset, len });
            }
        }
    }
    splitter.finish(|line| lines.push(line.to_line()));
    lines
}

impl Passing<'_> {
    pub fn to_line(self) -> LogLine {
        LogLine::Text { offset: self.offset, bytes: self.bytes.to_vec(), complete: self.complete }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn where_stretches_are_cut_does_not_matter(
            content in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200),
            cuts in proptest::collection::vec(0_usize..200, 0..6),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(content.len())).collect();
            cuts.extend([0, content.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|w| Piece::Data {
                offset: w[0] as u64,
                bytes: content[w[0]..w[1]].to_vec(),
            });
            let lines = split(pieces);

            let mut again = Vec::new();
            for line in &lines {
                prop_assert_eq!(line.offset(), again.len() as u64);
                let LogLine::Text { bytes, complete, .. } = line else { unreachable!() };
                prop_assert!(!bytes.contains(&b'\n'));
                again.extend_from_slice(bytes);
                if *complete {
                    again.push(b'\n');
                }
            }
            prop_assert_eq!(again, content);
        }
    }

    #[test]
    fn a_gap_stands_between_two_cut_lines() {
        let lines = split([
            Piece::Data { offset: 0, bytes: b"a\nb".to_vec() },
            Piece::Gap { offset: 3, len: 7 },
            Piece::Data { offset: 10, bytes: b"c\n".to_vec() },
        ]);
        let text = |offset, bytes: &[u8], complete| LogLine::Text { offset, bytes: bytes.to_vec(), complete };
        assert_eq!(
            lines,
            [
                text(0, b"a", true),
                text(2, b"b", false),
                LogLine::Gap { offset: 3, len: 7 },
                text(10, b"c", true)
            ]
        );
        assert_eq!(GapNote(7).to_string(), "… 7 bytes not kept …");
    }

    #[test]
    fn an_endless_line_comes_in_parts() {
        let mut splitter = Splitter::default();
        let (mut parts, mut bytes) = (0, 0);
        for block in 0..40_u64 {
            splitter.push(block << 16, &vec![b'x'; 1 << 16], |line| {
                parts += 1;
                bytes += line.bytes.len();
                assert!(!line.complete);
            });
            assert!(splitter.held() <= MAX_LINE);
        }
        assert_eq!((parts, bytes), (2, 2 * MAX_LINE));
    }
}
