//! What a keeper stands on, made before it takes anything over.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use nix::sys::epoll::{Epoll, EpollCreateFlags};
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::cgroup::Cgroups;
use super::door::{self, Door, Sign};
use super::journal::{Journal, Recovered};
use super::post::Post;
use super::proc;
use super::serve::{DOOR, Places, SIGNALS, add, add_listener};

/// Nanoseconds for which one that follows another tries: whoever was there before has left it everything, and nobody else
/// will look after that.
const PATIENCE: u64 = 60_000_000_000;
const PAUSE_MS: u16 = 100;

pub(crate) struct Ground {
    pub(super) epoll: Epoll,
    pub(super) signals: SignalFd,
    pub(super) door: Door,
    pub(super) journal: Journal,
    pub(super) recovered: Recovered,
    pub(super) cgroups: Option<Cgroups>,
}

impl Ground {
    /// Where something is missing for a moment, descriptors perhaps, one that follows another waits for it.
    pub(crate) fn wait_for(places: &Places, lock: &File, post: Post) -> io::Result<Self> {
        let until = proc::monotonic() + if post.follows { PATIENCE } else { 0 };
        loop {
            match Self::prepare(places, lock, post) {
                Err(_) if proc::monotonic() < until => pause(PAUSE_MS),
                done => return done,
            }
        }
    }

    pub(crate) fn prepare(places: &Places, lock: &File, post: Post) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let signals = SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        // Somebody may have deleted it since.
        std::fs::create_dir_all(&places.data_dir)?;
        let (journal, mut recovered) = Journal::open(&places.data_dir.join("keeper.journal"))?;
        let is_elsewhere = |home: &PathBuf| door::is_elsewhere(home, &places.data_dir);
        if !post.follows && (Sign::is_copied(lock) || recovered.head.home.as_ref().is_some_and(is_elsewhere))
        {
            // It came along with a copy of the folder: what it tells of is another keeper's, or left for the next one there.
            recovered = Recovered::default();
        }
        recovered.head.home = Some(places.data_dir.clone());
        let door = Door::open(&places.runtime_dir, &places.data_dir, lock)?;
        let name =
            places.runtime_dir.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
        let cgroups = if places.use_cgroups { Cgroups::make(&name) } else { None };
        add(&epoll, signals.as_fd(), SIGNALS)?;
        add_listener(&epoll, &door)?;
        add(&epoll, door.watch(), DOOR)?;
        Ok(Self { epoll, signals, door, journal, recovered, cgroups })
    }
}

/// For what there is no event of.
pub(super) fn pause(millis: u16) {
    nix::poll::poll(&mut [], millis).ok();
}
