//! `restage status [--json] [--watch]`.

use std::io::{self, IsTerminal};
use std::time::Duration;

use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::workspace::Workspace;
use crate::cli::{link, output, recorded};
use crate::control::client::{Client, ClientError, Incoming, Updates};
use crate::domain::time::Timestamp;
use crate::domain::view::{Snapshot, Update};
use crate::frontend::status::{Source, recorded_table, rows, table};

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

impl Options {
    /// One table in place, instead of one below the other.
    fn in_place(self) -> bool {
        self.watch && !self.json && io::stdout().is_terminal()
    }
}

pub async fn run(workspace: &Workspace, client: Client, updates: Updates, options: Options) -> Outcome {
    if options.watch {
        return watch(workspace, client, updates, options).await;
    }
    let snapshot =
        client.snapshot(true).await.map_err(|error| Failure::of_client("read the status", &error))?;
    print(&snapshot, options)?;
    Ok(Exit::Completed)
}

/// While nobody supervises: what was recorded. `None` where there is nothing.
pub fn show_recorded(workspace: &Workspace, now: Timestamp, options: Options) -> Option<Outcome> {
    let runners = recorded::read(workspace)?;
    let printed = if options.json {
        output::print_json(&rows(&runners, Source::Record))
    } else {
        output::print(&recorded_table(&workspace.root, &runners, now, &output::look(options.no_color)))
    };
    Some(printed.map(|_| Exit::Completed))
}

/// Says whether anybody still reads.
fn print(snapshot: &Snapshot, options: Options) -> Result<bool, Failure> {
    if options.json {
        return output::print_json(&rows(&snapshot.runners, Source::Supervisor));
    }
    let text = table(snapshot, &output::look(options.no_color));
    if options.in_place() {
        // From the top, each line to its end, then what is below: nothing flickers.
        let text = text.replace('\n', "\x1b[K\n");
        return output::print(&format!("\x1b[H{text}\x1b[J"));
    }
    output::print(&text)
}

/// Goes on until nobody reads any more, or nobody supervises any more.
async fn watch(workspace: &Workspace, mut client: Client, mut updates: Updates, options: Options) -> Outcome {
    if options.in_place() {
        output::print("\x1b[2J")?;
    }
    let unread = output::unread();
    tokio::pin!(unread);
    loop {
        let gone = tokio::select! {
            gone = watch_one(&client, &mut updates, options) => gone?,
            () = &mut unread => return Ok(Exit::Completed),
        };
        if gone == Gone::Reader {
            return Ok(Exit::Completed);
        }
        // A killed one has a successor.
        match link::reconnect(workspace).await? {
            Some(connected) => (client, updates) = connected,
            None => {
                return Err(Failure::new(Exit::Nothing, "watch the status", "the supervisor has ended")
                    .hint("`restage up` starts it again"));
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gone {
    Reader,
    Supervisor,
}

async fn watch_one(client: &Client, updates: &mut Updates, options: Options) -> Result<Gone, Failure> {
    if told(client.subscribe().await)?.is_none() {
        return Ok(Gone::Supervisor);
    }
    loop {
        let Some(snapshot) = told(client.snapshot(true).await)? else { return Ok(Gone::Supervisor) };
        if !print(&snapshot, options)? {
            return Ok(Gone::Reader);
        }
        if !changed(updates, options).await {
            return Ok(Gone::Supervisor);
        }
    }
}

/// `None` where the connection has ended.
fn told<T>(result: Result<T, ClientError>) -> Result<Option<T>, Failure> {
    match result {
        Ok(told) => Ok(Some(told)),
        Err(ClientError::Gone) => Ok(None),
        Err(error) => Err(Failure::of_client("watch the status", &error)),
    }
}

/// Something is to be shown anew; false when the connection has ended.
async fn changed(updates: &mut Updates, options: Options) -> bool {
    // A file or a program gets a new table only when something has happened.
    let refresh = options.in_place();
    loop {
        let incoming = if refresh {
            match tokio::time::timeout(REFRESH, updates.next()).await {
                Ok(incoming) => incoming,
                Err(_) => return true,
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
                drain(updates).await;
                return true;
            }
            None => return false,
        }
    }
}

async fn drain(updates: &mut Updates) {
    let all = async { while updates.next().await.is_some() {} };
    // Running out of time is how this ends.
    tokio::time::timeout(TOGETHER, all).await.ok();
}
