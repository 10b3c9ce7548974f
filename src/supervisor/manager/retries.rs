//! `retry_log_dir`: what is said of attempts and backoffs, handed to the thread that keeps a file a runner of it.

use std::sync::Arc;

use super::roster::Id;
use super::{Input, RunnerManager};
use crate::domain::view::NoticeKind;
use crate::supervisor::retry_log::{AttemptEntry, RetryLog};

impl RunnerManager {
    /// As the config says now; the log of before, where there is one, is written to its end.
    pub(super) fn open_retry_log(&mut self) {
        self.retry_log = None;
        let Some(dir) = self.workspace.retry_log_dir.clone() else { return };
        let own = self.own.clone();
        let trouble = move |text| {
            // The receiver is gone only during shutdown.
            own.send(Input::Trouble(text)).ok();
        };
        match RetryLog::start(dir, Arc::clone(&self.clock), trouble) {
            Ok(log) => self.retry_log = Some(log),
            Err(error) => self.warn(None, format!("the retry logs are not written: {error}")),
        }
    }

    pub(super) fn log_retry(&self, id: Id, what: &NoticeKind) {
        let (Some(log), Some(entry)) = (&self.retry_log, self.roster.get(id)) else { return };
        let last = entry.runner.history.last();
        let note = match what {
            NoticeKind::Started { attempt, .. } => AttemptEntry {
                started_at: entry.runner.started.map(|started| started.wall),
                ..AttemptEntry::new(*attempt)
            },
            NoticeKind::Ended { attempt, outcome } => AttemptEntry {
                started_at: last.and_then(|last| last.started_at),
                ended_at: last.and_then(|last| last.ended_at),
                verdict: Some(outcome.verdict),
                exit_code: outcome.exit_code,
                signal: outcome.signal,
                detail: outcome.detail.clone(),
                ..AttemptEntry::new(*attempt)
            },
            NoticeKind::Retrying { retry, delay_seconds, .. } => {
                let Some(last) = last else { return };
                AttemptEntry {
                    backoff_seconds: Some(*delay_seconds),
                    retry: Some(*retry),
                    ..AttemptEntry::new(last.attempt)
                }
            }
            NoticeKind::Adopted { .. }
            | NoticeKind::Ready
            | NoticeKind::Ending { .. }
            | NoticeKind::Waiting { .. }
            | NoticeKind::RetryCancelled
            | NoticeKind::Exhausted { .. }
            | NoticeKind::GaveUp { .. }
            | NoticeKind::Recovered { .. }
            | NoticeKind::Stuck { .. }
            | NoticeKind::Removed
            | NoticeKind::Warning { .. }
            | NoticeKind::Info { .. } => return,
        };
        log.note(entry.spec.name.clone(), note);
    }
}
