//! Follows a run to its end: lines for people, a live tree on a terminal, or JSON lines.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;

use crate::cli::args::Output;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output;
use crate::control::client::{Client, ClientError, Incoming, Updates};
use crate::domain::flow::ask::{FlowReply, FlowRequest, Shown};
use crate::domain::flow::ids::{RunId, StageName};
use crate::domain::flow::news::News;
use crate::domain::flow::record::{RunRecord, StageRecord};
use crate::domain::flow::status::{Decision, RunStatus, StageStatus};
use crate::domain::flow::view::{FlowNotice, FlowUpdate};
use crate::domain::view::Update;
use crate::frontend::flow::live::Live;
use crate::frontend::text::one_line;

/// A run that has timed out is told from one that failed in another way.
const TIMED_OUT: &str = "Flow execution timed out after ";

/// How somebody follows.
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the verb, named where it is set")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    pub output: Output,
    pub no_color: bool,
    /// What a checkpoint that asks does: waited for, or exit 75.
    pub wait_for_people: bool,
    /// A degraded run counts as a good one.
    pub allow_degraded: bool,
    /// It has not ended before it was asked for: what is told of its end is yet to come.
    pub fresh: bool,
}

/// To be called before the run is asked for, so that nothing of it is missed.
pub async fn listen(client: &Client) -> Result<(), Failure> {
    client.subscribe().await.map_err(|error| Failure::of_client("follow runs", &error))
}

/// `before`: the run as it was when it was asked for, where it was there.
pub async fn follow(
    client: &Client,
    updates: &mut Updates,
    run: &RunId,
    manner: Manner,
    before: Option<&Shown>,
) -> Outcome {
    let mut screen = Screen::new(manner);
    let mut shown = show(client, run).await?;
    let mut ends = Ends::default();
    if let Some(before) = before.or((!manner.fresh).then_some(&shown)) {
        ends.missed(&before.run);
    }
    let mut told = false;
    screen.begin(&shown);
    while !rests(&shown, manner) {
        match updates.next().await {
            Some(Incoming::Update(Update::Flow(update))) => match update.as_ref() {
                FlowUpdate::Run(view) if view.run_id == *run => {
                    let over = view.status.is_final()
                        || matches!(view.status, RunStatus::Waiting | RunStatus::Interrupted);
                    if over {
                        shown = show(client, run).await?;
                    }
                    screen.run(view);
                }
                FlowUpdate::Stage(view) if view.run_id == *run => screen.stage(view),
                FlowUpdate::News(notice) if notice.what.run() == run => {
                    told |= is_last(&notice.what);
                    if ends.is_new(&notice.what) {
                        screen.news(notice);
                    }
                }
                FlowUpdate::Run(_) | FlowUpdate::Stage(_) | FlowUpdate::News(_) => {}
            },
            Some(Incoming::Update(_)) => {}
            Some(Incoming::Lagged) => {
                shown = show(client, run).await?;
                screen.begin(&shown);
                ends.missed(&shown.run).iter().for_each(|notice| screen.news(notice));
            }
            None => return Err(gone(run)),
        }
    }
    // What is told of the end may come behind the answer to a question.
    while manner.fresh && !told {
        let Ok(Some(next)) = tokio::time::timeout(LAST_NEWS, updates.next()).await else { break };
        if let Incoming::Update(Update::Flow(update)) = next
            && let FlowUpdate::News(notice) = update.as_ref()
            && notice.what.run() == run
        {
            told = is_last(&notice.what);
            if ends.is_new(&notice.what) {
                screen.news(notice);
            }
        }
    }
    // Whoever could not keep up has missed it; the record has it, too.
    if manner.fresh && !told {
        ends.missed(&shown.run).iter().for_each(|notice| screen.news(notice));
        if let Some(notice) = end_of(&shown) {
            screen.news(&notice);
        }
    }
    screen.end(&shown);
    Ok(exit(&shown, manner))
}

/// The same, and nothing is told.
pub async fn until_rest(
    client: &Client,
    updates: &mut Updates,
    run: &RunId,
    manner: Manner,
) -> Result<Box<Shown>, Failure> {
    loop {
        let shown = show(client, run).await?;
        if rests(&shown, manner) {
            return Ok(shown);
        }
        loop {
            match updates.next().await {
                Some(Incoming::Update(Update::Flow(update))) => match update.as_ref() {
                    FlowUpdate::Run(view) if view.run_id == *run => break,
                    FlowUpdate::Run(_) | FlowUpdate::Stage(_) | FlowUpdate::News(_) => {}
                },
                Some(Incoming::Update(_)) => {}
                Some(Incoming::Lagged) => break,
                None => return Err(gone(run)),
            }
        }
    }
}

fn gone(run: &RunId) -> Failure {
    Failure::new(Exit::Failed, format!("follow {run}"), "the supervisor has ended")
        .hint(format!("it goes on with the next one; `restage show {run}` tells"))
}

/// Which ends of stages have been told: those that were missed are told from the record.
#[derive(Debug, Default)]
struct Ends {
    told: BTreeMap<StageName, News>,
    /// Of these it was the record that told, and the news may come after all.
    from_record: BTreeSet<StageName>,
}

impl Ends {
    fn is_new(&mut self, news: &News) -> bool {
        let News::StageEnded { stage, .. } = news else { return true };
        let again =
            self.from_record.remove(stage) && self.told.get(stage).is_some_and(|told| is_same(told, news));
        self.told.insert(stage.clone(), news.clone());
        !again
    }

    /// What has not been told of what the record says, the oldest first.
    fn missed(&mut self, run: &RunRecord) -> Vec<FlowNotice> {
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
fn end_of(shown: &Shown) -> Option<FlowNotice> {
    let run = &shown.run;
    let what = News::RunEnded {
        run: run.run_id.clone(),
        status: run.status,
        seconds: run.duration_seconds,
        error: run.error.clone(),
    };
    Some(FlowNotice { at: run.ended_at.filter(|_| run.status.is_final())?, what })
}

/// Nothing follows it before somebody does something.
fn is_last(news: &News) -> bool {
    matches!(news, News::RunEnded { .. } | News::Asks { .. })
}

pub async fn show(client: &Client, run: &RunId) -> Result<Box<Shown>, Failure> {
    match client.flow(FlowRequest::Glance { run: run.clone() }).await {
        Ok(FlowReply::Shown(shown)) => Ok(shown),
        Ok(other) => {
            let error = ClientError::Nonsense(format!("{other:?}"));
            Err(Failure::of_client(format!("show {run}"), &error))
        }
        Err(error) => Err(Failure::of_client(format!("show {run}"), &error)),
    }
}

fn rests(shown: &Shown, manner: Manner) -> bool {
    match shown.run.status {
        RunStatus::Succeeded
        | RunStatus::Degraded
        | RunStatus::Failed
        | RunStatus::Cancelled
        | RunStatus::Interrupted => true,
        RunStatus::Waiting => !manner.wait_for_people,
        RunStatus::Queued | RunStatus::Running => false,
    }
}

fn exit(shown: &Shown, manner: Manner) -> Exit {
    let timed_out = shown.run.error.as_ref().is_some_and(|error| error.starts_with(TIMED_OUT));
    match shown.run.status {
        RunStatus::Succeeded => Exit::Completed,
        RunStatus::Degraded if manner.allow_degraded => Exit::Completed,
        RunStatus::Degraded => Exit::Code(4),
        RunStatus::Waiting => Exit::Code(75),
        RunStatus::Failed if timed_out => Exit::Code(124),
        RunStatus::Failed
        | RunStatus::Cancelled
        | RunStatus::Interrupted
        | RunStatus::Queued
        | RunStatus::Running => Exit::Failed,
    }
}

/// Where it is told.
enum Screen {
    /// JSON lines on stdout.
    Json,
    /// Lines on stderr.
    Lines,
    /// A tree that is drawn anew, on stderr.
    Tree(Live),
}

impl Screen {
    fn new(manner: Manner) -> Self {
        match manner.output {
            Output::Json => Self::Json,
            Output::Human if std::io::stderr().is_terminal() => {
                let colour = output::colours(&std::io::stderr(), manner.no_color);
                Self::Tree(Live::new(output::look(manner.no_color).width, colour))
            }
            Output::Human => Self::Lines,
        }
    }

    fn begin(&mut self, shown: &Shown) {
        if let Self::Tree(live) = self {
            output::draw(&live.begin(&shown.run));
        }
    }

    fn run(&mut self, view: &crate::domain::flow::view::RunView) {
        if let Self::Tree(live) = self {
            output::draw(&live.run(view));
        }
    }

    fn stage(&mut self, view: &crate::domain::flow::view::StageView) {
        if let Self::Tree(live) = self {
            output::draw(&live.stage(view));
        }
    }

    fn news(&mut self, notice: &FlowNotice) {
        match self {
            // A reader that is gone does not end the run.
            Self::Json => drop(output::print_json(notice)),
            Self::Lines => output::remark(&one_line(&notice.what.to_string())),
            Self::Tree(live) => {
                if matches!(notice.what, News::Held { .. }) {
                    output::draw(&live.above(&one_line(&notice.what.to_string())));
                }
            }
        }
    }

    fn end(&mut self, shown: &Shown) {
        match self {
            Self::Json => {}
            Self::Lines | Self::Tree(_) => {
                if let Self::Tree(live) = self {
                    output::draw(&live.begin(&shown.run));
                }
                if shown.run.status == RunStatus::Waiting {
                    let stages = shown.run.stages.iter().flatten();
                    for stage in stages.filter(|stage| stage.status == StageStatus::Waiting) {
                        let run = &shown.run.run_id;
                        output::remark(&format!(
                            "{run} waits for you at {name}: restage approve {run} {name}, or restage reject {run} {name} --feedback TEXT",
                            name = stage.name
                        ));
                    }
                }
            }
        }
    }
}

/// It is under way.
const LAST_NEWS: std::time::Duration = std::time::Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;
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
