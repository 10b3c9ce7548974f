//! What attempts are made by. It is read when one begins, since then it reads its files; and it is noted then, because
//! whoever takes it in may be another supervisor, which finds the files as they are by that time.

use std::sync::Arc;

use super::turns::Pending;
use super::{Engine, Live};
use crate::domain::flow::change::{RecipeRecord, What};
use crate::domain::flow::ids::RunId;
use crate::domain::flow::run::{Index, Turn, UnitKey};
use crate::flow::recipe::Recipe;

impl Engine {
    /// An attempt is about to begin. What the definition does not tell is noted.
    pub(super) fn begins_with(&mut self, id: &RunId, unit: UnitKey) {
        let Some(active) = self.active.get_mut(id) else { return };
        let spec = Arc::clone(&active.run.spec);
        let recipe = active.recipes.of(&spec.stages[unit.stage]);
        let record = recipe.record();
        if let Some(live) = active.live.get_mut(&unit) {
            live.recipe = Some(recipe);
        }
        if !record.files.is_empty() {
            let mut turn = Turn::default();
            turn.changes.extend(self.noted(id, unit.stage, record));
            if !turn.changes.is_empty() {
                self.pending.push(Pending { run: id.clone(), turn });
            }
        }
    }

    /// What to keep of an attempt that has ended.
    pub(super) fn made_by(&mut self, id: &RunId, unit: UnitKey, live: Option<Live>) -> Option<Recipe> {
        let active = self.active.get_mut(id)?;
        let spec = Arc::clone(&active.run.spec);
        let stage = &spec.stages[unit.stage];
        let now = active.recipes.of(stage);
        if let Some(began) = live.and_then(|live| live.recipe) {
            return Some(began.and_made(&now));
        }
        // It began under a supervisor before this one.
        let noted = self.scribe.store().recipe_of(id, &stage.name).ok().flatten();
        Some(now.begun_as(noted.as_ref()))
    }

    /// What to write down of what a stage is made by, where that is news.
    pub(super) fn noted(&mut self, id: &RunId, index: Index, recipe: RecipeRecord) -> Option<What> {
        let active = self.active.get_mut(id)?;
        if active.noted.get(&index) == Some(&recipe.hash) {
            return None;
        }
        active.noted.insert(index, recipe.hash.clone());
        Some(What::Recipe { stage: active.run.stage(index).name.clone(), recipe })
    }
}
