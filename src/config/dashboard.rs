//! What a config says of the dashboard's keys and looks. A key that would mean two things is a problem here, long before
//! anybody presses it.

use std::path::Path;

use super::diagnostic::quoted;
use super::keys;
use super::read::{At, Reader, Spot};
use super::tree::{Node, Value};
use crate::domain::keys::{self as dashboard, Action, BINDINGS, Key, Keymap, Overrides};
use crate::domain::spec::{Clipboard, Notifications, THEMES, ThemeChoice};

/// `{ "stop": "d", "quit": ["q", "F10"], "kill": null }`
pub(super) fn overrides(reader: &mut Reader<'_>, item: &Node<'_>) -> Option<Overrides> {
    let members = reader.members(item, "an object such as { \"stop\": \"d\" }")?;
    let mut read = Overrides::new();
    let mut spots: Vec<(&str, Spot)> = Vec::new();
    let mut whole = true;
    for member in members {
        if Action::by_name(&member.key).is_none() {
            let likely = keys::closest(&member.key, BINDINGS.iter().map(|binding| binding.name));
            let hint = match likely {
                Some(name) => format!("did you mean \"{name}\"?"),
                None => format!("there are: {}", dashboard::names()),
            };
            reader.error(member.key_spot, "there is no such action", Some(hint));
            whole = false;
            continue;
        }
        let Some(keys) = keys_of(reader, &member.value) else {
            whole = false;
            continue;
        };
        spots.push((&member.key, member.key_spot));
        read.insert(member.key.to_string(), keys);
    }
    if !whole {
        return None;
    }
    let Err(clashes) = Keymap::with(&read) else { return Some(read) };
    for clash in clashes {
        let spot = spots.iter().find(|(name, _)| *name == clash.name).map(|(_, spot)| *spot);
        reader.error(spot.unwrap_or(item.spot), clash.message, clash.hint);
    }
    None
}

fn keys_of(reader: &mut Reader<'_>, item: &Node<'_>) -> Option<Vec<Key>> {
    const WHAT: &str = "a key, a list of keys, or null for none";
    match &item.value {
        Value::Null => Some(Vec::new()),
        Value::Text(_) | Value::List(_) => reader.list(item, |reader, item| {
            let text = reader.text(item, "a key as text, such as \"x\" or \"ctrl-d\"")?;
            match Key::parse(&text) {
                Ok(key) => Some(key),
                Err(why) => {
                    reader.error(item.spot, why, None);
                    None
                }
            }
        }),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => reader.expected(item, WHAT),
    }
}

pub(super) fn notifications(word: &str) -> Notifications {
    match word {
        "off" => Notifications::Off,
        "osc9" => Notifications::Osc9,
        "both" => Notifications::Both,
        _ => Notifications::Bell,
    }
}

pub(super) fn clipboard(word: &str) -> Clipboard {
    if word == "off" { Clipboard::Off } else { Clipboard::Osc52 }
}

/// A name of ours as it is; anything else has to look like a file.
pub(super) fn theme_name(at: &At<String>) -> Option<ThemeChoice> {
    if at.value == "auto" {
        return Some(ThemeChoice::Auto);
    }
    THEMES.iter().find(|name| **name == at.value).map(|name| ThemeChoice::BuiltIn(name))
}

pub(super) fn is_file(text: &str) -> bool {
    text.contains('/') || Path::new(text).extension().is_some_and(|end| end.eq_ignore_ascii_case("json"))
}

pub(super) fn unknown_theme(reader: &mut Reader<'_>, at: &At<String>) {
    let all = ["auto"].into_iter().chain(THEMES);
    let hint = if let Some(name) = keys::closest(&at.value, all.clone()) {
        format!("did you mean \"{name}\"?")
    } else {
        let all = all.map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        format!("there are {all}; a file of your own needs a \"/\" or ends in .json")
    };
    reader.error(at.spot, format!("there is no theme {}", quoted(&at.value)), Some(hint));
}
