//! A runner to try things on: a spec with nothing special, and a bench that feeds events and keeps what came of them.
#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks for the one effect that it is about")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Context, Effect, Event, Runner, TimerKind, step};
use crate::domain::ids::{Attempt, Process, RunnerName};
use crate::domain::retry::OutputMatch;
use crate::domain::spec::{
    ActivitySpec, Backoff, CommandSpec, HealthSpec, Jitter, LaunchSpec, Leftovers, LogSpec, Reload,
    RestartPolicy, RetryPolicy, RunnerSpec, StdinSpec, Stdio, StopSpec,
};
use crate::domain::time::{Mono, Now, Timestamp};
use crate::domain::verdict::ExitStatus;
use crate::domain::view::{NoticeKind, RunnerStatus};

pub(crate) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) fn nth(n: u32) -> Attempt {
    Attempt::new(n).unwrap()
}

pub(crate) fn spec(name: &str) -> RunnerSpec {
    RunnerSpec {
        name: RunnerName::parse(name).unwrap(),
        group: None,
        launch: LaunchSpec {
            command: CommandSpec::Argv(vec!["agent".into()]),
            cwd: PathBuf::from("/"),
            env: BTreeMap::new(),
            env_files: vec![],
            stdin: StdinSpec::Null,
            stdio: Stdio::Auto,
            umask: None,
            limits: BTreeMap::new(),
        },
        restart: RestartPolicy::OnCrash,
        retry: Arc::new(RetryPolicy {
            enabled: true,
            max_retries: 3,
            backoff: Backoff { base: secs(5), multiplier: 2.0, cap: secs(300), jitter: Jitter::None },
            reset_after: None,
            on_exit_codes: None,
            not_on_exit_codes: vec![],
            success_exit_codes: vec![0],
            on_output: vec![],
            not_on_output: vec![],
        }),
        timeout: None,
        activity: None,
        health: None,
        stop: StopSpec { signal: 15, grace: secs(10), command: None },
        autostart: true,
        leftovers: Leftovers::Kill,
        reload: Reload::Manual,
        log: LogSpec {
            dir: PathBuf::from("/logs"),
            template: "{name}_{index}.log".into(),
            max_bytes: None,
            keep_attempts: 100,
        },
    }
}

/// The retry policy of a spec, to be changed.
pub(crate) fn retry_mut(spec: &mut RunnerSpec) -> &mut RetryPolicy {
    Arc::make_mut(&mut spec.retry)
}

/// Everything that can be watched is.
pub(crate) fn watched(name: &str) -> RunnerSpec {
    let mut spec = spec(name);
    spec.timeout = Some(secs(3600));
    retry_mut(&mut spec).reset_after = Some(secs(600));
    spec.activity = Some(ActivitySpec { timeout: secs(300), output: true, cpu: true, files: vec![] });
    spec.health = Some(HealthSpec {
        command: CommandSpec::Shell("true".into()),
        interval: secs(10),
        timeout: secs(5),
        failures: 2,
    });
    spec
}

/// One runner on a bench, with its own clock.
pub(crate) struct Bench {
    pub(crate) spec: RunnerSpec,
    pub(crate) runner: Runner,
    pub(crate) now: Now,
    pub(crate) budget_free_at: Option<Mono>,
    /// Of the last event.
    pub(crate) effects: Vec<Effect>,
    pub(crate) seq: u64,
}

impl Bench {
    pub(crate) fn new(spec: RunnerSpec) -> Self {
        let now = Now {
            mono: Mono::from_nanos(1_000_000_000_000),
            wall: "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap(),
        };
        Self { spec, runner: Runner::default(), now, budget_free_at: None, effects: vec![], seq: 0 }
    }

    pub(crate) fn feed(&mut self, event: Event) -> &mut Self {
        let ctx = Context { now: self.now, random: 0.5, budget_free_at: self.budget_free_at };
        let runner = std::mem::take(&mut self.runner);
        (self.runner, self.effects) = step(&self.spec, runner, event, &ctx);
        self
    }

    pub(crate) fn pass(&mut self, time: Duration) -> &mut Self {
        self.now = Now {
            mono: self.now.mono.plus(time),
            wall: self.now.wall.checked_add(jiff::SignedDuration::try_from(time).unwrap()).unwrap(),
        };
        self
    }

    pub(crate) fn spawned(&mut self) -> &mut Self {
        let attempt = self.live();
        let pid = 100 + i32::try_from(attempt.get()).unwrap();
        self.feed(Event::Spawned { attempt, process: Process { pid, start: 7 } })
    }

    pub(crate) fn up(&mut self) -> &mut Self {
        self.feed(Event::Start).spawned()
    }

    pub(crate) fn exit(&mut self, status: ExitStatus) -> &mut Self {
        self.seq += 1;
        let event = Event::Exited {
            attempt: self.live(),
            seq: self.seq,
            status,
            at: self.now.mono,
            disk_full: false,
        };
        self.feed(event)
    }

    pub(crate) fn gone(&mut self) -> &mut Self {
        let attempt = self.live();
        self.feed(Event::Gone { attempt, output: OutputMatch::None })
    }

    pub(crate) fn crash(&mut self) -> &mut Self {
        self.exit(ExitStatus::Code(1)).gone()
    }

    pub(crate) fn timer(&mut self, kind: TimerKind) -> &mut Self {
        let epoch = self.runner.epoch;
        self.feed(Event::Timer { kind, epoch })
    }

    pub(crate) fn live(&self) -> Attempt {
        self.runner.live_attempt().expect("an attempt that may live")
    }

    pub(crate) fn status(&self) -> RunnerStatus {
        self.runner.status()
    }

    pub(crate) fn spawns(&self) -> bool {
        self.effects.contains(&Effect::Spawn)
    }

    pub(crate) fn notices(&self) -> Vec<&NoticeKind> {
        self.effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Notice(what) => Some(what),
                _ => None,
            })
            .collect()
    }

    /// When the timer of this kind is due, counted from now.
    pub(crate) fn armed(&self, wanted: TimerKind) -> Option<Duration> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::ArmTimer { kind, at, .. } if *kind == wanted => Some(at.since(self.now.mono)),
            _ => None,
        })
    }

    pub(crate) fn verdict(&self) -> String {
        self.runner.last.as_ref().map_or_else(String::new, |last| last.outcome.to_string())
    }
}
