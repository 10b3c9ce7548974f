//! Runs on the screen: a line in the list, the few lines beside it, a screen of their own, the tree of checkpoints, the
//! list of all of them, and the questions about them.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};

use super::super::flows::pane::RunPane;
use super::super::model::{Focus, Model};
use super::super::theme::{Ink, Theme};
use super::{at, put};
use crate::domain::flow::record::RunRecord;
use crate::domain::flow::status::{Decision, RunStatus, StageStatus};
use crate::frontend::flow::words;
use ratatui::text::Line;

mod attempts;
mod bars;
mod head;
pub mod history;
pub mod question;
pub(super) mod rows;
mod stages;
pub(super) mod summary;
mod tree;
pub mod whole;

/// From this width on the tree stands beside the stages.
const BOTH: u16 = 120;

/// Where the parts of the screen of a run stand.
#[derive(Debug, Clone, Copy, Default)]
struct Parts {
    head: Rect,
    /// With the line of the time axis.
    stages: Rect,
    tree: Rect,
    divider: Rect,
    graph: Rect,
    /// The selected stage, told fully.
    stage: Rect,
}

impl Parts {
    fn of(model: &Model, pane: &RunPane, body: Rect) -> Self {
        let head = head::height(pane).min(body.height);
        let mut parts = Self { head: Rect { height: head, ..body }, ..Self::default() };
        let mut rest = Rect { y: body.y + head, height: body.height - head, ..body };
        if pane.in_tree {
            if rest.width >= BOTH {
                let left = rest.width / 2;
                parts.divider = Rect { x: left, width: 1, ..rest };
                parts.tree = Rect { x: left + 2, width: rest.width - left - 2, ..rest };
                rest.width = left.saturating_sub(1);
            } else {
                parts.tree = rest;
                rest.height = 0;
            }
        }
        let wanted = u16::try_from(pane.stages().len()).unwrap_or(u16::MAX).saturating_add(1);
        // At least a third of the room for the selected stage, where the stages do not leave more.
        let list = wanted.min(rest.height - rest.height / 3);
        parts.stages = Rect { height: list, ..rest };
        let mut below = Rect { y: rest.y + list, height: rest.height - list, ..rest };
        let graph = u16::try_from(stages::graph_lines(model, pane, rest.width).len()).unwrap_or(0);
        if graph > 0 && below.height > graph + 6 {
            parts.graph = Rect { y: below.y + 1, height: graph, ..below };
            below = Rect { y: below.y + graph + 1, height: below.height - graph - 1, ..below };
        }
        parts.stage = below;
        parts
    }
}

/// The screen of one run.
pub(super) fn draw(frame: &mut Frame<'_>, body: Rect, model: &Model) {
    let Some(pane) = &model.flows.pane else { return };
    if model.focus == Focus::Log {
        head::draw_line(frame, Rect { height: 1, ..body }, model, pane);
        return;
    }
    let parts = Parts::of(model, pane, body);
    head::draw(frame, parts.head, model, pane);
    stages::draw(frame, parts.stages, model, pane);
    stages::draw_graph(frame, parts.graph, model, pane);
    attempts::draw(frame, parts.stage, model, pane);
    let bar = model.theme().glyph("│", "|");
    for y in parts.divider.y..parts.divider.bottom() {
        put(frame, at(parts.divider.x, y, 1), Line::styled(bar, model.theme().style(Ink::Border)));
    }
    tree::draw(frame, parts.tree, model, pane);
}

/// How many rows of the list fit that has the keyboard.
pub fn page(model: &Model) -> usize {
    let Some(pane) = &model.flows.pane else { return 0 };
    let body = super::super::layout::Layout::of(model).body;
    let parts = Parts::of(model, pane, body);
    if pane.in_tree {
        usize::from(tree::rows_height(parts.tree))
    } else {
        usize::from(parts.stages.height.saturating_sub(1))
    }
}

/// What a click is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hit {
    Stage(usize),
    Checkpoint(usize),
}

pub fn hit(model: &Model, at: Position) -> Option<Hit> {
    let pane = model.flows.pane.as_ref()?;
    let parts = Parts::of(model, pane, super::super::layout::Layout::of(model).body);
    // The first line of either holds its title.
    let row = |area: Rect, height: u16, offset: usize| {
        let below = at.y.checked_sub(area.y + 1).filter(|below| *below < height)?;
        Some(offset + usize::from(below))
    };
    if parts.stages.contains(at) {
        let row = row(parts.stages, parts.stages.height - 1, pane.offset)?;
        return (row < pane.stages().len()).then_some(Hit::Stage(row));
    }
    if parts.tree.contains(at) {
        let row = row(parts.tree, tree::rows_height(parts.tree), pane.tree_offset)?;
        let rows = pane.tree.as_ref().map_or(0, |tree| tree.rows.len());
        return (row < rows).then_some(Hit::Checkpoint(row));
    }
    None
}

pub(super) const fn run_sign(status: RunStatus, theme: &Theme) -> (&'static str, Ink) {
    let (glyph, plain, ink) = match status {
        RunStatus::Queued => ("○", "o", Ink::Quiet),
        RunStatus::Running => ("●", "*", Ink::Good),
        RunStatus::Waiting => ("!", "!", Ink::Waiting),
        RunStatus::Succeeded => ("✔", "+", Ink::Good),
        RunStatus::Degraded => ("◑", "%", Ink::Waiting),
        RunStatus::Failed => ("✖", "x", Ink::Bad),
        RunStatus::Cancelled => ("■", "#", Ink::Quiet),
        RunStatus::Interrupted => ("?", "?", Ink::Waiting),
    };
    (if theme.ascii { plain } else { glyph }, ink)
}

pub(super) fn stage_sign(status: StageStatus, decision: Decision, theme: &Theme) -> (char, Ink) {
    if let (StageStatus::Succeeded | StageStatus::Degraded, Decision::Reuse) = (status, decision) {
        return (if theme.ascii { '.' } else { '◌' }, Ink::Quiet);
    }
    let runs = status == StageStatus::Running;
    let ink = if runs { Ink::Good } else { Theme::ink(words::stage_tone(status)) };
    (words::stage_glyph(status, theme.ascii), ink)
}

/// `retry #2 of video-11 from storyboard`
pub(super) fn origin(run: &RunRecord) -> Option<String> {
    words::origin(run).map(|text| text.replacen("Retry", "retry", 1))
}

/// The word for a person.
pub(super) const fn stage_word(status: StageStatus) -> &'static str {
    match status {
        StageStatus::NotRun => "not run",
        StageStatus::Waiting => "waits for you",
        StageStatus::Pending
        | StageStatus::Running
        | StageStatus::Backoff
        | StageStatus::Succeeded
        | StageStatus::Degraded
        | StageStatus::Failed
        | StageStatus::Skipped
        | StageStatus::Cancelled => status.word(),
    }
}
