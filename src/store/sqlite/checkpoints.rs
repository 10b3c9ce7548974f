//! What stages left behind, by lineage.

use std::collections::HashMap;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::fail::{Fail, broken};
use super::pack::{Packed, unpack};
use super::values::{Nanos, at, int, uint};
use crate::domain::flow::change::{Judgement, NewCheckpoint};
use crate::domain::flow::ids::{CheckpointId, Hash, RunId, StageName};
use crate::domain::flow::record::{Artifact, Checkpoint};
use crate::domain::json::JsonMap;

pub(super) fn add(
    connection: &Connection,
    root: &RunId,
    run: i64,
    new: &NewCheckpoint,
) -> Result<(i64, CheckpointId), Fail> {
    let version = next_version(connection, root, &new.stage)?;
    let name = CheckpointId { stage: new.stage.clone(), version };
    let outputs = Packed::json(&new.outputs, &format!("the outputs of {}", new.stage))?;
    connection
        .prepare_cached(
            "INSERT INTO checkpoints (root, stage, version, run, branch, parent, status, approval, hash, recipe, input, \
             created_at, created_by, edited_from, approved_by, approved_at, note, outputs, outputs_size) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            root,
            new.stage,
            version,
            run,
            new.branch,
            new.parent,
            new.status,
            new.approval,
            new.hash,
            new.recipe,
            new.input,
            Nanos(new.created_at),
            new.created_by,
            new.edited_from,
            new.approved_by,
            at(new.approved_at),
            new.note,
            outputs.data(),
            outputs.size(),
        ])?;
    let id = connection.last_insert_rowid();
    let mut insert = connection.prepare_cached(
        "INSERT INTO artifacts (checkpoint, ord, name, hash, size, executable) VALUES (?, ?, ?, ?, ?, ?)",
    )?;
    for (order, one) in (0_i64..).zip(&new.artifacts) {
        insert.execute(params![id, order, one.name, one.hash, int(one.size), one.executable])?;
    }
    Ok((id, name))
}

/// Never one that there was before, even where it has been deleted.
fn next_version(connection: &Connection, root: &RunId, stage: &StageName) -> Result<u32, Fail> {
    Ok(connection
        .prepare_cached(
            "SELECT 1 + max(coalesce((SELECT max(version) FROM checkpoints WHERE root = ?1 AND stage = ?2), 0), \
             coalesce((SELECT last FROM deleted_versions WHERE root = ?1 AND stage = ?2), 0))",
        )?
        .query_row(params![root, stage], |row| row.get(0))?)
}

/// The row of a checkpoint that has to be there.
pub(super) fn id(connection: &Connection, root: &RunId, name: &CheckpointId) -> Result<i64, Fail> {
    connection
        .prepare_cached("SELECT id FROM checkpoints WHERE root = ? AND stage = ? AND version = ?")?
        .query_row(params![root, name.stage, name.version], |row| row.get(0))
        .optional()?
        .ok_or_else(|| broken(format!("look for {name} of {root}"), "there is no such checkpoint"))
}

pub(super) fn judge(connection: &Connection, root: &RunId, judgement: &Judgement) -> Result<bool, Fail> {
    let changed = connection
        .prepare_cached(
            "UPDATE checkpoints SET approval = ?, approved_by = ?, approved_at = ?, note = ?, rewind_to = ? \
             WHERE root = ? AND stage = ? AND version = ? AND hash = ? AND approval = ?",
        )?
        .execute(params![
            judgement.to,
            judgement.who,
            Nanos(judgement.at),
            judgement.note,
            judgement.rewind_to,
            root,
            judgement.checkpoint.stage,
            judgement.checkpoint.version,
            judgement.hash,
            judgement.from,
        ])?;
    Ok(changed == 1)
}

/// With everything that [`read`] needs, in its order.
const COLUMNS: &str = "SELECT checkpoints.id, stage, version, checkpoints.root, run_id, checkpoints.branch, \
     checkpoints.parent, checkpoints.status, approval, hash, recipe, input, checkpoints.created_at, created_by, \
     edited_from, approved_by, approved_at, note, outputs, outputs_size, \
     rewind_to FROM checkpoints JOIN runs ON runs.id = checkpoints.run";

fn read(row: &Row<'_>, artifacts: Vec<Artifact>) -> Result<Checkpoint, String> {
    let columns = || -> rusqlite::Result<Checkpoint> {
        Ok(Checkpoint {
            id: CheckpointId { stage: row.get(1)?, version: row.get(2)? },
            root_run_id: row.get(3)?,
            run_id: row.get(4)?,
            branch: row.get(5)?,
            parent: row.get(6)?,
            status: row.get(7)?,
            approval: row.get(8)?,
            hash: row.get(9)?,
            recipe: row.get(10)?,
            input: row.get(11)?,
            outputs: JsonMap::new(),
            artifacts,
            created_at: row.get::<_, Nanos>(12)?.0,
            created_by: row.get(13)?,
            edited_from: row.get(14)?,
            approved_by: row.get(15)?,
            approved_at: row.get::<_, Option<Nanos>>(16)?.map(|at| at.0),
            note: row.get(17)?,
            rewind_to: row.get(20)?,
        })
    };
    let checkpoint = columns().map_err(|error| error.to_string())?;
    Ok(Checkpoint { outputs: unpack(row, 18)?, ..checkpoint })
}

pub(super) fn one(
    connection: &Connection,
    root: &RunId,
    name: &CheckpointId,
) -> Result<Option<Checkpoint>, Fail> {
    let mut query = connection
        .prepare_cached(&format!("{COLUMNS} WHERE checkpoints.root = ? AND stage = ? AND version = ?"))?;
    let mut rows = query.query(params![root, name.stage, name.version])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let artifacts = artifacts(connection, row.get(0)?)?;
    read(row, artifacts).map(Some).map_err(|cause| broken(format!("read {name} of {root}"), cause))
}

fn artifacts(connection: &Connection, checkpoint: i64) -> Result<Vec<Artifact>, Fail> {
    let mut query = connection.prepare_cached(
        "SELECT name, hash, size, executable FROM artifacts WHERE checkpoint = ? ORDER BY ord",
    )?;
    let found = query.query_map([checkpoint], |row| artifact(row, 0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// From four columns, of which this is the first.
pub(super) fn artifact(row: &Row<'_>, first: usize) -> rusqlite::Result<Artifact> {
    Ok(Artifact {
        name: row.get(first)?,
        hash: row.get(first + 1)?,
        size: uint(row.get(first + 2)?),
        executable: row.get(first + 3)?,
    })
}

pub(super) fn all(connection: &Connection, root: &RunId) -> Result<(Vec<Checkpoint>, Vec<String>), Fail> {
    let mut artifacts = artifacts_of_lineage(connection, root)?;
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    let mut query = connection.prepare_cached(&format!("{COLUMNS} WHERE checkpoints.root = ?"))?;
    let mut rows = query.query([root])?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        match read(row, artifacts.remove(&id).unwrap_or_default()) {
            Ok(checkpoint) => good.push((id, checkpoint)),
            Err(why) => {
                let part = |column| row.get_ref(column).ok().map(text).unwrap_or_default();
                bad.push((id, format!("{}@{} cannot be read: {why}", part(1), part(2))));
            }
        }
    }
    good.sort_unstable_by_key(|(id, _)| *id);
    bad.sort_unstable_by_key(|(id, _)| *id);
    Ok((good.into_iter().map(|(_, one)| one).collect(), bad.into_iter().map(|(_, one)| one).collect()))
}

/// Whatever a column holds.
fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Null | ValueRef::Real(_) | ValueRef::Blob(_) => "?".to_owned(),
    }
}

fn artifacts_of_lineage(connection: &Connection, root: &RunId) -> Result<HashMap<i64, Vec<Artifact>>, Fail> {
    let mut query = connection.prepare_cached(
        "SELECT checkpoint, artifacts.name, artifacts.hash, size, executable FROM checkpoints \
         JOIN artifacts ON checkpoint = id WHERE root = ?",
    )?;
    let mut rows = query.query([root])?;
    let mut found: HashMap<i64, Vec<Artifact>> = HashMap::new();
    while let Some(row) = rows.next()? {
        found.entry(row.get(0)?).or_default().push(artifact(row, 1)?);
    }
    Ok(found)
}

pub(super) fn objects(connection: &Connection) -> Result<Vec<Hash>, Fail> {
    let mut query =
        connection.prepare_cached("SELECT hash FROM artifacts UNION SELECT hash FROM item_artifacts")?;
    let found = query.query_map([], |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}
