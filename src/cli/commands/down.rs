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

pub async fn run(workspace: &Workspace, client: Client, updates: Updates, kill: bool) -> Outcome {
    let pid = client.welcome.supervisor_pid;
    let how = if kill { Shutdown::Kill } else { Shutdown::Graceful };
    end(client, updates, how)
        .await
        .map_err(|error| Failure::of_client(format!("end the supervisor {pid}"), &error))?;
    if tokio::time::timeout(LAST_STEP, lock::freed(&workspace.lock_file())).await.is_ok() {
        return Ok(Exit::Completed);
    }
    Err(Failure::new(
        Exit::Failed,
        format!("end the supervisor {pid}"),
        "it has stopped its runners and still lives",
    )
    .hint(format!("look at {}", workspace.log_dir().join("restage.log").display())))
}

/// Tells what stops until the connection ends, which is the end of the supervisor. The graces of the runners are what
/// bounds it.
async fn end(client: Client, mut updates: Updates, how: Shutdown) -> Result<(), ClientError> {
    client.subscribe().await?;
    match client.shutdown(how).await {
        // It may end before its answer gets through.
        Ok(()) | Err(ClientError::Gone) => {}
        Err(error) => return Err(error),
    }
    while let Some(incoming) = updates.next().await {
        if let Incoming::Update(Update::Notice(notice)) = incoming {
            output::remark(&crate::frontend::text::one_line(&notice.to_string()));
        }
    }
    Ok(())
}
