//! A stage that fans out: which of its items have been done before, and are not done again.

use super::Engine;
use crate::domain::flow::change::ItemRecord;
use crate::domain::flow::ids::{Hash, RunId, StageName};
use crate::domain::flow::items::{self, Earlier};
use crate::domain::flow::run::{Index, Made, UnitKey};
use crate::domain::flow::status::Reason;
use crate::domain::json::Json;
use crate::ports::store::{Store, StoreError};

impl Engine {
    /// What was done of it in this run stands; else it goes on with what was done before, where its reason allows that.
    pub(super) fn fan_out(&mut self, id: &RunId, stage: Index, values: Vec<Json>) {
        let at = self.moment();
        let Some(active) = self.active.get_mut(id) else { return };
        let name = active.run.stage(stage).name.clone();
        let recipe = active.recipes.of(active.run.stage(stage)).hash();
        let Some(from) = active.run.input_of_unit(UnitKey { stage, item: Some(0) }) else { return };
        let before = active.run.parent.clone().zip(active.run.stages[stage].reason);
        let mut known = self.scribe.store().items(id, &name).unwrap_or_else(|error| {
            told(id, &name, &error);
            Vec::new()
        });
        if let Some((parent, reason)) = before.filter(|_| known.is_empty()) {
            let earlier = earlier(self.scribe.store(), &parent, reason, &name);
            known.extend(earlier.into_iter().flat_map(|earlier| earlier.items));
        }
        let inputs: Vec<Hash> = values.iter().map(|value| items::input(&recipe, &from, value)).collect();
        // Mostly the plan has just looked at them.
        let whole = |one: &&ItemRecord| one.artifacts.iter().all(|one| self.objects.verify_once(one).is_ok());
        let taken = |(item, found): (u32, Option<&ItemRecord>)| {
            let found = found.filter(whole)?.clone();
            let made = Made {
                status: found.status,
                outputs: found.outputs.clone(),
                artifacts: found.artifacts.clone(),
                cost: None,
                recipe: recipe.clone(),
                input: found.input.clone(),
            };
            Some((ItemRecord { item, ..found }, made))
        };
        let done = (0..).zip(items::done(&inputs, &known)).map(taken).collect();
        self.step(id, |run| run.fan_out(stage, values, done, recipe, at));
    }
}

/// What a retry that executes a stage for this reason goes on with: what the run that it retries has done of it; where that
/// never came to it, what the one before has.
pub(super) fn earlier(
    store: &mut dyn Store,
    parent: &RunId,
    reason: Reason,
    stage: &StageName,
) -> Option<Earlier> {
    let found = last_items(store, parent, reason, stage);
    found.unwrap_or_else(|error| {
        told(parent, stage, &error);
        None
    })
}

fn last_items(
    store: &mut dyn Store,
    parent: &RunId,
    reason: Reason,
    stage: &StageName,
) -> Result<Option<Earlier>, StoreError> {
    let mut before = Some((parent.clone(), reason));
    while let Some((run, reason)) = before {
        if !items::goes_on(reason, store.stage_status(&run, stage)?) {
            break;
        }
        let items = store.items(&run, stage)?;
        if !items.is_empty() {
            return Ok(Some(Earlier { run, items }));
        }
        before = store.run(&run)?.and_then(|stored| {
            let row = stored.stages().iter().find(|row| row.name == *stage)?;
            Some((stored.record.parent_run_id.clone()?, row.reason?))
        });
    }
    Ok(None)
}

/// What cannot be looked up is made once more.
fn told(run: &RunId, stage: &StageName, error: &StoreError) {
    tracing::warn!(%run, %stage, %error, "look for items that are done");
}
