//! What is wrong with a config, for a person and for a machine. Knows texts and places, nothing of configs.

use std::cell::Cell;
use std::fmt;
use std::ops::Range;

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Error,
    Warning,
}

/// Both count from 1; the column counts characters, as editors do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// One problem. It carries its own piece of the source, so it can be shown after the file is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    pub severity: Severity,
    /// As the caller named it.
    pub file: String,
    /// `None` where the file itself is the problem.
    #[serde(flatten)]
    pub at: Option<Position>,
    /// `runners.agent.retry.count`; empty where the problem has no key.
    pub path: String,
    pub message: String,
    pub hint: Option<String>,
    #[serde(skip)]
    snippet: Option<Snippet>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Snippet {
    text: String,
    /// Characters before the mark, and under it.
    skip: usize,
    width: usize,
}

impl Diagnostic {
    /// A problem of the file as a whole.
    pub(super) fn of_file(file: &str, message: String, hint: Option<String>) -> Self {
        Self {
            severity: Severity::Error,
            file: file.to_owned(),
            at: None,
            path: String::new(),
            message,
            hint,
            snippet: None,
        }
    }

    /// With the source line and a mark under the place; [`fmt::Display`] leaves these out, for logs.
    pub fn human(&self) -> String {
        let snippet = match (self.at, &self.snippet) {
            (Some(at), Some(Snippet { text, skip, width })) => {
                let number = at.line.to_string();
                let margin = " ".repeat(number.len());
                let (skip, mark) = (" ".repeat(*skip), "^".repeat(*width));
                format!("\n  {margin} |\n  {number} | {text}\n  {margin} | {skip}{mark}")
            }
            _ => String::new(),
        };
        format!("{}{snippet}{}", self.headline(), self.advice())
    }

    fn headline(&self) -> String {
        let place = self.at.map(|at| format!(":{}:{}", at.line, at.column)).unwrap_or_default();
        let severity = if self.severity == Severity::Warning { "warning: " } else { "" };
        let colon = if self.path.is_empty() { "" } else { ": " };
        format!("{}{place}: {severity}{}{colon}{}", self.file, self.path, self.message)
    }

    fn advice(&self) -> String {
        self.hint.as_ref().map(|hint| format!("\n  hint: {hint}")).unwrap_or_default()
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.headline(), self.advice())
    }
}

/// Everything that was found in one go, in the order of the file. At least one of them is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    pub fn human(&self) -> String {
        self.0.iter().map(Diagnostic::human).collect::<Vec<_>>().join("\n")
    }

    pub fn errors(&self) -> usize {
        self.0.iter().filter(|one| one.severity == Severity::Error).count()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, one) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            one.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// A problem while it is being found: its place is still a byte range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub severity: Severity,
    pub path: String,
    pub span: Range<usize>,
    pub message: String,
    pub hint: Option<String>,
    /// The text is fine, but what it names is not there: a folder, an executable.
    pub missing: bool,
}

/// The text of a config file with its line starts.
#[derive(Debug)]
pub(super) struct Source<'a> {
    name: &'a str,
    pub text: &'a str,
    line_starts: Vec<usize>,
    /// An offset, and the characters before it on its line. The next column is counted from there: all may be one line.
    counted: Cell<(usize, usize)>,
}

impl<'a> Source<'a> {
    /// A line longer than this is shown as a window around the place.
    const WINDOW: usize = 100;

    pub(super) fn new(name: &'a str, text: &'a str) -> Self {
        let line_starts =
            std::iter::once(0).chain(text.match_indices('\n').map(|(offset, _)| offset + 1)).collect();
        Self { name, text, line_starts, counted: Cell::default() }
    }

    /// Counting the columns costs as much as the line is long, and a file may be one line.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    pub(super) fn position(&self, offset: usize) -> Position {
        let offset = self.floor(offset);
        let line = self.line(offset);
        let start = self.line_starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let known = Some(self.counted.get()).filter(|(from, _)| (start..=offset).contains(from));
        let (from, before) = known.unwrap_or((start, 0));
        let before = before + self.text.get(from..offset).map_or(0, |gap| gap.chars().count());
        self.counted.set((offset, before));
        Position { line, column: before + 1 }
    }

    pub(super) fn diagnostic(&self, problem: Problem) -> Diagnostic {
        let at = self.position(problem.span.start);
        // A value below `env` may be a secret; its line is not repeated anywhere.
        let secret = problem.path.split(['.', '[']).any(|part| part == "env");
        let snippet = (!secret).then(|| self.snippet(at, &problem.span));
        Diagnostic {
            severity: problem.severity,
            file: self.name.to_owned(),
            at: Some(at),
            path: problem.path,
            message: tame(&problem.message),
            hint: problem.hint.map(|hint| tame(&hint)),
            snippet,
        }
    }

    fn snippet(&self, at: Position, span: &Range<usize>) -> Snippet {
        let start = self.line_starts.get(at.line - 1).copied().unwrap_or(0);
        let end = self.line_starts.get(at.line).map_or(self.text.len(), |next| next - 1);
        let line = self.text.get(start..end).unwrap_or("").trim_end_matches('\r');
        let skip = at.column - 1;
        let from = if skip > Self::WINDOW * 3 / 4 { skip - Self::WINDOW / 2 } else { 0 };
        // Looked for from the mark: the line may begin a long way before.
        let before = self.text.get(start..self.floor(span.start)).unwrap_or("").char_indices();
        let first =
            if from == 0 { 0 } else { before.rev().nth(skip - from - 1).map_or(0, |(index, _)| index) };
        let window = line.get(first..).unwrap_or("").chars();
        let shown: String = window.take(Self::WINDOW).map(printable).collect();
        let room = shown.chars().count().saturating_sub(skip - from).max(1);
        let marked = self
            .text
            .get(self.floor(span.start)..self.floor(span.end))
            .map_or(0, |marked| marked.chars().take(Self::WINDOW).take_while(|c| *c != '\n').count());
        Snippet { text: shown.trim_end().to_owned(), skip: skip - from, width: marked.clamp(1, room) }
    }

    fn floor(&self, offset: usize) -> usize {
        self.text.floor_char_boundary(offset)
    }
}

/// Nothing from a file reaches the terminal as a control sequence.
fn printable(c: char) -> char {
    if c == '\t' {
        ' '
    } else if c.is_control() {
        '\u{fffd}'
    } else {
        c
    }
}

/// The same for a sentence, where the character is worth showing: a path may hold anything.
fn tame(text: &str) -> String {
    let mut tame = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { tame.extend(c.escape_default()) } else { tame.push(c) }
    }
    tame
}

/// A piece of the user's text inside a sentence: quoted, escaped, not too long.
pub(super) fn quoted(text: &str) -> String {
    const MOST: usize = 60;
    let mut short: String = text.chars().take(MOST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}
