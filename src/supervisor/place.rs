//! Where a workspace keeps what: its own folder, the state of its supervision, its sockets. The environment is not
//! read here; what it says comes in as [`UserPlaces`].

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::atomic::private_dir;
use crate::domain::hash::fnv1a_128;
use crate::domain::spec::WorkspaceSpec;

/// The longest path that a Unix socket can be bound to.
pub const MAX_SOCKET_PATH: usize = 107;

/// No socket of ours has a longer name.
const LONGEST_SOCKET_NAME: usize = 24;

/// What the user's environment says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserPlaces {
    /// `~/.cache`, or what stands for it; `None` where there is no home.
    pub cache: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`.
    pub runtime: Option<PathBuf>,
    pub uid: u32,
}

/// All places of one workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspacePlaces {
    /// The folder of the config file.
    pub root: PathBuf,
    /// `.restage`: store, logs, artifacts, locks.
    pub data_dir: PathBuf,
    /// Where `runner_state.json` lies.
    pub state_dir: PathBuf,
    /// Where sockets may lie, the best one first; the paths of sockets in all of them are short enough.
    pub runtime_dirs: Vec<PathBuf>,
    /// Tells this workspace from every other one, for good: 32 hexadecimal digits.
    pub id: String,
}

impl WorkspacePlaces {
    pub fn of(workspace: &WorkspaceSpec, user: &UserPlaces) -> Self {
        Self::new(&workspace.root, &workspace.data_dir, workspace.cache_dir.as_deref(), user)
    }

    /// `state_dir` is what the config says, where it says anything.
    pub fn new(root: &Path, data_dir: &Path, state_dir: Option<&Path>, user: &UserPlaces) -> Self {
        let id = workspace_id(root);
        let state_dir = match (state_dir, &user.cache) {
            (Some(chosen), _) => chosen.to_owned(),
            (None, Some(cache)) => cache.join("restage").join(&id),
            (None, None) => data_dir.to_owned(),
        };
        // Where the session says nothing (cron, sudo), the usual place is the same folder by another way.
        let sessions = [user.runtime.clone(), Some(format!("/run/user/{}", user.uid).into())];
        let mut runtime_dirs: Vec<PathBuf> = Vec::new();
        for dir in sessions.into_iter().flatten().filter(|dir| belongs_to(dir, user.uid)) {
            let dir = dir.join("restage").join(&id);
            let fits = dir.as_os_str().len() + 1 + LONGEST_SOCKET_NAME <= MAX_SOCKET_PATH;
            if fits && !runtime_dirs.contains(&dir) {
                runtime_dirs.push(dir);
            }
        }
        runtime_dirs.push(format!("/tmp/restage-{}/{id}", user.uid).into());
        Self { root: root.to_owned(), data_dir: data_dir.to_owned(), state_dir, runtime_dirs, id }
    }

    /// The first folder for sockets that can be had, made and private with the one above it.
    pub fn prepare_runtime_dir(&self) -> io::Result<&Path> {
        let mut refused = io::Error::from(io::ErrorKind::NotFound);
        for dir in &self.runtime_dirs {
            match dir.parent().map_or(Ok(()), private_dir).and_then(|()| private_dir(dir)) {
                Ok(()) => return Ok(dir),
                Err(source) => {
                    let message = format!(
                        "make {} for sockets: {source}; remove it, or set XDG_RUNTIME_DIR to a folder of your own",
                        dir.display()
                    );
                    refused = io::Error::new(source.kind(), message);
                }
            }
        }
        Err(refused)
    }
}

/// What tells the workspace at this path, which should be canonical, from every other one.
pub fn workspace_id(root: &Path) -> String {
    format!("{:032x}", fnv1a_128(root.as_os_str().as_bytes()))
}

/// After `su`, the session's folder is still somebody else's.
fn belongs_to(dir: &Path, uid: u32) -> bool {
    dir.is_absolute()
        && std::fs::symlink_metadata(dir).is_ok_and(|found| found.is_dir() && found.uid() == uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> u32 {
        nix::unistd::geteuid().as_raw()
    }

    #[test]
    fn state_lies_where_the_config_says_or_in_the_cache_or_in_the_workspace() {
        let (root, data) = (Path::new("/w"), Path::new("/w/.restage"));
        let mut user = UserPlaces { cache: Some("/home/x/.cache".into()), runtime: None, uid: 4_000_000_000 };
        let state = |chosen, user: &UserPlaces| WorkspacePlaces::new(root, data, chosen, user).state_dir;
        assert_eq!(state(Some(Path::new("/w/state")), &user), Path::new("/w/state"));
        let id = workspace_id(root);
        assert_eq!(id.len(), 32);
        assert_ne!(id, workspace_id(Path::new("/w2")));
        assert_eq!(state(None, &user), Path::new("/home/x/.cache/restage").join(&id));
        user.cache = None;
        assert_eq!(state(None, &user), data);
    }

    #[test]
    fn sockets_lie_in_a_folder_of_the_user_with_a_short_path() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("x".repeat(80));
        std::fs::create_dir(&long).unwrap();
        let dirs = |runtime: Option<&Path>, uid| {
            let user = UserPlaces { cache: None, runtime: runtime.map(Path::to_owned), uid };
            WorkspacePlaces::new(Path::new("/w"), Path::new("/w/.restage"), None, &user).runtime_dirs
        };
        let id = workspace_id(Path::new("/w"));
        let fallback = PathBuf::from(format!("/tmp/restage-4000000000/{id}"));
        assert_eq!(dirs(None, 4_000_000_000), std::slice::from_ref(&fallback));
        assert_eq!(dirs(Some(dir.path()), 4_000_000_000), std::slice::from_ref(&fallback), "somebody else's");
        assert_eq!(dirs(Some(dir.path()), me())[0], dir.path().join("restage").join(&id));
        assert!(!dirs(Some(&long), me()).iter().any(|dir| dir.starts_with(&long)));
        for dir in dirs(None, u32::MAX) {
            assert!(dir.as_os_str().len() + 1 + LONGEST_SOCKET_NAME <= MAX_SOCKET_PATH);
        }
    }

    #[test]
    fn a_folder_that_cannot_be_had_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let user = UserPlaces { cache: None, runtime: None, uid: me() };
        let mut places = WorkspacePlaces::new(Path::new("/w"), Path::new("/w/.restage"), None, &user);
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("real"), dir.path().join("link")).unwrap();
        places.runtime_dirs = vec![dir.path().join("link/w"), dir.path().join("own/w")];
        assert_eq!(places.prepare_runtime_dir().unwrap(), dir.path().join("own/w"));
        places.runtime_dirs.truncate(1);
        let error = places.prepare_runtime_dir().unwrap_err().to_string();
        assert!(error.contains("link/w for sockets: it is a symlink"), "{error}");
    }
}
