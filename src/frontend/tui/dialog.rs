//! What lies above the screen and takes every key: questions, the palette, long texts. What a key comes to is returned;
//! the update does it.

use super::event::{Order, Pressed};
use super::flows::question::Question;
use super::palette::Palette;
use crate::domain::ids::RunnerName;
use crate::domain::keys::{ALWAYS_QUIT, Code, Key};

#[derive(Debug, Clone, PartialEq)]
pub enum Dialog {
    /// Something that ends processes. It names them, so it acts on these whatever is highlighted by then.
    Confirm {
        order: Order,
        names: Vec<RunnerName>,
    },
    /// There are live runners: what becomes of them?
    Quit,
    /// Everything is being stopped; the end of the supervisor is the end of the dashboard.
    Leaving,
    Palette(Palette),
    /// About a run.
    Flow(Box<Question>),
    /// A long text; the offset is in wrapped lines.
    Message {
        title: String,
        text: String,
        scroll: usize,
    },
}

/// What a key of a dialog comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Decided {
    /// The dialog stays.
    Nothing,
    /// It goes, and nothing else happens.
    Close,
    Do(Order, Vec<RunnerName>),
    StopAll,
    KillAll,
    Leave,
    Scroll(Scroll),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scroll {
    Lines(isize),
    Pages(isize),
    Top,
    Bottom,
}

/// The palette is asked elsewhere: it needs to know what can be done now. So are questions about runs.
pub fn decide(dialog: &Dialog, pressed: Pressed) -> Decided {
    let key = pressed.key;
    let is = |text: &[char]| matches!(key, Key { code: Code::Char(c), ctrl: false, alt: false } if text.contains(&c));
    let enter = key == Key::plain(Code::Enter);
    let esc = key == Key::plain(Code::Esc);
    match dialog {
        Dialog::Confirm { order, names } => {
            if enter || is(&['y', 'Y']) {
                Decided::Do(*order, names.clone())
            } else if esc || is(&['n', 'N', 'q']) || key == ALWAYS_QUIT {
                Decided::Close
            } else {
                Decided::Nothing
            }
        }
        Dialog::Quit => {
            if is(&['s']) {
                Decided::StopAll
            } else if is(&['d']) {
                Decided::Leave
            } else if esc {
                Decided::Close
            } else {
                Decided::Nothing
            }
        }
        Dialog::Leaving => {
            if is(&['X']) {
                Decided::KillAll
            } else if is(&['d', 'q']) || key == ALWAYS_QUIT {
                Decided::Leave
            } else {
                Decided::Nothing
            }
        }
        Dialog::Message { .. } => {
            if is(&['q']) || enter || esc || key == ALWAYS_QUIT {
                Decided::Close
            } else {
                scrolls(key).map_or(Decided::Nothing, Decided::Scroll)
            }
        }
        Dialog::Palette(_) | Dialog::Flow(_) => Decided::Nothing,
    }
}

/// The keys that move in what is longer than its place.
pub fn scrolls(key: Key) -> Option<Scroll> {
    Some(match key.code {
        Code::Char('j') | Code::Down => Scroll::Lines(1),
        Code::Char('k') | Code::Up => Scroll::Lines(-1),
        Code::PageDown | Code::Char(' ') => Scroll::Pages(1),
        Code::PageUp => Scroll::Pages(-1),
        Code::Char('g') | Code::Home => Scroll::Top,
        Code::Char('G') | Code::End => Scroll::Bottom,
        Code::Char(_)
        | Code::Enter
        | Code::Esc
        | Code::Tab
        | Code::BackTab
        | Code::Backspace
        | Code::Delete
        | Code::Insert
        | Code::Left
        | Code::Right
        | Code::F(_) => return None,
    })
}

impl Scroll {
    /// The offset after it, in a text of `lines` of which `height` fit.
    pub fn apply(self, offset: usize, lines: usize, height: usize) -> usize {
        let last = lines.saturating_sub(height);
        let moved = match self {
            Self::Lines(by) => offset.saturating_add_signed(by),
            Self::Pages(by) => {
                let page = isize::try_from(height.saturating_sub(1).max(1)).unwrap_or(1);
                offset.saturating_add_signed(by * page)
            }
            Self::Top => 0,
            Self::Bottom => last,
        };
        moved.min(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Pressed {
        Key::parse(text).unwrap().into()
    }

    #[test]
    fn a_question_hears_only_its_own_keys() {
        let names = vec![RunnerName::trusted("a")];
        let dialog = Dialog::Confirm { order: Order::Stop, names: names.clone() };
        assert_eq!(decide(&dialog, key("y")), Decided::Do(Order::Stop, names));
        for other in ["x", "X", "j", "Space", "Tab"] {
            assert_eq!(decide(&dialog, key(other)), Decided::Nothing, "{other}");
        }
        assert_eq!(decide(&dialog, key("Esc")), Decided::Close);
        assert_eq!(decide(&Dialog::Quit, key("Enter")), Decided::Nothing);
        assert_eq!(decide(&Dialog::Quit, key("ctrl-c")), Decided::Nothing);
    }

    #[test]
    fn scrolling_stays_within_the_text() {
        assert_eq!(Scroll::Lines(-1).apply(0, 10, 4), 0);
        assert_eq!(Scroll::Pages(1).apply(0, 10, 4), 3);
        assert_eq!(Scroll::Bottom.apply(0, 10, 4), 6);
        assert_eq!(Scroll::Lines(1).apply(6, 10, 4), 6);
        assert_eq!(Scroll::Lines(1).apply(0, 3, 4), 0);
    }
}
