//! All that is known of a stage or a checkpoint, as a text that scrolls: what its pane has no room for.

use super::super::super::dialog::Dialog;
use super::super::super::model::Model;
use super::attempts::{Told, tell};
use super::stage_word;
use crate::domain::flow::record::{Artifact, Checkpoint, StageRecord};
use crate::domain::json::JsonMap;
use crate::frontend::text::{bytes, one_line};

/// Of one value; a state may have megabytes.
const MOST: usize = 16_384;

/// What is selected on the screen of a run.
pub fn whole(model: &Model) -> Option<Dialog> {
    let pane = model.flows.pane.as_ref()?;
    let (title, text) = match (pane.in_tree, pane.selected()) {
        (true, _) => {
            let checkpoint = pane.target()?;
            (checkpoint.id.to_string(), of_checkpoint(model, checkpoint))
        }
        (false, stage) => {
            let stage = stage?;
            (format!("{} of {}", stage.name, pane.id), of_stage(model, stage))
        }
    };
    Some(Dialog::Message { title, text, scroll: 0 })
}

fn of_stage(model: &Model, stage: &StageRecord) -> String {
    let mut lines = vec![stage_word(stage.status).to_owned()];
    lines.extend(stage.reason.map(|reason| format!("{}: {reason}", stage.decision)));
    lines.extend(stage.checkpoint.as_ref().map(|one| format!("{} is {}", one.id, one.approval)));
    if let Some(error) = &stage.error {
        lines.push(String::new());
        lines.extend(error.lines().map(one_line));
    }
    if let Some(feedback) = &stage.feedback {
        lines.extend([String::new(), "Sent back:".to_owned()]);
        lines.extend(feedback.lines().map(one_line));
    }
    if !stage.attempts.is_empty() {
        lines.extend([String::new(), "Attempts, the newest first:".to_owned()]);
        lines.extend(stage.attempts.iter().rev().map(|attempt| {
            let Told { start, end, figures, .. } = tell(model, attempt);
            format!("{start}{end}{figures}")
        }));
    }
    let nothing = JsonMap::new();
    lines.extend(left(stage.outputs.as_ref().unwrap_or(&nothing), &stage.artifacts));
    lines.join("\n")
}

fn of_checkpoint(model: &Model, checkpoint: &Checkpoint) -> String {
    let mut lines = vec![
        format!("{}, on branch {}", checkpoint.approval, checkpoint.branch),
        format!("made by {} at {}", checkpoint.run_id, model.clock(checkpoint.created_at)),
        format!("hash {}", checkpoint.hash.as_str()),
    ];
    if let (Some(who), Some(from)) = (&checkpoint.created_by, &checkpoint.edited_from) {
        lines.push(format!("edited by {} from {from}", one_line(who)));
    }
    let when = checkpoint.approved_at.map(|at| format!(" at {}", model.clock(at))).unwrap_or_default();
    let judged = |who: &String| format!("{} by {}{when}", checkpoint.approval, one_line(who));
    lines.extend(checkpoint.approved_by.as_ref().map(judged));
    if let Some(note) = &checkpoint.note {
        lines.extend([String::new(), "Note:".to_owned()]);
        lines.extend(note.lines().map(one_line));
    }
    lines.extend(left(&checkpoint.outputs, &checkpoint.artifacts));
    lines.join("\n")
}

fn left(outputs: &JsonMap, artifacts: &[Artifact]) -> Vec<String> {
    let mut lines = Vec::new();
    if !outputs.is_empty() {
        lines.extend([String::new(), "Outputs:".to_owned()]);
        lines.extend(
            outputs.iter().map(|(key, value)| format!("  {} = {}", one_line(key), start_of(value.text()))),
        );
    }
    if !artifacts.is_empty() {
        lines.extend([String::new(), "Artifacts:".to_owned()]);
        let line = |one: &Artifact| {
            let short = super::attempts::short(one.hash.as_str());
            format!("  {}  {}  {short}", one_line(&one.name), bytes(one.size))
        };
        lines.extend(artifacts.iter().map(line));
    }
    lines
}

/// All of a value that is not very long; what is left out is told.
pub(super) fn start_of(text: &str) -> String {
    let Some((end, _)) = text.char_indices().nth(MOST) else { return one_line(text) };
    let (start, rest) = text.split_at(end);
    format!(
        "{} … and {} more, which a look into it shows",
        one_line(start),
        bytes(u64::try_from(rest.len()).unwrap_or(u64::MAX))
    )
}
