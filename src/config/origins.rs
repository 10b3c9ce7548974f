//! Where each value in effect came from. Only what is set is remembered, as a line number, so a thousand runners cost
//! little; the values themselves are in the spec.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::diagnostic::Source;
use super::raw::Set;
use crate::domain::ids::RunnerName;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Origin {
    Default,
    /// Set at the top of the file, for every runner.
    File {
        line: u32,
    },
    Runner {
        line: u32,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { line } => write!(f, "file, line {line}"),
            Self::Runner { line } => write!(f, "runner, line {line}"),
        }
    }
}

type Lines = Box<[(&'static str, u32)]>;

/// Asked with the long names of the key table, also for what was set inside `retry: { … }`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    file: Lines,
    runners: BTreeMap<RunnerName, Lines>,
}

impl Origins {
    pub(super) fn new(set: &Set, source: &Source<'_>) -> Self {
        let lines = |set: &Vec<(&'static str, usize)>| {
            let line = |offset| u32::try_from(source.position(offset).line).unwrap_or(u32::MAX);
            set.iter().map(|(key, offset)| (*key, line(*offset))).collect()
        };
        Self {
            file: lines(&set.file),
            runners: set.runners.iter().map(|(name, set)| (name.clone(), lines(set))).collect(),
        }
    }

    /// Of a key at the top of the file.
    pub fn of_file(&self, key: &str) -> Origin {
        line(&self.file, key).map_or(Origin::Default, |line| Origin::File { line })
    }

    /// Of a key as it counts for one runner.
    pub fn of_runner(&self, name: &RunnerName, key: &str) -> Origin {
        match self.runners.get(name).and_then(|set| line(set, key)) {
            Some(line) => Origin::Runner { line },
            None => self.of_file(key),
        }
    }
}

fn line(set: &Lines, key: &str) -> Option<u32> {
    set.iter().find(|(known, _)| *known == key).map(|(_, line)| *line)
}
