//! What becomes of a question about a run once a key was pressed.

use std::time::Duration;

use super::super::super::dialog::{Dialog, Scroll};
use super::super::super::event::{Cmd, EditOrder, Pressed};
use super::super::super::flows::pane::Stands;
use super::super::super::flows::question::{Answer, Question, Typing, TypingWhat, Way, editable};
use super::super::super::input::LineInput;
use super::super::super::model::Model;
use super::super::super::theme::Ink;
use super::super::super::view;
use super::super::act::moved;
use super::act::{ask, run_with};
use super::{look, tell_why};
use crate::domain::flow::ask::{ApproveWish, ContinueWish, FlowRequest, ForkWish, RejectWish};
use crate::domain::flow::ids::BranchName;
use crate::domain::flow::inputs;
use crate::domain::flow::refusal::Refusal;
use crate::domain::keys::{Code, Key};
use crate::frontend::text::between;

/// Whoever presses Enter twice meant the question, and not what it has uncovered.
const TWICE: Duration = Duration::from_millis(400);

/// An Enter that belongs to the one before it.
pub(in super::super) fn is_echo(model: &mut Model, pressed: Pressed) -> bool {
    let enter = pressed.key == Key::plain(Code::Enter);
    let at_once = model.answered.is_some_and(|at| between(at, model.now) < TWICE);
    // One that is held down goes on for as long as it is.
    model.answered = if enter && at_once { Some(model.now) } else { None };
    enter && at_once
}

pub(in super::super) fn press(model: &mut Model, mut question: Box<Question>, pressed: Pressed) -> Vec<Cmd> {
    let answer = question.press(pressed);
    if answer == Answer::Yes && !matches!(*question, Question::Look { .. }) {
        model.answered = Some(model.now);
    }
    if matches!(answer, Answer::Yes | Answer::Reject | Answer::Edit) {
        match still(model, &question) {
            Still::AsAsked => {}
            Still::Over => return Vec::new(),
            Still::Another(other) => {
                model.dialog = Some(Dialog::Flow(other));
                return Vec::new();
            }
        }
    }
    match answer {
        Answer::Close => {
            match *question {
                Question::Look { back, .. } => model.dialog = back.map(Dialog::Flow),
                Question::Type(typing) => put_by(model, &typing),
                Question::Retry { .. }
                | Question::Approve { .. }
                | Question::Cancel { .. }
                | Question::Proceed { .. }
                | Question::Edit { .. } => {}
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
                model.dialog = Some(Dialog::Flow(Box::new(Question::Type(begin(model, what)))));
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

/// What is to be typed, with what was written before.
pub(super) fn begin(model: &Model, what: TypingWhat) -> Typing {
    let draft = match &what {
        TypingWhat::Reject { run, checkpoint, .. } => {
            model.flows.drafts.get(&(run.clone(), checkpoint.stage.clone()))
        }
        TypingWhat::Fork { .. } | TypingWhat::Input { .. } => None,
    };
    let input = draft.map(|draft| LineInput::new(draft)).unwrap_or_default();
    Typing { what, input, problem: None }
}

/// What somebody wrote stays until it was sent.
fn put_by(model: &mut Model, typing: &Typing) {
    let TypingWhat::Reject { run, checkpoint, .. } = &typing.what else { return };
    let (of, text) = ((run.clone(), checkpoint.stage.clone()), typing.input.text());
    if text.trim().is_empty() {
        model.flows.drafts.remove(&of);
        return;
    }
    if model.flows.drafts.insert(of, text.to_owned()).as_deref() != Some(text) {
        let text =
            format!("Nothing was rejected; what you wrote about {checkpoint} is kept for the next time");
        model.toasts.push(Ink::Text, text, model.now);
    }
}

/// What stands of a question once it is to be answered.
enum Still {
    AsAsked,
    /// Somebody else has answered it.
    Over,
    /// Another one has come in its place.
    Another(Box<Question>),
}

/// Of what does not wait any more, nothing is judged: what has taken its place is looked at, where there is that.
fn still(model: &Model, question: &Question) -> Still {
    let (Question::Approve { checkpoint, .. }, Some(pane)) = (question, &model.flows.pane) else {
        return Still::AsAsked;
    };
    match pane.stands(&checkpoint.id) {
        Stands::Waits => Still::AsAsked,
        Stands::Judged(_) => Still::Over,
        Stands::Replaced(by) => match pane.tree.as_ref().and_then(|tree| tree.get(&by)) {
            Some(newer) => {
                let (run, checkpoint) = (pane.run_of(newer), Box::new(newer.clone()));
                Still::Another(Box::new(Question::Approve { run, checkpoint, scroll: 0 }))
            }
            None => Still::Over,
        },
    }
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
            let wish = ContinueWish {
                run,
                branch,
                checkpoint,
                force_retry: false,
                who,
                approve_all: false,
                lay: None,
            };
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
            // It may be refused.
            model.flows.drafts.insert((run.clone(), checkpoint.stage.clone()), text.clone());
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

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
