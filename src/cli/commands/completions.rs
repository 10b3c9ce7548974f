//! `restage completions SHELL`.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::args::Cli;
use crate::cli::exit::Exit;
use crate::cli::failure::Outcome;
use crate::cli::output;

pub fn run(shell: Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "restage", &mut script);
    output::print_bytes(&script)?;
    Ok(Exit::Completed)
}
