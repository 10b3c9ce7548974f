//! Flows as text.

pub mod checkpoints;
pub mod export;
#[cfg(test)]
pub(crate) mod fixture;
pub mod graph;
pub mod live;
mod picture;
pub mod plan;
pub mod runs;
pub mod show;
pub mod stats;
pub mod table;
pub mod words;
