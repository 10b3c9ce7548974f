//! The runners as they were last told, and their figures, which come less often. It must not know what is selected or
//! shown.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::ids::RunnerName;
use crate::domain::time::Timestamp;
use crate::domain::view::{Figures, RunnerStatus, RunnerView};
use crate::frontend::text::bytes;

#[derive(Debug, Clone, Default)]
pub struct Fleet {
    /// In the order of the config file.
    runners: Vec<Arc<RunnerView>>,
    places: HashMap<RunnerName, usize>,
    figures: HashMap<RunnerName, Figures>,
}

/// What a change means for those who keep something derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Changed {
    Nothing,
    Figures,
    Runners,
}

impl Fleet {
    pub fn runners(&self) -> &[Arc<RunnerView>] {
        &self.runners
    }

    pub fn get(&self, name: &RunnerName) -> Option<&Arc<RunnerView>> {
        self.places.get(name).and_then(|at| self.runners.get(*at))
    }

    pub fn figures(&self, name: &RunnerName) -> Option<&Figures> {
        self.figures.get(name)
    }

    pub fn live(&self) -> usize {
        self.runners.iter().filter(|runner| runner.status.is_live()).count()
    }

    /// Everything anew. Where only figures differ, nothing that is derived from the runners is stale.
    pub fn replace(&mut self, mut runners: Vec<Arc<RunnerView>>) -> Changed {
        let figures = self.take_figures(&mut runners);
        if self.runners == runners {
            return figures;
        }
        self.runners = runners;
        self.index();
        Changed::Runners
    }

    pub fn put(&mut self, runner: &Arc<RunnerView>) -> Changed {
        if !has_process(runner.status) {
            self.figures.remove(&runner.name);
        }
        let mut runner = Arc::clone(runner);
        without_figures(&mut runner);
        match self.places.get(&runner.name).and_then(|at| self.runners.get_mut(*at)) {
            Some(known) if *known == runner => return Changed::Nothing,
            Some(known) => *known = runner,
            None => {
                self.places.insert(runner.name.clone(), self.runners.len());
                self.runners.push(runner);
            }
        }
        Changed::Runners
    }

    pub fn remove(&mut self, name: &RunnerName) -> Changed {
        let Some(at) = self.places.get(name).copied() else { return Changed::Nothing };
        self.runners.remove(at);
        self.figures.remove(name);
        self.index();
        Changed::Runners
    }

    fn index(&mut self) {
        self.places = self.runners.iter().enumerate().map(|(at, runner)| (runner.name.clone(), at)).collect();
        self.figures.retain(|name, _| self.places.contains_key(name));
    }

    /// Figures that look the same on the screen are no news, so an idle dashboard stays still.
    fn take_figures(&mut self, runners: &mut [Arc<RunnerView>]) -> Changed {
        let mut changed = Changed::Nothing;
        for runner in runners {
            let figures = without_figures(runner).filter(|_| has_process(runner.status));
            match (figures, self.figures.get(&runner.name)) {
                (Some(new), Some(old)) if look_alike(old, &new) => {}
                (Some(new), _) => {
                    self.figures.insert(runner.name.clone(), new);
                    changed = Changed::Figures;
                }
                // A snapshot without figures says nothing about them.
                (None, Some(_)) if !has_process(runner.status) => {
                    self.figures.remove(&runner.name);
                    changed = Changed::Figures;
                }
                (None, _) => {}
            }
        }
        changed
    }
}

const fn has_process(status: RunnerStatus) -> bool {
    match status {
        RunnerStatus::Starting | RunnerStatus::Running | RunnerStatus::Stopping | RunnerStatus::Stuck => true,
        RunnerStatus::Idle
        | RunnerStatus::Backoff
        | RunnerStatus::Stopped
        | RunnerStatus::Crashed
        | RunnerStatus::Completed => false,
    }
}

/// In place where nobody else holds it, as is so for what has just been read.
fn without_figures(runner: &mut Arc<RunnerView>) -> Option<Figures> {
    runner.figures?;
    Arc::make_mut(runner).figures.take()
}

fn look_alike(old: &Figures, new: &Figures) -> bool {
    let second = |figures: &Figures| figures.last_output_at.map(Timestamp::as_second);
    percent(old.cpu_percent) == percent(new.cpu_percent)
        && bytes(old.rss_bytes) == bytes(new.rss_bytes)
        && second(old) == second(new)
}

/// `14%`; more than one core may be more than 100.
pub fn percent(percent: f64) -> String {
    format!("{percent:.0}%")
}

#[cfg(test)]
mod tests {
    use super::super::fixture::runner;
    use super::*;

    #[test]
    fn figures_that_look_the_same_are_no_news() {
        let mut fleet = Fleet::default();
        let mut view = runner("a", RunnerStatus::Running);
        view.figures = Some(Figures { cpu_percent: 14.2, rss_bytes: 5 << 20, last_output_at: None });
        assert_eq!(fleet.replace(vec![Arc::new(view.clone())]), Changed::Runners);
        view.figures = Some(Figures { cpu_percent: 14.4, rss_bytes: (5 << 20) + 9, last_output_at: None });
        assert_eq!(fleet.replace(vec![Arc::new(view.clone())]), Changed::Nothing);
        view.figures = Some(Figures { cpu_percent: 15.0, rss_bytes: 5 << 20, last_output_at: None });
        assert_eq!(fleet.replace(vec![Arc::new(view.clone())]), Changed::Figures);
        view.status = RunnerStatus::Stopped;
        view.figures = None;
        assert_eq!(fleet.put(&Arc::new(view)), Changed::Runners);
        assert_eq!(fleet.figures(&RunnerName::trusted("a")), None);
    }

    #[test]
    fn names_find_their_runner_after_removals() {
        let mut fleet = Fleet::default();
        let all = ["a", "b", "c"].map(|name| runner(name, RunnerStatus::Idle));
        fleet.replace(all.map(Arc::new).to_vec());
        assert_eq!(fleet.remove(&RunnerName::trusted("a")), Changed::Runners);
        assert_eq!(fleet.remove(&RunnerName::trusted("a")), Changed::Nothing);
        assert_eq!(fleet.get(&RunnerName::trusted("c")).unwrap().name.as_str(), "c");
        assert_eq!(fleet.put(&Arc::new(runner("d", RunnerStatus::Idle))), Changed::Runners);
        assert_eq!(fleet.get(&RunnerName::trusted("d")).unwrap().name.as_str(), "d");
    }
}
