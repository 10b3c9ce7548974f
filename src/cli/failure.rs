//! What goes wrong in a verb, as it is told: the act, the thing and the cause in one line, the way out in a second one;
//! or the same as one JSON object.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use super::exit::Exit;
use super::output;
use crate::control::client::ClientError;
use crate::control::wire::FailureKind;
use crate::domain::flow::ask::{EditWish, FlowRequest, ForkWish, RetryWish};
use crate::domain::flow::ids::RunId;
use crate::domain::flow::refusal::Refusal;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// It names the thing, too: `stop agent`.
    pub act: String,
    /// `no runner is called agent`
    pub cause: String,
    pub hint: Option<String>,
    pub exit: Exit,
}

impl Failure {
    /// `act` names the thing, too: `read config.json`.
    pub fn new(exit: Exit, act: impl fmt::Display, cause: impl fmt::Display) -> Self {
        Self { act: act.to_string(), cause: cause.to_string(), hint: None, exit }
    }

    /// `stop agent: no runner is called agent`
    pub fn message(&self) -> String {
        format!("{}: {}", self.act, self.cause)
    }

    /// `{"error":{"act":"stop agent","message":"no runner is called agent","hint":"…","exit":3}}`
    pub fn json(&self) -> String {
        let Self { act, cause, hint, exit } = self;
        serde_json::json!({
            "error": { "act": act, "message": cause, "hint": hint, "exit": exit.code() }
        })
        .to_string()
    }

    pub fn tell(&self, json: bool) {
        output::remark(&if json { self.json() } else { self.to_string() });
    }

    /// An act that the system refused.
    pub fn io(act: impl fmt::Display, cause: &io::Error) -> Self {
        let failure = Self::new(Exit::Failed, act, cause);
        match cause.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => failure.hint("allow more open files: `ulimit -n 1024`"),
            Some(libc::ENOSPC | libc::EDQUOT) => failure.hint("make room on that disk; `df` shows it"),
            Some(libc::EACCES | libc::EPERM | libc::EROFS) => {
                failure.hint("it has to be writable for you; `restage doctor` looks at the folders")
            }
            Some(_) | None => failure,
        }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What the flow engine does not do, with the way out.
    pub fn of_refusal(act: impl fmt::Display, refusal: &Refusal) -> Self {
        let failure = Self::new(Exit::Code(refusal.code()), act, refusal);
        let hint = refusal.hint();
        if hint.is_empty() { failure } else { failure.hint(hint) }
    }

    /// What came of a request about runs. A connection that ends before the answer leaves open whether it was carried out.
    pub fn of_request(act: impl fmt::Display, request: &FlowRequest, error: &ClientError) -> Self {
        match (error, seen_by(request)) {
            (ClientError::Gone, Some(verb)) => {
                let cause = "the connection to the supervisor ended before it answered, so that it may or may not \
                             have been done";
                Self::new(Exit::Failed, act, cause).hint(format!("look before you try again: {verb}"))
            }
            (error, _) => Self::of_client(act, error),
        }
    }

    /// What the supervisor, or the way to it, has said to a request.
    pub fn of_client(act: impl fmt::Display, error: &ClientError) -> Self {
        let (exit, hint) = match error {
            ClientError::Failed(failure) => match failure.kind {
                FailureKind::UnknownRunner => (Exit::Nothing, "`restage status` lists the names"),
                FailureKind::NoTerminal => (Exit::Nothing, "`restage status` tells what it is doing"),
                FailureKind::Config => (Exit::Usage, "`restage check` tells all that is wrong with it"),
                FailureKind::Ending => (Exit::Nothing, "`restage up` starts it again once it has ended"),
            },
            ClientError::TooLong { .. } => {
                (Exit::Usage, "write large things to a file, and give its path or make it an artifact")
            }
            ClientError::Declined(refusal) => return Self::of_refusal(act, refusal),
            ClientError::Refused(_) | ClientError::Nonsense(_) => {
                (Exit::Failed, "use the restage that started the supervisor, or end it with `restage down`")
            }
            ClientError::Connect { .. } | ClientError::Silent(_) | ClientError::Gone => (
                Exit::Failed,
                "`restage status` tells whether one is there; `restage doctor` looks for causes",
            ),
        };
        Self::new(exit, act, error).hint(hint)
    }
}

/// Where it can be seen whether a request has been carried out; `None` for one that only looks.
fn seen_by(request: &FlowRequest) -> Option<String> {
    let shown = |run: &RunId| format!("restage show {run}");
    Some(match request {
        FlowRequest::Run(wish) => format!("restage runs {}", wish.flow),
        FlowRequest::Retry(RetryWish { run, dry_run: false, .. }) => format!("restage lineage {run}"),
        FlowRequest::Continue(wish) => format!("restage show {run}; restage lineage {run}", run = wish.run),
        FlowRequest::Cancel { run } | FlowRequest::Unlock { run } => shown(run),
        FlowRequest::Approve(wish) => shown(&wish.run),
        FlowRequest::Reject(wish) => shown(&wish.run),
        FlowRequest::Edit(EditWish { run, .. }) | FlowRequest::Fork(ForkWish { run, .. }) => {
            format!("restage checkpoints {run}")
        }
        FlowRequest::Delete { .. } => "restage runs".into(),
        FlowRequest::Retry(RetryWish { dry_run: true, .. })
        | FlowRequest::Show { .. }
        | FlowRequest::Glance { .. }
        | FlowRequest::Runs(_)
        | FlowRequest::Links { .. }
        | FlowRequest::Checkpoints { .. }
        | FlowRequest::Can { .. }
        | FlowRequest::Gc { .. } => return None,
    })
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "restage: {}", self.message())?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// What a verb comes to.
pub type Outcome = Result<Exit, Failure>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_ends_before_the_answer_leaves_open_what_was_done() {
        let told =
            |request: &FlowRequest| Failure::of_request("act", request, &ClientError::Gone).to_string();
        let run = RunId::trusted("v-1");
        let cancel = told(&FlowRequest::Cancel { run: run.clone() });
        assert!(cancel.contains("may or may not have been done"), "{cancel}");
        assert!(cancel.contains("hint: look before you try again: restage show v-1"), "{cancel}");
        let look = told(&FlowRequest::Show { run });
        assert!(look.contains("restage status") && !look.contains("may not"), "{look}");
    }
}
