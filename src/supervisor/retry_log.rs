//! `retry_log_dir`: for each runner a file `NAME.json` of its attempts, verdicts and backoffs, for people and scripts.
//! It must not know what comes of an attempt, and nothing waits for it: whoever notes something hands it to a thread,
//! which writes many notes at once where they come fast.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};

use super::atomic::{replace, set_aside};
use crate::domain::ids::{Attempt, RunnerName};
use crate::domain::time::Timestamp;
use crate::domain::verdict::Verdict;
use crate::logs::names::{file_form, prepare_dir};
use crate::ports::Clock;

/// How many attempts a file holds at most, the newest.
pub const KEPT: usize = 1000;

/// What is known of one attempt. What a later note leaves open stays as an earlier one said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptEntry {
    pub attempt: Attempt,
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    #[serde(default)]
    pub verdict: Option<Verdict>,
    #[serde(default)]
    pub exit_code: Option<i32>,
    #[serde(default)]
    pub signal: Option<i32>,
    #[serde(default)]
    pub detail: Option<String>,
    /// The wait before the next attempt, where there is one.
    #[serde(default)]
    pub backoff_seconds: Option<f64>,
    /// Which retry follows: 2 of 3 is 2.
    #[serde(default)]
    pub retry: Option<u32>,
}

impl AttemptEntry {
    pub fn new(attempt: Attempt) -> Self {
        Self {
            attempt,
            started_at: None,
            ended_at: None,
            verdict: None,
            exit_code: None,
            signal: None,
            detail: None,
            backoff_seconds: None,
            retry: None,
        }
    }

    fn take(&mut self, newer: Self) {
        let earlier = std::mem::replace(self, newer);
        self.started_at = self.started_at.or(earlier.started_at);
        self.ended_at = self.ended_at.or(earlier.ended_at);
        self.verdict = self.verdict.or(earlier.verdict);
        self.exit_code = self.exit_code.or(earlier.exit_code);
        self.signal = self.signal.or(earlier.signal);
        self.detail = self.detail.take().or(earlier.detail);
        self.backoff_seconds = self.backoff_seconds.or(earlier.backoff_seconds);
        self.retry = self.retry.or(earlier.retry);
    }
}

/// A file, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Log {
    runner: RunnerName,
    /// In ascending order.
    attempts: Vec<AttemptEntry>,
}

/// The way to the thread that writes. Dropping it waits until all that was noted is written.
#[derive(Debug)]
pub struct RetryLog {
    notes: Option<Sender<Note>>,
    writer: Option<JoinHandle<()>>,
}

type Note = (RunnerName, AttemptEntry);

impl RetryLog {
    /// `trouble` is told, on the writing thread, what could not be written or read.
    pub fn start(
        dir: PathBuf,
        clock: Arc<dyn Clock>,
        trouble: impl Fn(String) + Send + 'static,
    ) -> io::Result<Self> {
        let (notes, inbox) = channel();
        let writer = Writer { dir, clock, trouble };
        let thread = std::thread::Builder::new().name("retry-log".into()).stack_size(256 << 10);
        let writer = thread.spawn(move || writer.run(&inbox))?;
        Ok(Self { notes: Some(notes), writer: Some(writer) })
    }

    /// Hands a note over; it replaces what is known of the same attempt, but for what it leaves open.
    pub fn note(&self, runner: RunnerName, entry: AttemptEntry) {
        if let Some(notes) = &self.notes {
            // The writer is gone only after a panic of its own, and then there is nobody to write.
            notes.send((runner, entry)).ok();
        }
    }
}

impl Drop for RetryLog {
    fn drop(&mut self) {
        self.notes = None;
        if let Some(writer) = self.writer.take() {
            // A panic of the writer has been printed already.
            writer.join().ok();
        }
    }
}

/// What the retry log of a runner tells, the oldest first; nothing where there is none, or none that can be read.
pub fn read(dir: &Path, runner: &RunnerName) -> Vec<AttemptEntry> {
    let path = dir.join(format!("{}.json", file_form(runner)));
    let Ok(bytes) = fs::read(path) else { return Vec::new() };
    let mut attempts = serde_json::from_slice::<Log>(&bytes).map(|log| log.attempts).unwrap_or_default();
    attempts.sort_by_key(|entry| entry.attempt);
    attempts
}

struct Writer<T> {
    dir: PathBuf,
    clock: Arc<dyn Clock>,
    trouble: T,
}

impl<T: Fn(String)> Writer<T> {
    fn run(&self, inbox: &Receiver<Note>) {
        while let Ok(first) = inbox.recv() {
            let mut notes: BTreeMap<RunnerName, Vec<AttemptEntry>> = BTreeMap::new();
            for (runner, entry) in std::iter::once(first).chain(inbox.try_iter()) {
                notes.entry(runner).or_default().push(entry);
            }
            for (runner, entries) in notes {
                if let Err((path, source)) = self.write(&runner, entries) {
                    (self.trouble)(format!("write the retry log {}: {source}", path.display()));
                }
            }
        }
    }

    fn write(&self, runner: &RunnerName, entries: Vec<AttemptEntry>) -> Result<(), (PathBuf, io::Error)> {
        let path = self.dir.join(format!("{}.json", file_form(runner)));
        let failed = |source| (path.clone(), source);
        prepare_dir(&self.dir).map_err(failed)?;
        let mut log = self.read(&path, runner).map_err(failed)?;
        for entry in entries {
            match log.attempts.binary_search_by_key(&entry.attempt, |known| known.attempt) {
                Ok(at) => log.attempts[at].take(entry),
                Err(at) => log.attempts.insert(at, entry),
            }
        }
        log.attempts.drain(..log.attempts.len().saturating_sub(KEPT));
        let text = render(&log).map_err(|error| failed(error.into()))?;
        replace(&path, text.as_bytes()).map_err(failed)
    }

    /// What the file holds; a file that cannot be read is set aside.
    fn read(&self, path: &Path, runner: &RunnerName) -> io::Result<Log> {
        let fresh = || Log { runner: runner.clone(), attempts: Vec::new() };
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(fresh()),
            Err(error) => return Err(error),
        };
        match serde_json::from_slice::<Log>(&bytes) {
            Ok(mut log) => {
                log.attempts.sort_by_key(|entry| entry.attempt);
                Ok(Log { runner: runner.clone(), ..log })
            }
            Err(error) => {
                let aside = set_aside(path, self.clock.now().wall)?;
                (self.trouble)(format!(
                    "the retry log {} could not be read ({error}); it is kept as {}",
                    path.display(),
                    aside.display()
                ));
                Ok(fresh())
            }
        }
    }
}

/// One attempt a line.
fn render(log: &Log) -> serde_json::Result<String> {
    let mut text = format!("{{\"runner\":{},\"attempts\":[", serde_json::to_string(&log.runner)?);
    for (at, entry) in log.attempts.iter().enumerate() {
        text.push_str(if at == 0 { "\n" } else { ",\n" });
        text.push_str(&serde_json::to_string(entry)?);
    }
    text.push_str("\n]}\n");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::{Mono, Now};
    use std::sync::Mutex;

    struct StoppedClock;

    impl Clock for StoppedClock {
        fn now(&self) -> Now {
            Now { mono: Mono::from_nanos(0), wall: Timestamp::UNIX_EPOCH }
        }
    }

    fn at(number: u32) -> Attempt {
        Attempt::new(number).unwrap()
    }

    /// Notes all that, waits until it is written, and returns what was complained of.
    fn note_all(dir: &Path, notes: Vec<(&str, AttemptEntry)>) -> Vec<String> {
        let complaints = Arc::new(Mutex::new(Vec::new()));
        let told = complaints.clone();
        let log = RetryLog::start(dir.to_owned(), Arc::new(StoppedClock), move |text| {
            told.lock().unwrap().push(text);
        })
        .unwrap();
        for (runner, entry) in notes {
            log.note(RunnerName::trusted(runner), entry);
        }
        drop(log);
        std::mem::take(&mut complaints.lock().unwrap())
    }

    fn read(path: &Path) -> Log {
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn notes_add_up_and_files_are_continued() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("retries");
        let started = AttemptEntry { started_at: Some(Timestamp::UNIX_EPOCH), ..AttemptEntry::new(at(1)) };
        let ended = AttemptEntry {
            verdict: Some(Verdict::Exit),
            exit_code: Some(1),
            backoff_seconds: Some(2.5),
            retry: Some(1),
            ..AttemptEntry::new(at(1))
        };
        assert!(note_all(&dir, vec![("agent", started), ("video/cut", AttemptEntry::new(at(4)))]).is_empty());
        assert!(note_all(&dir, vec![("agent", AttemptEntry::new(at(2))), ("agent", ended)]).is_empty());
        insta::assert_snapshot!(fs::read_to_string(dir.join("agent.json")).unwrap(), @r#"
        {"runner":"agent","attempts":[
        {"attempt":1,"started_at":"1970-01-01T00:00:00Z","ended_at":null,"verdict":"exit","exit_code":1,"signal":null,"detail":null,"backoff_seconds":2.5,"retry":1},
        {"attempt":2,"started_at":null,"ended_at":null,"verdict":null,"exit_code":null,"signal":null,"detail":null,"backoff_seconds":null,"retry":null}
        ]}
        "#);
        assert_eq!(super::read(&dir, &RunnerName::trusted("video/cut"))[0].attempt, at(4));
        assert_eq!(super::read(&dir, &RunnerName::trusted("agent")).len(), 2);
        assert!(super::read(&dir, &RunnerName::trusted("nobody")).is_empty());
    }

    #[test]
    fn only_the_newest_attempts_stay() {
        let dir = tempfile::tempdir().unwrap();
        let numbers = 1..=u32::try_from(KEPT).unwrap() + 5;
        note_all(dir.path(), numbers.map(|n| ("agent", AttemptEntry::new(at(n)))).collect());
        let log = read(&dir.path().join("agent.json"));
        assert_eq!(log.attempts.len(), KEPT);
        assert_eq!(log.attempts[0].attempt, at(6));
    }

    #[test]
    fn a_broken_file_is_kept_and_said_and_a_lost_folder_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.json");
        fs::write(&path, "{").unwrap();
        let complaints = note_all(dir.path(), vec![("agent", AttemptEntry::new(at(9)))]);
        assert!(complaints[0].contains("agent.json.corrupt-1970"), "{complaints:?}");
        assert_eq!(read(&path).attempts.len(), 1);
        assert_eq!(fs::read_to_string(dir.path().join("agent.json.corrupt-19700101T000000Z")).unwrap(), "{");

        let complaints = note_all(&path, vec![("agent", AttemptEntry::new(at(9)))]);
        assert_eq!(complaints.len(), 1);
        assert!(complaints[0].starts_with("write the retry log "), "{complaints:?}");
    }
}
