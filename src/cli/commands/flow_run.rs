//! `run`, `retry`, `continue`, `cancel`: what sets runs going and what ends them.

use std::cell::{Cell, OnceCell};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::panic::resume_unwind;
use std::thread;

use super::ends::tell_hook;
use super::follow::{self, Line, Manner};
use crate::cli::args::{ApproveMode, ContinueArgs, Follow, Global, Output, RetryArgs, RunArgs};
use crate::cli::engine::{self, Answered, Host};
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::flow_args::RunArg;
use crate::cli::history::History;
use crate::cli::output;
use crate::cli::settings;
use crate::cli::workspace::Workspace;
use crate::config::Missing;
use crate::control::client::{Client, ClientError, Updates};
use crate::domain::flow::ask::{ContinueWish, FlowReply, FlowRequest, RetryWish, RunWish, Shown};
use crate::domain::flow::ids::{BranchName, CheckpointId, FlowName, RunId, StageName};
use crate::domain::flow::inputs;
use crate::domain::flow::spec::FlowSpec;
use crate::domain::flow::status::RunStatus;
use crate::domain::json::{self, Json, JsonMap, NoObject};
use crate::domain::spec::WorkspaceSpec;
use crate::frontend::flow::plan;

/// Of all inputs together, as of an output.
const MAX_INPUT_BYTES: u64 = 64 << 20;

pub fn run(global: &Global, workspace: &Workspace, args: RunArgs) -> Outcome {
    let spec = today(workspace, !args.input.is_empty())?;
    let flow = spec.iter().flat_map(|spec| &spec.flows).find(|flow| flow.name.as_str() == args.flow);
    let mut given = match &args.inputs {
        Some(path) => read_inputs(path)?,
        None => JsonMap::new(),
    };
    given.extend(pairs(flow.map(AsRef::as_ref), &args.input)?);
    let wish = RunWish {
        flow: FlowName::trusted(args.flow.as_str()),
        inputs: given,
        key: args.key,
        caller: std::env::var("RESTAGE_RUN_ID").ok().filter(|run| !run.is_empty()).map(RunId::trusted),
        approve_all: args.follow.approve == Some(ApproveMode::Auto),
    };
    let act = format!("run {}", args.flow);
    set_going(global, workspace, &args.follow, spec, &act, &FlowRequest::Run(wish), &Before::New)
}

pub fn retry(global: &Global, workspace: &Workspace, args: &RetryArgs) -> Outcome {
    let run = RunId::trusted(args.run.as_str());
    let (spec, history) = if args.set.is_empty() && settings::is_in_force(workspace) {
        (None, History::open(workspace))
    } else {
        // Of thousands of stages each takes a while, so one is read beside the other.
        thread::scope(|scope| {
            let reading = scope.spawn(|| History::open(workspace).map(|history| history.ahead(&run)));
            let spec = settings::load(workspace, Missing::Error)?;
            let history = reading.join().unwrap_or_else(|panic| resume_unwind(panic));
            Ok((Some(spec), history))
        })?
    };
    let flow = spec.as_ref().and_then(|spec| flow_of(spec, &args.run));
    let wish = RetryWish {
        run,
        branch: args.branch.as_deref().map(BranchName::trusted),
        from: args.from.as_deref().map(StageName::trusted),
        set: pairs(flow, &args.set)?,
        force: args.force,
        queue: args.queue,
        dry_run: args.dry_run,
        seen: None,
        approve_all: args.follow.approve == Some(ApproveMode::Auto),
        who: Some(engine::who()),
        asker: None,
    };
    if args.dry_run {
        let made = history?.knowing(spec.as_ref()).plan(&wish)?;
        let printed = match global.output {
            Output::Json => output::print_json(&made),
            Output::Human => output::print(&plan::lines(&made)),
        };
        return printed.map(|_| Exit::Completed);
    }
    let act = format!("retry {}", args.run);
    let request = FlowRequest::Retry(wish);
    if let Ok(history) = history {
        history.knowing(spec.as_ref()).refuse(&request, &act)?;
    }
    set_going(global, workspace, &args.follow, spec, &act, &request, &Before::New)
}

pub fn proceed(global: &Global, workspace: &Workspace, args: &ContinueArgs) -> Outcome {
    let act = format!("continue {}", args.run);
    let checkpoint = args
        .checkpoint
        .as_deref()
        .map(CheckpointId::parse)
        .transpose()
        .map_err(|why| Failure::new(Exit::Usage, &act, why))?;
    let wish = ContinueWish {
        run: RunId::trusted(args.run.as_str()),
        branch: args.branch.as_deref().map(BranchName::trusted),
        checkpoint,
        force_retry: args.force_retry,
        who: engine::who(),
        approve_all: args.follow.approve == Some(ApproveMode::Auto),
        lay: None,
    };
    let mut before = Before::Of(wish.run.clone());
    if let Ok(mut history) = History::open(workspace) {
        history.refuse(&FlowRequest::Continue(wish.clone()), &act)?;
        if let Some(lies) = history.lies(&wish) {
            before = Before::Lay(Box::new(lies));
        } else if !history.may_go_on(&wish.run) {
            before = Before::New;
        }
    }
    let lay = if let Before::Lay(lies) = &before { Some(lies.run.run_id.clone()) } else { None };
    let wish = ContinueWish { lay, ..wish };
    set_going(global, workspace, &args.follow, None, &act, &FlowRequest::Continue(wish), &before)
}

/// The run that is asked for, as it was before that.
enum Before {
    /// What goes on is another one, which is yet to begin.
    New,
    /// It lay unfinished, and is only taken up again.
    Lay(Box<Shown>),
    /// It is there already and may go on.
    Of(RunId),
}

pub fn cancel(global: &Global, workspace: &Workspace, args: &RunArg) -> Outcome {
    let run = RunId::trusted(args.run.as_str());
    let act = format!("cancel {run}");
    drop(History::open(workspace)?);
    let request = FlowRequest::Cancel { run: run.clone() };
    let there = async |client: Client, updates: Updates| {
        let mut line = Line::new(workspace, client, updates);
        cancel_there(&mut line, &run, global, &act, &request).await
    };
    let status = match engine::settle(global, workspace, &act, &request, there)? {
        Answered::There(status) => status,
        Answered::OnRecord(_) => {
            let ended = History::open(workspace)?.recorded(&run)?.run;
            if global.output == Output::Human {
                follow::tell_end(&ended);
            }
            ended.status
        }
    };
    if global.output == Output::Json {
        output::print_json(&serde_json::json!({ "run_id": run, "status": status }))?;
    }
    Ok(Exit::Completed)
}

/// Where it came to rest.
async fn cancel_there(
    line: &mut Line<'_>,
    run: &RunId,
    global: &Global,
    act: &str,
    request: &FlowRequest,
) -> Result<Option<RunStatus>, Failure> {
    if !follow::listen(&line.client, false).await? {
        return Ok(None);
    }
    // What is wrong with it is told by the answer to the request itself.
    let before = line.look(run).await.ok();
    match line.client.flow(request.clone()).await {
        Ok(_) => {}
        Err(error) if engine::is_ending(&error) => return Ok(None),
        Err(error) => return Err(Failure::of_request(act, request, &error)),
    }
    let manner = Manner {
        output: global.output,
        no_color: global.no_color,
        wait_for_people: true,
        allow_degraded: false,
        fresh: true,
    };
    if global.output == Output::Human {
        follow::follow(line, run, manner, before.as_deref()).await?;
    }
    let ended = follow::until_rest(line, run, manner).await?;
    Ok(Some(ended.run.status))
}

/// Asks for it, says the name of the run, and follows it where that is wanted.
fn set_going(
    global: &Global,
    workspace: &Workspace,
    follow: &Follow,
    spec: Option<WorkspaceSpec>,
    act: &str,
    request: &FlowRequest,
    before: &Before,
) -> Outcome {
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
    let manner = Manner {
        output: global.output,
        no_color: global.no_color,
        wait_for_people: match follow.approve {
            Some(ApproveMode::Wait) => true,
            Some(ApproveMode::Exit | ApproveMode::Auto) => false,
            None => terminal,
        },
        allow_degraded: follow.allow_degraded,
        fresh: true,
    };
    let host = if follow.detach { Host::Background } else { Host::Verb };
    let ours = Cell::new(None);
    let exit = engine::with(global, workspace, host, spec, async |client, updates| {
        let mut line = Line::new(workspace, client, updates);
        if !follow::listen(&line.client, manner.draws()).await? {
            return Ok(None);
        }
        let before = match before {
            Before::New => None,
            Before::Lay(lies) => Some(lies.clone()),
            Before::Of(run) => line.look(run).await.ok(),
        };
        let (hosted, asked) = (engine::is_hosted(&line.client), OnceCell::new());
        let following = async {
            let (run, existing) = match line.client.flow(request.clone()).await {
                Ok(FlowReply::Run { run, existing }) => (run, existing),
                Ok(other) => {
                    return Err(Failure::of_client(act, &ClientError::Nonsense(format!("{other:?}"))));
                }
                Err(error) if engine::is_ending(&error) => return Ok(None),
                Err(error) => return Err(Failure::of_request(act, request, &error)),
            };
            let run = asked.get_or_init(|| run);
            if manner.output == Output::Human {
                output::print(&format!("{run}\n"))?;
            }
            let before = before.as_deref().filter(|before| before.run.run_id == *run);
            // One that was there may have ended long ago, unless it has been seen before its end.
            let fresh = !existing || before.is_some_and(|before| !before.run.status.is_final());
            if manner.output == Output::Json && (follow.detach || !fresh) {
                output::print_json(&serde_json::json!({ "run_id": run, "existing": existing }))?;
            }
            if let (FlowRequest::Run(RunWish { key: Some(key), .. }), true, Output::Human) =
                (request, existing, manner.output)
            {
                output::remark(&format!("restage: {run} was begun with the key {key} before"));
            }
            if follow.detach {
                return Ok(Some(Exit::Completed));
            }
            ours.set((hosted && fresh).then(|| run.clone()));
            follow::follow(&mut line, run, Manner { fresh, ..manner }, before).await.map(Some)
        };
        follow::until_left(hosted, manner, &asked, following).await
    })?;
    tell_hook(workspace, ours.take(), manner.output);
    Ok(exit)
}

/// The config as it is today: where that is broken, a supervisor goes on with what it has read, but nothing is begun.
/// `None` where the supervisor has read this very text, unless the verb has to look something up in it.
fn today(workspace: &Workspace, wanted: bool) -> Result<Option<WorkspaceSpec>, Failure> {
    if !wanted && settings::is_in_force(workspace) {
        return Ok(None);
    }
    settings::load(workspace, Missing::Error).map(Some)
}

fn flow_of<'s>(spec: &'s WorkspaceSpec, run: &str) -> Option<&'s FlowSpec> {
    let (flow, _) = run.rsplit_once('-')?;
    spec.flows.iter().find(|one| one.name.as_str() == flow).map(AsRef::as_ref)
}

/// `key=value`; what the value is, the flow says.
fn pairs(flow: Option<&FlowSpec>, given: &[String]) -> Result<JsonMap, Failure> {
    let mut map = JsonMap::new();
    for pair in given {
        let Some((key, value)) = pair.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(Failure::new(Exit::Usage, format!("read {pair:?}"), "expected key=value")
                .hint("as in --input question=\"why\""));
        };
        let value = match flow {
            Some(flow) => inputs::from_text(flow, key, value)
                .map_err(|refusal| Failure::of_refusal(format!("read {key}"), &refusal))?,
            None => Json::string(value),
        };
        if map.insert(key.to_owned(), value).is_some() {
            let cause = format!("{key} is given twice");
            return Err(Failure::new(Exit::Usage, format!("read {pair:?}"), cause).hint("give it once"));
        }
    }
    Ok(map)
}

/// A JSON object, from a file or from stdin.
fn read_inputs(path: &str) -> Result<JsonMap, Failure> {
    let act = if path == "-" {
        "read inputs from stdin".to_owned()
    } else {
        let place = std::path::absolute(path).unwrap_or_else(|_| path.into());
        format!("read inputs from {}", place.display())
    };
    let mut text = Vec::new();
    let read = if path == "-" {
        std::io::stdin().lock().take(MAX_INPUT_BYTES + 1).read_to_end(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(MAX_INPUT_BYTES + 1).read_to_end(&mut text))
    };
    let read = read.map_err(|error| {
        let failure = Failure::io(&act, &error);
        if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) {
            return failure.hint(
                "name a file with a JSON object, a value for each input; or `-`, and write it to stdin",
            );
        }
        failure
    })?;
    if read as u64 > MAX_INPUT_BYTES {
        let cause = "inputs may have 64 MiB together, and these have more";
        return Err(Failure::new(Exit::Usage, act, cause)
            .hint("write large things to a file, and give its path as an input"));
    }
    let wrong = |cause: String| {
        Failure::new(Exit::Usage, act, cause).hint("a JSON object with a value for each input")
    };
    let text = match str::from_utf8(&text) {
        Ok(text) => text,
        Err(error) => return Err(wrong(error.to_string())),
    };
    json::object(text).map_err(|NoObject { key, message }| {
        wrong(key.map_or_else(|| message.clone(), |key| format!("{key:?}: {message}")))
    })
}
