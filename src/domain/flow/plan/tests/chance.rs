//! Large flows, and flows by chance.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

/// Generous: it is to tell linear from quadratic on a busy machine in a debug build.
const SOON: Duration = Duration::from_secs(10);

fn chain(stages: usize) -> String {
    let line = |n: usize| if n == 0 { "s0: >k".into() } else { format!("s{n}: s{} >k <k", n - 1) };
    (0..stages).map(line).collect::<Vec<_>>().join("\n")
}

fn dense(layers: usize, width: usize) -> String {
    let line = |n: usize| {
        let layer = n / width;
        let needs = (0..width).filter(|_| layer > 0).map(|at| format!("s{}", (layer - 1) * width + at));
        format!("s{n}: {}", needs.collect::<Vec<_>>().join(" "))
    };
    (0..layers * width).map(line).collect::<Vec<_>>().join("\n")
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test of speed reads the clock")]
fn large_flows_are_planned_soon() {
    for (what, text, stages) in
        [("a chain", chain(10_000), 10_000), ("50 layers of 50", dense(50, 50), 2_500)]
    {
        let last = format!("s{}", stages - 1);
        let ends = |stage: &StageName| if stage.as_str() == last { "failed" } else { "ok" };
        let mut world = world_of(flow(&text), ends);
        let left = world.left_now();
        let start = Instant::now();
        let plan = world.plan_with(&left, &first()).unwrap();
        let took = start.elapsed();
        println!("{what}: {stages} stages, {} edges: {took:?}", world.graph.edges());
        assert_eq!(plan.stages.iter().filter(|one| one.decision == Decision::Reuse).count(), stages - 1);
        assert!(took < SOON, "{what}: {took:?}");
    }
}

/// Needs, optional needs and what is validated, as places before its own.
type Links = (Vec<usize>, Vec<usize>, Option<usize>);

#[derive(Debug, Clone)]
struct Shape {
    stages: Vec<Links>,
    fails: BTreeSet<usize>,
    degraded: BTreeSet<usize>,
    ruled_out: BTreeSet<usize>,
    changed: BTreeSet<usize>,
    damaged: BTreeSet<usize>,
    edited: BTreeSet<usize>,
}

const STAGES: usize = 12;

fn shape() -> impl Strategy<Value = Shape> {
    let some = |most| prop::collection::btree_set(0..STAGES, 0..most);
    let links = prop::collection::vec((prop::collection::vec(0..STAGES, 0..3), 0..4_u8, 0..STAGES), STAGES);
    (links, some(4), some(3), some(3), some(2), some(2), some(2)).prop_map(
        |(links, fails, degraded, ruled_out, changed, damaged, edited)| {
            let mut validators = BTreeSet::new();
            let stage = |(place, (needs, kind, other)): (usize, (Vec<usize>, u8, usize))| {
                let needs: BTreeSet<usize> = needs.into_iter().filter(|need| *need < place).collect();
                let mut optional = Vec::new();
                let mut validates = None;
                if other < place && !needs.contains(&other) {
                    match kind {
                        0 => optional.push(other),
                        1 if needs.is_empty() && !validators.contains(&other) => {
                            validators.insert(place);
                            validates = Some(other);
                        }
                        _ => {}
                    }
                }
                (needs.into_iter().collect(), optional, validates)
            };
            let stages = links.into_iter().enumerate().map(stage).collect();
            Shape { stages, fails, degraded, ruled_out, changed, damaged, edited }
        },
    )
}

fn flow_of(shape: &Shape) -> FlowSpec {
    let line = |(place, (needs, optional, validates)): (usize, &Links)| {
        let mut words: Vec<String> = needs.iter().map(|need| format!("s{need}")).collect();
        words.extend(optional.iter().map(|need| format!("?s{need}")));
        words.extend(validates.iter().map(|other| format!("!s{other}")));
        words.push(format!(">k{place}"));
        if shape.ruled_out.contains(&place) {
            words.push("when:draft".into());
        }
        format!("s{place}: {}", words.join(" "))
    };
    flow(&shape.stages.iter().enumerate().map(line).collect::<Vec<_>>().join("\n"))
}

/// How the run would have gone.
fn ends_of(shape: &Shape, flow: &FlowSpec, graph: &Graph) -> Vec<&'static str> {
    let mut ends = vec!["ok"; STAGES];
    for stage in graph.order().iter().copied() {
        let bad = |before: &usize| matches!(ends[*before], "failed" | "not_run");
        let needed: Vec<usize> = flow.stages[stage]
            .needs
            .iter()
            .chain(&flow.stages[stage].validates)
            .filter_map(|need| graph.index(need))
            .collect();
        ends[stage] = if graph.upstream(stage).iter().any(bad) {
            "not_run"
        } else if shape.ruled_out.contains(&stage) || needed.iter().any(|need| ends[*need] == "skipped") {
            "skipped"
        } else if shape.fails.contains(&stage) {
            "failed"
        } else if shape.degraded.contains(&stage) {
            "degraded"
        } else {
            "ok"
        };
    }
    ends
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_plan_executes_what_it_must_and_nothing_else(shape in shape(), pick in 0..STAGES, force in any::<bool>()) {
        let flow = flow_of(&shape);
        let graph = graph(&flow);
        let ends = ends_of(&shape, &flow, &graph);
        let good = |stage: &usize| matches!(ends[*stage], "ok" | "degraded");
        let mut world = world_of(flow, |stage| ends[graph.index(stage).unwrap()]);
        let names = |set: &BTreeSet<usize>| set.iter().map(|stage| graph.name(*stage).clone()).collect::<BTreeSet<_>>();
        world.changed_recipes = names(&shape.changed);
        world.damaged = names(&shape.damaged);
        let edited: BTreeSet<usize> = shape.edited.iter().copied().filter(good).collect();
        for stage in &edited {
            world.edit(graph.name(*stage).as_str());
        }
        let asked = graph.name(pick).as_str().to_owned();
        for wish in [first(), if force { forced(&asked) } else { from(&asked) }] {
            let plan = match world.plan(&wish) {
                Ok(plan) => plan,
                Err(refusal) => {
                    let end = |stage: &StageName| ends[graph.index(stage).unwrap()];
                    let fine = if let Refusal::NothingFailed { .. } = &refusal {
                        wish.start == Start::FirstFailure
                    } else if let Refusal::Succeeded { stage, .. } = &refusal {
                        end(stage) == "ok"
                    } else if let Refusal::NeverRan { stage, start, set, force, .. } = &refusal {
                        // The way out is one.
                        let before = graph.ancestors(&[pick]).contains(&graph.index(start).unwrap());
                        let wish = Wish { start: Start::At(start.clone()), force: *force };
                        match end(stage) {
                            "not_run" => before && set.is_empty() && world.plan(&wish).is_ok(),
                            "skipped" => (before || start == stage) && end(start) == "skipped" && !set.is_empty()
                                || before && world.plan(&wish).is_ok(),
                            _ => false,
                        }
                    } else {
                        false
                    };
                    prop_assert!(fine, "{:?} {}", ends, refusal);
                    continue;
                }
            };
            let order: Vec<&StageName> = plan.stages.iter().map(|planned| &planned.stage).collect();
            prop_assert_eq!(&order, &graph.order().iter().map(|stage| graph.name(*stage)).collect::<Vec<_>>());

            // T', what has no usable checkpoint, what changed, what is behind an edit; and all that comes behind these.
            let mut bases: BTreeSet<usize> = (0..STAGES).filter(|stage| !good(stage) && ends[*stage] != "skipped").collect();
            // An edit stands for any recipe.
            bases.extend(shape.changed.iter().filter(|stage| good(stage) && !edited.contains(*stage)));
            bases.extend(shape.damaged.iter().filter(|stage| good(stage)));
            bases.extend(edited.iter().flat_map(|stage| graph.downstream(*stage)));
            let target = match &wish.start {
                Start::At(_) => Some(pick),
                Start::FirstFailure | Start::Rejected(_) | Start::After(_) | Start::Fork(_) => graph
                    .index(&plan.from)
                    .filter(|_| ends.contains(&"failed") || ends.contains(&"degraded")),
            };
            if let Some(target) = target {
                let answered = good(&target) || ends[target] == "failed";
                let validated = graph.target(target).filter(|validated| answered || !good(validated));
                bases.insert(validated.unwrap_or(target));
            }
            if wish.start == Start::FirstFailure && ends.contains(&"failed") {
                let from = graph.index(&plan.from).unwrap();
                let validated = graph.validators(from).iter().any(|one| ends[*one] == "failed");
                prop_assert!(ends[from] == "failed" || validated);
            }
            let bases: Vec<usize> = bases.into_iter().collect();
            let mut expected: BTreeSet<usize> = graph.descendants(&bases).into_iter().collect();
            expected.extend(&bases);
            let executed: BTreeSet<usize> = plan
                .stages
                .iter()
                .filter(|planned| planned.decision == Decision::Execute)
                .map(|planned| graph.index(&planned.stage).unwrap())
                .collect();
            prop_assert_eq!(&executed, &expected, "{:?} {:?} {}", ends, wish, shown(&plan));

            for planned in &plan.stages {
                let stage = graph.index(&planned.stage).unwrap();
                let reused = planned.decision == Decision::Reuse;
                if reused {
                    prop_assert!(graph.ancestors(&[stage]).iter().all(|before| !executed.contains(before)));
                    prop_assert_eq!(planned.checkpoint.is_some(), ends[stage] != "skipped");
                }
                let looked_at = world.verified.contains(&planned.stage);
                prop_assert!(!reused || looked_at || ends[stage] == "skipped");
                prop_assert!(reused || !looked_at || shape.damaged.contains(&stage), "{} was hashed for nothing", planned.stage);
            }
        }
    }
}
