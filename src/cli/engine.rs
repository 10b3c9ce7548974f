//! How a verb about runs gets an engine: it asks the supervisor that is there. Where there is none, one is started in the
//! background, for somebody at a terminal; else this process is one itself for as long as the verb takes.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot};

use super::args::{Global, Output};
use super::commands::up;
use super::exit::Exit;
use super::failure::{Failure, Outcome};
use super::history::failed;
use super::link::{self, Found};
use super::workspace::Workspace;
use super::{background, block_on, flows, output, settings};
use crate::config::Missing;
use crate::control::client::{Client, ClientError, Updates};
use crate::control::lock::WorkspaceLock;
use crate::domain::flow::ask::{FlowReply, FlowRequest};
use crate::domain::flow::ids::RunId;
use crate::domain::flow::record::RunFilter;
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::status::RunStatus;
use crate::domain::spec::WorkspaceSpec;
use crate::flow::engine::{Engine, Input, Left, Parts, Place};
use crate::flow::handle::FlowAsk;
use crate::keeper::footprint;
use crate::ports::Clock;
use crate::ports::store::Store;
use crate::store::sqlite::SqliteStore;
use crate::supervisor::clock::SystemClock;
use crate::supervisor::guest::GuestEvent;
use crate::supervisor::handle::Handle;

/// Several verbs that find nobody may all want to be the supervisor, and only one can. The others ask that one, or, where
/// it has ended again, try once more; for so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// So often may a start fail while nobody is there who could be the reason.
const FAILURES: u32 = 2;

/// So many runs at most are named on a line.
const MOST_NAMED: usize = 5;

/// Who lives longer, where nobody supervises yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// The verb waits for what it has set going; on a terminal that goes on without it, too.
    Verb,
    /// What it has set going goes on without it.
    Background,
}

/// Where the supervisor lives that a verb brings along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It goes on without us.
    Background,
    /// It ends with the verb, which only asks where what lay unfinished stays so.
    Here(Left),
}

/// Who has answered.
#[derive(Debug)]
pub enum Answered<T> {
    /// The supervisor that is there.
    There(T),
    /// Nobody supervises, and the records were enough.
    OnRecord(FlowReply),
}

/// For a verb that sets something going. Whether the supervisor ends with it is told by [`is_hosted`]. `spec`: the config,
/// where the verb has read it already. Its `None` says that the supervisor is ending, and that it wants another.
pub fn with(
    global: &Global,
    workspace: &Workspace,
    host: Host,
    spec: Option<WorkspaceSpec>,
    verb: impl AsyncFnMut(Client, Updates) -> Result<Option<Exit>, Failure>,
) -> Outcome {
    let background = host == Host::Background || io::stdout().is_terminal();
    let stage = if background { Stage::Background } else { Stage::Here(Left::GoesOn) };
    play(global, workspace, stage, spec, verb)
}

/// Whoever judges, by name.
pub fn who() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten();
    user.map(|user| user.name)
        .or_else(|| std::env::var("USER").ok())
        .unwrap_or_else(|| nix::unistd::getuid().to_string())
}

/// One request of a verb that sets nothing going. A supervisor that it brings along lets runs that lay unfinished lie,
/// and ends with the verb.
pub fn ask(
    global: &Global,
    workspace: &Workspace,
    act: &str,
    request: &FlowRequest,
) -> Result<FlowReply, Failure> {
    let mut reply = None;
    play(global, workspace, Stage::Here(Left::Stays), None, async |client, _updates| {
        match client.flow(request.clone()).await {
            Ok(answer) => reply = Some(answer),
            Err(error) if is_ending(&error) => return Ok(None),
            Err(error) => return Err(Failure::of_request(act, request, &error)),
        }
        Ok(Some(Exit::Completed))
    })?;
    reply.ok_or_else(|| Failure::of_request(act, request, &ClientError::Gone))
}

/// Nothing was done, and the next one can be asked: it was somebody's who has got what he wanted.
pub fn is_ending(error: &ClientError) -> bool {
    matches!(error, ClientError::Declined(refusal) if **refusal == Refusal::Ending)
}

/// One request for which the records are enough: where nobody supervises, neither a supervisor nor a config is needed for
/// it. `there` asks the one that is there; its `None` says that it is ending.
pub fn settle<T>(
    global: &Global,
    workspace: &Workspace,
    act: &str,
    request: &FlowRequest,
    there: impl AsyncFn(Client, Updates) -> Result<Option<T>, Failure>,
) -> Result<Answered<T>, Failure> {
    let until = SystemClock.now().mono.plus(PATIENCE);
    loop {
        let asked = block_on(async {
            match link::connect(workspace).await? {
                Some((client, updates)) => there(client, updates).await.map(Some),
                None => Ok(None),
            }
        })??;
        let failure = match asked {
            Some(Some(answer)) => return Ok(Answered::There(answer)),
            Some(None) => Failure::of_refusal(act, &Refusal::Ending),
            None if background::is_needed(workspace) => {
                start_in_background(global, workspace)?;
                continue;
            }
            None => {
                let places = workspace.places(settings::state_dir(workspace).as_deref());
                match up::take_lock(workspace, &places).map(WorkspaceLock::of_no_supervisor) {
                    Ok(_lock) => return on_record(workspace, act, request).map(Answered::OnRecord),
                    // Somebody was quicker, and can be asked.
                    Err(failure) => failure,
                }
            }
        };
        if SystemClock.now().mono >= until {
            return Err(failure);
        }
    }
}

/// For whoever holds the lock of the workspace: an engine that knows no more than the history, and starts nothing.
fn on_record(workspace: &Workspace, act: &str, request: &FlowRequest) -> Result<FlowReply, Failure> {
    let path = flows::history(workspace);
    let store = SqliteStore::open(&path).map_err(|error| failed(act, &error))?;
    let (own, inputs) = std::sync::mpsc::channel();
    let (guests, _orders) = mpsc::unbounded_channel();
    let (requests, _requested) = mpsc::channel(1);
    let (updates, _told) = broadcast::channel(1);
    let engine = Engine::new(Parts {
        clock: Arc::new(SystemClock),
        store: Box::new(store),
        place: Place { root: workspace.root.clone(), data_dir: workspace.data_dir() },
        flows: Vec::new(),
        guests,
        handle: Handle::new(requests, updates),
        holder: flows::holder(),
        own,
        left: Left::Stays,
    });
    let (answer, mut answered) = oneshot::channel();
    let (done, _ended) = oneshot::channel();
    let course = vec![
        Input::Guest(GuestEvent::Inventory(Vec::new())),
        Input::Ask(FlowAsk { request: request.clone(), answer }),
        Input::End(done),
    ];
    engine.run(course, &inputs);
    match answered.try_recv() {
        Ok(reply) => reply.map_err(|refusal| Failure::of_refusal(act, &refusal)),
        Err(_) => Err(Failure::of_refusal(act, &Refusal::Ending)),
    }
}

/// The supervisor is this process.
pub fn is_hosted(client: &Client) -> bool {
    u32::try_from(client.welcome.supervisor_pid).is_ok_and(|pid| pid == std::process::id())
}

fn play(
    global: &Global,
    workspace: &Workspace,
    stage: Stage,
    mut spec: Option<WorkspaceSpec>,
    mut verb: impl AsyncFnMut(Client, Updates) -> Result<Option<Exit>, Failure>,
) -> Outcome {
    let until = SystemClock.now().mono.plus(PATIENCE);
    let ending = || Failure::of_refusal("ask the supervisor", &Refusal::Ending);
    let mut failures = 0;
    loop {
        let asked = block_on(async {
            match link::connect(workspace).await? {
                Some((client, updates)) => verb(client, updates).await.map(Some),
                None => Ok(None),
            }
        })??;
        match asked {
            Some(Some(exit)) => return Ok(exit),
            Some(None) if SystemClock.now().mono >= until => return Err(ending()),
            Some(None) => continue,
            None => {}
        }
        // What runs without a supervisor must not end with this verb.
        let begun = match stage {
            Stage::Here(left) if !background::is_needed(workspace) => {
                footprint::keep_little();
                let spec = match spec.take() {
                    Some(spec) => spec,
                    None => settings::load(workspace, Missing::Error)?,
                };
                let lying = if left == Left::GoesOn { unfinished(workspace) } else { Vec::new() };
                let mut acted = false;
                let hosted = up::host(
                    workspace,
                    spec,
                    left,
                    global.debug,
                    async || {
                        let (client, updates) = link::require(workspace).await?;
                        tell_resumed(&lying);
                        acted = true;
                        let outcome = verb(client, updates).await.and_then(|exit| exit.ok_or_else(ending));
                        match outcome {
                            // The process may stay for what others have set going here.
                            Err(failure) if left == Left::GoesOn => {
                                failure.tell(global.output == Output::Json);
                                Ok(failure.exit)
                            }
                            outcome => outcome,
                        }
                    },
                    || tell_outlived(&unfinished(workspace)),
                );
                match hosted {
                    Err(failure) if !acted => Err(failure),
                    hosted => return hosted,
                }
            }
            Stage::Here(_) | Stage::Background => start_in_background(global, workspace),
        };
        match begun {
            Ok(()) => {}
            // Somebody was quicker, and can be asked, unless he has ended already.
            Err(failure) => {
                failures += 1;
                let is_there = link::who(workspace) != Found::Nobody;
                if failures > FAILURES && !is_there || SystemClock.now().mono >= until {
                    return Err(failure);
                }
            }
        }
    }
}

/// The verb has ended, and runs of others go on in this process.
fn tell_outlived(runs: &[RunId]) {
    if !runs.is_empty() {
        let (go, them) = if runs.len() == 1 { ("goes", "it") } else { ("go", "them") };
        output::remark(&format!("restage: {} {go} on in this process, which waits for {them}", named(runs)));
    }
}

fn start_in_background(global: &Global, workspace: &Workspace) -> Result<(), Failure> {
    let lying = unfinished(workspace);
    let pid = background::start_for_runs(workspace, global.debug)?;
    output::remark(&format!("restage: supervisor {pid} works in the background"));
    tell_resumed(&lying);
    Ok(())
}

/// Runs that go on, or that the next supervisor goes on with.
fn unfinished(workspace: &Workspace) -> Vec<RunId> {
    let status = vec![RunStatus::Running, RunStatus::Queued];
    let filter = RunFilter { status, ..RunFilter::default() };
    let Ok(Some(mut store)) = SqliteStore::open_read(&flows::history(workspace)) else { return Vec::new() };
    let runs = store.runs(&filter).unwrap_or_default();
    runs.into_iter().rev().map(|run| run.run_id).collect()
}

fn tell_resumed(runs: &[RunId]) {
    if !runs.is_empty() {
        output::remark(&format!("restage: went on with {}, which lay unfinished", named(runs)));
    }
}

fn named(runs: &[RunId]) -> String {
    let named: Vec<&str> = runs.iter().take(MOST_NAMED).map(RunId::as_str).collect();
    let more = match runs.len().saturating_sub(MOST_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", named.join(", "))
}
