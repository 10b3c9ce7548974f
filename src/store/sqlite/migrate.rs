//! Brings an older store up to date, one numbered step at a time, all of them in one transaction.

use rusqlite::{Connection, params};

use super::fail::{Fail, broken};
use super::pack::unpack;
use super::search;
use crate::domain::flow::ids::RunId;
use crate::domain::json::JsonMap;
use crate::ports::store::StoreError;

/// The step that leads to the version of its place in the list, counted from one.
struct Step {
    sql: &'static str,
    /// What SQL alone cannot do.
    then: fn(&Connection) -> Result<(), Fail>,
}

const STEPS: &[Step] = &[
    Step { sql: include_str!("../migrations/0001_history.sql"), then: |_| Ok(()) },
    Step { sql: include_str!("../migrations/0002_search.sql"), then: fill_search },
    Step { sql: include_str!("../migrations/0003_time_left.sql"), then: |_| Ok(()) },
    Step { sql: include_str!("../migrations/0004_hooks.sql"), then: |_| Ok(()) },
    Step { sql: include_str!("../migrations/0005_rewind.sql"), then: |_| Ok(()) },
    Step { sql: include_str!("../migrations/0006_keys.sql"), then: |_| Ok(()) },
    Step { sql: include_str!("../migrations/0007_recipes.sql"), then: |_| Ok(()) },
    Step { sql: include_str!("../migrations/0008_retry_number.sql"), then: |_| Ok(()) },
    Step { sql: include_str!("../migrations/0009_trigger.sql"), then: |_| Ok(()) },
];

/// `RSTG`, so that no other program's database is taken for ours.
const APPLICATION: i64 = 0x5253_5447;

/// The version that this restage writes.
#[expect(clippy::cast_possible_wrap, reason = "a handful of steps")]
pub(in crate::store) const KNOWN: i64 = STEPS.len() as i64;

/// What stands at the head of the file. A new, empty one has version 0.
pub(super) fn version(connection: &Connection, path: &str) -> Result<i64, Fail> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (found, application) = (pragma("user_version")?, pragma("application_id")?);
    let empty = || connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0));
    if application != APPLICATION && (found != 0 || application != 0 || !empty()?) {
        return Err(broken(format!("open the store {path}"), "it is the database of another program"));
    }
    if found > KNOWN {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: KNOWN }.into());
    }
    Ok(found)
}

/// Within a transaction that writes.
pub(super) fn migrate(connection: &Connection, path: &str) -> Result<(), Fail> {
    let found = version(connection, path)?;
    for (leads_to, step) in (1_i64..).zip(STEPS).filter(|(leads_to, _)| *leads_to > found) {
        connection.execute_batch(step.sql)?;
        (step.then)(connection)?;
        connection.pragma_update(None, "user_version", leads_to)?;
    }
    Ok(())
}

fn fill_search(connection: &Connection) -> Result<(), Fail> {
    let mut runs = connection
        .prepare("SELECT runs.id, run_id, error, value, value_size FROM runs JOIN inputs ON run = runs.id")?;
    let mut rows = runs.query(params![])?;
    while let Some(row) = rows.next()? {
        let run: RunId = row.get(1)?;
        // Inputs that cannot be read cannot be searched; nothing else is lost by that.
        let inputs: JsonMap = unpack(row, 3).unwrap_or_default();
        search::add_run(connection, row.get(0)?, &run, &inputs)?;
        search::set_error(connection, row.get(0)?, row.get::<_, Option<String>>(2)?.as_deref())?;
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::store) fn first_version() -> &'static str {
    STEPS[0].sql
}
