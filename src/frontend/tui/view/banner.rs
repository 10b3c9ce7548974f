//! One amber line below the header for what concerns everything: a lost supervisor, a keeper in trouble, a config that
//! was refused.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::super::model::{Link, Model};
use super::super::theme::Ink;
use super::put;
use super::text::pad;
use crate::domain::keys::Action;
use crate::frontend::text::{between, one_line, span as time_span};

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    if area.height == 0 {
        return;
    }
    let text = lost(model).or_else(|| trouble(model)).unwrap_or_default();
    let text =
        pad(&format!(" {} {text}", model.theme().glyph("!", "!")), usize::from(area.width), model.theme());
    put(frame, area, Line::styled(text, model.theme().style(Ink::Banner)));
}

fn lost(model: &Model) -> Option<String> {
    let Link::Lost { since, why, nobody } = &model.link else { return None };
    let since = time_span(between(*since, model.now));
    Some(if *nobody {
        let key = model.keymap().key(Action::Summon);
        let key = key.map_or_else(|| "\"supervise\" in the palette".into(), |key| key.to_string());
        format!("no supervisor here for {since}; {key} starts one")
    } else {
        format!("supervisor gone for {since}, looking for its successor; nothing was stopped: {why}")
    })
}

/// What is wrong though the supervisor answers.
pub fn trouble(model: &Model) -> Option<String> {
    let fleet = model.supervisor.as_ref()?;
    if let Some(trouble) = &fleet.keeper_trouble {
        return Some(one_line(trouble));
    }
    let error = fleet.config_error.as_ref()?;
    let key = model.keymap().key(Action::Config).map_or_else(|| "config".into(), |key| key.to_string());
    Some(format!(
        "the config was refused, the one before stays in effect ({key} shows it): {}",
        one_line(error)
    ))
}
