//! What the parts share: a workspace in a temporary folder, the built program, waiting with a deadline, figures.

use std::fmt::Write as _;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Why a part fails.
pub(crate) type Outcome = Result<Vec<String>, String>;

/// Nothing waits this long unless it is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn restage() -> PathBuf {
    beside("../restage")
}

pub(crate) fn fixture() -> String {
    beside("fixture").display().to_string()
}

fn beside(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("the path of this program");
    own.parent().expect("a folder").join(name)
}

/// A workspace with its own cache and runtime folders; everything in it is ended when it is dropped.
pub(crate) struct Workspace {
    dir: tempfile::TempDir,
}

impl Workspace {
    pub(crate) fn new(config: &Value) -> Self {
        Self::within(tempfile::tempdir(), config)
    }

    /// Not among temporary files, but where the program lies. Where much was deleted a moment ago, some file systems take
    /// many times as long to make a file; what is measured here is not that.
    pub(crate) fn apart(config: &Value) -> Self {
        let folder = beside("");
        Self::within(tempfile::tempdir_in(folder), config)
    }

    fn within(dir: std::io::Result<tempfile::TempDir>, config: &Value) -> Self {
        let workspace = Self { dir: dir.expect("a temporary folder") };
        for folder in ["cache", "run"] {
            std::fs::create_dir(workspace.path(folder)).expect("a folder");
        }
        workspace.configure(config);
        workspace
    }

    pub(crate) fn configure(&self, config: &Value) {
        std::fs::write(self.path("config.json"), format!("{config:#}\n")).expect("the config");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(restage());
        command
            .arg("-c")
            .arg(self.path("config.json"))
            .args(arguments)
            .current_dir(self.dir.path())
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("restage runs")
    }

    /// Runs a verb that must succeed; its stdout.
    pub(crate) fn ok(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.run(arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(format!(
                "restage {}: {}: {}",
                arguments.join(" "),
                output.status,
                text(&output.stderr).trim()
            ))
        }
    }

    /// The supervisor in the foreground, its lines going to a file.
    pub(crate) fn headless(&self) -> Headless {
        let lines = std::fs::File::create(self.path("headless.log")).expect("a file");
        let child = self
            .command(&["up", "--no-tui"])
            .stdout(Stdio::null())
            .stderr(lines)
            .process_group(0)
            .spawn()
            .expect("restage starts");
        Headless { child, lines: self.path("headless.log") }
    }

    pub(crate) fn status(&self) -> Result<Vec<Value>, String> {
        let text = self.ok(&["status", "--json"])?;
        serde_json::from_str(&text).map_err(|error| format!("status --json: {error}: {text}"))
    }

    pub(crate) fn runner(&self, name: &str) -> Result<Value, String> {
        self.status()?
            .into_iter()
            .find(|row| row["name"] == name)
            .ok_or_else(|| format!("status --json does not show {name}"))
    }

    /// Waits until the row of a runner fits.
    pub(crate) fn wait_runner(
        &self,
        name: &str,
        what: &str,
        fits: impl Fn(&Value) -> bool,
    ) -> Result<Value, String> {
        let mut last = Value::Null;
        wait(&format!("{name}: {what}"), || {
            last = self.runner(name).ok()?;
            fits(&last).then(|| last.clone())
        })
        .map_err(|error| format!("{error}; last seen: {last}"))
    }

    /// The processes of restage itself for this workspace: supervisor, keeper, guard.
    pub(crate) fn own_processes(&self) -> Vec<i32> {
        let root = self.dir.path().display().to_string();
        processes()
            .filter(|pid| {
                exe_of(*pid).is_some_and(|exe| {
                    exe.file_name().is_some_and(|name| name.to_string_lossy().starts_with("restage"))
                }) && command_line(*pid).contains(&root)
            })
            .collect()
    }

    /// Every process that carries this workspace's folder in its environment or arguments, ours and the children's.
    pub(crate) fn all_processes(&self) -> Vec<i32> {
        let root = self.dir.path().display().to_string();
        let own = std::process::id().cast_signed();
        processes()
            .filter(|pid| *pid != own && is_alive(*pid))
            .filter(|pid| command_line(*pid).contains(&root) || environment(*pid).contains(&root))
            .collect()
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        self.run(&["down"]);
        let deadline = Instant::now() + Duration::from_secs(5);
        while !self.all_processes().is_empty() && Instant::now() < deadline {
            pause();
        }
        for pid in self.all_processes() {
            kill(pid, libc::SIGKILL);
        }
    }
}

pub(crate) struct Headless {
    child: Child,
    lines: PathBuf,
}

impl Headless {
    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub(crate) fn lines(&self) -> String {
        std::fs::read_to_string(&self.lines).unwrap_or_default()
    }

    pub(crate) fn wait_line(&self, wanted: &str) -> Result<(), String> {
        wait(&format!("the line {wanted:?}"), || self.lines().contains(wanted).then_some(()))
            .map_err(|error| format!("{error}; lines:\n{}", self.lines()))
    }

    /// Its exit code, in the shell's form for signals.
    pub(crate) fn end(&mut self) -> Result<i32, String> {
        use std::os::unix::process::ExitStatusExt;
        let status = wait("restage ends", || self.child.try_wait().ok().flatten())
            .map_err(|error| format!("{error}; lines:\n{}", self.lines()))?;
        Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
    }
}

impl Drop for Headless {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            kill(self.pid(), libc::SIGTERM);
            self.end().ok();
        }
    }
}

pub(crate) fn wait<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> Result<T, String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return Ok(found);
        }
        if Instant::now() > deadline {
            return Err(format!("waited {PATIENCE:?} in vain: {what}"));
        }
        pause();
    }
}

/// Between two looks at something that tells nobody when it changes.
pub(crate) fn pause() {
    std::thread::sleep(Duration::from_millis(4));
}

pub(crate) fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

pub(crate) fn kill(pid: i32, signal: i32) {
    assert!(pid > 1, "refusing to signal {pid}");
    // SAFETY: plain numbers; the pid is of a process that this program started.
    unsafe { libc::kill(pid, signal) };
}

pub(crate) fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X'])))
}

pub(crate) fn processes() -> impl Iterator<Item = i32> {
    std::fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

pub(crate) fn command_line(pid: i32) -> String {
    read_lossy(&format!("/proc/{pid}/cmdline"))
}

fn environment(pid: i32) -> String {
    read_lossy(&format!("/proc/{pid}/environ"))
}

fn exe_of(pid: i32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/exe")).ok()
}

fn read_lossy(path: &str) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = std::fs::File::open(path) {
        file.read_to_end(&mut bytes).ok();
    }
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// Proportional set size, KiB.
pub(crate) fn pss(pid: i32) -> u64 {
    let rollup = read_lossy(&format!("/proc/{pid}/smaps_rollup"));
    rollup
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))
        .and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// Nanoseconds on a CPU, of all threads.
pub(crate) fn cpu_ns(pid: i32) -> u64 {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    tasks
        .flatten()
        .filter_map(|task| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_ascii_whitespace().next()?.parse::<u64>().ok()
        })
        .sum()
}

pub(crate) fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the buffer is valid; the call cannot fail with this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// The value below which the given share of the sorted values lies.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures"
)]
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = ((values.len() as f64 - 1.0) * share).round() as usize;
    values.get(at).copied().unwrap_or(f64::NAN)
}

/// What the fixture's `stamp` left: (first instruction, last instruction) of each run, in milliseconds.
pub(crate) fn stamps(path: &Path) -> Vec<(f64, f64)> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let (begin, end) = line.split_once(' ')?;
            Some((begin.parse::<f64>().ok()? / 1e6, end.parse::<f64>().ok()? / 1e6))
        })
        .collect()
}

/// A config with these runners and nothing else set.
pub(crate) fn runners(runners: &[(&str, Value)]) -> Value {
    let map: serde_json::Map<String, Value> =
        runners.iter().map(|(name, spec)| ((*name).to_owned(), spec.clone())).collect();
    json!({ "runners": map })
}

/// Starts a program as barely as the system allows: `posix_spawn` in a new session, output to a file.
pub(crate) fn bare_spawn(argv: &[&str], log: &Path) -> i32 {
    use std::ffi::CString;
    let argv: Vec<CString> = argv.iter().map(|arg| CString::new(*arg).expect("no NUL")).collect();
    let log = CString::new(log.display().to_string()).expect("no NUL");
    let mut pointers: Vec<*mut libc::c_char> = argv.iter().map(|arg| arg.as_ptr().cast_mut()).collect();
    pointers.push(std::ptr::null_mut());
    // SAFETY: all strings outlive the call; the structs are initialised by their own functions.
    unsafe {
        let mut actions: libc::posix_spawn_file_actions_t = std::mem::zeroed();
        let mut attributes: libc::posix_spawnattr_t = std::mem::zeroed();
        libc::posix_spawn_file_actions_init(&raw mut actions);
        libc::posix_spawnattr_init(&raw mut attributes);
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND;
        libc::posix_spawn_file_actions_addopen(&raw mut actions, 0, c"/dev/null".as_ptr(), libc::O_RDONLY, 0);
        libc::posix_spawn_file_actions_addopen(&raw mut actions, 1, log.as_ptr(), flags, 0o600);
        libc::posix_spawn_file_actions_adddup2(&raw mut actions, 1, 2);
        // POSIX_SPAWN_SETSID
        libc::posix_spawnattr_setflags(&raw mut attributes, 0x80);
        let mut pid = 0;
        let environ = [std::ptr::null_mut()];
        let failed = libc::posix_spawn(
            &raw mut pid,
            pointers[0],
            &raw const actions,
            &raw const attributes,
            pointers.as_ptr(),
            environ.as_ptr(),
        );
        libc::posix_spawn_file_actions_destroy(&raw mut actions);
        libc::posix_spawnattr_destroy(&raw mut attributes);
        assert_eq!(failed, 0, "posix_spawn: {}", std::io::Error::from_raw_os_error(failed));
        pid
    }
}

/// Waits for one of our own children; its raw status.
pub(crate) fn reap(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: the place is valid; the pid is a child of ours.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    status
}

/// A line of figures: `name a=1.0 b=2.0`.
pub(crate) fn figures(name: &str, values: &[(&str, f64)]) -> String {
    let mut line = name.to_owned();
    for (key, value) in values {
        write!(line, "  {key} {value:.2}").ok();
    }
    line
}
