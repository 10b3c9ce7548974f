//! Questions about runs, in a box above the screen.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};

use super::super::super::event::EditWhat;
use super::super::super::flows::pane::Stands;
use super::super::super::flows::question::{Question, Typing, TypingWhat, Way, editable};
use super::super::super::model::Model;
use super::super::super::theme::Ink;
use super::super::text::{fit, more, pad, width, wrap};
use super::super::{message, on, open_box, put, put_lines};
use super::attempts::{artifact_lines, short, whole_outputs};
use crate::domain::flow::ask::{Plan, Planned, RetryWish};
use crate::domain::flow::ids::RunId;
use crate::domain::flow::record::Checkpoint;
use crate::domain::flow::status::Decision;
use crate::frontend::text::{between, bytes, one_line, span as time_span};

const WIDEST: u16 = 76;

pub(in super::super) fn draw(frame: &mut Frame<'_>, model: &Model, question: &Question) {
    match question {
        Question::Retry { wish, plan, is_another, scroll } => {
            let title = format!("Retry {} from {}?", plan.run, plan.from);
            let lines = retry_lines(model, wish, plan, *is_another);
            draw_long(frame, model, &title, lines, *scroll, &[("Enter", "retry"), ("Esc", "cancel")]);
        }
        Question::Approve { checkpoint, scroll, .. } => {
            let title = format!("Approve {}?", checkpoint.id);
            let lines = approve_lines(model, checkpoint);
            let newer;
            let keys: &[(&str, &str)] = match stands(model, checkpoint) {
                Stands::Waits => {
                    &[("Enter", "approve"), ("R", "reject"), ("e", "edit"), ("v", "look"), ("Esc", "not now")]
                }
                Stands::Replaced(by) => {
                    newer = format!("look at {by}");
                    &[("Enter", &newer), ("v", "look"), ("Esc", "not now")]
                }
                Stands::Judged(_) => &[("v", "look"), ("Esc", "close")],
            };
            draw_long(frame, model, &title, lines, *scroll, keys);
        }
        Question::Cancel { run } => {
            let text = "Its stages get the stop signal, and are killed after their grace. What has succeeded is kept, and a retry builds on it.";
            draw_short(
                frame,
                model,
                &format!("Cancel {run}?"),
                text,
                &[("Enter", "cancel it"), ("Esc", "let it run")],
            );
        }
        Question::Proceed { run, ways, selected } => draw_proceed(frame, model, run, ways, *selected),
        Question::Edit { checkpoint, selected, .. } => draw_edit(frame, model, checkpoint, *selected),
        Question::Look { title, parts, selected, .. } => {
            let texts: Vec<String> = parts.iter().map(|part| one_line(&part.label)).collect();
            let title = format!("Look into what of {title}?");
            draw_choice(frame, model, &title, &texts, *selected, "look into it");
        }
        Question::Type(typing) => draw_typing(frame, model, typing),
    }
}

fn room(model: &Model) -> (u16, u16) {
    let (width, height) = model.setup.size;
    (width.saturating_sub(8).min(WIDEST), height.saturating_sub(6).max(1))
}

/// The lines of a question that scrolls, or what there is to choose from, and how many of them fit.
pub fn measure(model: &Model, question: &Question) -> (usize, usize) {
    let lines = match question {
        Question::Retry { wish, plan, is_another, .. } => retry_lines(model, wish, plan, *is_another).len(),
        Question::Approve { checkpoint, .. } => approve_lines(model, checkpoint).len(),
        Question::Edit { checkpoint, .. } => editable(checkpoint).len(),
        Question::Look { parts, .. } => parts.len(),
        Question::Proceed { ways, .. } => ways.len(),
        Question::Cancel { .. } | Question::Type(_) => 0,
    };
    (lines, usize::from(room(model).1))
}

fn draw_long(
    frame: &mut Frame<'_>,
    model: &Model,
    title: &str,
    lines: Vec<Line<'static>>,
    scroll: usize,
    keys: &[(&str, &str)],
) {
    let theme = model.theme();
    let ground = theme.style(Ink::Dialog);
    let (width, height) = room(model);
    let total = lines.len();
    let shown = total.min(usize::from(height));
    let inner = open_box(frame, theme, title, (width, u16::try_from(shown).unwrap_or(height) + 2));
    let lines = lines.into_iter().map(|line| line.style(ground)).collect();
    put_lines(
        frame,
        Rect { height: inner.height.saturating_sub(2), ..inner },
        lines,
        scroll.min(total.saturating_sub(shown)),
    );
    message::foot(frame, theme, inner, keys, (scroll, shown, total));
}

fn draw_short(frame: &mut Frame<'_>, model: &Model, title: &str, text: &str, keys: &[(&str, &str)]) {
    let theme = model.theme();
    let ground = theme.style(Ink::Dialog);
    let width = usize::from(room(model).0).min(60);
    let mut lines: Vec<Line<'static>> =
        wrap(&one_line(text), width).into_iter().map(|line| Line::styled(line, ground)).collect();
    lines.push(Line::default());
    lines.push(message::keys(theme, keys, width));
    let inner = open_box(frame, theme, title, message::size(&lines, width));
    put_lines(frame, inner, lines, 0);
}

fn retry_lines(model: &Model, wish: &RetryWish, plan: &Plan, is_another: bool) -> Vec<Line<'static>> {
    let style = on(model.theme().style(Ink::Waiting), model.theme().style(Ink::Dialog));
    let news = "Nothing has begun: the plan is another by now. This is what it would do:";
    let news = is_another.then(|| news.to_owned());
    let forced = wish.from.as_ref().filter(|_| wish.force);
    let forced = forced.map(|stage| format!("{stage} succeeded, and is executed once more."));
    let told = news.into_iter().chain(forced);
    let told = told.flat_map(|text| wrap(&text, usize::from(room(model).0)));
    let mut lines: Vec<Line<'static>> = told.map(|line| Line::styled(line, style)).collect();
    lines.extend(plan_lines(model, plan));
    lines
}

/// `execute   render      failed: exit 1`, one a line; what is reused stands together.
fn plan_lines(model: &Model, plan: &Plan) -> Vec<Line<'static>> {
    let theme = model.theme();
    let ground = theme.style(Ink::Dialog);
    let room = usize::from(room(model).0);
    let executed = || plan.stages.iter().filter(|one| one.decision == Decision::Execute);
    let name = executed().map(|one| width(one.stage.as_str())).max().unwrap_or(0).clamp(8, room / 3);
    let label = |text: &str, ink: Ink| Span::styled(pad(text, 10, theme), on(theme.style(ink), ground));
    let mut lines = Vec::new();
    for planned in executed() {
        let detail =
            planned.detail.as_ref().map(|detail| format!(": {}", one_line(detail))).unwrap_or_default();
        let why = format!("{}{detail}", planned.reason);
        lines.push(Line::from(vec![
            label("execute", Ink::Waiting),
            Span::styled(pad(planned.stage.as_str(), name, theme), on(theme.style(Ink::Strong), ground)),
            Span::styled(format!("  {}", fit(&why, room.saturating_sub(name + 12), theme)), ground),
        ]));
    }
    let kept: Vec<String> =
        plan.stages.iter().filter(|one| one.decision == Decision::Reuse).map(reused).collect();
    let mut first = true;
    for line in wrap(&kept.join(", "), room.saturating_sub(10)).into_iter().filter(|_| !kept.is_empty()) {
        let head = if first { label("reuse", Ink::Good) } else { Span::styled(" ".repeat(10), ground) };
        lines.push(Line::from(vec![head, Span::styled(line, ground)]));
        first = false;
    }
    lines.push(Line::from(vec![
        label("new run", Ink::Quiet),
        Span::styled(
            format!("retry of {}, depth {} of {}", plan.run, plan.retry_depth, plan.max_retry_depth),
            ground,
        ),
    ]));
    lines
}

fn reused(planned: &Planned) -> String {
    let what = planned.checkpoint.as_ref().map_or_else(|| planned.stage.to_string(), ToString::to_string);
    match &planned.detail {
        Some(detail) if planned.checkpoint.is_some() => format!("{what} ({})", one_line(detail)),
        Some(_) | None => what,
    }
}

fn stands(model: &Model, checkpoint: &Checkpoint) -> Stands {
    model.flows.pane.as_ref().map_or(Stands::Waits, |pane| pane.stands(&checkpoint.id))
}

/// What is to be approved; before that, why it is not any more.
fn approve_lines(model: &Model, checkpoint: &Checkpoint) -> Vec<Line<'static>> {
    let news = match stands(model, checkpoint) {
        Stands::Waits => None,
        Stands::Replaced(by) => Some(format!("{by} has come in its place since this was opened.")),
        Stands::Judged(how) => Some(format!("It does not wait any more: it was {}.", one_line(&how))),
    };
    let style = on(model.theme().style(Ink::Waiting), model.theme().style(Ink::Dialog));
    let told = news.map(|news| wrap(&news, usize::from(room(model).0))).unwrap_or_default();
    let mut lines: Vec<Line<'static>> = told.into_iter().map(|line| Line::styled(line, style)).collect();
    lines.extend(checkpoint_lines(model, checkpoint));
    lines
}

/// What is approved, as it is: by its bytes.
fn checkpoint_lines(model: &Model, checkpoint: &Checkpoint) -> Vec<Line<'static>> {
    let room = usize::from(room(model).0);
    let age = time_span(between(checkpoint.created_at, model.now));
    let made = match (&checkpoint.created_by, &checkpoint.edited_from) {
        (Some(who), Some(from)) => format!("edited by {who} from {from}, {age} ago"),
        _ => format!("made by {}, {age} ago", checkpoint.run_id),
    };
    let made = wrap(&one_line(&format!("{made}, on branch {}", checkpoint.branch)), room);
    let bytes = format!("hash {}: only these bytes are approved", short(checkpoint.hash.as_str()));
    let mut lines: Vec<Line<'static>> = made.into_iter().chain(wrap(&bytes, room)).map(Line::raw).collect();
    lines.push(Line::default());
    lines.extend(whole_outputs(model, &checkpoint.outputs, room));
    lines.extend(artifact_lines(model, &checkpoint.artifacts, room));
    if checkpoint.outputs.is_empty() && checkpoint.artifacts.is_empty() {
        lines.push(Line::raw("  It left neither outputs nor artifacts."));
    }
    lines
}

fn draw_proceed(frame: &mut Frame<'_>, model: &Model, run: &RunId, ways: &[Way], selected: usize) {
    let Some(way) = ways.get(selected) else { return };
    let text = match &way.does {
        Ok(does) => format!("This {does}."),
        Err(why) => format!("Not there: {why}"),
    };
    if ways.len() == 1 {
        let keys = [("Enter", "continue"), ("Esc", "cancel")];
        return draw_short(frame, model, &format!("Continue {run}?"), &text, &keys);
    }
    let theme = model.theme();
    let ground = theme.style(Ink::Dialog);
    let (room, high) = room(model);
    let room = usize::from(room).min(60);
    let told = wrap(&one_line(&text), room);
    let names: Vec<String> =
        ways.iter().map(|way| way.branch.as_ref().map(ToString::to_string).unwrap_or_default()).collect();
    let mut lines = choices(model, &names, selected, room, usize::from(high).saturating_sub(told.len() + 1));
    lines.push(Line::default());
    lines.extend(told.into_iter().map(|line| Line::styled(line, ground)));
    lines.push(Line::default());
    lines.push(message::keys(theme, &[("j/k", "choose"), ("Enter", "continue"), ("Esc", "cancel")], room));
    let title = format!("Continue {run} on which branch?");
    let inner = open_box(frame, theme, &title, message::size(&lines, room));
    put_lines(frame, inner, lines, 0);
}

/// A line each, around the selected one; what is not there is counted.
fn choices(model: &Model, texts: &[String], selected: usize, room: usize, high: usize) -> Vec<Line<'static>> {
    let theme = model.theme();
    let ground = theme.style(Ink::Dialog);
    let line = |(place, text): (usize, &String)| {
        let style = if place == selected { theme.style(Ink::Selection) } else { ground };
        Line::styled(pad(text, room, theme), style)
    };
    let high = high.max(2);
    if texts.len() <= high {
        return texts.iter().enumerate().map(line).collect();
    }
    // The last line says how many are left out.
    let high = high - 1;
    let first = (selected + 1).saturating_sub(high);
    let mut lines: Vec<Line<'static>> = texts.iter().enumerate().skip(first).take(high).map(line).collect();
    let text = more(theme, first, texts.len().saturating_sub(first + high));
    lines.push(Line::styled(text, on(theme.style(Ink::Quiet), ground)));
    lines
}

fn draw_edit(frame: &mut Frame<'_>, model: &Model, checkpoint: &Checkpoint, selected: usize) {
    let parts = editable(checkpoint);
    let text = |part: &EditWhat| match part {
        EditWhat::Outputs(outputs) => format!("its outputs, {} in one text", outputs.len()),
        EditWhat::Artifact { name, .. } => {
            let size = checkpoint.artifacts.iter().find(|one| one.name == *name).map_or(0, |one| one.size);
            format!("{}  {}", one_line(name), bytes(size))
        }
    };
    let texts: Vec<String> = parts.iter().map(text).collect();
    draw_choice(frame, model, &format!("Edit what of {}?", checkpoint.id), &texts, selected, "edit it");
}

fn draw_choice(
    frame: &mut Frame<'_>,
    model: &Model,
    title: &str,
    texts: &[String],
    selected: usize,
    done: &str,
) {
    let theme = model.theme();
    let (room, high) = room(model);
    let room = usize::from(room).min(60);
    let mut lines = choices(model, texts, selected, room, usize::from(high));
    lines.push(Line::default());
    lines.push(message::keys(theme, &[("j/k", "choose"), ("Enter", done), ("Esc", "cancel")], room));
    let inner = open_box(frame, theme, title, message::size(&lines, room));
    put_lines(frame, inner, lines, 0);
}

fn draw_typing(frame: &mut Frame<'_>, model: &Model, typing: &Typing) {
    let theme = model.theme();
    let ground = theme.style(Ink::Dialog);
    let (title, hint, done) = match &typing.what {
        TypingWhat::Reject { run, checkpoint, rewind_to, .. } => {
            let to = rewind_to.as_ref().unwrap_or(&checkpoint.stage);
            let hint = format!("{run} goes back to {to}, which reads this in RESTAGE_FEEDBACK.");
            (format!("Reject {checkpoint}: what should be better?"), hint, "reject")
        }
        TypingWhat::Fork { at, .. } => (
            format!("A branch from {at}: its name?"),
            "Runs on it and on others do not disturb one another.".to_owned(),
            "branch",
        ),
        TypingWhat::Input { flow, missing, .. } => {
            let key = missing.first().map_or("", String::as_str);
            let more = match missing.len() {
                0 | 1 => "Then it starts.".to_owned(),
                more => format!("{} more after this one.", more - 1),
            };
            (format!("Run {flow}: {key}?"), more, if missing.len() > 1 { "next" } else { "run" })
        }
    };
    let room = usize::from(room(model).0);
    let mut lines = vec![Line::default()];
    let (ink, text) = match &typing.problem {
        Some(problem) => (Ink::Bad, one_line(problem)),
        None => (Ink::Quiet, hint),
    };
    lines.extend(wrap(&text, room).into_iter().map(|line| Line::styled(line, on(theme.style(ink), ground))));
    lines.push(Line::default());
    lines.push(message::keys(theme, &[("Enter", done), ("Esc", "cancel")], room));
    let inner = open_box(frame, theme, &title, message::size(&lines, room));
    put_lines(frame, inner, lines, 0);
    // The end of a long text is what is being typed.
    let column = typing.input.column();
    let shift = column.saturating_sub(room.saturating_sub(3));
    let shown: String = typing.input.text().chars().skip(shift).collect();
    // What has left the line to the left is not gone.
    let prompt = if shift > 0 { theme.glyph("… ", "~ ") } else { "> " };
    let line = Line::from(vec![
        Span::styled(prompt, on(theme.style(Ink::Key), ground)),
        Span::styled(fit(&shown, room.saturating_sub(2), theme), on(theme.style(Ink::Strong), ground)),
    ]);
    put(frame, Rect { height: 1, ..inner }, line);
    let x = inner.x + 2 + u16::try_from(column - shift).unwrap_or(0);
    frame.set_cursor_position(Position { x: x.min(inner.right()), y: inner.y });
}
