//! The pane with its real worker, drawn on test backends.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::mpsc;
use std::time::Duration;

use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::layout::Rect;

use super::*;
use crate::frontend::tui::log::tests::{assert_stays_in, bytes_of};
use crate::frontend::tui::theme::{Depth, Theme};

fn view(log: Option<PathBuf>) -> RunnerView {
    RunnerView {
        pid: Some(7),
        attempt: log.as_ref().map(|_| Attempt::FIRST),
        log,
        ..RunnerView::plain("agent", RunnerStatus::Running)
    }
}

fn screen(pane: &AttachPane, width: u16, height: u16) -> Vec<String> {
    let theme = Theme::built_in("dark", Depth::True, false).unwrap();
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, Rect::new(0, 0, width, height), pane, &theme)).unwrap();
    let buffer = terminal.backend().buffer();
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| row(y).trim_end().to_owned()).collect()
}

fn attach(commands: Vec<event::Cmd>) -> Vec<Cmd> {
    commands
        .into_iter()
        .map(|command| if let event::Cmd::Attach(cmd) = command { cmd } else { panic!("{command:?}") })
        .collect()
}

#[test]
fn what_it_prints_is_shown_as_a_terminal_shows_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    std::fs::write(&log, "\x1b]52;c;eA==\x07\x1b[2J\x1b[2;3Hhello \x1b[31mred\x1b[0m 日本\x1b]0;title\x07")
        .unwrap();
    let (tell, told) = mpsc::channel();
    let worker = start(move |news| tell.send(news).unwrap_or_default()).unwrap();
    let (mut pane, first) = AttachPane::open(&view(Some(log.clone())), Some(Key::ctrl(']')));
    assert!(first.is_empty());
    let commands = attach(pane.resize(50, 6));
    let runner = RunnerName::parse("agent").unwrap();
    assert_eq!(
        commands[1..],
        [
            Cmd::Resize { runner: runner.clone(), rows: 4, cols: 50 },
            Cmd::Resize { runner: runner.clone(), rows: 5, cols: 50 },
        ]
    );
    let Cmd::Watch(open) = commands[0].clone() else { panic!("{commands:?}") };
    worker.perform(open);
    let until = |pane: &mut AttachPane, row: usize, text: &str| {
        while screen(pane, 50, 6)[row] != text {
            let news = told.recv_timeout(Duration::from_secs(20)).unwrap();
            pane.news(&news);
        }
    };
    until(&mut pane, 2, "  hello red 日 本");
    assert_eq!(screen(&pane, 50, 6)[0], format!("─ agent, attempt 1 {} ctrl-] leaves ─", "─".repeat(15)));
    assert!(screen(&pane, 80, 6)[0].ends_with("─ ctrl-] leaves; the runner goes on ─"));
    let mut out = OpenOptions::new().append(true).open(&log).unwrap();
    out.write_all(b"\x1b[?1h\x1b[?2004h\x1b[Hmore").unwrap();
    until(&mut pane, 1, "more");
    assert_eq!(
        attach(pane.press(Pressed::from(Key::parse("Up").unwrap()))),
        [Cmd::Input { runner: runner.clone(), text: "\x1bOA".into() }]
    );
    assert_eq!(attach(pane.paste("x\n")), [Cmd::Input { runner, text: "\x1b[200~x\r\x1b[201~".into() }]);
    assert_eq!(attach(pane.close()), [Cmd::Watch(Watch::Close)]);
}

#[test]
fn the_next_attempt_is_another_terminal_and_an_end_is_said() {
    let (mut pane, _) = AttachPane::open(&view(None), None);
    assert!(pane.resize(60, 4).is_empty());
    assert!(screen(&pane, 60, 4)[1].starts_with("It has not been started"));
    let mut next = view(Some("/log".into()));
    assert_eq!(attach(pane.show(&next)).len(), 3);
    assert!(pane.show(&next).is_empty());
    next.status = RunnerStatus::Crashed;
    assert!(pane.show(&next).is_empty());
    assert!(screen(&pane, 70, 4)[0].contains("attempt 1, crashed"), "{:?}", screen(&pane, 60, 4));
    for (width, height) in [(1, 1), (5, 2), (30, 1)] {
        screen(&pane, width, height);
    }
}

#[test]
fn one_can_look_back_at_what_has_left_the_screen() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let lines: Vec<String> = (1..=100).map(|number| format!("line {number}\r\n")).collect();
    std::fs::write(&log, lines.concat() + "\x1b[32m$ ").unwrap();
    let (tell, told) = mpsc::channel();
    let worker = start(move |news| tell.send(news).unwrap_or_default()).unwrap();
    let (mut pane, _) = AttachPane::open(&view(Some(log.clone())), Some(Key::ctrl(']')));
    let perform = |commands: Vec<event::Cmd>| {
        for command in attach(commands) {
            if let Cmd::Watch(order) = command {
                worker.perform(order);
            }
        }
    };
    let until = |pane: &mut AttachPane, row: usize, text: &str| {
        while screen(pane, 60, 6)[row] != text {
            let news = told.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| {
                panic!("{text} never came: {:?}", screen(pane, 60, 6));
            });
            pane.news(&news);
        }
    };
    let page_up = Pressed { shift: true, ..Pressed::from(Key::plain(Code::PageUp)) };
    let page_down = Pressed { shift: true, ..Pressed::from(Key::plain(Code::PageDown)) };
    perform(pane.resize(60, 6));
    until(&mut pane, 5, "$");
    assert!(pane.press(page_down).is_empty());
    perform(pane.press(page_up));
    perform(pane.press(page_up));
    until(&mut pane, 1, "line 89");
    assert!(screen(&pane, 60, 6)[0].contains(", 8 of 96 rows back "), "{:?}", screen(&pane, 60, 6));
    // It stays, whatever is printed meanwhile.
    let mut out = OpenOptions::new().append(true).open(&log).unwrap();
    out.write_all(b"more").unwrap();
    perform(pane.press(page_down));
    until(&mut pane, 1, "line 93");
    let wheel = |kind| event::Mouse { kind, column: 3, row: 3 };
    for _ in 0..40 {
        perform(pane.mouse(wheel(MouseKind::WheelUp)));
    }
    until(&mut pane, 1, "line 1");
    assert!(screen(&pane, 60, 6)[0].contains(", top, 96 rows back"));
    // Who types sees what comes of it, and what came meanwhile.
    let typed = pane.press(Pressed::from(Key::char('x')));
    assert!(matches!(&attach(typed.clone())[..], [Cmd::Watch(Watch::Back { rows: 0 }), Cmd::Input { .. }]));
    perform(typed);
    until(&mut pane, 5, "$ more");
    // A program with a screen of its own leaves nothing behind, and gets the wheel itself.
    out.write_all(b"\x1b[?1049h\x1b[Hmenu").unwrap();
    until(&mut pane, 1, "menu");
    perform(pane.press(page_up));
    while !screen(&pane, 60, 6)[0].contains("nothing above") {
        pane.news(&told.recv_timeout(Duration::from_secs(20)).unwrap());
    }
    let wheel = attach(pane.mouse(wheel(MouseKind::WheelUp)));
    assert!(matches!(&wheel[..], [Cmd::Input { .. }]), "{wheel:?}");
}

#[test]
fn a_screen_that_stands_still_says_so_and_can_be_had_again() {
    let (mut pane, _) = AttachPane::open(&view(Some("/log".into())), None);
    pane.resize(60, 4);
    let mut terminal = vt100::Parser::new(3.try_into().unwrap(), 60.try_into().unwrap(), 0);
    terminal.process(b"one\r\ntwo");
    let shot = Shot { number: 1, screen: Arc::new(terminal.screen().clone()) };
    pane.news(&News { epoch: 1, told: Told::Screen(shot) });
    pane.news(&News { epoch: 1, told: Told::Failed("showing it failed".into()) });
    assert_eq!(screen(&pane, 60, 4)[1..], ["one", "two", "showing it failed; Enter shows it again"]);
    let again = attach(pane.press(Pressed::from(Key::plain(Code::Enter))));
    assert!(matches!(again[0], Cmd::Watch(Watch::Open { epoch: 2, .. })), "{again:?}");
}

/// What a program may print, well formed or not.
fn printed() -> impl Strategy<Value = Vec<u8>> {
    let csi = |(mark, numbers, end): (String, Vec<u32>, String)| {
        let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        format!("\x1b[{mark}{}{end}", numbers.join(";")).into_bytes()
    };
    let large = ("[?>!]?", proptest::collection::vec(0_u32..70_000, 0..4), "[@-~]").prop_map(csi);
    let small = ("", proptest::collection::vec(0_u32..60, 0..3), "[@-~]").prop_map(csi);
    let portion = prop_oneof![
        2 => large,
        3 => small,
        1 => proptest::collection::vec(any::<u8>(), 0..8),
        2 => "[a-z\u{65e5}\u{301}\u{200d}\u{1f468}\u{fe0f}\r\n\t]{0,12}".prop_map(String::into_bytes),
        1 => "\x1b[78DMEHc=>]".prop_map(String::into_bytes),
    ];
    proptest::collection::vec(portion, 0..40).prop_map(|portions| portions.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn nothing_that_is_printed_breaks_or_leaves_the_screen(
        portions in proptest::collection::vec((printed(), 2_u16..12, 2_u16..30), 1..4),
    ) {
        let theme = Theme::built_in("dark", Depth::True, false).unwrap();
        let (mut pane, _) = AttachPane::open(&view(Some("/log".into())), None);
        for (bytes, rows, cols) in portions {
            let mut terminal = vt100::Parser::new(rows.try_into().unwrap(), cols.try_into().unwrap(), 0);
            // The emulator may give up on what was printed: the worker survives that and begins afresh.
            let drawn = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| terminal.process(&bytes)));
            if drawn.is_err() {
                continue;
            }
            pane.screen = Some(Arc::new(terminal.screen().clone()));
            let (whole, area) = (Rect::new(0, 0, 30, 10), Rect::new(5, 2, 20, 6));
            let bytes = bytes_of(whole, |frame| draw(frame, area, &pane, &theme));
            assert_stays_in(area, &bytes);
        }
    }
}
