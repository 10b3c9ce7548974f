//! Guests over the ends of supervisors: what is found again, and in what state.

use super::guests::{STAGE, guest};
use super::*;
use crate::domain::verdict::Verdict;
use crate::ports::Usage;

/// Three stages under way, of which only `a` will be left.
async fn three() -> World {
    let world = Setup::new(vec![]).start();
    for (name, pid) in [("v-1/a", 7), ("v-1/b", 8), ("v-1/c", 9)] {
        world.guest_up(name, 1, pid).await;
    }
    world
}

#[tokio::test(start_paused = true)]
async fn what_lives_is_adopted_and_what_ended_is_settled_with_its_real_exit() {
    let mut world = three().await;
    // This end was taken, and told to an engine that is no more; the next one nobody saw.
    world.exited("v-1/b", 1, ExitStatus::Code(2));
    world.settled().await;
    let mut unseen = exit("v-1/c", 1, 9, ExitStatus::Code(3));
    unseen.usage = Usage { cpu: secs(4), max_rss_bytes: 1 << 20 };
    let mut setup = Setup::new(vec![]).after(&world);
    setup.connect =
        Some(Inventory { live: vec![live("v-1/a", 1, 7)], exits: vec![unseen.clone()], guarded: true });
    let mut world = setup.start();
    world.until_story(&["inventory [v-1/a#1 v-1/b#1 v-1/c#1]"]).await;
    assert!(world.calls().contains(&Call::Ack(9)));

    for name in ["v-1/a", "v-1/b", "v-1/c"] {
        world.launch(name, 1);
    }
    world.settled().await;
    assert_eq!(
        world.story()[1..],
        ["started v-1/a#1 7", "ended v-1/b#1: exit 2", "ended v-1/c#1: exit 3"].map(String::from)
    );
    assert_eq!(world.end_of("v-1/c").usage, unseen.usage);
    world.exited("v-1/a", 1, ExitStatus::Code(0));
    world.settled().await;
    assert_eq!(world.story().last().unwrap(), "ended v-1/a#1: completed");
    assert_eq!(world.spawns(), []);
    assert_eq!(world.shared.states.lock().unwrap().len(), 3, "until they are forgotten");
}

#[tokio::test(start_paused = true)]
async fn orders_from_before_the_inventory_wait_for_it() {
    let world = three().await;
    let mut setup = Setup::new(vec![]).after(&world);
    setup.connect = None;
    let world = setup.start();
    world.launch("v-1/a", 1);
    world.launch("v-1/d", 1);
    world.forget("v-1/b");
    world.settled().await;
    assert_eq!((world.told(), world.spawns()), (vec![], vec![]));
    let live = vec![live("v-1/a", 1, 7), live("v-1/b", 1, 8), live("v-1/c", 1, 9)];
    world.tell(ExecEvent::Connected(Inventory { live, ..empty() }));
    world.until_spawned(&id("v-1/d", 1)).await;
    world.until_story(&["inventory [v-1/a#1 v-1/b#1 v-1/c#1]", "started v-1/a#1 7"]).await;
    assert_eq!(world.stops(), [(id("v-1/b", 1), StopTree::KILL)]);
}

#[tokio::test(start_paused = true)]
async fn an_intent_that_came_to_nothing_is_ordered_anew() {
    let world = Setup::new(vec![]).start();
    world.launch(STAGE, 1);
    world.until_spawned(&id(STAGE, 1)).await;
    *world.shared.no_room.lock().unwrap() = Some("the disk is full".into());
    world.launch("v-1/waits", 2);
    world.settled().await;
    assert_eq!(world.shared.states.lock().unwrap().len(), 2);

    let world = Setup::new(vec![]).after(&world).start();
    let _busy = world.handle.busy();
    world.until_story(&["inventory []"]).await;
    tokio::time::sleep(secs(60)).await;
    assert_eq!(world.spawns(), [], "nobody knows any more what it is made from");
    world.launch(STAGE, 1);
    world.until_spawned(&id(STAGE, 1)).await;
    let Call::Spawn(launch) = &world.calls()[0] else { panic!() };
    assert_eq!(launch.command.argv(), ["agent"]);
}

#[tokio::test(start_paused = true)]
async fn an_intent_that_was_carried_out_is_found() {
    let world = Setup::new(vec![]).start();
    for name in ["v-1/a", "v-1/b"] {
        world.launch(name, 1);
        world.until_spawned(&id(name, 1)).await;
    }
    let mut setup = Setup::new(vec![]).after(&world);
    let exits = vec![exit("v-1/b", 1, 3, ExitStatus::Code(4))];
    setup.connect = Some(Inventory { live: vec![live("v-1/a", 1, 7)], exits, guarded: true });
    let world = setup.start();
    world.launch("v-1/a", 1);
    world.launch("v-1/b", 1);
    world.until_story(&["inventory [v-1/a#1 v-1/b#1]", "started v-1/a#1 7", "ended v-1/b#1: exit 4"]).await;
}

#[tokio::test(start_paused = true)]
async fn limits_count_from_the_start_of_what_is_adopted() {
    let world = Setup::new(vec![]).start();
    world.guest_up(STAGE, 1, 7).await;
    let mut setup = Setup::new(vec![]).after(&world);
    for state in &mut setup.recovered.states {
        // The clocks of both supervisors begin alike.
        let back = |mono: Mono| Mono::from_nanos(mono.as_nanos() - 50_000_000_000);
        state.started_mono_ns = state.started_mono_ns.map(back);
    }
    setup.connect = Some(Inventory { live: vec![live(STAGE, 1, 7)], ..empty() });
    let world = setup.start();
    let mut limited = guest(&world, STAGE);
    limited.timeout = Some(secs(60));
    world.launch_as(limited, 1);
    tokio::time::sleep(secs(9)).await;
    assert_eq!(world.stops(), []);
    tokio::time::sleep(secs(2)).await;
    assert_eq!(world.stops().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reboot_ends_what_lived_and_starts_nothing() {
    let mut world = three().await;
    world.exited("v-1/b", 1, ExitStatus::Code(2));
    world.settled().await;
    world.stop("v-1/c", Shutdown::Graceful);
    world.launch("v-1/d", 1);
    world.until_spawned(&id("v-1/d", 1)).await;
    let mut setup = Setup::new(vec![]).after(&world);
    setup.recovered.same_boot = false;
    let world = setup.start();
    let _busy = world.handle.busy();
    for name in ["v-1/a", "v-1/b", "v-1/c"] {
        world.launch(name, 1);
    }
    world
        .until_story(&[
            "inventory [v-1/a#1 v-1/b#1 v-1/c#1]",
            "ended v-1/a#1: lost, cut",
            "ended v-1/b#1: exit 2",
            "ended v-1/c#1: stopped",
        ])
        .await;
    assert!(world.end_of("v-1/a").outcome.detail.unwrap().contains("went down"));
    tokio::time::sleep(secs(600)).await;
    assert_eq!(world.spawns(), []);

    // It is still known when the supervisor is killed once more before anybody asks.
    let world = Setup::new(vec![]).after(&world).start();
    world.launch("v-1/a", 1);
    world.until_story(&["inventory [v-1/a#1 v-1/b#1 v-1/c#1]", "ended v-1/a#1: lost, cut"]).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_keeper_cut_is_lost_and_not_started_again() {
    let world = three().await;
    world.stop("v-1/c", Shutdown::Graceful);
    world.settled().await;
    let mut setup = Setup::new(vec![spec("r")]).after(&world);
    let cut = |name: &str, seq| ExecExit { cut: true, ..exit(name, 1, seq, ExitStatus::Signal(15)) };
    let mut swept = live("v-1/b", 1, 8);
    swept.main_ended = true;
    let exits = vec![cut("v-1/a", 1), cut("v-1/b", 2), cut("v-1/c", 3)];
    setup.connect = Some(Inventory { live: vec![swept], exits, guarded: true });
    let world = setup.start();
    for name in ["v-1/a", "v-1/b", "v-1/c"] {
        world.launch(name, 1);
    }
    world
        .until_story(&[
            "inventory [v-1/a#1 v-1/b#1 v-1/c#1]",
            "ended v-1/a#1: lost, cut",
            "ended v-1/c#1: stopped",
        ])
        .await;
    // Something of this one lived on for a while.
    world.tell(ExecEvent::Gone { id: id("v-1/b", 1) });
    world.settled().await;
    assert_eq!(world.story().last().unwrap(), "ended v-1/b#1: lost, cut");
    assert!(world.calls().contains(&Call::Ack(3)));
    tokio::time::sleep(secs(600)).await;
    assert!(world.spawns().iter().all(|spawned| spawned.runner.as_str() == "r"));
}

#[tokio::test(start_paused = true)]
async fn without_an_engine_guests_are_kept_and_looked_after() {
    let world = three().await;
    let mut setup = Setup::new(vec![]).after(&world);
    setup.flows = false;
    setup.options.mode = Mode::Headless;
    let exits = vec![exit("v-1/b", 1, 8, ExitStatus::Code(1))];
    setup.connect = Some(Inventory { live: vec![live("v-1/a", 1, 7)], exits, guarded: true });
    let mut world = setup.start();
    world.settled().await;
    assert!(!world.end.is_finished(), "something lives");
    world.exited("v-1/a", 1, ExitStatus::Code(5));
    let shared = Arc::clone(&world.shared);
    let end = world.ended().await;
    assert_eq!(
        (end.why, end.exit(), *shared.clean.lock().unwrap()),
        (EndReason::NothingLeft, Exit::AllCompleted, true)
    );

    // After that clean end an engine finds them all.
    let mut setup = Setup::new(vec![]);
    setup.recovered.states = shared.states.lock().unwrap().values().cloned().collect();
    let world = setup.start();
    world.launch("v-1/a", 1);
    world.launch("v-1/c", 1);
    world
        .until_story(&["inventory [v-1/a#1 v-1/b#1 v-1/c#1]", "ended v-1/a#1: exit 5", "ended v-1/c#1: lost"])
        .await;
    assert!(!world.end_of("v-1/c").cut, "nobody can say why");
}

#[tokio::test(start_paused = true)]
async fn what_lives_without_a_record_is_listed_and_can_be_ended() {
    let mut setup = Setup::new(vec![]);
    let mut ended = live("v-1/b", 2, 8);
    ended.main_ended = true;
    setup.connect = Some(Inventory { live: vec![live("v-1/a", 4, 7), ended], ..empty() });
    let world = setup.start();
    world.until_story(&["inventory [v-1/a#4]"]).await;
    world.launch("v-1/a", 5);
    world.settled().await;
    assert_eq!(world.stops(), [(id("v-1/a", 4), StopTree::KILL)]);
}

#[tokio::test(start_paused = true)]
async fn a_keeper_that_goes_and_comes_is_no_end_and_no_second_start() {
    let world = Setup::new(vec![]).start();
    world.guest_up("v-1/a", 1, 7).await;
    world.launch("v-1/b", 1);
    world.launch("v-1/c", 1);
    world.until_spawned(&id("v-1/c", 1)).await;
    world.tell(ExecEvent::Disconnected { why: "it was killed".into() });
    world.launch("v-1/d", 1);
    world.settled().await;
    let live = vec![live("v-1/a", 1, 7), live("v-1/b", 1, 8)];
    world.tell(ExecEvent::Connected(Inventory { live, ..empty() }));
    world.until_spawned(&id("v-1/d", 1)).await;
    // The answer to this spawn was lost with the line; that one never arrived.
    world.until_story(&["inventory []", "started v-1/a#1 7", "started v-1/b#1 8"]).await;
    assert_eq!(world.spawns().iter().filter(|spawned| **spawned == id("v-1/c", 1)).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_that_is_cut_short_is_still_no_fault_of_the_stage() {
    let world = Setup::new(vec![]).start();
    world.guest_up(STAGE, 1, 7).await;
    world.ask(Request::Shutdown { how: Shutdown::Graceful }).await;
    let mut setup = Setup::new(vec![]).after(&world);
    setup.connect = Some(Inventory { live: vec![live(STAGE, 1, 7)], ..empty() });
    let mut world = setup.start();
    world.until("the stop, again", |_| (world.stops().len() == 1).then_some(())).await;
    world.exited(STAGE, 1, ExitStatus::Signal(15));
    world.settled().await;
    let end = world.end_of(STAGE);
    assert_eq!((end.outcome.verdict, end.cut), (Verdict::Stopped, true));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_before_the_keeper_answers_loses_no_guest() {
    let world = Setup::new(vec![]).start();
    world.guest_up("v-1/a", 1, 7).await;
    *world.shared.no_room.lock().unwrap() = Some("the disk is full".into());
    world.launch("v-1/waits", 3);
    world.settled().await;
    let mut setup = Setup::new(vec![]).after(&world);
    setup.connect = None;
    let world = setup.start();
    world.launch("v-1/d", 1);
    world.ask(Request::Shutdown { how: Shutdown::Graceful }).await;
    let shared = Arc::clone(&world.shared);
    world.ended().await;
    assert_eq!(
        (*shared.clean.lock().unwrap(), shared.told.lock().unwrap().len()),
        (false, 0),
        "something may live"
    );
    let states = shared.states.lock().unwrap().clone();
    let kept: Vec<_> = states.values().map(|state| (state.runner_id.as_str(), state.attempt)).collect();
    assert_eq!(kept, [("v-1/a", Some(nth(1))), ("v-1/waits", Some(nth(3)))]);
}
