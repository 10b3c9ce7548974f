//! Of a stage that fans out and did not come to its end: which of its items are executed again.

use std::collections::BTreeSet;

use super::walk::Verdict;
use super::{Known, Oracle};
use crate::domain::flow::record::{ItemCount, StageRecord};
use crate::domain::flow::status::Reason;
use crate::domain::verdict::Verdict as Ended;

/// So many are named.
const NAMED: usize = 10;

/// What is done is not done again, unless it is made in another way today.
pub(super) fn only_open<'a>(
    known: &Known<'_>,
    stage: usize,
    verdict: Verdict<'a>,
    oracle: &mut dyn Oracle,
) -> Verdict<'a> {
    let fans_out = known.facts.flow.stages[stage].foreach.is_some();
    let row = known.rows[stage].filter(|_| fans_out);
    let items = row.and_then(|row| Some((row, row.items?))).filter(|(_, items)| items.done > 0);
    match (verdict, items) {
        (
            Verdict::Execute { reason: reason @ (Reason::Failed | Reason::NeverRan), detail },
            Some((row, items)),
        ) => {
            if let Some(what) = oracle.items_change(stage) {
                let detail = Some(format!("{what}; all items are executed again"));
                return Verdict::Execute { reason: Reason::RecipeChanged, detail };
            }
            let open = open(row, items);
            let detail = detail.map_or_else(|| open.clone(), |detail| format!("{detail}; {open}"));
            Verdict::Execute { reason, detail: Some(detail) }
        }
        (verdict @ (Verdict::Execute { .. } | Verdict::Reuse { .. } | Verdict::Skip), _) => verdict,
    }
}

/// `2 of 5 items: 1, 4`
fn open(row: &StageRecord, items: ItemCount) -> String {
    let ended_well = row.attempts.iter().filter(|one| one.error.is_none());
    let ended_well = ended_well.filter(|one| one.verdict == Some(Ended::Completed));
    let done: BTreeSet<u32> = ended_well.filter_map(|one| one.item).collect();
    let open: Vec<u32> = (0..items.all).filter(|item| !done.contains(item)).collect();
    let count = items.all.saturating_sub(items.done);
    let names = || {
        let named: Vec<String> = open.iter().take(NAMED).map(u32::to_string).collect();
        let more = if open.len() > NAMED { ", …" } else { "" };
        format!(": {}{more}", named.join(", "))
    };
    // What was taken in is counted by the store; where the attempts tell another tale, only the number is sure.
    let names = if u32::try_from(open.len()) == Ok(count) { names() } else { String::new() };
    format!("{count} of {} items{names}", items.all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::flow::record::AttemptRecord;
    use crate::domain::flow::status::StageStatus;
    use crate::domain::flow::testing::row;

    fn attempt(item: u32, error: Option<&str>) -> AttemptRecord {
        AttemptRecord {
            number: 1,
            item: Some(item),
            verdict: Some(error.map_or(Ended::Completed, |_| Ended::Exit)),
            exit_code: None,
            signal: None,
            error: error.map(str::to_owned),
            started_at: None,
            ended_at: None,
            cpu_seconds: None,
            peak_rss_bytes: None,
            cost: None,
            log: None,
            blameless: false,
        }
    }

    #[test]
    fn the_items_that_are_open_are_named() {
        let mut stage = row("each", 0, StageStatus::Failed);
        stage.attempts = vec![attempt(0, None), attempt(1, Some("exit 1")), attempt(2, None)];
        assert_eq!(open(&stage, ItemCount { done: 2, all: 5 }), "3 of 5 items: 1, 3, 4");
        // One that ended well could not be taken in.
        assert_eq!(open(&stage, ItemCount { done: 1, all: 5 }), "4 of 5 items");
        stage.attempts.truncate(1);
        assert_eq!(
            open(&stage, ItemCount { done: 1, all: 500 }),
            "499 of 500 items: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …"
        );
    }
}
