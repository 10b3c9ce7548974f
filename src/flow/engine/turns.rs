//! The course of a turn: what the machine says is to be done at once is done, what it says is to be written down is
//! written down with whatever else is waiting, and the rest is done after that.

use std::collections::BTreeMap;

use super::scribe::Written;
use super::{AGAIN, Active, Engine, GATHER, GATHERED, Key};
use crate::domain::flow::change::{Change, What};
use crate::domain::flow::ids::RunId;
use crate::domain::flow::news::News;
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::run::{Effect, Index, Run, Turn};
use crate::domain::flow::status::RunStatus;
use crate::domain::flow::view::{FlowNotice, FlowUpdate};
use crate::domain::view::Update;
use crate::flow::attempt_dir::AttemptKey;
use crate::ports::store::StoreError;

/// A turn of which the changes are yet to be written down.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) run: RunId,
    pub(super) turn: Turn,
}

/// Turns that are written down together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) turns: Vec<Pending>,
    /// What these attempts left is safe elsewhere once that is done; until then a successor would take it in anew.
    pub(super) taken_in: Vec<TakenIn>,
}

#[derive(Debug)]
pub(super) struct TakenIn {
    pub(super) key: AttemptKey,
    /// Nothing is in its folder.
    pub(super) bare: bool,
}

impl Engine {
    /// Lets a run step. One that is not under way is left alone.
    pub(super) fn step(&mut self, id: &RunId, step: impl FnOnce(&mut Run) -> Turn) {
        let Some(active) = self.active.get_mut(id) else { return };
        let mut turn = step(&mut active.run);
        let now = std::mem::take(&mut turn.now);
        let (launches, others): (Vec<_>, Vec<_>) =
            now.into_iter().partition(|effect| matches!(effect, Effect::Launch(_)));
        // What is to run waits for nothing else, unless nothing can be written down.
        if self.blocked.is_some() {
            turn.after.extend(launches);
        } else {
            for launch in launches {
                self.perform(id, launch);
            }
        }
        for effect in others {
            self.perform(id, effect);
        }
        if turn != Turn::default() {
            self.pending.push(Pending { run: id.clone(), turn });
        }
    }

    /// Whether what is pending may wait for more: nothing is to follow from it, and something else will end before long.
    fn gathers(&mut self) -> bool {
        if self.pending.len() >= GATHERED {
            return false;
        }
        let may_wait = |pending: &Pending| {
            let follows = pending.turn.after.iter().any(|effect| !matches!(effect, Effect::Forget(_)));
            let goes_on =
                |active: &Active| active.run.status == RunStatus::Running && !active.live.is_empty();
            !follows && self.active.get(&pending.run).is_some_and(goes_on)
        };
        if !self.pending.iter().all(may_wait) {
            return false;
        }
        let now = self.clock.now().mono;
        now < *self.gathers_until.get_or_insert(now.plus(GATHER))
    }

    /// Writes down what waits for that, until nothing is left.
    pub(super) fn flush(&mut self) {
        self.take_back(true);
        while self.waits() {
            let (batch, changes) = self.batch();
            self.write_down(batch, &changes);
        }
    }

    /// The same, but what may gather is left to, and while attempts are under way, their ends do not wait for the disk.
    pub(super) fn flush_in_time(&mut self) {
        while self.writing.is_none() && self.waits() && !self.gathers() {
            let (batch, changes) = self.batch();
            if changes.is_empty() || self.active.values().all(|active| active.live.is_empty()) {
                self.write_down(batch, &changes);
            } else {
                self.writing = Some(batch);
                self.scribe.write(changes);
            }
        }
    }

    fn waits(&self) -> bool {
        !self.pending.is_empty() && self.blocked.is_none()
    }

    fn write_down(&mut self, batch: Batch, changes: &[Change]) {
        let written = if changes.is_empty() { Ok(Vec::new()) } else { self.scribe.store().commit(changes) };
        self.after(batch, written);
    }

    /// What was written beside us; `wait`: also where that still goes on.
    pub(super) fn take_back(&mut self, wait: bool) {
        if self.writing.is_some()
            && let Some(written) = self.scribe.written(wait)
            && let Some(batch) = self.writing.take()
        {
            self.after(batch, written);
        }
    }

    /// All that waits.
    fn batch(&mut self) -> (Batch, Vec<Change>) {
        self.gathers_until = None;
        let batch =
            Batch { turns: std::mem::take(&mut self.pending), taken_in: std::mem::take(&mut self.taken_in) };
        let mut changes = Vec::new();
        for pending in &batch.turns {
            let Some(active) = self.active.get(&pending.run) else { continue };
            let change =
                |what: &What| Change { run: pending.run.clone(), epoch: active.epoch, what: what.clone() };
            changes.extend(pending.turn.changes.iter().map(change));
        }
        self.untidy |= !changes.is_empty();
        (batch, changes)
    }

    /// What was to come after a batch was written down.
    fn after(&mut self, batch: Batch, written: Written) {
        let Batch { turns, taken_in } = batch;
        match written {
            Ok(named) => {
                let was_blocked = !named.is_empty() && self.told_blocked.take().is_some();
                self.follow_up(turns, named);
                if was_blocked {
                    tracing::info!("the history of runs is written again");
                    self.active.keys().for_each(|run| self.publish_run(run));
                }
                // What waits for this commit has been started by now.
                self.leave(&taken_in);
                if self.active.values().all(|active| active.live.is_empty()) {
                    self.dirs.rest();
                }
            }
            Err(error) => {
                self.taken_in.splice(0..0, taken_in);
                self.cannot_write(turns, &error);
            }
        }
    }

    fn follow_up(&mut self, batch: Vec<Pending>, named: Vec<Option<crate::domain::flow::ids::CheckpointId>>) {
        let mut named = named.into_iter();
        // Whether they look different now. A run that is over is so only after the last of its turns here.
        let mut stepped: BTreeMap<RunId, bool> = BTreeMap::new();
        for Pending { run: id, mut turn } in batch {
            let Some(active) = self.active.get_mut(&id) else { continue };
            active.run.recorded(&turn);
            let mut news = std::mem::take(&mut turn.news);
            for (what, made) in turn.changes.iter().zip(&mut named) {
                if let (What::Checkpoint { stage, .. }, Some(checkpoint)) = (what, made)
                    && let Some(index) = active.run.find(stage)
                {
                    news.extend(active.run.named(index, checkpoint));
                }
            }
            let ended = active.run.status != RunStatus::Running && turn.touched.is_empty();
            // What is to run waits for nothing else.
            turn.after.sort_by_key(|effect| !matches!(effect, Effect::Launch(_)));
            for effect in turn.after {
                self.perform(&id, effect);
            }
            turn.touched.sort_unstable();
            turn.touched.dedup();
            let differs = ended || !turn.touched.is_empty() || !news.is_empty();
            for news in news {
                self.tell(news);
            }
            for index in turn.touched {
                self.publish_stage(&id, index);
            }
            *stepped.entry(id).or_default() |= differs;
        }
        for (id, differs) in stepped {
            if differs {
                // News came first: whoever sees the end of a run in a view has heard all of it.
                self.publish_run(&id);
            }
            self.let_go(&id);
        }
    }

    /// Nothing was written. What may be written later waits; a run that is somebody else's is given up.
    fn cannot_write(&mut self, mut batch: Vec<Pending>, error: &StoreError) {
        let lost = match error {
            StoreError::Fenced { run } | StoreError::Ended { run } | StoreError::Held { run, .. } => {
                Some(run.clone())
            }
            StoreError::Later { .. }
            | StoreError::Broken { .. }
            | StoreError::Stale { .. }
            | StoreError::Reused { .. }
            | StoreError::UnderWay { .. }
            | StoreError::Newer { .. } => None,
        };
        if lost.is_none() && batch.len() > 1 && !matches!(error, StoreError::Later { .. }) {
            return self.write_one_by_one(batch);
        }
        if let (StoreError::Stale { checkpoint }, Some(pending)) = (&error, batch.first()) {
            let run = pending.run.clone();
            self.refused = Some(Refusal::Stale { run: run.clone(), checkpoint: checkpoint.clone() });
            tracing::warn!(%run, %error, "take up a run anew");
            self.pending.retain(|pending| pending.run != run);
            return self.take_up_anew(&run);
        }
        if let Some(run) = lost {
            tracing::warn!(%run, %error, "give up a run");
            batch.retain(|pending| pending.run != run);
            self.taken_in.retain(|taken_in| taken_in.key.run != run);
            self.active.remove(&run);
            self.publish_recorded(&run);
            self.pending.splice(0..0, batch);
            return;
        }
        let why = format!("{error}; nothing new is started before that is over");
        if self.told_blocked.as_ref() != Some(&why) {
            tracing::error!(%error, "write down what became of a run");
            let runs: std::collections::BTreeSet<RunId> =
                batch.iter().map(|pending| pending.run.clone()).collect();
            self.told_blocked = Some(why.clone());
            for run in runs {
                self.tell_held(&run, why.clone());
            }
        }
        self.pending.splice(0..0, batch);
        self.blocked = Some(why);
        let at = self.clock.now().mono.plus(AGAIN);
        self.arm(at, Key::Write);
    }

    /// One of them is the reason why all could not be written; the other runs do not wait for it.
    fn write_one_by_one(&mut self, batch: Vec<Pending>) {
        let rest = std::mem::take(&mut self.pending);
        let taken_in = std::mem::take(&mut self.taken_in);
        let mut stuck: Vec<Pending> = Vec::new();
        let mut why = None;
        for one in batch.into_iter().chain(rest) {
            if stuck.iter().any(|earlier| earlier.run == one.run) {
                stuck.push(one);
                continue;
            }
            self.pending.push(one);
            self.flush();
            why = self.blocked.take().or(why);
            stuck.append(&mut self.pending);
        }
        let (kept, done): (Vec<_>, Vec<_>) =
            taken_in.into_iter().partition(|taken_in| stuck.iter().any(|one| one.run == taken_in.key.run));
        self.leave(&done);
        self.taken_in.extend(kept);
        self.pending = stuck;
        self.blocked = why;
    }

    fn leave(&self, taken_in: &[TakenIn]) {
        for TakenIn { key, bare } in taken_in {
            self.dirs.leave(key, *bare);
        }
    }

    fn perform(&mut self, id: &RunId, effect: Effect) {
        match effect {
            Effect::Launch(launch) => self.launch(id, &launch),
            Effect::Stop(unit) => self.stop(id, unit),
            Effect::Settle { unit, end } => self.settle(id, unit, *end),
            Effect::FanOut { stage, values } => self.fan_out(id, stage, values),
            Effect::Forget(unit) => self.forget(id, unit),
            Effect::Timer { unit, at } => self.arm(at, Key::Due(id.clone(), unit)),
            Effect::Deadline { at } => self.arm(at, Key::Deadline(id.clone())),
            Effect::Rested(status) => self.rested(id, status),
        }
    }

    /// Tells everybody who listens. Where nobody does, nothing is built.
    pub(super) fn publish_run(&self, id: &RunId) {
        if let Some(active) = self.active.get(id)
            && (active.run.status.rests() || self.handle.has_listeners())
        {
            self.handle.publish(Update::Flow(FlowUpdate::Run(active.view(self.held(id))).into()));
        }
    }

    /// A run that is over concerns nobody here any more, once that is on record.
    pub(super) fn let_go(&mut self, id: &RunId) {
        let writing = self.writing.iter().flat_map(|batch| &batch.turns);
        let unwritten = self.pending.iter().chain(writing).any(|pending| pending.run == *id);
        if !unwritten && self.active.get(id).is_some_and(Active::is_over) {
            self.active.remove(id);
        }
    }

    pub(super) fn publish_stage(&self, id: &RunId, index: Index) {
        if self.handle.has_listeners()
            && let Some(active) = self.active.get(id)
        {
            self.handle.publish(Update::Flow(FlowUpdate::Stage(active.stage_view(index)).into()));
        }
    }

    pub(super) fn tell(&self, what: News) {
        if what.is_bad() {
            tracing::warn!(run = %what.run(), "{what}");
        } else {
            // All of it is in the history.
            tracing::debug!(run = %what.run(), "{what}");
        }
        let at = self.clock.now().wall;
        self.handle.publish(Update::Flow(FlowUpdate::News(FlowNotice { at, what }).into()));
    }
}
