//! What goes wrong in the database, in the words of the port.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::{Connection, Error, ErrorCode};

use crate::ports::store::StoreError;

/// Inside of a transaction: said in full already, or an error of the database that lacks the act.
#[derive(Debug)]
pub(super) enum Fail {
    Said(StoreError),
    Database(Error),
}

impl From<Error> for Fail {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

impl From<StoreError> for Fail {
    fn from(error: StoreError) -> Self {
        Self::Said(error)
    }
}

impl Fail {
    /// To be called before anything else is done with the connection: it keeps the error number of its last failure only.
    pub(super) fn said(self, act: &str, connection: &Connection) -> StoreError {
        match self {
            Self::Said(error) => error,
            Self::Database(error) => {
                let errno = system_errno(connection);
                if error.sqlite_error_code() != Some(ErrorCode::CannotOpen) || errno != libc::ENOENT {
                    return database(act, &error, errno);
                }
                match errno_of_a_new_file(connection) {
                    Some(errno) => database(act, &error, errno),
                    None => StoreError::Later { act: act.to_owned(), cause: MADE_BY_NOW.to_owned() },
                }
            }
        }
    }
}

pub(super) fn broken(act: impl Into<String>, cause: impl Display) -> Fail {
    Fail::Said(StoreError::Broken { act: act.into(), cause: cause.to_string() })
}

pub(super) fn database(act: &str, error: &Error, errno: i32) -> StoreError {
    let act = act.to_owned();
    let no_room = matches!(errno, libc::ENOSPC | libc::EDQUOT);
    let later = |cause: &str| StoreError::Later { act: act.clone(), cause: cause.to_owned() };
    let broken = |cause: String| StoreError::Broken { act: act.clone(), cause };
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => later(NO_ROOM),
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) if no_room => later(NO_ROOM),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => {
            later("another process writes there and does not come to an end")
        }
        Some(ErrorCode::OutOfMemory) => later("there is not enough memory"),
        Some(ErrorCode::NotADatabase) => {
            broken(format!("it is no database of restage; to begin a new one, {MOVE_IT}"))
        }
        Some(ErrorCode::DatabaseCorrupt) => broken(format!(
            "it is damaged ({error}); `sqlite3 history.db .recover` may save what is in it; to begin a new one, {MOVE_IT}"
        )),
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) if errno != 0 => {
            broken(format!("{error}: {}", std::io::Error::from_raw_os_error(errno)))
        }
        _ => broken(error.to_string()),
    }
}

pub(super) const NO_ROOM: &str = "the disk is full";
const MADE_BY_NOW: &str = "a file beside it could not be made, and can be by now";
const MOVE_IT: &str = "move it away together with its -wal and -shm files";

/// Where `SQLite` could not make a file of its own, it opens it once more, only to read, and tells of that: there is no such
/// file. Why it could not be made is known only by trying again; `None` where that is possible by now.
fn errno_of_a_new_file(connection: &Connection) -> Option<i32> {
    let Some(folder) = connection.path().and_then(|path| Path::new(path).parent()) else {
        return Some(libc::ENOENT);
    };
    let made = OpenOptions::new().write(true).mode(0o600).custom_flags(libc::O_TMPFILE).open(folder);
    match made.err()?.raw_os_error() {
        // Not every file system has files without a name.
        Some(libc::EOPNOTSUPP | libc::EISDIR) | None => Some(libc::ENOENT),
        told => told,
    }
}

fn system_errno(connection: &Connection) -> i32 {
    // SAFETY: the handle is that of an open connection, and the call only reads from it.
    unsafe { rusqlite::ffi::sqlite3_system_errno(connection.handle()) }
}
