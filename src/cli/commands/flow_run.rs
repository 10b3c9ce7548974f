//! `run`, `retry`, `continue`, `cancel`: what sets runs going and what ends them.

use std::io::Read;

use super::follow::{self, Manner};
use crate::cli::args::{ApproveMode, ContinueArgs, Follow, Global, Output, RetryArgs, RunArgs};
use crate::cli::engine::{self, Host};
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output;
use crate::cli::settings;
use crate::cli::workspace::Workspace;
use crate::config::Missing;
use crate::control::client::{Client, ClientError, Updates};
use crate::domain::flow::ask::{ContinueWish, FlowReply, FlowRequest, RetryWish, RunWish};
use crate::domain::flow::ids::{BranchName, CheckpointId, FlowName, RunId, StageName};
use crate::domain::flow::inputs;
use crate::domain::flow::spec::FlowSpec;
use crate::domain::json::{Json, JsonMap};
use crate::domain::spec::WorkspaceSpec;
use crate::frontend::flow::plan;

pub fn run(global: &Global, workspace: &Workspace, args: RunArgs) -> Outcome {
    let spec = settings::load(workspace, Missing::Error)?;
    let flow = spec.flows.iter().find(|flow| flow.name.as_str() == args.flow).cloned();
    let mut given = match &args.inputs {
        Some(path) => read_inputs(path)?,
        None => JsonMap::new(),
    };
    given.extend(pairs(flow.as_deref(), &args.input)?);
    let wish = RunWish {
        flow: FlowName::trusted(args.flow.as_str()),
        inputs: given,
        key: args.key,
        caller: std::env::var("RESTAGE_RUN_ID").ok().filter(|run| !run.is_empty()).map(RunId::trusted),
        approve_all: args.follow.approve == Some(ApproveMode::Auto),
    };
    let act = format!("run {}", args.flow);
    set_going(global, workspace, &args.follow, Some(spec), act, FlowRequest::Run(wish))
}

pub fn retry(global: &Global, workspace: &Workspace, args: &RetryArgs) -> Outcome {
    let act = format!("retry {}", args.run);
    // The config is read only where it says what a value is.
    let flow = if args.set.is_empty() { None } else { flow_of(workspace, &args.run) };
    let wish = RetryWish {
        run: RunId::trusted(args.run.as_str()),
        branch: args.branch.as_deref().map(BranchName::trusted),
        from: args.from.as_deref().map(StageName::trusted),
        set: pairs(flow.as_deref(), &args.set)?,
        force: args.force,
        queue: args.queue,
        dry_run: args.dry_run,
        approve_all: args.follow.approve == Some(ApproveMode::Auto),
        who: Some(engine::who()),
        asker: None,
    };
    if !args.dry_run {
        return set_going(global, workspace, &args.follow, None, act, FlowRequest::Retry(wish));
    }
    let json = global.output == Output::Json;
    engine::with(global, workspace, Host::Verb, None, async |client, _| {
        match client.flow(FlowRequest::Retry(wish)).await {
            Ok(FlowReply::Plan(made)) if json => output::print_json(&made).map(|_| Exit::Completed),
            Ok(FlowReply::Plan(made)) => output::print(&plan::lines(&made)).map(|_| Exit::Completed),
            Ok(other) => Err(Failure::of_client(act, &ClientError::Nonsense(format!("{other:?}")))),
            Err(error) => Err(Failure::of_client(act, &error)),
        }
    })
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
    };
    set_going(global, workspace, &args.follow, None, act, FlowRequest::Continue(wish))
}

pub async fn cancel(client: Client, mut updates: Updates, run: &str, global: &Global) -> Outcome {
    let run = RunId::trusted(run);
    let act = format!("cancel {run}");
    follow::listen(&client).await?;
    // What is wrong with it is told by the answer to the request itself.
    let before = follow::show(&client, &run).await.ok();
    client
        .flow(FlowRequest::Cancel { run: run.clone() })
        .await
        .map_err(|error| Failure::of_client(act, &error))?;
    let manner = Manner {
        output: global.output,
        no_color: global.no_color,
        wait_for_people: true,
        allow_degraded: false,
        fresh: true,
    };
    if global.output == Output::Human {
        follow::follow(&client, &mut updates, &run, manner, before.as_deref()).await?;
        return Ok(Exit::Completed);
    }
    let ended = follow::until_rest(&client, &mut updates, &run, manner).await?;
    output::print_json(&serde_json::json!({ "run_id": run, "status": ended.run.status }))?;
    Ok(Exit::Completed)
}

/// Asks for it, says the name of the run, and follows it where that is wanted.
pub fn set_going(
    global: &Global,
    workspace: &Workspace,
    follow: &Follow,
    spec: Option<WorkspaceSpec>,
    act: String,
    request: FlowRequest,
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
    engine::with(global, workspace, host, spec, async |client, mut updates| {
        follow::listen(&client).await?;
        let before = match goes_on_with(&request) {
            Some(run) => follow::show(&client, &run).await.ok(),
            None => None,
        };
        let (run, fresh) = match client.flow(request).await {
            Ok(FlowReply::Run { run, existing }) => (run, !existing),
            Ok(other) => {
                return Err(Failure::of_client(act, &ClientError::Nonsense(format!("{other:?}"))));
            }
            Err(error) => return Err(Failure::of_client(act, &error)),
        };
        if manner.output == Output::Human {
            output::print(&format!("{run}\n"))?;
        }
        if follow.detach {
            if manner.output == Output::Json {
                output::print_json(&serde_json::json!({ "run_id": run, "existing": !fresh }))?;
            }
            return Ok(Exit::Completed);
        }
        let before = before.as_deref().filter(|before| before.run.run_id == run);
        follow::follow(&client, &mut updates, &run, Manner { fresh, ..manner }, before).await
    })
}

/// The run that is there already and may go on.
fn goes_on_with(request: &FlowRequest) -> Option<RunId> {
    if let FlowRequest::Continue(wish) = request { Some(wish.run.clone()) } else { None }
}

fn flow_of(workspace: &Workspace, run: &str) -> Option<std::sync::Arc<FlowSpec>> {
    let (flow, _) = run.rsplit_once('-')?;
    let spec = settings::load(workspace, Missing::Warning).ok()?;
    spec.flows.iter().find(|one| one.name.as_str() == flow).cloned()
}

/// `key=value`; what the value is, the flow says.
fn pairs(flow: Option<&FlowSpec>, given: &[String]) -> Result<JsonMap, Failure> {
    let mut map = JsonMap::new();
    for pair in given {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(Failure::new(Exit::Usage, format!("read {pair:?}"), "expected key=value")
                .hint("as in --input question=\"why\""));
        };
        let value = match flow {
            Some(flow) => inputs::from_text(flow, key, value)
                .map_err(|refusal| Failure::of_refusal(format!("read {key}"), &refusal))?,
            None => Json::string(value),
        };
        map.insert(key.to_owned(), value);
    }
    Ok(map)
}

/// A JSON object, from a file or from stdin.
fn read_inputs(path: &str) -> Result<JsonMap, Failure> {
    let act =
        if path == "-" { "read inputs from stdin".to_owned() } else { format!("read inputs from {path}") };
    let mut text = String::new();
    let read = if path == "-" {
        std::io::stdin().lock().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(path).map(|read| text = read)
    };
    read.map_err(|error| Failure::io(&act, &error))?;
    serde_json::from_str(&text).map_err(|error| {
        Failure::new(Exit::Usage, act, error).hint("a JSON object with a value for each input")
    })
}
