//! The log of restage itself: `.restage/logs/restage.log`, JSON by tracing, written by a thread of its own and bounded
//! in size. It must never hold anything up: where the disk is full, lines are lost, and nothing else.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};

use crate::domain::view::Notice;

pub const LOG_FILE: &str = "restage.log";

/// The file that is written to and two older ones.
const FILES: u32 = 3;
const FILE_BYTES: u64 = 5 << 20;
/// Lines are written together up to this.
const MOST_BYTES: usize = 64 << 10;
/// Room for lines that is kept.
const KEPT_BYTES: usize = 4 << 10;
/// Lines that may wait for the disk. All places take memory from the beginning.
const WAITING_LINES: usize = 2048;

/// Lets what waits be written when it is dropped.
#[derive(Debug)]
pub struct OwnLog(#[expect(dead_code, reason = "held for what its end does")] WorkerGuard);

/// From here on everything that is traced goes to the log. A second call in one process changes nothing.
pub fn start(folder: &Path, debug: bool) -> io::Result<OwnLog> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let file = BoundedFile::open(&folder.join(LOG_FILE), FILE_BYTES, FILES)?;
    let (writer, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(WAITING_LINES).thread_name("log").finish(file);
    let level = if debug { LevelFilter::DEBUG } else { LevelFilter::INFO };
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_max_level(level)
        .with_writer(writer)
        .try_init()
        .ok();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!(%panic, "a part of restage failed");
        before(panic);
    }));
    Ok(OwnLog(guard))
}

/// What was told to the user stands in the log, too.
pub fn record(notice: &Notice) {
    let runner = notice.runner.as_ref().map(tracing::field::display);
    if notice.what.is_bad() {
        tracing::warn!(runner, "{notice}");
    } else {
        tracing::info!(runner, "{notice}");
    }
}

/// A file that moves itself aside when it is full: `restage.log`, `restage.log.1`, `restage.log.2`. Lines that come
/// together are written together. What cannot be written is lost; an error would only confuse the writing thread.
#[derive(Debug)]
struct BoundedFile {
    path: PathBuf,
    file: File,
    /// Whole lines that are yet to be written.
    lines: Vec<u8>,
    /// With these.
    size: u64,
    max: u64,
    files: u32,
}

impl BoundedFile {
    fn open(path: &Path, max: u64, files: u32) -> io::Result<Self> {
        let file = open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, lines: Vec::new(), size, max, files })
    }

    fn write_lines(&mut self) {
        if self.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0) {
            // Somebody has deleted it, perhaps with its folder.
            self.begin_anew().ok();
        }
        self.file.write_all(&self.lines).ok();
        self.lines.clear();
        self.lines.shrink_to(KEPT_BYTES);
    }

    fn begin_anew(&mut self) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        self.file = open(&self.path)?;
        self.size = self.lines.len() as u64;
        Ok(())
    }

    fn turn(&mut self) -> io::Result<()> {
        let numbered = |number: u32| match number {
            0 => self.path.clone(),
            _ => PathBuf::from(format!("{}.{number}", self.path.display())),
        };
        for number in (1..self.files).rev() {
            match fs::rename(numbered(number - 1), numbered(number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        self.file = open(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path)
}

impl Write for BoundedFile {
    /// One call is one line, so no line is cut in two.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let added = bytes.len() as u64;
        if self.size > 0 && self.size + added > self.max {
            self.write_lines();
            if self.turn().is_err() {
                return Ok(bytes.len());
            }
        }
        self.lines.extend_from_slice(bytes);
        self.size += added;
        if self.lines.len() > MOST_BYTES {
            self.write_lines();
        }
        Ok(bytes.len())
    }

    /// Called when no further line waits.
    fn flush(&mut self) -> io::Result<()> {
        if !self.lines.is_empty() {
            self.write_lines();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn bounded_private_and_the_newest_lines_are_kept_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOG_FILE);
        let mut file = BoundedFile::open(&path, 40, 3).unwrap();
        for i in 0..100 {
            file.write_all(format!("line {i:03}\n").as_bytes()).unwrap();
            if i == 50 {
                file.flush().unwrap();
                file = BoundedFile::open(&path, 40, 3).unwrap();
            }
        }
        file.flush().unwrap();
        let mut names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["restage.log", "restage.log.1", "restage.log.2"]);
        let text = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        let all = text("restage.log.2") + &text("restage.log.1") + &text("restage.log");
        assert!(all.ends_with("line 098\nline 099\n"));
        assert!(all.starts_with("line ") && all.len() <= 120);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_line_longer_than_the_bound_is_written_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOG_FILE);
        let mut file = BoundedFile::open(&path, 5, 2).unwrap();
        file.write_all(b"longer than five\n").unwrap();
        file.write_all(b"x\n").unwrap();
        file.flush().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "x\n");
    }
}
