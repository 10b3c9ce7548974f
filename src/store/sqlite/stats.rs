//! What history says about retries, counted by the database.

use rusqlite::{Connection, params};

use super::fail::Fail;
use super::values::uint;
use crate::domain::flow::ids::FlowName;
use crate::ports::store::{FailingStage, Stats};

pub(super) fn stats(connection: &Connection, flow: Option<&FlowName>) -> Result<Stats, Fail> {
    let mut stats = connection
        .prepare_cached(
            "SELECT count(*), \
             count(*) FILTER (WHERE status IN ('succeeded', 'degraded')), \
             count(*) FILTER (WHERE status = 'failed'), \
             count(*) FILTER (WHERE cause = 'retry'), \
             count(*) FILTER (WHERE cause = 'retry' AND status IN ('succeeded', 'degraded')) \
             FROM runs WHERE ?1 IS NULL OR flow = ?1",
        )?
        .query_row(params![flow], |row| {
            Ok(Stats {
                runs: uint(row.get(0)?),
                succeeded: uint(row.get(1)?),
                failed: uint(row.get(2)?),
                retries: uint(row.get(3)?),
                retries_succeeded: uint(row.get(4)?),
                ..Stats::default()
            })
        })?;
    stats.seconds_lost = seconds_lost(connection, flow)?;
    stats.failing = failing(connection, flow)?;
    stats.recovered_after = counted(connection, RECOVERED_AFTER, flow)?;
    stats.recovered_at_retry = counted(connection, RECOVERED_AT_RETRY, flow)?;
    Ok(stats)
}

fn seconds_lost(connection: &Connection, flow: Option<&FlowName>) -> Result<f64, Fail> {
    Ok(connection
        .prepare_cached(
            "SELECT total(attempts.ended_at - attempts.started_at) / 1e9 FROM attempts JOIN runs ON runs.id = run \
             WHERE attempts.error IS NOT NULL AND (?1 IS NULL OR flow = ?1)",
        )?
        .query_row(params![flow], |row| row.get(0))?)
}

/// The error is that of the newest run, which is what the lone maximum makes of the other columns.
pub(super) const FAILING: &str = "SELECT flow, stages.name, count(*), stages.error, max(runs.id) \
     FROM runs CROSS JOIN stages INDEXED BY stages_of_status ON stages.run = runs.id AND stages.status = 'failed' \
     WHERE ?1 IS NULL OR flow = ?1 GROUP BY flow, stages.name ORDER BY count(*) DESC, flow, stages.name";

fn failing(connection: &Connection, flow: Option<&FlowName>) -> Result<Vec<FailingStage>, Fail> {
    let mut query = connection.prepare_cached(FAILING)?;
    let found = query.query_map(params![flow], |row| {
        Ok(FailingStage {
            flow: row.get(0)?,
            stage: row.get(1)?,
            failures: uint(row.get(2)?),
            last_error: row.get(3)?,
        })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

const RECOVERED_AFTER: &str = "SELECT last - 1, count(*) FROM (SELECT max(attempts.number) AS last FROM stages \
     JOIN runs ON runs.id = stages.run \
     JOIN attempts ON attempts.run = stages.run AND attempts.stage = stages.name \
     WHERE stages.status IN ('succeeded', 'degraded') AND decision = 'execute' AND (?1 IS NULL OR flow = ?1) \
     GROUP BY stages.run, stages.name) WHERE last > 1 GROUP BY last";

const RECOVERED_AT_RETRY: &str = "SELECT retry_number, count(*) FROM runs \
     WHERE cause = 'retry' AND retry_number > 0 AND status IN ('succeeded', 'degraded') AND (?1 IS NULL OR flow = ?1) \
     GROUP BY retry_number";

/// The count of each number, from 1 on.
fn counted(connection: &Connection, query: &str, flow: Option<&FlowName>) -> Result<Vec<u64>, Fail> {
    let mut query = connection.prepare_cached(query)?;
    let mut rows = query.query(params![flow])?;
    let mut counts = Vec::new();
    while let Some(row) = rows.next()? {
        let place = usize::try_from(row.get::<_, i64>(0)? - 1).unwrap_or_default();
        if counts.len() <= place {
            counts.resize(place + 1, 0);
        }
        counts[place] = uint(row.get(1)?);
    }
    Ok(counts)
}
