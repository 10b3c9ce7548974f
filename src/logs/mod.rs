//! Attempt logs as files: their names, how they are read (from the end, as they grow, by line, by search), how their
//! size and number stay bounded, and how a child's bytes become text that is safe to show.
//!
//! Reading order: [`names`], [`blocks`] (a log in blocks, knowing its holes), [`lines`], [`tail`], [`page`], [`index`],
//! [`search`], [`sanitize`], [`output_match`], [`retention`], [`bounds`]. Nothing here writes into a log, knows a
//! runner's state or reads a clock.

pub mod blocks;
pub mod bounds;
pub mod index;
pub mod lines;
pub mod names;
pub mod output_match;
pub mod page;
pub mod retention;
pub mod sanitize;
pub mod search;
pub mod tail;
