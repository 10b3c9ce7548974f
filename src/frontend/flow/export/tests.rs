//! Text for Graphviz and Mermaid.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::domain::flow::ids::{FlowName, StageName};
use crate::domain::flow::spec::{Approve, Concurrency, StageRetry, StageSpec};
use crate::domain::spec::{Backoff, CommandSpec, Jitter, Stdio, StopSpec};

fn stage(name: &str, needs: &[&str], optional: &[&str], validates: Option<&str>) -> StageSpec {
    let names = |list: &[&str]| list.iter().map(|name| StageName::trusted(*name)).collect();
    let backoff =
        Backoff { base: Duration::ZERO, multiplier: 1.0, cap: Duration::ZERO, jitter: Jitter::None };
    StageSpec {
        name: StageName::trusted(name),
        command: CommandSpec::Shell("x".into()),
        cwd: "/".into(),
        env: BTreeMap::new(),
        env_files: Vec::new(),
        stdio: Stdio::Auto,
        umask: None,
        limits: BTreeMap::new(),
        stop: StopSpec { signal: 15, grace: Duration::ZERO, command: None },
        log_max_bytes: None,
        needs: names(needs),
        optional_needs: names(optional),
        validates: validates.map(StageName::trusted),
        requires: Vec::new(),
        reads_nothing: false,
        outputs: Vec::new(),
        artifacts: Vec::new(),
        retry: StageRetry { count: 0, backoff },
        timeout: None,
        activity_timeout: None,
        approve: Approve::Auto,
        degraded_exit_codes: Vec::new(),
        allow_degraded: false,
        when: None,
        foreach: None,
    }
}

fn flow() -> FlowSpec {
    FlowSpec {
        name: FlowName::trusted("video"),
        stages: vec![
            stage("script", &[], &[], None),
            // Such a name comes from no config; a record may hold anything.
            stage("story \"board\"\\\n<b>", &["script"], &[], None),
            stage("check", &[], &[], Some("story \"board\"\\\n<b>")),
            stage("render", &["story \"board\"\\\n<b>"], &["script"], None),
        ],
        inputs: BTreeMap::new(),
        timeout: None,
        max_parallel: None,
        max_retry_depth: 10,
        max_retries_per_checkpoint: 5,
        keep_failed: Duration::ZERO,
        on_success: None,
        on_failure: None,
        hook_timeout: None,
        concurrency: Concurrency::Allow,
        env: BTreeMap::new(),
        root: "/".into(),
    }
}

#[test]
fn names_are_quoted_and_ties_told_apart() {
    let flow = flow();
    let graph = Graph::of(&flow).unwrap();
    let dot = [
        r#"digraph "video" {"#,
        r"  rankdir=LR;",
        r"  node [shape=box];",
        r#"  "script";"#,
        r#"  "story \"board\"\\ <b>";"#,
        r#"  "check";"#,
        r#"  "render";"#,
        r#"  "script" -> "story \"board\"\\ <b>";"#,
        r#"  "story \"board\"\\ <b>" -> "check" [style=dashed, label="validates"];"#,
        r#"  "script" -> "render" [style=dotted];"#,
        r#"  "check" -> "render";"#,
        "}\n",
    ];
    assert_eq!(to_dot(&flow, &graph), dot.join("\n"));
    let mermaid = [
        "flowchart LR",
        r#"  s0["script"]"#,
        r#"  s1["story #34;board#34;#92; #60;b#62;"]"#,
        r#"  s2["check"]"#,
        r#"  s3["render"]"#,
        "  s0 --> s1",
        "  s1 -.->|validates| s2",
        "  s0 -.-> s3",
        "  s2 --> s3\n",
    ];
    assert_eq!(to_mermaid(&flow, &graph), mermaid.join("\n"));
}
