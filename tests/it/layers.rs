//! Who may know whom. The rooms of `src/` are what a reader finds their way by; an import against the grain is the first
//! step of losing it.

use std::fs;
use std::path::{Path, PathBuf};

/// A room, and the beginnings of the paths below `crate::` that it may name. Itself is always allowed; `*` is anything.
const MAY: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("ports", &["domain"]),
    ("config", &["domain"]),
    // The processes that must not fail know nothing of the rest.
    ("keeper", &[]),
    ("executor", &["domain", "ports", "keeper::link", "keeper::wire"]),
    ("store", &["domain", "ports"]),
    ("logs", &["domain", "ports"]),
    ("supervisor", &["domain", "ports", "logs"]),
    // Of logs, the last line of an attempt.
    ("flow", &["domain", "ports", "logs", "supervisor::handle", "supervisor::guest"]),
    ("control", &["domain", "supervisor::handle", "flow::handle"]),
    // The dashboard is a client, and reads logs as files.
    ("frontend", &["domain", "logs", "control::client", "supervisor::handle", "flow::handle"]),
    ("cli", &["*"]),
    ("main", &["*"]),
    ("lib", &["*"]),
];

#[test]
fn every_room_imports_only_what_it_may() {
    let mut wrong = Vec::new();
    let mut looked_at = 0;
    for file in rust_files(&source()) {
        let below = file.strip_prefix(source()).unwrap();
        let first = below.components().next().unwrap();
        let room = Path::new(first.as_os_str()).file_stem().unwrap().to_str().unwrap();
        let Some((_, allowed)) = MAY.iter().find(|(name, _)| *name == room) else {
            wrong.push(format!("{}: the room {room} is not in the table", below.display()));
            continue;
        };
        if is_test(&file) {
            continue;
        }
        looked_at += 1;
        let text = fs::read_to_string(&file).unwrap();
        for path in crate_paths(&code_without_tests(&text)) {
            let fine = allowed.iter().any(|may| *may == "*" || starts_with(&path, may));
            if !fine && !starts_with(&path, room) {
                wrong.push(format!("{}: crate::{path}", below.display()));
            }
        }
    }
    assert!(looked_at > 20, "only {looked_at} files were found");
    assert!(wrong.is_empty(), "against the layers:\n{}", wrong.join("\n"));
}

#[test]
fn the_dashboard_and_headless_mode_do_not_know_each_other() {
    for file in rust_files(&source().join("frontend")) {
        let text = fs::read_to_string(&file).unwrap();
        let name = file.strip_prefix(source()).unwrap().display().to_string();
        if name.contains("tui") {
            assert!(!text.contains("headless::"), "{name}");
        }
        if name.contains("headless") {
            assert!(!text.contains("tui::"), "{name}");
        }
    }
}

#[test]
fn no_test_file_is_forgotten() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let main = fs::read_to_string(folder.join("main.rs")).unwrap();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if name == "main" || (path.is_file() && path.extension().is_none_or(|end| end != "rs")) {
            continue;
        }
        assert!(
            main.lines().any(|line| line == format!("mod {name};")),
            "tests/it/main.rs lacks: mod {name};"
        );
    }
}

#[test]
fn files_stay_readable() {
    let mut long = Vec::new();
    for file in rust_files(&source()) {
        let text = fs::read_to_string(&file).unwrap();
        let lines = text.lines().count();
        let name = file.strip_prefix(source()).unwrap().display().to_string();
        if lines > 500 && !is_test(&file) {
            long.push(format!("{name}: {lines} lines; it is asking to be two"));
        }
        if !text.starts_with("//!") && !is_test(&file) && name != "main.rs" {
            long.push(format!("{name}: it does not say what it is for"));
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn imports_are_found_where_they_hide() {
    let text = "use crate::domain::{ids::A, view::B};\nuse crate::{config, logs::tail};\nlet x = crate::ports::X;\n\
        /// [`crate::flow`]\n// crate::store\n#[cfg(test)]\nmod tests { use crate::cli; }\n";
    let found = crate_paths(&code_without_tests(text));
    assert_eq!(found, ["domain::{ids::A, view::B}", "config", "logs::tail", "ports::X"]);
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    found
}

/// Files of tests may know more than what they test.
fn is_test(file: &Path) -> bool {
    let stem = file.file_stem().unwrap().to_str().unwrap();
    stem == "tests" || stem.ends_with("_tests") || file.components().any(|part| part.as_os_str() == "tests")
}

/// Without comments, and without what follows the first `#[cfg(test)]` of a module, which by custom stands last.
fn code_without_tests(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.trim_end() == "#[cfg(test)]" && lines.peek().is_some_and(|next| next.contains("mod tests {"))
        {
            break;
        }
        if !line.trim_start().starts_with("//") {
            code.push_str(line);
            code.push('\n');
        }
    }
    code
}

/// What follows each `crate::`, one entry for each item of a list that stands directly behind it.
fn crate_paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        if let Some(list) = rest.strip_prefix('{') {
            let list = list.split("};").next().unwrap_or(list);
            found.extend(list.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()));
        } else {
            let end = rest.find([';', '(', ')', '<', '>', '\n']).unwrap_or(rest.len());
            found.push(rest[..end].trim().to_owned());
        }
    }
    found
}

fn starts_with(path: &str, may: &str) -> bool {
    path.strip_prefix(may).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}
