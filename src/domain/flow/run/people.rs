//! What people do to a run under way: cancel it, approve or reject what waits for them. And what the supervisor does
//! when it ends.

use super::course::When;
use super::{Effect, Ending, Index, Moment, Run, Turn, Unit, UnitKey, UnitPhase};
use crate::domain::flow::change::{Judgement, What};
use crate::domain::flow::ids::RunId;
use crate::domain::flow::news::News;
use crate::domain::flow::record::{AttemptRecord, Checkpoint, NOT_NEEDED};
use crate::domain::flow::status::{Decision, Reason, RunStatus, StageStatus};
use crate::domain::time::Timestamp;
use crate::domain::verdict::Verdict;

impl Run {
    pub fn cancel(&mut self, at: Moment) -> Turn {
        // One that is being ended already keeps its reason.
        if self.status.is_final() || self.ending.is_some() {
            return Turn::default();
        }
        self.error = Some("cancelled".into());
        self.end(Ending::Cancelled, at)
    }

    /// It waited for a failure that did not come: `by` is good, or was cancelled.
    pub fn not_needed(&mut self, by: &RunId, status: RunStatus, at: Moment) -> Turn {
        self.error = Some(if status == RunStatus::Cancelled {
            format!("{by} was cancelled, and this one was to begin only if that failed")
        } else {
            format!("{by} succeeded, {NOT_NEEDED}")
        });
        self.end(Ending::Cancelled, at)
    }

    /// The whole run has taken too long.
    pub fn timed_out(&mut self, at: Moment) -> Turn {
        let over = self.deadline().is_some_and(|deadline| deadline.at <= at.now.mono);
        if !over || self.ending.is_some() || self.status != RunStatus::Running {
            return Turn::default();
        }
        let limit = self.spec.timeout.unwrap_or_default().as_secs_f64();
        self.error = Some(format!("Flow execution timed out after {limit} seconds"));
        self.end(Ending::TimedOut, at)
    }

    /// The supervisor ends: what lives is ended by it, and the run goes on where it is when somebody says so.
    pub fn interrupt(&mut self, at: Moment) -> Turn {
        let mut turn = Turn::default();
        if self.status == RunStatus::Running {
            self.ending = Some(Ending::Interrupted);
            self.finish(at, &mut turn);
        }
        turn
    }

    fn end(&mut self, how: Ending, at: Moment) -> Turn {
        let mut turn = Turn::default();
        if self.status.is_final() || self.ending.is_some() {
            return turn;
        }
        self.ending = Some(how);
        self.status = RunStatus::Running;
        self.ready.clear();
        self.fresh.clear();
        for index in 0..self.stages.len() {
            let stage = &self.stages[index];
            if stage.status.is_final() {
                continue;
            }
            if stage.status == StageStatus::Waiting {
                self.waiting = self.waiting.saturating_sub(1);
                self.end_stage(index, StageStatus::Cancelled, None, at, &mut turn);
            } else if stage.opened && !stage.is_fanning(self.stage(index)) {
                self.end_units(index, at, &mut turn);
            } else {
                let status = match how {
                    Ending::Cancelled => StageStatus::Cancelled,
                    Ending::TimedOut | Ending::Interrupted => StageStatus::NotRun,
                };
                self.end_stage(index, status, None, at, &mut turn);
            }
        }
        self.rest(at, &mut turn);
        turn
    }

    /// Asks for the end of what lives; what only waits has ended.
    fn end_units(&mut self, index: Index, at: Moment, turn: &mut Turn) {
        if let Some(items) = &mut self.stages[index].items {
            items.clear();
        }
        for unit in &mut self.stages[index].units {
            match &mut unit.phase {
                UnitPhase::Live { stopping } => {
                    *stopping = true;
                    turn.now.push(Effect::Stop(UnitKey { stage: index, item: unit.item }));
                }
                UnitPhase::Ready | UnitPhase::Backoff { .. } => unit.phase = UnitPhase::Failed,
                UnitPhase::Settling | UnitPhase::Done | UnitPhase::Failed => {}
            }
        }
        self.conclude(index, at, turn);
    }

    /// From here on nobody is asked.
    pub fn ask_nobody(&mut self) -> Turn {
        let mut turn = Turn::default();
        if !self.approve_all && !self.status.is_final() {
            self.approve_all = true;
            turn.changes.push(What::AskNobody);
        }
        turn
    }

    /// A person takes on what a stage left; the store refuses where it is not what they saw. Without a judgement: it is
    /// on record already, with another run that waits for the same.
    pub fn approve(&mut self, index: Index, judgement: Option<Judgement>, at: Moment) -> Turn {
        let mut turn = Turn::default();
        if self.stages[index].status != StageStatus::Waiting {
            return turn;
        }
        turn.changes.extend(judgement.map(What::Judge));
        self.wake(at, &mut turn);
        self.waiting -= 1;
        let status = self.stages[index].good;
        self.end_stage(index, status, None, at, &mut turn);
        self.pass_on(index);
        self.go_on(at, &mut turn);
        turn
    }

    /// A person has set it going, unless it is queued: that one has its turn later.
    fn wake(&mut self, at: Moment, turn: &mut Turn) {
        if !matches!(self.status, RunStatus::Running | RunStatus::Queued) {
            self.set_going(at, turn);
        }
    }

    /// Where the run was interrupted, more than what waited for a person has its turn.
    fn go_on(&mut self, at: Moment, turn: &mut Turn) {
        if self.status == RunStatus::Queued {
            return;
        }
        let due = self.due_now();
        self.open_all(due, at, turn);
        self.fill(When::After, at, turn);
        self.rest(at, turn);
    }

    /// What is written down together with an edit of what a stage left: its row waits for a person from then on, and
    /// where the run has built on it, all of that is executed again.
    pub fn rewind(&self, index: Index) -> Vec<What> {
        if self.stages[index].status == StageStatus::Waiting {
            return Vec::new();
        }
        let stage = &self.stages[index];
        let mut changes = vec![What::Stage {
            stage: self.spec.stages[index].name.clone(),
            status: StageStatus::Waiting,
            reason: stage.reason,
            error: None,
            started_at: stage.started_at,
            ended_at: None,
            retry_at: None,
        }];
        changes.extend(self.graph.descendants(&[index]).into_iter().map(|one| What::Reset {
            stage: self.spec.stages[one].name.clone(),
            reason: Reason::Edited,
            feedback: None,
        }));
        changes
    }

    /// A person has put something else in the place of what a stage left, in a run that waits for people, as the records
    /// have it with what [`rewind`](Self::rewind) says; the run waits there, for what it is now.
    pub fn edited(&mut self, checkpoint: Checkpoint, at: Moment) -> Turn {
        let mut turn = Turn::default();
        let Some(index) = self.find(&checkpoint.id.stage) else { return turn };
        let status = self.stages[index].status;
        if status.is_good() {
            let again = self.graph.descendants(&[index]);
            for one in &again {
                self.reset(*one, Reason::Edited, None, at, &mut turn);
            }
            // It is on record already.
            turn.changes.clear();
            let stage = &mut self.stages[index];
            (stage.status, stage.error, stage.ended_at) = (StageStatus::Waiting, None, None);
            self.open += 1;
            self.waiting += 1;
            self.count_open_before(&again);
        } else if status != StageStatus::Waiting {
            return turn;
        }
        let id = checkpoint.id.clone();
        self.stages[index].good = checkpoint.status;
        self.left_behind(index, checkpoint.outputs, checkpoint.artifacts);
        self.stages[index].checkpoint = Some(id.clone());
        turn.news.push(News::Asks { run: self.id.clone(), checkpoint: id });
        turn.touched.push(index);
        turn
    }

    /// A person sends the run back: `to` and everything that builds on it is executed again.
    pub fn reject(
        &mut self,
        index: Index,
        to: Index,
        judgement: Option<Judgement>,
        feedback: &str,
        at: Moment,
    ) -> Turn {
        let mut turn = Turn::default();
        if self.stages[index].status != StageStatus::Waiting {
            return turn;
        }
        turn.changes.extend(judgement.map(What::Judge));
        self.wake(at, &mut turn);
        let mut again = vec![to];
        again.extend(self.graph.descendants(&[to]));
        for one in &again {
            let feedback = (*one == to).then(|| feedback.to_owned());
            let reason = if *one == to { Reason::Rejected } else { Reason::Descendant };
            self.reset(*one, reason, feedback, at, &mut turn);
        }
        self.count_open_before(&again);
        self.go_on(at, &mut turn);
        turn
    }

    fn count_open_before(&mut self, stages: &[Index]) {
        for one in stages {
            let upstream = self.graph.upstream(*one);
            let open = upstream.iter().filter(|other| !self.stages[**other].status.is_final()).count();
            self.stages[*one].left = u32::try_from(open).unwrap_or(u32::MAX);
        }
    }

    /// As if it had never begun in this run; its attempts are counted on.
    fn reset(&mut self, index: Index, reason: Reason, feedback: Option<String>, at: Moment, turn: &mut Turn) {
        let status = self.stages[index].status;
        self.waiting -= usize::from(status == StageStatus::Waiting);
        self.open += usize::from(status.is_final());
        self.ready.retain(|key| key.stage != index);
        self.fresh.retain(|key| key.stage != index);
        self.state.forget(index);
        self.chain.forget(index);
        let name = self.spec.stages[index].name.clone();
        let stage = &mut self.stages[index];
        self.active -= usize::from(std::mem::take(&mut stage.opened));
        for unit in stage.retire() {
            let key = UnitKey { stage: index, item: unit.item };
            match unit.phase {
                UnitPhase::Live { .. } => {
                    self.live -= 1;
                    turn.after.push(Effect::Stop(key));
                }
                UnitPhase::Settling => turn.after.push(Effect::Forget(key)),
                UnitPhase::Ready | UnitPhase::Backoff { .. } | UnitPhase::Done | UnitPhase::Failed => {
                    continue;
                }
            }
            // Its end tells nothing any more, but its number must not be given again.
            let attempt = cut_short(&unit, stage.started_at, at);
            turn.changes.push(What::Attempt { stage: name.clone(), attempt });
        }
        stage.status = StageStatus::Pending;
        stage.decision = Decision::Execute;
        stage.reason = Some(reason);
        stage.feedback.clone_from(&feedback);
        stage.error = None;
        stage.started_at = None;
        stage.ended_at = None;
        stage.checkpoint = None;
        turn.changes.push(What::Reset { stage: name, reason, feedback });
        turn.touched.push(index);
    }
}

/// An attempt that nobody waits for any more.
fn cut_short(unit: &Unit, started_at: Option<Timestamp>, at: Moment) -> AttemptRecord {
    AttemptRecord {
        number: unit.attempt,
        item: unit.item,
        verdict: Some(Verdict::Stopped),
        exit_code: None,
        signal: None,
        error: Some("stopped: the run was sent back to before it".into()),
        started_at,
        ended_at: Some(at.now.wall),
        cpu_seconds: None,
        peak_rss_bytes: None,
        cost: None,
        log: None,
        blameless: true,
    }
}
