//! `restage up`: takes the workspace, puts a supervisor together and runs it, here or in the background.

use std::env;
use std::fs::DirBuilder;
use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::sync::oneshot;

use crate::cli::args::{Global, Mode, Output};
use crate::cli::attend::{Came, Scene, attend};
use crate::cli::background::{self, NO_RUNNERS, Runners};
use crate::cli::brain::{self, Plan, assemble};
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::link::{self, Found};
use crate::cli::own_log::{self, OwnLog};
use crate::cli::signals::Signals;
use crate::cli::workspace::Workspace;
use crate::cli::{output, process, runtime, settings};
use crate::config::Missing;
use crate::control::lock::{LOCK_FILE, LockError, WorkspaceLock};
use crate::control::serve::Place;
use crate::control::socket::Bound;
use crate::domain::flow::refusal::Refusal;
use crate::domain::ids::RunnerName;
use crate::domain::spec::WorkspaceSpec;
use crate::flow::engine::Left;
use crate::frontend::headless::{Format, Headless, Printer, name_width};
use crate::keeper::{self, footprint};
use crate::supervisor::apart::apart;
use crate::supervisor::atomic::private_dir;
use crate::supervisor::clock::SystemClock;
use crate::supervisor::handle::Handle;
use crate::supervisor::manager::Mode as ActorMode;
use crate::supervisor::place::WorkspacePlaces;

/// Somebody who only looks at the lock holds it for less than this.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
/// What still runs on other threads at the end has had its time.
const LAST_THREADS: Duration = Duration::from_millis(500);

pub fn run(workspace: &Workspace, global: &Global, mode: Mode, names: &[String]) -> Outcome {
    if let Found::Somebody(holder) = runtime()?.block_on(link::settled(workspace)) {
        return Err(link::taken(workspace, holder.as_ref()));
    }
    footprint::keep_little();
    let spec = settings::load(workspace, Missing::Error)?;
    let chosen = choose(&spec, names)?;
    if mode.detach {
        let pid = background::start(workspace, global.debug, names)?;
        if global.output == Output::Json {
            output::print_json(&serde_json::json!({ "supervisor_pid": pid }))?;
        } else {
            output::remark(&format!(
                "restage: supervisor {pid} works in the background; `restage status` shows it"
            ));
        }
        return Ok(Exit::Completed);
    }
    let headless = headless(global, &spec)?;
    let role = Role {
        mode: ActorMode::Headless,
        headless: Some(headless),
        chosen,
        runners: Runners::Some,
        left: Left::GoesOn,
        debug: global.debug,
    };
    supervise(workspace, spec, role, || {})
}

/// The role `__supervise --config PATH [--debug] [NAME…]`, which only restage itself starts.
pub fn in_background() -> ExitCode {
    footprint::keep_little();
    background::leave_terminal();
    let mut reported = false;
    let mut needed = true;
    let outcome = prepare(&mut needed).and_then(|(workspace, spec, role)| {
        if take_leave(&workspace, &spec)? {
            return Ok(Exit::Completed);
        }
        supervise(&workspace, spec, role, || {
            background::report(Ok(()));
            reported = true;
        })
    });
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => {
            tracing::error!("{failure}");
            if !reported {
                background::report(Err(&failure));
            }
            if needed { failure.exit.into() } else { ExitCode::from(keeper::NOT_NEEDED) }
        }
    }
}

/// After a clean end that was cut short there is nothing to supervise. True where it was so.
fn take_leave(workspace: &Workspace, spec: &WorkspaceSpec) -> Result<bool, Failure> {
    let places = workspace.places(spec.cache_dir.as_deref());
    if background::is_to_take_leave(workspace, &places).is_none() {
        return Ok(false);
    }
    let _lock = take_lock(workspace, &places)?;
    // Somebody may have begun anew before the lock was ours.
    let Some(epoch) = background::is_to_take_leave(workspace, &places) else { return Ok(false) };
    runtime()?.block_on(brain::take_leave(workspace, &places, spec, epoch))?;
    Ok(true)
}

/// Says of a failure, too, whether something would have been there to supervise.
fn prepare(needed: &mut bool) -> Result<(Workspace, WorkspaceSpec, Role), Failure> {
    *needed = false;
    let mut arguments = env::args_os().skip(2);
    let mut config = None;
    let mut debug = false;
    let mut names = Vec::new();
    let mut runners = Runners::Some;
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--config") => config = arguments.next().map(PathBuf::from),
            Some("--debug") => debug = true,
            Some(NO_RUNNERS) => runners = Runners::None,
            _ => names.push(argument.to_string_lossy().into_owned()),
        }
    }
    let workspace = Workspace::find(&Global { config, output: Output::Human, debug, no_color: true })?;
    // What runs must be looked after, even where a program or a folder of the config has gone meanwhile, or the config
    // itself. That it cannot be read is told once somebody watches it.
    *needed = apart(|| background::is_needed(&workspace));
    let spec = if *needed {
        settings::load(&workspace, Missing::Warning)
            .or_else(|failure| settings::in_force(&workspace).ok_or(failure))
    } else {
        settings::load(&workspace, Missing::Error)
    }?;
    let chosen = match runners {
        Runners::Some => choose(&spec, &names)?,
        Runners::None => Some(Vec::new()),
    };
    *needed = true;
    let left = Left::GoesOn;
    let role = Role { mode: ActorMode::Background, headless: None, chosen, runners, left, debug };
    Ok((workspace, spec, role))
}

/// Which runners to start: `None` are those with autostart.
pub(super) fn choose(spec: &WorkspaceSpec, names: &[String]) -> Result<Option<Vec<RunnerName>>, Failure> {
    let runners = &spec.runners;
    let known = |name: &&String| runners.iter().any(|runner| runner.name.as_str() == name.as_str());
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        let known: Vec<&str> = runners.iter().map(|runner| runner.name.as_str()).collect();
        let cause = format!("no runner is called so; there are: {}", known.join(", "));
        return Err(Failure::new(Exit::Nothing, format!("start {unknown}"), cause)
            .hint("the names are the keys of \"runners\" in the config"));
    }
    Ok((!names.is_empty()).then(|| names.iter().map(|name| RunnerName::trusted(name.as_str())).collect()))
}

/// One line an event: on stderr for people, on stdout for programs.
fn headless(global: &Global, spec: &WorkspaceSpec) -> Result<Headless, Failure> {
    let (format, sink) = match global.output {
        Output::Human => {
            let colour = output::colours(&io::stderr(), global.no_color);
            let name_width = name_width(spec.runners.iter().map(|runner| &runner.name));
            let format = Format::Human { zone: TimeZone::system(), colour, name_width };
            (format, output::unbuffered(io::stderr().as_fd()))
        }
        Output::Json => (Format::Json, output::unbuffered(io::stdout().as_fd())),
    };
    let sink = sink.map_err(|error| Failure::io("open the terminal for headless mode", &error))?;
    Ok(Headless::new(Printer::new(sink), format))
}

/// In which way it supervises.
struct Role {
    mode: ActorMode,
    /// Lines for people; `None` where nobody reads them, or a verb tells them.
    headless: Option<Headless>,
    chosen: Option<Vec<RunnerName>>,
    /// What a successor starts.
    runners: Runners,
    /// What becomes of runs that lay unfinished.
    left: Left,
    debug: bool,
}

/// From the lock to the last line.
fn supervise(workspace: &Workspace, spec: WorkspaceSpec, role: Role, standing: impl FnOnce()) -> Outcome {
    on_stage(workspace, spec, role, async |scene, handle, actor| {
        attend(scene, handle, actor, &SystemClock, standing).await
    })
}

/// A verb that was ended by a signal is given so long to say how what it followed stands.
const LAST_WORD: Duration = Duration::from_secs(1);
/// Whoever still waits for the runs of others then is told for which.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Supervises in this process, without runners, for as long as a verb has something to do: it talks to the supervisor
/// over the socket as it would to any other.
pub fn host(
    workspace: &Workspace,
    spec: WorkspaceSpec,
    left: Left,
    debug: bool,
    verb: impl AsyncFnOnce() -> Outcome,
    outlived: impl FnOnce(),
) -> Outcome {
    let chosen = Some(Vec::new());
    let role =
        Role { mode: ActorMode::Headless, headless: None, chosen, runners: Runners::None, left, debug };
    on_stage(workspace, spec, role, async |scene, handle, actor| {
        let busy = handle.busy();
        let ending = || Err(Failure::of_refusal("ask the supervisor", &Refusal::Ending));
        let (stand, stands) = oneshot::channel();
        let standing = || {
            // The verb waits for it, unless a signal has ended it.
            stand.send(()).ok();
        };
        let attending = attend(scene, handle, actor, &SystemClock, standing);
        let acting = async {
            if stands.await.is_err() {
                return ending();
            }
            let outcome = verb().await;
            // It ends when nothing is left: what others have set going meanwhile, and the command after a run, count.
            drop(busy);
            outcome
        };
        tokio::pin!(attending, acting);
        let (attended, outcome) = tokio::select! {
            attended = &mut attending => {
                // What the verb follows has come to a halt with it, and that is on record: it has a last word to say.
                let said = tokio::time::timeout(LAST_WORD, &mut acting).await;
                (attended, said.unwrap_or_else(|_| ending()))
            }
            outcome = &mut acting => {
                let attended = tokio::time::timeout(AT_ONCE, &mut attending).await;
                let attended = if let Ok(attended) = attended {
                    attended
                } else {
                    outlived();
                    attending.await
                };
                (attended, outcome)
            }
        };
        match attended? {
            ended @ Exit::Signal(_) => Ok(ended),
            Exit::Completed
            | Exit::Failed
            | Exit::Usage
            | Exit::Nothing
            | Exit::WaitTimeout
            | Exit::Code(_) => outcome,
        }
    })
}

/// Takes the workspace, puts a supervisor together, and lets it be played.
fn on_stage(
    workspace: &Workspace,
    spec: WorkspaceSpec,
    role: Role,
    play: impl AsyncFnOnce(Scene, Handle, Pin<Box<dyn Future<Output = Came> + Send>>) -> Outcome,
) -> Outcome {
    let data_dir = workspace.data_dir();
    private_dir(&data_dir).map_err(|error| Failure::io(format!("make {}", data_dir.display()), &error))?;
    let places = workspace.places(spec.cache_dir.as_deref());
    let lock = take_lock(workspace, &places)?;
    if let Err(error) = lock.make_room()
        && !apart(|| background::is_needed(workspace))
    {
        // What runs is looked after all the same; else nothing has begun that could be lost.
        let act = format!("begin to supervise: write {}", workspace.lock_file().display());
        return Err(Failure::io(act, &error));
    }
    // Held to the end: what waits is written when it goes.
    let _log = open_log(workspace, role.debug);
    settings::keep(workspace, &spec);
    let mut folders = places.runtime_dirs.clone();
    folders.push(data_dir);
    let place = Place { folders, lock_file: workspace.lock_file() };
    let runtime = runtime()?;
    let outcome = runtime.block_on(async {
        let signals = Signals::listen().map_err(|error| Failure::io("listen to signals", &error))?;
        // Before the state is taken over: a start that fails here leaves everything as it was.
        let bound = Bound::bind(&place.folders).map_err(|error| {
            Failure::new(Exit::Failed, "open the way for other verbs", error)
                .hint("`restage doctor` looks at the folders and at the limit of open files")
        })?;
        let successor = background::arguments(workspace, role.debug, role.runners);
        let is_headless = role.mode == ActorMode::Headless;
        let Role { chosen, mode, left, headless, .. } = role;
        let plan = Plan { workspace, places: &places, spec, chosen, mode, successor, left };
        let (handle, flows, actor) = assemble(plan)?;
        let root = workspace.root.clone();
        let scene = Scene { bound, place, workspace: root, lock, signals, headless, is_headless, flows };
        play(scene, handle, Box::pin(actor)).await
    });
    runtime.shutdown_timeout(LAST_THREADS);
    outcome
}

pub fn take_lock(workspace: &Workspace, places: &WorkspacePlaces) -> Result<WorkspaceLock, Failure> {
    // What cannot be made is told when the state is opened.
    DirBuilder::new().recursive(true).mode(0o700).create(&places.state_dir).ok();
    let second = places.state_dir.join(LOCK_FILE);
    let first = WorkspaceLock::take(&workspace.lock_file(), LOCK_PATIENCE, process::lives);
    let both = first.and_then(|lock| lock.also(&second, LOCK_PATIENCE, process::lives));
    both.map_err(|error| match &error {
        LockError::Held { holder, .. } => link::taken(workspace, holder.as_ref()),
        LockError::Io { path, source } => Failure::io(format!("lock {}", path.display()), source)
            .hint("supervision needs a folder that can be written to"),
    })
}

/// Without a log it works, too.
fn open_log(workspace: &Workspace, debug: bool) -> Option<OwnLog> {
    let folder = workspace.log_dir();
    own_log::start(&folder, debug)
        .map_err(|error| output::remark(&format!("restage: open the log in {}: {error}", folder.display())))
        .ok()
}
