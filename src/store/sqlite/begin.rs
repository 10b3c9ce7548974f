//! Runs as they come into being, and who may go on with them.

use rusqlite::{Connection, OptionalExtension, params};

use super::fail::{Fail, broken};
use super::pack::Packed;
use super::values::{Nanos, at, int, uint};
use super::{checkpoints, runs, search};
use crate::domain::flow::change::{NewRun, NewStage};
use crate::domain::flow::ids::{BranchName, FlowName, RunId};
use crate::domain::flow::record::Branch;
use crate::domain::flow::status::Cause;
use crate::ports::store::{Begun, Held};

const FIRST_EPOCH: u64 = 1;

pub(super) fn begin(connection: &Connection, new: &NewRun) -> Result<Begun, Fail> {
    if let Some(key) = &new.key
        && let Some(run) = runs::of_key(connection, &new.flow, key)?
    {
        return Ok(Begun::Existing(run));
    }
    // A run that begins a lineage finds nobody there.
    if let Some(root) = &new.root
        && new.status.holds_lock()
        && let Some(held) = held(connection, root, &new.branch)?
    {
        return Ok(Begun::Held(held));
    }
    let number = next_number(connection, &new.flow)?;
    let run = RunId::new(&new.flow, number);
    let root = new.root.as_ref().unwrap_or(&run);
    let id = add_run(connection, new, &run, root, number)?;
    search::add_run(connection, id, &run, &new.inputs)?;
    for (order, stage) in (0_u32..).zip(&new.stages) {
        add_stage(connection, id, root, order, stage)?;
    }
    if new.status.holds_lock() {
        lock(connection, root, &new.branch, id)?;
    }
    Ok(Begun::New { run, number, epoch: FIRST_EPOCH })
}

fn next_number(connection: &Connection, flow: &FlowName) -> Result<u64, Fail> {
    let number: i64 = connection
        .prepare_cached(
            "INSERT INTO numbers (flow, last) VALUES (?, 1) ON CONFLICT DO UPDATE SET last = last + 1 RETURNING last",
        )?
        .query_row([flow], |row| row.get(0))?;
    Ok(uint(number))
}

fn add_run(
    connection: &Connection,
    new: &NewRun,
    run: &RunId,
    root: &RunId,
    number: u64,
) -> Result<i64, Fail> {
    connection
        .prepare_cached(
            "INSERT INTO runs (run_id, number, flow, definition, status, cause, begun_by, parent, root, caller, retry_from, \
             retry_depth, retry_number, key, deadline, branch, created_at, approve_all, epoch, holder) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            run,
            int(number),
            new.flow,
            definition(connection, new)?,
            new.status,
            new.cause,
            new.trigger,
            new.parent,
            root,
            new.caller,
            new.retry_from,
            new.retry_depth,
            retry_number(connection, new, root)?,
            new.key.as_deref().map(|key| runs::key_of(&new.flow, key)),
            at(new.deadline),
            new.branch,
            Nanos(new.created_at),
            new.approve_all,
            int(FIRST_EPOCH),
            new.holder,
        ])?;
    let id = connection.last_insert_rowid();
    let inputs = Packed::json(&new.inputs, &format!("the inputs of {run}"))?;
    connection
        .prepare_cached("INSERT INTO inputs (run, value, value_size) VALUES (?, ?, ?)")?
        .execute(params![id, inputs.data(), inputs.size()])?;
    Ok(id)
}

/// Of its lineage, in order of time.
fn retry_number(connection: &Connection, new: &NewRun, root: &RunId) -> Result<Option<u32>, Fail> {
    if new.cause != Cause::Retry {
        return Ok(None);
    }
    let last: Option<u32> = connection
        .prepare_cached("SELECT max(retry_number) FROM runs WHERE root = ?")?
        .query_row([root], |row| row.get(0))?;
    Ok(Some(last.unwrap_or(0) + 1))
}

fn definition(connection: &Connection, new: &NewRun) -> Result<i64, Fail> {
    let known = connection
        .prepare_cached("SELECT id FROM definitions WHERE hash = ?")?
        .query_row([&new.def_hash], |row| row.get(0))
        .optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    let text = Packed::text(new.definition.clone(), &format!("the definition of {}", new.flow))?;
    connection
        .prepare_cached("INSERT INTO definitions (hash, text, text_size) VALUES (?, ?, ?)")?
        .execute(params![new.def_hash, text.data(), text.size()])?;
    Ok(connection.last_insert_rowid())
}

fn add_stage(
    connection: &Connection,
    run: i64,
    root: &RunId,
    order: u32,
    stage: &NewStage,
) -> Result<(), Fail> {
    let checkpoint = match &stage.checkpoint {
        Some(checkpoint) => Some(checkpoints::id(connection, root, checkpoint)?),
        None => None,
    };
    connection
        .prepare_cached(
            "INSERT INTO stages (run, name, ord, status, decision, reason, source, checkpoint, feedback) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            run,
            stage.name,
            order,
            stage.status,
            stage.decision,
            stage.reason,
            stage.source,
            checkpoint,
            stage.feedback,
        ])?;
    Ok(())
}

/// For the run itself; whoever else holds it is the answer.
pub(super) fn lock(
    connection: &Connection,
    root: &RunId,
    branch: &BranchName,
    run: i64,
) -> Result<Option<Held>, Fail> {
    let holder: Option<i64> = connection
        .prepare_cached("SELECT run FROM locks WHERE root = ? AND branch = ?")?
        .query_row(params![root, branch], |row| row.get(0))
        .optional()?;
    match holder {
        Some(holder) if holder == run => Ok(None),
        Some(_) => held(connection, root, branch),
        None => {
            connection
                .prepare_cached("INSERT INTO locks (root, branch, run) VALUES (?, ?, ?)")?
                .execute(params![root, branch, run])?;
            Ok(None)
        }
    }
}

pub(super) fn unlock(
    connection: &Connection,
    root: &RunId,
    branch: &BranchName,
    run: i64,
) -> Result<(), Fail> {
    connection
        .prepare_cached("DELETE FROM locks WHERE root = ? AND branch = ? AND run = ?")?
        .execute(params![root, branch, run])?;
    Ok(())
}

pub(super) fn held(connection: &Connection, root: &RunId, branch: &BranchName) -> Result<Option<Held>, Fail> {
    Ok(connection
        .prepare_cached(
            "SELECT run_id, holder FROM locks JOIN runs ON id = run WHERE locks.root = ? AND locks.branch = ?",
        )?
        .query_row(params![root, branch], |row| Ok(Held { run: row.get(0)?, holder: row.get(1)? }))
        .optional()?)
}

pub(super) fn take_over(connection: &Connection, run: &RunId, holder: &str) -> Result<u64, Fail> {
    let epoch: Option<i64> = connection
        .prepare_cached("UPDATE runs SET epoch = epoch + 1, holder = ? WHERE run_id = ? RETURNING epoch")?
        .query_row(params![holder, run], |row| row.get(0))
        .optional()?;
    epoch.map(uint).ok_or_else(|| no_run(run))
}

pub(super) fn add_branch(connection: &Connection, root: &RunId, branch: &Branch) -> Result<bool, Fail> {
    if branch.branch_name == BranchName::main() {
        return Ok(false);
    }
    if let Some(from) = &branch.forked_from {
        checkpoints::id(connection, root, from)?;
    }
    let added = connection
        .prepare_cached(
            "INSERT INTO branches (root, name, forked_from, created_at, created_by) VALUES (?, ?, ?, ?, ?) \
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            root,
            branch.branch_name,
            branch.forked_from,
            Nanos(branch.created_at),
            branch.created_by
        ])?;
    Ok(added == 1)
}

pub(super) fn no_run(run: &RunId) -> Fail {
    broken(format!("look for {run}"), "there is no such run in the history")
}
