//! What the user asked for, of a flow: only valid values exist here. `config` builds these from today's file, the
//! store keeps them as a run's own snapshot, from which it goes on after a crash.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::{FlowName, Hash, StageName};
use super::status::{Hook, RunStatus};
use super::when::Expression;
use crate::domain::json::Json;
use crate::domain::spec::{Backoff, CommandSpec, Limit, LimitValue, Stdio, StopSpec};

/// One flow, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowSpec {
    pub name: FlowName,
    /// In the order of the file. Names are unique, what they need exists, and there is no cycle.
    pub stages: Vec<StageSpec>,
    pub inputs: BTreeMap<String, InputSpec>,
    /// For the whole run.
    pub timeout: Option<Duration>,
    /// `None`: as many at once as there are.
    pub max_parallel: Option<u32>,
    pub max_retry_depth: u32,
    pub max_retries_per_checkpoint: u32,
    /// How long the files of failed attempts are kept.
    pub keep_failed: Duration,
    pub on_success: Option<CommandSpec>,
    pub on_failure: Option<CommandSpec>,
    /// For either of these.
    #[serde(default = "hook_timeout")]
    pub hook_timeout: Option<Duration>,
    pub concurrency: Concurrency,
    /// For `on_success` and `on_failure`: the flow's own; stages have theirs merged already.
    pub env: BTreeMap<String, EnvValue>,
    /// The folder of the config: where `on_success` and `on_failure` run.
    pub root: PathBuf,
}

/// Where nothing is said of it, or was not when the run began: nobody waits for such a command, so that one which hangs
/// would keep the supervisor there unseen.
pub const fn hook_timeout() -> Option<Duration> {
    Some(Duration::from_mins(5))
}

impl FlowSpec {
    /// The command after a run that ended like this. One that was cancelled has none.
    pub fn hook(&self, end: RunStatus) -> Option<Hook> {
        let hook = match end {
            RunStatus::Succeeded | RunStatus::Degraded => Hook::OnSuccess,
            RunStatus::Failed => Hook::OnFailure,
            RunStatus::Queued
            | RunStatus::Running
            | RunStatus::Waiting
            | RunStatus::Cancelled
            | RunStatus::Interrupted => return None,
        };
        self.command(hook).is_some().then_some(hook)
    }

    pub fn command(&self, hook: Hook) -> Option<&CommandSpec> {
        match hook {
            Hook::OnSuccess => self.on_success.as_ref(),
            Hook::OnFailure => self.on_failure.as_ref(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputSpec {
    pub required: bool,
    pub default: Option<Json>,
    pub kind: InputKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputKind {
    Any,
    String,
    Number,
    Integer,
    Boolean,
    Object,
    Array,
}

/// What a second run of a flow does while one is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Concurrency {
    Allow,
    Queue,
    Refuse,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageSpec {
    pub name: StageName,
    pub command: CommandSpec,
    pub cwd: PathBuf,
    /// File, flow and stage, merged.
    pub env: BTreeMap<String, EnvValue>,
    /// Read anew at each start, before `env`; their values are never stored.
    pub env_files: Vec<PathBuf>,
    pub stdio: Stdio,
    pub umask: Option<u32>,
    pub limits: BTreeMap<Limit, LimitValue>,
    pub stop: StopSpec,
    pub log_max_bytes: Option<u64>,
    /// Without what `validates` implies.
    pub needs: Vec<StageName>,
    /// Needed for their order and their output, but one that was skipped does not skip this stage.
    pub optional_needs: Vec<StageName>,
    /// This stage checks that one; it needs it, too.
    pub validates: Option<StageName>,
    /// State keys that it reads; none: it may read any, so that any change of its ancestors concerns it.
    pub requires: Vec<String>,
    /// It says that it reads none of the state: an empty `requires` that is written down.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reads_nothing: bool,
    /// State keys that it writes.
    pub outputs: Vec<String>,
    /// Globs within its artifact folder.
    pub artifacts: Vec<String>,
    pub retry: StageRetry,
    /// For one attempt.
    pub timeout: Option<Duration>,
    /// Output and CPU use count as signs of life.
    pub activity_timeout: Option<Duration>,
    pub approve: Approve,
    pub degraded_exit_codes: Vec<i32>,
    /// It may call its own end degraded, by `"status": "degraded"` in its output.
    pub allow_degraded: bool,
    pub when: Option<Expression>,
    pub foreach: Option<Foreach>,
}

/// A value of the environment. One that looks secret is kept in records as its hash only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnvValue {
    Plain(String),
    /// In today's config; never recorded.
    #[serde(skip)]
    Secret(String),
    /// From a record: what was there, to be compared with today's.
    Hashed(Hash),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageRetry {
    /// Retries after the first attempt; 0 where they are off.
    pub count: u32,
    pub backoff: Backoff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approve {
    Auto,
    Manual,
}

/// Once for each item of an array in the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Foreach {
    /// The state key that holds the array.
    pub key: String,
    pub max_parallel: Option<u32>,
}

impl StageSpec {
    /// The keys of the state that it says it requires; `None`: it has not said, so that each concerns it.
    pub fn requires(&self) -> Option<Vec<&str>> {
        let says = self.reads_nothing || !self.requires.is_empty();
        says.then(|| self.requires.iter().map(String::as_str).collect())
    }

    /// The keys of the state that it is made from: also the list that it fans out over, which it need not name.
    pub fn reads(&self) -> Option<Vec<&str>> {
        let mut keys = self.requires()?;
        let list = self.foreach.as_ref().map(|foreach| foreach.key.as_str());
        keys.extend(list.filter(|list| !self.requires.iter().any(|key| key == list)));
        Some(keys)
    }

    /// Everything that has to end before it, in no order: what it needs, needs optionally, and validates.
    pub fn upstream(&self) -> impl Iterator<Item = &StageName> {
        self.needs.iter().chain(&self.optional_needs).chain(&self.validates)
    }
}

/// Whether the name of a variable says that its value is nobody's business.
pub fn looks_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ["SECRET", "TOKEN", "PASSWORD", "PASSWD", "API_KEY", "APIKEY", "CREDENTIAL", "PRIVATE_KEY", "ACCESS_KEY"]
        .iter()
        .any(|word| name.contains(word))
        || name.ends_with("_KEY")
        || name.ends_with("_PASS")
        || name == "PGPASS"
}
