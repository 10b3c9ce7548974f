//! What a plan asks about the world: recipes as they are today, files, and what the store knows of other runs.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::ahead::look;
use super::super::fan::earlier;
use super::super::reading::Reads;
use super::read_definition;
use crate::domain::flow::change::RecipeRecord;
use crate::domain::flow::ids::{BranchName, CheckpointId, Hash, RunId, StageName};
use crate::domain::flow::items::Earlier;
use crate::domain::flow::plan::Oracle;
use crate::domain::flow::record::{Artifact, Checkpoint, RunRecord};
use crate::domain::flow::spec::FlowSpec;
use crate::domain::flow::status::{Reason, StageStatus};
use crate::flow::objects::Objects;
use crate::flow::recipe::{Recipes, what_changed};
use crate::ports::store::Store;

/// The world, as far as a plan has to look at it.
pub(super) struct Sight<'a> {
    pub(super) flow: &'a FlowSpec,
    pub(super) recipes: Recipes,
    pub(super) objects: &'a Objects,
    pub(super) store: &'a mut dyn Store,
    pub(super) root: &'a RunId,
    pub(super) branch: &'a BranchName,
    /// Of the config.
    pub(super) folder: &'a Path,
    pub(super) parent: &'a RunRecord,
    pub(super) lineage: &'a [RunRecord],
    /// Those that were asked for, by run.
    pub(super) definitions: BTreeMap<RunId, Option<FlowSpec>>,
    pub(super) thorough: bool,
    pub(super) reads: Option<&'a mut Reads>,
    /// So many bytes, where it is not thorough.
    pub(super) may_read: u64,
}

impl Sight<'_> {
    /// What of a stage is another than it was in that run.
    fn what_changed(&mut self, stage: usize, run: &RunId, noted: Option<&RecipeRecord>) -> String {
        if !self.definitions.contains_key(run) {
            let record = self.lineage.iter().find(|one| one.run_id == *run);
            let then = record.and_then(|record| read_definition(self.store, Some(self.flow), record).ok());
            self.definitions.insert(run.clone(), then);
        }
        let now = &self.flow.stages[stage];
        let recipe = self.recipes.of(now);
        let then = self.definitions.get(run).and_then(Option::as_ref);
        let then = then.and_then(|flow| flow.stages.iter().find(|one| one.name == now.name));
        what_changed(self.folder, then, noted, now, &recipe)
    }

    fn noted(&mut self, run: &RunId, stage: usize) -> Option<RecipeRecord> {
        let name = &self.flow.stages[stage].name;
        self.store.recipe_of(run, name).unwrap_or_else(|error| {
            tracing::warn!(%run, stage = %name, %error, "look for what a stage was made by");
            None
        })
    }
}

impl Oracle for Sight<'_> {
    fn recipe(&mut self, stage: usize) -> Hash {
        self.recipes.of(&self.flow.stages[stage]).hash()
    }

    fn recipe_change(&mut self, stage: usize, checkpoint: &Checkpoint) -> String {
        let noted = self.noted(&checkpoint.run_id, stage);
        let noted = noted.filter(|noted| Some(&noted.hash) == checkpoint.recipe.as_ref());
        self.what_changed(stage, &checkpoint.run_id, noted.as_ref())
    }

    fn items(&mut self, stage: usize, reason: Reason) -> Option<Earlier> {
        earlier(self.store, &self.parent.run_id, reason, &self.flow.stages[stage].name)
    }

    fn items_change(&mut self, stage: usize, run: &RunId) -> Option<String> {
        let noted = self.noted(run, stage)?;
        (noted.hash != self.recipe(stage)).then(|| self.what_changed(stage, run, Some(&noted)))
    }

    fn verify(&mut self, _stage: usize, artifacts: &[Artifact]) -> Result<(), String> {
        look(self.objects, artifacts, self.thorough, self.reads.as_deref_mut(), &mut self.may_read)
    }

    fn retries(&mut self, checkpoint: &CheckpointId) -> Vec<RunId> {
        self.store.retries_of(self.root, self.branch, checkpoint).unwrap_or_else(|error| {
            tracing::warn!(%checkpoint, %error, "count the retries of a checkpoint");
            Vec::new()
        })
    }

    fn ended(&mut self, run: &RunId, stage: &StageName) -> Option<StageStatus> {
        self.store.stage_status(run, stage).unwrap_or_else(|error| {
            tracing::warn!(%run, %stage, %error, "look for what became of a stage");
            None
        })
    }
}
