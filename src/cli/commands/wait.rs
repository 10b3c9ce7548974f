//! `restage wait NAME… [--for STATE] [--timeout S]`.

use std::sync::Arc;
use std::time::Duration;

use crate::cli::args::Goal;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output;
use crate::control::client::{Client, ClientError, Incoming, Updates};
use crate::domain::view::{RunnerStatus, RunnerView, Snapshot, Update};
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

pub async fn run(
    client: Client,
    updates: Updates,
    names: &[String],
    goal: Goal,
    timeout: Option<f64>,
) -> Outcome {
    let waiting = wait(client, updates, names, goal);
    let Some(seconds) = timeout else { return waiting.await };
    if let Ok(outcome) = tokio::time::timeout(Duration::from_secs_f64(seconds), waiting).await {
        return outcome;
    }
    output::remark(&format!("restage: wait for {}: not within {seconds}s", names.join(", ")));
    Ok(Exit::WaitTimeout)
}

async fn wait(client: Client, mut updates: Updates, names: &[String], goal: Goal) -> Outcome {
    let act = format!("wait for {}", names.join(", "));
    let failed = |error: ClientError| Failure::of_client(&act, &error);
    client.subscribe().await.map_err(failed)?;
    let look = async || {
        let snapshot = client.snapshot(false).await.map_err(failed)?;
        Ok::<_, Failure>((find(names, &snapshot)?, snapshot.fleet.keeper_trouble.is_none()))
    };
    // Before the keeper has answered, nothing has been started that will be.
    let (mut runners, mut begun) = look().await?;
    loop {
        if begun && let Some(exit) = verdict(&runners, goal) {
            for runner in runners.iter().filter(|runner| progress(runner, goal) == Progress::Never) {
                output::remark(&format!("restage: {act}: {} is {}", runner.name, word(runner)));
            }
            return Ok(exit);
        }
        match updates.next().await {
            Some(Incoming::Update(Update::Runner(changed))) => {
                if let Some(runner) = runners.iter_mut().find(|runner| runner.name == changed.name) {
                    *runner = changed;
                }
            }
            Some(Incoming::Update(Update::Removed(_) | Update::Fleet(_)) | Incoming::Lagged) => {
                (runners, begun) = look().await?;
            }
            Some(Incoming::Update(Update::Notice(_) | Update::Flow(_))) => {}
            None => return Err(failed(ClientError::Gone)),
        }
    }
}

fn find(names: &[String], snapshot: &Snapshot) -> Result<Vec<Arc<RunnerView>>, Failure> {
    let by_name = |name: &String| {
        snapshot.runners.iter().find(|runner| runner.name.as_str() == name).cloned().ok_or_else(|| {
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
    use crate::domain::ids::RunnerName;

    fn runner(status: RunnerStatus, ready: Option<bool>) -> Arc<RunnerView> {
        Arc::new(RunnerView {
            name: RunnerName::trusted("a"),
            group: None,
            status,
            exhausted: false,
            ready,
            pid: None,
            attempt: None,
            retry_count: 0,
            max_retries: 3,
            next_retry_at: None,
            outcome: None,
            started_at: None,
            ended_at: None,
            log: None,
            waiting: None,
            note: None,
            activity_timeout_seconds: None,
            timeout_seconds: None,
            attempts: vec![],
            figures: None,
        })
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
    fn the_slowest_decides_unless_one_can_never_get_there() {
        let running = runner(RunnerStatus::Running, None);
        let backoff = runner(RunnerStatus::Backoff, None);
        let crashed = runner(RunnerStatus::Crashed, None);
        assert_eq!(verdict(&[Arc::clone(&running), Arc::clone(&backoff)], Goal::Running), None);
        assert_eq!(verdict(&[running, backoff, crashed], Goal::Running), Some(Exit::Failed));
    }
}
