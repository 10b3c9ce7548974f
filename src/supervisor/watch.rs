//! Tells when the config file may have changed. Its folder is watched, not the file itself: editors write another file
//! and rename it. It only says that something happened; waiting until it is over, and reading, is the actor's part.

use std::ffi::OsString;
use std::path::Path;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Watches as long as it is kept.
#[derive(Debug)]
pub struct ConfigWatch(#[expect(dead_code, reason = "held for what its end does")] RecommendedWatcher);

/// Sends a token whenever the file may have changed. The error says that edits will not be seen by themselves.
pub fn watch(config: &Path, changed: mpsc::UnboundedSender<()>) -> Result<ConfigWatch, String> {
    let failed = |error: &dyn std::fmt::Display| {
        format!("watch {} for edits: {error}; a restart of restage applies them", config.display())
    };
    let Some(name) = config.file_name().map(OsString::from) else {
        return Err(failed(&"it names no file"));
    };
    let folder = config.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let heard = move |event: notify::Result<Event>| {
        let Ok(event) = event else { return };
        if is_change(event.kind) && event.paths.iter().any(|path| path.file_name() == Some(&name)) {
            // The receiver is gone only during shutdown.
            changed.send(()).ok();
        }
    };
    let mut watcher = notify::recommended_watcher(heard).map_err(|error| failed(&error))?;
    watcher.watch(folder, RecursiveMode::NonRecursive).map_err(|error| failed(&error))?;
    Ok(ConfigWatch(watcher))
}

/// Reading the file is none, or our own reading would wake us.
const fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) => true,
        EventKind::Access(_) | EventKind::Any | EventKind::Other => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn an_edit_by_rename_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.json");
        std::fs::write(&config, "{}").unwrap();
        let (changed, mut seen) = mpsc::unbounded_channel();
        let _watch = watch(&config, changed).unwrap();

        let fresh = dir.path().join("config.json.tmp");
        std::fs::write(&fresh, "{ }").unwrap();
        std::fs::rename(&fresh, &config).unwrap();
        tokio::time::timeout(SOON, seen.recv()).await.unwrap().unwrap();
    }

    #[test]
    fn reading_is_no_change() {
        use notify::event::{AccessKind, CreateKind};
        assert!(!is_change(EventKind::Access(AccessKind::Any)));
        assert!(is_change(EventKind::Create(CreateKind::File)));
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_with_a_way_out() {
        let (changed, _seen) = mpsc::unbounded_channel();
        let error = watch(Path::new("/nowhere/config.json"), changed).unwrap_err();
        assert!(error.contains("/nowhere/config.json") && error.contains("a restart of restage"), "{error}");
    }
}
