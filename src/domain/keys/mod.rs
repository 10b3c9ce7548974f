//! What the keys of the dashboard do: the table of actions ([`BINDINGS`]), keys as they are written ([`Key`]), and the
//! two together with what a config changes ([`Keymap`]). It stands in the domain because a config is checked against
//! it; nothing here knows a terminal.

use std::collections::BTreeMap;
use std::fmt;

mod press;
mod table;

pub use press::{Code, Key};
pub use table::{Action, BINDINGS, Binding, PLACES, Place, SCOPES, Scope};

/// What a config says of the keys, by the name of the action; an empty list takes its keys away.
pub type Overrides = BTreeMap<String, Vec<Key>>;

/// Always "quit", and not to be given to anything else: whoever knows no other key knows this one.
pub const ALWAYS_QUIT: Key = Key::ctrl('c');

/// Which key does what, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keymap {
    /// In the order of the table.
    keys: Vec<(Action, Scope, Vec<Key>)>,
}

/// Why overrides cannot be used. `name` is the key of the config to point at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clash {
    pub name: String,
    pub message: String,
    pub hint: Option<String>,
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.message)
    }
}

impl Default for Keymap {
    fn default() -> Self {
        let keys = BINDINGS
            .iter()
            .map(|binding| {
                // A test reads every key of the table, so none is left out here.
                let keys = binding.keys.iter().filter_map(|text| Key::parse(text).ok()).collect();
                (binding.action, binding.scope, keys)
            })
            .collect();
        Self { keys }
    }
}

impl Keymap {
    /// The table with these changes, or every reason against them.
    pub fn with(overrides: &Overrides) -> Result<Self, Vec<Clash>> {
        let mut map = Self::default();
        let mut clashes = Vec::new();
        for (name, keys) in overrides {
            let entry = Action::by_name(name)
                .and_then(|action| map.keys.iter_mut().find(|(known, ..)| *known == action));
            match entry {
                Some((.., current)) => current.clone_from(keys),
                None => clashes.push(Clash {
                    name: name.clone(),
                    message: "there is no such action".into(),
                    hint: Some(format!("there are: {}", names())),
                }),
            }
        }
        clashes.extend(map.clashes(overrides));
        if clashes.is_empty() { Ok(map) } else { Err(clashes) }
    }

    /// Each told at a key that the config sets: those of the table do not clash with one another.
    fn clashes(&self, overrides: &Overrides) -> Vec<Clash> {
        let mut found = Vec::new();
        let name = |action: Action| action.binding().map_or("", |binding| binding.name);
        for (at, (action, scope, keys)) in self.keys.iter().enumerate() {
            let own = name(*action);
            if !overrides.contains_key(own) {
                continue;
            }
            if keys.contains(&ALWAYS_QUIT) && *action != Action::Quit {
                found.push(Clash {
                    name: own.to_owned(),
                    message: format!("{ALWAYS_QUIT} always means quit"),
                    hint: Some("choose another key".into()),
                });
            }
            for (other_at, (other, other_scope, other_keys)) in self.keys.iter().enumerate() {
                let other_name = name(*other);
                // A clash of two that the config sets is told once, at the second.
                let told_there = overrides.contains_key(other_name) && other_at > at;
                if other_at == at || told_there || !scope.meets(*other_scope) {
                    continue;
                }
                for key in keys.iter().filter(|key| other_keys.contains(key)) {
                    found.push(Clash {
                        name: own.to_owned(),
                        message: format!("the key {key} already means {other_name}"),
                        hint: Some(format!("choose another key, or give {other_name} another one, too")),
                    });
                }
            }
        }
        found
    }

    /// What a key means in a place.
    pub fn action(&self, key: Key, place: Place) -> Option<Action> {
        if key == ALWAYS_QUIT && place != Place::Attach {
            return Some(Action::Quit);
        }
        let means =
            |(_, scope, keys): &&(Action, Scope, Vec<Key>)| scope.covers(place) && keys.contains(&key);
        self.keys.iter().find(means).map(|(action, ..)| *action)
    }

    pub fn keys(&self, action: Action) -> &[Key] {
        self.keys.iter().find(|(known, ..)| *known == action).map_or(&[], |(.., keys)| keys)
    }

    /// The key to show where there is room for one.
    pub fn key(&self, action: Action) -> Option<Key> {
        self.keys(action).first().copied()
    }
}

/// The names of all actions, for a hint.
pub fn names() -> String {
    BINDINGS.iter().map(|binding| binding.name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(pairs: &[(&str, &[&str])]) -> Overrides {
        let keys = |texts: &[&str]| texts.iter().map(|text| Key::parse(text).unwrap()).collect();
        pairs.iter().map(|(name, texts)| ((*name).to_owned(), keys(texts))).collect()
    }

    #[test]
    fn the_table_holds_together() {
        for binding in BINDINGS {
            for key in binding.keys {
                assert_eq!(&Key::parse(key).unwrap().to_string(), key, "{}", binding.name);
            }
            assert!(!binding.doc.ends_with('.') && !binding.doc.is_empty(), "{}", binding.name);
            assert_eq!(Action::by_name(binding.name), Some(binding.action));
        }
        let all: Overrides = BINDINGS
            .iter()
            .map(|binding| {
                (binding.name.to_owned(), binding.keys.iter().map(|key| Key::parse(key).unwrap()).collect())
            })
            .collect();
        assert_eq!(Keymap::with(&all), Ok(Keymap::default()));
    }

    #[test]
    fn a_key_means_what_its_place_says() {
        let map = Keymap::default();
        assert_eq!(map.action(Key::char('/'), Place::List), Some(Action::Filter));
        assert_eq!(map.action(Key::char('/'), Place::Log), Some(Action::Search));
        assert_eq!(map.action(Key::char('/'), Place::Help), None);
        assert_eq!(map.action(Key::char('x'), Place::Analytics), None);
        assert_eq!(map.action(Key::char('j'), Place::Attach), None);
        assert_eq!(map.action(ALWAYS_QUIT, Place::Config), Some(Action::Quit));
        assert_eq!(map.action(ALWAYS_QUIT, Place::Attach), None);
    }

    #[test]
    fn keys_can_be_changed_moved_and_taken_away() {
        let map =
            Keymap::with(&over(&[("stop", &["d", "Delete"]), ("attach", &["x"]), ("sort", &[])])).unwrap();
        assert_eq!(map.action(Key::char('d'), Place::List), Some(Action::Stop));
        assert_eq!(map.action(Key::char('x'), Place::List), Some(Action::Attach));
        assert_eq!(map.action(Key::char('o'), Place::List), None);
        assert_eq!(map.key(Action::Sort), None);
    }

    #[test]
    fn a_clash_is_told_once_with_a_way_out() {
        let told = |pairs: &[(&str, &[&str])]| {
            let clashes = Keymap::with(&over(pairs)).unwrap_err();
            clashes.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(told(&[("stop", &["r"])]), ["stop: the key r already means restart"]);
        assert_eq!(told(&[("stop", &["d"]), ("kill", &["d"])]), ["kill: the key d already means stop"]);
        assert_eq!(told(&[("stop", &["ctrl-c"])]), ["stop: ctrl-c always means quit"]);
        assert_eq!(told(&[("halt", &["h"])]), ["halt: there is no such action"]);
        // The list and the log are never asked at once.
        assert!(Keymap::with(&over(&[("sort", &["n"])])).is_ok());
    }
}
