//! What a person may want to read a line about, of a run.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ids::{CheckpointId, RunId, StageName};
use super::status::{Hook, RunStatus, StageStatus};
use crate::domain::view::seconds;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum News {
    RunStarted {
        run: RunId,
        /// It went on after an interruption.
        resumed: bool,
    },
    StageStarted {
        run: RunId,
        stage: StageName,
        item: Option<u32>,
        attempt: u32,
    },
    StageRetrying {
        run: RunId,
        stage: StageName,
        item: Option<u32>,
        error: String,
        delay_seconds: f64,
    },
    StageEnded {
        run: RunId,
        stage: StageName,
        status: StageStatus,
        seconds: Option<f64>,
        error: Option<String>,
    },
    /// A checkpoint waits for a person.
    Asks {
        run: RunId,
        checkpoint: CheckpointId,
    },
    RunEnded {
        run: RunId,
        status: RunStatus,
        seconds: Option<f64>,
        error: Option<String>,
    },
    /// The command after the run did not end well.
    HookFailed {
        run: RunId,
        hook: Hook,
        error: String,
    },
    /// Something around the run went wrong, and it goes on when that is over.
    Held {
        run: RunId,
        why: String,
    },
}

impl News {
    pub fn run(&self) -> &RunId {
        match self {
            Self::RunStarted { run, .. }
            | Self::StageStarted { run, .. }
            | Self::StageRetrying { run, .. }
            | Self::StageEnded { run, .. }
            | Self::Asks { run, .. }
            | Self::RunEnded { run, .. }
            | Self::HookFailed { run, .. }
            | Self::Held { run, .. } => run,
        }
    }

    /// Worth attention beyond the ordinary course.
    pub const fn is_bad(&self) -> bool {
        match self {
            Self::StageEnded { status, .. } => matches!(status, StageStatus::Failed),
            Self::RunEnded { status, .. } => matches!(status, RunStatus::Failed),
            Self::HookFailed { .. } | Self::Held { .. } => true,
            Self::RunStarted { .. }
            | Self::StageStarted { .. }
            | Self::StageRetrying { .. }
            | Self::Asks { .. } => false,
        }
    }
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RunStarted { run, resumed: false } => write!(f, "Started {run}"),
            Self::RunStarted { run, resumed: true } => write!(f, "Resumed {run}"),
            Self::StageStarted { run, stage, item, attempt } => {
                write!(f, "Started {run}/{stage}{}", Item(*item))?;
                if *attempt > 1 { write!(f, " (attempt {attempt})") } else { Ok(()) }
            }
            Self::StageRetrying { run, stage, item, error, delay_seconds } => {
                write!(f, "Retrying {run}/{stage}{} in {}: {error}", Item(*item), seconds(*delay_seconds))
            }
            Self::StageEnded { run, stage, status, seconds, error } => {
                let verb = match status {
                    StageStatus::Succeeded => "Succeeded",
                    StageStatus::Degraded => "Degraded",
                    StageStatus::Failed => "Failed",
                    StageStatus::Skipped => "Skipped",
                    StageStatus::NotRun => "Not run",
                    StageStatus::Cancelled => "Cancelled",
                    StageStatus::Pending
                    | StageStatus::Running
                    | StageStatus::Backoff
                    | StageStatus::Waiting => "Waiting",
                };
                write!(f, "{verb}: {run}/{stage}")?;
                took(f, *seconds)?;
                detail(f, error.as_deref())
            }
            Self::Asks { run, checkpoint } => write!(
                f,
                "Waiting for you: {run}, {checkpoint}; restage approve {run} {stage}, or restage reject {run} {stage}",
                stage = checkpoint.stage
            ),
            Self::RunEnded { run, status, seconds, error } => {
                write!(f, "Run {run} {status}")?;
                took(f, *seconds)?;
                detail(f, error.as_deref())
            }
            Self::HookFailed { run, hook, error } => {
                write!(f, "Failed: {hook} of {run}: {error}; restage logs {run}/{hook} shows what it printed")
            }
            Self::Held { run, why } => write!(f, "Holding {run}: {why}"),
        }
    }
}

struct Item(Option<u32>);

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |item| write!(f, "/{item}"))
    }
}

fn took(f: &mut fmt::Formatter<'_>, time: Option<f64>) -> fmt::Result {
    time.map_or(Ok(()), |time| write!(f, " after {}", seconds(time)))
}

fn detail(f: &mut fmt::Formatter<'_>, error: Option<&str>) -> fmt::Result {
    error.map_or(Ok(()), |error| write!(f, ": {error}"))
}
