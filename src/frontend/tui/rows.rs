//! Which runners are listed, in which order, under which headings. Pure; it must not know what is selected.

use std::sync::Arc;

use super::fleet::Fleet;
use super::flows::Flows;
use crate::domain::flow::ids::RunId;
use crate::domain::flow::view::RunView;
use crate::domain::view::{RunnerStatus, RunnerView};
use crate::frontend::text::word;

/// A line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// Never selected, as little as a gap.
    Group(String),
    /// A blank line between groups.
    Gap,
    /// The place in the fleet.
    Runner(usize),
    Run(RunId),
}

impl Row {
    /// It can be highlighted.
    pub const fn is_choice(&self) -> bool {
        matches!(self, Self::Runner(_) | Self::Run(_))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sort {
    /// As in the config, by group.
    #[default]
    Config,
    /// What needs a person first.
    Attention,
    Cpu,
    Memory,
}

impl Sort {
    #[must_use]
    pub const fn next(self) -> Self {
        match self {
            Self::Config => Self::Attention,
            Self::Attention => Self::Cpu,
            Self::Cpu => Self::Memory,
            Self::Memory => Self::Config,
        }
    }

    pub const fn word(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Attention => "attention",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        }
    }
}

/// What is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Choice<'a> {
    /// Words that must all be found in name, group or status.
    pub filter: &'a str,
    pub unfinished: bool,
    pub sort: Sort,
}

pub fn rows(fleet: &Fleet, choice: Choice<'_>) -> Vec<Row> {
    let words: Vec<String> = choice.filter.split_whitespace().map(str::to_lowercase).collect();
    let mut chosen: Vec<(usize, &Arc<RunnerView>)> = fleet
        .runners()
        .iter()
        .enumerate()
        .filter(|(_, runner)| !choice.unfinished || !is_finished(runner))
        .filter(|(_, runner)| matches(runner, &words))
        .collect();
    // All of these keep the order of the config among equals.
    match choice.sort {
        Sort::Config => return grouped(&chosen),
        Sort::Attention => chosen.sort_by_key(|(_, runner)| need(runner)),
        Sort::Cpu => chosen.sort_by(|(_, a), (_, b)| {
            let cpu = |runner: &RunnerView| fleet.figures(&runner.name).map_or(-1.0, |of| of.cpu_percent);
            cpu(b).total_cmp(&cpu(a))
        }),
        Sort::Memory => chosen.sort_by_key(|(_, runner)| {
            std::cmp::Reverse(fleet.figures(&runner.name).map_or(0, |of| of.rss_bytes))
        }),
    }
    chosen.into_iter().map(|(at, _)| Row::Runner(at)).collect()
}

/// The latest runs, below the runners.
pub fn runs(flows: &Flows, choice: Choice<'_>) -> Vec<Row> {
    let words: Vec<String> = choice.filter.split_whitespace().map(str::to_lowercase).collect();
    let listed = flows.listed().filter(|run| !choice.unfinished || !run.status.is_final());
    let mut rows: Vec<Row> =
        listed.filter(|run| run_matches(run, &words)).map(|run| Row::Run(run.run_id.clone())).collect();
    if !rows.is_empty() {
        rows.insert(0, Row::Group(FLOWS.to_owned()));
    }
    rows
}

/// The heading above the runs.
const FLOWS: &str = "flows";

fn run_matches(run: &RunView, words: &[String]) -> bool {
    words.iter().all(|wanted| {
        run.run_id.as_str().to_lowercase().contains(wanted)
            || FLOWS.contains(wanted.as_str())
            || run.status.word().starts_with(wanted.as_str())
    })
}

/// Groups in the order in which they first appear; runners without one come first.
fn grouped(chosen: &[(usize, &Arc<RunnerView>)]) -> Vec<Row> {
    let mut groups: Vec<(Option<&str>, Vec<usize>)> = vec![(None, Vec::new())];
    for (at, runner) in chosen {
        let group = runner.group.as_deref();
        match groups.iter_mut().find(|(known, _)| *known == group) {
            Some((_, members)) => members.push(*at),
            None => groups.push((group, vec![*at])),
        }
    }
    let mut rows = Vec::with_capacity(chosen.len() + groups.len());
    for (group, members) in groups {
        if group.is_some() && !rows.is_empty() {
            rows.push(Row::Gap);
        }
        rows.extend(group.map(|group| Row::Group(group.to_owned())));
        rows.extend(members.into_iter().map(Row::Runner));
    }
    rows
}

fn is_finished(runner: &RunnerView) -> bool {
    runner.status == RunnerStatus::Completed
}

fn matches(runner: &RunnerView, words: &[String]) -> bool {
    let name = || runner.name.as_str().to_lowercase();
    let group = || runner.group.as_deref().unwrap_or_default().to_lowercase();
    words.iter().all(|wanted| {
        name().contains(wanted) || group().contains(wanted) || word(runner).starts_with(wanted.as_str())
    })
}

fn need(runner: &RunnerView) -> u8 {
    match runner.status {
        RunnerStatus::Stuck => 0,
        RunnerStatus::Crashed if runner.exhausted => 1,
        RunnerStatus::Crashed => 2,
        RunnerStatus::Backoff => 3,
        RunnerStatus::Starting | RunnerStatus::Stopping => 4,
        RunnerStatus::Running => 5,
        RunnerStatus::Idle | RunnerStatus::Stopped => 6,
        RunnerStatus::Completed => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::runner;
    use super::*;

    fn fleet() -> Fleet {
        let mut fleet = Fleet::default();
        let of = |name: &str, group: Option<&str>, status| RunnerView {
            group: group.map(str::to_owned),
            ..runner(name, status)
        };
        let all = [
            of("api", Some("agents"), RunnerStatus::Running),
            of("db", Some("services"), RunnerStatus::Crashed),
            of("docs", Some("agents"), RunnerStatus::Completed),
            of("lone", None, RunnerStatus::Stuck),
        ];
        fleet.replace(all.map(Arc::new).to_vec());
        fleet
    }

    fn names(choice: Choice<'_>) -> Vec<String> {
        let fleet = fleet();
        let text = |row: Row| match row {
            Row::Group(group) => format!("[{group}]"),
            Row::Gap => String::new(),
            Row::Runner(at) => fleet.runners()[at].name.to_string(),
            Row::Run(run) => run.to_string(),
        };
        rows(&fleet, choice).into_iter().map(text).collect()
    }

    #[test]
    fn groups_keep_the_order_of_the_config() {
        assert_eq!(names(Choice::default()), ["lone", "", "[agents]", "api", "docs", "", "[services]", "db"]);
    }

    #[test]
    fn filters_narrow_by_name_group_and_status() {
        let filter = |filter| names(Choice { filter, ..Choice::default() });
        assert_eq!(filter("AGENT"), ["[agents]", "api", "docs"]);
        assert_eq!(filter("agents comp"), ["[agents]", "docs"]);
        assert_eq!(filter("crash"), ["[services]", "db"]);
        assert_eq!(filter("nothing"), Vec::<String>::new());
        let unfinished = Choice { unfinished: true, ..Choice::default() };
        assert_eq!(names(unfinished), ["lone", "", "[agents]", "api", "", "[services]", "db"]);
    }

    #[test]
    fn attention_puts_trouble_first() {
        let choice = Choice { sort: Sort::Attention, ..Choice::default() };
        assert_eq!(names(choice), ["lone", "db", "api", "docs"]);
    }
}
