//! What the executor tells of the processes: spawned, failed, exited, gone, stuck.

use super::event::{Effect, Failure};
use super::moves::Machine;
use super::{After, Ending, Next, Phase, Rest, Running, Starting, Sweeping, Why};
use crate::domain::ids::{Attempt, Process};
use crate::domain::retry::OutputMatch;
use crate::domain::time::Mono;
use crate::domain::verdict::{ExitStatus, Outcome, Verdict};
use crate::domain::view::NoticeKind;

/// How a main process ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exit {
    pub(super) status: ExitStatus,
    pub(super) at: Mono,
    pub(super) disk_full: bool,
}

impl Machine<'_> {
    pub(super) fn on_spawned(&mut self, phase: Phase, attempt: Attempt, process: Process) -> Phase {
        match phase {
            Phase::Starting(starting) if starting.attempt == attempt => {
                self.r.started = Some(self.ctx.now);
                self.notice(NoticeKind::Started { attempt, pid: process.pid });
                self.run(attempt, process, None)
            }
            Phase::Ending(ending) if ending.attempt == attempt && ending.process.is_none() => {
                self.r.started = Some(self.ctx.now);
                self.r.attempt = Some(attempt);
                self.notice(NoticeKind::Started { attempt, pid: process.pid });
                let ending = Ending { process: Some(process), ..ending };
                self.stop_tree(&ending);
                Phase::Ending(ending)
            }
            Phase::Idle
            | Phase::Starting(_)
            | Phase::Running(_)
            | Phase::Ending(_)
            | Phase::Sweeping(_)
            | Phase::Pending(_)
            | Phase::Resting(_) => {
                // Nobody waits for this one. If it is none that we know, it must not live beside the next.
                if Some(attempt) > self.r.attempt {
                    self.r.attempt = Some(attempt);
                    self.kill_tree(attempt);
                }
                phase
            }
        }
    }

    pub(super) fn on_spawn_failed(
        &mut self,
        phase: Phase,
        attempt: Attempt,
        failure: Failure,
        message: String,
    ) -> Phase {
        match phase {
            Phase::Starting(Starting { attempt: expected, waited }) if expected == attempt => match failure {
                Failure::Resource => self.wait(message, waited.as_ref()),
                Failure::Busy => {
                    self.wait("something of an earlier attempt still lives".into(), waited.as_ref())
                }
                Failure::Broken => {
                    let outcome = Outcome {
                        verdict: Verdict::SpawnFailed,
                        exit_code: None,
                        signal: None,
                        detail: Some(message),
                    };
                    let now = self.ctx.now.mono;
                    self.note_end(attempt, &outcome, now);
                    let next = self.decide(now, false, &OutputMatch::None);
                    self.proceed(next, &OutputMatch::None)
                }
            },
            Phase::Ending(ending) if ending.attempt == attempt && ending.process.is_none() => {
                let next = self.conclude(ending, None);
                self.proceed(next, &OutputMatch::None)
            }
            Phase::Idle
            | Phase::Starting(_)
            | Phase::Running(_)
            | Phase::Ending(_)
            | Phase::Sweeping(_)
            | Phase::Pending(_)
            | Phase::Resting(_) => phase,
        }
    }

    pub(super) fn on_exited(&mut self, phase: Phase, attempt: Attempt, seq: u64, exit: Exit) -> Phase {
        self.r.exit_seq = self.r.exit_seq.max(seq);
        self.fx.push(Effect::Ack(seq));
        self.exited(phase, attempt, exit)
    }

    /// Without an acknowledgement: also for ends that nobody saw.
    pub(super) fn exited(&mut self, phase: Phase, attempt: Attempt, exit: Exit) -> Phase {
        match phase {
            Phase::Starting(Starting { attempt: current, .. })
            | Phase::Running(Running { attempt: current, .. })
                if current == attempt =>
            {
                let next = self.ended_by_itself(attempt, exit);
                sweep(attempt, next, Vec::new())
            }
            Phase::Ending(ending) if ending.attempt == attempt => {
                let stuck = ending.stuck.clone();
                let next = self.conclude(ending, Some(exit));
                sweep(attempt, next, stuck)
            }
            Phase::Idle
            | Phase::Starting(_)
            | Phase::Running(_)
            | Phase::Ending(_)
            | Phase::Sweeping(_)
            | Phase::Pending(_)
            | Phase::Resting(_) => {
                // Taken already, or from a life of which the record is lost: its number is not used again.
                if matches!(phase, Phase::Idle | Phase::Resting(_)) {
                    self.r.attempt = self.r.attempt.max(Some(attempt));
                }
                phase
            }
        }
    }

    pub(super) fn ended_by_itself(&mut self, attempt: Attempt, exit: Exit) -> Next {
        self.fx.push(Effect::Unwatch);
        self.fx.push(Effect::StopHealth);
        let ended = exit.at.min(self.ctx.now.mono);
        let outcome = self.natural_outcome(exit.status);
        self.note_end(attempt, &outcome, ended);
        self.next_by_policy(outcome.verdict, ended, exit.disk_full)
    }

    fn next_by_policy(&mut self, verdict: Verdict, ended: Mono, disk_full: bool) -> Next {
        let policy = &self.spec.retry;
        let reads_output = !policy.on_output.is_empty() || !policy.not_on_output.is_empty();
        if reads_output && verdict != Verdict::Completed {
            Next::Decide { ended, disk_full }
        } else {
            self.decide(ended, disk_full, &OutputMatch::None)
        }
    }

    /// The end of an attempt that was to be ended. An exit that was seen before that was decided keeps its own
    /// verdict; any other gets the one that was fixed then. `None`: there never was a process.
    pub(super) fn conclude(&mut self, ending: Ending, exit: Option<Exit>) -> Next {
        let now = self.ctx.now.mono;
        let ended = exit.map_or(now, |exit| exit.at.min(now));
        let outcome = match exit {
            Some(Exit { status: ExitStatus::Unknown, .. }) | None => ending.outcome,
            Some(exit) if exit.at < ending.since => self.natural_outcome(exit.status),
            Some(exit) => {
                let natural = self.natural_outcome(exit.status);
                Outcome { exit_code: natural.exit_code, signal: natural.signal, ..ending.outcome }
            }
        };
        self.note_end(ending.attempt, &outcome, ended);
        match ending.after {
            After::Stop if outcome.verdict == Verdict::Completed => Next::Rest(Rest::Completed),
            After::Stop => Next::Rest(Rest::Stopped),
            After::Start => Next::Start,
            After::Policy => {
                self.next_by_policy(outcome.verdict, ended, exit.is_some_and(|exit| exit.disk_full))
            }
        }
    }

    pub(super) fn on_gone(&mut self, phase: Phase, attempt: Attempt, output: &OutputMatch) -> Phase {
        match phase {
            Phase::Sweeping(sweeping) if sweeping.attempt == attempt => self.proceed(sweeping.next, output),
            Phase::Running(running) if running.attempt == attempt => {
                let next = self.ended_by_itself(attempt, unseen(self.ctx.now.mono));
                self.proceed(next, output)
            }
            Phase::Ending(ending) if ending.attempt == attempt => {
                let next = self.conclude(ending, Some(unseen(self.ctx.now.mono)));
                self.proceed(next, output)
            }
            // The earlier attempt that was in the way is out of it.
            Phase::Pending(due) if matches!(due.why, Why::Wait { .. }) => self.begin_due(due),
            Phase::Idle
            | Phase::Starting(_)
            | Phase::Running(_)
            | Phase::Ending(_)
            | Phase::Sweeping(_)
            | Phase::Pending(_)
            | Phase::Resting(_) => phase,
        }
    }

    pub(super) fn on_stuck(&mut self, phase: Phase, attempt: Attempt, pids: Vec<i32>) -> Phase {
        match phase {
            Phase::Ending(ending) if ending.attempt == attempt => {
                self.tell_stuck(&ending.stuck, &pids);
                Phase::Ending(Ending { stuck: pids, ..ending })
            }
            Phase::Sweeping(sweeping) if sweeping.attempt == attempt => {
                self.tell_stuck(&sweeping.stuck, &pids);
                Phase::Sweeping(Sweeping { stuck: pids, ..sweeping })
            }
            Phase::Idle
            | Phase::Starting(_)
            | Phase::Running(_)
            | Phase::Ending(_)
            | Phase::Sweeping(_)
            | Phase::Pending(_)
            | Phase::Resting(_) => phase,
        }
    }

    fn tell_stuck(&mut self, before: &[i32], pids: &[i32]) {
        if !pids.is_empty() && before != pids {
            self.notice(NoticeKind::Stuck { pids: pids.to_vec() });
        }
    }
}

pub(super) fn sweep(attempt: Attempt, next: Next, stuck: Vec<i32>) -> Phase {
    Phase::Sweeping(Sweeping { attempt, next, stuck })
}

/// An end of which nobody can tell more than that it happened.
pub(super) fn unseen(now: Mono) -> Exit {
    Exit { status: ExitStatus::Unknown, at: now, disk_full: false }
}
