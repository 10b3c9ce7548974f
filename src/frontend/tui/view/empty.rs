//! The main screen without runners: what is going on, and what to do next.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::model::{Link, Model};
use super::super::theme::Ink;
use super::text::wrap;
use super::{put_lines, span};
use crate::domain::keys::Action;

const EXAMPLE: [&str; 5] = [
    "{",
    "  \"runners\": {",
    "    \"web\": { \"command\": [\"python3\", \"-m\", \"http.server\"] }",
    "  }",
    "}",
];

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let width = usize::from(area.width.saturating_sub(4)).min(72);
    let mut lines: Vec<Line<'static>> = vec![Line::default()];
    let mut say = |ink: Ink, text: &str| {
        lines.extend(
            wrap(text, width)
                .into_iter()
                .map(|line| Line::from(vec![Span::raw("  "), span(model, ink, line)])),
        );
    };
    match &model.link {
        Link::Connecting => say(Ink::Quiet, "Connecting to the supervisor"),
        Link::Lost { .. } => say(Ink::Quiet, "Nothing is known before a supervisor answers."),
        Link::Up { .. } if model.config.as_ref().is_some_and(|config| !config.flows.is_empty()) => {
            let config = model.config.iter().flat_map(|config| &config.flows);
            let names: Vec<&str> = config.map(|flow| flow.name.as_str()).collect();
            say(Ink::Strong, "No runs yet");
            say(Ink::Text, "");
            let first = names.first().copied().unwrap_or_default();
            let key = model.keymap().key(Action::Palette).map_or_else(String::new, |key| key.to_string());
            say(
                Ink::Text,
                &format!("Press {key} and type `run {first}`, or in a shell: restage run {first}"),
            );
            say(Ink::Text, "");
            say(Ink::Quiet, &format!("Flows of the config: {}", names.join(", ")));
        }
        Link::Up { .. } => {
            let path = model.config.as_ref().map_or("config.json", |config| config.path.as_str());
            say(Ink::Strong, "No runners yet");
            say(Ink::Text, "");
            say(
                Ink::Text,
                &format!("Add one to \"runners\" in {path} and save it; it starts here by itself:"),
            );
            say(Ink::Text, "");
            for line in EXAMPLE {
                say(Ink::Accent, line);
            }
            say(Ink::Text, "");
            let key = |action| model.keymap().key(action).map_or_else(String::new, |key| key.to_string());
            let keys = format!(
                "{} shows the config in effect, {} all keys.",
                key(Action::Config),
                key(Action::Help)
            );
            say(Ink::Quiet, &keys);
        }
    }
    put_lines(frame, area, lines, 0);
}
