//! The brain: one actor that receives, steps, persists, acts and publishes.
pub mod atomic;
pub mod handle;
pub mod journal;
pub mod log_bounds;
pub mod place;
pub mod retry_log;
pub mod store;
