//! How many attempt logs of a runner stay: the newest `log_keep_attempts`, and never fewer than the live one. It must
//! not know why attempts end.
//!
//! Folders are read once, at the start; from then on the numbers are known, so that a start costs no directory listing.
//! Deciding touches no disk; [`delete`] is for a thread that may wait.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use super::names;
use crate::domain::ids::{Attempt, RunnerName};
use crate::domain::spec::LogSpec;

/// Which logs there are.
#[derive(Debug, Clone, Default)]
pub struct Retention {
    kept: HashMap<RunnerName, BTreeSet<Attempt>>,
}

impl Retention {
    /// Reads every folder once. One that cannot be read holds no logs as far as is known; what went wrong is returned
    /// beside.
    pub fn survey<'a>(
        runners: impl IntoIterator<Item = (&'a RunnerName, &'a LogSpec)>,
    ) -> (Self, Vec<(PathBuf, io::Error)>) {
        let mut folders: HashMap<(&Path, &str), HashMap<String, Vec<Attempt>>> = HashMap::new();
        let mut failures = Vec::new();
        let mut kept = HashMap::new();
        for (runner, log) in runners {
            let folder = folders.entry((&log.dir, &log.template)).or_insert_with(|| {
                names::survey(&log.dir, &log.template).unwrap_or_else(|error| {
                    failures.push((log.dir.clone(), error));
                    HashMap::new()
                })
            });
            let attempts = folder.get(&names::file_form(runner)).into_iter().flatten().copied().collect();
            kept.insert(runner.clone(), attempts);
        }
        (Self { kept }, failures)
    }

    /// The last attempt that has a log: no new attempt may have its number, or one below.
    pub fn last(&self, runner: &RunnerName) -> Option<Attempt> {
        self.kept.get(runner)?.last().copied()
    }

    /// An attempt was started: which logs have to go. Its own is never among them.
    pub fn started(&mut self, runner: &RunnerName, log: &LogSpec, attempt: Attempt) -> Vec<PathBuf> {
        let attempts = self.kept.entry(runner.clone()).or_default();
        attempts.insert(attempt);
        let keep = usize::try_from(log.keep_attempts).unwrap_or(usize::MAX);
        let mut gone = Vec::new();
        while attempts.len() > keep {
            match attempts.first().copied() {
                Some(oldest) if oldest < attempt => {
                    attempts.remove(&oldest);
                    gone.push(names::attempt_log(log, runner, oldest));
                }
                _ => break,
            }
        }
        gone
    }

    /// The runner is gone for good; its logs stay where they are.
    pub fn forget(&mut self, runner: &RunnerName) {
        self.kept.remove(runner);
    }
}

/// Deletes; one that is gone already is no failure.
pub fn delete(logs: &[PathBuf]) -> Vec<(PathBuf, io::Error)> {
    let attempt = |log: &PathBuf| match std::fs::remove_file(log) {
        Ok(()) => None,
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some((log.clone(), error)),
    };
    logs.iter().filter_map(attempt).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [PathBuf; 0] = [];

    fn at(number: u32) -> Attempt {
        Attempt::new(number).unwrap()
    }

    fn files(dir: &Path) -> Vec<String> {
        let mut files: Vec<String> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort_unstable();
        files
    }

    #[test]
    fn the_oldest_go_and_nothing_of_another_runner() {
        let dir = tempfile::tempdir().unwrap();
        let log = LogSpec {
            dir: dir.path().join("logs"),
            template: "{name}_{index}.log".into(),
            max_bytes: None,
            keep_attempts: 2,
        };
        std::fs::create_dir(&log.dir).unwrap();
        for file in [
            "a_1.log",
            "a_2.log",
            "a_10.log",
            "a_1_1.log",
            "a_1_2.log",
            "a_b_1.log",
            "a_3.log.bak",
            "a_x.log",
        ] {
            std::fs::write(log.dir.join(file), "").unwrap();
        }
        let (a, a_1) = (RunnerName::trusted("a"), RunnerName::trusted("a_1"));
        let (mut retention, failures) = Retention::survey([(&a, &log), (&a_1, &log)]);
        assert!(failures.is_empty());
        assert_eq!((retention.last(&a), retention.last(&a_1)), (Some(at(10)), Some(at(2))));

        std::fs::write(log.dir.join("a_11.log"), "").unwrap();
        let gone = retention.started(&a, &log, at(11));
        assert_eq!(gone, [log.dir.join("a_1.log"), log.dir.join("a_2.log")]);
        assert!(delete(&gone).is_empty());
        assert!(delete(&gone).is_empty(), "deleting again is no failure");
        assert_eq!(
            files(&log.dir),
            ["a_10.log", "a_11.log", "a_1_1.log", "a_1_2.log", "a_3.log.bak", "a_b_1.log", "a_x.log"]
        );
        assert_eq!(retention.started(&a, &log, at(12)), [log.dir.join("a_10.log")]);
    }

    #[test]
    fn the_live_log_stays_whatever_the_limit_is() {
        let mut log = LogSpec {
            dir: "/nowhere".into(),
            template: "{name}_{index}.log".into(),
            max_bytes: None,
            keep_attempts: 0,
        };
        let a = RunnerName::trusted("a");
        let mut retention = Retention::default();
        assert_eq!(retention.started(&a, &log, at(5)), NONE);
        assert_eq!(retention.started(&a, &log, at(6)), [PathBuf::from("/nowhere/a_5.log")]);
        // Told twice, as after an adoption.
        assert_eq!(retention.started(&a, &log, at(6)), NONE);
        log.keep_attempts = 100;
        for number in 7..=105 {
            assert_eq!(retention.started(&a, &log, at(number)), NONE);
        }
        assert_eq!(retention.started(&a, &log, at(106)), [PathBuf::from("/nowhere/a_6.log")]);
    }

    #[test]
    fn a_folder_that_cannot_be_read_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let log = LogSpec {
            dir: file.clone(),
            template: "{name}_{index}".into(),
            max_bytes: None,
            keep_attempts: 1,
        };
        let a = RunnerName::trusted("a");
        let (retention, failures) = Retention::survey([(&a, &log)]);
        assert_eq!(failures.len(), 1);
        assert_eq!(failures[0].0, file);
        assert_eq!(retention.last(&a), None);
    }
}
