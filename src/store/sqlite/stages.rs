//! The rows below a run: its stages, their attempts and items.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::checkpoints::artifact;
use super::columns::Columns;
use super::commit::NO_ITEM;
use super::fail::{Fail, broken};
use super::pack::{Packed, unpack};
use super::values::{int, uint};
use crate::domain::flow::change::{ItemRecord, RecipeRecord};
use crate::domain::flow::ids::{BranchName, CheckpointId, Hash, RunId, StageName};
use crate::domain::flow::record::{Artifact, AttemptRecord, CheckpointRef, ItemCount, StageRecord};
use crate::domain::flow::status::{Approval, Cause, Decision, StageStatus};

pub(super) const STAGES: &str = "SELECT name, ord, stages.status, decision, reason, source, error, started_at, ended_at, \
     retry_at, items, feedback, checkpoints.id, checkpoints.stage, version, parent, branch, approval, outputs, outputs_size \
     FROM stages LEFT JOIN checkpoints ON checkpoints.id = checkpoint WHERE stages.run = ?";

/// In order, with all that belongs to them. `told`: what of them cannot be read.
pub(super) fn of_run(
    connection: &Connection,
    run: i64,
    told: &mut Vec<String>,
) -> Result<Vec<StageRecord>, Fail> {
    let mut attempts = attempts(connection, run, told)?;
    let mut artifacts = artifacts(connection, run)?;
    let done = items_done(connection, run)?;
    let mut stages = Vec::new();
    let mut query = connection.prepare_cached(STAGES)?;
    let mut rows = query.query([run])?;
    while let Some(row) = rows.next()? {
        let mut stage = stage(row, told)?;
        stage.attempts = attempts.remove(&stage.name).unwrap_or_default();
        stage.artifacts = artifacts.remove(&stage.name).unwrap_or_default();
        if let Some(items) = &mut stage.items {
            items.done = done.get(&stage.name).copied().unwrap_or_default();
        }
        stages.push(stage);
    }
    stages.sort_by_key(|stage| stage.order);
    Ok(stages)
}

fn stage(row: &Row<'_>, told: &mut Vec<String>) -> rusqlite::Result<StageRecord> {
    let name: StageName = row.get(0)?;
    let mut columns = Columns::new(row, ("stage", 0), told);
    let checkpoint = columns.some::<i64>(12).map(|_| {
        let version = columns.get(14, 0);
        CheckpointRef {
            id: CheckpointId { stage: columns.get(13, name.clone()), version },
            version,
            parent: columns.some(15),
            branch: columns.get(16, BranchName::main()),
            approval: columns.get(17, Approval::Rejected),
        }
    });
    Ok(StageRecord {
        order: columns.get(1, u32::MAX),
        status: columns.get(2, StageStatus::Failed),
        decision: columns.get(3, Decision::Execute),
        reason: columns.some(4),
        source_run_id: columns.some(5),
        error: columns.some(6),
        started_at: columns.time(7),
        ended_at: columns.time(8),
        retry_at: columns.time(9),
        // Outputs that cannot be read are told where the checkpoint itself is asked for.
        outputs: if checkpoint.is_some() { unpack(row, 18).ok() } else { None },
        artifacts: Vec::new(),
        checkpoint,
        attempts: Vec::new(),
        items: columns.some(10).map(|all| ItemCount { done: 0, all }),
        feedback: columns.some(11),
        name,
    })
}

fn attempts(
    connection: &Connection,
    run: i64,
    told: &mut Vec<String>,
) -> Result<HashMap<StageName, Vec<AttemptRecord>>, Fail> {
    let mut query = connection.prepare_cached(
        "SELECT stage, item, number, verdict, exit_code, signal, error, started_at, ended_at, cpu_seconds, \
         peak_rss_bytes, cost, log, blameless FROM attempts WHERE run = ? ORDER BY stage, item, number",
    )?;
    let mut rows = query.query([run])?;
    let mut found: HashMap<StageName, Vec<AttemptRecord>> = HashMap::new();
    while let Some(row) = rows.next()? {
        let mut columns = Columns::new(row, ("attempt of", 0), told);
        let item: i64 = columns.get(1, NO_ITEM);
        let attempt = AttemptRecord {
            number: columns.get(2, 0),
            item: if item == NO_ITEM { None } else { Some(columns.get(1, u32::MAX)) },
            verdict: columns.some(3),
            exit_code: columns.some(4),
            signal: columns.some(5),
            error: columns.some(6),
            started_at: columns.time(7),
            ended_at: columns.time(8),
            cpu_seconds: columns.some(9),
            peak_rss_bytes: columns.some(10).map(uint),
            cost: columns.some(11),
            log: columns.some(12),
            blameless: columns.get(13, false),
        };
        found.entry(row.get(0)?).or_default().push(attempt);
    }
    Ok(found)
}

fn artifacts(connection: &Connection, run: i64) -> Result<HashMap<StageName, Vec<Artifact>>, Fail> {
    let mut query = connection.prepare_cached(
        "SELECT stages.name, artifacts.name, hash, size, executable FROM stages \
         CROSS JOIN artifacts ON artifacts.checkpoint = stages.checkpoint WHERE run = ?",
    )?;
    let mut rows = query.query([run])?;
    let mut found: HashMap<StageName, Vec<Artifact>> = HashMap::new();
    while let Some(row) = rows.next()? {
        found.entry(row.get(0)?).or_default().push(artifact(row, 1)?);
    }
    Ok(found)
}

fn items_done(connection: &Connection, run: i64) -> Result<HashMap<StageName, u32>, Fail> {
    let mut query =
        connection.prepare_cached("SELECT stage, count(*) FROM items WHERE run = ? GROUP BY stage")?;
    let found = query.query_map([run], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(found.collect::<Result<_, _>>()?)
}

pub(super) fn set_item(
    connection: &Connection,
    run: i64,
    stage: &StageName,
    item: &ItemRecord,
) -> Result<(), Fail> {
    let outputs = Packed::json(&item.outputs, &format!("the outputs of {stage}, item {}", item.item))?;
    let id: i64 = connection
        .prepare_cached(
            "INSERT INTO items (run, stage, item, input, status, outputs, outputs_size) VALUES (?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT (run, stage, item) DO UPDATE SET input = excluded.input, status = excluded.status, \
             outputs = excluded.outputs, outputs_size = excluded.outputs_size RETURNING id",
        )?
        .query_row(
            params![run, stage, item.item, item.input, item.status, outputs.data(), outputs.size()],
            |row| row.get(0),
        )?;
    connection.prepare_cached("DELETE FROM item_artifacts WHERE item = ?")?.execute([id])?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO item_artifacts (item, ord, name, hash, size, executable) VALUES (?, ?, ?, ?, ?, ?)",
    )?;
    for (order, one) in (0_i64..).zip(&item.artifacts) {
        insert.execute(params![id, order, one.name, one.hash, int(one.size), one.executable])?;
    }
    Ok(())
}

/// One that cannot be read is left out, so that it is made once more.
pub(super) fn items(
    connection: &Connection,
    run: &RunId,
    stage: &StageName,
) -> Result<Vec<ItemRecord>, Fail> {
    let mut artifacts: HashMap<i64, Vec<Artifact>> = HashMap::new();
    let mut query = connection.prepare_cached(
        "SELECT item_artifacts.item, item_artifacts.name, hash, size, executable FROM runs \
         JOIN items ON items.run = runs.id JOIN item_artifacts ON item_artifacts.item = items.id \
         WHERE run_id = ? AND stage = ?",
    )?;
    let mut rows = query.query(params![run, stage])?;
    while let Some(row) = rows.next()? {
        artifacts.entry(row.get(0)?).or_default().push(artifact(row, 1)?);
    }
    let mut query = connection.prepare_cached(
        "SELECT items.id, item, input, items.status, outputs, outputs_size FROM runs \
         JOIN items ON items.run = runs.id WHERE run_id = ? AND stage = ? ORDER BY item",
    )?;
    let mut rows = query.query(params![run, stage])?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        let (Ok(outputs), Ok(item), Ok(status)) = (unpack(row, 4), row.get(1), row.get(3)) else { continue };
        items.push(ItemRecord {
            item,
            input: row.get(2)?,
            status,
            outputs,
            artifacts: artifacts.remove(&row.get(0)?).unwrap_or_default(),
        });
    }
    Ok(items)
}

pub(super) fn retries_of(
    connection: &Connection,
    root: &RunId,
    branch: &BranchName,
    checkpoint: &CheckpointId,
) -> Result<Vec<RunId>, Fail> {
    let mut query = connection.prepare_cached(RETRIES)?;
    let of = params![root, checkpoint.stage, checkpoint.version, Decision::Reuse, Cause::Retry, branch];
    let found = query.query_map(of, |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

pub(super) const RETRIES: &str = "SELECT run_id FROM checkpoints \
     CROSS JOIN stages ON stages.checkpoint = checkpoints.id CROSS JOIN runs ON runs.id = stages.run \
     WHERE checkpoints.root = ? AND checkpoints.stage = ? AND version = ? AND decision = ? AND cause = ? \
     AND runs.branch = ? ORDER BY runs.id";

pub(super) fn status(
    connection: &Connection,
    run: &RunId,
    stage: &StageName,
) -> Result<Option<StageStatus>, Fail> {
    Ok(connection
        .prepare_cached(
            "SELECT stages.status FROM runs CROSS JOIN stages ON stages.run = runs.id WHERE run_id = ? AND name = ?",
        )?
        .query_row(params![run, stage], |row| row.get(0))
        .optional()?)
}

pub(super) fn set_recipe(
    connection: &Connection,
    run: i64,
    stage: &StageName,
    recipe: &RecipeRecord,
) -> Result<(), Fail> {
    let files = serde_json::to_string(&recipe.files)
        .map_err(|cause| broken(format!("write the recipe of {stage}"), cause.to_string()))?;
    connection
        .prepare_cached("INSERT OR REPLACE INTO recipes (run, stage, hash, files) VALUES (?, ?, ?, ?)")?
        .execute(params![run, stage, recipe.hash, files])?;
    Ok(())
}

pub(super) fn recipe(
    connection: &Connection,
    run: &RunId,
    stage: &StageName,
) -> Result<Option<RecipeRecord>, Fail> {
    let found: Option<(Hash, String)> = connection
        .prepare_cached(
            "SELECT hash, files FROM runs CROSS JOIN recipes ON recipes.run = runs.id WHERE run_id = ? AND stage = ?",
        )?
        .query_row(params![run, stage], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((hash, files)) = found else { return Ok(None) };
    let files = serde_json::from_str(&files)
        .map_err(|cause| broken(format!("read the recipe of {run}/{stage}"), cause.to_string()))?;
    Ok(Some(RecipeRecord { hash, files }))
}
