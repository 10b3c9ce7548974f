//! What follows from any change, whatever it was.

use std::time::Duration;

use jiff::{Timestamp, ToSpan, Unit};

use super::super::dialog::Dialog;
use super::super::event::Cmd;
use super::super::flows::pane::RunPane;
use super::super::layout::{Layout, is_tiny};
use super::super::log::{LogFile, LogSource};
use super::super::model::{Focus, Link, Model, Screen};
use super::super::rows::{Choice, Row, rows, runs};
use super::super::view;
use super::{act, flow};
use crate::domain::flow::record::AttemptRecord;
use crate::domain::flow::status::RunStatus;
use crate::domain::ids::Attempt;
use crate::domain::keys::Action;
use crate::domain::verdict::Outcome;
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
    let height = Layout::of(model).list_rows();
    if height > 0 && height != model.list.height {
        (model.list.height, model.list.stale) = (height, true);
    }
    if model.flows.kept != model.list.run {
        model.flows.kept.clone_from(&model.list.run);
        model.list.stale = true;
    }
    if model.list.stale {
        model.list.stale = false;
        let list = &model.list;
        let choice = Choice { filter: list.filter.text(), unfinished: list.unfinished, sort: list.sort };
        let mut all = rows(&model.fleet, choice);
        // Above the runs there are a gap and a heading.
        model.flows.make_room(model.list.height.saturating_sub(all.len() + 2));
        let runs = runs(&model.flows, choice);
        if !all.is_empty() && !runs.is_empty() {
            all.push(Row::Gap);
        }
        all.extend(runs);
        model.list.rows = all;
    }
    keep_selection(model);
    keep_visible(model);
    drop_idle_questions(model);
    let mut cmds = flow::look::forget(model);
    cmds.extend(feed_panes(model));
    cmds.extend(flow::feed(model));
    keep_visible_in_flows(model);
    let wants_figures = model.is_connected() && shows_figures(model);
    if wants_figures && model.figures_due.is_some_and(|due| due <= model.now) {
        model.figures_due = None;
        model.figures_asked = model.now;
        cmds.push(Cmd::Figures);
    }
    model.wake = wake(model, wants_figures);
    cmds
}

/// The same runner or run as before; where it is no longer listed, the one that stands in its place.
fn keep_selection(model: &mut Model) {
    let list = &model.list;
    let is_selected = |row: &Row| match row {
        Row::Runner(at) => {
            let runner = model.fleet.runners().get(*at);
            list.run.is_none() && runner.is_some_and(|runner| Some(&runner.name) == list.selected.as_ref())
        }
        Row::Run(run) => list.run.as_ref() == Some(run),
        Row::Group(_) | Row::Gap => false,
    };
    if let Some(row) = list.rows.iter().position(is_selected) {
        model.list.index = row;
        return;
    }
    let choices = || (0..list.rows.len()).filter(|row| list.rows[*row].is_choice());
    let next = choices().find(|row| *row >= list.index).or(choices().next_back());
    (model.list.selected, model.list.run) = (None, None);
    match next {
        Some(row) => act::select_row(model, row),
        None => model.list.index = 0,
    }
    if model.list.run.is_some() && model.screen == Screen::Main {
        // A run has no log here.
        (model.focus, model.zoom) = (Focus::List, false);
    }
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

/// The same for the lists of the other screens.
fn keep_visible_in_flows(model: &mut Model) {
    let scrolled = |at: usize, offset: usize, count: usize, height: usize| {
        let offset = offset.clamp((at + 1).saturating_sub(height), at);
        offset.min(count.saturating_sub(height))
    };
    match model.screen {
        Screen::Run => {
            let height = view::flow::page(model).max(1);
            let Some(pane) = &mut model.flows.pane else { return };
            pane.offset = scrolled(pane.stage, pane.offset, pane.stages().len(), height);
            let rows = pane.tree.as_ref().map_or(0, |tree| tree.rows.len());
            pane.tree_offset = scrolled(pane.checkpoint, pane.tree_offset, rows, height);
        }
        Screen::History => {
            let height = view::flow::history::page(model).max(1);
            let history = &mut model.flows.history;
            history.offset = scrolled(history.selected, history.offset, history.rows.len(), height);
        }
        Screen::Main | Screen::Analytics | Screen::Config | Screen::Help | Screen::Attach => {}
    }
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
        let source = if model.screen != Screen::Run {
            model.selected().map(|view| source(model, view))
        } else if let Some(viewing) = &model.flows.viewing {
            Some(viewing.source.clone())
        } else {
            model.flows.pane.as_ref().and_then(|pane| stage_source(model, pane))
        };
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
            content: None,
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
            content: None,
        });
    }
    LogSource { runner: view.name.clone(), attempts, first: None }
}

/// The attempts of the selected stage. Those of one that fans out are numbered in their order, whatever their items.
fn stage_source(model: &Model, pane: &RunPane) -> Option<LogSource> {
    let stage = pane.selected()?;
    let fans_out = stage.attempts.iter().any(|attempt| attempt.item.is_some());
    let mut attempts: Vec<_> = stage.attempts.iter().filter(|attempt| attempt.log.is_some()).collect();
    attempts.sort_by_key(|attempt| (attempt.started_at, attempt.item, attempt.number));
    let file = |(place, attempt): (usize, &&AttemptRecord)| {
        let number = if fans_out { u32::try_from(place).ok()? + 1 } else { attempt.number };
        let outcome = |verdict| Outcome {
            verdict,
            exit_code: attempt.exit_code,
            signal: attempt.signal,
            detail: attempt.error.clone(),
        };
        Some(LogFile {
            attempt: Attempt::new(number)?,
            // What is not told from the root is told from the workspace.
            path: model.workspace.join(attempt.log.as_ref()?),
            live: attempt.ended_at.is_none(),
            started_at: attempt.started_at,
            outcome: attempt.verdict.map(outcome),
            content: None,
        })
    };
    Some(LogSource {
        runner: pane.id.guest(&stage.name, None),
        attempts: attempts.iter().enumerate().filter_map(file).collect(),
        first: None,
    })
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
    [clock, model.toasts.next_end(), figures, flow::wake(model)].into_iter().flatten().min()
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
    if model.screen == Screen::Run {
        return flow_unit(model);
    }
    if model.screen != Screen::Main {
        return None;
    }
    let layout = Layout::of(model);
    let listed = model.list.rows.iter().skip(model.list.offset).take(layout.list_rows());
    let listed = listed.filter_map(|row| match row {
        Row::Runner(at) => model.fleet.runners().get(*at),
        Row::Run(_) | Row::Group(_) | Row::Gap => None,
    });
    let runs = model.flows.listed().filter(|run| run.status == RunStatus::Running);
    let runs = runs.filter_map(|run| Some(pace(model, run.started_at?))).min();
    // Seconds before minutes.
    listed.chain(model.selected()).filter_map(|view| counts(model, view)).chain(runs).min()
}

/// How fast the time of something counts that is shown with two units.
fn pace(model: &Model, since: Timestamp) -> Unit {
    const HOUR: Duration = Duration::from_hours(1);
    if between(since, model.now) < HOUR { Unit::Second } else { Unit::Minute }
}

fn flow_unit(model: &Model) -> Option<Unit> {
    let pane = model.flows.pane.as_ref().filter(|pane| pane.is_open())?;
    // A stage may have begun a moment ago, and a backoff counts down.
    pane.run()?.started_at.map(|_| Unit::Second)
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
