//! A history that came along with a copy of the folder: what lies unfinished in it is the original's, goes on there, and
//! would do its work in the folder of the original. It is ended here; what it has done may be reused by a retry.
//!
//! The file `home` beside the history says of which folder that is. Where there is none, as from the version before, or
//! where that folder is gone, because it was moved here, the history is ours.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Engine;
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::status::RunStatus;
use crate::ports::store::StoreError;

const HOME: &str = "home";

/// What lies unfinished here is ended as soon as somebody supervises.
pub fn is_copied(data_dir: &Path, root: &Path) -> bool {
    home(&data_dir.join(HOME)).is_some_and(|home| home != root && is_elsewhere(&home, root))
}

fn home(file: &Path) -> Option<PathBuf> {
    fs::read(file).ok().map(|path| PathBuf::from(OsString::from_vec(path)))
}

impl Engine {
    /// To be called before anything of the history goes on.
    pub(super) fn disown_copied(&mut self) -> Result<(), StoreError> {
        let Some(data_dir) = self.runs_dir.parent().map(Path::to_owned) else { return Ok(()) };
        let file = data_dir.join(HOME);
        let home = home(&file);
        if home.as_ref() == Some(&self.root) {
            return Ok(());
        }
        let theirs = home.filter(|home| is_elsewhere(home, &self.root));
        if let Some(theirs) = &theirs {
            self.end_copied(theirs)?;
        }
        match write(&data_dir, &file, &self.root) {
            // What begins here must not be taken for a copied one by the next supervisor.
            Err(error) if theirs.is_some() => {
                let act = format!("write {}", file.display());
                Err(StoreError::Later { act, cause: error.to_string() })
            }
            // The next supervisor tries again.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn end_copied(&mut self, theirs: &Path) -> Result<(), StoreError> {
        let theirs = theirs.display();
        for run in self.scribe.store().unfinished()? {
            let why = format!(
                "this folder is a copy of {theirs}, where the run goes on; here a retry takes over what it has done: \
                 restage retry {run}"
            );
            let Some(stored) = self.scribe.store().run(&run)? else { continue };
            match self.give_up(&stored, RunStatus::Failed, why) {
                Ok(_) => {}
                Err(Refusal::Store(cause)) => {
                    return Err(StoreError::Later { act: format!("end {run}, which was copied"), cause });
                }
                Err(refusal) => tracing::error!(%run, error = %refusal, "end a run that was copied"),
            }
        }
        for run in self.scribe.store().open_hooks()? {
            let Some(mut hook) = self.scribe.store().run(&run)?.and_then(|stored| stored.record.hook) else {
                continue;
            };
            hook.error = Some(format!("this folder is a copy of {theirs}, where it is executed"));
            hook.ended_at = Some(self.clock.now().wall);
            self.scribe.store().set_hook(&run, &hook)?;
        }
        Ok(())
    }
}

/// A folder that was moved is the same one; one that still is where it was is another one.
fn is_elsewhere(theirs: &Path, ours: &Path) -> bool {
    let id = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    id(theirs).is_some_and(|theirs| id(ours) != Some(theirs))
}

fn write(data_dir: &Path, file: &Path, root: &Path) -> io::Result<()> {
    let beside = data_dir.join(format!("{HOME}.new"));
    fs::write(&beside, root.as_os_str().as_bytes())?;
    fs::rename(&beside, file)
}
