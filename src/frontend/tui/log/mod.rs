//! The log of one runner: its model, what it looks like, and the worker that reads the files. The dashboard says which
//! runner is shown and how large the pane is, hands over actions and keys, and knows nothing of files.

use std::path::PathBuf;

use ratatui::Frame;
use ratatui::layout::Rect;

use super::event::{self, Pressed};
use super::theme::Theme;
use crate::domain::ids::{Attempt, RunnerName};
use crate::domain::keys::Action;
use crate::domain::time::Timestamp;
use crate::domain::verdict::Outcome;

/// What there is to show of a runner.
#[derive(Debug, Clone, PartialEq)]
pub struct LogSource {
    pub runner: RunnerName,
    /// The attempts that may have a log, the newest last.
    pub attempts: Vec<LogFile>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct LogFile {
    pub attempt: Attempt,
    pub path: PathBuf,
    /// It may still grow.
    pub live: bool,
    pub started_at: Option<Timestamp>,
    pub outcome: Option<Outcome>,
}

/// For the worker.
#[derive(Debug, Clone, PartialEq)]
pub enum Cmd {}

/// From the worker.
#[derive(Debug, Clone, PartialEq)]
pub enum News {}

#[derive(Debug, Clone, Default)]
pub struct LogPane {
    source: Option<LogSource>,
}

impl LogPane {
    /// What is to be shown from now on; called after each event, so it must be cheap where nothing has changed. Another
    /// runner starts at the end of its newest log, following; a new attempt of the same runner is followed where the
    /// newest was.
    pub fn show(&mut self, source: Option<&LogSource>) -> Vec<event::Cmd> {
        if self.source.as_ref() != source {
            self.source = source.cloned();
        }
        Vec::new()
    }

    /// The area for [`draw`]; nothing (0 × 0) where the pane is not on screen: then nothing is read either. Called after
    /// each event.
    pub fn resize(&mut self, _width: u16, _height: u16) -> Vec<event::Cmd> {
        Vec::new()
    }

    /// `None`: not for the log. Gets movements and all of `Scope::Log`, only while the pane has the keyboard; `Back`
    /// first, so that it can end a search before the pane is left.
    pub fn act(&mut self, _action: Action) -> Option<Vec<event::Cmd>> {
        None
    }

    /// A line is being typed: keys go to [`LogPane::press`], not through the table.
    pub fn is_typing(&self) -> bool {
        false
    }

    pub fn press(&mut self, _pressed: Pressed) -> Vec<event::Cmd> {
        Vec::new()
    }

    pub fn paste(&mut self, _text: &str) -> Vec<event::Cmd> {
        Vec::new()
    }

    /// In the coordinates of the pane.
    pub fn mouse(&mut self, _mouse: event::Mouse) -> Vec<event::Cmd> {
        Vec::new()
    }

    pub fn news(&mut self, _news: &News) -> Vec<event::Cmd> {
        Vec::new()
    }

    /// Whether the action would do something now: for the footer.
    pub fn can(&self, _action: Action) -> bool {
        false
    }
}

pub fn draw(_frame: &mut Frame<'_>, _area: Rect, _pane: &LogPane, _theme: &Theme, _focused: bool) {}
