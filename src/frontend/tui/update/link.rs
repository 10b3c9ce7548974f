//! What the supervisor, or the way to it, says.

use std::sync::Arc;
use std::time::Duration;

use super::super::dialog::Dialog;
use super::super::event::{Asked, Cmd, LinkNews, Order};
use super::super::fleet::Changed;
use super::super::model::{Link, Model};
use super::super::theme::Ink;
use super::flow;
use crate::domain::view::{Notice, Snapshot, Update};
use crate::frontend::text::{between, one_line};

/// Figures take at most one part of so many of the time.
const FIGURES_SHARE: u32 = 40;
/// However long an answer took: older figures would mislead.
const MOST_PATIENT: Duration = Duration::from_secs(10);

pub(super) fn hear(model: &mut Model, news: LinkNews) -> Vec<Cmd> {
    match news {
        LinkNews::Connected { supervisor_pid } => connected(model, supervisor_pid),
        LinkNews::Snapshot(snapshot) => take(model, *snapshot),
        // Before the first snapshot it is not known where it stands among the others.
        LinkNews::Update(Update::Runner(_)) if model.supervisor.is_none() => Vec::new(),
        LinkNews::Update(Update::Runner(view)) => {
            let changed = model.fleet.put(&view);
            note(model, changed);
            Vec::new()
        }
        LinkNews::Update(Update::Flow(update)) => flow::hear(model, &update),
        LinkNews::Flow { what, result } => flow::replied(model, *what, result),
        LinkNews::Missed => {
            model.flows.doubt(model.now);
            Vec::new()
        }
        LinkNews::Update(Update::Removed(name)) => {
            model.pending.remove(&name);
            let changed = model.fleet.remove(&name);
            note(model, changed);
            Vec::new()
        }
        LinkNews::Update(Update::Fleet(fleet)) => {
            let reloaded =
                model.supervisor.as_ref().is_some_and(|old| old.config_error != fleet.config_error);
            if model.supervisor.is_none() {
                return Vec::new();
            }
            model.dirty |= model.supervisor.as_ref() != Some(&*fleet);
            model.supervisor = Some(Arc::unwrap_or_clone(fleet));
            if reloaded { vec![Cmd::LoadConfig] } else { Vec::new() }
        }
        LinkNews::Update(Update::Notice(notice)) => told(model, &notice),
        LinkNews::Answered { what, result } => answered(model, &what, result),
        LinkNews::Lost { why } => lost(model, &why),
        LinkNews::Waiting { why, nobody } => {
            let since = match &model.link {
                Link::Lost { since, .. } => *since,
                Link::Connecting | Link::Up { .. } => model.now,
            };
            let link = Link::Lost { since, why: one_line(&why), nobody };
            model.dirty |= model.link != link;
            model.link = link;
            Vec::new()
        }
    }
}

fn connected(model: &mut Model, supervisor_pid: i32) -> Vec<Cmd> {
    model.dirty = true;
    let before = std::mem::replace(&mut model.link, Link::Up { supervisor_pid });
    model.pending.clear();
    model.flows.doubt(model.now);
    model.flows.forget_doing();
    model.figures_due = Some(model.now);
    if let Link::Lost { .. } = before {
        let text = format!("Connected again: supervisor {supervisor_pid}");
        model.toasts.push(Ink::Good, text, model.now);
    }
    // The config may be another by now.
    let mut cmds = vec![Cmd::LoadConfig];
    let start = std::mem::take(&mut model.setup.start);
    if !start.is_empty() {
        // Whether they exist is for the supervisor to say.
        cmds.push(Cmd::Order(Order::Start, start));
    }
    cmds
}

fn take(model: &mut Model, snapshot: Snapshot) -> Vec<Cmd> {
    let Snapshot { workspace, fleet, runners, at: _ } = snapshot;
    let changed = model.fleet.replace(runners);
    note(model, changed);
    if model.supervisor.as_ref() != Some(&fleet) || model.workspace != workspace {
        model.dirty = true;
        (model.supervisor, model.workspace) = (Some(fleet), workspace);
    }
    Vec::new()
}

fn note(model: &mut Model, changed: Changed) {
    use super::super::rows::Sort;
    let sorted_by_figures = matches!(model.list.sort, Sort::Cpu | Sort::Memory);
    model.dirty |= changed != Changed::Nothing;
    model.list.stale |= changed == Changed::Runners || (changed == Changed::Figures && sorted_by_figures);
}

fn told(model: &mut Model, notice: &Notice) -> Vec<Cmd> {
    let before = model.toasts.clone();
    let rung = model.toasts.take(notice, model.now);
    model.dirty |= before != model.toasts;
    let mut cmds: Vec<Cmd> = rung.map(Cmd::Notify).into_iter().collect();
    // What is said of the whole is mostly what an edit of the config changed.
    if notice.runner.is_none() {
        cmds.push(Cmd::LoadConfig);
    }
    cmds
}

fn answered(model: &mut Model, what: &Asked, result: Result<(), String>) -> Vec<Cmd> {
    match what {
        Asked::Order(_, names) => {
            model.dirty = true;
            for name in names {
                model.pending.remove(name);
            }
        }
        // The snapshot itself came before; a failed one is tried again in its time.
        Asked::Figures => {
            // A thousand runners take their time; figures are not worth more than a small part of it.
            let took = between(model.figures_asked, model.now);
            let pause = model.setup.manners.refresh.max(took * FIGURES_SHARE).min(MOST_PATIENT);
            model.figures_due = Some(model.now.checked_add(pause).unwrap_or(model.now));
            return Vec::new();
        }
        Asked::Reload => {
            if result.is_ok() {
                model.dirty = true;
                model.toasts.push(Ink::Good, "The config was read again".into(), model.now);
                return vec![Cmd::LoadConfig];
            }
        }
        // The runner has ended in between, and the next size is told again.
        Asked::Resize { .. } => return Vec::new(),
        Asked::Shutdown(_) | Asked::Summon | Asked::Input { .. } | Asked::Flow(_) => {}
    }
    if let Err(why) = result {
        model.dirty = true;
        if matches!(what, Asked::Shutdown(_)) {
            (model.dialog, model.stopping) = (None, false);
        }
        model.toasts.push(Ink::Bad, one_line(&why), model.now);
    }
    Vec::new()
}

fn lost(model: &mut Model, why: &str) -> Vec<Cmd> {
    model.dirty = true;
    if let Some(Dialog::Leaving) = model.dialog {
        return vec![Cmd::Quit];
    }
    model.pending.clear();
    model.flows.forget_doing();
    let cmds = flow::unanswered(model);
    model.figures_due = None;
    model.link = Link::Lost { since: model.now, why: one_line(why), nobody: false };
    // Nothing could be asked of anybody now.
    if let Some(Dialog::Confirm { .. } | Dialog::Quit) = model.dialog {
        model.dialog = None;
    }
    cmds
}
