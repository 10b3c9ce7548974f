//! Runs as they are read: one, whole; or a list.

use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::fail::{Fail, broken};
use super::pack::{unpack, unpack_text};
use super::stages::{of_run, time};
use super::values::{Nanos, int, uint};
use super::{begin, hooks, search};
use crate::domain::flow::ids::{BranchName, FlowName, Hash, RunId};
use crate::domain::flow::record::{Branch, RunFilter, RunRecord};
use crate::domain::json::JsonMap;
use crate::ports::store::StoredRun;

const COLUMNS: &str = "SELECT run_id, runs.number, flow, hash, status, cause, runs.error, runs.started_at, \
     runs.ended_at, duration_seconds, cost, parent, root, caller, retry_from, retry_depth, \
     substr(key, length(flow) + 2), deadline, branch, \
     created_at, runs.id, epoch, holder, approve_all, value, value_size, time_left, hooks.name, hooks.number, verdict, exit_code, \
     signal, hooks.started_at, hooks.ended_at, log, hooks.error, retry_number \
     FROM runs JOIN definitions ON definitions.id = definition JOIN inputs ON inputs.run = runs.id \
     LEFT JOIN hooks ON hooks.run = runs.id";

/// Its inputs stand in columns of their own.
fn record(row: &Row<'_>) -> rusqlite::Result<RunRecord> {
    Ok(RunRecord {
        run_id: row.get(0)?,
        run_number: uint(row.get(1)?),
        flow: row.get(2)?,
        def_hash: row.get(3)?,
        status: row.get(4)?,
        trigger: row.get(5)?,
        inputs: JsonMap::new(),
        error: row.get(6)?,
        started_at: time(row, 7)?,
        ended_at: time(row, 8)?,
        duration_seconds: row.get(9)?,
        cost: row.get(10)?,
        parent_run_id: row.get(11)?,
        root_run_id: row.get(12)?,
        caller_run_id: row.get(13)?,
        retry_from_stage: row.get(14)?,
        retry_depth: row.get(15)?,
        retry_number: row.get(36)?,
        idempotency_key: row.get(16)?,
        deadline: time(row, 17)?,
        branch: row.get(18)?,
        created_at: row.get::<_, Nanos>(19)?.0,
        stages: None,
        left: false,
        held: None,
        hook: hooks::of(row, 27)?,
    })
}

pub(super) fn run(connection: &Connection, run: &RunId) -> Result<Option<StoredRun>, Fail> {
    let mut query = connection.prepare_cached(&format!("{COLUMNS} WHERE run_id = ?"))?;
    let mut rows = query.query([run])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let mut record = record(row)?;
    record.inputs = unpack(row, 24).map_err(|cause| broken(format!("read the inputs of {run}"), cause))?;
    record.stages = Some(of_run(connection, row.get(20)?)?);
    Ok(Some(StoredRun {
        record,
        epoch: uint(row.get(21)?),
        holder: row.get(22)?,
        approve_all: row.get(23)?,
        time_left: row.get::<_, Option<i64>>(26)?.map(|left| Duration::from_nanos(uint(left))),
    }))
}

pub(super) fn id(connection: &Connection, run: &RunId) -> Result<i64, Fail> {
    connection
        .prepare_cached("SELECT id FROM runs WHERE run_id = ?")?
        .query_row([run], |row| row.get(0))
        .optional()?
        .ok_or_else(|| begin::no_run(run))
}

pub(super) fn of_key(connection: &Connection, flow: &FlowName, key: &str) -> Result<Option<RunId>, Fail> {
    Ok(connection
        .prepare_cached("SELECT run_id FROM runs WHERE key = ?")?
        .query_row([key_of(flow, key)], |row| row.get(0))
        .optional()?)
}

/// As the column has it, with its flow before it, whose name has no such separator.
pub(super) fn key_of(flow: &FlowName, key: &str) -> String {
    format!("{flow}/{key}")
}

pub(super) const UNFINISHED: &str =
    "SELECT run_id FROM runs WHERE status IN ('queued', 'running', 'waiting') ORDER BY id";

pub(super) fn unfinished(connection: &Connection) -> Result<Vec<RunId>, Fail> {
    let mut query = connection.prepare_cached(UNFINISHED)?;
    let found = query.query_map([], |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

pub(super) fn list(connection: &Connection, filter: &RunFilter) -> Result<Vec<RunRecord>, Fail> {
    let ids = matching(connection, filter)?;
    let mut query = connection.prepare_cached(&format!("{COLUMNS} WHERE runs.id = ?"))?;
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        found.push(query.query_row([id], |row| {
            // One whose inputs are damaged does not hide the others; it is told where the run itself is read.
            Ok(RunRecord { inputs: unpack(row, 24).unwrap_or_default(), ..record(row)? })
        })?);
    }
    Ok(found)
}

/// The newest first. Only the ids at first: an index alone often answers that.
fn matching(connection: &Connection, filter: &RunFilter) -> Result<Vec<i64>, Fail> {
    let (sql, values) = condition(filter);
    let limit = filter.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut query = connection.prepare_cached(&sql)?;
    let mut rows = query.query(params_from_iter(values))?;
    let mut ids = Vec::new();
    while ids.len() < limit
        && let Some(row) = rows.next()?
    {
        let id: i64 = row.get(0)?;
        // A search finds a run twice where both its texts match, one after the other.
        if ids.last() != Some(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

pub(super) fn condition(filter: &RunFilter) -> (String, Vec<Value>) {
    let mut conditions = Vec::new();
    let mut values: Vec<Value> = Vec::new();
    let (from, order) = match &filter.search {
        None => ("runs", "runs.id"),
        Some(text) => {
            let (condition, text) = search::condition(text);
            conditions.push(condition.to_owned());
            values.push(text.into());
            ("run_text CROSS JOIN runs ON runs.id = run_text.rowid / 2", "run_text.rowid")
        }
    };
    if let Some(flow) = &filter.flow {
        conditions.push("flow = ?".into());
        values.push(flow.as_str().to_owned().into());
    }
    if !filter.status.is_empty() {
        conditions.push(format!("status IN ({})", vec!["?"; filter.status.len()].join(", ")));
        values.extend(filter.status.iter().map(|status| Value::from(status.word().to_owned())));
    }
    if let Some(since) = filter.since {
        conditions.push("created_at >= ?".into());
        values.push(i64::try_from(since.as_nanosecond()).unwrap_or(i64::MAX).into());
    }
    if let Some(root) = &filter.root {
        conditions.push("root = ?".into());
        values.push(root.as_str().to_owned().into());
    }
    let mut sql = format!("SELECT runs.id FROM {from}");
    if !conditions.is_empty() {
        sql.push_str(" WHERE ");
        sql.push_str(&conditions.join(" AND "));
    }
    sql.push_str(" ORDER BY ");
    sql.push_str(order);
    sql.push_str(" DESC");
    // A search may find a run twice, so that it counts by itself.
    if let (Some(limit), None) = (filter.limit, &filter.search) {
        sql.push_str(" LIMIT ?");
        values.push(int(limit.into()).into());
    }
    (sql, values)
}

pub(super) fn definition(connection: &Connection, hash: &Hash) -> Result<Option<String>, Fail> {
    let mut query = connection.prepare_cached("SELECT text, text_size FROM definitions WHERE hash = ?")?;
    let mut rows = query.query([hash])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    unpack_text(row, 0).map(Some).map_err(|cause| broken("read the definition of a flow", cause))
}

pub(super) fn branches(connection: &Connection, root: &RunId) -> Result<Vec<Branch>, Fail> {
    let first: Option<Nanos> = connection
        .prepare_cached("SELECT created_at FROM runs WHERE root = ? ORDER BY id LIMIT 1")?
        .query_row([root], |row| row.get(0))
        .optional()?;
    let Some(Nanos(created_at)) = first else { return Ok(Vec::new()) };
    let mut found =
        vec![Branch { branch_name: BranchName::main(), forked_from: None, created_at, created_by: None }];
    let mut query = connection.prepare_cached(
        "SELECT name, forked_from, created_at, created_by FROM branches WHERE root = ? ORDER BY id",
    )?;
    let mut rows = query.query(params![root])?;
    while let Some(row) = rows.next()? {
        found.push(Branch {
            branch_name: row.get(0)?,
            forked_from: row.get(1)?,
            created_at: row.get::<_, Nanos>(2)?.0,
            created_by: row.get(3)?,
        });
    }
    Ok(found)
}
