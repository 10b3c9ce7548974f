//! What happens around runs: the commands after one has ended, and the collection of what nobody needs any more.

use std::collections::HashSet;

use super::Engine;
use super::load::store;
use crate::domain::flow::ask::FlowReply;
use crate::domain::flow::ids::{Hash, RunId, StageName};
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::status::RunStatus;
use crate::domain::ids::Attempt;
use crate::flow::beneath::FileError;
use crate::flow::collect::{Collector, Known, YOUNG};
use crate::ports::store::StoreError;
use crate::supervisor::guest::GuestOrder;

impl Engine {
    /// `on_success` or `on_failure`, as a guest of the supervisor like any stage. What becomes of it changes nothing.
    /// One that was cancelled has neither.
    pub(super) fn run_hook(&mut self, id: &RunId, status: RunStatus) {
        let Some(active) = self.active.get(id) else { return };
        let spec = &active.run.spec;
        let (command, which) = match status {
            RunStatus::Succeeded | RunStatus::Degraded => (&spec.on_success, "-on_success"),
            RunStatus::Failed => (&spec.on_failure, "-on_failure"),
            RunStatus::Queued
            | RunStatus::Running
            | RunStatus::Waiting
            | RunStatus::Cancelled
            | RunStatus::Interrupted => return,
        };
        let Some(command) = command.clone() else { return };
        let env = [
            ("RESTAGE_RUN_ID", id.to_string()),
            ("RESTAGE_RUN_STATUS", active.run.status.to_string()),
            ("RESTAGE_RUN_ERROR", active.run.error.clone().unwrap_or_default()),
        ];
        // No stage can be called so.
        let name = StageName::trusted(which);
        let guest = super::runner::hook(id, &name, command, spec, env, &self.runs_dir);
        match guest {
            // The supervisor is gone only at the end.
            Ok(guest) => {
                self.guests.send(GuestOrder::Launch { spec: Box::new(guest), attempt: Attempt::FIRST }).ok();
            }
            Err(why) => tracing::warn!(run = %id, %why, "run the command after a run"),
        }
    }

    pub(super) fn collect(&mut self, dry_run: bool) -> Result<FlowReply, Refusal> {
        let named: HashSet<Hash> = self.store.objects().map_err(|error| store(&error))?.into_iter().collect();
        let (objects, dirs, now) = (self.objects.clone(), self.dirs.clone(), self.clock.now().wall);
        let collector =
            Collector { objects: &objects, dirs: &dirs, named: &named, now, young: YOUNG, dry_run };
        let collected = collector.collect(|run| self.known(run)).map_err(|error| match error {
            Trouble::Refused(refusal) => refusal,
            Trouble::Files(error) => Refusal::Unusable {
                message: format!("collect what nobody needs: {error}"),
                hint: Some("the rest has been collected; look at that path".into()),
            },
        })?;
        Ok(FlowReply::Collected(collected))
    }

    fn known(&mut self, run: &RunId) -> Result<Known, Trouble> {
        let stored = self.store.run(run).map_err(|error: StoreError| Trouble::Refused(store(&error)))?;
        let Some(stored) = stored else { return Ok(Known::Gone) };
        let spec = self.definition(&stored.record).map_err(Trouble::Refused)?;
        Ok(Known::Run { record: Box::new(stored.record), keep_failed: spec.keep_failed })
    }
}

/// Why something was not collected.
enum Trouble {
    Refused(Refusal),
    Files(FileError),
}

impl From<FileError> for Trouble {
    fn from(error: FileError) -> Self {
        Self::Files(error)
    }
}
