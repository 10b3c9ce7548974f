//! What clients see: the view of a runner and the notices, the same for the dashboard, headless mode, the socket and
//! tests. Nothing here decides anything.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::flow::view::FlowUpdate;
use super::ids::{Attempt, RunnerName};
use super::time::Timestamp;
use super::verdict::Outcome;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunnerStatus {
    Idle,
    Starting,
    Running,
    Stopping,
    Backoff,
    Stopped,
    Crashed,
    Completed,
    Stuck,
}

impl RunnerStatus {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Backoff => "backoff",
            Self::Stopped => "stopped",
            Self::Crashed => "crashed",
            Self::Completed => "completed",
            Self::Stuck => "stuck",
        }
    }

    /// A process of it lives, may live, or will be started by itself.
    pub const fn is_live(self) -> bool {
        match self {
            Self::Starting | Self::Running | Self::Stopping | Self::Backoff | Self::Stuck => true,
            Self::Idle | Self::Stopped | Self::Crashed | Self::Completed => false,
        }
    }
}

impl fmt::Display for RunnerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunnerView {
    pub name: RunnerName,
    pub group: Option<String>,
    pub status: RunnerStatus,
    /// `crashed` with no retries left.
    pub exhausted: bool,
    /// `None` where no health check is configured.
    pub ready: Option<bool>,
    pub pid: Option<i32>,
    /// The number of the last attempt; `None` before the first.
    pub attempt: Option<Attempt>,
    pub retry_count: u32,
    pub max_retries: u32,
    pub next_retry_at: Option<Timestamp>,
    /// Of the last attempt, once it has ended.
    pub outcome: Option<Outcome>,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// Of the last attempt.
    pub log: Option<PathBuf>,
    /// Why it waits, where that is no backoff: a full disk, the retry budget, a sweep.
    pub waiting: Option<String>,
    /// "restart to apply", "removed from the config", …
    pub note: Option<String>,
    pub activity_timeout_seconds: Option<f64>,
    pub timeout_seconds: Option<f64>,
    /// The newest last, bounded.
    pub attempts: Vec<AttemptView>,
    /// Filled only where a client asked for figures.
    pub figures: Option<Figures>,
}

#[cfg(test)]
impl RunnerView {
    /// A runner of which nothing is known but its status: what a test needs besides, it sets.
    pub(crate) fn plain(name: &str, status: RunnerStatus) -> Self {
        Self {
            name: RunnerName::trusted(name),
            group: None,
            status,
            exhausted: false,
            ready: None,
            pid: None,
            attempt: None,
            retry_count: 0,
            max_retries: 3,
            next_retry_at: None,
            outcome: None,
            started_at: None,
            ended_at: None,
            log: None,
            waiting: None,
            note: None,
            activity_timeout_seconds: None,
            timeout_seconds: None,
            attempts: Vec::new(),
            figures: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptView {
    pub attempt: Attempt,
    pub started_at: Option<Timestamp>,
    /// `None` while it lives.
    pub ended_at: Option<Timestamp>,
    pub outcome: Option<Outcome>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    pub cpu_percent: f64,
    pub rss_bytes: u64,
    pub last_output_at: Option<Timestamp>,
}

/// The whole workspace at one moment, made when somebody asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub workspace: PathBuf,
    pub at: Timestamp,
    pub fleet: FleetView,
    /// In the order of the config file; runners that are no longer in it come last.
    pub runners: Vec<Arc<RunnerView>>,
}

/// What is true of the supervisor itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FleetView {
    pub supervisor_pid: i32,
    pub started_at: Timestamp,
    pub headless: bool,
    /// Retries used within the budget's window.
    pub budget: Option<BudgetView>,
    /// What the last reload of the config said, where it was refused.
    pub config_error: Option<String>,
    /// `None` while the keeper answers.
    pub keeper_trouble: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetView {
    pub used: u32,
    pub max: u32,
    pub per_seconds: u64,
}

/// What goes to everybody who listens, one per change, at a cost that does not grow with the number of runners.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Update {
    Runner(Arc<RunnerView>),
    Removed(RunnerName),
    Fleet(Arc<FleetView>),
    Notice(Arc<Notice>),
    Flow(Arc<FlowUpdate>),
}

impl Update {
    /// Something to be read as a line, or the end of what has been: how everything else looks meanwhile is no word.
    pub fn is_word(&self) -> bool {
        match self {
            Self::Runner(_) | Self::Removed(_) | Self::Fleet(_) => false,
            Self::Notice(_) => true,
            Self::Flow(update) => update.is_word(),
        }
    }

    /// A line on the course of a run. What is behind it is told by other words.
    pub fn is_news(&self) -> bool {
        matches!(self, Self::Flow(update) if matches!(**update, FlowUpdate::News(_)))
    }
}

/// Something that a person may want to read a line about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<RunnerName>,
    #[serde(flatten)]
    pub what: NoticeKind,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum NoticeKind {
    Started {
        attempt: Attempt,
        pid: i32,
    },
    /// An attempt that was there before this supervisor.
    Adopted {
        attempt: Attempt,
        pid: i32,
    },
    Ready,
    /// restage ends an attempt: the verdict is fixed now.
    Ending {
        attempt: Attempt,
        outcome: Outcome,
    },
    /// The main process ended.
    Ended {
        attempt: Attempt,
        outcome: Outcome,
    },
    Retrying {
        retry: u32,
        max_retries: u32,
        delay_seconds: f64,
    },
    /// Its turn comes again after the same delay, without a retry being spent.
    Waiting {
        reason: String,
        delay_seconds: f64,
    },
    /// The retry that waited was cancelled.
    RetryCancelled,
    Exhausted {
        max_retries: u32,
    },
    /// Ended badly, and the policy says not to retry.
    GaveUp {
        reason: String,
    },
    Recovered {
        retries: u32,
    },
    Stuck {
        pids: Vec<i32>,
    },
    Removed,
    Warning {
        text: String,
    },
    Info {
        text: String,
    },
}

impl NoticeKind {
    /// Worth attention beyond the ordinary course.
    pub const fn is_bad(&self) -> bool {
        matches!(
            self,
            Self::Exhausted { .. } | Self::GaveUp { .. } | Self::Stuck { .. } | Self::Warning { .. }
        )
    }
}

/// The sentence for a person; without the time, with the runner's name.
impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.runner.as_ref().map_or("restage", RunnerName::as_str);
        match &self.what {
            NoticeKind::Started { attempt, pid } => {
                write!(f, "Started {name} (attempt {attempt}, pid {pid})")
            }
            NoticeKind::Adopted { attempt, pid } => {
                write!(f, "Adopted {name} (attempt {attempt}, pid {pid}): it was running already")
            }
            NoticeKind::Ready => write!(f, "Ready: {name}"),
            NoticeKind::Ending { attempt, outcome } => {
                write!(f, "Ending {name} (attempt {attempt}): {outcome}")?;
                detail(f, outcome)
            }
            NoticeKind::Ended { attempt, outcome } => {
                write!(f, "Ended {name} (attempt {attempt}): {outcome}")?;
                detail(f, outcome)
            }
            NoticeKind::Retrying { retry, max_retries, delay_seconds } => {
                write!(
                    f,
                    "Retrying runner {name} (retry {retry}/{max_retries}) in {}",
                    seconds(*delay_seconds)
                )
            }
            NoticeKind::Waiting { reason, delay_seconds } => {
                write!(f, "Waiting with {name}: {reason}; next try in {}", seconds(*delay_seconds))
            }
            NoticeKind::RetryCancelled => write!(f, "Cancelled the retry of {name}"),
            NoticeKind::Exhausted { max_retries } => {
                write!(f, "Max retries ({max_retries}) reached for {name}")
            }
            NoticeKind::GaveUp { reason } => write!(f, "No retry of {name}: {reason}"),
            NoticeKind::Recovered { retries } => {
                let noun = if *retries == 1 { "retry" } else { "retries" };
                write!(f, "Recovered: {name} is healthy again after {retries} {noun}; its count is back to 0")
            }
            NoticeKind::Stuck { pids } => {
                write!(
                    f,
                    "Stuck: {name} has processes that do not die: {pids:?}; nothing of it starts before they are gone"
                )
            }
            NoticeKind::Removed => write!(f, "Removed {name}: it is no longer in the config and has ended"),
            NoticeKind::Warning { text } | NoticeKind::Info { text } => match &self.runner {
                Some(name) => write!(f, "{name}: {text}"),
                None => f.write_str(text),
            },
        }
    }
}

fn detail(f: &mut fmt::Formatter<'_>, outcome: &Outcome) -> fmt::Result {
    match &outcome.detail {
        Some(detail) => write!(f, ": {detail}"),
        None => Ok(()),
    }
}

/// `10s`, `0.25s`, `5m`, `1h30m`: exact enough to plan by, short enough for a line.
pub fn seconds(seconds: f64) -> String {
    // A wait is never told as none.
    let rounded = if seconds > 0.0 { ((seconds * 100.0).round() / 100.0).max(0.01) } else { 0.0 };
    if rounded < 120.0 {
        return format!("{rounded}s");
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of seconds, rounded, positive"
    )]
    let whole = rounded.round() as u64;
    let (hours, minutes, rest) = (whole / 3600, whole / 60 % 60, whole % 60);
    match (hours, minutes, rest) {
        (0, m, 0) => format!("{m}m"),
        (0, m, s) => format!("{m}m{s:02}s"),
        (h, 0, 0) => format!("{h}h"),
        (h, m, _) => format!("{h}h{m:02}m"),
    }
}
