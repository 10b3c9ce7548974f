//! All runs there were, the newest first, as far as the filter lets them through.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::super::super::flows::history::MOST;
use super::super::super::layout::Layout;
use super::super::super::model::Model;
use super::super::super::theme::Ink;
use super::super::text::{fit, pad, right, spread, width};
use super::super::{put, span};
use super::{origin, run_sign};
use crate::domain::flow::record::RunRecord;
use crate::frontend::flow::words;
use crate::frontend::text::{between, one_line, span as time_span};

const LEAD: usize = 4;
const STATUS: usize = 11;
const WHEN: usize = 12;
const TIME: usize = 8;
const LABEL: &str = " filter: ";

/// How many runs fit below the titles and above the filter.
pub fn page(model: &Model) -> usize {
    usize::from(Layout::of(model).body.height.saturating_sub(3))
}

/// The run on this line of the screen.
pub fn hit(model: &Model, y: u16) -> Option<usize> {
    let body = Layout::of(model).body;
    // Below the heading and the titles.
    let below = usize::from(y.checked_sub(body.y + 2)?);
    let row = model.flows.history.offset + below;
    (below < page(model) && row < model.flows.history.rows.len()).then_some(row)
}

pub(in super::super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    if area.height < 3 {
        return;
    }
    let history = &model.flows.history;
    let room = usize::from(area.width);
    let count = match history.rows.len() {
        rows if rows >= usize::try_from(MOST).unwrap_or(usize::MAX) => format!("the newest {rows}"),
        1 => "1 run".to_owned(),
        rows => format!("{rows} runs"),
    };
    let heading = vec![span(model, Ink::Accent, " Runs"), span(model, Ink::Quiet, format!("   {count}"))];
    put(frame, Rect { height: 1, ..area }, Line::from(heading));
    let names =
        history.rows.iter().skip(history.offset).take(page(model)).map(|run| width(run.run_id.as_str()));
    let name = names.max().unwrap_or(0).clamp(10, 30.max(room / 4)).min(room / 3);
    let when = if room >= 70 { WHEN } else { 0 };
    let titles = format!(
        "{}{}{}{}  what",
        " ".repeat(LEAD),
        pad("run", name + 1 + STATUS, model.theme()),
        pad(if when > 0 { "started" } else { "" }, when, model.theme()),
        right("took", TIME, model.theme()),
    );
    put(frame, Rect { y: area.y + 1, height: 1, ..area }, Line::from(span(model, Ink::Quiet, titles)));
    let list = Rect { y: area.y + 2, height: area.height - 3, ..area };
    if history.rows.is_empty() {
        let text = match (&history.problem, &history.shown) {
            (Some(problem), _) => problem.as_str(),
            (None, None) => "being looked up",
            (None, Some(_)) if history.is_narrowed() => "nothing matches; Esc clears the filter",
            (None, Some(_)) => "there were no runs so far; : and `run` with the name of a flow starts one",
        };
        let text = fit(text, room.saturating_sub(4), model.theme());
        put(frame, list, Line::from(span(model, Ink::Quiet, format!("  {text}"))));
    }
    let visible = history.rows.iter().enumerate().skip(history.offset);
    for (y, (place, run)) in (list.y..list.bottom()).zip(visible) {
        let line = line(model, run, (name, when), room, place == history.selected);
        put(frame, Rect { y, height: 1, ..area }, line);
    }
    draw_filter(frame, Rect { y: area.bottom() - 1, height: 1, ..area }, model);
}

fn line(
    model: &Model,
    run: &RunRecord,
    columns: (usize, usize),
    room: usize,
    selected: bool,
) -> Line<'static> {
    let theme = model.theme();
    let ground = if selected { theme.style(Ink::Selection) } else { Style::new() };
    let ink = |ink: Ink| if selected { ground } else { theme.style(ink) };
    let (sign, status) = run_sign(run.status, theme);
    let sign = if model.flows.doing(&run.run_id).is_some() { theme.glyph("◐", "%") } else { sign };
    let marker = if selected { theme.glyph("▌", ">") } else { " " };
    let started = run.started_at.unwrap_or(run.created_at);
    let ended = run.ended_at.or((!run.status.is_final()).then_some(model.now));
    let took = run.started_at.zip(ended).map(|(from, to)| time_span(between(from, to))).unwrap_or_default();
    let (name, when) = columns;
    let mut line = Line::from(vec![
        Span::styled(format!("{marker} "), ink(Ink::Accent)),
        Span::styled(sign, ink(status)),
        Span::styled(" ", ground),
        Span::styled(pad(run.run_id.as_str(), name, theme), ink(Ink::Text)),
        Span::styled(" ", ground),
        Span::styled(pad(run.status.word(), STATUS, theme), ink(status)),
        Span::styled(
            if when > 0 { pad(&model.clock(started), when, theme) } else { String::new() },
            ink(Ink::Quiet),
        ),
        Span::styled(right(&took, TIME, theme), ink(Ink::Text)),
    ]);
    let left = room.saturating_sub(line.width() + 2);
    line.push_span(Span::styled(format!("  {}", pad(&what(run), left, theme)), ink(Ink::Quiet)));
    line
}

/// What tells it from the others: why it failed, what it is a retry of, what it was given.
fn what(run: &RunRecord) -> String {
    let mut parts = Vec::new();
    parts.extend(origin(run));
    parts.extend(run.error.as_ref().map(|error| one_line(words::cause(error))));
    if parts.is_empty() {
        parts.push(words::pairs(&run.inputs));
    }
    parts.join(": ")
}

fn draw_filter(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let history = &model.flows.history;
    if !history.is_narrowed() {
        return;
    }
    let right: Vec<Span<'static>> =
        history.unfinished.then(|| span(model, Ink::Accent, "unfinished ")).into_iter().collect();
    let room = usize::from(area.width).saturating_sub(width(LABEL) + 14);
    let text = fit(history.filter.text(), room, model.theme());
    let left = if history.typing || !history.filter.is_empty() {
        vec![span(model, Ink::Accent, LABEL), span(model, Ink::Strong, text)]
    } else {
        vec![Span::raw(" ")]
    };
    put(frame, area, spread(left, right, area.width));
    if history.typing && model.dialog.is_none() {
        let column = width(LABEL) + history.filter.column().min(room);
        let x = area.x + u16::try_from(column).unwrap_or(0).min(area.width.saturating_sub(1));
        frame.set_cursor_position(Position { x, y: area.y });
    }
}
