//! `restage status [--json] [--watch]`.

use std::io::IsTerminal;
use std::time::Duration;

use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output;
use crate::control::client::{Client, Incoming, Updates};
use crate::domain::view::{Snapshot, Update};
use crate::frontend::status::{rows, table};

/// Up times and figures move also when nothing happens.
const REFRESH: Duration = Duration::from_secs(1);
/// What changes at the same time is shown at once.
const TOGETHER: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    pub json: bool,
    pub watch: bool,
    pub no_color: bool,
}

pub async fn run(client: Client, updates: Updates, options: Options) -> Outcome {
    if options.watch {
        return watch(client, updates, options).await;
    }
    show(&client, options).await?;
    Ok(Exit::Completed)
}

/// Says whether anybody still reads.
async fn show(client: &Client, options: Options) -> Result<bool, Failure> {
    let snapshot =
        client.snapshot(true).await.map_err(|error| Failure::of_client("read the status", &error))?;
    print(&snapshot, options)
}

fn print(snapshot: &Snapshot, options: Options) -> Result<bool, Failure> {
    if options.json {
        return output::print_json(&rows(&snapshot.runners));
    }
    let text = table(snapshot, &output::look(options.no_color));
    if options.watch && std::io::stdout().is_terminal() {
        // From the top, each line to its end, then what is below: nothing flickers.
        let text = text.replace('\n', "\x1b[K\n");
        return output::print(&format!("\x1b[H{text}\x1b[J"));
    }
    output::print(&text)
}

async fn watch(client: Client, mut updates: Updates, options: Options) -> Outcome {
    client.subscribe().await.map_err(|error| Failure::of_client("watch the status", &error))?;
    if std::io::stdout().is_terminal() && !options.json {
        output::print("\x1b[2J")?;
    }
    loop {
        if !show(&client, options).await? {
            return Ok(Exit::Completed);
        }
        // A file or a program gets a new table only when something has happened.
        let refresh = std::io::stdout().is_terminal() && !options.json;
        loop {
            let incoming = if refresh {
                match tokio::time::timeout(REFRESH, updates.next()).await {
                    Ok(incoming) => incoming,
                    Err(_) => break,
                }
            } else {
                updates.next().await
            };
            match incoming {
                Some(Incoming::Update(Update::Notice(_) | Update::Flow(_))) => {}
                Some(
                    Incoming::Update(Update::Runner(_) | Update::Removed(_) | Update::Fleet(_))
                    | Incoming::Lagged,
                ) => {
                    drain(&mut updates).await;
                    break;
                }
                None => {
                    return Err(Failure::new(Exit::Nothing, "watch the status", "the supervisor has ended")
                        .hint("`restage up` starts it again"));
                }
            }
        }
    }
}

async fn drain(updates: &mut Updates) {
    let all = async { while updates.next().await.is_some() {} };
    // Running out of time is how this ends.
    tokio::time::timeout(TOGETHER, all).await.ok();
}
