//! A log read in blocks, forwards or backwards, at a cost that depends on what is read and not on how large the file
//! is. Holes (the middle of a bounded log) come as gaps, not as zeros. It must not know lines.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use nix::unistd::{Whence, lseek};

/// How much is read at once.
pub const BLOCK: u64 = 64 << 10;

/// How far the backward cursor looks for data at once, at most, so that one look stays cheap in a file of many holes.
const WIDEST_LOOK: u64 = 256 << 20;

/// A stretch of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Data {
        offset: u64,
        bytes: Vec<u8>,
    },
    /// Bytes that were written but not kept.
    Gap {
        offset: u64,
        len: u64,
    },
}

/// Opens a log for reading. A symlink in its place is refused, and something that is no file cannot make us wait.
pub fn open_log(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a plain file"))
    }
}

/// Up to `len` bytes at `offset`; fewer only at the end of the file.
pub fn read_at(file: &File, offset: u64, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// The first run of data that begins in `range`, cut to it.
fn first_data(file: &File, range: Range<u64>) -> io::Result<Option<Range<u64>>> {
    if range.is_empty() {
        return Ok(None);
    }
    let seek = |offset: u64, whence| {
        let offset = i64::try_from(offset).map_err(io::Error::other)?;
        match lseek(file, offset, whence) {
            Ok(found) => Ok(Some(u64::try_from(found).map_err(io::Error::other)?)),
            Err(Errno::ENXIO) => Ok(None),
            Err(errno) => Err(io::Error::from(errno)),
        }
    };
    let start = match seek(range.start, Whence::SeekData) {
        Ok(Some(start)) => start,
        Ok(None) => return Ok(None),
        // A filesystem that knows no holes has none.
        Err(error) if error.raw_os_error() == Some(nix::libc::EINVAL) => return Ok(Some(range)),
        Err(error) => return Err(error),
    };
    if start >= range.end {
        return Ok(None);
    }
    let end = seek(start, Whence::SeekHole)?.unwrap_or(range.end);
    Ok(Some(start..end.min(range.end)))
}

/// Reads from a place towards the end.
#[derive(Debug, Clone)]
pub struct Forward {
    at: u64,
    end: u64,
    /// What is known to be data from `at` on.
    data_until: u64,
}

impl Forward {
    pub fn new(range: Range<u64>) -> Self {
        Self { at: range.start, end: range.end, data_until: range.start }
    }

    /// The place up to which everything has been read.
    pub fn at(&self) -> u64 {
        self.at
    }

    pub fn next(&mut self, file: &File) -> io::Result<Option<Piece>> {
        if self.at >= self.end {
            return Ok(None);
        }
        if self.at >= self.data_until {
            let offset = self.at;
            let Some(data) = first_data(file, self.at..self.end)? else {
                self.at = self.end;
                return Ok(Some(Piece::Gap { offset, len: self.end - offset }));
            };
            self.data_until = data.end;
            if data.start > offset {
                self.at = data.start;
                return Ok(Some(Piece::Gap { offset, len: data.start - offset }));
            }
        }
        let offset = self.at;
        let wanted = BLOCK.min(self.data_until - offset);
        let bytes = read_at(file, offset, wanted)?;
        if bytes.is_empty() {
            // The file has shrunk under us.
            self.end = self.at;
            return Ok(None);
        }
        self.at += bytes.len() as u64;
        Ok(Some(Piece::Data { offset, bytes }))
    }
}

/// Reads from a place towards the start.
#[derive(Debug, Clone)]
pub struct Backward {
    /// Everything from here on has been given out.
    at: u64,
    /// Everything from here to `at` is known: the runs in `data`, and holes.
    looked_until: u64,
    /// In the order of the file.
    data: Vec<Range<u64>>,
    look: u64,
}

impl Backward {
    pub fn new(from: u64) -> Self {
        Self { at: from, looked_until: from, data: Vec::new(), look: BLOCK }
    }

    pub fn next(&mut self, file: &File) -> io::Result<Option<Piece>> {
        while self.at > 0 {
            if let Some(last) = self.data.last_mut() {
                if last.end < self.at {
                    let (offset, len) = (last.end, self.at - last.end);
                    self.at = offset;
                    return Ok(Some(Piece::Gap { offset, len }));
                }
                let offset = last.end.saturating_sub(BLOCK).max(last.start);
                let len = last.end - offset;
                if offset == last.start {
                    self.data.pop();
                } else {
                    last.end = offset;
                }
                self.at = offset;
                return Ok(Some(Piece::Data { offset, bytes: read_at(file, offset, len)? }));
            }
            if self.looked_until == 0 {
                let len = std::mem::take(&mut self.at);
                return Ok(Some(Piece::Gap { offset: 0, len }));
            }
            self.look_back(file)?;
        }
        Ok(None)
    }

    /// Holes are skipped in ever longer looks, so that a hole of any size costs a few calls.
    fn look_back(&mut self, file: &File) -> io::Result<()> {
        let end = self.looked_until;
        let mut start = end.saturating_sub(self.look);
        self.looked_until = start;
        while let Some(data) = first_data(file, start..end)? {
            start = data.end;
            self.data.push(data);
        }
        self.look = if self.data.is_empty() { (self.look * 2).min(WIDEST_LOOK) } else { BLOCK };
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    /// A file of runs of data and of holes, each a number of 4 KiB blocks; `false` where the filesystem has no holes.
    pub(in crate::logs) fn patchwork(runs: &[(bool, u64)]) -> (File, bool) {
        let mut file = tempfile::tempfile().unwrap();
        let mut at = 0;
        for (index, (hole, blocks)) in runs.iter().enumerate() {
            let len = blocks * 4096;
            if *hole {
                file.set_len(at + len).unwrap();
            } else {
                let mut line = format!("{index:015}\n").into_bytes();
                line = line.repeat(usize::try_from(len / 16).unwrap());
                file.write_all_at(&line, at).unwrap();
            }
            at += len;
        }
        file.flush().unwrap();
        let first_hole = lseek(&file, 0, Whence::SeekHole).unwrap_or(0);
        (file, u64::try_from(first_hole).unwrap() < at || runs.iter().all(|r| !r.0))
    }

    fn all(file: &File, mut next: impl FnMut(&File) -> io::Result<Option<Piece>>) -> Vec<Piece> {
        std::iter::from_fn(|| next(file).unwrap()).collect()
    }

    fn flatten(pieces: &[Piece]) -> (Vec<u8>, Vec<(u64, u64)>) {
        let (mut content, mut gaps) = (Vec::new(), Vec::new());
        for piece in pieces {
            match piece {
                Piece::Data { offset, bytes } => {
                    assert_eq!(*offset, content.len() as u64);
                    content.extend_from_slice(bytes);
                }
                Piece::Gap { offset, len } => {
                    assert_eq!(*offset, content.len() as u64);
                    gaps.push((*offset, *len));
                    content.resize(content.len() + usize::try_from(*len).unwrap(), 0);
                }
            }
        }
        (content, gaps)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn both_directions_see_every_byte_and_every_gap_once(
            runs in proptest::collection::vec((any::<bool>(), 1_u64..40), 0..8),
        ) {
            let (file, holes) = patchwork(&runs);
            let len = file.metadata().unwrap().len();
            let whole = read_at(&file, 0, len).unwrap();

            let mut forward = Forward::new(0..len);
            let ahead = all(&file, |file| forward.next(file));
            let mut backward = Backward::new(len);
            let mut behind = all(&file, |file| backward.next(file));
            behind.reverse();

            let (content, gaps) = flatten(&ahead);
            prop_assert_eq!(&content, &whole);
            prop_assert_eq!(flatten(&behind), (content, gaps.clone()));
            if holes {
                let mut expected: Vec<(u64, u64)> = Vec::new();
                let mut at = 0;
                for (hole, blocks) in &runs {
                    match expected.last_mut() {
                        Some(last) if *hole && last.0 + last.1 == at => last.1 += blocks * 4096,
                        _ if *hole => expected.push((at, blocks * 4096)),
                        _ => {}
                    }
                    at += blocks * 4096;
                }
                prop_assert_eq!(gaps, expected);
            }
        }
    }

    #[test]
    fn a_huge_hole_costs_a_few_looks() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"head\n", 0).unwrap();
        file.write_all_at(b"tail\n", 1 << 40).unwrap();
        let mut backward = Backward::new((1 << 40) + 5);
        let pieces = all(&file, |file| backward.next(file));
        assert!(pieces.len() <= 5, "{}", pieces.len());
    }

    #[test]
    fn what_is_no_plain_file_is_refused_without_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(open_log(&fifo).is_err());
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        File::create(&target).unwrap().write_all(b"secret").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(open_log(&link).is_err());
        open_log(&target).unwrap();
    }
}
