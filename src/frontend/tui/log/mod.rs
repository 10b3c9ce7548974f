//! The log of one runner: its model, what it looks like, and the worker that reads the files. The dashboard says which
//! runner is shown and how large the pane is, hands over actions and keys, and knows nothing of files.
//!
//! A place in a log is a byte offset, never a line number: so any place of a log of any size is reached by reading a
//! page. Reading order: `question` (what pane and worker say to one another), `reading` and `worker` (off the
//! loop), `window` (the lines in memory), `scroll` (where the screen stands), `keys` (what a person does),
//! `text` (a line as cells), `draw`.

mod content;
mod draw;
mod hexdump;
mod keys;
mod question;
mod reading;
mod scroll;
mod text;
mod window;
mod worker;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::VecDeque;
use std::path::PathBuf;

pub use content::Content;
pub use draw::draw;
pub(in crate::frontend::tui) use draw::on_line;
pub use question::{Cmd, News, Told};
pub(crate) use text::is_invisible;
pub use worker::{Worker, start};

use self::question::{Read, Way};
use self::window::Window;
use super::event;
use super::input::LineInput;
use crate::domain::ids::{Attempt, RunnerName};
use crate::domain::keys::Key;
use crate::domain::spec::Pattern;
use crate::domain::time::Timestamp;
use crate::domain::verdict::Outcome;

/// What there is to show of a runner.
#[derive(Debug, Clone, PartialEq)]
pub struct LogSource {
    pub runner: RunnerName,
    /// The attempts that may have a log, the newest last.
    pub attempts: Vec<LogFile>,
    /// Which one is shown first, from its beginning; else it is the newest, at its end.
    pub first: Option<Attempt>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct LogFile {
    pub attempt: Attempt,
    pub path: PathBuf,
    /// It may still grow.
    pub live: bool,
    pub started_at: Option<Timestamp>,
    pub outcome: Option<Outcome>,
    /// Not what a process printed, but something that it left.
    pub content: Option<Content>,
}

#[derive(Debug, Clone)]
pub struct LogPane {
    source: Option<LogSource>,
    /// Which one of them is shown.
    shown: Option<LogFile>,
    /// Counts the files that were opened, so that answers about an earlier one are known.
    epoch: u64,
    file: FileState,
    /// The beginning of what is no text.
    binary: Vec<u8>,
    len: u64,
    /// How many lines it has, where somebody has counted.
    count: Option<u64>,
    /// Counts the windows: a jump, a new filter begin another.
    view: u64,
    window: Option<Window>,
    /// What was asked for and has not been answered.
    asked: Option<Read>,
    place: Place,
    /// Rows that could not be scrolled yet, because their lines are not there.
    owed: isize,
    wrap: bool,
    times: bool,
    /// Columns to the right, where lines are cut.
    shift: usize,
    regex: bool,
    search: Option<Wanted>,
    /// The line that the search stands at.
    current: Option<u64>,
    /// A search is on its way, and has come so far.
    finding: Option<u64>,
    /// Steps from match to match that were asked for meanwhile.
    then: VecDeque<Way>,
    filter: Option<Wanted>,
    /// How far the filter has come.
    filtering: Option<u64>,
    selection: Option<Selection>,
    typing: Option<Typing>,
    last_typed: String,
    /// A sentence about what was just done; until the next key.
    note: Option<String>,
    /// The key that opens a log again, to be shown.
    again: Option<Key>,
    /// How many lines it is opened with.
    tail: usize,
    width: u16,
    height: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileState {
    Closed,
    Opening,
    Missing,
    /// The reason stands in the note.
    Failed,
    /// Whoever read it is not there any more; what was read stays.
    Broken,
    Open,
    /// It is open, and is no text.
    Binary,
}

/// Where the screen stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the end, also as it grows.
    End,
    /// This row of this line is at the top.
    Top { offset: u64, row: usize },
}

impl Place {
    const START: Self = Self::Top { offset: 0, row: 0 };
}

/// What somebody typed, and what it means.
#[derive(Debug, Clone, PartialEq)]
struct Wanted {
    text: String,
    pattern: Pattern,
}

/// Two lines, and all between them: where each begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Selection {
    anchor: (u64, u64),
    head: (u64, u64),
}

#[derive(Debug, Clone)]
struct Typing {
    what: TypingWhat,
    input: LineInput,
    /// What is wrong with it.
    problem: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TypingWhat {
    Search,
    Filter,
    Save,
}

impl Default for LogPane {
    fn default() -> Self {
        Self {
            source: None,
            shown: None,
            epoch: 0,
            file: FileState::Closed,
            binary: Vec::new(),
            len: 0,
            count: None,
            view: 0,
            window: None,
            asked: None,
            place: Place::End,
            owed: 0,
            wrap: true,
            times: true,
            shift: 0,
            regex: false,
            search: None,
            current: None,
            finding: None,
            then: VecDeque::new(),
            filter: None,
            filtering: None,
            selection: None,
            typing: None,
            last_typed: String::new(),
            note: None,
            again: None,
            tail: 0,
            width: 0,
            height: 0,
        }
    }
}

impl LogPane {
    /// What is to be shown from now on; called after each event, so it must be cheap where nothing has changed. Another
    /// runner starts at the end of its newest log, following; a new attempt of the same runner is followed where the
    /// newest was.
    pub fn show(&mut self, source: Option<&LogSource>) -> Vec<event::Cmd> {
        if self.source.as_ref() == source {
            return Vec::new();
        }
        let before = std::mem::replace(&mut self.source, source.cloned());
        let Some(source) = source else {
            self.shown = None;
            return self.close();
        };
        let newest = source.attempts.last();
        if before.as_ref().is_none_or(|before| before.runner != source.runner) {
            // What was searched for goes along; what belongs to a place in a file does not.
            self.filter = None;
            if let Some(first) = source.first {
                let first = source.attempts.iter().find(|file| file.attempt == first);
                return self.open(first.cloned(), Place::START);
            }
            return self.open(newest.cloned(), Place::End);
        }
        let was_newest = match (&self.shown, before.as_ref().and_then(|before| before.attempts.last())) {
            (Some(shown), Some(last)) => shown.attempt == last.attempt,
            (None, _) => true,
            (Some(_), None) => false,
        };
        let same = self
            .shown
            .as_ref()
            .and_then(|shown| source.attempts.iter().find(|file| file.attempt == shown.attempt));
        let has_new = was_newest && newest.map(|file| file.attempt) != self.shown.as_ref().map(|f| f.attempt);
        match same {
            Some(same) if !has_new || self.place != Place::End => {
                if has_new {
                    self.note = newest.map(|file| format!("attempt {} has begun", file.attempt));
                }
                let moved = self.shown.as_ref().is_some_and(|shown| shown.path != same.path);
                let same = same.clone();
                if moved {
                    return self.open(Some(same), self.place);
                }
                self.shown = Some(same);
                Vec::new()
            }
            Some(_) | None => self.open(newest.cloned(), Place::End),
        }
    }

    /// As the config has it: the key that opens a log again that could not be read, and how many lines one is opened
    /// with.
    pub fn configure(&mut self, again: Option<Key>, tail: u32) {
        (self.again, self.tail) = (again, usize::try_from(tail).unwrap_or(usize::MAX));
    }

    /// The area for [`draw()`]; nothing (0 × 0) where the pane is not on screen: then nothing is read either. Called after
    /// each event.
    pub fn resize(&mut self, width: u16, height: u16) -> Vec<event::Cmd> {
        if (self.width, self.height) == (width, height) {
            return Vec::new();
        }
        let was_shown = self.is_on_screen();
        (self.width, self.height) = (width, height);
        match (was_shown, self.is_on_screen()) {
            (true, false) => self.close(),
            (false, true) => self.open(self.shown.clone(), self.place),
            (true, true) => self.ask(),
            (false, false) => Vec::new(),
        }
    }

    fn is_on_screen(&self) -> bool {
        self.width > 0 && self.height > 0
    }

    fn close(&mut self) -> Vec<event::Cmd> {
        let was = std::mem::replace(&mut self.file, FileState::Closed);
        self.forget();
        if was == FileState::Closed { Vec::new() } else { vec![event::Cmd::Log(Cmd::Close)] }
    }

    /// Another file, or the same one again.
    fn open(&mut self, file: Option<LogFile>, place: Place) -> Vec<event::Cmd> {
        let place_of = |file: &LogFile| (file.path.clone(), file.content.clone());
        if self.shown.as_ref().map(place_of) != file.as_ref().map(place_of) {
            self.selection = None;
        }
        self.shown = file;
        let Some(shown) = self.shown.as_ref().filter(|_| self.is_on_screen()) else {
            let closed = self.close();
            self.place = place;
            return closed;
        };
        let path = shown.path.clone();
        let content = shown.content.clone();
        self.forget();
        self.place = place;
        self.epoch += 1;
        self.file = FileState::Opening;
        let epoch = self.epoch;
        vec![event::Cmd::Log(match content {
            None => Cmd::Open { epoch, path },
            Some(content) => Cmd::Look { epoch, path, text: content.text },
        })]
    }

    /// Everything that was read.
    fn forget(&mut self) {
        self.window = None;
        self.asked = None;
        self.binary.clear();
        self.current = None;
        self.finding = None;
        self.then.clear();
        self.filtering = None;
        self.note = None;
        self.count = None;
        self.len = 0;
        self.owed = 0;
        self.view += 1;
    }

    /// Another place in the same file: what was read is shown until the answer is there.
    fn jump(&mut self, place: Place) -> Vec<event::Cmd> {
        self.place = place;
        self.view += 1;
        self.asked = None;
        self.filtering = None;
        let read = match place {
            Place::End => Read::End,
            Place::Top { offset, .. } => Read::At(offset),
        };
        self.read(read)
    }

    fn read(&mut self, read: Read) -> Vec<event::Cmd> {
        if self.file != FileState::Open {
            return Vec::new();
        }
        self.asked = Some(read);
        let mut want = self.body_height().max(20) * 4;
        if read == Read::End && self.filter.is_none() {
            want = want.max(self.tail);
        }
        vec![event::Cmd::Log(Cmd::Read {
            epoch: self.epoch,
            view: self.view,
            read,
            filter: self.filter.as_ref().map(|filter| filter.pattern.clone()),
            want,
        })]
    }

    pub fn news(&mut self, news: &News) -> Vec<event::Cmd> {
        if news.epoch != self.epoch || self.file == FileState::Closed {
            return Vec::new();
        }
        match &news.told {
            Told::Opened { len } => {
                (self.file, self.len) = (FileState::Open, *len);
                self.say_if_damaged();
                self.jump(self.place)
            }
            Told::Binary { len, start } => {
                (self.file, self.len, self.binary) = (FileState::Binary, *len, start.clone());
                self.say_if_damaged();
                Vec::new()
            }
            Told::Missing => self.stands(FileState::Missing),
            Told::Failed(what) => {
                if self.file == FileState::Opening {
                    self.file = FileState::Failed;
                }
                // What failed was the only thing that was asked for.
                (self.asked, self.finding, self.filtering) = (None, None, None);
                self.note = Some(what.clone());
                Vec::new()
            }
            Told::Broke => {
                (self.asked, self.finding, self.filtering) = (None, None, None);
                self.then.clear();
                self.stands(FileState::Broken)
            }
            Told::Lines { view, read, page, reached, len } => {
                if *view != self.view {
                    return Vec::new();
                }
                self.len = *len;
                self.asked = None;
                self.filtering = None;
                let (mut page, mut reached) = (page.clone(), *reached);
                if page.lines.is_empty() && self.filter.is_none() {
                    // The file is being cut under us: there is nothing to go on to.
                    match read {
                        Read::After(_) => reached = *len,
                        Read::Before(_) => page.range.start = 0,
                        Read::End | Read::At(_) => {}
                    }
                }
                self.take(*read, page, reached)
            }
            Told::Filtering { view, at } => {
                if *view == self.view {
                    self.filtering = Some(*at);
                }
                Vec::new()
            }
            Told::Grew { len } => {
                self.len = *len;
                self.ask()
            }
            Told::Shrunk { len } => {
                self.len = *len;
                self.count = None;
                self.selection = None;
                self.note = Some("somebody has truncated this log; it is read anew".into());
                self.jump(Place::End)
            }
            Told::Counted { lines } => {
                self.count = Some(*lines);
                Vec::new()
            }
            Told::Finding { at } => {
                self.finding = self.finding.map(|_| *at);
                Vec::new()
            }
            Told::Found { offset, around } => {
                self.finding = None;
                self.note = around.then(|| "searched on from the other end".to_owned());
                let mut cmds = self.found(*offset);
                if let Some(way) = self.then.pop_front() {
                    cmds.extend(self.find(way));
                }
                cmds
            }
            Told::NotFound => {
                self.finding = None;
                self.then.clear();
                let text = self.search.as_ref().map_or("", |search| search.text.as_str());
                self.note = Some(format!("no line matches {text:?}"));
                Vec::new()
            }
            Told::Text(text) => self.copied(text.clone()),
            Told::TooMuch { bytes } => {
                let bytes = crate::frontend::text::bytes(*bytes);
                self.note =
                    Some(format!("{bytes} are too much for the clipboard; save them as a file instead"));
                Vec::new()
            }
            Told::Saved { bytes, to } => {
                let bytes = crate::frontend::text::bytes(*bytes);
                self.note = Some(format!("saved {bytes} to {}", to.display()));
                Vec::new()
            }
        }
    }

    fn stands(&mut self, state: FileState) -> Vec<event::Cmd> {
        self.file = state;
        Vec::new()
    }

    fn copied(&mut self, text: String) -> Vec<event::Cmd> {
        self.selection = None;
        vec![event::Cmd::Copy(text)]
    }
}
