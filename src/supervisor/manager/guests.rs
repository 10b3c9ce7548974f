//! Guests: stages of flows, started attempt by attempt as the flow engine orders. They run under the same machine as the
//! runners of the config, with a spec that never starts anything again by itself. Intent and end of an attempt stay in
//! the store of states until the engine says that it has the end on record.
//!
//! An order that comes twice, or late, does no harm: an attempt that is known already is claimed, not started.

use super::guest_fate::Fate;
use super::roster::{Entry, Id};
use super::{Attempt, RunnerManager, RunnerName};
use crate::domain::runner::event::LaunchChange;
use crate::domain::runner::state::RunnerState;
use crate::domain::runner::{Ended, Event, Phase, Rest, Runner, Why};
use crate::domain::spec::{Leftovers, Reload, RestartPolicy, RunnerSpec};
use crate::domain::time::Now;
use crate::domain::verdict::{Outcome, Verdict};
use crate::supervisor::guest::{GuestEvent, GuestOrder, KnownGuest};
use crate::supervisor::handle::Shutdown;

const ENDING: &str = "the supervisor is ending";

/// What the actor keeps of a guest beside its runner.
#[derive(Debug, Default)]
pub(super) struct Guest {
    /// The number under which the last attempt was ordered. Its own is higher where a log of that number was there.
    /// `None`: nobody knows.
    pub(super) ordered: Option<Attempt>,
    /// What was ordered while an earlier attempt lives.
    next: Option<Box<Next>>,
    /// Nothing is told of it any more, and it goes once nothing of it lives.
    pub(super) forgotten: bool,
    pub(super) fate: Fate,
}

#[derive(Debug)]
struct Next {
    spec: Box<RunnerSpec>,
    attempt: Attempt,
    /// Somebody stopped it before it began.
    stopped: bool,
}

/// The way back to the flow engine.
pub(super) struct Desk {
    tell: Box<dyn FnMut(GuestEvent) + Send>,
    /// The orders from before the inventory; `None` once it has been told.
    held: Option<Vec<GuestOrder>>,
}

impl Desk {
    pub(super) fn new(tell: Box<dyn FnMut(GuestEvent) + Send>) -> Self {
        Self { tell, held: Some(Vec::new()) }
    }
}

impl RunnerManager {
    /// Nothing is told before the inventory: it is the first that the engine can make sense of.
    pub(super) fn tell(&mut self, event: GuestEvent) {
        if let Some(Desk { tell, held: None }) = &mut self.desk {
            tell(event);
        }
    }

    pub(super) fn tell_inventory(&mut self) {
        let known = self.roster.guests().filter_map(|entry| {
            let (name, attempt) = (entry.spec.name.clone(), known(entry)?);
            Some(KnownGuest { name, attempt, last_seen: self.last_seen(entry) })
        });
        let mut known: Vec<_> = known.collect();
        known.sort_unstable();
        let inventory = GuestEvent::Inventory(known);
        let held = self.desk.as_mut().and_then(|desk| desk.held.take());
        self.tell(inventory);
        for order in held.unwrap_or_default() {
            self.carry_out(order);
        }
    }

    pub(super) fn on_order(&mut self, order: GuestOrder) {
        match &mut self.desk {
            Some(Desk { held: Some(held), .. }) => held.push(order),
            Some(Desk { held: None, .. }) | None => self.carry_out(order),
        }
    }

    /// What was ordered before the end is carried out before it.
    pub(super) fn take_last_orders(&mut self) {
        while let Some(order) = self.inputs.orders.as_mut().and_then(|orders| orders.try_recv().ok()) {
            self.on_order(order);
        }
    }

    fn carry_out(&mut self, order: GuestOrder) {
        match order {
            GuestOrder::Launch { spec, attempt } => self.launch_guest(spec, attempt),
            GuestOrder::Stop { name, how } => self.stop_guest(&name, how),
            GuestOrder::Forget { name } => self.forget_guest(&name),
        }
    }

    fn launch_guest(&mut self, spec: Box<RunnerSpec>, attempt: Attempt) {
        if !spec.name.is_guest() {
            let reason = "only a name with a '/' can be that of a stage".to_owned();
            return self.tell(GuestEvent::Waiting { name: spec.name, reason });
        }
        let Some(id) = self.roster.find(&spec.name) else { return self.begin_guest(spec, attempt) };
        let Some(entry) = self.roster.get_mut(id) else { return };
        let (known, rests) = (known(entry), at_rest(&entry.runner));
        let Some(guest) = &mut entry.guest else { return };
        let next = Box::new(Next { spec, attempt, stopped: false });
        if guest.next.as_ref().is_some_and(|earlier| earlier.attempt > attempt) {
            // What was ordered last was ordered for a reason; this one is late.
        } else if guest.forgotten || guest.next.is_some() {
            guest.next = Some(next);
        } else if known >= Some(attempt) {
            self.claim(id, *next.spec);
        } else if rests {
            self.begin_guest(next.spec, attempt);
        } else {
            guest.next = Some(next);
            self.apply(id, Event::Kill);
        }
    }

    /// It is there already: it goes on under the spec that comes with the claim, and what became of it is told again.
    fn claim(&mut self, id: Id, spec: RunnerSpec) {
        let Some(entry) = self.roster.get_mut(id) else { return };
        entry.spec = as_guest(spec);
        if at_rest(&entry.runner) {
            return self.tell_end(id);
        }
        self.apply(id, Event::SpecChanged { launch: LaunchChange::Same });
        self.tell_started(id);
        let Some(entry) = self.roster.get(id) else { return };
        let name = entry.spec.name.clone();
        match &entry.runner.phase {
            Phase::Pending(due) => {
                if let Why::Wait { reason } = &due.why {
                    let reason = reason.clone();
                    self.tell(GuestEvent::Waiting { name, reason });
                }
            }
            Phase::Ending(_) | Phase::Sweeping(_) => {
                let pids = entry.runner.stuck().to_vec();
                if !pids.is_empty() {
                    self.tell(GuestEvent::Stuck { name, pids });
                }
            }
            Phase::Idle | Phase::Starting(_) | Phase::Running(_) | Phase::Resting(_) => {}
        }
    }

    fn begin_guest(&mut self, spec: Box<RunnerSpec>, attempt: Attempt) {
        if self.shutdown.is_some() {
            return self.tell(GuestEvent::Waiting { name: spec.name, reason: ENDING.into() });
        }
        let id = self.make_room_for(*spec, attempt);
        self.apply(id, Event::Start);
    }

    /// A guest of which nothing lives, about to begin with this attempt. What an earlier one left behind is the engine's
    /// affair by now.
    fn make_room_for(&mut self, spec: RunnerSpec, attempt: Attempt) -> Id {
        let spec = as_guest(spec);
        let id = match self.roster.find(&spec.name) {
            Some(id) => id,
            None => self.roster.insert(spec.clone(), Runner::default()),
        };
        if let Some(entry) = self.roster.get_mut(id) {
            entry.spec = spec;
            entry.runner = Runner {
                attempt: Attempt::new(attempt.get() - 1).max(entry.runner.attempt),
                exit_seq: entry.runner.exit_seq,
                epoch: entry.runner.epoch,
                ..Runner::default()
            };
            entry.guest = Some(Box::new(Guest { ordered: Some(attempt), ..Guest::default() }));
        }
        id
    }

    fn stop_guest(&mut self, name: &RunnerName, how: Shutdown) {
        let Some(id) = self.roster.find(name) else { return };
        let Some(guest) = self.roster.get_mut(id).and_then(|entry| entry.guest.as_mut()) else { return };
        if let Some(next) = &mut guest.next {
            // What lives is being killed already.
            next.stopped = true;
            return;
        }
        self.apply(
            id,
            match how {
                Shutdown::Graceful => Event::Stop,
                Shutdown::Kill => Event::Kill,
            },
        );
    }

    fn forget_guest(&mut self, name: &RunnerName) {
        let Some(id) = self.roster.find(name) else { return };
        let Some(entry) = self.roster.get_mut(id) else { return };
        let Some(guest) = &mut entry.guest else { return };
        if entry.runner.live_attempt().is_none() {
            return self.remove(id);
        }
        guest.forgotten = true;
        guest.next = None;
        self.apply(id, Event::Kill);
    }

    /// After each step of a guest that changed it.
    pub(super) fn after_guest_step(&mut self, id: Id, before: &Runner) {
        let Some(entry) = self.roster.get(id).filter(|entry| entry.guest.is_some()) else { return };
        let runner = &entry.runner;
        if runner.main_process().is_some() && runner.main_process() != before.main_process() {
            self.tell_started(id);
        } else if at_rest(runner) && (!at_rest(before) || runner.last != before.last) {
            self.guest_rests(id);
        }
    }

    fn guest_rests(&mut self, id: Id) {
        let Some(guest) = self.roster.get_mut(id).and_then(|entry| entry.guest.as_mut()) else { return };
        let next = guest.next.take();
        if guest.forgotten {
            self.remove(id);
        } else {
            self.tell_end(id);
        }
        match next.map(|next| *next) {
            Some(Next { spec, attempt, stopped: false }) => self.begin_guest(spec, attempt),
            Some(Next { spec, attempt, stopped: true }) => {
                let (id, now) = (self.make_room_for(*spec, attempt), self.clock.now());
                self.end_unstarted(id, &now);
                self.record_new(&[id]);
                self.tell_end(id);
            }
            None => {}
        }
    }

    /// The end of a wait for a start is the end of the attempt that did not start.
    pub(super) fn note_wait_ended(&mut self, id: Id, before: &Runner, now: &Now) {
        let ended = |entry: &Entry| {
            entry.guest.is_some()
                && matches!(before.phase, Phase::Pending(_))
                && matches!(entry.runner.phase, Phase::Resting(_))
        };
        if self.roster.get(id).is_some_and(ended) {
            self.end_unstarted(id, now);
        }
    }

    fn end_unstarted(&mut self, id: Id, now: &Now) {
        let Some(Entry { runner, .. }) = self.roster.get_mut(id) else { return };
        let outcome = Outcome { verdict: Verdict::Stopped, exit_code: None, signal: None, detail: None };
        runner.attempt = Some(runner.attempt.map_or(Attempt::FIRST, Attempt::next));
        runner.last = Some(Ended { outcome, at: now.wall });
        runner.started = None;
        runner.log = None;
        runner.phase = Phase::Resting(Rest::Stopped);
    }

    pub(super) fn is_guest(&self, id: Id) -> bool {
        self.roster.get(id).is_some_and(|entry| entry.guest.is_some())
    }

    // Taking over.

    /// Under a spec that stands in for its own until it is claimed: enough to stop it.
    pub(super) fn restore_guest(&mut self, stand_in: RunnerSpec, runner: Runner, state: &RunnerState) {
        let id = self.roster.insert(stand_in, runner);
        if let Some(guest) = self.roster.get_mut(id).and_then(|entry| entry.guest.as_mut()) {
            guest.ordered = state.ordered.or(state.attempt);
            guest.fate = Fate::of(state);
        }
    }

    /// A guest that was to be started and was not, or of which nothing is known but remains: without its own spec
    /// nobody can start it, so whoever ordered it has to order it again. True: it was one.
    pub(super) fn forget_intent(&mut self, id: Id) -> bool {
        let unstarted = self.roster.get(id).is_some_and(|entry| {
            entry.guest.is_some()
                && matches!(entry.runner.phase, Phase::Idle | Phase::Starting(_) | Phase::Pending(_))
        });
        if unstarted {
            self.remove(id);
        }
        unstarted
    }
}

fn at_rest(runner: &Runner) -> bool {
    matches!(runner.phase, Phase::Idle | Phase::Resting(_))
}

/// The last attempt that was started, or is to be, under the number by which the engine knows it.
fn known(entry: &Entry) -> Option<Attempt> {
    let ordered = entry.guest.as_ref().and_then(|guest| guest.ordered);
    ordered.or(entry.runner.live_attempt()).or(entry.runner.attempt)
}

/// Nobody but the engine starts it again, and nothing of it stays.
fn as_guest(spec: RunnerSpec) -> RunnerSpec {
    RunnerSpec {
        restart: RestartPolicy::Never,
        autostart: false,
        leftovers: Leftovers::Kill,
        reload: Reload::Manual,
        ..spec
    }
}
