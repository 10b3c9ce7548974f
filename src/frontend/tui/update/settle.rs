//! What follows from any change, whatever it was.

use std::time::Duration;

use jiff::{Timestamp, ToSpan, Unit};

use super::super::dialog::Dialog;
use super::super::event::Cmd;
use super::super::layout::{Layout, is_tiny};
use super::super::log::{LogFile, LogSource};
use super::super::model::{Link, Model, Screen};
use super::super::rows::{Choice, Row, rows};
use crate::domain::keys::Action;
use crate::domain::view::{RunnerStatus, RunnerView};
use crate::frontend::text::between;
use crate::logs::names::attempt_log;

/// A moment that was asked for has come.
pub(super) fn tick(model: &mut Model) -> Vec<Cmd> {
    model.dirty |= model.toasts.expire(model.now);
    model.dirty |= unit(model).is_some();
    Vec::new()
}

pub(super) fn settle(model: &mut Model) -> Vec<Cmd> {
    if model.list.stale {
        model.list.stale = false;
        let list = &model.list;
        let choice = Choice { filter: list.filter.text(), unfinished: list.unfinished, sort: list.sort };
        model.list.rows = rows(&model.fleet, choice);
    }
    keep_selection(model);
    keep_visible(model);
    drop_idle_questions(model);
    let mut cmds = feed_panes(model);
    let wants_figures = model.is_connected() && shows_figures(model);
    if wants_figures && model.figures_due.is_some_and(|due| due <= model.now) {
        model.figures_due = None;
        model.figures_asked = model.now;
        cmds.push(Cmd::Figures);
    }
    model.wake = wake(model, wants_figures);
    cmds
}

/// The same runner as before; where it is no longer listed, the one that stands in its place.
fn keep_selection(model: &mut Model) {
    let names: Vec<(usize, usize)> = model
        .list
        .rows
        .iter()
        .enumerate()
        .filter_map(|(row, entry)| match entry {
            Row::Runner(at) => Some((row, *at)),
            Row::Group(_) | Row::Gap => None,
        })
        .collect();
    let is_selected = |at: usize| {
        let runner = model.fleet.runners().get(at);
        runner.is_some_and(|runner| Some(&runner.name) == model.list.selected.as_ref())
    };
    if let Some((row, _)) = names.iter().find(|(_, at)| is_selected(*at)) {
        model.list.index = *row;
        return;
    }
    let next = names.iter().find(|(row, _)| *row >= model.list.index).or(names.last()).copied();
    model.list.selected =
        next.and_then(|(_, at)| model.fleet.runners().get(at)).map(|runner| runner.name.clone());
    model.list.index = next.map_or(0, |(row, _)| row);
}

/// The highlighted row is on the screen, with the heading above it where that costs nothing.
fn keep_visible(model: &mut Model) {
    let height = Layout::of(model).list_rows();
    let list = &mut model.list;
    if height == 0 {
        return;
    }
    let heading = matches!(list.rows.get(list.index.wrapping_sub(1)), Some(Row::Group(_)));
    let first = if heading && height > 1 { list.index - 1 } else { list.index };
    if first < list.offset {
        list.offset = first;
    } else if list.index >= list.offset + height {
        list.offset = list.index + 1 - height;
    }
    list.offset = list.offset.min(list.rows.len().saturating_sub(height));
}

/// A question about what has ended by itself needs no answer any more.
fn drop_idle_questions(model: &mut Model) {
    let Some(Dialog::Confirm { order, names }) = &model.dialog else { return };
    if model.orderable(*order, names).is_empty() {
        model.dialog = None;
        model.dirty = true;
    }
}

fn feed_panes(model: &mut Model) -> Vec<Cmd> {
    let layout = Layout::of(model);
    let mut cmds = Vec::new();
    model.log.configure(model.keymap().key(Action::Follow), model.setup.manners.log_tail_lines);
    if layout.log.height > 0 {
        let source = model.selected().map(|view| source(model, view));
        cmds.extend(model.log.show(source.as_ref()));
    }
    cmds.extend(model.log.resize(layout.log.width, layout.log.height));
    if let Some(pane) = &mut model.attach {
        if let Some(view) = model.fleet.get(pane.runner()) {
            cmds.extend(pane.show(view));
        }
        cmds.extend(pane.resize(layout.body.width, layout.body.height));
    }
    cmds
}

fn source(model: &Model, view: &RunnerView) -> LogSource {
    let facts = model.facts(&view.name);
    let path = |attempt| {
        // The supervisor knows where the last one went, whatever the config says by now.
        let last = view.log.clone().filter(|_| Some(attempt) == view.attempt);
        last.or_else(|| facts.map(|facts| attempt_log(&facts.log, &view.name, attempt)))
    };
    let file = |attempt: &crate::domain::view::AttemptView| {
        Some(LogFile {
            attempt: attempt.attempt,
            path: path(attempt.attempt)?,
            live: attempt.ended_at.is_none(),
            started_at: attempt.started_at,
            outcome: attempt.outcome.clone(),
        })
    };
    let mut attempts: Vec<LogFile> = view.attempts.iter().filter_map(file).collect();
    let newest = attempts.last().map(|file| file.attempt);
    if let (Some(attempt), Some(path)) = (view.attempt, &view.log)
        && newest < Some(attempt)
    {
        attempts.push(LogFile {
            attempt,
            path: path.clone(),
            live: view.ended_at.is_none(),
            started_at: view.started_at,
            outcome: view.outcome.clone(),
        });
    }
    LogSource { runner: view.name.clone(), attempts }
}

fn shows_figures(model: &Model) -> bool {
    model.screen == Screen::Main && !is_tiny(model.setup.size) && model.fleet.live() > 0
}

/// The earliest moment at which something changes by itself.
fn wake(model: &Model, wants_figures: bool) -> Option<Timestamp> {
    let clock = unit(model).and_then(|unit| {
        // Everything that counts does so at the same moment, so that one drawing does for all.
        let floor =
            model.now.round(jiff::TimestampRound::new().smallest(unit).mode(jiff::RoundMode::Floor)).ok()?;
        let step = if unit == Unit::Minute { 1.minute() } else { 1.second() };
        floor.checked_add(step).ok()
    });
    let figures = model.figures_due.filter(|_| wants_figures);
    [clock, model.toasts.next_end(), figures].into_iter().flatten().min()
}

/// How fast the fastest thing on the screen counts; `None` where nothing does.
fn unit(model: &Model) -> Option<Unit> {
    if is_tiny(model.setup.size) {
        return None;
    }
    if let Link::Lost { .. } = model.link {
        return Some(Unit::Second);
    }
    if let Some(Dialog::Leaving) = model.dialog {
        return Some(Unit::Second);
    }
    if model.screen != Screen::Main {
        return None;
    }
    let layout = Layout::of(model);
    let listed = model.list.rows.iter().skip(model.list.offset).take(layout.list_rows());
    let listed = listed.filter_map(|row| match row {
        Row::Runner(at) => model.fleet.runners().get(*at),
        Row::Group(_) | Row::Gap => None,
    });
    // Seconds before minutes.
    listed.chain(model.selected()).filter_map(|view| counts(model, view)).min()
}

fn counts(model: &Model, view: &RunnerView) -> Option<Unit> {
    const HOUR: Duration = Duration::from_hours(1);
    match view.status {
        RunnerStatus::Backoff => view.next_retry_at.map(|_| Unit::Second),
        RunnerStatus::Starting | RunnerStatus::Running | RunnerStatus::Stopping | RunnerStatus::Stuck => {
            let since = view.started_at?;
            let young = between(since, model.now) < HOUR;
            let quiet = crate::frontend::tui::view::runners::quiet(model, view).is_some();
            Some(if young || quiet { Unit::Second } else { Unit::Minute })
        }
        RunnerStatus::Idle | RunnerStatus::Stopped | RunnerStatus::Crashed | RunnerStatus::Completed => None,
    }
}
