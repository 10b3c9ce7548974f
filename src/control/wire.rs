//! What supervisor and clients say to one another: one JSON object a line.
//!
//! ```text
//! → {"hello":{"version":1}}
//! ← {"welcome":{"version":1,"supervisor_pid":4242,"workspace":"/home/me/film","headless":false}}
//! → {"ask":{"id":1,"what":{"start":{"names":["agent"]}}}}
//! → {"ask":{"id":2,"what":"subscribe"}}
//! ← {"answer":{"id":2,"with":"done"}}
//! ← {"update":{"notice":{"at":"…","runner":"agent","event":"started","attempt":1,"pid":4711}}}
//! ← {"answer":{"id":1,"with":{"runners":[…]}}}
//! ```
//!
//! Answers carry the id of their request and come in any order. It knows nothing of sockets.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::flow::ask::{FlowReply, FlowRequest};
use crate::domain::flow::refusal::Refusal;
use crate::domain::ids::RunnerName;
use crate::domain::view::{RunnerView, Snapshot, Update};
use crate::supervisor::handle::{Reply, Request, RequestError, Shutdown};

/// Both sides must speak the same; another version is refused with a sentence that says so.
pub const VERSION: u32 = 1;

/// Nearly every line of a client is much shorter. Longer ones are read one after the other.
pub const USUAL_CLIENT_LINE: usize = 1 << 20;

/// A client that sends a longer line is not one of ours: the inputs of a run may have 64 MiB, and there is something
/// around them.
pub const MAX_CLIENT_LINE: usize = 65 << 20;

/// The longest line that a client takes: a snapshot of a few thousand runners with their attempts.
pub const MAX_SERVER_LINE: usize = 64 << 20;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientLine {
    /// The first line.
    Hello {
        version: u32,
    },
    Ask {
        id: u64,
        what: Command,
    },
}

/// What a client may ask. An empty list of names means every runner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    Start {
        names: Vec<RunnerName>,
    },
    Stop {
        names: Vec<RunnerName>,
    },
    Restart {
        names: Vec<RunnerName>,
    },
    Kill {
        names: Vec<RunnerName>,
    },
    Snapshot {
        #[serde(default)]
        figures: bool,
    },
    /// What a person typed into the terminal of a runner.
    Input {
        name: RunnerName,
        text: String,
    },
    /// That terminal is shown at this size now.
    Resize {
        name: RunnerName,
        rows: u16,
        cols: u16,
    },
    Reload,
    Shutdown {
        how: Shutdown,
    },
    /// Of runs and checkpoints.
    Flow(Box<FlowRequest>),
    /// From now on every change is told. Subscribe first, then ask for a snapshot: nothing falls in between.
    Subscribe,
    /// The same without what only a screen makes use of.
    SubscribeToWords,
}

impl Command {
    /// The request that the supervisor understands; `None` for what the server does by itself.
    pub fn into_request(self) -> Option<Request> {
        Some(match self {
            Self::Start { names } => Request::Start { names },
            Self::Stop { names } => Request::Stop { names },
            Self::Restart { names } => Request::Restart { names },
            Self::Kill { names } => Request::Kill { names },
            Self::Snapshot { figures } => Request::Snapshot { figures },
            Self::Input { name, text } => Request::Input { name, text },
            Self::Resize { name, rows, cols } => Request::Resize { name, rows, cols },
            Self::Reload => Request::Reload,
            Self::Shutdown { how } => Request::Shutdown { how },
            Self::Flow(_) | Self::Subscribe | Self::SubscribeToWords => return None,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerLine {
    Welcome(Welcome),
    /// The connection ends after this line.
    Refused {
        why: String,
    },
    Answer {
        id: u64,
        with: Answer,
    },
    Update(Update),
    /// Nothing is read any more, and all that was read is answered: what has no answer was never taken.
    Ending,
    /// This many changes were missed: a fresh snapshot is needed.
    Lagged {
        missed: u64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    pub version: u32,
    pub supervisor_pid: i32,
    pub workspace: PathBuf,
    pub headless: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The request was taken up; these are the runners as they are now.
    Runners(Vec<Arc<RunnerView>>),
    Snapshot(Box<Snapshot>),
    Flow(Box<FlowReply>),
    Done,
    Error(Failure),
    /// What a request about runs came to, where it was refused.
    Refused(Box<Refusal>),
}

impl From<Result<Reply, RequestError>> for Answer {
    fn from(result: Result<Reply, RequestError>) -> Self {
        match result {
            Ok(Reply::Runners(runners)) => Self::Runners(runners),
            Ok(Reply::Snapshot(snapshot)) => Self::Snapshot(snapshot),
            Ok(Reply::Done) => Self::Done,
            Err(error) => Self::Error(Failure::from(&error)),
        }
    }
}

impl From<Result<FlowReply, Refusal>> for Answer {
    fn from(result: Result<FlowReply, Refusal>) -> Self {
        match result {
            Ok(reply) => Self::Flow(Box::new(reply)),
            Err(refusal) => Self::Refused(Box::new(refusal)),
        }
    }
}

/// Why a request was not taken up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub kind: FailureKind,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    UnknownRunner,
    NoTerminal,
    Config,
    Ending,
}

impl From<&RequestError> for Failure {
    fn from(error: &RequestError) -> Self {
        let kind = match error {
            RequestError::UnknownRunner { .. } => FailureKind::UnknownRunner,
            RequestError::NoTerminal { .. } => FailureKind::NoTerminal,
            RequestError::Config { .. } => FailureKind::Config,
            RequestError::Ending => FailureKind::Ending,
        };
        Self { kind, message: error.to_string() }
    }
}

/// One line with its newline.
pub fn encode(line: &impl Serialize) -> Vec<u8> {
    match serde_json::to_vec(line) {
        Ok(mut bytes) => {
            bytes.push(b'\n');
            bytes
        }
        // Every type above serialises; a value that does not is left out rather than sent in halves.
        Err(error) => {
            tracing::error!(%error, "encode a line of the client protocol");
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_look_as_documented() {
        let hello = ClientLine::Hello { version: 1 };
        assert_eq!(serde_json::to_string(&hello).unwrap(), r#"{"hello":{"version":1}}"#);
        let start = ClientLine::Ask {
            id: 1,
            what: Command::Start { names: vec![RunnerName::parse("agent").unwrap()] },
        };
        assert_eq!(
            serde_json::to_string(&start).unwrap(),
            r#"{"ask":{"id":1,"what":{"start":{"names":["agent"]}}}}"#
        );
        let subscribe = ClientLine::Ask { id: 2, what: Command::Subscribe };
        assert_eq!(serde_json::to_string(&subscribe).unwrap(), r#"{"ask":{"id":2,"what":"subscribe"}}"#);
        let done = ServerLine::Answer { id: 2, with: Answer::Done };
        assert_eq!(serde_json::to_string(&done).unwrap(), r#"{"answer":{"id":2,"with":"done"}}"#);
    }

    #[test]
    fn a_failure_keeps_its_kind_and_its_sentence() {
        let error = RequestError::UnknownRunner { names: vec!["x".into()], known: vec!["a".into()] };
        let Answer::Error(failure) = Answer::from(Err(error)) else { panic!("an error") };
        assert_eq!(failure.kind, FailureKind::UnknownRunner);
        assert_eq!(failure.message, "no runner is called x; there are: a");
    }
}
