//! Keys, theme and notifications of the dashboard.

use super::Workspace;
use crate::domain::keys::{Action, Key, Keymap, Place};
use crate::domain::spec::{Clipboard, Notifications, ThemeChoice};

fn config(keys: &str) -> String {
    format!(r#"{{"runners": {{"a": {{"command": "true"}}}}, {keys}}}"#)
}

#[test]
fn what_is_written_counts() {
    let workspace = Workspace::new();
    std::fs::write(workspace.root().join("mine.json"), "{}").unwrap();
    let text = config(
        r#""keys": {"stop": "d", "quit": ["F10", "ctrl-q"], "kill": null}, "theme": "mine.json", "notifications": "both", "clipboard": "off""#,
    );
    let tui = workspace.load(&text).unwrap().spec.tui;
    assert_eq!(tui.theme, ThemeChoice::File(workspace.root().join("mine.json")));
    assert_eq!((tui.notifications, tui.clipboard), (Notifications::Both, Clipboard::Off));
    let map = Keymap::with(&tui.keys).unwrap();
    assert_eq!(map.action(Key::char('d'), Place::List), Some(Action::Stop));
    assert_eq!(map.action(Key::parse("F10").unwrap(), Place::Help), Some(Action::Quit));
    assert_eq!(map.key(Action::Kill), None);
    let named = workspace.load(config(r#""theme": "colour-blind""#)).unwrap().spec.tui;
    assert_eq!(named.clipboard, Clipboard::Osc52);
    assert_eq!((named.theme, named.keys.len()), (ThemeChoice::BuiltIn("colour-blind"), 0));
}

#[test]
fn what_cannot_be_says_why_and_what_to_do() {
    let workspace = Workspace::new();
    for (keys, message, hint) in [
        (r#""keys": {"stop": "r"}"#, "the key r already means restart", "choose another key"),
        (r#""keys": {"stop": "ctrl-c"}"#, "ctrl-c always means quit", "choose another key"),
        (r#""keys": {"stopp": "d"}"#, "there is no such action", "did you mean \"stop\"?"),
        (r#""keys": {"stop": "xx"}"#, "\"xx\" is no key", ""),
        (r#""keys": {"stop": 5}"#, "expected a key", ""),
        (r#""keys": []"#, "expected an object", ""),
        (r#""theme": "drak""#, "there is no theme \"drak\"", "did you mean \"dark\"?"),
        (r#""theme": "none.json""#, "none.json cannot be found", "create it"),
        (r#""clipboard": true"#, "expected one of", ""),
        (r#""notifications": "bel""#, "expected one of", "did you mean \"bell\"?"),
    ] {
        let errors = workspace.load(config(keys)).unwrap_err();
        let told = errors.human();
        assert!(told.contains(message) && told.contains(hint), "{keys}: {told}");
        assert_eq!(errors.0.len(), 1, "{keys}: {told}");
        assert!(errors.0[0].at.is_some(), "{keys}");
    }
}
