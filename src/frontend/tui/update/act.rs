//! What each action does, where it does something: that is asked of [`Model::can`], once.

use super::super::attach::AttachPane;
use super::super::dialog::{Dialog, Scroll};
use super::super::event::{Cmd, ConfigOf, Order};
use super::super::flows::pane::RunPane;
use super::super::layout::Layout;
use super::super::model::{Focus, Model, Screen};
use super::super::palette::Palette;
use super::super::rows::Row;
use super::super::theme::Ink;
use super::super::view;
use super::{ask_or_do, flow, stop_all};
use crate::domain::flow::ids::FlowName;
use crate::domain::ids::RunnerName;
use crate::domain::keys::Action;
use crate::frontend::text::word;

pub(super) fn act(model: &mut Model, action: Action) -> Vec<Cmd> {
    // The log hears its own keys first, so that Back can end a search before it leaves the pane.
    if model.place().is_log()
        && let Some(cmds) = model.log.act(action)
    {
        return cmds;
    }
    if let Some(cmds) = flow::act::act(model, action) {
        return cmds;
    }
    if !model.can(action) {
        return say_why_not(model, action);
    }
    match action {
        Action::Up => scroll(model, Scroll::Lines(-1)),
        Action::Down => scroll(model, Scroll::Lines(1)),
        Action::Top => scroll(model, Scroll::Top),
        Action::Bottom => scroll(model, Scroll::Bottom),
        Action::PageUp => scroll(model, Scroll::Pages(-1)),
        Action::PageDown => scroll(model, Scroll::Pages(1)),
        Action::NextPane => next_pane(model, 1),
        Action::PrevPane => next_pane(model, -1),
        Action::Open => open(model),
        Action::Back => back(model),
        Action::Zoom if model.screen == Screen::Run => model.dialog = view::flow::whole::whole(model),
        Action::Zoom => model.zoom = !model.zoom,
        Action::OpenLog => (model.focus, model.zoom) = (Focus::Log, true),
        Action::Filter if model.screen == Screen::History => model.flows.history.typing = true,
        Action::Filter => model.list.typing = true,
        Action::Unfinished if model.screen == Screen::History => {
            model.flows.history.unfinished = !model.flows.history.unfinished;
        }
        Action::Unfinished => {
            model.list.unfinished = !model.list.unfinished;
            model.list.stale = true;
        }
        Action::Sort => {
            model.list.sort = model.list.sort.next();
            model.list.stale = true;
        }
        Action::Help => show(model, Screen::Help),
        Action::Palette => model.dialog = Some(Dialog::Palette(Palette::default())),
        Action::Explain => model.dialog = view::message::explain(model),
        Action::History => show(model, Screen::History),
        Action::Analytics => {
            show(model, Screen::Analytics);
            return vec![Cmd::LoadHistory];
        }
        Action::Config => {
            let flow = flow_here(model);
            show(model, Screen::Config);
            model.pointed_flow = flow;
            return vec![Cmd::LoadConfig];
        }
        Action::Start => return order(model, Order::Start),
        Action::Stop => return order(model, Order::Stop),
        Action::Restart => return order(model, Order::Restart),
        Action::Kill => return order(model, Order::Kill),
        Action::StartAll => return order_all(model, Order::Start),
        Action::StopAll => return order_all(model, Order::Stop),
        Action::RestartAll => return order_all(model, Order::Restart),
        Action::KillAll => return order_all(model, Order::Kill),
        Action::Attach => return attach(model),
        Action::LeaveAttach => return leave_attach(model),
        Action::Reload => return vec![Cmd::Reload],
        Action::Summon => return vec![Cmd::Summon],
        Action::Redraw => return vec![Cmd::Redraw],
        Action::Quit => return quit(model),
        Action::Detach => return vec![Cmd::Quit],
        Action::StopAndQuit => return stop_all(model),
        // These are the log's own, and those of runs; they were heard before.
        Action::Search
        | Action::SearchNext
        | Action::SearchPrev
        | Action::FilterLines
        | Action::Regex
        | Action::Follow
        | Action::Wrap
        | Action::Timestamps
        | Action::PrevAttempt
        | Action::NextAttempt
        | Action::Left
        | Action::Right
        | Action::Select
        | Action::Copy
        | Action::Save
        | Action::Pager
        | Action::Retry
        | Action::Approve
        | Action::Reject
        | Action::Proceed
        | Action::CancelRun
        | Action::StageLog
        | Action::Look
        | Action::Edit
        | Action::Fork
        | Action::Tree
        | Action::PrevRun
        | Action::NextRun => {}
    }
    Vec::new()
}

/// A key that does nothing says so, where somebody may wait for what it does.
pub(super) fn say_why_not(model: &mut Model, action: Action) -> Vec<Cmd> {
    let (Action::Start | Action::Stop | Action::Restart | Action::Kill | Action::Attach) = action else {
        return Vec::new();
    };
    let Some(binding) = action.binding() else {
        return Vec::new();
    };
    let text = match model.selected() {
        None => format!("Nothing is selected here to {}", binding.short),
        // What was asked for is under way, or nobody is there to be asked; both are on the screen.
        Some(view) if model.pending.contains_key(&view.name) || !model.is_connected() => return Vec::new(),
        Some(view) if action == Action::Attach => format!("{} has no terminal to attach to", view.name),
        Some(view) => format!("{} is {}: there is nothing to {}", view.name, word(view), binding.short),
    };
    model.toasts.push(Ink::Text, text, model.now);
    model.dirty = true;
    Vec::new()
}

/// Leaves at once where nothing lives: there is nothing to decide, and a supervisor without work ends by itself.
pub(super) fn quit(model: &mut Model) -> Vec<Cmd> {
    if model.is_connected() && model.fleet.live() + model.flows.going() > 0 {
        model.dialog = Some(Dialog::Quit);
        return Vec::new();
    }
    vec![Cmd::Quit]
}

pub(super) fn clear_history(model: &mut Model) {
    let history = &mut model.flows.history;
    history.filter = super::super::input::LineInput::default();
    (history.typing, history.unfinished) = (false, false);
}

pub(super) fn clear_filter(model: &mut Model) {
    model.list.filter = super::super::input::LineInput::default();
    model.list.typing = false;
    model.list.stale = true;
}

/// Shows the list with this runner selected, whatever a filter says.
pub(super) fn reveal(model: &mut Model, name: RunnerName) {
    model.screen = Screen::Main;
    let hidden = |model: &Model| {
        !model
            .list
            .rows
            .iter()
            .any(|row| matches!(row, Row::Runner(at) if model.fleet.runners()[*at].name == name))
    };
    if hidden(model) {
        clear_filter(model);
        model.list.unfinished = false;
    }
    (model.list.selected, model.list.run) = (Some(name), None);
}

fn order(model: &mut Model, order: Order) -> Vec<Cmd> {
    match model.list.selected.clone() {
        Some(name) => ask_or_do(model, order, &[name]),
        None => Vec::new(),
    }
}

fn order_all(model: &mut Model, order: Order) -> Vec<Cmd> {
    let names = model.all_names();
    ask_or_do(model, order, &names)
}

fn attach(model: &mut Model) -> Vec<Cmd> {
    let Some(view) = model.selected() else { return Vec::new() };
    let (pane, cmds) = AttachPane::open(view, model.keymap().key(Action::LeaveAttach));
    model.attach = Some(pane);
    model.screen = Screen::Attach;
    cmds
}

fn leave_attach(model: &mut Model) -> Vec<Cmd> {
    model.screen = Screen::Main;
    model.attach.take().map(AttachPane::close).unwrap_or_default()
}

fn show(model: &mut Model, screen: Screen) {
    if model.screen == screen {
        model.screen = if screen.is_above() { model.under } else { Screen::Main };
    } else {
        if !model.screen.is_above() {
            model.under = model.screen;
        }
        model.screen = screen;
    }
    if screen == Screen::History {
        model.flows.history.fresh.touch();
    }
    model.scroll = 0;
    model.pointed = model.list.selected.clone();
    model.pointed_flow = None;
}

/// The flow of the run that is looked at, or the first one where there is nothing else in the config.
fn flow_here(model: &Model) -> Option<FlowName> {
    let run = match model.screen {
        Screen::Run => model.flows.pane.as_ref().and_then(RunPane::run).map(|run| &run.flow),
        Screen::Main => model.selected_run().map(|run| &run.flow),
        Screen::History => model.flows.history.selected().map(|run| &run.flow),
        Screen::Analytics | Screen::Config | Screen::Help | Screen::Attach => None,
    };
    let flows = || model.config.iter().flat_map(|config| &config.flows).map(|flow| &flow.name);
    // That of the run may have gone from the config.
    let of_run = run.filter(|name| flows().any(|known| known == *name));
    of_run.or_else(|| flows().next().filter(|_| model.list.selected.is_none())).cloned()
}

fn open(model: &mut Model) {
    match model.screen {
        Screen::Main if model.list.run.is_some() => {
            if let Some(run) = model.list.run.clone() {
                flow::open_run(model, &run);
            }
        }
        Screen::History => {
            if let Some(run) = model.flows.history.selected().map(|run| run.run_id.clone()) {
                flow::open_run(model, &run);
            }
        }
        Screen::Run => open_in_run(model),
        Screen::Main => {
            // A second time gives the log the whole screen.
            model.zoom = model.focus == Focus::Log;
            model.focus = Focus::Log;
        }
        Screen::Analytics => {
            if let Some(name) = model.pointed.clone() {
                reveal(model, name);
            }
        }
        Screen::Config | Screen::Help | Screen::Attach => {}
    }
}

/// Of a stage its log; of a checkpoint the run that made it.
fn open_in_run(model: &mut Model) {
    let Some(pane) = &mut model.flows.pane else { return };
    match pane.selected_row().cloned() {
        Some(row) if row.run_id != pane.id => flow::open_run(model, &row.run_id),
        Some(row) => {
            pane.in_tree = false;
            let place = pane.stages().iter().position(|stage| stage.name == row.id.stage);
            (pane.stage, pane.chosen) = (place.unwrap_or(pane.stage), true);
        }
        None => {
            flow::act::act(model, Action::StageLog);
        }
    }
}

/// One step: a toast, the screen, the pane, the zoom, the filter.
fn back(model: &mut Model) {
    if model.screen == Screen::Run {
        back_in_run(model);
    } else if model.screen == Screen::History && model.flows.history.is_narrowed() {
        clear_history(model);
    } else if model.screen.is_above() {
        model.screen = model.under;
    } else if model.screen != Screen::Main {
        model.screen = Screen::Main;
    } else if model.focus == Focus::Log {
        (model.focus, model.zoom) = (Focus::List, false);
    } else if model.zoom {
        model.zoom = false;
    } else if !model.list.filter.is_empty() {
        clear_filter(model);
    } else if model.list.unfinished {
        model.list.unfinished = false;
        model.list.stale = true;
    } else {
        model.toasts.dismiss();
    }
}

/// The log, the tree, the run, and what it was opened from.
fn back_in_run(model: &mut Model) {
    if flow::look::close(model) {
        return;
    }
    let in_tree = model.flows.pane.as_mut().filter(|pane| pane.in_tree);
    match (model.focus, in_tree) {
        (Focus::Log, _) => model.focus = Focus::List,
        (Focus::List, Some(pane)) => pane.in_tree = false,
        (Focus::List, None) => model.screen = model.flows.back_to,
    }
}

fn next_pane(model: &mut Model, by: isize) {
    match model.screen {
        Screen::Main => {
            model.focus = if model.focus == Focus::List { Focus::Log } else { Focus::List };
            model.zoom = false;
        }
        Screen::Config => {
            point(model, by);
            model.scroll = view::config_scroll(model, usize::from(Layout::of(model).body.height));
        }
        Screen::Run | Screen::History | Screen::Analytics | Screen::Help | Screen::Attach => {}
    }
}

/// To the next runner or flow, in the order of the config; around at the ends.
fn point(model: &mut Model, by: isize) {
    let all = model.configured();
    let Ok(count) = isize::try_from(all.len()) else { return };
    if count == 0 {
        return;
    }
    let here = |one: &ConfigOf| match one {
        ConfigOf::Runner(name) => model.pointed_flow.is_none() && model.pointed.as_ref() == Some(name),
        ConfigOf::Flow(name) => model.pointed_flow.as_ref() == Some(name),
        ConfigOf::Workspace | ConfigOf::Stage(..) => false,
    };
    // From nowhere it goes to the first or the last.
    let from = all.iter().position(here).and_then(|at| isize::try_from(at).ok()).unwrap_or(-by.max(0));
    let next = usize::try_from((from + by).rem_euclid(count)).unwrap_or(0);
    (model.pointed, model.pointed_flow) = match all.into_iter().nth(next) {
        Some(ConfigOf::Runner(name)) => (Some(name), None),
        Some(ConfigOf::Flow(name)) => (None, Some(name)),
        Some(ConfigOf::Workspace | ConfigOf::Stage(..)) | None => (None, None),
    };
}

fn scroll(model: &mut Model, by: Scroll) {
    match model.screen {
        Screen::Main if model.focus == Focus::List => move_selection(model, by),
        Screen::Main | Screen::Attach => {}
        Screen::Run => move_in_run(model, by),
        Screen::History => {
            let page = view::flow::history::page(model);
            let history = &mut model.flows.history;
            history.selected = moved(by, history.selected, history.rows.len(), page);
        }
        Screen::Analytics => {
            let order = view::analytics::order(model);
            let at = model.pointed.as_ref().and_then(|name| order.iter().position(|one| one == name));
            let height = usize::from(Layout::of(model).body.height / 2);
            let next = moved(by, at.unwrap_or(0), order.len(), height);
            model.pointed = order.get(next).cloned().or(model.pointed.take());
        }
        Screen::Config | Screen::Help => {
            let lines = view::scrolled_lines(model);
            let height = usize::from(Layout::of(model).body.height);
            model.scroll = by.apply(model.scroll, lines, height);
        }
    }
}

fn move_in_run(model: &mut Model, by: Scroll) {
    if model.focus == Focus::Log {
        return;
    }
    let page = view::flow::page(model);
    let Some(pane) = &mut model.flows.pane else { return };
    if pane.in_tree {
        let rows = pane.tree.as_ref().map_or(0, |tree| tree.rows.len());
        pane.checkpoint = moved(by, pane.checkpoint, rows, page);
        pane.checkpoint_chosen = true;
    } else {
        pane.stage = moved(by, pane.stage, pane.stages().len(), page);
        pane.chosen = true;
    }
}

/// The highlight goes over headings.
pub(super) fn move_selection(model: &mut Model, by: Scroll) {
    let places: Vec<usize> =
        (0..model.list.rows.len()).filter(|row| model.list.rows[*row].is_choice()).collect();
    let current = places.iter().position(|row| *row == model.list.index).unwrap_or(0);
    let page = Layout::of(model).list_rows();
    let next = moved(by, current, places.len(), page);
    if let Some(row) = places.get(next) {
        select_row(model, *row);
    }
}

pub(super) fn select_row(model: &mut Model, row: usize) {
    let runner = |at: usize| model.fleet.runners().get(at).map(|runner| runner.name.clone());
    let (selected, run) = match model.list.rows.get(row) {
        Some(Row::Runner(at)) => (runner(*at), None),
        Some(Row::Run(run)) => (None, Some(run.clone())),
        Some(Row::Group(_) | Row::Gap) | None => return,
    };
    (model.list.selected, model.list.run, model.list.index) = (selected, run, row);
}

/// Where a highlight stands after it.
pub(super) fn moved(by: Scroll, at: usize, count: usize, page: usize) -> usize {
    let last = count.saturating_sub(1);
    match by {
        Scroll::Lines(by) => at.saturating_add_signed(by),
        Scroll::Pages(by) => {
            at.saturating_add_signed(by * isize::try_from(page.saturating_sub(1).max(1)).unwrap_or(1))
        }
        Scroll::Top => 0,
        Scroll::Bottom => last,
    }
    .min(last)
}
