//! One file a verb.

pub mod asking;
pub mod check;
pub mod completions;
pub mod dashboard;
pub mod doctor;
pub mod down;
pub mod ends;
pub mod flow_edit;
pub mod flow_judge;
pub mod flow_read;
pub mod flow_run;
pub mod flow_tree;
pub mod follow;
pub mod logs;
pub mod order;
pub mod stage_logs;
pub mod status;
pub mod up;
pub mod wait;
pub mod watch;
pub mod why;
