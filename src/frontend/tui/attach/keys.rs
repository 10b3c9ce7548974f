//! Keys, pastes and the mouse as xterm tells them to a program. It must not know which program.

use vt100::{MouseProtocolEncoding, MouseProtocolMode, Screen};

use crate::domain::keys::{Code, Key};
use crate::frontend::tui::event::{MouseKind, Pressed};

/// Rows for a turn of the wheel where a program knows no mouse.
const WHEEL: usize = 3;

/// `application`: the program has asked for the other form of the arrow keys.
pub(super) fn encode(pressed: Pressed, application: bool) -> String {
    let Key { code, ctrl, alt } = pressed.key;
    let modifiers = 1 + u8::from(pressed.shift) + 2 * u8::from(alt) + 4 * u8::from(ctrl);
    let plain = modifiers == 1;
    let cursor = |letter: char| match (plain, application) {
        (true, true) => format!("\x1bO{letter}"),
        (true, false) => format!("\x1b[{letter}"),
        (false, _) => format!("\x1b[1;{modifiers}{letter}"),
    };
    let tilde = |number: u8| {
        if plain { format!("\x1b[{number}~") } else { format!("\x1b[{number};{modifiers}~") }
    };
    let escaped = |text: String| if alt { format!("\x1b{text}") } else { text };
    match code {
        Code::Char(c) => escaped(if ctrl { control(c).to_string() } else { c.to_string() }),
        Code::Enter => escaped("\r".into()),
        Code::Esc => escaped("\x1b".into()),
        Code::Tab => escaped("\t".into()),
        Code::BackTab => "\x1b[Z".into(),
        Code::Backspace => escaped(if ctrl { "\x08" } else { "\x7f" }.into()),
        Code::Up => cursor('A'),
        Code::Down => cursor('B'),
        Code::Right => cursor('C'),
        Code::Left => cursor('D'),
        Code::Home => cursor('H'),
        Code::End => cursor('F'),
        Code::Insert => tilde(2),
        Code::Delete => tilde(3),
        Code::PageUp => tilde(5),
        Code::PageDown => tilde(6),
        Code::F(number @ 1..=4) => {
            let letter = char::from(b'P' + number - 1);
            if plain { format!("\x1bO{letter}") } else { format!("\x1b[1;{modifiers}{letter}") }
        }
        Code::F(number) => function(number).map(tilde).unwrap_or_default(),
    }
}

/// The number of a function key from F5 on.
fn function(number: u8) -> Option<u8> {
    const NUMBERS: [u8; 16] = [15, 17, 18, 19, 20, 21, 23, 24, 25, 26, 28, 29, 31, 32, 33, 34];
    NUMBERS.get(usize::from(number.checked_sub(5)?)).copied()
}

/// What a terminal sends for a character with Ctrl.
fn control(c: char) -> char {
    match c {
        'a'..='z' => char::from(c as u8 - b'a' + 1),
        '@' | ' ' | '2' => '\0',
        '[' | '3' => '\x1b',
        '\\' | '4' => '\x1c',
        ']' | '5' => '\x1d',
        '^' | '~' | '6' => '\x1e',
        '_' | '/' | '7' => '\x1f',
        '?' | '8' => '\x7f',
        other => other,
    }
}

/// Lines end as the Enter key ends them. What is pasted cannot end the brackets around it.
pub(super) fn paste(text: &str, bracketed: bool) -> String {
    let lines = text.replace("\r\n", "\r").replace('\n', "\r");
    if bracketed { format!("\x1b[200~{}\x1b[201~", lines.replace('\x1b', "")) } else { lines }
}

/// The wheel is the program's: it asked for the mouse, or has a screen of its own.
pub(super) fn takes_wheel(screen: &Screen) -> bool {
    screen.mouse_protocol_mode() != MouseProtocolMode::None || screen.alternate_screen()
}

/// For a program that asked for the mouse in the one form that everybody speaks; where one with a screen of its own did
/// not, the wheel is arrow keys.
pub(super) fn mouse(kind: MouseKind, column: u16, row: u16, is_down: bool, screen: &Screen) -> String {
    let mode = screen.mouse_protocol_mode();
    if mode == MouseProtocolMode::None {
        let pressed =
            |code| encode(Pressed::from(Key::plain(code)), screen.application_cursor()).repeat(WHEEL);
        return match kind {
            MouseKind::WheelUp if screen.alternate_screen() => pressed(Code::Up),
            MouseKind::WheelDown if screen.alternate_screen() => pressed(Code::Down),
            MouseKind::WheelUp
            | MouseKind::WheelDown
            | MouseKind::Click
            | MouseKind::Drag
            | MouseKind::Release => String::new(),
        };
    }
    if screen.mouse_protocol_encoding() != MouseProtocolEncoding::Sgr {
        return String::new();
    }
    let moves = matches!(mode, MouseProtocolMode::ButtonMotion | MouseProtocolMode::AnyMotion);
    let (button, end) = match kind {
        MouseKind::Click => (0, 'M'),
        MouseKind::Release if mode != MouseProtocolMode::Press => (0, 'm'),
        MouseKind::Drag if moves && is_down => (32, 'M'),
        MouseKind::WheelUp => (64, 'M'),
        MouseKind::WheelDown => (65, 'M'),
        MouseKind::Release | MouseKind::Drag => return String::new(),
    };
    format!("\x1b[<{button};{};{}{end}", column + 1, row + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_as_xterm_tells_them() {
        let key = |text: &str| Pressed::from(Key::parse(text).unwrap());
        for (text, expected) in [
            ("a", "a"),
            ("ä", "ä"),
            ("G", "G"),
            ("ctrl-c", "\x03"),
            ("ctrl-[", "\x1b"),
            ("ctrl-\\", "\x1c"),
            ("Space", " "),
            ("ctrl-Space", "\0"),
            ("alt-x", "\x1bx"),
            ("Enter", "\r"),
            ("alt-Enter", "\x1b\r"),
            ("Tab", "\t"),
            ("BackTab", "\x1b[Z"),
            ("Backspace", "\x7f"),
            ("Esc", "\x1b"),
            ("Up", "\x1b[A"),
            ("ctrl-Left", "\x1b[1;5D"),
            ("alt-End", "\x1b[1;3F"),
            ("Delete", "\x1b[3~"),
            ("ctrl-PgUp", "\x1b[5;5~"),
            ("F1", "\x1bOP"),
            ("F5", "\x1b[15~"),
            ("F12", "\x1b[24~"),
            ("F24", ""),
        ] {
            assert_eq!(encode(key(text), false), expected, "{text}");
        }
        assert_eq!(encode(key("Up"), true), "\x1bOA");
        let shifted = Pressed { shift: true, ..key("Right") };
        assert_eq!(encode(shifted, true), "\x1b[1;2C");
    }

    #[test]
    fn a_paste_cannot_break_out_of_its_brackets() {
        assert_eq!(paste("a\nb\r\nc", false), "a\rb\rc");
        assert_eq!(paste("a\x1b[201~rm\n", true), "\x1b[200~a[201~rm\r\x1b[201~");
    }

    #[test]
    fn the_mouse_is_told_to_who_asked() {
        let mut terminal = vt100::Parser::new(
            std::num::NonZeroU16::new(10).unwrap(),
            std::num::NonZeroU16::new(40).unwrap(),
            0,
        );
        let told = |terminal: &vt100::Parser, kind, down| mouse(kind, 4, 2, down, terminal.screen());
        assert_eq!(told(&terminal, MouseKind::WheelUp, false), "");
        terminal.process(b"\x1b[?1049h");
        assert_eq!(told(&terminal, MouseKind::WheelDown, false), "\x1b[B\x1b[B\x1b[B");
        terminal.process(b"\x1b[?1002h\x1b[?1006h");
        assert_eq!(told(&terminal, MouseKind::Click, false), "\x1b[<0;5;3M");
        assert_eq!(told(&terminal, MouseKind::Drag, true), "\x1b[<32;5;3M");
        assert_eq!(told(&terminal, MouseKind::Release, true), "\x1b[<0;5;3m");
        assert_eq!(told(&terminal, MouseKind::WheelUp, false), "\x1b[<64;5;3M");
    }
}
