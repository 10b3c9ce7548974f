//! Takes runs out of history, unless somebody builds on them.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension, Params, params};

use super::fail::Fail;
use super::search;
use crate::domain::flow::ids::{BranchName, RunId};
use crate::domain::flow::status::RunStatus;
use crate::ports::store::StoreError;

struct Gone {
    run: RunId,
    root: RunId,
    branch: BranchName,
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
    let mut branches_gone = Vec::new();
    while let Some(one) = next.pop() {
        let Gone { run, root, branch, .. } = describe(connection, one)?;
        let branches = ids(connection, BRANCHES, params![one, root, branch])?;
        let mut others: BTreeSet<i64> = ids(connection, USERS, [one])?.into_iter().collect();
        for branch in &branches {
            others.extend(ids::<i64>(connection, ON_BRANCH, params![root, branch])?);
        }
        others.retain(|other| !gone.contains_key(other));
        let all: Vec<i64> = ids(connection, OF_LINEAGE, [&root])?;
        let lives_on = all.iter().any(|other| !gone.contains_key(other));
        if lives_on && !cascade && !(others.is_empty() && branches.is_empty()) {
            let by = others.into_iter().map(|user| describe(connection, user).map(|user| user.run));
            return Err(StoreError::Reused { run, by: by.collect::<Result<_, _>>()?, branches }.into());
        }
        branches_gone.extend(branches.into_iter().map(|branch: BranchName| (root.clone(), branch)));
        for user in others {
            gone.insert(user, describe(connection, user)?);
            next.push(user);
        }
    }
    if let Some(live) =
        gone.values().find(|one| !one.status.is_final() && one.status != RunStatus::Interrupted)
    {
        return Err(StoreError::UnderWay { run: live.run.clone(), status: live.status }.into());
    }
    for (root, branch) in branches_gone {
        connection
            .prepare_cached("DELETE FROM branches WHERE root = ? AND name = ?")?
            .execute(params![root, branch])?;
    }
    // Whoever reuses something began later, so that it goes first.
    for (id, one) in gone.iter().rev() {
        remove(connection, *id, one)?;
    }
    Ok(gone.into_values().map(|one| one.run).collect())
}

/// The other runs that name a checkpoint of a run, the oldest first.
pub(super) const USERS: &str = "SELECT DISTINCT stages.run FROM checkpoints \
     CROSS JOIN stages ON stages.checkpoint = checkpoints.id \
     WHERE checkpoints.run = ?1 AND stages.run <> ?1 ORDER BY stages.run";

/// The other branches that leave from a checkpoint of a run, or have one of their own there: an edit, where nothing has run
/// on them yet.
const BRANCHES: &str = "SELECT name FROM branches WHERE root = ?2 AND name <> ?3 AND (\
     name IN (SELECT branch FROM checkpoints WHERE run = ?1) \
     OR forked_from IN (SELECT stage || '@' || version FROM checkpoints WHERE run = ?1)) ORDER BY id";

const ON_BRANCH: &str = "SELECT id FROM runs WHERE root = ? AND branch = ?";

const OF_LINEAGE: &str = "SELECT id FROM runs WHERE root = ?";

/// What a query finds that asks for one column.
fn ids<T: FromSql>(connection: &Connection, query: &str, of: impl Params) -> Result<Vec<T>, Fail> {
    let mut query = connection.prepare_cached(query)?;
    let found = query.query_map(of, |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn describe(connection: &Connection, run: i64) -> Result<Gone, Fail> {
    Ok(connection
        .prepare_cached("SELECT run_id, root, branch, status, definition FROM runs WHERE id = ?")?
        .query_row([run], |row| {
        Ok(Gone {
            run: row.get(0)?,
            root: row.get(1)?,
            branch: row.get(2)?,
            // One of which nobody knows how far it is can be deleted.
            status: row.get(3).unwrap_or(RunStatus::Interrupted),
            definition: row.get(4)?,
        })
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
