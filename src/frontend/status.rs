//! What `restage status` prints: a table for people, rows for machines. Pure.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::text::{Tone, between, bytes, countdown, cut, glyph, one_line, span, tone, word};
use crate::domain::ids::{Attempt, RunnerName};
use crate::domain::time::Timestamp;
use crate::domain::view::{Figures, RunnerStatus, RunnerView, Snapshot};

/// One object of `status --json`. Nothing is left out: what is not known is `null`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row<'a> {
    pub name: &'a RunnerName,
    pub group: Option<&'a str>,
    pub status: RunnerStatus,
    /// `crashed` with no retries left.
    pub exhausted: bool,
    pub ready: Option<bool>,
    pub pid: Option<i32>,
    pub attempt: Option<u32>,
    pub retry_count: u32,
    pub max_retries: u32,
    pub next_retry_at: Option<Timestamp>,
    pub verdict: Option<&'static str>,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub last_output_at: Option<Timestamp>,
    pub cpu_percent: Option<f64>,
    pub rss_bytes: Option<u64>,
    pub log: Option<&'a Path>,
    /// False: nobody supervises, and this is what was recorded last.
    pub supervised: bool,
}

/// Where a view comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Supervisor,
    Record,
}

impl<'a> Row<'a> {
    pub fn new(runner: &'a RunnerView, source: Source) -> Self {
        let outcome = runner.outcome.as_ref();
        let uses = use_of(runner);
        Self {
            name: &runner.name,
            group: runner.group.as_deref(),
            status: runner.status,
            exhausted: runner.exhausted,
            ready: runner.ready,
            pid: runner.pid,
            attempt: runner.attempt.map(Attempt::get),
            retry_count: runner.retry_count,
            max_retries: runner.max_retries,
            next_retry_at: runner.next_retry_at,
            verdict: outcome.map(|outcome| outcome.verdict.word()),
            exit_code: outcome.and_then(|outcome| outcome.exit_code),
            signal: outcome.and_then(|outcome| outcome.signal),
            started_at: runner.started_at,
            ended_at: runner.ended_at,
            last_output_at: runner.figures.and_then(|figures| figures.last_output_at),
            cpu_percent: uses.map(|figures| figures.cpu_percent),
            rss_bytes: uses.map(|figures| figures.rss_bytes),
            log: runner.log.as_deref(),
            supervised: source == Source::Supervisor,
        }
    }
}

/// What its processes use, where it has any: nothing is not the same as zero.
fn use_of(runner: &RunnerView) -> Option<Figures> {
    match runner.status {
        RunnerStatus::Starting | RunnerStatus::Running | RunnerStatus::Stopping | RunnerStatus::Stuck => {
            runner.figures
        }
        RunnerStatus::Idle
        | RunnerStatus::Backoff
        | RunnerStatus::Stopped
        | RunnerStatus::Crashed
        | RunnerStatus::Completed => None,
    }
}

pub fn rows(runners: &[Arc<RunnerView>], source: Source) -> Vec<Row<'_>> {
    runners.iter().map(|runner| Row::new(runner, source)).collect()
}

/// How a table should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    pub width: usize,
    pub colour: bool,
    pub ascii: bool,
}

/// Names are cut below the width that the rest needs, but not to less than this.
const MIN_NAME: usize = 8;
/// A remark that would have to be cut to less says nothing.
const MIN_REMARK: usize = 10;

/// What stands in one line, before it is known how wide the columns are.
struct Cells<'a> {
    runner: &'a RunnerView,
    name: String,
    state: String,
    /// Retry, up/in, cpu, mem, pid: right-aligned, and left out from the end where the width does not do.
    numbers: [String; COLUMNS],
    remark: String,
}

const COLUMNS: usize = 5;
const TITLES: [&str; COLUMNS] = ["retry", "up/in", "cpu", "mem", "pid"];

/// The whole table, a line per runner, below a line about the workspace.
pub fn table(snapshot: &Snapshot, look: &Look) -> String {
    let fleet = &snapshot.fleet;
    let budget = fleet.budget.map(|budget| {
        (format!("   retries {}/{} in {}s", budget.used, budget.max, budget.per_seconds), Tone::Plain)
    });
    let who = if fleet.headless { "headless supervisor" } else { "supervisor" };
    let who = (format!("   {who} {}", fleet.supervisor_pid), Tone::Quiet);
    let rest = budget.into_iter().chain([who]).collect();
    let mut text = summary(&snapshot.workspace, &snapshot.runners, rest, look);
    text.push_str(&body(&snapshot.runners, snapshot.at, look));
    for trouble in [&fleet.keeper_trouble, &fleet.config_error].into_iter().flatten() {
        text.push_str(&Tone::Bad.paint(&format!("! {}", one_line(trouble)), look.colour));
        text.push('\n');
    }
    text
}

/// The same of what was recorded, while nobody supervises.
pub fn recorded_table(workspace: &Path, runners: &[Arc<RunnerView>], at: Timestamp, look: &Look) -> String {
    let nobody = ("   no supervisor runs; as recorded".to_owned(), Tone::Waiting);
    summary(workspace, runners, vec![nobody], look) + &body(runners, at, look)
}

fn body(runners: &[Arc<RunnerView>], at: Timestamp, look: &Look) -> String {
    let cells: Vec<Cells<'_>> = runners.iter().map(|runner| cells(runner, at)).collect();
    if cells.is_empty() {
        return "  no runners; add one to \"runners\" in the config file\n".to_owned();
    }
    let widths = Widths::of(&cells, look.width);
    let mut text = widths.titles(look);
    for (group, members) in grouped(&cells) {
        if let Some(group) = group {
            text.push_str(&Tone::Quiet.paint(&format!("  {}", one_line(group)), look.colour));
            text.push('\n');
        }
        for cells in members {
            text.push_str(&widths.line(cells, look));
        }
    }
    text
}

/// `/home/me/film   ● 3 running  ↻ 1 backoff   supervisor 4242`
fn summary(workspace: &Path, runners: &[Arc<RunnerView>], rest: Vec<(String, Tone)>, look: &Look) -> String {
    let mut counts: Vec<(&'static str, RunnerStatus, usize)> = Vec::new();
    for runner in runners {
        let word = word(runner);
        match counts.iter_mut().find(|(known, ..)| *known == word) {
            Some((.., count)) => *count += 1,
            None => counts.push((word, runner.status, 1)),
        }
    }
    let mut parts = vec![(one_line(&workspace.display().to_string()), Tone::Plain)];
    for (index, (word, status, count)) in counts.iter().enumerate() {
        let gap = if index == 0 { "   " } else { "  " };
        parts.push((format!("{gap}{} {count} {word}", glyph(*status, look.ascii)), tone(*status)));
    }
    parts.extend(rest);
    // What comes last is missed least; the counts stay in any case.
    let width = |parts: &[(String, Tone)]| parts.iter().map(|(text, _)| text.chars().count()).sum::<usize>();
    while parts.len() > 1 + counts.len() && width(&parts) > look.width {
        parts.pop();
    }
    let painted: Vec<String> = parts.iter().map(|(text, tone)| tone.paint(text, look.colour)).collect();
    painted.concat() + "\n"
}

fn cells(runner: &RunnerView, now: Timestamp) -> Cells<'_> {
    let figures = use_of(runner);
    let mut state = word(runner).to_owned();
    if let Some(quiet) = quiet(runner, now) {
        state = format!("{state}  {quiet}");
    }
    let remark = [&runner.waiting, &runner.note]
        .into_iter()
        .flatten()
        .map(|text| one_line(text))
        .collect::<Vec<_>>()
        .join("; ");
    Cells {
        runner,
        name: one_line(runner.name.as_str()),
        state,
        numbers: [
            format!("{}/{}", runner.retry_count, runner.max_retries),
            one_line(&up_or_in(runner, now)),
            figures.map(|figures| format!("{:.0}%", figures.cpu_percent)).unwrap_or_default(),
            figures.map(|figures| bytes(figures.rss_bytes)).unwrap_or_default(),
            runner.pid.map(|pid| pid.to_string()).unwrap_or_default(),
        ],
        remark,
    }
}

/// Silence is worth a word once half of what is allowed has passed.
fn quiet(runner: &RunnerView, now: Timestamp) -> Option<String> {
    if runner.status != RunnerStatus::Running {
        return None;
    }
    let allowed = runner.activity_timeout_seconds?;
    let since = between(runner.figures?.last_output_at?, now);
    (since.as_secs_f64() >= allowed / 2.0).then(|| format!("quiet {}", span(since)))
}

/// How long it has been running, when it goes on, or how it ended.
fn up_or_in(runner: &RunnerView, now: Timestamp) -> String {
    let up = |until| runner.started_at.map(|at| span(between(at, until))).unwrap_or_default();
    match runner.status {
        RunnerStatus::Starting | RunnerStatus::Running | RunnerStatus::Stopping | RunnerStatus::Stuck => {
            up(now)
        }
        RunnerStatus::Backoff => {
            runner.next_retry_at.map(|at| format!("in {}", countdown(now, at))).unwrap_or_default()
        }
        RunnerStatus::Crashed => runner.outcome.as_ref().map(ToString::to_string).unwrap_or_default(),
        RunnerStatus::Completed => runner.ended_at.map(up).unwrap_or_default(),
        RunnerStatus::Idle | RunnerStatus::Stopped => String::new(),
    }
}

/// Groups in the order in which they first appear; runners without one come first.
fn grouped<'c, 'a>(cells: &'c [Cells<'a>]) -> Vec<(Option<&'a str>, Vec<&'c Cells<'a>>)> {
    let mut groups: Vec<(Option<&'a str>, Vec<&'c Cells<'a>>)> = vec![(None, Vec::new())];
    for cells in cells {
        let group = cells.runner.group.as_deref();
        match groups.iter_mut().find(|(known, _)| *known == group) {
            Some((_, members)) => members.push(cells),
            None => groups.push((group, vec![cells])),
        }
    }
    groups
}

struct Widths {
    name: usize,
    state: usize,
    numbers: Vec<usize>,
    /// What is left for the remark.
    remark: usize,
}

impl Widths {
    fn of(cells: &[Cells<'_>], width: usize) -> Self {
        let longest = |of: &dyn Fn(&Cells<'_>) -> usize| cells.iter().map(of).max().unwrap_or_default();
        let mut name = longest(&|cells| cells.name.chars().count());
        let state = longest(&|cells| cells.state.chars().count());
        let mut numbers: Vec<usize> = (0..COLUMNS)
            .map(|column| longest(&|cells| cells.numbers[column].chars().count()).max(TITLES[column].len()))
            .collect();
        // Glyph and spaces before the name, two before the state and before each number.
        let taken = |name: usize, numbers: &[usize]| {
            4 + name + 2 + state + numbers.iter().map(|w| w + 2).sum::<usize>()
        };
        while numbers.len() > 1 && taken(name, &numbers) > width {
            numbers.pop();
        }
        let over = taken(name, &numbers).saturating_sub(width);
        name = name.saturating_sub(over).max(MIN_NAME.min(name));
        let remark = width.saturating_sub(taken(name, &numbers) + 2);
        Self { name, state, numbers, remark }
    }

    fn titles(&self, look: &Look) -> String {
        let titles = right_aligned(TITLES.iter(), &self.numbers);
        let line = format!("    {:name$}  {:state$}{titles}", "", "", name = self.name, state = self.state);
        format!("{}\n", Tone::Quiet.paint(&line, look.colour))
    }

    fn line(&self, cells: &Cells<'_>, look: &Look) -> String {
        let status = cells.runner.status;
        let paint = |text: &str| tone(status).paint(text, look.colour);
        let remark = if self.remark < MIN_REMARK {
            String::new()
        } else {
            Tone::Waiting.paint(&cut(&cells.remark, self.remark, look.ascii), look.colour)
        };
        let line = format!(
            "  {} {:name$}  {}{}  {remark}",
            paint(&glyph(status, look.ascii).to_string()),
            cut(&cells.name, self.name, look.ascii),
            paint(&format!("{:state$}", cells.state, state = self.state)),
            right_aligned(cells.numbers.iter(), &self.numbers),
            name = self.name,
        );
        format!("{}\n", line.trim_end())
    }
}

/// Each in its column, two spaces before it; only as many as there are widths.
fn right_aligned(texts: impl Iterator<Item = impl AsRef<str>>, widths: &[usize]) -> String {
    texts.zip(widths).map(|(text, width)| format!("  {:>width$}", text.as_ref())).collect::<Vec<_>>().concat()
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
