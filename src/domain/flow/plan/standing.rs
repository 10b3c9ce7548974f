//! What a stage would be made from, as things stand: by that an edit is known to be one of what stood there.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Facts, Known, Left};
use crate::domain::flow::hashes::{self, Chain, Ended};
use crate::domain::flow::ids::{Hash, StageName};
use crate::domain::flow::state::State;

/// `None`: something before it has left nothing.
pub fn input(facts: &Facts<'_>, stage: &StageName) -> Option<Hash> {
    let known = Known::of(facts);
    let graph = facts.graph;
    let stage = graph.index(stage)?;
    let mut chain = Chain::new(graph, facts.inputs);
    let mut state = State::new(graph, facts.inputs.clone());
    let ancestors: HashSet<usize> = graph.ancestors(&[stage]).into_iter().collect();
    for before in graph.order().iter().copied().filter(|before| ancestors.contains(before)) {
        if known.skipped(before) {
            chain.fill(graph, before, Ended::Skipped);
            continue;
        }
        let Left::Checkpoint(left) = &facts.left[before] else { return None };
        let (outputs, manifest) = (hashes::outputs(&left.outputs), hashes::manifest(&left.artifacts));
        chain.fill(graph, before, Ended::Good { outputs: &outputs, manifest: &manifest });
        state.put(before, Arc::new(left.outputs.clone()));
    }
    let reads = facts.flow.stages[stage].reads();
    chain.made_from(graph, stage, reads, |key| state.get(stage, key).map(hashes::value))
}
