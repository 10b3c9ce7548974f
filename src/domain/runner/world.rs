//! What happens around a runner: another config, a record that cannot be written, a supervisor that takes over, a
//! machine that was started anew.

use super::event::{Effect, Failure, Found, LaunchChange};
use super::moves::Machine;
use super::process::{sweep, unseen};
use super::{After, Due, Ending, Next, Phase, Rest, Running, Starting, Sweeping, Why};
use crate::domain::retry::OutputMatch;
use crate::domain::spec::{Reload, RestartPolicy};
use crate::domain::verdict::{Outcome, Verdict};
use crate::domain::view::NoticeKind;

const STALE: &str = "the config says something else by now: restart to apply";
const REMOVED: &str = "removed from the config";

impl Machine<'_> {
    pub(super) fn on_blocked(&mut self, phase: Phase, reason: String) -> Phase {
        match phase {
            Phase::Starting(Starting { waited, .. }) => {
                // The spawn that this step's predecessor asked for is not done.
                self.wait(reason, waited.as_ref())
            }
            Phase::Idle
            | Phase::Running(_)
            | Phase::Ending(_)
            | Phase::Sweeping(_)
            | Phase::Pending(_)
            | Phase::Resting(_) => phase,
        }
    }

    /// A new policy applies at once. A retry that was granted under the old one still happens, unless retries are
    /// off altogether now; the count never stands above the new limit.
    pub(super) fn on_spec_changed(&mut self, phase: Phase, launch: LaunchChange) -> Phase {
        if self.r.removed {
            self.r.removed = false;
            self.r.note = None;
        }
        self.r.retry_count = self.r.retry_count.min(self.spec.retry.max_retries);
        match phase {
            Phase::Starting(Starting { attempt, .. }) if self.restarts(launch) => {
                self.end_with(attempt, None, reloaded(), After::Start, false)
            }
            Phase::Starting(starting) => {
                self.mark(launch);
                Phase::Starting(starting)
            }
            Phase::Running(Running { attempt, process, .. }) if self.restarts(launch) => {
                self.end_with(attempt, Some(process), reloaded(), After::Start, false)
            }
            Phase::Running(running) => {
                self.mark(launch);
                let health = self.spec.health.as_ref().map(|_| running.health.unwrap_or_default());
                let running = Running { health, ..running };
                self.look_after(&running);
                Phase::Running(running)
            }
            Phase::Sweeping(Sweeping { attempt, next: Next::At(due), stuck }) => {
                let next = match self.still_wanted(&due) {
                    Ok(()) => Next::At(due),
                    Err(rest) => Next::Rest(rest),
                };
                Phase::Sweeping(Sweeping { attempt, next, stuck })
            }
            Phase::Idle | Phase::Resting(_) | Phase::Ending(_) | Phase::Sweeping(_) => phase,
            Phase::Pending(due) => match self.still_wanted(&due) {
                Ok(()) => Phase::Pending(due),
                Err(rest) => self.settle(rest),
            },
        }
    }

    fn restarts(&self, launch: LaunchChange) -> bool {
        launch == LaunchChange::Differs && self.spec.reload == Reload::Restart
    }

    fn mark(&mut self, launch: LaunchChange) {
        let note = match launch {
            LaunchChange::Same => None,
            LaunchChange::Differs => Some(STALE.to_owned()),
        };
        if note.is_some() && note != self.r.note {
            self.info(STALE.into());
        }
        self.r.note = note;
    }

    /// Whether the policy of today still wants a start that an earlier one granted; if not, what the runner is.
    fn still_wanted(&mut self, due: &Due) -> Result<(), Rest> {
        match due.why {
            Why::Retry { .. } if self.retries_are_off() => {
                self.tell_cancelled(&due.why);
                Err(Rest::Crashed { exhausted: false })
            }
            Why::Again if self.spec.restart != RestartPolicy::Always => {
                self.tell_cancelled(&due.why);
                Err(Rest::Completed)
            }
            Why::Retry { .. } | Why::Again | Why::Wait { .. } => Ok(()),
        }
    }

    pub(super) fn on_removed(&mut self, phase: Phase) -> Phase {
        self.r.removed = true;
        self.r.note = Some(REMOVED.into());
        match phase {
            Phase::Idle | Phase::Resting(_) => {
                self.forget();
                phase
            }
            Phase::Pending(due) => {
                self.tell_cancelled(&due.why);
                self.settle(Rest::Stopped)
            }
            Phase::Ending(Ending { after: After::Start, attempt, process, since, outcome, kill, stuck }) => {
                Phase::Ending(Ending { after: After::Stop, attempt, process, since, outcome, kill, stuck })
            }
            Phase::Sweeping(sweeping) => {
                let next = self.cancelled(sweeping.next);
                Phase::Sweeping(Sweeping { next, ..sweeping })
            }
            Phase::Starting(_) | Phase::Running(_) | Phase::Ending(_) => phase,
        }
    }

    /// Makes what we believe and what the executor has agree. Exits that nobody had taken were handled before this.
    pub(super) fn on_inventory(
        &mut self,
        phase: Phase,
        found: Option<Found>,
        first: bool,
        output: &OutputMatch,
    ) -> Phase {
        match phase {
            Phase::Starting(starting) => self.reconcile_starting(starting, found, first),
            Phase::Running(running) => match found {
                Some(found) if found.attempt == running.attempt && found.main_ended => {
                    let next = self.ended_by_itself(running.attempt, unseen(self.ctx.now.mono));
                    sweep(running.attempt, next, found.stuck)
                }
                Some(found) if !found.main_ended => {
                    let health = running.health.filter(|_| found.attempt == running.attempt);
                    self.adopt(found, health, first)
                }
                Some(_) | None => {
                    let next = self.ended_by_itself(running.attempt, unseen(self.ctx.now.mono));
                    self.proceed(next, output)
                }
            },
            Phase::Ending(ending) => self.reconcile_ending(ending, found, output),
            Phase::Sweeping(sweeping) => match found {
                Some(found) if found.attempt == sweeping.attempt => {
                    Phase::Sweeping(Sweeping { stuck: found.stuck, ..sweeping })
                }
                Some(_) | None => self.proceed(sweeping.next, output),
            },
            Phase::Resting(Rest::Stopped) => match found {
                Some(found) if !found.main_ended => {
                    // It was to be stopped, and lives.
                    self.r.attempt = self.r.attempt.max(Some(found.attempt));
                    self.end_with(found.attempt, Some(found.process), stopped(), After::Stop, false)
                }
                Some(_) | None => phase,
            },
            Phase::Idle | Phase::Resting(Rest::Crashed { .. } | Rest::Completed) => match found {
                Some(found) if !found.main_ended => self.adopt(found, None, first),
                Some(_) | None => phase,
            },
            Phase::Pending(due) => match found {
                Some(found) if !found.main_ended => self.adopt(found, None, first),
                Some(_) | None => self.pend(due),
            },
        }
    }

    fn reconcile_starting(&mut self, starting: Starting, found: Option<Found>, first: bool) -> Phase {
        match found {
            Some(found) if !found.main_ended => self.adopt(found, None, first),
            Some(found) if found.attempt == starting.attempt => {
                let next = self.ended_by_itself(found.attempt, unseen(self.ctx.now.mono));
                sweep(found.attempt, next, found.stuck)
            }
            Some(_) => self.on_spawn_failed(
                Phase::Starting(starting.clone()),
                starting.attempt,
                Failure::Busy,
                String::new(),
            ),
            None => self.ask_again(starting),
        }
    }

    /// The intent was written and nothing came of it: the same spawn again.
    fn ask_again(&mut self, starting: Starting) -> Phase {
        if self.r.removed {
            return self.settle(Rest::Stopped);
        }
        self.fx.push(Effect::Spawn);
        Phase::Starting(starting)
    }

    fn reconcile_ending(&mut self, ending: Ending, found: Option<Found>, output: &OutputMatch) -> Phase {
        match found {
            Some(found) if found.attempt == ending.attempt && !found.main_ended => {
                let ending = Ending { process: Some(found.process), stuck: found.stuck, ..ending };
                self.stop_tree(&ending);
                Phase::Ending(ending)
            }
            Some(found) if found.attempt == ending.attempt => {
                let attempt = ending.attempt;
                let next = self.conclude(ending, Some(unseen(self.ctx.now.mono)));
                sweep(attempt, next, found.stuck)
            }
            Some(Found { attempt, main_ended: false, .. }) => {
                self.kill_tree(attempt);
                let next = self.conclude(ending, Some(unseen(self.ctx.now.mono)));
                sweep(attempt, next, Vec::new())
            }
            Some(Found { main_ended: true, .. }) | None => {
                let next = self.conclude(ending, Some(unseen(self.ctx.now.mono)));
                self.proceed(next, output)
            }
        }
    }

    /// Takes over an attempt that lives.
    fn adopt(&mut self, found: Found, health: Option<super::Health>, first: bool) -> Phase {
        let Found { attempt, process, log, .. } = found;
        if self.r.attempt != Some(attempt) || self.r.started.is_none() {
            self.r.started = Some(self.ctx.now);
        }
        self.r.log = Some(log);
        if first {
            self.notice(NoticeKind::Adopted { attempt, pid: process.pid });
        }
        self.run(attempt, process, health)
    }

    /// Nothing lives that was recorded in another boot, or was ended with restage itself. What was live or due starts
    /// again, without a retry being spent; what rested rests.
    pub(super) fn on_rebooted(&mut self, phase: Phase) -> Phase {
        match phase {
            Phase::Idle | Phase::Resting(_) => phase,
            Phase::Starting(starting) => self.ask_again(starting),
            Phase::Running(Running { attempt, .. }) => {
                let detail = "it was running when restage or the machine went down".to_owned();
                let outcome =
                    Outcome { verdict: Verdict::Lost, exit_code: None, signal: None, detail: Some(detail) };
                let now = self.ctx.now.mono;
                self.note_end(attempt, &outcome, now);
                self.begin(None)
            }
            Phase::Ending(ending) => {
                let now = self.ctx.now.mono;
                self.note_end(ending.attempt, &ending.outcome, now);
                match ending.after {
                    After::Stop => self.settle(Rest::Stopped),
                    After::Start => self.begin_fresh(),
                    After::Policy => self.begin(None),
                }
            }
            Phase::Sweeping(sweeping) => match sweeping.next {
                Next::Rest(rest) => self.settle(rest),
                Next::Start => self.begin_fresh(),
                Next::At(_) | Next::Decide { .. } => self.begin(None),
            },
            Phase::Pending(_) => self.begin(None),
        }
    }
}

fn stopped() -> Outcome {
    Outcome { verdict: Verdict::Stopped, exit_code: None, signal: None, detail: None }
}

fn reloaded() -> Outcome {
    let detail = Some("its command changed in the config, and `reload` is `restart`".to_owned());
    Outcome { detail, ..stopped() }
}
