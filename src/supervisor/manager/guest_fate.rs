//! What becomes of guests: how their ends are kept, and what the flow engine is told.

use std::fs;
use std::time::Duration;

use super::RunnerManager;
use super::roster::{Entry, Id};
use crate::domain::retry::OutputMatch;
use crate::domain::runner::state::RunnerState;
use crate::domain::runner::{Ended, Event, Phase};
use crate::domain::time::{Now, Timestamp};
use crate::domain::verdict::{ExitStatus, Verdict};
use crate::domain::view::NoticeKind;
use crate::ports::{ExecExit, Usage};
use crate::supervisor::guest::{GuestEnd, GuestEvent};

const CUT: &str = "it was running when restage or the machine went down";

/// What the machine does not keep of the end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Fate {
    usage: Usage,
    /// If it ends now, it does so because restage or the machine does.
    cut: bool,
    disk_full: bool,
}

impl Fate {
    pub(super) fn of(state: &RunnerState) -> Self {
        Self {
            usage: Usage {
                cpu: Duration::from_millis(state.cpu_ms.unwrap_or(0)),
                max_rss_bytes: state.max_rss_bytes.unwrap_or(0),
            },
            cut: state.cut,
            disk_full: state.disk_full,
        }
    }

    fn note(self, state: &mut RunnerState) {
        if self.usage != Usage::default() {
            state.cpu_ms = Some(u64::try_from(self.usage.cpu.as_millis()).unwrap_or(u64::MAX));
            state.max_rss_bytes = Some(self.usage.max_rss_bytes);
        }
        state.cut = self.cut;
        state.disk_full |= self.disk_full;
    }
}

impl Entry {
    /// What is to be recorded of it.
    pub(super) fn to_state(&self, now: &Now) -> RunnerState {
        let mut state = self.runner.to_state(&self.spec, now);
        if let Some(guest) = &self.guest {
            guest.fate.note(&mut state);
            state.ordered = guest.ordered.filter(|_| guest.ordered != state.attempt);
        }
        state
    }
}

impl RunnerManager {
    /// Keeps of an exit what the machine does not, and says how the machine is to take it.
    pub(super) fn note_exit(&mut self, id: Id, exit: &ExecExit, disk_full: bool) -> ExitStatus {
        let Some(Entry { runner, guest: Some(guest), .. }) = self.roster.get_mut(id) else {
            return exit.status;
        };
        let undecided = matches!(runner.phase, Phase::Starting(_) | Phase::Running(_));
        let decided = matches!(runner.phase, Phase::Ending(_));
        if runner.live_attempt() != Some(exit.id.attempt) || !(undecided || decided) {
            return exit.status;
        }
        let cut = exit.cut && undecided;
        guest.fate.usage = exit.usage;
        guest.fate.cut |= cut;
        guest.fate.disk_full = disk_full && !cut;
        if cut { ExitStatus::Unknown } else { exit.status }
    }

    /// What lived in another boot ended with it, and what was to be stopped has been.
    pub(super) fn guests_rebooted(&mut self) {
        for id in self.roster.guest_ids() {
            let Some(entry) = self.roster.get_mut(id) else { continue };
            let Some(attempt) = entry.runner.live_attempt() else { continue };
            if let (Phase::Running(_), Some(guest)) = (&entry.runner.phase, &mut entry.guest) {
                guest.fate.cut = true;
            }
            self.apply(id, Event::Gone { attempt, output: OutputMatch::None });
        }
    }

    /// The supervisor is to end, and this guest with it, unless something else has ended it before.
    pub(super) fn cut_guest(&mut self, id: Id) {
        let Some(Entry { runner, guest: Some(guest), .. }) = self.roster.get_mut(id) else { return };
        if matches!(runner.phase, Phase::Starting(_) | Phase::Running(_) | Phase::Pending(_)) {
            guest.fate.cut = true;
        }
    }

    pub(super) fn tell_started(&mut self, id: Id) {
        let Some(entry) = self.told_of(id) else { return };
        let (Some(process), Some(attempt)) = (entry.runner.main_process(), entry.runner.live_attempt())
        else {
            return;
        };
        let started = entry.runner.started.unwrap_or_else(|| self.clock.now());
        let event = GuestEvent::Started {
            name: entry.spec.name.clone(),
            attempt,
            process,
            at: started.wall,
            log: entry.runner.log.clone().unwrap_or_default(),
        };
        self.tell(event);
    }

    /// Of one that rests.
    pub(super) fn tell_end(&mut self, id: Id) {
        let Some(Entry { spec, runner, guest: Some(guest), .. }) = self.roster.get(id) else { return };
        let (Some(last), Some(attempt)) = (&runner.last, runner.attempt) else { return };
        let mut outcome = last.outcome.clone();
        let cut = guest.fate.cut && matches!(outcome.verdict, Verdict::Lost | Verdict::Stopped);
        if cut && outcome.verdict == Verdict::Lost {
            outcome.detail = Some(CUT.into());
        }
        let end = GuestEnd {
            name: spec.name.clone(),
            attempt,
            outcome,
            started_at: runner.started.map(|started| started.wall),
            ended_at: last.at,
            usage: guest.fate.usage,
            log: runner.log.clone(),
            cut,
            disk_full: guest.fate.disk_full,
        };
        self.tell(GuestEvent::Ended(Box::new(end)));
    }

    /// When there was last a sign of a guest; `None` where it lives. Of one that was found to be gone by this supervisor
    /// nobody knows when it went: then it is what it printed last.
    pub(super) fn last_seen(&self, Entry { runner, .. }: &Entry) -> Option<Timestamp> {
        if runner.live_attempt().is_some() {
            return None;
        }
        let went_unseen = |end: &&Ended| end.outcome.verdict == Verdict::Lost && end.at >= self.started_at;
        if let Some(end) = runner.last.as_ref().filter(|end| !went_unseen(end)) {
            return Some(end.at);
        }
        let started = runner.started.map(|started| started.wall);
        let printed = runner.log.as_ref().and_then(|log| fs::metadata(log).ok()?.modified().ok());
        let printed = printed.and_then(|at| Timestamp::try_from(at).ok());
        Some(started.max(printed).unwrap_or(Timestamp::UNIX_EPOCH))
    }

    /// What clients would have been told, were it a runner.
    pub(super) fn tell_notice(&mut self, id: Id, what: &NoticeKind) {
        let Some(entry) = self.told_of(id) else { return };
        let name = entry.spec.name.clone();
        if let NoticeKind::Waiting { reason, .. } = what {
            self.tell(GuestEvent::Waiting { name, reason: reason.clone() });
        } else if let NoticeKind::Stuck { pids } = what {
            self.tell(GuestEvent::Stuck { name, pids: pids.clone() });
        }
    }

    fn told_of(&self, id: Id) -> Option<&Entry> {
        self.roster.get(id).filter(|entry| entry.guest.as_ref().is_some_and(|guest| !guest.forgotten))
    }
}
