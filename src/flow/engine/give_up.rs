//! A run that cannot be gone on with comes to its end all the same.

use super::Engine;
use super::load::store;
use crate::domain::flow::ask::FlowReply;
use crate::domain::flow::change::{Change, What};
use crate::domain::flow::ids::{RunId, parse_guest};
use crate::domain::flow::news::News;
use crate::domain::flow::record::StageRecord;
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::status::{RunStatus, StageStatus};
use crate::domain::flow::view::{FlowUpdate, RunView};
use crate::domain::time::Timestamp;
use crate::domain::view::Update;
use crate::ports::store::StoredRun;

impl Engine {
    /// Ends it, and with it what lives of it. What it has done may be reused.
    pub(super) fn give_up(
        &mut self,
        stored: &StoredRun,
        status: RunStatus,
        error: String,
    ) -> Result<FlowReply, Refusal> {
        let (run, started_at) = (&stored.record.run_id, stored.record.started_at);
        let epoch = self.scribe.store().take_over(run, &self.holder).map_err(|error| store(&error))?;
        let now = self.clock.now().wall;
        let seconds = started_at.map(|started| now.duration_since(started).as_secs_f64().max(0.0));
        let open = stored.stages().iter().filter(|row| !row.status.is_final());
        let mut whats: Vec<What> = open.map(|row| ended(row, status, now)).collect();
        whats.push(What::Run {
            status,
            error: Some(error.clone()),
            started_at,
            ended_at: Some(now),
            duration_seconds: seconds,
        });
        let change = |what| Change { run: run.clone(), epoch, what };
        let changes: Vec<Change> = whats.into_iter().map(change).collect();
        self.scribe.store().commit(&changes).map_err(|error| store(&error))?;
        self.unresumed.remove(run);
        let inventory = self.inventory.iter_mut().flat_map(|inventory| inventory.keys());
        let names = inventory.filter(|name| parse_guest(name).is_some_and(|(of, ..)| of == *run));
        for name in names.cloned().collect::<Vec<_>>() {
            self.forget_guest(name);
        }
        self.tell(News::RunEnded { run: run.clone(), status, seconds, error: Some(error) });
        self.publish_recorded(run);
        self.start_queued();
        Ok(FlowReply::Done)
    }

    /// Of a run that is not, or not any more, carried out here. Whoever looks at it sees what became of it.
    pub(super) fn publish_recorded(&mut self, run: &RunId) {
        match self.scribe.store().run(run) {
            Ok(Some(stored)) => {
                let view = RunView::of(&stored.record);
                self.handle.publish(Update::Flow(FlowUpdate::Run(view).into()));
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%run, %error, "tell what became of a run"),
        }
    }
}

/// As a run that is carried out ends its stages.
fn ended(row: &StageRecord, run: RunStatus, now: Timestamp) -> What {
    let began = run == RunStatus::Cancelled || row.started_at.is_some();
    What::Stage {
        stage: row.name.clone(),
        status: if began { StageStatus::Cancelled } else { StageStatus::NotRun },
        reason: row.reason,
        error: row.error.clone(),
        started_at: row.started_at,
        ended_at: Some(now),
        retry_at: None,
    }
}
