//! What an expression says of a state. Total: an answer, or a sentence on why there is none.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::{Compare, Node, Path, Step};
use crate::domain::json::{Json, JsonMap};

pub(super) fn condition(node: &Node, state: &JsonMap) -> Result<bool, String> {
    match value(node, state)? {
        Value::Bool(answer) => Ok(answer),
        Value::Null => Ok(false),
        other @ (Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_)) => {
            Err(no_answer(node, kind(&other)))
        }
    }
}

fn no_answer(node: &Node, kind: &str) -> String {
    format!("{} is {kind}, and a condition has to be true or false; compare it with something", named(node))
}

/// Why there is never an answer, whatever the state.
pub(super) fn never(node: &Node) -> Option<String> {
    match node {
        Node::Literal(Value::Bool(_) | Value::Null) | Node::Path(_) | Node::Exists(_) | Node::Compare(..) => {
            None
        }
        Node::Literal(value) => Some(no_answer(node, kind(value))),
        Node::List(_) => Some(no_answer(node, "a list")),
        Node::Len(_) => Some(no_answer(node, "a number")),
        Node::Not(inner) => never(inner),
        Node::And(nodes) | Node::Or(nodes) => nodes.iter().find_map(never),
    }
}

fn value(node: &Node, state: &JsonMap) -> Result<Value, String> {
    Ok(match node {
        Node::Literal(value) => value.clone(),
        Node::List(nodes) => {
            Value::Array(nodes.iter().map(|node| value(node, state)).collect::<Result<_, _>>()?)
        }
        Node::Path(path) => find(path, state)?.unwrap_or(Value::Null),
        Node::Exists(path) => Value::Bool(find(path, state)?.is_some()),
        Node::Len(inner) => match value(inner, state)? {
            Value::String(text) => text.chars().count().into(),
            Value::Array(items) => items.len().into(),
            Value::Object(members) => members.len().into(),
            other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => {
                return Err(format!("{} is {}, which has no length", named(inner), kind(&other)));
            }
        },
        Node::Not(inner) => Value::Bool(!condition(inner, state)?),
        Node::And(nodes) => {
            for node in nodes {
                if !condition(node, state)? {
                    return Ok(Value::Bool(false));
                }
            }
            Value::Bool(true)
        }
        Node::Or(nodes) => {
            for node in nodes {
                if condition(node, state)? {
                    return Ok(Value::Bool(true));
                }
            }
            Value::Bool(false)
        }
        Node::Compare(left, how, right) => Value::Bool(compare(left, *how, right, state)?),
    })
}

fn compare(left: &Node, how: Compare, right: &Node, state: &JsonMap) -> Result<bool, String> {
    let (one, other) = (value(left, state)?, value(right, state)?);
    let ordered = |fits: fn(Ordering) -> bool| match (&one, &other) {
        (Value::Number(a), Value::Number(b)) => Ok(numbers(a, b).is_some_and(fits)),
        (Value::String(a), Value::String(b)) => Ok(fits(a.cmp(b))),
        _ => Err(format!(
            "{} is {} and {} is {}; only two numbers or two texts can be ordered",
            named(left),
            kind(&one),
            named(right),
            kind(&other)
        )),
    };
    match how {
        Compare::Equal => Ok(equal(&one, &other)),
        Compare::Unequal => Ok(!equal(&one, &other)),
        Compare::Less => ordered(Ordering::is_lt),
        Compare::AtMost => ordered(Ordering::is_le),
        Compare::More => ordered(Ordering::is_gt),
        Compare::AtLeast => ordered(Ordering::is_ge),
        Compare::In | Compare::NotIn => {
            let inside = match (&one, &other) {
                (one, Value::Array(items)) => items.iter().any(|item| equal(item, one)),
                (Value::String(key), Value::Object(members)) => members.contains_key(key),
                (Value::String(piece), Value::String(text)) => text.contains(piece),
                _ => {
                    return Err(format!(
                        "{} is {}, where a list, an object or a text is looked into, and {} is {}",
                        named(right),
                        kind(&other),
                        named(left),
                        kind(&one)
                    ));
                }
            };
            Ok(inside == (how == Compare::In))
        }
    }
}

/// Only the key that is asked for is read, and of the rest of the state nothing.
fn find(path: &Path, state: &JsonMap) -> Result<Option<Value>, String> {
    let Some(json) = state.get(&path.key) else { return Ok(None) };
    let mut at: Value = Json::read(json).map_err(|error| format!("{} cannot be read: {error}", path.key))?;
    for step in &path.steps {
        let inner = match (step, &mut at) {
            (Step::Key(key), Value::Object(members)) => members.get_mut(key),
            (Step::Index(index), Value::Array(items)) => items.get_mut(*index),
            (Step::Key(_) | Step::Index(_), _) => None,
        };
        match inner {
            Some(inner) => at = inner.take(),
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

/// Depth is bounded: what was read has at most the parser's.
fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => numbers(a, b) == Some(Ordering::Equal),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        (one, other) => one == other,
    }
}

/// Whole numbers as what they are, so that large ones are not rounded into being equal.
fn numbers(one: &Number, other: &Number) -> Option<Ordering> {
    let whole = |number: &Number| number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    match (whole(one), whole(other)) {
        (Some(one), Some(other)) => Some(one.cmp(&other)),
        _ => one.as_f64()?.partial_cmp(&other.as_f64()?),
    }
}

fn named(node: &Node) -> String {
    match node {
        Node::Literal(value) => value.to_string(),
        Node::Path(path) => path.to_string(),
        Node::Exists(path) => format!("exists({path})"),
        Node::Len(inner) => format!("len({})", named(inner)),
        Node::List(_) => "the list".into(),
        Node::Not(_) | Node::And(_) | Node::Or(_) | Node::Compare(..) => "the condition".into(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null, or not there",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
