//! What a person does in the log: actions of the key table, lines that are typed, the mouse. It must not know files.

use std::ops::Range;
use std::path::PathBuf;

use regex::bytes::RegexBuilder;

use super::question::{Cmd, Way};
use super::{FileState, LogPane, Place, Selection, Typing, TypingWhat, Wanted};
use crate::domain::keys::{Action, Code, Key};
use crate::domain::spec::Pattern;
use crate::frontend::tui::event::{self, Mouse, MouseKind, Pressed};
use crate::frontend::tui::input::{LineInput, Typed};
use crate::logs::lines::LogLine;
use crate::logs::page::end_of;
use crate::logs::sanitize::{Keep, sanitize};

/// Rows for a turn of the wheel.
const WHEEL: isize = 3;

/// Columns for a step to the side.
const SIDE: usize = 16;

impl LogPane {
    /// `None`: not for the log. Gets movements and all of `Scope::Log`, only while the pane has the keyboard; `Back`
    /// first, so that it can end a search before the pane is left.
    #[expect(clippy::wildcard_enum_match_arm, reason = "what belongs to other places is none of the log's")]
    pub fn act(&mut self, action: Action) -> Option<Vec<event::Cmd>> {
        if action == Action::Back {
            return self.back();
        }
        let page = self.body_height().saturating_sub(1).max(1).cast_signed();
        let had_note = self.note.take().is_some();
        if self.wants_opening() && matches!(action, Action::Follow | Action::Bottom) {
            return Some(self.open(self.shown.clone(), Place::End));
        }
        let done = match action {
            Action::Up => self.go(-1),
            Action::Down => self.go(1),
            Action::PageUp => self.go(-page),
            Action::PageDown => self.go(page),
            Action::Top => {
                let asked = self.jump(Place::Top { offset: 0, row: 0 });
                self.drag_to_edge();
                asked
            }
            Action::Bottom | Action::Follow if self.place == Place::End && self.has_window() => {
                if action == Action::Follow {
                    self.hold();
                }
                Vec::new()
            }
            Action::Bottom | Action::Follow => self.jump(Place::End),
            Action::Left => self.side(self.shift.saturating_sub(SIDE)),
            Action::Right => self.side(self.shift + SIDE),
            Action::Search => self.begin_typing(TypingWhat::Search, ""),
            Action::FilterLines => {
                let text = self.filter.as_ref().map_or(String::new(), |filter| filter.text.clone());
                self.begin_typing(TypingWhat::Filter, &text)
            }
            Action::SearchNext => self.find(Way::Down),
            Action::SearchPrev => self.find(Way::Up),
            Action::Regex => self.switch_regex(),
            Action::Wrap => {
                self.wrap = !self.wrap;
                self.shift = 0;
                self.ask()
            }
            Action::Timestamps => {
                self.times = !self.times;
                Vec::new()
            }
            Action::PrevAttempt => self.step(-1),
            Action::NextAttempt => self.step(1),
            Action::Select => {
                self.selection = match self.selection {
                    Some(_) => None,
                    None => self.line_at_hand().map(|line| Selection { anchor: line, head: line }),
                };
                Vec::new()
            }
            Action::Copy => self.copy(),
            Action::Save => {
                let name = self.shown.as_ref().map(super::LogFile::saved_as).unwrap_or_default();
                self.begin_typing(TypingWhat::Save, &name)
            }
            Action::Pager => match (&self.shown, self.file) {
                (Some(file), FileState::Open) if file.is_file() => vec![event::Cmd::Pager(file.path.clone())],
                (Some(_) | None, _) => Vec::new(),
            },
            _ => {
                if had_note {
                    return Some(Vec::new());
                }
                return None;
            }
        };
        Some(done)
    }

    /// Whether the action would do something now: for the footer.
    #[expect(clippy::wildcard_enum_match_arm, reason = "what belongs to other places is none of the log's")]
    pub fn can(&self, action: Action) -> bool {
        let open = self.has_window();
        match action {
            Action::Search
            | Action::FilterLines
            | Action::Select
            | Action::Copy
            | Action::Wrap
            | Action::Timestamps
            | Action::Up
            | Action::Down
            | Action::Top
            | Action::Bottom
            | Action::PageUp
            | Action::PageDown => open,
            Action::Save => open || self.file == FileState::Binary,
            Action::Pager => {
                let is_file = self.shown.as_ref().is_some_and(super::LogFile::is_file);
                self.file == FileState::Open && is_file
            }
            Action::SearchNext | Action::SearchPrev => open && self.search.is_some(),
            Action::Regex => self.search.is_some() || self.filter.is_some(),
            Action::Follow => self.wants_opening() || (open && self.place != Place::End),
            Action::Left => !self.wrap && self.shift > 0,
            Action::Right => !self.wrap && open,
            Action::PrevAttempt => self.neighbour(-1).is_some(),
            Action::NextAttempt => self.neighbour(1).is_some(),
            Action::Back => self.can_go_back(),
            _ => false,
        }
    }

    /// A line is being typed: keys go to [`LogPane::press`], not through the table.
    pub fn is_typing(&self) -> bool {
        self.typing.is_some()
    }

    pub fn press(&mut self, pressed: Pressed) -> Vec<event::Cmd> {
        let Some(typing) = &mut self.typing else { return Vec::new() };
        match pressed.key {
            Key { code: Code::Esc, .. } => {
                self.typing = None;
                Vec::new()
            }
            Key { code: Code::Enter, .. } => self.submit(),
            Key { code: Code::Char('r'), ctrl: true, .. } if typing.what != TypingWhat::Save => {
                self.regex = !self.regex;
                self.check();
                Vec::new()
            }
            Key { code: Code::Up, .. } if typing.what == TypingWhat::Search => {
                typing.input = LineInput::new(&self.last_typed);
                self.check();
                Vec::new()
            }
            key => {
                if typing.input.press(key) == Typed::Changed {
                    self.check();
                }
                Vec::new()
            }
        }
    }

    pub fn paste(&mut self, text: &str) -> Vec<event::Cmd> {
        if let Some(typing) = &mut self.typing {
            typing.input.insert(text.lines().next().unwrap_or_default());
            self.check();
        }
        Vec::new()
    }

    /// In the coordinates of the pane.
    pub fn mouse(&mut self, mouse: Mouse) -> Vec<event::Cmd> {
        match mouse.kind {
            MouseKind::WheelUp => self.scroll(-WHEEL),
            MouseKind::WheelDown => self.scroll(WHEEL),
            MouseKind::Click => {
                self.selection = None;
                Vec::new()
            }
            MouseKind::Drag => {
                if let Some(line) = self.line_of_row(usize::from(mouse.row).saturating_sub(1)) {
                    let anchor = self.selection.map_or(line, |selection| selection.anchor);
                    self.selection = Some(Selection { anchor, head: line });
                }
                match usize::from(mouse.row) {
                    0 => self.scroll(-1),
                    row if row > self.body_height() => self.scroll(1),
                    _ => Vec::new(),
                }
            }
            MouseKind::Release => Vec::new(),
        }
    }

    /// It is not being read, and could be.
    pub(super) fn wants_opening(&self) -> bool {
        matches!(self.file, FileState::Failed | FileState::Broken)
    }

    fn has_window(&self) -> bool {
        self.window.is_some()
    }

    fn can_go_back(&self) -> bool {
        self.selection.is_some() || self.finding.is_some() || self.search.is_some() || self.filter.is_some()
    }

    fn back(&mut self) -> Option<Vec<event::Cmd>> {
        self.note = None;
        if self.selection.take().is_some() {
            return Some(Vec::new());
        }
        if self.finding.take().is_some() {
            self.then.clear();
            return Some(vec![event::Cmd::Log(Cmd::StopFinding { epoch: self.epoch })]);
        }
        if self.search.take().is_some() {
            self.current = None;
            return Some(Vec::new());
        }
        self.filter.take().map(|_| self.again())
    }

    /// Scrolls; with a selection, moves its end.
    fn go(&mut self, rows: isize) -> Vec<event::Cmd> {
        let Some(mut selection) = self.selection else { return self.scroll(rows) };
        let Some(window) = &self.window else { return Vec::new() };
        let last = window.lines.len().saturating_sub(1);
        let index = window.index_of(selection.head.0).saturating_add_signed(rows).min(last);
        let Some(line) = window.lines.get(index) else { return Vec::new() };
        selection.head = (line.offset(), end_of(line));
        self.selection = Some(selection);
        let screen = self.visible();
        let (first, end) =
            (screen.first().map_or(0, |row| row.line), screen.last().map_or(0, |row| row.line));
        let distance = |a: usize, b: usize| a.abs_diff(b).cast_signed();
        if index < first {
            self.scroll(-distance(index, first))
        } else if index > end {
            self.scroll(distance(index, end))
        } else {
            self.ask()
        }
    }

    /// The selection goes up to the beginning of the log.
    fn drag_to_edge(&mut self) {
        if let Some(selection) = &mut self.selection {
            selection.head = (0, 0);
        }
    }

    /// Stays where it is while the log grows.
    fn hold(&mut self) {
        if let Some(window) = &self.window {
            let (index, row) = self.top(window);
            let offset = window.lines.get(index).map_or(0, LogLine::offset);
            self.place = Place::Top { offset, row };
        }
    }

    fn side(&mut self, shift: usize) -> Vec<event::Cmd> {
        if !self.wrap {
            self.shift = shift;
        }
        Vec::new()
    }

    /// The same place with another filter.
    pub(super) fn again(&mut self) -> Vec<event::Cmd> {
        let place = match self.place {
            Place::End => Place::End,
            Place::Top { offset, .. } => Place::Top { offset, row: 0 },
        };
        self.jump(place)
    }

    fn neighbour(&self, step: isize) -> Option<&super::LogFile> {
        let shown = self.shown.as_ref()?;
        let attempts = &self.source.as_ref()?.attempts;
        let at = attempts.iter().position(|file| file.attempt == shown.attempt)?;
        attempts.get(at.checked_add_signed(step)?)
    }

    fn step(&mut self, step: isize) -> Vec<event::Cmd> {
        if let Some(file) = self.neighbour(step).cloned() {
            let place = if file.content.is_some() { Place::START } else { Place::End };
            return self.open(Some(file), place);
        }
        self.note = Some(if step < 0 { "this is the first" } else { "this is the last" }.into());
        Vec::new()
    }

    fn begin_typing(&mut self, what: TypingWhat, text: &str) -> Vec<event::Cmd> {
        if self.has_window() || what == TypingWhat::Save && self.file == FileState::Binary {
            self.typing = Some(Typing { what, input: LineInput::new(text), problem: None });
        }
        Vec::new()
    }

    /// What is typed, as a pattern; the error is a sentence.
    fn pattern(&self, text: &str) -> Result<Pattern, String> {
        let text = if self.regex { text.to_owned() } else { regex::escape(text) };
        // Capitals count once somebody types one.
        let small = !text.chars().any(char::is_uppercase);
        RegexBuilder::new(&text).case_insensitive(small).size_limit(1 << 20).build().map(Pattern).map_err(
            |error| {
                let told = error.to_string();
                told.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
            },
        )
    }

    /// Says what is wrong with it while it is typed.
    fn check(&mut self) {
        let Some(typing) = &self.typing else { return };
        let problem = match typing.what {
            TypingWhat::Save => None,
            TypingWhat::Search | TypingWhat::Filter => self.pattern(typing.input.text()).err(),
        };
        if let Some(typing) = &mut self.typing {
            typing.problem = problem;
        }
    }

    /// What is marked on the screen.
    pub(super) fn marked(&self) -> Option<Pattern> {
        if let Some(typing) = &self.typing
            && typing.what != TypingWhat::Save
            && !typing.input.is_empty()
        {
            return self.pattern(typing.input.text()).ok();
        }
        self.search.as_ref().map(|search| search.pattern.clone())
    }

    fn submit(&mut self) -> Vec<event::Cmd> {
        let Some(typing) = self.typing.take() else { return Vec::new() };
        let text = typing.input.text().to_owned();
        match typing.what {
            TypingWhat::Save => self.save(&text),
            TypingWhat::Filter if text.is_empty() => {
                let had = self.filter.take().is_some();
                if had { self.again() } else { Vec::new() }
            }
            TypingWhat::Search if text.is_empty() => {
                (self.search, self.current) = (None, None);
                Vec::new()
            }
            TypingWhat::Search | TypingWhat::Filter => match self.pattern(&text) {
                Err(problem) => {
                    self.typing = Some(Typing { problem: Some(problem), ..typing });
                    Vec::new()
                }
                Ok(pattern) => {
                    self.last_typed.clone_from(&text);
                    let wanted = Some(Wanted { text, pattern });
                    if typing.what == TypingWhat::Filter {
                        self.filter = wanted;
                        return self.again();
                    }
                    self.search = wanted;
                    self.current = None;
                    self.finding = None;
                    self.then.clear();
                    // At the end, what was just written is the interesting part.
                    self.find(if self.place == Place::End { Way::Up } else { Way::Down })
                }
            },
        }
    }

    fn switch_regex(&mut self) -> Vec<event::Cmd> {
        self.regex = !self.regex;
        self.note = Some(if self.regex { "as a regular expression" } else { "as it stands" }.into());
        let again = |wanted: &Option<Wanted>| {
            wanted.as_ref().map(|wanted| {
                self.pattern(&wanted.text).map(|pattern| Wanted { text: wanted.text.clone(), pattern })
            })
        };
        match (again(&self.search).transpose(), again(&self.filter).transpose()) {
            (Ok(search), Ok(filter)) => {
                self.search = search;
                if filter.is_some() {
                    self.filter = filter;
                    return self.again();
                }
                Vec::new()
            }
            (Err(problem), _) | (_, Err(problem)) => {
                self.regex = !self.regex;
                self.note = Some(problem);
                Vec::new()
            }
        }
    }

    pub(super) fn find(&mut self, way: Way) -> Vec<event::Cmd> {
        if self.finding.is_some() {
            self.then.push_back(way);
            return Vec::new();
        }
        let (Some(search), Some(window)) = (&self.search, &self.window) else { return Vec::new() };
        let (top, _) = self.top(window);
        let line = |index: usize| window.lines.get(index);
        let from = match (way, self.current) {
            (Way::Up, Some(current)) => current,
            (Way::Down, Some(current)) => match line(window.index_of(current)) {
                Some(line) if line.offset() == current => end_of(line),
                Some(_) | None => current + 1,
            },
            (Way::Down, None) => line(top).map_or(0, LogLine::offset),
            (Way::Up, None) => self.visible().last().and_then(|row| line(row.line)).map_or(self.len, end_of),
        };
        self.finding = Some(from);
        vec![event::Cmd::Log(Cmd::Find {
            epoch: self.epoch,
            pattern: search.pattern.clone(),
            filter: self.filter.as_ref().map(|filter| filter.pattern.clone()),
            from,
            way,
        })]
    }

    /// Where a selection begins: at the line that was found, else at the newest or the topmost line on the screen.
    fn line_at_hand(&self) -> Option<(u64, u64)> {
        let window = self.window.as_ref()?;
        let screen = self.visible();
        let found = screen
            .iter()
            .find(|row| window.lines.get(row.line).map(LogLine::offset) == self.current && row.first);
        let row = match self.place {
            Place::End => found.or(screen.last()),
            Place::Top { .. } => found.or(screen.first()),
        };
        let line = window.lines.get(row?.line)?;
        Some((line.offset(), end_of(line)))
    }

    fn line_of_row(&self, row: usize) -> Option<(u64, u64)> {
        let screen = self.visible();
        let row = screen.get(row.min(screen.len().saturating_sub(1)))?;
        let line = self.window.as_ref()?.lines.get(row.line)?;
        Some((line.offset(), end_of(line)))
    }

    /// The lines of the selection, or of the screen.
    fn range(&self) -> Option<Range<u64>> {
        if let Some(selection) = self.selection {
            return Some(selection.range());
        }
        let window = self.window.as_ref()?;
        let screen = self.visible();
        let line = |row: Option<&super::scroll::Row>| window.lines.get(row?.line);
        Some(line(screen.first())?.offset()..end_of(line(screen.last())?))
    }

    fn copy(&mut self) -> Vec<event::Cmd> {
        let Some(range) = self.range() else { return Vec::new() };
        let Some(window) = self.window.as_ref().filter(|_| self.filter.is_some()) else {
            return vec![event::Cmd::Log(Cmd::Text { epoch: self.epoch, range })];
        };
        // What the filter hides is not copied.
        let mut text = String::new();
        for line in window.lines.iter().filter(|line| range.contains(&line.offset())) {
            if let LogLine::Text { bytes, .. } = line {
                text.push_str(&sanitize(bytes, Keep::Nothing));
                text.push('\n');
            }
        }
        self.copied(text)
    }

    fn save(&mut self, to: &str) -> Vec<event::Cmd> {
        if to.is_empty() {
            return Vec::new();
        }
        let to = match (to.strip_prefix("~/"), std::env::home_dir()) {
            (Some(below), Some(home)) => home.join(below),
            _ => PathBuf::from(to),
        };
        let range = self.selection.map_or(0..self.len, Selection::range);
        self.selection = None;
        vec![event::Cmd::Log(Cmd::Save { epoch: self.epoch, range, to })]
    }
}

impl Selection {
    pub(super) fn range(self) -> Range<u64> {
        self.anchor.0.min(self.head.0)..self.anchor.1.max(self.head.1)
    }
}
