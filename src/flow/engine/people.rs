//! What people do with checkpoints: approve, reject, continue, edit, fork. Whether they may is asked of the domain, which
//! screens ask, too.

use super::Engine;
use super::load::store;
use super::retry::Wanted;
use crate::domain::flow::ask::{ApproveWish, Can, ContinueWish, EditWish, FlowReply, ForkWish, RejectWish};
use crate::domain::flow::change::{Judgement, NewCheckpoint};
use crate::domain::flow::graph::Graph;
use crate::domain::flow::ids::{CheckpointId, Hash, RunId, StageName};
use crate::domain::flow::may;
use crate::domain::flow::plan::Start;
use crate::domain::flow::proceed::{self, Continuation, From};
use crate::domain::flow::record::{Branch, RunRecord};
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::status::Approval;

impl Engine {
    pub(super) fn approve(&mut self, wish: ApproveWish) -> Result<FlowReply, Refusal> {
        let record = self.now(&wish.run)?;
        let whole = self.whole(&record)?;
        let judged = may::may_approve(&whole.lineage(), &record, wish.stage.as_ref(), wish.hash.as_ref())?;
        let judgement =
            self.judgement(judged.checkpoint, judged.hash, Approval::Approved, wish.who, wish.note);
        self.judge(&record, judgement, judged.goes_on)?;
        Ok(FlowReply::Run { run: record.run_id, existing: true })
    }

    pub(super) fn reject(&mut self, wish: RejectWish) -> Result<FlowReply, Refusal> {
        let record = self.now(&wish.run)?;
        let whole = self.whole(&record)?;
        let spec = self.definition(&record)?;
        let graph =
            Graph::of(&spec).map_err(|error| super::load::unusable(&record.run_id, &error.to_string()))?;
        let rewind = wish.rewind_to.as_ref();
        let (judged, to) =
            may::may_reject(&whole.lineage(), &graph, &record, &wish.stage, rewind, &wish.feedback)?;
        let note = Some(wish.feedback.clone());
        let judgement = self.judgement(judged.checkpoint, judged.hash, Approval::Rejected, wish.who, note);
        if !judged.goes_on {
            self.judge(&record, judgement, false)?;
            return Ok(FlowReply::Done);
        }
        self.ready(&record.run_id)?;
        let at = self.moment();
        let id = record.run_id;
        self.hold(&id);
        self.step(&id, |run| match (run.find(&wish.stage), run.find(&to)) {
            (Some(stage), Some(to)) => run.reject(stage, to, judgement, &wish.feedback, at),
            (Some(_) | None, _) => crate::domain::flow::run::Turn::default(),
        });
        Ok(FlowReply::Run { run: id, existing: true })
    }

    fn judgement(
        &self,
        checkpoint: CheckpointId,
        hash: Hash,
        to: Approval,
        who: String,
        note: Option<String>,
    ) -> Judgement {
        let at = self.clock.now().wall;
        Judgement { checkpoint, hash, from: Approval::Pending, to, who, at, note }
    }

    /// With the run that waits for it, where one does.
    fn judge(&mut self, record: &RunRecord, judgement: Judgement, goes_on: bool) -> Result<(), Refusal> {
        let id = record.run_id.clone();
        if goes_on {
            self.ready(&id)?;
            let at = self.moment();
            self.hold(&id);
            self.step(&id, |run| match run.find(&judgement.checkpoint.stage) {
                Some(index) => run.approve(index, judgement, at),
                None => crate::domain::flow::run::Turn::default(),
            });
            return Ok(());
        }
        let checkpoint = judgement.checkpoint.clone();
        let done = self.store.judge(&record.root_run_id, &judgement).map_err(|error| store(&error))?;
        if done { Ok(()) } else { Err(Refusal::Stale { run: id, checkpoint }) }
    }

    /// A run that a person sets going is written by us from here on.
    fn ready(&mut self, id: &RunId) -> Result<(), Refusal> {
        if !self.active.contains_key(id) {
            let active = self.load(id, &[])?;
            self.active.insert(id.clone(), active);
        }
        Ok(())
    }

    pub(super) fn proceed(&mut self, wish: ContinueWish) -> Result<FlowReply, Refusal> {
        let record = self.now(&wish.run)?;
        let whole = self.whole(&record)?;
        let lineage = whole.lineage();
        let named = wish.checkpoint.as_ref();
        let branch = proceed::branch_of(&lineage, &record, named, wish.force_retry)?;
        let from = From { branch, checkpoint: wish.checkpoint.clone(), force_retry: wish.force_retry };
        let mut plan = |again: &proceed::Again| self.plan_again(&Wanted::from(again), true).map(drop);
        match proceed::may_continue(&lineage, &from, &mut plan)? {
            Continuation::Approve { run, checkpoint, hash } => {
                let record = self.now(&run)?;
                let judgement = self.judgement(checkpoint, hash, Approval::Approved, wish.who, None);
                self.judge(&record, judgement, true)?;
                Ok(FlowReply::Run { run, existing: true })
            }
            Continuation::Resume { run } => {
                self.active.remove(&run);
                self.ready(&run)?;
                let at = self.moment();
                self.hold(&run);
                self.step(&run, |machine| machine.begin(at));
                Ok(FlowReply::Run { run, existing: true })
            }
            Continuation::Again(again) => {
                if let Some((checkpoint, hash)) = again.approve.clone() {
                    let judgement =
                        self.judgement(checkpoint, hash, Approval::Approved, wish.who.clone(), None);
                    self.judge(&record, judgement, false)?;
                }
                let wanted =
                    Wanted { approve_all: wish.approve_all, who: Some(wish.who), ..Wanted::from(&again) };
                self.run_again(&wanted)
            }
        }
    }

    pub(super) fn edit(&mut self, wish: EditWish) -> Result<FlowReply, Refusal> {
        let record = self.now(&wish.run)?;
        let whole = self.whole(&record)?;
        let lineage = whole.lineage();
        let before = may::may_edit(&lineage, &record, &wish.stage, wish.hash.as_ref())?;
        let mut replaced = Vec::new();
        for (name, path) in &wish.artifacts {
            let artifact = self.objects.import_path(name, path).map_err(|error| Refusal::Unusable {
                message: format!("take {} as {name}: {error}", path.display()),
                hint: Some("name a regular file that can be read".into()),
            })?;
            let same = before.artifacts.iter().find(|one| one.name == *name);
            // A new text keeps its place among what can be executed.
            let executable = same.map_or(artifact.executable, |one| one.executable);
            replaced.push(crate::domain::flow::record::Artifact { executable, ..artifact });
        }
        let Some(edited) = may::edited(before, &wish.set, &replaced)? else {
            return Ok(FlowReply::Edited { checkpoint: None });
        };
        let new = NewCheckpoint {
            stage: wish.stage.clone(),
            branch: record.branch.clone(),
            parent: before.parent.clone(),
            status: before.status,
            approval: Approval::Pending,
            hash: edited.hash,
            recipe: None,
            input: before.input.clone(),
            outputs: edited.outputs,
            artifacts: edited.artifacts,
            created_at: self.clock.now().wall,
            created_by: Some(wish.who),
            edited_from: Some(before.id.clone()),
            approved_by: None,
            approved_at: None,
            note: None,
        };
        let root = &record.root_run_id;
        let id = self.store.add_checkpoint(root, &record.run_id, &new).map_err(|error| store(&error))?;
        if !record.status.is_final() {
            self.ready(&record.run_id)?;
            let made = self.store.checkpoint(root, &id).map_err(|error| store(&error))?;
            if let Some(made) = made {
                self.step(&record.run_id, |run| run.edited(made));
            }
        }
        Ok(FlowReply::Edited { checkpoint: Some(id) })
    }

    pub(super) fn fork(&mut self, wish: ForkWish) -> Result<FlowReply, Refusal> {
        let record = self.now(&wish.run)?;
        let whole = self.whole(&record)?;
        may::may_fork(&whole.lineage(), &record, &wish.at, &wish.branch)?;
        let branch = Branch {
            branch_name: wish.branch.clone(),
            forked_from: Some(wish.at),
            created_at: self.clock.now().wall,
            created_by: Some(wish.who),
        };
        let added = self.store.add_branch(&record.root_run_id, &branch).map_err(|error| store(&error))?;
        if added {
            Ok(FlowReply::Done)
        } else {
            Err(Refusal::BranchExists { run: wish.run, branch: wish.branch })
        }
    }

    /// Asked of the functions that decide.
    pub(super) fn can(&mut self, id: &RunId, stage: Option<&StageName>) -> Result<FlowReply, Refusal> {
        let record = self.now(id)?;
        let whole = self.whole(&record)?;
        let lineage = whole.lineage();
        let start = stage.map_or(Start::FirstFailure, |stage| Start::At(stage.clone()));
        let wanted = Wanted { start, ..Wanted::of(id.clone()) };
        let retry = self.plan_again(&wanted, false).map(drop);
        let cancel = if record.status.is_final() {
            Err(Refusal::Ended { run: id.clone(), status: record.status })
        } else {
            Ok(())
        };
        let approve = may::may_approve(&lineage, &record, stage, None).map(drop);
        let edit = match stage {
            Some(stage) => may::may_edit(&lineage, &record, stage, None).map(drop),
            None => Err(Refusal::Unusable { message: "an edit is of a stage".into(), hint: None }),
        };
        let from = From { branch: record.branch.clone(), checkpoint: None, force_retry: false };
        let mut plan = |again: &proceed::Again| self.plan_again(&Wanted::from(again), false).map(drop);
        let proceed = proceed::may_continue(&lineage, &from, &mut plan).map(drop);
        Ok(FlowReply::Can(Box::new(Can { retry, cancel, approve, edit, proceed })))
    }
}
