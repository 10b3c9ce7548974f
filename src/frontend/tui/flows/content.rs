//! What a stage or a checkpoint left behind, part by part: its outputs as one text, each of them that is a long text
//! by itself, its artifacts; of a stage also the state that it read.

use std::path::Path;
use std::sync::Arc;

use super::super::dialog::Dialog;
use super::super::log::{Content, LogFile, LogSource};
use super::super::model::{Focus, Screen};
use super::pane::RunPane;
use crate::domain::flow::ids::Hash;
use crate::domain::flow::record::{Artifact, Checkpoint, StageRecord};
use crate::domain::flow::state;
use crate::domain::ids::{Attempt, RunnerName};
use crate::domain::json::{JsonMap, pretty};

/// An output that is a longer text than this, or one of several lines, is a part of its own.
const SHORT: usize = 160;

#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// As it is chosen.
    pub label: String,
    /// As it is called, for a title and a copy.
    pub name: String,
    pub bytes: Bytes,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Bytes {
    Text(Arc<str>),
    Object { hash: Hash, size: u64 },
}

/// What is being looked into, and what it was opened from.
#[derive(Debug, Clone)]
pub struct Viewing {
    pub title: String,
    pub source: LogSource,
    pub dialog: Option<Dialog>,
    pub screen: Screen,
    pub focus: Focus,
    pub zoom: bool,
}

pub fn of_checkpoint(checkpoint: &Checkpoint) -> Vec<Part> {
    let mut parts = of_outputs(&checkpoint.outputs);
    parts.extend(checkpoint.artifacts.iter().map(of_artifact));
    parts
}

pub fn of_stage(pane: &RunPane, stage: &StageRecord) -> Vec<Part> {
    let mut parts = stage.outputs.as_ref().map(of_outputs).unwrap_or_default();
    parts.extend(stage.artifacts.iter().map(of_artifact));
    parts.extend(read_by(pane, stage));
    parts
}

/// The state that its command read, as far as it was there.
fn read_by(pane: &RunPane, stage: &StageRecord) -> Option<Part> {
    let (graph, run) = (pane.graph()?, pane.run()?);
    let place = graph.index(&stage.name)?;
    let outputs = pane.stages().iter().filter_map(|row| Some((&row.name, row.outputs.as_ref()?)));
    let state = state::of_run(graph, run.inputs.clone(), outputs).visible(place);
    (!state.is_empty()).then(|| Part {
        label: "the state that it reads".to_owned(),
        name: format!("{}.state.json", stage.name),
        bytes: Bytes::Text((pretty(&state) + "\n").into()),
    })
}

fn of_outputs(outputs: &JsonMap) -> Vec<Part> {
    if outputs.is_empty() {
        return Vec::new();
    }
    let all = Part {
        label: format!("its outputs, {} in one text", outputs.len()),
        name: "outputs.json".to_owned(),
        bytes: Bytes::Text((pretty(outputs) + "\n").into()),
    };
    let long = outputs.iter().filter_map(|(key, value)| {
        let text = value.as_string().filter(|text| text.len() > SHORT || text.contains('\n'))?;
        let (label, bytes) = (format!("{key}, as it is"), Bytes::Text(text.into()));
        Some(Part { label, name: key.clone(), bytes })
    });
    std::iter::once(all).chain(long).collect()
}

fn of_artifact(artifact: &Artifact) -> Part {
    let size = crate::frontend::text::bytes(artifact.size);
    Part {
        label: format!("{}  {size}", artifact.name),
        name: artifact.name.clone(),
        bytes: Bytes::Object { hash: artifact.hash.clone(), size: artifact.size },
    }
}

/// The parts as the log pane reads them, where objects lie below `objects`.
pub fn source(title: &str, parts: &[Part], first: usize, objects: &Path) -> LogSource {
    let number = |place: usize| Attempt::new(u32::try_from(place).ok()? + 1);
    let file = |(place, part): (usize, &Part)| {
        let (path, text, size) = match &part.bytes {
            Bytes::Text(text) => (objects.to_owned(), Some(Arc::clone(text)), None),
            Bytes::Object { hash, size } => (hash.path_in(objects), None, Some(*size)),
        };
        Some(LogFile {
            attempt: number(place)?,
            path,
            live: false,
            started_at: None,
            outcome: None,
            content: Some(Content { name: part.name.clone(), text, size }),
        })
    };
    LogSource {
        runner: RunnerName::trusted(title),
        attempts: parts.iter().enumerate().filter_map(file).collect(),
        first: number(first),
    }
}
