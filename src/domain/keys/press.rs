//! One key as it is written in a config and shown in the help: `x`, `G`, `ctrl-c`, `PgUp`. It must not know what the
//! key does.

use std::fmt;

/// A key without its modifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// Shift is in the character itself.
    Char(char),
    Enter,
    Esc,
    Tab,
    BackTab,
    Backspace,
    Delete,
    Insert,
    Up,
    Down,
    Left,
    Right,
    Home,
    End,
    PageUp,
    PageDown,
    F(u8),
}

/// A key as it was pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub code: Code,
    pub ctrl: bool,
    pub alt: bool,
}

/// The names as they are shown; read without regard to case, some also by another name.
const NAMED: &[(Code, &str, &[&str])] = &[
    (Code::Enter, "Enter", &["return", "↵"]),
    (Code::Esc, "Esc", &["escape"]),
    (Code::Tab, "Tab", &[]),
    (Code::BackTab, "BackTab", &["shift-tab"]),
    (Code::Backspace, "Backspace", &[]),
    (Code::Delete, "Delete", &["del"]),
    (Code::Insert, "Insert", &["ins"]),
    (Code::Up, "Up", &["↑"]),
    (Code::Down, "Down", &["↓"]),
    (Code::Left, "Left", &["←"]),
    (Code::Right, "Right", &["→"]),
    (Code::Home, "Home", &[]),
    (Code::End, "End", &[]),
    (Code::PageUp, "PgUp", &["pageup"]),
    (Code::PageDown, "PgDn", &["pagedown", "pgdown"]),
    (Code::Char(' '), "Space", &[]),
];

impl Key {
    pub const fn plain(code: Code) -> Self {
        Self { code, ctrl: false, alt: false }
    }

    pub const fn char(c: char) -> Self {
        Self::plain(Code::Char(c))
    }

    pub const fn ctrl(c: char) -> Self {
        Self { code: Code::Char(c), ctrl: true, alt: false }
    }

    /// `x`, `G`, `ctrl-c`, `alt-Enter`, `F5`. The error is what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut rest, mut ctrl, mut alt) = (text, false, false);
        loop {
            let after = |prefix: &str| {
                let head = rest.get(..prefix.len())?;
                // What follows the last hyphen is the key, also where that is a hyphen.
                let tail = rest.get(prefix.len()..).filter(|tail| !tail.is_empty())?;
                head.eq_ignore_ascii_case(prefix).then_some(tail)
            };
            if let Some(tail) = after("ctrl-").or_else(|| after("c-")) {
                (rest, ctrl) = (tail, true);
            } else if let Some(tail) = after("alt-").or_else(|| after("m-")) {
                (rest, alt) = (tail, true);
            } else {
                break;
            }
        }
        let code = code(rest).ok_or_else(|| {
            format!("{text:?} is no key; write one character, or a name such as Enter, PgUp, F5, ctrl-d")
        })?;
        // Terminals send the same byte for both.
        let code =
            if let (Code::Char(c), true) = (code, ctrl) { Code::Char(c.to_ascii_lowercase()) } else { code };
        Ok(Self { code, ctrl, alt })
    }
}

fn code(text: &str) -> Option<Code> {
    let mut chars = text.chars();
    if let (Some(only), None) = (chars.next(), chars.next())
        && !only.is_control()
        && !"↵↑↓←→".contains(only)
    {
        return Some(Code::Char(only));
    }
    let lower = text.to_lowercase();
    let named =
        NAMED.iter().find(|(_, name, others)| name.to_lowercase() == lower || others.contains(&&*lower));
    if let Some((code, ..)) = named {
        return Some(*code);
    }
    let number: u8 = lower.strip_prefix('f')?.parse().ok()?;
    (1..=24).contains(&number).then_some(Code::F(number))
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ctrl {
            f.write_str("ctrl-")?;
        }
        if self.alt {
            f.write_str("alt-")?;
        }
        if let Some((_, name, _)) = NAMED.iter().find(|(code, ..)| *code == self.code) {
            return f.write_str(name);
        }
        match self.code {
            Code::Char(c) => write!(f, "{c}"),
            Code::F(number) => write!(f, "F{number}"),
            other @ (Code::Enter
            | Code::Esc
            | Code::Tab
            | Code::BackTab
            | Code::Backspace
            | Code::Delete
            | Code::Insert
            | Code::Up
            | Code::Down
            | Code::Left
            | Code::Right
            | Code::Home
            | Code::End
            | Code::PageUp
            | Code::PageDown) => write!(f, "{other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_back() {
        for text in
            ["x", "G", "/", "-", "ctrl-c", "ctrl-]", "ctrl--", "alt-x", "PgUp", "F12", "Space", "BackTab"]
        {
            assert_eq!(Key::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Key::parse("CTRL-D").unwrap(), Key::ctrl('d'));
        assert_eq!(Key::parse("shift-tab").unwrap().code, Code::BackTab);
        assert_eq!(Key::parse("pagedown").unwrap().code, Code::PageDown);
    }

    #[test]
    fn what_is_no_key_says_so() {
        for text in ["", "xx", "ctrl-", "F0", "F99", "\u{1b}", "hyper-x"] {
            assert!(Key::parse(text).unwrap_err().contains("is no key"), "{text:?}");
        }
    }
}
