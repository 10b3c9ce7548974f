//! The table of keys, the schema that is made from it, and what the code reads: all three say the same.
//!
//! After a change of the table, `RESTAGE_WRITE_SCHEMA=1 cargo test schema` writes the schema anew.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::super::keys::{KEYS, Key, Kind, LIMITS, MAX_SECONDS, MIN_LOG_BYTES, Place};
use super::super::settings;
use super::Workspace;
use crate::domain::keys::BINDINGS;

#[test]
fn the_shipped_schema_is_that_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/config.schema.json");
    let made = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    if std::env::var_os("RESTAGE_WRITE_SCHEMA").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let shipped = std::fs::read_to_string(&path).unwrap();
    assert!(shipped == made, "RESTAGE_WRITE_SCHEMA=1 cargo test schema brings it in step");
}

#[test]
fn every_key_of_the_table_is_read() {
    let workspace = Workspace::new();
    for place in Place::ALL {
        for (name, _) in place.keys().filter(|(_, key)| key.kind != Kind::Any) {
            // No key takes a list in a list.
            let bad = format!("\"{name}\": [[[]]]");
            let (config, path) = match place {
                Place::File => (format!("{{{bad}}}"), name.to_owned()),
                Place::Budget => (format!("{{\"retry_budget\": {{{bad}}}}}"), format!("retry_budget.{name}")),
                Place::Runner => {
                    (format!("{{\"runners\": {{\"a\": {{{bad}}}}}}}"), format!("runners.a.{name}"))
                }
                Place::Flow => (format!("{{\"flows\": {{\"f\": {{{bad}}}}}}}"), format!("flows.f.{name}")),
                Place::Input => (
                    format!("{{\"flows\": {{\"f\": {{\"inputs\": {{\"i\": {{{bad}}}}}}}}}}}"),
                    format!("flows.f.inputs.i.{name}"),
                ),
                Place::Stage => (
                    format!("{{\"flows\": {{\"f\": {{\"stages\": [{{{bad}}}]}}}}}}"),
                    format!("flows.f.stages[0].{name}"),
                ),
                Place::StageRetry | Place::Foreach => {
                    let object = if place == Place::Foreach { "foreach" } else { "retry" };
                    let config =
                        format!("{{\"flows\": {{\"f\": {{\"stages\": [{{\"{object}\": {{{bad}}}}}]}}}}}}");
                    (config, format!("flows.f.stages[0].{object}.{name}"))
                }
                Place::Retry | Place::Health | Place::Activity => {
                    let object = format!("{place:?}").to_lowercase();
                    let config = format!("{{\"runners\": {{\"a\": {{\"{object}\": {{{bad}}}}}}}}}");
                    (config, format!("runners.a.{object}.{name}"))
                }
            };
            let diagnostics = workspace.load(&config).unwrap_err();
            let told =
                diagnostics.0.iter().find(|one| one.path.starts_with(&path)).map(|one| one.message.as_str());
            assert!(told.is_some_and(|told| told.starts_with("expected ")), "{config}: {told:?}");
        }
    }
}

#[test]
fn the_defaults_of_the_table_are_those_of_the_code() {
    let workspace = Workspace::new();
    let spec = workspace.load(r#"{"runners": {"a": {"command": "x"}}}"#).unwrap().spec;
    let effective = settings::of_runner(&spec.runners[0]).into_iter().chain(settings::of_workspace(&spec));
    let mut compared = 0;
    for setting in effective {
        let key = KEYS.iter().find(|key| key.name == setting.key).unwrap();
        if typed_default(key).is_some() {
            assert_eq!(setting.value, key.default, "{}", key.name);
            compared += 1;
        }
    }
    assert!(compared > 15, "{compared}");
}

fn schema() -> Value {
    let places = Place::ALL.into_iter().filter(|place| *place != Place::File);
    let mut defs: Map<String, Value> = places.map(|place| (name(place), object(place))).collect();
    let texts = json!({ "type": "array", "items": { "type": "string" } });
    let code = json!({ "type": "integer", "minimum": 0, "maximum": 255 });
    defs.insert("texts".into(), json!({ "anyOf": [{ "type": "string" }, texts] }));
    defs.insert("codes".into(), json!({ "anyOf": [code, { "type": "array", "items": code }] }));
    defs.insert(
        "command".into(),
        json!({ "anyOf": [
            { "type": "string", "minLength": 1 },
            { "type": "array", "items": { "type": "string" }, "minItems": 1 },
        ] }),
    );
    let mut root = object(Place::File);
    root["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    let one_of = ["runners", "flows"].map(|key| json!({ "required": [key] }));
    root["anyOf"] = json!(one_of);
    root["title"] = json!("config.json of restage");
    root["allowComments"] = json!(true);
    root["allowTrailingCommas"] = json!(true);
    root["definitions"] = Value::Object(defs);
    root
}

fn name(place: Place) -> String {
    format!("{place:?}").to_lowercase()
}

fn object(place: Place) -> Value {
    let properties: Map<String, Value> =
        place.keys().map(|(name, key)| (name.to_owned(), property(key))).collect();
    let required: &[&str] = match place {
        Place::Runner | Place::Health => &["command"],
        Place::Budget => &["max", "per_seconds"],
        Place::Flow => &["stages"],
        Place::Stage => &["name", "command"],
        Place::Foreach => &["key"],
        Place::File | Place::Retry | Place::Activity | Place::Input | Place::StageRetry => &[],
    };
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn property(key: &Key) -> Value {
    let mut property = shape(key.kind);
    let default = if key.default.is_empty() { String::new() } else { format!(" Default: {}.", key.default) };
    property["description"] = json!(format!("{}{default}", key.doc));
    if let Some(default) = typed_default(key) {
        property["default"] = default;
    }
    property
}

fn typed_default(key: &Key) -> Option<Value> {
    match key.kind {
        Kind::Word(_) => Some(json!(key.default)),
        Kind::Bool | Kind::Whole { .. } | Kind::Number { .. } | Kind::Seconds { .. } => {
            serde_json::from_str(key.default).ok()
        }
        Kind::Any
        | Kind::SecondsOrNull { .. }
        | Kind::Text
        | Kind::TextOrNull
        | Kind::Texts
        | Kind::Codes
        | Kind::Signal
        | Kind::SizeOrNull
        | Kind::Umask
        | Kind::Command
        | Kind::CommandOrNull
        | Kind::Env
        | Kind::Limits
        | Kind::Activity
        | Kind::Keys
        | Kind::Object(_)
        | Kind::ObjectOrNull(_)
        | Kind::Named(_)
        | Kind::List(_)
        | Kind::Foreach => None,
    }
}

fn shape(kind: Kind) -> Value {
    let defined = |name: &str| json!({ "$ref": format!("#/definitions/{name}") });
    // Beside a `$ref` other words are ignored in this draft, hence the detour.
    let one = |name: &str| json!({ "allOf": [defined(name)] });
    let or_null = |name: &str| json!({ "anyOf": [defined(name), { "type": "null" }] });
    match kind {
        Kind::Any => json!({}),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Whole { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Number { min, max } => json!({ "type": "number", "minimum": min, "maximum": max }),
        Kind::Seconds { min } => json!({ "type": "number", "minimum": min, "maximum": MAX_SECONDS }),
        Kind::SecondsOrNull { min } => {
            json!({ "type": ["number", "null"], "minimum": min, "maximum": MAX_SECONDS })
        }
        Kind::Word(words) => json!({ "enum": words }),
        Kind::Text => json!({ "type": "string", "minLength": 1 }),
        Kind::TextOrNull => json!({ "type": ["string", "null"], "minLength": 1 }),
        Kind::Texts => one("texts"),
        Kind::Codes => one("codes"),
        Kind::Signal => json!({ "type": ["string", "integer"], "minimum": 1, "maximum": 64 }),
        Kind::SizeOrNull => json!({ "type": ["integer", "string", "null"], "minimum": MIN_LOG_BYTES }),
        Kind::Umask => json!({ "type": "string", "pattern": "^0?[0-7]{1,3}$" }),
        Kind::Command => one("command"),
        Kind::CommandOrNull => or_null("command"),
        Kind::Env => {
            json!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } })
        }
        Kind::Limits => {
            let limit = json!({ "type": ["integer", "string"], "minimum": 0 });
            let limits: Map<String, Value> =
                LIMITS.iter().map(|name| ((*name).to_owned(), limit.clone())).collect();
            json!({ "type": "object", "properties": limits, "additionalProperties": false })
        }
        Kind::Keys => {
            let keys = json!({ "anyOf": [{ "type": "null" }, defined("texts")] });
            let actions: Map<String, Value> =
                BINDINGS.iter().map(|binding| (binding.name.to_owned(), keys.clone())).collect();
            json!({ "type": "object", "properties": actions, "additionalProperties": false })
        }
        Kind::Activity => json!({ "anyOf": [defined("texts"), defined("activity")] }),
        Kind::Object(place) => one(&name(place)),
        Kind::ObjectOrNull(place) => or_null(&name(place)),
        Kind::List(place) => json!({ "type": "array", "items": defined(&name(place)), "minItems": 1 }),
        Kind::Foreach => json!({ "anyOf": [{ "type": "string", "minLength": 1 }, defined("foreach")] }),
        Kind::Named(Place::Input) => json!({
            "type": "object",
            "propertyNames": { "pattern": "^[^\\s.\\[\\]=-][^\\s.\\[\\]=]*$" },
            "additionalProperties": defined("input"),
        }),
        Kind::Named(place) => json!({
            "type": "object",
            "propertyNames": { "pattern": "^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$", "not": { "enum": ["restage", "all"] } },
            "additionalProperties": defined(&name(place)),
        }),
    }
}
