//! Env files: `KEY=VALUE` a line, `export` before it, comments, quotes. Values are taken as they stand: nothing is
//! expanded, and none of them ever stands in a message.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use crate::domain::spec::MAX_ENV_FILE;

/// The pairs of a file, in its order. The error names the file, the line and what is wrong, never a value. Nothing is
/// waited for: whoever reads has others to look after.
pub fn read(path: &Path) -> Result<Vec<(String, String)>, String> {
    let wrong = |problem: &str| format!("read the env file {}: {problem}", path.display());
    let text = read_text(path).map_err(|problem| wrong(&problem))?;
    parse(&text).map_err(|(line, problem)| format!("read the env file {}:{line}: {problem}", path.display()))
}

fn read_text(path: &Path) -> Result<String, String> {
    let said = |error: io::Error| error.to_string();
    // Without the flags a named pipe would keep us until somebody writes.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(said)?;
    if file.metadata().map_err(said)?.file_type().is_fifo() {
        return Err(
            "it is a named pipe, and no start waits for who writes into it; name a plain file, or let the \
                    command read it: set -a; . FILE; exec PROGRAM"
                .into(),
        );
    }
    let mut bytes = Vec::new();
    file.take(MAX_ENV_FILE + 1).read_to_end(&mut bytes).map_err(said)?;
    if bytes.len() as u64 > MAX_ENV_FILE {
        return Err(format!(
            "it is larger than the {} MiB that all variables together may have; hand long text over in a file",
            MAX_ENV_FILE >> 20
        ));
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".into())
}

fn parse(text: &str) -> Result<Vec<(String, String)>, (usize, String)> {
    let mut pairs = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if let Some(pair) = parse_line(line).map_err(|problem| (at + 1, problem))? {
            pairs.push(pair);
        }
    }
    Ok(pairs)
}

fn parse_line(line: &str) -> Result<Option<(String, String)>, String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let Some((key, value)) = line.split_once('=') else {
        return Err("expected KEY=VALUE, found no '='".into());
    };
    let key = key.trim_end();
    let starts_well = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts_well || !key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(format!("{key:?} is no name of a variable"));
    }
    if value.contains('\0') {
        return Err(format!("the value of {key} holds a NUL byte"));
    }
    let value = unquote(value.trim_start()).map_err(|problem| format!("the value of {key} {problem}"))?;
    Ok(Some((key.to_owned(), value)))
}

fn unquote(value: &str) -> Result<String, &'static str> {
    match value.chars().next() {
        Some('\'') => {
            let (inside, rest) = value[1..].split_once('\'').ok_or("has no closing '")?;
            nothing_but_a_comment(rest)?;
            Ok(inside.to_owned())
        }
        Some('"') => double_quoted(&value[1..]),
        Some(_) | None => Ok(without_comment(value).to_owned()),
    }
}

fn double_quoted(value: &str) -> Result<String, &'static str> {
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars();
    loop {
        match chars.next().ok_or("has no closing \"")? {
            '"' => break,
            '\\' => match chars.next().ok_or("has no closing \"")? {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                escaped @ ('"' | '\\' | '$' | '`') => text.push(escaped),
                other => text.extend(['\\', other]),
            },
            other => text.push(other),
        }
    }
    nothing_but_a_comment(chars.as_str())?;
    Ok(text)
}

fn nothing_but_a_comment(rest: &str) -> Result<(), &'static str> {
    let rest = rest.trim_start();
    if rest.is_empty() || rest.starts_with('#') { Ok(()) } else { Err("goes on after its closing quote") }
}

/// A `#` begins a comment at the start of a value or after white space.
fn without_comment(value: &str) -> &str {
    let comment = value
        .char_indices()
        .find(|(at, c)| *c == '#' && value[..*at].chars().next_back().is_none_or(char::is_whitespace));
    comment.map_or(value, |(at, _)| &value[..at]).trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> String {
        parse(line).unwrap().remove(0).1
    }

    #[test]
    fn values_are_read_as_shells_and_compose_read_them() {
        for (line, value) in [
            ("A=b", "b"),
            ("export A=b", "b"),
            ("A =  b c  # why", "b c"),
            ("A=b#c", "b#c"),
            ("A=#c", ""),
            ("A=", ""),
            ("A='b # $c' # why", "b # $c"),
            (r#"A="b\n\"c\" \q""#, "b\n\"c\" \\q"),
            ("A=b=c", "b=c"),
        ] {
            assert_eq!(one(line), value, "{line}");
        }
        let pairs = parse("# head\n\n  A=1\r\nB=2\n").unwrap();
        assert_eq!(pairs, [("A".into(), "1".into()), ("B".into(), "2".into())]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_without_its_value() {
        for (text, line, problem) in [
            ("A=1\nsecret", 2, "no '='"),
            ("1A=secret", 1, "\"1A\" is no name"),
            ("A='secret", 1, "the value of A has no closing '"),
            ("A=\"secret\" x", 1, "goes on after its closing quote"),
        ] {
            let (at, said) = parse(text).unwrap_err();
            assert_eq!(at, line, "{text}");
            assert!(said.contains(problem) && !said.contains("secret"), "{said}");
        }
        let missing = read(Path::new("/nowhere/x.env")).unwrap_err();
        assert!(missing.starts_with("read the env file /nowhere/x.env: No such file"), "{missing}");
    }

    #[test]
    fn what_would_have_to_be_waited_for_or_has_no_end_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe.env");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let told = read(&pipe).unwrap_err();
        assert!(
            told.contains("pipe.env: it is a named pipe") && told.contains("name a plain file"),
            "{told}"
        );
        let told = read(Path::new("/dev/zero")).unwrap_err();
        assert!(told.contains("larger than the 2 MiB"), "{told}");
        assert_eq!(read(Path::new("/dev/null")).unwrap(), []);
    }
}
