//! One attempt: its private folder, its start as a guest of the supervisor, and after its end what it left behind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use super::runner;
use super::turns::TakenIn;
use super::{AGAIN, Active, Engine, Input, Key, Live, Prepared, Settling};
use crate::domain::flow::change::RecipeRecord;
use crate::domain::flow::ids::{Hash, RunId, StageName};
use crate::domain::flow::items;
use crate::domain::flow::run::{AttemptEnd, Index, Launch, Made, UnitKey, UnitPhase};
use crate::domain::flow::spec::StageSpec;
use crate::domain::flow::status::StageStatus;
use crate::domain::ids::{Attempt, RunnerName};
use crate::domain::json::Json;
use crate::domain::verdict::{Outcome, Verdict};
use crate::flow::attempt_dir::{AttemptDirs, AttemptError, AttemptKey, Given};
use crate::flow::objects::Objects;
use crate::flow::settle::{self, Settled};
use crate::supervisor::guest::GuestOrder;
use crate::supervisor::handle::Shutdown;

/// Why an attempt cannot be prepared or taken in.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The disk is full, or something else that passes.
    Later(String),
    /// The stage is to blame.
    Stage(String),
}

impl From<AttemptError> for Trouble {
    fn from(error: AttemptError) -> Self {
        match &error {
            AttemptError::Files(files) if files.is_later() => Self::Later(error.to_string()),
            AttemptError::Files(_) | AttemptError::Stage(_) => Self::Stage(error.to_string()),
        }
    }
}

impl Engine {
    pub(super) fn launch(&mut self, id: &RunId, launch: &Launch) {
        let Some(active) = self.active.get_mut(id) else { return };
        let live = Live {
            attempt: launch.attempt,
            previous: launch.previous,
            started_at: None,
            log: None,
            recipe: None,
            ordered: false,
            stopping: false,
            waiting: None,
        };
        active.live.insert(launch.unit, live);
        // While the launch waited for the disk, somebody may have ended the run.
        let stops = active.run.is_stopping(launch.unit);
        let name = id.guest(&active.run.stage(launch.unit.stage).name, launch.unit.item);
        let claimed = self.inventory.as_ref().and_then(|inventory| inventory.get(&name)).copied();
        if claimed == Some(launch.attempt) {
            // It lives, or has ended: its folder is as it was.
            let env = self.environment_of(id, launch.unit);
            self.order(id, launch.unit, env);
            if stops {
                self.stop(id, launch.unit);
            }
        } else if stops {
            self.never_started(id, launch.unit, Verdict::Stopped, None);
        } else {
            self.prepare(id, launch.unit);
        }
    }

    pub(super) fn launch_again(&mut self, id: &RunId, unit: UnitKey) {
        let waits = self.active.get(id).and_then(|active| active.live.get(&unit));
        if waits.is_some_and(|live| !live.ordered) {
            self.prepare(id, unit);
        }
    }

    fn key(&self, id: &RunId, unit: UnitKey, attempt: u32) -> Option<AttemptKey> {
        let stage = self.active.get(id)?.run.stage(unit.stage).name.clone();
        Some(AttemptKey { run: id.clone(), stage, item: unit.item, attempt })
    }

    /// The last attempt of the run that is retried, where its stage did not end well and its folder is still kept. That
    /// of an item is of use only where the item is the same today.
    fn attempt_of_parent(&mut self, id: &RunId, unit: UnitKey) -> Option<AttemptKey> {
        let Active { run, of_parent, .. } = self.active.get_mut(id)?;
        let (parent, stage) = (run.parent.clone()?, run.stage(unit.stage).name.clone());
        let value = run.unit(unit).and_then(|unit| unit.value.clone());
        let ended = self.scribe.store().stage_status(&parent, &stage).ok().flatten();
        if !matches!(ended, Some(StageStatus::Failed | StageStatus::Cancelled)) {
            return None;
        }
        // It has ended, so that its folder is looked through once for all of them.
        let of_parent = of_parent.get_or_insert_with(|| self.dirs.last(&parent));
        let (stage, attempt) = (stage.clone(), *of_parent.get(&(stage, unit.item))?);
        let last = AttemptKey { run: parent, stage, item: unit.item, attempt };
        value.is_none_or(|value| self.dirs.had_item(&last, &value)).then_some(last)
    }

    /// Makes the private folder; by a worker where bytes are to be copied.
    fn prepare(&mut self, id: &RunId, unit: UnitKey) {
        let first = self
            .active
            .get(id)
            .and_then(|active| active.live.get(&unit))
            .is_some_and(|live| live.previous.is_none());
        let of_parent = if first { self.attempt_of_parent(id, unit) } else { None };
        self.begins_with(id, unit);
        let Some(active) = self.active.get_mut(id) else { return };
        let Some(live) = active.live.get_mut(&unit) else { return };
        let (run, spec) = (&active.run, &active.run.spec.stages[unit.stage]);
        let attempt = live.attempt;
        let state = match run.state.file(unit.stage, &spec.name) {
            Ok(state) => state,
            Err(error) => {
                return self.on_prepared(Prepared {
                    run: id.clone(),
                    unit,
                    attempt,
                    result: Err(Trouble::Stage(error.to_string())),
                });
            }
        };
        let task = Task {
            key: AttemptKey { run: id.clone(), stage: spec.name.clone(), item: unit.item, attempt },
            previous: live
                .previous
                .map(|attempt| AttemptKey {
                    run: id.clone(),
                    stage: spec.name.clone(),
                    item: unit.item,
                    attempt,
                })
                .or(of_parent),
            state,
            inputs: run
                .artifacts_of(unit.stage)
                .into_iter()
                .map(|(name, artifacts)| (name.clone(), Arc::clone(artifacts)))
                .collect(),
            item: run.unit(unit).and_then(|unit| unit.value.clone()),
            feedback: run.stages[unit.stage].feedback.clone(),
            parent: run.parent.clone(),
            retry_from: run.retry_from.clone(),
            idempotency_key: run.idempotency_key(unit),
        };
        let (dirs, objects, own, id) =
            (Arc::clone(&self.dirs), Arc::clone(&self.objects), self.own.clone(), id.clone());
        let copies = !task.inputs.is_empty();
        let work = move || Prepared { run: id, unit, attempt, result: task.perform(&dirs, &objects) };
        let done =
            if copies { apart(own, move || Input::Prepared(work())) } else { Some(Input::Prepared(work())) };
        if let Some(done) = done {
            self.take(done);
        }
    }

    pub(super) fn on_prepared(&mut self, prepared: Prepared) {
        let Prepared { run: id, unit, attempt, result } = prepared;
        let Some(live) = self.active.get_mut(&id).and_then(|active| active.live.get_mut(&unit)) else {
            return;
        };
        if live.attempt != attempt || live.ordered {
            return;
        }
        if live.stopping {
            return self.never_started(&id, unit, Verdict::Stopped, None);
        }
        match result {
            Ok(env) => {
                let was_held = live.waiting.take().is_some();
                self.order(&id, unit, env);
                if was_held {
                    self.publish_run(&id);
                }
            }
            Err(Trouble::Later(why)) => {
                if live.waiting.as_ref() != Some(&why) {
                    live.waiting = Some(why.clone());
                    self.tell_held(&id, why);
                }
                let at = self.clock.now().mono.plus(AGAIN);
                self.arm(at, Key::Launch(id, unit));
            }
            Err(Trouble::Stage(why)) => self.never_started(&id, unit, Verdict::SpawnFailed, Some(why)),
        }
    }

    fn never_started(&mut self, id: &RunId, unit: UnitKey, verdict: Verdict, detail: Option<String>) {
        let at = self.moment();
        let Some(live) = self.active.get_mut(id).and_then(|active| active.live.remove(&unit)) else { return };
        let end = AttemptEnd {
            attempt: live.attempt,
            outcome: Outcome { verdict, exit_code: None, signal: None, detail },
            started_at: None,
            ended_at: at.now.wall,
            cpu_seconds: 0.0,
            peak_rss_bytes: None,
            cost: None,
            log: None,
            last_line: None,
            blameless: None,
        };
        self.step(id, |run| run.ended(unit, end, at));
    }

    /// What an attempt that is there already was given; its files are not touched.
    fn environment_of(&self, id: &RunId, unit: UnitKey) -> BTreeMap<String, String> {
        let attempt = self.active.get(id).and_then(|active| active.live.get(&unit)).map(|live| live.attempt);
        let key = attempt.and_then(|attempt| self.key(id, unit, attempt));
        key.map(|key| BTreeMap::from([("RESTAGE_RUN_ID".to_owned(), key.run.to_string())]))
            .unwrap_or_default()
    }

    /// Asks the supervisor for the process.
    fn order(&mut self, id: &RunId, unit: UnitKey, env: BTreeMap<String, String>) {
        let Some(active) = self.active.get_mut(id) else { return };
        let Some(live) = active.live.get_mut(&unit) else { return };
        let spec = &active.run.spec.stages[unit.stage];
        let Some(attempt) = Attempt::new(live.attempt) else { return };
        match runner::guest(id, unit, spec, env, &self.runs_dir) {
            Ok(spec) => {
                live.ordered = true;
                // The supervisor is gone only at the end.
                self.guests.send(GuestOrder::Launch { spec: Box::new(spec), attempt }).ok();
            }
            Err(why) => self.never_started(id, unit, Verdict::SpawnFailed, Some(why)),
        }
    }

    pub(super) fn stop(&mut self, id: &RunId, unit: UnitKey) {
        let Some(active) = self.active.get_mut(id) else { return };
        let name = id.guest(&active.run.stage(unit.stage).name, unit.item);
        match active.live.get_mut(&unit) {
            Some(live) => {
                live.stopping = true;
                if live.ordered {
                    // The supervisor is gone only at the end.
                    self.guests.send(GuestOrder::Stop { name, how: Shutdown::Graceful }).ok();
                } else if live.waiting.is_some() {
                    self.never_started(id, unit, Verdict::Stopped, None);
                }
            }
            // Its launch is yet to come, and sees to it.
            None if active.run.is_stopping(unit) => {}
            // A rejection has taken it out of the machine; its end concerns nobody.
            None => self.forget_guest(name),
        }
    }

    pub(super) fn forget(&mut self, id: &RunId, unit: UnitKey) {
        let Some(active) = self.active.get(id) else { return };
        // The next attempt may have been ordered by now, under the same name.
        if active.live.contains_key(&unit) {
            return;
        }
        let name = id.guest(&active.run.stage(unit.stage).name, unit.item);
        self.forget_guest(name);
    }

    /// Whoever has that name next begins anew.
    pub(super) fn forget_guest(&mut self, name: RunnerName) {
        if let Some(inventory) = &mut self.inventory {
            inventory.remove(&name);
        }
        // The supervisor is gone only at the end.
        self.guests.send(GuestOrder::Forget { name }).ok();
    }

    /// Takes in what an attempt left; by a worker where there are files.
    pub(super) fn settle(&mut self, id: &RunId, unit: UnitKey, end: AttemptEnd) {
        let Some(key) = self.key(id, unit, end.attempt) else { return };
        let Some(active) = self.active.get_mut(id) else { return };
        let Some(input) = active.run.input_of_unit(unit) else {
            active.live.remove(&unit);
            let why = Err(Trouble::Stage("what it was made from is not known".into()));
            let settling = Settling { run: id.clone(), unit, end, result: why, noted: None, bare: false };
            return self.on_settled(settling);
        };
        let spec = Arc::clone(&active.run.spec);
        let live = active.live.remove(&unit);
        let Some(recipe) = self.made_by(id, unit, live).map(|recipe| recipe.record()) else { return };
        // What the definition does not tell, or no checkpoint of a stage whose items are done has yet.
        let noted = (!recipe.files.is_empty() || unit.item.is_some()).then(|| recipe.clone());
        let recipe = recipe.hash;
        let Some(active) = self.active.get(id) else { return };
        let value = active.run.unit(unit).and_then(|unit| unit.value.clone());
        let input = match value {
            None => input,
            Some(value) => items::input(&recipe, &input, &value),
        };
        let (dirs, objects, own, id) =
            (Arc::clone(&self.dirs), Arc::clone(&self.objects), self.own.clone(), id.clone());
        let left = dirs.look(&key);
        let files = left.has_artifacts();
        let work = move || {
            let stage = &spec.stages[unit.stage];
            let settled = settle::settle(&dirs, &objects, &key, &left, stage);
            let result =
                settled.map(|settled| made(settled, stage, &end, recipe, input)).map_err(Trouble::from);
            let mut end = end;
            if matches!(result, Err(Trouble::Stage(_))) {
                end.cost = settle::cost(&dirs, &key, stage);
            }
            Settling { run: id, unit, end, result, noted, bare: left.bare }
        };
        let work = move || Input::Settled(Box::new(work()));
        let done = if files { apart(own, work) } else { Some(work()) };
        if let Some(done) = done {
            self.take(done);
        }
    }

    pub(super) fn on_settled(&mut self, settling: Settling) {
        let Settling { run: id, unit, end, result, noted, bare } = settling;
        let at = self.moment();
        match result {
            Ok(made) => {
                if let Some(active) = self.active.get_mut(&id) {
                    active.told_unsettled = None;
                }
                self.taken_in.extend(self.key(&id, unit, end.attempt).map(|key| TakenIn { key, bare }));
                self.step(&id, |run| run.settled(unit, &end, Ok(made), at));
                self.note(&id, unit.stage, noted);
            }
            Err(Trouble::Stage(why)) => {
                self.leave_inputs(&id, unit, end.attempt);
                self.step(&id, |run| run.settled(unit, &end, Err(why), at));
            }
            Err(Trouble::Later(why)) => {
                if let Some(active) = self.active.get_mut(&id) {
                    active.unsettled.insert(unit, end);
                    if active.told_unsettled.as_ref() != Some(&why) {
                        active.told_unsettled = Some(why.clone());
                        self.tell_held(&id, why);
                    }
                }
                self.arm(at.now.mono.plus(AGAIN), Key::Settle(id, unit));
            }
        }
    }

    /// Written down with what it made.
    fn note(&mut self, id: &RunId, index: Index, recipe: Option<RecipeRecord>) {
        if self.pending.last().is_none_or(|pending| pending.run != *id) {
            return;
        }
        let what = recipe.and_then(|recipe| self.noted(id, index, recipe));
        if let Some(pending) = self.pending.last_mut() {
            pending.turn.changes.extend(what);
        }
    }

    /// The next attempt looks at what this one made, not at its copies of what it was given.
    pub(super) fn leave_inputs(&self, id: &RunId, unit: UnitKey, attempt: u32) {
        let had_inputs =
            self.active.get(id).is_some_and(|active| !active.run.artifacts_of(unit.stage).is_empty());
        if let Some(key) = self.key(id, unit, attempt).filter(|_| had_inputs) {
            self.dirs.leave_inputs(&key);
        }
    }

    pub(super) fn settle_again(&mut self, id: &RunId, unit: UnitKey) {
        if let Some(end) = self.active.get_mut(id).and_then(|active| active.unsettled.remove(&unit)) {
            self.settle(id, unit, end);
        }
    }
}

/// By a worker that tells what came of it; where no thread can be had, what came of it is the answer.
pub(super) fn apart(
    own: mpsc::Sender<Input>,
    work: impl FnOnce() -> Input + Send + 'static,
) -> Option<Input> {
    let work = Arc::new(Mutex::new(Some(work)));
    let take = |work: &Mutex<Option<_>>| work.lock().unwrap_or_else(PoisonError::into_inner).take();
    let theirs = Arc::clone(&work);
    let spawned = thread::Builder::new().name("flow-files".into()).spawn(move || {
        if let Some(work) = take(&theirs) {
            // The engine is gone only at the end.
            own.send(work()).ok();
        }
    });
    if spawned.is_ok() { None } else { take(&work).map(|work| work()) }
}

/// Everything that the folder of an attempt is made from.
struct Task {
    key: AttemptKey,
    previous: Option<AttemptKey>,
    state: Vec<u8>,
    inputs: Vec<(StageName, Arc<[crate::domain::flow::record::Artifact]>)>,
    item: Option<Json>,
    feedback: Option<String>,
    parent: Option<RunId>,
    retry_from: Option<StageName>,
    idempotency_key: String,
}

impl Task {
    fn perform(&self, dirs: &AttemptDirs, objects: &Objects) -> Result<BTreeMap<String, String>, Trouble> {
        let inputs: Vec<_> = self.inputs.iter().map(|(name, artifacts)| (name, artifacts.as_ref())).collect();
        let given = Given {
            key: &self.key,
            state: &self.state,
            inputs: &inputs,
            item: self.item.as_ref(),
            previous: self.previous.as_ref(),
            feedback: self.feedback.as_deref(),
            parent_run: self.parent.as_ref(),
            retry_from: self.retry_from.as_ref(),
            idempotency_key: &self.idempotency_key,
        };
        Ok(dirs.prepare(objects, &given)?)
    }
}

fn made(settled: Settled, stage: &StageSpec, end: &AttemptEnd, recipe: Hash, input: Hash) -> Made {
    let by_code = end.outcome.exit_code.is_some_and(|code| stage.degraded_exit_codes.contains(&code));
    Made {
        status: if by_code || settled.degraded { StageStatus::Degraded } else { StageStatus::Succeeded },
        outputs: settled.outputs,
        artifacts: settled.artifacts,
        cost: settled.cost,
        recipe,
        input,
    }
}

impl Active {
    /// Nothing more is to come of it.
    pub(super) fn is_over(&self) -> bool {
        use crate::domain::flow::status::RunStatus;
        let rests = self.run.status.is_final() || self.run.status == RunStatus::Interrupted;
        rests && self.live.is_empty()
    }

    pub(super) fn is_settling(&self, unit: UnitKey) -> bool {
        self.run.unit(unit).is_some_and(|unit| unit.phase == UnitPhase::Settling)
    }
}
