//! One line of the journal: `{seq} {checksum} {json}`. It must not know files.
//!
//! A line whose checksum is wrong was torn by a kill or a full disk, or damaged later; it is left out, and what comes
//! after it still counts, because every record holds absolute state.

use serde::{Deserialize, Serialize};

use super::identity::Identity;
use crate::domain::hash::fnv1a_64;
use crate::domain::ids::RunnerName;
use crate::domain::runner::state::RunnerState;

/// What a record says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Record {
    Runner(Box<RunnerState>),
    Removed(RunnerName),
    /// From here on records belong to this boot; what was recorded before and not since does not.
    Identity(Identity),
    CleanEnd,
}

impl Record {
    /// The record of a state that has been written as JSON already.
    pub(super) fn runner_json(state: &str) -> String {
        ["{\"runner\":", state, "}"].concat()
    }
}

/// A line, with its newline.
pub(super) fn encode(seq: u64, json: &str) -> String {
    let seq = seq.to_string();
    let sum = checksum(&seq, json);
    [seq.as_str(), " ", &sum, " ", json, "\n"].concat()
}

fn checksum(seq: &str, json: &str) -> String {
    format!("{:016x}", fnv1a_64([seq, " ", json].concat().as_bytes()))
}

/// What a journal holds.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Decoded {
    pub(super) records: Vec<(u64, Record)>,
    /// Bytes at the end that were being written when the writer died.
    pub(super) torn: usize,
    /// Lines that make no sense.
    pub(super) damaged: usize,
}

pub(super) fn decode(bytes: &[u8]) -> Decoded {
    let mut decoded = Decoded::default();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let whole = line.strip_suffix(b"\n");
        match (decode_line(whole.unwrap_or(line)), whole) {
            (Some(record), _) => decoded.records.push(record),
            // A record that follows a torn one begins with a newline.
            (None, Some(b"")) => {}
            (None, Some(_)) => decoded.damaged += 1,
            (None, None) => decoded.torn = line.len(),
        }
    }
    decoded
}

fn decode_line(line: &[u8]) -> Option<(u64, Record)> {
    let line = std::str::from_utf8(line).ok()?;
    let (seq, rest) = line.split_once(' ')?;
    let (sum, json) = rest.split_once(' ')?;
    if sum != checksum(seq, json) {
        return None;
    }
    Some((seq.parse().ok()?, serde_json::from_str(json).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<String> {
        let state = RunnerState::new(RunnerName::trusted("agent"));
        let records = [
            Record::runner_json(&serde_json::to_string(&state).unwrap()),
            serde_json::to_string(&Record::Removed(RunnerName::trusted("old"))).unwrap(),
            serde_json::to_string(&Record::CleanEnd).unwrap(),
        ];
        records.iter().zip(7..).map(|(json, seq)| encode(seq, json)).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let decoded = decode(lines().concat().as_bytes());
        assert_eq!((decoded.torn, decoded.damaged), (0, 0));
        assert_eq!(decoded.records.len(), 3);
        let (seq, Record::Runner(state)) = &decoded.records[0] else { unreachable!() };
        assert_eq!((*seq, state.runner_id.as_str()), (7, "agent"));
        assert_eq!(decoded.records[1], (8, Record::Removed(RunnerName::trusted("old"))));
        assert_eq!(decoded.records[2], (9, Record::CleanEnd));
    }

    #[test]
    fn a_journal_cut_anywhere_loses_only_what_was_cut() {
        let lines = lines();
        let whole = lines.concat();
        for cut in 0..=whole.len() {
            let decoded = decode(&whole.as_bytes()[..cut]);
            let mut end = 0;
            let mut complete = 0;
            for line in &lines {
                end += line.len();
                // A record that lacks nothing but its newline is whole.
                complete += usize::from(cut + 1 >= end);
            }
            assert_eq!(decoded.records.len(), complete, "cut at {cut}");
            assert_eq!(decoded.damaged, 0);
        }
    }

    #[test]
    fn one_wrong_byte_spoils_one_record() {
        let lines = lines();
        let whole = lines.concat().into_bytes();
        for at in 0..lines[0].len() - 1 {
            for byte in [whole[at] ^ 1, whole[at] ^ 0x80, b'\n'] {
                let mut bytes = whole.clone();
                bytes[at] = byte;
                if bytes == whole {
                    continue;
                }
                let decoded = decode(&bytes);
                assert_eq!(decoded.records.len(), 2, "byte {at} is {byte}");
                assert!(decoded.damaged >= 1);
            }
        }
    }

    #[test]
    fn a_record_after_a_torn_one_counts() {
        let lines = lines();
        let decoded = decode(format!("{}{}\n{}", lines[0], &lines[1][..9], lines[2]).as_bytes());
        assert_eq!((decoded.records.len(), decoded.damaged, decoded.torn), (2, 1, 0));
    }
}
