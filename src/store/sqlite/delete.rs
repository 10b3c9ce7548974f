//! Takes runs out of history, unless somebody builds on them.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::fail::{Fail, broken};
use super::search;
use crate::domain::flow::ids::RunId;
use crate::domain::flow::status::RunStatus;
use crate::ports::store::StoreError;

struct Gone {
    run: RunId,
    root: RunId,
    status: RunStatus,
    definition: i64,
}

pub(super) fn delete(connection: &Connection, runs: &[RunId], cascade: bool) -> Result<Vec<RunId>, Fail> {
    let mut gone = BTreeMap::new();
    for run in runs {
        let id: Option<i64> = connection
            .prepare_cached("SELECT id FROM runs WHERE run_id = ?")?
            .query_row([run], |row| row.get(0))
            .optional()?;
        if let Some(id) = id {
            gone.insert(id, describe(connection, id)?);
        }
    }
    let mut next: Vec<i64> = gone.keys().copied().collect();
    while let Some(one) = next.pop() {
        let others: Vec<i64> =
            users(connection, one)?.into_iter().filter(|user| !gone.contains_key(user)).collect();
        if !others.is_empty() && !cascade {
            let run = describe(connection, one)?.run;
            let by = others.into_iter().map(|user| describe(connection, user).map(|user| user.run));
            return Err(StoreError::Reused { run, by: by.collect::<Result<_, _>>()? }.into());
        }
        for user in others {
            gone.insert(user, describe(connection, user)?);
            next.push(user);
        }
    }
    if let Some(live) =
        gone.values().find(|one| !one.status.is_final() && one.status != RunStatus::Interrupted)
    {
        let cause = format!("{} is {}; cancel it first", live.run, live.status);
        return Err(broken("delete runs", cause));
    }
    // Whoever reuses something began later, so that it goes first.
    for (id, one) in gone.iter().rev() {
        remove(connection, *id, one)?;
    }
    Ok(gone.into_values().map(|one| one.run).collect())
}

pub(super) const USERS: &str = "SELECT DISTINCT stages.run FROM checkpoints \
     CROSS JOIN stages ON stages.checkpoint = checkpoints.id \
     WHERE checkpoints.run = ?1 AND stages.run <> ?1 ORDER BY stages.run";

/// The other runs that name a checkpoint of this one, the oldest first.
fn users(connection: &Connection, run: i64) -> Result<Vec<i64>, Fail> {
    let mut query = connection.prepare_cached(USERS)?;
    let found = query.query_map([run], |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn describe(connection: &Connection, run: i64) -> Result<Gone, Fail> {
    Ok(connection
        .prepare_cached("SELECT run_id, root, status, definition FROM runs WHERE id = ?")?
        .query_row([run], |row| {
            Ok(Gone { run: row.get(0)?, root: row.get(1)?, status: row.get(2)?, definition: row.get(3)? })
        })?)
}

fn remove(connection: &Connection, id: i64, one: &Gone) -> Result<(), Fail> {
    connection
        .prepare_cached(
            "INSERT INTO deleted_versions (root, stage, last) \
             SELECT root, stage, max(version) FROM checkpoints WHERE run = ? GROUP BY root, stage \
             ON CONFLICT DO UPDATE SET last = max(last, excluded.last)",
        )?
        .execute([id])?;
    search::remove_run(connection, id)?;
    connection.prepare_cached("DELETE FROM runs WHERE id = ?")?.execute([id])?;
    connection
        .prepare_cached(
            "DELETE FROM definitions WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM runs WHERE definition = ?1)",
        )?
        .execute([one.definition])?;
    for table in ["branches", "deleted_versions"] {
        connection
            .prepare_cached(&format!(
                "DELETE FROM {table} WHERE root = ?1 AND NOT EXISTS (SELECT 1 FROM runs WHERE root = ?1)"
            ))?
            .execute(params![one.root])?;
    }
    Ok(())
}
