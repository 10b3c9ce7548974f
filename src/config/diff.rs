//! What an edit of the config changes, so that it touches only that: sentences for a person, and for the supervisor
//! the names of the runners that are concerned.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::settings::{self, Applies, Setting};
use crate::domain::flow::ids::{FlowName, StageName};
use crate::domain::flow::spec::{FlowSpec, StageSpec};
use crate::domain::ids::RunnerName;
use crate::domain::spec::{Reload, RunnerSpec, WorkspaceSpec};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Added(RunnerName),
    Removed(RunnerName),
    /// Applies at once and touches no process.
    Policy {
        name: RunnerName,
        what: Vec<String>,
    },
    /// Applies with the next process; `reload` says whether that is started now.
    Launch {
        name: RunnerName,
        what: Vec<String>,
        reload: Reload,
    },
    /// Applies to runs that begin from now on, and to retries.
    Flow {
        name: FlowName,
        what: FlowChange,
    },
    /// Concerns restage as a whole; what has to wait for its next start says so.
    Fleet {
        what: Vec<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlowChange {
    Added,
    Removed,
    /// Keys of its own, and names of stages.
    Edited {
        keys: Vec<&'static str>,
        added: Vec<StageName>,
        removed: Vec<StageName>,
        changed: Vec<StageName>,
        moved: bool,
    },
}

impl fmt::Display for FlowChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Edited { keys, added, removed, changed, moved } = self else {
            return f.write_str(if *self == Self::Added { "added" } else { "removed from the config" });
        };
        let mut parts = Vec::new();
        if !keys.is_empty() {
            parts.push(keys.join(", "));
        }
        for (what, stages) in [("new", added), ("removed", removed), ("changed", changed)] {
            const SHOWN: usize = 8;
            let names: Vec<&str> = stages.iter().take(SHOWN).map(StageName::as_str).collect();
            let more = stages.len().saturating_sub(SHOWN);
            match (stages.len(), more) {
                (0, _) => {}
                (_, 0) => parts.push(format!("stages {what}: {}", names.join(", "))),
                _ => parts.push(format!("stages {what}: {} and {more} more", names.join(", "))),
            }
        }
        if *moved {
            parts.push("the order of the stages".into());
        }
        write!(f, "{}, from its next run", parts.join("; "))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added(name) => write!(f, "{name}: added"),
            Self::Removed(name) => write!(f, "{name}: removed from the config"),
            Self::Policy { name, what } => write!(f, "{name}: {}", what.join(", ")),
            Self::Launch { name, what, reload } => {
                let next = match reload {
                    Reload::Manual => "restart to apply",
                    Reload::Restart => "restarting",
                };
                write!(f, "{name}: {} changed, {next}", what.join(", "))
            }
            Self::Flow { name, what } => write!(f, "flow {name}: {what}"),
            Self::Fleet { what } => write!(f, "restage: {}", what.join(", ")),
        }
    }
}

/// In the order of the new file, what was removed at the end. Empty where both mean the same.
pub fn diff(old: &WorkspaceSpec, new: &WorkspaceSpec) -> Vec<Change> {
    let mut changes = Vec::new();
    let fleet = fleet(old, new);
    if !fleet.is_empty() {
        changes.push(Change::Fleet { what: fleet });
    }
    let before: BTreeMap<&RunnerName, &RunnerSpec> =
        old.runners.iter().map(|spec| (&spec.name, spec)).collect();
    for spec in &new.runners {
        match before.get(&spec.name) {
            Some(was) if *was == spec => {}
            Some(was) => runner(was, spec, &mut changes),
            None => changes.push(Change::Added(spec.name.clone())),
        }
    }
    let kept: BTreeSet<&RunnerName> = new.runners.iter().map(|spec| &spec.name).collect();
    let removed = old.runners.iter().filter(|spec| !kept.contains(&spec.name));
    changes.extend(removed.map(|spec| Change::Removed(spec.name.clone())));
    flows(old, new, &mut changes);
    changes
}

fn flows(old: &WorkspaceSpec, new: &WorkspaceSpec, changes: &mut Vec<Change>) {
    let before: BTreeMap<&FlowName, &FlowSpec> = old.flows.iter().map(|flow| (&flow.name, &**flow)).collect();
    for flow in &new.flows {
        let what = match before.get(&flow.name) {
            Some(was) if **was == **flow => continue,
            Some(was) => edited(was, flow),
            None => FlowChange::Added,
        };
        changes.push(Change::Flow { name: flow.name.clone(), what });
    }
    let kept: BTreeSet<&FlowName> = new.flows.iter().map(|flow| &flow.name).collect();
    for flow in old.flows.iter().filter(|flow| !kept.contains(&flow.name)) {
        changes.push(Change::Flow { name: flow.name.clone(), what: FlowChange::Removed });
    }
}

fn edited(was: &FlowSpec, is: &FlowSpec) -> FlowChange {
    let keys = [
        ("inputs", was.inputs != is.inputs),
        ("timeout_seconds", was.timeout != is.timeout),
        ("max_parallel", was.max_parallel != is.max_parallel),
        ("max_retry_depth", was.max_retry_depth != is.max_retry_depth),
        ("max_retries_per_checkpoint", was.max_retries_per_checkpoint != is.max_retries_per_checkpoint),
        ("keep_failed_days", was.keep_failed != is.keep_failed),
        ("on_success", was.on_success != is.on_success),
        ("on_failure", was.on_failure != is.on_failure),
        ("hook_timeout_seconds", was.hook_timeout != is.hook_timeout),
        ("concurrency", was.concurrency != is.concurrency),
        ("env", was.env != is.env),
    ];
    let before: BTreeMap<&StageName, &StageSpec> =
        was.stages.iter().map(|stage| (&stage.name, stage)).collect();
    let after: BTreeSet<&StageName> = is.stages.iter().map(|stage| &stage.name).collect();
    let (mut added, mut changed) = (Vec::new(), Vec::new());
    for stage in &is.stages {
        match before.get(&stage.name) {
            Some(was) if *was == stage => {}
            Some(_) => changed.push(stage.name.clone()),
            None => added.push(stage.name.clone()),
        }
    }
    let kept = |stage: &&StageSpec| after.contains(&stage.name) && before.contains_key(&stage.name);
    let order_before = was.stages.iter().filter(kept).map(|stage| &stage.name);
    let order_after = is.stages.iter().filter(kept).map(|stage| &stage.name);
    FlowChange::Edited {
        keys: keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect(),
        added,
        removed: was
            .stages
            .iter()
            .filter(|stage| !after.contains(&stage.name))
            .map(|s| s.name.clone())
            .collect(),
        changed,
        moved: !order_before.eq(order_after),
    }
}

fn fleet(old: &WorkspaceSpec, new: &WorkspaceSpec) -> Vec<String> {
    let (before, after) = (settings::of_workspace(old), settings::of_workspace(new));
    let mut what: Vec<String> = changed(&before, &after)
        .map(|(was, is)| {
            let later = match is.applies {
                Applies::NextStart => " (takes effect at the next start of restage)",
                Applies::Now | Applies::NextAttempt | Applies::Restart => "",
            };
            format!("{} {} -> {}{later}", is.key, was.value, is.value)
        })
        .collect();
    if old.data_dir != new.data_dir {
        what.push("the workspace lies elsewhere (takes effect at the next start of restage)".into());
    }
    what
}

fn runner(old: &RunnerSpec, new: &RunnerSpec, changes: &mut Vec<Change>) {
    let (before, after) = (settings::of_runner(old), settings::of_runner(new));
    let (mut policy, mut launch) = (Vec::new(), Vec::new());
    for (was, is) in changed(&before, &after) {
        match is.applies {
            Applies::Restart => launch.push(is.key.to_owned()),
            Applies::NextAttempt => {
                policy.push(format!("{} {} -> {} (from the next attempt)", is.key, was.value, is.value));
            }
            Applies::Now | Applies::NextStart => {
                policy.push(format!("{} {} -> {}", is.key, was.value, is.value));
            }
        }
    }
    // The texts leave out the values of variables.
    if old.launch.env != new.launch.env {
        launch.retain(|key| key != "env");
        launch.push(format!("env ({})", variables(&old.launch.env, &new.launch.env)));
    }
    if !policy.is_empty() {
        changes.push(Change::Policy { name: new.name.clone(), what: policy });
    }
    if !launch.is_empty() {
        changes.push(Change::Launch { name: new.name.clone(), what: launch, reload: new.reload });
    }
}

fn changed<'a>(
    before: &'a [Setting],
    after: &'a [Setting],
) -> impl Iterator<Item = (&'a Setting, &'a Setting)> {
    before.iter().zip(after).filter(|(was, is)| was.value != is.value)
}

/// The names of variables that are new, gone or different.
fn variables(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> String {
    let gone = old.keys().filter(|name| !new.contains_key(*name));
    let others = new.iter().filter(|(name, value)| old.get(*name) != Some(value)).map(|(name, _)| name);
    let mut names: Vec<&str> = gone.chain(others).map(String::as_str).collect();
    names.sort_unstable();
    names.join(", ")
}
