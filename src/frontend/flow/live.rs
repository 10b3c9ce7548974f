//! A run that is followed on a terminal: a line a stage, and a bar, drawn anew in their place. What it returns is to be
//! written as it is.

use std::fmt::Write;

use crate::domain::flow::record::RunRecord;
use crate::domain::flow::status::{Decision, RunStatus, StageStatus};
use crate::domain::flow::view::{RunView, StageView};
use crate::domain::time::Timestamp;
use crate::domain::view::seconds;
use crate::frontend::flow::table;
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
        // A line that the terminal breaks in two would not be erased whole.
        let cut = table::cut(line, self.width - 1, false);
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::frontend::flow::fixture::{run, stage};

    const SIZE: (u16, u16) = (14, 80);

    /// What all of it comes to on a terminal.
    struct Screen(vt100::Parser);

    impl Screen {
        fn new() -> Self {
            let cells = |count: u16| count.try_into().unwrap();
            Self(vt100::Parser::new(cells(SIZE.0), cells(SIZE.1), 0))
        }

        fn take(&mut self, text: &str) {
            // As the terminal's own line discipline does.
            self.0.process(text.replace('\n', "\r\n").as_bytes());
        }

        fn picture(&self) -> String {
            self.0.screen().contents()
        }
    }

    fn view(name: &str, status: StageStatus, more: &Value) -> StageView {
        let mut view = json!({
            "run_id": "video-12", "name": name, "order": 0, "status": status, "decision": "execute",
            "attempt": 1, "retries": 0, "max_retries": 0,
        });
        for (key, value) in more.as_object().unwrap() {
            view[key] = value.clone();
        }
        serde_json::from_value(view).unwrap()
    }

    fn of_run(status: RunStatus, done: u32, error: Option<&str>) -> RunView {
        serde_json::from_value(json!({
            "run_id": "video-12", "flow": "video", "status": status, "branch": "main", "retry_depth": 0,
            "created_at": "1970-01-01T00:00:00Z", "error": error, "done": done, "all": 4, "at": [], "asks": [],
        }))
        .unwrap()
    }

    fn begun(live: &mut Live) -> String {
        let mut reused = stage("script", 0, StageStatus::Succeeded);
        reused.decision = Decision::Reuse;
        reused.source_run_id = Some(crate::domain::flow::ids::RunId::trusted("video-11"));
        let pending = |name: &str, order| {
            let mut row = stage(name, order, StageStatus::Pending);
            row.ended_at = None;
            row
        };
        let stages = vec![reused, pending("storyboard", 1), pending("scenes", 2), pending("render", 3)];
        live.begin(&RunRecord { stages: Some(stages), error: None, ..run(12, RunStatus::Running) })
    }

    const AT: (&str, &str) = ("1970-01-01T00:16:40Z", "1970-01-01T00:16:53.500Z");

    /// With an escape sequence, a line break and characters of two columns in what a stage printed last.
    const ERROR: &str = "exit 1: \u{1b}[2J\u{1b}]0;owned\u{7}絵コンテが見つかりませんでした 絵コンテが見つかりませんでした\r\nat line 3";

    #[test]
    fn a_run_from_its_first_stage_to_its_end() {
        let (mut live, mut screen) = (Live::new(SIZE.1.into(), true), Screen::new());
        screen.take("$ restage run video\n");
        screen.take(&begun(&mut live));
        screen.take(&live.stage(&view("storyboard", StageStatus::Running, &json!({ "started_at": AT.0 }))));
        insta::assert_snapshot!(screen.picture(), @r"
        $ restage run video
        ◌ script      reused              from video-11
        ● storyboard  running
        ○ scenes      pending
        ○ render      pending
        ▰▰▰▰▰▰▱▱▱▱▱▱▱▱▱▱▱▱▱▱▱▱▱▱ 1/4  video-12  running
        ");

        screen.take(&live.above("video-12 is held: the disk is full"));
        let again = json!({ "started_at": AT.0, "attempt": 2, "retries": 1, "max_retries": 3 });
        screen.take(&live.stage(&view("storyboard", StageStatus::Running, &again)));
        let items = json!({ "started_at": AT.0, "items": { "done": 2, "all": 6 } });
        screen.take(&live.stage(&view("scenes", StageStatus::Running, &items)));
        insta::assert_snapshot!(screen.picture(), @r"
        $ restage run video
        video-12 is held: the disk is full
        ◌ script      reused              from video-11
        ● storyboard  running             attempt 2, retry 1/3
        ● scenes      running             2 of 6 items
        ○ render      pending
        ▰▰▰▰▰▰▱▱▱▱▱▱▱▱▱▱▱▱▱▱▱▱▱▱ 1/4  video-12  running
        ");

        let failed = json!({ "started_at": AT.0, "ended_at": AT.1, "attempt": 4, "error": ERROR });
        screen.take(&live.stage(&view("storyboard", StageStatus::Failed, &failed)));
        let whole = json!({ "started_at": AT.0, "ended_at": AT.1, "items": { "done": 6, "all": 6 } });
        screen.take(&live.stage(&view("scenes", StageStatus::Succeeded, &whole)));
        screen.take(&live.stage(&view("render", StageStatus::NotRun, &json!({}))));
        screen.take(&live.run(&of_run(RunStatus::Failed, 4, Some(&format!("storyboard: {ERROR}")))));
        insta::assert_snapshot!(screen.picture(), @r"
        $ restage run video
        video-12 is held: the disk is full
        ◌ script      reused              from video-11
        ✖ storyboard  failed       13.5s  exit 1:  [2J ]0;owned 絵コンテが見つかりませ…
        ✔ scenes      succeeded    13.5s  6 of 6 items
        · render      not_run
        ▰▰▰▰▰▰▰▰▰▰▰▰▰▰▰▰▰▰▰▰▰▰▰▰ 4/4  video-12  failed
        storyboard: exit 1:  [2J ]0;owned 絵コンテが見つかりませんでした 絵コンテが見…
        ");
    }

    #[test]
    fn of_what_a_stage_printed_no_control_character_is_written() {
        let mut live = Live::new(80, false);
        let mut text = begun(&mut live);
        text += &live.stage(&view("storyboard", StageStatus::Failed, &json!({ "error": ERROR })));
        text += &live.run(&of_run(RunStatus::Failed, 4, Some(ERROR)));
        // Our own: up by the lines that were drawn, and erase from there.
        let ours = ["\x1b[5A\x1b[J", "\x1b[6A\x1b[J"].iter().fold(text, |text, own| text.replace(own, ""));
        assert!(!ours.chars().any(|c| c.is_control() && c != '\n'), "{ours:?}");
    }

    #[test]
    fn of_many_stages_those_are_shown_that_matter_now() {
        let mut live = Live::new(80, false);
        let stages = (0..100).map(|order| {
            let status = match order {
                50 => StageStatus::Running,
                0..50 => StageStatus::Succeeded,
                _ => StageStatus::Pending,
            };
            stage(&format!("s{order:02}"), order, status)
        });
        let record = RunRecord { stages: Some(stages.collect()), ..run(12, RunStatus::Running) };
        let drawn = live.begin(&record);
        let names: Vec<&str> = drawn.lines().filter_map(|line| line.split(' ').nth(1)).collect();
        assert_eq!(names[..6], ["s50", "s49", "s48", "s47", "s46", "s45"], "{drawn}");
        assert!(drawn.contains("  and 94 more\n") && drawn.contains(" 50/100  video-12  running"), "{drawn}");
        assert_eq!(drawn.lines().count(), 8);
    }
}
