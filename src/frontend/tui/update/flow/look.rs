//! Looking into what a stage or a checkpoint left: what there is to choose from, the pane that shows it, the way back.

use super::super::super::dialog::Dialog;
use super::super::super::event::Cmd;
use super::super::super::flows::content::{Part, Viewing, of_checkpoint, of_stage, source};
use super::super::super::flows::question::Question;
use super::super::super::model::{Focus, Model, Screen};
use super::super::super::theme::Ink;
use crate::domain::keys::Place;

/// Of what is selected on the screen of a run.
pub(super) fn look(model: &mut Model) -> Vec<Cmd> {
    let Some(pane) = &model.flows.pane else { return Vec::new() };
    let found = if pane.in_tree {
        pane.target().map(|target| (target.id.to_string(), of_checkpoint(target)))
    } else {
        pane.selected().map(|stage| (format!("{} of {}", stage.name, pane.id), of_stage(pane, stage)))
    };
    let Some((title, parts)) = found else { return Vec::new() };
    choose(model, title, parts, None)
}

/// Of what is asked about; the question stands again afterwards.
pub(super) fn look_before(model: &mut Model, question: Box<Question>) -> Vec<Cmd> {
    let Question::Approve { checkpoint, .. } = &*question else { return Vec::new() };
    let (title, parts) = (checkpoint.id.to_string(), of_checkpoint(checkpoint));
    model.dialog = Some(Dialog::Flow(question.clone()));
    choose(model, title, parts, Some(question))
}

fn choose(model: &mut Model, title: String, parts: Vec<Part>, back: Option<Box<Question>>) -> Vec<Cmd> {
    match parts.len() {
        0 => {
            let text = format!("There is nothing of {title} to look into so far");
            model.toasts.push(Ink::Text, text, model.now);
            Vec::new()
        }
        1 => open(model, title, &parts, 0, back.map(Dialog::Flow)),
        _ => {
            let question = Question::Look { title, parts, selected: 0, back };
            model.dialog = Some(Dialog::Flow(Box::new(question)));
            Vec::new()
        }
    }
}

pub(super) fn open(
    model: &mut Model,
    title: String,
    parts: &[Part],
    selected: usize,
    dialog: Option<Dialog>,
) -> Vec<Cmd> {
    let source = source(&title, parts, selected, &model.setup.objects);
    let (screen, focus, zoom) = (model.screen, model.focus, model.zoom);
    model.flows.viewing = Some(Viewing { title, source, dialog, screen, focus, zoom });
    model.dialog = None;
    (model.screen, model.focus) = (Screen::Run, Focus::Log);
    Vec::new()
}

/// Back to what it was opened from; false where nothing is looked into.
pub(in super::super) fn close(model: &mut Model) -> bool {
    let Some(viewing) = model.flows.viewing.take() else { return false };
    (model.screen, model.focus, model.zoom) = (viewing.screen, viewing.focus, viewing.zoom);
    model.dialog = viewing.dialog;
    true
}

/// What is looked into no more, also where it was left for another screen.
pub(in super::super) fn forget(model: &mut Model) -> Vec<Cmd> {
    let is_shown = model.screen == Screen::Run && model.focus == Focus::Log;
    if !is_shown && !model.screen.is_above() {
        model.flows.viewing = None;
    }
    // The next time it begins at its beginning.
    if model.flows.viewing.is_none() && model.log.is_content() { model.log.show(None) } else { Vec::new() }
}

impl Model {
    pub(super) fn can_look(&self) -> bool {
        let Some(pane) = self.flows.pane.as_ref().filter(|_| self.place() != Place::StageLog) else {
            return false;
        };
        if pane.in_tree {
            return pane.target().is_some_and(|one| !one.outputs.is_empty() || !one.artifacts.is_empty());
        }
        pane.selected().is_some_and(|stage| {
            let left = stage.outputs.as_ref().is_some_and(|outputs| !outputs.is_empty());
            left || !stage.artifacts.is_empty() || pane.graph().is_some()
        })
    }
}

#[cfg(test)]
#[path = "look_tests.rs"]
mod tests;
