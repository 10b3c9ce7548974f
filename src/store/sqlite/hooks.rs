//! Commands after runs.

use rusqlite::{Connection, params};

use super::columns::Columns;
use super::fail::Fail;
use super::runs;
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
pub(super) fn of(columns: &mut Columns<'_, '_>, from: usize) -> Option<HookRecord> {
    Some(HookRecord {
        name: columns.some(from)?,
        number: columns.get(from + 1, 1),
        verdict: columns.some(from + 2),
        exit_code: columns.some(from + 3),
        signal: columns.some(from + 4),
        started_at: columns.time(from + 5),
        ended_at: columns.time(from + 6),
        log: columns.some(from + 7),
        error: columns.some(from + 8),
    })
}

pub(super) const OPEN: &str = "SELECT run_id FROM hooks JOIN runs ON runs.id = hooks.run WHERE hooks.ended_at IS NULL ORDER BY hooks.run";

pub(super) fn open(connection: &Connection) -> Result<Vec<RunId>, Fail> {
    let mut query = connection.prepare_cached(OPEN)?;
    let found = query.query_map([], |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}
