//! The command line: what was typed, what it does, what the shell is told. The only room where concrete parts meet.

pub mod args;
pub mod commands;
pub mod doctor;
pub mod exit;
pub mod failure;
pub mod link;
pub mod output;
pub mod own_log;
pub mod process;
pub mod workspace;
