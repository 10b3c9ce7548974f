//! What a person does to a run: retries, approvals, rejections, edits, branches.

use super::*;

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
    let screen = crate::frontend::tui::view::tests::screen(&model);
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
    let what = crate::frontend::tui::fixture::press(&mut model, "r");
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
    let screen = crate::frontend::tui::view::tests::screen(&model);
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
    let result =
        Err(Refusal::Succeeded { run: id(11), stage: script.clone(), by: None, never_ran: false }.into());
    let what = Box::new(cmds[0].clone());
    let cmds = asked(&feed(&mut model, Event::Link(LinkNews::Flow { what, result })));
    let [FlowRequest::Retry(wish)] = &cmds[..] else { panic!("{cmds:?}") };
    assert_eq!((wish.from.as_ref(), wish.force, wish.dry_run), (Some(&script), true, true));
    answer(&mut model, cmds[0].clone(), FlowReply::Plan(Plan { from: script, ..plan() }));
    let screen = crate::frontend::tui::view::tests::screen(&model);
    assert!(screen.contains("script succeeded, and is executed once more"), "{screen}");
    let cmds = asked(&press(&mut model, "Enter", &runs));
    assert!(matches!(&cmds[..], [FlowRequest::Retry(wish)] if wish.force && !wish.dry_run), "{cmds:?}");
}
