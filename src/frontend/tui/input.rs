//! A line that a person types: search, filter, palette. It must not know what the line is for.

use unicode_width::UnicodeWidthChar;

use crate::domain::keys::{Code, Key};

/// Longer is no search any more.
const MOST: usize = 1000;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LineInput {
    text: String,
    /// A byte offset, between two characters.
    cursor: usize,
}

/// What a key did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Typed {
    /// The text is another now.
    Changed,
    /// At most the cursor moved.
    Moved,
    /// The key is not about text.
    Ignored,
}

impl LineInput {
    pub fn new(text: &str) -> Self {
        let mut line = Self::default();
        line.insert(text);
        line
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Where the cursor stands, in columns from the start of the text.
    pub fn column(&self) -> usize {
        self.text[..self.cursor].chars().map(|c| c.width().unwrap_or(0)).sum()
    }

    pub fn press(&mut self, key: Key) -> Typed {
        match (key.code, key.ctrl) {
            (Code::Char(c), false) if !key.alt => {
                self.changed(|line| line.insert(c.encode_utf8(&mut [0; 4])))
            }
            (Code::Char('a'), true) | (Code::Home, _) => self.move_to(0),
            (Code::Char('e'), true) | (Code::End, _) => self.move_to(self.text.len()),
            (Code::Char('u'), true) => self.changed(|line| {
                line.text.drain(..line.cursor);
                line.cursor = 0;
            }),
            (Code::Char('k'), true) => self.changed(|line| line.text.truncate(line.cursor)),
            (Code::Char('w'), true) => self.changed(Self::erase_word),
            (Code::Backspace, _) | (Code::Char('h'), true) => self.changed(|line| {
                let from = line.before();
                line.text.drain(from..line.cursor);
                line.cursor = from;
            }),
            (Code::Delete, _) => self.changed(|line| {
                let to = line.after();
                line.text.drain(line.cursor..to);
            }),
            (Code::Left, _) => self.move_to(self.before()),
            (Code::Right, _) => self.move_to(self.after()),
            (
                Code::Char(_)
                | Code::Enter
                | Code::Esc
                | Code::Tab
                | Code::BackTab
                | Code::Insert
                | Code::Up
                | Code::Down
                | Code::PageUp
                | Code::PageDown
                | Code::F(_),
                _,
            ) => Typed::Ignored,
        }
    }

    /// Pasted text; what does not belong on a line is left out.
    pub fn insert(&mut self, text: &str) {
        let room = MOST.saturating_sub(self.text.chars().count());
        let plain: String = text.chars().filter(|c| !c.is_control()).take(room).collect();
        self.text.insert_str(self.cursor, &plain);
        self.cursor += plain.len();
    }

    fn changed(&mut self, change: impl FnOnce(&mut Self)) -> Typed {
        let before = self.text.len();
        change(self);
        if self.text.len() == before { Typed::Moved } else { Typed::Changed }
    }

    fn move_to(&mut self, cursor: usize) -> Typed {
        self.cursor = cursor;
        Typed::Moved
    }

    fn before(&self) -> usize {
        self.text[..self.cursor].char_indices().next_back().map_or(0, |(at, _)| at)
    }

    fn after(&self) -> usize {
        self.text[self.cursor..].chars().next().map_or(self.cursor, |c| self.cursor + c.len_utf8())
    }

    /// Spaces before the cursor, then what is no space.
    fn erase_word(&mut self) {
        let head = self.text[..self.cursor].trim_end();
        let from = head.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        self.text.drain(from..self.cursor);
        self.cursor = from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: &mut LineInput, keys: &[&str]) {
        for key in keys {
            line.press(Key::parse(key).unwrap());
        }
    }

    #[test]
    fn editing() {
        let mut line = LineInput::default();
        typed(&mut line, &["a", "b", "ä", "Left", "x"]);
        assert_eq!((line.text(), line.column()), ("abxä", 3));
        typed(&mut line, &["Delete", "Backspace", "Home", "Delete"]);
        assert_eq!((line.text(), line.column()), ("b", 0));
        line.insert("two words\x1b[2J\n");
        assert_eq!(line.text(), "two words[2Jb");
        typed(&mut line, &["ctrl-w", "ctrl-k"]);
        assert_eq!(line.text(), "two ");
        typed(&mut line, &["ctrl-w"]);
        assert!(line.is_empty());
        assert_eq!(line.press(Key::plain(Code::Enter)), Typed::Ignored);
        assert_eq!(line.press(Key::plain(Code::Backspace)), Typed::Moved);
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(LineInput::new("日本").column(), 4);
    }
}
