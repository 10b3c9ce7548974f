//! From the mirror to the domain: runners inherit from the file, variables are expanded, paths become absolute, values
//! are compared with one another and looked up on disk. Every problem is reported; what is wrong falls back to its
//! default so that the rest can be looked at, too.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::collide;
use super::disk::{self, Disk, Trouble};
use super::expand::{Environment, Scope, expand};
use super::raw::{RawCommon, RawFile, RawRetry, RawRunner};
use super::read::{At, Reader, Spot};
use super::values::{MAX_ARG, RawCommand};
use crate::domain::spec::{
    ActivitySpec, Backoff, CgroupUse, CommandSpec, HealthSpec, Jitter, LaunchSpec, Leftovers, LogSpec,
    Reload, RestartPolicy, RetryBudget, RetryPolicy, RunnerSpec, StdinSpec, Stdio, StopSpec, TuiSpec,
    WorkspaceSpec,
};

pub(super) const DATA_DIR: &str = ".restage";
const SIGTERM: i32 = 15;
/// What the kernel takes for arguments and environment together, with the usual stack limit of 8 MiB.
const MAX_ARGS: usize = 2 << 20;

/// Where a workspace lies.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub root: &'a Path,
    pub config_path: &'a Path,
}

pub(super) fn lower(
    reader: &mut Reader,
    file: &RawFile,
    place: &Place<'_>,
    env: &Environment,
) -> WorkspaceSpec {
    let data_dir = place.root.join(DATA_DIR);
    let mut lowering =
        Lowering { reader, file, root: place.root, data_dir: &data_dir, env, disk: Disk::default() };
    lowering.retry_pairs(&file.common.retry, &RawRetry::default());
    let outer = Scope { env, own: None };
    let file_env = lowering.env(file.common.env.as_ref(), outer);
    let log_dir = lowering.log_dir(file.common.log_dir.as_ref(), outer);
    let runners: Vec<RunnerSpec> =
        file.runners.iter().filter_map(|runner| lowering.runner(runner, &file_env)).collect();
    let cache_dir = lowering.made_dir(file.cache_dir.as_ref());
    let retry_log_dir = lowering.made_dir(file.retry_log_dir.as_ref());
    collide::check(reader, file, &runners);
    WorkspaceSpec {
        root: place.root.to_owned(),
        config_path: place.config_path.to_owned(),
        log_dir,
        cache_dir,
        retry_log_dir,
        retry_budget: value(file.retry_budget.as_ref(), None).map(|(max, per)| RetryBudget { max, per }),
        cgroup: value(file.cgroup.as_ref(), CgroupUse::Auto),
        tui: TuiSpec {
            refresh: value(file.tui_refresh.as_ref(), Duration::from_secs(1)),
            log_tail_lines: value(file.tui_log_tail_lines.as_ref(), 200),
        },
        runners,
        data_dir,
    }
}

struct Lowering<'a> {
    reader: &'a mut Reader,
    file: &'a RawFile,
    root: &'a Path,
    data_dir: &'a Path,
    env: &'a Environment,
    disk: Disk,
}

/// The value of a key, or its default.
fn value<T: Clone>(at: Option<&At<T>>, default: T) -> T {
    at.map_or(default, |at| at.value.clone())
}

/// What a runner says, else what the file says, else the default.
fn pick<T: Clone>(runner: Option<&At<T>>, file: Option<&At<T>>, default: T) -> T {
    value(runner.or(file), default)
}

impl Lowering<'_> {
    fn runner(&mut self, raw: &RawRunner, file_env: &BTreeMap<String, String>) -> Option<RunnerSpec> {
        let (own, file) = (&raw.common, &self.file.common);
        let outer = Scope { env: self.env, own: None };
        let mut env = file_env.clone();
        env.extend(self.env(own.env.as_ref(), outer));
        let scope = Scope { env: self.env, own: Some(&env) };

        let cwd = match &raw.cwd {
            Some(at) => self.path(at, scope, self.root).filter(|path| self.there(at, disk::folder(path))),
            None => Some(self.root.to_owned()),
        };
        let env_files = self.env_files(own, scope);
        let stdin = self.stdin(raw, scope);
        let world = World { scope, cwd: cwd.as_deref(), vague_path: !env_files.is_empty() };
        let command = raw.command.as_ref().and_then(|at| self.command(&at.value, &world));
        let stop_command = own.stop_command.as_ref().or(file.stop_command.as_ref());
        let stop_command =
            stop_command.and_then(|at| at.value.as_ref()).and_then(|raw| self.command(raw, &world));
        let health = self.health(raw, &world);
        let log_dir = self.log_dir(own.log_dir.as_ref().or(file.log_dir.as_ref()), scope);
        let restart = value(raw.restart.as_ref(), RestartPolicy::OnCrash);
        let activity = self.activity(raw);
        let retry = self.retry(&own.retry, restart);

        let mut limits = value(file.limits.as_ref(), BTreeMap::new());
        limits.extend(value(own.limits.as_ref(), BTreeMap::new()));
        Some(RunnerSpec {
            name: raw.name.clone(),
            group: raw.group.as_ref().map(|at| at.value.clone()),
            restart,
            retry,
            timeout: pick(own.timeout.as_ref(), file.timeout.as_ref(), None),
            activity,
            health,
            stop: StopSpec {
                signal: pick(own.stop_signal.as_ref(), file.stop_signal.as_ref(), SIGTERM),
                grace: pick(own.stop_grace.as_ref(), file.stop_grace.as_ref(), Duration::from_secs(10)),
                command: stop_command,
            },
            autostart: value(raw.autostart.as_ref(), true),
            leftovers: pick(own.leftovers.as_ref(), file.leftovers.as_ref(), Leftovers::Kill),
            reload: pick(own.reload.as_ref(), file.reload.as_ref(), Reload::Manual),
            log: LogSpec {
                dir: log_dir,
                template: pick(
                    own.log_template.as_ref(),
                    file.log_template.as_ref(),
                    "{name}_{index}.log".to_owned(),
                ),
                max_bytes: pick(own.log_max_bytes.as_ref(), file.log_max_bytes.as_ref(), None),
                keep_attempts: pick(own.log_keep.as_ref(), file.log_keep.as_ref(), 100),
            },
            launch: LaunchSpec {
                command: command?,
                cwd: cwd.unwrap_or_else(|| self.root.to_owned()),
                env_files,
                stdin,
                stdio: pick(own.stdio.as_ref(), file.stdio.as_ref(), Stdio::Auto),
                umask: own.umask.as_ref().or(file.umask.as_ref()).map(|at| at.value),
                limits,
                env,
            },
        })
    }

    fn env(
        &mut self,
        env: Option<&At<BTreeMap<String, At<String>>>>,
        scope: Scope<'_>,
    ) -> BTreeMap<String, String> {
        let Some(env) = env else { return BTreeMap::new() };
        env.value
            .iter()
            .filter_map(|(name, at)| {
                let value = self.expanded(at, scope)?;
                if name.len() + value.len() + 2 > MAX_ARG {
                    let message = format!(
                        "one variable of {} bytes; the kernel takes {} at most",
                        value.len(),
                        MAX_ARG - 1
                    );
                    self.reader.error(at.spot.clone(), message, Some("hand long text over in a file".into()));
                }
                Some((name.clone(), value))
            })
            .collect()
    }

    fn env_files(&mut self, own: &RawCommon, scope: Scope<'_>) -> Vec<PathBuf> {
        let file = self.file.common.env_files.iter().flat_map(|at| &at.value);
        let all = file.chain(own.env_files.iter().flat_map(|at| &at.value));
        all.filter_map(|at| {
            let path = self.path(at, scope, self.root)?;
            self.there(at, disk::readable(&path)).then_some(path)
        })
        .collect()
    }

    fn stdin(&mut self, raw: &RawRunner, scope: Scope<'_>) -> StdinSpec {
        let Some(At { value: Some(text), spot }) = &raw.stdin else { return StdinSpec::Null };
        if text == "null" {
            return StdinSpec::Null;
        }
        let at = At { value: text.clone(), spot: spot.clone() };
        match self.path(&at, scope, self.root) {
            Some(path) => {
                self.there(&at, disk::readable(&path));
                StdinSpec::File(path)
            }
            None => StdinSpec::Null,
        }
    }

    fn health(&mut self, raw: &RawRunner, world: &World<'_>) -> Option<HealthSpec> {
        let health = raw.health.as_ref()?.value.as_ref()?;
        Some(HealthSpec {
            command: self.command(&health.command, world)?,
            interval: value(health.interval.as_ref(), Duration::from_secs(10)),
            timeout: value(health.timeout.as_ref(), Duration::from_secs(5)),
            failures: value(health.failures.as_ref(), 3),
        })
    }

    fn activity(&mut self, raw: &RawRunner) -> Option<ActivitySpec> {
        let file = &self.file.common;
        let timeout = pick(raw.common.activity_timeout.as_ref(), file.activity_timeout.as_ref(), None);
        if let (Some(at), None) = (&raw.activity, timeout) {
            let hint = "set activity_timeout_seconds, too".to_owned();
            self.reader.warn(at.spot.clone(), "this has no effect without a limit for silence", Some(hint));
        }
        let chosen = raw.activity.as_ref().map(|at| &at.value);
        Some(ActivitySpec {
            timeout: timeout?,
            output: chosen.is_none_or(|activity| activity.output),
            cpu: chosen.is_none_or(|activity| activity.cpu),
            files: chosen.map(|activity| activity.files.clone()).unwrap_or_default(),
        })
    }

    fn retry(&mut self, own: &RawRetry, restart: RestartPolicy) -> RetryPolicy {
        let file = &self.file.common.retry;
        self.retry_pairs(own, file);
        let reset_after = match restart {
            RestartPolicy::Always => Some(Duration::from_mins(10)),
            RestartPolicy::OnCrash | RestartPolicy::Never => None,
        };
        RetryPolicy {
            enabled: pick(own.enabled.as_ref(), file.enabled.as_ref(), true),
            max_retries: pick(own.max_retries.as_ref(), file.max_retries.as_ref(), 3),
            backoff: Backoff {
                base: pick(own.backoff.as_ref(), file.backoff.as_ref(), BASE),
                multiplier: pick(own.multiplier.as_ref(), file.multiplier.as_ref(), 2.0),
                cap: pick(own.cap.as_ref(), file.cap.as_ref(), CAP),
                jitter: pick(own.jitter.as_ref(), file.jitter.as_ref(), Jitter::None),
            },
            reset_after: pick(own.reset_after.as_ref(), file.reset_after.as_ref(), reset_after),
            on_exit_codes: own
                .on_exit_codes
                .as_ref()
                .or(file.on_exit_codes.as_ref())
                .map(|at| at.value.clone()),
            not_on_exit_codes: pick(
                own.not_on_exit_codes.as_ref(),
                file.not_on_exit_codes.as_ref(),
                Vec::new(),
            ),
            success_exit_codes: pick(
                own.success_exit_codes.as_ref(),
                file.success_exit_codes.as_ref(),
                vec![0],
            ),
            on_output: pick(own.on_output.as_ref(), file.on_output.as_ref(), Vec::new()),
            not_on_output: pick(own.not_on_output.as_ref(), file.not_on_output.as_ref(), Vec::new()),
        }
    }

    /// Values that must fit one another. A pair that comes whole from the file is looked at once, for the file.
    fn retry_pairs(&mut self, own: &RawRetry, file: &RawRetry) {
        let base = pick(own.backoff.as_ref(), file.backoff.as_ref(), BASE);
        let cap = pick(own.cap.as_ref(), file.cap.as_ref(), CAP);
        if let Some(spot) = spot(own.backoff.as_ref()).or_else(|| spot(own.cap.as_ref()))
            && base > cap
        {
            let message = format!(
                "the first wait of {} seconds is above the longest of {} seconds",
                base.as_secs_f64(),
                cap.as_secs_f64()
            );
            let hint = "raise retry_max_backoff_seconds or lower retry_backoff_seconds".to_owned();
            self.reader.error(spot, message, Some(hint));
        }
        let yes = own.on_exit_codes.as_ref().or(file.on_exit_codes.as_ref());
        let no = own.not_on_exit_codes.as_ref().or(file.not_on_exit_codes.as_ref());
        if let (Some(yes), Some(no)) = (yes, no)
            && let Some(spot) =
                spot(own.not_on_exit_codes.as_ref()).or_else(|| spot(own.on_exit_codes.as_ref()))
            && let Some(code) = no.value.iter().find(|code| yes.value.contains(code))
        {
            let message = format!("exit code {code} is to be retried and not to be retried");
            self.reader.error(spot, message, Some("take it out of one of the two lists".into()));
        }
        let success = own.success_exit_codes.as_ref().or(file.success_exit_codes.as_ref());
        if let (Some(yes), Some(spot)) =
            (yes, spot(own.on_exit_codes.as_ref()).or_else(|| spot(own.success_exit_codes.as_ref())))
        {
            let good = success.map_or(&[0][..], |at| &at.value);
            if let Some(code) = yes.value.iter().find(|code| good.contains(code)) {
                let message = format!("exit code {code} is a good end, so it is not retried as a crash");
                self.reader.warn(
                    spot,
                    message,
                    Some("take it out of success_exit_codes, or out of here".into()),
                );
            }
        }
    }

    fn command(&mut self, raw: &RawCommand, world: &World<'_>) -> Option<CommandSpec> {
        let (command, spot) = match raw {
            RawCommand::Shell(line) => (CommandSpec::Shell(line.value.clone()), line.spot.clone()),
            RawCommand::Argv(items) => {
                let script = script_start(items);
                let argv: Vec<Option<String>> = items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| {
                        if index < script {
                            self.expanded(item, world.scope)
                        } else {
                            Some(item.value.clone())
                        }
                    })
                    .collect();
                let argv: Vec<String> = argv.into_iter().collect::<Option<_>>()?;
                (CommandSpec::Argv(argv), items.first()?.spot.clone())
            }
        };
        let argv = command.argv();
        self.size(&argv, world.scope, &spot);
        let program = argv.first()?;
        if program.is_empty() {
            self.reader.error(spot, "the program has no name once its variables are filled in", None);
            return None;
        }
        // A relative path leads nowhere while the folder is wrong, which is told already.
        let cwd = match world.cwd {
            Some(cwd) => cwd,
            None if program.contains('/') && !program.starts_with('/') => return Some(command),
            None => self.root,
        };
        if let Err(Trouble { message, hint }) = self.disk.program(program, cwd, world.scope.var("PATH")) {
            if world.vague_path && !program.contains('/') {
                self.reader.warn(spot, format!("{message}, unless env_file changes PATH"), hint);
            } else {
                self.reader.missing(spot, message, hint);
            }
        }
        Some(command)
    }

    /// The kernel refuses a start whose arguments and environment are too large together.
    fn size(&mut self, argv: &[String], scope: Scope<'_>, spot: &Spot) {
        const POINTER: usize = size_of::<usize>();
        let outer =
            self.env.vars.iter().filter(|(name, _)| scope.own.is_none_or(|own| !own.contains_key(*name)));
        let vars = outer.chain(scope.own.into_iter().flatten());
        let env: usize = vars.map(|(name, value)| name.len() + value.len() + 2 + POINTER).sum();
        let total = env + argv.iter().map(|arg| arg.len() + 1 + POINTER).sum::<usize>();
        if total > MAX_ARGS {
            let message = format!(
                "command and environment take {total} bytes together; the kernel takes {MAX_ARGS} at most"
            );
            self.reader.error(
                spot.clone(),
                message,
                Some("hand long text over in a file or on stdin".into()),
            );
        }
    }

    fn expanded(&mut self, at: &At<String>, scope: Scope<'_>) -> Option<String> {
        match expand(&at.value, scope) {
            Ok(text) if text.contains('\0') => {
                self.reader.error(at.spot.clone(), "a variable in it holds a NUL byte", None);
                None
            }
            Ok(text) => Some(text),
            Err(error) => {
                self.reader.error(at.spot.clone(), error.to_string(), Some(error.hint()));
                None
            }
        }
    }

    fn path(&mut self, at: &At<String>, scope: Scope<'_>, base: &Path) -> Option<PathBuf> {
        let text = self.expanded(at, scope)?;
        if text.is_empty() {
            self.reader.error(at.spot.clone(), "the path is empty once its variables are filled in", None);
            return None;
        }
        // Without its dots of the harmless kind; `..` stays, for it means something else behind a symbolic link.
        Some(base.join(text).components().collect())
    }

    fn there(&mut self, at: &At<String>, found: Result<(), Trouble>) -> bool {
        let Err(Trouble { message, hint }) = found else { return true };
        self.reader.missing(at.spot.clone(), message, hint);
        false
    }

    fn log_dir(&mut self, at: Option<&At<String>>, scope: Scope<'_>) -> PathBuf {
        let default = self.data_dir.join("logs");
        let Some(at) = at else { return default };
        let Some(path) = self.path(at, scope, self.data_dir) else { return default };
        let inside = path.strip_prefix(self.data_dir);
        if inside.is_ok_and(|inside| inside.components().any(|part| part == Component::ParentDir)) {
            let hint = "write the whole path, from / or ~".to_owned();
            self.reader.error(at.spot.clone(), "the folder leads out of .restage/ by \"..\"", Some(hint));
            return default;
        }
        self.there(at, disk::future_folder(&path));
        path
    }

    /// A folder that restage makes.
    fn made_dir(&mut self, at: Option<&At<Option<String>>>) -> Option<PathBuf> {
        let At { value: Some(text), spot } = at? else { return None };
        let at = At { value: text.clone(), spot: spot.clone() };
        let path = self.path(&at, Scope { env: self.env, own: None }, self.root)?;
        self.there(&at, disk::future_folder(&path));
        Some(path)
    }
}

const BASE: Duration = Duration::from_secs(5);
const CAP: Duration = Duration::from_mins(5);

/// What a command of a runner meets.
struct World<'a> {
    scope: Scope<'a>,
    /// `None` where it is wrong.
    cwd: Option<&'a Path>,
    /// An env file, which is read at each start only, may change PATH.
    vague_path: bool,
}

fn spot<T>(at: Option<&At<T>>) -> Option<Spot> {
    at.map(|at| at.spot.clone())
}

/// Where the script of `["bash", "-c", "…"]` starts: from there on the variables are the shell's own.
fn script_start(items: &[At<String>]) -> usize {
    const SHELLS: [&str; 8] = ["sh", "bash", "dash", "zsh", "ksh", "fish", "ash", "busybox"];
    let program = items.first().and_then(|item| item.value.rsplit('/').next());
    if !program.is_some_and(|name| SHELLS.contains(&name)) {
        return items.len();
    }
    let flag = |item: &At<String>| {
        item.value.starts_with('-') && !item.value.starts_with("--") && item.value.ends_with('c')
    };
    items.iter().position(flag).map_or(items.len(), |at| at + 1)
}
