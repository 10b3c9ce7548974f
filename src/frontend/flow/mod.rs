//! Flows as text.

pub mod export;
pub mod graph;
pub mod live;
mod picture;
pub mod plan;
