//! Verbs that look at runs: `runs`, `show`, `lineage`, `state`, `artifacts`, `graph`, `stats`.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, civil};
use serde::Serialize;

use crate::cli::args::{Global, Output};
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::flow_args::{ArtifactsArgs, GraphArgs, RunArg, RunsArgs, ShowArgs, StateArgs, StatsArgs};
use crate::cli::history::{History, failed, none_yet};
use crate::cli::workspace::Workspace;
use crate::cli::{output, settings};
use crate::config::Missing;
use crate::domain::flow::ask::BranchView;
use crate::domain::flow::graph::Graph;
use crate::domain::flow::ids::{CheckpointId, FlowName, RunId, StageName};
use crate::domain::flow::record::{Artifact, Checkpoint, RunFilter, RunRecord, StageRecord};
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::state;
use crate::domain::flow::status::RunStatus;
use crate::domain::json::pretty;
use crate::domain::time::Timestamp;
use crate::frontend::flow::show::Totals;
use crate::frontend::flow::{
    checkpoints as drawn, export, graph as picture, runs as lists, show as page, stats as figures,
};
use crate::frontend::text::one_line;
use crate::ports::Clock;
use crate::ports::store::Store;
use crate::supervisor::clock::SystemClock;

/// A person reads no more at once.
const LISTED: u32 = 50;

pub(super) fn done<T>(printed: Result<T, Failure>) -> Outcome {
    printed.map(|_| Exit::Completed)
}

pub(super) fn now() -> Timestamp {
    SystemClock.now().wall
}

pub fn runs(global: &Global, workspace: &Workspace, args: &RunsArgs) -> Outcome {
    let json = args.json || global.output == Output::Json;
    let filter = RunFilter {
        flow: args.flow.as_deref().map(FlowName::trusted),
        status: args.status.iter().map(|word| status(word)).collect::<Result<_, _>>()?,
        since: args.since.as_deref().map(|text| since(text, now())).transpose()?,
        search: args.search.clone(),
        root: None,
        limit: args.limit.or((!json).then_some(LISTED)),
    };
    let mut history = match History::open(workspace) {
        // No runs are a list, too.
        Err(failure) if json && failure.exit == Exit::Nothing => {
            output::print_json(&Vec::<RunRecord>::new())?;
            return Err(failure);
        }
        opened => opened?,
    };
    let runs = history.runs(&filter, "list runs")?;
    if let Some(flow) = filter.flow.as_ref().filter(|_| runs.is_empty()) {
        refuse_unknown(&mut history, workspace, flow, "list the runs of")?;
    }
    if json {
        output::print_json(&runs)?;
    }
    let all = RunFilter { limit: filter.limit, ..RunFilter::default() };
    if runs.is_empty() && filter == all && args.limit != Some(0) {
        return Err(none_yet(workspace));
    }
    if json {
        return Ok(Exit::Completed);
    }
    if runs.is_empty() {
        output::remark("restage: no run is like that; `restage runs` lists all");
    }
    let look = output::look(global.no_color);
    output::print(&lists::table(&runs, now(), &look))?;
    if args.limit.is_none() && runs.len() == LISTED as usize {
        output::remark(&format!("the last {LISTED} are listed; --limit N lists more, --search finds others"));
    }
    Ok(Exit::Completed)
}

/// A flow that neither the config nor the history knows.
fn refuse_unknown(
    history: &mut History<'_>,
    workspace: &Workspace,
    flow: &FlowName,
    act: &str,
) -> Result<(), Failure> {
    let any = RunFilter { flow: Some(flow.clone()), limit: Some(1), ..RunFilter::default() };
    let ran = history.store.runs(&any).map_err(|error| failed("list runs", &error))?;
    // What a config would say that cannot be read is not known.
    let Ok(loaded) = settings::read(workspace, Missing::Warning) else { return Ok(()) };
    let known: Vec<String> = loaded.spec.flows.iter().map(|flow| flow.name.to_string()).collect();
    if !ran.is_empty() || known.iter().any(|name| name == flow.as_str()) {
        return Ok(());
    }
    let refusal = Refusal::UnknownFlow { flow: flow.to_string(), known };
    Err(Failure::of_refusal(format!("{act} {flow}"), &refusal))
}

fn status(word: &str) -> Result<RunStatus, Failure> {
    RunStatus::parse(word).ok_or_else(|| {
        let words: Vec<&str> = RunStatus::ALL.iter().map(|status| status.word()).collect();
        Failure::new(Exit::Usage, "list runs", format!("{word:?} is no status of a run"))
            .hint(format!("there are: {}", words.join(", ")))
    })
}

/// A time, a day, or how long ago.
fn since(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let local = text
        .parse::<civil::DateTime>()
        .or_else(|_| text.parse::<civil::Date>().map(|date| date.to_datetime(civil::Time::midnight())));
    if let Ok(at) = local.and_then(|at| at.to_zoned(TimeZone::system())) {
        return Ok(at.timestamp());
    }
    ago(text).and_then(|ago| now.checked_sub(ago).ok()).ok_or_else(|| {
        Failure::new(Exit::Usage, "list runs", format!("{text:?} is no time"))
            .hint("say how long ago (90m, 2h, 7d), a day (2026-11-21) or a time (2026-11-21T10:00:00Z)")
    })
}

fn ago(text: &str) -> Option<SignedDuration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return None,
    };
    let number: i64 = number.parse().ok().filter(|number| *number >= 0)?;
    Some(SignedDuration::from_secs(number.checked_mul(seconds)?))
}

/// What `show --json` prints: the run, its branches, and what it and its lineage took.
#[derive(Debug, Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    run: &'a RunRecord,
    branches: &'a [BranchView],
    totals: Spent,
}

#[derive(Debug, Serialize)]
struct Spent {
    run: Totals,
    lineage: Totals,
}

pub fn show(global: &Global, workspace: &Workspace, args: &ShowArgs) -> Outcome {
    if args.watch {
        return super::watch::run(global, workspace, args);
    }
    let run = RunId::trusted(args.run.as_str());
    let mut history = History::open(workspace)?;
    let seen = history.show(&run)?;
    let shown = &seen.what;
    let mut runs = lineage_of(&mut history, &shown.run)?;
    for one in &mut runs {
        if one.run_id == run {
            one.clone_from(&shown.run);
        } else if let Ok(Some(stored)) = history.store.run(&one.run_id) {
            *one = stored.record;
        }
    }
    let lineage = Totals::of(&runs);
    if args.json || global.output == Output::Json {
        let totals = Spent { run: Totals::of([&shown.run]), lineage };
        return done(output::print_json(&Whole { run: &shown.run, branches: &shown.branches, totals }));
    }
    let look = output::look(global.no_color);
    done(output::print(&page::text(shown, seen.supervised, &lineage, now(), &look)))
}

/// Without stages, the oldest first.
fn lineage_of(history: &mut History<'_>, run: &RunRecord) -> Result<Vec<RunRecord>, Failure> {
    let filter = RunFilter { root: Some(run.root_run_id.clone()), ..RunFilter::default() };
    let act = format!("read the lineage of {}", run.run_id);
    let mut runs = history.runs(&filter, &act)?;
    runs.sort_by_key(|run| run.run_number);
    Ok(runs)
}

pub fn lineage(global: &Global, workspace: &Workspace, args: &RunArg) -> Outcome {
    let run = RunId::trusted(args.run.as_str());
    let mut history = History::open(workspace)?;
    let record = record(&mut history, &run)?;
    let runs = lineage_of(&mut history, &record)?;
    if args.json || global.output == Output::Json {
        return done(output::print_json(&runs));
    }
    let look = output::look(global.no_color);
    done(output::print(&lists::lineage(&runs, &run, now(), &look)))
}

/// As it stands in the store: what never changes, and what is committed.
pub(super) fn record(history: &mut History<'_>, run: &RunId) -> Result<RunRecord, Failure> {
    history.desk(|desk| desk.now(run), &format!("read {run}"))
}

pub fn state(global: &Global, workspace: &Workspace, args: &StateArgs) -> Outcome {
    let run = RunId::trusted(args.run.as_str());
    let mut history = History::open(workspace)?;
    let record = record(&mut history, &run)?;
    let act = format!("read the state of {run}");
    let map = match (&args.stage, named(args.stage.as_deref(), &act)?) {
        (_, Some(id)) => one(&mut history, &record, &id, &act)?.outputs,
        (None, None) => carried(&mut history, &record, &act)?.1.whole(),
        (Some(stage), None) => {
            let (graph, state) = carried(&mut history, &record, &act)?;
            state.visible(place(&graph, &record, stage, &act)?)
        }
    };
    let printed = if args.json || global.output == Output::Json {
        output::print_json(&map)
    } else {
        output::print(&output::harmless(&(pretty(&map) + "\n")))
    };
    match history.flaw(&record, &act)? {
        None => done(printed),
        Some((stage, why)) => {
            let hint = format!("make it anew: restage retry {run} --from {stage}");
            Err(Failure::new(Exit::Failed, act, format!("it is not to be relied on: {why}")).hint(hint))
        }
    }
}

/// `board@2` in the place of a stage.
fn named(text: Option<&str>, act: &str) -> Result<Option<CheckpointId>, Failure> {
    let parsed = text.filter(|text| text.contains('@')).map(CheckpointId::parse).transpose();
    parsed.map_err(|why| Failure::new(Exit::Usage, act, why).hint("as in board@2"))
}

/// A checkpoint of the lineage, whichever its branch and whether anybody has approved it.
pub(super) fn one(
    history: &mut History<'_>,
    record: &RunRecord,
    id: &CheckpointId,
    act: &str,
) -> Result<Checkpoint, Failure> {
    let (all, unreadable) =
        history.store.checkpoints(&record.root_run_id).map_err(|error| failed(act, &error))?;
    for why in unreadable {
        output::remark(&format!("restage: {}", one_line(&why)));
    }
    let known: Vec<CheckpointId> = all.iter().map(|one| one.id.clone()).collect();
    all.into_iter().find(|one| one.id == *id).ok_or_else(|| {
        let (run, checkpoint) = (record.run_id.clone(), id.to_string());
        Failure::of_refusal(act, &Refusal::UnknownCheckpoint { run, checkpoint, known })
    })
}

pub(super) fn place(graph: &Graph, record: &RunRecord, stage: &str, act: &str) -> Result<usize, Failure> {
    graph.index(&StageName::trusted(stage)).ok_or_else(|| {
        let known = record.stages.iter().flatten().map(|row| row.name.clone()).collect();
        let refusal = Refusal::UnknownStage { run: record.run_id.clone(), stage: stage.into(), known };
        Failure::of_refusal(act, &refusal)
    })
}

/// What the stages of a run see.
pub(super) fn carried(
    history: &mut History<'_>,
    record: &RunRecord,
    act: &str,
) -> Result<(Graph, state::State), Failure> {
    let flow = history.desk(|desk| desk.definition(record), act)?;
    let graph = Graph::of(&flow).map_err(|error| Failure::new(Exit::Failed, act, error))?;
    let outputs = record.stages.iter().flatten();
    let outputs = outputs.filter_map(|row| Some((&row.name, row.outputs.as_ref()?)));
    let state = state::of_run(&graph, record.inputs.clone(), outputs);
    Ok((graph, state))
}

/// A line of `artifacts --json`.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    stage: &'a StageName,
    #[serde(flatten)]
    artifact: &'a Artifact,
    path: std::path::PathBuf,
}

pub fn artifacts(global: &Global, workspace: &Workspace, args: &ArtifactsArgs) -> Outcome {
    let run = RunId::trusted(args.run.as_str());
    let mut history = History::open(workspace)?;
    let record = record(&mut history, &run)?;
    let act = format!("list the artifacts of {run}");
    let named = named(args.stage.as_deref(), &act)?;
    let checkpoint = named.map(|id| one(&mut history, &record, &id, &act)).transpose()?;
    let mut rows = record.stages.unwrap_or_default();
    if let Some(checkpoint) = &checkpoint {
        rows.retain(|row| row.name == checkpoint.id.stage);
        for row in &mut rows {
            row.status = checkpoint.status;
            row.artifacts.clone_from(&checkpoint.artifacts);
        }
    }
    let stage = args.stage.as_deref().filter(|_| checkpoint.is_none());
    if let Some(stage) = stage
        && !rows.iter().any(|row| row.name.as_str() == stage)
    {
        let known = rows.iter().map(|row| row.name.clone()).collect();
        let refusal = Refusal::UnknownStage { run, stage: stage.to_owned(), known };
        return Err(Failure::of_refusal(act, &refusal));
    }
    let wanted = |row: &&StageRecord| stage.is_none_or(|stage| row.name.as_str() == stage);
    let rows: Vec<&StageRecord> = rows.iter().filter(wanted).collect();
    if let (Some(name), Some(to)) = (&args.get, &args.to) {
        return get(&history, &rows, &run, name, to);
    }
    if args.json || global.output == Output::Json {
        let listed = |row: &&'_ StageRecord| -> Vec<_> {
            let path = |artifact: &Artifact| history.objects.path(&artifact.hash);
            row.artifacts.iter().map(|artifact| (artifact.clone(), path(artifact))).collect()
        };
        let all: Vec<(&StageName, Vec<_>)> = rows.iter().map(|row| (&row.name, listed(row))).collect();
        let all: Vec<Listed<'_>> = all
            .iter()
            .flat_map(|(stage, list)| {
                list.iter().map(move |(artifact, path)| Listed { stage, artifact, path: path.clone() })
            })
            .collect();
        return done(output::print_json(&all));
    }
    let look = output::look(global.no_color);
    let rows = rows.iter().map(|row| (row.name.as_str(), row.status, row.artifacts.as_slice()));
    done(output::print(&drawn::artifacts(rows, &look)))
}

fn get(history: &History<'_>, rows: &[&StageRecord], run: &RunId, name: &str, to: &Path) -> Outcome {
    let act = format!("copy the artifact {name} of {run} to {}", to.display());
    let of = |row: &&StageRecord| row.artifacts.iter().find(|artifact| artifact.name == name).cloned();
    let found: Vec<(StageName, Artifact)> =
        rows.iter().filter_map(|row| Some((row.name.clone(), of(row)?))).collect();
    let [(stage, artifact)] = found.as_slice() else {
        if found.is_empty() {
            return Err(Failure::new(Exit::Nothing, act, "no stage left a file of that name")
                .hint(format!("`restage artifacts {run}` lists them")));
        }
        let stages: Vec<&str> = found.iter().map(|(stage, _)| stage.as_str()).collect();
        return Err(Failure::new(
            Exit::Usage,
            act,
            format!("several stages left one: {}", stages.join(", ")),
        )
        .hint(format!("name the stage: restage artifacts {run} {} --get {name} …", stages[0])));
    };
    let broken = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Failed, &act, error)
            .hint(format!("execute its stage again: restage retry {run} --from {stage} --force"))
    };
    history.objects.verify(artifact).map_err(|error| broken(&error))?;
    let mut from = File::open(history.objects.path(&artifact.hash)).map_err(|error| broken(&error))?;
    if to == Path::new("-") {
        return match io::copy(&mut from, &mut io::stdout().lock()) {
            Ok(_) => Ok(Exit::Completed),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Completed),
            Err(error) => Err(Failure::io(act, &error)),
        };
    }
    let copied = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).open(to)?;
        io::copy(&mut from, &mut file)?;
        if artifact.executable {
            use std::os::unix::fs::PermissionsExt;
            let mode = file.metadata()?.permissions().mode();
            file.set_permissions(std::fs::Permissions::from_mode(mode | (mode & 0o444) >> 2))?;
        }
        file.sync_all()
    })();
    match copied {
        Ok(()) => Ok(Exit::Completed),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(Failure::io(act, &error).hint("name a file that is not there yet"))
        }
        Err(error) => Err(Failure::io(act, &error)),
    }
}

/// A line of `graph --json`.
#[derive(Debug, Serialize)]
struct Node<'a> {
    name: &'a StageName,
    needs: &'a [StageName],
    optional_needs: &'a [StageName],
    validates: Option<&'a StageName>,
    /// All that has to have ended before it starts: also the validators of what it needs.
    waits_for: Vec<&'a StageName>,
}

pub fn graph(global: &Global, workspace: &Workspace, args: &GraphArgs) -> Outcome {
    let act = format!("draw {}", args.flow);
    let spec = settings::load(workspace, Missing::Warning)?;
    let Some(flow) = spec.flows.iter().find(|flow| flow.name.as_str() == args.flow) else {
        let known = spec.flows.iter().map(|flow| flow.name.to_string()).collect();
        let refusal = Refusal::UnknownFlow { flow: args.flow.clone(), known };
        return Err(Failure::of_refusal(act, &refusal));
    };
    let graph = Graph::of(flow).map_err(|error| Failure::new(Exit::Usage, act, error))?;
    if args.dot {
        return done(output::print(&export::to_dot(flow, &graph)));
    }
    if args.mermaid {
        return done(output::print(&export::to_mermaid(flow, &graph)));
    }
    if args.json || global.output == Output::Json {
        let nodes = flow.stages.iter().enumerate().map(|(place, stage)| Node {
            name: &stage.name,
            needs: &stage.needs,
            optional_needs: &stage.optional_needs,
            validates: stage.validates.as_ref(),
            waits_for: graph.upstream(place).iter().map(|before| graph.name(*before)).collect(),
        });
        return done(output::print_json(&nodes.collect::<Vec<_>>()));
    }
    let lines = picture::draw_names(&graph, output::look(global.no_color).width);
    done(output::print(&(lines.join("\n") + "\n")))
}

pub fn stats(global: &Global, workspace: &Workspace, args: &StatsArgs) -> Outcome {
    let mut history = History::open(workspace)?;
    let flow = args.flow.as_deref().map(FlowName::trusted);
    if let Some(flow) = &flow {
        refuse_unknown(&mut history, workspace, flow, "count the runs of")?;
    }
    let stats = history.store.stats(flow.as_ref()).map_err(|error| failed("count runs", &error))?;
    if args.json || global.output == Output::Json {
        return done(output::print_json(&stats));
    }
    done(output::print(&figures::text(&stats, &output::look(global.no_color))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_takes_spans_days_and_times() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let ago = |text| now.as_second() - since(text, now).unwrap().as_second();
        assert_eq!([ago("90s"), ago("2h"), ago("7d"), ago("1w")], [90, 7200, 604_800, 604_800]);
        assert_eq!(since("1970-01-02T00:00:00Z", now).unwrap().as_second(), 86_400);
        assert!(since("1970-01-02", now).is_ok());
        for wrong in ["", "h", "-1h", "1y", "yesterday", "é", "99999999999999999999d"] {
            assert_eq!(since(wrong, now).unwrap_err().exit, Exit::Usage, "{wrong}");
        }
    }
}
