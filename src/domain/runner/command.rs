//! What a person asks for: start, stop, restart, kill.

use super::moves::Machine;
use super::{After, Ending, Next, Phase, Rest, Running, Starting, Sweeping, Why};
use crate::domain::verdict::{Outcome, Verdict};
use crate::domain::view::NoticeKind;

/// What an attempt ends with that somebody asked to end.
fn asked_for() -> Outcome {
    Outcome { verdict: Verdict::Stopped, exit_code: None, signal: None, detail: None }
}

impl Machine<'_> {
    /// Starts now, with count 0, whatever it was doing; a no-op on one that runs.
    pub(super) fn on_start(&mut self, phase: Phase) -> Phase {
        if self.r.removed {
            let text = "it is no longer in the config, so it cannot be started; put it back first".into();
            self.notice(NoticeKind::Warning { text });
            return phase;
        }
        match phase {
            Phase::Idle | Phase::Pending(_) | Phase::Resting(_) => self.begin_fresh(),
            Phase::Starting(starting) => {
                self.info(format!("is being started already (attempt {})", starting.attempt));
                Phase::Starting(starting)
            }
            Phase::Running(running) => {
                let Running { attempt, process, .. } = &running;
                self.info(format!("is running already (attempt {attempt}, pid {})", process.pid));
                Phase::Running(running)
            }
            Phase::Ending(ending) => {
                self.info(format!("starts as soon as attempt {} has ended", ending.attempt));
                Phase::Ending(Ending { after: After::Start, ..ending })
            }
            Phase::Sweeping(sweeping) => {
                self.info(format!("starts as soon as nothing of attempt {} lives", sweeping.attempt));
                Phase::Sweeping(Sweeping { next: Next::Start, ..sweeping })
            }
        }
    }

    pub(super) fn on_stop(&mut self, phase: Phase) -> Phase {
        match phase {
            Phase::Idle | Phase::Resting(_) => phase,
            Phase::Starting(Starting { attempt, .. }) => {
                self.end_with(attempt, None, asked_for(), After::Stop, false)
            }
            Phase::Running(running) => self.end(&running, Verdict::Stopped, None),
            Phase::Ending(ending) => Phase::Ending(Ending { after: After::Stop, ..ending }),
            Phase::Sweeping(sweeping) => {
                let next = self.cancelled(sweeping.next);
                Phase::Sweeping(Sweeping { next, ..sweeping })
            }
            Phase::Pending(due) => {
                self.tell_cancelled(&due.why);
                self.settle(Rest::Stopped)
            }
        }
    }

    /// Stop where something lives, then start with count 0.
    pub(super) fn on_restart(&mut self, phase: Phase) -> Phase {
        if self.r.removed {
            return self.on_start(phase);
        }
        match phase {
            Phase::Starting(Starting { attempt, .. }) => {
                self.end_with(attempt, None, asked_for(), After::Start, false)
            }
            Phase::Running(Running { attempt, process, .. }) => {
                self.end_with(attempt, Some(process), asked_for(), After::Start, false)
            }
            Phase::Ending(ending) => Phase::Ending(Ending { after: After::Start, ..ending }),
            Phase::Sweeping(sweeping) => Phase::Sweeping(Sweeping { next: Next::Start, ..sweeping }),
            Phase::Idle | Phase::Pending(_) | Phase::Resting(_) => self.begin_fresh(),
        }
    }

    /// Stop with neither signal nor grace.
    pub(super) fn on_kill(&mut self, phase: Phase) -> Phase {
        match phase {
            Phase::Starting(Starting { attempt, .. }) => {
                self.end_with(attempt, None, asked_for(), After::Stop, true)
            }
            Phase::Running(Running { attempt, process, .. }) => {
                self.end_with(attempt, Some(process), asked_for(), After::Stop, true)
            }
            Phase::Ending(ending) => {
                let ending = Ending { after: After::Stop, kill: true, ..ending };
                if ending.process.is_some() {
                    self.stop_tree(&ending);
                }
                Phase::Ending(ending)
            }
            Phase::Sweeping(sweeping) => {
                // What was left behind may still be within the grace of a stop.
                self.kill_tree(sweeping.attempt);
                self.on_stop(Phase::Sweeping(sweeping))
            }
            Phase::Idle | Phase::Pending(_) | Phase::Resting(_) => self.on_stop(phase),
        }
    }

    /// What follows once nobody wants the next start any more.
    pub(super) fn cancelled(&mut self, next: Next) -> Next {
        match next {
            Next::Rest(rest) => Next::Rest(rest),
            Next::Start | Next::Decide { .. } => Next::Rest(Rest::Stopped),
            Next::At(due) => {
                self.tell_cancelled(&due.why);
                Next::Rest(Rest::Stopped)
            }
        }
    }

    pub(super) fn tell_cancelled(&mut self, why: &Why) {
        match why {
            Why::Retry { .. } => self.notice(NoticeKind::RetryCancelled),
            Why::Again | Why::Wait { .. } => self.info("the next start is cancelled".into()),
        }
    }
}
