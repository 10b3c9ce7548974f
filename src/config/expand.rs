//! `$NAME`, `${NAME}`, `${NAME:-default}`, `$$` and a leading `~`. A `$` before anything else stays what it is, so
//! that `awk '{print $1}'` and `^a$` need no care.
//!
//! Variables come from the environment that restage was started with; in a runner its `env` lies on top (`env` itself
//! sees only the former, so `PATH: "~/bin:$PATH"` means what it says).

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::domain::spec::Limit;

/// What the caller knows of the outside; `config` reads no environment itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// What `~` stands for.
    pub home: Option<PathBuf>,
    pub vars: BTreeMap<String, String>,
    /// The most that a resource limit can be set to; one that is not here can have any value.
    pub most: BTreeMap<Limit, u64>,
}

/// The variables that count at one place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    pub env: &'a Environment,
    /// The runner's own, which win.
    pub own: Option<&'a BTreeMap<String, String>>,
}

impl<'a> Scope<'a> {
    pub(super) fn var(&self, name: &str) -> Option<&'a str> {
        self.own.and_then(|own| own.get(name)).or_else(|| self.env.vars.get(name)).map(String::as_str)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ExpandError {
    #[error("the variable {0} is not set")]
    Undefined(String),
    #[error("\"${{\" is not closed")]
    Unclosed,
    #[error("\"${{{0}}}\" is no variable")]
    BadName(String),
    #[error("\"~\" stands for nothing: the home folder is not known")]
    NoHome,
    #[error("\"${{…}}\" is nested too deeply")]
    TooDeep,
}

impl ExpandError {
    pub(super) fn hint(&self) -> String {
        match self {
            Self::Undefined(name) => {
                format!(
                    "set it before restage starts, write ${{{name}:-default}}, or $${name} for a plain ${name}"
                )
            }
            Self::Unclosed => "close it with \"}\", or write $$ for a plain $".into(),
            Self::BadName(_) => "write ${NAME} or ${NAME:-default}, or $$ for a plain $".into(),
            Self::NoHome => "write the folder out".into(),
            Self::TooDeep => "set the value in one variable".into(),
        }
    }
}

pub(super) fn expand(text: &str, scope: Scope<'_>) -> Result<String, ExpandError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    if let Some(below) = text.strip_prefix('~')
        && (below.is_empty() || below.starts_with('/'))
    {
        let home = scope.env.home.as_ref().and_then(|home| home.to_str()).ok_or(ExpandError::NoHome)?;
        out.push_str(home);
        rest = below;
    }
    variables(rest, scope, 0, &mut out)?;
    Ok(out)
}

fn variables(text: &str, scope: Scope<'_>, depth: u8, out: &mut String) -> Result<(), ExpandError> {
    if depth > 16 {
        return Err(ExpandError::TooDeep);
    }
    let mut rest = text;
    while let Some((plain, after)) = rest.split_once('$') {
        out.push_str(plain);
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some(inner) = after.strip_prefix('{') {
            let end = closing_brace(inner).ok_or(ExpandError::Unclosed)?;
            let (inside, tail) = inner.split_at(end);
            braced(inside, scope, depth, out)?;
            rest = tail.get(1..).unwrap_or("");
        } else {
            let (name, tail) = after.split_at(name_length(after));
            if name.is_empty() {
                out.push('$');
            } else {
                out.push_str(scope.var(name).ok_or_else(|| ExpandError::Undefined(name.to_owned()))?);
            }
            rest = tail;
        }
    }
    out.push_str(rest);
    Ok(())
}

fn braced(inside: &str, scope: Scope<'_>, depth: u8, out: &mut String) -> Result<(), ExpandError> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    if name.is_empty() || name_length(name) != name.len() {
        return Err(ExpandError::BadName(inside.chars().take(40).collect()));
    }
    match (scope.var(name).filter(|value| default.is_none() || !value.is_empty()), default) {
        (Some(value), _) => out.push_str(value),
        (None, Some(default)) => variables(default, scope, depth + 1, out)?,
        (None, None) => return Err(ExpandError::Undefined(name.to_owned())),
    }
    Ok(())
}

/// The bytes of a variable's name at the start of a text.
fn name_length(text: &str) -> usize {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len())
}

/// The brace that closes what was opened before `text`.
fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut after_dollar = false;
    for (at, c) in text.char_indices() {
        match c {
            '{' if after_dollar => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
        after_dollar = c == '$';
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> Environment {
        let vars = [("USER", "ada"), ("EMPTY", ""), ("DEEP", "$USER")];
        Environment {
            home: Some("/home/ada".into()),
            vars: vars.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            ..Environment::default()
        }
    }

    #[test]
    fn what_expands_and_what_stays() {
        let env = world();
        let own =
            BTreeMap::from([("OWN".to_owned(), "mine".to_owned()), ("USER".to_owned(), "bob".to_owned())]);
        let plain = Scope { env: &env, own: None };
        let runner = Scope { env: &env, own: Some(&own) };
        for (text, expected) in [
            ("$USER", "ada"),
            ("${USER}s", "adas"),
            ("a$USER-b", "aada-b"),
            ("$$USER", "$USER"),
            ("$$$USER", "$ada"),
            ("~", "/home/ada"),
            ("~/x", "/home/ada/x"),
            ("~bob/x", "~bob/x"),
            ("a~", "a~"),
            ("$1 ^a$ $(x) 5$", "$1 ^a$ $(x) 5$"),
            ("${EMPTY}", ""),
            ("${EMPTY:-x}", "x"),
            ("${NONE:-}", ""),
            ("${NONE:-${USER}/y}", "ada/y"),
            ("${NONE:-${NO:-z}}!", "z!"),
            ("$DEEP", "$USER"),
            ("ä$USERö", "äadaö"),
        ] {
            assert_eq!(expand(text, plain).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(expand("$USER $OWN", runner).as_deref(), Ok("bob mine"));
    }

    #[test]
    fn what_cannot_be_expanded_says_why() {
        let homeless = Environment::default();
        let scope = Scope { env: &homeless, own: None };
        let deep = "${A:-".repeat(40) + &"}".repeat(40);
        for (text, error) in [
            ("$NONE", ExpandError::Undefined("NONE".into())),
            ("x${NONE}", ExpandError::Undefined("NONE".into())),
            ("${NONE", ExpandError::Unclosed),
            ("${}", ExpandError::BadName(String::new())),
            ("${A B}", ExpandError::BadName("A B".into())),
            ("~/x", ExpandError::NoHome),
            (deep.as_str(), ExpandError::TooDeep),
        ] {
            assert_eq!(expand(text, scope), Err(error), "{text}");
        }
    }
}
