//! A runner's terminal, to type into: the whole screen, every key but the way out goes to the runner.
//!
//! What it prints is in its log, written by its relay; the worker feeds that to a terminal emulation and tells what the
//! screen looks like now. What a person types goes to the supervisor, which hands it to the keeper, who holds the
//! terminal. So an attached dashboard can die, or be stopped, and the runner does not notice.

mod draw;
mod keys;
#[cfg(test)]
mod tests;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;

pub use draw::draw;
pub use worker::{Worker, start};

use super::event::{self, MouseKind, Pressed};
use crate::domain::ids::{Attempt, RunnerName};
use crate::domain::keys::{Code, Key};
use crate::domain::view::{RunnerStatus, RunnerView};

/// Rows for a turn of the wheel.
const WHEEL: isize = 3;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cmd {
    /// For the worker.
    Watch(Watch),
    /// For the supervisor: what was typed.
    Input { runner: RunnerName, text: String },
    /// For the supervisor: how large the terminal is shown.
    Resize { runner: RunnerName, rows: u16, cols: u16 },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watch {
    Open {
        epoch: u64,
        log: PathBuf,
        rows: u16,
        cols: u16,
    },
    Size {
        rows: u16,
        cols: u16,
    },
    /// So many rows above the end; none is the end.
    Back {
        rows: usize,
    },
    Close,
}

#[derive(Debug, Clone, PartialEq)]
pub struct News {
    pub epoch: u64,
    pub told: Told,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    Screen(Shot),
    /// The answer to [`Watch::Back`]; `None` where there is nothing above the screen, or it was left.
    Past(Option<Past>),
    /// The act, the thing and the cause.
    Failed(String),
}

/// A terminal's screen at one moment.
#[derive(Debug, Clone)]
pub struct Shot {
    /// Counts up.
    pub number: u64,
    pub screen: Arc<vt100::Screen>,
}

impl PartialEq for Shot {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number && Arc::ptr_eq(&self.screen, &other.screen)
    }
}

/// What has left the screen, as it was when looking back began.
#[derive(Debug, Clone, PartialEq)]
pub struct Past {
    pub shot: Shot,
    /// So many rows above the end.
    pub rows: usize,
    /// More there are not.
    pub most: usize,
}

#[derive(Debug, Clone)]
pub struct AttachPane {
    runner: RunnerName,
    leave: Option<Key>,
    attempt: Option<Attempt>,
    status: RunnerStatus,
    log: Option<PathBuf>,
    epoch: u64,
    screen: Option<Arc<vt100::Screen>>,
    past: Option<Past>,
    /// How far back somebody wants to look, in rows.
    back: usize,
    /// Somebody wanted to look back, and there was nothing.
    is_top: bool,
    trouble: Option<String>,
    width: u16,
    height: u16,
    /// A mouse button is down.
    pressed: bool,
}

impl AttachPane {
    /// `leave` is the key that leads out, to be shown.
    pub fn open(runner: &RunnerView, leave: Option<Key>) -> (Self, Vec<event::Cmd>) {
        let pane = Self {
            runner: runner.name.clone(),
            leave,
            attempt: runner.attempt,
            status: runner.status,
            log: runner.log.clone(),
            epoch: 0,
            screen: None,
            past: None,
            back: 0,
            is_top: false,
            trouble: None,
            width: 0,
            height: 0,
            pressed: false,
        };
        // It begins with the first resize, when it is known how large it is.
        (pane, Vec::new())
    }

    pub fn runner(&self) -> &RunnerName {
        &self.runner
    }

    /// What is known of the runner now: the next attempt is another terminal.
    pub fn show(&mut self, runner: &RunnerView) -> Vec<event::Cmd> {
        self.status = runner.status;
        if (self.attempt, &self.log) == (runner.attempt, &runner.log) {
            return Vec::new();
        }
        (self.attempt, self.log) = (runner.attempt, runner.log.clone());
        self.begin()
    }

    /// Where the screen is left; whatever the worker holds for it ends.
    pub fn close(self) -> Vec<event::Cmd> {
        vec![event::Cmd::Attach(Cmd::Watch(Watch::Close))]
    }

    pub fn resize(&mut self, width: u16, height: u16) -> Vec<event::Cmd> {
        if (self.width, self.height) == (width, height) {
            return Vec::new();
        }
        let is_first = self.width == 0;
        (self.past, self.back) = (None, 0);
        (self.width, self.height) = (width, height);
        if is_first {
            return self.begin();
        }
        let (rows, cols) = self.size();
        vec![
            event::Cmd::Attach(Cmd::Watch(Watch::Size { rows, cols })),
            event::Cmd::Attach(Cmd::Resize { runner: self.runner.clone(), rows, cols }),
        ]
    }

    /// One row is the frame.
    fn size(&self) -> (u16, u16) {
        (self.height.saturating_sub(1).max(1), self.width.max(1))
    }

    fn begin(&mut self) -> Vec<event::Cmd> {
        let Some(log) = self.log.clone().filter(|_| self.width > 0) else { return Vec::new() };
        let (rows, cols) = self.size();
        self.epoch += 1;
        (self.screen, self.past, self.trouble) = (None, None, None);
        self.back = 0;
        let runner = || self.runner.clone();
        vec![
            event::Cmd::Attach(Cmd::Watch(Watch::Open { epoch: self.epoch, log, rows, cols })),
            // A program draws its screen anew when the size changes, and only then.
            event::Cmd::Attach(Cmd::Resize { runner: runner(), rows: (rows - 1).max(1), cols }),
            event::Cmd::Attach(Cmd::Resize { runner: runner(), rows, cols }),
        ]
    }

    fn type_in(&self, text: String) -> Vec<event::Cmd> {
        if text.is_empty() {
            return Vec::new();
        }
        vec![event::Cmd::Attach(Cmd::Input { runner: self.runner.clone(), text })]
    }

    pub fn press(&mut self, pressed: Pressed) -> Vec<event::Cmd> {
        // As every terminal has it; with a program that fills the screen there is nothing to look back at.
        let page = isize::from(self.size().0.saturating_sub(1).max(1).cast_signed());
        match (pressed.key.code, pressed.shift) {
            (Code::PageUp, true) => return self.look_back(page),
            (Code::PageDown, true) => return self.look_back(-page),
            (Code::Enter, _) if self.trouble.is_some() => return self.begin(),
            _ => {}
        }
        let application = self.screen.as_ref().is_some_and(|screen| screen.application_cursor());
        let mut cmds = self.return_to_end();
        cmds.extend(self.type_in(keys::encode(pressed, application)));
        cmds
    }

    /// So many rows further up.
    fn look_back(&mut self, by: isize) -> Vec<event::Cmd> {
        if self.back == 0 && by < 0 {
            return Vec::new();
        }
        self.back = self.back.saturating_add_signed(by);
        vec![event::Cmd::Attach(Cmd::Watch(Watch::Back { rows: self.back }))]
    }

    /// Who types wants to see what comes of it.
    fn return_to_end(&mut self) -> Vec<event::Cmd> {
        (self.is_top, self.back) = (false, 0);
        match self.past.take() {
            Some(_) => vec![event::Cmd::Attach(Cmd::Watch(Watch::Back { rows: 0 }))],
            None => Vec::new(),
        }
    }

    pub fn paste(&mut self, text: &str) -> Vec<event::Cmd> {
        let bracketed = self.screen.as_ref().is_some_and(|screen| screen.bracketed_paste());
        let mut cmds = self.return_to_end();
        cmds.extend(self.type_in(keys::paste(text, bracketed)));
        cmds
    }

    pub fn mouse(&mut self, mouse: event::Mouse) -> Vec<event::Cmd> {
        let Some(screen) = &self.screen else { return Vec::new() };
        let Some(row) = mouse.row.checked_sub(1) else { return Vec::new() };
        if self.past.is_some() || !keys::takes_wheel(screen) {
            match mouse.kind {
                MouseKind::WheelUp => return self.look_back(WHEEL),
                MouseKind::WheelDown => return self.look_back(-WHEEL),
                MouseKind::Click | MouseKind::Drag | MouseKind::Release if self.past.is_some() => {
                    return Vec::new();
                }
                MouseKind::Click | MouseKind::Drag | MouseKind::Release => {}
            }
        }
        let text = keys::mouse(mouse.kind, mouse.column, row, self.pressed, screen);
        match mouse.kind {
            MouseKind::Click => self.pressed = true,
            MouseKind::Release => self.pressed = false,
            MouseKind::Drag | MouseKind::WheelUp | MouseKind::WheelDown => {}
        }
        self.type_in(text)
    }

    pub fn news(&mut self, news: &News) -> Vec<event::Cmd> {
        if news.epoch == self.epoch {
            match &news.told {
                Told::Screen(shot) => self.screen = Some(Arc::clone(&shot.screen)),
                Told::Past(past) => {
                    // Further than there is nobody wants; nothing was wanted where somebody has typed since.
                    let most = past.as_ref().map_or(0, |past| past.most);
                    self.is_top = self.back > 0 && most == 0;
                    self.back = self.back.min(most);
                    self.past = past.clone().filter(|_| self.back > 0);
                }
                Told::Failed(what) => self.trouble = Some(what.clone()),
            }
        }
        Vec::new()
    }
}
