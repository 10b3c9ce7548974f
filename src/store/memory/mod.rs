//! History in memory, for tests of what uses a store: the same answers without a disk, and a full disk on demand.
//!
//! Every write works on a copy and replaces the state when all of it went well. The copy shares what it does not change.

mod changes;
mod state;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::flow::change::{Change, ItemRecord, Judgement, NewCheckpoint, NewRun, RecipeRecord};
use crate::domain::flow::ids::{BranchName, CheckpointId, FlowName, Hash, RunId, StageName};
use crate::domain::flow::record::{Branch, Checkpoint, HookRecord, RunFilter, RunRecord};
use crate::domain::flow::status::{Cause, Decision, RunStatus, StageStatus};
use crate::ports::store::{Adopter, Begun, FailingStage, Held, Stats, Store, StoreError, StoredRun};
use crate::store::adoptions;
use crate::store::search::{cut, run_text};
use state::{Run, State, fits};

/// Clones share one history, as connections to one file do.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: State,
    full: bool,
}

impl MemoryStore {
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on, or no longer, every write finds the disk full.
    pub fn set_full(&self, full: bool) {
        self.shared().full = full;
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        // What panicked has replaced nothing.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write<T>(
        &self,
        act: &str,
        body: impl FnOnce(&mut State) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut shared = self.shared();
        if shared.full {
            return Err(StoreError::Later { act: act.to_owned(), cause: "the disk is full".into() });
        }
        let mut next = shared.state.clone();
        let answer = body(&mut next)?;
        shared.state = next;
        Ok(answer)
    }

    fn read<T>(&self, body: impl FnOnce(&State) -> T) -> T {
        body(&self.shared().state)
    }
}

impl Store for MemoryStore {
    fn begin(&mut self, new: &NewRun) -> Result<Begun, StoreError> {
        fits(&new.inputs, "the inputs")?;
        self.write("begin a run", |state| state.begin(new))
    }

    fn commit(&mut self, changes: &[Change]) -> Result<Vec<Option<CheckpointId>>, StoreError> {
        self.write("write to the history", |state| changes::commit(state, changes))
    }

    fn add_checkpoint(
        &mut self,
        root: &RunId,
        run: &RunId,
        new: &NewCheckpoint,
        adopters: &[Adopter],
    ) -> Result<CheckpointId, StoreError> {
        self.write("store a version", |state| {
            state.found(run)?;
            let id = state.add_checkpoint(root, run, new)?;
            changes::commit(state, &adoptions(adopters, &id))?;
            Ok(id)
        })
    }

    fn judge(&mut self, root: &RunId, judgement: &Judgement) -> Result<bool, StoreError> {
        self.write("judge a checkpoint", |state| Ok(state.judge(root, judgement)))
    }

    fn add_branch(&mut self, root: &RunId, branch: &Branch) -> Result<bool, StoreError> {
        self.write("add a branch", |state| state.add_branch(root, branch))
    }

    fn take_over(&mut self, run: &RunId, holder: &str) -> Result<u64, StoreError> {
        self.write("take over a run", |state| {
            let run = state.found(run)?;
            run.epoch += 1;
            holder.clone_into(&mut run.holder);
            Ok(run.epoch)
        })
    }

    fn run(&mut self, run: &RunId) -> Result<Option<StoredRun>, StoreError> {
        Ok(self.read(|state| state.run(run).map(|run| state.stored(run))))
    }

    fn run_of_key(&mut self, flow: &FlowName, key: &str) -> Result<Option<RunId>, StoreError> {
        Ok(self.read(|state| state.of_key(flow, key)))
    }

    fn runs(&mut self, filter: &RunFilter) -> Result<Vec<RunRecord>, StoreError> {
        let limit = filter.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let newest_first = |state: &State| {
            let matching = state.runs.values().rev().filter(|run| matches(run, filter));
            matching.take(limit).map(|run| run.record.clone()).collect()
        };
        Ok(self.read(newest_first))
    }

    fn unfinished(&mut self) -> Result<Vec<RunId>, StoreError> {
        let under_way = |run: &&Arc<Run>| is_live(run.record.status);
        Ok(self.read(|state| {
            state.runs.values().filter(under_way).map(|run| run.record.run_id.clone()).collect()
        }))
    }

    fn open_hooks(&mut self) -> Result<Vec<RunId>, StoreError> {
        let open = |run: &&Arc<Run>| run.record.hook.as_ref().is_some_and(|hook| hook.ended_at.is_none());
        Ok(self.read(|state| state.runs.values().filter(open).map(|run| run.record.run_id.clone()).collect()))
    }

    fn set_hook(&mut self, run: &RunId, hook: &HookRecord) -> Result<(), StoreError> {
        self.write("write down the command after a run", |state| {
            state.found(run)?.record.hook = Some(hook.clone());
            Ok(())
        })
    }

    fn definition(&mut self, hash: &Hash) -> Result<Option<String>, StoreError> {
        Ok(self.read(|state| state.definitions.get(hash).map(ToString::to_string)))
    }

    fn checkpoint(&mut self, root: &RunId, id: &CheckpointId) -> Result<Option<Checkpoint>, StoreError> {
        Ok(self.read(|state| state.checkpoint(root, id).cloned()))
    }

    fn checkpoints(&mut self, root: &RunId) -> Result<(Vec<Checkpoint>, Vec<String>), StoreError> {
        let all = |state: &State| {
            let lineage = state.lineages.get(root);
            lineage.into_iter().flat_map(|one| &one.checkpoints).map(|one| (**one).clone()).collect()
        };
        Ok((self.read(all), Vec::new()))
    }

    fn branches(&mut self, root: &RunId) -> Result<Vec<Branch>, StoreError> {
        Ok(self.read(|state| {
            let Some(first) = state.runs.values().find(|run| run.record.root_run_id == *root) else {
                return Vec::new();
            };
            let main = Branch {
                branch_name: BranchName::main(),
                forked_from: None,
                created_at: first.record.created_at,
                created_by: None,
            };
            let added = state.lineages.get(root).map(|lineage| lineage.branches.clone()).unwrap_or_default();
            std::iter::once(main).chain(added).collect()
        }))
    }

    fn items(&mut self, run: &RunId, stage: &StageName) -> Result<Vec<ItemRecord>, StoreError> {
        Ok(self.read(|state| {
            let run = state.run(run);
            let stage = run.and_then(|run| run.stages.iter().find(|one| one.name == *stage));
            stage.map(|stage| stage.items.values().cloned().collect()).unwrap_or_default()
        }))
    }

    fn lock(&mut self, root: &RunId, branch: &BranchName) -> Result<Option<Held>, StoreError> {
        Ok(self.read(|state| state.held(root, branch)))
    }

    fn retries_of(
        &mut self,
        root: &RunId,
        branch: &BranchName,
        checkpoint: &CheckpointId,
    ) -> Result<Vec<RunId>, StoreError> {
        let reuses = |run: &&Arc<Run>| {
            run.record.root_run_id == *root
                && run.record.branch == *branch
                && run.record.cause == Cause::Retry
                && run.stages.iter().any(|stage| {
                    stage.decision == Decision::Reuse && stage.checkpoint.as_ref() == Some(checkpoint)
                })
        };
        Ok(self
            .read(|state| state.runs.values().filter(reuses).map(|run| run.record.run_id.clone()).collect()))
    }

    fn recipe_of(&mut self, run: &RunId, stage: &StageName) -> Result<Option<RecipeRecord>, StoreError> {
        Ok(self.read(|state| state.run(run)?.stages.iter().find(|one| one.name == *stage)?.recipe.clone()))
    }

    fn stage_status(&mut self, run: &RunId, stage: &StageName) -> Result<Option<StageStatus>, StoreError> {
        Ok(self
            .run(run)?
            .and_then(|run| run.stages().iter().find(|row| row.name == *stage).map(|row| row.status)))
    }

    fn objects(&mut self) -> Result<Vec<Hash>, StoreError> {
        Ok(self.read(|state| {
            let checkpoints = state.lineages.values().flat_map(|lineage| &lineage.checkpoints);
            let items =
                state.runs.values().flat_map(|run| &run.stages).flat_map(|stage| stage.items.values());
            let artifacts =
                checkpoints.flat_map(|one| &one.artifacts).chain(items.flat_map(|item| &item.artifacts));
            artifacts.map(|one| one.hash.clone()).collect::<BTreeSet<_>>().into_iter().collect()
        }))
    }

    fn stats(&mut self, flow: Option<&FlowName>) -> Result<Stats, StoreError> {
        Ok(self.read(|state| stats(state, flow)))
    }

    fn delete(&mut self, runs: &[RunId], cascade: bool) -> Result<Vec<RunId>, StoreError> {
        self.write("delete runs", |state| {
            let named = state.runs.iter().filter(|(_, one)| runs.contains(&one.record.run_id));
            let mut gone: BTreeSet<u64> = named.map(|(id, _)| *id).collect();
            let mut next = gone.clone();
            let mut branches_gone = Vec::new();
            while let Some(one) = next.pop_last() {
                let root = state.runs[&one].record.root_run_id.clone();
                let branches = state.branches_on(one);
                let mut others = state.users(one);
                let lineage = || state.runs.iter().filter(|(_, other)| other.record.root_run_id == root);
                let on_them = lineage().filter(|(_, other)| branches.contains(&other.record.branch));
                others.extend(on_them.map(|(id, _)| *id));
                others.retain(|other| !gone.contains(other));
                let lives_on = lineage().any(|(id, _)| !gone.contains(id));
                if lives_on && !cascade && !(others.is_empty() && branches.is_empty()) {
                    let name = |id: &u64| state.runs[id].record.run_id.clone();
                    return Err(StoreError::Reused {
                        run: name(&one),
                        by: others.iter().map(name).collect(),
                        branches,
                    });
                }
                branches_gone.extend(branches.into_iter().map(|branch| (root.clone(), branch)));
                gone.extend(&others);
                next.extend(others);
            }
            let mut live = gone.iter().map(|id| &state.runs[id].record);
            if let Some(live) = live.find(|run| is_live(run.status)) {
                return Err(StoreError::UnderWay { run: live.run_id.clone(), status: live.status });
            }
            for (root, branch) in branches_gone {
                state.lineage(&root).branches.retain(|one| one.branch_name != branch);
            }
            Ok(gone.into_iter().filter_map(|id| state.remove(id)).collect())
        })
    }
}

fn is_live(status: RunStatus) -> bool {
    matches!(status, RunStatus::Queued | RunStatus::Running | RunStatus::Waiting)
}

fn matches(run: &Run, filter: &RunFilter) -> bool {
    let record = &run.record;
    let found = |text: &String| {
        let text = text.to_lowercase();
        let holds = |hay: &str| cut(hay).to_lowercase().contains(&text);
        holds(&run_text(&record.run_id, &record.inputs)) || record.error.as_deref().is_some_and(holds)
    };
    filter.flow.as_ref().is_none_or(|flow| record.flow == *flow)
        && (filter.status.is_empty() || filter.status.contains(&record.status))
        && filter.since.is_none_or(|since| record.created_at >= since)
        && filter.root.as_ref().is_none_or(|root| record.root_run_id == *root)
        && filter.search.as_ref().is_none_or(found)
}

fn stats(state: &State, flow: Option<&FlowName>) -> Stats {
    let mut stats = Stats::default();
    for run in state.runs.values().filter(|run| flow.is_none_or(|flow| run.record.flow == *flow)) {
        let good = matches!(run.record.status, RunStatus::Succeeded | RunStatus::Degraded);
        let retry = run.record.cause == Cause::Retry;
        stats.runs += 1;
        stats.succeeded += u64::from(good);
        stats.failed += u64::from(run.record.status == RunStatus::Failed);
        stats.retries += u64::from(retry);
        stats.retries_succeeded += u64::from(retry && good);
        if let (true, true, Some(number)) = (retry, good, run.record.retry_number) {
            count(&mut stats.recovered_at_retry, number);
        }
        for stage in &run.stages {
            for attempt in stage.attempts.values().filter(|attempt| attempt.error.is_some()) {
                if let (Some(from), Some(to)) = (attempt.started_at, attempt.ended_at) {
                    stats.seconds_lost += to.duration_since(from).as_secs_f64();
                }
            }
            count_stage(&mut stats, &run.record.flow, stage);
        }
    }
    stats.failing.sort_by(|a, b| (b.failures, &a.flow, &a.stage).cmp(&(a.failures, &b.flow, &b.stage)));
    stats
}

fn count_stage(stats: &mut Stats, flow: &FlowName, stage: &state::Stage) {
    if stage.status == crate::domain::flow::status::StageStatus::Failed {
        let mut known = stats.failing.iter_mut();
        if let Some(one) = known.find(|one| one.flow == *flow && one.stage == stage.name) {
            one.failures += 1;
            one.last_error.clone_from(&stage.error);
        } else {
            let (flow, stage_name) = (flow.clone(), stage.name.clone());
            let last_error = stage.error.clone();
            stats.failing.push(FailingStage { flow, stage: stage_name, failures: 1, last_error });
        }
    }
    let last = stage.attempts.values().map(|attempt| attempt.number).max();
    if let (true, Decision::Execute, Some(last)) = (stage.status.is_good(), stage.decision, last) {
        count(&mut stats.recovered_after, last.saturating_sub(1));
    }
}

/// One more of a number; of those from 1 on.
fn count(counts: &mut Vec<u64>, number: u32) {
    let Some(place) = number.checked_sub(1).and_then(|place| usize::try_from(place).ok()) else { return };
    if counts.len() <= place {
        counts.resize(place + 1, 0);
    }
    counts[place] += 1;
}
