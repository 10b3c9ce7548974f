//! What a flow *is*: stages in a graph, runs of it, what each left behind, and what a retry does. Pure, like all of
//! [`domain`](super).
//!
//! Reading order: [`ids`], [`status`] (the words), [`spec`] (what the user asked for), [`when`] (its expressions),
//! [`graph`], [`record`] (what is kept), [`inputs`], [`output`] and [`state`] (what passes between stages), [`hashes`], [`items`],
//! [`run`] (the machine) with [`change`], [`news`] and [`view`] (what it says), [`plan`] (what a retry
//! executes and what it reuses), [`tree`], [`sent_back`], [`may`] and [`proceed`] (checkpoints, and what people do with them),
//! [`refusal`] (what is refused, and the way out), [`ask`] (what can be asked).

pub mod ask;
pub mod change;
pub mod graph;
pub mod hashes;
pub mod ids;
pub mod inputs;
pub mod items;
pub mod may;
pub mod news;
pub mod output;
pub mod plan;
pub mod proceed;
pub mod record;
pub mod refusal;
pub mod run;
pub mod sent_back;
pub mod spec;
pub mod state;
pub mod stats;
pub mod status;
pub mod tree;
pub mod view;
pub mod when;

#[cfg(test)]
pub(crate) mod testing;
