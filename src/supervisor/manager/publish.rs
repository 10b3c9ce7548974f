//! What everybody who listens is told. Where nobody listens, nothing is built.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::roster::Id;
use super::{Link, Mode, RunnerManager, Update};
use crate::domain::ids::RunnerName;
use crate::domain::time::Now;
use crate::domain::view::{BudgetView, FleetView, Notice, NoticeKind, RunnerView, Snapshot};

impl RunnerManager {
    fn send(&self, update: impl FnOnce() -> Update) {
        if self.updates.receiver_count() > self.word_readers.load(Ordering::Relaxed) {
            // The last listener may leave in between.
            self.updates.send(update()).ok();
        }
    }

    pub(super) fn publish_runner(&self, id: Id, now: &Now) {
        if let Some(entry) = self.roster.get(id).filter(|entry| entry.guest.is_none()) {
            self.send(|| Update::Runner(Arc::new(entry.runner.to_view(&entry.spec, now))));
        }
    }

    pub(super) fn publish_removed(&self, name: RunnerName) {
        if !name.is_guest() {
            self.send(|| Update::Removed(name));
        }
    }

    pub(super) fn publish_fleet(&self) {
        let now = self.clock.now();
        self.send(|| Update::Fleet(Arc::new(self.fleet(&now))));
    }

    pub(super) fn notice(&self, runner: Option<RunnerName>, what: NoticeKind) {
        if let Some(guest) = runner.as_ref().filter(|name| name.is_guest()) {
            // What clients read of guests comes from the flow engine.
            return tracing::warn!(%guest, ?what);
        }
        let at = self.clock.now().wall;
        if self.updates.receiver_count() > 0 {
            // The last listener may leave in between.
            self.updates.send(Update::Notice(Arc::new(Notice { at, runner, what }))).ok();
        }
    }

    pub(super) fn info(&self, text: String) {
        self.notice(None, NoticeKind::Info { text });
    }

    pub(super) fn warn(&self, runner: Option<RunnerName>, text: String) {
        self.notice(runner, NoticeKind::Warning { text });
    }

    fn fleet(&self, now: &Now) -> FleetView {
        FleetView {
            supervisor_pid: i32::try_from(std::process::id()).unwrap_or(0),
            started_at: self.started_at,
            headless: self.options.mode == Mode::Headless,
            budget: self.budget.as_ref().map(|window| BudgetView {
                used: window.used(now.mono),
                max: window.budget().max,
                per_seconds: window.budget().per.as_secs(),
            }),
            config_error: self.config_error.clone(),
            keeper_trouble: match &self.link {
                Link::Connected => None,
                Link::Awaited { why: None } => Some("the keeper has not answered yet".into()),
                Link::Awaited { why: Some(why) } | Link::Lost { why } => Some(why.clone()),
            },
        }
    }

    pub(super) fn view(&self, id: Id, now: &Now) -> Option<Arc<RunnerView>> {
        self.roster.get(id).map(|entry| Arc::new(entry.runner.to_view(&entry.spec, now)))
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let now = self.clock.now();
        Snapshot {
            workspace: self.workspace.root.clone(),
            at: now.wall,
            fleet: self.fleet(&now),
            runners: self
                .roster
                .iter()
                .map(|entry| Arc::new(entry.runner.to_view(&entry.spec, &now)))
                .collect(),
        }
    }
}
