//! From what the terminal sends to what the dashboard understands.

use crossterm::event::{
    Event as Sent, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};

use super::event::{Event, Mouse, MouseKind, Pressed};
use crate::domain::keys::{Code, Key};

/// `None` for what nobody asked about.
pub(super) fn translate(sent: Sent) -> Option<Event> {
    match sent {
        Sent::Key(key) => press(key).map(Event::Key),
        Sent::Paste(text) => Some(Event::Paste(text)),
        Sent::Mouse(mouse) => point(mouse).map(Event::Mouse),
        Sent::Resize(width, height) => Some(Event::Resize { width, height }),
        Sent::FocusGained | Sent::FocusLost => None,
    }
}

fn press(event: KeyEvent) -> Option<Pressed> {
    if event.kind == KeyEventKind::Release {
        return None;
    }
    let ctrl = event.modifiers.contains(KeyModifiers::CONTROL);
    let shift = event.modifiers.contains(KeyModifiers::SHIFT);
    let code = match event.code {
        KeyCode::Char(c) if ctrl => Code::Char(control(c)),
        KeyCode::Char(c) => Code::Char(c),
        KeyCode::Enter => Code::Enter,
        KeyCode::Esc => Code::Esc,
        KeyCode::Tab => Code::Tab,
        KeyCode::BackTab => Code::BackTab,
        KeyCode::Backspace => Code::Backspace,
        KeyCode::Delete => Code::Delete,
        KeyCode::Insert => Code::Insert,
        KeyCode::Up => Code::Up,
        KeyCode::Down => Code::Down,
        KeyCode::Left => Code::Left,
        KeyCode::Right => Code::Right,
        KeyCode::Home => Code::Home,
        KeyCode::End => Code::End,
        KeyCode::PageUp => Code::PageUp,
        KeyCode::PageDown => Code::PageDown,
        KeyCode::F(number) => Code::F(number),
        KeyCode::Null => return Some(Key::ctrl(' ').into()),
        KeyCode::CapsLock
        | KeyCode::ScrollLock
        | KeyCode::NumLock
        | KeyCode::PrintScreen
        | KeyCode::Pause
        | KeyCode::Menu
        | KeyCode::KeypadBegin
        | KeyCode::Media(_)
        | KeyCode::Modifier(_) => return None,
    };
    let alt = event.modifiers.contains(KeyModifiers::ALT);
    Some(Pressed { key: Key { code, ctrl, alt }, shift })
}

/// Terminals send one byte for `ctrl-4` and `ctrl-\`, and so on; people mean the sign.
fn control(c: char) -> char {
    match c {
        '4' => '\\',
        '5' => ']',
        '6' => '^',
        '7' => '_',
        other => other.to_ascii_lowercase(),
    }
}

fn point(event: MouseEvent) -> Option<Mouse> {
    let kind = match event.kind {
        MouseEventKind::Down(MouseButton::Left) => MouseKind::Click,
        MouseEventKind::Drag(MouseButton::Left) => MouseKind::Drag,
        MouseEventKind::Up(MouseButton::Left) => MouseKind::Release,
        MouseEventKind::ScrollUp => MouseKind::WheelUp,
        MouseEventKind::ScrollDown => MouseKind::WheelDown,
        MouseEventKind::Down(_)
        | MouseEventKind::Drag(_)
        | MouseEventKind::Up(_)
        | MouseEventKind::Moved
        | MouseEventKind::ScrollLeft
        | MouseEventKind::ScrollRight => return None,
    };
    Some(Mouse { kind, column: event.column, row: event.row })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_keys_are_what_people_mean() {
        let key = |c, modifiers| press(KeyEvent::new(KeyCode::Char(c), modifiers)).unwrap().key;
        assert_eq!(key('5', KeyModifiers::CONTROL), Key::parse("ctrl-]").unwrap());
        assert_eq!(key('c', KeyModifiers::CONTROL), Key::ctrl('c'));
        assert_eq!(key('G', KeyModifiers::SHIFT), Key::char('G'));
        let released = KeyEvent::new_with_kind(KeyCode::Enter, KeyModifiers::NONE, KeyEventKind::Release);
        assert_eq!(press(released), None);
    }
}
