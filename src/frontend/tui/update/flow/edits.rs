//! What became of what somebody wrote in an editor.

use super::super::super::event::{Cmd, Edited};
use super::super::super::model::Model;
use super::super::super::theme::Ink;
use super::{act, tell_why};
use crate::domain::flow::ask::FlowRequest;
use crate::frontend::text::one_line;

/// Nobody types it twice.
pub(super) fn kept_in(edited: &Edited) -> String {
    format!("What you wrote is kept in {}", edited.file.display())
}

/// The files of these edits stay: what is in them was not taken in, or nobody knows.
pub(super) fn keep_edited(model: &mut Model, which: impl Fn(&Edited) -> bool) -> Vec<Cmd> {
    let kept = model.flows.edited.extract_if(.., |edited| which(edited));
    kept.map(|edited| Cmd::KeepEdited(edited.file)).collect()
}

/// The connection has ended, and with it all answers.
pub(in super::super) fn unanswered(model: &mut Model) -> Vec<Cmd> {
    for edited in &model.flows.edited {
        let text = format!("It is not known whether the edit of {} was taken in. ", edited.wish.stage);
        model.toasts.push(Ink::Waiting, one_line(&(text + &kept_in(edited))), model.now);
    }
    keep_edited(model, |_| true)
}

/// An editor was left.
pub(in super::super) fn edited(model: &mut Model, result: Result<Option<Box<Edited>>, String>) -> Vec<Cmd> {
    model.dirty = true;
    match result {
        Ok(Some(edited)) => {
            let mut cmds = act::ask(model, "edit", FlowRequest::Edit(edited.wish.clone()));
            if cmds.is_empty() {
                // There is no connection, or something else is under way with the run.
                let why = format!("{} cannot be changed at the moment", edited.wish.run);
                tell_why(model, "Edit".into(), &why, &kept_in(&edited));
                cmds.push(Cmd::KeepEdited(edited.file));
            } else {
                model.flows.edited.push(*edited);
            }
            cmds
        }
        Ok(None) => {
            model.toasts.push(Ink::Text, "Nothing was changed, so there is no new version".into(), model.now);
            Vec::new()
        }
        Err(why) => {
            tell_why(model, "Edit".into(), &why, "");
            Vec::new()
        }
    }
}
