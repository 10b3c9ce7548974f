//! A runner's terminal, to type into: the whole screen, every key but the way out goes to the runner.

use ratatui::Frame;
use ratatui::layout::Rect;

use super::event::{self, Pressed};
use super::theme::Theme;
use crate::domain::keys::Key;
use crate::domain::view::RunnerView;

#[derive(Debug, Clone, PartialEq)]
pub enum Cmd {}

#[derive(Debug, Clone, PartialEq)]
pub enum News {}

#[derive(Debug, Clone)]
pub struct AttachPane {}

impl AttachPane {
    /// `leave` is the key that leads out, to be shown.
    pub fn open(_runner: &RunnerView, _leave: Option<Key>) -> (Self, Vec<event::Cmd>) {
        (Self {}, Vec::new())
    }

    /// Where the screen is left; whatever the worker holds for it ends.
    pub fn close(self) -> Vec<event::Cmd> {
        Vec::new()
    }

    pub fn resize(&mut self, _width: u16, _height: u16) -> Vec<event::Cmd> {
        Vec::new()
    }

    pub fn press(&mut self, _pressed: Pressed) -> Vec<event::Cmd> {
        Vec::new()
    }

    pub fn paste(&mut self, _text: &str) -> Vec<event::Cmd> {
        Vec::new()
    }

    pub fn mouse(&mut self, _mouse: event::Mouse) -> Vec<event::Cmd> {
        Vec::new()
    }

    pub fn news(&mut self, _news: &News) -> Vec<event::Cmd> {
        Vec::new()
    }
}

pub fn draw(_frame: &mut Frame<'_>, _area: Rect, _pane: &AttachPane, _theme: &Theme) {}
