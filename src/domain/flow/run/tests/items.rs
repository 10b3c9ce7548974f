//! Stages that fan out.

use super::*;

fn fanning(count: u32, key: &str) -> FlowSpec {
    let mut spec = retrying("a: >k\n b: a", "a", count);
    spec.stages[0].foreach = Some(Foreach { key: key.into(), max_parallel: Some(2) });
    spec
}

fn item(item: u32) -> UnitKey {
    UnitKey { stage: 0, item: Some(item) }
}

#[test]
fn items_have_seats_and_are_gathered_in_their_order() {
    let mut world = World::new(fanning(0, "list"));
    assert_eq!(world.live.keys().copied().collect::<Vec<_>>(), [item(0), item(1)]);
    for number in [1, 2, 0] {
        world.ends(item(number), End::Good);
        world.settles(item(number), End::Good);
    }
    assert_eq!(world.lives(), ["b"]);
    let texts = [0, 1, 2].map(|number| format!("{:?}", item(number)));
    assert_eq!(world.checkpoints[&name("a")].outputs["k"], Json::of(&texts));
    let empty = World::new(fanning(0, "none"));
    assert_eq!((empty.lives(), empty.checkpoints[&name("a")].outputs["k"].text()), (vec!["b"], "[]"));
    let missing = World::new(fanning(0, "nothing"));
    assert_eq!(missing.words(), "a=failed b=not_run");
}

#[test]
fn items_have_slots_before_the_stages_behind_them() {
    let mut spec = fanning(0, "list");
    spec.stages[1].needs.clear();
    spec.max_parallel = Some(1);
    let mut world = World::new(spec);
    for number in [0, 1, 2] {
        assert_eq!(world.live.keys().copied().collect::<Vec<_>>(), [item(number)]);
        world.ends(item(number), End::Good);
        world.settles(item(number), End::Good);
    }
    assert_eq!(world.lives(), ["b"]);
}

#[test]
fn items_that_were_done_are_not_done_again_and_one_that_fails_lets_the_others_end() {
    let mut world = World::new(fanning(0, "list"));
    world.ends(item(0), End::Good);
    world.settles(item(0), End::Good);
    world.dies_and_comes_back();
    assert_eq!(world.live.keys().copied().collect::<Vec<_>>(), [item(1), item(2)]);
    world.ends(item(1), End::Bad);
    assert_eq!(world.words(), "a=running b=pending");
    // It has had all its attempts, whoever supervises.
    world.dies_and_comes_back();
    assert_eq!(world.live.keys().copied().collect::<Vec<_>>(), [item(2)]);
    world.ends(item(2), End::Good);
    world.settles(item(2), End::Good);
    assert_eq!((world.words().as_str(), world.error("a")), ("a=failed b=not_run", "item 1: exit 1: no"));
}

#[test]
fn each_item_that_failed_is_told() {
    let mut world = World::new(fanning(0, "list"));
    for number in [1, 2, 0] {
        world.ends(item(number), if number == 0 { End::Good } else { End::Bad });
    }
    world.settles(item(0), End::Good);
    assert_eq!(world.error("a"), "item 1: exit 1: no; item 2: exit 1: no");
}

#[test]
fn an_item_keeps_its_backoff_and_its_count_over_a_death() {
    let live = |world: &World| world.live.keys().copied().collect::<Vec<_>>();
    let mut world = World::new(fanning(1, "list"));
    world.ends(item(0), End::Bad);
    world.dies_and_comes_back();
    // It keeps its seat, too.
    assert_eq!(live(&world), [item(1)]);
    assert!(world.time_passes());
    assert_eq!((world.seconds, live(&world)), (1, vec![item(0), item(1)]));
    world.ends(item(0), End::Bad);
    world.dies_and_comes_back();
    assert_eq!(live(&world), [item(1), item(2)]);
    for number in [1, 2] {
        world.ends(item(number), End::Good);
        world.settles(item(number), End::Good);
    }
    assert_eq!(world.error("a"), "item 0: exit 1: no (2 attempts failed; 1: exit 1: no; 2: exit 1: no)");
}
