//! `restage start|stop|restart|kill NAME…`.

use std::sync::Arc;

use crate::cli::args::Names;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output;
use crate::control::client::{Client, ClientError, Incoming, Updates};
use crate::domain::ids::RunnerName;
use crate::domain::view::{RunnerStatus, RunnerView, Update};
use crate::frontend::status::{Source, rows};
use crate::frontend::text::{one_line, word};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Start,
    Stop,
    Restart,
    Kill,
}

impl Order {
    const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Kill => "kill",
        }
    }
}

pub async fn run(client: Client, updates: Updates, order: Order, names: &Names, json: bool) -> Outcome {
    let what = if names.all { "all".to_owned() } else { names.names.join(", ") };
    let act = format!("{} {what}", order.word());
    let runners =
        obey(&client, updates, order, names).await.map_err(|error| Failure::of_client(&act, &error))?;
    if json {
        output::print_json(&rows(&runners, Source::Supervisor))?;
    } else {
        let lines =
            runners.iter().map(|runner| format!("{}  {}\n", one_line(runner.name.as_str()), word(runner)));
        output::print(&lines.collect::<String>())?;
    }
    let stuck = runners.iter().filter(|runner| runner.status == RunnerStatus::Stuck);
    let stuck: Vec<String> = stuck
        .map(|runner| match &runner.waiting {
            Some(waiting) => format!("{} is stuck: {waiting}", runner.name),
            None => format!("{} is stuck", runner.name),
        })
        .collect();
    if stuck.is_empty() {
        return Ok(Exit::Completed);
    }
    Err(Failure::new(Exit::Failed, act, stuck.join("; "))
        .hint("they wait in the kernel, or belong to another user; `restage why NAME` tells more"))
}

async fn obey(
    client: &Client,
    mut updates: Updates,
    order: Order,
    names: &Names,
) -> Result<Vec<Arc<RunnerView>>, ClientError> {
    // The supervisor knows which names there are. An empty list means all of them.
    let names: Vec<RunnerName> = names.names.iter().map(|name| RunnerName::trusted(name.as_str())).collect();
    match order {
        Order::Start => return client.start(names).await,
        Order::Restart => return client.restart(names).await,
        Order::Stop | Order::Kill => {}
    }
    client.subscribe().await?;
    let mut runners = match order {
        Order::Kill => client.kill(names).await?,
        Order::Start | Order::Stop | Order::Restart => client.stop(names).await?,
    };
    // Their graces are what bounds this; one that is stuck is told, not waited for.
    while runners.iter().any(|runner| runner.status.is_live() && runner.status != RunnerStatus::Stuck) {
        match updates.next().await {
            Some(Incoming::Update(Update::Runner(changed))) => {
                if let Some(runner) = runners.iter_mut().find(|runner| runner.name == changed.name) {
                    *runner = changed;
                }
            }
            Some(Incoming::Update(Update::Removed(name))) => runners.retain(|runner| runner.name != name),
            Some(Incoming::Update(Update::Fleet(_) | Update::Notice(_) | Update::Flow(_))) => {}
            Some(Incoming::Lagged) => {
                let snapshot = client.snapshot(false).await?;
                let known = |view: &&Arc<RunnerView>| runners.iter().any(|runner| runner.name == view.name);
                runners = snapshot.runners.iter().filter(known).cloned().collect();
            }
            // It has ended with the last of its runners.
            None => break,
        }
    }
    Ok(runners)
}
