//! Retries in figures: how often they helped, what fails, what it cost.

use serde::{Deserialize, Serialize};

use super::ids::{FlowName, StageName};

/// What history says about retries.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Stats {
    pub runs: u64,
    /// Degraded ones, too.
    pub succeeded: u64,
    pub failed: u64,
    /// Runs that are retries, and those of them that ended well.
    pub retries: u64,
    pub retries_succeeded: u64,
    /// In attempts that have an error.
    pub seconds_lost: f64,
    /// Stages by how often they failed, the most first.
    pub failing: Vec<FailingStage>,
    /// How many stages ended well after n attempts that had not, from one on.
    pub recovered_after: Vec<u64>,
    /// How many retries ended well that were the nth of their lineage, from the first on.
    pub recovered_at_retry: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailingStage {
    pub flow: FlowName,
    pub stage: StageName,
    pub failures: u64,
    pub last_error: Option<String>,
}
