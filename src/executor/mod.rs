//! Where attempts run: adapters of [`crate::ports::Executor`].

pub mod local;
mod stdio;
mod translate;
