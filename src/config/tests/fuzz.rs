//! Whatever the bytes are, the answer is a spec or a list of diagnostics, never a panic.

use proptest::prelude::*;

use super::super::{Environment, Missing, load_bytes};

const DEMO: &str = include_str!("../../../config.json");

const RICH: &str = r#"{
  "retry_jitter": "full", "retry_on_output": ["a+", "(b|c)"], "retry_budget": { "max": 3, "per_seconds": 1.5 },
  "log_max_bytes": "10MB", "env": { "A": "${USER:-x}", "B": 1 }, "limits": { "nofile": "unlimited" }, // c
  "runners": { "ä": {}, "a": { "command": ["bash", "-c", "x $$ $y"], "cwd": "~/$USER", "umask": "022",
    "activity": { "files": ["**/*.x"], "cpu": false }, "activity_timeout_seconds": 1e1, "stop_signal": "SIGINT",
    "retry": { "count": 0, "on_exit_codes": [1, 2], "multiplier": 1.0 }, "health": { "command": "x" }, }, }
}"#;

const FLOW: &str = r#"{ "env": { "TOKEN": "t" }, "flows": { "f": { "retry_on_failure": true, "retry_count": 2, "max_parallel": 3,
  "inputs": { "q": { "required": true, "type": "string" }, "n": { "default": [1, { "a": null }] } }, "concurrency": "queue",
  "stages": [ { "name": "a", "command": ["x", "$TOKEN"], "outputs": ["k", "l"], "artifacts": "**/*.x", "retry": { "count": 3 } },
    { "name": "b", "needs": "a", "command": "x", "requires": ["q"], "when": "len(k) > 3 and state.l[0].x in ['a']" },
    { "name": "c", "validates": "b", "command": "x", "degraded_exit_codes": [3], "approve": "manual" },
    { "name": "d", "needs": ["a"], "optional_needs": ["b"], "command": "x", "foreach": { "key": "n", "max_parallel": 2 } } ],
  "on_failure": "x", "timeout_seconds": 1 } } }"#;

fn never_panics(bytes: &[u8]) {
    let path = std::path::Path::new("/nowhere/config.json");
    let vars = [("USER".into(), "ada".into())].into();
    let env = Environment { home: Some("/home/ada".into()), vars, ..Environment::default() };
    match load_bytes("config.json", path, bytes, &env, Missing::Error) {
        Ok(loaded) => loaded.warnings.iter().for_each(|one| assert!(!one.human().is_empty())),
        Err(diagnostics) => {
            assert!(diagnostics.errors() > 0);
            assert!(!diagnostics.human().is_empty() && !diagnostics.human().contains('\u{1b}'));
            serde_json::to_string(&diagnostics).unwrap();
        }
    }
}

/// Pieces that configs are made of, so that many inputs get past the parser.
fn piece() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\\",
        "'",
        "$",
        "${",
        "~",
        "/*",
        "*/",
        "//",
        "\n",
        "\r\n",
        "\0",
        "\u{1b}[2J",
        "\u{feff}",
        "ä",
        "🦀",
        "null",
        "true",
        "-1",
        "0",
        "1e999",
        "NaN",
        "007",
        "\"runners\"",
        "\"retry\"",
        "\"command\"",
        "\"env\"",
        "\"{name}{index}\"",
        "\"a\": ",
        "\"limits\": {",
        "\"flows\"",
        "\"needs\": ",
        "\"validates\": ",
        "\"when\": ",
        "\"stages\": [{",
        "\"b\"",
        "\"activity\": {",
        "\"x$Y${Z:-\"",
        "999999999999",
    ];
    prop_oneof![prop::sample::select(WORDS).prop_map(str::to_owned), "\\PC{0,3}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        never_panics(&bytes);
    }

    #[test]
    fn random_pieces(pieces in prop::collection::vec(piece(), 0..40)) {
        never_panics(pieces.concat().as_bytes());
    }

    #[test]
    fn mutated_configs(
        base in prop::sample::select(&[DEMO, RICH, FLOW][..]),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..40_usize, piece()), 1..6),
    ) {
        let mut bytes = base.as_bytes().to_vec();
        for (at, length, piece) in edits {
            let start = at.index(bytes.len() + 1);
            let end = (start + length).min(bytes.len());
            bytes.splice(start..end, piece.bytes());
        }
        never_panics(&bytes);
    }

    #[test]
    fn truncated_configs(
        at in any::<prop::sample::Index>(),
        base in prop::sample::select(&[RICH, FLOW][..]),
    ) {
        let bytes = base.as_bytes();
        never_panics(&bytes[..at.index(bytes.len())]);
    }
}

#[test]
fn deep_nesting_is_refused() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = open.repeat(100_000);
        never_panics(deep.as_bytes());
        never_panics(format!("{}1{}", open.repeat(500), close.repeat(500)).as_bytes());
    }
}

#[test]
fn a_megabyte_on_one_line_is_no_trouble() {
    never_panics(
        format!("{{\"runners\": {{\"a\": {{\"command\": \"{}\"}}}}}}", "x".repeat(1 << 20)).as_bytes(),
    );
}

/// Any graph of stages is taken, or told to be none.
#[test]
fn random_graphs() {
    let stage = |(name, links): (usize, Vec<(usize, usize)>)| {
        const KEYS: [&str; 5] = ["needs", "optional_needs", "validates", "requires", "outputs"];
        let of = |kind: usize| {
            let names: Vec<String> =
                links.iter().filter(|(one, _)| *one == kind).map(|(_, to)| format!("\"s{to}\"")).collect();
            match (kind, names.first()) {
                (_, None) => String::new(),
                (2, Some(first)) => format!(", \"validates\": {first}"),
                _ => format!(", \"{}\": [{}]", KEYS[kind], names.join(", ")),
            }
        };
        let links: String = (0..KEYS.len()).map(of).collect();
        format!("{{\"name\": \"s{name}\", \"command\": \"x\"{links}}}")
    };
    let links = prop::collection::vec((0..5_usize, 0..7_usize), 0..6);
    let stages = prop::collection::vec((0..7_usize, links).prop_map(stage), 0..8);
    let mut runner = proptest::test_runner::TestRunner::default();
    runner
        .run(&stages, |stages| {
            never_panics(
                format!("{{\"flows\": {{\"f\": {{\"stages\": [{}]}}}}}}", stages.join(", ")).as_bytes(),
            );
            Ok(())
        })
        .unwrap();
}
