//! What the keeper must still know after it was killed: which attempts live, and which ends nobody has acknowledged.
//!
//! A file of lines `checksum json`, appended with one write each. Room for the records that will have to be written
//! later (an exit for every live attempt) is reserved before a spawn, so a full disk stops new work and nothing else.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::wire::{Exit, Policy, StdioKind};

/// No record of an end or an acknowledgement is longer than this; keys are bounded.
const RESERVE_PER_RECORD: u64 = 512;
const RESERVE_STEP: u64 = 64 << 10;
const COMPACT_ABOVE: u64 = 256 << 10;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub(crate) enum Record {
    /// Who is served and how: the last one counts.
    Head(Head),
    /// Written before the process exists.
    Intent(Intent),
    Spawned {
        key: String,
        pid: i32,
        start: u64,
        /// Who leads the session of its terminal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        holder: Option<(i32, u64)>,
    },
    /// A relay was started anew.
    Relay {
        key: String,
        relay: (i32, u64),
    },
    Exit(Exit),
    Ack {
        seq: u64,
    },
    /// The main process has ended, and that was acknowledged; something of its tree lives.
    Ended {
        key: String,
    },
    /// Nothing of the attempt lives; also the end of an intent that came to nothing.
    Gone {
        key: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Head {
    /// Everything but exits is void under another one.
    pub(crate) boot_id: String,
    pub(crate) epoch: u64,
    pub(crate) policy: Option<Policy>,
    pub(crate) successor: Vec<String>,
    pub(crate) next_seq: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Intent {
    pub(crate) key: String,
    pub(crate) token: u64,
    pub(crate) log: PathBuf,
    pub(crate) stdio: StdioKind,
    pub(crate) stop_signal: i32,
    pub(crate) grace_ms: u64,
    pub(crate) keep_leftovers: bool,
    /// The folder with the attempt's cgroup, where it has one of its own; shared by all of one keeper.
    pub(crate) cgroups: Option<Rc<str>>,
    pub(crate) relay: Option<(i32, u64)>,
}

/// One attempt as the journal tells it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Known {
    pub(crate) intent: Intent,
    pub(crate) process: Option<(i32, u64)>,
    pub(crate) holder: Option<(i32, u64)>,
    pub(crate) main_ended: bool,
}

/// Everything that the journal tells.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Recovered {
    pub(crate) head: Head,
    pub(crate) known: Vec<Known>,
    pub(crate) exits: Vec<Exit>,
    /// Lines that could not be read: a torn tail, or damage.
    pub(crate) damaged: usize,
}

#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    size: u64,
    reserved_until: u64,
}

impl Journal {
    /// Opens or makes the file and tells what is in it.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, Recovered)> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let recovered = recover(&bytes);
        let file = open_append(path)?;
        let mut journal = Self { path: path.to_owned(), file, size: bytes.len() as u64, reserved_until: 0 };
        if !bytes.is_empty() && bytes.last() != Some(&b'\n') {
            // A torn tail must not swallow the next record.
            journal.write_line(b"\n")?;
        }
        Ok((journal, recovered))
    }

    /// Makes sure that `records` more will fit whatever happens to the disk.
    pub(crate) fn reserve(&mut self, records: usize) -> io::Result<()> {
        let wanted = self.size + records as u64 * RESERVE_PER_RECORD;
        if wanted <= self.reserved_until {
            return Ok(());
        }
        let until = wanted + RESERVE_STEP;
        let length = libc::off_t::try_from(until - self.size).unwrap_or(libc::off_t::MAX);
        let offset = libc::off_t::try_from(self.size).unwrap_or(libc::off_t::MAX);
        // SAFETY: the descriptor is ours and open; only numbers are passed.
        let done =
            unsafe { libc::fallocate(self.file.as_raw_fd(), libc::FALLOC_FL_KEEP_SIZE, offset, length) };
        if done != 0 {
            let error = io::Error::last_os_error();
            // Where the file system cannot reserve, an ordinary append has to do.
            if error.raw_os_error() != Some(libc::EOPNOTSUPP) {
                return Err(error);
            }
        }
        self.reserved_until = until;
        Ok(())
    }

    pub(crate) fn append(&mut self, record: &Record) -> io::Result<()> {
        let line = encode(record)?;
        self.write_line(&line)
    }

    pub(crate) fn wants_compaction(&self) -> bool {
        self.size > COMPACT_ABOVE
    }

    /// Replaces the file by one that holds just `records`. On any failure the old one stays in use.
    pub(crate) fn compact(&mut self, records: &[Record], reserve: usize) -> io::Result<()> {
        let beside = self.path.with_extension("new");
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut fresh =
            Self { path: beside.clone(), file: open_append(&beside)?, size: 0, reserved_until: 0 };
        fresh.reserve(records.len() * 2 + reserve)?;
        for record in records {
            fresh.append(record)?;
        }
        std::fs::rename(&beside, &self.path)?;
        fresh.path.clone_from(&self.path);
        *self = fresh;
        Ok(())
    }

    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        let written = self.file.write(line)?;
        self.size += written as u64;
        if written == line.len() {
            return Ok(());
        }
        // Short: the disk is full in the middle of a record. Its checksum fails, and the next one starts a new line.
        if self.file.write(b"\n").is_ok() {
            self.size += 1;
        }
        Err(io::Error::from_raw_os_error(libc::ENOSPC))
    }
}

fn open_append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path)
}

fn encode(record: &Record) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(record).map_err(io::Error::other)?;
    let mut line = format!("{:016x} ", checksum(&json)).into_bytes();
    line.extend_from_slice(&json);
    line.push(b'\n');
    Ok(line)
}

fn decode(line: &[u8]) -> Option<Record> {
    let (sum, json) = line.split_at_checked(17)?;
    let sum = u64::from_str_radix(std::str::from_utf8(sum).ok()?.trim_end(), 16).ok()?;
    if sum != checksum(json) {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// FNV-1a: enough against a torn or damaged line.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn recover(bytes: &[u8]) -> Recovered {
    let mut told = Recovered::default();
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match decode(line) {
            Some(record) => told.apply(record),
            None => told.damaged += 1,
        }
    }
    told
}

impl Recovered {
    fn apply(&mut self, record: Record) {
        match record {
            Record::Head(head) => self.head = head,
            Record::Intent(intent) => {
                self.known.retain(|known| known.intent.key != intent.key);
                self.known.push(Known { intent, process: None, holder: None, main_ended: false });
            }
            Record::Spawned { key, pid, start, holder } => {
                if let Some(known) = self.find(&key) {
                    known.process = Some((pid, start));
                    known.holder = holder;
                }
            }
            Record::Relay { key, relay } => {
                if let Some(known) = self.find(&key) {
                    known.intent.relay = Some(relay);
                }
            }
            Record::Exit(exit) => {
                if let Some(known) = self.find(&exit.key) {
                    known.main_ended = true;
                }
                self.head.next_seq = self.head.next_seq.max(exit.seq + 1);
                self.exits.push(exit);
            }
            Record::Ended { key } => {
                if let Some(known) = self.find(&key) {
                    known.main_ended = true;
                }
            }
            Record::Ack { seq } => self.exits.retain(|exit| exit.seq > seq),
            Record::Gone { key } => self.known.retain(|known| known.intent.key != key),
        }
    }

    fn find(&mut self, key: &str) -> Option<&mut Known> {
        self.known.iter_mut().rev().find(|known| known.intent.key == key)
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::ExitKind;
    use super::*;

    fn intent(key: &str) -> Record {
        Record::Intent(Intent {
            key: key.into(),
            token: 7,
            log: "/l".into(),
            stdio: StdioKind::File,
            stop_signal: 15,
            grace_ms: 100,
            keep_leftovers: false,
            cgroups: None,
            relay: None,
        })
    }

    fn exit(seq: u64, key: &str) -> Record {
        Record::Exit(Exit {
            seq,
            key: key.into(),
            pid: 5,
            status: ExitKind::Code(3),
            at_mono: 1,
            cpu_ms: 2,
            max_rss_kb: 3,
            cut: false,
        })
    }

    #[test]
    fn what_was_written_is_told_after_a_cut_at_any_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let records = [
            intent("a#1"),
            Record::Spawned { key: "a#1".into(), pid: 5, start: 9, holder: None },
            exit(1, "a#1"),
        ];
        let (mut journal, empty) = Journal::open(&path).unwrap();
        assert_eq!(empty, Recovered::default());
        for record in &records {
            journal.append(record).unwrap();
        }
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (mut journal, _) = Journal::open(&path).unwrap();
            journal.append(&intent("b#1")).unwrap();
            let (_, told) = Journal::open(&path).unwrap();
            assert_eq!(told.known.last().unwrap().intent.key, "b#1", "cut at {cut}");
            let complete = whole[..cut].split(|byte| *byte == b'\n').count() - 1;
            assert_eq!(
                told.exits.len(),
                usize::from(complete == 3 || cut == whole.len() - 1),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn acknowledged_and_gone_things_are_forgotten() {
        let mut told = Recovered::default();
        for record in [intent("a#1"), exit(4, "a#1"), intent("b#1"), Record::Ack { seq: 4 }] {
            told.apply(record);
        }
        assert!(told.exits.is_empty());
        assert!(told.known[0].main_ended);
        told.apply(Record::Gone { key: "a#1".into() });
        assert_eq!(told.known.len(), 1);
        assert_eq!(told.head.next_seq, 5);
    }

    #[test]
    fn compaction_keeps_what_it_is_given_and_the_reservation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (mut journal, _) = Journal::open(&path).unwrap();
        for seq in 0..100 {
            journal.append(&exit(seq, "x#1")).unwrap();
        }
        journal.compact(&[intent("a#1"), exit(100, "a#1")], 4).unwrap();
        journal.append(&Record::Ack { seq: 100 }).unwrap();
        let (_, told) = Journal::open(&path).unwrap();
        assert_eq!((told.known.len(), told.exits.len(), told.damaged), (1, 0, 0));
    }
}
