//! What a stage left behind, in the user's editor: written into a private folder, edited there, and read back as the
//! changes that it comes to.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::domain::flow::ask::EditWish;
use crate::domain::json::{JsonMap, pretty};
use crate::flow::objects::Objects;
use crate::frontend::tui::event::{EditOrder, EditWhat};

/// A private folder; gone when this is dropped.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    fn new(data_dir: &Path) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let edits = data_dir.join("edits");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&edits)?;
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let folder = edits.join(format!("{}-{number}", std::process::id()));
            match fs::DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => return Ok(Self(folder)),
                // Left by a process that had this number before.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether this file lies in it.
    pub fn holds(&self, file: &Path) -> bool {
        file.parent() == Some(&self.0)
    }

    pub fn keep(mut self) -> PathBuf {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            // What cannot be deleted does no harm.
            fs::remove_dir_all(&self.0).ok();
        }
    }
}

/// A text that is being edited.
#[derive(Debug)]
pub struct Sheet {
    folder: Folder,
    file: PathBuf,
    /// As it was handed over.
    before: Vec<u8>,
    order: EditOrder,
}

impl Sheet {
    pub fn write(data_dir: &Path, order: EditOrder) -> Result<Self, String> {
        let failed = |error: io::Error| format!("write what is to be edited into a private folder: {error}");
        let folder = Folder::new(data_dir).map_err(failed)?;
        let (name, before) = match &order.what {
            EditWhat::Outputs(outputs) => {
                (format!("{}.json", order.checkpoint.stage), (pretty(outputs) + "\n").into_bytes())
            }
            EditWhat::Artifact { name, hash } => {
                let object = Objects::new(data_dir.join("objects")).path(hash);
                let bytes = fs::read(&object).map_err(|error| {
                    format!("read {name} of {} from {}: {error}", order.checkpoint, object.display())
                })?;
                // Its own name, so that the editor knows what it is; the folders that it lay in are not needed.
                let base = Path::new(name).file_name().map(|base| base.to_string_lossy().into_owned());
                (base.unwrap_or_else(|| "artifact".to_owned()), bytes)
            }
        };
        let file = folder.0.join(name);
        fs::write(&file, &before).map_err(failed)?;
        Ok(Self { folder, file, before, order })
    }

    /// $EDITOR may hold options; the file is handed over whatever it is called.
    pub fn command(&self) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", "${VISUAL:-${EDITOR:-vi}} \"$1\"", "sh"]).arg(&self.file);
        command
    }

    pub fn file(&self) -> PathBuf {
        self.file.clone()
    }

    /// What was changed; `None` where nothing was. The folder has to stay as long as the wish is under way. What cannot
    /// be read stays where it is, so that nobody types it twice.
    pub fn read(self, who: String) -> Result<Option<(EditWish, Folder)>, String> {
        let shown = self.file.display().to_string();
        let after = fs::read(&self.file).map_err(|error| format!("read {shown} back: {error}"))?;
        if after == self.before {
            return Ok(None);
        }
        let EditOrder { run, branch, checkpoint, hash, what } = self.order;
        let mut wish = EditWish {
            run,
            branch,
            stage: checkpoint.stage,
            hash: Some(hash),
            set: JsonMap::new(),
            artifacts: Vec::new(),
            who,
        };
        match what {
            EditWhat::Artifact { name, .. } => wish.artifacts.push((name, self.file)),
            EditWhat::Outputs(outputs) => match serde_json::from_slice::<JsonMap>(&after) {
                Ok(edited) => {
                    wish.set =
                        edited.into_iter().filter(|(key, value)| outputs.get(key) != Some(value)).collect();
                    if wish.set.is_empty() {
                        return Ok(None);
                    }
                }
                Err(error) => {
                    let kept = self.folder.keep();
                    return Err(format!(
                        "what was edited is no JSON object: {error}; nothing was changed, and your text is kept in {}",
                        kept.display()
                    ));
                }
            },
        }
        Ok(Some((wish, self.folder)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::flow::ids::{CheckpointId, Hash, RunId};

    fn order(outputs: &str) -> EditOrder {
        EditOrder {
            run: RunId::trusted("video-1"),
            branch: None,
            checkpoint: CheckpointId::parse("storyboard@1").unwrap(),
            hash: Hash::of(["seen"]),
            what: EditWhat::Outputs(serde_json::from_str(outputs).unwrap()),
        }
    }

    const OUTPUTS: &str =
        r#"{"scenes":[{"title":"a, \"b\": {c}","z":1,"a":[]},{}],"size":12345678901234567890.0}"#;

    fn sheet(dir: &tempfile::TempDir) -> Sheet {
        Sheet::write(dir.path(), order(OUTPUTS)).unwrap()
    }

    #[test]
    fn a_text_is_easy_to_read_and_means_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let sheet = sheet(&dir);
        let text = fs::read_to_string(&sheet.file).unwrap();
        assert!(
            text.starts_with("{\n  \"scenes\": [\n    {\n      \"title\": \"a, \\\"b\\\": {c}\",\n"),
            "{text}"
        );
        let read: JsonMap = serde_json::from_str(&text).unwrap();
        assert_eq!(read, serde_json::from_str::<JsonMap>(OUTPUTS).unwrap());
        assert!(sheet.read("ann".into()).unwrap().is_none(), "nothing was changed");
        assert_eq!(fs::read_dir(dir.path().join("edits")).unwrap().count(), 0, "nothing is left behind");
    }

    #[test]
    fn only_what_was_changed_is_set() {
        let dir = tempfile::tempdir().unwrap();
        let sheet = sheet(&dir);
        let text = fs::read_to_string(&sheet.file).unwrap();
        fs::write(&sheet.file, text.replace("12345678901234567890.0", "3")).unwrap();
        let (wish, _folder) = sheet.read("ann".into()).unwrap().unwrap();
        assert_eq!(serde_json::to_string(&wish.set).unwrap(), r#"{"size":3}"#);
        assert_eq!((wish.stage.as_str(), wish.hash), ("storyboard", Some(Hash::of(["seen"]))));
    }

    #[test]
    fn what_cannot_be_read_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let sheet = sheet(&dir);
        fs::write(&sheet.file, "{ oh").unwrap();
        let told = sheet.read("ann".into()).unwrap_err();
        let kept = told.rsplit(' ').next().unwrap();
        assert!(
            told.contains("is no JSON object") && Path::new(kept).join("storyboard.json").exists(),
            "{told}"
        );
    }
}
