//! The attempts of a record, short: a record is written three times a restart, and most of it would be these.
//!
//! `{"n":12,"s":1767225600123,"e":1767225601623,"v":"exit","c":1}`: number, start and end in milliseconds since 1970,
//! verdict, exit code; `x` is a signal, `d` what else there is to say. The long form of older records is read, too.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::ids::Attempt;
use crate::domain::time::Timestamp;
use crate::domain::verdict::{Outcome, Verdict};
use crate::domain::view::AttemptView;

/// What is said of an older attempt beyond its verdict is cut to this many characters; the last one has a field of its
/// own in the record.
const DETAIL: usize = 100;

/// How many ended attempts outlive the supervisor.
const RECORDED: usize = 10;

/// What goes into a record of all that is remembered.
pub(super) fn recorded(attempts: &[AttemptView]) -> Vec<AttemptView> {
    let newest = &attempts[attempts.len().saturating_sub(RECORDED)..];
    let mut recorded = newest.to_vec();
    for outcome in recorded.iter_mut().filter_map(|view| view.outcome.as_mut()) {
        outcome.detail = outcome.detail.as_deref().map(cut);
    }
    recorded
}

#[derive(Serialize, Deserialize)]
struct Short {
    n: Attempt,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    s: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    e: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    v: Option<Verdict>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    c: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    x: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    d: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Either {
    Short(Short),
    Long(AttemptView),
}

pub(super) fn serialize<S: Serializer>(attempts: &[AttemptView], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(attempts.iter().map(Short::of))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<AttemptView>, D::Error> {
    let attempts: Vec<Either> = Deserialize::deserialize(from)?;
    let whole = |either| match either {
        Either::Short(short) => short.whole(),
        Either::Long(view) => view,
    };
    Ok(attempts.into_iter().map(whole).collect())
}

impl Short {
    fn of(view: &AttemptView) -> Self {
        let outcome = view.outcome.as_ref();
        Self {
            n: view.attempt,
            s: view.started_at.map(Timestamp::as_millisecond),
            e: view.ended_at.map(Timestamp::as_millisecond),
            v: outcome.map(|outcome| outcome.verdict),
            c: outcome.and_then(|outcome| outcome.exit_code),
            x: outcome.and_then(|outcome| outcome.signal),
            d: outcome.and_then(|outcome| outcome.detail.clone()),
        }
    }

    fn whole(self) -> AttemptView {
        let time = |millis: i64| Timestamp::from_millisecond(millis).ok();
        AttemptView {
            attempt: self.n,
            started_at: self.s.and_then(time),
            ended_at: self.e.and_then(time),
            outcome: self.v.map(|verdict| Outcome {
                verdict,
                exit_code: self.c,
                signal: self.x,
                detail: self.d,
            }),
        }
    }
}

fn cut(detail: &str) -> String {
    match detail.char_indices().nth(DETAIL) {
        Some((at, _)) => format!("{}…", &detail[..at]),
        None => detail.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture::nth;
    use super::super::state::RunnerState;
    use super::*;
    use crate::domain::ids::RunnerName;

    fn view(number: u32, verdict: Verdict, exit_code: Option<i32>, detail: Option<&str>) -> AttemptView {
        let time = |millis| Some(Timestamp::from_millisecond(millis).unwrap());
        AttemptView {
            attempt: nth(number),
            started_at: (verdict != Verdict::SpawnFailed).then_some(time(1_767_225_600_123)).flatten(),
            ended_at: time(1_767_225_601_623),
            outcome: Some(Outcome { verdict, exit_code, signal: None, detail: detail.map(Into::into) }),
        }
    }

    #[test]
    fn short_on_disk_and_whole_again() {
        let mut state = RunnerState::new(RunnerName::trusted("a"));
        state.history = vec![
            view(12, Verdict::Exit, Some(1), None),
            view(13, Verdict::SpawnFailed, None, Some("there is no such program")),
        ];
        let value = serde_json::to_value(&state).unwrap();
        assert_eq!(
            value["history"],
            json!([
                { "n": 12, "s": 1_767_225_600_123_i64, "e": 1_767_225_601_623_i64, "v": "exit", "c": 1 },
                { "n": 13, "e": 1_767_225_601_623_i64, "v": "spawn_failed", "d": "there is no such program" },
            ])
        );
        assert!(value["history"][0].to_string().len() < 64);
        assert_eq!(serde_json::from_value::<RunnerState>(value).unwrap(), state);
    }

    #[test]
    fn the_long_form_of_older_records_is_read() {
        let views = vec![view(1, Verdict::Exit, Some(1), None), view(2, Verdict::Lost, None, Some("gone"))];
        let record = json!({ "runner_id": "a", "history": views });
        assert_eq!(serde_json::from_value::<RunnerState>(record).unwrap().history, views);
    }

    #[test]
    fn the_newest_are_recorded() {
        let all: Vec<AttemptView> = (1..=20).map(|n| view(n, Verdict::Lost, None, Some("gone"))).collect();
        assert_eq!(recorded(&all), all[10..]);
        assert_eq!(recorded(&all[..3]), all[..3]);
    }

    #[test]
    fn long_talk_is_cut_between_characters() {
        let long = "ä".repeat(DETAIL + 1);
        assert_eq!(cut(&long), format!("{}…", "ä".repeat(DETAIL)));
        assert_eq!(cut("short"), "short");
    }
}
