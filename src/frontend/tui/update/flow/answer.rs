//! What becomes of a question about a run once a key was pressed.

use super::super::super::dialog::{Dialog, Scroll};
use super::super::super::event::{Cmd, EditOrder, Pressed};
use super::super::super::flows::question::{Answer, Question, Typing, TypingWhat, Way, editable};
use super::super::super::model::Model;
use super::super::super::view;
use super::super::act::moved;
use super::act::{ask, run_with};
use super::{look, tell_why};
use crate::domain::flow::ask::{ApproveWish, ContinueWish, FlowRequest, ForkWish, RejectWish};
use crate::domain::flow::ids::BranchName;
use crate::domain::flow::inputs;
use crate::domain::flow::refusal::Refusal;

pub(in super::super) fn press(model: &mut Model, mut question: Box<Question>, pressed: Pressed) -> Vec<Cmd> {
    match question.press(pressed) {
        Answer::Close => {
            if let Question::Look { back, .. } = *question {
                model.dialog = back.map(Dialog::Flow);
            }
            return Vec::new();
        }
        Answer::Look => return look::look_before(model, question),
        Answer::Nothing => {}
        Answer::Yes => return yes(model, *question),
        Answer::Reject => {
            if let Question::Approve { run, checkpoint, .. } = *question {
                let (checkpoint, hash) = (checkpoint.id, checkpoint.hash);
                let what = TypingWhat::Reject { run, checkpoint, hash, rewind_to: None };
                model.dialog = Some(Dialog::Flow(Box::new(Question::Type(Typing::new(what)))));
            }
            return Vec::new();
        }
        Answer::Edit => {
            if let Question::Approve { run, checkpoint, .. } = *question {
                return yes(model, Question::Edit { run, branch: None, checkpoint, selected: 0 });
            }
            return Vec::new();
        }
        Answer::Scroll(by) => scroll(model, &mut question, by),
    }
    model.dialog = Some(Dialog::Flow(question));
    Vec::new()
}

fn scroll(model: &Model, question: &mut Question, by: Scroll) {
    let (lines, height) = view::flow::question::measure(model, question);
    match question {
        Question::Retry { scroll, .. } | Question::Approve { scroll, .. } => {
            *scroll = by.apply(*scroll, lines, height);
        }
        Question::Edit { selected, .. }
        | Question::Look { selected, .. }
        | Question::Proceed { selected, .. } => {
            *selected = moved(by, *selected, lines, height);
        }
        Question::Cancel { .. } | Question::Type(_) => {}
    }
}

fn yes(model: &mut Model, question: Question) -> Vec<Cmd> {
    let who = model.setup.who.clone();
    match question {
        Question::Retry { wish, .. } => ask(model, "retry", FlowRequest::Retry(wish)),
        Question::Approve { run, checkpoint, .. } => {
            let (stage, hash) = (Some(checkpoint.id.stage.clone()), Some(checkpoint.hash));
            let checkpoint = Some(checkpoint.id);
            let wish = ApproveWish { run, stage, checkpoint, hash, who, note: None, approve_all: false };
            ask(model, "approving", FlowRequest::Approve(wish))
        }
        Question::Cancel { run } => ask(model, "cancelling", FlowRequest::Cancel { run }),
        Question::Proceed { run, mut ways, selected } if selected < ways.len() => {
            let Way { branch, checkpoint, does } = ways.swap_remove(selected);
            if let Err(why) = does {
                tell_why(model, format!("Continue {run}"), &why, "");
                return Vec::new();
            }
            let wish = ContinueWish { run, branch, checkpoint, force_retry: false, who, approve_all: false };
            ask(model, "continuing", FlowRequest::Continue(wish))
        }
        Question::Proceed { .. } => Vec::new(),
        Question::Edit { run, branch, checkpoint, selected } => {
            let Some(what) = editable(&checkpoint).into_iter().nth(selected) else { return Vec::new() };
            let order = EditOrder { run, branch, checkpoint: checkpoint.id, hash: checkpoint.hash, what };
            vec![Cmd::Edit(Box::new(order))]
        }
        Question::Look { ref title, ref parts, selected, .. } => {
            let (title, parts) = (title.clone(), parts.clone());
            look::open(model, title, &parts, selected, Some(Dialog::Flow(Box::new(question))))
        }
        Question::Type(typing) => typed(model, typing),
    }
}

fn typed(model: &mut Model, mut typing: Typing) -> Vec<Cmd> {
    let (who, text) = (model.setup.who.clone(), typing.input.text().to_owned());
    let problem = match &typing.what {
        TypingWhat::Reject { .. } if text.trim().is_empty() => {
            Some("say what to do better; the stage reads it".to_owned())
        }
        TypingWhat::Reject { run, checkpoint, hash, rewind_to } => {
            let (run, stage, rewind_to) = (run.clone(), checkpoint.stage.clone(), rewind_to.clone());
            let (checkpoint, hash) = (Some(checkpoint.clone()), Some(hash.clone()));
            let (feedback, approve_all) = (text, false);
            let wish = RejectWish { run, stage, checkpoint, rewind_to, hash, feedback, who, approve_all };
            return ask(model, "rejecting", FlowRequest::Reject(wish));
        }
        TypingWhat::Fork { run, at } => match BranchName::parse(text.trim()) {
            Ok(branch) => {
                let wish = ForkWish { run: run.clone(), at: at.clone(), branch, who };
                return ask(model, "branching", FlowRequest::Fork(wish));
            }
            Err(why) => Some(why),
        },
        TypingWhat::Input { flow, given, missing } => {
            let specs = model.config.as_ref().map(|config| config.flows.as_slice()).unwrap_or_default();
            let (Some(spec), Some((key, rest))) =
                (specs.iter().find(|spec| spec.name == *flow), missing.split_first())
            else {
                return Vec::new();
            };
            match inputs::from_text(spec, key, &text) {
                Ok(value) => {
                    let mut given = given.clone();
                    given.insert(key.clone(), value);
                    return run_with(model, flow.clone(), given, rest.to_vec());
                }
                Err(refusal) => Some(why(&refusal)),
            }
        }
    };
    typing.problem = problem;
    model.dialog = Some(Dialog::Flow(Box::new(Question::Type(typing))));
    Vec::new()
}

fn why(refusal: &Refusal) -> String {
    format!("{refusal}; {}", refusal.hint())
}
