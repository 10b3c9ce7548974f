//! How retries went, from the attempts that are known. Pure.
//!
//! An attempt *holds* once it completed or has lived for [`HOLDS`]. A streak of failures starts with a crash and ends
//! with the first later attempt that holds (recovered, after so many attempts) or with a runner that gives up (lost).
//! What a person stopped ends a streak without a word.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::ids::RunnerName;
use crate::domain::verdict::{Outcome, Verdict};
use crate::domain::view::{AttemptView, RunnerStatus, RunnerView};
use crate::frontend::text::between;

/// An attempt that has lived this long counts as recovered.
pub const HOLDS: Duration = Duration::from_mins(1);
/// Of the sparkline of the last day: half an hour each.
pub const SLOTS: usize = 48;
const SLOT: Duration = Duration::from_mins(30);
/// Attempts until one held: 1, 2, 3, 4, 5 or more.
pub const BARS: usize = 5;

/// Of one runner, or of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    pub attempts: usize,
    pub crashes: usize,
    /// Streaks that ended with an attempt that held.
    pub recovered: usize,
    /// Streaks that ended with giving up.
    pub lost: usize,
    /// From the first crash of a streak to the start of the attempt that held, over all streaks.
    pub recovering: Duration,
    /// How many attempts it took, by number; the last counts that many or more.
    pub took: [usize; BARS],
    /// Crashes of the last day, the newest last.
    pub day: [u64; SLOTS],
    /// When the first attempt that is known started.
    pub since: Option<Timestamp>,
    /// The last crash.
    pub last: Option<Outcome>,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            attempts: 0,
            crashes: 0,
            recovered: 0,
            lost: 0,
            recovering: Duration::ZERO,
            took: [0; BARS],
            day: [0; SLOTS],
            since: None,
            last: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub all: Stats,
    /// The most crashes first, then by name.
    pub runners: Vec<(RunnerName, Stats)>,
}

impl Report {
    pub fn of<'a>(
        runners: impl IntoIterator<Item = &'a RunnerView>,
        history: &HashMap<RunnerName, Vec<AttemptView>>,
        now: Timestamp,
    ) -> Self {
        let mut all = Stats::default();
        let mut each: Vec<(RunnerName, Stats)> = runners
            .into_iter()
            .map(|runner| {
                let older = history.get(&runner.name).map_or(&[][..], Vec::as_slice);
                let stats = Stats::of(&merged(older, &runner.attempts), runner, now);
                all.add(&stats);
                (runner.name.clone(), stats)
            })
            .collect();
        each.sort_by(|(a, x), (b, y)| y.crashes.cmp(&x.crashes).then_with(|| a.cmp(b)));
        Self { all, runners: each }
    }
}

impl Stats {
    fn of(attempts: &[&AttemptView], runner: &RunnerView, now: Timestamp) -> Self {
        let mut stats = Self { attempts: attempts.len(), ..Self::default() };
        stats.since = attempts.iter().find_map(|attempt| attempt.started_at);
        // The end of the first crash of the streak, and its attempts so far.
        let mut streak: Option<(Option<Timestamp>, usize)> = None;
        for attempt in attempts {
            let verdict = attempt.outcome.as_ref().map(|outcome| outcome.verdict);
            let crashed = verdict.is_some_and(is_crash);
            let lived = attempt.started_at.map(|from| between(from, attempt.ended_at.unwrap_or(now)));
            let held = verdict == Some(Verdict::Completed) || lived.is_some_and(|lived| lived >= HOLDS);
            if held {
                let tries = streak.map_or(0, |(_, tries)| tries);
                stats.took[tries.min(BARS - 1)] += 1;
                if let Some((since, _)) = streak.take() {
                    stats.recovered += 1;
                    if let (Some(since), Some(start)) = (since, attempt.started_at) {
                        stats.recovering += between(since, start);
                    }
                }
            }
            if crashed {
                stats.crashes += 1;
                stats.last.clone_from(&attempt.outcome);
                if let Some(slot) = attempt.ended_at.and_then(|at| slot(at, now)) {
                    stats.day[slot] += 1;
                }
                let (since, tries) = streak.unwrap_or((attempt.ended_at, 0));
                streak = Some((since, tries + 1));
            } else if verdict == Some(Verdict::Stopped) {
                streak = None;
            }
        }
        if streak.is_some() && runner.status == RunnerStatus::Crashed {
            stats.lost += 1;
        }
        stats
    }

    fn add(&mut self, other: &Self) {
        self.attempts += other.attempts;
        self.crashes += other.crashes;
        self.recovered += other.recovered;
        self.lost += other.lost;
        self.recovering += other.recovering;
        for (sum, count) in self.took.iter_mut().zip(other.took) {
            *sum += count;
        }
        for (sum, count) in self.day.iter_mut().zip(other.day) {
            *sum += count;
        }
        self.since = match (self.since, other.since) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }

    /// Streaks that are over; `None` where there were none.
    pub fn tried(&self) -> Option<usize> {
        Some(self.recovered + self.lost).filter(|tried| *tried > 0)
    }

    pub fn mean_time_to_recover(&self) -> Option<Duration> {
        let count = u32::try_from(self.recovered).ok().filter(|count| *count > 0)?;
        Some(self.recovering / count)
    }
}

const fn is_crash(verdict: Verdict) -> bool {
    match verdict {
        Verdict::Exit
        | Verdict::Signal
        | Verdict::Inactive
        | Verdict::TimedOut
        | Verdict::Unhealthy
        | Verdict::SpawnFailed
        | Verdict::Lost => true,
        Verdict::Completed | Verdict::Stopped => false,
    }
}

/// Both in the order of their numbers; where both know an attempt, the view does better.
fn merged<'a>(older: &'a [AttemptView], newer: &'a [AttemptView]) -> Vec<&'a AttemptView> {
    let first = newer.first().map(|attempt| attempt.attempt);
    let before = older.iter().filter(|attempt| first.is_none_or(|first| attempt.attempt < first));
    before.chain(newer).collect()
}

fn slot(at: Timestamp, now: Timestamp) -> Option<usize> {
    let ago = between(at, now).as_secs() / SLOT.as_secs();
    (SLOTS - 1).checked_sub(usize::try_from(ago).ok()?)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{ago, busy, now, outcome, runner};
    use super::*;
    use crate::domain::ids::Attempt;

    fn attempt(number: u32, from: i64, to: Option<i64>, verdict: Option<Verdict>) -> AttemptView {
        AttemptView {
            attempt: Attempt::new(number).unwrap(),
            started_at: Some(ago(from)),
            ended_at: to.map(ago),
            outcome: verdict.map(|verdict| outcome(verdict, None)),
        }
    }

    fn stats(status: RunnerStatus, attempts: Vec<AttemptView>) -> Stats {
        let view = RunnerView { attempts, ..runner("a", status) };
        Report::of([&view], &HashMap::new(), now()).all
    }

    #[test]
    fn a_streak_that_ends_well_has_a_length_and_a_time() {
        let stats = stats(
            RunnerStatus::Completed,
            vec![
                attempt(1, 500, Some(490), Some(Verdict::Exit)),
                attempt(2, 480, Some(470), Some(Verdict::Inactive)),
                attempt(3, 440, Some(430), Some(Verdict::Completed)),
            ],
        );
        assert_eq!((stats.attempts, stats.crashes, stats.recovered, stats.lost), (3, 2, 1, 0));
        assert_eq!(stats.mean_time_to_recover(), Some(Duration::from_secs(50)));
        assert_eq!(stats.took, [0, 0, 1, 0, 0]);
    }

    #[test]
    fn giving_up_is_a_loss_and_a_backoff_is_open() {
        let attempts = || vec![attempt(1, 50, Some(45), Some(Verdict::Exit))];
        assert_eq!(stats(RunnerStatus::Crashed, attempts()).tried(), Some(1));
        assert_eq!(stats(RunnerStatus::Backoff, attempts()).tried(), None);
    }

    #[test]
    fn a_long_life_counts_though_it_ends_in_a_crash() {
        let stats = stats(
            RunnerStatus::Running,
            vec![
                attempt(1, 5000, Some(3000), Some(Verdict::Exit)),
                attempt(2, 2990, Some(100), Some(Verdict::Signal)),
                attempt(3, 95, None, None),
            ],
        );
        assert_eq!((stats.crashes, stats.recovered, stats.took), (2, 2, [1, 2, 0, 0, 0]));
        assert_eq!(stats.mean_time_to_recover(), Some(Duration::from_millis(7500)));
    }

    #[test]
    fn what_was_stopped_says_nothing() {
        let stats = stats(
            RunnerStatus::Stopped,
            vec![
                attempt(1, 50, Some(45), Some(Verdict::Exit)),
                attempt(2, 40, Some(30), Some(Verdict::Stopped)),
            ],
        );
        assert_eq!((stats.tried(), stats.crashes), (None, 1));
    }

    #[test]
    fn retry_logs_reach_further_back_and_nothing_counts_twice() {
        let old = vec![
            attempt(1, 90_000, Some(89_990), Some(Verdict::Exit)),
            attempt(2, 600, Some(590), Some(Verdict::Exit)),
        ];
        let view = RunnerView {
            attempts: vec![attempt(2, 600, Some(590), Some(Verdict::Exit))],
            ..runner("a", RunnerStatus::Backoff)
        };
        let history = HashMap::from([(view.name.clone(), old)]);
        let all = Report::of([&view], &history, now()).all;
        assert_eq!((all.attempts, all.crashes), (2, 2));
        // Only the newer one is of the last day.
        assert_eq!(all.day.iter().sum::<u64>(), 1);
        assert_eq!(all.day[SLOTS - 1], 1);
    }

    #[test]
    fn the_worst_comes_first() {
        let snapshot = busy();
        let report = Report::of(snapshot.runners.iter().map(|runner| &**runner), &HashMap::new(), now());
        assert_eq!(report.runners[0].0.as_str(), "agent-db");
        assert_eq!(report.all.crashes, report.runners.iter().map(|(_, stats)| stats.crashes).sum::<usize>());
    }
}
