//! How much disk one log may use where the child writes it by itself: when it grows beyond its limit, the middle is
//! given back to the filesystem by punching a hole, while head and tail stay readable at their old offsets. It must
//! not know when to look: each look says how much may still be written before the next one is due.

use std::fs::OpenOptions;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::libc::{O_NOFOLLOW, O_NONBLOCK};

/// No limit is taken to be below this many blocks: holes are made of whole ones.
const LEAST_BLOCKS: u64 = 16;

/// What is known of the log of one attempt.
#[derive(Debug, Clone)]
pub struct LogBound {
    max: u64,
    last_size: u64,
    holes: Holes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holes {
    NotTried,
    Work,
    /// The filesystem cannot; it was said.
    Refused,
}

/// The outcome of one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// So much may be written before the next look has anything to do.
    Within { free: u64 },
    /// The middle was given back.
    Punched { freed: u64, free: u64 },
    /// This filesystem cannot punch holes: the log is not bounded. Said once for each log.
    Unbounded,
    /// The file has become shorter: somebody truncated it, and what was in it is lost. Said each time.
    Shrunk { from: u64, to: u64 },
}

impl LogBound {
    pub fn new(max: u64) -> Self {
        Self { max, last_size: 0, holes: Holes::NotTried }
    }

    /// Looks at the log, and punches where it is too large. `Ok(None)`: nothing more can be done for this log.
    pub fn enforce(&mut self, path: &Path) -> io::Result<Option<Look>> {
        let found = std::fs::symlink_metadata(path)?;
        if !found.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a plain file"));
        }
        let size = found.len();
        let from = std::mem::replace(&mut self.last_size, size);
        if size < from {
            return Ok(Some(Look::Shrunk { from, to: size }));
        }
        if self.holes == Holes::Refused {
            return Ok(None);
        }
        // Some filesystems allocate ahead of what is written.
        let used = (found.blocks() * 512).min(size);
        let block = found.blksize().max(512);
        let Some(range) = plan(size, used, self.max, block) else {
            return Ok(Some(Look::Within { free: limit(self.max, block).saturating_sub(used) }));
        };
        match punch(path, &range) {
            Ok(()) => {}
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL) if self.holes == Holes::NotTried => {
                self.holes = Holes::Refused;
                return Ok(Some(Look::Unbounded));
            }
            Err(errno) => return Err(errno.into()),
        }
        self.holes = Holes::Work;
        let now = std::fs::symlink_metadata(path)?;
        let left = (now.blocks() * 512).min(now.len());
        let free = limit(self.max, block).saturating_sub(left);
        Ok(Some(Look::Punched { freed: used.saturating_sub(left), free }))
    }
}

/// What has to be given back, in whole blocks: a quarter of the limit stays at the head, half of it at the tail.
pub fn plan(size: u64, used: u64, max: u64, block: u64) -> Option<Range<u64>> {
    let max = limit(max, block);
    if used <= max {
        return None;
    }
    let start = (max / 4).next_multiple_of(block);
    let end = size.saturating_sub(max / 2) / block * block;
    (start < end).then_some(start..end)
}

fn limit(max: u64, block: u64) -> u64 {
    max.max(LEAST_BLOCKS * block)
}

fn punch(path: &Path, range: &Range<u64>) -> Result<(), Errno> {
    let open = OpenOptions::new().write(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(path);
    let file = open.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    let offset = i64::try_from(range.start).map_err(|_| Errno::EFBIG)?;
    let len = i64::try_from(range.end - range.start).map_err(|_| Errno::EFBIG)?;
    fallocate(&file, FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE, offset, len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::blocks::open_log;
    use crate::logs::lines::LogLine;
    use crate::logs::tail::tail;
    use proptest::prelude::*;
    use std::io::Write;

    #[test]
    fn a_writer_that_never_stops_stays_within_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut child = OpenOptions::new().create_new(true).append(true).open(&path).unwrap();
        let max = 256 << 10;
        let mut bound = LogBound::new(max);
        let mut punched = 0;
        for number in 0..100_000 {
            writeln!(child, "{number:015}").unwrap();
            if number % 1000 == 0 {
                match bound.enforce(&path).unwrap() {
                    Some(Look::Punched { freed, free }) => {
                        punched += 1;
                        assert!(freed > 0 && free >= max / 8);
                    }
                    Some(Look::Within { free }) => assert!(free <= max),
                    // A filesystem without holes: nothing to see here.
                    Some(Look::Unbounded) => {
                        assert_eq!(bound.enforce(&path).unwrap(), None);
                        return;
                    }
                    other => panic!("{other:?}"),
                }
                let found = std::fs::metadata(&path).unwrap();
                assert!(found.blocks() * 512 <= max + 4096, "{} in {}", found.blocks() * 512, found.len());
            }
        }
        assert!(punched > 5);
        let lines = tail(&open_log(&path).unwrap(), 100_000, 1 << 30).unwrap().lines;
        let text = |line: &LogLine| match line {
            LogLine::Text { bytes, .. } => String::from_utf8(bytes.clone()).unwrap(),
            LogLine::Gap { .. } => "gap".into(),
        };
        assert_eq!(text(&lines[0]), "000000000000000");
        assert_eq!(text(&lines[lines.len() - 1]), "000000000099999");
        assert_eq!(lines.iter().filter(|line| matches!(line, LogLine::Gap { .. })).count(), 1);
        // Holes are whole blocks, so no line is damaged where they begin or end.
        assert!(lines.iter().all(|line| text(line).chars().all(|c| c != '\0')));
    }

    #[test]
    fn a_log_that_shrinks_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "0123456789").unwrap();
        let mut bound = LogBound::new(1 << 20);
        assert!(matches!(bound.enforce(&path).unwrap(), Some(Look::Within { .. })));
        std::fs::write(&path, "0").unwrap();
        assert_eq!(bound.enforce(&path).unwrap(), Some(Look::Shrunk { from: 10, to: 1 }));
        assert!(matches!(bound.enforce(&path).unwrap(), Some(Look::Within { .. })));
    }

    proptest! {
        #[test]
        fn a_plan_keeps_head_and_tail_and_brings_the_rest_below_the_limit(
            size in 0_u64..1 << 40, max in 1_u64..1 << 32, block in proptest::sample::select(vec![512_u64, 4096, 65536]),
        ) {
            let limit = limit(max, block);
            match plan(size, size, max, block) {
                None => prop_assert!(size <= limit),
                Some(range) => {
                    prop_assert!(size > limit);
                    prop_assert_eq!((range.start % block, range.end % block), (0, 0));
                    prop_assert!(range.start >= limit / 4 && size - range.end >= limit / 2);
                    prop_assert!(range.start + (size - range.end) <= limit * 7 / 8);
                }
            }
        }
    }
}
