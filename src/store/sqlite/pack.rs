//! Values that may be large: as text while they are small, compressed beyond that, and never larger than the cap.

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Row, ToSql};
use serde::de::DeserializeOwned;

use super::fail::{Fail, broken};
use crate::domain::json::JsonMap;
use crate::ports::store::MAX_STATE_BYTES;

/// From here on compression saves more pages than it costs time.
const SMALL: usize = 4 << 10;

/// The two columns of a value.
#[derive(Debug)]
pub(super) struct Packed {
    data: Value,
    /// The length of the text, where it is compressed.
    size: Option<i64>,
}

impl Packed {
    pub(super) fn json(map: &JsonMap, thing: &str) -> Result<Self, Fail> {
        let text = serde_json::to_string(map).map_err(|error| broken(format!("write {thing}"), error))?;
        Self::text(text, thing)
    }

    pub(super) fn text(text: String, thing: &str) -> Result<Self, Fail> {
        if text.len() > MAX_STATE_BYTES {
            let cause = format!(
                "it is {} MiB long, and {} MiB is the most; put what is large into a file and declare it as an artifact",
                text.len().div_ceil(1 << 20),
                MAX_STATE_BYTES >> 20
            );
            return Err(broken(format!("store {thing}"), cause));
        }
        if text.len() <= SMALL {
            return Ok(Self { data: Value::Text(text), size: None });
        }
        let size = i64::try_from(text.len()).ok();
        let data = compress(text.as_bytes()).map_err(|error| broken(format!("compress {thing}"), error))?;
        Ok(Self { data: Value::Blob(data), size })
    }

    pub(super) fn data(&self) -> impl ToSql + '_ {
        Borrowed(&self.data)
    }

    pub(super) fn size(&self) -> Option<i64> {
        self.size
    }
}

struct Borrowed<'a>(&'a Value);

impl ToSql for Borrowed<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.0.into()))
    }
}

/// With a checksum: a damaged value is to be noticed, not believed.
fn compress(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(zstd::DEFAULT_COMPRESSION_LEVEL)?;
    compressor.include_checksum(true)?;
    compressor.compress(bytes)
}

/// The text of the value in this column, whose size is in the next one. The error says what is wrong with it.
pub(super) fn unpack_text(row: &Row<'_>, column: usize) -> Result<String, String> {
    let read = |error: rusqlite::Error| error.to_string();
    let size: Option<i64> = row.get(column + 1).map_err(read)?;
    let data = row.get_ref(column).map_err(read)?;
    let bytes = match (size, data) {
        (None, ValueRef::Text(text)) => text.to_vec(),
        (Some(size), ValueRef::Blob(blob)) => {
            let size = usize::try_from(size).ok().filter(|size| *size <= MAX_STATE_BYTES);
            let size = size.ok_or("its size cannot be right")?;
            zstd::bulk::decompress(blob, size).map_err(|error| error.to_string())?
        }
        _ => return Err("it is neither text nor compressed text".into()),
    };
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".into())
}

pub(super) fn unpack<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T, String> {
    let text = unpack_text(row, column)?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}
