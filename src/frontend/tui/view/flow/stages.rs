//! The stages of a run: one line each, with its bar over time; and the graph of them.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::super::super::flows::pane::RunPane;
use super::super::super::model::Model;
use super::super::super::theme::Ink;
use super::super::text::{more, pad, width};
use super::super::{put, put_lines, span};
use super::bars::{Axis, Cell, cells};
use super::{stage_sign, stage_word};
use crate::domain::flow::record::StageRecord;
use crate::domain::flow::status::{Approval, Decision, StageStatus};
use crate::frontend::flow::{graph, words};
use crate::frontend::text::{between, countdown, one_line, span as time_span};

const LEAD: usize = 4;
const TIME: usize = 8;
/// Less tells nothing.
const LEAST_BAR: usize = 12;
/// So much of a run is looked at to find the longest name.
const MEASURED: usize = 200;

#[derive(Debug, Clone, Copy)]
struct Columns {
    name: usize,
    words: usize,
    bar: usize,
}

impl Columns {
    fn of(pane: &RunPane, room: usize) -> Self {
        let names = pane.stages().iter().take(MEASURED).map(|stage| width(stage.name.as_str()));
        let name = names.max().unwrap_or(0).clamp(8, 24.max(room / 5)).min(room / 3);
        let rest = room.saturating_sub(LEAD + name + 1 + TIME + 3);
        let words = if rest >= 28 + LEAST_BAR { (rest / 3).clamp(28, 40) } else { rest };
        Self { name, words, bar: rest.saturating_sub(words + 1) }
    }
}

fn axis(model: &Model, pane: &RunPane, bar: usize) -> Option<Axis> {
    let run = pane.run()?;
    let to = run.ended_at.unwrap_or(model.now);
    (bar >= LEAST_BAR).then(|| Axis::new(run.started_at.unwrap_or(to), to, bar))
}

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, pane: &RunPane) {
    if area.height == 0 || pane.stages().is_empty() {
        return;
    }
    let room = usize::from(area.width);
    let columns = Columns::of(pane, room);
    let axis = axis(model, pane, columns.bar);
    // What is scrolled away stands in the line of the time axis, before it.
    let below = pane.stages().len().saturating_sub(pane.offset + usize::from(area.height) - 1);
    let more = format!("  {}", more(model.theme(), pane.offset, below));
    let before = pad(&more, LEAD + columns.name + 1 + columns.words + 1 + TIME + 2, model.theme());
    let labels = axis.as_ref().map(Axis::labels).unwrap_or_default();
    let title = Line::from(span(model, Ink::Quiet, format!("{before}{labels}")));
    put(frame, Rect { height: 1, ..area }, title);
    let visible = pane.stages().iter().enumerate().skip(pane.offset);
    for (y, (place, stage)) in (area.y + 1..area.bottom()).zip(visible) {
        let selected = place == pane.stage;
        let line = line(model, pane, stage, columns, axis.as_ref(), selected);
        put(frame, Rect { y, height: 1, ..area }, line);
    }
}

fn line(
    model: &Model,
    pane: &RunPane,
    stage: &StageRecord,
    columns: Columns,
    axis: Option<&Axis>,
    selected: bool,
) -> Line<'static> {
    let theme = model.theme();
    let ground = match (selected, pane.in_tree) {
        (false, _) => Style::new(),
        (true, false) => theme.style(Ink::Selection),
        (true, true) => theme.style(Ink::SelectionIdle),
    };
    let ink = |ink: Ink| if selected { ground } else { theme.style(ink) };
    let (sign, status) = stage_sign(stage.status, stage.decision, theme);
    let marker = if selected { theme.glyph("▌", ">") } else { " " };
    let words_ink = if stage.decision == Decision::Reuse { Ink::Quiet } else { status };
    let mut line = Line::from(vec![
        Span::styled(format!("{marker} "), ink(Ink::Accent)),
        Span::styled(sign.to_string(), ink(status)),
        Span::styled(" ", ground),
        Span::styled(pad(stage.name.as_str(), columns.name, theme), ink(Ink::Text)),
        Span::styled(" ", ground),
        Span::styled(pad(&status_words(model, pane, stage), columns.words, theme), ink(words_ink)),
        Span::styled(format!(" {:>TIME$}  ", time(model, pane, stage)), ink(Ink::Text)),
    ]);
    let Some(axis) = axis else { return line };
    if stage.decision == Decision::Reuse {
        line.push_span(Span::styled(pad(theme.glyph("·", "."), columns.bar, theme), ink(Ink::Quiet)));
        return line;
    }
    let of = |cell: Cell| match cell {
        Cell::Empty => (" ", Ink::Text),
        Cell::Ran => (theme.glyph("▓", "="), status),
        Cell::Failed => (theme.glyph("✖", "x"), Ink::Bad),
        Cell::Pause => (theme.glyph("░", "."), Ink::Quiet),
        Cell::Retry => (theme.glyph("↻", "~"), Ink::Waiting),
        Cell::Waits => (theme.glyph("░", "."), Ink::Waiting),
    };
    for run in cells(stage, was_asked(pane, stage), axis, model.now).chunk_by(|a, b| a == b) {
        if let Some(cell) = run.first() {
            let (sign, cell_ink) = of(*cell);
            line.push_span(Span::styled(sign.repeat(run.len()), ink(cell_ink)));
        }
    }
    line
}

/// `running   attempt 2`, `reused from video-12`, `needs storyboard`.
fn status_words(model: &Model, pane: &RunPane, stage: &StageRecord) -> String {
    let word = stage_word(stage.status);
    let attempt = stage.attempts.iter().filter(|attempt| attempt.item.is_none()).map(|one| one.number).max();
    let items = stage.items.map(|items| format!("   {} of {} items", items.done, items.all));
    let items = items.unwrap_or_default();
    let attempt =
        attempt.filter(|number| *number > 1).map(|number| format!("   attempt {number}")).unwrap_or_default();
    match stage.status {
        StageStatus::Succeeded | StageStatus::Degraded if stage.decision == Decision::Reuse => {
            let from = stage.source_run_id.as_ref().map(|run| format!(" from {run}")).unwrap_or_default();
            let degraded = if stage.status == StageStatus::Degraded { ", degraded" } else { "" };
            format!("reused{from}{degraded}")
        }
        StageStatus::Pending => {
            let needs = needs(pane, stage);
            if needs.is_empty() { word.to_owned() } else { format!("needs {needs}") }
        }
        StageStatus::Backoff => {
            let wait = stage.retry_at.map(|at| format!("   in {}", countdown(model.now, at)));
            format!("{word}{}{attempt}", wait.unwrap_or_default())
        }
        StageStatus::Waiting => {
            let id = stage.checkpoint.as_ref().map(|checkpoint| format!(": {}", checkpoint.id));
            format!("{word}{}", id.unwrap_or_default())
        }
        StageStatus::Failed => match &stage.error {
            Some(error) => format!("{word}: {}", one_line(words::cause(error))),
            None => format!("{word}{attempt}"),
        },
        StageStatus::Running | StageStatus::Succeeded | StageStatus::Degraded => {
            format!("{word}{attempt}{items}")
        }
        StageStatus::Skipped | StageStatus::NotRun | StageStatus::Cancelled => word.to_owned(),
    }
}

/// Of what it waits for: what has not ended well.
fn needs(pane: &RunPane, stage: &StageRecord) -> String {
    let Some(graph) = pane.graph() else { return String::new() };
    let Some(place) = graph.index(&stage.name) else { return String::new() };
    let open = |name: &&crate::domain::flow::ids::StageName| {
        // The order of the file is that of the records, but for what was moved in it since.
        let own = graph.index(name).and_then(|place| pane.stages().get(place));
        own.filter(|own| own.name == **name).is_none_or(|own| !own.status.is_good())
    };
    let names = graph.upstream(place).iter().map(|before| graph.name(*before));
    names.filter(open).take(4).map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What it left was, or is, for a person to judge.
fn was_asked(pane: &RunPane, stage: &StageRecord) -> bool {
    let left = pane.tree.as_ref().zip(stage.checkpoint.as_ref()).and_then(|(tree, one)| tree.get(&one.id));
    left.is_some_and(|one| one.approved_by.is_some() || one.approval == Approval::Pending)
}

/// How long it ran; a person is not part of that.
fn time(model: &Model, pane: &RunPane, stage: &StageRecord) -> String {
    if stage.decision == Decision::Reuse {
        return String::new();
    }
    let until = if matches!(stage.status, StageStatus::Running | StageStatus::Backoff) {
        Some(model.now)
    } else {
        let last = || stage.attempts.iter().filter_map(|attempt| attempt.ended_at).max();
        let ended = stage.ended_at.filter(|_| !was_asked(pane, stage));
        ended.or_else(last).or(stage.ended_at)
    };
    stage.started_at.zip(until).map(|(from, to)| time_span(between(from, to))).unwrap_or_default()
}

/// None where it would be no picture any more.
pub(super) fn graph_lines(model: &Model, pane: &RunPane, room: u16) -> Vec<String> {
    let Some(graph) = pane.graph() else { return Vec::new() };
    if graph.len() > graph::MOST_LINES || graph.len() < 3 || model.theme().ascii {
        return Vec::new();
    }
    graph::draw_names(graph, usize::from(room.saturating_sub(8)))
}

pub(super) fn draw_graph(frame: &mut Frame<'_>, area: Rect, model: &Model, pane: &RunPane) {
    if area.height == 0 {
        return;
    }
    let lines = graph_lines(model, pane, area.width);
    let lines = lines.into_iter().map(|line| Line::from(span(model, Ink::Quiet, format!("    {line}"))));
    put_lines(frame, area, lines.collect(), 0);
}
