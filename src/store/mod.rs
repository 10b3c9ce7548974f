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
    let adoption = |adopter: &Adopter| {
        let adopt = What::Adopt { stage: edit.stage.clone(), checkpoint: edit.clone() };
        let (run, epoch) = (adopter.run.clone(), adopter.epoch);
        let all = std::iter::once(adopt).chain(adopter.also.iter().cloned());
        all.map(move |what| Change { run: run.clone(), epoch, what }).collect::<Vec<_>>()
    };
    adopters.iter().flat_map(adoption).collect()
}

#[cfg(test)]
mod tests;
