//! The brain: one actor that receives, steps, persists, acts and publishes.
pub mod activity;
pub mod atomic;
pub mod clock;
pub mod env_file;
pub mod figures;
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
