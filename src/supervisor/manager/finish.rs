//! When the supervisor's work is over.

use std::time::Duration;

use super::{End, EndReason, Key, Link, Mode, RunnerManager};
use crate::domain::runner::{Event, Phase, Rest};
use crate::domain::time::Mono;
use crate::domain::view::{RunnerStatus, RunnerView};
use crate::supervisor::handle::Shutdown;

/// A background supervisor with nothing to do stays this long.
const IDLE: Duration = Duration::from_mins(1);
/// What is not gone this long after its grace does not go.
const SWEEP: Duration = Duration::from_secs(15);
/// In headless mode, a keeper that has never answered is waited for so long.
const NO_KEEPER: Duration = Duration::from_mins(1);
/// In headless mode, what is stuck is waited for so long once there is nothing else: a disk may come back.
const STUCK: Duration = Duration::from_mins(5);

impl RunnerManager {
    /// Stops everything. A second one may only be harder than the first.
    pub(super) fn shut_down(&mut self, how: Shutdown) {
        let event = match (self.shutdown, how) {
            (Some(Shutdown::Kill), _) | (Some(Shutdown::Graceful), Shutdown::Graceful) => return,
            (None, Shutdown::Graceful) => Event::Stop,
            (None | Some(Shutdown::Graceful), Shutdown::Kill) => Event::Kill,
        };
        self.shutdown = Some(how);
        self.begin_all();
        let now = self.clock.now().mono;
        let grace = match how {
            Shutdown::Graceful => {
                self.roster.iter().chain(self.roster.guests()).map(|entry| entry.spec.stop.grace).max()
            }
            Shutdown::Kill => None,
        };
        self.timers.arm(now, now.plus(grace.unwrap_or_default() + SWEEP), Key::Overdue);
        for id in self.roster.all_ids() {
            self.cut_guest(id);
            self.apply(id, event.clone());
        }
    }

    /// Whether this was the last turn, and how it all went.
    pub(super) fn ended(&mut self) -> Option<End> {
        let nothing_lives = self.roster.live == 0 && self.beginnings.is_empty();
        let busy = self.inputs.work.is_there();
        let why = match self.shutdown {
            Some(how) if nothing_lives || (self.overdue && self.nothing_moves()) => EndReason::Shutdown(how),
            None if self.idle && nothing_lives && self.inputs.work.close() => EndReason::Idle,
            None if self.options.mode == Mode::Headless
                && self.met()
                && nothing_lives
                && !busy
                && self.inputs.work.close() =>
            {
                EndReason::NothingLeft
            }
            None if self.gave_up && !self.met() => EndReason::NoKeeper,
            None if self.gave_up => EndReason::NothingLeft,
            Some(_) | None => return None,
        };
        self.take_last_orders();
        if self.shutdown.is_none() && !self.gave_up && self.roster.live > 0 {
            self.inputs.work.open();
            return None;
        }
        self.delete_last_logs();
        let end = self.sum_up(why);
        let guests = self.roster.guests().filter(|entry| entry.runner.status().is_live());
        let alive: Vec<_> = end.alive.iter().chain(guests.map(|entry| &entry.spec.name)).cloned().collect();
        if alive.is_empty() {
            if let Err(error) = self.store.finish() {
                self.warn(None, format!("the clean end cannot be written down: {error}"));
            }
        } else {
            self.warn(None, format!("left alive: {}", self.left_alive().join(", ")));
        }
        Some(end)
    }

    /// The keeper has answered once, so the beginning is made.
    pub(super) fn met(&self) -> bool {
        !matches!(self.link, Link::Awaited { .. })
    }

    /// `agent (processes of attempt 2 do not die: [4711])`
    fn left_alive(&self) -> Vec<String> {
        let now = self.clock.now();
        let runners = self.roster.iter().filter(|entry| entry.took_part).chain(self.roster.guests());
        let live = runners.filter(|entry| entry.runner.status().is_live());
        live.map(|entry| match entry.runner.to_view(&entry.spec, &now) {
            RunnerView { name, waiting: Some(waiting), .. } => format!("{name} ({waiting})"),
            RunnerView { name, pid: Some(pid), .. } => format!("{name} (pid {pid})"),
            RunnerView { name, .. } => name.to_string(),
        })
        .collect()
    }

    /// Nobody can say that what lives will be gone: it is stuck, or the keeper is away.
    fn nothing_moves(&self) -> bool {
        let stuck_only = self.roster.iter().chain(self.roster.guests()).all(|entry| {
            let status = entry.runner.status();
            !status.is_live() || status == RunnerStatus::Stuck
        });
        stuck_only || self.link != Link::Connected
    }

    fn sum_up(&self, why: EndReason) -> End {
        let mut end =
            End { why, completed: Vec::new(), failed: Vec::new(), stopped: Vec::new(), alive: Vec::new() };
        for entry in self.roster.iter().filter(|entry| entry.took_part) {
            let list = match &entry.runner.phase {
                Phase::Idle => continue,
                Phase::Resting(Rest::Completed) => &mut end.completed,
                Phase::Resting(Rest::Crashed { .. }) => &mut end.failed,
                Phase::Resting(Rest::Stopped) => &mut end.stopped,
                Phase::Starting(_)
                | Phase::Running(_)
                | Phase::Ending(_)
                | Phase::Sweeping(_)
                | Phase::Pending(_) => &mut end.alive,
            };
            list.push(entry.spec.name.clone());
        }
        end
    }

    /// In the background, time without anything live or anybody attached is counted.
    pub(super) fn mind_idleness(&mut self, now: Mono) {
        let attached = *self.inputs.attached.borrow_and_update() > 0;
        let busy = self.inputs.work.is_there();
        let idle = self.options.mode == Mode::Background
            && self.met()
            && !busy
            && self.roster.live == 0
            && self.beginnings.is_empty()
            && !attached;
        match (idle, self.idle_timer) {
            (true, None) if !self.idle => {
                self.idle_timer = Some(self.timers.arm(now, now.plus(IDLE), Key::Idle));
            }
            (false, ticket) => {
                self.idle = false;
                if let Some(ticket) = ticket {
                    self.timers.cancel(ticket);
                    self.idle_timer = None;
                }
            }
            (true, Some(_) | None) => {}
        }
    }

    /// In headless mode somebody waits for the end: neither what cannot be killed nor a keeper that cannot be started
    /// keeps it away for ever.
    pub(super) fn mind_waits_in_vain(&mut self, now: Mono) {
        let waits = self.options.mode == Mode::Headless && self.shutdown.is_none();
        let stuck =
            self.roster.stuck > 0 && self.roster.stuck == self.roster.live && self.beginnings.is_empty();
        match (waits && (stuck || !self.met()), self.vain_timer) {
            (true, None) if !self.gave_up => {
                let patience = if self.met() { STUCK } else { NO_KEEPER };
                self.vain_timer = Some(self.timers.arm(now, now.plus(patience), Key::InVain));
            }
            (false, Some(ticket)) => {
                self.timers.cancel(ticket);
                self.vain_timer = None;
            }
            (true, Some(_) | None) | (false, None) => {}
        }
    }
}
