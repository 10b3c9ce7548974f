//! `restage why NAME`.

use std::sync::Arc;

use serde::Serialize;

use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output;
use crate::control::client::Client;
use crate::domain::time::Timestamp;
use crate::domain::view::RunnerView;
use crate::frontend::status::{Row, Source};
use crate::frontend::why::{recorded_why, why};

/// The row of `status`, and the paragraph.
#[derive(Debug, Serialize)]
struct Explained<'a> {
    #[serde(flatten)]
    row: Row<'a>,
    why: &'a str,
}

pub async fn run(client: Client, name: &str, json: bool) -> Outcome {
    let snapshot =
        client.snapshot(true).await.map_err(|error| Failure::of_client(format!("explain {name}"), &error))?;
    explain(&snapshot.runners, name, snapshot.at, Source::Supervisor, json)
}

/// From the views of the supervisor, or from the record.
pub fn explain(
    runners: &[Arc<RunnerView>],
    name: &str,
    now: Timestamp,
    source: Source,
    json: bool,
) -> Outcome {
    let Some(runner) = runners.iter().find(|runner| runner.name.as_str() == name) else {
        let known: Vec<&str> = runners.iter().map(|runner| runner.name.as_str()).collect();
        let cause = format!("no runner is called {name}; there are: {}", known.join(", "));
        return Err(Failure::new(Exit::Nothing, format!("explain {name}"), cause)
            .hint("`restage status` lists them with what they do"));
    };
    let text = match source {
        Source::Supervisor => why(runner, now),
        Source::Record => recorded_why(runner, now),
    };
    if json {
        output::print_json(&Explained { row: Row::new(runner, source), why: &text })?;
    } else {
        output::print(&format!("{text}\n"))?;
    }
    Ok(Exit::Completed)
}
