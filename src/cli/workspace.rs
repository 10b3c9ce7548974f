//! Which workspace is meant, and where its things lie. The config itself is not read here: verbs that only talk to a
//! supervisor work with a broken config, too.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use directories::BaseDirs;

use super::args::Global;
use super::exit::Exit;
use super::failure::Failure;
use super::output;
use crate::control::lock::LOCK_FILE;
use crate::supervisor::place::{UserPlaces, WorkspacePlaces};

pub const CONFIG_FILE: &str = "config.json";
pub const DATA_DIR: &str = ".restage";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    /// The folder of the config file, without symlinks.
    pub root: PathBuf,
    pub config: PathBuf,
}

impl Workspace {
    /// The one that the command line names, or the nearest one from here upwards.
    pub fn find(global: &Global) -> Result<Self, Failure> {
        let here = env::current_dir().map_err(|error| Failure::io("find the current folder", &error))?;
        let Some(config) = &global.config else { return Self::nearest(&here) };
        Self::of(config).map_err(|error| {
            Failure::new(Exit::Usage, format!("read {}", config.display()), error)
                .hint("--config takes the path of a config file")
        })
    }

    /// The current folder, whether it has a config or not.
    pub fn here() -> Result<Self, Failure> {
        let root = env::current_dir().map_err(|error| Failure::io("find the current folder", &error))?;
        Ok(Self { config: root.join(CONFIG_FILE), root })
    }

    fn nearest(here: &Path) -> Result<Self, Failure> {
        let has = |folder: &&Path| {
            folder.join(CONFIG_FILE).is_file() || folder.join(DATA_DIR).join(LOCK_FILE).is_file()
        };
        let Some(root) = here.ancestors().find(has) else {
            let act = format!("find {CONFIG_FILE}");
            let cause = format!("neither {} nor a folder above it has one", here.display());
            return Err(Failure::new(Exit::Usage, act, cause).hint("name one with --config, or write one"));
        };
        let config = root.join(CONFIG_FILE);
        if root != here {
            output::remark(&format!("restage: using {}", config.display()));
        }
        Ok(Self { root: root.to_owned(), config })
    }

    /// The workspace of this config file, which must be there, unless somebody has supervised what it said.
    fn of(config: &Path) -> io::Result<Self> {
        let folder = match config.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            Some(_) | None => Path::new("."),
        };
        match std::fs::metadata(config) {
            Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Err(error) if !folder.join(DATA_DIR).join(LOCK_FILE).is_file() => return Err(error),
            Ok(_) | Err(_) => {}
        }
        let root = folder.canonicalize()?;
        let name = config.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self { config: root.join(name), root })
    }

    pub fn data_dir(&self) -> PathBuf {
        self.root.join(DATA_DIR)
    }

    /// The text of the config that the last supervisor worked with.
    pub fn config_in_force(&self) -> PathBuf {
        self.data_dir().join("config.in-force")
    }

    /// Where artifacts lie, each under its hash.
    pub fn objects_dir(&self) -> PathBuf {
        self.data_dir().join("objects")
    }

    pub fn lock_file(&self) -> PathBuf {
        self.data_dir().join(LOCK_FILE)
    }

    /// `state_dir` is what the config says, where it says anything.
    pub fn places(&self, state_dir: Option<&Path>) -> WorkspacePlaces {
        let folders = BaseDirs::new();
        let user = UserPlaces {
            cache: folders.as_ref().map(|folders| folders.cache_dir().to_owned()),
            runtime: folders.as_ref().and_then(BaseDirs::runtime_dir).map(Path::to_owned),
            uid: nix::unistd::geteuid().as_raw(),
        };
        WorkspacePlaces::new(&self.root, &self.data_dir(), state_dir, &user)
    }

    pub fn log_dir(&self) -> PathBuf {
        self.data_dir().join("logs")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_nearest_folder_with_a_config_or_a_supervisor_counts() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        fs::create_dir_all(&deep).unwrap();
        fs::write(dir.path().join("a").join(CONFIG_FILE), "{}").unwrap();
        let found = Workspace::nearest(&deep).unwrap();
        assert_eq!(found.config, dir.path().join("a/config.json"));
        fs::create_dir(dir.path().join("a/b/.restage")).unwrap();
        fs::write(dir.path().join("a/b/.restage").join(LOCK_FILE), "").unwrap();
        assert_eq!(Workspace::nearest(&deep).unwrap().root, dir.path().join("a/b"));
    }

    #[test]
    fn a_named_config_may_have_any_name_but_must_be_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let config = root.join("night.json");
        assert!(Workspace::of(&config).is_err());
        assert!(Workspace::of(&root).is_err());
        fs::write(&config, "{}").unwrap();
        let link = root.join("link");
        std::os::unix::fs::symlink(&root, &link).unwrap();
        assert_eq!(Workspace::of(&link.join("night.json")).unwrap(), Workspace { root, config });
    }
}
