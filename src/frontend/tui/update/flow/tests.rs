//! What keys come to on the screens of runs.

use std::path::PathBuf;

use super::super::super::dialog::Dialog;
use super::super::super::event::{
    Cmd, ConfigNews, Declined, EditWhat, Edited, Event, LinkNews, Mouse, MouseKind,
};
use super::super::super::fixture::feed;
use super::super::super::flows::fixture::{
    failed, id, plan, press, run, running, serve, settle, tree, view, waiting, with_runs,
};
use super::super::super::flows::question::Question;
use super::super::super::model::{Focus, Model, Screen};
use crate::domain::flow::ask::{EditWish, FlowReply, FlowRequest, Plan, Shown};
use crate::domain::flow::ids::{BranchName, CheckpointId, Hash, RunId, StageName};
use crate::domain::flow::news::News;
use crate::domain::flow::record::{Artifact, RunRecord, StageRecord};
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::status::{RunStatus, StageStatus};
use crate::domain::flow::view::{FlowNotice, FlowUpdate};
use crate::domain::json::Json;
use crate::domain::keys::Action;
use crate::domain::view::Update;

fn all() -> Vec<RunRecord> {
    vec![failed(), waiting(), running()]
}

/// The screen of a run, and the runs that there are.
fn opened(keys: &str) -> (Model, Vec<RunRecord>) {
    let runs = all();
    let mut model = with_runs(&runs, (120, 36));
    press(&mut model, &format!(": s h o w {keys} Enter"), &runs);
    settle(&mut model, &runs);
    (model, runs)
}

/// What was asked of the supervisor, but for what only looks.
fn asked(cmds: &[Cmd]) -> Vec<FlowRequest> {
    let request = |cmd: &Cmd| {
        let Cmd::Flow(request) = cmd else { return None };
        Some(FlowRequest::clone(request))
    };
    let acts = |request: &FlowRequest| super::thing(request).is_some();
    cmds.iter().filter_map(request).filter(acts).collect()
}

fn answer(model: &mut Model, what: FlowRequest, reply: FlowReply) -> Vec<Cmd> {
    feed(model, Event::Link(LinkNews::Flow { what: Box::new(what), result: Ok(Box::new(reply)) }))
}

fn shown(model: &Model) -> Option<&RunId> {
    model.flows.pane.as_ref().filter(|_| model.screen == Screen::Run).map(|pane| &pane.id)
}

#[test]
fn a_retry_shows_its_plan_runs_once_and_the_new_run_is_shown() {
    let (mut model, runs) = opened("1 1");
    // What failed is selected by itself.
    assert_eq!(model.flows.pane.as_ref().unwrap().selected().unwrap().name.as_str(), "render");
    assert_eq!(asked(&press(&mut model, "r", &runs)), [], "a plan changes nothing");
    let Some(Dialog::Flow(question)) = &model.dialog else { panic!("a question") };
    assert!(matches!(&**question, Question::Retry { plan, .. } if plan.from.as_str() == "render"));
    let cmds = asked(&press(&mut model, "Enter", &runs));
    let [FlowRequest::Retry(wish)] = &cmds[..] else { panic!("{cmds:?}") };
    assert_eq!((wish.dry_run, wish.from.as_ref().unwrap().as_str()), (false, "render"));
    // It is under way: nothing else is begun with that run.
    for keys in ["r", "r Enter", "x", "a", "C"] {
        assert_eq!(asked(&press(&mut model, keys, &runs)), [], "{keys}");
        assert_eq!(model.dialog.take().filter(|dialog| matches!(dialog, Dialog::Flow(_))), None, "{keys}");
    }
    assert!(!model.can(Action::Retry));
    answer(&mut model, cmds[0].clone(), FlowReply::Run { run: id(14), existing: false });
    assert_eq!(shown(&model), Some(&id(14)));
}

#[test]
fn a_retry_is_bound_to_the_plan_that_is_shown() {
    let (mut model, runs) = opened("1 1");
    press(&mut model, "r", &runs);
    let cmds = asked(&press(&mut model, "Enter", &runs));
    let [FlowRequest::Retry(wish)] = &cmds[..] else { panic!("{cmds:?}") };
    assert_eq!(wish.seen, Some(plan().hash()));
    // Somebody edits the script meanwhile: it is another plan, and that one is shown.
    let mut other = plan();
    other.stages[0].checkpoint = CheckpointId::parse("script@2").ok();
    assert_ne!(other.hash(), plan().hash());
    answer(&mut model, cmds[0].clone(), FlowReply::Plan(other.clone()));
    let screen = super::super::super::view::tests::screen(&model);
    assert!(screen.contains("Nothing has begun") && screen.contains("script@2"), "{screen}");
    let cmds = asked(&press(&mut model, "j Enter", &runs));
    let [FlowRequest::Retry(wish)] = &cmds[..] else { panic!("{cmds:?}") };
    assert_eq!((wish.dry_run, &wish.seen), (false, &Some(other.hash())));
    // Whoever looks at something else by now is told.
    press(&mut model, "?", &runs);
    model.dialog = Some(Dialog::Message { title: String::new(), text: String::new(), scroll: 0 });
    answer(&mut model, cmds[0].clone(), FlowReply::Plan(plan()));
    assert!(model.toasts.shown().iter().any(|toast| toast.text.contains("was not retried")));
}

#[test]
fn what_is_not_allowed_is_not_offered_and_says_why() {
    let (mut model, runs) = opened("1 3");
    assert!(!model.can(Action::Retry) && model.can(Action::CancelRun) && !model.can(Action::Approve));
    // The supervisor decides, and its words are shown.
    let what = super::super::super::fixture::press(&mut model, "r");
    let [FlowRequest::Retry(wish)] = &asked(&what)[..] else { panic!("{what:?}") };
    let result =
        Err(Declined { why: "video-13 is still running".into(), hint: "wait for it".into(), refusal: None });
    let what = Box::new(FlowRequest::Retry(wish.clone()));
    feed(&mut model, Event::Link(LinkNews::Flow { what, result }));
    let Some(Dialog::Message { text, .. }) = &model.dialog else { panic!("a message") };
    assert_eq!(text, "video-13 is still running\n\nwait for it");
    press(&mut model, "Esc a", &runs);
    let Some(Dialog::Message { text, .. }) = &model.dialog else { panic!("a message") };
    assert!(text.starts_with("video-13 does not wait for anybody"), "{text}");
}

#[test]
fn an_approval_is_bound_to_the_bytes_that_are_shown() {
    let (mut model, runs) = opened("1 2");
    press(&mut model, "a", &runs);
    let cmds = asked(&press(&mut model, "Enter", &runs));
    let [FlowRequest::Approve(wish)] = &cmds[..] else { panic!("{cmds:?}") };
    let pending = tree().0.into_iter().find(|one| one.id.to_string() == "storyboard@2").unwrap();
    assert_eq!(
        (wish.stage.as_ref().unwrap().as_str(), wish.hash.as_ref()),
        ("storyboard", Some(&pending.hash))
    );
    assert_eq!(asked(&press(&mut model, "a Enter", &runs)), [], "it is under way");
}

#[test]
fn a_log_that_is_read_stays_that_of_its_stage_when_the_run_goes_on() {
    let (mut model, runs) = opened("1 2");
    press(&mut model, "l", &runs);
    assert_eq!((model.screen, model.focus), (Screen::Run, Focus::Log));
    let mut gone_on = waiting();
    for stage in gone_on.stages.iter_mut().flatten() {
        match stage.name.as_str() {
            "storyboard" => stage.status = StageStatus::Succeeded,
            "render" => stage.status = StageStatus::Running,
            _ => {}
        }
    }
    let pane = model.flows.pane.as_mut().unwrap();
    pane.take(Box::new(Shown { run: gone_on, branches: Vec::new() }));
    assert_eq!(pane.selected().unwrap().name.as_str(), "storyboard");
}

#[test]
fn a_rejection_needs_words_and_may_go_further_back() {
    let (mut model, runs) = opened("1 2");
    assert_eq!(asked(&press(&mut model, "R Enter", &runs)), []);
    let cmds = asked(&press(&mut model, "w a r m e r Enter", &runs));
    let [FlowRequest::Reject(wish)] = &cmds[..] else { panic!("{cmds:?}") };
    assert_eq!((wish.feedback.as_str(), &wish.rewind_to), ("warmer", &None));
    let pending = tree().0.into_iter().find(|one| one.id.to_string() == "storyboard@2").unwrap();
    assert_eq!(wish.hash.as_ref(), Some(&pending.hash), "what was on the screen");
    answer(&mut model, cmds[0].clone(), FlowReply::Run { run: id(12), existing: true });
    // With the script selected, the run goes back to that.
    let cmds = asked(&press(&mut model, "g R x Enter", &runs));
    let [FlowRequest::Reject(wish)] = &cmds[..] else { panic!("{cmds:?}") };
    assert_eq!(wish.stage.as_str(), "storyboard");
    assert_eq!(wish.rewind_to.as_ref().unwrap().as_str(), "script");
}

#[test]
fn the_tree_acts_on_its_checkpoint() {
    let (mut model, runs) = opened("1 2");
    press(&mut model, "t", &runs);
    let row = |model: &Model| model.flows.pane.as_ref().unwrap().selected_row().unwrap().id.to_string();
    assert_eq!(row(&model), "storyboard@2", "what the selected stage left");
    let cmds = asked(&press(&mut model, "k b", &runs));
    assert_eq!(cmds, []);
    let cmds = asked(&press(&mut model, "n e w Enter", &runs));
    let [FlowRequest::Fork(wish)] = &cmds[..] else { panic!("{cmds:?}") };
    assert_eq!((wish.at.to_string(), wish.branch.as_str()), ("storyboard@1".into(), "new"));
    answer(&mut model, cmds[0].clone(), FlowReply::Done);
    settle(&mut model, &runs);
    // Two things could be edited there: which one is asked.
    let cmds = press(&mut model, "j e Enter", &runs);
    let [Cmd::Edit(order)] = &cmds[..] else { panic!("{cmds:?}") };
    assert_eq!(order.checkpoint, CheckpointId::parse("storyboard@2").unwrap());
    assert!(matches!(order.what, EditWhat::Outputs(_)));
    // Back leads out of the tree, then out of the run.
    press(&mut model, "Esc", &runs);
    assert_eq!(model.screen, Screen::Run);
    press(&mut model, "Esc", &runs);
    assert_eq!(model.screen, Screen::Main);
}

#[test]
fn an_edit_in_the_tree_is_on_the_branch_that_stands_there() {
    let (mut model, runs) = opened("1 2");
    press(&mut model, "t", &runs);
    let ordered = |model: &mut Model| {
        let mut cmds = press(model, "e", &runs);
        if cmds.is_empty() {
            cmds = press(model, "Enter", &runs);
        }
        let [Cmd::Edit(order)] = &cmds[..] else { panic!("{cmds:?}") };
        let branch = order.branch.as_ref().map(|branch| branch.as_str().to_owned());
        (order.checkpoint.to_string(), order.run.clone(), branch)
    };
    // The run that is looked at stands there.
    assert_eq!(ordered(&mut model), ("storyboard@2".into(), id(12), None));
    // Another branch begins where the run that is looked at has been, and nothing has run there so far.
    let (checkpoints, mut branches) = tree();
    branches[1].latest_checkpoint_id = CheckpointId::parse("script@1").ok();
    let pane = model.flows.pane.as_mut().unwrap();
    pane.take_tree(checkpoints, branches);
    pane.checkpoint = pane.tree.as_ref().unwrap().rows.iter().position(|row| !row.heads.is_empty()).unwrap();
    assert_eq!(ordered(&mut model), ("script@1".into(), id(12), Some("warmer-look".into())));
    // As a stage of the run it is that of the run.
    press(&mut model, "t g", &runs);
    assert_eq!(ordered(&mut model), ("script@1".into(), id(12), None));
}

#[test]
fn each_branch_at_a_checkpoint_can_be_continued() {
    let (mut model, runs) = opened("1 2");
    let (checkpoints, mut branches) = tree();
    for (name, can_continue) in [("n1", true), ("n2", true), ("n3", false)] {
        let mut one = branches[1].clone();
        one.branch.branch_name = BranchName::trusted(name);
        one.latest_checkpoint_id = CheckpointId::parse("script@1").ok();
        one.can_continue = can_continue;
        one.reason = format!("starts a new run on {name}");
        branches.push(one);
    }
    model.flows.pane.as_mut().unwrap().take_tree(checkpoints, branches);
    press(&mut model, "t g", &runs);
    let screen = super::super::super::view::tests::screen(&model);
    assert!(screen.contains("n1") && screen.contains("continue"), "{screen}");
    for (keys, wanted) in [("C Enter", "n1"), ("C j Enter", "n2"), ("C G k Enter", "n2")] {
        let cmds = asked(&press(&mut model, keys, &runs));
        let [FlowRequest::Continue(wish)] = &cmds[..] else { panic!("{cmds:?}") };
        assert_eq!(wish.branch.as_ref().unwrap().as_str(), wanted, "{keys}");
        model.flows.forget_doing();
    }
    assert_eq!(asked(&press(&mut model, "C G Enter", &runs)), []);
    assert!(matches!(&model.dialog, Some(Dialog::Message { text, .. }) if text.contains("n3")));
}

#[test]
fn what_was_edited_is_kept_until_it_was_taken_in() {
    let (mut model, runs) = opened("1 2");
    let file = PathBuf::from("/home/ada/film/.restage/edits/7-0/storyboard.json");
    let wish = EditWish {
        run: id(12),
        branch: None,
        stage: StageName::trusted("storyboard"),
        hash: None,
        set: [("board".to_owned(), Json::string("other"))].into(),
        artifacts: Vec::new(),
        who: "ann".into(),
    };
    let left = |model: &mut Model| {
        let edited = Edited { wish: wish.clone(), file: file.clone() };
        feed(model, Event::Edited(Ok(Some(Box::new(edited)))))
    };
    let kept = [Cmd::KeepEdited(file.clone())];
    let told = |model: &mut Model| {
        let Some(Dialog::Message { text, .. }) = model.dialog.take() else { panic!("a message") };
        text.contains(&file.display().to_string())
    };
    // It was taken in.
    let cmds = asked(&left(&mut model));
    assert_eq!(cmds, [FlowRequest::Edit(wish.clone())]);
    assert_eq!(left(&mut model), kept, "one is under way");
    assert!(told(&mut model));
    let done = answer(&mut model, cmds[0].clone(), FlowReply::Edited { checkpoint: None });
    assert!(!done.contains(&kept[0]), "{done:?}");
    // It is refused.
    settle(&mut model, &runs);
    let what = Box::new(asked(&left(&mut model)).remove(0));
    let checkpoint = CheckpointId::parse("storyboard@3").unwrap();
    let declined = Declined::from(Refusal::Stale { run: id(12), checkpoint });
    let cmds = feed(&mut model, Event::Link(LinkNews::Flow { what, result: Err(declined) }));
    assert!(cmds.contains(&kept[0]), "{cmds:?}");
    assert!(told(&mut model));
    // Nobody answers.
    left(&mut model);
    assert_eq!(feed(&mut model, Event::Link(LinkNews::Lost { why: "gone".into() })), kept);
    assert!(model.toasts.shown().iter().any(|toast| toast.text.contains("7-0/storyboard.json")));
}

#[test]
fn what_succeeded_is_retried_from_here_once_its_plan_was_seen() {
    let (mut model, runs) = opened("1 1");
    // The script, which has succeeded.
    let cmds = press_only(&mut model, "g", "r", &runs);
    let [FlowRequest::Retry(wish)] = &cmds[..] else { panic!("{cmds:?}") };
    let script = StageName::trusted("script");
    assert_eq!((wish.from.as_ref(), wish.force, wish.dry_run), (Some(&script), false, true));
    let result = Err(Refusal::Succeeded { run: id(11), stage: script.clone(), by: None }.into());
    let what = Box::new(cmds[0].clone());
    let cmds = asked(&feed(&mut model, Event::Link(LinkNews::Flow { what, result })));
    let [FlowRequest::Retry(wish)] = &cmds[..] else { panic!("{cmds:?}") };
    assert_eq!((wish.from.as_ref(), wish.force, wish.dry_run), (Some(&script), true, true));
    answer(&mut model, cmds[0].clone(), FlowReply::Plan(Plan { from: script, ..plan() }));
    let screen = super::super::super::view::tests::screen(&model);
    assert!(screen.contains("script succeeded, and is executed once more"), "{screen}");
    let cmds = asked(&press(&mut model, "Enter", &runs));
    assert!(matches!(&cmds[..], [FlowRequest::Retry(wish)] if wish.force && !wish.dry_run), "{cmds:?}");
}

/// What the last key asks for, before anybody answers.
fn press_only(model: &mut Model, before: &str, key: &str, runs: &[RunRecord]) -> Vec<FlowRequest> {
    press(model, before, runs);
    asked(&super::super::super::fixture::press(model, key))
}

#[test]
fn a_run_that_was_cancelled_stays_where_it_was() {
    let mut runs = all();
    let mut cancelled = running();
    cancelled.status = RunStatus::Cancelled;
    for stage in cancelled.stages.iter_mut().flatten() {
        if stage.status == StageStatus::Running {
            stage.status = StageStatus::Cancelled;
        } else if stage.status == StageStatus::Pending {
            stage.status = StageStatus::NotRun;
        }
    }
    runs[2] = cancelled;
    let mut model = with_runs(&runs, (120, 36));
    press(&mut model, ": s h o w 1 3 Enter", &runs);
    settle(&mut model, &runs);
    assert_eq!(model.flows.pane.as_ref().unwrap().selected().unwrap().name.as_str(), "storyboard");
    assert!(model.can(Action::Retry));
}

#[test]
fn what_is_longer_than_its_place_says_so_and_is_shown_whole() {
    let mut runs = all();
    let long = "x".repeat(3000);
    for stage in runs[1].stages.iter_mut().flatten().filter(|one| one.name.as_str() == "storyboard") {
        stage.outputs = Some([("board".to_owned(), Json::string(&format!("{long}END")))].into());
        let file = |number: usize| Artifact {
            name: format!("frame-{number}.png"),
            hash: Hash::of([number.to_string()]),
            size: 9,
            executable: false,
        };
        stage.artifacts = (1..=40).map(file).collect();
    }
    let mut model = with_runs(&runs, (80, 24));
    press(&mut model, ": s h o w 1 2 Enter", &runs);
    settle(&mut model, &runs);
    let screen = |model: &Model| super::super::super::view::tests::screen(model);
    assert!(screen(&model).contains("more below   z shows all"), "{}", screen(&model));
    press(&mut model, "z G", &runs);
    assert!(screen(&model).contains("frame-40.png"), "{}", screen(&model));
    let mut ends = false;
    for _ in 0..20 {
        press(&mut model, "PgUp", &runs);
        ends |= screen(&model).contains("xEND");
    }
    assert!(ends);
    press(&mut model, "Esc", &runs);
    assert!(model.dialog.is_none());
}

#[test]
fn a_long_name_leaves_room_for_how_it_stands() {
    let name = "a-very-long-name-that-goes-on-and-on".repeat(3);
    let mut long = failed();
    long.run_id = RunId::trusted(format!("{name}-1"));
    let stage = long.stages.iter_mut().flatten().find(|stage| stage.name.as_str() == "render").unwrap();
    stage.name = StageName::trusted(name.as_str());
    let runs = vec![long];
    let screen = |model: &Model| super::super::super::view::tests::screen(model);
    for size in [(80, 24), (120, 36)] {
        let mut model = with_runs(&runs, size);
        press(&mut model, "G", &runs);
        settle(&mut model, &runs);
        assert!(screen(&model).contains("failed at"), "{}", screen(&model));
        press(&mut model, "Enter", &runs);
        settle(&mut model, &runs);
        for keys in ["g G g", "t"] {
            press(&mut model, keys, &runs);
            let count = screen(&model).matches("✖ failed").count();
            assert!(count >= 1, "{}", screen(&model));
        }
        press(&mut model, "t", &runs);
        let pane = model.flows.pane.as_mut().unwrap();
        pane.stage = 4;
        assert!(screen(&model).contains("…   ✖ failed"), "{}", screen(&model));
    }
}

#[test]
fn what_is_scrolled_away_is_told() {
    let mut many = failed();
    let stages = many.stages.as_mut().unwrap();
    let one = stages[0].clone();
    stages.splice(
        0..0,
        (1..=20).map(|number| StageRecord { name: StageName::trusted(format!("s{number}")), ..one.clone() }),
    );
    let runs = vec![many];
    let mut model = with_runs(&runs, (80, 24));
    press(&mut model, "G Enter", &runs);
    settle(&mut model, &runs);
    let screen = |model: &Model| super::super::super::view::tests::screen(model);
    press(&mut model, "g", &runs);
    assert!(screen(&model).contains("more below"), "{}", screen(&model));
    press(&mut model, "G", &runs);
    assert!(screen(&model).contains("more above"), "{}", screen(&model));
}

#[test]
fn a_key_that_leads_nowhere_says_so() {
    let (mut model, runs) = opened("1 3");
    press(&mut model, "]", &runs);
    assert!(model.toasts.shown().iter().any(|toast| toast.text == "video-13 has not been retried"));
    assert_eq!(shown(&model), Some(&id(13)));
    // A run is not started as a runner is.
    let mut model = with_runs(&runs, (120, 36));
    press(&mut model, "G s", &runs);
    assert!(model.toasts.shown().iter().any(|toast| toast.text == "Nothing is selected here to start"));
}

#[test]
fn older_runs_are_pointed_at() {
    let screen = |runs: &[RunRecord]| super::super::super::view::tests::screen(&with_runs(runs, (120, 36)));
    assert!(!screen(&all()).contains("lists older ones"));
    let mut runs = all();
    runs.extend(forty_more());
    assert!(screen(&runs).contains("H lists older ones"), "{}", screen(&runs));
}

#[test]
fn a_branch_of_a_name_that_is_taken_asks_for_another() {
    let (mut model, runs) = opened("1 2");
    let cmds = asked(&press(&mut model, "b o l d Enter", &runs));
    let [FlowRequest::Fork(wish)] = &cmds[..] else { panic!("{cmds:?}") };
    let refusal = Refusal::BranchExists { run: id(12), branch: wish.branch.clone() };
    let what = Box::new(cmds[0].clone());
    feed(&mut model, Event::Link(LinkNews::Flow { what, result: Err(refusal.into()) }));
    let cmds = asked(&press(&mut model, "e r Enter", &runs));
    assert!(matches!(&cmds[..], [FlowRequest::Fork(wish)] if wish.branch.as_str() == "older"), "{cmds:?}");
}

#[test]
fn a_cancel_asks_first() {
    let (mut model, runs) = opened("1 3");
    assert_eq!(asked(&press(&mut model, "x", &runs)), []);
    assert_eq!(asked(&press(&mut model, "Esc", &runs)), []);
    assert_eq!(asked(&press(&mut model, "x y", &runs)), [FlowRequest::Cancel { run: id(13) }]);
}

#[test]
fn the_chain_is_walked() {
    let (mut model, runs) = opened("1 1");
    press(&mut model, "]", &runs);
    settle(&mut model, &runs);
    assert_eq!(shown(&model), Some(&id(12)));
    press(&mut model, "]", &runs);
    settle(&mut model, &runs);
    assert_eq!(shown(&model), Some(&id(13)));
    press(&mut model, "[ ]", &runs);
    assert_eq!(shown(&model), Some(&id(13)));
    assert!(!model.can(Action::NextRun));
}

#[test]
fn a_run_row_has_the_keys_of_runs_and_a_runner_row_those_of_runners() {
    let runs = all();
    let mut model = with_runs(&runs, (120, 36));
    assert!(model.can(Action::Restart) && !model.can(Action::Retry));
    press(&mut model, "G", &runs);
    settle(&mut model, &runs);
    assert_eq!(model.list.run, Some(id(11)), "what ended stands below what is under way");
    assert!(!model.can(Action::Restart) && model.can(Action::Retry));
    // A run has no pane beside the list to go to.
    press(&mut model, "Tab", &runs);
    assert_eq!(model.focus, Focus::List);
    press(&mut model, "Enter", &runs);
    assert_eq!(shown(&model), Some(&id(11)));
}

/// Forty short runs that ended long after `all` of them began.
fn forty_more() -> Vec<RunRecord> {
    let short = |number: u64| run(&format!("{number} succeeded script=succeeded@1"), 100, Some(50));
    (100..140).map(short).collect()
}

#[test]
fn what_is_unfinished_is_known_however_many_newer_runs_there_are() {
    let mut runs = all();
    runs.extend(forty_more());
    let model = with_runs(&runs, (120, 36));
    assert_eq!((model.flows.waiting(), model.flows.going()), (1, 1));
    let listed: Vec<&RunId> = model.flows.listed().map(|run| &run.run_id).collect();
    assert_eq!(listed[..2], [&id(13), &id(12)], "{listed:?}");
    let screen = super::super::super::view::tests::screen(&model);
    assert!(screen.contains("1 waits for you") && screen.contains("video-12"), "{screen}");
    // All of them, not only the newest.
    let many: Vec<RunRecord> =
        (200..240).map(|number| RunRecord { run_id: id(number), ..waiting() }).collect();
    let model = with_runs(&many, (120, 36));
    assert_eq!((model.flows.waiting(), model.flows.listed().count()), (40, 40));
}

#[test]
fn an_end_that_was_not_heard_is_found_out() {
    let mut runs = all();
    let mut model = with_runs(&runs, (120, 36));
    assert_eq!(model.flows.waiting(), 1);
    runs[1].status = RunStatus::Cancelled;
    runs.extend(forty_more());
    let cmds = feed(&mut model, Event::Link(LinkNews::Missed));
    serve(&mut model, cmds, &runs);
    settle(&mut model, &runs);
    assert_eq!((model.flows.waiting(), model.flows.going()), (0, 1));
}

#[test]
fn nothing_is_asked_again_before_something_has_changed() {
    let (mut model, runs) = opened("1 3");
    let looks = |cmds: Vec<Cmd>| cmds.into_iter().filter(|cmd| matches!(cmd, Cmd::Flow(_))).count();
    assert_eq!(looks(super::super::super::fixture::press(&mut model, "ctrl-l")), 0);
    // A hundred changes in one moment are one question.
    let mut view = view(&running());
    let mut asked = 0;
    for done in 0..100 {
        view.done = done;
        let update = FlowUpdate::Run(view.clone());
        asked += looks(feed(&mut model, Event::Link(LinkNews::Update(Update::Flow(update.into())))));
    }
    assert!(asked <= 1, "{asked}");
    assert!(model.wake.is_some());
    serve(&mut model, Vec::new(), &runs);
}

#[test]
fn without_flows_nothing_is_asked() {
    let mut model = super::super::super::fixture::opened(super::super::super::fixture::busy(), (120, 36));
    let cmds = super::super::super::fixture::press(&mut model, "j");
    assert!(!cmds.iter().any(|cmd| matches!(cmd, Cmd::Flow(_))), "{cmds:?}");
}

#[test]
fn what_needs_a_person_rings() {
    let mut model = with_runs(&all(), (120, 36));
    let mut told = |what: News| {
        let update = FlowUpdate::News(FlowNotice { at: model.now, what });
        feed(&mut model, Event::Link(LinkNews::Update(Update::Flow(update.into()))))
    };
    let checkpoint = CheckpointId::parse("storyboard@2").unwrap();
    let cmds = told(News::Asks { run: id(12), checkpoint });
    assert_eq!(cmds, [Cmd::Notify("video-12 waits for you: storyboard@2".into())]);
    let ended = |status| News::RunEnded { run: id(13), status, seconds: None, error: None };
    assert_eq!(told(ended(RunStatus::Succeeded)), []);
    assert_eq!(told(ended(RunStatus::Failed)).len(), 1);
}

#[test]
fn a_new_run_asks_for_what_it_needs() {
    let runs = all();
    let mut model = with_runs(&runs, (120, 36));
    let cmds = asked(&press(&mut model, ": r u n Space v i d e o Enter", &runs));
    let [FlowRequest::Run(wish)] = &cmds[..] else { panic!("{cmds:?}") };
    assert_eq!(wish.flow.as_str(), "video");
    assert_eq!(
        asked(&press(&mut model, ": r u n Space v i d e o Enter Esc", &runs)),
        [],
        "one is being started"
    );
}

#[test]
fn the_connection_is_lost_and_what_was_asked_for_may_be_asked_again() {
    let (mut model, runs) = opened("1 3");
    assert_eq!(asked(&press(&mut model, "x y", &runs)).len(), 1);
    feed(&mut model, Event::Link(LinkNews::Lost { why: "gone".into() }));
    assert_eq!(asked(&press(&mut model, "x y", &runs)), [], "nobody is there");
    model.dialog = None;
    let cmds = feed(&mut model, Event::Link(LinkNews::Connected { supervisor_pid: 1 }));
    serve(&mut model, cmds, &runs);
    assert_eq!(asked(&press(&mut model, "x y", &runs)).len(), 1);
}

#[test]
fn the_mouse_selects_stages_and_checkpoints_and_opens_them() {
    let (mut model, runs) = opened("1 2");
    let find = |model: &Model, text: &str| {
        let screen = super::super::super::view::tests::screen(model);
        let row = screen.lines().position(|line| line.contains(text)).unwrap();
        let column = screen.lines().nth(row).unwrap().find(text).unwrap();
        (u16::try_from(column).unwrap(), u16::try_from(row).unwrap())
    };
    let click = |model: &mut Model, (column, row)| {
        let cmds = feed(model, Event::Mouse(Mouse { kind: MouseKind::Click, column, row }));
        serve(model, cmds, &runs)
    };
    let selected = |model: &Model| model.flows.pane.as_ref().unwrap().selected().unwrap().name.to_string();
    let voice = find(&model, "voice");
    click(&mut model, voice);
    assert_eq!(selected(&model), "voice");
    // The titles are nothing to select.
    click(&mut model, (voice.0, voice.1 - 2));
    assert_eq!((selected(&model).as_str(), model.focus), ("voice", Focus::List));
    click(&mut model, voice);
    assert_eq!(model.focus, Focus::Log, "its log");
    press(&mut model, "Esc t", &runs);
    let checkpoint = find(&model, "storyboard@1");
    click(&mut model, checkpoint);
    let pane = model.flows.pane.as_ref().unwrap();
    assert_eq!(pane.selected_row().unwrap().id.to_string(), "storyboard@1");
    click(&mut model, voice);
    assert!(!model.flows.pane.as_ref().unwrap().in_tree);
}

#[test]
fn the_mouse_opens_a_run_of_the_list() {
    let runs = all();
    let mut model = with_runs(&runs, (120, 36));
    press(&mut model, "H", &runs);
    let click = |model: &mut Model, row| {
        let cmds = feed(model, Event::Mouse(Mouse { kind: MouseKind::Click, column: 8, row }));
        serve(model, cmds, &runs)
    };
    // Header, blank, heading, titles, then the newest run.
    click(&mut model, 5);
    assert_eq!((model.screen, model.flows.history.selected), (Screen::History, 1));
    click(&mut model, 3);
    assert_eq!(model.flows.history.selected, 1);
    click(&mut model, 5);
    assert_eq!(shown(&model), Some(&id(12)));
}

#[test]
fn stages_hang_together_as_when_the_run_began() {
    let (model, _) = opened("1 3");
    let needs = |model: &Model| super::super::super::view::tests::screen(model).contains("needs storyboard");
    assert!(needs(&model));
    // Today's config has another flow of that name; the screen does not care.
    let (mut model, _) = opened("1 3");
    let other = crate::domain::flow::testing::flow("script:\n storyboard:");
    let config = ConfigNews { flows: vec![std::sync::Arc::new(other)], ..model.config.clone().unwrap() };
    feed(&mut model, Event::Config(Box::new(config)));
    assert!(needs(&model));
}

#[test]
fn the_config_screen_points_at_the_flow_of_the_run() {
    let (mut model, runs) = opened("1 3");
    press(&mut model, "c", &runs);
    assert_eq!(model.pointed_flow.as_ref().map(ToString::to_string).as_deref(), Some("video"));
    press(&mut model, "Tab", &runs);
    let first = model.fleet.runners()[0].name.clone();
    assert_eq!((model.pointed.as_ref(), &model.pointed_flow), (Some(&first), &None));
    press(&mut model, "BackTab BackTab", &runs);
    assert!(model.pointed.is_some() && model.pointed_flow.is_none());
}
