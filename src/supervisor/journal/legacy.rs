//! State files without a version, of the system that this one grew from: a list of runners, or an object of them, with
//! `runner_id, pid, status, started_at, exit_code, retry_count, max_retries, last_retry_at` and nothing by which a
//! process could be told from another one. Read generously: what makes no sense is left out field by field.

use serde_json::{Map, Value};

use crate::domain::ids::RunnerName;
use crate::domain::runner::state::RunnerState;
use crate::domain::time::Timestamp;
use crate::domain::view::RunnerStatus;

/// The runners of such a file, or why it is none.
pub(super) fn read(value: &Value) -> Result<Vec<RunnerState>, String> {
    match value {
        Value::Array(runners) => from_list(runners),
        Value::Object(object) => match object.get("runners") {
            Some(Value::Array(runners)) => from_list(runners),
            Some(Value::Object(runners)) => from_object(runners),
            Some(_) => Err("its `runners` are neither a list nor an object".into()),
            None => from_object(object),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Err("it holds no runners".into())
        }
    }
}

fn from_list(runners: &[Value]) -> Result<Vec<RunnerState>, String> {
    let one = |value: &Value| {
        let record = value.as_object()?;
        let name = record.get("runner_id").or_else(|| record.get("name"))?.as_str()?;
        Some(from_record(name, record))
    };
    runners.iter().map(one).collect::<Option<_>>().ok_or_else(|| "one of its runners has no name".into())
}

fn from_object(runners: &Map<String, Value>) -> Result<Vec<RunnerState>, String> {
    let one = |(key, value): (&String, &Value)| {
        let record = value.as_object()?;
        let name = record.get("runner_id").and_then(Value::as_str).unwrap_or(key);
        Some(from_record(name, record))
    };
    let records = runners.iter().filter(|(key, _)| *key != "version");
    records.map(one).collect::<Option<_>>().ok_or_else(|| "it holds something that is no runner".into())
}

fn from_record(name: &str, record: &Map<String, Value>) -> RunnerState {
    let mut state = RunnerState::new(RunnerName::trusted(name));
    let number = |key: &str| record.get(key).and_then(Value::as_i64);
    let count = |key: &str| number(key).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let time = |key: &str| record.get(key).and_then(timestamp);
    state.status = record.get("status").and_then(Value::as_str).map_or(RunnerStatus::Idle, status);
    state.started_at = time("started_at");
    state.exit_code = number("exit_code").and_then(|n| i32::try_from(n).ok());
    state.retry_count = count("retry_count");
    state.max_retries = count("max_retries");
    state.last_retry_at = time("last_retry_at");
    state
}

fn status(word: &str) -> RunnerStatus {
    let word = word.rsplit('.').next().unwrap_or(word).to_ascii_lowercase();
    match word.as_str() {
        "failed" | "error" => RunnerStatus::Crashed,
        "finished" | "success" | "done" => RunnerStatus::Completed,
        word => serde_json::from_value(word.into()).unwrap_or(RunnerStatus::Idle),
    }
}

/// Seconds since 1970, or ISO 8601 with or without a zone (then taken as UTC).
fn timestamp(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Number(seconds) => {
            let duration = jiff::SignedDuration::try_from_secs_f64(seconds.as_f64()?).ok()?;
            Timestamp::from_duration(duration).ok()
        }
        Value::String(text) => text.parse().ok().or_else(|| {
            let civil: jiff::civil::DateTime = text.parse().ok()?;
            Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
        }),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_three_shapes() {
        let record = json!({
            "runner_id": "agent", "pid": 4711, "status": "running", "started_at": "2024-05-06T07:08:09.5",
            "exit_code": null, "retry_count": 2, "max_retries": 3, "last_retry_at": 1_700_000_000.25,
        });
        for file in [
            json!([record]),
            json!({ "runners": [record] }),
            json!({ "agent": record }),
            json!({ "runners": { "x": record } }),
        ] {
            let states = read(&file).unwrap();
            assert_eq!(states.len(), 1);
            let state = &states[0];
            assert_eq!(state.runner_id.as_str(), "agent");
            assert_eq!(state.status, RunnerStatus::Running);
            assert_eq!(
                (state.pid, state.process_start),
                (None, None),
                "nobody can tell whose pid that is today"
            );
            assert_eq!((state.retry_count, state.max_retries, state.exit_code), (2, 3, None));
            assert_eq!(state.started_at.unwrap().to_string(), "2024-05-06T07:08:09.5Z");
            assert_eq!(state.last_retry_at.unwrap().to_string(), "2023-11-14T22:13:20.25Z");
        }
    }

    #[test]
    fn odd_fields_are_left_out_and_odd_files_refused() {
        let states = read(&json!({
            "a": { "status": "RunnerStatus.CRASHED", "retry_count": -1, "exit_code": 1, "started_at": "yesterday" },
            "b": {}, "c": { "status": "exploded", "retry_count": "two" },
        }))
        .unwrap();
        assert_eq!(states[0].status, RunnerStatus::Crashed);
        assert_eq!((states[0].retry_count, states[0].exit_code, states[0].started_at), (0, Some(1), None));
        assert_eq!(states[1], RunnerState::new(RunnerName::trusted("b")));
        assert_eq!(states[2].status, RunnerStatus::Idle);
        assert_eq!(read(&json!({})).unwrap(), []);
        for odd in [json!(null), json!(3), json!([{}]), json!({ "a": 3 }), json!({ "runners": 3 })] {
            assert!(read(&odd).is_err(), "{odd}");
        }
    }
}
