//! Flows as text.

pub mod export;
pub mod graph;
mod picture;
