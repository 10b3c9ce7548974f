//! Whether an action would do something now: what does not is not done, not in the footer and not in the palette. Pure.

use super::event::Order;
use super::model::{Focus, Link, Model, Screen};
use crate::domain::ids::RunnerName;
use crate::domain::keys::Action;
use crate::domain::spec::Clipboard;

impl Model {
    /// Whether the action would do something in the place where the keyboard is.
    pub fn can(&self, action: Action) -> bool {
        if action.binding().is_none_or(|binding| !binding.scope.covers(self.place())) {
            return false;
        }
        let any = !self.fleet.runners().is_empty();
        let listed = any || !self.flows.is_empty();
        let may = |order| self.selected().is_some_and(|view| self.may(order, view));
        match action {
            Action::Up | Action::Down | Action::Top | Action::Bottom | Action::PageUp | Action::PageDown => {
                self.screen != Screen::Main || listed
            }
            Action::Retry
            | Action::Approve
            | Action::Reject
            | Action::Proceed
            | Action::CancelRun
            | Action::StageLog
            | Action::Look
            | Action::Edit
            | Action::Fork
            | Action::Tree
            | Action::PrevRun
            | Action::NextRun => self.can_flow(action),
            Action::NextPane | Action::PrevPane => match self.screen {
                Screen::Main => self.selected().is_some(),
                Screen::Config => !self.configured().is_empty(),
                Screen::Run | Screen::History | Screen::Analytics | Screen::Help | Screen::Attach => false,
            },
            Action::Open => match self.screen {
                Screen::Main if self.list.run.is_some() => true,
                Screen::Main => self.selected().is_some() && !(self.focus == Focus::Log && self.zoom),
                Screen::Run if self.focus == Focus::Log => false,
                Screen::Run => match &self.flows.pane {
                    Some(pane) if pane.in_tree => pane.selected_row().is_some(),
                    Some(_) | None => self.can_flow(Action::StageLog),
                },
                Screen::History => self.flows.history.selected().is_some(),
                Screen::Analytics => any,
                Screen::Config | Screen::Help | Screen::Attach => false,
            },
            Action::Back => {
                self.screen != Screen::Main
                    || self.focus == Focus::Log
                    || self.zoom
                    || self.list.unfinished
                    || !self.list.filter.is_empty()
                    || !self.toasts.shown().is_empty()
            }
            Action::Start => may(Order::Start),
            Action::Stop => may(Order::Stop),
            Action::Restart => may(Order::Restart),
            Action::Kill => may(Order::Kill),
            Action::OpenLog => self.selected().is_some() && !(self.focus == Focus::Log && self.zoom),
            Action::Explain => self.selected().is_some(),
            Action::Attach => self.selected().is_some_and(|view| {
                view.pid.is_some() && self.facts(&view.name).is_some_and(|facts| facts.tty)
            }),
            Action::Filter | Action::Unfinished => {
                self.screen == Screen::History || self.screen == Screen::Main && listed
            }
            Action::Zoom if self.screen == Screen::Run => {
                let pane = self.flows.pane.as_ref().filter(|_| self.focus == Focus::List);
                pane.is_some_and(|pane| {
                    if pane.in_tree { pane.target().is_some() } else { pane.selected().is_some() }
                })
            }
            Action::Sort | Action::Zoom => self.screen == Screen::Main && any,
            Action::History => self.has_flows(),
            Action::Search
            | Action::SearchNext
            | Action::SearchPrev
            | Action::FilterLines
            | Action::Regex
            | Action::Follow
            | Action::Wrap
            | Action::Timestamps
            | Action::PrevAttempt
            | Action::NextAttempt
            | Action::Left
            | Action::Right
            | Action::Select
            | Action::Save
            | Action::Pager => self.log.can(action),
            Action::Copy => self.setup.manners.clipboard != Clipboard::Off && self.log.can(action),
            // Those that show a screen lead back from it, too.
            Action::LeaveAttach
            | Action::Help
            | Action::Palette
            | Action::Redraw
            | Action::Quit
            | Action::Analytics
            | Action::Config => true,
            Action::Reload | Action::Detach => self.is_connected(),
            Action::StopAndQuit => self.is_connected() && any,
            Action::StartAll => self.may_any(Order::Start),
            Action::StopAll => self.may_any(Order::Stop),
            Action::RestartAll => self.may_any(Order::Restart),
            Action::KillAll => self.may_any(Order::Kill),
            Action::Summon => matches!(self.link, Link::Lost { nobody: true, .. }),
        }
    }

    /// Every runner, as the orders about all of them name them: those that are there now, and no others.
    pub fn all_names(&self) -> Vec<RunnerName> {
        self.fleet.runners().iter().map(|runner| runner.name.clone()).collect()
    }

    fn may_any(&self, order: Order) -> bool {
        self.fleet.runners().iter().any(|runner| self.may(order, runner))
    }
}
