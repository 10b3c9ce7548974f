//! A run on a line of the main list: `! video-12   waits: storyboard@2   8m02s   ▰▰▰▰▱▱▱ 4/7`.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::super::super::model::{Focus, Model};
use super::super::super::theme::{Ink, Theme};
use super::super::text::{pad, right, width};
use super::run_sign;
use crate::domain::flow::status::RunStatus;
use crate::domain::flow::view::RunView;
use crate::frontend::flow::words;
use crate::frontend::text::{between, one_line, span as time_span};

const LEAD: usize = 4;
const TIME: usize = 8;
/// Cells of a bar at most; the count stands behind it.
const BAR: usize = 8;
const COUNT: usize = 9;
/// So many runs are looked at to find the longest name.
const MEASURED: usize = 100;
/// Longer ones are cut before a name is.
const WORDS: usize = 28;

pub(in super::super) fn line(model: &Model, run: &RunView, full: usize) -> Line<'static> {
    let theme = model.theme();
    let selected = model.list.run.as_ref() == Some(&run.run_id);
    let ground = match (selected, model.focus) {
        (false, _) => Style::new(),
        (true, Focus::List) => theme.style(Ink::Selection),
        (true, Focus::Log) => theme.style(Ink::SelectionIdle),
    };
    let ink = |ink: Ink| if selected { ground } else { theme.style(ink) };
    let (sign, status) = run_sign(run.status, theme);
    let sign = if model.flows.doing(&run.run_id).is_some() { theme.glyph("◐", "%") } else { sign };
    let marker = if selected { theme.glyph("▌", ">") } else { " " };
    let progress = progress(run, theme);
    let bar_room = if progress.is_empty() || full < 60 { 0 } else { BAR + COUNT };
    let measured = || model.flows.listed().take(MEASURED);
    let names = measured().map(|run| width(run.run_id.as_str())).max().unwrap_or(0);
    let needed = measured().map(|run| width(&words_of(run))).max().unwrap_or(0).min(WORDS);
    // What a run does matters more than the end of a long name.
    let bar = if full < 60 { 0 } else { BAR + COUNT };
    let both = full.saturating_sub(LEAD + 1 + TIME + 2 + bar + 1);
    let name = names.max(10).min(both.saturating_sub(needed).max(16)).min(both);
    let words = both - name + bar - bar_room;
    let mut line = Line::from(vec![
        Span::styled(format!("{marker} "), ink(Ink::Accent)),
        Span::styled(sign, ink(status)),
        Span::styled(" ", ground),
        Span::styled(pad(run.run_id.as_str(), name, theme), ink(Ink::Text)),
        Span::styled(" ", ground),
        Span::styled(pad(&words_of(run), words, theme), ink(status)),
        Span::styled(right(&elapsed(model, run), TIME, theme), ink(Ink::Text)),
    ]);
    if bar_room > 0 {
        line.push_span(Span::styled(format!("  {}", pad(&progress, bar_room, theme)), ink(Ink::Text)));
    }
    if selected {
        let missing = full.saturating_sub(line.width());
        line.push_span(Span::styled(" ".repeat(missing), ground));
    }
    line
}

/// `waits: storyboard@2`, `failed at render`, `running render, voice`.
pub(in super::super) fn words_of(run: &RunView) -> String {
    let at = run.at.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let word = run.status.word();
    match run.status {
        RunStatus::Waiting if !run.asks.is_empty() => {
            let asks = run.asks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            format!("waits: {asks}")
        }
        RunStatus::Waiting => "waits for you".to_owned(),
        RunStatus::Failed if !at.is_empty() => format!("failed at {at}"),
        RunStatus::Failed => match &run.error {
            Some(error) => format!("failed: {}", one_line(words::cause(error))),
            None => word.to_owned(),
        },
        RunStatus::Running if run.held.is_some() => {
            words::trouble(None, run.held.as_deref()).unwrap_or_default()
        }
        RunStatus::Running if !at.is_empty() => format!("running {at}"),
        RunStatus::Queued
        | RunStatus::Running
        | RunStatus::Succeeded
        | RunStatus::Degraded
        | RunStatus::Cancelled
        | RunStatus::Interrupted => word.to_owned(),
    }
}

pub(in super::super) fn elapsed(model: &Model, run: &RunView) -> String {
    let goes_on = matches!(run.status, RunStatus::Running | RunStatus::Waiting);
    let until = if goes_on { Some(model.now) } else { run.ended_at };
    run.started_at.zip(until).map(|(from, to)| time_span(between(from, to))).unwrap_or_default()
}

/// `▰▰▰▰▱▱▱ 4/7`; empty where it is not known.
pub(in super::super) fn progress(run: &RunView, theme: &Theme) -> String {
    if run.all == 0 {
        return String::new();
    }
    let (done, all) = (usize::try_from(run.done).unwrap_or(0), usize::try_from(run.all).unwrap_or(1));
    let cells = all.min(BAR);
    // Full only when everything is done.
    let full = if done >= all { cells } else { (done * cells / all).min(cells.saturating_sub(1)) };
    let (on, off) = (theme.glyph("▰", "#"), theme.glyph("▱", "-"));
    format!("{}{} {done}/{all}", on.repeat(full), off.repeat(cells - full))
}
