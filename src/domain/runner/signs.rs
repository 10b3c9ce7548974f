//! Time and signs of life: timers, silence, health checks.

use std::time::Duration;

use super::event::TimerKind;
use super::moves::Machine;
use super::{Health, Phase, Running};
use crate::domain::ids::Attempt;
use crate::domain::spec::{ActivitySpec, Stdio};
use crate::domain::verdict::Verdict;
use crate::domain::view::{NoticeKind, seconds};

impl Machine<'_> {
    pub(super) fn on_timer(&mut self, phase: Phase, kind: TimerKind, epoch: u64) -> Phase {
        if epoch != self.r.epoch {
            return phase;
        }
        let now = self.ctx.now.mono;
        match (phase, kind) {
            (Phase::Pending(due), TimerKind::Due) => {
                if now < due.until {
                    self.pend(due)
                } else {
                    self.begin_due(due)
                }
            }
            (Phase::Running(running), TimerKind::Timeout) => match self.spec.timeout {
                Some(limit) if now >= self.started().plus(limit) => {
                    let limit = limit.as_secs_f64();
                    let limit = if limit < 0.1 { format!("{limit}s") } else { seconds(limit) };
                    let detail = format!("longer than its limit of {limit}");
                    self.end(&running, Verdict::TimedOut, Some(detail))
                }
                Some(_) | None => {
                    self.arm_running(&running);
                    Phase::Running(running)
                }
            },
            (Phase::Running(running), TimerKind::Steady) => {
                self.recovered();
                Phase::Running(running)
            }
            (
                phase @ (Phase::Idle
                | Phase::Starting(_)
                | Phase::Running(_)
                | Phase::Ending(_)
                | Phase::Sweeping(_)
                | Phase::Pending(_)
                | Phase::Resting(_)),
                TimerKind::Due | TimerKind::Timeout | TimerKind::Steady,
            ) => phase,
        }
    }

    pub(super) fn on_silent(&mut self, phase: Phase, attempt: Attempt, quiet: Duration) -> Phase {
        match (phase, &self.spec.activity) {
            (Phase::Running(running), Some(activity)) if running.attempt == attempt => {
                let detail = silence(activity, quiet, self.spec.launch.stdio);
                self.end(&running, Verdict::Inactive, Some(detail))
            }
            (phase, Some(_) | None) => phase,
        }
    }

    pub(super) fn on_health_passed(&mut self, phase: Phase, attempt: Attempt) -> Phase {
        match phase {
            Phase::Running(running) if running.attempt == attempt && running.health.is_some() => {
                let was = running.health.unwrap_or_default();
                let ready_since = Some(was.ready_since.unwrap_or(self.ctx.now.mono));
                let running = Running { health: Some(Health { ready_since, failures: 0 }), ..running };
                if was.ready_since.is_none() {
                    self.notice(NoticeKind::Ready);
                    self.arm_running(&running);
                }
                Phase::Running(running)
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

    pub(super) fn on_health_failed(&mut self, phase: Phase, attempt: Attempt, detail: &str) -> Phase {
        match (phase, &self.spec.health) {
            (Phase::Running(running), Some(check)) if running.attempt == attempt => {
                let was = running.health.unwrap_or_default();
                let failures = was.failures + 1;
                if failures >= check.failures {
                    let detail = format!("{failures} health checks failed in a row; the last one: {detail}");
                    return self.end(&running, Verdict::Unhealthy, Some(detail));
                }
                let running = Running { health: Some(Health { ready_since: None, failures }), ..running };
                if was.ready_since.is_some() {
                    // It is not healthy now, so the time that leads back to count 0 starts anew.
                    self.arm_running(&running);
                }
                Phase::Running(running)
            }
            (phase, Some(_) | None) => phase,
        }
    }
}

/// How advice on a silent command begins.
pub const ADVICE: &str = "; if it did print, its output sits in a buffer";

/// What was missing, and what to try: output that waits in a buffer looks just like silence.
fn silence(activity: &ActivitySpec, quiet: Duration, stdio: Stdio) -> String {
    let signs = [
        ("output", activity.output),
        ("CPU use", activity.cpu),
        ("change of its files", !activity.files.is_empty()),
    ];
    let watched: Vec<&str> = signs.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
    let quiet = seconds((quiet.as_secs_f64() * 10.0).round() / 10.0);
    let mut text = format!("no {} for {quiet}", watched.join(" or "));
    match stdio {
        Stdio::Auto | Stdio::File | Stdio::Pipe if activity.output => {
            text.push_str(ADVICE);
            text.push_str(
                ", as that of most programs does when it goes to no terminal: set \"stdio\": \"tty\", or have it flush",
            );
        }
        Stdio::Tty | Stdio::Auto | Stdio::File | Stdio::Pipe => {}
    }
    text
}
