//! `restage check`: everything that is wrong with the config, in one go.

use crate::cli::exit::Exit;
use crate::cli::failure::Outcome;
use crate::cli::output;
use crate::cli::settings;
use crate::cli::workspace::Workspace;
use crate::config::Missing;

pub fn run(workspace: &Workspace, json: bool) -> Outcome {
    let (problems, ready) = match settings::read(workspace, Missing::Error) {
        Ok(loaded) => (loaded.warnings, Some((loaded.spec.runners.len(), loaded.spec.flows.len()))),
        Err(diagnostics) => (diagnostics.0, None),
    };
    if json {
        output::print_json(&problems)?;
    } else {
        for problem in &problems {
            output::remark(&problem.human());
        }
        if let Some((runners, flows)) = ready {
            let config = settings::shown(workspace);
            let words = match (runners, flows) {
                (_, 0) => count(runners, "runner"),
                (0, _) => count(flows, "flow"),
                (_, _) => format!("{} and {}", count(runners, "runner"), count(flows, "flow")),
            };
            output::print(&format!("{}: {words}, ready to start\n", config.display()))?;
        }
    }
    Ok(if ready.is_some() { Exit::Completed } else { Exit::Usage })
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
