//! A child's bytes as text that is safe for the user's terminal: what a child prints is data. It must not know lines,
//! files or widgets.
//!
//! Control sequences (CSI, OSC, DCS and the like, with ESC or as C1 characters) are taken out, other control characters
//! become their visible pictures (`␇`), what is no UTF-8 becomes `�`. On request colours stay, rebuilt from numbers that
//! were understood. The text may come in any portions; time is linear in its length and the memory constant.

/// What of the child's control sequences stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// Nothing: the output holds no control character but newline and tab.
    #[default]
    Nothing,
    /// Colours and simple attributes (bold, underline, …), as `ESC [ numbers m`.
    Colours,
}

/// One stream of a child on its way to the terminal.
#[derive(Debug, Clone, Default)]
pub struct Sanitizer {
    keep: Keep,
    state: State,
    /// The parameters of a CSI sequence so far.
    params: String,
    /// The beginning of a UTF-8 character whose end has not come.
    carry: Vec<u8>,
    /// A colour is set and was not reset.
    coloured: bool,
}

/// Where in a control sequence the stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Text,
    /// A carriage return, which belongs to a newline or stands for itself.
    Return,
    Escape,
    /// ESC and at least one intermediate byte, as in `ESC ( B`.
    EscapeMore,
    Csi,
    /// A CSI sequence that is no colour whatever follows.
    CsiOther,
    /// OSC, DCS, SOS, PM, APC: a string up to its terminator.
    Str,
    /// ESC within a string: its end, if `\` follows.
    StrEscape,
}

/// A CSI sequence of colours is never longer.
const MAX_PARAMS: usize = 128;

const RESET: &str = "\x1b[0m";

impl Sanitizer {
    pub fn new(keep: Keep) -> Self {
        Self { keep, ..Self::default() }
    }

    /// Appends what the next portion shows to `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut String) {
        let joined;
        let mut rest = bytes;
        if !self.carry.is_empty() {
            self.carry.extend_from_slice(bytes);
            joined = std::mem::take(&mut self.carry);
            rest = &joined;
        }
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => return self.text(text, out),
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    self.text(std::str::from_utf8(valid).unwrap_or_default(), out);
                    let Some(bad) = error.error_len() else {
                        self.carry = after.to_vec();
                        return;
                    };
                    self.no_utf8(after[0], out);
                    rest = &after[bad..];
                }
            }
        }
    }

    /// The end of the stream: what was held back, and the colours reset. The sanitizer is as new afterwards.
    pub fn finish(&mut self, out: &mut String) {
        if let Some(first) = std::mem::take(&mut self.carry).first() {
            self.no_utf8(*first, out);
        }
        if self.state == State::Return {
            out.push(picture('\r'));
        }
        if self.coloured {
            out.push_str(RESET);
        }
        *self = Self::new(self.keep);
    }

    fn no_utf8(&mut self, first: u8, out: &mut String) {
        match self.state {
            // Images and the like may hold any byte; 0x9C is the 8-bit terminator.
            State::Str | State::StrEscape => {
                self.state = if first == 0x9c { State::Text } else { State::Str };
            }
            State::Text
            | State::Return
            | State::Escape
            | State::EscapeMore
            | State::Csi
            | State::CsiOther => {
                if self.state == State::Return {
                    out.push(picture('\r'));
                }
                self.state = State::Text;
                out.push(char::REPLACEMENT_CHARACTER);
            }
        }
    }

    fn text(&mut self, text: &str, out: &mut String) {
        let mut rest = text;
        while !rest.is_empty() {
            if self.state == State::Text {
                let plain = rest.find(is_special).unwrap_or(rest.len());
                out.push_str(&rest[..plain]);
                rest = &rest[plain..];
            }
            let mut chars = rest.chars();
            if let Some(c) = chars.next() {
                self.char(c, out);
                rest = chars.as_str();
            }
        }
    }

    fn char(&mut self, c: char, out: &mut String) {
        match self.state {
            State::Text => self.ground(c, out),
            State::Return => {
                if c != '\n' {
                    out.push(picture('\r'));
                }
                self.ground(c, out);
            }
            State::Escape => match c {
                '[' => self.begin_csi(),
                ']' | 'P' | 'X' | '^' | '_' => self.state = State::Str,
                ' '..='/' => self.state = State::EscapeMore,
                '0'..='~' => self.state = State::Text,
                _ => self.ground(c, out),
            },
            State::EscapeMore => match c {
                ' '..='/' => {}
                '0'..='~' => self.state = State::Text,
                _ => self.ground(c, out),
            },
            State::Csi => match c {
                '0'..='9' | ';' | ':' if self.params.len() < MAX_PARAMS => self.params.push(c),
                ' '..='?' => self.state = State::CsiOther,
                '@'..='~' => {
                    self.state = State::Text;
                    if c == 'm' && self.keep == Keep::Colours {
                        self.colour(out);
                    }
                }
                _ => self.ground(c, out),
            },
            State::CsiOther => match c {
                ' '..='?' => {}
                '@'..='~' => self.state = State::Text,
                _ => self.ground(c, out),
            },
            State::Str => match c {
                '\x1b' => self.state = State::StrEscape,
                '\x07' | '\u{9c}' | '\x18' | '\x1a' => self.state = State::Text,
                // No string is meant to hold a newline: one that was never ended must not hide the rest of the log.
                '\n' => self.ground(c, out),
                _ => {}
            },
            State::StrEscape => {
                // ESC \ is the terminator, any other ESC begins something new; read that way, both are the same.
                self.state = State::Escape;
                self.char(c, out);
            }
        }
    }

    /// A character outside of any sequence, or one that breaks a sequence off.
    fn ground(&mut self, c: char, out: &mut String) {
        self.state = State::Text;
        match c {
            '\x1b' => self.state = State::Escape,
            '\r' => self.state = State::Return,
            '\u{9b}' => self.begin_csi(),
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => self.state = State::Str,
            '\n' | '\t' => out.push(c),
            _ if is_special(c) => out.push(picture(c)),
            _ => out.push(c),
        }
    }

    fn begin_csi(&mut self) {
        self.state = State::Csi;
        self.params.clear();
    }

    fn colour(&mut self, out: &mut String) {
        let Some(codes) = understood(&self.params) else { return };
        self.coloured = codes.last() != Some(&0);
        out.push_str("\x1b[");
        for (at, code) in codes.iter().enumerate() {
            if at > 0 {
                out.push(';');
            }
            out.push_str(&code.to_string());
        }
        out.push('m');
    }
}

/// The whole of a short text at once.
pub fn sanitize(bytes: &[u8], keep: Keep) -> String {
    let mut out = String::with_capacity(bytes.len());
    let mut sanitizer = Sanitizer::new(keep);
    sanitizer.push(bytes, &mut out);
    sanitizer.finish(&mut out);
    out
}

/// The part of a line that a terminal would show in the end: a progress bar draws itself anew after each carriage
/// return.
pub fn last_drawn(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|b| *b != b'\r').map_or(0, |at| at + 1);
    let start = line[..end].iter().rposition(|b| *b == b'\r').map_or(0, |at| at + 1);
    &line[start..end]
}

/// Everything that is not simply shown. The characters that turn the direction of writing around are among it: they
/// can make one line look like another.
fn is_special(c: char) -> bool {
    matches!(c, '\0'..='\x08' | '\x0b'..='\x1f' | '\x7f'..='\u{9f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What stands for a character that must not be shown as it is.
fn picture(c: char) -> char {
    match c {
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)).unwrap_or(char::REPLACEMENT_CHARACTER),
        '\x7f' => '␡',
        _ => char::REPLACEMENT_CHARACTER,
    }
}

/// The codes of a colour sequence that are known to do nothing but colour; `None` where none is.
fn understood(params: &str) -> Option<Vec<u16>> {
    let numbers: Vec<Option<u16>> = params
        .split([';', ':'])
        .map(|number| if number.is_empty() { Some(0) } else { number.parse().ok() })
        .collect();
    let mut codes = Vec::new();
    let mut rest = &numbers[..];
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            Some(code @ (38 | 48 | 58)) => {
                let operands = match after.first() {
                    Some(Some(5)) => 2,
                    Some(Some(2)) => 4,
                    _ => return (!codes.is_empty()).then_some(codes),
                };
                let colour: Option<Vec<u16>> = after.get(..operands)?.iter().copied().collect();
                let colour = colour?;
                if colour.iter().all(|value| *value <= 255) {
                    codes.push(*code);
                    codes.extend(colour);
                }
                rest = &after[operands..];
            }
            // Blinking (5, 6), concealed (8) and fonts are left out.
            Some(
                code
                @ (0..=4 | 7 | 9 | 21..=25 | 27..=37 | 39..=47 | 49 | 53 | 55 | 59 | 90..=97 | 100..=107),
            ) => {
                codes.push(*code);
            }
            _ => {}
        }
    }
    (!codes.is_empty()).then_some(codes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sequences_are_taken_out_and_text_stays() {
        for (bytes, shown) in [
            (&b"plain\ttext\n"[..], "plain\ttext\n"),
            (b"\x1b[31mred\x1b[0m", "red"),
            (b"\x1b[2J\x1b[H\x1b[?1049hx", "x"),
            (b"\x1b]0;title\x07a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "alink"),
            (b"\x1bPq#0;2;0;0;0\xff\x80sixel\x1b\\b", "b"),
            (b"\x1b]52;c;c2VjcmV0\x9cafter", "after"),
            (b"\x1b(Bg\x1bcr\x1b7", "gr"),
            (b"\xc2\x9b31mred\xc2\x9d0;t\xc2\x9cx", "redx"),
            (b"bell\x07 nul\0 del\x7f", "bell␇ nul␀ del␡"),
            (b"one\r\ntwo\rthree\r", "one\ntwo␍three␍"),
            (b"never ended \x1b]0;title\nnext line\n", "never ended \nnext line\n"),
            (b"cut \x1b[3\nnext", "cut \nnext"),
            ("cut \x1b[3ünext".as_bytes(), "cut ünext"),
            (b"\x1b\x1b[31mx", "x"),
            (b"\xff\xfe \xe2\x82 \xe2\x82\xac \xf0", "\u{fffd}\u{fffd} \u{fffd} € \u{fffd}"),
            (b"\x9b31m", "\u{fffd}31m"),
            ("a\u{202e}b\u{2066}c".as_bytes(), "a\u{fffd}b\u{fffd}c"),
            (b"ends in a sequence \x1b[", "ends in a sequence "),
        ] {
            assert_eq!(sanitize(bytes, Keep::Nothing), shown, "{:?}", bytes.escape_ascii().to_string());
        }
    }

    #[test]
    fn colours_stay_where_they_are_understood() {
        for (bytes, shown) in [
            ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
            ("\x1b[1;38;5;200mx\x1b[m", "\x1b[1;38;5;200mx\x1b[0m"),
            ("\x1b[38:2:1:2:3mx\x1b[0m", "\x1b[38;2;1;2;3mx\x1b[0m"),
            ("\x1b[8mhidden\x1b[5mblinks", "hiddenblinks"),
            ("\x1b[8;32mgreen", "\x1b[32mgreen\x1b[0m"),
            ("\x1b[38;5;999mx\x1b[38;9;1my\x1b[99999mz\x1b[38;2;1m", "xyz"),
            ("\x1b[?25l\x1b[>4;2mx\x1b[31 mx", "xx"),
        ] {
            assert_eq!(sanitize(bytes.as_bytes(), Keep::Colours), shown, "{bytes:?}");
        }
    }

    #[test]
    fn the_last_drawing_of_a_line_is_what_counts() {
        for (line, shown) in
            [("10%\r50%\r100%", "100%"), ("done\r", "done"), ("plain", "plain"), ("\r\r", ""), ("", "")]
        {
            assert_eq!(last_drawn(line.as_bytes()), shown.as_bytes(), "{line:?}");
        }
    }

    /// Bytes in which sequences, broken ones too, are likely.
    fn hostile() -> impl Strategy<Value = Vec<u8>> {
        let portion = prop_oneof![
            proptest::sample::select(vec![
                &b"\x1b["[..],
                b"\x1b]0;",
                b"\x1bP",
                b"\x1b\\",
                b"\x1b",
                b"\xc2\x9b",
                b"\xc2",
                b"\x9b",
                b"\xc2\x9c",
                b"m",
                b"31",
                b";",
                b"38;5;",
                b"?",
                b"\r",
                b"\n",
                b"\x07",
                "\u{20ac}".as_bytes(),
                b"\xe2\x82",
                b"text",
                b"\x18",
            ])
            .prop_map(<[u8]>::to_vec),
            proptest::collection::vec(any::<u8>(), 0..4),
        ];
        proptest::collection::vec(portion, 0..40).prop_map(|portions| portions.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn no_control_character_ever_comes_out(bytes in hostile()) {
            let shown = sanitize(&bytes, Keep::Nothing);
            prop_assert!(!shown.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{shown:?}");
        }

        #[test]
        fn nothing_but_colours_comes_out(bytes in hostile()) {
            let shown = sanitize(&bytes, Keep::Colours);
            let colours = regex::Regex::new("\x1b\\[[0-9;]+m").unwrap();
            let without = colours.replace_all(&shown, "");
            prop_assert!(!without.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{shown:?}");
            prop_assert_eq!(without, sanitize(&bytes, Keep::Nothing));
            let last = colours.find_iter(&shown).last();
            prop_assert!(last.is_none_or(|m| m.as_str().ends_with("[0m") || m.as_str().ends_with(";0m")), "{shown:?}");
        }

        #[test]
        fn portions_do_not_matter(bytes in hostile(), size in 1_usize..9) {
            let mut shown = String::new();
            let mut sanitizer = Sanitizer::new(Keep::Colours);
            for portion in bytes.chunks(size) {
                sanitizer.push(portion, &mut shown);
            }
            sanitizer.finish(&mut shown);
            prop_assert_eq!(shown, sanitize(&bytes, Keep::Colours));
        }
    }
}
