//! The run that is looked at: its stages, which one is selected, the tree of its lineage, what may be done there, and
//! what of all this is to be asked for anew.

use std::sync::Arc;

use super::fresh::Fresh;
use crate::domain::flow::ask::{BranchView, Can, Shown, StageLinks};
use crate::domain::flow::graph::{Graph, Links};
use crate::domain::flow::ids::{BranchName, CheckpointId, RunId, StageName};
use crate::domain::flow::record::{Branch, Checkpoint, RunRecord, StageRecord};
use crate::domain::flow::status::{Approval, RunStatus, StageStatus};
use crate::domain::flow::tree::{self, Lineage, Row};
use crate::domain::flow::view::StageView;
use crate::domain::time::Timestamp;

/// The checkpoints of runs with more stages are asked for only with the tree.
const SMALL: usize = 500;

#[derive(Debug, Clone)]
pub struct RunPane {
    pub id: RunId,
    pub shown: Option<Box<Shown>>,
    /// Why it cannot be shown.
    pub problem: Option<String>,
    pub tree: Option<TreeOf>,
    /// The runs of its lineage, the oldest first.
    pub lineage: Vec<RunRecord>,
    /// What may be done with the run and the stage, as the supervisor said.
    can: Option<(Option<StageName>, Option<Box<Can>>)>,
    /// How its stages hang together, by its own definition.
    graph: Option<Arc<Graph>>,
    /// The selected stage, by its place.
    pub stage: usize,
    /// Somebody has selected it; else it is the one that matters most.
    pub chosen: bool,
    pub offset: usize,
    /// The tree has the keyboard.
    pub in_tree: bool,
    pub checkpoint: usize,
    /// Somebody has selected it; else it is what the selected stage left.
    pub checkpoint_chosen: bool,
    pub tree_offset: usize,
    pub show: Fresh,
    /// Asked once: a run keeps the definition that it began with.
    pub load_links: Fresh,
    pub load_tree: Fresh,
    pub load_lineage: Fresh,
    pub load_can: Fresh,
}

/// How a checkpoint stands that somebody is about to judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stands {
    /// As far as is known.
    Waits,
    /// This one has come in its place.
    Replaced(CheckpointId),
    /// Somebody has judged it: `approved by ann`.
    Judged(String),
}

/// The checkpoints of a lineage, and the tree that they make.
#[derive(Debug, Clone)]
pub struct TreeOf {
    pub checkpoints: Vec<Checkpoint>,
    pub branches: Vec<BranchView>,
    pub rows: Vec<Row>,
}

impl TreeOf {
    pub fn new(checkpoints: Vec<Checkpoint>, branches: Vec<BranchView>) -> Self {
        let plain: Vec<Branch> = branches.iter().map(|view| view.branch.clone()).collect();
        let lineage = Lineage { checkpoints: &checkpoints, branches: &plain, runs: &[] };
        let mut rows = tree::rows(&lineage);
        for row in &mut rows {
            // Where a branch stands is for those to say who know its runs.
            let stands = |view: &&BranchView| view.latest_checkpoint_id.as_ref() == Some(&row.id);
            row.heads = branches.iter().filter(stands).map(|view| view.branch.branch_name.clone()).collect();
        }
        Self { checkpoints, branches, rows }
    }

    pub fn get(&self, id: &CheckpointId) -> Option<&Checkpoint> {
        self.checkpoints.iter().find(|one| one.id == *id)
    }

    pub fn branch(&self, name: &BranchName) -> Option<&BranchView> {
        self.branches.iter().find(|one| one.branch.branch_name == *name)
    }
}

impl RunPane {
    pub fn new(id: RunId, now: Timestamp) -> Self {
        Self {
            id,
            shown: None,
            problem: None,
            tree: None,
            lineage: Vec::new(),
            can: None,
            graph: None,
            stage: 0,
            chosen: false,
            offset: 0,
            in_tree: false,
            checkpoint: 0,
            checkpoint_chosen: false,
            tree_offset: 0,
            show: Fresh::new(now),
            load_links: Fresh::new(now),
            load_tree: Fresh::new(now),
            load_lineage: Fresh::new(now),
            load_can: Fresh::new(now),
        }
    }

    pub fn doubt(&mut self, now: Timestamp) {
        for fresh in [&mut self.show, &mut self.load_tree, &mut self.load_lineage, &mut self.load_can] {
            fresh.reset(now);
        }
        if self.graph.is_none() {
            self.load_links.reset(now);
        }
    }

    /// Something of the run is another by now.
    pub fn touch(&mut self) {
        self.show.touch();
        self.load_tree.touch();
        self.load_can.touch();
    }

    pub fn run(&self) -> Option<&RunRecord> {
        self.shown.as_ref().map(|shown| &shown.run)
    }

    pub fn stages(&self) -> &[StageRecord] {
        self.run().and_then(|run| run.stages.as_deref()).unwrap_or_default()
    }

    pub fn selected(&self) -> Option<&StageRecord> {
        self.stages().get(self.stage)
    }

    pub fn graph(&self) -> Option<&Arc<Graph>> {
        self.graph.as_ref()
    }

    pub fn take(&mut self, shown: Box<Shown>) {
        let before = self.selected().map(|stage| stage.name.clone());
        self.shown = Some(shown);
        self.problem = None;
        let place = self.stages().iter().position(|stage| Some(&stage.name) == before.as_ref());
        self.stage = if self.chosen { place.unwrap_or(0) } else { self.what_matters() };
        if !self.checkpoint_chosen {
            self.checkpoint = self.place_in_tree();
        }
    }

    pub fn take_links(&mut self, links: &[StageLinks]) {
        self.graph = Graph::new(links.iter().map(Links::from)).ok().map(Arc::new);
    }

    /// What waits for a person, else what failed, else what runs or was running.
    fn what_matters(&self) -> usize {
        let first = |status| self.stages().iter().position(|stage| stage.status == status);
        [
            StageStatus::Waiting,
            StageStatus::Failed,
            StageStatus::Backoff,
            StageStatus::Running,
            StageStatus::Cancelled,
            StageStatus::Degraded,
        ]
        .into_iter()
        .find_map(first)
        .unwrap_or(0)
    }

    /// Between two answers: what was told of a stage.
    pub fn put(&mut self, view: &StageView) {
        let Some(stages) = self.shown.as_mut().and_then(|shown| shown.run.stages.as_mut()) else { return };
        let place = usize::try_from(view.order).unwrap_or(usize::MAX);
        let Some(stage) = stages.get_mut(place).filter(|stage| stage.name == view.name) else { return };
        stage.status = view.status;
        stage.decision = view.decision;
        stage.reason = view.reason;
        stage.error.clone_from(&view.error);
        stage.started_at = view.started_at;
        stage.ended_at = view.ended_at;
        stage.retry_at = view.retry_at;
        stage.items = view.items.or(stage.items);
        if !self.chosen {
            self.stage = self.what_matters();
        }
        self.show.touch();
    }

    /// What the footer and the palette go by; `None` while it is not known.
    pub fn can(&self) -> Option<&Can> {
        let (stage, can) = self.can.as_ref()?;
        can.as_deref().filter(|_| *stage == self.can_stage())
    }

    /// `None`: there is no telling.
    pub fn take_can(&mut self, stage: Option<StageName>, can: Option<Box<Can>>) {
        self.can = Some((stage, can));
    }

    /// The stage that the answers of [`RunPane::can`] are to be about.
    pub fn can_stage(&self) -> Option<StageName> {
        if self.in_tree {
            return self.selected_row().map(|row| row.id.stage.clone());
        }
        let stage = self.selected()?;
        match stage.status {
            StageStatus::Waiting
            | StageStatus::Succeeded
            | StageStatus::Degraded
            | StageStatus::Failed
            | StageStatus::Cancelled => Some(stage.name.clone()),
            // A retry goes on from what failed first.
            StageStatus::Pending
            | StageStatus::Running
            | StageStatus::Backoff
            | StageStatus::Skipped
            | StageStatus::NotRun => None,
        }
    }

    /// The answer is about something else than what is selected by now.
    pub fn can_is_of_another(&self) -> bool {
        self.can.as_ref().is_none_or(|(stage, _)| *stage != self.can_stage())
    }

    pub fn wants_tree(&self) -> bool {
        self.in_tree || self.stages().len() <= SMALL
    }

    pub fn take_tree(&mut self, checkpoints: Vec<Checkpoint>, branches: Vec<BranchView>) {
        let before = self.selected_row().map(|row| row.id.clone());
        let tree = TreeOf::new(checkpoints, branches);
        let same = tree.rows.iter().position(|row| Some(&row.id) == before.as_ref());
        let last = tree.rows.len().saturating_sub(1);
        self.tree = Some(tree);
        self.checkpoint = same.unwrap_or(self.checkpoint).min(last);
        if !self.checkpoint_chosen {
            self.checkpoint = self.place_in_tree();
        }
    }

    /// Where the cursor of the tree starts: at what waits, else at what the selected stage left.
    pub fn place_in_tree(&self) -> usize {
        let Some(tree) = &self.tree else { return 0 };
        let own =
            self.selected().and_then(|stage| stage.checkpoint.as_ref()).map(|checkpoint| &checkpoint.id);
        let of_stage = tree.rows.iter().position(|row| Some(&row.id) == own);
        let waits = |row: &Row| row.approval == Approval::Pending && row.replaced_by.is_none();
        let pending = tree.rows.iter().position(waits);
        of_stage.or(pending).unwrap_or(tree.rows.len().saturating_sub(1))
    }

    pub fn selected_row(&self) -> Option<&Row> {
        self.tree.as_ref().filter(|_| self.in_tree)?.rows.get(self.checkpoint)
    }

    /// The checkpoint that actions are about: the one in the tree, or what the selected stage left.
    pub fn target(&self) -> Option<&Checkpoint> {
        let tree = self.tree.as_ref()?;
        if let Some(row) = self.selected_row() {
            return tree.get(&row.id);
        }
        self.standing(self.selected()?)
    }

    /// What a stage stands for: what its row names, or on an ended run the newest edit of that.
    pub fn standing(&self, stage: &StageRecord) -> Option<&Checkpoint> {
        let (tree, run) = (self.tree.as_ref()?, self.run()?);
        if run.status.is_final() {
            let lineage = Lineage { checkpoints: &tree.checkpoints, branches: &[], runs: &[] };
            return lineage.current(run, stage);
        }
        tree.get(&stage.checkpoint.as_ref()?.id)
    }

    /// The run in which something is done with a checkpoint: this one where it stands in it, else the one that made it.
    pub fn run_of(&self, checkpoint: &Checkpoint) -> RunId {
        let here = self.stages().iter().filter(|stage| stage.name == checkpoint.id.stage);
        let mut standing = here.filter_map(|stage| self.standing(stage));
        if standing.any(|one| one.id == checkpoint.id) { self.id.clone() } else { checkpoint.run_id.clone() }
    }

    /// Where a checkpoint is edited: on the branch that stands there, as the tree shows it beside it, whoever made it;
    /// else as anything is done with it. A branch of the run is told by a run of it.
    pub fn edited_on(&self, checkpoint: &Checkpoint) -> (RunId, Option<BranchName>) {
        let own = self.run().map(|run| &run.branch);
        let row = self.selected_row().filter(|row| row.id == checkpoint.id);
        let heads = row.map(|row| row.heads.as_slice()).unwrap_or_default();
        let is_own_head = own.is_some_and(|own| heads.contains(own));
        let run = self.run_of(checkpoint);
        match heads.last() {
            Some(head) if !is_own_head => (self.id.clone(), Some(head.clone())),
            // Another run of the same branch stands there.
            Some(_) if run != self.id => {
                let newest = self.lineage.iter().rev().find(|one| Some(&one.branch) == own);
                (newest.map_or(run, |newest| newest.run_id.clone()), None)
            }
            Some(_) | None => (run, None),
        }
    }

    /// The checkpoint that waits for a person, as far as it is known.
    pub fn asks(&self) -> Option<&Checkpoint> {
        let tree = self.tree.as_ref()?;
        let waits = |stage: &&StageRecord| stage.status == StageStatus::Waiting;
        let mut waiting = self.stages().iter().filter(waits);
        waiting.find_map(|stage| tree.get(&stage.checkpoint.as_ref()?.id))
    }

    /// The run that this one is a retry of.
    pub fn before(&self) -> Option<RunId> {
        self.run()?.parent_run_id.clone()
    }

    /// The newest retry of this run.
    pub fn after(&self) -> Option<RunId> {
        let own = |run: &&RunRecord| run.parent_run_id.as_ref() == Some(&self.id);
        self.lineage.iter().rev().find(own).map(|run| run.run_id.clone())
    }

    pub fn stands(&self, id: &CheckpointId) -> Stands {
        let row = self.tree.as_ref().and_then(|tree| tree.rows.iter().find(|row| row.id == *id));
        let Some(row) = row else { return Stands::Waits };
        let asks = self.asks().filter(|asks| asks.id.stage == id.stage && asks.id.version > id.version);
        match (&row.replaced_by, row.approval, asks) {
            (Some(by), ..) => Stands::Replaced(by.clone()),
            (None, Approval::Approved | Approval::Rejected, Some(asks)) => Stands::Replaced(asks.id.clone()),
            (None, Approval::Pending, _) => Stands::Waits,
            (None, judged, None) => {
                let who = row.approved_by.as_ref().map(|who| format!(" by {who}")).unwrap_or_default();
                Stands::Judged(format!("{judged}{who}"))
            }
        }
    }

    pub fn is_open(&self) -> bool {
        self.run().is_some_and(|run| matches!(run.status, RunStatus::Running | RunStatus::Queued))
    }
}
