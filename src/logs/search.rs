//! A search through a log of any size, forwards or backwards, step by step: a step reads one block, so that whoever
//! searches can show what was found so far, or stop. It must not know who asks.

use std::fs::File;
use std::io;
use std::ops::Range;

use regex::bytes::Regex;

use super::blocks::{Backward, Forward, Piece};
use super::lines::{MAX_LINE, Passing, Splitter};
use super::sanitize::{Keep, sanitize};

/// A line that matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Where the line begins.
    pub offset: u64,
    /// Where the next line begins, or the end of what was read.
    pub end: u64,
    pub line: Vec<u8>,
    /// The first hit within the line as it is shown, without its colours.
    pub hit: Range<usize>,
}

/// What one step brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// In the order of the search.
    Found(Vec<Match>),
    Done,
}

/// A pattern for a text as a person types it, capitals or not.
pub fn literal(text: &str) -> Result<Regex, regex::Error> {
    Regex::new(&format!("(?i){}", regex::escape(text)))
}

/// One search on its way.
#[derive(Debug)]
pub struct Search {
    file: File,
    pattern: Regex,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Forward {
        cursor: Forward,
        splitter: Splitter,
    },
    Backward {
        cursor: Backward,
        /// What was read already of a line whose beginning has not been.
        open: Vec<u8>,
        open_at: u64,
    },
    Over {
        at: u64,
    },
}

impl Search {
    /// The lines from `offset` on, which is the beginning of a line, up to the present end.
    pub fn forward(file: File, pattern: Regex, offset: u64) -> io::Result<Self> {
        let end = file.metadata()?.len();
        let cursor = Forward::new(offset..end);
        Ok(Self { file, pattern, way: Way::Forward { cursor, splitter: Splitter::default() } })
    }

    /// The lines before `offset`, the nearest first.
    pub fn backward(file: File, pattern: Regex, offset: u64) -> io::Result<Self> {
        let from = offset.min(file.metadata()?.len());
        let cursor = Backward::new(from);
        Ok(Self { file, pattern, way: Way::Backward { cursor, open: Vec::new(), open_at: from } })
    }

    /// How far it has come: the beginning of a line, or the end of the file; all lines on the way were looked at.
    pub fn at(&self) -> u64 {
        match &self.way {
            Way::Forward { cursor, splitter } => cursor.at() - splitter.held() as u64,
            Way::Backward { open, open_at, .. } => open_at + open.len() as u64,
            Way::Over { at } => *at,
        }
    }

    pub fn step(&mut self) -> io::Result<Step> {
        let mut found = Vec::new();
        let pattern = &self.pattern;
        match &mut self.way {
            Way::Over { .. } => return Ok(Step::Done),
            Way::Forward { cursor, splitter } => match cursor.next(&self.file)? {
                Some(Piece::Data { offset, bytes }) => {
                    splitter.push(offset, &bytes, |line| look(pattern, line, &mut found));
                }
                Some(Piece::Gap { .. }) => {
                    splitter.finish(|line| look(pattern, line, &mut found));
                }
                None => {
                    splitter.finish(|line| look(pattern, line, &mut found));
                    self.way = Way::Over { at: cursor.at() };
                }
            },
            Way::Backward { cursor, open, open_at } => {
                match cursor.next(&self.file)? {
                    Some(Piece::Data { offset, mut bytes }) => {
                        // The first line may begin in an earlier block.
                        let whole_from = bytes.iter().position(|b| *b == b'\n').map(|at| at + 1);
                        bytes.append(open);
                        *open_at = offset;
                        if let Some(whole_from) = whole_from {
                            look_at_all(
                                pattern,
                                offset + whole_from as u64,
                                &bytes[whole_from..],
                                &mut found,
                            );
                            bytes.truncate(whole_from);
                        }
                        if bytes.len() >= MAX_LINE {
                            look_at_all(pattern, offset, &bytes, &mut found);
                            bytes.clear();
                        }
                        *open = bytes;
                    }
                    Some(Piece::Gap { offset, .. }) => {
                        look_at_all(pattern, *open_at, open, &mut found);
                        open.clear();
                        *open_at = offset;
                    }
                    None => {
                        look_at_all(pattern, *open_at, open, &mut found);
                        self.way = Way::Over { at: 0 };
                    }
                }
                found.reverse();
            }
        }
        Ok(Step::Found(found))
    }
}

fn look_at_all(pattern: &Regex, offset: u64, bytes: &[u8], found: &mut Vec<Match>) {
    let mut splitter = Splitter::default();
    splitter.push(offset, bytes, |line| look(pattern, line, found));
    splitter.finish(|line| look(pattern, line, found));
}

/// A line is searched as it is shown: colours in the middle of a word do not hide it.
fn look(pattern: &Regex, passing: Passing<'_>, found: &mut Vec<Match>) {
    let line = passing.bytes;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let shown;
    let mut text = line;
    if line.contains(&0x1b) {
        shown = sanitize(line, Keep::Nothing);
        text = shown.as_bytes();
    }
    if let Some(hit) = pattern.find(text) {
        let end = passing.offset + passing.bytes.len() as u64 + u64::from(passing.complete);
        found.push(Match { offset: passing.offset, end, line: line.to_vec(), hit: hit.range() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::blocks::tests::patchwork;
    use proptest::prelude::*;
    use std::io::Write;

    fn all(mut search: Search) -> Vec<Match> {
        let mut all = Vec::new();
        while let Step::Found(found) = search.step().unwrap() {
            all.extend(found);
        }
        assert_eq!(search.step().unwrap(), Step::Done);
        all
    }

    fn file_of(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn colours_do_not_hide_a_word() {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, b"plain\na \x1b[31mred\x1b[0m word\n\x1b]0;red word\x07none\n")
            .unwrap();
        let mut search = Search::forward(file, literal("red word").unwrap(), 0).unwrap();
        let Step::Found(found) = search.step().unwrap() else { unreachable!() };
        assert_eq!(found.iter().map(|m| (m.offset, m.hit.clone())).collect::<Vec<_>>(), [(6, 2..10)]);
    }

    #[test]
    fn lines_are_found_with_their_places() {
        let file = || file_of(b"one\nTwo two\r\nthree\n\xfftwo");
        let two = literal("two").unwrap();
        let hit = |offset, end, line: &[u8], hit| Match { offset, end, line: line.to_vec(), hit };
        let (second, fourth) = (hit(4, 13, b"Two two", 0..3), hit(19, 23, b"\xfftwo", 1..4));
        assert_eq!(all(Search::forward(file(), two.clone(), 0).unwrap()), [second.clone(), fourth.clone()]);
        assert_eq!(all(Search::forward(file(), two.clone(), 13).unwrap()), vec![fourth.clone()]);
        assert_eq!(all(Search::backward(file(), two.clone(), 999).unwrap()), [fourth, second.clone()]);
        assert_eq!(all(Search::backward(file(), two, 13).unwrap()), [second]);
        let anchored = Regex::new("^t.*e$").unwrap();
        assert_eq!(all(Search::forward(file(), anchored, 0).unwrap()), [hit(13, 19, b"three", 0..5)]);
    }

    #[test]
    fn gaps_are_skipped_and_end_lines() {
        let (file, holes) = patchwork(&[(false, 40), (true, 4000), (false, 40)]);
        if !holes {
            return;
        }
        let pattern = Regex::new("^0+2$").unwrap();
        let found = all(Search::backward(file.try_clone().unwrap(), pattern.clone(), u64::MAX).unwrap());
        assert_eq!(found.len(), 40 * 256);
        assert_eq!(found[0].offset, 4080 * 4096 - 16);
        let again = all(Search::forward(file, pattern, 0).unwrap());
        assert!(again.iter().eq(found.iter().rev()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn both_ways_find_the_same(
            lengths in proptest::collection::vec(0_usize..30_000, 0..20), newline in any::<bool>(),
        ) {
            let mut content = Vec::new();
            for (index, length) in lengths.iter().enumerate() {
                content.extend(std::iter::repeat_n(b'.', *length));
                content.extend_from_slice(format!("#{index}\n").as_bytes());
            }
            if !newline {
                content.pop();
            }
            let pattern = Regex::new("#[0-9]*[02468]$").unwrap();
            let ahead = all(Search::forward(file_of(&content), pattern.clone(), 0).unwrap());
            let behind = all(Search::backward(file_of(&content), pattern, u64::MAX).unwrap());
            prop_assert_eq!(ahead.len(), lengths.len().div_ceil(2));
            prop_assert!(ahead.iter().eq(behind.iter().rev()));
        }
    }
}
