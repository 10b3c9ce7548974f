//! Between the machine's [`Runner`] and the flat [`RunnerState`] on disk. Reading is tolerant: whatever a record
//! lacks is taken as the most cautious thing that fits, because the executor's inventory corrects it anyway.

use std::time::Duration;

use super::history;
use super::state::{EndingState, NextWord, RunnerState};
use super::{
    After, Due, Ended, Ending, Health, Next, OVER_BUDGET, Phase, Rest, Runner, Running, Starting, Sweeping,
    Why,
};
use crate::domain::ids::{Attempt, Process};
use crate::domain::spec::RunnerSpec;
use crate::domain::time::{Mono, Now};
use crate::domain::verdict::{Outcome, Verdict};
use crate::domain::view::RunnerStatus;

impl Runner {
    /// What is to be recorded of it.
    pub fn to_state(&self, spec: &RunnerSpec, now: &Now) -> RunnerState {
        let last = self.last.as_ref();
        let outcome = last.map(|last| &last.outcome);
        let mut state = RunnerState {
            status: self.status(),
            started_at: self.started.map(|started| started.wall),
            started_mono_ns: self.started.map(|started| started.mono),
            exit_code: outcome.and_then(|outcome| outcome.exit_code),
            signal: outcome.and_then(|outcome| outcome.signal),
            verdict: outcome.map(|outcome| outcome.verdict),
            detail: outcome.and_then(|outcome| outcome.detail.clone()),
            ended_at: last.map(|last| last.at),
            retry_count: self.retry_count,
            max_retries: spec.retry.max_retries,
            last_retry_at: self.last_retry_at,
            attempt: self.live_attempt().or(self.attempt),
            log: self.log.clone(),
            launch_fingerprint: self.launch,
            exit_seq: self.exit_seq,
            removed: self.removed,
            note: self.note.clone(),
            stop_signal: Some(spec.stop.signal),
            stop_grace_seconds: Some(spec.stop.grace.as_secs_f64()),
            history: history::recorded(&self.history),
            ..RunnerState::new(spec.name.clone())
        };
        match &self.phase {
            Phase::Idle | Phase::Resting(Rest::Stopped | Rest::Completed) => {}
            Phase::Resting(Rest::Crashed { exhausted }) => state.exhausted = *exhausted,
            Phase::Starting(starting) => state.waiting.clone_from(&starting.waited),
            Phase::Running(running) => {
                state.set_process(Some(running.process));
                state.ready = running.health.map(|health| health.ready_since.is_some());
                state.ready_since_mono_ns = running.health.and_then(|health| health.ready_since);
            }
            Phase::Ending(ending) => {
                state.set_process(ending.process);
                state.ending = Some(EndingState {
                    outcome: ending.outcome.clone(),
                    since_mono_ns: ending.since,
                    kill: ending.kill,
                });
                state.next = Some(match ending.after {
                    After::Stop => NextWord::Stopped,
                    After::Start => NextWord::Start,
                    After::Policy => NextWord::Decide,
                });
                state.stuck_pids.clone_from(&ending.stuck);
            }
            Phase::Sweeping(sweeping) => {
                state.sweeping = true;
                state.stuck_pids.clone_from(&sweeping.stuck);
                match &sweeping.next {
                    Next::Rest(Rest::Stopped) => state.next = Some(NextWord::Stopped),
                    Next::Rest(Rest::Completed) => state.next = Some(NextWord::Completed),
                    Next::Rest(Rest::Crashed { exhausted }) => {
                        state.next = Some(NextWord::Crashed);
                        state.exhausted = *exhausted;
                    }
                    Next::Start => state.next = Some(NextWord::Start),
                    Next::At(due) => state.set_due(due, now),
                    Next::Decide { ended, disk_full } => {
                        state.next = Some(NextWord::Decide);
                        state.ended_mono_ns = Some(*ended);
                        state.disk_full = *disk_full;
                    }
                }
            }
            Phase::Pending(due) => state.set_due(due, now),
        }
        state
    }

    /// The runner of a record. Its pids and monotonic times mean something only within the same boot; after another
    /// one the next event has to be [`super::Event::Rebooted`].
    pub fn from_state(state: &RunnerState, now: &Now) -> Self {
        let phase = phase_of(state, now);
        let attempt = match (&phase, state.attempt) {
            // The number is not used up before the spawn has had an answer.
            (Phase::Starting(starting), _) => Attempt::new(starting.attempt.get() - 1),
            (_, attempt) => attempt,
        };
        let last = state.verdict.map(|verdict| Ended {
            outcome: Outcome {
                verdict,
                exit_code: state.exit_code,
                signal: state.signal,
                detail: state.detail.clone(),
            },
            at: state.ended_at.unwrap_or(now.wall),
        });
        Self {
            attempt,
            retry_count: state.retry_count,
            last_retry_at: state.last_retry_at,
            exit_seq: state.exit_seq,
            started: state
                .started_at
                .map(|wall| Now { wall, mono: state.started_mono_ns.unwrap_or_else(|| mono_at(wall, now)) }),
            log: state.log.clone(),
            launch: state.launch_fingerprint,
            last,
            history: state.history.clone(),
            removed: state.removed,
            note: state.note.clone(),
            epoch: 0,
            phase,
        }
    }
}

fn phase_of(state: &RunnerState, now: &Now) -> Phase {
    let attempt = state.attempt.unwrap_or(Attempt::FIRST);
    if state.sweeping {
        let next = next_of(state, now);
        return Phase::Sweeping(Sweeping { attempt, next, stuck: state.stuck_pids.clone() });
    }
    if let Some(ending) = &state.ending {
        return ending_of(state, attempt, ending.outcome.clone(), ending.since_mono_ns, ending.kill);
    }
    match state.status {
        RunnerStatus::Idle => Phase::Idle,
        RunnerStatus::Starting => Phase::Starting(Starting { attempt, waited: state.waiting.clone() }),
        RunnerStatus::Running => Phase::Running(Running {
            attempt,
            process: state.process().unwrap_or(Process { pid: 0, start: 0 }),
            health: state.ready.map(|_| Health { ready_since: state.ready_since_mono_ns, failures: 0 }),
        }),
        RunnerStatus::Stopping | RunnerStatus::Stuck => {
            let stopped = Outcome { verdict: Verdict::Stopped, exit_code: None, signal: None, detail: None };
            ending_of(state, attempt, stopped, now.mono, false)
        }
        RunnerStatus::Backoff => Phase::Pending(due_of(state, now)),
        RunnerStatus::Stopped => Phase::Resting(Rest::Stopped),
        RunnerStatus::Crashed => Phase::Resting(Rest::Crashed { exhausted: state.exhausted }),
        RunnerStatus::Completed => Phase::Resting(Rest::Completed),
    }
}

fn ending_of(state: &RunnerState, attempt: Attempt, outcome: Outcome, since: Mono, kill: bool) -> Phase {
    let after = match state.next {
        Some(NextWord::Start) => After::Start,
        Some(NextWord::Decide) => After::Policy,
        Some(
            NextWord::Stopped
            | NextWord::Crashed
            | NextWord::Completed
            | NextWord::Retry
            | NextWord::Again
            | NextWord::Wait,
        )
        | None => After::Stop,
    };
    let stuck = state.stuck_pids.clone();
    Phase::Ending(Ending { attempt, process: state.process(), since, outcome, after, kill, stuck })
}

fn next_of(state: &RunnerState, now: &Now) -> Next {
    match state.next {
        Some(NextWord::Stopped) | None => Next::Rest(Rest::Stopped),
        Some(NextWord::Crashed) => Next::Rest(Rest::Crashed { exhausted: state.exhausted }),
        Some(NextWord::Completed) => Next::Rest(Rest::Completed),
        Some(NextWord::Start) => Next::Start,
        Some(NextWord::Decide) => {
            Next::Decide { ended: state.ended_mono_ns.unwrap_or(now.mono), disk_full: state.disk_full }
        }
        Some(NextWord::Retry | NextWord::Again | NextWord::Wait) => Next::At(due_of(state, now)),
    }
}

fn due_of(state: &RunnerState, now: &Now) -> Due {
    let until = state
        .next_retry_mono_ns
        .or_else(|| state.next_retry_at.map(|wall| mono_at(wall, now)))
        .unwrap_or(now.mono);
    let why = match state.next {
        Some(NextWord::Again) => Why::Again,
        Some(NextWord::Wait) => Why::Wait { reason: state.waiting.clone().unwrap_or_default() },
        Some(
            NextWord::Stopped
            | NextWord::Crashed
            | NextWord::Completed
            | NextWord::Decide
            | NextWord::Start
            | NextWord::Retry,
        )
        | None => Why::Retry { over_budget: state.waiting.is_some() },
    };
    Due { until, why }
}

/// Where the monotonic clock stood, or will stand, at a time of the wall clock.
fn mono_at(wall: jiff::Timestamp, now: &Now) -> Mono {
    let ahead = wall.duration_since(now.wall);
    match Duration::try_from(ahead) {
        Ok(ahead) => now.mono.plus(ahead),
        Err(_) => Mono::from_nanos(
            now.mono.as_nanos().saturating_sub(u64::try_from(ahead.abs().as_nanos()).unwrap_or(u64::MAX)),
        ),
    }
}

impl RunnerState {
    /// Who its main process is, or was when this was recorded.
    pub fn process(&self) -> Option<Process> {
        self.pid.map(|pid| Process { pid, start: self.process_start.unwrap_or(0) })
    }

    fn set_process(&mut self, process: Option<Process>) {
        self.pid = process.map(|process| process.pid);
        self.process_start = process.map(|process| process.start);
    }

    fn set_due(&mut self, due: &Due, now: &Now) {
        self.next_retry_mono_ns = Some(due.until);
        self.next_retry_at = Some(now.wall_at(due.until));
        (self.next, self.waiting) = match &due.why {
            Why::Retry { over_budget } => {
                (Some(NextWord::Retry), over_budget.then(|| OVER_BUDGET.to_owned()))
            }
            Why::Again => (Some(NextWord::Again), None),
            Why::Wait { reason } => (Some(NextWord::Wait), Some(reason.clone())),
        };
    }
}
