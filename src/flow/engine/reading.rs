//! What is about to be reused is read as a whole before that is decided. What takes its time is read by a worker, while
//! other runs go on and others are answered; then the same is asked once more, and decided by what the worker found.

use std::collections::{HashMap, VecDeque};

use super::ahead::AT_A_GLANCE;
use super::attempts::apart;
use super::{Engine, Input};
use crate::domain::flow::ids::Hash;
use crate::domain::flow::record::Artifact;
use crate::domain::flow::refusal::Refusal;
use crate::flow::handle::FlowAsk;
use crate::flow::objects::Objects;
use crate::supervisor::handle::Busy;

/// By content and name: why it is not what it was, where that is so.
type Found = HashMap<(Hash, String), Option<String>>;

/// What is read for the ask that is being answered.
#[derive(Debug)]
pub(super) struct Reads {
    /// By a worker, for this ask.
    found: Found,
    /// So many bytes more may be read here.
    here: u64,
    /// What is more than that, and is to be read elsewhere before anything is decided.
    open: Vec<Artifact>,
}

/// What a worker has read, for whom.
#[derive(Debug)]
pub struct ReadFor {
    ask: FlowAsk,
    found: Found,
}

/// One at a time: many who want the same at once would all read it.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Keeps the supervisor there.
    busy: Option<Busy>,
    /// What has to be read for these, too, unless it is decided otherwise by then.
    next: VecDeque<FlowAsk>,
}

impl Default for Reads {
    fn default() -> Self {
        Self { found: Found::new(), here: u64::MAX, open: Vec::new() }
    }
}

impl Reads {
    pub(super) fn look(&mut self, objects: &Objects, artifact: &Artifact) -> Result<(), String> {
        let looked = match self.found.get(&(artifact.hash.clone(), artifact.name.clone())) {
            Some(Some(why)) => return Err(why.clone()),
            Some(None) => objects.verify_once(artifact),
            None if artifact.size > self.here => {
                self.open.push(artifact.clone());
                objects.glance(artifact, &mut 0)
            }
            None => {
                self.here -= artifact.size;
                objects.verify(artifact)
            }
        };
        looked.map_err(|error| error.to_string())
    }

    /// Nothing is put off any more: something is being done.
    pub(super) fn all_here(&mut self) {
        self.here = u64::MAX;
    }
}

impl Engine {
    /// An answer that depends on much is put off, unless it was before.
    pub(super) fn begin_reading(&mut self, may_be_put_off: bool) {
        self.reads.here = if may_be_put_off { AT_A_GLANCE } else { u64::MAX };
    }

    /// Before anything is done by what was looked at.
    pub(super) fn has_read(&self) -> Result<(), Refusal> {
        if self.reads.open.is_empty() {
            return Ok(());
        }
        // Nobody is told that: it is asked again.
        Err(Refusal::NotYet("artifacts are being read".into()))
    }

    /// What has to be read before an answer can be given; empty: it was all read.
    pub(super) fn end_reading(&mut self) -> Vec<Artifact> {
        let reads = std::mem::take(&mut self.reads);
        reads.open
    }

    pub(super) fn read_apart(&mut self, ask: FlowAsk, artifacts: Vec<Artifact>) {
        if self.reading.busy.is_some() {
            return self.reading.next.push_back(ask);
        }
        self.reading.busy = Some(self.handle.busy());
        let objects = self.objects.clone();
        let work = move || {
            let look = |artifact: Artifact| {
                let why = objects.verify(&artifact).err().map(|error| error.to_string());
                ((artifact.hash, artifact.name), why)
            };
            Input::Read(Box::new(ReadFor { ask, found: artifacts.into_iter().map(look).collect() }))
        };
        if let Some(done) = apart(self.own.clone(), work) {
            self.take(done);
        }
    }

    pub(super) fn on_read(&mut self, read: ReadFor) {
        self.reads.found = read.found;
        self.reply(read.ask, false);
        // They are answered by what has come of that, and another worker reads for the first that still asks for it.
        self.reading.busy = None;
        for ask in std::mem::take(&mut self.reading.next) {
            self.on_ask(ask);
        }
    }
}
