//! What somebody who follows a run on a terminal is told of what waits for a person.

use std::collections::BTreeSet;

use crate::cli::output;
use crate::domain::flow::ids::{RunId, StageName};
use crate::frontend::flow::live::Live;

/// What the tree has no room for: how to judge what waits. Who does not wait for people is told at the end.
#[derive(Debug)]
pub(super) struct Asking {
    waits: bool,
    told: BTreeSet<StageName>,
}

impl Asking {
    pub(super) const fn new(waits: bool) -> Self {
        Self { waits, told: BTreeSet::new() }
    }

    /// Should it ask once more, that is told again.
    pub(super) fn forget(&mut self, stage: &StageName) {
        self.told.remove(stage);
    }

    pub(super) fn ask(&mut self, live: &mut Live, run: &RunId, stage: &StageName) {
        if self.waits && self.told.insert(stage.clone()) {
            output::draw(&live.above(&asks(run, stage)));
        }
    }
}

/// What somebody can do who is waited for.
pub(super) fn asks(run: &RunId, stage: &StageName) -> String {
    format!(
        "{run} waits for you at {stage}: restage approve {run} {stage}, or restage reject {run} {stage} --feedback TEXT"
    )
}
