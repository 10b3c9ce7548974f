//! The config of a workspace, read with the environment of this process: the only place where the two meet.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use directories::BaseDirs;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

use super::exit::Exit;
use super::failure::Failure;
use super::workspace::Workspace;
use super::{link, output};
use crate::config::{self, Diagnostic, Diagnostics, Environment, Loaded, Missing};
use crate::domain::flow::ids::Hash;
use crate::domain::ids::RunnerName;
use crate::domain::spec::{Limit, LogSpec, WorkspaceSpec};
use crate::supervisor::apart::apart;
use crate::supervisor::atomic::replace;

pub fn environment() -> Environment {
    let home = BaseDirs::new().map(|folders| folders.home_dir().to_owned());
    // What is no UTF-8 cannot stand in a JSON file, so it cannot be named there either.
    let vars = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Environment { home, vars: vars.collect(), most: most() }
}

/// The hard limits of this process, which those that it starts have, too. Whoever may raise them is bound only in open
/// files.
fn most() -> BTreeMap<Limit, u64> {
    if may_raise_limits() {
        let files = std::fs::read_to_string("/proc/sys/fs/nr_open").ok();
        let files = files.and_then(|text| text.trim().parse().ok());
        return files.into_iter().map(|files| (Limit::Nofile, files)).collect();
    }
    let limits = [
        (Limit::Nofile, Resource::RLIMIT_NOFILE),
        (Limit::Nproc, Resource::RLIMIT_NPROC),
        (Limit::As, Resource::RLIMIT_AS),
        (Limit::Core, Resource::RLIMIT_CORE),
        (Limit::Cpu, Resource::RLIMIT_CPU),
        (Limit::Data, Resource::RLIMIT_DATA),
        (Limit::Fsize, Resource::RLIMIT_FSIZE),
        (Limit::Memlock, Resource::RLIMIT_MEMLOCK),
        (Limit::Stack, Resource::RLIMIT_STACK),
    ];
    let hard = |(limit, resource)| Some((limit, getrlimit(resource).ok()?.1));
    limits.into_iter().filter_map(hard).filter(|(_, most)| *most != RLIM_INFINITY).collect()
}

/// `CAP_SYS_RESOURCE`, among the effective capabilities.
fn may_raise_limits() -> bool {
    const SYS_RESOURCE: u64 = 1 << 24;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & SYS_RESOURCE != 0)
}

/// The config, or every problem of it.
pub fn read(workspace: &Workspace, missing: Missing) -> Result<Loaded, Diagnostics> {
    config::load_with(&shown(workspace), &environment(), missing)
}

/// What [`read`] says, for whoever keeps it: with nothing left of the reading.
pub fn read_spec(
    workspace: &Workspace,
    missing: Missing,
) -> Result<(WorkspaceSpec, Vec<Diagnostic>), Diagnostics> {
    let loaded = apart(|| read(workspace, missing))?;
    Ok((loaded.spec.compact(), loaded.warnings))
}

/// The config; its problems and warnings are told on stderr.
pub fn load(workspace: &Workspace, missing: Missing) -> Result<WorkspaceSpec, Failure> {
    match read_spec(workspace, missing) {
        Ok((spec, warnings)) => {
            for warning in &warnings {
                output::remark(&warning.human());
            }
            Ok(spec)
        }
        Err(diagnostics) => {
            output::remark(&diagnostics.human());
            let cause = match diagnostics.errors() {
                1 => "one problem, told above".to_owned(),
                many => format!("{many} problems, told above"),
            };
            let act = format!("read {}", shown(workspace).display());
            Err(Failure::new(Exit::Usage, act, cause).hint("nothing was started; mend them and try again"))
        }
    }
}

/// Where the state of supervision lies, as far as the config can be read, or else by the one that was last in force.
pub fn state_dir(workspace: &Workspace) -> Option<PathBuf> {
    // To understand a long one takes a while, and few say anything of it.
    let says = |path: &Path| config::may_have(path, "cache_dir");
    if !says(&workspace.config) && !says(&workspace.config_in_force()) {
        return None;
    }
    match read(workspace, Missing::Warning) {
        Ok(loaded) => loaded.spec.cache_dir,
        Err(_) => in_force(workspace)?.cache_dir,
    }
}

/// Keeps the text of the config that a supervisor works with: its successor may find one that is being edited, or none,
/// and has to look after what runs all the same.
pub fn keep(workspace: &Workspace, spec: &WorkspaceSpec) {
    // One that was edited meanwhile is kept when it is in force.
    let Some(bytes) = config::bytes(&workspace.config).filter(|bytes| Hash::of([bytes]) == spec.text) else {
        return;
    };
    let path = workspace.config_in_force();
    if config::bytes(&path).as_ref() != Some(&bytes)
        && let Err(error) = replace(&path, &bytes)
    {
        tracing::warn!(path = %path.display(), %error, "keep the config that is in force");
    }
}

/// Whether the text is the one that the supervisor works with: it has understood that, and told what there is to say.
pub fn is_in_force(workspace: &Workspace) -> bool {
    matches!(link::who(workspace), link::Found::Somebody(Some(_)))
        && config::bytes(&workspace.config)
            .is_some_and(|text| config::bytes(&workspace.config_in_force()) == Some(text))
}

/// What was kept last, if it is still of use.
pub fn in_force(workspace: &Workspace) -> Option<WorkspaceSpec> {
    let kept = workspace.config_in_force();
    let loaded = apart(|| config::load_kept(&shown(workspace), &kept, &environment()))?;
    Some(loaded.spec.compact())
}

/// How the logs of a runner are named, and whether the config knows it. One that it does not know (any more) may have
/// left logs at the usual place.
pub fn log_of(workspace: &Workspace, name: &RunnerName) -> (LogSpec, bool) {
    let usual = LogSpec {
        dir: workspace.log_dir(),
        template: "{name}_{index}.log".into(),
        max_bytes: None,
        keep_attempts: 1,
    };
    let Ok(loaded) = read(workspace, Missing::Warning) else { return (usual, false) };
    match loaded.spec.runners.into_iter().find(|runner| runner.name == *name) {
        Some(runner) => (runner.log, true),
        None => (LogSpec { dir: loaded.spec.log_dir, ..usual }, false),
    }
}

/// The path as short as it can be told from here.
pub fn shown(workspace: &Workspace) -> PathBuf {
    let here = env::current_dir().unwrap_or_default();
    workspace.config.strip_prefix(&here).map_or_else(|_| workspace.config.clone(), Path::to_owned)
}
