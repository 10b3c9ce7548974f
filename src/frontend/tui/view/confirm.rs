//! The question before something that ends processes: what exactly, and what will happen.

use ratatui::Frame;

use super::super::event::Order;
use super::super::model::Model;
use super::super::orders::destroys;
use super::super::theme::Ink;
use super::text::{pad, wrap};
use super::{message, on, open_box, put_lines};
use crate::domain::ids::RunnerName;
use crate::domain::view::seconds;
use crate::frontend::text::{between, span as time_span, word};
use ratatui::text::{Line, Span};

/// Names listed one by one.
const NAMED: usize = 6;

pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, order: Order, names: &[RunnerName]) {
    let theme = model.theme();
    let ground = theme.style(Ink::Dialog);
    let word = capital(order.word());
    let title = match names {
        [one] => format!("{word} {one}?"),
        more => format!("{word} {} runners?", more.len()),
    };
    let width = usize::from(frame.area().width.saturating_sub(8)).min(64);
    let mut lines: Vec<Line<'static>> = Vec::new();
    for name in names.iter().take(NAMED) {
        let state = model.fleet.get(name).map(|view| {
            let up = view.started_at.map(|at| time_span(between(at, model.now))).unwrap_or_default();
            if destroys(order, view.status) {
                format!("{} for {up}", word_of(view))
            } else {
                word_of(view).to_owned()
            }
        });
        let name = pad(name.as_str(), width.saturating_sub(26).min(34), theme);
        lines.push(Line::from(vec![
            Span::styled(name, on(theme.style(Ink::Strong), ground)),
            Span::styled(format!("  {}", state.unwrap_or_default()), ground),
        ]));
    }
    if names.len() > NAMED {
        lines.push(Line::styled(
            format!("and {} more", names.len() - NAMED),
            on(theme.style(Ink::Quiet), ground),
        ));
    }
    lines.push(Line::default());
    let sentences = consequence(model, order, names);
    lines.extend(wrap(&sentences, width).into_iter().map(|line| Line::styled(line, ground)));
    lines.push(Line::default());
    lines.push(message::keys(theme, &[("Enter", order.word()), ("Esc", "cancel")], width));
    let inner = open_box(frame, theme, &title, message::size(&lines, width));
    put_lines(frame, inner, lines, 0);
}

fn word_of(view: &crate::domain::view::RunnerView) -> &'static str {
    word(view)
}

fn consequence(model: &Model, order: Order, names: &[RunnerName]) -> String {
    let grace = match names {
        [one] => model.facts(one).map(|facts| seconds(facts.grace_seconds)),
        _ => None,
    };
    let grace = grace.map_or_else(|| "its grace".to_owned(), |grace| format!("a grace of {grace}"));
    match order {
        Order::Start => "It starts with no retries used.".to_owned(),
        Order::Stop => {
            format!("Its processes get the stop signal, and are killed after {grace}. It is not retried.")
        }
        Order::Restart => {
            format!(
                "Its processes get the stop signal, and are killed after {grace}. Then it starts with no retries used."
            )
        }
        Order::Kill => {
            "Its processes are killed at once, without stop signal and grace. It is not retried.".to_owned()
        }
    }
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
