//! Short messages that come up in a corner and go by themselves; and what is worth one. Pure.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::theme::Ink;
use crate::domain::flow::ids::RunId;
use crate::domain::ids::RunnerName;
use crate::domain::verdict::Verdict;
use crate::domain::view::{Notice, NoticeKind};
use crate::frontend::text::one_line;

/// More at once would hide the screen.
const MOST: usize = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toast {
    /// A newer one about the same runner takes its place, unless it weighs less.
    about: Option<RunnerName>,
    pub ink: Ink,
    pub text: String,
    pub until: Timestamp,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Toasts {
    /// The newest last.
    shown: Vec<Toast>,
    /// Pushed out by newer ones, since the last time that there was none.
    pub more: usize,
    /// Runners that were running already when the supervisor came, told in one.
    adopted: usize,
}

impl Toasts {
    pub fn shown(&self) -> &[Toast] {
        &self.shown
    }

    pub fn push(&mut self, ink: Ink, text: String, now: Timestamp) {
        self.push_about(None, ink, text, now);
    }

    fn push_about(&mut self, about: Option<RunnerName>, ink: Ink, text: String, now: Timestamp) {
        let seconds = if ink == Ink::Bad {
            12
        } else if ink == Ink::Waiting {
            8
        } else {
            5
        };
        let until = now.checked_add(Duration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
        // What a runner does over and over again is told once: by its last word, unless an earlier one was graver.
        let replaced = |toast: &Toast| about.is_some() && toast.about == about && toast.ink != Ink::Bad;
        self.shown.retain(|toast| toast.text != text && !replaced(toast));
        self.shown.push(Toast { about, ink, text, until });
        if self.shown.len() > MOST {
            self.shown.remove(0);
            self.more += 1;
        }
    }

    /// About a run: a newer one about the same run takes its place, as with runners.
    pub fn push_run(&mut self, run: &RunId, ink: Ink, text: String, now: Timestamp) {
        self.push_about(Some(RunnerName::trusted(run.as_str())), ink, text, now);
    }

    /// A notice as a toast, where it is worth one; and the sentence that a person should be told even outside of the
    /// terminal.
    pub fn take(&mut self, notice: &Notice, now: Timestamp) -> Option<Arc<str>> {
        if let NoticeKind::Adopted { .. } = notice.what {
            self.adopted += 1;
            self.shown.retain(|toast| !toast.text.starts_with(ADOPTED));
            let runners = if self.adopted == 1 { "runner" } else { "runners" };
            let text = format!("{ADOPTED} {} {runners}: running already, and going on", self.adopted);
            self.push(Ink::Good, text, now);
            return None;
        }
        let ink = ink(&notice.what)?;
        let text = one_line(&notice.to_string());
        self.push_about(notice.runner.clone(), ink, text.clone(), now);
        needs_a_person(&notice.what).then(|| text.into())
    }

    /// Those whose time is over go. Says whether any did.
    pub fn expire(&mut self, now: Timestamp) -> bool {
        let before = self.shown.len();
        self.shown.retain(|toast| toast.until > now);
        if self.shown.is_empty() {
            (self.more, self.adopted) = (0, 0);
        }
        self.shown.len() < before
    }

    pub fn next_end(&self) -> Option<Timestamp> {
        self.shown.iter().map(|toast| toast.until).min()
    }

    /// Says whether there were any.
    pub fn dismiss(&mut self) -> bool {
        let any = !self.shown.is_empty();
        *self = Self::default();
        any
    }
}

const ADOPTED: &str = "Adopted";

fn ink(what: &NoticeKind) -> Option<Ink> {
    match what {
        NoticeKind::Ended { outcome, .. } => match outcome.verdict {
            Verdict::Completed | Verdict::Stopped => None,
            Verdict::Exit
            | Verdict::Signal
            | Verdict::Inactive
            | Verdict::TimedOut
            | Verdict::Unhealthy
            | Verdict::SpawnFailed
            | Verdict::Lost => Some(Ink::Waiting),
        },
        NoticeKind::Exhausted { .. } | NoticeKind::GaveUp { .. } | NoticeKind::Stuck { .. } => Some(Ink::Bad),
        NoticeKind::Waiting { .. } | NoticeKind::Warning { .. } => Some(Ink::Waiting),
        NoticeKind::Recovered { .. } => Some(Ink::Good),
        NoticeKind::RetryCancelled | NoticeKind::Removed | NoticeKind::Info { .. } => Some(Ink::Text),
        // The table shows these as they happen.
        NoticeKind::Started { .. }
        | NoticeKind::Adopted { .. }
        | NoticeKind::Ready
        | NoticeKind::Ending { .. }
        | NoticeKind::Retrying { .. } => None,
    }
}

fn needs_a_person(what: &NoticeKind) -> bool {
    matches!(
        what,
        NoticeKind::Exhausted { .. }
            | NoticeKind::GaveUp { .. }
            | NoticeKind::Stuck { .. }
            | NoticeKind::Waiting { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{ago, name, now, outcome};
    use super::*;
    use crate::domain::ids::Attempt;

    fn notice(what: NoticeKind) -> Notice {
        Notice { at: now(), runner: Some(name("agent")), what }
    }

    #[test]
    fn the_exhausted_ring_and_crashes_do_not() {
        let mut toasts = Toasts::default();
        let crash = NoticeKind::Ended { attempt: Attempt::FIRST, outcome: outcome(Verdict::Exit, Some(1)) };
        assert_eq!(toasts.take(&notice(crash.clone()), now()), None);
        let rung = toasts.take(&notice(NoticeKind::Exhausted { max_retries: 3 }), now());
        assert_eq!(rung.as_deref(), Some("Max retries (3) reached for agent"));
        assert_eq!(toasts.take(&notice(NoticeKind::Ready), now()), None);
        assert_eq!(toasts.take(&notice(crash), now()), None);
        // The crash took the place of the crash; the exhaustion stays.
        assert_eq!(toasts.shown().len(), 2);
    }

    #[test]
    fn they_go_by_themselves_and_never_pile_up() {
        let mut toasts = Toasts::default();
        for number in 0..10 {
            toasts.push(Ink::Text, format!("{number}"), now());
        }
        assert_eq!((toasts.shown().len(), toasts.more), (MOST, 6));
        assert!(!toasts.expire(now()));
        assert!(toasts.expire(ago(-60)));
        assert_eq!(toasts, Toasts::default());
    }

    #[test]
    fn many_adoptions_are_one_toast() {
        let mut toasts = Toasts::default();
        for _ in 0..300 {
            toasts.take(&notice(NoticeKind::Adopted { attempt: Attempt::FIRST, pid: 1 }), now());
        }
        assert_eq!(toasts.shown().len(), 1);
        assert_eq!(toasts.shown()[0].text, "Adopted 300 runners: running already, and going on");
    }
}
