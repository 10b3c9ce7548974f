//! The one place that decides: an event changes the model and may ask for something to be done. No I/O, no clock.
//!
//! `act` is what actions do, `link` what the supervisor says, `pointer` the mouse, `settle` what follows from any
//! change: which rows there are, what stays selected, what the log shows, when to wake up.

use jiff::Timestamp;

use super::dialog::{Decided, Dialog, decide};
use super::event::{Cmd, ConfigNews, Event, Manners, Order, Pressed};
use super::input::Typed;
use super::model::{Focus, Link, Model, Screen};
use super::palette::{Choice, Picked};
use super::theme::{Ink, Theme};
use crate::domain::ids::RunnerName;
use crate::domain::keys::{ALWAYS_QUIT, Code, Key, Place};
use crate::supervisor::handle::Shutdown;

mod act;
mod flow;
mod link;
mod pointer;
mod settle;
#[cfg(test)]
mod tests;

/// What follows from the event, now. The commands are to be performed in their order, and none of them is waited for.
pub fn update(model: &mut Model, event: Event, now: Timestamp) -> Vec<Cmd> {
    model.now = now;
    let mut cmds = match event {
        Event::Key(pressed) => {
            model.dirty = true;
            press(model, pressed)
        }
        Event::Paste(text) => {
            model.dirty = true;
            paste(model, &text)
        }
        Event::Mouse(mouse) => {
            model.dirty = true;
            pointer::point(model, mouse)
        }
        Event::Resize { width, height } => {
            model.dirty = true;
            model.setup.size = (width, height);
            Vec::new()
        }
        Event::Tick => settle::tick(model),
        Event::Link(news) => link::hear(model, news),
        Event::Config(config) => {
            model.dirty = true;
            take_config(model, *config);
            Vec::new()
        }
        Event::History(history) => {
            model.dirty |= model.screen == Screen::Analytics;
            model.history = history.into_iter().collect();
            Vec::new()
        }
        Event::Log(news) => {
            model.dirty = true;
            model.log.news(&news)
        }
        Event::Attach(news) => {
            model.dirty = true;
            model.attach.as_mut().map(|pane| pane.news(&news)).unwrap_or_default()
        }
        Event::Edited(result) => flow::edited(model, result),
        Event::Trouble(text) => {
            model.dirty = true;
            model.toasts.push(Ink::Bad, crate::frontend::text::one_line(&text), now);
            Vec::new()
        }
    };
    cmds.extend(settle::settle(model));
    cmds
}

/// What the file did not change stays, also where somebody changed it here in between.
fn take_config(model: &mut Model, config: ConfigNews) {
    let before = model.config.as_ref().and_then(|config| config.manners.as_ref());
    if let (Some(before), Some(after)) = (before, &config.manners) {
        let manners = &mut model.setup.manners;
        if before.theme != after.theme {
            manners.theme = after.theme.clone();
        }
        *manners = Manners { theme: manners.theme.clone(), ..after.clone() };
    }
    // Without usable manners the ones before stay the measure.
    let manners = config.manners.clone().or_else(|| before.cloned());
    model.config = Some(ConfigNews { manners, ..config });
}

fn press(model: &mut Model, pressed: Pressed) -> Vec<Cmd> {
    // Terminals tell Esc and a key that follows at once as that key with alt; who means alt has bound it.
    let place = model.place();
    if pressed.key.alt && place != Place::Attach && model.keymap().action(pressed.key, place).is_none() {
        let mut cmds = press_one(model, Key::plain(Code::Esc).into());
        let key = Key { alt: false, ..pressed.key };
        cmds.extend(press_one(model, Pressed { key, ..pressed }));
        return cmds;
    }
    press_one(model, pressed)
}

fn press_one(model: &mut Model, pressed: Pressed) -> Vec<Cmd> {
    if flow::answer::is_echo(model, pressed) {
        return Vec::new();
    }
    if model.dialog.is_some() {
        return press_dialog(model, pressed);
    }
    if model.place() == Place::Attach {
        return press_attached(model, pressed);
    }
    if model.list.typing && model.screen == Screen::Main && model.focus == Focus::List {
        return press_filter(model, pressed);
    }
    if model.flows.history.typing && model.screen == Screen::History {
        return press_history(model, pressed);
    }
    if model.place().is_log() && model.log.is_typing() && pressed.key != ALWAYS_QUIT {
        return model.log.press(pressed);
    }
    match model.keymap().action(pressed.key, model.place()) {
        Some(action) => act::act(model, action),
        None if model.place() == Place::RunRow => {
            // Of a runner; a run has no such thing.
            let of_runner = model.keymap().action(pressed.key, Place::List);
            of_runner.map(|action| act::say_why_not(model, action)).unwrap_or_default()
        }
        None => Vec::new(),
    }
}

fn press_attached(model: &mut Model, pressed: Pressed) -> Vec<Cmd> {
    match model.keymap().action(pressed.key, Place::Attach) {
        Some(action) => act::act(model, action),
        None => model.attach.as_mut().map(|pane| pane.press(pressed)).unwrap_or_default(),
    }
}

/// The list narrows as one types; what is highlighted can be moved and acted on after Enter.
fn press_filter(model: &mut Model, pressed: Pressed) -> Vec<Cmd> {
    let list = &mut model.list;
    match (pressed.key.code, pressed.key.ctrl) {
        (Code::Enter | Code::Tab, _) => list.typing = false,
        (Code::Esc, _) => act::clear_filter(model),
        (Code::Char('c'), true) => {
            list.typing = false;
            return act::quit(model);
        }
        (Code::Up | Code::Down | Code::PageUp | Code::PageDown, _) => {
            if let Some(action) = model.keymap().action(pressed.key, Place::List) {
                return act::act(model, action);
            }
        }
        (Code::Backspace, _) if list.filter.is_empty() => list.typing = false,
        _ => {
            if list.filter.press(pressed.key) == Typed::Changed {
                list.stale = true;
            }
        }
    }
    Vec::new()
}

/// The same for the runs of the history; what is found comes a moment later.
fn press_history(model: &mut Model, pressed: Pressed) -> Vec<Cmd> {
    let history = &mut model.flows.history;
    match (pressed.key.code, pressed.key.ctrl) {
        (Code::Enter | Code::Tab, _) => history.typing = false,
        (Code::Esc, _) => act::clear_history(model),
        (Code::Char('c'), true) => {
            history.typing = false;
            return act::quit(model);
        }
        (Code::Up | Code::Down | Code::PageUp | Code::PageDown, _) => {
            if let Some(action) = model.keymap().action(pressed.key, Place::History) {
                return act::act(model, action);
            }
        }
        (Code::Backspace, _) if history.filter.is_empty() => history.typing = false,
        _ => {
            history.filter.press(pressed.key);
        }
    }
    Vec::new()
}

fn paste(model: &mut Model, text: &str) -> Vec<Cmd> {
    if let Some(dialog) = &mut model.dialog {
        if let Dialog::Flow(question) = dialog
            && let Some(typing) = question.typing()
        {
            typing.input.insert(text);
            typing.problem = None;
        }
        if let Dialog::Palette(palette) = dialog {
            palette.input.insert(text);
            palette.selected = 0;
        }
        return Vec::new();
    }
    match model.place() {
        Place::Attach => model.attach.as_mut().map(|pane| pane.paste(text)).unwrap_or_default(),
        Place::Log | Place::StageLog if model.log.is_typing() => model.log.paste(text),
        Place::History if model.flows.history.typing => {
            model.flows.history.filter.insert(text);
            Vec::new()
        }
        Place::List | Place::RunRow if model.list.typing => {
            model.list.filter.insert(text);
            model.list.stale = true;
            Vec::new()
        }
        // A pasted text is no row of commands.
        Place::List
        | Place::RunRow
        | Place::Log
        | Place::Run
        | Place::StageLog
        | Place::Tree
        | Place::History
        | Place::Analytics
        | Place::Config
        | Place::Help => Vec::new(),
    }
}

fn press_dialog(model: &mut Model, pressed: Pressed) -> Vec<Cmd> {
    let Some(dialog) = model.dialog.take() else { return Vec::new() };
    if let Dialog::Palette(mut palette) = dialog {
        return match palette.press(pressed.key, model) {
            Picked::Close => Vec::new(),
            Picked::Nothing => {
                model.dialog = Some(Dialog::Palette(palette));
                Vec::new()
            }
            Picked::Item(choice) => choose(model, choice),
        };
    }
    if let Dialog::Flow(question) = dialog {
        return flow::answer::press(model, question, pressed);
    }
    match decide(&dialog, pressed) {
        Decided::Nothing => {
            model.dialog = Some(dialog);
            Vec::new()
        }
        Decided::Close => Vec::new(),
        Decided::Do(order, names) => model.order(order, &names),
        Decided::StopAll => stop_all(model),
        Decided::KillAll => {
            model.dialog = Some(Dialog::Leaving);
            vec![Cmd::Shutdown(Shutdown::Kill)]
        }
        Decided::Leave => vec![Cmd::Quit],
        Decided::Scroll(by) => {
            let (lines, height) = super::view::message::measure(model, &dialog);
            if let Dialog::Message { title, text, scroll } = dialog {
                let scroll = by.apply(scroll, lines, height);
                model.dialog = Some(Dialog::Message { title, text, scroll });
            }
            Vec::new()
        }
    }
}

/// Everything stops, then the supervisor ends, then the dashboard: when the connection does.
fn stop_all(model: &mut Model) -> Vec<Cmd> {
    if let Link::Lost { .. } | Link::Connecting = model.link {
        let text = "Stop all: there is no connection to the supervisor now; the runners go on".to_owned();
        model.toasts.push(Ink::Bad, text, model.now);
        return Vec::new();
    }
    model.dialog = Some(Dialog::Leaving);
    model.stopping = true;
    vec![Cmd::Shutdown(Shutdown::Graceful)]
}

fn choose(model: &mut Model, choice: Choice) -> Vec<Cmd> {
    match choice {
        Choice::Act(action) => act::act(model, action),
        Choice::Go(name) => {
            act::reveal(model, name);
            Vec::new()
        }
        Choice::Run(flow) => flow::act::start(model, &flow),
        Choice::GoRun(run) => {
            flow::open_run(model, &run);
            Vec::new()
        }
        Choice::Retry(run) => flow::act::retry_of(model, run),
        Choice::Cancel(run) => flow::act::cancel_of(model, run),
        Choice::Order(order, name) => ask_or_do(model, order, &[name]),
        Choice::Theme(name) => {
            let plain = model.theme().clone();
            model.setup.manners.theme = Theme::built_in(name, plain.depth(), plain.ascii).unwrap_or(plain);
            Vec::new()
        }
    }
}

/// What ends a process is asked back first.
fn ask_or_do(model: &mut Model, order: Order, names: &[RunnerName]) -> Vec<Cmd> {
    let names = model.orderable(order, names);
    let status = |name| model.fleet.get(name).map(|view| view.status);
    if names.iter().filter_map(status).any(|status| super::orders::destroys(order, status)) {
        model.dialog = Some(Dialog::Confirm { order, names });
        return Vec::new();
    }
    model.order(order, &names)
}
