//! Which ends somebody who follows a run has been told of, and those that the record tells in the place of lost news.

use std::collections::{BTreeMap, BTreeSet};

use crate::cli::args::Output;
use crate::cli::history::History;
use crate::cli::output;
use crate::cli::workspace::Workspace;
use crate::domain::flow::ids::{RunId, StageName};
use crate::domain::flow::news::News;
use crate::domain::flow::record::{RunRecord, StageRecord};
use crate::domain::flow::status::{Decision, RunStatus};
use crate::domain::flow::view::FlowNotice;
use crate::frontend::text::one_line;

/// Which ends of stages have been told: those that were missed are told from the record.
#[derive(Debug, Default)]
pub(super) struct Ends {
    told: BTreeMap<StageName, News>,
    /// Of these it was the record that told, and the news may come after all.
    from_record: BTreeSet<StageName>,
}

impl Ends {
    pub(super) fn is_new(&mut self, news: &News) -> bool {
        let News::StageEnded { stage, .. } = news else { return true };
        let again =
            self.from_record.remove(stage) && self.told.get(stage).is_some_and(|told| is_same(told, news));
        self.told.insert(stage.clone(), news.clone());
        !again
    }

    /// What has not been told of what the record says, the oldest first.
    pub(super) fn missed(&mut self, run: &RunRecord) -> Vec<FlowNotice> {
        let mut missed = Vec::new();
        for row in run.stages.iter().flatten() {
            let Some(what) = end_of_stage(run, row) else { continue };
            if !self.told.get(&row.name).is_some_and(|told| is_same(told, &what)) {
                self.told.insert(row.name.clone(), what.clone());
                self.from_record.insert(row.name.clone());
                let at = row.ended_at.or(run.ended_at).or(run.started_at).unwrap_or(run.created_at);
                missed.push(FlowNotice { at, what });
            }
        }
        missed.sort_by_key(|notice| notice.at);
        missed
    }
}

/// The same end, whether it comes from the record or was told: how long it took may differ in its last digit.
fn is_same(one: &News, other: &News) -> bool {
    let end = |news: &News| match news {
        News::StageEnded { status, seconds, error, .. } => {
            Some((*status, seconds.map(|seconds| format!("{seconds:.6}")), error.clone()))
        }
        News::RunStarted { .. }
        | News::StageStarted { .. }
        | News::StageRetrying { .. }
        | News::Asks { .. }
        | News::RunEnded { .. }
        | News::HookFailed { .. }
        | News::Held { .. } => None,
    };
    end(one) == end(other)
}

/// What was told of the end of a stage; nothing was of one that is reused.
fn end_of_stage(run: &RunRecord, row: &StageRecord) -> Option<News> {
    (row.status.is_final() && row.decision == Decision::Execute).then(|| News::StageEnded {
        run: run.run_id.clone(),
        stage: row.name.clone(),
        status: row.status,
        seconds: row
            .started_at
            .zip(row.ended_at)
            .map(|(from, to)| to.duration_since(from).as_secs_f64().max(0.0)),
        error: row.error.clone(),
    })
}

/// What was told of the end, from the record.
pub(super) fn end_of(run: &RunRecord) -> Option<FlowNotice> {
    let what = News::RunEnded {
        run: run.run_id.clone(),
        status: run.status,
        seconds: run.duration_seconds,
        error: run.error.clone(),
    };
    let ended = run.status.is_final() || run.status == RunStatus::Interrupted;
    Some(FlowNotice { at: run.ended_at.filter(|_| ended)?, what })
}

/// What was told of the command after it, from the record.
fn end_of_hook(run: &RunRecord) -> Option<FlowNotice> {
    let hook = run.hook.as_ref()?;
    let error = hook.error.clone()?;
    Some(FlowNotice {
        at: hook.ended_at?,
        what: News::HookFailed { run: run.run_id.clone(), hook: hook.name, error },
    })
}

/// For a run that this process has hosted and followed: it has waited for the command after it, too. However that is told,
/// the run ended as it did.
pub(super) fn tell_hook(workspace: &Workspace, hosted: Option<RunId>, output: Output) {
    let look = |run| History::open(workspace).and_then(|mut history| history.recorded(&run)).ok();
    if let Some(notice) = hosted.and_then(look).and_then(|shown| end_of_hook(&shown.run)) {
        match output {
            Output::Json => drop(output::print_json(&notice)),
            Output::Human => output::remark(&one_line(&notice.what.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::flow::status::StageStatus;
    use crate::frontend::flow::fixture::{at, run, stage};

    fn row(name: &str, status: StageStatus, took: Option<i64>) -> StageRecord {
        StageRecord {
            started_at: took.map(|_| at(1000)),
            ended_at: took.map(|took| at(1000 + took)),
            ..stage(name, 0, status)
        }
    }

    fn ended(name: &str, status: StageStatus, seconds: Option<f64>) -> News {
        let stage = StageName::trusted(name);
        News::StageEnded { run: run(12, RunStatus::Running).run_id, stage, status, seconds, error: None }
    }

    fn names(missed: &[FlowNotice]) -> Vec<String> {
        missed.iter().map(|notice| notice.what.to_string()).collect()
    }

    #[test]
    fn each_end_is_told_once_from_the_news_or_from_the_record() {
        let rows = vec![
            row("late", StageStatus::Succeeded, Some(9)),
            row("early", StageStatus::Failed, Some(3)),
            row("never", StageStatus::NotRun, None),
            row("live", StageStatus::Running, None),
            StageRecord { decision: Decision::Reuse, ..row("reused", StageStatus::Succeeded, Some(1)) },
        ];
        let record = RunRecord { stages: Some(rows), ..run(12, RunStatus::Failed) };
        let mut ends = Ends::default();
        assert!(ends.is_new(&ended("late", StageStatus::Succeeded, Some(9.000_000_01))));
        assert_eq!(
            names(&ends.missed(&record)),
            ["Failed: video-12/early after 3s", "Not run: video-12/never"].map(str::to_owned)
        );
        assert_eq!(names(&ends.missed(&record)), Vec::<String>::new());
        // The news come after all; and then it runs once more.
        assert!(!ends.is_new(&ended("early", StageStatus::Failed, Some(3.0))));
        assert!(ends.is_new(&ended("early", StageStatus::Failed, Some(3.0))));
        assert!(ends.is_new(&ended("never", StageStatus::Succeeded, Some(1.0))));
    }
}
