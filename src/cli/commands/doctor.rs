//! `restage doctor`.

use crate::cli::doctor::{Finding, Level, examine};
use crate::cli::exit::Exit;
use crate::cli::failure::Outcome;
use crate::cli::output;
use crate::frontend::text::{Tone, one_line};
use crate::supervisor::place::WorkspacePlaces;

pub fn run(places: &WorkspacePlaces, json: bool, no_color: bool) -> Outcome {
    let findings = examine(places);
    if json {
        output::print_json(&findings)?;
    } else {
        let colour = output::colours(&std::io::stdout(), no_color);
        let text: Vec<String> = findings.iter().map(|finding| line(finding, colour)).collect();
        output::print(&text.concat())?;
    }
    let failed = findings.iter().any(|finding| finding.level == Level::Fail);
    Ok(if failed { Exit::Failed } else { Exit::Completed })
}

fn line(finding: &Finding, colour: bool) -> String {
    let tone = match finding.level {
        Level::Ok => Tone::Good,
        Level::Warn => Tone::Waiting,
        Level::Fail => Tone::Bad,
    };
    let word = tone.paint(&format!("{:4}", finding.level.word()), colour);
    let hint = finding.hint.map(|hint| format!("      hint: {hint}\n")).unwrap_or_default();
    format!("{word}  {:15}  {}\n{hint}", finding.subject, one_line(&finding.message))
}
