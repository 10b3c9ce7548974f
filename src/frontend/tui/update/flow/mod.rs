//! Runs: what is told of them, what comes of what was asked, and what is to be asked next. [`act`] is what actions do,
//! [`answer`] what becomes of a question that was asked back.

use jiff::Timestamp;

use super::super::dialog::Dialog;
use super::super::event::{Cmd, Declined};
use super::super::flows::question::{Question, Typing, TypingWhat};
use super::super::flows::{Flows, Thing};
use super::super::input::LineInput;
use super::super::layout::is_tiny;
use super::super::model::{Focus, Model, Screen};
use super::super::theme::Ink;
use crate::domain::flow::ask::{FlowReply, FlowRequest, RetryWish};
use crate::domain::flow::ids::{CheckpointId, RunId};
use crate::domain::flow::news::News;
use crate::domain::flow::record::{RunFilter, RunRecord};
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::status::RunStatus;
use crate::domain::flow::view::{FlowNotice, FlowUpdate, RunView, StageView};
use crate::frontend::text::one_line;

pub(super) mod act;
pub(super) mod answer;
mod edits;
#[cfg(test)]
mod list_tests;
pub(super) mod look;
#[cfg(test)]
mod tests;

pub(super) use edits::{edited, unanswered};
use edits::{keep_edited, kept_in};

pub(super) fn hear(model: &mut Model, update: &FlowUpdate) -> Vec<Cmd> {
    match update {
        FlowUpdate::Run(view) => {
            hear_run(model, view);
            Vec::new()
        }
        FlowUpdate::Stage(view) => {
            hear_stage(model, view);
            Vec::new()
        }
        FlowUpdate::News(notice) => hear_news(model, notice),
    }
}

fn hear_run(model: &mut Model, view: &RunView) {
    let flows = &mut model.flows;
    let before = flows.get(&view.run_id).cloned();
    if !flows.put(view.clone()) {
        return;
    }
    let turned = before.as_ref().is_none_or(|old| old.status != view.status || old.asks != view.asks);
    if let Some(pane) = &mut flows.pane {
        if before.is_none() {
            pane.load_lineage.touch();
        }
        if pane.id == view.run_id {
            if let Some(shown) = &mut pane.shown {
                shown.run.status = view.status;
                shown.run.started_at = view.started_at;
                shown.run.ended_at = view.ended_at;
                shown.run.deadline = view.deadline;
                shown.run.error.clone_from(&view.error);
                shown.run.held.clone_from(&view.held);
            }
            pane.show.touch();
        }
        if turned {
            // Another run of the lineage decides, too, what may be done with this one.
            pane.touch();
            pane.load_lineage.touch();
        }
    }
    if turned {
        flows.history.fresh.touch();
        model.list.stale = true;
    }
    model.dirty = true;
}

fn hear_stage(model: &mut Model, view: &StageView) {
    let Some(pane) = model.flows.pane.as_mut().filter(|pane| pane.id == view.run_id) else { return };
    pane.put(view);
    if view.status.is_final() {
        pane.load_tree.touch();
    }
    model.dirty |= is_on_screen(model);
}

fn hear_news(model: &mut Model, notice: &FlowNotice) -> Vec<Cmd> {
    let (ink, text, rings) = match &notice.what {
        // Whoever made it has been told by the answer.
        News::Asks { checkpoint, .. } if is_told(model, &made(checkpoint)) => return Vec::new(),
        News::Asks { run, checkpoint } => (Ink::Waiting, format!("{run} waits for you: {checkpoint}"), true),
        News::RunEnded { status: RunStatus::Failed, .. } => (Ink::Bad, notice.what.to_string(), true),
        News::HookFailed { .. } => (Ink::Bad, notice.what.to_string(), false),
        News::RunEnded { status: RunStatus::Succeeded, .. } => (Ink::Good, notice.what.to_string(), false),
        News::RunEnded { .. } | News::Held { .. } => (Ink::Waiting, notice.what.to_string(), false),
        // The screens show these as they happen.
        News::RunStarted { .. }
        | News::StageStarted { .. }
        | News::StageRetrying { .. }
        | News::StageEnded { .. } => return Vec::new(),
    };
    let text = one_line(&text);
    model.dirty = true;
    model.toasts.push_run(notice.what.run(), ink, text.clone(), model.now);
    if rings { vec![Cmd::Notify(text.into())] } else { Vec::new() }
}

/// What an edit of one's own is answered with.
fn made(checkpoint: &CheckpointId) -> String {
    format!("{checkpoint} is new, and waits to be approved")
}

fn is_told(model: &Model, text: &str) -> bool {
    model.toasts.shown().iter().any(|toast| toast.text == *text)
}

/// The run that is looked at is on the screen.
pub(super) fn is_on_screen(model: &Model) -> bool {
    match model.screen {
        Screen::Run => true,
        Screen::Main => model.list.run.is_some(),
        Screen::History | Screen::Analytics | Screen::Config | Screen::Help | Screen::Attach => false,
    }
}

/// What has to be asked for now, of what is on the screen.
pub(super) fn feed(model: &mut Model) -> Vec<Cmd> {
    let mut asks: Vec<FlowRequest> = Vec::new();
    if !model.is_connected() || is_tiny(model.setup.size) {
        return Vec::new();
    }
    let now = model.now;
    if model.has_flows() && model.flows.latest.ask(now) {
        asks.push(FlowRequest::Runs(Flows::latest_filter()));
    }
    if model.has_flows() && model.flows.unfinished.ask(now) {
        asks.push(FlowRequest::Runs(Flows::unfinished_filter()));
    }
    if let (Screen::Main, Some(run)) = (model.screen, model.list.run.clone()) {
        model.flows.look_at(&run, now);
    }
    let (on_screen, whole) = (is_on_screen(model), model.screen == Screen::Run);
    let flows = &mut model.flows;
    if let Some(pane) = flows.pane.as_mut().filter(|_| on_screen) {
        let run = pane.id.clone();
        if pane.show.ask(now) {
            asks.push(FlowRequest::Show { run: run.clone() });
        }
        if pane.shown.is_some() && whole && pane.load_links.ask(now) {
            asks.push(FlowRequest::Links { run: run.clone() });
        }
        if pane.shown.is_some() && pane.wants_tree() && pane.load_tree.ask(now) {
            asks.push(FlowRequest::Checkpoints { run: run.clone() });
        }
        if let Some(root) = pane.run().map(|run| run.root_run_id.clone())
            && whole
            && pane.load_lineage.ask(now)
        {
            asks.push(FlowRequest::Runs(RunFilter { root: Some(root), ..RunFilter::default() }));
        }
        if pane.can_is_of_another() {
            pane.load_can.hurry(now);
        }
        if pane.shown.is_some() && pane.load_can.ask(now) {
            asks.push(FlowRequest::Can { run, stage: pane.can_stage() });
        }
    }
    if model.screen == Screen::History
        && let Some(filter) = flows.history.ask(now)
    {
        asks.push(FlowRequest::Runs(filter));
    }
    if model.screen == Screen::Main
        && let Some(run) = flows.next_to_count()
    {
        asks.push(FlowRequest::Show { run });
    }
    asks.into_iter().map(|ask| Cmd::Flow(Box::new(ask))).collect()
}

/// When something is to be asked for next.
pub(super) fn wake(model: &Model) -> Option<Timestamp> {
    if !model.is_connected() || is_tiny(model.setup.size) {
        return None;
    }
    let flows = &model.flows;
    let lists = [flows.latest.wake(), flows.unfinished.wake()].into_iter().flatten().min();
    let lists = lists.filter(|_| model.has_flows());
    let pane = flows.pane.as_ref().filter(|_| is_on_screen(model)).and_then(|pane| {
        let whole = model.screen == Screen::Run && pane.shown.is_some();
        let lineage = pane.load_lineage.wake().filter(|_| whole);
        let links = pane.load_links.wake().filter(|_| whole);
        let tree = pane.load_tree.wake().filter(|_| pane.wants_tree() && pane.shown.is_some());
        let can = pane.load_can.wake().filter(|_| pane.shown.is_some());
        [pane.show.wake(), tree, can, lineage, links].into_iter().flatten().min()
    });
    let history = flows.history.fresh.wake().filter(|_| model.screen == Screen::History);
    [lists, pane, history].into_iter().flatten().min()
}

/// What a request came to.
pub(super) fn replied(
    model: &mut Model,
    what: FlowRequest,
    result: Result<Box<FlowReply>, Declined>,
) -> Vec<Cmd> {
    model.dirty = true;
    let reply = match result {
        Ok(reply) => *reply,
        Err(declined) => {
            if let Some(wish) = act::forced(&what, &declined) {
                model.flows.done(&Thing::Run(wish.run.clone()));
                return act::ask(model, "planning a retry", FlowRequest::Retry(wish));
            }
            refused(model, &what, &declined);
            return keep_edited(model, |edited| what == FlowRequest::Edit(edited.wish.clone()));
        }
    };
    match (what, reply) {
        (FlowRequest::Show { run }, FlowReply::Shown(shown)) => {
            take_shown(model, &run, shown);
            return act::resume(model);
        }
        (FlowRequest::Runs(filter), FlowReply::Runs(runs)) => take_runs(model, filter, runs),
        (FlowRequest::Links { run }, FlowReply::Links(links)) => {
            if let Some(pane) = model.flows.pane.as_mut().filter(|pane| pane.id == run) {
                pane.load_links.answered(model.now);
                pane.take_links(&links);
            }
        }
        (FlowRequest::Checkpoints { run }, FlowReply::Checkpoints { checkpoints, branches }) => {
            if let Some(pane) = model.flows.pane.as_mut().filter(|pane| pane.id == run) {
                pane.load_tree.answered(model.now);
                pane.take_tree(checkpoints, branches);
            }
            return act::resume(model);
        }
        (FlowRequest::Can { run, stage }, FlowReply::Can(can)) => {
            if let Some(pane) = model.flows.pane.as_mut().filter(|pane| pane.id == run) {
                pane.load_can.answered(model.now);
                pane.take_can(stage, Some(can));
            }
        }
        (FlowRequest::Retry(wish), FlowReply::Plan(plan)) => {
            model.flows.done(&Thing::Run(wish.run.clone()));
            let is_another = !wish.dry_run;
            // Whoever went on to something else meanwhile is not held up by the answer.
            if model.dialog.is_none() {
                let wish = RetryWish { dry_run: false, seen: Some(plan.hash()), ..wish };
                let question = Question::Retry { wish, plan, is_another, scroll: 0 };
                model.dialog = Some(Dialog::Flow(Box::new(question)));
            } else if is_another {
                let text = format!("{} was not retried: its plan is another by now; ask once more", wish.run);
                model.toasts.push(Ink::Waiting, text, model.now);
            }
        }
        (what, reply) => done(model, &what, &reply),
    }
    Vec::new()
}

fn take_shown(model: &mut Model, run: &RunId, shown: Box<crate::domain::flow::ask::Shown>) {
    let flows = &mut model.flows;
    flows.counted(run, true);
    model.list.stale |= flows.put_record(&shown.run);
    if let Some(pane) = flows.pane.as_mut().filter(|pane| pane.id == *run) {
        pane.show.answered(model.now);
        let turned = pane.run().is_none_or(|before| before.status != shown.run.status);
        pane.take(shown);
        if turned {
            pane.load_can.touch();
        }
    }
}

fn take_runs(model: &mut Model, filter: RunFilter, mut runs: Vec<RunRecord>) {
    let flows = &mut model.flows;
    if let Some(root) = &filter.root {
        let same = |run: &RunRecord| run.root_run_id == *root;
        if let Some(pane) = flows.pane.as_mut().filter(|pane| pane.run().is_some_and(same)) {
            pane.load_lineage.answered(model.now);
            runs.sort_by_key(|run| run.run_number);
            pane.lineage = runs;
        }
    } else if filter == Flows::latest_filter() {
        flows.latest.answered(model.now);
        for run in &runs {
            model.list.stale |= flows.put_record(run);
        }
    } else if filter == Flows::unfinished_filter() {
        flows.unfinished.answered(model.now);
        model.list.stale |= flows.put_unfinished(&runs);
    } else {
        flows.history.fresh.answered(model.now);
        flows.history.take(filter, runs);
    }
}

/// Something was done.
fn done(model: &mut Model, what: &FlowRequest, reply: &FlowReply) {
    if let Some(thing) = thing(what) {
        model.flows.done(&thing);
    }
    model.flows.edited.retain(|edited| *what != FlowRequest::Edit(edited.wish.clone()));
    if let Some(pane) = &mut model.flows.pane {
        pane.touch();
        pane.load_lineage.touch();
    }
    let say = |model: &mut Model, ink, text: String| {
        // What is told of the run at the same moment says it once.
        match thing(what) {
            Some(Thing::Run(run)) => model.toasts.push_run(&run, ink, one_line(&text), model.now),
            Some(Thing::Flow(_)) | None => model.toasts.push(ink, one_line(&text), model.now),
        }
    };
    match (what, reply) {
        (FlowRequest::Retry(wish), FlowReply::Run { run, .. }) => {
            say(model, Ink::Good, format!("{run} is a retry of {}", wish.run));
            open_run(model, run);
        }
        (FlowRequest::Run(_), FlowReply::Run { run, .. }) => {
            say(model, Ink::Good, format!("{run} was started"));
            open_run(model, run);
        }
        (FlowRequest::Continue(wish), FlowReply::Run { run, .. }) => {
            say(model, Ink::Good, format!("{run} goes on"));
            if *run != wish.run {
                open_run(model, run);
            }
        }
        (FlowRequest::Approve(wish), _) => say(model, Ink::Good, format!("Approved: {} goes on", wish.run)),
        (FlowRequest::Reject(wish), _) => {
            model.flows.drafts.remove(&(wish.run.clone(), wish.stage.clone()));
            let to = wish.rewind_to.as_ref().unwrap_or(&wish.stage);
            say(model, Ink::Waiting, format!("Rejected: {} goes back to {to}", wish.run));
        }
        (FlowRequest::Fork(wish), _) => {
            say(model, Ink::Good, format!("Branch {} begins at {}", wish.branch, wish.at));
        }
        (FlowRequest::Edit(_), FlowReply::Edited { checkpoint: Some(new) }) => {
            say(model, Ink::Good, made(new));
        }
        (FlowRequest::Edit(wish), FlowReply::Edited { checkpoint: None }) => {
            say(model, Ink::Text, format!("{} is as it was: no new version", wish.stage));
        }
        (FlowRequest::Cancel { run }, _) => say(model, Ink::Text, format!("{run} is being cancelled")),
        _ => {}
    }
}

/// What is under way with a request, until it is answered.
pub(super) fn thing(what: &FlowRequest) -> Option<Thing> {
    let run = match what {
        FlowRequest::Run(wish) => return Some(Thing::Flow(wish.flow.clone())),
        FlowRequest::Retry(wish) => &wish.run,
        FlowRequest::Cancel { run } | FlowRequest::Unlock { run } => run,
        FlowRequest::Approve(wish) => &wish.run,
        FlowRequest::Reject(wish) => &wish.run,
        FlowRequest::Continue(wish) => &wish.run,
        FlowRequest::Edit(wish) => &wish.run,
        FlowRequest::Fork(wish) => &wish.run,
        FlowRequest::Show { .. }
        | FlowRequest::Glance { .. }
        | FlowRequest::Runs(_)
        | FlowRequest::Links { .. }
        | FlowRequest::Checkpoints { .. }
        | FlowRequest::Can { .. }
        | FlowRequest::Delete { .. }
        | FlowRequest::Gc { .. } => return None,
    };
    Some(Thing::Run(run.clone()))
}

/// Why it was not done, and the way out, where somebody waits for that.
fn refused(model: &mut Model, what: &FlowRequest, declined: &Declined) {
    let (now, flows) = (model.now, &mut model.flows);
    let pane = flows.pane.as_mut();
    match what {
        FlowRequest::Show { run } => {
            if let Some(pane) = pane.filter(|pane| pane.id == *run) {
                pane.show.answered(now);
                pane.problem = Some(said(declined));
            }
            flows.counted(run, false);
        }
        FlowRequest::Links { run } => {
            if let Some(pane) = pane.filter(|pane| pane.id == *run) {
                pane.load_links.answered(now);
            }
        }
        FlowRequest::Checkpoints { run } => {
            if let Some(pane) = pane.filter(|pane| pane.id == *run) {
                pane.load_tree.answered(now);
            }
        }
        FlowRequest::Can { run, stage } => {
            if let Some(pane) = pane.filter(|pane| pane.id == *run) {
                pane.load_can.answered(now);
                pane.take_can(stage.clone(), None);
            }
        }
        FlowRequest::Runs(filter) if filter.root.is_some() => {
            if let Some(pane) = pane {
                pane.load_lineage.answered(now);
            }
        }
        FlowRequest::Runs(filter) if *filter == Flows::latest_filter() => flows.latest.answered(now),
        FlowRequest::Runs(filter) if *filter == Flows::unfinished_filter() => flows.unfinished.answered(now),
        FlowRequest::Runs(_) => {
            flows.history.fresh.answered(now);
            flows.history.problem = Some(said(declined));
        }
        FlowRequest::Run(_)
        | FlowRequest::Retry(_)
        | FlowRequest::Cancel { .. }
        | FlowRequest::Unlock { .. }
        | FlowRequest::Delete { .. }
        | FlowRequest::Approve(_)
        | FlowRequest::Reject(_)
        | FlowRequest::Continue(_)
        | FlowRequest::Edit(_)
        | FlowRequest::Fork(_)
        | FlowRequest::Glance { .. }
        | FlowRequest::Gc { .. } => {
            if let Some(thing) = thing(what) {
                flows.done(&thing);
            }
            let kept = flows.edited.iter().find(|edited| *what == FlowRequest::Edit(edited.wish.clone()));
            let kept = kept.map(kept_in);
            let hint = [Some(declined.hint.clone()).filter(|hint| !hint.is_empty()), kept];
            let hint: Vec<String> = hint.into_iter().flatten().collect();
            if let (FlowRequest::Fork(wish), Some(Refusal::BranchExists { .. }), None) =
                (what, declined.refusal.as_deref(), &model.dialog)
            {
                // Another name is all that is needed.
                let what = TypingWhat::Fork { run: wish.run.clone(), at: wish.at.clone() };
                let input = LineInput::new(wish.branch.as_str());
                let typing = Typing { what, input, problem: Some(said(declined)) };
                model.dialog = Some(Dialog::Flow(Box::new(Question::Type(typing))));
                return;
            }
            tell_why(model, act::title(what), &declined.why, &hint.join("\n\n"));
        }
    }
}

/// A refusal in full: it may be longer than a toast, and it is the answer to a key.
pub(super) fn tell_why(model: &mut Model, title: String, why: &str, hint: &str) {
    if model.dialog.is_some() {
        model.toasts.push(Ink::Bad, one_line(&format!("{title}: {why}; {hint}")), model.now);
        return;
    }
    let text = if hint.is_empty() { why.to_owned() } else { format!("{why}\n\n{hint}") };
    model.dialog = Some(Dialog::Message { title, text, scroll: 0 });
}

fn said(declined: &Declined) -> String {
    if declined.hint.is_empty() {
        one_line(&declined.why)
    } else {
        one_line(&format!("{}; {}", declined.why, declined.hint))
    }
}

/// On the whole screen, wherever one was.
pub(super) fn open_run(model: &mut Model, run: &RunId) {
    if model.screen != Screen::Run {
        model.flows.back_to = if model.screen == Screen::History { Screen::History } else { Screen::Main };
    }
    model.flows.look_at(run, model.now);
    (model.screen, model.focus, model.zoom) = (Screen::Run, Focus::List, false);
}
