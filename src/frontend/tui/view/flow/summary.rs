//! The highlighted run beside the list: what it is, how it goes, its stages in a line each; and the one line on it where
//! there is no room for that.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::super::model::Model;
use super::super::super::theme::Ink;
use super::super::text::{fit, pad, spread, width, wrap};
use super::super::{put, put_lines, span};
use super::rows::{elapsed, progress, words_of};
use super::{origin, run_sign, stage_sign, stage_word};
use crate::domain::flow::view::RunView;
use crate::frontend::flow::words;
use crate::frontend::text::{between, span as time_span};

const WIDEST: u16 = 90;

pub(in super::super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let Some(run) = model.selected_run().filter(|_| area.height > 0) else { return };
    // Wider than that, a line is hard to follow to its end.
    let area = Rect { width: area.width.min(WIDEST), ..area };
    put_lines(frame, area, lines(model, run, area), 0);
}

fn lines(model: &Model, run: &RunView, area: Rect) -> Vec<Line<'static>> {
    let theme = model.theme();
    let room = usize::from(area.width).saturating_sub(2);
    let (sign, ink) = run_sign(run.status, theme);
    let status = format!("   {sign} {}", words_of(run));
    // A long name leaves room for how it stands, at least for the word.
    let least = width(&status).min(room / 2);
    let name = fit(run.run_id.as_str(), room.saturating_sub(least), theme);
    let status = fit(&status, room.saturating_sub(width(&name)), theme);
    let left = vec![Span::raw(" "), span(model, Ink::Strong, name), span(model, ink, status)];
    let time = format!("{} ", elapsed(model, run));
    let mut lines = vec![spread(left, vec![span(model, Ink::Quiet, time)], area.width)];
    let from = run.retry_from_stage.as_ref().map(|stage| format!(" from {stage}")).unwrap_or_default();
    let record = model.flows.pane.as_ref().filter(|pane| pane.id == run.run_id).and_then(|pane| pane.run());
    let retry = record.and_then(origin);
    let retry = retry.or_else(|| run.parent_run_id.as_ref().map(|parent| format!("retry of {parent}{from}")));
    let second = match (retry, progress(run, theme)) {
        (Some(retry), progress) if progress.is_empty() => retry,
        (Some(retry), progress) => format!("{retry}   {progress}"),
        (None, progress) => progress,
    };
    lines.push(Line::from(span(model, Ink::Text, format!(" {second}"))));
    if let Some(trouble) = words::trouble(run.error.as_deref(), run.held.as_deref()) {
        let ink = if run.error.is_some() { Ink::Bad } else { Ink::Waiting };
        let wrapped = wrap(&trouble, room);
        lines
            .extend(wrapped.into_iter().take(3).map(|line| Line::from(span(model, ink, format!(" {line}")))));
    }
    lines.push(Line::default());
    let Some(pane) = model.flows.pane.as_ref().filter(|pane| pane.id == run.run_id) else { return lines };
    let stages = pane.stages();
    let height = usize::from(area.height).saturating_sub(lines.len());
    // Around what matters, where there is no room for all.
    let first = (pane.stage + 1).saturating_sub(height.max(1)).min(stages.len().saturating_sub(height));
    let name = stages.iter().skip(first).take(height).map(|one| width(one.name.as_str())).max().unwrap_or(0);
    let name = name.min(room / 2);
    for stage in stages.iter().skip(first).take(height) {
        let (sign, ink) = stage_sign(stage.status, stage.decision, theme);
        let took = stage.started_at.zip(stage.ended_at).map(|(from, to)| time_span(between(from, to)));
        let word = match &stage.source_run_id {
            Some(source) => format!("reused from {source}"),
            None => stage_word(stage.status).to_owned(),
        };
        let left = vec![
            span(model, ink, format!(" {sign} ")),
            span(model, Ink::Text, pad(stage.name.as_str(), name, theme)),
            span(model, ink, format!("  {word}")),
        ];
        let right = took.map(|took| span(model, Ink::Quiet, format!("{took} "))).into_iter().collect();
        lines.push(spread(left, right, area.width));
    }
    lines
}

/// Where the list is alone.
pub(in super::super) fn draw_line(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let Some(run) = model.selected_run().filter(|_| area.height > 0) else { return };
    let told = words::trouble(run.error.as_deref(), run.held.as_deref()).unwrap_or_else(|| words_of(run));
    let text = format!("   {told}   {}", progress(run, model.theme()));
    let name = fit(run.run_id.as_str(), usize::from(area.width / 2), model.theme());
    let room = usize::from(area.width).saturating_sub(width(&name) + 1);
    let line = Line::from(vec![
        Span::raw(" "),
        span(model, Ink::Strong, name),
        span(model, Ink::Text, fit(&text, room, model.theme())),
    ]);
    put(frame, area, line);
}
