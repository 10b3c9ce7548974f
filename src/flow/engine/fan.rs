//! A stage that fans out: which of its items have been done before, and are not done again.

use std::collections::HashMap;

use super::Engine;
use crate::domain::flow::change::ItemRecord;
use crate::domain::flow::ids::{Hash, RunId};
use crate::domain::flow::run::{Index, Made};
use crate::domain::json::Json;

impl Engine {
    /// Which items of a stage have been done before, in this run or in the one that it retries.
    pub(super) fn fan_out(&mut self, id: &RunId, stage: Index, values: Vec<Json>) {
        let at = self.moment();
        let Some(active) = self.active.get_mut(id) else { return };
        let name = active.run.stage(stage).name.clone();
        let recipe = active.recipes.of(active.run.stage(stage)).hash();
        let Some(input) = active.run.input_of(stage) else { return };
        let sources: Vec<RunId> =
            [Some(id.clone()), active.run.parent.clone()].into_iter().flatten().collect();
        let mut known: Vec<ItemRecord> = Vec::new();
        for source in sources {
            match self.store.items(&source, &name) {
                Ok(items) => known.extend(items),
                Err(error) => {
                    tracing::warn!(run = %source, stage = %name, %error, "look for items that are done");
                }
            }
        }
        let mut good: HashMap<&Hash, &ItemRecord> = HashMap::new();
        for one in known.iter().filter(|one| one.status.is_good()) {
            good.entry(&one.input).or_insert(one);
        }
        let done = (0..)
            .zip(&values)
            .map(|(item, value)| {
                let input = item_input(&recipe, &input, value);
                let found = *good.get(&input)?;
                let whole = found.artifacts.iter().all(|artifact| self.objects.verify(artifact).is_ok());
                whole.then(|| {
                    let made = Made {
                        status: found.status,
                        outputs: found.outputs.clone(),
                        artifacts: found.artifacts.clone(),
                        cost: None,
                        recipe: recipe.clone(),
                        input,
                    };
                    (ItemRecord { item, ..found.clone() }, made)
                })
            })
            .collect();
        self.step(id, |run| run.fan_out(stage, values, done, recipe, at));
    }
}

/// An item that is the same today, made the same way, is not done again, wherever it stands in the list.
pub(super) fn item_input(recipe: &Hash, input: &Hash, value: &Json) -> Hash {
    Hash::of([recipe.as_ref(), input.as_ref(), value.text().as_bytes()])
}
