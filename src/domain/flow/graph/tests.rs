//! Orders, cycles and large graphs.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Default)]
struct Stage {
    name: Option<StageName>,
    needs: Vec<StageName>,
    optional: Vec<StageName>,
    validates: Option<StageName>,
}

fn names(list: &str) -> Vec<StageName> {
    list.split_whitespace().map(StageName::trusted).collect()
}

/// `d: a b ?c !x` needs a and b, optionally c, and validates x.
fn stages(text: &str) -> Vec<Stage> {
    let stage = |line: &str| {
        let (name, rest) = line.split_once(':').unwrap();
        let with = |mark: char| {
            let words = rest.split_whitespace().filter_map(move |word| word.strip_prefix(mark));
            words.map(StageName::trusted).collect::<Vec<_>>()
        };
        let plain: Vec<&str> = rest.split_whitespace().filter(|w| !w.starts_with(['?', '!'])).collect();
        Stage {
            name: Some(StageName::trusted(name.trim())),
            needs: names(&plain.join(" ")),
            optional: with('?'),
            validates: with('!').pop(),
        }
    };
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(stage).collect()
}

fn build(stages: &[Stage]) -> Result<Graph, GraphError> {
    Graph::new(stages.iter().map(|stage| Links {
        name: stage.name.as_ref().unwrap(),
        needs: &stage.needs,
        optional_needs: &stage.optional,
        validates: stage.validates.as_ref(),
    }))
}

fn graph(text: &str) -> Graph {
    build(&stages(text)).unwrap_or_else(|error| panic!("{error}"))
}

fn told(graph: &Graph, stages: &[usize]) -> String {
    stages.iter().map(|stage| graph.name(*stage).as_str()).collect::<Vec<_>>().join(" ")
}

#[test]
fn whatever_needs_a_stage_waits_for_its_validators_too() {
    let graph = graph(
        "script:\n storyboard: script\n check: !storyboard\n taste: !storyboard storyboard\n voice: script\n render: ?storyboard voice",
    );
    let up = |name: &str| told(&graph, graph.upstream(graph.index(&StageName::trusted(name)).unwrap()));
    assert_eq!(up("check"), "storyboard");
    assert_eq!(up("taste"), "storyboard");
    assert_eq!(up("render"), "storyboard check taste voice");
    assert_eq!(told(&graph, graph.order()), "script storyboard check taste voice render");
    assert_eq!(told(&graph, graph.downstream(1)), "check taste render");
    assert_eq!(told(&graph, graph.validators(1)), "check taste");
    assert_eq!((graph.target(2), graph.target(1)), (Some(1), None));
    assert_eq!((0..6).map(|stage| graph.level(stage)).collect::<Vec<_>>(), [0, 1, 2, 2, 1, 3]);
    assert_eq!(told(&graph, &graph.ancestors(&[5])), "script storyboard check taste voice");
    assert_eq!(told(&graph, &graph.descendants(&[1])), "check taste render");
    assert_eq!(told(&graph, &graph.descendants(&[4, 1])), "check taste render");
    assert_eq!(told(&graph, &graph.descendants(&[0, 5])), "storyboard check taste voice render");
}

#[test]
fn the_order_is_that_of_the_file_where_there_is_a_choice() {
    let graph = graph("d: b\n c:\n b: a\n a:\n e: c");
    assert_eq!(told(&graph, graph.order()), "c a b d e");
    assert_eq!((graph.position(1), graph.position(4)), (0, 4));
}

#[test]
fn what_is_no_graph_says_why() {
    for (text, error) in [
        ("a: b\n b: a", "these stages wait for each other in a circle: a → b → a"),
        ("x:\n a: x c\n b: a\n c: b\n y: c", "these stages wait for each other in a circle: a → b → c → a"),
        // The way from b to c has a short cut.
        ("a: c\n b: a\n b2: b\n c: b b2\n", "these stages wait for each other in a circle: a → b → c → a"),
        // A validator that needs what waits for it.
        ("a:\n v: !a b\n b: a", "these stages wait for each other in a circle: v → b → v"),
        ("a: a", "a needs itself"),
        ("a: !a", "a needs itself"),
        ("a: b", "a needs b, which is no stage"),
        ("a:\n a:", "two stages are called a"),
    ] {
        assert_eq!(build(&stages(text)).unwrap_err().to_string(), error, "{text}");
    }
}

#[test]
fn a_long_cycle_is_shown_in_part() {
    let lines: Vec<String> = (0..10_000).map(|n| format!("s{n}: s{}", (n + 9_999) % 10_000)).collect();
    let told = build(&stages(&lines.join("\n"))).unwrap_err().to_string();
    assert!(
        told.ends_with(
            "circle: s0 → s1 → s2 → s3 → s4 → s5 → … 9989 more … → s9995 → s9996 → s9997 → s9998 → s9999 → s0"
        ),
        "{told}"
    );
}

#[test]
fn marks_are_inherited_from_all_ancestors() {
    let graph = graph("a:\n b: a\n c: a\n d: b c\n e:");
    assert_eq!(graph.inherited(&[1, 2, 4, 8, 16]), [0, 1, 1, 7, 0]);
}

/// Layers of stages, each of which needs all of the layer before.
fn dense(layers: usize, width: usize) -> Vec<Stage> {
    let layer = |layer: usize| (0..width).map(move |at| StageName::trusted(format!("s{layer}-{at}")));
    let one = |(number, name)| Stage {
        name: Some(name),
        needs: if number == 0 { Vec::new() } else { layer(number - 1).collect() },
        ..Stage::default()
    };
    (0..layers).flat_map(|number| layer(number).map(move |name| (number, name))).map(one).collect()
}

/// Of the processor, so that a busy machine does not count. Generous: it is to tell linear from quadratic in a debug
/// build.
const SOON: Duration = Duration::from_secs(5);

fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

#[test]
fn ten_thousand_stages_in_a_row() {
    let line = |n| if n == 0 { "s0:".to_owned() } else { format!("s{n}: s{}", n - 1) };
    let lines: Vec<String> = (0..10_000).map(line).collect();
    let stages = stages(&lines.join("\n"));
    let start = cpu();
    let graph = build(&stages).unwrap();
    assert_eq!(graph.ancestors(&[9_999]).len(), 9_999);
    assert_eq!(graph.descendants(&[0]).last(), Some(&9_999));
    assert_eq!(graph.level(9_999), 9_999);
    let took = cpu().saturating_sub(start);
    assert!(took < SOON, "{took:?}");
}

#[test]
fn fifty_layers_of_fifty() {
    let stages = dense(50, 50);
    let start = cpu();
    let graph = build(&stages).unwrap();
    assert_eq!((graph.len(), graph.edges()), (2_500, 122_500));
    assert_eq!(graph.ancestors(&[2_499]).len(), 2_450);
    assert_eq!(graph.descendants(&[0]).len(), 2_450);
    assert_eq!(graph.inherited(&vec![1; 2_500])[2_499], 1);
    let took = cpu().saturating_sub(start);
    assert!(took < SOON, "{took:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is said of whom: an order that keeps every edge, or a cycle that is one.
    #[test]
    fn an_order_or_a_cycle(links in prop::collection::vec((0..12_usize, 0..12_usize, 0..3_u8), 0..30)) {
        let mut stages: Vec<Stage> = (0..12)
            .map(|n| Stage { name: Some(StageName::trusted(format!("s{n}"))), ..Stage::default() })
            .collect();
        for (from, to, kind) in links.into_iter().filter(|(from, to, _)| from != to) {
            let to = StageName::trusted(format!("s{to}"));
            match kind {
                0 => stages[from].needs.push(to),
                1 => stages[from].optional.push(to),
                _ => stages[from].validates = Some(to),
            }
        }
        match build(&stages) {
            Ok(graph) => {
                let mut order = graph.order().to_vec();
                for stage in 0..12 {
                    for before in graph.upstream(stage) {
                        prop_assert!(graph.position(*before) < graph.position(stage));
                        prop_assert!(graph.downstream(*before).contains(&stage));
                    }
                    let ancestors = graph.ancestors(&[stage]);
                    for other in 0..12 {
                        let descends = graph.descendants(&[other]).contains(&stage);
                        prop_assert_eq!(ancestors.contains(&other), descends);
                    }
                }
                order.sort_unstable();
                prop_assert_eq!(order, (0..12).collect::<Vec<_>>());
            }
            Err(GraphError::Cycle(Cycle(path))) => {
                prop_assert!(path.len() > 2);
                prop_assert_eq!(path.first(), path.last());
                let inner: std::collections::BTreeSet<_> = path.iter().collect();
                prop_assert_eq!(inner.len(), path.len() - 1);
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}
