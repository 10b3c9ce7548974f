//! What happens to runs: each change is a few rows, however large the run is.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::fail::{Fail, broken};
use super::values::{at, int, nanos, uint};
use super::{begin, checkpoints, hooks, search, stages};
use crate::domain::flow::change::{Change, What};
use crate::domain::flow::ids::{BranchName, CheckpointId, RunId, StageName};
use crate::domain::flow::record::{AttemptRecord, HookRecord};
use crate::domain::flow::status::{Decision, RunStatus, StageStatus};
use crate::ports::store::StoreError;
use crate::store::total_cost;

/// A run of the batch, as it was before.
struct Target {
    id: i64,
    root: RunId,
    branch: BranchName,
    epoch: u64,
    had_error: bool,
}

pub(super) fn commit(connection: &Connection, changes: &[Change]) -> Result<Vec<Option<CheckpointId>>, Fail> {
    let mut targets: HashMap<&RunId, Target> = HashMap::new();
    let mut made = Vec::with_capacity(changes.len());
    for change in changes {
        let run = &change.run;
        if !targets.contains_key(run) {
            targets.insert(run, target(connection, run, change.epoch)?);
        }
        let target = targets.get_mut(run).ok_or_else(|| begin::no_run(run))?;
        if target.epoch != change.epoch {
            return Err(StoreError::Fenced { run: run.clone() }.into());
        }
        made.push(apply(connection, run, target, &change.what)?);
    }
    Ok(made)
}

fn target(connection: &Connection, run: &RunId, epoch: u64) -> Result<Target, Fail> {
    let found: Option<(Target, RunStatus)> = connection
        .prepare_cached(
            "SELECT id, root, branch, epoch, error IS NOT NULL, status FROM runs WHERE run_id = ?",
        )?
        .query_row([run], |row| {
            let target = Target {
                id: row.get(0)?,
                root: row.get(1)?,
                branch: row.get(2)?,
                epoch: uint(row.get(3)?),
                had_error: row.get(4)?,
            };
            // One of which nobody knows how far it is can be ended.
            Ok((target, row.get(5).unwrap_or(RunStatus::Interrupted)))
        })
        .optional()?;
    let (target, status) = found.ok_or_else(|| begin::no_run(run))?;
    if target.epoch != epoch {
        return Err(StoreError::Fenced { run: run.clone() }.into());
    }
    if status.is_final() {
        return Err(StoreError::Ended { run: run.clone() }.into());
    }
    Ok(target)
}

fn apply(
    connection: &Connection,
    run: &RunId,
    target: &mut Target,
    what: &What,
) -> Result<Option<CheckpointId>, Fail> {
    match what {
        What::Run { status, error, .. } => {
            set_lock(connection, run, target, *status)?;
            set_run(connection, target.id, what)?;
            if error.is_some() || target.had_error {
                search::set_error(connection, target.id, error.as_deref())?;
                target.had_error = error.is_some();
            }
        }
        What::Hook(hook) => hooks::set(connection, target.id, &HookRecord::of(*hook))?,
        What::Stage { stage, status, reason, error, started_at, ended_at, retry_at } => {
            let changed = connection
                .prepare_cached(
                    "UPDATE stages SET status = ?, reason = ?, error = ?, started_at = ?, ended_at = ?, retry_at = ? \
                     WHERE run = ? AND name = ?",
                )?
                .execute(params![
                    status,
                    reason,
                    error,
                    at(*started_at),
                    at(*ended_at),
                    at(*retry_at),
                    target.id,
                    stage
                ])?;
            one(changed, run, stage)?;
        }
        What::Attempt { stage, attempt } => set_attempt(connection, target.id, stage, attempt)?,
        What::Item { stage, item, all } => {
            let changed = connection
                .prepare_cached("UPDATE stages SET items = ? WHERE run = ? AND name = ?")?
                .execute(params![all, target.id, stage])?;
            one(changed, run, stage)?;
            stages::set_item(connection, target.id, stage, item)?;
        }
        What::Checkpoint { stage, new } => {
            let (checkpoint, name) = checkpoints::add(connection, &target.root, target.id, new)?;
            name_checkpoint(connection, run, target.id, stage, checkpoint)?;
            return Ok(Some(name));
        }
        What::Adopt { stage, checkpoint } => {
            let checkpoint = checkpoints::id(connection, &target.root, checkpoint)?;
            name_checkpoint(connection, run, target.id, stage, checkpoint)?;
        }
        What::Judge(judgement) => {
            if !checkpoints::judge(connection, &target.root, judgement)? {
                return Err(StoreError::Stale { checkpoint: judgement.checkpoint.clone() }.into());
            }
        }
        What::Recipe { stage, recipe } => stages::set_recipe(connection, target.id, stage, recipe)?,
        What::Limit { deadline, left } => {
            connection
                .prepare_cached("UPDATE runs SET deadline = ?, time_left = ? WHERE id = ?")?
                .execute(params![at(*deadline), nanos(*left), target.id])?;
        }
        What::AskNobody => {
            connection
                .prepare_cached("UPDATE runs SET approve_all = 1 WHERE id = ?")?
                .execute([target.id])?;
        }
        What::Reset { stage, reason, feedback } => {
            let changed = connection
                .prepare_cached(
                    "UPDATE stages SET status = ?, decision = ?, reason = ?, feedback = ?, source = NULL, \
                     checkpoint = NULL, started_at = NULL, ended_at = NULL, retry_at = NULL, items = NULL, error = NULL \
                     WHERE run = ? AND name = ?",
                )?
                .execute(params![
                    StageStatus::Pending,
                    Decision::Execute,
                    reason,
                    feedback,
                    target.id,
                    stage
                ])?;
            one(changed, run, stage)?;
            connection
                .prepare_cached("DELETE FROM items WHERE run = ? AND stage = ?")?
                .execute(params![target.id, stage])?;
        }
    }
    Ok(None)
}

fn set_lock(connection: &Connection, run: &RunId, target: &Target, status: RunStatus) -> Result<(), Fail> {
    if !status.holds_lock() {
        return begin::unlock(connection, &target.root, &target.branch, target.id);
    }
    match begin::lock(connection, &target.root, &target.branch, target.id)? {
        None => Ok(()),
        Some(by) => Err(StoreError::Held { run: run.clone(), by }.into()),
    }
}

fn set_run(connection: &Connection, run: i64, what: &What) -> Result<(), Fail> {
    let What::Run { status, error, started_at, ended_at, duration_seconds } = what else { return Ok(()) };
    connection
        .prepare_cached(
            "UPDATE runs SET status = ?, error = ?, started_at = ?, ended_at = ?, duration_seconds = ? WHERE id = ?",
        )?
        .execute(params![status, error, at(*started_at), at(*ended_at), duration_seconds, run])?;
    Ok(())
}

/// The item of a stage that does not fan out.
pub(super) const NO_ITEM: i64 = -1;

fn set_attempt(
    connection: &Connection,
    run: i64,
    stage: &StageName,
    attempt: &AttemptRecord,
) -> Result<(), Fail> {
    let item = attempt.item.map_or(NO_ITEM, i64::from);
    let before: Option<f64> = connection
        .prepare_cached("SELECT cost FROM attempts WHERE run = ? AND stage = ? AND item = ? AND number = ?")?
        .query_row(params![run, stage, item, attempt.number], |row| row.get(0))
        .optional()?
        .flatten();
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO attempts (run, stage, item, number, verdict, exit_code, signal, started_at, \
             ended_at, cpu_seconds, peak_rss_bytes, cost, log, error, blameless) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            run,
            stage,
            item,
            attempt.number,
            attempt.verdict,
            attempt.exit_code,
            attempt.signal,
            at(attempt.started_at),
            at(attempt.ended_at),
            attempt.cpu_seconds,
            attempt.peak_rss_bytes.map(int),
            attempt.cost,
            attempt.log,
            attempt.error,
            attempt.blameless,
        ])?;
    if before != attempt.cost {
        let total: Option<f64> = connection
            .prepare_cached("SELECT cost FROM runs WHERE id = ?")?
            .query_row([run], |row| row.get(0))?;
        connection
            .prepare_cached("UPDATE runs SET cost = ? WHERE id = ?")?
            .execute(params![total_cost(total, before, attempt.cost), run])?;
    }
    Ok(())
}

fn name_checkpoint(
    connection: &Connection,
    run: &RunId,
    id: i64,
    stage: &StageName,
    checkpoint: i64,
) -> Result<(), Fail> {
    let changed = connection
        .prepare_cached("UPDATE stages SET checkpoint = ? WHERE run = ? AND name = ?")?
        .execute(params![checkpoint, id, stage])?;
    one(changed, run, stage)
}

fn one(changed: usize, run: &RunId, stage: &StageName) -> Result<(), Fail> {
    if changed == 1 {
        return Ok(());
    }
    Err(broken(format!("write what became of {run}/{stage}"), "the run has no such stage"))
}
