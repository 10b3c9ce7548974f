//! What a stage wrote into the file that `RESTAGE_OUTPUT` names: a JSON object, or lines.
//!
//! ```text
//! title=The long way            a text, as it stands
//! script<<EOF                   a text of several lines, without the last line break
//! INT. A KITCHEN
//! EOF
//! ```
//!
//! Strict, so that a slip is seen where it was made: every declared key is there, once, and no other. `status` and `cost`
//! are reports about the stage, not part of the state, unless they are declared. Values pass untouched.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::domain::json::{self, Json, JsonMap, NoObject};

/// What one output may have. Larger things are artifacts.
pub const MAX_OUTPUT_BYTES: u64 = 64 << 20;

/// What a stage wrote, taken apart.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Output {
    pub outputs: JsonMap,
    /// It calls its own end degraded.
    pub degraded: bool,
    pub cost: Option<f64>,
}

/// What a stage may write.
#[derive(Debug, Clone, Copy)]
pub struct Declared<'a> {
    pub outputs: &'a [String],
    pub allow_degraded: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    #[error(
        "the output has {bytes} bytes, and {MAX_OUTPUT_BYTES} (64 MiB) is the limit; write large things as artifacts"
    )]
    TooLarge { bytes: u64 },
    #[error("the output is no UTF-8: the byte at offset {offset} (line {line}) begins no character")]
    NotText { offset: usize, line: usize },
    #[error("the output is {what}; write a JSON object, or lines of key=value")]
    NotObject { what: &'static str },
    /// The message ends in line and column.
    #[error("the output is no JSON object{}: {message}", of_key(key.as_ref()))]
    Json { key: Option<String>, message: String },
    #[error("line {line} of the output is neither key=value nor key<<EOF: {text:?}")]
    Line { line: usize, text: String },
    #[error("line {line} of the output has no key before its {sign:?}")]
    NoKey { line: usize, sign: &'static str },
    #[error("line {line} of the output names nothing that ends {key:?}: write {key}<<EOF")]
    NoDelimiter { line: usize, key: String },
    #[error("{key:?} in line {line} of the output never ends: no line is {delimiter:?}")]
    NoEnd { line: usize, key: String, delimiter: String },
    #[error("{key:?} in line {line} of the output is there already, in line {first}")]
    Duplicate { line: usize, key: String, first: usize },
    #[error("the output has {key:?}, which is not declared; {}", declared_are(declared))]
    Undeclared { key: String, declared: Vec<String> },
    #[error("the output lacks {}, declared in \"outputs\"", quoted(keys))]
    Missing { keys: Vec<String> },
    #[error("the output's \"cost\" is {value}; it has to be a number that is not negative")]
    Cost { value: String },
    #[error("the output's \"status\" is {value}; it has to be \"succeeded\" or \"degraded\"")]
    Status { value: String },
    #[error("the stage calls itself degraded, and only one with \"allow_degraded\": true may")]
    Degraded,
}

/// For the length of a file, before it is read.
pub const fn check_size(bytes: u64) -> Result<(), OutputError> {
    if bytes > MAX_OUTPUT_BYTES { Err(OutputError::TooLarge { bytes }) } else { Ok(()) }
}

/// An empty file, or one of white space, has no outputs. A byte order mark at the beginning is not looked at.
pub fn parse(bytes: &[u8], declared: Declared<'_>) -> Result<Output, OutputError> {
    take_apart(read(bytes)?, declared)
}

/// The cost alone, of an output that need not be whole.
pub fn cost(bytes: &[u8], declared: &[String]) -> Option<f64> {
    let cost = read(bytes).ok()?.remove("cost")?;
    read_cost(&cost).ok().filter(|_| !declared.iter().any(|key| key == "cost"))
}

fn read(bytes: &[u8]) -> Result<JsonMap, OutputError> {
    check_size(bytes.len() as u64)?;
    let text = std::str::from_utf8(bytes).map_err(|error| OutputError::NotText {
        offset: error.valid_up_to(),
        line: bytes[..error.valid_up_to()].split(|byte| *byte == b'\n').count(),
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match text.trim_start().chars().next() {
        None => Ok(JsonMap::new()),
        Some('{') => {
            json::object(text).map_err(|NoObject { key, message }| OutputError::Json { key, message })
        }
        Some('[') => Err(OutputError::NotObject { what: "a JSON array" }),
        Some('"') => Err(OutputError::NotObject { what: "a JSON text" }),
        Some(_) => parse_lines(text),
    }
}

fn take_apart(mut outputs: JsonMap, declared: Declared<'_>) -> Result<Output, OutputError> {
    let mut report = |key: &str| {
        if declared.outputs.iter().any(|one| one == key) { None } else { outputs.remove(key) }
    };
    let (status, cost) = (report("status"), report("cost"));
    let undeclared = outputs.keys().find(|key| !declared.outputs.contains(key));
    if let Some(key) = undeclared {
        return Err(OutputError::Undeclared { key: key.clone(), declared: declared.outputs.to_vec() });
    }
    let missing: Vec<String> =
        declared.outputs.iter().filter(|key| !outputs.contains_key(*key)).cloned().collect();
    if !missing.is_empty() {
        return Err(OutputError::Missing { keys: missing });
    }
    let degraded = status.map_or(Ok(false), |status| read_status(&status))?;
    if degraded && !declared.allow_degraded {
        return Err(OutputError::Degraded);
    }
    let cost = cost.map(|cost| read_cost(&cost)).transpose()?;
    Ok(Output { outputs, degraded, cost })
}

fn read_status(status: &Json) -> Result<bool, OutputError> {
    match status.as_string().as_deref() {
        Some("succeeded") => Ok(false),
        Some("degraded") => Ok(true),
        Some(_) | None => Err(OutputError::Status { value: shortened(status.text()) }),
    }
}

/// In lines every value is a text.
fn read_cost(cost: &Json) -> Result<f64, OutputError> {
    let number = cost.as_string().map_or_else(|| cost.read().ok(), |text| text.trim().parse().ok());
    number
        .filter(|number: &f64| number.is_finite() && *number >= 0.0)
        .ok_or_else(|| OutputError::Cost { value: shortened(cost.text()) })
}

/// What line breaks are written as makes no difference outside of blocks; within, they stay.
fn parse_lines(text: &str) -> Result<JsonMap, OutputError> {
    let mut map = JsonMap::new();
    let mut first_seen = BTreeMap::new();
    let mut lines = text.split('\n').enumerate();
    while let Some((index, raw)) = lines.next() {
        let (number, line) = (index + 1, without_return(raw));
        if line.trim().is_empty() {
            continue;
        }
        let (key, value) = match (line.find('='), line.find("<<")) {
            (Some(equals), block) if block.is_none_or(|block| equals < block) => {
                (&line[..equals], Cow::Borrowed(&line[equals + 1..]))
            }
            (_, Some(block)) => {
                let (key, delimiter) = (&line[..block], line[block + 2..].trim());
                if key.is_empty() {
                    return Err(OutputError::NoKey { line: number, sign: "<<" });
                }
                if delimiter.is_empty() {
                    return Err(OutputError::NoDelimiter { line: number, key: shortened(key) });
                }
                let mut block = Vec::new();
                loop {
                    match lines.next() {
                        Some((_, line)) if without_return(line) == delimiter => break,
                        Some((_, line)) => block.push(line),
                        None => {
                            return Err(OutputError::NoEnd {
                                line: number,
                                key: shortened(key),
                                delimiter: shortened(delimiter),
                            });
                        }
                    }
                }
                (key, Cow::Owned(block.join("\n")))
            }
            (_, None) => return Err(OutputError::Line { line: number, text: shortened(line) }),
        };
        if key.is_empty() {
            return Err(OutputError::NoKey { line: number, sign: "=" });
        }
        if let Some(first) = first_seen.insert(key, number) {
            return Err(OutputError::Duplicate { line: number, key: shortened(key), first });
        }
        map.insert(key.to_owned(), Json::string(&value));
    }
    Ok(map)
}

fn without_return(line: &str) -> &str {
    line.strip_suffix('\r').unwrap_or(line)
}

/// Whatever a stage wrote by mistake must not fill a screen.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn of_key(key: Option<&String>) -> String {
    key.map(|key| format!(", at {:?}", shortened(key))).unwrap_or_default()
}

fn declared_are(declared: &[String]) -> String {
    if declared.is_empty() {
        "the stage has no \"outputs\"".into()
    } else {
        format!("\"outputs\" has {}", quoted(declared))
    }
}

fn quoted(keys: &[String]) -> String {
    const SHOWN: usize = 10;
    let mut list: Vec<String> = keys.iter().take(SHOWN).map(|key| format!("{key:?}")).collect();
    if keys.len() > SHOWN {
        list.push(format!("… ({} more)", keys.len() - SHOWN));
    }
    list.join(", ")
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
