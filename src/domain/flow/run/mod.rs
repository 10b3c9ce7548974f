//! One run while it is under way, as a machine: [`Run`] takes what happens and answers with a [`Turn`]: what is to be
//! written down, and what is to be done before and after that is durable. No I/O, no clock.
//!
//! The course of a stage:
//!
//! ```text
//!             all it needs ended      slot           good end         in order            written down
//! Pending ───────────────────► Ready ────► Live ───────────────► Settling ──────► Done ──────────────► its dependants
//!    │ when, or what it needs            ▲   │ bad end              │ bad output  (or Waiting, for a person)
//!    ▼                                   │   ▼                      ▼
//! Skipped, NotRun                     Backoff ◄──────────────── retries left? ──► Failed
//! ```
//!
//! A slot is free again when the process has ended; what becomes ready by an end starts only after that end has been
//! written down. A stage that fans out has one unit an item, any other has one unit.
//!
//! Reading order: this file, `course` (from ready to launched), `ends` (what follows an attempt) with
//! `checkpoint` (what a good one leaves), `people` (cancel,
//! approve, reject), `restore` (from the records).

mod checkpoint;
mod course;
mod ends;
mod people;
mod restore;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::change::What;
use super::graph::Graph;
use super::hashes::{self, Chain};
use super::ids::{BranchName, CheckpointId, Hash, RunId, StageName};
use super::news::News;
use super::record::Artifact;
use super::spec::{FlowSpec, StageSpec};
use super::state::State;
use super::status::{Decision, Reason, RunStatus, StageStatus};
use crate::domain::json::{Json, JsonMap};
use crate::domain::time::{Mono, Now, Timestamp};
use crate::domain::verdict::Outcome;
pub use restore::{Claim, Restored, RestoredStage};

/// So much of a hash tells works of one stage apart.
const KEY_DIGITS: usize = 16;

/// The place of a stage in its flow.
pub type Index = usize;

/// Which process of a run: a stage, or one item of a stage that fans out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitKey {
    pub stage: Index,
    pub item: Option<u32>,
}

impl UnitKey {
    /// Among the units of its stage.
    fn place(self) -> usize {
        self.item.map_or(0, |item| usize::try_from(item).unwrap_or(usize::MAX))
    }
}

#[derive(Debug)]
pub struct Run {
    pub id: RunId,
    pub root: RunId,
    pub parent: Option<RunId>,
    pub retry_from: Option<StageName>,
    pub branch: BranchName,
    pub spec: Arc<FlowSpec>,
    pub graph: Arc<Graph>,
    pub status: RunStatus,
    pub error: Option<String>,
    pub started: Option<Now>,
    pub ended_at: Option<Timestamp>,
    pub limit: Option<Limit>,
    /// Nobody is asked.
    pub approve_all: bool,
    pub stages: Vec<Stage>,
    pub state: State,
    chain: Chain,
    /// The places in topological order of the stages that have left artifacts.
    with_artifacts: BTreeSet<usize>,
    /// What waits for a slot, in the order of the file.
    ready: BTreeSet<UnitKey>,
    /// The same, but what it builds on is not on record yet.
    fresh: BTreeSet<UnitKey>,
    /// Stages whose items are being looked up, with so many of them at once; and some of which that is over.
    fanning: BTreeMap<Index, u32>,
    /// Slots in use.
    live: u32,
    max_parallel: u32,
    /// Stages that have not ended; those that wait for a person count.
    pub open: usize,
    /// Stages that wait for a person.
    waiting: usize,
    /// Stages that have been opened and have neither ended nor come to wait.
    active: usize,
    /// It is being ended: nothing is launched any more.
    ending: Option<Ending>,
    /// Attempts that live already, from before this supervisor.
    claims: BTreeMap<UnitKey, u32>,
}

/// How long the whole run may take. Its clock stands still while nothing of it runs: the time for which it only waits for
/// a person, or lies where its supervisor left it, is not its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    Until(Deadline),
    Left(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    pub at: Mono,
    pub wall: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Cancelled,
    TimedOut,
    /// Its supervisor ends.
    Interrupted,
}

#[derive(Debug)]
pub struct Stage {
    pub status: StageStatus,
    pub decision: Decision,
    pub reason: Option<Reason>,
    pub error: Option<String>,
    pub feedback: Option<String>,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// Of a good end; its outputs are in the state of the run.
    pub artifacts: Arc<[Artifact]>,
    pub checkpoint: Option<CheckpointId>,
    /// What its items are made by, of a stage that fans out.
    pub recipe: Option<Hash>,
    /// Stages upstream that have not ended.
    left: u32,
    /// Its turn has come, and it has neither ended nor come to wait.
    opened: bool,
    pub units: Vec<Unit>,
    /// Items that have no seat yet; `None` while nobody knows them.
    items: Option<VecDeque<u32>>,
    /// Items under way.
    seated: u32,
    /// What it will be once a person has approved it.
    good: StageStatus,
    /// What earlier attempts of its units leave to the next.
    past: BTreeMap<Option<u32>, Past>,
}

/// What is known of a unit before its turn comes.
#[derive(Debug, Clone, PartialEq, Default)]
struct Past {
    attempt: u32,
    used: u32,
    /// No retry is left.
    exhausted: bool,
    failures: Vec<(u32, String)>,
    /// The backoff that it was in.
    due: Option<Mono>,
}

#[derive(Debug)]
pub struct Unit {
    pub item: Option<u32>,
    /// What the item is, of a stage that fans out.
    pub value: Option<Json>,
    /// The last attempt that was launched.
    pub attempt: u32,
    /// Retries spent; an attempt that was cut short through no fault of its own spends none.
    pub used: u32,
    pub phase: UnitPhase,
    /// Attempts that failed, each with its error.
    pub failures: Vec<(u32, String)>,
    /// The rest of a backoff from before this supervisor.
    due: Option<Mono>,
    result: Option<Made>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitPhase {
    Ready,
    /// Launched. `stopping`: we have asked for its end.
    Live {
        stopping: bool,
    },
    /// Its process ended well, and its output is being taken in.
    Settling,
    Backoff {
        until: Mono,
    },
    Done,
    Failed,
}

/// What a unit left behind, taken in and safe.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    pub status: StageStatus,
    pub outputs: JsonMap,
    pub artifacts: Vec<Artifact>,
    pub cost: Option<f64>,
    /// What it was made by and from.
    pub recipe: Hash,
    pub input: Hash,
}

/// How an attempt ended, as far as the machine has to know.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptEnd {
    pub attempt: u32,
    pub outcome: Outcome,
    pub started_at: Option<Timestamp>,
    pub ended_at: Timestamp,
    pub cpu_seconds: f64,
    /// `None`: not known.
    pub peak_rss_bytes: Option<u64>,
    /// Reported by one that did not end well; of one that did, what it left tells.
    pub cost: Option<f64>,
    pub log: Option<String>,
    /// The last line that it printed.
    pub last_line: Option<String>,
    /// It says nothing about the command: restage, the machine or the disk was to blame.
    pub blameless: Option<String>,
}

/// The moment at which something happens.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub now: Now,
    /// In `[0, 1)`, for the jitter.
    pub random: f64,
}

/// What is to be done in the world.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    Launch(Launch),
    Stop(UnitKey),
    /// Take in what the attempt left behind; answered with [`Run::settled`].
    Settle {
        unit: UnitKey,
        end: Box<AttemptEnd>,
    },
    /// Find out which items were done before; answered with [`Run::fan_out`].
    FanOut {
        stage: Index,
        values: Vec<Json>,
    },
    /// The end of the unit is on record: its runner may be forgotten.
    Forget(UnitKey),
    Timer {
        unit: UnitKey,
        at: Mono,
    },
    Deadline {
        at: Mono,
    },
    /// It has ended for good, or waits for a person: look for what was waiting for it.
    Rested(RunStatus),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    pub unit: UnitKey,
    pub attempt: u32,
    /// The failed attempt before, with its partial output.
    pub previous: Option<u32>,
}

/// What a step asks for: write `changes` down, but do `now` at once and `after` only when they are durable.
#[derive(Debug, Default, PartialEq)]
#[must_use]
pub struct Turn {
    pub changes: Vec<What>,
    pub now: Vec<Effect>,
    pub after: Vec<Effect>,
    pub news: Vec<News>,
    /// Stages that look different now.
    pub touched: Vec<Index>,
    /// What builds on this turn and waits for a slot.
    fresh: Vec<UnitKey>,
}

impl Run {
    pub fn stage(&self, index: Index) -> &StageSpec {
        &self.spec.stages[index]
    }

    pub fn find(&self, name: &StageName) -> Option<Index> {
        self.graph.index(name)
    }

    /// An attempt at it is under way, or will be claimed: its end will be asked for.
    pub fn awaits(&self, key: UnitKey) -> bool {
        let lives = |unit: &Unit| matches!(unit.phase, UnitPhase::Live { .. });
        self.claims.contains_key(&key) || self.unit(key).is_some_and(lives)
    }

    pub fn deadline(&self) -> Option<Deadline> {
        match self.limit? {
            Limit::Until(deadline) => Some(deadline),
            Limit::Left(_) => None,
        }
    }

    /// Something waits for a person.
    pub fn is_waiting(&self) -> bool {
        self.waiting > 0
    }

    pub fn unit(&self, key: UnitKey) -> Option<&Unit> {
        self.stages.get(key.stage)?.units.get(key.place()).filter(|unit| unit.item == key.item)
    }

    /// Whether it is launched, and its end was asked for.
    pub fn is_stopping(&self, key: UnitKey) -> bool {
        self.unit(key).is_some_and(|unit| matches!(unit.phase, UnitPhase::Live { stopping: true }))
    }

    fn unit_mut(&mut self, key: UnitKey) -> Option<&mut Unit> {
        self.stages.get_mut(key.stage)?.units.get_mut(key.place()).filter(|unit| unit.item == key.item)
    }

    /// What a stage is made from; `None` while something before it has not ended.
    pub fn input_of(&self, index: Index) -> Option<Hash> {
        self.made_from(index, self.stage(index).reads())
    }

    /// The same of one process of it: an item is made from its own value and not from the whole list.
    pub fn input_of_unit(&self, key: UnitKey) -> Option<Hash> {
        match key.item {
            None => self.input_of(key.stage),
            Some(_) => self.made_from(key.stage, self.stage(key.stage).requires()),
        }
    }

    /// The same for every attempt at the same work, in each run of the lineage.
    pub fn idempotency_key(&self, key: UnitKey) -> String {
        let item = self.unit(key).and_then(|unit| unit.value.as_ref());
        let feedback = self.stages[key.stage].feedback.as_deref();
        let work = hashes::work(self.input_of_unit(key).as_ref(), item, feedback);
        let place = key.item.map(|item| format!("/{item}")).unwrap_or_default();
        format!("{}/{}{place}/{}", self.root, self.stage(key.stage).name, &work.as_str()[..KEY_DIGITS])
    }

    fn made_from(&self, index: Index, keys: Option<Vec<&str>>) -> Option<Hash> {
        let hash = |key: &str| self.state.get(index, key).map(hashes::value);
        self.chain.made_from(&self.graph, index, keys, hash)
    }

    /// All artifacts that a stage may read, with the stage that left them, in topological order.
    pub fn artifacts_of(&self, index: Index) -> Vec<(&StageName, &Arc<[Artifact]>)> {
        self.with_artifacts
            .iter()
            .map(|position| self.graph.order()[*position])
            .filter(|other| self.state.ancestors().has(index, *other))
            .map(|ancestor| (&self.spec.stages[ancestor].name, &self.stages[ancestor].artifacts))
            .filter(|(_, artifacts)| !artifacts.is_empty())
            .collect()
    }
}

impl Stage {
    /// Its turn has come, and what its items are is being looked up.
    fn is_fanning(&self, spec: &StageSpec) -> bool {
        self.opened && spec.foreach.is_some() && self.items.is_none()
    }

    /// Its units have had their time; their attempts are counted on, should it be executed again.
    fn retire(&mut self) -> Vec<Unit> {
        let units = std::mem::take(&mut self.units);
        for unit in &units {
            self.past.insert(unit.item, Past { attempt: unit.attempt, ..Past::default() });
        }
        self.items = None;
        self.seated = 0;
        units
    }
}
