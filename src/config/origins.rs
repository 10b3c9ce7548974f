//! Where each value in effect came from. Only what is set is remembered, as a line number, so a thousand runners cost
//! little; the values themselves are in the spec.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::Serialize;

use super::diagnostic::Source;
use super::keys::{KEYS, Place};
use super::raw::{Keys, RawFile, StageKeys};
use crate::domain::flow::ids::{FlowName, StageName};
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
    Flow {
        line: u32,
    },
    Stage {
        line: u32,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { line } => write!(f, "file, line {line}"),
            Self::Runner { line } => write!(f, "runner, line {line}"),
            Self::Flow { line } => write!(f, "flow, line {line}"),
            Self::Stage { line } => write!(f, "stage, line {line}"),
        }
    }
}

type Lines = Box<[(&'static str, u32)]>;

/// Asked with the long names of the key table, also for what was set inside `retry: { … }`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    file: Lines,
    runners: BTreeMap<RunnerName, Lines>,
    flows: BTreeMap<FlowName, OfFlow>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct OfFlow {
    own: Lines,
    of_stages: Lines,
    /// Where those of each stage lie; sorted by name.
    stages: Box<[(StageName, Range<usize>)]>,
}

impl OfFlow {
    fn stage(&self, name: &StageName) -> Option<&[(&'static str, u32)]> {
        let index = self.stages.binary_search_by(|(known, _)| known.cmp(name)).ok()?;
        self.of_stages.get(self.stages.get(index)?.1.clone())
    }
}

impl Origins {
    pub(super) fn new(file: &RawFile<'_>, stages: &[StageKeys], source: &Source<'_>) -> Self {
        let lines = |set: &Keys| {
            let line = |offset| u32::try_from(source.line(offset)).unwrap_or(u32::MAX);
            set.iter().map(|(key, offset)| (*key, line(*offset))).collect()
        };
        let set = &file.set;
        let flows = file.flows.iter().zip(stages).map(|(flow, keys)| {
            let starts = std::iter::once(0).chain(keys.ends.iter().map(|(_, end)| *end));
            let ranges = keys.ends.iter().zip(starts).map(|((name, end), start)| (name.clone(), start..*end));
            let mut stages: Box<[_]> = ranges.collect();
            stages.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
            (flow.name.clone(), OfFlow { own: lines(&flow.set), of_stages: lines(&keys.set), stages })
        });
        Self {
            file: lines(&set.file),
            runners: set.runners.iter().map(|(name, set)| (name.clone(), lines(set))).collect(),
            flows: flows.collect(),
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

    /// Of a key of a flow itself. Only its variables come from the top of the file, too.
    pub fn of_flow(&self, name: &FlowName, key: &str) -> Origin {
        match self.flows.get(name).and_then(|flow| line(&flow.own, key)) {
            Some(line) => Origin::Flow { line },
            None => self.shared(key, Place::Flow),
        }
    }

    /// Of a key as it counts for one stage: its retries may be those of the flow, and what a runner also takes from the
    /// top of the file, it takes from there.
    pub fn of_stage(&self, flow: &FlowName, name: &StageName, key: &str) -> Origin {
        let own = self.flows.get(flow).and_then(|flow| flow.stage(name));
        if let Some(line) = own.and_then(|set| line(set, key)) {
            return Origin::Stage { line };
        }
        if key.starts_with("retry_") || key == "env" {
            return self.of_flow(flow, key);
        }
        self.shared(key, Place::Stage)
    }

    /// From the top of the file, where the key may stand there for this place, too.
    fn shared(&self, key: &str, place: Place) -> Origin {
        let both = |known: &&super::keys::Key| {
            known.name == key && known.places.contains(&place) && known.places.contains(&Place::File)
        };
        if KEYS.iter().any(|known| both(&known)) { self.of_file(key) } else { Origin::Default }
    }
}

fn line(set: &[(&'static str, u32)], key: &str) -> Option<u32> {
    set.iter().find(|(known, _)| *known == key).map(|(_, line)| *line)
}
