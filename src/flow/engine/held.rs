//! What keeps a run from going on though nothing of it has failed: told once when it begins, and seen by whoever looks.

use super::{Active, Engine, Unresumed};
use crate::domain::flow::ids::RunId;
use crate::domain::flow::news::News;
use crate::domain::flow::record::RunRecord;
use crate::domain::flow::refusal::Refusal;

impl Engine {
    pub(super) fn tell_held(&self, id: &RunId, why: String) {
        self.tell(News::Held { run: id.clone(), why });
        self.publish_run(id);
    }

    /// Why a run that is under way does not go on for now.
    pub(super) fn held(&self, id: &RunId) -> Option<String> {
        if let Some(unresumed) = self.unresumed.get(id) {
            return unresumed.told();
        }
        let active = self.active.get(id).filter(|active| active.run.status.is_under_way())?;
        // While nothing can be written down, nothing new is started of any run.
        active.held().or_else(|| self.told_blocked.clone())
    }

    pub(super) fn with_held(&self, mut record: RunRecord) -> RunRecord {
        record.held = self.held(&record.run_id);
        record
    }
}

impl Unresumed {
    /// It is tried again before long: what keeps it may pass.
    pub(super) fn passes(&self) -> bool {
        matches!(self.why, None | Some(Refusal::Store(_)))
    }

    pub(super) fn told(&self) -> Option<String> {
        let why = self.why.as_ref()?;
        if let Refusal::Store(why) = why {
            return Some(why.clone());
        }
        Some(format!("{why}; {}", why.hint()))
    }
}

impl Active {
    fn held(&self) -> Option<String> {
        let waiting = || self.live.values().find_map(|live| live.waiting.clone());
        self.told_unsettled.clone().or_else(waiting)
    }
}
