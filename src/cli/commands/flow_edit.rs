//! `edit`: another version of what a stage left, by `--set` and `--artifact`, or in an editor.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cli::args::{Global, Output};
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::flow_args::EditArgs;
use crate::cli::history::{History, unexpected};
use crate::cli::workspace::Workspace;
use crate::cli::{engine, output};
use crate::domain::flow::ask::{EditWish, FlowReply, FlowRequest};
use crate::domain::flow::ids::{BranchName, RunId, StageName};
use crate::domain::flow::may;
use crate::domain::flow::record::Checkpoint;
use crate::domain::json::{Json, JsonMap, pretty};

pub fn edit(global: &Global, workspace: &Workspace, args: &EditArgs) -> Outcome {
    let (run, stage) = (RunId::trusted(args.run.as_str()), StageName::trusted(args.stage.as_str()));
    let act = format!("edit {stage} of {run}");
    if args.set.is_empty() && args.artifact.is_empty() && !args.editor {
        return Err(Failure::new(Exit::Usage, act, "it is not said what should change")
            .hint("--set KEY=VALUE, --artifact NAME=FILE or --editor"));
    }
    let mut history = History::open(workspace)?;
    let branch = args.branch.as_deref().map(BranchName::trusted);
    let before = standing(&mut history, &run, branch.as_ref(), &stage, &act)?;
    let (set, sheet) = if args.editor {
        let (set, path) = in_editor(workspace, &before, &act)?;
        (set, Some(path))
    } else {
        (pairs(&before, &args.set, &act)?, None)
    };
    let artifacts = args.artifact.iter().map(|pair| file(pair, &act)).collect::<Result<_, _>>()?;
    let hash = Some(before.hash.clone());
    let wish = EditWish { run, branch, stage, hash, set, artifacts, who: engine::who() };
    let reply = engine::ask(global, workspace, &act, &FlowRequest::Edit(wish));
    if let Some(path) = &sheet {
        match &reply {
            Ok(_) => {
                // It is only a copy.
                fs::remove_file(path).ok();
            }
            Err(_) => kept(path),
        }
    }
    let reply = reply?;
    let FlowReply::Edited { checkpoint } = reply else { return Err(unexpected(&act, &reply)) };
    if args.json || global.output == Output::Json {
        output::print_json(&serde_json::json!({ "checkpoint": checkpoint, "edited_from": before.id }))?;
        return Ok(Exit::Completed);
    }
    match checkpoint {
        Some(made) => {
            output::print(&format!("{made}\n"))?;
            let branch = args.branch.as_deref().map(|name| format!(" --branch {name}")).unwrap_or_default();
            output::remark(&format!(
                "edited from {}; it waits to be approved: restage continue {} --checkpoint {made}{branch}",
                before.id, args.run
            ));
        }
        None => output::remark(&format!("nothing differs from {}, so there is no new version", before.id)),
    }
    Ok(Exit::Completed)
}

/// What would be edited, by the very function that decides whether it may.
fn standing(
    history: &mut History<'_>,
    run: &RunId,
    branch: Option<&BranchName>,
    stage: &StageName,
    act: &str,
) -> Result<Checkpoint, Failure> {
    let record = history.show_for(run, act)?.what.run;
    let look = |desk: &mut crate::flow::engine::desk::Desk<'_>| {
        let whole = desk.whole(&record)?;
        let standing = may::may_edit_on(&whole.lineage(), &record, branch, stage, None)?;
        Ok(standing.checkpoint.clone())
    };
    history.desk(look, act)
}

/// `key=value`; a value is read as JSON, unless what was there is a text.
fn pairs(before: &Checkpoint, given: &[String], act: &str) -> Result<JsonMap, Failure> {
    let usage = |cause: String, hint: &str| Failure::new(Exit::Usage, act, cause).hint(hint);
    let mut set = JsonMap::new();
    for pair in given {
        let Some((key, text)) = pair.split_once('=') else {
            return Err(usage(format!("{pair:?} is no KEY=VALUE"), "as in --set title=\"Night\""));
        };
        if key.is_empty() {
            return Err(usage(format!("{pair:?} names no output"), "as in --set title=\"Night\""));
        }
        if !before.outputs.contains_key(key) {
            let stage = &before.id.stage;
            let known: Vec<&str> = before.outputs.keys().map(String::as_str).collect();
            let hint = if known.is_empty() {
                format!("{stage} left no outputs; --artifact replaces a file")
            } else {
                format!("there are: {}", known.join(", "))
            };
            return Err(usage(format!("{key} is no output of {stage}"), &hint));
        }
        let was_text = before.outputs.get(key).is_some_and(|old| old.as_string().is_some());
        let value = if was_text {
            Json::string(text)
        } else {
            Json::parse(text).map_err(|error| {
                let cause = format!("{text:?} is no JSON, which {key} is: {error}");
                usage(cause, "a text has quotes of its own: --set 'title=\"Night\"'")
            })?
        };
        set.insert(key.to_owned(), value);
    }
    Ok(set)
}

/// The engine may run elsewhere, so the path is told in full.
fn file(pair: &str, act: &str) -> Result<(String, PathBuf), Failure> {
    let Some((name, path)) = pair.split_once('=') else {
        return Err(Failure::new(Exit::Usage, act, format!("{pair:?} is no NAME=FILE"))
            .hint("as in --artifact board.png=./better.png"));
    };
    let full = fs::canonicalize(path).map_err(|error| Failure::io(format!("read {path}"), &error))?;
    Ok((name.to_owned(), full))
}

/// The outputs as a file that only we can read, which stays where what was written cannot be used.
fn in_editor(workspace: &Workspace, before: &Checkpoint, act: &str) -> Result<(JsonMap, PathBuf), Failure> {
    let name = format!("edit-{}-{}.json", before.id, std::process::id());
    let path = workspace.data_dir().join(name);
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(pretty(&before.outputs).as_bytes())?;
        file.write_all(b"\n")
    };
    write().map_err(|error| Failure::io(format!("write {}", path.display()), &error))?;
    let read = open(&path, act).and_then(|()| read(&path, before, act));
    if read.is_err() {
        let before = format!("{}\n", pretty(&before.outputs));
        if fs::read(&path).is_ok_and(|text| text == before.as_bytes()) {
            // Nothing was typed that could be lost.
            fs::remove_file(&path).ok();
        } else {
            kept(&path);
        }
    }
    Ok((read?, path))
}

/// Nobody types it twice.
fn kept(path: &Path) {
    output::remark(&format!("restage: what was edited is in {}", path.display()));
}

fn open(path: &Path, act: &str) -> Result<(), Failure> {
    let editor =
        ["VISUAL", "EDITOR"].into_iter().find_map(|name| env::var_os(name).filter(|one| !one.is_empty()));
    let editor = editor.unwrap_or_else(|| "vi".into());
    let shown = editor.to_string_lossy().into_owned();
    // An editor may come with arguments: `code --wait`.
    let status =
        Command::new("/bin/sh").arg("-c").arg("eval \"$0 \\\"\\$1\\\"\"").arg(&editor).arg(path).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            Err(Failure::new(Exit::Failed, act, format!("{shown} ended with {status}; nothing was changed"))
                .hint("$VISUAL or $EDITOR names another editor"))
        }
        Err(error) => Err(Failure::io(format!("start {shown}"), &error)),
    }
}

fn read(path: &Path, before: &Checkpoint, act: &str) -> Result<JsonMap, Failure> {
    let text =
        fs::read_to_string(path).map_err(|error| Failure::io(format!("read {}", path.display()), &error))?;
    let set: JsonMap = serde_json::from_str(&text).map_err(|error| {
        Failure::new(Exit::Usage, act, format!("what was saved is no JSON object: {error}"))
            .hint("nothing was changed; mend it, and give its values with --set")
    })?;
    if let Some(key) = before.outputs.keys().find(|key| !set.contains_key(*key)) {
        return Err(Failure::new(Exit::Usage, act, format!("{key} is missing in what was saved"))
            .hint("a stage leaves all of its outputs; give it another value instead"));
    }
    Ok(set)
}
