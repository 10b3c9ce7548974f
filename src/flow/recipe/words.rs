//! Which words of a command are files that it is made by.
//!
//! Of an argument list every word may be one: the list is all that the command is. Of a text for a shell it is what the text
//! executes: the first word of each simple command where it is a path, and the script that an interpreter is given, which
//! is its first argument that is no option. What is tested, read or written there is no part of what is executed.

use crate::domain::spec::CommandSpec;

/// Those that take a script as their first argument, without the version at the end of their name.
const INTERPRETERS: [&str; 19] = [
    ".", "source", "sh", "bash", "dash", "zsh", "ksh", "ash", "fish", "python", "pypy", "node", "deno",
    "bun", "ruby", "perl", "php", "lua", "Rscript",
];
const SHELLS: [&str; 7] = ["sh", "bash", "dash", "zsh", "ksh", "ash", "fish"];
/// What may stand before a command without being one.
const BEFORE: [&str; 21] = [
    "if", "then", "elif", "else", "do", "while", "until", "!", "{", "time", "exec", "command", "env",
    "nohup", "nice", "eval", "setsid", "timeout", "stdbuf", "ionice", "xargs",
];
/// These give an interpreter that is no shell its program as text, or as a module that is found elsewhere.
const INLINE: [&str; 4] = ["-c", "-e", "-m", "-E"];
/// Behind these options of an interpreter that is no shell stands a value.
const VALUED: [&str; 6] = ["-W", "-X", "-I", "-r", "--require", "--import"];

/// A program without a `/` is looked for elsewhere, and an option is no file.
pub(super) fn named_files(command: &CommandSpec) -> Vec<String> {
    match command {
        CommandSpec::Shell(line) => of_shell(line),
        CommandSpec::Argv(argv) => {
            let text = shell_text(argv);
            let program = argv.iter().take(1).filter(|program| program.contains('/'));
            let others = argv.iter().enumerate().skip(1).filter(|(place, _)| Some(*place) != text);
            let others =
                others.map(|(_, word)| word).filter(|word| !word.is_empty() && !word.starts_with('-'));
            let mut files: Vec<String> = program.chain(others).cloned().collect();
            files.extend(text.into_iter().flat_map(|place| of_shell(&argv[place])));
            files
        }
    }
}

/// Where in `sh -c TEXT` the text is.
fn shell_text(argv: &[String]) -> Option<usize> {
    match given(argv)? {
        Given::Text(place) => Some(place),
        Given::Script(_) | Given::Module => None,
    }
}

/// What an interpreter is to execute: a text for a shell, or a file, at this place of the words; or anything else.
enum Given {
    Text(usize),
    Script(usize),
    Module,
}

/// `None` where the first word is no interpreter, or nothing is given to it.
fn given(words: &[String]) -> Option<Given> {
    let program = name_of(words.first()?);
    if !INTERPRETERS.contains(&program) {
        return None;
    }
    let is_shell = SHELLS.contains(&program);
    let (mut place, mut text) = (1, false);
    while let Some(option) = words.get(place).filter(|word| word.len() > 1 && word.starts_with('-')) {
        let letters = if option.starts_with("--") { "" } else { option.as_str() };
        let has_value = if is_shell {
            text |= letters.contains('c');
            letters.ends_with(['o', 'O'])
        } else {
            if INLINE.contains(&option.as_str()) {
                return Some(Given::Module);
            }
            VALUED.contains(&option.as_str())
        };
        place += 1 + usize::from(has_value);
    }
    words.get(place).map(|_| if text { Given::Text(place) } else { Given::Script(place) })
}

/// `/usr/bin/python3.12` is `python`.
fn name_of(program: &str) -> &str {
    let name = program.rsplit_once('/').map_or(program, |(_, name)| name);
    if name == "." { name } else { name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.') }
}

fn of_shell(line: &str) -> Vec<String> {
    let mut files = Vec::new();
    for command in simple_commands(line) {
        let is_value = |word: &str| {
            word.split_once('=').is_some_and(|(name, _)| {
                !name.is_empty() && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
            })
        };
        let words = behind_prefixes(&command, is_value);
        let Some(program) = words.first() else { continue };
        if program.contains('/') {
            files.push(program.clone());
        }
        match given(words) {
            Some(Given::Text(place)) => files.extend(of_shell(&words[place])),
            Some(Given::Script(place)) => files.push(words[place].clone()),
            Some(Given::Module) | None => {}
        }
    }
    files
}

/// Without what stands before a command, the options and numbers of that, and variables that are set for it.
fn behind_prefixes(words: &[String], is_value: impl Fn(&str) -> bool) -> &[String] {
    let mut prefixed = false;
    let starts = words.iter().position(|word| {
        let is_prefix = BEFORE.contains(&name_of(word)) || BEFORE.contains(&word.as_str());
        prefixed |= is_prefix;
        let is_of_prefix = word.starts_with('-') || word.starts_with(|c: char| c.is_ascii_digit());
        !(is_prefix || is_value(word) || (prefixed && is_of_prefix))
    });
    starts.and_then(|start| words.get(start..)).unwrap_or_default()
}

/// The words of each, without quotes and redirections. Not a shell: what it cannot know, such as a variable, names no
/// file that is there.
fn simple_commands(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut redirected = false;
    let mut quote = None;
    let mut chars = line.chars().peekable();
    let end = |word: &mut Option<String>, redirected: &mut bool, commands: &mut Vec<Vec<String>>| {
        if let Some(word) = word.take()
            && !std::mem::take(redirected)
            && let Some(command) = commands.last_mut()
        {
            command.push(word);
        }
    };
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '\\') => word.get_or_insert_default().extend(chars.next()),
            (None, '#') if word.is_none() => while chars.next_if(|c| *c != '\n').is_some() {},
            (None, '<' | '>') => {
                // `2>`: the number is part of it.
                if word.as_ref().is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_digit())) {
                    word = None;
                }
                end(&mut word, &mut redirected, &mut commands);
                redirected = true;
                chars.next_if(|c| *c == '&');
            }
            (None, ';' | '|' | '&' | '(' | ')' | '`' | '\n') => {
                end(&mut word, &mut redirected, &mut commands);
                redirected = false;
                commands.push(Vec::new());
            }
            (None, c) if c.is_whitespace() => end(&mut word, &mut redirected, &mut commands),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    end(&mut word, &mut redirected, &mut commands);
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_shell_text_what_it_executes_counts() {
        for (line, files) in [
            ("./draw.py --fast data.csv", &["./draw.py"][..]),
            ("make", &[]),
            ("cd x && python3 'draw it.py' in.csv | tee out.txt; bin/make", &["draw it.py", "bin/make"]),
            ("[ -e STOP ] || test -f data.csv && cat <data.csv >out.txt 2>> log", &[]),
            ("if [ -e STOP ]; then sh -eu x.sh STOP; fi", &["x.sh"]),
            ("A=1 exec env B=./no /usr/bin/python3.12 -u x.py", &["/usr/bin/python3.12", "x.py"]),
            ("python3 -c 'import x' y.py; python3 -m http.server", &[]),
            (". ./env.sh; source lib.sh 2>&1 >x", &["./env.sh", "lib.sh"]),
            ("echo \"$(sh sub.sh)\" $(sh sub.sh) # sh comment.sh", &["sub.sh"]),
            ("> out.txt ./a.sh\nsh ./b\\ c.sh &", &["./a.sh", "./b c.sh"]),
            ("sh -e x.sh; bash -euo pipefail y.sh -c z", &["x.sh", "y.sh"]),
            ("python3 -W ignore p.py; perl -e 'print' q.pl", &["p.py"]),
            (
                "/usr/bin/env -i A=1 bash x.sh; timeout -k 1 5m ./y.sh; setsid -w sh z.sh",
                &["x.sh", "./y.sh", "z.sh"],
            ),
            ("bash -lc 'cd a && sh -e x.sh' name; find . | xargs -n1 ./y.sh", &["x.sh", "./y.sh"]),
        ] {
            assert_eq!(named_files(&CommandSpec::Shell(line.into())), files, "{line}");
        }
    }

    #[test]
    fn of_an_argument_list_every_word_does() {
        for (argv, files) in [
            (&["./draw.py", "in.csv", "-x", ""][..], &["./draw.py", "in.csv"][..]),
            (&["python3", "draw.py", "lib/a.py"], &["draw.py", "lib/a.py"]),
            (&["sh", "-c", "cat data.csv; ./x.sh", "name"], &["name", "./x.sh"]),
            (&["/bin/bash", "-euc", "sh y.sh <z"], &["/bin/bash", "y.sh"]),
            (&["sh", "x.sh", "-c"], &["x.sh"]),
            (&["sh", "-o", "errexit", "-c", "sh -e x.sh"], &["errexit", "x.sh"]),
            (&["grep", "-c", "a b"], &["a b"]),
        ] {
            let command = CommandSpec::Argv(argv.iter().map(|word| (*word).to_owned()).collect());
            assert_eq!(named_files(&command), files, "{argv:?}");
        }
    }
}
