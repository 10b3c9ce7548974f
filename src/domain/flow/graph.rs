//! The stages of a flow as a graph: what has to end before what. Knows names and edges, nothing of commands and runs.
//!
//! A stage waits for what it needs, needs optionally and validates, and for the validators of whatever it needs. Two
//! validators of one stage do not wait for each other. Everything here takes time linear in the edges and no recursion,
//! so ten thousand stages in a row, or fifty layers of fifty, cost next to nothing.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::fmt;

use super::ids::StageName;
use super::spec::{FlowSpec, StageSpec};

/// What one stage says of others.
#[derive(Debug, Clone, Copy)]
pub struct Links<'a> {
    pub name: &'a StageName,
    pub needs: &'a [StageName],
    pub optional_needs: &'a [StageName],
    pub validates: Option<&'a StageName>,
}

impl<'a> From<&'a StageSpec> for Links<'a> {
    fn from(stage: &'a StageSpec) -> Self {
        Self {
            name: &stage.name,
            needs: &stage.needs,
            optional_needs: &stage.optional_needs,
            validates: stage.validates.as_ref(),
        }
    }
}

/// Without cycles. A stage is named by its place in the file.
#[derive(Debug, Clone)]
pub struct Graph {
    names: Vec<StageName>,
    by_name: HashMap<StageName, usize>,
    up: Edges,
    down: Edges,
    validators: Edges,
    targets: Vec<Option<usize>>,
    order: Vec<usize>,
    /// The place of each stage in `order`.
    position: Vec<usize>,
    levels: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    #[error("two stages are called {0}")]
    Duplicate(StageName),
    #[error("{stage} needs {other}, which is no stage")]
    Unknown { stage: StageName, other: StageName },
    #[error("{0} needs itself")]
    Itself(StageName),
    #[error("these stages wait for each other in a circle: {0}")]
    Cycle(Cycle),
}

/// Each stage has to end before the next; the last one is the first one again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cycle(pub Vec<StageName>);

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 12;
        let left_out = self.0.len().saturating_sub(SHOWN);
        // What is gained by leaving one out is lost by saying so.
        let cut = if left_out > 1 { SHOWN / 2..SHOWN / 2 + left_out } else { 0..0 };
        for (index, name) in self.0.iter().enumerate() {
            let arrow = if index == 0 { "" } else { " → " };
            if index == cut.start && !cut.is_empty() {
                write!(f, "{arrow}… {left_out} more …")?;
            } else if !cut.contains(&index) {
                write!(f, "{arrow}{name}")?;
            }
        }
        Ok(())
    }
}

/// For each stage a list of others, all in one allocation.
#[derive(Debug, Clone, Default)]
struct Edges {
    starts: Vec<usize>,
    ends: Vec<usize>,
}

impl Edges {
    fn of(&self, stage: usize) -> &[usize] {
        let start = self.starts.get(stage).copied().unwrap_or(0);
        let end = self.starts.get(stage + 1).copied().unwrap_or(start);
        self.ends.get(start..end).unwrap_or(&[])
    }

    fn push(&mut self, of: impl IntoIterator<Item = usize>) {
        if self.starts.is_empty() {
            self.starts.push(0);
        }
        self.ends.extend(of);
        self.starts.push(self.ends.len());
    }

    /// The same edges, seen from the other end.
    fn turned(&self, stages: usize) -> Self {
        let mut starts = vec![0; stages + 1];
        for end in &self.ends {
            starts[end + 1] += 1;
        }
        for stage in 0..stages {
            starts[stage + 1] += starts[stage];
        }
        let mut free = starts.clone();
        let mut ends = vec![0; self.ends.len()];
        for stage in 0..stages {
            for end in self.of(stage) {
                ends[free[*end]] = stage;
                free[*end] += 1;
            }
        }
        Self { starts, ends }
    }
}

impl Graph {
    pub fn of(flow: &FlowSpec) -> Result<Self, GraphError> {
        Self::new(flow.stages.iter().map(Links::from))
    }

    pub fn new<'a>(stages: impl IntoIterator<Item = Links<'a>>) -> Result<Self, GraphError> {
        let stages: Vec<Links<'a>> = stages.into_iter().collect();
        let mut by_name = HashMap::with_capacity(stages.len());
        for (index, stage) in stages.iter().enumerate() {
            if by_name.insert(stage.name.clone(), index).is_some() {
                return Err(GraphError::Duplicate(stage.name.clone()));
            }
        }
        let find = |stage: &Links<'_>, other: &StageName| match by_name.get(other) {
            Some(_) if other == stage.name => Err(GraphError::Itself(stage.name.clone())),
            Some(index) => Ok(*index),
            None => Err(GraphError::Unknown { stage: stage.name.clone(), other: other.clone() }),
        };
        let mut targets = Vec::with_capacity(stages.len());
        let mut validated = Edges::default();
        for stage in &stages {
            let target = stage.validates.map(|other| find(stage, other)).transpose()?;
            validated.push(target);
            targets.push(target);
        }
        let validators = validated.turned(stages.len());

        let mut up = Edges::default();
        // Who has listed a stage last, so that none is listed twice by one.
        let mut listed_by = vec![usize::MAX; stages.len()];
        let mut list = Vec::new();
        for (index, stage) in stages.iter().enumerate() {
            list.clear();
            let target = targets[index];
            let mut add = |other: usize| {
                if std::mem::replace(&mut listed_by[other], index) != index {
                    list.push(other);
                }
            };
            for other in stage.needs.iter().chain(stage.optional_needs) {
                let other = find(stage, other)?;
                add(other);
                if Some(other) != target {
                    validators.of(other).iter().copied().filter(|one| *one != index).for_each(&mut add);
                }
            }
            target.into_iter().for_each(&mut add);
            list.sort_unstable();
            up.push(list.drain(..));
        }
        let names: Vec<StageName> = stages.iter().map(|stage| stage.name.clone()).collect();
        let down = up.turned(names.len());
        let order = order(&up, &down, names.len())
            .map_err(|cycle| GraphError::Cycle(Cycle(cycle.iter().map(|at| names[*at].clone()).collect())))?;
        let mut position = vec![0; names.len()];
        let mut levels = vec![0; names.len()];
        for (at, stage) in order.iter().enumerate() {
            position[*stage] = at;
            levels[*stage] = up.of(*stage).iter().map(|before| levels[*before] + 1).max().unwrap_or(0);
        }
        Ok(Self { names, by_name, up, down, validators, targets, order, position, levels })
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub fn name(&self, stage: usize) -> &StageName {
        &self.names[stage]
    }

    pub fn index(&self, name: &StageName) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Everything that has to end before this stage starts, directly: in the order of the file, none twice.
    pub fn upstream(&self, stage: usize) -> &[usize] {
        self.up.of(stage)
    }

    /// What waits for this stage, directly, in the order of the file.
    pub fn downstream(&self, stage: usize) -> &[usize] {
        self.down.of(stage)
    }

    /// The stages that check this one.
    pub fn validators(&self, stage: usize) -> &[usize] {
        self.validators.of(stage)
    }

    /// The stage that this one checks.
    pub fn target(&self, stage: usize) -> Option<usize> {
        self.targets[stage]
    }

    /// All stages, each behind what it waits for; where that leaves a choice, as in the file.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// The place of a stage in [`order`](Self::order).
    pub fn position(&self, stage: usize) -> usize {
        self.position[stage]
    }

    /// How many stages the longest way to this one has: 0 for what waits for nothing.
    pub fn level(&self, stage: usize) -> usize {
        self.levels[stage]
    }

    pub fn edges(&self) -> usize {
        self.up.ends.len()
    }

    /// Everything that has to end before any of these, in topological order. One of these is among it only if another
    /// one waits for it.
    pub fn ancestors(&self, of: &[usize]) -> Vec<usize> {
        self.reach(of, &self.up)
    }

    /// Everything that waits for any of these, however far, in topological order. One of these is among it only if it
    /// waits for another.
    pub fn descendants(&self, of: &[usize]) -> Vec<usize> {
        self.reach(of, &self.down)
    }

    fn reach(&self, of: &[usize], edges: &Edges) -> Vec<usize> {
        let mut seen = vec![false; self.len()];
        let mut open: Vec<usize> = of.to_vec();
        let mut found = Vec::new();
        let mut looked_at = vec![false; self.len()];
        while let Some(stage) = open.pop() {
            if std::mem::replace(&mut looked_at[stage], true) {
                continue;
            }
            for next in edges.of(stage) {
                if !std::mem::replace(&mut seen[*next], true) {
                    found.push(*next);
                    open.push(*next);
                }
            }
        }
        found.sort_unstable_by_key(|stage| self.position[*stage]);
        found
    }

    /// For each stage the marks of all its ancestors together: 64 questions about them answered in one pass.
    pub fn inherited(&self, own: &[u64]) -> Vec<u64> {
        let mut inherited = vec![0; self.len()];
        for stage in &self.order {
            inherited[*stage] =
                self.up.of(*stage).iter().fold(0, |all, before| all | inherited[*before] | own[*before]);
        }
        inherited
    }
}

/// A topological order, or a cycle: each before the next, and the first once more at the end.
fn order(up: &Edges, down: &Edges, stages: usize) -> Result<Vec<usize>, Vec<usize>> {
    let mut waits: Vec<usize> = (0..stages).map(|stage| up.of(stage).len()).collect();
    let mut free: BinaryHeap<Reverse<usize>> =
        (0..stages).filter(|stage| waits[*stage] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(stages);
    while let Some(Reverse(stage)) = free.pop() {
        order.push(stage);
        for next in down.of(stage) {
            waits[*next] -= 1;
            if waits[*next] == 0 {
                free.push(Reverse(*next));
            }
        }
    }
    let Some(stuck) = (0..stages).find(|stage| waits[*stage] > 0) else { return Ok(order) };
    Err(cycle(up, down, &waits, stuck))
}

/// What is stuck waits for something that is stuck, so going backwards ends in a cycle. The shortest one through that
/// stage is what a person wants to see.
fn cycle(up: &Edges, down: &Edges, waits: &[usize], stuck: usize) -> Vec<usize> {
    let mut seen = vec![false; waits.len()];
    let mut at = stuck;
    while !std::mem::replace(&mut seen[at], true) {
        at = up.of(at).iter().copied().find(|before| waits[*before] > 0).unwrap_or(at);
    }
    let mut came_from = vec![None; waits.len()];
    let mut open = VecDeque::from([at]);
    while let Some(stage) = open.pop_front() {
        for next in down.of(stage) {
            if came_from[*next].is_none() {
                came_from[*next] = Some(stage);
                open.push_back(*next);
            }
        }
    }
    let mut path = vec![at];
    let mut before = came_from[at];
    while let Some(stage) = before {
        path.push(stage);
        before = if stage == at { None } else { came_from[stage] };
    }
    // Backwards so far, from `at` to `at`. It begins with whatever stands first in the file.
    path.pop();
    path.reverse();
    let first = (0..path.len()).min_by_key(|at| path[*at]).unwrap_or(0);
    path.rotate_left(first);
    path.push(path[0]);
    path
}

#[cfg(test)]
mod tests {
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
            (
                "x:\n a: x c\n b: a\n c: b\n y: c",
                "these stages wait for each other in a circle: a → b → c → a",
            ),
            // The way from b to c has a short cut.
            (
                "a: c\n b: a\n b2: b\n c: b b2\n",
                "these stages wait for each other in a circle: a → b → c → a",
            ),
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
            told.ends_with("circle: s0 → s1 → s2 → s3 → s4 → s5 → … 9989 more … → s9995 → s9996 → s9997 → s9998 → s9999 → s0"),
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
        let took = cpu() - start;
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
        let took = cpu() - start;
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
}
