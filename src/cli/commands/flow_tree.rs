//! Verbs that look at what stages left: `checkpoints`, `diff`.

use serde::Serialize;

use super::flow_read::{carried, done, now, one, place, record};
use crate::cli::args::{Global, Output};
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::flow_args::{CheckpointsArgs, DiffArgs};
use crate::cli::history::History;
use crate::cli::output;
use crate::cli::workspace::Workspace;
use crate::domain::flow::ask::BranchView;
use crate::domain::flow::ids::{CheckpointId, RunId};
use crate::domain::flow::record::{Artifact, Checkpoint, StageRecord};
use crate::domain::flow::status::Approval;
use crate::domain::flow::tree::{self, Lineage};
use crate::domain::json::JsonMap;
use crate::domain::time::Timestamp;
use crate::frontend::flow::checkpoints as drawn;

/// A checkpoint that says by its names how it was judged.
#[derive(Debug, Serialize)]
struct Told {
    #[serde(flatten)]
    checkpoint: Checkpoint,
    rejected_by: Option<String>,
    rejected_at: Option<Timestamp>,
}

impl Told {
    fn of(mut checkpoint: Checkpoint) -> Self {
        let (mut rejected_by, mut rejected_at) = (None, None);
        if checkpoint.approval == Approval::Rejected {
            rejected_by = checkpoint.approved_by.take();
            rejected_at = checkpoint.approved_at.take();
        }
        Self { checkpoint, rejected_by, rejected_at }
    }
}

/// What `checkpoints --json` prints.
#[derive(Debug, Serialize)]
struct Tree<'a> {
    checkpoints: Vec<Told>,
    branches: &'a [BranchView],
}

pub fn checkpoints(global: &Global, workspace: &Workspace, args: &CheckpointsArgs) -> Outcome {
    let run = RunId::trusted(args.of.run.as_str());
    let mut history = History::open(workspace)?;
    let (checkpoints, views) = history.checkpoints(&run)?;
    if args.of.json || global.output == Output::Json {
        let checkpoints = checkpoints.into_iter().map(Told::of).collect();
        return done(output::print_json(&Tree { checkpoints, branches: &views }));
    }
    let record = record(&mut history, &run)?;
    let whole = history.desk(|desk| desk.whole(&record), &format!("read the lineage of {run}"))?;
    let mut rows = tree::rows(&Lineage { checkpoints: &checkpoints, ..whole.lineage() });
    // Where a branch stands has been told by whoever knows.
    for row in &mut rows {
        let here = views.iter().filter(|view| view.latest_checkpoint_id.as_ref() == Some(&row.id));
        row.heads = here.map(|view| view.branch.branch_name.clone()).collect();
    }
    let look = output::look(global.no_color);
    let told = if args.verbose { checkpoints.as_slice() } else { &[] };
    done(output::print(&drawn::tree(&rows, told, &views, now(), &look)))
}

pub fn diff(global: &Global, workspace: &Workspace, args: &DiffArgs) -> Outcome {
    let usage = |cause: String| {
        Failure::new(Exit::Usage, "compare checkpoints", cause)
            .hint("restage diff RUN storyboard@1 storyboard@2")
    };
    let (run, before, after) = match (args.run.as_deref(), args.what.as_slice()) {
        (None, [run, before, after]) => (run.as_str(), before, after),
        (Some(run), [before, after]) => (run, before, after),
        (None, named) => {
            let cause =
                format!("a run and two checkpoints of it are to be named, and not only {}", named.join(" "));
            return Err(usage(cause));
        }
        (Some(_), _) => return Err(usage("the run was named twice".into())),
    };
    let run = RunId::trusted(run);
    let ids = [before, after].map(|text| CheckpointId::parse(text).map_err(usage));
    let [before, after] = ids;
    let (before, after) = (before?, after?);
    let mut history = History::open(workspace)?;
    let record = record(&mut history, &run)?;
    let act = format!("compare {before} and {after}");
    let before = one(&mut history, &record, &before, &act)?;
    let after = one(&mut history, &record, &after, &act)?;
    let left = behind(&mut history, &before, &act)?;
    let right = behind(&mut history, &after, &act)?;
    let diff = tree::diff((&left.0, &left.1), (&right.0, &right.1));
    if args.json || global.output == Output::Json {
        return done(output::print_json(&diff));
    }
    done(output::print(&drawn::differences(&diff, &output::look(global.no_color))))
}

/// The state behind a checkpoint, and all files up to there as `stage/name`.
fn behind(
    history: &mut History<'_>,
    checkpoint: &Checkpoint,
    act: &str,
) -> Result<(JsonMap, Vec<Artifact>), Failure> {
    let mut record = record(history, &checkpoint.run_id)?;
    for row in record.stages.iter_mut().flatten().filter(|row| row.name == checkpoint.id.stage) {
        row.outputs = Some(checkpoint.outputs.clone());
        row.artifacts.clone_from(&checkpoint.artifacts);
    }
    let (graph, state) = carried(history, &record, act)?;
    let at = place(&graph, &record, checkpoint.id.stage.as_str(), act)?;
    let before = graph.ancestors(&[at]);
    let counts = |row: &&StageRecord| {
        graph.index(&row.name).is_some_and(|place| place == at || before.contains(&place))
    };
    let rows = record.stages.iter().flatten().filter(counts);
    let files = rows.flat_map(|row| {
        row.artifacts
            .iter()
            .map(|artifact| Artifact { name: format!("{}/{}", row.name, artifact.name), ..artifact.clone() })
    });
    Ok((state.after(at), files.collect()))
}
