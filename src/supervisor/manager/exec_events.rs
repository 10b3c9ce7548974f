//! What the executor tells, in its order, with a look ahead: what belongs together is taken together.

use tokio::sync::mpsc::UnboundedReceiver;

use crate::domain::ids::AttemptId;
use crate::ports::ExecEvent;

pub(super) struct ExecEvents {
    queue: UnboundedReceiver<ExecEvent>,
    /// Taken out of the queue and not handled yet.
    ahead: Option<ExecEvent>,
}

impl ExecEvents {
    pub(super) const fn new(queue: UnboundedReceiver<ExecEvent>) -> Self {
        Self { queue, ahead: None }
    }

    /// May be dropped at any time: nothing is lost.
    pub(super) async fn recv(&mut self) -> Option<ExecEvent> {
        match self.ahead.take() {
            Some(event) => Some(event),
            None => self.queue.recv().await,
        }
    }

    /// Takes the next event if it is there already and says that this attempt is gone.
    pub(super) fn take_gone(&mut self, attempt: &AttemptId) -> bool {
        if self.ahead.is_none() {
            self.ahead = self.queue.try_recv().ok();
        }
        let is_gone = matches!(&self.ahead, Some(ExecEvent::Gone { id }) if id == attempt);
        if is_gone {
            self.ahead = None;
        }
        is_gone
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::domain::ids::{Attempt, RunnerName};

    #[tokio::test]
    async fn only_what_belongs_to_it_is_taken_and_the_order_stays() {
        let id = |name| AttemptId { runner: RunnerName::trusted(name), attempt: Attempt::FIRST };
        let gone = |name| ExecEvent::Gone { id: id(name) };
        let (tell, queue) = unbounded_channel();
        let mut events = ExecEvents::new(queue);
        assert!(!events.take_gone(&id("a")));
        for name in ["a", "b"] {
            tell.send(gone(name)).unwrap();
        }
        assert!(!events.take_gone(&id("b")));
        assert_eq!(events.recv().await, Some(gone("a")));
        assert!(events.take_gone(&id("b")));
        drop(tell);
        assert_eq!(events.recv().await, None);
    }
}
