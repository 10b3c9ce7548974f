//! One file a verb.

pub mod check;
pub mod completions;
pub mod dashboard;
pub mod doctor;
pub mod down;
pub mod flow_run;
pub mod follow;
pub mod logs;
pub mod order;
pub mod status;
pub mod up;
pub mod wait;
pub mod why;
