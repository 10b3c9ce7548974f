//! The list of all runs: what is typed narrows it, and the store does the searching.

use super::fresh::Fresh;
use crate::domain::flow::ids::RunId;
use crate::domain::flow::record::{RunFilter, RunRecord};
use crate::domain::flow::status::RunStatus;
use crate::domain::time::Timestamp;
use crate::frontend::tui::input::LineInput;

/// Older ones are found by a filter.
pub const MOST: u32 = 500;

#[derive(Debug, Clone)]
pub struct History {
    pub rows: Vec<RunRecord>,
    /// What they were asked for with.
    pub shown: Option<RunFilter>,
    pub fresh: Fresh,
    pub filter: LineInput,
    /// The filter is being typed.
    pub typing: bool,
    pub unfinished: bool,
    pub selected: usize,
    pub offset: usize,
    pub problem: Option<String>,
}

impl History {
    pub fn new(now: Timestamp) -> Self {
        Self {
            rows: Vec::new(),
            shown: None,
            fresh: Fresh::new(now),
            filter: LineInput::default(),
            typing: false,
            unfinished: false,
            selected: 0,
            offset: 0,
            problem: None,
        }
    }

    pub fn doubt(&mut self, now: Timestamp) {
        self.fresh.reset(now);
    }

    pub fn selected(&self) -> Option<&RunRecord> {
        self.rows.get(self.selected)
    }

    /// Whether a later run of its branch, as far as that is listed, has done or is doing what a retry of it would.
    pub fn has_gone_on(&self, run: &RunId) -> bool {
        let Some(own) = self.rows.iter().find(|one| one.run_id == *run) else { return false };
        self.rows.iter().any(|one| {
            let is_later = one.run_number > own.run_number;
            let goes_on = matches!(
                one.status,
                RunStatus::Succeeded | RunStatus::Running | RunStatus::Queued | RunStatus::Waiting
            );
            is_later && goes_on && one.root_run_id == own.root_run_id && one.branch == own.branch
        })
    }

    pub fn is_narrowed(&self) -> bool {
        self.typing || self.unfinished || !self.filter.is_empty()
    }

    /// The words for statuses are taken as such; the rest is searched for in ids, errors and inputs.
    pub fn wanted(&self) -> RunFilter {
        let (mut status, mut rest) = (Vec::new(), Vec::new());
        for word in self.filter.text().split_whitespace() {
            match RunStatus::parse(word) {
                Some(known) => status.push(known),
                None => rest.push(word),
            }
        }
        if self.unfinished {
            let open = |one: &RunStatus| !one.is_final();
            if status.is_empty() {
                status = RunStatus::ALL.iter().copied().filter(open).collect();
            } else {
                status.retain(open);
            }
        }
        let search = rest.join(" ");
        RunFilter {
            status,
            search: (!search.is_empty()).then_some(search),
            limit: Some(MOST),
            ..RunFilter::default()
        }
    }

    /// The same run stays selected, wherever it stands by now.
    pub fn take(&mut self, filter: RunFilter, rows: Vec<RunRecord>) {
        let before: Option<RunId> = self.selected().map(|run| run.run_id.clone());
        self.rows = rows;
        self.problem = None;
        let same = self.rows.iter().position(|run| Some(&run.run_id) == before.as_ref());
        self.selected = same.unwrap_or(self.selected).min(self.rows.len().saturating_sub(1));
        if same.is_none() && self.shown.as_ref() != Some(&filter) {
            self.selected = 0;
        }
        self.shown = Some(filter);
    }

    /// What is shown is not what is asked for, or may be out of date.
    pub fn ask(&mut self, now: Timestamp) -> Option<RunFilter> {
        let wanted = self.wanted();
        if self.shown.as_ref() != Some(&wanted) {
            self.fresh.touch();
        }
        self.fresh.ask(now).then_some(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::now;
    use super::*;
    use crate::domain::flow::ids::BranchName;
    use crate::domain::flow::testing::{run, run_id};

    #[test]
    fn what_a_later_run_of_the_branch_does_need_not_be_retried() {
        let mut history = History::new(now());
        let rows = ["14 succeeded of=13 a=succeeded", "13 failed of=12 a=failed", "12 failed a=failed"];
        history.rows = rows.map(run).into();
        let gone_on = |history: &History| [12, 13, 14].map(|number| history.has_gone_on(&run_id(number)));
        assert_eq!(gone_on(&history), [true, true, false]);
        history.rows[0].status = RunStatus::Failed;
        assert_eq!(gone_on(&history), [false; 3]);
        history.rows[0].status = RunStatus::Running;
        history.rows[0].branch = BranchName::trusted("night");
        assert_eq!(gone_on(&history), [false; 3], "it is another branch");
    }

    #[test]
    fn words_for_statuses_are_statuses() {
        let mut history = History::new(now());
        history.filter = LineInput::new("failed 503 video");
        let wanted = history.wanted();
        assert_eq!(wanted.status, [RunStatus::Failed]);
        assert_eq!(wanted.search.as_deref(), Some("503 video"));
        history.filter = LineInput::default();
        history.unfinished = true;
        let open = [RunStatus::Queued, RunStatus::Running, RunStatus::Waiting, RunStatus::Interrupted];
        assert_eq!(history.wanted().status, open);
    }
}
