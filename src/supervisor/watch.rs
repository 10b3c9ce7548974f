//! Tells when the config file may have changed. It only says that something happened; waiting until it is over, and
//! reading, is the actor's part.
//!
//! The file itself is watched, not its folder: commands may write their own files there as often as they like without
//! waking us. Editors replace the file, and a watch stays with the old one, so it is set anew then. The folder is
//! watched only while the file is missing, and where the file is a symbolic link, which may be pointed elsewhere.

use std::io;
use std::path::{Path, PathBuf};

use notify::event::ModifyKind;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::handle::YOUTH;

/// Watches as long as it is kept.
#[derive(Debug)]
pub struct ConfigWatch(JoinHandle<()>);

impl Drop for ConfigWatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends a token whenever the file may have changed, and one when it begins to look, for what has changed before. To be
/// called inside the runtime.
pub fn watch(config: &Path, changed: mpsc::UnboundedSender<()>) -> ConfigWatch {
    let config = config.to_owned();
    ConfigWatch(tokio::spawn(async move {
        tokio::time::sleep(YOUTH).await;
        match Sight::of(&config) {
            Ok((sight, heard)) if changed.send(()).is_ok() => keep(sight, heard, changed).await,
            Ok(_) => {}
            Err(why) => {
                let config = config.display();
                tracing::warn!("watch {config} for edits: {why}; a restart of restage applies them");
            }
        }
    }))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    /// The same file holds something else.
    Edited,
    /// Perhaps another file has its name now, or none.
    Replaced,
}

/// Reading the file is none, or our own reading would wake us.
const fn change(kind: EventKind) -> Option<Change> {
    match kind {
        EventKind::Modify(ModifyKind::Data(_)) => Some(Change::Edited),
        // The metadata change, too, when it loses its name while somebody still holds it open.
        EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) => Some(Change::Replaced),
        EventKind::Access(_) | EventKind::Any | EventKind::Other => None,
    }
}

async fn keep(
    mut sight: Sight,
    mut heard: mpsc::UnboundedReceiver<Change>,
    changed: mpsc::UnboundedSender<()>,
) {
    while let Some(mut change) = heard.recv().await {
        // One replacement is told in several words.
        while let Ok(more) = heard.try_recv() {
            change = change.max(more);
        }
        if change == Change::Replaced
            && let Err(error) = sight.set()
        {
            tracing::warn!(config = %sight.config.display(), %error, "edits are not seen any more");
        }
        // After the watch has been set anew, so that what was written before is read, and what is written from now on
        // is heard.
        if changed.send(()).is_err() {
            return;
        }
    }
}

/// What is watched.
#[derive(Debug)]
struct Sight {
    watcher: RecommendedWatcher,
    config: PathBuf,
    folder: PathBuf,
}

impl Sight {
    fn of(config: &Path) -> notify::Result<(Self, mpsc::UnboundedReceiver<Change>)> {
        let Some(name) = config.file_name().map(ToOwned::to_owned) else {
            return Err(notify::Error::generic("it names no file"));
        };
        let folder =
            config.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let (tell, heard) = mpsc::unbounded_channel();
        let handler = move |event: notify::Result<Event>| {
            let change = match event {
                Ok(event) if event.need_rescan() => Some(Change::Replaced),
                Ok(event) if event.paths.iter().any(|path| path.file_name() == Some(&name)) => {
                    change(event.kind)
                }
                Ok(_) => None,
                Err(_) => Some(Change::Replaced),
            };
            if let Some(change) = change {
                // The receiver is gone only during shutdown.
                tell.send(change).ok();
            }
        };
        let watcher = notify::recommended_watcher(handler)?;
        let mut sight = Self { watcher, config: config.to_owned(), folder: folder.to_owned() };
        sight.set()?;
        Ok((sight, heard))
    }

    /// Watches what has to be watched for the file that is there now, and nothing else.
    fn set(&mut self) -> notify::Result<()> {
        for path in [&self.config, &self.folder] {
            // What is gone is not watched any more.
            self.watcher.unwatch(path).ok();
        }
        let is_link = self.config.symlink_metadata().is_ok_and(|found| found.is_symlink());
        let missing = match self.watcher.watch(&self.config, RecursiveMode::NonRecursive) {
            Ok(()) => false,
            Err(error) if is_not_found(&error) => true,
            Err(error) => return Err(error),
        };
        if is_link || missing {
            self.watcher.watch(&self.folder, RecursiveMode::NonRecursive)?;
        }
        if missing && self.watcher.watch(&self.config, RecursiveMode::NonRecursive).is_ok() && !is_link {
            // It has come in between.
            self.watcher.unwatch(&self.folder).ok();
        }
        Ok(())
    }
}

fn is_not_found(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => error.kind() == io::ErrorKind::NotFound,
        notify::ErrorKind::Generic(_)
        | notify::ErrorKind::WatchNotFound
        | notify::ErrorKind::InvalidConfig(_)
        | notify::ErrorKind::MaxFilesWatch => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    struct Bench {
        dir: tempfile::TempDir,
        config: PathBuf,
        seen: mpsc::UnboundedReceiver<()>,
        _watch: ConfigWatch,
    }

    impl Bench {
        fn new(prepare: impl FnOnce(&Path)) -> Self {
            let dir = tempfile::tempdir().unwrap();
            prepare(dir.path());
            let config = dir.path().join("config.json");
            let (changed, seen) = mpsc::unbounded_channel();
            let (sight, heard) = Sight::of(&config).unwrap();
            let watch = ConfigWatch(tokio::spawn(keep(sight, heard, changed)));
            Self { dir, config, seen, _watch: watch }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        /// Waits for a token after which this holds.
        async fn seen_until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
            let wait = async {
                self.seen.recv().await.unwrap();
                while !holds(self) {
                    self.seen.recv().await.unwrap();
                }
            };
            tokio::time::timeout(SOON, wait).await.unwrap_or_else(|_| panic!("{what}"));
        }

        async fn replace(&mut self, text: &str) {
            let fresh = self.path("config.json.tmp");
            fs::write(&fresh, text).unwrap();
            fs::rename(&fresh, &self.config).unwrap();
            self.seen_until("a replacement", |bench| is_watched(&bench.config)).await;
        }

        async fn edit(&mut self) {
            while self.seen.try_recv().is_ok() {}
            fs::write(&self.config, "{  }").unwrap();
            self.seen_until("an edit in place", |bench| is_watched(&bench.config)).await;
            assert!(!is_watched(self.dir.path()), "the folder is left in peace");
        }
    }

    /// Whether this process has the kernel watch the file that the path leads to.
    fn is_watched(path: &Path) -> bool {
        let Ok(found) = fs::metadata(path) else { return false };
        let mark = format!(" ino:{:x} ", found.ino());
        let folder = fs::read_dir("/proc/self/fdinfo").unwrap();
        folder
            .filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok())
            .any(|text| text.lines().any(|line| line.starts_with("inotify") && line.contains(&mark)))
    }

    fn write_config(dir: &Path) {
        fs::write(dir.join("config.json"), "{}").unwrap();
    }

    #[tokio::test]
    async fn an_edit_in_place_is_seen() {
        let mut bench = Bench::new(write_config);
        bench.edit().await;
        bench.edit().await;
    }

    #[tokio::test]
    async fn edits_by_rename_are_seen_each_time() {
        let mut bench = Bench::new(write_config);
        let _held_open = fs::File::open(&bench.config).unwrap();
        bench.replace("{ }").await;
        bench.replace("{  }").await;
        bench.edit().await;
    }

    #[tokio::test]
    async fn a_file_that_goes_and_comes_back_is_seen() {
        let mut bench = Bench::new(write_config);
        fs::remove_file(&bench.config).unwrap();
        bench.seen_until("the end of the file", |bench| is_watched(bench.dir.path())).await;
        write_config(bench.dir.path());
        bench.seen_until("a new file", |bench| is_watched(&bench.config)).await;
        bench.edit().await;
    }

    #[tokio::test]
    async fn other_files_of_the_folder_wake_nobody() {
        let mut bench = Bench::new(write_config);
        assert!(is_watched(&bench.config) && !is_watched(bench.dir.path()));
        for line in 0..100 {
            fs::write(bench.path("output.log"), format!("{line}")).unwrap();
        }
        bench.edit().await;
        let mut tokens = 0;
        while bench.seen.try_recv().is_ok() {
            tokens += 1;
        }
        assert!(tokens < 5, "{tokens} tokens of one edit");
    }

    #[tokio::test]
    async fn a_link_that_is_pointed_elsewhere_is_seen() {
        let mut bench = Bench::new(|dir| {
            fs::create_dir(dir.join("files")).unwrap();
            fs::write(dir.join("files/1"), "{}").unwrap();
            fs::write(dir.join("files/2"), "{}").unwrap();
            symlink("files/1", dir.join("config.json")).unwrap();
        });
        fs::write(bench.path("files/1"), "{ }").unwrap();
        bench.seen_until("an edit behind the link", |_| true).await;
        symlink("files/2", bench.path("fresh")).unwrap();
        fs::rename(bench.path("fresh"), &bench.config).unwrap();
        bench.seen_until("another target", |bench| is_watched(&bench.path("files/2"))).await;
        while bench.seen.try_recv().is_ok() {}
        fs::write(bench.path("files/2"), "{ }").unwrap();
        bench.seen_until("an edit of the new target", |_| true).await;
    }

    #[test]
    fn reading_is_no_change() {
        use notify::event::{AccessKind, CreateKind};
        assert_eq!(change(EventKind::Access(AccessKind::Any)), None);
        assert_eq!(change(EventKind::Create(CreateKind::File)), Some(Change::Replaced));
    }

    #[tokio::test(start_paused = true)]
    async fn an_edit_before_the_first_look_is_found_by_it() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.json");
        write_config(dir.path());
        let (changed, mut seen) = mpsc::unbounded_channel();
        let watch = watch(&config, changed);
        let none = tokio::time::timeout(YOUTH / 2, seen.recv()).await;
        assert!(none.is_err() && !is_watched(&config), "nothing short pays for a watch");
        seen.recv().await.unwrap();
        assert!(is_watched(&config));
        drop(watch);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        assert!(Sight::of(Path::new("/nowhere/config.json")).is_err());
    }
}
