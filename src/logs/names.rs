//! Which file an attempt writes to, and which attempts a folder of logs holds. It must not know what is in the files.
//!
//! The template is read backwards as well as forwards: every file name belongs to one runner and one attempt at most,
//! so that nothing is ever overwritten, and nothing of another runner is ever deleted.

use std::collections::HashMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::domain::hash::fnv1a_64;
use crate::domain::ids::{Attempt, RunnerName};
use crate::domain::spec::LogSpec;

const NAME: &str = "{name}";
const INDEX: &str = "{index}";

/// Longer names are cut and told apart by a hash, so that template and number still fit into 255 bytes.
const MAX_FILE_FORM: usize = 180;

/// The log of one attempt.
pub fn attempt_log(log: &LogSpec, runner: &RunnerName, attempt: Attempt) -> PathBuf {
    log.dir.join(file_name(&log.template, runner, attempt))
}

fn file_name(template: &str, runner: &RunnerName, attempt: Attempt) -> String {
    template.replace(INDEX, &attempt.to_string()).replace(NAME, &file_form(runner))
}

/// A runner's name as part of a file name. Names that a person may choose stay as they are; `/`, which names of stages
/// hold, becomes `+`, and anything else is written as `%XX`. Two names never get the same form.
pub fn file_form(runner: &RunnerName) -> String {
    let mut form = String::with_capacity(runner.as_str().len());
    for (at, byte) in runner.as_str().bytes().enumerate() {
        match byte {
            b'/' => form.push('+'),
            b'.' if at == 0 => form.push_str("%2E"),
            b'.' | b'_' | b'-' => form.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => form.push(char::from(byte)),
            _ => form.extend(["%".into(), format!("{byte:02X}")]),
        }
    }
    if form.len() > MAX_FILE_FORM {
        let hash = fnv1a_64(runner.as_str().as_bytes());
        form.truncate(MAX_FILE_FORM - 17);
        form.extend(["~".into(), format!("{hash:016x}")]);
    }
    form
}

/// What is wrong with a template, for a person; `None` where it can be used.
pub fn template_problem(template: &str) -> Option<String> {
    if template.contains('/') {
        return Some("it names a file, so it may not hold '/' (the folder is set apart)".into());
    }
    if template.matches(NAME).count() != 1 || template.matches(INDEX).count() != 1 {
        return Some(
            "it must hold {name} and {index}, each once, or logs would overwrite one another".into(),
        );
    }
    if template.starts_with(['.', '-']) {
        return Some("it may not start with '.' or '-'".into());
    }
    if template.len() > 60 {
        return Some("it may have 60 characters at most".into());
    }
    if template.bytes().any(|b| b < b' ' || b == 0x7f) {
        return Some("it may not hold control characters".into());
    }
    if Template::parse(template).is_none() {
        return Some(
            "something that is no digit must stand between {name} and {index}, such as '_', or the numbers cannot be \
             told from the names"
                .into(),
        );
    }
    None
}

/// The attempts of one runner whose logs lie in `dir`, in ascending order. No folder means no logs.
pub fn attempts_of(dir: &Path, template: &str, runner: &RunnerName) -> io::Result<Vec<Attempt>> {
    Ok(survey(dir, template)?.remove(&file_form(runner)).unwrap_or_default())
}

/// The first number above `after` that no file uses yet.
pub fn next_free(existing: &[Attempt], after: Option<Attempt>) -> Attempt {
    let last = existing.iter().copied().max().max(after);
    last.map_or(Attempt::FIRST, Attempt::next)
}

/// All attempts that have a log in `dir`, by the file form of the runner's name, each list in ascending order: one
/// reading of the folder for any number of runners.
pub fn survey(dir: &Path, template: &str) -> io::Result<HashMap<String, Vec<Attempt>>> {
    let mut found: HashMap<String, Vec<Attempt>> = HashMap::new();
    let Some(template) = Template::parse(template) else { return Ok(found) };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        // A name that is no UTF-8 is none of ours.
        let Some((form, attempt)) = entry.file_name().to_str().and_then(|name| template.read(name)) else {
            continue;
        };
        found.entry(form).or_default().push(attempt);
    }
    for attempts in found.values_mut() {
        attempts.sort_unstable();
    }
    Ok(found)
}

/// Makes the log folder, for its owner only. One that is there already stays as it is, also where it is a symlink to
/// a folder elsewhere: the user chose it. The files in it are opened without following symlinks.
pub fn prepare_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// A template taken apart, so that a file name can be read back.
struct Template<'a> {
    before: &'a str,
    between: &'a str,
    after: &'a str,
    name_first: bool,
}

impl<'a> Template<'a> {
    fn parse(template: &'a str) -> Option<Self> {
        let (name, index) = (template.find(NAME)?, template.find(INDEX)?);
        let name_first = name < index;
        let (first, second) =
            if name_first { ((name, NAME), (index, INDEX)) } else { ((index, INDEX), (name, NAME)) };
        let between = template.get(first.0 + first.1.len()..second.0)?;
        let (before, after) = (&template[..first.0], &template[second.0 + second.1.len()..]);
        let readable = between.bytes().any(|b| !b.is_ascii_digit());
        readable.then_some(Self { before, between, after, name_first })
    }

    fn read(&self, file_name: &str) -> Option<(String, Attempt)> {
        let middle = file_name.strip_prefix(self.before)?.strip_suffix(self.after)?;
        // The number holds digits only and what stands between holds something else, so the separator that is
        // nearest to the number is the right one.
        let (form, number) = if self.name_first {
            middle.rsplit_once(self.between)?
        } else {
            let (number, form) = middle.split_once(self.between)?;
            (form, number)
        };
        let attempt = Attempt::new(number.parse().ok()?)?;
        // `007` and `+7` parse as well, but are no names of ours.
        (!form.is_empty() && number == attempt.to_string()).then(|| (form.to_owned(), attempt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const USUAL: &str = "{name}_{index}.log";

    fn numbers(dir: &Path, template: &str, name: &str) -> Vec<u32> {
        attempts_of(dir, template, &RunnerName::trusted(name)).unwrap().iter().map(|a| a.get()).collect()
    }

    #[test]
    fn a_folder_is_read_back_to_the_runner_it_belongs_to() {
        let dir = tempfile::tempdir().unwrap();
        for file in [
            "a_1.log",
            "a_10.log",
            "a_2.log",
            "a_1_3.log",
            "a_b_4.log",
            "ab_5.log",
            "a_007.log",
            "a_+8.log",
            "a_0.log",
            "a_6.log.old",
            "xa_7.log",
            "a_99999999999.log",
            "a_.log",
            "_1.log",
        ] {
            std::fs::write(dir.path().join(file), "").unwrap();
        }
        assert_eq!(numbers(dir.path(), USUAL, "a"), [1, 2, 10]);
        assert_eq!(numbers(dir.path(), USUAL, "a_1"), [3]);
        assert_eq!(numbers(dir.path(), USUAL, "a_b"), [4]);
        assert_eq!(numbers(dir.path(), USUAL, "ab"), [5]);
        assert_eq!(numbers(&dir.path().join("absent"), USUAL, "a"), [0; 0]);
    }

    #[test]
    fn the_next_number_is_above_every_file_and_every_record() {
        let at = |n| Attempt::new(n).unwrap();
        assert_eq!(next_free(&[], None).get(), 1);
        assert_eq!(next_free(&[at(1), at(7)], Some(at(3))).get(), 8);
        assert_eq!(next_free(&[at(2)], Some(at(9))).get(), 10);
    }

    #[test]
    fn names_of_stages_and_hostile_names_stay_inside_the_folder() {
        let form = |name: &str| file_form(&RunnerName::trusted(name));
        assert_eq!(form("agent-2.b_c"), "agent-2.b_c");
        assert_eq!(form("video-12/script"), "video-12+script");
        assert_eq!(form("../../etc"), "%2E.+..+etc");
        assert_eq!(form("a b+c"), "a%20b%2Bc");
        let long = ["x".repeat(300), "x".repeat(301)].map(|name| form(&name));
        assert!(long[0].len() <= MAX_FILE_FORM && long[0] != long[1]);
    }

    #[test]
    fn templates_that_lose_or_mix_up_logs_are_refused() {
        for good in [USUAL, "{index}-{name}.txt", "log.{name}.{index}"] {
            assert_eq!(template_problem(good), None, "{good}");
        }
        for bad in [
            "{name}.log",
            "{index}.log",
            "{name}{index}.log",
            "{name}1{index}",
            "{name}/{index}.log",
            ".{name}_{index}",
            "{name}_{index}_{index}",
        ] {
            assert!(template_problem(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn the_folder_is_private_and_may_be_a_symlink() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("a/b"), dir.path().join("link"));
        prepare_dir(&real).unwrap();
        assert_eq!(std::fs::metadata(dir.path().join("a")).unwrap().permissions().mode() & 0o777, 0o700);
        std::os::unix::fs::symlink(&real, &link).unwrap();
        prepare_dir(&link).unwrap();
        std::fs::write(link.join("a_3.log"), "").unwrap();
        assert_eq!(numbers(&link, USUAL, "a"), [3]);
    }

    proptest! {
        #[test]
        fn every_name_and_number_is_read_back(
            name in "[a-z0-9_./ +%-]{1,8}", number in 1_u32..2000, which in 0_usize..4,
        ) {
            let template = [USUAL, "{index}-{name}.log", "{name}.{index}", "l_{index}_1{name}_1.log"][which];
            let runner = RunnerName::trusted(name);
            let attempt = Attempt::new(number).unwrap();
            let file = file_name(template, &runner, attempt);
            prop_assert!(!file.contains('/'));
            prop_assert_eq!(Template::parse(template).unwrap().read(&file), Some((file_form(&runner), attempt)));
        }
    }
}
