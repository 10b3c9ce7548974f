//! `when`: a small, safe expression over the state. It cannot loop, read, write or fail halfway; its size is bounded, so
//! its time is.
//!
//! ```text
//! state.mode == "final" and len(scenes) > 3
//! not draft && language in ["en", "de"]
//! exists(review.verdict) and review.notes[0].severity != null
//! ```
//!
//! - `state.key` and `key` are the same; `.sub`, `[0]` and `["any key"]` lead inside. What is not there is `null`.
//! - `==` and `!=` compare anything; `<` `<=` `>` `>=` two numbers or two texts; anything else is an error.
//! - `in` looks for an item in a list, a key in an object, a piece in a text.
//! - A condition has to be true, false or null, which counts as false: a text such as "false" is not guessed at.
//! - `and`, `or` do not look at their right side where the left one decides.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::domain::json::JsonMap;

mod eval;
mod parse;
#[cfg(test)]
mod tests;

pub use parse::ParseError;

/// An expression that is known to parse; kept and compared as its text.
#[derive(Clone)]
pub struct Expression {
    text: Arc<str>,
    root: Arc<Node>,
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Literal(Value),
    List(Vec<Node>),
    Path(Path),
    Exists(Path),
    Len(Box<Node>),
    Not(Box<Node>),
    /// At least two.
    And(Vec<Node>),
    Or(Vec<Node>),
    Compare(Box<Node>, Compare, Box<Node>),
}

#[derive(Debug, Clone, PartialEq)]
struct Path {
    key: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Key(String),
    Index(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compare {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
    In,
    NotIn,
}

impl Expression {
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        Ok(Self { root: Arc::new(parse::parse(text)?), text: text.into() })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The top-level keys of the state that it looks at.
    pub fn keys(&self) -> BTreeSet<&str> {
        let mut keys = BTreeSet::new();
        self.root.keys(&mut keys);
        keys
    }

    /// Why it can never be answered, where that is so.
    pub fn never(&self) -> Option<String> {
        eval::never(&self.root)
    }

    /// The error says what could not be answered, for a person.
    pub fn eval(&self, state: &JsonMap) -> Result<bool, String> {
        eval::condition(&self.root, state)
    }
}

impl Node {
    fn keys<'a>(&'a self, keys: &mut BTreeSet<&'a str>) {
        match self {
            Self::Literal(_) => {}
            Self::List(nodes) | Self::And(nodes) | Self::Or(nodes) => {
                for node in nodes {
                    node.keys(keys);
                }
            }
            Self::Path(path) | Self::Exists(path) => _ = keys.insert(&path.key),
            Self::Len(node) | Self::Not(node) => node.keys(keys),
            Self::Compare(left, _, right) => {
                left.keys(keys);
                right.keys(keys);
            }
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        for step in &self.steps {
            match step {
                Step::Key(key) if parse::is_plain(key) => write!(f, ".{key}")?,
                Step::Key(key) => write!(f, "[{key:?}]")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Expression {}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expression({:?})", self.text)
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Expression {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Expression {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}
