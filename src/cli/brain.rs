//! Puts a supervisor together: state, keeper, config, clocks. What comes out is a handle and the actor, not yet running.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::attend::Came;
use super::exit::Exit;
use super::failure::Failure;
use super::flows;
use super::process;
use super::settings;
use super::workspace::Workspace;
use crate::config::{self, Missing, diff};
use crate::domain::ids::RunnerName;
use crate::domain::spec::{CgroupUse, WorkspaceSpec};
use crate::executor::local::{Introduction, LocalExecutor};
use crate::flow::engine::Left;
use crate::flow::handle::FlowHandle;
use crate::keeper::link::KeeperPlace;
use crate::keeper::wire::Policy;
use crate::ports::{Clock, ExecEvent};
use crate::supervisor::clock::SystemClock;
use crate::supervisor::handle::Handle;
use crate::supervisor::helper::SystemHelpers;
use crate::supervisor::journal::{Identity, Owner, StateFile};
use crate::supervisor::manager::{
    ConfigSource, End, EndReason, Exit as ActorExit, Mode, Options, Parts, Reloaded, RunnerManager, StartPlan,
};
use crate::supervisor::place::WorkspacePlaces;
use crate::supervisor::probe::SystemProbe;
use crate::supervisor::watch;

/// The goodbye is a line on a socket; a keeper that does not take it by then is told nothing.
const GOODBYE: Duration = Duration::from_secs(2);

/// What a supervisor is for.
#[derive(Debug)]
pub struct Plan<'a> {
    pub workspace: &'a Workspace,
    pub places: &'a WorkspacePlaces,
    pub spec: WorkspaceSpec,
    /// `None`: all with autostart.
    pub chosen: Option<Vec<RunnerName>>,
    pub mode: Mode,
    /// Arguments with which the keeper starts a successor.
    pub successor: Vec<String>,
    /// Of runs.
    pub left: Left,
}

/// To be called inside the runtime, by whoever holds the lock of the workspace.
pub fn assemble(
    plan: Plan<'_>,
) -> Result<(Handle, FlowHandle, impl Future<Output = Came> + Send + use<>), Failure> {
    let Plan { workspace, places, spec, chosen, mode, successor, left } = plan;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let identity = Identity::current().map_err(|error| {
        Failure::io("find out which boot of which machine this is", &error)
            .hint("/proc must be mounted; `restage doctor` tells more")
    })?;
    let owner = Owner { workspace: workspace.root.clone(), identity, supervisor: process::me() };
    let (store, recovered) = StateFile::open(&places.state_dir, owner, Arc::clone(&clock))
        .map_err(|error| Failure::new(Exit::Failed, "take over the state of supervision", error))?;
    let keeper = keeper_place(workspace, places, &spec)?;
    let policy = match mode {
        // Where nobody may come back to look after them, children end with us.
        Mode::Headless => Policy::Stop,
        Mode::Background => Policy::Keep,
    };
    let introduction = Introduction { epoch: recovered.epoch, policy, successor };
    let (tell, exec_events) = mpsc::unbounded_channel();
    let (executor, line) = LocalExecutor::start(keeper, introduction, tell);
    let (touch, touched) = mpsc::unbounded_channel();
    let config_watch = watch::watch(&workspace.config, touch);
    let flows::Line { flows, guests, orders } = flows::line();
    let parts = Parts {
        clock: Arc::clone(&clock),
        executor: Box::new(executor),
        exec_events,
        store: Box::new(store),
        state_dir: places.state_dir.clone(),
        config: Box::new(ConfigFile { workspace: workspace.clone(), flows: flows.clone() }),
        config_touched: touched,
        probe: Arc::new(SystemProbe),
        helpers: Arc::new(SystemHelpers),
        guests: Some(guests),
    };
    let start = chosen.map_or(StartPlan::Autostart, StartPlan::Only);
    let specs = spec.flows.clone();
    let (manager, handle) = RunnerManager::new(spec, recovered, parts, Options { mode, start });
    flows::prepare(workspace, &flows, orders, clock, handle.clone(), specs, left);
    let engine = flows.clone();
    let actor = async move {
        let end = manager.run().await;
        engine.end().await;
        drop(config_watch);
        line.goodbye(GOODBYE).await;
        came(&end)
    };
    Ok((handle, flows, actor))
}

fn keeper_place(
    workspace: &Workspace,
    places: &WorkspacePlaces,
    spec: &WorkspaceSpec,
) -> Result<KeeperPlace, Failure> {
    let runtime_dir =
        places.prepare_runtime_dir().map_err(|error| Failure::io("start the keeper", &error))?;
    Ok(KeeperPlace {
        data_dir: workspace.data_dir(),
        runtime_dir: runtime_dir.to_owned(),
        cgroups: spec.cgroup == CgroupUse::Auto,
    })
}

/// Says to the keeper what a supervisor that has died was about to say. To be called inside the runtime, by whoever holds
/// the lock of the workspace.
pub async fn take_leave(
    workspace: &Workspace,
    places: &WorkspacePlaces,
    spec: &WorkspaceSpec,
    epoch: u64,
) -> Result<(), Failure> {
    let introduction = Introduction { epoch, policy: Policy::Keep, successor: Vec::new() };
    let (tell, mut told) = mpsc::unbounded_channel();
    let (executor, line) = LocalExecutor::start(keeper_place(workspace, places, spec)?, introduction, tell);
    let met = async {
        // Where the epoch is too low, it begins again by itself.
        while let Some(event) = told.recv().await {
            if matches!(event, ExecEvent::Connected(_)) {
                return;
            }
        }
    };
    tokio::time::timeout(GOODBYE, met).await.ok();
    drop(executor);
    line.goodbye(GOODBYE).await;
    Ok(())
}

/// The config as it is on disk at the moment.
#[derive(Debug)]
struct ConfigFile {
    workspace: Workspace,
    flows: FlowHandle,
}

impl ConfigSource for ConfigFile {
    fn load(&mut self, running: &WorkspaceSpec) -> Result<Reloaded, String> {
        if config::text(&self.workspace.config).as_ref() == Some(&running.text) {
            return Ok(Reloaded { workspace: running.clone(), changes: Vec::new() });
        }
        let (spec, warnings) = settings::read_spec(&self.workspace, Missing::Error)
            .map_err(|diagnostics| diagnostics.to_string())?;
        let mut changes: Vec<String> = diff(running, &spec).iter().map(ToString::to_string).collect();
        changes.extend(warnings.iter().map(ToString::to_string));
        settings::keep(&self.workspace, &spec);
        self.flows.configure(spec.flows.clone());
        Ok(Reloaded { workspace: spec, changes })
    }
}

fn came(end: &End) -> Came {
    let exit = match end.exit() {
        ActorExit::AllCompleted | ActorExit::Stopped => Exit::Completed,
        ActorExit::SomeFailed => Exit::Failed,
    };
    Came { exit, summary: summary(end) }
}

/// More of them would bury the counts.
const MOST_NAMES: usize = 10;

/// `3 completed, 1 failed (agent)`
fn summary(end: &End) -> String {
    let named = |names: &[RunnerName], word: &str| {
        let mut list: Vec<&str> = names.iter().take(MOST_NAMES).map(RunnerName::as_str).collect();
        if names.len() > MOST_NAMES {
            list.push("…");
        }
        (!list.is_empty()).then(|| format!("{} {word} ({})", names.len(), list.join(", ")))
    };
    let completed = (!end.completed.is_empty()).then(|| format!("{} completed", end.completed.len()));
    let parts = [
        completed,
        named(&end.failed, "failed"),
        named(&end.stopped, "stopped"),
        named(&end.alive, "could not be ended"),
    ];
    let counts: Vec<String> = parts.into_iter().flatten().collect();
    let why = match end.why {
        EndReason::NothingLeft => "nothing is left to run",
        EndReason::NoKeeper => "nothing was started, because the keeper did not come",
        EndReason::Idle => "nothing to do and nobody here",
        EndReason::Shutdown(_) => "asked for",
    };
    if counts.is_empty() { why.to_owned() } else { format!("{why}; {}", counts.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::handle::Shutdown;

    fn names(names: &[&str]) -> Vec<RunnerName> {
        names.iter().map(|name| RunnerName::trusted(*name)).collect()
    }

    #[test]
    fn the_end_is_told_and_counted() {
        let none = End {
            why: EndReason::NothingLeft,
            completed: vec![],
            failed: vec![],
            stopped: vec![],
            alive: vec![],
        };
        let table = [
            (none.clone(), Exit::Completed, "nothing is left to run"),
            (
                End { completed: names(&["a", "b"]), failed: names(&["c"]), ..none.clone() },
                Exit::Failed,
                "nothing is left to run; 2 completed, 1 failed (c)",
            ),
            (
                End {
                    why: EndReason::Shutdown(Shutdown::Graceful),
                    stopped: names(&["a", "b"]),
                    ..none.clone()
                },
                Exit::Completed,
                "asked for; 2 stopped (a, b)",
            ),
            (
                End { alive: names(&["a"]), ..none.clone() },
                Exit::Failed,
                "nothing is left to run; 1 could not be ended (a)",
            ),
        ];
        for (end, exit, summary) in table {
            assert_eq!(came(&end), Came { exit, summary: summary.into() });
        }
        let many = End { failed: vec![RunnerName::trusted("x"); 200], ..none };
        assert!(came(&many).summary.ends_with("200 failed (x, x, x, x, x, x, x, x, x, x, …)"));
    }
}
