//! Logs with a `log_max_bytes`, for as long as something of their attempt lives; and logs that somebody truncated.

use super::super::log_bounds::{LogBounds, LogTrouble};
use super::roster::Id;
use super::{Input, RunnerManager};
use crate::domain::ids::RunnerName;

impl RunnerManager {
    /// Makes what is watched agree with what lives and with the config of today.
    pub(super) fn bound_log(&mut self, id: Id) {
        let Some(entry) = self.roster.get_mut(id) else { return };
        let wanted = match (entry.spec.log.max_bytes, entry.runner.live_attempt(), &entry.runner.log) {
            (Some(max), Some(_), Some(log)) => Some((log.clone(), max)),
            (None, ..) | (_, None, _) | (.., None) => None,
        };
        if wanted == entry.bounded {
            return;
        }
        let runner = entry.spec.name.clone();
        entry.bounded.clone_from(&wanted);
        let own = self.own.clone();
        let bounds = self.bounds.get_or_insert_with(|| {
            LogBounds::start(move |runner, trouble| {
                // The receiver is gone only during shutdown.
                own.send(Input::LogTrouble { runner, trouble }).ok();
            })
        });
        match wanted {
            Some((log, max)) => bounds.watch(runner, log, max),
            None => bounds.forget(runner),
        }
    }

    pub(super) fn on_log_trouble(&mut self, runner: RunnerName, trouble: &LogTrouble) {
        let text = match trouble {
            LogTrouble::Shrunk { from, to } => {
                if let Some(entry) = self.roster.find(&runner).and_then(|id| self.roster.get_mut(id)) {
                    entry.log_was_cut = true;
                }
                format!(
                    "its log shrank from {from} to {to} bytes: something truncated it, perhaps the command itself by \
                     opening /dev/stdout anew; from its next attempt on it prints through a pipe"
                )
            }
            LogTrouble::Unbounded => {
                "log_max_bytes cannot be kept: the file system of its log cannot free the middle \
                                      of a file; a log folder on another one would do"
                    .to_owned()
            }
            LogTrouble::Failed { message } => message.clone(),
        };
        self.warn(Some(runner), text);
    }
}
