//! Who writes to the terminal: a thread of its own. A terminal may take nothing for as long as it likes (its window is
//! frozen, its network is gone), and a write to it lasts as long; meanwhile signals and keys are heard all the same. It
//! must not know what is written.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// The way to the thread, which ends with the last of these.
#[derive(Debug, Clone)]
pub struct Writer(Arc<Handle>);

#[derive(Debug)]
struct Handle(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// Some of it is being written.
    is_writing: bool,
    /// What the last write said, until somebody hears it.
    failed: Option<io::Error>,
    /// Nobody will hand over anything any more.
    over: bool,
}

impl Writer {
    pub fn start(mut out: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        std::thread::Builder::new().name("restage-screen".into()).spawn(move || own.run(&mut out))?;
        Ok(Self(Arc::new(Handle(shared))))
    }

    /// Hands over, without waiting. An error is that of an earlier write.
    pub fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let shared = &self.0.0;
        let mut state = shared.lock();
        state.waiting.extend_from_slice(bytes);
        shared.changed.notify_all();
        state.failed.take().map_or(Ok(()), Err)
    }

    /// All that was handed over has been written.
    pub fn is_free(&self) -> bool {
        self.0.0.lock().is_free()
    }

    /// Waits until it may be free; to be asked again.
    pub async fn freed(&self) {
        self.0.0.freed.notified().await;
    }

    /// Waits for that on the spot; false where it takes longer.
    pub fn drain(&self, patience: Duration) -> bool {
        let shared = &self.0.0;
        let outcome = shared.changed.wait_timeout_while(shared.lock(), patience, |state| !state.is_free());
        outcome.unwrap_or_else(PoisonError::into_inner).0.is_free()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.lock().over = true;
        self.0.changed.notify_all();
    }
}

impl State {
    fn is_free(&self) -> bool {
        self.waiting.is_empty() && !self.is_writing
    }
}

impl Shared {
    fn run(&self, out: &mut impl Write) {
        let mut bytes = Vec::new();
        loop {
            {
                let state = self.lock();
                let waits = |state: &mut State| state.waiting.is_empty() && !state.over;
                let waited = self.changed.wait_while(state, waits);
                let mut state = waited.unwrap_or_else(PoisonError::into_inner);
                if state.waiting.is_empty() {
                    return;
                }
                std::mem::swap(&mut bytes, &mut state.waiting);
                state.is_writing = true;
            }
            let written = out.write_all(&bytes).and_then(|()| out.flush());
            bytes.clear();
            let mut state = self.lock();
            state.is_writing = false;
            state.failed = written.err();
            drop(state);
            self.changed.notify_all();
            self.freed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held, and it is whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    /// Takes a write only when told to, and says what came.
    struct Gate(mpsc::Receiver<()>, mpsc::Sender<Vec<u8>>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().map_err(|_| io::Error::other("there is no terminal any more"))?;
            self.1.send(bytes.to_vec()).ok();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_terminal_that_takes_nothing_keeps_nobody() {
        let (open, gate) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let writer = Writer::start(Gate(gate, tell)).unwrap();
        assert!(writer.is_free());
        writer.write(b"one").unwrap();
        assert!(!writer.is_free() && !writer.drain(Duration::from_millis(1)));
        open.send(()).unwrap();
        assert_eq!(told.recv_timeout(SOON).unwrap(), b"one");
        assert!(writer.drain(SOON));
        writer.write(b"two, ").unwrap();
        open.send(()).unwrap();
        assert!(writer.drain(SOON));
        // One that is gone is told with the next one.
        drop(open);
        writer.write(b"three").unwrap();
        assert!(writer.drain(SOON));
        assert!(writer.write(b"four").is_err());
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let (open, gate) = mpsc::channel();
        let writer = Writer::start(Gate(gate, mpsc::channel().0)).unwrap();
        writer.write(b"one").unwrap();
        open.send(()).unwrap();
        while !writer.is_free() {
            tokio::time::timeout(SOON, writer.freed()).await.unwrap();
        }
    }
}
