//! Questions about runs that lie above the screen: the plan of a retry, what is to be approved, a line to be typed. What
//! a key comes to is returned; the update does it.

use super::content::Part;
use crate::domain::flow::ask::{Plan, RetryWish};
use crate::domain::flow::ids::{BranchName, CheckpointId, FlowName, Hash, RunId, StageName};
use crate::domain::flow::record::{Artifact, Checkpoint};
use crate::domain::json::JsonMap;
use crate::domain::keys::{ALWAYS_QUIT, Code, Key};
use crate::frontend::tui::dialog::{Scroll, scrolls};
use crate::frontend::tui::event::{EditWhat, Pressed};
use crate::frontend::tui::input::LineInput;

#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// Nothing runs before this plan was looked at; the wish is bound to it.
    Retry {
        wish: RetryWish,
        plan: Plan,
        /// Another one was looked at before, and agreed to.
        is_another: bool,
        scroll: usize,
    },
    /// The bytes that are shown are those that are approved.
    Approve {
        run: RunId,
        checkpoint: Box<Checkpoint>,
        scroll: usize,
    },
    Cancel {
        run: RunId,
    },
    /// What it would do stands beside it. Several branches may stand at one checkpoint: which one is asked, too.
    Proceed {
        run: RunId,
        ways: Vec<Way>,
        selected: usize,
    },
    /// What of a checkpoint is to be edited.
    Edit {
        run: RunId,
        /// Another one than that of the run.
        branch: Option<BranchName>,
        checkpoint: Box<Checkpoint>,
        selected: usize,
    },
    /// Into which part of what was left somebody wants to look.
    Look {
        title: String,
        parts: Vec<Part>,
        selected: usize,
        /// What was asked before.
        back: Option<Box<Self>>,
    },
    Type(Typing),
}

/// Where a run may go on.
#[derive(Debug, Clone, PartialEq)]
pub struct Way {
    pub branch: Option<BranchName>,
    pub checkpoint: Option<CheckpointId>,
    /// What that would do, or why it cannot be.
    pub does: Result<String, String>,
}

/// A line that somebody types.
#[derive(Debug, Clone, PartialEq)]
pub struct Typing {
    pub what: TypingWhat,
    pub input: LineInput,
    /// What is wrong with it.
    pub problem: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum TypingWhat {
    /// What to do better.
    Reject { run: RunId, checkpoint: CheckpointId, hash: Hash, rewind_to: Option<StageName> },
    /// How the branch is called.
    Fork { run: RunId, at: CheckpointId },
    /// The value of the first of these inputs.
    Input { flow: FlowName, given: JsonMap, missing: Vec<String> },
}

/// What a key of a question comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Nothing,
    Close,
    /// Do what is asked.
    Yes,
    /// Of what is to be approved: send it back instead.
    Reject,
    /// Or edit it first.
    Edit,
    /// Or look into it first.
    Look,
    /// Of what is shown, or from one choice to another.
    Scroll(Scroll),
}

impl Typing {
    pub fn new(what: TypingWhat) -> Self {
        Self { what, input: LineInput::default(), problem: None }
    }
}

impl Question {
    /// What is being typed, where something is.
    pub fn typing(&mut self) -> Option<&mut Typing> {
        match self {
            Self::Type(typing) => Some(typing),
            Self::Retry { .. }
            | Self::Approve { .. }
            | Self::Cancel { .. }
            | Self::Proceed { .. }
            | Self::Look { .. }
            | Self::Edit { .. } => None,
        }
    }

    /// Keys of a line go into the line before.
    pub fn press(&mut self, pressed: Pressed) -> Answer {
        let key = pressed.key;
        let enter = key == Key::plain(Code::Enter);
        if key == Key::plain(Code::Esc) || key == ALWAYS_QUIT {
            return Answer::Close;
        }
        if let Self::Type(typing) = self {
            if enter {
                return Answer::Yes;
            }
            typing.input.press(key);
            typing.problem = None;
            return Answer::Nothing;
        }
        let is = |c: char| key == Key::char(c);
        match self {
            Self::Cancel { .. } | Self::Proceed { .. } | Self::Retry { .. } if is('y') => Answer::Yes,
            Self::Approve { .. } if is('R') => Answer::Reject,
            Self::Approve { .. } if is('e') => Answer::Edit,
            Self::Approve { .. } if is('v') => Answer::Look,
            Self::Look { .. } if is('v') => Answer::Yes,
            _ if enter => Answer::Yes,
            _ if is('q') || is('n') => Answer::Close,
            Self::Edit { .. }
            | Self::Look { .. }
            | Self::Proceed { .. }
            | Self::Retry { .. }
            | Self::Approve { .. } => scrolls(key).map_or(Answer::Nothing, Answer::Scroll),
            Self::Cancel { .. } | Self::Type(_) => Answer::Nothing,
        }
    }
}

/// What of a checkpoint can be edited: its outputs as one text, and each artifact.
pub fn editable(checkpoint: &Checkpoint) -> Vec<EditWhat> {
    let outputs = (!checkpoint.outputs.is_empty()).then(|| EditWhat::Outputs(checkpoint.outputs.clone()));
    let artifact = |one: &Artifact| EditWhat::Artifact { name: one.name.clone(), hash: one.hash.clone() };
    outputs.into_iter().chain(checkpoint.artifacts.iter().map(artifact)).collect()
}
