//! What actions do with runs. What the supervisor decides is asked of it, so that a key that is not offered says why.

use super::super::super::dialog::Dialog;
use super::super::super::event::{Cmd, Declined, EditOrder};
use super::super::super::flows::Thing;
use super::super::super::flows::pane::RunPane;
use super::super::super::flows::question::{Question, Typing, TypingWhat, Way, editable};
use super::super::super::model::{Focus, Model, Screen};
use super::super::super::theme::Ink;
use super::{open_run, tell_why, thing};
use crate::domain::flow::ask::{BranchView, Can, FlowRequest, RetryWish, RunWish};
use crate::domain::flow::ids::{BranchName, FlowName, RunId};
use crate::domain::flow::record::Checkpoint;
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::spec::FlowSpec;
use crate::domain::flow::status::{Approval, RunStatus, StageStatus};
use crate::domain::json::JsonMap;
use crate::domain::keys::{Action, Place};

/// `None`: it is no action of runs.
pub(in super::super) fn act(model: &mut Model, action: Action) -> Option<Vec<Cmd>> {
    if !action.binding().is_some_and(|binding| binding.scope.covers(model.place())) {
        return None;
    }
    if waits_for_tree(model, action) {
        return Some(Vec::new());
    }
    let cmds = match (action, model.screen) {
        (Action::Retry, _) => retry(model),
        (Action::Approve, _) => approve(model),
        (Action::Reject, _) => reject(model),
        (Action::Proceed, _) => proceed(model),
        (Action::CancelRun, _) => cancel(model),
        (Action::Edit, _) => edit(model),
        (Action::Look, _) => super::look::look(model),
        (Action::Fork, _) => fork(model),
        (Action::StageLog, _) => {
            if model.can(action) {
                model.focus = Focus::Log;
                // The run may go on: what is read is the log of this stage, and not of the one that matters next.
                if let Some(pane) = &mut model.flows.pane {
                    pane.chosen = true;
                }
            }
            Vec::new()
        }
        (Action::Tree, _) => {
            if let Some(pane) = &mut model.flows.pane {
                pane.in_tree = !pane.in_tree;
                pane.checkpoint = pane.place_in_tree();
                pane.checkpoint_chosen = false;
            }
            Vec::new()
        }
        (Action::PrevRun, _) => walk(model, RunPane::before, "is no retry of another run"),
        (Action::NextRun, _) => walk(model, RunPane::after, "has not been retried"),
        _ => return None,
    };
    Some(cmds)
}

/// A checkpoint that was left a moment ago is still being looked up: the key counts once it is known.
fn waits_for_tree(model: &mut Model, action: Action) -> bool {
    let judged = matches!(action, Action::Approve | Action::Reject);
    if !judged && !matches!(action, Action::Edit | Action::Fork) {
        return false;
    }
    let has_target = model.flows.pane.as_ref().is_some_and(|pane| pane.target().is_some());
    let is_known = if judged { pending(model).is_some() } else { has_target };
    let (now, run) = (model.now, model.target_run());
    let Some(pane) = model.flows.pane.as_mut().filter(|pane| Some(&pane.id) == run.as_ref()) else {
        return false;
    };
    let settled = pane.show.is_settled() && pane.load_tree.is_settled();
    if is_known || settled || pane.problem.is_some() {
        return false;
    }
    pane.show.hurry(now);
    pane.load_tree.hurry(now);
    model.flows.once_known = run.map(|run| (run, action));
    true
}

/// Something was looked up: the key that waited for it counts now, where it is still about the same.
pub(super) fn resume(model: &mut Model) -> Vec<Cmd> {
    let Some((run, action)) = model.flows.once_known.clone() else { return Vec::new() };
    if model.dialog.is_some() || model.target_run() != Some(run) {
        model.flows.once_known = None;
        return Vec::new();
    }
    let known =
        model.flows.pane.as_ref().is_some_and(|pane| {
            pane.show.is_settled() && pane.load_tree.is_settled() || pane.problem.is_some()
        });
    let judged = matches!(action, Action::Approve | Action::Reject) && pending(model).is_some();
    if known || judged {
        model.flows.once_known = None;
        return act(model, action).unwrap_or_default();
    }
    Vec::new()
}

/// What a request is about, as a title.
pub(super) fn title(what: &FlowRequest) -> String {
    match what {
        FlowRequest::Run(wish) => format!("Run {}", wish.flow),
        FlowRequest::Retry(wish) => format!("Retry {}", wish.run),
        FlowRequest::Cancel { run } => format!("Cancel {run}"),
        FlowRequest::Unlock { run } => format!("Unlock {run}"),
        FlowRequest::Approve(wish) => format!("Approve {}", wish.run),
        FlowRequest::Reject(wish) => format!("Reject {}", wish.run),
        FlowRequest::Continue(wish) => format!("Continue {}", wish.run),
        FlowRequest::Edit(wish) => format!("Edit {} of {}", wish.stage, wish.run),
        FlowRequest::Fork(wish) => format!("Branch {}", wish.branch),
        FlowRequest::Show { run }
        | FlowRequest::Glance { run }
        | FlowRequest::Links { run }
        | FlowRequest::Checkpoints { run }
        | FlowRequest::Can { run, .. } => {
            format!("Show {run}")
        }
        FlowRequest::Runs(_) => "List the runs".to_owned(),
        FlowRequest::Delete { .. } => "Delete runs".to_owned(),
        FlowRequest::Gc { .. } => "Tidy up".to_owned(),
    }
}

/// Asks for something to be done, unless something is under way there already.
pub(in super::super) fn ask(model: &mut Model, word: &'static str, request: FlowRequest) -> Vec<Cmd> {
    if !model.is_connected() {
        let text =
            format!("{}: there is no connection to a supervisor now; try again in a moment", title(&request));
        model.toasts.push(Ink::Bad, text, model.now);
        return Vec::new();
    }
    if thing(&request).is_some_and(|thing| !model.flows.begin(thing, word)) {
        return Vec::new();
    }
    vec![Cmd::Flow(Box::new(request))]
}

fn question(model: &mut Model, question: Question) -> Vec<Cmd> {
    model.dialog = Some(Dialog::Flow(Box::new(question)));
    Vec::new()
}

/// Something is under way with it: a second press does nothing.
fn is_busy(model: &Model, run: &RunId) -> bool {
    model.flows.doing(run).is_some()
}

/// First the plan; what is refused comes back with its reason.
fn retry(model: &mut Model) -> Vec<Cmd> {
    let Some(run) = model.target_run() else { return Vec::new() };
    retry_of(model, run)
}

pub(in super::super) fn retry_of(model: &mut Model, run: RunId) -> Vec<Cmd> {
    // On the screen of a run it is about the selected stage.
    let pane = model.flows.pane.as_ref().filter(|pane| pane.id == run && model.screen == Screen::Run);
    let named = pane.filter(|pane| {
        pane.chosen || pane.in_tree || !pane.selected().is_some_and(|one| one.status.is_good())
    });
    let from = named.and_then(RunPane::can_stage);
    let wish = RetryWish {
        run,
        branch: None,
        from,
        set: JsonMap::new(),
        force: false,
        queue: false,
        dry_run: true,
        seen: None,
        approve_all: false,
        who: Some(model.setup.who.clone()),
        asker: None,
    };
    ask(model, "planning a retry", FlowRequest::Retry(wish))
}

/// What was selected has succeeded: its plan is shown all the same, and says so. That a later run has made it already is
/// the answer, where it is so.
pub(super) fn forced(what: &FlowRequest, declined: &Declined) -> Option<RetryWish> {
    let FlowRequest::Retry(wish) = what else { return None };
    let Some(Refusal::Succeeded { stage, by: None, .. }) = declined.refusal.as_deref() else { return None };
    let is_named = wish.dry_run && !wish.force && wish.from.as_ref() == Some(stage);
    is_named.then(|| RetryWish { force: true, ..wish.clone() })
}

fn is_forced(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Succeeded { by: None, .. })
}

/// The checkpoint that waits, and the run in which it does.
fn pending(model: &Model) -> Option<(RunId, Box<Checkpoint>)> {
    let run = model.target_run()?;
    let pane = model.flows.pane.as_ref().filter(|pane| pane.id == run)?;
    let selected = pane.target().filter(|one| one.approval == Approval::Pending);
    let found = selected.or_else(|| pane.asks().filter(|_| !pane.in_tree))?;
    Some((pane.run_of(found), Box::new(found.clone())))
}

fn approve(model: &mut Model) -> Vec<Cmd> {
    if model.screen == Screen::History {
        return look_first(model);
    }
    match pending(model) {
        Some((run, _)) if is_busy(model, &run) => Vec::new(),
        Some((run, checkpoint)) => question(model, Question::Approve { run, checkpoint, scroll: 0 }),
        None => why_not(model, "Approve", |can| &can.approve, "nothing of it is known to wait for you"),
    }
}

/// What is judged has to be looked at, and a line of the history does not tell enough.
fn look_first(model: &mut Model) -> Vec<Cmd> {
    if let Some(run) = model.target_run() {
        open_run(model, &run);
    }
    Vec::new()
}

/// Where another stage than the one that waits is selected, the run goes back to that one.
fn reject(model: &mut Model) -> Vec<Cmd> {
    if model.screen == Screen::History {
        return look_first(model);
    }
    let Some((run, checkpoint)) = pending(model) else {
        return why_not(model, "Reject", |can| &can.approve, "nothing of it is known to wait for you");
    };
    if is_busy(model, &run) {
        return Vec::new();
    }
    let pane = model.flows.pane.as_ref().filter(|_| model.place() == Place::Run);
    let selected = pane.and_then(|pane| pane.selected()).map(|stage| stage.name.clone());
    let rewind_to = selected.filter(|stage| *stage != checkpoint.id.stage);
    let (checkpoint, hash) = (checkpoint.id, checkpoint.hash);
    let what = TypingWhat::Reject { run, checkpoint, hash, rewind_to };
    let typing = super::answer::begin(model, what);
    question(model, Question::Type(typing))
}

/// What it would do is said before.
fn proceed(model: &mut Model) -> Vec<Cmd> {
    let Some(run) = model.target_run() else { return Vec::new() };
    if is_busy(model, &run) {
        return Vec::new();
    }
    let Some(pane) =
        model.flows.pane.as_ref().filter(|pane| pane.id == run && model.screen != Screen::History)
    else {
        return look_first(model);
    };
    let title = format!("Continue {run}");
    if pane.run().is_some_and(|run| run.status == RunStatus::Waiting) && pane.selected_row().is_none() {
        // Going on means taking on what waits, and that is looked at first.
        return approve(model);
    }
    let mut ways = ways(pane);
    match &ways[..] {
        [] => why_not(model, "Continue", |can| &can.proceed, "it is still being looked up"),
        [Way { does: Err(why), .. }] => {
            let why = why.clone();
            tell_why(model, title, &why, "");
            Vec::new()
        }
        [_, ..] => {
            let selected = ways.iter().position(|way| way.does.is_ok()).unwrap_or(0);
            question(model, Question::Proceed { run, ways: std::mem::take(&mut ways), selected })
        }
    }
}

/// Where it may go on: on each branch that stands at the selected checkpoint, or on its own.
fn ways(pane: &RunPane) -> Vec<Way> {
    let (Some(tree), Some(run)) = (&pane.tree, pane.run()) else { return Vec::new() };
    let way = |view: &BranchView| Way {
        branch: Some(view.branch.branch_name.clone()),
        // What it takes on is what is said, even where the branch has moved on meanwhile.
        checkpoint: view.latest_checkpoint_id.clone(),
        does: if view.can_continue { Ok(view.reason.clone()) } else { Err(view.reason.clone()) },
    };
    match pane.selected_row() {
        None => tree.branch(&run.branch).map(way).into_iter().collect(),
        Some(row) if row.heads.is_empty() => {
            let does = Ok(format!("goes on behind {}", row.id));
            vec![Way { branch: None, checkpoint: Some(row.id.clone()), does }]
        }
        Some(row) => row.heads.iter().filter_map(|head| tree.branch(head)).map(way).collect(),
    }
}

fn cancel(model: &mut Model) -> Vec<Cmd> {
    let Some(run) = model.target_run() else { return Vec::new() };
    cancel_of(model, run)
}

pub(in super::super) fn cancel_of(model: &mut Model, run: RunId) -> Vec<Cmd> {
    if is_busy(model, &run) {
        return Vec::new();
    }
    match model.status_of(&run) {
        Some(status) if status.is_final() => {
            let refusal = Refusal::Ended { run: run.clone(), status };
            tell_why(model, format!("Cancel {run}"), &refusal.to_string(), &refusal.hint());
            Vec::new()
        }
        Some(_) | None => question(model, Question::Cancel { run }),
    }
}

fn edit(model: &mut Model) -> Vec<Cmd> {
    let target = model.flows.pane.as_ref().and_then(|pane| {
        let checkpoint = pane.target()?.clone();
        Some((pane.edited_on(&checkpoint), checkpoint))
    });
    let refused = |(run, branch): &(RunId, Option<BranchName>)| {
        let pane = model.flows.pane.as_ref().filter(|pane| pane.id == *run && branch.is_none());
        pane.and_then(|pane| pane.can()).is_some_and(|can| can.edit.is_err())
    };
    match target {
        Some(((run, _), _)) if is_busy(model, &run) => Vec::new(),
        Some((place, checkpoint)) if !refused(&place) => {
            let (run, branch) = place;
            let mut parts = editable(&checkpoint);
            if parts.len() == 1 {
                let (id, hash) = (checkpoint.id, checkpoint.hash);
                let order = EditOrder { run, branch, checkpoint: id, hash, what: parts.remove(0) };
                return vec![Cmd::Edit(Box::new(order))];
            }
            if parts.is_empty() {
                tell_why(
                    model,
                    "Edit".into(),
                    &format!("{} left nothing that could be edited", checkpoint.id),
                    "",
                );
                return Vec::new();
            }
            question(model, Question::Edit { run, branch, checkpoint: Box::new(checkpoint), selected: 0 })
        }
        Some(_) | None => why_not(model, "Edit", |can| &can.edit, "the stage has left nothing so far"),
    }
}

fn fork(model: &mut Model) -> Vec<Cmd> {
    let Some(pane) = &model.flows.pane else { return Vec::new() };
    let Some(target) = pane.target() else {
        let why = "a branch begins at a checkpoint, and the stage has left none so far";
        tell_why(model, "Branch".into(), why, "");
        return Vec::new();
    };
    let what = TypingWhat::Fork { run: pane.id.clone(), at: target.id.clone() };
    if is_busy(model, &pane.id) {
        return Vec::new();
    }
    question(model, Question::Type(Typing::new(what)))
}

/// The refusal that stands behind a key that is not offered.
fn why_not(
    model: &mut Model,
    act: &str,
    of: impl Fn(&Can) -> &Result<(), Refusal>,
    otherwise: &str,
) -> Vec<Cmd> {
    let Some(run) = model.target_run() else { return Vec::new() };
    let pane = model.flows.pane.as_ref().filter(|pane| pane.id == run);
    let refusal = pane.and_then(|pane| pane.can()).and_then(|can| of(can).as_ref().err().cloned());
    let (why, hint) = match refusal {
        Some(refusal) => (refusal.to_string(), refusal.hint()),
        None => (otherwise.to_owned(), String::new()),
    };
    tell_why(model, format!("{act} {run}"), &why, &hint);
    Vec::new()
}

fn walk(model: &mut Model, to: impl Fn(&RunPane) -> Option<RunId>, otherwise: &str) -> Vec<Cmd> {
    let Some(pane) = &model.flows.pane else { return Vec::new() };
    let (in_tree, lineage) = (pane.in_tree, pane.lineage.clone());
    if let Some(run) = to(pane) {
        open_run(model, &run);
        if let Some(pane) = &mut model.flows.pane {
            // The way back is known while it is looked up anew.
            (pane.in_tree, pane.lineage) = (in_tree, lineage);
        }
    } else if pane.shown.is_some() {
        let text = format!("{} {otherwise}", pane.id);
        model.toasts.push(Ink::Text, text, model.now);
    }
    Vec::new()
}

/// A new run: what it needs to be given is asked for first.
pub(in super::super) fn start(model: &mut Model, flow: &FlowName) -> Vec<Cmd> {
    let spec = model.config.as_ref().and_then(|config| config.flows.iter().find(|one| one.name == *flow));
    let missing = spec.map(|spec| missing(spec)).unwrap_or_default();
    run_with(model, flow.clone(), JsonMap::new(), missing)
}

fn missing(spec: &FlowSpec) -> Vec<String> {
    let needed = spec.inputs.iter().filter(|(_, input)| input.required && input.default.is_none());
    needed.map(|(name, _)| name.clone()).collect()
}

pub(super) fn run_with(model: &mut Model, flow: FlowName, given: JsonMap, missing: Vec<String>) -> Vec<Cmd> {
    if !missing.is_empty() {
        return question(model, Question::Type(Typing::new(TypingWhat::Input { flow, given, missing })));
    }
    let wish = RunWish { flow, inputs: given, key: None, caller: None, approve_all: false };
    ask(model, "starting", FlowRequest::Run(wish))
}

impl Model {
    /// The run that actions are about, in the place where the keyboard is.
    pub fn target_run(&self) -> Option<RunId> {
        match self.place() {
            Place::RunRow => self.list.run.clone(),
            Place::Run | Place::Tree | Place::StageLog => {
                self.flows.pane.as_ref().map(|pane| pane.id.clone())
            }
            Place::History => self.flows.history.selected().map(|run| run.run_id.clone()),
            Place::List | Place::Log | Place::Analytics | Place::Config | Place::Help | Place::Attach => None,
        }
    }

    pub fn status_of(&self, run: &RunId) -> Option<RunStatus> {
        let pane = self.flows.pane.as_ref().filter(|pane| pane.id == *run).and_then(|pane| pane.run());
        let listed = self.flows.history.rows.iter().find(|one| one.run_id == *run);
        let known = self.flows.get(run).map(|view| view.status);
        known.or_else(|| pane.or(listed).map(|run| run.status))
    }

    /// Whether an action of runs would do something now; what the supervisor decides goes by what it said last.
    pub(in crate::frontend::tui) fn can_flow(&self, action: Action) -> bool {
        let Some(run) = self.target_run() else { return false };
        let pane = self.flows.pane.as_ref().filter(|pane| pane.id == run);
        let can = pane.and_then(|pane| pane.can());
        let status = self.status_of(&run);
        match (action, pane) {
            (Action::Tree, _) => return true,
            (Action::Look, _) => return self.can_look(),
            (Action::PrevRun, pane) => return pane.is_some_and(|pane| pane.before().is_some()),
            (Action::NextRun, pane) => return pane.is_some_and(|pane| pane.after().is_some()),
            (Action::StageLog, pane) => {
                return pane.is_some_and(|pane| !pane.in_tree && pane.selected().is_some_and(has_log));
            }
            _ => {}
        }
        if !self.is_connected() || self.flows.doing(&run).is_some() {
            return false;
        }
        match (action, self.screen) {
            (Action::Retry, Screen::History) => {
                status.is_some_and(|status| status.is_final() && status != RunStatus::Succeeded)
                    && !self.flows.history.has_gone_on(&run)
            }
            (Action::Retry, screen) => can.is_some_and(|can| match &can.retry {
                Ok(()) => true,
                Err(refusal) => {
                    let named = pane.is_some_and(|pane| pane.chosen || pane.in_tree);
                    screen == Screen::Run && named && is_forced(refusal)
                }
            }),
            (Action::Approve | Action::Reject, _) => pending(self).is_some(),
            (Action::Proceed, _) => {
                let row = pane.and_then(|pane| pane.selected_row()).filter(|row| !row.heads.is_empty());
                match (row, pane) {
                    // It is about the branches that stand there.
                    (Some(_), Some(pane)) => ways(pane).iter().any(|way| way.does.is_ok()),
                    _ => can.is_some_and(|can| can.proceed.is_ok()),
                }
            }
            (Action::CancelRun, _) => status.is_some_and(|status| !status.is_final()),
            (Action::Edit, _) => pane.is_some_and(|pane| {
                let place = pane.target().map(|target| pane.edited_on(target));
                let elsewhere = place.as_ref().is_some_and(|(on, branch)| *on != run || branch.is_some());
                // What the supervisor said is about the run that is looked at.
                place.is_some() && (elsewhere || can.is_some_and(|can| can.edit.is_ok()))
            }),
            (Action::Fork, _) => {
                let target = pane.and_then(|pane| pane.target());
                target.is_some_and(|one| one.approval != Approval::Rejected)
            }
            _ => false,
        }
    }

    /// Something can be begun with it.
    pub fn can_start(&self, flow: &FlowName) -> bool {
        self.is_connected() && !self.flows.is_doing(&Thing::Flow(flow.clone()))
    }
}

fn has_log(stage: &crate::domain::flow::record::StageRecord) -> bool {
    stage.status != StageStatus::Skipped && stage.attempts.iter().any(|attempt| attempt.log.is_some())
}
