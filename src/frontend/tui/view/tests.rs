//! Every screen and state, drawn by the real drawing on a test backend.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::super::event::{Event, LinkNews};
use super::super::fixture::{ago, busy, feed, many, name, now, opened, press, runner, setup, snapshot};
use super::super::model::Model;
use super::super::theme::{Depth, Theme};
use super::draw;
use crate::domain::ids::Attempt;
use crate::domain::verdict::{Outcome, Verdict};
use crate::domain::view::{Notice, NoticeKind, RunnerStatus, RunnerView, Update};

const NARROW: (u16, u16) = (80, 24);
const USUAL: (u16, u16) = (120, 36);
const WIDE: (u16, u16) = (200, 60);

pub(in crate::frontend::tui) fn screen(model: &Model) -> String {
    let (width, height) = model.setup.size;
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let mut text = String::new();
    for y in 0..height {
        let mut line = String::new();
        let mut skip = 0;
        for x in 0..width {
            if skip > 0 {
                skip -= 1;
                continue;
            }
            let symbol = buffer[(x, y)].symbol();
            assert!(!symbol.chars().any(char::is_control), "a control character at {x}, {y}: {symbol:?}");
            skip = super::text::width(symbol).saturating_sub(1);
            line.push_str(symbol);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn notice(what: NoticeKind) -> Event {
    let notice = Notice { at: now(), runner: Some(name("agent-db")), what };
    Event::Link(LinkNews::Update(Update::Notice(notice.into())))
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
    main_usual: opened(busy(), USUAL);
    main_narrow: opened(busy(), NARROW);
    main_wide: opened(busy(), WIDE);
    main_60_columns: opened(busy(), (60, 16));
    main_smallest: opened(busy(), (40, 10));
    tiny: opened(busy(), (39, 9));
    tiny_one_line: opened(busy(), (12, 1));
    connecting: Model::new(setup());
    empty: opened(snapshot(Vec::new()), USUAL);
    empty_narrow: opened(snapshot(Vec::new()), (40, 10));
    one: opened(snapshot(vec![runner("only", RunnerStatus::Running)]), NARROW);
    a_thousand: {
        let mut model = opened(many(1000), USUAL);
        press(&mut model, "G k k");
        model
    };
    exhausted: {
        let mut model = opened(busy(), USUAL);
        press(&mut model, "j j j");
        model
    };
    exhausted_details_narrow: {
        let mut model = opened(busy(), NARROW);
        press(&mut model, "j j j Enter");
        model
    };
    backoff: {
        let mut model = opened(busy(), USUAL);
        press(&mut model, "j");
        model
    };
    waiting_for_disk: {
        let mut model = opened(busy(), USUAL);
        press(&mut model, "G");
        model
    };
    adopting: {
        let mut model = opened(busy(), USUAL);
        for pid in 1..=3 {
            feed(&mut model, notice(NoticeKind::Adopted { attempt: Attempt::FIRST, pid }));
        }
        model
    };
    disconnected: {
        let mut model = opened(busy(), USUAL);
        let why = "the connection to the supervisor ended".to_owned();
        feed(&mut model, Event::Link(LinkNews::Lost { why }));
        model
    };
    nobody_there: {
        let mut model = opened(busy(), NARROW);
        let why = "nothing runs here".to_owned();
        feed(&mut model, Event::Link(LinkNews::Waiting { why, nobody: true }));
        model
    };
    config_refused: {
        let mut all = busy();
        all.fleet.config_error = Some("reload config.json: 12:5 unknown key \"comand\"".into());
        let mut model = opened(all, USUAL);
        press(&mut model, "c");
        model
    };
    toasts: {
        let mut model = opened(busy(), USUAL);
        let outcome = Outcome { verdict: Verdict::Exit, exit_code: Some(1), signal: None, detail: None };
        feed(&mut model, notice(NoticeKind::Ended { attempt: Attempt::FIRST, outcome }));
        feed(&mut model, notice(NoticeKind::Exhausted { max_retries: 3 }));
        feed(&mut model, notice(NoticeKind::Recovered { retries: 2 }));
        model
    };
    confirm_stop: {
        let mut model = opened(busy(), USUAL);
        press(&mut model, "x");
        model
    };
    confirm_kill_all_narrow: {
        let mut model = opened(many(40), NARROW);
        press(&mut model, ":");
        feed(&mut model, Event::Paste("kill all".into()));
        press(&mut model, "Enter");
        model
    };
    quit_asks: {
        let mut model = opened(busy(), NARROW);
        press(&mut model, "q");
        model
    };
    leaving: {
        let mut model = opened(busy(), USUAL);
        press(&mut model, "q s");
        model
    };
    palette: {
        let mut model = opened(busy(), USUAL);
        press(&mut model, ": r e s Down");
        model
    };
    palette_smallest: {
        let mut model = opened(busy(), (40, 10));
        press(&mut model, ":");
        model
    };
    filtering: {
        let mut model = opened(busy(), USUAL);
        press(&mut model, "/ a g e n t");
        model
    };
    filter_finds_nothing: {
        let mut model = opened(busy(), NARROW);
        press(&mut model, "/ x y z");
        model
    };
    unfinished_by_attention: {
        let mut model = opened(busy(), NARROW);
        press(&mut model, "u o");
        model
    };
    analytics: {
        let mut model = opened(busy(), USUAL);
        press(&mut model, "A");
        model
    };
    analytics_narrow: {
        let mut model = opened(busy(), NARROW);
        press(&mut model, "A j");
        model
    };
    analytics_of_nothing: {
        let mut model = opened(snapshot(Vec::new()), NARROW);
        press(&mut model, "A");
        model
    };
    config: {
        let mut model = opened(busy(), USUAL);
        press(&mut model, "c");
        model
    };
    help: {
        let mut model = opened(busy(), USUAL);
        press(&mut model, "?");
        model
    };
    help_narrow_scrolled: {
        let mut model = opened(busy(), NARROW);
        press(&mut model, "? PgDn j");
        model
    };
    explain: {
        let mut model = opened(busy(), USUAL);
        press(&mut model, "e");
        model
    };
    log_search: {
        let mut model = opened(busy(), USUAL);
        press(&mut model, "l / r o u t e s Enter n");
        model
    };
    log_search_narrow_typing: {
        let mut model = opened(busy(), NARROW);
        press(&mut model, "l / r o u t");
        model
    };
    log_lines_that_match: {
        let mut model = opened(busy(), NARROW);
        press(&mut model, "l & t e s t Enter");
        model
    };
    log_cut_and_shifted: {
        let mut model = opened(busy(), (60, 16));
        press(&mut model, "l w Right k");
        model
    };
    log_selecting_an_older_attempt: {
        let mut model = opened(busy(), NARROW);
        press(&mut model, "l [ v k k");
        model
    };
    long_error_is_cut_with_a_sign: opened(long_error(), USUAL);
    long_error_in_full_scrolls: {
        let mut model = opened(long_error(), (60, 14));
        press(&mut model, "e j j");
        model
    };
    ascii: {
        let theme = Theme::built_in("dark", Depth::None, true).unwrap();
        let mut model = opened(busy(), USUAL);
        model.setup.manners.theme = theme;
        press(&mut model, "j");
        model
    };
}

fn long_error() -> crate::domain::view::Snapshot {
    let detail = "start /home/ada/film/tools/with/a/path/that/does/not/end/anywhere/near/here/render-the-whole-film: \
                  permission denied (os error 13); the file is there but may not be executed by this user, and its \
                  folder is mounted with noexec, so chmod +x alone does not help; move it elsewhere, or name its \
                  interpreter in the command: [\"python3\", \"tools/render.py\"]";
    let outcome =
        Outcome { verdict: Verdict::SpawnFailed, exit_code: None, signal: None, detail: Some(detail.into()) };
    snapshot(vec![RunnerView {
        group: Some("jobs".into()),
        outcome: Some(outcome),
        ended_at: Some(ago(30)),
        started_at: Some(ago(30)),
        exhausted: true,
        retry_count: 3,
        ..runner("render", RunnerStatus::Crashed)
    }])
}

/// What a runner is called, waits for or failed with may hold anything.
#[test]
fn nothing_of_a_runner_reaches_the_terminal_as_control() {
    let evil = "\x1b]52;c;ZXZpbA==\x07\x1b[2J\u{9b}31m\r\n\u{202e}wide 日本 e\u{301}\0";
    let outcome =
        Outcome { verdict: Verdict::SpawnFailed, exit_code: None, signal: None, detail: Some(evil.into()) };
    let mut all = snapshot(vec![RunnerView {
        group: Some(evil.into()),
        waiting: Some(evil.into()),
        note: Some(evil.into()),
        outcome: Some(outcome),
        log: Some(evil.into()),
        ..runner(evil, RunnerStatus::Crashed)
    }]);
    all.fleet.config_error = Some(evil.into());
    all.fleet.keeper_trouble = Some(evil.into());
    all.workspace = evil.into();
    for size in [NARROW, USUAL, (40, 10)] {
        let mut model = opened(all.clone(), size);
        let text = NoticeKind::Warning { text: evil.into() };
        feed(&mut model, notice(text));
        // `screen` looks at every cell.
        screen(&model);
        for keys in ["Enter", "e", "Esc", "c", "A", ":", "g", "o", "Esc", "?", "Esc", "q"] {
            press(&mut model, keys);
            screen(&model);
        }
    }
}

#[test]
fn every_size_can_be_drawn() {
    for width in (1..220).step_by(13) {
        for height in (1..70).step_by(7) {
            let mut model = opened(busy(), (width, height));
            for keys in
                ["Enter", "Esc", "?", "A", "c", "Esc", ":", "Esc", "x", "Esc", "/", "a", "Enter", "q", "s"]
            {
                press(&mut model, keys);
                screen(&model);
            }
        }
    }
}
