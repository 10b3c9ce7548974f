//! The processes that must not fail: the keeper, its guard, its relays. They know std, nix, libc and serde only.
pub mod wire;
