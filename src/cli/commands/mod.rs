//! One file a verb.

pub mod completions;
pub mod down;
pub mod order;
pub mod status;
pub mod wait;
pub mod why;
