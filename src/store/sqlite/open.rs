//! Opens the file: to write, by the one that does so in a workspace; or only to read, beside it.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::fail::{Fail, NO_ROOM, broken, database};
use super::migrate::{KNOWN, migrate, version};
use super::transaction;
use crate::ports::store::StoreError;

/// Another process may be in the middle of its migration, or of bringing a log back after a crash.
const PATIENCE: Duration = Duration::from_secs(5);
/// In pages. It bounds the log of one that never comes to rest; checkpoints are meant to happen in quiet moments.
const LOG_PAGES: i64 = 8192;
/// Every statement there is.
const STATEMENTS: usize = 64;

pub(super) fn to_write(path: &Path) -> Result<Connection, StoreError> {
    let name = path.display().to_string();
    let act = format!("open the store {name}");
    make_private(path).map_err(|error| no_file(&act, &error))?;
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, &act)?;
    let ready = || -> Result<(), Fail> {
        version(&connection, &name)?;
        let mode: String =
            connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
        if mode != "wal" {
            return Err(broken(
                &act,
                "its file system knows no shared memory; keep `.restage` on a local disk",
            ));
        }
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
        connection.pragma_update(None, "journal_size_limit", LOG_PAGES * 4096)?;
        Ok(())
    };
    ready().map_err(|fail| fail.said(&act, &connection))?;
    transaction(&connection, &act, |connection| migrate(connection, &name))?;
    Ok(connection)
}

/// `None`: nothing was ever written there.
pub(super) fn to_read(path: &Path) -> Result<Option<Connection>, StoreError> {
    let name = path.display().to_string();
    let act = format!("read the store {name}");
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(no_file(&act, &error)),
        Ok(found) if found.len() == 0 => return Ok(None),
        Ok(_) => {}
    }
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, &act)?;
    let (connection, found) = match version(&connection, &name) {
        Ok(found) => (connection, found),
        Err(Fail::Database(error)) if lacks_shared_memory(&error) => without_shared_memory(path, &act)?,
        Err(fail) => return Err(fail.said(&act, &connection)),
    };
    match found {
        // Somebody is about to write it for the first time.
        0 => Ok(None),
        KNOWN => Ok(Some(connection)),
        _ => {
            drop(connection);
            drop(to_write(path)?);
            connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, &act).map(Some)
        }
    }
}

/// Readers and writers meet in a file beside the store. Where that is missing and cannot be made, nobody can be writing,
/// and the store is read as it lies there, unless its last changes are still in the log.
fn without_shared_memory(path: &Path, act: &str) -> Result<(Connection, i64), StoreError> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        let cause = "its last changes are in the -wal file beside it, which can be read only where the folder can be \
                     written to; copy the folder to such a place";
        return Err(StoreError::Broken { act: act.to_owned(), cause: cause.to_owned() });
    }
    let connection = connect_uri(&immutable_uri(path), act)?;
    let found =
        version(&connection, &path.display().to_string()).map_err(|fail| fail.said(act, &connection))?;
    Ok((connection, found))
}

fn lacks_shared_memory(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, ReadOnly};
    matches!(error.sqlite_error_code(), Some(CannotOpen | ReadOnly))
}

fn immutable_uri(path: &Path) -> String {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => {
                uri.push(char::from(*byte));
            }
            // Writing into a text cannot fail.
            _ => write!(uri, "%{byte:02x}").unwrap_or_default(),
        }
    }
    uri.push_str("?immutable=1");
    uri
}

fn connect(path: &Path, access: OpenFlags, act: &str) -> Result<Connection, StoreError> {
    set_up(Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX), act)
}

fn connect_uri(uri: &str, act: &str) -> Result<Connection, StoreError> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    set_up(Connection::open_with_flags(uri, flags), act)
}

fn set_up(opened: rusqlite::Result<Connection>, act: &str) -> Result<Connection, StoreError> {
    let set = |connection: Connection| {
        connection.busy_timeout(PATIENCE)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        // How a statement is executed does not depend on its values: else it is compiled anew for others.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        Ok(connection)
    };
    opened.and_then(set).map_err(|error| database(act, &error, 0))
}

/// The file and its folder exist and are the user's own. SQLite gives what it puts beside the file the same mode.
fn make_private(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    // One that is there is not opened here: closing it would give back the locks that another connection of this process
    // holds on it.
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => return other.map(drop),
    }
    let found = fs::symlink_metadata(path)?;
    if !found.is_file() {
        return Err(io::Error::other("it is no ordinary file"));
    }
    if found.permissions().mode() & 0o777 != 0o600 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

fn no_file(act: &str, error: &io::Error) -> StoreError {
    let (act, cause) = (act.to_owned(), error.to_string());
    if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        return StoreError::Later { act, cause: NO_ROOM.to_owned() };
    }
    StoreError::Broken { act, cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_on_the_disk_when_it_is_told_and_keys_lead_somewhere() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.db");
        let of = |connection: &Connection, name: &str| -> i64 {
            connection.pragma_query_value(None, name, |row| row.get(0)).unwrap()
        };
        let writes = to_write(&path).unwrap();
        // FULL
        assert_eq!((of(&writes, "synchronous"), of(&writes, "foreign_keys")), (2, 1));
        let mode: String = writes.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
        let refused = writes.execute("INSERT INTO inputs (run, value) VALUES (77, '{}')", []).unwrap_err();
        assert!(refused.to_string().contains("FOREIGN KEY constraint failed"), "{refused}");
        let reads = to_read(&path).unwrap().unwrap();
        assert_eq!(of(&reads, "foreign_keys"), 1);
        // The same where the file was there before.
        drop((writes, reads));
        let again = to_write(&path).unwrap();
        assert_eq!((of(&again, "synchronous"), of(&again, "foreign_keys")), (2, 1));
    }
}
