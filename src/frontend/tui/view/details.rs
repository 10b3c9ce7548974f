//! The selected runner, told fully: its status in words, retries, silence, what it waits for, its attempts. And the one
//! line on it where there is no room for that.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::super::model::Model;
use super::super::theme::{Ink, Theme};
use super::runners::{quiet, short, up_or_in};
use super::strip;
use super::text::{ellipsis, fit, spread, wrap};
use super::{put, put_lines, span};
use crate::domain::keys::Action;
use crate::domain::view::{RunnerStatus, RunnerView, seconds};
use crate::frontend::text::{between, countdown, glyph, one_line, span as time_span, word};

/// A reason is told in so many lines here; the rest is one key away.
const MOST_LINES: usize = 3;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    if area.height == 0 {
        return;
    }
    put_lines(frame, area, lines(model, area.width), 0);
}

/// How many lines there are to tell, the blank one below them included.
pub fn height(model: &Model, width: u16) -> u16 {
    u16::try_from(lines(model, width).len()).unwrap_or(0)
}

fn lines(model: &Model, width: u16) -> Vec<Line<'static>> {
    let Some(view) = model.selected() else { return Vec::new() };
    let mut lines = vec![status_line(model, view, width), retry_line(model, view, width)];
    lines.extend(time_line(model, view));
    lines.extend(life_line(model, view, width));
    lines.extend(remarks(model, view, width));
    lines.extend(strip::lines(model, view, width));
    lines.push(Line::default());
    lines
}

/// `agent-api   ● running                            pid 48211`
fn status_line(model: &Model, view: &RunnerView, width: u16) -> Line<'static> {
    let theme = model.theme();
    let status = Theme::status_ink(view.status);
    let pid = view.pid.map(|pid| format!("pid {pid} ")).unwrap_or_default();
    let word = word(view);
    let asked = model.pending.get(&view.name).map(|order| format!(" ({} asked)", order.word()));
    let asked = asked.unwrap_or_default();
    let taken = pid.len() + word.len() + asked.len() + 7;
    let name = fit(view.name.as_str(), usize::from(width).saturating_sub(taken).max(8), theme);
    let left = vec![
        Span::raw(" "),
        span(model, Ink::Strong, name),
        span(model, status, format!("   {} {word}", glyph(view.status, theme.ascii))),
        span(model, Ink::Waiting, asked),
    ];
    spread(left, vec![span(model, Ink::Quiet, pid)], width)
}

/// `Retry: 2/3, resets after 10m healthy        attempt 4`
fn retry_line(model: &Model, view: &RunnerView, width: u16) -> Line<'static> {
    let used_up = view.retry_count >= view.max_retries && view.max_retries > 0;
    let ink = if view.exhausted {
        Ink::Bad
    } else if used_up {
        Ink::Waiting
    } else {
        Ink::Text
    };
    let mut left = vec![span(model, ink, format!(" Retry: {}/{}", view.retry_count, view.max_retries))];
    let resets = model.facts(&view.name).and_then(|facts| facts.reset_after_seconds);
    if let Some(after) = resets.filter(|_| view.retry_count > 0 && view.status == RunnerStatus::Running) {
        left.push(span(model, Ink::Quiet, format!(", resets after {} healthy", seconds(after))));
    }
    let attempt = view.attempt.map(|attempt| span(model, Ink::Quiet, format!("attempt {attempt} ")));
    spread(left, attempt.into_iter().collect(), width)
}

/// `up 12m04s of 1h, since 12:29:03`
fn time_line(model: &Model, view: &RunnerView) -> Option<Line<'static>> {
    let since = view.started_at.map(|at| format!(", since {}", model.clock(at))).unwrap_or_default();
    let limit = view.timeout_seconds.map(|limit| format!(" of {}", seconds(limit))).unwrap_or_default();
    let time = up_or_in(model, view);
    let text = match view.status {
        RunnerStatus::Starting | RunnerStatus::Running | RunnerStatus::Stopping | RunnerStatus::Stuck => {
            format!(" up {time}{limit}{since}")
        }
        RunnerStatus::Backoff => {
            let at = view.next_retry_at?;
            format!(" next try in {}, at {}", countdown(model.now, at), model.clock(at))
        }
        RunnerStatus::Crashed | RunnerStatus::Completed | RunnerStatus::Stopped => {
            let at = view.ended_at?;
            let took = if time.is_empty() { String::new() } else { format!(", took {time}") };
            format!(" ended at {}{took}", model.clock(at))
        }
        RunnerStatus::Idle => return None,
    };
    Some(Line::from(span(model, Ink::Text, text)))
}

/// `quiet 8s of 5m                cpu 14%  mem 412M`; there while a process is, so that nothing moves when figures come.
fn life_line(model: &Model, view: &RunnerView, width: u16) -> Option<Line<'static>> {
    view.pid?;
    let figures = model.fleet.figures(&view.name).map(|figures| {
        let cpu = super::super::fleet::percent(figures.cpu_percent);
        format!("cpu {cpu}  mem {} ", crate::frontend::text::bytes(figures.rss_bytes))
    });
    let right = figures.map(|text| span(model, Ink::Quiet, text)).into_iter().collect();
    let silence = silence(model, view).unwrap_or_default();
    Some(spread(vec![Span::raw(" "), silence], right, width))
}

fn silence(model: &Model, view: &RunnerView) -> Option<Span<'static>> {
    let last = model.fleet.figures(&view.name)?.last_output_at?;
    let since = time_span(between(last, model.now));
    let ink = if quiet(model, view).is_some() { Ink::Waiting } else { Ink::Quiet };
    let allowed = view.activity_timeout_seconds.map(|allowed| format!(" of {}", seconds(allowed)));
    Some(span(model, ink, format!("quiet {since}{}", allowed.unwrap_or_default())))
}

/// What a person should know beyond the ordinary.
fn remarks(model: &Model, view: &RunnerView, width: u16) -> Vec<Line<'static>> {
    let mut told: Vec<(Ink, String)> = Vec::new();
    if let Some(waiting) = &view.waiting {
        told.push((Ink::Waiting, format!("! waits: {}", one_line(waiting))));
    }
    let key = |action| model.keymap().key(action).map_or_else(String::new, |key| key.to_string());
    if view.status != RunnerStatus::Running
        && let Some(outcome) = &view.outcome
        && let Some(detail) = &outcome.detail
    {
        told.push((Ink::Bad, format!("{}: {}", short(outcome), one_line(detail))));
    }
    if view.exhausted {
        told.push((Ink::Text, format!("No retries are left; {} starts it anew.", key(Action::Start))));
    }
    if view.status == RunnerStatus::Backoff {
        let text = format!("{} retries now, {} cancels the retry.", key(Action::Start), key(Action::Stop));
        told.push((Ink::Quiet, text));
    }
    if let Some(note) = &view.note {
        told.push((Ink::Waiting, one_line(note)));
    }
    let room = usize::from(width).saturating_sub(2);
    let mut lines = Vec::new();
    for (ink, text) in told {
        let mut wrapped = wrap(&text, room);
        if wrapped.len() > MOST_LINES {
            wrapped.truncate(MOST_LINES);
            if let Some(last) = wrapped.last_mut() {
                let tail = format!(" {} tells all", key(Action::Explain));
                let kept = ellipsis(last, room.saturating_sub(tail.chars().count()), model.theme());
                *last = format!("{kept}{tail}");
            }
        }
        lines.extend(wrapped.into_iter().map(|line| Line::from(span(model, ink, format!(" {line}")))));
    }
    lines
}

/// One line, where the list is alone: ` agent-api  Retry: 2/3  attempt 4  pid 48211  quiet 8s of 5m`
pub(super) fn draw_summary(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    if area.height == 0 {
        return;
    }
    let Some(view) = model.selected() else { return };
    let mut texts = vec![format!("Retry: {}/{}", view.retry_count, view.max_retries)];
    texts.extend(view.attempt.map(|attempt| format!("attempt {attempt}")));
    texts.extend(view.pid.map(|pid| format!("pid {pid}")));
    texts.extend(silence(model, view).map(|span| span.content.into_owned()));
    texts.extend(view.waiting.as_ref().map(|waiting| format!("! {}", one_line(waiting))));
    texts.extend(view.note.as_ref().map(|note| one_line(note)));
    let room = usize::from(area.width);
    let name = fit(view.name.as_str(), room / 3, model.theme());
    let rest = fit(&format!("   {}", texts.join("   ")), room.saturating_sub(name.len() + 1), model.theme());
    let line = Line::from(vec![Span::raw(" "), span(model, Ink::Strong, name), span(model, Ink::Text, rest)]);
    put(frame, area, line);
}
