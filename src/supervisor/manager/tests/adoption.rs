//! A successor goes on where a killed supervisor left off.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_successor_finds_the_same_pids_counts_and_the_rest_of_the_backoff() {
    let mut world = Setup::new(vec![spec("a"), spec("b"), spec("c")]).start();
    for (name, pid) in [("a", 1), ("b", 2), ("c", 3)] {
        world.up(name, pid).await;
    }
    world.exited("a", 1, ExitStatus::Code(1));
    world.until_status("a", RunnerStatus::Backoff).await;
    tokio::time::sleep(secs(2)).await;
    let due = world.snapshot().await.runners[0].next_retry_at.unwrap();

    let mut setup = Setup::new(vec![spec("a"), spec("b"), spec("c")]).after(&world);
    // The clocks of both supervisors begin alike, so a deadline of the first is two seconds less far away.
    for state in &mut setup.recovered.states {
        let back = |mono: Mono| Mono::from_nanos(mono.as_nanos() - 2_000_000_000);
        state.next_retry_mono_ns = state.next_retry_mono_ns.map(back);
    }
    setup.connect = Some(Inventory {
        live: vec![live("b", 1, 2)],
        exits: vec![exit("c", 1, 9, ExitStatus::Code(0))],
        guarded: true,
    });
    let mut world = setup.start();
    let started = tokio::time::Instant::now();
    let b = world.until_status("b", RunnerStatus::Running).await;
    assert_eq!((b.pid, b.attempt), (Some(2), Some(nth(1))));
    let c = world.until_status("c", RunnerStatus::Completed).await;
    assert_eq!(c.outcome.as_ref().unwrap().exit_code, Some(0));
    assert!(world.calls().contains(&Call::Ack(9)));
    let a = world.until_status("a", RunnerStatus::Backoff).await;
    assert_eq!(a.retry_count, 1);
    assert!(a.next_retry_at.unwrap() < due);
    world.until_spawned(&id("a", 2)).await;
    let rest = started.elapsed().as_secs_f64();
    assert!((rest - 3.0).abs() < 0.2, "{rest}");
    let lines = world.lines();
    assert!(lines.iter().any(|line| line.starts_with("Adopted b")), "{lines:#?}");
    assert_eq!(world.spawns(), [id("a", 2)]);
}

#[tokio::test(start_paused = true)]
async fn an_intent_that_had_no_answer_is_carried_out_again_with_its_number() {
    let world = Setup::new(vec![spec("a")]).start();
    world.until_spawned(&id("a", 1)).await;
    let world = Setup::new(vec![spec("a")]).after(&world).start();
    world.until_spawned(&id("a", 1)).await;
    assert_eq!(world.spawns(), [id("a", 1)]);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_knows_the_end_of_is_lost_and_retried() {
    let world = Setup::new(vec![spec("a")]).start();
    world.up("a", 1).await;
    let world = Setup::new(vec![spec("a")]).after(&world).start();
    let view = world.until_status("a", RunnerStatus::Backoff).await;
    assert_eq!(view.outcome.as_ref().unwrap().verdict.word(), "lost");
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_was_under_way_is_repeated_and_keeps_its_verdict() {
    let world = Setup::new(vec![spec("a")]).start();
    world.up("a", 1).await;
    world.ask(Request::Stop { names: vec![] }).await;
    let mut setup = Setup::new(vec![spec("a")]).after(&world);
    setup.connect = Some(Inventory { live: vec![live("a", 1, 1)], ..empty() });
    let mut world = setup.start();
    world.until("the stop", |_| (world.stops().len() == 1).then_some(())).await;
    world.exited("a", 1, ExitStatus::Code(0));
    world.until_status("a", RunnerStatus::Stopped).await;
}

#[tokio::test(start_paused = true)]
async fn a_clean_end_starts_anew_with_count_0_and_goes_on_counting_attempts() {
    let mut world = Setup::new(vec![spec("a")]).start();
    world.up("a", 1).await;
    world.exited("a", 1, ExitStatus::Code(1));
    world.until_status("a", RunnerStatus::Backoff).await;
    world.ask(Request::Stop { names: vec![] }).await;
    let mut setup = Setup::new(vec![spec("a")]).after(&world);
    setup.recovered.clean_end = true;
    let world = setup.start();
    world.until_spawned(&id("a", 2)).await;
    assert_eq!(world.snapshot().await.runners[0].retry_count, 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_stopped_stays_stopped_after_an_unclean_end() {
    let mut world = Setup::new(vec![spec("a"), spec("b")]).start();
    world.up("a", 1).await;
    world.ask(Request::Stop { names: names(&["a"]) }).await;
    world.exited("a", 1, ExitStatus::Signal(15));
    world.until_status("a", RunnerStatus::Stopped).await;
    let world = Setup::new(vec![spec("a"), spec("b")]).after(&world).start();
    world.until_spawned(&id("b", 1)).await;
    assert_eq!(world.spawns(), [id("b", 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_reboot_starts_again_what_was_live_and_spends_no_retry() {
    let mut world = Setup::new(vec![spec("a"), spec("b")]).start();
    world.up("a", 1).await;
    world.up("b", 2).await;
    world.exited("b", 1, ExitStatus::Code(1));
    world.until_status("b", RunnerStatus::Backoff).await;
    let mut setup = Setup::new(vec![spec("a"), spec("b")]).after(&world);
    setup.recovered.same_boot = false;
    let world = setup.start();
    world.until_spawned(&id("a", 2)).await;
    world.until_spawned(&id("b", 2)).await;
    let snapshot = world.snapshot().await;
    assert_eq!(snapshot.runners.iter().map(|view| view.retry_count).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(snapshot.runners[0].attempts[0].outcome.as_ref().unwrap().verdict.word(), "lost");
}

#[tokio::test(start_paused = true)]
async fn what_lives_and_is_no_longer_in_the_config_stays_listed_and_stoppable() {
    let mut odd = spec("old");
    odd.stop.signal = 2;
    let world = Setup::new(vec![odd]).start();
    world.up("old", 1).await;
    let mut setup = Setup::new(vec![spec("a")]).after(&world);
    setup.connect = Some(Inventory { live: vec![live("old", 1, 1), live("unheard-of", 4, 9)], ..empty() });
    let mut world = setup.start();
    let view = world.until_status("old", RunnerStatus::Running).await;
    assert!(view.note.as_ref().unwrap().contains("removed"));
    world.until_status("unheard-of", RunnerStatus::Running).await;
    world.ask(Request::Stop { names: names(&["old"]) }).await;
    assert_eq!(world.stops(), [(id("old", 1), StopTree { signal: Some(2), grace: secs(10) })]);
    world.exited("old", 1, ExitStatus::Code(1));
    world
        .until("old to be gone", |snapshot| {
            snapshot.runners.iter().all(|view| view.name.as_str() != "old").then_some(())
        })
        .await;
    assert!(!world.shared.states.lock().unwrap().contains_key(&RunnerName::trusted("old")));
}

#[tokio::test(start_paused = true)]
async fn one_attempt_too_many_is_killed() {
    let world = Setup::new(vec![spec("a")]).start();
    world.up("a", 1).await;
    let mut setup = Setup::new(vec![spec("a")]).after(&world);
    setup.connect = Some(Inventory { live: vec![live("a", 7, 9), live("a", 1, 1)], ..empty() });
    let world = setup.start();
    let view = world.until_status("a", RunnerStatus::Running).await;
    assert_eq!(view.pid, Some(1));
    world.until("the kill", |_| (world.stops() == [(id("a", 7), StopTree::KILL)]).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn a_command_that_changed_meanwhile_is_told() {
    let world = Setup::new(vec![spec("a")]).start();
    world.up("a", 1).await;
    let mut changed = spec("a");
    changed.launch.cwd = "/tmp".into();
    let mut setup = Setup::new(vec![changed]).after(&world);
    setup.connect = Some(Inventory { live: vec![live("a", 1, 1)], ..empty() });
    let world = setup.start();
    let note = world.until("the note", |snapshot| snapshot.runners[0].note.clone()).await;
    assert!(note.contains("restart to apply"), "{note}");
}
