//! What the bytes of a pane do to a terminal, and what those of a log do not.

use proptest::prelude::*;
use ratatui::backend::CrosstermBackend;
use ratatui::{TerminalOptions, Viewport};

use super::*;

/// The bytes that a terminal gets for one frame.
pub(crate) fn bytes_of(screen: Rect, draw: impl FnOnce(&mut ratatui::Frame<'_>)) -> Vec<u8> {
    let viewport = TerminalOptions { viewport: Viewport::Fixed(screen) };
    let mut bytes = Vec::new();
    let mut terminal = Terminal::with_options(CrosstermBackend::new(&mut bytes), viewport).unwrap();
    terminal.draw(draw).unwrap();
    drop(terminal);
    bytes
}

/// Characters, cursor moves, colours, and the cursor shown or hidden: all that a frame consists of.
fn assert_harmless(bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).expect("only characters are written");
    let allowed = regex::Regex::new("\x1b\\[(?:[0-9;:]*m|[0-9]+;[0-9]+H|\\?25[lh])").unwrap();
    let rest = allowed.replace_all(text, "");
    let control = rest.char_indices().find(|(_, c)| c.is_control());
    assert!(control.is_none(), "{:?}", rest.chars().filter(|c| c.is_control()).collect::<String>());
}

#[test]
fn any_size_can_be_drawn() {
    let mut desk = Desk::with("日本語 and a very long line that wraps\n\x1b[32mgreen\n".as_bytes());
    desk.act(Action::Search);
    for (width, height) in [(1, 1), (2, 1), (1, 5), (3, 2), (200, 60), (40, 3)] {
        let commands = desk.pane.resize(width, height);
        desk.perform(commands);
        (desk.width, desk.height) = (width, height);
        desk.screen();
    }
}

/// A terminal gets only what has changed; where wide characters come and go, that must be as good as all of it.
#[test]
fn what_is_drawn_step_by_step_is_what_is_drawn_at_once() {
    let line = |number: usize| {
        let shift = "x".repeat(number % 5);
        format!(
            "{shift}\u{65e5}\u{672c} {number} e\u{301}\u{65e5}{}\u{65e5}\n",
            "ab\u{672c}".repeat(number % 13)
        )
    };
    let content: Vec<u8> = (0..300).flat_map(|number| line(number).into_bytes()).collect();
    let mut desk = Desk::with(&content);
    let page = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let options = TerminalOptions { viewport: Viewport::Fixed(Rect::new(0, 0, desk.width, desk.height)) };
    let mut drawn =
        Terminal::with_options(CrosstermBackend::new(Page(std::rc::Rc::clone(&page))), options).unwrap();
    let sized = |cells: u16| std::num::NonZeroU16::new(cells).unwrap();
    let mut shown = vt100::Parser::new(sized(desk.height), sized(desk.width), 0);
    let actions = [
        Action::Up,
        Action::PageUp,
        Action::Down,
        Action::Wrap,
        Action::Up,
        Action::Right,
        Action::PageUp,
        Action::Down,
        Action::Left,
        Action::Wrap,
        Action::Top,
        Action::PageDown,
        Action::Down,
    ];
    for action in actions.into_iter().cycle().take(200) {
        desk.act(action);
        desk.settle();
        let area = Rect::new(0, 0, desk.width, desk.height);
        drawn.draw(|frame| draw(frame, area, &desk.pane, &theme(), true)).unwrap();
        shown.process(&page.take());
        let mut at_once = vt100::Parser::new(sized(desk.height), sized(desk.width), 0);
        at_once.process(&bytes_of(area, |frame| draw(frame, area, &desk.pane, &theme(), true)));
        // A blank that was drawn is one that was not.
        let look = |cell: &vt100::Cell| {
            let symbol = cell.contents().trim_end().to_owned();
            (
                symbol.clone(),
                cell.is_wide(),
                cell.bgcolor(),
                Some(cell.fgcolor()).filter(|_| !symbol.is_empty()),
            )
        };
        let cells = |terminal: &vt100::Parser| {
            let cell = |at| terminal.screen().cell(at / desk.width, at % desk.width);
            (0..desk.width * desk.height).map(|at| cell(at).map(look)).collect::<Vec<_>>()
        };
        assert_eq!(cells(&shown), cells(&at_once), "{action:?}");
    }
}

struct Page(std::rc::Rc<std::cell::RefCell<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn pane_with(content: &[u8], wrap: bool) -> LogPane {
    let mut pane = LogPane { wrap, ..LogPane::default() };
    pane.resize(20, 6);
    pane.file = FileState::Open;
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    let page = crate::logs::page::before(&file, content.len() as u64, 50).unwrap();
    pane.window = Some(Window::of(page, content.len() as u64));
    pane.len = content.len() as u64;
    pane
}

fn assert_contained(content: &[u8]) {
    let area = Rect::new(5, 2, 20, 6);
    for wrap in [true, false] {
        let pane = pane_with(content, wrap);
        let bytes = bytes_of(Rect::new(0, 0, 30, 10), |frame| draw(frame, area, &pane, &theme(), true));
        assert_stays_in(area, &bytes);
    }
}

/// Lets a terminal full of marks, of 30 columns and 10 rows, show it, and looks at what is around the area.
pub(crate) fn assert_stays_in(area: Rect, bytes: &[u8]) {
    assert_harmless(bytes);
    let mut terminal = vt100::Parser::new(
        std::num::NonZeroU16::new(10).unwrap(),
        std::num::NonZeroU16::new(30).unwrap(),
        10,
    );
    for row in 1..=10 {
        terminal.process(format!("\x1b[{row};1H{}", "#".repeat(30)).as_bytes());
    }
    terminal.process(bytes);
    let after = terminal.screen();
    assert!(!after.alternate_screen());
    for row in 0..10 {
        for column in 0..30 {
            let inside = area.contains(ratatui::layout::Position { x: column, y: row });
            let cell = after.cell(row, column).unwrap();
            assert!(
                inside || matches!(cell.contents(), "#" | " " | ""),
                "{row},{column}: {:?}",
                cell.contents()
            );
            assert!(inside || cell.bgcolor() == vt100::Color::Default, "{row},{column}");
        }
    }
}

#[test]
fn hostile_output_stays_in_its_pane() {
    let megabyte = vec![b'x'; 1 << 20];
    for content in [
        &b"\x1b]52;c;c2VjcmV0\x07osc 52\n\x1b]52;c;c2VjcmV0\x1b\\\n"[..],
        b"\x1b[2J\x1b[H\x1b[10;10Hcursor moves\x1b[99B\x1b[1A\n",
        b"\x1b[?1049hthe other screen\x1b[?25l\x1b[?1000h\n",
        b"\x9b2J\x9d52;c;eA==\x9c 8-bit\n\xc2\x9b2J\xc2\x9d52;c;eA==\xc2\x9c C1\n",
        &megabyte,
        b"\xff\xfe\x80 invalid \xc3\x28 \xe2\x82\n",
        "日本語日本語日本語日本語 wide e\u{301}e\u{301} 👨\u{200d}👩\u{200d}👧 \u{301}\n".as_bytes(),
        "\u{202e}turned\u{2066} \u{feff}\u{200b}\u{200d}\n".as_bytes(),
        b"\x1bPq#0;2;0;0;0~~@@\x1b\\\x1b_Gf=100;AAAA\x1b\\\x1b^pm\x1b\\\x1bXsos\x1b\\ strings\n",
        b"\x1bc\x1b(0\x0e\x0f\x1b#8\x1b=\x1b>\x07\x08\x08\x0b\x0c\r\x85\x84\n",
        b"\x1b[31",
    ] {
        assert_contained(content);
    }
}

fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let portion = prop_oneof![
        proptest::sample::select(vec![
            &b"\x1b["[..],
            b"\x1b]52;c;",
            b"\x1b]0;",
            b"\x1bP",
            b"\x1b\\",
            b"\x1b",
            b"\xc2\x9b",
            b"\x9b",
            b"\x9d",
            b"\xc2",
            b"\xc2\x9c",
            b"m",
            b"H",
            b"31",
            b";",
            b"38;5;",
            b"38;2;1;2;3m",
            b"?1049h",
            b"?",
            b"\r",
            b"\n",
            b"\x07",
            b"\x08",
            b"\t",
            b"\xe2\x82",
            b"text",
            b"\x18",
            b"\x00",
            "\u{65e5}".as_bytes(),
            "\u{301}".as_bytes(),
            "\u{200d}".as_bytes(),
            "\u{fe0f}".as_bytes(),
            "\u{1f468}".as_bytes(),
            "\u{1f1e9}".as_bytes(),
            "\u{202e}".as_bytes(),
            "\u{0644}\u{0627}".as_bytes(),
            "\u{1100}\u{1161}".as_bytes(),
        ])
        .prop_map(<[u8]>::to_vec),
        proptest::collection::vec(any::<u8>(), 0..6),
        any::<char>().prop_map(|c| c.to_string().into_bytes()),
    ];
    proptest::collection::vec(portion, 0..60).prop_map(|portions| portions.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn whatever_is_printed_nothing_of_it_escapes(content in hostile()) {
        assert_contained(&content);
    }
}
