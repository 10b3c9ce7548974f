//! `restage logs RUN/STAGE`: which log that is, and when nothing more will be written to it.

use super::follow;
use super::logs::{self, Options, Whose};
use crate::cli::args::{Global, Lines, Output};
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::history::History;
use crate::cli::workspace::Workspace;
use crate::cli::{block_on, link};
use crate::control::client::{Client, ClientError, Incoming, Updates};
use crate::domain::flow::ask::{FlowReply, FlowRequest};
use crate::domain::flow::ids::{RunId, StageName};
use crate::domain::flow::record::StageRecord;
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::status::{Decision, RunStatus, StageStatus};
use crate::domain::flow::view::FlowUpdate;
use crate::domain::ids::RunnerName;
use crate::domain::spec::LogSpec;
use crate::domain::view::Update;

/// Of many stages the first are enough to see what is meant.
const MOST_NAMED: usize = 5;

/// What was typed.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// `video-12/render`
    pub name: &'a str,
    pub item: Option<u32>,
    pub attempt: Option<u32>,
    pub lines: Lines,
    pub follow: bool,
}

pub fn run(global: &Global, workspace: &Workspace, wanted: Wanted<'_>) -> Outcome {
    let Wanted { name, item, attempt, lines, follow } = wanted;
    let act = format!("read the log of {name}");
    // The name of a guest has the item at its end.
    let mut parts = name.split('/');
    let (run, stage, last) =
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next());
    let last = match last.map(str::parse::<u32>).transpose() {
        Ok(last) if parts.next().is_none() && !stage.is_empty() => last,
        Ok(_) | Err(_) => {
            return Err(Failure::new(Exit::Usage, act, "a log of a stage is named RUN/STAGE")
                .hint("as in restage logs video-12/render; --item N for one item"));
        }
    };
    let (run, stage, item) = (RunId::trusted(run), StageName::trusted(stage), item.or(last));
    let mut history = History::open(workspace)?;
    let record = history.show(&run)?.what.run;
    let rows = record.stages.as_deref().unwrap_or_default();
    // The command after a run, unless a stage is called so.
    let is_hook = item.is_none() && record.hook.is_some_and(|hook| hook.name.word() == stage.as_str());
    match rows.iter().find(|row| row.name == stage) {
        Some(row) => look(&run, row, item)
            .map_err(|(cause, hint)| Failure::new(Exit::Nothing, &act, cause).hint(hint))?,
        None if is_hook => {}
        None => {
            let known = rows.iter().map(|row| row.name.clone()).collect();
            let refusal = Refusal::UnknownStage { run, stage: stage.to_string(), known };
            return Err(Failure::of_refusal(act, &refusal));
        }
    }
    let log_name = match item {
        None => stage.to_string(),
        Some(item) => format!("{stage}.{item}"),
    };
    let dir = workspace.data_dir().join("runs").join(run.as_str()).join("logs");
    let log =
        LogSpec { dir, template: "{name}_{index}.log".into(), max_bytes: None, keep_attempts: u32::MAX };
    let label = item.map_or_else(|| format!("{run}/{stage}"), |item| format!("{run}/{stage}/{item}"));
    let options = Options {
        json: (global.output == Output::Json).then_some(label),
        name: RunnerName::trusted(log_name),
        known: true,
        of: Whose::Stage { run, stage },
        attempt,
        lines,
        follow,
        no_color: global.no_color,
    };
    block_on(logs::run(workspace, log, options))?
}

/// For who typed the name of a run where that of a runner belongs.
pub fn of_whole_run(workspace: &Workspace, name: &str) -> Option<Failure> {
    let run = History::open(workspace).ok()?.recorded(&RunId::trusted(name)).ok()?.run;
    let stages: Vec<&str> =
        run.stages.iter().flatten().map(|row| row.name.as_str()).take(MOST_NAMED).collect();
    let cause = "it is a run, and each of its stages has a log of its own";
    let hint = format!("name one: restage logs {name}/STAGE, as in {}", stages.join(", "));
    Some(Failure::new(Exit::Nothing, format!("read the log of {name}"), cause).hint(hint))
}

/// What is wrong with that, and the way out.
fn look(run: &RunId, row: &StageRecord, item: Option<u32>) -> Result<(), (String, String)> {
    let stage = &row.name;
    if let (Decision::Reuse, Some(source)) = (row.decision, &row.source_run_id)
        && row.attempts.is_empty()
    {
        return Err((
            format!("it was not executed there, but reused from {source}"),
            format!("restage logs {source}/{stage}"),
        ));
    }
    if matches!(row.status, StageStatus::Skipped | StageStatus::NotRun) && row.attempts.is_empty() {
        return Err((
            format!("it is {} there, and never ran", row.status),
            format!("why: restage show {run}"),
        ));
    }
    match (row.items, item) {
        (Some(items), None) => Err((
            "it fans out, and each item has a log of its own".into(),
            format!(
                "name one: restage logs {run}/{stage} --item N, from 0 to {}",
                items.all.saturating_sub(1)
            ),
        )),
        (None, Some(_)) if row.attempts.iter().all(|one| one.item.is_none()) => {
            Err(("it does not fan out, so it has no items".into(), format!("restage logs {run}/{stage}")))
        }
        (Some(items), Some(item)) if item >= items.all => Err((
            match items.all {
                0 => format!("it has no item {item}: there was nothing to be done"),
                1 => format!("it has no item {item}, but one, 0"),
                all => format!("it has no item {item}, but {all}, from 0 to {}", all - 1),
            },
            format!("name one: restage logs {run}/{stage} --item N"),
        )),
        (Some(_), Some(_)) | (None, _) => Ok(()),
    }
}

/// Resolves with the reason when nothing more will be written.
pub(super) async fn rested(workspace: &Workspace, run: &RunId, stage: &StageName) -> Result<String, Failure> {
    let mut connected = link::connect(workspace).await?;
    while let Some((client, mut updates)) = connected {
        match rested_one(&client, &mut updates, run, stage).await {
            Ok(why) => return Ok(why),
            Err(error) if follow::is_end(&error) => connected = link::reconnect(workspace).await?,
            Err(error) => return Err(Failure::of_client(format!("follow {run}/{stage}"), &error)),
        }
    }
    Ok(format!("no supervisor runs, so {run}/{stage} writes nothing more"))
}

async fn rested_one(
    client: &Client,
    updates: &mut Updates,
    run: &RunId,
    stage: &StageName,
) -> Result<String, ClientError> {
    client.subscribe().await?;
    loop {
        let reply = client.flow(FlowRequest::Show { run: run.clone() }).await?;
        let FlowReply::Shown(shown) = reply else {
            return Err(ClientError::Nonsense(format!("{reply:?}")));
        };
        let row = shown.run.stages.iter().flatten().find(|row| row.name == *stage);
        if let Some(row) = row.filter(|row| row.status.is_final()) {
            return Ok(format!("{run}/{stage} is {}", row.status));
        }
        match shown.run.status {
            RunStatus::Queued | RunStatus::Running => {}
            status @ (RunStatus::Waiting
            | RunStatus::Succeeded
            | RunStatus::Degraded
            | RunStatus::Failed
            | RunStatus::Cancelled
            | RunStatus::Interrupted) => return Ok(format!("{run} is {status}")),
        }
        loop {
            match updates.next().await {
                Some(Incoming::Update(Update::Flow(update))) => match update.as_ref() {
                    FlowUpdate::Run(view) if view.run_id == *run => break,
                    FlowUpdate::Stage(view) if view.run_id == *run && view.name == *stage => break,
                    FlowUpdate::Run(_) | FlowUpdate::Stage(_) | FlowUpdate::News(_) => {}
                },
                Some(Incoming::Update(_)) => {}
                Some(Incoming::Lagged) => break,
                None => return Err(ClientError::Gone),
            }
        }
    }
}
