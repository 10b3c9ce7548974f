//! Runs of flows while supervisor and keeper are killed at random instants, and while the disk is full.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use crate::chaos::{Dice, roles};
use crate::hostile::Small;
use crate::kit::{Outcome, Workspace, ensure, kill, pause, wait};
use crate::survive::linger;

const STAGES: usize = 20;
/// One cut attempt after the other waits two seconds before the next.
const PATIENCE: Duration = Duration::from_mins(3);

/// The history, as anybody may read it beside restage.
pub(crate) fn history(workspace: &Workspace) -> Result<Connection, String> {
    let path = workspace.path(".restage/history.db");
    let opened = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let connection = opened.map_err(|error| format!("open the history: {error}"))?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(|error| error.to_string())?;
    Ok(connection)
}

pub(crate) fn number(connection: &Connection, sql: &str) -> Result<i64, String> {
    connection.query_row(sql, [], |row| row.get(0)).map_err(|error| format!("{sql}: {error}"))
}

fn status_of(workspace: &Workspace, run: &str) -> Result<String, String> {
    let query = "SELECT status FROM runs WHERE run_id = ?";
    history(workspace)?.query_row(query, [run], |row| row.get(0)).map_err(|error| format!("{run}: {error}"))
}

/// Half a chain, half a fan behind its first stage, and one that needs them all. Each tells that it was executed at its
/// very end; some leave outputs and artifacts.
fn stages() -> Vec<Value> {
    let tell = "echo \"$RESTAGE_RUN_ID $RESTAGE_STAGE $RESTAGE_ATTEMPT\" >> effects";
    let name = |index: usize| format!("s{index:02}");
    (0..STAGES)
        .map(|index| {
            let needs = match index {
                0 => Vec::new(),
                index if index == STAGES - 1 => (0..index).map(name).collect(),
                index if index < STAGES / 2 => vec![name(index - 1)],
                _ => vec![name(0)],
            };
            let pause = 20 + index * 7 % 60;
            let mut stage = json!({ "name": name(index), "needs": needs });
            let mut command = format!("sleep 0.0{pause:02}; ");
            if index % 3 == 0 {
                stage["outputs"] = json!([format!("key{index}")]);
                command
                    .push_str(&["echo key", &index.to_string(), "=value > \"$RESTAGE_OUTPUT\"; "].concat());
            }
            if index % 4 == 1 {
                stage["artifacts"] = json!(["*.txt"]);
                command.push_str("echo it > \"$RESTAGE_ARTIFACTS/it.txt\"; ");
            }
            stage["command"] = json!(command + tell);
            stage
        })
        .collect()
}

/// How often each stage of a run was executed to its end.
fn effects(workspace: &Workspace, run: &str) -> BTreeMap<String, usize> {
    let text = std::fs::read_to_string(workspace.path("effects")).unwrap_or_default();
    let mut times = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        if words.next() == Some(run) {
            *times.entry(words.next().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    times
}

/// A stage that is on record with its checkpoint is never executed again, none is lost, and the run goes on by itself.
pub(crate) fn kills(wanted: usize) -> Outcome {
    let workspace =
        Workspace::new(&json!({ "flows": { "work": { "max_parallel": 4, "stages": stages() } } }));
    let seed = crate::kit::monotonic_ns() | 1;
    let mut dice = Dice(seed);
    let mut killed: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut rounds, mut runs, mut again) = (0, 0, 0);
    while rounds < wanted {
        let run = workspace.ok(&["run", "work", "-d"])?.trim().to_owned();
        runs += 1;
        rounds += play(&workspace, &run, &mut dice, &mut killed)
            .map_err(|error| format!("{run}, seed {seed}: {error}"))?;
        again += effects(&workspace, &run).values().sum::<usize>().saturating_sub(STAGES);
        // With a new guard into the next.
        workspace.ok(&["down"])?;
        ensure(runs <= wanted + 3, || format!("seed {seed}: only {rounds} kills in {runs} runs"))?;
    }
    let history = history(&workspace)?;
    let check: String = history
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .map_err(|error| error.to_string())?;
    ensure(check == "ok", || format!("seed {seed}: integrity_check: {check}"))?;
    Ok(vec![format!(
        "{rounds} kills {killed:?} in {runs} runs of {STAGES} stages: no committed stage executed twice, none lost; {again} \
         that were not yet on record were executed again; seed {seed}"
    )])
}

/// One run with kills until it ends; how many there were.
fn play(
    workspace: &Workspace,
    run: &str,
    dice: &mut Dice,
    killed: &mut BTreeMap<&'static str, usize>,
) -> Result<usize, String> {
    let deadline = Instant::now() + PATIENCE;
    let mut committed: BTreeMap<String, usize> = BTreeMap::new();
    let mut kills = 0;
    loop {
        linger(Duration::from_millis(dice.roll(400)));
        let status = status_of(workspace, run)?;
        if status != "running" {
            ensure(status == "succeeded", || format!("it is {status}: {:?}", workspace.ok(&["show", run])))?;
            break;
        }
        ensure(Instant::now() < deadline, || {
            format!("it does not end after {kills} kills: {:?}", workspace.ok(&["show", run]))
        })?;
        let roles = roles(workspace);
        let there = |one: &str| roles.iter().any(|(role, _)| *role == one);
        // Where there is no guard, the keeper is the last that could start anything. A verb brings that back, and the part
        // on everything killed at once shows it; here the run has to go on by itself.
        let keeper_too = there("guard") && there("keeper");
        if kills < 8 && there("supervisor") && there("keeper") {
            let which = if keeper_too { dice.roll(3) } else { 0 };
            let chosen = roles.iter().filter(|(role, _)| match which {
                0 => *role == "supervisor",
                1 => *role == "keeper",
                _ => *role == "supervisor" || *role == "keeper",
            });
            for (role, pid) in chosen {
                kill(*pid, libc::SIGKILL);
                *killed.entry(role).or_default() += 1;
            }
            kills += 1;
        }
        for stage in on_record(workspace, run)? {
            let times = effects(workspace, run).get(&stage).copied().unwrap_or(0);
            committed.entry(stage).or_insert(times);
        }
    }
    let times = effects(workspace, run);
    for (stage, then) in &committed {
        let now = times.get(stage).copied().unwrap_or(0);
        ensure(now == *then, || {
            format!("{stage} was on record after {then} executions, and now there are {now}")
        })?;
    }
    let done = on_record(workspace, run)?;
    ensure(done.len() == STAGES && times.len() == STAGES, || {
        format!("{} of {STAGES} stages are on record, and {} were executed", done.len(), times.len())
    })?;
    let history = history(workspace)?;
    let twice = format!("SELECT count(*) FROM checkpoints WHERE root = '{run}' AND version > 1");
    ensure(number(&history, &twice)? == 0, || "a stage has two checkpoints".into())?;
    Ok(kills)
}

fn on_record(workspace: &Workspace, run: &str) -> Result<Vec<String>, String> {
    let history = history(workspace)?;
    let read = || -> rusqlite::Result<Vec<String>> {
        let mut query = history.prepare(
            "SELECT stages.name FROM stages JOIN runs ON runs.id = stages.run \
             WHERE run_id = ? AND stages.status = 'succeeded' AND checkpoint IS NOT NULL",
        )?;
        let rows = query.query_map([run], |row| row.get(0))?;
        rows.collect()
    };
    read().map_err(|error| format!("read what is on record: {error}"))
}

/// The disk fills up while a run goes: it waits and says why, and goes on when there is room. No retry is spent.
pub(crate) fn full_disk() -> Outcome {
    const ALL: usize = 12;
    let workspace = Workspace::new(&json!({}));
    let Some(disk) = Small::mount(&workspace.path(".restage")) else {
        return Ok(vec!["not shown: mounting a small tmpfs is not allowed here".into()]);
    };
    let stage = |index: usize| {
        let needs: Vec<String> =
            index.checked_sub(1).map(|before| format!("s{before:02}")).into_iter().collect();
        json!({ "name": format!("s{index:02}"), "needs": needs, "artifacts": ["*"], "retry": { "count": 1 },
                "command": "sleep 0.1; echo $RESTAGE_STAGE > \"$RESTAGE_ARTIFACTS/it\" || exit 1; echo done >> effects" })
    };
    let stages: Vec<Value> = (0..ALL).map(stage).collect();
    workspace.configure(&json!({ "flows": { "work": { "stages": stages } } }));
    let lines = workspace.path("lines");
    let mut run = workspace
        .command(&["run", "work"])
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&lines).map_err(|error| error.to_string())?)
        .spawn()
        .map_err(|error| error.to_string())?;
    let count = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default().lines().count();
    wait("three stages are done", || (count(workspace.path("effects")) >= 3).then_some(()))?;
    disk.fill();
    let before = count(workspace.path("effects"));
    let told = wait("it says that the disk is full", || {
        let told = std::fs::read_to_string(&lines).unwrap_or_default();
        told.lines().find(|line| line.contains("full") || line.contains("No space")).map(str::to_owned)
    });
    let told = told.map_err(|error| {
        format!("{error}; lines:\n{}", std::fs::read_to_string(&lines).unwrap_or_default())
    })?;
    linger(Duration::from_secs(3));
    let meanwhile = count(workspace.path("effects"));
    let alive = run.try_wait().map_err(|error| error.to_string())?.is_none();
    disk.free();
    let status = crate::kit::wait("the run ends", || run.try_wait().ok().flatten());
    let all = std::fs::read_to_string(&lines).unwrap_or_default();
    let status = status.map_err(|error| format!("{error}; lines:\n{all}"))?;
    ensure(alive, || format!("the run did not wait; lines:\n{all}"))?;
    ensure(meanwhile <= before + 2, || {
        format!("{before} stages were done, and then {meanwhile} on a full disk")
    })?;
    ensure(status.success(), || format!("{status}; lines:\n{all}"))?;
    ensure(all.lines().count() < 100, || format!("it is told again and again:\n{all}"))?;
    let history = history(&workspace)?;
    let spent = number(&history, "SELECT count(*) FROM attempts WHERE error IS NOT NULL AND NOT blameless")?;
    ensure(spent == 0, || format!("{spent} retries spent on a full disk; lines:\n{all}"))?;
    let done = number(&history, "SELECT count(*) FROM stages WHERE status = 'succeeded'")?;
    ensure(usize::try_from(done) == Ok(ALL), || format!("{done} of {ALL} stages succeeded"))?;
    drop(history);
    pause();
    Ok(vec![format!(
        "{before} of {ALL} stages done when it filled up, {meanwhile} while it was full, all after; {told}"
    )])
}
