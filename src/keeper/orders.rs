//! What the supervisor orders, from its hello to its goodbye; and what its death without one means.

use std::ops::Bound;
use std::os::fd::AsFd;
use std::path::Path;

use super::journal::Record;
use super::proc;
use super::serve::{Keeper, SETTLED_AFTER, SUPERVISOR, add};
use super::tree::runner_of;
use super::wire::{LiveAttempt, Order, Policy, Report, SpawnSpec, SpawnStep, VERSION};

/// What is known is told at least this often while there is more to do.
const FLUSH: u64 = 1_000_000;

/// One that was accepted.
pub(super) struct Hello {
    epoch: u64,
    policy: Policy,
    successor: Vec<String>,
}

impl Keeper {
    pub(super) fn on_conn(&mut self) {
        let Some(conn) = &mut self.conn else { return };
        let received = conn.receive();
        self.flushed = proc::monotonic();
        for order in received.orders {
            self.on_order(order);
        }
        if received.closed {
            self.conn = None;
        }
    }

    pub(super) fn on_order(&mut self, order: Order) {
        if self.conn.is_none() {
            // Nothing is heard after a goodbye.
            return;
        }
        match order {
            // It is said once, and before anything else.
            Order::Hello { .. } => {}
            Order::Spawn { key, spec } => {
                self.on_spawn(&key, &spec);
                // Others may wait behind this one, and somebody for the answer to it.
                if proc::monotonic() > self.flushed + FLUSH {
                    self.flush();
                }
            }
            Order::Stop { key, signal, grace_ms } => self.stop(&key, signal, grace_ms),
            Order::Input { key, text } => self.on_input(&key, &text),
            Order::Resize { key, rows, cols } => self.on_resize(&key, rows, cols),
            Order::Ack { seq } => {
                if self.exits.first_key_value().is_some_and(|(first, _)| *first <= seq) {
                    self.exits = self.exits.split_off(&(seq + 1));
                    self.record(&Record::Ack { seq });
                }
            }
            Order::Policy { policy } => {
                self.policy = policy;
                self.head.policy = Some(policy);
                self.record(&Record::Head(self.head.clone()));
            }
            Order::Goodbye => {
                self.goodbye = true;
                // That it was welcome, perhaps.
                self.flush();
                self.conn = None;
                self.head.supervisor = None;
                self.record(&Record::Head(self.head.clone()));
            }
        }
    }

    /// The first line of a connection, where that makes it the one that counts.
    pub(super) fn hello_of(&self, first: Order, peer: i32) -> Result<Hello, Report> {
        let Order::Hello { version, epoch, policy, successor } = first else {
            return Err(Report::Refused { why: "say hello first".into(), epoch: None });
        };
        let other = self.supervisor.as_ref().is_some_and(|(pid, _)| *pid != peer);
        let is_over = epoch < self.head.epoch || (epoch == self.head.epoch && other);
        let why = if version != VERSION {
            Some(format!("the keeper speaks version {VERSION} of the protocol, not {version}"))
        } else if self.ending {
            Some("its supervisor died, and it is stopping everything as it was told; another one comes after it".to_owned())
        } else if is_over {
            // An equal one is the supervisor of an earlier keeper, which lives on.
            Some(format!("epoch {epoch} is over: a supervisor with epoch {} has taken over", self.head.epoch))
        } else {
            None
        };
        match why {
            Some(why) => Err(Report::Refused { why, epoch: is_over.then_some(self.head.epoch) }),
            None => Ok(Hello { epoch, policy, successor }),
        }
    }

    pub(super) fn on_hello(&mut self, peer: i32, hello: Hello) {
        let Hello { epoch, policy, successor } = hello;
        let other = self.supervisor.as_ref().is_some_and(|(pid, _)| *pid != peer);
        let same = self.supervisor.is_some() && !other && epoch == self.head.epoch;
        self.goodbye = false;
        self.policy = policy;
        self.head.epoch = epoch;
        self.head.supervisor = proc::stat(peer).map(|stat| (peer, stat.start));
        self.head.policy = Some(policy);
        self.head.successor = successor;
        self.head.next_seq = self.head.next_seq.max(1);
        self.record(&Record::Head(self.head.clone()));
        if !same {
            self.watch_supervisor(peer);
        }
        let live: Vec<LiveAttempt> = self.trees.values().map(|tree| tree.view()).collect();
        self.send(&Report::Welcome {
            version: VERSION,
            keeper_pid: std::process::id().cast_signed(),
            guarded: self.is_guarded(),
            cgroups: self.cgroups.is_some(),
            live,
            exits: self.exits.values().cloned().collect(),
        });
    }

    pub(super) fn watch_supervisor(&mut self, pid: i32) {
        self.supervisor = None;
        let pidfd = proc::pidfd_open(pid);
        if pidfd.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::ESRCH)) {
            // Dead already.
            return self.on_supervisor_death();
        }
        let watched = pidfd.ok().filter(|pidfd| add(&self.epoll, pidfd.as_fd(), SUPERVISOR).is_ok());
        if watched.is_none() {
            self.look_soon();
        }
        self.supervisor = Some((pid, watched));
        self.successor.arrived(proc::monotonic());
    }

    pub(super) fn on_supervisor_death(&mut self) {
        self.supervisor = None;
        if self.goodbye {
            return;
        }
        match self.policy {
            Policy::Stop => self.stop_everything(),
            Policy::Keep => self.successor.wanted(proc::monotonic()),
        }
    }

    fn on_spawn(&mut self, key: &str, spec: &SpawnSpec) {
        if self.gives_way() {
            // It came with the word that lets us go. Whoever ordered it finds the line broken, and orders it again of the next
            // one, which does not know of it.
            if let Some(conn) = &self.conn {
                conn.hear_no_more();
            }
            return;
        }
        if let Some(tree) = self.trees.get(key) {
            // Asked again: the same answer. Where it has ended meanwhile, its exit tells the rest.
            return self.send(&Report::Spawned { key: key.to_owned(), pid: tree.pid, start: tree.start });
        }
        if let Some(exit) = self.exits.values().find(|exit| exit.key == key) {
            let exit = exit.clone();
            self.send(&Report::Exit(exit));
            return self.send(&Report::Gone { key: key.to_owned() });
        }
        if self.ending || self.lives(runner_of(key)) {
            return self.send(&Report::Busy { key: key.to_owned() });
        }
        // Head-room for what must be written later whatever the disk says: an exit, an acknowledgement and an end for
        // each, besides the intent.
        let records = (self.trees.len() + 1) * 3 + self.exits.len() * 2 + 4;
        if let Err(error) = self.journal.reserve(records) {
            return self.send(&Report::SpawnFailed {
                key: key.to_owned(),
                step: SpawnStep::Journal,
                errno: error.raw_os_error().unwrap_or(libc::EIO),
                subject: "the keeper's journal".into(),
            });
        }
        let (cgroups, spares) = (self.cgroups.as_ref(), &mut self.spares);
        match self.inheritance.launch(key, spec, &mut self.journal, cgroups, spares) {
            Ok(tree) => {
                let report = Report::Spawned { key: key.to_owned(), pid: tree.pid, start: tree.start };
                self.index(tree);
                self.settles_at = Some(proc::monotonic() + SETTLED_AFTER);
                self.log_dir = spec.log.parent().map(Path::to_owned);
                // Before the answer: what wakes now takes the processor from the child that just begins.
                self.tidies_at = Some(0);
                self.send(&report);
            }
            Err(failure) => self.send(&Report::SpawnFailed {
                key: key.to_owned(),
                step: failure.step,
                errno: failure.errno,
                subject: failure.subject,
            }),
        }
    }

    /// Whether something of any attempt of the runner lives. Keys are sorted, so its attempts stand together.
    fn lives(&self, runner: &str) -> bool {
        let from = format!("{runner}#");
        self.trees
            .range::<str, _>((Bound::Included(&*from), Bound::Unbounded))
            .next()
            .is_some_and(|(key, _)| key.strip_prefix(&from).is_some_and(|number| !number.contains('#')))
    }
}
