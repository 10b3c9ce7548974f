//! The brain: one actor that receives, steps, persists, acts and publishes.
//!
//! Reading order: [`handle`] and [`guest`] (how others talk to it), [`manager`] (the actor), [`store`] and [`journal`] (what survives
//! it), [`launch`] and [`env_file`] (what a process is made from), then what stands beside it: [`activity`], [`probe`]
//! and [`proc_tree`] (signs of life), [`helper`] (health checks, stop commands), [`figures`], [`retry_log`], [`watch`]
//! (edits of the config), [`clock`], [`apart`] (memory).
pub mod activity;
pub mod apart;
pub mod atomic;
pub mod clock;
pub mod env_file;
pub mod figures;
pub mod guest;
pub mod handle;
pub mod helper;
pub mod journal;
pub mod launch;
pub mod log_bounds;
pub mod manager;
pub mod place;
pub mod probe;
pub mod proc_tree;
pub mod retry_log;
pub mod store;
mod timers;
pub mod watch;
