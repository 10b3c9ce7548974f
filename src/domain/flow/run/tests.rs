//! The machine, driven by hand and by chance. A small world carries out what it asks for, keeps the records that it has
//! written down, and can forget everything but those.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

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

    fn take(&mut self, turn: Turn) {
        turn.now.into_iter().for_each(|effect| self.perform(effect));
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
        let claims: BTreeMap<UnitKey, u32> = self
            .live
            .iter()
            .map(|(unit, attempt)| (*unit, *attempt))
            .chain(self.settling.iter().map(|(unit, end)| (*unit, end.attempt)))
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
    claims: BTreeMap<UnitKey, u32>,
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

#[test]
fn stages_start_when_all_they_need_is_on_record() {
    let mut world = World::new(flow("a:\n b: a\n c: a\n d: b c"));
    assert_eq!(world.lives(), ["a"]);
    world.goes("a", End::Good);
    assert_eq!(world.lives(), ["b", "c"]);
    world.goes("c", End::Good);
    assert_eq!(world.lives(), ["b"]);
    world.goes("b", End::Degraded);
    world.goes("d", End::Good);
    assert_eq!(world.words(), "a=succeeded b=degraded c=succeeded d=succeeded");
    assert_eq!(world.record.status, RunStatus::Degraded);
}

#[test]
fn a_failure_keeps_what_needs_it_from_running_and_nothing_else() {
    let mut world = World::new(flow("a:\n b: a\n c: b\n beside:"));
    world.goes("a", End::Bad);
    assert_eq!(world.words(), "a=failed b=not_run c=not_run beside=pending");
    assert_eq!((world.error("a"), world.error("c")), ("exit 1: no", "needs b, which is not_run"));
    assert_eq!(world.record.status, RunStatus::Running);
    world.goes("beside", End::Good);
    assert_eq!(world.record.status, RunStatus::Failed);
    assert_eq!(world.record.error.as_deref(), Some("a: exit 1: no"));
}

#[test]
fn a_validator_stands_before_whatever_needs_what_it_checks() {
    let mut world = World::new(flow("a:\n b: a\n check: !a"));
    world.goes("a", End::Good);
    assert_eq!(world.lives(), ["check"]);
    world.goes("check", End::Bad);
    assert_eq!(world.words(), "a=succeeded b=not_run check=failed");
}

#[test]
fn a_skip_passes_on_to_what_needs_it_and_stops_where_it_can_be_done_without() {
    let world = World::new(flow("a: when:no\n b: a\n c: ?b\n d:"));
    assert_eq!(world.words(), "a=skipped b=skipped c=pending d=pending");
    assert_eq!(world.lives(), ["c", "d"]);
}

#[test]
fn retries_back_off_and_the_last_error_lists_all_attempts() {
    let mut world = World::new(retrying("a:", "a", 2));
    world.goes("a", End::Bad);
    assert_eq!(world.words(), "a=backoff");
    assert_eq!(world.error("a"), "exit 1: no (will retry 2 more times)");
    assert!(world.time_passes());
    assert_eq!(world.seconds, 1);
    world.goes("a", End::Rubbish);
    assert_eq!(world.error("a"), "the output lacks \"k\" (will retry 1 more time)");
    assert!(world.time_passes());
    assert_eq!(world.seconds, 3);
    world.goes("a", End::Bad);
    let all = "exit 1: no (3 attempts failed; 1: exit 1: no; 2: the output lacks \"k\"; 3: exit 1: no)";
    assert_eq!((world.words().as_str(), world.error("a")), ("a=failed", all));
    let numbers: Vec<u32> = world.rows[&name("a")].attempts.iter().map(|one| one.number).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[test]
fn an_attempt_that_is_not_to_blame_spends_no_retry() {
    let mut world = World::new(flow("a:"));
    for _ in 0..3 {
        world.goes("a", End::Cut);
        assert_eq!(world.words(), "a=backoff");
        assert!(world.error("a").contains("the machine ended"), "{}", world.error("a"));
        assert!(world.time_passes());
    }
    world.goes("a", End::Bad);
    assert_eq!((world.words().as_str(), world.error("a")), ("a=failed", "exit 1: no"));
    let blameless: Vec<bool> = world.rows[&name("a")].attempts.iter().map(|one| one.blameless).collect();
    assert_eq!(blameless, [true, true, true, false]);
}

#[test]
fn a_report_of_an_attempt_that_is_over_changes_nothing() {
    let mut world = World::new(retrying("a:", "a", 1));
    let unit = world.unit("a");
    world.goes("a", End::Bad);
    let at = world.moment();
    assert_eq!(world.run.ended(unit, end_of(1, End::Good), at), Turn::default());
    assert_eq!(world.run.settled(unit, &end_of(1, End::Good), Err("late".into()), at), Turn::default());
    // A timer that comes before its time.
    assert_eq!(world.run.due(unit, at), Turn::default());
    assert!(world.time_passes());
    assert_eq!(world.run.ended(unit, end_of(1, End::Good), world.moment()), Turn::default());
    assert_eq!(world.lives(), ["a"]);
}

#[test]
fn cancelling_stops_what_lives_and_waits_for_its_end() {
    let mut world = World::new(retrying("a:\n again:\n b: a", "again", 3));
    world.goes("again", End::Bad);
    world.step(Run::cancel);
    assert_eq!(world.words(), "a=pending again=cancelled b=cancelled");
    assert_eq!(world.record.status, RunStatus::Running);
    // Nobody cancels twice, and time does not matter any more.
    world.step(Run::cancel);
    world.time_passes();
    let unit = world.unit("a");
    let attempt = world.live.remove(&unit).unwrap();
    world.step(|run, at| run.ended(unit, stopped(attempt), at));
    assert_eq!(world.words(), "a=cancelled again=cancelled b=cancelled");
    assert_eq!(
        (world.record.status, world.record.error.as_deref()),
        (RunStatus::Cancelled, Some("cancelled"))
    );
    assert_eq!(world.launched.len(), 2);
}

#[test]
fn what_had_ended_well_before_the_run_was_ended_counts() {
    for settled_first in [true, false] {
        let mut world = World::new(flow("a:\n b:\n c: a"));
        let (a, b) = (world.unit("a"), world.unit("b"));
        if settled_first {
            world.ends(a, End::Good);
            world.step(Run::cancel);
        } else {
            world.step(Run::cancel);
            world.ends(a, End::Good);
        }
        let attempt = world.live.remove(&b).unwrap();
        world.step(|run, at| run.ended(b, stopped(attempt), at));
        world.settles(a, End::Good);
        assert_eq!(world.words(), "a=succeeded b=cancelled c=cancelled");
        assert_eq!(world.record.status, RunStatus::Cancelled);
    }
}

#[test]
fn nothing_is_tried_again_in_a_run_that_is_being_ended() {
    let mut world = World::new(retrying("a:", "a", 3));
    let unit = world.unit("a");
    world.ends(unit, End::Good);
    world.step(Run::cancel);
    world.settles(unit, End::Rubbish);
    assert_eq!((world.words().as_str(), world.record.status), ("a=cancelled", RunStatus::Cancelled));
    assert!(!world.time_passes());
}

#[test]
fn a_run_that_takes_too_long_fails_and_says_so_whatever_comes_after() {
    let mut spec = flow("a:\n b: a");
    spec.timeout = Some(Duration::from_secs(5));
    let mut world = World::new(spec);
    world.seconds = 4;
    let at = world.moment();
    assert_eq!(world.run.timed_out(at), Turn::default());
    world.seconds = 5;
    world.step(Run::timed_out);
    world.step(Run::cancel);
    let unit = world.unit("a");
    let attempt = world.live.remove(&unit).unwrap();
    world.step(|run, at| run.ended(unit, stopped(attempt), at));
    assert_eq!(world.words(), "a=cancelled b=not_run");
    assert_eq!(world.record.status, RunStatus::Failed);
    assert_eq!(world.record.error.as_deref(), Some("Flow execution timed out after 5 seconds"));
}

#[test]
fn what_asks_a_person_waits_and_is_passed_on_when_approved() {
    let mut world = World::new(flow("a: manual\n b: a\n beside:"));
    world.goes("a", End::Good);
    assert_eq!(world.words(), "a=waiting b=pending beside=pending");
    assert_eq!(world.record.status, RunStatus::Running);
    world.goes("beside", End::Good);
    assert_eq!(world.record.status, RunStatus::Waiting);
    assert!(world.told.iter().any(|line| line.starts_with("Waiting for you: f-12, a@1")), "{:?}", world.told);
    world.dies_and_comes_back();
    let (unit, judgement) = (world.unit("a"), judgement("a@1"));
    world.step(|run, at| run.approve(unit.stage, Some(judgement), at));
    assert_eq!((world.lives(), world.record.status), (vec!["b"], RunStatus::Running));
    world.goes("b", End::Good);
    assert_eq!(world.record.status, RunStatus::Succeeded);
}

#[test]
fn a_queued_run_hears_what_was_judged_and_begins_in_its_turn() {
    for approved in [true, false] {
        let mut world = World::new(flow("a: manual\n b: a"));
        world.goes("a", End::Good);
        // A retry that waits for another one, with what that one waits for.
        world.record.status = RunStatus::Queued;
        world.record.started_at = None;
        world.dies_and_comes_back();
        let a = world.unit("a");
        if approved {
            world.step(|run, at| run.approve(a.stage, Some(judgement("a@1")), at));
        } else {
            world.step(|run, at| run.reject(a.stage, a.stage, Some(judgement("a@1")), "darker", at));
        }
        assert_eq!((world.run.status, world.record.status), (RunStatus::Queued, RunStatus::Queued));
        assert!(world.lives().is_empty());
        world.dies_and_comes_back();
        world.step(Run::begin);
        assert_eq!(world.lives(), [if approved { "b" } else { "a" }]);
    }
}

#[test]
fn what_is_rejected_runs_again_with_what_was_said_and_new_numbers() {
    let mut world = World::new(flow("a:\n b: a manual\n c: b"));
    world.goes("a", End::Good);
    world.goes("b", End::Good);
    let (a, b) = (world.unit("a"), world.unit("b"));
    world.step(|run, at| run.reject(b.stage, a.stage, Some(judgement("b@1")), "darker", at));
    assert_eq!((world.lives(), world.words().as_str()), (vec!["a"], "a=pending b=pending c=pending"));
    assert_eq!(world.rows[&name("a")].feedback.as_deref(), Some("darker"));
    world.dies_and_comes_back();
    world.goes("a", End::Good);
    world.goes("b", End::Good);
    assert_eq!(world.launched, [(a, 1), (b, 1), (a, 2), (b, 2)]);
    assert_eq!(world.record.status, RunStatus::Waiting);
    world.step(Run::cancel);
    assert_eq!(
        (world.words().as_str(), world.record.status),
        ("a=succeeded b=cancelled c=cancelled", RunStatus::Cancelled)
    );
}

#[test]
fn what_runs_beside_a_rejection_is_ended_and_its_number_is_not_given_again() {
    let mut world = World::new(flow("a:\n b: a manual\n side: a"));
    world.goes("a", End::Good);
    world.goes("b", End::Good);
    let (a, b, side) = (world.unit("a"), world.unit("b"), world.unit("side"));
    world.step(|run, at| run.reject(b.stage, a.stage, Some(judgement("b@1")), "darker", at));
    assert_eq!(world.words(), "a=pending b=pending side=pending");
    let cut = &world.rows[&name("side")].attempts;
    assert_eq!((cut[0].number, cut[0].verdict, cut[0].blameless), (1, Some(Verdict::Stopped), true));
    // Its end comes late and concerns nobody.
    let late = world.live.remove(&side).unwrap();
    let at = world.moment();
    assert_eq!(world.run.ended(side, stopped(late), at), Turn::default());
    world.goes("a", End::Good);
    world.goes("side", End::Good);
    world.goes("b", End::Good);
    assert_eq!(world.launched, [(a, 1), (b, 1), (side, 1), (a, 2), (b, 2), (side, 2)]);
    assert_eq!(world.record.status, RunStatus::Waiting);
}

#[test]
fn what_was_interrupted_goes_on_whole_when_a_person_approves_a_part_of_it() {
    let mut world = World::new(flow("a: manual\n b: a\n beside:"));
    world.goes("a", End::Good);
    world.step(Run::interrupt);
    assert_eq!(world.record.status, RunStatus::Interrupted);
    world.dies_and_comes_back();
    let unit = world.unit("a");
    world.step(|run, at| run.approve(unit.stage, Some(judgement("a@1")), at));
    assert_eq!(world.lives(), ["b", "beside"]);
}

/// As the store does it: the rows first, then the machine.
fn edit(world: &mut World, version: &str) {
    let (new, stage) =
        (crate::domain::flow::testing::checkpoint(version), version.split('@').next().unwrap());
    let index = world.unit(stage).stage;
    for what in world.run.rewind(index) {
        if let What::Stage { stage, status, .. } = &what {
            world.rows.get_mut(stage).unwrap().status = *status;
        } else {
            world.write(what);
        }
    }
    world.rows.get_mut(&name(stage)).unwrap().checkpoint.as_mut().unwrap().id = new.id.clone();
    world.checkpoints.insert(name(stage), new.clone());
    world.step(|run, at| run.edited(new, at));
}

#[test]
fn an_edit_of_what_was_built_on_waits_there_and_what_follows_is_executed_again() {
    for dies in [false, true] {
        let mut world = World::new(flow("s:\n b: s manual\n r: b\n beside: manual\n skipped: s when:draft"));
        world.goes("s", End::Good);
        world.goes("b", End::Good);
        world.goes("beside", End::Good);
        let before = world.words();
        assert_eq!(before, "s=succeeded b=waiting r=pending beside=waiting skipped=skipped");
        // Again and again, and one beside it.
        for version in ["s@2", "s@3", "beside@2"] {
            edit(&mut world, version);
            assert_eq!(world.words(), "s=waiting b=pending r=pending beside=waiting skipped=pending");
            assert_eq!((world.record.status, world.lives()), (RunStatus::Waiting, vec![]));
        }
        assert_eq!(world.told.last().unwrap().split(';').next(), Some("Waiting for you: f-12, beside@2"));
        if dies {
            world.dies_and_comes_back();
        }
        assert_eq!(world.run.open, 5);
        let (s, beside) = (world.unit("s"), world.unit("beside"));
        world.step(|run, at| run.approve(beside.stage, Some(judgement("beside@2")), at));
        world.step(|run, at| run.approve(s.stage, Some(judgement("s@3")), at));
        assert_eq!(world.lives(), ["b"]);
        assert_eq!(world.words(), "s=succeeded b=pending r=pending beside=succeeded skipped=skipped");
        world.goes("b", End::Good);
        let b = world.unit("b");
        assert_eq!(world.launched, [(s, 1), (beside, 1), (b, 1), (b, 2)]);
        world.step(|run, at| run.approve(b.stage, Some(judgement("b@2")), at));
        world.goes("r", End::Good);
        assert_eq!(world.record.status, RunStatus::Succeeded);
    }
}

#[test]
fn an_edit_of_what_was_built_on_can_be_rejected() {
    let mut world = World::new(flow("s:\n b: s manual"));
    world.goes("s", End::Good);
    world.goes("b", End::Good);
    edit(&mut world, "s@2");
    let s = world.unit("s");
    world.step(|run, at| run.reject(s.stage, s.stage, Some(judgement("s@2")), "darker", at));
    assert_eq!((world.lives(), world.words().as_str()), (vec!["s"], "s=pending b=pending"));
    world.goes("s", End::Good);
    world.goes("b", End::Good);
    assert_eq!(world.words(), "s=succeeded b=waiting");
}

fn judgement(checkpoint: &str) -> Judgement {
    Judgement {
        checkpoint: CheckpointId::parse(checkpoint).unwrap(),
        hash: Hash::of(["it"]),
        from: Approval::Pending,
        to: Approval::Approved,
        who: "ann".into(),
        at: at(0),
        note: None,
        rewind_to: None,
    }
}

fn fanning(count: u32, key: &str) -> FlowSpec {
    let mut spec = retrying("a: >k\n b: a", "a", count);
    spec.stages[0].foreach = Some(Foreach { key: key.into(), max_parallel: Some(2) });
    spec
}

fn item(item: u32) -> UnitKey {
    UnitKey { stage: 0, item: Some(item) }
}

#[test]
fn items_have_seats_and_are_gathered_in_their_order() {
    let mut world = World::new(fanning(0, "list"));
    assert_eq!(world.live.keys().copied().collect::<Vec<_>>(), [item(0), item(1)]);
    for number in [1, 2, 0] {
        world.ends(item(number), End::Good);
        world.settles(item(number), End::Good);
    }
    assert_eq!(world.lives(), ["b"]);
    let texts = [0, 1, 2].map(|number| format!("{:?}", item(number)));
    assert_eq!(world.checkpoints[&name("a")].outputs["k"], Json::of(&texts));
    let empty = World::new(fanning(0, "none"));
    assert_eq!((empty.lives(), empty.checkpoints[&name("a")].outputs["k"].text()), (vec!["b"], "[]"));
    let missing = World::new(fanning(0, "nothing"));
    assert_eq!(missing.words(), "a=failed b=not_run");
}

#[test]
fn items_that_were_done_are_not_done_again_and_one_that_fails_lets_the_others_end() {
    let mut world = World::new(fanning(0, "list"));
    world.ends(item(0), End::Good);
    world.settles(item(0), End::Good);
    world.dies_and_comes_back();
    assert_eq!(world.live.keys().copied().collect::<Vec<_>>(), [item(1), item(2)]);
    world.ends(item(1), End::Bad);
    assert_eq!(world.words(), "a=running b=pending");
    // It has had all its attempts, whoever supervises.
    world.dies_and_comes_back();
    assert_eq!(world.live.keys().copied().collect::<Vec<_>>(), [item(2)]);
    world.ends(item(2), End::Good);
    world.settles(item(2), End::Good);
    assert_eq!((world.words().as_str(), world.error("a")), ("a=failed b=not_run", "item 1: exit 1: no"));
}

#[test]
fn a_backoff_and_its_count_outlive_the_supervisor() {
    let mut world = World::new(retrying("a:", "a", 2));
    world.goes("a", End::Bad);
    world.dies_and_comes_back();
    assert!(world.lives().is_empty());
    assert!(world.time_passes());
    assert_eq!((world.seconds, world.launched.len()), (1, 2));
    world.dies_and_comes_back();
    world.goes("a", End::Bad);
    assert_eq!(world.error("a"), "exit 1: no (will retry 1 more time)");
    assert!(world.time_passes());
    world.goes("a", End::Bad);
    assert_eq!(world.words(), "a=failed");
    assert!(
        world.error("a").starts_with("exit 1: no (3 attempts failed; 1: exit 1: no;"),
        "{}",
        world.error("a")
    );
}

#[test]
fn an_item_keeps_its_backoff_and_its_count_over_a_death() {
    let live = |world: &World| world.live.keys().copied().collect::<Vec<_>>();
    let mut world = World::new(fanning(1, "list"));
    world.ends(item(0), End::Bad);
    world.dies_and_comes_back();
    // It keeps its seat, too.
    assert_eq!(live(&world), [item(1)]);
    assert!(world.time_passes());
    assert_eq!((world.seconds, live(&world)), (1, vec![item(0), item(1)]));
    world.ends(item(0), End::Bad);
    world.dies_and_comes_back();
    assert_eq!(live(&world), [item(1), item(2)]);
    for number in [1, 2] {
        world.ends(item(number), End::Good);
        world.settles(item(number), End::Good);
    }
    assert_eq!(world.error("a"), "item 0: exit 1: no (2 attempts failed; 1: exit 1: no; 2: exit 1: no)");
}

#[test]
fn a_queued_run_has_its_deadline_from_its_start_also_after_a_crash() {
    let mut spec = flow("a:");
    spec.timeout = Some(Duration::from_secs(5));
    let mut world = World::new(spec);
    assert_eq!(world.record.deadline, Some(at(5)));
    world.seconds = 3;
    world.dies_and_comes_back();
    assert_eq!(world.run.deadline().map(|deadline| deadline.wall), Some(at(5)));
}

#[test]
fn while_a_run_only_waits_for_a_person_its_clock_stands_still() {
    let mut spec = flow("a: manual\n b: a\n beside:");
    spec.timeout = Some(Duration::from_secs(10));
    let mut world = World::new(spec);
    world.seconds = 2;
    world.goes("a", End::Good);
    // What runs beside it takes its time.
    assert_eq!((world.record.deadline, world.time_left), (Some(at(10)), None));
    world.seconds = 3;
    world.goes("beside", End::Good);
    assert_eq!(world.record.status, RunStatus::Waiting);
    assert_eq!((world.record.deadline, world.time_left), (None, Some(Duration::from_secs(7))));
    world.seconds = 1000;
    world.step(Run::timed_out);
    world.dies_and_comes_back();
    world.step(Run::timed_out);
    assert_eq!(world.record.status, RunStatus::Waiting);
    let a = world.unit("a");
    world.step(|run, at| run.approve(a.stage, Some(judgement("a@1")), at));
    assert_eq!((world.record.deadline, world.time_left), (Some(at(1007)), None));
    world.step(Run::timed_out);
    assert_eq!((world.lives(), world.record.status), (vec!["b"], RunStatus::Running));
    // An orderly end of the supervisor stops the clock, too; its death does not.
    world.step(Run::interrupt);
    assert_eq!((world.record.deadline, world.time_left), (None, Some(Duration::from_secs(7))));
    world.seconds = 2000;
    world.dies_and_comes_back();
    world.step(Run::begin);
    world.seconds = 2006;
    world.dies_and_comes_back();
    world.step(Run::timed_out);
    assert_eq!(world.record.status, RunStatus::Running);
    world.seconds = 2007;
    world.step(Run::timed_out);
    world.goes("b", End::Cut);
    assert_eq!(world.record.error.as_deref(), Some("Flow execution timed out after 10 seconds"));
}

const STAGES: usize = 7;

#[derive(Debug, Clone)]
struct Shape {
    /// For each pair: nothing, needs, needs optionally.
    edges: Vec<u8>,
    /// Ordinary, ruled out, fanning out, or asking a person.
    kinds: Vec<u8>,
    retries: Vec<u32>,
    ends: Vec<End>,
    max_parallel: u32,
    /// What happens next: which of what can happen.
    choices: Vec<u16>,
}

fn shape() -> impl Strategy<Value = Shape> {
    let end = prop_oneof![
        6 => Just(End::Good), 1 => Just(End::Degraded), 2 => Just(End::Bad), 1 => Just(End::Rubbish),
        1 => Just(End::Cut)
    ];
    (
        prop::collection::vec(prop_oneof![3 => Just(0_u8), 2 => Just(1), 1 => Just(2)], STAGES * STAGES),
        prop::collection::vec(prop_oneof![6 => Just(0_u8), 1 => Just(1), 2 => Just(2)], STAGES),
        prop::collection::vec(0..3_u32, STAGES),
        prop::collection::vec(end, 64),
        1..5_u32,
        prop::collection::vec(any::<u16>(), 200),
    )
        .prop_map(|(edges, kinds, retries, ends, max_parallel, choices)| Shape {
            edges,
            kinds,
            retries,
            ends,
            max_parallel,
            choices,
        })
}

fn flow_of(shape: &Shape) -> FlowSpec {
    let mut text = String::new();
    for stage in 0..STAGES {
        write!(text, "s{stage}: >k{stage}").unwrap();
        for before in 0..stage {
            match shape.edges[stage * STAGES + before] {
                1 => write!(text, " s{before}").unwrap(),
                2 => write!(text, " ?s{before}").unwrap(),
                _ => {}
            }
        }
        text.push_str(if shape.kinds[stage] == 1 { " when:no\n" } else { "\n" });
    }
    let mut spec = flow(&text);
    for (stage, one) in spec.stages.iter_mut().enumerate() {
        one.retry.count = shape.retries[stage];
        one.foreach =
            (shape.kinds[stage] == 2).then(|| Foreach { key: "list".into(), max_parallel: Some(2) });
    }
    spec.max_parallel = Some(shape.max_parallel);
    spec
}

/// How an attempt ends is fixed by which one it is. Nothing is cut short for ever.
#[expect(clippy::wildcard_enum_match_arm, reason = "a test looks for what it is about")]
fn fate(shape: &Shape, unit: UnitKey, attempt: u32) -> End {
    let place = unit.stage * 17 + unit.item.map_or(0, |item| item as usize + 1) * 5 + attempt as usize;
    match shape.ends[place % shape.ends.len()] {
        End::Cut if attempt > 4 => End::Bad,
        end => end,
    }
}

/// What a stage that runs comes to, told from the fate of its attempts alone.
fn expected_of(shape: &Shape, spec: &FlowSpec, stage: usize) -> StageStatus {
    let items: Vec<Option<u32>> =
        if spec.stages[stage].foreach.is_some() { vec![Some(0), Some(1), Some(2)] } else { vec![None] };
    let last = items.into_iter().map(|item| {
        let blamed =
            (1..).map(|attempt| fate(shape, UnitKey { stage, item }, attempt)).filter(|end| *end != End::Cut);
        let tries: Vec<End> = blamed.take(shape.retries[stage] as usize + 1).collect();
        tries.into_iter().find(|end| matches!(end, End::Good | End::Degraded))
    });
    let last: Vec<Option<End>> = last.collect();
    if last.contains(&None) {
        StageStatus::Failed
    } else if last.contains(&Some(End::Degraded)) {
        StageStatus::Degraded
    } else {
        StageStatus::Succeeded
    }
}

fn expected(shape: &Shape, spec: &FlowSpec) -> Vec<StageStatus> {
    let mut ends: Vec<StageStatus> = Vec::new();
    for stage in 0..STAGES {
        let before = |kind: u8| (0..stage).filter(move |one| shape.edges[stage * STAGES + one] == kind);
        let bad = |one: usize| matches!(ends[one], StageStatus::Failed | StageStatus::NotRun);
        let end = if before(1).chain(before(2)).any(bad) {
            StageStatus::NotRun
        } else if shape.kinds[stage] == 1 || before(1).any(|one| ends[one] == StageStatus::Skipped) {
            StageStatus::Skipped
        } else {
            expected_of(shape, spec, stage)
        };
        ends.push(end);
    }
    ends
}

/// What may happen next in the world.
enum Next {
    End(UnitKey),
    Settle(UnitKey),
    Time,
    Death,
}

fn play(shape: &Shape, dies: bool, cancelled_after: Option<usize>) -> World {
    let spec = flow_of(shape);
    let mut world = World::new(spec);
    let mut steps = 0;
    while !world.record.status.is_final() {
        if cancelled_after == Some(steps) {
            world.step(Run::cancel);
        }
        let mut next: Vec<Next> = world.live.keys().copied().map(Next::End).collect();
        next.extend(world.settling.keys().copied().map(Next::Settle));
        if !world.timers.is_empty() {
            next.push(Next::Time);
        }
        if world.record.status.is_final() {
            break;
        }
        assert!(
            !next.is_empty(),
            "nothing can happen any more, and it is {}: {}",
            world.record.status,
            world.words()
        );
        if dies && steps < shape.choices.len() && cancelled_after.is_none() {
            next.push(Next::Death);
        }
        let choice = shape.choices[steps % shape.choices.len()] as usize % next.len();
        match next.swap_remove(choice) {
            Next::End(unit) => world.ends(unit, fate(shape, unit, world.live[&unit])),
            Next::Settle(unit) => {
                let attempt = world.settling[&unit].attempt;
                world.settles(unit, fate(shape, unit, attempt));
            }
            Next::Time => drop(world.time_passes()),
            Next::Death => world.dies_and_comes_back(),
        }
        steps += 1;
        assert!(steps < 5000, "it never ends: {}", world.words());
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_run_ends_as_its_stages_say_whatever_the_order_of_things(shape in shape(), dies in any::<bool>()) {
        let world = play(&shape, dies, None);
        let expected = expected(&shape, &world.spec);
        let got: Vec<StageStatus> = world.spec.stages.iter().map(|one| world.rows[&one.name].status).collect();
        prop_assert_eq!(&got, &expected);
        // What lived before a death is claimed, whatever the limit.
        prop_assert!(world.most <= shape.max_parallel as usize || dies, "{} at once", world.most);
        let bad = expected.iter().any(|one| matches!(one, StageStatus::Failed | StageStatus::NotRun));
        let degraded = expected.contains(&StageStatus::Degraded);
        let status = if bad { RunStatus::Failed } else if degraded { RunStatus::Degraded } else { RunStatus::Succeeded };
        prop_assert_eq!(world.record.status, status);
        // Exactly once each.
        for stage in &world.spec.stages {
            let ended = world.told.iter().filter(|line| {
                let place = format!(": f-12/{}", stage.name);
                line.split(" after ").next().is_some_and(|line| line.ends_with(&place) || line.contains(&format!("{place}: ")))
            });
            prop_assert_eq!(ended.count(), 1, "{}: {:?}", stage.name, world.told);
        }
        // Nothing begins that is not to be told of.
        prop_assert!(world.live.is_empty() && world.settling.is_empty());
    }

    #[test]
    fn a_cancelled_run_ends_with_all_its_stages(shape in shape(), after in 0..20_usize) {
        let world = play(&shape, false, Some(after));
        prop_assert!(world.rows.values().all(|row| row.status.is_final()));
        let unknown = |row: &&StageRecord| row.status == StageStatus::Cancelled;
        if world.rows.values().any(|row| unknown(&row)) {
            prop_assert_eq!(world.record.status, RunStatus::Cancelled);
        }
    }
}
