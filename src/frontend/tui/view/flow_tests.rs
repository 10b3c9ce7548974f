//! The screens of runs and their states, drawn by the real drawing on a test backend.

use super::super::event::{Event, LinkNews};
use super::super::fixture::{ago, feed, now};
use super::super::flows::fixture::{
    failed, only_runs, press, run, running, serve, settle, view, waiting, with_runs,
};
use super::super::model::Model;
use super::super::theme::{Depth, Theme};
use super::tests::screen;
use crate::domain::flow::ids::CheckpointId;
use crate::domain::flow::news::News;
use crate::domain::flow::record::RunRecord;
use crate::domain::flow::status::{RunStatus, StageStatus};
use crate::domain::flow::testing;
use crate::domain::flow::view::{FlowNotice, FlowUpdate};
use crate::domain::view::Update;

const NARROW: (u16, u16) = (80, 24);
const USUAL: (u16, u16) = (120, 36);
const WIDE: (u16, u16) = (200, 60);

fn all() -> Vec<RunRecord> {
    vec![failed(), waiting(), running()]
}

/// The screen of a run, reached as people reach it.
fn opened(number: u64, size: (u16, u16), keys: &str) -> Model {
    let runs = all();
    let mut model = with_runs(&runs, size);
    press(&mut model, &format!(": s h o w {} Enter", spelled(number)), &runs);
    settle(&mut model, &runs);
    if !keys.is_empty() {
        press(&mut model, keys, &runs);
        settle(&mut model, &runs);
    }
    model.toasts.dismiss();
    model
}

fn spelled(number: u64) -> String {
    number.to_string().chars().map(|digit| digit.to_string()).collect::<Vec<_>>().join(" ")
}

fn highlighted(size: (u16, u16), keys: &str) -> Model {
    let runs = all();
    let mut model = with_runs(&runs, size);
    press(&mut model, keys, &runs);
    settle(&mut model, &runs);
    model
}

macro_rules! pictures {
    ($($name:ident: $model:expr;)*) => {
        $(
            #[test]
            fn $name() {
                insta::assert_snapshot!(screen(&$model));
            }
        )*
    };
}

pictures! {
    main_with_runs: with_runs(&all(), USUAL);
    main_with_runs_narrow: highlighted(NARROW, "G");
    main_with_runs_wide: highlighted(WIDE, "G k k");
    run_highlighted: highlighted(USUAL, "G k");
    only_runs_and_no_runners: only_runs(&all(), USUAL);
    no_runs_so_far: only_runs(&[], USUAL);
    run_running: opened(13, USUAL, "");
    run_running_narrow: opened(13, NARROW, "");
    run_running_wide: opened(13, WIDE, "");
    run_waiting: opened(12, USUAL, "");
    run_failed: opened(11, USUAL, "");
    run_failed_narrow: opened(11, NARROW, "");
    run_log: opened(11, USUAL, "l");
    retry_asked: opened(11, USUAL, "r");
    retry_asked_narrow: opened(11, NARROW, "r");
    approve_asked: opened(12, USUAL, "a");
    reject_typed: opened(12, USUAL, "R l e s s");
    cancel_asked: opened(13, NARROW, "x");
    tree_beside_the_run: opened(12, USUAL, "t");
    tree_narrow: opened(12, NARROW, "t");
    tree_wide: opened(12, WIDE, "t j");
    branch_named: opened(12, NARROW, "t b");
    edit_what: opened(12, NARROW, "t e");
    history: {
        let runs = all();
        let mut model = with_runs(&runs, USUAL);
        press(&mut model, "H j", &runs);
        model
    };
    history_filtered_narrow: {
        let runs = all();
        let mut model = with_runs(&runs, NARROW);
        press(&mut model, "H / f a i l e d", &runs);
        model
    };
    asks_and_fails_are_told: {
        let mut model = with_runs(&all(), USUAL);
        let checkpoint = CheckpointId::parse("storyboard@2").unwrap();
        tell(&mut model, News::Asks { run: waiting().run_id, checkpoint });
        let error = Some("render failed: exit 1".to_owned());
        tell(&mut model, News::RunEnded { run: failed().run_id, status: RunStatus::Failed, seconds: Some(1304.0), error });
        model
    };
    run_in_ascii: {
        let mut model = opened(13, USUAL, "");
        model.setup.manners.theme = Theme::built_in("dark", Depth::None, true).unwrap();
        model
    };
    unknown_run: {
        let mut model = with_runs(&all(), NARROW);
        // It was deleted a moment ago: the supervisor has nothing to say of it.
        press(&mut model, ": s h o w 1 1 Enter", &[]);
        model
    };
}

fn tell(model: &mut Model, what: News) {
    let update = FlowUpdate::News(FlowNotice { at: now(), what });
    feed(model, Event::Link(LinkNews::Update(Update::Flow(update.into()))));
}

/// Ten thousand stages are no burden: what is not on the screen is not drawn.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test of speed reads the clock")]
fn a_large_run_is_drawn_as_fast_as_a_small_one() {
    let mut large = run("20 running", 100, None);
    let row = |place: usize| testing::row(&format!("stage-{place}"), place, StageStatus::Pending);
    large.stages = Some((0..10_000).map(row).collect());
    let runs = vec![large];
    let mut model = with_runs(&runs, USUAL);
    press(&mut model, ": s h o w 2 0 Enter", &runs);
    settle(&mut model, &runs);
    press(&mut model, "G", &runs);
    assert!(screen(&model).contains("stage-9999"));
    let start = std::time::Instant::now();
    for at in 0..50 {
        press(&mut model, if at % 2 == 0 { "k" } else { "j" }, &runs);
        screen(&model);
    }
    let frame = start.elapsed() / 50;
    println!("a key and a frame with 10,000 stages: {frame:?}");
    // Generous: a debug build on a busy machine.
    assert!(frame < std::time::Duration::from_millis(60), "{frame:?}");
}

/// What a run is called, given, or failed with may hold anything.
#[test]
fn nothing_of_a_run_reaches_the_terminal_as_control() {
    let evil = "\x1b]52;c;ZXZpbA==\x07\x1b[2J\u{9b}31m\r\nwide 日本 e\u{301}\0";
    let mut record = failed();
    record.error = Some(evil.into());
    for stage in record.stages.iter_mut().flatten() {
        (stage.error, stage.feedback) = (Some(evil.into()), Some(evil.into()));
        for attempt in &mut stage.attempts {
            attempt.error = Some(evil.into());
        }
    }
    let runs = vec![record];
    for size in [NARROW, USUAL, (40, 10)] {
        let mut model = with_runs(&runs, size);
        // `screen` looks at every cell.
        press(&mut model, "G", &runs);
        screen(&model);
        for keys in ["Enter", "j", "t", "a", "Esc", "Esc", "r", "Esc", "H", "Enter", "x", "Esc", "R", "Esc"] {
            press(&mut model, keys, &runs);
            settle(&mut model, &runs);
            screen(&model);
        }
    }
}

#[test]
fn every_size_can_be_drawn() {
    let runs = all();
    for width in (1..220).step_by(19) {
        for height in (1..70).step_by(9) {
            let mut model = with_runs(&runs, (width, height));
            for keys in
                ["G", "Enter", "t", "j", "b", "Esc", "Esc", "l", "Esc", "k", "r", "Esc", "H", "/", "Esc"]
            {
                press(&mut model, keys, &runs);
                screen(&model);
            }
        }
    }
}

/// A moment later the line tells what came.
#[test]
fn the_list_follows_what_is_told() {
    let runs = all();
    let mut model = with_runs(&runs, USUAL);
    let mut ended = running();
    (ended.status, ended.ended_at) = (RunStatus::Succeeded, Some(ago(0)));
    let update = FlowUpdate::Run(view(&ended));
    let cmds = feed(&mut model, Event::Link(LinkNews::Update(Update::Flow(update.into()))));
    serve(&mut model, cmds, &runs);
    let text = screen(&model);
    let line = text.lines().find(|line| line.contains("video-13")).unwrap();
    assert!(line.contains("✔ video-13") && line.contains("succeeded"), "{line}");
}

#[test]
fn a_run_that_does_not_go_on_for_now_says_why() {
    let runs = all();
    let mut held = running();
    held.held = Some("write to the history: the disk is full".into());
    let then = vec![failed(), waiting(), held.clone()];
    for keys in ["", "Enter"] {
        let mut model = with_runs(&runs, USUAL);
        press(&mut model, ": s h o w 1 3 Enter", &runs);
        settle(&mut model, &runs);
        if keys.is_empty() {
            press(&mut model, "Esc", &runs);
        }
        let update = FlowUpdate::Run(view(&held));
        let cmds = feed(&mut model, Event::Link(LinkNews::Update(Update::Flow(update.into()))));
        serve(&mut model, cmds, &then);
        let text = screen(&model);
        assert!(text.contains("held: write to the hist"), "{text}");
    }
}
