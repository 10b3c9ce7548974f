//! The last line: the keys that do something now, from the table that the dispatcher uses.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::dialog::Dialog;
use super::super::model::{Focus, Model, Screen};
use super::super::theme::Ink;
use super::text::{fit, width};
use super::{put, span};
use crate::domain::keys::{Action, Place};

/// Candidates, in their order; what does nothing now is left out. What is at the end is what every screen needs.
const MAIN: &[Action] = &[
    Action::Summon,
    Action::Open,
    Action::Start,
    Action::Stop,
    Action::Restart,
    Action::OpenLog,
    Action::Filter,
    Action::Analytics,
    Action::Config,
    Action::Attach,
    Action::Kill,
    Action::Explain,
    Action::Unfinished,
    Action::Sort,
    Action::History,
];
/// On the main screen, where a run is highlighted.
const RUN_ROW: &[Action] = &[
    Action::Summon,
    Action::Open,
    Action::Approve,
    Action::Retry,
    Action::Reject,
    Action::Proceed,
    Action::CancelRun,
    Action::History,
    Action::Filter,
    Action::Unfinished,
];
const RUN: &[Action] = &[
    Action::Open,
    Action::Approve,
    Action::Retry,
    Action::Reject,
    Action::Look,
    Action::Edit,
    Action::Fork,
    Action::Tree,
    Action::CancelRun,
    Action::Proceed,
    Action::PrevRun,
    Action::NextRun,
    Action::Zoom,
    Action::StageLog,
    Action::History,
];
/// With the tree of its checkpoints.
const TREE: &[Action] = &[
    Action::Approve,
    Action::Reject,
    Action::Proceed,
    Action::Look,
    Action::Edit,
    Action::Fork,
    Action::Tree,
    Action::Open,
    Action::Retry,
    Action::CancelRun,
    Action::PrevRun,
    Action::NextRun,
    Action::Zoom,
    Action::History,
];
const HISTORY: &[Action] =
    &[Action::Open, Action::Retry, Action::CancelRun, Action::Filter, Action::Unfinished];
const LOG: &[Action] = &[
    Action::Search,
    Action::SearchNext,
    Action::SearchPrev,
    Action::FilterLines,
    Action::Follow,
    Action::Wrap,
    Action::PrevAttempt,
    Action::NextAttempt,
    Action::Select,
    Action::Copy,
    Action::Save,
    Action::Pager,
    Action::Timestamps,
    Action::Start,
    Action::Stop,
    Action::Kill,
    Action::Restart,
    Action::Attach,
    Action::Zoom,
];
/// Instead of a log, what a stage left.
const LOOK: &[Action] = &[
    Action::PrevAttempt,
    Action::NextAttempt,
    Action::Search,
    Action::SearchNext,
    Action::SearchPrev,
    Action::FilterLines,
    Action::Wrap,
    Action::Select,
    Action::Copy,
    Action::Save,
    Action::Pager,
];
const CONFIG: &[Action] = &[Action::NextPane, Action::Reload];
const ANALYTICS: &[Action] = &[Action::Open];
/// Never left out for want of room.
const LAST: &[Action] = &[Action::Palette, Action::Help, Action::Quit];

struct Entry {
    key: String,
    word: &'static str,
    /// None: the sign that there are more keys than fit.
    action: Option<Action>,
}

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    if area.height == 0 {
        return;
    }
    if let Some(text) = typing(model) {
        let text = fit(text, usize::from(area.width), model.theme());
        put(frame, area, Line::from(span(model, Ink::Quiet, text)));
        return;
    }
    let mut line = Line::default();
    for entry in entries(model, area.width) {
        if entry.key.is_empty() {
            line.push_span(span(model, Ink::Quiet, format!(" {}", entry.word)));
            continue;
        }
        line.push_span(Span::raw(" "));
        line.push_span(span(model, Ink::Key, entry.key));
        line.push_span(Span::raw(" "));
        line.push_span(span(model, Ink::Text, entry.word));
        line.push_span(Span::raw(" "));
    }
    put(frame, area, line);
}

/// Which key stands at this column.
pub fn hit(model: &Model, column: u16) -> Option<Action> {
    if typing(model).is_some() {
        return None;
    }
    let mut from = 0;
    for entry in entries(model, model.setup.size.0) {
        let to = from + entry.width();
        if (from..to).contains(&usize::from(column)) {
            return entry.action;
        }
        from = to;
    }
    None
}

/// Where every key means something else.
fn typing(model: &Model) -> Option<&'static str> {
    match &model.dialog {
        Some(Dialog::Palette(_)) => Some(" type to find   ↑↓ choose   Enter do it   Esc close"),
        // A dialog names its keys itself.
        Some(
            Dialog::Confirm { .. }
            | Dialog::Quit
            | Dialog::Leaving
            | Dialog::Message { .. }
            | Dialog::Flow(_),
        ) => Some(""),
        None if model.flows.history.typing && model.screen == Screen::History => Some(
            " type to narrow the list; words such as failed are statuses   Enter keep the filter   Esc clear it",
        ),
        None if model.list.typing && model.screen == Screen::Main && model.focus == Focus::List => {
            Some(" type to narrow the list   ↑↓ choose   Enter keep the filter   Esc clear it")
        }
        None => None,
    }
}

impl Entry {
    fn width(&self) -> usize {
        width(&self.key) + width(self.word) + if self.key.is_empty() { 1 } else { 3 }
    }
}

/// As many as fit: the last ones in any case, then from the front.
fn entries(model: &Model, room: u16) -> Vec<Entry> {
    let entry = |action: &Action| {
        let binding = action.binding()?;
        let key = model.keymap().key(*action)?;
        let text = key.to_string();
        let key = if text == "Enter" { model.theme().glyph("↵", "Enter").to_owned() } else { text };
        let word = if model.flows.viewing.is_none() {
            binding.short
        } else if *action == Action::PrevAttempt {
            "part before"
        } else if *action == Action::NextAttempt {
            "part after"
        } else {
            binding.short
        };
        model.can(*action).then_some(Entry { key, word, action: Some(*action) })
    };
    let mut last: Vec<Entry> = Vec::new();
    last.extend(entry(&Action::Back));
    last.extend(LAST.iter().filter_map(entry));
    let left = usize::from(room).saturating_sub(last.iter().map(Entry::width).sum());
    let candidates = match (model.screen, model.focus) {
        (Screen::Main, Focus::List) if model.list.run.is_some() => RUN_ROW,
        (Screen::Main, Focus::List) => MAIN,
        (Screen::Run, Focus::Log) if model.flows.viewing.is_some() => LOOK,
        (Screen::Main | Screen::Run, Focus::Log) => LOG,
        (Screen::Run, Focus::List) if model.place() == Place::Tree => TREE,
        (Screen::Run, Focus::List) => RUN,
        (Screen::History, _) => HISTORY,
        (Screen::Config, _) => CONFIG,
        (Screen::Analytics, _) => ANALYTICS,
        (Screen::Help | Screen::Attach, _) => &[],
    };
    let mut entries: Vec<Entry> = candidates.iter().filter_map(entry).collect();
    let fitting = |entries: &[Entry], room: usize| {
        let ends = entries.iter().scan(0, |end, entry| {
            *end += entry.width();
            Some(*end)
        });
        ends.take_while(|end| *end <= room).count()
    };
    let fit = fitting(&entries, left);
    if fit < entries.len() {
        // The help names the others.
        let sign = Entry { key: String::new(), word: model.theme().glyph("…", "~"), action: None };
        let beside = fitting(&entries, left.saturating_sub(sign.width()));
        let signed = beside > 0 || fit == 0 && left >= sign.width();
        entries.truncate(if signed { beside } else { fit });
        entries.extend(Some(sign).filter(|_| signed));
    }
    entries.extend(last);
    entries
}
