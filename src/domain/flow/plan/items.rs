//! Of a stage that fans out and did not come to its end: which of its items are executed again.

use super::Oracle;
use super::walk::{Verdict, Walk};
use crate::domain::flow::ids::Hash;
use crate::domain::flow::items;
use crate::domain::flow::status::Reason;

/// So many are named.
const NAMED: usize = 10;

/// What is done is not done again, unless it is made in another way or from something else today.
pub(super) fn only_open<'a>(
    walk: &mut Walk<'a>,
    stage: usize,
    verdict: Verdict<'a>,
    oracle: &mut dyn Oracle,
) -> Verdict<'a> {
    let Verdict::Execute { reason, detail } = verdict else { return verdict };
    let fans_out = walk.known.facts.flow.stages[stage].foreach.is_some();
    let Some(earlier) = fans_out.then(|| oracle.items(stage, reason)).flatten() else {
        return Verdict::Execute { reason, detail };
    };
    if let Some(what) = oracle.items_change(stage, &earlier.run) {
        let detail = Some(format!("{what}; all items are executed again"));
        return Verdict::Execute { reason: Reason::RecipeChanged, detail };
    }
    let told = match walk.items(stage) {
        // What comes before it is executed first.
        None => "but for items that turn out the same".to_owned(),
        Some((values, from)) => {
            let recipe = oracle.recipe(stage);
            let inputs: Vec<Hash> = values.iter().map(|value| items::input(&recipe, &from, value)).collect();
            let done = items::done(&inputs, &earlier.items).into_iter();
            let open = done.map(|one| one.is_none_or(|one| oracle.verify(stage, &one.artifacts).is_err()));
            told(&open.collect::<Vec<_>>())
        }
    };
    let detail = Some(detail.map_or_else(|| told.clone(), |detail| format!("{detail}; {told}")));
    Verdict::Execute { reason, detail }
}

/// `2 of 5 items: 1, 4`
fn told(open: &[bool]) -> String {
    let places: Vec<String> =
        open.iter().enumerate().filter(|(_, open)| **open).map(|(place, _)| place.to_string()).collect();
    let count = format!("{} of {} items", places.len(), open.len());
    match places.get(..NAMED) {
        Some(first) if places.len() > NAMED => format!("{count}: {}, …", first.join(", ")),
        Some(_) | None if !places.is_empty() => format!("{count}: {}", places.join(", ")),
        Some(_) | None => count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_items_that_are_open_are_named() {
        assert_eq!(told(&[false, true, false, true, true]), "3 of 5 items: 1, 3, 4");
        assert_eq!(told(&[false, false]), "0 of 2 items");
        let mut many = vec![true; 500];
        assert_eq!(told(&many), "500 of 500 items: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …");
        many.truncate(10);
        assert_eq!(told(&many), "10 of 10 items: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9");
    }
}
