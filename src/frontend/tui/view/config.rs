//! The config in effect: every value, where it comes from, what the last reading said.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::event::{ConfigOf, ConfigRow, ConfigSection};
use super::super::model::Model;
use super::super::theme::Ink;
use super::text::{pad, width as text_width, wrap};
use super::{put_lines, span};
use crate::domain::keys::Action;
use crate::frontend::text::one_line;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let lines = lines(model, area.width);
    let skip = model.scroll.min(lines.len().saturating_sub(usize::from(area.height)));
    put_lines(frame, area, lines, skip);
}

pub(super) fn lines(model: &Model, width: u16) -> Vec<Line<'static>> {
    parts(model, width).0
}

/// All lines, and which of them is the first about what is pointed at.
pub(super) fn parts(model: &Model, width: u16) -> (Vec<Line<'static>>, usize) {
    let Some(config) = &model.config else {
        return (vec![Line::from(span(model, Ink::Quiet, " Reading the config"))], 0);
    };
    let room = usize::from(width).saturating_sub(4);
    let mut lines = vec![Line::from(vec![
        span(model, Ink::Accent, " Config  "),
        span(model, Ink::Strong, one_line(&config.path)),
    ])];
    let mut say = |ink: Ink, text: &str| {
        for text in wrap(text, room) {
            lines.push(Line::from(vec![Span::raw("  "), span(model, ink, text)]));
        }
    };
    match model.supervisor.as_ref().and_then(|fleet| fleet.config_error.as_ref()) {
        Some(error) => {
            say(Ink::Bad, "The last reload was refused; the supervisor goes on with the config before it:");
            for line in error.lines() {
                say(Ink::Text, &one_line(line));
            }
        }
        None if model.is_connected() => say(Ink::Good, "The supervisor works with this config."),
        None => say(Ink::Waiting, "No supervisor is connected; this is what the file says."),
    }
    for problem in config.problems.iter().flat_map(|problem| problem.lines()) {
        say(if config.sections.is_some() { Ink::Waiting } else { Ink::Bad }, &one_line(problem));
    }
    let Some(sections) = &config.sections else { return (lines, 0) };
    let mut start = None;
    for section in sections.iter().filter(|section| is_shown(model, &section.of)) {
        lines.push(Line::default());
        if section.of != ConfigOf::Workspace {
            start.get_or_insert(lines.len());
        }
        lines.push(title(model, section));
        for row in &section.rows {
            lines.extend(row_lines(model, row, room));
        }
    }
    (lines, start.unwrap_or(0))
}

fn is_shown(model: &Model, of: &ConfigOf) -> bool {
    match of {
        ConfigOf::Workspace => true,
        ConfigOf::Runner(name) => model.pointed_flow.is_none() && model.pointed.as_ref() == Some(name),
        ConfigOf::Flow(flow) | ConfigOf::Stage(flow, _) => model.pointed_flow.as_ref() == Some(flow),
    }
}

fn title(model: &Model, section: &ConfigSection) -> Line<'static> {
    let (what, name) = match &section.of {
        ConfigOf::Workspace => return Line::from(span(model, Ink::Accent, " Workspace")),
        ConfigOf::Stage(_, name) => {
            return Line::from(vec![
                span(model, Ink::Accent, "  Stage "),
                span(model, Ink::Strong, name.to_string()),
            ]);
        }
        ConfigOf::Runner(name) => (" Runner ", name.to_string()),
        ConfigOf::Flow(name) => (" Flow ", name.to_string()),
    };
    let key = model.keymap().key(Action::NextPane).filter(|_| model.can(Action::NextPane));
    let next = if model.config.as_ref().is_some_and(|config| config.flows.is_empty()) {
        "the next runner"
    } else {
        "the next runner or flow"
    };
    Line::from(vec![
        span(model, Ink::Accent, what),
        span(model, Ink::Strong, name),
        span(model, Ink::Quiet, key.map(|key| format!("   {key}: {next}")).unwrap_or_default()),
    ])
}

/// Key, value, origin; a long value goes on below itself.
fn row_lines(model: &Model, row: &ConfigRow, room: usize) -> Vec<Line<'static>> {
    const KEY: usize = 28;
    const ORIGIN: usize = 17;
    let ink = if row.set { Ink::Text } else { Ink::Quiet };
    let value_room = room.saturating_sub(KEY + ORIGIN + 1).max(8);
    let mut lines = Vec::new();
    for (at, value) in wrap(&one_line(&row.value), value_room).into_iter().enumerate() {
        let (key, origin) = if at == 0 { (row.key, row.origin.as_str()) } else { ("", "") };
        let filled = format!("{value}{}", " ".repeat(value_room.saturating_sub(text_width(&value))));
        lines.push(Line::from(vec![
            Span::raw("  "),
            span(model, ink, pad(key, KEY, model.theme())),
            span(model, if row.set { Ink::Strong } else { Ink::Quiet }, filled),
            span(model, Ink::Quiet, format!(" {}", pad(origin, ORIGIN, model.theme()))),
        ]));
    }
    lines
}
