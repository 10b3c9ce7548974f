//! The columns of a row, of which one may hold what nobody here has written: that is told, and the rest is read all the
//! same. A run is known by more than one row, and a damaged one must not hide it.

use rusqlite::types::{FromSql, ValueRef};
use rusqlite::{Error, Row};

use super::values::Nanos;
use crate::domain::time::Timestamp;

pub(super) struct Columns<'a, 'q> {
    row: &'a Row<'q>,
    /// What the row is of, and the column that names it.
    of: (&'static str, usize),
    told: &'a mut Vec<String>,
}

impl<'a, 'q> Columns<'a, 'q> {
    pub(super) fn new(row: &'a Row<'q>, of: (&'static str, usize), told: &'a mut Vec<String>) -> Self {
        Self { row, of, told }
    }

    pub(super) fn get<T: FromSql>(&mut self, column: usize, otherwise: T) -> T {
        match self.row.get(column) {
            Ok(value) => value,
            Err(Error::FromSqlConversionFailure(_, _, why)) => {
                self.without(column, &why.to_string(), otherwise)
            }
            Err(error) => self.without(column, &error.to_string(), otherwise),
        }
    }

    pub(super) fn some<T: FromSql>(&mut self, column: usize) -> Option<T> {
        self.get(column, None)
    }

    pub(super) fn time(&mut self, column: usize) -> Option<Timestamp> {
        self.some::<Nanos>(column).map(|nanos| nanos.0)
    }

    pub(super) fn without<T>(&mut self, column: usize, why: &str, otherwise: T) -> T {
        let (kind, named) = self.of;
        let name = match self.row.get_ref(named) {
            Ok(ValueRef::Text(name)) => String::from_utf8_lossy(name).into_owned(),
            Ok(ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Blob(_)) | Err(_) => {
                "?".into()
            }
        };
        let column = self.row.as_ref().column_name(column).unwrap_or("?");
        self.told.push(format!("{kind} {name}: {column}: {why}"));
        otherwise
    }
}
