//! `restage wait NAME… [--for STATE] [--timeout S]`.

use std::sync::Arc;
use std::time::Duration;

use crate::cli::args::Goal;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::workspace::Workspace;
use crate::cli::{link, output, recorded};
use crate::control::client::{Client, ClientError, Incoming, Updates};
use crate::domain::view::{RunnerStatus, RunnerView, Update};
use crate::frontend::status::{Source, rows};
use crate::frontend::text::word;

/// How far one runner is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Waiting,
    Reached,
    /// It is where it was wanted, and it is no good end.
    Failed,
    /// It will not get there by itself.
    Never,
}

#[derive(Debug, Clone)]
pub struct Options {
    pub names: Vec<String>,
    pub goal: Goal,
    /// In seconds.
    pub timeout: Option<f64>,
    pub json: bool,
}

pub async fn run(workspace: &Workspace, client: Client, updates: Updates, options: Options) -> Outcome {
    let act = format!("wait for {}", options.names.join(", "));
    let waiting = wait(workspace, client, updates, &options, &act);
    let (runners, source) = match options.timeout {
        None => waiting.await?,
        Some(seconds) => {
            let waited = tokio::time::timeout(Duration::from_secs_f64(seconds), waiting).await;
            waited.unwrap_or_else(|_| {
                Err(Failure::new(Exit::WaitTimeout, &act, format!("not within {seconds}s"))
                    .hint("`restage why NAME` tells what a runner is doing"))
            })?
        }
    };
    if options.json {
        output::print_json(&rows(&runners, source))?;
    }
    match verdict(&runners, options.goal) {
        Some(Exit::Completed) => Ok(Exit::Completed),
        Some(exit) => Err(not_as_wanted(exit, &act, &runners, options.goal)),
        None => Err(Failure::new(Exit::Nothing, act, "the supervisor has ended before that")
            .hint("`restage status` shows what was recorded, `restage up` goes on")),
    }
}

/// Why the wait is over without what it was for.
fn not_as_wanted(exit: Exit, act: &str, runners: &[Arc<RunnerView>], goal: Goal) -> Failure {
    let bad =
        |runner: &&Arc<RunnerView>| matches!(progress(runner, goal), Progress::Failed | Progress::Never);
    let told: Vec<String> = runners
        .iter()
        .filter(bad)
        .map(|runner| {
            let outcome = runner.outcome.as_ref().filter(|_| runner.status == RunnerStatus::Crashed);
            let how = outcome.map(|outcome| format!(" ({outcome})")).unwrap_or_default();
            format!("{} is {}{how}", runner.name, word(runner))
        })
        .collect();
    let name = runners.iter().find(bad).map(|runner| runner.name.to_string()).unwrap_or_default();
    Failure::new(exit, act, told.join(", ")).hint(format!("`restage why {name}` tells more"))
}

/// Until it is decided, also through the end of a supervisor that has a successor. At the end of one that has none,
/// what it has recorded last is the answer.
async fn wait(
    workspace: &Workspace,
    mut client: Client,
    mut updates: Updates,
    options: &Options,
    act: &str,
) -> Result<(Vec<Arc<RunnerView>>, Source), Failure> {
    loop {
        match wait_one(&client, &mut updates, options).await {
            Ok(runners) => return Ok((runners, Source::Supervisor)),
            Err(Broken::Told(failure)) => return Err(*failure),
            Err(Broken::Client(ClientError::Gone)) => {}
            Err(Broken::Client(error)) => return Err(Failure::of_client(act, &error)),
        }
        let Some(connected) = link::reconnect(workspace).await? else {
            let recorded = recorded::read(workspace).unwrap_or_default();
            return Ok((find(&options.names, &recorded)?, Source::Record));
        };
        (client, updates) = connected;
    }
}

enum Broken {
    Client(ClientError),
    Told(Box<Failure>),
}

impl From<ClientError> for Broken {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

async fn wait_one(
    client: &Client,
    updates: &mut Updates,
    options: &Options,
) -> Result<Vec<Arc<RunnerView>>, Broken> {
    client.subscribe().await?;
    let look = async || {
        let snapshot = client.snapshot(false).await?;
        let runners =
            find(&options.names, &snapshot.runners).map_err(|failure| Broken::Told(Box::new(failure)))?;
        Ok::<_, Broken>((runners, snapshot.fleet.keeper_trouble.is_none()))
    };
    // Before the keeper has answered, nothing has been started that will be.
    let (mut runners, mut begun) = look().await?;
    loop {
        if begun && verdict(&runners, options.goal).is_some() {
            return Ok(runners);
        }
        match updates.next().await {
            Some(Incoming::Update(Update::Runner(changed))) => {
                // A name may be given twice.
                for runner in runners.iter_mut().filter(|runner| runner.name == changed.name) {
                    runner.clone_from(&changed);
                }
            }
            Some(Incoming::Update(Update::Removed(_) | Update::Fleet(_)) | Incoming::Lagged) => {
                (runners, begun) = look().await?;
            }
            Some(Incoming::Update(Update::Notice(_) | Update::Flow(_))) => {}
            None => return Err(ClientError::Gone.into()),
        }
    }
}

fn find(names: &[String], runners: &[Arc<RunnerView>]) -> Result<Vec<Arc<RunnerView>>, Failure> {
    let by_name = |name: &String| {
        runners.iter().find(|runner| runner.name.as_str() == name).cloned().ok_or_else(|| {
            Failure::new(Exit::Nothing, format!("wait for {name}"), format!("no runner is called {name}"))
                .hint("`restage status` lists the names")
        })
    };
    names.iter().map(by_name).collect()
}

/// `None` while there is something to wait for.
fn verdict(runners: &[Arc<RunnerView>], goal: Goal) -> Option<Exit> {
    let all: Vec<Progress> = runners.iter().map(|runner| progress(runner, goal)).collect();
    if all.contains(&Progress::Never) {
        return Some(Exit::Failed);
    }
    if all.contains(&Progress::Waiting) {
        return None;
    }
    Some(if all.contains(&Progress::Failed) { Exit::Failed } else { Exit::Completed })
}

fn progress(runner: &RunnerView, goal: Goal) -> Progress {
    let there = match goal {
        Goal::Ended => {
            return match runner.status {
                RunnerStatus::Completed | RunnerStatus::Stopped | RunnerStatus::Idle => Progress::Reached,
                RunnerStatus::Crashed => Progress::Failed,
                RunnerStatus::Starting
                | RunnerStatus::Running
                | RunnerStatus::Stopping
                | RunnerStatus::Backoff
                | RunnerStatus::Stuck => Progress::Waiting,
            };
        }
        Goal::Running => true,
        Goal::Ready => runner.ready != Some(false),
    };
    match runner.status {
        RunnerStatus::Running if there => Progress::Reached,
        RunnerStatus::Running
        | RunnerStatus::Starting
        | RunnerStatus::Stopping
        | RunnerStatus::Backoff
        | RunnerStatus::Stuck => Progress::Waiting,
        RunnerStatus::Idle | RunnerStatus::Stopped | RunnerStatus::Crashed | RunnerStatus::Completed => {
            Progress::Never
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runner(status: RunnerStatus, ready: Option<bool>) -> Arc<RunnerView> {
        Arc::new(RunnerView { ready, ..RunnerView::plain("a", status) })
    }

    #[test]
    fn goals() {
        use RunnerStatus::{Backoff, Completed, Crashed, Running, Stopped};
        let table = [
            (Goal::Running, Running, None, Some(Exit::Completed)),
            (Goal::Running, Backoff, None, None),
            (Goal::Running, Completed, None, Some(Exit::Failed)),
            (Goal::Ready, Running, None, Some(Exit::Completed)),
            (Goal::Ready, Running, Some(false), None),
            (Goal::Ready, Running, Some(true), Some(Exit::Completed)),
            (Goal::Ended, Running, None, None),
            (Goal::Ended, Backoff, None, None),
            (Goal::Ended, Completed, None, Some(Exit::Completed)),
            (Goal::Ended, Stopped, None, Some(Exit::Completed)),
            (Goal::Ended, Crashed, None, Some(Exit::Failed)),
        ];
        for (goal, status, ready, exit) in table {
            assert_eq!(verdict(&[runner(status, ready)], goal), exit, "{goal:?} {status:?} {ready:?}");
        }
    }

    #[test]
    fn a_wait_in_vain_says_why() {
        let exhausted =
            RunnerView { exhausted: true, ..RunnerView::clone(&runner(RunnerStatus::Crashed, None)) };
        let failure = not_as_wanted(Exit::Failed, "wait for a", &[Arc::new(exhausted)], Goal::Ended);
        assert_eq!(failure.message(), "wait for a: a is exhausted");
        assert!(failure.hint.unwrap().contains("restage why a"));
    }

    #[test]
    fn the_slowest_decides_unless_one_can_never_get_there() {
        let running = runner(RunnerStatus::Running, None);
        let backoff = runner(RunnerStatus::Backoff, None);
        let crashed = runner(RunnerStatus::Crashed, None);
        assert_eq!(verdict(&[Arc::clone(&running), Arc::clone(&backoff)], Goal::Running), None);
        assert_eq!(verdict(&[running, backoff, crashed], Goal::Running), Some(Exit::Failed));
    }
}
