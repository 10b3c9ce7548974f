//! The same chain and the same fan in restage and in what people use instead, turn by turn in one run. What is not there
//! is left out, and told; `--peers` installs it into `target/peers`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use crate::kit::{Outcome, Workspace, ensure, quantile};

const CHAIN: usize = 200;
const FAN: usize = 500;
const ROUNDS: usize = 3;
/// Whoever takes longer for a chain, in milliseconds, is measured once.
const SLOW: f64 = 3000.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Each needs the one before it; one at a time.
    Chain,
    /// None needs another; two at a time.
    Fan,
}

impl Shape {
    const fn count(self) -> usize {
        match self {
            Self::Chain => CHAIN,
            Self::Fan => FAN,
        }
    }

    fn before(self, index: usize) -> Option<usize> {
        match self {
            Self::Chain => index.checked_sub(1),
            Self::Fan => None,
        }
    }

    const fn jobs(self) -> &'static str {
        match self {
            Self::Chain => "1",
            Self::Fan => "2",
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Fan => "fan",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tool {
    Make,
    Ninja,
    Doit,
    Snakemake,
    LangGraph,
}

const TOOLS: [Tool; 5] = [Tool::Make, Tool::Ninja, Tool::Doit, Tool::Snakemake, Tool::LangGraph];

impl Tool {
    const fn name(self) -> &'static str {
        match self {
            Self::Make => "make",
            Self::Ninja => "ninja",
            Self::Doit => "doit",
            Self::Snakemake => "snakemake",
            Self::LangGraph => "LangGraph",
        }
    }

    /// What it has on disk of a stage that has ended.
    const fn keeps(self) -> &'static str {
        match self {
            Self::Make => "nothing but the files",
            Self::Ninja => "a line in its log",
            Self::Doit => "a row, written at the end",
            Self::Snakemake => "a file of metadata",
            Self::LangGraph => "the state after it, in SQLite",
        }
    }

    const fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Make => &[],
            Self::Ninja => &["ninja"],
            Self::Doit => &["doit"],
            Self::Snakemake => &["snakemake"],
            Self::LangGraph => &["langgraph", "langgraph-checkpoint-sqlite"],
        }
    }

    /// Where it is, and its version.
    fn find(self) -> Option<(PathBuf, String)> {
        let installed = installed();
        let of_path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(installed).chain(std::env::split_paths(&of_path));
        let program = if self == Self::LangGraph { "python3" } else { self.name() };
        folders.map(|folder| folder.join(program)).find_map(|program| {
            let mut command = Command::new(&program);
            if self == Self::LangGraph {
                let lines = "import langgraph.checkpoint.sqlite, importlib.metadata as of; print(of.version('langgraph'))";
                command.args(["-c", lines]);
            } else {
                command.arg("--version");
            }
            let told = command.stdin(Stdio::null()).output().ok().filter(|told| told.status.success())?;
            let told = String::from_utf8_lossy(&told.stdout).into_owned();
            let version = told.lines().next()?.split_whitespace().last()?.chars().take(8).collect();
            Some((program, version))
        })
    }

    fn write(self, dir: &Path, shape: Shape) -> Result<(), String> {
        let mut text = String::new();
        let before = |index| shape.before(index).map(|before| format!("t{before}")).unwrap_or_default();
        let last = match shape {
            Shape::Chain => format!("t{}", CHAIN - 1),
            Shape::Fan => (0..FAN).map(|index| format!("t{index}")).collect::<Vec<_>>().join(" "),
        };
        let each = |text: &mut String, line: &dyn Fn(usize) -> String| {
            (0..shape.count()).for_each(|index| text.push_str(&line(index)));
        };
        let name = match self {
            Self::Make => {
                writeln!(text, "all: {last}").ok();
                each(&mut text, &|index| format!("t{index}: {}\n\t@touch $@\n", before(index)));
                "Makefile"
            }
            Self::Ninja => {
                writeln!(text, "rule t\n  command = touch $out").ok();
                each(&mut text, &|index| format!("build t{index}: t {}\n", before(index)));
                "build.ninja"
            }
            Self::Doit => {
                let needs = if shape == Shape::Chain { "[f't{n - 1}'] if n else []" } else { "[]" };
                let count = shape.count();
                write!(
                    text,
                    "def task_t():\n    for n in range({count}):\n        yield {{'name': str(n), 'actions': [['touch', \
                     f't{{n}}']], 'targets': [f't{{n}}'], 'file_dep': {needs}, 'uptodate': [True]}}\n"
                )
                .ok();
                "dodo.py"
            }
            Self::Snakemake => {
                let quoted = |names: &str| {
                    names.split_whitespace().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ")
                };
                writeln!(text, "rule all:\n    input: {}", quoted(&last)).ok();
                each(&mut text, &|index| {
                    let before = quoted(&before(index));
                    let input =
                        if before.is_empty() { String::new() } else { format!("    input: {before}\n") };
                    format!("rule s{index}:\n{input}    output: 't{index}'\n    shell: 'touch {{output}}'\n")
                });
                "Snakefile"
            }
            Self::LangGraph => {
                text.push_str(GRAPH);
                "graph.py"
            }
        };
        std::fs::write(dir.join(name), text).map_err(|error| error.to_string())
    }

    fn command(self, program: &Path, dir: &Path, shape: Shape) -> Command {
        let mut command = Command::new(program);
        command.current_dir(dir).stdin(Stdio::null()).env("XDG_CACHE_HOME", dir.join("cache"));
        match self {
            Self::Make => command.args(["-s", "-j", shape.jobs()]),
            Self::Ninja => command.args(["--quiet", "-j", shape.jobs()]),
            Self::Doit if shape == Shape::Fan => command.args(["-n", shape.jobs()]),
            Self::Doit => &mut command,
            Self::Snakemake => command.args(["--quiet", "all", "--cores", shape.jobs()]),
            Self::LangGraph => {
                command.args(["graph.py", shape.word(), &shape.count().to_string(), shape.jobs()])
            }
        };
        command
    }
}

/// Each node starts the same process as a stage of the others does.
const GRAPH: &str = r#"
import operator, subprocess, sys
from typing import Annotated, TypedDict
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph

shape, count, jobs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

class State(TypedDict):
    done: Annotated[int, operator.add]

def stage(state):
    subprocess.run(["true"], check=True)
    return {"done": 1}

graph = StateGraph(State)
for number in range(count):
    graph.add_node(f"s{number}", stage)
    graph.add_edge(START if shape == "fan" or number == 0 else f"s{number - 1}", f"s{number}")
    if shape == "fan" or number == count - 1:
        graph.add_edge(f"s{number}", END)
with SqliteSaver.from_conn_string("graph.db") as saver:
    app = graph.compile(checkpointer=saver)
    config = {"configurable": {"thread_id": "one"}, "max_concurrency": jobs, "recursion_limit": count + 10}
    known = app.get_state(config).values
    state = app.invoke(None if known else {"done": 0}, config, durability="sync")
assert state["done"] == count, state
"#;

/// Where `--peers` puts them.
fn installed() -> PathBuf {
    std::path::absolute("target/peers/bin").unwrap_or_default()
}

fn install(missing: &[Tool]) -> Result<(), String> {
    let packages: Vec<&str> = missing.iter().flat_map(|tool| tool.packages()).copied().collect();
    if packages.is_empty() {
        return Ok(());
    }
    timed(Command::new("python3").args(["-m", "venv", "target/peers"]), 0)?;
    let mut pip = Command::new(installed().join("python3"));
    timed(pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages), 0)?;
    Ok(())
}

/// Milliseconds of a command that ends with this code.
fn timed(command: &mut Command, code: i32) -> Result<f64, String> {
    let begin = Instant::now();
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let took = begin.elapsed().as_secs_f64() * 1000.0;
    ensure(output.status.code() == Some(code), || {
        format!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr))
    })?;
    Ok(took)
}

/// What was measured of one of them, in milliseconds.
struct Row {
    name: String,
    keeps: &'static str,
    chain: Vec<f64>,
    fan: Vec<f64>,
    nothing: Vec<f64>,
}

impl Row {
    const fn new(name: String, keeps: &'static str) -> Self {
        Self { name, keeps, chain: Vec::new(), fan: Vec::new(), nothing: Vec::new() }
    }

    #[expect(clippy::cast_precision_loss, reason = "figures")]
    fn line(&mut self) -> String {
        let [chain, fan, nothing] =
            [&mut self.chain, &mut self.fan, &mut self.nothing].map(|times| quantile(times, 0.5));
        // What it takes to find nothing to do is mostly its own start, which is no affair of a stage.
        let (stage, beyond) = (chain / CHAIN as f64, (chain - nothing).max(0.0) / CHAIN as f64);
        let (chain, fan) = (chain / 1000.0, fan / 1000.0);
        format!(
            "{:<20} {chain:>9.2} {stage:>11.2} {beyond:>14.2} {fan:>9.2} {nothing:>12.1}   {}",
            self.name, self.keeps
        )
    }
}

fn flow(shape: Shape) -> Value {
    let stage = |index: usize| {
        let needs: Vec<String> = shape.before(index).map(|before| format!("s{before}")).into_iter().collect();
        json!({ "name": format!("s{index}"), "needs": needs, "command": ["true"] })
    };
    let stages: Vec<Value> = (0..shape.count()).map(stage).collect();
    json!({ "max_parallel": if shape == Shape::Chain { 1 } else { 2 }, "stages": stages })
}

/// One turn of restage: a run, and, where there is one to be done again, what it says then.
fn own_turn(workspace: &Workspace, row: &mut Row, round: usize) -> Result<(), String> {
    row.chain.push(timed(&mut workspace.command(&["run", "chain"]), 0)?);
    row.fan.push(timed(&mut workspace.command(&["run", "fan"]), 0)?);
    workspace.ok(&["up", "--detach"])?;
    let run = format!("chain-{}", round + 1);
    row.nothing.push(timed(&mut workspace.command(&["retry", &run]), 12)?);
    workspace.ok(&["down"]).map(drop)
}

fn turn(tool: Tool, program: &Path, dir: &Path, row: &mut Row) -> Result<(), String> {
    for shape in [Shape::Chain, Shape::Fan] {
        let dir = dir.join(shape.word());
        std::fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
        tool.write(&dir, shape)?;
        let took = timed(&mut tool.command(program, &dir, shape), 0)?;
        match shape {
            Shape::Chain => {
                row.chain.push(took);
                row.nothing.push(timed(&mut tool.command(program, &dir, shape), 0)?);
            }
            Shape::Fan => row.fan.push(took),
        }
    }
    Ok(())
}

pub(crate) fn compare(install_missing: bool) -> Outcome {
    if install_missing {
        let missing: Vec<Tool> = TOOLS.into_iter().filter(|tool| tool.find().is_none()).collect();
        install(&missing)?;
    }
    let workspace =
        Workspace::apart(&json!({ "flows": { "chain": flow(Shape::Chain), "fan": flow(Shape::Fan) } }));
    let mut own = Row::new("restage".into(), "a durable checkpoint");
    let (mut found, mut absent) = (Vec::new(), Vec::new());
    for tool in TOOLS {
        match tool.find() {
            Some((program, version)) => {
                found.push((tool, program, Row::new(format!("{} {version}", tool.name()), tool.keeps())));
            }
            None => absent.push(tool.name()),
        }
    }
    for round in 0..ROUNDS {
        own_turn(&workspace, &mut own, round)?;
        for (tool, program, row) in &mut found {
            if row.chain.iter().all(|took| *took < SLOW) {
                turn(*tool, program, &workspace.path(&format!("peers/{}-{round}", tool.name())), row)?;
            }
        }
    }
    let mut lines = vec![format!(
        "{:<20} {:>9} {:>11} {:>14} {:>9} {:>12}   {}",
        "", "chain, s", "a stage, ms", "less start, ms", "fan, s", "nothing, ms", "of a stage it keeps"
    )];
    lines.push(own.line());
    lines.extend(found.iter_mut().map(|(_, _, row)| row.line()));
    if !absent.is_empty() {
        lines.push(format!("not here: {}; validate/run --peers installs what it can", absent.join(", ")));
    }
    Ok(lines)
}
