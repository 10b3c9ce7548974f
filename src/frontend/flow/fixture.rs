//! Records for the tests of what is printed.

use crate::domain::flow::ids::{BranchName, FlowName, Hash, RunId};
use crate::domain::flow::record::{AttemptRecord, RunRecord, StageRecord};
use crate::domain::flow::status::{Cause, Reason, RunStatus, StageStatus};
use crate::domain::flow::testing;
use crate::domain::json::{Json, JsonMap};
use crate::domain::time::Timestamp;
use crate::domain::verdict::Verdict;

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

pub(crate) fn run(number: u64, status: RunStatus) -> RunRecord {
    let flow = FlowName::trusted("video");
    let id = RunId::new(&flow, number);
    RunRecord {
        run_id: id.clone(),
        run_number: number,
        flow,
        def_hash: Hash::of(["def"]),
        status,
        trigger: Cause::Manual,
        cause: Cause::Manual,
        inputs: JsonMap::from([("question".into(), Json::string("why"))]),
        error: (status == RunStatus::Failed).then(|| "storyboard: exit 1: Connection refused".into()),
        started_at: Some(at(1000)),
        ended_at: Some(at(1724)),
        duration_seconds: Some(724.0),
        cost: None,
        parent_run_id: None,
        root_run_id: id,
        caller_run_id: None,
        retry_from_stage: None,
        retry_depth: 0,
        retry_number: None,
        idempotency_key: None,
        deadline: None,
        branch: BranchName::main(),
        created_at: at(1000),
        left: false,
        held: None,
        hook: None,
        stages: None,
    }
}

pub(crate) fn stage(name: &str, order: usize, status: StageStatus) -> StageRecord {
    StageRecord {
        reason: Some(Reason::First),
        error: None,
        started_at: None,
        ..testing::row(name, order, status)
    }
}

pub(crate) fn attempt(number: u32, error: Option<&str>) -> AttemptRecord {
    AttemptRecord {
        number,
        item: None,
        verdict: Some(if error.is_some() { Verdict::Exit } else { Verdict::Completed }),
        exit_code: Some(i32::from(error.is_some())),
        signal: None,
        error: error.map(Into::into),
        started_at: Some(at(1000)),
        ended_at: Some(at(1012)),
        cpu_seconds: Some(1.5),
        peak_rss_bytes: Some(64 << 20),
        cost: Some(0.5),
        log: None,
        blameless: false,
    }
}
