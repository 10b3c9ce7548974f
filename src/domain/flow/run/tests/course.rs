//! Stages and their retries, and how a run is ended.

use super::*;

#[test]
fn stages_start_when_all_they_need_is_on_record() {
    let mut world = World::new(flow("a:\n b: a\n c: a\n d: b c"));
    assert_eq!(world.lives(), ["a"]);
    world.goes("a", End::Good);
    assert_eq!(world.lives(), ["b", "c"]);
    world.goes("c", End::Good);
    assert_eq!(world.lives(), ["b"]);
    world.goes("b", End::Degraded);
    world.goes("d", End::Good);
    assert_eq!(world.words(), "a=succeeded b=degraded c=succeeded d=succeeded");
    assert_eq!(world.record.status, RunStatus::Degraded);
}

#[test]
fn a_failure_keeps_what_needs_it_from_running_and_nothing_else() {
    let mut world = World::new(flow("a:\n b: a\n c: b\n beside:"));
    world.goes("a", End::Bad);
    assert_eq!(world.words(), "a=failed b=not_run c=not_run beside=pending");
    assert_eq!((world.error("a"), world.error("c")), ("exit 1: no", "needs b, which is not_run"));
    assert_eq!(world.record.status, RunStatus::Running);
    world.goes("beside", End::Good);
    assert_eq!(world.record.status, RunStatus::Failed);
    assert_eq!(world.record.error.as_deref(), Some("a: exit 1: no"));
}

#[test]
fn a_validator_stands_before_whatever_needs_what_it_checks() {
    let mut world = World::new(flow("a:\n b: a\n check: !a"));
    world.goes("a", End::Good);
    assert_eq!(world.lives(), ["check"]);
    world.goes("check", End::Bad);
    assert_eq!(world.words(), "a=succeeded b=not_run check=failed");
}

#[test]
fn a_skip_passes_on_to_what_needs_it_and_stops_where_it_can_be_done_without() {
    let world = World::new(flow("a: when:no\n b: a\n c: ?b\n d:"));
    assert_eq!(world.words(), "a=skipped b=skipped c=pending d=pending");
    assert_eq!(world.lives(), ["c", "d"]);
}

#[test]
fn retries_back_off_and_the_last_error_lists_all_attempts() {
    let mut world = World::new(retrying("a:", "a", 2));
    world.goes("a", End::Bad);
    assert_eq!(world.words(), "a=backoff");
    assert_eq!(world.error("a"), "exit 1: no (will retry 2 more times)");
    assert!(world.time_passes());
    assert_eq!(world.seconds, 1);
    world.goes("a", End::Rubbish);
    assert_eq!(world.error("a"), "the output lacks \"k\" (will retry 1 more time)");
    assert!(world.time_passes());
    assert_eq!(world.seconds, 3);
    world.goes("a", End::Bad);
    let all = "exit 1: no (3 attempts failed; 1: exit 1: no; 2: the output lacks \"k\"; 3: exit 1: no)";
    assert_eq!((world.words().as_str(), world.error("a")), ("a=failed", all));
    let numbers: Vec<u32> = world.rows[&name("a")].attempts.iter().map(|one| one.number).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[test]
fn an_attempt_that_is_not_to_blame_spends_no_retry() {
    let mut world = World::new(flow("a:"));
    for _ in 0..3 {
        world.goes("a", End::Cut);
        assert_eq!(world.words(), "a=backoff");
        assert!(world.error("a").contains("the machine ended"), "{}", world.error("a"));
        assert!(world.time_passes());
    }
    world.goes("a", End::Bad);
    assert_eq!((world.words().as_str(), world.error("a")), ("a=failed", "exit 1: no"));
    let blameless: Vec<bool> = world.rows[&name("a")].attempts.iter().map(|one| one.blameless).collect();
    assert_eq!(blameless, [true, true, true, false]);
}

#[test]
fn a_report_of_an_attempt_that_is_over_changes_nothing() {
    let mut world = World::new(retrying("a:", "a", 1));
    let unit = world.unit("a");
    world.goes("a", End::Bad);
    let at = world.moment();
    assert_eq!(world.run.ended(unit, end_of(1, End::Good), at), Turn::default());
    assert_eq!(world.run.settled(unit, &end_of(1, End::Good), Err("late".into()), at), Turn::default());
    // A timer that comes before its time.
    assert_eq!(world.run.due(unit, at), Turn::default());
    assert!(world.time_passes());
    assert_eq!(world.run.ended(unit, end_of(1, End::Good), world.moment()), Turn::default());
    assert_eq!(world.lives(), ["a"]);
}

#[test]
fn cancelling_stops_what_lives_and_waits_for_its_end() {
    let mut world = World::new(retrying("a:\n again:\n b: a", "again", 3));
    world.goes("again", End::Bad);
    world.step(Run::cancel);
    assert_eq!(world.words(), "a=pending again=cancelled b=cancelled");
    assert_eq!(world.record.status, RunStatus::Running);
    // Nobody cancels twice, and time does not matter any more.
    world.step(Run::cancel);
    world.time_passes();
    let unit = world.unit("a");
    let attempt = world.live.remove(&unit).unwrap();
    world.step(|run, at| run.ended(unit, stopped(attempt), at));
    assert_eq!(world.words(), "a=cancelled again=cancelled b=cancelled");
    assert_eq!(
        (world.record.status, world.record.error.as_deref()),
        (RunStatus::Cancelled, Some("cancelled"))
    );
    assert_eq!(world.launched.len(), 2);
}

#[test]
fn what_had_ended_well_before_the_run_was_ended_counts() {
    for settled_first in [true, false] {
        let mut world = World::new(flow("a:\n b:\n c: a"));
        let (a, b) = (world.unit("a"), world.unit("b"));
        if settled_first {
            world.ends(a, End::Good);
            world.step(Run::cancel);
        } else {
            world.step(Run::cancel);
            world.ends(a, End::Good);
        }
        let attempt = world.live.remove(&b).unwrap();
        world.step(|run, at| run.ended(b, stopped(attempt), at));
        world.settles(a, End::Good);
        assert_eq!(world.words(), "a=succeeded b=cancelled c=cancelled");
        assert_eq!(world.record.status, RunStatus::Cancelled);
    }
}

#[test]
fn nothing_is_tried_again_in_a_run_that_is_being_ended() {
    let mut world = World::new(retrying("a:", "a", 3));
    let unit = world.unit("a");
    world.ends(unit, End::Good);
    world.step(Run::cancel);
    world.settles(unit, End::Rubbish);
    assert_eq!((world.words().as_str(), world.record.status), ("a=cancelled", RunStatus::Cancelled));
    assert!(!world.time_passes());
}

#[test]
fn a_run_that_takes_too_long_fails_and_says_so_whatever_comes_after() {
    let mut spec = flow("a:\n b: a");
    spec.timeout = Some(Duration::from_secs(5));
    let mut world = World::new(spec);
    world.seconds = 4;
    let at = world.moment();
    assert_eq!(world.run.timed_out(at), Turn::default());
    world.seconds = 5;
    world.step(Run::timed_out);
    world.step(Run::cancel);
    let unit = world.unit("a");
    let attempt = world.live.remove(&unit).unwrap();
    world.step(|run, at| run.ended(unit, stopped(attempt), at));
    assert_eq!(world.words(), "a=cancelled b=not_run");
    assert_eq!(world.record.status, RunStatus::Failed);
    assert_eq!(world.record.error.as_deref(), Some("Flow execution timed out after 5 seconds"));
}

#[test]
fn a_backoff_and_its_count_outlive_the_supervisor() {
    let mut world = World::new(retrying("a:", "a", 2));
    world.goes("a", End::Bad);
    world.dies_and_comes_back();
    assert!(world.lives().is_empty());
    assert!(world.time_passes());
    assert_eq!((world.seconds, world.launched.len()), (1, 2));
    world.dies_and_comes_back();
    world.goes("a", End::Bad);
    assert_eq!(world.error("a"), "exit 1: no (will retry 1 more time)");
    assert!(world.time_passes());
    world.goes("a", End::Bad);
    assert_eq!(world.words(), "a=failed");
    assert!(
        world.error("a").starts_with("exit 1: no (3 attempts failed; 1: exit 1: no;"),
        "{}",
        world.error("a")
    );
}

#[test]
fn a_queued_run_has_its_deadline_from_its_start_also_after_a_crash() {
    let mut spec = flow("a:");
    spec.timeout = Some(Duration::from_secs(5));
    let mut world = World::new(spec);
    assert_eq!(world.record.deadline, Some(at(5)));
    world.seconds = 3;
    world.dies_and_comes_back();
    assert_eq!(world.run.deadline().map(|deadline| deadline.wall), Some(at(5)));
}
