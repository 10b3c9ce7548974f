//! What the user asked for, lowered: only valid values exist here. `config` builds these; nobody else does, but for
//! tests and, later, flows (a stage is a runner with another name).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::flow::ids::Hash;
use super::flow::spec::FlowSpec;
use super::ids::RunnerName;
use super::keys::Overrides;

/// One runner, whole. Compared field by field on reload: what differs decides what has to happen.
#[derive(Debug, Clone, PartialEq)]
pub struct RunnerSpec {
    pub name: RunnerName,
    pub group: Option<String>,
    pub launch: LaunchSpec,
    pub restart: RestartPolicy,
    /// Most runners have the same one.
    pub retry: Arc<RetryPolicy>,
    /// Hard limit for one attempt.
    pub timeout: Option<Duration>,
    pub activity: Option<ActivitySpec>,
    pub health: Option<HealthSpec>,
    pub stop: StopSpec,
    pub autostart: bool,
    pub leftovers: Leftovers,
    pub reload: Reload,
    pub log: LogSpec,
}

/// So many bytes one env file may have: as much as the kernel takes of arguments and variables together.
pub const MAX_ENV_FILE: u64 = 2 << 20;

/// What a new process is made from. A change here needs a new process to take effect; a change elsewhere does not.
#[derive(Debug, Clone, PartialEq)]
pub struct LaunchSpec {
    pub command: CommandSpec,
    pub cwd: PathBuf,
    /// Set on top of the environment that restage itself was started with.
    pub env: BTreeMap<String, String>,
    /// Read anew at each start, before `env`; its values are never stored.
    pub env_files: Vec<PathBuf>,
    pub stdin: StdinSpec,
    pub stdio: Stdio,
    pub umask: Option<u32>,
    pub limits: BTreeMap<Limit, LimitValue>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommandSpec {
    /// Never empty.
    Argv(Vec<String>),
    /// Run by `sh -c`.
    Shell(String),
}

impl CommandSpec {
    pub fn argv(&self) -> Vec<String> {
        match self {
            Self::Argv(argv) => argv.clone(),
            Self::Shell(line) => vec!["sh".into(), "-c".into(), line.clone()],
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StdinSpec {
    Null,
    File(PathBuf),
}

/// Where stdout and stderr go: straight into the log, through a relay's pipe or terminal, or as the command needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stdio {
    Auto,
    File,
    Pipe,
    Tty,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Open files.
    Nofile,
    /// Processes of the user.
    Nproc,
    /// Address space, bytes.
    As,
    /// Core file, bytes.
    Core,
    /// CPU seconds.
    Cpu,
    /// Data segment, bytes.
    Data,
    /// Largest file, bytes.
    Fsize,
    /// Locked memory, bytes.
    Memlock,
    /// Stack, bytes.
    Stack,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitValue {
    Unlimited,
    /// Soft and hard alike.
    At(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartPolicy {
    /// Retry what ended badly.
    OnCrash,
    /// Start again whatever the exit was; a good end counts as one to be retried, too.
    Always,
    Never,
}

/// When a bad end is retried, and how long the wait is.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    pub enabled: bool,
    pub max_retries: u32,
    pub backoff: Backoff,
    /// Healthy this long: the count goes back to 0.
    pub reset_after: Option<Duration>,
    /// `None`: every code that is no success.
    pub on_exit_codes: Option<Vec<i32>>,
    pub not_on_exit_codes: Vec<i32>,
    /// 0 unless told otherwise.
    pub success_exit_codes: Vec<i32>,
    pub on_output: Vec<Pattern>,
    pub not_on_output: Vec<Pattern>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Backoff {
    pub base: Duration,
    /// At least 1.
    pub multiplier: f64,
    pub cap: Duration,
    pub jitter: Jitter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Jitter {
    None,
    /// Half of the delay fixed, half random.
    Equal,
    /// Anything from 0 to the delay.
    Full,
}

/// A linear-time regular expression over bytes, known to compile.
#[derive(Debug, Clone)]
pub struct Pattern(pub regex::bytes::Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// What counts as a sign of life, and how long it may be missing.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivitySpec {
    pub timeout: Duration,
    pub output: bool,
    pub cpu: bool,
    /// Globs, relative to `cwd`; a change of any matching file counts.
    pub files: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct HealthSpec {
    pub command: CommandSpec,
    pub interval: Duration,
    pub timeout: Duration,
    /// This many failures in a row: `unhealthy`.
    pub failures: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StopSpec {
    pub signal: i32,
    pub grace: Duration,
    /// Run instead of the signal; what is left at the end of the grace is killed all the same.
    pub command: Option<CommandSpec>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leftovers {
    /// What the main process left behind is killed before the next attempt.
    Kill,
    Keep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reload {
    /// A changed command is told, and applies from the next start.
    Manual,
    Restart,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSpec {
    pub dir: PathBuf,
    /// With `{name}` and `{index}`.
    pub template: String,
    pub max_bytes: Option<u64>,
    pub keep_attempts: u32,
}

/// At most `max` retries per `per` over all runners; more wait for their turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudget {
    pub max: u32,
    pub per: Duration,
}

/// A `config.json`, whole.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkspaceSpec {
    /// The folder of the config file.
    pub root: PathBuf,
    pub config_path: PathBuf,
    /// Of the bytes of the file.
    pub text: Hash,
    /// `.restage`, below the root.
    pub data_dir: PathBuf,
    pub log_dir: PathBuf,
    /// Where `runner_state.json` lies; `None`: the user's cache folder.
    pub cache_dir: Option<PathBuf>,
    /// A JSON per runner of its attempts, verdicts and backoffs.
    pub retry_log_dir: Option<PathBuf>,
    pub retry_budget: Option<RetryBudget>,
    pub cgroup: CgroupUse,
    pub tui: TuiSpec,
    /// In the order of the file.
    pub runners: Vec<RunnerSpec>,
    /// In the order of the file.
    pub flows: Vec<Arc<FlowSpec>>,
}

impl WorkspaceSpec {
    /// A copy with nothing between its parts and nothing shared with the original, to be kept for long. Neighbours with
    /// the same retry policy share it.
    #[must_use]
    pub fn compact(&self) -> Self {
        let mut copy = self.clone();
        let mut before: Option<Arc<RetryPolicy>> = None;
        for runner in &mut copy.runners {
            runner.name = RunnerName::trusted(runner.name.as_str());
            let retry = match before.take() {
                Some(same) if same == runner.retry => same,
                Some(_) | None => Arc::new(RetryPolicy::clone(&runner.retry)),
            };
            runner.retry = Arc::clone(&retry);
            before = Some(retry);
        }
        copy
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CgroupUse {
    /// A cgroup an attempt where cgroup v2 is writable.
    Auto,
    Off,
}

/// What concerns the dashboard only.
#[derive(Debug, Clone, PartialEq)]
pub struct TuiSpec {
    pub refresh: Duration,
    /// How many lines a log is opened with.
    pub log_tail_lines: u32,
    pub theme: ThemeChoice,
    /// Free of clashes.
    pub keys: Overrides,
    pub notifications: Notifications,
    pub clipboard: Clipboard,
}

impl Default for TuiSpec {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(1),
            log_tail_lines: 200,
            theme: ThemeChoice::Auto,
            keys: Overrides::new(),
            notifications: Notifications::Bell,
            clipboard: Clipboard::Osc52,
        }
    }
}

/// The themes that are part of the program.
pub const THEMES: [&str; 4] = ["dark", "light", "colour-blind", "sixteen"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ThemeChoice {
    /// What suits the terminal.
    Auto,
    /// One of [`THEMES`].
    BuiltIn(&'static str),
    File(PathBuf),
}

/// How the dashboard copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clipboard {
    Off,
    /// By terminals that know the sequence OSC 52.
    Osc52,
}

/// How a person is told that something is exhausted, or waits for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notifications {
    Off,
    /// The terminal's bell.
    Bell,
    /// A message of the desktop, by terminals that know the sequence OSC 9.
    Osc9,
    Both,
}
