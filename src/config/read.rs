//! From a node of the tree to a value of one kind, or a problem that says what was expected and what was found.
//! Nothing here looks at the disk, and nothing knows which key wants which kind.

use std::time::Duration;

use super::diagnostic::{Problem, Severity, quoted};
use super::keys::{self, Key, Kind, Place};
pub(super) use super::tree::Spot;
use super::tree::{Member, Node, Value};

/// A value that was read, with its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct At<T> {
    pub value: T,
    pub spot: Spot,
}

/// The members of one object that may stand there, each with what the table says of its key.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    pub place: Place,
    pub known: Vec<(&'static Key, &'a Member<'a>)>,
    /// Bits of the keys that are there: most of those that are asked for are not.
    there: u64,
}

/// One bit of each key.
fn bit(key: &str) -> u64 {
    let last = key.as_bytes().last().copied().unwrap_or(0);
    1 << ((key.len() ^ usize::from(last) << 2) % 64)
}

impl<'a> Fields<'a> {
    fn find(&self, key: &str) -> Option<(&'static Key, &'a Member<'a>)> {
        if self.there & bit(key) == 0 {
            return None;
        }
        self.known.iter().find(|(_, member)| member.key == key).copied()
    }

    pub(super) fn item(&self, key: &str) -> Option<&'a Node<'a>> {
        self.find(key).map(|(_, member)| &member.value)
    }

    /// Reads the value of a key, where it is set.
    pub(super) fn take<T>(
        &self,
        key: &str,
        read: impl FnOnce(&'a Node<'a>, Kind) -> Option<T>,
    ) -> Option<At<T>> {
        let (known, Member { value: item, .. }) = self.find(key)?;
        Some(At { value: read(item, known.kind)?, spot: item.spot })
    }

    /// The same for a key whose null means "off".
    pub(super) fn take_or_off<T>(
        &self,
        key: &str,
        read: impl FnOnce(&'a Node<'a>, Kind) -> Option<T>,
    ) -> Option<At<Option<T>>> {
        self.take(
            key,
            |item, kind| if item.value == Value::Null { Some(None) } else { read(item, kind).map(Some) },
        )
    }
}

/// Collects problems while values are read.
#[derive(Debug, Default)]
pub(super) struct Reader<'t> {
    pub problems: Vec<Problem>,
    /// The whole config, where it could be parsed.
    pub root: Option<&'t Node<'t>>,
}

impl Reader<'_> {
    pub(super) fn error(&mut self, spot: Spot, message: impl Into<String>, hint: Option<String>) {
        self.report(Severity::Error, spot, message.into(), hint, false);
    }

    pub(super) fn warn(&mut self, spot: Spot, message: impl Into<String>, hint: Option<String>) {
        self.report(Severity::Warning, spot, message.into(), hint, false);
    }

    /// The text is fine, but the disk does not have what it names.
    pub(super) fn missing(&mut self, spot: Spot, message: impl Into<String>, hint: Option<String>) {
        self.report(Severity::Error, spot, message.into(), hint, true);
    }

    fn report(
        &mut self,
        severity: Severity,
        spot: Spot,
        message: String,
        hint: Option<String>,
        missing: bool,
    ) {
        let (path, span) = (self.path(spot), spot.range());
        self.problems.push(Problem { severity, path, span, message, hint, missing });
    }

    /// A key that is not there has a path, and the place where it could be.
    pub(super) fn absent(&mut self, path: &str, spot: Spot, message: &str, hint: &str) {
        let (path, message, hint) = (path.to_owned(), message.to_owned(), Some(hint.to_owned()));
        let span = spot.range();
        self.problems.push(Problem { severity: Severity::Error, path, span, message, hint, missing: false });
    }

    /// `runners.agent.command[0]`, of what stands there.
    pub(super) fn path(&self, spot: Spot) -> String {
        self.root.map(|root| root.path(spot.start())).unwrap_or_default()
    }

    pub(super) fn expected<T>(&mut self, item: &Node<'_>, what: &str) -> Option<T> {
        self.expected_with(item, what, None)
    }

    pub(super) fn expected_with<T>(
        &mut self,
        item: &Node<'_>,
        what: &str,
        hint: Option<String>,
    ) -> Option<T> {
        self.error(item.spot, format!("expected {what}, found {}", found(&item.value)), hint);
        None
    }

    /// An object whose keys are those of `place`; unknown ones are reported.
    pub(super) fn object<'a>(&mut self, item: &'a Node<'a>, place: Place) -> Option<Fields<'a>> {
        let members = self.members(item, "an object { … }")?;
        let mut known = Vec::with_capacity(members.len());
        let mut there = 0;
        for member in members {
            match place.key(&member.key) {
                Some(key) => {
                    known.push((key, member));
                    there |= bit(&member.key);
                }
                None => self.error(member.key_spot, "unknown key", keys::suggest(place, &member.key)),
            }
        }
        Some(Fields { place, known, there })
    }

    /// An object with keys of the user's choice.
    pub(super) fn members<'a>(&mut self, item: &'a Node<'a>, what: &str) -> Option<&'a [Member<'a>]> {
        match &item.value {
            Value::Object(members) => Some(members),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => {
                self.expected(item, what)
            }
        }
    }

    pub(super) fn boolean(&mut self, item: &Node<'_>) -> Option<bool> {
        match &item.value {
            Value::Bool(value) => Some(*value),
            Value::Text(text) if matches!(&**text, "true" | "false") => {
                self.expected_with(item, "true or false", Some(format!("write {text} without quotes")))
            }
            Value::Null | Value::Number(_) | Value::Text(_) | Value::List(_) | Value::Object(_) => {
                self.expected(item, "true or false")
            }
        }
    }

    pub(super) fn whole(&mut self, item: &Node<'_>, kind: Kind) -> Option<u32> {
        let (min, max) =
            if let Kind::Whole { min, max } = kind { (min, max) } else { (0, u64::from(u32::MAX)) };
        let what = if max == u64::from(u32::MAX) {
            format!("a whole number of at least {min}")
        } else {
            format!("a whole number from {min} to {max}")
        };
        match self.integer(item, &what)? {
            value if value < min => self.expected(item, &what),
            value if value > max => self.expected(item, &format!("at most {max}")),
            value => u32::try_from(value).ok(),
        }
    }

    /// A whole number that is not negative, also where it is written as `3.0` or `1e3`.
    pub(super) fn integer(&mut self, item: &Node<'_>, what: &str) -> Option<u64> {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let literal = self.literal(item, what)?;
        if let Ok(whole) = literal.parse::<u64>() {
            return Some(whole);
        }
        match literal.parse::<f64>() {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "whole and within the range just compared"
            )]
            Ok(value) if value.fract() == 0.0 && (0.0..=EXACT).contains(&value) => Some(value as u64),
            _ => self.expected(item, what),
        }
    }

    fn literal<'a>(&mut self, item: &Node<'a>, what: &str) -> Option<&'a str> {
        match &item.value {
            Value::Number(literal) => Some(literal),
            Value::Text(text) if text.parse::<f64>().is_ok_and(f64::is_finite) => {
                self.expected_with(item, what, Some(format!("write {text} without quotes")))
            }
            Value::Null | Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Object(_) => {
                self.expected(item, what)
            }
        }
    }

    pub(super) fn number(&mut self, item: &Node<'_>, kind: Kind) -> Option<f64> {
        let (min, max) = if let Kind::Number { min, max } = kind { (min, max) } else { (f64::MIN, f64::MAX) };
        let what = format!("a number of at least {min}");
        let literal = self.literal(item, &what)?;
        match literal.parse::<f64>() {
            Ok(value) if value > max => self.expected(item, &format!("at most {max}")),
            Ok(value) if value >= min => Some(value),
            _ => self.expected(item, &what),
        }
    }

    pub(super) fn seconds(&mut self, item: &Node<'_>, kind: Kind) -> Option<Duration> {
        let (min, off) = if let Kind::SecondsOrNull { min } = kind {
            (min, true)
        } else if let Kind::Seconds { min } = kind {
            (min, false)
        } else {
            (0.0, false)
        };
        let what = format!("a number of seconds of at least {min}");
        let hint = off.then(|| "write null to turn it off".to_owned());
        let literal = self.literal(item, &what)?;
        match literal.parse::<f64>() {
            Ok(value) if value > keys::MAX_SECONDS => {
                self.expected(item, &format!("at most {} seconds (10 years)", keys::MAX_SECONDS))
            }
            Ok(value) if value >= min => Duration::try_from_secs_f64(value.abs()).ok(),
            _ => self.expected_with(item, &what, hint),
        }
    }

    /// One of the words of the table.
    pub(super) fn word(&mut self, item: &Node<'_>, kind: Kind) -> Option<&'static str> {
        let words = if let Kind::Word(words) = kind { words } else { &[] };
        let all = words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        let what = format!("one of {all}");
        let text = match &item.value {
            Value::Text(text) => &**text,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) | Value::Object(_) => {
                return self.expected(item, &what);
            }
        };
        if let Some(word) = words.iter().find(|word| **word == text) {
            return Some(word);
        }
        let likely = keys::closest(text, words.iter().copied());
        self.expected_with(item, &what, likely.map(|word| format!("did you mean \"{word}\"?")))
    }

    /// Any text without NUL bytes; the system could take no other.
    pub(super) fn text(&mut self, item: &Node<'_>, what: &str) -> Option<String> {
        match &item.value {
            Value::Text(text) if text.contains('\0') => {
                let hint = "the system takes it for the end of the text".to_owned();
                self.error(item.spot, "the text holds a NUL byte", Some(hint));
                None
            }
            Value::Text(text) => Some(text.to_string()),
            Value::Number(literal) => {
                self.expected_with(item, what, Some(format!("write it in quotes: \"{literal}\"")))
            }
            Value::Null | Value::Bool(_) | Value::List(_) | Value::Object(_) => self.expected(item, what),
        }
    }

    pub(super) fn filled(&mut self, item: &Node<'_>, what: &str) -> Option<String> {
        let text = self.text(item, what)?;
        if text.trim().is_empty() {
            return self.expected(item, what);
        }
        Some(text)
    }

    /// One value or a list of them.
    pub(super) fn list<'a, T>(
        &mut self,
        item: &'a Node<'a>,
        mut read: impl FnMut(&mut Self, &'a Node<'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        match &item.value {
            Value::List(nodes) => {
                // Every item is looked at, also behind a bad one.
                let items: Vec<Option<T>> = nodes.iter().map(|node| read(self, node)).collect();
                items.into_iter().collect()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Object(_) => {
                read(self, item).map(|one| vec![one])
            }
        }
    }
}

/// What stands there, in a few words.
pub(super) fn found(value: &Value<'_>) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Number(literal) => literal.chars().take(40).collect(),
        Value::Text(text) => quoted(text),
        Value::List(items) if items.is_empty() => "an empty list".into(),
        Value::List(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
    }
}
