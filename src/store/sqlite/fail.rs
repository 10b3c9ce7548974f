//! What goes wrong in the database, in the words of the port.

use std::fmt::Display;

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
            Self::Database(error) => database(act, &error, system_errno(connection)),
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
const MOVE_IT: &str = "move it away together with its -wal and -shm files";

fn system_errno(connection: &Connection) -> i32 {
    // SAFETY: the handle is that of an open connection, and the call only reads from it.
    unsafe { rusqlite::ffi::sqlite3_system_errno(connection.handle()) }
}
