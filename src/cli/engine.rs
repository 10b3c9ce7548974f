//! How a verb about runs gets an engine: it asks the supervisor that is there. Where there is none, one is started in the
//! background, for somebody at a terminal; else this process is one itself for as long as the verb takes.

use std::io::{self, IsTerminal};
use std::time::Duration;

use super::args::Global;
use super::commands::up;
use super::exit::Exit;
use super::failure::{Failure, Outcome};
use super::link::{self, Found};
use super::workspace::Workspace;
use super::{background, block_on, output, settings};
use crate::config::Missing;
use crate::control::client::{Client, ClientError, Incoming, Updates};
use crate::domain::flow::ask::{FlowReply, FlowRequest};
use crate::domain::flow::record::RunFilter;
use crate::domain::flow::refusal::Refusal;
use crate::domain::flow::status::RunStatus;
use crate::domain::spec::WorkspaceSpec;
use crate::keeper::footprint;
use crate::ports::Clock;
use crate::supervisor::clock::SystemClock;

/// Several verbs that find nobody may all want to be the supervisor, and only one can. The others ask that one, or, where
/// it has ended again, try once more; for so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// So often may a start fail while nobody is there who could be the reason.
const FAILURES: u32 = 2;

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
    /// It ends with the verb.
    Here,
}

/// For a verb that sets something going. Whether the supervisor ends with it is told by [`is_hosted`]. `spec`: the config,
/// where the verb has read it already.
pub fn with(
    global: &Global,
    workspace: &Workspace,
    host: Host,
    spec: Option<WorkspaceSpec>,
    verb: impl AsyncFnOnce(Client, Updates) -> Outcome,
) -> Outcome {
    let background = host == Host::Background || io::stdout().is_terminal();
    let stage = if background { Stage::Background } else { Stage::Here };
    play(global, workspace, stage, spec, verb)
}

/// Whoever judges, by name.
pub fn who() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten();
    user.map(|user| user.name)
        .or_else(|| std::env::var("USER").ok())
        .unwrap_or_else(|| nix::unistd::getuid().to_string())
}

/// One request of a verb that sets nothing going. A supervisor that it brings along ends at once, unless a run lay
/// unfinished here, which went on with it.
pub fn ask(
    global: &Global,
    workspace: &Workspace,
    act: &str,
    request: &FlowRequest,
) -> Result<FlowReply, Failure> {
    let until = SystemClock.now().mono.plus(PATIENCE);
    loop {
        let mut reply = None;
        let told = &mut reply;
        play(global, workspace, Stage::Here, None, async |client, updates| {
            *told = Some(client.flow(request.clone()).await);
            if is_hosted(&client) {
                let followed = until_nothing_runs(&client, updates).await;
                followed.map_err(|error| Failure::of_client("follow what lay unfinished here", &error))?;
            }
            Ok(Exit::Completed)
        })?;
        match reply {
            Some(Ok(reply)) => return Ok(reply),
            // Nothing was done: it was somebody's who has got what he wanted. The next one answers.
            Some(Err(ClientError::Declined(refusal)))
                if *refusal == Refusal::Ending && SystemClock.now().mono < until => {}
            Some(Err(error)) => return Err(Failure::of_client(act, &error)),
            None => return Err(Failure::of_client(act, &ClientError::Gone)),
        }
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
    verb: impl AsyncFnOnce(Client, Updates) -> Outcome,
) -> Outcome {
    let until = SystemClock.now().mono.plus(PATIENCE);
    let mut verb = Some(verb);
    let mut failures = 0;
    loop {
        let done = block_on(async {
            let Some((client, updates)) = link::connect_at_once(workspace).await? else { return Ok(None) };
            match verb.take() {
                Some(verb) => verb(client, updates).await.map(Some),
                None => Ok(None),
            }
        })??;
        if let Some(exit) = done {
            return Ok(exit);
        }
        // What runs without a supervisor must not end with this verb.
        let begun = if stage == Stage::Background || background::is_needed(workspace) {
            let started = background::start_for_runs(workspace, global.debug);
            started.map(|pid| output::remark(&format!("restage: supervisor {pid} works in the background")))
        } else {
            footprint::keep_little();
            let spec = match spec.take() {
                Some(spec) => spec,
                None => settings::load(workspace, Missing::Error)?,
            };
            let hosted = up::host(workspace, spec, global.debug, async || {
                let connected = link::connect_at_once(workspace).await?;
                let (client, updates) = connected.ok_or_else(|| link::nothing_runs(workspace))?;
                match verb.take() {
                    Some(verb) => verb(client, updates).await,
                    None => Ok(Exit::Completed),
                }
            });
            if verb.is_none() {
                return hosted;
            }
            match hosted {
                Ok(exit) => return Ok(exit),
                Err(failure) => Err(failure),
            }
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

/// With us ends the supervisor, and what it has taken up again would be interrupted.
async fn until_nothing_runs(client: &Client, mut updates: Updates) -> Result<(), ClientError> {
    client.subscribe().await?;
    loop {
        let filter = RunFilter { status: vec![RunStatus::Running], limit: Some(1), ..RunFilter::default() };
        match client.flow(FlowRequest::Runs(filter)).await? {
            FlowReply::Runs(runs) if !runs.is_empty() => {}
            FlowReply::Runs(_)
            | FlowReply::Run { .. }
            | FlowReply::Plan(_)
            | FlowReply::Shown(_)
            | FlowReply::Checkpoints { .. }
            | FlowReply::Edited { .. }
            | FlowReply::Can(_)
            | FlowReply::Collected(_)
            | FlowReply::Done => return Ok(()),
        }
        match updates.next().await {
            Some(Incoming::Update(_) | Incoming::Lagged) => {}
            None => return Ok(()),
        }
    }
}
