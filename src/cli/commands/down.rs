//! `restage down`: everything stops, then the supervisor ends.

use std::time::Duration;

use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output;
use crate::cli::workspace::Workspace;
use crate::control::client::{Client, ClientError, Incoming, Updates};
use crate::control::lock;
use crate::domain::view::Update;
use crate::supervisor::handle::Shutdown;

/// Between its last word and the end of its process.
const LAST_STEP: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    pub kill: bool,
    /// Events are data on stdout then, as those of `up`.
    pub json: bool,
}

pub async fn run(workspace: &Workspace, client: Client, updates: Updates, options: Options) -> Outcome {
    let pid = client.welcome.supervisor_pid;
    let act = format!("end the supervisor {pid}");
    end(client, updates, options).await.map_err(|error| Failure::of_client(&act, &error))?;
    if tokio::time::timeout(LAST_STEP, lock::freed(&workspace.lock_file())).await.is_ok() {
        return Ok(Exit::Completed);
    }
    Err(Failure::new(Exit::Failed, act, "it has stopped its runners and still lives")
        .hint(format!("look at {}", workspace.log_dir().join("restage.log").display())))
}

/// Tells what stops until the connection ends, which is the end of the supervisor. The graces of the runners are what
/// bounds it.
async fn end(client: Client, mut updates: Updates, options: Options) -> Result<(), ClientError> {
    client.subscribe().await?;
    let how = if options.kill { Shutdown::Kill } else { Shutdown::Graceful };
    match client.shutdown(how).await {
        // It may end before its answer gets through.
        Ok(()) | Err(ClientError::Gone) => {}
        Err(error) => return Err(error),
    }
    while let Some(incoming) = updates.next().await {
        if let Incoming::Update(Update::Notice(notice)) = incoming {
            if options.json {
                // A reader that is gone does not keep the runners from being stopped.
                output::print_json(&*notice).ok();
            } else {
                output::remark(&crate::frontend::text::one_line(&notice.to_string()));
            }
        }
    }
    Ok(())
}
