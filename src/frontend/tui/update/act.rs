//! What each action does, where it does something: that is asked of [`Model::can`], once.

use super::super::attach::AttachPane;
use super::super::dialog::{Dialog, Scroll};
use super::super::event::{Cmd, Order};
use super::super::layout::Layout;
use super::super::model::{Focus, Model, Screen};
use super::super::palette::Palette;
use super::super::rows::Row;
use super::super::view;
use super::{ask_or_do, stop_all};
use crate::domain::ids::RunnerName;
use crate::domain::keys::{Action, Place};

pub(super) fn act(model: &mut Model, action: Action) -> Vec<Cmd> {
    // The log hears its own keys first, so that Back can end a search before it leaves the pane.
    if model.place() == Place::Log
        && let Some(cmds) = model.log.act(action)
    {
        return cmds;
    }
    if !model.can(action) {
        return Vec::new();
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
        Action::Zoom => model.zoom = !model.zoom,
        Action::OpenLog => (model.focus, model.zoom) = (Focus::Log, true),
        Action::Filter => model.list.typing = true,
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
        Action::Analytics => {
            show(model, Screen::Analytics);
            return vec![Cmd::LoadHistory];
        }
        Action::Config => {
            show(model, Screen::Config);
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
        // These are the log's own, and it had them before.
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
        | Action::Pager => {}
    }
    Vec::new()
}

/// Leaves at once where nothing lives: there is nothing to decide, and a supervisor without work ends by itself.
pub(super) fn quit(model: &mut Model) -> Vec<Cmd> {
    if model.is_connected() && model.fleet.live() > 0 {
        model.dialog = Some(Dialog::Quit);
        return Vec::new();
    }
    vec![Cmd::Quit]
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
    model.list.selected = Some(name);
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
    model.screen = if model.screen == screen { Screen::Main } else { screen };
    model.scroll = 0;
    model.pointed = model.list.selected.clone();
}

fn open(model: &mut Model) {
    match model.screen {
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

/// One step: a toast, the screen, the pane, the zoom, the filter.
fn back(model: &mut Model) {
    if model.screen != Screen::Main {
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

fn next_pane(model: &mut Model, by: isize) {
    match model.screen {
        Screen::Main => {
            model.focus = if model.focus == Focus::List { Focus::Log } else { Focus::List };
            model.zoom = false;
        }
        Screen::Config => {
            model.scroll = 0;
            point(model, by);
        }
        Screen::Analytics | Screen::Help | Screen::Attach => {}
    }
}

/// To the next runner, in the order of the config; around at the ends.
fn point(model: &mut Model, by: isize) {
    let runners = model.fleet.runners();
    let Ok(count) = isize::try_from(runners.len()) else { return };
    if count == 0 {
        return;
    }
    let at = model.pointed.as_ref().and_then(|name| runners.iter().position(|one| one.name == *name));
    let at = at.and_then(|at| isize::try_from(at).ok()).unwrap_or(0);
    let next = usize::try_from((at + by).rem_euclid(count)).unwrap_or(0);
    model.pointed = runners.get(next).map(|runner| runner.name.clone());
}

fn scroll(model: &mut Model, by: Scroll) {
    match model.screen {
        Screen::Main if model.focus == Focus::List => move_selection(model, by),
        Screen::Main | Screen::Attach => {}
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

/// The highlight goes over headings.
pub(super) fn move_selection(model: &mut Model, by: Scroll) {
    let places: Vec<usize> = model
        .list
        .rows
        .iter()
        .filter_map(|row| match row {
            Row::Runner(at) => Some(*at),
            Row::Group(_) | Row::Gap => None,
        })
        .collect();
    let name = |at: &usize| model.fleet.runners().get(*at).map(|runner| runner.name.clone());
    let current = places.iter().position(|at| name(at) == model.list.selected).unwrap_or(0);
    let page = Layout::of(model).list_rows();
    let next = moved(by, current, places.len(), page);
    if let Some(selected) = places.get(next).and_then(name) {
        model.list.selected = Some(selected);
    }
}

/// Where a highlight stands after it.
fn moved(by: Scroll, at: usize, count: usize, page: usize) -> usize {
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
