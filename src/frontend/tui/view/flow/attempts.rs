//! The selected stage, told fully: how it stands, its attempts with their errors, and what it left.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::super::flows::pane::RunPane;
use super::super::super::model::Model;
use super::super::super::theme::Ink;
use super::super::text::{fit, more, pad, right, width, wrap};
use super::super::{put_lines, span};
use super::whole::start_of;
use super::{stage_sign, stage_word};
use crate::domain::flow::record::{Artifact, AttemptRecord, StageRecord};
use crate::domain::json::JsonMap;
use crate::domain::keys::Action;
use crate::domain::verdict::Verdict;
use crate::frontend::flow::words;
use crate::frontend::text::{between, bytes, one_line, span as time_span};

/// Attempts told one by one, the newest first.
const TOLD: usize = 12;
/// Lines of an error.
const ERROR_LINES: usize = 4;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, pane: &RunPane) {
    let Some(stage) = pane.selected().filter(|_| area.height > 1) else { return };
    let area = Rect { y: area.y + 1, height: area.height - 1, ..area };
    put_most(frame, area, model, lines(model, stage, usize::from(area.width)));
}

/// As many as fit; where that is not all of them, the last line says so, and which key shows them.
pub(super) fn put_most(frame: &mut Frame<'_>, area: Rect, model: &Model, mut lines: Vec<Line<'static>>) {
    let high = usize::from(area.height);
    if lines.len() > high && high > 1 {
        let left_out = lines.len() - high + 1;
        lines.truncate(high - 1);
        let key =
            model.keymap().key(Action::Zoom).map(|key| format!("   {key} shows all")).unwrap_or_default();
        let text = format!(" {}{key}", more(model.theme(), 0, left_out));
        lines.push(Line::from(span(model, Ink::Accent, text)));
    }
    put_lines(frame, area, lines, 0);
}

fn lines(model: &Model, stage: &StageRecord, room: usize) -> Vec<Line<'static>> {
    let theme = model.theme();
    let (sign, ink) = stage_sign(stage.status, stage.decision, theme);
    let status = format!("   {sign} {}", stage_word(stage.status));
    // A long name leaves room for how it stands.
    let name = fit(stage.name.as_str(), room.saturating_sub(width(&status) + 2), theme);
    let mut head = vec![Span::raw(" "), span(model, Ink::Strong, name), span(model, ink, status)];
    let checkpoint = stage.checkpoint.as_ref().map(|one| format!("   {} {}", one.id, one.approval));
    let reason = stage.reason.map(|reason| format!("   {}: {reason}", stage.decision));
    let rest = [checkpoint, reason].into_iter().flatten().collect::<String>();
    let taken: usize = head.iter().map(Span::width).sum();
    head.push(span(model, Ink::Quiet, fit(&rest, room.saturating_sub(taken + 1), theme)));
    let mut lines = vec![Line::from(head)];
    let told: Vec<Told> = stage.attempts.iter().rev().take(TOLD).map(|one| tell(model, one)).collect();
    // The figures stand below each other, behind the longest word that leaves room for them.
    let longest = |of: fn(&Told) -> &str| told.iter().map(|one| width(of(one))).max().unwrap_or(0);
    let left = room.saturating_sub(longest(|one| &one.start) + longest(|one| &one.figures) + 1);
    let column = longest(|one| &one.end).min(left);
    let mut say = |ink: Ink, text: &str, most: usize| {
        let mut wrapped = wrap(text, room.saturating_sub(2));
        if wrapped.len() > most {
            wrapped.truncate(most);
            if let Some(last) = wrapped.last_mut() {
                *last = super::super::text::ellipsis(last, room.saturating_sub(2), theme);
            }
        }
        lines.extend(wrapped.into_iter().map(|line| Line::from(span(model, ink, format!(" {line}")))));
    };
    if let Some(error) = &stage.error {
        // The attempts below tell their own, and there is no need to say it twice.
        let error = if stage.attempts.is_empty() { error } else { words::cause(error) };
        let lines: Vec<String> = error.lines().map(one_line).collect();
        let text = lines.join("\n");
        if told.first().is_none_or(|last| last.end != text || width(&text) > left) {
            say(Ink::Bad, &text, ERROR_LINES);
        }
    }
    if let Some(feedback) = &stage.feedback {
        say(Ink::Waiting, &format!("sent back: {}", one_line(feedback)), 2);
    }
    let attempts = stage.attempts.len();
    for one in &told {
        lines.push(Line::from(vec![
            span(model, Ink::Text, one.start.clone()),
            span(model, one.ink, pad(&one.end, column, theme)),
            span(model, Ink::Quiet, one.figures.clone()),
        ]));
    }
    if attempts > TOLD {
        lines.push(Line::from(span(model, Ink::Quiet, format!("  and {} before", attempts - TOLD))));
    }
    if let Some(outputs) = &stage.outputs {
        lines.extend(outputs_lines(model, outputs, room));
    }
    lines.extend(artifact_lines(model, &stage.artifacts, room));
    lines
}

/// `  2  12:40:51     41s  `, `exit 1: Replicate API: 503`, `  cpu 2.5s  mem 120M`
pub(super) struct Told {
    pub start: String,
    ink: Ink,
    pub end: String,
    pub figures: String,
}

pub(super) fn tell(model: &Model, attempt: &AttemptRecord) -> Told {
    let length = attempt
        .started_at
        .map(|from| time_span(between(from, attempt.ended_at.unwrap_or(model.now))))
        .unwrap_or_default();
    let started = attempt.started_at.map(|at| model.clock(at)).unwrap_or_default();
    let (ink, end) = match (attempt.verdict, &attempt.error) {
        (_, Some(error)) => (Ink::Bad, one_line(words::cause(error))),
        (None, None) if attempt.ended_at.is_none() => (Ink::Good, "goes on".to_owned()),
        (None, None) => (Ink::Quiet, String::new()),
        (Some(Verdict::Completed), None) => (Ink::Good, "done".to_owned()),
        (Some(verdict), None) => (Ink::Waiting, verdict.word().replace('_', " ")),
    };
    let item = attempt.item.map(|item| format!(" item {item}")).unwrap_or_default();
    let cpu = attempt.cpu_seconds.map(|cpu| format!("  cpu {cpu:.1}s"));
    let memory = attempt.peak_rss_bytes.map(|peak| format!("  mem {}", bytes(peak)));
    let cost = attempt.cost.map(|cost| format!("  cost {cost:.2}"));
    let figures = [cpu, memory, cost].into_iter().flatten().collect::<String>();
    let start = format!("  {:>3}{item}  {started}  {}  ", attempt.number, right(&length, 7, model.theme()));
    Told { start, ink, end, figures }
}

/// `  title = "A film"`: a line each, cut where it ends.
pub(super) fn outputs_lines(model: &Model, outputs: &JsonMap, room: usize) -> Vec<Line<'static>> {
    let line = |(key, value): (&String, &crate::domain::json::Json)| {
        // A value may have megabytes; no more of it is looked at than fits.
        let start: String = value.text().chars().take(room).collect();
        let text = fit(&one_line(&start), room.saturating_sub(key.chars().count() + 6), model.theme());
        Line::from(vec![
            span(model, Ink::Accent, format!("  {}", one_line(key))),
            span(model, Ink::Text, format!(" = {text}")),
        ])
    };
    outputs.iter().map(line).collect()
}

/// The same in full, over as many lines as that takes.
pub(super) fn whole_outputs(model: &Model, outputs: &JsonMap, room: usize) -> Vec<Line<'static>> {
    let lines = |(key, value): (&String, &crate::domain::json::Json)| {
        let text = format!("{} = {}", one_line(key), start_of(value.text()));
        let wrapped = wrap(&text, room.saturating_sub(2));
        wrapped
            .into_iter()
            .map(|line| Line::from(span(model, Ink::Text, format!("  {line}"))))
            .collect::<Vec<_>>()
    };
    outputs.iter().flat_map(lines).collect()
}

pub(super) fn artifact_lines(model: &Model, artifacts: &[Artifact], room: usize) -> Vec<Line<'static>> {
    let line = |artifact: &Artifact| {
        let facts = format!("  {}  {}", bytes(artifact.size), short(artifact.hash.as_str()));
        let name = fit(&one_line(&artifact.name), room.saturating_sub(facts.len() + 4), model.theme());
        Line::from(vec![span(model, Ink::Accent, format!("  {name}")), span(model, Ink::Quiet, facts)])
    };
    artifacts.iter().map(line).collect()
}

/// Enough of a hash to tell two apart.
pub(super) fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}
