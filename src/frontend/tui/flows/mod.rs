//! What the dashboard knows of runs: those that were told of or asked for, the one that is looked at ([`pane`]), the
//! list of all of them ([`history`]), the questions about them ([`question`]), and what is under way. It decides
//! nothing about runs: what may be done is asked of the supervisor.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::domain::flow::ids::{FlowName, RunId, StageName};
use crate::domain::flow::record::{RunFilter, RunRecord};
use crate::domain::flow::status::RunStatus;
use crate::domain::flow::view::RunView;
use crate::domain::keys::Action;
use crate::domain::time::Timestamp;

pub mod content;
#[cfg(test)]
pub(super) mod fixture;
pub mod fresh;
pub mod history;
pub mod pane;
pub mod question;

use super::event::Edited;
use super::model::Screen;
use content::Viewing;
use fresh::Fresh;
use history::History;
use pane::RunPane;

/// So many are remembered; the history screen asks for the others.
const MOST: usize = 500;
/// The main screen lists all that is unfinished, and so many of what ended last: at least, and where there is room.
const FEWEST_ENDED: usize = 4;
const MOST_ENDED: usize = 20;
/// How many of the latest runs are asked for when the dashboard is opened, besides all that are unfinished.
const LATEST: u32 = 30;

#[derive(Debug, Clone)]
pub struct Flows {
    /// The newest first.
    runs: Vec<Known>,
    /// How many of those that have ended are listed on the main screen.
    ended: usize,
    /// This one stays there as long as it is selected.
    pub kept: Option<RunId>,
    /// The list of the latest runs.
    pub latest: Fresh,
    /// The list of those that are unfinished, however old they are.
    pub unfinished: Fresh,
    /// Those of which it is not known how far they have come, on their way to be asked about.
    counting: Option<RunId>,
    /// There is nothing more to be had about these.
    uncountable: Vec<RunId>,
    pub pane: Option<RunPane>,
    /// Where the screen of a run leads back to.
    pub back_to: Screen,
    pub history: History,
    /// Instead of the log of a stage, what it left.
    pub viewing: Option<Viewing>,
    /// What somebody wants to do with a checkpoint of this run that is still being looked up.
    pub once_known: Option<(RunId, Action)>,
    /// What somebody wrote to a stage of a run, and has not sent so far, or not with success.
    pub drafts: HashMap<(RunId, StageName), String>,
    /// What was edited and has not been taken in so far, with the file that it is in.
    pub edited: Vec<Edited>,
    /// What was asked for and has not been answered: a second time waits for it by not being done.
    doing: HashMap<Thing, &'static str>,
}

/// What something is done to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Thing {
    Run(RunId),
    /// A new run of it.
    Flow(FlowName),
}

#[derive(Debug, Clone)]
struct Known {
    view: Arc<RunView>,
    /// How many stages have ended is known.
    counted: bool,
}

impl Flows {
    pub fn new(now: Timestamp) -> Self {
        Self {
            runs: Vec::new(),
            ended: FEWEST_ENDED,
            kept: None,
            latest: Fresh::new(now),
            unfinished: Fresh::new(now),
            counting: None,
            uncountable: Vec::new(),
            pane: None,
            back_to: Screen::Main,
            history: History::new(now),
            viewing: None,
            once_known: None,
            drafts: HashMap::new(),
            edited: Vec::new(),
            doing: HashMap::new(),
        }
    }

    pub fn get(&self, run: &RunId) -> Option<&Arc<RunView>> {
        self.runs.iter().find(|known| known.view.run_id == *run).map(|known| &known.view)
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// On the main screen: those that are unfinished, then a few others, the newest first.
    pub fn listed(&self) -> impl Iterator<Item = &Arc<RunView>> {
        self.listed_known().map(|known| &known.view)
    }

    /// There are others, which only the history lists.
    pub fn has_older(&self) -> bool {
        self.runs.iter().filter(|known| known.view.status.is_final()).nth(self.ended).is_some()
    }

    /// On the main screen there is room for so many.
    pub fn make_room(&mut self, rows: usize) {
        let unfinished = self.runs.iter().filter(|known| !known.view.status.is_final()).count();
        self.ended = rows.saturating_sub(unfinished).clamp(FEWEST_ENDED, MOST_ENDED);
    }

    fn listed_known(&self) -> impl Iterator<Item = &Known> {
        let unfinished = self.runs.iter().filter(|known| !known.view.status.is_final());
        let ended = || self.runs.iter().filter(|known| known.view.status.is_final());
        let kept = |known: &&Known| Some(&known.view.run_id) == self.kept.as_ref();
        unfinished.chain(ended().take(self.ended)).chain(ended().skip(self.ended).filter(kept))
    }

    pub fn waiting(&self) -> usize {
        self.runs.iter().filter(|known| known.view.status == RunStatus::Waiting).count()
    }

    /// Those that go on when the dashboard is left.
    pub fn going(&self) -> usize {
        let goes = |known: &&Known| matches!(known.view.status, RunStatus::Running | RunStatus::Queued);
        self.runs.iter().filter(goes).count()
    }

    /// Says whether anything is another now.
    pub fn put(&mut self, view: RunView) -> bool {
        self.insert(Known { view: Arc::new(view), counted: true })
    }

    /// What the store has: it does not know how far a run has come.
    pub fn put_record(&mut self, record: &RunRecord) -> bool {
        let known = self.runs.iter().find(|known| known.view.run_id == record.run_id);
        // What was told in between is newer; but what has ended does so for good.
        if known.is_some_and(|known| known.counted && known.view.status == record.status) {
            return false;
        }
        // Which of the two is newer cannot be told where they differ: such a run is asked about once more.
        let counted = record.stages.is_some() && !known.is_some_and(|known| known.counted);
        let known = Known { view: Arc::new(RunView::of(record)), counted };
        self.insert(known)
    }

    /// All that are unfinished. One that is known as such and is not among them has ended unheard: it is asked about.
    pub fn put_unfinished(&mut self, records: &[RunRecord]) -> bool {
        let listed: HashSet<&RunId> = records.iter().map(|record| &record.run_id).collect();
        for known in &mut self.runs {
            known.counted &= known.view.status.is_final() || listed.contains(&known.view.run_id);
        }
        let mut differs = false;
        for record in records {
            differs |= self.put_record(record);
        }
        differs
    }

    fn insert(&mut self, new: Known) -> bool {
        if let Some(known) = self.runs.iter_mut().find(|known| known.view.run_id == new.view.run_id) {
            let differs = known.view != new.view;
            *known = new;
            return differs;
        }
        let place = self.runs.partition_point(|known| known.view.created_at > new.view.created_at);
        self.runs.insert(place, new);
        if self.runs.len() > MOST {
            // What is unfinished is never forgotten.
            if let Some(last) = self.runs.iter().rposition(|known| known.view.status.is_final()) {
                self.runs.remove(last);
            }
        }
        true
    }

    /// Another connection, or some changes were missed: everything may be another by now.
    pub fn doubt(&mut self, now: Timestamp) {
        for known in &mut self.runs {
            known.counted = false;
        }
        self.latest.reset(now);
        self.unfinished.reset(now);
        self.counting = None;
        self.uncountable.clear();
        self.once_known = None;
        self.history.doubt(now);
        if let Some(pane) = &mut self.pane {
            pane.doubt(now);
        }
    }

    /// What was asked for will not be answered any more.
    pub fn forget_doing(&mut self) {
        self.doing.clear();
    }

    pub fn is_doing(&self, thing: &Thing) -> bool {
        self.doing.contains_key(thing)
    }

    pub fn latest_filter() -> RunFilter {
        RunFilter { limit: Some(LATEST), ..RunFilter::default() }
    }

    pub fn unfinished_filter() -> RunFilter {
        let open = RunStatus::ALL.iter().copied().filter(|status| !status.is_final());
        RunFilter { status: open.collect(), ..RunFilter::default() }
    }

    /// The next run that is listed without its count; one at a time.
    pub fn next_to_count(&mut self) -> Option<RunId> {
        if self.counting.is_some() {
            return None;
        }
        let lacks = |known: &&Known| !known.counted && !self.uncountable.contains(&known.view.run_id);
        let next = self.listed_known().find(lacks).map(|known| known.view.run_id.clone());
        self.counting.clone_from(&next);
        next
    }

    pub fn counted(&mut self, run: &RunId, answered: bool) {
        if self.counting.as_ref() == Some(run) {
            self.counting = None;
            if !answered {
                self.uncountable.push(run.clone());
            }
        }
    }

    /// The run that is looked at; another one is forgotten.
    pub fn look_at(&mut self, run: &RunId, now: Timestamp) {
        if self.pane.as_ref().is_none_or(|pane| pane.id != *run) {
            self.pane = Some(RunPane::new(run.clone(), now));
        }
    }

    pub fn doing(&self, run: &RunId) -> Option<&'static str> {
        self.doing.get(&Thing::Run(run.clone())).copied()
    }

    /// False where something is under way with it already.
    pub fn begin(&mut self, thing: Thing, word: &'static str) -> bool {
        if self.doing.contains_key(&thing) {
            return false;
        }
        self.doing.insert(thing, word);
        true
    }

    pub fn done(&mut self, thing: &Thing) {
        self.doing.remove(thing);
    }
}
