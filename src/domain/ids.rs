//! Names and numbers that must not be mixed up.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The name of a runner. Cheap to clone; one that was made by [`RunnerName::parse`] is safe as a file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunnerName(Arc<str>);

impl From<RunnerName> for Arc<str> {
    fn from(name: RunnerName) -> Self {
        name.0
    }
}

impl RunnerName {
    pub const MAX_LEN: usize = 100;

    /// A name as a person may choose it: letters, digits, `.`, `_` and `-`, not starting with `.` or `-`.
    /// The error is what is wrong with it.
    pub fn parse(name: &str) -> Result<Self, String> {
        if name.is_empty() {
            return Err("a runner needs a name".into());
        }
        if name.len() > Self::MAX_LEN {
            return Err(format!("a name may have {} characters at most", Self::MAX_LEN));
        }
        if name.starts_with(['.', '-']) {
            return Err("a name may not start with '.' or '-'".into());
        }
        if let Some(bad) = name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')))
        {
            return Err(format!(
                "a name may hold the letters a to z and A to Z, digits, '.', '_' and '-', not {bad:?}"
            ));
        }
        if matches!(name, "restage" | "all") {
            return Err(format!("{name:?} is reserved"));
        }
        Ok(Self(name.into()))
    }

    /// A name that comes from our own records, or is made by us.
    pub fn trusted(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of a stage under way, such as `video-12/render`. No runner of a config can have one with a `/`.
    pub fn is_guest(&self) -> bool {
        self.0.contains('/')
    }
}

impl fmt::Display for RunnerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The number of an attempt, counted over the runner's life from 1; it names the attempt's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attempt(NonZeroU32);

impl Attempt {
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One process of one runner, the unit that the keeper knows: `agent#3`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    pub runner: RunnerName,
    pub attempt: Attempt,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.runner, self.attempt)
    }
}

/// Who a process is, for good: a pid alone is reused. Valid within one machine, boot and pid namespace, which the
/// state file records once in its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Process {
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`: clock ticks after boot.
    pub start: u64,
}
