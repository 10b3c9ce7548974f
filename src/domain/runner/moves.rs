//! The moves that several events share: begin, wait, run, end, decide, rest. Each returns the phase that follows.

use std::mem;
use std::time::Duration;

use super::event::{Effect, Event, TimerKind};
use super::state::HISTORY;
use super::{
    ALWAYS, After, Context, Due, Ended, Ending, Health, Next, OVER_BUDGET, POLL, Phase, Rest, Runner,
    Running, Starting, Why,
};
use crate::domain::ids::{Attempt, Process};
use crate::domain::retry::{self, Decision, OutputMatch};
use crate::domain::spec::{RestartPolicy, RunnerSpec};
use crate::domain::time::Mono;
use crate::domain::verdict::{ExitStatus, Outcome, Verdict};
use crate::domain::view::{AttemptView, NoticeKind};

/// A good end under `restart: always` that came sooner than this waits at least this long, so that a command which
/// does nothing does not spin where the backoff is 0.
const SHORTEST_TURN: Duration = Duration::from_secs(1);

/// One step at work.
pub(super) struct Machine<'a> {
    pub(super) spec: &'a RunnerSpec,
    pub(super) ctx: &'a Context,
    pub(super) r: Runner,
    pub(super) fx: Vec<Effect>,
}

impl<'a> Machine<'a> {
    pub(super) fn new(spec: &'a RunnerSpec, runner: Runner, ctx: &'a Context) -> Self {
        Self { spec, ctx, r: runner, fx: Vec::new() }
    }

    pub(super) fn step(mut self, event: Event) -> (Runner, Vec<Effect>) {
        let phase = mem::replace(&mut self.r.phase, Phase::Idle);
        self.r.phase = match event {
            Event::Start => self.on_start(phase),
            Event::Stop => self.on_stop(phase),
            Event::Restart => self.on_restart(phase),
            Event::Kill => self.on_kill(phase),
            Event::Spawned { attempt, process } => self.on_spawned(phase, attempt, process),
            Event::SpawnFailed { attempt, failure, message } => {
                self.on_spawn_failed(phase, attempt, failure, message)
            }
            Event::Exited { attempt, seq, status, at, disk_full } => {
                self.on_exited(phase, attempt, seq, super::process::Exit { status, at, disk_full })
            }
            Event::Gone { attempt, output } => self.on_gone(phase, attempt, &output),
            Event::Stuck { attempt, pids } => self.on_stuck(phase, attempt, pids),
            Event::Timer { kind, epoch } => self.on_timer(phase, kind, epoch),
            Event::Silent { attempt, quiet } => self.on_silent(phase, attempt, quiet),
            Event::HealthPassed { attempt } => self.on_health_passed(phase, attempt),
            Event::HealthFailed { attempt, detail } => self.on_health_failed(phase, attempt, &detail),
            Event::Blocked { reason } => self.on_blocked(phase, reason),
            Event::SpecChanged { launch } => self.on_spec_changed(phase, launch),
            Event::Removed => self.on_removed(phase),
            Event::Inventory { found, first, output } => self.on_inventory(phase, found, first, &output),
            Event::Rebooted => self.on_rebooted(phase),
        };
        (self.r, self.fx)
    }

    pub(super) fn notice(&mut self, what: NoticeKind) {
        self.fx.push(Effect::Notice(what));
    }

    pub(super) fn info(&mut self, text: String) {
        self.notice(NoticeKind::Info { text });
    }

    /// Arms these timers; whatever was armed before is stale from here on.
    pub(super) fn arm(&mut self, timers: impl IntoIterator<Item = (TimerKind, Mono)>) {
        self.r.epoch += 1;
        let epoch = self.r.epoch;
        self.fx.extend(timers.into_iter().map(|(kind, at)| Effect::ArmTimer { kind, at, epoch }));
    }

    // Beginnings.

    pub(super) fn begin_fresh(&mut self) -> Phase {
        self.r.retry_count = 0;
        self.begin(None)
    }

    pub(super) fn begin(&mut self, waited: Option<String>) -> Phase {
        if self.r.removed {
            return self.settle(Rest::Stopped);
        }
        self.r.started = None;
        self.r.note = None;
        self.fx.push(Effect::Spawn);
        let attempt = self.r.attempt.map_or(Attempt::FIRST, Attempt::next);
        Phase::Starting(Starting { attempt, waited })
    }

    /// The time has come and nothing of an earlier attempt lives.
    pub(super) fn begin_due(&mut self, due: Due) -> Phase {
        match due.why {
            Why::Retry { .. } => match self.ctx.budget_free_at {
                Some(until) if until > self.ctx.now.mono => {
                    self.tell_budget(until);
                    self.pend(Due { until, why: Why::Retry { over_budget: true } })
                }
                Some(_) | None => {
                    self.fx.push(Effect::SpendBudget);
                    self.r.last_retry_at = Some(self.ctx.now.wall);
                    self.begin(None)
                }
            },
            Why::Again => self.begin(None),
            Why::Wait { reason } => self.begin(Some(reason)),
        }
    }

    pub(super) fn pend(&mut self, due: Due) -> Phase {
        self.arm([(TimerKind::Due, due.until)]);
        Phase::Pending(due)
    }

    /// New work waits for an obstacle that nobody will tell the end of.
    pub(super) fn wait(&mut self, reason: String, told: Option<&String>) -> Phase {
        if told != Some(&reason) {
            self.notice(NoticeKind::Waiting { reason: reason.clone(), delay_seconds: POLL.as_secs_f64() });
        }
        let until = self.ctx.now.mono.plus(POLL);
        self.pend(Due { until, why: Why::Wait { reason } })
    }

    // The life of an attempt.

    pub(super) fn run(&mut self, attempt: Attempt, process: Process, health: Option<Health>) -> Phase {
        self.r.attempt = Some(attempt);
        let health = self.spec.health.as_ref().map(|_| health.unwrap_or_default());
        let running = Running { attempt, process, health };
        self.look_after(&running);
        Phase::Running(running)
    }

    /// Timers, watch and health check of a running attempt, as the spec wants them now.
    pub(super) fn look_after(&mut self, running: &Running) {
        self.fx.push(match self.spec.activity {
            Some(_) => Effect::Watch { attempt: running.attempt },
            None => Effect::Unwatch,
        });
        self.fx.push(match self.spec.health {
            Some(_) => Effect::StartHealth { attempt: running.attempt },
            None => Effect::StopHealth,
        });
        self.arm_running(running);
    }

    pub(super) fn arm_running(&mut self, running: &Running) {
        let started = self.started();
        let timeout = self.spec.timeout.map(|limit| (TimerKind::Timeout, started.plus(limit)));
        // "Healthy" counts from the moment when the health check passed, where there is one.
        let healthy_since = match running.health {
            Some(health) => health.ready_since,
            None => Some(started),
        };
        let steady = match (self.spec.retry.reset_after, healthy_since) {
            (Some(long_enough), Some(since)) if self.r.retry_count > 0 => {
                Some((TimerKind::Steady, since.plus(long_enough)))
            }
            (Some(_) | None, Some(_) | None) => None,
        };
        self.arm(timeout.into_iter().chain(steady));
    }

    pub(super) fn started(&self) -> Mono {
        self.r.started.unwrap_or(self.ctx.now).mono
    }

    /// Decides to end an attempt: from here on its verdict is fixed.
    pub(super) fn end(&mut self, running: &Running, verdict: Verdict, detail: Option<String>) -> Phase {
        let outcome = Outcome { verdict, exit_code: None, signal: None, detail };
        let after = if verdict == Verdict::Stopped { After::Stop } else { After::Policy };
        self.end_with(running.attempt, Some(running.process), outcome, after, false)
    }

    pub(super) fn end_with(
        &mut self,
        attempt: Attempt,
        process: Option<Process>,
        outcome: Outcome,
        after: After,
        kill: bool,
    ) -> Phase {
        self.notice(NoticeKind::Ending { attempt, outcome: outcome.clone() });
        self.fx.push(Effect::Unwatch);
        self.fx.push(Effect::StopHealth);
        let since = self.ctx.now.mono;
        let ending = Ending { attempt, process, since, outcome, after, kill, stuck: Vec::new() };
        // A spawn that is still under way is stopped when its answer comes.
        if process.is_some() {
            self.stop_tree(&ending);
        }
        Phase::Ending(ending)
    }

    pub(super) fn stop_tree(&mut self, ending: &Ending) {
        let attempt = ending.attempt;
        let stop = &self.spec.stop;
        if ending.kill {
            self.kill_tree(attempt);
        } else if stop.command.is_some() {
            self.fx.push(Effect::RunStopCommand { attempt });
            self.fx.push(Effect::Stop { attempt, signal: None, grace: stop.grace });
        } else {
            self.fx.push(Effect::Stop { attempt, signal: Some(stop.signal), grace: stop.grace });
        }
    }

    pub(super) fn kill_tree(&mut self, attempt: Attempt) {
        self.fx.push(Effect::Stop { attempt, signal: None, grace: Duration::ZERO });
    }

    /// How an attempt ended that nobody decided to end.
    pub(super) fn natural_outcome(&self, status: ExitStatus) -> Outcome {
        let (verdict, exit_code, signal, detail) = match status {
            ExitStatus::Code(code) if self.spec.retry.success_exit_codes.contains(&code) => {
                (Verdict::Completed, Some(code), None, None)
            }
            ExitStatus::Code(code) => (Verdict::Exit, Some(code), None, None),
            ExitStatus::Signal(signal) => (Verdict::Signal, None, Some(signal), None),
            ExitStatus::Unknown => {
                (Verdict::Lost, None, None, Some("it is gone, and nobody can tell how it ended".into()))
            }
        };
        Outcome { verdict, exit_code, signal, detail }
    }

    /// Writes down the end of an attempt.
    pub(super) fn note_end(&mut self, attempt: Attempt, outcome: &Outcome, ended: Mono) {
        let at = self.ctx.now.wall_at(ended);
        // The start is when its answer came here: the end of one that lived for less was seen before that.
        let at = self.r.started.map_or(at, |started| at.max(started.wall));
        self.r.attempt = self.r.attempt.max(Some(attempt));
        self.r.last = Some(Ended { outcome: outcome.clone(), at });
        self.r.history.push(AttemptView {
            attempt,
            started_at: self.r.started.map(|started| started.wall),
            ended_at: Some(at),
            outcome: Some(outcome.clone()),
        });
        let surplus = self.r.history.len().saturating_sub(HISTORY);
        self.r.history.drain(..surplus);
        self.notice(NoticeKind::Ended { attempt, outcome: outcome.clone() });
    }

    // What comes next.

    /// What the retry policy says to the end that was just noted.
    pub(super) fn decide(&mut self, ended: Mono, disk_full: bool, output: &OutputMatch) -> Next {
        let Some(outcome) = self.r.last.as_ref().map(|last| last.outcome.clone()) else {
            return Next::Rest(Rest::Stopped);
        };
        let completed = outcome.verdict == Verdict::Completed;
        if self.r.removed {
            return Next::Rest(if completed { Rest::Completed } else { Rest::Crashed { exhausted: false } });
        }
        match retry::should_retry(&self.spec.retry, self.spec.restart, &outcome, output) {
            Decision::Done => Next::Rest(Rest::Completed),
            Decision::Again => self.again(ended),
            Decision::No(reason) => {
                self.notice(NoticeKind::GaveUp { reason });
                Next::Rest(Rest::Crashed { exhausted: false })
            }
            Decision::Retry if disk_full => self.when_there_is_room(),
            Decision::Retry if self.r.retry_count >= self.spec.retry.max_retries => {
                self.notice(NoticeKind::Exhausted { max_retries: self.spec.retry.max_retries });
                Next::Rest(Rest::Crashed { exhausted: true })
            }
            Decision::Retry => self.schedule_retry(ended),
        }
    }

    fn schedule_retry(&mut self, ended: Mono) -> Next {
        let delay = retry::delay(&self.spec.retry.backoff, self.r.retry_count, self.ctx.random);
        self.r.retry_count += 1;
        let wanted = ended.plus(delay);
        let free_at = self.ctx.budget_free_at.filter(|free_at| *free_at > wanted);
        let until = free_at.unwrap_or(wanted);
        // The delay that is told is the one that comes, not the one that the budget does not allow.
        let delay = if free_at.is_some() { until.since(self.ctx.now.mono) } else { delay };
        self.notice(NoticeKind::Retrying {
            retry: self.r.retry_count,
            max_retries: self.spec.retry.max_retries,
            delay_seconds: delay.as_secs_f64(),
        });
        if free_at.is_some() {
            self.tell_budget(until);
        }
        Next::At(Due { until, why: Why::Retry { over_budget: free_at.is_some() } })
    }

    fn tell_budget(&mut self, until: Mono) {
        let delay_seconds = until.since(self.ctx.now.mono).as_secs_f64();
        self.notice(NoticeKind::Waiting { reason: OVER_BUDGET.into(), delay_seconds });
    }

    /// As in other supervisors a good end under `always` spends no retry, and is as good a sign of health as any:
    /// the count goes back to 0 and the delay is that of a first retry.
    fn again(&mut self, ended: Mono) -> Next {
        self.recovered();
        let lived = self.r.started.map(|started| ended.since(started.mono));
        let shortest = match lived {
            Some(lived) if lived < SHORTEST_TURN => SHORTEST_TURN,
            Some(_) | None => Duration::ZERO,
        };
        let delay = retry::delay(&self.spec.retry.backoff, 0, self.ctx.random).max(shortest);
        self.notice(NoticeKind::Waiting { reason: ALWAYS.into(), delay_seconds: delay.as_secs_f64() });
        Next::At(Due { until: ended.plus(delay), why: Why::Again })
    }

    fn when_there_is_room(&mut self) -> Next {
        let reason = "the disk of its log was full when it ended".to_owned();
        self.notice(NoticeKind::Waiting { reason: reason.clone(), delay_seconds: POLL.as_secs_f64() });
        Next::At(Due { until: self.ctx.now.mono.plus(POLL), why: Why::Wait { reason } })
    }

    pub(super) fn recovered(&mut self) {
        if self.r.retry_count > 0 {
            self.notice(NoticeKind::Recovered { retries: self.r.retry_count });
            self.r.retry_count = 0;
        }
    }

    /// Nothing of the last attempt lives any more.
    pub(super) fn proceed(&mut self, next: Next, output: &OutputMatch) -> Phase {
        match next {
            Next::Rest(rest) => self.settle(rest),
            Next::Start => self.begin_fresh(),
            Next::At(due) if due.until <= self.ctx.now.mono => self.begin_due(due),
            Next::At(due) => self.pend(due),
            Next::Decide { ended, disk_full } => {
                let decided = self.decide(ended, disk_full, output);
                self.proceed(decided, output)
            }
        }
    }

    pub(super) fn settle(&mut self, rest: Rest) -> Phase {
        if self.r.removed {
            self.forget();
        }
        Phase::Resting(rest)
    }

    pub(super) fn forget(&mut self) {
        self.notice(NoticeKind::Removed);
        self.fx.push(Effect::Remove);
    }

    /// The policy would not schedule a retry today.
    pub(super) fn retries_are_off(&self) -> bool {
        match self.spec.restart {
            RestartPolicy::Never => true,
            RestartPolicy::OnCrash => !self.spec.retry.enabled,
            RestartPolicy::Always => false,
        }
    }
}
