//! The plan of a retry, for people.

use std::fmt::Write;

use crate::domain::flow::ask::{Plan, Planned};
use crate::domain::flow::status::Decision;

/// What is executed, each with its reason; what is reused stands together.
pub fn lines(plan: &Plan) -> String {
    let mut text = String::new();
    let width = plan.stages.iter().map(|one| one.stage.as_str().len()).max().unwrap_or(0);
    for planned in plan.stages.iter().filter(|one| one.decision == Decision::Execute) {
        let detail = planned.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
        let line = format!("execute  {:width$}  {}{detail}", planned.stage, planned.reason);
        writeln!(text, "{}", line.trim_end()).ok();
    }
    for planned in plan.stages.iter().filter(|one| one.decision == Decision::Reuse) {
        writeln!(text, "reuse    {:width$}  {}", planned.stage, from(planned)).ok();
    }
    writeln!(
        text,
        "retry of {} from {}, depth {} of {}",
        plan.run, plan.from, plan.retry_depth, plan.max_retry_depth
    )
    .ok();
    text
}

fn from(planned: &Planned) -> String {
    let source = planned.source_run_id.as_ref().map(|run| format!(" from {run}")).unwrap_or_default();
    let detail = planned.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
    match &planned.checkpoint {
        Some(checkpoint) => format!("{checkpoint}{source}, {}{detail}", planned.reason),
        None => format!("{}{source}{detail}", planned.reason),
    }
}
