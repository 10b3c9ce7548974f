//! What a successor makes of records and inventories, and what a reboot leaves.

use super::fixture::{Bench, nth, retry_mut, secs, spec, watched};
use super::tests::stop_effect;
use super::*;
use crate::domain::retry::OutputMatch;
use crate::domain::spec::Pattern;
use crate::domain::verdict::ExitStatus;
use crate::domain::view::{NoticeKind, RunnerStatus};

fn found(attempt: u32) -> Found {
    Found {
        attempt: nth(attempt),
        process: Process { pid: 55, start: 9 },
        main_ended: false,
        stuck: vec![],
        log: PathBuf::from("/logs/a_1.log"),
    }
}

fn inventory(found: Option<Found>) -> Event {
    Event::Inventory { found, first: true, output: OutputMatch::None }
}

/// What a successor makes of the record.
fn taken_over(b: &mut Bench) {
    let state = b.runner.to_state(&b.spec, &b.now);
    let text = serde_json::to_string(&state).unwrap();
    b.runner = Runner::from_state(&serde_json::from_str(&text).unwrap(), &b.now);
}

#[test]
fn a_successor_goes_on_with_the_rest_of_the_backoff_and_the_same_count() {
    let mut b = Bench::new(spec("a"));
    b.up().crash().pass(secs(5)).timer(TimerKind::Due).spawned().crash().pass(secs(3));
    taken_over(&mut b);
    b.feed(inventory(None));
    assert_eq!((b.armed(TimerKind::Due), b.runner.retry_count), (Some(secs(7)), 2));
}

#[test]
fn the_backoff_counts_from_the_end_also_where_it_is_decided_on_later() {
    let mut spec = spec("a");
    retry_mut(&mut spec).not_on_output = vec![Pattern(regex::bytes::Regex::new("overloaded").unwrap())];
    let mut b = Bench::new(spec);
    b.up().exit(ExitStatus::Code(1)).pass(secs(3));
    taken_over(&mut b);
    b.feed(inventory(Some(Found { main_ended: true, ..found(1) }))).gone();
    assert_eq!(b.armed(TimerKind::Due), Some(secs(2)), "5 s after the end, of which 3 are over");
}

#[test]
fn a_successor_adopts_what_lives_and_learns_what_ended() {
    let mut b = Bench::new(watched("a"));
    b.up().pass(secs(100));
    taken_over(&mut b);
    b.feed(inventory(Some(found(1))));
    assert_eq!((b.status(), b.runner.pid()), (RunnerStatus::Running, Some(55)));
    assert_eq!(b.armed(TimerKind::Timeout), Some(secs(3500)), "the limit counts from its start");
    assert_eq!(b.notices(), [&NoticeKind::Adopted { attempt: nth(1), pid: 55 }]);

    taken_over(&mut b);
    b.exit(ExitStatus::Code(7)).feed(inventory(None));
    assert_eq!((b.verdict().as_str(), b.status()), ("exit 7", RunnerStatus::Backoff));
}

#[test]
fn what_is_neither_alive_nor_known_to_have_ended_is_lost() {
    let mut b = Bench::new(spec("a"));
    b.up();
    taken_over(&mut b);
    b.feed(inventory(None));
    assert_eq!((b.verdict().as_str(), b.status()), ("lost", RunnerStatus::Backoff));
}

#[test]
fn an_intent_without_an_answer_is_carried_out_again() {
    let mut b = Bench::new(spec("a"));
    b.feed(Event::Start);
    taken_over(&mut b);
    b.feed(inventory(None));
    assert!(b.spawns());
    assert_eq!(b.live(), nth(1));
}

#[test]
fn a_stop_that_was_under_way_is_repeated() {
    let mut b = Bench::new(spec("a"));
    b.up().feed(Event::Stop);
    taken_over(&mut b);
    b.feed(inventory(Some(found(1))));
    assert_eq!(stop_effect(&b), Some((Some(15), secs(10))));
    b.pass(secs(1)).exit(ExitStatus::Code(0)).gone();
    assert_eq!(b.status(), RunnerStatus::Stopped);
}

#[test]
fn a_reboot_starts_again_what_was_live_without_a_retry() {
    let mut b = Bench::new(spec("a"));
    b.up().crash();
    taken_over(&mut b);
    b.feed(Event::Rebooted);
    assert!(b.spawns());
    assert_eq!((b.runner.retry_count, b.live()), (1, nth(2)));
    b.spawned();
    taken_over(&mut b);
    b.feed(Event::Rebooted);
    assert_eq!((b.verdict().as_str(), b.runner.retry_count, b.live()), ("lost", 1, nth(3)));

    let mut b = Bench::new(spec("a"));
    b.up().feed(Event::Stop).exit(ExitStatus::Code(0)).gone();
    taken_over(&mut b);
    b.feed(Event::Rebooted);
    assert_eq!(b.status(), RunnerStatus::Stopped);
}

#[test]
fn records_of_other_versions_load() {
    let now = Bench::new(spec("a")).now;
    let old = r#"{"runner_id":"a","pid":77,"status":"running","started_at":"2026-01-01T00:00:00Z",
        "exit_code":null,"retry_count":2,"max_retries":3,"last_retry_at":null,"colour":"red"}"#;
    let runner = Runner::from_state(&serde_json::from_str(old).unwrap(), &now);
    assert_eq!((runner.status(), runner.pid(), runner.retry_count), (RunnerStatus::Running, Some(77), 2));
    let bare = r#"{"runner_id":"a"}"#;
    let runner = Runner::from_state(&serde_json::from_str(bare).unwrap(), &now);
    assert_eq!(runner, Runner::default());
}
