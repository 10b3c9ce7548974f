//! What people do with checkpoints: approve, reject, continue, edit, fork. Whether they may is asked of the domain, which
//! screens ask, too.

use super::Engine;
use super::desk::{Desk, Whole};
use super::load::store;
use super::retry::Wanted;
use crate::domain::flow::ask::{ApproveWish, Can, ContinueWish, EditWish, FlowReply, ForkWish, RejectWish};
use crate::domain::flow::change::{Judgement, NewCheckpoint};
use crate::domain::flow::graph::Graph;
use crate::domain::flow::ids::{CheckpointId, Hash, RunId, StageName};
use crate::domain::flow::may::{self, find};
use crate::domain::flow::plan::Start;
use crate::domain::flow::proceed::{self, Continuation, From};
use crate::domain::flow::record::{Branch, RunRecord};
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::run::{Run, Stage};
use crate::domain::flow::status::{Approval, RunStatus, StageStatus};
use crate::domain::flow::tree::waiting;
use crate::ports::store::Adopter;

impl Desk<'_> {
    /// What continuing does.
    pub fn continuation(&mut self, wish: &ContinueWish, thorough: bool) -> Result<Continuation, Refusal> {
        let record = self.now(&wish.run)?;
        let whole = self.whole(&record)?;
        let lineage = whole.lineage();
        let branch = proceed::branch_of(&lineage, &record, wish.branch.as_ref(), wish.checkpoint.as_ref())?;
        let from = From { branch, checkpoint: wish.checkpoint.clone(), force_retry: wish.force_retry };
        proceed::may_continue(&lineage, &from, &mut self.ahead(thorough))
    }
}

impl Engine {
    pub(super) fn approve(&mut self, wish: ApproveWish) -> Result<FlowReply, Refusal> {
        let asked = self.now(&wish.run)?;
        let whole = self.whole(&asked)?;
        let version = wish.checkpoint.as_ref();
        let lineage = whole.lineage();
        let judged = may::may_judge(&lineage, &asked, wish.stage.as_ref(), version, wish.hash.as_ref())
            .map_err(|refusal| proceed::with_what_works(&lineage, refusal, &mut self.desk().ahead(false)))?;
        let record = self.now(&judged.run)?;
        let judgement =
            self.judgement(judged.checkpoint, judged.hash, Approval::Approved, wish.who, wish.note);
        let who = judgement.who.clone();
        self.take_on_checkpoint(&record, judgement)?;
        if wish.approve_all && judged.branch.is_none() && !record.status.is_final() {
            self.ask_nobody(&record.run_id, &who)?;
        }
        Ok(FlowReply::Run { run: record.run_id, existing: true })
    }

    pub(super) fn reject(&mut self, wish: &RejectWish) -> Result<FlowReply, Refusal> {
        let asked = self.now(&wish.run)?;
        let whole = self.whole(&asked)?;
        let stage = Some(&wish.stage);
        let judged =
            may::may_judge(&whole.lineage(), &asked, stage, wish.checkpoint.as_ref(), wish.hash.as_ref())?;
        let record = self.now(&judged.run)?;
        let spec = self.definition(&record)?;
        let graph = Graph::of(&spec).map_err(|error| super::load::unusable(&record, &error.to_string()))?;
        let (judged, to) = may::may_reject(&whole.lineage(), &graph, &record, wish)?;
        let (who, note) = (wish.who.clone(), Some(wish.feedback.clone()));
        let judgement = self.judgement(judged.checkpoint, judged.hash, Approval::Rejected, who, note);
        let judgement = Judgement { rewind_to: Some(to.clone()).filter(|to| *to != wish.stage), ..judgement };
        let waiters = self.waiters(&whole, &record, &judgement.checkpoint)?;
        if waiters.is_empty() {
            self.judge_at_rest(&record, &judgement)?;
            return Ok(FlowReply::Done);
        }
        let mut judgement = Some(judgement);
        for id in &waiters {
            self.ready(id)?;
        }
        for id in waiters {
            let (at, judgement) = (self.moment(), judgement.take());
            self.hold_going(&id);
            self.step(&id, |run| match run.find(&wish.stage) {
                // One on another branch may be of an earlier config, which did not have the other stage.
                Some(stage) => {
                    let to = run.find(&to).unwrap_or(stage);
                    run.reject(stage, to, judgement, &wish.feedback, at)
                }
                None => crate::domain::flow::run::Turn::default(),
            });
        }
        if wish.approve_all && !record.status.is_final() {
            self.ask_nobody(&record.run_id, &wish.who)?;
        }
        Ok(FlowReply::Run { run: record.run_id, existing: true })
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
        Judgement { checkpoint, hash, from: Approval::Pending, to, who, at, note, rewind_to: None }
    }

    /// A new run is made from what is on record.
    pub(super) fn write_now(&mut self) -> Result<(), Refusal> {
        self.flush();
        self.blocked.as_ref().map_or(Ok(()), |why| Err(Refusal::NotYet(why.clone())))
    }

    /// Approves it, and every run that waits for it goes on.
    pub(super) fn take_on_checkpoint(
        &mut self,
        record: &RunRecord,
        judgement: Judgement,
    ) -> Result<(), Refusal> {
        self.reads.all_here();
        let whole = self.whole(record)?;
        if let Some(checkpoint) = whole.lineage().checkpoint(&judgement.checkpoint) {
            proceed::looked_at(&mut self.desk().ahead(true), &record.run_id, None, checkpoint)?;
        }
        let waiters = self.waiters(&whole, record, &judgement.checkpoint)?;
        if waiters.is_empty() {
            return self.judge_at_rest(record, &judgement);
        }
        for id in &waiters {
            self.ready(id)?;
        }
        let stage = judgement.checkpoint.stage.clone();
        let mut judgement = Some(judgement);
        for id in waiters {
            let (at, judgement) = (self.moment(), judgement.take());
            self.hold_going(&id);
            self.step(&id, |run| match run.find(&stage) {
                Some(index) => run.approve(index, judgement, at),
                None => crate::domain::flow::run::Turn::default(),
            });
        }
        Ok(())
    }

    /// No run waits for it.
    fn judge_at_rest(&mut self, record: &RunRecord, judgement: &Judgement) -> Result<(), Refusal> {
        let done =
            self.scribe.store().judge(&record.root_run_id, judgement).map_err(|error| store(&error))?;
        if done {
            Ok(())
        } else {
            Err(Refusal::Stale { run: record.run_id.clone(), checkpoint: judgement.checkpoint.clone() })
        }
    }

    /// The runs of a lineage that wait for this checkpoint: on several branches, where it was made before they parted. One
    /// that lies interrupted while another is under way in its place cannot go on, and is passed over, unless it is the
    /// one that is asked for.
    fn waiters(
        &mut self,
        whole: &Whole,
        asked: &RunRecord,
        checkpoint: &CheckpointId,
    ) -> Result<Vec<RunId>, Refusal> {
        let mut found = Vec::new();
        for run in whole.runs().iter().filter(|run| !run.status.is_final()) {
            let now = self.now(&run.run_id)?;
            let waits =
                waiting(&now).any(|row| row.checkpoint.as_ref().is_some_and(|one| one.id == *checkpoint));
            let is_replaced = |other: &RunRecord| {
                other.branch == now.branch && other.status.holds_lock() && other.run_id != now.run_id
            };
            let lies = now.status == RunStatus::Interrupted && now.run_id != asked.run_id;
            let passed_over = lies && whole.runs().iter().any(is_replaced);
            if waits && !passed_over {
                found.push(now.run_id);
            }
        }
        Ok(found)
    }

    /// A run that a person sets going is written by us from here on.
    fn ready(&mut self, id: &RunId) -> Result<(), Refusal> {
        if self.active.contains_key(id) {
            return Ok(());
        }
        let record = self.stored(id)?.record;
        let held =
            self.scribe.store().lock(&record.root_run_id, &record.branch).map_err(|error| store(&error))?;
        let waits_its_turn = record.status == RunStatus::Queued;
        if let Some(held) = held.filter(|held| held.run != *id && !waits_its_turn) {
            return Err(Refusal::RetryLives { run: record.run_id, holder: held.run, branch: record.branch });
        }
        let claims = self.set_aside.get(id).cloned().unwrap_or_default();
        let active = self.load(id, &claims)?;
        self.set_aside.remove(id);
        self.active.insert(id.clone(), active);
        self.hear_approvals(id);
        Ok(())
    }

    /// One that is queued has its turn later, and is no work before.
    fn hold_going(&mut self, id: &RunId) {
        if self.active.get(id).is_some_and(|active| active.run.status != RunStatus::Queued) {
            self.hold(id);
        }
    }

    /// What a run waits for may have been approved while it could not be told.
    pub(super) fn hear_approvals(&mut self, id: &RunId) {
        let Some(run) = self.active.get(id).map(|active| &active.run).filter(|run| run.is_waiting()) else {
            return;
        };
        let waits = |stage: &&Stage| stage.status == StageStatus::Waiting;
        let waits = run.stages.iter().filter(waits).filter_map(|stage| stage.checkpoint.clone());
        let (waits, root): (Vec<CheckpointId>, RunId) = (waits.collect(), run.root.clone());
        for checkpoint in waits {
            let found = self.scribe.store().checkpoint(&root, &checkpoint).ok().flatten();
            if found.is_some_and(|found| found.approval == Approval::Approved) {
                let at = self.moment();
                self.hold_going(id);
                self.step(id, |run| match run.find(&checkpoint.stage) {
                    Some(index) => run.approve(index, None, at),
                    None => crate::domain::flow::run::Turn::default(),
                });
            }
        }
    }

    /// From here on nobody is asked in this run, and what waits of it is taken on.
    pub(super) fn ask_nobody(&mut self, id: &RunId, who: &str) -> Result<(), Refusal> {
        self.ready(id)?;
        self.step(id, Run::ask_nobody);
        let record = self.now(id)?;
        let whole = self.whole(&record)?;
        for row in waiting(&record) {
            let found = row.checkpoint.as_ref().and_then(|seen| whole.lineage().checkpoint(&seen.id));
            if let Some(found) = found.filter(|found| found.approval == Approval::Pending) {
                let (id, hash) = (found.id.clone(), found.hash.clone());
                let judgement = self.judgement(id, hash, Approval::Approved, who.to_owned(), None);
                self.take_on_checkpoint(&record, judgement)?;
            }
        }
        Ok(())
    }

    pub(super) fn proceed(&mut self, wish: ContinueWish) -> Result<FlowReply, Refusal> {
        let continuation = self.desk().continuation(&wish, true)?;
        self.has_read()?;
        self.reads.all_here();
        match continuation {
            Continuation::Approve { run, checkpoint, hash, .. } => {
                let record = self.now(&run)?;
                let judgement = self.judgement(checkpoint, hash, Approval::Approved, wish.who.clone(), None);
                self.take_on_checkpoint(&record, judgement)?;
                if wish.approve_all {
                    self.ask_nobody(&run, &wish.who)?;
                }
                Ok(FlowReply::Run { run, existing: true })
            }
            Continuation::Resume { run } => {
                self.active.remove(&run);
                self.ready(&run)?;
                let at = self.moment();
                self.hold(&run);
                self.step(&run, |machine| machine.begin(at));
                if wish.approve_all {
                    self.ask_nobody(&run, &wish.who)?;
                }
                Ok(FlowReply::Run { run, existing: true })
            }
            Continuation::Again(again) => {
                if let Some((checkpoint, hash)) = again.approve.clone() {
                    let record = self.now(&wish.run)?;
                    let judgement =
                        self.judgement(checkpoint, hash, Approval::Approved, wish.who.clone(), None);
                    self.take_on_checkpoint(&record, judgement)?;
                    self.write_now()?;
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
        let standing =
            may::may_edit_on(&lineage, &record, wish.branch.as_ref(), &wish.stage, wish.hash.as_ref())?;
        let before = standing.checkpoint;
        let owner = standing.run.clone().unwrap_or_else(|| before.run_id.clone());
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
        // Where nothing has run yet, it is made for what stands there by now, edits included.
        let input = match standing.run {
            Some(_) => None,
            None => self.desk().input_on(&standing.branch, before),
        };
        let new = NewCheckpoint {
            stage: wish.stage.clone(),
            branch: standing.branch.clone(),
            parent: before.parent.clone(),
            status: before.status,
            approval: Approval::Pending,
            hash: edited.hash,
            recipe: None,
            input: input.unwrap_or_else(|| before.input.clone()),
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
        let adopters = match &standing.run {
            Some(run) => {
                let edited = self.now(run)?;
                self.adopters(&whole, &edited, &before.id)?
            }
            None => Vec::new(),
        };
        let id = self
            .scribe
            .store()
            .add_checkpoint(root, &owner, &new, &adopters)
            .map_err(|error| store(&error))?;
        let made = new.named(id.clone(), root.clone(), owner);
        for adopter in adopters {
            let at = self.moment();
            self.step(&adopter.run, |run| run.edited(made.clone(), at));
        }
        Ok(FlowReply::Edited { checkpoint: Some(id) })
    }

    /// The runs on the branch of an edit in which it takes the place of what was edited, whether they are under way here
    /// or not: those that wait for that, and one that has built on it and waits further on.
    fn adopters(
        &mut self,
        whole: &Whole,
        edited: &RunRecord,
        checkpoint: &CheckpointId,
    ) -> Result<Vec<Adopter>, Refusal> {
        let mut runs = self.waiters(whole, edited, checkpoint)?;
        runs.retain(|run| whole.runs().iter().any(|one| one.run_id == *run && one.branch == edited.branch));
        let lineage = whole.lineage();
        let newest = lineage.newest_run(&edited.branch);
        let built_on = |run: &&RunRecord| {
            let row = run.stages.iter().flatten().find(|row| row.name == checkpoint.stage);
            let stands = row.filter(|row| row.status.is_good()).and_then(|row| lineage.current(run, row));
            run.status == RunStatus::Waiting && stands.is_some_and(|one| one.id == *checkpoint)
        };
        if let Some(run) = newest.filter(built_on) {
            // Only what is under way here can say what follows.
            self.ready(&run.run_id)?;
            runs.push(run.run_id.clone());
        }
        let mut adopters = Vec::new();
        for run in runs {
            let (epoch, also) = match self.active.get(&run) {
                Some(active) => {
                    let index = active.run.find(&checkpoint.stage);
                    (active.epoch, index.map(|index| active.run.rewind(index)).unwrap_or_default())
                }
                None => (self.stored(&run)?.epoch, Vec::new()),
            };
            adopters.push(Adopter { run, epoch, also });
        }
        Ok(adopters)
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
        let added =
            self.scribe.store().add_branch(&record.root_run_id, &branch).map_err(|error| store(&error))?;
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
        let approve = may::may_approve(&lineage, &record, stage, None)
            .and_then(|judged| find(&lineage, id, &judged.checkpoint))
            .and_then(|found| proceed::looked_at(&mut self.desk().ahead(false), id, None, found));
        let edit = match stage {
            Some(stage) => may::may_edit(&lineage, &record, stage, None).map(drop),
            None => Err(Refusal::Unusable { message: "an edit is of a stage".into(), hint: None }),
        };
        let from = From { branch: record.branch.clone(), checkpoint: None, force_retry: false };
        let proceed = proceed::may_continue(&lineage, &from, &mut self.desk().ahead(false)).map(drop);
        Ok(FlowReply::Can(Box::new(Can { retry, cancel, approve, edit, proceed })))
    }
}
