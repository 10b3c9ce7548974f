//! The engine of flows: an actor in a thread of its own that carries out runs. It receives, lets the run's machine step,
//! commits what came of it, acts, publishes; what several runs have to write in one moment shares a transaction.
//! Everything here may wait for the disk, which is why it is not on the supervisor's thread; what may wait for long
//! (copies of large artifacts) is done by workers, and while attempts are under way the `scribe` commits beside it.
//!
//! Nothing here decides about stages: that is [`domain::flow::run`](crate::domain::flow::run). Reading order: this file,
//! `turns` (the course of a turn), `attempts` (launch and settle; `fan`: which items; `held`: why not) with `runner` (what
//! an attempt is executed as) and `made_by` (what it is made by), `guests` (what the supervisor tells), `load` (from the
//! records), then what people ask: `asks` with `reading` (what takes its time is read elsewhere), `begin`, `retry`, `people`, `give_up`, `show`.

mod ahead;
mod asks;
mod attempts;
mod begin;
mod copied;
mod delete;
pub mod desk;
mod fan;
mod give_up;
mod guests;
mod held;
mod hooks;
mod load;
mod made_by;
mod people;
mod reading;
mod retry;
mod runner;
mod scribe;
mod show;
#[cfg(test)]
mod tests;
mod turns;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::attempt_dir::{AttemptDirs, LastAttempts};
use super::handle::FlowAsk;
use super::objects::Objects;
use super::recipe::{Recipe, Recipes};
use crate::domain::flow::change::RecipeRecord;
use crate::domain::flow::ids::{FlowName, Hash, RunId};
use crate::domain::flow::record::RunRecord;
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::run::{AttemptEnd, Index, Made, Moment, Run, UnitKey};
use crate::domain::flow::spec::FlowSpec;
use crate::domain::ids::RunnerName;
use crate::domain::time::{Mono, Timestamp};
use crate::ports::Clock;
use crate::ports::store::Store;
use crate::supervisor::guest::{GuestEvent, GuestOrder, KnownGuest};
use crate::supervisor::handle::{Busy, Handle};
pub use copied::is_copied;
use scribe::Scribe;
use turns::{Batch, Pending};

/// So many inputs at most are taken before what they lead to is written down.
const BATCH: usize = 256;
/// A store that cannot be written to is tried again this often.
const AGAIN: Duration = Duration::from_secs(2);
/// What nobody waits for is written down with what comes within so long: each time costs the disk, not each change.
const GATHER: Duration = Duration::from_millis(10);
/// So much is written at once: what follows the end of an attempt is under way by then, and the engine has time.
const GATHERED: usize = 64;
/// The store tidies up when nothing has happened for so long: in a chain of short stages that is not between two of them.
const QUIET: Duration = Duration::from_secs(1);
/// Processes of one run at once, where its flow does not say.
const MAX_PARALLEL: u32 = 64;

/// Everything that can wake the engine.
#[derive(Debug)]
pub enum Input {
    Ask(FlowAsk),
    Guest(GuestEvent),
    /// The private folder of an attempt is ready, or cannot be made.
    Prepared(Prepared),
    Settled(Box<Settling>),
    /// What was being written down is, or cannot be.
    Written,
    /// What somebody's wish depends on has been read.
    Read(Box<reading::ReadFor>),
    Flows(Vec<Arc<FlowSpec>>),
    End(oneshot::Sender<()>),
}

#[derive(Debug)]
pub struct Prepared {
    run: RunId,
    unit: UnitKey,
    attempt: u32,
    result: Result<BTreeMap<String, String>, attempts::Trouble>,
}

#[derive(Debug)]
pub struct Settling {
    run: RunId,
    unit: UnitKey,
    end: AttemptEnd,
    result: Result<Made, attempts::Trouble>,
    /// What it was made by, where that is not on record yet.
    noted: Option<RecipeRecord>,
    /// Its folder is as it was made, as it seems.
    bare: bool,
}

/// What the engine is put together from.
#[derive(Debug)]
pub struct Place {
    /// The folder of the config.
    pub root: PathBuf,
    /// `.restage`, below it.
    pub data_dir: PathBuf,
}

/// What becomes of runs that lay unfinished when an engine begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// They go on.
    GoesOn,
    /// They stay as they are on record, until somebody sets something going.
    Stays,
}

pub struct Parts {
    pub clock: Arc<dyn Clock>,
    pub store: Box<dyn Store>,
    pub place: Place,
    pub flows: Vec<Arc<FlowSpec>>,
    pub guests: UnboundedSender<GuestOrder>,
    pub handle: Handle,
    /// Whose process this is, in the words of the supervisor.
    pub holder: String,
    /// For workers to answer on.
    pub own: mpsc::Sender<Input>,
    pub left: Left,
}

pub struct Engine {
    clock: Arc<dyn Clock>,
    scribe: Scribe,
    dirs: Arc<AttemptDirs>,
    objects: Arc<Objects>,
    root: PathBuf,
    runs_dir: PathBuf,
    /// Today's.
    flows: BTreeMap<FlowName, Arc<FlowSpec>>,
    guests: UnboundedSender<GuestOrder>,
    handle: Handle,
    holder: String,
    own: mpsc::Sender<Input>,

    /// Runs that are not over.
    active: BTreeMap<RunId, Active>,
    /// Commands after runs.
    hooks: BTreeMap<RunId, hooks::OpenHook>,
    /// Turns of which the changes are yet to be written down.
    pending: Vec<Pending>,
    /// Those that are being written down.
    writing: Option<Batch>,
    /// When they are at the latest.
    gathers_until: Option<Mono>,
    /// What these attempts left is safe elsewhere once the changes that wait are written down; until then a successor
    /// would take it in anew.
    taken_in: Vec<turns::TakenIn>,
    timers: BinaryHeap<Reverse<(Mono, u64, Key)>>,
    timer_count: u64,
    /// `None` until the supervisor has told.
    inventory: Option<HashMap<RunnerName, u32>>,
    /// What was asked before that, and cannot be answered before.
    early: Vec<FlowAsk>,
    /// Writing failed, for a reason that may pass.
    blocked: Option<String>,
    /// What was told of that.
    told_blocked: Option<String>,
    /// The records contradict what was asked for last.
    refused: Option<Refusal>,
    /// Something was written since the store has tidied up.
    untidy: bool,
    left: Left,
    /// What lay unfinished stays as it is: the processes of all runs.
    lying: Option<Claims>,
    /// Runs that lay unfinished and go on because there is a supervisor again.
    resumed: BTreeSet<RunId>,
    /// Runs that lay unfinished and cannot be gone on with, for now or for good.
    unresumed: BTreeMap<RunId, Unresumed>,
    /// The processes of all runs, while the store does not say which of these lay unfinished.
    unlooked: Option<Claims>,
    /// What was under way of runs that were interrupted: whoever continues one settles it.
    set_aside: Claims,
    /// Keeps the supervisor there while there are such.
    kept: Option<Busy>,
    reads: reading::Reads,
    reading: reading::Reading,
    random: u64,
    ending: Option<oneshot::Sender<()>>,
}

enum Woken {
    By(Input),
    /// A timer is due.
    InTime,
    /// Nobody is there any more who could say anything.
    Alone,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Due(RunId, UnitKey),
    Deadline(RunId),
    /// Take in once more what could not be taken in, or launch what could not be prepared.
    Settle(RunId, UnitKey),
    Launch(RunId, UnitKey),
    Write,
    Resume,
    Hook(RunId),
}

/// What lives or has ended of each run.
type Claims = BTreeMap<RunId, Vec<KnownGuest>>;

#[derive(Debug)]
struct Unresumed {
    /// As it is on record, where that can be read: it stands in the way of others as it did before.
    record: Option<Box<RunRecord>>,
    /// Its processes.
    claims: Vec<KnownGuest>,
    /// Where that is known.
    why: Option<Refusal>,
}

/// A run that is not over.
#[derive(Debug)]
struct Active {
    run: Run,
    epoch: u64,
    /// As it was when it began: what never changes of it.
    record: RunRecord,
    /// Attempts under way.
    live: BTreeMap<UnitKey, Live>,
    /// Keeps the supervisor there.
    busy: Option<Busy>,
    recipes: Recipes,
    /// What is on record of what stages were made by.
    noted: BTreeMap<Index, Hash>,
    /// Ended well, and could not be taken in for now.
    unsettled: BTreeMap<UnitKey, AttemptEnd>,
    /// What was told of that.
    told_unsettled: Option<String>,
    /// What is kept of the attempts of the run that it retries, once that was looked for.
    of_parent: Option<LastAttempts>,
}

#[derive(Debug)]
struct Live {
    attempt: u32,
    previous: Option<u32>,
    started_at: Option<Timestamp>,
    log: Option<PathBuf>,
    recipe: Option<Recipe>,
    /// The supervisor has been asked to start it.
    ordered: bool,
    stopping: bool,
    /// Why it has not begun, or does not end.
    waiting: Option<String>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("place", &self.place).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Engine {
    pub fn new(parts: Parts) -> Self {
        let Parts { clock, store, place, flows, guests, handle, holder, own, left } = parts;
        let runs_dir = place.data_dir.join("runs");
        let random = clock.now().mono.as_nanos() | 1;
        Self {
            clock,
            scribe: Scribe::new(store, own.clone()),
            dirs: Arc::new(AttemptDirs::new(runs_dir.clone())),
            objects: Arc::new(Objects::new(place.data_dir.join("objects"))),
            root: place.root,
            runs_dir,
            flows: by_name(flows),
            guests,
            handle,
            holder,
            own,
            active: BTreeMap::new(),
            hooks: BTreeMap::new(),
            pending: Vec::new(),
            writing: None,
            gathers_until: None,
            taken_in: Vec::new(),
            timers: BinaryHeap::new(),
            timer_count: 0,
            inventory: None,
            early: Vec::new(),
            blocked: None,
            told_blocked: None,
            refused: None,
            untidy: true,
            left,
            lying: None,
            resumed: BTreeSet::new(),
            unresumed: BTreeMap::new(),
            unlooked: None,
            set_aside: Claims::new(),
            kept: None,
            reads: reading::Reads::default(),
            reading: reading::Reading::default(),
            random,
            ending: None,
        }
    }

    /// Until it is told to end, or everybody who could tell is gone.
    /// `before`: what came while there was no engine.
    pub fn run(mut self, before: Vec<Input>, inputs: &mpsc::Receiver<Input>) {
        for input in before {
            self.take(input);
        }
        self.flush();
        while self.ending.is_none() {
            let first = match self.next(inputs) {
                Woken::By(input) => Some(input),
                Woken::InTime => None,
                Woken::Alone => break,
            };
            for input in first.into_iter().chain(inputs.try_iter().take(BATCH)) {
                self.take(input);
            }
            self.fire_timers();
            self.flush_in_time();
        }
        self.interrupt_all();
        self.scribe.store().close();
        if let Some(done) = self.ending.take() {
            // Whoever waited may have gone.
            done.send(()).ok();
        }
    }

    /// Waits for the next input, or until a timer is due, or it has been quiet for long enough to tidy up.
    fn next(&mut self, inputs: &mpsc::Receiver<Input>) -> Woken {
        let timer = self.timers.peek().map(|Reverse((at, ..))| *at);
        let gathers_until = self.gathers_until.filter(|_| self.writing.is_none());
        let due = timer.into_iter().chain(gathers_until).min();
        let due = due.map(|at| at.since(self.clock.now().mono));
        let quiet = self.untidy
            && self.writing.is_none()
            && self.blocked.is_none()
            && due.is_none_or(|due| due > QUIET);
        let wait = if quiet { Some(QUIET) } else { due };
        let received = match wait {
            Some(wait) => inputs.recv_timeout(wait),
            None => inputs.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
        };
        match received {
            Ok(input) => Woken::By(input),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                if quiet {
                    self.untidy = false;
                    self.scribe.store().maintain();
                }
                Woken::InTime
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => Woken::Alone,
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Ask(ask) => self.on_ask(ask),
            Input::Guest(event) => self.on_guest(event),
            Input::Prepared(prepared) => self.on_prepared(prepared),
            Input::Settled(settling) => self.on_settled(*settling),
            Input::Written => self.take_back(false),
            Input::Read(read) => self.on_read(*read),
            Input::Flows(flows) => self.flows = by_name(flows),
            Input::End(done) => self.ending = Some(done),
        }
    }

    fn moment(&mut self) -> Moment {
        // Xorshift; it only spreads retries.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        #[expect(clippy::cast_precision_loss, reason = "a fraction of 53 bits")]
        let random = (self.random >> 11) as f64 / (1_u64 << 53) as f64;
        Moment { now: self.clock.now(), random }
    }

    fn arm(&mut self, at: Mono, key: Key) {
        self.timer_count += 1;
        self.timers.push(Reverse((at, self.timer_count, key)));
    }

    /// A timer of something that is over finds nothing to do.
    fn fire_timers(&mut self) {
        let now = self.clock.now().mono;
        while self.timers.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            let Some(Reverse((_, _, key))) = self.timers.pop() else { return };
            let at = self.moment();
            match key {
                Key::Due(run, unit) => self.step(&run, |run| run.due(unit, at)),
                Key::Deadline(run) => self.step(&run, |run| run.timed_out(at)),
                Key::Settle(run, unit) => self.settle_again(&run, unit),
                Key::Launch(run, unit) => self.launch_again(&run, unit),
                Key::Write => self.blocked = None,
                Key::Resume => self.resume_waiting(),
                Key::Hook(run) => self.go_on_with_hook(&run),
            }
        }
    }

    /// The supervisor ends: what is under way goes on when somebody says so.
    fn interrupt_all(&mut self) {
        let runs: Vec<RunId> = self.active.keys().cloned().collect();
        for run in runs {
            let at = self.moment();
            self.step(&run, |run| run.interrupt(at));
        }
        self.blocked = None;
        self.flush();
    }
}

fn by_name(flows: Vec<Arc<FlowSpec>>) -> BTreeMap<FlowName, Arc<FlowSpec>> {
    flows.into_iter().map(|flow| (flow.name.clone(), flow)).collect()
}
