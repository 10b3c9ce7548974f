//! The content store: `.restage/objects/ab/<blake3>`, a file for each different content, named by its hash, read-only
//! and never written again. What a stage made is copied in (a reflink where the file system has them), so that a
//! process which still holds the original open changes nothing here; and copied out again, so that a stage which
//! writes into its inputs harms nobody else. Hardlinks would break both.
//!
//! An object counts once its bytes and its name are on the disk: the file is fsynced before it gets its name, the
//! folder afterwards. This process is the only writer.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, TryLockError};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fchmod, futimens};
use nix::sys::time::TimeSpec;

use super::beneath::{FileError, during, open_file};
use crate::domain::flow::ids::Hash;
use crate::domain::flow::record::Artifact;

/// Where a file lies until it has its name.
pub(super) const UNNAMED: &str = "new";

/// So many files are written before the first of them is fsynced: the first one waits for the disk, and the others
/// find most of theirs done.
const BATCH: usize = 64;

const BUFFER: usize = 256 << 10;

#[derive(Debug)]
pub struct Objects {
    root: PathBuf,
    next: AtomicU32,
    /// Folders whose own names are known to be on the disk.
    durable: Mutex<HashSet<PathBuf>>,
    /// What was looked at as a whole, and has not been touched since.
    seen: Mutex<HashMap<Hash, Stamp>>,
    /// Something was taken for whole by its size.
    unread: AtomicBool,
    /// Taken shared by whoever brings objects in, and alone by whoever deletes: one that is there already must not
    /// go between being found and being named.
    in_use: RwLock<()>,
}

/// Tells whether a file was touched: nobody but the kernel sets the time of its last change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(meta: &fs::Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// A file to be brought in, and what it is to be called.
#[derive(Debug)]
pub struct Source {
    pub name: String,
    pub file: File,
}

impl Objects {
    /// Nothing is made before it is needed.
    pub fn new(root: PathBuf) -> Self {
        Self {
            root,
            next: AtomicU32::new(0),
            durable: Mutex::default(),
            seen: Mutex::default(),
            unread: AtomicBool::new(false),
            in_use: RwLock::default(),
        }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where an object lies. Its bytes are for reading only.
    pub fn path(&self, hash: &Hash) -> PathBuf {
        hash.path_in(&self.root)
    }

    /// Copies files in; they are durable when it returns. Each is opened when its turn has come. After an error, what
    /// was brought in stays without anybody who names it, until it is collected.
    pub fn import<E: From<FileError>>(
        &self,
        sources: impl IntoIterator<Item = Result<Source, E>>,
    ) -> Result<Vec<Artifact>, E> {
        let mut sources = sources.into_iter().peekable();
        if sources.peek().is_none() {
            return Ok(Vec::new());
        }
        let _in_use = self.in_use.read().unwrap_or_else(PoisonError::into_inner);
        let mut batch = Batch { objects: self, written: Vec::new(), folders: HashSet::new() };
        let mut artifacts = Vec::new();
        for source in sources {
            artifacts.push(batch.add(source?)?);
        }
        batch.end()?;
        Ok(artifacts)
    }

    /// Copies in what a person put in the place of an artifact.
    pub fn import_path(&self, name: &str, path: &Path) -> Result<Artifact, FileError> {
        let open = || {
            let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
            super::beneath::regular(file).map_err(|_| io::Error::other("not a regular file"))
        };
        let source = open().map(|file| Source { name: name.into(), file }).map_err(during("read", path));
        let mut one = self.import([source])?;
        one.pop().ok_or_else(|| during("read", path)(io::Error::other("nothing was read")))
    }

    /// Whether the object is there, as long as it was, and untouched since this process read it; otherwise it is read,
    /// while `may_read` has bytes left for that. For what is shown often; what is about to be reused is verified.
    pub fn glance(&self, artifact: &Artifact, may_read: &mut u64) -> Result<(), FileError> {
        self.open(artifact, Looked::AtMost(may_read)).map(drop)
    }

    /// Whether all that was looked at so far was read as a whole, so that nothing else would be found by reading it.
    pub fn all_read(&self) -> bool {
        !self.unread.load(Ordering::Relaxed)
    }

    /// Reads the object as a whole. An error says what is wrong with it.
    pub fn verify(&self, artifact: &Artifact) -> Result<(), FileError> {
        self.open(artifact, Looked::Whole).map(drop)
    }

    /// The same, unless this process has read it and it was not touched since.
    pub fn verify_once(&self, artifact: &Artifact) -> Result<(), FileError> {
        self.open(artifact, Looked::Once).map(drop)
    }

    /// A copy for somebody who may do with it as they like, as `name` in the folder `at`, where nothing of that name
    /// is. Nothing is left of one that fails.
    pub fn materialise(&self, artifact: &Artifact, at: impl AsFd, name: &str) -> Result<(), FileError> {
        let fail =
            |error: Errno| FileError::new(format!("write a copy of artifact {}", artifact.name), error);
        let mut from = self.open(artifact, Looked::Once)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let to = openat(&at, name, flags, Mode::S_IRUSR | Mode::S_IWUSR).map_err(fail)?;
        let mut to = File::from(to);
        let mode = if artifact.executable { 0o555 } else { 0o444 };
        let copied = copy(&mut from, &mut to, artifact.size).and_then(|copied| match copied {
            Copied::Written(hash) if Hash::from(hash) != artifact.hash => {
                Err(io::Error::other("its bytes changed while they were read"))
            }
            Copied::Written(_) | Copied::Shared => to.set_permissions(Permissions::from_mode(mode)),
        });
        copied.map_err(|error| {
            nix::unistd::unlinkat(&at, name, nix::unistd::UnlinkatFlags::NoRemoveDir).ok();
            FileError::new(format!("write a copy of artifact {}", artifact.name), error)
        })
    }

    /// Removes a file of the store where `may` says so of it, and gives its size. Nobody brings an object in
    /// meanwhile: one that is found is found whole, and young. Whoever does so now is not waited for; the file is left to
    /// another time.
    pub(super) fn remove_if(
        &self,
        path: &Path,
        hash: &Hash,
        may: impl Fn(&fs::Metadata) -> bool,
        dry_run: bool,
    ) -> io::Result<Option<u64>> {
        let found = || fs::symlink_metadata(path).map(|meta| Some(meta).filter(&may).map(|meta| meta.size()));
        if dry_run || found()?.is_none() {
            return found();
        }
        let _alone = match self.in_use.try_write() {
            Ok(alone) => alone,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(None),
        };
        let size = found()?;
        if size.is_some() {
            fs::remove_file(path)?;
            lock(&self.seen).remove(hash);
        }
        Ok(size)
    }

    fn folder(&self, hash: &Hash) -> PathBuf {
        hash.folder_in(&self.root)
    }

    fn open(&self, artifact: &Artifact, looked: Looked<'_>) -> Result<File, FileError> {
        let lost =
            |why: String| FileError::Lost { name: artifact.name.clone(), hash: artifact.hash.clone(), why };
        let path = self.path(&artifact.hash);
        let mut file = match open_file(nix::fcntl::AT_FDCWD, &path) {
            Ok(file) => file,
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Err(lost("its bytes are gone".into())),
            Err(Errno::ELOOP | Errno::EINVAL) => return Err(lost("no regular file is in its place".into())),
            Err(error) => return Err(during("read the object", &path)(error)),
        };
        let read = during("read the object", &path);
        match self.check(&mut file, &artifact.hash, artifact.size, looked) {
            Ok(None) => Ok(file),
            Ok(Some(why)) => Err(lost(why)),
            Err(error) => Err(read(error)),
        }
    }

    /// What is wrong with an object; the file stands at its beginning afterwards.
    fn check(
        &self,
        file: &mut File,
        hash: &Hash,
        size: u64,
        looked: Looked<'_>,
    ) -> io::Result<Option<String>> {
        let meta = file.metadata()?;
        if meta.size() != size {
            return Ok(Some(format!("it is damaged: {} bytes instead of {size}", meta.size())));
        }
        let stamp = Stamp::of(&meta);
        let seen = lock(&self.seen).get(hash) == Some(&stamp);
        match looked {
            Looked::Once | Looked::AtMost(_) if seen => return Ok(None),
            Looked::AtMost(left) if size > *left => {
                self.unread.store(true, Ordering::Relaxed);
                return Ok(None);
            }
            Looked::AtMost(left) => *left -= size,
            Looked::Whole | Looked::Once => {}
        }
        let found = hash_of(file)?;
        io::Seek::rewind(file)?;
        if Hash::from(found) != *hash {
            lock(&self.seen).remove(hash);
            return Ok(Some("it is damaged: its bytes are not what they were".into()));
        }
        lock(&self.seen).insert(hash.clone(), stamp);
        Ok(None)
    }

    /// A file without a name that counts.
    fn unnamed(&self) -> Result<Unnamed, FileError> {
        let folder = self.root.join(UNNAMED);
        if self.next.load(Ordering::Relaxed) == 0 {
            remove_torn(&folder);
        }
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!("{}-{number}", std::process::id()));
            match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => return Ok(Unnamed { path, file, named: false }),
                // Of one that was killed, and had the same process id.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    make_folder(&folder).map_err(during("make the folder", &folder))?;
                }
                Err(error) => return Err(during("write", &path)(error)),
            }
        }
    }

    /// What was named in these folders is on the disk when it returns, and so are their own names. These are looked
    /// after once, unless somebody removed one meanwhile.
    fn sync(&self, folders: &HashSet<PathBuf>) -> Result<(), FileError> {
        for folder in folders {
            sync_folder(folder)?;
        }
        if folders.iter().all(|folder| lock(&self.durable).contains(folder)) {
            return Ok(());
        }
        sync_folder(&self.root)?;
        if let Some(parent) = self.root.parent() {
            sync_folder(parent)?;
        }
        lock(&self.durable).extend(folders.iter().cloned());
        Ok(())
    }
}

/// How sure one has to be of an object.
#[derive(Debug)]
enum Looked<'a> {
    /// It is read now.
    Whole,
    /// It was read by this process, and not touched since.
    Once,
    /// The same, unless more bytes than that would have to be read.
    AtMost(&'a mut u64),
}

/// Files on their way in. Those that are dropped leave nothing.
struct Batch<'a> {
    objects: &'a Objects,
    written: Vec<(Unnamed, Hash)>,
    folders: HashSet<PathBuf>,
}

impl Batch<'_> {
    fn add(&mut self, source: Source) -> Result<Artifact, FileError> {
        let Source { name, file: mut from } = source;
        let read = |error: io::Error| FileError::new(format!("copy artifact {name}"), error);
        let meta = from.metadata().map_err(read)?;
        let mut unnamed = self.objects.unnamed()?;
        // A file that still grows is taken as long as it was. What is hashed is what was written here, never the
        // original once more: it may have changed meanwhile.
        let hash = match copy(&mut from, &mut unnamed.file, meta.size()).map_err(read)? {
            Copied::Written(hash) => hash,
            Copied::Shared => hash_of(&mut unnamed.file).map_err(read)?,
        };
        let hash = Hash::from(hash);
        let size = unnamed.file.metadata().map_err(read)?.size();
        drop(from);
        let artifact =
            Artifact { name, hash: hash.clone(), size, executable: meta.permissions().mode() & 0o111 != 0 };
        self.folders.insert(self.objects.folder(&hash));
        if !self.is_there(&hash, size) {
            self.written.push((unnamed, hash));
        }
        if self.written.len() >= BATCH {
            self.name_written()?;
        }
        Ok(artifact)
    }

    /// The same content is there, whole; from now on it counts as new, so that it is not collected as old before
    /// somebody names it. One that is damaged is replaced.
    fn is_there(&self, hash: &Hash, size: u64) -> bool {
        let path = self.objects.path(hash);
        let Ok(mut file) = open_file(nix::fcntl::AT_FDCWD, &path) else { return false };
        matches!(self.objects.check(&mut file, hash, size, Looked::Once), Ok(None))
            && futimens(&file, &TimeSpec::UTIME_OMIT, &TimeSpec::UTIME_NOW).is_ok()
            && file.metadata().is_ok_and(|meta| {
                lock(&self.objects.seen).insert(hash.clone(), Stamp::of(&meta));
                true
            })
    }

    fn name_written(&mut self) -> Result<(), FileError> {
        for (unnamed, _) in &self.written {
            let sync = || {
                fchmod(&unnamed.file, Mode::S_IRUSR | Mode::S_IRGRP | Mode::S_IROTH)?;
                unnamed.file.sync_all()
            };
            sync().map_err(during("write to the disk", &unnamed.path))?;
        }
        for (mut unnamed, hash) in self.written.drain(..) {
            let path = self.objects.path(&hash);
            let folder = self.objects.folder(&hash);
            let named = unnamed.name(&path).or_else(|error| {
                if error.kind() != io::ErrorKind::NotFound {
                    return Err(error);
                }
                make_folder(&folder)?;
                lock(&self.objects.durable).remove(&folder);
                unnamed.name(&path)
            });
            named.map_err(during("write the object", &path))?;
            if let Ok(meta) = unnamed.file.metadata() {
                lock(&self.objects.seen).insert(hash, Stamp::of(&meta));
            }
        }
        Ok(())
    }

    fn end(mut self) -> Result<(), FileError> {
        self.name_written()?;
        self.objects.sync(&self.folders)
    }
}

/// Removed when dropped, unless it got its name.
struct Unnamed {
    path: PathBuf,
    file: File,
    named: bool,
}

impl Unnamed {
    fn name(&mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        self.named = true;
        Ok(())
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        if !self.named {
            // One that stays is collected later.
            fs::remove_file(&self.path).ok();
        }
    }
}

mod clone {
    // Shares the blocks of the other file until one of the two is written to.
    nix::ioctl_write_int!(ficlone, 0x94, 9);
}

enum Copied {
    /// These bytes, one by one.
    Written(blake3::Hash),
    /// By the file system, without looking at them.
    Shared,
}

/// At most `size` bytes, all of them where the file does not shrink meanwhile. Both stand at their beginning.
fn copy(from: &mut File, to: &mut File, size: u64) -> io::Result<Copied> {
    let source = u64::try_from(from.as_raw_fd()).unwrap_or(u64::MAX);
    // SAFETY: both descriptors are open for the whole call, and the kernel writes no memory of ours.
    if size > 0 && unsafe { clone::ficlone(to.as_raw_fd(), source) }.is_ok() {
        // The clone is of the file as it is now; it may be longer than it was.
        if to.metadata()?.size() > size {
            to.set_len(size)?;
        }
        return Ok(Copied::Shared);
    }
    let mut hasher = blake3::Hasher::new();
    let mut buffer = buffer(size);
    let mut from = from.take(size);
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(Copied::Written(hasher.finalize())),
            Ok(read) => {
                hasher.update(&buffer[..read]);
                to.write_all(&buffer[..read])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn buffer(size: u64) -> Vec<u8> {
    vec![0; usize::try_from(size).unwrap_or(BUFFER).clamp(1, BUFFER)]
}

/// From where it stands to its end.
pub(super) fn hash_of(file: &mut File) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = buffer(file.metadata()?.size().saturating_add(1));
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finalize()),
            Ok(read) => hasher.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
    }
}

/// Half of a file, left by a process that has gone. One that lives may still be writing.
pub(super) fn is_torn(name: &str) -> bool {
    let of = name.split_once('-').and_then(|(pid, _)| pid.parse::<u32>().ok());
    of.is_some_and(|pid| pid != std::process::id() && !Path::new("/proc").join(pid.to_string()).exists())
}

/// What cannot be removed is collected later.
fn remove_torn(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_torn) {
            fs::remove_file(entry.path()).ok();
        }
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn sync_folder(path: &Path) -> Result<(), FileError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(during("write to the disk", path))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
