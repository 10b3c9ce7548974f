//! Leaving: what becomes of the live runners, and how far their stop has come.

use ratatui::Frame;
use ratatui::text::{Line, Span};

use super::super::model::Model;
use super::super::theme::{Ink, Theme};
use super::text::{pad, wrap};
use super::{message, on, open_box, put_lines};
use crate::frontend::text::{glyph, word};

/// Runners listed one by one.
const NAMED: usize = 8;

pub(super) fn draw_question(frame: &mut Frame<'_>, model: &Model) {
    let theme = model.theme();
    let ground = theme.style(Ink::Dialog);
    let (live, going) = (model.fleet.live(), model.flows.going());
    let title = match (live, going) {
        (1, 0) => "One runner is live".to_owned(),
        (live, 0) => format!("{live} runners are live"),
        (0, 1) => "One run is under way".to_owned(),
        (0, going) => format!("{going} runs are under way"),
        (live, going) => format!("Live: {}, {}", count(live, "runner"), count(going, "run")),
    };
    let room = usize::from(frame.area().width.saturating_sub(6)).min(46);
    let key = |key: &'static str, text: &str| {
        let wrapped = wrap(text, room.saturating_sub(5)).into_iter().enumerate();
        wrapped.map(move |(at, line)| {
            let key = pad(if at == 0 { key } else { "" }, 5, theme);
            Line::from(vec![Span::styled(key, on(theme.style(Ink::Key), ground)), Span::styled(line, ground)])
        })
    };
    let headless = model.supervisor.as_ref().is_some_and(|fleet| fleet.headless);
    let stays =
        if headless { "they stay with the headless supervisor" } else { "they go on in the background" };
    let lines: Vec<Line<'static>> = key("s", "stop all of them, and quit")
        .chain(key("d", &format!("detach: {stays}")))
        .chain(key("Esc", "stay here"))
        .collect();
    let inner = open_box(frame, theme, &title, message::size(&lines, 46));
    put_lines(frame, inner, lines, 0);
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

pub(super) fn draw_leaving(frame: &mut Frame<'_>, model: &Model) {
    let theme = model.theme();
    let ground = theme.style(Ink::Dialog);
    let live: Vec<_> = model.fleet.runners().iter().filter(|runner| runner.status.is_live()).collect();
    let mut lines: Vec<Line<'static>> = Vec::new();
    for runner in live.iter().take(NAMED) {
        let sign = glyph(runner.status, theme.ascii);
        lines.push(Line::from(vec![
            Span::styled(format!("{sign} "), on(theme.style(Theme::status_ink(runner.status)), ground)),
            Span::styled(pad(runner.name.as_str(), 30, theme), ground),
            Span::styled(format!("  {}", word(runner)), ground),
        ]));
    }
    if live.len() > NAMED {
        let more = format!("and {} more", live.len() - NAMED);
        lines.push(Line::styled(more, on(theme.style(Ink::Quiet), ground)));
    }
    if live.is_empty() {
        lines.push(Line::styled("Everything has stopped; the supervisor is ending.", ground));
    }
    lines.push(Line::default());
    for line in wrap("restage leaves when all have ended.", 46) {
        lines.push(Line::styled(line, ground));
    }
    let room = usize::from(frame.area().width.saturating_sub(6)).min(46);
    lines.push(message::keys(theme, &[("X", "kill them now"), ("d", "leave already")], room));
    let inner = open_box(frame, theme, "Stopping", message::size(&lines, 46));
    put_lines(frame, inner, lines, 0);
}
