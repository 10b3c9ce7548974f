//! The text of `runner_state.json`: a head that says what it is worth, and one runner a line. It must not know files.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::identity::Identity;
use super::legacy;
use crate::domain::ids::Process;
use crate::domain::runner::state::RunnerState;
use crate::domain::time::Timestamp;

/// The format that is written here, and the newest that can be read.
pub const VERSION: u32 = 1;

/// What holds for the whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub version: u32,
    pub written_at: Timestamp,
    pub workspace: PathBuf,
    /// Counts the supervisors of the workspace.
    pub epoch: u64,
    /// The last record of the journal that is in here.
    pub seq: u64,
    pub clean_end: bool,
    /// Where pids and monotonic times in here mean something.
    #[serde(flatten)]
    pub identity: Identity,
    /// Who wrote it.
    pub supervisor: Process,
}

/// What a file turned out to be.
#[derive(Debug, PartialEq)]
pub(super) enum Parsed {
    Current {
        head: Box<Head>,
        states: Vec<RunnerState>,
        /// Runners whose line makes no sense.
        damaged: usize,
    },
    /// Of the system that this one grew from: states without anything to tell a process by.
    Legacy(Vec<RunnerState>),
    Newer(u64),
    Broken(String),
}

pub(super) fn render<'a>(head: &Head, lines: impl Iterator<Item = &'a str>) -> serde_json::Result<String> {
    let mut text = serde_json::to_string_pretty(head)?;
    text.truncate(text.strip_suffix("\n}").unwrap_or(&text).len());
    text.push_str(",\n  \"runners\": [");
    for (at, line) in lines.enumerate() {
        text.push_str(if at == 0 { "\n    " } else { ",\n    " });
        text.push_str(line);
    }
    text.push_str("\n  ]\n}\n");
    Ok(text)
}

pub(super) fn parse(bytes: &[u8]) -> Parsed {
    let mut value: Value = match serde_json::from_slice(bytes) {
        Ok(value) => value,
        Err(error) => return Parsed::Broken(error.to_string()),
    };
    match value.get("version").map(Value::as_u64) {
        Some(Some(version)) if version > u64::from(VERSION) => return Parsed::Newer(version),
        Some(Some(1)) => {}
        None | Some(Some(0)) => {
            return legacy::read(&value).map_or_else(Parsed::Broken, Parsed::Legacy);
        }
        Some(_) => return Parsed::Broken("its version is no number".into()),
    }
    let Some(Value::Array(runners)) = value.get_mut("runners").map(Value::take) else {
        return Parsed::Broken("it holds no list of runners".into());
    };
    let head = match serde_json::from_value(value) {
        Ok(head) => Box::new(head),
        Err(error) => return Parsed::Broken(error.to_string()),
    };
    let all = runners.len();
    let states: Vec<RunnerState> =
        runners.into_iter().filter_map(|runner| serde_json::from_value(runner).ok()).collect();
    Parsed::Current { damaged: all - states.len(), head, states }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::ids::RunnerName;

    pub(in crate::supervisor::journal) fn head() -> Head {
        Head {
            version: VERSION,
            written_at: Timestamp::UNIX_EPOCH,
            workspace: "/w".into(),
            epoch: 3,
            seq: 17,
            clean_end: false,
            identity: Identity { machine_id: "m".into(), boot_id: "b".into(), pid_ns: "p".into() },
            supervisor: Process { pid: 42, start: 7 },
        }
    }

    #[test]
    fn it_is_readable_by_people_and_by_us() {
        let states: Vec<RunnerState> =
            ["a", "b"].map(|name| RunnerState::new(RunnerName::trusted(name))).to_vec();
        let lines: Vec<String> = states.iter().map(|s| serde_json::to_string(s).unwrap()).collect();
        let text = render(&head(), lines.iter().map(String::as_str)).unwrap();
        insta::assert_snapshot!(text, @r#"
        {
          "version": 1,
          "written_at": "1970-01-01T00:00:00Z",
          "workspace": "/w",
          "epoch": 3,
          "seq": 17,
          "clean_end": false,
          "machine_id": "m",
          "boot_id": "b",
          "pid_ns": "p",
          "supervisor": {
            "pid": 42,
            "start": 7
          },
          "runners": [
            {"runner_id":"a","pid":null,"status":"idle","started_at":null,"exit_code":null,"retry_count":0,"max_retries":0,"last_retry_at":null,"exit_seq":0},
            {"runner_id":"b","pid":null,"status":"idle","started_at":null,"exit_code":null,"retry_count":0,"max_retries":0,"last_retry_at":null,"exit_seq":0}
          ]
        }
        "#);
        assert_eq!(parse(text.as_bytes()), Parsed::Current { head: Box::new(head()), states, damaged: 0 });
        let none = render(&head(), std::iter::empty()).unwrap();
        assert!(matches!(parse(none.as_bytes()), Parsed::Current { states, .. } if states.is_empty()));
    }

    #[test]
    fn what_cannot_be_read_is_told_apart() {
        let text = render(&head(), std::iter::empty()).unwrap();
        for cut in 0..text.trim_end().len() {
            assert!(matches!(parse(&text.as_bytes()[..cut]), Parsed::Broken(_)), "cut at {cut}");
        }
        assert_eq!(parse(text.replace("\"version\": 1", "\"version\": 2").as_bytes()), Parsed::Newer(2));
        assert!(matches!(
            parse(text.replace("\"version\": 1", "\"version\": \"x\"").as_bytes()),
            Parsed::Broken(_)
        ));
        assert!(matches!(parse(br#"{"version":1}"#), Parsed::Broken(_)));
        assert!(matches!(parse(b"\xff\0"), Parsed::Broken(_)));
        let one = render(&head(), [r#"{"runner_id":"a","status":"dancing"}"#].into_iter()).unwrap();
        assert!(
            matches!(parse(one.as_bytes()), Parsed::Current { states, damaged: 1, .. } if states.is_empty())
        );
    }
}
