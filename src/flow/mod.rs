//! Flows at work: what pure [`domain::flow`](crate::domain::flow) decides is carried out here, on top of supervision.
//!
//! [`handle`] is how others talk to the [`engine`], the actor that does it all.
//!
//! Files first. An attempt of a stage gets a private folder ([`attempt_dir`]) with what its ancestors left; after a good
//! end its output is read and its artifacts are copied into a content store ([`settle`], [`objects`]), durably, before
//! the store of history hears of them; [`recipe`] tells what a stage is made by, and [`collect`] deletes what nobody
//! names any more. Stages are programs that do as they like: nothing here follows a symbolic link that one of them
//! made out of its folder, waits for a pipe, or trusts a size ([`beneath`]).

pub mod attempt_dir;
pub mod beneath;
mod broom;
pub mod collect;
pub mod engine;
pub mod handle;
pub mod objects;
pub mod recipe;
pub mod settle;

#[cfg(test)]
mod testing;
