//! The runner as clients see it.

use super::{ALWAYS, Due, Ending, Next, OVER_BUDGET, Phase, Rest, Runner, Sweeping, Why};
use crate::domain::ids::Process;
use crate::domain::spec::RunnerSpec;
use crate::domain::time::Now;
use crate::domain::view::{AttemptView, RunnerStatus, RunnerView};

impl Runner {
    pub fn status(&self) -> RunnerStatus {
        match &self.phase {
            Phase::Idle => RunnerStatus::Idle,
            Phase::Starting(_) => RunnerStatus::Starting,
            Phase::Running(_) => RunnerStatus::Running,
            Phase::Ending(Ending { stuck, .. }) | Phase::Sweeping(Sweeping { stuck, .. })
                if !stuck.is_empty() =>
            {
                RunnerStatus::Stuck
            }
            Phase::Sweeping(Sweeping { next: Next::At(_), .. }) | Phase::Pending(_) => RunnerStatus::Backoff,
            Phase::Ending(_) | Phase::Sweeping(_) => RunnerStatus::Stopping,
            Phase::Resting(Rest::Stopped) => RunnerStatus::Stopped,
            Phase::Resting(Rest::Crashed { .. }) => RunnerStatus::Crashed,
            Phase::Resting(Rest::Completed) => RunnerStatus::Completed,
        }
    }

    pub fn to_view(&self, spec: &RunnerSpec, now: &Now) -> RunnerView {
        let current = self.live_attempt().filter(|_| !matches!(self.phase, Phase::Sweeping(_)));
        let last = self.last.as_ref().filter(|_| current.is_none());
        let mut attempts = Vec::with_capacity(self.history.len() + usize::from(current.is_some()));
        attempts.extend_from_slice(&self.history);
        attempts.extend(current.map(|attempt| AttemptView {
            attempt,
            started_at: self.started.map(|started| started.wall),
            ended_at: None,
            outcome: None,
        }));
        RunnerView {
            name: spec.name.clone(),
            group: spec.group.clone(),
            status: self.status(),
            exhausted: matches!(self.phase, Phase::Resting(Rest::Crashed { exhausted: true })),
            ready: self.ready(spec),
            pid: self.pid(),
            attempt: current.or(self.attempt),
            retry_count: self.retry_count,
            max_retries: spec.retry.max_retries,
            next_retry_at: self.due().map(|due| now.wall_at(due.until)),
            outcome: last.map(|last| last.outcome.clone()),
            started_at: self.started.map(|started| started.wall),
            ended_at: last.map(|last| last.at),
            log: self.log.clone(),
            waiting: self.waiting(),
            note: self.note.clone(),
            activity_timeout_seconds: spec.activity.as_ref().map(|activity| activity.timeout.as_secs_f64()),
            timeout_seconds: spec.timeout.map(|limit| limit.as_secs_f64()),
            attempts,
            figures: None,
        }
    }

    fn ready(&self, spec: &RunnerSpec) -> Option<bool> {
        spec.health.as_ref()?;
        match &self.phase {
            Phase::Running(running) => {
                Some(running.health.is_some_and(|health| health.ready_since.is_some()))
            }
            Phase::Idle
            | Phase::Starting(_)
            | Phase::Ending(_)
            | Phase::Sweeping(_)
            | Phase::Pending(_)
            | Phase::Resting(_) => Some(false),
        }
    }

    /// While it lives.
    pub fn main_process(&self) -> Option<Process> {
        match &self.phase {
            Phase::Running(running) => Some(running.process),
            Phase::Ending(ending) => ending.process,
            Phase::Idle | Phase::Starting(_) | Phase::Sweeping(_) | Phase::Pending(_) | Phase::Resting(_) => {
                None
            }
        }
    }

    /// Of the main process, while it lives.
    pub fn pid(&self) -> Option<i32> {
        self.main_process().map(|process| process.pid).filter(|pid| *pid > 0)
    }

    /// What does not die of an attempt that is being ended.
    pub fn stuck(&self) -> &[i32] {
        match &self.phase {
            Phase::Ending(ending) => &ending.stuck,
            Phase::Sweeping(sweeping) => &sweeping.stuck,
            Phase::Idle | Phase::Starting(_) | Phase::Running(_) | Phase::Pending(_) | Phase::Resting(_) => {
                &[]
            }
        }
    }

    fn due(&self) -> Option<&Due> {
        match &self.phase {
            Phase::Pending(due) | Phase::Sweeping(Sweeping { next: Next::At(due), .. }) => Some(due),
            Phase::Idle
            | Phase::Starting(_)
            | Phase::Running(_)
            | Phase::Ending(_)
            | Phase::Sweeping(_)
            | Phase::Resting(_) => None,
        }
    }

    fn waiting(&self) -> Option<String> {
        match &self.phase {
            Phase::Ending(Ending { attempt, stuck, .. })
            | Phase::Sweeping(Sweeping { attempt, stuck, .. })
                if !stuck.is_empty() =>
            {
                Some(format!("processes of attempt {attempt} do not die: {stuck:?}"))
            }
            Phase::Sweeping(Sweeping { attempt, .. }) => {
                Some(format!("what attempt {attempt} left behind is being ended"))
            }
            Phase::Pending(due) => match &due.why {
                Why::Retry { over_budget } => over_budget.then(|| OVER_BUDGET.to_owned()),
                Why::Again => Some(ALWAYS.to_owned()),
                Why::Wait { reason } => Some(reason.clone()),
            },
            Phase::Idle | Phase::Starting(_) | Phase::Running(_) | Phase::Ending(_) | Phase::Resting(_) => {
                None
            }
        }
    }
}
