//! The runners that attempts of stages, and the commands after a run, are executed as.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::domain::flow::ids::{RunId, StageName, TOLD_TO_GUESTS};
use crate::domain::flow::run::UnitKey;
use crate::domain::flow::spec::{EnvValue, FlowSpec, StageSpec};
use crate::domain::ids::RunnerName;
use crate::domain::spec::{
    ActivitySpec, Backoff, CommandSpec, Jitter, LaunchSpec, Leftovers, LogSpec, Reload, RestartPolicy,
    RetryPolicy, RunnerSpec, StdinSpec, Stdio, StopSpec,
};

const SIGTERM: i32 = 15;
/// Of a command after a run.
const GRACE: Duration = Duration::from_secs(10);

/// The runner that an attempt is executed as.
pub(super) fn guest(
    run: &RunId,
    unit: UnitKey,
    stage: &StageSpec,
    own: BTreeMap<String, String>,
    runs_dir: &Path,
) -> Result<RunnerSpec, String> {
    let mut env = plain(run, &stage.env)?;
    env.extend(own);
    let log = match unit.item {
        None => format!("{}_{{index}}.log", stage.name),
        Some(item) => format!("{}.{item}_{{index}}.log", stage.name),
    };
    let launch = LaunchSpec {
        command: stage.command.clone(),
        cwd: stage.cwd.clone(),
        env,
        env_files: stage.env_files.clone(),
        stdin: StdinSpec::Null,
        stdio: stage.stdio,
        umask: stage.umask,
        limits: stage.limits.clone(),
    };
    let spec =
        runner(run.guest(&stage.name, unit.item), launch, runs_dir.join(run.as_str()).join("logs"), log);
    Ok(RunnerSpec {
        timeout: stage.timeout,
        activity: stage.activity_timeout.map(|timeout| ActivitySpec {
            timeout,
            output: true,
            cpu: true,
            files: Vec::new(),
        }),
        stop: stage.stop.clone(),
        log: LogSpec { max_bytes: stage.log_max_bytes, ..spec.log },
        ..spec
    })
}

/// The runner that a command after a run is executed as.
pub(super) fn hook(
    run: &RunId,
    name: &StageName,
    command: CommandSpec,
    flow: &FlowSpec,
    own: [(&str, String); 3],
    runs_dir: &Path,
) -> Result<RunnerSpec, String> {
    let mut env = plain(run, &flow.env)?;
    env.extend(own.map(|(name, value)| (name.to_owned(), value)));
    let launch = LaunchSpec {
        command,
        cwd: flow.root.clone(),
        env,
        env_files: Vec::new(),
        stdin: StdinSpec::Null,
        stdio: Stdio::Auto,
        umask: None,
        limits: BTreeMap::new(),
    };
    let log = format!("{}_{{index}}.log", name.as_str().trim_start_matches('-'));
    let spec = runner(run.guest(name, None), launch, runs_dir.join(run.as_str()).join("logs"), log);
    Ok(RunnerSpec { timeout: flow.hook_timeout, ..spec })
}

/// What the config sets; a word that is ours is said by us alone. As it is kept in records, a secret is not known.
fn plain(run: &RunId, env: &BTreeMap<String, EnvValue>) -> Result<BTreeMap<String, String>, String> {
    let value = |(name, value): (&String, &EnvValue)| match value {
        EnvValue::Plain(value) | EnvValue::Secret(value) => Ok((name.clone(), value.clone())),
        EnvValue::Hashed(_) => Err(format!(
            "the value of {name} is a secret that is not recorded, and the config of today has another one; start \
             again with `restage retry {run}`"
        )),
    };
    env.iter().filter(|(name, _)| !TOLD_TO_GUESTS.contains(&name.as_str())).map(value).collect()
}

fn runner(name: RunnerName, launch: LaunchSpec, logs: PathBuf, log: String) -> RunnerSpec {
    RunnerSpec {
        name,
        group: None,
        launch,
        restart: RestartPolicy::Never,
        retry: Arc::new(no_retry()),
        timeout: None,
        activity: None,
        health: None,
        stop: StopSpec { signal: SIGTERM, grace: GRACE, command: None },
        autostart: false,
        leftovers: Leftovers::Kill,
        reload: Reload::Manual,
        log: LogSpec { dir: logs, template: log, max_bytes: None, keep_attempts: u32::MAX },
    }
}

/// Whether a stage is tried again is decided here, not by supervision.
fn no_retry() -> RetryPolicy {
    RetryPolicy {
        enabled: false,
        max_retries: 0,
        backoff: Backoff { base: Duration::ZERO, multiplier: 1.0, cap: Duration::ZERO, jitter: Jitter::None },
        reset_after: None,
        on_exit_codes: None,
        not_on_exit_codes: Vec::new(),
        success_exit_codes: vec![0],
        on_output: Vec::new(),
        not_on_output: Vec::new(),
    }
}
