//! What goes into the model ([`Event`]) and what comes out of it ([`Cmd`]). Plain data: it does nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::theme::{Depth, Theme};
use super::{attach, log};
use crate::domain::flow::ask::{EditWish, FlowReply, FlowRequest};
use crate::domain::flow::ids::{BranchName, CheckpointId, FlowName, Hash, RunId, StageName};
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::spec::FlowSpec;
use crate::domain::ids::RunnerName;
use crate::domain::json::JsonMap;
use crate::domain::keys::{Key, Keymap};
use crate::domain::spec::{Clipboard, Notifications};
use crate::domain::view::{AttemptView, Snapshot, Update};
use crate::supervisor::handle::Shutdown;

/// Something has happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Key(Pressed),
    Paste(String),
    Mouse(Mouse),
    Resize {
        width: u16,
        height: u16,
    },
    /// A moment that [`super::model::Model::wake`] asked for has come.
    Tick,
    Link(LinkNews),
    /// What the config is now.
    Config(Box<ConfigNews>),
    /// What the retry logs know beyond the views; an attempt stands in both.
    History(Vec<(RunnerName, Vec<AttemptView>)>),
    Log(log::News),
    Attach(attach::News),
    /// An editor was left; `None` where nothing was changed in it.
    Edited(Result<Option<Box<Edited>>, String>),
    /// A person should know that something could not be done: the act, the thing, the cause, the way out.
    Trouble(String),
}

/// A key, and whether shift was held, where that is not in the key itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pressed {
    pub key: Key,
    pub shift: bool,
}

impl From<Key> for Pressed {
    fn from(key: Key) -> Self {
        Self { key, shift: false }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mouse {
    pub kind: MouseKind,
    pub column: u16,
    pub row: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MouseKind {
    /// The left button goes down.
    Click,
    /// It moves while down.
    Drag,
    /// It goes up.
    Release,
    WheelUp,
    WheelDown,
}

/// What comes of the connection to the supervisor.
#[derive(Debug, Clone, PartialEq)]
pub enum LinkNews {
    Connected {
        supervisor_pid: i32,
    },
    Update(Update),
    Snapshot(Box<Snapshot>),
    /// Some changes were missed; a snapshot is on its way, and runs have to be asked about anew.
    Missed,
    /// What came of a request about runs.
    Flow {
        what: Box<FlowRequest>,
        result: Result<Box<FlowReply>, Declined>,
    },
    /// The request about this runner (or all of them) was taken up, or refused with these words.
    Answered {
        what: Asked,
        result: Result<(), String>,
    },
    /// The connection has ended; a new one is being looked for.
    Lost {
        why: String,
    },
    /// It is not back yet: the last try said this. `nobody`: there is no supervisor, and none is starting.
    Waiting {
        why: String,
        nobody: bool,
    },
}

/// What somebody made of it in an editor, and the file in which it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Edited {
    pub wish: EditWish,
    pub file: PathBuf,
}

/// What was asked about runs and not done: why, and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declined {
    pub why: String,
    pub hint: String,
    /// What the supervisor decided, where it was asked.
    pub refusal: Option<Box<Refusal>>,
}

impl From<Refusal> for Declined {
    fn from(refusal: Refusal) -> Self {
        Self { why: refusal.to_string(), hint: refusal.hint(), refusal: Some(Box::new(refusal)) }
    }
}

/// What an editor is opened for.
#[derive(Debug, Clone, PartialEq)]
pub struct EditOrder {
    pub run: RunId,
    /// Another one than that of the run.
    pub branch: Option<BranchName>,
    pub checkpoint: CheckpointId,
    /// The bytes that were looked at.
    pub hash: Hash,
    pub what: EditWhat,
}

#[derive(Debug, Clone, PartialEq)]
pub enum EditWhat {
    Outputs(JsonMap),
    Artifact { name: String, hash: Hash },
}

/// What a request was about, so that its answer finds its way.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    Order(Order, Vec<RunnerName>),
    Figures,
    Reload,
    Shutdown(Shutdown),
    Summon,
    /// Answered by [`LinkNews::Flow`].
    Flow(Box<FlowRequest>),
    /// What was typed into a runner's terminal.
    Input {
        runner: RunnerName,
        text: String,
    },
    /// How large that terminal is shown.
    Resize {
        runner: RunnerName,
        rows: u16,
        cols: u16,
    },
}

/// What can be done to runners. Destructive ones are asked for twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    Start,
    Stop,
    Restart,
    Kill,
}

impl Order {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Kill => "kill",
        }
    }
}

/// The config as it is shown, made by whoever can read one.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ConfigNews {
    /// Of the file, as a person would write it.
    pub path: String,
    /// `None` where the file cannot be used as it is now; then `problems` says why.
    pub sections: Option<Vec<ConfigSection>>,
    /// Errors and warnings, each with its place.
    pub problems: Vec<String>,
    /// Where the logs of each runner lie, and how its input is wired.
    pub runners: Vec<RunnerFacts>,
    pub flows: Vec<Arc<FlowSpec>>,
    /// What of it concerns the dashboard itself; `None` where the file cannot be used.
    pub manners: Option<Manners>,
}

/// How the dashboard looks and behaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Manners {
    pub keymap: Keymap,
    pub theme: Theme,
    /// How often figures are asked for while they are on the screen.
    pub refresh: Duration,
    pub notifications: Notifications,
    pub clipboard: Clipboard,
    /// How many lines a log is opened with.
    pub log_tail_lines: u32,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            keymap: Keymap::default(),
            theme: Theme::built_in("dark", Depth::True, false).unwrap_or_else(Theme::plain),
            refresh: Duration::from_secs(1),
            notifications: Notifications::Bell,
            clipboard: Clipboard::Osc52,
            log_tail_lines: 200,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSection {
    pub of: ConfigOf,
    pub rows: Vec<ConfigRow>,
}

/// What a part of the config is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigOf {
    Workspace,
    Runner(RunnerName),
    Flow(FlowName),
    /// Of this flow, right behind it.
    Stage(FlowName, StageName),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigRow {
    pub key: &'static str,
    pub value: String,
    /// `default`, `file, line 4`, `runner, line 12`, `stage, line 80`.
    pub origin: String,
    /// The value is not the default.
    pub set: bool,
}

/// What of a runner's config the dashboard needs beside its view.
#[derive(Debug, Clone, PartialEq)]
pub struct RunnerFacts {
    pub name: RunnerName,
    pub log: crate::domain::spec::LogSpec,
    /// Attach works.
    pub tty: bool,
    pub reset_after_seconds: Option<f64>,
    pub grace_seconds: f64,
}

/// Something to be done for the model, without it waiting.
#[derive(Debug, Clone, PartialEq)]
pub enum Cmd {
    /// Never with an empty list: that would mean every runner.
    Order(Order, Vec<RunnerName>),
    /// A snapshot, with figures.
    Figures,
    /// Read the config file again: the supervisor does.
    Reload,
    Shutdown(Shutdown),
    /// Start a supervisor where none is left.
    Summon,
    /// Read the config for the screens.
    LoadConfig,
    /// Read the retry logs for the analytics.
    LoadHistory,
    Log(log::Cmd),
    Attach(attach::Cmd),
    /// Something about runs.
    Flow(Box<FlowRequest>),
    /// The user's editor; the dashboard steps aside for it.
    Edit(Box<EditOrder>),
    /// A file that was edited stays where it is when the dashboard is left: what is in it was not taken in.
    KeepEdited(PathBuf),
    /// Into the clipboard, by the terminal.
    Copy(String),
    /// The file in the user's pager; the dashboard steps aside for it.
    Pager(PathBuf),
    /// Ring, and tell outside of the terminal.
    Notify(Arc<str>),
    /// The whole screen anew.
    Redraw,
    Quit,
}
