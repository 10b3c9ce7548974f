//! The first lines of the screen of a run: what it is, how it goes, and the chain of retries that it belongs to.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::super::flows::pane::RunPane;
use super::super::super::model::Model;
use super::super::super::theme::Ink;
use super::super::text::{fit, spread};
use super::super::{put, put_lines, span};
use super::{origin, run_sign};
use crate::domain::flow::ids::BranchName;
use crate::domain::flow::record::RunRecord;
use crate::frontend::flow::words;
use crate::frontend::text::{between, one_line, span as time_span};

/// Blank, so that the stages stand apart.
const GAP: u16 = 1;
/// Beside the name of a run: its status.
const LEAST: usize = 20;

pub(super) fn height(pane: &RunPane) -> u16 {
    1 + u16::from(has_chain(pane)) + u16::from(trouble(pane).is_some()) + GAP
}

fn trouble(pane: &RunPane) -> Option<String> {
    let of_run = |run: &RunRecord| words::trouble(run.error.as_deref(), run.held.as_deref());
    pane.problem.as_ref().map(|problem| one_line(problem)).or_else(|| of_run(pane.run()?))
}

fn has_chain(pane: &RunPane) -> bool {
    pane.lineage.len() > 1 || pane.before().is_some()
}

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, pane: &RunPane) {
    if area.height == 0 {
        return;
    }
    draw_line(frame, Rect { height: 1, ..area }, model, pane);
    let room = usize::from(area.width).saturating_sub(2);
    let mut lines = Vec::new();
    if has_chain(pane) {
        lines.push(Line::from(chain(model, pane, room)));
    }
    if let Some(trouble) = trouble(pane) {
        let ended = pane.run().is_none_or(|run| run.status.is_final());
        let ink = if ended { Ink::Bad } else { Ink::Waiting };
        lines.push(Line::from(span(model, ink, format!(" {}", fit(&trouble, room, model.theme())))));
    }
    put_lines(frame, Rect { y: area.y + 1, height: area.height - 1, ..area }, lines, 0);
}

/// ` video-13   ● running   retry #1 of video-12 from storyboard   main            4m10s of 1h`
pub(super) fn draw_line(frame: &mut Frame<'_>, area: Rect, model: &Model, pane: &RunPane) {
    let theme = model.theme();
    // A long name leaves room for how it stands.
    let name = fit(pane.id.as_str(), usize::from(area.width).saturating_sub(LEAST).max(8), theme);
    let mut left = vec![Span::raw(" "), span(model, Ink::Strong, name)];
    let Some(run) = pane.run() else {
        let text = if pane.problem.is_some() { "cannot be shown" } else { "is being looked up" };
        left.push(span(model, Ink::Quiet, format!("   {text}")));
        put(frame, area, Line::from(left));
        return;
    };
    let (sign, ink) = run_sign(run.status, theme);
    left.push(span(model, ink, format!("   {sign} {}", run.status)));
    if let Some(word) = model.flows.doing(&pane.id) {
        left.push(span(model, Ink::Waiting, format!("   {} {word}", theme.glyph("◐", "%"))));
    }
    if let Some(viewing) = &model.flows.viewing {
        left.push(span(model, Ink::Strong, format!("   {}", one_line(&viewing.title))));
    } else if model.focus == super::super::super::model::Focus::Log
        && let Some(stage) = pane.selected()
    {
        left.push(span(model, Ink::Strong, format!("   {}", stage.name)));
    } else if let Some(origin) = origin(run) {
        left.push(span(model, Ink::Text, format!("   {origin}")));
    }
    if run.branch != BranchName::main() || run.parent_run_id.is_some() {
        left.push(span(model, Ink::Quiet, format!("   {}", run.branch)));
    }
    let taken: usize = left.iter().map(Span::width).sum();
    let room = usize::from(area.width).saturating_sub(taken + 1);
    let right: Vec<Span<'static>> = [times(model, run, true), times(model, run, false)]
        .into_iter()
        .find(|text| text.chars().count() <= room)
        .map(|text| span(model, Ink::Quiet, text))
        .into_iter()
        .collect();
    put(frame, area, spread(left, right, area.width));
}

/// `since 12:31:05   4m10s of 1h `
fn times(model: &Model, run: &RunRecord, since: bool) -> String {
    let Some(from) = run.started_at else { return String::new() };
    let took = time_span(between(from, run.ended_at.unwrap_or(model.now)));
    let limit = run.deadline.map(|at| format!(" of {}", time_span(between(from, at)))).unwrap_or_default();
    let since = if since { format!("since {}   ", model.clock(from)) } else { String::new() };
    let cost = run.cost.map(|cost| format!("   cost {cost:.2}")).unwrap_or_default();
    format!("{since}{took}{limit}{cost} ")
}

/// ` video-11 ─► video-12 (retry #1 from storyboard) ─► …`, around the one that is shown.
fn chain(model: &Model, pane: &RunPane, room: usize) -> Vec<Span<'static>> {
    let theme = model.theme();
    let arrow = theme.glyph(" ─► ", " -> ");
    let link = |run: &RunRecord| {
        let from = run.retry_from_stage.as_ref().map(|stage| format!(" from {stage}")).unwrap_or_default();
        let branch =
            if run.branch == BranchName::main() { String::new() } else { format!(" on {}", run.branch) };
        match (&run.parent_run_id, run.retry_number) {
            (Some(_), Some(number)) => format!("{} (retry #{number}{from}{branch})", run.run_id),
            (Some(_), None) => format!("{} (continues{from}{branch})", run.run_id),
            (None, _) => format!("{}{branch}", run.run_id),
        }
    };
    let line = line_of(pane);
    let texts: Vec<(bool, String)> = line.iter().map(|run| (run.run_id == pane.id, link(run))).collect();
    let here = texts.iter().position(|(here, _)| *here).unwrap_or(0);
    let cost = |text: &str| text.chars().count() + arrow.chars().count();
    // From the one that is shown outwards, as many as there is room for.
    let (mut first, mut last) = (here, here + 1);
    let mut left = room.saturating_sub(texts.get(here).map_or(0, |(_, text)| cost(text)) + 8);
    while first > 0 || last < texts.len() {
        let mut grown = false;
        if first > 0 && cost(&texts[first - 1].1) <= left {
            first -= 1;
            left -= cost(&texts[first].1);
            grown = true;
        }
        if last < texts.len() && cost(&texts[last].1) <= left {
            left -= cost(&texts[last].1);
            last += 1;
            grown = true;
        }
        if !grown {
            break;
        }
    }
    let mut spans = vec![Span::raw(" ")];
    if first > 0 {
        spans.push(span(model, Ink::Quiet, format!("{}{arrow}", theme.glyph("…", "~"))));
    }
    for (place, (own, text)) in texts.iter().enumerate().take(last).skip(first) {
        if place > first {
            spans.push(span(model, Ink::Quiet, arrow));
        }
        spans.push(span(model, if *own { Ink::Strong } else { Ink::Quiet }, text.clone()));
    }
    if last < texts.len() {
        spans.push(span(model, Ink::Quiet, format!("{arrow}{}", theme.glyph("…", "~"))));
    }
    spans
}

/// From the first run of the lineage to the shown one, and the newest retries of that: other branches of the tree of
/// retries are not on this line.
fn line_of(pane: &RunPane) -> Vec<&RunRecord> {
    let find = |id| pane.lineage.iter().find(|run| run.run_id == id);
    let Some(own) = find(pane.id.clone()).or_else(|| pane.run()) else { return Vec::new() };
    let mut line = vec![own];
    // A lineage is no longer than the runs in it, whatever their records say.
    while let Some(before) = line[0].parent_run_id.clone().and_then(find)
        && line.len() <= pane.lineage.len()
    {
        line.insert(0, before);
    }
    let mut last = own;
    while let Some(after) =
        pane.lineage.iter().rev().find(|run| run.parent_run_id.as_ref() == Some(&last.run_id))
        && line.len() <= pane.lineage.len() * 2
    {
        line.push(after);
        last = after;
    }
    line
}
