//! restage keeps long unattended work alive, and goes on from where it failed.
pub mod cli;
pub mod config;
pub mod control;
pub mod domain;
pub mod executor;
pub mod flow;
pub mod frontend;
pub mod keeper;
pub mod logs;
pub mod ports;
pub mod supervisor;
