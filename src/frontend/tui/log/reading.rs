//! What the worker does, step by step: each step reads a block or a page, so that a newer question never waits long.
//! It must not know who asks, nor threads.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::question::{Read, Told, Way};
use crate::domain::spec::Pattern;
use crate::logs::blocks::{Forward, Piece};
use crate::logs::lines::{GapNote, LogLine};
use crate::logs::page::{self, PART, Page};
use crate::logs::sanitize::{Keep, Sanitizer};
use crate::logs::search::{Match, Search, Step};

/// More is no text for a clipboard.
pub(crate) const MOST_TEXT: u64 = 64 << 10;

/// How far a search goes before it tells where it is.
const TELL_EVERY: u64 = 64 << 20;

/// Something on its way. A step that tells nothing has more to do.
#[derive(Debug)]
pub(crate) enum Job {
    Page { view: u64, read: Read, want: usize },
    Filtered(Box<Filtered>),
    Text { cursor: Forward, sanitizer: Sanitizer, text: String },
    Save { cursor: Forward, range: Range<u64>, to: PathBuf, out: Option<File> },
}

impl Job {
    pub(crate) fn read(
        file: &File,
        view: u64,
        read: Read,
        filter: Option<Pattern>,
        want: usize,
    ) -> io::Result<Self> {
        match filter {
            None => Ok(Self::Page { view, read, want }),
            Some(filter) => Ok(Self::Filtered(Box::new(Filtered::begin(file, view, read, filter, want)?))),
        }
    }

    pub(crate) fn text(range: Range<u64>) -> Self {
        Self::Text {
            cursor: Forward::new(range),
            sanitizer: Sanitizer::new(Keep::Nothing),
            text: String::new(),
        }
    }

    pub(crate) fn save(range: Range<u64>, to: PathBuf) -> Self {
        Self::Save { cursor: Forward::new(range.clone()), range, to, out: None }
    }

    /// One step: what is to be told, and whether that was the last.
    pub(crate) fn step(&mut self, file: &File) -> io::Result<(Option<Told>, bool)> {
        match self {
            Self::Page { view, read, want } => {
                let len = file.metadata()?.len();
                let page = match *read {
                    Read::End => page::before(file, len, *want)?,
                    Read::Before(offset) => page::before(file, offset.min(len), *want)?,
                    Read::After(offset) => page::after(file, offset, *want)?,
                    Read::At(offset) => page::after(file, page::line_at(file, offset)?, *want)?,
                };
                let reached = page.range.end;
                Ok((Some(Told::Lines { view: *view, read: *read, page, reached, len }), true))
            }
            Self::Filtered(filtered) => filtered.step(file),
            Self::Text { cursor, sanitizer, text } => match cursor.next(file)? {
                Some(Piece::Data { bytes, .. }) => {
                    sanitizer.push(&bytes, text);
                    Ok((None, false))
                }
                Some(Piece::Gap { len, .. }) => {
                    text.push_str(&GapNote(len).to_string());
                    text.push('\n');
                    Ok((None, false))
                }
                None => {
                    sanitizer.finish(text);
                    Ok((Some(Told::Text(std::mem::take(text))), true))
                }
            },
            Self::Save { cursor, range, to, out } => {
                let out = match out {
                    Some(out) => out,
                    None => out.insert(
                        // What is there already is somebody's.
                        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&*to)?,
                    ),
                };
                match cursor.next(file)? {
                    Some(Piece::Data { bytes, .. }) => out.write_all(&bytes)?,
                    Some(Piece::Gap { len, .. }) => writeln!(out, "{}", GapNote(len))?,
                    None => {
                        let told = Told::Saved { bytes: range.end - range.start, to: to.clone() };
                        return Ok((Some(told), true));
                    }
                }
                Ok((None, false))
            }
        }
    }

    pub(crate) fn is_read(&self) -> bool {
        matches!(self, Self::Page { .. } | Self::Filtered(_))
    }

    /// What it is about, for a sentence that says that it failed.
    pub(crate) fn act(&self) -> String {
        match self {
            Self::Save { to, .. } => format!("save to {}", to.display()),
            Self::Page { .. } | Self::Filtered(_) | Self::Text { .. } => "read the log".into(),
        }
    }
}

/// Lines that match, from a place on.
#[derive(Debug)]
pub(crate) struct Filtered {
    view: u64,
    read: Read,
    want: usize,
    search: Search,
    up: bool,
    /// Where the way begins.
    from: u64,
    found: Vec<Match>,
    told_at: u64,
}

impl Filtered {
    fn begin(file: &File, view: u64, read: Read, filter: Pattern, want: usize) -> io::Result<Self> {
        let len = file.metadata()?.len();
        let own = file.try_clone()?;
        let (up, from) = match read {
            Read::End => (true, len),
            Read::Before(offset) => (true, offset.min(len)),
            Read::After(offset) => (false, offset),
            Read::At(offset) => (false, page::line_at(file, offset)?),
        };
        let search =
            if up { Search::backward(own, filter.0, from)? } else { Search::forward(own, filter.0, from)? };
        Ok(Self { view, read, want, search, up, from, found: Vec::new(), told_at: from })
    }

    fn step(&mut self, file: &File) -> io::Result<(Option<Told>, bool)> {
        let over = match self.search.step()? {
            Step::Found(found) => {
                self.found.extend(found);
                false
            }
            Step::Done => true,
        };
        if !over && self.found.len() < self.want {
            let at = self.search.at();
            if at.abs_diff(self.told_at) < TELL_EVERY {
                return Ok((None, false));
            }
            self.told_at = at;
            return Ok((Some(Told::Filtering { view: self.view, at }), false));
        }
        let cut = self.found.len() > self.want;
        self.found.truncate(self.want);
        let reached = match self.found.last() {
            Some(last) if cut && self.up => last.offset,
            Some(last) if cut => last.end,
            Some(_) | None => self.search.at(),
        };
        let range = if self.up {
            self.found.reverse();
            reached.min(self.from)..self.from
        } else if over && reached > self.from && !ends_with_newline(file, reached) {
            // A line that is still being written is looked at again.
            self.from..page::line_at(file, reached - 1)?.max(self.from)
        } else {
            self.from..reached
        };
        let lines = std::mem::take(&mut self.found).into_iter().map(|found| line_of(file, found)).collect();
        let len = file.metadata()?.len();
        let page = Page { lines, range };
        Ok((Some(Told::Lines { view: self.view, read: self.read, page, reached, len }), true))
    }
}

fn ends_with_newline(file: &File, end: u64) -> bool {
    end > 0 && crate::logs::blocks::read_at(file, end - 1, 1).is_ok_and(|last| last == b"\n")
}

/// No line of a page is longer than a page's lines are; the sign for the rest is the missing newline.
fn line_of(file: &File, found: Match) -> LogLine {
    let mut bytes = found.line;
    let most = usize::try_from(2 * PART).unwrap_or(usize::MAX);
    let complete = bytes.len() <= most && ends_with_newline(file, found.end);
    bytes.truncate(most);
    LogLine::Text { offset: found.offset, bytes, complete }
}

/// A search for one line.
#[derive(Debug)]
pub(crate) struct Finding {
    search: Search,
    pattern: Pattern,
    filter: Option<Pattern>,
    from: u64,
    way: Way,
    around: bool,
    told_at: u64,
}

impl Finding {
    pub(crate) fn begin(
        file: &File,
        pattern: Pattern,
        filter: Option<Pattern>,
        from: u64,
        way: Way,
    ) -> io::Result<Self> {
        let search = search(file, &pattern, from, way)?;
        Ok(Self { search, pattern, filter, from, way, around: false, told_at: from })
    }

    pub(crate) fn step(&mut self, file: &File) -> io::Result<(Option<Told>, bool)> {
        match self.search.step()? {
            Step::Found(found) => {
                let fits =
                    |one: &&Match| self.filter.as_ref().is_none_or(|filter| filter.0.is_match(&one.line));
                if let Some(first) = found.iter().find(fits) {
                    let told = Told::Found { offset: first.offset, around: self.around };
                    return Ok((Some(told), true));
                }
                let at = self.search.at();
                let beyond = match self.way {
                    Way::Down => at > self.from,
                    Way::Up => at < self.from,
                };
                if self.around && beyond {
                    return Ok((Some(Told::NotFound), true));
                }
                if at.abs_diff(self.told_at) < TELL_EVERY {
                    return Ok((None, false));
                }
                self.told_at = at;
                Ok((Some(Told::Finding { at }), false))
            }
            Step::Done if self.around => Ok((Some(Told::NotFound), true)),
            Step::Done => {
                let from = match self.way {
                    Way::Down => 0,
                    Way::Up => file.metadata()?.len(),
                };
                self.search = search(file, &self.pattern, from, self.way)?;
                (self.around, self.told_at) = (true, from);
                Ok((None, false))
            }
        }
    }
}

fn search(file: &File, pattern: &Pattern, from: u64, way: Way) -> io::Result<Search> {
    let (own, pattern) = (file.try_clone()?, pattern.0.clone());
    match way {
        Way::Down => Search::forward(own, pattern, from),
        Way::Up => Search::backward(own, pattern, from),
    }
}
