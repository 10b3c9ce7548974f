//! Runs as they are read: one, whole; or a list.

use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::columns::Columns;
use super::fail::{Fail, broken};
use super::pack::{unpack, unpack_text};
use super::stages::of_run;
use super::values::{Nanos, int, uint};
use super::{begin, hooks, search};
use crate::domain::flow::ids::{BranchName, FlowName, Hash, RunId};
use crate::domain::flow::record::{Branch, RunFilter, RunRecord};
use crate::domain::flow::status::{Cause, RunStatus};
use crate::domain::json::JsonMap;
use crate::domain::time::Timestamp;
use crate::ports::store::{StoredRun, unread};

const COLUMNS: &str = "SELECT run_id, runs.number, flow, hash, status, cause, runs.error, runs.started_at, \
     runs.ended_at, duration_seconds, cost, parent, root, caller, retry_from, retry_depth, \
     substr(key, length(flow) + 2), deadline, branch, \
     created_at, runs.id, epoch, holder, approve_all, value, value_size, time_left, hooks.name, hooks.number, verdict, exit_code, \
     signal, hooks.started_at, hooks.ended_at, log, hooks.error, retry_number, begun_by \
     FROM runs LEFT JOIN definitions ON definitions.id = definition LEFT JOIN inputs ON inputs.run = runs.id \
     LEFT JOIN hooks ON hooks.run = runs.id";

/// `told`: what of it cannot be read.
fn record(row: &Row<'_>, told: &mut Vec<String>) -> rusqlite::Result<RunRecord> {
    let run_id = row.get(0)?;
    let mut columns = Columns::new(row, ("run", 0), told);
    let cause = columns.get(5, Cause::Manual);
    Ok(RunRecord {
        run_number: uint(columns.get(1, 0)),
        flow: row.get(2)?,
        def_hash: columns.get(3, Hash::of(["unknown"])),
        // Nothing goes on by itself of which nobody knows how far it is.
        status: columns.get(4, RunStatus::Interrupted),
        cause,
        // A supervisor of the version before leaves it out.
        trigger: columns.some(37).unwrap_or(cause),
        inputs: unpack(row, 24).unwrap_or_else(|why| columns.without(24, &why, JsonMap::new())),
        error: columns.some(6),
        started_at: columns.time(7),
        ended_at: columns.time(8),
        duration_seconds: columns.some(9),
        cost: columns.some(10),
        parent_run_id: columns.some(11),
        root_run_id: row.get(12)?,
        caller_run_id: columns.some(13),
        retry_from_stage: columns.some(14),
        retry_depth: columns.get(15, 0),
        retry_number: columns.some(36),
        idempotency_key: columns.some(16),
        deadline: columns.time(17),
        branch: row.get(18)?,
        created_at: columns.time(19).unwrap_or(Timestamp::UNIX_EPOCH),
        stages: None,
        left: false,
        held: None,
        hook: hooks::of(&mut columns, 27),
        run_id,
    })
}

pub(super) fn run(connection: &Connection, run: &RunId) -> Result<Option<StoredRun>, Fail> {
    let mut query = connection.prepare_cached(&format!("{COLUMNS} WHERE run_id = ?"))?;
    let mut rows = query.query([run])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let mut told = Vec::new();
    let mut record = record(row, &mut told)?;
    record.stages = Some(of_run(connection, row.get(20)?, &mut told)?);
    let mut columns = Columns::new(row, ("run", 0), &mut told);
    let (epoch, holder) = (uint(columns.get(21, 0)), columns.get(22, String::new()));
    let (approve_all, time_left) = (columns.get(23, false), columns.some::<i64>(26));
    let unreadable = told.into_iter().next();
    tell(&mut record, unreadable.as_deref());
    Ok(Some(StoredRun {
        record,
        epoch,
        holder,
        approve_all,
        time_left: time_left.map(|left| Duration::from_nanos(uint(left))),
        unreadable,
    }))
}

/// Whoever looks at it sees what is wrong with it.
fn tell(record: &mut RunRecord, unreadable: Option<&str>) {
    let Some(why) = unreadable.map(unread) else { return };
    record.error = Some(match record.error.take() {
        Some(error) => format!("{error}; {why}"),
        None => why,
    });
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
        // One that is damaged does not hide the others.
        found.push(query.query_row([id], |row| {
            let mut told = Vec::new();
            let mut record = record(row, &mut told)?;
            tell(&mut record, told.first().map(String::as_str));
            Ok(record)
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
