//! Flows for tests, in few words: one line a stage.

use std::collections::BTreeMap;
use std::time::Duration;

use super::graph::Graph;
use super::ids::{FlowName, StageName};
use super::spec::{Approve, Concurrency, FlowSpec, StageRetry, StageSpec};
use super::when::Expression;
use crate::domain::spec::{Backoff, CommandSpec, Jitter, Stdio, StopSpec};

/// `d: a b ?c !x >out <key @*.png manual when:draft` needs a and b, optionally c, validates x, writes `out`, requires
/// `key`, leaves artifacts, waits for a person, and is ruled out where there is no `draft`. The flow is called `f`.
pub(crate) fn flow(text: &str) -> FlowSpec {
    FlowSpec {
        name: FlowName::trusted("f"),
        stages: text.lines().map(str::trim).filter(|line| !line.is_empty()).map(stage).collect(),
        inputs: BTreeMap::new(),
        timeout: None,
        max_parallel: None,
        max_retry_depth: 10,
        max_retries_per_checkpoint: 5,
        keep_failed: Duration::from_hours(168),
        on_success: None,
        on_failure: None,
        concurrency: Concurrency::Allow,
        env: BTreeMap::new(),
        root: "/work".into(),
    }
}

pub(crate) fn graph(flow: &FlowSpec) -> Graph {
    Graph::of(flow).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn name(name: &str) -> StageName {
    StageName::trusted(name)
}

fn stage(line: &str) -> StageSpec {
    let (own, rest) = line.split_once(':').unwrap();
    let words: Vec<&str> = rest.split_whitespace().collect();
    let with = |mark: char| words.iter().filter_map(move |word| word.strip_prefix(mark));
    let texts = |mark| with(mark).map(str::to_owned).collect::<Vec<_>>();
    let plain = |word: &&&str| {
        !word.starts_with(['?', '!', '>', '<', '@']) && **word != "manual" && !word.starts_with("when:")
    };
    StageSpec {
        name: name(own.trim()),
        command: CommandSpec::Argv(vec!["true".into()]),
        cwd: "/work".into(),
        env: BTreeMap::new(),
        env_files: Vec::new(),
        stdio: Stdio::Auto,
        umask: None,
        limits: BTreeMap::new(),
        stop: StopSpec { signal: 15, grace: Duration::from_secs(5), command: None },
        log_max_bytes: None,
        needs: words.iter().filter(plain).map(|word| name(word)).collect(),
        optional_needs: with('?').map(name).collect(),
        validates: with('!').map(name).next(),
        requires: texts('<'),
        outputs: texts('>'),
        artifacts: texts('@'),
        retry: StageRetry {
            count: 0,
            backoff: Backoff {
                base: Duration::from_secs(1),
                multiplier: 2.0,
                cap: Duration::from_mins(5),
                jitter: Jitter::None,
            },
        },
        timeout: None,
        activity_timeout: None,
        approve: if words.contains(&"manual") { Approve::Manual } else { Approve::Auto },
        degraded_exit_codes: Vec::new(),
        allow_degraded: false,
        when: words
            .iter()
            .find_map(|word| word.strip_prefix("when:"))
            .map(|text| Expression::parse(text).unwrap()),
        foreach: None,
    }
}
