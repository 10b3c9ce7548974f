//! The mouse: a click selects, a click on what is selected opens it, a click on a key of the footer presses it, the
//! wheel scrolls what it is over.

use ratatui::layout::{Position, Rect};

use super::super::dialog::Scroll;
use super::super::event::{Cmd, Mouse, MouseKind};
use super::super::layout::Layout;
use super::super::model::{Focus, Model, Screen};
use super::super::rows::Row;
use super::super::view;
use super::super::view::flow::Hit;
use super::act;
use crate::domain::keys::Action;

/// Lines a notch of the wheel.
const NOTCH: isize = 3;

pub(super) fn point(model: &mut Model, mouse: Mouse) -> Vec<Cmd> {
    let layout = Layout::of(model);
    let at = Position { x: mouse.column, y: mouse.row };
    if model.dialog.is_some() {
        return Vec::new();
    }
    if model.screen == Screen::Attach {
        return model.attach.as_mut().map(|pane| pane.mouse(mouse)).unwrap_or_default();
    }
    if layout.log.contains(at) {
        if mouse.kind == MouseKind::Click {
            model.focus = Focus::Log;
        }
        return model.log.mouse(within(layout.log, mouse));
    }
    match mouse.kind {
        MouseKind::Click if layout.footer.contains(at) => match view::footer::hit(model, mouse.column) {
            Some(action) => act::act(model, action),
            None => Vec::new(),
        },
        MouseKind::Click if layout.list.contains(at) => click_row(model, &layout, mouse.row),
        MouseKind::Click if layout.body.contains(at) => click_in_body(model, at),
        MouseKind::WheelUp => wheel(model, &layout, at, -1),
        MouseKind::WheelDown => wheel(model, &layout, at, 1),
        MouseKind::Click | MouseKind::Drag | MouseKind::Release => Vec::new(),
    }
}

fn within(area: Rect, mouse: Mouse) -> Mouse {
    Mouse { column: mouse.column - area.x, row: mouse.row - area.y, ..mouse }
}

fn click_row(model: &mut Model, layout: &Layout, row: u16) -> Vec<Cmd> {
    let was_there = model.focus == Focus::List;
    model.focus = Focus::List;
    // The first line holds the titles.
    let Some(below) = row.checked_sub(layout.list.y + 1) else { return Vec::new() };
    let row = model.list.offset + usize::from(below);
    if !model.list.rows.get(row).is_some_and(Row::is_choice) {
        return Vec::new();
    }
    if was_there && model.list.index == row {
        return act::act(model, Action::Open);
    }
    act::select_row(model, row);
    Vec::new()
}

/// On the screens whose rows are not those of the main list.
fn click_in_body(model: &mut Model, at: Position) -> Vec<Cmd> {
    match model.screen {
        Screen::Run if model.focus == Focus::List => {
            let hit = view::flow::hit(model, at);
            let Some(pane) = &mut model.flows.pane else { return Vec::new() };
            let again = match hit {
                None => return Vec::new(),
                Some(Hit::Stage(row)) => {
                    let again = !pane.in_tree && pane.stage == row;
                    (pane.stage, pane.chosen, pane.in_tree) = (row, true, false);
                    again
                }
                Some(Hit::Checkpoint(row)) => {
                    let again = pane.checkpoint == row;
                    (pane.checkpoint, pane.checkpoint_chosen) = (row, true);
                    again
                }
            };
            if again { act::act(model, Action::Open) } else { Vec::new() }
        }
        Screen::History => {
            let Some(row) = view::flow::history::hit(model, at.y) else { return Vec::new() };
            let history = &mut model.flows.history;
            let again = std::mem::replace(&mut history.selected, row) == row;
            if again { act::act(model, Action::Open) } else { Vec::new() }
        }
        Screen::Main | Screen::Run | Screen::Analytics | Screen::Config | Screen::Help | Screen::Attach => {
            Vec::new()
        }
    }
}

fn wheel(model: &mut Model, layout: &Layout, at: Position, by: isize) -> Vec<Cmd> {
    if model.screen == Screen::Main {
        if layout.list.contains(at) {
            act::move_selection(model, Scroll::Lines(by * NOTCH));
        }
        return Vec::new();
    }
    let action = if by < 0 { Action::Up } else { Action::Down };
    (0..NOTCH).flat_map(|_| act::act(model, action)).collect()
}
