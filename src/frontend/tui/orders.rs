//! What may be asked of a runner now, and what asks back first. Pure; the one place that knows both.

use super::event::{Cmd, Order};
use super::model::Model;
use crate::domain::ids::RunnerName;
use crate::domain::view::{RunnerStatus, RunnerView};

/// Whether the order would change anything.
pub(super) fn applies(order: Order, status: RunnerStatus) -> bool {
    use RunnerStatus::{Backoff, Completed, Crashed, Idle, Running, Starting, Stopped, Stopping, Stuck};
    match (order, status) {
        (Order::Start, Idle | Backoff | Stopped | Crashed | Completed)
        | (Order::Stop, Starting | Running | Backoff)
        | (Order::Restart, Idle | Starting | Running | Backoff | Stopped | Crashed | Completed)
        | (Order::Kill, Starting | Running | Stopping | Stuck) => true,
        (Order::Start, Starting | Running | Stopping | Stuck)
        | (Order::Stop, Idle | Stopping | Stopped | Crashed | Completed | Stuck)
        | (Order::Restart, Stopping | Stuck)
        | (Order::Kill, Idle | Backoff | Stopped | Crashed | Completed) => false,
    }
}

/// Whether it would end a process that lives, so that a person is asked first.
pub(super) fn destroys(order: Order, status: RunnerStatus) -> bool {
    let lives = matches!(
        status,
        RunnerStatus::Starting | RunnerStatus::Running | RunnerStatus::Stopping | RunnerStatus::Stuck
    );
    order != Order::Start && lives
}

impl Model {
    /// Those of them that the order applies to now, and that wait for no answer.
    pub fn orderable(&self, order: Order, names: &[RunnerName]) -> Vec<RunnerName> {
        let now = |name: &&RunnerName| self.fleet.get(name).is_some_and(|view| self.may(order, view));
        names.iter().filter(now).cloned().collect()
    }

    pub fn may(&self, order: Order, view: &RunnerView) -> bool {
        self.is_connected() && !self.pending.contains_key(&view.name) && applies(order, view.status)
    }

    /// Makes the request, and remembers it until it is answered.
    pub fn order(&mut self, order: Order, names: &[RunnerName]) -> Vec<Cmd> {
        let names = self.orderable(order, names);
        if names.is_empty() {
            return Vec::new();
        }
        for name in &names {
            self.pending.insert(name.clone(), order);
        }
        vec![Cmd::Order(order, names)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_is_not_asked_again() {
        assert!(!applies(Order::Stop, RunnerStatus::Stopping));
        assert!(!applies(Order::Restart, RunnerStatus::Stopping));
        assert!(!applies(Order::Start, RunnerStatus::Starting));
        // But a stop that takes too long can be cut short.
        assert!(applies(Order::Kill, RunnerStatus::Stopping));
    }

    #[test]
    fn cancelling_a_retry_asks_nothing_back() {
        assert!(applies(Order::Stop, RunnerStatus::Backoff));
        assert!(!destroys(Order::Stop, RunnerStatus::Backoff));
        assert!(destroys(Order::Restart, RunnerStatus::Running));
    }
}
