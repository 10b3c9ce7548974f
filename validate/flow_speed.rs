//! What flows cost beyond their commands: a stage with its durable checkpoint beside `make` and a bare shell loop, plans,
//! resumes, and a long history.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use restage::domain::flow::hashes;
use restage::domain::flow::record::RunFilter;
use restage::domain::flow::status::RunStatus;
use restage::domain::json::JsonMap;
use restage::ports::store::Store;
use restage::store::sqlite::SqliteStore;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::flows::number;
use crate::kit::{Outcome, Workspace, ensure, figures, pss, quantile, restage, wait};

const CHAIN: usize = 200;
const FAN: usize = 500;
const BIG: usize = 10_000;
const RUNS: usize = 100_000;

fn chain(length: usize, command: impl Fn(usize) -> Value) -> Value {
    let stage = |index: usize| {
        let needs: Vec<String> =
            index.checked_sub(1).map(|before| format!("s{before:05}")).into_iter().collect();
        json!({ "name": format!("s{index:05}"), "needs": needs, "command": command(index) })
    };
    json!({ "stages": (0..length).map(stage).collect::<Vec<_>>() })
}

/// Milliseconds of a command that must end well.
fn timed(command: &mut Command) -> Result<f64, String> {
    let begin = Instant::now();
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let took = begin.elapsed().as_secs_f64() * 1000.0;
    ensure(output.status.success(), || {
        format!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr))
    })?;
    Ok(took)
}

fn makefile(dir: &Path, name: &str, count: usize, chained: bool) -> Result<(), String> {
    use std::fmt::Write as _;
    let mut text = format!("all: t{}\n", if chained { (count - 1).to_string() } else { "all".into() });
    if !chained {
        let all: Vec<String> = (0..count).map(|index| format!("t{index}")).collect();
        writeln!(text, "tall: {}", all.join(" ")).ok();
    }
    for index in 0..count {
        let needs = if chained && index > 0 { format!("t{}", index - 1) } else { String::new() };
        writeln!(text, "t{index}: {needs}\n\t@/bin/true; true\n.PHONY: t{index}").ok();
    }
    std::fs::write(dir.join(name), text).map_err(|error| error.to_string())
}

/// Milliseconds of one small write that is on the disk when it returns: what every durable record costs at least.
fn durable_write(path: &Path) -> Result<f64, String> {
    use std::io::Write;
    let mut file = std::fs::File::create(path).map_err(|error| error.to_string())?;
    let (bytes, mut times) = (vec![1; 32 << 10], Vec::new());
    for _ in 0..CHAIN {
        let begin = Instant::now();
        file.write_all(&bytes).and_then(|()| file.sync_data()).map_err(|error| error.to_string())?;
        times.push(begin.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(quantile(&mut times, 0.5))
}

/// Microseconds that a new file in this folder takes.
#[expect(clippy::cast_precision_loss, reason = "figures")]
fn new_file(folder: &Path) -> Result<f64, String> {
    let dir = tempfile::tempdir_in(folder).map_err(|error| error.to_string())?;
    let begin = Instant::now();
    for index in 0..CHAIN {
        std::fs::File::create(dir.path().join(index.to_string())).map_err(|error| error.to_string())?;
    }
    Ok(begin.elapsed().as_secs_f64() * 1e6 / CHAIN as f64)
}

/// A chain and a fan of `true`, beside the same in `make` and a loop of a shell, turn by turn.
#[expect(clippy::cast_precision_loss, reason = "figures")]
pub(crate) fn overhead(slack: f64) -> Outcome {
    let always = |_| json!(["true"]);
    let fan: Vec<Value> =
        (0..FAN).map(|index| json!({ "name": format!("s{index:05}"), "command": ["true"] })).collect();
    // It fails at its stage 190 until somebody has mended that.
    let broken = |index| if index == 190 { json!("test -e mended") } else { json!(["true"]) };
    let workspace = Workspace::apart(&json!({ "flows": {
        "chain": chain(CHAIN, always), "broken": chain(CHAIN, broken),
        "fan": { "max_parallel": 2, "stages": fan } } }));
    makefile(&workspace.path(""), "chain.mk", CHAIN, true)?;
    makefile(&workspace.path(""), "fan.mk", FAN, false)?;
    let make = |file: &str, jobs: &str| {
        let mut command = Command::new("make");
        command.args(["-s", jobs, "-f", file]).current_dir(workspace.path(""));
        timed(&mut command).ok()
    };
    let sh = || {
        let line = format!("i=0; while [ $i -lt {CHAIN} ]; do /bin/true; i=$((i+1)); done");
        timed(Command::new("sh").args(["-c", &line]))
    };
    let (mut chains, mut fans, mut shells) = (Vec::new(), Vec::new(), Vec::new());
    let (mut make_chains, mut make_fans, mut writes) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..3 {
        chains.push(timed(&mut workspace.command(&["run", "chain"]))? / CHAIN as f64);
        make_chains.extend(make("chain.mk", "-j1").map(|took| took / CHAIN as f64));
        shells.push(sh()? / CHAIN as f64);
        writes.push(durable_write(&workspace.path("durable"))?);
        fans.push(timed(&mut workspace.command(&["run", "fan"]))? / 1000.0);
        make_fans.extend(make("fan.mk", "-j2").map(|took| took / 1000.0));
    }
    let median = |values: &mut Vec<f64>| quantile(values, 0.5);
    let (stage, fan, shell) = (median(&mut chains), median(&mut fans), median(&mut shells));
    let (make_stage, make_fan, write) =
        (median(&mut make_chains), median(&mut make_fans), median(&mut writes));

    let full = workspace.run(&["run", "broken"]);
    ensure(full.status.code() == Some(1), || format!("the broken chain ended with {}", full.status))?;
    std::fs::write(workspace.path("mended"), "").map_err(|error| error.to_string())?;
    workspace.ok(&["up", "--detach"])?;
    let version = timed(Command::new(restage()).arg("--version"))?;
    let mut plans = Vec::new();
    for _ in 0..5 {
        plans.push(timed(&mut workspace.command(&["retry", "broken-1", "--dry-run"]))?);
    }
    let plan = median(&mut plans);
    let begin = Instant::now();
    workspace.ok(&["retry", "broken-1"])?;
    let retry = begin.elapsed().as_secs_f64() * 1000.0;
    workspace.ok(&["down"])?;
    let history = crate::flows::history(&workspace)?;
    let executed = number(
        &history,
        "SELECT count(*) FROM attempts JOIN runs ON runs.id = attempts.run WHERE run_id = 'broken-2'",
    )?;
    ensure(executed == 10, || format!("the retry executed {executed} stages, 10 wanted"))?;

    let lines = vec![
        figures(
            "a stage of a chain of 200, ms:",
            &[
                ("restage", stage),
                ("aim", 2.0),
                ("make", make_stage),
                ("sh", shell),
                ("a durable write", write),
            ],
        ),
        figures("a fan of 500, two at a time, s:", &[("restage", fan), ("aim", 0.5), ("make -j2", make_fan)]),
        figures(
            "a new file, us:",
            &[
                ("here", new_file(&workspace.path(""))?),
                ("among temporary ones", new_file(&std::env::temp_dir())?),
            ],
        ),
        figures(
            "retry at 190 of 200, ms:",
            &[
                ("retry", retry),
                ("full run", stage * CHAIN as f64),
                ("plan", plan),
                ("of it the program", version),
            ],
        ),
    ];
    // The aims are those of a quiet machine, on which a stage takes make and a durable write 1.5 ms together. Whoever
    // wants them strictly has such a one.
    let busy = ((if make_stage.is_nan() { shell } else { make_stage } + write) / 1.5).max(1.0);
    let allowed = if slack > 1.0 { slack * busy } else { 1.0 };
    ensure(stage <= 2.0 * allowed && fan <= 0.5 * allowed && plan <= 10.0 * allowed, || lines.join("\n"))?;
    Ok(lines)
}

/// Milliseconds of a command that has to end with this code.
fn refused(command: &mut Command, code: i32) -> Result<f64, String> {
    let begin = Instant::now();
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let took = begin.elapsed().as_secs_f64() * 1000.0;
    ensure(output.status.code() == Some(code), || {
        format!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr))
    })?;
    Ok(took)
}

/// A run that is done is asked to go on: nothing is executed, and whoever asks is told so at once.
pub(crate) fn nothing_to_do(slack: f64) -> Outcome {
    const ROUNDS: usize = 9;
    let workspace = Workspace::new(&json!({ "flows": { "chain": chain(CHAIN, |_| json!(["true"])) } }));
    workspace.ok(&["run", "chain"])?;
    let median = |arguments: &[&str], code: i32| -> Result<f64, String> {
        let times = (0..ROUNDS).map(|_| refused(&mut workspace.command(arguments), code));
        Ok(quantile(&mut times.collect::<Result<Vec<_>, _>>()?, 0.5))
    };
    let program = median(&["--version"], 0)?;
    let alone = median(&["retry", "chain-1"], 12)?;
    workspace.ok(&["up", "--detach"])?;
    let (retry, proceed) = (median(&["retry", "chain-1"], 12)?, median(&["continue", "chain-1"], 17)?);
    workspace.ok(&["down"])?;
    let attempts = number(&crate::flows::history(&workspace)?, "SELECT count(*) FROM attempts")?;
    ensure(usize::try_from(attempts) == Ok(CHAIN), || format!("{attempts} attempts are on record"))?;
    let line = figures(
        "nothing to do in 200 stages, ms:",
        &[
            ("retry", retry),
            ("continue", proceed),
            ("aim", 10.0),
            ("of it the program", program),
            ("where nobody supervises", alone),
        ],
    );
    ensure(retry.max(proceed).max(alone) <= 10.0 * slack, || line.clone())?;
    Ok(vec![line])
}

/// Layers of fifty stages, each of which needs all of the layer before.
fn dense(layers: usize) -> Value {
    const WIDE: usize = 50;
    let name = |layer: usize, index: usize| format!("s{layer:02}-{index:02}");
    let stage = |layer: usize, index: usize| {
        let needs: Vec<String> = match layer {
            0 => Vec::new(),
            _ => (0..WIDE).map(|above| name(layer - 1, above)).collect(),
        };
        let command = if layer == 0 { json!("test -e mended") } else { json!(["true"]) };
        json!({ "name": name(layer, index), "needs": needs, "command": command })
    };
    let stages: Vec<Value> =
        (0..layers).flat_map(|layer| (0..WIDE).map(move |index| stage(layer, index))).collect();
    json!({ "stages": stages })
}

/// A plan costs as much as there are edges: twice as many take twice as long.
#[expect(clippy::cast_precision_loss, reason = "figures")]
pub(crate) fn dense_graph(slack: f64) -> Outcome {
    let mut told = Vec::new();
    for layers in [25_usize, 50] {
        let workspace = Workspace::new(&json!({ "flows": { "dense": dense(layers) } }));
        refused(&mut workspace.command(&["run", "dense"]), 1)?;
        workspace.ok(&["up", "--detach"])?;
        let mut times = Vec::new();
        for _ in 0..5 {
            let retry = ["retry", "dense-1", "--dry-run", "--output", "json"];
            times.push(timed(&mut workspace.command(&retry))?);
        }
        let program = timed(&mut workspace.command(&["--version"]))?;
        workspace.ok(&["down"])?;
        let edges = (layers - 1) * 50 * 50;
        told.push((edges as f64, quantile(&mut times, 0.5) - program));
    }
    let [(few, short), (many, long)] = told[..] else { return Err("two were to be measured".into()) };
    let growth = (long / short) / (many / few);
    let line = figures(
        &format!("plans of a dense graph, ms: {few} edges"),
        &[("", short), (&format!("{many} edges"), long), ("growth beyond that of the edges", growth)],
    );
    ensure(growth <= 1.5 * slack, || line.clone())?;
    Ok(vec![line])
}

fn writable(workspace: &Workspace) -> Result<Connection, String> {
    Connection::open(workspace.path(".restage/history.db")).map_err(|error| error.to_string())
}

/// A flow of ten thousand stages: its plan, and its resume ten stages before the end.
pub(crate) fn ten_thousand(slack: f64) -> Outcome {
    const LAST: usize = 10;
    let command = |index| match index {
        0 => json!("test -e mended"),
        index if index + LAST >= BIG => json!("echo done >> effects"),
        _ => json!(["true"]),
    };
    let workspace = Workspace::new(&json!({ "flows": { "big": chain(BIG, command) } }));
    let begin = Instant::now();
    let first = workspace.run(&["run", "big"]);
    let refused = begin.elapsed().as_secs_f64();
    ensure(first.status.code() == Some(1), || {
        format!("{}: {}", first.status, String::from_utf8_lossy(&first.stderr))
    })?;
    let median = |arguments: &[&str]| -> Result<f64, String> {
        let times = (0..5).map(|_| timed(&mut workspace.command(arguments)));
        Ok(quantile(&mut times.collect::<Result<Vec<_>, _>>()?, 0.5))
    };
    let check = median(&["check"])?;
    let planned = ["retry", "big-1", "--dry-run", "--output", "json"];
    let alone = median(&planned)?;
    workspace.ok(&["up", "--detach"])?;
    let plan = median(&planned)?;
    workspace.ok(&["down"])?;
    // The run as it would be had it come that far when everything was killed.
    let done = BIG - LAST;
    let hash = hashes::checkpoint(&JsonMap::new(), &[]);
    let mut store = writable(&workspace)?;
    let change = store.transaction().map_err(|error| error.to_string())?;
    change
        .execute_batch(&format!(
            "INSERT INTO checkpoints (root, stage, version, run, branch, status, approval, hash, recipe, input, created_at, outputs) \
               SELECT 'big-1', name, 1, run, 'main', 'succeeded', 'approved', '{hash}', '{hash}', '{hash}', 1, '{{}}' \
               FROM stages WHERE ord < {done}; \
             UPDATE stages SET status = 'succeeded', error = NULL, started_at = 1, ended_at = 1, checkpoint = \
               (SELECT id FROM checkpoints WHERE stage = stages.name) WHERE ord < {done}; \
             UPDATE stages SET status = 'pending', error = NULL, started_at = NULL, ended_at = NULL WHERE ord >= {done}; \
             UPDATE runs SET status = 'running', error = NULL, ended_at = NULL; \
             INSERT OR IGNORE INTO locks (root, branch, run) SELECT root, branch, id FROM runs;"
        ))
        .map_err(|error| format!("set the history back: {error}"))?;
    change.commit().map_err(|error| error.to_string())?;
    drop(store);
    let begin = Instant::now();
    workspace.ok(&["up", "--detach"])?;
    let up = begin.elapsed().as_secs_f64();
    wait("the run goes on", || workspace.path("effects").exists().then_some(()))?;
    let resume = begin.elapsed().as_secs_f64();
    let own = workspace.own_processes();
    let memory = own.iter().map(|pid| pss(*pid)).max().unwrap_or(0);
    wait("the run succeeds", || {
        let history = crate::flows::history(&workspace).ok()?;
        (number(&history, "SELECT count(*) FROM runs WHERE status = 'succeeded'").ok()? == 1).then_some(())
    })?;
    let lines = std::fs::read_to_string(workspace.path("effects")).unwrap_or_default().lines().count();
    ensure(lines == LAST, || format!("{lines} stages were executed after the resume, {LAST} wanted"))?;
    workspace.ok(&["down"])?;
    #[expect(clippy::cast_precision_loss, reason = "figures")]
    let memory = memory as f64 / 1024.0;
    let line = figures(
        "10,000 stages:",
        &[
            ("plan, ms", plan),
            ("aim", 100.0),
            ("where nobody supervises", alone),
            ("of that reading the config", check),
            ("start to first new stage, s", resume),
            ("of it the start", up),
            ("aim", 1.0),
            ("memory, MiB", memory),
            ("a run that fails at once, s", refused),
        ],
    );
    ensure(plan.max(alone) <= 100.0 * slack && resume <= slack, || line.clone())?;
    Ok(vec![line])
}

/// A hundred thousand runs on record, each with its stages and attempts: asked in this process, and by whoever uses the verb.
pub(crate) fn history(slack: f64) -> Outcome {
    const AIM: f64 = 50.0;
    const STAGES: usize = 4;
    let flows = json!({ "flows": { "small": chain(STAGES, |_| json!(["true"])) } });
    let workspace = Workspace::new(&flows);
    workspace.ok(&["run", "small"])?;
    let mut store = writable(&workspace)?;
    let change = store.transaction().map_err(|error| error.to_string())?;
    change
        .execute_batch(&format!(
            "CREATE TEMP TABLE n AS WITH RECURSIVE n (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM n WHERE n < {RUNS}) \
               SELECT n FROM n; \
             INSERT INTO runs (run_id, number, flow, definition, status, cause, started_at, ended_at, duration_seconds, \
                root, retry_depth, branch, created_at, approve_all, epoch, holder) \
               SELECT 'small-' || n, n, flow, definition, iif(n % 7 = 0, 'failed', 'succeeded'), cause, started_at + n, \
                ended_at + n, 1.0, 'small-' || n, 0, branch, created_at + n, 0, 1, holder FROM n, runs WHERE runs.number = 1; \
             INSERT INTO inputs (run, value) SELECT id, '{{\"topic\":\"word' || number || '\"}}' FROM runs WHERE number > 1; \
             INSERT INTO run_text (rowid, text) SELECT id * 2, run_id || ' word' || number FROM runs WHERE number > 1; \
             CREATE TEMP TABLE first AS SELECT id FROM runs WHERE number = 1; \
             INSERT INTO stages (run, name, ord, status, decision, reason, started_at, ended_at) \
               SELECT runs.id, name, ord, iif(runs.status = 'failed' AND ord = {STAGES} - 1, 'failed', stages.status), \
                decision, reason, stages.started_at, stages.ended_at FROM runs, stages, first \
               WHERE runs.number > 1 AND stages.run = first.id; \
             INSERT INTO attempts (run, stage, item, number, verdict, exit_code, started_at, ended_at, cpu_seconds, \
                blameless, log) \
               SELECT runs.id, stage, item, attempts.number, verdict, exit_code, attempts.started_at, \
                attempts.ended_at, cpu_seconds, blameless, log FROM runs, attempts, first \
               WHERE runs.number > 1 AND attempts.run = first.id; \
             UPDATE numbers SET last = {RUNS};"
        ))
        .map_err(|error| format!("fill the history: {error}"))?;
    change.commit().map_err(|error| error.to_string())?;
    drop(store);
    let rows = number(&crate::flows::history(&workspace)?, "SELECT count(*) FROM attempts")?;
    ensure(usize::try_from(rows) == Ok(RUNS * STAGES), || format!("{rows} attempts are on record"))?;
    let inside = asked_inside(&workspace)?;
    let verb = asked_by_verb(&workspace)?;
    let whole = timed(&mut workspace.command(&["runs", "--json"]))?;
    let program = timed(Command::new(restage()).arg("--version"))?;
    let lines = vec![
        figures("100,000 runs, opened and asked, ms:", &[&inside[..], &[("aim", AIM)]].concat()),
        figures(
            "the same by the verb, ms:",
            &[&verb[..], &[("aim", AIM), ("of it the program", program), ("all of them", whole)]].concat(),
        ),
    ];
    let slowest = inside.iter().chain(&verb).map(|(_, time)| *time).fold(0.0, f64::max);
    ensure(slowest <= AIM * slack, || lines.join("\n"))?;
    Ok(lines)
}

fn asked_inside(workspace: &Workspace) -> Result<Vec<(&'static str, f64)>, String> {
    let path = workspace.path(".restage/history.db");
    let limit = Some(100);
    let failed = vec![RunStatus::Failed];
    let searched = |text: &str| RunFilter { search: Some(text.into()), limit, ..RunFilter::default() };
    let mut told = Vec::new();
    for (label, filter, found) in [
        ("list", RunFilter { limit, ..RunFilter::default() }, 100),
        ("of a status", RunFilter { status: failed, limit, ..RunFilter::default() }, 100),
        ("search", searched("word77777"), 1),
        ("search for nothing", searched("nowhere"), 0),
    ] {
        let mut times = Vec::new();
        for _ in 0..5 {
            let begin = Instant::now();
            let store = SqliteStore::open_read(&path).map_err(|error| error.to_string())?;
            let runs =
                store.ok_or("there is no history")?.runs(&filter).map_err(|error| error.to_string())?;
            times.push(begin.elapsed().as_secs_f64() * 1000.0);
            ensure(runs.len() == found, || format!("{label}: {} runs found, {found} wanted", runs.len()))?;
        }
        told.push((label, quantile(&mut times, 0.5)));
    }
    Ok(told)
}

fn asked_by_verb(workspace: &Workspace) -> Result<Vec<(&'static str, f64)>, String> {
    let mut told = Vec::new();
    for (label, more, found) in [
        ("list", &["--limit", "100"][..], 100),
        ("of a status", &["--limit", "100", "--status", "failed"], 100),
        ("search", &["--search", "word77777"], 1),
        ("search for nothing", &["--search", "nowhere"], 0),
    ] {
        let arguments = [&["runs", "--json"], more].concat();
        let mut times = Vec::new();
        for _ in 0..5 {
            times.push(timed(&mut workspace.command(&arguments))?);
        }
        let shown: Value =
            serde_json::from_str(&workspace.ok(&arguments)?).map_err(|error| error.to_string())?;
        let count = shown.as_array().map_or(0, Vec::len);
        ensure(count == found, || format!("{label}: {count} runs shown, {found} wanted"))?;
        told.push((label, quantile(&mut times, 0.5)));
    }
    Ok(told)
}
