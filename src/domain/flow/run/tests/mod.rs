//! The machine, driven by hand and by chance. A small world carries out what it asks for, keeps the records that it has
//! written down, and can forget everything but those.

mod chance;
mod clock;
mod course;
mod items;
mod people;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::domain::flow::change::{ItemRecord, Judgement};
use crate::domain::flow::record::{Checkpoint, RunRecord, StageRecord};
use crate::domain::flow::spec::Foreach;
use crate::domain::flow::status::Approval;
use crate::domain::flow::testing::{at, flow, graph, name, record, row};
use crate::domain::verdict::Verdict;

/// What the monotonic clock shows when a run begins.
const BOOTED: u64 = 1000;

/// How an attempt ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Good,
    Degraded,
    /// `exit 1: no`
    Bad,
    /// It ended well, and what it left cannot be used.
    Rubbish,
    /// Not its fault.
    Cut,
}

/// What lies on disk and what lives, beside the machine itself.
struct World {
    run: Run,
    spec: Arc<FlowSpec>,
    seconds: u64,
    /// On record.
    record: RunRecord,
    time_left: Option<Duration>,
    /// Not on record yet; empty unless the disk is slow.
    unwritten: VecDeque<Turn>,
    is_slow: bool,
    rows: BTreeMap<StageName, StageRecord>,
    checkpoints: BTreeMap<StageName, Checkpoint>,
    items: BTreeMap<StageName, Vec<(ItemRecord, Made)>>,
    /// In the world.
    live: BTreeMap<UnitKey, u32>,
    settling: BTreeMap<UnitKey, AttemptEnd>,
    timers: BTreeSet<(Mono, UnitKey)>,
    told: Vec<String>,
    /// Attempts that were launched, in order.
    launched: Vec<(UnitKey, u32)>,
    /// The most processes at once.
    most: usize,
}

impl World {
    fn new(spec: FlowSpec) -> Self {
        let spec = Arc::new(spec);
        let mut record = record(12, RunStatus::Running, None);
        record.inputs = serde_json::from_str(r#"{"list": [1, 2, 3], "none": []}"#).unwrap();
        record.started_at = None;
        let rows: BTreeMap<StageName, StageRecord> = (0..)
            .zip(&spec.stages)
            .map(|(order, stage)| (stage.name.clone(), row(stage.name.as_str(), order, StageStatus::Pending)))
            .collect();
        let at = moment(0);
        let run = restored((&record, None), &spec, &rows, &BTreeMap::new(), BTreeMap::new(), at);
        let mut world = Self {
            run,
            spec,
            seconds: 0,
            record,
            time_left: None,
            rows,
            checkpoints: BTreeMap::new(),
            items: BTreeMap::new(),
            live: BTreeMap::new(),
            settling: BTreeMap::new(),
            timers: BTreeSet::new(),
            told: Vec::new(),
            launched: Vec::new(),
            most: 0,
            unwritten: VecDeque::new(),
            is_slow: false,
        };
        world.step(Run::begin);
        world
    }

    fn moment(&self) -> Moment {
        moment(self.seconds)
    }

    fn step(&mut self, step: impl FnOnce(&mut Run, Moment) -> Turn) {
        let turn = step(&mut self.run, moment(self.seconds));
        self.take(turn);
    }

    fn take(&mut self, mut turn: Turn) {
        for effect in std::mem::take(&mut turn.now) {
            self.perform(effect);
        }
        self.unwritten.push_back(turn);
        if !self.is_slow {
            self.write_down();
        }
    }

    /// What has waited longest for it.
    fn write_down(&mut self) {
        let Some(turn) = self.unwritten.pop_front() else { return };
        self.run.recorded(&turn);
        for what in turn.changes {
            self.write(what);
        }
        self.told.extend(turn.news.iter().map(ToString::to_string));
        turn.after.into_iter().for_each(|effect| self.perform(effect));
    }

    fn write(&mut self, what: What) {
        match what {
            What::Run { status, error, started_at, ended_at, .. } => {
                assert!(!self.record.status.is_final(), "a run that has ended changes");
                (self.record.status, self.record.error) = (status, error);
                (self.record.started_at, self.record.ended_at) = (started_at, ended_at);
            }
            What::Stage { stage, status, reason, error, started_at, ended_at, retry_at } => {
                let row = self.rows.get_mut(&stage).unwrap();
                assert!(!row.status.is_final(), "{stage} is {} and becomes {status}", row.status);
                (row.status, row.reason, row.error) = (status, reason, error);
                (row.started_at, row.ended_at, row.retry_at) = (started_at, ended_at, retry_at);
            }
            What::Attempt { stage, attempt } => self.rows.get_mut(&stage).unwrap().attempts.push(attempt),
            What::Item { stage, item, .. } => {
                let made = Made {
                    status: item.status,
                    outputs: item.outputs.clone(),
                    artifacts: Vec::new(),
                    cost: None,
                    recipe: Hash::of(["recipe"]),
                    input: item.input.clone(),
                };
                let items = self.items.entry(stage).or_default();
                items.retain(|(one, _)| one.item != item.item);
                items.push((item, made));
            }
            What::Checkpoint { stage, new } => {
                let before = self.checkpoints.get(&stage).map_or(0, |one| one.id.version);
                let id = CheckpointId { stage: stage.clone(), version: before + 1 };
                let mut made = crate::domain::flow::testing::checkpoint(&id.to_string());
                (made.status, made.approval, made.outputs) = (new.status, new.approval, new.outputs.clone());
                (made.artifacts, made.parent) = (new.artifacts.clone(), new.parent);
                let index = self.run.find(&stage).unwrap();
                self.rows.get_mut(&stage).unwrap().checkpoint =
                    Some(crate::domain::flow::record::CheckpointRef {
                        id: id.clone(),
                        parent: made.parent.clone(),
                        version: id.version,
                        branch: made.branch.clone(),
                        approval: made.approval,
                    });
                self.checkpoints.insert(stage, made);
                self.told.extend(self.run.named(index, id).map(|news| news.to_string()));
            }
            What::Reset { stage, reason, feedback } => {
                let row = self.rows.get_mut(&stage).unwrap();
                (row.status, row.reason, row.feedback) = (StageStatus::Pending, Some(reason), feedback);
                (row.started_at, row.ended_at, row.checkpoint, row.error) = (None, None, None, None);
                self.items.remove(&stage);
            }
            What::Limit { deadline, left } => (self.record.deadline, self.time_left) = (deadline, left),
            What::Adopt { .. } | What::Judge(_) | What::AskNobody | What::Hook(_) | What::Recipe { .. } => {}
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Launch(launch) => self.launch(&launch),
            Effect::Stop(unit) => {
                assert!(self.live.contains_key(&unit), "{unit:?} is to be stopped and does not live");
            }
            Effect::Settle { unit, end } => {
                assert!(!self.is_final(unit), "{unit:?} has ended and is settled");
                self.settling.insert(unit, *end);
            }
            Effect::FanOut { stage, values } => {
                let known = self.items.get(&self.spec.stages[stage].name).cloned().unwrap_or_default();
                let done = (0..values.len())
                    .map(|item| known.iter().find(|(one, _)| one.item as usize == item).cloned())
                    .collect();
                self.step(|run, at| run.fan_out(stage, values, done, Hash::of(["recipe"]), at));
            }
            Effect::Timer { unit, at } => drop(self.timers.insert((at, unit))),
            Effect::Forget(_) | Effect::Deadline { .. } => {}
            Effect::Rested(status) => assert_eq!(status, self.run.status),
        }
    }

    fn is_final(&self, unit: UnitKey) -> bool {
        self.rows[&self.spec.stages[unit.stage].name].status.is_final()
    }

    fn launch(&mut self, launch: &Launch) {
        let (unit, spec) = (launch.unit, &self.spec.stages[launch.unit.stage]);
        assert!(!self.is_final(unit), "{} has ended and is launched", spec.name);
        for before in spec.upstream() {
            let status = self.rows[before].status;
            assert!(status.is_final(), "{} is launched while {before} is on record as {status}", spec.name);
        }
        // What lived before the supervisor died is claimed with its number.
        let before = self.live.insert(unit, launch.attempt);
        assert!(before.is_none_or(|attempt| attempt == launch.attempt), "{unit:?} lives twice");
        if before.is_none() {
            assert!(!self.launched.contains(&(unit, launch.attempt)), "{unit:?} has one number twice");
            self.launched.push((unit, launch.attempt));
        }
        self.most = self.most.max(self.live.len());
    }

    /// The process has ended.
    fn ends(&mut self, unit: UnitKey, how: End) {
        let attempt = self.live.remove(&unit).unwrap();
        let mut end = end_of(attempt, how);
        end.started_at = self.run.stages[unit.stage].started_at;
        self.step(|run, at| run.ended(unit, end, at));
    }

    /// What it left has been looked at.
    fn settles(&mut self, unit: UnitKey, how: End) {
        let end = self.settling.remove(&unit).unwrap();
        let made = match how {
            End::Good => Ok(StageStatus::Succeeded),
            End::Degraded => Ok(StageStatus::Degraded),
            End::Bad | End::Rubbish | End::Cut => Err("the output lacks \"k\"".to_owned()),
        };
        let outputs = &self.spec.stages[unit.stage].outputs;
        let value = Json::string(&format!("{unit:?}"));
        let made = made.map(|status| Made {
            status,
            outputs: outputs.iter().map(|key| (key.clone(), value.clone())).collect(),
            artifacts: Vec::new(),
            cost: None,
            recipe: Hash::of(["recipe"]),
            input: Hash::of(["input"]),
        });
        self.step(|run, at| run.settled(unit, &end, made, at));
    }

    /// The next backoff is over.
    fn time_passes(&mut self) -> bool {
        let Some((at, unit)) = self.timers.pop_first() else { return false };
        self.seconds = self.seconds.max(at.as_nanos().div_ceil(1_000_000_000) - BOOTED);
        self.step(|run, at| run.due(unit, at));
        true
    }

    /// The supervisor dies; processes live on, what was being settled is to be settled again.
    fn dies_and_comes_back(&mut self) {
        self.comes_back(None);
    }

    /// `last_seen`: what lived ended then, in seconds.
    fn comes_back(&mut self, last_seen: Option<i64>) {
        self.write_all();
        let attempts = self.live.iter().map(|(unit, attempt)| (*unit, *attempt));
        let claims: BTreeMap<UnitKey, Claim> = attempts
            .chain(self.settling.iter().map(|(unit, end)| (*unit, end.attempt)))
            .map(|(unit, attempt)| (unit, Claim { attempt, last_seen: last_seen.map(at) }))
            .collect();
        for (unit, end) in std::mem::take(&mut self.settling) {
            self.live.insert(unit, end.attempt);
        }
        self.timers.clear();
        let at = moment(self.seconds);
        let record = (&self.record, self.time_left);
        self.run = restored(record, &self.spec, &self.rows, &self.checkpoints, claims, at);
        if self.record.status == RunStatus::Running {
            self.step(Run::begin);
        }
        // What lives is claimed before its end is heard of.
        self.write_all();
    }

    fn write_all(&mut self) {
        while !self.unwritten.is_empty() {
            self.write_down();
        }
    }

    fn unit(&self, stage: &str) -> UnitKey {
        UnitKey { stage: self.run.find(&name(stage)).unwrap(), item: None }
    }

    fn goes(&mut self, stage: &str, how: End) {
        let unit = self.unit(stage);
        self.ends(unit, how);
        if self.settling.contains_key(&unit) {
            self.settles(unit, how);
        }
    }

    fn lives(&self) -> Vec<&str> {
        self.live.keys().map(|unit| self.spec.stages[unit.stage].name.as_str()).collect()
    }

    /// `a=succeeded b=pending`
    fn words(&self) -> String {
        let words =
            self.spec.stages.iter().map(|stage| format!("{}={}", stage.name, self.rows[&stage.name].status));
        words.collect::<Vec<_>>().join(" ")
    }

    fn error(&self, stage: &str) -> &str {
        self.rows[&name(stage)].error.as_deref().unwrap_or_default()
    }
}

fn moment(seconds: u64) -> Moment {
    let wall = at(i64::try_from(seconds).unwrap());
    Moment { now: Now { mono: Mono::from_nanos((BOOTED + seconds) * 1_000_000_000), wall }, random: 0.5 }
}

fn restored(
    (record, time_left): (&RunRecord, Option<Duration>),
    spec: &Arc<FlowSpec>,
    rows: &BTreeMap<StageName, StageRecord>,
    checkpoints: &BTreeMap<StageName, Checkpoint>,
    claims: BTreeMap<UnitKey, Claim>,
    at: Moment,
) -> Run {
    let stages = spec.stages.iter().map(|stage| RestoredStage {
        record: rows[&stage.name].clone(),
        checkpoint: rows[&stage.name].checkpoint.as_ref().map(|_| checkpoints[&stage.name].clone()),
    });
    let from = Restored {
        record: record.clone(),
        spec: Arc::clone(spec),
        graph: Arc::new(graph(spec)),
        stages: stages.collect(),
        approve_all: false,
        time_left,
        max_parallel: 64,
        claims,
    };
    Run::restore(from, at.now)
}

fn end_of(attempt: u32, how: End) -> AttemptEnd {
    let (verdict, exit_code) = match how {
        End::Good | End::Degraded | End::Rubbish => (Verdict::Completed, Some(0)),
        End::Bad => (Verdict::Exit, Some(1)),
        End::Cut => (Verdict::Lost, None),
    };
    AttemptEnd {
        attempt,
        outcome: Outcome { verdict, exit_code, signal: None, detail: None },
        started_at: None,
        ended_at: at(0),
        cpu_seconds: 0.0,
        peak_rss_bytes: None,
        cost: None,
        log: None,
        last_line: (how == End::Bad).then(|| "no".into()),
        blameless: (how == End::Cut).then(|| "the machine ended".into()),
    }
}

fn retrying(text: &str, stage: &str, count: u32) -> FlowSpec {
    let mut spec = flow(text);
    spec.stages.iter_mut().filter(|one| one.name == name(stage)).for_each(|one| one.retry.count = count);
    spec
}

fn stopped(attempt: u32) -> AttemptEnd {
    let outcome = Outcome { verdict: Verdict::Stopped, exit_code: None, signal: Some(15), detail: None };
    AttemptEnd { outcome, ..end_of(attempt, End::Bad) }
}
