//! Readers for the values that have a form of their own: signals, sizes, exit codes, patterns, commands, variables.

use std::collections::BTreeMap;

use regex::bytes::Regex;

use super::diagnostic::quoted;
use super::keys::{self, LIMITS, MIN_LOG_BYTES};
use super::read::{At, Reader};
use super::tree::{Node, Value};
use crate::domain::spec::{Limit, LimitValue, Pattern};
use crate::domain::verdict::parse_signal;

/// A command as it was written; variables are not expanded yet.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum RawCommand {
    Shell(At<String>),
    /// Never empty.
    Argv(Vec<At<String>>),
}

/// The kernel takes no single argument above this, its NUL included (`MAX_ARG_STRLEN`).
pub(super) const MAX_ARG: usize = 128 << 10;

const WORDS_OF_A_SHELL: [&str; 8] = ["&&", "||", "|", ">", ">>", "<", ";", "2>&1"];

pub(super) fn command(reader: &mut Reader<'_>, item: &Node<'_>) -> Option<RawCommand> {
    const WHAT: &str = "a command: a list of program and arguments, or a text for sh";
    match &item.value {
        Value::Text(_) => {
            let text = reader.filled(item, WHAT)?;
            fits(reader, item, &text)?;
            Some(RawCommand::Shell(At { value: text, spot: item.spot }))
        }
        Value::List(nodes) if nodes.is_empty() => reader.expected(item, WHAT),
        Value::List(_) => {
            let argv = reader.list(item, |reader, item| {
                let text = reader.text(item, "an argument as text")?;
                fits(reader, item, &text)?;
                Some(At { value: text, spot: item.spot })
            })?;
            let program = argv.first()?;
            if program.value.trim().is_empty() {
                let hint = "the first item of a command names what to run".to_owned();
                reader.error(program.spot, "the program has no name", Some(hint));
                return None;
            }
            if let Some(word) = argv.iter().find(|arg| WORDS_OF_A_SHELL.contains(&arg.value.as_str())) {
                let message =
                    format!("{} is handed to {} as an argument", quoted(&word.value), quoted(&program.value));
                let hint = "write the command as one text to have sh read it".to_owned();
                reader.warn(word.spot, message, Some(hint));
            }
            Some(RawCommand::Argv(argv))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => reader.expected(item, WHAT),
    }
}

fn fits(reader: &mut Reader<'_>, item: &Node<'_>, text: &str) -> Option<()> {
    if text.len() < MAX_ARG {
        return Some(());
    }
    let message = format!("one argument of {} bytes; the kernel takes {} at most", text.len(), MAX_ARG - 1);
    reader.error(item.spot, message, Some("hand long text over in a file or on stdin".into()));
    None
}

pub(super) fn signal(reader: &mut Reader<'_>, item: &Node<'_>) -> Option<i32> {
    const WHAT: &str = "a signal such as \"TERM\", \"INT\" or 15";
    const USUAL: [&str; 8] = ["TERM", "INT", "HUP", "QUIT", "KILL", "USR1", "USR2", "ABRT"];
    let text = match &item.value {
        Value::Number(text) => text,
        Value::Text(text) => &**text,
        Value::Null | Value::Bool(_) | Value::List(_) | Value::Object(_) => {
            return reader.expected(item, WHAT);
        }
    };
    if let Some(signal) = parse_signal(text) {
        return Some(signal);
    }
    let bare = text.to_ascii_uppercase();
    let likely = keys::closest(bare.strip_prefix("SIG").unwrap_or(&bare), USUAL.into_iter());
    reader.expected_with(item, WHAT, likely.map(|name| format!("did you mean \"{name}\"?")))
}

pub(super) fn log_size(reader: &mut Reader<'_>, item: &Node<'_>) -> Option<u64> {
    let bytes = size(reader, item, "a size such as 1048576, \"10MB\" or \"1GiB\"")?;
    if bytes < MIN_LOG_BYTES {
        let hint = "write null to turn it off".to_owned();
        return reader.expected_with(item, &format!("at least {MIN_LOG_BYTES} bytes"), Some(hint));
    }
    Some(bytes)
}

fn size(reader: &mut Reader<'_>, item: &Node<'_>, what: &str) -> Option<u64> {
    match &item.value {
        Value::Text(text) => match parse_size(text) {
            Some(bytes) => Some(bytes),
            None => reader.expected(item, what),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) | Value::Object(_) => {
            reader.integer(item, what)
        }
    }
}

/// `512`, `10MB` (a million each), `1.5 GiB` (2^30 each).
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1_048_576.0,
        "gib" => 1_073_741_824.0,
        "tib" => 1_099_511_627_776.0,
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * factor;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the range compared")]
    (0.0..=1e18).contains(&bytes).then_some(bytes as u64)
}

pub(super) fn codes(reader: &mut Reader<'_>, item: &Node<'_>) -> Option<Vec<i32>> {
    const WHAT: &str = "an exit code from 0 to 255";
    reader.list(item, |reader, item| match reader.integer(item, WHAT)? {
        code @ 0..=255 => i32::try_from(code).ok(),
        _ => reader.expected(item, WHAT),
    })
}

pub(super) fn patterns(reader: &mut Reader<'_>, item: &Node<'_>) -> Option<Vec<Pattern>> {
    reader.list(item, |reader, item| {
        let text = reader.text(item, "a regular expression as text")?;
        if text.is_empty() {
            return reader.expected_with(
                item,
                "a regular expression",
                Some("an empty one matches everything".into()),
            );
        }
        match Regex::new(&text) {
            Ok(regex) => Some(Pattern(regex)),
            Err(error) => {
                let message = format!("bad regular expression {}: {}", quoted(&text), regex_trouble(&error));
                reader.error(item.spot, message, regex_hint(&text));
                None
            }
        }
    })
}

/// The last line of the message says what; the lines before draw the place.
fn regex_trouble(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or("").trim();
    last.strip_prefix("error: ").unwrap_or(last).trim_end_matches('.').to_owned()
}

fn regex_hint(text: &str) -> Option<String> {
    let clever = ["(?=", "(?!", "(?<=", "(?<!"].iter().any(|form| text.contains(form));
    clever.then(|| "write it without look-around; what must not match goes into no_retry_on_output".into())
}

pub(super) fn globs(reader: &mut Reader<'_>, item: &Node<'_>) -> Option<Vec<String>> {
    reader.list(item, glob)
}

pub(super) fn glob(reader: &mut Reader<'_>, item: &Node<'_>) -> Option<String> {
    let text = reader.filled(item, "a file pattern such as \"out/**/*.png\"")?;
    match globset::Glob::new(&text) {
        Ok(_) => Some(text),
        Err(error) => {
            let message = format!("bad file pattern {}: {}", quoted(&text), error.kind());
            reader.error(item.spot, message, None);
            None
        }
    }
}

pub(super) fn texts(reader: &mut Reader<'_>, item: &Node<'_>, what: &str) -> Option<Vec<At<String>>> {
    reader.list(item, |reader, item| reader.filled(item, what).map(|value| At { value, spot: item.spot }))
}

pub(super) fn umask(reader: &mut Reader<'_>, item: &Node<'_>) -> Option<u32> {
    const WHAT: &str = "an octal mask as text, from \"000\" to \"777\"";
    match &item.value {
        Value::Text(text) => {
            let digits = !text.is_empty() && text.len() <= 4 && text.chars().all(|c| c.is_digit(8));
            match u32::from_str_radix(text, 8) {
                Ok(mask @ 0..=0o777) if digits => Some(mask),
                _ => reader.expected(item, WHAT),
            }
        }
        Value::Number(literal) => {
            reader.expected_with(item, WHAT, Some(format!("write it in quotes: \"{literal:0>3}\"")))
        }
        Value::Null | Value::Bool(_) | Value::List(_) | Value::Object(_) => reader.expected(item, WHAT),
    }
}

pub(super) fn limits(reader: &mut Reader<'_>, item: &Node<'_>) -> Option<BTreeMap<Limit, At<LimitValue>>> {
    const WHAT: &str = "a whole number, a size such as \"1GiB\", or \"unlimited\"";
    let members = reader.members(item, "an object such as { \"nofile\": 1024 }")?;
    let mut limits = BTreeMap::new();
    let mut whole = true;
    for member in members {
        let inner = &member.value;
        let Some(name) = limit(&member.key) else {
            let hint = match keys::closest(&member.key, LIMITS.into_iter()) {
                Some(name) => format!("did you mean \"{name}\"?"),
                None => format!("there are: {}", LIMITS.join(", ")),
            };
            reader.error(member.key_spot, "unknown limit", Some(hint));
            whole = false;
            continue;
        };
        let value = match &inner.value {
            Value::Text(text) if text == "unlimited" => Some(LimitValue::Unlimited),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Text(_)
            | Value::List(_)
            | Value::Object(_) => size(reader, inner, WHAT).map(LimitValue::At),
        };
        match value {
            Some(value) => _ = limits.insert(name, At { value, spot: inner.spot }),
            None => whole = false,
        }
    }
    whole.then_some(limits)
}

fn limit(name: &str) -> Option<Limit> {
    Some(match name {
        "nofile" => Limit::Nofile,
        "nproc" => Limit::Nproc,
        "as" => Limit::As,
        "core" => Limit::Core,
        "cpu" => Limit::Cpu,
        "data" => Limit::Data,
        "fsize" => Limit::Fsize,
        "memlock" => Limit::Memlock,
        "stack" => Limit::Stack,
        _ => return None,
    })
}

/// Variables as they were written; expanded later. A value never appears in a message: it may be a secret.
pub(super) fn env(reader: &mut Reader<'_>, item: &Node<'_>) -> Option<BTreeMap<String, At<String>>> {
    let members = reader.members(item, "an object such as { \"NAME\": \"value\" }")?;
    let mut vars = BTreeMap::new();
    for member in members {
        let (inner, key) = (&member.value, member.key_spot);
        if member.key.is_empty() {
            reader.error(key, "a variable needs a name", None);
        } else if member.key.contains('=') {
            let hint = "the name is the key, the value stands behind the colon".to_owned();
            reader.error(key, "the name of a variable may not hold \"=\"", Some(hint));
        } else if member.key.contains('\0') {
            reader.error(key, "the name of a variable may not hold a NUL byte", None);
        }
        let spot = inner.spot;
        let value = match &inner.value {
            Value::Text(text) if text.contains('\0') => {
                reader.error(spot, "the value holds a NUL byte", None);
                continue;
            }
            Value::Text(text) => text.to_string(),
            Value::Number(literal) => (*literal).to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Null => {
                let hint = "a variable cannot be taken away; write \"\" for an empty one".to_owned();
                reader.expected_with::<()>(inner, "text, a number or true/false", Some(hint));
                continue;
            }
            Value::List(_) | Value::Object(_) => {
                reader.expected::<()>(inner, "text, a number or true/false");
                continue;
            }
        };
        vars.insert(member.key.to_string(), At { value, spot });
    }
    Some(vars)
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("512", Some(512)),
            ("10MB", Some(10_000_000)),
            ("1GiB", Some(1 << 30)),
            ("1.5 KiB", Some(1536)),
            ("2g", Some(2_000_000_000)),
            ("", None),
            ("MB", None),
            ("-1", None),
            ("1 XB", None),
            ("1e3", None),
            ("9999999999999 TB", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
    }
}
