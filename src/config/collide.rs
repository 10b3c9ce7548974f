//! Whether two runners would ever write to one log. A name like `a1_7.log` can belong to attempt 7 of `a1`, or, with
//! another template, to attempt 17 of `a`; found by comparing the patterns, not by trying numbers.

use super::raw::RawFile;
use super::read::{Reader, Spot};
use crate::domain::spec::RunnerSpec;

/// The names of one runner's logs: what stands before and behind the number.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Names {
    before: String,
    behind: String,
    runner: usize,
}

pub(super) fn check(reader: &mut Reader<'_>, file: &RawFile<'_>, runners: &[RunnerSpec]) {
    let mut names: Vec<Names> = runners
        .iter()
        .enumerate()
        .filter_map(|(runner, spec)| {
            let text = spec.log.template.replace("{name}", spec.name.as_str());
            let (before, behind) = text.split_once("{index}")?;
            let before = format!("{}/{before}", spec.log.dir.display());
            Some(Names { before, behind: behind.to_owned(), runner })
        })
        .collect();
    names.sort_unstable();
    for (index, one) in names.iter().enumerate() {
        let mut others =
            names.iter().skip(index + 1).take_while(|other| other.before.starts_with(&one.before));
        // The first is enough: a thousand runners with one name for all would make half a million pairs.
        if let Some(other) = others.find(|other| meet(one, other)) {
            let (first, second) = (one.runner.min(other.runner), one.runner.max(other.runner));
            let (Some(first), Some(second)) = (runners.get(first), runners.get(second)) else { continue };
            let at = file.runners.iter().find(|raw| raw.name == second.name).and_then(|raw| {
                let own = raw.supervision.log_template.as_ref().or(file.supervision.log_template.as_ref());
                own.map(|at| at.spot).or_else(|| raw.command.as_ref().map(|at| at.spot))
            });
            let message = format!("logs of {} and {} could have the same name", first.name, second.name);
            let hint = "put {name} into log_file_template, and a \"_\" between {name} and {index}".to_owned();
            reader.error(at.unwrap_or(Spot::default()), message, Some(hint));
        }
    }
}

/// Whether two numbers exist that make the same name. `other.before` starts with `one.before`.
fn meet(one: &Names, other: &Names) -> bool {
    let rest = other.before.get(one.before.len()..).unwrap_or("");
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    // Behind the number only digits may make the difference; a number can swallow these.
    let same_end =
        |a: &str, b: &str| a.strip_suffix(b).is_some_and(digits) || b.strip_suffix(a).is_some_and(digits);
    if digits(rest) && !rest.starts_with('0') {
        return same_end(&one.behind, &other.behind);
    }
    // The number of `one` ends inside `rest`: what follows it there starts `behind`, whose rest is number and end.
    (1..rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| {
        let (number, text) = rest.split_at(at);
        digits(number)
            && !number.starts_with('0')
            && one.behind.strip_prefix(text).is_some_and(|tail| {
                tail.strip_suffix(other.behind.as_str())
                    .is_some_and(|number| !number.is_empty() && digits(number) && !number.starts_with('0'))
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_meet_and_names_that_do_not() {
        let names = |text: &str| {
            let (before, behind) = text.split_once('#').unwrap();
            Names { before: before.into(), behind: behind.into(), runner: 0 }
        };
        for (one, other, expected) in [
            ("a_#.log", "a_#.log", true),
            ("a_#.log", "a_1_#.log", false),
            ("a#.log", "a1#.log", true),
            ("a#.log", "a01#.log", false),
            ("a#.log", "ab#.log", false),
            ("#.log", "#.txt", false),
            ("#", "#1", true),
            ("a#_1.log", "a5_#.log", true),
            ("a#_x.log", "a5_#.log", false),
        ] {
            assert_eq!(meet(&names(one), &names(other)), expected, "{one} {other}");
        }
    }
}
