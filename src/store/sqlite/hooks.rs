//! Commands after runs.

use rusqlite::{Connection, Row, params};

use super::fail::Fail;
use super::runs;
use super::stages::time;
use super::values::at;
use crate::domain::flow::ids::RunId;
use crate::domain::flow::record::HookRecord;

pub(super) fn set(connection: &Connection, run: i64, hook: &HookRecord) -> Result<(), Fail> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO hooks (run, name, number, verdict, exit_code, signal, started_at, ended_at, log, \
             error) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            run,
            hook.name,
            hook.number,
            hook.verdict,
            hook.exit_code,
            hook.signal,
            at(hook.started_at),
            at(hook.ended_at),
            hook.log,
            hook.error,
        ])?;
    Ok(())
}

pub(super) fn set_of(connection: &Connection, run: &RunId, hook: &HookRecord) -> Result<(), Fail> {
    set(connection, runs::id(connection, run)?, hook)
}

/// From this column of a run on, which are null where it has none.
pub(super) fn of(row: &Row<'_>, from: usize) -> rusqlite::Result<Option<HookRecord>> {
    let Some(name) = row.get(from)? else { return Ok(None) };
    Ok(Some(HookRecord {
        name,
        number: row.get(from + 1)?,
        verdict: row.get(from + 2)?,
        exit_code: row.get(from + 3)?,
        signal: row.get(from + 4)?,
        started_at: time(row, from + 5)?,
        ended_at: time(row, from + 6)?,
        log: row.get(from + 7)?,
        error: row.get(from + 8)?,
    }))
}

pub(super) const OPEN: &str = "SELECT run_id FROM hooks JOIN runs ON runs.id = hooks.run WHERE hooks.ended_at IS NULL ORDER BY hooks.run";

pub(super) fn open(connection: &Connection) -> Result<Vec<RunId>, Fail> {
    let mut query = connection.prepare_cached(OPEN)?;
    let found = query.query_map([], |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}
