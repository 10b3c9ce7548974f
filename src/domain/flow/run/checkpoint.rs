//! A good end: what a stage left becomes its checkpoint, and what those after it build on.

use std::sync::Arc;

use super::{Index, Made, Moment, Run, Turn};
use crate::domain::flow::change::{NewCheckpoint, What};
use crate::domain::flow::hashes::{self, Ended};
use crate::domain::flow::ids::CheckpointId;
use crate::domain::flow::record::Artifact;
use crate::domain::flow::spec::Approve;
use crate::domain::flow::state;
use crate::domain::flow::status::{Approval, StageStatus};
use crate::domain::json::JsonMap;

impl Run {
    /// All units are done: one checkpoint for what they left.
    pub(super) fn ended_good(&mut self, index: Index, at: Moment, turn: &mut Turn) {
        let spec = Arc::clone(&self.spec);
        let stage_spec = &spec.stages[index];
        let parts: Vec<Made> =
            self.stages[index].units.iter_mut().filter_map(|unit| unit.result.take()).collect();
        let made = match stage_spec.foreach {
            None => parts.into_iter().next(),
            Some(_) => self.gather(index, parts),
        };
        let Some(made) = made else { return };
        let made = match small_enough(made) {
            Ok(made) => made,
            Err(error) => return self.end_stage(index, StageStatus::Failed, Some(error), at, turn),
        };
        let status = made.status;
        let asks = self.asks(index);
        let nobody_asked = stage_spec.approve == Approve::Manual && !asks;
        let new = NewCheckpoint {
            stage: stage_spec.name.clone(),
            branch: self.branch.clone(),
            parent: self.checkpoint_before(index),
            status,
            approval: if asks { Approval::Pending } else { Approval::Approved },
            hash: hashes::checkpoint(&made.outputs, &made.artifacts),
            recipe: Some(made.recipe),
            input: made.input,
            outputs: made.outputs.clone(),
            artifacts: made.artifacts.clone(),
            created_at: at.now.wall,
            created_by: None,
            edited_from: None,
            // By nobody in person: the run was told not to ask.
            approved_by: nobody_asked.then(|| "auto".to_owned()),
            approved_at: nobody_asked.then_some(at.now.wall),
            note: None,
        };
        turn.changes.push(What::Checkpoint { stage: stage_spec.name.clone(), new: Box::new(new) });
        self.left_behind(index, made.outputs, made.artifacts);
        if asks {
            self.waiting += 1;
            self.close(index);
            let stage = &mut self.stages[index];
            stage.status = StageStatus::Waiting;
            stage.good = status;
            stage.error = None;
            turn.changes.push(stage.change(&spec.stages[index].name, None));
        } else {
            self.end_stage(index, status, None, at, turn);
        }
    }

    /// What all items left, as one: an array for each key, and their artifacts below their numbers.
    fn gather(&self, index: Index, parts: Vec<Made>) -> Option<Made> {
        let spec = self.stage(index);
        let degraded = parts.iter().any(|part| part.status == StageStatus::Degraded);
        let costs: Vec<f64> = parts.iter().filter_map(|part| part.cost).collect();
        let recipe = parts.first().map(|part| part.recipe.clone());
        let (mut outputs, mut artifacts) = (Vec::with_capacity(parts.len()), Vec::new());
        for (item, part) in parts.into_iter().enumerate() {
            let below = |one: Artifact| Artifact { name: format!("{item}/{}", one.name), ..one };
            artifacts.extend(part.artifacts.into_iter().map(below));
            outputs.push(part.outputs);
        }
        Some(Made {
            status: if degraded { StageStatus::Degraded } else { StageStatus::Succeeded },
            outputs: state::gather(&spec.outputs, &outputs),
            artifacts,
            cost: (!costs.is_empty()).then(|| costs.iter().sum()),
            recipe: recipe.or_else(|| self.stages[index].recipe.clone())?,
            input: self.input_of(index)?,
        })
    }

    /// What those after it build on.
    pub(super) fn left_behind(&mut self, index: Index, outputs: JsonMap, artifacts: Vec<Artifact>) {
        let (data, manifest) = (hashes::outputs(&outputs), hashes::manifest(&artifacts));
        self.chain.fill(&self.graph, index, Ended::Good { outputs: &data, manifest: &manifest });
        self.state.put(index, Arc::new(outputs));
        if !artifacts.is_empty() {
            self.with_artifacts.insert(self.graph.position(index));
        }
        self.stages[index].artifacts = artifacts.into();
    }

    /// Of what it needs, the checkpoint that comes last in the graph.
    fn checkpoint_before(&self, index: Index) -> Option<CheckpointId> {
        let links = self.graph.upstream(index).iter().copied();
        let last = links
            .filter(|other| self.stages[*other].checkpoint.is_some())
            .max_by_key(|other| self.graph.position(*other))?;
        self.stages[last].checkpoint.clone()
    }
}

/// What is too large for a record is the stage's own affair: a record that can never be written would hold up all others.
pub(super) fn small_enough(made: Made) -> Result<Made, String> {
    // Quotes, colon and comma of each entry.
    let bytes: usize = made.outputs.iter().map(|(key, value)| key.len() + value.text().len() + 4).sum();
    if bytes < state::MAX_STATE_BYTES {
        return Ok(made);
    }
    Err(format!(
        "its outputs have {bytes} bytes as JSON, and {} (64 MiB) is the limit; write large things as artifacts",
        state::MAX_STATE_BYTES
    ))
}
