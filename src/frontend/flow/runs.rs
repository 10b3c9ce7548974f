//! Lists of runs: the history, and a lineage as a tree.

use std::collections::{BTreeMap, BTreeSet};

use super::table::{Cell, Table};
use super::words::{age, origin, run_tone, took};
use crate::domain::flow::ids::RunId;
use crate::domain::flow::record::RunRecord;
use crate::domain::time::Timestamp;
use crate::frontend::status::Look;
use crate::frontend::text::Tone;

/// One line a run.
pub fn table(runs: &[RunRecord], now: Timestamp, look: &Look) -> String {
    let mut table = Table::new(&["run", "status", "took", "begun", "cost", "what"]);
    for run in runs {
        table.row([
            run.run_id.as_str().into(),
            status(run),
            took(run, now).into(),
            age(run.started_at.unwrap_or(run.created_at), now).into(),
            cost(run.cost).into(),
            what(run).into(),
        ]);
    }
    table.draw(look)
}

pub fn status(run: &RunRecord) -> Cell {
    let word = match &run.held {
        _ if run.left => format!("{}, left", run.status),
        Some(_) => format!("{}, held", run.status),
        None => run.status.to_string(),
    };
    Cell::new(word, run_tone(run.status))
}

pub fn cost(cost: Option<f64>) -> String {
    cost.map(|cost| format!("{cost:.4}"))
        .map(|text| text.trim_end_matches('0').trim_end_matches('.').to_owned())
        .unwrap_or_default()
}

fn what(run: &RunRecord) -> String {
    let branch = if run.branch.as_str() == "main" { None } else { Some(format!("branch {}", run.branch)) };
    let by = run.caller_run_id.as_ref().map(|caller| format!("by {caller}"));
    let parts = [origin(run), branch, by, run.error.clone().or_else(|| run.held.clone())];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Each run below the one that it is a retry of.
pub fn lineage(runs: &[RunRecord], of: &RunId, now: Timestamp, look: &Look) -> String {
    let known: BTreeSet<&RunId> = runs.iter().map(|run| &run.run_id).collect();
    let mut children: BTreeMap<Option<&RunId>, Vec<&RunRecord>> = BTreeMap::new();
    let mut sorted: Vec<&RunRecord> = runs.iter().collect();
    sorted.sort_by_key(|run| run.run_number);
    for run in sorted {
        let parent = run.parent_run_id.as_ref().filter(|parent| known.contains(parent));
        children.entry(parent).or_default().push(run);
    }
    let mut table = Table::new(&["", "", "", "", ""]);
    let none = Vec::new();
    let mut open: Vec<(&RunRecord, String, String)> = children
        .get(&None)
        .unwrap_or(&none)
        .iter()
        .rev()
        .map(|run| (*run, String::new(), String::new()))
        .collect();
    while let Some((run, prefix, below)) = open.pop() {
        let next = children.get(&Some(&run.run_id)).unwrap_or(&none);
        for (place, child) in next.iter().enumerate().rev() {
            let last = place + 1 == next.len();
            let (branch, trunk) = match (last, look.ascii) {
                (true, false) => ("└─ ", "   "),
                (false, false) => ("├─ ", "│  "),
                (true, true) => ("`- ", "   "),
                (false, true) => ("|- ", "|  "),
            };
            open.push((child, format!("{below}{branch}"), format!("{below}{trunk}")));
        }
        let mark = if run.run_id == *of { " *" } else { "" };
        let seconds = took(run, now);
        table.row([
            format!("{prefix}{}{mark}", run.run_id).into(),
            status(run),
            Cell::new(seconds, Tone::Quiet),
            Cell::new(age(run.created_at, now), Tone::Quiet),
            what(run).into(),
        ]);
    }
    table.draw(look)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::flow::ids::{BranchName, StageName};
    use crate::domain::flow::status::{Cause, RunStatus};
    use crate::frontend::flow::fixture::run;

    const LOOK: Look = Look { width: 100, colour: false, ascii: false };

    fn runs() -> Vec<RunRecord> {
        let retry = |number: u64, parent: &str, depth: u32| RunRecord {
            parent_run_id: Some(RunId::trusted(parent)),
            root_run_id: RunId::trusted("video-12"),
            retry_from_stage: Some(StageName::trusted("storyboard")),
            retry_depth: depth,
            retry_number: Some(depth),
            cause: Cause::Retry,
            ..run(number, RunStatus::Failed)
        };
        vec![
            RunRecord {
                status: RunStatus::Running,
                left: true,
                ended_at: None,
                duration_seconds: None,
                error: None,
                ..retry(15, "video-13", 2)
            },
            RunRecord {
                branch: BranchName::trusted("dark"),
                cause: Cause::Continue,
                retry_number: None,
                ..retry(14, "video-12", 1)
            },
            retry(13, "video-12", 1),
            RunRecord { cost: Some(1.25), ..run(12, RunStatus::Failed) },
        ]
    }

    #[test]
    fn a_list_tells_each_run_on_a_line() {
        let now = Timestamp::from_second(4000).unwrap();
        insta::assert_snapshot!(table(&runs(), now, &LOOK), @r"
        run       status         took    begun       cost  what
        video-15  running, left          50m00s ago        Retry #2 of video-12 from storyboard
        video-14  failed         12m04s  50m00s ago        continues video-12 from storyboard; branch dark;…
        video-13  failed         12m04s  50m00s ago        Retry #1 of video-12 from storyboard; storyboard…
        video-12  failed         12m04s  50m00s ago  1.25  storyboard: exit 1: Connection refused
        ");
    }

    #[test]
    fn a_lineage_is_a_tree() {
        let now = Timestamp::from_second(4000).unwrap();
        insta::assert_snapshot!(lineage(&runs(), &RunId::trusted("video-13"), now, &LOOK), @r"
        video-12        failed         12m04s  50m00s ago  storyboard: exit 1: Connection refused
        ├─ video-13 *   failed         12m04s  50m00s ago  Retry #1 of video-12 from storyboard; storyboard…
        │  └─ video-15  running, left          50m00s ago  Retry #2 of video-12 from storyboard
        └─ video-14     failed         12m04s  50m00s ago  continues video-12 from storyboard; branch dark;…
        ");
    }
}
