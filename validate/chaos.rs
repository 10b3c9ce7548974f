//! Kills at random instants under load: supervisor, keeper, guard, relays, alone and together.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::kit::{Outcome, Workspace, ensure, fixture, is_alive, kill, runners, wait};
use crate::survive::{find_files, linger, numbered};

/// xorshift: the same campaign for the same seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

pub(crate) fn campaign(kills: usize) -> Outcome {
    let fixture = fixture();
    let specs: Vec<(String, Value)> = (0..20)
        .map(|index| {
            let stdio = ["file", "pipe", "tty", "file", "pipe"][index % 5];
            // Most print for ever; some crash now and then, so that attempts change hands.
            let count = if index % 4 == 3 { "400" } else { "0" };
            let spec = json!({ "command": [fixture, "lines", count, "1500"], "stdio": stdio, "restart": "always",
                               "retry": { "count": 100_000, "backoff_seconds": 0.05, "multiplier": 1 },
                               "log_keep_attempts": 10_000 });
            (format!("{stdio}-{index:02}"), spec)
        })
        .collect();
    let specs: Vec<_> = specs.iter().map(|(name, spec)| (name.as_str(), spec.clone())).collect();
    let workspace = Workspace::new(&runners(&specs));
    workspace.ok(&["up", "--detach"])?;
    wait("all run", || all_running(&workspace).then_some(()))?;

    let seed = crate::kit::monotonic_ns() | 1;
    let mut dice = Dice(seed);
    let mut killed: HashMap<&str, usize> = HashMap::new();
    for round in 0..kills {
        linger(Duration::from_millis(dice.roll(150)));
        let victims = roles(&workspace);
        let chosen: Vec<&(&str, i32)> = match dice.roll(6) {
            // Everything of ours.
            0 => victims.iter().collect(),
            // Two at once.
            1 => (0..2)
                .filter_map(|_| victims.get(usize::try_from(dice.roll(victims.len().max(1) as u64)).ok()?))
                .collect(),
            _ => victims
                .get(usize::try_from(dice.roll(victims.len().max(1) as u64)).unwrap_or(0))
                .into_iter()
                .collect(),
        };
        for (role, pid) in chosen {
            kill(*pid, libc::SIGKILL);
            *killed.entry(role).or_default() += 1;
        }
        state_parses(&workspace).map_err(|error| format!("round {round}, seed {seed}: {error}"))?;
        no_twins(&workspace).map_err(|error| format!("round {round}, seed {seed}: {error}"))?;
        if round % 5 == 4 {
            // Any verb brings back what died altogether.
            wait("restage answers again", || workspace.status().ok())
                .map_err(|error| format!("round {round}, seed {seed}: {error}"))?;
        }
    }
    wait("all run again", || all_running(&workspace).then_some(()))
        .map_err(|error| format!("seed {seed}: {error}: {:?}", workspace.status()))?;
    no_twins(&workspace)?;
    workspace.ok(&["down"])?;
    wait("nothing is left", || workspace.all_processes().is_empty().then_some(())).map_err(|error| {
        let left: Vec<String> =
            workspace.all_processes().iter().map(|pid| crate::kit::command_line(*pid)).collect();
        format!("seed {seed}: {error}: {left:?}")
    })?;
    let mut lines = 0;
    let mut logs = 0;
    for log in find_files(&workspace.path(".restage/logs"), ".log") {
        let name = log.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if ["file-", "pipe-", "tty-"].iter().any(|kind| name.starts_with(kind)) {
            lines += numbered(&log).map_err(|error| format!("seed {seed}: {error}"))?;
            logs += 1;
        }
    }
    let mut counts: Vec<_> = killed.into_iter().collect();
    counts.sort_unstable();
    Ok(vec![format!(
        "{kills} rounds, killed {counts:?}; {lines} lines in {logs} logs, none lost; seed {seed}"
    )])
}

fn all_running(workspace: &Workspace) -> bool {
    workspace.status().is_ok_and(|rows| {
        rows.len() == 20 && rows.iter().all(|row| row["status"] == "running" || row["status"] == "backoff")
    })
}

/// Our own processes by what they are. What a keeper is just about to start has its name until it has executed, and is no
/// process of ours.
pub(crate) fn roles(workspace: &Workspace) -> Vec<(&'static str, i32)> {
    let sign = std::fs::read(workspace.path(".restage/keeper.lock")).unwrap_or_default();
    let sign: Value = serde_json::from_slice(&sign).unwrap_or_default();
    workspace
        .own_processes()
        .into_iter()
        .filter(|pid| is_alive(*pid))
        .filter_map(|pid| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let role = match name.trim() {
                "restage-keeper" if sign["pid"] == pid => "keeper",
                "restage-guard" => "guard",
                "restage-relay" => "relay",
                "restage-holder" => "holder",
                "restage" => "supervisor",
                _ => return None,
            };
            Some((role, pid))
        })
        .collect()
}

/// The state parses at every instant.
fn state_parses(workspace: &Workspace) -> Result<(), String> {
    for path in find_files(&workspace.path("cache"), "runner_state.json") {
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
        serde_json::from_str::<Value>(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// No two live attempts of one runner: the environment of a child names its runner and its attempt.
fn no_twins(workspace: &Workspace) -> Result<(), String> {
    let mut attempts: HashMap<String, (String, i32)> = HashMap::new();
    for pid in workspace.all_processes() {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let value = |name: &str| {
            environ
                .split(|byte| *byte == 0)
                .find_map(|entry| String::from_utf8_lossy(entry).strip_prefix(name).map(str::to_owned))
        };
        let (Some(runner), Some(attempt)) = (value("RESTAGE_RUNNER="), value("RESTAGE_ATTEMPT=")) else {
            continue;
        };
        if !is_alive(pid) {
            continue;
        }
        if let Some((other, twin)) = attempts.insert(runner.clone(), (attempt.clone(), pid)) {
            // Both must still live to be two at once.
            ensure(other == attempt || !is_alive(twin) || !is_alive(pid), || {
                format!("{runner} has two live attempts: {other} (pid {twin}) and {attempt} (pid {pid})")
            })?;
        }
    }
    Ok(())
}
