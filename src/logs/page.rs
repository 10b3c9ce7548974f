//! A page of a log around any place in it, at a cost that depends on the page and not on the file: what somebody who
//! scrolls needs. It must not know screens.
//!
//! Lines are cut where newlines are, and a line without an end is cut into parts at places that depend on the file
//! alone, so that reading upwards and downwards finds the same parts: at each multiple of [`PART`] with no newline in
//! the [`PART`] bytes before it.

use std::fs::File;
use std::io;
use std::ops::Range;

use super::blocks::{Backward, Forward, Piece};
use super::lines::LogLine;

/// No line of a page is longer than twice this.
pub const PART: u64 = 8 << 10;

/// A page ends after so many bytes, however few lines they are.
pub const MAX_PAGE: u64 = 512 << 10;

/// Consecutive lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// In the order of the file.
    pub lines: Vec<LogLine>,
    /// What they cover. The start is the beginning of a line.
    pub range: Range<u64>,
}

/// Where a line ends: the beginning of the next one.
pub fn end_of(line: &LogLine) -> u64 {
    match line {
        LogLine::Text { offset, bytes, complete } => offset + bytes.len() as u64 + u64::from(*complete),
        LogLine::Gap { offset, len } => offset + len,
    }
}

/// About `want` lines before `offset`, which is the beginning of a line or the end of the file.
pub fn before(file: &File, offset: u64, want: usize) -> io::Result<Page> {
    let mut cursor = Backward::new(offset);
    let mut lines = Vec::new();
    // The stretch of data that is being read, its last byte at its end; new bytes come before it.
    let mut run: Vec<u8> = Vec::new();
    let mut run_at = offset;
    let mut read = 0;
    loop {
        let piece = cursor.next(file)?;
        match piece {
            Some(Piece::Data { offset, mut bytes }) => {
                read += bytes.len() as u64;
                bytes.append(&mut run);
                (run, run_at) = (bytes, offset);
                let places = beginnings(run_at, &run);
                let enough = lines.len() + places.len() > want || read >= MAX_PAGE;
                if enough && !places.is_empty() {
                    // What is before the first known beginning belongs to a line that begins further up.
                    let mut known = cut(run_at, &run).split_off(1);
                    known.append(&mut lines);
                    lines = known;
                    run.clear();
                    break;
                }
            }
            Some(Piece::Gap { offset, len }) => {
                prepend(&mut lines, run_at, &std::mem::take(&mut run));
                lines.insert(0, LogLine::Gap { offset, len });
                run_at = offset;
                if lines.len() >= want {
                    break;
                }
            }
            None => break,
        }
    }
    prepend(&mut lines, run_at, &run);
    let surplus = lines.len().saturating_sub(want);
    lines.drain(..surplus);
    let start = lines.first().map_or(offset, LogLine::offset);
    Ok(Page { lines, range: start..offset })
}

/// About `want` lines from `offset` on, which is the beginning of a line.
pub fn after(file: &File, offset: u64, want: usize) -> io::Result<Page> {
    let len = file.metadata()?.len();
    // Whether a part begins somewhere depends on the bytes before it.
    let from = (offset / PART).saturating_sub(1) * PART;
    let mut cursor = Forward::new(from..len);
    let mut lines: Vec<LogLine> = Vec::new();
    let mut run: Vec<u8> = Vec::new();
    let mut run_at = from;
    let mut open = true;
    loop {
        match cursor.next(file)? {
            Some(Piece::Data { offset: at, bytes }) => {
                if run.is_empty() {
                    run_at = at;
                }
                run.extend_from_slice(&bytes);
                let ended = beginnings(run_at, &run).iter().filter(|place| **place > offset).count();
                if ended > 0 && (lines.len() + ended >= want || cursor.at() - from >= MAX_PAGE) {
                    break;
                }
            }
            Some(Piece::Gap { offset: at, len }) => {
                lines.extend(cut(run_at, &std::mem::take(&mut run)));
                lines.push(LogLine::Gap { offset: at, len });
                lines.retain_mut(|line| keep_from(line, offset));
                if lines.len() >= want {
                    open = false;
                    break;
                }
            }
            None => {
                open = false;
                break;
            }
        }
    }
    let mut last = cut(run_at, &run);
    if open {
        // It goes on in what was not read.
        last.pop();
    }
    lines.extend(last);
    lines.retain_mut(|line| keep_from(line, offset));
    lines.truncate(want);
    let end = lines.last().map_or(offset, end_of);
    Ok(Page { lines, range: offset..end })
}

/// The beginning of the line, or part, that holds the byte at `offset`.
pub fn line_at(file: &File, offset: u64) -> io::Result<u64> {
    let len = file.metadata()?.len();
    if offset == 0 || len == 0 {
        return Ok(0);
    }
    // Up to the byte itself: where a line begins with it, that is the last beginning found.
    let page = before(file, (offset + 1).min(len), 1)?;
    Ok(page.range.start)
}

/// Takes away what lies before `offset`; false where nothing is left.
fn keep_from(line: &mut LogLine, offset: u64) -> bool {
    if line.offset() >= offset {
        return true;
    }
    match line {
        LogLine::Gap { offset: at, len } if *at + *len > offset => {
            *len -= offset - *at;
            *at = offset;
            true
        }
        LogLine::Gap { .. } | LogLine::Text { .. } => false,
    }
}

fn prepend(lines: &mut Vec<LogLine>, run_at: u64, run: &[u8]) {
    let mut earlier = cut(run_at, run);
    earlier.append(lines);
    *lines = earlier;
}

/// Where lines and parts begin within a stretch of data, but for its own first byte; the end of the stretch is none.
fn beginnings(run_at: u64, run: &[u8]) -> Vec<u64> {
    let end = run_at + run.len() as u64;
    let mut found = Vec::new();
    let mut last_newline = None;
    let mut next_multiple = (run_at / PART + 1) * PART;
    let part = |at: u64, last_newline: Option<u64>, found: &mut Vec<u64>| {
        let free = at
            .checked_sub(PART)
            .is_some_and(|from| from >= run_at && last_newline.is_none_or(|newline| newline < from));
        if free {
            let place = at + continuation(run, at - run_at);
            if place < end {
                found.push(place);
            }
        }
    };
    for (index, _) in run.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        let newline = run_at + index as u64;
        while next_multiple <= newline {
            part(next_multiple, last_newline, &mut found);
            next_multiple += PART;
        }
        last_newline = Some(newline);
        if newline + 1 < end {
            found.push(newline + 1);
        }
    }
    while next_multiple < end {
        part(next_multiple, last_newline, &mut found);
        next_multiple += PART;
    }
    found.dedup();
    found
}

/// How many bytes from here on end a character that began before, so that none is cut in two.
fn continuation(run: &[u8], at: u64) -> u64 {
    let Ok(at) = usize::try_from(at) else { return 0 };
    let many = run.iter().skip(at).take(4).take_while(|byte| **byte & 0xc0 == 0x80).count();
    if many < 4 { many as u64 } else { 0 }
}

/// The lines of a stretch that begins with the beginning of one.
fn cut(run_at: u64, run: &[u8]) -> Vec<LogLine> {
    if run.is_empty() {
        return Vec::new();
    }
    let mut places = vec![run_at];
    places.extend(beginnings(run_at, run));
    let end = run_at + run.len() as u64;
    let ends = places.iter().skip(1).copied().chain([end]);
    let index = |place: u64| usize::try_from(place - run_at).unwrap_or(run.len());
    places
        .iter()
        .zip(ends)
        .map(|(from, to)| {
            let bytes = run.get(index(*from)..index(to)).unwrap_or_default();
            match bytes.strip_suffix(b"\n") {
                Some(line) => LogLine::Text { offset: *from, bytes: line.to_vec(), complete: true },
                None => LogLine::Text { offset: *from, bytes: bytes.to_vec(), complete: false },
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn file_of(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    fn everything(file: &File, want: usize) -> Vec<LogLine> {
        let (mut all, mut at) = (Vec::new(), 0);
        loop {
            let page = after(file, at, want).unwrap();
            assert_eq!(page.range.start, at);
            if page.lines.is_empty() {
                return all;
            }
            at = page.range.end;
            all.extend(page.lines);
        }
    }

    fn everything_upwards(file: &File, want: usize) -> Vec<LogLine> {
        let mut at = file.metadata().unwrap().len();
        let mut all = Vec::new();
        while at > 0 {
            let mut page = before(file, at, want).unwrap();
            assert_eq!(page.range.end, at);
            assert!(page.range.start < at, "no way up from {at}");
            at = page.range.start;
            page.lines.append(&mut all);
            all = page.lines;
        }
        all
    }

    fn outline(lines: &[LogLine]) -> Vec<(u64, u64)> {
        lines.iter().map(|line| (line.offset(), end_of(line))).collect()
    }

    /// Runs of lines, of bytes without a newline, and of characters of three bytes.
    fn content() -> impl Strategy<Value = Vec<u8>> {
        let run = prop_oneof![
            3 => (0_usize..200, 0_usize..30).prop_map(|(len, times)| {
                let mut line = vec![b'x'; len];
                line.push(b'\n');
                line.repeat(times)
            }),
            1 => (0_usize..40_000).prop_map(|len| vec![b'y'; len]),
            1 => (0_usize..20_000).prop_map(|len| "€".repeat(len).into_bytes()),
            1 => Just(b"\n".to_vec()),
        ];
        proptest::collection::vec(run, 0..6).prop_map(|runs| runs.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn both_ways_find_the_same_lines_and_no_byte_is_missing(content in content(), want in 1_usize..60) {
            let file = file_of(&content);
            let down = everything(&file, want);
            let up = everything_upwards(&file, want);
            prop_assert_eq!(outline(&down), outline(&up));
            prop_assert!(down == up);
            let mut at = 0;
            let mut joined = Vec::new();
            for line in &down {
                let LogLine::Text { offset, bytes, complete } = line else { unreachable!() };
                prop_assert_eq!(*offset, at);
                prop_assert!(bytes.len() as u64 <= 2 * PART + 3, "{}", bytes.len());
                at = end_of(line);
                joined.extend_from_slice(bytes);
                if *complete {
                    joined.push(b'\n');
                }
            }
            prop_assert!(joined == content);
        }

        #[test]
        fn any_byte_leads_to_its_line(content in content(), at in any::<proptest::sample::Index>()) {
            prop_assume!(!content.is_empty());
            let offset = at.index(content.len()) as u64;
            let file = file_of(&content);
            let lines = everything(&file, 50);
            let holds = lines.iter().rfind(|line| line.offset() <= offset).unwrap();
            prop_assert_eq!(line_at(&file, offset).unwrap(), holds.offset());
        }
    }

    #[test]
    fn characters_are_not_cut_at_the_border_of_a_part() {
        let file = file_of("€".repeat(30_000).as_bytes());
        let lines = everything(&file, 10);
        assert!(lines.len() > 5);
        for line in lines {
            let LogLine::Text { bytes, .. } = line else { unreachable!() };
            assert!(std::str::from_utf8(&bytes).is_ok());
        }
    }

    #[test]
    fn a_gap_is_a_line_of_its_own_in_both_directions() {
        let (file, holes) = crate::logs::blocks::tests::patchwork(&[(false, 1), (true, 300), (false, 1)]);
        if !holes {
            return;
        }
        let down = everything(&file, 7);
        assert_eq!(down, everything_upwards(&file, 7));
        assert!(down.contains(&LogLine::Gap { offset: 4096, len: 300 * 4096 }));
        assert_eq!(down.len(), 513);
        assert_eq!(line_at(&file, 4096 + 5000).unwrap(), 4096);
    }

    #[test]
    fn the_end_of_a_large_file_costs_a_page() {
        let file = tempfile::tempfile().unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"one\ntwo\nthree", 10 << 30).unwrap();
        let page = before(&file, file.metadata().unwrap().len(), 3).unwrap();
        let texts: Vec<_> = page
            .lines
            .iter()
            .map(|line| match line {
                LogLine::Text { bytes, .. } => String::from_utf8_lossy(bytes).trim_matches('\0').to_owned(),
                LogLine::Gap { .. } => "gap".into(),
            })
            .collect();
        assert_eq!(texts, ["one", "two", "three"]);
    }
}
