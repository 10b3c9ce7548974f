//! A run that is followed on a terminal: a line a stage, and a bar, drawn anew in their place. What it returns is to be
//! written as it is.

use std::fmt::Write;

use crate::domain::flow::record::RunRecord;
use crate::domain::flow::status::{Decision, RunStatus, StageStatus};
use crate::domain::flow::view::{RunView, StageView};
use crate::domain::time::Timestamp;
use crate::domain::view::seconds;
use crate::frontend::text::one_line;

/// More stages than these are not all shown: those that matter now are.
const MOST_LINES: usize = 20;
const BAR: usize = 24;

#[derive(Debug)]
pub struct Live {
    width: usize,
    colour: bool,
    rows: Vec<Row>,
    head: Head,
    /// Lines on the terminal that are drawn anew.
    drawn: usize,
}

#[derive(Debug)]
struct Row {
    name: String,
    status: StageStatus,
    reused: bool,
    note: String,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
}

#[derive(Debug, Default)]
struct Head {
    run: String,
    status: String,
    done: usize,
    all: usize,
    error: Option<String>,
}

impl Live {
    pub fn new(width: usize, colour: bool) -> Self {
        Self { width: width.max(20), colour, rows: Vec::new(), head: Head::default(), drawn: 0 }
    }

    pub fn begin(&mut self, run: &RunRecord) -> String {
        let stages = run.stages.iter().flatten();
        self.rows = stages
            .map(|stage| Row {
                name: stage.name.to_string(),
                status: stage.status,
                reused: stage.decision == Decision::Reuse,
                note: note(stage.error.as_deref(), stage.source_run_id.as_ref().map(ToString::to_string)),
                started_at: stage.started_at,
                ended_at: stage.ended_at,
            })
            .collect();
        let done = self.rows.iter().filter(|row| row.status.is_final()).count();
        self.head = Head {
            run: run.run_id.to_string(),
            status: run.status.to_string(),
            done,
            all: self.rows.len(),
            error: run.error.clone().filter(|_| run.status != RunStatus::Running),
        };
        self.draw()
    }

    pub fn run(&mut self, view: &RunView) -> String {
        self.head.status = view.status.to_string();
        self.head.done = view.done as usize;
        self.head.all = view.all as usize;
        self.head.error.clone_from(&view.error);
        self.draw()
    }

    pub fn stage(&mut self, view: &StageView) -> String {
        if let Some(row) = self.rows.iter_mut().find(|row| row.name == view.name.as_str()) {
            row.status = view.status;
            row.started_at = view.started_at;
            row.ended_at = view.ended_at;
            row.note = match (&view.error, view.items) {
                (Some(error), _) => one_line(error),
                (None, Some(items)) => format!("{} of {} items", items.done, items.all),
                (None, None) if view.attempt > 1 => {
                    format!("attempt {}, retry {}/{}", view.attempt, view.retries, view.max_retries)
                }
                (None, None) => String::new(),
            };
        }
        self.draw()
    }

    /// A line that stays, above what is drawn anew.
    pub fn above(&mut self, line: &str) -> String {
        let mut text = self.erase();
        text.push_str(line);
        text.push('\n');
        self.drawn = 0;
        text.push_str(&self.draw());
        text
    }

    fn erase(&self) -> String {
        if self.drawn == 0 { String::new() } else { format!("\x1b[{}A\x1b[J", self.drawn) }
    }

    fn draw(&mut self) -> String {
        let mut text = self.erase();
        let shown = self.shown();
        let wide = shown.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
        let mut lines = 0;
        for row in &shown {
            let took = match (row.started_at, row.ended_at) {
                (Some(from), Some(to)) => seconds(to.duration_since(from).as_secs_f64().max(0.0)),
                (Some(_) | None, _) => String::new(),
            };
            let word = if row.reused { "reused".to_owned() } else { row.status.to_string() };
            let line = format!("{} {:wide$}  {word:9}  {took:>7}  {}", glyph(row), row.name, row.note);
            self.line(&mut text, &line, colour(row.status));
            lines += 1;
        }
        let hidden = self.rows.len() - shown.len();
        if hidden > 0 {
            self.line(&mut text, &format!("  and {hidden} more"), "2");
            lines += 1;
        }
        let full = (BAR * self.head.done).checked_div(self.head.all).unwrap_or(BAR);
        let bar = "▰".repeat(full) + &"▱".repeat(BAR - full);
        let tail =
            format!("{bar} {}/{}  {}  {}", self.head.done, self.head.all, self.head.run, self.head.status);
        self.line(&mut text, &tail, "1");
        lines += 1;
        if let Some(error) = &self.head.error {
            self.line(&mut text, &one_line(error), "31");
            lines += 1;
        }
        drop(shown);
        self.drawn = lines;
        text
    }

    /// All where they fit; else those that are not quiet, and then the first.
    fn shown(&self) -> Vec<&Row> {
        if self.rows.len() <= MOST_LINES {
            return self.rows.iter().collect();
        }
        let busy = |row: &&Row| {
            matches!(
                row.status,
                StageStatus::Running | StageStatus::Backoff | StageStatus::Waiting | StageStatus::Failed
            )
        };
        let mut shown: Vec<&Row> = self.rows.iter().filter(busy).take(MOST_LINES).collect();
        let ended = self.rows.iter().rev().filter(|row| row.status.is_final() && !busy(row));
        let room = MOST_LINES - shown.len();
        shown.extend(ended.take(room.min(5)));
        shown
    }

    fn line(&self, text: &mut String, line: &str, code: &str) {
        let mut cut: String = line.chars().take(self.width - 1).collect();
        if cut.chars().count() < line.chars().count() {
            cut.pop();
            cut.push('…');
        }
        let cut = cut.trim_end();
        if self.colour && !code.is_empty() {
            writeln!(text, "\x1b[{code}m{cut}\x1b[0m").ok();
        } else {
            writeln!(text, "{cut}").ok();
        }
    }
}

fn note(error: Option<&str>, source: Option<String>) -> String {
    match (error, source) {
        (Some(error), _) => one_line(error),
        (None, Some(source)) => format!("from {source}"),
        (None, None) => String::new(),
    }
}

fn glyph(row: &Row) -> char {
    if row.reused {
        return '◌';
    }
    match row.status {
        StageStatus::Pending => '○',
        StageStatus::Running => '●',
        StageStatus::Backoff => '↻',
        StageStatus::Waiting => '!',
        StageStatus::Succeeded => '✔',
        StageStatus::Degraded => '◑',
        StageStatus::Failed => '✖',
        StageStatus::Skipped => '–',
        StageStatus::NotRun => '·',
        StageStatus::Cancelled => '■',
    }
}

const fn colour(status: StageStatus) -> &'static str {
    match status {
        StageStatus::Running => "36",
        StageStatus::Backoff | StageStatus::Waiting | StageStatus::Degraded => "33",
        StageStatus::Succeeded => "32",
        StageStatus::Failed => "31",
        StageStatus::Pending | StageStatus::Skipped | StageStatus::NotRun | StageStatus::Cancelled => "2",
    }
}
