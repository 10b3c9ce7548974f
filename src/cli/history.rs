//! Runs as they are, for verbs that only look: from the store, which can be read beside whoever writes it; and what is
//! under way is asked of the engine where one lives.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::exit::Exit;
use super::failure::Failure;
use super::workspace::Workspace;
use super::{background, block_on, flows, link, settings};
use crate::config::Missing;
use crate::control::client::ClientError;
use crate::domain::flow::ask::{BranchView, ContinueWish, FlowReply, FlowRequest, Plan, RetryWish, Shown};
use crate::domain::flow::ids::{CheckpointId, FlowName, RunId, StageName};
use crate::domain::flow::proceed::Continuation;
use crate::domain::flow::record::{Checkpoint, RunFilter, RunRecord};
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::spec::FlowSpec;
use crate::domain::flow::status::RunStatus;
use crate::domain::spec::WorkspaceSpec;
use crate::flow::engine;
use crate::flow::engine::desk::Desk;
use crate::flow::objects::Objects;
use crate::ports::store::{Store, StoreError, StoredRun};
use crate::store::sqlite::SqliteStore;

#[derive(Debug)]
pub struct History<'w> {
    pub store: SqliteStore,
    pub objects: Objects,
    workspace: &'w Workspace,
    flows: Option<BTreeMap<FlowName, Arc<FlowSpec>>>,
    ahead: Option<StoredRun>,
}

/// Something as it is now, and whether somebody supervises.
#[derive(Debug)]
pub struct Seen<T> {
    pub what: T,
    pub supervised: bool,
}

impl<'w> History<'w> {
    pub fn open(workspace: &'w Workspace) -> Result<Self, Failure> {
        let path = flows::history(workspace);
        match SqliteStore::open_read(&path) {
            Ok(Some(store)) => {
                let objects = Objects::new(workspace.objects_dir());
                Ok(Self { store, objects, workspace, flows: None, ahead: None })
            }
            Ok(None) => Err(none_yet(workspace)),
            Err(error) => Err(failed(&act(workspace), &error)),
        }
    }

    /// For a verb that has read the config already.
    #[must_use]
    pub fn knowing(mut self, spec: Option<&WorkspaceSpec>) -> Self {
        self.flows = spec.map(|spec| by_name(&spec.flows));
        self
    }

    /// Reads the run now, for whoever looks at it next. One that has not ended may be another by then.
    #[must_use]
    pub fn ahead(mut self, run: &RunId) -> Self {
        // What goes wrong with it is told by whoever looks.
        let read = self.store.run(run).ok().flatten();
        self.ahead = read.filter(|stored| stored.record.status.is_final());
        self
    }

    pub fn show(&mut self, run: &RunId) -> Result<Seen<Shown>, Failure> {
        self.show_for(run, &format!("show {run}"))
    }

    /// The same for a verb that looks before it does something.
    pub fn show_for(&mut self, run: &RunId, act: &str) -> Result<Seen<Shown>, Failure> {
        match self.ask(act, FlowRequest::Show { run: run.clone() })? {
            Some(FlowReply::Shown(shown)) => Ok(Seen { what: *shown, supervised: true }),
            Some(other) => Err(unexpected(act, &other)),
            None => Ok(Seen { what: self.desk(|desk| desk.show(run), act)?, supervised: false }),
        }
    }

    /// Without stages, the newest first.
    pub fn runs(&mut self, filter: &RunFilter, act: &str) -> Result<Vec<RunRecord>, Failure> {
        let mut runs = self.store.runs(filter).map_err(|error| failed(act, &error))?;
        let under_way = |run: &RunRecord| run.status.is_under_way();
        if !runs.iter().any(under_way) {
            return Ok(runs);
        }
        let supervised = self.is_supervised();
        // Where nobody answers, the records have to do.
        let held = if supervised { self.held(act).unwrap_or_default() } else { BTreeMap::new() };
        for run in runs.iter_mut().filter(|run| under_way(run)) {
            run.left = !supervised;
            run.held = held.get(&run.run_id).cloned();
        }
        Ok(runs)
    }

    /// The runs that do not go on for now, each with the reason: that is not on record.
    fn held(&self, act: &str) -> Result<BTreeMap<RunId, String>, Failure> {
        let status = RunStatus::ALL.iter().copied().filter(|status| status.is_under_way()).collect();
        let filter = RunFilter { status, ..RunFilter::default() };
        match self.ask(act, FlowRequest::Runs(filter))? {
            Some(FlowReply::Runs(runs)) => {
                Ok(runs.into_iter().filter_map(|run| Some((run.run_id, run.held?))).collect())
            }
            Some(other) => Err(unexpected(act, &other)),
            None => Ok(BTreeMap::new()),
        }
    }

    /// As it stands in the store.
    pub fn recorded(&mut self, run: &RunId) -> Result<Shown, Failure> {
        let run = self.desk(|desk| desk.now(run), &format!("read {run}"))?;
        Ok(Shown { run, branches: Vec::new() })
    }

    /// The run that a continuation only has to take up again, as it is before that; `None` where somebody supervises, or
    /// where it is to do something else.
    pub fn lies(&mut self, wish: &ContinueWish) -> Option<Shown> {
        if self.is_supervised() {
            return None;
        }
        let continuation = self.desk(|desk| desk.continuation(wish, false), "").ok()?;
        let Continuation::Resume { run } = continuation else { return None };
        self.recorded(&run).ok().filter(|shown| shown.run.left)
    }

    /// Whether a run may still change.
    pub fn may_go_on(&mut self, run: &RunId) -> bool {
        let status = RunStatus::ALL.iter().copied().filter(|status| !status.is_final()).collect();
        let runs = self.store.runs(&RunFilter { status, ..RunFilter::default() });
        runs.map_or(true, |runs| runs.iter().any(|one| one.run_id == *run))
    }

    /// The first of what the stages of a run left that is not as it was written, and why.
    pub fn flaw(&mut self, record: &RunRecord, act: &str) -> Result<Option<(StageName, String)>, Failure> {
        let (all, _) = self.store.checkpoints(&record.root_run_id).map_err(|error| failed(act, &error))?;
        let all: HashMap<&CheckpointId, &Checkpoint> = all.iter().map(|one| (&one.id, one)).collect();
        let named = record.stages.iter().flatten().filter_map(|row| row.checkpoint.as_ref());
        let flaw = named.map(|checkpoint| &checkpoint.id).find_map(|id| match all.get(id) {
            Some(one) if one.is_whole() => None,
            Some(_) => Some((id.stage.clone(), format!("{id} does not hold what was written"))),
            None => Some((id.stage.clone(), format!("{id} cannot be read"))),
        });
        Ok(flaw)
    }

    /// Why nothing would come of a request, where nobody supervises and the records tell that: whoever was started for it
    /// would say the same, after all that lies unfinished had been gone on with.
    pub fn refuse(&mut self, request: &FlowRequest, act: &str) -> Result<(), Failure> {
        let workspace = self.workspace;
        let is_copied = || engine::is_copied(&workspace.data_dir(), &workspace.root);
        if self.is_supervised() || background::is_needed(workspace) || is_copied() {
            return Ok(());
        }
        // What is refused at a glance may not be where all bytes are read.
        for thorough in [false, true] {
            let mut of_record = false;
            let look = |desk: &mut Desk<'_>| {
                desk.refuse(request, thorough).inspect_err(|refusal| of_record = refusal.is_of_record())
            };
            match self.desk(look, act) {
                Err(failure) if of_record && (thorough || self.objects.all_read()) => return Err(failure),
                Err(_) if of_record => {}
                Ok(()) | Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// What a retry would do.
    pub fn plan(&mut self, wish: &RetryWish) -> Result<Plan, Failure> {
        let act = format!("retry {}", wish.run);
        match self.ask(&act, FlowRequest::Retry(wish.clone()))? {
            Some(FlowReply::Plan(plan)) => Ok(plan),
            Some(other) => Err(unexpected(&act, &other)),
            None => self.desk(|desk| desk.plan(wish.clone()), &act),
        }
    }

    /// Of the whole lineage, with where its branches stand.
    pub fn checkpoints(&mut self, run: &RunId) -> Result<(Vec<Checkpoint>, Vec<BranchView>), Failure> {
        let act = format!("list the checkpoints of {run}");
        let reply = match self.ask(&act, FlowRequest::Checkpoints { run: run.clone() })? {
            Some(reply) => reply,
            None => self.desk(|desk| desk.checkpoints(run), &act)?,
        };
        let FlowReply::Checkpoints { checkpoints, branches } = reply else {
            return Err(unexpected(&act, &reply));
        };
        Ok((checkpoints, branches))
    }

    /// What the engine would say if it had nothing under way.
    pub fn desk<T>(
        &mut self,
        look: impl FnOnce(&mut Desk<'_>) -> Result<T, Refusal>,
        act: &str,
    ) -> Result<T, Failure> {
        let (workspace, lies) = (self.workspace, !self.is_supervised());
        let flows = self.flows.get_or_insert_with(|| todays(workspace));
        let mut desk =
            Desk::alone(&mut self.store, &self.objects, &workspace.root, flows, lies).with(self.ahead.take());
        look(&mut desk).map_err(|refusal| {
            let failure = Failure::of_refusal(act, &refusal);
            // It does not go on by itself, so that nobody should wait for it.
            match refusal.in_the_way().filter(|run| desk.now(run).is_ok_and(|run| run.left)) {
                Some(run) => failure.hint(format!(
                    "nobody supervises {run}: go on with it: restage continue {run}; or end it for good: restage cancel {run}"
                )),
                None => failure,
            }
        })
    }

    /// `None` where nobody supervises. Who is just ending is asked no more.
    fn ask(&self, act: &str, request: FlowRequest) -> Result<Option<FlowReply>, Failure> {
        block_on(async {
            let Some((client, _updates)) = link::connect(self.workspace).await? else { return Ok(None) };
            match client.flow(request).await {
                Ok(reply) => Ok(Some(reply)),
                Err(ClientError::Gone) => Ok(None),
                Err(ClientError::Declined(refusal)) if *refusal == Refusal::Ending => Ok(None),
                Err(error) => Err(Failure::of_client(act, &error)),
            }
        })?
    }

    pub fn is_supervised(&self) -> bool {
        link::who(self.workspace) != link::Found::Nobody
    }
}

fn act(workspace: &Workspace) -> String {
    format!("read the history of {}", workspace.root.display())
}

/// Where nothing ever ran, and where all of it was deleted.
pub fn none_yet(workspace: &Workspace) -> Failure {
    Failure::new(Exit::Nothing, act(workspace), "there are no runs yet").hint("`restage run FLOW` begins one")
}

/// None where the config cannot be read: then nothing can be retried, and that is told.
fn todays(workspace: &Workspace) -> BTreeMap<FlowName, Arc<FlowSpec>> {
    let loaded = settings::read(workspace, Missing::Warning);
    loaded.map(|loaded| by_name(&loaded.spec.flows)).unwrap_or_default()
}

fn by_name(flows: &[Arc<FlowSpec>]) -> BTreeMap<FlowName, Arc<FlowSpec>> {
    flows.iter().map(|flow| (flow.name.clone(), Arc::clone(flow))).collect()
}

pub fn failed(act: &str, error: &StoreError) -> Failure {
    Failure::of_refusal(act, &Refusal::Store(error.to_string()))
}

pub fn unexpected(act: &str, reply: &FlowReply) -> Failure {
    Failure::of_client(act, &ClientError::Nonsense(format!("{reply:?}")))
}
