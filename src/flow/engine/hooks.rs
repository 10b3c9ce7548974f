//! What happens around runs: the commands after one has ended, and the collection of what nobody needs any more.
//!
//! That a command is to be executed is on record with the end of the run, and that it has ended is before its runner is
//! forgotten: whoever comes after a crash finds it among the guests, or starts it.

use super::load::store;
use super::{AGAIN, Engine, Key};
use crate::domain::flow::ask::FlowReply;
use crate::domain::flow::ids::{RunId, StageName};
use crate::domain::flow::news::News;
use crate::domain::flow::record::{HookRecord, RunRecord};
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::spec::FlowSpec;
use crate::domain::flow::status::RunStatus;
use crate::domain::ids::{Attempt, RunnerName};
use crate::domain::spec::RunnerSpec;
use crate::domain::verdict::{Outcome, Verdict};
use crate::flow::beneath::FileError;
use crate::flow::collect::{Collector, Known, YOUNG};
use crate::ports::store::StoreError;
use crate::supervisor::guest::{GuestEnd, GuestOrder};
use crate::supervisor::handle::Busy;

/// A command after a run that is not on record as ended.
#[derive(Debug)]
pub(super) struct OpenHook {
    record: HookRecord,
    /// The record is as the store has it.
    written: bool,
    /// `None`: it cannot be executed.
    guest: Option<Box<RunnerSpec>>,
    /// Keeps the supervisor there.
    _busy: Busy,
}

impl OpenHook {
    pub(super) fn name(&self, run: &RunId) -> RunnerName {
        run.guest(&stage_name(&self.record), None)
    }
}

impl Engine {
    /// The run has come to its end, and so it is on record.
    pub(super) fn run_hook(&mut self, id: &RunId, status: RunStatus) {
        let Some(active) = self.active.get(id) else { return };
        let (spec, error) = (active.run.spec.clone(), active.run.error.clone());
        if let Some(name) = spec.hook(status) {
            self.begin_hook(id, HookRecord::of(name), &spec, status, error);
        }
    }

    /// One that was to be executed when a supervisor died.
    pub(super) fn resume_hook(&mut self, id: &RunId) {
        if self.hooks.contains_key(id) {
            return;
        }
        match self.open_hook(id) {
            Ok(Some((hook, run, spec))) => self.begin_hook(id, hook, &spec, run.status, run.error),
            Ok(None) => {}
            Err(refusal) => {
                tracing::error!(run = %id, error = %refusal, "go on with the command after a run");
                if matches!(refusal, Refusal::Store(_)) {
                    self.hook_later(id);
                }
            }
        }
    }

    fn open_hook(&mut self, id: &RunId) -> Result<Option<(HookRecord, RunRecord, FlowSpec)>, Refusal> {
        let run = self.stored(id)?.record;
        let Some(hook) = run.hook.clone().filter(|hook| hook.ended_at.is_none()) else { return Ok(None) };
        let spec = self.definition(&run)?;
        Ok(Some((hook, run, spec)))
    }

    /// As a guest of the supervisor like any stage. What becomes of it changes nothing of the run.
    fn begin_hook(
        &mut self,
        id: &RunId,
        mut record: HookRecord,
        spec: &FlowSpec,
        status: RunStatus,
        error: Option<String>,
    ) {
        let Some(command) = spec.command(record.name).cloned() else { return };
        let env = [
            ("RESTAGE_RUN_ID", id.to_string()),
            ("RESTAGE_RUN_STATUS", status.to_string()),
            ("RESTAGE_RUN_ERROR", error.unwrap_or_default()),
        ];
        let made = super::runner::hook(id, &stage_name(&record), command, spec, env, &self.runs_dir);
        let written = made.is_ok();
        let guest = made.map(Box::new).map_err(|why| {
            record.verdict = Some(Verdict::SpawnFailed);
            record.error = Some(why);
            record.ended_at = Some(self.clock.now().wall);
        });
        let hook = OpenHook { record, written, guest: guest.ok(), _busy: self.handle.busy() };
        self.hooks.insert(id.clone(), hook);
        self.go_on_with_hook(id);
    }

    /// Starts it, or, where it has ended, writes that down.
    pub(super) fn go_on_with_hook(&mut self, id: &RunId) {
        let Some(hook) = self.hooks.get_mut(id) else { return self.resume_hook(id) };
        if !hook.written {
            if let Err(error) = self.scribe.store().set_hook(id, &hook.record) {
                tracing::error!(run = %id, %error, "write down what became of the command after a run");
                return self.hook_later(id);
            }
            hook.written = true;
        }
        let name = hook.name(id);
        let attempt = Attempt::new(hook.record.number).unwrap_or(Attempt::FIRST);
        match &hook.guest {
            // The supervisor is gone only at the end.
            Some(guest) if hook.record.ended_at.is_none() => {
                self.guests.send(GuestOrder::Launch { spec: guest.clone(), attempt }).ok();
            }
            Some(_) | None => {
                let error = hook.record.error.take();
                let hook = hook.record.name;
                self.hooks.remove(id);
                self.forget_guest(name);
                if let Some(error) = error {
                    self.tell(News::HookFailed { run: id.clone(), hook, error });
                }
            }
        }
    }

    fn hook_later(&mut self, id: &RunId) {
        let at = self.clock.now().mono.plus(AGAIN);
        self.arm(at, Key::Hook(id.clone()));
    }

    /// True: it was a command after a run, and its end is on record before long.
    pub(super) fn hook_ended(&mut self, id: &RunId, end: &GuestEnd) -> bool {
        let Some(hook) = self.hooks.get_mut(id).filter(|hook| hook.name(id) == end.name) else {
            return false;
        };
        let record = &mut hook.record;
        if record.ended_at.is_some() || end.attempt.get() < record.number {
            return true;
        }
        if end.cut {
            record.number = end.attempt.get() + 1;
        } else {
            record.verdict = Some(end.outcome.verdict);
            (record.exit_code, record.signal) = (end.outcome.exit_code, end.outcome.signal);
            record.error = went_wrong(&end.outcome);
            (record.started_at, record.ended_at) = (end.started_at, Some(end.ended_at));
            record.log = end.log.as_ref().map(|log| log.display().to_string());
        }
        hook.written = false;
        self.go_on_with_hook(id);
        true
    }

    pub(super) fn is_open_hook(&self, id: &RunId, name: &RunnerName) -> bool {
        self.hooks.get(id).is_some_and(|hook| hook.name(id) == *name)
    }

    pub(super) fn collect(&mut self, dry_run: bool) -> Result<FlowReply, Refusal> {
        let named = self.named()?;
        let (objects, dirs, now) = (self.objects.clone(), self.dirs.clone(), self.clock.now().wall);
        let collector =
            Collector { objects: &objects, dirs: &dirs, named: &named, now, young: YOUNG, dry_run };
        let collected = collector.collect(|run| self.known(run)).map_err(|error| match error {
            Trouble::Refused(refusal) => refusal,
            Trouble::Files(error) => Refusal::Unusable {
                message: format!("collect what nobody needs: {error}"),
                hint: Some("the rest has been collected; look at that path".into()),
            },
        })?;
        Ok(FlowReply::Collected(collected))
    }

    fn known(&mut self, run: &RunId) -> Result<Known, Trouble> {
        let stored = match self.scribe.store().run(run) {
            Ok(Some(stored)) => stored,
            Ok(None) => return Ok(Known::Gone),
            Err(StoreError::Broken { cause, .. }) => {
                return Ok(Known::Unreadable { why: format!("read {run}: {cause}") });
            }
            Err(error) => return Err(Trouble::Refused(store(&error))),
        };
        if let Some(why) = stored.unreadable {
            return Ok(Known::Unreadable { why: format!("read {run}: {why}") });
        }
        match self.definition(&stored.record) {
            Ok(spec) => Ok(Known::Run { record: Box::new(stored.record), keep_failed: spec.keep_failed }),
            Err(Refusal::Unusable { message, .. }) => Ok(Known::Unreadable { why: message }),
            Err(refusal) => Err(Trouble::Refused(refusal)),
        }
    }
}

/// What is told of an end that was not a good one.
fn went_wrong(outcome: &Outcome) -> Option<String> {
    let told = match &outcome.detail {
        Some(detail) => format!("{outcome}: {detail}"),
        None => outcome.to_string(),
    };
    match outcome.verdict {
        Verdict::Completed => None,
        // The only limit that it has.
        Verdict::TimedOut => Some(format!("{told} (hook_timeout_seconds)")),
        Verdict::Exit
        | Verdict::Signal
        | Verdict::Inactive
        | Verdict::Unhealthy
        | Verdict::Stopped
        | Verdict::SpawnFailed
        | Verdict::Lost => Some(told),
    }
}

/// No stage can be called so.
fn stage_name(hook: &HookRecord) -> StageName {
    StageName::trusted(format!("-{}", hook.name))
}

/// Why something was not collected.
enum Trouble {
    Refused(Refusal),
    Files(FileError),
}

impl From<FileError> for Trouble {
    fn from(error: FileError) -> Self {
        Self::Files(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_was_cut_says_by_which_key() {
        let outcome = |verdict, exit_code, detail: Option<&str>| Outcome {
            verdict,
            exit_code,
            signal: None,
            detail: detail.map(str::to_owned),
        };
        assert_eq!(went_wrong(&outcome(Verdict::Completed, Some(0), None)), None);
        assert_eq!(went_wrong(&outcome(Verdict::Exit, Some(3), None)).as_deref(), Some("exit 3"));
        assert_eq!(
            went_wrong(&outcome(Verdict::TimedOut, None, Some("longer than its limit of 5s"))).as_deref(),
            Some("timed out: longer than its limit of 5s (hook_timeout_seconds)")
        );
    }
}
