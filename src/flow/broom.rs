//! Removes folders that nobody needs any more, beside the work: on some file systems that takes longer than a short
//! attempt does. What is left of it at the end is moved out of sight, and removed by whoever comes next.

use std::collections::VecDeque;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, renameat};
use nix::sys::stat::Mode;

use super::beneath::{self, enter, enter_unlocked, make_one};

/// Where a folder lies until it is removed; no run is called that.
pub(super) const DONE: &str = ".done";

#[derive(Debug)]
pub(super) struct Broom {
    root: PathBuf,
    ending: Arc<AtomicBool>,
    worker: Mutex<Option<(Sender<Path>, JoinHandle<()>)>>,
}

/// Below the root, part by part.
type Path = Vec<CString>;

impl Broom {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, ending: Arc::default(), worker: Mutex::default() }
    }

    /// Sooner or later nothing is at this path. It must not be used again.
    pub(super) fn sweep(&self, path: Path) {
        let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        let (jobs, _) = worker.get_or_insert_with(|| {
            let (jobs, todo) = channel();
            let (root, ending) = (self.root.clone(), Arc::clone(&self.ending));
            (
                jobs,
                thread::spawn(move || Sweeping { root, moved: VecDeque::new(), next: 0 }.run(&todo, &ending)),
            )
        });
        // Should the worker have failed, the folder is collected later.
        jobs.send(path).ok();
    }
}

impl Drop for Broom {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((jobs, worker)) = worker {
            drop(jobs);
            // One that failed has said so.
            worker.join().ok();
        }
    }
}

struct Sweeping {
    root: PathBuf,
    /// Out of sight, and still to be removed.
    moved: VecDeque<CString>,
    next: u32,
}

impl Sweeping {
    fn run(mut self, todo: &Receiver<Path>, ending: &AtomicBool) {
        self.moved = self.done().and_then(beneath::names).unwrap_or_default().into();
        loop {
            let job = if self.moved.is_empty() || ending.load(Ordering::Relaxed) {
                todo.recv().map_err(|_| TryRecvError::Disconnected)
            } else {
                todo.try_recv()
            };
            let result = match &job {
                Ok(path) => self.move_away(path),
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => self.remove_one(),
            };
            if let Err(error) = result {
                tracing::warn!(?job, %error, "remove the folder of an attempt that is done");
            }
        }
    }

    fn top(&self) -> nix::Result<OwnedFd> {
        openat(AT_FDCWD, &self.root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
    }

    fn done(&self) -> nix::Result<OwnedFd> {
        enter(self.top()?, DONE)
    }

    fn move_away(&mut self, path: &[CString]) -> nix::Result<()> {
        let Some((name, above)) = path.split_last() else { return Ok(()) };
        let top = self.top()?;
        let folder = above.iter().try_fold(enter(&top, c".")?, |at, part| enter(&at, part.as_c_str()));
        let folder = match folder {
            Err(Errno::ENOENT) => return Ok(()),
            folder => folder?,
        };
        let done = make_one(&top, DONE)?;
        loop {
            let aside = CString::new(format!("{}-{}", std::process::id(), self.next)).unwrap_or_default();
            self.next += 1;
            match renameat(&folder, name.as_c_str(), &done, aside.as_c_str()) {
                // Of an earlier process of this id.
                Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::EISDIR | Errno::ENOTDIR) => {}
                Err(Errno::ENOENT) => return Ok(()),
                // To be moved, a folder has to be writable itself.
                Err(Errno::EACCES) if enter_unlocked(&folder, name)?.1 => {}
                moved => {
                    self.moved.push_back(aside);
                    return moved;
                }
            }
        }
    }

    fn remove_one(&mut self) -> nix::Result<()> {
        let Some(name) = self.moved.pop_front() else { return Ok(()) };
        match self.done() {
            Err(Errno::ENOENT) => Ok(()),
            done => beneath::remove(done?, &name),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn path(parts: &[&str]) -> Path {
        parts.iter().map(|part| CString::new(*part).unwrap()).collect()
    }

    #[test]
    fn what_is_swept_is_out_of_sight_at_the_end_and_gone_after_the_next() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..50 {
            let folder = dir.path().join(format!("run/{n}/inputs/deep"));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("file"), "x").unwrap();
            for locked in [folder.as_path(), folder.parent().unwrap()] {
                fs::set_permissions(locked, fs::Permissions::from_mode(0o555)).unwrap();
            }
        }
        fs::create_dir_all(dir.path().join(".done/4711-0/old")).unwrap();
        let broom = Broom::new(dir.path().into());
        for n in 0..50 {
            let n = n.to_string();
            broom.sweep(path(&["run", &n, "inputs"]));
            broom.sweep(path(&["run", &n]));
        }
        broom.sweep(path(&["run", "none"]));
        broom.sweep(path(&["none", "none"]));
        drop(broom);
        assert_eq!(fs::read_dir(dir.path().join("run")).unwrap().count(), 0);

        // The next one begins with what is left.
        let broom = Broom::new(dir.path().into());
        broom.sweep(path(&["none"]));
        while fs::read_dir(dir.path().join(".done")).unwrap().count() > 0 {
            thread::yield_now();
        }
    }
}
