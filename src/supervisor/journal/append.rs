//! The end of the journal: a record is one write, and one that did not fit leaves no trace. It must not know what a
//! record says.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc::O_NOFOLLOW;

/// What is written to; a file, but for tests.
pub(super) trait Out {
    /// One attempt to append.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Cuts the file to this length.
    fn cut(&mut self, len: u64) -> io::Result<()>;
}

impl Out for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(self, bytes)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
}

#[derive(Debug)]
pub(super) struct Appender<O> {
    out: O,
    len: u64,
    /// The file ends within a record.
    torn: bool,
}

impl<O: Out> Appender<O> {
    pub(super) fn new(out: O, len: u64) -> Self {
        // Where the end of an earlier journal is, a newline parts it from what comes.
        Self { out, len, torn: len > 0 }
    }

    /// Appends whole lines, or nothing.
    pub(super) fn append(&mut self, lines: &str) -> io::Result<()> {
        let parted;
        let mut bytes = lines.as_bytes();
        if self.torn {
            parted = ["\n", lines].concat();
            bytes = parted.as_bytes();
        }
        let written = loop {
            match self.out.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if written == bytes.len() {
            self.len += written as u64;
            self.torn = false;
            return Ok(());
        }
        if self.out.cut(self.len).is_err() {
            self.len += written as u64;
            self.torn = true;
        }
        Err(io::Error::from(io::ErrorKind::StorageFull))
    }

    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.out.cut(0)?;
        self.len = 0;
        self.torn = false;
        Ok(())
    }
}

/// Opens a journal for appending, made where it is missing, for its owner only.
pub(super) fn open(path: &Path) -> io::Result<Appender<File>> {
    let mut options = OpenOptions::new();
    let file = options.append(true).create(true).mode(0o600).custom_flags(O_NOFOLLOW).open(path)?;
    let len = file.metadata()?.len();
    Ok(Appender::new(file, len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::journal::record::{decode, encode};
    use proptest::prelude::*;

    /// A disk with so much room, on which cutting may fail as well.
    #[derive(Debug)]
    struct Disk {
        bytes: Vec<u8>,
        room: usize,
        cuts: bool,
    }

    impl Out for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fits = bytes.len().min(self.room - self.bytes.len());
            self.bytes.extend_from_slice(&bytes[..fits]);
            if fits == 0 { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(fits) }
        }

        fn cut(&mut self, len: u64) -> io::Result<()> {
            if !self.cuts {
                return Err(io::Error::other("no"));
            }
            self.bytes.truncate(usize::try_from(len).unwrap());
            Ok(())
        }
    }

    #[test]
    fn a_journal_that_ends_within_a_record_goes_on_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let line = |seq| encode(seq, "\"clean_end\"");
        std::fs::write(&path, &line(1)[..9]).unwrap();
        open(&path).unwrap().append(&line(2)).unwrap();
        let decoded = decode(&std::fs::read(&path).unwrap());
        assert_eq!((decoded.records.len(), decoded.damaged), (1, 1));
        assert_eq!(decoded.records[0].0, 2);
    }

    proptest! {
        #[test]
        fn what_was_accepted_is_read_however_often_the_disk_was_full(
            rooms in proptest::collection::vec(0_usize..60, 1..30), cuts in any::<bool>(),
        ) {
            let mut appender = Appender::new(Disk { bytes: Vec::new(), room: 0, cuts }, 0);
            let mut accepted = Vec::new();
            for (seq, more) in rooms.iter().enumerate() {
                appender.out.room = appender.out.bytes.len() + more;
                if appender.append(&encode(seq as u64, "\"clean_end\"")).is_ok() {
                    accepted.push(seq as u64);
                }
            }
            let decoded = decode(&appender.out.bytes);
            let read: Vec<u64> = decoded.records.iter().map(|(seq, _)| *seq).collect();
            if cuts {
                prop_assert_eq!(&read, &accepted);
                prop_assert_eq!((decoded.torn, decoded.damaged), (0, 0));
            } else {
                // One that lacks only its newline may be read although it was not accepted.
                prop_assert!(accepted.iter().all(|seq| read.contains(seq)));
            }
        }
    }
}
