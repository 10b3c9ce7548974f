//! What the keeper must still know after it was killed: which attempts live, and which ends nobody has acknowledged.
//!
//! A file of lines `checksum json`. Records of one moment are written together, before anything follows from them: a
//! reaping, a spawn, a word to the supervisor. Room for the records that will have to be written later (an exit for
//! every live attempt) is reserved before a spawn, so a full disk stops new work and nothing else.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::door::leads_to;
use super::sweep::marker;
use super::wire::{Exit, Policy, StdioKind};

/// No record of an end or an acknowledgement is longer than this; keys are bounded.
const RESERVE_PER_RECORD: u64 = 512;
const RESERVE_STEP: u64 = 64 << 10;
const COMPACT_ABOVE: u64 = 256 << 10;
/// Room for lines that is kept.
const KEPT_BYTES: usize = 4 << 10;
/// A checksum and a blank.
const SUM: usize = 17;

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
    /// The folder of the keeper that wrote it; the version before did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) home: Option<PathBuf>,
    pub(crate) epoch: u64,
    /// Who said hello last and has not said goodbye.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) supervisor: Option<(i32, u64)>,
    pub(crate) policy: Option<Policy>,
    pub(crate) successor: Vec<String>,
    pub(crate) next_seq: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Intent {
    pub(crate) key: Rc<str>,
    pub(crate) token: u64,
    pub(crate) log: Box<Path>,
    pub(crate) stdio: StdioKind,
    pub(crate) stop_signal: i32,
    pub(crate) grace_ms: u64,
    pub(crate) keep_leftovers: bool,
    /// The folder with the attempt's cgroup, where it has one of its own; shared by all of one keeper.
    pub(crate) cgroups: Option<Rc<str>>,
    pub(crate) relay: Option<(i32, u64)>,
}

impl Intent {
    /// The cgroup of the attempt, where it has one of its own.
    pub(crate) fn cgroup(&self) -> Option<PathBuf> {
        self.cgroups.as_ref().map(|base| Path::new(&**base).join(marker(self.token)))
    }
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
    /// Whole lines that are yet to be written.
    waiting: Vec<u8>,
    /// The size at which the next compaction is worth its while.
    compact_above: u64,
    /// Something could not be written.
    behind: bool,
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
        let mut journal = Self::new(path, file);
        journal.size = bytes.len() as u64;
        if !bytes.is_empty() && bytes.last() != Some(&b'\n') {
            // A torn tail must not swallow the next record.
            journal.write(b"\n")?;
        }
        Ok((journal, recovered))
    }

    fn new(path: &Path, file: File) -> Self {
        let path = path.to_owned();
        Self {
            path,
            file,
            size: 0,
            reserved_until: 0,
            waiting: Vec::new(),
            compact_above: COMPACT_ABOVE,
            behind: false,
        }
    }

    /// Makes sure that `records` more will fit whatever happens to the disk.
    pub(crate) fn reserve(&mut self, records: usize) -> io::Result<()> {
        self.reserve_bytes(self.waiting.len() as u64 + records as u64 * RESERVE_PER_RECORD)
    }

    fn reserve_bytes(&mut self, bytes: u64) -> io::Result<()> {
        let wanted = self.size + bytes;
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

    /// To be written with what comes next, at the latest when [`Journal::write_down`] is called.
    pub(crate) fn note(&mut self, record: &Record) -> io::Result<()> {
        encode(record, &mut self.waiting)
    }

    /// Writes a record, and what waits before it.
    pub(crate) fn append(&mut self, record: &Record) -> io::Result<()> {
        self.note(record)?;
        self.write_down()
    }

    pub(crate) fn write_down(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let mut lines = std::mem::take(&mut self.waiting);
        let written = self.write(&lines);
        self.behind |= written.is_err();
        lines.clear();
        lines.shrink_to(KEPT_BYTES);
        self.waiting = lines;
        written
    }

    /// The file does not tell all, and will not until it is replaced.
    pub(crate) const fn is_behind(&self) -> bool {
        self.behind
    }

    /// Somebody has deleted the file, or put another in its place.
    pub(crate) fn is_lost(&self) -> bool {
        !leads_to(&self.path, &self.file)
    }

    /// What lives makes the file as long as it is; only when twice of that has come together, it is worth it.
    pub(crate) fn wants_compaction(&self) -> bool {
        self.size > self.compact_above
    }

    /// Replaces the file by one that holds just `records`. On any failure the old one stays in use.
    pub(crate) fn compact(
        &mut self,
        records: impl Iterator<Item = Record>,
        reserve: usize,
    ) -> io::Result<()> {
        // Of what is not among them the old one still tells.
        self.behind = true;
        // Where it fails, the next try comes when the file has grown as much again.
        self.compact_above = (self.size * 2).max(COMPACT_ABOVE);
        // The old file stays in use until the new one is complete, and may stay so; where it cannot take what waits, the
        // new one holds that all the same.
        self.write_down().ok();
        let mut lines = Vec::new();
        for record in records {
            encode(&record, &mut lines)?;
        }
        let beside = self.path.with_extension("new");
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut fresh = Self::new(&self.path, open_append(&beside)?);
        fresh.reserve_bytes(lines.len() as u64 + reserve as u64 * RESERVE_PER_RECORD)?;
        fresh.write(&lines)?;
        fresh.compact_above = (fresh.size * 2).max(COMPACT_ABOVE);
        std::fs::rename(&beside, &self.path)?;
        *self = fresh;
        Ok(())
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let written = self.file.write(lines)?;
        self.size += written as u64;
        if written == lines.len() {
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

/// Adds a line; the file knows only whole ones.
fn encode(record: &Record, lines: &mut Vec<u8>) -> io::Result<()> {
    let begin = lines.len();
    lines.extend_from_slice(&[b' '; SUM]);
    if let Err(error) = serde_json::to_writer(&mut *lines, record) {
        lines.truncate(begin);
        return Err(io::Error::other(error));
    }
    let sum = format!("{:016x} ", checksum(lines.get(begin + SUM..).unwrap_or_default()));
    if let Some(place) = lines.get_mut(begin..begin + SUM) {
        place.copy_from_slice(sum.as_bytes());
    }
    lines.push(b'\n');
    Ok(())
}

fn decode(line: &[u8]) -> Option<Record> {
    let (sum, json) = line.split_at_checked(SUM)?;
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
            Record::Gone { key } => self.known.retain(|known| *known.intent.key != *key),
        }
    }

    fn find(&mut self, key: &str) -> Option<&mut Known> {
        self.known.iter_mut().rev().find(|known| *known.intent.key == *key)
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
            log: Path::new("/l").into(),
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
            assert_eq!(&*told.known.last().unwrap().intent.key, "b#1", "cut at {cut}");
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
        journal.compact([intent("a#1"), exit(100, "a#1")].into_iter(), 4).unwrap();
        journal.append(&Record::Ack { seq: 100 }).unwrap();
        let (_, told) = Journal::open(&path).unwrap();
        assert_eq!((told.known.len(), told.exits.len(), told.damaged), (1, 0, 0));
    }

    #[test]
    fn what_waits_goes_first_and_is_not_lost_in_a_compaction() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (mut journal, _) = Journal::open(&path).unwrap();
        journal.note(&exit(1, "a#1")).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
        journal.append(&exit(2, "b#1")).unwrap();
        journal.note(&exit(3, "c#1")).unwrap();
        let seqs = || Journal::open(&path).unwrap().1.exits.iter().map(|exit| exit.seq).collect::<Vec<_>>();
        assert_eq!(seqs(), [1, 2]);
        // One that fails must leave everything in the old file.
        std::fs::create_dir(path.with_extension("new")).unwrap();
        journal.compact(std::iter::empty(), 0).unwrap_err();
        assert_eq!(seqs(), [1, 2, 3]);
    }

    #[test]
    fn a_long_file_of_what_lives_is_not_written_anew_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(&dir.path().join("journal")).unwrap();
        let records = || (0..4000).map(|seq| exit(seq, "x#1"));
        for record in records() {
            journal.append(&record).unwrap();
        }
        assert!(journal.wants_compaction());
        journal.compact(records(), 0).unwrap();
        assert!(journal.size > COMPACT_ABOVE && !journal.wants_compaction());
    }
    #[test]
    fn one_that_could_not_be_written_is_behind_until_it_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let mut journal = Journal::new(&dir.path().join("journal"), full);
        journal.append(&intent("a#1")).unwrap_err();
        assert!(journal.is_behind());
        journal.compact([intent("a#1")].into_iter(), 1).unwrap();
        assert!(!journal.is_behind());
        std::fs::remove_dir_all(dir.path()).unwrap();
        journal.compact([intent("a#1")].into_iter(), 1).unwrap_err();
        assert!(journal.is_behind());
    }
}
