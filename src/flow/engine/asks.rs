//! What people and programs ask, and how each is answered.

use super::Engine;
use super::load::store;
use crate::domain::flow::ask::{FlowReply, FlowRequest};
use crate::domain::flow::ids::RunId;
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::status::RunStatus;
use crate::flow::handle::FlowAsk;

impl Engine {
    /// What it leads to is on record before it is answered.
    pub(super) fn on_ask(&mut self, ask: FlowAsk) {
        // What lay unfinished goes on first, so that no run is set going twice.
        if self.inventory.is_none() && self.ending.is_none() && !is_a_look(&ask.request) {
            self.early.push(ask);
            return;
        }
        let FlowAsk { request, answer } = ask;
        // What came before it counts.
        self.flush();
        let mut reply = match &self.blocked {
            // It would be judged by what is not on record.
            Some(why) if is_a_judgement(&request) => Err(Refusal::Store(why.clone())),
            Some(_) | None => self.answer(request),
        };
        self.flush();
        if let (Ok(FlowReply::Run { .. } | FlowReply::Done), Some(why)) = (&reply, &self.blocked) {
            reply = Err(Refusal::Store(why.clone()));
        }
        // Whoever asked may have gone; what was asked for is done all the same.
        answer.send(reply).ok();
    }

    fn answer(&mut self, request: FlowRequest) -> Result<FlowReply, Refusal> {
        if self.ending.is_some() {
            return Err(Refusal::Ending);
        }
        match request {
            FlowRequest::Run(wish) => self.begin_run(wish),
            FlowRequest::Retry(wish) => self.retry(wish),
            FlowRequest::Cancel { run } => self.cancel(&run),
            FlowRequest::Unlock { run } => self.unlock(&run),
            FlowRequest::Approve(wish) => self.approve(wish),
            FlowRequest::Reject(wish) => self.reject(&wish),
            FlowRequest::Continue(wish) => self.proceed(wish),
            FlowRequest::Edit(wish) => self.edit(wish),
            FlowRequest::Fork(wish) => self.fork(wish),
            FlowRequest::Show { run } => self.show(&run),
            FlowRequest::Glance { run } => self.glance(&run),
            FlowRequest::Runs(filter) => {
                Ok(FlowReply::Runs(self.store.runs(&filter).map_err(|error| store(&error))?))
            }
            FlowRequest::Links { run } => self.links(&run),
            FlowRequest::Checkpoints { run } => self.checkpoints(&run),
            FlowRequest::Can { run, stage } => self.can(&run, stage.as_ref()),
            FlowRequest::Delete { runs, cascade } => self.delete(&runs, cascade),
            FlowRequest::Gc { dry_run } => self.collect(dry_run),
        }
    }

    fn cancel(&mut self, id: &RunId) -> Result<FlowReply, Refusal> {
        if !self.active.contains_key(id) {
            let stored = self.stored(id)?;
            let status = stored.record.status;
            if status.is_final() {
                return Err(Refusal::Ended { run: id.clone(), status });
            }
            let active = self.load(id, &[])?;
            self.active.insert(id.clone(), active);
        }
        let at = self.moment();
        self.step(id, |run| run.cancel(at));
        Ok(FlowReply::Done)
    }

    /// Every run under way here has a living holder: us. One whose holder is dead goes on by itself, unless it cannot.
    fn unlock(&mut self, id: &RunId) -> Result<FlowReply, Refusal> {
        let stored = self.stored(id)?;
        let (root, branch) = (stored.record.root_run_id.clone(), stored.record.branch.clone());
        let held = self.store.lock(&root, &branch).map_err(|error| store(&error))?;
        let Some(held) = held else { return Err(Refusal::NotLocked { run: id.clone() }) };
        if self.active.contains_key(&held.run) {
            let pid = i32::try_from(std::process::id()).unwrap_or(0);
            return Err(Refusal::HolderLives { run: held.run, pid });
        }
        let active = self.load(&held.run, &[])?;
        self.active.insert(held.run.clone(), active);
        let at = self.moment();
        self.step(&held.run, |run| {
            if run.status == RunStatus::Running { run.interrupt(at) } else { run.cancel(at) }
        });
        Ok(FlowReply::Done)
    }
}

/// It changes nothing.
const fn is_a_look(request: &FlowRequest) -> bool {
    match request {
        FlowRequest::Show { .. }
        | FlowRequest::Glance { .. }
        | FlowRequest::Runs(_)
        | FlowRequest::Links { .. }
        | FlowRequest::Checkpoints { .. }
        | FlowRequest::Can { .. }
        | FlowRequest::Gc { .. } => true,
        FlowRequest::Run(_)
        | FlowRequest::Retry(_)
        | FlowRequest::Cancel { .. }
        | FlowRequest::Unlock { .. }
        | FlowRequest::Approve(_)
        | FlowRequest::Reject(_)
        | FlowRequest::Continue(_)
        | FlowRequest::Edit(_)
        | FlowRequest::Fork(_)
        | FlowRequest::Delete { .. } => false,
    }
}

/// It depends on where the checkpoints stand.
const fn is_a_judgement(request: &FlowRequest) -> bool {
    match request {
        FlowRequest::Approve(_)
        | FlowRequest::Reject(_)
        | FlowRequest::Continue(_)
        | FlowRequest::Edit(_)
        | FlowRequest::Fork(_)
        | FlowRequest::Retry(_)
        | FlowRequest::Delete { .. } => true,
        FlowRequest::Run(_)
        | FlowRequest::Cancel { .. }
        | FlowRequest::Unlock { .. }
        | FlowRequest::Show { .. }
        | FlowRequest::Glance { .. }
        | FlowRequest::Runs(_)
        | FlowRequest::Links { .. }
        | FlowRequest::Checkpoints { .. }
        | FlowRequest::Can { .. }
        | FlowRequest::Gc { .. } => false,
    }
}
