//! Takes runs out of history, and their files off the disk.

use std::collections::{BTreeSet, HashSet};

use super::Engine;
use super::load::store;
use crate::domain::flow::ask::{FlowReply, GoneBranch};
use crate::domain::flow::change::What;
use crate::domain::flow::ids::{BranchName, Hash, RunId};
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::status::RunStatus;
use crate::flow::collect::{Collector, YOUNG};
use crate::ports::store::StoreError;
use crate::supervisor::guest::KnownGuest;

impl Engine {
    /// History goes first: a file that is left behind when we die in between belongs to nobody, and is collected later.
    pub(super) fn delete(&mut self, runs: &[RunId], cascade: bool) -> Result<FlowReply, Refusal> {
        let hooks = self.scribe.store().open_hooks().map_err(|error| store(&error))?;
        let mut roots = BTreeSet::new();
        for run in runs {
            let now = self.now(run)?;
            if !now.status.is_final() && now.status != RunStatus::Interrupted {
                return Err(Refusal::still_runs(&now));
            }
            if hooks.contains(run) {
                return Err(Refusal::Unusable {
                    message: format!("delete {run}: the command after it still runs"),
                    hint: Some(format!("wait for it: restage show {run}")),
                });
            }
            roots.insert(now.root_run_id);
        }
        let branches = self.branches_of(&roots)?;
        let named = self.named()?;
        let gone = self.scribe.store().delete(runs, cascade).map_err(|error| match error {
            StoreError::Reused { run, by, branches } => Refusal::Reused { run, by, branches },
            // One that builds on them.
            StoreError::UnderWay { run, status } => Refusal::StillRuns { run, status, left: false },
            StoreError::Later { .. }
            | StoreError::Broken { .. }
            | StoreError::Fenced { .. }
            | StoreError::Ended { .. }
            | StoreError::Held { .. }
            | StoreError::Stale { .. }
            | StoreError::Newer { .. } => store(&error),
        })?;
        let still = self.branches_of(&roots)?;
        let mut freed = false;
        for run in &gone {
            self.active.remove(run);
            freed |= self.unresumed.remove(run).is_some();
            if let Some(hook) = self.hooks.remove(run) {
                self.forget_guest(hook.name(run));
            }
            for KnownGuest { name, .. } in self.set_aside.remove(run).unwrap_or_default() {
                self.forget_guest(name);
            }
        }
        if freed {
            self.start_queued();
        }
        let still_named = self.named()?;
        let free: Vec<Hash> = named.difference(&still_named).cloned().collect();
        let (objects, dirs, now) = (self.objects.clone(), self.dirs.clone(), self.clock.now().wall);
        let collector = Collector {
            objects: &objects,
            dirs: &dirs,
            named: &still_named,
            now,
            young: YOUNG,
            dry_run: false,
        };
        let mut collected = collector.deleted(&gone, &free).map_err(|error| Refusal::Unusable {
            message: format!("delete the files of runs that are gone: {error}"),
            hint: Some("look at that path; restage gc deletes the rest".into()),
        })?;
        collected.runs = gone;
        collected.branches = branches.into_iter().filter(|branch| !still.contains(branch)).collect();
        Ok(FlowReply::Collected(collected))
    }

    /// All but the first of each lineage, which is there as long as that is.
    fn branches_of(&mut self, roots: &BTreeSet<RunId>) -> Result<Vec<GoneBranch>, Refusal> {
        let mut found = Vec::new();
        for root in roots {
            let branches = self.scribe.store().branches(root).map_err(|error| store(&error))?;
            let names = branches.into_iter().map(|branch| branch.branch_name);
            let others = names.filter(|name| *name != BranchName::main());
            found.extend(others.map(|branch_name| GoneBranch { root_run_id: root.clone(), branch_name }));
        }
        Ok(found)
    }

    /// What history names, and what it is about to name: while it cannot be written, that may be old.
    pub(super) fn named(&mut self) -> Result<HashSet<Hash>, Refusal> {
        let mut named: HashSet<Hash> =
            self.scribe.store().objects().map_err(|error| store(&error))?.into_iter().collect();
        for what in self.pending.iter().flat_map(|pending| &pending.turn.changes) {
            if let What::Checkpoint { new, .. } = what {
                named.extend(new.artifacts.iter().map(|one| one.hash.clone()));
            } else if let What::Item { item, .. } = what {
                named.extend(item.artifacts.iter().map(|one| one.hash.clone()));
            }
        }
        Ok(named)
    }
}
