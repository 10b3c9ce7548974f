//! Whether a retry that waits for its turn does already what is wished for once more.

use std::collections::HashMap;

use crate::domain::flow::ask::{Plan, Planned};
use crate::domain::flow::ids::{Hash, StageName};
use crate::domain::flow::record::{RunRecord, StageRecord};
use crate::domain::flow::sent_back::{self, SentBack};
use crate::domain::flow::status::{Decision, RunStatus};
use crate::domain::json::JsonMap;

/// A retry, as it would be written down.
#[derive(Debug)]
pub struct Once<'a> {
    pub parent: &'a RunRecord,
    pub inputs: &'a JsonMap,
    pub plan: &'a Plan,
    /// Of today's flow.
    pub definition: &'a Hash,
    pub sent_back: &'a [SentBack],
}

/// By what a list has of it: whether its stages need be looked at.
pub fn may_be_same(parent: &RunRecord, inputs: &JsonMap, plan: &Plan, queued: &RunRecord) -> bool {
    queued.status == RunStatus::Queued
        && queued.branch == parent.branch
        && queued.parent_run_id.as_ref() == Some(&parent.run_id)
        && queued.retry_from_stage.as_ref() == Some(&plan.from)
        && queued.inputs == *inputs
}

/// Another target, another input, another config, or an edit since then: any of these makes it another retry.
pub fn is_same(once: &Once<'_>, queued: &RunRecord) -> bool {
    let (rows, before) = (by_name(queued), by_name(once.parent));
    let same = |stage: &Planned| {
        let Some(row) = rows.get(&stage.stage) else { return false };
        let there = row.checkpoint.as_ref().map(|checkpoint| &checkpoint.id);
        row.decision == stage.decision
            && match stage.decision {
                Decision::Execute => {
                    let before = before.get(&stage.stage).copied();
                    row.feedback == sent_back::feedback(once.sent_back, &stage.stage, before)
                }
                // What ran before checkpoints were kept is given one when it is reused.
                Decision::Reuse => stage.checkpoint.is_none() || there == stage.checkpoint.as_ref(),
            }
    };
    may_be_same(once.parent, once.inputs, once.plan, queued)
        && queued.def_hash == *once.definition
        && rows.len() == once.plan.stages.len()
        && once.plan.stages.iter().all(same)
}

fn by_name(run: &RunRecord) -> HashMap<&StageName, &StageRecord> {
    run.stages.iter().flatten().map(|row| (&row.name, row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::flow::ids::{BranchName, CheckpointId};
    use crate::domain::flow::status::Reason;
    use crate::domain::flow::testing::{name, record, run, run_id};

    fn planned(stage: &str, decision: Decision, version: Option<u32>) -> Planned {
        Planned {
            stage: name(stage),
            decision,
            reason: Reason::Verified,
            detail: None,
            checkpoint: version.map(|version| CheckpointId { stage: name(stage), version }),
            input: None,
            source_run_id: None,
        }
    }

    #[test]
    fn only_a_retry_that_would_do_the_very_same_is_the_same() {
        let parent = record(12, RunStatus::Failed, None);
        let plan = Plan {
            run: run_id(12),
            from: name("b"),
            retry_depth: 1,
            max_retry_depth: 10,
            stages: vec![planned("a", Decision::Reuse, Some(1)), planned("b", Decision::Execute, None)],
        };
        let definition = parent.def_hash.clone();
        let once = Once {
            parent: &parent,
            inputs: &parent.inputs,
            plan: &plan,
            definition: &definition,
            sent_back: &[],
        };
        let mut queued = run("14 queued of=12 a=succeeded@1 b=pending");
        queued.retry_from_stage = Some(name("b"));
        queued.stages.as_mut().unwrap()[0].decision = Decision::Reuse;
        assert!(is_same(&once, &queued));

        let other = |change: &dyn Fn(&mut RunRecord)| {
            let mut queued = queued.clone();
            change(&mut queued);
            is_same(&once, &queued)
        };
        assert!(!other(&|run| run.status = RunStatus::Running));
        assert!(!other(&|run| run.branch = BranchName::trusted("night")));
        assert!(!other(&|run| run.parent_run_id = Some(run_id(13))));
        assert!(!other(&|run| run.retry_from_stage = Some(name("a"))));
        assert!(!other(&|run| run.inputs.clear()), "other inputs");
        assert!(!other(&|run| run.def_hash = Hash::of(["another"])), "the config has changed");
        let row = |place: usize, change: &dyn Fn(&mut StageRecord)| {
            other(&|run: &mut RunRecord| change(&mut run.stages.as_mut().unwrap()[place]))
        };
        assert!(!row(0, &|row| row.checkpoint.as_mut().unwrap().id.version = 2), "it was edited since");
        assert!(!row(0, &|row| row.decision = Decision::Execute));
        assert!(!row(1, &|row| row.feedback = Some("darker".into())), "it is told something else");
    }
}
