//! Whatever the order of things: flows, fates and orders by chance.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

const STAGES: usize = 7;

#[derive(Debug, Clone)]
struct Shape {
    /// For each pair: nothing, needs, needs optionally.
    edges: Vec<u8>,
    /// Ordinary, ruled out, fanning out, or asking a person.
    kinds: Vec<u8>,
    retries: Vec<u32>,
    ends: Vec<End>,
    max_parallel: u32,
    /// What happens next: which of what can happen.
    choices: Vec<u16>,
}

fn shape() -> impl Strategy<Value = Shape> {
    let end = prop_oneof![
        6 => Just(End::Good), 1 => Just(End::Degraded), 2 => Just(End::Bad), 1 => Just(End::Rubbish),
        1 => Just(End::Cut)
    ];
    (
        prop::collection::vec(prop_oneof![3 => Just(0_u8), 2 => Just(1), 1 => Just(2)], STAGES * STAGES),
        prop::collection::vec(prop_oneof![6 => Just(0_u8), 1 => Just(1), 2 => Just(2)], STAGES),
        prop::collection::vec(0..3_u32, STAGES),
        prop::collection::vec(end, 64),
        1..5_u32,
        prop::collection::vec(any::<u16>(), 200),
    )
        .prop_map(|(edges, kinds, retries, ends, max_parallel, choices)| Shape {
            edges,
            kinds,
            retries,
            ends,
            max_parallel,
            choices,
        })
}

fn flow_of(shape: &Shape) -> FlowSpec {
    let mut text = String::new();
    for stage in 0..STAGES {
        write!(text, "s{stage}: >k{stage}").unwrap();
        for before in 0..stage {
            match shape.edges[stage * STAGES + before] {
                1 => write!(text, " s{before}").unwrap(),
                2 => write!(text, " ?s{before}").unwrap(),
                _ => {}
            }
        }
        text.push_str(if shape.kinds[stage] == 1 { " when:no\n" } else { "\n" });
    }
    let mut spec = flow(&text);
    for (stage, one) in spec.stages.iter_mut().enumerate() {
        one.retry.count = shape.retries[stage];
        one.foreach =
            (shape.kinds[stage] == 2).then(|| Foreach { key: "list".into(), max_parallel: Some(2) });
    }
    spec.max_parallel = Some(shape.max_parallel);
    spec
}

/// How an attempt ends is fixed by which one it is. Nothing is cut short for ever.
#[expect(clippy::wildcard_enum_match_arm, reason = "a test looks for what it is about")]
fn fate(shape: &Shape, unit: UnitKey, attempt: u32) -> End {
    let place = unit.stage * 17 + unit.item.map_or(0, |item| item as usize + 1) * 5 + attempt as usize;
    match shape.ends[place % shape.ends.len()] {
        End::Cut if attempt > 4 => End::Bad,
        end => end,
    }
}

/// What a stage that runs comes to, told from the fate of its attempts alone.
fn expected_of(shape: &Shape, spec: &FlowSpec, stage: usize) -> StageStatus {
    let items: Vec<Option<u32>> =
        if spec.stages[stage].foreach.is_some() { vec![Some(0), Some(1), Some(2)] } else { vec![None] };
    let last = items.into_iter().map(|item| {
        let blamed =
            (1..).map(|attempt| fate(shape, UnitKey { stage, item }, attempt)).filter(|end| *end != End::Cut);
        let tries: Vec<End> = blamed.take(shape.retries[stage] as usize + 1).collect();
        tries.into_iter().find(|end| matches!(end, End::Good | End::Degraded))
    });
    let last: Vec<Option<End>> = last.collect();
    if last.contains(&None) {
        StageStatus::Failed
    } else if last.contains(&Some(End::Degraded)) {
        StageStatus::Degraded
    } else {
        StageStatus::Succeeded
    }
}

fn expected(shape: &Shape, spec: &FlowSpec) -> Vec<StageStatus> {
    let mut ends: Vec<StageStatus> = Vec::new();
    for stage in 0..STAGES {
        let before = |kind: u8| (0..stage).filter(move |one| shape.edges[stage * STAGES + one] == kind);
        let bad = |one: usize| matches!(ends[one], StageStatus::Failed | StageStatus::NotRun);
        let end = if before(1).chain(before(2)).any(bad) {
            StageStatus::NotRun
        } else if shape.kinds[stage] == 1 || before(1).any(|one| ends[one] == StageStatus::Skipped) {
            StageStatus::Skipped
        } else {
            expected_of(shape, spec, stage)
        };
        ends.push(end);
    }
    ends
}

/// What may happen next in the world.
enum Next {
    End(UnitKey),
    Settle(UnitKey),
    Time,
    Record,
    Death,
}

fn play(shape: &Shape, dies: bool, is_slow: bool, cancelled_after: Option<usize>) -> World {
    let spec = flow_of(shape);
    let mut world = World::new(spec);
    world.is_slow = is_slow;
    let mut steps = 0;
    while !world.record.status.is_final() {
        if cancelled_after == Some(steps) {
            world.step(Run::cancel);
        }
        let mut next: Vec<Next> = world.live.keys().copied().map(Next::End).collect();
        next.extend(world.settling.keys().copied().map(Next::Settle));
        if !world.timers.is_empty() {
            next.push(Next::Time);
        }
        if !world.unwritten.is_empty() {
            next.push(Next::Record);
        }
        if world.record.status.is_final() {
            break;
        }
        assert!(
            !next.is_empty(),
            "nothing can happen any more, and it is {}: {}",
            world.record.status,
            world.words()
        );
        if dies && steps < shape.choices.len() && cancelled_after.is_none() {
            next.push(Next::Death);
        }
        let choice = shape.choices[steps % shape.choices.len()] as usize % next.len();
        match next.swap_remove(choice) {
            Next::End(unit) => world.ends(unit, fate(shape, unit, world.live[&unit])),
            Next::Settle(unit) => {
                let attempt = world.settling[&unit].attempt;
                world.settles(unit, fate(shape, unit, attempt));
            }
            Next::Time => drop(world.time_passes()),
            Next::Record => world.write_down(),
            Next::Death => world.dies_and_comes_back(),
        }
        steps += 1;
        assert!(steps < 5000, "it never ends: {}", world.words());
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_run_ends_as_its_stages_say_whatever_the_order_of_things(
        shape in shape(), dies in any::<bool>(), is_slow in any::<bool>(),
    ) {
        let world = play(&shape, dies, is_slow, None);
        let expected = expected(&shape, &world.spec);
        let got: Vec<StageStatus> = world.spec.stages.iter().map(|one| world.rows[&one.name].status).collect();
        prop_assert_eq!(&got, &expected);
        // What lived before a death is claimed, whatever the limit.
        prop_assert!(world.most <= shape.max_parallel as usize || dies, "{} at once", world.most);
        let bad = expected.iter().any(|one| matches!(one, StageStatus::Failed | StageStatus::NotRun));
        let degraded = expected.contains(&StageStatus::Degraded);
        let status = if bad { RunStatus::Failed } else if degraded { RunStatus::Degraded } else { RunStatus::Succeeded };
        prop_assert_eq!(world.record.status, status);
        // Exactly once each.
        for stage in &world.spec.stages {
            let ended = world.told.iter().filter(|line| {
                let place = format!(": f-12/{}", stage.name);
                line.split(" after ").next().is_some_and(|line| line.ends_with(&place) || line.contains(&format!("{place}: ")))
            });
            prop_assert_eq!(ended.count(), 1, "{}: {:?}", stage.name, world.told);
        }
        // Nothing begins that is not to be told of.
        prop_assert!(world.live.is_empty() && world.settling.is_empty());
    }

    #[test]
    fn a_cancelled_run_ends_with_all_its_stages(shape in shape(), after in 0..20_usize) {
        let world = play(&shape, false, false, Some(after));
        prop_assert!(world.rows.values().all(|row| row.status.is_final()));
        let unknown = |row: &&StageRecord| row.status == StageStatus::Cancelled;
        if world.rows.values().any(|row| unknown(&row)) {
            prop_assert_eq!(world.record.status, RunStatus::Cancelled);
        }
    }
}
