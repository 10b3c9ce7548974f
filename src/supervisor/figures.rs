//! CPU, memory and last output of what runs, gathered when somebody asks, away from the actor's thread.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use super::probe::Probe;
use crate::domain::ids::{Process, RunnerName};
use crate::domain::time::{Mono, Timestamp};
use crate::domain::view::Figures;

/// A share of CPU needs some time to be a share of.
const SHORTEST: Duration = Duration::from_millis(100);

/// What is asked of one runner.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    pub runner: RunnerName,
    pub process: Option<Process>,
    pub started: Option<Mono>,
    pub log: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Raw {
    pub process: Option<Process>,
    pub started: Option<Mono>,
    pub cpu: Option<Duration>,
    pub rss_bytes: u64,
    pub last_output_at: Option<Timestamp>,
}

/// Reads the world. It may block.
pub fn gather(probe: &dyn Probe, wanted: Vec<Wanted>) -> Vec<(RunnerName, Raw)> {
    let one = |wanted: Wanted| {
        let tree = wanted.process.and_then(|process| probe.tree(process));
        let log = wanted.log.as_deref().and_then(|log| probe.log(log)).filter(|mark| mark.bytes > 0);
        let raw = Raw {
            process: wanted.process,
            started: wanted.started,
            cpu: tree.map(|tree| tree.cpu),
            rss_bytes: tree.map_or(0, |tree| tree.rss_bytes),
            last_output_at: log.map(|mark| mark.modified),
        };
        (wanted.runner, raw)
    };
    wanted.into_iter().map(one).collect()
}

/// Turns CPU time into a share of one core: since the last time that somebody asked, or over the life of the attempt.
#[derive(Debug, Clone, Default)]
pub struct Shares {
    last: HashMap<RunnerName, Sample>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    process: Process,
    cpu: Duration,
    at: Mono,
    percent: f64,
}

impl Shares {
    pub fn figures(&mut self, runner: &RunnerName, raw: &Raw, now: Mono) -> Figures {
        let cpu_percent = if let (Some(process), Some(cpu)) = (raw.process, raw.cpu) {
            self.percent(runner, process, cpu, raw.started, now)
        } else {
            self.last.remove(runner);
            0.0
        };
        Figures { cpu_percent, rss_bytes: raw.rss_bytes, last_output_at: raw.last_output_at }
    }

    pub fn forget(&mut self, runner: &RunnerName) {
        self.last.remove(runner);
    }

    fn percent(
        &mut self,
        runner: &RunnerName,
        process: Process,
        cpu: Duration,
        started: Option<Mono>,
        now: Mono,
    ) -> f64 {
        let before = self.last.get(runner).filter(|sample| sample.process == process);
        let (used, time) = match before {
            // Two who ask at once shall not make each other's figures meaningless.
            Some(sample) if now.since(sample.at) < SHORTEST => return sample.percent,
            Some(sample) => (cpu.saturating_sub(sample.cpu), now.since(sample.at)),
            None => (cpu, started.map_or(Duration::ZERO, |started| now.since(started))),
        };
        let percent = if time < SHORTEST {
            0.0
        } else {
            (used.as_secs_f64() / time.as_secs_f64() * 1000.0).round() / 10.0
        };
        self.last.insert(runner.clone(), Sample { process, cpu, at: now, percent });
        percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_over_the_life_first_and_since_the_last_question_then() {
        let name = RunnerName::trusted("a");
        let at = |seconds: u64| Mono::from_nanos(seconds * 1_000_000_000);
        let raw = |pid, cpu| Raw {
            process: Some(Process { pid, start: 1 }),
            started: Some(at(0)),
            cpu: Some(Duration::from_secs(cpu)),
            rss_bytes: 0,
            last_output_at: None,
        };
        let mut shares = Shares::default();
        let mut percent = |raw: &Raw, now| shares.figures(&name, raw, at(now)).cpu_percent;
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(percent(&raw(1, 5), 10), 50.0));
        assert!(close(percent(&raw(1, 5), 10), 50.0), "asked again at once");
        assert!(close(percent(&raw(1, 25), 20), 200.0), "two cores");
        assert!(close(percent(&raw(2, 3), 30), 10.0), "another process");
    }
}
