//! Text that is no JSON, explained: what stands there, what should, and the usual slip behind it.

use jsonc_parser::ParseStringErrorKind;
use jsonc_parser::errors::{ParseError, ParseErrorKind};

use super::diagnostic::{Problem, Severity, quoted};

/// What to put into a config that is not there yet.
pub(super) const BEGIN: &str = r#"begin with { "runners": { "hello": { "command": "echo hello" } } }"#;

fn problem(start: usize, end: usize, message: impl Into<String>, hint: impl Into<String>) -> Problem {
    Problem {
        severity: Severity::Error,
        path: String::new(),
        span: start..end.max(start),
        message: message.into(),
        hint: Some(hint.into()),
        missing: false,
    }
}

pub(super) fn empty() -> Problem {
    problem(0, 0, "the file is empty", BEGIN)
}

/// A quote that is not closed on its line. The parser would run on to the next quote and complain there.
pub(super) fn line_break_in_text(text: &str) -> Option<Problem> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'/' => at = after_comment(bytes, at),
            b'"' => {
                let start = at;
                at += 1;
                loop {
                    match bytes.get(at) {
                        Some(b'"') | None => break,
                        Some(b'\n') => {
                            let message = "the text that starts here is not closed on its line";
                            let hint = "close it with \"; a line break inside a text is written \\n";
                            return Some(problem(start, at, message, hint));
                        }
                        Some(b'\\') => at += 2,
                        Some(_) => at += 1,
                    }
                }
                at += 1;
            }
            _ => at += 1,
        }
    }
    None
}

/// The offset behind a comment that starts at `at`, or behind the slash where there is none.
fn after_comment(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or(&[]);
    if rest.starts_with(b"//") {
        at + rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len())
    } else if rest.starts_with(b"/*") {
        let end = rest.windows(2).skip(2).position(|pair| pair == b"*/");
        end.map_or(bytes.len(), |end| at + end + 4)
    } else {
        at + 1
    }
}

/// Whether a comma stands between two values, comments aside.
pub(super) fn has_comma(gap: &str) -> bool {
    let bytes = gap.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b',' => return true,
            b'/' => at = after_comment(bytes, at),
            _ => at += 1,
        }
    }
    false
}

pub(super) fn explain(text: &str, error: &ParseError) -> Problem {
    let range = error.range();
    let start = text.floor_char_boundary(range.start);
    let found = text.get(start..).and_then(|rest| rest.chars().next());
    let (message, hint): (String, String) = match error.kind() {
        ParseErrorKind::UnterminatedObject => return unclosed(text, start, '{', '}'),
        ParseErrorKind::UnterminatedArray => return unclosed(text, start, '[', ']'),
        ParseErrorKind::UnterminatedCommentBlock => {
            ("this comment is not closed".into(), "close it with */".into())
        }
        ParseErrorKind::MultipleRootJsonValues => match found {
            Some(c @ ('}' | ']')) => {
                (format!("one \"{c}\" too many"), "everything is closed already before it".into())
            }
            _ => (
                "there is more behind the end of the config".into(),
                "a config is one { … }; is a brace closed too early?".into(),
            ),
        },
        ParseErrorKind::ExpectedColonAfterObjectKey => return colon(text, start, found),
        ParseErrorKind::UnexpectedCloseBrace if !after_colon(text, start) => wrong_bracket('}', ']'),
        ParseErrorKind::UnexpectedTokenInObject if found == Some(']') => wrong_bracket(']', '}'),
        ParseErrorKind::ExpectedObjectValue
        | ParseErrorKind::UnexpectedCloseBrace
        | ParseErrorKind::UnexpectedCloseBracket => {
            ("a value is missing here".into(), "a key is followed by a colon and a value".into())
        }
        ParseErrorKind::UnexpectedComma => {
            ("a value is missing before this comma".into(), "remove the comma or add the value".into())
        }
        ParseErrorKind::UnexpectedTokenInObject if found == Some(',') => {
            ("one comma too many".into(), "remove it".into())
        }
        ParseErrorKind::UnexpectedTokenInObject => {
            (format!("expected a key, found {}", shown(found)), "a key is a text in double quotes".into())
        }
        ParseErrorKind::UnexpectedColon => {
            ("a colon where a value should be".into(), "only a key in { … } is followed by a colon".into())
        }
        ParseErrorKind::UnexpectedWord => word(text, start),
        ParseErrorKind::UnexpectedToken if found.is_some_and(char::is_alphabetic) => word(text, start),
        ParseErrorKind::UnexpectedToken => token(found),
        ParseErrorKind::String(kind) => in_text(kind),
        ParseErrorKind::ExpectedDigit
        | ParseErrorKind::ExpectedDigitFollowingNegativeSign
        | ParseErrorKind::ExpectedPlusMinusOrDigitInNumberLiteral => {
            ("this number breaks off".into(), "write it in plain decimal: 5, 0.5, 1e3".into())
        }
        ParseErrorKind::NestingDepthExceeded => {
            ("nested too deeply".into(), "a config needs four levels".into())
        }
        other @ (ParseErrorKind::BareDecimalPointNumbersNotAllowed
        | ParseErrorKind::CommentsNotAllowed
        | ParseErrorKind::ExpectedStringObjectProperty
        | ParseErrorKind::HexadecimalNumbersNotAllowed
        | ParseErrorKind::ExpectedComma
        | ParseErrorKind::NonFiniteNumbersNotAllowed
        | ParseErrorKind::SingleQuotedStringsNotAllowed
        | ParseErrorKind::TrailingCommasNotAllowed
        | ParseErrorKind::UnaryPlusNumbersNotAllowed) => {
            (other.to_string().to_lowercase(), "the file has to be JSON".into())
        }
    };
    problem(start, range.end, message, hint)
}

fn after_colon(text: &str, start: usize) -> bool {
    text.get(..start).is_some_and(|before| before.trim_end().ends_with(':'))
}

fn wrong_bracket(found: char, expected: char) -> (String, String) {
    (format!("\"{found}\" where a \"{expected}\" should be"), format!("add the \"{expected}\" before it"))
}

fn shown(found: Option<char>) -> String {
    found.map_or_else(|| "the end of the file".into(), |c| quoted(&c.to_string()))
}

fn colon(text: &str, start: usize, found: Option<char>) -> Problem {
    // `022` is read as the number 0, and 22 as the next key.
    let before = text.get(..start).unwrap_or("");
    let digits = before.len() - before.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let number = before.len() - digits;
    if digits > 1 && before.get(number..).is_some_and(|number| number.starts_with('0')) {
        let message = "a number may not start with 0";
        return problem(number, start, message, "write an octal mask as text: \"022\"");
    }
    let message = format!("expected a colon after the key, found {}", shown(found));
    problem(start, start + 1, message, "write \"key\": value")
}

fn word(text: &str, start: usize) -> (String, String) {
    let rest = text.get(start..).unwrap_or("");
    let end = rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-'))).unwrap_or(rest.len());
    let word = rest.get(..end).unwrap_or("");
    let hint = match word.to_lowercase().as_str() {
        "true" | "yes" | "on" => "write true".into(),
        "false" | "no" | "off" => "write false".into(),
        "none" | "nil" | "undefined" => "write null".into(),
        _ => "a text needs double quotes".into(),
    };
    (format!("expected a value, found {}", quoted(word)), hint)
}

fn token(found: Option<char>) -> (String, String) {
    let hint = match found {
        Some('#') => "a comment starts with // here",
        Some('“' | '”' | '„' | '‘' | '’' | '«' | '»' | '`') => "use the plain double quote: \"",
        Some('=') => "a key is followed by a colon: \"key\": value",
        Some(';') => "values are parted by commas",
        Some('}' | ']') => "a value is missing, or a bracket is of the wrong kind",
        _ => "a text needs double quotes",
    };
    (format!("{} does not belong here", shown(found)), hint.into())
}

fn in_text(kind: &ParseStringErrorKind) -> (String, String) {
    let hint = match kind {
        ParseStringErrorKind::UnterminatedStringLiteral => {
            return ("the text that starts here is not closed".into(), "close it with \"".into());
        }
        ParseStringErrorKind::InvalidEscapeInSingleQuoteString
        | ParseStringErrorKind::InvalidEscapeInDoubleQuoteString
        | ParseStringErrorKind::InvalidEscape => r"a backslash inside a text is written twice: \\d",
        ParseStringErrorKind::ExpectedFourHexDigits
        | ParseStringErrorKind::ExpectedTwoHexDigits
        | ParseStringErrorKind::InvalidUnicodeEscapeSequence(_) => {
            r"write the character itself, or \u with four hex digits"
        }
    };
    ("a backslash starts nothing that JSON knows".into(), hint.into())
}

fn unclosed(text: &str, start: usize, open: char, close: char) -> Problem {
    let message = format!("this \"{open}\" is never closed");
    let hint = match suspect(text) {
        Some(line) => format!("add a \"{close}\"; by its indentation the one opened on line {line} lacks it"),
        None => format!("add a \"{close}\" at its end"),
    };
    problem(start, start + 1, message, hint)
}

/// The line of the first bracket that is closed by one that is indented less, which people rarely mean.
fn suspect(text: &str) -> Option<usize> {
    let mut open: Vec<(usize, usize)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let bytes = line.as_bytes();
        let (mut at, mut quoted) = (0, false);
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'\\' if quoted => at += 1,
                b'"' => quoted = !quoted,
                b'/' if !quoted && bytes.get(at + 1) == Some(&b'/') => break,
                b'{' | b'[' if !quoted => open.push((number + 1, indent)),
                b'}' | b']' if !quoted => {
                    let (opened, its_indent) = open.pop()?;
                    if opened != number + 1 && indent < its_indent {
                        return Some(opened);
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }
    None
}
