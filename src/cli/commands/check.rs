//! `restage check`: everything that is wrong with the config, in one go.

use crate::cli::exit::Exit;
use crate::cli::failure::Outcome;
use crate::cli::output;
use crate::cli::settings;
use crate::cli::workspace::Workspace;
use crate::config::Missing;

pub fn run(workspace: &Workspace, json: bool) -> Outcome {
    let (problems, runners) = match settings::read(workspace, Missing::Error) {
        Ok(loaded) => (loaded.warnings, Some(loaded.spec.runners.len())),
        Err(diagnostics) => (diagnostics.0, None),
    };
    if json {
        output::print_json(&problems)?;
    } else {
        for problem in &problems {
            output::remark(&problem.human());
        }
        if let Some(runners) = runners {
            let config = settings::shown(workspace);
            let words = if runners == 1 { "1 runner".into() } else { format!("{runners} runners") };
            output::print(&format!("{}: {words}, ready to start\n", config.display()))?;
        }
    }
    Ok(if runners.is_some() { Exit::Completed } else { Exit::Usage })
}
