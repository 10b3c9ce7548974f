//! `restage why NAME`.

use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output;
use crate::control::client::Client;
use crate::frontend::why::why;

pub async fn run(client: Client, name: &str) -> Outcome {
    let act = format!("explain {name}");
    let snapshot = client.snapshot(true).await.map_err(|error| Failure::of_client(&act, &error))?;
    let Some(runner) = snapshot.runners.iter().find(|runner| runner.name.as_str() == name) else {
        let known: Vec<&str> = snapshot.runners.iter().map(|runner| runner.name.as_str()).collect();
        let cause = format!("no runner is called {name}; there are: {}", known.join(", "));
        return Err(
            Failure::new(Exit::Nothing, act, cause).hint("`restage status` lists them with what they do")
        );
    };
    output::print(&format!("{}\n", why(runner, snapshot.at)))?;
    Ok(Exit::Completed)
}
