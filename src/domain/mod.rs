//! What supervision *is*, with no I/O, no clock and no async: everything here is a function of its arguments.
//!
//! Reading order: [`time`], [`ids`], [`verdict`], [`spec`] (what the user asked for), [`retry`] (how long to wait),
//! [`runner`] (state × event → state + effects), [`view`] (what clients see), [`keys`] (what a key of the dashboard means).

pub mod flow;
pub mod hash;
pub mod ids;
pub mod json;
pub mod keys;
pub mod retry;
pub mod runner;
pub mod spec;
pub mod time;
pub mod verdict;
pub mod view;
