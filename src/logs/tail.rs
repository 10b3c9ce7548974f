//! The last lines of a log of any size, and what comes after them. It must not know who wakes it: the caller watches
//! the file and asks for what is new.

use std::fs::File;
use std::io;

use super::blocks::{Backward, Forward, Piece, read_at};
use super::lines::{LogLine, split};

/// The end of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// In the order of the file.
    pub lines: Vec<LogLine>,
    /// Where it ended when it was read: [`Follow`] goes on from here.
    pub end: u64,
    /// The first line lacks its beginning, because the bytes asked for were used up.
    pub cut: bool,
}

/// The last `lines` lines, without reading more than `max_bytes` (to the next block). A gap counts as a line.
pub fn tail(file: &File, lines: usize, max_bytes: u64) -> io::Result<Tail> {
    let end = file.metadata()?.len();
    let mut cursor = Backward::new(end);
    let mut pieces = Vec::new();
    let mut missing = lines;
    let mut cut = false;
    let mut read = 0;
    // What ends here is the line before, so a newline at this place begins no line of its own.
    let mut line_ends_here = true;
    while missing > 0 {
        if read >= max_bytes {
            cut = !line_ends_here;
            break;
        }
        let Some(piece) = cursor.next(file)? else { break };
        match piece {
            Piece::Gap { .. } => {
                if !line_ends_here {
                    // The gap ends the line before it and begins the one after it.
                    missing -= 1;
                }
                if missing > 0 {
                    missing -= 1;
                    pieces.push(piece);
                }
                line_ends_here = true;
            }
            Piece::Data { offset, mut bytes } => {
                read += bytes.len() as u64;
                let mut start = 0;
                for (at, _) in bytes.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
                    let ends_last = line_ends_here && at + 1 == bytes.len();
                    if !ends_last {
                        missing -= 1;
                    }
                    if missing == 0 {
                        start = at + 1;
                        break;
                    }
                }
                line_ends_here &= bytes.is_empty();
                bytes.drain(..start);
                pieces.push(Piece::Data { offset: offset + start as u64, bytes });
            }
        }
    }
    pieces.reverse();
    Ok(Tail { lines: split(pieces), end, cut })
}

/// The last `max` bytes, or all of a shorter file.
pub fn last_bytes(file: &File, max: u64) -> io::Result<Vec<u8>> {
    let end = file.metadata()?.len();
    let from = end.saturating_sub(max);
    read_at(file, from, end - from)
}

/// Reads on where it last stopped.
#[derive(Debug)]
pub struct Follow {
    file: File,
    at: u64,
}

/// What has come since the last look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    Piece(Piece),
    /// Somebody truncated the file; reading starts again at its beginning.
    Shrunk {
        from: u64,
        to: u64,
    },
}

/// How much one look gives out, so that a fast writer cannot keep the reader in it for ever.
const ONE_LOOK: u64 = 1 << 20;

impl Follow {
    pub fn new(file: File, from: u64) -> Self {
        Self { file, at: from }
    }

    pub fn at(&self) -> u64 {
        self.at
    }

    /// What is new, at most a mebibyte of it; empty where nothing is. Call it until it is empty.
    pub fn read_new(&mut self) -> io::Result<Vec<News>> {
        let len = self.file.metadata()?.len();
        let mut news = Vec::new();
        if len < self.at {
            news.push(News::Shrunk { from: self.at, to: len });
            self.at = 0;
        }
        let mut cursor = Forward::new(self.at..len);
        let start = self.at;
        while cursor.at() - start < ONE_LOOK {
            let Some(piece) = cursor.next(&self.file)? else { break };
            news.push(News::Piece(piece));
            self.at = cursor.at();
        }
        Ok(news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::blocks::tests::patchwork;
    use proptest::prelude::*;
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    const PLENTY: u64 = 1 << 30;

    fn file_of(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    fn texts(tail: &Tail) -> Vec<String> {
        tail.lines
            .iter()
            .map(|line| match line {
                LogLine::Text { bytes, .. } => String::from_utf8_lossy(bytes).into_owned(),
                LogLine::Gap { len, .. } => format!("gap {len}"),
            })
            .collect()
    }

    #[test]
    fn ends_with_and_without_a_newline() {
        for (content, lines, expected) in [
            (&b""[..], 3, &[][..]),
            (b"\n", 3, &[""]),
            (b"a", 3, &["a"]),
            (b"a\nb\nc\n", 2, &["b", "c"]),
            (b"a\nb\nc", 2, &["b", "c"]),
            (b"a\n\n\n", 2, &["", ""]),
            (b"a\nb", 0, &[]),
            (b"\xff\xfe\nz\xf0", 2, &["\u{fffd}\u{fffd}", "z\u{fffd}"]),
        ] {
            assert_eq!(texts(&tail(&file_of(content), lines, PLENTY).unwrap()), expected, "{content:?}");
        }
        let open = tail(&file_of(b"a\nb"), 1, PLENTY).unwrap();
        assert_eq!(open.lines, [LogLine::Text { offset: 2, bytes: b"b".to_vec(), complete: false }]);
    }

    #[test]
    fn a_line_without_end_is_cut_at_the_bytes_asked_for() {
        let file = file_of(&vec![b'x'; 1 << 20]);
        let end = tail(&file, 10, 100_000).unwrap();
        assert!(end.cut);
        assert_eq!(texts(&end).concat().len(), 131_072);
    }

    #[test]
    fn a_gap_is_one_line() {
        let (file, holes) = patchwork(&[(false, 1), (true, 300), (false, 1)]);
        if !holes {
            return;
        }
        file.write_all_at(b"new", 302 * 4096).unwrap();
        let seen = |lines| texts(&tail(&file, lines, PLENTY).unwrap());
        assert_eq!(seen(2), ["000000000000002", "new"]);
        assert_eq!(seen(257).len(), 257);
        assert_eq!(seen(257)[0], "000000000000002");
        assert_eq!(seen(258)[..2], ["gap 1228800", "000000000000002"]);
        assert_eq!(seen(259)[..2], ["000000000000000", "gap 1228800"]);
        assert_eq!(seen(10_000).len(), 514);
    }

    proptest! {
        #[test]
        fn the_same_as_reading_everything(
            content in proptest::collection::vec(prop_oneof![3 => Just(b'x'), 1 => Just(b'\n')], 0..300),
            // Blocks are 64 KiB: lines must also be found where they cross the border of one.
            fill in 65_400_usize..65_600,
            lines in 0_usize..40,
        ) {
            let mut whole = content.clone();
            whole.extend(std::iter::repeat_n(b'y', fill));
            whole.push(b'\n');
            whole.extend_from_slice(&content);
            let expected = split([Piece::Data { offset: 0, bytes: whole.clone() }]);
            let seen = tail(&file_of(&whole), lines, PLENTY).unwrap();
            prop_assert_eq!(&seen.lines[..], &expected[expected.len().saturating_sub(lines)..]);
            prop_assert!(!seen.cut);
            prop_assert_eq!(seen.end, whole.len() as u64);
        }
    }

    #[test]
    fn following_sees_what_is_added_and_says_when_the_file_shrank() {
        let mut file = file_of(b"old\n");
        let mut follow = Follow::new(file.try_clone().unwrap(), 4);
        let data = |offset, bytes: &[u8]| News::Piece(Piece::Data { offset, bytes: bytes.to_vec() });
        assert_eq!(follow.read_new().unwrap(), []);
        file.write_all(b"new").unwrap();
        assert_eq!(follow.read_new().unwrap(), [data(4, b"new")]);
        file.set_len(0).unwrap();
        file.write_all_at(b"2", 0).unwrap();
        assert_eq!(follow.read_new().unwrap(), [News::Shrunk { from: 7, to: 1 }, data(0, b"2")]);
        assert_eq!(follow.read_new().unwrap(), []);
        assert_eq!(follow.at(), 1);
    }

    #[test]
    fn a_large_addition_comes_in_looks_and_whole() {
        let content = vec![b'x'; 3_000_000];
        let mut follow = Follow::new(file_of(&content), 0);
        let mut total = 0;
        loop {
            let news = follow.read_new().unwrap();
            if news.is_empty() {
                break;
            }
            for piece in news {
                let News::Piece(Piece::Data { bytes, .. }) = piece else { unreachable!() };
                total += bytes.len();
            }
        }
        assert_eq!(total, content.len());
    }
}
