//! A config text as a tree with byte spans. The parser is asked to be lenient, and what JSON does not allow is
//! collected here, so that one slip does not hide the next. Comments and trailing commas are welcome: people edit
//! this file by hand. Knows nothing of keys and what they mean.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use jsonc_parser::ast;
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::diagnostic::{Problem, Severity, Source, quoted};
use super::syntax;

/// Where something stands in the text, in bytes; four bytes a number are enough for the largest config.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Spot {
    start: u32,
    end: u32,
}

impl Spot {
    pub(super) fn new(start: usize, end: usize) -> Self {
        let narrow = |offset| u32::try_from(offset).unwrap_or(u32::MAX);
        Self { start: narrow(start), end: narrow(end) }
    }

    pub(super) fn start(self) -> usize {
        self.start as usize
    }

    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The first character of it.
    pub(super) fn first(self) -> Self {
        Self { end: self.start + 1, ..self }
    }
}

impl<T: Ranged> From<&T> for Spot {
    fn from(part: &T) -> Self {
        Self::new(part.start(), part.end())
    }
}

/// Borrows from the text what is written there without escapes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node<'a> {
    pub spot: Spot,
    pub value: Value<'a>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    /// As it was written: `1e3` stays that.
    Number(&'a str),
    Text(Cow<'a, str>),
    List(Vec<Node<'a>>),
    Object(Vec<Member<'a>>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Member<'a> {
    pub key: Cow<'a, str>,
    pub key_spot: Spot,
    pub value: Node<'a>,
}

impl Node<'_> {
    /// The path of what starts at an offset, a value or the key of one. Nothing carries its path with it: few are asked
    /// for theirs.
    pub(super) fn path(&self, offset: usize) -> String {
        let mut path = String::new();
        let mut node = self;
        loop {
            match &node.value {
                Value::List(items) => {
                    let index = items.partition_point(|item| item.spot.range().end <= offset);
                    let Some(item) = items.get(index).filter(|item| item.spot.start() <= offset) else {
                        return path;
                    };
                    path = format!("{path}[{index}]");
                    node = item;
                }
                Value::Object(members) => {
                    let index = members.partition_point(|member| member.value.spot.range().end <= offset);
                    let Some(member) = members.get(index).filter(|member| member.key_spot.start() <= offset)
                    else {
                        return path;
                    };
                    push_key(&mut path, &member.key);
                    node = &member.value;
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => return path,
            }
        }
    }
}

impl Value<'_> {
    /// As JSON again, without comments and white space.
    pub(super) fn json(&self) -> String {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        match self {
            Self::Null => "null".into(),
            Self::Bool(value) => value.to_string(),
            Self::Number(literal) => (*literal).to_owned(),
            Self::Text(value) => text(value),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(|item| item.value.json()).collect();
                format!("[{}]", items.join(","))
            }
            Self::Object(members) => {
                let one =
                    |member: &Member<'_>| format!("{}:{}", text(&member.key), member.value.value.json());
                let members: Vec<String> = members.iter().map(one).collect();
                format!("{{{}}}", members.join(","))
            }
        }
    }
}

/// The tree, as far as there is one, and every slip.
pub(super) fn parse<'a>(source: &'a Source<'a>) -> (Option<Node<'a>>, Vec<Problem>) {
    let text = source.text;
    if let Some(slip) = syntax::line_break_in_text(text) {
        return (None, vec![slip]);
    }
    // Only escapes stay strict: what `\d` means is not to be guessed.
    let options = ParseOptions { allow_extended_string_escapes: false, ..ParseOptions::default() };
    match parse_to_ast(text, &CollectOptions::default(), &options) {
        Ok(parsed) => match parsed.value {
            Some(value) => {
                let mut builder = Builder { source, slips: Vec::new() };
                let node = builder.node(value, &Way::Top);
                (Some(node), builder.slips)
            }
            None => (None, vec![syntax::empty()]),
        },
        Err(error) => (None, vec![syntax::explain(text, &error)]),
    }
}

/// Goes on with the path of a member, written so that it can be read back by eye.
fn push_key(path: &mut String, key: &str) {
    let plain =
        !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '$'));
    if plain {
        let dot = if path.is_empty() { "" } else { "." };
        path.extend([dot, key]);
    } else {
        path.extend(["[", &quoted(key), "]"]);
    }
}

/// The way down to a value, while the tree is built; written out only where something is wrong.
enum Way<'a> {
    Top,
    Item(&'a Way<'a>, usize),
    Member(&'a Way<'a>, &'a str),
}

impl Way<'_> {
    fn path(&self) -> String {
        match self {
            Self::Top => String::new(),
            Self::Item(above, index) => format!("{}[{index}]", above.path()),
            Self::Member(above, key) => {
                let mut path = above.path();
                push_key(&mut path, key);
                path
            }
        }
    }
}

struct Builder<'a> {
    source: &'a Source<'a>,
    slips: Vec<Problem>,
}

impl<'a> Builder<'a> {
    fn node(&mut self, value: ast::Value<'a>, way: &Way<'_>) -> Node<'a> {
        let spot = Spot::from(&value);
        let value = match value {
            ast::Value::NullKeyword(_) => Value::Null,
            ast::Value::BooleanLit(literal) => Value::Bool(literal.value),
            ast::Value::NumberLit(literal) => {
                self.number(literal.value, spot, way);
                Value::Number(literal.value)
            }
            ast::Value::StringLit(literal) => {
                self.quotes(&literal.value, spot, way);
                Value::Text(literal.value)
            }
            ast::Value::Array(array) => {
                let mut last = None;
                let items = array.elements.into_iter().enumerate().map(|(index, element)| {
                    let way = Way::Item(way, index);
                    self.comma(last.replace(element.end()), element.start(), &way);
                    self.node(element, &way)
                });
                Value::List(items.collect())
            }
            ast::Value::Object(object) => Value::Object(self.members(object, way)),
        };
        Node { spot, value }
    }

    fn members(&mut self, object: ast::Object<'a>, above: &Way<'_>) -> Vec<Member<'a>> {
        const FEW: usize = 16;
        let mut members: Vec<Member<'a>> = Vec::with_capacity(object.properties.len());
        // A few are looked through sooner than they are sorted in.
        let mut seen = (object.properties.len() > FEW).then(HashMap::new);
        let mut last = None;
        for property in object.properties {
            let key_spot = Spot::from(&property.name);
            let (key, bare) = match property.name {
                ast::ObjectPropName::String(literal) => (literal.value, false),
                ast::ObjectPropName::Word(literal) => (Cow::Borrowed(literal.value), true),
            };
            let way = Way::Member(above, &key);
            self.comma(last.replace(property.value.end()), key_spot.start(), &way);
            if bare {
                let message = format!("the key {key} has no quotes");
                self.slip(&way, key_spot, message, format!("write \"{key}\""));
            } else {
                self.quotes(&key, key_spot, &way);
            }
            let value = self.node(property.value, &way);
            let first = match &seen {
                Some(seen) => seen.get(&key).copied(),
                None => members.iter().find(|one| one.key == key).map(|one| one.key_spot),
            };
            if let Some(first) = first {
                let line = self.source.line(first.start());
                let path = way.path();
                let what = match path.strip_suffix(&*key) {
                    Some("runners.") => "runner",
                    Some("flows.") => "flow",
                    Some(_) | None => "key",
                };
                let message = format!("duplicate {what} {}; the first one is on line {line}", quoted(&key));
                self.slip(&way, key_spot, message, "keep one of them".into());
                continue;
            }
            if let Some(seen) = &mut seen {
                seen.insert(key.clone(), key_spot);
            }
            members.push(Member { key, key_spot, value });
        }
        members
    }

    fn number(&mut self, literal: &str, spot: Spot, way: &Way<'_>) {
        let digits = literal.trim_start_matches(['+', '-']);
        // `NaN` and `Infinity` are left to whoever reads the value: they know what was expected.
        let loose = literal.starts_with('+')
            || digits.starts_with(['.'])
            || digits.starts_with("0x")
            || digits.starts_with("0X")
            || digits.ends_with('.')
            || digits.contains(".e")
            || digits.contains(".E");
        if loose {
            let message = format!("{literal} is no number in JSON");
            self.slip(way, spot, message, "write it in plain decimal: 0.5, 255".into());
        }
    }

    fn quotes(&mut self, value: &str, spot: Spot, way: &Way<'_>) {
        if self.source.text.as_bytes().get(spot.start()) == Some(&b'\'') {
            let hint = format!("write {} in double quotes", quoted(value));
            self.slip(way, spot, "text in single quotes".into(), hint);
        }
    }

    fn comma(&mut self, last_end: Option<usize>, start: usize, way: &Way<'_>) {
        let Some(end) = last_end else { return };
        if self.source.text.get(end..start).is_some_and(|gap| !syntax::has_comma(gap)) {
            let before = format!("put a comma before {}", way.path());
            self.slip(way, Spot::new(end, end), "a comma is missing here".into(), before);
        }
    }

    fn slip(&mut self, way: &Way<'_>, spot: Spot, message: String, hint: String) {
        self.slips.push(Problem {
            severity: Severity::Error,
            path: way.path(),
            span: spot.range(),
            message,
            hint: Some(hint),
            missing: false,
        });
    }
}
