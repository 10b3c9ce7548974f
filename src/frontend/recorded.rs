//! What was recorded of a runner, as a client sees it when nobody supervises. Pure. Nothing lives then: what was alive
//! at the last record is shown as stopped, with a word about what it was.

use crate::domain::runner::state::RunnerState;
use crate::domain::verdict::Outcome;
use crate::domain::view::{RunnerStatus, RunnerView};

pub fn view(state: &RunnerState, group: Option<String>) -> RunnerView {
    let was_live = state.status.is_live();
    let outcome = state.verdict.map(|verdict| Outcome {
        verdict,
        exit_code: state.exit_code,
        signal: state.signal,
        detail: state.detail.clone(),
    });
    let waiting = was_live.then(|| format!("it was {} when its supervisor went away", state.status));
    // The outcome of a live one is that of the attempt before it, which is in the history.
    let ended = !was_live || state.status == RunnerStatus::Backoff;
    RunnerView {
        name: state.runner_id.clone(),
        group,
        status: if was_live { RunnerStatus::Stopped } else { state.status },
        exhausted: state.exhausted && !was_live,
        ready: None,
        pid: None,
        attempt: state.attempt,
        retry_count: state.retry_count,
        max_retries: state.max_retries,
        next_retry_at: None,
        outcome: outcome.filter(|_| ended),
        started_at: state.started_at,
        ended_at: state.ended_at.filter(|_| ended),
        log: state.log.clone(),
        waiting,
        note: state.note.clone(),
        activity_timeout_seconds: None,
        timeout_seconds: None,
        attempts: state.history.clone(),
        figures: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::RunnerName;
    use crate::domain::verdict::Verdict;

    fn state(status: RunnerStatus) -> RunnerState {
        RunnerState {
            status,
            pid: Some(7),
            verdict: Some(Verdict::Exit),
            exit_code: Some(3),
            exhausted: status == RunnerStatus::Crashed,
            ..RunnerState::new(RunnerName::trusted("a"))
        }
    }

    #[test]
    fn what_ended_is_shown_as_it_ended() {
        let view = view(&state(RunnerStatus::Crashed), Some("g".into()));
        assert_eq!((view.status, view.exhausted, view.pid), (RunnerStatus::Crashed, true, None));
        assert_eq!(view.outcome.unwrap().exit_code, Some(3));
        assert_eq!((view.group.as_deref(), view.note), (Some("g"), None));
        assert_eq!(view.waiting, None);
    }

    #[test]
    fn what_lived_is_never_shown_as_alive() {
        for status in [RunnerStatus::Running, RunnerStatus::Backoff, RunnerStatus::Stuck] {
            let view = view(&state(status), None);
            assert_eq!((view.status, view.pid), (RunnerStatus::Stopped, None));
            assert!(view.waiting.unwrap().starts_with(&format!("it was {status} when")));
            assert_eq!(view.outcome.is_some(), status == RunnerStatus::Backoff);
        }
    }
}
