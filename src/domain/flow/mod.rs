//! What a flow *is*: stages in a graph, runs of it, what each left behind, and what a retry does. Pure, like all of
//! [`domain`](super).
//!
//! Reading order: [`ids`], [`status`] (the words), [`spec`] (what the user asked for), [`when`] (its expressions),
//! [`graph`], [`record`] (what is kept), [`plan`] (what a retry executes and what it reuses), [`refusal`] (what is
//! refused, and the way out), [`ask`] (what can be asked).

pub mod ask;
pub mod change;
pub mod graph;
pub mod ids;
pub mod record;
pub mod refusal;
pub mod spec;
pub mod status;
pub mod when;
