//! `restage show RUN --watch`: follows a run that is there already, and ends as it ends.

use std::io::IsTerminal;

use super::follow::{self, Line, Manner};
use crate::cli::args::{Global, Output};
use crate::cli::engine::is_hosted;
use crate::cli::failure::Outcome;
use crate::cli::flow_args::ShowArgs;
use crate::cli::history::History;
use crate::cli::workspace::Workspace;
use crate::cli::{block_on, link, output};
use crate::domain::flow::ids::RunId;

pub fn run(global: &Global, workspace: &Workspace, args: &ShowArgs) -> Outcome {
    let run = RunId::trusted(args.run.as_str());
    let mut history = History::open(workspace)?;
    let manner = Manner {
        output: if args.json { Output::Json } else { global.output },
        no_color: global.no_color,
        wait_for_people: std::io::stdout().is_terminal(),
        allow_degraded: args.allow_degraded,
        fresh: false,
    };
    let followed = block_on(async {
        let Some((client, updates)) = link::connect(workspace).await? else { return Ok(None) };
        let mut line = Line::new(workspace, client, updates);
        if !follow::listen(&line.client, manner.draws()).await? {
            return Ok(None);
        }
        let before = line.look(&run).await?;
        if before.run.status.is_final() {
            return follow::told(&before, manner).map(Some);
        }
        if manner.output == Output::Human && !manner.draws() {
            output::remark(&format!("{run} is {}", before.run.status));
        }
        let manner = Manner { fresh: true, ..manner };
        let hosted = is_hosted(&line.client);
        let following = async { follow::follow(&mut line, &run, manner, Some(&before)).await.map(Some) };
        follow::until_left(hosted, manner, &run.clone().into(), following).await
    })??;
    match followed {
        Some(exit) => Ok(exit),
        // Nobody carries anything out.
        None => follow::told(&history.show(&run)?.what, manner),
    }
}
