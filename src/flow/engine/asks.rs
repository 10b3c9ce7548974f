//! What people and programs ask, and how each is answered.

use super::load::store;
use super::{Active, Engine};
use crate::domain::flow::ask::{ContinueWish, FlowReply, FlowRequest};
use crate::domain::flow::ids::RunId;
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::status::{RunStatus, StageStatus};
use crate::flow::handle::FlowAsk;

impl Engine {
    /// What it leads to is on record before it is answered.
    pub(super) fn on_ask(&mut self, ask: FlowAsk) {
        let kind = Kind::of(&ask.request);
        // What lay unfinished goes on first, so that no run is set going twice.
        if self.inventory.is_none() && self.ending.is_none() && kind != Kind::Look {
            self.early.push(ask);
            return;
        }
        let may_be_put_off = matches!(ask.request, FlowRequest::Retry(_) | FlowRequest::Continue(_));
        self.reply(ask, may_be_put_off);
    }

    /// `may_be_put_off`: what it depends on may have to be read elsewhere first.
    pub(super) fn reply(&mut self, ask: FlowAsk, may_be_put_off: bool) {
        let kind = Kind::of(&ask.request);
        let FlowAsk { request, answer } = ask;
        let again = may_be_put_off.then(|| request.clone());
        if kind.executes() {
            self.go_on();
        }
        // What came before it counts.
        self.flush();
        self.refused = None;
        self.begin_reading(may_be_put_off);
        let mut reply = match &self.blocked {
            // It would be judged by what is not on record.
            Some(why) if kind.needs_the_checkpoints() => Err(Refusal::Store(why.clone())),
            Some(_) | None => self.answer(request),
        };
        let open = self.end_reading();
        if let Some(request) = again.filter(|_| !open.is_empty()) {
            return self.read_apart(FlowAsk { request, answer }, open);
        }
        self.flush();
        if let (Ok(FlowReply::Run { .. } | FlowReply::Done), Some(why)) = (&reply, &self.blocked) {
            reply = Err(Refusal::NotYet(why.clone()));
        }
        if let Some(refused) = self.refused.take() {
            reply = Err(refused);
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
            FlowRequest::Continue(wish) => match self.goes_on(&wish)? {
                Some(run) => self.follow_resumed(run, &wish),
                None => self.proceed(wish),
            },
            FlowRequest::Edit(wish) => self.edit(wish),
            FlowRequest::Fork(wish) => self.fork(wish),
            FlowRequest::Show { run } => self.show(&run),
            FlowRequest::Glance { run } => self.glance(&run),
            FlowRequest::Runs(filter) => {
                let runs = self.scribe.store().runs(&filter).map_err(|error| store(&error))?;
                Ok(FlowReply::Runs(runs.into_iter().map(|run| self.with_held(run)).collect()))
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
            match self.load(id, &[]) {
                Ok(active) => {
                    self.unresumed.remove(id);
                    self.active.insert(id.clone(), active);
                }
                Err(Refusal::Unusable { .. }) => {
                    return self.give_up(&stored, RunStatus::Cancelled, "cancelled".into());
                }
                Err(refusal) => return Err(refusal),
            }
        }
        let at = self.moment();
        self.step(id, |run| run.cancel(at));
        Ok(FlowReply::Done)
    }

    /// What is wished for has come to pass already: it lay unfinished, and goes on because there is a supervisor again.
    fn goes_on(&mut self, wish: &ContinueWish) -> Result<Option<RunId>, Refusal> {
        let lay = wish.lay.as_ref().unwrap_or(&wish.run);
        if let Some(held) = self.unresumed.get(lay).filter(|held| !held.passes()) {
            // Somebody may have mended it.
            let claims = held.claims.clone();
            self.resume(lay, &claims);
            if let Some(why) = self.unresumed.get(lay).and_then(|held| held.why.clone()) {
                return Err(why);
            }
        }
        if let Some(lay) = &wish.lay {
            // It may have ended by now.
            let goes_on = self.now(lay)?.status != RunStatus::Interrupted;
            return Ok(goes_on.then(|| lay.clone()));
        }
        // What waits for a person is taken on by whoever continues, as it is where nothing lay.
        let waits = |active: &Active| active.run.stages.iter().any(|one| one.status == StageStatus::Waiting);
        let under_way = |active: &Active| active.run.status.is_under_way() && !waits(active);
        // What is promised of a branch is kept to the letter.
        let goes_on = wish.branch.is_none()
            && wish.checkpoint.is_none()
            && !wish.force_retry
            && self.resumed.contains(&wish.run)
            && self.active.get(&wish.run).is_some_and(under_way);
        Ok(goes_on.then(|| wish.run.clone()))
    }

    fn follow_resumed(&mut self, run: RunId, wish: &ContinueWish) -> Result<FlowReply, Refusal> {
        if wish.approve_all && !self.now(&run)?.status.is_final() {
            self.ask_nobody(&run, &wish.who)?;
        }
        Ok(FlowReply::Run { run, existing: true })
    }

    /// Every run under way here has a living holder: us. One whose holder is dead lies until somebody goes on with it.
    fn unlock(&mut self, id: &RunId) -> Result<FlowReply, Refusal> {
        let stored = self.stored(id)?;
        let (root, branch) = (stored.record.root_run_id.clone(), stored.record.branch.clone());
        let held = self.scribe.store().lock(&root, &branch).map_err(|error| store(&error))?;
        let Some(held) = held else { return Err(Refusal::NotLocked { run: id.clone() }) };
        if self.active.contains_key(&held.run) {
            let pid = i32::try_from(std::process::id()).unwrap_or(0);
            return Err(Refusal::HolderLives { run: held.run, pid });
        }
        match self.load(&held.run, &[]) {
            Ok(active) if active.run.status == RunStatus::Waiting => {
                return Err(Refusal::Unusable {
                    message: format!("{} waits for somebody, and nothing of it is stuck", held.run),
                    hint: Some(format!(
                        "judge what it shows: restage show {0}; or end it: restage cancel {0}",
                        held.run
                    )),
                });
            }
            Ok(active) => drop(self.active.insert(held.run.clone(), active)),
            Err(Refusal::Unusable { message, .. }) => {
                let stored = self.stored(&held.run)?;
                let why = format!("its supervisor died, and nobody could {message}");
                return self.give_up(&stored, RunStatus::Failed, why);
            }
            Err(refusal) => return Err(refusal),
        }
        let at = self.moment();
        self.step(&held.run, |run| run.interrupt(at));
        Ok(FlowReply::Done)
    }
}

/// What has to be so before a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It changes no run.
    Look,
    /// It ends a run or lets go of it, wherever its checkpoints stand.
    Order,
    /// A first run: something is executed, and no checkpoint has a say in that.
    Begin,
    /// It depends on where the checkpoints stand, and executes nothing.
    Judge,
    /// It depends on where the checkpoints stand, and something is executed because of it.
    GoOn,
}

impl Kind {
    const fn of(request: &FlowRequest) -> Self {
        match request {
            FlowRequest::Show { .. }
            | FlowRequest::Glance { .. }
            | FlowRequest::Runs(_)
            | FlowRequest::Links { .. }
            | FlowRequest::Checkpoints { .. }
            | FlowRequest::Can { .. }
            | FlowRequest::Gc { .. } => Self::Look,
            FlowRequest::Cancel { .. } | FlowRequest::Unlock { .. } => Self::Order,
            FlowRequest::Run(_) => Self::Begin,
            FlowRequest::Edit(_) | FlowRequest::Fork(_) | FlowRequest::Delete { .. } => Self::Judge,
            FlowRequest::Retry(wish) if wish.dry_run => Self::Judge,
            FlowRequest::Retry(_)
            | FlowRequest::Approve(_)
            | FlowRequest::Reject(_)
            | FlowRequest::Continue(_) => Self::GoOn,
        }
    }

    const fn executes(self) -> bool {
        matches!(self, Self::Begin | Self::GoOn)
    }

    const fn needs_the_checkpoints(self) -> bool {
        matches!(self, Self::Judge | Self::GoOn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::flow::ask::RetryWish;
    use crate::domain::json::JsonMap;

    fn retry(dry_run: bool) -> FlowRequest {
        FlowRequest::Retry(RetryWish {
            run: RunId::trusted("video-1"),
            branch: None,
            from: None,
            set: JsonMap::new(),
            force: false,
            queue: false,
            dry_run,
            approve_all: false,
            who: None,
            asker: None,
            seen: None,
        })
    }

    #[test]
    fn a_retry_that_only_makes_its_plan_executes_nothing_but_asks_for_the_checkpoints() {
        let (plan, real) = (Kind::of(&retry(true)), Kind::of(&retry(false)));
        assert_eq!((plan.executes(), plan.needs_the_checkpoints()), (false, true));
        assert_eq!((real.executes(), real.needs_the_checkpoints()), (true, true));
    }

    #[test]
    fn collecting_is_done_at_once_and_cancelling_waits_for_what_lay_unfinished() {
        assert_eq!(Kind::of(&FlowRequest::Gc { dry_run: false }), Kind::Look);
        let cancel = Kind::of(&FlowRequest::Cancel { run: RunId::trusted("video-1") });
        assert_eq!((cancel, cancel.executes(), cancel.needs_the_checkpoints()), (Kind::Order, false, false));
    }
}
