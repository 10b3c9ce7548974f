//! The RunnerManager: one actor that owns all runners. Its loop only turns what happens into an `Input`; `handle`
//! turns an input into events of runners; each event goes through receive → step → persist → perform → publish.
//!
//! The cost of an event does not grow with the number of runners: a runner is found by a map, all timers share one
//! queue, one record is appended, and the view of one runner is built, where anybody listens.
//!
//! Nothing here knows a config file's format, a socket's protocol or a keeper. Reading order: this file, [`parts`],
//! `apply` (the course of an event), `perform` (effects), `adopt` (taking over), `requests`, `reload`, `guests` (stages
//! of flows), `finish`.

pub mod parts;

mod adopt;
mod apply;
mod bounds;
mod dice;
mod exec_events;
mod finish;
mod guest_fate;
mod guests;
mod look_after;
mod perform;
mod publish;
mod reload;
mod requests;
mod retries;
mod roster;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, watch};

use super::activity;
use super::figures::{self, Shares};
use super::guest::GuestOrder;
use super::handle::{Ask, Handle, Reply, RequestError, Shutdown, Work};
use super::helper::{HelperEnd, Helpers};
use super::log_bounds::{LogBounds, LogTrouble};
use super::probe::Probe;
use super::retry_log::RetryLog;
use super::store::{Recovered, StateStore};
use super::timers::{Ticket, Timers};
use crate::domain::ids::{Attempt, RunnerName};
use crate::domain::retry::RetryBudgetWindow;
use crate::domain::runner::{Event, TimerKind};
use crate::domain::spec::WorkspaceSpec;
use crate::domain::time::{Mono, Timestamp};
use crate::domain::view::{NoticeKind, Update};
use crate::logs::retention::Retention;
use crate::ports::{Clock, ExecEvent, Executor};
use dice::Dice;
use exec_events::ExecEvents;
use guests::Desk;
pub use parts::{ConfigSource, End, EndReason, Exit, Mode, Options, Parts, Reloaded, StartPlan};
use roster::{Id, Roster};

/// Requests that may wait before those who ask have to.
const WAITING_REQUESTS: usize = 64;
/// Updates that a slow listener may lag behind before it has to ask for a snapshot: two of each runner, and these at
/// least. All places take memory from the beginning.
const UPDATES: usize = 1024;
/// Edits come in bursts; the config is read when this long nothing more came.
const SETTLED: Duration = Duration::from_millis(200);

/// Everything that can wake the actor.
enum Input {
    Ask(Ask),
    Exec(ExecEvent),
    Looked {
        id: Id,
        attempt: Attempt,
        answer: activity::Answer,
    },
    Checked {
        id: Id,
        attempt: Attempt,
        end: HelperEnd,
    },
    StopCommandEnded {
        id: Id,
        attempt: Attempt,
        end: HelperEnd,
    },
    Gathered {
        figures: Vec<(RunnerName, figures::Raw)>,
        answer: Answer,
    },
    LogTrouble {
        runner: RunnerName,
        trouble: LogTrouble,
    },
    /// Something beside the runners went wrong, and somebody should read of it.
    Trouble(String),
    /// Some timer is due.
    Tick,
    ConfigTouched,
    /// More of the start plan.
    Begin,
    /// The flow engine wants something.
    Order(GuestOrder),
    /// Somebody came or went, or work began or ended that is done elsewhere.
    Attached,
}

type Answer = tokio::sync::oneshot::Sender<Result<Reply, RequestError>>;

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Runner {
        id: Id,
        kind: TimerKind,
        epoch: u64,
    },
    /// Look for signs of life.
    Look {
        id: Id,
        attempt: Attempt,
    },
    /// Run the health check.
    Check {
        id: Id,
        attempt: Attempt,
    },
    /// Try again to write down what could not be.
    Rewrite,
    /// Housekeeping of the store.
    Store,
    Reload,
    /// Delete the logs beyond what is kept.
    OldLogs,
    Idle,
    /// The shutdown takes too long.
    Overdue,
    /// What keeps a headless run from going on has done so for long enough.
    InVain,
}

pub struct RunnerManager {
    clock: Arc<dyn Clock>,
    executor: Box<dyn Executor>,
    store: Box<dyn StateStore>,
    state_dir: PathBuf,
    config: Box<dyn ConfigSource>,
    probe: Arc<dyn Probe>,
    helpers: Arc<dyn Helpers>,
    options: Options,
    /// Its runners are in the roster, not here.
    workspace: WorkspaceSpec,

    roster: Roster,
    /// Events of this moment that are yet to be applied.
    queue: VecDeque<(Id, Event)>,
    /// What the start plan has yet to look at.
    beginnings: VecDeque<Id>,
    timers: Timers<Key>,
    budget: Option<RetryBudgetWindow>,
    retention: Retention,
    /// Logs that are to be deleted.
    old_logs: Vec<PathBuf>,
    /// Keeps logs within their bound; there from the first log that has one.
    bounds: Option<LogBounds>,
    /// When there was room on the disks of the state and of this folder of logs.
    room: Option<(Mono, PathBuf)>,
    shares: Shares,
    retry_log: Option<RetryLog>,
    dice: Dice,

    link: Link,
    /// `None`: there are no flows.
    desk: Option<Desk>,
    past: Past,
    /// The runners of which the record is older than the state.
    unrecorded: BTreeSet<Id>,
    /// Exits up to this one wait for the record before they are acknowledged.
    held_ack: Option<u64>,
    store_timer: Option<(Mono, Ticket)>,
    reload_timer: Option<Ticket>,
    idle_timer: Option<Ticket>,
    vain_timer: Option<Ticket>,
    shutdown: Option<Shutdown>,
    overdue: bool,
    idle: bool,
    /// What is stuck, or a keeper that does not come, is not waited for any more.
    gave_up: bool,
    config_error: Option<String>,
    started_at: Timestamp,

    inputs: Inputs,
    updates: broadcast::Sender<Update>,
    /// How many of those who listen only want notices.
    word_readers: Arc<AtomicUsize>,
    /// For tasks to answer on.
    own: mpsc::UnboundedSender<Input>,
}

/// The executor, as far as we know.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Link {
    /// It has not answered yet, so nothing is begun; why, where a try has failed.
    Awaited {
        why: Option<String>,
    },
    Connected,
    Lost {
        why: String,
    },
}

/// What the first turn has to know of the supervisor before this one.
#[derive(Debug, Default)]
struct Past {
    clean_end: bool,
    same_boot: bool,
    notes: Vec<String>,
    /// The runners that have a record.
    known: HashSet<RunnerName>,
}

struct Inputs {
    asks: mpsc::Receiver<Ask>,
    exec: ExecEvents,
    own: mpsc::UnboundedReceiver<Input>,
    config: mpsc::UnboundedReceiver<()>,
    orders: Option<mpsc::UnboundedReceiver<GuestOrder>>,
    attached: watch::Receiver<usize>,
    work: Work,
}

async fn next_order(orders: &mut Option<mpsc::UnboundedReceiver<GuestOrder>>) -> Option<GuestOrder> {
    orders.as_mut()?.recv().await
}

impl std::fmt::Debug for RunnerManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunnerManager").field("workspace", &self.workspace.root).finish_non_exhaustive()
    }
}

impl RunnerManager {
    /// The actor, and the way to talk to it. It does nothing before [`RunnerManager::run`].
    pub fn new(
        mut workspace: WorkspaceSpec,
        recovered: Recovered,
        parts: Parts,
        options: Options,
    ) -> (Self, Handle) {
        let (ask, asks) = mpsc::channel(WAITING_REQUESTS);
        let (updates, _) = broadcast::channel((workspace.runners.len() * 2).clamp(UPDATES, 64 * UPDATES));
        let (own, own_inputs) = mpsc::unbounded_channel();
        let handle = Handle::new(ask, updates.clone());
        let (orders, desk) = match parts.guests {
            Some(line) => (Some(line.orders), Some(Desk::new(line.tell))),
            None => (None, None),
        };
        let inputs = Inputs {
            orders,
            work: handle.work(),
            asks,
            exec: ExecEvents::new(parts.exec_events),
            own: own_inputs,
            config: parts.config_touched,
            attached: handle.attached(),
        };
        let now = parts.clock.now();
        let runners = std::mem::take(&mut workspace.runners);
        let (retention, unreadable) = Retention::survey(runners.iter().map(|spec| (&spec.name, &spec.log)));
        for (folder, error) in unreadable {
            tracing::warn!(folder = %folder.display(), %error, "list the logs");
        }
        let budget = workspace.retry_budget.map(RetryBudgetWindow::new);
        let mut manager = Self {
            clock: parts.clock,
            executor: parts.executor,
            store: parts.store,
            state_dir: parts.state_dir,
            config: parts.config,
            probe: parts.probe,
            helpers: parts.helpers,
            options,
            workspace,
            roster: Roster::default(),
            queue: VecDeque::new(),
            beginnings: VecDeque::new(),
            timers: Timers::new(),
            budget,
            retention,
            old_logs: Vec::new(),
            bounds: None,
            room: None,
            shares: Shares::default(),
            retry_log: None,
            dice: Dice::new(),
            link: Link::Awaited { why: None },
            desk,
            past: Past::default(),
            unrecorded: BTreeSet::new(),
            held_ack: None,
            store_timer: None,
            reload_timer: None,
            idle_timer: None,
            vain_timer: None,
            shutdown: None,
            overdue: false,
            idle: false,
            gave_up: false,
            config_error: None,
            started_at: now.wall,
            inputs,
            updates,
            word_readers: handle.word_readers(),
            own,
        };
        manager.open_retry_log();
        manager.restore(runners, recovered, &now);
        (manager, handle)
    }

    /// Runs until there is nothing left to run, as the options say, or until it is told to end.
    pub async fn run(mut self) -> End {
        self.boot();
        loop {
            self.keep_house();
            if let Some(end) = self.ended() {
                return end;
            }
            let input = self.next_input().await;
            self.handle(input);
        }
    }

    async fn next_input(&mut self) -> Input {
        let due = self.timers.next().map(|at| at.since(self.clock.now().mono));
        let begins = !self.beginnings.is_empty();
        let inputs = &mut self.inputs;
        let timer = async {
            match due {
                Some(due) => tokio::time::sleep(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(event) = inputs.exec.recv() => Input::Exec(event),
            Some(input) = inputs.own.recv() => input,
            Some(ask) = inputs.asks.recv() => Input::Ask(ask),
            Some(()) = inputs.config.recv() => Input::ConfigTouched,
            Some(order) = next_order(&mut inputs.orders) => Input::Order(order),
            Ok(()) = inputs.attached.changed() => Input::Attached,
            () = inputs.work.changed() => Input::Attached,
            () = timer => Input::Tick,
            // Others have their turn before it goes on.
            () = tokio::task::yield_now(), if begins => Input::Begin,
        }
    }

    fn handle(&mut self, input: Input) {
        match input {
            Input::Exec(event) => self.on_exec(event),
            Input::Tick => self.tick(),
            Input::Ask(ask) => self.on_ask(ask),
            Input::Looked { id, attempt, answer } => self.on_looked(id, attempt, &answer),
            Input::Checked { id, attempt, end } => self.on_checked(id, attempt, end),
            Input::StopCommandEnded { id, attempt, end } => self.on_stop_command_ended(id, attempt, end),
            Input::Gathered { figures, answer } => self.on_gathered(&figures, answer),
            Input::LogTrouble { runner, trouble } => self.on_log_trouble(runner, &trouble),
            Input::Trouble(text) => self.warn(None, text),
            Input::ConfigTouched => self.on_config_touched(),
            Input::Begin => self.begin_some(),
            Input::Order(order) => self.on_order(order),
            // Whether it is idle is looked at after every input.
            Input::Attached => {}
        }
    }

    fn tick(&mut self) {
        let now = self.clock.now();
        while let Some(fired) = self.timers.pop(now.mono) {
            match fired.key {
                Key::Runner { id, kind, epoch } => self.apply(id, Event::Timer { kind, epoch }),
                Key::Look { id, attempt } => self.look(id, attempt, fired.late),
                Key::Check { id, attempt } => self.check(id, attempt),
                Key::Rewrite => self.rewrite(),
                Key::Store => {
                    self.store_timer = None;
                    self.store.compact_if_due(now.mono);
                }
                Key::Reload => {
                    self.reload_timer = None;
                    // The one who edited the file reads of it in the notices.
                    self.reload().ok();
                }
                Key::OldLogs => self.delete_old_logs(),
                Key::Idle => {
                    self.idle_timer = None;
                    self.idle = true;
                }
                Key::Overdue => self.overdue = true,
                Key::InVain => {
                    self.vain_timer = None;
                    self.gave_up = true;
                }
            }
        }
    }

    /// What an input may have made due: the store's housekeeping, the end of an idle supervisor.
    fn keep_house(&mut self) {
        let now = self.clock.now().mono;
        let due = self.store.due();
        if self.store_timer.map(|(at, _)| at) != due {
            if let Some((_, ticket)) = self.store_timer.take() {
                self.timers.cancel(ticket);
            }
            self.store_timer = due.map(|at| (at, self.timers.arm(now, at, Key::Store)));
        }
        self.mind_idleness(now);
        self.mind_waits_in_vain(now);
    }

    fn on_exec(&mut self, event: ExecEvent) {
        match event {
            ExecEvent::Connected(inventory) => self.on_connected(inventory),
            ExecEvent::Disconnected { why } => {
                let text = format!("the keeper is away: {why}; nothing is started before it is back");
                let lost = match self.link {
                    Link::Awaited { .. } => Link::Awaited { why: Some(why) },
                    Link::Connected | Link::Lost { .. } => Link::Lost { why },
                };
                if self.link != lost {
                    self.warn(None, text);
                }
                self.link = lost;
                self.publish_fleet();
            }
            ExecEvent::Spawned { id, process } => {
                let Some(at) = self.roster.find(&id.runner) else {
                    return self.executor.stop(&id, crate::ports::StopTree::KILL);
                };
                self.apply(at, Event::Spawned { attempt: id.attempt, process });
            }
            ExecEvent::SpawnFailed { id, failure } => {
                if let Some(at) = self.roster.find(&id.runner) {
                    let kind = parts::failure(failure.kind);
                    let message = failure.message;
                    self.apply(at, Event::SpawnFailed { attempt: id.attempt, failure: kind, message });
                }
            }
            ExecEvent::Exited(exit) => {
                let gone = self.inputs.exec.take_gone(&exit.id);
                self.on_exit(&exit, gone);
            }
            ExecEvent::Gone { id } => {
                if let Some(at) = self.roster.find(&id.runner) {
                    let output = self.output_of(at);
                    self.apply(at, Event::Gone { attempt: id.attempt, output });
                }
            }
            ExecEvent::Stuck { id, pids } => {
                if let Some(at) = self.roster.find(&id.runner) {
                    self.apply(at, Event::Stuck { attempt: id.attempt, pids });
                }
            }
            ExecEvent::Warning { id, text } => {
                self.notice(id.map(|id| id.runner), NoticeKind::Warning { text });
            }
        }
    }
}
