//! The checkpoints of a lineage as a tree, and where its branches stand. What a person may do there is in
//! [`may`](super::may).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::ids::{BranchName, CheckpointId, RunId, StageName};
use super::record::{Artifact, Branch, Checkpoint, RunRecord, StageRecord};
use super::status::{Approval, RunStatus, StageStatus};
use crate::domain::json::{Json, JsonMap};
use crate::domain::time::Timestamp;

/// All that a lineage has.
#[derive(Debug, Clone, Copy)]
pub struct Lineage<'a> {
    /// The oldest first.
    pub checkpoints: &'a [Checkpoint],
    /// `main` and the others.
    pub branches: &'a [Branch],
    /// In any order. The newest one of each branch has its stages.
    pub runs: &'a [RunRecord],
}

impl<'a> Lineage<'a> {
    pub fn checkpoint(&self, id: &CheckpointId) -> Option<&'a Checkpoint> {
        self.checkpoints.iter().find(|one| one.id == *id)
    }

    pub fn branch(&self, name: &BranchName) -> Option<&'a Branch> {
        self.branches.iter().find(|one| one.branch_name == *name)
    }

    /// The newest run on a branch: what continuing there is about. One that is queued only waits for the one before it.
    /// None on one that was only just forked.
    pub fn newest_run(&self, branch: &BranchName) -> Option<&'a RunRecord> {
        self.runs.iter().filter(|run| run.branch == *branch).max_by_key(|run| newest(run))
    }

    /// Where a branch stands: at what waits for a person, else at what was left there last, else where it was forked.
    pub fn head(&self, branch: &BranchName) -> Option<&'a Checkpoint> {
        let waiting = self
            .newest_run(branch)
            .and_then(|run| waiting(run).find_map(|row| self.checkpoint(&row.checkpoint.as_ref()?.id)));
        waiting.or_else(|| self.checkpoints.iter().rev().find(|one| one.branch == *branch)).or_else(|| {
            let forked_from = self.branch(branch)?.forked_from.as_ref()?;
            self.checkpoint(forked_from)
        })
    }

    /// What a branch stands on that was only just forked, with what has been edited there since: where it left, and of
    /// each other stage what there was by then on the way there.
    pub fn forked(&self, name: &BranchName) -> Vec<&'a Checkpoint> {
        let from = self.branch(name).and_then(|branch| branch.forked_from.as_ref());
        let Some(at) = from.and_then(|id| self.checkpoint(id)) else { return Vec::new() };
        let mut stands = self.stood_at(at);
        for edit in self.checkpoints.iter().filter(|one| one.branch == *name) {
            if let Some(from) = stands.iter_mut().find(|one| Some(&one.id) == edit.edited_from.as_ref()) {
                *from = edit;
            }
        }
        stands
    }

    /// What stood when a checkpoint was made, this one first.
    pub fn stood_at(&self, at: &'a Checkpoint) -> Vec<&'a Checkpoint> {
        let mut stood = vec![at];
        while let Some(before) = stood.last().and_then(|one| self.checkpoint(one.parent.as_ref()?)) {
            if stood.iter().any(|one| one.id.stage == before.id.stage) {
                break;
            }
            stood.push(before);
        }
        // Of what is not drawn above it, the newest of then.
        let earlier = self.checkpoints.iter().rev().skip_while(|one| one.id != at.id);
        for one in earlier.filter(|one| one.branch == at.branch && one.approval != Approval::Rejected) {
            if stood.iter().all(|other| other.id.stage != one.id.stage) {
                stood.push(one);
            }
        }
        stood
    }

    /// The newest version before this one that may stand on a branch: approved, and made there or on the way there.
    pub fn before(&self, branch: &BranchName, id: &CheckpointId) -> Option<&'a Checkpoint> {
        let may_stand = |one: &Checkpoint| {
            one.id.stage == id.stage && one.id.version < id.version && one.approval == Approval::Approved
        };
        let (mut branch, mut until_then) = (branch, self.checkpoints);
        loop {
            let on_branch = until_then.iter().rev().filter(|one| one.branch == *branch);
            if let Some(found) = on_branch.into_iter().find(|one| may_stand(one)) {
                return Some(found);
            }
            let from = self.branch(branch)?.forked_from.as_ref()?;
            let place = until_then.iter().position(|one| one.id == *from)?;
            let at = &until_then[place];
            if may_stand(at) {
                return Some(at);
            }
            (branch, until_then) = (&at.branch, &until_then[..place]);
        }
    }

    /// The checkpoint that a row stands for: the one it names, or on an ended run the newest edit of that on the branch.
    pub fn current(&self, run: &RunRecord, row: &StageRecord) -> Option<&'a Checkpoint> {
        let mut current = self.checkpoint(&row.checkpoint.as_ref()?.id)?;
        // Each edit is newer than what it was made from, so one look at each is enough.
        for one in self.checkpoints {
            if one.branch == run.branch && one.edited_from.as_ref() == Some(&current.id) {
                current = one;
            }
        }
        Some(current)
    }
}

/// By which the newest run of a branch is found.
pub fn newest(run: &RunRecord) -> (bool, u64) {
    (run.status != RunStatus::Queued, run.run_number)
}

/// The stages of a run that wait for a person, in order.
pub fn waiting(run: &RunRecord) -> impl Iterator<Item = &StageRecord> {
    run.stages.iter().flatten().filter(|row| row.status == StageStatus::Waiting && row.checkpoint.is_some())
}

/// One line of the drawn tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What is drawn before the name.
    pub prefix: String,
    /// How often it forked on the way here.
    pub depth: u32,
    pub id: CheckpointId,
    pub status: StageStatus,
    pub approval: Approval,
    pub branch: BranchName,
    /// The branches that stand here.
    pub heads: Vec<BranchName>,
    pub run_id: RunId,
    /// Who made it by an edit; none where a stage did.
    pub who: Option<String>,
    pub edited_from: Option<CheckpointId>,
    pub approved_by: Option<String>,
    pub created_at: Timestamp,
    /// Nobody will judge it any more: this one has come in its place.
    pub replaced_by: Option<CheckpointId>,
}

/// A tree has as many levels as that, drawn; what forks deeper stays in the last column.
const DRAWN: u32 = 24;

/// Parents before children, the oldest first; an edit hangs on what was edited. An only child stands straight below its
/// parent, so that a run is a column and only what goes its own way, or is another version, moves aside. What hangs on
/// nothing stands in the first column; where there are several of these, nothing else does:
///
/// ```text
/// script@1
/// storyboard@1
/// ├─ render@1
/// └─ storyboard@2   (edited)
///    render@2
/// ```
pub fn rows(lineage: &Lineage<'_>) -> Vec<Row> {
    let known: BTreeSet<&CheckpointId> = lineage.checkpoints.iter().map(|one| &one.id).collect();
    let mut children: BTreeMap<Option<&CheckpointId>, Vec<&Checkpoint>> = BTreeMap::new();
    for one in lineage.checkpoints {
        // What hangs on something that is gone, or on itself, must still be seen.
        let parent = one.edited_from.as_ref().or(one.parent.as_ref());
        let parent = parent.filter(|parent| known.contains(parent) && **parent != one.id);
        children.entry(parent).or_default().push(one);
    }
    let mut heads: BTreeMap<&CheckpointId, Vec<BranchName>> = BTreeMap::new();
    for branch in lineage.branches {
        if let Some(head) = lineage.head(&branch.branch_name) {
            heads.entry(&head.id).or_default().push(branch.branch_name.clone());
        }
    }
    let mut newest: BTreeMap<(&StageName, &BranchName), &CheckpointId> = BTreeMap::new();
    for one in lineage.checkpoints {
        newest.insert((&one.id.stage, &one.branch), &one.id);
    }
    let mut rows = Vec::with_capacity(lineage.checkpoints.len());
    let roots = children.get(&None).map(Vec::as_slice).unwrap_or_default();
    let is_forest = roots.len() > 1;
    // What is drawn before a checkpoint itself, and before what stands below it.
    let mut open: Vec<(&Checkpoint, u32, String, String)> =
        roots.iter().rev().map(|root| (*root, 0, String::new(), String::new())).collect();
    while let Some((one, depth, prefix, below)) = open.pop() {
        let next = children.get(&Some(&one.id)).map(Vec::as_slice).unwrap_or_default();
        // Another version of the same must not look like what follows it.
        let forks = next.len() > 1 || next.iter().any(|child| child.id.stage == one.id.stage);
        let hangs_on_one_of_several = is_forest && depth == 0;
        let aside = (forks || hangs_on_one_of_several) && depth < DRAWN;
        for (place, child) in next.iter().enumerate().rev() {
            let (branch, trunk) = match (aside, place + 1 == next.len()) {
                (false, _) => ("", ""),
                (true, false) => ("├─ ", "│  "),
                (true, true) => ("└─ ", "   "),
            };
            let depth = depth + u32::from(aside);
            open.push((child, depth, format!("{below}{branch}"), format!("{below}{trunk}")));
        }
        let heads = heads.remove(&one.id).unwrap_or_default();
        let newer = newest.get(&(&one.id.stage, &one.branch)).filter(|newer| ***newer != one.id);
        // A branch that leaves here may still build on it.
        let is_over = one.approval == Approval::Pending && heads.is_empty();
        rows.push(Row {
            prefix,
            depth,
            id: one.id.clone(),
            status: one.status,
            approval: one.approval,
            branch: one.branch.clone(),
            heads,
            run_id: one.run_id.clone(),
            who: one.created_by.clone(),
            edited_from: one.edited_from.clone(),
            approved_by: one.approved_by.clone(),
            created_at: one.created_at,
            replaced_by: newer.filter(|_| is_over).map(|newer| CheckpointId::clone(newer)),
        });
    }
    rows
}

/// What two checkpoints do not have in common.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Diff {
    pub state: Vec<Differs<Json>>,
    pub artifacts: Vec<Differs<Artifact>>,
}

/// Added where there is no `before`, removed where there is no `after`, else changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Differs<T> {
    pub name: String,
    pub before: Option<T>,
    pub after: Option<T>,
}

/// State here is whatever is to be compared: outputs, or the state behind two stages.
pub fn diff(before: (&JsonMap, &[Artifact]), after: (&JsonMap, &[Artifact])) -> Diff {
    let by_name = |list: &[Artifact]| -> BTreeMap<String, Artifact> {
        list.iter().map(|artifact| (artifact.name.clone(), artifact.clone())).collect()
    };
    Diff {
        state: differing(before.0, after.0, |a, b| a == b),
        artifacts: differing(&by_name(before.1), &by_name(after.1), |a, b| {
            (&a.hash, a.executable) == (&b.hash, b.executable)
        }),
    }
}

fn differing<T: Clone>(
    before: &BTreeMap<String, T>,
    after: &BTreeMap<String, T>,
    same: impl Fn(&T, &T) -> bool,
) -> Vec<Differs<T>> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differs = |name: &String| {
        let (before, after) = (before.get(name), after.get(name));
        let equal = before.zip(after).is_some_and(|(before, after)| same(before, after));
        (!equal).then(|| Differs { name: name.clone(), before: before.cloned(), after: after.cloned() })
    };
    names.into_iter().filter_map(differs).collect()
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
