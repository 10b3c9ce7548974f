//! Taking over: from the records of an earlier supervisor and the inventory of the executor to runners that go on as
//! they were, and after a clean end the fresh start.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::reload::launch_change;
use super::roster::Id;
use super::{Link, Past, RunnerManager, StartPlan};
use crate::domain::ids::{AttemptId, RunnerName};
use crate::domain::runner::state::RunnerState;
use crate::domain::runner::{Event, Found, Phase, Runner};
use crate::domain::spec::{
    Backoff, CommandSpec, Jitter, LaunchSpec, Leftovers, LogSpec, Reload, RestartPolicy, RetryPolicy,
    RunnerSpec, StdinSpec, Stdio, StopSpec,
};
use crate::domain::time::{Mono, Now};
use crate::ports::{Inventory, LiveAttempt, StopTree};
use crate::supervisor::store::Recovered;

/// Runners that are begun in one turn.
const STEP: usize = 32;

impl RunnerManager {
    /// Makes the roster from the config and the records.
    pub(super) fn restore(&mut self, specs: Vec<RunnerSpec>, recovered: Recovered, now: &Now) {
        let mut states: HashMap<RunnerName, RunnerState> =
            recovered.states.into_iter().map(|state| (state.runner_id.clone(), state)).collect();
        self.restore_budget(states.values(), now);
        for spec in specs {
            let runner = match states.remove(&spec.name) {
                Some(mut state) => {
                    self.past.known.insert(spec.name.clone());
                    if std::mem::take(&mut state.removed) {
                        state.note = None;
                    }
                    Runner::from_state(&state, now)
                }
                None => Runner { attempt: self.retention.last(&spec.name), ..Runner::default() },
            };
            self.roster.insert(spec, runner);
        }
        for (name, state) in states {
            let runner = Runner::from_state(&state, now);
            if name.is_guest() {
                self.restore_guest(orphan(&name, Some(&state), &self.workspace.log_dir), runner, &state);
            } else if recovered.same_boot && runner.live_attempt().is_some() {
                let id = self.roster.insert(orphan(&name, Some(&state), &self.workspace.log_dir), runner);
                self.queue.push_back((id, Event::Removed));
            } else if let Err(error) = self.store.remove(&name) {
                tracing::warn!(runner = %name, %error, "forget the state of a removed runner");
            }
        }
        self.past.clean_end = recovered.clean_end;
        self.past.same_boot = recovered.same_boot;
        self.past.notes = recovered.notes;
    }

    /// The window itself is not recorded; when each runner was last retried is.
    fn restore_budget<'a>(&mut self, states: impl Iterator<Item = &'a RunnerState>, now: &Now) {
        let Some(budget) = &mut self.budget else { return };
        let mut spent: Vec<Mono> = states
            .filter_map(|state| {
                let ago = Duration::try_from(now.wall.duration_since(state.last_retry_at?)).ok()?;
                let nanos = u64::try_from(ago.as_nanos()).ok()?;
                now.mono.as_nanos().checked_sub(nanos).map(Mono::from_nanos)
            })
            .collect();
        spent.sort_unstable();
        for at in spent {
            budget.spend(at);
        }
    }

    /// The first thing that happens.
    pub(super) fn boot(&mut self) {
        for note in std::mem::take(&mut self.past.notes) {
            self.warn(None, note);
        }
        while let Some((id, event)) = self.queue.pop_front() {
            self.apply(id, event);
        }
        if !self.past.same_boot {
            for id in self.roster.ids() {
                self.apply(id, Event::Rebooted);
            }
            self.guests_rebooted();
        }
    }

    /// The executor is there, or there again: what is believed and what is are made to agree.
    pub(super) fn on_connected(&mut self, inventory: Inventory) {
        // It may have been away before it has answered for the first time.
        let first = !self.met();
        self.link = Link::Connected;
        if !first {
            self.publish_fleet();
        }
        if !inventory.guarded {
            let text = "the keeper has lost its guard: it goes on while anything of it lives, but if it is killed \
                        meanwhile, nobody inherits its processes; then it gets one again";
            self.warn(None, text.into());
        }
        let mut exits = inventory.exits;
        exits.sort_unstable_by_key(|exit| exit.seq);
        for exit in &exits {
            // What lives is told by the inventory.
            self.on_exit(exit, false);
        }
        let mut live: HashMap<RunnerName, Vec<LiveAttempt>> = HashMap::new();
        for attempt in inventory.live {
            live.entry(attempt.id.runner.clone()).or_default().push(attempt);
        }
        for name in live.keys() {
            if self.roster.find(name).is_none() {
                let id = self.roster.insert(orphan(name, None, &self.workspace.log_dir), Runner::default());
                self.apply_removed_alive(id);
            }
        }
        for id in self.roster.all_ids() {
            let Some(entry) = self.roster.get(id) else { continue };
            let attempts = live.remove(&entry.spec.name).unwrap_or_default();
            let found = self.choose(id, attempts);
            if first && found.is_none() && self.forget_intent(id) {
                continue;
            }
            let output = self.output_of(id);
            self.apply(id, Event::Inventory { found, first, output });
            if first {
                self.forget_intent(id);
            }
        }
        if first {
            self.tell_inventory();
            self.beginnings = self.roster.ids().into();
            self.begin_some();
        }
    }

    /// Something lives of a runner that neither the config nor any record knows.
    fn apply_removed_alive(&mut self, id: Id) {
        if let Some(entry) = self.roster.get_mut(id)
            && entry.guest.is_none()
        {
            entry.runner.removed = true;
            entry.runner.note = Some("it runs, but is not in the config".into());
        }
    }

    /// The attempt that the runner goes on with. Any other one of it that lives is one too many.
    fn choose(&mut self, id: Id, mut attempts: Vec<LiveAttempt>) -> Option<Found> {
        let current = self.roster.get(id)?.runner.live_attempt();
        attempts.sort_by_key(|live| (Some(live.id.attempt) == current, !live.main_ended, live.id.attempt));
        let chosen = attempts.pop()?;
        for other in attempts.into_iter().filter(|live| !live.main_ended) {
            let AttemptId { runner, attempt } = &other.id;
            self.warn(
                Some(runner.clone()),
                format!("attempt {attempt} lives beside another one: it is killed"),
            );
            self.executor.stop(&other.id, StopTree::KILL);
        }
        Some(Found {
            attempt: chosen.id.attempt,
            process: chosen.process,
            main_ended: chosen.main_ended,
            stuck: chosen.stuck,
            log: chosen.log,
        })
    }

    /// What is started in the beginning, and with what is already there under a config that may be another one by now.
    /// It goes in small steps, so that the executor begins while the rest is still being prepared, and little waits in
    /// memory for its turn.
    pub(super) fn begin_some(&mut self) {
        let mut fresh = Vec::new();
        for _ in 0..STEP {
            let Some(id) = self.beginnings.pop_front() else { break };
            let Some(entry) = self.roster.get(id) else { continue };
            if entry.runner.removed {
                continue;
            }
            let known = self.past.known.contains(&entry.spec.name);
            let wanted = match &self.options.start {
                StartPlan::Only(names) => names.contains(&entry.spec.name),
                StartPlan::Autostart => entry.spec.autostart && (self.past.clean_end || !known),
            };
            let rests = matches!(entry.runner.phase, Phase::Idle | Phase::Resting(_));
            if wanted && rests && self.shutdown.is_none() {
                self.apply(id, Event::Start);
            } else if known {
                let launch = launch_change(&entry.runner, &entry.spec);
                self.apply(id, Event::SpecChanged { launch });
            } else {
                fresh.push(id);
            }
        }
        self.record_new(&fresh);
        if self.beginnings.is_empty() {
            self.past = Past::default();
            self.publish_fleet();
        }
    }

    /// What is asked for now is meant to come after the start.
    pub(super) fn begin_all(&mut self) {
        while !self.beginnings.is_empty() {
            self.begin_some();
        }
    }
}

/// A spec for what the config no longer knows: enough to show it and to stop it, nothing that would start it.
fn orphan(name: &RunnerName, state: Option<&RunnerState>, log_dir: &std::path::Path) -> RunnerSpec {
    let signal = state.and_then(|state| state.stop_signal).unwrap_or(15);
    let grace = state
        .and_then(|state| state.stop_grace_seconds)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .unwrap_or(Duration::from_secs(10));
    let zero = Backoff { base: Duration::ZERO, multiplier: 1.0, cap: Duration::ZERO, jitter: Jitter::None };
    RunnerSpec {
        name: name.clone(),
        group: None,
        launch: LaunchSpec {
            command: CommandSpec::Shell(String::new()),
            cwd: "/".into(),
            env: BTreeMap::new(),
            env_files: Vec::new(),
            stdin: StdinSpec::Null,
            stdio: Stdio::Auto,
            umask: None,
            limits: BTreeMap::new(),
        },
        restart: RestartPolicy::Never,
        retry: Arc::new(RetryPolicy {
            enabled: false,
            max_retries: state.map_or(0, |state| state.max_retries),
            backoff: zero,
            reset_after: None,
            on_exit_codes: None,
            not_on_exit_codes: Vec::new(),
            success_exit_codes: vec![0],
            on_output: Vec::new(),
            not_on_output: Vec::new(),
        }),
        timeout: None,
        activity: None,
        health: None,
        stop: StopSpec { signal, grace, command: None },
        autostart: false,
        leftovers: Leftovers::Kill,
        reload: Reload::Manual,
        log: LogSpec {
            dir: log_dir.to_owned(),
            template: "{name}_{index}.log".into(),
            max_bytes: None,
            keep_attempts: u32::MAX,
        },
    }
}
