//! The time that a run may take: what of it counts after the death of whoever carried it out.

use super::*;

fn limited(text: &str) -> World {
    let mut spec = flow(text);
    spec.timeout = Some(Duration::from_secs(10));
    World::new(spec)
}

#[test]
fn the_time_for_which_nobody_carries_a_run_out_is_not_its_own() {
    let mut world = limited("a:\n b: a");
    world.seconds = 2;
    world.goes("a", End::Good);
    // b printed something at 3, and was never seen again.
    world.seconds = 1000;
    world.comes_back(Some(3));
    world.step(Run::timed_out);
    assert_eq!((world.record.status, world.record.deadline), (RunStatus::Running, Some(at(1007))));
    // Nothing more is known than that it went on at 1000: what lay before that is not given back once more.
    world.seconds = 2000;
    world.comes_back(Some(3));
    assert_eq!(world.record.deadline, Some(at(2007)));
    world.seconds = 2007;
    world.step(Run::timed_out);
    world.goes("b", End::Cut);
    assert_eq!(world.record.error.as_deref(), Some("Flow execution timed out after 10 seconds"));
}

#[test]
fn the_last_that_is_known_of_a_run_is_when_its_clock_stopped() {
    let mut world = limited("a:\n b: a\n c: b");
    world.seconds = 4;
    world.goes("a", End::Good);
    world.seconds = 5;
    world.goes("b", End::Good);
    world.seconds = 100;
    world.comes_back(Some(1));
    assert_eq!(world.record.deadline, Some(at(105)));
}

#[test]
fn what_lives_on_spends_the_time_of_its_run_whoever_looks_after_it() {
    let mut world = limited("a:\n b:");
    world.seconds = 8;
    world.comes_back(None);
    assert_eq!(world.record.deadline, Some(at(10)));
    // It lived until its time was over, and nobody was there to end it.
    world.seconds = 20;
    world.comes_back(Some(12));
    world.step(Run::timed_out);
    world.goes("a", End::Cut);
    world.goes("b", End::Cut);
    assert_eq!(world.record.error.as_deref(), Some("Flow execution timed out after 10 seconds"));
}

#[test]
fn the_clock_of_a_run_that_is_unlocked_stays_where_it_stood() {
    let mut world = limited("a:");
    world.seconds = 4;
    world.write_all();
    let claims = BTreeMap::from([(world.unit("a"), Claim { attempt: 1, last_seen: Some(at(4)) })]);
    world.seconds = 500;
    let (record, at_now) = ((&world.record, world.time_left), moment(500));
    world.run = restored(record, &world.spec, &world.rows, &world.checkpoints, claims, at_now);
    world.step(Run::interrupt);
    assert_eq!((world.record.deadline, world.time_left), (None, Some(Duration::from_secs(6))));
}
