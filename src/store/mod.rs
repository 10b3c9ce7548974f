//! Where the history of flows is kept: [`Store`](crate::ports::store::Store), in a file ([`sqlite`]) or in memory
//! ([`memory`], for tests of what uses one). Both answer the same contract suite in `tests/`.
//!
//! Knows what a record looks like, not what it means: which change may follow which is decided by the flow engine.

use crate::domain::flow::change::{Change, What};
use crate::domain::flow::ids::CheckpointId;
use crate::ports::store::Adopter;

pub mod memory;
mod search;
pub mod sqlite;

/// What a run has cost, after one of its attempts reported `now` instead of `before`.
fn total_cost(total: Option<f64>, before: Option<f64>, now: Option<f64>) -> Option<f64> {
    if before == now {
        return total;
    }
    Some(total.unwrap_or_default() - before.unwrap_or_default() + now.unwrap_or_default())
}

/// What these runs have to write down so that an edit is theirs.
fn adoptions(adopters: &[Adopter], edit: &CheckpointId) -> Vec<Change> {
    let adoption = |adopter: &Adopter| Change {
        run: adopter.run.clone(),
        epoch: adopter.epoch,
        what: What::Adopt { stage: edit.stage.clone(), checkpoint: edit.clone() },
    };
    adopters.iter().map(adoption).collect()
}

#[cfg(test)]
mod tests;
