//! The command palette: any action by its name, on any runner, found by a few letters. Pure.

use super::event::Order;
use super::input::{LineInput, Typed};
use super::model::Model;
use crate::domain::flow::ids::{FlowName, RunId};
use crate::domain::flow::status::RunStatus;
use crate::domain::ids::RunnerName;
use crate::domain::keys::{Action, BINDINGS, Code, Key};

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Palette {
    pub input: LineInput,
    /// Within what is found.
    pub selected: usize,
}

/// What can be chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub title: String,
    /// What it does, in grey.
    pub hint: String,
    pub key: Option<Key>,
    pub choice: Choice,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Choice {
    Act(Action),
    /// Selects it.
    Go(RunnerName),
    Order(Order, RunnerName),
    Theme(&'static str),
    /// A new run.
    Run(FlowName),
    /// Shows it.
    GoRun(RunId),
    Retry(RunId),
    Cancel(RunId),
}

/// What a key comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Picked {
    Nothing,
    Close,
    Item(Choice),
}

/// More are not listed: a few more letters find them.
pub const MOST: usize = 100;

impl Palette {
    pub fn press(&mut self, key: Key, model: &Model) -> Picked {
        match (key.code, key.ctrl) {
            (Code::Esc, _) | (Code::Char('c'), true) => Picked::Close,
            (Code::Enter, _) => {
                let found = found(model, self.input.text());
                found.into_iter().nth(self.selected).map_or(Picked::Close, |item| Picked::Item(item.choice))
            }
            (Code::Up | Code::BackTab, _) | (Code::Char('p'), true) => {
                self.selected = self.selected.saturating_sub(1);
                Picked::Nothing
            }
            (Code::Down | Code::Tab, _) | (Code::Char('n'), true) => {
                let last = found(model, self.input.text()).len().saturating_sub(1);
                self.selected = (self.selected + 1).min(last);
                Picked::Nothing
            }
            (Code::Backspace, _) if self.input.is_empty() => Picked::Close,
            _ => {
                if self.input.press(key) == Typed::Changed {
                    self.selected = 0;
                }
                Picked::Nothing
            }
        }
    }
}

/// What matches, the best first.
pub fn found(model: &Model, wanted: &str) -> Vec<Item> {
    let wanted = wanted.trim();
    let mut scored: Vec<(i32, usize, Item)> = items(model)
        .into_iter()
        .enumerate()
        .filter_map(|(at, item)| Some((item.score(wanted)?, at, item)))
        .collect();
    scored.sort_by_key(|(score, at, _)| (std::cmp::Reverse(*score), *at));
    scored.into_iter().take(MOST).map(|(.., item)| item).collect()
}

impl Item {
    fn score(&self, wanted: &str) -> Option<i32> {
        let by_title = score(wanted, &self.title);
        // Who types no more than a name wants to see that runner, and nothing done to it.
        match &self.choice {
            Choice::Go(name) => by_title.max(score(wanted, name.as_str())),
            Choice::GoRun(run) => by_title.max(score(wanted, run.as_str())),
            Choice::Act(_)
            | Choice::Order(..)
            | Choice::Theme(_)
            | Choice::Run(_)
            | Choice::Retry(_)
            | Choice::Cancel(_) => by_title,
        }
    }
}

fn items(model: &Model) -> Vec<Item> {
    let mut items: Vec<Item> = BINDINGS
        .iter()
        .filter(|binding| !is_movement(binding.action) && model.can(binding.action))
        .map(|binding| Item {
            title: binding.name.replace('_', " "),
            hint: binding.doc.to_owned(),
            key: model.keymap().key(binding.action),
            choice: Choice::Act(binding.action),
        })
        .collect();
    for name in super::theme::BUILT_IN.map(|(name, _)| name) {
        items.push(Item {
            title: format!("theme {name}"),
            hint: "Until the dashboard is closed; \"theme\" in the config makes it last".into(),
            key: None,
            choice: Choice::Theme(name),
        });
    }
    for runner in model.fleet.runners() {
        items.push(Item {
            title: format!("go to {}", runner.name),
            hint: crate::frontend::text::word(runner).to_owned(),
            key: None,
            choice: Choice::Go(runner.name.clone()),
        });
        for order in [Order::Start, Order::Stop, Order::Restart, Order::Kill] {
            if model.may(order, runner) {
                items.push(Item {
                    title: format!("{} {}", order.word(), runner.name),
                    hint: crate::frontend::text::word(runner).to_owned(),
                    key: None,
                    choice: Choice::Order(order, runner.name.clone()),
                });
            }
        }
    }
    items.extend(of_flows(model));
    items
}

fn of_flows(model: &Model) -> Vec<Item> {
    let item = |title, hint: String, choice| Item { title, hint, key: None, choice };
    let flows = model.config.as_ref().map(|config| config.flows.as_slice()).unwrap_or_default();
    let mut items: Vec<Item> = flows
        .iter()
        .filter(|flow| model.can_start(&flow.name))
        .map(|flow| {
            let count = flow.stages.len();
            let s = if count == 1 { "" } else { "s" };
            let hint = format!("A new run, of {count} stage{s}");
            item(format!("run {}", flow.name), hint, Choice::Run(flow.name.clone()))
        })
        .collect();
    for run in model.flows.listed() {
        let (id, word) = (&run.run_id, run.status.word().to_owned());
        items.push(item(format!("show {id}"), word.clone(), Choice::GoRun(id.clone())));
        if !model.is_connected() || model.flows.doing(id).is_some() {
            continue;
        }
        if !run.status.is_final() {
            items.push(item(format!("cancel {id}"), word, Choice::Cancel(id.clone())));
        } else if run.status != RunStatus::Succeeded {
            items.push(item(format!("retry {id}"), word, Choice::Retry(id.clone())));
        }
    }
    items
}

/// The keyboard does these better.
fn is_movement(action: Action) -> bool {
    matches!(
        action,
        Action::Up
            | Action::Down
            | Action::Top
            | Action::Bottom
            | Action::PageUp
            | Action::PageDown
            | Action::Left
            | Action::Right
            | Action::Open
            | Action::Back
            | Action::NextPane
            | Action::PrevPane
            | Action::Palette
            | Action::LeaveAttach
    )
}

/// How well the letters are found in the text, in their order, at their best places; `None` where they are not.
/// Beginnings of words and neighbours count more, a late start less.
pub fn score(wanted: &str, text: &str) -> Option<i32> {
    let letters: Vec<char> = text.chars().flat_map(char::to_lowercase).collect();
    let starts_word =
        |at: usize| at == 0 || letters.get(at - 1).is_some_and(|before| !before.is_alphanumeric());
    // The best score of all letters so far, by the place of the last one.
    let mut best: Option<Vec<Option<i32>>> = None;
    for want in wanted.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase) {
        let mut before = None;
        let mut next = vec![None; letters.len()];
        for (at, letter) in letters.iter().enumerate() {
            let neighbour = at.checked_sub(1).and_then(|left| best.as_ref().and_then(|best| best[left]));
            if *letter == want {
                let late = || -i32::try_from(at.min(10)).unwrap_or(10);
                let so_far = match &best {
                    None => Some(late()),
                    Some(_) => before.max(neighbour).max(neighbour.map(|score| score + 9)),
                };
                next[at] = so_far.map(|score| score + 1 + if starts_word(at) { 8 } else { 0 });
            }
            before = before.max(neighbour);
        }
        if next.iter().all(Option::is_none) {
            return None;
        }
        best = Some(next);
    }
    let score = best.map_or(0, |best| best.into_iter().flatten().max().unwrap_or(0));
    // Of two that match alike, the shorter is meant.
    Some(score * 8 - i32::try_from(letters.len().min(200)).unwrap_or(200) / 4)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{busy, opened};
    use super::*;

    fn titles(wanted: &str) -> Vec<String> {
        let model = opened(busy(), (120, 36));
        found(&model, wanted).into_iter().take(3).map(|item| item.title).collect()
    }

    #[test]
    fn a_few_letters_find_it() {
        assert_eq!(titles("conf")[0], "config");
        assert_eq!(titles("stop api")[0], "stop agent-api");
        assert_eq!(titles("rall")[0], "restart all");
        assert_eq!(titles("res")[0], "restart");
        assert_eq!(titles("goweb")[0], "go to agent-web");
        assert_eq!(titles("web")[0], "go to agent-web");
        assert_eq!(titles("agent-api")[0], "go to agent-api");
        assert_eq!(titles("zzzz"), Vec::<String>::new());
    }

    #[test]
    fn what_does_nothing_now_is_not_offered() {
        assert!(!titles("start agent-api").iter().any(|title| title == "start agent-api"));
        assert!(!titles("kill migrate").iter().any(|title| title == "kill migrate"));
    }

    #[test]
    fn beginnings_of_words_win() {
        assert!(score("ra", "restart all").unwrap() > score("ra", "palette transfer a").unwrap());
        assert_eq!(score("ba", "ab"), None);
        assert!(score("", "anything").is_some());
    }
}
