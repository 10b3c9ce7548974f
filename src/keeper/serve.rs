//! The keeper's loop: one epoll over signals, socket and pidfds; every wait has a deadline, no call blocks.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signalfd::SignalFd;

use super::cgroup::{self, Cgroups};
use super::conn::Conn;
use super::door::Door;
use super::ends::Due;
use super::footprint;
use super::ground::Ground;
use super::journal::{Head, Journal, Record, Recovered};
use super::launch::Inheritance;
use super::post::{End, Post};
use super::proc;
use super::spares::Spares;
use super::successor::Successor;
use super::tree::{Ending, Tree, born_unseen};
use super::wire::{Exit, Policy, Report};

/// Where things lie; made by the guard.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) data_dir: PathBuf,
    pub(crate) runtime_dir: PathBuf,
    pub(crate) use_cgroups: bool,
}

/// A start with all its first spawns is over by then.
pub(super) const SETTLED_AFTER: u64 = 4_000_000_000;

pub(super) const SIGNALS: u64 = 0;
const LISTENER: u64 = 1;
pub(super) const CONN: u64 = 2;
pub(super) const SUPERVISOR: u64 = 3;
pub(super) const DOOR: u64 = 4;
pub(super) const CALLER: u64 = 5;
/// With the pid in the lower half: the end of a process that is not our child.
const FOREIGN: u64 = 1 << 32;

#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts of the one loop, not a state in disguise"
)]
pub(crate) struct Keeper {
    pub(super) epoll: Epoll,
    signals: SignalFd,
    pub(super) door: Door,
    pub(super) conn: Option<Conn>,
    /// Has connected and not said yet who it is. It takes the line over only once its hello is accepted; a newer one takes
    /// its place.
    pub(super) caller: Option<Conn>,
    pub(super) conn_writes: bool,
    /// The supervisor; with what its death is noticed by, where there was a descriptor for it.
    pub(super) supervisor: Option<(i32, Option<OwnedFd>)>,
    pub(super) successor: Successor,
    pub(super) inheritance: Inheritance,
    pub(super) journal: Journal,
    pub(super) head: Head,
    pub(super) cgroups: Option<Cgroups>,
    pub(super) post: Post,
    pub(super) policy: Policy,
    pub(super) goodbye: bool,
    /// Everything is being stopped for good: nothing is spawned any more.
    pub(super) ending: bool,
    /// Boxed, so that the gaps of the map are small.
    pub(super) trees: BTreeMap<Rc<str>, Box<Tree>>,
    pub(super) mains: HashMap<i32, Rc<str>>,
    pub(super) relays: HashMap<i32, Rc<str>>,
    /// Relays of attempts whose leftovers live on.
    pub(super) loose_relays: HashSet<i32>,
    /// Ended, not acknowledged, in order.
    pub(super) exits: BTreeMap<u64, Exit>,
    /// When what starting needed is given back.
    pub(super) settles_at: Option<u64>,
    /// For the next spawn.
    pub(super) spares: Spares,
    /// Where the log of the last spawn lies.
    pub(super) log_dir: Option<PathBuf>,
    /// To be removed when there is time.
    pub(super) empty_cgroups: Vec<PathBuf>,
    /// When there is time at the latest.
    pub(super) tidies_at: Option<u64>,
    /// When to look at what there was no descriptor to watch.
    pub(super) looks_at: Option<u64>,
    /// Since when the supervisor has been told nothing, while there is something to tell.
    pub(super) flushed: u64,
    /// A child that is nobody's main process has ended since the last look.
    pub(super) orphan_ended: bool,
    /// What the events of one round lead to, carried out together at its end.
    pub(super) due: Due,
}

/// Runs until nothing is left to do, or until there is a moment to get a guard.
pub(crate) fn serve(
    places: &Places,
    inheritance: Inheritance,
    lock: &File,
    post: Post,
    ready: impl FnOnce(),
) -> io::Result<End> {
    let ground = Ground::wait_for(places, lock, post)?;
    let mut keeper = Keeper::start(ground, inheritance, post);
    ready();
    let done = keeper.run();
    if let Some(cgroups) = &keeper.cgroups {
        cgroups.remove_base();
    }
    keeper.door.close();
    done?;
    if keeper.is_done() {
        return Ok(End::Done);
    }
    Ok(End::GivesWay((keeper.inheritance, keeper.door.into_lock())))
}

impl Keeper {
    pub(super) fn start(ground: Ground, inheritance: Inheritance, post: Post) -> Self {
        let Ground { epoll, signals, door, journal, recovered, cgroups } = ground;
        let mut keeper = Self {
            epoll,
            signals,
            door,
            conn: None,
            caller: None,
            conn_writes: false,
            supervisor: None,
            successor: Successor::new(proc::monotonic()),
            inheritance,
            journal,
            head: Head::default(),
            cgroups,
            post,
            policy: Policy::Keep,
            goodbye: false,
            ending: false,
            trees: BTreeMap::new(),
            mains: HashMap::new(),
            relays: HashMap::new(),
            loose_relays: HashSet::new(),
            exits: BTreeMap::new(),
            settles_at: Some(proc::monotonic() + SETTLED_AFTER),
            spares: Spares::default(),
            log_dir: None,
            empty_cgroups: Vec::new(),
            tidies_at: None,
            looks_at: None,
            flushed: 0,
            orphan_ended: false,
            due: Due::default(),
        };
        keeper.inherit(recovered);
        keeper
    }

    /// Takes over what an earlier keeper of this boot left: its processes, the ends that nobody acknowledged.
    fn inherit(&mut self, told: Recovered) {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot_id = boot_id.trim().to_owned();
        let same_boot = told.head.boot_id == boot_id;
        self.head = Head { boot_id, ..told.head };
        self.policy = self.head.policy.unwrap_or(Policy::Keep);
        self.exits = told.exits.into_iter().map(|exit| (exit.seq, exit)).collect();
        if same_boot {
            let unseen = born_unseen(&told.known);
            // Its children are ours, also those that have ended: who is not among them was never born, and whoever ordered
            // it orders it again.
            let inherits = self.post.follows && self.post.guard.is_none();
            let sees_all =
                inherits && unseen.all_children && self.inheritance.token_fits() && told.damaged == 0;
            let found = told.known.iter().filter_map(|known| {
                let main = known.process.or_else(|| unseen.mains.get(&known.intent.token).copied());
                if main.is_none() && sees_all && !known.main_ended {
                    if let Some(dir) = known.intent.cgroup() {
                        cgroup::remove(&dir);
                    }
                    self.loose_relays.extend(known.intent.relay.map(|(pid, _)| pid));
                    return None;
                }
                let mut tree = Tree::found(known, main);
                self.watch_main(&mut tree);
                Some((tree, known.main_ended))
            });
            // Should descriptors be scarce, who lives is worth more than what a relay would leave.
            for (tree, exit_is_known) in found.collect::<Vec<_>>() {
                self.take_in(tree, exit_is_known);
            }
            match self.head.supervisor.filter(|_| self.post.follows) {
                Some((pid, start)) if proc::may_be_alive(pid, start) => self.watch_supervisor(pid),
                // It died with the keeper: nobody else will notice.
                Some(_) => self.on_supervisor_death(),
                // Whoever has started us says hello.
                None => {}
            }
        }
        self.compact();
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 64];
        // What an earlier keeper left may have ended long ago.
        self.carry_out();
        self.flush();
        loop {
            if self.is_done() || self.gives_way() {
                self.hear_out();
                if self.is_done() || self.gives_way() {
                    return Ok(());
                }
            }
            let timeout = self.next_deadline().map_or(EpollTimeout::NONE, |at| {
                let wait = Duration::from_nanos(at.saturating_sub(proc::monotonic()));
                // Rounded up: a deadline that is not over yet would only wake us again.
                EpollTimeout::try_from(wait + Duration::from_micros(999)).unwrap_or(EpollTimeout::MAX)
            });
            let count = match self.epoll.wait(&mut events, timeout) {
                Ok(count) => count,
                Err(nix::errno::Errno::EINTR) => 0,
                Err(error) => return Err(error.into()),
            };
            for event in events.iter().take(count) {
                self.on_event(event);
            }
            self.carry_out();
            let now = proc::monotonic();
            self.on_time(now);
            self.write_typed(now);
            if self.tidies_at.is_some_and(|at| at <= now) {
                self.tidy();
            }
            self.flush();
            if self.journal.wants_compaction() {
                self.compact();
            }
            if self.settles_at.is_some_and(|at| at <= now) {
                self.settles_at = None;
                footprint::give_back();
            }
            self.look_for_a_guard(now);
        }
    }

    fn on_event(&mut self, event: &EpollEvent) {
        match event.data() {
            SIGNALS => {
                // Only the ends of children matter; whoever asks the keeper to end by a signal is not heard.
                // One read takes many; should there be more, we are woken again.
                let mut told = [0_u8; 16 * size_of::<libc::signalfd_siginfo>()];
                nix::unistd::read(&self.signals, &mut told).ok();
                self.reap();
            }
            LISTENER => self.accept(),
            CONN => self.on_conn(),
            CALLER => self.on_caller(),
            SUPERVISOR => self.on_supervisor_death(),
            DOOR => self.mend_door(),
            foreign => {
                if let Ok(pid) = i32::try_from(foreign & !FOREIGN) {
                    self.on_foreign_end(pid);
                }
            }
        }
    }

    /// Clears up after those that are gone, and gets ready for the next.
    fn tidy(&mut self) {
        self.tidies_at = None;
        for dir in self.empty_cgroups.drain(..) {
            cgroup::remove(&dir);
        }
        let in_use = |dir: &PathBuf| self.trees.values().any(|tree| tree.intent.log.parent() == Some(dir));
        let log_dir = self.log_dir.as_ref().filter(|dir| in_use(dir));
        self.spares.prepare(self.cgroups.as_ref(), log_dir.map(PathBuf::as_path));
    }

    pub(super) fn index(&mut self, tree: Tree) {
        let key = Rc::clone(&tree.intent.key);
        if tree.main_lives() {
            self.mains.insert(tree.pid, Rc::clone(&key));
        }
        if let Some(relay) = &tree.relay {
            self.relays.insert(relay.pid, Rc::clone(&key));
        }
        self.trees.insert(key, Box::new(tree));
    }

    /// A tree of an earlier keeper, with its relay and its pipe.
    pub(super) fn take_in(&mut self, mut tree: Tree, exit_is_known: bool) {
        self.revive_relay(&mut tree);
        let (key, lives) = (Rc::clone(&tree.intent.key), tree.main_lives());
        self.index(tree);
        if !lives {
            if exit_is_known {
                self.due.ended.push(key);
            } else {
                // It ended while nobody was there to see it.
                self.main_ended(&key, super::wire::ExitKind::Unknown, 0, 0);
            }
        }
    }

    pub(super) fn watch_foreign(&self, pid: i32, pidfd: &OwnedFd) -> bool {
        self.inheritance.may_keep(pidfd.as_raw_fd())
            && add(&self.epoll, pidfd.as_fd(), FOREIGN | u64::from(pid.cast_unsigned())).is_ok()
    }

    fn mend_door(&mut self) {
        let before = self.door.listener().as_raw_fd();
        match self.door.mend() {
            Ok(false) => {}
            Ok(true) => {
                debug_assert_ne!(before, -1, "a listener is always open");
                // The old descriptors are closed, which took them out of the epoll.
                add_listener(&self.epoll, &self.door).ok();
                add(&self.epoll, self.door.watch(), DOOR).ok();
            }
            Err(error) => self.send(&Report::Warning {
                key: None,
                text: format!("make the keeper's socket and lock anew: {error}"),
            }),
        }
        self.keep_journal();
    }

    /// Without it the next keeper would know of nothing that lives.
    pub(super) fn keep_journal(&mut self) {
        if self.journal.is_lost() {
            self.compact();
        }
    }

    /// The welcome is the first that anybody hears: it tells it all, and of an attempt whose end had nobody to hear it,
    /// that it is gone must not come first.
    pub(super) fn send(&mut self, report: &Report) {
        if let Some(conn) = &mut self.conn
            && !conn.send(report)
        {
            self.conn = None;
        }
    }

    /// Says what there is to be said, after it is on record.
    pub(super) fn flush(&mut self) {
        self.write_down();
        self.flushed = proc::monotonic();
        let Some(conn) = &mut self.conn else { return };
        conn.flush();
        if conn.wants_write() != self.conn_writes {
            self.conn_writes = conn.wants_write();
            let mut flags = EpollFlags::EPOLLIN;
            flags.set(EpollFlags::EPOLLOUT, self.conn_writes);
            self.epoll.modify(conn.fd(), &mut EpollEvent::new(flags, CONN)).ok();
        }
    }

    /// A record that is not essential at once: room was reserved, and where the write fails all the same, what lives
    /// in memory stays true for as long as we live.
    pub(super) fn record(&mut self, record: &Record) {
        if let Err(error) = self.journal.note(record) {
            self.journal_failed(&error);
        }
    }

    /// To be called before anything is done that must not be without its record.
    pub(super) fn write_down(&mut self) {
        if let Err(error) = self.journal.write_down() {
            self.journal_failed(&error);
        }
    }

    fn journal_failed(&mut self, error: &io::Error) {
        self.send(&Report::Warning { key: None, text: format!("write the keeper's journal: {error}") });
    }

    pub(super) fn compact(&mut self) {
        let trees = self.trees.values().flat_map(|tree| {
            let key = || tree.key().to_owned();
            let (pid, start, holder) = (tree.pid, tree.start, tree.holder);
            let ended = (!tree.main_lives()).then(|| Record::Ended { key: key() });
            let born = Record::Spawned { key: key(), pid, start, holder };
            [Record::Intent(tree.intent.clone()), born].into_iter().chain(ended)
        });
        let records = std::iter::once(Record::Head(self.head.clone()))
            .chain(trees)
            .chain(self.exits.values().cloned().map(Record::Exit));
        let reserve = self.trees.len() * 3 + self.exits.len() + 64;
        // On failure the old file stays in use.
        self.journal.compact(records, reserve).ok();
    }

    fn next_deadline(&self) -> Option<u64> {
        self.trees
            .values()
            .flat_map(|tree| {
                [Self::deadline_of(tree), tree.relay_due, tree.typed.as_ref().map(|typed| typed.next)]
            })
            .flatten()
            .chain(self.successor.due())
            .chain(self.settles_at)
            .chain(self.tidies_at)
            .chain(self.looks_at)
            .chain(self.post.alone_until)
            .min()
    }

    fn deadline_of(tree: &Tree) -> Option<u64> {
        match &tree.ending {
            Ending::Not => None,
            // Orphans of a tree that is not descended from us end unseen: looked for now and then.
            Ending::Grace { until, look } => Some(look.map_or(*until, |look| look.min(*until))),
            Ending::Sweep(sweep) => Some(sweep.next_pass),
            Ending::Drain { until } => Some(*until),
        }
    }
}

/// Edge-triggered: somebody whom we have no descriptor to let in would wake us without end.
pub(super) fn add_listener(epoll: &Epoll, door: &Door) -> io::Result<()> {
    let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
    epoll.add(door.listener(), EpollEvent::new(flags, LISTENER)).map_err(io::Error::from)
}

pub(super) fn add(epoll: &Epoll, fd: std::os::fd::BorrowedFd<'_>, token: u64) -> io::Result<()> {
    epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token)).map_err(io::Error::from)
}
