//! A config text as a tree with byte spans. The parser is asked to be lenient, and what JSON does not allow is
//! collected here, so that one slip does not hide the next. Comments and trailing commas are welcome: people edit
//! this file by hand. Knows nothing of keys and what they mean.

use std::ops::Range;

use jsonc_parser::ast;
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::diagnostic::{Problem, Severity, Source, quoted};
use super::syntax;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub span: Range<usize>,
    pub value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// As it was written: `1e3` stays that.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Object(Vec<Member>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Member {
    pub key: String,
    pub key_span: Range<usize>,
    pub value: Node,
}

impl Value {
    /// As JSON again, without comments and white space.
    pub(super) fn json(&self) -> String {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        match self {
            Self::Null => "null".into(),
            Self::Bool(value) => value.to_string(),
            Self::Number(literal) => literal.clone(),
            Self::Text(value) => text(value),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(|item| item.value.json()).collect();
                format!("[{}]", items.join(","))
            }
            Self::Object(members) => {
                let one = |member: &Member| format!("{}:{}", text(&member.key), member.value.value.json());
                let members: Vec<String> = members.iter().map(one).collect();
                format!("{{{}}}", members.join(","))
            }
        }
    }
}

/// The tree, as far as there is one, and every slip.
pub(super) fn parse(text: &str) -> (Option<Node>, Vec<Problem>) {
    if let Some(slip) = syntax::line_break_in_text(text) {
        return (None, vec![slip]);
    }
    // Only escapes stay strict: what `\d` means is not to be guessed.
    let options = ParseOptions { allow_extended_string_escapes: false, ..ParseOptions::default() };
    match parse_to_ast(text, &CollectOptions::default(), &options) {
        Ok(parsed) => match parsed.value {
            Some(value) => {
                let mut builder = Builder { text, source: Source::new("", text), slips: Vec::new() };
                let node = builder.node(&value, "");
                (Some(node), builder.slips)
            }
            None => (None, vec![syntax::empty()]),
        },
        Err(error) => (None, vec![syntax::explain(text, &error)]),
    }
}

/// The path of a member, written so that it can be read back by eye.
pub(super) fn join(path: &str, key: &str) -> String {
    let plain =
        !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '$'));
    match (plain, path.is_empty()) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{path}.{key}"),
        (false, _) => format!("{path}[{}]", quoted(key)),
    }
}

struct Builder<'a> {
    text: &'a str,
    source: Source<'a>,
    slips: Vec<Problem>,
}

impl Builder<'_> {
    fn node(&mut self, value: &ast::Value<'_>, path: &str) -> Node {
        let range = value.range();
        let span = range.start..range.end;
        let value = match value {
            ast::Value::NullKeyword(_) => Value::Null,
            ast::Value::BooleanLit(literal) => Value::Bool(literal.value),
            ast::Value::NumberLit(literal) => {
                self.number(literal.value, &span, path);
                Value::Number(literal.value.to_owned())
            }
            ast::Value::StringLit(literal) => {
                self.quotes(&literal.value, &span, path);
                Value::Text(literal.value.to_string())
            }
            ast::Value::Array(array) => {
                let mut last = None;
                let items = array.elements.iter().enumerate().map(|(index, element)| {
                    let path = format!("{path}[{index}]");
                    self.comma(last.replace(element.range().end), element.range().start, &path);
                    self.node(element, &path)
                });
                Value::List(items.collect())
            }
            ast::Value::Object(object) => Value::Object(self.members(object, path)),
        };
        Node { span, value }
    }

    fn members(&mut self, object: &ast::Object<'_>, path: &str) -> Vec<Member> {
        let mut members: Vec<Member> = Vec::with_capacity(object.properties.len());
        let mut seen = std::collections::HashMap::new();
        let mut last = None;
        for property in &object.properties {
            let range = property.name.range();
            let key_span = range.start..range.end;
            let key = match &property.name {
                ast::ObjectPropName::String(literal) => literal.value.to_string(),
                ast::ObjectPropName::Word(literal) => literal.value.to_owned(),
            };
            let path = join(path, &key);
            self.comma(last.replace(property.value.range().end), range.start, &path);
            match &property.name {
                ast::ObjectPropName::String(_) => self.quotes(&key, &key_span, &path),
                ast::ObjectPropName::Word(_) => self.slip(
                    &path,
                    key_span.clone(),
                    format!("the key {key} has no quotes"),
                    format!("write \"{key}\""),
                ),
            }
            let value = self.node(&property.value, &path);
            if let Some(first) = seen.get(&key) {
                let line = self.source.line(*first);
                let what = match path.strip_suffix(&key) {
                    Some("runners.") => "runner",
                    Some("flows.") => "flow",
                    Some(_) | None => "key",
                };
                self.slip(
                    &path,
                    key_span,
                    format!("duplicate {what} {}; the first one is on line {line}", quoted(&key)),
                    "keep one of them".into(),
                );
                continue;
            }
            seen.insert(key.clone(), key_span.start);
            members.push(Member { key, key_span, value });
        }
        members
    }

    fn number(&mut self, literal: &str, span: &Range<usize>, path: &str) {
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
            self.slip(path, span.clone(), message, "write it in plain decimal: 0.5, 255".into());
        }
    }

    fn quotes(&mut self, value: &str, span: &Range<usize>, path: &str) {
        if self.text.as_bytes().get(span.start) == Some(&b'\'') {
            let hint = format!("write {} in double quotes", quoted(value));
            self.slip(path, span.clone(), "text in single quotes".into(), hint);
        }
    }

    fn comma(&mut self, last_end: Option<usize>, start: usize, path: &str) {
        let Some(end) = last_end else { return };
        if self.text.get(end..start).is_some_and(|gap| !syntax::has_comma(gap)) {
            let before = format!("put a comma before {path}");
            self.slip(path, end..end, "a comma is missing here".into(), before);
        }
    }

    fn slip(&mut self, path: &str, span: Range<usize>, message: String, hint: String) {
        self.slips.push(Problem {
            severity: Severity::Error,
            path: path.to_owned(),
            span,
            message,
            hint: Some(hint),
            missing: false,
        });
    }
}
