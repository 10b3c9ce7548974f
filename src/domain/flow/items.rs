//! The items of a stage that fans out: what each is made from, and which of them were done before. The plan that is shown
//! and the run that carries it out both ask here, so that they say the same.

use std::collections::{BTreeMap, HashMap};

use super::change::ItemRecord;
use super::ids::{Hash, RunId};
use super::status::{Reason, StageStatus};
use crate::domain::json::Json;

/// What an earlier run of the lineage has done of a stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Earlier {
    pub run: RunId,
    pub items: Vec<ItemRecord>,
}

/// Whether a retry that executes a stage for this reason goes on with the items of the run before, in which the stage
/// ended like that. Who found fault with a stage as a whole, or wants it again, wants all of it again.
pub fn goes_on(reason: Reason, ended: Option<StageStatus>) -> bool {
    let unfinished = match reason {
        Reason::Failed | Reason::NeverRan | Reason::InputChanged => true,
        Reason::First
        | Reason::Forced
        | Reason::Validated
        | Reason::Descendant
        | Reason::RecipeChanged
        | Reason::OutputMissing
        | Reason::Rejected
        | Reason::Edited
        | Reason::Verified => false,
    };
    unfinished && ended.is_some_and(|ended| !ended.is_good())
}

/// Of an item that is made by `recipe` from its value, and `from` what else it reads.
pub fn input(recipe: &Hash, from: &Hash, value: &Json) -> Hash {
    Hash::of([recipe.as_ref(), from.as_ref(), value.text().as_bytes()])
}

/// For each item of today what was done of it before, by what they are made from. Each record stands for one item: for the
/// one in its own place, else for one that is the same and stands elsewhere in the list now.
pub fn done<'a>(inputs: &[Hash], known: &'a [ItemRecord]) -> Vec<Option<&'a ItemRecord>> {
    let mut left: HashMap<&Hash, BTreeMap<u32, &ItemRecord>> = HashMap::new();
    for one in known.iter().filter(|one| one.status.is_good()) {
        left.entry(&one.input).or_default().insert(one.item, one);
    }
    let in_place = |(item, input): (u32, &Hash)| left.get_mut(input)?.remove(&item);
    let mut done: Vec<_> = (0..).zip(inputs).map(in_place).collect();
    for (found, input) in done.iter_mut().zip(inputs).filter(|(found, _)| found.is_none()) {
        *found = left.get_mut(input).and_then(BTreeMap::pop_first).map(|(_, one)| one);
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(item: u32, value: &str, status: StageStatus) -> ItemRecord {
        ItemRecord { item, input: Hash::of([value]), status, outputs: BTreeMap::new(), artifacts: Vec::new() }
    }

    /// By the place that each was done at.
    fn places(today: &str, before: &[ItemRecord]) -> Vec<Option<u32>> {
        let inputs: Vec<Hash> = today.split(' ').map(|value| Hash::of([value])).collect();
        done(&inputs, before).into_iter().map(|one| one.map(|one| one.item)).collect()
    }

    #[test]
    fn each_record_stands_for_one_item_and_first_for_that_in_its_place() {
        let good = |item, value| record(item, value, StageStatus::Succeeded);
        assert_eq!(places("a a a", &[good(0, "a")]), [Some(0), None, None]);
        assert_eq!(places("a a a", &[good(1, "a"), good(2, "a")]), [None, Some(1), Some(2)]);
        assert_eq!(places("b a", &[good(0, "a"), good(1, "b")]), [Some(1), Some(0)]);
        // The one in its own place goes before one that has moved.
        assert_eq!(places("x a a", &[good(0, "a"), good(2, "a")]), [None, Some(0), Some(2)]);
        assert_eq!(places("a b", &[record(0, "a", StageStatus::Failed), good(5, "b")]), [None, Some(5)]);
    }

    #[test]
    fn only_what_was_left_unfinished_is_gone_on_with() {
        let failed = Some(StageStatus::Failed);
        for reason in [Reason::Failed, Reason::NeverRan, Reason::InputChanged] {
            assert!(goes_on(reason, failed) && goes_on(reason, Some(StageStatus::Cancelled)), "{reason}");
            assert!(!goes_on(reason, Some(StageStatus::Degraded)), "{reason}");
            assert!(!goes_on(reason, Some(StageStatus::Succeeded)) && !goes_on(reason, None), "{reason}");
        }
        for reason in
            [Reason::Forced, Reason::Validated, Reason::Rejected, Reason::Edited, Reason::Descendant]
        {
            assert!(!goes_on(reason, failed), "{reason}");
        }
    }
}
