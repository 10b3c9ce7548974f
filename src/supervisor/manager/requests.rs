//! What clients ask for.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::figures::{self, Wanted};
use super::roster::Id;
use super::{Answer, Input, RunnerManager};
use crate::domain::ids::{AttemptId, RunnerName};
use crate::domain::runner::{Event, Phase};
use crate::domain::spec::Stdio;
use crate::domain::view::Figures;
use crate::ports::TerminalSize;
use crate::supervisor::handle::{Ask, Reply, Request, RequestError, Shutdown};

impl RunnerManager {
    pub(super) fn on_ask(&mut self, Ask { request, answer }: Ask) {
        let reply = match request {
            Request::Snapshot { figures: true } => return self.gather(answer),
            Request::Snapshot { figures: false } => Ok(Reply::Snapshot(Box::new(self.snapshot()))),
            Request::Start { names } => self.start(&names, &Event::Start),
            Request::Restart { names } => self.start(&names, &Event::Restart),
            Request::Stop { names } => self.each(&names, &Event::Stop),
            Request::Kill { names } => self.each(&names, &Event::Kill),
            Request::Input { name, text } => self.terminal_of(&name).map(|attempt| {
                self.executor.input(&attempt, &text);
                Reply::Done
            }),
            Request::Resize { name, rows, cols } => self.terminal_of(&name).map(|attempt| {
                self.executor.resize(&attempt, TerminalSize { rows, cols });
                Reply::Done
            }),
            Request::Reload => self.reload().map(|()| Reply::Done),
            Request::Shutdown { how } => {
                self.shut_down(how);
                Ok(Reply::Done)
            }
        };
        // Whoever asked may have gone; what was asked for is done all the same.
        answer.send(reply).ok();
    }

    fn start(&mut self, names: &[RunnerName], event: &Event) -> Result<Reply, RequestError> {
        match self.shutdown {
            Some(Shutdown::Graceful | Shutdown::Kill) => Err(RequestError::Ending),
            None => self.each(names, event),
        }
    }

    fn each(&mut self, names: &[RunnerName], event: &Event) -> Result<Reply, RequestError> {
        let ids = self.ids_of(names)?;
        self.begin_all();
        for id in &ids {
            self.apply(*id, event.clone());
        }
        let now = self.clock.now();
        Ok(Reply::Runners(ids.into_iter().filter_map(|id| self.view(id, &now)).collect()))
    }

    /// The attempt that reads what is typed.
    fn terminal_of(&self, name: &RunnerName) -> Result<AttemptId, RequestError> {
        let id = match self.roster.find(name) {
            Some(guest) if name.is_guest() => Some(guest),
            Some(_) | None => self.ids_of(std::slice::from_ref(name))?.into_iter().next(),
        };
        let refused = |why: &str| RequestError::NoTerminal { name: name.to_string(), why: why.into() };
        let entry = id.and_then(|id| self.roster.get(id)).ok_or_else(|| refused("it is gone"))?;
        if entry.spec.launch.stdio != Stdio::Tty {
            return Err(refused(
                "it has no terminal; \"stdio\": \"tty\" in its config gives it one at the next start",
            ));
        }
        let attempt = match &entry.runner.phase {
            Phase::Running(running) => Some(running.attempt),
            Phase::Ending(ending) => Some(ending.attempt),
            Phase::Starting(starting) => Some(starting.attempt),
            Phase::Idle | Phase::Sweeping(_) | Phase::Pending(_) | Phase::Resting(_) => None,
        };
        let attempt = attempt.ok_or_else(|| refused("it is not running"))?;
        Ok(AttemptId { runner: name.clone(), attempt })
    }

    /// All names have to be known, or nothing is done.
    fn ids_of(&self, names: &[RunnerName]) -> Result<Vec<Id>, RequestError> {
        if names.is_empty() {
            return Ok(self.roster.ids());
        }
        let find = |name: &RunnerName| self.roster.find(name).filter(|_| !name.is_guest());
        let found: Vec<Option<Id>> = names.iter().map(find).collect();
        let unknown: Vec<String> = names
            .iter()
            .zip(&found)
            .filter(|(_, id)| id.is_none())
            .map(|(name, _)| name.to_string())
            .collect();
        if unknown.is_empty() {
            return Ok(found.into_iter().flatten().collect());
        }
        let known = self.roster.iter().map(|entry| entry.spec.name.to_string()).collect();
        Err(RequestError::UnknownRunner { names: unknown, known })
    }

    /// Figures are read away from this thread; the snapshot is taken when they are there.
    fn gather(&mut self, answer: Answer) {
        let wanted: Vec<Wanted> = self
            .roster
            .iter()
            .map(|entry| Wanted {
                runner: entry.spec.name.clone(),
                process: match &entry.runner.phase {
                    Phase::Running(running) => Some(running.process),
                    Phase::Ending(ending) => ending.process,
                    Phase::Idle
                    | Phase::Starting(_)
                    | Phase::Sweeping(_)
                    | Phase::Pending(_)
                    | Phase::Resting(_) => None,
                },
                started: entry.runner.started.map(|started| started.mono),
                log: entry.runner.log.clone(),
            })
            .collect();
        let (probe, own) = (Arc::clone(&self.probe), self.own.clone());
        tokio::task::spawn_blocking(move || {
            let figures = figures::gather(probe.as_ref(), wanted);
            // The receiver is gone only during shutdown.
            own.send(Input::Gathered { figures, answer }).ok();
        });
    }

    pub(super) fn on_gathered(&mut self, gathered: &[(RunnerName, figures::Raw)], answer: Answer) {
        let now = self.clock.now().mono;
        let figures: HashMap<&RunnerName, _> =
            gathered.iter().map(|(name, raw)| (name, self.shares.figures(name, raw, now))).collect();
        let mut snapshot = self.snapshot();
        for view in &mut snapshot.runners {
            let mut found = figures.get(&view.name).copied();
            // The clock of a file system is behind by some milliseconds: nothing is written before its writer starts.
            if let Some(Figures { last_output_at: Some(last), .. }) = &mut found {
                *last = (*last).max(view.started_at.unwrap_or(*last));
            }
            Arc::make_mut(view).figures = found;
        }
        // Whoever asked may have gone.
        answer.send(Ok(Reply::Snapshot(Box::new(snapshot)))).ok();
    }
}
