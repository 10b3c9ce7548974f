//! Which indexes the hot queries use: what is not in the plan is read row by row.

use std::fmt::Write;

use super::*;
use crate::domain::flow::record::RunFilter;
use crate::store::sqlite::SqliteStore;

#[test]
fn hot_queries_use_their_indexes() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(&dir.path().join("history.db")).unwrap();
    failed_run(&mut store);
    let all = RunFilter { limit: Some(20), ..RunFilter::default() };
    let flow = Some(FlowName::trusted("video"));
    let failed = vec![RunStatus::Failed];
    let mut told = String::new();
    let mut list = |name: &str, filter: &RunFilter| {
        writeln!(told, "{name}\n{}", store.plan_of_list(filter)).unwrap();
    };
    list("the newest", &all);
    list("of a flow", &RunFilter { flow: flow.clone(), ..all.clone() });
    list("of a status", &RunFilter { status: failed.clone(), ..all.clone() });
    list("of a flow and status", &RunFilter { flow, status: failed, ..all.clone() });
    list("since", &RunFilter { since: Some(at(0)), ..all.clone() });
    list("of a lineage", &RunFilter { root: Some(RunId::trusted("video-1")), ..all.clone() });
    list("that match", &RunFilter { search: Some("why not".into()), ..all });
    for (name, plan) in store.plans() {
        writeln!(told, "{name}\n{plan}").unwrap();
    }
    insta::assert_snapshot!(told);
}
