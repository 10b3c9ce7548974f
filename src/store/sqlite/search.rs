//! Finds runs by a piece of their name, inputs or error, through an index of all three-letter pieces.

use rusqlite::{Connection, params};

use super::fail::Fail;
use crate::domain::flow::ids::RunId;
use crate::domain::json::JsonMap;
use crate::store::search::{cut, run_text};

pub(super) fn add_run(connection: &Connection, id: i64, run: &RunId, inputs: &JsonMap) -> Result<(), Fail> {
    put(connection, id * 2, &run_text(run, inputs))
}

pub(super) fn set_error(connection: &Connection, id: i64, error: Option<&str>) -> Result<(), Fail> {
    match error {
        Some(error) => put(connection, id * 2 + 1, cut(error)),
        None => take(connection, id * 2 + 1),
    }
}

pub(super) fn remove_run(connection: &Connection, id: i64) -> Result<(), Fail> {
    take(connection, id * 2)?;
    take(connection, id * 2 + 1)
}

fn put(connection: &Connection, rowid: i64, text: &str) -> Result<(), Fail> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO run_text (rowid, text) VALUES (?, ?)")?
        .execute(params![rowid, text])?;
    Ok(())
}

fn take(connection: &Connection, rowid: i64) -> Result<(), Fail> {
    connection.prepare_cached("DELETE FROM run_text WHERE rowid = ?")?.execute([rowid])?;
    Ok(())
}

/// The condition on `run_text` that finds a text, and the text as it is to be bound to it.
pub(super) fn condition(text: &str) -> (&'static str, String) {
    // The index knows pieces of three letters; what is shorter is looked for in the texts themselves.
    if text.chars().count() >= 3 {
        return ("run_text MATCH ?", format!("\"{}\"", text.replace('"', "\"\"")));
    }
    let escaped = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    ("run_text.text LIKE ? ESCAPE '\\'", format!("%{escaped}%"))
}
