//! `RunnerState`: what is kept of a runner on disk, flat, with names that a person can read. It knows no file and no
//! format beyond serde; how it turns into a [`Runner`](super::Runner) and back stands in `record.rs`.
//!
//! Unknown fields are ignored and missing ones defaulted, so that records of older and newer versions load.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::ids::{Attempt, RunnerName};
use crate::domain::time::{Mono, Timestamp};
use crate::domain::verdict::{Outcome, Verdict};
use crate::domain::view::{AttemptView, RunnerStatus};

/// The absolute state of one runner. Monotonic times are valid within the boot that the file's head names; the wall
/// clock times beside them are for people.
#[expect(
    clippy::struct_excessive_bools,
    reason = "a flat record for people; the machine's types have none of these"
)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunnerState {
    pub runner_id: RunnerName,
    /// Of the main process, while it lives.
    #[serde(default)]
    pub pid: Option<i32>,
    #[serde(default = "idle")]
    pub status: RunnerStatus,
    /// Of the last attempt.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// Of the last attempt that ended.
    #[serde(default)]
    pub exit_code: Option<i32>,
    #[serde(default)]
    pub retry_count: u32,
    #[serde(default)]
    pub max_retries: u32,
    #[serde(default)]
    pub last_retry_at: Option<Timestamp>,

    /// The number of the last attempt that was started or is about to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
    /// With `pid`: who the process is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process_start: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_mono_ns: Option<Mono>,
    /// The last health check passed; `None` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_since_mono_ns: Option<Mono>,
    /// Of the last attempt that ended, with `exit_code`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// The end that was decided on for an attempt whose main process may still live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<EndingState>,
    /// The main process has ended, and what it left behind is being ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sweeping: bool,
    /// Processes that did not die when they were killed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stuck_pids: Vec<i32>,
    /// What comes next, once nothing of the last attempt lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<NextWord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_retry_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_retry_mono_ns: Option<Mono>,
    /// Why the next start waits, where that is no backoff.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
    /// When the main process ended, and whether the disk was full then; for `next: "decide"`, and of a guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_mono_ns: Option<Mono>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disk_full: bool,
    /// Of a guest: the number under which `attempt` was ordered, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordered: Option<Attempt>,
    /// Of a guest: it ended because restage or the machine did.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// Of a guest: what its last attempt used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rss_bytes: Option<u64>,
    /// `crashed` with no retries left.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exhausted: bool,
    /// The log of the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<PathBuf>,
    /// What the last attempt was made from, as a fingerprint: tells whether the config says something else by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch_fingerprint: Option<u64>,
    /// The highest exit that was taken from the executor; 0 before the first.
    #[serde(default)]
    pub exit_seq: u64,
    /// It is no longer in the config.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// How its tree is stopped, for the time when the config no longer says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_grace_seconds: Option<f64>,
    /// The attempts that ended, the newest last, the last few of them; `history.rs` has their form.
    #[serde(default, with = "super::history", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<AttemptView>,
}

/// How many ended attempts are remembered.
pub const HISTORY: usize = 20;

/// An end that was decided on: the verdict no longer depends on how the process ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndingState {
    #[serde(flatten)]
    pub outcome: Outcome,
    pub since_mono_ns: Mono,
    /// With neither signal nor grace.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kill: bool,
}

/// What comes once nothing of the last attempt lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NextWord {
    Stopped,
    Crashed,
    Completed,
    /// The retry policy decides, once the attempt has ended and all its output is there.
    Decide,
    /// A start that was asked for.
    Start,
    /// A retry at `next_retry_mono_ns`.
    Retry,
    /// A start after a good end, under `restart: always`.
    Again,
    /// Another try, without a retry being spent.
    Wait,
}

const fn idle() -> RunnerStatus {
    RunnerStatus::Idle
}

impl RunnerState {
    /// A runner of which nothing is known yet.
    pub fn new(runner_id: RunnerName) -> Self {
        Self {
            runner_id,
            pid: None,
            status: RunnerStatus::Idle,
            started_at: None,
            exit_code: None,
            retry_count: 0,
            max_retries: 0,
            last_retry_at: None,
            attempt: None,
            process_start: None,
            started_mono_ns: None,
            ready: None,
            ready_since_mono_ns: None,
            verdict: None,
            signal: None,
            detail: None,
            ended_at: None,
            ending: None,
            sweeping: false,
            stuck_pids: Vec::new(),
            next: None,
            next_retry_at: None,
            next_retry_mono_ns: None,
            waiting: None,
            ended_mono_ns: None,
            disk_full: false,
            ordered: None,
            cut: false,
            cpu_ms: None,
            max_rss_bytes: None,
            exhausted: false,
            log: None,
            launch_fingerprint: None,
            exit_seq: 0,
            removed: false,
            note: None,
            stop_signal: None,
            stop_grace_seconds: None,
            history: Vec::new(),
        }
    }
}
