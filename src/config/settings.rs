//! A spec, key by key, as text: for the screen that shows what is in effect, and for telling what an edit changed.
//! Values of variables are left out; they may be secrets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::domain::keys::{Key, Overrides};
use crate::domain::spec::{
    ActivitySpec, Clipboard, CommandSpec, HealthSpec, Jitter, Leftovers, Limit, LimitValue, Notifications,
    Pattern, Reload, RestartPolicy, RunnerSpec, StdinSpec, Stdio, ThemeChoice, WorkspaceSpec,
};
use crate::domain::verdict::signal_name;

mod flow;

pub use flow::{of_flow, of_stage};

/// When a changed value takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applies {
    Now,
    /// With the next attempt, without anybody's doing.
    NextAttempt,
    /// With the next process, so a running one has to be restarted.
    Restart,
    /// When restage itself starts again.
    NextStart,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The long name of the key table.
    pub key: &'static str,
    pub value: String,
    pub applies: Applies,
}

/// What counts for one runner, in the order of the key table.
pub fn of_runner(spec: &RunnerSpec) -> Vec<Setting> {
    use Applies::{NextAttempt, Now, Restart};
    let (launch, retry, log) = (&spec.launch, &spec.retry, &spec.log);
    let rows = [
        ("command", command(&launch.command), Restart),
        ("cwd", path(&launch.cwd), Restart),
        ("restart", restart(spec.restart).into(), Now),
        ("group", spec.group.clone().unwrap_or_else(none), Now),
        ("autostart", spec.autostart.to_string(), Now),
        ("stdin", stdin(&launch.stdin), Restart),
        ("activity", activity(spec.activity.as_ref()), Now),
        ("health", spec.health.as_ref().map_or_else(off, health), Now),
        ("retry_on_crash", retry.enabled.to_string(), Now),
        ("retry_max_retries", retry.max_retries.to_string(), Now),
        ("retry_backoff_seconds", seconds(retry.backoff.base), Now),
        ("retry_backoff_multiplier", retry.backoff.multiplier.to_string(), Now),
        ("retry_max_backoff_seconds", seconds(retry.backoff.cap), Now),
        ("retry_jitter", jitter(retry.backoff.jitter).into(), Now),
        ("retry_reset_after_seconds", retry.reset_after.map_or_else(off, seconds), Now),
        ("retry_on_exit_codes", retry.on_exit_codes.as_deref().map_or_else(|| "all".into(), codes), Now),
        ("no_retry_exit_codes", codes(&retry.not_on_exit_codes), Now),
        ("success_exit_codes", codes(&retry.success_exit_codes), Now),
        ("retry_on_output", patterns(&retry.on_output), Now),
        ("no_retry_on_output", patterns(&retry.not_on_output), Now),
        ("activity_timeout_seconds", spec.activity.as_ref().map_or_else(off, |a| seconds(a.timeout)), Now),
        ("timeout_seconds", spec.timeout.map_or_else(off, seconds), Now),
        ("stop_signal", signal_name(spec.stop.signal), Now),
        ("stop_grace_seconds", seconds(spec.stop.grace), Now),
        ("stop_command", spec.stop.command.as_ref().map_or_else(off, command), Now),
        ("log_file_template", log.template.clone(), NextAttempt),
        ("log_dir_name", path(&log.dir), NextAttempt),
        ("log_max_bytes", log.max_bytes.map_or_else(off, |bytes| bytes.to_string()), NextAttempt),
        ("log_keep_attempts", log.keep_attempts.to_string(), NextAttempt),
        ("stdio", stdio(launch.stdio).into(), Restart),
        ("env", names(&launch.env), Restart),
        ("env_file", files(&launch.env_files), Restart),
        ("umask", launch.umask.map_or_else(|| "inherited".into(), |mask| format!("{mask:03o}")), Restart),
        ("limits", limits(&launch.limits), Restart),
        ("leftovers", leftovers(spec.leftovers).into(), Now),
        ("reload", reload(spec.reload).into(), Now),
    ];
    rows.into_iter().map(|(key, value, applies)| Setting { key, value, applies }).collect()
}

/// What counts for the workspace as a whole.
pub fn of_workspace(spec: &WorkspaceSpec) -> Vec<Setting> {
    use Applies::{NextStart, Now};
    let budget = spec
        .retry_budget
        .map_or_else(off, |budget| format!("{} in {} seconds", budget.max, seconds(budget.per)));
    let cgroup = match spec.cgroup {
        crate::domain::spec::CgroupUse::Auto => "auto",
        crate::domain::spec::CgroupUse::Off => "off",
    };
    let cache = spec.cache_dir.as_deref().map_or_else(|| "the user's cache folder".into(), path);
    let rows = [
        ("log_dir_name", path(&spec.log_dir), NextStart),
        ("retry_budget", budget, Now),
        ("retry_log_dir", spec.retry_log_dir.as_deref().map_or_else(off, path), NextStart),
        ("cache_dir", cache, NextStart),
        ("tui_refresh_seconds", seconds(spec.tui.refresh), Now),
        ("tui_log_tail_lines", spec.tui.log_tail_lines.to_string(), Now),
        ("theme", theme(&spec.tui.theme), Now),
        ("keys", keys(&spec.tui.keys), Now),
        ("notifications", notifications(spec.tui.notifications).into(), Now),
        ("clipboard", clipboard(spec.tui.clipboard).into(), Now),
        ("cgroup", cgroup.into(), NextStart),
    ];
    rows.into_iter().map(|(key, value, applies)| Setting { key, value, applies }).collect()
}

fn theme(theme: &ThemeChoice) -> String {
    match theme {
        ThemeChoice::Auto => "auto".into(),
        ThemeChoice::BuiltIn(name) => (*name).into(),
        ThemeChoice::File(file) => path(file),
    }
}

fn keys(keys: &Overrides) -> String {
    let one = |(name, keys): (&String, &Vec<Key>)| {
        let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
        format!("{name} {}", if keys.is_empty() { none() } else { keys.join(" ") })
    };
    if keys.is_empty() { none() } else { keys.iter().map(one).collect::<Vec<_>>().join(", ") }
}

fn notifications(how: Notifications) -> &'static str {
    match how {
        Notifications::Off => "off",
        Notifications::Bell => "bell",
        Notifications::Osc9 => "osc9",
        Notifications::Both => "both",
    }
}

fn clipboard(how: Clipboard) -> &'static str {
    match how {
        Clipboard::Off => "off",
        Clipboard::Osc52 => "osc52",
    }
}

fn off() -> String {
    "off".into()
}

fn none() -> String {
    "none".into()
}

fn seconds(duration: Duration) -> String {
    duration.as_secs_f64().to_string()
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

fn command(command: &CommandSpec) -> String {
    match command {
        CommandSpec::Shell(line) => line.clone(),
        CommandSpec::Argv(argv) => format!("{argv:?}"),
    }
}

fn restart(policy: RestartPolicy) -> &'static str {
    match policy {
        RestartPolicy::OnCrash => "on_crash",
        RestartPolicy::Always => "always",
        RestartPolicy::Never => "never",
    }
}

fn stdin(stdin: &StdinSpec) -> String {
    match stdin {
        StdinSpec::Null => "null".into(),
        StdinSpec::File(file) => path(file),
    }
}

fn stdio(stdio: Stdio) -> &'static str {
    match stdio {
        Stdio::Auto => "auto",
        Stdio::File => "file",
        Stdio::Pipe => "pipe",
        Stdio::Tty => "tty",
    }
}

fn jitter(jitter: Jitter) -> &'static str {
    match jitter {
        Jitter::None => "none",
        Jitter::Equal => "equal",
        Jitter::Full => "full",
    }
}

fn leftovers(leftovers: Leftovers) -> &'static str {
    match leftovers {
        Leftovers::Kill => "kill",
        Leftovers::Keep => "keep",
    }
}

fn reload(reload: Reload) -> &'static str {
    match reload {
        Reload::Manual => "manual",
        Reload::Restart => "restart",
    }
}

fn activity(activity: Option<&ActivitySpec>) -> String {
    let Some(activity) = activity else { return off() };
    let output = activity.output.then(|| "output".to_owned());
    let cpu = activity.cpu.then(|| "cpu".to_owned());
    let all: Vec<String> = output.into_iter().chain(cpu).chain(activity.files.iter().cloned()).collect();
    all.join("|")
}

fn health(health: &HealthSpec) -> String {
    format!(
        "{}, every {} seconds within {}, {} failures",
        command(&health.command),
        seconds(health.interval),
        seconds(health.timeout),
        health.failures
    )
}

fn codes(codes: &[i32]) -> String {
    if codes.is_empty() {
        return none();
    }
    codes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn patterns(patterns: &[Pattern]) -> String {
    if patterns.is_empty() {
        return off();
    }
    patterns.iter().map(|pattern| format!("{:?}", pattern.0.as_str())).collect::<Vec<_>>().join(", ")
}

fn names<V>(env: &BTreeMap<String, V>) -> String {
    if env.is_empty() { none() } else { env.keys().cloned().collect::<Vec<_>>().join(", ") }
}

fn files(files: &[PathBuf]) -> String {
    if files.is_empty() {
        return none();
    }
    files.iter().map(|file| path(file)).collect::<Vec<_>>().join(", ")
}

fn limits(limits: &BTreeMap<Limit, LimitValue>) -> String {
    let one = |value: &LimitValue| match value {
        LimitValue::Unlimited => "unlimited".to_owned(),
        LimitValue::At(at) => at.to_string(),
    };
    let all: Vec<String> = limits
        .iter()
        .map(|(limit, value)| format!("{} {}", format!("{limit:?}").to_lowercase(), one(value)))
        .collect();
    if all.is_empty() { "inherited".into() } else { all.join(", ") }
}
