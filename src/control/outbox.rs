//! What waits to be written to one client, bounded in bytes. Filling it never waits: who does not read is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, mpsc};

/// From so many bytes on, what waits is written before more is taken.
const TOGETHER: usize = 64 << 10;

/// Filled by whoever has something to tell the client.
#[derive(Debug, Clone)]
pub(super) struct Outbox {
    lines: mpsc::UnboundedSender<Vec<u8>>,
    state: Arc<State>,
}

/// Emptied by the one task that writes to the socket.
#[derive(Debug)]
pub(super) struct Waiting {
    lines: mpsc::UnboundedReceiver<Vec<u8>>,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    queued: AtomicUsize,
    limit: usize,
    overflow: Notify,
}

pub(super) fn outbox(limit: usize) -> (Outbox, Waiting) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let state = Arc::new(State { queued: AtomicUsize::new(0), limit, overflow: Notify::new() });
    (Outbox { lines: sender, state: Arc::clone(&state) }, Waiting { lines: receiver, state })
}

impl Outbox {
    /// One line may be longer than the limit as long as nothing waits before it.
    pub(super) fn push(&self, line: Vec<u8>) {
        let before = self.state.queued.fetch_add(line.len(), Ordering::Relaxed);
        if before > 0 && before + line.len() > self.state.limit {
            self.state.overflow.notify_one();
            return;
        }
        // The receiver is gone only when the connection is ending.
        self.lines.send(line).ok();
    }

    /// To be woken by an overflow. It does not keep the outbox open.
    pub(super) fn alarm(&self) -> Alarm {
        Alarm(Arc::clone(&self.state))
    }
}

/// Hears that a line did not fit.
#[derive(Debug)]
pub(super) struct Alarm(Arc<State>);

impl Alarm {
    pub(super) async fn rings(&self) {
        self.0.overflow.notified().await;
    }
}

impl Waiting {
    /// The next line, and what waits behind it already: one write, and one wake-up of the client, for all that happened in
    /// one moment. `None` once every [`Outbox`] is gone and everything was taken.
    pub(super) async fn next(&mut self) -> Option<Vec<u8>> {
        let mut lines = self.lines.recv().await?;
        while lines.len() < TOGETHER
            && let Ok(line) = self.lines.try_recv()
        {
            lines.extend_from_slice(&line);
        }
        Some(lines)
    }

    /// The lines that were taken have been written.
    pub(super) fn written(&self, bytes: usize) {
        self.state.queued.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_long_line_fits_and_a_second_does_not() {
        let (sender, mut waiting) = outbox(10);
        sender.push(vec![b'x'; 100]);
        sender.push(vec![b'y'; 1]);
        sender.alarm().rings().await;
        assert_eq!(waiting.next().await.unwrap().len(), 100);
        drop(sender);
        assert_eq!(waiting.next().await, None);
    }

    #[tokio::test]
    async fn what_was_written_makes_room() {
        let (sender, mut waiting) = outbox(10);
        for _ in 0..100 {
            sender.push(vec![b'x'; 6]);
            let line = waiting.next().await.unwrap();
            waiting.written(line.len());
        }
        assert_eq!(sender.state.queued.load(Ordering::Relaxed), 0);
    }
}
