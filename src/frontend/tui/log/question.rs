//! What a pane asks of its worker and what it is told. Plain data: it does nothing.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use crate::domain::spec::Pattern;
use crate::logs::page::Page;

/// For the worker. An epoch names the file that is meant: what belongs to another one is left out.
#[derive(Debug, Clone, PartialEq)]
pub enum Cmd {
    /// From now on this file, also where it comes into being only later.
    Open {
        epoch: u64,
        path: PathBuf,
    },
    /// From now on what a stage left: this text, or else this file, which never changes.
    Look {
        epoch: u64,
        path: PathBuf,
        text: Option<Arc<str>>,
    },
    Close,
    /// About so many lines; of those that match, where there is a filter. What was asked before and is not answered
    /// yet is answered no more.
    Read {
        epoch: u64,
        view: u64,
        read: Read,
        filter: Option<Pattern>,
        want: usize,
    },
    /// The next line that matches; from the other end on where there is none in this direction.
    Find {
        epoch: u64,
        pattern: Pattern,
        filter: Option<Pattern>,
        from: u64,
        way: Way,
    },
    StopFinding {
        epoch: u64,
    },
    /// As text, for the clipboard.
    Text {
        epoch: u64,
        range: Range<u64>,
    },
    /// As the bytes that they are, into a new file.
    Save {
        epoch: u64,
        range: Range<u64>,
        to: PathBuf,
    },
}

impl Cmd {
    /// The file that it is about; `None` where it is about none before it.
    pub(crate) fn epoch(&self) -> Option<u64> {
        match self {
            Self::Open { .. } | Self::Look { .. } | Self::Close => None,
            Self::Read { epoch, .. }
            | Self::Find { epoch, .. }
            | Self::StopFinding { epoch }
            | Self::Text { epoch, .. }
            | Self::Save { epoch, .. } => Some(*epoch),
        }
    }
}

/// Which lines. Offsets are beginnings of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    End,
    Before(u64),
    After(u64),
    /// From the line on that holds this byte.
    At(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Down,
    Up,
}

#[derive(Debug, Clone, PartialEq)]
pub struct News {
    pub epoch: u64,
    pub told: Told,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    Opened {
        len: u64,
    },
    /// It is no text, and begins with these bytes.
    Binary {
        len: u64,
        start: Vec<u8>,
    },
    /// There is no such file (yet).
    Missing,
    /// The act, the thing and the cause.
    Failed(String),
    /// Whoever reads has failed, and has forgotten the file: it is to be opened again.
    Broke,
    /// The answer to [`Cmd::Read`]. `reached`: how far downwards was looked, `len`: of the file at that time. There may
    /// be fewer lines than were wanted: ask on.
    Lines {
        view: u64,
        read: Read,
        page: Page,
        reached: u64,
        len: u64,
    },
    /// A filter has come so far without having found enough.
    Filtering {
        view: u64,
        at: u64,
    },
    Grew {
        len: u64,
    },
    /// Somebody has truncated it.
    Shrunk {
        len: u64,
    },
    Counted {
        lines: u64,
    },
    Finding {
        at: u64,
    },
    /// `around`: beyond an end of the file, from the other one on.
    Found {
        offset: u64,
        around: bool,
    },
    NotFound,
    Text(String),
    TooMuch {
        bytes: u64,
    },
    Saved {
        bytes: u64,
        to: PathBuf,
    },
}
