//! From the mirror to the domain: runners inherit from the file, variables are expanded, paths become absolute, values
//! are compared with one another and looked up on disk. Every problem is reported; what is wrong falls back to its
//! default so that the rest can be looked at, too.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

mod command;
mod flow;
mod links;
mod retry;

use super::collide;
use super::dashboard;
use super::disk::{self, Disk, Trouble};
use super::expand::{Environment, Scope, expand};
use super::raw::{RawCommon, RawFile, RawRetry, RawRunner, StageKeys};
use super::read::{At, Reader};
use super::values::MAX_ARG;
use crate::domain::flow::ids::Hash;
use crate::domain::keys::Overrides;
use crate::domain::spec::{
    ActivitySpec, CgroupUse, Clipboard, HealthSpec, LaunchSpec, Leftovers, Limit, LimitValue, LogSpec,
    Notifications, Reload, RestartPolicy, RetryBudget, RunnerSpec, StdinSpec, Stdio, StopSpec, ThemeChoice,
    TuiSpec, WorkspaceSpec,
};
use command::World;

pub(super) const DATA_DIR: &str = ".restage";
const SIGTERM: i32 = 15;

/// Where a workspace lies.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub root: &'a Path,
    pub config_path: &'a Path,
    pub text: Hash,
}

/// Also the keys that the stages of each flow set.
pub(super) fn lower(
    reader: &mut Reader<'_>,
    file: &RawFile<'_>,
    place: &Place<'_>,
    env: &Environment,
) -> (WorkspaceSpec, Vec<StageKeys>) {
    let data_dir = place.root.join(DATA_DIR);
    let mut lowering = Lowering {
        reader,
        file,
        root: place.root,
        data_dir: &data_dir,
        env,
        env_bytes: command::bytes(env.vars.iter()),
        disk: Disk::default(),
        stage_keys: Vec::new(),
    };
    lowering.retry_pairs(&file.supervision.retry, &RawRetry::default());
    let outer = Scope { env, own: None };
    let file_env = lowering.env(file.common.env.as_ref(), outer);
    let log_dir = lowering.log_dir(file.supervision.log_dir.as_ref(), outer);
    let runners: Vec<RunnerSpec> =
        file.runners.iter().filter_map(|runner| lowering.runner(runner, &file_env, &log_dir)).collect();
    let flows = file.flows.iter().filter_map(|flow| lowering.flow(flow, &file_env)).map(Arc::new).collect();
    let cache_dir = lowering.made_dir(file.cache_dir.as_ref());
    let retry_log_dir = lowering.made_dir(file.retry_log_dir.as_ref());
    let theme = lowering.theme(file.theme.as_ref());
    let stage_keys = lowering.stage_keys;
    collide::check(reader, file, &runners);
    let spec = WorkspaceSpec {
        root: place.root.to_owned(),
        config_path: place.config_path.to_owned(),
        text: place.text.clone(),
        log_dir,
        cache_dir,
        retry_log_dir,
        retry_budget: value(file.retry_budget.as_ref(), None).map(|(max, per)| RetryBudget { max, per }),
        cgroup: value(file.cgroup.as_ref(), CgroupUse::Auto),
        tui: TuiSpec {
            refresh: value(file.tui_refresh.as_ref(), Duration::from_secs(1)),
            log_tail_lines: value(file.tui_log_tail_lines.as_ref(), 200),
            theme,
            keys: value(file.keys.as_ref(), Overrides::new()),
            notifications: value(file.notifications.as_ref(), Notifications::Bell),
            clipboard: value(file.clipboard.as_ref(), Clipboard::Osc52),
        },
        runners,
        flows,
        data_dir,
    };
    (spec, stage_keys)
}

struct Lowering<'a, 't> {
    reader: &'a mut Reader<'t>,
    file: &'a RawFile<'a>,
    root: &'a Path,
    data_dir: &'a Path,
    env: &'a Environment,
    /// What the variables take that restage was started with.
    env_bytes: usize,
    disk: Disk,
    stage_keys: Vec<StageKeys>,
}

/// When something has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needed {
    Now,
    /// When a stage of a flow starts: one before it may make it, and other flows do not ask for it.
    AtItsStart,
}

/// The value of a key, or its default.
fn value<T: Clone>(at: Option<&At<T>>, default: T) -> T {
    at.map_or(default, |at| at.value.clone())
}

/// What a runner says, else what the file says, else the default.
fn pick<T: Clone>(runner: Option<&At<T>>, file: Option<&At<T>>, default: T) -> T {
    value(runner.or(file), default)
}

impl Lowering<'_, '_> {
    fn runner(
        &mut self,
        raw: &RawRunner,
        file_env: &BTreeMap<String, String>,
        log_dir: &Path,
    ) -> Option<RunnerSpec> {
        let (own, file) = (&raw.common, &self.file.common);
        let outer = Scope { env: self.env, own: None };
        let mut env = file_env.clone();
        env.extend(self.env(own.env.as_ref(), outer));
        let scope = Scope { env: self.env, own: Some(&env) };

        let (cwd, entered) = self.cwd(raw.cwd.as_ref(), scope, Needed::Now);
        let env_files = self.env_files(own, scope, Needed::Now);
        let stdin = self.stdin(raw, scope);
        let world = World {
            scope,
            cwd: cwd.as_deref().filter(|_| entered),
            vague_path: !env_files.is_empty(),
            made_later: false,
        };
        let command = raw.command.as_ref().and_then(|at| self.command(&at.value, &world));
        let stop = self.stop(own, &world);
        let health = self.health(raw, &world);
        let (named, by_file) = (&raw.supervision, &self.file.supervision);
        let log_dir = match &named.log_dir {
            Some(at) => self.log_dir(Some(at), scope),
            None => log_dir.to_owned(),
        };
        let restart = value(raw.restart.as_ref(), RestartPolicy::OnCrash);
        let activity = self.activity(raw);
        let retry = self.retry(&named.retry, restart);

        Some(RunnerSpec {
            name: raw.name.clone(),
            group: raw.group.as_ref().map(|at| at.value.clone()),
            restart,
            retry: Arc::new(retry),
            timeout: pick(own.timeout.as_ref(), file.timeout.as_ref(), None),
            activity,
            health,
            stop,
            autostart: value(raw.autostart.as_ref(), true),
            leftovers: pick(named.leftovers.as_ref(), by_file.leftovers.as_ref(), Leftovers::Kill),
            reload: pick(named.reload.as_ref(), by_file.reload.as_ref(), Reload::Manual),
            log: LogSpec {
                dir: log_dir,
                template: pick(
                    named.log_template.as_ref(),
                    by_file.log_template.as_ref(),
                    "{name}_{index}.log".to_owned(),
                ),
                max_bytes: pick(own.log_max_bytes.as_ref(), file.log_max_bytes.as_ref(), None),
                keep_attempts: pick(named.log_keep.as_ref(), by_file.log_keep.as_ref(), 100),
            },
            launch: LaunchSpec {
                command: command?,
                cwd: cwd.unwrap_or_else(|| self.root.to_owned()),
                env_files,
                stdin,
                stdio: pick(own.stdio.as_ref(), file.stdio.as_ref(), Stdio::Auto),
                umask: own.umask.as_ref().or(file.umask.as_ref()).map(|at| at.value),
                limits: self.limits(own),
                env,
            },
        })
    }

    /// The folder to run in, and whether it may be entered.
    fn cwd(&mut self, at: Option<&At<String>>, scope: Scope<'_>, needed: Needed) -> (Option<PathBuf>, bool) {
        let Some(at) = at else { return (Some(self.root.to_owned()), true) };
        let path = self.path(at, scope, self.root);
        let entered = path.as_ref().is_some_and(|path| self.needed(at, path, disk::folder(path), needed));
        (path, entered)
    }

    fn stop(&mut self, own: &RawCommon, world: &World<'_>) -> StopSpec {
        let file = &self.file.common;
        let command = own.stop_command.as_ref().or(file.stop_command.as_ref());
        let command = command.and_then(|at| at.value.as_ref()).and_then(|raw| self.command(raw, world));
        StopSpec {
            signal: pick(own.stop_signal.as_ref(), file.stop_signal.as_ref(), SIGTERM),
            grace: pick(own.stop_grace.as_ref(), file.stop_grace.as_ref(), Duration::from_secs(10)),
            command,
        }
    }

    fn limits(&mut self, own: &RawCommon) -> BTreeMap<Limit, LimitValue> {
        let mut limits = self.allowed(self.file.common.limits.as_ref());
        limits.extend(self.allowed(own.limits.as_ref()));
        limits
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
                    self.reader.error(at.spot, message, Some("hand long text over in a file".into()));
                }
                Some((name.clone(), value))
            })
            .collect()
    }

    fn env_files(&mut self, own: &RawCommon, scope: Scope<'_>, needed: Needed) -> Vec<PathBuf> {
        let outer = Scope { env: self.env, own: None };
        let file = self.file.common.env_files.iter().flat_map(|at| &at.value);
        let file = file.map(|at| (at, outer, Needed::Now));
        let own = own.env_files.iter().flat_map(|at| &at.value).map(|at| (at, scope, needed));
        file.chain(own)
            .filter_map(|(at, scope, needed)| {
                let path = self.path(at, scope, self.root)?;
                self.needed(at, &path, disk::env_file(&path), needed);
                Some(path)
            })
            .collect()
    }

    /// One above what this machine allows would fail at every start.
    fn allowed(
        &mut self,
        limits: Option<&At<BTreeMap<Limit, At<LimitValue>>>>,
    ) -> BTreeMap<Limit, LimitValue> {
        let mut allowed = BTreeMap::new();
        for (limit, at) in limits.iter().flat_map(|at| &at.value) {
            allowed.insert(*limit, at.value);
            let Some(most) = self.env.most.get(limit) else { continue };
            let wanted = match at.value {
                LimitValue::At(value) if value <= *most => continue,
                LimitValue::At(value) => value.to_string(),
                LimitValue::Unlimited => "unlimited".into(),
            };
            let message = format!("{wanted} is more than can be had here: {most} at most");
            let hint = "write less, or have the hard limit of your session raised (`ulimit -H`)".to_owned();
            self.reader.missing(at.spot, message, Some(hint));
        }
        allowed
    }

    fn stdin(&mut self, raw: &RawRunner, scope: Scope<'_>) -> StdinSpec {
        let Some(At { value: Some(text), spot }) = &raw.stdin else { return StdinSpec::Null };
        if text == "null" {
            return StdinSpec::Null;
        }
        let at = At { value: text.clone(), spot: *spot };
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
            self.reader.warn(at.spot, "this has no effect without a limit for silence", Some(hint));
        }
        let chosen = raw.activity.as_ref().map(|at| &at.value);
        Some(ActivitySpec {
            timeout: timeout?,
            output: chosen.is_none_or(|activity| activity.output),
            cpu: chosen.is_none_or(|activity| activity.cpu),
            files: chosen.map(|activity| activity.files.clone()).unwrap_or_default(),
        })
    }

    fn expanded(&mut self, at: &At<String>, scope: Scope<'_>) -> Option<String> {
        match expand(&at.value, scope) {
            Ok(text) if text.contains('\0') => {
                self.reader.error(at.spot, "a variable in it holds a NUL byte", None);
                None
            }
            Ok(text) => Some(text),
            Err(error) => {
                self.reader.error(at.spot, error.to_string(), Some(error.hint()));
                None
            }
        }
    }

    fn path(&mut self, at: &At<String>, scope: Scope<'_>, base: &Path) -> Option<PathBuf> {
        let text = self.expanded(at, scope)?;
        if text.is_empty() {
            self.reader.error(at.spot, "the path is empty once its variables are filled in", None);
            return None;
        }
        // Without its dots of the harmless kind; `..` stays, for it means something else behind a symbolic link.
        Some(base.join(text).components().collect())
    }

    fn there(&mut self, at: &At<String>, found: Result<(), Trouble>) -> bool {
        let Err(Trouble { message, hint }) = found else { return true };
        self.reader.missing(at.spot, message, hint);
        false
    }

    fn needed(&mut self, at: &At<String>, path: &Path, found: Result<(), Trouble>, needed: Needed) -> bool {
        let missing = || path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound);
        match found {
            Err(Trouble { message, hint }) if needed == Needed::AtItsStart && missing() => {
                let message = format!("{message}; it has to be there when the stage starts");
                self.reader.warn(at.spot, message, hint);
                false
            }
            found => self.there(at, found),
        }
    }

    fn log_dir(&mut self, at: Option<&At<String>>, scope: Scope<'_>) -> PathBuf {
        let default = self.data_dir.join("logs");
        let Some(at) = at else { return default };
        let Some(path) = self.path(at, scope, self.data_dir) else { return default };
        let inside = path.strip_prefix(self.data_dir);
        if inside.is_ok_and(|inside| inside.components().any(|part| part == Component::ParentDir)) {
            let hint = "write the whole path, from / or ~".to_owned();
            self.reader.error(at.spot, "the folder leads out of .restage/ by \"..\"", Some(hint));
            return default;
        }
        self.there(at, disk::future_folder(&path));
        path
    }

    /// A name, or a file of the user's own; whether it is a theme is seen when it is opened.
    fn theme(&mut self, at: Option<&At<String>>) -> ThemeChoice {
        let Some(at) = at else { return ThemeChoice::Auto };
        if let Some(choice) = dashboard::theme_name(at) {
            return choice;
        }
        if !dashboard::is_file(&at.value) {
            dashboard::unknown_theme(self.reader, at);
            return ThemeChoice::Auto;
        }
        let path = self.path(at, Scope { env: self.env, own: None }, self.root);
        match path {
            Some(path) if self.there(at, disk::readable(&path)) => ThemeChoice::File(path),
            Some(_) | None => ThemeChoice::Auto,
        }
    }

    /// A folder that restage makes.
    fn made_dir(&mut self, at: Option<&At<Option<String>>>) -> Option<PathBuf> {
        let At { value: Some(text), spot } = at? else { return None };
        let at = At { value: text.clone(), spot: *spot };
        let path = self.path(&at, Scope { env: self.env, own: None }, self.root)?;
        self.there(&at, disk::future_folder(&path));
        Some(path)
    }
}
