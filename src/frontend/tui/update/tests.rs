//! What keys come to, while the world moves.

use std::sync::Arc;
use std::time::Duration;

use super::super::dialog::Dialog;
use super::super::event::{Asked, Cmd, Event, LinkNews, Mouse, MouseKind, Order};
use super::super::fixture::{ago, busy, config, feed, many, name, now, opened, press, runner, snapshot};
use super::super::model::{Focus, Link, Model, Screen};
use super::update;
use crate::domain::ids::RunnerName;
use crate::domain::keys::{Action, BINDINGS, Key, Keymap, Overrides};
use crate::domain::view::{Figures, Notice, NoticeKind, RunnerStatus, RunnerView, Snapshot, Update};
use crate::supervisor::handle::Shutdown;

fn usual() -> Model {
    opened(busy(), (120, 36))
}

fn selected(model: &Model) -> &str {
    model.list.selected.as_ref().map_or("", RunnerName::as_str)
}

fn changed(model: &mut Model, view: RunnerView) -> Vec<Cmd> {
    feed(model, Event::Link(LinkNews::Update(Update::Runner(Arc::new(view)))))
}

fn ordered(cmds: &[Cmd]) -> Vec<(Order, Vec<&str>)> {
    let mut ordered = Vec::new();
    for cmd in cmds {
        if let Cmd::Order(order, names) = cmd {
            ordered.push((*order, names.iter().map(RunnerName::as_str).collect()));
        }
    }
    ordered
}

#[test]
fn an_action_acts_on_the_highlighted_row_while_rows_move() {
    let mut model = usual();
    press(&mut model, "j j j");
    assert_eq!(selected(&model), "agent-db");
    // A reload puts others before it, and a filter takes some away.
    let mut moved = busy();
    moved.runners.insert(0, Arc::new(runner("new-one", RunnerStatus::Idle)));
    moved.runners.reverse();
    feed(&mut model, Event::Link(LinkNews::Snapshot(Box::new(moved))));
    assert_eq!(selected(&model), "agent-db");
    press(&mut model, "o");
    assert_eq!(selected(&model), "agent-db");
    assert_eq!(ordered(&press(&mut model, "s")), [(Order::Start, vec!["agent-db"])]);
}

#[test]
fn the_row_that_takes_the_place_of_a_removed_one_is_selected() {
    let mut model = usual();
    press(&mut model, "j");
    feed(&mut model, Event::Link(LinkNews::Update(Update::Removed(name("agent-docs")))));
    assert_eq!(selected(&model), "agent-web");
    press(&mut model, "G");
    feed(&mut model, Event::Link(LinkNews::Update(Update::Removed(name("render")))));
    assert_eq!(selected(&model), "migrate");
}

#[test]
fn filter_then_act() {
    let mut model = usual();
    press(&mut model, "/ d o c s");
    assert_eq!(selected(&model), "agent-docs");
    // While one types, letters are text.
    assert_eq!(press(&mut model, "x"), []);
    press(&mut model, "Backspace Enter");
    // In a backoff nothing lives, so nothing is asked back.
    assert_eq!(ordered(&press(&mut model, "x")), [(Order::Stop, vec!["agent-docs"])]);
    press(&mut model, "Esc");
    assert_eq!(selected(&model), "agent-docs");
    assert!(model.list.filter.is_empty());
}

#[test]
fn what_ends_a_process_asks_and_names_it() {
    let mut model = usual();
    assert_eq!(press(&mut model, "x"), []);
    assert_eq!(model.dialog, Some(Dialog::Confirm { order: Order::Stop, names: vec![name("agent-api")] }));
    // Rows move below the question; it is still about the same runner.
    feed(&mut model, Event::Link(LinkNews::Update(Update::Removed(name("agent-web")))));
    model.list.selected = Some(name("postgres"));
    assert_eq!(ordered(&press(&mut model, "Enter")), [(Order::Stop, vec!["agent-api"])]);
    assert_eq!(model.dialog, None);
}

#[test]
fn a_question_that_has_lost_its_point_goes_away() {
    let mut model = usual();
    press(&mut model, "x");
    changed(&mut model, runner("agent-api", RunnerStatus::Completed));
    assert_eq!(model.dialog, None);
    assert_eq!(press(&mut model, "Enter"), []);
}

#[test]
fn a_second_press_while_one_is_under_way_does_nothing() {
    let mut model = usual();
    let asked = press(&mut model, "r y");
    assert_eq!(ordered(&asked), [(Order::Restart, vec!["agent-api"])]);
    for keys in ["r", "x", "X", "s"] {
        assert_eq!(press(&mut model, keys), [], "{keys}");
        assert_eq!(model.dialog, None, "{keys}");
    }
    let what = Asked::Order(Order::Restart, vec![name("agent-api")]);
    feed(&mut model, Event::Link(LinkNews::Answered { what, result: Ok(()) }));
    // The answer is there, and it is stopping: only a kill makes sense now.
    changed(&mut model, runner("agent-api", RunnerStatus::Stopping));
    for keys in ["r", "x", "s"] {
        assert_eq!(press(&mut model, keys), [], "{keys}");
        assert_eq!(model.dialog, None, "{keys}");
    }
    assert_eq!(ordered(&press(&mut model, "X Enter")), [(Order::Kill, vec!["agent-api"])]);
}

#[test]
fn a_refusal_is_told_and_frees_the_runner() {
    let mut model = usual();
    press(&mut model, "j s");
    let what = Asked::Order(Order::Start, vec![name("agent-docs")]);
    let result = Err("start agent-docs: no runner is called agent-docs".to_owned());
    feed(&mut model, Event::Link(LinkNews::Answered { what, result }));
    assert!(model.toasts.shown()[0].text.contains("no runner is called"));
    assert_eq!(ordered(&press(&mut model, "s")).len(), 1);
}

#[test]
fn quit_three_ways() {
    let mut model = usual();
    assert_eq!(press(&mut model, "q Esc"), []);
    assert_eq!(model.dialog, None);

    assert_eq!(press(&mut model, "q d"), [Cmd::Quit]);

    let mut model = usual();
    assert_eq!(press(&mut model, "ctrl-c s"), [Cmd::Shutdown(Shutdown::Graceful)]);
    assert_eq!(model.dialog, Some(Dialog::Leaving));
    assert_eq!(press(&mut model, "X"), [Cmd::Shutdown(Shutdown::Kill)]);
    // The end of the supervisor is the end of this.
    let why = "the connection ended".to_owned();
    assert_eq!(feed(&mut model, Event::Link(LinkNews::Lost { why })), [Cmd::Quit]);
}

#[test]
fn quit_asks_nothing_where_nothing_lives() {
    let mut model = opened(snapshot(vec![runner("a", RunnerStatus::Completed)]), (80, 24));
    assert_eq!(press(&mut model, "q"), [Cmd::Quit]);
    let mut model = usual();
    feed(&mut model, Event::Link(LinkNews::Lost { why: String::new() }));
    assert_eq!(press(&mut model, "ctrl-c"), [Cmd::Quit]);
}

#[test]
fn a_lost_supervisor_takes_no_orders_and_comes_back() {
    let mut model = usual();
    press(&mut model, "x");
    feed(&mut model, Event::Link(LinkNews::Lost { why: "it ended".into() }));
    assert_eq!(model.dialog, None);
    assert_eq!(press(&mut model, "x"), []);
    assert_eq!(press(&mut model, "U"), []);
    feed(&mut model, Event::Link(LinkNews::Waiting { why: "nobody".into(), nobody: true }));
    assert_eq!(press(&mut model, "U"), [Cmd::Summon]);
    let cmds = feed(&mut model, Event::Link(LinkNews::Connected { supervisor_pid: 7 }));
    assert_eq!(cmds, [Cmd::LoadConfig, Cmd::Figures]);
    assert_eq!(model.link, Link::Up { supervisor_pid: 7 });
    assert_eq!(selected(&model), "agent-api");
}

#[test]
fn start_crash_countdown_cancel_retry() {
    let mut model = opened(snapshot(vec![runner("a", RunnerStatus::Idle)]), (80, 24));
    assert_eq!(ordered(&press(&mut model, "s")), [(Order::Start, vec!["a"])]);
    let what = Asked::Order(Order::Start, vec![name("a")]);
    feed(&mut model, Event::Link(LinkNews::Answered { what, result: Ok(()) }));
    let waiting =
        RunnerView { next_retry_at: Some(ago(-7)), retry_count: 1, ..runner("a", RunnerStatus::Backoff) };
    changed(&mut model, waiting);
    assert_eq!(ordered(&press(&mut model, "x")), [(Order::Stop, vec!["a"])]);
    let what = Asked::Order(Order::Stop, vec![name("a")]);
    feed(&mut model, Event::Link(LinkNews::Answered { what, result: Ok(()) }));
    changed(&mut model, runner("a", RunnerStatus::Stopped));
    assert_eq!(ordered(&press(&mut model, "s")), [(Order::Start, vec!["a"])]);
}

#[test]
fn all_means_those_that_are_there() {
    let mut model = opened(many(9), (80, 24));
    press(&mut model, ":");
    feed(&mut model, Event::Paste("stop all".into()));
    press(&mut model, "Enter");
    let Some(Dialog::Confirm { order: Order::Stop, names }) = &model.dialog else {
        panic!("{:?}", model.dialog)
    };
    // Running, in backoff, starting.
    assert_eq!(names.len(), 3);
    assert_eq!(ordered(&press(&mut model, "y"))[0].1.len(), 3);
}

#[test]
fn an_idle_dashboard_has_nothing_to_do() {
    let mut done = opened(snapshot(vec![runner("a", RunnerStatus::Completed)]), (80, 24));
    done.dirty = false;
    assert_eq!(done.wake, None);
    feed(
        &mut done,
        Event::Link(LinkNews::Snapshot(Box::new(snapshot(vec![runner("a", RunnerStatus::Completed)])))),
    );
    assert!(!done.dirty);

    // What runs for hours counts minutes, and asks for figures.
    let old = RunnerView { started_at: Some(ago(7200)), ..runner("a", RunnerStatus::Running) };
    let mut model = opened(snapshot(vec![old.clone()]), (80, 24));
    assert_eq!(model.wake.unwrap().as_second(), now().as_second() + 53);
    let what = Asked::Figures;
    feed(&mut model, Event::Link(LinkNews::Answered { what, result: Ok(()) }));
    assert_eq!(model.wake.unwrap().as_second(), now().as_second() + 1);
    model.dirty = false;
    let figures = Figures { cpu_percent: 0.1, rss_bytes: 1 << 20, last_output_at: None };
    let with = |figures| snapshot(vec![RunnerView { figures: Some(figures), ..old.clone() }]);
    feed(&mut model, Event::Link(LinkNews::Snapshot(Box::new(with(figures)))));
    assert!(std::mem::take(&mut model.dirty));
    let same = Figures { cpu_percent: 0.2, ..figures };
    feed(&mut model, Event::Link(LinkNews::Snapshot(Box::new(with(same)))));
    assert!(!model.dirty);
}

#[test]
fn a_countdown_ticks_once_a_second_while_it_is_on_the_screen() {
    let waiting = RunnerView { next_retry_at: Some(ago(-7)), ..runner("z", RunnerStatus::Backoff) };
    let mut model = opened(snapshot(vec![waiting]), (80, 24));
    model.figures_due = None;
    feed(&mut model, Event::Tick);
    let wake = model.wake.unwrap();
    assert_eq!(wake, now().checked_add(Duration::from_secs(1)).unwrap());
    model.dirty = false;
    update(&mut model, Event::Tick, wake);
    assert!(model.dirty);
    press(&mut model, "?");
    assert_eq!(model.wake, None);
}

#[test]
fn figures_are_asked_for_one_at_a_time_and_only_while_they_show() {
    let mut model = usual();
    assert_eq!(model.figures_due, None);
    let later = now().checked_add(Duration::from_mins(1)).unwrap();
    assert!(!update(&mut model, Event::Tick, later).contains(&Cmd::Figures));
    let answer = || Event::Link(LinkNews::Answered { what: Asked::Figures, result: Ok(()) });
    update(&mut model, answer(), later);
    assert_eq!(press(&mut model, "?"), []);
    let still_later = later.checked_add(Duration::from_mins(1)).unwrap();
    assert!(!update(&mut model, Event::Tick, still_later).contains(&Cmd::Figures));
    assert_eq!(press(&mut model, "Esc"), [Cmd::Figures]);
}

#[test]
fn figures_that_take_long_come_less_often() {
    let mut model = usual();
    let answered = now().checked_add(Duration::from_millis(100)).unwrap();
    let answer = Event::Link(LinkNews::Answered { what: Asked::Figures, result: Ok(()) });
    update(&mut model, answer, answered);
    assert_eq!(model.figures_due, answered.checked_add(Duration::from_secs(4)).ok());
}

#[test]
fn the_exhausted_are_told_outside_too() {
    let mut model = usual();
    let notice =
        Notice { at: now(), runner: Some(name("agent-db")), what: NoticeKind::Exhausted { max_retries: 3 } };
    let cmds = feed(&mut model, Event::Link(LinkNews::Update(Update::Notice(notice.into()))));
    assert!(matches!(&cmds[..], [Cmd::Notify(text)] if text.contains("agent-db")));
}

#[test]
fn back_goes_one_step() {
    let mut model = usual();
    press(&mut model, "/ a Enter l");
    assert_eq!((model.focus, model.zoom), (Focus::Log, true));
    press(&mut model, "Esc");
    assert_eq!((model.focus, model.zoom), (Focus::List, false));
    assert!(!model.list.filter.is_empty());
    press(&mut model, "c");
    assert_eq!(model.screen, Screen::Config);
    press(&mut model, "Esc Esc");
    assert_eq!(model.screen, Screen::Main);
    assert!(model.list.filter.is_empty());
}

#[test]
fn the_mouse_selects_opens_and_presses_keys() {
    let mut model = usual();
    let click = |column, row| Event::Mouse(Mouse { kind: MouseKind::Click, column, row });
    // Header, blank, titles, group, then the first runner.
    feed(&mut model, click(6, 6));
    assert_eq!(selected(&model), "agent-web");
    feed(&mut model, click(6, 6));
    assert_eq!(model.focus, Focus::Log);
    press(&mut model, "Esc");
    // A heading is nothing to select.
    feed(&mut model, click(6, 3));
    assert_eq!(selected(&model), "agent-web");
    let wheel = Mouse { kind: MouseKind::WheelDown, column: 6, row: 6 };
    feed(&mut model, Event::Mouse(wheel));
    assert_eq!(selected(&model), "migrate");
    let column =
        (0..120).find(|at| super::super::view::footer::hit(&model, *at) == Some(Action::Help)).unwrap();
    feed(&mut model, click(column, 35));
    assert_eq!(model.screen, Screen::Help);
}

#[test]
fn the_config_screen_walks_through_the_runners() {
    let mut model = usual();
    assert_eq!(press(&mut model, "c"), [Cmd::LoadConfig]);
    assert_eq!(model.pointed, Some(name("agent-api")));
    press(&mut model, "Tab");
    assert_eq!(model.pointed, Some(name("agent-docs")));
    press(&mut model, "BackTab BackTab");
    assert_eq!(model.pointed, Some(name("render")));
    assert_eq!(press(&mut model, "R"), [Cmd::Reload]);
}

#[test]
fn the_analytics_lead_to_the_runner() {
    let mut model = usual();
    assert_eq!(press(&mut model, "A"), [Cmd::LoadHistory]);
    press(&mut model, "g Enter");
    assert_eq!((model.screen, selected(&model)), (Screen::Main, "agent-db"));
}

#[test]
fn rebound_keys_work_and_old_ones_do_not() {
    let mut model = usual();
    let keys: Overrides = [("start".to_owned(), vec![Key::parse("F5").unwrap()])].into();
    model.setup.manners.keymap = Keymap::with(&keys).unwrap();
    press(&mut model, "j");
    assert_eq!(press(&mut model, "s"), []);
    assert_eq!(ordered(&press(&mut model, "F5")).len(), 1);
}

#[test]
fn an_edit_of_the_config_changes_keys_and_looks_at_once() {
    use super::super::event::{ConfigNews, Manners};
    use super::super::theme::{Depth, Theme};
    let theme = |name| Theme::built_in(name, Depth::True, false).unwrap();
    let with = |manners| Event::Config(Box::new(ConfigNews { manners, ..config() }));
    let mut model = usual();
    feed(&mut model, with(Some(Manners::default())));
    // Chosen here, and not touched by an edit of something else.
    press(&mut model, ":");
    feed(&mut model, Event::Paste("theme light".into()));
    press(&mut model, "Enter");
    let keys: Overrides = [("start".to_owned(), vec![Key::parse("F5").unwrap()])].into();
    let keymap = Keymap::with(&keys).unwrap();
    feed(&mut model, with(Some(Manners { keymap: keymap.clone(), ..Manners::default() })));
    assert_eq!((model.theme(), model.keymap()), (&theme("light"), &keymap));
    // A file that is broken for a moment changes nothing.
    feed(&mut model, with(None));
    feed(&mut model, with(Some(Manners { theme: theme("colour-blind"), ..Manners::default() })));
    assert_eq!((model.theme(), model.keymap()), (&theme("colour-blind"), &Keymap::default()));
}

#[test]
fn attach_needs_a_terminal_and_leaves_by_its_own_key_only() {
    let mut model = usual();
    press(&mut model, "a");
    assert_eq!(model.screen, Screen::Attach);
    // Every key belongs to the runner.
    press(&mut model, "q ctrl-c Esc x ?");
    assert_eq!((model.screen, &model.dialog), (Screen::Attach, &None));
    press(&mut model, "ctrl-]");
    assert_eq!(model.screen, Screen::Main);
    press(&mut model, "j a");
    assert_eq!(model.screen, Screen::Main);
}

#[test]
fn the_first_of_the_list_is_selected_whoever_speaks_first() {
    let mut model = Model::new(super::super::fixture::setup());
    feed(&mut model, Event::Link(LinkNews::Connected { supervisor_pid: 1 }));
    changed(&mut model, runner("agent-web", RunnerStatus::Running));
    feed(&mut model, Event::Link(LinkNews::Snapshot(Box::new(busy()))));
    assert_eq!(selected(&model), "agent-api");
}

#[test]
fn escape_and_the_next_key_at_once_are_two_keys() {
    let mut model = usual();
    press(&mut model, "c alt-q");
    assert_eq!((model.screen, &model.dialog), (Screen::Main, &Some(Dialog::Quit)));
}

#[test]
fn no_sequence_of_keys_upsets_it() {
    let keys: Vec<Key> =
        BINDINGS.iter().flat_map(|binding| binding.keys).map(|key| Key::parse(key).unwrap()).collect();
    for size in [(120, 36), (80, 24), (40, 10), (10, 3)] {
        let mut model = opened(busy(), size);
        let mut seed: u64 = 7;
        for step in 0..4000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let pick = usize::try_from(seed >> 33).unwrap();
            feed(&mut model, Event::Key(keys[pick % keys.len()].into()));
            if step % 50 == 0 {
                let fresh: Snapshot = if pick.is_multiple_of(2) { busy() } else { many(pick % 30) };
                feed(&mut model, Event::Link(LinkNews::Snapshot(Box::new(fresh))));
                feed(&mut model, Event::Config(Box::new(config())));
            }
        }
    }
}
