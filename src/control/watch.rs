//! Waking up when something changes in a folder, by inotify: the server learns that its socket was deleted, a client
//! that one has appeared. What has changed is for the caller to look up.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;

/// Without inotify (its limits are a user's, not a process's) a look every few seconds has to do.
const WITHOUT_INOTIFY: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Watch(Option<AsyncFd<Descriptor>>);

#[derive(Debug)]
struct Descriptor(Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// What to be woken by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// An entry of the folder, or the folder itself, goes away.
    Removals,
    /// An entry of the folder appears.
    Arrivals,
    /// The file, or an entry of the folder, is written.
    Writes,
    /// The file itself is touched: somebody knocks.
    Knocks,
}

impl Of {
    fn flags(self) -> AddWatchFlags {
        match self {
            Self::Removals => {
                AddWatchFlags::IN_DELETE
                    | AddWatchFlags::IN_MOVED_FROM
                    | AddWatchFlags::IN_DELETE_SELF
                    | AddWatchFlags::IN_MOVE_SELF
            }
            Self::Arrivals => AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO,
            Self::Writes => AddWatchFlags::IN_MODIFY,
            Self::Knocks => AddWatchFlags::IN_ATTRIB,
        }
    }
}

impl Watch {
    /// To be made inside a tokio runtime.
    pub fn new() -> Self {
        let made = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)
            .map_err(std::io::Error::from)
            .and_then(|inotify| {
                // SAFETY: the descriptor belongs to the value and stays open and the same until that is dropped.
                unsafe { AsyncFd::register(Descriptor(inotify)) }.map_err(|error| error.into_parts().1)
            });
        match made {
            Ok(descriptor) => Self(Some(descriptor)),
            Err(error) => {
                tracing::warn!(%error, "no inotify; files are looked at every few seconds instead");
                Self(None)
            }
        }
    }

    /// Says whether the path can be watched. A second call for one path replaces the first.
    pub fn add(&self, path: &Path, of: &[Of]) -> bool {
        let Some(descriptor) = &self.0 else { return false };
        let flags = of.iter().fold(AddWatchFlags::empty(), |flags, of| flags | of.flags());
        descriptor.get_ref().0.add_watch(path, flags).is_ok()
    }

    /// Waits until something has happened since the last call.
    pub async fn changed(&self) {
        let Some(descriptor) = &self.0 else { return tokio::time::sleep(WITHOUT_INOTIFY).await };
        while let Ok(mut ready) = descriptor.readable().await {
            match descriptor.get_ref().0.read_events() {
                Ok(_) => return,
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(_) => break,
            }
        }
        tokio::time::sleep(WITHOUT_INOTIFY).await;
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn woken(watch: &Watch) -> bool {
        tokio::time::timeout(Duration::from_secs(5), watch.changed()).await.is_ok()
    }

    #[tokio::test]
    async fn wakes_by_what_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let arrivals = Watch::new();
        assert!(arrivals.add(dir.path(), &[Of::Arrivals]));
        let removals = Watch::new();
        assert!(removals.add(dir.path(), &[Of::Removals]));
        let knocks = Watch::new();
        assert!(knocks.add(&file, &[Of::Knocks]));

        std::fs::write(dir.path().join("other"), "y").unwrap();
        assert!(woken(&arrivals).await);
        crate::control::lock::knock(&file).unwrap();
        assert!(woken(&knocks).await);
        std::fs::remove_file(&file).unwrap();
        assert!(woken(&removals).await);
    }
}
