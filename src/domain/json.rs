//! A JSON value that passes through untouched: its text, without the white space between its parts, so that it fits on
//! a line. Numbers keep their digits and objects their order, which a parsed value would lose.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// How deep a value may be that comes from outside. Many a reader of JSON takes 128 levels, and there is something around
/// a value where it is shown.
const MAX_DEPTH: usize = 100;

/// Cheap to clone. Equal when the texts are.
#[derive(Clone)]
pub struct Json(Arc<RawValue>);

/// What a run carries: top-level keys, each with a value that nobody looks into.
pub type JsonMap = BTreeMap<String, Json>;

impl Json {
    /// The error names line and column.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        Ok(Self::from_raw(serde_json::from_str::<&RawValue>(text)?))
    }

    pub fn string(text: &str) -> Self {
        Self::of(&text)
    }

    /// A value whose serialisation cannot fail: no maps with keys that are no text.
    pub fn of(value: &impl Serialize) -> Self {
        serde_json::value::to_raw_value(value).map_or_else(
            |_| Self::parse("null").unwrap_or_else(|_| unreachable!("null is JSON")),
            |raw| Self(raw.into()),
        )
    }

    fn from_raw(raw: &RawValue) -> Self {
        let compact = compact(raw.get());
        // Leaving white space out of JSON leaves JSON.
        RawValue::from_string(compact).map_or_else(|_| Self(raw.to_owned().into()), |raw| Self(raw.into()))
    }

    pub fn text(&self) -> &str {
        self.0.get()
    }

    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.text())
    }

    /// Why a value that comes from outside cannot be passed on: others could not read it.
    pub fn unreadable(&self) -> Option<String> {
        if self.depth() > MAX_DEPTH {
            return Some(format!("is nested deeper than {MAX_DEPTH} levels"));
        }
        let half = lone_surrogate(self.text())?;
        Some(format!("has {half}, which is half a character"))
    }

    /// How many objects and lists lie in one another.
    fn depth(&self) -> usize {
        let (mut depth, mut deepest, mut inside, mut escaped) = (0_usize, 0, false, false);
        for byte in self.text().bytes() {
            if inside {
                inside = escaped || byte != b'"';
                escaped = byte == b'\\' && !escaped;
                continue;
            }
            match byte {
                b'"' => inside = true,
                b'{' | b'[' => {
                    depth += 1;
                    deepest = deepest.max(depth);
                }
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        deepest
    }

    /// The text itself where this is a text.
    pub fn as_string(&self) -> Option<String> {
        self.text().starts_with('"').then(|| self.read().ok()).flatten()
    }
}

/// Why a text is no object: whose value it was at, and what is wrong.
#[derive(Debug)]
pub struct NoObject {
    pub key: Option<String>,
    pub message: String,
}

/// An object whose keys are all different.
pub fn object(text: &str) -> Result<JsonMap, NoObject> {
    let at = RefCell::new(None);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer
        .deserialize_map(Entries { at: &at })
        .and_then(|map| deserializer.end().map(|()| map))
        .map_err(|error| NoObject { key: at.take(), message: error.to_string() })
}

/// Reads a map, and remembers whose value it is at.
struct Entries<'a> {
    at: &'a RefCell<Option<String>>,
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = JsonMap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<JsonMap, A::Error> {
        let mut map = JsonMap::new();
        while let Some(key) = access.next_key::<String>()? {
            if map.contains_key(&key) {
                self.at.replace(Some(key));
                return Err(A::Error::custom("it is there twice"));
            }
            self.at.replace(Some(key.clone()));
            let value: Json = access.next_value()?;
            if let Some(why) = value.unreadable() {
                return Err(A::Error::custom(format!("it {why}")));
            }
            self.at.replace(None);
            map.insert(key, value);
        }
        Ok(map)
    }
}

/// JSON for people: a line a value, with every digit and key as it is.
pub fn pretty(map: &JsonMap) -> String {
    let compact = serde_json::to_string(map).unwrap_or_default();
    let mut out = String::with_capacity(compact.len() * 2);
    let (mut depth, mut inside, mut escaped) = (0_usize, false, false);
    let mut chars = compact.chars().peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.push_str(&"  ".repeat(depth));
    };
    while let Some(c) = chars.next() {
        if inside {
            out.push(c);
            inside = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            continue;
        }
        match c {
            '{' | '[' => {
                out.push(c);
                if matches!(chars.peek(), Some('}' | ']')) {
                    out.extend(chars.next());
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c => {
                out.push(c);
                inside = c == '"';
            }
        }
    }
    out
}

/// The first escape of one half of a character whose other half is not beside it.
fn lone_surrogate(text: &str) -> Option<&str> {
    let (mut at, mut open) = (0, None);
    loop {
        let next = text[at..].find('\\').map(|found| at + found);
        if let Some((half, end)) = open
            && next != Some(end)
        {
            return Some(half);
        }
        let start = next?;
        let escape = text.get(start..start + 6).filter(|escape| escape.as_bytes()[1] == b'u');
        let unit = escape.and_then(|escape| u16::from_str_radix(&escape[2..], 16).ok()).unwrap_or(0);
        match (open.take(), unit) {
            (Some(_), 0xdc00..=0xdfff) => {}
            (Some((half, _)), _) => return Some(half),
            (None, 0xdc00..=0xdfff) => return escape,
            (None, 0xd800..=0xdbff) => open = escape.map(|escape| (escape, start + 6)),
            (None, _) => {}
        }
        at = start + if escape.is_some() { 6 } else { 2 };
    }
}

/// White space outside of texts means nothing.
fn compact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut inside, mut escaped) = (false, false);
    for c in text.chars() {
        if inside {
            out.push(c);
            inside = escaped || c != '"';
            escaped = c == '\\' && !escaped;
        } else if !c.is_ascii_whitespace() {
            out.push(c);
            inside = c == '"';
        }
    }
    out
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Json {}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer).map_err(D::Error::custom)?;
        Ok(Self::from_raw(&raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_passes_untouched_but_for_its_white_space() {
        let text = "{ \"b\" : 1e400,\n \"a\": [ 12345678901234567890123, \"x \\\" y\\\\\" , null ] }";
        let json = Json::parse(text).unwrap();
        assert_eq!(json.text(), r#"{"b":1e400,"a":[12345678901234567890123,"x \" y\\",null]}"#);
        let map: JsonMap = serde_json::from_str(&format!(r#"{{"k": {text}}}"#)).unwrap();
        assert_eq!(map["k"], json);
        assert_eq!(serde_json::to_string(&map).unwrap(), format!(r#"{{"k":{json}}}"#));
    }

    #[test]
    fn texts_are_told_from_other_values() {
        assert_eq!(Json::string("a\nb").as_string().as_deref(), Some("a\nb"));
        assert_eq!(Json::of(&1).as_string(), None);
        assert!(Json::parse("{").is_err());
    }

    #[test]
    fn depth_counts_what_lies_in_one_another() {
        for (text, depth) in [("1", 0), ("[]", 1), (r#"[[1],{"a":[2]}]"#, 3), (r#"{"a[[":"\\\"{{[["}"#, 1)] {
            assert_eq!(Json::parse(text).unwrap().depth(), depth, "{text}");
        }
    }

    #[test]
    fn halves_of_characters_are_not_passed_on() {
        for text in
            [r#""\ud800""#, r#""\ud83d\ude00 \ud83d\udE00""#, r#""\\ud800""#, r#"["\n\u00e9\"é","\\"]"#]
        {
            let json = Json::parse(text).unwrap();
            let reads = json.read::<serde_json::Value>().is_ok();
            assert_eq!(json.unreadable().is_none(), reads, "{text}");
        }
        let bad = [
            r"\ud800",
            r"\uDC00",
            r"\ud83d\ud83d",
            r"\ud83dx\ude00",
            r"\ud83d\n",
            r"\ud83d\ude00\ude00",
            r"\ud83d\\ude00",
        ];
        for text in bad {
            let json = Json::parse(&format!("{{\"k\":[\"a{text}b\"]}}")).unwrap();
            assert!(json.read::<serde_json::Value>().is_err(), "{text}");
            assert!(json.unreadable().unwrap().contains("half a character"), "{text}");
        }
    }

    #[test]
    fn pretty_json_reads_back_as_what_it_was() {
        let text = r#"{"a":[1e400,{"k":"x\"{,:\\"},[],{}],"b":12345678901234567890123,"c":"\u001b"}"#;
        let map: JsonMap = serde_json::from_str(text).unwrap();
        let shown = pretty(&map);
        insta::assert_snapshot!(shown, @r#"
        {
          "a": [
            1e400,
            {
              "k": "x\"{,:\\"
            },
            [],
            {}
          ],
          "b": 12345678901234567890123,
          "c": "\u001b"
        }
        "#);
        assert_eq!(serde_json::from_str::<JsonMap>(&shown).unwrap(), map);
        assert_eq!(pretty(&JsonMap::new()), "{}");
    }
}
