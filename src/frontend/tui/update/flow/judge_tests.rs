//! Judging: what was written is not lost, nothing is judged that has been replaced, and one Enter is one answer.

use jiff::ToSpan;

use super::super::super::super::dialog::Dialog;
use super::super::super::super::event::{Cmd, Event, LinkNews};
use super::super::super::super::fixture::{ago, feed};
use super::super::super::super::flows::fixture::{failed, press, running, settle, tree, waiting, with_runs};
use super::super::super::super::model::{Model, Screen};
use super::super::super::super::view::tests::screen;
use crate::domain::flow::ask::{FlowReply, FlowRequest};
use crate::domain::flow::ids::RunId;
use crate::domain::flow::record::RunRecord;
use crate::domain::flow::status::{Approval, StageStatus};

fn opened() -> (Model, Vec<RunRecord>) {
    let runs = vec![failed(), waiting(), running()];
    let mut model = with_runs(&runs, (100, 30));
    press(&mut model, ": s h o w 1 2 Enter", &runs);
    settle(&mut model, &runs);
    (model, runs)
}

fn later(model: &mut Model) {
    model.now = model.now.checked_add(1.second()).unwrap();
}

#[test]
fn what_was_written_is_kept_until_it_was_sent() {
    let (mut model, runs) = opened();
    press(&mut model, "R t o o Space d a r k Esc", &runs);
    assert!(model.dialog.is_none());
    assert!(model.toasts.shown().iter().any(|toast| toast.text.contains("is kept for the next time")));
    // Also from the question that approves.
    press(&mut model, "a R", &runs);
    assert!(screen(&model).contains("> too dark"), "{}", screen(&model));
    let cmds = press(&mut model, "! Enter", &runs);
    let [Cmd::Flow(request)] = &cmds[..] else { panic!("{cmds:?}") };
    let FlowRequest::Reject(wish) = (**request).clone() else { panic!("{cmds:?}") };
    assert_eq!(wish.feedback, "too dark!");
    // It is there still where it was refused, and gone where it was taken.
    assert_eq!(model.flows.drafts.len(), 1);
    let what = Box::new(FlowRequest::Reject(wish));
    feed(&mut model, Event::Link(LinkNews::Flow { what, result: Ok(Box::new(FlowReply::Done)) }));
    assert!(model.flows.drafts.is_empty());
}

/// The tree of the fixture, with another version that waits, or the judgement of somebody else.
fn told(model: &mut Model, is_judged: bool) {
    let (mut checkpoints, mut branches) = tree();
    if is_judged {
        checkpoints[2].approval = Approval::Approved;
        checkpoints[2].approved_by = Some("bob".into());
    } else {
        let mut newer = checkpoints[2].clone();
        newer.id.version = 4;
        newer.edited_from = Some(checkpoints[2].id.clone());
        branches[0].latest_checkpoint_id = Some(newer.id.clone());
        checkpoints.push(newer);
    }
    let what = Box::new(FlowRequest::Checkpoints { run: RunId::trusted("video-12") });
    let reply = Box::new(FlowReply::Checkpoints { checkpoints, branches });
    feed(model, Event::Link(LinkNews::Flow { what, result: Ok(reply) }));
}

#[test]
fn what_has_been_replaced_is_not_approved_and_the_new_one_is_offered() {
    let (mut model, runs) = opened();
    press(&mut model, "a", &runs);
    told(&mut model, false);
    insta::assert_snapshot!(screen(&model));
    // A second Enter is no answer to what the first one has brought.
    assert_eq!(press(&mut model, "Enter Enter", &runs), []);
    assert!(screen(&model).contains("Approve storyboard@4?"), "{}", screen(&model));
    later(&mut model);
    assert_eq!(press(&mut model, "Enter", &runs).len(), 1);
}

#[test]
fn what_somebody_else_has_judged_is_not_judged_again() {
    let (mut model, runs) = opened();
    press(&mut model, "a", &runs);
    told(&mut model, true);
    assert!(screen(&model).contains("it was approved by bob"), "{}", screen(&model));
    assert_eq!(press(&mut model, "Enter", &runs), []);
    assert!(model.dialog.is_none());
}

#[test]
fn a_second_enter_opens_nothing() {
    let runs = vec![failed(), waiting(), running()];
    let mut model = with_runs(&runs, (100, 30));
    press(&mut model, "G k", &runs);
    settle(&mut model, &runs);
    press(&mut model, "a", &runs);
    assert!(matches!(model.dialog, Some(Dialog::Flow(_))), "{}", screen(&model));
    press(&mut model, "Enter Enter", &runs);
    assert_eq!((model.screen, model.dialog.is_none()), (Screen::Main, true));
    later(&mut model);
    press(&mut model, "Enter", &runs);
    assert_eq!(model.screen, Screen::Run);
}

#[test]
fn how_long_a_stage_ran_has_nothing_of_the_time_until_it_was_approved() {
    let mut runs = vec![failed(), waiting(), running()];
    let done = runs[1].stages.iter_mut().flatten().find(|one| one.name.as_str() == "storyboard").unwrap();
    (done.status, done.ended_at) = (StageStatus::Succeeded, Some(ago(10)));
    let mut model = with_runs(&runs, (120, 36));
    press(&mut model, ": s h o w 1 2 Enter", &runs);
    settle(&mut model, &runs);
    told(&mut model, true);
    let shown = screen(&model);
    let line = shown.lines().find(|line| line.contains("storyboard") && line.contains('▓')).unwrap();
    assert!(line.contains("2m50s") && line.contains("▓░"), "{shown}");
}
