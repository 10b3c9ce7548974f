//! The brain: one actor that receives, steps, persists, acts and publishes.
pub mod handle;
pub mod store;
