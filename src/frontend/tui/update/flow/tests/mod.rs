//! What keys come to on the screens of runs.

mod acts;

use std::path::PathBuf;

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
use crate::frontend::tui::dialog::Dialog;
use crate::frontend::tui::event::{
    Cmd, ConfigNews, Declined, EditWhat, Edited, Event, LinkNews, Mouse, MouseKind,
};
use crate::frontend::tui::fixture::feed;
use crate::frontend::tui::flows::fixture::{
    failed, id, plan, press, run, running, serve, settle, tree, view, waiting, with_runs,
};
use crate::frontend::tui::flows::question::Question;
use crate::frontend::tui::model::{Focus, Model, Screen};

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

/// What the last key asks for, before anybody answers.
fn press_only(model: &mut Model, before: &str, key: &str, runs: &[RunRecord]) -> Vec<FlowRequest> {
    press(model, before, runs);
    asked(&crate::frontend::tui::fixture::press(model, key))
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
    let screen = |model: &Model| crate::frontend::tui::view::tests::screen(model);
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
    let screen = |model: &Model| crate::frontend::tui::view::tests::screen(model);
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
    let screen = |model: &Model| crate::frontend::tui::view::tests::screen(model);
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
    let screen = |runs: &[RunRecord]| crate::frontend::tui::view::tests::screen(&with_runs(runs, (120, 36)));
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
    let screen = crate::frontend::tui::view::tests::screen(&model);
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
    assert_eq!(looks(crate::frontend::tui::fixture::press(&mut model, "ctrl-l")), 0);
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
    let mut model = crate::frontend::tui::fixture::opened(crate::frontend::tui::fixture::busy(), (120, 36));
    let cmds = crate::frontend::tui::fixture::press(&mut model, "j");
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
        let screen = crate::frontend::tui::view::tests::screen(model);
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
    let needs = |model: &Model| crate::frontend::tui::view::tests::screen(model).contains("needs storyboard");
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
