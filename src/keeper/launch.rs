//! From a spawn order to a process: opens each thing by itself, so that what fails has a name, and records the intent
//! before there is a process.

use std::ffi::{CStr, CString, OsStr};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::cgroup::{self, Cgroups};
use super::environment::Environment;
use super::journal::{Intent, Journal, Record};
use super::log::Log;
use super::proc;
use super::relay::{self, Source};
use super::spares::{Nest, Spares};
use super::spawn::{self, Child, ChildStdio, Stack};
use super::tree::{Main, Relay, Tree};
use super::wire::{SpawnSpec, SpawnStep, StdioKind};

/// So many descriptors are left free for ending what lives.
const DESCRIPTORS: u64 = 32;

/// What every child inherits, taken once when the guard starts.
#[derive(Debug)]
pub(crate) struct Inheritance {
    env: Environment,
    umask: u32,
    nofile: (u64, u64),
    /// Whether the soft limit of the resident set, which means nothing, may be anything.
    token_fits: bool,
    /// The stdin of most.
    null: Option<OwnedFd>,
    stack: Stack,
}

/// Why there is no process, with the thing that it was about.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) step: SpawnStep,
    pub(crate) errno: i32,
    pub(crate) subject: String,
}

impl Failure {
    fn at(step: SpawnStep, subject: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let subject = subject.into();
        move |error| Self { step, errno: error.raw_os_error().unwrap_or(libc::EINVAL), subject }
    }
}

impl Inheritance {
    /// Takes the environment and the mask as they are, and raises our own limit of open files to what is allowed.
    pub(crate) fn take(umask: u32) -> Self {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the struct is valid for both calls; a refusal leaves the limit as it is.
        unsafe {
            libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
            let most = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const most);
        }
        let mut resident = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the struct is valid; the call cannot fail with this resource.
        unsafe { libc::getrlimit(libc::RLIMIT_RSS, &raw mut resident) };
        Self {
            env: Environment::take(),
            umask,
            nofile: (limit.rlim_cur, limit.rlim_max),
            token_fits: resident.rlim_max == libc::RLIM_INFINITY,
            null: fs::File::open("/dev/null").ok().map(OwnedFd::from),
            stack: Stack::new(),
        }
    }

    /// Starts the attempt `key`, or says what stood in the way. Whatever was made on the way is taken back.
    pub(crate) fn launch(
        &mut self,
        key: &str,
        spec: &SpawnSpec,
        journal: &mut Journal,
        cgroups: Option<&Cgroups>,
        spares: &mut Spares,
    ) -> Result<Tree, Failure> {
        let cwd = open_dir(&spec.cwd).map_err(Failure::at(SpawnStep::Cwd, shown(&spec.cwd)))?;
        let given;
        let stdin = match (&spec.stdin, &self.null) {
            (None, Some(null)) => null,
            (path, _) => {
                given = open_stdin(path.as_deref())?;
                &given
            }
        };
        let log = match spares.take_log(&spec.log) {
            Some(log) => log,
            None => Log::open(&spec.log).map_err(Failure::at(SpawnStep::Log, shown(&spec.log)))?,
        };
        let program = resolve(spec, self.env.value(&spec.env, "PATH"))?;
        let outputs = Outputs::make(spec, |source| {
            let may = self.may_keep(source.highest());
            if may { Ok(source) } else { Err(io::Error::from_raw_os_error(libc::EMFILE)) }
        })?;
        let nest = spares.take_nest(cgroups);
        let Nest { token, cgroup } =
            nest.map_err(Failure::at(SpawnStep::Cgroup, "a place for the attempt"))?;
        let intent = Intent {
            key: key.into(),
            token,
            log: spec.log.as_path().into(),
            stdio: spec.stdio,
            stop_signal: spec.stop_signal,
            grace_ms: spec.grace_ms,
            keep_leftovers: spec.keep_leftovers,
            cgroups: cgroups.map(Cgroups::base),
            relay: outputs.relay_id(),
        };
        if let Err(error) = journal.append(&Record::Intent(intent.clone())) {
            if let Some((path, _)) = &cgroup {
                cgroup::remove(path);
            }
            return Err(Failure::at(SpawnStep::Journal, "the keeper's journal")(error));
        }

        let own = self.env.own(&spec.env, token);
        let env = self.env.merged(&spec.env, &own);
        let argv = c_strings(spec.argv.iter().map(String::as_bytes))?;
        let limits = self.limits(spec, token);
        let log_name = c_path(&spec.log).map_err(Failure::at(SpawnStep::Log, shown(&spec.log)))?;
        let child = Child {
            program: &program,
            argv: &argv,
            env: &env,
            cwd: &cwd,
            stdio: outputs.child_stdio(&log.fd, stdin, spec.stdin.is_some(), &log_name),
            umask: spec.umask.unwrap_or(self.umask),
            limits: &limits,
            cgroup: cgroup.as_ref().map(|(_, fd)| fd),
        };
        let born = match spawn::spawn(&child, &mut self.stack) {
            Err(failed) if failed.step == SpawnStep::Exec && failed.errno == libc::ENOEXEC => {
                // A script without a first line that says who runs it: the shell does, as everywhere.
                let shell = [c"/bin/sh".to_owned(), program.clone()];
                let argv: Vec<CString> = shell.into_iter().chain(argv.iter().skip(1).cloned()).collect();
                spawn::spawn(&Child { program: c"/bin/sh", argv: &argv, ..child }, &mut self.stack)
            }
            other => other,
        };
        let born = born.map_err(|failed| {
            if let Some((path, _)) = &cgroup {
                cgroup::remove(path);
            }
            // The intent came to nothing; where even this cannot be written, the next keeper finds nobody with the token.
            journal.append(&Record::Gone { key: key.to_owned() }).ok();
            explain(failed, &program, spec)
        })?;
        let start_of = |pid| proc::stat(pid).map_or(0, |stat| stat.start);
        let start = start_of(born.pid);
        let holder = born.holder.map(|pid| (pid, start_of(pid)));
        // Until it is written, the token tells whose process this is.
        journal.note(&Record::Spawned { key: key.to_owned(), pid: born.pid, start, holder }).ok();

        let mut tree = Tree::new(intent, born.pid, start, Main::Child, Some(log.file));
        tree.holder = holder;
        (tree.relay, tree.source) = outputs.into_relay();
        Ok(tree)
    }

    /// A successor of the supervisor: our own program with other arguments, in a session of its own.
    pub(crate) fn launch_supervisor(&mut self, arguments: &[String]) -> Result<i32, String> {
        let open = |path: &str| OpenOptions::new().read(true).write(true).open(path).map(OwnedFd::from);
        let null = open("/dev/null").map_err(|error| format!("open /dev/null: {error}"))?;
        let root = open_dir(Path::new("/")).map_err(|error| format!("open /: {error}"))?;
        let argv =
            c_strings(std::iter::once("restage".as_bytes()).chain(arguments.iter().map(String::as_bytes)))
                .map_err(|failure| failure.subject)?;
        let env = self.env.whole();
        let child = Child {
            program: c"/proc/self/exe",
            argv: &argv,
            env: &env,
            cwd: &root,
            stdio: ChildStdio::Files { stdin: &null, out: &null },
            umask: self.umask,
            limits: &[(libc::RLIMIT_NOFILE, self.nofile.0, self.nofile.1)],
            cgroup: None,
        };
        spawn::spawn(&child, &mut self.stack)
            .map(|born| born.pid)
            .map_err(|failed| io::Error::from_raw_os_error(failed.errno).to_string())
    }

    /// Descriptors are given out from the lowest. One that is kept must not lie among the last, for without any we could
    /// neither see who lives nor kill.
    pub(crate) fn may_keep(&self, fd: RawFd) -> bool {
        let kept_free = DESCRIPTORS.min(self.nofile.1 / 4);
        self.nofile.1.saturating_sub(u64::from(fd.unsigned_abs())) > kept_free
    }

    /// Whether every child has its token from the first moment on.
    pub(crate) const fn token_fits(&self) -> bool {
        self.token_fits
    }

    fn limits(&self, spec: &SpawnSpec, token: u64) -> Vec<(u32, u64, u64)> {
        let mut limits = Vec::with_capacity(spec.limits.len() + 2);
        if self.token_fits {
            limits.push((libc::RLIMIT_RSS, token, libc::RLIM_INFINITY));
        }
        limits.push((libc::RLIMIT_NOFILE, self.nofile.0, self.nofile.1));
        limits.extend(spec.limits.iter().copied());
        limits
    }
}

/// Where both outputs go.
enum Outputs {
    Log,
    Pipe { write_end: OwnedFd, source: Source, relay: Relay },
    Terminal { path: CString, source: Source, relay: Relay },
}

impl Outputs {
    fn make(spec: &SpawnSpec, may_keep: impl FnOnce(Source) -> io::Result<Source>) -> Result<Self, Failure> {
        let start = |source: &Source| {
            let pid = relay::start(source, &spec.log).map_err(Failure::at(SpawnStep::Relay, "a relay"))?;
            Ok(Relay { pid, start: proc::stat(pid).map_or(0, |stat| stat.start), _pidfd: None })
        };
        match spec.stdio {
            StdioKind::File => Ok(Self::Log),
            StdioKind::Pipe => {
                let made = relay::pipe().and_then(|(end, source)| Ok((end, may_keep(source)?)));
                let (write_end, source) = made.map_err(Failure::at(SpawnStep::Relay, "a pipe"))?;
                let relay = start(&source)?;
                Ok(Self::Pipe { write_end, source, relay })
            }
            StdioKind::Tty => {
                let made = relay::terminal().and_then(|(path, source)| Ok((path, may_keep(source)?)));
                let (path, source) = made.map_err(Failure::at(SpawnStep::Pty, "a pseudo-terminal"))?;
                let relay = start(&source)?;
                Ok(Self::Terminal { path, source, relay })
            }
        }
    }

    fn relay_id(&self) -> Option<(i32, u64)> {
        match self {
            Self::Log => None,
            Self::Pipe { relay, .. } | Self::Terminal { relay, .. } => Some((relay.pid, relay.start)),
        }
    }

    fn child_stdio<'a>(
        &'a self,
        log: &'a OwnedFd,
        stdin: &'a OwnedFd,
        stdin_is_given: bool,
        log_name: &'a CStr,
    ) -> ChildStdio<'a> {
        match self {
            Self::Log => ChildStdio::Files { stdin, out: log },
            Self::Pipe { write_end, .. } => ChildStdio::Files { stdin, out: write_end },
            Self::Terminal { path, .. } => {
                ChildStdio::Terminal { path, stdin: stdin_is_given.then_some(stdin), log: log_name }
            }
        }
    }

    fn into_relay(self) -> (Option<Relay>, Option<Source>) {
        match self {
            Self::Log => (None, None),
            Self::Pipe { source, relay, .. } | Self::Terminal { source, relay, .. } => {
                (Some(relay), Some(source))
            }
        }
    }
}

fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_CLOEXEC | libc::O_PATH)
        .open(path)?;
    // One that may not be entered fails in the child's fchdir, which says so.
    Ok(OwnedFd::from(file))
}

fn open_stdin(path: Option<&Path>) -> Result<OwnedFd, Failure> {
    let path = path.unwrap_or(Path::new("/dev/null"));
    let at = || Failure::at(SpawnStep::Stdin, shown(path));
    let is_fifo = fs::metadata(path).map_err(at())?.file_type().is_fifo();
    // Opening a FIFO for reading alone waits for a writer, and would give an end of file after each one: both ends
    // open, the child reads what comes, whenever it comes.
    let file = OpenOptions::new()
        .read(true)
        .write(is_fifo)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC)
        .open(path)
        .map_err(at())?;
    // SAFETY: the descriptor is open; clearing the flag restores what a child expects of its stdin.
    unsafe {
        let flags = libc::fcntl(file.as_raw_fd(), libc::F_GETFL);
        libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags & !libc::O_NONBLOCK);
    }
    Ok(OwnedFd::from(file))
}

fn program_name(spec: &SpawnSpec) -> &str {
    spec.argv.first().map_or("", String::as_str)
}

/// The program that `argv[0]` means: a path, or the first match in the child's own `PATH`.
fn resolve(spec: &SpawnSpec, path: Option<&OsStr>) -> Result<CString, Failure> {
    let name = program_name(spec);
    let at = || Failure::at(SpawnStep::Executable, name);
    if name.contains('/') {
        return c_path(&spec.cwd.join(name)).map_err(at());
    }
    let path = path.unwrap_or(OsStr::new("/usr/local/bin:/usr/bin:/bin"));
    let mut denied = false;
    for dir in std::env::split_paths(path) {
        let candidate = spec.cwd.join(dir).join(name);
        let c = c_path(&candidate).map_err(at())?;
        // SAFETY: the path is a valid C string.
        if unsafe { libc::access(c.as_ptr(), libc::X_OK) } == 0 {
            if candidate.is_file() {
                return Ok(c);
            }
        } else if io::Error::last_os_error().raw_os_error() == Some(libc::EACCES) {
            denied |= candidate.is_file();
        }
    }
    let errno = if denied { libc::EACCES } else { libc::ENOENT };
    Err(at()(io::Error::from_raw_os_error(errno)))
}

/// "No such file" of an exec may mean the program, or the interpreter that its first line names.
fn explain(failed: spawn::Failed, program: &CString, spec: &SpawnSpec) -> Failure {
    let path = PathBuf::from(OsStr::from_bytes(program.as_bytes()));
    let (step, subject) = match failed.step {
        SpawnStep::Exec => match interpreter(&path) {
            Some(name) if failed.errno == libc::ENOENT && path.exists() => (SpawnStep::Interpreter, name),
            Some(_) | None => (SpawnStep::Exec, shown(&path)),
        },
        SpawnStep::Cwd => (SpawnStep::Cwd, shown(&spec.cwd)),
        SpawnStep::Log => (SpawnStep::Log, shown(&spec.log)),
        SpawnStep::Limit => (SpawnStep::Limit, limit_name(failed.limit, spec)),
        step @ (SpawnStep::Journal
        | SpawnStep::Stdin
        | SpawnStep::Pty
        | SpawnStep::Relay
        | SpawnStep::Cgroup
        | SpawnStep::Executable
        | SpawnStep::Interpreter
        | SpawnStep::Fork) => (step, shown(&path)),
    };
    Failure { step, errno: failed.errno, subject }
}

/// `the limit nofile to 4096`, as the config calls it.
fn limit_name(resource: Option<u32>, spec: &SpawnSpec) -> String {
    let name = match resource {
        Some(libc::RLIMIT_NOFILE) => "nofile",
        Some(libc::RLIMIT_NPROC) => "nproc",
        Some(libc::RLIMIT_AS) => "as",
        Some(libc::RLIMIT_CORE) => "core",
        Some(libc::RLIMIT_CPU) => "cpu",
        Some(libc::RLIMIT_DATA) => "data",
        Some(libc::RLIMIT_FSIZE) => "fsize",
        Some(libc::RLIMIT_MEMLOCK) => "memlock",
        Some(libc::RLIMIT_STACK) => "stack",
        Some(_) | None => return "a resource limit".to_owned(),
    };
    let wanted = spec.limits.iter().find(|(limit, ..)| Some(*limit) == resource);
    match wanted {
        Some((_, u64::MAX, _)) => format!("the limit {name} to unlimited"),
        Some((_, value, _)) => format!("the limit {name} to {value}"),
        None => format!("the limit {name}"),
    }
}

fn interpreter(path: &Path) -> Option<String> {
    // What could not be executed may be anything, also a pipe that nobody writes into.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut head = [0_u8; 256];
    let length = io::Read::read(&mut file, &mut head).ok()?;
    let line = head.get(..length)?.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    line.split_ascii_whitespace().next().map(str::to_owned)
}

fn c_strings<'a>(strings: impl Iterator<Item = &'a [u8]>) -> Result<Vec<CString>, Failure> {
    strings
        .map(|string| {
            CString::new(string).map_err(|error| {
                Failure::at(SpawnStep::Exec, "an argument with a NUL byte")(io::Error::other(error))
            })
        })
        .collect()
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
