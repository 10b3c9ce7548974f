//! What a stage left behind, shown as a log is: a file that never changes, or a text that lies in no file. It must not
//! know stages.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::{LogFile, LogPane};
use crate::frontend::text::bytes;

/// So much of the beginning says whether it is a text, and is shown where it is none.
pub(super) const LOOKED_AT: u64 = 4096;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// For a person; it names no place.
    pub name: String,
    /// Instead of a file.
    pub text: Option<Arc<str>>,
    /// How many bytes it had when it was made, where that is known.
    pub size: Option<u64>,
}

impl LogFile {
    /// As a title.
    pub(super) fn name(&self) -> String {
        match &self.content {
            Some(content) => content.name.clone(),
            None => {
                self.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
            }
        }
    }

    /// What is offered as the name of a copy.
    pub(super) fn saved_as(&self) -> String {
        match &self.content {
            Some(content) => {
                let base = Path::new(&content.name).file_name();
                base.map_or_else(String::new, |base| base.to_string_lossy().into_owned())
            }
            None => format!("{}.excerpt", self.name()),
        }
    }

    /// Another program can open it.
    pub(super) fn is_file(&self) -> bool {
        self.content.as_ref().is_none_or(|content| content.text.is_none())
    }
}

impl LogPane {
    /// What is shown is no log.
    pub fn is_content(&self) -> bool {
        self.shown.as_ref().is_some_and(|file| file.content.is_some())
    }

    /// Its length tells at once; that all of its bytes are the same is for those to find out who go on with them.
    pub(super) fn say_if_damaged(&mut self) {
        let size = self.shown.as_ref().and_then(|file| file.content.as_ref()?.size);
        if let Some(size) = size.filter(|size| *size != self.len) {
            self.note = Some(format!("it is damaged: {} instead of {}", bytes(self.len), bytes(size)));
        }
    }
}

/// The text as a file without a name, so that it is read as every other one is.
pub(super) fn as_file(text: &str) -> io::Result<File> {
    let mut file = File::from(memfd_create(c"restage-text", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    Ok(file)
}

/// By its beginning: a zero, or much that no text has.
pub(super) fn is_binary(start: &[u8]) -> bool {
    if start.contains(&0) {
        return true;
    }
    let strange = start.utf8_chunks().map(|chunk| {
        let control =
            |c: &char| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\x0c' | '\x1b' | '\x08');
        chunk.invalid().len() + chunk.valid().chars().filter(control).count()
    });
    strange.sum::<usize>() * 10 > start.len() * 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_told_from_what_is_none() {
        for text in ["", "plain\n", "\x1b[31mred\x1b[0m", "日本\r\n", "a\tb\x0c"] {
            assert!(!is_binary(text.as_bytes()), "{text:?}");
        }
        assert!(!is_binary(b"caf\xe9 in another encoding"));
        let mut cut = "ö".repeat(2048).into_bytes();
        cut.pop();
        assert!(!is_binary(&cut));
        for bytes in [&b"\x89PNG\r\n\x1a\n\0\0"[..], b"\xff\xd8\xff\xe0\x10", b"text\0"] {
            assert!(is_binary(bytes), "{bytes:?}");
        }
    }
}
