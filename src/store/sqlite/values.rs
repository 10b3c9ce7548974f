//! Our words, names and times as columns.

use std::time::Duration;

use rusqlite::ToSql;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::Error as WordError;

use crate::domain::flow::ids::{BranchName, CheckpointId, FlowName, Hash, RunId, StageName};
use crate::domain::flow::status::{Approval, Cause, Decision, Hook, Reason, RunStatus, StageStatus};
use crate::domain::time::Timestamp;
use crate::domain::verdict::Verdict;

macro_rules! names {
    ($($name:ident),+) => { $(
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.as_str().into())
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                value.as_str().map(Self::trusted)
            }
        }
    )+ };
}

macro_rules! words {
    ($($name:ident),+) => { $(
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.word().into())
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                let word = value.as_str()?;
                Self::deserialize(word.into_deserializer())
                    .map_err(|error: WordError| FromSqlError::Other(Box::new(error)))
            }
        }
    )+ };
}

names!(BranchName, FlowName, Hash, RunId, StageName);
words!(Approval, Decision, Hook, Reason, RunStatus, StageStatus, Cause, Verdict);

impl ToSql for CheckpointId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.to_string().into())
    }
}

impl FromSql for CheckpointId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::parse(value.as_str()?).map_err(|error| FromSqlError::Other(error.into()))
    }
}

/// A time, as nanoseconds after 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nanos(pub(super) Timestamp);

impl ToSql for Nanos {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        // Two centuries hence it is as late as can be.
        Ok(i64::try_from(self.0.as_nanosecond()).unwrap_or(i64::MAX).into())
    }
}

impl FromSql for Nanos {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Timestamp::from_nanosecond(value.as_i64()?.into())
            .map(Self)
            .map_err(|error| FromSqlError::Other(Box::new(error)))
    }
}

/// A time that may be missing.
pub(super) fn at(time: Option<Timestamp>) -> Option<Nanos> {
    time.map(Nanos)
}

/// A span of time that may be missing.
pub(super) fn nanos(span: Option<Duration>) -> Option<i64> {
    span.map(|span| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX))
}

/// A number that never comes near the limits of a column.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn uint(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
