//! Verbs that judge: `approve`, `reject`; and those that set nothing going: `fork`, `unlock`, `delete`, `gc`.

use std::cell::Cell;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use super::ends::tell_hook;
use super::follow::{self, Line, Manner};
use crate::cli::args::{ApproveMode, Global, Output};
use crate::cli::engine::{self, Answered, Host};
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::flow_args::{ApproveArgs, DeleteArgs, ForkArgs, GcArgs, GoOn, RejectArgs, RunArg};
use crate::cli::history::{History, unexpected};
use crate::cli::output;
use crate::cli::workspace::Workspace;
use crate::control::client::{Client, Updates};
use crate::domain::flow::ask::{ApproveWish, FlowReply, FlowRequest, ForkWish, RejectWish};
use crate::domain::flow::ids::{BranchName, CheckpointId, RunId, StageName};
use crate::domain::flow::may::{self, Judged};
use crate::domain::flow::proceed::with_what_works;
use crate::domain::flow::refusal::Refusal;
use crate::frontend::text::{bytes, one_line};

pub fn approve(global: &Global, workspace: &Workspace, args: &ApproveArgs) -> Outcome {
    let run = RunId::trusted(args.run.as_str());
    let act = match &args.stage {
        Some(stage) => format!("approve {stage} of {run}"),
        None => format!("approve {run}"),
    };
    let judged = looked_at(workspace, &run, args.stage.as_deref(), args.hash.as_deref(), &act)?;
    let wish = ApproveWish {
        run: judged.run.clone(),
        stage: Some(judged.checkpoint.stage.clone()),
        checkpoint: Some(judged.checkpoint.clone()),
        hash: Some(judged.hash.clone()),
        who: engine::who(),
        note: args.note.clone(),
        approve_all: args.go_on.approve == Some(ApproveMode::Auto),
    };
    judge(global, workspace, &args.go_on, &act, &FlowRequest::Approve(wish), &judged)
}

pub fn reject(global: &Global, workspace: &Workspace, args: &RejectArgs) -> Outcome {
    let run = RunId::trusted(args.run.as_str());
    let act = format!("reject {} of {run}", args.stage);
    let judged = looked_at(workspace, &run, Some(&args.stage), args.hash.as_deref(), &act)?;
    let wish = RejectWish {
        run: judged.run.clone(),
        stage: judged.checkpoint.stage.clone(),
        checkpoint: Some(judged.checkpoint.clone()),
        rewind_to: args.rewind_to.as_deref().map(StageName::trusted),
        hash: Some(judged.hash.clone()),
        feedback: feedback(&args.feedback)?,
        who: engine::who(),
        approve_all: args.go_on.approve == Some(ApproveMode::Auto),
    };
    judge(global, workspace, &args.go_on, &act, &FlowRequest::Reject(wish), &judged)
}

/// So many digits of a hash at least name it.
const DIGITS: usize = 12;

/// What waits, by the very function that decides: it is told, and nothing that has taken its place meanwhile is judged.
/// `stage` may name the version, `hash` may be its beginning.
fn looked_at(
    workspace: &Workspace,
    run: &RunId,
    stage: Option<&str>,
    hash: Option<&str>,
    act: &str,
) -> Result<Judged, Failure> {
    let named = stage.filter(|stage| stage.contains('@')).map(CheckpointId::parse).transpose();
    let named = named.map_err(|why| {
        Failure::new(Exit::Usage, act, why).hint(format!("the tree: restage checkpoints {run}"))
    })?;
    let stage = named.as_ref().map(|id| id.stage.clone()).or_else(|| stage.map(StageName::trusted));
    if hash.is_some_and(|hash| hash.len() < DIGITS) {
        return Err(Failure::new(Exit::Usage, act, "the hash is too short to be sure")
            .hint(format!("its first {DIGITS} digits are enough")));
    }
    let mut history = History::open(workspace)?;
    let record = history.show_for(run, act)?.what.run;
    let look = |desk: &mut crate::flow::engine::desk::Desk<'_>| {
        let whole = desk.whole(&record)?;
        let lineage = whole.lineage();
        let judged = may::may_judge(&lineage, &record, stage.as_ref(), named.as_ref(), None)
            .map_err(|refusal| with_what_works(&lineage, refusal, &mut desk.ahead(false)))?;
        if hash.is_some_and(|hash| !judged.hash.as_str().starts_with(hash)) {
            return Err(Refusal::Stale { run: judged.run, checkpoint: judged.checkpoint });
        }
        Ok(judged)
    };
    history.desk(look, act)
}

/// The text itself, or what a file says.
fn feedback(given: &str) -> Result<String, Failure> {
    let path = match given.strip_prefix('@') {
        Some(path) => path,
        None if Path::new(given).is_file() => given,
        None => return Ok(given.to_owned()),
    };
    let mut text = String::new();
    let read = if path == "-" {
        io::stdin().lock().read_to_string(&mut text).map(drop)
    } else {
        fs::read_to_string(path).map(|read| text = read)
    };
    read.map_err(|error| Failure::io(format!("read the feedback from {path}"), &error))?;
    Ok(text.trim_end().to_owned())
}

/// A run that waited goes on: in the supervisor that is there, or with this verb, which then waits for it.
fn judge(
    global: &Global,
    workspace: &Workspace,
    go_on: &GoOn,
    act: &str,
    request: &FlowRequest,
    judged: &Judged,
) -> Outcome {
    let run = &judged.run;
    let stage = &judged.checkpoint.stage;
    let (done, next) = match (matches!(request, FlowRequest::Reject(_)), &judged.branch) {
        (true, None) => ("rejected", format!("to have it made anew: restage retry {run}")),
        (false, None) => {
            ("approved", format!("to go on from there: restage continue {run}, or restage retry {run}"))
        }
        (true, Some(branch)) => (
            "rejected",
            format!("put something else in its place: restage edit {run} {stage} --branch {branch}"),
        ),
        (false, Some(branch)) => {
            ("approved", format!("to go on from there: restage continue {run} --branch {branch}"))
        }
    };
    let json = go_on.json || global.output == Output::Json;
    let wanted = go_on.follow();
    let manner = Manner {
        output: if json { Output::Json } else { Output::Human },
        no_color: global.no_color,
        wait_for_people: match wanted.approve {
            Some(ApproveMode::Wait) => true,
            Some(ApproveMode::Exit | ApproveMode::Auto) => false,
            None => io::IsTerminal::is_terminal(&io::stdout()),
        },
        allow_degraded: wanted.allow_degraded,
        fresh: true,
    };
    let host = if wanted.detach { Host::Background } else { Host::Verb };
    let ours = Cell::new(None);
    let exit = engine::with(global, workspace, host, None, async |client, updates| {
        let mut line = Line::new(workspace, client, updates);
        if !follow::listen(&line.client, manner.draws()).await? {
            return Ok(None);
        }
        // What is wrong with it is told by the answer to the request itself.
        let before = line.look(run).await.ok();
        // Where nothing has run, nothing goes on by it.
        let ended =
            judged.branch.is_some() || before.as_ref().is_some_and(|shown| shown.run.status.is_final());
        match line.client.flow(request.clone()).await {
            Ok(FlowReply::Run { .. } | FlowReply::Done) => {}
            Ok(other) => return Err(unexpected(act, &other)),
            Err(error) if engine::is_ending(&error) => return Ok(None),
            Err(error) => return Err(Failure::of_request(act, request, &error)),
        }
        let hosted = engine::is_hosted(&line.client);
        let follows = !ended && !wanted.detach && (wanted.watch || hosted);
        if !json {
            let next = if ended { format!("; {next}") } else { String::new() };
            let hash = judged.hash.as_str();
            let hash = hash.get(..DIGITS).unwrap_or(hash);
            output::remark(&format!("{done} {} ({hash}…){next}", judged.checkpoint));
            output::print(&format!("{run}\n"))?;
        } else if !follows {
            output::print_json(&serde_json::json!({
                "run_id": run, "ended": ended, "checkpoint": judged.checkpoint, "hash": judged.hash,
            }))?;
        }
        if !follows {
            return Ok(Some(Exit::Completed));
        }
        ours.set(hosted.then(|| run.clone()));
        let following = async { follow::follow(&mut line, run, manner, before.as_deref()).await.map(Some) };
        follow::until_left(hosted, manner, &run.clone().into(), following).await
    })?;
    tell_hook(workspace, ours.take(), manner.output);
    Ok(exit)
}

pub fn fork(global: &Global, workspace: &Workspace, args: &ForkArgs) -> Outcome {
    let act = format!("fork {} at {}", args.run, args.at);
    let at = CheckpointId::parse(&args.at).map_err(|why| {
        Failure::new(Exit::Usage, &act, why).hint(format!("the tree: restage checkpoints {}", args.run))
    })?;
    let named = |cause: String| Failure::new(Exit::Usage, &act, cause);
    let branch =
        if args.branch.is_empty() { Err(named("a branch needs a name".into())) } else { Ok(&args.branch) };
    let branch = branch
        .and_then(|branch| {
            BranchName::parse(branch).map_err(|why| named(format!("a branch cannot be called so: {why}")))
        })
        .map_err(|failure| failure.hint("as in --branch darker"))?;
    let run = RunId::trusted(args.run.as_str());
    let mut history = History::open(workspace)?;
    let wish = ForkWish { run: run.clone(), at: at.clone(), branch: branch.clone(), who: engine::who() };
    let reply = engine::ask(global, workspace, &act, &FlowRequest::Fork(wish))?;
    if reply != FlowReply::Done {
        return Err(unexpected(&act, &reply));
    }
    if args.json || global.output == Output::Json {
        output::print_json(&serde_json::json!({ "branch_name": branch, "forked_from": at }))?;
    } else {
        output::print(&format!("{branch}\n"))?;
        // What can be done there is told by whoever decides it.
        let branches = history.show(&run)?.what.branches;
        let there = branches.into_iter().find(|view| view.branch.branch_name == branch);
        output::remark(&match there.filter(|view| !view.can_continue) {
            Some(view) => format!("it leaves at {at}; {}", view.reason),
            None => format!(
                "it leaves at {at}; edit what it stands on, or go on there: restage continue {run} --branch {branch}"
            ),
        });
    }
    Ok(Exit::Completed)
}

pub fn unlock(global: &Global, workspace: &Workspace, args: &RunArg) -> Outcome {
    let act = format!("unlock {}", args.run);
    let run = RunId::trusted(args.run.as_str());
    drop(History::open(workspace)?);
    let request = FlowRequest::Unlock { run: run.clone() };
    let there = async |client: Client, _: Updates| match client.flow(request.clone()).await {
        Ok(reply) => Ok(Some(reply)),
        Err(error) if engine::is_ending(&error) => Ok(None),
        Err(error) => Err(Failure::of_request(&act, &request, &error)),
    };
    let (Answered::There(reply) | Answered::OnRecord(reply)) =
        engine::settle(global, workspace, &act, &request, there)?;
    if reply != FlowReply::Done {
        return Err(unexpected(&act, &reply));
    }
    if args.json || global.output == Output::Json {
        output::print_json(&serde_json::json!({ "run_id": run }))?;
    } else {
        output::remark(&format!(
            "the lineage of {run} is free: restage continue {run} goes on with what was interrupted, restage retry starts anew from what has ended"
        ));
    }
    Ok(Exit::Completed)
}

pub fn delete(global: &Global, workspace: &Workspace, args: &DeleteArgs) -> Outcome {
    let act = format!("delete {}", args.runs.join(", "));
    drop(History::open(workspace)?);
    let runs = args.runs.iter().map(|run| RunId::trusted(run.as_str())).collect();
    let request = FlowRequest::Delete { runs, cascade: args.cascade };
    let reply = engine::ask(global, workspace, &act, &request)?;
    let FlowReply::Collected(collected) = reply else { return Err(unexpected(&act, &reply)) };
    if args.json || global.output == Output::Json {
        output::print_json(&collected)?;
        return Ok(Exit::Completed);
    }
    let runs = collected.runs.iter().map(|run| run.to_string() + "\n");
    output::print(&runs.collect::<String>())?;
    let branches = collected.branches.iter().map(|gone| format!("branch {}, ", gone.branch_name));
    output::remark(&format!(
        "deleted, with {}{} files, {}",
        branches.collect::<String>(),
        collected.files,
        bytes(collected.bytes)
    ));
    Ok(Exit::Completed)
}

pub fn gc(global: &Global, workspace: &Workspace, args: &GcArgs) -> Outcome {
    let act = "collect what nobody needs any more";
    drop(History::open(workspace)?);
    let reply = engine::ask(global, workspace, act, &FlowRequest::Gc { dry_run: args.dry_run })?;
    let FlowReply::Collected(collected) = reply else { return Err(unexpected(act, &reply)) };
    if args.json || global.output == Output::Json {
        output::print_json(&collected)?;
        return Ok(Exit::Completed);
    }
    let paths = collected.paths.iter().map(|path| {
        let shown = path.strip_prefix(&workspace.root).unwrap_or(path);
        one_line(&shown.display().to_string()) + "\n"
    });
    output::print(&paths.collect::<String>())?;
    let (verb, files) = (if args.dry_run { "would delete" } else { "deleted" }, collected.files);
    for why in &collected.skipped {
        output::remark(&format!("something is left as it is, since nobody could {}", one_line(why)));
    }
    output::remark(&format!("{verb} {files} files, {}", bytes(collected.bytes)));
    Ok(Exit::Completed)
}
