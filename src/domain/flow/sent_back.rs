//! What people sent back and nobody has done better yet: where a retry begins by that, and what it is told.

use super::ids::StageName;
use super::record::{RunRecord, StageRecord};
use super::status::Approval;
use super::tree::Lineage;
use crate::domain::time::Timestamp;

/// A rejection that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentBack {
    /// The stage that is to be executed again.
    pub to: StageName,
    pub feedback: String,
    pub at: Option<Timestamp>,
}

/// Those of what a run has left, the newest first. What was executed again after a rejection is named by the run no more.
pub fn of(lineage: &Lineage<'_>, run: &RunRecord) -> Vec<SentBack> {
    let standing = run.stages.iter().flatten().filter_map(|row| lineage.current(run, row));
    let mut found: Vec<SentBack> = standing
        .filter(|one| one.approval == Approval::Rejected)
        .map(|one| SentBack {
            to: one.rewind_to.clone().unwrap_or_else(|| one.id.stage.clone()),
            feedback: one.note.clone().unwrap_or_default(),
            at: one.approved_at,
        })
        .collect();
    found.sort_by_key(|one| std::cmp::Reverse(one.at));
    found
}

/// What a stage is told when it is executed again: by whoever sent it back last; else what it was told before, if it has
/// not ended well since.
pub fn feedback(sent_back: &[SentBack], stage: &StageName, before: Option<&StageRecord>) -> Option<String> {
    let said = sent_back.iter().find(|one| one.to == *stage).map(|one| one.feedback.clone());
    said.or_else(|| before.filter(|row| row.checkpoint.is_none() && !row.status.is_good())?.feedback.clone())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, lists, name};
    use super::*;

    #[test]
    fn a_rejection_is_told_until_it_was_answered() {
        let (mut checkpoints, branches, mut runs) = lists(
            "s@1\n b@1\n b@2 rejected edits=b@1\n c@1 rejected",
            "main",
            "12 cancelled s=succeeded@1 b=succeeded@1 c=cancelled@1 d=failed e=succeeded@1 f=cancelled",
        );
        for (place, second, note) in [(2, 5, "darker"), (3, 7, "shorter")] {
            checkpoints[place].note = Some(note.into());
            checkpoints[place].approved_at = Some(at(second));
        }
        checkpoints[3].rewind_to = Some(name("s"));
        for row in runs[0].stages.iter_mut().flatten() {
            row.feedback = Some(format!("old of {}", row.name));
        }
        let lineage = Lineage { checkpoints: &checkpoints, branches: &branches, runs: &runs };
        let sent_back = of(&lineage, &runs[0]);
        let to: Vec<&str> = sent_back.iter().map(|one| one.to.as_str()).collect();
        assert_eq!(to, ["s", "b"]);
        let told = |stage: &str| {
            let before = runs[0].stages.iter().flatten().find(|row| row.name.as_str() == stage);
            feedback(&sent_back, &name(stage), before)
        };
        assert_eq!(told("s").as_deref(), Some("shorter"));
        assert_eq!(told("b").as_deref(), Some("darker"));
        // It was rejected, but another one is to be better.
        assert_eq!(told("c"), None);
        assert_eq!(told("d").as_deref(), Some("old of d"));
        assert_eq!(told("e"), None, "it has ended well since");
        assert_eq!(told("f").as_deref(), Some("old of f"));
        assert_eq!(told("gone"), None);
    }
}
